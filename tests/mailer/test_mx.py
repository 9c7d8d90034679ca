# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers of the world, over real SMTP and HTTP connections, into a real Redis."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from postmaster_mailer import events, http_server
from postmaster_mailer.answers import classify
from postmaster_mailer.config import ConfigError, Listen, parse
from postmaster_mailer.connect import addresses_of
from postmaster_mailer.envelope import Envelope
from postmaster_mailer.limits import Rate, network
from postmaster_mailer.mx import Addresses, MxTaker
from postmaster_mailer.quarantine import Quarantine
from postmaster_mailer.queue import EVENT, Queue, stream_key
from postmaster_mailer.reporter import Reporter
from postmaster_mailer.returnpath import BOUNCE, UNSUBSCRIBE, local_part
from postmaster_mailer.smtp_server import Manner, Server
from postmaster_mailer.suppression import Suppression
from postmaster_mailer.unsubscribe import BODY_LIMIT, Unsubscribe, _fields
from pydantic import IPvAnyNetwork, TypeAdapter
from redis.asyncio import Redis

from .conftest import PATIENCE, ROOT, RedisServer, reserved, run
from .endpoint import Endpoint, until
from .test_answers import ARF, DSN
from .test_smtp_server import Client, contexts

NOW = 1_795_900_000
SECRET = b"s" * 32
BOUNCED = local_part(SECRET, BOUNCE, "u1") + "@rp.example.org"
UNSUB = local_part(SECRET, UNSUBSCRIBE, "u1") + "@example.org"
FORGED = local_part(b"x" * 32, BOUNCE, "u1") + "@rp.example.org"
ADDRESSES = Addresses(
    (SECRET,),
    frozenset({"rp.example.org"}),
    frozenset({"example.org"}),
    frozenset({"abuse@example.org", "fbl@example.net"}),
)
HARD = DSN.format(to=BOUNCED, action="failed", status="5.1.1", said="550 5.1.1 unknown", path=BOUNCED)
VACATION = "From: b@example.com\nTo: x\nSubject: away\nAuto-Submitted: auto-replied\n\nnot here\n"


class Mx:
    """A running server for answers."""

    def __init__(self, queue: Queue, folder: Path, addresses: Addresses, rate: int, sizes: dict[str, int]) -> None:
        self.queue, self.folder = queue, folder
        self.reporter = Reporter(queue, "events", now=lambda: NOW)
        self.taker = MxTaker(
            addresses, self.reporter, Quarantine(folder, **{"count": 100, "size": 1_000_000, **sizes}), Rate(rate)
        )

    async def told(self) -> list[dict[str, Any]]:
        """The events so far, as they lie in the stream."""
        found = []
        for part in range(2):
            for dummy, fields in await self.queue.redis.xrange(stream_key(part, "events")):
                found.append(json.loads(fields[EVENT]))
        return found

    def kept(self) -> list[bytes]:
        return [path.read_bytes() for path in sorted(self.folder.glob("*.eml"))]


