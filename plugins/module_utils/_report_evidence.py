# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the reports on a domain add up to: who sends for it, how much of it passes, and what to do next. Private.

The ladder of policies is none, quarantine, reject (RFC 9989 section 4.7). A step up is advised only where the
reports cover enough days and messages, and no source that is ours would lose mail by it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ansible_collections.postmaster.mail.plugins.module_utils._networks import IPNetwork
from ansible_collections.postmaster.mail.plugins.module_utils._reports import AggregateReport, IPAddress, Row, TlsReport

LADDER = ("none", "quarantine", "reject")
ALIGNED, UNALIGNED, UNKNOWN = "aligned", "unaligned", "unknown"
# Reasons of receivers that saw a message on a detour: its failure is not the sender's (RFC 9990 section 3.1.6).
DETOURS = frozenset({"forwarded", "trusted_forwarder", "mailing_list"})
SAMPLES = 5


@dataclass(frozen=True)
class KnownSender:
    """A sender that is meant to send: recognised by its addresses or by a domain that it authenticates as."""

    name: str
    networks: tuple[IPNetwork, ...] = ()
    domains: tuple[str, ...] = ()

    def sent(self, row: Row) -> bool:
        """Whether a row is of this sender."""
        if any(row.source.version == net.version and row.source in net for net in self.networks):
            return True
        return any(_within(domain, ours) for domain in row.authenticated for ours in self.domains)


def _within(domain: str, parent: str) -> bool:
    return domain == parent or domain.endswith(f".{parent}")


@dataclass(frozen=True)
class Demand:
    """What evidence a step up needs: days and messages covered, and the share of our mail that may fail.

    ``ignore`` names sources that are known not to send for us.
    """

    days: int = 14
    messages: int = 100
    tolerance: float = 0.01
    ignore: frozenset[str] = frozenset()


@dataclass
class Source:
    """One sender as the reports show it. ``detours`` are failing messages that came through a forwarder or list."""

    name: str
    known: bool
    messages: int = 0
    aligned: int = 0
    detours: int = 0
    unauthenticated: int = 0
    addresses: Counter[IPAddress] = field(default_factory=Counter)
    vouched: Counter[str] = field(default_factory=Counter)

    def add(self, row: Row) -> None:
        """Count a row in."""
        self.messages += row.count
        self.addresses[row.source] += row.count
        for domain in row.authenticated:
            self.vouched[domain] += row.count
        if row.passes:
            self.aligned += row.count
        elif DETOURS.intersection(row.reasons):
            self.detours += row.count
        elif not row.authenticated:
            self.unauthenticated += row.count

    @property
    def failing(self) -> int:
        """Messages that fail DMARC by the sender's own doing."""
        return self.messages - self.aligned - self.detours

    @property
    def verdict(self) -> str:
        """aligned: all of it passes; unaligned: it is ours or authenticates as somebody; unknown: nobody vouches."""
        if not self.failing:
            return ALIGNED
        return UNALIGNED if self.known or self.failing > self.unauthenticated else UNKNOWN

    def as_dict(self) -> dict[str, object]:
        """Plain values for output."""
        return {
            "name": self.name,
            "known": self.known,
            "verdict": self.verdict,
            "messages": self.messages,
            "aligned": self.aligned,
            "forwarded": self.detours,
            "failing": self.failing,
            "addresses": [str(address) for address, dummy in self.addresses.most_common(SAMPLES)],
            "address_count": len(self.addresses),
            "authenticated_as": [domain for domain, dummy in self.vouched.most_common(SAMPLES)],
        }


@dataclass(frozen=True)
class Advice:
    """The policy to publish next (the present one to stay) and why; ``blockers`` say what to mend before a step."""

    current: str
    next: str
    reason: str
    blockers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """All reports on one domain together."""

    domain: str
    begin: datetime
    end: datetime
    reporters: tuple[str, ...]
    sources: tuple[Source, ...]
    policy: Mapping[str, str]

    @property
    def messages(self) -> int:
        """All messages that were reported."""
        return sum(source.messages for source in self.sources)

    def of(self, verdict: str) -> int:
        """Messages of sources with a verdict."""
        return sum(source.messages for source in self.sources if source.verdict == verdict)

    @property
    def span(self) -> timedelta:
        """How long the reports cover, gaps included."""
        return self.end - self.begin


