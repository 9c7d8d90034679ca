# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What changes with the variables: who may send, and by which version of IP."""

from __future__ import annotations

from edges import CLIENTS, EDGES, NAMES, addresses, answered, docker_rules, knock, publish, run
from lab.probe import Lab

RULES = "The relay is reached by those in the list"


def test_a_client_is_one_item_in_the_list(lab: Lab) -> None:
    """It gets as far as the relay, which sees who it is and has an opinion of its own; without the item it does not."""
    listed = [address for host in CLIENTS.values() for address in addresses(lab, host)]
    before = docker_rules(lab)
    more = [*listed, *lab.known["networks"]["estate"].values(), *addresses(lab, "stranger")]
    assert run(lab, "edge", extra={"edge_clients": more}).changed == {edge: [RULES] for edge in EDGES}
    for edge in EDGES:
        for version in (4, 6):
            assert answered(knock(lab, "stranger", edge, version=version))
    refusal = knock(lab, "stranger", "edge").refusal
    assert refusal is not None and (refusal[:2], lab.address("stranger") in refusal[2]) == (("RCPT", 554), True)
    assert run(lab, "edge").changed == {edge: [RULES] for edge in EDGES}
    for edge in EDGES:
        for version in (4, 6):
            assert not answered(knock(lab, "stranger", edge, version=version))
            assert answered(knock(lab, CLIENTS[edge], edge, version=version))
    assert docker_rules(lab) == before


def test_ipv4_alone(lab: Lab) -> None:
    """The name must not lead there by IPv6 then, and nothing is left of IPv6."""
    extra, client = {"edge_inet_protocols": "ipv4"}, CLIENTS["edge"]
    name, v6 = NAMES["edge"], lab.address("edge", version=6)
    try:
        failed = run(lab, "edge", limit="edge", extra=extra, must_pass=False)
        says = f"{name} leads to {v6}, where this host takes nothing by IPv6: remove `{name}. AAAA {v6}`."
        assert (failed.failures, failed.changed) == ({"edge": says}, {})
        publish(lab, "edge", name, ipv6=False)
        run(lab, "edge", limit="edge", extra=extra)
        assert not answered(knock(lab, client, "edge", version=6))
        assert answered(knock(lab, client, "edge"))
    finally:
        publish(lab, "edge", name)
        run(lab, "edge", limit="edge")
    assert answered(knock(lab, client, "edge", version=6))
