# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running again: nothing changes; what somebody spoilt is mended; check mode tells the truth."""

from __future__ import annotations

from pathlib import Path

from lab.plays import play
from lab.probe import Lab

PLAYBOOKS = Path(__file__).resolve().parents[3] / "playbooks"
SITE = PLAYBOOKS / "site.yml"


def test_a_second_run_changes_nothing(lab: Lab) -> None:
    assert play(lab, SITE).changed == {}


def test_check_mode_changes_nothing_either(lab: Lab) -> None:
    assert play(lab, SITE, check=True).changed == {}


def test_check_mode_predicts_a_changed_variable(lab: Lab) -> None:
    extra = {
        "satellite_queue_lifetime": "3d",
        "relay_maximal_queue_lifetime": "3d",
        "relay_bounce_queue_lifetime": "3d",
    }
    predicted = play(lab, SITE, check=True, extra=extra).changed
    done = play(lab, SITE, extra=extra).changed
    assert set(done) == {*lab.hosts("relays"), *lab.hosts("satellites")}
    assert predicted == done
    back = play(lab, SITE).changed
    assert set(back) == set(done)
