# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan: the next step of every DKIM key, from what signers hold and name servers say. Pure; private.

What must never happen decides each rule. (1) A message is signed with a key that some authoritative
server does not publish, or that some resolver may still remember as absent or different. (2) A message
that could be verified when it was signed fails while it waits in a queue.

So a key goes this way, one step at a time, and no state lives anywhere but in the signers' manifests
and in DNS: pending (made, brought to every signer that shares it, published, seen at every server for
longer than any cache keeps what was there before) - active (signs) - retired (published for the mail
under way) - revoked (its record has an empty p=, RFC 6376 section 3.6.1) - withdrawn (its record is
gone, caches may still hold it) - forgotten. A run that is killed anywhere is continued by the next.

How long a resolver keeps a negative answer: RFC 2308 section 5. That counts for names nobody ever asked
for too: a validating resolver infers such answers from others (RFC 8198).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from ansible_collections.postmaster.mail.plugins.module_utils._dkim import (
    ALGORITHMS,
    DkimError,
    DkimRecord,
    key_owner,
    record_name,
)
from ansible_collections.postmaster.mail.plugins.module_utils._dkim_plan import (
    ACTIVE,
    PENDING,
    RETIRED,
    REVOKED,
    WITHDRAWN,
)
from ansible_collections.postmaster.mail.plugins.module_utils._record import absolute

Note: TypeAlias = "dict[str, int | None]"  # what is to be written in manifests: published, settle, retired

DAY = 86400
CLOCKS = 300  # seconds by which clocks may differ
KINDS = ("generate", "bring", "publish", "wait", "switch", "keep", "revoke", "withdraw", "remove", "rest", "blocked")
# What each step is made of, in the order that keeps the rules when a run ends between any two. A signer
# switches before its manifest says so: until then a run of its role takes it back to the old key, which
# does no harm, while the reverse order would count the old key as retired while it signs.
ORDER = {
    "generate": ("make",),
    "bring": ("copy", "list"),
    "publish": ("note", "update"),
    "wait": ("note",),
    "switch": ("note", "sign", "prove", "activate"),
    "revoke": ("mark",),
    "withdraw": ("mark",),
    "remove": ("forget",),
}
FOREIGN = (
    "; what {} has there is the key of somebody else: have its owner sign with another selector, or this key removed "
    "here (dkim_key with state=absent), or add -e mail_records_replace=true to this run"
)
_TIMES = ("created", "published", "activated", "retired", "revoked", "withdrawn")
_ENDING = (RETIRED, REVOKED, WITHDRAWN)


# What is known


@dataclass(frozen=True)
class Held:
    """One key as one signer holds it. Times are seconds since the epoch, None for never."""

    domain: str
    selector: str
    algorithm: str
    state: str
    record: str = ""  # the text its state asks DNS to hold; "" for none
    public: bytes | None = None  # the key that verifiers use, also when its record is revoked or gone
    path: str = ""
    created: int | None = None
    published: int | None = None  # since when every server has been seen to answer as the state asks for
    settle: int = 0  # seconds for which resolvers may keep what was there before
    activated: int | None = None
    retired: int | None = None
    revoked: int | None = None
    withdrawn: int | None = None

    @property
    def verifies(self) -> bytes | None:
        """The public key, from the record where nothing else tells it; None where nothing does."""
        return self.public or _public(self.record) or None


@dataclass(frozen=True)
class Signer:
    """A host that signs, with the keys in its manifests. Those with the same ``share`` have their keys in common."""

    name: str
    keys: tuple[Held, ...] = ()
    share: str = ""
    algorithms: tuple[str, ...] = ALGORITHMS
    queue_lifetime: int = 0  # seconds that a signed message may wait there, its last attempt included
    program: str = "its signer"
    reached: bool = True
    signs: Mapping[str, tuple[str, ...]] | None = field(
        default=None, hash=False
    )  # with what, by domain; if it is known
    silence: str = ""  # why it signs a domain's mail not at all
    ahead: int = 0  # seconds by which its clock is ahead of this machine's
    one_key: bool = False  # the same key, under one selector, for all its domains
    left_out: bool = False  # this run is not for it, so nothing is known of it

    def signs_with(self, key: Key) -> bool | None:
        """Whether it does, if that is known."""
        return None if self.signs is None else key.selector in self.signs.get(key.domain, ())


