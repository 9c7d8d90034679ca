# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a domain's keys go from state to state."""

from __future__ import annotations

import json
from itertools import islice

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _dkim_plan as plan
from ansible_collections.postmaster.mail.plugins.module_utils._dkim_plan import (
    Entry,
    Found,
    Manifest,
    ManifestError,
    PlanError,
    Step,
    Want,
)
from hypothesis import given
from hypothesis import strategies as st

NOW = "2026-11-20T11:00:00Z"
EARLIER = "2026-10-01T00:00:00Z"
D = "corp.example"


def manifest(text: str, used: str = "") -> Manifest:
    """A manifest from words such as ``mail:active`` or ``ed:pending:ed25519``."""
    keys = []
    for word in text.split():
        selector, state, *rest = word.split(":")
        keys.append(Entry(selector, rest[0] if rest else "rsa", state, created=EARLIER))
    return Manifest(D, tuple(keys), tuple(used.split()))


def shape(given: Manifest) -> str:
    """The reverse of :func:`manifest`."""
    return " ".join(
        f"{key.selector}:{key.state}" + (":ed25519" if key.algorithm == "ed25519" else "") for key in given.keys
    )


def files(*found: Found) -> dict[str, Found]:
    return {one.selector: one for one in found}


OLD = Found("mail", "rsa", 2048, EARLIER)
OURS = Found("rsa-202611", "rsa", 2048, EARLIER)
ED = Found("ed", "ed25519", 256, EARLIER)
FAR = Found("mail", "rsa", 2048, EARLIER, "/x/mail.private")
GARBAGE = Found("rsa-202611", problem="the file x is no private key in PEM")

# (transition, manifest, want, files found, manifest afterwards, key it is about, made)
TRANSITIONS = [
    ("present", "", Want(D), {}, "rsa-202611:active", "rsa-202611", True),
    ("present", "", Want(D, algorithm="ed25519"), {}, "ed25519-202611:active:ed25519", "ed25519-202611", True),
    ("present", "", Want(D, "s1"), {}, "s1:active", "s1", True),
    ("present", "mail:active", Want(D), {}, "mail:active", "mail", False),
    ("present", "mail:active", Want(D, "mail"), {}, "mail:active", "mail", False),
    ("present", "mail:active", Want(D, "s1"), {}, "mail:active s1:pending", "s1", True),
    ("present", "mail:active", Want(D, algorithm="ed25519"), {}, "mail:active ed25519-202611:active:ed25519", "ed25519-202611", True),
    ("present", "mail:active old:retired", Want(D, "old"), {}, "mail:active old:retired", "old", False),
    ("present", "next:pending", Want(D), {}, "next:active", "next", False),
    ("present", "", Want(D), files(OURS), "rsa-202611:active", "rsa-202611", False),
    ("present", "", Want(D, bits=4096), files(OURS), "rsa-202611a:active", "rsa-202611a", True),
    ("present", "", Want(D), files(GARBAGE), "rsa-202611a:active", "rsa-202611a", True),
    ("present", "", Want(D, "mail", path="/x/mail.private"), files(FAR), "mail:active", "mail", False),
    ("present", "e1:active:ed25519", Want(D, "ed"), files(ED), "e1:active:ed25519 ed:pending:ed25519", "ed", False),
    ("rotated", "mail:active", Want(D), {}, "mail:active rsa-202611:pending", "rsa-202611", True),
    ("present", "", Want(D, selectors=("s1", "s2")), {}, "s1:active", "s1", True),
    ("present", "s2:active", Want(D, selectors=("s1", "s2")), {}, "s2:active", "s2", False),
    ("rotated", "s1:active", Want(D, selectors=("s1", "s2")), {}, "s1:active s2:pending", "s2", True),
    ("rotated", "mail:active", Want(D, "s2"), {}, "mail:active s2:pending", "s2", True),
    ("rotated", "mail:active", Want(D), files(OURS), "mail:active rsa-202611:pending", "rsa-202611", False),
    ("rotated", "rsa-202611:active", Want(D), {}, "rsa-202611:active rsa-202611a:pending", "rsa-202611a", True),
    ("rotated", "mail:active s2:pending", Want(D), {}, "mail:active s2:pending", "s2", False),
    ("rotated", "mail:active s2:pending", Want(D, "s2"), {}, "mail:active s2:pending", "s2", False),
    ("rotated", "mail:active s2:pending", Want(D, "s3"), {}, "mail:active s2:pending", "s2", False),
    ("rotated", "mail:active", Want(D, algorithm="ed25519"), {}, "mail:active ed25519-202611:pending:ed25519", "ed25519-202611", True),
    ("rotated", "", Want(D), {}, "rsa-202611:pending", "rsa-202611", True),
    ("activated", "mail:active s2:pending", Want(D), {}, "mail:retired s2:active", "s2", False),
    ("activated", "mail:active s2:pending", Want(D, "s2"), {}, "mail:retired s2:active", "s2", False),
    ("activated", "mail:active", Want(D), {}, "mail:active", "mail", False),
    ("activated", "s2:pending", Want(D), {}, "s2:active", "s2", False),
    ("activated", "mail:retired s2:active", Want(D, "mail"), {}, "mail:active s2:retired", "mail", False),
    ("activated", "m:active s:pending e:active:ed25519", Want(D), {}, "m:retired s:active e:active:ed25519", "s", False),
    ("revoked", "mail:retired s2:active", Want(D, "mail"), {}, "mail:revoked s2:active", "mail", False),
    ("revoked", "mail:withdrawn", Want(D, "mail"), {}, "mail:withdrawn", "mail", False),
    ("revoked by force", "mail:active s2:pending", Want(D, "mail"), {}, "mail:revoked s2:pending", "mail", False),
    ("withdrawn", "mail:revoked s2:active", Want(D, "mail"), {}, "mail:withdrawn s2:active", "mail", False),
    ("present", "mail:active", Want(D, "mail", published=NOW, settle=60), {}, "mail:active", "mail", False),
    ("present", "mail:active a:revoked b:revoked", Want(D), {}, "mail:active a:revoked b:revoked", "mail", False),
    ("absent", "mail:withdrawn s2:active", Want(D, "mail"), {}, "s2:active", None, False),
    ("absent", "mail:retired s2:active", Want(D, "mail"), {}, "s2:active", None, False),
    ("absent", "mail:active s2:pending", Want(D, "s2"), {}, "mail:active", None, False),
    ("absent", "mail:active", Want(D, "gone"), {}, "mail:active", None, False),
    ("absent", "", Want(D), {}, "", None, False),
    ("forced", "mail:active", Want(D, "mail"), {}, "", None, False),
    ("forced", "m:active e:active:ed25519", Want(D), {}, "", None, False),
    ("forced", "m:active e:active:ed25519", Want(D, algorithm="rsa"), {}, "e:active:ed25519", None, False),
]  # fmt: skip


