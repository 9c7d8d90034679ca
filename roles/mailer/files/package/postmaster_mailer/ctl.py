# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``mailerctl``: see what the mailer does, and tell it what to do.

It ends with 0, with 1 where the answer is no (a check failed, nothing was found, time is over), with 2 where it could
not be asked.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import os
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from redis.exceptions import RedisError

from . import check, connect, events, inspection, preflight, sink
from .backdata import Names, dead_letters, replay
from .config import Config, ConfigError, default_files, load
from .delivery import waiting_of
from .envelope import Envelope
from .message import Message
from .pools import Counts, today
from .queue import Queue
from .records import UNDER_WAY, Record, Records, Wanted, state_of
from .returnpath import UUID
from .spool import Spool, SpoolError, push_back
from .suppression import MANUAL, Entry, Suppression, SuppressionError, as_dict
from .transform import Domain, RefusedError, Style, transform
from .transformer import dead_of, retry

SINKS = ("post", "manager")
STEP = 1.0  # seconds between two looks of drain
_DAY = 86_400
_pause = asyncio.sleep
Given: TypeAlias = argparse.Namespace


class CtlError(Exception):
    """It cannot be done; the text says why in one sentence."""

    code = 2


class UnknownError(CtlError):
    """There is nothing of that name."""

    code = 1


class Mailer:
    """What commands work on."""

    def __init__(self, settings: Config, queue: Queue) -> None:
        self.settings, self.queue = settings, queue
        names = settings.reliable_queue.queue_names
        self.told = Names(settings.backdata.queue_name)
        self.incoming = (names.primary_queue, names.default_queue)
        self.before_postfix = (*self.incoming, settings.postfix.incoming_queue_name)
        self.waiting = waiting_of(settings.postfix.incoming_queue_name)
        self.dead = dead_of(settings.postfix.incoming_queue_name)
        after = [stream for sink in SINKS for stream in (self.told.of(sink), self.told.dead(sink))]
        self.streams = (*self.before_postfix, self.waiting, self.dead, self.told.told, *after)


# -- what is there ---------------------------------------------------------------------------------------


async def status(given: Given, mailer: Mailer) -> int:
    """All streams and who reads them."""
    found = [await inspection.look(mailer.queue, stream) for stream in mailer.streams]
    if given.json:
        return _json([{**vars(one), "consumers": [vars(reader) for reader in one.consumers]} for one in found])
    print(_table(["STREAM", "WAITING", "WORKED ON", "OLDEST"], [
        (one.name, one.waiting, one.working, "-" if one.oldest is None else _age(one.oldest)) for one in found
    ]))  # fmt: skip
    readers = [(reader.name, one.name, reader.working, _age(reader.idle)) for one in found for reader in one.consumers]
    print("\n" + (_table(["CONSUMER", "STREAM", "WORKS ON", "IDLE"], readers) if readers else "no stage has run yet"))
    if scopes := await _switches(mailer).scopes():
        print("\nsink mode is on for " + ", ".join(sorted(scopes)))
    return 0


async def trace(given: Given, mailer: Mailer) -> int:
    """What became of one message, for each recipient."""
    # In the order that messages go, so that one which moves on meanwhile is not missed; what is known of it last.
    found = {stream: await inspection.find(mailer.queue, stream, given.uuid) for stream in mailer.streams}
    record = await Records(mailer.queue).read(given.uuid)
    if record is None or record.envelope is None:
        raise UnknownError(f"nothing is known of {given.uuid}: it never came, or longer ago than records are kept")
    envelope, states = record.envelope, record.states
    taken, outgoing, waiting = (
        {one for stream in streams for entry in found[stream] for one in entry["recipients"]}
        for streams in (mailer.incoming, mailer.before_postfix[-1:], [mailer.waiting])
    )

    def state(recipient: str) -> dict[str, Any]:
        if recipient in states:
            return dict(states[recipient])
        if recipient in taken or recipient in outgoing:
            return {"state": "taken in" if recipient in taken else "transformed"}
        if recipient in waiting:
            return {"state": "waits for another day"}
        refused = states.get("", {}).get("state") == events.ERROR
        return {"state": "not sent" if refused else "handed over"}

    people = list(dict.fromkeys([*envelope.recipients, *states]))
    rows = [{"recipient": one, **state(one)} for one in people]
    counts = {stream: len(entries) for stream, entries in found.items() if entries}
    about = {
        "uuid": envelope.uuid,
        "taken_in": _date(envelope.received),
        "login": envelope.login,
        "domain": envelope.domain,
        "stream_id": envelope.stream_id,
    }
    if given.json:
        dated = [{**row, "time": _date(row["time"])} if "time" in row else row for row in rows]
        return _json({**about, "recipients": dated, "streams": counts})
    where = ", ".join(f"{stream} {count}" for stream, count in counts.items()) or "none"
    shown = {**about, "in_streams": where}
    print(_table(None, [(name.replace("_", " "), value or "-") for name, value in shown.items()]))
    print("\n" + _table(["RECIPIENT", "STATE", "TIME", "SAID"], [
        (row["recipient"] or "(all)", row["state"], _date(row["time"]) if "time" in row else "-", _said(row))
        for row in rows
    ]))  # fmt: skip
    return 0


