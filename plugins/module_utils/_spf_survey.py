# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pure: what an SPF record costs whoever is in none of its networks, and what is wrong behind its terms. Private.

Section numbers are of RFC 7208.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ansible_collections.postmaster.mail.plugins.module_utils._dns import DnsTimeout, Resolver
from ansible_collections.postmaster.mail.plugins.module_utils._spf_check import HOSTS_LIMIT, is_name
from ansible_collections.postmaster.mail.plugins.module_utils._spf_record import (
    LOOKUP_LIMIT,
    LOOKUP_MECHANISMS,
    VOID_LIMIT,
    Directive,
    Modifier,
    SpfError,
    Term,
    is_spf,
    parse,
)

READ_LIMIT = 200  # records read for one survey: more is a trap
FAMILIES = {"A": "IPv4", "AAAA": "IPv6"}  # clients, by the type of their addresses


@dataclass
class Survey:
    """``lookups`` of a stranger (section 4.6.4), with those of all includes, and by the type of the stranger's address
    the terms that are ``void``; ``six`` tells whether one after too many of these lets somebody in over IPv6.
    Sentences: ``faults`` are what makes receivers answer with permerror, ``unknown`` what DNS or a survey cannot
    tell.
    """

    lookups: int = 0
    void: dict[str, list[str]] = field(default_factory=lambda: {rdtype: [] for rdtype in FAMILIES})
    faults: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    six: bool = False

    @property
    def voids(self) -> list[str]:
        """The terms without an answer, for clients of that family that has more of them."""
        return self.void[self._family]

    @property
    def _family(self) -> str:
        return max(FAMILIES, key=lambda rdtype: len(self.void[rdtype]))  # of equals the first

    @property
    def too_many(self) -> str:
        """The sentence for more than ten lookups, empty where there are not."""
        if self.lookups <= LOOKUP_LIMIT:
            return ""
        return (
            f"it needs {self.lookups} lookups with those of its includes, and receivers stop with permerror after"
            f" {LOOKUP_LIMIT} (section 4.6.4); flatten it, or name fewer senders"
        )

    @property
    def voids_harm(self) -> bool:
        """Whether a sender may be among those who get permerror; over IPv6 only strangers are if none comes after."""
        return len(self.void["A"]) > VOID_LIMIT or self.six

    @property
    def too_void(self) -> str:
        """The sentence for more than two lookups without an answer, empty where there are not."""
        if len(self.voids) <= VOID_LIMIT:
            return ""
        terms = ", ".join(dict.fromkeys(self.voids))
        return (
            f"{len(self.voids)} of its terms have no answer for clients of {FAMILIES[self._family]}, and receivers stop"
            f" with permerror after {VOID_LIMIT} (section 4.6.4); remove {terms}, or write the addresses themselves"
        )


class Planned:
    """A resolver that answers with SPF records that are not published yet, and for all else asks another one, once."""

    def __init__(
        self, resolver: Resolver, texts: Mapping[str, str], others: Mapping[tuple[str, str], list[str]] | None = None
    ) -> None:
        """``texts`` are SPF records by name, ``others`` any records that shall be the only ones of a name and type."""
        self.resolver = resolver
        told = {(name, "TXT"): [text] for name, text in texts.items()} | dict(others or {})
        self.kept: dict[tuple[str, str], list[str] | DnsTimeout] = {
            (name.lower().rstrip("."), rdtype): answers for (name, rdtype), answers in told.items()
        }

    def query(self, name: str, rdtype: str) -> list[str]:
        """The planned SPF record, without the other TXT records of the name, which say nothing here."""
        key = name.lower().rstrip("."), rdtype
        if key not in self.kept:
            try:
                self.kept[key] = self.resolver.query(name, rdtype)
            except DnsTimeout as err:
                self.kept[key] = err
        answers = self.kept[key]
        if isinstance(answers, DnsTimeout):
            raise answers
        return answers


def question(term: Term, domain: str, rdtype: str) -> tuple[str, str] | None:
    """Name and type that receivers ask for, for a lookup term in the record of ``domain`` and a client whose address
    is of ``rdtype``. None where that depends on the message, or on the client alone, and where nothing can be asked.
    """
    kind = term.name if isinstance(term, Modifier) else term.mechanism
    name = domain if term.domain is None else term.domain.literal
    types = {"a": rdtype, "mx": "MX", "exists": "A", "include": "TXT", "redirect": "TXT"}
    return (name, types[kind]) if kind in types and name and is_name(name) else None


