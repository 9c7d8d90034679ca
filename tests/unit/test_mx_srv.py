# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""MX, SRV, CAA and BIMI records."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils._bimi import BimiError, BimiRecord
from ansible_collections.postmaster.mail.plugins.module_utils._caa import CaaError, CaaRecord
from ansible_collections.postmaster.mail.plugins.module_utils._mx import NULL_MX, MxError, MxRecord, check_set
from ansible_collections.postmaster.mail.plugins.module_utils._srv import NOT_OFFERED, SrvError, SrvRecord, autoconfig
from ansible_collections.postmaster.mail.plugins.module_utils._term_error import TermError
from hypothesis import given
from hypothesis import strategies as st

READ = [
    (MxRecord, "10 Mail.example.org", "10 mail.example.org."),
    (MxRecord, "0 .", "0 ."),
    (SrvRecord, "0 1 993 Imap.example.org", "0 1 993 imap.example.org."),  # RFC 6186 section 3.2
    (SrvRecord, "0 0 0 .", "0 0 0 ."),  # RFC 6186 section 3.4
    # RFC 8659 sections 4.2 to 4.4
    (CaaRecord, '0 issue "ca1.example.net; account=230123"', '0 issue "ca1.example.net; account=230123"'),
    (CaaRecord, "0 Issue ca1.example.net", '0 issue "ca1.example.net"'),
    (CaaRecord, '128 issuewild ";"', '128 issuewild ";"'),
    (CaaRecord, '0 issue ""', '0 issue ""'),
    (CaaRecord, '0 iodef "mailto:security@example.com"', '0 iodef "mailto:security@example.com"'),
    (CaaRecord, '128 tbs "Unknown \\"x\\""', '128 tbs "Unknown \\"x\\""'),
    (BimiRecord, "v=BIMI1; l=https://example.org/logo.svg;", "v=BIMI1; l=https://example.org/logo.svg; a="),
    (BimiRecord, "v=BIMI1;l=;a=;", "v=BIMI1; l=; a="),
    (
        BimiRecord,
        "v=BIMI1; l=https://a.test/x.svg; a=https://a.test/x.pem; avp=brand",
        "v=BIMI1; l=https://a.test/x.svg; a=https://a.test/x.pem; avp=brand",
    ),
]
REFUSED = [
    (MxRecord, "", "", 0, "a preference and a host"),
    (MxRecord, "mail.example.org.", "mail.example.org.", 0, "a preference and a host"),
    (MxRecord, "65536 a.test", "65536", 0, "from 0 to 65535"),
    (MxRecord, "-1 a.test", "-1", 0, "from 0 to 65535"),
    (MxRecord, "10 192.0.2.1.", "192.0.2.1.", 3, "this is an address"),
    (MxRecord, "10 [2001:db8::1]", "[2001:db8::1]", 3, "this is an address"),
    (MxRecord, "10 a..b", "a..b", 3, "an empty label"),
    (MxRecord, "10 *.a.test", "*.a.test", 3, "not a wildcard"),
    (SrvRecord, "0 1 993", "0 1 993", 0, "a priority, a weight, a port and a host"),
    (SrvRecord, "0 1 x a.test", "x", 4, "the port is a number"),
    (SrvRecord, "70000 1 1 a.test", "70000", 0, "the priority is a number"),
    (SrvRecord, "0 1 993 *.a.test", "*.a.test", 8, "not a wildcard"),
    (SrvRecord, "0 1 993 a b", "0 1 993 a b", 0, "a priority, a weight"),
    (CaaRecord, "issue x", "issue x", 0, "flags, a tag"),
    (CaaRecord, "256 issue x", "256", 0, "flags is a number"),
    (CaaRecord, '0 issue "a" "b"', '"a" "b"', 8, "one quoted text"),
    (CaaRecord, '0 issue "a', '"a', 8, "one quoted text"),
    (CaaRecord, '0 issue "not a domain"', "not a domain", 8, "the domain of an authority"),
    (CaaRecord, '0 issue "ca.test; no"', "ca.test; no", 8, "the domain of an authority"),
    (BimiRecord, "", "", 0, "a record is v=BIMI1"),
    (BimiRecord, "l=; v=BIMI1", "l=", 0, "a record is v=BIMI1"),
    (BimiRecord, "v=BIMI2; l=", "v=BIMI2", 0, "the version is BIMI1"),
    (BimiRecord, "v=BIMI1; l=http://a.test/x.svg", "l=http://a.test/x.svg", 8, "an https address"),
    (BimiRecord, "v=BIMI1; l=; l=", "l=", 12, "each once"),
    (BimiRecord, "v=BIMI1", "v=BIMI1", 7, "has l="),
]


