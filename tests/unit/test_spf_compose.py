# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""SPF records made of what exists and of what is wanted, and what a record costs."""

from __future__ import annotations

import operator
import sys
from pathlib import Path

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils._spf import (
    DnsTimeout,
    Planned,
    SpfError,
    SpfRecord,
    check_host,
    compose,
    key,
    merge,
    overruled,
    parse,
    survey,
)
from ansible_collections.postmaster.mail.plugins.module_utils._spf import term as parse_term
from ansible_collections.postmaster.mail.plugins.module_utils._spf_check import Check
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

import _spf_cases as cases
from test_spf_flatten import RECORDS, SENDERS, zone

STRANGERS = {"A": "198.18.0.1", "AAAA": "100::1"}

MANY = " ".join(f"a:h{number}.test" for number in range(9))


@pytest.mark.parametrize(
    ("existing", "wanted", "ours", "expected"),
    [
        # Nothing there, or nothing of SPF
        ([], "ip4:192.0.2.1 -all", [], "ip4:192.0.2.1 -all"),
        (["google-site-verification=x"], "-all", [], "-all"),
        # Terms of others stay; ours come; there is one all, and it stands last.
        (["include:a.test ~all"], "ip4:192.0.2.1 -all", [], "ip4:192.0.2.1 include:a.test -all"),
        (
            ["ip4:192.0.2.9 include:a.test ~all"],
            "include:b.test ip4:192.0.2.1",
            [],
            "ip4:192.0.2.9 ip4:192.0.2.1 include:a.test include:b.test ~all",
        ),
        (["all include:a.test"], "ip4:192.0.2.1 -all", [], "ip4:192.0.2.1 -all"),
        # The same term in another spelling or with another qualifier
        (["IP4:192.0.2.1/32 A:X.Test. ?all"], "ip4:192.0.2.1 a:x.test ~all", [], "IP4:192.0.2.1/32 A:X.Test. ~all"),
        (["?include:a.test mx ~all"], "include:a.test", [], "include:a.test mx ~all"),
        (["mx/24 ~all"], "mx", [], "mx/24 mx ~all"),
        # What was ours goes when it is no longer wanted.
        (
            ["ip4:192.0.2.1 include:a.test ~all"],
            "ip4:192.0.2.2",
            ["ip4:192.0.2.1"],
            "ip4:192.0.2.2 include:a.test ~all",
        ),
        (["ip4:192.0.2.1 ~all"], "ip4:192.0.2.1", ["ip4:192.0.2.1/32"], "ip4:192.0.2.1 ~all"),
        (["include:a.test ~all"], "", ["+INCLUDE:a.test."], "~all"),
        # Written without a qualifier it goes whatever that is, with one only with that.
        (["-ip4:192.0.2.1 ~all"], "", ["ip4:192.0.2.1"], "~all"),
        (["-ip4:192.0.2.1 ~all"], "", ["-ip4:192.0.2.1"], "~all"),
        (["ip4:192.0.2.1 ~all"], "", ["-ip4:192.0.2.1"], "ip4:192.0.2.1 ~all"),
        (["-ip4:192.0.2.1 ~all"], "", ["+ip4:192.0.2.1"], "-ip4:192.0.2.1 ~all"),
        (["mx exp=why.test ~all"], "", ["exp=Why.test"], "mx ~all"),
        # An exception of others keeps standing before what it excepts from.
        (["-ip4:192.0.2.1 ~all"], "ip4:192.0.2.0/24", [], "-ip4:192.0.2.1 ip4:192.0.2.0/24 ~all"),
        (["-include:a.test ~all"], "ip4:192.0.2.0/24", [], "-include:a.test ip4:192.0.2.0/24 ~all"),
        # A wanted one stands where it takes effect, with all that is wanted in the order given.
        (["ip4:192.0.2.0/24 ~all"], "-ip4:192.0.2.7", [], "-ip4:192.0.2.7 ip4:192.0.2.0/24 ~all"),
        (
            ["ip4:192.0.2.0/24 mx ~all"],
            "ip4:192.0.2.7 -ip4:192.0.2.0/29 a:x.test",
            [],
            "ip4:192.0.2.7 -ip4:192.0.2.0/29 a:x.test ip4:192.0.2.0/24 mx ~all",
        ),
        (["mx ip4:192.0.2.0/24 ~all"], "-include:a.test", [], "-include:a.test mx ip4:192.0.2.0/24 ~all"),
        (["mx ip4:192.0.2.7 ~all"], "~ip4:192.0.2.7", [], "~ip4:192.0.2.7 mx ~all"),
        # Where it takes effect already it stays.
        (["ip4:192.0.3.0/24 -ip4:192.0.2.7 mx ~all"], "-ip4:192.0.2.7", [], "ip4:192.0.3.0/24 -ip4:192.0.2.7 mx ~all"),
        (["-mx ip4:192.0.2.7 ~all"], "-ip4:192.0.2.7", [], "-mx -ip4:192.0.2.7 ~all"),
        (["ip4:192.0.3.0/24 ~all"], "-ip4:192.0.2.7", [], "ip4:192.0.3.0/24 -ip4:192.0.2.7 ~all"),
        # Redirects
        (["redirect=a.test"], "ip4:192.0.2.1", [], "ip4:192.0.2.1 redirect=a.test"),
        (["redirect=a.test"], "ip4:192.0.2.1 -all", [], "ip4:192.0.2.1 include:a.test -all"),
        (["include:a.test redirect=a.test"], "-all", [], "include:a.test -all"),
        (["~all redirect=a.test"], "ip4:192.0.2.1 -all", [], "ip4:192.0.2.1 -all"),
        (["mx ~all"], "redirect=a.test", [], "mx redirect=a.test"),
        (["redirect=a.test"], "redirect=b.test", [], "redirect=b.test"),
        # Other modifiers
        (["mx ~all exp=why.test x=1"], "exp=because.test x=2", [], "mx ~all exp=because.test x=2 x=1"),
        # Never two records
        (["mx ~all", "ip4:192.0.2.1 -all", "other"], "", [], "mx ip4:192.0.2.1 ~all"),
    ],
)
def test_merge(existing: list[str], wanted: str, ours: list[str], expected: str) -> None:
    texts = [text if text in ("other", "google-site-verification=x") else f"v=spf1 {text}" for text in existing]
    found = merge(texts, parse(f"v=spf1 {wanted}"), ours=ours)
    assert str(found) == f"v=spf1 {expected}"
    assert parse(str(found)) == found
    assert str(merge([str(found)], parse(f"v=spf1 {wanted}"), ours=ours)) == str(found)


