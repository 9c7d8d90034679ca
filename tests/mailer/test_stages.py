# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole way, from the application to the event, through real processes and a real Redis. Postfix alone is a fake."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import time
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from .conftest import LONGEST, PATIENCE, RedisServer
from .stages import Application, Estate
from .test_dkim import verified

FULL = os.environ.get("MAIL_TEST_FULL") == "1"


@pytest.fixture
def estate(tmp_path: Path, redis_server: RedisServer) -> Iterator[Estate]:
    estate = Estate(tmp_path, redis_server)
    yield estate
    estate.end()


async def until(condition: Callable[[], bool], what: Callable[[], object], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what()
        await asyncio.sleep(0.1)


def run(coroutine: Awaitable[None]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(coroutine, 3600 if FULL else LONGEST)

    asyncio.run(bounded())


def metric(port: int, name: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith(f"{name} ")))


def test_from_the_application_to_the_event(estate: Estate) -> None:
    async def go() -> None:
        await estate.postfix.start()
        estate.start("receiver", "transformer", "postfix", "redis")
        estate.postfix.answers = {"full@example.com": "452 4.2.2 full", "gone@example.com": "550 5.1.1 gone"}
        app = Application(estate.smtp)
        sent = {
            "u1": ("b@example.com",), "u2": ("b@example.com", "c@example.com"), "u3": ("full@example.com",),
            "u4": ("gone@example.com", "b@example.com"), "u5": ("refused@example.com",),
        }  # fmt: skip
        for uuid, recipients in sent.items():
            assert await app.send(uuid, *recipients) == f"250 2.0.0 {uuid} is queued"
        assert await app.send("u1", "b@example.com") == "250 2.0.0 u1 is queued"  # its answer was lost, say
        assert (await app.send("u6", "b@example.com", sender="a@example.net"))[:3] == "250"
        await until(lambda: len(estate.told()) >= 8, estate.told)
        shown = ("event", "uuid", "type", "ip", "reason", "rcpt")
        events = [tuple(one.get(name) for name in shown) for one in estate.told()]
        there = "192.0.2.7"
        expected = [
            ("delivered", "u1", None, there, None, "b@example.com"),
            ("delivered", "u2", None, there, None, "b@example.com"),
            ("delivered", "u2", None, there, None, "c@example.com"),
            ("bounce", "u3", "soft", there, "452 4.2.2 full", "full@example.com"),
            ("bounce", "u4", "hard", there, "550 5.1.1 gone", "gone@example.com"),
            ("delivered", "u4", None, there, None, "b@example.com"),
            ("bounce", "u5", "hard", "", "550 5.1.1 refused at once", "refused@example.com"),
        ]
        assert Counter(one for one in events if one[0] != "error") == Counter(expected)
        assert [one[1] for one in events if one[0] == "error"] == ["u6"]
        assert set(estate.postfix.delivered.values()) == {1}
        assert verified(estate.postfix.messages["u2"])
        assert estate.postfix.senders["u2"].startswith("bounce-u2-")
        for stage, name, count in (
            ("receiver", "nbr_emails_enqueued_total", 6),
            ("transformer", "transformer_pushed_total", 5),
            ("postfix", "postfix_emails_to_postfix_total", 6),
        ):  # each counts a moment after it has handed on
            await until(lambda: metric(estate.ports[stage], name) == count, lambda: name)  # noqa: B023
        # At a stop in the order of the guide each ends at once, and of its own will.
        for stage in ("receiver", "transformer", "postfix", "redis"):
            assert estate.stop(stage) == 0

    run(go())


@pytest.mark.parametrize("away", ["postfix", "redis"])
def test_what_is_away_for_a_while_costs_nothing(estate: Estate, away: str) -> None:
    async def go() -> None:
        await estate.postfix.start()
        estate.start("receiver", "transformer", "postfix")
        app = Application(estate.smtp)
        await app.send("first", "b@example.com")
        await until(lambda: estate.postfix.delivered["first b@example.com"] == 1, lambda: estate.postfix.delivered)
        if away == "postfix":
            await estate.postfix.stop()
        else:
            estate.redis.kill()
        sending = [
            asyncio.create_task(Application(estate.smtp).send(f"u{number}", "b@example.com")) for number in range(20)
        ]
        if away == "postfix":
            await until(lambda: all(one.done() for one in sending), estate.said)  # they are safe in the queue
            await estate.postfix.start()
        else:
            await asyncio.sleep(2)
            assert not any(one.done() for one in sending)  # nobody was told yes
            estate.redis.start()
        assert {(await one)[:3] for one in sending} == {"250"}
        await until(lambda: len(estate.postfix.delivered) == 21, estate.said)
        assert set(estate.postfix.delivered.values()) == {1}

    run(go())


def test_a_message_to_many_is_doubled_for_the_one_under_way_alone(estate: Estate) -> None:
    """Delivery is killed again and again in the middle of one."""
    kills = 3

    async def go() -> None:
        await estate.postfix.start()
        estate.postfix.delay = 0.05
        estate.start("receiver", "transformer", "postfix")
        many = [f"b{number}@example.com" for number in range(20)]
        assert (await Application(estate.smtp).send("u1", *many))[:3] == "250"
        for number in range(kills):
            await until(lambda: len(estate.postfix.delivered) >= 5 * (number + 1), estate.said)  # noqa: B023
            estate.kill("postfix")
            estate.start("postfix")
        await until(lambda: len(estate.postfix.delivered) == 20, estate.said)
        # All of it is told of, and a moment later nothing of it is left.
        await until(lambda: len({one["rcpt"] for one in estate.told()}) == 20, estate.said)
        redis = estate.redis.client()
        await until(lambda: not any(redis.scan_iter("*:outgoing-notes:*")), estate.said)
        assert estate.postfix.delivered.total() <= 20 + kills, estate.postfix.delivered

    run(go())


FLIGHT = 10_000 if FULL else 1_000_000  # messages that were taken and are not yet with Postfix
VICTIMS = ("transformer", "postfix", "receiver", "redis", "fake")


def test_nothing_is_lost_whatever_is_killed(estate: Estate) -> None:
    """Every stage and Redis is killed in turn while messages come in. Each one that got a yes arrives, and is told of.

    They come in for as long as something is killed, and each kill waits until some are under way; in the long form ten
    thousand are, at each kill.
    """
    chance = random.Random(1)
    victims = [*VICTIMS, *chance.choices([one for one in VICTIMS if one != "fake"], k=200 if FULL else 5)]

    async def go() -> None:
        await estate.postfix.start()
        estate.postfix.delay = 0.2 if FULL else 0.0
        estate.start("receiver", "transformer", *(() if FULL else ("postfix",)))
        taken: set[str] = set()
        over = asyncio.Event()
        report: list[str] = []

        def handed_over() -> set[str]:
            return {one.partition(" ")[0] for one in estate.postfix.delivered}

        def under_way() -> int:
            return len(taken) - len(estate.postfix.delivered)  # each has one recipient

        async def feed(lane: int) -> None:
            app = Application(estate.smtp)
            for number in itertools.count():
                if over.is_set():
                    return
                uuid = f"l{lane}n{number}"
                assert (await app.send(uuid, "b@example.com"))[:3] == "250"
                taken.add(uuid)
                while under_way() > FLIGHT and not over.is_set():
                    await asyncio.sleep(0.05)
                if not FULL:
                    await asyncio.sleep(0.05)

        feeding = [asyncio.create_task(feed(lane)) for lane in range(10)]
        if FULL:
            await until(lambda: under_way() > FLIGHT, estate.said, 600)
            estate.start("postfix")
        for victim in victims:
            # All that was away is back, and something is on its way.
            before = len(estate.postfix.delivered)
            await until(lambda: len(estate.postfix.delivered) > before + 20, estate.said)  # noqa: B023
            while under_way() <= (FLIGHT - 100 if FULL else 0):
                await asyncio.sleep(0.001)
            report.append(f"{victim}: {under_way()} under way, {len(taken)} taken")
            if victim == "redis":
                estate.redis.kill()
                await asyncio.sleep(0.3)
                estate.redis.start()
            elif victim == "fake":
                await estate.postfix.stop()
                await asyncio.sleep(0.5)
                await estate.postfix.start()
            else:
                estate.kill(victim)
                estate.start(victim)
        over.set()
        estate.postfix.delay = 0.0
        await asyncio.gather(*feeding)
        await until(lambda: taken <= handed_over(), lambda: taken - handed_over(), 600 if FULL else PATIENCE)
        await until(lambda: taken <= {one["uuid"] for one in estate.told()}, lambda: "not all is told")
        twice = sum(estate.postfix.delivered.values()) - len(estate.postfix.delivered)
        print(f"{len(taken)} messages, {len(victims)} kills, {twice} more than once", *report, sep="\n")
        # No more than were on their way to Postfix when the delivery, or Redis or Postfix under it, was killed.
        assert twice <= 20 * sum(victim in ("postfix", "redis", "fake") for victim in victims)

    run(go())
