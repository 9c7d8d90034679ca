# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people on the satellites send arrives at outside, and outside believes it."""

from __future__ import annotations

import pytest
from lab.probe import Lab, Message

SATELLITES = ("sat-postfix-12", "sat-postfix-13", "sat-exim-12", "sat-exim-13")
THROUGH = {
    "sat-postfix-12": "relay1",
    "sat-postfix-13": "relay2",
    "sat-exim-12": "relay2",
    "sat-exim-13": "relay1",
}
SOMEONE = "someone@outside.test"
ROOT = "ops@outside.test"
each_satellite = pytest.mark.parametrize("host", SATELLITES)


def arrived_well(lab: Lab, message: Message, host: str) -> None:
    """The message is believed, came the way it should, and shows no host of ours in its addresses."""
    assert message.verdicts == {"spf": "pass", "dkim": "pass", "dmarc": "pass"}
    assert lab.dkim_verifies(message)
    assert message.tls, message.received[0]
    assert message.sender.endswith("@corp.example")
    for header in ("From", "Sender", "Reply-To"):
        for text in message.parsed.get_all(header, []):
            assert ".corp.example" not in text, f"{header}: {text}"
    hops = " ".join(message.received)
    assert f"by {lab.fqdn(THROUGH[host])}" in hops
    last_hop = "provider" if THROUGH[host] == "relay2" else "relay1"
    assert message.client["name"] == lab.fqdn(last_hop)
    assert message.client["helo"] == lab.fqdn(last_hop)


@each_satellite
def test_a_person_s_mail_arrives_and_is_believed(lab: Lab, host: str, token: str) -> None:
    lab.run(host, ["sendmail", "-f", "alex@corp.example", SOMEONE], input=f"Subject: {token}\n\nHello.\n")
    message = lab.wait_for_message(token)
    arrived_well(lab, message, host)
    assert message.sender == "alex@corp.example"
    assert message.recipient == SOMEONE
    assert message.parsed["From"].addresses[0].addr_spec == "alex@corp.example"


@each_satellite
def test_mail_under_the_host_s_own_name_leaves_under_the_domain(lab: Lab, host: str, token: str) -> None:
    full = lab.fqdn(host)
    text = f"From: Backup <backup@{full}>\nReply-To: admin@{full}\nSubject: {token}\n\nDone.\n"
    lab.run(host, ["sendmail", "-f", f"backup@{full}", SOMEONE], input=text)
    message = lab.wait_for_message(token)
    arrived_well(lab, message, host)
    assert message.sender == "backup@corp.example"
    assert message.parsed["From"].addresses[0].addr_spec == "backup@corp.example"
    assert message.parsed["Reply-To"].addresses[0].addr_spec == "admin@corp.example"


@each_satellite
@pytest.mark.parametrize("recipient", ["root", "root@localhost", "root@corp.example", "postmaster"])
def test_mail_to_root_arrives_at_the_configured_address(lab: Lab, host: str, recipient: str, token: str) -> None:
    lab.run(host, ["sendmail", "-f", "alex@corp.example", recipient], input=f"Subject: {token}\n\nTo root.\n")
    message = lab.wait_for_message(token)
    arrived_well(lab, message, host)
    assert message.recipient == ROOT


@each_satellite
def test_mailx_reaches_root(lab: Lab, host: str, token: str) -> None:
    lab.run(host, ["mailx", "-s", token, "-r", "alex@corp.example", "root"], input="test\n")
    message = lab.wait_for_message(token)
    arrived_well(lab, message, host)
    assert message.recipient == ROOT
    assert message.parsed["From"].addresses[0].addr_spec == "alex@corp.example"


@each_satellite
def test_a_second_domain_is_signed_with_its_own_key(lab: Lab, host: str, token: str) -> None:
    if THROUGH[host] == "relay2":
        # Not in its SPF record: the provider sends for corp.example alone, so only the signature speaks for it.
        expected = {"spf": "fail", "dkim": "pass", "dmarc": "pass"}
    else:
        expected = {"spf": "pass", "dkim": "pass", "dmarc": "pass"}
    lab.run(
        host,
        ["sendmail", "-f", "shop@shop.example", SOMEONE],
        input=f"From: shop@shop.example\nSubject: {token}\n\nHi.\n",
    )
    message = lab.wait_for_message(token)
    assert message.verdicts == expected
    assert "d=shop.example" in "".join(message.parsed["DKIM-Signature"].split())
