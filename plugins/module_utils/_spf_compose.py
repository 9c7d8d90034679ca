# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pure: SPF records made of senders, and of what exists and what is wanted. Private to this collection.

Section numbers are of RFC 7208.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TypeAlias

from ansible_collections.postmaster.mail.plugins.module_utils._spf_check import directive_network
from ansible_collections.postmaster.mail.plugins.module_utils._spf_record import (
    QUALIFIERS,
    VERSION,
    Directive,
    Key,
    Modifier,
    SpfError,
    SpfRecord,
    is_spf,
    key,
    parse,
    term,
)

REDIRECT: Key = ("redirect",)
Gone: TypeAlias = "set[tuple[Key, str]]"  # terms that go, with their qualifier, empty for any


def compose(senders: Iterable[str], *, all_: str = "~all", modifiers: Iterable[str] = ()) -> SpfRecord:
    """The record that lets ``senders`` pass and ends in ``all_``, or in a redirect among ``modifiers``.

    ``senders`` are directives as text. Where all of them pass, addresses come first, since they cost no lookup, and
    networks inside another are left out. Where one does not, the order given decides, from left to right
    (section 4.6.2), and is kept. Repetitions are left out. Raises :class:`SpfError` for a term that is none.
    """
    known: dict[tuple[Key, str], Directive] = {}
    for text in senders:
        item = term(text)
        if isinstance(item, Modifier) or item.mechanism == "all":
            raise SpfError(text, 0, "a sender is a mechanism such as ip4:, include: or a: (section 5)")
        known.setdefault((key(item), item.qualifier), item)
    directives = list(known.values())
    if all(item.qualifier == "+" for item in directives):
        names = [item for item in directives if item.network is None]
        directives = [*_widest([item for item in directives if item.network is not None]), *names]
    others = _modifiers(modifiers)
    ending = [] if any(item.name == "redirect" for item in others) else [_all(all_)]
    return SpfRecord((*directives, *ending, *others))


def _all(text: str) -> Directive:
    last = term(text)
    if not isinstance(last, Directive) or last.mechanism != "all":
        raise SpfError(text, 0, "a record ends in -all, ~all or ?all (section 5.1)")
    return last


def _modifiers(texts: Iterable[str]) -> list[Modifier]:
    found: list[Modifier] = []
    for text in dict.fromkeys(texts):
        item = term(text)
        if not isinstance(item, Modifier):
            raise SpfError(text, 0, "a modifier is written name=value, such as exp=why.example.org (section 6)")
        if item.name in ("redirect", "exp") and any(other.name == item.name for other in found):
            raise SpfError(text, 0, f"{item.name} may appear only once (section 6)")
        found.append(item)
    return found


def merge(
    existing: str | SpfRecord | Iterable[str] | None,
    wanted: str | SpfRecord | Iterable[str],
    *,
    ours: Iterable[str] = (),
) -> SpfRecord:
    """One record of what exists at a name and of what is wanted there: a record, its text, or terms.

    ``existing`` is the SPF record there, or all texts of the name; more than one SPF record become one. Terms of
    others stay in their order. ``ours`` are terms that were published for us before: those that are no longer wanted
    go, written without a qualifier whatever theirs is. A wanted term replaces the same one with another qualifier.
    What stands after ``all`` was never tried and goes.

    Where all wanted terms pass, they stand behind the exceptions of others, which :func:`overruled` tells. Where one
    does not, it has to come first to have an effect: unless the record has them so already, all wanted terms stand at
    the beginning, in the order given.

    ``all`` is that of ``wanted``, else the one there, and stands last. Where ``wanted`` ends in ``all`` and there was
    a redirect, its target becomes an include, so that whom it passes still passes (sections 5.2 and 6.1). Raises
    :class:`SpfError` where an existing record is broken.
    """
    records = _existing(existing)
    wanted = _wanted(wanted)
    wanted_keys = {key(item) for item in wanted.terms}
    gone = {found for found in map(_gone, ours) if found[0] not in wanted_keys}
    # Of two terms that are the same, only the first can ever match.
    kept = _firsts(item for record in records for item in record.reached if not _is_gone(item, gone))
    directives = _merged(kept, _firsts(wanted.reached))
    modifiers = _merged_modifiers(records, wanted, gone)
    ending = _ending([wanted, *records], directives, modifiers)
    return SpfRecord((*directives, *ending, *modifiers.values()))


def _existing(given: str | SpfRecord | Iterable[str] | None) -> list[SpfRecord]:
    if given is None or isinstance(given, SpfRecord):
        return [] if given is None else [given]
    return [parse(given)] if isinstance(given, str) else [parse(text) for text in given if is_spf(text)]


def _wanted(given: str | SpfRecord | Iterable[str]) -> SpfRecord:
    if isinstance(given, SpfRecord):
        return given
    return parse(given if isinstance(given, str) else " ".join([VERSION, *given]))


def _gone(text: str) -> tuple[Key, str]:
    return key(term(text)), text[0] if text[0] in QUALIFIERS else ""


def _is_gone(item: Directive | Modifier, gone: Gone) -> bool:
    return (key(item), "") in gone or (isinstance(item, Directive) and (key(item), item.qualifier) in gone)