async def search(given: Given, mailer: Mailer) -> int:
    """Messages of a time, of or to somebody, that something became of."""
    wanted = Wanted(given.to, given.sender, given.login, given.since, given.until, given.outcome)
    records, after = Records(mailer.queue), given.after
    found: list[Record] = []
    try:
        while True:
            page = await records.search(wanted, limit=given.limit - len(found), after=after)
            found += page.found
            after = page.after
            if not after or len(found) == given.limit:
                break
    except ValueError as err:
        raise CtlError(str(err)) from err
    rows = [
        {"time": _date(one.received), "uuid": one.uuid, "from": one.author, "recipient": recipient, **row}
        for record in found
        if (one := record.envelope) is not None
        for recipient in one.recipients
        for row in [{name: value for name, value in state_of(record, recipient).items() if name != "time"}]
    ]
    if given.json:
        _json({"found": rows, "after": after or None})
        return 0 if rows else 1
    cells = [(row["time"], row["uuid"], row["from"], row["recipient"], row["state"], _said(row)) for row in rows]
    print(_table(["TAKEN IN", "UUID", "FROM", "RECIPIENT", "STATE", "SAID"], cells) if rows else "nothing was found")
    if after:
        print(f"\nthere may be more: --after {after}")
    return 0 if rows else 1


def _said(row: dict[str, Any]) -> str:
    said = [str(row[name]) for name in ("type", "reason", "msg", "ip") if row.get(name)]
    return ", ".join([*said, *(["sink mode"] if row.get("sink") else [])]) or "-"


# -- events that were given up ---------------------------------------------------------------------------


async def dead(given: Given, mailer: Mailer) -> int:
    """Events that an endpoint did not take."""
    found = [
        {"endpoint": sink, "why": why, **event}
        for sink in SINKS
        for event, why in await dead_letters(mailer.queue, mailer.told, sink, count=given.limit)
    ]
    found.sort(key=lambda one: int(one["timestamp"]))
    if given.json:
        return _json(found)
    rows = [
        (one["endpoint"], _date(one["timestamp"]), one["event"], one.get("uuid") or "-", one["why"]) for one in found
    ]
    print(_table(["ENDPOINT", "TIME", "EVENT", "UUID", "WHY"], rows) if rows else "there are no dead letters")
    return 0


async def replayed(given: Given, mailer: Mailer) -> int:
    """Have them posted again."""
    counts = {sink: await replay(mailer.queue, mailer.told, sink, uuid=given.uuid) for sink in SINKS}
    if given.json:
        _json(counts)
    else:
        print(", ".join(f"{count} to {sink}" for sink, count in counts.items()), "are posted again")
    return 1 if given.uuid and not sum(counts.values()) else 0


async def retried(given: Given, mailer: Mailer) -> int:
    """Have messages made ready again that a fault of the mailer kept."""
    count = await retry(mailer.queue, mailer.dead, *mailer.incoming, uuid=given.uuid or "")
    if given.json:
        _json({"messages": count})
    else:
        print(f"{count} messages are made ready again")
    return 1 if given.uuid and not count else 0


# -- the suppression list --------------------------------------------------------------------------------


