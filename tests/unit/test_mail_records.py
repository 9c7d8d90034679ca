# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From mail domains to records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.postmaster.mail.plugins.module_utils._records import derive
from ansible_collections.postmaster.mail.plugins.module_utils._records_domain import RecordsError
from ansible_collections.postmaster.mail.plugins.module_utils._senders import CATALOGUE
from ansible_collections.postmaster.mail.plugins.module_utils._tlsa import tlsa_for
from ansible_collections.postmaster.mail.plugins.modules import mail_records
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

# A loaded machine is slow to make examples; that is no fault of what is tested.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

HOSTS = {"relays": ["198.51.100.25", "2001:db8::25"], "inside": ["10.1.0.3"], "odd": ["relay1"]}
RELAYS = {"senders": [{"hosts": "relays"}]}
SERVICE_KEY = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="  # RFC 8463 appendix A.2
SPF = "v=spf1 ip4:198.51.100.25 ip6:2001:db8::25"


def _lines(*domains: dict[str, Any], **options: Any) -> list[str]:
    """Name, type and content of the derived records."""
    derived = derive(domains, hosts=HOSTS, **options)
    return [f"{r.name} {r.type} {''.join(r.strings) or r.rdata}" for r in derived.records]


def _key(name: str, value: str = "v=DKIM1; p=AAAA") -> dict[str, Any]:
    return {"domain": "x", "state": "active", "record": {"name": name, "type": "TXT", "ttl": 1, "value": value}}


DERIVED: list[tuple[list[dict[str, Any]], list[str]]] = [
    (
        [
            {
                "name": "corp.example",
                **RELAYS,
                "mx": [{"host": "mx.corp.example"}, {"host": "mx2.corp.example.", "priority": 20}],
            }
        ],
        [
            "corp.example. MX 10 mx.corp.example.",
            "corp.example. MX 20 mx2.corp.example.",
            f"corp.example. TXT {SPF} ~all",
            "_dmarc.corp.example. TXT v=DMARC1; p=none",
        ],
    ),
    # a domain that neither sends nor receives
    (
        [{"name": "Parked.Example.", "receives": False}],
        [
            "parked.example. MX 0 .",
            "parked.example. TXT v=spf1 -all",
            "_dmarc.parked.example. TXT v=DMARC1; p=reject",
        ],
    ),
    # one with proofs of ownership beside its SPF record
    (
        [{"name": "corp.example", **RELAYS, "texts": ["site-verification=one", "two"]}],
        [
            f"corp.example. TXT {SPF} ~all",
            "corp.example. TXT site-verification=one",
            "corp.example. TXT two",
            "_dmarc.corp.example. TXT v=DMARC1; p=none",
        ],
    ),
    # one that sends through services; their addresses come after those of hosts
    (
        [
            {
                "name": "corp.example",
                "senders": [
                    {"known": "google_workspace", "dkim_value": SERVICE_KEY, "verification": "abc"},
                    {"known": "brevo", "verification": "brevo-code:def"},
                    {"include": "_spf.provider.test"},
                    {"ip4": "192.0.2.0/24"},
                    {"hosts": "relays"},
                    {"mx": True},
                    {"a": "web.corp.example"},
                    {"term": "exists:%{i}._spf.corp.example"},
                ],
                "spf_all": "-all",
                "dmarc": {"policy": "quarantine"},
            }
        ],
        [
            "corp.example. TXT v=spf1 ip4:192.0.2.0/24 ip4:198.51.100.25 ip6:2001:db8::25 include:_spf.google.com "
            "include:spf.brevo.com include:_spf.provider.test mx a:web.corp.example exists:%{i}._spf.corp.example -all",
            "corp.example. TXT google-site-verification=abc",
            f"google._domainkey.corp.example. TXT {SERVICE_KEY}",
            "corp.example. TXT brevo-code:def",
            "brevo1._domainkey.corp.example. CNAME b1.corp-example.dkim.brevo.com.",
            "brevo2._domainkey.corp.example. CNAME b2.corp-example.dkim.brevo.com.",
            "_dmarc.corp.example. TXT v=DMARC1; p=quarantine",
        ],
    ),
    # a domain below another has the policy of that one, unless it wants its own
    (
        [{"name": "corp.example", **RELAYS}, {"name": "hello.corp.example", **RELAYS}],
        [
            f"corp.example. TXT {SPF} ~all",
            "_dmarc.corp.example. TXT v=DMARC1; p=none",
            f"hello.corp.example. TXT {SPF} ~all",
        ],
    ),
    (
        [
            {"name": "hello.corp.example", **RELAYS, "dmarc": {}},
            {"name": "corp.example", **RELAYS, "dmarc": {"policy": "reject"}},
        ],
        [
            f"hello.corp.example. TXT {SPF} ~all",
            "_dmarc.hello.corp.example. TXT v=DMARC1; p=none",
            f"corp.example. TXT {SPF} ~all",
            "_dmarc.corp.example. TXT v=DMARC1; p=reject",
        ],
    ),
    # reports that go to another domain need its consent
    (
        [
            {"name": "corp.example"},
            {
                "name": "shop.example",
                "dmarc": {"policy": "reject", "rua": ["dmarc@reports.corp.example", "mailto:x@shop.example"]},
            },
        ],
        [
            "corp.example. TXT v=spf1 -all",
            "_dmarc.corp.example. TXT v=DMARC1; p=reject",
            "shop.example. TXT v=spf1 -all",
            "_dmarc.shop.example. TXT v=DMARC1; p=reject; rua=mailto:dmarc@reports.corp.example,mailto:x@shop.example",
            "shop.example._report._dmarc.reports.corp.example. TXT v=DMARC1;",
        ],
    ),
    (
        [
            {
                "name": "a.example",
                "dmarc": {
                    "policy": "reject",
                    "subdomain_policy": "quarantine",
                    "nonexistent_policy": "reject",
                    "adkim": "strict",
                    "aspf": "relaxed",
                    "testing": True,
                    "fo": ["1", "d"],
                    "ruf": ["a@a.example"],
                    "psd": "n",
                },
            }
        ],
        [
            "a.example. TXT v=spf1 -all",
            "_dmarc.a.example. TXT v=DMARC1; p=reject; sp=quarantine; np=reject; adkim=s; aspf=r; t=y; psd=n; fo=1:d; "
            "ruf=mailto:a@a.example",
        ],
    ),
]


