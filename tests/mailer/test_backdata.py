# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Events to a real endpoint, over a real Redis; either is away at times."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from postmaster_mailer import backdata, events
from postmaster_mailer.backdata import BackData, Measured, Names, Plain, Sink, dead_letters, masked, replay
from postmaster_mailer.config import BackData as Settings
from postmaster_mailer.config import ConfigError
from postmaster_mailer.connect import sinks_of
from postmaster_mailer.envelope import Envelope
from postmaster_mailer.hooks import Hook, HookError, is_outside
from postmaster_mailer.queue import EVENT, Queue, stream_key
from postmaster_mailer.records import Records
from postmaster_mailer.suppression import Rules, Suppression
from redis.asyncio import Redis
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from .conftest import PATIENCE, ROOT, RedisServer, reserved, run
from .endpoint import Answer, Endpoint, until
from .test_smtp_server import contexts

NOW = 1_795_900_000
NAMES = Names("events")
SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()


def queue_of(server: RedisServer) -> Queue:
    return Queue(Redis(unix_socket_path=str(server.socket), protocol=3), partitions=2)


def delivered(number: int, **more: Any) -> tuple[str, dict[bytes, bytes]]:
    uuid = f"u{number}"
    return uuid, {
        EVENT: events.dumps("delivered", uuid=uuid, now=NOW + number, ip="192.0.2.1", rcpt="b@example.com", **more)
    }


def sink_of(queue: Queue, endpoint: Endpoint, form: backdata.Form | None = None, **options: Any) -> Sink:
    hook = Hook(endpoint.url, "post-url", private=True, seconds=PATIENCE)
    return Sink(queue, "post", NAMES, hook, form or Plain(), **{"pause": 0.02, **options})


@asynccontextmanager
async def stage(queue: Queue, sinks: Sequence[Sink], **options: Any) -> AsyncIterator[BackData]:
    one = BackData(queue, NAMES, sinks, consumer="one", records=Records(queue), block=0.05, **options)
    running = asyncio.create_task(one.run())
    try:
        yield one
    finally:
        one.stop()
        await asyncio.wait_for(running, PATIENCE)


async def waiting(queue: Queue) -> int:
    return sum(
        [await queue.redis.xlen(stream_key(part, name)) for part in range(2) for name in ("events", "events-post")]
    )


async def buried(queue: Queue, count: int) -> list[tuple[dict[str, Any], str]]:
    """The dead letters, when there are so many: they are counted a moment before they lie there."""

    async def there() -> bool:
        return len(await dead_letters(queue, NAMES, "post")) >= count

    await until(there)
    return await dead_letters(queue, NAMES, "post")


def test_events_are_posted_as_the_application_knows_them(redis_server: RedisServer) -> None:
    async def go() -> None:
        queue, endpoint = queue_of(redis_server), await Endpoint().start()
        await queue.add("default", Envelope("u1", ("b@example.com",), stream_id="s-1", domain="example.org"), b"m")
        async with stage(queue, [sink_of(queue, endpoint)]) as running:
            told = [
                delivered(1),
                ("u2", {EVENT: events.bounce("hard", uuid="u2", now=NOW, reason="550 5.1.1 no", rcpt="c@example.com")}),
                ("u3", {EVENT: events.error("X-Uuid missing", service="receiver", uuid=None, now=NOW)}),
                ("u4", {EVENT: b"{no json"}),
                ("u4", {EVENT: json.dumps({"event": "opened", "timestamp": NOW}).encode()}),
            ]
            await queue.put("events", told)
            await until(lambda: len(endpoint.taken) == 3 and running.counts["malformed_events"] == 2)
            await until(lambda: running.counts["successfully_pushed_events"] == 3)
        assert sorted(endpoint.taken, key=str) == sorted(
            [
                {"event": "delivered", "uuid": "u1", "timestamp": NOW + 1, "ip": "192.0.2.1", "streamid": "s-1"},
                {"event": "bounce", "uuid": "u2", "timestamp": NOW, "type": "hard", "reason": "550 5.1.1 no", "ip": ""},
                {"event": "error", "timestamp": NOW, "msg": "X-Uuid missing", "service": "receiver"},
            ],
            key=str,
        )
        line, headers, dummy = endpoint.requests[0]
        assert line == "POST /hook HTTP/1.1"
        assert headers["content-type"] == "application/json; charset=utf-8"
        assert headers["host"] == f"127.0.0.1:{endpoint.port}"
        assert "webhook-id" not in headers
        assert running.counts["bounced_events"] == 1
        assert await waiting(queue) == 0

    run(go())


