# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""SPF records composed, edited, flattened and proven; what is refused, and what is told of them."""

from __future__ import annotations

import re
import unittest.mock
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.postmaster.mail.plugins.module_utils._dns import DnsTimeout
from ansible_collections.postmaster.mail.plugins.module_utils._spf import parse
from ansible_collections.postmaster.mail.plugins.module_utils._spf_plan import REFUSALS
from ansible_collections.postmaster.mail.plugins.module_utils._spf_run import Done, RunError, run
from ansible_collections.postmaster.mail.plugins.modules import spf_record
from hypothesis import given
from hypothesis import strategies as st

ZONE: dict[tuple[str, str], list[str]] = {
    ("corp.example", "TXT"): ["google-site-verification=x", "v=spf1 include:a.test  ~all"],
    ("example.org", "TXT"): ["v=spf1 include:_spf.formerly.example ip4:192.0.2.25 ~all"],
    ("example.org", "MX"): ["10 mx.example.org."],
    ("mx.example.org", "A"): ["192.0.2.30"],
    ("_spf.mailer.example", "TXT"): ["v=spf1 ip4:198.51.100.0/28 -all"],
    ("corp.example", "MX"): ["10 mx.corp.example."],
    ("mx.corp.example", "A"): ["192.0.2.25"],
    ("a.test", "TXT"): ["v=spf1 ip4:198.51.100.0/25 ip4:198.51.100.128/25 -all"],
    ("b.test", "TXT"): ["v=spf1 a:mx.corp.example exists:%{i}.b.test -all"],
    ("open.test", "TXT"): ["v=spf1 all"],
    ("two.example", "TXT"): ["v=spf1 mx ~all", "v=spf1 ip4:192.0.2.1 -all"],
    ("void.example", "TXT"): ["v=spf1 nonsense"],
    ("flat.example", "TXT"): ["v=spf1 include:_spf1.flat.example -include:_spf7.flat.example ~all"],
    ("_spf1.flat.example", "TXT"): ["v=spf1 ip4:192.0.2.1 -all"],
    ("_spf7.flat.example", "TXT"): ["v=spf1 ip4:192.0.2.7 -all"],
    ("slow.example", "TXT"): ["timeout"],
    ("wide.test", "TXT"): ["v=spf1 " + " ".join(f"ip4:10.0.{2 * n}.0/24" for n in range(40)) + " -all"],
}
MANY = [f"include:n{number}.test" for number in range(11)]
PROVIDERS = (
    "_spf.provider.example",
    "_spf.google.com",
    "spf.brevo.com",
    "spf.protection.outlook.com",
    "_spf.example.net",
)
ZONE |= {(name, "TXT"): ["v=spf1 ip4:203.0.113.0/26 -all"] for name in PROVIDERS}
ZONE |= {(f"n{number}.test", "TXT"): ["v=spf1 -all"] for number in range(11)}
ZONE |= {(f"six{number}.test", "AAAA"): ["2001:db8:6::1"] for number in range(3)}
ZONE |= {(f"four{number}.test", "A"): ["192.0.2.4"] for number in range(3)}
ZONE |= {("mx6.test", "MX"): ["10 six0.test."], ("mx4.test", "MX"): ["10 four0.test."], ("none.test", "MX"): ["0 ."]}
ZONE |= {("c6.test", "TXT"): ["v=spf1 ip6:2001:db8:7::/64 -all"]}
ZONE |= {("crowd.test", "MX"): [f"10 h{number}.crowd.test." for number in range(12)]}
ZONE |= {(f"h{number}.crowd.test", "A"): ["192.0.2.25"] for number in range(12)}


class Dns:
    def query(self, name: str, rdtype: str) -> list[str]:
        found = ZONE.get((name.rstrip("."), rdtype), [])
        if found == ["timeout"]:
            raise DnsTimeout("the resolver did not answer")
        return found


def _run(*items: dict[str, Any], allow: tuple[str, ...] = (), dns: bool = True) -> list[Done]:
    defaults = {"domain": "corp.example", "state": "present", "ttl": 300, "strangers": ["198.18.0.1", "100::1"]}
    return run([{**defaults, **item} for item in items], allow=allow, resolver=Dns() if dns else None)