DIGEST = "ab" * 32
# What stands beside the records of a parked domain.
PARKED = ["corp.example. TXT v=spf1 -all", "_dmarc.corp.example. TXT v=DMARC1; p=reject"]
MORE: list[tuple[dict[str, Any], list[str]]] = [
    (
        {"mx": [{"host": "Mx.corp.example."}], "mta_sts": {"mode": "enforce", "id": "1", "host": "web.corp.example"}},
        [
            "_mta-sts.corp.example. TXT v=STSv1; id=1;",
            "mta-sts.corp.example. CNAME web.corp.example.",
        ],
    ),
    (
        {"tls_rpt": {"rua": ["tls@corp.example", "https://tls.test/report"]}},
        ["_smtp._tls.corp.example. TXT v=TLSRPTv1; rua=mailto:tls@corp.example,https://tls.test/report"],
    ),
    (
        {
            "tlsa": [
                {"host": "mx.corp.example", "current": f"3 1 1 {DIGEST}", "next": f"3 1 1 {DIGEST.upper()[::-1]}\n"},
                {"host": "mx.corp.example", "port": 465, "current": f"2 1 1 {DIGEST}"},
            ]
        },
        [
            f"_25._tcp.mx.corp.example. TLSA 3 1 1 {DIGEST}",
            f"_25._tcp.mx.corp.example. TLSA 3 1 1 {DIGEST[::-1]}",
            f"_465._tcp.mx.corp.example. TLSA 2 1 1 {DIGEST}",
        ],
    ),
    (
        {
            "autoconfig": {
                "submissions": "mail.corp.example",
                "imaps": "mail.corp.example:1993",
                "pop3s": ".",
                "imap": None,
            }
        },
        [
            "_submissions._tcp.corp.example. SRV 0 1 465 mail.corp.example.",
            "_imaps._tcp.corp.example. SRV 0 1 1993 mail.corp.example.",
            "_pop3s._tcp.corp.example. SRV 0 0 0 .",
        ],
    ),
    (
        {"caa": ["letsencrypt.org", '0 issuewild ";"']},
        ['corp.example. CAA 0 issue "letsencrypt.org"', 'corp.example. CAA 0 issuewild ";"'],
    ),
    (
        {"bimi": {"logo": "https://corp.example/logo.svg"}, "dmarc": {"policy": "reject"}},
        ["default._bimi.corp.example. TXT v=BIMI1; l=https://corp.example/logo.svg; a="],
    ),
    (
        {"no_mail": ["www", "Ftp.corp.example.", "*"]},
        [
            "www.corp.example. MX 0 .",
            "www.corp.example. TXT v=spf1 -all",
            "ftp.corp.example. MX 0 .",
            "ftp.corp.example. TXT v=spf1 -all",
            "*.corp.example. MX 0 .",
            "*.corp.example. TXT v=spf1 -all",
        ],
    ),
    (
        {
            "host_records": [
                {"name": "mx", "addresses": ["192.0.2.25", "2001:DB8:0::25"]},
                {"name": "PMG.corp.example.", "alias_of": "ovh1.Other.test"},
                {"name": "a.b", "addresses": "192.0.2.26"},
                {"name": "corp.example", "addresses": ["192.0.2.80"]},
            ]
        },
        [
            "mx.corp.example. A 192.0.2.25",
            "mx.corp.example. AAAA 2001:db8::25",
            "pmg.corp.example. CNAME ovh1.other.test.",
            "a.b.corp.example. A 192.0.2.26",
            "corp.example. A 192.0.2.80",
        ],
    ),
    (
        {"reports_for": ["shop.test", "*"]},
        [
            "shop.test._report._dmarc.corp.example. TXT v=DMARC1;",
            "*._report._dmarc.corp.example. TXT v=DMARC1;",
        ],
    ),
]