def test_what_became_of_a_message_is_in_its_record(redis_server: RedisServer) -> None:
    async def go() -> None:
        queue = queue_of(redis_server)
        records = Records(queue, keep=1000)
        envelope = Envelope("u1", ("b@example.com", "c@example.com"), domain="example.org")
        await queue.add("default", envelope, b"m")
        async with stage(queue, []) as running:  # no endpoint: recorded all the same
            soft = events.bounce(
                "soft", uuid="u1", now=NOW, reason="451 4.2.1 later", rcpt="c@example.com", ip="192.0.2.2"
            )
            late = events.bounce("soft", uuid="u1", now=NOW - 9, reason="451 before", rcpt="b@example.com")
            await queue.put("events", [delivered(1), ("u1", {EVENT: soft}), ("u1", {EVENT: late}), delivered(7)])
            await until(lambda: sum(running.ledger.counted.values()) == 4)
        record = await records.read("u1")
        assert record is not None
        assert record.envelope == envelope
        assert record.states == {
            "b@example.com": {"state": "delivered", "ip": "192.0.2.1", "time": NOW + 1},
            "c@example.com": {
                "state": "bounce",
                "type": "soft",
                "reason": "451 4.2.1 later",
                "ip": "192.0.2.2",
                "time": NOW,
            },
        }
        alone = await records.read("u7")
        assert alone is not None and alone.envelope is None and set(alone.states) == {"b@example.com"}
        assert await records.read("u8") is None
        # A record that an outcome alone has made does not stay for ever.
        assert 0 < await queue.redis.ttl(records._key("u7")) <= 604_800
        assert await waiting(queue) == 0

    run(go())


def test_signed_requests_are_verified_and_repeats_can_be_known(redis_server: RedisServer) -> None:
    other = "whsec_" + base64.b64encode(b"o" * 32).decode()

    async def go() -> None:
        fails = iter([(503, {}), (503, {})])
        queue = queue_of(redis_server)
        endpoint = await Endpoint(lambda batch: next(fails, (200, {}))).start()
        async with stage(queue, [sink_of(queue, endpoint, Plain([SECRET, other]))]):
            await queue.put("events", [delivered(1)])
            await until(lambda: len(endpoint.taken) == 1)
        assert len(endpoint.requests) == 3
        assert len({(headers["webhook-id"], body) for dummy, headers, body in endpoint.requests}) == 1
        dummy, headers, body = endpoint.requests[-1]
        for secret in (SECRET, other):
            # The first request's moment is now: the check of the time is part of it.
            (event,) = Webhook(secret).verify(body, headers)
        assert event["id"].startswith("evt_")
        with pytest.raises(WebhookVerificationError):
            Webhook(SECRET).verify(body.replace("u1", "u2"), headers)
        with pytest.raises(WebhookVerificationError):
            Webhook("whsec_" + base64.b64encode(b"x" * 32).decode()).verify(body, headers)

    run(go())


def test_ids_are_each_event_s_own() -> None:
    made = [delivered(number)[1][EVENT] for number in range(100)]
    assert len({backdata.event_id(one) for one in made}) == 100
    assert [backdata.event_id(one) for one in made] == [backdata.event_id(one) for one in made]


