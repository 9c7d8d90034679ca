# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps mail from leaving a satellite: what was seen, and a judgement of each step of its way. Private, pure.

A step is judged out of plain values; :mod:`_diagnose_run` has them collected in their order.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _adopt as ad
from ansible_collections.postmaster.mail.plugins.module_utils import _mail_log as ml
from ansible_collections.postmaster.mail.plugins.module_utils._check import visible

OK, WARN, FAIL, UNKNOWN, SKIPPED = "ok", "warn", "fail", "unknown", "skipped"
STEPS = (
    "mta", "relayhost", "mailname", "aliases", "resolve", "ping", "port", "smtp", "tls", "recipient", "queue", "log",
    "gateway",
)  # fmt: skip
ON_THE_WAY = 300  # seconds that a message may take before it counts as one that waits
CERTIFICATE_DAYS = 14  # before the end of a certificate at which a person should know
ROOT = "run it as root (become: true)"


class DiagnoseError(ValueError):
    """The request makes no sense; the message names the item and the remedy."""


class Unseen(Exception):
    """Something cannot be looked at; ``remedy`` says what it would take."""

    def __init__(self, what: str, remedy: str = ROOT) -> None:
        super().__init__(what)
        self.remedy = remedy


@dataclass(frozen=True)
class Step:
    """One judgement: what was seen, and what mends it where that is not ``ok``."""

    id: str
    verdict: str
    seen: str
    remedy: str = ""

    def as_dict(self) -> dict[str, str]:
        """The shape a module returns."""
        return {"id": self.id, "verdict": self.verdict, "seen": self.seen, "remedy": self.remedy}

    def shown(self, hidden: Callable[[str], str]) -> Step:
        """The step without what ``hidden`` takes away, and fit for a terminal, for much of it comes from strangers."""
        return Step(self.id, self.verdict, visible(hidden(self.seen)), visible(hidden(self.remedy), 1000))


def step(number: str, verdict: str, seen: str, remedy: str = "") -> Step:
    """A step as it was seen; see :meth:`Step.shown`."""
    return Step(number, verdict, " ".join(seen.split()), remedy)


def skipped(number: str, cause: Step | str) -> Step:
    """A step that was not tried, as an earlier one explains it or says why not."""
    return step(number, SKIPPED, cause if isinstance(cause, str) else f"not tried after {cause.id}")


def unseen(number: str, why: Unseen) -> Step:
    """A step that cannot be judged."""
    return step(number, UNKNOWN, str(why), why.remedy)


# --- what is asked and seen ----------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    """What a person may say; empty is not said. ``hours`` of log are read, ``limit`` attempts of each kind shown."""

    gateway: str = ""
    port: int = 0
    mailname: str = ""
    root_address: str = ""
    sender: str = ""
    recipient: str = ""
    hours: int = 24
    limit: int = 5
    queue_age: int = 3600
    timeout: float = 10
    queue_id: str = ""
    log_recipient: str = ""
    gateway_log: tuple[str, ...] = ()
    client: tuple[str, ...] = ()


@dataclass(frozen=True)
class Hop:
    """The next host on the way. ``tls`` is none, may, encrypt or verify; ``login`` whether the host logs in there."""

    host: str
    port: int = 25
    tls: str = "may"
    login: bool = False

    def __str__(self) -> str:
        return f"{self.host} port {self.port}"


@dataclass(frozen=True)
class Mta:
    """The mail program: ``name`` postfix, exim or empty; ``packages`` installed that are one; whether it runs.

    ``hop`` is where it hands all mail, None where it has none; ``text`` is how that is written; ``trouble`` says why
    no mail leaves, or why the configuration cannot be read where ``readable`` is false.
    """

    name: str = ""
    version: str = ""
    packages: tuple[str, ...] = ()
    running: bool = False
    hop: Hop | None = None
    text: str = ""
    trouble: str = ""
    readable: bool = True


@dataclass(frozen=True)
class Aliases:
    """The alias file; ``stale`` says why the program reads something else than stands in it."""

    path: str
    text: str
    stale: str = ""


@dataclass(frozen=True)
class Connection:
    """A try to connect to ``address``: the ``own`` address then, or why it failed."""

    address: str
    own: str = ""
    error: str = ""


