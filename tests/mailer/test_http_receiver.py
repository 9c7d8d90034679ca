# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP receiver over real HTTP, with a real Redis."""

from __future__ import annotations

import asyncio
import base64
import email.policy
import json
import logging
import re
import shutil
import socket
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher
from hypothesis import given
from hypothesis import strategies as st
from postmaster_mailer import config, http_server
from postmaster_mailer.compose import Mail, compose
from postmaster_mailer.config import Listen, Login, QueueNames
from postmaster_mailer.connect import redis_of
from postmaster_mailer.envelope import Envelope
from postmaster_mailer.http_receiver import Manner, Suppressions, application
from postmaster_mailer.message import Message, bare_line_end
from postmaster_mailer.passwords import Passwords
from postmaster_mailer.queue import MESSAGE, Queue, QueueError, stream_key
from postmaster_mailer.receiver import Intake, domains_of
from postmaster_mailer.records import Records
from postmaster_mailer.suppression import Suppression
from pydantic import IPvAnyNetwork, TypeAdapter

from .conftest import PATIENCE, ROOT, RedisServer, run
from .endpoint import until

PASSWORD = "sécret: 1"
LOGINS = (
    Login.model_validate(
        {"username": "shop", "password-hash": PasswordHasher(time_cost=1, memory_cost=64).hash(PASSWORD)}
    ),
)
SHOP = ("shop", PASSWORD)
LIMIT = 200_000
RAW = b"From: a@example.org\nTo: B <b@example.com>, c@example.com\nCc: d@example.com\nBcc: e@example.com\nX-Uuid: u1\n\nhello\n"
OCTETS = {"Content-Type": "application/octet-stream"}
MAIL: dict[str, Any] = {"from": "a@example.org", "to": ["b@example.com"], "text": "hello"}


class Place:
    """A receiver, a client of it, and what lies behind it."""

    def __init__(self, client: httpx.AsyncClient, queue: Queue, intake: Intake) -> None:
        self.client, self.queue, self.intake = client, queue, intake
        self.port = client.base_url.port or 0

    async def post(self, path: str, **more: Any) -> httpx.Response:
        return await self.client.post(path, **{"auth": SHOP, **more})

    async def mail(self, **changes: Any) -> httpx.Response:
        return await self.post("/v1/messages", json=MAIL | changes)

    async def queued(self, stream: str = "default") -> list[tuple[Envelope, bytes]]:
        found = []
        for partition in range(self.queue.partitions):
            for dummy, fields in await self.queue.redis.xrange(stream_key(partition, stream)):
                found.append((Envelope.loads(fields[b"e"]), fields[MESSAGE]))
        return found

    async def only(self, stream: str = "default") -> tuple[Envelope, Any, bytes]:
        ((envelope, raw),) = await self.queued(stream)
        return envelope, email.message_from_bytes(raw, policy=email.policy.default), raw


@asynccontextmanager
async def receiver(
    server: RedisServer,
    proxies: tuple[str, ...] = (),
    domains: tuple[str, ...] | None = None,
    suppressions: bool = True,
    **manner: Any,
) -> AsyncIterator[Place]:
    queue = Queue(redis_of(config.Redis(hostname=str(server.socket))), partitions=2)
    await queue.prepare(["default", "primary"])
    may = Suppressions(Suppression(queue), frozenset(["shop"] if suppressions else []))
    logins = [one.model_copy(update={"domains": domains}) for one in LOGINS]
    intake = Intake(queue, QueueNames(), domains=domains_of(logins))
    app = application(intake, Passwords(LOGINS), Manner(**{"size_limit": LIMIT} | manner), Records(queue), may)
    networks = TypeAdapter(tuple[IPvAnyNetwork, ...]).validate_python(proxies)
    listening = socket.create_server(("127.0.0.1", 0))
    serving = http_server.Server(http_server.behind(app, networks), Listen.model_validate({"inet-port": 8080}))
    task = asyncio.ensure_future(serving.serve([listening]))
    await serving.listening.wait()
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", limits=limits, timeout=PATIENCE
    ) as client:
        try:
            yield Place(client, queue, intake)
        finally:
            serving.leave()
            await task


def at(server: RedisServer, steps: Callable[[Place], Awaitable[None]], **manner: Any) -> None:
    async def go() -> None:
        async with receiver(server, **manner) as place:
            await steps(place)

    run(go())


# -- MIME --------------------------------------------------------------------------------------------------


def test_a_message_as_it_is(redis_server: RedisServer) -> None:
    async def steps(place: Place) -> None:
        for dummy in range(2):  # the second time it is known
            answer = await place.post("/v1/mail/send", content=RAW, headers=OCTETS)
            assert (answer.status_code, answer.content) == (200, b"")
        envelope, dummy, raw = await place.only()
        assert (envelope.uuid, envelope.login, envelope.priority) == ("u1", "shop", 1)
        # Bcc gets none, and the transformer takes it out of the header.
        assert envelope.recipients == ("b@example.com", "c@example.com", "d@example.com")
        assert raw == RAW.replace(b"\n", b"\r\n")
        counts = place.intake.counts
        assert (counts.enqueued, counts.recipients, counts.dropped) == (1, 3, 0)

    at(redis_server, steps)


def test_mail_that_goes_first(redis_server: RedisServer) -> None:
    async def steps(place: Place) -> None:
        raw = RAW.replace(b"X-Uuid", b"X-Priority: 0\r\nX-Uuid")
        assert (await place.post("/v1/mail/send", content=raw, headers=OCTETS)).status_code == 200
        assert (await place.mail(priority=0, uuid="u2")).status_code == 202
        assert await place.queued() == []
        assert {envelope.uuid for envelope, dummy in await place.queued("primary")} == {"u1", "u2"}

    at(redis_server, steps)