def test_what_merge_takes() -> None:
    text = "v=spf1 mx ~all"
    for existing in (text, parse(text), [text]):
        for wanted in ("v=spf1 ip4:192.0.2.1", parse("v=spf1 ip4:192.0.2.1"), ["ip4:192.0.2.1"]):
            assert str(merge(existing, wanted)) == "v=spf1 ip4:192.0.2.1 mx ~all"
    assert merge(None, "v=spf1 -all") == parse("v=spf1 -all")
    with pytest.raises(SpfError, match="no mechanism 'nclude'"):
        merge("v=spf1 nclude:a.test -all", "v=spf1 mx")


@pytest.mark.parametrize(
    ("record", "wanted", "told"),
    [
        ("-ip4:192.0.2.7 ip4:192.0.2.0/24 -all", ["ip4:192.0.2.0/24"], ["-ip4:192.0.2.7 stands before it and decides"]),
        ("~mx ip4:192.0.2.0/24 -all", ["ip4:192.0.2.0/24"], ["~mx may decide first"]),
        ("-ip4:192.0.3.7 ip4:192.0.2.0/24 -all", ["ip4:192.0.2.0/24"], []),
        ("-ip4:192.0.2.7 ip4:192.0.2.0/24 -all", ["-ip4:192.0.2.7", "ip4:192.0.2.0/24"], []),
        (
            "-ip6:::ffff:192.0.2.7 ip4:192.0.2.0/24 -all",
            ["ip4:192.0.2.0/24"],
            ["-ip6:::ffff:192.0.2.7 stands before it"],
        ),
    ],
)
def test_who_decides_before_a_wanted_term_is_told(record: str, wanted: list[str], told: list[str]) -> None:
    found = [str(error) for error in overruled(parse(f"v=spf1 {record}"), wanted)]
    assert len(found) == len(told) and all(map(operator.contains, found, told))


# -- verdicts -----------------------------------------------------------------------------------

