# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: the queue, in streams of Redis or Valkey. What one stage has taken stays there until the next stage has it.

A stream of one name lies in several partitions, ``mailer:{<partition>}:<name>``; the braces put all keys of a partition
into one slot, so that a cluster can spread partitions and still take an entry from one stream to the next in one step.
Beside them a record for each message, ``mailer:{<partition>}:message:<uuid>``, tells what became of it, and lets the
same message come twice and be queued once.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from redis.exceptions import NoScriptError, RedisError, ResponseError

from .envelope import Envelope
from .servers import Cluster, Servers, answers

GROUP = "mailer"
BATCH, BATCH_BYTES = 64, 1 << 23  # messages that are written to Redis in one go, and about how large they are together
SIZE = 1 << 23  # bytes after which no more entries are read
ENVELOPE, MESSAGE, SENDER, EVENT = b"e", b"m", b"s", b"v"  # the fields of entries
Fields: TypeAlias = Mapping[bytes, bytes]

# In one step: a message is known as soon as it is queued, and queued only if it is not known. Of one that is known
# something is written, too: WAIT looks at what the same connection wrote last, and since Redis 7.2 at nothing else.
_ADD = """
local known = redis.call('HGET', KEYS[2], 'digest')
if known == ARGV[1] then
  redis.call('EXPIRE', KEYS[2], ARGV[4])
  return 0
end
if known then return -1 end
redis.call('HSET', KEYS[2], 'digest', ARGV[1], 'envelope', ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[4])
redis.call('ZADD', KEYS[3], 0, ARGV[5])
redis.call('XADD', KEYS[1], '*', 'e', ARGV[2], 'm', ARGV[3])
return 1
"""
# Entries of streams, up to a number and about a size, as XREADGROUP knows numbers alone; of each stream one at least.
_READ = """
local found, left = {}, tonumber(ARGV[4])
for at = 1, #KEYS do
  local after = ARGV[5]
  for n = 1, tonumber(ARGV[3]) do
    local answer = redis.pcall('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', 1, 'STREAMS', KEYS[at], after)
    if not answer then break end
    if answer.err then return answer end
    local entry = answer[1][2][1]
    if not entry then break end
    if after ~= '>' then after = entry[1] end
    if entry[2] then
      found[#found + 1] = {at, entry[1], entry[2]}
      for _, value in ipairs(entry[2]) do left = left - #value end
      if left <= 0 then break end
    end
  end
end
return found
"""
# The same of entries that others have left lying.
_CLAIM = """
local found, left, after = {}, tonumber(ARGV[4]), '0-0'
for n = 1, tonumber(ARGV[3]) do
  local answer = redis.pcall('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[5], after, 'COUNT', 1)
  if answer.err then return answer end
  for _, entry in ipairs(answer[2]) do
    if entry and entry[2] then
      found[#found + 1] = {1, entry[1], entry[2]}
      for _, value in ipairs(entry[2]) do left = left - #value end
    end
  end
  after = answer[1]
  if after == '0-0' or left <= 0 then break end
end
return found
"""
# In one step: an entry leaves its stream and what follows from it is in others. Whoever comes second with the same
# entry, as another took it for abandoned, changes nothing. Else it is told how many are left, and one more.
_MOVE = """
if redis.call('XACK', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call('XDEL', KEYS[1], ARGV[2])
local at = 3
for i = 2, #KEYS do
  local n = tonumber(ARGV[at])
  if n == 0 then
    redis.call('EXPIRE', KEYS[i], 0)
  else
    redis.call('XADD', KEYS[i], '*', unpack(ARGV, at + 1, at + n))
  end
  at = at + 1 + n
end
return redis.call('XLEN', KEYS[1]) + 1
"""
# How far the work on an entry is. A full memory takes no more, but from a script that has begun to write.
_NOTE = """
redis.call('SREM', KEYS[1], ARGV[1])
redis.call('SADD', KEYS[1], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
"""
NOTED = 7 * 86_400  # seconds that it is known, from the last note on


class QueueError(Exception):
    """It is not known whether the queue has it: who brought it must try again."""


class UsedError(Exception):
    """The uuid belongs to another message."""


@dataclass(frozen=True)
class Taken:
    """An entry of a stream that this consumer holds."""

    partition: int
    stream: str
    id: bytes
    fields: Fields

    @property
    def envelope(self) -> Envelope:
        """The envelope in it."""
        return Envelope.loads(self.fields[ENVELOPE])

    @property
    def size(self) -> int:
        """Its bytes."""
        return sum(map(len, self.fields.values()))


