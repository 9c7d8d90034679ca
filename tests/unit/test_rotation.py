# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The next step of a DKIM key, one case at a time; test_rotation_model.py has what comes of many."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.postmaster.mail.plugins.filter.rotation_signers import rotation_signers
from ansible_collections.postmaster.mail.plugins.filter.shared_keys import shared_keys
from ansible_collections.postmaster.mail.plugins.module_utils import _rotation as rotation
from ansible_collections.postmaster.mail.plugins.module_utils import _rotation_work as working
from ansible_collections.postmaster.mail.plugins.module_utils._dns import DnsTimeout
from ansible_collections.postmaster.mail.plugins.module_utils._dns_client import Answer, DnsNoRoute
from ansible_collections.postmaster.mail.plugins.module_utils._dns_plan import RRset
from ansible_collections.postmaster.mail.plugins.module_utils._dns_watch import NameServer
from ansible_collections.postmaster.mail.plugins.module_utils._rotation import (
    DAY,
    Domain,
    Held,
    Policy,
    Sight,
    Signer,
    Step,
)
from ansible_collections.postmaster.mail.plugins.module_utils._rotation_look import look
from ansible_collections.postmaster.mail.plugins.modules import dkim_rotation_info as module

D = "corp.example"
NOW = 1_000_000
TEXT = "v=DKIM1; h=sha256; k=rsa; p="
POLICY = Policy(rotate_after=100, settle=10, keep=50, revoked=30)
KEYS = {
    "pending": {"created": NOW - 60},
    "active": {"created": NOW - 90, "activated": NOW - 80},
    "retired": {"created": NOW - 900, "activated": NOW - 800, "retired": NOW - 20},
    "revoked": {"created": NOW - 900, "retired": NOW - 200, "revoked": NOW - 5},
    "withdrawn": {"created": NOW - 900, "retired": NOW - 200, "revoked": NOW - 100, "withdrawn": NOW - 5},
}


def key_text(selector: str) -> str:
    """The record of the key under a selector."""
    return f"v=DKIM1; k=test; p={selector.ljust(4, 'A')}"


def key(selector: str, state: str = "active", **more: Any) -> Held:
    record = {"revoked": TEXT, "withdrawn": ""}.get(state, key_text(selector))
    public = b64decode(selector.ljust(4, "A"))
    values: dict[str, Any] = {"record": record, "public": public, **KEYS[state], **more}
    return Held(D, selector, values.pop("algorithm", "rsa"), state, **values)


def says(text: str = "", *, servers: int = 2, ttl: int = 5, negative: int = 7) -> list[Sight]:
    """All servers the same."""
    texts = (text,) if text else ()
    return [Sight(f"ns{n}", texts, ttl=ttl if text else negative, negative=negative) for n in range(1, servers + 1)]


def well(*held: Held, **others: list[Sight]) -> dict[str, list[Sight]]:
    """Every server publishes what it should, but for ``others`` by selector."""
    name = "{}._domainkey.corp.example.".format
    seen = {name(one.selector): says(one.record) for one in held}
    return {**seen, **{name(selector): sights for selector, sights in others.items()}}


def steps(
    signers: Sequence[Signer], seen: Mapping[str, Sequence[Sight]], domain: Domain | None = None, **policy: Any
) -> list[Step]:
    return rotation.plan(signers, [domain or Domain(D)], seen, now=NOW, policy=replace(POLICY, **policy))