@dataclass(frozen=True)
class Reply:
    """A server's answer to a command; code 0 where it was not asked."""

    code: int = 0
    text: str = ""

    def __str__(self) -> str:
        return f"{self.code} {self.text}".strip()


@dataclass(frozen=True)
class Dialogue:
    """A session up to RCPT. ``error`` says how it broke off, ``trouble`` why the certificate does not hold.

    ``login`` is "ok", empty where none was tried, or what was said.
    """

    error: str = ""
    banner: str = ""
    extensions: tuple[str, ...] = ()
    tls: str = ""
    tls_error: str = ""
    trouble: str = ""
    expires: datetime | None = None
    login: str = ""
    mail: Reply = field(default=Reply())
    rcpt: Reply = field(default=Reply())

    @property
    def starttls(self) -> bool:
        """Whether it is offered."""
        return "STARTTLS" in self.extensions


# --- on the host ---------------------------------------------------------------------------------

UNITS = {"postfix": "postfix", "exim": "exim4"}


def judge_mta(mta: Mta) -> Step:
    """A program that sends mail is there and runs."""
    if not mta.packages:
        return step("mta", FAIL, "no mail program is installed", "run the playbook satellite.yml for this host")
    if not mta.name:
        seen = f"{', '.join(mta.packages)} is neither Postfix nor Exim"
        return step("mta", UNKNOWN, seen, "look at its configuration, queue and log by hand")
    name = f"{mta.name} {mta.version}".strip()
    if not mta.running:
        unit = UNITS[mta.name]
        return step("mta", FAIL, f"{name} does not run", f"systemctl restart {unit}; journalctl -u '{unit}*' says why")
    return step("mta", OK, f"{name} runs")


def judge_relayhost(request: Request, mta: Mta) -> Step:
    """All mail goes to the gateway that it should."""
    if not mta.name:
        return skipped("relayhost", "there is no program whose configuration can be read")
    if not mta.readable:
        return step("relayhost", UNKNOWN, mta.trouble, ROOT)
    setting = {"postfix": "relayhost in /etc/postfix/main.cf", "exim": "dc_smarthost in update-exim4.conf.conf"}[
        mta.name
    ]
    if mta.trouble:
        return step("relayhost", FAIL, mta.trouble, f"set {setting}, or run the playbook satellite.yml")
    if mta.hop is None:
        verdict = FAIL if request.gateway else WARN
        seen = "no gateway is set: mail goes straight to its receivers, who may not believe this host"
        return step("relayhost", verdict, seen, f"set {setting}, or run the playbook satellite.yml")
    wanted = (request.gateway or mta.hop.host).lower().rstrip("."), request.port or mta.hop.port
    if wanted != (mta.hop.host, mta.hop.port):
        seen = f"mail goes to {mta.hop}, not to {wanted[0]} port {wanted[1]}"
        return step("relayhost", FAIL, seen, f"correct {setting}, or run the playbook satellite.yml")
    return step("relayhost", OK, f"all mail goes to {mta.hop}")


def next_hop(request: Request, mta: Mta) -> Hop | None:
    """The gateway to try: the one that should be used, else the one that is."""
    if not request.gateway:
        return Hop(mta.hop.host, request.port or mta.hop.port, mta.hop.tls, mta.hop.login) if mta.hop else None
    host = request.gateway.lower().rstrip(".")
    if mta.hop and mta.hop.host == host:
        return Hop(host, request.port or mta.hop.port, mta.hop.tls, mta.hop.login)
    return Hop(host, request.port or 25)


def judge_mailname(request: Request, name: str | None) -> Step:
    """/etc/mailname, which completes addresses without a domain."""
    remedy = f"echo {request.mailname or 'example.org'} > /etc/mailname, or set satellite_domain and run satellite.yml"
    if not name:
        seen = "/etc/mailname is not there" if name is None else "/etc/mailname is empty"
        return step("mailname", FAIL, seen, remedy)
    if request.mailname and name.lower() != request.mailname.lower():
        return step("mailname", FAIL, f"/etc/mailname says {name}, not {request.mailname}", remedy)
    if "." not in name:
        return step("mailname", WARN, f"/etc/mailname says {name}, which is no full name", remedy)
    return step("mailname", OK, f"/etc/mailname says {name}")


