# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pools of addresses: which mail leaves by which, the warm-up of new ones on a real Redis, and what waits for its day."""

from __future__ import annotations

import asyncio
import datetime
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from postmaster_mailer import config, connect
from postmaster_mailer.config import ConfigError
from postmaster_mailer.delivery import Delivery, Lane, Waiting, waiting_of
from postmaster_mailer.envelope import Envelope
from postmaster_mailer.pools import Address, Counts, FullError, Pool, Pools, Ways
from postmaster_mailer.queue import ENVELOPE, MESSAGE, SENDER, Queue, Taken, stream_key
from redis.asyncio import Redis
from redis.exceptions import RedisError

from .conftest import RedisServer, run
from .stages import FakePostfix

FIRST = datetime.date(2026, 11, 1)
OLD, NEW = Address("out1.example.org"), Address("out2.example.org", FIRST)


def settings(**pools: dict[str, Any]) -> config.PostfixLog:
    return config.parse({"postfixlog": {"pools": pools}}).postfixlog


def pool(helo: str, **more: Any) -> dict[str, Any]:
    return {"addresses": [{"helo": helo}], **more}


# -- which pool ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stream", "login", "domain", "expected"),
    [
        ("news", "shop", "example.org", "s"),  # the stream counts first
        ("other", "shop", "example.org", "l"),  # then the login
        (None, "other", "example.org", "d"),
        (None, "", "EXAMPLE.org".lower(), "d"),
        ("NEWS", "", "", None),  # streams are what the application calls them
        (None, "", "example.com", None),
    ],
)
def test_which_pool(stream: str | None, login: str, domain: str, expected: str | None) -> None:
    given = settings(
        s=pool("s.example.org", streams=["news"]),
        l=pool("l.example.org", logins=["shop"]),
        d=pool("d.example.org", domains=["Example.org"]),
    )
    found = connect.pools_of(given).of(Envelope("u", ("b@example.com",), stream_id=stream, login=login, domain=domain))
    assert (found.name if found else None) == expected


def test_the_pool_default_has_the_rest() -> None:
    pools = connect.pools_of(settings(default=pool("a.example.org"), s=pool("s.example.org", streams=["news"])))
    names = [pools.of(Envelope("u", (), stream_id=one)) for one in (None, "x", "news")]
    assert [one.name for one in names if one] == ["default", "default", "s"]


@pytest.mark.parametrize(
    ("pools", "said"),
    [
        (
            {"a": pool("x.example.org", streams=["n"]), "b": pool("y.example.org", streams=["n"])},
            "postfixlog: streams of pools: n stands there twice: give it to one pool",
        ),
        (
            {"a": pool("x.example.org"), "b": pool("X.example.org")},
            "postfixlog: helo of pools: x.example.org stands there twice: give it to one pool",
        ),
        (
            {"a": pool("x.example.org", domains=["a.org"]), "b": pool("y.example.org", domains=["A.org"])},
            "postfixlog: domains of pools: a.org stands there twice: give it to one pool",
        ),
        (
            {"a": {"addresses": []}},
            "postfixlog.pools.a.addresses: Tuple should have at least 1 item after validation, not 0",
        ),
    ],
)
def test_pools_that_cannot_be(pools: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as err:
        settings(**pools)
    assert str(err.value) == said


def test_pools_that_can() -> None:
    """The twin of the above: other streams, logins, domains and names."""
    given = settings(a=pool("x.example.org", streams=["n"]), b=pool("y.example.org", streams=["N"], logins=["n"]))
    assert list(given.pools) == ["a", "b"]


# -- how much a new address sends ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "expected"),
    [(-1, 0), (0, 50), (1, 100), (2, None), (100, None)],
)
def test_the_schedule(day: int, expected: int | None) -> None:
    one = Pool("bulk", [OLD, NEW], (50, 100))
    today = FIRST + datetime.timedelta(day)
    assert one.limit(NEW, today) == expected
    assert one.limit(OLD, today) is None


