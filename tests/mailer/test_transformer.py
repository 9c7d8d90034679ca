# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stages between the queue and Postfix, where something is not as it should be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from postmaster_mailer import events, transformer
from postmaster_mailer.delivery import Lane
from postmaster_mailer.dkim import SigningKey
from postmaster_mailer.envelope import Envelope
from postmaster_mailer.queue import EVENT, MESSAGE, Queue
from postmaster_mailer.transform import Domain
from postmaster_mailer.transformer import Transformer
from redis.asyncio import Redis

from .conftest import RedisServer, run
from .stages import FakePostfix
from .test_dkim import key
from .test_transform import MAIL, STYLE


def test_a_fault_of_ours_keeps_the_message_and_lets_the_others_go_on(redis_server: RedisServer) -> None:
    asked = 0

    def keys() -> Sequence[SigningKey]:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise ZeroDivisionError
        return [key()]

    async def go() -> None:
        queue = Queue(Redis(unix_socket_path=str(redis_server.socket), protocol=3), partitions=1)
        await queue.prepare(["default", "outgoing", "outgoing-dead", "events"])
        domains = {"example.org": Domain("example.org", "rp.example.org", keys)}
        work = Transformer(queue, domains, STYLE, primary="primary", outgoing="outgoing", told="events")
        for uuid in ("u1", "u2"):
            await queue.add("default", Envelope(uuid, ("b@example.com",)), MAIL)

        await work.work(await queue.take(0, ["default"], "one", count=10, block=0.01))

        found = {
            stream: await queue.take(0, [stream], "x", count=9, block=0.01)
            for stream in ("outgoing", "outgoing-dead", "events")
        }
        assert [one.envelope.uuid for one in found["outgoing"]] == ["u2"]
        assert [(one.envelope.uuid, one.fields[MESSAGE]) for one in found["outgoing-dead"]] == [("u1", MAIL)]
        told = [events.loads(one.fields[EVENT]) for one in found["events"]]
        assert [(one["event"], one["uuid"], one["msg"]) for one in told] == [
            ("error", "u1", "a fault of the mailer: its log says more")
        ]

    run(go())


@pytest.mark.parametrize(
    ("parts", "counts"),
    [
        (transformer.PARTS, [20, 20, 5]),
        (100_000, [45]),
        (299_000, [23, 22]),
        (320_000, [20, 20, 5]),
    ],
)
def test_a_message_to_many_goes_on_in_parts(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, parts: int, counts: list[int]
) -> None:
    """Of a large one there are fewer: a message of 25 MB to 1000 must not become 50 of them."""
    monkeypatch.setattr(transformer, "PARTS", parts)
    mail = MAIL + (b"y" * 98 + b"\r\n") * 1000  # some bytes more when it is signed
    people = tuple(f"b{number}@example.com" for number in range(45))

    async def go() -> None:
        queue = Queue(Redis(unix_socket_path=str(redis_server.socket), protocol=3), partitions=1)
        await queue.prepare(["default", "outgoing"])
        domains = {"example.org": Domain("example.org", "rp.example.org", lambda: [key()])}
        work = Transformer(queue, domains, STYLE, primary="primary", outgoing="outgoing", told="events")
        await queue.add("default", Envelope("u1", people), mail)
        await work.work(await queue.take(0, ["default"], "one", count=10, block=0.01))
        found = await queue.take(0, ["outgoing"], "x", count=9, block=0.01)
        assert [len(one.envelope.recipients) for one in found] == counts
        assert tuple(who for one in found for who in one.envelope.recipients) == people

    run(go())


@pytest.mark.parametrize(
    ("sender", "recipient"),
    [
        ("a@example.org", "b@example.com>\r\nRCPT TO:<c@example.com"),
        ("a@example.org>\r\nRCPT TO:<c@example.com", "b@example.com"),
        ("a@example.org", "b\n@example.com"),
        ("a@example.org", "b@example.com> NOTIFY=NEVER"),
        ("a@example.org", "b\0@example.com"),
    ],
)
def test_no_address_ends_its_line(tmp_path: Path, sender: str, recipient: str) -> None:
    """Whatever was let in before, and the same lane takes a good one afterwards."""

    async def go() -> None:
        postfix = FakePostfix(tmp_path / "log")
        await postfix.start()
        lane = Lane("127.0.0.1", postfix.port, "x")
        text = b"Message-ID: <u1@example.org>\r\n\r\nhello\r\n"
        assert (await lane.send(sender, recipient, text) or "")[:3] == "553"
        assert not postfix.delivered
        assert await lane.send("a@example.org", "b@example.com", text) is None
        assert postfix.delivered == {"u1 b@example.com": 1}
        lane.close()
        await postfix.stop()

    run(go())
