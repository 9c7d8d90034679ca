# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The suppression list in a real Redis, and what the transformer makes of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from postmaster_mailer import events
from postmaster_mailer.config import ConfigError, parse
from postmaster_mailer.envelope import Envelope
from postmaster_mailer.queue import EVENT, Queue, stream_key
from postmaster_mailer.suppression import (
    SAID,
    Entry,
    Rules,
    Suppression,
    SuppressionError,
    as_dict,
    blames_address,
)
from postmaster_mailer.transform import Domain
from postmaster_mailer.transformer import Transformer
from redis.asyncio import Redis

from .conftest import RedisServer, run
from .test_dkim import key
from .test_transform import MAIL, STYLE

NOW = 1_795_900_000
DAY = 86_400


class Clock:
    now = float(NOW)

    def __call__(self) -> float:
        return self.now


def list_of(server: RedisServer, clock: Clock | None = None, **options: Any) -> Suppression:
    queue = Queue(Redis(unix_socket_path=str(server.socket), protocol=3), partitions=4)
    return Suppression(queue, now=clock or Clock(), **options)


async def suppressed(one: Suppression, recipient: str, stream: str | None = None) -> str:
    entry = (await one.check([(recipient, stream)])).get((recipient, stream))
    return entry.reason if entry else ""


async def everything(one: Suppression) -> list[Entry]:
    return sorted([entry async for entry in one.entries()], key=lambda entry: (entry.address, entry.stream))


@pytest.mark.parametrize(
    ("entry", "recipient", "stream", "expected"),
    [
        (Entry("b@example.com", "x"), "b@example.com", None, True),
        (Entry("B@Example.COM", "x"), "b@example.com", None, True),
        (Entry("b@example.com", "x"), "B@EXAMPLE.com.", None, True),
        (Entry("b@example.com", "x"), "c@example.com", None, False),
        (Entry("b@example.com", "x"), "b@sub.example.com", None, False),
        (Entry("b@example.com", "x"), "b@example.com", "s-1", True),
        (Entry("b@example.com", "x", stream="s-1"), "b@example.com", "s-1", True),
        (Entry("b@example.com", "x", stream="s-1"), "b@example.com", "s-2", False),
        (Entry("b@example.com", "x", stream="s-1"), "b@example.com", None, False),
        (Entry("b@example.com", "x", stream="news letter"), "b@example.com", "news letter", True),
        (Entry("example.com", "x"), "anybody@example.com", None, True),
        (Entry("@Example.com", "x"), "anybody@example.com", None, True),
        (Entry("example.com", "x"), "anybody@example.net", None, False),
        (Entry("example.com", "x", stream="s-1"), "anybody@example.com", "s-1", True),
        (Entry("example.com", "x", stream="s-1"), "anybody@example.com", "s-2", False),
        (Entry("b@bücher.example", "x"), "b@xn--bcher-kva.example", None, True),
        (Entry("b@example.com", "x", expiry=NOW + 1), "b@example.com", None, True),
        (Entry("b@example.com", "x", expiry=NOW), "b@example.com", None, False),
    ],
)
def test_who_is_suppressed(
    redis_server: RedisServer, entry: Entry, recipient: str, stream: str | None, expected: bool
) -> None:
    async def go() -> None:
        one = list_of(redis_server)
        assert await one.add([entry]) == 1
        assert bool(await suppressed(one, recipient, stream)) is expected

    run(go())


def test_local_parts_by_their_case_where_that_is_asked_for(redis_server: RedisServer) -> None:
    async def go() -> None:
        one = list_of(redis_server, case_sensitive=True)
        await one.add([Entry("B@Example.com", "x")])
        assert await suppressed(one, "B@EXAMPLE.COM")
        assert not await suppressed(one, "b@example.com")

    run(go())


def test_many_are_asked_for_in_one_round_trip(redis_server: RedisServer) -> None:
    async def go() -> None:
        one = list_of(redis_server)
        await one.add([Entry(f"u{number}@example.com", f"r{number}") for number in range(0, 1000, 2)])
        wanted = [(f"u{number}@example.com", None) for number in range(1000)]

        found = await one.check(wanted)
        calls = (await one._queue.redis.info("commandstats"))["cmdstat_hmget"]["calls"]
        assert {recipient: entry.reason for (recipient, dummy), entry in found.items()} == {
            f"u{number}@example.com": f"r{number}" for number in range(0, 1000, 2)
        }
        assert calls == 4  # one for each partition, sent together
        assert await one.check([]) == {}

    run(go())