@pytest.mark.parametrize(("domains", "expected"), DERIVED)
def test_derived_records(domains: list[dict[str, Any]], expected: list[str]) -> None:
    assert _lines(*domains) == expected


@pytest.mark.parametrize(("options", "expected"), MORE)
def test_what_else_is_derived(options: dict[str, Any], expected: list[str]) -> None:
    lines = _lines({"name": "corp.example", **options})
    mx = ["corp.example. MX 10 mx.corp.example."] if "mx" in options else []
    assert lines == mx + PARKED + expected


def test_the_policy_file_and_the_id_that_changes_with_it() -> None:
    def derived(**options: Any) -> tuple[str, Any]:
        domain = {"name": "corp.example", "mx": [{"host": "mx.corp.example"}], "mta_sts": options}
        found = derive([domain])
        return next("".join(r.strings) for r in found.records if r.name.startswith("_mta-sts.")), found.policies

    record, (policy,) = derived()
    assert policy.domain == "corp.example" and policy.url == "https://mta-sts.corp.example/.well-known/mta-sts.txt"
    assert policy.content == "version: STSv1\r\nmode: testing\r\nmx: mx.corp.example\r\nmax_age: 604800\r\n"
    assert derived()[0] == derived(mode="testing")[0] == record
    assert len({record, derived(mode="enforce")[0], derived(max_age=86400)[0], derived(mx=["*.corp.example"])[0]}) == 4


def test_a_record_made_from_a_public_key() -> None:
    key = ed25519.Ed25519PrivateKey.generate().public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    lines = _lines({"name": "corp.example", "tlsa": [{"host": "mx.corp.example", "current": pem}]})
    assert lines[-1] == f"_25._tcp.mx.corp.example. TLSA {tlsa_for(pem)}"


def test_keys_go_to_the_domain_they_are_for() -> None:
    keys = [
        _key("a._domainkey.corp.example."),
        _key("A._DOMAINKEY.hello.corp.example"),
        _key("a._domainkey.corp.example."),
    ]
    keys.append({"name": "b._domainkey.corp.example.", "type": "TXT", "ttl": 60, "strings": ["v=DKIM1; ", "p=CC"]})
    lines = _lines({"name": "corp.example", **RELAYS}, {"name": "hello.corp.example", **RELAYS}, dkim_keys=keys)
    assert [line for line in lines if "_domainkey" in line] == [
        "a._domainkey.corp.example. TXT v=DKIM1; p=AAAA",
        "b._domainkey.corp.example. TXT v=DKIM1; p=CC",
        "a._domainkey.hello.corp.example. TXT v=DKIM1; p=AAAA",
    ]


