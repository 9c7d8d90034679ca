# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan: from an SPF record and what is wanted of it to the new record, and what speaks against it. Private, pure.

Section numbers in this file are of RFC 7208.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ansible_collections.postmaster.mail.plugins.module_utils._dns import Resolver
from ansible_collections.postmaster.mail.plugins.module_utils._spf import (
    LOOKUP_LIMIT,
    Directive,
    Explanation,
    Modifier,
    SpfError,
    SpfRecord,
    Survey,
    compose,
    explain,
    key,
    merge,
    parse,
    survey,
    term,
)

# What is refused, and why someone may want it all the same.
REFUSALS: Mapping[str, str] = {
    "pass_all": "+all, or a network of everyone, lets the whole internet send as the domain",
    "two_records": "two SPF records at one name are a permanent error for receivers",
    "lookups": "more than ten lookups are a permanent error for receivers",
    "voids": "more than two lookups without an answer are a permanent error for receivers",
    "broken_target": "what an include, redirect or mx leads to is a permanent error for receivers",
    "unanswered": "a name that DNS gives no answer for is a temporary error for receivers",
    "unreached": "an address that has to pass does not",
    "stranger": "an address that must not pass does",
}
# Addresses that send no mail: benchmarks (RFC 2544) and the discard prefix (RFC 6666).
STRANGERS = ("198.18.0.1", "100::1")

State = Literal["present", "absent", "exact"]


class PlanError(ValueError):
    """The change cannot be made; the message is one sentence with its remedy."""


@dataclass(frozen=True)
class Change:
    """What is wanted of one record.

    ``present`` adds ``terms``, and takes ``replaces`` away unless they are among them; ``absent`` takes ``terms`` away;
    ``exact`` leaves nothing else. ``all`` is how the record ends, empty where that stays as it is.
    """

    state: State = "present"
    terms: tuple[str, ...] = ()
    all: str = ""
    replaces: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refusal:
    """Why a record should not be published; ``id`` is what allows it."""

    id: str
    text: str


def edit(texts: Sequence[str], change: Change) -> SpfRecord:
    """The record that the SPF records ``texts`` of a name become. Raises :class:`PlanError` and :class:`SpfError`."""
    _check(change)
    ending = (change.all,) if change.all else ()
    if change.state == "exact":
        return _exact(change)
    if change.state == "absent":
        if not change.terms:
            raise PlanError("with state: absent, name the terms that shall go")
        if not texts:
            raise PlanError("there is no record to take terms from; leave the entry out")
        return merge(_sound(texts), ending, ours=change.terms)
    if not texts:
        return _exact(change)
    return merge(_sound(texts), (*change.terms, *ending), ours=change.replaces)


def _check(change: Change) -> None:
    """Whether the terms say something, and one thing only."""
    seen: dict[object, str] = {}
    for text in change.terms:
        item = term(text)
        other = term(seen.setdefault(key(item), text))
        if isinstance(item, Directive) and isinstance(other, Directive) and item.qualifier != other.qualifier:
            raise PlanError(
                f"{text} is among the terms after {other.text}, and could never match; leave out one of them"
            )
    for text in change.terms if change.state == "absent" else change.replaces:
        item = term(text)
        if isinstance(item, Directive) and item.mechanism == "all":
            raise PlanError(f"{text} is how the record ends, and not taken away; say by all how it shall end")


def _sound(texts: Sequence[str]) -> Sequence[str]:
    for text in texts:
        try:
            parse(text)
        except SpfError as err:
            raise PlanError(f"the record there is none: {err}; write it anew with state: exact") from err
    return texts


def written(record: SpfRecord, texts: Sequence[str]) -> str:
    """The text of ``record``; that which is there already, where it says the same."""
    if len(texts) == 1:
        with contextlib.suppress(SpfError):
            if parse(texts[0]).terms == record.terms:
                return texts[0]
    return str(record)


def _exact(change: Change) -> SpfRecord:
    """A record of the given terms alone."""
    items = [term(text) for text in change.terms]
    modifiers = [item.text for item in items if isinstance(item, Modifier)]
    directives = [item for item in items if not isinstance(item, Modifier)]
    ends = [item.text for item in directives if item.mechanism == "all"]
    if ends and change.all:
        raise PlanError(f"{ends[0]} is among the terms, and all is given too; leave out one of them")
    senders = [item.text for item in directives if item.mechanism != "all"]
    ending = change.all or (ends[0] if ends else "~all" if senders else "-all")
    return compose(senders, all_=ending, modifiers=modifiers)


