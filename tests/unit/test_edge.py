# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the variables of an edge mean, and which of them cannot be."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.postmaster.mail.plugins.filter.edge_plan import edge_plan
from hypothesis import given
from hypothesis import strategies as st

GIVEN: dict[str, Any] = {
    "hostname": "pmg.example.org",
    "addresses": ["203.0.113.5", "2001:DB8:5::5"],
    "relay_addresses": ["10.1.0.102", "fd00:1::102"],
    "inet_protocols": "all",
    "clients": ["192.0.2.25", "192.0.2.25/32", "192.0.2.32/28", "2001:db8:1::/64"],
    "interface": "",
    "advertised_interfaces": [],
    "relay_port": 25,
    "admin_port": 8006,
    "web_port": 80,
}


def test_both_families() -> None:
    assert edge_plan(GIVEN) == {
        "problems": [],
        "addresses": ["203.0.113.5", "2001:db8:5::5"],
        "relay_addresses": ["10.1.0.102", "fd00:1::102"],
        "clients": ["192.0.2.25/32", "192.0.2.32/28", "2001:db8:1::/64"],
        "unused": [],
        "ipv6": True,
        "sysctls": {"net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1"},
        "tunnel": "8006:10.1.0.102:8006",
    }


def test_ipv4_alone() -> None:
    plan = edge_plan({**GIVEN, "inet_protocols": "ipv4", "advertised_interfaces": ["eth0"]})
    assert plan == {
        "problems": [],
        "addresses": ["203.0.113.5"],
        "relay_addresses": ["10.1.0.102"],
        "clients": ["192.0.2.25/32", "192.0.2.32/28"],
        "unused": [{"address": "2001:db8:5::5", "relay_address": "fd00:1::102"}],
        "ipv6": False,
        "sysctls": {"net.ipv4.ip_forward": "1"},
        "tunnel": "8006:10.1.0.102:8006",
    }
    never = {"addresses": ["203.0.113.5"], "relay_addresses": ["10.1.0.102"]}
    assert edge_plan({**GIVEN, **never, "inet_protocols": "ipv4"})["unused"] == []


def test_ipv6_alone_with_a_route_that_is_advertised() -> None:
    plan = edge_plan({**GIVEN, "inet_protocols": "ipv6", "advertised_interfaces": ["eth0.100"], "admin_port": 443})
    assert plan["addresses"] == ["2001:db8:5::5"]
    assert plan["sysctls"] == {"net.ipv6.conf.all.forwarding": "1", "net/ipv6/conf/eth0.100/accept_ra": "2"}
    assert plan["tunnel"] == "443:[fd00:1::102]:443"


PROBLEMS = [
    ({"hostname": "pmg"}, "edge_hostname: 'pmg' is no full host name: give one such as mail.example.org"),
    ({"hostname": "a.b;\n"}, "edge_hostname: 'a.b;\\n' is no full host name: give one such as mail.example.org"),
    ({"addresses": ["edge"]}, "edge_addresses: 'edge' is no IP address: give one such as 192.0.2.25"),
    (
        {"addresses": ["203.0.113.5", "2001:db8:5::5%x; }"]},
        "edge_addresses: '2001:db8:5::5%x; }' is no IP address: give one such as 192.0.2.25",
    ),
    (
        {"addresses": ["203.0.113.5", "203.0.113.6"]},
        "edge_addresses: 203.0.113.5 and 203.0.113.6 are both IPv4: give one of each family",
    ),
    (
        {"addresses": ["203.0.113.5"]},
        "edge_addresses has no IPv6 address: give it one, or say edge_inet_protocols: ipv4 where nothing is to be taken by IPv6",
    ),
    (
        {"relay_addresses": ["fd00:1::102"]},
        "edge_relay_addresses has no IPv4 address: give it one, or say edge_inet_protocols: ipv6 where nothing is to be taken by IPv4",
    ),
    (
        {"relay_addresses": ["127.0.0.1", "fd00:1::102"]},
        "edge_relay_addresses: 127.0.0.1 is not an address that other hosts reach: give one that they do",
    ),
    (
        {"relay_addresses": ["10.1.0.102", "2001:db8:5::5"]},
        "edge_relay_addresses: 2001:db8:5::5 is the edge's own: give the address the relay has behind it",
    ),
    ({"clients": ["web1"]}, "edge_clients: 'web1' is no network: write one such as 192.0.2.0/28 or 2001:db8::/64"),
    (
        {"clients": ["0.0.0.0/0"]},
        "edge_clients: 0.0.0.0/0 would let a part of the internet send through this host: name your own networks,"
        " none wider than /16",
    ),
    ({"interface": "eth0 }"}, "edge_interface: 'eth0 }' is no name of an interface: give one such as eth0"),
    (
        {"advertised_interfaces": ["../all"]},
        "edge_advertised_interfaces: '../all' is no name of an interface: give one such as eth0",
    ),
    ({"relay_port": 0}, "edge_relay_port: 0 is no port: give a number from 1 to 65535"),
    ({"admin_port": 65536}, "edge_admin_port: 65536 is no port: give a number from 1 to 65535"),
]


@pytest.mark.parametrize(("changed", "says"), PROBLEMS)
def test_problems(changed: dict[str, Any], says: str) -> None:
    assert edge_plan({**GIVEN, **changed}) == {"problems": [says]}


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(AnsibleFilterError, match="edge_plan needs 'hostname'"):
        edge_plan({})


@given(
    st.sampled_from(["hostname", "interface", "addresses", "relay_addresses", "clients", "advertised_interfaces"]),
    st.text(),
)
def test_no_text_breaks_it_or_leaves_a_word(name: str, text: str) -> None:
    """What passes has no character that could end a line or a string in a file."""
    value = [text] if isinstance(GIVEN[name], list) else text
    plan = edge_plan({**GIVEN, name: value})
    if not plan["problems"]:
        assert not set(text) & set(" \n\r\"';{}")
