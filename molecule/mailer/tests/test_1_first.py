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
        assert set(first.foreseen.changed[mailer]) <= set(first.done.changed[mailer])
        assert len(first.foreseen.changed[mailer]) >= 5, first.foreseen.changed


def test_the_second_run_changes_nothing(first: First) -> None:
    assert (first.done.failures, first.second.changed) == ({}, {})


def test_all_stages_run_and_start_with_the_host(lab: Lab) -> None:
    for mailer in MAILERS:
        for asked, expected in (("is-active", "active"), ("is-enabled", "enabled")):
            said = lab.run(mailer, ["systemctl", asked, *map(unit, STAGES)], check=False).stdout.split()
            assert said == [expected] * len(STAGES), (mailer, said)


def test_no_run_shows_a_secret(first: First) -> None:
    secret = variables()["mailer_hook_secret"]
    for played in (first.foreseen, first.done, first.second):
        assert secret not in played.output and "$argon2id$" not in played.output