@pytest.mark.parametrize(
    ("first", "second", "replace", "left"),
    [
        (0, NOW + DAY, False, 0),  # for good stays for good
        (NOW + DAY, 0, False, 0),
        (NOW + DAY, NOW + 2 * DAY, False, NOW + 2 * DAY),
        (NOW + 2 * DAY, NOW + DAY, False, NOW + 2 * DAY),
        (NOW - DAY, NOW + DAY, False, NOW + DAY),  # what is over counts for nothing
        (0, NOW + DAY, True, NOW + DAY),  # unless somebody says so
    ],
)
def test_the_entry_that_lasts_longer_stays(
    redis_server: RedisServer, first: int, second: int, replace: bool, left: int
) -> None:
    async def go() -> None:
        one = list_of(redis_server)
        await one.add([Entry("b@example.com", "first", expiry=first)])
        await one.add([Entry("b@example.com", "second", expiry=second)], replace=replace)
        (entry,) = await everything(one)
        assert entry.expiry == left
        assert entry.reason == ("second" if left == second else "first")

    run(go())


def test_two_writers_lose_nothing(redis_server: RedisServer) -> None:
    async def go() -> None:
        lists = [list_of(redis_server) for dummy in range(4)]
        await asyncio.gather(
            *(
                one.add([Entry(f"u{number}@example.com", f"w{at}", expiry=0 if at == number % 4 else NOW + DAY)])
                for number in range(100)
                for at, one in enumerate(lists)
            )
        )
        entries = await everything(lists[0])
        assert len(entries) == 100
        assert all(
            entry.expiry == 0 and entry.reason == f"w{int(entry.address[1:].partition('@')[0]) % 4}"
            for entry in entries
        )

    run(go())


def test_out_again_and_over(redis_server: RedisServer) -> None:
    async def go() -> None:
        clock = Clock()
        one = list_of(redis_server, clock)
        await one.add(
            [
                Entry("b@example.com", "x"),
                Entry("b@example.com", "y", stream="s-1"),
                Entry("c@example.com", "z", expiry=NOW + 9),
            ]
        )
        assert await one.remove("b@example.com", "s-2") is False
        assert await one.remove("B@example.com") is True
        assert [(entry.address, entry.stream) for entry in await everything(one)] == [
            ("b@example.com", "s-1"),
            ("c@example.com", ""),
        ]
        assert await one.purge() == 0
        clock.now += 9
        assert [entry.address for entry in await everything(one)] == ["b@example.com"]
        assert await one.purge() == 1
        left = sum([await one._queue.redis.hlen(stream_key(part, "suppressed")) for part in range(4)])  # type: ignore[misc]
        assert left == 1

    run(go())


def test_as_json_shows_it() -> None:
    assert as_dict(Entry("b@example.com", "complaint", "message u1", NOW)) == {
        "address": "b@example.com", "reason": "complaint", "source": "message u1", "time": "2026-11-28T21:06:40Z", "expiry": None,
        "stream": "",
    }  # fmt: skip


