# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A world in which keys are rotated while all that can happen happens, and what must hold in it.

Name servers take over changes late, are down or go back in time, people edit records by hand, resolvers
keep answers for as long as they may, mail waits in queues, relays are set up anew or left out, and the
rotation itself stops between any two of its steps. The shipped plan decides; the world only does what it
says. After every event each message that is under way must be verifiable wherever a receiver may ask.

What an edit by hand breaks at once, no plan can mend: a name is *spoilt* until all servers answer as the
rotation published it, or until the rotation has seen the damage while nobody signs with the key. What a
resolver has of a spoilt name is *unfair* until the rotation has seen a server say the same.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from ansible_collections.postmaster.mail.plugins.module_utils import _rotation as rotation
from ansible_collections.postmaster.mail.plugins.module_utils._dkim import record_name
from ansible_collections.postmaster.mail.plugins.module_utils._rotation import (
    Domain,
    Held,
    Policy,
    Sight,
    Signer,
    Step,
)

D = "corp.example"
TTL, NEGATIVE, QUEUE = 80, 9, 35
SELECTORS = ("s1", "s2", "s3", "s4", "s5")
TARGET = "{selector}.{dashed}.keys.example"
REVOKED = "v=DKIM1; k=rsa; p="
FOREIGN = "v=DKIM1; k=unknown; p=F0RN"
JUNK = "what is this"
OURS = "v=DKIM1; k=unknown; p=0"
ALIAS = "=> "  # begins the value of a name that is a CNAME
NO_WAITS, WAITS = (0, 0, 0), (4, 20, 5)  # settle, keep, revoked
Operation = Callable[[], None]
Value = tuple[str, ...]  # the texts of a name


class Interrupted(Exception):
    """A run of the rotation ends here, for it cannot go on."""


class Broken(AssertionError):
    """What must never happen has happened."""


@dataclass(frozen=True)
class Setting:
    """What a world is like."""

    shares: tuple[str, ...] = ("",)
    servers: int = 1
    selectors: tuple[str, ...] = ()
    delegated: bool = False
    algorithms: tuple[str, ...] = ("rsa",)
    waits: tuple[int, int, int] = NO_WAITS
    twins: bool = False  # all relays begin with the same key, whatever they say of sharing


@dataclass
class Server:
    """An authoritative server: how much of the zone's history it has taken over, and whether it answers."""

    version: int = 0
    up: bool = True


@dataclass
class Relay:
    """A signer with its manifest, the selectors it signs with by algorithm, and how its keys are shared."""

    name: str
    share: str
    manifest: dict[str, Held] = field(default_factory=dict)
    signing: dict[str, str] = field(default_factory=dict)
    reachable: bool = True
    stubborn: bool = False  # its signer does not take the next key
    refused: bool = False  # it did not, in this run
    anew: set[str] = field(default_factory=set)  # algorithms for which it was set up since its signer switched


@dataclass(frozen=True)
class Mail:
    """A signature on a message under way."""

    selector: str
    record: str
    until: int


@dataclass
class Entry:
    """What a resolver remembers of a name."""

    value: Value
    end: int
    unfair: bool = False