def root_targets(aliases: Aliases) -> tuple[str, ...]:
    """Where mail to root ends; nothing where the file cannot be read or does not say."""
    try:
        return ad.follow_root(ad.parse_aliases(aliases.text))
    except ValueError:
        return ()


def judge_aliases(request: Request, aliases: Aliases) -> Step:
    """Mail to root goes where people read it."""
    remedy = f"root: {request.root_address or 'sysadmin@example.org'} in {aliases.path}, then newaliases"
    remedy += ", or set satellite_root_address and run satellite.yml"
    targets = root_targets(aliases)
    shown = ", ".join(map(ad.show_target, targets))
    if not targets:
        return step("aliases", FAIL, f"{aliases.path} does not say where mail to root goes", remedy)
    if aliases.stale:
        return step("aliases", FAIL, f"{aliases.stale}, so its line for root does not count", "newaliases")
    if request.root_address and request.root_address.lower() not in (one.lower() for one in targets):
        return step("aliases", FAIL, f"mail to root goes to {shown}, not to {request.root_address}", remedy)
    if not any("@" in one for one in targets):
        return step("aliases", WARN, f"mail to root goes to {shown}, which is no address", remedy)
    return step("aliases", OK, f"mail to root goes to {shown}")


# --- the way to the gateway ----------------------------------------------------------------------


def judge_resolve(hop: Hop, addresses: Sequence[str], error: str) -> Step:
    """The gateway's name leads to addresses."""
    if addresses:
        return step("resolve", OK, f"{hop.host} is {', '.join(addresses)}")
    remedy = f"correct the name, its A record, /etc/resolv.conf or a line in /etc/hosts: getent ahosts {hop.host}"
    return step("resolve", FAIL, f"{hop.host} has no address: {error}", remedy)


def judge_ping(address: str, answer: str, error: str, *, absent: bool, port_open: bool) -> Step:
    """An echo; no more than a note, as many hosts and firewalls do not answer and no mail needs it."""
    if absent:
        return step("ping", SKIPPED, error)
    if not error:
        return step("ping", OK, f"{address} answers in {answer}" if answer else f"{address} answers")
    if port_open:
        return step("ping", OK, f"{address} does not answer to ping, which mail does not need")
    return step("ping", WARN, f"{address}: {error}", f"traceroute {address}: is the host up, is there a route?")


def judge_port(hop: Hop, tries: Sequence[Connection]) -> Step:
    """A TCP connection can be opened."""
    bad = [f"{one.address}: {one.error}" for one in tries if one.error]
    good = [one.address for one in tries if not one.error]
    remedy = (
        f"let the gateway listen on port {hop.port}, and open it for this host on the gateway, the edge and in between"
    )
    if not good:
        return step("port", FAIL, f"no connection to {hop} ({'; '.join(bad)})", remedy)
    if bad:
        return step("port", WARN, f"{', '.join(good)} can be reached, but {'; '.join(bad)}", remedy)
    return step("port", OK, f"port {hop.port} is open at {', '.join(good)}")


def judge_smtp(hop: Hop, talk: Dialogue) -> Step:
    """A mail server greets, and knows EHLO."""
    if talk.error and not talk.extensions:
        remedy = "see in the gateway's log why (its greylisting, limits or list of clients), or what listens there"
        return step("smtp", FAIL, f"{hop} {talk.error}", remedy)
    return step("smtp", OK, f"it greets with {talk.banner or 'nothing'} and knows EHLO")