def test_ttl_and_zone_text() -> None:
    derived = derive([{"name": "a.example", "ttl": 60}, {"name": "b.example", "receives": False}])
    assert derived.zone_text == (
        "; a.example\n"
        'a.example. 60 IN TXT "v=spf1 -all"\n'
        '_dmarc.a.example. 60 IN TXT "v=DMARC1; p=reject"\n'
        "\n"
        "; b.example\n"
        "b.example. 3600 IN MX 0 .\n"
        'b.example. 3600 IN TXT "v=spf1 -all"\n'
        '_dmarc.b.example. 3600 IN TXT "v=DMARC1; p=reject"\n'
    )


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "domains[0].name '' is empty"),
    ({"name": "corp.example "}, "the label 'example '"),
    ({"name": "m\u00fcller.example"}, "xn--"),
    ({"name": "*.corp.example"}, "is a wildcard"),
    (
        {"spf_all": "+all", **RELAYS},
        "the domain corp.example: its SPF record 'v=spf1 ip4:198.51.100.25 ip6:2001:db8::25 +all'",
    ),
    ({"senders": [{"term": "+all"}]}, "'+all' cannot stand in its SPF record: a sender is a mechanism"),
    (
        {"senders": [{"include": f"{n}.test"} for n in range(11)]},
        "the SPF term 'include:10.test' at character 158: it is lookup number 11",
    ),
    ({"senders": [{"include": "localhost"}]}, "'include:localhost' cannot stand in its SPF record"),
    ({"senders": [{"ip4": "10.0.0.300"}]}, "'ip4:10.0.0.300' cannot stand in its SPF record"),
    (
        {"senders": [{"hosts": "nowhere"}]},
        "no address of the sending hosts 'nowhere' is known; known are those of: inside, odd, relays",
    ),
    ({"senders": [{"hosts": "inside"}]}, "10.1.0.3 of the hosts 'inside' is a private address"),
    ({"senders": [{"hosts": "odd"}]}, "'relay1' of the hosts 'odd' is no IP address"),
    ({"senders": [{}]}, "senders[0] names none; each sender has exactly one of hosts"),
    ({"senders": [{"mx": True, "a": "x.test"}]}, "senders[0] names a and mx"),
    (
        {"senders": [{"known": "carrier_pigeon"}]},
        "no sender 'carrier_pigeon' is known; known are amazon_ses, brevo",
    ),
    ({"senders": [{"known": "brevo", "verification": "\n"}]}, "not visible ASCII"),
    (
        {"senders": [{"known": "google_workspace", "dkim_value": SERVICE_KEY, "dkim_selector": "a b"}]},
        "the label 'a b'",
    ),
    ({"mx": [{"host": "192.0.2.1"}]}, "the mx 192.0.2.1: this is an address; an MX record names a host"),
    ({"mx": [{"host": "[2001:db8::1]"}]}, "this is an address"),
    ({"mx": [{"host": "mx_ .corp.example"}]}, "the label 'mx_ '"),
    ({"mx": [{"host": "mx.test", "priority": 65536}]}, "the mx mx.test: the preference is a number from 0 to 65535"),
    ({"mx": [{"host": "."}]}, "an mx without a host is a null MX; write receives: false"),
    ({"mx": [{"host": "*.test"}]}, "the mx *.test: the host is a name of its own"),
    ({"mx": [{"host": "mx.test"}], "receives": False}, "mx entries and receives: false"),
    ({"ttl": -1}, "the ttl -1"),
    ({"dmarc": {"policy": "discard"}}, "'p=discard' cannot stand in its DMARC record"),
    ({"dmarc": {"rua": ["nobody"]}}, "'rua=mailto:nobody' cannot stand in its DMARC record"),
    ({"mta_sts": {}}, "mta_sts has no hosts to name"),
    ({"mta_sts": {}, "receives": False}, "it has mta_sts and receives: false"),
    ({"mta_sts": {"mode": "strict", "mx": ["a.test"]}}, "'mode: strict' cannot stand in its MTA-STS policy"),
    ({"mta_sts": {"mx": ["a.test"], "id": "a-b"}}, "'id=a-b' cannot stand in its MTA-STS record"),
    ({"mta_sts": {"mx": ["a.test"], "host": "a b"}}, "mta_sts.host 'a b' has the label"),
    ({"mta_sts": {"mx": ["*.a.test"]}, "mx": [{"host": "b.a.a.test"}]}, "leaves out the mx b.a.a.test"),
    ({"tls_rpt": {"rua": []}}, "'rua' cannot stand in its TLS-RPT record"),
    ({"tls_rpt": {"rua": ["http://a.test"]}}, "http://a.test is neither mailto nor https"),
    ({"tlsa": [{"host": "mx.other.test", "current": "x"}]}, "mx.other.test is in none of the described domains"),
    ({"tlsa": [{"host": "corp.example", "port": 0, "current": "x"}]}, "the port 0"),
    ({"tlsa": [{"host": "corp.example", "current": "3 1 1 ab"}]}, "'3 1 1 ab' in tlsa[0].current is no TLSA record"),
    ({"tlsa": [{"host": "corp.example", "current": "", "next": "3 1 1 " + DIGEST}]}, "tlsa[0] has no current key"),
    (
        {"tlsa": [{"host": "corp.example", "current": "-----BEGIN EC PRIVATE KEY-----"}]},
        "tlsa[0].current is a private key, which belongs to its host alone",
    ),
    (
        {"tlsa": [{"host": "corp.example", "current": "-----BEGIN CERTIFICATE-----"}]},
        "no record can be made of tlsa[0].current: it holds neither",
    ),
    ({"autoconfig": {"imaps": "a..b"}}, "'a..b' in autoconfig is no host"),
    ({"caa": ["not a ca"]}, "cannot stand in its CAA record"),
    ({"bimi": {"logo": "http://a.test"}}, "cannot stand in its BIMI record"),
    ({"bimi": {"logo": "https://a.test/\u00e9"}}, "cannot stand in its BIMI record"),
    ({"no_mail": ["a b"]}, "a name in no_mail 'a b.corp.example'"),
    ({"no_mail": ["corp.example"]}, "corp.example stands in no_mail, and is a described domain"),
    (
        {"host_records": [{"name": "a"}]},
        "host_records[0]: a.corp.example has either addresses or alias_of; give one of them",
    ),
    (
        {"host_records": [{"name": "a", "addresses": ["192.0.2.1"], "alias_of": "b.test"}]},
        "a.corp.example has either addresses or alias_of",
    ),
    ({"host_records": [{"name": "", "alias_of": "b.test"}]}, "host_records[0].name '.corp.example' has an empty label"),
    ({"host_records": [{"name": "*", "alias_of": "b.test"}]}, "*.corp.example is a wildcard; name each host"),
    ({"host_records": [{"name": "a.other.test.", "alias_of": "b.test"}]}, "a.other.test is not in this domain"),
    ({"host_records": [{"name": "a", "alias_of": "A.corp.example."}]}, "a.corp.example would be an alias of itself"),
    ({"host_records": [{"name": "a", "alias_of": "b..test"}]}, "host_records[0].alias_of 'b..test'"),
    ({"host_records": [{"name": "a", "addresses": ["b.test"]}]}, "host_records[0]: 'b.test' is no IP address"),
    (
        {"host_records": [{"name": "a", "addresses": ["fe80::1%eth0"]}]},
        "host_records[0]: 'fe80::1%eth0' is no IP address",
    ),
    ({"host_records": [{"name": "corp.example", "alias_of": "b.test"}]}, "would have a TXT record beside a CNAME"),
    (
        {"no_mail": ["a"], "host_records": [{"name": "a", "alias_of": "b.test"}]},
        "a.corp.example would have a MX record beside a CNAME",
    ),
    (
        {"host_records": [{"name": "a", "alias_of": "b.test"}, {"name": "a", "alias_of": "c.test"}]},
        "a.corp.example would have two CNAME records: b.test. and c.test.",
    ),
    ({"reports_for": ["a..b"]}, "a domain in reports_for 'a..b'"),
    ({"receives": False, "dmarc": {"rua": ["a@corp.example"]}}, "its DMARC reports go to mailto:a@corp.example, but"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_what_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordsError) as caught:
        derive([{"name": "corp.example", **options}], hosts=HOSTS)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("domains", "keys", "message"),
    [
        (["a.example", "A.example."], [], "is described twice and would have two SPF records"),
        (
            ["a.example"],
            [_key("s._domainkey.a.example", "one"), _key("s._domainkey.a.example.", "two")],
            "two different DKIM keys",
        ),
        (["a.example"], [{"name": "a.example", "value": "x"}], "dkim_keys[0] is no DKIM record"),
        (["a.example"], [{"domain": "a.example"}], "dkim_keys[0] is no DKIM record"),
        (["a.example"], [_key("s x._domainkey.a.example")], "the label 's x'"),
    ],
)
def test_what_does_not_go_together(domains: list[str], keys: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(RecordsError) as caught:
        derive([{"name": name} for name in domains], dkim_keys=keys)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"mx": [{"host": "Mx.corp.example"}]},
            "corp.example: its mx mx.corp.example would be an alias, which it must not be (RFC 2181 section 10.3); "
            "name host.test instead",
        ),
        (
            {"autoconfig": {"imaps": "mx.corp.example:1993"}},
            "_imaps._tcp.corp.example: its server of mail programs mx.corp.example would be an alias, "
            "which it must not be (RFC 2782); name host.test instead",
        ),
    ],
)
def test_targets_are_no_aliases(options: dict[str, Any], message: str) -> None:
    host = {"name": "mx", "addresses": ["192.0.2.25"]}
    assert derive([{"name": "corp.example", **options, "host_records": [host]}]).records
    alias = {"name": "mx", "alias_of": "host.test"}
    with pytest.raises(RecordsError) as caught:
        derive([{"name": "corp.example", **options, "host_records": [alias]}])
    assert str(caught.value) == message
    # The alias may be another domain's.
    with pytest.raises(RecordsError, match="would be an alias"):
        derive([{"name": "shop.test", **options}, {"name": "corp.example", "host_records": [alias]}])