def go(name: str, before: Manifest, want: Want, found: dict[str, Found]) -> Step:
    if name in ("absent", "forced"):
        return plan.absent(before, want, force=name == "forced", found=found)
    if name == "activated":
        return plan.activated(before, want, now=NOW)
    if name.startswith("revoked"):
        return plan.revoked(before, want, now=NOW, force=name.endswith("force"))
    if name == "withdrawn":
        return plan.withdrawn(before, want, now=NOW)
    return getattr(plan, name)(before, want, now=NOW, found=found)


@pytest.mark.parametrize(("name", "before", "want", "found", "after", "key", "made"), TRANSITIONS)
def test_transitions(name, before, want, found, after, key, made) -> None:
    step = go(name, manifest(before), want, found)
    assert shape(step.after) == after
    assert (step.key.selector if step.key else None) == key
    assert step.make == made
    again = go(name, step.after, want, {})
    assert (again.after, again.make, again.remove) == (step.after, False, ())


REFUSED = [
    ("present", "mail:active s2:pending", Want(D, "s3"), {}, "corp.example already has the pending rsa key s2: activate or remove it before s3 is made"),
    ("present", "mail:active", Want(D, "mail", "ed25519"), {}, "the key mail of corp.example is rsa, not ed25519: choose another selector"),
    ("present", "", Want(D, "mail", "ed25519"), files(OLD), "the key mail of corp.example is rsa, not ed25519: choose another selector"),
    ("present", "", Want(D, "rsa-202611"), files(GARBAGE), "the file x is no private key in PEM"),
    ("present", "mail:active", Want(D, "mail", path="/x/m"), {}, "the key mail of corp.example lies in the key directory, not at /x/m"),
    ("rotated", "mail:active", Want(D, "mail"), {}, "mail of corp.example is the selector of its active key: the next key needs a selector of its own"),
    ("activated", "", Want(D), {}, "corp.example has no rsa key to activate: make one with state=present or rotated"),
    ("activated", "mail:active", Want(D, "s9"), {}, "corp.example has no key s9 to activate"),
    ("activated", "mail:revoked", Want(D, "mail"), {}, "mail of corp.example is revoked, no receiver takes it: make a new key"),
    ("revoked", "mail:active", Want(D, "mail"), {}, "mail is the active key of corp.example: activate another key first, or say force=true"),
    ("revoked", "mail:pending", Want(D, "mail"), {}, "mail is the pending key of corp.example: activate another key first, or say force=true"),
    ("revoked", "mail:retired", Want(D), {}, "name by its selector which key of corp.example comes to its end"),
    ("withdrawn", "mail:retired", Want(D, "mail"), {}, "mail of corp.example is retired: revoke it before it is withdrawn"),
    ("withdrawn", "mail:retired", Want(D, "s2"), {}, "corp.example has no key s2"),
    ("present", "mail:active", Want(D, "s2", settle=1), {}, "corp.example has no key 's2' of which anything could be noted"),
    ("absent", "mail:active", Want(D, "mail"), {}, "mail is the active key of corp.example, signers use it: activate another key first, or say force=true"),
    ("absent", "mail:active s2:pending", Want(D), {}, "mail is the active key of corp.example, signers use it: activate "
        "another key first, or say force=true"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "before", "want", "found", "message"), REFUSED)
