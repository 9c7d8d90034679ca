# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a relay: waits until mail is on its way, kills Postfix and its signer at once, and starts them again.

Prints what was unfinished at that moment: ``ids`` of the messages in the queue, ``leaving``, those of them that a
next hop was being told, and ``entering``, the number of connections by which a message was coming in. All
processes stand still while this is counted.
"""

import base64
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

options = json.loads(base64.b64decode(sys.argv[1]))
SPOOL = Path("/var/spool/postfix")
SENDERS = ("smtp", "lmtp")


def daemons() -> dict[int, str]:
    """Process ids of Postfix and the signer, with the names of their programs; Postfix's master comes first."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/exe"):
        try:
            program = path.readlink()
        except OSError:
            continue
        if program.is_relative_to("/usr/lib/postfix") or program.name == options["signer"]:
            found[int(path.parent.name)] = program.name
    return dict(sorted(found.items(), key=lambda item: item[1] != "master"))


def files(*queues: str) -> set[str]:
    """Ids of the messages in some queues; one that is not whole yet may not be executed."""
    found = (path for queue in queues for path in (SPOOL / queue).rglob("*") if path.is_file())
    return {path.name for path in found if path.stat().st_mode & stat.S_IXUSR}


def leaving(processes: dict[int, str]) -> set[str]:
    """Ids of the messages that a client has open: from the request to deliver it to the mark that it is done."""
    found = set()
    for pid, name in processes.items():
        for link in Path(f"/proc/{pid}/fd").glob("*") if name in SENDERS else ():
            try:
                target = link.readlink()
            except OSError:
                continue
            if target.is_relative_to(SPOOL / "active"):
                found.add(target.name.split()[0])
    return found


def entering() -> int:
    """Connections to cleanup, which last as long as a message comes in, and those whose answer nobody has read yet."""
    lines = subprocess.run(["ss", "-Hxp"], capture_output=True, text=True, check=True).stdout.splitlines()
    count = 0
    for line in lines:
        words = line.split()
        if words[1] != "ESTAB":
            continue
        unread, local, peer = int(words[2]), words[4], words[7]
        count += local.endswith("public/cleanup") or (unread > 0 and peer == "0" and '"smtpd"' in line)
    return count


def freeze() -> dict[int, str]:
    """Stop all daemons; returns when none of them runs any more."""
    stopped: dict[int, str] = {}
    while new := {pid: name for pid, name in daemons().items() if pid not in stopped}:
        for pid in new:
            os.kill(pid, signal.SIGSTOP)
        stopped |= new
    state = re.compile(r"^State:\s+[TZ]", re.MULTILINE)
    while not all(state.search(Path(f"/proc/{pid}/status").read_text()) for pid in stopped):
        time.sleep(0.001)
    return stopped


# Debian 12's postfix.service is but a shell around the instance.
instance = subprocess.run(["systemctl", "is-active", "-q", "postfix@-.service"], check=False).returncode == 0
units = ["postfix@-.service" if instance else "postfix.service", f"{options['signer']}.service"]
deadline = time.monotonic() + options["patience"]
while len(leaving(daemons())) < 2 and time.monotonic() < deadline:
    time.sleep(0.02)
processes = freeze()
seen = {"leaving": sorted(leaving(processes)), "entering": entering()}
for pid in processes:
    os.kill(pid, signal.SIGKILL)
seen["ids"] = sorted(files("incoming", "active", "deferred"))
subprocess.run(["systemctl", "reset-failed", *units], capture_output=True, check=False)
subprocess.run(["systemctl", "restart", *reversed(units)], stdout=sys.stderr, check=True)
print(json.dumps(seen))
