# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verdict: whether what some servers say of a record set is what was wanted. Private, pure.

Sources: RFC 6376 sections 3.6.1 (key records) and 3.6.2.2 (one key record at a name), RFC 2308
section 5 (how long a negative answer is kept), RFC 1034 section 3.6.2 (aliases).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._dkim import DkimError, DkimRecord
from ansible_collections.postmaster.mail.plugins.module_utils._dns_plan import (
    Key,
    PlanError,
    RRset,
    Wanted,
    comparable,
    satisfied,
)

OK, PROPAGATING, WRONG, MISSING, UNKNOWN = "ok", "propagating", "wrong", "missing", "unknown"
ALIAS = "alias"  # a server names a target; what stands there decides
NAMED = 3  # servers that a clause names before it counts the rest
SHOWN = 200  # characters of a record that a clause shows


@dataclass(frozen=True)
class Said:
    """What one server says of one record set: ``state`` is ok, wrong, missing, unknown or alias.

    ``rrset`` is what it answers with, ``alias`` the target where the name is a CNAME, ``problem`` why its
    answer is unknown, a clause. ``host`` is the name server's name, or its address where it has none here.
    """

    server: str
    host: str
    state: str
    rrset: RRset | None = None
    alias: str = ""
    problem: str = ""
    no_route: bool = False
    recursive: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The shape that modules return."""
        return {
            "server": self.server,
            "state": self.state,
            "values": sorted(self.rrset.values) if self.rrset else [],
            "ttl": self.rrset.ttl if self.rrset else None,
            "alias": self.alias,
            "problem": self.problem,
        }


def mail_key(text: object) -> tuple[str, bytes] | None:
    """Type and octets of the key in a DKIM record that verifiers of mail use; None if it is none."""
    try:
        record = DkimRecord.read(text.decode("ascii") if isinstance(text, bytes) else str(text))
    except (DkimError, UnicodeError):
        return None
    if record.revoked:
        return "", b""
    hashes = not record.hashes or "sha256" in record.hashes
    services = "*" in record.services or "email" in record.services
    return (record.key_type, record.public_key) if hashes and services else None


def same_key(wanted: Sequence[Wanted], found: RRset | None) -> bool:
    """Whether ``found`` is one DKIM record with the wanted key, however its tags are written."""
    if found is None or len(found.values) != 1 or len(wanted) != 1 or not wanted[0].present:
        return False
    record = wanted[0].record
    if record.type != "TXT" or "_domainkey" not in record.name.split(".") or not record.rdata:
        return False
    key = mail_key(comparable("TXT", record.rdata))
    return key is not None and key == mail_key(comparable("TXT", found.values[0]))


def state_of(wanted: Sequence[Wanted], found: RRset | None, *, exact: bool, exclusive: bool, ttl: bool) -> str:
    """ok, missing or wrong. ``exact`` compares texts; without it the same DKIM key in other words will do."""
    try:
        if satisfied(wanted, found, exclusive=exclusive, ttl=ttl) or (not exact and same_key(wanted, found)):
            return OK
    except PlanError:  # what a server says cannot be read
        return WRONG
    if found is None:
        return MISSING
    # Beside the records of other services (SPF beside verification codes) ours is missing, not wrong.
    there = {comparable(found.type, value) for value in found.values}
    absent = [item.record.rdata for item in wanted if item.present]
    absent = [text for text in absent if comparable(found.type, text) not in there]
    beside = RRset(found.name, found.type, found.ttl, (*found.values, *absent))
    return MISSING if absent and satisfied(wanted, beside, exclusive=exclusive, ttl=False) else WRONG


def verdict(said: Iterable[Said]) -> str:
    """One word for what all servers say: those with authority decide, a resolver can only hold an ok up."""
    counted = [one for one in said if one.state != ALIAS]
    states = {one.state for one in counted if not one.recursive}
    asked = {one.state for one in counted if one.recursive}
    if states == {OK} and asked & {WRONG, MISSING}:
        return PROPAGATING
    states |= asked if states <= {OK} else set()
    for one in (WRONG, MISSING):
        if one in states:
            return PROPAGATING if OK in states else one
    return OK if states == {OK} else UNKNOWN


def reached(said: Sequence[Said]) -> list[Said]:
    """``said`` without the addresses that this machine has no route to, where their host answers at another."""
    there = {one.host for one in said if not one.no_route}
    return [one for one in said if not one.no_route or one.host not in there]


@dataclass(frozen=True)
class Visibility:
    """What the servers say of one record set. ``negative_ttl``: seconds for which resolvers remember that
    the record was not there, the largest that a server of its zone states; None where none was asked."""

    wanted: tuple[Wanted, ...]
    said: tuple[Said, ...] = ()
    zone: str = ""
    negative_ttl: int | None = None
    verdict: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "verdict", verdict(self.said))

    @property
    def key(self) -> Key:
        """Name and type."""
        return self.wanted[0].record.name, self.wanted[0].record.type

    @property
    def seen(self) -> str:
        """What stands against the record, as a clause; empty when it is ok."""
        for state in (WRONG, MISSING, UNKNOWN):
            found = [one for one in self.said if one.state == state]
            if found:
                return self._clause(state, found)
        if self.verdict == OK:
            return ""
        return f"{self.key[0]} is an alias of itself" if self.said else "no server was asked"

    def _clause(self, state: str, found: Sequence[Said]) -> str:
        name, rdtype = self.key
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        if state == UNKNOWN:
            return found[0].problem + more
        who = _listing([one.server for one in found])
        plural = len(found) > 1
        if state == MISSING:
            what = f"no such {rdtype} record at" if found[0].rrset else f"no {rdtype} record"
            return f"{who} {'have' if plural else 'has'} {what} {name}"
        values = found[0].rrset.values if found[0].rrset else ()
        if not any(item.present for item in self.wanted):
            return f"{who} still {'have' if plural else 'has'} the {rdtype} record {name}"
        said = " and ".join(cut(value) for value in sorted(values))
        return f"{who} {'answer' if plural else 'answers'} for {name} {rdtype} with {said}"

    def as_dict(self) -> dict[str, Any]:
        """The shape that modules return."""
        name, rdtype = self.key
        return {
            "name": name,
            "type": rdtype,
            "wanted": [item.record.rdata for item in self.wanted if item.present],
            "lines": [str(item.record) for item in self.wanted if item.present],
            "verdict": self.verdict,
            "seen": self.seen,
            "found": sorted({value for one in self.said if one.rrset for value in one.rrset.values}),
            "zone": self.zone,
            "negative_ttl": self.negative_ttl,
            "servers": [one.as_dict() for one in self.said],
        }


def _listing(names: Sequence[str]) -> str:
    if len(names) > NAMED:
        return f"{', '.join(names[:NAMED])} and {len(names) - NAMED} more"
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def cut(text: str) -> str:
    """``text``, its middle left out where it is long."""
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 40]} ... {text[-35:]}"