def test_refused(name, before, want, found, message) -> None:
    with pytest.raises(PlanError) as caught:
        go(name, manifest(before), want, found)
    assert str(caught.value) == message


def test_times() -> None:
    step = plan.activated(manifest("mail:active s2:pending"), Want(D), now=NOW)
    assert [(key.created, key.activated, key.retired) for key in step.after.keys] == [
        (EARLIER, "", NOW),
        (EARLIER, NOW, ""),
    ]


def test_what_is_noted_of_a_record_ends_with_its_state() -> None:
    noted = plan.present(manifest("mail:retired"), Want(D, "mail", published=EARLIER, settle=60), now=NOW, found={})
    gone = plan.revoked(noted.after, Want(D, "mail", settle=300), now=NOW, force=False)
    lost = plan.withdrawn(gone.after, Want(D, "mail"), now=NOW)
    assert [(step.key.published, step.key.settle) for step in (noted, gone, lost) if step.key] == [
        (EARLIER, 60),
        ("", 300),
        ("", 300),
    ]
    assert [(key.revoked, key.withdrawn) for key in lost.after.keys] == [(NOW, NOW)]
    assert Manifest.parse(D, str(lost.after)) == lost.after


def test_a_retired_key_that_signed_for_longer() -> None:
    both = manifest("a:retired b:active")
    noted = [plan.present(both, Want(D, name, retired=NOW), now=NOW, found={}).key for name in ("a", "b")]
    assert [key.retired for key in noted if key] == [NOW, ""]


def test_absent_remembers_selectors_and_files() -> None:
    step = plan.absent(manifest("a:retired b:active", used="z"), Want(D, "a"), force=False, found={})
    assert step.after.used == ("z", "a")
    assert [entry.selector for entry in step.remove] == ["a"]
    orphan = plan.absent(manifest("b:active"), Want(D, "mail"), force=False, found=files(OLD))
    assert orphan.after == manifest("b:active")
    assert [entry.selector for entry in orphan.remove] == ["mail"]


def test_a_used_selector_is_not_chosen_but_may_be_named() -> None:
    step = plan.present(manifest("", used="rsa-202611 s1"), Want(D), now=NOW, found={})
    assert (shape(step.after), step.warnings) == ("rsa-202611a:active", ())
    step = plan.present(manifest("", used="rsa-202611 s1"), Want(D, "s1"), now=NOW, found={})
    assert step.after.used == ("rsa-202611",)
    assert step.warnings == ("the selector s1 of corp.example had a key before: resolvers may hold its old record",)


def test_selectors_in_turn() -> None:
    step = plan.rotated(manifest("s1:active", used="s2"), Want(D, selectors=("s1", "s2")), now=NOW, found={})
    assert (shape(step.after), step.after.used, step.warnings) == ("s1:active s2:pending", (), ())
    with pytest.raises(PlanError, match="corp.example has no free selector left: name one"):
        plan.rotated(manifest("s1:active s2:retired"), Want(D, selectors=("s1", "s2")), now=NOW, found={})


def test_selectors_go_on_for_long() -> None:
    names = list(islice(plan.selectors("rsa", NOW), 29))
    assert (names[0], names[1], names[26], names[27], names[28]) == (
        "rsa-202611", "rsa-202611a", "rsa-202611z", "rsa-202611aa", "rsa-202611ab",
    )  # fmt: skip
    everything = list(plan.selectors("rsa", NOW))
    with pytest.raises(PlanError, match="no free selector left this month"):
        plan.rotated(manifest("", used=" ".join(everything)), Want(D), now=NOW, found={})


