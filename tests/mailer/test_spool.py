# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Push back from a spool, on a real Redis; Postfix's programs are scripts that say what the real ones do."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from postmaster_mailer import spool as spools
from postmaster_mailer.envelope import Envelope
from postmaster_mailer.queue import ENVELOPE, MESSAGE, SENDER, Queue, stream_key
from postmaster_mailer.returnpath import BOUNCE, local_part
from postmaster_mailer.spool import Pushed, Spool, SpoolError, as_it_came, push_back
from redis.asyncio import Redis

from .conftest import RedisServer, run

SECRET = b"s" * 32
TEXT = "From: Ann <a@example.org>\nMessage-ID: <u1@example.org>\n\n.hello\n"
RECEIVED = (
    "Received: from h.example.org (localhost [127.0.0.1])\n"
    "\tby h.example.org (Postfix) with ESMTP id {}\n"
    "\tfor <b@example.com>; Sun, 29 Nov 2026 08:00:00 +0000 (UTC)\n"
)


def path(uuid: str, secret: bytes = SECRET) -> str:
    return f"{local_part(secret, BOUNCE, uuid)}@rp.example.org"


def line(
    id_: str, sender: str, queue: str = "deferred", recipient: str = "b@example.com", size: int = 400
) -> dict[str, Any]:
    recipients = [{"address": recipient, "delay_reason": "Connection refused"}]
    return {
        "queue_name": queue, "queue_id": id_, "arrival_time": 1795940155, "message_size": size, "sender": sender,
        "recipients": recipients,
    }  # fmt: skip