@pytest.mark.parametrize(
    ("old", "new", "status", "said"),
    [
        (
            b"X-Uuid: u1",
            b"X-Uuid: U1",
            400,
            "X-Uuid is missing or wrong: give each message one, 1 to 40 of a-z and 0-9",
        ),
        (
            b"X-Uuid: u1",
            b"X-Other: u1",
            400,
            "X-Uuid is missing or wrong: give each message one, 1 to 40 of a-z and 0-9",
        ),
        (b"X-Uuid", b"X-Priority: 2\nX-Uuid", 400, "X-Priority is 0 for mail that goes first, else 1"),
        (b"To: B <b@example.com>, c@example.com\nCc", b"X-To", 400, "there is no recipient: name one in To or Cc"),
        (b"From: ", b"From ", 400, "line 1 of the header is no field: 'From a@example.org' has no name and colon"),
        (b"hello", b"hel\0lo", 400, "there is a NUL in it: encode what is no text as base64"),
        (b"hello", b"x" * LIMIT, 413, f"a request may have {LIMIT} bytes: send less, or attach less"),
    ],
)
def test_mime_that_is_refused(redis_server: RedisServer, old: bytes, new: bytes, status: int, said: str) -> None:
    async def steps(place: Place) -> None:
        title = {400: "Bad Request", 413: "Request Entity Too Large"}[status]
        answer = await place.post("/v1/mail/send", content=RAW.replace(old, new), headers=OCTETS)
        assert (answer.status_code, answer.text) == (status, f"{status} {title}: {title}: {said}")
        assert (place.intake.counts.dropped, await place.queued()) == (1, [])
        assert (await place.post("/v1/mail/send", content=RAW, headers=OCTETS)).status_code == 200

    at(redis_server, steps)


def test_the_content_type_of_mime(redis_server: RedisServer) -> None:
    async def steps(place: Place) -> None:
        answer = await place.post("/v1/mail/send", content=RAW, headers={"Content-Type": "application/zip"})
        said = "incorrect content type 'application/zip', expected 'application/octet-stream'"
        assert (answer.status_code, answer.text) == (400, f"400 Bad Request: Bad Request: {said}")
        assert (await place.post("/v1/mail/send", content=RAW)).status_code == 400
        assert await place.queued() == []

    at(redis_server, steps)


def test_one_uuid_for_two_messages(redis_server: RedisServer) -> None:
    async def steps(place: Place) -> None:
        assert (await place.post("/v1/mail/send", content=RAW, headers=OCTETS)).status_code == 200
        answer = await place.post("/v1/mail/send", content=RAW + b"more", headers=OCTETS)
        assert answer.status_code == 409
        assert answer.text == "409 Conflict: Conflict: X-Uuid u1 belongs to another message: give each its own"
        answer = await place.mail(uuid="u1")
        assert answer.status_code == 409
        assert answer.json()["detail"] == "X-Uuid u1 belongs to another message: give each its own"
        assert len(await place.queued()) == 1

    at(redis_server, steps)


# -- JSON --------------------------------------------------------------------------------------------------


def test_all_fields(redis_server: RedisServer) -> None:
    data = bytes(range(256)) * 50
    whole = {
        "uuid": "abc1",
        "from": "Jürgen Müller <j@example.org>",
        "to": ["b@example.com", '"C, Ann" <c@example.com>'],
        "cc": ["日本 <d@example.com>", "b@example.com"],
        "bcc": ["Hidden <hidden@example.com>"],
        "reply_to": ["answers@example.org"],
        "subject": "Süße Grüße… " + "länger " * 20,
        "text": "Grüße,\nJürgen\r\n.\nFrom here\n",
        "html": '<p>Grüße <img src="cid:logo@shop">',
        "headers": {"List-Unsubscribe": f"<https://example.org/{'x' * 300}>", "X-Report-Abuse": "an abuse@example.org"},
        "attachments": [
            {
                "filename": "Rechnung für Jürgen.pdf",
                "content": base64.b64encode(data).decode(),
                "content_type": "application/pdf",
            },
            {"filename": "logo.png", "content": "iVBORw0KGgo=", "content_type": "image/png", "cid": "logo@shop"},
            {
                "filename": "invite.ics",
                "content": "QkVHSU4=",
                "content_type": "text/calendar; method=REQUEST; charset=utf-8",
            },
        ],
        "stream_id": "1-2.x",
        "priority": 1,
    }

    async def steps(place: Place) -> None:
        for dummy in range(2):
            answer = await place.post("/v1/messages", json=whole)
            assert (answer.status_code, answer.json()) == (202, {"uuid": "abc1"})
        envelope, message, raw = await place.only()
        assert envelope.recipients == ("b@example.com", "c@example.com", "d@example.com", "hidden@example.com")
        assert (envelope.uuid, envelope.stream_id, envelope.login) == ("abc1", "1-2.x", "shop")
        assert b"idden" not in raw
        assert (message["From"], message["Subject"]) == (whole["from"], str(whole["subject"]).strip())
        assert [one.display_name for one in message["To"].addresses] == ["", "C, Ann"]
        assert [one.display_name for one in message["Cc"].addresses] == ["日本", ""]
        assert (message["Reply-To"], message["X-Report-Abuse"]) == ("answers@example.org", "an abuse@example.org")
        assert f"List-Unsubscribe: <https://example.org/{'x' * 300}>\r\n".encode() in raw
        assert message["Date"] is None and message["Message-ID"] is None and message["Bcc"] is None
        assert message.get_content_type() == "multipart/mixed"
        parts = [part for part in message.walk() if not part.is_multipart()]
        assert [part.get_content_type() for part in parts] == [
            "text/plain",
            "text/html",
            "image/png",
            "application/pdf",
            "text/calendar",
        ]
        assert parts[0].get_content().replace("\r", "") == "Grüße,\nJürgen\n.\nFrom here\n"
        assert parts[1].get_content().strip() == whole["html"]
        assert (parts[2]["Content-ID"], parts[2]["Content-Disposition"]) == (
            "<logo@shop>",
            'inline; filename="logo.png"',
        )
        assert (parts[3].get_filename(), parts[3].get_content()) == ("Rechnung für Jürgen.pdf", data)
        assert b"filename*=utf-8''Rechnung%20f%C3%BCr%20J%C3%BCrgen.pdf" in raw
        assert parts[4]["Content-Type"].params == {"method": "REQUEST", "charset": "utf-8"}
        assert raw.isascii() and bare_line_end(raw) is None
        assert max(map(len, raw.split(b"\r\n"))) < 400

    at(redis_server, steps)


