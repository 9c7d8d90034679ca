# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the steps of a diagnosis in their order; what a failure explains is not tried. Private."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from ansible_collections.postmaster.mail.plugins.module_utils import _diagnose as dg
from ansible_collections.postmaster.mail.plugins.module_utils import _mail_log as ml
from ansible_collections.postmaster.mail.plugins.module_utils._check import visible
from ansible_collections.postmaster.mail.plugins.module_utils._probe import is_address

MATCHING_LIMIT = 50  # lines of a log that are shown of one message, or of one client


@dataclass(frozen=True)
class Ping:
    """``answer`` is the time it took; ``absent`` where ping could not even be tried, for what ``error`` says."""

    answer: str = ""
    error: str = ""
    absent: bool = False


class Host(Protocol):
    """What a diagnosis needs to learn of a host; each may raise :class:`_diagnose.Unseen`."""

    def now(self) -> datetime: ...
    def name(self) -> str: ...
    def mta(self) -> dg.Mta: ...
    def mailname(self) -> str | None: ...
    def aliases(self) -> dg.Aliases: ...
    def addresses(self, host: str) -> tuple[list[str], str]: ...
    def ping(self, address: str) -> Ping: ...
    def connect(self, address: str, port: int) -> dg.Connection: ...
    def talk(self, hop: dg.Hop, address: str, sender: str, recipient: str) -> dg.Dialogue: ...
    def queue(self) -> list[ml.Queued]: ...
    def log(self, hours: int) -> list[ml.Line]: ...
    def hidden(self, text: str) -> str: ...


LONGEST = 3600  # seconds for one answer


def validate(request: dg.Request) -> None:
    """Raises :class:`_diagnose.DiagnoseError` for the first thing in ``request`` that makes no sense."""
    if request.port and not 1 <= request.port <= 65535:
        raise dg.DiagnoseError(f"port: {request.port} is no port: give a number from 1 to 65535")
    for name in ("sender", "recipient"):
        value = getattr(request, name)
        if value and not is_address(value):
            raise dg.DiagnoseError(f"{name}: {value!r} is no address such as root@example.org")
    if request.queue_id and not ml.is_queue_id(request.queue_id):
        raise dg.DiagnoseError(
            f"queue_id: {request.queue_id!r} is no id of a queue: take it from postqueue -p or exim4 -bp"
        )
    for name, low in (("hours", 1), ("limit", 0), ("queue_age", 0)):
        if getattr(request, name) < low:
            option = {"hours": "log_hours", "limit": "log_limit"}.get(name, name)
            raise dg.DiagnoseError(f"{option}: {getattr(request, name)} is too small: give {low} or more")
    if not 0 < request.timeout <= LONGEST:
        raise dg.DiagnoseError(
            f"timeout: {request.timeout:g} seconds cannot be waited: give more than 0, up to {LONGEST}"
        )


def examine(request: dg.Request, host: Host) -> dg.Report:
    """The report on a satellite, or on the sessions of ``request.client`` with this gateway."""
    validate(request)
    return _Gateway(request, host).report() if request.client else _Satellite(request, host).report()