def judge_tls(hop: Hop, talk: Dialogue, now: datetime) -> Step:
    """The session is encrypted as the program wants it, with a certificate that holds."""
    insists, verifies = hop.tls in ("encrypt", "verify"), hop.tls == "verify"
    if hop.tls == "none":
        return step("tls", WARN, "the program is told to do without TLS", "satellite_tls: encrypt, or better verify")
    if not talk.tls and not talk.starttls and hop.port != 465:
        seen = "it does not offer STARTTLS" + (", on which this host insists" if insists else "")
        return step("tls", FAIL if insists else WARN, seen, "give the gateway a certificate (relay_tls_certificate)")
    if talk.tls_error:
        seen = f"STARTTLS fails: {talk.tls_error}"
        remedy = "see that both speak TLS 1.2 or later, and the gateway's log: "
        return step("tls", FAIL if insists else WARN, seen, remedy + "openssl s_client -starttls smtp")
    if talk.trouble:
        if not verifies:
            return step(
                "tls", OK, f"{talk.tls}; the certificate does not hold ({talk.trouble}), as this host asks for none"
            )
        seen = f"{talk.tls}, but the certificate does not hold for {hop.host}: {talk.trouble}; nothing is sent without"
        remedy = f"give the gateway a certificate for {hop.host}, or name its authority in satellite_tls_ca_file"
        return step("tls", FAIL, seen, remedy)
    if talk.expires and talk.expires < now + timedelta(days=CERTIFICATE_DAYS):
        seen = f"{talk.tls}, but the certificate ends on {talk.expires:%Y-%m-%d}"
        return step("tls", WARN, seen, "renew it on the gateway (certbot renew)")
    until = f" until {talk.expires:%Y-%m-%d}" if talk.expires else ""
    return step("tls", OK, f"{talk.tls} with a certificate for {hop.host}{until}")


# What a refusal says, and what mends it.
HINTS = (
    (("relay access denied", "relaying denied", "relay not permitted", "not permitted to relay",
      "client host rejected"),
     "let the gateway take mail from {client} (relay_networks, pmg_network), or log in there"),
    (("authentication required", "must issue a starttls", "authenticate"),
     "set satellite_username, satellite_password and satellite_tls: encrypt, or let the gateway trust {client}"),
    (("cannot find your", "reverse", "helo"),
     "give {client} a reverse name that leads back, and set satellite_hostname to it"),
    (("sender address rejected", "sender verify", "sender domain"),
     "see that the sender's domain exists: /etc/mailname and satellite_domain"),
    (("user unknown", "no such user", "recipient address rejected", "5.1.1", "unrouteable", "unknown user"),
     "correct where mail to root goes (satellite_root_address), or make that mailbox"),
    (("connection refused", "timed out", "no route", "unreachable", "host not found", "name service error",
      "host lookup", "could not connect"), "see the steps resolve and port"),
    (("certificate", "tls", "ssl"), "see the step tls"),
    (("blocked", "listed", "blacklist", "denylist"),
     "find out who lists {client}, and ask for removal after mending why"),
)  # fmt: skip


def hint(text: str, client: str) -> str:
    """What mends a refusal."""
    found = next((remedy for words, remedy in HINTS if any(word in text.lower() for word in words)), "")
    return (found or "ask who runs the gateway, and show this reply").format(client=client or "this host's address")


def judge_recipient(hop: Hop, recipient: str, talk: Dialogue, client: str) -> Step:
    """The gateway takes mail for where root's mail goes; a message is not sent."""
    if talk.login not in ("", "ok"):
        if talk.login.startswith("unseen: "):
            return step("recipient", UNKNOWN, talk.login.removeprefix("unseen: "), ROOT)
        remedy = "correct satellite_username and satellite_password, or the account at the gateway"
        return step("recipient", FAIL, f"{hop} does not take the login: {talk.login}", remedy)
    for command, reply in (("MAIL", talk.mail), ("RCPT", talk.rcpt)):
        if 200 <= reply.code < 300:
            continue
        if not reply.code:
            return step("recipient", FAIL, f"{hop} {talk.error or 'ends the session'}", "see the gateway's log")
        seen = f"it answers {command} with {reply}"
        if 400 <= reply.code < 500:
            return step(
                "recipient", WARN, f"{seen}: not now", f"mail waits and is tried again; {hint(reply.text, client)}"
            )
        return step("recipient", FAIL, seen, hint(reply.text, client))
    login = "after a login " if talk.login else ""
    return step("recipient", OK, f"{login}it takes mail for {recipient} ({talk.rcpt})")


# --- what waits, and what became of the rest -----------------------------------------------------


def duration(seconds: float) -> str:
    """An age for people."""
    minutes = max(0, int(seconds)) // 60
    for unit, size in (("d", 1440), ("h", 60)):
        if minutes >= 2 * size:
            return f"{minutes // size} {unit}"
    return f"{minutes} min"