EDITED: list[tuple[dict[str, Any], str]] = [
    # add, replace, take away
    ({"terms": ["ip4:192.0.2.25"]}, "ip4:192.0.2.25 include:a.test ~all"),
    ({"terms": ["mx", "ip4:192.0.2.25"]}, "ip4:192.0.2.25 include:a.test mx ~all"),
    ({"terms": ["?include:a.test"], "all": "-all"}, "?include:a.test -all"),
    (
        {"current": "v=spf1 ip4:192.0.2.1 mx ~all", "terms": ["ip4:192.0.2.2"], "replaces": ["ip4:192.0.2.1"]},
        "ip4:192.0.2.2 mx ~all",
    ),
    ({"state": "absent", "terms": ["include:a.test"]}, "~all"),
    ({"state": "absent", "terms": ["include:a.test", "mx"], "all": "-all"}, "-all"),
    ({"current": "v=spf1 redirect=a.test", "terms": ["mx"]}, "mx redirect=a.test"),
    ({"current": "v=spf1 redirect=a.test", "terms": ["mx"], "all": "-all"}, "mx include:a.test -all"),
    ({"known": ["google_workspace"], "current": ""}, "include:_spf.google.com ~all"),
    # nothing to do: the text stays as it is written
    ({"terms": ["INCLUDE:A.test."]}, "include:a.test ~all"),
    ({"state": "absent", "terms": ["mx"]}, "include:a.test ~all"),
    ({"state": "exact", "terms": ["include:a.test"]}, "include:a.test ~all"),
    # whole
    ({"state": "exact", "terms": ["mx", "ip4:192.0.2.1", "mx"]}, "ip4:192.0.2.1 mx ~all"),
    (
        {"state": "exact", "terms": ["-include:a.test", "ip4:192.0.2.1", "x=1"], "all": "?all"},
        "-include:a.test ip4:192.0.2.1 ?all x=1",
    ),
    ({"state": "exact", "terms": ["mx", "-all", "exp=why.test"]}, "mx -all exp=why.test"),
    ({"state": "exact", "terms": ["redirect=a.test"]}, "redirect=a.test"),
    ({"state": "exact"}, "-all"),
    ({"domain": "New.Example.", "terms": ["ip4:192.0.2.1"]}, "ip4:192.0.2.1 ~all"),
    ({"domain": "two.example", "state": "exact", "terms": ["ip4:192.0.2.25"]}, "ip4:192.0.2.25 ~all"),
    ({"domain": "void.example", "state": "exact", "terms": ["ip4:192.0.2.25"]}, "ip4:192.0.2.25 ~all"),
    # flat
    ({"state": "exact", "terms": ["mx", "include:a.test"], "flatten": True}, "ip4:192.0.2.25 ip4:198.51.100.0/24 ~all"),
    (
        {"state": "exact", "terms": ["mx", "include:a.test"], "flatten": True, "keep": ["a.test"]},
        "ip4:192.0.2.25 include:a.test ~all",
    ),
]


@pytest.mark.parametrize(("item", "after"), EDITED)
def test_what_becomes_of_a_record(item: dict[str, Any], after: str) -> None:
    allow = ("broken_target",)  # of Google's record nothing is known here
    (done,) = _run(item, allow=allow)
    shown = done.as_dict()
    assert " ".join(shown["after"].split()) == f"v=spf1 {after}"
    assert shown["changed"] is (shown["before"] != shown["after"])
    assert shown["record"]["name"] == f"{done.domain}." and shown["record"]["value"] == shown["after"]
    # What it makes is what it leaves alone.
    again = {**item, "current": shown["after"], "replaces": []}
    assert _run(again, allow=allow)[0].as_dict()["after"] == shown["after"]


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"terms": ["ip4:192.0.2.1"], "all": "+all", "strangers": []}, "pass_all", "it lets the whole world send"),
    ({"terms": ["ip6:::/0"], "strangers": []}, "pass_all", "write a longer prefix"),
    ({"domain": "two.example", "terms": ["ip4:192.0.2.9"]}, "two_records", "there are 2 SPF records now"),
    ({"terms": MANY}, "lookups", "receivers stop with permerror after 10 (section 4.6.4)"),
    ({"terms": [f"a:h{number}.test" for number in range(3)]}, "voids", "remove a:h0.test, a:h1.test, a:h2.test"),
    (
        {"terms": [f"a:six{number}.test" for number in range(3)]},
        "voids",
        "3 of its terms have no answer for clients of IPv4",
    ),
    ({"terms": ["include:nothing.test"]}, "broken_target", "include:nothing.test: nothing.test has no SPF record"),
    ({"terms": ["mx:crowd.test"]}, "broken_target", "mx:crowd.test: crowd.test has 12 MX records"),
    (
        {"terms": ["include:slow.example"]},
        "unanswered",
        "198.18.0.1 gets temperror by include:slow.example: no answer",
    ),
    # what only an evaluation can tell
    (
        {"terms": [f"exists:%{{i}}.x{number}.test" for number in range(3)]},
        "voids",
        "the result is permerror by exists:%{i}.x2.test: it is void lookup number 3",
    ),
    (
        {"terms": ["mx"], "own_addresses": ["192.0.2.26"]},
        "unreached",
        "192.0.2.26 has to pass, and the result is softfail by ~all",
    ),
    ({"terms": ["include:open.test"]}, "stranger", "198.18.0.1 must not pass, and does by include:open.test"),
]


