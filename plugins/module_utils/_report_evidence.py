# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the reports on a domain add up to: who sends for it, how much of it passes, and what to do next. Private.

The ladder of policies is none, quarantine, reject; t=y takes a step back from what is published, and sp= and np= have
ladders of their own (RFC 9989 section 4.7). A step up is advised only where the reports cover enough days and enough
mail that passes, and no source that is ours would lose mail by it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from ansible_collections.postmaster.mail.plugins.module_utils._networks import IPNetwork
from ansible_collections.postmaster.mail.plugins.module_utils._reports import AggregateReport, IPAddress, Row, TlsReport

LADDER = ("none", "quarantine", "reject")
ALIGNED, UNALIGNED, UNKNOWN = "aligned", "unaligned", "unknown"
# Reasons of receivers that saw a message on a detour: its failure is not the sender's (RFC 9990 section 3.1.6).
DETOURS = frozenset({"forwarded", "trusted_forwarder", "mailing_list"})
SAMPLES = 5
# Of the mail in the reports, how much must pass where nobody has named the senders: without their names, mail that
# nobody vouches for may be a stranger's or our own.
PASSING_SHARE = 0.9


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
    """What evidence a step up needs: days covered, messages that pass, and the share of our mail that may fail.

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
    """The policy to publish next (the present one to stay) and why; ``blockers`` say what to mend before a step.

    ``publish`` holds the tags of the record that are to change, empty to stay.
    """

    current: str
    next: str
    reason: str
    blockers: tuple[str, ...] = ()
    publish: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """All reports on one domain together. ``covered`` is the time in them, each moment once and gaps left out.

    ``named`` are the senders that are meant to send; ``unseen`` those of them with no mail in the reports.
    """

    domain: str
    begin: datetime
    end: datetime
    covered: timedelta
    reporters: tuple[str, ...]
    sources: tuple[Source, ...]
    policy: Mapping[str, str]
    named: tuple[str, ...] = ()

    @property
    def messages(self) -> int:
        """All messages that were reported."""
        return sum(source.messages for source in self.sources)

    @property
    def aligned(self) -> int:
        """Messages that pass DMARC."""
        return sum(source.aligned for source in self.sources)

    @property
    def failing(self) -> int:
        """Messages that fail, but for those that came on a detour."""
        return sum(source.failing for source in self.sources)

    @property
    def unseen(self) -> tuple[str, ...]:
        """Named senders of whose own mail the reports have nothing."""
        seen = {source.name for source in self.sources if source.known and source.messages > source.detours}
        return tuple(name for name in self.named if name not in seen)

    def of(self, verdict: str) -> int:
        """Messages of sources with a verdict."""
        return sum(source.messages for source in self.sources if source.verdict == verdict)

    @property
    def days(self) -> int:
        """Whole days that the reports cover; the second that many leave out between two days is forgiven."""
        return round(self.covered / timedelta(hours=1)) // 24


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
        begin=min(report.period[0] for report in reports),
        end=newest.end,
        covered=_covered([report.period for report in reports]),
        reporters=tuple(sorted({report.reporter for report in reports})),
        sources=tuple(sorted(sources.values(), key=lambda one: (-one.messages, one.name))),
        policy=newest.policy,
        named=tuple(dict.fromkeys(sender.name for sender in senders)),
    )


def _covered(periods: Iterable[tuple[datetime, datetime]]) -> timedelta:
    """How much time lies in the periods together, each moment once."""
    total, reached = timedelta(), datetime.min.replace(tzinfo=UTC)
    for begin, end in sorted(periods):
        total += max(end - max(begin, reached), timedelta())
        reached = max(reached, end)
    return total


def _identify(row: Row, senders: Sequence[KnownSender]) -> tuple[bool, str]:
    """Whether the source is known, and the name that its messages are counted under."""
    known = next((sender.name for sender in senders if sender.sent(row)), "")
    if known:
        return True, known
    return False, row.authenticated[0] if row.authenticated else str(row.source)


def advise(evidence: Evidence, demand: Demand) -> Advice:
    """The next step of the ladder by the evidence, or to stay and why."""
    current = _policy(evidence, "p")
    blockers = tuple(_blockers(evidence, demand))
    publish = _step(evidence)
    if blockers and current == LADDER[-1]:
        return Advice(current, current, "mail of ours is being lost: mend what is named", blockers)
    if not publish:
        return Advice(current, current, "the ladder ends here: keep reading the reports")
    lacking = _lacking(evidence, demand)
    if not lacking and blockers:
        lacking = "sources that may be ours fail: a stricter policy would lose their mail"
    if lacking:
        return Advice(current, current, lacking, blockers)
    reason = f"mail of ours passes: {evidence.aligned} of {evidence.messages} messages in {evidence.days} days"
    return Advice(current, publish.get("p", current), reason, publish=publish)


def _policy(evidence: Evidence, tag: str, default: str = "none") -> str:
    """The policy that a tag asks for; what is none of the ladder asks for nothing (RFC 9989 section 4.7)."""
    policy = evidence.policy.get(tag, default).lower()
    return policy if policy in LADDER else LADDER[0]


def _step(evidence: Evidence) -> dict[str, str]:
    """The tag to change next and its value, empty at the ladder's end: t=n, then p=, at last sp= and np=."""
    current = _policy(evidence, "p")
    if current != LADDER[0] and evidence.policy.get("testing", "n").lower() == "y":
        return {"t": "n"}
    below = _policy(evidence, "sp", current)
    for tag, policy in (("p", current), ("sp", below), ("np", _policy(evidence, "np", below))):
        if policy != LADDER[-1]:
            return {tag: LADDER[LADDER.index(policy) + 1]}
    return {}