DOWN = Sight("ns2", problem="ns2 did not answer within 10 seconds; look at that server")
OTHER, NO_KEY = "v=DKIM1; k=test; p=T1RI", "v=DKIM1; k=test; p=other"  # four characters of base64, and five
P, A, R = key("p", "pending"), key("a"), key("r", "retired")
# (held, what servers say of some of them, policy; then kind, until, note and what the sentence has)
CASES: list[tuple[list[Held], dict[str, list[Sight]], dict[str, Any], tuple[str, int | None, dict[str, Any], str]]] = [
    ([A], {}, {}, ("rest", NOW + 20, {}, "")),
    ([A], {}, {"rotate_after": 80}, ("generate", None, {}, "")),
    ([A], {}, {"rotate_now": True}, ("generate", None, {}, "")),
    ([A], {"a": says()}, {}, ("publish", None, {}, "ns1 does not answer for a._domainkey.corp.example. as it should: there is no record")),
    ([A], {"a": [says(A.record)[0], DOWN]}, {"rotate_now": True}, ("blocked", None, {}, "ns2 did not answer")),
    ([P, A], {"p": says()}, {}, ("publish", None, {"settle": 7}, "there is no record")),
    ([P, A], {"p": says(NO_KEY, ttl=300)}, {}, ("publish", None, {"settle": 300}, "the record is another")),
    ([P, A], {"p": says("v=DKIM1; p=", ttl=300)}, {}, ("publish", None, {"settle": 300}, "the record is another")),
    ([P, A], {"p": says(P.record + "; t=y", ttl=300)}, {}, ("publish", None, {"settle": 300}, "the record is another")),
    ([P, A], {"p": says(OTHER, ttl=300)}, {}, ("blocked", None, {"settle": 300}, "what ns1 and ns2 has there is the key of somebody else")),
    ([P, A], {"p": says(OTHER, ttl=300, servers=1)}, {},
     ("blocked", None, {"settle": 300}, "ns1 does not answer for p._domainkey.corp.example. as it should: the record is another; "
      "what ns1 has there is the key of somebody else: have its owner sign with another selector, or this key removed here (dkim_key with state=absent), or "
      "add -e mail_records_replace=true to this run")),
    ([P, A], {"p": says(OTHER, ttl=300)}, {"replace": True}, ("publish", None, {"settle": 300}, "the record is another")),
    ([A], {"a": says(OTHER)}, {}, ("blocked", None, {}, "is the key of somebody else")),
    ([R, A], {"r": says(OTHER)}, {}, ("blocked", None, {}, "is the key of somebody else")),
    ([key("v", "revoked"), A], {"v": says(OTHER)}, {}, ("blocked", None, {"settle": 5}, "is the key of somebody else")),
    ([key("w", "withdrawn"), A], {"w": [Sight("ns1", (OTHER, TEXT))]}, {}, ("blocked", None, {}, "is the key of somebody else")),
    ([key("w", "withdrawn"), A], {"w": [*says(OTHER, servers=1), *says(TEXT)[1:]]}, {},
     ("blocked", None, {"settle": 5}, "what ns1 has there is the key of somebody else")),
    ([key("w", "withdrawn"), A], {"w": says(key_text("w"))}, {}, ("publish", None, {"settle": 5}, "the record is still there")),
    ([key("w", "withdrawn", settle=9, published=NOW - 9), A], {"w": says(OTHER)}, {}, ("remove", None, {}, "")),
    ([key("p", "pending", settle=900), A], {"p": says()}, {}, ("publish", None, {}, "there is no record")),
    ([key("p", "pending", published=5), A], {"p": says()}, {}, ("publish", None, {"settle": 7, "published": None}, "there is no record")),
    ([P, A], {"p": [says(P.record)[0], DOWN]}, {}, ("blocked", None, {}, "ns2 did not answer")),
    ([P, A], {"p": []}, {}, ("blocked", None, {}, "no name server for p._domainkey.corp.example. is known")),
    ([P, A], {}, {}, ("wait", NOW + 11, {"published": NOW + 1}, "resolvers may hold what was there before")),
    ([key("p", "pending", published=NOW - 9), A], {}, {}, ("wait", NOW + 1, {}, "resolvers may hold")),
    ([key("p", "pending", published=NOW - 10), A], {}, {}, ("switch", None, {}, "")),
    ([key("p", "pending", published=NOW - 10, settle=11), A], {}, {}, ("wait", NOW + 1, {}, "resolvers may hold")),
    ([key("p", "pending", published=NOW - 10), A], {"p": says(P.record, negative=11)}, {}, ("wait", NOW + 1, {}, "resolvers may hold")),
    ([key("p", "pending", published=NOW - 99), A], {"p": [*says(P.record), DOWN]}, {}, ("blocked", None, {}, "ns2 did not answer")),
    ([key("p", "pending", published=NOW - 99), A], {"p": [*says(P.record), *says(NO_KEY, servers=1)]}, {},
     ("publish", None, {"settle": 5, "published": None}, "the record is another")),
    ([key("p", "pending", published=NOW - 99), A], {"p": [Sight("ns1", (P.record, NO_KEY))]}, {},
     ("publish", None, {"published": None}, "there are 2 TXT records")),
    ([key("p", "pending", published=NOW - 99), A], {"p": [Sight("ns1", (P.record, OTHER))]}, {},
     ("blocked", None, {"published": None}, "is the key of somebody else")),
    ([key("p", "pending", published=NOW - 99), A], {"p": [Sight("ns1", alias="corp.example.", ttl=60)]}, {},
     ("publish", None, {"settle": 60, "published": None}, "it is a CNAME for corp.example.")),
    ([R, A], {}, {}, ("keep", NOW + 30, {}, "mail that it signed is under way")),
    ([R, A], {"r": says()}, {}, ("publish", None, {}, "there is no record")),
    ([R, A], {"r": [says(R.record)[0], DOWN]}, {}, ("keep", NOW + 30, {}, "under way")),
    ([key("r", "retired", retired=NOW - 50), A], {}, {}, ("revoke", None, {"settle": 3600}, "")),
    ([key("r", "retired", retired=None), A], {}, {}, ("blocked", None, {}, "its manifest does not say when it was retired")),
    ([R], {}, {}, ("blocked", None, {}, "relay1 signs with no other key: activate one")),
    ([key("v", "revoked"), A], {}, {}, ("wait", NOW + 31, {"published": NOW + 1}, "resolvers may hold")),
    ([key("v", "revoked", published=NOW - 30), A], {}, {}, ("withdraw", None, {"settle": 3600}, "")),
    ([key("v", "revoked", published=NOW - 30, settle=31), A], {}, {}, ("wait", NOW + 1, {}, "resolvers may hold")),
    ([key("v", "revoked", published=NOW - 30), A], {"v": says(key_text("v"))}, {},
     ("publish", None, {"settle": 5, "published": None}, "the record is another")),
    ([key("v", "revoked"), A], {"v": says(key_text("v"))}, {}, ("publish", None, {"settle": 5}, "the record is another")),
    ([key("v", "revoked"), A], {"v": [says(TEXT)[0], DOWN]}, {}, ("blocked", None, {}, "ns2 did not answer")),
    ([key("w", "withdrawn"), A], {"w": says(TEXT)}, {}, ("publish", None, {"settle": 5}, "the record is still there")),
    ([key("w", "withdrawn", settle=9), A], {"w": says()}, {}, ("wait", NOW + 10, {"published": NOW + 1}, "resolvers may hold")),
    ([key("w", "withdrawn", settle=9, published=NOW - 9), A], {"w": says("v=spf1 -all")}, {}, ("remove", None, {}, "")),
]  # fmt: skip