class World:
    """All there is but for what decides."""

    def __init__(self, setting: Setting) -> None:
        self.now = 0
        settle, self.keep, revoked = setting.waits
        self.policy = Policy(rotate_after=120, settle=settle, keep=self.keep, revoked=revoked)
        self.domain = Domain(
            D, setting.algorithms, selectors=setting.selectors, target=TARGET if setting.delegated else "", ttl=TTL
        )
        self.history: list[dict[str, Value]] = [{}]  # the zone's versions
        self.truth: dict[str, Value] = {}  # what was published on purpose
        self.spoilt: set[str] = set()
        self.seen: dict[str, set[Value]] = {}  # what the rotation has seen by name, in its last look
        self.foreign: set[str] = set()  # where the rotation has seen the key of somebody else
        self.servers = {f"ns{number}": Server() for number in range(1, setting.servers + 1)}
        self.caches: dict[str, dict[str, Entry]] = {"r1": {}, "r2": {}}
        self.relays = {f"relay{n}": Relay(f"relay{n}", share) for n, share in enumerate(setting.shares, 1)}
        self.left_out = ""
        self.mail: list[Mail] = []
        self.stray: list[Mail] = []  # signed with a retired key before any run could see it
        self.made = 0
        self.attempted: set[tuple[str, str]] = set()
        self._first_keys(setting)

    def _first_keys(self, setting: Setting) -> None:
        for selector in setting.selectors if setting.delegated else ():
            self.truth[self.name(selector)] = (ALIAS + self.owner(selector),)
        made: dict[tuple[str, str], Held] = {}
        for relay in self.relays.values():
            for algorithm in setting.algorithms:
                group = ("all" if setting.twins else relay.share or relay.name, algorithm)
                if group not in made:
                    selector = next((one for one in setting.selectors if self.owner(one) not in self.truth), "")
                    made[group] = replace(
                        self.new_key(selector or self.free_selector(), algorithm), state="active", activated=0
                    )
                relay.manifest[made[group].selector] = made[group]
                relay.signing[algorithm] = made[group].selector
                self.truth[self.owner(made[group].selector)] = (made[group].record,)
        self.history[0] |= self.truth

    # DNS

    @staticmethod
    def name(selector: str) -> str:
        return record_name(selector, D)

    def owner(self, selector: str) -> str:
        return self.domain.owner(selector)

    def path(self, selector: str, record: str = "") -> dict[str, Value]:
        """The names that lead to a selector's record, each with what it has to say."""
        name, owner = self.name(selector), self.owner(selector)
        return {name: (ALIAS + owner,), owner: (record,)} if name != owner else {name: (record,)}

    def zone(self, server: str) -> dict[str, Value]:
        return self.history[self.servers[server].version]

    def change(self, name: str, text: str, *, role: bool = False) -> None:
        """An update at the primary, which is the first server. It is not made where a key of others would go."""
        if not self.servers["ns1"].up:
            raise Interrupted
        if FOREIGN in self.history[-1].get(name, ()):
            if name in self.foreign and not role:
                raise Broken(f"the key of somebody else is replaced at {name}")
            if text:
                raise Interrupted
        self.truth[name] = (text,) if text else ()
        self.write({name: self.truth[name]})

    def write(self, values: dict[str, Value]) -> None:
        latest = {name: value for name, value in {**self.history[-1], **values}.items() if value}
        if latest != self.history[-1]:
            self.history.append(latest)
        self.servers["ns1"].version = len(self.history) - 1

    def check_forgotten(self, name: str) -> None:
        """A key comes to its end when nobody takes it for good any more."""
        told = [self.zone(server).get(name, ()) for server in self.servers if name not in self.spoilt]
        entries = [cache[name] for cache in self.caches.values() if name in cache]
        told += [entry.value for entry in entries if entry.end > self.now and not entry.unfair]
        if any(text.startswith(OURS) for value in told for text in value):
            raise Broken(f"{name} is forgotten while some take its key for good")

    def ask(self, resolver: str, selector: str, server: str) -> None:
        """A resolver answers from its cache, or asks a server and remembers."""
        cache = self.caches[resolver]
        for name in self.path(selector):
            if name not in cache or cache[name].end <= self.now:
                if not self.servers[server].up:
                    return
                value = self.zone(server).get(name, ())
                unfair = name in self.spoilt and value != self.truth.get(name, ())
                cache[name] = Entry(value, self.now + (TTL if value else NEGATIVE), unfair)
            if cache[name].value != (ALIAS + self.owner(selector),):
                return

    def look(self) -> dict[str, list[Sight]]:
        """What the rotation sees."""
        names = rotation.names(self.signers(), [self.domain])
        return {name: [self.sight(server, name) for server in self.servers] for name in names}

    def notice(self, steps: list[Step]) -> None:
        """What the rotation knows from then on: of the keys that nothing kept it from looking at, when that is noted."""
        self.seen = {}
        signing = {
            selector for relay in self.relays.values() if self.present(relay) for selector in relay.signing.values()
        }
        for step in steps:
            if step.selector in signing and not step.note:
                self.mail += [one for one in self.stray if one.selector == step.selector]
            for name in self.path(step.selector) if step.selector else ():
                self.seen[name] = {
                    self.zone(server).get(name, ()) for server, state in self.servers.items() if state.up
                }
                self.foreign.discard(name)
                if any(FOREIGN in value for value in self.seen[name]):
                    self.foreign.add(name)
                if not step.note:
                    self._noted(name)

    def sight(self, server: str, name: str) -> Sight:
        if not self.servers[server].up:
            return Sight(server, problem=f"{server} does not answer")
        value = self.zone(server).get(name, ())
        ttl = TTL if value else NEGATIVE
        if value and value[0].startswith(ALIAS):
            return Sight(server, alias=value[0].removeprefix(ALIAS), ttl=ttl, negative=NEGATIVE)
        return Sight(server, value, ttl=ttl, negative=NEGATIVE)

    def _noted(self, name: str) -> None:
        shown = self.seen.get(name, set())
        if name not in self.spoilt or shown <= {self.truth.get(name, ())} or self._in_use(name):
            return
        for cache in self.caches.values():
            if name in cache and cache[name].value in shown:
                cache[name].unfair = False
        if all(self._sound(name, state.version + 1) for state in self.servers.values()):
            self.spoilt.discard(name)

    def _in_use(self, name: str) -> bool:
        """Whether mail needs it, or a relay that is set up anew would sign with it at once."""
        used = {one.selector for one in self.mail}
        for relay in self.relays.values():
            used |= {
                *relay.signing.values(),
                *(held.selector for held in relay.manifest.values() if held.state == "active"),
            }
        return any(name in self.path(selector) for selector in used)

    def _sound(self, name: str, version: int) -> bool:
        """Whether a name is as it was published in a version and all that follow."""
        return all(zone.get(name, ()) == self.truth.get(name, ()) for zone in self.history[version:])

    def heal(self) -> None:
        """What is as it was published everywhere is spoilt no more."""
        versions = [state.version for state in self.servers.values()]
        self.spoilt = {name for name in self.spoilt if not all(self._sound(name, version) for version in versions)}

    # Signers

    def new_key(self, selector: str, algorithm: str = "rsa") -> Held:
        self.made += 1
        key = f"{self.made:04d}"
        record = OURS[:-1] + key
        return Held(D, selector, algorithm, "pending", record=record, public=b64decode(key), created=self.now)

    def free_selector(self) -> str:
        return f"auto{self.made}"

    def selectors(self) -> list[str]:
        """All that anybody may have to do with."""
        held = [selector for relay in self.relays.values() for selector in relay.manifest]
        return sorted({*held, self.free_selector(), *self.domain.selectors})

    def signers(self) -> list[Signer]:
        """What the rotation is told of the relays."""
        return [
            Signer(
                relay.name,
                tuple(relay.manifest.values()) if self.present(relay) else (),
                share=relay.share,
                queue_lifetime=QUEUE,
                reached=self.present(relay),
                signs={D: tuple(relay.signing.values())},
                left_out=relay.name == self.left_out,
            )
            for relay in self.relays.values()
        ]

    def present(self, relay: Relay) -> bool:
        return relay.reachable and relay.name != self.left_out

    def relay(self, name: str) -> Relay:
        if not self.present(self.relays[name]):
            raise Interrupted
        return self.relays[name]

    def sharing(self, relay: Relay) -> list[Relay]:
        return [
            other for other in self.relays.values() if other is relay or (relay.share and other.share == relay.share)
        ]

    def send(self, name: str) -> None:
        """A message is signed."""
        relay = self.relays[name]
        for selector in relay.signing.values():
            record = key_text(relay.manifest[selector])
            self.check_servers(selector, record, f"{name} signs with it")
            mail = self.stray if relay.manifest[selector].state == "retired" else self.mail
            mail.append(Mail(selector, record, self.now + QUEUE + self.keep))

    def advance(self, seconds: int) -> None:
        self.now += seconds
        self.mail = [one for one in dict.fromkeys(self.mail) if one.until > self.now]
        self.stray = [one for one in dict.fromkeys(self.stray) if one.until > self.now]

    # What a step does, in the order that the rotation names

    def operations(self, step: Step) -> Iterator[Operation]:
        """The single acts of a step; a run may end between any two."""
        for act in rotation.ORDER.get(step.kind, ("note",) if step.kind == "blocked" else ()):
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
                self.check_forgotten(self.owner(selector))
        elif "retired" in values:
            self.mail += [one for one in self.stray if one.selector == selector]
        relay.manifest[selector] = replace(relay.manifest[selector], **values)
        for record in self.path(selector):
            self._noted(record)

    def _make(self, step: Step) -> Iterator[Operation]:
        yield lambda: self.make(step.signers[0], step.chosen, step.algorithm)

    def make(self, name: str, chosen: str, algorithm: str) -> None:
        held = self.new_key(chosen or self.free_selector(), algorithm)
        self.relay(name).manifest[held.selector] = held

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
        self.attempted.add((self.owner(step.selector), step.state))
        self.change(self.owner(step.selector), held.record)

    def _sign(self, step: Step) -> Iterator[Operation]:
        for name in step.signers:
            yield lambda name=name: self.sign(name, step)  # type: ignore[misc]

    def sign(self, name: str, step: Step) -> None:
        relay = self.relay(name)
        relay.signing[step.algorithm] = step.selector
        relay.anew.discard(step.algorithm)
        relay.refused = False
        lacking = [other.name for other in self.sharing(relay) if step.selector not in other.manifest]
        if lacking:
            raise Broken(f"{name} signs with {step.selector}, which {lacking} lack")

    def _prove(self, step: Step) -> Iterator[Operation]:
        for name in step.signers:
            yield lambda name=name: self.prove(name, step.algorithm)  # type: ignore[misc]

    def prove(self, name: str, algorithm: str) -> None:
        """What is not proven goes back to the key from before."""
        relay = self.relay(name)
        relay.refused = relay.stubborn
        if relay.refused:
            relay.signing[algorithm] = self.of(relay, algorithm, "active")[0].selector

    @staticmethod
    def of(relay: Relay, algorithm: str, state: str) -> list[Held]:
        return [held for held in relay.manifest.values() if (held.algorithm, held.state) == (algorithm, state)]

    def _activate(self, step: Step) -> Iterator[Operation]:
        for name in step.signers:
            yield lambda name=name: self.activate(name, step)  # type: ignore[misc]

    def activate(self, name: str, step: Step) -> None:
        relay = self.relay(name)
        if relay.refused:
            return
        for held in self.of(relay, step.algorithm, "active"):
            self.put(name, held.selector, state="retired")
        self.put(name, step.selector, state="active")

    def _forget(self, step: Step) -> Iterator[Operation]:
        for name in step.signers:
            yield lambda name=name: self.forget(name, step.selector)  # type: ignore[misc]

    def forget(self, name: str, selector: str) -> None:
        self.check_forgotten(self.owner(selector))
        del self.relay(name).manifest[selector]

    # What must hold

    def check_servers(self, selector: str, record: str, what: str) -> None:
        for name, value in self.path(selector, record).items():
            for server in self.servers if name not in self.spoilt else ():
                if self.zone(server).get(name, ()) != value:
                    raise Broken(f"{what}: {selector}, but {server} has another word for {name}")

    def check(self) -> None:
        for one in self.mail:
            self.check_servers(one.selector, one.record, "mail is under way")
            for name, value in self.path(one.selector, one.record).items():
                for resolver, cache in self.caches.items():
                    entry = cache.get(name)
                    if entry is not None and entry.end > self.now and not entry.unfair and entry.value != value:
                        raise Broken(f"mail signed with {one.selector} fails for those who ask {resolver}")
        for relay in self.relays.values():
            for algorithm, selector in relay.signing.items():
                self._check_signing(relay, algorithm, selector)

    def _check_signing(self, relay: Relay, algorithm: str, selector: str) -> None:
        if len(self.of(relay, algorithm, "pending")) > 1:
            raise Broken(f"{relay.name} has two next keys")
        if selector not in relay.manifest:
            raise Broken(f"{relay.name} signs with a key that is gone")
        # A relay that is set up anew in the midst of a switch signs with the old key again, for a while.
        fine = ("pending", "active", "retired") if algorithm in relay.anew else ("pending", "active")
        if relay.manifest[selector].state not in fine:
            raise Broken(f"{relay.name} signs with a key that is {relay.manifest[selector].state}")

    def check_mended(self, steps: list[Step]) -> None:
        """A run that nothing disturbed leaves no key that mail needs without its record, or says so."""
        if not all(server.up for server in self.servers.values()):
            return
        said = {step.selector for step in steps if step.kind == "blocked"}
        for relay in self.relays.values() if "" not in said else ():
            for held in relay.manifest.values() if self.present(relay) else ():
                needed = held.state in ("active", "retired") and held.selector not in said
                if needed and self.history[-1].get(self.owner(held.selector), ()) != (held.record,):
                    raise Broken(f"a run ends, and the record of {held.selector} is not there")


