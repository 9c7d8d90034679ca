# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The suppression list: addresses and domains that get no mail, why, since when and until when.

Entries lie in one hash for each partition, ``mailer:{<partition>}:suppressed``, under the address (``@example.org`` for
a domain), and after it the stream where the entry is for one stream alone.
"""

from __future__ import annotations

import contextlib
import csv
import datetime
import io
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from . import events
from .queue import Queue, partition_of, stream_key

BOUNCE, COMPLAINT, UNSUBSCRIBE, MANUAL = "hard bounce", "complaint", "unsubscribe", "manual"
SAID = "suppressed: "  # how the reason of a bounce begins that this list has made
COLUMNS = ("address", "stream", "reason", "source", "time", "expiry")
_DETAIL = 200  # characters
_DAY = 86_400
_STATUS = re.compile(r"\b5\.(\d{1,3})\.(\d{1,3})\b")
_ODD = re.compile(r"[\s\x00-\x1f\ud800-\udfff]")  # the last: halves of a character, which no text should hold
_REPLY = re.compile(r"\b5(\d\d)\b")
# In one step, so that of two writers neither undoes what the other wrote: the entry that lasts longer stays.
_ADD = """
local old = redis.call('HGET', KEYS[1], ARGV[1])
if old and ARGV[4] ~= '1' then
  local ends = tonumber(string.match(old, '^%d+'))
  local new = tonumber(ARGV[2])
  if ends == 0 or (ends > tonumber(ARGV[5]) and new ~= 0 and ends >= new) then return 0 end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[3])
