# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: SPF records after RFC 7208: parse, print and judge. Private to this collection.

The grammar is that of RFC 7208 section 12; section numbers in this file are of that RFC.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import TypeAlias

from ansible_collections.postmaster.mail.plugins.module_utils._networks import is_private
from ansible_collections.postmaster.mail.plugins.module_utils._spf_macro import DomainSpec, Rule, domain_spec, macros
from ansible_collections.postmaster.mail.plugins.module_utils._term_error import TermError

VERSION = "v=spf1"
LOOKUP_LIMIT = 10  # terms that cause DNS queries, section 4.6.4
VOID_LIMIT = 2  # lookups without an answer, section 4.6.4
SIZE_ADVISED = 450  # octets of one record, section 3.4
KEPT_RECORDS, KEPT_SIZE = 256, 2048  # parsed records that are kept, and the octets up to which one is
MECHANISMS = frozenset({"all", "include", "a", "mx", "ptr", "ip4", "ip6", "exists"})
LOOKUP_MECHANISMS = frozenset({"include", "a", "mx", "ptr", "exists"})
QUALIFIERS = {"+": "pass", "-": "fail", "~": "softfail", "?": "neutral"}

IPv4or6Network: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"

_VISIBLE = re.compile(r"[\x21-\x7e]+")
_MODIFIER = re.compile(r"([A-Za-z][A-Za-z0-9_.-]*)=(.*)", re.DOTALL)
_DIRECTIVE = re.compile(r"([+?~-]?)([A-Za-z][A-Za-z0-9_.-]*)(.*)", re.DOTALL)
_CIDR = re.compile(r"(?:/([0-9]+))?(?://([0-9]+))?$")
_NUMBER = re.compile(r"0|[1-9][0-9]*")


class SpfError(TermError):
    """A text is no valid SPF record, or one that must not be published."""

    what = "the SPF term"


@dataclass(frozen=True)
class Directive:
    """A mechanism with its qualifier (section 4.6.2), ``text`` as it was written.

    ``number`` is the first address of ip4 and ip6, their prefix length is ``prefix4`` or ``prefix6``.
    """

    text: str
    qualifier: str
    mechanism: str
    domain: DomainSpec | None = None
    number: int | None = None
    prefix4: int = 32
    prefix6: int = 128

    @property
    def is_everyone(self) -> bool:
        """Whether every client of one address family matches."""
        if self.mechanism == "all":
            return True
        return self.mechanism in ("ip4", "ip6", "a", "mx") and 0 in (self.prefix4, self.prefix6)

    @cached_property
    def network(self) -> IPv4or6Network | None:
        """The network of ip4 and ip6, None for others."""
        if self.number is None:
            return None
        if self.mechanism == "ip4":
            return ipaddress.IPv4Network((self.number, self.prefix4))
        return ipaddress.IPv6Network((self.number, self.prefix6))

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Modifier:
    """``redirect``, ``exp`` or an unknown modifier (section 6); ``domain`` of the first two."""

    text: str
    name: str
    value: str
    domain: DomainSpec | None = None

    def __str__(self) -> str:
        return self.text


Term: TypeAlias = "Directive | Modifier"
Key: TypeAlias = "tuple[object, ...]"


def key(item: Term) -> Key:
    """What makes two terms the same, whatever their qualifier and spelling; capital macro letters are no small ones."""
    if isinstance(item, Modifier) and item.domain is None:
        return (item.name, item.value)
    if isinstance(item, Directive) and item.number is not None:
        return (item.mechanism, item.number, item.prefix4, item.prefix6)
    parts = [part.lower() if isinstance(part, str) else part for part in item.domain.parts] if item.domain else []
    if parts and isinstance(parts[-1], str):
        parts[-1] = parts[-1].removesuffix(".")
    if isinstance(item, Modifier):
        return (item.name, *parts)
    return (item.mechanism, item.prefix4, item.prefix6, *parts)


