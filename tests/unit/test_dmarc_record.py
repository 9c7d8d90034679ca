# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""DMARC records composed and edited, what is refused, and what is told of them."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible_collections.postmaster.mail.plugins.module_utils import _public_suffix
from ansible_collections.postmaster.mail.plugins.module_utils._dmarc import is_dmarc
from ansible_collections.postmaster.mail.plugins.module_utils._dmarc_plan import REFUSALS
from ansible_collections.postmaster.mail.plugins.module_utils._dmarc_reports import destinations
from ansible_collections.postmaster.mail.plugins.module_utils._dmarc_run import Done, RunError, run
from ansible_collections.postmaster.mail.plugins.module_utils._dns import DnsTimeout
from ansible_collections.postmaster.mail.plugins.modules import dmarc_record
from hypothesis import given
from hypothesis import strategies as st

Zone = dict[tuple[str, str], list[str]]
ZONE: Zone = {
    ("_dmarc.corp.example", "TXT"): ["v=DMARC1; p=none; rua=mailto:a@corp.example"],
    ("corp.example", "MX"): ["10 mx.corp.example."],
    ("sub.corp.example", "A"): ["192.0.2.1"],
    ("reports.test", "MX"): ["10 mx.reports.test."],
    ("corp.example._report._dmarc.reports.test", "TXT"): ["v=DMARC1;"],
    ("shy.test", "AAAA"): ["2001:db8::1"],
    ("deaf.test", "MX"): ["0 ."],
    ("_dmarc.two.example", "TXT"): ["v=DMARC1; p=none", "v=DMARC1; p=reject"],
    ("_dmarc.void.example", "TXT"): ["v=DMARC1; p=bad"],
    ("_dmarc.old.example", "TXT"): ["v=DMARC1;p=reject;pct=20;later=1", "some other text"],
    ("_dmarc.slow.example", "TXT"): ["timeout"],
}


class Dns:
    def query(self, name: str, rdtype: str) -> list[str]:
        found = ZONE.get((name.rstrip("."), rdtype), [])
        if found == ["timeout"]:
            raise DnsTimeout("the resolver did not answer")
        return found


@pytest.fixture(autouse=True)
def suffixes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_public_suffix, "installed", lambda: _public_suffix.SuffixList.parse("example\ntest\n"))


def _run(*items: dict[str, Any], allow: tuple[str, ...] = (), dns: bool = True) -> list[Done]:
    whole = [{"domain": "corp.example", "state": "present", "ttl": 3600, **item} for item in items]
    return run(whole, allow=allow, resolver=Dns() if dns else None)


NONE = "v=DMARC1; p=none"
EDITED: list[tuple[dict[str, Any], str]] = [
    # set, add, overwrite
    ({"policy": "reject"}, "v=DMARC1; p=reject; rua=mailto:a@corp.example"),
    ({"rua": ["b@corp.example", "mailto:a@corp.example"]}, f"{NONE}; rua=mailto:a@corp.example,mailto:b@corp.example"),
    (
        {
            "subdomain_policy": "reject",
            "nonexistent_policy": "reject",
            "adkim": "strict",
            "aspf": "relaxed",
            "psd": "n",
        },
        f"{NONE}; sp=reject; np=reject; adkim=s; aspf=r; psd=n; rua=mailto:a@corp.example",
    ),
    ({"testing": True, "policy": "quarantine"}, "v=DMARC1; p=quarantine; t=y; rua=mailto:a@corp.example"),
    (
        {"fo": ["1", "d"], "ruf": ["r@corp.example"]},
        f"{NONE}; fo=1:d; rua=mailto:a@corp.example; ruf=mailto:r@corp.example",
    ),
    (
        {"current": "v=DMARC1;p=none;t=y;rua=mailto:x@corp.example", "testing": False},
        f"{NONE}; rua=mailto:x@corp.example",
    ),
    # nothing to do: the text stays as it is written
    ({"policy": "none"}, "v=DMARC1; p=none; rua=mailto:a@corp.example"),
    (
        {"current": "v=DMARC1;rua=mailto:a@corp.example;p=none;", "policy": "none"},
        "v=DMARC1;rua=mailto:a@corp.example;p=none;",
    ),
    (
        {"state": "exact", "current": "v=DMARC1;p=none;rua=mailto:a@corp.example", "rua": ["a@corp.example"]},
        "v=DMARC1;p=none;rua=mailto:a@corp.example",
    ),
    # whole, from nothing, from two
    ({"state": "exact", "policy": "reject"}, "v=DMARC1; p=reject"),
    ({"current": "", "rua": ["a@corp.example"]}, f"{NONE}; rua=mailto:a@corp.example"),
    ({"domain": "New.Example.", "policy": "reject"}, "v=DMARC1; p=reject"),
    ({"domain": "two.example", "state": "exact", "policy": "reject"}, "v=DMARC1; p=reject"),
    ({"domain": "void.example", "state": "exact", "policy": "reject"}, "v=DMARC1; p=reject"),
    # what means nothing goes
    ({"domain": "old.example"}, "v=DMARC1; p=reject"),
    # take away
    (
        {
            "state": "absent",
            "current": "v=DMARC1; p=reject; sp=none; t=y; fo=1; ruf=mailto:r@corp.example",
            "tags": ["sp", "t", "ruf", "fo"],
        },
        "v=DMARC1; p=reject",
    ),
    (
        {
            "state": "absent",
            "current": "v=DMARC1; p=none; rua=mailto:a@corp.example,mailto:b@corp.example",
            "rua": ["a@corp.example"],
        },
        f"{NONE}; rua=mailto:b@corp.example",
    ),
    ({"state": "absent", "tags": ["sp"]}, "v=DMARC1; p=none; rua=mailto:a@corp.example"),
    ({"state": "absent", "domain": "new.example", "tags": ["sp"]}, ""),
]


