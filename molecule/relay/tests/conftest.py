# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets the tests of this folder import what they have in common, and find the relays as they expect them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from lab.probe import Lab

sys.path.insert(0, str(Path(__file__).resolve().parent))
from relays import settle


def pytest_configure(config: pytest.Config) -> None:
    """A test that sets its own variables first saves a run of the role."""
    config.addinivalue_line("markers", "from_any_state: the test does not need the relays in their usual state")


@pytest.fixture(autouse=True)
def settled(lab: Lab, request: pytest.FixtureRequest) -> None:
    """The usual state of the relays, before each test that needs it."""
    if request.node.get_closest_marker("from_any_state") is None:
        settle(lab)