@dataclass(frozen=True)
class Move:
    """An entry that is done with, and what follows from it: streams of the same partition and their new entries.

    With ``noted`` what was noted of it goes, too.
    """

    done: Taken
    follows: Sequence[tuple[str, Fields]] = ()
    noted: bool = False


def partition_of(uuid: str, partitions: int) -> int:
    """The partition that all of a message lies in."""
    return zlib.crc32(uuid.encode()) % partitions


def stream_key(partition: int, stream: str) -> str:
    """The key of a stream in a partition."""
    return f"mailer:{{{partition}}}:{stream}"


def record_key(partition: int, uuid: str) -> str:
    """The key of a message's record."""
    return stream_key(partition, f"message:{uuid}")


def _notes_key(taken: Taken) -> str:
    """The key of what is noted of an entry. After a failover an id may be used again, but not for the same message."""
    return stream_key(taken.partition, f"{taken.stream}-notes:{taken.id.decode()}:{taken.envelope.uuid}")


def index_key(partition: int) -> str:
    """The key of the sorted set of a partition's messages: all of score 0, so their places sort them."""
    return stream_key(partition, "index")


def place(received: float, uuid: str) -> str:
    """Where a message stands among all, by the time it came in."""
    return f"{int(received * 1000):015d}-{uuid}"


