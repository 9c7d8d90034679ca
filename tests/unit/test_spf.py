# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""SPF records: parse, print, judge, compose. The cases are drawn from the text of RFC 7208."""

from __future__ import annotations

import re

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils._spf import (
    Directive,
    Macro,
    Modifier,
    SpfError,
    compose,
    parse,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

# A loaded machine is slow to make examples; that is no fault of what is tested.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

VALID = [
    "v=spf1",
    "v=spf1 -all",
    "V=SPF1 -ALL",
    "v=spf1 +mx a:colo.example.com/28 -all",
    "v=spf1 a mx ptr ?all",
    "v=spf1 a/24 a//64 a/24//64 mx/0//0 ~all",
    "v=spf1 ip4:192.0.2.1 ip4:192.0.2.128/28 ip4:0.0.0.0/0 -all",
    "v=spf1 ip6:2001:db8:: ip6:2001:db8::/32 ip6:::1 ip6:::ffff:192.0.2.1/128 -all",
    "v=spf1 exists:%{ir}.%{l1r+-}._spf.%{d} -all",
    "v=spf1 include:_spf.example.com. redirect=_spf.%{d2}",
    "v=spf1 exists:%{i}%%%_%- -all",
    "v=spf1 redirect=example.com exp=explain._spf.%{d}",
    "v=spf1 moo= x-unknown_1.0=%{c}%{r}%{t} -all",
    "v=spf1 mx:%{H} ptr:example.co-m -all",
    "v=spf1 a:under_score.example.com a:b.1com -all",
    "v=spf1 include:example.com/x.example.com -all",
]

INVALID = [
    ("v=spf10 -all", "v=spf10 -all", 0, "begins with v=spf1"),
    ("spf2.0/mfrom -all", "spf2.0/mfrom -all", 0, "begins with v=spf1"),
    ("", "", 0, "begins with v=spf1"),
    ("v=spf1 nclude:example.com -all", "nclude:example.com", 7, "there is no mechanism 'nclude'"),
    ("v=spf1 -all extra", "extra", 12, "there is no mechanism 'extra'"),
    ("v=spf1 all:example.com", "all:example.com", 7, "nothing may follow all"),
    ("v=spf1 -redirect=example.com", "-redirect=example.com", 7, "there is no mechanism 'redirect'"),
    ("v=spf1  a: -all", "a:", 8, "the domain is missing"),
    ("v=spf1 a:/24 -all", "a:/24", 7, "the domain is missing"),
    ("v=spf1 include -all", "include", 7, "include is written include:domain"),
    ("v=spf1 include/24 -all", "include/24", 7, "include is written include:domain"),
    ("v=spf1 a:example -all", "a:example", 7, "top-level label"),
    ("v=spf1 a:192.0.2.1 -all", "a:192.0.2.1", 7, "top-level label"),
    ("v=spf1 a:example.-com -all", "a:example.-com", 7, "top-level label"),
    ("v=spf1 a:example.com:8080 -all", "a:example.com:8080", 7, "top-level label"),
    ("v=spf1 a/33 -all", "a/33", 7, "the prefix length 33"),
    ("v=spf1 a/024 -all", "a/024", 7, "the prefix length 024"),
    ("v=spf1 a//129 -all", "a//129", 7, "the prefix length 129"),
    ("v=spf1 a/ -all", "a/", 7, "a is written a:domain"),
    ("v=spf1 ip4:192.0.2 -all", "ip4:192.0.2", 7, "'192.0.2' is no IPv4 address"),
    ("v=spf1 ip4:192.0.2.01 -all", "ip4:192.0.2.01", 7, "is no IPv4 address"),
    ("v=spf1 ip4:192.0.2.0/33 -all", "ip4:192.0.2.0/33", 7, "the prefix length 33"),
    ("v=spf1 ip4:192.0.2.0/ -all", "ip4:192.0.2.0/", 7, "the prefix length"),
    ("v=spf1 ip4/192.0.2.0 -all", "ip4/192.0.2.0", 7, "ip4 is written ip4:address"),
    ("v=spf1 ip6:fe80::1%eth0 -all", "ip6:fe80::1%eth0", 7, "is no IPv6 address"),
    ("v=spf1 ip6:192.0.2.1 -all", "ip6:192.0.2.1", 7, "is no IPv6 address"),
    ("v=spf1 exists:%{x}.example.com -all", "exists:%{x}.example.com", 7, "no macro letter 'x'"),
    ("v=spf1 exists:%{c}.example.com -all", "exists:%{c}.example.com", 7, "for explanations only"),
    ("v=spf1 exists:%{d0}.example.com -all", "exists:%{d0}.example.com", 7, "must not be zero"),
    ("v=spf1 exists:%{i.example.com -all", "exists:%{i.example.com", 7, "is no macro"),
    ("v=spf1 exists:50%.example.com -all", "exists:50%.example.com", 7, "is no macro"),
    ("v=spf1 redirect= -all", "redirect=", 7, "the domain is missing"),
    ("v=spf1 redirect=a.example redirect=b.example", "redirect=b.example", 26, "may appear only once"),
    ("v=spf1 exp=a.example exp=b.example", "exp=b.example", 21, "may appear only once"),
    ("v=spf1 a\t-all", "a\t-all", 7, "the character '\\t' is not allowed"),
    ("v=spf1 a:ex\u00e4mple.com -all", "a:ex\u00e4mple.com", 7, "the character '\u00e4' is not allowed"),
    ("v=spf1 ,a -all", ",a", 7, "neither a mechanism nor a modifier"),
    ("v=spf1 -192.0.2.0/24 -all", "-192.0.2.0/24", 7, "nor a modifier (section 4.6.1); write ip4:192.0.2.0/24"),
    ("v=spf1 fe80::1 -all", "fe80::1", 7, "there is no mechanism 'fe80' (section 5); write ip6:fe80::1"),
    ("v=spf1 192.0.2.256 -all", "192.0.2.256", 7, "neither a mechanism nor a modifier"),
]


@pytest.mark.parametrize("text", VALID)
def test_valid_records_print_as_they_were(text: str) -> None:
    assert str(parse(text)) == text


@pytest.mark.parametrize(("text", "term", "position", "rule"), INVALID)
def test_errors_name_term_position_and_rule(text: str, term: str, position: int, rule: str) -> None:
    with pytest.raises(SpfError) as caught:
        parse(text)
    assert (caught.value.term, caught.value.position) == (term, position)
    assert rule in caught.value.rule


def test_runs_of_spaces_are_one_space() -> None:
    assert str(parse("v=spf1   a    -all  ")) == "v=spf1 a -all"


def test_parts_of_terms() -> None:
    a, network, exists, modifier = parse(
        "v=spf1 ?a:Example.COM/24//64 ip4:192.0.2.77/24 exists:%{D2r-}.x.test x=y"
    ).terms
    assert isinstance(a, Directive) and isinstance(network, Directive) and isinstance(exists, Directive)
    assert (a.qualifier, a.mechanism, a.prefix4, a.prefix6) == ("?", "a", 24, 64)
    assert a.domain is not None and a.domain.literal == "example.com"
    assert str(network.network) == "192.0.2.0/24"
    assert exists.domain is not None and exists.domain.parts == (Macro("d", 2, True, "-", True), ".x.test")
    assert isinstance(modifier, Modifier) and (modifier.name, modifier.value) == ("x", "y")


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("v=spf1 a mx ptr include:a.test exists:b.test ip4:192.0.2.1 ip6:::1 redirect=c.test", 6),
        ("v=spf1 a -all mx redirect=c.test", 1),
        ("v=spf1 exp=c.test -all", 0),
    ],
)
def test_terms_that_cost_a_lookup(text: str, count: int) -> None:
    assert len(parse(text).lookup_terms) == count