@pytest.mark.parametrize(("held", "others", "policy", "expected"), CASES)
def test_one_key(
    held: list[Held],
    others: dict[str, list[Sight]],
    policy: dict[str, Any],
    expected: tuple[str, int | None, dict[str, Any], str],
) -> None:
    step = steps([Signer("relay1", tuple(held))], well(*held, **others), **policy)[0]
    kind, until, note, why = expected
    assert (step.kind, step.until, dict(step.note)) == (kind, until, note)
    assert why in step.why
    assert bool(why) == bool(step.why)


def kinds(found: Sequence[Step]) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(step.selector, step.kind, step.signers) for step in found]


def test_what_was_published_in_this_run_is_blocked_where_it_is_not_seen() -> None:
    seen = well(P, A, p=[says(P.record)[0], says()[1]])
    signers = [Signer("relay1", (P, A))]
    assert steps(signers, seen)[0].kind == "publish"
    tried = frozenset({("p._domainkey.corp.example.", "pending")})
    found = steps(signers, seen, attempted=tried)[0]
    assert (found.kind, found.why) == (
        "blocked",
        "ns2 does not answer for p._domainkey.corp.example. as it should: there is no record",
    )
    assert steps(signers, seen, attempted=frozenset({("p._domainkey.corp.example.", "revoked")}))[0].kind == "publish"


def test_what_is_blocked_ends_the_run() -> None:
    """A note that changes nothing, or one on what is blocked, is no reason to look again."""
    pending, tried = key("p", "pending", settle=7), frozenset({("p._domainkey.corp.example.", "pending")})
    hosts = [Signer("relay1", (pending, A))]
    again = working.work(steps(hosts, well(A, p=says()), attempted=tried), hosts, [Domain(D)])
    assert (again.any, again.again) == (False, False)
    hosts = [Signer("relay1", (A, R), signs={D: ("r",)})]
    late = working.work(steps(hosts, well(A, R)), hosts, [Domain(D)])
    assert (late.any, late.again, list(late.notes)) == (True, False, ["relay1"])
    waiting = working.work(steps([Signer("relay1", (A,))], well(A)), [Signer("relay1", (A,))], [Domain(D)])
    assert (waiting.any, waiting.again) == (False, False)


def test_by_hand_a_server_that_differs_from_the_others_is_told_at_once() -> None:
    signers = [Signer("relay1", (P, A))]
    assert steps(signers, well(P, A, p=says()), by_hand=True)[0].kind == "publish"
    found = steps(signers, well(P, A, p=[says(P.record)[0], says()[1]]), by_hand=True)[0]
    assert (found.kind, found.why[:3]) == ("blocked", "ns2")


def test_one_rotation_at_a_time() -> None:
    found = steps([Signer("relay1", (R, A))], well(R, A), rotate_now=True)
    assert kinds(found) == [("r", "keep", ()), ("a", "rest", ())]
    found = steps([Signer("relay1", (key("v", "revoked"), A))], well(key("v", "revoked"), A), rotate_now=True)
    assert kinds(found) == [("v", "wait", ()), ("a", "generate", ("relay1",))]


def shared(*keys: Sequence[Held], **more: Any) -> list[Signer]:
    return [Signer(f"relay{n}", tuple(held), share="both", **more) for n, held in enumerate(keys, 1)]


VISIBLE = key("p", "pending", published=NOW - 99)


def test_shared_keys_are_made_once_and_brought_to_all() -> None:
    assert kinds(steps(shared([A], [A]), well(A), rotate_now=True)) == [("a", "generate", ("relay1",))]
    found = steps(shared([A, P], [A]), well(A, P, p=says()))
    assert kinds(found)[1] == ("p", "bring", ("relay2",))
    assert kinds(steps(shared([A, P], [A, P]), well(A, P, p=says())))[1] == ("p", "publish", ())
    assert kinds(steps(shared([A, VISIBLE], [A, VISIBLE]), well(A, P)))[1] == ("p", "switch", ("relay1", "relay2"))


def test_a_wait_that_one_holder_does_not_know_of_begins_anew() -> None:
    """A run that found the record gone ended after it had noted that on the first."""
    told, untold = [A, VISIBLE], [A, replace(VISIBLE, published=None)]
    assert kinds(steps(shared(told, told), well(A, P)))[1][1] == "switch"
    for holders in ((told, untold), (untold, told)):
        found = steps(shared(*holders), well(A, P))[1]
        assert (found.kind, dict(found.note)) == ("wait", {"published": NOW + 1})


def test_a_shared_key_is_kept_until_the_last_has_switched() -> None:
    new, old = key("n"), key("o", "retired", retired=NOW - 60)
    late = [key("n", "pending", published=NOW - 99), key("o")]
    assert kinds(steps(shared([new, old], late), well(new, key("o")))) == [
        ("n", "switch", ("relay2",)),
        ("o", "rest", ()),
    ]
    last = key("o", "retired", retired=NOW - 40)
    assert [(step.kind, step.until) for step in steps(shared([new, old], [new, last]), well(new, old))][1] == (
        "keep",
        NOW + 10,
    )
    both = steps(shared([new, old], [new, old]), well(new, old))
    assert kinds(both)[1] == ("o", "revoke", ("relay1", "relay2"))
    half = steps(shared([new, key("o", "revoked")], [new, old]), well(new, old))
    assert kinds(half)[1] == ("o", "revoke", ("relay2",))


