# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module ``dmarc_record`` does with its arguments, over a resolver port. Private to this collection."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _public_suffix
from ansible_collections.postmaster.mail.plugins.module_utils._dmarc import DmarcError, discover, lowered, walk
from ansible_collections.postmaster.mail.plugins.module_utils._dmarc_7489 import Differing, compare, record_rows
from ansible_collections.postmaster.mail.plugins.module_utils._dmarc_plan import (
    Change,
    Edited,
    PlanError,
    Published,
    choose,
    edit,
    refusals,
    warnings,
)
from ansible_collections.postmaster.mail.plugins.module_utils._dmarc_reports import destinations
from ansible_collections.postmaster.mail.plugins.module_utils._dns import DomainError, Resolver, check_name
from ansible_collections.postmaster.mail.plugins.module_utils._record import Record
from ansible_collections.postmaster.mail.plugins.module_utils._records_domain import report_uri

OPTION_TAGS: Mapping[str, str] = {"policy": "p", "subdomain_policy": "sp", "nonexistent_policy": "np", "psd": "psd"}


class RunError(ValueError):
    """A record cannot be made, or is refused; the message names the domain, the reason and the remedy."""


@dataclass(frozen=True)
class Done:
    """What came of one domain; the fields are those that the module documents."""

    domain: str
    before: str
    after: str
    ttl: int
    policy: str | None
    organizational_domain: str | None
    differences: tuple[Differing, ...]
    warnings: tuple[str, ...]

    @property
    def changed(self) -> bool:
        return self.before != self.after

    @property
    def name(self) -> str:
        return f"_dmarc.{self.domain}."

    def line(self, text: str) -> str:
        """The record with that text, for a diff."""
        return "".join(f"{self.name} TXT {one}\n" for one in text.splitlines())

    def as_dict(self) -> dict[str, Any]:
        rows = [
            {"id": row.row.id, "detail": row.detail, "rfc7489": row.row.old_section, "rfc9989": row.row.new_section}
            for row in self.differences
        ]
        return {
            "domain": self.domain,
            "changed": self.changed,
            "before": self.before,
            "after": self.after,
            "record": Record.txt(self.name, self.after, self.ttl).as_dict() if self.after else None,
            "policy": self.policy,
            "organizational_domain": self.organizational_domain,
            "differences": rows,
            "warnings": list(self.warnings),
        }


def run(items: Iterable[Mapping[str, Any]], *, allow: Collection[str], resolver: Resolver | None) -> list[Done]:
    """Every item's record. Raises :class:`RunError` with all that is refused, ``DnsTimeout`` as the resolver does."""
    done, refused, seen = [], [], set()
    for item in items:
        try:
            domain = check_name(str(item.get("domain") or ""), what="domain").rstrip(".")
            if domain in seen:
                raise PlanError("it is named twice; put all of its tags into one entry")
            seen.add(domain)
            done.append(_one(domain, item, allow, resolver))
        except DomainError as err:
            refused.append(str(err))
        except (PlanError, DmarcError) as err:
            refused.append(f"{domain}: {err}")
    if refused:
        raise RunError("\n".join(refused))
    return done


def _one(domain: str, item: Mapping[str, Any], allow: Collection[str], resolver: Resolver | None) -> Done:
    change = Change(item["state"], _values(item), tuple(item.get("tags") or ()))
    edited = edit(_current(domain, item, change, resolver), change)
    if edited.record is not None:
        found = destinations(edited.record.rua + edited.record.ruf, domain, resolver) if resolver else []
        against = [one for one in refusals(edited.record, domain, found) if one.id not in allow]
        if against:
            said = "; ".join(f"{one.text} (or allow {one.id})" for one in against)
            raise PlanError(f"{edited.after!r} is refused: {said}")
    return _told(domain, int(item["ttl"]), edited, resolver)


def _current(domain: str, item: Mapping[str, Any], change: Change, resolver: Resolver | None) -> str:
    if item.get("current") is not None:
        return str(item["current"]).strip()
    if resolver is None:
        raise PlanError('without a resolver the record there is must be given as current, "" for none')
    return choose(resolver.query(f"_dmarc.{domain}", "TXT"), change.state)


def _values(item: Mapping[str, Any]) -> dict[str, Any]:
    """The wanted tags and their values."""
    values: dict[str, Any] = {tag: item[option] for option, tag in OPTION_TAGS.items() if item.get(option) is not None}
    for option in ("adkim", "aspf"):
        if item.get(option) is not None:
            values[option] = str(item[option])[:1]
    if item.get("testing") is not None:
        values["t"] = "y" if item["testing"] else None
    if item.get("fo") is not None:
        values["fo"] = tuple(item["fo"])
    for option in ("rua", "ruf"):
        if item.get(option) is not None:
            values[option] = tuple(map(report_uri, item[option]))
    return values


def _told(domain: str, ttl: int, edited: Edited, resolver: Resolver | None) -> Done:
    """The result, with what receivers will make of it once it is published."""
    steps = walk(domain, resolver) if resolver else ()
    said = tuple(warnings(edited, domain, steps))
    record = edited.record
    if resolver is None:
        own = record.p if record else None
        policy = lowered(own) if own and record and record.t == "y" else own
        return Done(domain, edited.before, edited.after, ttl, policy, None, tuple(record_rows(edited.after)), said)
    after = Published(domain, edited.after, resolver)
    found = discover(domain, after)
    rows = tuple(record_rows(edited.after))
    with contextlib.suppress(_public_suffix.SuffixListMissing):
        rows = compare(domain, after, _public_suffix.installed()).rows
    return Done(domain, edited.before, edited.after, ttl, found.policy, found.organizational_domain, rows, said)
