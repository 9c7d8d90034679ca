# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first runs: what check mode foresees on bare hosts, what the first one makes, that the second changes nothing."""

from __future__ import annotations

from conftest import First
from lab.probe import Lab
from mailers import MAILERS, STAGES, unit, variables


def test_check_mode_on_bare_hosts_foresees_the_first_run(first: First) -> None:
    assert (first.foreseen.failures, first.left) == ({}, "")
    for mailer in MAILERS:
        # Packages are named in check mode, and installed else.
        assert set(first.foreseen.changed[mailer]) - {"Say what would be installed"} <= set(first.done.changed[mailer])
        assert "Configure the mailer" in first.foreseen.changed[mailer], first.foreseen.changed


def test_the_second_run_changes_nothing(first: First) -> None:
    assert (first.done.failures, first.second.changed) == ({}, {})


def test_all_stages_run_and_start_with_the_host(lab: Lab) -> None:
    for mailer in MAILERS:
        said = lab.run(mailer, ["systemctl", "is-active", *map(unit, STAGES)], check=False).stdout.split()
        assert said == ["active"] * len(STAGES), (mailer, said)
        target = "postmaster-mailer.target"
        assert lab.run(mailer, ["systemctl", "is-enabled", target], check=False).stdout.strip() == "enabled"
        wanted = lab.run(mailer, ["systemctl", "show", "--value", "-p", "Wants", target]).stdout.split()
        assert set(map(unit, STAGES)) <= set(wanted), (mailer, wanted)


def test_no_run_shows_a_secret(first: First) -> None:
    secret = variables()["mailer_hook_secret"]
    for played in (first.foreseen, first.done, first.second):
        assert secret not in played.output and "$argon2id$" not in played.output
