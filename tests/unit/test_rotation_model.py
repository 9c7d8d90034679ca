# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A world in which keys are rotated while all that can happen happens, and what must hold in it.

Name servers take over changes late or are down, resolvers keep answers for as long as they may, mail
waits in queues, relays are set up anew, and the rotation itself stops between any two of its steps. The
shipped plan decides; the world only does what it says. After every event each message that is under way
must be verifiable wherever a receiver may ask.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _rotation as rotation
from ansible_collections.postmaster.mail.plugins.module_utils._rotation import (
    Domain,
    Held,
    Key,
    Policy,
    Sight,
    Signer,
    Step,
    View,
)
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

D = "corp.example"
TTL, NEGATIVE, QUEUE = 80, 9, 35
POLICY = Policy(rotate_after=120, settle=0, keep=0, revoked=0)
SELECTORS = ("s1", "s2", "s3")
REVOKED = "v=DKIM1; k=rsa; p="
Operation = Callable[[], None]


class Interrupted(Exception):
    """A run of the rotation ends here, for it cannot go on."""


class Broken(AssertionError):
    """What must never happen has happened."""


@dataclass
class Server:
    """An authoritative server: how much of the zone's history it has taken over, and whether it answers."""

    version: int = 0
    up: bool = True


@dataclass
class Relay:
    """A signer with its manifest, the selectors it signs with, and how its keys are shared."""

    name: str
    share: str
    manifest: dict[str, Held] = field(default_factory=dict)
    signing: str = ""
    reachable: bool = True
    stubborn: bool = False  # its signer does not take the next key
    anew: bool = False  # it was set up since its signer switched


@dataclass(frozen=True)
class Mail:
    """A signed message under way."""

    selector: str
    record: str
    until: int


