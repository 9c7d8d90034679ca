# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a mail server: waits until mail is being delivered, and then kills a daemon or fills the disk of the queue.

Prints what was unfinished at that moment: ``queued``, the messages in OpenSMTPD's queue, and ``leaving``, those of
them that were being handed to Dovecot. The daemon stands still while this is counted. How it comes back is its own
affair.
"""

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

options = json.loads(base64.b64decode(sys.argv[1]))
QUEUE = Path("/var/spool/smtpd/queue")
# By daemon: where its programs lie, and its unit.
DAEMONS = {
    "smtpd": (("/usr/sbin/smtpd", "/usr/libexec/opensmtpd/", "/usr/lib/x86_64-linux-gnu/opensmtpd/"), "opensmtpd"),
    "rspamd": (("/usr/bin/rspamd",), "rspamd"),
    "redis": (("/usr/bin/redis-server", "/usr/bin/redis-check-rdb", "/usr/bin/redis-check-aof"), "redis-server"),
    "dovecot": (("/usr/sbin/dovecot", "/usr/lib/dovecot/", "/usr/libexec/dovecot/"), "dovecot"),
}


def processes(places: tuple[str, ...]) -> list[int]:
    """Process ids of the programs in some places; the oldest, which starts the others, comes first."""
    found = []
    for path in Path("/proc").glob("[0-9]*/exe"):
        try:
            program = str(path.readlink())
        except OSError:
            continue
        if program.startswith(places):
            found.append(int(path.parent.name))
    return sorted(found)


def handing_over() -> list[int]:
    """Process ids of the clients that hand a message to Dovecot, one for each delivery."""
    found = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            if path.read_text().strip() == "mail.lmtp":
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def send(signal_number: int, pids: list[int]) -> None:
    """Those that have ended meanwhile need none."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal_number)


def queued() -> int:
    """Messages that OpenSMTPD has taken and not delivered."""
    return len([path for path in QUEUE.glob("*/*/*") if path.name != "message"])


def wait_for_work() -> None:
    """Until there is something to lose, or patience ends."""
    end = time.monotonic() + options["patience"]
    while not (handing_over() and queued()) and time.monotonic() < end:
        time.sleep(0.002)


def stop(places: tuple[str, ...]) -> list[int]:
    """Have all processes in some places stand still."""
    stopped: list[int] = []
    while new := [pid for pid in processes(places) if pid not in stopped]:
        send(signal.SIGSTOP, new)
        stopped += new
    return stopped


def kill(name: str) -> dict[str, int]:
    """Have all processes of a daemon end at once, at a moment when there is something to lose."""
    places, unit = DAEMONS[name]
    end = time.monotonic() + options["patience"]
    while True:
        wait_for_work()
        stopped = stop(places)
        seen = {"queued": queued(), "leaving": len(handing_over()), "killed": len(stopped)}
        if seen["queued"] or time.monotonic() > end:
            break
        send(signal.SIGCONT, stopped)
    send(signal.SIGKILL, stopped)
    end = time.monotonic() + options["patience"]
    while subprocess.run(["systemctl", "is-active", "-q", unit], check=False).returncode and time.monotonic() < end:
        time.sleep(0.1)
    return seen


def fill() -> dict[str, int]:
    """Leave no room for the queue for a while."""
    if not QUEUE.parent.is_symlink():
        sys.exit("the queue does not lie on a small disk of its own")
    end = time.monotonic() + options["patience"]
    while True:
        wait_for_work()
        seen = {"queued": queued(), "leaving": len(handing_over()), "killed": 0}
        if seen["queued"] or time.monotonic() > end:
            break
    filler = QUEUE.parent.resolve().parent / "filler"
    try:
        with filler.open("wb", buffering=0) as stream:
            end = time.monotonic() + options["seconds"]
            while time.monotonic() < end:
                try:
                    stream.write(b"\0" * 65536)
                except OSError:
                    time.sleep(0.01)
    finally:
        filler.unlink()
    return seen


print(json.dumps(fill() if options["fault"] == "disk" else kill(options["fault"])))