class _Together:
    """Runs of a script: those that are asked for while others are under way go together, and share a flush to disk."""

    def __init__(self, run: Callable[[Sequence[list[Any]]], Awaitable[list[Any]]]) -> None:
        self._run = run
        self._waiting: list[tuple[list[Any], asyncio.Future[Any]]] = []
        self._writer: asyncio.Task[None] | None = None

    def ask(self, words: list[Any]) -> asyncio.Future[Any]:
        """The answer to come, or the error."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((words, answer))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        return answer

    async def _write(self) -> None:
        while self._waiting:
            end = _fitting(words for words, dummy in self._waiting)
            batch, self._waiting = self._waiting[:end], self._waiting[end:]
            answers: Sequence[Any]
            try:
                answers = await self._run([words for words, dummy in batch])
            except Exception as err:  # whatever it is: nobody waits for ever
                answers = [err] * len(batch)
            for (dummy, asked), answer in zip(batch, answers, strict=True):
                if asked.done():  # who waited for it has gone
                    continue
                if isinstance(answer, Exception):
                    asked.set_exception(answer)
                else:
                    asked.set_result(answer)


def _fitting(asked: Iterable[list[Any]]) -> int:
    """How many of these runs go together: at least one."""
    size = 0
    for number, words in enumerate(itertools.islice(asked, BATCH), 1):
        size += sum(len(word) for word in words if isinstance(word, bytes))
        if size >= BATCH_BYTES:
            return number
    return BATCH


class Queue:
    """The streams of all partitions. ``keep`` is how many seconds the record of a message is kept.

    ``replicas`` is how many of them must have a message before it counts as queued, ``wait`` how many seconds they get.
    With ``disk`` they must have it on disk, for which the server must know WAITAOF (Redis 7.2, Valkey).
    """

    def __init__(
        self,
        redis: Servers,
        *,
        partitions: int,
        keep: int = 86_400,
        replicas: int = 0,
        wait: float = 2.0,
        disk: bool = False,
    ) -> None:
        self.redis = redis
        self.partitions = partitions
        self._keep = keep
        self._replicas, self._wait, self._disk = replicas, wait, disk
        self._scripts: dict[str, str] = {}
        self._dry: set[tuple[int, str]] = set()  # partitions and streams in which the last look or move left nothing
        # In a cluster no partition waits for another one's server.
        apart = range(partitions if isinstance(redis, Cluster) else 1)
        self._adds = [_Together(lambda batch: self._run(_ADD, batch, replicas=self._replicas)) for dummy in apart]
        self._moves = [_Together(lambda batch: self._run(_MOVE, batch)) for dummy in apart]
        self._notes = [_Together(lambda batch: self._run(_NOTE, batch)) for dummy in apart]

    # -- in ---------------------------------------------------------------------------------------

    async def add(self, stream: str, envelope: Envelope, message: bytes) -> bool:
        """Queue a message, durably; False if the same one was queued before.

        Raises :class:`QueueError`, and :class:`UsedError` if another message has its uuid.
        """
        partition = partition_of(envelope.uuid, self.partitions)
        digest = hashlib.sha256("\n".join(envelope.recipients).encode() + b"\n\n")
        digest.update(message)
        keys = [stream_key(partition, stream), record_key(partition, envelope.uuid), index_key(partition)]
        known = (digest.hexdigest(), envelope.dumps())
        words = [3, *keys, *known, message, self._keep, place(envelope.received, envelope.uuid)]
        try:
            answer = int(await self._adds[partition % len(self._adds)].ask(words))
        except (RedisError, OSError, TimeoutError) as err:
            raise QueueError(f"the queue does not take it: {err}") from err
        if answer < 0:
            raise UsedError(f"X-Uuid {envelope.uuid} belongs to another message: give each its own")
        return answer == 1

    async def answers(self) -> bool:
        """Whether Redis can be reached; of a cluster, whether any of its primaries can."""
        try:
            if isinstance(self.redis, Cluster):
                return await self.redis.any_answers()
            await self.redis.ping()
        except (RedisError, OSError, TimeoutError):
            return False
        return True

    # -- from one stage to the next ----------------------------------------------------------------

    async def prepare(self, streams: Iterable[str]) -> None:
        """Make the streams and their group, where they are not there."""
        for partition, stream in itertools.product(range(self.partitions), streams):
            try:
                await self.redis.xgroup_create(stream_key(partition, stream), GROUP, id="0", mkstream=True)
            except ResponseError as err:
                if "BUSYGROUP" not in str(err):
                    raise

    async def take(
        self,
        partition: int,
        streams: Sequence[str],
        consumer: str,
        *,
        count: int,
        block: float,
        size: int = SIZE,
        first: bool = False,
    ) -> list[Taken]:
        """Up to ``count`` new entries of each stream, in the order of the streams, and no more after ``size`` bytes.

        Waits ``block`` seconds where there is none, and then comes back with the first of each stream. ``first``: that
        will do as well where there was nothing a moment ago, and spares a question.
        """
        places = {(partition, stream) for stream in streams}
        if not (first and places <= self._dry):
            if found := await self._entries(_READ, partition, streams, consumer, count, size, b">"):
                return found
            self._dry |= places
        keys: dict[Any, Any] = {stream_key(partition, stream): ">" for stream in streams}
        answer = await self.redis.xreadgroup(GROUP, consumer, keys, count=1, block=max(1, int(block * 1000)))
        return _read(answer, partition, streams)

    async def own(
        self,
        partition: int,
        streams: Sequence[str],
        consumer: str,
        *,
        count: int,
        after: bytes = b"0",
        size: int = SIZE,
    ) -> list[Taken]:
        """Entries that this consumer took before and has not finished, the oldest first, those behind ``after``."""
        return await self._entries(_READ, partition, streams, consumer, count, size, after)

    async def claim(
        self, partition: int, stream: str, consumer: str, *, idle: float, count: int, size: int = SIZE
    ) -> list[Taken]:
        """Entries that another consumer took ``idle`` seconds ago or earlier, and has not finished."""
        return await self._entries(_CLAIM, partition, [stream], consumer, count, size, int(idle * 1000))

    async def _entries(
        self, script: str, partition: int, streams: Sequence[str], consumer: str, *words: bytes | int
    ) -> list[Taken]:
        keys = [stream_key(partition, stream) for stream in streams]
        (found,) = await self.call(script, [[len(keys), *keys, GROUP, consumer, *words]])
        return [
            Taken(partition, streams[at - 1], id_, dict(zip(flat[::2], flat[1::2], strict=True)))
            for at, id_, flat in found
        ]

    async def hold(self, held: Iterable[Taken], consumer: str) -> None:
        """Say that these are still being worked on, so that nobody claims them."""
        async with self.redis.pipeline(transaction=False) as pipe:
            for one in held:
                pipe.xclaim(stream_key(one.partition, one.stream), GROUP, consumer, 0, [one.id], justid=True)
            await pipe.execute()

    async def move(self, moves: Sequence[Move]) -> None:
        """Take entries out of their streams and put in what follows, each in one step. Raises RedisError."""
        asked = []
        for one in moves:
            partition = one.done.partition
            keys = [stream_key(partition, stream) for stream in (one.done.stream, *(to for to, dummy in one.follows))]
            if one.noted:
                keys.append(_notes_key(one.done))
            words: list[Any] = [len(keys), *keys, GROUP, one.done.id]
            for dummy, fields in one.follows:
                words += [2 * len(fields), *itertools.chain.from_iterable(fields.items())]
            if one.noted:
                words.append(0)
            asked.append(self._moves[partition % len(self._moves)].ask(words))
        for one, answer in zip(moves, await asyncio.gather(*asked, return_exceptions=True), strict=True):
            if isinstance(answer, BaseException):
                raise answer
            (self._dry.add if answer == 1 else self._dry.discard)((one.done.partition, one.done.stream))

    async def note(self, taken: Taken, number: int) -> None:
        """Note of an entry that a part of it is done, for whoever takes it up after a death. Raises RedisError."""
        notes = self._notes[taken.partition % len(self._notes)]
        await notes.ask([1, _notes_key(taken), number, NOTED])

    async def noted(self, taken: Taken) -> set[int]:
        """What was noted of an entry. Raises RedisError."""
        found: Any = await self.redis.smembers(_notes_key(taken))
        return {int(one) for one in found}

    async def put(self, stream: str, entries: Sequence[tuple[str, Fields]]) -> None:
        """Put entries, each with the uuid that says where, into a stream. Raises RedisError."""
        if not entries:
            return
        commands = [
            (key, ["XADD", key, "*", *itertools.chain.from_iterable(fields.items())])
            for key, fields in (
                (stream_key(partition_of(uuid, self.partitions), stream), fields) for uuid, fields in entries
            )
        ]
        for answer in await self._answers(commands, replicas=self._replicas):
            if isinstance(answer, Exception):
                raise answer

    async def trim(self, stream: str, *, before: float) -> int:
        """Drop what came into a stream before this time, by Redis's clock; how much that was. Raises RedisError."""
        async with self.redis.pipeline(transaction=False) as pipe:
            for number in range(self.partitions):
                pipe.xtrim(stream_key(number, stream), minid=max(0, int(before * 1000)), approximate=False)
            return sum(await pipe.execute())

    async def call(self, script: str, batch: Sequence[list[Any]], *, durable: bool = False) -> list[Any]:
        """The answers to a script, for each list of words: how many keys, the keys, the rest. Raises RedisError.

        What is ``durable`` must reach the replicas as a message must.
        """
        answers = await self._run(script, batch, replicas=self._replicas if durable else 0)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    async def _run(self, script: str, batch: Sequence[list[Any]], *, replicas: int = 0) -> list[Any]:
        """The answers to a script, once for each list of words.

        A new server knows no script and has run none. It is told at once: an entry whose move fails after Postfix has
        taken it is sent twice.
        """
        if not batch:
            return []
        answers = await self._once(script, batch, replicas)
        if again := [at for at, one in enumerate(answers) if isinstance(one, NoScriptError)]:
            self._scripts.pop(script, None)
            for at, answer in zip(again, await self._once(script, [batch[at] for at in again], replicas), strict=True):
                answers[at] = answer
        return answers

    async def _once(self, script: str, batch: Sequence[list[Any]], replicas: int) -> list[Any]:
        if script not in self._scripts:
            self._scripts[script] = await self.redis.script_load(script)
        sha = self._scripts[script]
        return await self._answers([(words[1], ["EVALSHA", sha, *words]) for words in batch], replicas=replicas)

    async def _answers(self, commands: Sequence[tuple[str, list[Any]]], *, replicas: int) -> list[Any]:
        """The answers to commands: an error where one failed, or did not reach the replicas."""
        if not replicas:
            return [one for one, dummy in await answers(self.redis, commands)]
        last = [*(["WAITAOF", 0] if self._disk else ["WAIT"]), replicas, int(self._wait * 1000)]
        return [
            problem if (problem := _short(reached, replicas)) and not isinstance(one, Exception) else one
            for one, reached in await answers(self.redis, commands, last)
        ]


def _short(reached: Any, replicas: int) -> Exception | None:
    """What is wrong with an answer to WAIT or WAITAOF."""
    if isinstance(reached, Exception):
        return reached
    there = int(reached[1] if isinstance(reached, list) else reached)
    return RedisError(f"it reached {there} of {replicas} replicas in time") if there < replicas else None


def _read(answer: Any, partition: int, streams: Sequence[str]) -> list[Taken]:
    """What XREADGROUP answers: a list in RESP2, a mapping with the entries wrapped once more in RESP3."""
    if isinstance(answer, dict):
        answer = [(key, wrapped[0]) for key, wrapped in answer.items()]
    found = {key.decode() if isinstance(key, bytes) else key: entries for key, entries in answer or ()}
    return [
        Taken(partition, stream, id_, fields)
        for stream in streams
        for id_, fields in found.get(stream_key(partition, stream), ())
        if fields
    ]
