# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The molecule scenarios, one more at a time than there are processors: each has a lab of its own."""

from __future__ import annotations

import os
import shutil
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
LONG = ("site", "relay", "mail_server", "rotation", "satellite", "mailboxes", "mail_moves")
# A scenario waits a third of its time. Where a person names the lab, there is that one.
LABS = (
    {"LAB_NAME": "molecule", "LAB_INDEX": "20"},
    {"LAB_NAME": "molecule2", "LAB_INDEX": "21"},
    {"LAB_NAME": "molecule3", "LAB_INDEX": "22"},
)


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
    labs: SimpleQueue[dict[str, str]] = SimpleQueue()
    for lab in [{}] if "LAB_NAME" in os.environ else LABS[: workers()]:
        labs.put(lab)
    wanted = [_step(folder, name, labs, full=full, engine=engine) for name in chosen]
    if needs_docker(names) and engine != SECOND_ENGINE:
        second = _step(folder, SECOND_SCENARIO, labs, full=False, engine=SECOND_ENGINE)
        wanted.append(replace(second, action=with_docker(second.action)))
    return wanted


def workers() -> int:
    """How many scenarios run at a time."""
    return 1 if "LAB_NAME" in os.environ else min(len(LABS), (os.cpu_count() or 1) + 1)


def _step(folder: Path, scenario: str, labs: SimpleQueue[dict[str, str]], *, full: bool, engine: str) -> Step:
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


def _in_a_lab(
    labs: SimpleQueue[dict[str, str]], scenario: str, notes: Path, *, timeout: float
) -> Callable[[Shell], None]:
    """An action that runs a scenario in a lab that no other one uses meanwhile."""

    def action(shell: Shell) -> None:
        lab = labs.get()
        # A run that was killed left word of a lab that is there.
        shutil.rmtree(notes, ignore_errors=True)
        try:
            shell.run(["molecule", "test", "-s", scenario], env=lab, timeout=timeout)
        finally:
            labs.put(lab)

    return action
