# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Flat SPF records: the same verdicts with fewer lookups; and why a verdict is what it is."""

from __future__ import annotations

import ipaddress
import sys
from pathlib import Path

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils._spf import (
    DnsTimeout,
    SpfError,
    check_host,
    explain,
    flatten,
)
from ansible_collections.postmaster.mail.plugins.module_utils._spf_check import Check, Stop
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

import _spf_cases as cases

DOMAIN = "corp.test"


def zone(*lines: str) -> cases.Zone:
    """A zone from lines of name, type and text; ``spf`` stands for TXT with the version in front."""
    made = cases.Zone()
    made.failing = ("timeout.",)
    for line in lines:
        name, rdtype, text = line.split(" ", 2)
        made.add(name, "TXT" if rdtype == "spf" else rdtype, f"v=spf1 {text}" if rdtype == "spf" else text)
    return made


SENDERS = (
    "a.test spf ip4:192.0.2.0/25 ip4:192.0.2.128/25 include:b.test ~all",
    "b.test spf ip6:2001:db8::/64 a:host.test -all",
    "c.test spf -ip4:192.0.2.8/29 ip4:192.0.2.0/24 -all",
    "d.test spf ip4:203.0.113.1 exists:%{ir}.%{d} -all",
    "e.test spf -ip4:192.0.2.1 exists:%{i}.x.test -all",
    "f.test spf ip4:203.0.113.9 -exp=x",
    "g.test spf ip4:203.0.113.7 -exists:%{i}.no.test ?all",
    "h.test spf exists:%{p}.x.test -all",
    "r.test spf ip4:203.0.113.5 redirect=b.test",
    "x.test spf mx a:six.test//64 -all exp=why.%{d}",
    "x.test MX 10 host.test.",
    "x.test MX 20 six.test.",
    "host.test A 198.51.100.1",
    "host.test A 198.51.100.2",
    "host.test AAAA ::ffff:198.51.100.9",
    "six.test AAAA 2001:db8:6::1",
    "loop.test spf include:loop.test -all",
    "ring.test spf include:corp.test -all",
    "many.test spf mx -all",
    *(f"many.test MX {number} host.test." for number in range(11)),
    "two.test spf -all",
    "two.test spf ~all",
)


@pytest.mark.parametrize(
    ("record", "flat"),
    [
        ("include:a.test -all", "ip4:192.0.2.0/24 ip4:198.51.100.1 ip4:198.51.100.2 ip6:2001:db8::/64 -all"),
        ("~include:b.test ?all", "~ip4:198.51.100.1 ~ip4:198.51.100.2 ~ip6:2001:db8::/64 ?all"),
        ("a:host.test/30 -all", "ip4:198.51.100.0/30 -all"),
        ("redirect=x.test", "ip4:198.51.100.1 ip4:198.51.100.2 ip6:2001:db8:6::/64 -all exp=why.x.test"),
        ("redirect=r.test", "ip4:198.51.100.1 ip4:198.51.100.2 ip4:203.0.113.5 ip6:2001:db8::/64 -all"),
        ("include:r.test", "ip4:198.51.100.1 ip4:198.51.100.2 ip4:203.0.113.5 ip6:2001:db8::/64"),
        # What another verdict meets first is not matched by the include, and goes on to what follows.
        (
            "include:c.test -all",
            "ip4:192.0.2.0/29 ip4:192.0.2.16/28 ip4:192.0.2.32/27 ip4:192.0.2.64/26 ip4:192.0.2.128/25 -all",
        ),
        # Order is kept where verdicts differ, and only there.
        ("-ip4:192.0.2.1 ip4:192.0.2.0/24 -all", "-ip4:192.0.2.1 ip4:192.0.2.0/24 -all"),
        ("ip4:192.0.2.0/24 -ip4:192.0.2.1 ~all", "ip4:192.0.2.0/24 ~all"),
        ("ip4:192.0.2.0/24 ?ip4:192.0.2.0/23 ~all", "ip4:192.0.2.0/24 ?ip4:192.0.2.0/23 ~all"),
        ("ip4:192.0.2.1 -ip4:192.0.2.2 -all", "ip4:192.0.2.1 -all"),
        ("?ip4:192.0.2.1", ""),
        ("ip4:192.0.2.1 -all ip4:192.0.2.2", "ip4:192.0.2.1 -all"),
        ("a:nothing.test -all", "-all"),
        ("a:a..test -all", "-all"),
        ("ip6:::ffff:192.0.2.0/120 ip6:::/0 -all", "ip4:192.0.2.0/24 ip6:::/0 -all"),
        # Terms that stay
        ("include:d.test -all", "ip4:203.0.113.1 exists:%{ir}.d.test -all"),
        ("include:e.test -all", "include:e.test -all"),
        ("include:h.test -all", "include:h.test -all"),
        ("include:g.test -all", "ip4:203.0.113.7 -all"),
        ("include:f.test -all", None),
        ("ptr exists:%{d} ip4:192.0.2.1 mx:%{o} -all", "ip4:192.0.2.1 ptr exists:%{d} mx:%{o} -all"),
        ("redirect=%{d2}.x.test", "redirect=%{d2}.x.test"),
        ("exists:%{i}.x.test -all x-unknown=%{d} exp=why.test", "exists:%{i}.x.test -all exp=why.test x-unknown=%{d}"),
        # What receivers answer with permerror
        ("include:nothing.test -all", None),
        ("include:two.test -all", None),
        ("include:loop.test -all", None),
        ("include:ring.test -all", None),
        ("include:many.test -all", None),
        ("redirect=nothing.test", None),
        ("include:a..test -all", None),
        ("nclude:a.test -all", None),
    ],
)
def test_flat_records(record: str, flat: str | None) -> None:
    made = zone(*SENDERS, f"{DOMAIN} spf {record}")
    if flat is None:
        with pytest.raises(SpfError):
            flatten(f"v=spf1 {record}", domain=DOMAIN, resolver=made)
        return
    found = flatten(f"v=spf1 {record}", domain=DOMAIN, resolver=made)
    assert [(name, str(text)) for name, text in found.records] == [(DOMAIN, f"v=spf1 {flat}".strip())]


