# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists on the host that is their relay: Postfix is the relay's alone, and neither role undoes what the other does."""

from __future__ import annotations

from typing import Any

import pytest
from lab.plays import Played, play
from lab.probe import Lab
from listhosts import DATABASES, DOMAINS, ESTATE, FULL, SCENARIO, post

HOST = "mail-13"
pytestmark = pytest.mark.skipif(not FULL, reason="not run: MAIL_TEST_FULL is not 1")


@pytest.fixture(scope="module")
def beside(lab: Lab) -> Played:
    """The second run, when the first has made a relay of the host."""
    options: dict[str, Any] = {"inventories": [ESTATE], "limit": HOST, "extra": {"lists_databases": DATABASES}}
    play(lab, SCENARIO / "beside.yml", **options, timeout=1200)
    return play(lab, SCENARIO / "beside.yml", **options)


def test_the_second_run_of_both_changes_nothing(beside: Played) -> None:
    assert (beside.failures, beside.changed) == ({}, {})


def test_mail_comes_in_by_the_relay_and_goes_out_signed(lab: Lab, beside: Played, token: str) -> None:
    post(lab, HOST, "member@outside.test", token, from_host="outside")
    message = lab.wait_for_message(token)
    assert message.client["name"] == lab.fqdn(HOST) and message.parsed["Subject"] == f"[Talk] {token}"
    signature = "".join(str(message.parsed["DKIM-Signature"]).split())
    assert f"d={DOMAINS[HOST]};" in signature and "s=beside;" in signature and lab.dkim_verifies(message)
    assert message.parsed["ARC-Seal"] is None


def test_the_relay_asks_mailman_for_each_address(lab: Lab, beside: Played) -> None:
    for local, answer in (("nosuch", ("RCPT", 550)), ("talk", None), ("talk-bounces+a=b.example", None)):
        said = lab.smtp("outside", HOST, sender="a@outside.test", recipients=f"{local}@{DOMAINS[HOST]}")
        assert (said.refusal and said.refusal[:2]) == answer, (local, said.steps)
    said = lab.smtp("outside", HOST, sender="a@outside.test", recipients="victim@stranger.test")
    assert said.refusal and said.refusal[:2] == ("RCPT", 554)


def test_the_domain_keeps_its_postmaster(lab: Lab, beside: Played, token: str) -> None:
    post(lab, HOST, "a@stranger.test", token, name="postmaster")
    assert lab.wait_for_message(token).recipient == "ops@outside.test"
