# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What mailers need in DNS, from the inventory to the lines of a zone."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.postmaster.mail.plugins.filter.mailer_records import mailer_records
from ansible_collections.postmaster.mail.plugins.filter.sender_addresses import sender_addresses
from ansible_collections.postmaster.mail.plugins.module_utils._records import derive

GROUPS = {"all": ["m1", "m2"], "mailers": ["m1", "m2"]}
SENDS = [{"name": "example.org", "return_path_domain": "rp.example.org"}]


def inventory(**changes: Any) -> dict[str, dict[str, Any]]:
    """Two mailers; the changes are of the first one's variables."""
    one = {"mailer_hostname": "m1.example.org", "mail_addresses": ["192.0.2.31", "2001:db8::31"]}
    other = {"mailer_hostname": "m2.example.org", "mailer_mx_hostname": "mx2.example.org", "ansible_host": "192.0.2.32"}
    return {"m1": {"mailer_domains": SENDS, **one, **changes}, "m2": {"mailer_domains": SENDS, **other}}


def lines(described: list[dict[str, Any]], hostvars: dict[str, dict[str, Any]], **options: Any) -> list[str]:
    domains = mailer_records(described, GROUPS, hostvars)
    found = derive(domains, hosts=sender_addresses(GROUPS, hostvars), **options)
    return [f"{one.name} {one.type} {one.rdata}" for one in found.records]


def test_all_that_mailers_need() -> None:
    key = {
        "domain": "example.org",
        "record": {"name": "s1._domainkey.example.org.", "type": "TXT", "value": "v=DKIM1; p=AAAA"},
    }
    described = [{"name": "example.org", "senders": [{"hosts": "mailers"}], "dmarc": {"policy": "reject"}}]
    found = lines(described, inventory(), dkim_keys=[key])
    assert sorted(found) == [
        '_dmarc.example.org. TXT "v=DMARC1; p=reject"',
        'example.org. TXT "v=spf1 ip4:192.0.2.31 ip6:2001:db8::31 ip4:192.0.2.32 ~all"',
        "m1.example.org. A 192.0.2.31",
        "m1.example.org. AAAA 2001:db8::31",
        "m2.example.org. A 192.0.2.32",
        "mx2.example.org. A 192.0.2.32",
        "rp.example.org. MX 10 m1.example.org.",
        "rp.example.org. MX 10 mx2.example.org.",
        'rp.example.org. TXT "v=spf1 ip4:192.0.2.31 ip6:2001:db8::31 ip4:192.0.2.32 -all"',
        's1._domainkey.example.org. TXT "v=DKIM1; p=AAAA"',
    ]


def test_what_is_described_stays() -> None:
    hosts = [{"name": "m1", "addresses": ["203.0.113.31"]}, {"name": "m2.example.org.", "addresses": ["203.0.113.32"]}]
    described = [
        {"name": "example.org", "host_records": hosts},
        {
            "name": "rp.example.org",
            "senders": [{"hosts": "mailers"}],
            "mx": [{"host": "m1.example.org", "priority": 5}],
        },
    ]
    found = lines(described, inventory())
    assert [one for one in found if " A " in one or " MX " in one] == [
        "m1.example.org. A 203.0.113.31",
        "m2.example.org. A 203.0.113.32",
        "mx2.example.org. A 192.0.2.32",
        "rp.example.org. MX 5 m1.example.org.",
    ]
    assert described[0]["host_records"] is hosts and len(hosts) == 2


def test_hosts_of_others_are_theirs() -> None:
    hostvars = inventory(mailer_hostname="m1.example.net", mailer_mx_hostname="m1.example.org")
    found = lines([{"name": "example.org"}], hostvars)
    assert not [one for one in found if "example.net" in one and " A " in one]
    assert "m1.example.org. A 192.0.2.31" in found


def test_without_mailers_nothing_is_added() -> None:
    described = [{"name": "example.org"}]
    assert mailer_records(described, {"all": ["r1"]}, {"r1": {}}) == described


@pytest.mark.parametrize(
    ("described", "sentence"),
    [
        (
            [{"name": "example.com"}],
            "m1 sends for example.org, which is not in mail_domains: describe it there",
        ),
        (
            [{"name": "example.org"}, {"name": "rp.example.org", "mx": [{"host": "mail.example.org"}]}],
            "bounces to rp.example.org would go to mail.example.org: "
            "give return_path_domain a name that receives nothing else, such as bounce.rp.example.org",
        ),
    ],
)
def test_what_is_refused(described: list[dict[str, Any]], sentence: str) -> None:
    with pytest.raises(AnsibleFilterError) as error:
        mailer_records(described, GROUPS, inventory())
    assert str(error.value) == sentence
