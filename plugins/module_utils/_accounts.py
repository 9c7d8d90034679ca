# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose mailboxes there are: users, aliases and domains, judged and turned into tables. Private.

One description serves the daemon that keeps the mailboxes and the one that takes the mail in. It is judged as a
whole, so that nothing is written while an alias leads nowhere or two users share a name.

Everything here is pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _hashes

# RFC 2142 sections 4 and 5, what a domain has whatever it offers; postmaster is a must (RFC 5321 section 4.5.1).
ROLES = ("postmaster", "abuse", "hostmaster", "noc", "security")
DIRECTORY = "/var/vmail"
MAX_LOCAL, MAX_DOMAIN = 64, 253  # octets, RFC 5321 section 4.5.3.1
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})+\Z")
# A dot-atom without what means something in a table, a path or a pattern; '+' begins what is taken off.
_LOCAL = re.compile(r"[a-z0-9_][a-z0-9_-]*(?:\.[a-z0-9_-]+)*\Z")
_TAGGED = re.compile(r"[a-z0-9_][a-z0-9_+-]*(?:\.[a-z0-9_+-]+)*\Z")
# Elsewhere other people's rules hold; what a table cannot carry is left out all the same.
_FOREIGN = re.compile(r"[A-Za-z0-9_.=+'&/*!~#$%?^{}`-]+\Z")
_QUOTA = re.compile(r"([0-9]{1,15}) ?([KMGT]?)i?B?\Z", re.IGNORECASE)
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_ACCOUNT_KEYS = ("domains", "users", "aliases", "catch_all", "role_address")
_USER_KEYS = ("address", "password", "password_hash", "quota", "aliases", "send_as")


class AccountError(ValueError):
    """One item cannot be as it is; the message names it and says what would do."""


@dataclass(frozen=True)
class User:
    """One who has a mailbox; either ``hash`` or ``password`` is filled in."""

    address: str
    hash: str = ""
    password: str = field(default="", repr=False)
    quota: int = 0
    aliases: tuple[str, ...] = ()
    send_as: tuple[str, ...] = ()

    def describe(self, directory: str) -> dict[str, Any]:
        """What the tables are made from."""
        local, dummy, domain = self.address.partition("@")
        return {
            "address": self.address,
            "local": local,
            "domain": domain,
            "hash": self.hash,
            "password": self.password,
            "quota": self.quota,
            "home": f"{directory}/{domain}/{local}",
        }


@dataclass
class Accounts:
    """Everything that is described, and what was found wrong on the way."""

    domains: tuple[str, ...] = ()
    users: dict[str, User] = field(default_factory=dict)
    aliases: dict[str, tuple[str, ...]] = field(default_factory=dict)
    catch_all: dict[str, str] = field(default_factory=dict)
    role_address: str = ""
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def has(self, address: str) -> bool:
        """Whether mail to one of our own addresses ends somewhere."""
        return address in self.users or address in self.aliases or address.rpartition("@")[2] in self.catch_all


def untagged(address: str) -> str:
    """The address without what follows a plus sign in its local part."""
    local, dummy, domain = address.rpartition("@")
    return f"{local.split('+', maxsplit=1)[0]}@{domain}"


def domain_name(text: object) -> str:
    """A domain. Raises :class:`AccountError`."""
    if not isinstance(text, str) or len(text) > MAX_DOMAIN or not _DOMAIN.match(text.lower()):
        raise AccountError(f"{text!r} is no domain name: write it as example.org, an international one as xn--...")
    if text != text.lower():
        raise AccountError(f"{text} has capitals: write {text.lower()}")
    return text


def address(text: object, *, domains: Iterable[str], tagged: bool = False) -> str:
    """An address in one of our own domains. Raises :class:`AccountError`."""
    local, at, domain = text.rpartition("@") if isinstance(text, str) else ("", "", "")
    if not isinstance(text, str) or not at or not local or not domain:
        raise AccountError(f"{text!r} is no address: write it as name@{next(iter(domains), 'example.org')}")
    if text != text.lower():
        raise AccountError(f"{text} has capitals: write {text.lower()}")
    if domain not in domains:
        raise AccountError(f"{text} is in a domain that is not in domains: add {domain} there, or take the address out")
    if len(local) > MAX_LOCAL:
        raise AccountError(f"{text} has more than {MAX_LOCAL} characters before the @: shorten it")
    if "+" in local and not tagged:
        raise AccountError(f"{text} holds a plus sign, and what follows one is taken off: write {untagged(text)}")
    if not (_TAGGED if tagged else _LOCAL).match(local):
        raise AccountError(f"{text} may hold a-z, 0-9 and inner . - _ before the @, nothing else: rename it")
    return text


