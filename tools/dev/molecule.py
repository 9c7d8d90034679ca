# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The molecule scenarios, one after the other: each has a lab of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .checks import JUNIT, test_environment
from .places import CACHE, ROOT, DevError, environment
from .steps import Step, call


def scenarios() -> list[str]:
    """All scenarios but the shared parts."""
    found = sorted(path.parent.name for path in ROOT.glob("molecule/*/molecule.yml"))
    return [name for name in found if name not in ("default", "shared")]


def steps(folder: Path, *, names: Sequence[str], full: bool, engine: str) -> list[Step]:
    """A step for each named scenario, or for all. Raises DevError for an unknown name."""
    known = scenarios()
    for name in names:
        if name not in known:
            raise DevError(f"there is no scenario {name}; there are: {', '.join(known) or 'none'}")
    return [_step(folder, name, full=full, engine=engine) for name in names or known]


def _step(folder: Path, name: str, *, full: bool, engine: str) -> Step:
    junit = JUNIT / f"molecule-{name}.xml"
    env = environment(
        folder,
        **test_environment(full=full),
        LAB_ENGINE=engine,
        # The verify step runs pytest; this is how its tests get counted here.
        PYTEST_ADDOPTS=f"--junit-xml={junit}",
        MOLECULE_EPHEMERAL_DIRECTORY=str(CACHE / "molecule" / name),
    )
    limit = 4 * 3600 if full else 1500
    return Step(name, call(["molecule", "test", "-s", name], timeout=limit), env, junit=junit, announce=True)