@dataclass(frozen=True)
class Domain:
    """What the inventory says of a domain's keys."""

    name: str
    algorithms: tuple[str, ...] = ("rsa",)
    bits: int | None = None
    ttl: int = 3600
    selectors: tuple[str, ...] = ()  # the only ones to use, in turn
    target: str = ""  # where the selectors' CNAME records lead, with {selector}, {domain} and {dashed}

    def owner(self, selector: str) -> str:
        """The name that holds the key record: the selector's own, or what its CNAME leads to."""
        return key_owner(selector, self.name, self.target)


@dataclass(frozen=True)
class Sight:
    """What one authoritative server says of one name."""

    server: str
    texts: tuple[str, ...] = ()  # its TXT records, strings joined
    alias: str = ""  # the target where it is a CNAME
    ttl: int = 0  # seconds that a resolver may keep this answer, positive or negative
    negative: int = 0  # seconds that one may keep a negative answer of the zone
    problem: str = ""  # why there is no usable answer, a sentence


@dataclass(frozen=True)
class Policy:
    """When keys are due, all in seconds; ``attempted`` names what this run has published, each with its key's state."""

    rotate_after: int = 180 * DAY
    settle: int = DAY  # the least between a key being visible and being used
    keep: int = 14 * DAY  # that a retired key stays published after the last message left the signer's own queue
    revoked: int = 30 * DAY  # the least that its revocation does
    rotate_now: bool = False
    attempted: frozenset[tuple[str, str]] = frozenset()
    replace: bool = False  # keys of others may be replaced
    by_hand: bool = False  # a person publishes, at all servers or at none


@dataclass(frozen=True)
class Step:
    """The next step of one key. ``signers`` do it; ``until`` is when it is due; ``why`` a sentence.

    ``note`` is to be written in the manifests of all holders first.
    """

    kind: str
    domain: str
    algorithm: str
    selector: str = ""
    state: str = ""
    since: int | None = None
    signers: tuple[str, ...] = ()
    until: int | None = None
    why: str = ""
    note: tuple[tuple[str, int | None], ...] = ()
    holders: tuple[str, ...] = ()
    chosen: str = ""  # with generate: the selector that the next key must have
    source: str = ""  # with bring: the domain whose key it is, if that is another


@dataclass(frozen=True)
class Key:
    """One key with all signers of a line that hold it."""

    domain: str
    selector: str
    algorithm: str
    holders: Mapping[str, Held] = field(hash=False)

    @property
    def stage(self) -> str:
        """The least advanced state that a holder has it in."""
        states = {held.state for held in self.holders.values()}
        return next(state for state in (PENDING, ACTIVE, *_ENDING) if state in states)

    def at(self, state: str) -> dict[str, Held]:
        """The holders that have it in ``state``."""
        return {name: held for name, held in self.holders.items() if held.state == state}

    def latest(self, what: str) -> int | None:
        """The last of one kind of time among the holders at the key's stage."""
        times = [getattr(held, what) for held in self.at(self.stage).values()]
        return max((time for time in times if time is not None), default=None)

    @property
    def published(self) -> int | None:
        """Since when it is seen everywhere; None if one of the holders does not know: a run ended before it did."""
        times = [held.published for held in self.at(self.stage).values()]
        return max((time for time in times if time is not None), default=None) if None not in times else None

    @property
    def settle(self) -> int:
        return max(held.settle for held in self.at(self.stage).values())

    @property
    def record(self) -> str:
        return next(held.record for held in self.at(self.stage).values())

    @property
    def verifies(self) -> bytes | None:
        return next((held.verifies for held in self.holders.values() if held.verifies), None)

    @property
    def since(self) -> int | None:
        """When it came to its stage."""
        time = {PENDING: "created", ACTIVE: "activated"}.get(self.stage, self.stage)
        return self.latest(time) or self.latest("created")