class World:
    """All there is but for what decides."""

    def __init__(self, shares: tuple[str, ...], selectors: tuple[str, ...], servers: int) -> None:
        self.now = 0
        self.domain = Domain(D, selectors=selectors, ttl=TTL)
        self.history: list[dict[str, str]] = [{}]  # the zone's versions, text by name
        self.servers = {f"ns{number}": Server() for number in range(1, servers + 1)}
        self.caches: dict[str, dict[str, tuple[str, int]]] = {"r1": {}, "r2": {}}
        self.relays = {f"relay{n}": Relay(f"relay{n}", share) for n, share in enumerate(shares, 1)}
        self.mail: list[Mail] = []
        self.made = 0
        self.attempted: set[tuple[str, str]] = set()
        self.faults: list[str] = []
        self._first_keys()

    def _first_keys(self) -> None:
        made: dict[str, Held] = {}
        for relay in self.relays.values():
            group = relay.share or relay.name
            if group not in made:
                made[group] = replace(self.new_key(self.free_selector()), state="active", activated=0)
            relay.manifest[made[group].selector] = made[group]
            relay.signing = made[group].selector
            self.history[0][self.name(made[group].selector)] = made[group].record

    # DNS

    @staticmethod
    def name(selector: str) -> str:
        return f"{selector}._domainkey.{D}."

    def zone(self, server: str) -> dict[str, str]:
        return self.history[self.servers[server].version]

    def change(self, name: str, text: str) -> None:
        """An update at the primary, which is the first server."""
        if not self.servers["ns1"].up:
            raise Interrupted
        latest = dict(self.history[-1])
        if text:
            latest[name] = text
        else:
            self.check_forgotten(name)
            latest.pop(name, None)
        if latest != self.history[-1]:
            self.history.append(latest)
        self.servers["ns1"].version = len(self.history) - 1

    def check_forgotten(self, name: str) -> None:
        """A record goes when nobody takes its key for good any more."""
        told = [self.zone(server).get(name, "") for server in self.servers]
        told += [
            text
            for cache in self.caches.values()
            for at, (text, end) in cache.items()
            if (at, end > self.now) == (name, True)
        ]
        if any(text not in ("", REVOKED) for text in told):
            raise Broken(f"{name} is removed while some take its key for good")

    def ask(self, resolver: str, selector: str, server: str) -> None:
        """A resolver answers from its cache, or asks a server and remembers."""
        name, cache = self.name(selector), self.caches[resolver]
        if name in cache and cache[name][1] > self.now:
            return
        if self.servers[server].up:
            text = self.zone(server).get(name, "")
            cache[name] = (text, self.now + (TTL if text else NEGATIVE))

    def look(self) -> dict[str, list[Sight]]:
        """What the rotation sees."""
        return {
            name: [self.sight(server, name) for server in self.servers]
            for name in rotation.names(self.signers(), [self.domain])
        }

    def sight(self, server: str, name: str) -> Sight:
        if not self.servers[server].up:
            return Sight(server, problem=f"{server} does not answer")
        text = self.zone(server).get(name, "")
        return Sight(server, (text,) if text else (), ttl=TTL if text else NEGATIVE, negative=NEGATIVE)

    # Signers

    def new_key(self, selector: str) -> Held:
        self.made += 1
        text = f"v=DKIM1; k=unknown; p={self.made:04d}"
        return Held(D, selector, "rsa", "pending", record=text, created=self.now)

    def free_selector(self) -> str:
        return f"auto{self.made}"

    def signers(self) -> list[Signer]:
        """What the rotation is told of the relays."""
        return [
            Signer(
                relay.name,
                tuple(relay.manifest.values()) if relay.reachable else (),
                share=relay.share,
                queue_lifetime=QUEUE,
                reached=relay.reachable,
                signs={D: (relay.signing,)},
            )
            for relay in self.relays.values()
        ]

    def relay(self, name: str) -> Relay:
        if not self.relays[name].reachable:
            raise Interrupted
        return self.relays[name]

    def sharing(self, relay: Relay) -> list[Relay]:
        return [
            other for other in self.relays.values() if other is relay or (relay.share and other.share == relay.share)
        ]

    def send(self, name: str) -> None:
        """A message is signed."""
        relay = self.relays[name]
        held = relay.manifest[relay.signing]
        for server in self.servers:
            if self.zone(server).get(self.name(held.selector)) != key_text(held):
                raise Broken(f"{name} signs with {held.selector}, which {server} does not publish")
        self.mail.append(Mail(held.selector, key_text(held), self.now + QUEUE))

    def advance(self, seconds: int) -> None:
        self.now += seconds
        self.mail = [one for one in dict.fromkeys(self.mail) if one.until >= self.now]

    # What a step does, in the order that the rotation names

    def operations(self, step: Step) -> Iterator[Operation]:
        """The single acts of a step; a run may end between any two."""
        for act in rotation.ORDER.get(step.kind, ()):
            yield from getattr(self, f"_{act}")(step)

    def _note(self, step: Step) -> Iterator[Operation]:
        for name in step.holders if step.note else ():
            yield lambda name=name: self.put(name, step.selector, **dict(step.note))  # type: ignore[misc]

    def _mark(self, step: Step) -> Iterator[Operation]:
        state = {"revoke": "revoked", "withdraw": "withdrawn"}[step.kind]
        for name in step.signers:
            yield lambda name=name: self.put(name, step.selector, state=state, published=None, **dict(step.note))  # type: ignore[misc]

    def put(self, name: str, selector: str, **values: Any) -> None:
        """Change an entry of a manifest; a change of state has its time."""
        relay = self.relay(name)
        if "state" in values:
            values[{"active": "activated"}.get(values["state"], values["state"])] = self.now
            if values["state"] == "revoked":
                values["record"] = REVOKED
            if values["state"] == "withdrawn":
                values["record"] = ""
        relay.manifest[selector] = replace(relay.manifest[selector], **values)

    def _make(self, step: Step) -> Iterator[Operation]:
        yield lambda: self.make(step.signers[0], step.chosen)

    def make(self, name: str, chosen: str) -> None:
        relay = self.relay(name)
        held = self.new_key(chosen or self.free_selector())
        relay.manifest[held.selector] = held

    def _copy(self, step: Step) -> Iterator[Operation]:
        yield from ()

    def _list(self, step: Step) -> Iterator[Operation]:
        for name in step.signers:
            yield lambda name=name: self.bring(name, step)  # type: ignore[misc]

    def bring(self, name: str, step: Step) -> None:
        source = self.relay(step.holders[0]).manifest[step.selector]
        self.relay(name).manifest[step.selector] = replace(source, state="pending", published=None, settle=0)

    def _update(self, step: Step) -> Iterator[Operation]:
        yield lambda: self.publish(step)

    def publish(self, step: Step) -> None:
        held = next(
            held for name in step.holders if (held := self.relay(name).manifest[step.selector]).state == step.state
        )
        self.attempted.add((self.name(step.selector), step.state))
        self.change(self.name(step.selector), held.record)

    def _sign(self, step: Step) -> Iterator[Operation]:
        for name in step.signers:
            yield lambda name=name: self.sign(name, step.selector)  # type: ignore[misc]

    def sign(self, name: str, selector: str) -> None:
        relay = self.relay(name)
        relay.signing, relay.anew = selector, False
        lacking = [other.name for other in self.sharing(relay) if selector not in other.manifest]
        if lacking:
            raise Broken(f"{name} signs with {selector}, which {lacking} lack")

    def _prove(self, step: Step) -> Iterator[Operation]:
        for name in step.signers:
            yield lambda name=name: self.prove(name)  # type: ignore[misc]

    def prove(self, name: str) -> None:
        """What is not proven goes back to the key from before."""
        relay = self.relay(name)
        if relay.stubborn:
            relay.signing = next(held.selector for held in relay.manifest.values() if held.state == "active")

    def _activate(self, step: Step) -> Iterator[Operation]:
        for name in step.signers:
            yield lambda name=name: self.activate(name, step.selector)  # type: ignore[misc]

    def activate(self, name: str, selector: str) -> None:
        relay = self.relay(name)
        if relay.stubborn:
            return
        for held in list(relay.manifest.values()):
            if held.state == "active":
                self.put(name, held.selector, state="retired")
        self.put(name, selector, state="active")

    def _forget(self, step: Step) -> Iterator[Operation]:
        for name in step.signers:
            yield lambda name=name: self.relay(name).manifest.pop(step.selector)  # type: ignore[misc]

    # What must hold

    def check(self) -> None:
        for one in self.mail:
            name = self.name(one.selector)
            for server in self.servers:
                if self.zone(server).get(name) != one.record:
                    raise Broken(f"mail signed with {one.selector} fails for those who ask {server}")
            for resolver, cache in self.caches.items():
                if name in cache and cache[name][1] > self.now and cache[name][0] != one.record:
                    raise Broken(f"mail signed with {one.selector} fails for those who ask {resolver}")
        for relay in self.relays.values():
            if len([held for held in relay.manifest.values() if held.state == "pending"]) > 1:
                raise Broken(f"{relay.name} has two next keys")
            if not relay.manifest.get(relay.signing):
                raise Broken(f"{relay.name} signs with a key that is gone")
            # A relay that is set up anew in the midst of a switch signs with the old key again, for a while.
            fine = ("pending", "active", "retired") if relay.anew else ("pending", "active")
            if relay.manifest[relay.signing].state not in fine:
                raise Broken(f"{relay.name} signs with a key that is {relay.manifest[relay.signing].state}")


