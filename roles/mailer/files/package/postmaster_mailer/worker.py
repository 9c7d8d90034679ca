# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The loop of every stage that reads from the queue: take, work, hand on; and when something is away, wait for it.

A stage may die at any point. What it had taken is still its own: it takes that up first when it is back under the same
name, and others claim it when it does not come back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from redis.exceptions import RedisError, ResponseError

from .metrics import WAITED, WORKED
from .queue import Queue, Taken

log = logging.getLogger(__name__)

LONGEST_PAUSE = 5.0  # seconds between two attempts to reach what is away
Work = Callable[[Sequence[Taken]], Awaitable[None]]


@dataclass(frozen=True)
class Reading:
    """What a stage reads: its streams in the order they go first, and how much at a time.

    ``consumer`` is the same after a restart. ``claim_after`` is in seconds, ``size`` in bytes: what is read of all
    partitions together, but for one entry of each of their streams, and what is worked on at a time. ``rest`` is how
    many seconds pass after a read that found fewer than ``count``: of what is in no hurry more is then done at a time.
    """

    streams: tuple[str, ...]
    consumer: str
    count: int = 32
    size: int = 1 << 25
    block: float = 2.0
    claim_after: float = 60.0
    rest: float = 0.0


class Room:
    """For so many bytes. What is larger than all of it is let in alone."""

    def __init__(self, size: int) -> None:
        self._whole = self._free = size
        self._turn = asyncio.Lock()
        self._left = asyncio.Event()

    async def enter(self, size: int) -> None:
        """Wait until there is room; who came first is first."""
        async with self._turn:
            while self._free < min(size, self._whole):
                self._left.clear()
                await self._left.wait()
            self._free -= min(size, self._whole)

    def leave(self, size: int) -> None:
        """Make room."""
        self._free += min(size, self._whole)
        self._left.set()


