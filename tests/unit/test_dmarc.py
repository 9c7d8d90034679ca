# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""DMARC after RFC 9989: records parsed, printed and refused; the tree walk and alignment, on the RFC's examples."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils._dmarc import (
    Discovery,
    DmarcError,
    DmarcRecord,
    aligned,
    discover,
    organizational_domain,
    walk,
)
from ansible_collections.postmaster.mail.plugins.module_utils._dns import DnsTimeout, DomainError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

import _suites as suites
from _suites import needs_data

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
    ("v=DMARC1; p=none; fo=1 : d; psd=x", "v=DMARC1; p=none; fo=1:d", ["psd=x"]),
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
    record = DmarcRecord.read(text)
    assert str(record) == printed
    assert [problem.term for problem in record.problems] == problems
    assert DmarcRecord.parse(printed) == record


# Against the formal definition, though readers overlook it: term, position, rule.
FAULTY = [
    ("v=DMARC1; p=none; t=x; psd=x", "t=x", 18, "t is one of y, n"),
    ("v=DMARC1; p=none; psd=x", "psd=x", 18, "psd is one of y, n, u"),
    ("v=DMARC1; p=none; adkim=relaxed", "adkim=relaxed", 18, "adkim is one of r, s"),
    ("v=DMARC1; p=none; fo=bad", "fo=bad", 18, "fo is a list of"),
    ("v=DMARC1; p=none; fo=d:d", "fo=d:d", 18, "each value once"),
    ("v=DMARC1; p=none; rua=a@example.org", "a@example.org", 18, "is no URI such as"),
    ("v=DMARC1; p=none; rua=mailto:a@example.org!10p", "mailto:a@example.org!10p", 18, "%21"),
]
# What the RFC itself tells readers to live with.
TOLERATED = [
    "v=DMARC1; p=none; pct=110; rf=x; ri=-1",
    "v=DMARC1; p=none; future=~; ; not a tag; fo",
    "v=DMARC1; p=none; rua=mailto:a@example.org,b@example.org",
    "v=DMARC1; p=none; rua=mailto:a@example.org!10m",
    "v=DMARC1; p=none; rua=mailto:a@example.org ! 10 K , mailto:b@example.org!2G",
    "v=DMARC1; sp=none; p=reject",
    "v=DMARC1; p=reject; sp=bad; rua=mailto:a@example.org",
    "v=DMARC1; rua=mailto:a@example.org",
    "v=DMARC1; p=none; ruf=mailto:a@example.org; fo=0:1:d:s",
]


@pytest.mark.parametrize(("text", "term", "position", "rule"), FAULTY)
def test_what_the_formal_definition_forbids(text: str, term: str, position: int, rule: str) -> None:
    with pytest.raises(DmarcError) as caught:
        DmarcRecord.parse(text)
    assert (caught.value.term, caught.value.position) == (term, position)
    assert rule in caught.value.rule
    assert DmarcRecord.read(text).p == "none"


@pytest.mark.parametrize("text", TOLERATED)
def test_what_no_parser_stops_at(text: str) -> None:
    assert DmarcRecord.parse(text) == DmarcRecord.read(text)


@pytest.mark.parametrize(("text", "term", "position", "rule"), REFUSED)
def test_what_is_no_policy(text: str, term: str, position: int, rule: str) -> None:
    for reader in (DmarcRecord.parse, DmarcRecord.read):
        with pytest.raises(DmarcError) as caught:
            reader(text)
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
        record = DmarcRecord.read(text)
    except DmarcError as err:
        assert str(err) and 0 <= err.position <= len(text)
        with pytest.raises(DmarcError):
            DmarcRecord.parse(text)
        return
    again = DmarcRecord.parse(str(record))
    assert again == record and not again.problems


# -- discovery ----------------------------------------------------------------------------------


class Dns:
    """A resolver that knows the DMARC records of some domains, and notes what it is asked."""

    def __init__(self, records: dict[str, str | list[str]], existing: tuple[str, ...] = ()) -> None:
        self.records = {f"_dmarc.{name}": [text] if isinstance(text, str) else text for name, text in records.items()}
        self.existing = existing
        self.asked: list[str] = []

    def query(self, name: str, rdtype: str) -> list[str]:
        self.asked.append(name)
        if rdtype == "A" and name in self.existing:
            return ["192.0.2.1"]
        if "timeout." in name:
            raise DnsTimeout("no answer")
        return self.records.get(name, []) if rdtype == "TXT" else []


def _summary(found: Discovery) -> tuple[str, str | None, str | None, str | None]:
    return found.organizational_domain, found.record_domain, found.tag, found.policy


DEEP = "a.b.c.d.e.f.g.h.i.j.mail.example.com"
BANK: dict[str, str | list[str]] = {
    "bank.example": "v=DMARC1; p=reject; psd=y; np=quarantine",
    "giant.bank.example": "v=DMARC1; p=none",
}
EXAMPLE = {"example.com": "v=DMARC1; p=quarantine; sp=none; np=reject"}