async def suppress(given: Given, mailer: Mailer) -> int:
    """The suppression list."""
    one = Suppression(mailer.queue, case_sensitive=mailer.settings.suppression.case_sensitive)
    try:
        work: Callable[[Given, Suppression], Awaitable[int]] = given.of_list
        return await work(given, one)
    except SuppressionError as err:
        raise CtlError(str(err)) from err


async def _add(given: Given, one: Suppression) -> int:
    expiry = int(time.time()) + given.days * _DAY if given.days else 0
    entries = [Entry(who, given.reason, given.source, 0, expiry, given.stream) for who in given.address]
    count = await one.add(entries, replace=given.replace)
    return _told(given, count, len(entries), "put in", "in for as long or longer: --replace shortens that")


async def _remove(given: Given, one: Suppression) -> int:
    removed = [await one.remove(who, given.stream) for who in given.address]
    _told(given, sum(removed), len(removed), "taken out", "not in")
    return 0 if all(removed) else 1


async def _list(given: Given, one: Suppression) -> int:
    found = sorted([entry async for entry in one.entries()], key=lambda entry: (entry.address, entry.stream))
    return _entries(given, [as_dict(entry) for entry in found])


async def _check(given: Given, one: Suppression) -> int:
    found = await one.check([(who, given.stream or None) for who in given.address])
    _entries(given, [{**as_dict(entry), "address": who} for (who, dummy), entry in found.items()])
    return 1 if found else 0


async def _import(given: Given, one: Suppression) -> int:
    try:
        text = sys.stdin.read() if given.file == "-" else Path(given.file).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as err:
        raise CtlError(f"{given.file} cannot be read: {getattr(err, 'strerror', None) or 'it is not UTF-8'}") from err
    count = await one.import_(text)
    if given.json:
        return _json({"changed": count})
    print(f"{count} put in; what is in for as long or longer stays")
    return 0


async def _export(given: Given, one: Suppression) -> int:
    async for line in one.export():
        sys.stdout.write(line.encode("utf-8", "replace").decode())  # there may be halves of characters in a reason
    return 0


def _entries(given: Given, found: Sequence[dict[str, Any]]) -> int:
    if given.json:
        return _json(found)
    empty = {"stream": "-", "expiry": "never", "source": "-"}
    columns = ("address", "stream", "time", "expiry", "source", "reason")
    rows = [[one[name] or empty.get(name, "") for name in columns] for one in found]
    print(_table(["ADDRESS", "STREAM", "SINCE", "UNTIL", "SOURCE", "REASON"], rows) if rows else "nobody is suppressed")
    return 0


def _told(given: Given, count: int, wanted: int, done: str, others: str) -> int:
    if given.json:
        return _json({"changed": count})
    print(f"{count} of {wanted} {done}" + (f", the others are {others}" if count < wanted else ""))
    return 0


# -- the way out ------------------------------------------------------------------------------------------


async def pools(given: Given, mailer: Mailer) -> int:
    """The pools, and how much new addresses have sent today."""
    all_, counts, day = connect.pools_of(mailer.settings.postfixlog).all, Counts(mailer.queue), today()
    found: list[dict[str, Any]] = []
    for pool in all_:
        for one in pool.addresses:
            limit = pool.limit(one, day)
            sent = None if limit is None else await counts.read(pool, one, day)
            number = (day - one.since).days + 1 if one.since is not None and limit is not None else None
            found.append({"pool": pool.name, "address": one.helo, "day": number, "sent": sent, "limit": limit})
    if given.json:
        return _json(found)
    rows = [["-" if cell is None else cell for cell in one.values()] for one in found]
    print(
        _table(["POOL", "ADDRESS", "DAY", "SENT", "OF"], rows) if rows else "all mail leaves by Postfix's own address"
    )
    return 0


async def pushed_back(given: Given, mailer: Mailer) -> int:
    """Have what Postfix has not sent in the queue again."""
    settings = mailer.settings
    try:
        done = await push_back(
            mailer.queue,
            Spool(),
            secrets=connect.secrets(settings.transformer.secret_file),
            outgoing=settings.postfix.incoming_queue_name,
            host=socket.gethostname(),
        )
    except SpoolError as err:
        raise CtlError(str(err)) from err
    if given.json:
        return _json(vars(done))
    print(f"{done.back} are in the queue again; {done.foreign} of others and {done.hold} on hold stay in the spool")
    return 0