@pytest.mark.parametrize(("item", "allow", "message"), REFUSED)
def test_what_is_refused_can_be_allowed(item: dict[str, Any], allow: str, message: str) -> None:
    with pytest.raises(RunError) as caught:
        _run(item)
    assert message in str(caught.value) and f"(or allow {allow})" in str(caught.value)
    assert str(caught.value).startswith(item.get("domain", "corp.example"))
    assert _run(item, allow=(allow,))[0].changed


def test_what_is_refused_is_said_once() -> None:
    for item, allow, _message in REFUSED:
        with pytest.raises(RunError) as caught:
            _run(item)
        assert allow in ("unreached", "stranger") or str(caught.value).count("(or allow") == 1


FOURS = [f"a:four{number}.test" for number in range(3)]
ONLY_SIX = (
    "3 of its terms have no answer for clients of IPv6, and receivers stop with permerror after 2 (section 4.6.4); remove "
    "a:four0.test, a:four1.test, a:four2.test, or write the addresses themselves"
)


@pytest.mark.parametrize(
    ("terms", "harm"),
    [
        (FOURS, False),
        ([*FOURS, "ip4:192.0.2.9", "mx:mx4.test", "mx:none.test", "?ip6:2001:db8::/64"], False),
        (["ip6:2001:db8::/64", "a:six0.test", *FOURS], False),  # these are let in before
        ([*FOURS, "ip6:2001:db8::/64"], True),
        ([*FOURS, "a:six0.test"], True),
        ([*FOURS, "mx:mx6.test"], True),
        ([*FOURS, "include:c6.test"], True),
        ([*FOURS[:2], "ip6:2001:db8::/64"], False),
    ],
)
def test_hosts_of_ipv4_alone_are_refused_if_senders_over_ipv6_come_after_them(terms: list[str], harm: bool) -> None:
    item = {"current": f"v=spf1 {' '.join(terms)} -all", "terms": [], "strangers": ["198.18.0.1", "100::1"]}
    if harm:
        with pytest.raises(RunError, match=re.escape(f"{ONLY_SIX} (or allow voids)")):
            _run(item)
        return
    (done,) = _run(item)
    assert [text for text in done.warnings if "IPv6" in text] == (
        [f"{ONLY_SIX}; no sender over IPv6 comes after them, so it is strangers alone"] if FOURS[2] in terms else []
    )


def test_limits_that_hold_are_no_fault() -> None:
    """Two hosts with one family each, and ten hosts of one mx."""
    (done,) = _run({"terms": ["a:six0.test", "a:six1.test"]})
    assert done.as_dict()["voids"] == ["a:six0.test", "a:six1.test"]
    ten = {("crowd.test", "MX"): ZONE["crowd.test", "MX"][:10]}
    with unittest.mock.patch.dict(ZONE, ten):
        assert _run({"terms": ["mx:crowd.test"]})[0].changed


def test_every_refusal_is_shown_by_a_case_and_documented() -> None:
    assert {allow for _item, allow, _message in REFUSED} == set(REFUSALS)
    options = yaml.safe_load(spf_record.DOCUMENTATION)["options"]
    assert options["allow"]["choices"] == list(REFUSALS)
    assert all(any(f"V({name})" in text for text in options["allow"]["description"]) for name in REFUSALS)


