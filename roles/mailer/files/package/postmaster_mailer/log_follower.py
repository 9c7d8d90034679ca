# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stage: follows Postfix's log and tells what became of each message.

How far it has read is kept in Redis, with the messages that Postfix still has, and only after their outcomes are: after
a death some are told twice, which their ids show, and none is left out.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from redis.exceptions import RedisError

from . import events
from .answers import kind_of_bounce
from .postfix_log import BOUNCED, DEFERRED, EXPIRED, SENT, Queued, Removed, Tried, read
from .queue import EVENT, Queue
from .returnpath import read as read_local
from .servers import Servers

log = logging.getLogger(__name__)

LINES = 500  # that are worked on at a time
PAUSE = 0.05  # seconds between two looks at a file
FEW, REST = 100, 0.2  # lines of a group after which others may gather, and for how many seconds


@dataclass(frozen=True)
class Line:
    """A line, and the place after it."""

    text: str
    place: str


class Source(Protocol):
    """Where lines come from."""

    def lines(self, place: str) -> AsyncIterator[list[Line]]:
        """Lines after a place, in groups, without end; an empty place is the beginning."""


class JournalSource:
    """systemd's journal, by journalctl. Places are its cursors.

    Lines count by the unit that their process belongs to, which systemd vouches for: the name before a line is what its
    writer says, and any user of the host may write there.
    """

    def __init__(self, units: Sequence[str] = ("postfix.service", "postfix@-.service")):
        self._units = units

    async def lines(self, place: str) -> AsyncIterator[list[Line]]:
        """See :class:`Source`."""
        words = ["journalctl", "--follow", "--output=json", "--no-pager", "--no-tail"]
        words += [f"--after-cursor={place}"] if place else ["--since=-1day"]
        words += [f"_SYSTEMD_UNIT={one}" for one in self._units]
        process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        try:
            rest = b""
            while chunk := await process.stdout.read(1 << 18):
                *whole, rest = (rest + chunk).split(b"\n")
                yield [line for raw in whole if (line := _of_journal(raw)) is not None]
            raise OSError("journalctl has ended")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


def _of_journal(raw: bytes) -> Line | None:
    try:
        entry = json.loads(raw)
        message = entry["MESSAGE"]
        # What is no text comes as a list of bytes.
        text = message if isinstance(message, str) else bytes(message).decode("utf-8", "replace")
        return Line(f"{entry['SYSLOG_IDENTIFIER']}: {text}", entry["__CURSOR"])
    except (ValueError, KeyError, TypeError):
        return None


class FileSource:
    """A log file, which may be put aside and begun anew. Places are ``<inode>:<bytes>``."""

    def __init__(self, path: Path, *, follow: bool = True) -> None:
        self._path, self._follow = path, follow

    async def lines(self, place: str) -> AsyncIterator[list[Line]]:
        """See :class:`Source`. What was written to a file after it was put aside is read before the new one."""
        inode, dummy, at = place.partition(":")
        position = int(at or 0)
        path = self._aside(inode) or self._path
        while True:
            try:
                file = path.open("rb")
            except FileNotFoundError:
                await asyncio.sleep(PAUSE)
                continue
            with file:
                here = os.fstat(file.fileno()).st_ino
                file.seek(position if inode in ("", str(here)) else 0)
                async for group in self._of_file(file, here):
                    yield group
            inode, position, path = "", 0, self._path
            if not self._follow:
                return

    async def _of_file(self, file: BinaryIO, inode: int) -> AsyncIterator[list[Line]]:
        while True:
            # The look at the name comes before the look at the end, so nothing is written in between unseen.
            moved = self._replaced(inode)
            group: list[Line] = []
            while len(group) < LINES and (raw := file.readline()).endswith(b"\n"):
                group.append(Line(raw.decode("utf-8", "replace").rstrip("\n"), f"{inode}:{file.tell()}"))
            if not raw.endswith(b"\n"):  # half a line, or nothing: the rest is to come
                file.seek(-len(raw), os.SEEK_CUR)
            if group:
                yield group
                continue
            if moved or not self._follow:
                return
            if os.fstat(file.fileno()).st_size < file.tell():
                file.seek(0)
            await asyncio.sleep(PAUSE)

    def _replaced(self, inode: int) -> bool:
        try:
            return self._path.stat().st_ino != inode
        except FileNotFoundError:
            return True

    def _aside(self, inode: str) -> Path | None:
        """The file that was read, if it has another name now."""
        if not inode or (self._path.exists() and str(self._path.stat().st_ino) == inode):
            return None
        beside = self._path.parent.glob(f"{self._path.name}*")
        return next((one for one in beside if str(one.stat().st_ino) == inode), None)