@pytest.mark.parametrize(
    ("mail", "kind"),
    [
        ({"text": "x"}, "text/plain"),
        ({"html": "x", "text": None}, "text/html"),
        ({"html": "x"}, "multipart/alternative"),
        ({"attachments": [{"filename": "a", "content": ""}]}, "multipart/mixed"),
        (
            {"html": "x", "text": None, "attachments": [{"filename": "a", "content": "", "cid": "a"}]},
            "multipart/related",
        ),
        ({"to": [], "bcc": ["b@example.com"]}, "text/plain"),
    ],
)
def test_shapes(redis_server: RedisServer, mail: dict[str, Any], kind: str) -> None:
    async def steps(place: Place) -> None:
        assert (await place.mail(**mail)).status_code == 202
        envelope, message, dummy = await place.only()
        assert message.get_content_type() == kind
        assert message["MIME-Version"] == "1.0" and message["X-Uuid"] == envelope.uuid
        assert not [part.defects for part in message.walk() if part.defects]

    at(redis_server, steps)


ADDRESS = "this is no address: write a@example.org or Name <a@example.org>"
CONTROL = "there is a control character at {}: write it in one line, without line breaks"
B64 = "this is no base64: use the standard alphabet with its padding, without line breaks"
FILE = {"filename": "a.txt", "content": "eA=="}
REFUSED: list[tuple[dict[str, Any], str, str, dict[str, Any]]] = [
    ({"from": "a"}, "from", ADDRESS, {"from": "a@b"}),
    ({"from": "a@example.org, b@example.org"}, "from", ADDRESS, {"from": '"a@example.org, b" <b@example.org>'}),
    ({"from": "A <a@example.org>\r\nBcc: x@example.com"}, "from", CONTROL.format(17), {"from": "A <a@example.org>"}),
    ({"from": "A\nBcc: x <a@example.org>"}, "from", CONTROL.format(1), {"from": "A Bcc: x <a@example.org>"}),
    (
        {"to": ["b@exämple.com"]},
        "to.0",
        f"{ADDRESS}; a domain outside of ASCII is written as xn--",
        {"to": ["b@xn--exmple-cua.com"]},
    ),
    ({"to": ["b@example.com", "b c@example.com"]}, "to.1", ADDRESS, {"to": ["b@example.com", "b.c@example.com"]}),
    ({"to": "b@example.com"}, "to", "Input should be a valid list", {"to": ["b@example.com"]}),
    ({"to": []}, "", "name 1 to 1000 recipients in to, cc and bcc, not 0", {"to": [], "cc": ["b@example.com"]}),
    (
        {"cc": ["b@example.com"] * 1000},
        "",
        "name 1 to 1000 recipients in to, cc and bcc, not 1001",
        {"cc": ["b@example.com"] * 999},
    ),
    ({"bcc": ["<script>"]}, "bcc.0", ADDRESS, {"bcc": ["<script@example.org>"]}),
    ({"reply_to": ["a@-b"]}, "reply_to.0", ADDRESS, {"reply_to": ["a@b"]}),
    ({"subject": "a\r\nBcc: x@example.com"}, "subject", CONTROL.format(1), {"subject": "a Bcc: x@example.com"}),
    ({"subject": "a\u2028b"}, "subject", CONTROL.format(1), {"subject": "a b"}),
    ({"subject": "x" * 901}, "subject", "String should have at most 900 characters", {"subject": "x" * 900}),
    ({"text": None}, "", "give text, html or both", {"text": None, "html": ""}),
    (
        {"text": "a\0"},
        "text",
        "there is a NUL in it: leave it out, or attach the data as a file",
        {"text": "a\r\n.\r\n"},
    ),
    ({"headers": {"X-A": "b\nc: d"}}, "headers.X-A", CONTROL.format(1), {"headers": {"X-A": "b c: d"}}),
    (
        {"headers": {"X-A\r\nBcc": "b"}},
        "headers",
        "a name in it is none: use letters, digits and -",
        {"headers": {"X-A-Bcc": "b"}},
    ),
    (
        {"headers": {"X-A:": "b"}},
        "headers",
        "a name in it is none: use letters, digits and -",
        {"headers": {"X-A": ":b"}},
    ),
    (
        {"headers": {"BCC": "x@example.com"}},
        "headers",
        "BCC cannot be set here: use bcc",
        {"headers": {"X-BCC": "x@example.com"}},
    ),
    ({"headers": {"X-Uuid": "x"}}, "headers", "X-Uuid cannot be set here: use uuid", {"uuid": "x"}),
    ({"headers": {"x-priority": "0"}}, "headers", "x-priority cannot be set here: use priority", {"priority": 1}),
    (
        {"headers": {"Content-Type": "text/html"}},
        "headers",
        "Content-Type cannot be set: it is the mailer's own, or not among what may be set",
        {"headers": {"X-Content-Type": "text/html"}},
    ),
    (
        {"headers": {"DKIM-Signature": "v=1"}},
        "headers",
        "DKIM-Signature cannot be set: it is the mailer's own, or not among what may be set",
        {"headers": {"Precedence": "bulk"}},
    ),
    (
        {"headers": {"List-Id": "ä <a.example.org>"}},
        "headers",
        "List-Id must be ASCII: write other letters percent-encoded or as xn--",
        {"headers": {"X-List-Id": "ä <a.example.org>"}},
    ),
    (
        {"headers": {"X-A": "1", "x-a": "2"}},
        "headers",
        "a field stands there twice, in other letters: leave one out",
        {"headers": {"X-A": "1", "x-b": "2"}},
    ),
    ({"attachments": [{**FILE, "content": "e A=="}]}, "attachments.0.content", B64, {"attachments": [FILE]}),
    ({"attachments": [{**FILE, "content": "eA"}]}, "attachments.0.content", B64, {"attachments": [FILE]}),
    (
        {"attachments": [{**FILE, "filename": "a\r\nX: y"}]},
        "attachments.0.filename",
        CONTROL.format(1),
        {"attachments": [{**FILE, "filename": 'a";X: y'}]},
    ),
    (
        {"attachments": [{**FILE, "filename": ""}]},
        "attachments.0.filename",
        "String should have at least 1 character",
        {"attachments": [{**FILE, "filename": "x" * 255}]},
    ),
    (
        {"attachments": [{**FILE, "content_type": "text"}]},
        "attachments.0.content_type",
        "this is no content type: write it as application/pdf",
        {"attachments": [{**FILE, "content_type": "text/plain"}]},
    ),
    (
        {"attachments": [{**FILE, "content_type": "a/b\r\nX: y"}]},
        "attachments.0.content_type",
        "this is no content type: write it as application/pdf",
        {"attachments": [{**FILE, "content_type": "a/b"}]},
    ),
    (
        {"attachments": [{**FILE, "content_type": "message/rfc822"}]},
        "attachments.0.content_type",
        "message cannot be attached as it is: use application/octet-stream",
        {"attachments": [{**FILE, "content_type": "application/octet-stream"}]},
    ),
    (
        {"html": "x", "attachments": [{**FILE, "cid": "<a>"}]},
        "attachments.0.cid",
        "use letters, digits and . _ + - with at most one @, without < and >",
        {"html": "x", "attachments": [{**FILE, "cid": "a"}]},
    ),
    (
        {"attachments": [{**FILE, "cid": "a"}]},
        "",
        "an attachment with a cid needs html that shows it: leave the cid out",
        {"html": "", "attachments": [{**FILE, "cid": "a"}]},
    ),
    (
        {"html": "x", "attachments": [{**FILE, "cid": "a"}] * 2},
        "attachments",
        "two of them have the same cid: give each its own",
        {"attachments": [FILE] * 2},
    ),
    ({"stream_id": "a:b"}, "stream_id", "String should match pattern '^[A-Za-z0-9._-]{1,100}$'", {"stream_id": "a-b"}),
    ({"priority": 2}, "priority", "Input should be 0 or 1", {"priority": 0}),
    ({"priority": "1"}, "priority", "Input should be 0 or 1", {"priority": 1}),
    ({"uuid": "A-1"}, "uuid", "String should match pattern '^[a-z0-9]{1,40}$'", {"uuid": "a1"}),
    ({"uuid": "a1\n"}, "uuid", "String should match pattern '^[a-z0-9]{1,40}$'", {"uuid": "a1"}),
    ({"subjet": "x"}, "subjet", "there is no such field; did you mean subject?", {"subject": "x"}),
    (
        {"attachments": [{**FILE, "name": "x"}]},
        "attachments.0.name",
        "there is no such field; did you mean filename?",
        {"attachments": [FILE]},
    ),
]


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[int, Any, int]]:
    """What each of the table's two messages is answered, asked of one receiver."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        pytest.skip("no redis-server here")
    server = RedisServer(program, tmp_path_factory.mktemp("redis"))
    server.start()
    answers: dict[int, tuple[int, Any, int]] = {}

    async def go() -> None:
        async with receiver(server) as place:
            for number, (wrong, dummy, dummy, right) in enumerate(REFUSED):
                refused = await place.mail(**wrong)
                await place.queue.redis.flushall()
                answers[number] = refused.status_code, refused.json(), (await place.mail(**right)).status_code
            assert place.intake.counts.dropped == len(REFUSED)

    try:
        run(go())
    finally:
        server.kill()
    return answers


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_a_field_that_is_wrong(refusals: dict[int, tuple[int, Any, int]], number: int) -> None:
    dummy, field, said, dummy = REFUSED[number]
    status, answer, twin = refusals[number]
    assert (status, twin) == (422, 202)
    errors = [{"field": field, "message": said}]
    assert answer == {
        "title": "Unprocessable Entity",
        "status": 422,
        "detail": "the message is not as it should be",
        "errors": errors,
    }


@pytest.mark.parametrize(
    ("body", "kind", "status", "said"),
    [
        (b"{", "application/json", 400, "the body is no JSON: EOF while parsing an object"),
        (b"\xff", "application/json", 400, "the body is no JSON: expected value"),
        (b'{"from": "\\ud800"}', "application/json", 400, "the body is no JSON: unexpected end of hex escape"),
        (b"[" * 100_000, "application/json", 400, "the body is no JSON: recursion limit exceeded"),
        (b"{}", "text/plain", 415, "the content type must be application/json"),
        (b"{}", "application/json; charset=utf-8", 422, "the message is not as it should be"),
        (b"[]", "application/json", 422, "the message is not as it should be"),
        (b" " * (LIMIT + 1), "application/json", 413, f"a request may have {LIMIT} bytes: send less, or attach less"),
        (b" " * LIMIT, "application/json", 400, "the body is no JSON: EOF while parsing a value"),
    ],
)
def test_a_body_that_is_wrong(redis_server: RedisServer, body: bytes, kind: str, status: int, said: str) -> None:
    async def steps(place: Place) -> None:
        answer = await place.post("/v1/messages", content=body, headers={"Content-Type": kind})
        assert answer.status_code == status
        assert answer.json()["detail"].startswith(said)
        assert answer.headers["content-type"] == "application/problem+json"
        assert (await place.mail()).status_code == 202

    at(redis_server, steps)


def test_a_message_that_grows_too_large(redis_server: RedisServer) -> None:
    async def steps(place: Place) -> None:
        answer = await place.mail(text="é" * 80_000)  # 160 kB in JSON's UTF-8 as here, more in base64
        assert answer.status_code == 413
        body = json.dumps(MAIL | {"text": "é" * 80_000}, ensure_ascii=False).encode()
        answer = await place.post("/v1/messages", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 413
        assert (await place.mail(text="e" * 80_000)).status_code == 202
        assert len(await place.queued()) == 1

    at(redis_server, steps)


def test_keys(redis_server: RedisServer) -> None:
    async def steps(place: Place) -> None:
        async def keyed(key: str, **changes: Any) -> httpx.Response:
            return await place.post("/v1/messages", json=MAIL | changes, headers={"Idempotency-Key": key})

        first = (await keyed("8e03978e-40d5")).json()["uuid"]
        assert re.fullmatch("[0-9a-f]{32}", first)
        assert (await keyed("8e03978e-40d5")).json() == {"uuid": first}
        assert len(await place.queued()) == 1
        assert (await keyed("8e03978e-40d5", text="other")).status_code == 409
        assert (await keyed("another")).json()["uuid"] != first
        assert (await keyed("k" * 255)).status_code == 202
        answer = await keyed("k" * 256)
        assert answer.status_code == 400
        assert answer.json()["errors"] == [
            {"field": "Idempotency-Key", "message": "give it once, with 1 to 255 characters"}
        ]
        answer = await keyed("third", uuid="third")
        assert answer.status_code == 422
        assert answer.json()["errors"] == [
            {"field": "uuid", "message": "it names the message, and so does Idempotency-Key: give one of them"}
        ]
        # Without either each is a message of its own.
        assert (await place.mail()).json() != (await place.mail()).json()
        assert len(await place.queued()) == 5

    at(redis_server, steps)


def test_a_batch(redis_server: RedisServer) -> None:
    async def steps(place: Place) -> None:
        async def batch(messages: object, **more: Any) -> httpx.Response:
            return await place.post("/v1/messages/batch", json={"messages": messages}, **more)

        answer = await batch([MAIL | {"uuid": f"u{number}"} for number in range(500)])
        assert answer.status_code == 200
        assert answer.json() == {"results": [{"status": 202, "uuid": f"u{number}"} for number in range(500)]}
        assert len(await place.queued()) == 500
        answer = await batch([MAIL | {"uuid": "u1"}, MAIL | {"uuid": "u2", "text": "other"}, {}, 7])
        assert answer.status_code == 207
        results = answer.json()["results"]
        assert [one["status"] for one in results] == [202, 409, 422, 422]
        assert results[2]["errors"] == [{"field": "from", "message": "it is missing: give it"}]
        assert len(await place.queued()) == 500
        for wrong in ([MAIL] * 501, [], None, {}):
            answer = await batch(wrong)
            assert (answer.status_code, answer.json()["detail"]) == (422, "the batch is not as it should be")
            assert answer.json()["errors"][0]["field"] == "messages"
        key = {"Idempotency-Key": "k"}
        first = await batch([MAIL, MAIL], headers=key)
        assert first.json() == (await batch([MAIL, MAIL], headers=key)).json()
        assert len(await place.queued()) == 502

    at(redis_server, steps)


def test_a_hundred_thousand_unknown_fields(redis_server: RedisServer) -> None:
    async def steps(place: Place) -> None:
        many = {f"a{number}": 1 for number in range(100_000)}
        for mail in (
            MAIL | many,
            MAIL | {"attachments": [FILE | many]},
            MAIL | {"headers": many},
            MAIL | {"to": [7] * 100_000},
        ):
            answer = await place.post("/v1/messages", json=mail)
            assert answer.status_code == 422
            assert len(answer.json().get("errors", [])) <= 20
        assert (await place.mail()).status_code == 202

    at(redis_server, steps, size_limit=26_214_400)


# -- who may -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/mail/send", "/v1/messages", "/v1/messages/batch"])
def test_who_is_nobody(redis_server: RedisServer, path: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def steps(place: Place) -> None:
        nobody = [None, ("shop", "wrong-password"), ("other", PASSWORD), ("shop", ""), ("", "")]
        for auth in nobody:
            answer = await place.post(path, auth=auth, content=RAW, headers=OCTETS)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == 'Basic realm="mailer", charset="UTF-8"'
            assert PASSWORD not in answer.text and "wrong-password" not in answer.text
        for header in ("Basic", "Basic !", "Basic /w==", "Bearer x", "Basic " + base64.b64encode(b"shop").decode()):
            answer = await place.post(path, auth=None, content=RAW, headers=OCTETS | {"Authorization": header})
            assert answer.status_code == 401
        assert (await place.post(path, content=RAW, headers=OCTETS)).status_code != 401
        await place.mail(text="for nobody else")

    at(redis_server, steps)
    for secret in (
        PASSWORD,
        "wrong-password",
        base64.b64encode(f"shop:{PASSWORD}".encode()).decode(),
        "for nobody else",
    ):
        assert secret not in caplog.text
    assert "a wrong password from 127.0.0.1" in caplog.text


def test_a_login_sends_from_its_domains(redis_server: RedisServer) -> None:
    async def steps(place: Place) -> None:
        said = "the login shop may not send from the domain example.net: its domains are example.com, example.org"
        for author, status in (("a@example.net", 403), ("a@Example.org", 202), ("a@example.com", 202)):
            answer = await place.mail(**{"from": author})
            assert answer.status_code == status
            if status == 403:
                assert answer.json() == {"title": "Forbidden", "status": 403, "detail": said}
        answer = await place.post("/v1/messages/batch", json={"messages": [MAIL, MAIL | {"from": "a@example.net"}]})
        assert [one["status"] for one in answer.json()["results"]] == [202, 403]
        raw = RAW.replace(b"a@example.org", b"a@example.net")
        answer = await place.post("/v1/mail/send", content=raw, headers=OCTETS)
        assert (answer.status_code, answer.text) == (403, f"403 Forbidden: Forbidden: {said}")
        assert (await place.post("/v1/mail/send", content=RAW, headers=OCTETS)).status_code == 200
        assert (len(await place.queued()), place.intake.counts.dropped) == (4, 3)

    at(redis_server, steps, domains=("Example.ORG", "example.com"))


def test_a_flood_of_guesses(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = Counter[str]()
    verify = Passwords._verify

    def counted(self: Passwords, stored: str, password: str) -> bool:
        hashed[password] += 1
        return verify(self, stored, password)

    monkeypatch.setattr(Passwords, "_verify", counted)

    async def steps(place: Place) -> None:
        answers = await asyncio.gather(
            *(place.post("/v1/messages", auth=("shop", f"p{number}"), json=MAIL) for number in range(30))
        )
        assert Counter(one.status_code for one in answers) == {401: 10, 429: 20}
        assert hashed.total() == 10  # the others cost no hash
        late = await place.mail()
        assert hashed[PASSWORD] == 0
        assert (late.status_code, late.headers["retry-after"]) == (429, "60")
        assert late.json()["detail"] == "too many wrong passwords, try again in a minute"

    at(redis_server, steps)


@pytest.mark.parametrize(("proxies", "status"), [((), 429), (("127.0.0.0/8",), 202), (("10.0.0.0/8",), 429)])
def test_who_asks_behind_a_proxy(redis_server: RedisServer, proxies: tuple[str, ...], status: int) -> None:
    async def steps(place: Place) -> None:
        for number in range(10):
            # Whatever a client claims stands to the left of what the proxy has seen.
            said = {"X-Forwarded-For": f"203.0.113.{number}, 192.0.2.1"}
            assert (await place.post("/v1/messages", auth=("shop", "no"), json=MAIL, headers=said)).status_code == 401
        guesser = await place.post("/v1/messages", json=MAIL, headers={"X-Forwarded-For": "192.0.2.1"})
        assert guesser.status_code == 429
        other = await place.post("/v1/messages", json=MAIL, headers={"X-Forwarded-For": "192.0.2.2"})
        assert other.status_code == status

    at(redis_server, steps, proxies=proxies)


def test_the_suppression_list(redis_server: RedisServer) -> None:
    async def steps(place: Place) -> None:
        path = "/v1/suppressions"

        async def asked(**query: str) -> Any:
            return (await place.client.get(path, params=query, auth=SHOP)).json()["suppressed"]

        answer = await place.post(path, json={"address": "b@example.com", "days": 2, "reason": "he asked"})
        assert (answer.status_code, answer.json()) == (200, {"changed": 1})
        assert (await place.post(path, json={"address": "b@example.com", "days": 1})).json() == {"changed": 0}
        (entry,) = await asked(address="B@Example.com")
        assert (entry["address"], entry["reason"], entry["source"]) == ("b@example.com", "he asked", "HTTP")
        assert await asked(address="c@example.com") == []
        text = "address,stream\r\nexample.net,s-1\r\n"
        csv = {"Content-Type": "text/csv; charset=utf-8"}
        assert (await place.post(path, content=text.encode(), headers=csv)).json() == {"changed": 1}
        assert [one["address"] for one in await asked(address="x@example.net", stream="s-1")] == ["example.net"]
        assert await asked(address="x@example.net") == []
        exported = await place.client.get(path, auth=SHOP)
        assert exported.headers["content-type"] == "text/csv; charset=utf-8"
        assert (await place.post(path, content=exported.content, headers=csv)).json() == {"changed": 0}
        for more, said in (
            ({"content": b"address\n\xff\n", "headers": csv}, "the list is not UTF-8"),
            ({"json": {"address": "a b@example.com"}}, "'a b@example.com' is neither an address nor a domain"),
            ({"json": {"adress": "b@example.com"}}, "the entry is not as it should be"),
        ):
            answer = await place.post(path, **more)
            assert (answer.status_code, answer.json()["detail"]) == (422, said)
        gone = [(await place.client.delete(path, params={"address": "b@example.com"}, auth=SHOP)) for dummy in range(2)]
        assert [one.status_code for one in gone] == [200, 404]
        assert await asked(address="b@example.com") == []
        assert (await place.client.get(path)).status_code == 401

    at(redis_server, steps)


def test_who_may_not_change_the_list(redis_server: RedisServer) -> None:
    async def steps(place: Place) -> None:
        said = "the login shop may not see or change the suppression list: set suppressions to true for it"
        for method in ("GET", "POST", "DELETE"):
            answer = await place.client.request(method, "/v1/suppressions", auth=SHOP)
            assert (answer.status_code, answer.json()["detail"]) == (403, said)

    at(redis_server, steps, suppressions=False)


# -- clients that never finish -----------------------------------------------------------------------------

HEAD = (
    b"POST /v1/mail/send HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\nAuthorization: Basic "
    + base64.b64encode(f"shop:{PASSWORD}".encode())
    + b"\r\n"
)


def test_a_large_body_is_refused_before_it_is_read(redis_server: RedisServer) -> None:
    async def steps(place: Place) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
        writer.write(HEAD + b"Content-Length: 104857600\r\n\r\n")
        assert (await reader.readline())[:12] == b"HTTP/1.1 413"
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
        writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        answer = asyncio.ensure_future(reader.readline())
        sent, chunk = 0, b"2000\r\n" + b"x" * 8192 + b"\r\n"
        while not answer.done():
            writer.write(chunk)
            await writer.drain()
            await asyncio.sleep(0.001)
            sent += 8192
            assert sent < 10 * LIMIT
        assert (await answer)[:12] == b"HTTP/1.1 413"
        writer.close()
        assert (await place.post("/v1/mail/send", content=RAW, headers=OCTETS)).status_code == 200

    at(redis_server, steps)


@pytest.mark.parametrize("manner", [{"pause_seconds": 1.0}, {"body_seconds": 2.0}])
def test_a_slow_body_is_ended(redis_server: RedisServer, manner: dict[str, float]) -> None:
    async def steps(place: Place) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
        writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(RAW))
        answer = asyncio.ensure_future(reader.readline())
        for byte in RAW if "body_seconds" in manner else b"":
            if answer.done():
                break
            writer.write(bytes([byte]))
            await asyncio.sleep(0.05)
        assert (await answer) == b"HTTP/1.1 408 Request Timeout\r\n"
        writer.close()
        assert await place.queued() == []
        assert (await place.post("/v1/mail/send", content=RAW, headers=OCTETS)).status_code == 200

    at(redis_server, steps, **manner)


@pytest.mark.parametrize("words", [b"", b"POST /v1/mail/send HTTP/1.1\r\nX: ", b"GET /healthz HTTP/1.1\r\n\r\nGET /he"])
def test_a_header_that_never_ends(redis_server: RedisServer, words: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "HEAD_SECONDS", 0.2)

    async def steps(place: Place) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
        writer.write(words)
        await asyncio.wait_for(reader.read(), PATIENCE)
        writer.close()

    at(redis_server, steps)


def test_a_header_that_is_too_long(redis_server: RedisServer) -> None:
    async def steps(place: Place) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nX: ")
        answer = asyncio.ensure_future(reader.readline())
        for dummy in range(100):
            if answer.done():
                break
            writer.write(b"x" * 10_000)
            await asyncio.sleep(0.01)
        assert (await answer)[:12] == b"HTTP/1.1 400"
        writer.close()
        assert (await place.client.get("/healthz", headers={"X": "x" * 10_000})).status_code == 200

    at(redis_server, steps)


def test_too_much_at_once(redis_server: RedisServer) -> None:
    async def steps(place: Place) -> None:
        held = []
        for dummy in range(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
            writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % LIMIT + b"x" * (LIMIT - 1))
            held.append((reader, writer))
        answers = [asyncio.ensure_future(reader.readline()) for reader, dummy in held]
        done, pending = await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
        assert [(await one)[:12] for one in done] == [b"HTTP/1.1 503"]
        for dummy, writer in held:
            writer.close()
        for one in pending:
            one.cancel()
        await asyncio.sleep(0.1)
        assert (await place.post("/v1/mail/send", content=RAW, headers=OCTETS)).status_code == 200

    at(redis_server, steps)


# -- the queue ---------------------------------------------------------------------------------------------


def test_many_at_once(redis_server: RedisServer) -> None:
    async def steps(place: Place) -> None:
        answers = await asyncio.gather(*(place.mail(uuid=f"u{number % 50}") for number in range(100)))
        assert {one.status_code for one in answers} == {202}
        assert Counter(one.json()["uuid"] for one in answers) == {f"u{number}": 2 for number in range(50)}
        assert {envelope.uuid for envelope, dummy in await place.queued()} == {f"u{number}" for number in range(50)}
        assert len(await place.queued()) == 50
        assert place.intake.counts.enqueued == 50

    at(redis_server, steps)


def test_no_yes_without_redis(redis_server: RedisServer) -> None:
    async def steps(place: Place) -> None:
        assert (await place.client.get("/readyz")).json() == {"status": "ok"}
        redis_server.kill()
        for path, more in (
            ("/v1/messages", {"json": MAIL | {"uuid": "u1"}}),
            ("/v1/messages/batch", {"json": {"messages": [MAIL | {"uuid": "u1"}]}}),
            ("/v1/mail/send", {"content": RAW, "headers": OCTETS}),
        ):
            answer = await place.post(path, **more)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert (
            answer.text
            == "503 Service Unavailable: Service Unavailable: the queue does not take it now, try again later"
        )
        assert (await place.client.get("/readyz")).status_code == 503
        assert (await place.client.get("/healthz")).status_code == 200
        redis_server.start()
        while (await place.client.get("/readyz")).status_code != 200:
            await asyncio.sleep(0.05)
        assert await place.queued() == []
        while (answer := await place.mail(uuid="u1")).status_code == 503:
            await asyncio.sleep(0.05)
        assert answer.status_code == 202
        assert len(await place.queued()) == 1

    at(redis_server, steps)


def test_redis_that_is_killed_among_requests(redis_server: RedisServer) -> None:
    """Whoever was told 202 has a message that is there after it."""

    async def steps(place: Place) -> None:
        accepted: set[str] = set()

        async def send(number: int) -> None:
            answer = await place.mail(uuid=f"u{number}")
            assert answer.status_code in (202, 503)
            if answer.status_code == 202:
                accepted.add(f"u{number}")

        for round_ in range(3):
            sending = [asyncio.ensure_future(send(number)) for number in range(40 * round_, 40 * round_ + 40)]
            while len(accepted) < 10 * (round_ + 1) and not all(one.done() for one in sending):
                await asyncio.sleep(0.001)
            redis_server.kill()
            await asyncio.gather(*sending)
            redis_server.start()
        queued = Counter(envelope.uuid for envelope, dummy in await place.queued())
        assert len(accepted) >= 10 and accepted <= set(queued)
        assert set(queued.values()) == {1}

    at(redis_server, steps)


def test_a_queue_that_hangs(redis_server: RedisServer) -> None:
    async def steps(place: Place) -> None:
        assert redis_server.process is not None

        async def taken(uuid: str) -> bool:
            answer = await place.mail(uuid=uuid)
            assert answer.status_code in (202, 503)  # the machine may be slow, too
            return answer.status_code == 202

        await until(lambda: taken("u0"))
        redis_server.process.send_signal(19)  # SIGSTOP
        try:
            assert (await place.mail(uuid="u1")).status_code == 503
            assert (await place.client.get("/readyz")).status_code == 503
        finally:
            redis_server.process.send_signal(18)  # SIGCONT
        await until(lambda: taken("u1"))
        assert [envelope.uuid for envelope, dummy in await place.queued()].count("u1") == 1

    at(redis_server, steps, queue_seconds=0.5)


# -- what others see ---------------------------------------------------------------------------------------


def test_documents(redis_server: RedisServer) -> None:
    async def steps(place: Place) -> None:
        document = (await place.client.get("/openapi.json")).json()
        assert document["openapi"] == "3.1.0"
        paths = [
            "/v1/messages",
            "/v1/messages/batch",
            "/v1/mail/send",
            "/v1/messages/{uuid}",
            "/v1/suppressions",
            "/healthz",
            "/readyz",
        ]
        assert sorted(document["paths"]) == sorted(paths)
        references = re.findall(r'"\$ref": "#/components/schemas/(\w+)"', json.dumps(document))
        assert set(references) <= set(document["components"]["schemas"])
        assert set(document["components"]["schemas"]["Mail"]["properties"]) == {
            "from",
            "to",
            "cc",
            "bcc",
            "reply_to",
            "subject",
            "text",
            "html",
            "headers",
            "attachments",
            "stream_id",
            "priority",
            "uuid",
        }
        for example in document["components"]["schemas"]["Mail"]["examples"]:
            assert (await place.post("/v1/messages", json=example)).status_code == 202
        page = await place.client.get("/docs")
        assert page.headers["content-security-policy"] == "default-src 'none'; style-src 'unsafe-inline'"
        assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//|@import|url\(""", page.text)
        assert all(f"POST {path}" in page.text for path in paths[:3])
        assert (await place.client.get("/nothing")).json() == {
            "title": "Not Found",
            "status": 404,
            "detail": "Not Found",
        }
        answer = await place.client.get("/v1/mail/send")
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")

    at(redis_server, steps)


