# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pure: SPF records made of senders, and of what exists and what is wanted. Private to this collection.

Section numbers are of RFC 7208.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from ansible_collections.postmaster.mail.plugins.module_utils._spf_record import (
    VERSION,
    Directive,
    Modifier,
    SpfError,
    SpfRecord,
    Term,
    is_spf,
    parse,
    term,
)


def compose(senders: Iterable[str], *, all_: str = "~all", modifiers: Iterable[str] = ()) -> SpfRecord:
    """The record that lets ``senders`` pass and ends in ``all_``, or in a redirect among ``modifiers``.

    ``senders`` are directives as text. Addresses come first, since they cost no lookup; repetitions
    and networks inside another are left out. Raises :class:`SpfError` for a term that is none.
    """
    directives: dict[str, Directive] = {}
    for text in senders:
        item = term(text)
        if isinstance(item, Modifier) or item.mechanism == "all":
            raise SpfError(text, 0, "a sender is a mechanism such as ip4:, include: or a: (section 5)")
        directives.setdefault(text.lower(), item)
    addresses = _widest([item for item in directives.values() if item.network is not None])
    names = [item for item in directives.values() if item.network is None]
    others = _modifiers(modifiers)
    ending = [] if any(item.name == "redirect" for item in others) else [_all(all_)]
    return SpfRecord((*addresses, *names, *ending, *others))


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
    go. A wanted term replaces the same one with another qualifier. What stands after ``all`` was never tried and goes.

    ``all`` is that of ``wanted``, else the one there, and stands last. Where ``wanted`` ends in ``all`` and there was
    a redirect, its target becomes an include, so that whom it passes still passes (sections 5.2 and 6.1). Raises
    :class:`SpfError` where an existing record is broken.
    """
    records = _existing(existing)
    wanted = _wanted(wanted)
    gone = {_key(term(text)) for text in ours} - {_key(item) for item in wanted.terms}
    kept: dict[tuple[str, ...], Directive] = {}
    for record in records:
        for item in record.reached:
            if item.mechanism != "all" and _key(item) not in gone:
                kept.setdefault(_key(item), item)
    # Of two terms that are the same, only the first can ever match.
    first = {_key(item): item for item in reversed(wanted.reached) if item.mechanism != "all"}
    wanted_terms = [item for item in wanted.reached if first.get(_key(item)) is item]
    for item in wanted_terms:
        if _key(item) in kept and kept[_key(item)].qualifier != item.qualifier:
            kept[_key(item)] = item
    new = [item for item in wanted_terms if _key(item) not in kept]
    modifiers = _merged_modifiers(records, wanted, gone)
    directives = _placed(list(kept.values()), new)
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


def _key(item: Term) -> tuple[str, ...]:
    """What makes two terms the same, whatever their qualifier and spelling."""
    if isinstance(item, Modifier):
        return ("modifier", item.name, item.value.lower())
    target = str(item.network or "") or (item.domain.text.lower().rstrip(".") if item.domain is not None else "")
    return (item.mechanism, target, str(item.prefix4), str(item.prefix6))


def _placed(kept: list[Directive], new: list[Directive]) -> list[Directive]:
    """New networks before the first lookup, unless one there forbids something; all else behind."""
    first = next((place for place, item in enumerate(kept) if item.network is None), len(kept))
    if any(item.qualifier != "+" for item in kept[first:]):
        return [*kept, *new]
    networks = [item for item in new if item.network is not None]
    return [*kept[:first], *networks, *kept[first:], *(item for item in new if item.network is None)]


def _merged_modifiers(
    records: Sequence[SpfRecord], wanted: SpfRecord, gone: set[tuple[str, ...]]
) -> dict[str, Modifier]:
    """Modifiers by name: those wanted, then those there; unknown ones may have one name and several values."""
    found: dict[str, Modifier] = {}
    for record in (wanted, *records):
        for item in record.terms:
            if isinstance(item, Modifier) and _key(item) not in gone:
                name = item.name if item.domain is not None else item.text
                found.setdefault(name, item)
    return found


def _ending(
    records: Sequence[SpfRecord], directives: list[Directive], modifiers: dict[str, Modifier]
) -> list[Directive]:
    """The last directive, after the first record that has an end; a redirect that loses becomes an include."""
    for record in records:
        last = next((item for item in record.directives if item.mechanism == "all"), None)
        redirect = modifiers.get("redirect")
        if last is None and record.modifier("redirect") is not None:
            return []
        if last is not None:
            if redirect is not None:
                del modifiers["redirect"]
                was_used = not any(one.mechanism == "all" for one in _owner(records, redirect).directives)
                include = term(f"include:{redirect.value}")
                if was_used and isinstance(include, Directive) and _key(include) not in map(_key, directives):
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