def test_an_endpoint_that_is_down_gets_every_event_when_it_is_back(redis_server: RedisServer) -> None:
    total = 500

    async def go() -> None:
        queue, endpoint = queue_of(redis_server), await Endpoint().start()
        await endpoint.stop()
        sink = sink_of(queue, endpoint)
        async with stage(queue, [sink]) as running:
            await queue.put("events", [delivered(number) for number in range(total)])
            await until(lambda: running.ledger.counted["delivered"] == total and sink.failed > 0)
            # What waits here is bounded, the rest waits in Redis.
            assert sink.posting <= 2 * backdata.POSTED
            assert await waiting(queue) == total
            assert endpoint.taken == []
            await endpoint.start()
            await until(lambda: len(endpoint.taken) == total)
        assert Counter(one["uuid"] for one in endpoint.taken) == {f"u{number}": 1 for number in range(total)}
        assert max(len(json.loads(body)) for dummy, headers, body in endpoint.requests) == backdata.POSTED
        assert await waiting(queue) == 0

    run(go())


@pytest.mark.parametrize("status", [302, 401, 404, 410, 429, 500, 503])
def test_an_endpoint_that_fails_is_asked_again(redis_server: RedisServer, status: int) -> None:
    async def go() -> None:
        fails = iter([(status, {"Location": "/other"})] * 3)
        queue = queue_of(redis_server)
        endpoint = await Endpoint(lambda batch: next(fails, (204, {}))).start()
        sink = sink_of(queue, endpoint)
        async with stage(queue, [sink]):
            await queue.put("events", [delivered(1)])
            await until(lambda: len(endpoint.taken) == 1)
        assert [line for line, *dummy in endpoint.requests] == ["POST /hook HTTP/1.1"] * 4
        assert (sink.posted, sink.failed, sink.given_up) == (1, 3, 0)

    run(go())


def test_how_long_it_rests(redis_server: RedisServer) -> None:
    class Clock:
        now = float(NOW)

        def __call__(self) -> float:
            return self.now

    async def go() -> None:
        queue, endpoint = queue_of(redis_server), Endpoint()
        sink = sink_of(queue, endpoint, pause=1.0, now=Clock())
        pauses = []
        for dummy in range(12):
            sink._failed(1, "it answers 503", None)
            pauses.append(sink._rests_until - NOW)
        assert all(2**number / 2 <= pause <= 2**number for number, pause in enumerate(pauses[:8]))
        assert all(150 <= pause <= 300 for pause in pauses[9:])
        sink._failed(1, "it answers 429", 1000.0)
        assert sink._rests_until - NOW == 1000
        sink._failed(1, "it answers 429", 1e9)  # not for years
        assert sink._rests_until - NOW == 3600

    run(go())


@pytest.mark.parametrize(("asked", "least"), [("1", 0.9), ("Sun, 29 Nov 2026 02:00:01 GMT", 0.9), ("soon", 0.0)])
def test_retry_after_is_heeded(redis_server: RedisServer, asked: str, least: float) -> None:
    async def go() -> None:
        loop = asyncio.get_running_loop()
        times: list[float] = []

        def answer(batch: list[dict[str, Any]]) -> Answer:
            times.append(loop.time())
            return (
                (429, {"Retry-After": asked, "Date": "Sun, 29 Nov 2026 02:00:00 GMT"}) if len(times) == 1 else (200, {})
            )

        queue, endpoint = queue_of(redis_server), await Endpoint(answer).start()
        async with stage(queue, [sink_of(queue, endpoint)]):
            await queue.put("events", [delivered(1)])
            await until(lambda: len(endpoint.taken) == 1)
        assert times[1] - times[0] >= least

    run(go())


