# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values and plan: the file of users and hashes that the daemons of a mail server share. Private.

A line is ``address:hash:uid:gid::home::extra``, the passwd form that Dovecot and OpenSMTPD read. Beside it lies a
file of what was given last, ``address:hash``: by it a password that a user chose is told from one that was given
anew. Everything here is pure but for the hasher that is passed in.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ansible_collections.postmaster.mail.plugins.module_utils import _hashes

# How each release of Dovecot calls a quota in an extra field.
QUOTA_FIELDS = {"2.3": "userdb_quota_rule=*:storage={}B", "2.4": "userdb_quota_storage_size={}B"}


class CredentialsError(ValueError):
    """The users cannot be as they are given; the message names the address, never a password or hash."""


class Hasher(Protocol):
    """What makes and compares hashes."""

    def make(self, password: str) -> str:
        """A new hash."""

    def verify(self, password: str, hashed: str) -> bool:
        """Whether the hash was made from that password."""


@dataclass(frozen=True)
class Wanted:
    """A user as given: a hash or a password, and the rest of the line."""

    address: str
    hash: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    rest: str = ""


@dataclass(frozen=True)
class Entry:
    """A user as the file has it."""

    hash: str = field(repr=False)
    rest: str = ""


@dataclass(frozen=True)
class Plan:
    """What the two files are to hold, and what that means for whom."""

    entries: Mapping[str, Entry]
    given: Mapping[str, str] = field(repr=False)
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    own: tuple[str, ...] = ()


def wanted(item: Mapping[str, object], *, uid: int, gid: int, dovecot: str) -> Wanted:
    """One user. Raises :class:`CredentialsError`."""
    name, home = str(item["address"]), str(item["home"])
    quota = item.get("quota") or 0
    extra = QUOTA_FIELDS[dovecot].format(quota) if quota else ""
    if any(not part.isprintable() or " " in part or ":" in part for part in (name, home)) or "@" not in name:
        raise CredentialsError(f"{name!r} with the home {home!r} cannot stand in the file: take out blanks and colons")
    password, hashed = str(item.get("password") or ""), str(item.get("hash") or "")
    if bool(password) == bool(hashed):
        raise CredentialsError(f"{name}: give either a password or a hash")
    try:
        hashed = _hashes.readable(hashed) if hashed else ""
        password = _hashes.usable(password) if password else ""
    except _hashes.HashError as err:
        raise CredentialsError(f"{name}: {err}") from None
    return Wanted(name, hashed, password, f"{uid}:{gid}::{home}::{extra}")


def parse(text: str) -> dict[str, Entry]:
    """The users in a file; what is no line of this form is left out, and so written anew."""
    found: dict[str, Entry] = {}
    for line in text.splitlines():
        name, colon, tail = line.partition(":")
        hashed, more, rest = tail.partition(":")
        if colon and more and name and not name.startswith("#"):
            found.setdefault(name, Entry(hashed, rest))
    return found


def render(entries: Mapping[str, Entry]) -> str:
    """The file. Without comments, as OpenSMTPD knows none there."""
    return "".join(f"{name}:{entry.hash}:{entry.rest}\n" for name, entry in sorted(entries.items()))


def parse_given(text: str) -> dict[str, str]:
    """What was given last."""
    lines = (line.partition(":") for line in text.splitlines())
    return {name: hashed for name, colon, hashed in lines if colon and _hashes.is_readable(hashed)}


def render_given(given: Mapping[str, str]) -> str:
    """The file of what was given last."""
    return "".join(f"{name}:{hashed}\n" for name, hashed in sorted(given.items()))


def veiled(entries: Mapping[str, Entry], others: Mapping[str, Entry] | None = None) -> str:
    """The file for a diff, where a hash shows only whether it differs from the one in ``others``."""
    lines = []
    for name, entry in sorted(entries.items()):
        other = (others or {}).get(name)
        lines.append(f"{name}:({'another ' if other and other.hash != entry.hash else ''}hash):{entry.rest}\n")
    return "".join(lines)


def _given_now(user: Wanted, before: str, current: str, hasher: Hasher) -> str:
    """The hash of what is given: the one that stands already where it is the same."""
    if user.hash:
        return user.hash
    for known in (before, current):
        if known and hasher.verify(user.password, known):
            return known
    return hasher.make(user.password)


def plan(
    current: Mapping[str, Entry],
    given: Mapping[str, str],
    users: Iterable[Wanted],
    hasher: Hasher,
    *,
    reset: Collection[str] = (),
) -> Plan:
    """What the files are to hold. A hash stays while what is given stays, but for the addresses in ``reset``."""
    entries: dict[str, Entry] = {}
    records: dict[str, str] = {}
    for user in users:
        if user.address in entries:
            raise CredentialsError(f"{user.address} is given twice: take one of them out")
        held = current[user.address].hash if user.address in current else ""
        held = held if _hashes.is_readable(held) else ""
        before = given.get(user.address, "")
        now = records[user.address] = _given_now(user, before, held, hasher)
        chosen = held if held and before == now and user.address not in reset else now
        entries[user.address] = Entry(chosen, user.rest)
    unknown = [name for name in reset if name not in entries]
    if unknown:
        raise CredentialsError(
            f"{unknown[0]} is to get its given password back, but is no user: take it out of the list"
        )
    return Plan(
        entries,
        records,
        added=tuple(sorted(name for name in entries if name not in current)),
        changed=tuple(sorted(name for name in entries if name in current and entries[name] != current[name])),
        removed=tuple(sorted(name for name in current if name not in entries)),
        own=tuple(sorted(name for name in entries if entries[name].hash != records[name])),
    )
