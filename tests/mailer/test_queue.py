# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The queue in a real Redis, which is killed under it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from postmaster_mailer.config import QueueNames
from postmaster_mailer.envelope import Envelope
from postmaster_mailer.queue import (
    EVENT,
    Move,
    Queue,
    QueueError,
    Taken,
    UsedError,
    _Together,
    partition_of,
    stream_key,
)
from postmaster_mailer.receiver import Intake, RejectedError
from postmaster_mailer.worker import Reading, Worker
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from .conftest import PATIENCE, RedisServer, run

MAIL = b"X-Uuid: %s\r\nFrom: a@example.org\r\n\r\nhello\r\n"


def queue_of(server: RedisServer, protocol: int = 3, **options: float) -> Queue:
    return Queue(Redis(unix_socket_path=str(server.socket), protocol=protocol), partitions=2, **options)  # type: ignore[arg-type]


async def taken(queue: Queue, stream: str = "default", consumer: str = "one") -> list[Taken]:
    return [one for part in range(2) for one in await queue.take(part, [stream], consumer, count=1000, block=0.01)]


@pytest.mark.parametrize("protocol", [2, 3])
def test_in_and_through(redis_server: RedisServer, protocol: int) -> None:
    async def go() -> None:
        queue = queue_of(redis_server, protocol)
        await queue.prepare(["default", "next"])
        await queue.prepare(["default", "next"])  # a second start
        envelopes = [Envelope(f"u{number}", ("b@example.com",)) for number in range(100)]
        assert all(await asyncio.gather(*(queue.add("default", one, b"m" + one.uuid.encode()) for one in envelopes)))
        got = await taken(queue)
        assert sorted(one.envelope.uuid for one in got) == sorted(one.uuid for one in envelopes)
        assert {one.partition for one in got} == {0, 1}
        assert all(one.fields[b"m"] == b"m" + one.envelope.uuid.encode() for one in got)
        await queue.move([Move(one, [("next", {EVENT: b"1"}), ("next", {EVENT: b"2"})]) for one in got])
        assert Counter(one.fields[EVENT] for one in await taken(queue, "next")) == {b"1": 100, b"2": 100}
        assert [await queue.redis.xlen(stream_key(part, "default")) for part in range(2)] == [0, 0]

    run(go())


def test_the_same_message_is_queued_once(redis_server: RedisServer) -> None:
    async def go() -> None:
        queue = queue_of(redis_server)
        await queue.prepare(["default"])
        one = Envelope("u1", ("b@example.com",))
        assert [await queue.add("default", one, b"m"), await queue.add("default", one, b"m")] == [True, False]
        with pytest.raises(UsedError, match="X-Uuid u1 belongs to another message"):
            await queue.add("default", one, b"other")
        with pytest.raises(UsedError):
            await queue.add("default", Envelope("u1", ("c@example.com",)), b"m")
        assert len(await taken(queue)) == 1

    run(go())


def test_who_comes_second_changes_nothing(redis_server: RedisServer) -> None:
    async def go() -> None:
        queue = queue_of(redis_server)
        await queue.prepare(["default", "next"])
        await queue.add("default", Envelope("u1", ("b@example.com",)), b"m")
        (mine,) = await taken(queue)
        assert await queue.claim(mine.partition, "default", "two", idle=60, count=10) == []
        (theirs,) = await queue.claim(mine.partition, "default", "two", idle=0, count=10)
        await queue.move([Move(theirs, [("next", {EVENT: b"theirs"})])])
        await queue.move([Move(mine, [("next", {EVENT: b"mine"})])])
        assert [one.fields[EVENT] for one in await taken(queue, "next")] == [b"theirs"]

    run(go())


def test_a_server_that_knows_no_script_is_told(redis_server: RedisServer) -> None:
    """As after a restart. An entry whose move failed for it would be sent twice."""

    async def go() -> None:
        queue = queue_of(redis_server)
        await queue.prepare(["default"])
        for uuid in ("u1", "u2", "u3"):
            assert await queue.add("default", Envelope(uuid, ("b@example.com",)), b"m")
            await queue.move([Move(one, [("next", {EVENT: b"ours"})]) for one in await taken(queue)])
            await queue.redis.script_flush()
        await queue.prepare(["next"])
        assert len(await taken(queue, "next")) == 3

    run(go())


