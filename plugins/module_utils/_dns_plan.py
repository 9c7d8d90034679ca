# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan: from the record sets a server holds and those wanted to the fewest changes. Private, pure.

A record set (RRset) is all records of one name and type. Only sets that are named in the input are
ever touched. Sources: RFC 2136 (dynamic update), RFC 2181 section 5.2 (one TTL for a set), RFC 1034
section 3.6.2 (nothing stands beside a CNAME), RFC 1035 section 4.1.4 (name compression).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ansible_collections.postmaster.mail.plugins.module_utils._dns import DnsError, TextError, txt_value
from ansible_collections.postmaster.mail.plugins.module_utils._record import Record

MESSAGE_LIMIT = 65535  # octets in a DNS message over TCP, RFC 1035 section 4.2.2
HEADER_SIZE = 12  # RFC 1035 section 4.1.1
ZONE_SECTION_SIZE = 4  # type and class after the zone's name, RFC 2136 section 2.3
RR_SIZE = 10  # type, class, TTL and length, RFC 1035 section 4.1.3
POINTER_LIMIT = 0x4000  # a compression pointer reaches the first 16 KiB only, RFC 1035 section 4.1.4
POINTER_SIZE = 2

Key = tuple[str, str]

_PURPOSE = re.compile(rb"v\s*=\s*[a-z0-9]+|[a-z0-9_.-]+(?=[=:])", re.IGNORECASE)


class PlanError(DnsError):
    """The wanted records contradict each other or the zone; the message names the record."""


@dataclass(frozen=True)
class RRset:
    """All records of one name and type; ``values`` in presentation form, ``ttl`` in seconds."""

    name: str
    type: str
    ttl: int
    values: tuple[str, ...]

    def lines(self) -> list[str]:
        """One zone-file line for each record, sorted."""
        return sorted(f"{self.name} {self.ttl} IN {self.type} {value}" for value in self.values)


@dataclass(frozen=True)
class Wanted:
    """One record and whether it shall be there. Absent with an empty ``rdata`` means the whole set."""

    record: Record
    present: bool = True


@dataclass(frozen=True)
class Action:
    """One step of an update: add a record, delete one, or replace one that is there (to give it another TTL)."""

    kind: Literal["add", "replace", "delete"]
    record: Record


@dataclass(frozen=True)
class Plan:
    """The sets that differ, before and after, and the actions that lead from one to the other."""

    before: tuple[RRset, ...] = ()
    after: tuple[RRset, ...] = ()
    actions: tuple[Action, ...] = ()
    keys: tuple[Key, ...] = field(default=())

    @property
    def changed(self) -> bool:
        return bool(self.actions)


def comparable(rdtype: str, rdata: str) -> object:
    """What makes two rdata equal: for TXT its content however it is split, else the canonical text."""
    if rdtype in ("TXT", "SPF"):
        try:
            return txt_value(rdata)
        except TextError as err:
            raise PlanError(str(err)) from err
    return rdata


def _index(rdtype: str, values: Iterable[str]) -> dict[object, str]:
    return {comparable(rdtype, value): value for value in values}


def _wanted_ttl(key: Key, wanted: Sequence[Wanted]) -> int | None:
    ttls = sorted({item.record.ttl for item in wanted if item.present})
    if len(ttls) > 1:
        raise PlanError(
            f"the {key[1]} records of {key[0]} are given the TTLs {', '.join(map(str, ttls))}: "
            "one set of records has one TTL (RFC 2181 section 5.2), so give all of them the same"
        )
    return ttls[0] if ttls else None


def purpose(key: Key, value: object) -> object:
    """What a record stands for beside others of its set; ``exclusive`` replaces only those of one purpose.

    TXT records of many services share a domain's own name, told apart by how they begin: ``v=spf1``,
    ``google-site-verification``. All other texts count as one purpose, and so does a name with an underscore
    label (RFC 8552 section 1.1).
    """
    name, rdtype = key
    if rdtype != "TXT" or not isinstance(value, bytes) or any(label.startswith("_") for label in name.split(".")):
        return None
    match = _PURPOSE.match(value)
    return match.group(0).lower() if match else None


