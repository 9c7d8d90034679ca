# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pure: an SPF record without its lookups: the same verdicts from networks alone. Private to this collection.

Section numbers are of RFC 7208. A record is read as a list of address sets in order, each with the verdict for who
is in it. An include passes on what its target passes, and nothing else (section 5.2). Terms whose match depends on
more than the client's address (exists, ptr, macros) stay as they are, in their place.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from ansible_collections.postmaster.mail.plugins.module_utils._address_set import (
    EVERYTHING,
    NOBODY,
    AddressSet,
    network_text,
)
from ansible_collections.postmaster.mail.plugins.module_utils._dns import DnsTimeout, Resolver
from ansible_collections.postmaster.mail.plugins.module_utils._spf_check import (
    HOSTS_LIMIT,
    MAPPED,
    directive_network,
    is_name,
)
from ansible_collections.postmaster.mail.plugins.module_utils._spf_macro import (
    DomainSpec,
    Macro,
    Rule,
    domain_spec,
    macros,
    transform,
)
from ansible_collections.postmaster.mail.plugins.module_utils._spf_record import (
    LOOKUP_LIMIT,
    SIZE_ADVISED,
    VERSION,
    Directive,
    Modifier,
    SpfError,
    SpfRecord,
    is_spf,
    parse,
)

READ_LIMIT = 200  # records read for one flattening: more is a trap, or nobody's intent
MAIN_LEAST = 160  # octets that the main record may always have, however much stands beside it
SIZE_LARGEST = 1180  # octets of one record that still fit, with what surrounds them, in a UDP answer of 1232


@dataclass(frozen=True)
class Flattened:
    """The record under ``domain`` first, then those that it includes: names and records.

    ``kept`` tells which terms stay as they are, and why; ``dropped`` which match nobody; ``lookups`` how many lookups
    a stranger costs, without those inside of kept terms.
    """

    records: tuple[tuple[str, SpfRecord], ...]
    kept: tuple[str, ...]
    dropped: tuple[str, ...]
    lookups: int


def flatten(
    text: str,
    *,
    domain: str,
    resolver: Resolver,
    limit: int = SIZE_ADVISED,
    others: int = 0,
    keep: Iterable[str] = (),
    label: str = "_spf",
) -> Flattened:
    """The record ``text`` of ``domain`` as one that gives every address the same verdict with fewer lookups.

    ``limit`` is how many octets a name and its TXT records may have together (section 3.4), ``others`` how many the
    other TXT records of ``domain`` have. ``keep`` names domains whose includes stay. Records that are split off are
    named ``label`` and a number. Raises :class:`SpfError` where the record, or one that it leads to, is wrong or too
    large, and :class:`DnsTimeout` where DNS cannot tell.
    """
    domain = domain.lower().removesuffix(".")
    reader = _Reader(resolver, frozenset(name.lower().rstrip(".") for name in keep))
    flat = reader.read(text, domain, (domain,))
    runs = _runs(flat)
    writer = _Writer(domain, label, flat)
    records, lookups = writer.write(runs, max(limit - len(domain) - others, MAIN_LEAST), limit)
    return Flattened(tuple(records), tuple(dict.fromkeys(reader.kept)), tuple(dict.fromkeys(reader.dropped)), lookups)


@dataclass(frozen=True)
class _Item:
    """A set of addresses, or a term that stays, and the qualifier for who matches.

    ``term`` has no qualifier. ``moved`` is the same written for another domain's record, None where that is impossible.
    """

    qualifier: str
    addresses: AddressSet = NOBODY
    term: str = ""
    moved: str | None = None


@dataclass
class _Flat:
    """A record read: its items in order, how it ends (``-all``, a redirect that stays, or nothing), other modifiers."""

    items: list[_Item] = field(default_factory=list)
    all: str = ""
    redirect: str = ""
    exp: str = ""
    unknown: list[str] = field(default_factory=list)


# -- reading ------------------------------------------------------------------------------------


