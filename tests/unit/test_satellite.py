# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the variables of a satellite mean."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.postmaster.mail.plugins.filter.satellite_plan import satellite_plan
from ansible_collections.postmaster.mail.plugins.module_utils import _satellite

BASE: dict[str, Any] = {
    "domain": "corp.example",
    "relay": "relay1.corp.example",
    "fqdn": "web1.corp.example",
    "root_address": "ops@outside.test",
}


def planned(**changes: Any) -> dict[str, Any]:
    result = satellite_plan({**BASE, **changes})
    assert result["problems"] == []
    return result


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "web1.corp.example"),
        ({"hostname": "db1.corp.example"}, "db1.corp.example"),
        ({"hostname": ""}, "web1.corp.example"),
        ({"fqdn": "web1"}, "web1.corp.example"),
        ({"fqdn": "Web1.Corp.Example"}, "web1.corp.example"),
        ({"fqdn": ""}, "localhost.corp.example"),
    ],
)
def test_hostname(changes: dict[str, Any], expected: str) -> None:
    assert planned(**changes)["hostname"] == expected


def test_aliases_hold_root_the_standard_names_and_the_settings() -> None:
    aliases = planned(aliases={"Munin": ["munin@outside.test", "root"], "security": "sec@corp.example"})["aliases"]
    assert aliases["root"] == "ops@outside.test"
    assert aliases["munin"] == "munin@outside.test, root"
    assert aliases["security"] == "sec@corp.example"
    assert aliases["mailer-daemon"] == "postmaster"
    assert aliases["postmaster"] == aliases["www-data"] == "root"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["root"]),
        ({"aliases": {"munin": "root"}}, ["root", "munin"]),
        ({"root_address": "root@corp.example"}, []),
        ({"aliases": {"alex": ["a@outside.test", "Alex@corp.example"]}}, ["root"]),
    ],
    ids=["root", "alias", "root lives at the domain", "alias keeps a copy at the domain"],
)
def test_names_resolved_at_the_domain(changes: dict[str, Any], expected: list[str]) -> None:
    result = planned(**changes)
    assert result["domain_names"] == expected
    assert result["domain_map"] == {f"{name}@corp.example": f"{name}@web1.corp.example" for name in expected}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"@web1.corp.example": "@corp.example", "@localhost": "@corp.example"}),
        ({"hostname": "off1.free.test"}, {"@off1.free.test": "@corp.example"}),
        ({"masquerade": False}, {"@localhost": "@web1.corp.example"}),
        (
            {"masquerade_exceptions": ["root", "@news.corp.example"]},
            {
                "root@web1.corp.example": "root@web1.corp.example",
                "root@localhost": "root@web1.corp.example",
                "@web1.corp.example": "@corp.example",
            },
        ),
    ],
)
def test_sender_map(changes: dict[str, Any], expected: dict[str, str]) -> None:
    result = planned(**changes)["sender_map"]
    assert {key: result[key] for key in expected} == expected
    assert ("@web1.corp.example" in result) == ("@web1.corp.example" in expected)


REWRITES: list[tuple[dict[str, Any], dict[str, str]]] = [
    (
        {},
        {
            "www-data@web1.corp.example": "www-data@corp.example",
            "root@web9.dc2.corp.example": "root@corp.example",
            "root@localhost": "root@corp.example",
            "Root@WEB1.CORP.EXAMPLE": "Root@corp.example",
            "alex@corp.example": "alex@corp.example",
            "alex@notcorp.example": "alex@notcorp.example",
            "alex@corp.example.test": "alex@corp.example.test",
            "bob@shop.example": "bob@shop.example",
        },
    ),
    (
        {"masquerade_exceptions": ["root", "@news.corp.example"]},
        {
            "root@web1.corp.example": "root@web1.corp.example",
            "root@localhost": "root@web1.corp.example",
            "rooty@web1.corp.example": "rooty@corp.example",
            "letter@news.corp.example": "letter@news.corp.example",
            "letter@a.news.corp.example": "letter@a.news.corp.example",
            "letter@oldnews.corp.example": "letter@corp.example",
        },
    ),
    (
        {"masquerade": False},
        {
            "root@web1.corp.example": "root@web1.corp.example",
            "root@localhost": "root@web1.corp.example",
            "root@web2.corp.example": "root@web2.corp.example",
        },
    ),
    (
        {"hostname": "off1.free.test"},
        {"root@off1.free.test": "root@corp.example", "x@off2.free.test": "x@off2.free.test"},
    ),
]


@pytest.mark.parametrize(("changes", "expected"), REWRITES)
def test_exim_rewrites(changes: dict[str, Any], expected: dict[str, str]) -> None:
    """Applied as Exim does: one rule after the other, each to what the one before it made."""
    for before, after in expected.items():
        address = before
        for line in planned(**changes)["exim_rewrites"]:
            pattern, replacement, flags = line.split("  ")
            assert flags == "Fh"
            match = re.match(pattern.removeprefix(r"\N^").removesuffix(r"\N"), address)
            address = replacement.replace("$1", match[1]) if match else address
        assert address == after