def key_text(held: Held) -> str:
    """The record of a key that is not revoked."""
    if held.record in ("", REVOKED):
        raise Broken(f"{held.selector} signs and is revoked")
    return held.record


WORLDS = st.builds(
    World,
    shares=st.sampled_from([("",), ("", ""), ("both", "both"), ("both", "both", "")]),
    selectors=st.sampled_from([(), SELECTORS]),
    servers=st.integers(1, 3),
)
PAUSES = st.sampled_from([1, 3, NEGATIVE, NEGATIVE + 1, TTL, TTL + 1, QUEUE + 1, 120])


class Rotation(RuleBasedStateMachine):
    """Events in any order; the plan is asked at the start of each round of a run, as the playbook does."""

    policy = POLICY

    def __init__(self) -> None:
        super().__init__()
        self.world: World = World(("",), (), 1)
        self.waiting: list[Operation] = []

    @initialize(world=WORLDS)
    def begin(self, world: World) -> None:
        # Every example is built once and used once: a world that another example changed must not be seen again.
        self.world = World(tuple(r.share for r in world.relays.values()), world.domain.selectors, len(world.servers))
        self.waiting = []

    def think(self, now: bool) -> list[Step]:
        world = self.world
        policy = replace(self.policy, rotate_now=now, attempted=frozenset(world.attempted))
        return rotation.plan(world.signers(), [world.domain], world.look(), now=world.now, policy=policy)

    def perform(self, operation: Operation) -> bool:
        try:
            operation()
        except Interrupted:
            self.waiting = []
            return False
        return True

    @rule(now=st.booleans())
    def start_a_run(self, now: bool) -> None:
        """The playbook begins a round; what it finds to do is done one by one, or never."""
        self.world.attempted = set()
        self.waiting = [act for step in self.think(now) for act in self.world.operations(step)]

    @precondition(lambda self: self.waiting)
    @rule(count=st.integers(1, 6))
    def go_on(self, count: int) -> None:
        for operation in self.waiting[:count]:
            if not self.perform(operation):
                return
            self.world.check()
        self.waiting = self.waiting[count:]

    @rule(now=st.booleans(), busy=st.booleans(), cut=st.sampled_from([1, 2, 3, 5, 8, 99, 99, 99]))
    def a_whole_run(self, now: bool, busy: bool, cut: int) -> None:
        """Nothing disturbs it, or it is killed; ``busy`` has mail, questions and prompt servers all the time."""
        self.world.attempted, self.waiting = set(), []
        for dummy in range(8):
            acts = [act for step in self.think(now) for act in self.world.operations(step)]
            for act in acts:
                cut -= 1
                if cut < 0 or not self.perform(act):
                    return
                if busy:
                    self.all_take_over()
                    self.send_all()
                    self.ask_all()
                self.world.check()
            if not acts:
                return

    def ask_all(self, server: str = "ns1") -> None:
        world = self.world
        known = [held.selector for relay in world.relays.values() for held in relay.manifest.values()]
        for resolver in world.caches:
            for selector in sorted({*known, world.free_selector(), *world.domain.selectors}):
                world.ask(resolver, selector, server)

    @rule(seconds=PAUSES)
    def time_passes(self, seconds: int) -> None:
        self.world.advance(seconds)

    @rule()
    def send_all(self) -> None:
        for name in self.world.relays:
            self.world.send(name)

    @rule()
    def all_take_over(self) -> None:
        for server in self.world.servers.values():
            server.version = len(self.world.history) - 1

    @rule(data=st.data(), failing=st.booleans())
    def a_server_changes(self, data: st.DataObject, failing: bool) -> None:
        """It fails, recovers, or takes over some of what is new."""
        server = self.world.servers[data.draw(st.sampled_from(sorted(self.world.servers)))]
        if failing:
            server.up = not server.up
        else:
            server.version = data.draw(st.integers(server.version, len(self.world.history) - 1))

    @rule()
    def all_is_well(self) -> None:
        for server in self.world.servers.values():
            server.up, server.version = True, len(self.world.history) - 1
        for relay in self.world.relays.values():
            relay.reachable, relay.stubborn = True, False

    @rule(data=st.data())
    def everybody_asks(self, data: st.DataObject) -> None:
        """Also for names that do not exist yet: a stranger tries, or a resolver infers from others."""
        self.ask_all(data.draw(st.sampled_from(sorted(self.world.servers))))

    @rule(data=st.data(), away=st.booleans())
    def a_relay_is_in_the_way_or_no_more(self, data: st.DataObject, away: bool) -> None:
        relay = self.world.relays[data.draw(st.sampled_from(sorted(self.world.relays)))]
        if away:
            relay.reachable = not relay.reachable
        else:
            relay.stubborn = not relay.stubborn

    @rule(data=st.data())
    def a_relay_is_set_up_anew(self, data: st.DataObject) -> None:
        """Its role: all keys are published, those that are active sign."""
        world = self.world
        relay = world.relays[data.draw(st.sampled_from(sorted(world.relays)))]
        with_texts = [held for held in relay.manifest.values() if held.record]
        try:
            for held in with_texts:
                if held.state not in ("revoked",) or self.agreed(held.selector):
                    world.change(world.name(held.selector), held.record)
        except Interrupted:
            return
        active = [held.selector for held in relay.manifest.values() if held.state == "active"]
        relay.signing, relay.anew = active[0], True

    def agreed(self, selector: str) -> bool:
        """Whether all who hold a key have it in the same state: the records playbook refuses two texts."""
        held = [relay.manifest[selector] for relay in self.world.relays.values() if selector in relay.manifest]
        return len({one.state for one in held}) == 1

    @invariant()
    def all_mail_can_be_verified(self) -> None:
        self.world.check()