# Records, author domain: organizational domain, where the record lies, the tag that counts, the policy.
DISCOVERED: list[tuple[dict[str, Any], str, tuple[str, str | None, str | None, str | None]]] = [
    # Nothing at all.
    ({}, "mail.example.com", ("mail.example.com", None, None, None)),
    # RFC 9989 section 4.10.2, the three examples at its end.
    (
        {"mail.example.com": "v=DMARC1; p=none", "example.com": "v=DMARC1; p=reject; sp=quarantine"},
        "a.mail.example.com",
        ("example.com", "example.com", "sp", "quarantine"),
    ),
    (
        {"mail.example.com": "v=DMARC1; p=none; psd=n", "example.com": "v=DMARC1; p=reject"},
        "a.mail.example.com",
        ("mail.example.com", "mail.example.com", "p", "none"),
    ),
    ({"com": "v=DMARC1; p=reject; psd=y"}, "a.mail.example.com", ("example.com", "com", "p", "reject")),
    # Appendix B.4.
    (EXAMPLE, "example.com", ("example.com", "example.com", "p", "quarantine")),
    (
        EXAMPLE | {"signing.example.com": "v=DMARC1; p=none"},
        "signing.example.com",
        ("example.com", "signing.example.com", "p", "none"),
    ),
    (EXAMPLE, "a.b.c.d.e.f.g.h.i.j.k.example.com", ("example.com", "example.com", "np", "reject")),
    (BANK, "giant.bank.example", ("giant.bank.example", "giant.bank.example", "p", "none")),
    (BANK, "mail.giant.bank.example", ("giant.bank.example", "giant.bank.example", "p", "none")),
    (BANK, "mail.mega.bank.example", ("mega.bank.example", "bank.example", "np", "quarantine")),
    # psd=y where the walk starts is no reason to look one label below.
    (BANK, "bank.example", ("bank.example", "bank.example", "p", "reject")),
    # np is for names that do not exist, sp for those that do.
    (EXAMPLE, "there.example.com", ("example.com", "example.com", "sp", "none")),
    # t=y lowers whatever applies by one level (section 4.7).
    ({"example.com": "v=DMARC1; p=reject; t=y"}, "example.com", ("example.com", "example.com", "p", "quarantine")),
    ({"example.com": "v=DMARC1; p=none; t=y"}, "example.com", ("example.com", "example.com", "p", "none")),
    (
        {"example.com": "v=DMARC1; p=none; np=quarantine; t=y"},
        "gone.example.com",
        ("example.com", "example.com", "np", "none"),
    ),
    # Two records at one name are discarded, and the walk goes on (section 4.10, steps 2 and 6).
    (
        {"mail.example.com": ["v=DMARC1; p=none", "v=DMARC1; p=reject"], "example.com": "v=DMARC1; p=reject"},
        "mail.example.com",
        ("example.com", "example.com", "p", "reject"),
    ),
    # What is no DMARC record does not count.
    (
        {"example.com": ["v=spf1 -all", "v=DMARC1; p=reject"]},
        "example.com",
        ("example.com", "example.com", "p", "reject"),
    ),
    # A record without a policy ends it: no DMARC processing (section 4.10.1).
    (
        {"mail.example.com": "v=DMARC1; p=bad", "example.com": "v=DMARC1; p=reject"},
        "mail.example.com",
        ("example.com", None, None, None),
    ),
    (
        {"mail.example.com": "v=DMARC1; p=bad; rua=mailto:a@example.com", "example.com": "v=DMARC1; p=reject"},
        "mail.example.com",
        ("example.com", "mail.example.com", "p", "none"),
    ),
]


@pytest.mark.parametrize(("records", "domain", "expected"), DISCOVERED)
def test_what_receivers_find(records: dict[str, Any], domain: str, expected: tuple[str, ...]) -> None:
    resolver = Dns(records, existing=("there.example.com",))
    assert _summary(discover(domain, resolver)) == expected
    assert _summary(discover(domain.upper() + ".", resolver)) == expected


def test_a_walk_asks_eight_times_at_most() -> None:
    resolver = Dns({})
    assert [step.domain for step in walk(DEEP, resolver)] == [
        DEEP,
        "g.h.i.j.mail.example.com",
        "h.i.j.mail.example.com",
        "i.j.mail.example.com",
        "j.mail.example.com",
        "mail.example.com",
        "example.com",
        "com",
    ]
    assert resolver.asked[0] == f"_dmarc.{DEEP}" and len(resolver.asked) == 8


