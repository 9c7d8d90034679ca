# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pure: the verdict of SPF on an address, RFC 7208 sections 4 to 7, with DNS as a port. Private to this collection.

Section numbers are of RFC 7208. A record is compiled once and kept, since receivers see the same few records all
day: the steps for clients of one address family, its networks as integers in tables by prefix length.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple, TypeAlias

from ansible_collections.postmaster.mail.plugins.module_utils._dns import LABEL_LIMIT, NAME_LIMIT, DnsTimeout, Resolver
from ansible_collections.postmaster.mail.plugins.module_utils._spf_macro import (
    DomainSpec,
    Macro,
    Rule,
    expand,
    macros,
    target_name,
)
from ansible_collections.postmaster.mail.plugins.module_utils._spf_record import (
    LOOKUP_LIMIT,
    QUALIFIERS,
    VERSION,
    VOID_LIMIT,
    Directive,
    Modifier,
    SpfError,
    Term,
    is_spf,
    parse,
    parse_term,
)

HOSTS_LIMIT = 10  # names of an MX or PTR answer that are looked at, section 4.6.4
CACHED_RECORDS, CACHED_SIZE = (
    2048,
    4096,
)  # compiled records kept (each by family), and the octets up to which one is kept
MAPPED = 0xFFFF  # upper 96 bits of an IPv4 address inside IPv6, RFC 4291 section 2.5.5.2

# Labels of visible ASCII, two at least, without the brackets of literals and the backslash.
_MAIL_DOMAIN = re.compile(rf"(?:[!-\-/-Z^-~]{{1,{LABEL_LIMIT}}}\.)+[!-\-/-Z^-~]{{1,{LABEL_LIMIT}}}")
_NAME = re.compile(rf"[^.]{{1,{LABEL_LIMIT}}}(?:\.[^.]{{1,{LABEL_LIMIT}}})*")

_NETWORK = re.compile(
    r"([+?~-]?)ip(?:4:([0-9]{1,3}(?:\.[0-9]{1,3}){3})|6:([0-9a-f:.]{2,45}))(?:/(0|[1-9][0-9]{0,2}))?",
    re.IGNORECASE | re.ASCII,
)
# Most other terms: their domain has no macro, and only characters that names usually have.
_DOMAIN = rf"((?:[a-z0-9_-]{{1,{LABEL_LIMIT}}}\.)+[a-z](?:[a-z0-9-]{{0,{LABEL_LIMIT - 2}}}[a-z0-9])?\.?)"
_PLAIN = re.compile(
    rf"([+?~-]?)(include|exists|ptr|a|mx)(?::{_DOMAIN})?(?:/(3[0-2]|[12]?[0-9]))?(?://(12[0-8]|1[01][0-9]|[1-9]?[0-9]))?"
    rf"|(redirect|exp)={_DOMAIN}",
    re.IGNORECASE | re.ASCII,
)
# By prefix length, for IPv4 and for IPv6.
MASKS = tuple([(1 << bits) - (1 << (bits - length)) for length in range(bits + 1)] for bits in (32, 128))

Hit: TypeAlias = "tuple[str, str]"  # result and term of what matched
Tables: TypeAlias = "dict[int, dict[int, tuple[int, Hit]]]"  # by mask, by network: position among its neighbours


class SpfResult(NamedTuple):
    """The verdict (section 2.6), what the domain says of a ``fail`` (section 6.2, empty without such a text),
    the term that decided (empty where none did), and how many lookups and void lookups it took (section 4.6.4).
    """

    result: str
    explanation: str = ""
    term: str = ""
    lookups: int = 0
    voids: int = 0


class Stop(Exception):
    """The evaluation ends here with ``temperror`` or ``permerror`` (sections 2.6.6 and 2.6.7).

    ``fault`` is the kind: ``unanswered``, ``lookups``, ``voids`` or ``broken_target``.
    """

    def __init__(self, fault: str, term: str, rule: str) -> None:
        super().__init__(rule)
        self.fault = fault
        self.result = "temperror" if fault == "unanswered" else "permerror"
        self.term = term
        self.rule = rule


