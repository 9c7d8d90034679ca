# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""No history of the world in _rotation_world.py loses a message, and each fault of the plan does in some."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import pytest
from _rotation_world import (
    NEGATIVE,
    NO_WAITS,
    QUEUE,
    SELECTORS,
    WAITS,
    Broken,
    Play,
    Setting,
    World,
)
from ansible_collections.postmaster.mail.plugins.module_utils import _rotation as rotation
from ansible_collections.postmaster.mail.plugins.module_utils._rotation import Domain, Key, Policy, Signer, Step, View
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

FULL = os.environ.get("MAIL_TEST_FULL") == "1"
LENGTH = 100  # events in a history
CHOICES: dict[str, tuple[Any, ...]] = {
    "shares": (("",), ("", ""), ("both", "both"), ("both", "both", "")),
    "servers": (1, 2, 3),
    "selectors": ((), SELECTORS),
    "delegated": (False, True),
    "algorithms": (("rsa",), ("rsa",), ("rsa", "ed25519")),
    "waits": (NO_WAITS, WAITS),
    "twins": (False, False, False, True),
}

OFTEN = ("a_whole_run", "a_whole_run", "time_passes", "all_is_well", "all_send", "everybody_asks")
HARM = ("somebody_edits_a_record", "a_server_goes_back", "somebody_mends_the_records")


def setting(**chosen: Any) -> Setting:
    """Selectors can be led elsewhere only where they are known."""
    return Setting(**{**chosen, "delegated": bool(chosen["delegated"] and chosen["selectors"])})


class _Rotation(RuleBasedStateMachine):
    """Events in any order; the plan is asked at the start of each round of a run, as the playbook does."""

    def __init__(self) -> None:
        super().__init__()
        self.play: Play | None = None

    @initialize(**{name: st.sampled_from(some) for name, some in CHOICES.items()})
    def begin(self, **chosen: Any) -> None:
        self.play = Play(setting(**chosen))


def _event(name: str, choices: dict[str, tuple[Any, ...]]) -> Any:
    def act(self: _Rotation, **chosen: Any) -> None:
        assert self.play is not None
        self.play.do(name, **chosen)

    act.__name__ = name
    return rule(**{option: st.sampled_from(some) for option, some in choices.items()})(act)


Rotation = type("Rotation", (_Rotation,), {name: _event(name, choices) for name, choices in Play.EVENTS.items()})


def history(seed: int) -> None:
    """A history by chance, as the state machine has them but many times as fast, and none is made smaller.

    In some all is as likely, in some more comes to its end, and in some of these nobody does harm by hand.
    """
    chance = random.Random(seed)
    play = Play(setting(**{name: chance.choice(some) for name, some in CHOICES.items()}))
    names = [*Play.EVENTS, *(OFTEN * (seed % 3))]
    if seed % 3 == 1:
        names = [name for name in names if name not in HARM]
    for dummy in range(LENGTH):
        name = chance.choice(names)
        play.do(name, **{option: chance.choice(some) for option, some in Play.EVENTS[name].items()})


def counted(record_property: Callable[[str, object], None], before: int, least: int) -> None:
    """So many events there were: a search that got short is none."""
    steps = Play.steps - before
    record_property("steps", steps)
    print(f"{steps} events")
    assert steps >= least


def test_no_mail_is_lost(record_property: Callable[[str, object], None]) -> None:
    before = Play.steps
    rules = settings(
        max_examples=2000 if FULL else 40,
        stateful_step_count=LENGTH,
        deadline=None,
        report_multiple_bugs=False,
        print_blob=True,
    )
    run_state_machine_as_test(Rotation, settings=rules)
    counted(record_property, before, 100_000 if FULL else 1000)


def test_no_mail_is_lost_in_many_histories(record_property: Callable[[str, object], None]) -> None:
    before = Play.steps
    for seed in range(10_000 if FULL else 150):
        history(seed)
    counted(record_property, before, 1_000_000 if FULL else 15_000)