def test_an_mx_has_addresses_that_the_world_reaches() -> None:
    def derived(address: str, host: str) -> tuple[str, ...]:
        hosts = [{"name": "mx", "addresses": ["192.0.2.25", address]}]
        return derive([{"name": "corp.example", "mx": [{"host": host}], "host_records": hosts}]).warnings

    private = "the domain corp.example: host_records[0]: 10.1.0.3 is a private address, which nobody outside reaches"
    assert private not in derived("192.0.2.26", "mx.corp.example")
    assert private in derived("10.1.0.3", "other.test")
    with pytest.raises(RecordsError, match=r"its mx mx.corp.example has the private address 10.1.0.3, which no sender"):
        derived("10.1.0.3", "mx.corp.example")


def test_a_key_beside_an_alias_is_refused() -> None:
    with pytest.raises(RecordsError, match=r"brevo1\._domainkey\.a\.example would have a TXT record beside a CNAME"):
        derive(
            [{"name": "a.example", "senders": [{"known": "brevo"}]}], dkim_keys=[_key("brevo1._domainkey.a.example")]
        )


@pytest.mark.parametrize(
    ("options", "warning"),
    [
        ({**RELAYS, "receives": False}, "it sends mail but has a null MX"),
        (RELAYS, "without rua nobody sees what fails"),
        ({"senders": [{"known": "google_workspace"}]}, "the DKIM record of Google Workspace is not described"),
        (
            {"dmarc": {"rua": ["x@other.test"]}},
            'need the record corp.example._report._dmarc.other.test. TXT "v=DMARC1;"',
        ),
        (
            {"senders": [{"known": "google_workspace"}, *({"include": f"{n}.test"} for n in range(8))]},
            "needs about 12 lookups",
        ),
        ({**RELAYS, "spf_all": "?all"}, "says nothing of other senders"),
        ({"mta_sts": {"mode": "enforce", "mx": ["a.test"], "max_age": 60}}, "its MTA-STS policy: max_age 60 is less"),
        (
            {"tlsa": [{"host": "corp.example", "current": "1 1 1 " + DIGEST}]},
            "tlsa[0].current: usage 1 is not for SMTP",
        ),
        ({"no_mail": ["*"], "dmarc": {"nonexistent_policy": "reject"}}, "the DMARC tag np never applies"),
        ({**RELAYS, "bimi": {"logo": "https://a.test/x.svg"}}, "a BIMI logo is shown only where"),
    ],
)
def test_warnings(options: dict[str, Any], warning: str) -> None:
    derived = derive([{"name": "corp.example", **options}], hosts=HOSTS)
    assert any(warning in text for text in derived.warnings), derived.warnings


