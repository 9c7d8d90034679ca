# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures for tests that run against a lab: ``-p lab.pytest_plugin`` with the lab's name in LAB_NAME."""

from __future__ import annotations

import uuid

import pytest

from .probe import Lab


@pytest.fixture(scope="session")
def lab() -> Lab:
    """The running lab."""
    return Lab.load()


@pytest.fixture
def token() -> str:
    """A word that no other message contains."""
    return f"token-{uuid.uuid4().hex}"