class _Reader:
    """Reads a record and all that it leads to."""

    def __init__(self, resolver: Resolver, keep: frozenset[str]) -> None:
        self.query = resolver.query
        self.keep = keep
        self.kept: list[str] = []
        self.dropped: list[str] = []
        self.reads = 0

    def read(self, text: str, domain: str, way: tuple[str, ...], *, included: bool = False) -> _Flat:
        """The record of ``domain``, reached by ``way``, a list of domains that ends in it.

        What an ``included`` one says of a fail is never heard (section 6.2).
        """
        self.reads += 1
        if self.reads > READ_LIMIT:
            raise SpfError(text, 0, f"it leads to more than {READ_LIMIT} records; name fewer senders")
        record = parse(text)
        flat = _Flat()
        for qualifier, group in groupby(record.reached, lambda item: item.qualifier if item.number is not None else ""):
            if qualifier:
                flat.items.append(_Item(qualifier, AddressSet.of(map(_network, group))))
                continue
            for item in group:
                if item.mechanism == "all":
                    flat.all = item.qualifier
                else:
                    flat.items += self._items(record, item, domain, way)
        exp, redirect = record.modifier("exp"), record.modifier("redirect")
        if exp is not None:
            flat.exp = exp.text
        flat.unknown = [t.text for t in record.terms if isinstance(t, Modifier) and t.domain is None]
        if redirect is not None and redirect.domain is not None and not flat.all:
            self._redirect(flat, record, redirect, redirect.domain, way, included)
        return flat

    def _items(self, record: SpfRecord, item: Directive, domain: str, way: tuple[str, ...]) -> list[_Item]:
        name = domain if item.domain is None else item.domain.literal
        if name is None or item.mechanism in ("exists", "ptr"):
            why = "it has macros" if name is None else f"{item.mechanism} depends on more than the address"
            return [self._keep(item, domain, why)]
        if item.mechanism == "include":
            return self._include(record, item, domain, name, way)
        found = self._host_set(record, item, name)
        if not found:
            self.dropped.append(f"{item.text}: {name} has no address")
        return [_Item(item.qualifier, found)]

    def _keep(self, item: Directive, domain: str, why: str) -> _Item:
        self.kept.append(f"{item.text}: {why}")
        bare = item.text.lstrip("+-~?")
        return _Item(item.qualifier, NOBODY, bare, _moved(item, domain))

    def _include(self, record: SpfRecord, item: Directive, domain: str, name: str, way: tuple[str, ...]) -> list[_Item]:
        if name in self.keep:
            return [self._keep(item, domain, "it is to be kept")]
        before = len(self.kept), len(self.dropped)
        items = _passing(
            item.qualifier, self.read(self._text(record, item, name, way), name, (*way, name), included=True)
        )
        if items is None:
            del self.kept[before[0] :], self.dropped[before[1] :]
            return [self._keep(item, domain, "a term in it that depends on more than the address has exceptions")]
        return items

    def _redirect(
        self,
        flat: _Flat,
        record: SpfRecord,
        redirect: Modifier,
        spec: DomainSpec,
        way: tuple[str, ...],
        included: bool,
    ) -> None:
        """The target's record takes the place of the redirect, its ``exp`` too (sections 6.1 and 6.2)."""
        name = spec.literal
        if name is None or name in self.keep:
            flat.redirect = redirect.text
            self.kept.append(f"{redirect.text}: {'it has macros' if name is None else 'it is to be kept'}")
            return
        before = len(self.kept), len(self.dropped)
        target = self.read(self._text(record, redirect, name, way), name, (*way, name), included=included)
        explained = parse(f"{VERSION} {target.exp}").modifier("exp") if target.exp else None
        if any(item.term and item.moved is None for item in target.items) or target.redirect:
            del self.kept[before[0] :], self.dropped[before[1] :]
            flat.redirect = redirect.text
            self.kept.append(f"{redirect.text}: a term in it can only be evaluated there")
            return
        exp = ""
        if explained is not None and explained.domain is not None and not included:
            exp = self._explained(explained, explained.domain, name)
        if not included and exp != flat.exp and any(item.qualifier == "-" for item in flat.items):
            self._tell_whose(flat.exp, exp)
        flat.items += [replace(item, term=item.moved or "") for item in target.items]
        flat.all, flat.exp = target.all, exp

    def _tell_whose(self, before: str, now: str) -> None:
        """A flat record has one explanation, where one record and the target of its redirect had their own."""
        if now:
            self.kept.append(f"{now}: it also explains what terms before the redirect let fail")
        if before:
            self.dropped.append(f"{before}: it explained what terms before the redirect let fail")

    def _explained(self, exp: Modifier, spec: DomainSpec, domain: str) -> str:
        """The ``exp`` of ``domain`` as it is written elsewhere; its text cannot be, where it speaks of the domain."""
        moved = _substituted(spec, domain)
        if moved is None:
            self.dropped.append(f"{exp.text}: its name depends on the domain {domain}")
            return ""
        name = domain_spec(moved).literal
        try:
            texts = self.query(name, "TXT") if name is not None and is_name(name) else [""]
            letters = {
                part.letter for text in texts for part in macros(text, explanation=True) if isinstance(part, Macro)
            }
        except DnsTimeout:
            letters = {"d"}  # it may
        except Rule:
            letters = set()
        told = any(note.startswith(f"exp={moved}:") for note in self.kept)  # by the record that it comes from
        if not told and (name is None or letters & {"d", "p"}):
            self.kept.append(f"exp={moved}: %{{d}} in its text no longer stands for {domain}")
        return f"exp={moved}"

    def _text(self, record: SpfRecord, term: Directive | Modifier, name: str, way: tuple[str, ...]) -> str:
        """The one SPF record of ``name``."""
        if name in way:
            raise _fault(record, term, f"it leads back to {name}; receivers answer with permerror (section 4.6.4)")
        texts = [text for text in self.query(name, "TXT") if is_spf(text)] if is_name(name) else []
        if len(texts) != 1:
            has = "no SPF record" if not texts else f"{len(texts)} SPF records"
            raise _fault(record, term, f"{name} has {has}; receivers answer with permerror (section 5.2)")
        try:
            parse(texts[0])
        except SpfError as err:
            raise _fault(record, term, f"the record of {name} is broken: {err}") from err
        return texts[0]

    def _host_set(self, record: SpfRecord, item: Directive, name: str) -> AddressSet:
        """The networks of an a or mx mechanism (sections 5.3 and 5.4)."""
        hosts = [name] if is_name(name) else []
        if item.mechanism == "mx" and hosts:
            hosts = [text.rpartition(" ")[2].rstrip(".").lower() for text in self.query(name, "MX")]
            if len(hosts) > HOSTS_LIMIT:
                rule = f"{name} has more than {HOSTS_LIMIT} MX records; receivers answer with permerror (section 4.6.4)"
                raise _fault(record, item, rule)
        return AddressSet.of(
            (six, number, item.prefix6 if six else item.prefix4)
            for host in hosts
            if is_name(host)
            for six in (False, True)
            for number in _numbers(self.query(host, "AAAA" if six else "A"), six)
        )


