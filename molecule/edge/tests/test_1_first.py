# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first runs: what is said before DNS is right, what is foreseen, and that a second run changes nothing."""

from __future__ import annotations

from conftest import First
from edges import EDGES, NAMES, addresses
from lab.probe import Lab

REACH = 8


def test_names_that_nobody_published_are_told_and_nothing_is_changed(lab: Lab, first: First) -> None:
    """The twin is the run that follows once they are."""
    assert first.unpublished.changed == {}
    for edge, name in NAMES.items():
        v4, v6 = addresses(lab, edge)
        assert f"{name} has no A record: publish `{name}. A {v4}`." in first.unpublished.failures[edge]
        assert f"{name} has no AAAA record: publish `{name}. AAAA {v6}`." in first.unpublished.failures[edge]


def test_check_mode_on_bare_hosts_foresees_the_first_run(first: First) -> None:
    assert (first.foreseen.failures, first.left) == ({}, "")
    for edge in EDGES:
        assert "Configure the edge" in first.foreseen.changed[edge]
        assert "The relay is reached by those in the list" in first.foreseen.changed[edge]


def test_the_second_run_changes_nothing_and_needs_few_tasks(first: First) -> None:
    assert (first.done.code, first.second.changed) == (0, {})
    assert {edge: len(first.second.remote[edge]) <= REACH for edge in EDGES} == dict.fromkeys(EDGES, True), (
        first.second.remote
    )


def test_the_way_to_the_administration_is_told(lab: Lab, first: First) -> None:
    for edge in EDGES:
        assert f"ssh -L 8006:{lab.address('relay1')}:8006 {edge} -N" in first.done.output


def test_docker_keeps_all_its_rules(first: First) -> None:
    before, after = first.docker
    assert sum("DOCKER" in rule for rule in before) > 50 and ":FORWARD DROP" in before
    assert after == before
