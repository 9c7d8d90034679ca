# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What readers of RFC 7489 make of records and domains, row by row of the table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils._dmarc import DmarcError
from ansible_collections.postmaster.mail.plugins.module_utils._dmarc_7489 import (
    DIFFERENCES,
    ROWS,
    OldRecord,
    compare,
    record_rows,
)
from ansible_collections.postmaster.mail.plugins.module_utils._public_suffix import SuffixList
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

import _suites as suites

SUFFIXES = SuffixList.parse("com\nexample\nbank.example\nco.test\n")
RUA = "rua=mailto:a@example.com"

RECORDS: list[tuple[str, list[tuple[str, str]]]] = [
    ("v=DMARC1; p=reject; rua=mailto:a@example.com", []),
    ("v=spf1 -all", []),
    ("v=DMARC1; p=reject; sp=quarantine; np=none", [("np", "np=none is ignored: quarantine applies to subdomains")]),
    ("v=DMARC1; p=reject; np=reject; t=n; psd=u", []),
    ("v=DMARC1; p=reject; psd=n", [("psd", "psd=n is ignored")]),
    ("v=DMARC1; p=reject; t=y", [("t", "t=y is ignored: p=reject applies in full")]),
    ("v=DMARC1; p=none; t=y", []),
    ("v=DMARC1; p=none; sp=reject; t=y", [("t", "t=y is ignored")]),
    ("v=DMARC1; p=quarantine; pct=20", [("pct", "p=quarantine applies to 20 % of the mail that fails")]),
    ("v=DMARC1; p=quarantine; pct=100", []),
    ("v=DMARC1; p=quarantine; pct=200", []),
    ("v=DMARC1; p=none; pct=20", []),
    ("v=DMARC1; p=none; ri=3600; rf=afrf", [("ri", "every 3600 seconds"), ("rf", "rf=afrf is obeyed")]),
    ("v=DMARC1; sp=none; p=reject", [("order", "p does not stand right behind v")]),
    (f"v=DMARC1; p=none; {RUA}!10m", [("size", "larger reports are not sent")]),
    ("v=DMARC1; p=none; ruf=mailto:a@example.com; fo=0:1", [("fo", "fo=0:1 is obeyed")]),
    (f"v=DMARC1; p=reject; np=bad; {RUA}", [("np-invalid", "the invalid np is ignored: p=reject applies")]),
    ("v=DMARC1; p=reject; np=bad", [("np-invalid", "p=reject applies")]),
    ("v=DMARC1; p=bad; np=reject", []),
]


@pytest.mark.parametrize(("text", "expected"), RECORDS)
def test_rows_of_a_record(text: str, expected: list[tuple[str, str]]) -> None:
    rows = record_rows(text)
    assert [row.row.id for row in rows] == [row for row, _detail in expected]
    for row, (_id, detail) in zip(rows, expected, strict=True):
        assert detail in row.detail
        assert str(row).endswith(f"(RFC 7489 section {row.row.old_section}, RFC 9989 section {row.row.new_section})")


class Dns:
    def __init__(self, records: dict[str, str | list[str]]) -> None:
        self.records = {f"_dmarc.{name}": [text] if isinstance(text, str) else text for name, text in records.items()}
        self.asked: list[str] = []

    def query(self, name: str, rdtype: str) -> list[str]:
        self.asked.append(name)
        return self.records.get(name, []) if rdtype == "TXT" else []