@asynccontextmanager
async def serving(
    server: RedisServer, folder: Path, addresses: Addresses = ADDRESSES, *, rate: int = 1000, sizes: dict[str, int] | None = None,
    **manner: Any,
) -> AsyncIterator[tuple[Mx, Any]]:  # fmt: skip
    mx = Mx(
        Queue(Redis(unix_socket_path=str(server.socket), protocol=3), partitions=2),
        folder,
        addresses,
        rate,
        sizes or {},
    )
    smtp = Server(
        Manner(**{"name": "mx.example.org", "size_limit": 100_000, "recipients_limit": 100, **manner}), mx.taker
    )
    listening = await asyncio.get_running_loop().create_server(smtp, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    clients: list[Client] = []

    async def connect() -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", port))
        clients.append(client)
        await client.reply()
        await client.say("EHLO mta.example.com")
        return client

    try:
        yield mx, connect
    finally:
        for client in clients:
            client.writer.close()
        listening.close()
        await smtp.drain(1)


async def send(client: Client, recipient: str, text: str | bytes, sender: str = "") -> str:
    raw = (text.encode() if isinstance(text, str) else text).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    await client.say(f"MAIL FROM:<{sender}>")
    if (said := await client.say(f"RCPT TO:<{recipient}>"))[0] != "2":
        return said
    await client.say("DATA")
    return await client.say(raw + b"\r\n.")


async def known(mx: Mx, *recipients: str) -> None:
    await mx.queue.add("default", Envelope("u1", recipients, stream_id="s-1", domain="example.org"), b"m")


BOUNCE_EVENT = {
    "event": "bounce", "uuid": "u1", "timestamp": NOW, "type": "hard", "reason": "550 5.1.1 unknown", "ip": "192.0.2.7",
    "streamid": "s-1", "rcpt": ["b@example.com"],
}  # fmt: skip
COMPLAINT_EVENT = {
    "event": "spam-report", "uuid": "u1", "timestamp": NOW, "email": "b@example.com", "streamid": "s-1", "rcpt": ["b@example.com"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("recipient", "text", "expected", "counted"),
    [
        (BOUNCED, HARD, BOUNCE_EVENT, "bounce"),
        (BOUNCED.upper(), HARD, BOUNCE_EVENT, "bounce"),
        (BOUNCED, VACATION, {**BOUNCE_EVENT, "type": "autoreply", "reason": "away", "ip": ""}, "autoreply"),
        (UNSUB, "Subject: no more\n\n", {**BOUNCE_EVENT, "event": "unsubscribe", "type": 0, "reason": 0, "ip": 0}, "unsubscribe"),
        (UNSUB.replace("@example.org", "@rp.example.org"), "\n", {**BOUNCE_EVENT, "event": "unsubscribe", "type": 0, "reason": 0, "ip": 0}, "unsubscribe"),
        ("abuse@example.org", ARF.format(to="abuse@example.org", path=BOUNCED, kind="abuse"), COMPLAINT_EVENT, "spam"),
        ("FBL@example.net", ARF.format(to="fbl@example.net", path=BOUNCED, kind="abuse"), COMPLAINT_EVENT, "spam"),
        (BOUNCED, ARF.format(to=BOUNCED, path=BOUNCED, kind="abuse"), COMPLAINT_EVENT, "spam"),
    ],
)  # fmt: skip
def test_answers_become_events(
    redis_server: RedisServer, tmp_path: Path, recipient: str, text: str, expected: dict[str, Any], counted: str
) -> None:
    async def go() -> None:
        async with serving(redis_server, tmp_path / "eml") as (mx, connect):
            await known(mx, "b@example.com")
            assert await send(await connect(), recipient, text) == "250 2.0.0 thank you"
            # Safe before the 250: nobody has to wait for it.
            assert await mx.told() == [{name: value for name, value in expected.items() if value != 0}]
            assert mx.taker.counts[f"mxserver_received_{counted}"] == 1
            assert mx.kept() == []
            assert "rcpt" not in events.public(json.dumps((await mx.told())[0]).encode())

    run(go())


@pytest.mark.parametrize(
    ("recipient", "said"),
    [
        ("somebody@elsewhere.example", "550 5.7.1 nothing is relayed here"),
        ("a%elsewhere.example@rp.example.org", "550 5.1.1 there is no such address"),
        ("info@rp.example.org", "550 5.1.1 there is no such address"),
        (BOUNCED.replace("@rp.", "@"), "550 5.1.1 there is no such address"),  # bounces are not for the From domain
        (BOUNCED.replace("@rp.example.org", "@elsewhere.example"), "550 5.7.1 nothing is relayed here"),
        (FORGED, "550 5.7.1 this address was not made here"),
        ("bounce-u1@rp.example.org", "550 5.7.1 this address was not made here"),
        ("unsub-u1@example.org", "550 5.7.1 this address was not made here"),
        ("abuse@rp.example.org", "550 5.1.1 there is no such address"),
        (BOUNCED, "250 2.1.5 fine"),
        (UNSUB, "250 2.1.5 fine"),
        ("postmaster@rp.example.org", "250 2.1.5 fine"),
        ("Postmaster@example.org", "250 2.1.5 fine"),
        ("abuse@example.org", "250 2.1.5 fine"),
    ],
)
def test_what_mail_is_taken_for(redis_server: RedisServer, tmp_path: Path, recipient: str, said: str) -> None:
    async def go() -> None:
        async with serving(redis_server, tmp_path) as (dummy, connect):
            client = await connect()
            await client.say("MAIL FROM:<>")
            assert await client.say(f"RCPT TO:<{recipient}>") == said

    run(go())


def test_a_legacy_address_makes_an_event_and_suppresses_nobody(redis_server: RedisServer, tmp_path: Path) -> None:
    async def go() -> None:
        legacy = Addresses((SECRET,), ADDRESSES.bounces, ADDRESSES.unsubscribes, forged=True)
        async with serving(redis_server, tmp_path, legacy) as (mx, connect):
            client = await connect()
            assert await send(client, "bounce-u1@rp.example.org", HARD) == "250 2.0.0 thank you"
            assert await send(client, FORGED, HARD) == "250 2.0.0 thank you"
            assert [(one["uuid"], one["unproven"]) for one in await mx.told()] == [("u1", True)] * 2

    run(go())


def test_a_template_without_proof_has_its_answers_taken(redis_server: RedisServer, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    transformer = {
        "secret-file": str(secret),
        "email-headers": {"inject": {"List-Unsubscribe": "<mailto:unsub-{{uuid}}@{{from-domain}}>"}},
        "domain-settings": [
            {"domain": "Example.org", "return-path-domain": "RP.example.org", "dkim-private-key-file": "x"}
        ],
    }
    mx = {"abuse": {"yahoo": {"to": "Abuse@example.org"}, "addresses": ["fbl@example.net"]}}
    addresses = addresses_of(parse({"transformer": transformer, "mxserver": mx}))
    assert (addresses.bounces, addresses.unsubscribes, addresses.complaints) == (
        ADDRESSES.bounces, ADDRESSES.unsubscribes, ADDRESSES.complaints,
    )  # fmt: skip
    assert addresses.refusal("unsub-u1@example.org") is None
    assert addresses.refusal("unsub-u1-aaaaaaaaaaaaaaaa@example.org") == "550 5.7.1 this address was not made here"
    assert addresses.refusal("bounce-u1@rp.example.org") == "550 5.7.1 this address was not made here"
    strict = addresses_of(parse({"transformer": transformer, "mxserver": {**mx, "legacy-addresses": False}}))
    assert strict.refusal("unsub-u1@example.org") == "550 5.7.1 this address was not made here"


@pytest.mark.parametrize(
    ("recipients", "sender", "expected"),
    [
        (("b@example.com",), "other@example.com", ["b@example.com"]),
        (("a@example.com", "B@example.com"), "b@example.com", ["B@example.com"]),
        (("a@example.com", "b@example.com"), "c@example.com", None),
        ((), "b@example.com", None),
    ],
)
def test_who_unsubscribes(
    redis_server: RedisServer, tmp_path: Path, recipients: tuple[str, ...], sender: str, expected: list[str] | None
) -> None:
    async def go() -> None:
        async with serving(redis_server, tmp_path) as (mx, connect):
            if recipients:
                await known(mx, *recipients)
            await send(await connect(), UNSUB, "\n", sender)
            assert [one.get("rcpt") for one in await mx.told()] == [expected]

    run(go())


def test_a_made_up_bounce_names_nobody_else(redis_server: RedisServer, tmp_path: Path) -> None:
    """Whoever got one of our messages knows its return path, and may write any recipient into a report to it."""

    async def go() -> None:
        async with serving(redis_server, tmp_path) as (mx, connect):
            await known(mx, "a@example.com", "c@example.com")
            await send(await connect(), BOUNCED, HARD.replace("b@example.com", "victim@example.net"))
            await send(await connect(), BOUNCED, HARD.replace("b@example.com", "C@example.com"))
            assert [one.get("rcpt") for one in await mx.told()] == [None, ["c@example.com"]]

    run(go())


def test_a_report_of_many_makes_few_events(redis_server: RedisServer, tmp_path: Path) -> None:
    async def go() -> None:
        block = "Final-Recipient: rfc822; u{}@example.com\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 5.1.1 {}\n\n"
        text = HARD.replace("Final-Recipient", "".join(block.format(n, n) for n in range(300)) + "Final-Recipient")
        async with serving(redis_server, tmp_path) as (mx, connect):
            assert await send(await connect(), BOUNCED, text) == "250 2.0.0 thank you"
            assert len(await mx.told()) == 20

    run(go())


def test_a_delay_is_no_event(redis_server: RedisServer, tmp_path: Path) -> None:
    async def go() -> None:
        text = DSN.format(to=BOUNCED, action="delayed", status="4.4.1", said="x", path=BOUNCED)
        async with serving(redis_server, tmp_path / "eml") as (mx, connect):
            assert await send(await connect(), BOUNCED, text) == "250 2.0.0 thank you"
            assert (await mx.told(), mx.kept()) == ([], [])

    run(go())


@pytest.mark.parametrize(
    ("recipient", "text"),
    [
        (BOUNCED, "From: b@example.com\nSubject: thanks\n\nnice mail\n"),
        ("postmaster@rp.example.org", "From: b@example.com\nSubject: a question\n\nhello\n"),
        ("abuse@example.org", ARF.format(to="abuse@example.org", path=FORGED, kind="abuse")),
        ("abuse@example.org", "no header at all"),
        (BOUNCED, ""),
    ],
)
def test_what_is_not_understood_is_kept(redis_server: RedisServer, tmp_path: Path, recipient: str, text: str) -> None:
    async def go() -> None:
        folder = tmp_path / "eml"
        async with serving(redis_server, folder) as (mx, connect):
            assert await send(await connect(), recipient, text, "b@example.com") == "250 2.0.0 thank you"
            (raw,) = mx.kept()
            head = f"Return-Path: <b@example.com>\r\nX-Original-To: {recipient}\r\n".encode()
            assert raw.startswith(head)
            assert raw.removeprefix(head).replace(b"\r\n", b"\n").strip() == text.encode().strip()
            assert await mx.told() == []
            assert mx.taker.counts["mxserver_received_unclassified"] == 1
        (path,) = folder.iterdir()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    run(go())


@pytest.mark.parametrize(
    ("sizes", "left"),
    [({"count": 5}, range(15, 20)), ({"size": 5 * 200 + 10}, range(15, 20)), ({"count": 50}, range(20))],
)
def test_what_is_kept_is_bounded_and_the_oldest_go(tmp_path: Path, sizes: dict[str, int], left: range) -> None:
    async def go() -> None:
        one = Quarantine(tmp_path, **{"count": 100, "size": 1_000_000, **sizes})
        paths = [await one.keep(b"%d " % number + b"x" * (199 - len(str(number)))) for number in range(20)]
        assert len(set(paths)) == 20
        assert [path.read_bytes().split()[0] for path in sorted(tmp_path.iterdir())] == [
            b"%d" % number for number in left
        ]

    run(go())


def test_several_processes_keep_at_once(tmp_path: Path) -> None:
    async def go() -> None:
        several = [Quarantine(tmp_path, count=10, size=1_000_000, now=lambda: NOW) for dummy in range(5)]
        await asyncio.gather(*(one.keep(b"x") for one in several for dummy in range(20)))
        assert len(list(tmp_path.glob("*.eml"))) == 10
        assert list(tmp_path.glob("*.part")) == []

    run(go())


def test_no_250_when_it_cannot_be_kept(redis_server: RedisServer, tmp_path: Path) -> None:
    async def go() -> None:
        (tmp_path / "file").write_text("")
        async with serving(redis_server, tmp_path / "file" / "eml") as (mx, connect):
            client = await connect()
            assert await send(client, BOUNCED, "Subject: x\n\n") == "451 4.3.0 it cannot be kept now, try again later"
            redis_server.kill()
            assert await send(client, BOUNCED, HARD) == "451 4.3.0 it cannot be kept now, try again later"
            redis_server.start()
            assert await send(client, BOUNCED, HARD) == "250 2.0.0 thank you"
            assert [one["event"] for one in await mx.told()] == ["bounce"]
            assert mx.taker.counts["mxserver_warnings"] == 2

    run(go())


def test_limits(redis_server: RedisServer, tmp_path: Path) -> None:
    async def go() -> None:
        async with serving(redis_server, tmp_path, rate=3, connections_of_client=2) as (dummy, connect):
            client = await connect()
            assert (
                await send(client, BOUNCED, b"Subject: x\n\n" + b"y" * 100_001)
                == "552 5.3.4 a message may have 100000 bytes here"
            )
            assert await client.say("MAIL FROM:<> SIZE=100001") == "552 5.3.4 a message may have 100000 bytes here"
            assert [await send(client, BOUNCED, HARD), await send(client, BOUNCED, HARD)] == ["250 2.0.0 thank you"] * 2
            assert await client.say("MAIL FROM:<>") == "450 4.7.1 too many messages, try again in a minute"
            assert await client.say("AUTH PLAIN AGEAYg==") == "502 5.5.1 nobody logs in here"
            await connect()
            third = Client(*await asyncio.open_connection(*client.writer.get_extra_info("peername")[:2]))
            assert await third.reply() == "421 4.3.2 too many connections, try again later"
            assert await third.gone()

    run(go())


def test_the_rate_is_counted_by_network() -> None:
    now = [0.0]
    rate = Rate(2, clock=lambda: now[0])
    assert [rate.is_too_much("2001:db8::1"), rate.is_too_much("2001:db8::2"), rate.is_too_much("2001:db8::3")] == [
        False,
        False,
        True,
    ]
    assert not rate.is_too_much("2001:db8:0:1::1")
    now[0] = 60.0
    assert not rate.is_too_much("2001:db8::3")
    assert [network(one) for one in ("::ffff:192.0.2.1", "192.0.2.1", "", "x")] == ["192.0.2.1", "192.0.2.1", "", "x"]


def test_answers_over_tls(redis_server: RedisServer, tmp_path: Path, certificate: Path) -> None:
    async def go() -> None:
        inside, outside = contexts(certificate)
        async with serving(redis_server, tmp_path, tls=inside) as (mx, connect):
            client = await connect()
            assert await client.say("STARTTLS") == "220 2.0.0 go ahead"
            await client.writer.start_tls(outside, server_hostname="localhost")
            assert "STARTTLS" not in await client.say("EHLO mta.example.com")
            assert await send(client, BOUNCED, HARD) == "250 2.0.0 thank you"
            assert len(await mx.told()) == 1

    run(go())


@given(st.binary(max_size=400), st.sampled_from([BOUNCED, UNSUB, "abuse@example.org", "postmaster@rp.example.org"]))
def test_hostile_answers_make_no_trouble(junk: bytes, recipient: str) -> None:
    for raw in (junk, HARD.encode().replace(b"Final-Recipient", junk), ARF.encode().replace(b"Feedback-Type", junk)):
        answer = MxTaker(ADDRESSES, None, None, Rate(1))._read(raw, recipient)  # type: ignore[arg-type]
        assert answer.uuid in (None, "u1")


def test_a_long_text_takes_no_long_time() -> None:
    for junk in ("a-" * 500_000, "a" * 1_000_000, "bounce-" * 150_000):
        text = ARF.format(to="abuse@example.org", path=BOUNCED, kind="abuse").replace(
            "--b--", f"--b\nContent-Type: message/rfc822\n\nA: b\n\n{junk}\n--b--"
        )
        assert classify(text.encode(), "abuse@example.org", (SECRET,)).uuid == "u1"
        assert classify(text.replace(BOUNCED, "x@example.org").encode(), "abuse@example.org", (SECRET,)).uuid is None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"eml-bytes": 20_000_000},
            "mxserver: eml-bytes must be at least twice size-limit, or no message of that size could be kept",
        ),
        ({"certificate": "/x"}, "mxserver: certificate and key go together: give both or neither"),
    ],
)
def test_what_the_configuration_lacks_is_said(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse({"mxserver": settings})
    assert str(error.value) == said


# -- by one click --------------------------------------------------------------------------------------


@asynccontextmanager
async def clicking(
    server: RedisServer, most: int = 100, proxies: tuple[str, ...] = ()
) -> AsyncIterator[tuple[httpx.AsyncClient, Queue]]:
    queue = Queue(Redis(unix_socket_path=str(server.socket), protocol=3), partitions=2)
    app = Unsubscribe((SECRET,), Reporter(queue, "events", now=lambda: NOW), Rate(most)).app()
    networks = TypeAdapter(tuple[IPvAnyNetwork, ...]).validate_python(proxies)
    listening = socket.create_server(("127.0.0.1", 0))
    web = http_server.Server(http_server.behind(app, networks), Listen.model_validate({"inet-port": 8081}))
    running = asyncio.create_task(web.serve([listening]))
    await web.listening.wait()
    port = listening.getsockname()[1]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=PATIENCE) as client:
        yield client, queue
    web.leave()
    await running


