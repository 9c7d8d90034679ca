# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Dialogues with the server, over real connections."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from postmaster_mailer import smtp_server
from postmaster_mailer.smtp_server import Dialogue, Manner, Server

from .conftest import PATIENCE, run


class Keeper:
    """Takes all, and says what it was given."""

    def __init__(self) -> None:
        self.kept: list[tuple[str | None, list[str], bytes]] = []
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()
        self.go_on.set()

    def mail(self, dialogue: Dialogue, sender: str) -> str:
        return "250 2.1.0 fine"

    def rcpt(self, dialogue: Dialogue, recipient: str) -> str:
        return "550 5.1.1 nobody" if recipient.startswith("nobody@") else "250 2.1.5 fine"

    async def login(self, dialogue: Dialogue, user: str, password: str) -> str | None:
        return None if (user, password) == ("app", "sécret") else "535 5.7.8 wrong"

    async def take(self, dialogue: Dialogue, raw: bytes) -> str:
        self.begun.set()
        await self.go_on.wait()
        self.kept.append((dialogue.sender, list(dialogue.recipients), raw))
        return "250 2.0.0 kept"


class Client:
    """A client that sends what it is told and reads replies."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def reply(self) -> str:
        lines = []
        while True:
            line = (await self.reader.readuntil(b"\r\n")).decode().rstrip()
            lines.append(line)
            if line[3:4] != "-":
                return "\n".join(lines)

    async def say(self, text: str | bytes) -> str:
        self.writer.write((text.encode() if isinstance(text, str) else text) + b"\r\n")
        return await self.reply()

    async def gone(self) -> bool:
        return await self.reader.read(1) == b""


def contexts(certificate: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate)
    return serving, ssl.create_default_context(cafile=str(certificate))


@asynccontextmanager
async def talk(keeper: Keeper | None = None, **manner: object) -> AsyncIterator[tuple[Client, Keeper, Server]]:
    keeper = keeper or Keeper()
    settings: dict[str, object] = {"name": "mx.example.org", "size_limit": 10_000, "recipients_limit": 3} | manner
    server = Server(Manner(**settings), keeper)  # type: ignore[arg-type]
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    client = Client(*await asyncio.open_connection("127.0.0.1", port))
    try:
        yield client, keeper, server
    finally:
        client.writer.close()
        listening.close()
        await server.drain(1)


def dialogue(steps: Callable[[Client, Keeper, Server], Awaitable[None]], **manner: object) -> None:
    async def go() -> None:
        async with talk(**manner) as (client, keeper, server):
            assert await client.reply() == "220 mx.example.org ESMTP"
            await steps(client, keeper, server)

    run(go())


def test_a_message() -> None:
    async def steps(client: Client, keeper: Keeper, server: Server) -> None:
        assert await client.say("EHLO x") == (
            "250-mx.example.org\n250-PIPELINING\n250-SIZE 10000\n250-8BITMIME\n250 ENHANCEDSTATUSCODES"
        )
        assert await client.say("mail from:<a@example.org> SIZE=100 BODY=8BITMIME") == "250 2.1.0 fine"
        assert await client.say("RCPT TO:<b@example.com>") == "250 2.1.5 fine"
        assert await client.say("RCPT TO:<nobody@example.com>") == "550 5.1.1 nobody"
        assert (await client.say("DATA"))[:3] == "354"
        assert await client.say("A: b\r\n\r\n..dot\r\n...\r\nend\r\n.") == "250 2.0.0 kept"
        assert await client.say("QUIT") == "221 2.0.0 goodbye"
        assert await client.gone()
        assert keeper.kept == [("a@example.org", ["b@example.com"], b"A: b\r\n\r\n.dot\r\n..\r\nend\r\n")]

    dialogue(steps)


def test_all_at_once_and_byte_by_byte() -> None:
    words = b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.com>\r\nDATA\r\nA: b\r\n\r\n.\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n.\r\nNOOP\r\n"

    async def steps(client: Client, keeper: Keeper, server: Server, size: int) -> None:
        for at in range(0, len(words), size):
            client.writer.write(words[at : at + size])
            await client.writer.drain()
            await asyncio.sleep(0)
        replies = [(await client.reply())[:3] for dummy in range(9)]
        assert replies == ["250", "250", "250", "354", "250", "250", "250", "354", "250"]
        assert (await client.reply())[:3] == "250"
        assert keeper.kept == [("", ["b@example.com"], b"A: b\r\n\r\n"), ("a@b", ["c@d"], b"")]

    for size in (len(words), 1, 7):
        dialogue(lambda client, keeper, server, size=size: steps(client, keeper, server, size))  # type: ignore[misc]


@pytest.mark.parametrize(
    "end", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r\n\x00.\r\n", b"\r\n. \r\n", b"\n..\r\n"]
)
def test_nothing_but_a_lone_dot_ends_a_message(end: bytes) -> None:
    async def steps(client: Client, keeper: Keeper, server: Server) -> None:
        await client.say("EHLO x")
        await client.say("MAIL FROM:<a@example.org>")
        await client.say("RCPT TO:<b@example.com>")
        await client.say("DATA")
        inner = b"MAIL FROM:<evil@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\nevil"
        assert await client.say(b"A: b\r\n\r\nx" + end + inner + b"\r\n.") == "250 2.0.0 kept"
        assert await client.say("NOOP") == "250 2.0.0 here"
        assert len(keeper.kept) == 1
        assert keeper.kept[0][2].endswith(b"evil\r\n")

    dialogue(steps)


@pytest.mark.parametrize(
    ("before", "words", "said"),
    [
        ([], "MAIL FROM:<a@example.org>", "503 5.5.1 say EHLO first"),
        ([], "EHLO", "501 5.5.4 say your name with it"),
        ([], "FROB", "500 5.5.1 there is no such command here"),
        ([], "NOOP\nEHLO x", "500 5.5.2 a line ends in CRLF, and has neither a NUL nor a CR or LF of its own in it"),
        ([], "STARTTLS", "503 5.5.1 TLS is on, or not to be had"),
        ([], "AUTH PLAIN =", "502 5.5.1 nobody logs in here"),
        (["EHLO x"], "MAIL FROM:a@example.org", "501 5.5.4 this cannot be read: write MAIL FROM:<address>"),
        (["EHLO x"], "MAIL FROM:<a>", "553 5.1.7 this is no address"),
        (["EHLO x"], "MAIL FROM:<jös@b>", "553 5.6.7 addresses are in ASCII here: write a domain as xn--"),
        (
            ["EHLO x", "MAIL FROM:<>"],
            "RCPT TO:<jös@b>",
            "553 5.6.7 addresses are in ASCII here: write a domain as xn--",
        ),
        (["EHLO x"], "MAIL FROM:<a@b c@d>", "501 5.5.4 this cannot be read: write MAIL FROM:<address>"),
        (["EHLO x"], "MAIL FROM:<a@b> SIZE=10001", "552 5.3.4 a message may have 10000 bytes here"),
        (["EHLO x"], "MAIL FROM:<a@b> X=1", "555 5.5.4 there is no such parameter here"),
        (["EHLO x"], "RCPT TO:<a@b>", "503 5.5.1 say MAIL first"),
        (["EHLO x"], "DATA", "503 5.5.1 there is no recipient"),
        (["EHLO x", "MAIL FROM:<>"], "DATA", "503 5.5.1 there is no recipient"),
        (["EHLO x", "MAIL FROM:<>"], "MAIL FROM:<>", "503 5.5.1 there is a sender already: RSET forgets it"),
        (["EHLO x", "MAIL FROM:<>"], "RCPT TO:<>", "553 5.1.3 this is no address"),
        (["EHLO x", "MAIL FROM:<>"], "RCPT TO:<@relay:a@b>", "250 2.1.5 fine"),
        (["EHLO x", "MAIL FROM:<>"], "RCPT TO:<Postmaster>", "250 2.1.5 fine"),
        (["EHLO x", "MAIL FROM:<>"], "RCPT TO:<Hostmaster>", "553 5.1.3 this is no address"),
        (["EHLO x", "MAIL FROM:<>", "RCPT TO:<a@b>"], "DATA x", "501 5.5.4 this cannot be read: DATA stands alone"),
        (["EHLO x", "MAIL FROM:<>", "RCPT TO:<a@b>", "RSET"], "DATA", "503 5.5.1 there is no recipient"),
        (
            ["EHLO x", "MAIL FROM:<>", "RCPT TO:<a@b>", "RCPT TO:<c@b>", "RCPT TO:<d@b>"],
            "RCPT TO:<e@b>",
            "452 4.5.3 too many recipients: send the message to the others in another one",
        ),
    ],
)
def test_what_is_refused(before: list[str], words: str, said: str) -> None:
    async def steps(client: Client, keeper: Keeper, server: Server) -> None:
        for one in before:
            assert (await client.say(one))[0] == "2"
        assert await client.say(words) == said
        assert await client.say("NOOP") == "250 2.0.0 here"

    dialogue(steps)


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (10_000, "250 2.0.0 kept"),
        (10_001, "552 5.3.4 a message may have 10000 bytes here"),
        (200_000, "552 5.3.4 a message may have 10000 bytes here"),
    ],
)
def test_the_size_is_bounded(size: int, said: str) -> None:
    async def steps(client: Client, keeper: Keeper, server: Server) -> None:
        await client.say("EHLO x")
        for dummy in range(2):
            await client.say("MAIL FROM:<>")
            await client.say("RCPT TO:<a@b>")
            await client.say("DATA")
            assert await client.say(b"x" * (size - 2) + b"\r\n.") == said
        assert len(keeper.kept) == (2 if said[0] == "2" else 0)

    dialogue(steps)


@asynccontextmanager
async def ready(*clients: Client, size: int) -> AsyncIterator[None]:
    """All have said what comes before DATA."""
    for client in clients:
        assert (await client.reply())[:3] == "220"
        for words in ("EHLO x", f"MAIL FROM:<> SIZE={size}" if size else "MAIL FROM:<>", "RCPT TO:<a@b>"):
            assert (await client.say(words))[:3] == "250"
    yield


async def more_clients(server: Client, count: int) -> list[Client]:
    port = server.writer.get_extra_info("peername")[1]
    return [Client(*await asyncio.open_connection("127.0.0.1", port)) for dummy in range(count)]


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():
            await asyncio.sleep(0.01)


class Faulty(Keeper):
    """Fails at the first message."""

    async def take(self, dialogue: Dialogue, raw: bytes) -> str:
        if not self.begun.is_set():
            self.begun.set()
            raise ZeroDivisionError
        return await super().take(dialogue, raw)


def test_a_fault_of_ours_leaves_no_client_waiting() -> None:
    async def go() -> None:
        async with talk(Faulty()) as (first, *dummy):
            (second,) = await more_clients(first, 1)
            async with ready(first, second, size=0):
                await first.say("DATA")
                assert await first.say("A: b\r\n.") == "421 4.3.0 a fault of this server: its log says more"
                assert await first.gone()
                await second.say("DATA")
                assert await second.say("A: b\r\n.") == "250 2.0.0 kept"

    run(go())


LARGE = b"x" * 9_998 + b"\r\n."


def test_who_says_that_a_large_message_comes_waits_for_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp_server, "SMALL", 1000)
    monkeypatch.setattr(smtp_server, "HELD", 1)

    async def go() -> None:
        async with talk() as (first, keeper, server):
            second, third, small = await more_clients(first, 3)
            async with ready(first, second, third, size=10_000), ready(small, size=1000):
                keeper.go_on.clear()
                for client in (first, second):
                    assert (await client.say("DATA"))[:3] == "354"
                    client.writer.write(LARGE + b"\r\n")
                await until(lambda: server.held == 18_000)
                third.writer.write(b"DATA\r\n")  # 10,000 bytes are enough
                assert (await small.say("DATA"))[:3] == "354"  # a small one may come
                keeper.go_on.set()
                assert await small.say(b"x\r\n.") == "250 2.0.0 kept"
                assert [await client.reply() for client in (first, second)] == ["250 2.0.0 kept"] * 2
                assert (await third.reply())[:3] == "354"
                assert await third.say(LARGE) == "250 2.0.0 kept"
                assert server.held == 0

    run(go())


def test_whoever_waits_for_room_too_long_is_put_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp_server, "SMALL", 1000)
    monkeypatch.setattr(smtp_server, "HELD", 1)
    monkeypatch.setattr(smtp_server, "ROOM", 0.05)

    async def go() -> None:
        async with talk() as (first, keeper, server):
            second, third = await more_clients(first, 2)
            async with ready(first, second, third, size=10_000):
                keeper.go_on.clear()
                for client in (first, second):
                    await client.say("DATA")
                    client.writer.write(LARGE + b"\r\n")
                await until(lambda: server.held == 18_000)
                assert await third.say("DATA") == "452 4.3.1 too much mail is coming in at once, try again later"
                keeper.go_on.set()
                await until(lambda: server.held == 0)
                assert (await third.say("DATA"))[:3] == "354"
                third.writer.close()  # and is gone in the middle of it
                await until(lambda: server.held == 0 and len(server.sessions) == 2)

    run(go())


@pytest.mark.parametrize(
    ("others", "said"), [(2, "452 4.3.1 too much mail is coming in at once, try again later"), (1, "250 2.0.0 kept")]
)
def test_what_is_in_memory_is_bounded(monkeypatch: pytest.MonkeyPatch, others: int, said: str) -> None:
    """Also where nobody has said how much comes."""
    monkeypatch.setattr(smtp_server, "SMALL", 1000)
    monkeypatch.setattr(smtp_server, "HELD", 1)

    async def go() -> None:
        async with talk() as (first, keeper, server):
            clients = await more_clients(first, others)
            async with ready(first, *clients, size=0):
                keeper.go_on.clear()
                for client in (first, *clients):
                    assert (await client.say("DATA"))[:3] == "354"
                for client in clients:
                    client.writer.write(LARGE + b"\r\n")
                await until(lambda: server.held == others * 9_000)
                first.writer.write(LARGE + b"\r\n")
                if said[0] == "2":
                    await until(lambda: server.held == (others + 1) * 9_000)
                    keeper.go_on.set()
                assert await first.reply() == said
                keeper.go_on.set()
                assert [await client.reply() for client in clients] == ["250 2.0.0 kept"] * others
                assert await first.say("NOOP") == "250 2.0.0 here"
                assert server.held == 0

    run(go())


def test_a_line_without_end_ends_the_connection() -> None:
    async def steps(client: Client, keeper: Keeper, server: Server) -> None:
        assert await client.say("X" * 3000) == "500 5.5.2 the line is too long"
        assert await client.gone()

    dialogue(steps)


def test_who_errs_too_often_is_sent_away() -> None:
    async def steps(client: Client, keeper: Keeper, server: Server) -> None:
        for dummy in range(19):
            assert (await client.say("FROB"))[:3] == "500"
        assert await client.say("FROB") == "421 4.7.0 too many errors"
        assert await client.gone()

    dialogue(steps)


def test_who_says_nothing_is_sent_away() -> None:
    async def steps(client: Client, keeper: Keeper, server: Server) -> None:
        assert await client.reply() == "421 4.4.2 nothing was said for too long"
        assert await client.gone()

    dialogue(steps, seconds=0.2)


def test_connections_are_bounded() -> None:
    async def go() -> None:
        async with talk(connections=1) as (client, _keeper, _server):
            await client.reply()
            port = client.writer.get_extra_info("peername")[1]
            second = Client(*await asyncio.open_connection("127.0.0.1", port))
            assert (await second.reply())[:3] == "421"
            assert await second.gone()
            assert (await client.say("NOOP"))[:3] == "250"

    run(go())


def test_a_message_that_is_being_kept_is_answered_before_the_end() -> None:
    async def steps(client: Client, keeper: Keeper, server: Server) -> None:
        keeper.go_on.clear()
        client.writer.write(b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\nA: b\r\n\r\n.\r\n")
        await keeper.begun.wait()
        draining = asyncio.create_task(server.drain(PATIENCE))
        await asyncio.sleep(0.1)
        keeper.go_on.set()
        replies = [(await client.reply())[:3] for dummy in range(6)]
        assert replies == ["250", "250", "250", "354", "250", "421"]
        assert await client.gone()
        await draining
        assert len(keeper.kept) == 1

    dialogue(steps)


# -- TLS and passwords -----------------------------------------------------------------------------------


async def started(client: Client, context: ssl.SSLContext) -> None:
    assert await client.say("STARTTLS") == "220 2.0.0 go ahead"
    await client.writer.start_tls(context, server_hostname="localhost")


def plain(user: str, password: str) -> str:
    return base64.b64encode(f"\0{user}\0{password}".encode()).decode()


def test_tls_and_a_password(certificate: Path) -> None:
    serving, trusting = contexts(certificate)

    async def steps(client: Client, keeper: Keeper, server: Server) -> None:
        assert (await client.say("EHLO x")).endswith("250 STARTTLS")
        assert (await client.say("AUTH PLAIN " + plain("app", "sécret")))[:3] == "538"
        await started(client, trusting)
        # All that was said before counts no more (RFC 3207 section 4.2).
        assert await client.say("MAIL FROM:<a@b>") == "503 5.5.1 say EHLO first"
        assert (await client.say("EHLO x")).endswith("250 AUTH PLAIN LOGIN")
        assert await client.say("AUTH PLAIN " + plain("app", "other")) == "535 5.7.8 wrong"
        assert await client.say("AUTH PLAIN !") == "501 5.5.2 this is no base64 of what was asked for"
        assert (
            await client.say("AUTH PLAIN " + base64.b64encode(b"no zeros").decode())
            == "501 5.5.2 this is no base64 of what was asked for"
        )
        assert await client.say("AUTH CRAM-MD5") == "504 5.5.4 there are PLAIN and LOGIN"
        assert await client.say("AUTH LOGIN") == "334 VXNlcm5hbWU6"
        assert await client.say("*") == "501 5.7.0 as you wish"
        assert await client.say("AUTH LOGIN") == "334 VXNlcm5hbWU6"
        assert await client.say(base64.b64encode(b"app")) == "334 UGFzc3dvcmQ6"
        assert await client.say(base64.b64encode("sécret".encode())) == "235 2.7.0 welcome"
        assert (await client.say("AUTH PLAIN " + plain("app", "sécret")))[:3] == "503"

    dialogue(steps, tls=serving, auth=True)


def test_what_comes_before_tls_is_not_taken_for_what_comes_under_it(certificate: Path) -> None:
    serving, trusting = contexts(certificate)

    async def steps(client: Client, keeper: Keeper, server: Server) -> None:
        await client.say("EHLO x")
        client.writer.write(b"STARTTLS\r\nEHLO injected\r\nMAIL FROM:<evil@example.org>\r\n")
        assert await client.reply() == "220 2.0.0 go ahead"
        await client.writer.start_tls(trusting, server_hostname="localhost")
        assert await client.say("RCPT TO:<a@b>") == "503 5.5.1 say MAIL first"
        assert await client.say("NOOP") == "250 2.0.0 here"

    dialogue(steps, tls=serving)


def test_no_tls_where_it_was_asked_for_ends_it(certificate: Path) -> None:
    serving, dummy = contexts(certificate)

    async def steps(client: Client, keeper: Keeper, server: Server) -> None:
        await client.say("EHLO x")
        client.writer.write(b"STARTTLS\r\n")
        await client.reply()
        client.writer.write(b"this is no handshake, and never will be one\r\n")
        while await client.reader.read(1000):
            pass

    dialogue(steps, tls=serving)


@given(st.binary(max_size=300))
def test_hostile_bytes_make_no_trouble(words: bytes) -> None:
    async def steps(client: Client, keeper: Keeper, server: Server) -> None:
        client.writer.write(b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\n" + words + b"\r\n.\r\nQUIT\r\n")
        client.writer.write_eof()
        answer = await client.reader.read()
        assert b"Traceback" not in answer
        assert all(line[:3].isdigit() for line in answer.splitlines())

    dialogue(steps)