def test_a_walk_of_eight_labels_leaves_none_out() -> None:
    assert [step.domain.count(".") for step in walk("a.b.c.d.e.f.g.h", Dns({}))] == [7, 6, 5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize("psd", ["y", "n"])
def test_a_walk_stops_where_psd_says_so(psd: str) -> None:
    resolver = Dns({"example.com": f"v=DMARC1; p=none; psd={psd}"})
    assert [step.domain for step in walk("a.mail.example.com", resolver)] == [
        "a.mail.example.com",
        "mail.example.com",
        "example.com",
    ]


def test_existence_is_asked_only_where_it_matters() -> None:
    resolver = Dns({"example.com": "v=DMARC1; p=reject; sp=none; np=none"})
    assert discover("a.example.com", resolver).exists is None
    assert resolver.asked == ["_dmarc.a.example.com", "_dmarc.example.com", "_dmarc.com"]


def test_a_resolver_that_knows_what_exists_is_believed() -> None:
    class Knowing(Dns):
        def exists(self, name: str) -> bool:
            return name == "empty.example.com"

    found = {name: discover(f"{name}.example.com", Knowing(dict(EXAMPLE))).policy for name in ("empty", "gone")}
    assert found == {"empty": "none", "gone": "reject"}


def test_why_a_step_gives_no_record() -> None:
    steps = walk("a.example.com", Dns({"a.example.com": "v=DMARC1; p=bad", "example.com": ["v=DMARC1; p=none"] * 2}))
    assert "without valid policy and rua it is void" in steps[0].error
    assert steps[1].error == "2 DMARC records at one name are all discarded (section 4.10)"
    assert organizational_domain(steps) == "a.example.com"


@pytest.mark.parametrize(
    ("identifier", "author", "mode", "expected"),
    [
        ("foo.example.com", "news.example.com", "r", True),
        ("foo.example.com", "news.example.com", "s", False),
        ("news.example.com", "NEWS.example.com.", "s", True),
        ("foo.example.net", "news.example.com", "r", False),
        ("example.com", "news.example.com", "r", True),
        ("mail.giant.bank.example", "giant.bank.example", "r", True),
        ("mail.mega.bank.example", "giant.bank.example", "r", False),
        # Without any record each domain is its own organizational domain.
        ("a.example.org", "example.org", "r", False),
    ],
)
def test_alignment(identifier: str, author: str, mode: str, expected: bool) -> None:
    assert aligned(identifier, author, mode, Dns(EXAMPLE | BANK)) is expected


def test_no_answer_is_the_callers_to_judge() -> None:
    with pytest.raises(DnsTimeout):
        discover("a.timeout.example", Dns({}))


@pytest.mark.parametrize("domain", ["", "a..b", "m\u00fcnchen.example", "a b.example"])
def test_what_is_no_domain(domain: str) -> None:
    with pytest.raises(DomainError):
        discover(domain, Dns({}))


LABELS = st.lists(st.sampled_from("abc"), min_size=1, max_size=12).map(".".join)


@patient
@given(
    domain=LABELS,
    records=st.dictionaries(
        LABELS,
        st.sampled_from(["v=DMARC1; p=reject", "v=DMARC1; p=none; psd=y", "v=DMARC1; p=none; psd=n", "v=DMARC1"]),
    ),
)
def test_an_organizational_domain_holds_its_domain(domain: str, records: dict[str, Any]) -> None:
    found = discover(domain, Dns(records))
    assert len(found.steps) <= 8
    assert domain == found.organizational_domain or domain.endswith("." + found.organizational_domain)
    assert (found.record is None) is (found.policy is None)


# -- suites kept elsewhere ----------------------------------------------------------------------

# A row that RFC 7489 refuses and RFC 9989 does not: after the version, tags come in any order (section 4.8,
# dmarc-record = dmarc-version *(dmarc-sep dmarc-tag) [dmarc-sep]).
CHANGED = ["v=DMARC1; sp=reject; p=reject"]


@needs_data
def test_given_cases() -> None:
    cases = [case for case in suites.rows("dmarc-parse.json") if "RFC 7489" not in case["source"]]
    assert {case["valid"] for case in cases} == {True, False}
    suites.settle("dmarc-parse.json by RFC 9989", [case["record"] for case in cases], _differing(cases))


@needs_data
def test_given_cases_of_the_older_rfc_that_changed() -> None:
    assert _differing(suites.rows("dmarc-parse.json")) == CHANGED


def _differing(cases: list[dict[str, Any]]) -> list[str]:
    return [
        case["record"]
        for case in cases
        if suites.is_read(DmarcRecord.parse, case["record"], DmarcError) != case["valid"]
    ]


@needs_data
def test_given_public_records() -> None:
    records = suites.rows("moj-mail-records.json")
    texts = [
        text
        for record in records
        if record["type"] == "TXT" and record["name"].startswith("_dmarc.")
        for text in record["values"]
    ]
    assert len(texts) > 100
    for text in texts:
        tags = [tag.replace(" ", "") for tag in text.rstrip("; ").split(";")]
        expected = sorted(tag for tag in tags if not re.match("(pct|rf|ri)=", tag))
        assert sorted(str(DmarcRecord.parse(text)).replace(" ", "").split(";")) == expected