async def unsubscribed(queue: Queue) -> list[dict[str, Any]]:
    found = [await queue.redis.xrange(stream_key(part, "events")) for part in range(2)]
    return [json.loads(fields[EVENT]) for entries in found for dummy, fields in entries]


TOKEN = UNSUB.partition("@")[0]
CLICK = {"List-Unsubscribe": "One-Click"}


@pytest.mark.parametrize("form", [{"data": CLICK}, {"files": {"List-Unsubscribe": (None, "One-Click")}}])
def test_one_click_unsubscribes(redis_server: RedisServer, form: dict[str, Any]) -> None:
    async def go() -> None:
        async with clicking(redis_server) as (client, queue):
            await queue.add("default", Envelope("u1", ("b@example.com",)), b"m")
            answer = await client.post(f"/unsubscribe/{TOKEN}", **form)
            assert answer.status_code == 200
            assert "You will get no more of this mail." in answer.text
            assert await unsubscribed(queue) == [
                {"event": "unsubscribe", "uuid": "u1", "timestamp": NOW, "rcpt": ["b@example.com"]}
            ]

    run(go())


def test_a_look_unsubscribes_nobody(redis_server: RedisServer) -> None:
    async def go() -> None:
        async with clicking(redis_server) as (client, queue):
            answer = await client.get(f"/unsubscribe/{TOKEN}")
            assert answer.status_code == 200
            assert '<form method="post">' in answer.text
            assert "script-src" not in answer.headers["content-security-policy"]
            assert answer.headers["content-security-policy"].startswith("default-src 'none'")
            assert answer.headers["cache-control"] == "no-store"
            assert (await client.head(f"/unsubscribe/{TOKEN}")).status_code == 200
            assert (await client.put(f"/unsubscribe/{TOKEN}", data=CLICK)).status_code == 405
            assert await unsubscribed(queue) == []

    run(go())