def test_what_was_taken_before_a_death_is_still_ones_own(redis_server: RedisServer) -> None:
    async def go() -> None:
        queue = queue_of(redis_server)
        await queue.prepare(["default"])
        await queue.add("default", Envelope("u1", ("b@example.com",)), b"m")
        (mine,) = await taken(queue)
        assert await taken(queue) == []
        redis_server.kill()
        redis_server.start()
        later = queue_of(redis_server)
        assert await later.own(mine.partition, ["default"], "two", count=10) == []
        assert await later.own(mine.partition, ["default"], "one", count=10) == [mine]
        await later.hold([mine], "one")

    run(go())


SMALL, LARGE = b"m" * 1000, b"m" * 500_000


async def put(queue: Queue, stream: str, *messages: bytes) -> None:
    """Into one partition, in this order."""
    for number, message in enumerate(messages):
        await queue.add(stream, Envelope(f"{stream}{number}", ("b@example.com",)), message)


@pytest.mark.parametrize(
    ("messages", "size", "sizes"),
    [
        ([SMALL] * 5, 1_000_000, [[1000] * 3, [1000] * 2]),  # the number counts
        ([LARGE] * 4, 1_000_000, [[500_000] * 2, [500_000] * 2]),  # their size does
        ([LARGE] * 3, 1000, [[500_000]] * 3),  # one comes in any case
        ([SMALL, LARGE, SMALL, SMALL], 10_000, [[1000, 500_000], [1000, 1000]]),
    ],
)
def test_what_is_read_at_a_time_is_bounded(
    redis_server: RedisServer, messages: list[bytes], size: int, sizes: list[list[int]]
) -> None:
    async def go() -> None:
        queue = Queue(Redis(unix_socket_path=str(redis_server.socket), protocol=3), partitions=1)
        await queue.prepare(["default"])
        await put(queue, "default", *messages)

        def seen(found: list[Taken]) -> list[int]:
            return [len(one.fields[b"m"]) for one in found]

        assert [
            seen(await queue.take(0, ["default"], "one", count=3, block=0.01, size=size)) for dummy in sizes
        ] == sizes
        after, own = b"0", []
        while found := await queue.own(0, ["default"], "one", count=3, after=after, size=size):
            own.append(seen(found))
            after = found[-1].id
        assert own == sizes
        claimed = []
        while found := await queue.claim(0, "default", "two", idle=0, count=3, size=size):
            claimed.append(seen(found))
            await queue.move([Move(one) for one in found])
        assert claimed == sizes
        assert await queue.take(0, ["default"], "one", count=3, block=0.01, size=size) == []

    run(go())


def test_each_stream_comes_to_its_turn(redis_server: RedisServer) -> None:
    async def go() -> None:
        queue = Queue(Redis(unix_socket_path=str(redis_server.socket), protocol=3), partitions=1)
        await queue.prepare(["primary", "default"])
        await put(queue, "primary", LARGE, LARGE)
        await put(queue, "default", SMALL, SMALL)
        for expected in (["primary0", "default0"], ["primary1", "default1"]):
            found = await queue.take(0, ["primary", "default"], "one", count=9, block=0.01, size=1000)
            assert [one.envelope.uuid for one in found] == expected

    run(go())


def test_a_group_that_is_gone_is_known_by_its_error(redis_server: RedisServer) -> None:
    """As after a failover: stages then make it anew."""

    async def go() -> None:
        queue = queue_of(redis_server)
        for read in (
            lambda: queue.take(0, ["default"], "one", count=1, block=0.01),
            lambda: queue.own(0, ["default"], "one", count=1),
            lambda: queue.claim(0, "default", "one", idle=0, count=1),
        ):
            with pytest.raises(ResponseError, match="^NOGROUP"):
                await read()
        await queue.prepare(["default"])
        assert await queue.take(0, ["default"], "one", count=1, block=0.01) == []

    run(go())