FULL = os.environ.get("MAIL_TEST_FULL") == "1"
# In the long form 1,000 histories of 100 events each.
LENGTH = settings(
    max_examples=1000 if FULL else 60,
    stateful_step_count=100,
    deadline=None,
    report_multiple_bugs=False,
    print_blob=True,
)


def test_no_mail_is_lost() -> None:
    run_state_machine_as_test(Rotation, settings=LENGTH)


@pytest.mark.parametrize("shares", [("",), ("both", "both"), ("", "")])
@pytest.mark.parametrize("selectors", [(), SELECTORS])
def test_a_rotation_comes_to_its_end(shares: tuple[str, ...], selectors: tuple[str, ...]) -> None:
    """Where nothing goes wrong, a run a day is enough, and one key is left."""
    machine = Rotation()
    machine.policy = replace(POLICY, rotate_after=10**6)
    machine.world = world = World(shares, selectors, 2)
    old = {relay.signing for relay in world.relays.values()}
    kinds = []
    for day in range(40):
        world.attempted = set()
        for step in machine.think(day == 0):
            kinds.append(step.kind)
            for act in world.operations(step):
                act()
        machine.all_take_over()
        machine.send_all()
        world.advance(QUEUE - 5)
        machine.send_all()
    assert [set(relay.manifest) for relay in world.relays.values()] == [
        {relay.signing} for relay in world.relays.values()
    ]
    assert not old & {relay.signing for relay in world.relays.values()}
    assert "blocked" not in kinds
    assert {"generate", "publish", "switch", "keep", "revoke", "withdraw", "remove", "rest"} <= set(kinds)
    assert set(world.history[-1]) == {world.name(relay.signing) for relay in world.relays.values()}


