# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""By which address a message leaves: streams have pools of addresses, and new addresses are warmed up.

An address goes by the name that it greets with, its helo name, and so does the delivery towards Postfix, which sends by
that address. How much a new one has sent today is counted in Redis, for all deliveries together.
"""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from .envelope import Envelope
from .queue import Queue

DEFAULT_POOL = "default"  # the one of mail that no other pool names
DEFAULT_WAY = ""  # Postfix's own address
_DAY = datetime.timedelta(1)
T = TypeVar("T")
_KEPT = 3 * 86_400  # seconds that a day's count is kept
# In one step: a message is counted only if there is room for it.
_COUNT = """
local sent = tonumber(redis.call('GET', KEYS[1]) or '0')
if sent >= tonumber(ARGV[1]) then return 0 end
redis.call('INCR', KEYS[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
"""


class FullError(Exception):
    """All addresses of the pool have sent what they may today."""


@dataclass(frozen=True)
class Address:
    """An address, known by its helo name. ``since``: the first day of its warm-up; without one it is an elder."""

    helo: str
    since: datetime.date | None = None


@dataclass(frozen=True)
class Pool:
    """Addresses that mail of the same kind leaves by. ``schedule``: messages a day of a new one, from its first day."""

    name: str
    addresses: Sequence[Address]
    schedule: Sequence[int] = ()

    def limit(self, address: Address, today: datetime.date) -> int | None:
        """How many messages an address may send today; None for any number."""
        if address.since is None:
            return None
        day = (today - address.since) // _DAY
        if day < 0:
            return 0
        return self.schedule[day] if day < len(self.schedule) else None


@dataclass(frozen=True)
class Pools:
    """Which mail goes by which pool; a stream counts before a login, and a login before a domain of authors."""

    all: Sequence[Pool] = ()
    streams: Mapping[str, Pool] = field(default_factory=dict)
    logins: Mapping[str, Pool] = field(default_factory=dict)
    domains: Mapping[str, Pool] = field(default_factory=dict)

    def of(self, envelope: Envelope) -> Pool | None:
        """The pool of a message; None where it leaves by Postfix's own address."""
        found = (
            self.streams.get(envelope.stream_id or ""),
            self.logins.get(envelope.login),
            self.domains.get(envelope.domain),
            next((one for one in self.all if one.name == DEFAULT_POOL), None),
        )
        return next((one for one in found if one is not None), None)


class Counts:
    """How many messages new addresses have sent, by day."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def _key(self, pool: Pool, address: Address, day: datetime.date) -> str:
        return f"mailer:warm-up:{pool.name}:{address.helo}:{day}"

    async def add(self, pool: Pool, address: Address, day: datetime.date, limit: int) -> bool:
        """Count one more; False if it would be above the limit. Raises RedisError."""
        (counted,) = await self._queue.call(_COUNT, [[1, self._key(pool, address, day), limit, _KEPT]])
        return bool(counted)

    async def take_back(self, pool: Pool, address: Address, day: datetime.date) -> None:
        """The last one was not sent. Raises RedisError."""
        await self._queue.redis.decr(self._key(pool, address, day))

    async def read(self, pool: Pool, address: Address, day: datetime.date) -> int:
        """How many were sent. Raises RedisError."""
        return int(await self._queue.redis.get(self._key(pool, address, day)) or 0)


def today() -> datetime.date:
    """Days are those of UTC."""
    return datetime.datetime.now(datetime.UTC).date()


@dataclass(frozen=True)
class Way:
    """The helo name of the address that a message leaves by, and what has it uncounted if it does not."""

    helo: str = DEFAULT_WAY
    counted: tuple[Pool, Address, datetime.date] | None = None


class Ways:
    """Finds each message its way. New addresses go first, so that they get what they may, then elders in turn."""

    def __init__(self, pools: Pools, counts: Counts, *, today: Callable[[], datetime.date] = today) -> None:
        self._pools, self._counts, self._today = pools, counts, today
        self._turns = {pool.name: itertools.count() for pool in pools.all}

    async def find(self, envelope: Envelope) -> Way:
        """The way of one message to one recipient. Raises :class:`FullError`, RedisError."""
        pool = self._pools.of(envelope)
        if pool is None:
            return Way()
        day, turn = self._today(), next(self._turns[pool.name])
        limits = [(address, pool.limit(address, day)) for address in pool.addresses]
        for address, limit in _from(turn, limits):
            if limit and await self._counts.add(pool, address, day, limit):
                return Way(address.helo, (pool, address, day))
        elders = [address for address, limit in limits if limit is None]
        if not elders:
            raise FullError(f"the pool {pool.name} has sent what it may today")
        return Way(elders[turn % len(elders)].helo)

    async def give_up(self, way: Way) -> None:
        """The message did not leave. Raises RedisError."""
        if way.counted:
            await self._counts.take_back(*way.counted)


def _from(turn: int, those: Sequence[T]) -> list[T]:
    at = turn % len(those)
    return [*those[at:], *those[:at]]