def waiting(queue: Sequence[ml.Queued], now: datetime) -> list[ml.Queued]:
    """The messages that are not just on their way."""
    young = now - timedelta(seconds=ON_THE_WAY)
    return [one for one in queue if one.held or one.reasons or (one.arrival is None or one.arrival < young)]


def oldest(queue: Sequence[ml.Queued]) -> datetime | None:
    """When the message came that waits longest."""
    return min((one.arrival for one in queue if one.arrival), default=None)


def judge_queue(request: Request, queue: Sequence[ml.Queued], mta: Mta, now: datetime) -> Step:
    """Nothing waits for long."""
    late = waiting(queue, now)
    if not late:
        return step("queue", OK, f"{len(queue)} on their way, none waits" if queue else "it is empty")
    first = oldest(late)
    age = max(0.0, (now - first).total_seconds()) if first else 0.0
    held = sum(one.held for one in late)
    counted = f"{len(late)} message{'s' * (len(late) > 1)} wait{'s' * (len(late) == 1)}, the oldest for {duration(age)}"
    why = "; ".join(f"{count} x {reason}" for reason, count in ml.reasons(late)[:3])
    seen = counted + (f", {held} held" if held else "") + (f": {why}" if why else "")
    release = {"postfix": "postsuper -r ALL", "exim": "exim4 -Mt ID"}.get(mta.name, "")
    again = {"postfix": "postqueue -f", "exim": "exim4 -qff"}.get(mta.name, "")
    remedy = f"{hint(why, '')}; then {again}" if why else f"{release if held else again}, and look at the log"
    return step("queue", FAIL if age >= request.queue_age else WARN, seen, remedy)


def judge_log(request: Request, events: Sequence[ml.Event], queue: Sequence[ml.Queued] | None) -> Step:
    """The last that left did arrive at the gateway. What waits is the queue's affair, where that is known."""
    known = wanted(request, events)
    if request.queue_id or request.log_recipient:
        return _judge_asked(request, known)
    delivered = [one for one in known if one.outcome == ml.DELIVERED]
    last = delivered[-1] if delivered else None
    waits = {one.id for one in queue} if queue is not None else set()
    later = known[known.index(last) + 1 :] if last else known
    bad = [one for one in later if one.outcome == ml.BOUNCED or (queue is None and one.outcome == ml.DEFERRED)]
    bad = [one for one in bad if one.id not in waits]
    if bad:
        seen = f"{len(bad)} failed since the last delivery; the last {_told(bad[-1])}"
        return step("log", WARN, seen, hint(bad[-1].reply, ""))
    if last is None:
        return step("log", OK, f"nothing was delivered and nothing failed in {request.hours} hours")
    return step("log", OK, f"{len(delivered)} delivered in {request.hours} hours; the last {_told(last)}")


def wanted(request: Request, events: Sequence[ml.Event]) -> list[ml.Event]:
    """The attempts that were asked for, or all."""
    recipient = request.log_recipient.lower()
    return [
        one
        for one in events
        if (not request.queue_id or one.id == request.queue_id)
        and (not recipient or one.recipient.lower() == recipient)
    ]


def _told(one: ml.Event) -> str:
    moment = f" at {one.time:%Y-%m-%d %H:%M:%S} UTC" if one.time else ""
    place = f" by {one.relay}" if one.relay else ""
    return f"{one.outcome} for {one.recipient}{place}{moment} ({one.reply})"


def _judge_asked(request: Request, known: Sequence[ml.Event]) -> Step:
    what = " for ".join(filter(None, (request.queue_id, request.log_recipient)))
    if not known:
        seen = f"the log of {request.hours} hours says nothing of {what}"
        return step("log", UNKNOWN, seen, "raise log_hours, or look on the gateway")
    verdict = {ml.DELIVERED: OK, ml.DEFERRED: WARN, ml.BOUNCED: FAIL}[known[-1].outcome]
    return step("log", verdict, f"{what}: {_told(known[-1])}", "" if verdict == OK else hint(known[-1].reply, ""))