def test_the_examples_can_be_run() -> None:
    for task in yaml.safe_load(spf_record.EXAMPLES):
        item = task.get("postmaster.mail.spf_record")
        if item is None:
            continue
        given_options = {*item, *(name for one in item.get("records", ()) for name in one)}
        assert given_options <= set(spf_record.ARGUMENT_SPEC)
        item = {name: value for name, value in item.items() if not (isinstance(value, str) and "{{" in value)}
        done = _run(*(item.get("records") or [item]), allow=tuple(REFUSALS))
        assert all(one.after for one in done)


def test_the_guide_says_what_happens() -> None:
    text = (Path(__file__).parents[2] / "docs" / "spf.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(yaml|text)\n(.*?)```", text, re.DOTALL)
    added, flat = (yaml.safe_load(body)[0]["postmaster.mail.spf_record"] for kind, body in blocks if kind == "yaml")
    ((dummy, told),) = [block for block in blocks if block[0] == "text"]
    current = "v=spf1 ip4:192.0.2.25 mx ~all"
    (done,) = _run({**added, "current": current})
    assert done.as_dict()["probes"][1]["why"] == told.splitlines()
    (done,) = _run({**flat, "current": current})
    assert done.after == {"example.org": "v=spf1 ip4:192.0.2.30 ip4:198.51.100.0/28 ip4:203.0.113.0/26 ~all"}
    assert all(f"| `{name}` |" in text for name in REFUSALS)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"domain": ""}, "domain '' is empty"),
        ({"domain": "void.example", "terms": ["mx"]}, "the record there is none: the SPF term 'nonsense'"),
        ({"current": "v=DMARC1; p=none", "terms": ["mx"]}, "current is no SPF record"),
        ({"terms": ["a:x"]}, "does not end in a dot and a top-level label"),
        ({"terms": ["ip4:192.0.2.1 -all"]}, "the character ' ' is not allowed"),
        ({"state": "absent"}, "name the terms that shall go"),
        ({"state": "absent", "terms": ["mx"], "domain": "new.example"}, "there is no record to take terms from"),
        ({"state": "exact", "terms": ["-all"], "all": "~all"}, "-all is among the terms, and all is given too"),
        ({"known": ["carrier_pigeon"]}, "no sender 'carrier_pigeon' is known; known are "),
        ({"own_addresses": ["mx.corp.example"], "terms": ["mx"]}, "'mx.corp.example' is no IP address"),
        ({"flatten": True, "terms": ["mx"]}, "give all of them with state: exact"),
        (
            {"flatten": True, "state": "exact", "terms": ["include:slow.example"]},
            "DNS cannot tell what the record needs",
        ),
        ({"domain": "slow.example", "terms": ["mx"]}, "DNS cannot tell what the record needs"),
    ],
)
def test_what_cannot_be_made(item: dict[str, Any], message: str) -> None:
    with pytest.raises(RunError) as caught:
        _run(item)
    assert message in str(caught.value)


def test_a_record_that_is_as_wanted_stays_as_it_is_written() -> None:
    for item in ({"terms": ["include:a.test"]}, {"state": "exact", "terms": ["include:a.test"]}):
        (done,) = _run(item)
        assert not done.changed and done.after["corp.example"] == "v=spf1 include:a.test  ~all"


