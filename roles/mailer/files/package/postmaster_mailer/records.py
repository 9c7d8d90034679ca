# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: what is known of a message by its uuid: its envelope, and what became of it for each recipient."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .envelope import Envelope
from .queue import Queue, partition_of, record_key

KEEP = 604_800  # seconds that a record is kept which nobody gave a time
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


class Records:
    """The records of all messages. ``keep`` is how long one is kept that an outcome alone has made, in seconds."""

    def __init__(self, queue: Queue, *, keep: int = KEEP) -> None:
        self._queue, self._keep = queue, keep

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
        found = {_text(name): value for name, value in (await self._queue.redis.hgetall(self._key(uuid))).items()}
        if not found:
            return None
        states: dict[str, Mapping[str, Any]] = {}
        for name, value in found.items():
            if name.startswith(_TO):
                time, dummy, rest = _text(value).partition(" ")
                states[name.removeprefix(_TO)] = {**json.loads(rest), "time": int(time)}
        envelope = Envelope.loads(_text(found["envelope"]).encode()) if "envelope" in found else None
        return Record(envelope, states)

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
                batch.append([1, self._key(event["uuid"]), _TO + recipient, int(event["timestamp"]), state, self._keep])
        await self._queue.call(_OUTCOME, batch)


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
