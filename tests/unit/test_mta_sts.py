# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""MTA-STS records and policies after RFC 8461."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils._mta_sts import MtaStsError, MtaStsPolicy, MtaStsRecord
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

import _suites as suites
from _suites import needs_data

# The examples of section 3.1 and 3.2, and what the grammar allows beyond them.
RECORDS = [
    ("v=STSv1; id=20160831085700Z;", "v=STSv1; id=20160831085700Z;"),
    ("v=STSv1;id=1", "v=STSv1; id=1;"),
    ("v=STSv1 \t;\t id=a ; x-1.y_z=%<>~;", "v=STSv1; id=a; x-1.y_z=%<>~;"),
    ("v=STSv1; later=1; id=2", "v=STSv1; id=2; later=1;"),
]
BAD_RECORDS = [
    ("", "", 0, "begins with v=STSv1"),
    (" v=STSv1; id=1", " v=STSv1", 0, "begins with v=STSv1"),
    ("v=stsv1; id=1", "v=stsv1", 0, "begins with v=STSv1"),
    ("v=STSv1", "v=STSv1", 7, "has an id"),
    ("v=STSv1; id=", "id=", 8, "1 to 32 letters"),
    ("v=STSv1; id = 1", "id = 1", 8, "a field is name=value"),
    ("v=STSv1; id=a-b", "id=a-b", 8, "1 to 32 letters"),
    (f"v=STSv1; id={'0' * 33}", f"id={'0' * 33}", 8, "1 to 32 letters"),
    ("v=STSv1; id=1; id=2", "id=2", 14, "id stands once"),
    ("v=STSv1; id=1;;", "", 14, "a field is name=value"),
    ("v=STSv1; id=1; x=", "x=", 14, "not empty"),
    ("v=STSv1; id=1; x=a=b", "x=a=b", 14, "without ="),
    ("v=STSv1; id=1; -x=1", "-x=1", 14, "a field is name=value"),
]
POLICY = "version: STSv1\nmode: enforce\nmx: mail.example.com\nmx: *.example.net\nmx: backupmx.example.com\nmax_age: 604800\n"
BAD_POLICIES = [
    ("", "version", 0, "a policy has a field version"),
    ("version: STSv2\nmode: none\nmax_age: 1", "version: STSv2", 0, "version is STSv1"),
    ("version: STSv1\nmode: Enforce\nmax_age: 1", "mode: Enforce", 15, "one of enforce, testing, none"),
    ("version: STSv1\r\nmode: none\r\nmax_age: x", "max_age: x", 28, "at most ten digits"),
    ("version: STSv1\nmode: none\nmax_age: 01234567890", "max_age: 01234567890", 26, "at most ten digits"),
    ("version: STSv1\nmode: none\n", "max_age", 26, "has a field max_age"),
    ("mode: none\nmax_age: 1\n", "version", 22, "has a field version"),
    ("version: STSv1\nmax_age: 1\n", "mode", 26, "has a field mode"),
    ("version: STSv1\nmode: testing\nmax_age: 1", "mode: testing", 0, "at least one mx"),
    ("version: STSv1\nmode: none\nmax_age: 1\nmx: a.*.example", "mx: a.*.example", 37, "mx is a host name"),
    ("version: STSv1\nmode: none\nmax_age: 1\nmx: *", "mx: *", 37, "mx is a host name"),
    ("version: STSv1\nmode: none\nmax_age: 1\nmx: mx.example.", "mx: mx.example.", 37, "without a final dot"),
    ("version: STSv1\nmode: none\nmax_age: 1\nx:", "x:", 37, "not empty"),
    ("version: STSv1\nmode: none\nmax_age : 1", "max_age : 1", 26, "of the form name: value"),
    ("version: STSv1\nmode: none\nmax_age: 1\nx: a\x00b", "x: a\x00b", 37, "control characters"),
    ("a" * 65537, "a" * 40, 0, "at most 65536 octets"),
]


@pytest.mark.parametrize(("text", "printed"), RECORDS)
def test_records(text: str, printed: str) -> None:
    record = MtaStsRecord.parse(text)
    assert str(record) == printed
    assert MtaStsRecord.parse(printed) == record


