# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pure: how a Proxmox Mail Gateway signs with DKIM, and what it must not be told. Private.

Facts: pmg-api 8.2 and 9.1. A gateway has one RSA key under one selector for all its domains. POST of a selector signs
with it at once: with the file ``<selector>.private`` if there is one of the size named, else with a key that it makes.
Without any domain listed it signs for its relay domains.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _pmg
from ansible_collections.postmaster.mail.plugins.module_utils._dkim import (
    MAX_BITS,
    MIN_BITS,
    DkimError,
    DkimKey,
    DkimKeyError,
    DkimRecord,
    check_selector,
    read_private,
    record_name,
)
from ansible_collections.postmaster.mail.plugins.module_utils._pmg import PmgError
from ansible_collections.postmaster.mail.plugins.module_utils._record import Record

EVERY_DOMAIN = "every domain"  # of whoever sends
RELAY_DOMAINS = "the relay domains"


def domain_key(text: str) -> str:
    """A domain to sign for. Raises :class:`PmgError`."""
    if text.strip().startswith("."):
        raise PmgError(f"{text!r} begins with a dot: name the domain, whose key signs for those below it as well")
    return _pmg.domain_key(text)


@dataclass(frozen=True)
class Wish:
    """What is asked for; what is None stays. ``options`` are those of the section admin, as it takes them."""

    selector: str | None
    bits: int
    key: DkimKey | None
    options: Mapping[str, str]
    published: bool


@dataclass(frozen=True)
class Signing:
    """With which key a gateway signs for which domains. ``record`` is None where it is not known."""

    signs: bool
    selector: str
    domains: frozenset[str]
    record: DkimRecord | None = None

    @property
    def pairs(self) -> set[tuple[str, str]]:
        """The selectors and domains in the signatures."""
        return {(self.selector, domain) for domain in self.domains} if self.signs and self.selector else set()


def wish(
    selector: str | None, bits: int, key: tuple[str, bytes] | None, options: Mapping[str, str], *, published: bool
) -> Wish:
    """What the module's options ask for; ``key`` is a file's name and content. Raises :class:`PmgError`."""
    if not MIN_BITS <= bits <= MAX_BITS:
        raise PmgError(f"bits: an RSA key has {MIN_BITS} to {MAX_BITS} bits, not {bits}")
    if key is not None and selector is None:
        raise PmgError(f"key {key[0]} has no selector: name the one under which its record is published")
    try:
        name = None if selector is None else check_selector(selector)
    except DkimError as err:
        raise PmgError(f"selector: {err}") from err
    return Wish(name, bits, None if key is None else _rsa_key(*key), options, published)


def _rsa_key(path: str, content: bytes) -> DkimKey:
    try:
        found = read_private(content)
    except DkimKeyError as err:
        raise PmgError(f"key: {path} {err}") from err
    if found.algorithm != "rsa":
        raise PmgError(f"key: {path} holds an Ed25519 key, and the gateway signs with RSA alone: give one of RSA")
    return found


def record_of(text: str) -> DkimRecord:
    """The record in the gateway's line of a zone file. Raises :class:`PmgError`."""
    try:
        return DkimRecord.parse("".join(re.findall(r'"([^"]*)"', text)))
    except DkimError as err:
        raise PmgError(f"the gateway's own record of its key cannot be read: {err}") from err


def records(signing: Signing, ttl: int) -> list[Record]:
    """What is to be published, by domain; none where the key is not known."""
    if signing.record is None or not signing.selector:
        return []
    names = sorted(signing.domains - {EVERY_DOMAIN, RELAY_DOMAINS})
    return [Record.txt(record_name(signing.selector, domain.lower()), str(signing.record), ttl) for domain in names]


def domains_of(listed: Sequence[str], admin: Mapping[str, Any]) -> frozenset[str]:
    """For what a gateway signs that has these domains in its list."""
    every = {EVERY_DOMAIN} if is_set(admin, "dkim_sign_all_mail") else set()
    return frozenset(one.lower() for one in listed) | every if listed or every else frozenset({RELAY_DOMAINS})


def is_set(admin: Mapping[str, Any], option: str) -> bool:
    return str(admin.get(option) or 0) in ("1", "True")


def check_published(before: Signing, after: Signing, *, published: bool, new_key: bool) -> None:
    """Raise :class:`PmgError` where mail would be signed in a way that nobody may be able to verify, or not at all."""
    if after.signs and not after.selector:
        raise PmgError("the gateway has no selector to sign with: give one, publish its records, and sign then")
    fresh = after.pairs if new_key else after.pairs - before.pairs
    if not fresh or published:
        return
    names = ", ".join(sorted(domain for dummy, domain in fresh))
    raise PmgError(
        f"the gateway would sign for {names} with the selector {after.selector} at once: publish the records (check "
        "mode returns them if the key is there), wait until all name servers have them, and say published: true"
    )