def test_the_document_is_openapi(redis_server: RedisServer) -> None:
    validator = pytest.importorskip("openapi_spec_validator")

    async def steps(place: Place) -> None:
        validator.validate((await place.client.get("/openapi.json")).json())

    at(redis_server, steps)


def _guide() -> list[tuple[str, str]]:
    text = (ROOT / "docs/mailer.md").read_text(encoding="utf-8").partition("\n## HTTP\n")[2].partition("\n## ")[0]
    return re.findall(r"^```(sh|json)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_guide_does_what_it_says(redis_server: RedisServer, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl here")

    async def steps(place: Place) -> None:
        said = ""
        for kind, block in _guide():
            if kind == "json":
                assert json.loads(said) == json.loads(block)
                continue
            here = block.replace("http://127.0.0.1:8080", str(place.client.base_url).rstrip("/"))
            command = ["bash", "-eu", "-c", here]
            environment = {"PASSWORD": PASSWORD, "PATH": "/usr/bin:/bin"}
            done = await asyncio.to_thread(
                subprocess.run, command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE
            )
            assert (done.returncode, done.stderr) == (0, "")
            said = done.stdout
        assert said == ""  # as the last example says
        uuids = {envelope.uuid for stream in ("default", "primary") for envelope, dummy in await place.queued(stream)}
        assert uuids == {"order4711", "news1", "welcome4711"}

    at(redis_server, steps)
    assert len(_guide()) == 6