class _Satellite:
    """One diagnosis while it goes on."""

    def __init__(self, request: dg.Request, host: Host) -> None:
        self.request, self.host, self.now = request, host, host.now()
        self.details: dict[str, Any] = {"client": []}
        self.mta = host.mta()
        self.hop = dg.next_hop(request, self.mta)
        self.mailname: str | None = None
        self.recipient = request.recipient
        self.aliases: dg.Step | None = None

    def report(self) -> dg.Report:
        steps = [*self._here(), *self._way(), *self._past()]
        return dg.Report(self.host.name(), self.mta.name, self.hop, _clean(steps, self.host), details=self.details)

    def _here(self) -> Iterator[dg.Step]:
        yield dg.judge_mta(self.mta)
        yield dg.judge_relayhost(self.request, self.mta)
        try:
            self.mailname = self.host.mailname()
            yield dg.judge_mailname(self.request, self.mailname)
        except dg.Unseen as err:
            yield dg.unseen("mailname", err)
        try:
            aliases = self.host.aliases()
            self.aliases = dg.judge_aliases(self.request, aliases)
            addresses = [one for one in dg.root_targets(aliases) if is_address(one)]
            self.recipient = self.recipient or next(iter(addresses), "")
        except dg.Unseen as err:
            self.aliases = dg.unseen("aliases", err)
        yield self.aliases

    def _way(self) -> Iterator[dg.Step]:
        steps = ("resolve", "ping", "port", "smtp", "tls", "recipient")
        if self.hop is None:
            yield from (dg.skipped(name, "there is no gateway; name one in gateway") for name in steps)
            return
        addresses, error = self.host.addresses(self.hop.host)
        resolved = dg.judge_resolve(self.hop, addresses, error)
        yield resolved
        if not addresses:
            yield from (dg.skipped(name, resolved) for name in steps[1:])
            return
        tries = [self.host.connect(address, self.hop.port) for address in addresses]
        reached = [one for one in tries if not one.error]
        self.details["client"] = list(dict.fromkeys(one.own for one in reached))
        ping = self.host.ping(addresses[0])
        port = dg.judge_port(self.hop, tries)
        yield dg.judge_ping(addresses[0], ping.answer, ping.error, absent=ping.absent, port_open=bool(reached))
        yield port
        if reached:
            yield from self._dialogue(self.hop, reached[0])
        else:
            yield from (dg.skipped(name, port) for name in steps[3:])

    def _dialogue(self, hop: dg.Hop, connection: dg.Connection) -> Iterator[dg.Step]:
        domain = self.request.mailname or self.mailname or self.host.name()
        sender = self.request.sender or f"root@{domain}"
        talk = self.host.talk(hop, connection.address, sender if is_address(sender) else "", self.recipient)
        smtp = dg.judge_smtp(hop, talk)
        yield smtp
        if smtp.verdict == dg.FAIL:
            yield from (dg.skipped(name, smtp) for name in ("tls", "recipient"))
            return
        tls = dg.judge_tls(hop, talk, self.now)
        yield tls
        if tls.verdict == dg.FAIL:
            yield dg.skipped("recipient", tls)
        elif not self.recipient:
            bad = self.aliases is not None and self.aliases.verdict not in (dg.OK, dg.WARN)
            cause: dg.Step | str = self.aliases if bad and self.aliases else "mail to root does not leave this host"
            yield dg.skipped("recipient", cause)
        else:
            yield dg.judge_recipient(hop, self.recipient, talk, connection.own)

    def _past(self) -> Iterator[dg.Step]:
        lines, blind = _log(self.host, self.request.hours)
        events = ml.events(lines)
        queue: list[ml.Queued] | None = None
        if not self.mta.name:
            yield dg.skipped("queue", "there is no program whose queue can be read")
        else:
            try:
                queue = ml.with_reasons(self.host.queue(), events)
                yield dg.judge_queue(self.request, queue, self.mta, self.now)
            except dg.Unseen as err:
                yield dg.unseen("queue", err)
        self.details |= _told(self.request, queue, events, lines, self.now, self.host)
        yield dg.judge_log(self.request, events, queue) if blind is None or events else dg.unseen("log", blind)
        yield self._gateway()

    def _gateway(self) -> dg.Step:
        if not self.request.gateway_log:
            seen = "no log of the gateway was given: run this module there with client, or give gateway_log"
            return dg.skipped("gateway", seen)
        names = (*self.details["client"], self.host.name())
        found = ml.sessions(ml.parse_log("\n".join(self.request.gateway_log), self.now), names)
        self.details["sessions"] = _shown(found.lines, self.host)
        return dg.judge_sessions(names, found, self.request.hours)


class _Gateway:
    """The other side: what this host's log says of its client."""

    def __init__(self, request: dg.Request, host: Host) -> None:
        self.request, self.host = request, host

    def report(self) -> dg.Report:
        mta = self.host.mta()
        lines, blind = _log(self.host, self.request.hours)
        seen = ml.sessions(lines, self.request.client)
        if blind is not None and not seen.lines:
            judged = dg.unseen("gateway", blind)
        else:
            judged = dg.judge_sessions(self.request.client, seen, self.request.hours)
        steps = [dg.judge_mta(mta), judged]
        details = {
            "client": [],
            "sessions": _shown(seen.lines, self.host),
            **_outcomes(self.request, seen.events, self.host),
        }
        name = self.host.name()
        return dg.Report(name, mta.name, None, _clean(steps, self.host), self.request.client, details)


def _log(host: Host, hours: int) -> tuple[list[ml.Line], dg.Unseen | None]:
    try:
        return host.log(hours), None
    except dg.Unseen as err:
        return [], err


def _clean(steps: Sequence[dg.Step], host: Host) -> tuple[dg.Step, ...]:
    return tuple(one.shown(host.hidden) for one in steps)


def _shown(lines: Sequence[ml.Line], host: Host) -> list[str]:
    return [visible(host.hidden(str(line))) for line in lines[-MATCHING_LIMIT:]]


def _outcomes(request: dg.Request, events: Sequence[ml.Event], host: Host) -> dict[str, Any]:
    def last(found: Sequence[ml.Event]) -> list[dict[str, str]]:
        kept = found[-request.limit :] if request.limit else []
        return [{name: visible(host.hidden(text)) for name, text in one.as_dict().items()} for one in reversed(kept)]

    return {
        "failures": last([one for one in events if one.outcome != ml.DELIVERED]),
        "deliveries": last([one for one in events if one.outcome == ml.DELIVERED]),
    }


def _told(
    request: dg.Request,
    queue: Sequence[ml.Queued] | None,
    events: Sequence[ml.Event],
    lines: Sequence[ml.Line],
    now: datetime,
    host: Host,
) -> Mapping[str, Any]:
    """The queue and the log as plain values; the newest attempts first."""
    known = dg.wanted(request, events)
    told = _outcomes(request, known, host)
    if request.queue_id or request.log_recipient:
        ids = {one.id for one in known} | ({request.queue_id} if request.queue_id else set())
        told["lines"] = _shown([line for line in lines if any(number in line.text for number in ids)], host)
    if queue is not None:
        first = dg.oldest(queue)
        told["queue"] = {
            "count": len(queue),
            "waiting": len(dg.waiting(queue, now)),
            "oldest": int((now - first).total_seconds()) if first else 0,
            "reasons": [
                {"reason": visible(host.hidden(reason)), "count": count} for reason, count in ml.reasons(queue)[:10]
            ],
        }
    return told