def survey(text: str, *, domain: str, resolver: Resolver) -> Survey:
    """Count and look behind every term of the record ``text`` of ``domain``. Raises :class:`SpfError`."""
    surveyor = _Surveyor(resolver)
    surveyor.read(text, domain.lower().rstrip("."), (domain.lower().rstrip("."),))
    return surveyor.found


class _Surveyor:
    """Walks through the tree of includes."""

    def __init__(self, resolver: Resolver) -> None:
        self.query = resolver.query
        self.found = Survey()
        self.reads = 0

    def read(self, text: str, domain: str, way: tuple[str, ...]) -> None:
        """The record of ``domain``, reached by ``way``, a list of domains that ends in it."""
        record = parse(text)
        self.reads += 1
        lookups = record.lookup_terms
        terms: list[Term] = [*record.reached, *(one for one in lookups if isinstance(one, Modifier))]
        for term in terms:
            if term not in lookups:
                self._too_late(term, domain)
                continue
            self.found.lookups += 1
            spec = term.domain
            name = domain if spec is None else spec.literal
            if name is None:
                self.found.unknown.append(f"{term.text}: its target depends on the message")
            elif isinstance(term, Directive) and term.mechanism in LOOKUP_MECHANISMS - {"include"}:
                self._host(term, name)
                self._too_late(term, name)
            else:
                self._target(term, name, way)

    def _host(self, term: Directive, name: str) -> None:
        """Whether an a, mx or exists mechanism has an answer, and no more hosts than receivers look at."""
        by_family = {rdtype: question(term, name, rdtype) for rdtype in FAMILIES}
        try:
            told = {asked: self.query(*asked) for asked in by_family.values() if asked is not None}
        except DnsTimeout:
            self.found.unknown.append(f"{term.text}: no answer for {name}")
            return
        for rdtype, asked in by_family.items():
            if asked is not None and not told[asked]:
                self.found.void[rdtype].append(term.text)
        hosts = max(map(len, told.values()), default=0)
        if term.mechanism == "mx" and hosts > HOSTS_LIMIT:
            rule = f"{name} has {hosts} MX records, and receivers stop with permerror after {HOSTS_LIMIT}"
            self.found.faults.append(f"{term.text}: {rule} (section 4.6.4)")

    def _too_late(self, term: Term, name: str) -> None:
        """Whether a mechanism would let somebody in over IPv6 whom a receiver refuses before."""
        if self.found.six or len(self.found.void["AAAA"]) <= VOID_LIMIT:
            return
        if not isinstance(term, Directive) or term.qualifier != "+":
            return
        hosts = [name] if term.mechanism == "a" else []
        try:
            if term.mechanism == "mx" and is_name(name):
                hosts = [text.split()[-1].rstrip(".") for text in self.query(name, "MX")[:HOSTS_LIMIT]]
            self.found.six = term.mechanism == "ip6" or any(self.query(one, "AAAA") for one in hosts if is_name(one))
        except DnsTimeout:
            self.found.unknown.append(f"{term.text}: no answer for {name}")

    def _target(self, term: Term, name: str, way: tuple[str, ...]) -> None:
        """The record behind an include or redirect."""
        if name in way or self.reads >= READ_LIMIT:
            why = f"leads back to {name}" if name in way else f"is one of more than {READ_LIMIT} includes"
            self.found.lookups += LOOKUP_LIMIT  # as far as any receiver goes
            self.found.faults.append(f"{term.text} {why} (section 4.6.4)")
            return
        try:
            texts = [text for text in self.query(name, "TXT") if is_spf(text)] if is_name(name) else []
        except DnsTimeout:
            self.found.unknown.append(f"{term.text}: no answer for {name}")
            return
        if len(texts) != 1:
            has = "no SPF record" if not texts else f"{len(texts)} SPF records"
            self.found.faults.append(f"{term.text}: {name} has {has} (section 5.2)")
            return
        try:
            self.read(texts[0], name, (*way, name))
        except SpfError as err:
            self.found.faults.append(f"{term.text}: in the record of {name}, {err}")