def check_host(
    *,
    ip: str | IPv4Address | IPv6Address,
    sender: str,
    helo: str,
    resolver: Resolver,
    receiver: str = "unknown",
    void_limit: int = VOID_LIMIT,
) -> SpfResult:
    """Whether ``ip`` may send mail from ``sender``, after RFC 7208; an empty sender means postmaster@helo.

    ``receiver`` is the name that the macro ``%{r}`` stands for; ``void_limit`` may be raised (section 4.6.4). Raises
    :class:`SpfError` only for an ``ip`` that is none: whatever records and clients say ends in a result.
    """
    check = Check(ip, sender, helo, resolver.query, receiver)
    check.void_limit = void_limit
    if check.domain is None:
        return SpfResult("none")  # section 4.3
    try:
        result, term, program, domain = check.evaluate(check.domain)
    except Stop as stop:
        return SpfResult(stop.result, "", stop.term, check.lookups, check.voids)
    explanation = ""
    if result == "fail" and program is not None and program.exp is not None:
        explanation = check.explanation(program.exp, domain)
    return SpfResult(result, explanation, term, check.lookups, check.voids)


# -- who sends ----------------------------------------------------------------------------------


def address_number(ip: object) -> tuple[bool, int]:
    """Whether ``ip`` is an IPv6 address, and its number; one mapped into IPv6 is an IPv4 address (section 5)."""
    text = str(ip)
    try:
        if ":" not in text:
            return False, int.from_bytes(socket.inet_pton(socket.AF_INET, text), "big")
        number = int.from_bytes(socket.inet_pton(socket.AF_INET6, text), "big")
    except (OSError, ValueError):
        raise SpfError(text, 0, "this is no IP address that mail could come from") from None
    return (False, number & 0xFFFFFFFF) if number >> 32 == MAPPED else (True, number)


def split_sender(sender: str, helo: str) -> tuple[str, str]:
    """Local part and domain to judge (sections 2.4 and 4.3): without a local part it is postmaster."""
    if sender.startswith("<") and sender.endswith(">"):
        sender = sender[1:-1]
    local, at, domain = sender.rpartition("@")
    if not at and not sender:
        domain = helo
    return local or "postmaster", domain


def ascii_domain(domain: str) -> str | None:
    """``domain`` as DNS knows it, without its final dot; None where it is malformed (section 4.3, RFC 8616)."""
    domain = domain.removesuffix(".")
    if not domain.isascii():
        try:
            # Longer than a name can be in any form: no need to try.
            domain = domain.encode("idna").decode() if len(domain) <= NAME_LIMIT else ""
        except UnicodeError:
            return None
    return domain if len(domain) <= NAME_LIMIT and _MAIL_DOMAIN.fullmatch(domain) else None


def is_name(text: str) -> bool:
    """Whether DNS can be asked for ``text`` (RFC 1035 section 2.3.4): labels and length, not characters."""
    return len(text) <= NAME_LIMIT and _NAME.fullmatch(text) is not None


# -- records made ready -------------------------------------------------------------------------


class Target(NamedTuple):
    """What the domain-spec of the term ``text`` says: ``name`` where it has no macro (empty where DNS cannot be asked
    for it), else ``parts`` to expand.
    """

    text: str
    name: str | None
    parts: tuple[str | Macro, ...] = ()
    local: bool = False  # it has a macro of the sender's local part

    @classmethod
    def of(cls, text: str, spec: DomainSpec) -> Target:
        letters = spec.letters
        name = None
        if not letters:
            name = target_name("".join(map(str, spec.parts))).lower()
            name = _escaped(name) if is_name(name) else ""
        return cls(text, name, () if name is not None else spec.parts, not letters.isdisjoint("sl"))


def _escaped(name: str) -> str:
    return name.replace("\\", "\\\\")  # the presentation form, RFC 1035 section 5.1


class Step(NamedTuple):
    """One mechanism, or a run of networks, as it is tried: ``run(check, step, domain)`` gives a hit or None."""

    run: Callable[[Check, Step, str], Hit | None]
    hit: Hit
    target: Target | None = None
    mask: int | None = None  # of a and mx
    tables: tuple[tuple[int, dict[int, tuple[int, Hit]]], ...] = ()


class Program(NamedTuple):
    """The record ``text`` made ready for clients of one address family: its steps, or why it cannot be evaluated."""

    text: str
    error: SpfError | None = None
    steps: tuple[Step, ...] = ()
    redirect: Target | None = None
    exp: Target | None = None


