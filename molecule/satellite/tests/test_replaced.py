# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that change sides: refused until it is allowed, and then as good as the others. The last tests of all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from lab.plays import Played, play
from lab.probe import Lab

HERE = Path(__file__).resolve().parent
PLAYBOOK = HERE.parents[2] / "playbooks" / "satellite.yml"
ESTATE = HERE.parent / "estate"
# From the group it is in to the other: one host of each program, one of each release.
MOVES = {
    "sat-postfix-12": ("satellites_postfix", "satellites_exim"),
    "sat-exim-13": ("satellites_exim", "satellites_postfix"),
}
BYSTANDER = "sat-exim-12"
PRESENT = {"sat-postfix-12": "postfix", "sat-exim-13": "exim4-daemon-light"}
REPLACE = {"satellite_replace_mta": True}


@pytest.fixture(scope="module")
def moved(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Played]:
    """Runs playbooks/satellite.yml on two hosts that somebody has moved to the other group."""
    inventory = yaml.safe_load(Path(lab.known["inventory"]).read_text(encoding="utf-8"))
    groups = inventory["all"]["children"]
    for host, (old, new) in MOVES.items():
        groups[new]["hosts"][host] = groups[old]["hosts"].pop(host)
    path = tmp_path_factory.mktemp("moved") / "inventory.yml"
    path.write_text(yaml.safe_dump(inventory), encoding="utf-8")
    there = Lab({**lab.known, "inventory": str(path)})

    def run(**options: object) -> Played:
        return play(there, PLAYBOOK, inventories=[ESTATE], limit=",".join((*MOVES, BYSTANDER)), **options)  # type: ignore[arg-type]

    return run


@pytest.fixture(scope="module")
def replaced(moved: Callable[..., Played]) -> Played:
    """The run that is allowed to replace what is there."""
    return moved(extra=REPLACE)


@pytest.mark.parametrize("check", [True, False])
def test_another_mta_is_named_and_left_alone(lab: Lab, moved: Callable[..., Played], check: bool, token: str) -> None:
    refused = moved(check=check, must_pass=False)
    assert set(refused.failures) == set(MOVES)
    assert refused.changed == {}
    for host, package in PRESENT.items():
        assert f"Another mail transport agent is installed ({package})" in refused.failures[host]
        assert "satellite_replace_mta: true" in refused.failures[host]
        lab.run(host, ["sendmail", "-f", "alex@corp.example", "root"], input=f"Subject: {token}\n\n{host}\n")
    lab.wait_for_messages(token, len(MOVES))


def test_the_other_one_takes_over(lab: Lab, replaced: Played, token: str) -> None:
    for host, package in PRESENT.items():
        installed = lab.run(host, ["dpkg-query", "-W", "-f", "${Status}", package], check=False).stdout
        assert not installed.endswith(" installed")
        assert lab.listeners(host) == {"127.0.0.1:25", "[::1]:25"}
        lab.run(host, ["sendmail", f"root@{lab.fqdn(host)}"], input=f"Subject: {token}\n\n{host}\n")
    messages = lab.wait_for_messages(token, len(MOVES))
    assert {(message.sender, message.recipient) for message in messages} == {("root@corp.example", "ops@outside.test")}
    hops = [hop for message in messages for hop in message.received]
    assert any(f"by {lab.fqdn('sat-postfix-12')} with local (Exim " in hop for hop in hops), hops
    assert any(f"by {lab.fqdn('sat-exim-13')} (Postfix, " in hop for hop in hops), hops


def test_a_second_run_changes_nothing_there(moved: Callable[..., Played], replaced: Played) -> None:
    assert moved(extra=REPLACE).changed == {}
    assert moved().changed == {}


def test_nothing_of_the_old_one_fails_or_warns(lab: Lab, replaced: Played) -> None:
    for host in MOVES:
        assert lab.run(host, ["systemctl", "--failed", "--no-legend"]).stdout == "", host