# -- hostile -----------------------------------------------------------------------------------------------


class Kept(Queue):
    """A queue that keeps what it is given."""

    def __init__(self) -> None:
        self.kept: list[tuple[Envelope, bytes]] = []

    async def add(self, stream: str, envelope: Envelope, message: bytes) -> bool:
        if envelope.uuid == "away":
            raise QueueError("away")
        self.kept.append((envelope, message))
        return True


WORDS = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        [
            "a@example.org",
            "A <b@example.org>",
            "a\r\nBcc: x@y",
            "\0",
            "=?utf-8?q?=0D=0A?=",
            "--=_u",
            "eA==",
            "x" * 1100,
            "é" * 400,
            "\u2028",
            "\x85",
            "away",
        ]
    ),
)
NAMES = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        [
            "X-A",
            "Bcc",
            "X-Uuid",
            "List-Id",
            "X-A\r\nB",
            "Content-Type",
            "filename",
            "content",
            "cid",
            "content_type",
            *(field.alias or name for name, field in Mail.model_fields.items()),
        ]
    ),
)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
HEADERS = st.dictionaries(
    st.sampled_from(["X-A", "List-Unsubscribe", "References", "Comments", "X-Uuid", "From"]) | NAMES, WORDS, max_size=3
)
FILES = st.fixed_dictionaries(
    {"filename": WORDS, "content": st.binary(max_size=99).map(lambda data: base64.b64encode(data).decode()) | WORDS},
    optional={
        "cid": WORDS,
        "content_type": st.sampled_from(["text/plain; charset=utf-8", "image/png", "message/rfc822"]) | WORDS,
    },
)
NEARLY = st.fixed_dictionaries(
    {"from": st.just("a@example.org") | WORDS, "to": st.just(["b@example.com"]), "text": WORDS},
    optional={
        "cc": st.lists(WORDS, max_size=3),
        "html": WORDS,
        "subject": WORDS,
        "headers": HEADERS,
        "bcc": st.lists(WORDS, max_size=2),
        "attachments": st.lists(FILES, max_size=3),
        "uuid": st.sampled_from(["u1", "U", "away"]),
        "stream_id": WORDS,
        "priority": st.integers(-1, 2),
    },
)
PASSWORDS = Passwords(LOGINS)