def test_what_stays_and_what_is_dropped_is_told() -> None:
    found = flatten(
        "v=spf1 exists:%{i}.x.test a:no.test ptr include:a.test -all",
        domain=DOMAIN,
        resolver=zone(*SENDERS),
        keep=["A.test."],
    )
    assert found.kept == (
        "exists:%{i}.x.test: it has macros",
        "ptr: ptr depends on more than the address",
        "include:a.test: it is to be kept",
    )
    assert found.dropped == ("a:no.test: no.test has no address",)
    assert found.lookups == 3


@pytest.mark.parametrize(
    ("texts", "exp", "kept", "dropped"),
    [
        (["why.x.test TXT ask us, %{i}"], "exp=why.x.test", (), ()),
        (
            ["why.x.test TXT ask %{d}"],
            "exp=why.x.test",
            ("exp=why.x.test: %{d} in its text no longer stands for x.test",),
            (),
        ),
        (
            ["q.test spf -all exp=%{i}.%{d}"],
            "exp=%{i}.q.test",
            ("exp=%{i}.q.test: %{d} in its text no longer stands for q.test",),
            (),
        ),
        (["q.test spf -all exp=%{p}.test"], "", (), ("exp=%{p}.test: its name depends on the domain q.test",)),
        # one explanation where there were two
        (
            ["q.test spf -ip4:192.0.2.1 exp=own.test redirect=u.test", "u.test spf -all exp=other.test"],
            "exp=other.test",
            ("exp=other.test: it also explains what terms before the redirect let fail",),
            ("exp=own.test: it explained what terms before the redirect let fail",),
        ),
        (["q.test spf ip4:192.0.2.1 exp=own.test redirect=u.test", "u.test spf -all exp=o.test"], "exp=o.test", (), ()),
        # what an included one would say is never heard
        (["q.test spf include:i.test -all", "i.test spf -all exp=%{p}.test"], "", (), ()),
        (["q.test spf include:i.test -all", "i.test spf redirect=j.test", "j.test spf -all exp=%{p}.test"], "", (), ()),
    ],
)
def test_explanations_behind_a_redirect(
    texts: list[str], exp: str, kept: tuple[str, ...], dropped: tuple[str, ...]
) -> None:
    target = "x.test" if texts[0].startswith("why") else "q.test"
    # By one redirect, and by two.
    for record in (f"redirect={target}", "redirect=s.test"):
        resolver = zone(*SENDERS, *texts, f"s.test spf redirect={target}")
        found = flatten(f"v=spf1 {record}", domain=DOMAIN, resolver=resolver)
        modifier = found.records[0][1].modifier("exp")
        assert (str(modifier or ""), found.kept, found.dropped) == (exp, kept, dropped)


def test_dns_that_cannot_tell_stops_it() -> None:
    with pytest.raises(DnsTimeout):
        flatten("v=spf1 a:timeout.test -all", domain=DOMAIN, resolver=zone())