def test_many_at_once_and_all_that_is_wrong_with_them() -> None:
    done = _run({"terms": ["include:a.test"]}, {"domain": "new.example", "terms": ["ip4:192.0.2.1"]})
    assert [(one.domain, one.changed) for one in done] == [("corp.example", False), ("new.example", True)]
    with pytest.raises(RunError) as caught:
        _run({"domain": "two.example"}, {"domain": "new.example", "all": "+all"}, {"domain": "NEW.example"})
    lines = str(caught.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["two.example", "new.example", "new.example"]


def test_addresses_are_judged_before_anything_is_published() -> None:
    (done,) = _run({"terms": ["mx"], "own_addresses": ["192.0.2.25", "198.51.100.200"]})
    probes = done.as_dict()["probes"]
    assert [(one["ip"], one["wanted"], one["result"], one["term"]) for one in probes] == [
        ("192.0.2.25", "pass", "pass", "mx"),
        ("198.51.100.200", "pass", "pass", "include:a.test"),
        ("198.18.0.1", "fail", "softfail", "~all"),
        ("100::1", "fail", "softfail", "~all"),
    ]
    assert probes[0]["why"][1] == "corp.example: v=spf1 include:a.test mx ~all"
    assert (done.as_dict()["lookups"], done.as_dict()["voids"]) == (2, [])


def test_flat_records_are_split_and_proven_together() -> None:
    item = {
        "domain": "new.example",
        "state": "exact",
        "terms": ["include:wide.test", "include:b.test"],
        "flatten": True,
    }
    (done,) = _run({**item, "own_addresses": ["10.0.78.9", "192.0.2.25"]})
    assert done.after["new.example"] == (
        "v=spf1 include:_spf1.new.example include:_spf2.new.example exists:%{i}.b.test ~all"
    )
    assert done.notes == ("stays as it is: exists:%{i}.b.test: it has macros",)
    names = [record["name"] for record in done.publish]
    assert names == ["_spf1.new.example.", "_spf2.new.example.", "new.example."]
    assert all(len(string) <= 255 for record in done.publish for string in record["strings"])
    assert [one.told.result.result for one in done.probes] == ["pass", "pass", "softfail", "softfail"]
    # Published, there is nothing left to do.
    before = dict(ZONE)
    try:
        ZONE.update({(name, "TXT"): [text] for name, text in done.after.items()})
        assert not _run(item)[0].changed
    finally:
        ZONE.clear()
        ZONE.update(before)


def test_parts_that_are_no_longer_needed_go() -> None:
    (done,) = _run({"domain": "flat.example", "state": "exact", "terms": ["ip4:192.0.2.1"], "flatten": True})
    assert [(record["name"], record.get("state")) for record in done.publish] == [
        ("flat.example.", None),
        ("_spf1.flat.example.", "absent"),
        ("_spf7.flat.example.", "absent"),
    ]
    assert done.changed and "_spf7.flat.example. TXT v=spf1 ip4:192.0.2.7 -all" in done.lines(done.before)


def test_two_records_become_one_when_that_is_wanted() -> None:
    (done,) = _run({"domain": "two.example", "terms": ["ip4:192.0.2.9"]}, allow=("two_records", "voids"))
    assert done.after == {"two.example": "v=spf1 ip4:192.0.2.9 mx ip4:192.0.2.1 ~all"}
    assert done.as_dict()["before"].count("\n") == 1


def test_without_a_resolver() -> None:
    (done,) = _run({"current": "v=spf1 include:a.test ~all", "terms": ["mx"]}, dns=False)
    assert done.as_dict()["lookups"] is None and not done.probes
    for item, message in (
        ({"terms": ["mx"]}, 'must be given as current, "" for none'),
        ({"current": "", "terms": ["mx"], "own_addresses": ["192.0.2.1"]}, "own_addresses needs a resolver"),
        ({"current": "", "terms": ["mx"], "state": "exact", "flatten": True}, "flatten needs a resolver"),
        ({"current": "", "terms": MANY}, "it is lookup number 11"),
    ):
        with pytest.raises(RunError, match=message):
            _run(item, dns=False)


@pytest.mark.parametrize(
    ("item", "warning"),
    [
        ({"terms": ["ptr"]}, "ptr is slow"),
        ({"all": "?all"}, "says nothing of other senders"),
        ({"terms": ["exists:%{i}.x.test"]}, "its target depends on the message"),
        ({"terms": ["a:slow.test"]}, None),
    ],
)
def test_warnings(item: dict[str, Any], warning: str | None) -> None:
    (done,) = _run(item)
    assert any(warning in text for text in done.warnings) if warning else not done.warnings


PIECES = [
    "v=spf1",
    " ",
    "a",
    "mx",
    ":",
    "include:a.test",
    "+all",
    "-all",
    "redirect=a.test",
    "\n",
    "\x00",
    "\u00e9",
    "%{",
    "ip4:192.0.2.1",
]
TEXTS = st.one_of(st.text(max_size=20), st.lists(st.sampled_from(PIECES), max_size=6).map("".join))


@given(
    current=st.one_of(TEXTS, TEXTS.map(lambda text: f"v=spf1 {text}")),
    state=st.sampled_from(["present", "absent", "exact"]),
    terms=st.lists(TEXTS, max_size=3),
    flat=st.booleans(),
)
def test_hostile_records_are_edited_or_refused(current: str, state: str, terms: list[str], flat: bool) -> None:
    item = {"current": current, "state": state, "terms": terms, "flatten": flat}
    try:
        (done,) = _run(item, allow=tuple(REFUSALS))
    except RunError as err:
        assert str(err)
        return
    assert parse(done.after["corp.example"])