def key_text(held: Held) -> str:
    """The record of a key that is not revoked."""
    if held.record in ("", REVOKED):
        raise Broken(f"{held.selector} signs and is revoked")
    return held.record


YES_OR_NO = (False, True)
ANY = tuple(range(12))


class Play:
    """What happens in a world; EVENTS has what each may be called with. ``steps`` counts all events of all plays."""

    steps = 0
    EVENTS: ClassVar[dict[str, dict[str, tuple[Any, ...]]]] = {
        "start_a_run": {"now": YES_OR_NO, "left_out": (0, 0, 0, 1, 2)},
        "go_on": {"count": (1, 2, 3, 6)},
        "a_whole_run": {"now": YES_OR_NO, "busy": YES_OR_NO, "cut": (1, 2, 3, 5, 8, 99, 99, 99), "left_out": (0, 0, 0, 1, 2)},
        "time_passes": {"seconds": (1, 3, NEGATIVE, NEGATIVE + 1, TTL, TTL + 1, QUEUE + 1, 120)},
        "all_send": {},
        "all_take_over": {},
        "a_server_changes": {"which": (1, 2, 3), "failing": YES_OR_NO, "versions": (1, 1, 2, 99)},
        "all_is_well": {},
        "everybody_asks": {"which": (1, 2, 3)},
        "a_relay_is_in_the_way_or_no_more": {"which": (1, 2, 3), "away": YES_OR_NO},
        "a_relay_is_set_up_anew": {"which": (1, 2, 3)},
        "somebody_edits_a_record": {"which": ANY, "how": ("remove", "junk", "foreign", "beside", "full", "elsewhere")},
        "a_server_goes_back": {"which": (1, 2, 3), "versions": (1, 1, 2, 5)},
        "somebody_mends_the_records": {},
    }  # fmt: skip

    def __init__(self, setting: Setting) -> None:
        self.world = World(setting)
        self.waiting: list[Operation] = []

    def do(self, event: str, **chosen: Any) -> None:
        """One event, and what must hold after it."""
        Play.steps += 1
        getattr(self, event)(**chosen)
        self.world.heal()
        self.world.check()

    def think(self, now: bool) -> list[Step]:
        world = self.world
        policy = replace(world.policy, rotate_now=now, attempted=frozenset(world.attempted))
        steps = rotation.plan(world.signers(), [world.domain], world.look(), now=world.now, policy=policy)
        world.notice(steps)
        return steps

    def perform(self, operation: Operation) -> bool:
        try:
            operation()
        except Interrupted:
            self.waiting = []
            return False
        return True

    def _begin(self, left_out: int) -> None:
        self.world.attempted, self.waiting = set(), []
        there = len(self.world.relays) > 1 and f"relay{left_out}" in self.world.relays
        self.world.left_out = f"relay{left_out}" if there else ""

    def start_a_run(self, now: bool, left_out: int) -> None:
        """The playbook begins a round; what it finds to do is done one by one, or never."""
        self._begin(left_out)
        self.waiting = [act for step in self.think(now) for act in self.world.operations(step)]

    def go_on(self, count: int) -> None:
        for operation in self.waiting[:count]:
            if not self.perform(operation):
                return
            self.world.check()
        self.waiting = self.waiting[count:]

    def a_whole_run(self, now: bool, busy: bool, cut: int, left_out: int) -> None:
        """Nothing disturbs it, or it is killed; ``busy`` has mail, questions and prompt servers all the time."""
        self._begin(left_out)
        for dummy in range(8):
            steps = self.think(now)
            acts = [act for step in steps for act in self.world.operations(step)]
            for act in acts:
                cut -= 1
                if cut < 0 or not self.perform(act):
                    return
                if busy:
                    self.all_take_over()
                    self.all_send()
                    self.ask_all("ns1")
                self.world.check()
            if not any(rotation.ORDER.get(step.kind) and (step.kind != "wait" or step.note) for step in steps):
                self.world.check_mended(steps)
                return

    def ask_all(self, server: str) -> None:
        for resolver in self.world.caches:
            for selector in self.world.selectors():
                self.world.ask(resolver, selector, server)

    def time_passes(self, seconds: int) -> None:
        self.world.advance(seconds)

    def all_send(self) -> None:
        for name in self.world.relays:
            self.world.send(name)

    def all_take_over(self) -> None:
        for server in self.world.servers.values():
            server.version = len(self.world.history) - 1
        self.world.heal()

    def a_server_changes(self, which: int, failing: bool, versions: int) -> None:
        """It fails, recovers, or takes over some of what is new."""
        server = self._server(which)
        if failing:
            server.up = not server.up
        else:
            server.version = min(server.version + versions, len(self.world.history) - 1)

    def _server(self, which: int) -> Server:
        return list(self.world.servers.values())[which % len(self.world.servers)]

    def _relay(self, which: int) -> Relay:
        return list(self.world.relays.values())[which % len(self.world.relays)]

    def all_is_well(self) -> None:
        for server in self.world.servers.values():
            server.up = True
        self.all_take_over()
        for relay in self.world.relays.values():
            relay.reachable, relay.stubborn = True, False

    def everybody_asks(self, which: int) -> None:
        """Also for names that do not exist yet: a stranger tries, or a resolver infers from others."""
        self.ask_all(list(self.world.servers)[which % len(self.world.servers)])

    def a_relay_is_in_the_way_or_no_more(self, which: int, away: bool) -> None:
        relay = self._relay(which)
        if away:
            relay.reachable = not relay.reachable
        else:
            relay.stubborn = not relay.stubborn

    def a_relay_is_set_up_anew(self, which: int) -> None:
        """Its role: all keys are published, those that are active sign."""
        world, relay = self.world, self._relay(which)
        try:
            for held in [held for held in relay.manifest.values() if held.record]:
                if held.state != "revoked" or self.agreed(held.selector):
                    world.change(world.owner(held.selector), held.record, role=True)
        except Interrupted:
            return
        for algorithm in relay.signing:
            relay.signing[algorithm] = world.of(relay, algorithm, "active")[0].selector
            relay.anew.add(algorithm)

    def agreed(self, selector: str) -> bool:
        """Whether all who hold a key have it in the same state: the records playbook refuses two texts."""
        held = [relay.manifest[selector] for relay in self.world.relays.values() if selector in relay.manifest]
        return len({one.state for one in held}) == 1

    def somebody_edits_a_record(self, which: int, how: str) -> None:
        """By hand, at the primary: of a key that is in use, or of a selector that will be."""
        world = self.world
        names = sorted({name: selector for selector in world.selectors() for name in world.path(selector)}.items())
        name, selector = names[which % len(names)]
        held = next((relay.manifest[selector] for relay in world.relays.values() if selector in relay.manifest), None)
        key = b"" if held is None else held.public or b""
        full = next(
            (
                f"v=DKIM1; k=unknown; p={number:04d}"
                for number in range(1, world.made + 1)
                if b64decode(f"{number:04d}") == key
            ),
            JUNK,
        )
        there = tuple(text for text in world.history[-1].get(name, ()) if not text.startswith(ALIAS))
        texts = {"remove": (), "junk": (JUNK,), "foreign": (FOREIGN,), "beside": (*there, JUNK)[:2], "full": (full,)}
        value: Value = texts.get(how, (ALIAS + "elsewhere.example.",))
        self._spoil({name: value})
        if held is not None and value == (held.record,) and name == world.owner(selector):
            world.truth[name] = value  # that is how a person publishes

    def _spoil(self, values: dict[str, Value]) -> None:
        self.world.spoilt |= {name for name, value in values.items() if value != self.world.history[-1].get(name, ())}
        self.world.write(values)

    def a_server_goes_back(self, which: int, versions: int) -> None:
        """Restored from what it was some versions ago; what the primary has then goes to the others."""
        world, server = self.world, self._server(which)
        version = max(server.version - versions, 0)
        if server is world.servers["ns1"]:
            old = world.history[version]
            self._spoil({name: old.get(name, ()) for name in {*old, *world.history[-1]}})
            return
        zones = world.history[version : server.version + 1]
        world.spoilt |= {
            name for zone in zones for name in {*zone, *zones[-1]} if zone.get(name) != zones[-1].get(name)
        }
        server.version = version

    def somebody_mends_the_records(self) -> None:
        """All are as they were published."""
        self.world.write(
            {name: self.world.truth.get(name, ()) for name in {*self.world.truth, *self.world.history[-1]}}
        )