@pytest.mark.parametrize(("count", "records", "lookups"), [(20, 1, 0), (30, 3, 2), (200, 10, 9), (400, 10, 9)])
def test_large_records_are_split(count: int, records: int, lookups: int) -> None:
    networks = [f"ip4:10.{number // 128}.{2 * number % 256}.0/24" for number in range(count)]
    senders = zone(
        *(f"s{start}.test spf {' '.join(networks[start : start + 50])} -all" for start in range(0, count, 50))
    )
    text = "v=spf1 " + " ".join(f"include:s{start}.test" for start in range(0, count, 50)) + " ~all"
    found = flatten(text, domain=DOMAIN, resolver=senders)
    assert (len(found.records), found.lookups) == (records, lookups)
    sizes = [len(name) + len(str(record)) for name, record in found.records]
    assert max(sizes) <= (450 if count <= 200 else 1180)
    assert [name for name, dummy in found.records[1:]] == [f"_spf{number}.{DOMAIN}" for number in range(1, records)]


def test_other_texts_at_the_name_leave_less_room() -> None:
    text = "v=spf1 " + " ".join(f"ip4:10.{number}.0.0/24" for number in range(12)) + " -all"
    assert len(flatten(text, domain=DOMAIN, resolver=zone()).records) == 1
    assert len(flatten(text, domain=DOMAIN, resolver=zone(), others=300).records) == 2


def test_what_cannot_be_made_small_is_refused() -> None:
    text = "v=spf1 " + " ".join(f"ip4:10.{n // 128}.{2 * n % 256}.0/24" for n in range(1200)) + " -all"
    with pytest.raises(SpfError, match="name fewer senders"):
        flatten(text, domain=DOMAIN, resolver=zone())


def test_a_trap_of_endless_includes_is_left() -> None:
    class Endless:
        def query(self, name: str, rdtype: str) -> list[str]:
            return [f"v=spf1 include:a{name} include:b{name} -all"] if len(name) < 60 else ["v=spf1 -all"]

    with pytest.raises(SpfError, match="more than 200 records"):
        flatten("v=spf1 include:x.test -all", domain=DOMAIN, resolver=Endless())


# -- the same verdict for any zone and address --------------------------------------------------

NAMES = ("corp.test", "a.test", "b.test", "c.test", "d.test")
QUALIFIERS = st.sampled_from(("", "", "", "-", "~", "?"))
MECHANISMS = st.sampled_from(
    (
        *(
            f"ip4:192.0.2.{number}/{length}"
            for number, length in ((0, 30), (4, 30), (2, 31), (3, 32), (0, 29), (0, 28))
        ),
        *("ip6:2001:db8::/127", "ip6:2001:db8::2/127", "ip6:2001:db8::/126", "ip6:::ffff:192.0.2.5", "ip6:::/0"),
        *("a", "mx", "a/30//127", "mx/31", "a:h.test", "mx:m.test//126", "a:none.test", "ip4:0.0.0.0/0"),
        *("include:a.test", "include:b.test", "include:c.test", "include:d.test", "include:b.test"),
        *(
            "exists:%{i}.y.test",
            "exists:%{d}",
            "exists:%{l}.%{d}",
            "exists:%{d1r}.y.test",
            "ptr",
            "ptr:h.test",
            "include:%{l}.test",
        ),
    )
)
ENDS = st.sampled_from(("-all", "~all", "?all", "all", "", "redirect=a.test", "redirect=c.test", "redirect=%{l}.test"))
RECORDS = st.builds(
    lambda terms, end: " ".join(["v=spf1", *(q + m for q, m in terms), end]).strip(),
    st.lists(st.tuples(QUALIFIERS, MECHANISMS), max_size=5),
    ENDS,
)
FOUR = st.integers(0, 9).map(lambda number: f"192.0.2.{number}")
SIX = st.integers(0, 4).map(lambda number: f"2001:db8::{number}")
POINTS = [f"192.0.2.{number}" for number in (*range(10), 15, 16)] + ["192.0.1.255", "203.0.113.1"]
POINTS += [f"2001:db8::{number}" for number in range(6)] + ["2001:db8:1::", "::fffe:c000:201"]


