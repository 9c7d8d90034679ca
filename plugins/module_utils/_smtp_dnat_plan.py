# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pure: what the chains of a relay have to hold after a call, from what they hold. Private.

The same for the kernel and for a file that is loaded at boot, and for every back end. Rules in our chains that belong
to another relay, or that somebody put there, stay.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

from ansible_collections.postmaster.mail.plugins.module_utils._smtp_dnat import Address, Entry, Request
from ansible_collections.postmaster.mail.plugins.module_utils._smtp_dnat_rules import (
    CLIENT,
    DOCKER,
    FORWARD,
    INCOMING,
    OUTGOING,
    Dialect,
)

Chains = dict[str, list[str]]


def plan(
    request: Request,
    versions: Sequence[int],
    dialect: Dialect,
    current: Mapping[str, Sequence[str]],
    *,
    adopted: Sequence[Entry] = (),
    saved: bool = False,
    docker: bool = False,
    now: int,
) -> Chains:
    """All chains as they have to be.

    ``adopted`` are translations that somebody wrote elsewhere and that move here; ``saved`` says that ``current`` is of
    a file, where nothing temporary stands; ``docker`` that Docker's chain is there.
    """
    after = {name: list(rules) for name, rules in current.items()}
    if request.client:
        for name, there in ((CLIENT, True), (DOCKER, docker)):
            rules = [] if request.absent or not there else _refused(request, versions, dialect, docker=name == DOCKER)
            after[name] = rules
        return _spelled(dialect, current, after)
    after[INCOMING] = _incoming(
        request, versions, dialect, [*current.get(INCOMING, ()), *_texts(dialect, adopted)], saved, now
    )
    if request.seconds is None:
        for version in versions:
            left = request.absent and any(_is_ours(entry, request, version) for entry in entries(dialect, after))
            for name, write in ((OUTGOING, dialect.outgoing), (FORWARD, dialect.forwarded)):
                if left:
                    continue
                wanted = [] if request.absent else write(request, version)
                after[name] = _with(dialect, after.get(name, []), request.relays[version], wanted)
    return _spelled(dialect, current, after)


def entries(dialect: Dialect, chains: Mapping[str, Sequence[str]]) -> list[Entry]:
    """The translations that the chains hold."""
    return [entry for rule in chains.get(INCOMING, ()) if (entry := dialect.entry(rule)) is not None]


def in_scope(entry: Entry, request: Request) -> bool:
    """Whether a translation is this call's affair: it leads to the relay, or from a destination."""
    return entry.relay == request.relays.get(entry.relay.version) or entry.destination in request.destinations


def _is_ours(entry: Entry, request: Request, version: int) -> bool:
    return entry.relay == request.relays[version]


def _texts(dialect: Dialect, found: Sequence[Entry]) -> list[str]:
    return [dialect.translation(entry) for entry in found]


def _with(dialect: Dialect, rules: list[str], relay: Address, wanted: list[str]) -> list[str]:
    """The rules of a chain with those of one relay as wanted; if they are so, all stay where they are."""
    mine = [rule for rule in rules if dialect.belongs(rule, relay)]
    if _same(dialect, mine, wanted):
        return rules
    return [rule for rule in rules if not dialect.belongs(rule, relay)] + wanted


def _same(dialect: Dialect, some: Sequence[str], others: Sequence[str]) -> bool:
    return len(some) == len(others) and all(dialect.same(one, other) for one, other in zip(some, others, strict=True))


def _refused(request: Request, versions: Sequence[int], dialect: Dialect, *, docker: bool) -> list[str]:
    return [rule for version in versions for rule in dialect.refused(request, version, docker=docker)]


def _incoming(
    request: Request, versions: Sequence[int], dialect: Dialect, rules: Sequence[str], saved: bool, now: int
) -> list[str]:
    asked = {entry.key: entry for version in versions for entry in request.entries(version)}
    wanted = {} if request.absent or (saved and request.seconds is not None) else asked
    # Written first, as a rule that was written need not be read.
    texts = {key: dialect.translation(entry) for key, entry in wanted.items()}
    relays = [request.relays[version] for version in versions]
    kept: dict[object, str] = {}  # by what must be there once only, in the order found
    for rule in rules:
        entry = dialect.entry(rule)
        if entry is None or not in_scope(entry, request):
            kept[entry or len(kept)] = rule
        elif _stays(entry, request, asked, saved, now) and entry.key not in wanted:
            kept.setdefault(entry.key, rule)
        elif entry.key in wanted and entry.key not in kept:
            renewed = _renewed(entry, wanted[entry.key])
            kept[entry.key] = rule if renewed == entry else dialect.translation(renewed)
    for key, text in texts.items():
        kept.setdefault(key, text)
    return _with_exclusions(request, dialect, list(kept.values()), relays)


def _renewed(there: Entry, wanted: Entry) -> Entry:
    """What is there for good stays so, also when it is asked for for a time."""
    if there.until is None and wanted.until is not None and there.relay == wanted.relay and there.port == wanted.port:
        return there
    return wanted


def _stays(entry: Entry, request: Request, asked: Container[object], saved: bool, now: int) -> bool:
    if entry.until is not None and (saved or entry.until <= now):
        return False
    if request.absent:
        return bool(request.sources) and entry.key not in asked
    return not request.purge or entry.until is not None


def _with_exclusions(request: Request, dialect: Dialect, rules: list[str], relays: Sequence[Address]) -> list[str]:
    """The relay is left out of a network that holds it, as its own mail would come back to it."""
    found = [entry for rule in rules if (entry := dialect.entry(rule)) is not None and in_scope(entry, request)]
    looping = [entry for entry in found if entry.relay in entry.source]
    needed = list(dict.fromkeys(dialect.exclusion(entry.relay, entry.destination) for entry in looping))
    mine = [rule for rule in rules if any(dialect.belongs(rule, relay) for relay in relays)]
    missing = [rule for rule in needed if not any(dialect.same(rule, one) for one in mine)]
    leaving = [rule for rule in mine if not any(dialect.same(rule, one) for one in needed)]
    return [*missing, *(rule for rule in rules if rule not in leaving)]


def _spelled(dialect: Dialect, current: Mapping[str, Sequence[str]], after: Chains) -> Chains:
    """Rules that mean what is there, in the spelling that is there."""
    return {
        name: list(current[name]) if name in current and _same(dialect, current[name], rules) else rules
        for name, rules in after.items()
    }