def gather(reports: Iterable[AggregateReport], senders: Sequence[KnownSender] = ()) -> dict[str, Evidence]:
    """Evidence by domain. A report that came twice counts once."""
    once = {report.key: report for report in reports}
    by_domain: dict[str, list[AggregateReport]] = defaultdict(list)
    for report in once.values():
        by_domain[report.domain].append(report)
    return {domain: _evidence(domain, found, senders) for domain, found in sorted(by_domain.items())}


def _evidence(domain: str, reports: Sequence[AggregateReport], senders: Sequence[KnownSender]) -> Evidence:
    sources: dict[tuple[bool, str], Source] = {}
    for report in reports:
        for row in report.rows:
            key = _identify(row, senders)
            sources.setdefault(key, Source(key[1], key[0])).add(row)
    newest = max(reports, key=lambda report: report.end)
    return Evidence(
        domain=domain,
        begin=min(report.begin for report in reports),
        end=newest.end,
        reporters=tuple(sorted({report.reporter for report in reports})),
        sources=tuple(sorted(sources.values(), key=lambda one: (-one.messages, one.name))),
        policy=newest.policy,
    )


def _identify(row: Row, senders: Sequence[KnownSender]) -> tuple[bool, str]:
    """Whether the source is known, and the name that its messages are counted under."""
    known = next((sender.name for sender in senders if sender.sent(row)), "")
    if known:
        return True, known
    return False, row.authenticated[0] if row.authenticated else str(row.source)


def advise(evidence: Evidence, demand: Demand) -> Advice:
    """The next step of the ladder by the evidence, or to stay and why."""
    current = evidence.policy.get("p", "none").lower()
    if current not in LADDER:
        current = "none"
    blockers = tuple(_blockers(evidence, demand))
    if current == LADDER[-1]:
        reason = (
            "mail of ours is being lost: mend what is named"
            if blockers
            else "the ladder ends here: keep reading the reports"
        )
        return Advice(current, current, reason, blockers)
    lacking = _lacking(evidence, demand)
    if lacking:
        return Advice(current, current, lacking, blockers)
    if blockers:
        return Advice(
            current, current, "sources that may be ours fail: a stricter policy would lose their mail", blockers
        )
    step = LADDER[LADDER.index(current) + 1]
    return Advice(current, step, f"mail of ours passes: {evidence.messages} messages in {evidence.span.days} days")


def _lacking(evidence: Evidence, demand: Demand) -> str:
    if evidence.span < timedelta(days=demand.days):
        return f"the reports cover {_days(evidence.span)}, and a step needs {demand.days} days"
    if evidence.messages < demand.messages:
        return f"the reports cover {evidence.messages} messages, and a step needs {demand.messages}"
    return ""


def _days(span: timedelta) -> str:
    days = round(span.total_seconds() / 86400)
    return "1 day" if days == 1 else f"{days} days"


def _blockers(evidence: Evidence, demand: Demand) -> Iterable[str]:
    """What fails and may be ours: a known sender beyond the tolerance, or one that authenticates and sends much."""
    for source in evidence.sources:
        if source.verdict != UNALIGNED or source.name in demand.ignore:
            continue
        share = source.failing / source.messages
        if source.known and share > demand.tolerance:
            fail = f"{source.failing} of {source.messages} messages fail"
            yield f"{source.name}: {fail}{_remedy(source, evidence.domain)}"
        elif not source.known and source.failing > demand.tolerance * evidence.messages:
            yield (
                f"{source.name}: {source.failing} messages authenticate, but not as {evidence.domain}: if it sends for "
                "you, name it as a sender and have it sign with your domain; if not, add it to ignore"
            )


def _remedy(source: Source, domain: str) -> str:
    if source.unauthenticated:
        bare = f", {source.unauthenticated} of them without any authentication"
        return f"{bare}: put its addresses into SPF and have it sign for {domain}"
    return f": it authenticates as {', '.join(list(source.vouched)[:3])}; have it sign with DKIM for {domain}"


# --- TLS reports -----------------------------------------------------------------------------


@dataclass(frozen=True)
class TlsEvidence:
    """Sessions to one domain by all TLS reports; ``kinds`` counts failed sessions by kind and MX."""

    domain: str
    begin: datetime
    end: datetime
    successes: int
    failures: int
    kinds: Mapping[tuple[str, str], int]
    policies: tuple[str, ...]


