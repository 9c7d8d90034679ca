# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mail through the edges, by real packets: who gets through, as whom, and with which address it leaves.

All of it again after the edges were restarted, with Docker's rules on top of all others.
"""

from __future__ import annotations

import pytest
from edges import (
    CLIENTS,
    EDGES,
    NAMES,
    addresses,
    answered,
    docker,
    knock,
    letter,
    post,
)
from lab import control
from lab.probe import Lab

pytestmark = pytest.mark.usefixtures("moment")


@pytest.fixture(scope="module", params=["as set up", "restarted"])
def moment(lab: Lab, request: pytest.FixtureRequest) -> None:
    """As the first run left the edges, and after a restart that they had to get over by themselves."""
    if request.param == "restarted":
        for edge in EDGES:
            control.restart(lab.name, edge)
        docker(lab, on_top=True)


@pytest.mark.parametrize("edge", EDGES)
def test_mail_of_a_server_elsewhere_arrives_and_is_believed(lab: Lab, token: str, edge: str) -> None:
    """By the name alone, as a program on the server sends it."""
    lab.run(CLIENTS[edge], ["sendmail", "root"], input=f"Subject: {token}\n\nHello\n")
    message = lab.wait_for_message(token)
    assert message.verdicts == {"spf": "pass", "dkim": "pass", "dmarc": "pass"}
    assert (message.recipient, message.sender) == ("ops@outside.test", "root@corp.example")
    assert message.client["name"] == message.client["helo"] == "pmg.corp.example"
    assert message.client["address"] in addresses(lab, "edge")
    assert sum("by pmg.corp.example" in hop for hop in message.received) == 1


@pytest.mark.parametrize("version", [4, 6])
def test_the_relay_sees_who_sends(lab: Lab, token: str, version: int) -> None:
    """Behind an edge that has to be generic it sees the edge."""
    for edge, client in CLIENTS.items():
        name, seen = f"{edge}.{token}", client if edge == "edge" else edge
        assert post(lab, client, edge, version=version, message=letter(name)).accepted
        (hop,) = [hop for hop in lab.wait_for_message(name).received if "by pmg.corp.example" in hop]
        inner = lab.known["hosts"][seen]["addresses"][-2:][version == 6]
        assert f"({lab.fqdn(seen)} [{'IPv6:' if version == 6 else ''}{inner}])" in hop


@pytest.mark.parametrize("version", [4, 6])
def test_what_the_relay_sends_leaves_with_the_public_address(lab: Lab, token: str, version: int) -> None:
    """It goes where it is meant to go, and does not come back to the relay."""
    dialogue = lab.smtp(
        "relay1", "outside", version=version, helo=NAMES["edge"], sender="joe@corp.example",
        recipients="victim@outside.test", message=letter(token),
    )  # fmt: skip
    assert "mx.outside.test" in dialogue.steps[0][2] and dialogue.steps[0][1] == 220
    # Unsigned, as it did not pass the relay's own Postfix: DMARC rests on SPF alone.
    message = lab.wait_for_message(token)
    assert message.client == {
        "helo": NAMES["edge"],
        "name": NAMES["edge"],
        "address": lab.address("edge", version=version),
    }
    assert (message.verdicts["spf"], message.verdicts["dmarc"]) == ("pass", "pass")


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("edge", EDGES)
def test_others_do_not_reach_the_relay(lab: Lab, edge: str, version: int) -> None:
    refused = knock(lab, "stranger", edge, version=version)
    assert refused.steps[0][:2] == ("connection", 0)
    assert answered(knock(lab, CLIENTS[edge], edge, version=version)), "the twin, which is in the list"


def test_the_relay_does_not_send_to_itself(lab: Lab, token: str) -> None:
    """Although the network that it stands in is in the list."""
    for version in (4, 6):
        far = lab.smtp(
            "relay1", "outside", version=version, sender="joe@corp.example", recipients="victim@outside.test"
        )
        assert "mx.outside.test" in far.steps[0][2]
    lab.run("relay1", ["sendmail", "victim@outside.test"], input=f"Subject: {token}\n\nHello\n")
    assert sum("by pmg.corp.example" in hop for hop in lab.wait_for_message(token).received) == 1
    # The witness: a rule without a destination, as people write it.
    rule = f"PREROUTING -s {lab.address('relay1')} -p tcp --dport 25 -j DNAT --to {lab.address('relay1')}"
    lab.run("edge", f"iptables -t nat -I {rule}")
    try:
        near = lab.smtp("relay1", "outside", sender="joe@corp.example", recipients="victim@outside.test", timeout=3)
        assert "mx.outside.test" not in near.steps[0][2]
    finally:
        lab.run("edge", f"iptables -t nat -D {rule}")