@pytest.mark.parametrize(
    ("token", "request_", "status", "said"),
    [
        (local_part(b"x" * 32, UNSUBSCRIBE, "u1"), {"data": CLICK}, 404, "there is no such link\n"),
        (TOKEN.replace("u1", "u2"), {"data": CLICK}, 404, "there is no such link\n"),
        ("unsub-u1", {"data": CLICK}, 404, "there is no such link\n"),
        (BOUNCED.partition("@")[0], {"data": CLICK}, 404, "there is no such link\n"),
        (TOKEN, {}, 400, "the body must be List-Unsubscribe=One-Click\n"),
        (TOKEN, {"data": {"List-Unsubscribe": "one"}}, 400, "the body must be List-Unsubscribe=One-Click\n"),
        (TOKEN, {"json": CLICK}, 400, "the body must be List-Unsubscribe=One-Click\n"),
        (TOKEN, {"content": b"x" * (BODY_LIMIT + 1)}, 413, "the request is too big\n"),
    ],
)
def test_no_other_click_does(
    redis_server: RedisServer, token: str, request_: dict[str, Any], status: int, said: str
) -> None:
    async def go() -> None:
        async with clicking(redis_server) as (client, queue):
            answer = await client.post(f"/unsubscribe/{token}", **request_)
            assert (answer.status_code, answer.text) == (status, said)
            assert await unsubscribed(queue) == []

    run(go())


