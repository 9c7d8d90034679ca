# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The satellites, converged once for all tests of this folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from lab.plays import Played, play
from lab.probe import Lab

HERE = Path(__file__).resolve().parent
PLAYBOOK = HERE.parents[2] / "playbooks" / "satellite.yml"
ESTATE = HERE.parent / "estate"
HOSTS = ("sat-postfix-12", "sat-postfix-13", "sat-exim-12", "sat-exim-13")


@pytest.fixture(scope="session")
def converge(lab: Lab) -> Callable[..., Played]:
    """Runs playbooks/satellite.yml on all satellites at once; options as those of lab.plays.play."""

    def run(**options: object) -> Played:
        return play(lab, PLAYBOOK, inventories=[ESTATE], **options)  # type: ignore[arg-type]

    return run


@pytest.fixture(scope="session", autouse=True)
def runs(converge: Callable[..., Played]) -> dict[str, Played]:
    """Check mode on bare hosts, then twice for real."""
    return {"foreseen": converge(check=True), "first": converge(), "second": converge()}


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest) -> str:
    """Each satellite in turn."""
    return str(request.param)
