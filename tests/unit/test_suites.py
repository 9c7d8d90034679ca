# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What decides whether a suite of others passes does find what fails."""

from __future__ import annotations

import sys
from collections.abc import Hashable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import _suites as suites

RULE = "RFC 7208 section 7.1: a rule"


@pytest.mark.parametrize(
    ("listed", "cases", "differing", "holds"),
    [
        ({}, range(10), [], True),
        ({}, range(10), [3], False),  # not listed
        ({3: RULE}, range(50), [3], True),
        ({3: RULE}, range(49), [3], False),  # more than two in a hundred
        ({3: RULE}, range(50), [], False),  # listed, and right after all
        ({3: "it suits us"}, range(50), [3], False),  # no rule
        ({3: RULE}, [*range(49), 3], [3, 3], False),  # the same case twice counts twice
        ({3: RULE, 4: RULE}, range(99), [3, 4], False),
        ({3: RULE, 4: RULE}, range(100), [3, 4], True),
    ],
)
def test_a_suite_passes_by_what_is_listed(
    monkeypatch: pytest.MonkeyPatch, listed: dict[Hashable, str], cases: list[int], differing: list[int], holds: bool
) -> None:
    monkeypatch.setitem(suites.WRONG, "made", listed)
    if holds:
        suites.settle("made", cases, differing)
    else:
        with pytest.raises(AssertionError):
            suites.settle("made", cases, differing)


def test_a_part_of_a_suite_is_measured_by_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(suites.WRONG, "made", {3: RULE})
    suites.settle("made", [1, 2], [], size=50)
    suites.settle("made", [3, 4], [3], size=50)
    with pytest.raises(AssertionError):
        suites.settle("made", [3, 4], [3], size=49)
