# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The log of Postfix, followed over rotations and deaths."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from postmaster_mailer.log_follower import FileSource, JournalSource, Line, LogFollower, _of_journal
from postmaster_mailer.queue import EVENT, Queue
from postmaster_mailer.returnpath import BOUNCE, local_part
from redis.asyncio import Redis

from .conftest import PATIENCE, RedisServer, run
from .endpoint import until

SECRET = b"s" * 32
SENT = "delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 2.0.0 Ok)"


def lines_of(id_: str, uuid: str, secret: bytes = SECRET) -> list[str]:
    """What Postfix logs of a message that arrives."""
    path = f"{local_part(secret, BOUNCE, uuid)}@rp.example.org"
    return [
        f"postfix/qmgr[1]: {id_}: from=<{path}>, size=1, nrcpt=1 (queue active)",
        f"postfix/smtp[1]: {id_}: to=<b@example.com>, relay=mx[192.0.2.7]:25, {SENT}",
        f"postfix/qmgr[1]: {id_}: removed",
    ]


def write(path: Path, *lines: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in lines))


class Following:
    """A follower at work, and what it has told so far."""

    def __init__(self, server: RedisServer, log: Path) -> None:
        self._server, self._log = server, log
        self.queue = self._queue()
        self.stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def _queue(self) -> Queue:
        return Queue(Redis(unix_socket_path=str(self._server.socket), protocol=3), partitions=1)

    def start(self) -> None:
        follower = LogFollower(self._queue(), FileSource(self._log), host="h", secrets=(SECRET,), told="events")
        self.stop = asyncio.Event()
        self._task = asyncio.create_task(follower.run(self.stop))

    async def end(self, *, killed: bool = False) -> None:
        assert self._task is not None
        if killed:
            self._task.cancel()
        self.stop.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait_for(self._task, PATIENCE)

    async def _events(self) -> list[tuple[str, str]]:
        entries = await self.queue.redis.xrange("mailer:{0}:events")
        events = [json.loads(fields[EVENT]) for dummy, fields in entries]
        return [(one["event"], one["uuid"]) for one in events]

    async def told(self, *, at_least: int) -> list[tuple[str, str]]:
        """What was told, when there are so many outcomes, and a moment later: more would be too many."""

        async def enough() -> bool:
            return len(set(await self._events())) >= at_least

        await until(enough)
        await asyncio.sleep(0.1)
        return await self._events()


def follow(server: RedisServer, log: Path, steps: Callable[[Following], Awaitable[None]]) -> None:
    async def go() -> None:
        following = Following(server, log)
        following.start()
        try:
            await steps(following)
        finally:
            await following.end()

    run(go())


def test_outcomes_are_told_once(redis_server: RedisServer, tmp_path: Path) -> None:
    log = tmp_path / "mail.log"

    async def steps(following: Following) -> None:
        write(log, *lines_of("A000000001", "u1"), *lines_of("A000000002", "u2", b"other" * 8), "noise", "")
        assert await following.told(at_least=1) == [("delivered", "u1")]  # the other is somebody else's mail
        await following.end()
        following.start()
        write(log, *lines_of("A000000003", "u3"))
        assert await following.told(at_least=2) == [("delivered", "u1"), ("delivered", "u3")]
        # Nothing of what is gone is kept.
        assert set(await following.queue.redis.hkeys("mailer:log:h")) == {b"place"}

    follow(redis_server, log, steps)


def test_a_message_is_known_over_a_death(redis_server: RedisServer, tmp_path: Path) -> None:
    log = tmp_path / "mail.log"

    async def steps(following: Following) -> None:
        first, second, third = lines_of("A000000001", "u1")
        write(log, first)
        await until(lambda: following.queue.redis.hexists("mailer:log:h", "id:A000000001"))
        await following.end(killed=True)
        write(log, second, third)
        following.start()
        assert await following.told(at_least=1) == [("delivered", "u1")]

    follow(redis_server, log, steps)