async def answered(data: object, path: str) -> tuple[httpx.Response, list[tuple[Envelope, bytes]]]:
    queue = Kept()
    app = application(Intake(queue, QueueNames()), PASSWORDS, Manner(LIMIT))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x", auth=SHOP) as client:
        answer = await client.post(
            path, content=json.dumps(data).encode(), headers={"Content-Type": "application/json"}
        )
    return answer, queue.kept


ONCE = Counter(
    {
        b"from": 1,
        b"to": 1,
        b"cc": 1,
        b"reply-to": 1,
        b"subject": 1,
        b"x-uuid": 1,
        b"x-priority": 1,
        b"x-stream-id": 1,
        b"mime-version": 1,
        b"content-type": 1,
        b"content-transfer-encoding": 1,
    }
)


def whole(envelope: Envelope, raw: bytes) -> None:
    """What is true of every message that was made."""
    assert raw.isascii() and b"\0" not in raw and bare_line_end(raw) is None
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    message = Message.parse(raw)
    names = Counter(name for name, dummy in message.fields)
    assert all(count <= ONCE.get(name, 1) for name, count in names.items())
    assert b"bcc" not in names and not any(b"\r\n\r\n" in field for dummy, field in message.fields)
    assert not [line for dummy, field in message.fields for line in field.split(b"\r\n")[:-1] if not line.strip()]
    assert message.get(b"x-uuid") == envelope.uuid.encode()
    assert all(one.isascii() and not re.search(r"[\s<>]", one) for one in envelope.recipients)


