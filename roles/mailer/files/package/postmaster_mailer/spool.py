# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Push back: what Postfix has not sent goes into the queue again, from where another host's Postfix can take it.

Postfix must be at rest, or it would send what is being pushed back. A message is deleted from its spool only after the
queue has it, and the queue takes it once: whatever dies in between, the next run ends it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .envelope import Envelope, author_of, domain_of
from .message import Message
from .queue import ENVELOPE, MESSAGE, SENDER, Queue, partition_of, stream_key
from .records import Records
from .returnpath import read

BATCH, BATCH_BYTES = 16, 1 << 25  # messages that are in memory at a time, and about how large they are together
_PLACES = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
_MARKED = 7 * 86_400  # seconds that the queue remembers what was pushed back
_RECEIVED = re.compile(rb"Received:[^\n]*\n(?:[ \t][^\n]*\n)*", re.IGNORECASE)
# In one step: a message of a spool is queued, once.
_PUSH = """
if not redis.call('SET', KEYS[2], '1', 'NX', 'EX', ARGV[1]) then return 0 end
redis.call('XADD', KEYS[1], '*', unpack(ARGV, 2))
return 1
"""


class SpoolError(Exception):
    """Postfix's spool cannot be worked on; the text says why, and what to do."""


@dataclass(frozen=True)
class Held:
    """A message in a spool. ``arrival`` is in seconds since the epoch; ``recipients`` have not got it yet.

    ``size`` is in bytes.
    """

    id: str
    queue: str
    sender: str
    recipients: tuple[str, ...]
    arrival: int
    size: int


class Spool:
    """Port: Postfix's spool on this host, by its own programs, which need root. MAIL_CONFIG names another Postfix."""

    async def at_rest(self) -> bool:
        """Whether Postfix does not run. Raises :class:`SpoolError`."""
        if os.geteuid():
            raise SpoolError("the spool belongs to root: run this as root")
        return (await self._run("postfix", "status"))[0] != 0  # what it says goes to the log

    async def list(self) -> list[Held]:
        """All that it holds. Raises :class:`SpoolError`."""
        found = (await self._asked("postqueue", "-j")).decode("utf-8", "replace")
        return [held(json.loads(line)) for line in found.splitlines() if line.strip()]

    async def message(self, id_: str) -> bytes:
        """The text of a message, its lines ending in LF. Raises :class:`SpoolError`."""
        return await self._asked("postcat", "-qhb", id_)

    async def delete(self, ids: Sequence[str]) -> None:
        """Delete messages. Raises :class:`SpoolError`."""
        await self._asked("postsuper", "-d", "-", given="".join(f"{one}\n" for one in ids).encode())

    async def _asked(self, program: str, *words: str, given: bytes = b"") -> bytes:
        code, found, said = await self._run(program, *words, given=given)
        if code:
            raise SpoolError(f"{program}: {said}")
        return found

    async def _run(self, program: str, *words: str, given: bytes = b"") -> tuple[int, bytes, str]:
        path = shutil.which(program, path=_PLACES)
        if path is None:
            raise SpoolError(f"{program} is not there: run this on the host of Postfix, as root")
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(path, *words, stdin=pipe, stdout=pipe, stderr=pipe)
        out, err = await process.communicate(given)
        lines = err.decode("utf-8", "replace").strip().splitlines()
        return process.returncode or 0, out, lines[-1] if lines else f"it ended with {process.returncode}"


def held(about: dict[str, Any]) -> Held:
    """What a line of ``postqueue -j`` says."""
    return Held(
        about["queue_id"],
        about["queue_name"],
        about["sender"],
        tuple(one["address"] for one in about["recipients"]),
        int(about["arrival_time"]),
        int(about["message_size"]),
    )


def as_it_came(raw: bytes, id_: str) -> bytes:
    """A message of a spool as it was handed over: with CRLF, and without the line that Postfix put on top."""
    received = _RECEIVED.match(raw)
    if received and id_.encode() in received[0]:
        raw = raw[received.end() :]
    return raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


@dataclass(frozen=True)
class Pushed:
    """How many messages were pushed back, and how many stay: of others, and those that somebody has put on hold."""

    back: int
    foreign: int
    hold: int


async def push_back(queue: Queue, spool: Spool, *, secrets: tuple[bytes, ...], outgoing: str, host: str) -> Pushed:
    """Push back all that is ours. ``host`` keeps spools apart. Raises :class:`SpoolError`, RedisError."""
    if not await spool.at_rest():
        raise SpoolError("Postfix runs and would send what is pushed back: stop the stage postfix and Postfix first")
    all_ = await spool.list()
    hold = [one for one in all_ if one.queue == "hold"]
    ours = [
        (one, answered.uuid)
        for one in all_
        if one.queue != "hold"
        and (answered := read(secrets, one.sender.rpartition("@")[0])) is not None
        and answered.proven
    ]
    for batch in _batches(ours):
        await _queue(queue, spool, batch, outgoing, host)
        await spool.delete([one.id for one, dummy in batch])
        await queue.redis.hdel(f"mailer:log:{host}", *(f"id:{one.id}" for one, dummy in batch))
    return Pushed(len(ours), len(all_) - len(ours) - len(hold), len(hold))


def _batches(ours: Sequence[tuple[Held, str]]) -> Iterator[list[tuple[Held, str]]]:
    """What is read and written in one go: at least one message, and no more once they are large enough."""
    batch: list[tuple[Held, str]] = []
    for one in ours:
        batch.append(one)
        if len(batch) >= BATCH or sum(held.size for held, dummy in batch) >= BATCH_BYTES:
            yield batch
            batch = []
    if batch:
        yield batch


async def _queue(queue: Queue, spool: Spool, batch: Sequence[tuple[Held, str]], outgoing: str, host: str) -> None:
    known = await Records(queue).envelopes(uuid for dummy, uuid in batch)
    calls = []
    for one, uuid in batch:
        raw = as_it_came(await spool.message(one.id), one.id)
        envelope = dataclasses.replace(known.get(uuid) or _made(one, uuid, raw), recipients=one.recipients)
        partition = partition_of(uuid, queue.partitions)
        mark = stream_key(partition, f"pushed:{host}:{one.id}:{one.arrival}")
        fields = {ENVELOPE: envelope.dumps(), MESSAGE: raw, SENDER: one.sender.encode()}
        words = itertools.chain.from_iterable(fields.items())
        calls.append([2, stream_key(partition, outgoing), mark, _MARKED, *words])
    await queue.call(_PUSH, calls, durable=True)


def _made(one: Held, uuid: str, raw: bytes) -> Envelope:
    """The envelope of a message whose record is over."""
    author = author_of(Message.parse(raw))
    return Envelope(uuid, one.recipients, received=one.arrival, domain=domain_of(author), author=author)