def target(text: object, *, domains: Iterable[str]) -> str:
    """Where mail goes: one of our own addresses, or one elsewhere. Raises :class:`AccountError`."""
    local, at, domain = text.rpartition("@") if isinstance(text, str) else ("", "", "")
    if not isinstance(text, str) or not at or domain.lower() in domains:
        return address(text, domains=domains, tagged=True)
    if not _FOREIGN.match(local) or not _DOMAIN.match(domain.lower()) or len(local) > MAX_LOCAL:
        raise AccountError(f"{text!r} is no address that mail can be sent on to: write it as name@example.org")
    return text


def size(value: object) -> int:
    """A quota in bytes, 0 for none. Raises :class:`AccountError`."""
    if value in (None, "", 0):
        return 0
    found = _QUOTA.match(str(value)) if not isinstance(value, bool) else None
    if not found:
        raise AccountError(f"{value!r} is no size: write it as 500M or 2G")
    return int(found[1]) * _UNITS[found[2].upper()]


def _items(value: object, what: str) -> list[object]:
    if value in (None, "") or value == [] or value == ():
        return []
    if isinstance(value, str) or not isinstance(value, Iterable) or isinstance(value, Mapping):
        raise AccountError(f"{what} must be a list, not {type(value).__name__}")
    return list(value)


def _table(value: object, what: str) -> dict[str, object]:
    if value in (None, "", []):
        return {}
    if not isinstance(value, Mapping):
        raise AccountError(f"{what} must be a mapping, not {type(value).__name__}")
    return dict(value)


def _user(item: object, domains: tuple[str, ...]) -> User:
    """One entry of ``users``. Raises :class:`AccountError`, which never holds a password or a hash."""
    if not isinstance(item, Mapping):
        raise AccountError("users: each is a mapping with an address")
    name = address(item.get("address"), domains=domains)
    unknown = [str(key) for key in item if key not in _USER_KEYS]
    if unknown:
        raise AccountError(f"{name}: there is no {unknown[0]}: choose from {', '.join(_USER_KEYS)}")
    password, hashed = str(item.get("password") or ""), str(item.get("password_hash") or "")
    if bool(password) == bool(hashed):
        raise AccountError(f"{name}: give either password or password_hash" + (", not both" if password else ""))
    try:
        return User(
            name,
            _hashes.readable(hashed) if hashed else "",
            _hashes.usable(password) if password else "",
            size(item.get("quota")),
            tuple(address(each, domains=domains) for each in _items(item.get("aliases"), "aliases")),
            tuple(address(each, domains=domains) for each in _items(item.get("send_as"), "send_as")),
        )
    except (AccountError, _hashes.HashError) as err:
        raise AccountError(f"{name}: {err}") from None