@dataclass(frozen=True)
class SpfRecord:
    """An SPF record: its terms in order. ``positions`` are their offsets in the text parsed."""

    terms: tuple[Term, ...]
    version: str = VERSION
    positions: tuple[int, ...] = field(default=(), compare=False, repr=False)

    def __str__(self) -> str:
        return " ".join([self.version, *(term.text for term in self.terms)])

    @property
    def directives(self) -> tuple[Directive, ...]:
        return tuple(term for term in self.terms if isinstance(term, Directive))

    def modifier(self, name: str) -> Modifier | None:
        """The modifier of that name, None where there is none."""
        return next((term for term in self.terms if isinstance(term, Modifier) and term.name == name), None)

    @property
    def reached(self) -> tuple[Directive, ...]:
        """The directives up to the first ``all``; later ones are never tried (section 5.1)."""
        directives = self.directives
        stop = next((n for n, item in enumerate(directives) if item.mechanism == "all"), len(directives))
        return directives[: stop + 1]

    @property
    def lookup_terms(self) -> tuple[Term, ...]:
        """The record's own terms that count against the limit of ten lookups (section 4.6.4)."""
        found: list[Term] = [item for item in self.reached if item.mechanism in LOOKUP_MECHANISMS]
        redirect = self.modifier("redirect")
        if redirect is not None and not any(item.mechanism == "all" for item in self.directives):
            found.append(redirect)
        return tuple(found)

    def position(self, term: Term) -> int:
        """Offset of ``term`` in the text that was parsed, or in ``str(self)`` for a composed record."""
        return self._places.get(id(term), 0)

    @cached_property
    def _places(self) -> dict[int, int]:
        positions = self.positions
        if not positions:
            sizes = (len(one.text) + 1 for one in self.terms)
            positions = tuple(accumulate(sizes, initial=len(self.version) + 1))
        return {id(one): position for one, position in zip(self.terms, positions, strict=False)}

    def refusals(self) -> list[SpfError]:
        """What forbids to publish the record, though its syntax is right."""
        found = []
        for item in self.directives:
            if item.qualifier == "+" and item.is_everyone:
                remedy = "write -all or ~all" if item.mechanism == "all" else "write a longer prefix"
                found.append(self._error(item, f"it lets the whole world send as this domain; {remedy}"))
        lookups = self.lookup_terms
        if len(lookups) > LOOKUP_LIMIT:
            rule = f"it is lookup number {LOOKUP_LIMIT + 1}, and receivers stop with permerror after {LOOKUP_LIMIT}"
            found.append(self._error(lookups[LOOKUP_LIMIT], f"{rule} (section 4.6.4); name addresses instead"))
        return found

    def warnings(self) -> list[SpfError]:
        """What is allowed but most likely not meant."""
        found = [self._error(t, "ptr is slow and should not be used (section 5.5)") for t in self._of("ptr")]
        found += [self._error(t, "it says nothing of other senders; write ~all or -all") for t in self._of("all", "?")]
        found += [
            self._error(item, "a private address is none that receivers see; name the one that your mail leaves from")
            for item in self.reached
            if item.network is not None and item.qualifier == "+" and is_private(item.network)
        ]
        found += [
            self._error(item, "it stands after all and is never tried (section 5.1)")
            for item in self.directives[len(self.reached) :]
        ]
        found += [
            self._error(item, f"it can never match, as {outer.text} stands before it and decides first (section 4.6.2)")
            for outer, item in self.shadowed()
        ]
        found += [
            self._error(item, f"this is an unknown modifier; the mechanism is written {item.name}:{item.value}")
            for item in self.terms
            if isinstance(item, Modifier) and item.name in MECHANISMS
        ]
        if not self._of("all") and self.modifier("redirect") is None:
            found.append(
                SpfError(str(self), 0, "it ends without all, which means ?all (section 4.7); add ~all or -all")
            )
        if len(str(self)) > SIZE_ADVISED:
            rule = (
                f"it has {len(str(self))} octets; answers over {SIZE_ADVISED} may not fit in a UDP packet (section 3.4)"
            )
            found.append(SpfError(str(self), 0, rule))
        return found

    def shadowed(self) -> Iterator[tuple[Directive, Directive]]:
        """Terms that can never match, each after the one with another verdict that matches all they could."""
        networks: dict[tuple[str, int], dict[int, tuple[int, Directive]]] = {}  # by family and length of the prefix
        others: dict[Key, Directive] = {}
        for place, item in enumerate(self.reached):
            outer: Directive | None = None
            if item.number is None:
                outer = others.setdefault(key(item), item)
            else:
                bits, length = (32, item.prefix4) if item.mechanism == "ip4" else (128, item.prefix6)
                wider = (
                    table.get(item.number >> (bits - size))
                    for (mechanism, size), table in networks.items()
                    if mechanism == item.mechanism and size <= length
                )
                outer = min((found for found in wider if found is not None), default=(0, item), key=lambda one: one[0])[
                    1
                ]
                networks.setdefault((item.mechanism, length), {}).setdefault(
                    item.number >> (bits - length), (place, item)
                )
            if outer.qualifier != item.qualifier:
                yield outer, item

    def _of(self, mechanism: str, qualifier: str = "") -> list[Directive]:
        return [d for d in self.directives if d.mechanism == mechanism and (not qualifier or d.qualifier == qualifier)]

    def _error(self, term: Term, rule: str) -> SpfError:
        return SpfError(term.text, self.position(term), rule)


# -- parsing ------------------------------------------------------------------------------------


def is_spf(text: str) -> bool:
    """Whether a TXT record is an SPF record at all (section 4.5)."""
    return text[:7].lower() in (VERSION, VERSION + " ")


def parse(text: str) -> SpfRecord:
    """The record that ``text`` is; ``str()`` of it is ``text`` but for runs of spaces.

    Raises :class:`SpfError` for the first fault, also after ``all`` (section 4.6). Records are values, so that short
    ones can be kept.
    """
    return _kept_parse(text) if len(text) <= KEPT_SIZE else _parse(text)


