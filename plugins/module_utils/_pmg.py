# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pure: what a Proxmox Mail Gateway keeps in lists, and the requests that bring a list about. Private.

A list holds items that are known by a key. pmg-api (8.2, 9.1) keeps keys as they were written, so that two spellings of
one key can lie side by side: items are compared by what their key means, and paths use the gateway's own spelling.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from ansible_collections.postmaster.mail.plugins.module_utils import _networks

SHORTEST_PREFIX = 8  # the API refuses wider networks with an error that does not say so
TLS_LEVELS = ("none", "may", "encrypt", "dane", "dane-only", "fingerprint", "verify", "secure")
NAME_LIMIT = 253  # RFC 1035 section 2.3.4
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"\.?(?:{_LABEL}\.)*{_LABEL}")
# RFC 5321 section 4.1.2, without quotes, and without the slash that the API takes for the end of a name.
_LOCAL_PART = re.compile(r"[A-Za-z0-9.!#$%&'*+=?^_`{|}~-]{1,64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class PmgError(Exception):
    """What was asked for cannot be done, or was not; the message is a sentence that names the item."""


class HostBits(PmgError):
    """A network with bits beyond its prefix; ``meant`` is the one without them."""

    def __init__(self, text: str, meant: str) -> None:
        super().__init__(f"{text} has bits set beyond its prefix: did you mean {meant}?")
        self.meant = meant


def _comment(entry: Mapping[str, Any]) -> dict[str, str]:
    return {"comment": str(entry.get("comment") or "")}


@dataclass(frozen=True)
class Kind:
    """A kind of list: what an item is called, its path in the API, its key, what a key means, and its other fields.

    ``values`` makes of an item, as the API returns it or as it is sent, the texts that are compared. Where ``deletes``,
    a text that is to be empty is not sent as such but named to be deleted. ``hidden`` are fields that nobody is shown.
    """

    title: str
    path: str
    key: str
    meaning: Callable[[str], Hashable]
    values: Callable[[Mapping[str, Any]], dict[str, str]] = _comment
    deletes: bool = False
    hidden: frozenset[str] = frozenset()

    def listed(self, entry: Mapping[str, Any]) -> Mapping[str, Any]:
        """An item of the list with its key, from what the API returned. Raises KeyError or ValueError."""
        return {**entry, self.key: str(entry[self.key])}

    def path_of(self, entry: Mapping[str, Any]) -> str:
        """The path of one item of the list."""
        return f"{self.path}/{quote(entry[self.key], safe='')}"

    def made(self, item: Item) -> tuple[str, dict[str, str]]:
        """Path and parameters of the request that makes an item. Raises :class:`PmgError` for what cannot be made."""
        return self.path, {self.key: item.key, **item.at_first, **set_texts(item.values)}

    def changed(self, differing: Mapping[str, str]) -> dict[str, str]:
        """The parameters of the request that changes these fields."""
        empty = sorted(name for name, text in differing.items() if not text)
        if not self.deletes or not empty:
            return dict(differing)
        return {**set_texts(differing), "delete": ",".join(empty)}


@dataclass(frozen=True)
class Item:
    """An item as it should be; fields that are not in ``values`` stay as they are.

    ``at_first`` is sent beside them when it is made. What of it is no field of the list is shown nowhere.
    """

    key: str
    values: Mapping[str, str] = field(default_factory=dict)
    at_first: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Change:
    """One request, and the item before and after it (None: there is none)."""

    method: str
    path: str
    params: Mapping[str, str] = field(repr=False)
    key: str
    before: Mapping[str, str] | None
    after: Mapping[str, str] | None


def _network_meaning(text: str) -> Hashable:
    """The network that a spelling means; what is none stands for itself."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return text


def _transport(entry: Mapping[str, Any]) -> dict[str, str]:
    """With the API's defaults. It looks up no MX of an address, and none for LMTP, whatever it is told."""
    host, protocol = str(entry.get("host") or ""), str(entry.get("protocol") or "smtp")
    direct = protocol == "lmtp" or _is_address(host) or str(entry.get("use_mx", 1)) in ("0", "False")
    found = {"host": host, "port": str(entry.get("port") or 25), "protocol": protocol, "use_mx": str(int(not direct))}
    return {**found, **_comment(entry)}


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


NETWORKS = Kind("network", "/config/mynetworks", "cidr", _network_meaning)
# The gateway tells names by case, its Postfix does not.
DOMAINS = Kind("relay domain", "/config/domains", "domain", str.lower)
DKIM_DOMAINS = Kind("signing domain", "/config/dkim/domains", "domain", str.lower)
TLS_INBOUND_DOMAINS = Kind("domain", "/config/tls-inbound-domains", "domain", str.lower, lambda dummy: {})
TLS_POLICIES = Kind(
    "destination",
    "/config/tlspolicy",
    "destination",
    str.lower,
    lambda entry: {"policy": str(entry.get("policy") or "")},
)
TRANSPORTS = Kind("transport", "/config/transport", "domain", str.lower, _transport)


# -- what may be asked for ----------------------------------------------------------------------


def network_key(text: str) -> str:
    """A network as the API takes it: an address gets its prefix. Raises :class:`PmgError`, for one HostBits."""
    plain = text.strip()
    if not plain.partition("/")[2].isdecimal() and "/" in plain:
        raise PmgError(f"{text!r} has no prefix length: write it as 192.0.2.0/24, not with a mask of dots")
    try:
        network = ipaddress.ip_network(plain, strict=False)
    except ValueError:
        raise PmgError(f"{text!r} is no network: write one such as 192.0.2.0/28 or 2001:db8::/64") from None
    if "%" in plain:
        raise PmgError(f"{text!r} names an interface, which only this host knows: leave out what follows %")
    if network.prefixlen < SHORTEST_PREFIX:
        raise PmgError(
            f"{text} is wider than /{SHORTEST_PREFIX}, which no Proxmox Mail Gateway takes: name narrower ones"
        )
    if ipaddress.ip_address(plain.partition("/")[0]) != network.network_address:
        raise HostBits(text, str(network))
    return str(network)


def check_trust(key: str) -> None:
    """Raise :class:`PmgError` for a network that must not be trusted on a port that the internet reaches."""
    network = _networks.parse(key)  # one that is mapped into IPv6 is what it means
    if any(network.version == one.version and network.overlaps(one) for one in _networks.PRIVATE):
        raise PmgError(
            f"{key} is private: behind a translation of addresses strangers come with such ones, and could send "
            "through the gateway; if the trusted port cannot be reached from outside, say reachable_from_outside: false"
        )
    try:
        _networks.judge(network)
    except _networks.NetworkError:
        raise PmgError(
            f"{key} would let a part of the internet send through the gateway: name your own networks; if the trusted "
            "port cannot be reached from outside, say reachable_from_outside: false"
        ) from None


def domain_key(text: str) -> str:
    """A domain as the API takes it; one that begins with a dot stands for all below. Raises :class:`PmgError`."""
    name = text.strip().lower()
    if not name.isascii():
        raise PmgError(f"{text!r} is not ASCII: write international names in their xn-- form")
    if not _DOMAIN.fullmatch(name) or len(name) > NAME_LIMIT:
        raise PmgError(f"{text!r} is no domain: write one such as example.org, of letters, digits and hyphens")
    return name


def address_key(text: str) -> str:
    """A domain or a mail address. Raises :class:`PmgError`."""
    local, at, domain = text.strip().rpartition("@")
    if not at:
        return domain_key(text)
    if not _LOCAL_PART.fullmatch(local) or domain.startswith("."):
        raise PmgError(f"{text!r} is neither a domain nor a mail address: write example.org or user@example.org")
    return f"{local}@{domain_key(domain)}"


def destination_key(text: str) -> str:
    """A domain, or a server in brackets. Raises :class:`PmgError`."""
    plain = text.strip()
    if "]:" in plain:
        raise PmgError(f"{text!r} has a port, with which the gateway takes none: leave out what follows the bracket")
    if plain.startswith("[") and plain.endswith("]"):
        return f"[{host(plain[1:-1])}]"
    return domain_key(plain)


def host(text: str) -> str:
    """A server's name or address. Raises :class:`PmgError`."""
    plain = text.strip()
    if plain.startswith("."):
        raise PmgError(f"{text!r} is no domain: write one such as example.org, without the dot before it")
    return plain if _is_address(plain) and "%" not in plain else domain_key(plain)


def check_text(what: str, text: str) -> str:
    """A text without control characters. Raises :class:`PmgError`.

    The gateway writes comments into a file of lines: a line break in one would begin an entry of its own.
    """
    if _CONTROL.search(text):
        raise PmgError(
            f"{what} has a line break or another control character, which would become an entry: leave it out"
        )
    return text.strip()


def check_latin(what: str, text: str) -> str:
    """A text of Latin-1 alone, without control characters. Raises :class:`PmgError`.

    The gateway reads its files as bytes: one letter beyond comes back as several others, and with it, in a section, all
    that are not ASCII.
    """
    plain = check_text(what, text)
    try:
        plain.encode("latin-1")
    except UnicodeError:
        raise PmgError(f"{what} has letters beyond Latin-1, which the gateway would garble: write others") from None
    return plain


# -- the plan -----------------------------------------------------------------------------------


def _by_meaning(kind: Kind, keys: Iterable[str]) -> dict[Hashable, list[str]]:
    found: dict[Hashable, list[str]] = {}
    for key in keys:
        found.setdefault(kind.meaning(key), []).append(key)
    return found


def once_each(kind: Kind, keys: Sequence[str]) -> None:
    """Raise :class:`PmgError` where two keys mean the same."""
    for same in _by_meaning(kind, keys).values():
        if len(same) > 1:
            raise PmgError(f"the {kind.title} {' and '.join(same)} is given {len(same)} times: give it once")


def plan(
    kind: Kind,
    present: Iterable[Mapping[str, Any]],
    *,
    wanted: Sequence[Item] = (),
    unwanted: Iterable[str] = (),
    purge: bool = False,
) -> list[Change]:
    """The requests that bring ``wanted`` about and take ``unwanted`` away, additions first; none where all is so.

    ``present`` is what the list's GET returned. ``purge`` takes away all that is not wanted. Of several spellings of a
    wanted key one stays: the one asked for if it is there.
    """
    there = {str(entry[kind.key]): entry for entry in present}
    spelled = _by_meaning(kind, there)
    kept: set[str] = set()
    made, changed = [], []
    for item in wanted:
        spellings = spelled.get(kind.meaning(item.key), [])
        if not spellings:
            path, params = kind.made(item)
            after = {kind.key: item.key, **set_texts(kind.values({**params, kind.key: item.key}))}
            made.append(Change("POST", path, params, item.key, None, after))
            continue
        key = item.key if item.key in spellings else spellings[0]
        kept.add(key)
        before = {kind.key: key, **set_texts(kind.values(there[key]))}
        # As the gateway will have it: what it makes of some values is no difference.
        meant = kind.values({**there[key], **item.values})
        differing = {name: text for name, text in meant.items() if name in item.values and text != before.get(name, "")}
        if differing:
            after = set_texts({kind.key: key, **meant})
            changed.append(Change("PUT", kind.path_of(there[key]), kind.changed(differing), key, before, after))
    leaving = set(there) - kept if purge else {key for text in unwanted for key in spelled.get(kind.meaning(text), [])}
    gone = [
        Change("DELETE", kind.path_of(there[key]), {}, key, {kind.key: key, **set_texts(kind.values(there[key]))}, None)
        for key in sorted(leaving)
    ]
    return [*made, *changed, *gone]


def set_texts(values: Mapping[str, str]) -> dict[str, str]:
    """What is not empty: to the gateway, empty and absent are the same."""
    return {name: text for name, text in values.items() if text}
