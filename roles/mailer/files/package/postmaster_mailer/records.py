# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: what is known of a message by its uuid: its envelope, and what became of it for each recipient; and a search.

A search goes through the messages of a time, the newest first, and looks at so many at most: what it has found by then
is a page, which says where the next one begins.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .envelope import Envelope
from .events import ERROR
from .queue import Queue, index_key, partition_of, place, record_key
from .returnpath import UUID

KEEP = 604_800  # seconds that a record is kept which nobody gave a time
LOOKED = 10_000  # messages that a page looks at
UNDER_WAY = "under-way"  # the state of a recipient of whom nothing was told yet
_CHUNK = 250  # messages that are read at a time
_PLACE = re.compile(rf"[0-9]{{15}}-{UUID.pattern}")
_REASON = 500  # characters of a reason that are kept
_TO = "to:"
# In one step: the newest outcome stays, in whatever order they come.
_OUTCOME = """
local old = redis.call('HGET', KEYS[1], ARGV[1])
if old and tonumber(string.match(old, '^%d+')) > tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[3])
if redis.call('TTL', KEYS[1]) < 0 then redis.call('EXPIRE', KEYS[1], ARGV[4]) end
return 1
"""


@dataclass(frozen=True)
class Record:
    """A message. ``states`` has for each recipient ``state``, ``time`` (seconds since the epoch), and what was said.

    The recipient of an outcome that concerns the message as a whole is empty.
    """

    envelope: Envelope | None = None
    states: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Wanted:
    """What is searched for; what is empty is no matter. Times are in seconds since the epoch, ``until`` not included.

    ``recipient`` and ``author`` are addresses, or domains with an @ before them. ``outcome`` is an event's name or
    ``UNDER_WAY``, of a recipient that is wanted.
    """

    recipient: str = ""
    author: str = ""
    login: str = ""
    since: float = 0
    until: float = 0
    outcome: str = ""


@dataclass(frozen=True)
class Page:
    """Messages that were found, the newest first; ``after`` asks for more, and is empty where there are none."""

    found: Sequence[Record]
    after: str = ""


def state_of(record: Record, recipient: str) -> Mapping[str, Any]:
    """What became of a message for a recipient."""
    whole = record.states.get("", {})
    missing = whole if whole.get("state") == ERROR else {"state": UNDER_WAY}
    return record.states.get(recipient, missing)