ADOPTED = [
    ([Want(D)], {}, ""),
    ([Want(D)], files(OLD), "mail:active"),
    ([Want(D)], files(OLD, ED), "mail:active ed:active:ed25519"),
    ([Want(D, "mail")], files(OLD, OURS), "mail:active"),
    ([Want(D, "new")], files(OLD), "mail:active"),
    ([Want(D, algorithm="ed25519")], files(OLD, OURS, ED), "ed:active:ed25519"),
    ([Want(D, "mail"), Want(D, "rsa-202611")], files(OLD, OURS), "mail:active"),
    ([Want(D, "mail")], files(OLD, GARBAGE), "mail:active"),
]


@pytest.mark.parametrize(("wants", "found", "expected"), ADOPTED)
def test_adopt(wants, found, expected) -> None:
    assert shape(plan.adopt(Manifest(D), wants, found)) == expected


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (files(OLD, OURS), "corp.example has several rsa keys (mail, rsa-202611): say by selector which one signs"),
        (files(OLD, GARBAGE), "the file x is no private key in PEM"),
    ],
)
def test_adopt_refuses(found, message) -> None:
    with pytest.raises(PlanError) as caught:
        plan.adopt(Manifest(D), [Want(D)], found)
    assert str(caught.value) == message


BAD_MANIFESTS = [
    ("", "is not valid JSON"),
    ("{", "is not valid JSON"),
    ("[" * 100000, "is not valid JSON"),
    ("[]", "is not a manifest of keys"),
    ('{"keys": {}}', "is not a manifest of keys"),
    ('{"keys": [], "used": [1]}', "is not a manifest of keys"),
    ('{"keys": [1]}', "lists a key that is no object"),
    ('{"keys": [{"selector": 1}]}', "describes a key by something else than text"),
    ('{"keys": [{"selector": "a", "algorithm": "dsa", "state": "active"}]}', "lists a key without a selector, a known algorithm or a known state"),
    ('{"keys": [{"selector": "../a", "algorithm": "rsa", "state": "active"}]}', "lists a key under '../a', which is no selector"),
    ('{"keys": [{"selector": "a", "algorithm": "rsa", "state": "active", "path": "a"}]}', "lists a key under a path that is not absolute"),
    ('{"keys": [{"selector": "a", "algorithm": "rsa", "state": "active", "settle": "1"}]}', "describes a key by a time to settle that is no number of seconds"),
    ('{"keys": [{"selector": "a", "algorithm": "rsa", "state": "gone"}]}', "lists a key without a selector, a known algorithm or a known state"),
    ('{"keys": [{"selector": "a", "algorithm": "rsa", "state": "retired"}, {"selector": '
        '"a", "algorithm": "rsa", "state": "active"}]}', "lists a selector twice"),
    ('{"keys": [{"selector": "a", "algorithm": "rsa", "state": "active"}, {"selector": '
        '"b", "algorithm": "rsa", "state": "active"}]}', "lists two active or two pending keys of one algorithm"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), BAD_MANIFESTS)
def test_bad_manifests(text, message) -> None:
    with pytest.raises(ManifestError) as caught:
        Manifest.parse(D, text)
    assert str(caught.value) == message


def test_a_manifest_keeps_what_later_versions_wrote() -> None:
    text = '{"keys": [{"selector": "a", "algorithm": "rsa", "state": "active", "seen": [1]}], "policy": {"x": 1}}'
    again = json.loads(str(plan.rotated(Manifest.parse(D, text), Want(D), now=NOW, found={}).after))
    assert again["keys"][0]["seen"] == [1]
    assert again["policy"] == {"x": 1}


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["present", "rotated", "activated", "revoked", "withdrawn", "absent", "forced"]),
        st.sampled_from(["", "a", "b", "c"]),
        st.sampled_from(["", "rsa", "ed25519"]),
        st.sampled_from([{}, files(Found("a", "rsa", 2048)), files(Found("b", "ed25519", 256))]),
    ),
    max_size=12,
)


@given(STEPS)
def test_no_history_breaks_the_rules(steps) -> None:
    """At most one key of an algorithm is active and one pending; an active key goes only by force or succession."""
    now = Manifest(D)
    for name, selector, algorithm, found in steps:
        lying = {key: file for key, file in found.items() if now.find(key) is None}
        before = now
        try:
            now = go(name, now, Want(D, selector, algorithm), lying).after
        except PlanError:
            continue
        assert Manifest.parse(D, str(now)) == now
        for key in before.keys:
            if key.state == "active" and name != "forced":
                assert now.one(key.algorithm, "active") is not None
        if name == "rotated":
            assert [key for key in now.keys if key.state == "active"] == [
                key for key in before.keys if key.state == "active"
            ]
