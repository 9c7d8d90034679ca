# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Policies of MTA-STS that domains publish, which Postfix heeds."""

from __future__ import annotations

import json
import time
from functools import partial

import pytest
from lab import ready
from lab.probe import Lab
from mailers import MAILERS, POLICIES, RESOLVER, answer, events, fresh, sent, start_policies

pytestmark = pytest.mark.usefixtures("policies")
RIGHT, WRONG = POLICIES
VERIFIED = "Verified TLS connection established to mx.outside.test["


def policy(lab: Lab, mailer: str, domain: str) -> str:
    """What Postfix is told of a domain."""
    return lab.run(
        mailer, ["postmap", "-q", domain, "socketmap:inet:127.0.0.1:8461:postfix"], check=False
    ).stdout.strip()


def knows(lab: Lab, mailer: str, domain: str) -> bool:
    """Whether that is the policy that it publishes. One that was found once counts from then on."""
    return policy(lab, mailer, domain) == f"secure match={POLICIES[domain]} servername=hostname"


def handed_in(lab: Lab, mailer: str, uuid: str, domain: str) -> None:
    """A message for somebody there."""
    assert answer(lab, mailer, uuid, [f"{uuid}@{domain}"])[0] == 250


@pytest.mark.parametrize("mailer", MAILERS)
def test_a_policy_says_which_server_gets_the_mail(lab: Lab, token: str, mailer: str) -> None:
    """Where it is another one, mail waits. Its twin has it, by a connection that was verified."""
    wrong, right, since = fresh(token, "w"), fresh(token, "r"), time.time()
    for domain in POLICIES:
        ready.wait(f"the policy of {domain} on {mailer}", partial(knows, lab, mailer, domain))
    handed_in(lab, mailer, wrong, WRONG)
    event = events(lab, mailer, wrong)[0]
    assert event["type"] == "soft" and "certificate not verified" in event["reason"], event
    log = partial(lab.journal, mailer, "postfix*", since=f"@{int(since)}")
    assert VERIFIED not in log()
    handed_in(lab, mailer, right, RIGHT)
    assert lab.wait_for_message(right).recipient == f"{right}@{RIGHT}"
    assert VERIFIED in log() and lab.messages(wrong) == []
    forget(lab, mailer, f"{wrong}@{WRONG}")


def forget(lab: Lab, mailer: str, recipient: str) -> None:
    """What waits for somebody would wait through all the tests that follow."""
    held = map(json.loads, lab.run(mailer, ["postqueue", "-j"]).stdout.splitlines())
    ids = [one["queue_id"] for one in held if recipient in [who["address"] for who in one["recipients"]]]
    assert ids
    lab.run(mailer, ["postsuper", "-d", "-"], input="\n".join(ids) + "\n")


@pytest.mark.parametrize("mailer", MAILERS)
def test_mail_waits_for_who_knows_the_policies(lab: Lab, token: str, mailer: str) -> None:
    """Who is back knows them still, though the domain's web server does not answer."""
    uuid = fresh(token)
    ready.wait(f"the policy of {RIGHT} on {mailer}", partial(knows, lab, mailer, RIGHT))
    lab.run("outside", ["systemctl", "stop", "policies"])
    try:
        lab.run(mailer, ["systemctl", "stop", RESOLVER])
        handed_in(lab, mailer, uuid, RIGHT)
        event = events(lab, mailer, uuid)[0]
        assert event["type"] == "soft" and "TLS configuration problem" in event["reason"], event
        lab.run(mailer, ["systemctl", "start", RESOLVER])
        assert knows(lab, mailer, RIGHT)
        ready.wait("the message", partial(sent, lab, mailer, uuid))
        assert lab.wait_for_message(uuid).recipient == f"{uuid}@{RIGHT}"
    finally:
        lab.run(mailer, ["systemctl", "start", RESOLVER])
        start_policies(lab)
    ready.wait("the delivery", lambda: events(lab, mailer, uuid)[-1]["event"] == "delivered")


def test_what_publishes_no_policy_has_none(lab: Lab) -> None:
    for mailer in MAILERS:
        assert policy(lab, mailer, "stranger.test") == ""