class Worker:
    """Reads all partitions and gives what it finds to ``work``, which must have it moved on before it returns."""

    def __init__(self, queue: Queue, reading: Reading, work: Work) -> None:
        self._queue, self._reading, self._work = queue, reading, work
        self._size = reading.size // queue.partitions  # bytes of a read
        self._room = Room(reading.size)
        self._stopping = asyncio.Event()
        self._held: dict[tuple[int, bytes], Taken] = {}
        self._again: set[int] = set()  # partitions where work has failed

    def stop(self) -> None:
        """End after what is being worked on."""
        self._stopping.set()

    @property
    def stopping(self) -> asyncio.Event:
        """Set when the stage shall end."""
        return self._stopping

    async def run(self) -> None:
        """Work until :meth:`stop`."""
        await self._patiently(lambda: self._queue.prepare(self._reading.streams))
        async with asyncio.TaskGroup() as group:
            holding = group.create_task(self._hold())
            readers = [group.create_task(self._read(number)) for number in range(self._queue.partitions)]
            await asyncio.wait(readers)
            holding.cancel()

    async def _read(self, partition: int) -> None:
        queue, reading = self._queue, self._reading
        streams, consumer, count, size = reading.streams, reading.consumer, reading.count, self._size
        loop = asyncio.get_running_loop()
        begun, looked = False, loop.time()
        self._again.discard(partition)

        async def once() -> None:
            nonlocal begun, looked
            if not begun or partition in self._again:
                # Also after any failure: what was taken then may be finished or not, and Redis knows.
                self._again.discard(partition)
                await self._resume(partition)
                begun = True
            if loop.time() - looked > reading.claim_after / 4:
                looked = loop.time()
                for stream in streams:
                    await self._give(
                        await queue.claim(partition, stream, consumer, idle=reading.claim_after, count=count, size=size)
                    )
            taken = await queue.take(
                partition, streams, consumer, count=count, block=reading.block, size=size, first=True
            )
            await self._give(taken)
            if reading.rest and 0 < len(taken) < count:
                await self._rest(reading.rest)

        async def anew() -> None:
            nonlocal begun
            try:
                await once()
            except Exception as err:
                begun = False
                if isinstance(err, ResponseError) and str(err).startswith("NOGROUP"):
                    await queue.prepare(streams)  # a failover has taken the group, or Redis was emptied
                raise

        while not self._stopping.is_set():
            await self._patiently(anew)

    async def _resume(self, partition: int) -> None:
        """Take up what this consumer had taken before."""
        reading = self._reading
        while not self._stopping.is_set() and (
            taken := await self._queue.own(
                partition, reading.streams, reading.consumer, count=reading.count, size=self._size
            )
        ):
            await self._give(taken)

    async def _give(self, taken: Sequence[Taken]) -> None:
        if not taken:
            return
        keys, size = [(one.partition, one.id) for one in taken], sum(one.size for one in taken)
        self._held.update(zip(keys, taken, strict=True))
        try:
            await self._room.enter(size)
            try:
                await self._timed(taken)
            finally:
                self._room.leave(size)
        finally:
            for key in keys:
                self._held.pop(key, None)

    async def _timed(self, taken: Sequence[Taken]) -> None:
        """Have work done; how long it has waited, and how long it takes, goes to the metrics."""
        now, begun = time.time(), time.perf_counter()
        for one in taken:
            # An entry's id is the time in milliseconds at which it came into the stream, by Redis's clock.
            WAITED.labels(one.stream).observe(max(0.0, now - int(one.id.partition(b"-")[0]) / 1000))
        try:
            await self._work(taken)
        finally:
            took = time.perf_counter() - begun
            for one in taken:
                WORKED.labels(one.stream).observe(took)

    async def _hold(self) -> None:
        """Keep others from claiming what takes long here."""
        while True:
            await asyncio.sleep(self._reading.claim_after / 4)
            if held := list(self._held.values()):
                try:
                    await self._queue.hold(held, self._reading.consumer)
                except (RedisError, OSError) as err:
                    log.warning("cannot tell the queue that %d entries are worked on: %s", len(held), err)

    async def _patiently(self, action: Callable[[], Awaitable[None]]) -> None:
        """Do it, again and again while what it needs is away."""
        pause = 0.1
        while not self._stopping.is_set():
            try:
                await action()
                return
            except (RedisError, OSError, TimeoutError) as err:
                log.warning("the queue is away, the next attempt is in %.1f s: %s", pause, err)
            await self._rest(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _rest(self, seconds: float) -> None:
        """Do nothing for so long, or until the order to stop."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)


class Flow(Worker):
    """Gives entries to ``work`` one by one, up to ``at_once`` at the same time: none waits for one that takes long.

    It reads a single stream.
    """

    def __init__(self, queue: Queue, reading: Reading, work: Work, *, at_once: int) -> None:
        super().__init__(queue, reading, work)
        self._places = asyncio.Semaphore(at_once)
        self._failed: asyncio.Future[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Work until :meth:`stop`, and finish what is under way."""
        reading = asyncio.ensure_future(super().run())
        self._failed = asyncio.get_running_loop().create_future()
        await asyncio.wait([reading, self._failed], return_when=asyncio.FIRST_COMPLETED)
        if self._failed.done():
            reading.cancel()
            await asyncio.wait([reading])
            self._failed.result()
        await reading
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _resume(self, partition: int) -> None:
        reading, after = self._reading, b"0"
        while taken := await self._queue.own(
            partition, reading.streams, reading.consumer, count=reading.count, after=after, size=self._size
        ):
            await self._give(taken)
            after = taken[-1].id

    async def _give(self, taken: Sequence[Taken]) -> None:
        fresh = [one for one in taken if (one.partition, one.id) not in self._held]
        self._held.update({(one.partition, one.id): one for one in fresh})
        for one in fresh:
            await self._places.acquire()
            await self._room.enter(one.size)
            if one.partition in self._again:
                # What is done now could not be finished, so would be done twice. It is taken up again with the rest.
                self._end(one)
                continue
            task = asyncio.create_task(self._one(one))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _one(self, taken: Taken) -> None:
        try:
            await self._timed([taken])
        except (RedisError, OSError, TimeoutError) as err:
            log.warning("an entry is worked on again: %s", err)
            self._again.update(range(self._queue.partitions))
        except Exception as err:
            if self._failed is not None and not self._failed.done():
                self._failed.set_exception(err)
        finally:
            self._end(taken)

    def _end(self, taken: Taken) -> None:
        self._held.pop((taken.partition, taken.id), None)
        self._room.leave(taken.size)
        self._places.release()
