# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pure: what an SPF record costs whoever is in none of its networks, and what is wrong behind its terms. Private.

Section numbers are of RFC 7208.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ansible_collections.postmaster.mail.plugins.module_utils._dns import DnsTimeout, Resolver
from ansible_collections.postmaster.mail.plugins.module_utils._spf_check import is_name
from ansible_collections.postmaster.mail.plugins.module_utils._spf_record import (
    LOOKUP_LIMIT,
    LOOKUP_MECHANISMS,
    VOID_LIMIT,
    Directive,
    SpfError,
    Term,
    is_spf,
    parse,
)

READ_LIMIT = 200  # records read for one survey: more is a trap


@dataclass
class Survey:
    """``lookups`` of a stranger (section 4.6.4), with those of all includes. Sentences: ``voids`` are terms without
    an answer, ``faults`` what makes receivers answer with permerror, ``unknown`` what DNS or a survey cannot tell.
    """

    lookups: int = 0
    voids: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

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
    def too_void(self) -> str:
        """The sentence for more than two lookups without an answer, empty where there are not."""
        if len(self.voids) <= VOID_LIMIT:
            return ""
        return (
            f"{len(self.voids)} of its terms have no answer, and receivers stop with permerror after {VOID_LIMIT}"
            f" (section 4.6.4); remove {', '.join(self.voids)}"
        )


class Planned:
    """A resolver that answers with records that are not published yet, and for all else asks another one."""

    def __init__(self, resolver: Resolver, texts: Mapping[str, str]) -> None:
        self.resolver = resolver
        self.texts = {name.lower().rstrip("."): text for name, text in texts.items()}

    def query(self, name: str, rdtype: str) -> list[str]:
        """The planned SPF record beside the other TXT records of the name, which stay as they are."""
        text = self.texts.get(name.lower().rstrip(".")) if rdtype == "TXT" else None
        return self.resolver.query(name, rdtype) if text is None else [text]


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
        for term in record.lookup_terms:
            self.found.lookups += 1
            spec = term.domain
            name = domain if spec is None else spec.literal
            if name is None:
                self.found.unknown.append(f"{term.text}: its target depends on the message")
            elif isinstance(term, Directive) and term.mechanism in LOOKUP_MECHANISMS - {"include"}:
                self._host(term, name)
            else:
                self._target(term, name, way)

    def _host(self, term: Directive, name: str) -> None:
        """Whether an a, mx or exists mechanism has an answer; a ptr depends on the client."""
        types = {"a": ("A", "AAAA"), "mx": ("MX",), "exists": ("A",)}.get(term.mechanism)
        if types is None:
            return
        try:
            if not any(self.query(name, rdtype) for rdtype in types if is_name(name)):
                self.found.voids.append(term.text)
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