def test_the_longest_queue_counts() -> None:
    old = key("o", "retired", retired=NOW - 60)
    assert steps([Signer("relay1", (A, old), queue_lifetime=11)], well(A, old))[1].until == NOW + 1
    # What smarthosts and receivers keep begins when the last message leaves the relay's own queue.
    assert steps([Signer("relay1", (A, old), queue_lifetime=11)], well(A, old), keep=49)[1].kind == "revoke"
    late = working.signers([{"name": "relay1", "queue_lifetimes": ["5d", "4d"], "last_attempt": "2h"}], now=NOW)
    assert late[0].queue_lifetime == 5 * DAY + 7200


def test_clocks() -> None:
    """A time in the future would be waited for without a word; who has the right time, nobody knows."""
    for state, what in (
        ("pending", "published"),
        ("retired", "retired"),
        ("revoked", "revoked"),
        ("withdrawn", "withdrawn"),
    ):
        soon, later = key("k", state, **{what: NOW + 300}), key("k", state, **{what: NOW + 301})
        assert steps([Signer("relay1", (soon, A))], well(soon, A))[0].kind != "blocked"
        found = steps([Signer("relay1", (later, A))], well(later, A))
        assert [(step.kind, step.why) for step in found] == [("blocked", (
            f"the manifest of relay1 has a time in the future, {what} of k: set this machine's clock, or if that is right, mend the time there"
        ))]  # fmt: skip
    for ahead, said in ((301, "301 seconds ahead of"), (-301, "301 seconds behind")):
        found = steps([Signer("relay1", (A,), ahead=ahead)], well(A), rotate_now=True)
        assert [(step.kind, step.why) for step in found] == [("blocked", (
            f"the clock of relay1 is {said} this machine's, and nobody knows which is right: set both (NTP), and run this again"
        ))]  # fmt: skip
        assert steps([Signer("relay1", (A,), ahead=ahead // 301 * 300)], well(A), rotate_now=True)[0].kind == "generate"
    told = working.signers([{"name": "relay1", "time": working.show_time(NOW + 7)}, {"name": "relay2"}], now=NOW)
    assert [signer.ahead for signer in told] == [7, 0]


BLOCKED = [
    ([Signer("relay1", (A,)), Signer("relay2", (A,))], "relay1 and relay2 hold the same key a: give them the same mail_dkim_share, or keys of their own"),
    ([Signer("relay1", (A,), share="x"), Signer("relay2", share="x", reached=False)],
     "relay2 could not be reached, so it is not known with what it signs: run this again"),
    ([Signer("relay1", (A, R), share="x"), Signer("relay2", share="x", reached=False, left_out=True)],
     "relay2 has its keys in common with relay1 and is left out of this run, so it is not known with what it signs: "
     "run this without --limit and rotate_hosts"),
    ([Signer("relay2", reached=False)], "relay2 could not be reached, so it is not known with what it signs: run this again"),
    ([Signer("relay1", (A,), share="x"), Signer("relay2", share="x")], "relay2 holds no active key of corp.example: run postmaster.mail.relay for it"),
    ([Signer("relay1", (A, P), share="x"), Signer("relay2", (A, key("q", "pending")), share="x")],
     "p and q both are to be the next key: remove one (dkim_key with state=absent)"),
    ([Signer("relay1", (A,), signs={D: ("b",)})], "relay1 does not sign with it: run postmaster.mail.relay"),
    ([Signer("relay1", (A,), signs={}, silence=" (it is down)")], "relay1 does not sign with it (it is down): run postmaster.mail.relay"),
]  # fmt: skip


@pytest.mark.parametrize(("signers", "why"), BLOCKED)
def test_blocked(signers: list[Signer], why: str) -> None:
    found = steps(signers, well(A, P), rotate_now=True)[0]
    assert (found.kind, found.why) == ("blocked", why)


def test_a_relay_that_is_left_out_holds_up_only_those_that_share_with_it() -> None:
    old = key("o", "retired", retired=NOW - 99)
    out = Signer("relay2", reached=False, left_out=True)
    alone = [Signer("relay1", (A, old), share="x"), out]
    assert kinds(steps([Signer("relay1", (A,)), out], well(A), rotate_now=True)) == [("a", "generate", ("relay1",))]
    # It may hold a copy of the old key.
    kept = steps(alone, well(A, old))[1]
    assert (kept.kind, kept.until, kept.why) == ("keep", None, "relay2 was not asked whether it signs with it")
    assert working.table([kept])[1].endswith("  revoke  -")
    assert kinds(steps(alone[:1], well(A, old)))[1] == ("o", "revoke", ("relay1",))
    assert kinds(steps([alone[0], replace(out, share="x")], well(A, old))) == [("", "blocked", ("relay1", "relay2"))]
    # Its selectors count all the same, and nobody knows which they are.
    turn = Domain(D, selectors=("a", "b"))
    assert kinds(steps([Signer("relay1", (A,))], well(A), turn, rotate_now=True)) == [("a", "generate", ("relay1",))]
    assert kinds(steps([Signer("relay1", (A,)), out], well(A), turn, rotate_now=True)) == [("a", "blocked", ())]


def test_opendkim_and_ed25519() -> None:
    ed = key("e", algorithm="ed25519")
    signer = Signer("relay2", (A, ed), algorithms=("rsa",), program="OpenDKIM")
    found = steps([signer], well(A, ed), Domain(D, algorithms=("rsa", "ed25519")), rotate_now=True)
    assert [step.kind for step in found] == ["generate", "blocked"]
    assert found[1].why == (
        "OpenDKIM on relay2 cannot sign with Ed25519: take another signer there (relay_signer), or take ed25519 out of "
        "dkim.algorithms of corp.example"
    )
    able = steps(
        [replace(signer, algorithms=("rsa", "ed25519"))],
        well(A, ed),
        Domain(D, algorithms=("rsa", "ed25519")),
        rotate_now=True,
    )
    assert [(step.kind, step.algorithm) for step in able] == [("generate", "rsa"), ("generate", "ed25519")]
    assert steps([Signer("relay1", (A, ed))], well(A, ed), rotate_now=True)[1].kind == "rest"


def test_a_signer_that_went_back_to_the_old_key_keeps_it_published() -> None:
    old = key("o", "retired", retired=NOW - 60)
    found = steps([Signer("relay1", (A, old), signs={D: ("o",)})], well(A, old))
    assert [(step.kind, dict(step.note)) for step in found] == [("blocked", {}), ("blocked", {"retired": NOW + 1})]
    cut_short = [key("o"), VISIBLE]
    found = steps([Signer("relay1", tuple(cut_short), signs={D: ("p",)})], well(*cut_short))
    assert [step.kind for step in found] == ["rest", "switch"]


DELEGATED = Domain(D, selectors=("s1", "s2"), target="{selector}.{dashed}.dkim.host.example", ttl=60)


def test_selectors_that_are_aliases() -> None:
    s1 = key("s1")
    name, owner = "s1._domainkey.corp.example.", "s1.corp-example.dkim.host.example."
    alias = [Sight("ns1", alias=owner, ttl=60, negative=8)]
    others = ["s2._domainkey.corp.example.", "s2.corp-example.dkim.host.example."]
    assert rotation.names([Signer("relay1", (s1,))], [DELEGATED]) == [name, owner, *others]
    sound = {name: alias, owner: says(s1.record)}
    found = steps([Signer("relay1", (s1,))], sound, DELEGATED, rotate_now=True)
    assert [(step.kind, step.chosen) for step in found] == [("generate", "s2")]
    found = steps([Signer("relay1", (s1,))], {**sound, name: [Sight("ns1", negative=8)]}, DELEGATED)
    assert (found[0].kind, found[0].why) == (
        "blocked",
        f"ns1 has no CNAME for {name} that leads to {owner}: publish it there",
    )
    waiting = [key("s1", "pending", published=NOW - 10), A]
    found = steps(
        [Signer("relay1", tuple(waiting))], {**sound, name: [replace(alias[0], ttl=5, negative=20)]}, DELEGATED
    )
    assert (found[0].kind, found[0].until) == ("wait", NOW + 10)


def test_an_alias_that_is_not_right_is_waited_for_anew() -> None:
    pending, old = key("s2", "pending", published=NOW - 99), key("s1")
    name, owner = "s2._domainkey.corp.example.", "s2.corp-example.dkim.host.example."

    def step(sight: Sight, held: Held = pending) -> tuple[str, int | None, dict[str, Any]]:
        seen = {name: [sight], owner: says(held.record)}
        found = steps([Signer("relay1", (held, old))], seen, DELEGATED)[0]
        return found.kind, found.until, dict(found.note)

    assert step(Sight("ns1", alias=owner, ttl=60)) == ("switch", None, {})
    assert step(Sight("ns1", ttl=3 * DAY)) == ("blocked", None, {"settle": 3 * DAY, "published": None})
    elsewhere = step(Sight("ns1", alias="elsewhere.example.", ttl=2 * DAY))
    assert elsewhere == ("blocked", None, {"settle": 2 * DAY, "published": None})
    back = replace(pending, settle=2 * DAY, published=None)
    assert step(Sight("ns1", alias=owner, ttl=60), back) == ("wait", NOW + 1 + 2 * DAY, {"published": NOW + 1})
    assert step(Sight("ns1", problem="ns1 is down")) == ("blocked", None, {})
    # What was there before anybody looked had, as far as can be known, the TTL of what is there.
    first = step(Sight("ns1", alias=owner, ttl=60), replace(pending, published=None))
    assert first == ("wait", NOW + 61, {"published": NOW + 1})


def test_a_selector_that_somebody_else_uses_is_left_out() -> None:
    turn = Domain(D, selectors=("s1", "s2", "s3"))
    found = steps(
        [Signer("relay1", (key("s1"),))], well(key("s1"), s2=[*says(), *says(OTHER, servers=1)]), turn, rotate_now=True
    )
    assert (found[0].kind, found[0].chosen) == ("generate", "s3")
    free = steps(
        [Signer("relay1", (key("s1"),))], well(key("s1"), s2=says(TEXT), s3=says(NO_KEY)), turn, rotate_now=True
    )
    assert (free[0].kind, free[0].chosen) == ("generate", "s2")


def test_selectors_in_turn() -> None:
    turn = Domain(D, selectors=("s1", "s2"))
    both = [key("s1"), key("s2", "revoked")]
    found = steps([Signer("relay1", tuple(both))], well(*both), turn, rotate_now=True)[0]
    assert (
        found.why
        == "all of dkim.selectors (s1, s2) may be in use: add one, or wait, and see that all hosts are reached"
    )
    apart = [Signer("relay1", (key("s1"),)), Signer("relay2", (key("x"),))]
    three = Domain(D, selectors=("s1", "s2", "s3"))
    assert [step.chosen for step in steps(apart, well(key("s1"), key("x")), three, rotate_now=True)] == ["s2", "s3"]
    away = [Signer("relay1", (key("s1"),)), Signer("relay2", reached=False)]
    assert steps(away, well(key("s1")), three, rotate_now=True)[0].kind == "blocked"


def test_one_key_for_all_domains() -> None:
    """Made once, brought to the other domains where it lies, and used when it can be seen at all of them."""
    domains = [Domain("a.example"), Domain("b.example")]

    def gate(*held: Held, one_key: bool = True) -> Signer:
        return Signer(
            "gate",
            tuple(replace(one, domain=domain.name, path=f"/k/{domain.name}") for domain in domains for one in held),
            one_key=one_key,
        )

    def planned(signer: Signer, seen: set[str] | None = None, **policy: Any) -> list[Step]:
        names = {
            f"{one.selector}._domainkey.{one.domain}.": says(one.record)
            for one in signer.keys
            if seen is None or one.domain in seen
        }
        every = {name: names.get(name, says()) for name in rotation.names([signer], domains)}
        return rotation.plan([signer], domains, every, now=NOW, policy=replace(POLICY, **policy))

    assert [step.kind for step in planned(gate(A, one_key=False), rotate_now=True)] == ["generate", "generate"]
    assert [step.kind for step in planned(gate(A), rotate_now=True)] == ["generate", "rest"]
    made = gate(A)
    made = replace(made, keys=(*made.keys, replace(VISIBLE, domain="a.example", path="/k/p")))
    found = planned(made)
    assert [(step.domain, step.selector, step.kind) for step in found] == [
        ("a.example", "a", "rest"), ("a.example", "p", "wait"), ("b.example", "p", "bring"),
    ]  # fmt: skip
    assert found[1].why == "b.example is not ready for the same key"
    item = {"domain": "b.example", "selector": "p"}
    assert working.work(found, [made], domains).bring == {
        "gate": [{**item, "listed": {**item, "algorithm": "rsa"}, "source": "gate", "path": "/k/p"}]
    }
    both = gate(A, VISIBLE)
    assert [step.kind for step in planned(both, {"a.example"}) if step.selector == "p"] == ["wait", "publish"]
    switching = planned(both)
    assert [step.kind for step in switching if step.selector == "p"] == ["switch", "switch"]
    assert [key["domain"] for key in working.work(switching, [both], domains).signing["gate"]] == [
        "a.example",
        "b.example",
    ]


# Between plan and playbook


@pytest.mark.parametrize(
    ("text", "expected"), [("14d", 14 * DAY), ("30", 30), (5, 5), ("2h", 7200), ("1w", 7 * DAY), ("0s", 0)]
)
def test_durations(text: object, expected: int) -> None:
    assert working.seconds(text, "keep") == expected


@pytest.mark.parametrize("text", ["", "d", "1.5h", "-1s", "5 days", None])
def test_bad_durations(text: object) -> None:
    with pytest.raises(working.InputError, match=r"^keep '.*' is no duration such as 14d, 12h or 30s$"):
        working.seconds(text, "keep")


BAD_DOMAINS = [
    ({"name": "x"}, "mail_domains: 'x' at character 1: a signing domain has at least two labels (RFC 6376 section 3.5)"),
    ({"name": D, "dkim": ["rsa"]}, "dkim of corp.example must be a mapping as {algorithms: [rsa]}, not ['rsa']"),
    ({"name": D, "dkim": {"algorithms": ["dsa"]}}, "dkim.algorithms of corp.example: 'dsa' is none of rsa, ed25519"),
    ({"name": D, "dkim": {"target": "{x}", "selectors": ["a"]}}, "dkim.target of corp.example: write {selector} and {domain}, nothing else in braces"),
    ({"name": D, "dkim": {"target": "a.example"}}, "dkim.target of corp.example needs dkim.selectors, the selectors that are CNAMEs"),
]  # fmt: skip


@pytest.mark.parametrize(("item", "message"), BAD_DOMAINS)
def test_bad_domains(item: dict[str, Any], message: str) -> None:
    with pytest.raises(working.InputError) as caught:
        working.domains([item])
    assert str(caught.value) == message


def told(selector: str, state: str, **more: Any) -> dict[str, Any]:
    """A key as dkim_key returns it."""
    record = None if state == "withdrawn" else {"value": f"v=DKIM1; k=test; p={selector}"}
    times = {
        "created": "2026-11-01T00:00:00Z",
        "activated": "",
        "retired": "",
        "revoked": "",
        "withdrawn": "",
        "published": "",
    }
    return {
        "domain": D,
        "selector": selector,
        "algorithm": "rsa",
        "state": state,
        "path": f"/k/{selector}",
        "record": record,
        **times,
        **more,
    }


def test_what_comes_in() -> None:
    keys = [told("a", "active", settle=7), {**told("b", "active"), "record": None}, told("w", "withdrawn")]
    signed = [{"domain": D, "selectors": ["a"], "problem": ""}]
    signer = working.signers(
        [{"name": "relay1", "keys": keys, "queue_lifetimes": ["5d", "6d"], "signed": signed}], now=NOW
    )[0]
    assert [(held.selector, held.created, held.settle, held.record[-3:]) for held in signer.keys] == [
        ("a", 1793491200, 7, "p=a"), ("w", 1793491200, 0, ""),
    ]  # fmt: skip
    assert (signer.queue_lifetime, signer.signs, signer.share) == (6 * DAY, {D: ("a",)}, "")
    with pytest.raises(working.InputError, match="the key a of corp.example on relay1: 'soon' is no time such as"):
        working.signers([{"name": "relay1", "keys": [told("a", "active", created="soon")]}], now=NOW)


def test_what_goes_out() -> None:
    old, visible = replace(A, path="/k/a"), replace(VISIBLE, path="/k/p")
    hosts = shared([old, visible], [old, visible])
    found = steps(hosts, well(A, P))
    work = working.work(found, hosts, [Domain(D)])
    item = {"domain": D, "selector": "p"}
    assert work.activate == {"relay1": [item], "relay2": [item]}
    assert work.signing["relay2"] == [{**item, "algorithm": "rsa", "path": "/k/p"}]
    assert work.current["relay2"] == [{"domain": D, "selector": "a", "algorithm": "rsa", "path": "/k/a"}]
    assert work.proof["relay2"] == [{**item, "record": P.record}]
    assert (work.any, work.blocked) == (True, [])


def test_what_is_published_and_noted() -> None:
    hosts = shared([A, P], [A, P])
    gone = key("w", "withdrawn")
    hosts = [replace(hosts[0], keys=(*hosts[0].keys, gone)), hosts[1]]
    found = steps(hosts, well(A, P, p=says(), w=says(TEXT)))
    work = working.work(found, hosts, [Domain(D, ttl=60)])
    assert work.publish == [
        {"name": "p._domainkey.corp.example.", "type": "TXT", "ttl": 60, "value": P.record, "state": "present"},
        {"name": "w._domainkey.corp.example.", "type": "TXT", "ttl": 60, "state": "absent"},
    ]
    assert work.attempted == [["p._domainkey.corp.example.", "pending"], ["w._domainkey.corp.example.", "withdrawn"]]
    assert work.notes == {
        "relay1": [{"domain": D, "selector": "p", "settle": 7}, {"domain": D, "selector": "w", "settle": 5}],
        "relay2": [{"domain": D, "selector": "p", "settle": 7}],
    }


def test_the_other_work() -> None:
    hosts = shared([A], [A])
    domain = Domain(D, bits=4096)
    assert working.work(steps(hosts, well(A), domain, rotate_now=True), hosts, [domain]).make == {
        "relay1": [{"domain": D, "algorithm": "rsa", "bits": 4096}]
    }
    hosts = shared([A, replace(P, path="/k/p")], [A])
    brought = working.work(steps(hosts, well(A, P)), hosts, [domain]).bring
    listed = {"domain": D, "selector": "p", "algorithm": "rsa"}
    assert brought == {"relay2": [{"domain": D, "selector": "p", "listed": listed, "source": "relay1", "path": "/k/p"}]}
    old = key("o", "retired", retired=NOW - 60)
    hosts = [Signer("relay1", (A, old))]
    assert working.work(steps(hosts, well(A, old)), hosts, [domain]).revoke == {
        "relay1": [{"domain": D, "selector": "o", "settle": 3600}]
    }
    blocked = working.work(
        steps([Signer("relay1", reached=False)], {}), [Signer("relay1", reached=False)], [Domain(D)]
    ).blocked
    assert blocked == [
        "corp.example rsa: relay1 could not be reached, so it is not known with what it signs: run this again"
    ]


def test_the_table() -> None:
    held = [A, VISIBLE, key("v", "revoked"), R]
    assert working.table(steps([Signer("relay1", tuple(held))], well(*held))) == [
        "domain        selector  state    since                 on      next      when",
        "corp.example  a         active   1970-01-12T13:45:20Z  relay1  -         -",
        "corp.example  p         pending  1970-01-12T13:45:40Z  relay1  sign      now",
        "corp.example  v         revoked  1970-01-12T13:46:35Z  relay1  withdraw  1970-01-12T13:47:11Z",
        "corp.example  r         retired  1970-01-12T13:46:20Z  relay1  revoke    1970-01-12T13:47:10Z",
    ]


# What name servers say


class FakeServer:
    """A name server with scripted answers; an error instead of them when it is down."""

    recursive = False

    def __init__(self, label: str, answers: dict[tuple[str, str], Answer], error: Exception | None = None) -> None:
        self.label, self.given, self.error = label, answers, error

    def answers(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Answer]:
        if self.error is not None:
            raise self.error
        return {one: self.given.get(one, Answer()) for one in keys}


class FakeDirectory:
    def __init__(self, servers: dict[str, Any]) -> None:
        self.servers = servers

    def of(self, names: Sequence[str]) -> dict[str, Any]:
        return {name: self.servers[name] for name in names}

    def close(self) -> None:
        pass


def test_look() -> None:
    zone, a, b = "corp.example.", "a._domainkey.corp.example.", "b._domainkey.corp.example."
    soa = Answer(RRset(zone, "SOA", 60, ("ns1. host. 1 2 3 4 5",)))
    text = Answer(RRset(a, "TXT", 30, ('"v=DKIM1; " "p=a"',)))
    alias = {(b, "TXT"): Answer(alias="t.example."), (b, "CNAME"): Answer(RRset(b, "CNAME", 40, ("t.example.",)))}
    one = NameServer(FakeServer("ns1 (1)", {(zone, "SOA"): soa, (a, "TXT"): text, **alias}), "ns1", zone)  # type: ignore[arg-type]
    two = NameServer(FakeServer("ns1 (::1)", {}, DnsNoRoute("no way")), "ns1", zone)  # type: ignore[arg-type]
    three = NameServer(FakeServer("ns2", {}, DnsNoRoute("no way to ns2")), "ns2", zone)  # type: ignore[arg-type]
    lost = "c._domainkey.lost.example."
    servers = {a: [one, two, three], b: [one], lost: DnsTimeout("nobody knows lost.example")}
    seen = look(FakeDirectory(servers), list(servers))  # type: ignore[arg-type]
    assert seen == {
        a: [Sight("ns1 (1)", ("v=DKIM1; p=a",), ttl=30, negative=5), Sight("ns2", problem="no way to ns2")],
        b: [Sight("ns1 (1)", alias="t.example.", ttl=40, negative=5)],
        lost: [Sight(lost, problem="nobody knows lost.example")],
    }
    none = NameServer(FakeServer("ns1", {(zone, "SOA"): soa}), "ns1", zone)  # type: ignore[arg-type]
    assert look(FakeDirectory({a: [none]}), [a])[a] == [Sight("ns1", ttl=5, negative=5)]  # type: ignore[arg-type]


# The module and the filters


def test_the_module_waits_for_what_was_published(monkeypatch: pytest.MonkeyPatch) -> None:
    pending = told("p", "pending")
    views = [says(), says(), says(pending["record"]["value"])]
    seen: list[int] = []

    def scripted(dummy: object, names: Sequence[str]) -> dict[str, list[Sight]]:
        seen.append(1)
        return {name: views[len(seen) - 1] for name in names}

    monkeypatch.setattr(module, "look", scripted)
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    params = {
        "signers": [{"name": "relay1", "keys": [pending]}], "domains": [{"name": D}], "rotate_after": "180d", "rotate_now": False,
        "replace": False, "settle": "1d", "keep": "14d", "revoked": "30d", "attempted": [["p._domainkey.corp.example.", "pending"]], "wait": 60.0,
        "primary": "192.0.2.1@5353", "port": 53, "resolver": None, "timeout": 1.0,
    }  # fmt: skip
    result = module.run(params)
    assert (len(seen), [step["kind"] for step in result["steps"]], result["due"]) == (3, ["wait"], True)
    with pytest.raises(working.InputError, match="domains describes a domain twice: merge the entries"):
        module.run({**params, "domains": [{"name": D}, {"name": D}]})


def test_signers_from_host_variables() -> None:
    facts = {"program": "rspamd", "algorithms": ["rsa"], "queue_lifetimes": ["5d"], "directory": "/k"}
    variables = {
        "relay1": {"rotate_dkim_keys": {"keys": [1]}, "signer_facts": facts, "signer_signed": []},
        "relay2": {"mail_dkim_share": "both"},
    }
    common = {"program": "rspamd", "algorithms": ["rsa"], "queue_lifetimes": ["5d"]}
    assert rotation_signers(["relay1", "relay2"], variables, ["relay1", "relay2"]) == [
        {"name": "relay1", "keys": [1], "signed": [], **common},
        {"name": "relay2", "share": "both", "reached": False},
    ]
    assert rotation_signers(["relay1"], variables, [])[0]["reached"] is False
    told = rotation_signers(["relay1", "relay2"], variables, ["relay1"], play=["relay1"])
    assert told[0] == {"name": "relay1", "keys": [1], "signed": [], **common}
    assert told[1] == {"name": "relay2", "share": "both", "reached": False, "left_out": True}


def test_shared_keys() -> None:
    there = [told("a", "active"), told("r", "retired"), {**told("e", "active"), "algorithm": "ed25519"}]
    here = [told("h", "active"), {**told("x", "active"), "algorithm": "ed25519", "record": None}]
    assert [item["listed"] for item in shared_keys(there, here, "relay1")] == [
        {"domain": D, "selector": "e", "algorithm": "ed25519"}
    ]
    with pytest.raises(AnsibleFilterError, match="shared_keys takes the keys that dkim_key returns"):
        shared_keys([{}], [{}], "relay1")


def test_the_playbook_keeps_the_order_of_each_step() -> None:
    """The tasks that a step is made of stand in the order that the model has proven."""
    with open("playbooks/tasks/rotate_steps.yml", encoding="utf-8") as handle:
        names = [task["name"] for task in yaml.safe_load(handle)]
    with open("playbooks/tasks/rotate_switch.yml", encoding="utf-8") as handle:
        inner = [task["name"] for task in yaml.safe_load(handle)[0]["block"]]
    place = {name: number for number, name in enumerate(names)}
    assert rotation.ORDER["publish"] == ("note", "update")
    assert place["Note what the name servers say"] < place["Publish"] < place["Sign with the next keys"]
    assert rotation.ORDER["switch"] == ("note", "sign", "prove", "activate")
    assert inner == ["Switch", "Have messages signed", "Verify them", "Retire the keys from before"]