@pytest.mark.parametrize(
    ("text", "term", "rule"),
    [
        ("v=spf1 +all", "+all", "whole world"),
        ("v=spf1 a all", "all", "whole world"),
        ("v=spf1 ip4:192.0.2.1/0 -all", "ip4:192.0.2.1/0", "whole world"),
        ("v=spf1 a//0 -all", "a//0", "whole world"),
        (
            "v=spf1 " + "".join(f"include:{n}.test " for n in range(11)) + "-all",
            "include:10.test",
            "permerror after 10",
        ),
    ],
)
def test_what_must_not_be_published(text: str, term: str, rule: str) -> None:
    (refusal,) = parse(text).refusals()
    assert refusal.term == term and rule in refusal.rule
    assert text[refusal.position :].startswith(term)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("v=spf1 ptr -all", "ptr is slow"),
        ("v=spf1 ?all", "says nothing"),
        ("v=spf1 -all a", "never tried"),
        ("v=spf1 ip4=192.0.2.1 -all", "written ip4:192.0.2.1"),
        ("v=spf1 a", "which means ?all"),
        ("v=spf1 ip4:192.0.2.0/24 -ip4:192.0.2.7 -all", "ip4:192.0.2.0/24 stands before it and decides first"),
        ("v=spf1 mx -mx -all", "mx stands before it and decides first"),
        ("v=spf1 -ip6:2001:db8::/32 ip6:2001:db8::/64 -all", "-ip6:2001:db8::/32 stands before it"),
        ("v=spf1 " + "ip4:192.0.2.1 " * 40 + "-all", "octets"),
        ("v=spf1 ip4:192.168.0.0/24 -all", "a private address is none that receivers see"),
        ("v=spf1 mx ip6:fd00::1 -all", "a private address is none that receivers see"),
    ],
)
def test_what_is_most_likely_not_meant(text: str, rule: str) -> None:
    record = parse(text)
    assert not record.refusals()
    assert rule in record.warnings()[0].rule