ADDRESSES = [f"192.0.2.{number}" for number in range(18)] + [
    "198.51.100.1",
    "203.0.113.9",
    "2001:db8::1",
    "2001:db8::5",
]
TERMS = st.builds(
    "{}{}".format,
    st.sampled_from(["", "", "", "-", "~", "?"]),
    st.sampled_from(
        [
            *(
                f"ip4:192.0.2.{number}/{length}"
                for number, length in ((0, 28), (0, 29), (8, 30), (2, 31), (2, 32), (3, 32))
            ),
            *("ip6:2001:db8::/126", "ip6:2001:db8::1", "ip6:::ffff:192.0.2.3", "ip4:192.0.2.5", "ip4:192.0.2.3"),
            *("include:a.test", "include:c.test", "a:host.test", "a:seven.test", "a:seven.test/30", "mx:x.test"),
        ]
    ),
)


def verdict(text: str, ip: str) -> tuple[str, str]:
    """Result and term, for a receiver that counts no lookups."""
    made = zone(*SENDERS, "seven.test A 192.0.2.7", f"corp.test TXT {text}")
    check = Check(ip, "a@corp.test", "x", made.query)
    check.lookup_limit = check.void_limit = 300
    return check.evaluate("corp.test")[:2]


@given(st.lists(TERMS, max_size=6), st.sampled_from(["-all", "~all", "?all"]))
def test_compose_keeps_the_verdicts_of_its_terms_in_order(terms: list[str], ending: str) -> None:
    made = str(compose(terms, all_=ending))
    given_text = " ".join(["v=spf1", *terms, ending])
    for ip in ADDRESSES:
        assert verdict(made, ip)[0] == verdict(given_text, ip)[0]


@given(st.lists(TERMS, max_size=5), st.sampled_from(["-all", "~all", "?all"]), st.lists(TERMS, min_size=1, max_size=3))
def test_merge_keeps_verdicts_where_nothing_else_is_wanted(existing: list[str], ending: str, wanted: list[str]) -> None:
    """Whom no wanted term matches is judged as before. A wanted term decides for its own, or it is told what does."""
    before = " ".join(["v=spf1", *existing, ending])
    record = merge(before, wanted)
    told = {error.term for error in (*overruled(record, wanted), *record.warnings())}
    for ip in ADDRESSES:
        result, term = verdict(" ".join(["v=spf1", *wanted]), ip)
        expected = result if term else verdict(before, ip)[0]
        assert verdict(str(record), ip)[0] == expected or {term, term.removeprefix("+")} & told or _same(term, told)


def _same(text: str, told: set[str]) -> bool:
    """Whether a term is told of in the spelling of the record."""
    return bool(text) and key(parse_term(text)) in {
        key(parse_term(one)) for one in told if not one.startswith("v=spf1")
    }


@given(st.lists(RECORDS, max_size=2), RECORDS)
def test_merging_again_changes_nothing_and_loses_nothing(existing: list[str], wanted: str) -> None:
    found = merge(existing, wanted)
    assert parse(str(found)) == found
    assert merge(str(found), wanted) == found
    ends = [item for item in found.directives if item.mechanism == "all"]
    assert (len(ends) <= 1 and found.directives[-len(ends) :] == tuple(ends)) or not ends
    # Whatever passed alone still stands in it, unless the other record says something else of the same.
    texts = {str(item).lstrip("+") for item in found.directives}
    for item in parse(wanted).reached:
        assert item.mechanism == "all" or any(str(item).lstrip("+-~?") == text.lstrip("-~?") for text in texts)


@pytest.mark.parametrize(
    ("modifiers", "expected"),
    [
        (["exp=why.test"], "v=spf1 mx -all exp=why.test"),
        (["redirect=a.test"], "v=spf1 mx redirect=a.test"),
        (["x=1", "exp=why.test", "x=1"], "v=spf1 mx -all x=1 exp=why.test"),
    ],
)
def test_compose_with_modifiers(modifiers: list[str], expected: str) -> None:
    assert str(compose(["mx"], all_="-all", modifiers=modifiers)) == expected


@pytest.mark.parametrize("modifiers", [["mx"], ["exp=a.test", "exp=b.test"], ["redirect=a"]])
def test_compose_refuses_what_is_no_modifier(modifiers: list[str]) -> None:
    with pytest.raises(SpfError):
        compose(["mx"], modifiers=modifiers)