def test_one_bad_event_does_not_keep_the_others(redis_server: RedisServer) -> None:
    def picky(batch: list[dict[str, Any]]) -> Answer:
        return (400, {}) if any(one["uuid"] in ("u7", "u31") for one in batch) else (200, {})

    async def go() -> None:
        queue, endpoint = queue_of(redis_server), await Endpoint(picky).start()
        sink = sink_of(queue, endpoint)
        await queue.prepare(["events"])
        await queue.put("events", [delivered(number) for number in range(60)])
        async with stage(queue, [sink]):
            await until(lambda: sink.posted == 58 and sink.given_up == 2)
            dead = await buried(queue, 2)
            assert sorted((event["uuid"], why) for event, why in dead) == [
                ("u31", "post answers 400 to it alone"),
                ("u7", "post answers 400 to it alone"),
            ]
            # Once it can take them, they are sent again.
            endpoint.answer = lambda batch: (200, {})
            assert await replay(queue, NAMES, "post") == 2
            await until(lambda: len(endpoint.taken) == 60)
        assert {one["uuid"] for one in endpoint.taken} == {f"u{number}" for number in range(60)}
        assert await dead_letters(queue, NAMES, "post") == []
        assert await replay(queue, NAMES, "post") == 0

    run(go())


def test_what_is_not_taken_in_time_is_kept_for_a_replay(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def go() -> None:
        queue, endpoint = queue_of(redis_server), await Endpoint(lambda batch: (500, {})).start()
        sink = sink_of(queue, endpoint, retried=0.5)
        async with stage(queue, [sink]):
            await queue.put("events", [delivered(number) for number in range(10)])
            dead = await buried(queue, 10)
            assert {why for dummy, why in dead} == {"post has not taken it in 0.5 s"}
        assert sink.given_up == 10
        endpoint.answer = lambda batch: (200, {})
        async with stage(queue, [sink_of(queue, endpoint)]):
            assert await replay(queue, NAMES, "post") == 10
            await until(lambda: len(endpoint.taken) == 10)
        # The same names as at first, so that who took it then can tell.
        assert {one["uuid"] for one in endpoint.taken} == {f"u{number}" for number in range(10)}

    run(go())


def test_an_old_event_is_tried_when_its_poster_was_away(redis_server: RedisServer) -> None:
    async def go() -> None:
        fails = iter([(500, {})])
        queue = queue_of(redis_server)
        endpoint = await Endpoint(lambda batch: next(fails, (200, {}))).start()
        sink = sink_of(queue, endpoint, retried=1000.0)
        await queue.redis.xadd(stream_key(0, "events-post"), dict(delivered(1)[1]), id="1000-1")  # type: ignore[arg-type]
        async with stage(queue, [sink]):
            await until(lambda: len(endpoint.taken) == 1)
        assert sink.given_up == 0

    run(go())


def test_a_failing_endpoint_keeps_nothing_else_waiting(redis_server: RedisServer) -> None:
    async def go() -> None:
        queue = queue_of(redis_server)
        down, manager = await Endpoint(lambda batch: (500, {})).start(), await Endpoint().start()
        await queue.add("default", Envelope("u1", ("b@example.com",), domain="example.org"), b"m")
        second = Sink(
            queue, "manager", NAMES, Hook(manager.url, "url", private=True), Measured(7, "apa"), now=lambda: NOW
        )
        suppression = Suppression(queue, now=lambda: NOW)
        async with stage(queue, [sink_of(queue, down), second], suppression=suppression, rules=Rules()):
            complaint = events.dumps("spam-report", uuid="u1", now=NOW, email="b@example.com", rcpt=["b@example.com"])
            await queue.put("events", [("u1", {EVENT: complaint}), ("u9", {EVENT: delivered(9)[1][EVENT]})])
            await until(lambda: len(manager.taken) == 1)
            assert await suppression.check([("b@example.com", None)])
        assert manager.taken == [{"fd": "example.org", "rd": "example.com", "timestamp": NOW, "event": "spam-report"}]
        line, digest = manager.requests[0][0], hashlib.sha224(f"apa_7_{NOW}".encode()).hexdigest()
        assert line == f"POST /hook?cid=7&ts={NOW}&hash={digest} HTTP/1.1"
        assert down.taken == []

    run(go())


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("552 5.2.2 <b@example.com>: over quota", "552 5.2.2 <**PII**@example.com>: over quota"),
        ("<B@Example.com> and b@example.com", "<**PII**@Example.com> and **PII**@example.com"),
        ("503 Error: need MAIL command", "503 Error: need MAIL command"),
        ("c@example.com", "c@example.com"),
    ],
)
def test_recipients_are_masked(reason: str, expected: str) -> None:
    assert masked(reason, ["b@example.com"]) == expected


