# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a message takes through the whole mailer at half load, from when it was due until it is at the sink.

    python tests/bench/mailer_latency.py [seconds]

The full load is measured first, a moment before. Messages are then sent by the clock at half of it, whatever became of
those before, and counted from when they were due: a stall counts for all that wait behind it. Beside the mailer stand
Postfix alone and the design that it replaces, each at half of its own load. See ``mailer_throughput.py``.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import _mailer_room as room
from mailer_throughput import BARE, CONNECTIONS, OLD, OURS, SIZE, _open

SECONDS = 15
GOALS = {50: 0.020, 99: 0.200}


def measure(folder: Path, seconds: int) -> None:
    """Print a line for each."""
    from _mailer_load import Load
    from _mailer_stages import make_key

    load, key = Load(), make_key(folder / "key.pem")
    with load.sink():
        for name in (BARE, OURS, OLD):
            place = folder / name.replace(" ", "-")
            place.mkdir()
            with _open(name, place, key) as doors:
                load.rate(doors, 100, SIZE)
                pace = load.rate(doors, 200 if name == OLD else 1000, SIZE) / 2
                found = load.latencies(doors, max(100, int(pace * seconds)), SIZE, pace)
            print(f"{name:32}at {pace:4.0f} messages a second: {_said(found, goals=name == OURS)}")


def _said(found: list[float], *, goals: bool) -> str:
    parts = []
    for percent, goal in GOALS.items():
        value = found[min(len(found) - 1, len(found) * percent // 100)]
        judged = f" (goal: {goal * 1000:.0f}): {'met' if value <= goal else 'missed'}" if goals else ""
        parts.append(f"p{percent} {value * 1000:.0f} ms{judged}")
    return ", ".join(parts)


def main() -> None:
    """Measure and print."""
    folder = room.enter(__file__)
    if folder is None:
        return
    print(f"{room.about()}; messages of {SIZE // 1000} kB over {CONNECTIONS} connections")
    try:
        measure(folder, int(sys.argv[1]) if len(sys.argv) > 1 else SECONDS)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
