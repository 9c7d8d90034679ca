# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pure: the users of a Proxmox Mail Gateway. Private.

Facts: pmg-api 8.2 and 9.1. They are kept in a file of lines whose fields stand between colons, in Latin-1; an empty
field and ``0`` come back as if nothing had been set. Passwords are set by requests of their own, and never told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._pmg import (
    Change,
    Item,
    Kind,
    PmgError,
    check_latin,
    domain_key,
)

ROLES = ("admin", "helpdesk", "qmanager", "audit")
ROOT = "root@pam"
USERID_LIMIT, NAME_LIMIT, KEYS_LIMIT = 64, 64, 128  # characters, from the API's schema
_TEXTS = ("email", "firstname", "lastname", "comment", "keys")
_FIXED_FOR_ROOT = ("role", "enable", "expire", "comment", "password", "crypt_pass")
_USERID = re.compile(r"[^\s:/@]{1,60}@[A-Za-z][A-Za-z0-9._-]+")
_LOCAL_PART = re.compile(r"[A-Za-z0-9_+~-]+(?:\.[A-Za-z0-9_+~-]+)*")
_HASH = re.compile(r"\$[0-9]\$[a-zA-Z0-9./]+\$[a-zA-Z0-9./]+")


def _values(entry: Mapping[str, Any]) -> dict[str, str]:
    texts = {name: "" if str(entry.get(name) or "") == "0" else str(entry.get(name) or "") for name in _TEXTS}
    numbers = {name: str(int(entry.get(name) or 0)) for name in ("enable", "expire")}
    return {"role": str(entry.get("role") or ""), **numbers, **texts}


@dataclass(frozen=True)
class UserList(Kind):
    """The list of users."""

    def made(self, item: Item) -> tuple[str, dict[str, str]]:
        """See :class:`Kind`."""
        if "role" not in item.values:
            raise PmgError(f"there is no user {item.key} yet: give a role, one of {', '.join(ROLES)}")
        if item.key.endswith("@pam"):
            raise PmgError(f"the gateway makes no users of the realm pam: write {item.key.removesuffix('@pam')}@pmg")
        return super().made(item)


USERS = UserList("user", "/access/users", "userid", str, _values, deletes=True, hidden=frozenset({"keys"}))


def userid(text: str) -> str:
    """A user's name and realm. Raises :class:`PmgError`."""
    plain = text.strip()
    if "@" not in plain:
        raise PmgError(f"the user {text!r} has no realm: write {plain or 'name'}@pmg")
    if not _USERID.fullmatch(plain) or len(plain) > USERID_LIMIT:
        raise PmgError(
            f"{text!r} is no user: write name@pmg, the name without spaces, colons, slashes and @, "
            f"and not longer than {USERID_LIMIT} in all"
        )
    check_latin(f"the user's name {plain!r}", plain)
    if plain.startswith("#"):
        raise PmgError(f"{text!r} begins with #, which the gateway would take for a comment: choose another name")
    return "root@pam" if plain == "root@pmg" else plain


def read(one: Mapping[str, Any], *, absent: bool = False) -> Item:
    """A user as the module's options describe it. Raises :class:`PmgError`."""
    key = userid(one["userid"])
    if absent:
        return Item(key)
    given = {name: value for name, value in one.items() if value is not None and name != "userid"}
    if key == ROOT and (fixed := [name for name in _FIXED_FOR_ROOT if name in given]):
        raise PmgError(f"{key} is the gateway's own, its {' and '.join(fixed)} cannot be set: leave that out")
    secrets: dict[str, str] = {name: given.pop(name) for name in ("password", "crypt_pass") if name in given}
    try:
        values = {name: _READERS[name](name, value) for name, value in given.items()}
    except PmgError as err:
        raise PmgError(f"{key}: {err}") from None
    _check_secrets(key, secrets)
    return Item(key, values, {**({} if "enable" in values else {"enable": "1"}), **secrets})


def _check_secrets(key: str, secrets: Mapping[str, str]) -> None:
    """What the message must not quote."""
    if len(secrets) == 2:
        raise PmgError(f"{key} has a password and a crypt_pass: give one of them")
    if "password" in secrets and not 8 <= len(secrets["password"]) <= 64:
        raise PmgError(f"the password of {key} has to have 8 to 64 characters")
    if not secrets.get("password", "").isascii():  # it hashes their UTF-8 when it is set, and not when somebody logs in
        raise PmgError(
            f"the password of {key} has letters beyond ASCII, with which the gateway lets nobody in: choose others"
        )
    if "crypt_pass" in secrets and not _HASH.fullmatch(secrets["crypt_pass"]):
        raise PmgError(
            f"the crypt_pass of {key} is no hash that the gateway takes: make one of the form $6$salt$hash, "
            "without rounds=, as password_hash('sha512', rounds=5000) does"
        )


def _line(what: str, text: Any) -> str:
    return check_latin(what, str(text))


def _field(what: str, text: Any) -> str:
    plain, limit = _line(what, text), KEYS_LIMIT if what == "keys" else NAME_LIMIT
    if ":" in plain:
        raise PmgError(f"{what} has a colon, with which the gateway would lose the user: leave it out")
    if len(plain) > limit:
        raise PmgError(f"{what} has more than {limit} characters: shorten it")
    return plain


def _email(what: str, text: Any) -> str:
    plain = str(text).strip()
    if not plain:
        return ""
    local, at, domain = plain.rpartition("@")
    if not at or not _LOCAL_PART.fullmatch(local) or domain.startswith("."):
        raise PmgError(f"{what} {text!r} is no mail address that the gateway takes: write one such as user@example.org")
    return f"{local}@{domain_key(domain)}"


def _expire(what: str, value: Any) -> str:
    if value < 0:
        raise PmgError(f"{what} {value} is before 1970: write 0 for never")
    return str(value)


_READERS: dict[str, Callable[[str, Any], str]] = {
    "role": lambda dummy, value: str(value),
    "enable": lambda dummy, value: str(int(value)),
    "expire": _expire,
    "email": _email,
    "firstname": _field,
    "lastname": _field,
    "comment": _line,
    "keys": _field,
}


def spare(login: str) -> Callable[[Change], None]:
    """What raises :class:`PmgError` for a change that would lock out ``login``."""

    def judge(change: Change) -> None:
        before, after = change.before or {}, change.after
        if change.key != login:
            return
        if after is None:
            raise PmgError(f"{login} is who is logged in, and is not removed: log in as another, or list it to keep it")
        lost = {
            "disabled": after["enable"] == "0" and before["enable"] == "1",
            "given another role": after["role"] != before["role"],
            "made to expire": after["expire"] not in ("0", before["expire"]),
        }
        for what, is_so in lost.items():
            if is_so:
                raise PmgError(f"{login} is who is logged in, and is not {what}: log in as another")

    return judge


def comparable(items: Iterable[Item], states: Iterable[Iterable[Mapping[str, str]]], *, now: float) -> dict[str, str]:
    """The passwords of users who can log in, in each of the states of the list; of others nothing can be told."""
    able = [
        {str(entry["userid"]) for entry in state if str(entry["enable"]) == "1" and not 0 < int(entry["expire"]) < now}
        for state in states
    ]
    return {
        item.key: item.at_first["password"]
        for item in items
        if "password" in item.at_first and all(item.key in users for users in able)
    }
