# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pure: the welcome list of a Proxmox Mail Gateway, whose items are of several kinds. Private.

Facts: pmg-api 8.2 (which calls it whitelist) and 9.1. An item has a number, and no more than a value: it is added or
removed, never changed. The gateway takes each value for a Perl expression when it is stored, whatever it is.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._pmg import (
    Item,
    Kind,
    PmgError,
    domain_key,
    network_key,
)

REGEX_LIMIT = 1024  # characters, from the API's schema
_LOCAL_PART = re.compile(r"[A-Za-z0-9_+~-]+(?:\.[A-Za-z0-9_+~-]+)*")  # the schema's; no other character is taken
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _email(text: str) -> str:
    local, at, domain = text.strip().rpartition("@")
    if not at or not _LOCAL_PART.fullmatch(local) or domain.startswith("."):
        raise PmgError(f"{text!r} is no mail address that the gateway takes: write one such as user@example.org")
    if local.startswith("+") or "+++" in local:
        raise PmgError(
            f"{text!r} has a + where the gateway takes it for an operator: give it as an expression, with \\+"
        )
    return f"{local}@{_domain(domain)}".lower()


def _domain(text: str) -> str:
    if text.strip().startswith("."):
        raise PmgError(f"{text!r} begins with a dot: for the domains below one, give an expression")
    return domain_key(text)


def _address(text: str) -> str:
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError:
        raise PmgError(f"{text!r} is no address: write one such as 192.0.2.25 or 2001:db8::25") from None
    if "%" in text:
        raise PmgError(f"{text!r} names an interface, which only this host knows: leave out what follows %")
    return str(address)


def _expression(text: str) -> str:
    if not text.strip():
        raise PmgError("an expression is empty: leave it out")
    if _CONTROL.search(text):
        raise PmgError(f"{text!r} has a line break or another control character: write \\n, or leave it out")
    if len(text) > REGEX_LIMIT:
        raise PmgError(f"{text[:20]!r}... has more than {REGEX_LIMIT} characters: split it")
    return text


# By what the API calls it: the option for it, its field in the API, and what reads it.
KINDS: dict[str, tuple[str, str, Callable[[str], str]]] = {
    "email": ("emails", "email", _email),
    "domain": ("domains", "domain", _domain),
    "regex": ("regexes", "regex", _expression),
    "ip": ("addresses", "ip", _address),
    "network": ("networks", "cidr", network_key),
    "receiver": ("receivers", "email", _email),
    "receiver_domain": ("receiver_domains", "domain", _domain),
    "receiver_regex": ("receiver_regexes", "regex", _expression),
}
_ABOUT_RECEIVERS = {"email": "receiver", "domain": "receiver_domain", "regex": "receiver_regex"}
_ABOUT_SENDERS = {"email": "email", "domain": "domain", "regex": "regex", "ip": "ip", "cidr": "network"}


def key_of(kind: str, value: str) -> str:
    """What an item is called here. Raises :class:`PmgError` for a value that the gateway does not take."""
    return f"{kind} {KINDS[kind][2](value)}"


def split_key(key: str) -> tuple[str, str]:
    """The reverse of :func:`key_of`."""
    kind, dummy, value = key.partition(" ")
    return kind, value


def _meaning(key: str) -> Hashable:
    kind, value = split_key(key)
    try:
        return kind, ipaddress.ip_network(value, strict=False) if kind == "network" else key_of(kind, value)
    except (PmgError, ValueError):
        return key


@dataclass(frozen=True)
class WelcomeList(Kind):
    """Its path and the way to its items; ``path`` is that of the whole."""

    def listed(self, entry: Mapping[str, Any]) -> Mapping[str, Any]:
        """See :class:`Kind`."""
        kinds = _ABOUT_RECEIVERS if str(entry.get("receivertest") or 0) == "1" else _ABOUT_SENDERS
        field = next((name for name in kinds if name in entry), "")
        return {"id": int(entry["id"]), self.key: f"{kinds[field]} {entry[field]}"}

    def path_of(self, entry: Mapping[str, Any]) -> str:
        """See :class:`Kind`."""
        return f"{self.path}/{entry['id']}"

    def made(self, item: Item) -> tuple[str, dict[str, str]]:
        """See :class:`Kind`."""
        kind, value = split_key(item.key)
        return f"{self.path.removesuffix('/objects')}/{kind}", {KINDS[kind][1]: value}


def _list(name: str) -> WelcomeList:
    return WelcomeList("entry", f"/config/{name}/objects", "entry", _meaning, lambda dummy: {})


WELCOME_LIST, WHITELIST = _list("welcomelist"), _list("whitelist")  # the latter is the name of release 8