def _values_after(key: Key, current: RRset | None, wanted: Sequence[Wanted], exclusive: bool) -> tuple[list[str], bool]:
    """The values the set shall have, each split as it is where it is there, and whether some are another's."""
    rdtype = key[1]
    existing = _index(rdtype, current.values if current else ())
    present = _index(rdtype, (item.record.rdata for item in wanted if item.present))
    gone = _index(rdtype, (item.record.rdata for item in wanted if not item.present and item.record.rdata))
    for value in present:
        if value in gone:
            raise PlanError(f"{key[0]} {rdtype} {gone[value]} is asked to be present and absent at once")
    if any(not item.present and not item.record.rdata for item in wanted):
        return [existing.get(value, text) for value, text in present.items()], False
    replaced = {purpose(key, value) for value in present} if exclusive else set()
    kept = {v: text for v, text in existing.items() if v not in gone and v not in present}
    foreign = [text for v, text in kept.items() if purpose(key, v) not in replaced]
    return [existing.get(value, text) for value, text in present.items()] + foreign, bool(foreign)


def _rrset_plan(key: Key, current: RRset | None, wanted: Sequence[Wanted], exclusive: bool) -> list[Action]:
    """The actions for one set, additions first."""
    ttl = _wanted_ttl(key, wanted)
    values, shared = _values_after(key, current, wanted, exclusive)
    if key[1] == "CNAME" and len(values) > 1:
        raise PlanError(f"{key[0]} would have {len(values)} CNAME records; a name has one (RFC 2181 section 10.1)")
    before = current.values if current else ()
    if current is not None and (shared or ttl is None):
        ttl = current.ttl  # others' records are left as they are, and a set has one TTL
    ttl = ttl or 0
    added = [Action("add", Record(*key, ttl, value)) for value in values if value not in before]
    if current is not None and current.ttl != ttl:
        # Adding it again would do (RFC 2136 section 3.4.2.2), but Knot DNS takes it for a duplicate.
        added += [Action("replace", Record(*key, ttl, value)) for value in values if value in before]
    return added + [Action("delete", Record(*key, 0, value)) for value in before if value not in values]


def _after(key: Key, current: RRset | None, actions: Sequence[Action]) -> RRset | None:
    deleted = {action.record.rdata for action in actions if action.kind == "delete"}
    added = [action.record for action in actions if action.kind != "delete"]
    values = [value for value in (current.values if current else ()) if value not in deleted]
    values += [record.rdata for record in added if record.rdata not in values]
    ttl = added[0].ttl if added else current.ttl if current else 0
    return RRset(*key, ttl, tuple(values)) if values else None


def group(wanted: Iterable[Wanted]) -> dict[Key, list[Wanted]]:
    """``wanted`` by name and type, in the order given."""
    groups: dict[Key, list[Wanted]] = {}
    for item in wanted:
        groups.setdefault((item.record.name, item.record.type), []).append(item)
    return groups


def plan(current: Mapping[Key, RRset | None], wanted: Iterable[Wanted], *, exclusive: bool = True) -> Plan:
    """What to do so that the sets named in ``wanted`` become as asked.

    ``current`` has an entry for each of these sets, None where there is none. ``exclusive`` removes
    other values of the same :func:`purpose` as a wanted one. Raises :class:`PlanError`.
    """
    before: list[RRset] = []
    after: list[RRset] = []
    actions: list[Action] = []
    keys: list[Key] = []
    for key, items in group(wanted).items():
        steps = _rrset_plan(key, current.get(key), items, exclusive)
        if not steps:
            continue
        held, then = current.get(key), _after(key, current.get(key), steps)
        keys.append(key)
        actions += steps
        before += [held] if held else []
        after += [then] if then else []
    return Plan(tuple(before), tuple(after), tuple(actions), tuple(keys))


def same(one: RRset | None, other: RRset | None, *, ttl: bool = True) -> bool:
    """Whether two sets hold the same values, and with ``ttl`` the same TTL."""
    if one is None or other is None:
        return one is other
    equal = set(_index(one.type, one.values)) == set(_index(other.type, other.values))
    return equal and (not ttl or one.ttl == other.ttl)


def satisfied(wanted: Sequence[Wanted], found: RRset | None, *, exclusive: bool = True, ttl: bool = True) -> bool:
    """Whether a server that answers with ``found`` holds one set as it is ``wanted``; ``ttl`` False ignores TTLs."""
    key = (wanted[0].record.name, wanted[0].record.type)
    actions = _rrset_plan(key, found, wanted, exclusive)
    return not actions if ttl else same(found, _after(key, found, actions), ttl=False)


