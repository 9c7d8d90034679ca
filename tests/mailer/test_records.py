# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A search through records, from the command line and over HTTP, and the end of records."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from postmaster_mailer import events, records
from postmaster_mailer.backdata import BackData, Names
from postmaster_mailer.envelope import Envelope
from postmaster_mailer.queue import Queue, index_key, stream_key
from postmaster_mailer.records import UNDER_WAY, Records, Wanted
from redis.asyncio import Redis

from .conftest import PATIENCE, Ctl, RedisServer, run
from .test_http_receiver import OCTETS, RAW, SHOP, Place, at

NOW = 1_795_900_000


def queue_of(server: RedisServer, **options: Any) -> Queue:
    return Queue(Redis(unix_socket_path=str(server.socket), protocol=3), **{"partitions": 2, **options})


def message(number: int, *recipients: str, **more: Any) -> Envelope:
    author = more.pop("author", "a@example.org")
    domain = author.rpartition("@")[2]
    about = {"login": "shop", "received": NOW + number, "domain": domain, "author": author} | more
    return Envelope(f"u{number}", recipients, **about)


KNOWN = [
    message(1, "b@example.com"),
    message(2, "c@example.com", "B@Example.com"),
    message(3, "b@example.net", login="crm", author="News <x@y>@example.org"),
    message(4, "d@example.com", author="z@example.net"),
    message(5, "c@example.com"),
]
TOLD = [
    {"event": "delivered", "uuid": "u1", "rcpt": ["b@example.com"], "ip": "192.0.2.1"},
    {"event": "delivered", "uuid": "u2", "rcpt": ["c@example.com"]},
    {"event": "bounce", "uuid": "u2", "rcpt": ["B@Example.com"], "type": "hard", "reason": "550 5.1.1 \x1b[2Jno"},
    {"event": "error", "uuid": "u4", "rcpt": [], "msg": "example.net is not in domain-settings"},
]


@pytest.fixture
def known(redis_server: RedisServer) -> None:
    async def go() -> None:
        queue = queue_of(redis_server)
        for one in KNOWN:
            await queue.add("default", one, b"m")
        await Records(queue).outcomes([{"timestamp": NOW + 60, **one} for one in TOLD])
        await queue.redis.aclose()

    run(go())


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(), ["u5", "u4", "u3", "u2", "u1"]),
        (Wanted(recipient="b@example.com"), ["u2", "u1"]),
        (Wanted(recipient="B@EXAMPLE.COM"), ["u2", "u1"]),
        (Wanted(recipient="example.com"), []),
        (Wanted(recipient="@example.com"), ["u5", "u4", "u2", "u1"]),
        (Wanted(recipient="@ample.com"), []),
        (Wanted(author="@example.net"), ["u4"]),
        (Wanted(author="a@example.org", recipient="c@example.com"), ["u5", "u2"]),
        (Wanted(login="crm"), ["u3"]),
        (Wanted(login="CRM"), []),
        (Wanted(since=NOW + 2, until=NOW + 4), ["u3", "u2"]),
        (Wanted(outcome="delivered"), ["u2", "u1"]),
        (Wanted(outcome="delivered", recipient="b@example.com"), ["u1"]),
        (Wanted(outcome="bounce"), ["u2"]),
        (Wanted(outcome="error"), ["u4"]),
        (Wanted(outcome=UNDER_WAY), ["u5", "u3"]),
        (Wanted(outcome="unsubscribe"), []),
    ],
)
def test_what_is_found(redis_server: RedisServer, wanted: Wanted, expected: list[str]) -> None:
    async def go() -> None:
        page = await Records(queue_of(redis_server)).search(wanted, limit=10)
        assert ([one.envelope.uuid for one in page.found if one.envelope], page.after) == (expected, "")

    run(go())