def program(text: str, six: bool) -> Program:
    """The record ``text`` made ready for clients of IPv4 or IPv6; short ones are kept."""
    return _kept_program(text, six) if len(text) <= CACHED_SIZE else _program(text, six)


def _program(text: str, six: bool) -> Program:
    builder = _Builder(six)
    try:
        builder.add_all(text)
    except Rule:
        try:
            parse(text)  # the slow way, that tells which term and where
        except SpfError as err:
            return Program(text, SpfError(err.term, err.position, err.rule))
    redirect = None if builder.ended else builder.targets.get("redirect")  # section 6.1
    return Program(text, None, builder.finished(), redirect, builder.targets.get("exp"))


_kept_program = lru_cache(maxsize=CACHED_RECORDS)(_program)
forget = _kept_program.cache_clear


class _Builder:
    """Makes the steps of a record. Neighbouring networks become one step; what stands after all is only read."""

    def __init__(self, six: bool) -> None:
        self.six = six
        self.ended = False
        self.targets: dict[str, Target] = {}
        self._steps: list[Step] = []
        self._tables: Tables = {}

    def add_all(self, text: str) -> None:
        """Every term of ``text``. Raises :class:`Rule` where one is wrong."""
        fixed = FIXED[self.six]
        for word in text[len(VERSION) :].split(" "):
            step = fixed.get(word)
            if step is not None:
                self._add(step)
                continue
            match = _NETWORK.fullmatch(word)
            if match is not None:
                self._network(word, *match.groups())
                continue
            match = _PLAIN.fullmatch(word)
            if match is not None and len(word) <= NAME_LIMIT:
                self._plain(word, *match.groups())
            elif word:
                self._term(parse_term(word))

    def finished(self) -> tuple[Step, ...]:
        """All steps."""
        self._flush()
        return tuple(self._steps)

    def _network(self, word: str, qualifier: str, four: str | None, six: str | None, prefix: str | None) -> None:
        """Networks are most of most records, so they are read without the detour of a :class:`Directive`."""
        number = _number(four or six or "", six is not None)
        limit = 32 if six is None else 128
        length = limit if prefix is None else int(prefix)
        if number is None or length > limit:
            raise Rule
        if self.ended:
            return
        number, length, is_six = meant(number, length, six is not None)
        if is_six is self.six:
            mask = MASKS[is_six][length]
            table = self._tables.setdefault(mask, {})
            place = sum(map(len, self._tables.values()))
            table.setdefault(number & mask, (place, (QUALIFIERS[qualifier or "+"], word)))

    def _plain(
        self,
        word: str,
        qualifier: str | None,
        mechanism: str | None,
        domain: str | None,
        prefix4: str | None,
        prefix6: str | None,
        modifier: str | None,
        target_domain: str | None,
    ) -> None:
        """A term without macros, read without the detour of a :class:`Directive`, too."""
        name = domain or target_domain
        target = None if name is None else Target(word, name.removesuffix(".").lower())
        if mechanism is None:
            self._modifier((modifier or "").lower(), target)
            return
        mechanism, mask = mechanism.lower(), None
        if mechanism in ("a", "mx"):
            mask = MASKS[True][int(prefix6 or 128)] if self.six else MASKS[False][int(prefix4 or 32)]
        elif target is None or prefix4 is not None or prefix6 is not None:
            self._term(parse_term(word))
            return
        self._add(Step(RUNS[mechanism], (QUALIFIERS[qualifier or "+"], word), target, mask))

    def _modifier(self, name: str, target: Target | None) -> None:
        if target is not None:
            if name in self.targets:
                raise Rule
            self.targets[name] = target

    def _term(self, term: Term) -> None:
        if isinstance(term, Modifier):
            self._modifier(term.name, Target.of(term.text, term.domain) if term.domain is not None else None)
        else:
            self._add(step_of(term, self.six))

    def _add(self, step: Step) -> None:
        if not self.ended:
            if self._tables:
                self._flush()
            self._steps.append(step)
            self.ended = step.run is _always

    def _flush(self) -> None:
        """The networks so far become one step."""
        if self._tables:
            self._steps.append(Step(_networks, _NO_HIT, tables=tuple(self._tables.items())))
            self._tables = {}