PROBLEMS: list[tuple[dict[str, Any], str]] = [
    ({"domain": "corp.example "}, "satellite_domain: 'corp.example ' is no domain name"),
    ({"domain": "Corp.example"}, "satellite_domain: 'Corp.example' is no domain name in lower case"),
    ({"domain": "localhost"}, "satellite_domain: 'localhost' is no domain name"),
    ({"hostname": "web1"}, "satellite_hostname: 'web1' is no full host name"),
    ({"hostname": "corp.example"}, "satellite_hostname: must not be satellite_domain itself"),
    ({"relay": "re lay"}, "satellite_relay: 're lay' is no host name in lower case and no address"),
    ({"relay": "[relay1.corp.example]:25"}, "satellite_relay: '[relay1.corp.example]:25' is no host name"),
    ({"relay": "web1.corp.example"}, "satellite_relay: must not be the host itself"),
    ({"relay_port": 70000}, "satellite_relay_port: 70000 is no port"),
    ({"tls": "maybe"}, "satellite_tls: 'maybe' is none of encrypt, may, verify, none"),
    ({"tls": "verify", "relay": "192.0.2.1"}, "satellite_tls: verify needs a name in satellite_relay"),
    ({"tls_ca_file": "ca.pem"}, "satellite_tls_ca_file: 'ca.pem' is no absolute path"),
    ({"username": "corp"}, "satellite_username and satellite_password: set both or neither"),
    ({"username": "a:b", "password": "x"}, "satellite_username: white space, colons"),
    ({"username": "corp", "password": "two\nlines"}, "satellite_password: control characters"),
    ({"username": "corp", "password": "x", "tls": "may"}, "satellite_tls: must be encrypt or verify, not may"),
    ({"queue_lifetime": "5 days"}, "satellite_queue_lifetime: '5 days' is no number with s,"),
    ({"queue_lifetime": "15w"}, "satellite_queue_lifetime: 15w is more than 100d"),
    ({"root_address": "ops"}, "satellite_root_address: 'ops' is no mail address"),
    ({"root_address": "|rm@outside.test"}, "satellite_root_address: '|rm@outside.test' is no mail address"),
    ({"root_address": "root@web1.corp.example"}, "satellite_root_address: root@web1.corp.example is on this host"),
    ({"aliases": ["munin"]}, "satellite_aliases: must be a mapping"),
    ({"aliases": {"munin": 7}}, "satellite_aliases: munin must be an address or a list of addresses, not 7"),
    ({"aliases": {"munin": []}}, "satellite_aliases: munin must be an address or a list of addresses"),
    ({"aliases": {"root": "a@b.test"}}, "satellite_aliases: root has a variable of its own"),
    ({"aliases": {"mu nin": "root"}}, "satellite_aliases: 'mu nin' is no name for an alias"),
    ({"aliases": {"munin": "|/bin/sh"}}, "satellite_aliases: munin: '|/bin/sh' is neither a mail address nor a name"),
    ({"aliases": {"munin": ":include:/etc/x"}}, "satellite_aliases: munin: ':include:/etc/x' is neither"),
    ({"aliases": {"a": "b", "b": "a@localhost"}}, "satellite_aliases: a leads back to itself"),
    ({"aliases": {"a": "a"}}, "satellite_aliases: a leads back to itself"),
    (
        {"aliases": {"a": "x\nroot: evil@outside.test"}},
        "satellite_aliases: a: 'x\\nroot: evil@outside.test' is neither",
    ),
    ({"masquerade_exceptions": ["a b"]}, "satellite_masquerade_exceptions: 'a b' is no user name"),
    ({"masquerade_exceptions": ["@shop.example"]}, "satellite_masquerade_exceptions: @shop.example is not under"),
    ({"inet_protocols": "ipv5"}, "satellite_inet_protocols: 'ipv5' is none of all, ipv4, ipv6"),
]


@pytest.mark.parametrize(("changes", "expected"), PROBLEMS)
def test_problems_name_the_variable(changes: dict[str, Any], expected: str) -> None:
    result = satellite_plan({**BASE, **changes})
    assert set(result) == {"problems"}
    assert any(sentence.startswith(expected) for sentence in result["problems"]), result["problems"]


def test_the_password_is_never_told() -> None:
    result = satellite_plan({**BASE, "username": "corp", "password": "s3cret\n"})
    assert result["problems"]
    assert "s3cret" not in str(result)


@pytest.mark.parametrize("relay", ["192.0.2.25", "2001:db8::25", "relay1.corp.example"])
def test_relays_that_will_do(relay: str) -> None:
    assert planned(relay=relay)["problems"] == []


def test_standard_aliases_end_at_root() -> None:
    for name in _satellite.STANDARD_ALIASES:
        while name != "root":
            name = _satellite.STANDARD_ALIASES[name]