@pytest.mark.parametrize("limit", [1, 7, 100])
def test_pages_leave_none_out_and_have_none_twice(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(records, "_CHUNK", 10)

    async def go() -> None:
        queue = queue_of(redis_server)
        # Many of the same moment, and one of two goes to the wanted address.
        for number in range(60):
            to = "b@example.com" if number % 2 else "c@example.com"
            await queue.add("default", message(number, to, received=NOW + number // 20), b"m")
        found: list[str] = []
        after, pages = "", 0
        while True:
            page = await Records(queue).search(Wanted("b@example.com"), limit=limit, after=after, looked=20)
            assert len(page.found) <= min(limit, 20)
            found += [one.envelope.uuid for one in page.found if one.envelope]
            after, pages = page.after, pages + 1
            if not after:
                break
        assert sorted(found) == sorted(f"u{number}" for number in range(1, 60, 2))
        assert pages >= 30 / limit and pages >= 3  # a page is bounded by what it looks at, too

    run(go())


def test_a_place_that_is_none(redis_server: RedisServer) -> None:
    async def go() -> None:
        for after in ("x", "1-u1", "000000000000000-U", "000000000000000-u\n"):
            with pytest.raises(ValueError, match="after is none that a page had"):
                await Records(queue_of(redis_server)).search(Wanted(), limit=1, after=after)
        await Records(queue_of(redis_server)).search(Wanted(), limit=1, after="000000000000000-u")

    run(go())


# -- from the command line ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--to", "b@example.com"], (0, """\
TAKEN IN              UUID  FROM           RECIPIENT      STATE      SAID
2026-11-28T21:06:42Z  u2    a@example.org  c@example.com  delivered  -
2026-11-28T21:06:42Z  u2    a@example.org  B@Example.com  bounce     hard, 550 5.1.1 ?[2Jno
2026-11-28T21:06:41Z  u1    a@example.org  b@example.com  delivered  192.0.2.1
""", "")),
        (["--since", "2026-11-28T21:06:44Z", "--until", "2026-11-28T21:06:45", "--limit", "1"], (0, """\
TAKEN IN              UUID  FROM           RECIPIENT      STATE  SAID
2026-11-28T21:06:44Z  u4    z@example.net  d@example.com  error  example.net is not in domain-settings

there may be more: --after 001795900004000-u4
""", "")),
        (["--from", "a@example.org", "--outcome", "under-way"], (0, """\
TAKEN IN              UUID  FROM           RECIPIENT      STATE      SAID
2026-11-28T21:06:45Z  u5    a@example.org  c@example.com  under-way  -
""", "")),
        (["--login", "nobody"], (1, "nothing was found\n", "")),
        (["--login", "nobody", "--json"], (1, '{\n  "found": [],\n  "after": null\n}\n', "")),
        (["--after", "u4"], (2, "", "mailerctl: after is none that a page had\n")),
    ],
)  # fmt: skip
def test_mailerctl(mailerctl: Ctl, words: list[str], expected: tuple[int, str, str]) -> None:
    assert mailerctl("search", *words) == expected


@pytest.mark.usefixtures("known")
def test_mailerctl_goes_on(mailerctl: Ctl) -> None:
    found: list[dict[str, Any]] = []
    more: list[str] = []
    while True:
        page = json.loads(mailerctl("search", "--limit", "2", "--json", *more)[1])
        found += page["found"]
        if not page["after"]:
            break
        more = ["--after", page["after"]]
    assert [one["uuid"] for one in found] == ["u5", "u4", "u3", "u2", "u2", "u1"]
    assert found[-1] == {
        "time": "2026-11-28T21:06:41Z",
        "uuid": "u1",
        "from": "a@example.org",
        "recipient": "b@example.com",
        "state": "delivered",
        "ip": "192.0.2.1",
    }


# -- over HTTP -----------------------------------------------------------------------------------------------


def test_a_login_finds_its_own(redis_server: RedisServer) -> None:
    async def steps(place: Place) -> None:
        began = int(time.time())
        for number in range(3):
            assert (
                await place.mail(uuid=f"u{number}", to=[f"b{number}@example.com"], stream_id="s-1")
            ).status_code == 202
        assert (await place.post("/v1/mail/send", content=RAW.replace(b"u1", b"r1"), headers=OCTETS)).status_code == 200
        await place.queue.add("default", message(9, "b0@example.com", login="crm", received=time.time()), b"m")
        bounce = {"event": "bounce", "uuid": "u1", "rcpt": ["b1@example.com"], "type": "hard", "reason": "550 no"}
        await Records(place.queue).outcomes([{"timestamp": NOW, **bounce}])

        async def found(**query: Any) -> Any:
            answer = await place.client.get("/v1/messages", params=query, auth=SHOP)
            assert answer.status_code == 200
            return answer.json()

        assert [one["uuid"] for one in (await found(to="@example.com"))["messages"]] == ["r1", "u2", "u1", "u0"]
        assert [one["uuid"] for one in (await found(to="b0@example.com"))["messages"]] == ["u0"]  # not crm's
        assert (await found(to="b9@example.com")) == {"messages": []}
        page = await found(limit=3, **{"from": "a@example.org"})
        assert ([one["uuid"] for one in page["messages"]], len(page["after"])) == (["r1", "u2", "u1"], 18)
        assert [one["uuid"] for one in (await found(after=page["after"]))["messages"]] == ["u0"]
        (bounced,) = (await found(outcome="bounce", since=began))["messages"]
        assert bounced.pop("time") in range(began, began + 600)
        state = {"address": "b1@example.com", "state": "bounce", "time": NOW, "type": "hard", "reason": "550 no"}
        expected = {"uuid": "u1", "from": "a@example.org", "stream_id": "s-1", "recipients": [state]}
        assert bounced == expected
        one = (await place.client.get("/v1/messages/u1", auth=SHOP)).json()
        assert {name: value for name, value in one.items() if name != "time"} == expected
        assert (await found(outcome="bounce", until=began)) == {"messages": []}
        for path in ("/v1/messages/u9", "/v1/messages/none", "/v1/messages/NONE"):
            answer = await place.client.get(path, auth=SHOP)
            said = "nothing is known of it: it never came, or longer ago than records are kept"
            assert (answer.status_code, answer.json()["detail"]) == (404, said)

    at(redis_server, steps)


@pytest.mark.parametrize(
    ("query", "field", "said"),
    [
        ({"limit": "0"}, "limit", "Input should be greater than or equal to 1"),
        ({"limit": "1001"}, "limit", "Input should be less than or equal to 1000"),
        ({"after": "x"}, "after", "String should match pattern '^(?:[0-9]{15}-[a-z0-9]{1,40})?$'"),
        ({"since": "yesterday"}, "since", "Input should be a valid integer, unable to parse string as an integer"),
        ({"form": "a@example.org"}, "form", "there is no such field; did you mean from?"),
        ({"to": "x" * 321}, "to", "String should have at most 320 characters"),
    ],
)
def test_a_search_that_is_wrong(redis_server: RedisServer, query: dict[str, str], field: str, said: str) -> None:
    async def steps(place: Place) -> None:
        answer = await place.client.get("/v1/messages", params=query, auth=SHOP)
        assert (answer.status_code, answer.json()["detail"]) == (422, "the search is not as it should be")
        assert answer.json()["errors"] == [{"field": field, "message": said}]
        assert (await place.client.get("/v1/messages", auth=SHOP)).status_code == 200

    at(redis_server, steps)


def test_who_may_search_and_when(redis_server: RedisServer) -> None:
    async def steps(place: Place) -> None:
        for path in ("/v1/messages", "/v1/messages/u1"):
            assert (await place.client.get(path)).status_code == 401
            assert (await place.client.get(path, auth=("shop", "wrong"))).status_code == 401
        assert (await place.client.get("/v1/messages", auth=SHOP)).status_code == 200
        redis_server.kill()
        answer = await place.client.get("/v1/messages", auth=SHOP)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")

    at(redis_server, steps)


# -- the end ---------------------------------------------------------------------------------------------------


def test_after_the_time_nobody_is_named_any_more(redis_server: RedisServer) -> None:
    """Of a message that was delivered no key, no field and no entry of Redis holds an address, nor its uuid."""

    async def go() -> None:
        queue = queue_of(redis_server, keep=1)
        work = BackData(queue, Names("events"), [], consumer="one", records=Records(queue, keep=1), block=0.05)
        await queue.prepare(["default"])
        # Its place goes after that second, so not by the stage, which looks when it starts.
        await queue.add("default", message(1, "secret.person@example.com", received=time.time() + 60), b"m")
        await queue.add("default", message(2, "other@example.com", received=time.time() + 3600), b"m")
        told = events.dumps("delivered", uuid="u1", now=time.time(), rcpt=["secret.person@example.com"])
        await queue.put("events", [("u1", {b"v": told})])
        await queue.redis.delete("mailer:{0}:default", "mailer:{1}:default")  # it has gone the whole way
        running = asyncio.create_task(work.run())
        while work.counts["delivered_events"] < 1:
            await asyncio.sleep(0.01)
        work.stop()
        await running
        while [key async for key in queue.redis.scan_iter("*:message:*")]:
            await asyncio.sleep(0.05)
        assert await Records(queue, keep=1).purge(now=time.time() + 62) == 1
        kept = await everything(queue.redis)
        assert b"secret.person" not in kept and b"-u1" not in kept
        assert b"-u2" in kept  # whose time is not over
        assert await Records(queue, keep=1).purge(now=time.time() + 3700) == 1
        assert not await queue.redis.exists(*(index_key(number) for number in range(2)))

    run(go())


def test_a_message_that_a_fault_kept_goes_with_its_record(redis_server: RedisServer) -> None:
    async def go() -> None:
        queue = queue_of(redis_server)
        day = 86_400_000  # milliseconds
        now = int(time.time() * 1000)
        for number, age in enumerate((8 * day, 6 * day)):
            await queue.redis.xadd(stream_key(number, "outgoing-dead"), {b"m": b"m"}, id=f"{now - age}-0")
        work = BackData(
            queue,
            Names("events"),
            [],
            consumer="one",
            records=Records(queue, keep=7 * 86_400),
            dead="outgoing-dead",
            block=0.05,
        )
        running = asyncio.create_task(work.run())
        async with asyncio.timeout(PATIENCE):
            while await queue.redis.xlen(stream_key(0, "outgoing-dead")):
                await asyncio.sleep(0.01)
        work.stop()
        await running
        assert await queue.redis.xlen(stream_key(1, "outgoing-dead")) == 1

    run(go())


async def everything(redis: Redis) -> bytes:
    found = []
    async for key in redis.scan_iter():
        kind = await redis.type(key)
        if kind == b"hash":
            found.append(repr(await redis.hgetall(key)))
        elif kind == b"zset":
            found.append(repr(await redis.zrange(key, 0, -1)))
        elif kind == b"stream":
            found.append(repr(await redis.xrange(key)))
        else:
            found.append(repr(await redis.dump(key)))
        found.append(repr(key))
    return "\n".join(found).encode()