def test_a_key_of_another_domain_is_left_out_with_a_warning() -> None:
    derived = derive([{"name": "a.example"}], dkim_keys=[_key("s._domainkey.b.example")])
    assert derived.warnings == ("the DKIM key s._domainkey.b.example belongs to no described domain and is left out",)


def test_a_service_is_described_by_what_its_console_shows() -> None:
    cnames = {"selector1": "a.dkim.mail.microsoft", "selector2": "b.dkim.mail.microsoft."}
    postmark = {"known": "postmark", "dkim_value": SERVICE_KEY, "dkim_selector": "20261120pm", "bounce": "pm-bounces"}
    lines = _lines({"name": "a.example", "senders": [{"known": "microsoft_365", "dkim_cnames": cnames}, postmark]})
    assert lines == [
        "a.example. TXT v=spf1 include:spf.protection.outlook.com ~all",
        "selector1._domainkey.a.example. CNAME a.dkim.mail.microsoft.",
        "selector2._domainkey.a.example. CNAME b.dkim.mail.microsoft.",
        f"20261120pm._domainkey.a.example. TXT {SERVICE_KEY}",
        "pm-bounces.a.example. CNAME pm.mtasv.net.",
        "_dmarc.a.example. TXT v=DMARC1; p=none",
    ]


@pytest.mark.parametrize(
    ("sender", "message"),
    [
        ({"known": "postmark", "dkim_value": "p=AA"}, "senders[0]: Postmark chooses its selectors; give dkim_selector"),
        (
            {"known": "google_workspace", "dkim_value": "v=DKIM1; k=rsa; p=MIIB..."},
            "senders[0].dkim_value: '.' at character 23: p= holds base64, its strings joined without quotes "
            "(RFC 6376 section 3.6.1); copy it whole from the console of Google Workspace",
        ),
        (
            {"known": "google_workspace", "dkim_value": "v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG"},
            "p= is not the DER of an RSA",
        ),
        ({"known": "sendgrid", "dkim_cnames": {"s1": "a b"}}, "the target of s1 in dkim_cnames 'a b'"),
        ({"known": "sendgrid", "bounce": "em1"}, "the bounce domain of SendGrid is not the same alias for all"),
        ({"known": "postmark", "bounce": "a b"}, "senders[0].bounce 'a b.a.example'"),
    ],
)
def test_services_that_are_not_described_enough(sender: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordsError) as caught:
        derive([{"name": "a.example", "senders": [sender]}])
    assert message in str(caught.value)


