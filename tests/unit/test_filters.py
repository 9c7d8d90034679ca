# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters that carry values from the inventory to the modules."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.postmaster.mail.plugins.filter.outbound_addresses import outbound_addresses
from ansible_collections.postmaster.mail.plugins.filter.sender_addresses import sender_addresses
from ansible_collections.postmaster.mail.plugins.filter.wanted_keys import wanted_keys

GROUPS = {"relays": ["r1", "r2"], "web": ["w1"], "empty": []}


@pytest.mark.parametrize(
    ("hostvars", "expected"),
    [
        (
            {"r1": {"mail_addresses": ["192.0.2.1", "2001:db8::1"]}, "r2": {"ansible_host": "192.0.2.2"}, "w1": {}},
            {
                "r1": ["192.0.2.1", "2001:db8::1"],
                "r2": ["192.0.2.2"],
                "relays": ["192.0.2.1", "2001:db8::1", "192.0.2.2"],
            },
        ),
        (
            {
                "r1": {"ansible_host": "192.0.2.9"},
                "r2": {"mail_addresses": ["192.0.2.9"]},
                "w1": {"ansible_host": "w1"},
            },
            {"r1": ["192.0.2.9"], "r2": ["192.0.2.9"], "relays": ["192.0.2.9"]},
        ),
        ({"r1": {"mail_addresses": [], "ansible_host": "192.0.2.1"}, "r2": {}, "w1": {}}, {}),
    ],
)
def test_sender_addresses(hostvars, expected) -> None:
    assert sender_addresses(GROUPS, hostvars) == expected


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ("192.0.2.1", "mail_addresses of r1 must be a list of IP addresses, not the text '192.0.2.1'"),
        (["relay.example.org"], "mail_addresses of r1: 'relay.example.org' is not an IP address"),
    ],
)
def test_addresses_that_are_none(stated, message) -> None:
    with pytest.raises(AnsibleFilterError, match=message):
        sender_addresses(GROUPS, {"r1": {"mail_addresses": stated}, "r2": {}, "w1": {}})


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ({}, [{"domain": "example.org", "algorithm": "rsa"}]),
        ({"dkim": {"bits": 4096}}, [{"domain": "example.org", "algorithm": "rsa", "bits": 4096}]),
        ({"dkim": {"algorithms": []}}, []),
        (
            {"dkim": {"algorithms": ["rsa", "ed25519"], "bits": 2048}},
            [
                {"domain": "example.org", "algorithm": "rsa", "bits": 2048},
                {"domain": "example.org", "algorithm": "ed25519"},
            ],
        ),
    ],
)
def test_wanted_keys(domain, expected) -> None:
    assert wanted_keys([{"name": "example.org", **domain}]) == expected


@pytest.mark.parametrize(
    ("domains", "message"),
    [
        ([{"dkim": {}}], "wanted_keys takes a list of domains, each a mapping with a name"),
        ("example.org", "wanted_keys takes a list of domains, each a mapping with a name"),
        ([{"name": "example.org", "dkim": "rsa"}], "dkim of example.org must be a mapping"),
    ],
)
def test_domains_that_are_none(domains, message) -> None:
    with pytest.raises(AnsibleFilterError, match=message):
        wanted_keys(domains)


def _domain(*hosts: str) -> dict[str, object]:
    return {"name": "example.org", "senders": [*({"hosts": name} for name in hosts), {"include": "_spf.example.net"}]}


R1 = [{"address": "192.0.2.1", "helo": "r1.example.org"}, {"address": "2001:db8::1", "helo": "r1.example.org"}]
R2 = [{"address": "192.0.2.2", "helo": ""}]


@pytest.mark.parametrize(
    ("domains", "more", "expected"),
    [
        ([_domain("relays")], {}, R1 + R2),
        ([_domain("r2", "r1")], {}, R1 + R2),
        ([_domain("relays"), _domain("r1")], {}, R1),
        ([_domain("relays"), _domain()], {}, []),
        ([_domain("relays"), {"name": "parked.example"}], {}, []),
        ([], {}, []),
        ([_domain("relays")], {"r1": {"relay_smarthost": "smtp.example.net"}}, R2),
        ([_domain("relays")], {"r1": {"satellite_relay": "r2"}}, R2),
        (
            [_domain("r1")],
            {"r1": {"relay_public_addresses": ["192.0.2.9"]}},
            [{"address": "192.0.2.9", "helo": "r1.example.org"}],
        ),
        ([_domain("gone")], {}, []),
    ],
)
def test_outbound_addresses(domains, more, expected) -> None:
    hostvars = {
        "r1": {"mail_addresses": ["192.0.2.1", "2001:db8::1"], "relay_hostname": "r1.example.org"},
        "r2": {"ansible_host": "192.0.2.2"},
        "w1": {"ansible_host": "192.0.2.3"},
    }
    for host, variables in more.items():
        hostvars[host] |= variables
    assert outbound_addresses(domains, GROUPS, hostvars) == expected


def test_a_filter_imports_what_it_needs_when_it_is_used() -> None:
    """Ansible loads all filters of a collection for a task that uses one, in each worker, and compiles what they import.

    With all of them importing what they work with, that took 0.3 s for each task and host.
    """
    names = [path.stem for path in (Path(__file__).parents[2] / "plugins" / "filter").glob("*.py")]
    package = "ansible_collections.postmaster.mail.plugins"
    imports = "; ".join(f"import {package}.filter.{name}" for name in names)
    code = f"import sys; {imports}; print(*(name for name in sys.modules if name.startswith('{package}.module_utils')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert len(names) > 20
    assert done.stdout.split() == []