@pytest.mark.parametrize("shares", [("",), ("both", "both"), ("", "")])
@pytest.mark.parametrize("selectors", [(), SELECTORS])
@pytest.mark.parametrize("algorithms", [("rsa",), ("rsa", "ed25519")])
@pytest.mark.parametrize("waits", [NO_WAITS, WAITS])
def test_a_rotation_comes_to_its_end(
    shares: tuple[str, ...], selectors: tuple[str, ...], algorithms: tuple[str, ...], waits: tuple[int, int, int]
) -> None:
    """Where nothing goes wrong, a run a day is enough, and one key of each algorithm is left."""
    # Two relays with two algorithms and keys of their own use four selectors, and want one more for each next key.
    many = (*SELECTORS, "s6", "s7", "s8") if selectors else ()
    play = Play(Setting(shares, 2, many, bool(selectors), algorithms, waits))
    world = play.world
    world.policy = replace(world.policy, rotate_after=10**6)
    old = {selector for relay in world.relays.values() for selector in relay.signing.values()}
    kinds = []
    for day in range(40):
        world.attempted = set()
        for step in play.think(day == 0):
            kinds.append(step.kind)
            for act in world.operations(step):
                act()
        play.all_take_over()
        play.all_send()
        world.advance(QUEUE - 5)
        play.all_send()
        world.check()
    left = [set(relay.signing.values()) for relay in world.relays.values()]
    assert [set(relay.manifest) for relay in world.relays.values()] == left
    assert not old & set().union(*left)
    assert "blocked" not in kinds
    assert {"generate", "publish", "switch", "keep", "revoke", "withdraw", "remove", "rest"} <= set(kinds)
    aliases = {world.name(selector) for selector in many}
    assert set(world.history[-1]) - aliases == {world.owner(selector) for some in left for selector in some}


# Faults, each a small change of the shipped functions; a world without a single one of these rules must break.


def one_server_is_enough(said: View) -> View:
    return replace(said, wrong=(), silent=()) if said.right else said


def kept_from_the_first_switch(line: rotation.Line, key: Key, policy: Policy) -> int | None:
    return min(held.retired or 0 for held in key.holders.values()) + QUEUE + policy.keep


def kept_from_the_known_switch(line: rotation.Line, key: Key, policy: Policy) -> int | None:
    return max(held.retired or 0 for held in key.holders.values()) + QUEUE + policy.keep


def kept_for_the_queue_alone(line: rotation.Line, key: Key, policy: Policy) -> int | None:
    return KEPT(line, key, replace(policy, keep=0))


def as_far_as_the_first(key: Key) -> str:
    states = {held.state for held in key.holders.values()}
    return next(state for state in ("withdrawn", "revoked", "retired", "active", "pending") if state in states)


def seen_with(change: Callable[[View], View]) -> dict[str, Any]:
    """The view of the servers, changed."""
    return {"view": lambda *arguments: change(VIEW(*arguments))}


def withdrawn_at_once(draft: Any) -> Step:
    made: Step = draft.step("withdraw", signers=draft.key.at("revoked"), note={"settle": 0})
    return made


def any_selector(draft: Any, taken: set[str]) -> Step:
    made: Step = ACTIVE(draft, set())
    return made


def of_those_there(domain: Domain, signers: tuple[Signer, ...]) -> set[str]:
    return {key.selector for signer in signers for key in signer.keys}


def without_note(what: str, *stages: str) -> dict[str, Any]:
    """Nothing is noted of a key at some stages when its record is not as it should be."""

    def changed(real: Callable[..., Step]) -> Callable[..., Step]:
        def act(draft: Any, note: dict[str, Any] | None = None, **more: Any) -> Step:
            if draft.key.stage in stages:
                note = {name: value for name, value in (note or {}).items() if name != what}
            return real(draft, note, **more)

        return act

    return {"_Draft.publish": changed(rotation._Draft.publish), "_Draft.blocked": changed(rotation._Draft.blocked)}


def with_nothing_wrong(act: Callable[..., Step]) -> Callable[..., Step]:
    """What servers say is not listened to."""
    return lambda draft, *more: act(replace(draft, said=View(), alias=View()), *more)


def any_of_several(sight: rotation.Sight, wanted: str, own: bytes | None) -> bool:
    if not wanted:
        return FITS(sight, wanted, own)
    return any(rotation.same_key(text, wanted) for text in sight.texts)