class LogFollower:
    """Reads the log of the Postfix on this host, whose name keeps its place apart from other hosts'."""

    def __init__(
        self,
        queue: Queue,
        source: Source,
        *,
        host: str,
        secrets: tuple[bytes, ...],
        told: str,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._queue, self._source, self._secrets = queue, source, secrets
        self._key, self._told, self._now = f"mailer:log:{host}", told, now
        self._open: dict[str, str] = {}  # Postfix's ids and our uuids
        self.counts = {SENT: 0, BOUNCED: 0, DEFERRED: 0, EXPIRED: 0}

    @property
    def _redis(self) -> Servers:
        return self._queue.redis

    async def run(self, stop: asyncio.Event) -> None:
        """Follow until told to stop."""
        stopping = asyncio.ensure_future(stop.wait())
        pause = 0.1
        while not stop.is_set():
            try:
                kept = {_text(name): _text(value) for name, value in (await self._redis.hgetall(self._key)).items()}
                place = kept.pop("place", "")
                self._open = {name.removeprefix("id:"): uuid for name, uuid in kept.items()}
                async for group in _until(stopping, self._source.lines(place)):
                    if group:
                        await self.work(group)
                        pause = 0.1
                        if len(group) < FEW:  # each group has Redis flush twice to its disk
                            await asyncio.wait([stopping], timeout=REST)
            except (RedisError, OSError) as err:
                log.warning("the log cannot be followed for now, the next attempt is in %.1f s: %s", pause, err)
                await asyncio.wait([stopping], timeout=pause)
                pause = min(2 * pause, 5.0)

    async def work(self, group: Sequence[Line]) -> None:
        """Tell what these lines say, then keep how far they go."""
        told: list[tuple[str, dict[bytes, bytes]]] = []
        come: dict[str, str] = {}
        gone: list[str] = []
        for line in group:
            said = read(line.text)
            if isinstance(said, Queued):
                address = read_local(self._secrets, said.sender.rpartition("@")[0])
                if address is not None and address.proven and said.id not in self._open:
                    self._open[said.id] = come[said.id] = address.uuid
            elif isinstance(said, Removed):
                if self._open.pop(said.id, None) is not None:
                    come.pop(said.id, None)
                    gone.append(said.id)
            elif isinstance(said, Tried) and said.id in self._open and said.final:
                uuid = self._open[said.id]
                told.append((uuid, {EVENT: self._event(uuid, said)}))
        await self._queue.put(self._told, told)
        async with self._redis.pipeline(transaction=True) as pipe:
            if gone:
                pipe.hdel(self._key, *(f"id:{one}" for one in gone))
            kept: dict[Any, Any] = {f"id:{one}": uuid for one, uuid in come.items()} | {"place": group[-1].place}
            pipe.hset(self._key, mapping=kept)
            await pipe.execute()

    def _event(self, uuid: str, tried: Tried) -> bytes:
        now = self._now()
        self.counts[tried.status] = self.counts.get(tried.status, 0) + 1
        if tried.status == SENT:
            return events.dumps(events.DELIVERED, uuid=uuid, now=now, ip=tried.ip or None, rcpt=tried.recipient)
        if tried.status == EXPIRED:
            return events.bounce(events.HARD, uuid=uuid, now=now, reason="given up after many tries", rcpt="")
        kind = events.SOFT if tried.status == DEFERRED else kind_of_bounce(tried.dsn, tried.said)
        return events.bounce(kind, uuid=uuid, now=now, reason=tried.said, rcpt=tried.recipient, ip=tried.ip)


async def _until(stopping: asyncio.Future[Any], groups: AsyncIterator[list[Line]]) -> AsyncIterator[list[Line]]:
    """The groups that come before the order to stop."""
    iterator = aiter(groups)
    while not stopping.done():
        following: asyncio.Future[Any] = asyncio.ensure_future(anext(iterator))
        await asyncio.wait([following, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not following.done():
            following.cancel()
            return
        try:
            yield following.result()
        except StopAsyncIteration:
            return


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
