# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The molecule scenarios, one after the other: each has a lab of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .checks import JUNIT, test_environment
from .dockerd import with_docker
from .places import CACHE, ROOT, DevError, environment
from .steps import Step, call

# The engine that people use elsewhere must serve too; one scenario shows that it does.
SECOND_ENGINE, SECOND_SCENARIO = "docker", "lab"


def scenarios() -> list[str]:
    """All scenarios but the shared parts."""
    found = sorted(path.parent.name for path in ROOT.glob("molecule/*/molecule.yml"))
    return [name for name in found if name not in ("default", "shared")]


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
    wanted = [_step(folder, name, full=full, engine=engine) for name in chosen]
    if needs_docker(names) and engine != SECOND_ENGINE:
        second = _step(folder, SECOND_SCENARIO, full=False, engine=SECOND_ENGINE)
        wanted.append(replace(second, action=with_docker(second.action)))
    return wanted


def _step(folder: Path, scenario: str, *, full: bool, engine: str) -> Step:
    # Runs in labs of their own, side by side, do not write into each other's files.
    name = " ".join(filter(None, (scenario, engine, os.environ.get("LAB_NAME", ""))))
    junit = JUNIT / f"molecule-{name.replace(' ', '-')}.xml"
    env = environment(
        folder,
        **test_environment(full=full),
        LAB_ENGINE=engine,
        # The verify step runs pytest; this is how its tests get counted here.
        PYTEST_ADDOPTS=f"--junit-xml={junit}",
        MOLECULE_EPHEMERAL_DIRECTORY=str(CACHE / "molecule" / name.replace(" ", "-")),
    )
    limit = 4 * 3600 if full else 2700
    return Step(name, call(["molecule", "test", "-s", scenario], timeout=limit), env, junit=junit, announce=True)