# -- sink mode -------------------------------------------------------------------------------------------


def _switches(mailer: Mailer) -> sink.Switches:
    return sink.Switches(mailer.queue, sink.configured(mailer.settings.sink))


async def sink_mode(given: Given, mailer: Mailer) -> int:
    """Turn sink mode on or off, or say what it is on for."""
    switches = _switches(mailer)
    kinds = ((sink.DOMAIN, given.domain), (sink.STREAM, given.stream), (sink.LOGIN, given.login))
    named = [sink.scope(kind, name) for kind, names in kinds for name in names]
    if given.to == "on":
        await switches.on(named or [sink.ALL])
    elif given.to == "off":
        await switches.off(named)
    elif named:
        raise CtlError(f"say whether sink mode is to be on or off for {', '.join(named)}")
    if given.to:
        await _pause(sink.FRESH)  # after which no stage goes by what was
    scopes = await switches.scopes()
    if given.json:
        _json(sorted(scopes))
    else:
        print(_table(["ON FOR", "BY"], [
            (one, "configuration" if one in switches.fixed else "mailerctl") for one in sorted(scopes)
        ]) if scopes else "sink mode is off: mail is delivered")  # fmt: skip
    return 1 if given.to == "off" and scopes & set(named or scopes) else 0


# -- before a start, before a stop -----------------------------------------------------------------------


async def drain(given: Given, mailer: Mailer) -> int:
    """Wait until nothing waits for Postfix."""
    ends, before = time.monotonic() + given.timeout, ""
    while True:
        counts = await inspection.left(mailer.queue, mailer.before_postfix)
        text = ", ".join(f"{stream} {count}" for stream, count in counts.items())
        over = not sum(counts.values()) or time.monotonic() >= ends
        if not over and text != before:
            print(text, file=sys.stderr, flush=True)
        if over:
            break
        before = text
        await _pause(min(STEP, max(0.0, ends - time.monotonic())))
    if given.json:
        _json(counts)
    else:
        print(f"not empty after {given.timeout} s: {text}" if sum(counts.values()) else "Postfix has all of it")
    return 1 if sum(counts.values()) else 0


async def checked(given: Given, mailer: Mailer) -> int:
    """Whether this host is fit to send."""
    settings = mailer.settings
    mx, where, now = settings.mxserver, settings.postfixlog.postfix, datetime.datetime.now(datetime.UTC)
    hostname = mx.hostname or socket.getfqdn()
    try:
        own = preflight.own_addresses()
    except OSError as err:
        raise CtlError(f"the addresses of this host cannot be read: {err}") from err
    domains = sorted({one.return_path_domain.lower() for one in settings.transformer.domain_settings})
    of_postfix = await preflight.postfix(where.hostname, where.port, preflight.public(own), f"220 {hostname} ESMTP")
    found = (
        of_postfix
        if given.postfix_only
        else [
            await preflight.outbound(given.host, given.port),
            *of_postfix,
            *await preflight.redis(mailer.queue.redis),
            preflight.certificate("receiver", settings.receiver.certificate, now),
            *([preflight.certificate("mxserver", mx.certificate, now)] if mx.certificate else []),
            *[await preflight.return_path(one, hostname, own, preflight.mx_of) for one in domains],
        ]
    )
    if given.json:
        _json([vars(one) for one in found])
    else:
        print(_table(None, [
            row
            for one in found
            for row in [(one.verdict, one.name, one.said), *([("", "", f"remedy: {one.remedy}")] if one.remedy else [])]
        ]))  # fmt: skip
    return 1 if any(one.verdict == preflight.FAILED for one in found) else 0


async def config_checked(given: Given, mailer: Mailer) -> int:
    """Whether stages could start with the configuration."""
    found = check.faults(mailer.settings, given.stage or check.LOOKS)
    if given.json:
        _json(found)
    elif found:
        raise ConfigError("\n".join(found))
    else:
        print("the configuration can be used")
    return 1 if found else 0


# -- said ------------------------------------------------------------------------------------------------


