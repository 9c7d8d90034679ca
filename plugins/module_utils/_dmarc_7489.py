# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What readers of RFC 7489, the older DMARC, make of a record or a domain. Private to this collection.

``DIFFERENCES`` is the table of what the two RFCs treat differently; :func:`record_rows` and :func:`compare`
say which rows touch a record or a domain.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ansible_collections.postmaster.mail.plugins.module_utils._dmarc import (
    Discovery,
    DmarcError,
    DmarcRecord,
    discover,
    is_dmarc,
)
from ansible_collections.postmaster.mail.plugins.module_utils._dns import Resolver
from ansible_collections.postmaster.mail.plugins.module_utils._public_suffix import SuffixList

NEW_TAGS = ("np", "psd", "t")  # RFC 9989 appendix C.5.1
FULL_PERCENT = 100

_NAME = re.compile(r"[ \t]*([A-Za-z]+)[ \t]*=")
_SIZED = re.compile(r"![0-9]+[kmgt]?[ \t]*(?:,|;|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Difference:
    """One row: the sections that rule it, and what readers of each RFC do."""

    id: str
    old_section: str  # of RFC 7489
    new_section: str  # of RFC 9989
    old: str
    new: str


DIFFERENCES = (
    Difference(
        "organizational-domain",
        "3.2",
        "4.10.2",
        "the organizational domain is one label below the longest public suffix, by a list",
        "it is found by a tree walk over the DMARC records themselves",
    ),
    Difference(
        "record-found",
        "6.6.3",
        "4.10.1",
        "only the author domain and its organizational domain are asked for a record",
        "a record counts that the tree walk finds between them or at the public suffix domain above",
    ),
    Difference(
        "two-records",
        "6.6.3",
        "4.10",
        "two records at the author domain mean that DMARC is not applied",
        "both are discarded, and the walk goes on above",
    ),
    Difference(
        "np",
        "6.3",
        "4.7",
        "np is unknown and ignored: sp or p applies to subdomains that do not exist",
        "np applies to subdomains that do not exist",
    ),
    Difference(
        "np-invalid",
        "6.6.3",
        "4.10.1",
        "np is unknown and ignored, whatever its value",
        "an invalid np makes the whole record count as p=none, or as none without rua",
    ),
    Difference(
        "psd",
        "3.2",
        "4.7",
        "psd is unknown and ignored; the public suffix list alone decides",
        "psd=y and psd=n say where organizational domains begin",
    ),
    Difference(
        "t",
        "6.3",
        "4.7",
        "t is unknown and ignored: the policy applies in full",
        "with t=y the policy one level below applies",
    ),
    Difference(
        "pct",
        "6.6.4",
        "A.6",
        "the policy applies to pct per cent of the mail, the one below to the rest",
        "pct is ignored: the policy applies to all mail",
    ),
    Difference(
        "ri",
        "6.3",
        "C.5.2",
        "aggregate reports are wanted every ri seconds",
        "ri is ignored: reports are sent at least once a day",
    ),
    Difference(
        "rf",
        "6.3",
        "C.5.2",
        "failure reports are wanted in the formats of rf",
        "rf is ignored",
    ),
    Difference(
        "order",
        "6.4",
        "4.8",
        "p stands right behind v; strict readers take anything else for no record",
        "tags behind v come in any order",
    ),
    Difference(
        "size",
        "6.2",
        "4.8",
        "reports above the size behind ! are not sent",
        "the size is ignored",
    ),
    Difference(
        "fo",
        "6.3",
        "4.7",
        "fo may name both 0 and 1",
        "0 and 1 exclude each other; such an fo is ignored and 0 applies",
    ),
)
ROWS = {row.id: row for row in DIFFERENCES}


@dataclass(frozen=True)
class Differing:
    """A row that touches a record or domain; ``detail`` says how, in its own values."""

    row: Difference
    detail: str

    def __str__(self) -> str:
        return f"{self.detail} (RFC 7489 section {self.row.old_section}, RFC 9989 section {self.row.new_section})"


@dataclass(frozen=True)
class OldRecord:
    """A record as readers of RFC 7489 take it: without the new tags, and with pct."""

    record: DmarcRecord
    pct: int = FULL_PERCENT

    @classmethod
    def read(cls, text: str) -> OldRecord:
        """Raises :class:`DmarcError` where a strict one finds no policy record."""
        pieces = text.split(";")
        names = [_tag_name(piece) for piece in pieces]
        if "p" in names[2:] and names[1] != "p":
            position = sum(len(piece) + 1 for piece in pieces[: names.index("p", 2)])
            rule = "p stands right behind v (RFC 7489 section 6.4)"
            raise DmarcError(pieces[names.index("p", 2)].strip(), position, rule)
        kept = [piece for piece, name in zip(pieces, names, strict=True) if name not in NEW_TAGS]
        record = DmarcRecord.read(";".join(kept))
        pct = dict(record.removed).get("pct", "")
        valid = pct.isascii() and pct.isdigit() and len(pct) <= 3 and int(pct) <= FULL_PERCENT
        return cls(record, int(pct) if valid else FULL_PERCENT)


def _tag_name(piece: str) -> str:
    match = _NAME.match(piece)
    return match.group(1).lower() if match else ""


def record_rows(text: str) -> list[Differing]:
    """The rows that touch the record that ``text`` is, wherever it lies; none where no reader takes it."""
    try:
        new: DmarcRecord | None = DmarcRecord.read(text)
    except DmarcError:
        new = None
    try:
        old: OldRecord | None = OldRecord.read(text)
    except DmarcError:
        old = None
    rows = [*_policy_rows(new, old), *_order_rows(text, new, old)] if new or old else []
    return rows + (_report_rows(text, new) if new else [])


def _policy_rows(new: DmarcRecord | None, old: OldRecord | None) -> Iterator[Differing]:
    if new is not None and new.np and new.np != new.subdomain_policy:
        detail = f"np={new.np} is ignored: {new.subdomain_policy} applies to subdomains that do not exist"
        yield Differing(ROWS["np"], detail)
    if new is not None and new.psd in ("y", "n"):
        yield Differing(ROWS["psd"], f"psd={new.psd} is ignored: the public suffix list decides")
    if new is not None and new.t == "y" and {new.p, new.subdomain_policy, new.nonexistent_policy} != {"none"}:
        yield Differing(ROWS["t"], f"t=y is ignored: p={new.p} applies in full")
    if old is not None and old.pct < FULL_PERCENT and {old.record.p, old.record.subdomain_policy} != {"none"}:
        detail = f"pct={old.pct} is obeyed: p={old.record.p} applies to {old.pct} % of the mail that fails"
        yield Differing(ROWS["pct"], detail)


def _order_rows(text: str, new: DmarcRecord | None, old: OldRecord | None) -> Iterator[Differing]:
    if new is not None and old is None:
        yield Differing(ROWS["order"], "p does not stand right behind v: strict readers take this for no record")
    without = [piece for piece in text.split(";") if _tag_name(piece) != "np"]
    if old is not None and len(without) <= text.count(";"):
        try:
            same = new is not None and DmarcRecord.read(";".join(without)).p == new.p
        except DmarcError:
            same = True
        if not same:
            yield Differing(ROWS["np-invalid"], f"the invalid np is ignored: p={old.record.p} applies")


def _report_rows(text: str, new: DmarcRecord) -> list[Differing]:
    removed = dict(new.removed)
    rows = []
    if "ri" in removed:
        rows.append(
            Differing(ROWS["ri"], f"ri={removed['ri']} is obeyed: reports are wanted every {removed['ri']} seconds")
        )
    if "rf" in removed:
        rows.append(Differing(ROWS["rf"], f"rf={removed['rf']} is obeyed: failure reports are wanted in this format"))
    if (new.rua or new.ruf) and _SIZED.search(text):
        rows.append(Differing(ROWS["size"], "the size behind ! is obeyed: larger reports are not sent"))
    old_fo = [problem.term for problem in new.problems if problem.term.lower().startswith("fo=")]
    if old_fo and {"0", "1"} <= set(old_fo[0]):
        rows.append(Differing(ROWS["fo"], f"{old_fo[0]} is obeyed"))
    return rows


# -- domains ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OldDiscovery:
    """What readers of RFC 7489 find for an author domain (RFC 7489 section 6.6.3); see ``Discovery``."""

    domain: str
    organizational_domain: str
    record: OldRecord | None = None
    record_domain: str | None = None
    text: str = ""

    @property
    def policy(self) -> str | None:
        """The policy for mail that fails, all of it or ``record.pct`` per cent; None where DMARC does not apply."""
        if self.record is None:
            return None
        return self.record.record.p if self.record_domain == self.domain else self.record.record.subdomain_policy


@dataclass(frozen=True)
class Comparison:
    """Both answers for one author domain, and the rows by which they differ."""

    new: Discovery
    old: OldDiscovery
    rows: tuple[Differing, ...]


def compare(domain: str, resolver: Resolver, suffixes: SuffixList) -> Comparison:
    """What readers of either RFC find for ``domain``. Raises ``DnsTimeout`` as the resolver does."""
    new = discover(domain, resolver)
    walked = {step.domain: step.texts for step in new.steps}
    above = suffixes.organizational_domain(new.domain) or new.domain
    where, texts = new.domain, walked[new.domain]
    if not texts and above != new.domain:
        found = walked[above] if above in walked else resolver.query(f"_dmarc.{above}", "TXT")
        where, texts = above, tuple(text for text in found if is_dmarc(text))
    old = _old_discovery(new.domain, above, where, texts)
    rows = list(_domain_rows(new, old, texts))
    used = [text for step in new.steps if step.domain == new.record_domain for text in step.texts]
    for text in dict.fromkeys([*used, *texts[:1]]):
        rows += [row for row in record_rows(text) if row not in rows]
    return Comparison(new, old, tuple(rows))


def _old_discovery(domain: str, above: str, where: str, texts: tuple[str, ...]) -> OldDiscovery:
    if len(texts) == 1:
        try:
            return OldDiscovery(domain, above, OldRecord.read(texts[0]), where, texts[0])
        except DmarcError:
            pass
    return OldDiscovery(domain, above)


def _domain_rows(new: Discovery, old: OldDiscovery, texts: tuple[str, ...]) -> Iterator[Differing]:
    if new.organizational_domain != old.organizational_domain:
        detail = (
            f"the organizational domain of {new.domain} is {old.organizational_domain}, "
            f"not {new.organizational_domain}: other domains align with it"
        )
        yield Differing(ROWS["organizational-domain"], detail)
    if len(texts) > 1 and new.record is not None:
        detail = f"two records mean no DMARC, not the record at {new.record_domain}"
        yield Differing(ROWS["two-records"], detail)
    elif new.record_domain != old.record_domain and not (new.record_domain == new.domain or texts):
        detail = f"no record is found, not the one at {new.record_domain}: DMARC is not applied"
        yield Differing(ROWS["record-found"], detail)
    elif new.record_domain and old.record_domain and new.record_domain != old.record_domain:
        detail = f"the record at {old.record_domain} applies, not the one at {new.record_domain}"
        yield Differing(ROWS["record-found"], detail)
    elif old.record_domain and new.record is None and not new.steps[0].error:
        yield Differing(ROWS["record-found"], f"the record at {old.record_domain} applies, where the walk finds none")