def test_an_estate_with_a_gateway_mailboxes_and_newsletters() -> None:
    """A gateway that signs, Google Workspace on the main domain, Brevo on a subdomain: three keys, one SPF record each."""
    main, news = "openfoodfacts.org", "hello.openfoodfacts.org"
    derived = derive(
        [
            {
                "name": main,
                "senders": [
                    {"hosts": "gateway"},
                    {"known": "google_workspace", "dkim_value": SERVICE_KEY},
                    {"known": "brevo"},
                ],
            },
            {"name": news, "senders": [{"known": "brevo", "verification": "abc"}]},
        ],
        hosts={"gateway": ["192.0.2.26"]},
        dkim_keys=[_key(f"pmg-openfoodfacts._domainkey.{main}", "v=DKIM1; h=sha256; k=rsa; p=" + "A" * 390)],
    )
    found = [(record.name, "".join(record.strings) or record.rdata) for record in derived.records]
    assert [text for name, text in found if text.startswith("v=spf1")] == [
        "v=spf1 ip4:192.0.2.26 include:_spf.google.com include:spf.brevo.com ~all",
        "v=spf1 include:spf.brevo.com ~all",
    ]
    assert not any("lookups" in warning for warning in derived.warnings)
    assert [(name, text[:12]) for name, text in found if "._domainkey." in name] == [
        (f"google._domainkey.{main}.", "v=DKIM1; k=e"),
        (f"brevo1._domainkey.{main}.", "b1.openfoodf"),
        (f"brevo2._domainkey.{main}.", "b2.openfoodf"),
        (f"pmg-openfoodfacts._domainkey.{main}.", "v=DKIM1; h=s"),
        (f"brevo1._domainkey.{news}.", "b1.hello-ope"),
        (f"brevo2._domainkey.{news}.", "b2.hello-ope"),
    ]
    assert [name for name, text in found if text.startswith("v=DMARC1")] == [f"_dmarc.{main}."]
    assert all(len(string) <= 255 for record in derived.records for string in record.strings)


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_catalogue(name: str) -> None:
    service = CATALOGUE[name]
    sender = {
        "known": name,
        "verification": "x",
        "dkim_value": "v=DKIM1; p=",
        "dkim_selector": service.txt_selector or "s",
    }
    assert len(derive([{"name": "a.example", "senders": [sender]}]).records) == 4
    assert service.title and service.source.startswith("https://")
    bare = derive([{"name": "a.example", "senders": [{"known": name}]}])
    assert len([record for record in bare.records if record.type == "CNAME"]) == len(service.aliases)
    assert bool(service.aliases) != any("DKIM record" in warning for warning in bare.warnings)
    assert service.spf_lookups == 0 or service.spf_lookups >= len(service.spf)


def test_the_catalogue_is_documented() -> None:
    options = yaml.safe_load(mail_records.DOCUMENTATION)["options"]["domains"]["suboptions"]["senders"]["suboptions"]
    assert options["known"]["choices"] == sorted(CATALOGUE)
    text = Path(__file__).parents[2].joinpath("docs", "senders.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| `")]
    assert [row[0] for row in rows] == [f"| `{name}`" for name in sorted(CATALOGUE)]
    for row, (_name, service) in zip(rows, sorted(CATALOGUE.items()), strict=True):
        assert row[1] == f"[{service.title}]({service.source})"
        assert all(f"`{term}`" in row[2] for term in service.spf) and (service.spf or row[2] == "-")
        assert all(f"`{alias.selector}`" in row[3] for alias in service.aliases)
        assert service.note in row[5]


TEXTS = st.one_of(
    st.text(max_size=20), st.sampled_from(["a.example", "+all", "192.0.2.1", "mailto:a@b.test", "%{i}.b.test", "."])
)


@patient
@given(
    name=TEXTS,
    sender=st.dictionaries(st.sampled_from(["hosts", "include", "ip4", "a", "term", "known", "verification"]), TEXTS),
    rua=TEXTS,
    key=TEXTS,
    more=st.fixed_dictionaries(
        {
            "mta_sts": st.none() | st.fixed_dictionaries({"mx": st.lists(TEXTS), "host": TEXTS, "id": TEXTS}),
            "tls_rpt": st.none() | st.fixed_dictionaries({"rua": st.lists(TEXTS)}),
            "tlsa": st.lists(st.fixed_dictionaries({"host": TEXTS, "current": TEXTS}), max_size=1),
            "autoconfig": st.dictionaries(st.sampled_from(["imaps", "pop3"]), TEXTS),
            "bimi": st.none() | st.fixed_dictionaries({"logo": TEXTS, "selector": TEXTS}),
            "caa": st.lists(TEXTS, max_size=2),
            "no_mail": st.lists(TEXTS, max_size=2),
            "reports_for": st.lists(TEXTS, max_size=2),
            "mx": st.lists(st.fixed_dictionaries({"host": TEXTS}), max_size=1),
            "host_records": st.lists(
                st.fixed_dictionaries({"name": TEXTS}, optional={"addresses": st.lists(TEXTS), "alias_of": TEXTS}),
                max_size=2,
            ),
        }
    ),
)
def test_hostile_input_is_refused_in_a_sentence(
    name: str, sender: dict[str, str], rua: str, key: str, more: dict[str, Any]
) -> None:
    try:
        derived = derive(
            [
                {"name": name, "senders": [sender], "dmarc": {"rua": [rua]}},
                {"name": "b.example", **{option: value for option, value in more.items() if value}},
            ],
            dkim_keys=[_key("s._domainkey.a.example", key)],
        )
    except RecordsError as err:
        assert str(err)
        return
    assert derived.records and derived.zone_text.isprintable() is False