def _number(text: str, six: bool) -> int | None:
    try:
        return int.from_bytes(socket.inet_pton(socket.AF_INET6 if six else socket.AF_INET, text), "big")
    except OSError:
        return None


def meant(number: int, length: int, six: bool) -> tuple[int, int, bool]:
    """A network, or the IPv4 network that one in mapped form stands for (section 5, RFC 4291 section 2.5.5.2)."""
    if six and length >= 96 and number >> 32 == MAPPED:
        return number & 0xFFFFFFFF, length - 96, False
    return number, length, six


def directive_network(item: Directive, number: int) -> tuple[int, int, bool]:
    """The network of an ip4 or ip6 directive, ``number`` its first address, as :func:`meant`."""
    return meant(number, item.prefix4, False) if item.mechanism == "ip4" else meant(number, item.prefix6, True)


def step_of(item: Directive, six: bool) -> Step:
    """The step for one directive alone."""
    hit = (QUALIFIERS[item.qualifier], item.text)
    if item.number is not None:
        number, length, is_six = directive_network(item, item.number)
        tables = ((MASKS[six][length], {number: (0, hit)}),) if is_six is six else ()
        return Step(_networks, hit, tables=tables)
    target = Target.of(item.text, item.domain) if item.domain is not None else None
    mask = MASKS[six][item.prefix6 if six else item.prefix4] if item.mechanism in ("a", "mx") else None
    return Step(RUNS[item.mechanism], hit, target, mask)


# -- evaluating ---------------------------------------------------------------------------------

Evaluated: TypeAlias = "tuple[str, str, Program | None, str]"  # result, term, and the record that gave them


