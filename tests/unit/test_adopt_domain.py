# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A domain's DNS becomes its description: what the description publishes is what was there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils._adopt_domain import describe
from ansible_collections.postmaster.mail.plugins.module_utils._dns import DomainError
from ansible_collections.postmaster.mail.plugins.module_utils._records import derive
from hypothesis import given
from hypothesis import strategies as st

HOSTS = {"relays": ["198.51.100.25", "2001:db8::25"], "relay1": ["198.51.100.25"]}


class Zone:
    """A resolver that knows these records alone."""

    def __init__(self, records: dict[tuple[str, str], list[str]]) -> None:
        self.records = records

    def query(self, name: str, rdtype: str) -> list[str]:
        return self.records.get((name.lower(), rdtype), [])


def zone_of(*domains: dict[str, Any]) -> Zone:
    """What DNS says when these domains are published."""
    records: dict[tuple[str, str], list[str]] = {}
    for record in derive(domains, hosts=HOSTS).records:
        records.setdefault((record.name, record.type), []).append("".join(record.strings) or record.rdata)
    return Zone(records)


ROUND_TRIPS: list[dict[str, Any]] = [
    {"senders": [{"hosts": "relays"}], "spf_all": "~all", "dmarc": {"policy": "none"}},
    {"receives": False, "senders": [], "spf_all": "-all", "dmarc": {"policy": "reject"}},
    {
        "senders": [
            {"hosts": "relays"},
            {"known": "google_workspace", "verification": "google-site-verification=abc", "dkim_value": "v=DKIM1; p=AAAA"},
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
]  # fmt: skip


@pytest.mark.parametrize("options", ROUND_TRIPS, ids=range(len(ROUND_TRIPS)))
def test_a_published_description_comes_back(options: dict[str, Any]) -> None:
    found = describe("Example.org", zone_of({"name": "example.org", **options}), hosts=HOSTS)
    assert found.untranslated == []
    assert _in_order(found.as_dict()) == _in_order({"name": "example.org", **options})


def _in_order(domain: dict[str, Any]) -> dict[str, Any]:
    """A description with its senders in one order; SPF has them in that of their cost."""
    return {**domain, "senders": sorted(domain["senders"], key=str)}


def told(records: dict[tuple[str, str], list[str]], **options: Any) -> list[str]:
    return [one.item for one in describe("example.org", Zone(records), **options).untranslated]


SPF = {("example.org.", "TXT"): ["v=spf1 mx -all"]}
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
            {**SPF, **DMARC, ("_imaps._tcp.example.org.", "SRV"): ["5 1 993 a.example.", "6 1 993 b.example."]},
            ["2 SRV records of imaps"],
        ),
    ],
)  # fmt: skip
def test_what_no_option_describes_is_told(records: dict[tuple[str, str], list[str]], items: list[str]) -> None:
    found = told(records)
    assert len(found) == len(items)
    assert all(one.startswith(expected) for one, expected in zip(found, items, strict=True)), found


def test_a_key_that_a_host_holds_is_no_news() -> None:
    records = {**SPF, **DMARC, ("mail._domainkey.example.org.", "TXT"): ["v=DKIM1; p=AAAA"]}
    assert told(records, selectors=["mail"]) == []


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(DomainError):
        describe("exa mple.org", Zone({}))


TYPES = ("TXT", "MX", "CNAME", "SRV", "CAA")
NAMES = (
    "example.org.",
    "_dmarc.example.org.",
    "_smtp._tls.example.org.",
    "default._bimi.example.org.",
    "google._domainkey.example.org.",
)
TEXTS = st.text() | st.sampled_from(
    ["v=spf1 ", "v=DMARC1;p=", "v=BIMI1;", "0 .", "10 a.", "0 0 0 .", "v=spf1 include:_spf.google.com a:%{d} +all"]
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
