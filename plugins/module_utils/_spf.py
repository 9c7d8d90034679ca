# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: SPF records after RFC 7208: parse, print, judge and compose. Private to this collection.

The grammar is that of RFC 7208 section 12; section numbers in this file are of that RFC.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from ansible_collections.postmaster.mail.plugins.module_utils._dns import DnsTimeout
from ansible_collections.postmaster.mail.plugins.module_utils._term_error import TermError

__all__ = ["Directive", "DnsTimeout", "DomainSpec", "Macro", "Modifier", "SpfError", "SpfRecord", "compose", "parse"]

VERSION = "v=spf1"
LOOKUP_LIMIT = 10  # terms that cause DNS queries, section 4.6.4
VOID_LIMIT = 2  # lookups without an answer, section 4.6.4
SIZE_ADVISED = 450  # octets of one record, section 3.4
MECHANISMS = frozenset({"all", "include", "a", "mx", "ptr", "ip4", "ip6", "exists"})
LOOKUP_MECHANISMS = frozenset({"include", "a", "mx", "ptr", "exists"})
QUALIFIERS = {"+": "pass", "-": "fail", "~": "softfail", "?": "neutral"}

IPv4or6Network: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"

_MODIFIER = re.compile(r"([A-Za-z][A-Za-z0-9_.-]*)=(.*)", re.DOTALL)
_DIRECTIVE = re.compile(r"([+?~-]?)([A-Za-z][A-Za-z0-9_.-]*)(.*)", re.DOTALL)
_CIDR = re.compile(r"(?:/([0-9]+))?(?://([0-9]+))?$")
_NUMBER = re.compile(r"0|[1-9][0-9]*")
_MACRO = re.compile(r"%(?:\{([A-Za-z])([0-9]*)([rR]?)([.+,/_=-]*)\}|([%_-]))")
_LITERAL = re.compile(r"[\x21-\x24\x26-\x7e]+")
_TOPLABEL_END = re.compile(r"\.(?:[A-Za-z0-9]*[A-Za-z][A-Za-z0-9]*|[A-Za-z0-9]+-[A-Za-z0-9-]*[A-Za-z0-9])\.?$")


class SpfError(TermError):
    """A text is no valid SPF record, or one that must not be published."""

    what = "the SPF term"


class _Rule(Exception):
    """A rule that a term breaks; the caller knows the term and its position."""


@dataclass(frozen=True)
class Macro:
    """``%{d2r.}`` in a domain-spec or explanation (section 7.1); ``count`` 0 keeps all parts.

    ``escape`` asks for URL escaping: the letter was written as a capital.
    """

    letter: str
    count: int = 0
    reverse: bool = False
    delimiters: str = "."
    escape: bool = False


@dataclass(frozen=True)
class DomainSpec:
    """A domain-spec as written, and its parts: literal texts and macros."""

    text: str
    parts: tuple[str | Macro, ...]

    @property
    def literal(self) -> str | None:
        """The domain where no macro is in it, in lower case and without the final dot."""
        return self.text.lower().rstrip(".") if all(isinstance(part, str) for part in self.parts) else None


