# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a mailer: kills (SIGKILL) one service after the other while mail flows, each when something is unfinished.

A service stands still from the moment at which it is chosen until it is killed, so what waits for it is counted in
peace; Redis alone, which has to be asked, is killed right after that. Then it must be back before it is the next
one's turn. Prints of each kill the victim and what was unfinished.
"""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

options = json.load(sys.stdin)
T = TypeVar("T")
QUEUES = ("incoming", "active", "deferred")
# Not those of an endpoint, which may be down all the time.
STREAMS = ("primary", "default", "outgoing", "events")
PROGRAMS = {"Redis": ("redis-server", "valkey-server", "redis-check-rdb"), "Postfix": ("master",)}


def systemctl(*words: str) -> str:
    """What systemctl says."""
    return subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False).stdout.strip()


def started(unit: str) -> str:
    """When it was; Debian 12's Postfix has no main process to know it by."""
    return systemctl("show", "-p", "ActiveEnterTimestampMonotonic", "--value", unit)


def unit_of(victim: str) -> str:
    """The unit of a victim: the one that is named, or the one that runs the program."""
    if victim not in PROGRAMS:
        return str(victim)
    for path in Path("/proc").glob("[0-9]*/exe"):
        try:
            name, group = path.readlink().name, (path.parent / "cgroup").read_text()
        except OSError:
            continue
        if name in PROGRAMS[victim] and (found := re.search(r"([^/\n]+\.service)", group)):
            return found[1]
    raise SystemExit(f"nothing runs {victim}")


def until(what: str, test: "Callable[[], T]") -> T:
    """Wait for something that is true."""
    end = time.monotonic() + options["patience"]
    while not (found := test()):
        if time.monotonic() > end:
            raise SystemExit(f"{what} did not come within {options['patience']} s")
        time.sleep(0.1)
    return found


def unfinished(port: int) -> "dict[str, int] | None":
    """What is under way, if anything: entries of streams, messages in Postfix's queue, clients of a stage."""
    said = subprocess.run(["mailerctl", "status", "--json"], capture_output=True, text=True, check=False)
    streams = json.loads(said.stdout) if said.returncode == 0 else []
    queues = (path for name in QUEUES for path in Path("/var/spool").glob(f"postfix*/{name}"))
    clients = subprocess.run(
        ["ss", "-Hnt", "state", "established", f"sport = :{port}"], capture_output=True, text=True, check=False
    )
    counts = {
        "streams": sum(one["waiting"] + one["working"] for one in streams if one["name"] in STREAMS),
        "Postfix": sum(path.is_file() for queue in queues for path in queue.rglob("*")),
        "clients": len(clients.stdout.splitlines()) if port else 0,
    }
    return counts if sum(counts.values()) else None


def kill(victim: str) -> "dict[str, int]":
    """Kill one service and see it come back; what was unfinished."""
    unit = unit_of(victim)
    before = started(unit)
    if victim != "Redis":
        systemctl("kill", "--signal=STOP", unit)
    seen = until(f"mail for {victim}", lambda: unfinished(options["ports"].get(victim, 0)))
    systemctl("kill", "--signal=KILL", unit)
    until(f"a new {unit}", lambda: started(unit) != before and systemctl("is-active", unit) == "active")
    return seen


report = [(victim, kill(victim)) for victim in options["victims"]]
Path(options["end"]).touch()
print(json.dumps(report))