@pytest.mark.parametrize(("text", "term", "position", "rule"), BAD_RECORDS)
def test_what_is_no_record(text: str, term: str, position: int, rule: str) -> None:
    with pytest.raises(MtaStsError) as caught:
        MtaStsRecord.parse(text)
    assert (caught.value.term, caught.value.position) == (term, position)
    assert rule in caught.value.rule


def test_a_policy_prints_and_parses() -> None:
    policy = MtaStsPolicy.parse(POLICY)
    assert policy.mx == ("mail.example.com", "*.example.net", "backupmx.example.com")
    assert (policy.mode, policy.max_age, policy.problems) == ("enforce", 604800, ())
    assert str(policy) == POLICY.replace("\n", "\r\n")
    assert MtaStsPolicy.parse(str(policy)) == policy


@pytest.mark.parametrize(("text", "term", "position", "rule"), BAD_POLICIES)
def test_what_is_no_policy(text: str, term: str, position: int, rule: str) -> None:
    with pytest.raises(MtaStsError) as caught:
        MtaStsPolicy.parse(text)
    assert (caught.value.term, caught.value.position) == (term, position)
    assert rule in caught.value.rule


@pytest.mark.parametrize(
    ("mx", "expected"),
    [
        ("mail.example.com", True),
        ("MAIL.example.COM.", True),
        ("mail2.example.com", False),
        ("a.example.net", True),
        ("a.b.example.net", False),  # the wildcard stands for one label (section 4.1)
        ("example.net", False),
        ("", False),
    ],
)
def test_which_hosts_match(mx: str, expected: bool) -> None:
    assert MtaStsPolicy.parse(POLICY).matches(mx) is expected


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("mode: enforce\nmax_age: 31557601", "exceeds the limit of 31557600 seconds"),
        ("mode: enforce\nmax_age: 60", "less than a day"),
        ("mode: enforce\nmode: none\nmax_age: 604800", "mode stands twice and counts the first time only"),
        ("mode: enforce\n\nmax_age: 604800", "it has an empty line"),
        ("mode: enforce\r\nmax_age: 604800\r\n", "it has an empty line"),
    ],
)
def test_problems(lines: str, problem: str) -> None:
    policy = MtaStsPolicy.parse(f"version: STSv1\nmx: a.example\n{lines}\n")
    assert policy.mode == "enforce"
    assert len(policy.problems) == 1 and problem in policy.problems[0]


@pytest.mark.parametrize(
    ("options", "term"),
    [
        ({"mode": "strict"}, "mode: strict"),
        ({"mode": "enforce"}, "mode: enforce"),
        ({"mode": "none", "max_age": -1}, "max_age: -1"),
        ({"mode": "enforce", "mx": ("a b",)}, "mx: a b"),
    ],
)
def test_a_policy_cannot_be_made_of_bad_values(options: dict[str, Any], term: str) -> None:
    with pytest.raises(MtaStsError) as caught:
        MtaStsPolicy(**options)
    assert caught.value.term == term
    with pytest.raises(MtaStsError):
        MtaStsRecord("")


PIECES = [
    "v=STSv1",
    "version: STSv1",
    "mode: none",
    "mode:",
    "mx: *.a.test",
    "max_age: 1",
    "id=1",
    ";",
    "=",
    "\n",
    "\r",
    " ",
    "\t",
    "x",
    "\u00e9",
    "\x00",
]
TEXTS = st.one_of(st.text(), st.lists(st.sampled_from(PIECES)).map("".join))


@given(TEXTS, st.sampled_from([MtaStsRecord, MtaStsPolicy]))
def test_hostile_text_parses_or_is_refused_properly(text: str, kind: Any) -> None:
    try:
        value = kind.parse(text)
    except MtaStsError as err:
        assert str(err).isprintable() and 0 <= err.position <= len(text)
        return
    assert kind.parse(str(value)) == value


@needs_data
@pytest.mark.parametrize(("kind", "value"), [("mta-sts", MtaStsRecord), ("mta-sts-policy", MtaStsPolicy)])
def test_given_cases(kind: str, value: Any) -> None:
    suites.settle_syntax(kind, value.parse, MtaStsError)


@needs_data
def test_given_public_records() -> None:
    records = suites.rows("moj-mail-records.json")
    texts = [text for record in records if record["name"].startswith("_mta-sts.") for text in record["values"]]
    assert len(texts) == 9
    for text in texts:
        assert str(MtaStsRecord.parse(text)) == text + ";"
