# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: queues and logs of Postfix, Exim and OpenSMTPD, read line by line. Private, pure.

Whatever is not understood is passed over: a log holds what strangers made servers write.
Sources: postqueue(1), bounce(5) and Postfix's own records; the Exim specification, chapters "Log files" and 54.1;
OpenSMTPD's smtpd(8); systemd.journal-fields(7) and journalctl(1) for the journal's JSON; RFC 5424 and syslog's older
form for time stamps.
"""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

LINE_LIMIT = 4096  # characters of a line that are looked at
QUEUE_LIMIT = 100_000  # messages of a queue that are counted

DELIVERED, DEFERRED, BOUNCED = "delivered", "deferred", "bounced"
_POSTFIX_OUTCOMES = {
    "sent": DELIVERED,
    "deferred": DEFERRED,
    "bounced": BOUNCED,
    "expired": BOUNCED,
    "undeliverable": BOUNCED,
}
_EXIM_OUTCOMES = {"=>": DELIVERED, "->": DELIVERED, ">>": DELIVERED, "==": DEFERRED, "**": BOUNCED}

NOT_TRIED = "retry time not reached"  # Exim's, for what has failed a while ago

POSTFIX_ID = r"(?:[0-9A-F]{5,15}|[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{10,15}z[0-9A-Za-z]{1,12})"
EXIM_ID = r"[0-9A-Za-z]{6}-[0-9A-Za-z]{6,11}-[0-9A-Za-z]{2,4}"
_QUEUE_ID = re.compile(f"(?:{POSTFIX_ID}|{EXIM_ID})")
_POSTFIX_EVENT = re.compile(rf"({POSTFIX_ID}): to=<([^<>]*)>")
_STATUS = re.compile(r", status=([a-z]+) \((.*)\)\s*$")
_RELAY = re.compile(r", relay=([^\s,]+),")
_EXIM_EVENT = re.compile(rf"({EXIM_ID}) (=>|->|>>|==|\*\*) (\S+)(.*)$")
_EXIM_HOST = re.compile(r" H=(\S+)(?: (\[[0-9A-Fa-f.:]+\]))?")
_SMTPD_OUTCOMES = {"Ok": DELIVERED, "TempFail": DEFERRED, "PermFail": BOUNCED}
_SMTPD_EVENT = re.compile(
    r"[0-9a-f]{16} (?:mta|mda) delivery evpid=([0-9a-f]{16}) from=<[^<>]*> to=<([^<>]*)> (.*?)"
    r"result=\"?(Ok|TempFail|PermFail)\"? stat=\"?(.*?)\"?$"
)
_SMTPD_RELAY = re.compile(r' relay="([^"]*)"')
_EXIM_CONFIRMATION = re.compile(r' C="((?:[^"\\]|\\.)*)"')

_SYSLOG = re.compile(r"([A-Z][a-z]{2}) +(\d{1,2}) (\d\d):(\d\d):(\d\d) \S+ ([\w./-]+)(?:\[\d+\])?: (.*)$")
_RFC5424 = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)) \S+ ([\w./-]+)(?:\[\d+\])?: (.*)$"
)
_EXIM_LINE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?:\.\d+)?(?: ([+-]\d{4}))?(?: \[\d+\])? (.*)$")
_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()

_EXIM_QUEUED = re.compile(
    rf" *(?:(\d{{1,6}})([mhdw])|\?\?) +[0-9.]+[KM]? +({EXIM_ID}) <([^<>]*)>(?: \([^()]*\))?( \*\*\* frozen \*\*\*)?"
)
_MINUTES = {"m": 1, "h": 60, "d": 1440, "w": 10080}
_DELIVERED_MARK = re.compile(r" {4,}D ")

# What must not leave a host, wherever it was written; what is named stays, what follows goes.
_SECRETS = (
    re.compile(r"(?i)(\bAUTH\s+(?:PLAIN|LOGIN|XOAUTH2|CRAM-MD5|OAUTHBEARER)\s+)[^\s,;)\"']+"),
    re.compile(
        r"(?i)(\b[a-z0-9_-]{0,30}(?:pass(?:word|wd|phrase)?|pwd|secret|token|api_?key)\s{0,3}[=:]\s{0,3})[^\s,;]+"
    ),
    re.compile(r"(://[^/\s:@]{0,200}:)[^/\s@]+(?=@)"),
)
HIDDEN = "***"


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """``text`` with passwords that it names, and those among ``secrets`` in plain or in base64, replaced."""
    for secret in secrets:
        if secret:
            encoded = base64.b64encode(secret.encode("utf-8", "surrogateescape")).decode("ascii")
            text = text.replace(secret, HIDDEN).replace(encoded, HIDDEN)
    for pattern in _SECRETS:
        text = pattern.sub(rf"\g<1>{HIDDEN}", text)
    return text


# --- lines ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """A record of a log: when it was written, None where it does not say; by which program; what it says."""

    time: datetime | None
    program: str
    text: str

    def __str__(self) -> str:
        moment = f"{self.time:%Y-%m-%d %H:%M:%S} " if self.time else ""
        return f"{moment}{self.program + ': ' if self.program else ''}{self.text}"


def parse_log(text: str, now: datetime) -> list[Line]:
    """The records of a log file, of syslog's in both forms or of Exim's own. ``now`` tells the year and the zone."""
    return [line for one in text.splitlines() if (line := parse_line(one, now))]


def parse_line(text: str, now: datetime) -> Line | None:
    """The record of one line, None where it is of no form that :func:`parse_log` knows."""
    text = text[:LINE_LIMIT]
    try:
        if match := _SYSLOG.match(text):
            return Line(_old_time(match, now), match[6], match[7])
        if match := _RFC5424.match(text):
            return Line(datetime.fromisoformat(match[1]).astimezone(UTC), match[2], match[3])
        if match := _EXIM_LINE.match(text):
            zone = match[2] or now.strftime("%z")
            return Line(datetime.strptime(f"{match[1]} {zone}", "%Y-%m-%d %H:%M:%S %z").astimezone(UTC), "", match[3])
    except (ValueError, OverflowError):
        return None
    return None


def _old_time(match: re.Match[str], now: datetime) -> datetime:
    """A time without year: the last one that is not in the future."""
    month = _MONTHS.index(match[1]) + 1
    day, hour, minute, second = (int(match[number]) for number in range(2, 6))
    for year in range(now.year, now.year - 5, -1):  # the 29th of February is not in every year
        try:
            moment = datetime(year, month, day, hour, minute, second, tzinfo=now.tzinfo)
        except ValueError:
            continue
        if moment <= now + timedelta(days=1):
            return moment.astimezone(UTC)
    raise ValueError("no such day")


def parse_journal(text: str) -> list[Line]:
    """The records of ``journalctl -o json``, one object a line."""
    return [line for one in text.split("\n") if (line := parse_journal_line(one))]


def parse_journal_line(text: str) -> Line | None:
    """The record of one object, None where it is none."""
    record = _object(text)
    if record is None:
        return None
    message = record.get("MESSAGE")
    if isinstance(message, list):  # octets, where the text is not UTF-8 or not printable
        octets = [item for item in message[:LINE_LIMIT] if isinstance(item, int) and 0 <= item < 256]
        message = bytes(octets).decode("utf-8", "replace")
    if not isinstance(message, str):
        return None
    program = record.get("SYSLOG_IDENTIFIER")
    return Line(
        _moment(record.get("__REALTIME_TIMESTAMP"), 1_000_000),
        program if isinstance(program, str) else "",
        message[:LINE_LIMIT],
    )


def _object(text: str) -> dict[str, object] | None:
    try:
        found = json.loads(text) if text.strip() else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _moment(value: object, unit: int) -> datetime | None:
    """A count of seconds, or of parts of one, since the epoch."""
    try:
        return datetime.fromtimestamp(int(str(value)[:24]) / unit, UTC)
    except (ValueError, OverflowError, OSError):
        return None


# --- deliveries ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Event:
    """What became of one recipient in one attempt; ``outcome`` is delivered, deferred or bounced."""

    time: datetime | None
    id: str
    outcome: str
    recipient: str
    relay: str
    reply: str

    def as_dict(self) -> dict[str, str]:
        """The shape a module returns."""
        moment = self.time.isoformat(timespec="seconds") if self.time else ""
        return {**self.__dict__, "time": moment}


def event(line: Line) -> Event | None:
    """The attempt that a line of one of the three programs tells of, if it does."""
    match = _POSTFIX_EVENT.match(line.text)
    if match:
        return _postfix_event(line, match)
    match = _EXIM_EVENT.match(line.text)
    if match:
        return _exim_event(line, match)
    match = _SMTPD_EVENT.match(line.text)
    return _smtpd_event(line, match) if match else None


def _postfix_event(line: Line, match: re.Match[str]) -> Event | None:
    status = _STATUS.search(line.text)
    if not status or status[1] not in _POSTFIX_OUTCOMES or status[2].startswith("forwarded as "):
        return None  # what an alias makes of a message is another message
    relay = _RELAY.search(line.text)
    name = relay[1] if relay and relay[1] != "none" else ""
    return Event(line.time, match[1], _POSTFIX_OUTCOMES[status[1]], match[2], name, status[2])


def _exim_event(line: Line, match: re.Match[str]) -> Event:
    number, mark, recipient, rest = match.groups()
    host = _EXIM_HOST.search(rest)
    relay = f"{host[1]}{host[2] or ''}" if host else ""
    if recipient.endswith(":"):  # no router had taken it
        reply = rest.strip()
    elif mark in ("==", "**"):
        reply = rest.partition(": ")[2]
    else:
        confirmation = _EXIM_CONFIRMATION.search(rest)
        reply = confirmation[1] if confirmation else ""
    return Event(line.time, number, _EXIM_OUTCOMES[mark], recipient.rstrip(":"), relay, reply)


def _smtpd_event(line: Line, match: re.Match[str]) -> Event:
    number, recipient, rest, result, reply = match.groups()
    relay = _SMTPD_RELAY.search(f" {rest}")
    return Event(line.time, number, _SMTPD_OUTCOMES[result], recipient, relay[1] if relay else "", reply)


def events(lines: Iterable[Line]) -> list[Event]:
    """The attempts among ``lines``, the oldest first. One that both the journal and a file tell of counts once."""
    found: dict[tuple[object, ...], Event] = {}
    for line in lines:
        one = event(line)
        if one:
            moment = one.time.replace(microsecond=0) if one.time else None
            found.setdefault((moment, one.id, one.outcome, one.recipient), one)
    return sorted(found.values(), key=_order)


def _order(one: Event | Line) -> datetime:
    return one.time or datetime.min.replace(tzinfo=UTC)


# --- the queue -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Queued:
    """A message that waits: since when; ``reasons`` of its delay; ``held`` where nobody tries to deliver it."""

    id: str
    sender: str
    arrival: datetime | None
    reasons: tuple[str, ...] = ()
    held: bool = False


def parse_postqueue(text: str) -> list[Queued]:
    """What ``postqueue -j`` prints, one object a line."""
    return [found for line in text.split("\n")[:QUEUE_LIMIT] if (found := _postqueue_line(line))]


def _postqueue_line(text: str) -> Queued | None:
    record = _object(text)
    if record is None or not isinstance(record.get("queue_id"), str):
        return None
    recipients = record.get("recipients")
    reasons = [
        reason
        for one in (recipients if isinstance(recipients, list) else ())
        if isinstance(one, dict) and isinstance(reason := one.get("delay_reason"), str) and reason
    ]
    return Queued(
        str(record["queue_id"]),
        str(record.get("sender") or ""),
        _moment(record.get("arrival_time"), 1),
        tuple(dict.fromkeys(reasons)),
        record.get("queue_name") == "hold",
    )


def parse_exim_queue(text: str, now: datetime) -> list[Queued]:
    """What ``exim4 -bp`` prints, whose ages are whole minutes, hours or days."""
    found: list[Queued] = []
    for line in text.split("\n"):
        match = _EXIM_QUEUED.match(line[:LINE_LIMIT])
        if match and len(found) < QUEUE_LIMIT:
            try:
                arrival = now - timedelta(minutes=int(match[1]) * _MINUTES[match[2]]) if match[1] else None
            except OverflowError:
                arrival = None
            found.append(Queued(match[3], match[4], arrival, held=bool(match[5])))
    return found


_SMTPCTL = re.compile(
    r"([0-9a-f]{16})\|\w+\|\w+\|([a-z,]*)\|([^|]*)\|.*?\|(\d{1,15})\|\d+\|\d+\|\d+\|(?:pending|inflight|invalid|offline)\|-?\d*\|(.*)"
)


def parse_smtpctl_queue(text: str) -> list[Queued]:
    """What ``smtpctl show queue`` prints: envelopes, one for each recipient."""
    found: list[Queued] = []
    for line in text.split("\n"):
        match = _SMTPCTL.match(line[:LINE_LIMIT])
        if match and len(found) < QUEUE_LIMIT:
            reasons = (match[5].strip(),) if match[5].strip() else ()
            held = bool({"hold", "suspend"} & set(match[2].split(",")))
            found.append(Queued(match[1], match[3], _moment(match[4], 1), reasons, held))
    return found


def with_reasons(queue: Sequence[Queued], known: Iterable[Event]) -> list[Queued]:
    """``queue`` with the last reason that the log names for each message whose queue names none."""
    last: dict[str, str] = {}
    for one in known:
        if one.outcome != DELIVERED and one.reply and (one.id not in last or NOT_TRIED not in one.reply):
            last[one.id] = one.reply
    return [one if one.reasons or one.id not in last else replace(one, reasons=(last[one.id],)) for one in queue]


_VARYING = re.compile(rf"\[[0-9A-Fa-f.:]+\](?::\d+)?|<[^<>]*>|\b{EXIM_ID}\b|\b[0-9A-F]{{8,15}}\b")


def reasons(queue: Iterable[Queued]) -> list[tuple[str, int]]:
    """Why messages wait and how many for each reason, the most frequent first; an example stands for its like."""
    counts: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for one in queue:
        for reason in one.reasons:
            like = _VARYING.sub("", reason)
            counts[like] += 1
            examples.setdefault(like, reason)
    return [(examples[like], count) for like, count in counts.most_common()]


# --- another host's sessions -----------------------------------------------------------------------


@dataclass(frozen=True)
class Sessions:
    """What a server's log says of one client: its lines, which of them are refusals, and what became of its mail."""

    lines: tuple[Line, ...]
    refusals: tuple[Line, ...]
    taken: tuple[Line, ...]  # envelopes that it would have, of which a diagnosis sends no message
    messages: int
    events: tuple[Event, ...]

    @property
    def refused_last(self) -> bool:
        """Whether the last that it wanted to hand over was refused."""
        return bool(self.refusals) and (not self.taken or _order(self.refusals[-1]) > _order(self.taken[-1]))