def _lacking(evidence: Evidence, demand: Demand) -> str:
    """What the reports have too little of for a step up; empty when they are enough."""
    if evidence.days < demand.days:
        return f"the reports cover {_days(evidence.days)}, and a step needs {_days(demand.days)}"
    if evidence.aligned < demand.messages:
        return f"{evidence.aligned} of {evidence.messages} messages pass, and a step needs {demand.messages} that do"
    if evidence.unseen:
        return f"the reports have no mail of {', '.join(evidence.unseen)}: wait for it, or name only who still sends"
    if not evidence.named and evidence.aligned < PASSING_SHARE * (evidence.aligned + evidence.failing):
        return (
            f"{evidence.failing} of {evidence.messages} messages fail, and no senders are named: "
            "name those who send for you, that strangers can be told from them"
        )
    return ""


def _days(days: int) -> str:
    return "1 day" if days == 1 else f"{days} days"


def _blockers(evidence: Evidence, demand: Demand) -> Iterator[str]:
    """What fails and may be ours: known senders beyond the tolerance, and those that authenticate and send much."""
    suspects = [one for one in evidence.sources if one.verdict == UNALIGNED and one.name not in demand.ignore]
    for source in suspects:
        if source.known and source.failing > demand.tolerance * source.messages:
            fail = f"{source.failing} of {source.messages} messages fail"
            yield f"{source.name}: {fail}{_remedy(source, evidence.domain)}"
    yield from _strangers([one for one in suspects if not one.known], evidence, demand)


def _strangers(sources: Sequence[Source], evidence: Evidence, demand: Demand) -> Iterator[str]:
    """Those that authenticate as somebody: the large ones by name, the small ones where they are much in sum."""
    room = demand.tolerance * evidence.aligned
    ordered = sorted(sources, key=lambda one: -one.failing)
    large = [one for one in ordered if one.failing > room][:SAMPLES]
    for one in large:
        yield (
            f"{one.name}: {one.failing} messages authenticate, but not as {evidence.domain}: if it sends for "
            "you, name it as a sender and have it sign with your domain; if not, add it to ignore"
        )
    small = ordered[len(large) :]
    failing = sum(one.failing for one in small)
    if failing > room:
        examples = ", ".join(one.name for one in small[:SAMPLES])
        yield (
            f"{len(small)} more sources: {failing} messages together authenticate, but not as {evidence.domain} "
            f"({examples}{', ...' if len(small) > SAMPLES else ''}): name as senders those that send for you, "
            "and add the others to ignore"
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
                "publish": dict(advice.publish),
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
    change = "; ".join(f"{tag}={value}" for tag, value in advice.publish.items())
    step = f" -> {change}" if change else ", stay"
    lines.append(f"  {_published(one)}{step}: {advice.reason}")
    lines += [f"  mend {blocker}" for blocker in advice.blockers]
    return lines


def _published(one: Evidence) -> str:
    """The policy as published, as far as it says more than p=."""
    current = _policy(one, "p")
    more = [f"{tag}={one.policy[tag]}" for tag in ("sp", "np") if _policy(one, tag, current) != current]
    testing = ["t=y"] if one.policy.get("testing", "n").lower() == "y" else []
    return "; ".join([f"p={current}", *more, *testing])


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