def judge_sessions(clients: Sequence[str], seen: ml.Sessions, hours: int) -> Step:
    """The gateway's side: whether it saw the client, and took what it brought."""
    names = ", ".join(clients)
    if not seen.lines:
        remedy = (
            "it talks to another host, or what lies between changes its address (masquerading): compare with the log"
        )
        return step("gateway", WARN, f"no session of {names} in the log of {hours} hours", remedy)
    if seen.refused_last:
        return step("gateway", FAIL, f"refused {seen.refusals[-1]}", hint(seen.refusals[-1].text, names))
    if seen.events:
        last = seen.events[-1]
        verdict = OK if last.outcome == ml.DELIVERED else WARN
        where = {ml.DEFERRED: "waits here", ml.BOUNCED: "went back to its sender"}.get(last.outcome)
        remedy = f"it {where}: the reply says why" if where else ""
        return step("gateway", verdict, f"{seen.messages} messages of {names}; the last {_told(last)}", remedy)
    return step("gateway", OK, f"{seen.messages} messages of {names}, none refused; last seen {seen.lines[-1]}")


# --- the whole -----------------------------------------------------------------------------------

LEADS = {
    "relayhost": "Mail does not take its way from {host}",
    "mailname": "Mail from {host} carries a wrong name",
    "aliases": "Mail to root on {host} does not arrive",
    "queue": "Mail waits on {host}",
    "log": "Mail from {host} was refused",
    "gateway": "The gateway refused mail of {host}",
}


@dataclass(frozen=True)
class Report:
    """All steps of one host, in their order, and ``details`` as plain values."""

    host: str
    mta: str
    hop: Hop | None
    steps: tuple[Step, ...]
    client: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    def of(self, verdict: str) -> list[Step]:
        """The steps with a verdict."""
        return [one for one in self.steps if one.verdict == verdict]

    @property
    def conclusion(self) -> str:
        """One sentence: the first step that explains what is wrong, and what mends it."""
        worst = self.of(FAIL) or self.of(WARN)
        blind = ", ".join(one.id for one in self.of(UNKNOWN))
        unsaid = f"; not seen: {blind}" if blind else ""
        if not worst:
            return f"Nothing wrong was found on {self.host}{self._way}{unsaid}."
        first = worst[0]
        lead = self._refusal(first) if first.verdict == FAIL else self._warning(first)
        others = [one.id for one in (*self.of(FAIL), *self.of(WARN)) if one is not first]
        also = f"; see also {', '.join(others)}" if others else ""
        return f"{lead}: {first.seen}; remedy: {first.remedy}{also}{unsaid}."

    def _refusal(self, first: Step) -> str:
        if self.client and first.id == "gateway":
            return f"{self.host} refused mail of {self.client[-1]}"
        return LEADS.get(first.id, "Mail does not leave {host}").format(host=self.host)

    def _warning(self, first: Step) -> str:
        who = f"{self.client[-1]} through {self.host}" if self.client else self.host
        return f"Mail of {who} passes, with a warning of {first.id}"

    @property
    def _way(self) -> str:
        if self.client:
            return f" with mail of {self.client[-1]}"
        return f", whose mail leaves through {self.hop}" if self.hop else ""

    def as_dict(self) -> dict[str, Any]:
        """All of it as data."""
        return {
            "host": self.host,
            "mta": self.mta,
            "gateway": str(self.hop) if self.hop else "",
            "steps": [one.as_dict() for one in self.steps],
            "verdicts": {one.id: one.verdict for one in self.steps},
            "conclusion": self.conclusion,
            **self.details,
        }

    def table(self, width: int = 100) -> list[str]:
        """All of it as lines for people."""
        lines = [self.host + (f", on the sessions of {', '.join(self.client)}" if self.client else "")]
        for one in self.steps:
            head = f"  {one.verdict:<7}  {one.id:<9}  "
            indent = " " * len(head)
            wrapped = textwrap.wrap(
                one.seen, width, initial_indent=head, subsequent_indent=indent, break_on_hyphens=False
            )
            lines += wrapped or [head.rstrip()]
            # A command to paste must stay on its line.
            lines += [f"{indent}-> {one.remedy}"] if one.remedy else []
        return [*lines, *textwrap.wrap(self.conclusion, width, initial_indent="  ", subsequent_indent="  ")]