_REFUSED = re.compile(
    r"\b(?:reject|milter-reject|discard): | rejected (?:RCPT|MAIL|after DATA|connection|EHLO or HELO|DATA)\b|"
    r"authentication failed|authenticator failed",
    re.IGNORECASE,
)
_TAKEN = re.compile(rf"({POSTFIX_ID}): client=|({EXIM_ID}) <= ")
_MESSAGE = re.compile(rf"(?:({POSTFIX_ID}): message-id=|({EXIM_ID}) <= )")
_PASSED_ON = re.compile(rf"queued as ({POSTFIX_ID})\b")


def sessions(lines: Iterable[Line], clients: Sequence[str]) -> Sessions:
    """The sessions of ``clients``, addresses or names, in a server's log, and the way of the mail they brought."""
    listed = sorted(lines, key=_order)
    # A name in brackets or parentheses is one that the client gave itself; addresses stand in brackets.
    wanted = re.compile(
        "|".join(rf"(?<![\w.:-]){re.escape(name)}(?![\w.:-])" for name in clients if name) or r"(?!)", re.I
    )
    mine = [line for line in listed if wanted.search(line.text)]
    taken = [line for line in mine if _TAKEN.match(line.text)]
    ids = _ids(_TAKEN, taken)
    messages = len(ids & _ids(_MESSAGE, listed))
    found: list[Event] = []
    for one in events(listed):
        if one.id in ids:
            found.append(one)
            ids |= set(_PASSED_ON.findall(one.reply))  # by a filter, to the same server again
    refusals = [line for line in mine if _REFUSED.search(line.text)]
    return Sessions(tuple(mine), tuple(refusals), tuple(taken), messages, tuple(found))


def _ids(pattern: re.Pattern[str], lines: Iterable[Line]) -> set[str]:
    matches = filter(None, (pattern.match(line.text) for line in lines))
    return {number for match in matches for number in match.groups() if number}


def is_queue_id(text: str) -> bool:
    """Whether a text may be a message's number in the queue of Postfix, in short or long form, or of Exim."""
    return _QUEUE_ID.fullmatch(text) is not None
