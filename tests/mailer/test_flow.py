# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The loop that gives entries to a delivery one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from postmaster_mailer.queue import Queue, Taken
from postmaster_mailer.worker import Flow, Reading, Worker
from redis.exceptions import ConnectionError as AwayError

from .conftest import PATIENCE, run

ENTRIES = [Taken(0, "outgoing", b"%d-0" % number, {}) for number in (1, 2, 3)]


class Scripted(Queue):
    """A queue that gives the entries once as new, and then to who asks for what he holds."""

    def __init__(self, log: list[str]) -> None:
        self.partitions, self._log, self._left = 1, log, list(ENTRIES)

    async def prepare(self, streams: Any) -> None:
        pass

    async def own(self, *words: Any, after: bytes = b"0", **more: Any) -> list[Taken]:
        self._log.append(f"own after {after.decode()}")
        return [
            one for one in ENTRIES if not self._left and one.id > after and f"done {one.id.decode()}" not in self._log
        ]

    async def take(self, *words: Any, **more: Any) -> list[Taken]:
        await asyncio.sleep(0.01)
        new, self._left = self._left, []
        return new


@pytest.mark.parametrize("fails", [True, False])
def test_what_could_not_be_finished_is_not_begun(fails: bool) -> None:
    """The queue goes away while the first is in the hands of Postfix: the others would be sent, and sent again."""
    log: list[str] = []
    failing = [fails]

    async def go() -> None:
        async def work(taken: Sequence[Taken]) -> None:
            (one,) = taken
            log.append(f"sent {one.id.decode()}")
            await asyncio.sleep(0)
            if failing[0]:
                failing[0] = False
                raise AwayError("away")
            log.append(f"done {one.id.decode()}")
            if sum(entry.startswith("done") for entry in log) == 3:
                flow.stop()

        flow = Flow(Scripted(log), Reading(("outgoing",), "one"), work, at_once=1)
        await flow.run()

    run(go())
    sent = [entry for entry in log if entry.startswith("sent")]
    assert sent == [*(["sent 1-0"] if fails else []), "sent 1-0", "sent 2-0", "sent 3-0"]
    assert log[0] == "own after 0"
    assert ("own after 0" in log[1:]) == fails


class Full(Scripted):
    """Two partitions with entries of these sizes."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__([])
        self.partitions = 2
        self._full = {
            part: [
                Taken(part, "outgoing", b"%d-%d" % (at, part), {b"m": b"m" * size}) for at, size in enumerate(sizes, 1)
            ]
            for part in range(2)
        }

    async def own(self, *words: Any, **more: Any) -> list[Taken]:
        return []

    async def take(self, partition: int, *words: Any, **more: Any) -> list[Taken]:
        await asyncio.sleep(0)
        found, self._full[partition] = self._full[partition], []
        return found


@pytest.mark.parametrize("kind", [Worker, Flow])
@pytest.mark.parametrize(
    ("sizes", "most"),
    [
        ([40, 40], 100),  # two of them are as many as go
        ([30, 150, 30], 150),  # a larger one than all of it goes alone
    ],
)
def test_what_is_worked_on_at_a_time_is_bounded(kind: type[Worker], sizes: list[int], most: int) -> None:
    async def go() -> None:
        working, done = 0, 0
        seen = []

        async def work(taken: Sequence[Taken]) -> None:
            nonlocal working, done
            size = sum(one.size for one in taken)
            working += size
            seen.append(working)
            await asyncio.sleep(0.01)
            working -= size
            done += len(taken)
            if done == 2 * len(sizes):
                stage.stop()

        reading = Reading(("outgoing",), "one", block=0.01, size=100)
        stage = Flow(Full(sizes), reading, work, at_once=20) if kind is Flow else Worker(Full(sizes), reading, work)
        async with asyncio.timeout(PATIENCE):
            await stage.run()
        assert done == 2 * len(sizes)
        if kind is Flow:
            assert max(seen) <= most
            assert len([one for one in seen if one > min(sizes)]) > 0
        else:  # all that one read has brought is worked on together
            assert set(seen) == {sum(sizes)}

    run(go())


class Brought(Scripted):
    """A queue whose reads bring so many entries."""

    def __init__(self, counts: Sequence[int]) -> None:
        super().__init__([])
        self.counts = list(counts)

    async def own(self, *words: Any, **more: Any) -> list[Taken]:
        return []

    async def take(self, *words: Any, **more: Any) -> list[Taken]:
        await asyncio.sleep(0)
        return ENTRIES[: self.counts.pop(0)] if self.counts else []


@pytest.mark.parametrize(
    ("counts", "left"),
    [
        ([3, 3, 0, 3, 2, 1], [1]),  # a read that brought some, but not all that it may, is the last before the rest
        ([3, 3, 0, 3, 3, 1], []),
    ],
)
def test_who_rests_does_so_after_a_read_that_was_not_full(counts: list[int], left: list[int]) -> None:
    async def go() -> None:
        queue, short = Brought(counts), asyncio.Event()

        async def work(taken: Sequence[Taken]) -> None:
            if len(taken) < 3:
                short.set()

        worker = Worker(queue, Reading(("events",), "one", count=3, rest=3600.0), work)
        running = asyncio.ensure_future(worker.run())
        async with asyncio.timeout(PATIENCE):
            await short.wait()
            for dummy in range(20):
                await asyncio.sleep(0)
            assert queue.counts == left
            worker.stop()  # which ends the rest
            await running

    run(go())