def test_who_waits_gets_what_comes(redis_server: RedisServer) -> None:
    async def go() -> None:
        queue = Queue(Redis(unix_socket_path=str(redis_server.socket), protocol=3), partitions=1)
        await queue.prepare(["default"])
        waiting = asyncio.create_task(queue.take(0, ["default"], "one", count=9, block=60))
        await asyncio.sleep(0.05)
        await put(queue, "default", SMALL)
        assert [one.envelope.uuid for one in await waiting] == ["default0"]

    run(go())


@pytest.mark.parametrize(("left", "more"), [(0, 1), (1, 3)])
def test_where_nothing_was_left_there_is_no_look_before_the_wait(
    redis_server: RedisServer, left: int, more: int
) -> None:
    """What is left behind by the last move has the next take bring all there is, not the first alone."""

    async def go() -> None:
        queue = Queue(Redis(unix_socket_path=str(redis_server.socket), protocol=3), partitions=1)
        await queue.prepare(["default"])

        async def take(count: int) -> list[Taken]:
            return await queue.take(0, ["default"], "one", count=count, block=60, first=True)

        async def add(number: int) -> None:
            await queue.add("default", Envelope(f"u{number}", ("b@example.com",)), b"m")

        for number in range(1 + left):
            await add(number)
        (one,) = await take(1)
        await queue.move([Move(one)])
        for number in range(2, 5 - left):
            await add(number)
        found = await take(9)
        assert len(found) == more
        await queue.move([Move(each) for each in found])
        rest = await take(9) if more == 1 else []
        assert len(found) + len(rest) == 3  # nothing stays behind

    run(go())


@pytest.mark.parametrize(
    ("sizes", "batches"),
    [([10] * 100, [64, 36]), ([3 << 20] * 5, [3, 2]), ([9 << 20, 10, 9 << 20], [1, 2])],
)
def test_what_is_written_at_a_time_is_bounded(sizes: list[int], batches: list[int]) -> None:
    async def go() -> None:
        seen: list[int] = []

        async def write(batch: Sequence[list[Any]]) -> list[Any]:
            seen.append(len(batch))
            return [1] * len(batch)

        together = _Together(write)
        assert await asyncio.gather(*(together.ask(["key", b"m" * size]) for size in sizes)) == [1] * len(sizes)
        assert seen == batches

    run(go())


def test_no_yes_without_redis(redis_server: RedisServer) -> None:
    async def go() -> None:
        queue = queue_of(redis_server)
        await queue.prepare(["default"])
        redis_server.kill()
        with pytest.raises(QueueError, match="the queue does not take it"):
            await queue.add("default", Envelope("u1", ("b@example.com",)), b"m")
        redis_server.start()
        results = [await add_again(queue, "u1") for dummy in range(2)]
        assert results == [True, False]

    run(go())


async def add_again(queue: Queue, uuid: str) -> bool:
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await queue.add("default", Envelope(uuid, ("b@example.com",)), b"m")
            except QueueError:
                await asyncio.sleep(0.05)


def test_no_yes_when_memory_is_full(redis_server: RedisServer) -> None:
    async def go() -> None:
        queue = queue_of(redis_server)
        await queue.prepare(["default"])
        await queue.add("default", Envelope("u0", ("b@example.com",)), b"m")
        await queue.redis.config_set("maxmemory", 2_000_000)
        said = ""
        for number in range(1, 100):
            try:
                await queue.add("default", Envelope(f"u{number}", ("b@example.com",)), b"m" * 100_000)
            except QueueError as err:
                said = str(err)
                break
        assert "maxmemory" in said
        await queue.redis.config_set("maxmemory", 0)
        assert await queue.add("default", Envelope(f"u{number}", ("b@example.com",)), b"m" * 100_000)

    run(go())


def test_no_yes_without_the_replicas(redis_server: RedisServer) -> None:
    async def go() -> None:
        queue = queue_of(redis_server, replicas=1, wait=0.1)
        await queue.prepare(["default"])
        with pytest.raises(QueueError, match="it reached 0 of 1 replicas in time"):
            await queue.add("default", Envelope("u1", ("b@example.com",)), b"m")
        # It may be in all the same: the second try makes no second message.
        with pytest.raises(QueueError):
            await queue.add("default", Envelope("u1", ("b@example.com",)), b"m")
        assert len(await taken(queue)) == 1

    run(go())