@dataclass(frozen=True)
class Directive:
    """A mechanism with its qualifier (section 4.6.2), ``text`` as it was written."""

    text: str
    qualifier: str
    mechanism: str
    domain: DomainSpec | None = None
    network: IPv4or6Network | None = None
    prefix4: int = 32
    prefix6: int = 128

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
        index = next((n for n, one in enumerate(self.terms) if one is term), 0)
        if self.positions:
            return self.positions[index]
        return len(self.version) + 1 + sum(len(one.text) + 1 for one in self.terms[:index])

    def refusals(self) -> list[SpfError]:
        """What forbids to publish the record, though its syntax is right."""
        found = []
        for item in self.directives:
            if item.mechanism == "all" and item.qualifier == "+":
                found.append(self._error(item, "it lets the whole world send as this domain; write -all or ~all"))
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
            self._error(item, "it stands after all and is never tried (section 5.1)")
            for item in self.directives[len(self.reached) :]
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

    Raises :class:`SpfError` for the first fault, also after ``all`` (section 4.6).
    """
    if not is_spf(text):
        raise SpfError(text[:40], 0, f"an SPF record begins with {VERSION} and a space (section 4.5)")
    terms: list[Term] = []
    positions: list[int] = []
    for match in re.finditer(r"[^ ]+", text[len(VERSION) :]):
        position = match.start() + len(VERSION)
        try:
            terms.append(parse_term(match.group()))
            _check_once(terms)
        except _Rule as err:
            raise SpfError(match.group(), position, str(err)) from None
        positions.append(position)
    return SpfRecord(tuple(terms), text[: len(VERSION)], tuple(positions))


def _check_once(terms: Sequence[Term]) -> None:
    last = terms[-1]
    names = [one.name for one in terms if isinstance(one, Modifier)]
    if isinstance(last, Modifier) and last.name in ("redirect", "exp") and names.count(last.name) > 1:
        raise _Rule(f"{last.name} may appear only once (section 6)")


def term(text: str) -> Term:
    """One term alone. Raises :class:`SpfError`."""
    try:
        return parse_term(text)
    except _Rule as err:
        raise SpfError(text, 0, str(err)) from None


def parse_term(text: str) -> Term:
    """One term. Raises :class:`_Rule`."""
    bad = next((c for c in text if not "\x21" <= c <= "\x7e"), None)
    if bad is not None:
        raise _Rule(f"the character {bad!r} is not allowed; a record is visible ASCII with spaces between terms")
    match = _MODIFIER.fullmatch(text)
    if match:
        return _modifier(text, match.group(1).lower(), match.group(2))
    match = _DIRECTIVE.fullmatch(text)
    if not match:
        raise _Rule("this is neither a mechanism nor a modifier (section 4.6.1)")
    return _directive(text, match.group(1) or "+", match.group(2).lower(), match.group(3))


def _modifier(text: str, name: str, value: str) -> Modifier:
    if name in ("redirect", "exp"):
        return Modifier(text, name, value, _domain_spec(value))
    _macros(value, explanation=True)
    return Modifier(text, name, value)


def _directive(text: str, qualifier: str, mechanism: str, rest: str) -> Directive:
    if mechanism not in MECHANISMS:
        raise _Rule(f"there is no mechanism {mechanism!r} (section 5)")
    if mechanism == "all":
        if rest:
            raise _Rule("nothing may follow all (section 5.1)")
        return Directive(text, qualifier, mechanism)
    if mechanism in ("ip4", "ip6"):
        return Directive(text, qualifier, mechanism, network=_network(mechanism, rest))
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
        raise _Rule(f"{mechanism} is written {mechanism}:domain (section 5)")
    return Directive(text, qualifier, mechanism, _domain_spec(rest[1:]), None, prefix4, prefix6)


def _prefix(text: str | None, limit: int) -> int:
    if text is None:
        return limit
    if not _NUMBER.fullmatch(text) or len(text) > 3 or int(text) > limit:
        raise _Rule(f"the prefix length {text[:20]} is not a number from 0 to {limit} (section 5.6)")
    return int(text)


def _network(mechanism: str, rest: str) -> IPv4or6Network:
    if not rest.startswith(":"):
        raise _Rule(f"{mechanism} is written {mechanism}:address (section 5.6)")
    address, slash, prefix = rest[1:].partition("/")
    limit = 32 if mechanism == "ip4" else 128
    length = _prefix(prefix if slash else None, limit)
    try:
        if mechanism == "ip4":
            return ipaddress.IPv4Network((ipaddress.IPv4Address(address), length), strict=False)
        if "%" in address:
            raise ValueError
        return ipaddress.IPv6Network((ipaddress.IPv6Address(address), length), strict=False)
    except ValueError:
        raise _Rule(f"{address!r} is no IPv{mechanism[2]} address (section 5.6)") from None


def _domain_spec(text: str) -> DomainSpec:
    parts = _macros(text, explanation=False)
    if not parts:
        raise _Rule("the domain is missing (section 7.1)")
    # A literal per cent sign (%%, %_, %-) is a macro by the grammar, so it may end the text.
    ends_in_macro = any(match.end() == len(text) for match in _MACRO.finditer(text))
    if not ends_in_macro and not _TOPLABEL_END.search(text):
        raise _Rule(f"{text!r} does not end in a dot and a top-level label, such as example.org (section 7.1)")
    return DomainSpec(text, parts)


def _macros(text: str, *, explanation: bool) -> tuple[str | Macro, ...]:
    """The literal texts and macros of a macro-string (section 7.1); c, r and t only in an ``explanation``."""
    parts: list[str | Macro] = []
    position = 0
    while position < len(text):
        match = _LITERAL.match(text, position)
        if match:
            _append(parts, match.group())
        else:
            match = _MACRO.match(text, position)
            if not match:
                raise _Rule(
                    f"{text[position : position + 8]!r} is no macro; a per cent sign is written %% (section 7.1)"
                )
            if match.group(1):
                parts.append(_macro(match, explanation))
            else:
                _append(parts, {"%": "%", "_": " ", "-": "%20"}[match.group(5)])
        position = match.end()
    return tuple(parts)


def _append(parts: list[str | Macro], literal: str) -> None:
    last = parts[-1] if parts else None
    if isinstance(last, str):
        parts[-1] = last + literal
    else:
        parts.append(literal)


def _macro(match: re.Match[str], explanation: bool) -> Macro:
    letter, digits, reverse, delimiters = match.group(1), match.group(2), match.group(3), match.group(4)
    low = letter.lower()
    if low not in "slodiphcrtv":
        raise _Rule(f"there is no macro letter {letter!r} (section 7.2)")
    if low in "crt" and not explanation:
        raise _Rule(f"the macro letter {letter!r} is for explanations only (section 7.2)")
    if digits and not int(digits[:9]):
        raise _Rule(f"{match.group()} keeps no part at all; the number must not be zero (section 7.3)")
    return Macro(low, int(digits[:9] or 0), bool(reverse), delimiters or ".", letter.isupper())


# -- composing ----------------------------------------------------------------------------------


def compose(senders: Iterable[str], *, all_: str = "~all") -> SpfRecord:
    """The record that lets ``senders`` pass and ends in ``all_``.

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
    last = term(all_)
    if not isinstance(last, Directive) or last.mechanism != "all":
        raise SpfError(all_, 0, "a record ends in -all, ~all or ?all (section 5.1)")
    return SpfRecord((*addresses, *names, last))


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
