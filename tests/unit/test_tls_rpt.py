# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS-RPT records after RFC 8460."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils._tls_rpt import TlsRptError, TlsRptRecord
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

import _suites as suites
from _suites import needs_data

# The examples of section 3, and what the grammar allows beyond them.
GOOD = [
    ("v=TLSRPTv1;rua=mailto:reports@example.com", "v=TLSRPTv1; rua=mailto:reports@example.com"),
    (
        "v=TLSRPTv1; rua=https://reporting.example.com/v1/tlsrpt;",
        "v=TLSRPTv1; rua=https://reporting.example.com/v1/tlsrpt",
    ),
    ("v=TLSRPTv1 ; rua=mailto:a@b.test ,\thttps://b.test", "v=TLSRPTv1; rua=mailto:a@b.test,https://b.test"),
    ("v=TLSRPTv1; x = 1; rua=mailto:a%21b@b.test", "v=TLSRPTv1; rua=mailto:a%21b@b.test; x=1"),
]
BAD = [
    ("", "", 0, "begins with v=TLSRPTv1"),
    ("v=TLSRPTv1 rua=mailto:a@b.test", "v=TLSRPTv1 rua=mailto:a@b.test", 0, "begins with v=TLSRPTv1"),
    ("v=TLSRPTV1; rua=mailto:a@b.test", "v=TLSRPTV1", 0, "begins with v=TLSRPTv1"),
    ("v=TLSRPTv1;", "v=TLSRPTv1;", 11, "says by rua"),
    ("v=TLSRPTv1; rua=", "", 11, "is no URI"),
    ("v=TLSRPTv1; rua=a@b.test", "a@b.test", 11, "is no URI"),
    ("v=TLSRPTv1; rua=mailto:a!b@b.test", "mailto:a!b@b.test", 11, "%21"),
    ("v=TLSRPTv1; rua=mailto:a@b.test,", "", 11, "is no URI"),
    ("v=TLSRPTv1; rua =mailto:a@b.test", "rua =mailto:a@b.test", 11, "without white space"),
    ("v=TLSRPTv1; rua=mailto:a@b.test; rua=mailto:c@b.test", "rua=mailto:c@b.test", 32, "rua stands once"),
    ("v=TLSRPTv1; rua=mailto:a@b.test;;", "", 32, "a field is name=value"),
    ("v=TLSRPTv1; rua=mailto:a@b.test; x=", "x=", 32, "not empty"),
]


@pytest.mark.parametrize(("text", "printed"), GOOD)
def test_records(text: str, printed: str) -> None:
    record = TlsRptRecord.parse(text)
    assert str(record) == printed and not record.problems
    assert TlsRptRecord.parse(printed) == record


@pytest.mark.parametrize(("text", "term", "position", "rule"), BAD)
def test_what_is_no_record(text: str, term: str, position: int, rule: str) -> None:
    with pytest.raises(TlsRptError) as caught:
        TlsRptRecord.parse(text)
    assert (caught.value.term, caught.value.position) == (term, position)
    assert rule in caught.value.rule


def test_a_scheme_that_nobody_reports_by() -> None:
    assert TlsRptRecord.parse("v=TLSRPTv1; rua=http://b.test/x").problems == (
        "http://b.test/x is neither mailto nor https, so nobody can report there (section 3)",
    )


@pytest.mark.parametrize("rua", [(), ("a@b.test",)])
def test_a_record_cannot_be_made_of_bad_values(rua: tuple[str, ...]) -> None:
    with pytest.raises(TlsRptError):
        TlsRptRecord(rua)


PIECES = ["v=TLSRPTv1", "rua=", "mailto:a@b.test", "https://", ",", ";", "=", " ", "\t", "!", "x", "\u00e9", "\x00"]


@given(st.one_of(st.text(), st.lists(st.sampled_from(PIECES)).map("".join)))
def test_hostile_text_parses_or_is_refused_properly(text: str) -> None:
    try:
        record = TlsRptRecord.parse(text)
    except TlsRptError as err:
        assert str(err).isprintable() and 0 <= err.position <= len(text)
        return
    assert TlsRptRecord.parse(str(record)) == record


@needs_data
def test_given_cases() -> None:
    suites.settle_syntax("tlsrpt", TlsRptRecord.parse, TlsRptError)


@needs_data
def test_given_public_records() -> None:
    records = suites.rows("moj-mail-records.json")
    texts = [text for record in records if record["name"].startswith("_smtp._tls.") for text in record["values"]]
    assert len(texts) == 15
    for text in texts:
        assert str(TlsRptRecord.parse(text)) == text.replace(";", "; ")