class Check:
    """One evaluation: who sends, and how many lookups it took so far. ``domain`` None is malformed."""

    __slots__ = (
        *("address", "domain", "helo", "local", "lookup_limit", "lookups", "pointers", "query", "receiver", "sender"),
        *("six", "void_limit", "voids"),
    )

    def __init__(
        self, ip: object, sender: str, helo: str, query: Callable[[str, str], list[str]], receiver: str = "unknown"
    ) -> None:
        self.six, self.address = address_number(ip)
        self.local, given = split_sender(sender, helo)
        domain = ascii_domain(given)
        self.sender = domain or given  # the domain of the sender, as %{o} stands for it
        self.domain = domain and domain.lower()
        self.helo = helo
        self.receiver = receiver
        self.query = query
        self.lookups = self.voids = 0
        self.lookup_limit, self.void_limit = LOOKUP_LIMIT, VOID_LIMIT
        self.pointers: list[str] | None = None

    def evaluate(self, domain: str, term: str = "") -> Evaluated:
        """check_host() of section 4 for ``domain``, in lower case, which ``term`` leads to. Raises :class:`Stop`."""
        found = self.record(domain, term)
        if found is None:
            return "none", "", None, domain
        while True:
            for step in found.steps:
                hit = step.run(self, step, domain)
                if hit is not None:
                    return hit[0], hit[1], found, domain
            target = found.redirect
            if target is None:
                return "neutral", "", found, domain  # section 4.7
            domain, found = self.redirected(target, domain)

    def redirected(self, target: Target, domain: str) -> tuple[str, Program]:
        """The name and the record that a redirect goes to (section 6.1)."""
        self.count(target.text)
        name = self.name(target, domain)
        found = self.record(name, target.text) if "." in name else None
        if found is None:
            raise Stop("broken_target", target.text, f"{name or 'the target'} has no SPF record (section 6.1)")
        return name, found

    def record(self, domain: str, term: str) -> Program | None:
        """The one SPF record of ``domain`` (sections 4.4 and 4.5), None without any; ``term`` asked for it."""
        return self.single(self.texts(domain, term), domain, term)

    def texts(self, domain: str, term: str) -> list[str]:
        """The SPF records of ``domain``."""
        return [text for text in self.ask(domain, "TXT", term) if is_spf(text)]

    def single(self, texts: list[str], domain: str, term: str) -> Program | None:
        """The record made ready that ``texts`` are, where they are one."""
        if not texts:
            return None
        if len(texts) > 1:
            raise Stop("broken_target", term, f"{domain} has {len(texts)} SPF records (section 4.5)")
        found = program(texts[0], self.six)
        if found.error is not None:
            raise Stop("broken_target", found.error.term, f"in the record of {domain}, {found.error}")
        return found

    def ask(self, name: str, rdtype: str, term: str) -> list[str]:
        """The answers to one question; without an answer the evaluation ends with temperror (section 2.6.6)."""
        try:
            return self.query(name, rdtype)
        except DnsTimeout:
            raise Stop("unanswered", term, f"no answer for {name} {rdtype} (section 2.6.6)") from None

    def count(self, term: str) -> None:
        """One more term that causes DNS queries (section 4.6.4)."""
        self.lookups += 1
        if self.lookups > self.lookup_limit:
            raise Stop(
                "lookups",
                term,
                f"it is lookup number {self.lookups}; {self.lookup_limit} are allowed (section 4.6.4)",
            )

    def void(self, term: str) -> None:
        """One more term whose question has no answer (section 4.6.4)."""
        self.voids += 1
        if self.voids > self.void_limit:
            raise Stop(
                "voids",
                term,
                f"it is void lookup number {self.voids}; {self.void_limit} are allowed (section 4.6.4)",
            )

    # -- macros ---------------------------------------------------------------------------------

    def name(self, target: Target | None, domain: str) -> str:
        """The target-name (section 4.8), empty where DNS cannot be asked for it, so that nothing can match."""
        if target is None:
            return domain
        if target.name is not None:
            return target.name
        if target.local and not self.local.isascii():
            return ""  # RFC 8616 section 4
        try:
            name = target_name(expand(target.parts, lambda letter: self.value(letter, domain))).lower()
        except Rule:
            return ""
        return _escaped(name) if name.isascii() and is_name(name) else ""

    def value(self, letter: str, domain: str) -> str:
        """What a macro letter stands for (section 7.2)."""
        match letter:
            case "d":
                return domain
            case "i":
                # Capitals as in the examples of the community's suite; names are asked for in lower case anyway.
                return ".".join(f"{self.address:032X}") if self.six else self.text
            case "s":
                return f"{self.local}@{self.sender}"
            case "l":
                return self.local
            case "o":
                return self.sender
            case "v":
                return "ip6" if self.six else "in-addr"
            case "h":
                return self.helo
            case "p":
                return self.validated_name(domain)
            case "c":
                return self.text
            case "r":
                return self.receiver
            case dummy:  # t, the last that the grammar knows
                return str(int(time.time()))

    @property
    def text(self) -> str:
        """The client's address as people write it."""
        family, size = (socket.AF_INET6, 16) if self.six else (socket.AF_INET, 4)
        return socket.inet_ntop(family, self.address.to_bytes(size, "big"))

    def explanation(self, target: Target, domain: str) -> str:
        """The text that ``exp`` leads to (section 6.2); empty where anything is wrong with it."""
        name = self.name(target, domain)
        try:
            texts = self.query(name, "TXT") if name else []
            if len(texts) != 1:
                return ""
            parts = macros(texts[0], explanation=True)
            text = expand(parts, lambda letter: self.value(letter, domain))
        except (DnsTimeout, Rule):
            return ""
        # It becomes part of an SMTP reply: nothing that the client said may break the line.
        return text if text.isascii() and text.isprintable() else ""

    # -- addresses and names --------------------------------------------------------------------

    def has_address(self, name: str, mask: int | None, term: str) -> bool | None:
        """Whether ``name`` has an address in the client's network under ``mask``; None where it has none at all."""
        answers = self.ask(name, "AAAA" if self.six else "A", term)
        if not answers:
            return None
        family = socket.AF_INET6 if self.six else socket.AF_INET
        mask = -1 if mask is None else mask
        wanted = self.address & mask
        for text in answers:
            try:
                number = int.from_bytes(socket.inet_pton(family, text), "big")
            except (OSError, ValueError):
                continue
            if number & mask == wanted:
                return True
        return False

    def pointed(self) -> list[str]:
        """The first names that the client's address points to, in lower case without dots (section 5.5).

        Raises :class:`Stop` where DNS cannot tell.
        """
        if self.pointers is None:
            labels = f"{self.address:032x}" if self.six else self.text.split(".")
            name = ".".join(reversed(labels)) + (".ip6.arpa" if self.six else ".in-addr.arpa")
            answers = self.ask(name, "PTR", "")[:HOSTS_LIMIT]
            self.pointers = [text.removesuffix(".").lower() for text in answers]
        return self.pointers

    def validated(self, name: str) -> bool:
        """Whether ``name``, which the address points to, has this address (section 5.5)."""
        try:
            return is_name(name) and self.has_address(name, None, "") is True
        except Stop:
            return False

    def validated_name(self, domain: str) -> str:
        """What %{p} stands for: the domain, a name under it, any validated name, or unknown (section 7.3)."""
        under = "." + domain
        try:
            # Sorting keeps the order of equals, so the first name of the best kind is taken.
            names = sorted(self.pointed(), key=lambda name: (name != domain, not name.endswith(under)))
        except Stop:
            return "unknown"
        return next((name for name in names if self.validated(name)), "unknown")