def _json(data: object) -> int:
    print(json.dumps(data, indent=2))
    return 0


def _table(heads: Sequence[str] | None, rows: Iterable[Sequence[object]]) -> str:
    """Columns with two spaces between them. What strangers wrote gives the terminal no orders."""
    cells = [[_plain(str(cell)) for cell in row] for row in ([heads] if heads else []) + [list(row) for row in rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(line.rstrip() for line in lines)


def _plain(text: str) -> str:
    return "".join(one if one.isprintable() else "?" for one in text)


def _date(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(int(seconds), datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _age(seconds: float) -> str:
    for length, unit in ((_DAY, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} s"


# -- asked -----------------------------------------------------------------------------------------------


def _uuid(text: str) -> str:
    if not UUID.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no uuid: it has 1 to 40 of a-z and 0-9")
    return text


def _time(text: str) -> float:
    try:
        when = datetime.datetime.fromisoformat(text)
        return max(1.0, (when if when.tzinfo else when.replace(tzinfo=datetime.UTC)).timestamp())
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write 2026-11-29 or 2026-11-29T08:00:00Z") from None


def _up_to(most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= most):
            raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {most}")
        return int(text[:9])

    return number


async def sign(given: Given, mailer: Mailer) -> int:
    """A message of each domain as the transformer would send it now: the proof of the rotation of keys."""
    settings = mailer.settings.transformer
    domains, style = connect.domains_of(settings), connect.style_of(settings)
    told = [_signed(name, domains, style) for name in given.domains]
    if given.json:
        return _json(told)
    rows = [(one["domain"], one["problem"] or ", ".join(one["selectors"])) for one in told]
    print(_table(("DOMAIN", "SIGNED WITH"), rows))
    return int(any(one["problem"] for one in told))


def _signed(name: str, domains: Mapping[str, Domain], style: Style) -> dict[str, Any]:
    address = f"postmaster@{name}"
    raw = f"From: {address}\r\nTo: {address}\r\nSubject: DKIM\r\n\r\nNobody gets this.\r\n".encode()
    envelope = Envelope("sign", (address,), domain=name)
    try:
        made = transform(raw, envelope, domains, style, now=time.time).raw
    except RefusedError as err:
        return {"domain": name, "selectors": [], "text": "", "problem": str(err)}
    signatures = Message.parse(made).all(b"dkim-signature")
    tags = [tag.strip() for one in signatures for tag in one.split(b";")]
    selectors = sorted(tag[2:].decode() for tag in tags if tag[:2] == b"s=")
    return {"domain": name, "selectors": selectors, "text": made.decode(), "problem": ""}


Command: TypeAlias = "Callable[[Given, Mailer], Awaitable[int]]"


def _stage(text: str) -> str:
    if text not in check.LOOKS:
        raise argparse.ArgumentTypeError(f"{text} is no stage: choose of {', '.join(check.LOOKS)}")
    return text


def parser() -> argparse.ArgumentParser:
    """The command line."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="for programs")
    top = argparse.ArgumentParser(prog="mailerctl", description="See what the mailer does, and tell it what to do.")
    top.add_argument("--config", type=Path, action="append", help="a YAML file, laid over those before it")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, work: Command, text: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text, description=text, parents=[shared])
        one.set_defaults(work=work)
        return one

    one = command("sign", sign, "a message of a domain as it would be signed now")
    one.add_argument("domains", nargs="+", metavar="domain")
    command("status", status, "all streams and who reads them")
    one = command("trace", trace, "what became of one message")
    one.add_argument("uuid", type=_uuid)
    one = command("search", search, "messages by recipient, sender, time and outcome, the newest first")
    one.add_argument("--to", default="", metavar="ADDRESS", help="or @DOMAIN")
    one.add_argument("--from", default="", metavar="ADDRESS", dest="sender", help="or @DOMAIN, as in the field From")
    one.add_argument("--login", default="", help="who handed it in")
    for name, text in (("--since", "taken in then or later"), ("--until", "taken in before")):
        one.add_argument(
            name, type=_time, default=0, metavar="TIME", help=f"{text}: 2026-11-29 or 2026-11-29T08:00:00Z"
        )
    one.add_argument("--outcome", choices=sorted([*events.KINDS, UNDER_WAY]), default="", help="for that recipient")
    one.add_argument("--limit", type=_up_to(10_000), default=100, help="messages (100)")
    one.add_argument("--after", default="", metavar="PLACE", help="where the page before ended")
    one = command("dead", dead, "events that an endpoint did not take")
    one.add_argument("--limit", type=_up_to(1000), default=100, help="the oldest of each partition (100)")
    one = command("replay", replayed, "have them posted again")
    one.add_argument("uuid", type=_uuid, nargs="?", help="those of this message alone")
    one = command("retry", retried, "have messages made ready again that a fault of the mailer kept")
    one.add_argument("uuid", type=_uuid, nargs="?", help="this message alone")
    _of_list(command("suppress", suppress, "the suppression list"), shared)
    one = command("sink", sink_mode, "take mail in and deliver none of it")
    one.add_argument("to", choices=("on", "off"), nargs="?", help="without it: say what it is on for")
    one.add_argument("--domain", action="append", default=[], help="for mail from this domain; all mail without any")
    one.add_argument("--stream", action="append", default=[], help="for mail of this X-Stream-Id")
    one.add_argument("--login", action="append", default=[], help="for mail of this login")
    one = command("drain", drain, "wait until nothing waits for Postfix")
    one.add_argument("--timeout", type=_up_to(_DAY), default=300, help="seconds (300)")
    one = command("check-config", config_checked, "whether stages could start with the configuration")
    one.add_argument("stage", nargs="*", type=_stage, help="these stages alone")
    one = command("preflight", checked, "whether this host is fit to send")
    one.add_argument("--host", default="aspmx.l.google.com", help="whom to try (aspmx.l.google.com)")
    one.add_argument("--port", type=_up_to(65_535), default=25, help="at which port (25)")
    one.add_argument("--postfix-only", action="store_true", help="only that Postfix answers, and is private")
    command("pools", pools, "by which addresses mail leaves, and how far new ones are")
    command("push-back", pushed_back, "put what Postfix, which must be at rest, has not sent into the queue again")
    return top


def _of_list(whole: argparse.ArgumentParser, shared: argparse.ArgumentParser) -> None:
    parts = whole.add_subparsers(required=True, metavar="COMMAND")
    for name, work, text in (
        ("add", _add, "put addresses or domains in"),
        ("remove", _remove, "take them out"),
        ("check", _check, "ends with 1 if one of these addresses is suppressed"),
        ("list", _list, "all of it"),
        ("import", _import, "put in a file of CSV, - for standard input"),
        ("export", _export, "all of it as CSV"),
    ):
        one = parts.add_parser(name, help=text, description=text, parents=[shared])
        one.set_defaults(of_list=work)
        if name in ("add", "remove", "check"):
            one.add_argument("address", nargs="+")
            one.add_argument("--stream", default="", help="for mail of this X-Stream-Id alone")
        if name == "add":
            one.add_argument("--days", type=_up_to(36_500), help="for how long; for good without it")
            one.add_argument("--reason", default=MANUAL)
            one.add_argument("--source", default="mailerctl", help="who says so")
            one.add_argument("--replace", action="store_true", help="also if it is in for longer")
        if name == "import":
            one.add_argument("file")


async def _run(given: Given) -> int:
    settings = load(given.config or default_files())
    queue = connect.queue_of(settings, settings.redis)
    try:
        work: Command = given.work
        return await work(given, Mailer(settings, queue))
    except (RedisError, TimeoutError, ConnectionError) as err:
        if isinstance(err, BrokenPipeError):
            raise
        raise CtlError(f"Redis cannot be asked: {err or 'no answer'}") from err
    finally:
        await queue.redis.aclose()


def main(words: Sequence[str] | None = None) -> int:
    """Read the command line and do it; the exit code."""
    given = parser().parse_args(words)
    try:
        code = asyncio.run(_run(given))
        sys.stdout.flush()
    except (CtlError, ConfigError) as err:
        print(f"mailerctl: {_plain('; '.join(str(err).splitlines()))}", file=sys.stderr)
        return err.code if isinstance(err, CtlError) else 2
    except BrokenPipeError:  # who read has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
