# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan: from a DMARC record and what is wanted of it to the new record, and what speaks against it. Private, pure.

Section numbers in this file are of RFC 9989.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ansible_collections.postmaster.mail.plugins.module_utils._dmarc import (
    POLICIES,
    DmarcError,
    DmarcRecord,
    Step,
    is_dmarc,
    organizational_domain,
)
from ansible_collections.postmaster.mail.plugins.module_utils._dmarc_reports import CONSENT, Destination, consent_name
from ansible_collections.postmaster.mail.plugins.module_utils._dns import Resolver, exists

LISTS = ("rua", "ruf")
# What is refused, and why someone may want it all the same.
REFUSALS: Mapping[str, str] = {
    "no_reports": "p=none without rua: nothing is enforced, and nobody sees what fails",
    "weaker_subdomains": "a policy for subdomains that is weaker than that of the domain",
    "unauthorised_reports": "reports to another organisation that does not consent",
    "unreachable_reports": "reports to a host that takes no mail",
    "public_suffix": "psd=y, which is for the operators of public suffixes",
}

State = Literal["present", "absent", "exact"]


class PlanError(ValueError):
    """The change cannot be made; the message is one sentence with its remedy."""


@dataclass(frozen=True)
class Change:
    """What is wanted of one record: ``values`` by tag, lists as tuples, None for a tag that shall go.

    ``present`` sets them and adds to rua and ruf; ``exact`` leaves no other tag; ``absent`` takes the given items
    from rua and ruf, and the tags in ``tags``.
    """

    state: State = "present"
    values: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refusal:
    """Why a record should not be published; ``id`` is what allows it."""

    id: str
    text: str


@dataclass(frozen=True)
class Edited:
    """The record before and after, as text; empty where there is none. ``dropped`` are tags that mean nothing."""

    before: str
    after: str
    record: DmarcRecord | None
    dropped: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        return self.before != self.after


def choose(texts: Sequence[str], state: State) -> str:
    """The DMARC record among the TXT records at one name, empty where there is none."""
    found = [text for text in texts if is_dmarc(text)]
    if len(found) > 1 and state != "exact":
        raise PlanError(
            f"there are {len(found)} DMARC records, so receivers discard all (section 4.10): give the one to edit as "
            "current, or write the whole record with state: exact"
        )
    return "\n".join(found)


def edit(text: str, change: Change) -> Edited:
    """The record that ``text`` becomes. Raises :class:`PlanError` and :class:`DmarcError`."""
    if change.state == "exact" or not text:
        values = change.values if change.state != "absent" else {}
        record = _made(values) if values or change.state == "exact" else None
        after = str(record) if record else ""
        return Edited(text, text if _same(text, after) else after, record)
    try:
        current = DmarcRecord.read(text)
    except DmarcError as err:
        raise PlanError(f"the record there is none: {err}; write it anew with state: exact") from err
    record = _without(current, change) if change.state == "absent" else _with(current, change)
    gone = tuple(f"{tag}={value}" for tag, value in (*current.removed, *current.unknown))
    same = record == current and not gone and not current.problems
    return Edited(text, text if same else str(record), record, gone)


def _same(text: str, after: str) -> bool:
    """Whether the text says no more and no less, however it is written."""
    try:
        record = DmarcRecord.read(text)
    except DmarcError:
        return text == after
    return str(record) == after and not (record.removed or record.unknown or record.problems)


def _made(values: Mapping[str, Any]) -> DmarcRecord:
    return DmarcRecord(**{tag: value for tag, value in values.items() if value is not None})


def _with(current: DmarcRecord, change: Change) -> DmarcRecord:
    values = dict(change.values)
    for tag in LISTS:
        if values.get(tag):
            values[tag] = tuple(dict.fromkeys((*getattr(current, tag), *values[tag])))
    return replace(current, removed=(), unknown=(), problems=(), **values)


def _without(current: DmarcRecord, change: Change) -> DmarcRecord:
    if "p" in change.tags:
        raise PlanError("p cannot be taken away; set policy to what it shall be (section 4.7)")
    values: dict[str, Any] = {tag: () if tag in ("fo", *LISTS) else None for tag in change.tags}
    for tag in LISTS:
        if change.values.get(tag):
            values[tag] = tuple(uri for uri in getattr(current, tag) if uri not in change.values[tag])
    return replace(current, removed=(), unknown=(), problems=(), **values)


# -- what speaks against it ---------------------------------------------------------------------


def _rank(policy: str) -> int:
    return POLICIES.index(policy)


def refusals(record: DmarcRecord, domain: str, found: Collection[Destination]) -> Iterator[Refusal]:
    """Why the record should not be published at ``domain``; ``found`` is where its reports would go."""
    if record.p == "none" and not record.rua:
        yield Refusal("no_reports", f"{REFUSALS['no_reports']}; give rua")
    for tag, stronger in (("sp", record.p), ("np", record.subdomain_policy)):
        value = getattr(record, tag)
        if value and _rank(value) < _rank(stronger):
            yield Refusal("weaker_subdomains", f"{tag}={value} is weaker than {stronger}: forgers take a subdomain")
    if record.psd == "y":
        yield Refusal("public_suffix", "psd=y says that others own the domains below; write psd=n, or leave it out")
    for one in found:
        if one.status == "unauthorised":
            remedy = f'its owner has to publish {consent_name(domain, one.host)} TXT "{CONSENT}"'
            yield Refusal("unauthorised_reports", f"{one.host} does not consent to reports, so none is sent; {remedy}")
        elif one.status == "unreachable":
            yield Refusal("unreachable_reports", f"{one.uri}: {one.host or 'it'} takes no mail; name another address")


def warnings(edited: Edited, domain: str, steps: Sequence[Step]) -> Iterator[str]:
    """What is allowed and should be looked at; ``steps`` is the tree walk from ``domain`` as it is now."""
    record = edited.record
    for text in edited.dropped:
        yield f"{text} means nothing any more, and is left out"
    if record is None or not edited.changed:
        return
    old = DmarcRecord.read(edited.before) if _readable(edited.before) else None
    if _rank(record.p) - (_rank(old.p) if old else 0) > 1 and record.t != "y":
        since = f"p={old.p} before" if old else "no policy before"
        yield f"p={record.p} after {since}: step up from none to quarantine to reject, as the reports allow"
    if record.t == "y" and {record.p, record.subdomain_policy, record.nonexistent_policy} == {"none"}:
        yield "t=y lowers no policy that is none (section 4.7)"
    if record.fo and not record.ruf:
        yield "fo is ignored without ruf (section 4.7)"
    if steps and (record.sp or record.np):
        after = (Step(domain, (str(record),), record), *steps[1:])
        above = organizational_domain(after)
        if above != domain:
            tags = " and ".join(tag for tag in ("sp", "np") if getattr(record, tag))
            yield f"{tags} counts in the record of the organizational domain {above} alone (section 4.7)"


def _readable(text: str) -> bool:
    try:
        DmarcRecord.read(text)
    except DmarcError:
        return False
    return True


class Published:
    """A resolver that answers as if the record were published; the rest it asks of another."""

    def __init__(self, domain: str, text: str, resolver: Resolver) -> None:
        self.name = f"_dmarc.{domain}"
        self.text = text
        self.resolver = resolver

    def query(self, name: str, rdtype: str) -> list[str]:
        """As the port asks for it."""
        if name.rstrip(".").lower() == self.name and rdtype == "TXT":
            return [self.text] if self.text else []
        return self.resolver.query(name, rdtype)

    def exists(self, name: str) -> bool:
        """As the port's own word has it."""
        return exists(name, self.resolver)
