# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entry: ``python -m tools.dev <command>``, as the script ``dev`` calls it."""

from __future__ import annotations

import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from types import FrameType

from . import bench, checks, galaxy, molecule, prerequisites
from .places import LAB_CODE, TREE, DevError, environment
from .steps import Outcome, interrupt, interrupted, run_part, summary

MOST = 20  # failures that are told once more at the end
PARTS = ("lint", "sanity", "unit", "compat", "galaxy", "molecule")


@dataclass(frozen=True)
class Choice:
    """What to test: parts in their order, scenarios (none = all), the long form or not."""

    parts: tuple[str, ...]
    scenarios: tuple[str, ...]
    full: bool


def choose(words: list[str]) -> Choice:
    """Read the words after ``./dev test``. Raises DevError for one that means nothing."""
    parts: list[str] = []
    names: list[str] = []
    for word in words:
        if word == "full":
            continue
        if word in PARTS:
            parts.append(word)
        elif parts and parts[-1] == "molecule":
            names.append(word)
        else:
            raise DevError(f"there is no part {word}; there are: {', '.join(PARTS)} and full")
    wanted = tuple(part for part in PARTS if part in parts) or PARTS
    return Choice(wanted, tuple(names), "full" in words)


def test(words: list[str], *, yes: bool) -> int:
    """Run the chosen parts; 0 if nothing failed. The last line is ``N passed, N failed``."""
    choice = choose(words)
    began = time.monotonic()
    engine = ""
    if "molecule" in choice.parts:
        # First of all, as it may ask. Ansible takes the terminal away from what it starts.
        both = molecule.needs_docker(choice.scenarios)
        engine = prerequisites.prepare_lab(yes=yes, detached=True, both_engines=both)
    outcomes = _run_all(choice, engine)
    for reason in sorted({outcome.not_run for outcome in outcomes if outcome.not_run}):
        print(f"not run: {reason}")
    # Once more, as build servers show the end of what was said.
    for failure in [failure for outcome in outcomes for failure in outcome.failures][:MOST]:
        print(f"failed: {failure}")
    print(f"total time: {time.monotonic() - began:.0f} s on {os.cpu_count()} processors")
    print(summary(outcomes), flush=True)
    return 1 if any(outcome.failed for outcome in outcomes) else 0


def _run_all(choice: Choice, engine: str) -> list[Outcome]:
    """Run the scenarios, which wait more than they work, and beside them the other parts one after the other."""
    folder = checks.prepare()
    streams = [[part for part in choice.parts if (part == "molecule") == labs] for labs in (True, False)]
    others_ended = Event()

    def run(parts: list[str]) -> list[Outcome]:
        try:
            return [
                outcome
                for part in parts
                if not interrupted()
                for outcome in _run(part, choice, engine, folder, others_ended)
            ]
        finally:
            if "molecule" not in parts:
                others_ended.set()

    with ThreadPoolExecutor(max_workers=len(streams)) as pool:
        try:
            return [outcome for outcomes in pool.map(run, streams) for outcome in outcomes]
        except BaseException:
            interrupt()
            raise


def _run(part: str, choice: Choice, engine: str, folder: Path, others_ended: Event) -> list[Outcome]:
    workers = min(2, os.cpu_count() or 1)
    if part == "lint":
        return run_part(part, checks.lint(folder), workers=workers)
    if part == "sanity":
        return run_part(part, checks.sanity(folder))
    if part == "unit":
        return run_part(part, checks.unit(folder, full=choice.full))
    if part == "compat":
        return run_part(part, checks.compat(folder))
    if part == "galaxy":
        return run_part(part, galaxy.steps(folder))
    steps = molecule.steps(folder, names=choice.scenarios, full=choice.full, engine=engine)
    at_once = molecule.workers()
    # What the last lab would take is the other parts' as long as they run.
    return run_part(part, steps, workers=max(1, at_once - 1), spare=others_ended if at_once > 1 else None)


def start_demo(words: list[str], *, yes: bool) -> int:
    """Hand over to the demo, which needs the virtual environment's libraries."""
    # First of all, as it may ask.
    engine = {} if words else {"LAB_ENGINE": prerequisites.prepare_lab(yes=yes)}
    folder = checks.prepare()
    env = environment(folder, PYTHONPATH=os.pathsep.join([str(TREE), str(LAB_CODE)]), **engine)
    python = str(folder / "bin" / "python")
    os.execve(python, [python, "-m", "tools.dev.demo", *words], env)


def main(argv: list[str]) -> int:
    """Run one command and return the exit code."""
    yes = "--yes" in argv
    words = [word for word in argv if word != "--yes"]
    command, rest = words[0], words[1:]
    if command == "test":
        return test(rest, yes=yes)
    if command == "lint" and not rest:
        return test(["lint"], yes=yes)
    if command == "demo":
        return start_demo(rest, yes=yes)
    if command == "bench" and not rest:
        return bench.run(yes=yes)
    raise DevError(f"cannot make sense of: {' '.join(words)} (see ./dev help)")


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    try:
        sys.exit(main(sys.argv[1:]))
    except DevError as err:
        sys.exit(f"dev: {err}")
    except KeyboardInterrupt:
        sys.exit("dev: interrupted")