@pytest.mark.parametrize(("item", "after"), EDITED)
def test_what_becomes_of_a_record(item: dict[str, Any], after: str) -> None:
    (done,) = _run(item)
    assert done.after == after
    assert done.changed is (done.before != after)
    record = done.as_dict()["record"]
    assert record["value"] == after if after else record is None
    if after:
        assert record["name"] == f"_dmarc.{done.domain}." and is_dmarc(after)
        # What it makes is what it leaves alone.
        assert _run({**item, "current": after, "state": item.get("state", "present")})[0].after == after


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"current": "", "policy": "none"}, "no_reports", "nobody sees what fails; give rua"),
    (
        {"current": "v=DMARC1; p=reject", "subdomain_policy": "none"},
        "weaker_subdomains",
        "sp=none is weaker than reject",
    ),
    (
        {"current": "v=DMARC1; p=reject; sp=quarantine", "nonexistent_policy": "none"},
        "weaker_subdomains",
        "np=none is weaker than quarantine",
    ),
    ({"policy": "reject", "psd": "y"}, "public_suffix", "psd=y says that others own the domains below"),
    (
        {"rua": ["x@shy.test"]},
        "unauthorised_reports",
        'its owner has to publish corp.example._report._dmarc.shy.test. TXT "v=DMARC1;"',
    ),
    ({"ruf": ["x@deaf.test"]}, "unreachable_reports", "mailto:x@deaf.test: deaf.test takes no mail"),
    ({"rua": ["x@nowhere.test"]}, "unreachable_reports", "nowhere.test takes no mail"),
]


@pytest.mark.parametrize(("item", "allow", "message"), REFUSED)
def test_what_is_refused_can_be_allowed(item: dict[str, Any], allow: str, message: str) -> None:
    with pytest.raises(RunError) as caught:
        _run(item)
    assert message in str(caught.value) and f"(or allow {allow})" in str(caught.value)
    assert str(caught.value).startswith("corp.example: 'v=DMARC1;")
    assert _run(item, allow=(allow,))[0].after


def test_every_refusal_is_shown_by_a_case_and_documented() -> None:
    assert {allow for _item, allow, _message in REFUSED} == set(REFUSALS)
    options = yaml.safe_load(dmarc_record.DOCUMENTATION)["options"]
    assert options["allow"]["choices"] == list(REFUSALS)
    assert all(any(f"V({name})" in text for text in options["allow"]["description"]) for name in REFUSALS)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"domain": ""}, "domain '' is empty"),
        ({"domain": "a b"}, "the label 'a b'"),
        ({"domain": "two.example", "policy": "reject"}, "there are 2 DMARC records, so receivers discard all"),
        ({"domain": "void.example", "policy": "reject"}, "the record there is none: the DMARC tag 'p=bad'"),
        ({"current": "v=spf1 -all", "policy": "reject"}, "the record there is none: the DMARC tag 'v=spf1 -all'"),
        ({"rua": ["nobody"]}, "the DMARC tag 'rua=mailto:a@corp.example,mailto:nobody'"),
        ({"fo": ["0", "1"]}, "not both 0 and 1"),
    ],
)
def test_what_cannot_be_made(item: dict[str, Any], message: str) -> None:
    with pytest.raises(RunError) as caught:
        _run(item)
    assert message in str(caught.value)