def test_intake_says_what_is_wrong(redis_server: RedisServer) -> None:
    async def go() -> None:
        queue = queue_of(redis_server)
        await queue.prepare(["primary", "default"])
        intake = Intake(queue, QueueNames())
        assert await intake.take(MAIL % b"u1", ("b@example.com",), "app") == "u1"
        assert (
            await intake.take(
                b"X-Priority: 0\r\n" + MAIL % b"u2" + b"a" * 998, ("b@example.com", "c@example.com"), "app"
            )
            == "u2"
        )
        assert await intake.take(MAIL % b"u1", ("b@example.com",), "app") == "u1"
        for raw, said in (
            (MAIL % b"u1" + b"more", "X-Uuid u1 belongs to another message: give each its own"),
            (MAIL % b"u3" + b"a\nb\r\n", "a line end at byte 43 is CR or LF alone: lines end in CRLF"),
            (MAIL % b"u3" + b"a\0b\r\n", "there is a NUL in it: encode what is no text as base64"),
            (MAIL % b"u3" + b"a" * 999 + b"\r\n", "line 5 has more than 998 bytes: encode the text it is in"),
            (MAIL % b"U3", "X-Uuid is missing or wrong: give each message one, 1 to 40 of a-z and 0-9"),
        ):
            with pytest.raises(RejectedError) as error:
                await intake.take(raw, ("b@example.com",), "app")
            assert str(error.value) == said
        assert vars(intake.counts) == {"enqueued": 2, "recipients": 3, "dropped": 5}
        assert [one.envelope.login for one in await taken(queue, "primary")] == ["app"]
        assert [one.envelope.uuid for one in await taken(queue, "default")] == ["u1"]

    run(go())


def test_nothing_is_lost_while_redis_and_workers_die(redis_server: RedisServer) -> None:
    """Messages go in and through a stage whose workers and whose Redis are ended at any point."""
    total, kills = 400, 5

    async def go() -> None:
        accepted: set[str] = set()

        async def feed() -> None:
            feeding = queue_of(redis_server)
            for number in range(total):
                if await add_again(feeding, f"u{number}") is not None:
                    accepted.add(f"u{number}")
                await asyncio.sleep(0.002)

        def worker(name: str) -> tuple[Worker, asyncio.Task[None]]:
            queue = queue_of(redis_server)

            async def work(entries: object) -> None:
                await asyncio.sleep(0.005)
                await queue.move([Move(one, [("next", {b"e": one.fields[b"e"]})]) for one in entries])  # type: ignore[attr-defined]

            one = Worker(queue, Reading(("default",), name, count=8, block=0.05, claim_after=1.0), work)
            return one, asyncio.create_task(one.run())

        queue = queue_of(redis_server)
        await queue.prepare(["default", "next"])
        feeding = asyncio.create_task(feed())
        workers = [worker("one"), worker("two")]
        for number in range(kills):
            await asyncio.sleep(0.15)
            workers[number % 2][1].cancel()  # as if it died: what it had taken stays taken
            if number % 2:
                redis_server.kill()
                redis_server.start()
            workers[number % 2] = worker(("one", "two")[number % 2] + ("" if number < 3 else "new"))
        await feeding
        found: Counter[str] = Counter()
        reading = queue_of(redis_server)
        async with asyncio.timeout(PATIENCE):
            while len(found) < total:
                found.update(one.envelope.uuid for one in await taken(reading, "next"))
                await asyncio.sleep(0.05)
        for one, task in workers:
            one.stop()
            await asyncio.wait_for(task, PATIENCE)
        assert accepted == {f"u{number}" for number in range(total)}
        assert set(found) == accepted
        assert set(found.values()) == {1}

    run(go())


def test_partitions_are_even() -> None:
    counted = Counter(partition_of(f"u{number}", 4) for number in range(4000))
    assert all(800 < number < 1200 for number in counted.values())
