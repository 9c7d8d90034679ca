# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole lab estate from bare hosts, and a second run: the ratio of the two, and where the time went.

Start it with ./dev bench, or with molecule/shared on PYTHONPATH. It puts up a lab of its own (index 30)
and takes it down again.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "molecule" / "shared"))

from lab import control  # noqa: E402
from lab.hosts import EVERYTHING, Plan  # noqa: E402
from lab.plays import Played, play  # noqa: E402
from lab.probe import Lab  # noqa: E402

NAME, INDEX, SLOWEST = "bench", 30, 10
GOAL_SECONDS = 30


def _timed(lab: Lab) -> tuple[float, Played]:
    start = time.monotonic()
    played = play(lab, ROOT / "playbooks" / "site.yml", timeout=3600)
    return time.monotonic() - start, played


def _slowest(played: Played) -> list[tuple[float, str]]:
    """The longest tasks of a run; a task takes as long as its slowest host."""
    longest: dict[str, float] = {}
    for entry in played.entries:
        longest[entry["task"]] = max(longest.get(entry["task"], 0.0), entry["seconds"])
    return sorted(((seconds, task) for task, seconds in longest.items()), reverse=True)[:SLOWEST]


def main() -> None:
    """Measure and print."""
    say = control.narrator()
    control.up(Plan(NAME, INDEX), hosts=control.choose(EVERYTHING), engine_name="auto", say=say)
    try:
        lab = Lab.load(NAME)
        first, played = _timed(lab)
        load = os.getloadavg()[0]
        second, again = _timed(lab)
    finally:
        control.down(NAME, engine_name="auto", say=say)
    hosts = len({entry["host"] for entry in played.entries})
    tasks = sum(len(names) for names in again.remote.values())
    print(f"{os.cpu_count()} processors, load before the second run {load:.1f}")
    print(f"{hosts} hosts; second run: {tasks} tasks reached a host, {sum(map(len, again.changed.values()))} changed")
    verdict = "met" if second <= GOAL_SECONDS and not again.changed else "missed"
    print(
        f"first run {first:.0f} s, second run {second:.0f} s (goal: {GOAL_SECONDS} s at most, none changed): {verdict}"
    )
    print(f"ratio {second / first:.2f}")
    for title, run in (("first", played), ("second", again)):
        print(f"slowest tasks of the {title} run, in seconds:")
        for seconds, task in _slowest(run):
            print(f"  {seconds:7.1f}  {task}")


if __name__ == "__main__":
    main()