@pytest.mark.parametrize(
    "text",
    [
        "-ip4:192.0.2.7 ip4:192.0.2.0/24 -all",
        "ip4:192.0.2.0/24 ip4:192.0.2.7 -ip4:192.0.3.7 mx -mx/24 -all",
        "-ip4:192.0.2.7 ip4:192.0.2.0/24 -ip4:192.0.2.0/23 -all",
        "ip4:0.0.0.0/1 -ip6:2001:db8::/64 ~all",
        "ip4:192.0.2.8 -ip4:192.0.2.0/24 ip4:192.0.2.0/23 -all",
        "-ip4:10.0.0.0/8 ip4:11.0.0.0/8 ip4:172.0.0.0/11 -all",
    ],
)
def test_terms_that_can_match_are_not_warned_of(text: str) -> None:
    assert not parse(f"v=spf1 {text}").warnings()


@pytest.mark.parametrize(
    ("senders", "ending", "expected"),
    [
        ([], "-all", "v=spf1 -all"),
        (["include:a.test", "ip4:192.0.2.1"], "~all", "v=spf1 ip4:192.0.2.1 include:a.test ~all"),
        (["ip4:192.0.2.1", "IP4:192.0.2.1", "ip4:192.0.2.1/32"], "-all", "v=spf1 ip4:192.0.2.1 -all"),
        (
            ["ip4:192.0.2.1", "ip4:192.0.2.0/24", "ip6:2001:db8::1"],
            "-all",
            "v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::1 -all",
        ),
        (["?ip4:192.0.2.1", "ip4:192.0.2.0/24"], "-all", "v=spf1 ?ip4:192.0.2.1 ip4:192.0.2.0/24 -all"),
        (["mx", "a:x.test", "mx"], "?all", "v=spf1 mx a:x.test ?all"),
        # Where one does not pass, the order decides.
        (
            ["-include:bad.test", "ip4:192.0.2.0/24"],
            "-all",
            "v=spf1 -include:bad.test ip4:192.0.2.0/24 -all",
        ),
        (
            ["ip4:10.0.0.1", "-ip4:10.0.0.0/24", "ip4:10.0.0.0/8", "IP4:10.0.0.1/32"],
            "-all",
            "v=spf1 ip4:10.0.0.1 -ip4:10.0.0.0/24 ip4:10.0.0.0/8 -all",
        ),
        (["mx", "-mx"], "-all", "v=spf1 mx -mx -all"),
        # Capital letters of macros escape what small ones do not.
        (["exists:%{l}.x.test", "exists:%{L}.x.test"], "-all", "v=spf1 exists:%{l}.x.test exists:%{L}.x.test -all"),
        (["exists:%{l}.x.test", "exists:%{l}.X.test."], "-all", "v=spf1 exists:%{l}.x.test -all"),
    ],
)
def test_compose(senders: list[str], ending: str, expected: str) -> None:
    record = compose(senders, all_=ending)
    assert str(record) == expected
    assert parse(expected) == record


@pytest.mark.parametrize(
    ("senders", "ending", "term"),
    [
        (["-all"], "-all", "-all"),
        (["redirect=a.test"], "-all", "redirect=a.test"),
        ([], "a", "a"),
        (["a:x"], "-all", "a:x"),
    ],
)
def test_compose_refuses_what_is_no_sender(senders: list[str], ending: str, term: str) -> None:
    with pytest.raises(SpfError) as caught:
        compose(senders, all_=ending)
    assert caught.value.term == term


PIECES = st.sampled_from(
    (
        *("a", "mx", "all", "ip4", "ip6", "include", "exists", "ptr", "redirect", "exp", "d", "r", "0", "24", "128"),
        *(":", "=", "/", "//", "%", "%{", "}", " ", "  ", "+", "-", "~", "?", ".", "\t", "\x00", "\u00e9"),
        *("example.com", "192.0.2.1", "2001:db8::"),
    )
)


@patient
@given(st.one_of(st.text(), st.lists(PIECES).map("".join)).map(lambda text: "v=spf1 " + text))
def test_hostile_text_parses_or_is_refused_properly(text: str) -> None:
    try:
        record = parse(text)
    except SpfError as err:
        assert text[err.position :].startswith(err.term) and str(err)
        return
    assert str(record) == re.sub(" +", " ", text).rstrip(" ")
    assert parse(str(record)) == record
    for fault in record.refusals() + record.warnings():
        assert str(fault)