class Day:
    """A day that a test moves."""

    def __init__(self) -> None:
        self.now = FIRST

    def __call__(self) -> datetime.date:
        return self.now


def with_queue(server: RedisServer, steps: Callable[[Queue], Awaitable[None]]) -> None:
    async def go() -> None:
        queue = Queue(Redis(unix_socket_path=str(server.socket), protocol=3), partitions=1)
        await steps(queue)
        await queue.redis.aclose()

    run(go())


def pools_with(*addresses: Address, schedule: tuple[int, ...] = (3, 5)) -> Pools:
    one = Pool("bulk", addresses, schedule)
    return Pools([one], {"news": one})


def test_what_is_above_the_schedule_goes_by_the_elders(redis_server: RedisServer) -> None:
    async def steps(queue: Queue) -> None:
        day = Day()
        # Two deliveries that share a Redis share the count.
        both = [Ways(pools_with(OLD, NEW), Counts(queue), today=day) for dummy in range(2)]
        news = Envelope("u", (), stream_id="news")
        found = Counter([(await ways.find(news)).helo for dummy in range(5) for ways in both])
        assert found == {NEW.helo: 3, OLD.helo: 7}
        day.now += datetime.timedelta(1)
        assert Counter([(await both[0].find(news)).helo for dummy in range(10)]) == {NEW.helo: 5, OLD.helo: 5}
        day.now += datetime.timedelta(1)  # grown up: both in turn
        assert Counter([(await both[0].find(news)).helo for dummy in range(10)]) == {NEW.helo: 5, OLD.helo: 5}
        assert (await both[0].find(Envelope("u", ()))).helo == ""

    with_queue(redis_server, steps)


def test_what_did_not_leave_is_not_counted(redis_server: RedisServer) -> None:
    async def steps(queue: Queue) -> None:
        ways = Ways(pools_with(NEW), Counts(queue), today=Day())
        news = Envelope("u", (), stream_id="news")
        last = [await ways.find(news) for dummy in range(3)][-1]
        with pytest.raises(FullError, match="the pool bulk has sent what it may today"):
            await ways.find(news)
        await ways.give_up(last)
        assert (await ways.find(news)).helo == NEW.helo
        # A count does not stay for good.
        (key,) = await queue.redis.keys("mailer:warm-up:*")
        assert key == b"mailer:warm-up:bulk:out2.example.org:2026-11-01"
        assert await queue.redis.ttl(key) > 86_400

    with_queue(redis_server, steps)


# -- the way through Postfix -----------------------------------------------------------------------------


class Recording(FakePostfix):
    """Notes under which name each message came."""

    def __init__(self, log: Path) -> None:
        super().__init__(log)
        self.by: list[str] = []

    async def take(self, dialogue: Any, raw: bytes) -> str:
        self.by.append(dialogue.hello)
        return await super().take(dialogue, raw)


async def taken(queue: Queue, envelope: Envelope) -> list[Taken]:
    """A message that this test's consumer has taken from outgoing."""
    await queue.prepare(["outgoing", "told", waiting_of("outgoing")])
    fields = {ENVELOPE: envelope.dumps(), MESSAGE: b"Message-ID: <u@x>\r\n\r\nhi\r\n", SENDER: b"b@rp.example.org"}
    await queue.redis.xadd(stream_key(0, "outgoing"), fields)  # type: ignore[arg-type]
    return await queue.take(0, ["outgoing"], "me", count=9, block=0.01)


class Leaving(FakePostfix):
    """Goes away after so many messages."""

    left = 2

    async def take(self, dialogue: Any, raw: bytes) -> str:
        said = await super().take(dialogue, raw)
        self.left -= 1
        if not self.left:
            await self.stop()
        return said


class Dying(FakePostfix):
    """Its second message is taken, but it is long in saying so."""

    def __init__(self, log: Path) -> None:
        super().__init__(log)
        self.dead = asyncio.Event()

    async def take(self, dialogue: Any, raw: bytes) -> str:
        said = await super().take(dialogue, raw)
        if self.delivered.total() == 2:
            self.dead.set()
            await asyncio.sleep(60)
        return said


