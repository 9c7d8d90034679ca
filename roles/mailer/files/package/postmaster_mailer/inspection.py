# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: what lies in the streams. Messages stay in Redis: scripts answer with what is to be known of them alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .queue import GROUP, Queue, partition_of, stream_key

_SCANNED = 5  # entries that Redis copies at a time to look at them, each as large as a message may be
_LOOK = """
if redis.call('EXISTS', KEYS[1]) == 0 then return {0, '', {}} end
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
local consumers = redis.pcall('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])
if consumers.err then consumers = {} end
return {redis.call('XLEN', KEYS[1]), first[1] and first[1][1] or '', consumers}
"""
_FIND = """
local entries = redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ARGV[2])
local found = {}
for _, entry in ipairs(entries) do
  for i = 1, #entry[2], 2 do
    local name, value = entry[2][i], entry[2][i + 1]
    if (name == 'e' or name == 'v') and string.find(value, ARGV[3], 1, true) then found[#found + 1] = value end
  end
end
return {#entries > 0 and entries[#entries][1] or '', found}
"""


@dataclass(frozen=True)
class Consumer:
    """Who reads a stream, how many entries it holds, and for how many seconds it has asked for none."""

    name: str
    working: int
    idle: float


@dataclass(frozen=True)
class Stream:
    """A stream of all partitions: entries that nobody has taken, that somebody has, the oldest's age in seconds."""

    name: str
    waiting: int
    working: int
    oldest: float | None
    consumers: Sequence[Consumer]


async def look(queue: Queue, stream: str) -> Stream:
    """How a stream is. Raises RedisError."""
    answers = await queue.call(_LOOK, [[1, stream_key(number, stream), GROUP] for number in range(queue.partitions)])
    seconds, micros = await queue.redis.time()
    consumers: dict[str, Consumer] = {}
    for about in (dict(zip(flat[::2], flat[1::2], strict=True)) for answer in answers for flat in answer[2]):
        name, working, idle = about[b"name"].decode(), int(about[b"pending"]), int(about[b"idle"]) / 1000
        if (other := consumers.get(name)) is not None:
            working, idle = working + other.working, min(idle, other.idle)
        consumers[name] = Consumer(name, working, idle)
    taken = sum(one.working for one in consumers.values())
    first = min((int(answer[1].partition(b"-")[0]) for answer in answers if answer[1]), default=None)
    return Stream(
        stream,
        sum(int(answer[0]) for answer in answers) - taken,
        taken,
        None if first is None else max(0.0, seconds + micros / 1e6 - first / 1000),
        sorted(consumers.values(), key=lambda one: one.name),
    )


async def find(queue: Queue, stream: str, uuid: str) -> list[dict[str, Any]]:
    """The envelopes, or the events, of a message that lie in a stream. Raises RedisError."""
    key = stream_key(partition_of(uuid, queue.partitions), stream)
    found: list[dict[str, Any]] = []
    after = b"-"
    while True:
        ((last, values),) = await queue.call(_FIND, [[1, key, after, _SCANNED, f'"{uuid}"']])
        found += [one for one in map(_read, values) if one.get("uuid") == uuid]
        if not last:
            return found
        after = b"(" + last


def _read(value: bytes) -> dict[str, Any]:
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):  # no entry of ours
        return {}
    return found if isinstance(found, dict) else {}


async def left(queue: Queue, streams: Sequence[str]) -> dict[str, int]:
    """How many entries each stream holds; with streams in the order that messages go, none is missed."""
    return {
        stream: sum([await queue.redis.xlen(stream_key(number, stream)) for number in range(queue.partitions)])
        for stream in streams
    }