# -- what speaks against it ---------------------------------------------------------------------


def refusals(record: SpfRecord, count: int, found: Survey | None) -> Iterator[Refusal]:
    """Why the record should not be published; ``count`` is how many there are now, ``found`` what DNS says."""
    if count > 1:
        said = f"there are {count} SPF records now, which is a permanent error for receivers; they would become one"
        yield Refusal("two_records", said)
    over = len(record.lookup_terms) > LOOKUP_LIMIT
    for fault in record.refusals():
        yield Refusal(
            "lookups" if over and fault.term == record.lookup_terms[LOOKUP_LIMIT].text else "pass_all", str(fault)
        )
    if found is None:
        return
    if found.too_many and not over:
        yield Refusal("lookups", found.too_many)
    if found.too_void and found.voids_harm:
        yield Refusal("voids", found.too_void)
    for text in found.faults:
        yield Refusal("broken_target", text)


@dataclass(frozen=True)
class Probe:
    """What receivers will say of one address; ``wanted`` is pass, or fail for a stranger."""

    ip: str
    wanted: Literal["pass", "fail"]
    told: Explanation

    @property
    def refusal(self) -> Refusal | None:
        """Why the record should not be published, for this address."""
        result = self.told.result
        by = f" by {result.term}" if result.term else ""
        if self.told.fault == "unanswered":
            return Refusal("unanswered", f"{self.ip} gets {result.result}{by}: {self.told.reason}; try again")
        if self.wanted == "pass" and result.result != "pass":
            why = f": {self.told.reason}" if self.told.reason else ""
            said = f"{self.ip} has to pass, and the result is {result.result}{by}{why}; add what it sends through"
            return Refusal("unreached", said)
        if self.wanted == "fail" and result.result == "pass":
            return Refusal("stranger", f"{self.ip} must not pass, and does{by}; narrow that term")
        if self.wanted == "fail" and self.told.fault:
            said = f"{self.ip} has to be told from senders, and the result is {result.result}{by}: {self.told.reason}"
            return Refusal(self.told.fault, f"{said}; mend that term or remove it")
        return None

    def as_dict(self) -> dict[str, object]:
        result = self.told.result
        return {
            "ip": self.ip,
            "wanted": self.wanted,
            "result": result.result,
            "term": result.term,
            "lookups": result.lookups,
            "voids": result.voids,
            "why": self.told.lines(),
        }


def probe(domain: str, ip: str, wanted: Literal["pass", "fail"], resolver: Resolver) -> Probe:
    """Judge one address as a receiver will. Raises :class:`PlanError` where it is none."""
    try:
        return Probe(ip, wanted, explain(ip=ip, sender=f"postmaster@{domain}", helo=domain, resolver=resolver))
    except SpfError as err:
        raise PlanError(f"{ip!r} is no IP address; write one such as 192.0.2.25 or 2001:db8::25") from err


@dataclass(frozen=True)
class Judged:
    """What DNS says of a record before it is published: its cost, the addresses probed, and what speaks against it."""

    found: Survey | None
    probes: tuple[Probe, ...]
    against: tuple[Refusal, ...]


def judge(
    domain: str,
    record: SpfRecord,
    *,
    own: Iterable[str],
    strangers: Iterable[str],
    resolver: Resolver,
    allow: Collection[str],
) -> Judged:
    """Judge ``record`` as receivers will; ``resolver`` answers with it for ``domain``. Raises :class:`PlanError`.

    What a survey of the record tells is not told once more for each stranger.
    """
    found = survey(str(record), domain=domain, resolver=resolver)
    probes = (
        *(probe(domain, ip, "pass", resolver) for ip in own),
        *(probe(domain, ip, "fail", resolver) for ip in strangers),
    )
    against = list(refusals(record, 1, found))
    for one in probes:
        refusal = one.refusal
        if one.told.fault == "voids" and ":" in one.ip and one.wanted == "fail" and not found.voids_harm:
            continue  # told as a warning
        if refusal is not None and (not one.told.fault or refusal.id not in {other.id for other in against}):
            against.append(refusal)
    return Judged(found, probes, tuple(one for one in against if one.id not in allow))


def refused(text: str, against: Iterable[Refusal]) -> PlanError:
    """The sentence that says why the record ``text`` is not to be published."""
    return PlanError(f"{text!r} is refused: " + "; ".join(f"{one.text} (or allow {one.id})" for one in against))