def _text(rrsets: Iterable[RRset]) -> str:
    lines = [line for rrset in sorted(rrsets, key=lambda r: (r.name, r.type)) for line in rrset.lines()]
    return "".join(line + "\n" for line in lines)


def diff(plan_: Plan, header: str) -> dict[str, str]:
    """The plan as Ansible's diff: zone-file lines before and after."""
    return {
        "before_header": header,
        "after_header": header,
        "before": _text(plan_.before),
        "after": _text(plan_.after),
    }


def by_zone(actions: Iterable[Action], zone_of: Mapping[str, str]) -> dict[str, list[Action]]:
    """``actions`` by the zone that ``zone_of`` gives for each name: an update is for one zone (RFC 2136, 2.3)."""
    zones: dict[str, list[Action]] = {}
    for action in actions:
        zones.setdefault(zone_of[action.record.name], []).append(action)
    return zones


def ordered(actions: Iterable[Action]) -> list[list[Action]]:
    """Units that stay in one message where they fit: all actions of one name. Units that only remove come last.

    A server ignores a record added beside a CNAME and the other way round (RFC 2136 section
    3.4.2.2), so at a name where a CNAME comes or goes the removals stand first.
    """
    units: dict[str, list[Action]] = {}
    for action in actions:
        units.setdefault(action.record.name, []).append(action)
    for unit in units.values():
        alias = any(action.record.type == "CNAME" for action in unit)
        unit.sort(key=lambda action: (action.kind == "delete") != alias)
    return sorted(units.values(), key=lambda unit: all(action.kind == "delete" for action in unit))


class _Message:
    """Counts the octets of an update message while records are added, names compressed."""

    def __init__(self, zone: str, reserve: int) -> None:
        self.suffixes: set[str] = set()
        self.size = HEADER_SIZE + reserve
        self.size += self._name(zone) + ZONE_SECTION_SIZE

    def _name(self, name: str) -> int:
        """Octets of ``name`` at this place; its suffixes can be pointed at from now on."""
        size = 0
        rest = name.rstrip(".")
        while rest:
            if rest in self.suffixes:
                return size + POINTER_SIZE
            if self.size + size < POINTER_LIMIT:
                self.suffixes.add(rest)
            label, _dot, rest = rest.partition(".")
            size += len(label) + 1
        return size + 1

    def add(self, action: Action, rdata_size: int) -> None:
        """Count ``action``; a replacement is two records, one to delete and one to add."""
        for _record in range(2 if action.kind == "replace" else 1):
            self.size += self._name(action.record.name) + RR_SIZE + rdata_size


def pack(
    actions: Iterable[Action],
    *,
    zone: str,
    rdata_size: Callable[[Record], int],
    reserve: int = 0,
    limit: int = MESSAGE_LIMIT,
) -> list[list[Action]]:
    """``actions`` of one zone in as few messages of at most ``limit`` octets as their order allows.

    ``rdata_size`` gives the octets of a record's data on the wire, ``reserve`` is left free for the
    signature. A name's changes go into one message and so take effect at once (RFC 2136 section
    3.7), unless they alone are too large; then its additions go first.
    """
    messages: list[list[Action]] = []
    message = _Message(zone, reserve)
    for unit in ordered(actions):
        probe = _Message(zone, reserve)
        for action in unit:
            probe.add(action, rdata_size(action.record))
        parts = [unit] if probe.size <= limit else [[action] for action in unit]
        for part in parts:
            trial = _Message(zone, reserve)
            trial.size, trial.suffixes = message.size, set(message.suffixes) if len(part) > 1 else message.suffixes
            for action in part:
                trial.add(action, rdata_size(action.record))
            if messages and trial.size <= limit:
                messages[-1] += part
                message = trial
                continue
            messages.append(list(part))
            message = _Message(zone, reserve)
            for action in part:
                message.add(action, rdata_size(action.record))
            if message.size > limit:
                raise PlanError(
                    f"the {part[0].record.type} record of {part[0].record.name} does not fit in one "
                    f"DNS message of {limit} octets; shorten it"
                )
    return messages