def _always(check: Check, step: Step, domain: str) -> Hit | None:
    return step.hit


def _networks(check: Check, step: Step, domain: str) -> Hit | None:
    """ip4 and ip6 (section 5.6)."""
    address = check.address
    best: tuple[int, Hit] | None = None
    for mask, table in step.tables:
        found = table.get(address & mask)
        if found is not None and (best is None or found[0] < best[0]):
            best = found
    return best[1] if best is not None else None


def _include(check: Check, step: Step, domain: str) -> Hit | None:
    """Section 5.2."""
    term = step.hit[1]
    check.count(term)
    name = check.name(step.target, domain)
    result = check.evaluate(name, term)[0] if "." in name else "none"
    if result == "none":
        raise Stop("broken_target", term, f"{name or 'the target'} has no SPF record (section 5.2)")
    return step.hit if result == "pass" else None


def _a(check: Check, step: Step, domain: str) -> Hit | None:
    """Section 5.3."""
    term = step.hit[1]
    check.count(term)
    name = check.name(step.target, domain)
    found = check.has_address(name, step.mask, term) if name else False
    if found is None:
        check.void(term)
    return step.hit if found else None


def _mx(check: Check, step: Step, domain: str) -> Hit | None:
    """Section 5.4."""
    term = step.hit[1]
    check.count(term)
    name = check.name(step.target, domain)
    if not name:
        return None
    answers = check.ask(name, "MX", term)
    if not answers:
        check.void(term)
    for index, text in enumerate(answers):
        if index >= HOSTS_LIMIT:
            raise Stop("broken_target", term, f"{name} has more than {HOSTS_LIMIT} MX records (section 4.6.4)")
        host = text.rpartition(" ")[2].removesuffix(".").lower()
        if is_name(host) and check.has_address(host, step.mask, term):
            return step.hit
    return None


def _ptr(check: Check, step: Step, domain: str) -> Hit | None:
    """Section 5.5; an error of DNS is no match."""
    term = step.hit[1]
    check.count(term)
    name = check.name(step.target, domain)
    try:
        names = check.pointed()
    except Stop:
        return None
    if not names:
        check.void(term)
    matching = (one for one in names if name and (one == name or one.endswith("." + name)))
    return step.hit if any(check.validated(one) for one in matching) else None


def _exists(check: Check, step: Step, domain: str) -> Hit | None:
    """Section 5.7: an A record, also for clients of IPv6."""
    term = step.hit[1]
    check.count(term)
    name = check.name(step.target, domain)
    if not name:
        return None
    if check.ask(name, "A", term):
        return step.hit
    check.void(term)
    return None


_NO_HIT: Hit = ("", "")
RUNS: dict[str, Callable[[Check, Step, str], Hit | None]] = {
    "all": _always,
    "include": _include,
    "a": _a,
    "mx": _mx,
    "ptr": _ptr,
    "exists": _exists,
}
# Terms that most records have, ready made for clients of IPv4 and of IPv6.
FIXED = tuple(
    {
        qualifier + mechanism: step_of(Directive(qualifier + mechanism, qualifier or "+", mechanism), six)
        for qualifier in ("", *QUALIFIERS)
        for mechanism in ("all", "a", "mx")
    }
    for six in (False, True)
)