def _numbers(texts: Sequence[str], six: bool) -> Iterator[int]:
    for text in texts:
        try:
            number = int.from_bytes(socket.inet_pton(socket.AF_INET6 if six else socket.AF_INET, text), "big")
        except (OSError, ValueError):
            continue
        if not (six and number >> 32 == MAPPED):  # no client of IPv6 has such an address (section 5)
            yield number


def _network(item: Directive) -> tuple[bool, int, int]:
    number, length, six = directive_network(item, item.number or 0)
    return six, number, length


def _passing(qualifier: str, flat: _Flat) -> list[_Item] | None:
    """What an include with ``qualifier`` matches, None where that cannot be said without it.

    Whoever meets another verdict first is not matched by what comes later.
    """
    if flat.redirect:
        return None
    items: list[_Item] = []
    others = NOBODY  # who has met another verdict
    blocked = False  # a term that stays may have given another verdict
    for item in [*flat.items, _Item(flat.all or "?", EVERYTHING)]:
        if item.qualifier != "+":
            others |= item.addresses
            blocked = blocked or bool(item.term)
        elif blocked or (item.term and (others or item.moved is None)):
            return None
        elif item.term:
            items.append(replace(item, qualifier=qualifier, term=item.moved or "", moved=item.moved))
        else:
            items.append(_Item(qualifier, item.addresses - others))
    return items


def _moved(item: Directive, domain: str) -> str | None:
    """The term as it is written in the record of any other domain; None where it cannot be."""
    bare = item.text.lstrip("+-~?")
    spec = item.domain
    if spec is None:
        return f"{item.mechanism}:{domain}{bare[len(item.mechanism) :]}"
    name = _substituted(spec, domain)
    if name is None:
        return None
    rest = bare[len(item.mechanism) + 1 + len(spec.text) :]
    moved = f"{item.mechanism}:{name}{rest}"
    try:
        parse(f"{VERSION} {moved}")
    except SpfError:
        return None
    return moved


def _substituted(spec: DomainSpec, domain: str) -> str | None:
    """``spec`` with the domain in place of ``%{d}``; None where %{p} depends on the domain, too (section 7.3)."""
    if "p" in spec.letters:
        return None
    if "d" not in spec.letters:
        return spec.text
    return "".join(
        _written(transform(part, domain) if isinstance(part, Macro) and part.letter == "d" else part)
        for part in spec.parts
    )


def _written(part: str | Macro) -> str:
    """A part of a domain-spec as it stands in a record."""
    if isinstance(part, str):
        return part.replace("%", "%%").replace(" ", "%_")
    letter = part.letter.upper() if part.escape else part.letter
    delimiters = "" if part.delimiters == "." else part.delimiters
    return f"%{{{letter}{part.count or ''}{'r' if part.reverse else ''}{delimiters}}}"


def _fault(record: SpfRecord, term: Directive | Modifier, rule: str) -> SpfError:
    return SpfError(term.text, record.position(term), rule)


# -- writing ------------------------------------------------------------------------------------