class Records:
    """The records of all messages. ``keep`` is how long one is kept that an outcome alone has made, in seconds."""

    def __init__(self, queue: Queue, *, keep: int = KEEP) -> None:
        self._queue, self.keep = queue, keep

    def _key(self, uuid: str) -> str:
        return record_key(partition_of(uuid, self._queue.partitions), uuid)

    async def envelopes(self, uuids: Iterable[str]) -> dict[str, Envelope]:
        """The envelopes of those messages that have a record, in one round trip."""
        wanted = list(dict.fromkeys(uuids))
        if not wanted:
            return {}
        async with self._queue.redis.pipeline(transaction=False) as pipe:
            for uuid in wanted:
                pipe.hget(self._key(uuid), "envelope")
            found = await pipe.execute()
        return {uuid: Envelope.loads(data) for uuid, data in zip(wanted, found, strict=True) if data}

    async def read(self, uuid: str) -> Record | None:
        """All that is known of a message; None where nothing is."""
        return _record(await self._queue.redis.hgetall(self._key(uuid)))

    async def search(self, wanted: Wanted, *, limit: int, after: str = "", looked: int = LOOKED) -> Page:
        """Up to ``limit`` messages. Raises ValueError for an ``after`` that no page had, and RedisError."""
        if after and not _PLACE.fullmatch(after):
            raise ValueError("after is none that a page had")
        before = after or (place(wanted.until, "") if wanted.until else "")
        found: list[Record] = []
        while looked > 0:
            places = await self._places(before, place(wanted.since, ""))
            for where, record in zip(places, await self._matching(places, wanted), strict=True):
                before = where
                if record is not None:
                    found.append(record)
                    if len(found) == limit:
                        return Page(found, before)
            if len(places) < _CHUNK:
                return Page(found)
            looked -= len(places)
        return Page(found, before)

    async def _places(self, before: str, least: str) -> list[str]:
        """The next messages in time, from all partitions."""
        async with self._queue.redis.pipeline(transaction=False) as pipe:
            for number in range(self._queue.partitions):
                words = (f"({before}" if before else "+", f"[{least}", "LIMIT", 0, _CHUNK)
                pipe.execute_command("ZREVRANGEBYLEX", index_key(number), *words)
            answers = await pipe.execute()
        return sorted((_text(one) for places in answers for one in places), reverse=True)[:_CHUNK]

    async def _matching(self, places: Sequence[str], wanted: Wanted) -> list[Record | None]:
        """The record at each place; None where it is not wanted, or is over."""
        uuids = [one.partition("-")[2] for one in places]
        envelopes = await self.envelopes(uuids)
        fitting = [uuid for uuid in uuids if uuid in envelopes and _fits(envelopes[uuid], wanted)]
        if not fitting:
            return [None] * len(places)
        async with self._queue.redis.pipeline(transaction=False) as pipe:
            for uuid in fitting:
                pipe.hgetall(self._key(uuid))
            records = {uuid: _record(answer) for uuid, answer in zip(fitting, await pipe.execute(), strict=True)}
        return [
            one if (one := records.get(uuid)) is not None and one.envelope and _has_outcome(one, wanted) else None
            for uuid in uuids
        ]

    async def purge(self, *, now: float | None = None) -> int:
        """Forget the places of messages whose records are over; how many that were. Raises RedisError."""
        least = place((time.time() if now is None else now) - self.keep, "")
        async with self._queue.redis.pipeline(transaction=False) as pipe:
            for number in range(self._queue.partitions):
                pipe.zremrangebylex(index_key(number), "-", f"({least}")
            return sum(await pipe.execute())

    async def outcomes(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Write outcomes into the records of their messages. Raises RedisError."""
        batch: list[list[Any]] = []
        for event in events:
            if not event.get("uuid"):
                continue
            said = {name: str(event[name])[:_REASON] for name in ("type", "reason", "ip", "msg") if event.get(name)}
            sink = {"sink": True} if event.get("sink") else {}
            state = json.dumps({"state": event["event"], **said, **sink})
            for recipient in event["rcpt"] or [""]:
                batch.append([1, self._key(event["uuid"]), _TO + recipient, int(event["timestamp"]), state, self.keep])
        await self._queue.call(_OUTCOME, batch)


def _record(answer: Mapping[Any, Any]) -> Record | None:
    found = {_text(name): _text(value) for name, value in answer.items()}
    if not found:
        return None
    states: dict[str, Mapping[str, Any]] = {}
    for name, value in found.items():
        if name.startswith(_TO):
            when, dummy, rest = value.partition(" ")
            states[name.removeprefix(_TO)] = {**json.loads(rest), "time": int(when)}
    return Record(Envelope.loads(found["envelope"].encode()) if "envelope" in found else None, states)


def _fits(envelope: Envelope, wanted: Wanted) -> bool:
    return (
        (not wanted.login or envelope.login == wanted.login)
        and _is_meant(envelope.author, wanted.author)
        and any(_is_meant(one, wanted.recipient) for one in envelope.recipients)
    )


def _is_meant(address: str, wanted: str) -> bool:
    here, there = address.lower(), wanted.lower()
    return here.endswith(there) if there.startswith("@") else not there or here == there


def _has_outcome(record: Record, wanted: Wanted) -> bool:
    if not wanted.outcome or record.envelope is None:
        return True
    meant = (one for one in record.envelope.recipients if _is_meant(one, wanted.recipient))
    return any(state_of(record, one)["state"] == wanted.outcome for one in meant)


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