def _firsts(directives: Iterable[Directive]) -> dict[Key, Directive]:
    """The directives but ``all``, by their keys."""
    found: dict[Key, Directive] = {}
    for item in directives:
        if item.mechanism != "all":
            found.setdefault(key(item), item)
    return found


def _merged(kept: dict[Key, Directive], wanted: dict[Key, Directive]) -> list[Directive]:
    """The directives of both, those wanted where they take effect."""
    written = {
        name: kept[name] if name in kept and kept[name].qualifier == item.qualifier else item
        for name, item in wanted.items()
    }
    placed = _placed(
        [written.get(name, item) for name, item in kept.items()],
        [item for name, item in written.items() if name not in kept],
    )
    if all(item.qualifier == "+" for item in wanted.values()):
        return placed
    in_order = [name for name in map(key, placed) if name in wanted] == list(wanted)
    if in_order and not any(_before(placed, wanted)):
        return placed
    return [*written.values(), *(item for name, item in kept.items() if name not in wanted)]


def overruled(record: SpfRecord, wanted: Iterable[str]) -> Iterator[SpfError]:
    """Wanted terms that a term of others with another verdict stands before, and what that means for them."""
    for outer, item in _before(record.reached, {key(term(text)) for text in wanted}):
        both = outer.network is not None and item.network is not None
        said = (
            f"{outer.text} stands before it and decides for whom both match"
            if both
            else f"{outer.text} may decide first"
        )
        yield SpfError(item.text, record.position(item), f"{said} (section 4.6.2)")


def _before(directives: Sequence[Directive], wanted: Collection[Key]) -> Iterator[tuple[Directive, Directive]]:
    """Wanted terms, each after a term of others with another verdict that may match the same client."""
    others: list[Directive] = []
    for item in directives:
        if item.mechanism == "all":
            return
        if key(item) not in wanted:
            others.append(item)
            continue
        for outer in others:
            apart = outer.network is not None and item.network is not None and not _meet(outer, item)
            if outer.qualifier != item.qualifier and not apart:
                yield outer, item


def _meet(one: Directive, other: Directive) -> bool:
    """Whether two networks have an address in common; those in mapped form are of IPv4."""
    first, second = (directive_network(item, item.number or 0) for item in (one, other))
    if first[2] != second[2]:
        return False
    shift = (128 if first[2] else 32) - min(first[1], second[1])
    return first[0] >> shift == second[0] >> shift


def _placed(kept: list[Directive], new: list[Directive]) -> list[Directive]:
    """New networks before the first lookup, unless one there forbids something; all else behind."""
    first = next((place for place, item in enumerate(kept) if item.network is None), len(kept))
    if any(item.qualifier != "+" for item in kept[first:]):
        return [*kept, *new]
    networks = [item for item in new if item.network is not None]
    return [*kept[:first], *networks, *kept[first:], *(item for item in new if item.network is None)]


def _merged_modifiers(records: Sequence[SpfRecord], wanted: SpfRecord, gone: Gone) -> dict[Key, Modifier]:
    """Modifiers by name: those wanted, then those there; unknown ones may have one name and several values."""
    found: dict[Key, Modifier] = {}
    for record in (wanted, *records):
        for item in record.terms:
            if isinstance(item, Modifier) and not _is_gone(item, gone):
                found.setdefault((item.name,) if item.domain is not None else key(item), item)
    return found


def _ending(
    records: Sequence[SpfRecord], directives: list[Directive], modifiers: dict[Key, Modifier]
) -> list[Directive]:
    """The last directive, after the first record that has an end; a redirect that loses becomes an include."""
    for record in records:
        last = next((item for item in record.directives if item.mechanism == "all"), None)
        redirect = modifiers.get(REDIRECT)
        if last is None and record.modifier("redirect") is not None:
            return []
        if last is not None:
            if redirect is not None:
                del modifiers[REDIRECT]
                was_used = not any(one.mechanism == "all" for one in _owner(records, redirect).directives)
                include = term(f"include:{redirect.value}")
                if was_used and isinstance(include, Directive) and key(include) not in map(key, directives):
                    directives.append(include)
            return [last]
    return []


def _owner(records: Sequence[SpfRecord], modifier: Modifier) -> SpfRecord:
    return next(record for record in records if any(item is modifier for item in record.terms))


def _widest(directives: Sequence[Directive]) -> list[Directive]:
    """``directives`` without those whose network another one with the same qualifier holds."""
    kept: list[Directive] = []
    for item in directives:
        others = [other for other in directives if other.qualifier == item.qualifier and other is not item]
        repeated = any(one.network == item.network and one.qualifier == item.qualifier for one in kept)
        inside = any(_holds(other, item) and other.network != item.network for other in others)
        if not (repeated or inside):
            kept.append(item)
    return kept


def _holds(outer: Directive, inner: Directive) -> bool:
    one, other = outer.network, inner.network
    if isinstance(one, ipaddress.IPv4Network) and isinstance(other, ipaddress.IPv4Network):
        return other.subnet_of(one)
    if isinstance(one, ipaddress.IPv6Network) and isinstance(other, ipaddress.IPv6Network):
        return other.subnet_of(one)
    return False