@dataclass
class _Run:
    """Neighbours with one qualifier: their order among each other does not matter."""

    qualifier: str
    addresses: AddressSet = NOBODY
    terms: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)  # the networks as terms without qualifier


def _runs(flat: _Flat) -> list[_Run]:
    """The items as runs, without addresses that an earlier run has decided or that the end decides the same way."""
    runs: list[_Run] = []
    seen = NOBODY
    for item in flat.items:
        if not item.term and not item.addresses - seen:
            continue
        if not runs or runs[-1].qualifier != item.qualifier:
            runs.append(_Run(item.qualifier))
        if item.term:
            if item.term not in runs[-1].terms:
                runs[-1].terms.append(item.term)
        else:
            runs[-1].addresses |= item.addresses
            seen |= item.addresses
    # A term that stays may fail, and must not before those that are found without it.
    if runs and not flat.redirect and not runs[-1].terms and runs[-1].qualifier == (flat.all or "?"):
        runs[-1].addresses = NOBODY
    before = NOBODY
    for run in runs:
        run.texts = list(_network_terms(run.addresses, before))
        before |= run.addresses
    return [run for run in runs if run.terms or run.texts]


def _network_terms(addresses: AddressSet, before: AddressSet) -> Iterator[str]:
    for six, number, length in addresses.networks():
        mapped = six and length >= 96 and number >> 32 == MAPPED  # it would be read as IPv4, and nobody is in it
        if not (mapped or before.holds(six, number, length)):
            yield f"ip{'6' if six else '4'}:{network_text(six, number, length)}"


class _Writer:
    """Writes runs as a record of ``domain``, and networks that do not fit there into records that it includes."""

    def __init__(self, domain: str, label: str, flat: _Flat) -> None:
        self.domain = domain
        self.label = label
        self.ending = [f"{flat.all}all".removeprefix("+")] if flat.all else []
        self.ending += [text for text in (flat.redirect, flat.exp, *flat.unknown) if text]
        self.redirects = bool(flat.redirect)

    def write(self, runs: list[_Run], room: int, limit: int) -> tuple[list[tuple[str, SpfRecord]], int]:
        """The records and the lookups that they cost; ``room`` is what the main record may have."""
        fixed = sum(len(run.terms) for run in runs) + self.redirects
        whole = self._record(runs, {})
        if len(str(whole)) <= room:
            return [(self.domain, whole)], fixed
        size = limit
        while True:
            # Larger records where smaller ones would be more than ten lookups.
            parts = self._parts(runs, size)
            main = self._record(runs, parts)
            count = fixed + sum(len(names) for names in parts.values())
            if count <= LOOKUP_LIMIT and len(str(main)) <= max(room, size - limit + room):
                names = {name: texts for one in parts.values() for name, texts in one.items()}
                return [(self.domain, main), *((name, _part(texts)) for name, texts in names.items())], count
            if size >= SIZE_LARGEST:
                raise SpfError(
                    str(main), 0, f"flat it needs {count} lookups and {len(str(main))} octets; name fewer senders"
                )
            size = min(size + size // 4 + 1, SIZE_LARGEST)

    def _parts(self, runs: list[_Run], size: int) -> dict[int, dict[str, list[str]]]:
        """For each run, by its place, the records that its networks are moved to."""
        made: dict[int, dict[str, list[str]]] = {}
        number = 0
        for place, run in enumerate(runs):
            name = f"{self.label}{number + 1}.{self.domain}"
            if len(" ".join(run.texts)) <= len(f"include:{name}"):
                continue  # an include would be longer than what it stands for
            made[place] = {}
            for chunk in _chunks(run.texts, size - len(name) - len(f"{VERSION}  -all")):
                number += 1
                made[place][f"{self.label}{number}.{self.domain}"] = chunk
        return made

    def _record(self, runs: list[_Run], parts: dict[int, dict[str, list[str]]]) -> SpfRecord:
        words = [VERSION]
        for place, run in enumerate(runs):
            networks = [f"include:{name}" for name in parts[place]] if place in parts else run.texts
            words += [run.qualifier.replace("+", "") + text for text in (*networks, *run.terms)]
        return parse(" ".join([*words, *self.ending]))


def _part(texts: list[str]) -> SpfRecord:
    return parse(f"{VERSION} {' '.join(texts)} -all")


def _chunks(texts: list[str], size: int) -> Iterator[list[str]]:
    """``texts`` in pieces that have at most ``size`` characters with spaces between."""
    chunk: list[str] = []
    length = 0
    for text in texts:
        if chunk and length + len(text) > size:
            yield chunk
            chunk, length = [], 0
        chunk.append(text)
        length += len(text) + 1
    if chunk:
        yield chunk