def read(description: Mapping[str, Any]) -> Accounts:
    """Take the description apart; what cannot be is left out and stands in ``problems``."""
    found = Accounts()

    def tried(what: str, call: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return call(*arguments, **options)
        except AccountError as err:
            found.problems.append(f"{what}{err}")
            return None

    for key in description:
        if key not in _ACCOUNT_KEYS:
            found.problems.append(f"there is no {key}: choose from {', '.join(_ACCOUNT_KEYS)}")
    items = tried("", _items, description.get("domains"), "domains") or []
    names = [tried("domains: ", domain_name, name) for name in items]
    found.domains = tuple(dict.fromkeys(name for name in names if name))
    if not found.domains and not found.problems:
        found.problems.append("domains: name at least one, or nobody can have a mailbox")
    for item in tried("", _items, description.get("users"), "users") or []:
        user = tried("", _user, item, found.domains)
        if user and user.address in found.users:
            found.problems.append(f"{user.address} is described twice in users: take one of them out")
        elif user:
            found.users[user.address] = user
    for key, goals in (tried("", _table, description.get("aliases"), "aliases") or {}).items():
        _read_alias(found, key, goals, tried)
    for key, goal in (tried("", _table, description.get("catch_all"), "catch_all") or {}).items():
        if key not in found.domains:
            found.problems.append(f"catch_all: {key} is not in domains: add it there, or take it out here")
        elif goal := tried("catch_all: ", target, goal, domains=found.domains):
            found.catch_all[key] = goal
    if description.get("role_address"):
        found.role_address = tried("role_address: ", target, description["role_address"], domains=found.domains) or ""
    return found


def _read_alias(found: Accounts, key: object, goals: object, tried: Any) -> None:
    name = tried("aliases: ", address, key, domains=found.domains)
    items = tried(f"aliases: {key}: ", _items, [goals] if isinstance(goals, str) else goals, "its targets")
    targets = [tried(f"aliases: {key}: ", target, goal, domains=found.domains) for goal in items or []]
    if items == []:
        found.problems.append(f"aliases: {key} has no target: name one, or take it out")
    if name and targets and all(targets):
        found.aliases[name] = tuple(dict.fromkeys(targets))


def _add_aliases_of_users(found: Accounts) -> None:
    """The aliases that stand with their users join the others."""
    owners: dict[str, str] = {}
    for name in found.aliases:
        if name in found.users:
            found.problems.append(f"aliases: {name} is a user too: rename one, or have the user forward by Sieve")
    for user in found.users.values():
        for alias in user.aliases:
            if alias in found.users:
                found.problems.append(f"{user.address}: its alias {alias} is a user too: rename one of them")
            elif alias in owners:
                found.problems.append(
                    f"{alias} is an alias of {owners[alias]} and of {user.address}: describe it in aliases, with both"
                )
            elif alias in found.aliases:
                found.problems.append(f"{user.address}: its alias {alias} stands in aliases too: take one of them out")
            else:
                owners[alias] = user.address
    found.aliases |= {alias: (owner,) for alias, owner in owners.items()}


def _add_roles(found: Accounts) -> None:
    """The addresses that every domain has to have (RFC 2142)."""
    for domain in found.domains:
        missing = [f"{role}@{domain}" for role in ROLES if not found.has(f"{role}@{domain}")]
        if found.role_address:
            named = [f"{role}@{domain}" for role in ROLES]
            lacking = [name for name in named if name not in found.users and name not in found.aliases]
            found.aliases |= {name: (found.role_address,) for name in lacking if name != found.role_address}
        elif f"postmaster@{domain}" in missing:
            found.problems.append(
                f"nobody gets the mail for {', '.join(missing)}: say who in role_address, or describe at least "
                f"postmaster@{domain} as a user or an alias"
            )
        elif missing:
            found.warnings.append(f"nobody gets the mail for {', '.join(missing)}: say who in role_address")


def _check_targets(found: Accounts) -> None:
    """Every way mail goes has an end."""
    ways = [(f"aliases: {name}", goal) for name, goals in found.aliases.items() for goal in goals]
    ways += [(f"catch_all: {domain}", goal) for domain, goal in found.catch_all.items()]
    ways += [("role_address", found.role_address)] if found.role_address else []
    lost: dict[str, list[str]] = {}
    for what, goal in ways:
        domain = goal.rpartition("@")[2]
        # What a catch-all gathers has an end only where the catch-all itself does not lead back to it.
        known = untagged(goal) in found.users or untagged(goal) in found.aliases or domain not in found.domains
        if not known and (what.startswith("catch_all") or domain not in found.catch_all):
            lost.setdefault(goal, []).append(what)
    for goal, places in lost.items():
        if "role_address" in places:
            places = ["role_address"]
        found.problems += [
            f"{what} goes to {goal}, which does not exist: describe it, or name another" for what in places
        ]


def _next(found: Accounts, name: str) -> tuple[str, ...]:
    """Where mail for one of our own addresses goes on to; nowhere from a mailbox."""
    plain = untagged(name)
    if plain in found.users:
        return ()
    domain = name.rpartition("@")[2]
    caught = (found.catch_all[domain],) if domain in found.catch_all else ()
    return found.aliases.get(plain) or caught


def loops(found: Accounts) -> Iterator[tuple[str, ...]]:
    """Each circle of aliases once, from its first name on."""
    done: set[str] = set()
    for start in sorted(found.aliases):
        path: list[str] = []
        rest = [iter((start,))]
        while rest:
            name = next(rest[-1], None)
            if name is None:
                rest.pop()
                done |= {path.pop()} if path else set()
            elif untagged(name) in path:
                yield (*path[path.index(untagged(name)) :], untagged(name))
            elif untagged(name) not in done:
                path.append(untagged(name))
                rest.append(iter(_next(found, name)))


def plan(description: Mapping[str, Any], *, directory: str = DIRECTORY) -> dict[str, Any]:
    """The tables for the daemons; where there are problems, these and nothing else."""
    found = read(description)
    _add_aliases_of_users(found)
    _add_roles(found)
    _check_targets(found)
    found.problems += [
        f"aliases: {' -> '.join(circle)} goes round in a circle: take one of them out" for circle in loops(found)
    ]
    if found.problems:
        return {"problems": list(dict.fromkeys(found.problems)), "warnings": found.warnings}
    users = [found.users[name] for name in sorted(found.users)]
    virtuals = {name: list(goals) for name, goals in found.aliases.items()}
    virtuals |= {name: [name] for name in found.users}
    virtuals |= {f"@{domain}": [goal] for domain, goal in found.catch_all.items()}
    return {
        "problems": [],
        "warnings": found.warnings,
        "domains": sorted(found.domains),
        "users": [user.describe(directory) for user in users],
        "virtuals": dict(sorted(virtuals.items())),
        "senders": {user.address: sorted({user.address, *user.aliases, *user.send_as}) for user in users},
    }