@dataclass(frozen=True)
class Line:
    """The keys of one domain and algorithm that the same signers use, one after the other."""

    domain: Domain
    algorithm: str
    members: tuple[Signer, ...]
    keys: tuple[Key, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(member.name for member in self.members)

    def active(self, name: str) -> Held | None:
        """What a member signs with."""
        return next((key.holders[name] for key in self.keys if name in key.at(ACTIVE)), None)


# What the servers say, compared with what they should


@dataclass(frozen=True)
class View:
    """Sentences on servers that say something else or nothing, and for how long answers may be kept."""

    right: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()  # the servers that hold a valid key of somebody else
    old: int = 0  # the longest of the wrong answers
    ttl: int = 0  # the longest of all
    negative: int = 0


def same_key(text: str, wanted: str) -> bool:
    """Whether two key records mean the same to a verifier."""
    if text == wanted:
        return True
    try:
        return DkimRecord.read(text) == DkimRecord.parse(wanted)
    except DkimError:
        return False


def _fits(sight: Sight, wanted: str, own: bytes | None) -> bool:
    """Whether a server's answer is what it should be; where nothing is wanted, anything but the key that was there."""
    if wanted:
        return len(sight.texts) == 1 and same_key(sight.texts[0], wanted)
    return not any(_public(text) in (b"", own or b"") for text in sight.texts)


def _public(text: str) -> bytes | None:
    """The public key in a record: empty when it is revoked, None when there is no key record."""
    try:
        return DkimRecord.read(text).public_key
    except DkimError:
        return None


def _is_foreign(sight: Sight, own: bytes | None) -> bool:
    """Whether a server holds a key that some verifier may need, and that is not ``own``."""
    return own is not None and any(_public(text) not in (None, b"", own) for text in sight.texts)


def _wrong(sight: Sight, name: str, wanted: str) -> str:
    where = f"{sight.server} does not answer for {name} as it should"
    if not wanted:
        return f"{where}: the record is still there"
    if sight.alias:
        return f"{where}: it is a CNAME for {sight.alias}"
    if len(sight.texts) > 1:
        return f"{where}: there are {len(sight.texts)} TXT records, and verifiers want one (RFC 6376 section 3.6.2.2)"
    return f"{where}: {'the record is another' if sight.texts else 'there is no record'}"


def view(name: str, wanted: str, sights: Sequence[Sight], own: bytes | None = None) -> View:
    """What the servers of ``name`` say, compared with the record text ``wanted`` ("" for none) of the key ``own``."""
    if not sights:
        return View(silent=(f"no name server for {name} is known: is its zone delegated?",))
    answered = [sight for sight in sights if not sight.problem]
    wrong = [sight for sight in answered if not _fits(sight, wanted, own)]
    return View(
        right=tuple(sight.server for sight in answered if sight not in wrong),
        wrong=tuple(_wrong(sight, name, wanted) for sight in wrong),
        silent=tuple(sight.problem for sight in sights if sight.problem),
        foreign=tuple(sight.server for sight in answered if _is_foreign(sight, own)),
        old=max((sight.ttl for sight in wrong), default=0),
        ttl=max((sight.ttl for sight in answered), default=0),
        negative=max((sight.negative for sight in answered), default=0),
    )


def _alias_view(name: str, target: str, sights: Sequence[Sight]) -> View:
    """The same for a selector that is to be a CNAME."""
    seen = view(name, "", sights)
    wrong = [sight for sight in sights if not sight.problem and absolute(sight.alias or ".") != target]
    return View(
        old=max((sight.ttl for sight in wrong), default=0),
        wrong=tuple(
            f"{sight.server} has no CNAME for {name} that leads to {target}: publish it there" for sight in wrong
        ),
        silent=seen.silent,
        negative=seen.negative,
        ttl=seen.ttl,
    )


def _look(line: Line, key: Key, seen: Mapping[str, Sequence[Sight]]) -> tuple[View, View]:
    """What is said of a key's record, and of the CNAME that leads there."""
    owner = line.domain.owner(key.selector)
    name = record_name(key.selector, key.domain)
    alias = _alias_view(name, owner, seen.get(name, ())) if owner != name and key.stage != WITHDRAWN else View()
    return view(owner, key.record, seen.get(owner, ()), key.verifies), alias


def _obstacles(seen: View, alias: View) -> tuple[str, ...]:
    """What keeps a record from being visible everywhere."""
    return (*seen.wrong, *seen.silent, *alias.wrong, *alias.silent)


def _cached(key: Key, seen: View, alias: View, policy: Policy) -> int:
    """For how many seconds after it is visible everywhere some resolver may answer as before.

    A CNAME may have taken the place of another before any run saw that one: its TTL is likely the same.
    """
    return max(policy.settle, _before(key), _negative(seen, alias), alias.ttl)


def _before(key: Key) -> int:
    return key.settle


def _negative(seen: View, alias: View) -> int:
    return max(seen.negative, alias.negative)


# The next step of each key


def plan(
    signers: Iterable[Signer],
    domains: Iterable[Domain],
    seen: Mapping[str, Sequence[Sight]],
    *,
    now: int,
    policy: Policy | None = None,
) -> list[Step]:
    """The next step of every key of ``domains``; ``seen`` has what :func:`names` asks for."""
    signers, domains, policy = tuple(signers), tuple(domains), policy or Policy()
    steps: list[Step] = []
    for domain in domains:
        taken = _taken(domain, signers) | _occupied(domain, seen)
        clashes = _clashes(domain, signers)
        unasked = tuple(signer.name for signer in signers if not signer.reached)
        for line in lines(domain, signers):
            obstacle = _line_obstacle(line, clashes) or _clock_obstacle(line, now)
            if obstacle:
                steps.append(Step("blocked", domain.name, line.algorithm, signers=line.names, why=obstacle))
                continue
            for key in line.keys:
                step = _step(_Draft(line, key, *_look(line, key, seen), now, policy, unasked), taken)
                taken |= {step.chosen} - {""}
                steps.append(step)
    return _together(steps, signers)


def _together(steps: Sequence[Step], signers: Iterable[Signer]) -> list[Step]:
    """Where a signer has one key for all its domains: it is made once, known to all, and used by all at once."""
    groups: dict[tuple[str, str], set[str]] = {}  # the domains that sign, by group of signers and algorithm
    of = {signer.name: signer.share or signer.name for signer in signers if signer.one_key}
    for signer in signers:
        for key in signer.keys if signer.one_key else ():
            if key.state == ACTIVE:
                groups.setdefault((of[signer.name], key.algorithm), set()).add(key.domain)
    done = list(steps)
    for (group, algorithm), domains in groups.items():
        names = {name for name, one in of.items() if one == group}
        mine = [at for at, step in enumerate(done) if step.algorithm == algorithm and names & {*step.holders}]
        for at, step in zip(mine, _in_step([done[at] for at in mine], domains), strict=True):
            done[at] = step
    return done


def _in_step(steps: Sequence[Step], domains: set[str]) -> list[Step]:
    """The steps of one such key; ``domains`` are all that sign."""
    following = next((step for step in steps if step.state == PENDING), None)
    if following is None:
        first = next((step for step in steps if step.kind == "generate"), None)
        why = "there is one key for all domains"
        return [
            replace(step, kind="rest", signers=(), chosen="", why=why)
            if step.kind == "generate" and step is not first
            else step
            for step in steps
        ]
    ready = {step.domain: step.kind == "switch" for step in steps if step.selector == following.selector}
    late = sorted(domain for domain in domains if not ready.get(domain))
    result = []
    for step in steps:
        if step.state == ACTIVE and step.domain not in ready and step.kind in ("generate", "rest"):
            step = replace(
                following,
                kind="bring",
                domain=step.domain,
                source=following.domain,
                signers=following.holders,
                until=None,
                note=(),
                why="",
            )
        elif step.kind == "switch" and late:
            step = replace(step, kind="wait", signers=(), why=f"{' and '.join(late)} is not ready for the same key")
        result.append(step)
    return result


def _taken(domain: Domain, signers: Iterable[Signer]) -> set[str]:
    """The selectors that are in use; what a host uses that could not be asked, nobody knows."""
    signers = tuple(signers)
    known = {key.selector for signer in signers for key in signer.keys if key.domain == domain.name or signer.one_key}
    return known if all(signer.reached for signer in signers) else known | set(domain.selectors)


def _occupied(domain: Domain, seen: Mapping[str, Sequence[Sight]]) -> set[str]:
    """Selectors at which some server holds a valid key, whoever signs with it."""
    found = {name: seen.get(domain.owner(name), ()) for name in domain.selectors}
    return {name for name, sights in found.items() if any(_public(text) for sight in sights for text in sight.texts)}


def names(signers: Iterable[Signer], domains: Iterable[Domain]) -> list[str]:
    """All names that servers are to be asked for, absolute."""
    signers = tuple(signers)
    found = {}
    for domain in domains:
        held = [key.selector for signer in signers for key in signer.keys if key.domain == domain.name]
        for selector in (*held, *domain.selectors):
            found[record_name(selector, domain.name)] = found[domain.owner(selector)] = True
    return list(found)


def lines(domain: Domain, signers: Iterable[Signer]) -> Iterator[Line]:
    """The lines of a domain: for each algorithm one a signer, or one for those that share their keys."""
    groups: dict[tuple[str, str], list[Signer]] = {}
    for signer in signers:
        groups.setdefault(("share", signer.share) if signer.share else ("host", signer.name), []).append(signer)
    for members in groups.values():
        if all(member.left_out for member in members):
            continue
        for algorithm in ALGORITHMS:
            keys = tuple(_keys(domain.name, algorithm, members))
            if keys or (algorithm in domain.algorithms and not all(member.reached for member in members)):
                yield Line(domain, algorithm, tuple(members), keys)


def _keys(domain: str, algorithm: str, members: Iterable[Signer]) -> Iterator[Key]:
    holders: dict[str, dict[str, Held]] = {}
    for member in members:
        for held in member.keys:
            if (held.domain, held.algorithm) == (domain, algorithm):
                holders.setdefault(held.selector, {})[member.name] = held
    for selector, found in holders.items():
        yield Key(domain, selector, algorithm, found)


def _clashes(domain: Domain, signers: Iterable[Signer]) -> dict[str, tuple[str, ...]]:
    """Selectors that several signers hold which do not say that they share their keys."""
    owners: dict[str, dict[tuple[str, str], str]] = {}
    for signer in signers:
        for key in signer.keys:
            if key.domain == domain.name:
                group = ("share", signer.share) if signer.share else ("host", signer.name)
                owners.setdefault(key.selector, {})[group] = signer.name
    return {selector: tuple(found.values()) for selector, found in owners.items() if len(found) > 1}


def _line_obstacle(line: Line, clashes: Mapping[str, Sequence[str]]) -> str:
    """Why nothing at all can be done with a line."""
    out = [member.name for member in line.members if member.left_out]
    if out:
        others = " and ".join(name for name in line.names if name not in out)
        return (
            f"{' and '.join(out)} has its keys in common with {others} and is left out of this run, so it is not known "
            "with what it signs: run this without --limit and rotate_hosts"
        )
    away = [member.name for member in line.members if not member.reached]
    if away:
        return f"{' and '.join(away)} could not be reached, so it is not known with what it signs: run this again"
    for key in line.keys:
        if key.selector in clashes:
            both = " and ".join(clashes[key.selector])
            return f"{both} hold the same key {key.selector}: give them the same mail_dkim_share, or keys of their own"
    if line.algorithm not in line.domain.algorithms:
        return ""
    for member in line.members:
        if line.algorithm not in member.algorithms:
            what = "Ed25519" if line.algorithm == "ed25519" else "RSA"
            return (
                f"{member.program} on {member.name} cannot sign with {what}: take another signer there (relay_signer), "
                f"or take {line.algorithm} out of dkim.algorithms of {line.domain.name}"
            )
    pending = [key.selector for key in _pending_keys(line)]
    if len(pending) > 1:
        return f"{' and '.join(pending)} both are to be the next key: remove one (dkim_key with state=absent)"
    lost = [member.name for member in line.members if line.active(member.name) is None]
    if lost and any(key.stage == ACTIVE for key in line.keys):
        return f"{' and '.join(lost)} holds no active key of {line.domain.name}: run postmaster.mail.relay for it"
    return ""


def _clock_obstacle(line: Line, now: int) -> str:
    """Why times cannot be trusted: a wait would last for ever, or be no wait."""
    for member in line.members:
        if abs(member.ahead) > CLOCKS:
            than = "ahead of" if member.ahead > 0 else "behind"
            return (
                f"the clock of {member.name} is {abs(member.ahead)} seconds {than} this machine's, and nobody knows "
                "which is right: set both (NTP), and run this again"
            )
    for key in line.keys:
        for name, held in key.holders.items():
            late = [what for what in _TIMES if (getattr(held, what) or 0) > now + CLOCKS]
            if late:
                return (
                    f"the manifest of {name} has a time in the future, {late[0]} of {key.selector}: set this machine's "
                    "clock, or if that is right, mend the time there"
                )
    return ""


def _pending_keys(line: Line) -> list[Key]:
    return [key for key in line.keys if key.stage == PENDING]


def _step(draft: _Draft, taken: set[str]) -> Step:
    """The next step of one key, by its stage."""
    stage = draft.key.stage
    if stage == PENDING:
        return draft.pending()
    if stage == ACTIVE:
        return draft.active(taken)
    if stage == RETIRED:
        return draft.retired()
    return draft.revoked() if stage == REVOKED else draft.withdrawn()


@dataclass(frozen=True)
class _Draft:
    """One key and all that its next step depends on."""

    line: Line
    key: Key
    said: View
    alias: View
    now: int
    policy: Policy
    unasked: tuple[str, ...] = ()  # signers of which nothing is known

    def step(
        self,
        kind: str,
        *,
        signers: Iterable[str] = (),
        until: int | None = None,
        why: str = "",
        chosen: str = "",
        note: Note | None = None,
    ) -> Step:
        key = self.key
        return Step(
            kind,
            key.domain,
            key.algorithm,
            selector=key.selector,
            state=key.stage,
            since=key.since,
            signers=tuple(signers),
            until=until,
            why=why,
            note=tuple((what, value) for what, value in (note or {}).items() if not self.noted(what, value)),
            holders=tuple(key.holders),
            chosen=chosen,
        )

    def noted(self, what: str, value: int | None) -> bool:
        """Whether all manifests say so already."""
        return all(getattr(held, what) == value for held in self.key.at(self.key.stage).values())

    def publish(self, note: Note | None = None) -> Step:
        """Bring the record to DNS; once that was tried in this run, say what stands in the way."""
        if self.said.foreign and not self.policy.replace:
            return self.blocked(note, more=FOREIGN.format(" and ".join(self.said.foreign)))
        tried = (self.line.domain.owner(self.key.selector), self.key.stage) in self.policy.attempted
        if tried or (self.policy.by_hand and self.said.right):
            return self.blocked(note)
        return self.step("publish", why="; ".join(self.said.wrong), note=note)

    def blocked(self, note: Note | None = None, more: str = "") -> Step:
        return self.step("blocked", why="; ".join(_obstacles(self.said, self.alias)) + more, note=note)

    def pending(self) -> Step:
        """Made; signs when all who share it hold it and all resolvers can know it."""
        lacking = _lacking(self.line, self.key)
        if lacking:
            return self.step("bring", signers=lacking)
        if self.said.wrong or self.alias.wrong:
            note: Note = {"settle": max(self.key.settle, self.said.old, self.alias.old), "published": None}
            return self.publish(note) if self.said.wrong else self.blocked(note)
        if _obstacles(self.said, self.alias):
            return self.blocked()
        since, note = self.noticed()
        until = since + _cached(self.key, self.said, self.alias, self.policy)
        if self.now < until:
            return self.step("wait", until=until, why="resolvers may hold what was there before", note=note)
        return self.step("switch", signers=self.key.at(PENDING), note=note)

    def noticed(self) -> tuple[int, Note]:
        """Since when all servers answer as they should, and what is to be noted if that is new.

        The second that has begun is counted as not yet: no time is told shorter than it was.
        """
        since = self.key.published
        return (since, {}) if since is not None else (self.now + 1, {"published": self.now + 1})

    def active(self, taken: set[str]) -> Step:
        """Signs, until it is too old."""
        if self.said.wrong:
            return self.publish()
        if _obstacles(self.said, self.alias):
            return self.blocked()
        astray = [member for member in self.line.members if self.astray(member)]
        if astray:
            why = "; ".join(f"{member.name} does not sign with it{member.silence}" for member in astray)
            return self.step("blocked", why=f"{why}: run postmaster.mail.relay")
        if self.line.algorithm not in self.line.domain.algorithms:
            return self.step("rest", why=f"{self.line.algorithm} is not in dkim.algorithms: it stays as it is")
        first = next(key for key in self.line.keys if key.stage == ACTIVE)
        if _under_way(self.line) or first.selector != self.key.selector:
            return self.step("rest", why="a rotation is under way")
        times = [held.activated or held.created or 0 for key in self.line.keys for held in key.at(ACTIVE).values()]
        until = min(times) + self.policy.rotate_after
        if not self.policy.rotate_now and self.now < until:
            return self.step("rest", until=until)
        if not self.line.domain.selectors:
            return self.step("generate", signers=self.line.names[:1])
        free = [name for name in self.line.domain.selectors if name not in taken]
        if not free:
            used = ", ".join(self.line.domain.selectors)
            why = f"all of dkim.selectors ({used}) may be in use: add one, or wait, and see that all hosts are reached"
            return self.step("blocked", why=why)
        return self.step("generate", signers=self.line.names[:1], chosen=free[0])

    def astray(self, member: Signer) -> bool:
        """Whether a member does not sign as its manifest says; a switch that was cut short is taken up anyway."""
        return (
            member.name in self.key.at(ACTIVE)
            and member.signs_with(self.key) is False
            and not any(member.name in key.at(PENDING) for key in self.line.keys)
        )

    def retired(self) -> Step:
        """Signs nothing, but mail that it signed is under way."""
        signing = [member.name for member in self.line.members if member.signs_with(self.key)]
        if signing:
            why = f"{' and '.join(signing)} signs with it all the same: run postmaster.mail.relay"
            return self.step("blocked", why=why, note={"retired": self.now + 1})
        if self.said.wrong:
            return self.publish()
        unused = [member.name for member in self.line.members if self.line.active(member.name) is None]
        if unused:
            return self.step("blocked", why=f"{' and '.join(unused)} signs with no other key: activate one")
        until = _kept_until(self.line, self.key, self.policy)
        if until is None:
            return self.step("blocked", why="its manifest does not say when it was retired: enter the time there")
        if self.now < until:
            return self.step("keep", until=until, why="mail that it signed is under way")
        if self.unasked:  # one may hold a copy that nobody spoke of
            return self.step("keep", why=f"{' and '.join(self.unasked)} was not asked whether it signs with it")
        settle = max(self.said.ttl, self.key.settle, self.line.domain.ttl)
        return self.step("revoke", signers=self.key.at(RETIRED), note={"settle": settle})

    def revoked(self) -> Step:
        """Its record says that it is void."""
        return self.fade("withdraw", self.policy.revoked, max(self.said.ttl, self.line.domain.ttl))

    def withdrawn(self) -> Step:
        """Its record is gone, and when all caches know, nothing needs to be known of it any more."""
        return self.fade("remove", 0, None)

    def fade(self, kind: str, least: int, settle: int | None) -> Step:
        """A step that is due when the present state is seen everywhere and no cache knows the one before."""
        if self.said.wrong:
            return self.publish({"settle": max(self.key.settle, self.said.old), "published": None})
        if _obstacles(self.said, self.alias):
            return self.blocked()
        since, note = self.noticed()
        until = since + max(least, _before(self.key))
        if self.now < until:
            return self.step("wait", until=until, why="resolvers may hold what was there before", note=note)
        if settle is not None:
            note = {"settle": settle}
        return self.step(kind, signers=self.key.at(self.key.stage), note=note)


def _lacking(line: Line, key: Key) -> tuple[str, ...]:
    """The members of a line that do not hold a key yet."""
    return tuple(name for name in line.names if name not in key.holders)


def _under_way(line: Line) -> bool:
    """Whether a rotation has begun whose old key may still be needed."""
    return any(key.stage in (PENDING, RETIRED) for key in line.keys)


def _kept_until(line: Line, key: Key, policy: Policy) -> int | None:
    """When the last message that a retired key signed has left every queue; None if nobody knows."""
    times = [held.retired for held in key.holders.values()]
    if any(time is None for time in times):
        return None
    queues = [member.queue_lifetime for member in line.members if member.name in key.holders]
    return max(time for time in times if time is not None) + max(queues, default=0) + policy.keep