def test_who_clicks_too_often_waits(redis_server: RedisServer) -> None:
    async def go() -> None:
        async with clicking(redis_server, most=3, proxies=("127.0.0.1",)) as (client, queue):

            async def click(peer: str) -> httpx.Response:
                return await client.post(f"/unsubscribe/{TOKEN}", data=CLICK, headers={"X-Forwarded-For": peer})

            answers = [await click("192.0.2.1") for dummy in range(4)]
            assert [one.status_code for one in answers] == [200, 200, 200, 429]
            assert (answers[3].text, answers[3].headers["retry-after"]) == (
                "too many requests, try again in a minute\n",
                "60",
            )
            assert (await click("192.0.2.2")).status_code == 200
            assert len(await unsubscribed(queue)) == 4

    run(go())


def test_a_forged_token_costs_nothing(redis_server: RedisServer) -> None:
    """It is answered before a byte of the body is there, and without Redis; one of ours has its body read."""

    async def go() -> None:
        async with clicking(redis_server) as (client, _queue):
            redis_server.kill()
            for token, wanted in ((local_part(b"x" * 32, UNSUBSCRIBE, "u1"), b"HTTP/1.1 404"), (TOKEN, b"")):
                reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
                head = f"POST /unsubscribe/{token} HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n"
                writer.write(head.encode())
                if wanted:
                    assert (await reader.readline())[:12] == wanted
                else:
                    writer.write(b"x" * 9000)
                    assert (await reader.readline())[:12] == b"HTTP/1.1 400"
                writer.close()

    run(go())