class Programs:
    """Postfix's programs: what they hold lies in files."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        for name, text in {
            "postfix": f'test "$1" = status && test -e {folder}/runs',
            "postqueue": f"cat {folder}/held/*.json 2>/dev/null; true",
            "postcat": f'test "$1" = -qhb && cat {folder}/held/$2.eml',
            "postsuper": (
                f"test -e {folder}/broken && {{ echo postsuper: fatal: no space >&2; exit 1; }}\n"
                f"while read id; do rm {folder}/held/$id.json {folder}/held/$id.eml; done"
            ),
        }.items():
            program = folder / name
            program.write_text(f"#!/bin/sh\n{text}\n")
            program.chmod(0o755)
        (folder / "held").mkdir()
        monkeypatch.setattr(spools, "_PLACES", f"{folder}:/usr/bin:/bin")
        monkeypatch.setattr(os, "geteuid", lambda: 0)

    def hold(self, about: dict[str, Any], text: str = TEXT) -> None:
        (self.folder / "held" / f"{about['queue_id']}.json").write_text(json.dumps(about) + "\n")
        (self.folder / "held" / f"{about['queue_id']}.eml").write_text(RECEIVED.format(about["queue_id"]) + text)

    @property
    def held(self) -> list[str]:
        return sorted(one.stem for one in (self.folder / "held").glob("*.json"))


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    folder = tmp_path / "postfix"
    folder.mkdir()
    return Programs(folder, monkeypatch)


def with_queue(server: RedisServer, steps: Callable[[Queue], Awaitable[None]]) -> None:
    async def go() -> None:
        queue = Queue(Redis(unix_socket_path=str(server.socket), protocol=3), partitions=1)
        await steps(queue)
        await queue.redis.aclose()

    run(go())


async def pushed(queue: Queue) -> Pushed:
    return await push_back(queue, Spool(), secrets=(SECRET,), outgoing="outgoing", host="h")


def test_what_is_ours_goes_back_as_it_came(redis_server: RedisServer, programs: Programs) -> None:
    known = Envelope("u1", ("b@example.com", "c@example.com"), 0, "news", "shop", 5.0, "example.org")

    async def steps(queue: Queue) -> None:
        await queue.add("default", known, b"x")
        await queue.redis.hset("mailer:log:h", mapping={"place": "p", "id:A1": "u1", "id:Z9": "u9"})
        programs.hold(line("A1", path("u1"), recipient="c@example.com"))
        programs.hold(line("A2", path("u2"), "active"))
        programs.hold(line("A3", path("u3", b"other" * 8)))  # another mailer's
        programs.hold(line("A4", "", "active"))
        programs.hold(line("A5", path("u5"), "hold"))
        assert await pushed(queue) == Pushed(back=2, foreign=2, hold=1)
        assert programs.held == ["A3", "A4", "A5"]
        entries = [fields for dummy, fields in await queue.redis.xrange(stream_key(0, "outgoing"))]
        first, second = (Envelope.loads(fields[ENVELOPE]) for fields in entries)
        # Its stream, login and age are known, and who has got it already gets it no more.
        assert first == Envelope("u1", ("c@example.com",), 0, "news", "shop", 5.0, "example.org")
        assert second == Envelope(
            "u2", ("b@example.com",), received=1795940155, domain="example.org", author="a@example.org"
        )
        assert [fields[MESSAGE] for fields in entries] == [TEXT.replace("\n", "\r\n").encode()] * 2
        assert entries[0][SENDER].decode() == path("u1")
        assert await queue.redis.hgetall("mailer:log:h") == {b"place": b"p", b"id:Z9": b"u9"}

    with_queue(redis_server, steps)


def test_nothing_is_queued_twice_when_it_could_not_be_deleted(redis_server: RedisServer, programs: Programs) -> None:
    async def steps(queue: Queue) -> None:
        for number in range(40):
            programs.hold(line(f"A{number}", path(f"u{number}")))
        (programs.folder / "broken").touch()
        with pytest.raises(SpoolError, match="postsuper: postsuper: fatal: no space"):
            await pushed(queue)
        assert len(programs.held) == 40
        (programs.folder / "broken").unlink()
        assert await pushed(queue) == Pushed(back=40, foreign=0, hold=0)
        assert programs.held == []
        assert await queue.redis.xlen(stream_key(0, "outgoing")) == 40

    with_queue(redis_server, steps)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([400] * 20, [16, 4]),
        ([25_000_000] * 5, [2, 2, 1]),  # no third one beside two that fill the room
        ([400, 50_000_000, 400], [2, 1]),
        ([50_000_000], [1]),
    ],
)
def test_what_is_in_memory_at_a_time_is_bounded(
    redis_server: RedisServer,
    programs: Programs,
    sizes: list[int],
    expected: list[int],
) -> None:
    counts: list[int] = []

    class Counting(Spool):
        async def delete(self, ids: Sequence[str]) -> None:
            counts.append(len(ids))
            await super().delete(ids)

    async def steps(queue: Queue) -> None:
        for number, size in enumerate(sizes):
            programs.hold(line(f"A{number:02}", path(f"u{number}"), size=size))
        done = await push_back(queue, Counting(), secrets=(SECRET,), outgoing="outgoing", host="h")
        assert (done.back, counts) == (len(sizes), expected)

    with_queue(redis_server, steps)


def test_what_the_queue_does_not_take_stays(redis_server: RedisServer, programs: Programs) -> None:
    async def steps(queue: Queue) -> None:
        programs.hold(line("A1", path("u1")))
        await queue.redis.config_set("maxmemory", "1")
        with pytest.raises(Exception, match="maxmemory"):
            await pushed(queue)
        assert programs.held == ["A1"]
        await queue.redis.config_set("maxmemory", "0")
        assert (await pushed(queue)).back == 1

    with_queue(redis_server, steps)


def test_a_postfix_that_runs_keeps_its_mail(redis_server: RedisServer, programs: Programs) -> None:
    async def steps(queue: Queue) -> None:
        programs.hold(line("A1", path("u1")))
        (programs.folder / "runs").touch()
        with pytest.raises(SpoolError) as err:
            await pushed(queue)
        said = "Postfix runs and would send what is pushed back: stop the stage postfix and Postfix first"
        assert str(err.value) == said
        assert programs.held == ["A1"]
        (programs.folder / "runs").unlink()
        assert (await pushed(queue)).back == 1

    with_queue(redis_server, steps)


def test_root_alone_may(redis_server: RedisServer, programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    async def steps(queue: Queue) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        with pytest.raises(SpoolError, match="the spool belongs to root: run this as root"):
            await pushed(queue)

    with_queue(redis_server, steps)


def test_a_host_without_postfix(redis_server: RedisServer, programs: Programs) -> None:
    async def steps(queue: Queue) -> None:
        (programs.folder / "postfix").unlink()
        with pytest.raises(SpoolError, match="postfix is not there: run this on the host of Postfix, as root"):
            await pushed(queue)

    with_queue(redis_server, steps)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (RECEIVED.format("A1") + TEXT, TEXT),
        (RECEIVED.format("B2") + TEXT, RECEIVED.format("B2") + TEXT),  # another's hop
        (RECEIVED.format("A1") * 2 + TEXT, RECEIVED.format("A1") + TEXT),
        (TEXT, TEXT),
        ("Received: A1\n\nReceived: A1\n", "\nReceived: A1\n"),
    ],
)
def test_as_it_came(raw: str, expected: str) -> None:
    assert as_it_came(raw.encode(), "A1") == expected.replace("\n", "\r\n").encode()