def test_at_a_stop_nobody_gets_again_what_he_has(redis_server: RedisServer, tmp_path: Path) -> None:
    """Postfix goes away in the middle of a message to four, just when the stage is told to stop."""

    async def steps(queue: Queue) -> None:
        postfix = Leaving(tmp_path / "log")
        await postfix.start()
        lane = Lane("127.0.0.1", postfix.port, "host.example.org")
        ways = Ways(Pools(), Counts(queue))
        delivery = Delivery(queue, [lane], told="told", ways=ways, stopping=lambda: postfix.left <= 0)
        four = tuple(f"{one}@example.com" for one in "abcd")
        await delivery.work(await taken(queue, Envelope("u", four)))
        # The second was taken, but its answer was lost with the connection.
        (entry,) = await queue.take(0, ["outgoing"], "me", count=9, block=0.01)
        assert entry.envelope.recipients == four[1:]
        await postfix.start()
        await delivery.work([entry])
        assert postfix.delivered == {
            "u a@example.com": 1,
            "u b@example.com": 2,
            "u c@example.com": 1,
            "u d@example.com": 1,
        }
        assert await queue.redis.xlen(stream_key(0, "outgoing")) == 0
        lane.close()
        await postfix.stop()

    with_queue(redis_server, steps)


@pytest.mark.parametrize("full", [False, True])
def test_a_death_in_the_middle_doubles_what_was_under_way_alone(
    redis_server: RedisServer, tmp_path: Path, full: bool
) -> None:
    """The process dies when Postfix has taken the third of five, before it was told so; the second was refused."""

    async def steps(queue: Queue) -> None:
        postfix = Dying(tmp_path / "log")
        await postfix.start()
        lanes = [Lane("127.0.0.1", postfix.port, "host.example.org") for dummy in range(2)]
        first, second = (Delivery(queue, [one], told="told", ways=Ways(Pools(), Counts(queue))) for one in lanes)
        five = tuple(f"{one}@example.com" for one in ("a", "refused", "c", "d", "e"))
        entries = await taken(queue, Envelope("u", five))
        if full:
            await queue.redis.config_set("maxmemory", "1")
        work = asyncio.create_task(first.work(entries))
        await postfix.dead.wait()
        work.cancel()
        await asyncio.wait([work])
        assert await queue.noted(entries[0]) == {0}
        await second.work(await queue.own(0, ["outgoing"], "me", count=9))
        assert postfix.delivered == {
            "u a@example.com": 1, "u c@example.com": 2, "u d@example.com": 1, "u e@example.com": 1,
        }  # fmt: skip
        # Who was refused is told of once, and nothing is left of it.
        assert await queue.redis.xlen(stream_key(0, "told")) == 1
        assert await queue.redis.xlen(stream_key(0, "outgoing")) == 0
        assert await queue.noted(entries[0]) == set()
        for one in lanes:
            one.close()
        await postfix.stop()

    with_queue(redis_server, steps)


class Killing(FakePostfix):
    """While it takes its second message Redis dies."""

    redis: RedisServer

    async def take(self, dialogue: Any, raw: bytes) -> str:
        said = await super().take(dialogue, raw)
        if self.delivered.total() == 2:
            self.redis.kill()
        return said


@pytest.mark.parametrize("people", [("a", "b", "c"), ("a", "b"), ("refused", "a", "b")])
def test_when_redis_dies_nobody_gets_again_what_he_has(
    redis_server: RedisServer, tmp_path: Path, people: tuple[str, ...]
) -> None:
    async def steps(queue: Queue) -> None:
        postfix = Killing(tmp_path / "log")
        postfix.redis = redis_server
        await postfix.start()
        lane = Lane("127.0.0.1", postfix.port, "host.example.org")
        delivery = Delivery(queue, [lane], told="told", ways=Ways(Pools(), Counts(queue)))
        entries = await taken(queue, Envelope("u", tuple(f"{one}@example.com" for one in people)))
        with pytest.raises(RedisError):
            await delivery.work(entries)
        redis_server.start()
        await delivery.work(await queue.own(0, ["outgoing"], "me", count=9))
        assert postfix.delivered == {f"u {one}@example.com": 1 for one in people if one != "refused"}
        assert await queue.redis.xlen(stream_key(0, "outgoing")) == 0
        assert await queue.redis.xlen(stream_key(0, "told")) == ("refused" in people)
        assert delivery._had == {}
        lane.close()
        await postfix.stop()

    with_queue(redis_server, steps)