@given(ANY | NEARLY)
def test_hostile_json(data: object) -> None:
    answer, kept = asyncio.run(answered(data, "/v1/messages"))
    assert answer.status_code in (202, 422) or (answer.status_code, kept) == (503, [])
    assert len(kept) == (answer.status_code == 202)
    for one in kept:
        whole(*one)


@given(ANY | st.builds(lambda messages: {"messages": messages}, st.lists(ANY | NEARLY, max_size=4)))
def test_hostile_batches(data: object) -> None:
    answer, kept = asyncio.run(answered(data, "/v1/messages/batch"))
    assert answer.status_code in (200, 207, 422, 503)
    statuses = Counter(one["status"] for one in answer.json().get("results", []))
    assert statuses.keys() <= {202, 422, 503} and statuses[202] == len(kept)
    assert (answer.status_code == 200) == (bool(statuses) and statuses.keys() == {202})


LINES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), max_size=200).map(str.strip)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=500)


@given(LINES, TEXTS, TEXTS, LINES.filter(bool), st.binary(max_size=300), LINES)
def test_what_is_read_is_what_was_written(
    subject: str, text: str, html: str, filename: str, content: bytes, name: str
) -> None:
    files = [{"filename": filename, "content": base64.b64encode(content).decode()}]
    quoted = name.replace("\\", r"\\").replace('"', r"\"")
    mail = Mail.model_validate(
        MAIL
        | {"subject": subject, "text": text, "html": html, "attachments": files, "to": [f'"{quoted}" <b@example.com>']}
    )
    raw = compose(mail, "u1")
    assert raw == compose(mail, "u1")
    whole(Envelope("u1", mail.recipients), raw)
    message = email.message_from_bytes(raw, policy=email.policy.default)
    plain, rich, file = [part for part in message.walk() if not part.is_multipart()]
    # The library's own reader takes white space for a fold, so what is compared is without it.
    assert "".join(str(message["Subject"]).split()) == "".join(subject.split())
    assert plain.get_payload(decode=True).splitlines() == (text.encode().splitlines() or [b""])
    assert rich.get_payload(decode=True).splitlines() == (html.encode().splitlines() or [b""])
    assert (file.get_filename(), file.get_payload(decode=True)) == (filename, content)
    assert [one.addr_spec for one in message["To"].addresses] == ["b@example.com"]