def gather_tls(reports: Iterable[TlsReport]) -> dict[str, TlsEvidence]:
    """TLS evidence by domain; what names no domain counts under an empty name."""
    once = {report.key: report for report in reports}
    parts: dict[str, list[tuple[TlsReport, int]]] = defaultdict(list)
    for report in once.values():
        for index, result in enumerate(report.results):
            parts[result.domain].append((report, index))
    return {domain: _tls_evidence(domain, found) for domain, found in sorted(parts.items())}


def _tls_evidence(domain: str, parts: Sequence[tuple[TlsReport, int]]) -> TlsEvidence:
    results = [report.results[index] for report, index in parts]
    kinds: Counter[tuple[str, str]] = Counter()
    for result in results:
        for failure in result.details:
            kinds[failure.kind, failure.mx] += failure.count
    return TlsEvidence(
        domain=domain,
        begin=min(report.begin for report, dummy in parts),
        end=max(report.end for report, dummy in parts),
        successes=sum(result.successes for result in results),
        failures=sum(result.failures for result in results),
        kinds=dict(kinds.most_common()),
        policies=tuple(sorted({result.type for result in results})),
    )


# --- output ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Summary:
    """All that the reports say, for machines and for people."""

    dmarc: Mapping[str, Evidence]
    tls: Mapping[str, TlsEvidence]
    demand: Demand

    def as_dict(self) -> dict[str, object]:
        """Plain values: ``domains`` and ``tls``, by domain."""
        return {
            "domains": {domain: self._domain(one) for domain, one in self.dmarc.items()},
            "tls": {domain: _tls_dict(one) for domain, one in self.tls.items()},
        }

    def _domain(self, one: Evidence) -> dict[str, object]:
        advice = advise(one, self.demand)
        return {
            "begin": one.begin.isoformat(),
            "end": one.end.isoformat(),
            "reporters": list(one.reporters),
            "messages": one.messages,
            **{verdict: one.of(verdict) for verdict in (ALIGNED, UNALIGNED, UNKNOWN)},
            "sources": [source.as_dict() for source in one.sources],
            "advice": {
                "current": advice.current,
                "next": advice.next,
                "reason": advice.reason,
                "blockers": list(advice.blockers),
            },
        }

    def lines(self) -> list[str]:
        """A table for each domain, then the advice."""
        lines: list[str] = []
        for one in self.dmarc.values():
            lines += _dmarc_lines(one, advise(one, self.demand))
        for tls in self.tls.values():
            lines += _tls_lines(tls)
        return lines


def _dmarc_lines(one: Evidence, advice: Advice) -> list[str]:
    begin, end = (moment.strftime("%Y-%m-%d") for moment in (one.begin, one.end))
    lines = [f"{one.domain}: {one.messages} messages, {begin} to {end}, reported by {', '.join(one.reporters)}"]
    lines += [
        f"  {source.verdict:<9} {source.messages:>8} {source.failing:>8} failing  {source.name}{_beside(source)}"
        for source in one.sources
    ]
    step = f"p={advice.current}, stay" if advice.next == advice.current else f"p={advice.current} -> p={advice.next}"
    lines.append(f"  {step}: {advice.reason}")
    lines += [f"  mend {blocker}" for blocker in advice.blockers]
    return lines


def _beside(source: Source) -> str:
    beside = []
    if not source.known and source.vouched:
        beside.append(f"{len(source.addresses)} addresses")
    if source.detours:
        beside.append(f"{source.detours} by forwarders")
    return f" ({', '.join(beside)})" if beside else ""


def _tls_dict(one: TlsEvidence) -> dict[str, object]:
    return {
        "begin": one.begin.isoformat(),
        "end": one.end.isoformat(),
        "policies": list(one.policies),
        "successes": one.successes,
        "failures": one.failures,
        "kinds": [{"kind": kind, "mx": mx, "count": count} for (kind, mx), count in one.kinds.items()],
    }


def _tls_lines(one: TlsEvidence) -> list[str]:
    name = one.domain or "(no domain named)"
    lines = [f"{name}: TLS for {one.successes} sessions, failures {one.failures}, policies {', '.join(one.policies)}"]
    lines += [f"  {count:>8} {kind}{' at ' + mx if mx else ''}" for (kind, mx), count in one.kinds.items()]
    return lines