def test_a_message_goes_by_its_pool_or_waits_for_its_day(redis_server: RedisServer, tmp_path: Path) -> None:
    async def steps(queue: Queue) -> None:
        postfix, day = Recording(tmp_path / "log"), Day()
        await postfix.start()
        ways = Ways(pools_with(NEW), Counts(queue), today=day)
        lanes = [Lane("127.0.0.1", postfix.port, "host.example.org")]
        delivery = Delivery(queue, lanes, told="told", ways=ways, waiting=waiting_of("outgoing"))
        five = tuple(f"{one}@example.com" for one in "abcde")
        await delivery.work(await taken(queue, Envelope("u", five, stream_id="news")))
        await delivery.work(await taken(queue, Envelope("v", ("b@example.com",))))
        # One connection serves both, under the name of the way.
        assert postfix.by == [NEW.helo] * 3 + ["host.example.org"]
        assert await queue.redis.xlen(stream_key(0, "outgoing")) == 0
        ((dummy, fields),) = await queue.redis.xrange(stream_key(0, waiting_of("outgoing")))
        assert Envelope.loads(fields[ENVELOPE]).recipients == ("d@example.com", "e@example.com")
        day.now += datetime.timedelta(1)
        await Waiting(queue, waiting=waiting_of("outgoing"), outgoing="outgoing", consumer="me", today=day).back()
        assert await queue.redis.xlen(stream_key(0, waiting_of("outgoing"))) == 0
        await delivery.work(await queue.take(0, ["outgoing"], "me", count=9, block=0.01))
        assert set(postfix.delivered) == {f"u {one}" for one in five} | {"u b@example.com"}
        assert postfix.by[4:] == [NEW.helo] * 2
        await postfix.stop()

    with_queue(redis_server, steps)


def test_what_a_dead_process_had_taken_goes_back_too(redis_server: RedisServer) -> None:
    async def steps(queue: Queue) -> None:
        stream = waiting_of("outgoing")
        await queue.prepare(["outgoing", stream])
        for number in range(40):
            await queue.redis.xadd(stream_key(0, stream), {ENVELOPE: b"{}", MESSAGE: b"%d" % number})
        assert len(await queue.take(0, [stream], "me", count=7, block=0.01)) == 7  # and then I died
        await Waiting(queue, waiting=stream, outgoing="outgoing", consumer="me", today=Day()).back()
        found = await queue.redis.xrange(stream_key(0, "outgoing"))
        assert [fields[MESSAGE] for dummy, fields in found] == [b"%d" % number for number in range(40)]
        assert await queue.redis.xlen(stream_key(0, stream)) == 0

    with_queue(redis_server, steps)


def test_an_address_beyond_ascii_asks_for_smtputf8(tmp_path: Path) -> None:
    said: list[str] = []

    async def go() -> None:
        import asyncio

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 x\r\n")
            while line := (await reader.readline()).decode():
                said.append(line.strip())
                if line.startswith("DATA"):
                    writer.write(b"354 go\r\n")
                    await reader.readuntil(b"\r\n.\r\n")
                writer.write(b"250 ok\r\n")

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        lane = Lane("127.0.0.1", server.sockets[0].getsockname()[1], "h")
        for recipient in ("b@example.com", "zoë@example.com"):
            assert await lane.send("a@example.org", recipient, b"hi\r\n") is None
        lane.close()
        server.close()

    run(go())
    mails = [one for one in said if one.startswith("MAIL")]
    assert mails == ["MAIL FROM:<a@example.org>", "MAIL FROM:<a@example.org> SMTPUTF8"]