def test_selectors_that_are_aliases() -> None:
    dkim = {"selectors": ["s1", "s2"], "target": "{selector}.{dashed}.dkim.host.example"}
    key = {"name": "s1._domainkey.corp.example", "value": "v=DKIM1; p=AAAA"}
    keys = [{"record": key}, {"record": None, "selector": "s2", "state": "withdrawn"}]
    records = derive([{"name": "corp.example", "dkim": dkim}], dkim_keys=keys).records
    assert [(record.name, record.type, record.rdata) for record in records if "s1." in record.name or "s2." in record.name] == [
        ("s1._domainkey.corp.example.", "CNAME", "s1.corp-example.dkim.host.example."),
        ("s2._domainkey.corp.example.", "CNAME", "s2.corp-example.dkim.host.example."),
        ("s1.corp-example.dkim.host.example.", "TXT", '"v=DKIM1; p=AAAA"'),
    ]  # fmt: skip
    with pytest.raises(RecordsError, match=r"^the domain corp.example: dkim.target: write \{selector\}, "):
        derive([{"name": "corp.example", "dkim": {**dkim, "target": "{x}"}}])


# -- what a mail server's domain adds -----------------------------------------------------------
SERVER = {
    "name": "corp.example",
    "mx": [{"host": "mail.corp.example"}],
    "senders": [{"mx": True}],
    "tlsa": [{"host": "mail.corp.example"}],
    "autoconfig": {"imaps": "mail.corp.example", "web": "mail.corp.example"},
    "host_records": [{"name": "mail", "addresses": ["192.0.2.25", "2001:db8::25"], "ptr": True}],
}
HELD = {"host": "mail.corp.example", "current": "3 1 1 " + DIGEST, "next": "3 1 1 " + "cd" * 32}


def told(rdtype: str, **options: Any) -> list[str]:
    return [str(record) for record in derive([SERVER], **options).records if record.type == rdtype]


def test_keys_that_hosts_hold_become_tlsa_records() -> None:
    assert told("TLSA", tls_keys=[HELD]) == [
        f"_25._tcp.mail.corp.example. 3600 IN TLSA 3 1 1 {DIGEST}",
        "_25._tcp.mail.corp.example. 3600 IN TLSA 3 1 1 " + "cd" * 32,
    ]
    assert told("TLSA", tls_keys=[{**HELD, "next": None, "host": "MAIL.corp.example."}]) == [
        f"_25._tcp.mail.corp.example. 3600 IN TLSA 3 1 1 {DIGEST}"
    ]
    # What is described wins.
    described = {**SERVER, "tlsa": [{"host": "mail.corp.example", "current": "3 1 1 " + "ef" * 32}]}
    assert [str(one) for one in derive([described], tls_keys=[HELD]).records if one.type == "TLSA"] == [
        "_25._tcp.mail.corp.example. 3600 IN TLSA 3 1 1 " + "ef" * 32
    ]


def test_a_host_without_a_key_has_no_tlsa_record_yet() -> None:
    for keys in ([], [{**HELD, "host": "other.corp.example"}]):
        derived = derive([SERVER], tls_keys=keys)
        assert [record for record in derived.records if record.type == "TLSA"] == []
        assert any(
            text.startswith("the domain corp.example: tlsa[0]: no key of mail.corp.example is known yet")
            for text in derived.warnings
        )
    assert not any("tlsa" in text for text in derive([SERVER], tls_keys=[HELD]).warnings)


def test_the_web_server_of_clients() -> None:
    assert told("CNAME") == [
        "autoconfig.corp.example. 3600 IN CNAME mail.corp.example.", "autodiscover.corp.example. 3600 IN CNAME mail.corp.example.",
    ]  # fmt: skip


def test_addresses_are_called_by_the_name_where_that_is_asked_for() -> None:
    reverse = "5.2.0.0" + ".0" * 20 + ".8.b.d.0.1.0.0.2.ip6.arpa."
    assert told("PTR") == [
        "25.2.0.192.in-addr.arpa. 3600 IN PTR mail.corp.example.", f"{reverse} 3600 IN PTR mail.corp.example.",
    ]  # fmt: skip
    silent = {**SERVER, "host_records": [{"name": "mail", "addresses": ["192.0.2.25"]}]}
    assert [record for record in derive([silent]).records if record.type == "PTR"] == []
    alias = {**SERVER, "host_records": [{"name": "x", "alias_of": "mail.corp.example", "ptr": True}]}
    with pytest.raises(
        RecordsError, match=r"host_records\[0\]: x.corp.example is an alias, which no address can be called by"
    ):
        derive([alias])