# Faults, each a small change of the shipped functions; a world without a single one of these rules must break.


def one_server_is_enough(said: View) -> View:
    return replace(said, wrong=(), silent=()) if said.right else said


def kept_from_the_first_switch(line: rotation.Line, key: Key, policy: Policy) -> int | None:
    return min(held.retired or 0 for held in key.holders.values()) + QUEUE


def kept_from_the_known_switch(line: rotation.Line, key: Key, policy: Policy) -> int | None:
    return max(held.retired or 0 for held in key.holders.values()) + QUEUE


def as_far_as_the_first(key: Key) -> str:
    states = {held.state for held in key.holders.values()}
    return next(state for state in ("withdrawn", "revoked", "retired", "active", "pending") if state in states)


def seen_with(change: Callable[[View], View]) -> dict[str, Any]:
    """The view of the servers, changed."""
    real = rotation.view
    return {"view": lambda *arguments: change(real(*arguments))}


def withdrawn_at_once(draft: Any) -> Step:
    made: Step = draft.step("withdraw", signers=draft.key.at("revoked"), note={"settle": 0})
    return made


def any_selector(draft: Any, taken: set[str]) -> Step:
    made: Step = REAL_ACTIVE(draft, set())
    return made


def of_those_there(domain: Domain, signers: tuple[Signer, ...]) -> set[str]:
    return {key.selector for signer in signers for key in signer.keys}


REAL_ACTIVE = rotation._Draft.active
FAULTS: dict[str, dict[str, Any]] = {
    "switch before it is visible": seen_with(lambda said: replace(said, wrong=() if said.right else said.wrong, silent=())),
    "one name server is enough": seen_with(one_server_is_enough),
    "a silent name server does not count": seen_with(lambda said: replace(said, silent=())),
    "the negative TTL is ignored": {
        "_negative": lambda said, alias: 0,
        **seen_with(lambda said: replace(said, old=0 if said.old == NEGATIVE else said.old)),
    },
    "the old TTL is ignored": {"_before": lambda key: 0},
    "retired for no time": {"_kept_until": lambda line, key, policy: key.latest("retired")},
    "kept from the first switch, not the last": {"_kept_until": kept_from_the_first_switch},
    "revoked while another relay signs": {
        "Key.stage": property(as_far_as_the_first),
        "_kept_until": kept_from_the_known_switch,
    },
    "removed before the revocation is seen": {"_Draft.revoked": withdrawn_at_once},
    "two keys pending at once": {"_under_way": lambda line: False},
    "a selector that is in use": {"_Draft.active": any_selector},
    "what a relay uses that is away does not count": {"_taken": of_those_there},
    "switched before all hold it": {"_lacking": lambda line, key: ()},
    "the old key counts as retired before the switch": {"ORDER": {**rotation.ORDER, "switch": ("note", "activate", "sign")}},
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for path, changed in FAULTS[fault].items():
        owner, dummy, name = path.rpartition(".")
        monkeypatch.setattr(getattr(rotation, owner) if owner else rotation, name, changed)
    search = settings(LENGTH, max_examples=3000, phases=[Phase.generate], database=None, derandomize=True)
    with pytest.raises(Broken):
        run_state_machine_as_test(Rotation, settings=search)