def test_no_200_without_redis(redis_server: RedisServer) -> None:
    async def go() -> None:
        async with clicking(redis_server) as (client, queue):
            redis_server.kill()
            answer = await client.post(f"/unsubscribe/{TOKEN}", data=CLICK)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")
            redis_server.start()
            assert (await client.post(f"/unsubscribe/{TOKEN}", data=CLICK)).status_code == 200
            assert len(await unsubscribed(queue)) == 1

    run(go())


@given(st.text(max_size=60), st.binary(max_size=300))
def test_hostile_forms_make_no_trouble(kind: str, body: bytes) -> None:
    for one in (kind, "multipart/form-data; boundary=b" + kind, "multipart/form-data;" + kind):
        assert all(isinstance(name, str) for name, dummy in _fields(one, b"--b\r\n" + body))


def test_a_full_disk_is_a_temporary_refusal(redis_server: RedisServer, tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")

    async def go() -> None:
        real = os.open

        def full(path: Any, *words: Any) -> int:
            return real("/dev/full", os.O_WRONLY) if str(path).endswith(".part") else real(path, *words)

        async with serving(redis_server, tmp_path) as (mx, connect):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("postmaster_mailer.quarantine.os.open", full)
                assert (
                    await send(await connect(), BOUNCED, "Subject: x\n\n")
                    == "451 4.3.0 it cannot be kept now, try again later"
                )
            assert await send(await connect(), BOUNCED, "Subject: x\n\n") == "250 2.0.0 thank you"
            assert len(mx.kept()) == 1

    run(go())


# -- the stages as they run ----------------------------------------------------------------------------


METRICS = (  # of backdata, mxserver and redis
    ("spam_report_events_total 1.0", "successfully_pushed_events_total 2.0", "currently_posting 0.0"),
    ("mxserver_received_spam_total 1.0", "mxserver_received_unsubscribe_total 1.0"),
    ("# TYPE event_queue_messages gauge", "event_dead_letter_messages 0.0"),
)


def test_from_an_answer_to_the_suppression_list(redis_server: RedisServer, tmp_path: Path) -> None:
    """A complaint over SMTP, an unsubscription by a click: the application is told, and the addresses get no more."""
    smtp, web, *shown = (reserved() for dummy in range(5))

    async def go() -> None:
        endpoint = await Endpoint().start()
        (tmp_path / "secret").write_bytes(SECRET)
        stage = {"reliable-queue": {"redis": {"hostname": str(redis_server.socket)}}}
        domain = {"domain": "example.org", "return-path-domain": "rp.example.org", "dkim-private-key-file": "x"}
        settings = {
            "reliable-queue": {"partitions": 2},
            "redis": {**stage, "prometheus": {"inet-port": shown[2]}},
            "transformer": {"secret-file": str(tmp_path / "secret"), "domain-settings": [domain]},
            "backdata": {**stage, "post-url": endpoint.url, "private-urls": True, "prometheus": {"inet-port": shown[0]}},
            "mxserver": {
                **stage, "bind": {"inet-port": smtp}, "unsubscribe-bind": {"inet-port": web}, "hostname": "mx.example.org",
                "eml-directory": str(tmp_path / "eml"), "abuse": {"yahoo": {"to": "abuse@example.org"}},
                "prometheus": {"inet-port": shown[1]},
            },
        }  # fmt: skip
        (tmp_path / "mailer.yaml").write_text(json.dumps(settings))
        queue = Queue(Redis(unix_socket_path=str(redis_server.socket), protocol=3), partitions=2)
        await queue.add("default", Envelope("u1", ("b@example.com",)), b"m")
        await queue.add("default", Envelope("u2", ("c@example.com",)), b"m")
        running = [
            await asyncio.create_subprocess_exec(
                sys.executable, "-m", "postmaster_mailer", name, "--config", str(tmp_path / "mailer.yaml"),
                env={"PYTHONPATH": str(ROOT / "roles/mailer/files/package"), "PATH": "/usr/bin:/bin"},
            )
            for name in ("backdata", "mxserver", "redis")
        ]  # fmt: skip
        try:
            for port in (web, *shown):
                (await connected(port)).writer.close()
            client = await connected(smtp)
            assert await client.reply() == "220 mx.example.org ESMTP"
            await client.say("EHLO mta.example.com")
            complaint = ARF.format(to="x", path=BOUNCED, kind="abuse")
            assert await send(client, "abuse@example.org", complaint) == "250 2.0.0 thank you"
            token = local_part(SECRET, UNSUBSCRIBE, "u2")
            async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
                assert (await http.post(f"http://127.0.0.1:{web}/unsubscribe/{token}", data=CLICK)).status_code == 200
                await until(lambda: len(endpoint.taken) == 2)

                async def counted() -> bool:  # a moment after it was answered
                    pages = [(await http.get(f"http://127.0.0.1:{port}/metrics")).text for port in shown]
                    return all(said in page for page, wanted in zip(pages, METRICS, strict=True) for said in wanted)

                await until(counted)
            client.writer.close()
        finally:
            for process in running:
                process.terminate()
        assert [await asyncio.wait_for(process.wait(), PATIENCE) for process in running] == [0, 0, 0]
        told = sorted((one["event"], one["uuid"]) for one in endpoint.taken)
        assert told == [("spam-report", "u1"), ("unsubscribe", "u2")]
        found = await Suppression(queue).check([(f"{name}@example.com", None) for name in "bcd"])
        assert {recipient: entry.reason for (recipient, dummy), entry in found.items()} == {
            "b@example.com": "complaint",
            "c@example.com": "unsubscribe",
        }

    run(go())


async def connected(port: int) -> Client:
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return Client(*await asyncio.open_connection("127.0.0.1", port))
            except OSError:
                await asyncio.sleep(0.1)
