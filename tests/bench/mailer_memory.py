# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The memory of each stage while 10,000 messages of 10 kB, or 100 of 10 MB, wait for a Postfix that is away.

    python tests/bench/mailer_memory.py [messages of 10 kB] [messages of 10 MB]

Then Postfix comes back and all must arrive. Shown are each process's resident memory when it had started, when all was
queued, and at its highest.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import _mailer_room as room

SHAPES = ((10_000, 10_000), (100, 10_000_000))
CONNECTIONS = 10


def memory(pid: int, field: str) -> int:
    """MiB of a process: VmRSS is what it has now, VmHWM the most that it had."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith(f"{field}:"))


def measure(folder: Path, key: Path, count: int, size: int) -> None:
    """Print a table."""
    from _mailer_load import Load
    from _mailer_peers import postfix, redis
    from _mailer_stages import mailer

    folder.mkdir()
    load = Load()
    with (
        load.sink(),
        redis(folder / "redis") as place,
        mailer(folder / "mailer", place, folder / "postfix/mail.log", key) as made,
    ):
        begun = {one: memory(pid, "VmRSS") for one, pid in made.pids.items()}
        load.send(made.doors(CONNECTIONS), count, size, wait=False)
        queued = {one: memory(pid, "VmRSS") for one, pid in made.pids.items()}
        with postfix(folder / "postfix"):
            load.times.wait(count)
            highest = {one: memory(pid, "VmHWM") for one, pid in made.pids.items()}
    print(f"{count} messages of {size // 1000} kB: MiB at the start, queued, at the highest")
    for one in begun:
        print(f"  {one[0]:14}{begun[one]:6}{queued[one]:6}{highest[one]:6}")


def main() -> None:
    """Measure and print."""
    folder = room.enter(__file__)
    if folder is None:
        return
    from _mailer_stages import make_key

    given = [int(one) for one in sys.argv[1:]]
    print(room.about())
    try:
        key = make_key(folder / "key.pem")
        for number, (count, size) in enumerate(SHAPES):
            measure(folder / str(number), key, given[number] if number < len(given) else count, size)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