def test_what_the_manager_is_given() -> None:
    form = Measured(1, "apa")
    event = {
        "event": "bounce",
        "uuid": "u1",
        "timestamp": NOW,
        "type": "hard",
        "reason": "550 <b@example.com>",
        "ip": "192.0.2.1",
    }
    whole = {**event, "rcpt": ["b@example.com"], "fd": "example.dev", "streamid": "s-1"}
    assert json.loads(form.request([json.dumps(whole).encode()], NOW)[0]) == [
        {"fd": "example.dev", "rd": "example.com", "timestamp": NOW, "event": "bounce", "streamid": "s-1", "type": "hard",
         "reason": "550 <**PII**@example.com>"}
    ]  # fmt: skip
    assert form.wants(whole)
    assert not form.wants({**whole, "fd": None})
    assert not form.wants({**whole, "rcpt": []})


@given(st.text(max_size=50), st.lists(st.text(max_size=10), max_size=3))
def test_masking_ends_and_hides(text: str, recipients: list[str]) -> None:
    shown = masked(text + "b@example.com", [*recipients, "b@example.com"])
    assert "b@example.com" not in shown


ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMED = st.sampled_from(["uuid", "rcpt", "fd", "streamid", "type", "reason", "ip", "unproven", "event", "timestamp"])


@given(
    st.sampled_from(sorted(events.KINDS)), st.dictionaries(NAMED, ANY | st.sampled_from(["b@example.com", "hard", NOW]))
)
def test_hostile_events_make_no_trouble(kind: str, more: dict[str, Any]) -> None:
    data = json.dumps({"event": kind, "timestamp": NOW, **more}).encode()
    try:
        event = events.loads(data)
    except ValueError:
        return
    for one in Suppression(None)._by_rule(event, Rules()):  # type: ignore[arg-type]
        assert f"{one.address} {one.stream}".encode()
    form = Measured(1, "apa")
    if form.wants(event):
        assert all("@" not in one["rd"] for one in json.loads(form.request([json.dumps(event).encode()], NOW)[0]))
    assert not {"rcpt", "fd", "unproven"} & set(
        json.loads(Plain([SECRET]).request([json.dumps(event).encode()], NOW)[0])[0]
    )


# -- where a URL may lead ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    "127.0.0.1 127.9.9.9 0.0.0.0 10.0.0.1 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 100.100.100.200 192.0.0.192 "
    "168.63.129.16 224.0.0.1 240.0.0.1 255.255.255.255 198.18.0.1 ::1 :: fe80::1 fe80::1%eth0 fc00::1 fd00:ec2::254 fec0::1 "
    "ff02::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::127.0.0.1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe "
    "64:ff9b:1::1 2002:7f00:1:: 2001:0:1::1 2001:db8::1".split(),
)
def test_addresses_of_one_s_own(address: str) -> None:
    assert not is_outside(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "172.32.0.1"])
def test_addresses_of_the_internet(address: str) -> None:
    assert is_outside(address)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1", "[::1]", "[::ffff:127.0.0.1]"]
)
def test_a_hook_into_our_own_network_is_refused(host: str) -> None:
    async def go() -> None:
        endpoint = await Endpoint().start()
        url = f"http://{host}:{endpoint.port}/hook"
        with pytest.raises(
            HookError, match="no address of the internet: if post-url is meant to lead there, set private-urls to true"
        ):
            await Hook(url, "post-url").post(b"[]", {})
        assert endpoint.requests == []
        if "::" not in host:
            assert (await Hook(url, "post-url", private=True).post(b"[]", {})).status == 200

    run(go())


