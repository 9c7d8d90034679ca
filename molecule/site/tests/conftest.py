# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The estate, converged once for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab.plays import Played, play
from lab.probe import Lab

PLAYBOOKS = Path(__file__).resolve().parents[3] / "playbooks"


@pytest.fixture(scope="session", autouse=True)
def converged(lab: Lab) -> Played:
    """The first run of the whole estate, from bare hosts."""
    return play(lab, PLAYBOOKS / "site.yml", timeout=1500)