@st.composite
def zones(draw: st.DrawFn) -> cases.Zone:
    made = cases.Zone()
    for name in NAMES:
        made.add(name, "TXT", draw(RECORDS))
    for name in ("h.test", "b.test", "corp.test", "c.test", "a.b.test"):
        for text in draw(st.lists(FOUR, max_size=2)):
            made.add(name, "A", text)
        for text in draw(st.lists(SIX, max_size=2)):
            made.add(name, "AAAA", text)
    for name in ("m.test", "a.test"):
        for host in draw(st.lists(st.sampled_from(("h.test", "b.test", "c.test")), max_size=2)):
            made.add(name, "MX", f"10 {host}.")
    for text in draw(st.lists(FOUR, max_size=3)):
        made.add(f"{text}.y.test", "A", "127.0.0.2")
        pointer = ipaddress.ip_address(text).reverse_pointer
        made.add(pointer, "PTR", draw(st.sampled_from(("h.test.", "b.test.", "corp.test."))))
    return made


def unlimited(asked: cases.Zone, ip: str) -> str:
    """The verdict of a receiver that counts no lookups."""
    check = Check(ip, f"a@{DOMAIN}", "mx.test", asked.query)
    check.lookup_limit = check.void_limit = 300
    try:
        return check.evaluate(DOMAIN)[0]
    except Stop as stop:
        return stop.result


EXPLAINED = st.sampled_from(("", " exp=why.test", " exp=%{d}.why.test", " exp=%{i}.why.test", " exp=%{p}.why.test"))
SAID = st.sampled_from(("ask %{o}", "%{i} is not of %{d}", "%{p} is nobody"))


@given(zones(), st.lists(EXPLAINED, min_size=len(NAMES), max_size=len(NAMES)), st.lists(SAID, min_size=8, max_size=8))
def test_every_explanation_is_kept_or_told_of(made: cases.Zone, explained: list[str], said: list[str]) -> None:
    for name, exp in zip(NAMES, explained, strict=True):
        made.records[name, "TXT"][0] += exp
    for name, text in zip(("", *(f"{name}." for name in NAMES), "192.0.2.1.", "unknown."), said, strict=False):
        made.add(f"{name}why.test", "TXT", text)
    (text,) = made.records[DOMAIN, "TXT"]
    try:
        found = flatten(text, domain=DOMAIN, resolver=made)
    except SpfError:
        return
    after = cases.Zone()
    after.records = {**made.records, **{(name, "TXT"): [str(record)] for name, record in found.records}}
    if any(note.startswith("exp=") for note in (*found.kept, *found.dropped)):
        return
    for ip in POINTS:
        asked = {"ip": ip, "sender": f"a@{DOMAIN}", "helo": "mx.test", "void_limit": 300}
        before = check_host(resolver=made, **asked)
        now = check_host(resolver=after, **asked)
        if before.result == now.result == "fail":
            assert now.explanation == before.explanation, (ip, [str(record) for dummy, record in found.records])


@given(zones(), st.sampled_from((60, 120, 450)))
def test_every_verdict_is_kept(made: cases.Zone, limit: int) -> None:
    (text,) = made.records[DOMAIN, "TXT"]
    try:
        found = flatten(text, domain=DOMAIN, resolver=made, limit=limit)
    except SpfError:
        return
    after = cases.Zone()
    after.records = {**made.records, **{(name, "TXT"): [str(record)] for name, record in found.records}}
    assert found.lookups <= 10
    for ip in POINTS:
        before = unlimited(made, ip)
        # A term that stays may fail; addresses may be found before it then.
        if before not in ("permerror", "temperror"):
            assert unlimited(after, ip) == before, (ip, [str(record) for dummy, record in found.records])


@given(zones(), st.sampled_from(POINTS))
def test_the_explanation_says_what_the_check_says(made: cases.Zone, ip: str) -> None:
    asked = {"ip": ip, "sender": f"a@{DOMAIN}", "helo": "mx.test", "resolver": made}
    told = explain(**asked)
    assert told.result == check_host(**asked)
    assert all(line.isascii() and line.isprintable() for line in told.lines())
    assert told.as_dict()["result"] == told.result.result


# -- why ----------------------------------------------------------------------------------------


def test_a_broken_record_is_shown() -> None:
    resolver = zone(
        "corp.test spf mx nonsense -all", "a.test spf include:corp.test -all", "two.test spf -all", "two.test spf ~all"
    )
    lines = explain(ip="192.0.2.1", sender="a@a.test", helo="x", resolver=resolver).lines()
    assert lines[3].strip() == "corp.test: v=spf1 mx nonsense -all"
    assert "in the record of corp.test, the SPF term 'nonsense' at character 11" in lines[-1]
    told = explain(ip="192.0.2.1", sender="a@two.test", helo="x", resolver=resolver)
    assert told.lines()[1] == "two.test: not one SPF record" and told.path and told.path.record is None


