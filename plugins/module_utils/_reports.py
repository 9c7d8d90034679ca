# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What receivers report of a domain's mail: DMARC aggregate reports and TLS reports as values. Private.

DMARC: RFC 9990, and the older form of RFC 7489 appendix C, told apart by nothing but the elements they have.
TLS: RFC 8460 section 4. Reporters are careless, so what is not needed may be missing; they may also be hostile, so
no report makes us read a document type definition, nest without end or hold more than it says itself.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias
from xml.parsers import expat

DEPTH_LIMIT = 32  # elements within elements; the format needs 6
ELEMENT_LIMIT = 2_000_000  # of one message, whatever it holds
PART_LIMIT = 1000  # elements in one record; a large one has some forty
RECORD_LIMIT = 200_000  # of one message; the largest honest reports have a tenth
JSON_LIMIT = 4 * 1024 * 1024  # octets; what is nested takes thirty times as much memory
SKIPPED_LIMIT = 50  # records that make no sense and are told one by one
TEXT_LIMIT = 4096  # characters that are kept of one element
COUNT_LIMIT = 10**12
PERIOD_LIMIT = timedelta(days=7)  # of one report; they cover a day, few a week

IPAddress: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"


class ReportError(ValueError):
    """A report that cannot be read; one sentence says why."""


class TooLarge(ReportError):
    """More than any honest message holds: what comes after it is not read either."""


@dataclass
class Allowance:
    """What may still be read of one message or file, which may hold many reports."""

    elements: int = ELEMENT_LIMIT
    records: int = RECORD_LIMIT

    def take_element(self) -> None:
        """Count one more. Raises :class:`TooLarge`."""
        self.elements -= 1
        if self.elements < 0:
            raise TooLarge(f"has more than {ELEMENT_LIMIT} elements, as no honest report has")

    def take_record(self) -> None:
        """Count one more. Raises :class:`TooLarge`."""
        self.records -= 1
        if self.records < 0:
            raise TooLarge(f"has more than {RECORD_LIMIT} records, as no honest report has")


# --- values ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Authentication:
    """What one method found: ``selector`` of DKIM, ``scope`` (mfrom or helo) of SPF, else empty."""

    domain: str
    result: str
    selector: str = ""
    scope: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """Messages of one source: whether DKIM and SPF passed in alignment, and what they found at all.

    ``reasons`` are the receiver's for not following the policy, e.g. ``trusted_forwarder``.
    """

    source: IPAddress
    count: int
    disposition: str
    dkim_aligned: bool
    spf_aligned: bool
    header_from: str
    envelope_from: str = ""
    reasons: tuple[str, ...] = ()
    dkim: tuple[Authentication, ...] = ()
    spf: tuple[Authentication, ...] = ()

    @property
    def passes(self) -> bool:
        """Whether DMARC passed: one method did, in alignment (RFC 9989 section 4.10.2)."""
        return self.dkim_aligned or self.spf_aligned

    @property
    def authenticated(self) -> tuple[str, ...]:
        """Domains that DKIM or SPF did vouch for, aligned or not."""
        return tuple(
            dict.fromkeys(one.domain for one in (*self.dkim, *self.spf) if one.result == "pass" and one.domain)
        )


