# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan: what receivers will make of derived SPF records, before these are published. Private, pure over DNS as a port.

Records of the same run answer as if they were published; everything else is asked of DNS.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _spf
from ansible_collections.postmaster.mail.plugins.module_utils._dns import DnsError, Resolver
from ansible_collections.postmaster.mail.plugins.module_utils._record import Record
from ansible_collections.postmaster.mail.plugins.module_utils._records_domain import DerivedSpf, RecordsError
from ansible_collections.postmaster.mail.plugins.module_utils._spf_plan import STRANGERS, Judged, Refusal, judge

UNANSWERED = "unanswered"


@dataclass(frozen=True)
class Proof:
    """What came of one domain; ``judged`` is None and ``unproven`` says why where DNS could not tell."""

    domain: str
    judged: Judged | None
    unproven: str = ""

    def as_dict(self) -> dict[str, Any]:
        judged = self.judged
        return {
            "domain": self.domain,
            "proven": not self.unproven,
            "lookups": judged.found.lookups if judged is not None and judged.found is not None else None,
            "voids": judged.found.voids if judged is not None and judged.found is not None else None,
            "probes": [one.as_dict() for one in judged.probes] if judged is not None else [],
        }


def prove(
    spf: Iterable[DerivedSpf], records: Iterable[Record], resolver: Resolver, *, accept_unanswered: bool
) -> list[Proof]:
    """Judge every record by the addresses that have to pass, and by strangers.

    Raises :class:`RecordsError` with all that is refused. Where DNS does not answer, that is refused as well, unless
    ``accept_unanswered``, or the domain allows it.
    """
    planned = _planned(resolver, records)
    proofs = [_proof(one, planned, accept_unanswered) for one in spf]
    refused = [line for one, proof in zip(spf, proofs, strict=True) for line in _refused(one, proof)]
    unproven = [proof for one, proof in zip(spf, proofs, strict=True) if proof.unproven and UNANSWERED not in one.allow]
    if unproven and not accept_unanswered:
        refused += _unproven(unproven)
    if refused:
        raise RecordsError("\n".join(refused))
    return proofs


def _planned(resolver: Resolver, records: Iterable[Record]) -> _spf.Planned:
    """DNS as it will be, as far as SPF asks for what is derived."""
    texts: dict[str, str] = {}
    hosts: dict[tuple[str, str], list[str]] = {}
    for record in records:
        text = "".join(record.strings)
        if record.type == "TXT" and _spf.is_spf(text):
            texts[record.name] = text
        elif record.type == "MX":
            hosts.setdefault((record.name, "MX"), []).append(record.rdata)
    return _spf.Planned(resolver, texts, hosts)


def _proof(one: DerivedSpf, resolver: Resolver, accept: bool) -> Proof:
    try:
        judged = judge(one.domain, one.record, own=one.own, strangers=STRANGERS, resolver=resolver, allow=one.allow)
    except DnsError as err:
        return Proof(one.domain, None, str(err))
    reason = next((probe.told.reason for probe in judged.probes if probe.told.fault == UNANSWERED), "")
    return Proof(one.domain, judged, reason)


def _refused(one: DerivedSpf, proof: Proof) -> Iterator[str]:
    """What speaks against a record; that DNS does not answer is told of all domains together."""
    for refusal in proof.judged.against if proof.judged is not None else ():
        if refusal.id != UNANSWERED:
            yield refusal_text(one, refusal)


def refusal_text(one: DerivedSpf, refusal: Refusal) -> str:
    """The sentence for the user of ``mail_records``."""
    text = f"the domain {one.domain}: its SPF record {str(one.record)!r} must not be published; {refusal.text}"
    return f"{text} (or add {refusal.id} to its spf_allow)"


def _unproven(proofs: Iterable[Proof]) -> Iterator[str]:
    """One sentence for each reason, since a resolver out of reach is out of reach for all."""
    by_reason: dict[str, list[str]] = {}
    for proof in proofs:
        by_reason.setdefault(proof.unproven, []).append(proof.domain)
    for reason, domains in by_reason.items():
        names = ", ".join(domains)
        yield (
            f"the SPF record of {names} cannot be proven before it is published: {reason}. Name another resolver, or go"
            " on without the proof by unanswered: accept (both stand in prove, or for the playbooks in mail_spf_proof)"
        )
