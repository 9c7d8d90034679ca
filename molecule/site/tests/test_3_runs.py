# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running again: nothing changes; check mode tells the truth; a change is recorded and can be taken back."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from lab.plays import Played, play
from lab.probe import Lab

PLAYBOOKS = Path(__file__).resolve().parents[3] / "playbooks"
SITE = PLAYBOOKS / "site.yml"
# One host of each kind keeps the history of its /etc.
KEEPERS = ("relay1", "sat-postfix-13", "sat-exim-12")
OUR_SECRETS = ("dkimkeys/", "postfix/sasl_passwd", "postfix/satellite_password", "exim4/passwd.client")
LIFETIMES = {
    "satellite_queue_lifetime": "3d",
    "relay_maximal_queue_lifetime": "3d",
    "relay_bounce_queue_lifetime": "3d",
}


def commits(lab: Lab, host: str) -> list[str]:
    """Subjects of the commits in the host's /etc, the newest first."""
    return lab.run(host, ["git", "-C", "/etc", "log", "--format=%s"]).stdout.splitlines()


def _start_history(lab: Lab, host: str) -> None:
    lab.run(host, "apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install etckeeper", timeout=300)
    lab.run(host, "etckeeper commit -q 'all so far' || true")
    lab.run(host, "echo 'a note of the administrator' > /etc/note")


@pytest.fixture(scope="module")
def changed(lab: Lab) -> Iterator[tuple[Played, Played, dict[str, list[str]]]]:
    """A run with other queue lifetimes: what check mode said of it, what it did, and the commits before."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda host: _start_history(lab, host), KEEPERS))
    before = {host: commits(lab, host) for host in KEEPERS}
    predicted = play(lab, SITE, check=True, extra=LIFETIMES)
    yield predicted, play(lab, SITE, extra=LIFETIMES), before


def test_a_second_run_changes_nothing(lab: Lab) -> None:
    assert play(lab, SITE).changed == {}


def test_check_mode_predicts_a_changed_variable(lab: Lab, changed: tuple[Played, Played, dict[str, list[str]]]) -> None:
    predicted, done, dummy = changed
    assert set(done.changed) == {*lab.hosts("relays"), *lab.hosts("satellites")}
    assert predicted.changed == done.changed


@pytest.mark.parametrize("host", KEEPERS)
def test_a_changing_run_is_two_commits(
    lab: Lab, changed: tuple[Played, Played, dict[str, list[str]]], host: str
) -> None:
    before = changed[2][host]
    now = commits(lab, host)
    assert now[2:] == before
    assert now[1].startswith("saving uncommitted changes before")
    tracked = lab.run(host, ["git", "-C", "/etc", "ls-files"]).stdout.splitlines()
    assert "note" in tracked
    assert not [path for path in tracked if path.startswith(OUR_SECRETS)]


def test_the_last_working_configuration_comes_back(
    lab: Lab, changed: tuple[Played, Played, dict[str, list[str]]]
) -> None:
    play(lab, PLAYBOOKS / "restore.yml", limit="relays:satellites")
    assert play(lab, SITE).changed == {}