def _parse(text: str) -> SpfRecord:
    if not is_spf(text):
        raise SpfError(text[:40], 0, f"an SPF record begins with {VERSION} and a space (section 4.5)")
    terms: list[Term] = []
    positions: list[int] = []
    seen: set[str] = set()
    for match in re.finditer(r"[^ ]+", text[len(VERSION) :]):
        position = match.start() + len(VERSION)
        try:
            terms.append(parse_term(match.group()))
            _check_once(terms[-1], seen)
        except Rule as err:
            raise SpfError(match.group(), position, str(err)) from None
        positions.append(position)
    return SpfRecord(tuple(terms), text[: len(VERSION)], tuple(positions))


_kept_parse = lru_cache(maxsize=KEPT_RECORDS)(_parse)


def _check_once(last: Term, seen: set[str]) -> None:
    if isinstance(last, Modifier) and last.name in ("redirect", "exp"):
        if last.name in seen:
            raise Rule(f"{last.name} may appear only once (section 6)")
        seen.add(last.name)


def term(text: str) -> Term:
    """One term alone. Raises :class:`SpfError`."""
    try:
        return parse_term(text)
    except Rule as err:
        raise SpfError(text, 0, str(err)) from None


def parse_term(text: str) -> Term:
    """One term. Raises :class:`Rule`."""
    if text and not _VISIBLE.fullmatch(text):
        bad = next(c for c in text if not "\x21" <= c <= "\x7e")
        raise Rule(f"the character {bad!r} is not allowed; a record is visible ASCII with spaces between terms")
    match = _MODIFIER.fullmatch(text)
    if match:
        return _modifier(text, match.group(1).lower(), match.group(2))
    match = _DIRECTIVE.fullmatch(text)
    if not match:
        raise Rule(f"this is neither a mechanism nor a modifier (section 4.6.1){_address_hint(text)}")
    return _directive(text, match.group(1) or "+", match.group(2).lower(), match.group(3))


def _modifier(text: str, name: str, value: str) -> Modifier:
    if name in ("redirect", "exp"):
        return Modifier(text, name, value, domain_spec(value))
    macros(value, explanation=True)
    return Modifier(text, name, value)


def _directive(text: str, qualifier: str, mechanism: str, rest: str) -> Directive:
    if mechanism not in MECHANISMS:
        raise Rule(f"there is no mechanism {mechanism!r} (section 5){_address_hint(text)}")
    if mechanism == "all":
        if rest:
            raise Rule("nothing may follow all (section 5.1)")
        return Directive(text, qualifier, mechanism)
    if mechanism in ("ip4", "ip6"):
        number, prefix = _network(mechanism, rest)
        if mechanism == "ip4":
            return Directive(text, qualifier, mechanism, number=number, prefix4=prefix)
        return Directive(text, qualifier, mechanism, number=number, prefix6=prefix)
    prefix4, prefix6 = 32, 128
    if mechanism in ("a", "mx"):
        cidr = _CIDR.search(rest)
        if cidr and cidr.group():
            prefix4 = _prefix(cidr.group(1), 32)
            prefix6 = _prefix(cidr.group(2), 128)
            rest = rest[: cidr.start()]
    if not rest and mechanism in ("a", "mx", "ptr"):
        return Directive(text, qualifier, mechanism, None, None, prefix4, prefix6)
    if not rest.startswith(":"):
        raise Rule(f"{mechanism} is written {mechanism}:domain (section 5)")
    return Directive(text, qualifier, mechanism, domain_spec(rest[1:]), None, prefix4, prefix6)


def _address_hint(text: str) -> str:
    """How to write the term, where it is a bare address."""
    bare = text.lstrip("+-~?")
    try:
        return f"; write ip{ipaddress.ip_network(bare, strict=False).version}:{bare}"
    except ValueError:
        return ""


def _prefix(text: str | None, limit: int) -> int:
    if text is None:
        return limit
    if not _NUMBER.fullmatch(text) or len(text) > 3 or int(text) > limit:
        raise Rule(f"the prefix length {text[:20]} is not a number from 0 to {limit} (section 5.6)")
    return int(text)


def _network(mechanism: str, rest: str) -> tuple[int, int]:
    """The first address of a network and its prefix length."""
    if not rest.startswith(":"):
        raise Rule(f"{mechanism} is written {mechanism}:address (section 5.6)")
    address, slash, prefix = rest[1:].partition("/")
    family, bits = (socket.AF_INET, 32) if mechanism == "ip4" else (socket.AF_INET6, 128)
    length = _prefix(prefix if slash else None, bits)
    try:
        number = int.from_bytes(socket.inet_pton(family, address), "big")
    except (OSError, ValueError):
        raise Rule(f"{address!r} is no IPv{mechanism[2]} address (section 5.6)") from None
    return number >> (bits - length) << (bits - length), length