def test_from_list_to_list(redis_server: RedisServer) -> None:
    async def go() -> None:
        one = list_of(redis_server)
        entries = [
            Entry("b@example.com", 'hard bounce: 550 "no", not here', "message u1", NOW, NOW + DAY),
            Entry("b@example.com", "unsubscribe", "message u2", NOW, 0, "s, 1"),
            Entry("example.net", "manual", "ann", NOW, 0),
        ]
        await one.add(entries)
        text = "".join([line async for line in one.export()])
        assert text.startswith("address,stream,reason,source,time,expiry\r\n")
        assert "example.net,,manual,ann,2026-11-28T21:06:40Z,\r\n" in text
        await one._queue.redis.flushall()
        assert await one.import_(text) == 3
        assert await everything(one) == entries
        assert await one.import_(text) == 0
        assert await one.import_("address\nd@example.com\n") == 1
        assert (await everything(one))[2] == Entry("d@example.com", "manual", "import", NOW)

    run(go())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "b@example.com\n",
            "line 1 must name the columns, one of them address: address,stream,reason,source,time,expiry",
        ),
        ("address,colour\nb@example.com,red\n", "line 1 names a column that is not known: colour"),
        ("address\nb@example.com\nnobody at all\n", "line 3: 'nobody at all' is neither an address nor a domain"),
        ("address,expiry\nb@example.com,soon\n", "line 2 has a time that is none: write it as 2026-11-29T00:00:00Z"),
        ("address,expiry\nb@example.com\n", "line 2 has not as many columns as line 1"),
        ("address\nb@example.com,x\n", "line 2 has not as many columns as line 1"),
        ('address\n"b@example.com\n', "line 2 is no CSV: unexpected end of data"),
        ("", "line 1 must name the columns, one of them address: address,stream,reason,source,time,expiry"),
    ],
)
def test_a_bad_file_changes_nothing(redis_server: RedisServer, text: str, said: str) -> None:
    async def go() -> None:
        one = list_of(redis_server)
        with pytest.raises(SuppressionError) as error:
            await one.import_(text)
        assert str(error.value) == said
        assert await everything(one) == []

    run(go())


@pytest.mark.parametrize(
    "address", ["", "@", "b@", "b c@example.com", "b@example..com", "b@exa mple.com", "b@example.com\n", "a@b c@d"]
)
def test_what_is_no_address(redis_server: RedisServer, address: str) -> None:
    async def go() -> None:
        one = list_of(redis_server)
        if address.strip() == "b@example.com":
            assert await one.add([Entry(address, "x")]) == 1  # what is around it is left out
            return
        with pytest.raises(SuppressionError, match="is neither an address nor a domain"):
            await one.add([Entry("good@example.com", "x"), Entry(address, "x")])
        assert await everything(one) == []

    run(go())


@pytest.mark.parametrize("entry", [Entry("b@example.com", "x", expiry=10**15), Entry("b@example.com", "x", time=-1)])
def test_what_is_no_time(entry: Entry) -> None:
    with pytest.raises(
        SuppressionError, match="the time or the expiry of b@example.com is none: give seconds since 1970"
    ):
        Suppression(None)._field(entry)  # type: ignore[arg-type]


TEXT = st.text(st.characters(exclude_categories=()), max_size=40)  # halves of characters, too


@given(TEXT, TEXT)
def test_no_text_makes_an_entry_for_another(text: str, stream: str) -> None:
    one = Suppression(None)  # type: ignore[arg-type]
    try:
        field = one._field(Entry(text, "x", stream=stream))
    except SuppressionError:
        return
    assert field.encode().decode() == field
    address, dummy, rest = field.partition(" ")
    assert rest == stream
    assert one.normal(address) == address


# -- by rule --------------------------------------------------------------------------------------------


def event(kind: str, **more: Any) -> dict[str, Any]:
    return {"event": kind, "uuid": "u1", "timestamp": NOW, "rcpt": ["b@example.com"], "streamid": "s-1", **more}


HARD = event("bounce", type="hard", reason="550 5.1.1 <b@example.com>: unknown")