@dataclass(frozen=True)
class AggregateReport:
    """One receiver's report on one domain; times are UTC. ``policy`` holds the tags as published, e.g. p, sp, adkim."""

    reporter: str
    report_id: str
    begin: datetime
    end: datetime
    domain: str
    policy: Mapping[str, str]
    rows: tuple[Row, ...]
    skipped: tuple[str, ...] = ()  # what was wrong with rows that are left out

    @property
    def key(self) -> tuple[str, str, str]:
        """The same for every copy of the report (RFC 9990: organisation and report id)."""
        return (self.reporter, self.report_id, self.domain)

    @property
    def period(self) -> tuple[datetime, datetime]:
        """Begin and end, of a longer report the last days: a wrong date must not stand for years of evidence."""
        long = self.end - self.begin > PERIOD_LIMIT
        return self.end - PERIOD_LIMIT if long else self.begin, self.end

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with it that does not keep the rest from being read."""
        begin, end = self.period
        if begin == self.begin:
            return self.skipped
        days = f"its date range has {(end - self.begin).days} days, of which the last {PERIOD_LIMIT.days} count"
        return (days, *self.skipped)


@dataclass(frozen=True)
class TlsFailure:
    """A kind of failure and how many sessions it ended (RFC 8460 section 4.3)."""

    kind: str
    count: int
    mx: str = ""
    sender: str = ""
    reason: str = ""


@dataclass(frozen=True)
class TlsResult:
    """Sessions under one policy: its ``type`` is tlsa, sts or no-policy-found."""

    type: str
    domain: str
    successes: int
    failures: int
    details: tuple[TlsFailure, ...] = ()


@dataclass(frozen=True)
class TlsReport:
    """One sender's report on the TLS sessions to a domain's MX; times are UTC."""

    reporter: str
    report_id: str
    begin: datetime
    end: datetime
    results: tuple[TlsResult, ...]

    @property
    def key(self) -> tuple[str, str, str]:
        """The same for every copy of the report."""
        return (self.reporter, self.report_id, "tls")


Report: TypeAlias = "AggregateReport | TlsReport"


# --- DMARC aggregate reports -----------------------------------------------------------------


@dataclass(slots=True)
class _Element:
    name: str
    text: str = ""
    children: list[_Element] = field(default_factory=list)

    def all(self, name: str) -> Iterator[_Element]:
        return (child for child in self.children if child.name == name)

    def one(self, name: str) -> _Element:
        return next(self.all(name), _Element(name))

    def value(self, *path: str) -> str:
        """The text at a path below, empty where there is none."""
        here = self
        for name in path:
            here = here.one(name)
        return here.text.strip()


class _Builder:
    """Builds what expat reads, within limits: rows as they end, and elements of the rest.

    Of a record nothing is kept but its row. Namespaces are dropped: reporters disagree on them.
    """

    def __init__(self, allowance: Allowance) -> None:
        self.root = _Element("")
        self.rows: list[Row] = []
        self.skipped: list[str] = []
        self._allowance = allowance
        self._open: list[_Element] = []
        self._part = 0  # elements in the root's child that is open
        self._records = 0
        self._senseless = 0

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        self._allowance.take_element()
        element = _Element(name.rpartition(":")[2].lower())
        depth = len(self._open)
        if not depth and element.name != "feedback":
            raise ReportError("is XML, but no DMARC report: its root is not feedback")
        self._part = 0 if depth == 1 else self._part + 1
        if depth >= DEPTH_LIMIT or self._part > PART_LIMIT:
            raise ReportError("has more elements, or deeper ones, than any honest report")
        if depth > 1:
            self._open[-1].children.append(element)
        elif not depth:
            self.root = element
        self._open.append(element)

    def end(self, name: str) -> None:
        element = self._open.pop()
        if len(self._open) != 1:
            return
        if element.name == "record":
            self._allowance.take_record()
            self._record(element)
        elif len(self.root.children) < PART_LIMIT:
            self.root.children.append(element)

    def _record(self, element: _Element) -> None:
        self._records += 1
        try:
            self.rows.append(_row(element))
        except ValueError as err:
            self._senseless += 1
            if self._senseless <= SKIPPED_LIMIT:
                self.skipped.append(f"record {self._records}: {err}")

    def text(self, data: str) -> None:
        if self._open and len(self._open[-1].text) < TEXT_LIMIT:
            self._open[-1].text += data[:TEXT_LIMIT]

    def doctype(self, *ignored: object) -> None:
        raise ReportError("has a document type definition, which no report needs and attacks are made of")

    def problems(self) -> tuple[str, ...]:
        """What was wrong with the records that are left out."""
        more = self._senseless - len(self.skipped)
        return (*self.skipped, *([f"{more} more records make no sense"] if more else []))


def _built(content: bytes, allowance: Allowance) -> _Builder:
    """The report in ``content``. Raises :class:`ReportError`."""
    try:
        return _parsed(content, allowance)
    except expat.ExpatError as err:
        # Some write names of theirs in Latin-1 and say that it is UTF-8.
        mended = content.decode("utf-8", "replace").encode("utf-8")
        with contextlib.suppress(expat.ExpatError):
            if mended != content:
                return _parsed(mended, allowance)
        raise ReportError(f"is no XML: {err}") from err


def _parsed(content: bytes, allowance: Allowance) -> _Builder:
    builder = _Builder(allowance)
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    parser.StartDoctypeDeclHandler = builder.doctype
    try:
        parser.Parse(content, True)
    except (ValueError, LookupError) as err:
        if isinstance(err, ReportError):
            raise
        raise ReportError("is in an encoding that cannot be read") from err
    return builder


def parse_aggregate(content: bytes, allowance: Allowance | None = None) -> AggregateReport:
    """Read the XML of an aggregate report. A row that makes no sense is left out and told in ``skipped``.

    Raises :class:`ReportError` where the whole makes no sense, :class:`TooLarge` beyond the ``allowance``.
    """
    built = _built(content, allowance or Allowance())
    meta = built.root.one("report_metadata")
    published = built.root.one("policy_published")
    domain = _domain(published.value("domain"))
    if not domain:
        raise ReportError("does not say which domain it is about")
    begin, end = (_moment(meta.value("date_range", name)) for name in ("begin", "end"))
    tags = {
        child.name: child.text.strip() for child in published.children if child.name != "domain" and not child.children
    }
    return AggregateReport(
        reporter=meta.value("org_name") or meta.value("email") or "unknown",
        report_id=meta.value("report_id"),
        begin=begin,
        end=max(begin, end),
        domain=domain,
        policy=tags,
        rows=tuple(built.rows),
        skipped=built.problems(),
    )


def _row(record: _Element) -> Row:
    row, identifiers, results = record.one("row"), record.one("identifiers"), record.one("auth_results")
    evaluated = row.one("policy_evaluated")
    return Row(
        source=_address(row.value("source_ip")),
        count=_count(row.value("count")),
        disposition=evaluated.value("disposition").lower(),
        dkim_aligned=evaluated.value("dkim").lower() == "pass",
        spf_aligned=evaluated.value("spf").lower() == "pass",
        header_from=_domain(identifiers.value("header_from")),
        envelope_from=_domain(identifiers.value("envelope_from")),
        reasons=tuple(reason.value("type").lower() for reason in evaluated.all("reason")),
        dkim=tuple(_authentication(one) for one in results.all("dkim")),
        spf=tuple(_authentication(one) for one in results.all("spf")),
    )


def _authentication(element: _Element) -> Authentication:
    return Authentication(
        domain=_domain(element.value("domain")),
        result=element.value("result").lower(),
        selector=element.value("selector"),
        scope=element.value("scope").lower(),
    )


def _domain(text: str) -> str:
    """A domain for comparison; what cannot be one is empty."""
    plain = text.strip().rstrip(".").lower()
    return plain if len(plain) <= 253 and plain.isprintable() and " " not in plain else ""


def _address(text: str) -> IPAddress:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ReportError(f"the source {text[:60]!r} is no IP address") from None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped if mapped is not None else address


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text[:14]) > COUNT_LIMIT:
        raise ReportError(f"the count {text[:60]!r} is no number of messages")
    return int(text)


def _moment(text: str) -> datetime:
    try:
        return datetime.fromtimestamp(int(text[:12]), UTC)
    except (ValueError, OverflowError, OSError):
        raise ReportError(f"its date range {text[:60]!r} is no time") from None


# --- TLS reports -----------------------------------------------------------------------------


def parse_tls(content: bytes) -> TlsReport:
    """Read the JSON of a TLS report. Raises :class:`ReportError`."""
    if len(content) > JSON_LIMIT:
        raise ReportError(f"is a TLS report of more than {JSON_LIMIT // 1024 // 1024} MiB, as no honest one is")
    try:
        given = json.loads(content)
    except (ValueError, RecursionError) as err:
        raise ReportError("is no JSON") from err
    if not isinstance(given, dict) or not isinstance(given.get("policies"), list):
        raise ReportError("is JSON, but no TLS report: it has no policies")
    span = _mapping(given.get("date-range"))
    begin, end = (_instant(span.get(f"{name}-datetime")) for name in ("start", "end"))
    return TlsReport(
        reporter=_text(given, "organization-name") or _text(given, "contact-info") or "unknown",
        report_id=_text(given, "report-id"),
        begin=begin,
        end=max(begin, end),
        results=tuple(_tls_result(_mapping(policy)) for policy in given["policies"]),
    )


def _tls_result(given: Mapping[str, Any]) -> TlsResult:
    policy, summary = _mapping(given.get("policy")), _mapping(given.get("summary"))
    details = given.get("failure-details")
    return TlsResult(
        type=_text(policy, "policy-type"),
        domain=_domain(_text(policy, "policy-domain")),
        successes=_sessions(summary, "total-successful-session-count"),
        failures=_sessions(summary, "total-failure-session-count"),
        details=tuple(_tls_failure(_mapping(one)) for one in (details if isinstance(details, list) else [])),
    )


def _tls_failure(given: Mapping[str, Any]) -> TlsFailure:
    return TlsFailure(
        kind=_text(given, "result-type"),
        count=_sessions(given, "failed-session-count"),
        mx=_domain(_text(given, "receiving-mx-hostname")),
        sender=_text(given, "sending-mta-ip"),
        reason=_text(given, "failure-reason-code"),
    )


def _mapping(given: object) -> Mapping[str, Any]:
    return given if isinstance(given, dict) else {}


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    return value[:TEXT_LIMIT] if isinstance(value, str) else ""


def _sessions(given: Mapping[str, Any], name: str) -> int:
    value = given.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= COUNT_LIMIT:
        raise ReportError(f"its {name} {str(value)[:60]!r} is no number of sessions")
    return value


def _instant(given: object) -> datetime:
    """A time of RFC 3339; without an offset it is taken as UTC."""
    try:
        moment = datetime.fromisoformat(given) if isinstance(given, str) else None
    except ValueError:
        moment = None
    if moment is None:
        raise ReportError(f"its date range {str(given)[:60]!r} is no time")
    try:
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError:
        raise ReportError(f"its date range {str(given)[:60]!r} is no time") from None
