# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: what rspamd has learned, in the redis of this host. Private to this collection.

Speaks redis' own protocol (RESP 2), so that no program's output has to be read.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from ansible_collections.postmaster.mail.plugins.module_utils._archive import ArchiveError

CHUNK = 1000
KEYS, SETS, SEEN = "RS*", "BAYES_*_keys", "learned_ids"
MARK = "postmaster.mail:restored"


class Redis:
    """One connection."""

    def __init__(self, lines: BinaryIO, out: socket.socket) -> None:
        self._lines, self._out = lines, out

    def ask(self, commands: Sequence[Sequence[str]]) -> list[object]:
        """Send commands together and return their answers. An error is an answer, see :func:`fault`."""
        sent = bytearray()
        for command in commands:
            sent += b"*%d\r\n" % len(command)
            for word in command:
                data = word.encode("utf-8", "surrogateescape")
                sent += b"$%d\r\n%s\r\n" % (len(data), data)
        self._out.sendall(sent)
        return [self._answer() for dummy in commands]

    def _answer(self) -> object:
        line = self._lines.readline().decode("utf-8", "surrogateescape").rstrip("\r\n")
        kind, rest = line[:1], line[1:]
        if kind == "$":
            return None if rest == "-1" else self._text(int(rest))
        if kind == "*":
            return [self._answer() for dummy in range(max(0, int(rest)))]
        if kind == ":":
            return int(rest)
        if kind == "+":
            return rest
        raise ArchiveError(f"redis says {rest or 'nothing'}: see that it runs and that rspamd can use it")

    def _text(self, length: int) -> str:
        return self._lines.read(length + 2)[:-2].decode("utf-8", "surrogateescape")

    def keys(self, pattern: str) -> list[str]:
        """All keys of that pattern."""
        found: set[str] = set()
        cursor = "0"
        while True:
            answer: Any = self.ask([("SCAN", cursor, "MATCH", pattern, "COUNT", str(CHUNK))])[0]
            cursor = str(answer[0])
            found.update(str(name) for name in answer[1])
            if cursor == "0":
                return sorted(found)


@contextlib.contextmanager
def connected(address: str) -> Iterator[Redis]:
    """A connection to ``host:port``. Raises :class:`ArchiveError`."""
    host, dummy, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=60) as out, out.makefile("rb") as lines:
            yield Redis(lines, out)
    except OSError as err:
        raise ArchiveError(f"redis at {address} does not answer ({err}): start it, or leave bayes out") from err


def learned(redis: Redis) -> tuple[dict[str, dict[str, str]], dict[str, list[str]]]:
    """What rspamd has learned: hashes and sets, by key."""
    hashes: dict[str, dict[str, str]] = {}
    sets: dict[str, list[str]] = {}
    names = redis.keys(KEYS) + redis.keys(SEEN)
    for start in range(0, len(names), CHUNK):
        chunk = names[start : start + CHUNK]
        kinds = redis.ask([("TYPE", name) for name in chunk])
        of_hash = [name for name, kind in zip(chunk, kinds, strict=True) if kind == "hash"]
        for name, flat in zip(of_hash, redis.ask([("HGETALL", name) for name in of_hash]), strict=True):
            hashes[name] = dict(zip(flat[::2], flat[1::2], strict=True))  # type: ignore[index]
    for name in redis.keys(SETS):
        (members,) = redis.ask([("SMEMBERS", name)])
        sets[name] = [str(member) for member in members]  # type: ignore[attr-defined]
    return hashes, sets


def was_added(redis: Redis, digest: str) -> bool:
    """Whether what an archive holds was added already."""
    return redis.ask([("SISMEMBER", MARK, digest)]) == [1]


def add(redis: Redis, commands: Sequence[Sequence[str]], digest: str) -> None:
    """Add it all at once with a mark that it was added, so that a run that ends early has added nothing."""
    redis.ask([("MULTI",)])
    for start in range(0, len(commands), CHUNK):
        redis.ask(commands[start : start + CHUNK])
    redis.ask([("SADD", MARK, digest)])
    (answer,) = redis.ask([("EXEC",)])
    if answer is None:
        raise ArchiveError("redis did not take what the filter learned elsewhere: run this again")
