# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sink mode: mail goes the whole way, but for the last step: it is not delivered, and its outcome is made up.

What it is on for lies in a set of Redis, so that it holds on all hosts at once; a configuration may add to it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from . import events
from .config import SinkMode
from .envelope import Envelope
from .queue import EVENT, Fields, Move, Queue, Taken

ALL = "all"
DOMAIN, STREAM, LOGIN = "domain", "stream", "login"
FRESH = 1.0  # seconds for which a stage knows what it is on for; a change counts after that
_KEY = "mailer:sink"
_GONE, _FULL = "550 5.1.1 sink mode: no such mailbox", "452 4.2.2 sink mode: the mailbox is full"
_UNROUTABLE = "5.4.4 sink mode: no such host"


def scope(kind: str, name: str) -> str:
    """How what it is on for is written; domains in lower case."""
    return f"{kind} {name.lower() if kind == DOMAIN else name}"


def configured(settings: SinkMode) -> frozenset[str]:
    """What it is always on for."""
    named = ((DOMAIN, settings.domains), (STREAM, settings.streams), (LOGIN, settings.logins))
    scopes = {scope(kind, name) for kind, names in named for name in names}
    return frozenset(scopes | ({ALL} if settings.all else set()))


class Switches:
    """What sink mode is on for. ``fixed`` is on by configuration."""

    def __init__(
        self, queue: Queue, fixed: frozenset[str] = frozenset(), *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._redis, self._clock = queue.redis, clock
        self.fixed = fixed
        self._known: frozenset[str] = fixed
        self._since: float | None = None

    async def on(self, scopes: Iterable[str]) -> None:
        """Turn it on for these. Raises RedisError."""
        await self._redis.sadd(_KEY, *scopes)

    async def off(self, scopes: Sequence[str]) -> None:
        """Turn it off for these, for everything where none is named; the configuration stays. Raises RedisError."""
        await (self._redis.srem(_KEY, *scopes) if scopes else self._redis.delete(_KEY))

    async def scopes(self) -> frozenset[str]:
        """All that it is on for. Raises RedisError."""
        members: Any = await self._redis.smembers(_KEY)
        return self.fixed | {one.decode() if isinstance(one, bytes) else one for one in members}

    async def known(self) -> frozenset[str]:
        """The same, as it was no more than ``FRESH`` seconds ago."""
        now = self._clock()
        if self._since is None or now - self._since >= FRESH:
            self._known, self._since = await self.scopes(), now
        return self._known


def is_on(scopes: frozenset[str], envelope: Envelope) -> bool:
    """Whether a message is not to be delivered."""
    own = {ALL, scope(DOMAIN, envelope.domain), scope(LOGIN, envelope.login)}
    if envelope.stream_id:
        own.add(scope(STREAM, envelope.stream_id))
    return not own.isdisjoint(scopes)


def outcomes(envelope: Envelope, recipient: str, now: float) -> list[bytes]:
    """The events for a recipient, after the first word of the address; ``bounce+1@`` is as good as ``bounce@``."""
    word = recipient.rpartition("@")[0].partition("+")[0].lower()

    def event(kind: str, **more: Any) -> bytes:
        return events.dumps(kind, uuid=envelope.uuid, now=now, rcpt=[recipient], sink=True, **more)

    def bounce(type_: str, reason: str) -> bytes:
        return event(events.BOUNCE, type=type_, reason=reason)

    delivered = event(events.DELIVERED)
    made: dict[str, list[bytes]] = {
        "bounce": [bounce(events.HARD, _GONE)],
        "softbounce": [bounce(events.SOFT, _FULL)],
        "unroutable": [bounce(events.UNROUTABLE, _UNROUTABLE)],
        "autoreply": [delivered, bounce(events.AUTOREPLY, "sink mode: out of office")],
        "complaint": [delivered, event(events.SPAM_REPORT, email=recipient)],
        "unsubscribe": [delivered, event(events.UNSUBSCRIBE)],
    }
    return made.get(word, [delivered])


class SinkHole:
    """Stands before a delivery and keeps from it what it is not to have; that is told in the stream ``told``."""

    def __init__(
        self,
        queue: Queue,
        switches: Switches,
        deliver: Callable[[Sequence[Taken]], Awaitable[None]],
        *,
        told: str,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._queue, self._switches, self._deliver = queue, switches, deliver
        self._told, self._now = told, now
        self.counts = {"postfix_emails_to_sink": 0}

    async def work(self, taken: Sequence[Taken]) -> None:
        """Have all of it delivered or sunk."""
        scopes = await self._switches.known()
        sunk = [one for one in taken if is_on(scopes, one.envelope)] if scopes else []
        if sunk:
            await self._queue.move([Move(one, self._follows(one.envelope)) for one in sunk])
            self.counts["postfix_emails_to_sink"] += sum(len(one.envelope.recipients) for one in sunk)
        left = [one for one in taken if one not in sunk] if sunk else taken
        if left:
            await self._deliver(left)

    def _follows(self, envelope: Envelope) -> list[tuple[str, Fields]]:
        now = self._now()
        made = [event for recipient in envelope.recipients for event in outcomes(envelope, recipient, now)]
        return [(self._told, {EVENT: event}) for event in made]