@pytest.mark.parametrize(
    ("told", "rules", "expected"),
    [
        (HARD, Rules(), Entry("b@example.com", "hard bounce: 550 5.1.1 <b@example.com>: unknown", "message u1", NOW, NOW + 90 * DAY)),
        (HARD, Rules(hard_bounces=True), Entry("b@example.com", "hard bounce: 550 5.1.1 <b@example.com>: unknown", "message u1", NOW)),
        (HARD, Rules(hard_bounces=False), None),
        ({**HARD, "type": "soft"}, Rules(), None),
        ({**HARD, "type": "unroutable"}, Rules(), None),
        ({**HARD, "type": "autoreply"}, Rules(), None),
        ({**HARD, "reason": "550 5.7.1 your DKIM signature is bad"}, Rules(), None),
        ({**HARD, "reason": SAID + "hard bounce: 550 5.1.1"}, Rules(), None),
        ({**HARD, "unproven": True}, Rules(), None),
        ({**HARD, "rcpt": []}, Rules(), None),
        ({**HARD, "rcpt": ["not an address"]}, Rules(), None),
        ({**HARD, "rcpt": ["example.com"]}, Rules(), None),  # nobody's report suppresses a domain
        (event("spam-report"), Rules(), Entry("b@example.com", "complaint", "message u1", NOW)),
        (event("spam-report"), Rules(complaints=False), None),
        (event("unsubscribe"), Rules(), Entry("b@example.com", "unsubscribe", "message u1", NOW)),
        (event("unsubscribe"), Rules(per_stream=True), Entry("b@example.com", "unsubscribe", "message u1", NOW, 0, "s-1")),
        (event("unsubscribe", streamid=None), Rules(per_stream=True), Entry("b@example.com", "unsubscribe", "message u1", NOW)),
        (event("unsubscribe"), Rules(unsubscribes=30), Entry("b@example.com", "unsubscribe", "message u1", NOW, NOW + 30 * DAY)),
        (event("delivered"), Rules(), None),
        (event("error", msg="550 5.1.1"), Rules(), None),
    ],
)  # fmt: skip
def test_which_outcomes_suppress(
    redis_server: RedisServer, told: dict[str, Any], rules: Rules, expected: Entry | None
) -> None:
    async def go() -> None:
        one = list_of(redis_server)
        assert await one.learn([told], rules) == (1 if expected else 0)
        assert await everything(one) == ([expected] if expected else [])

    run(go())


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("550 5.1.1 unknown", True),
        ("550 5.1.10 null MX", True),
        ("550 5.2.1 disabled", True),
        ("550 no such user here", True),
        ("553 5.1.8 sender", False),
        ("554 5.7.1 refused", False),
        ("550 5.7.26 unauthenticated", False),
        ("552 5.3.4 too big", False),
        ("554 no", False),
        ("given up after many tries", False),
        ("", False),
    ],
)
def test_what_blames_an_address(said: str, expected: bool) -> None:
    assert blames_address(said) is expected


@pytest.mark.parametrize("value", [True, False, 1, 30])
def test_days_are_set_in_the_configuration(value: bool | int) -> None:
    read = parse({"suppression": {"hard-bounces": value}}).suppression.hard_bounces
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize("value", [-1, "for ever", 100_000])
def test_no_other_days(value: object) -> None:
    with pytest.raises(ConfigError):
        parse({"suppression": {"hard-bounces": value}})


# -- before sending -------------------------------------------------------------------------------------


def test_the_transformer_leaves_out_who_is_suppressed(redis_server: RedisServer) -> None:
    async def go() -> None:
        one = list_of(redis_server)
        queue = one._queue
        await queue.prepare(["default", "outgoing", "events"])
        await one.add([Entry("c@example.com", "complaint"), Entry("d@example.com", "unsubscribe", stream="s-1")])
        domains = {"example.org": Domain("example.org", "rp.example.org", lambda: [key()])}
        work = Transformer(
            queue, domains, STYLE, primary="primary", outgoing="outgoing", told="events", suppression=one, now=lambda: NOW
        )  # fmt: skip
        for uuid, recipients, stream in (
            ("u1", ("B@example.com", "C@Example.com", "d@example.com"), "s-1"),
            ("u2", ("d@example.com",), None),
            ("u3", ("c@example.com",), None),
        ):
            await queue.add("default", Envelope(uuid, recipients, stream_id=stream), MAIL)
        for part in range(4):
            await work.work(await queue.take(part, ["default"], "one", count=10, block=0.01))
        gone = {
            one.envelope.uuid: one.envelope.recipients
            for part in range(4)
            for one in await queue.take(part, ["outgoing"], "x", count=9, block=0.01)
        }
        assert gone == {"u1": ("B@example.com",), "u2": ("d@example.com",)}
        told = [
            events.loads(one.fields[EVENT])
            for part in range(4)
            for one in await queue.take(part, ["events"], "x", count=9, block=0.01)
        ]
        assert sorted((one["uuid"], one["type"], one["reason"], one["rcpt"]) for one in told) == [
            ("u1", "hard", "suppressed: complaint", ["C@Example.com"]),
            ("u1", "hard", "suppressed: unsubscribe", ["d@example.com"]),
            ("u3", "hard", "suppressed: complaint", ["c@example.com"]),
        ]
        assert [await queue.redis.xlen(stream_key(part, "default")) for part in range(4)] == [0] * 4

    run(go())
