# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A domain's DNS becomes its description: what the description publishes is what was there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils._adopt_domain import describe, describe_all
from ansible_collections.postmaster.mail.plugins.module_utils._dns import DnsTimeout, DomainError
from ansible_collections.postmaster.mail.plugins.module_utils._records import derive
from hypothesis import given
from hypothesis import strategies as st

SERVICE_KEY = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="  # RFC 8463 appendix A.2
HOSTS = {"relays": ["198.51.100.25", "2001:db8::25"], "relay1": ["198.51.100.25"]}


class Zone:
    """A resolver that knows these records alone, and none of the names ``failing``."""

    def __init__(self, records: dict[tuple[str, str], list[str]], ttl: int = 3600, failing: str = "") -> None:
        self.records, self.ttl, self.failing = records, ttl, failing
        self.own: dict[tuple[str, str], int | None] = {}  # TTLs other than the usual

    def query(self, name: str, rdtype: str) -> list[str]:
        if self.failing and name.lower().endswith(self.failing):
            raise DnsTimeout(f"the resolver did not answer for {name} {rdtype} (SERVFAIL)")
        return self.records.get((name.lower(), rdtype), [])

    def exists(self, name: str) -> bool:
        return any(one == name or one.endswith(f".{name}") for one, dummy in self.records)

    def ttls(self, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
        """What the zone's own servers say."""
        told = {key: self.own.get(key, self.ttl) for key in keys}
        return {key: ttl for key, ttl in told.items() if ttl is not None}


def zone_of(*domains: dict[str, Any]) -> Zone:
    """What DNS says when these domains are published."""
    records: dict[tuple[str, str], list[str]] = {}
    zone = Zone(records)
    for record in derive(domains, hosts=HOSTS).records:
        records.setdefault((record.name, record.type), []).append("".join(record.strings) or record.rdata)
        zone.ttl = record.ttl
    return zone


ROUND_TRIPS: list[dict[str, Any]] = [
    {"senders": [{"hosts": "relays"}], "spf_all": "~all", "dmarc": {"policy": "none"}},
    {"receives": False, "senders": [], "spf_all": "-all", "dmarc": {"policy": "reject"}},
    {
        "senders": [
            {"hosts": "relays"},
            {"known": "google_workspace", "verification": "google-site-verification=abc", "dkim_value": SERVICE_KEY},
            {"ip4": "192.0.2.0/28"},
            {"include": "_spf.provider.example"},
            {"a": "www.example.org"},
            {"mx": True},
            {"term": "exists:%{ir}._spf.example.org"},
            {"term": "a:www.example.org/28"},
        ],
        "spf_all": "-all",
        "mx": [{"host": "smtp.google.com", "priority": 1}, {"host": "b.example.org", "priority": 20}],
        "dmarc": {
            "policy": "quarantine",
            "subdomain_policy": "reject",
            "rua": ["mailto:dmarc@example.org"],
            "fo": ["1", "d"],
            "adkim": "strict",
            "testing": True,
        },
        "tls_rpt": {"rua": ["mailto:tls@example.org"]},
        "autoconfig": {"submissions": "mail.example.org", "imaps": "mail.example.org:1993", "imap": "mail.example.org", "pop3s": "."},
        "caa": ['0 issue "letsencrypt.org"'],
        "bimi": {"logo": "https://example.org/logo.svg"},
        "texts": ["other-verification=1"],
    },
    {
        "senders": [{"known": "microsoft_365", "dkim_cnames": {"selector1": "selector1-x._domainkey.x.onmicrosoft.com."}}],
        "spf_all": "-all",
        "dmarc": {"policy": "none"},
    },
    {"senders": [{"known": "fastmail"}], "spf_all": "~all", "dmarc": {"policy": "none"}},
    {
        "ttl": 300,
        "senders": [{"mx": True}],
        "spf_all": "-all",
        "dmarc": {"policy": "none"},
        "mx": [{"host": "a.example.org", "priority": 10}, {"host": "b.example.org", "priority": 10}, {"host": "mx.example.net", "priority": 20}],
        "tlsa": [
            {"host": "a.example.org", "current": "3 1 1 " + "aa" * 32, "next": "3 1 1 " + "bb" * 32},
            {"host": "b.example.org", "current": "2 1 1 " + "cc" * 32},
        ],
        "host_records": [
            {"name": "a", "addresses": ["192.0.2.26", "192.0.2.9", "2001:db8::25"]},
            {"name": "mail", "addresses": ["192.0.2.27"]},
        ],
        "autoconfig": {"imaps": "mail.example.org:1993", "pop3s": "."},
        "no_mail": ["*", "www"],
        "reports_for": ["*"],
    },
    {"receives": False, "senders": [], "spf_all": "-all", "dmarc": {"policy": "reject"}, "no_mail": ["*"]},
]  # fmt: skip


@pytest.mark.parametrize("options", ROUND_TRIPS, ids=range(len(ROUND_TRIPS)))
def test_a_published_description_comes_back(options: dict[str, Any]) -> None:
    zone = zone_of({"name": "example.org", **options})
    found = describe("Example.org", zone, hosts=HOSTS, ttls=zone.ttls)
    assert found.untranslated == []
    assert _in_order(found.as_dict()) == _in_order({"name": "example.org", **options})


def _in_order(domain: dict[str, Any]) -> dict[str, Any]:
    """A description with its senders in one order; SPF has them in that of their cost."""
    return {**domain, "senders": sorted(domain["senders"], key=str)}


def told(records: dict[tuple[str, str], list[str]], **options: Any) -> list[str]:
    return [one.item for one in describe("example.org", Zone(records), **options).untranslated]


SPF = {("example.org.", "TXT"): ["v=spf1 mx -all"]}
GOOGLE = {("example.org.", "TXT"): ["v=spf1 include:_spf.google.com -all"]}
MX = {("example.org.", "MX"): ["10 mx.example.org.", "20 mx.example.net."]}
DMARC = {("_dmarc.example.org.", "TXT"): ["v=DMARC1; p=none"]}


@pytest.mark.parametrize(
    ("records", "items"),
    [
        ({**SPF, **DMARC}, []),
        ({**DMARC, ("example.org.", "TXT"): ["v=spf1 -all", "v=spf1 mx -all"]}, ["2 SPF records"]),
        (
            {**DMARC, ("example.org.", "TXT"): ["v=spf1 nclude:x -all"]},
            ["SPF: the SPF term 'nclude:x' at character 8", "example.org. TXT would become v=spf1 -all"],
        ),
        (
            {**DMARC, ("example.org.", "TXT"): ["v=spf1 redirect=_spf.example.org"]},
            ["SPF: redirect=_spf.example.org", "example.org. TXT would become v=spf1 ?all"],
        ),
        ({**SPF}, ["_dmarc.example.org. TXT would become v=DMARC1; p=none"]),
        (DMARC, ["example.org. TXT would become v=spf1 -all"]),
        (
            {**SPF, ("_dmarc.example.org.", "TXT"): ["v=DMARC1; p=none; pct=50; x=y"]},
            ["DMARC: x=y", "DMARC: the DMARC tag 'pct=50' at character 19"],
        ),
        (
            {**SPF, **DMARC, ("_mta-sts.example.org.", "TXT"): ["v=STSv1; id=1"]},
            ["MTA-STS"],
        ),
        (
            {**SPF, **DMARC, ("mail._domainkey.example.org.", "TXT"): ["v=DKIM1; p=AAAA"]},
            ["mail._domainkey.example.org holds a key that no adopted host has"],
        ),
        ({**SPF, **DMARC, ("mail._domainkey.example.org.", "TXT"): ["v=DKIM1; p="]}, []),
        (
            {**GOOGLE, **DMARC, ("google._domainkey.example.org.", "TXT"): ["v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG"]},
            ["google._domainkey.example.org holds no key: 'p=MIIBIjANBgkqhkiG' at character 17"],
        ),
        ({**GOOGLE, **DMARC, ("google._domainkey.example.org.", "TXT"): [SERVICE_KEY]}, []),
        (
            {**SPF, **DMARC, ("_imaps._tcp.example.org.", "SRV"): ["5 1 993 a.example.", "6 1 993 b.example."]},
            ["2 SRV records of imaps"],
        ),
        (
            {**SPF, **DMARC, **MX, ("_25._tcp.mx.example.org.", "TLSA"): [f"3 1 1 {digit * 64}" for digit in "abc"]},
            ["3 TLSA records of mx.example.org"],
        ),
        ({**SPF, **DMARC, **MX, ("_25._tcp.mx.example.org.", "TLSA"): ["3 1 1 ab"]}, ["TLSA of mx.example.org: the TLSA record '3 1 1 ab'"]),
        ({**SPF, **DMARC, **MX, ("_25._tcp.mx.example.net.", "TLSA"): ["3 1 1 ab"]}, []),
        (
            {**SPF, **DMARC, **MX, ("mx.example.org.", "CNAME"): ["host.example.net."], ("mx.example.org.", "A"): ["192.0.2.1"]},
            ["mx.example.org is an alias of host.example.net"],
        ),
        ({**SPF, **DMARC, **MX, ("mx.example.org.", "A"): ["192.0.2.1", "10.1.0.3"]}, ["mx.example.org has the address 10.1.0.3"]),
        ({**SPF, **DMARC, ("www.example.org.", "MX"): ["0 ."]}, ["www.example.org has a null MX alone"]),
        ({**SPF, **DMARC, ("*.example.org.", "TXT"): ["v=spf1 -all"]}, ["*.example.org has v=spf1 -all alone"]),
        ({**SPF, **DMARC, ("www.example.org.", "TXT"): ["v=spf1 ip4:192.0.2.1 -all"]}, []),
        (
            {**SPF, **DMARC, ("example.net._report._dmarc.example.org.", "TXT"): ["v=DMARC1;"]},
            ["there are records below _report._dmarc.example.org, which DNS does not list"],
        ),
    ],
)  # fmt: skip
def test_what_no_option_describes_is_told(records: dict[tuple[str, str], list[str]], items: list[str]) -> None:
    found = told(records)
    assert len(found) == len(items)
    assert all(one.startswith(expected) for one, expected in zip(found, items, strict=True)), found


NO_MAIL = {("www.example.org.", "MX"): ["0 ."], ("www.example.org.", "TXT"): ["v=spf1 -all"]}


@pytest.mark.parametrize(
    ("more", "names"),
    [
        ({}, ["www"]),
        # What an alias leads to is another name's business.
        ({("www.example.org.", "CNAME"): ["host.example.net."]}, None),
        ({("*.example.org.", "MX"): ["0 ."], ("*.example.org.", "TXT"): ["v=spf1 -all"]}, ["*", "www"]),
        # A record of its own would hide the wildcard's address.
        ({("*.example.org.", "MX"): ["0 ."], ("*.example.org.", "TXT"): ["v=spf1 -all"], ("*.example.org.", "A"): ["192.0.2.1"]}, ["*"]),
    ],
)  # fmt: skip
def test_names_without_mail_are_described(more: dict[tuple[str, str], list[str]], names: list[str] | None) -> None:
    assert describe("example.org", Zone({**SPF, **DMARC, **NO_MAIL, **more})).options.get("no_mail") == names


def test_hosts_of_others_and_of_a_wildcard_are_not_described() -> None:
    wild = {("*.example.org.", "A"): ["192.0.2.1"], ("mx.example.org.", "A"): ["192.0.2.1"]}
    others = {("mx.example.net.", "A"): ["192.0.2.2"]}
    found = describe("example.org", Zone({**SPF, **DMARC, **MX, **wild, **others}))
    assert ("host_records" in found.options, found.untranslated) == (False, [])


def test_ttls_are_described_or_told() -> None:
    zone = Zone({**SPF, **DMARC, **MX}, ttl=300)
    found = describe("example.org", zone, ttls=zone.ttls)
    assert (found.options["ttl"], found.untranslated) == (300, [])
    zone.own = {("example.org.", "MX"): 86400}
    found = describe("example.org", zone, ttls=zone.ttls)
    assert found.options["ttl"] == 300
    assert [(one.item, one.remedy) for one in found.untranslated] == [
        (
            "example.org. MX has a TTL of 86400 seconds",
            "one TTL holds for all records of a domain, and 300 seconds would be published",
        )
    ]
    zone.own = dict.fromkeys([("example.org.", "MX"), ("example.org.", "TXT"), ("_dmarc.example.org.", "TXT")])
    found = describe("example.org", zone, ttls=zone.ttls)
    assert "ttl" not in found.options
    (left,) = found.untranslated
    assert left.item == "no server tells the TTL of example.org. MX, example.org. TXT, _dmarc.example.org. TXT"
    assert "3600 seconds would be published" in left.remedy


def test_one_domain_that_fails_leaves_the_others() -> None:
    there = {**SPF, **DMARC, ("example.net.", "TXT"): ["v=spf1 -all"]}
    good, lost = describe_all(["example.org", "Example.net"], Zone(there, failing="_dmarc.example.net."))
    assert (good.as_dict()["name"], good.problem, good.untranslated) == ("example.org", "", [])
    assert (lost.as_dict(), lost.problem) == (
        {"name": "example.net"},
        "the resolver did not answer for _dmarc.example.net. TXT (SERVFAIL)",
    )
    assert [one.as_dict() for one in lost.untranslated] == [
        {
            "domain": "example.net",
            "item": "DNS does not tell of this domain",
            "remedy": f"{lost.problem}; adopt again before anything of it is published",
        }
    ]
    assert [one.problem for one in describe_all(["example.org", "example.net"], Zone(there))] == ["", ""]


def test_a_key_that_a_host_holds_is_no_news() -> None:
    records = {**SPF, **DMARC, ("mail._domainkey.example.org.", "TXT"): ["v=DKIM1; p=AAAA"]}
    assert told(records, selectors=["mail"]) == []


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(DomainError):
        describe("exa mple.org", Zone({}))


TYPES = ("TXT", "MX", "CNAME", "SRV", "CAA", "A", "AAAA")
NAMES = (
    "a.example.org.",
    "example.org.",
    "_dmarc.example.org.",
    "_smtp._tls.example.org.",
    "default._bimi.example.org.",
    "google._domainkey.example.org.",
)
TEXTS = st.text() | st.sampled_from(
    [
        "v=spf1 ",
        "v=DMARC1;p=",
        "v=BIMI1;",
        "0 .",
        "10 a.",
        "10 a.example.org.",
        "0 0 0 .",
        "v=spf1 include:_spf.google.com a:%{d} +all",
    ]
)


@given(st.dictionaries(st.tuples(st.sampled_from(NAMES), st.sampled_from(TYPES)), st.lists(TEXTS, max_size=3)))
def test_hostile_records_are_described_or_told(records: dict[tuple[str, str], list[str]]) -> None:
    describe("example.org", Zone(records), hosts=HOSTS)


@pytest.mark.skipif(not os.environ.get("MAIL_TEST_DATA"), reason="not run: MAIL_TEST_DATA is not set")
def test_real_domains_are_described() -> None:
    """Every domain with an SPF record comes back, and what would be published differently is told."""
    records: dict[tuple[str, str], list[str]] = {}
    for one in json.loads((Path(os.environ["MAIL_TEST_DATA"]) / "moj-mail-records.json").read_text()):
        texts = [f"{v['preference']} {v['exchange']}" if one["type"] == "MX" else str(v) for v in one["values"]]
        records.setdefault((f"{one['name'].lower()}.", one["type"]), []).extend(texts)
    domains = [
        name
        for (name, rdtype), texts in records.items()
        if rdtype == "TXT" and any(t.startswith("v=spf1") for t in texts)
    ]
    whole = 0
    for name in domains:
        found = describe(name, Zone(records))
        assert found.options["senders"] or found.options["spf_all"] or found.untranslated
        whole += not any("SPF" in one.item or " TXT would become v=spf1" in one.item for one in found.untranslated)
    assert len(domains) > 100
    assert whole > 0.9 * len(domains), f"{whole} of {len(domains)}"