REJECT = "v=DMARC1; p=reject; sp=quarantine"
# Records, author domain: the policy by RFC 9989, that by RFC 7489, the rows and a piece of the first one's detail.
DOMAINS: list[tuple[dict[str, Any], str, str | None, str | None, list[str], str]] = [
    ({"example.com": REJECT}, "mail.example.com", "quarantine", "quarantine", [], ""),
    ({"example.com": REJECT}, "a.b.example.com", "quarantine", "quarantine", [], ""),
    # A record between the author domain and the organizational domain.
    (
        {"dep.example.com": "v=DMARC1; p=none; psd=n", "example.com": REJECT},
        "a.dep.example.com",
        "none",
        "quarantine",
        ["organizational-domain", "record-found", "psd"],
        "is example.com, not dep.example.com",
    ),
    # Only the walk finds it.
    (
        {"dep.example.com": REJECT},
        "a.dep.example.com",
        "quarantine",
        None,
        ["organizational-domain", "record-found"],
        "is example.com, not dep.example.com",
    ),
    # The public suffix domain has a policy for all below it.
    (
        {"bank.example": "v=DMARC1; p=reject; psd=y"},
        "mega.bank.example",
        "reject",
        None,
        ["record-found", "psd"],
        "no record is found, not the one at bank.example",
    ),
    # A domain that the list takes for a suffix, and the walk does not.
    (
        {"co.test": REJECT},
        "shop.co.test",
        "quarantine",
        None,
        ["organizational-domain", "record-found"],
        "is shop.co.test, not co.test",
    ),
    (
        {"mail.example.com": [REJECT, REJECT], "example.com": REJECT},
        "mail.example.com",
        "quarantine",
        None,
        ["two-records"],
        "two records mean no DMARC",
    ),
    ({"example.com": "v=DMARC1; p=reject; t=y"}, "example.com", "quarantine", "reject", ["t"], "in full"),
    ({"example.com": "v=DMARC1; sp=none; p=reject"}, "example.com", "reject", None, ["order"], "right behind v"),
    ({"example.com": "v=DMARC1; p=reject; np=bad"}, "example.com", None, "reject", ["np-invalid"], "invalid np"),
    # More labels than the walk looks at.
    (
        {"c.d.e.f.g.h.i.co.test": "v=DMARC1; p=reject; psd=n"},
        "a.b.c.d.e.f.g.h.i.co.test",
        None,
        None,
        ["organizational-domain"],
        "is i.co.test, not a.b.c.d.e.f.g.h.i.co.test",
    ),
]


@pytest.mark.parametrize(("records", "domain", "new", "old", "rows", "detail"), DOMAINS)
def test_rows_of_a_domain(
    records: dict[str, Any], domain: str, new: str | None, old: str | None, rows: list[str], detail: str
) -> None:
    found = compare(domain, Dns(records), SUFFIXES)
    assert (found.new.policy, found.old.policy) == (new, old)
    assert [row.row.id for row in found.rows] == rows
    assert not rows or detail in found.rows[0].detail


def test_a_record_that_only_the_list_finds() -> None:
    name = "a.b.c.d.e.f.g.h.i.j.example.com"
    found = compare(name, Dns({}), SuffixList.parse("d.e.f.g.h.i.j.example.com\n"))
    assert found.old.organizational_domain == "c.d.e.f.g.h.i.j.example.com"
    records = {found.old.organizational_domain: REJECT}
    found = compare(name, Dns(records), SuffixList.parse("d.e.f.g.h.i.j.example.com\n"))
    assert (found.new.policy, found.old.policy) == (None, "quarantine")
    assert "where the walk finds none" in found.rows[1].detail


def test_the_record_is_asked_for_once() -> None:
    resolver = Dns({"example.com": REJECT})
    compare("mail.example.com", resolver, SUFFIXES)
    assert len(resolver.asked) == len(set(resolver.asked))


def test_every_row_is_shown_by_a_case() -> None:
    shown = {row for _text, rows in RECORDS for row, _detail in rows} | {row for case in DOMAINS for row in case[4]}
    assert shown == set(ROWS) == {row.id for row in DIFFERENCES}


PIECES = [
    "v=DMARC1",
    ";",
    "p=",
    "none",
    "reject",
    "bad",
    "np=",
    "sp=",
    "t=y",
    "pct=",
    "\u0663",
    "5",
    "fo=0:1",
    RUA,
    "!1m",
    " ",
]


@given(st.one_of(st.text(), st.lists(st.sampled_from(PIECES)).map("".join)).map(lambda text: "v=DMARC1;" + text))
def test_hostile_text_has_rows_or_none(text: str) -> None:
    assert all(str(row) for row in record_rows(text))


@suites.needs_data
def test_given_cases_of_the_older_rfc() -> None:
    cases = [case for case in suites.rows("dmarc-parse.json") if "RFC 7489" in case["source"]]
    assert len(cases) > 40
    differing = [
        case["record"] for case in cases if suites.is_read(OldRecord.read, case["record"], DmarcError) != case["valid"]
    ]
    suites.settle("dmarc-parse.json by RFC 7489", [case["record"] for case in cases], differing)
