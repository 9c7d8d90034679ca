# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""DMARC records after RFC 9989: parse, print, refuse."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils._dmarc import DmarcError, DmarcRecord
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

# A loaded machine is slow to make examples; that is no fault of what is tested.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

READ = [
    ("v=DMARC1; p=none", "v=DMARC1; p=none", []),
    ("v=DMARC1;p=reject;", "v=DMARC1; p=reject", []),
    ("V = DMARC1 ;\tP = Reject ; SP=none", "v=DMARC1; p=reject; sp=none", []),
    ("v=DMARC1; sp=none; p=reject", "v=DMARC1; p=reject; sp=none", []),
    (
        "v=DMARC1; p=quarantine; np=reject; adkim=s; aspf=r; t=y; psd=n; fo=1:d:s; rua=mailto:a@example.org,mailto:b@example.org",
        "v=DMARC1; p=quarantine; np=reject; adkim=s; aspf=r; t=y; psd=n; fo=1:d:s; rua=mailto:a@example.org,mailto:b@example.org",
        [],
    ),
    ("v=DMARC1; p=none; pct=50; rf=afrf; ri=86400", "v=DMARC1; p=none", ["pct=50", "rf=afrf", "ri=86400"]),
    ("v=DMARC1; p=none; future=yes", "v=DMARC1; p=none", []),
    ("v=DMARC1; p=none;; rua=x", "v=DMARC1; p=none", ["", "x"]),
    ("v=DMARC1; p=none; t=x; fo=0:1; adkim=relaxed", "v=DMARC1; p=none", ["t=x", "fo=0:1", "adkim=relaxed"]),
    (
        "v=DMARC1; p=none; rua=mailto:a@example.org!10m",
        "v=DMARC1; p=none; rua=mailto:a@example.org",
        ["mailto:a@example.org!10m"],
    ),
    ("v=DMARC1; rua=mailto:a@example.org", "v=DMARC1; p=none; rua=mailto:a@example.org", ["p"]),
    (
        "v=DMARC1; p=reject; sp=bad; rua=mailto:a@example.org",
        "v=DMARC1; p=none; rua=mailto:a@example.org",
        ["sp=bad"],
    ),
]

REFUSED = [
    ("", "", 0, "begins with v=DMARC1"),
    ("v=DMARC12; p=none", "v=DMARC12; p=none", 0, "begins with v=DMARC1"),
    ("v=dmarc1; p=none", "v=dmarc1; p=none", 0, "begins with v=DMARC1"),
    ("p=none; v=DMARC1", "p=none; v=DMARC1", 0, "begins with v=DMARC1"),
    ("v=DMARC1 p=none", "v=DMARC1 p=none", 0, "begins with v=DMARC1"),
    ("v=DMARC1; p=none; p=reject", "p=reject", 17, "p is given twice"),
    ("v=DMARC1; v=DMARC1; p=none", "v=DMARC1", 9, "v is given twice"),
    ("v=DMARC1; p=bad", "p=bad", 10, "it is void"),
    ("v=DMARC1; p=reject; sp=bad", "sp=bad", 20, "it is void"),
    ("v=DMARC1", "p=", 8, "it is void"),
]


@pytest.mark.parametrize(("text", "printed", "problems"), READ)
def test_what_a_reader_makes_of_it(text: str, printed: str, problems: list[str]) -> None:
    record = DmarcRecord.parse(text)
    assert str(record) == printed
    assert [problem.term for problem in record.problems] == problems
    assert DmarcRecord.parse(printed) == record


@pytest.mark.parametrize(("text", "term", "position", "rule"), REFUSED)
def test_what_is_no_policy(text: str, term: str, position: int, rule: str) -> None:
    with pytest.raises(DmarcError) as caught:
        DmarcRecord.parse(text)
    assert (caught.value.term, caught.value.position) == (term, position)
    assert rule in caught.value.rule


def test_removed_and_unknown_tags_are_told() -> None:
    record = DmarcRecord.parse("v=DMARC1; p=none; pct=0; x=y")
    assert record.removed == (("pct", "0"),) and record.unknown == (("x", "y"),)


@pytest.mark.parametrize(
    ("tags", "existing", "nonexistent"),
    [
        ({"p": "reject"}, "reject", "reject"),
        ({"p": "reject", "sp": "none"}, "none", "none"),
        ({"p": "reject", "np": "quarantine"}, "reject", "quarantine"),
    ],
)
def test_policy_for_subdomains(tags: dict[str, str], existing: str, nonexistent: str) -> None:
    record = DmarcRecord(**tags)
    assert (record.subdomain_policy, record.nonexistent_policy) == (existing, nonexistent)


@pytest.mark.parametrize(
    ("tags", "term"),
    [
        ({"p": "discard"}, "p=discard"),
        ({"t": "1"}, "t=1"),
        ({"fo": ("0", "1")}, "fo=0,1"),
        ({"rua": ("dmarc@example.org",)}, "rua=dmarc@example.org"),
        ({"rua": ("mailto:example.org",)}, "rua=mailto:example.org"),
        ({"rua": ("mailto:a@example.org!10m",)}, "rua=mailto:a@example.org!10m"),
        ({"ruf": ("mailto:a@example.org; p=none",)}, "ruf=mailto:a@example.org; p=none"),
    ],
)
def test_a_record_cannot_be_made_of_bad_values(tags: dict[str, Any], term: str) -> None:
    with pytest.raises(DmarcError) as caught:
        DmarcRecord(**tags)
    assert caught.value.term == term


PIECES = st.sampled_from(
    [
        "p",
        "sp",
        "rua",
        "fo",
        "pct",
        "t",
        "=",
        ";",
        " ",
        "\t",
        "none",
        "reject",
        "mailto:a@b.test",
        ",",
        "!",
        "10m",
        "0",
        ":",
        "\x00",
        "\u00e9",
        "v",
    ]
)


@patient
@given(st.one_of(st.text(), st.lists(PIECES).map("".join)).map(lambda text: "v=DMARC1;" + text))
def test_hostile_text_parses_or_is_refused_properly(text: str) -> None:
    try:
        record = DmarcRecord.parse(text)
    except DmarcError as err:
        assert str(err) and 0 <= err.position <= len(text)
        return
    again = DmarcRecord.parse(str(record))
    assert again == record and not again.problems