@pytest.mark.parametrize("while_down", [False, True])
def test_the_log_is_put_aside(redis_server: RedisServer, tmp_path: Path, while_down: bool) -> None:
    log = tmp_path / "mail.log"

    async def steps(following: Following) -> None:
        write(log, *lines_of("A000000001", "u1"))
        await following.told(at_least=1)
        if while_down:
            await following.end()
        write(log, *lines_of("A000000002", "u2"))
        os.rename(log, tmp_path / "mail.log.1")
        # Postfix goes on with the old file until it is told of the new one.
        write(tmp_path / "mail.log.1", *lines_of("A000000003", "u3"))
        write(log, *lines_of("A000000004", "u4"))
        if while_down:
            following.start()
        expected = [("delivered", f"u{number}") for number in (1, 2, 3, 4)]
        assert await following.told(at_least=4) == expected

    follow(redis_server, log, steps)


def test_half_a_line_is_read_when_it_is_whole(redis_server: RedisServer, tmp_path: Path) -> None:
    log = tmp_path / "mail.log"

    async def steps(following: Following) -> None:
        text = "".join(f"{line}\n" for line in lines_of("A000000001", "u1"))
        for at in range(0, len(text), 25):
            with log.open("a") as file:
                file.write(text[at : at + 25])
            await asyncio.sleep(0.06)
        assert await following.told(at_least=1) == [("delivered", "u1")]

    follow(redis_server, log, steps)


def test_a_log_that_was_emptied_is_read_from_its_start(redis_server: RedisServer, tmp_path: Path) -> None:
    log = tmp_path / "mail.log"

    async def steps(following: Following) -> None:
        # Longer than what follows it: whenever the follower looks, the file is shorter than it was.
        write(log, *lines_of("A000000001", "u1"), "noise " * 100)
        await following.told(at_least=1)
        os.truncate(log, 0)
        write(log, *lines_of("A000000002", "u2"))
        assert await following.told(at_least=2) == [("delivered", "u1"), ("delivered", "u2")]

    follow(redis_server, log, steps)


def test_redis_is_away_for_a_while(redis_server: RedisServer, tmp_path: Path) -> None:
    log = tmp_path / "mail.log"

    async def steps(following: Following) -> None:
        write(log, *lines_of("A000000001", "u1"))
        await following.told(at_least=1)
        redis_server.kill()
        write(log, *lines_of("A000000002", "u2"))
        await asyncio.sleep(0.3)
        redis_server.start()
        told = await following.told(at_least=2)
        # It may be told twice, but not left out.
        assert set(told) == {("delivered", "u1"), ("delivered", "u2")}

    follow(redis_server, log, steps)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (
            b'{"MESSAGE":"A1: removed","SYSLOG_IDENTIFIER":"postfix/qmgr","__CURSOR":"s=1"}',
            Line("postfix/qmgr: A1: removed", "s=1"),
        ),
        (
            b'{"MESSAGE":[65,255],"SYSLOG_IDENTIFIER":"postfix/smtp","__CURSOR":"s=2"}',
            Line("postfix/smtp: A\ufffd", "s=2"),
        ),
        (b'{"MESSAGE":null,"SYSLOG_IDENTIFIER":"x","__CURSOR":"s=3"}', None),
        (b'{"MESSAGE":"no cursor","SYSLOG_IDENTIFIER":"x"}', None),
        (b"[]", None),
        (b"not JSON", None),
    ],
)
def test_entries_of_the_journal(raw: bytes, expected: Line | None) -> None:
    assert _of_journal(raw) == expected


def test_the_journal_is_read_by_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands before a line is what its writer says; the unit is what systemd says."""
    program = tmp_path / "journalctl"
    entry = json.dumps({"SYSLOG_IDENTIFIER": "postfix/qmgr", "MESSAGE": "A000000001: removed", "__CURSOR": "c2"})
    program.write_text(f"#!/bin/sh\necho \"$@\" > {tmp_path}/words\ncat <<'END'\n{entry}\nEND\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    async def first(place: str) -> list[Line]:
        lines = JournalSource(["postfix.service", "postfix@-.service"]).lines(place)
        async with contextlib.aclosing(lines):  # type: ignore[type-var]
            return await anext(lines)

    assert run(first("c1")) == [Line("postfix/qmgr: A000000001: removed", "c2")]
    words = "--follow --output=json --no-pager --no-tail --after-cursor=c1"
    units = "_SYSTEMD_UNIT=postfix.service _SYSTEMD_UNIT=postfix@-.service"
    assert (tmp_path / "words").read_text() == f"{words} {units}\n"
    run(first(""))
    assert "--since=-1day" in (tmp_path / "words").read_text()
