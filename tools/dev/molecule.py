# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The molecule scenarios, one more at a time than there are processors: each has a lab of its own."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

from .checks import JUNIT, test_environment
from .dockerd import with_docker
from .places import CACHE, ROOT, DevError, environment
from .steps import Shell, Step

# The engine that people use elsewhere must serve too; one scenario shows that it does.
SECOND_ENGINE, SECOND_SCENARIO = "docker", "lab"
# They begin first, so that no long one is left for the end.
LONG = ("mail_server", "relay", "site", "mailer", "mailing_lists", "mailboxes", "satellite", "edge", "rotation")
# A scenario waits a third of its time. Where a person names the lab, there is that one.
LABS = ("molecule", "molecule2", "molecule3")
FIRST_INDEX, LAST_INDEX = 20, 254
ROUTES = Path("/proc/net/route")


def scenarios() -> list[str]:
    """All scenarios but the shared parts."""
    found = {path.parent.name for path in ROOT.glob("molecule/*/molecule.yml")} - {"default", "shared"}
    return [*(name for name in LONG if name in found), *sorted(found - set(LONG))]


def needs_docker(names: Sequence[str]) -> bool:
    """Whether the named scenarios, or all, hold the one that is run under both engines."""
    return not names or SECOND_SCENARIO in names


def steps(folder: Path, *, names: Sequence[str], full: bool, engine: str) -> list[Step]:
    """A step for each named scenario, or for all. Raises DevError for an unknown name."""
    known = scenarios()
    for name in names:
        if name not in known:
            raise DevError(f"there is no scenario {name}; there are: {', '.join(known) or 'none'}")
    chosen = names or known
    labs: SimpleQueue[int | None] = SimpleQueue()
    for place in [None] if "LAB_NAME" in os.environ else range(workers()):
        labs.put(place)
    wanted = [_step(folder, name, labs, full=full, engine=engine) for name in chosen]
    if needs_docker(names) and engine != SECOND_ENGINE:
        second = _step(folder, SECOND_SCENARIO, labs, full=False, engine=SECOND_ENGINE)
        wanted.append(replace(second, action=with_docker(second.action)))
    return wanted


def workers() -> int:
    """How many scenarios run at a time."""
    return 1 if "LAB_NAME" in os.environ else min(len(LABS), (os.cpu_count() or 1) + 1)


def _step(folder: Path, scenario: str, labs: SimpleQueue[int | None], *, full: bool, engine: str) -> Step:
    # Runs in labs of their own, side by side, do not write into each other's files.
    name = " ".join(filter(None, (scenario, engine, os.environ.get("LAB_NAME", ""))))
    junit = JUNIT / f"molecule-{name.replace(' ', '-')}.xml"
    notes = CACHE / "molecule" / name.replace(" ", "-")
    env = environment(
        folder,
        **test_environment(full=full),
        LAB_ENGINE=engine,
        # The long form runs modules as everybody's hosts do, the short one in forks of a Python that knows them.
        LAB_PRELOADED="" if full else "1",
        # The verify step runs pytest; this is how its tests get counted here.
        PYTEST_ADDOPTS=f"--junit-xml={junit}",
        MOLECULE_EPHEMERAL_DIRECTORY=str(notes),
    )
    action = _in_a_lab(labs, scenario, notes, timeout=4 * 3600 if full else 5000)
    return Step(name, action, env, junit=junit, announce=True)


def _in_a_lab(labs: SimpleQueue[int | None], scenario: str, notes: Path, *, timeout: float) -> Callable[[Shell], None]:
    """An action that runs a scenario in a lab that no other one uses meanwhile."""

    def action(shell: Shell) -> None:
        place = labs.get()
        # A run that was killed left word of a lab that is there.
        shutil.rmtree(notes, ignore_errors=True)
        try:
            lab = {} if place is None else {"LAB_NAME": LABS[place], "LAB_INDEX": str(free_index(place))}
            shell.run(["molecule", "test", "-s", scenario], env=lab, timeout=timeout)
        finally:
            labs.put(place)

    return action


def free_index(place: int) -> int:
    """A number for the networks of the lab in ``place``, 0 and up; places never share one.

    What a killed run or another clone left keeps its networks, with bridges that no engine here may know of.
    """
    taken = _networks()
    for index in range(FIRST_INDEX + place, LAST_INDEX + 1, len(LABS)):
        if not taken & {f"198.18.{index}.0", f"198.19.{index}.0"}:
            return index
    raise DevError("every network of 198.18.0.0/15 is in use on this machine: `ip route` names them, remove the labs")


def _networks() -> set[str]:
    """The IPv4 networks that this machine has a way to."""
    found = set()
    for line in ROUTES.read_text().splitlines()[1:]:
        # The kernel prints the address's four bytes as one number of the machine's own order.
        octets = int(line.split()[1], 16).to_bytes(4, sys.byteorder)
        found.add(".".join(map(str, octets)))
    return found