@pytest.mark.parametrize(
    ("record", "ip", "lines"),
    [
        (
            "ip4:203.0.113.1 include:b.test mx:x.test -all",
            "192.0.2.1",
            """
            192.0.2.1 sends as a@corp.test
            corp.test: v=spf1 ip4:203.0.113.1 include:b.test mx:x.test -all
              ip4:203.0.113.1: no match
              include:b.test: no match
                b.test: v=spf1 ip6:2001:db8::/64 a:host.test -all
                  ip6:2001:db8::/64: no match
                  a:host.test: no match, host.test A is 198.51.100.1, 198.51.100.2 (lookup 2, 0 void)
                  -all: match, so fail
              mx:x.test: no match, x.test MX is 10 host.test., 20 six.test., host.test A is 198.51.100.1, 198.51.100.2, six.test A is empty (lookup 3, 0 void)
              -all: match, so fail
            fail by -all (3 of 10 lookups, 0 of 2 without an answer)
            """,
        ),
        (
            "redirect=x.test",
            "198.51.100.2",
            """
            198.51.100.2 sends as a@corp.test
            corp.test: v=spf1 redirect=x.test
              redirect=x.test: pass
                x.test: v=spf1 mx a:six.test//64 -all exp=why.%{d}
                  mx: match, so pass, x.test MX is 10 host.test., 20 six.test., host.test A is 198.51.100.1, 198.51.100.2 (lookup 2, 0 void)
            pass by mx (2 of 10 lookups, 0 of 2 without an answer)
            """,
        ),
        (
            "ip4:10.0.0.1 ip4:10.0.0.2 ip4:10.0.0.3 ip4:10.0.0.4 include:two.test -all",
            "192.0.2.1",
            """
            192.0.2.1 sends as a@corp.test
            corp.test: v=spf1 ip4:10.0.0.1 ip4:10.0.0.2 ip4:10.0.0.3 ip4:10.0.0.4 include:two.test -all
              ip4:10.0.0.1 to ip4:10.0.0.4, 4 networks: no match
              include:two.test: permerror
                two.test: not one SPF record
            permerror by include:two.test: two.test has 2 SPF records (section 4.5) (1 of 10 lookups, 0 of 2 without an answer)
            """,
        ),
        (
            "a:timeout.test -all",
            "192.0.2.1",
            """
            192.0.2.1 sends as a@corp.test
            corp.test: v=spf1 a:timeout.test -all
              a:timeout.test: temperror, timeout.test A is not answered, no answer for timeout.test A (section 2.6.6) (lookup 1, 0 void)
            temperror by a:timeout.test: no answer for timeout.test A (section 2.6.6) (1 of 10 lookups, 0 of 2 without an answer)
            """,
        ),
        (
            "-all exp=why.test",
            "2001:db8::1",
            """
            2001:db8::1 sends as a@corp.test
            corp.test: v=spf1 -all exp=why.test
              -all: match, so fail
            fail by -all (0 of 10 lookups, 0 of 2 without an answer)
            the domain says: not 2001:db8::1
            """,
        ),
    ],
)
def test_why(record: str, ip: str, lines: str) -> None:
    made = zone(*SENDERS, f"{DOMAIN} spf {record}", "why.test TXT not %{c}")
    told = explain(ip=ip, sender=f"a@{DOMAIN}", helo="mx.test", resolver=made)
    assert told.lines() == [line.removeprefix(" " * 12) for line in lines.strip("\n").splitlines()[:-1]]


def test_why_there_is_nothing_to_say() -> None:
    assert "malformed" in explain(ip="192.0.2.1", sender="", helo="[192.0.2.1]", resolver=zone()).lines()[-1]
    assert "has no SPF record" in explain(ip="192.0.2.1", sender="a@corp.test", helo="x", resolver=zone()).reason


def test_an_explanation_is_data() -> None:
    made = zone(*SENDERS, f"{DOMAIN} spf include:b.test -all")
    told = explain(ip="198.51.100.1", sender=f"a@{DOMAIN}", helo="mx.test", resolver=made).as_dict()
    assert (told["result"], told["term"], told["lookups"]) == ("pass", "include:b.test", 2)
    (tried,) = told["path"]["tried"]
    assert tried["outcome"] == "match" and tried["path"]["domain"] == "b.test"
    assert tried["path"]["tried"][1]["questions"] == [
        {"name": "host.test", "type": "A", "answers": ["198.51.100.1", "198.51.100.2"]}
    ]