# -- what a record costs ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "lookups", "voids", "faults", "unknown"),  # voids of the family that has more of them
    [
        ("ip4:192.0.2.1 -all", 0, [], 0, 0),
        ("include:a.test mx:x.test ptr -all", 5, [], 0, 0),
        ("a:no.test mx:no.test exists:no.test ptr -all", 4, ["a:no.test", "mx:no.test", "exists:no.test"], 0, 0),
        ("a:six.test a:a..test -all", 2, ["a:six.test"], 0, 0),
        ("a:six.test a:host.test a:six.test -all", 3, ["a:six.test", "a:six.test"], 0, 0),
        ("a:four.test a:host.test mx:no.test -all", 3, ["a:four.test", "mx:no.test"], 0, 0),
        ("mx:many.test -all", 1, [], 1, 0),
        ("mx:ten.test -all", 1, [], 0, 0),
        ("include:many.test -all", 2, [], 1, 0),
        ("redirect=r.test", 3, [], 0, 0),
        ("-all redirect=r.test include:a.test", 0, [], 0, 0),
        ("include:nothing.test include:two.test -all", 2, [], 2, 0),
        ("include:loop.test -all", 12, [], 1, 0),
        ("include:%{d}.x.test exists:%{i}.x.test -all", 2, [], 0, 2),
        ("include:timeout.test a:timeout.test -all", 2, [], 0, 2),
    ],
)
def test_survey(record: str, lookups: int, voids: list[str], faults: int, unknown: int) -> None:
    hosts = ["four.test A 192.0.2.4", *(f"ten.test MX {number} host.test." for number in range(10))]
    found = survey(f"v=spf1 {record}", domain="corp.test", resolver=zone(*SENDERS, *hosts))
    assert (found.lookups, found.voids, len(found.faults), len(found.unknown)) == (lookups, voids, faults, unknown)


def test_limits_are_told_with_a_remedy() -> None:
    found = survey(f"v=spf1 {MANY} include:a.test -all", domain="corp.test", resolver=zone(*SENDERS))
    assert found.too_many.startswith("it needs 12 lookups") and "flatten" in found.too_many
    assert found.too_void.startswith("9 of its terms have no answer for clients of IPv4")
    assert "remove a:h0.test, a:h1.test" in found.too_void
    six = survey(
        "v=spf1 a:four.test a:four.test a:four.test -all", domain="corp.test", resolver=zone("four.test A 1.2.3.4")
    )
    assert six.too_void.startswith("3 of its terms have no answer for clients of IPv6") and six.void["A"] == []
    sound = survey("v=spf1 include:a.test -all", domain="corp.test", resolver=zone(*SENDERS))
    assert not sound.too_many and not sound.too_void


@given(RECORDS)
def test_a_survey_ends(record: str) -> None:
    survey(record, domain="corp.test", resolver=zone(*SENDERS, f"corp.test TXT {record}"))


def test_planned_records_answer_as_if_they_were_published() -> None:
    resolver = Planned(
        zone(*SENDERS, "corp.test spf -all", "corp.test TXT other"), {"Corp.Test.": "v=spf1 include:b.test -all"}
    )
    found = check_host(ip="198.51.100.1", sender="a@corp.test", helo="x", resolver=resolver)
    assert found.result == "pass"
    assert resolver.query("host.test", "A") == ["198.51.100.1", "198.51.100.2"]


def test_planned_records_ask_for_the_rest_once() -> None:
    asked: list[str] = []

    class Counting(cases.Zone):
        def query(self, name: str, rdtype: str) -> list[str]:
            asked.append(f"{name} {rdtype}")
            return super().query(name, rdtype)

    behind = Counting()
    behind.failing = ("timeout.",)
    resolver = Planned(behind, {"corp.test": "v=spf1 -all"})
    for dummy in range(2):
        assert resolver.query("CORP.test.", "TXT") == ["v=spf1 -all"] and resolver.query("a.test", "A") == []
        with pytest.raises(DnsTimeout):
            resolver.query("timeout.test", "A")
    assert asked == ["a.test A", "timeout.test A"]


@given(RECORDS)
def test_what_a_survey_finds_is_what_strangers_meet(record: str) -> None:
    """No permerror of a stranger that the survey does not foresee, unless the record's macros decide it."""
    resolver = zone(*SENDERS, f"corp.test TXT {record}")
    found = survey(record, domain="corp.test", resolver=resolver)
    told = {
        rdtype: check_host(ip=ip, sender="a@corp.test", helo="x", resolver=resolver) for rdtype, ip in STRANGERS.items()
    }
    for rdtype, result in told.items():
        if result.result == "permerror" and not found.unknown and "ptr" not in record:
            assert found.faults or found.too_many or len(found.void[rdtype]) > 2


def test_records_are_values() -> None:
    assert isinstance(merge(None, []), SpfRecord) and str(merge(None, [])) == "v=spf1"