def test_many_at_once_and_all_that_is_wrong_with_them() -> None:
    done = _run({"domain": "corp.example"}, {"domain": "old.example"})
    assert [(one.domain, one.changed) for one in done] == [("corp.example", False), ("old.example", True)]
    with pytest.raises(RunError) as caught:
        _run({"domain": "two.example"}, {"domain": "old.example"}, {"domain": "OLD.example"}, {"current": ""})
    lines = str(caught.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["two.example", "old.example"]
    assert "it is named twice" in lines[1]


def test_a_resolver_that_does_not_answer_ends_it() -> None:
    with pytest.raises(DnsTimeout):
        _run({"domain": "slow.example"})


def test_without_a_resolver() -> None:
    (done,) = _run({"current": "", "policy": "reject", "testing": True}, dns=False)
    assert (done.after, done.policy, done.organizational_domain) == ("v=DMARC1; p=reject; t=y", "quarantine", None)
    assert [row.row.id for row in done.differences] == ["t"]
    with pytest.raises(RunError, match='must be given as current, "" for none'):
        _run({"policy": "reject"}, dns=False)


@pytest.mark.parametrize(
    ("item", "warning"),
    [
        ({"policy": "reject"}, "p=reject after p=none before: step up"),
        ({"domain": "new.example", "policy": "reject"}, "p=reject after no policy before"),
        ({"domain": "old.example"}, "pct=20 means nothing any more"),
        ({"domain": "old.example"}, "later=1 means nothing any more"),
        ({"testing": True}, "t=y lowers no policy that is none"),
        ({"fo": ["1"]}, "fo is ignored without ruf"),
        (
            {"domain": "sub.corp.example", "policy": "quarantine", "subdomain_policy": "reject"},
            "sp counts in the record of the organizational domain corp.example alone",
        ),
    ],
)
def test_warnings(item: dict[str, Any], warning: str) -> None:
    (done,) = _run(item)
    assert any(warning in text for text in done.warnings), done.warnings


def test_a_step_up_needs_no_warning() -> None:
    assert _run({"policy": "quarantine"})[0].warnings == ()
    assert _run({"policy": "reject", "testing": True})[0].warnings == ()


def test_what_receivers_will_make_of_it_once_it_is_published() -> None:
    (done,) = _run({"domain": "sub.corp.example", "policy": "reject", "psd": "n", "testing": True})
    assert (done.policy, done.organizational_domain) == ("quarantine", "sub.corp.example")
    assert [row.row.id for row in done.differences] == ["organizational-domain", "psd", "t"]
    shown = done.as_dict()["differences"][0]
    assert (shown["rfc7489"], shown["rfc9989"]) == ("3.2", "4.10.2")
    assert "is corp.example, not sub.corp.example" in shown["detail"]


def test_without_a_public_suffix_list_the_record_alone_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Any:
        raise _public_suffix.SuffixListMissing("none")

    monkeypatch.setattr(_public_suffix, "installed", missing)
    (done,) = _run({"domain": "sub.corp.example", "policy": "reject", "psd": "n"})
    assert [row.row.id for row in done.differences] == ["psd"]


def test_where_reports_go() -> None:
    uris = ["mailto:a@corp.example", "mailto:a@sub.corp.example", "mailto:a@reports.test!10m", "mailto:a@shy.test"]
    uris += ["mailto:a@deaf.test", "https://shy.test/x", "https:///x", "mailto:a@reports.test!10m"]
    found = destinations([uri.replace("!10m", "") for uri in uris], "corp.example", Dns())
    assert [(one.host, one.status) for one in found] == [
        ("corp.example", "own"),
        ("sub.corp.example", "own"),
        ("reports.test", "authorised"),
        ("shy.test", "unauthorised"),
        ("deaf.test", "unreachable"),
        ("shy.test", "unauthorised"),
        ("", "unreachable"),
    ]


PIECES = [
    "v=DMARC1;",
    "p=none;",
    "p=",
    "reject",
    "rua=mailto:a@corp.example",
    ";",
    "np=x;",
    " ",
    "\n",
    "\x00",
    "\u00e9",
    "pct=1;",
]


@given(
    current=st.one_of(st.text(), st.lists(st.sampled_from(PIECES)).map("".join)),
    state=st.sampled_from(["present", "absent", "exact"]),
    rua=st.none() | st.lists(st.text(max_size=10), max_size=2),
    policy=st.sampled_from([None, "none", "reject"]),
)
def test_hostile_records_are_edited_or_refused(
    current: str, state: str, rua: list[str] | None, policy: str | None
) -> None:
    item = {"current": current, "state": state, "rua": rua, "policy": policy, "tags": ["np"]}
    try:
        (done,) = _run(item, allow=tuple(REFUSALS), dns=False)
    except RunError as err:
        assert str(err)
        return
    assert not done.after or is_dmarc(done.after)
