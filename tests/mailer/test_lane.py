# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a message is handed to Postfix: in one go where it takes chunks, else with a question before it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest
from postmaster_mailer.delivery import AT_ONCE, AwayError, Lane

from .conftest import run

SENDER, RECIPIENT = "bounce-1@rp.example.org", "b@example.com"
RAW = b"Subject: 1\r\n\r\n.hidden\r\n..\r\nend\r\n"


class Scripted:
    """A server that takes BDAT and DATA and answers with 250, or with what it is told to. It notes what it was given."""

    def __init__(self, *, chunking: bool, answers: Mapping[str, str]) -> None:
        self._chunking, self._answers = chunking, answers
        self.verbs: list[str] = []
        self.texts: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        refused = False
        while line := await reader.readline():
            verb, dummy, rest = line.decode().strip().partition(" ")
            self.verbs.append(verb)
            said = self._answers.get(verb, self._answers.get(rest, "250 2.0.0 Ok"))
            if verb == "EHLO" and self._chunking:
                said = "250-here\r\n250 CHUNKING"
            if verb in ("MAIL", "RSET"):
                refused = False
            if verb == "BDAT":
                text = await reader.readexactly(int(rest.split()[0]))
                said = "554 5.5.1 no valid recipients" if refused else said
                self.texts += [] if refused else [text]
            elif verb == "DATA" and refused:
                said = "554 5.5.1 no valid recipients"
            elif verb == "DATA":
                writer.write(b"354 go on\r\n")
                self.texts.append(await reader.readuntil(b"\r\n.\r\n"))
            refused = refused or said[0] in "45"
            writer.write(said.encode() + b"\r\n")
        writer.close()


async def talk(server: Scripted, *messages: tuple[str, bytes]) -> list[str | None]:
    """What a lane says of each message, all over one connection."""
    listening = await asyncio.start_server(server, "127.0.0.1", 0, limit=1_000_000)
    try:
        return await over(Lane("127.0.0.1", listening.sockets[0].getsockname()[1], "bench.example"), *messages)
    finally:
        listening.close()


async def over(lane: Lane, *messages: tuple[str, bytes]) -> list[str | None]:
    said: list[str | None] = []
    for recipient, raw in messages:
        try:
            said.append(await lane.send(SENDER, recipient, raw))
        except AwayError as err:
            said.append(f"away: {err}")
    lane.close()
    return said


def test_postfix_may_listen_on_a_socket(tmp_path: Path) -> None:
    server = Scripted(chunking=True, answers={})
    path = str(tmp_path / "mailer")

    async def go() -> list[str | None]:
        lane = Lane(path, 0, "bench.example")
        said = await over(lane, (RECIPIENT, RAW))
        async with await asyncio.start_unix_server(server, path, limit=1_000_000):
            return [*said, *await over(lane, (RECIPIENT, RAW), (RECIPIENT, RAW))]

    away, *said = run(go())
    assert away == f"away: Postfix at {path}: [Errno 2] No such file or directory"
    assert said == [None, None]
    assert server.texts == [RAW, RAW]


@pytest.mark.parametrize(
    ("chunking", "raw", "verbs", "text"),
    [
        (True, RAW, ["MAIL", "RCPT", "BDAT"], RAW),
        (False, RAW, ["MAIL", "RCPT", "DATA"], RAW.replace(b"\r\n.", b"\r\n..") + b".\r\n"),
        (True, b"x" * (AT_ONCE - 2) + b"\r\n", ["MAIL", "RCPT", "BDAT"], b"x" * (AT_ONCE - 2) + b"\r\n"),
        (True, b"x" * (AT_ONCE - 1) + b"\r\n", ["MAIL", "RCPT", "DATA"], b"x" * (AT_ONCE - 1) + b"\r\n.\r\n"),
    ],
)
def test_a_message_goes_in_one_piece_where_chunks_are_taken(
    chunking: bool, raw: bytes, verbs: list[str], text: bytes
) -> None:
    server = Scripted(chunking=chunking, answers={})
    assert run(talk(server, (RECIPIENT, raw), (RECIPIENT, raw))) == [None, None]
    assert server.verbs == ["EHLO", *verbs, *verbs]
    assert server.texts == [text, text]


@pytest.mark.parametrize("chunking", [True, False])
def test_a_refused_recipient_leaves_the_connection_in_step(chunking: bool) -> None:
    server = Scripted(chunking=chunking, answers={"TO:<no@example.com>": "550 5.1.1 nobody"})
    assert run(talk(server, ("no@example.com", RAW), (RECIPIENT, RAW))) == ["550 5.1.1 nobody", None]
    assert len(server.texts) == 1


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("550 5.7.1 not this", "550 5.7.1 not this"),
        ("452 4.3.1 full", "away: Postfix says 452 4.3.1 full"),
    ],
)
@pytest.mark.parametrize("chunking", [True, False])
def test_what_is_said_to_the_message_counts(chunking: bool, reply: str, said: str) -> None:
    server = Scripted(chunking=chunking, answers={"BDAT": reply, "DATA": reply})
    assert run(talk(server, (RECIPIENT, RAW))) == [said]