return 1
"""
# What was renewed since it was looked at stays.
_PURGE = """
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then return redis.call('HDEL', KEYS[1], ARGV[1]) end
return 0
"""
Days: TypeAlias = "bool | int"


class SuppressionError(Exception):
    """An entry cannot be made; the text names it and says what it should be."""


@dataclass(frozen=True)
class Entry:
    """Who gets no mail. ``address`` is an address or a domain, ``stream`` empty for all mail.

    ``time`` and ``expiry`` are in seconds since the epoch; an expiry of 0 is never.
    """

    address: str
    reason: str
    source: str = ""
    time: int = 0
    expiry: int = 0
    stream: str = ""


@dataclass(frozen=True)
class Rules:
    """Which outcomes put an address in: False none, True for good, else for so many days."""

    hard_bounces: Days = 90
    complaints: Days = True
    unsubscribes: Days = True
    per_stream: bool = False


class Suppression:
    """The list. ``case_sensitive`` tells local parts apart by their case."""

    def __init__(self, queue: Queue, *, case_sensitive: bool = False, now: Callable[[], float] = time.time) -> None:
        self._queue, self._case_sensitive, self._now = queue, case_sensitive, now

    # -- asked before sending -----------------------------------------------------------------------

    async def check(self, wanted: Sequence[tuple[str, str | None]]) -> dict[tuple[str, str | None], Entry]:
        """Which of these pairs of recipient and stream are suppressed, and by what, in one round trip."""
        fields: dict[int, dict[str, None]] = {}
        for recipient, stream in wanted:
            for field in self._fields(recipient, stream):
                fields.setdefault(self._partition(field), {})[field] = None
        if not fields:
            return {}
        async with self._queue.redis.pipeline(transaction=False) as pipe:
            for number, names in fields.items():
                pipe.hmget(_key(number), list(names))
            answers = await pipe.execute()
        now = self._now()
        known: dict[str, Entry] = {}
        for names, values in zip(fields.values(), answers, strict=True):
            for name, value in zip(names, values, strict=True):
                if value is not None and not _is_over(entry := _read(name, value), now):
                    known[name] = entry
        found: dict[tuple[str, str | None], Entry] = {}
        for recipient, stream in wanted:
            entry_ = next((known[field] for field in self._fields(recipient, stream) if field in known), None)
            if entry_ is not None:
                found[(recipient, stream)] = entry_
        return found

    def _fields(self, recipient: str, stream: str | None) -> list[str]:
        address = self.normal(recipient)
        domain = "@" + address.rpartition("@")[2]
        stream = (stream or "").encode("utf-8", "replace").decode()
        return [address, domain, *([f"{one} {stream}" for one in (address, domain)] if stream else [])]

    def normal(self, address: str) -> str:
        """An address as it is compared; a domain has an @ before it."""
        writable = address.encode("utf-8", "replace").decode()
        local, dummy, domain = writable.strip().rpartition("@")
        domain = domain.lower().rstrip(".")
        if not domain.isascii():
            with contextlib.suppress(UnicodeError):
                encoded = domain.encode("idna").decode()
                domain = encoded if re.fullmatch(r"[a-z0-9.-]+", encoded) else domain  # it may make white space
        return f"{local if self._case_sensitive else local.lower()}@{domain}"

    def _partition(self, field: str) -> int:
        return partition_of(field.partition(" ")[0], self._queue.partitions)

    # -- kept ----------------------------------------------------------------------------------------

    async def add(self, entries: Iterable[Entry], *, replace: bool = False) -> int:
        """Put entries in; how many changed something. Raises :class:`SuppressionError` before anything is written.

        One that is there and lasts as long or longer stays, unless ``replace`` is asked for.
        """
        now = int(self._now())
        batch: list[list[Any]] = []
        for one in entries:
            field = self._field(one)
            about = {"reason": one.reason, "source": one.source, "time": one.time or now}
            words = [1, _key(self._partition(field)), field, one.expiry, json.dumps(about), int(replace), now]
            batch.append(words)
        return sum([int(answer) for answer in await self._queue.call(_ADD, batch, durable=True)])

    async def remove(self, address: str, stream: str = "") -> bool:
        """Take an entry out; False where there is none."""
        field = self._field(Entry(address, "", stream=stream))
        removed: Any = await self._queue.redis.hdel(_key(self._partition(field)), field)
        return bool(removed)

    async def entries(self) -> AsyncIterator[Entry]:
        """All entries that count now, in no order."""
        now = self._now()
        for number in range(self._queue.partitions):
            async for field, value in self._queue.redis.hscan_iter(_key(number), count=500):
                entry = _read(_text(field), value)
                if not _is_over(entry, now):
                    yield entry

    async def purge(self) -> int:
        """Take out what is over; how many that were."""
        now = self._now()
        batch: list[list[Any]] = []
        for number in range(self._queue.partitions):
            async for field, value in self._queue.redis.hscan_iter(_key(number), count=500):
                if _is_over(_read(_text(field), value), now):
                    batch.append([1, _key(number), field, value])
        return sum([int(answer) for answer in await self._queue.call(_PURGE, batch)])

    def _field(self, entry: Entry) -> str:
        address = entry.address.strip()
        local, dummy, domain = address.rpartition("@")
        # What is no host name can be nobody's; white space would let one entry pass for another.
        if not re.fullmatch(r"[^\s@.\ud800-\udfff]+(\.[^\s@.\ud800-\udfff]+)*\.?|\[[^\s\]]+\]", domain) or _ODD.search(
            local
        ):
            raise SuppressionError(f"{entry.address!r} is neither an address nor a domain")
        if re.search(r"[\x00-\x1f\ud800-\udfff]", entry.stream):
            raise SuppressionError(f"the stream {entry.stream!r} of {address} has a line break or the like in it")
        if not (0 <= entry.time < events.LATEST and 0 <= entry.expiry < events.LATEST):
            raise SuppressionError(f"the time or the expiry of {address} is none: give seconds since 1970")
        normal = self.normal(address if local else "@" + domain)
        return f"{normal} {entry.stream}" if entry.stream else normal

    # -- from and to files ---------------------------------------------------------------------------

    async def export(self) -> AsyncIterator[str]:
        """The list as CSV, line by line; times as RFC 3339 has them, an empty expiry is never."""
        yield _row(COLUMNS)
        async for one in self.entries():
            yield _row((one.address, one.stream, one.reason, one.source, _date(one.time), _date(one.expiry)))

    async def import_(self, text: str) -> int:
        """Put in what :meth:`export` wrote, or a list with a column ``address`` at least; how many are new.

        Raises :class:`SuppressionError` that names the line, before anything is written.
        """
        rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        try:
            if "address" not in (rows.fieldnames or ()):
                raise SuppressionError("line 1 must name the columns, one of them address: " + ",".join(COLUMNS))
            unknown = set(rows.fieldnames or ()) - set(COLUMNS)
            if unknown:
                raise SuppressionError(f"line 1 names a column that is not known: {min(unknown)}")
            entries = [self._of_row(row, rows.line_num) for row in rows]
        except csv.Error as err:
            raise SuppressionError(f"line {rows.line_num + 1} is no CSV: {err}") from err
        return await self.add(entries)

    def _of_row(self, row: Mapping[str | None, Any], line: int) -> Entry:
        if None in row or None in row.values():
            raise SuppressionError(f"line {line} has not as many columns as line 1")
        try:
            entry = Entry(
                row["address"],
                row.get("reason") or MANUAL,
                row.get("source") or "import",
                _seconds(row.get("time", "")),
                _seconds(row.get("expiry", "")),
                row.get("stream", ""),
            )
            self._field(entry)
        except ValueError as err:
            raise SuppressionError(f"line {line} has a time that is none: write it as 2026-11-29T00:00:00Z") from err
        except SuppressionError as err:
            raise SuppressionError(f"line {line}: {err}") from err
        return entry

    # -- by rule ---------------------------------------------------------------------------------------

    async def learn(self, told: Iterable[Mapping[str, Any]], rules: Rules) -> int:
        """Put in whom outcomes say to send no more; how many changed something. Raises RedisError."""
        return await self.add([entry for event in told for entry in self._by_rule(event, rules)])

    def _by_rule(self, event: Mapping[str, Any], rules: Rules) -> list[Entry]:
        ruled = _ruled(event, rules)
        if ruled is None:
            return []
        reason, days = ruled
        when = int(event["timestamp"])
        stream = event.get("streamid") or "" if reason == UNSUBSCRIBE and rules.per_stream else ""
        detail = " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", str(event.get("reason") or "")).split())[:_DETAIL]
        text = f"{reason}: {detail}" if detail else reason
        expiry = 0 if days is True else when + days * _DAY
        made = [Entry(one, text, f"message {event.get('uuid')}", when, expiry, stream) for one in event["rcpt"]]
        return [one for one in made if self._is_valid(one)]

    def _is_valid(self, entry: Entry) -> bool:
        try:
            return not self._field(entry).startswith("@")
        except SuppressionError:  # an address that a stranger's report named
            return False


def _ruled(event: Mapping[str, Any], rules: Rules) -> tuple[str, Days] | None:
    """The reason and for how long; None where no rule says so."""
    said = str(event.get("reason") or "")
    kind = ""
    days: Days = False
    if event["event"] == events.BOUNCE and event.get("type") == events.HARD and not said.startswith(SAID):
        kind, days = BOUNCE, rules.hard_bounces if blames_address(said) else False
    elif event["event"] == events.SPAM_REPORT:
        kind, days = COMPLAINT, rules.complaints
    elif event["event"] == events.UNSUBSCRIBE:
        kind, days = UNSUBSCRIBE, rules.unsubscribes
    return None if days is False or event.get("unproven") or event.get("sink") else (kind, days)


def blames_address(said: str) -> bool:
    """Whether a hard bounce says that there is no such mailbox.

    Another text, key or network of ours may change what a policy refuses (RFC 3463 sections 3.2 to 3.8).
    """
    if found := _STATUS.search(said):
        subject, detail = int(found[1]), int(found[2])
        return (subject == 1 and detail not in (7, 8)) or (subject, detail) == (2, 1)
    found = _REPLY.search(said)
    return found is not None and found[1] in ("50", "51", "53")


def _key(partition: int) -> str:
    return stream_key(partition, "suppressed")


def _is_over(entry: Entry, now: float) -> bool:
    return 0 < entry.expiry <= now


def _read(field: str, value: bytes | str) -> Entry:
    expiry, dummy, about = _text(value).partition(" ")
    address, dummy, stream = field.partition(" ")
    return Entry(address.removeprefix("@"), **json.loads(about), expiry=int(expiry), stream=stream)


def as_dict(entry: Entry) -> dict[str, Any]:
    """An entry as JSON shows it."""
    return {**asdict(entry), "time": _date(entry.time), "expiry": _date(entry.expiry) or None}


def _row(values: Iterable[str]) -> str:
    to = io.StringIO(newline="")
    csv.writer(to).writerow(values)
    return to.getvalue()


def _date(seconds: int) -> str:
    if not seconds:
        return ""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _seconds(text: str) -> int:
    if not text.strip():
        return 0
    when = datetime.datetime.fromisoformat(text.strip())
    return max(1, int((when if when.tzinfo else when.replace(tzinfo=datetime.UTC)).timestamp()))


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