def of_those_asked(domain: Domain, signers: tuple[Signer, ...]) -> Any:
    return LINES(domain, tuple(signer for signer in signers if not signer.left_out))


ACTIVE, RETIRED = rotation._Draft.active, rotation._Draft.retired
KEPT, VIEW, FITS, LINES, ALIASES = (
    rotation._kept_until,
    rotation.view,
    rotation._fits,
    rotation.lines,
    rotation._alias_view,
)
FAULTS: dict[str, dict[str, Any]] = {
    "switch before it is visible": seen_with(lambda said: replace(said, wrong=() if said.right else said.wrong, silent=())),
    "one name server is enough": seen_with(one_server_is_enough),
    "a silent name server does not count": seen_with(lambda said: replace(said, silent=())),
    "the negative TTL is ignored": {
        "_negative": lambda said, alias: 0,
        **seen_with(lambda said: replace(said, old=0 if said.old == NEGATIVE else said.old)),
    },
    "the old TTL is ignored": {"_before": lambda key: 0},
    "the old TTL is not noted": without_note("settle", "pending"),
    "what was lost is not waited for anew": without_note("published", "pending"),
    "a revocation that was lost is not waited for anew": without_note("published", "revoked", "withdrawn"),
    "aliases are not looked at": {"_alias_view": lambda *arguments: View()},
    "an alias that was away is not waited for anew": {
        "_alias_view": lambda *arguments: replace(found := ALIASES(*arguments), wrong=(), silent=(*found.silent, *found.wrong), ttl=0),
    },
    "any of several TXT records will do": {"_fits": any_of_several},
    "what servers say of an active key is ignored": {"_Draft.active": with_nothing_wrong(ACTIVE)},
    "a retired key is not published again": {"_Draft.retired": with_nothing_wrong(RETIRED)},
    "retired for no time": {"_kept_until": lambda line, key, policy: key.latest("retired")},
    "kept from the first switch, not the last": {"_kept_until": kept_from_the_first_switch},
    "kept for the relay's own queue alone": {"_kept_until": kept_for_the_queue_alone},
    "revoked while another relay signs": {
        "Key.stage": property(as_far_as_the_first),
        "_kept_until": kept_from_the_known_switch,
    },
    "removed before the revocation is seen": {"_Draft.revoked": withdrawn_at_once},
    "two keys pending at once": {"_under_way": lambda line: False},
    "a selector that is in use": {"_Draft.active": any_selector},
    "what a relay uses that is away does not count": {"_taken": of_those_there},
    "a relay that is left out does not count": {"lines": of_those_asked},
    "the same key on relays that do not share it": {"_clashes": lambda domain, signers: {}},
    "keys of others are replaced": {"_is_foreign": lambda sight, own: False},
    "switched before all hold it": {"_lacking": lambda line, key: ()},
    "the old key counts as retired before the switch": {"ORDER": {**rotation.ORDER, "switch": ("note", "activate", "sign")}},
}  # fmt: skip
LAST_TIME = {
    "a silent name server does not count": 61,
    "the negative TTL is ignored": 43,
    "the old TTL is not noted": 233,
    "what was lost is not waited for anew": 101,
    "a revocation that was lost is not waited for anew": 125,
    "aliases are not looked at": 47,
    "an alias that was away is not waited for anew": 1247,
    "any of several TXT records will do": 200,
    "kept from the first switch, not the last": 199,
    "revoked while another relay signs": 52,
    "what a relay uses that is away does not count": 260,
}
NOT_MENDED = ("what servers say of an active key is ignored", "a retired key is not published again")


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if fault not in NOT_MENDED:  # these are to be found by what becomes of mail
        monkeypatch.setattr(World, "check_mended", lambda world, steps: None)
    for path, changed in FAULTS[fault].items():
        owner, dummy, name = path.rpartition(".")
        monkeypatch.setattr(getattr(rotation, owner) if owner else rotation, name, changed)
    with pytest.raises(Broken):
        # Which history finds it is no matter; the one that did last time is the first to be tried.
        for seed in (LAST_TIME.get(fault, 0), *range(3000)):
            history(seed)
