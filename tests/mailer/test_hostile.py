# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What clients and the world do to a mailer that is whole elsewhere: full disks, full memory, too much of everything."""

from __future__ import annotations

import asyncio
import base64
import resource
import urllib.request
from pathlib import Path

import httpx
import pytest
from postmaster_mailer.passwords import Passwords
from postmaster_mailer.receiver import SmtpTaker
from postmaster_mailer.smtp_server import Dialogue, Server

from .conftest import PATIENCE, RedisServer, reserved
from .endpoint import Endpoint
from .stages import Application, Estate
from .test_http_receiver import Place, at
from .test_smtp_server import Client, Keeper, dialogue
from .test_stages import run as run_long
from .test_stages import until

BODY = "x" * 70 + "\r\n"


@pytest.mark.parametrize("full", ["memory", "disk, always", "disk, everysec"])
def test_no_yes_that_is_not_true(redis_server: RedisServer, full: str) -> None:
    """Redis has no place any more: SMTP says 451, HTTP 503. Who was told yes has a message that is there afterwards."""

    async def steps(place: Place) -> None:
        taker = SmtpTaker(place.intake, Passwords(()))
        taken: set[str] = set()

        async def smtp(uuid: str) -> str:
            head = f"X-Uuid: {uuid}\r\nFrom: a@example.org\r\n\r\n"
            caller = Dialogue("192.0.2.1", tls=True, login="app", recipients=["b@example.com"])
            return await taker.take(caller, (head + BODY * 300).encode())

        async def http(uuid: str) -> httpx.Response:
            return await place.mail(uuid=uuid, text=BODY * 300)

        assert redis_server.process is not None
        redis = place.queue.redis
        if full == "memory":
            used = (await redis.info("memory"))["used_memory"]
            await redis.config_set("maxmemory", used + 400_000)
        else:
            await redis.config_set("appendfsync", full.rpartition(" ")[2])
            limit = resource.prlimit(redis_server.process.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(redis_server.process.pid, resource.RLIMIT_FSIZE, (400_000, limit[1]))
        async with asyncio.timeout(PATIENCE):
            number, refused = 0, ""
            while not refused:
                said = await smtp(f"s{number}")
                if said.startswith("250"):
                    taken.add(f"s{number}")
                else:
                    refused = said
                number += 1
                await asyncio.sleep(0.01)  # with everysec it may write some seconds later
        assert taken and refused == "451 4.3.0 the queue does not take it now, try again later"
        answer = await http("h0")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        # There is place again. With appendfsync always Redis has ended itself; else it has kept in memory what it could
        # not write, and goes on (dying in between it would lose that, which is why preflight warns of it).
        if full == "memory":
            await redis.config_set("maxmemory", 0)
        elif full == "disk, everysec":
            resource.prlimit(redis_server.process.pid, resource.RLIMIT_FSIZE, limit)
        else:
            redis_server.kill()
            redis_server.start()
        while (await http("h1")).status_code != 202:
            await asyncio.sleep(0.1)
        queued = {envelope.uuid for envelope, dummy in await place.queued()}
        assert taken <= queued and len(queued) <= len(taken) + 3
        assert (await smtp("slast"))[:3] == "250"

    at(redis_server, steps)


@pytest.mark.parametrize(
    ("size", "said"),
    [(104_857_600, "552 5.3.4 a message may have 26214400 bytes here"), (26_000_000, "250 2.0.0 kept")],
)
def test_a_hundred_megabytes(size: int, said: str) -> None:
    async def steps(client: Client, keeper: Keeper, server: Server) -> None:
        await client.say("EHLO x")
        for word in ("MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "DATA"):
            assert (await client.say(word))[0] in "23"
        (session,) = server.sessions
        chunk, sent, most = (BODY * 1000).encode(), 0, 0
        while sent < size:
            client.writer.write(chunk)
            await client.writer.drain()
            sent += len(chunk)
            most = max(most, len(session._buffer))
        assert await client.say(".") == said
        assert most < 27_000_000  # what is too big is thrown away as it comes
        assert await client.say("NOOP") == "250 2.0.0 here"

    dialogue(steps, size_limit=26_214_400)


@pytest.mark.parametrize(("count", "taken"), [(10_000, 1000), (1000, 1000)])
def test_ten_thousand_recipients(count: int, taken: int) -> None:
    """Those beyond the limit are put off, so that the client sends them in another message (RFC 5321 section 4.5.3.1.10)."""

    async def steps(client: Client, keeper: Keeper, server: Server) -> None:
        await client.say("EHLO x")
        await client.say("MAIL FROM:<a@example.org>")
        replies = [await client.say(f"RCPT TO:<b{number}@example.com>") for number in range(count)]
        assert replies.count("250 2.1.5 fine") == taken
        later = "452 4.5.3 too many recipients: send the message to the others in another one"
        assert replies.count(later) == count - taken
        assert (await client.say("DATA"))[:3] == "354"
        assert await client.say("A: b\r\n\r\nhello\r\n.") == "250 2.0.0 kept"
        assert len(keeper.kept[0][1]) == taken

    dialogue(steps, recipients_limit=1000)


def test_an_endpoint_that_is_down_for_the_whole_run(tmp_path: Path, redis_server: RedisServer) -> None:
    """It gets every event once it is back, and nothing that ran meanwhile has written a secret into log or metrics."""
    endpoint = Endpoint()
    endpoint.port = reserved()
    signing = "whsec_" + base64.b64encode(b"signing-secret-of-thirty-two-byte").decode()
    backdata = {"post-url": endpoint.url + "?token=token-in-the-url", "signing-secret": signing}

    async def go() -> None:
        estate = Estate(tmp_path, redis_server, backdata=backdata)
        try:
            await estate.postfix.start()
            estate.start("receiver", "transformer", "postfix", "backdata")
            estate.postfix.answers = {"gone@example.com": "550 5.1.1 gone"}
            app = Application(estate.smtp)
            for number in range(60):
                to = "gone@example.com" if number % 3 == 0 else f"b{number}@example.com"
                assert (await app.send(f"u{number}", to))[:3] == "250"
                if number == 30:
                    estate.kill("backdata")
                    estate.start("backdata")
            refused = [number for number in range(60) if number % 3 == 0]
            await until(lambda: len(estate.postfix.delivered) >= 41, estate.said)  # who is gone is suppressed in time
            await until(lambda: "failed_pushed_events_total" in page(estate.ports["backdata"]), estate.said)
            shown = "".join(page(estate.ports[stage]) for stage in ("receiver", "transformer", "postfix", "backdata"))
            assert endpoint.taken == []
            await endpoint.start()
            await until(
                lambda: {one["uuid"] for one in endpoint.taken} == {f"u{number}" for number in range(60)},
                estate.said,
                300,
            )
            bounced = {one["uuid"] for one in endpoint.taken if one["event"] == "bounce"}
            assert bounced == {f"u{number}" for number in refused}
            said = "".join(one.read_text() for one in tmp_path.glob("*.log"))
            login = base64.b64encode(b"\0app\0secret").decode()
            for secret in (signing, signing[6:], "token-in-the-url", "s" * 32, login, "PRIVATE KEY"):
                assert secret not in said + shown
        finally:
            estate.end()
            await endpoint.stop()

    run_long(go())


def page(port: int) -> str:
    """The metrics; empty while the stage is not up."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as answer:
            text: str = answer.read().decode()
            return text
    except OSError:
        return ""