@pytest.mark.parametrize(("kind", "text", "printed"), READ)
def test_records(kind: Any, text: str, printed: str) -> None:
    assert str(kind.parse(text)) == printed
    assert kind.parse(printed) == kind.parse(text)


@pytest.mark.parametrize(("kind", "text", "term", "position", "rule"), REFUSED)
def test_what_is_refused(kind: Any, text: str, term: str, position: int, rule: str) -> None:
    with pytest.raises(TermError) as caught:
        kind.parse(text)
    assert (caught.value.term, caught.value.position) == (term, position)
    assert rule in caught.value.rule


def test_what_records_say() -> None:
    assert MxRecord.parse("0 .").null and MxRecord.parse("0 .") == NULL_MX
    assert not SrvRecord.parse("0 0 0 .").offered and SrvRecord.parse("0 0 0 .") == NOT_OFFERED
    issuers = [CaaRecord.parse(text).issuer for text in ('0 issue "Ca.test ; a=b"', '0 issue ";"', '0 iodef "x"')]
    assert issuers == ["ca.test", "", None]
    assert BimiRecord.parse("v=BIMI1; l=; a=;").declined


def test_mx_records_of_a_name_come_best_first() -> None:
    texts = ["20 b.test", "10 c.test", "20 b.test."]
    assert [str(record) for record in check_set(map(MxRecord.parse, texts))] == ["10 c.test.", "20 b.test."]


@pytest.mark.parametrize(
    ("texts", "rule"), [(["0 .", "10 a.test"], "a null MX stands alone"), (["5 ."], "a null MX has preference 0")]
)
def test_mx_records_that_contradict_each_other(texts: list[str], rule: str) -> None:
    with pytest.raises(MxError, match=rule):
        check_set(map(MxRecord.parse, texts))


def test_autoconfiguration() -> None:
    services = {"submissions": "smtp.example.org", "submission": "smtp.example.org", "imaps": "imap.example.org:1993"}
    records = autoconfig("Example.org", services | {"pop3s": ".", "sieve": "imap.example.org"}, ttl=60)
    assert [str(record) for record in records] == [
        "_submissions._tcp.example.org. 60 IN SRV 0 1 465 smtp.example.org.",
        "_submission._tcp.example.org. 60 IN SRV 10 1 587 smtp.example.org.",
        "_imaps._tcp.example.org. 60 IN SRV 0 1 1993 imap.example.org.",
        "_pop3s._tcp.example.org. 60 IN SRV 0 0 0 .",
        "_sieve._tcp.example.org. 60 IN SRV 0 1 4190 imap.example.org.",
    ]


@pytest.mark.parametrize(
    ("services", "rule"),
    [
        ({"smtp": "a.test"}, "there is no such service"),
        ({"imaps": ""}, "is empty"),
        ({"imaps": "a.test:x"}, "the port is a number"),
        ({"imaps": "a b"}, "a priority, a weight"),
    ],
)
def test_autoconfiguration_that_is_refused(services: dict[str, str], rule: str) -> None:
    with pytest.raises(SrvError, match=rule):
        autoconfig("a.test", services)


KINDS: list[tuple[Any, type[TermError]]] = [
    (MxRecord, MxError),
    (SrvRecord, SrvError),
    (CaaRecord, CaaError),
    (BimiRecord, BimiError),
]
PIECES = [
    "0",
    " ",
    "1",
    ".",
    "a.test",
    "issue",
    '"',
    "\\",
    ";",
    "=",
    "v=BIMI1",
    "l=",
    "https://",
    "\u00e9",
    "\x00",
    "\u0661",
]


@given(st.one_of(st.text(), st.lists(st.sampled_from(PIECES)).map("".join)), st.sampled_from(KINDS))
def test_hostile_text_parses_or_is_refused_properly(text: str, kind: tuple[Any, type[TermError]]) -> None:
    try:
        record = kind[0].parse(text)
    except kind[1] as err:
        assert str(err).isprintable() and 0 <= err.position <= len(text)
        return
    assert kind[0].parse(str(record)) == record