def test_one_bad_address_among_good_ones_is_enough() -> None:
    async def both(host: str, port: int) -> list[str]:
        return ["192.0.2.1", "10.0.0.1"] if host == "bad.example.org" else ["8.8.8.8"]

    async def go() -> None:
        hook = Hook("http://bad.example.org/", "post-url", resolve=both)
        with pytest.raises(HookError, match="bad.example.org is 192.0.2.1, which is no address of the internet"):
            await hook.post(b"[]", {})

    run(go())


def test_the_connection_goes_where_the_check_looked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that says another thing at the second look is not looked at twice."""

    async def go() -> None:
        endpoint = await Endpoint().start()
        looks: list[str] = []

        async def rebinding(host: str, port: int) -> list[str]:
            looks.append(host)
            return ["127.0.0.1"] if len(looks) == 1 else ["192.0.2.1"]

        hook = Hook(
            f"http://rebind.example.org:{endpoint.port}/hook?key=1", "post-url", private=True, resolve=rebinding
        )
        assert (await hook.post(b"[]", {}, "a=1")).status == 200
        assert looks == ["rebind.example.org"]
        line, headers, dummy = endpoint.requests[0]
        assert line == "POST /hook?key=1&a=1 HTTP/1.1"
        assert headers["host"] == f"rebind.example.org:{endpoint.port}"

    run(go())


def test_the_next_address_is_tried() -> None:
    async def go() -> None:
        endpoint = await Endpoint().start()

        async def two(host: str, port: int) -> list[str]:
            return ["127.0.0.2", "127.0.0.1"]  # nobody listens on the first

        hook = Hook(f"http://two.example.org:{endpoint.port}/", "post-url", private=True, resolve=two)
        assert (await hook.post(b"[]", {})).status == 200

    run(go())


def test_no_secret_of_a_url_is_logged(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    async def go() -> None:
        fails = iter([(503, {}), (400, {})])
        queue = queue_of(redis_server)
        endpoint = await Endpoint(lambda batch: next(fails, (200, {}))).start()
        url = f"http://user:pass-word@127.0.0.1:{endpoint.port}/hook-key?key=query-key"
        sink = Sink(queue, "post", NAMES, Hook(url, "post-url", private=True), Measured(1, "shared-secret"), pause=0.02)
        async with stage(queue, [sink]):
            await queue.put("events", [delivered(1, fd="example.org")])
            await until(lambda: sink.given_up == 1)
        assert endpoint.requests[0][0].startswith("POST /hook-key?key=query-key&cid=1&ts=")
        assert endpoint.requests[0][1]["authorization"] == "Basic " + base64.b64encode(b"user:pass-word").decode()

    caplog.set_level("DEBUG")
    run(go())
    assert "it answers 503" in caplog.text
    assert not [
        word for word in ("pass-word", "hook-key", "query-key", "shared-secret", "hash=") if word in caplog.text
    ]
    assert "b@example.com" not in caplog.text


@pytest.mark.parametrize(
    ("name", "said"), [("localhost", None), ("other.example.org", "certificate verify failed: Hostname mismatch")]
)
def test_the_certificate_must_be_that_of_the_name(certificate: Path, name: str, said: str | None) -> None:
    async def here(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    async def go() -> None:
        inside, outside = contexts(certificate)
        endpoint = await Endpoint().start(inside)
        hook = Hook(f"https://{name}:{endpoint.port}/", "post-url", private=True, resolve=here, tls=outside)
        if said is None:
            assert (await hook.post(b"[]", {})).status == 200
            return
        with pytest.raises(HookError, match=said):
            await hook.post(b"[]", {})
        assert endpoint.requests == []

    run(go())


def test_no_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")

    async def go() -> None:
        endpoint = await Endpoint().start()
        assert (await Hook(endpoint.url, "post-url", private=True).post(b"[]", {})).status == 200

    run(go())


def test_an_endpoint_that_never_ends_is_left() -> None:
    async def go() -> None:
        async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 so\r\n\r\n")
            try:
                while True:
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(0.05)
            except OSError:
                pass

        server = await asyncio.start_server(slowly, "127.0.0.1", 0)
        hook = Hook(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", "post-url", private=True, seconds=0.5)
        with pytest.raises(HookError, match="127.0.0.1 has not answered within 0.5 s"):
            await hook.post(b"[]", {})
        server.close()

    run(go())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"post-url": "ftp://example.org/"}, "backdata: post-url must begin with https:// (or http://) and name a host"),
        ({"post-url": "http://0177.0.0.1/"}, "backdata: post-url is no URL: Invalid IPv4 address: '0177.0.0.1'"),
        ({"post-url": "https:///x"}, "backdata: post-url must begin with https:// (or http://) and name a host"),
        (
            {"post-url": "https://example.org/", "signing-secret": "whsec_"},
            "backdata.signing-secret is no base64: echo whsec_$(openssl rand -base64 32)",
        ),
        (
            {"bounce-manager": {"cid": 1, "secret": "apa", "url": "nowhere"}},
            "backdata: bounce-manager.url must begin with https:// (or http://) and name a host",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_posted_to_is_said(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        sinks_of(Settings.model_validate(settings), None)  # type: ignore[arg-type]
    assert str(error.value) == said


def test_sinks_of_a_configuration(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET + "\n" + SECRET)
    manager = {"cid": 1, "secret": "apa", "url": "https://example.org/"}
    told = {
        "post-url": "https://example.org/",
        "signing-secret-file": str(tmp_path / "secret"),
        "bounce-manager": manager,
    }
    assert [one.stream for one in sinks_of(Settings.model_validate(told), None)] == ["events-post", "events-manager"]  # type: ignore[arg-type]
    assert sinks_of(Settings(), None) == []  # type: ignore[arg-type]


# -- killed ---------------------------------------------------------------------------------------------


def test_killed_in_the_middle_every_event_is_posted_at_least_once(redis_server: RedisServer, tmp_path: Path) -> None:
    total, kills = 600, 4
    settings = tmp_path / "mailer.yaml"

    async def go() -> None:
        queue, endpoint = queue_of(redis_server), await Endpoint().start()

        endpoint.delay = 0.05  # so that kills come between what it took and what the poster knows
        where = {"reliable-queue": {"redis": {"hostname": str(redis_server.socket)}}}
        settings.write_text(
            json.dumps(
                {
                    "reliable-queue": {"partitions": 2},
                    "backdata": {
                        **where, "post-url": endpoint.url, "private-urls": True, "prometheus": {"inet-port": reserved()}
                    },
                }
            )
        )  # fmt: skip

        async def start() -> asyncio.subprocess.Process:
            return await asyncio.create_subprocess_exec(
                sys.executable, "-m", "postmaster_mailer", "backdata", "--config", str(settings),
                env={"PYTHONPATH": str(ROOT / "roles/mailer/files/package"), "PATH": "/usr/bin:/bin"},
            )  # fmt: skip

        async def empty() -> bool:
            return await waiting(queue) == 0

        process = await start()
        try:
            for number in range(kills):
                await queue.put("events", [delivered(at) for at in range(number * 150, number * 150 + 150)])
                await until(lambda number=number: len(endpoint.taken) > number * 150)  # type: ignore[misc]
                process.kill()
                await process.wait()
                if number == 1:
                    redis_server.kill()
                    redis_server.start()
                process = await start()
            await until(lambda: len({one["uuid"] for one in endpoint.taken}) == total)
            # Of what the one before had posted some may be posted again.
            await until(empty)
        finally:
            process.terminate()
        assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
        counted = Counter(one["uuid"] for one in endpoint.taken)
        assert set(counted) == {f"u{number}" for number in range(total)}
        assert sum(counted.values()) > total  # they did come there
        # No more than what was under way at a kill comes twice: two partitions with a batch each.
        assert sum(counted.values()) - total <= kills * 2 * backdata.POSTED

    run(go())
