# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module ``spf_record`` does with its arguments, over a resolver port. Private to this collection."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._dns import (
    DnsTimeout,
    DomainError,
    Resolver,
    check_name,
)
from ansible_collections.postmaster.mail.plugins.module_utils._record import Record
from ansible_collections.postmaster.mail.plugins.module_utils._senders import CATALOGUE
from ansible_collections.postmaster.mail.plugins.module_utils._spf import (
    SIZE_ADVISED,
    Planned,
    SpfError,
    SpfRecord,
    Survey,
    flatten,
    is_spf,
    overruled,
    parse,
)
from ansible_collections.postmaster.mail.plugins.module_utils._spf_plan import (
    Change,
    Judged,
    PlanError,
    Probe,
    Refusal,
    edit,
    judge,
    refusals,
    refused,
    written,
)

LABEL = "_spf"  # records that a flat one is split over are named _spf1, _spf2, ... under the domain


class RunError(ValueError):
    """A record cannot be made, or is refused; the message names the domain, the reason and the remedy."""


@dataclass(frozen=True)
class Done:
    """What came of one domain; names and texts, empty where there is no record."""

    domain: str
    before: dict[str, str]
    after: dict[str, str]
    ttl: int
    found: Survey | None
    probes: tuple[Probe, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def changed(self) -> bool:
        return self.before != self.after

    @property
    def publish(self) -> list[dict[str, Any]]:
        """All records as ``dns_records`` takes them, those that shall go with ``state: absent``."""
        made = [Record.txt(name, text, self.ttl).as_dict() for name, text in self.after.items()]
        gone = [
            (name, text) for name, texts in self.before.items() if name not in self.after for text in texts.split("\n")
        ]
        # The included ones come first, so that nobody sees an include that leads nowhere.
        stale = [{**Record.txt(name, text, self.ttl).as_dict(), "state": "absent"} for name, text in gone]
        return [*made[1:], made[0], *stale]

    def lines(self, texts: Mapping[str, str]) -> str:
        """The records with these texts, for a diff."""
        return "".join(f"{name}. TXT {one}\n" for name, text in texts.items() for one in text.splitlines())

    def as_dict(self) -> dict[str, Any]:
        return {
            "domain": self.domain,
            "changed": self.changed,
            "before": self.before.get(self.domain, ""),
            "after": self.after[self.domain],
            "record": Record.txt(self.domain, self.after[self.domain], self.ttl).as_dict(),
            "parts": {name: text for name, text in self.after.items() if name != self.domain},
            "lookups": self.found.lookups if self.found is not None else None,
            "voids": self.found.voids if self.found is not None else None,
            "probes": [one.as_dict() for one in self.probes],
            "notes": list(self.notes),
            "warnings": list(self.warnings),
        }


def run(items: Iterable[Mapping[str, Any]], *, allow: Collection[str], resolver: Resolver | None) -> list[Done]:
    """Every item's record. Raises :class:`RunError` with all that is refused, and what DNS cannot tell."""
    resolver = Planned(resolver, {}) if resolver is not None else None  # many domains ask for the same includes
    done, faults, seen = [], [], set()
    for item in items:
        domain = str(item.get("domain") or "")
        try:
            domain = check_name(domain, what="domain").rstrip(".")
            if domain in seen:
                raise PlanError("it is named twice; put all of its terms into one entry")
            seen.add(domain)
            done.append(_one(domain, item, allow, resolver))
        except DomainError as err:
            faults.append(str(err))
        except (PlanError, SpfError) as err:
            faults.append(f"{domain}: {err}")
        except DnsTimeout as err:
            faults.append(f"{domain}: DNS cannot tell what the record needs: {err}")
    if faults:
        raise RunError("\n".join(faults))
    return done


def _one(domain: str, item: Mapping[str, Any], allow: Collection[str], resolver: Resolver | None) -> Done:
    texts, others = _current(domain, item, resolver)
    change = Change(item["state"], _terms(item), str(item.get("all") or ""), tuple(item.get("replaces") or ()))
    if len(texts) > 1 and change.state != "exact" and "two_records" not in allow:
        raise _refused(next(refusals(parse("v=spf1"), len(texts), None)))
    after: dict[str, SpfRecord] = {domain: edit(texts, change)}
    notes = tuple(map(str, overruled(after[domain], change.terms))) if change.state == "present" else ()
    if item.get("flatten"):
        after, notes = _flat(domain, after[domain], item, others, resolver)
    planned = {name: str(record) for name, record in after.items()} | {domain: written(after[domain], texts)}
    judged = _judged(domain, item, after[domain], planned, allow, resolver)
    if judged.against:
        raise refused(planned[domain], judged.against)
    before = _before(domain, texts, planned, resolver if item.get("flatten") else None)
    hints = _hints(after) if item.get("flatten") else tuple(map(str, after[domain].warnings()))
    told = _told(judged.found) if judged.found is not None else ()
    return Done(domain, before, planned, int(item["ttl"]), judged.found, judged.probes, notes, (*hints, *told))


def _told(found: Survey) -> tuple[str, ...]:
    """What the survey found that is no reason to refuse."""
    if found.voids_harm or not found.too_void:
        return tuple(found.unknown)
    return (*found.unknown, f"{found.too_void}; no sender over IPv6 comes after them, so it is strangers alone")


def _hints(records: Mapping[str, SpfRecord]) -> tuple[str, ...]:
    """What is allowed and should be looked at in a flat record and its parts."""
    main = next(iter(records.values()))
    sizes = {name: len(name) + len(str(record)) for name, record in records.items()}
    return (
        *(str(hint) for hint in main.warnings() if "octets" not in hint.rule),
        *(
            f"{name} has {size} octets with its name; over {SIZE_ADVISED} some answers need TCP (section 3.4)"
            for name, size in sizes.items()
            if size > SIZE_ADVISED
        ),
    )


def _refused(one: Refusal) -> PlanError:
    return PlanError(f"{one.text} (or allow {one.id})")


def _current(domain: str, item: Mapping[str, Any], resolver: Resolver | None) -> tuple[list[str], int]:
    """The SPF records there are, and how many octets the other TXT records of the name have."""
    if item.get("current") is not None:
        text = str(item["current"]).strip()
        if text and not is_spf(text):
            raise PlanError(f"current is no SPF record: {text[:40]!r}; it begins with v=spf1, or is empty")
        return ([text] if text else []), 0
    if resolver is None:
        raise PlanError('without a resolver the record there is must be given as current, "" for none')
    texts = resolver.query(domain, "TXT")
    return [text for text in texts if is_spf(text)], sum(len(text) for text in texts if not is_spf(text))


def _terms(item: Mapping[str, Any]) -> tuple[str, ...]:
    """The terms given, and those of known services."""
    known: list[str] = []
    for name in item.get("known") or ():
        if name not in CATALOGUE:
            raise PlanError(f"no sender {name!r} is known; known are {', '.join(sorted(CATALOGUE))}")
        known += CATALOGUE[name].spf
    return (*(item.get("terms") or ()), *known)


def _flat(
    domain: str, record: SpfRecord, item: Mapping[str, Any], others: int, resolver: Resolver | None
) -> tuple[dict[str, SpfRecord], tuple[str, ...]]:
    """The record flat, with those it is split over."""
    if item["state"] != "exact":
        raise PlanError(
            "a flat record no longer tells who its senders are; give all of them with state: exact, and they are"
            " looked up anew in every run"
        )
    if resolver is None:
        raise PlanError("flatten needs a resolver to ask for the addresses of the senders")
    found = flatten(
        str(record), domain=domain, resolver=resolver, others=others, keep=item.get("keep") or (), label=LABEL
    )
    kept = tuple(f"stays as it is: {text}" for text in found.kept)
    return dict(found.records), (*kept, *(f"left out: {text}" for text in found.dropped))


def _judged(
    domain: str,
    item: Mapping[str, Any],
    record: SpfRecord,
    planned: Mapping[str, str],
    allow: Collection[str],
    resolver: Resolver | None,
) -> Judged:
    """Judge the record, the named addresses and strangers as receivers will once it is published."""
    own, strangers = item.get("own_addresses") or (), item.get("strangers") or ()
    if resolver is not None:
        resolver = Planned(resolver, planned)
        return judge(domain, record, own=own, strangers=strangers, resolver=resolver, allow=allow)
    if own:
        raise PlanError("own_addresses needs a resolver to ask what the terms stand for")
    return Judged(None, (), tuple(one for one in refusals(record, 1, None) if one.id not in allow))


def _before(domain: str, texts: list[str], planned: Mapping[str, str], resolver: Resolver | None) -> dict[str, str]:
    """What is published now: the domain's own, and where there is a resolver the parts of a flat record."""
    before = {domain: "\n".join(texts)} if texts else {}
    if resolver is None:
        return before
    part = re.compile(rf"[+?~-]?include:({re.escape(LABEL)}[0-9]+\.{re.escape(domain)})", re.IGNORECASE)
    included = (part.fullmatch(word) for text in texts for word in text.split())
    names = [*list(planned)[1:], *(match.group(1).lower() for match in included if match is not None)]
    for name in dict.fromkeys(names):
        found = [text for text in resolver.query(name, "TXT") if is_spf(text)]
        if found:
            before[name] = "\n".join(found)
    return before
