# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stage: outcomes are kept, acted on, and posted.

The stream of events is read once: each goes into its message's record and, by rule, into the suppression list, and on
into a stream of its own for each endpoint. So what we must know waits for no endpoint, and no endpoint for another. An
event that an endpoint refuses, or does not take within a day, lies in a dead-letter stream until it is replayed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from redis.exceptions import RedisError
from standardwebhooks import Webhook

from . import events
from .hooks import Answered, Hook, HookError
from .queue import EVENT, Fields, Move, Queue, Taken, stream_key
from .records import Records
from .suppression import Rules, Suppression
from .worker import Reading, Worker

log = logging.getLogger(__name__)

POSTED = 50  # events in one request
REST = 0.25  # seconds in which events gather: each batch costs a dozen questions to Redis, and flushes to its disk
RETRIED = 86_400.0  # seconds that an event is tried for
LEAST_FAILING = 900.0  # seconds that an endpoint must have failed before what is older than RETRIED is given up
FIRST_PAUSE, LONGEST_PAUSE, LONGEST_ASKED = 1.0, 300.0, 3600.0  # seconds between two attempts
PURGED = 3600.0  # seconds between two looks for what is over
DEAD_LIMIT = 1_000_000  # events that a partition's dead-letter stream holds; the oldest go
WHY = b"w"  # a field of dead letters
# What an endpoint answers that will not have these events, whatever comes after.
_REFUSED = frozenset({400, 413, 422})
_REPLAY = """
if redis.call('XDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('XADD', KEYS[2], '*', 'v', ARGV[2])
return 1
"""


@dataclass(frozen=True)
class Names:
    """The streams, which follow from the name of the first."""

    told: str

    def of(self, sink: str) -> str:
        """What waits for an endpoint."""
        return f"{self.told}-{sink}"

    def dead(self, sink: str) -> str:
        """What an endpoint did not take."""
        return f"{self.told}-{sink}-dead"


# -- what is posted, and in which form -------------------------------------------------------------------


class Form(Protocol):
    """How an endpoint wants its events."""

    def wants(self, event: Mapping[str, Any]) -> bool:
        """Whether it is told of such an event at all."""

    def request(self, batch: Sequence[bytes], now: float) -> tuple[bytes, Mapping[str, str], str]:
        """Body, header fields, and what is added to the query of the URL."""


class Plain:
    """An array of events, for the application.

    With ``secrets`` it is signed as standardwebhooks.com says, once with each, and events have an ``id``, the same each
    time one is sent.
    """

    def __init__(self, secrets: Sequence[str] = ()) -> None:
        self._signers = [Webhook(secret) for secret in secrets]

    def wants(self, event: Mapping[str, Any]) -> bool:
        """All."""
        return True

    def request(self, batch: Sequence[bytes], now: float) -> tuple[bytes, Mapping[str, str], str]:
        """See :class:`Form`."""
        if not self._signers:
            return json.dumps([events.public(one) for one in batch]).encode(), {}, ""
        ids = [event_id(one) for one in batch]
        body = json.dumps([{"id": id_, **events.public(one)} for id_, one in zip(ids, batch, strict=True)])
        name = "msg_" + hashlib.sha256(" ".join(ids).encode()).hexdigest()[:32]
        when = datetime.fromtimestamp(int(now), UTC)
        signed = " ".join(signer.sign(name, when, body) for signer in self._signers)
        return body.encode(), {"webhook-id": name, "webhook-timestamp": str(int(now)), "webhook-signature": signed}, ""


def event_id(event: bytes) -> str:
    """A name that is the same whenever and wherever this event is sent."""
    return "evt_" + hashlib.sha256(event).hexdigest()[:32]


class Measured:
    """What a bounce-manager is given: domains instead of addresses, and a request that a shared secret vouches for."""

    def __init__(self, cid: int, secret: str) -> None:
        self._cid, self._secret = cid, secret

    def wants(self, event: Mapping[str, Any]) -> bool:
        """Those of which both domains are known, and that are none of sink mode."""
        return not event.get("sink") and bool(event.get("fd")) and any("@" in one for one in event["rcpt"])

    def request(self, batch: Sequence[bytes], now: float) -> tuple[bytes, Mapping[str, str], str]:
        """See :class:`Form`."""
        stamp = str(int(now))
        digest = hashlib.sha224(f"{self._secret}_{self._cid}_{stamp}".encode()).hexdigest()
        body = json.dumps([self._measured(events.plain(events.loads(one))) for one in batch]).encode()
        return body, {}, f"cid={self._cid}&ts={stamp}&hash={digest}"

    def _measured(self, event: Mapping[str, Any]) -> dict[str, Any]:
        known = {
            name: event[name] for name in ("timestamp", "event", "streamid", "type") if event.get(name) is not None
        }
        domain = next(one for one in event["rcpt"] if "@" in one).rpartition("@")[2]
        reason = {"reason": masked(str(event["reason"]), event["rcpt"])} if event.get("reason") is not None else {}
        return {"fd": event["fd"], "rd": domain, **known, **reason}


def masked(text: str, recipients: Sequence[str]) -> str:
    """A text in which recipients show their domain alone, however their case is written."""
    for recipient in (one for one in recipients if "@" in one):
        text = re.sub(re.escape(recipient), lambda found: "**PII**@" + found[0].rpartition("@")[2], text, flags=re.I)
    return text


# -- to one endpoint -----------------------------------------------------------------------------------------


class Sink:
    """An endpoint and what waits for it.

    ``retried`` is for how many seconds an event is tried. ``pause`` is the first one, in seconds.
    """

    def __init__(
        self,
        queue: Queue,
        name: str,
        names: Names,
        hook: Hook,
        form: Form,
        *,
        retried: float = RETRIED,
        pause: float = FIRST_PAUSE,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.name, self.stream, self.form = name, names.of(name), form
        self._dead, self._queue, self._hook = names.dead(name), queue, hook
        self._retried, self._first_pause, self._now = retried, pause, now
        self._failing_since: float | None = None
        self._rests_until = 0.0
        self._pause = pause
        self._turn = asyncio.Lock()
        self.stopping = asyncio.Event()
        self.posting = self.posted = self.failed = self.given_up = 0

    async def work(self, taken: Sequence[Taken]) -> None:
        """Have all of it posted or given up. At a stop, the rest stays where it is."""
        waiting = list(taken)
        self.posting += len(taken)
        try:
            while waiting and not self.stopping.is_set():
                if self._failing_since is None:
                    waiting = await self._attempt(waiting)
                    continue
                # An endpoint that fails is asked by one at a time.
                async with self._turn:
                    waiting = await self._give_up(waiting)
                    await self._rest()
                    if waiting and not self.stopping.is_set():
                        waiting = await self._attempt(waiting)
        finally:
            self.posting -= len(taken)

    async def _attempt(self, batch: list[Taken]) -> list[Taken]:
        """Post a batch; those that are still to be posted."""
        try:
            answer = await self._post(batch)
        except HookError as err:
            self._failed(len(batch), str(err), None)
            return batch
        if 200 <= answer.status < 300:
            self._failing_since, self._pause = None, self._first_pause
            self.posted += len(batch)
            await self._queue.move([Move(one) for one in batch])
            return []
        if answer.status not in _REFUSED:
            self._failed(len(batch), _said(answer.status), answer.retry_after)
            return batch
        self._failing_since, self._pause = None, self._first_pause
        if len(batch) == 1:
            self.failed += 1
            await self._bury(batch, f"{self.name} answers {answer.status} to it alone")
            return []
        # One of them is at fault: the others are not to wait for it.
        half = len(batch) // 2
        left = await self._attempt(batch[:half])
        return [*left, *batch[half:]] if left else await self._attempt(batch[half:])

    async def _post(self, batch: Sequence[Taken]) -> Answered:
        body, headers, query = self.form.request([one.fields[EVENT] for one in batch], self._now())
        return await self._hook.post(body, headers, query)

    def _failed(self, count: int, why: str, asked: float | None) -> None:
        now = self._now()
        if self._failing_since is None:
            self._failing_since = now
        self.failed += count
        pause = self._pause * random.uniform(0.5, 1.0)  # so that not all come back at once
        if asked is not None:
            pause = max(pause, min(asked, LONGEST_ASKED))
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        self._rests_until = now + pause
        log.warning("%d events were not taken: %s; the next attempt is in %.1f s", count, why, pause)

    async def _rest(self) -> None:
        while (left := self._rests_until - self._now()) > 0 and not self.stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), left)

    async def _give_up(self, batch: list[Taken]) -> list[Taken]:
        """Bury what is too old, if the endpoint has failed for long; the rest."""
        now = self._now()
        if self._failing_since is None or now - self._failing_since < min(self._retried, LEAST_FAILING):
            return batch
        old = [one for one in batch if now - int(one.id.partition(b"-")[0]) / 1000 >= self._retried]
        await self._bury(old, f"{self.name} has not taken it in {self._retried:g} s")
        return [one for one in batch if one not in old]

    async def _bury(self, batch: Sequence[Taken], why: str) -> None:
        if not batch:
            return
        log.error("%d events are given up: %s", len(batch), why)
        self.given_up += len(batch)
        dead = [(one, {EVENT: one.fields[EVENT], WHY: why.encode()}) for one in batch]
        await self._queue.move([Move(one, [(self._dead, fields)]) for one, fields in dead])
        for partition in {one.partition for one in batch}:
            await self._queue.redis.xtrim(stream_key(partition, self._dead), maxlen=DEAD_LIMIT, approximate=True)

    async def close(self) -> None:
        """Close its connections."""
        await self._hook.close()


def _said(status: int) -> str:
    if 300 <= status < 400:
        return f"it answers {status}, and a redirect is not followed: write the URL that it leads to"
    return f"it answers {status}"


# -- the stage ----------------------------------------------------------------------------------------------


class Ledger:
    """Keeps each outcome and acts on it, and hands it to the sinks."""

    def __init__(
        self,
        queue: Queue,
        sinks: Sequence[Sink],
        *,
        records: Records,
        suppression: Suppression | None = None,
        rules: Rules = Rules(),  # noqa: B008 (it is frozen)
    ) -> None:
        self._queue, self._sinks, self._records = queue, sinks, records
        self._suppression, self._rules = suppression, rules
        self.counted = dict.fromkeys((*events.KINDS, "malformed"), 0)

    async def work(self, taken: Sequence[Taken]) -> None:
        """Have all of it kept and handed on."""
        read = [(one, self._read(one)) for one in taken]
        told = [event for dummy, event in read if event is not None]
        envelopes = await self._records.envelopes(event["uuid"] for event in told if event.get("uuid"))
        for event in told:
            if (envelope := envelopes.get(event.get("uuid") or "")) is not None:
                event.setdefault("streamid", envelope.stream_id)
                event.setdefault("fd", envelope.domain or None)
        # Written before it is moved on: whoever takes it up after a crash writes the same again.
        await self._records.outcomes(told)
        if self._suppression is not None:
            await self._suppression.learn(told, self._rules)
        await self._queue.move([Move(one, self._follows(event)) for one, event in read])
        for dummy, said in read:
            self.counted["malformed" if said is None else said["event"]] += 1

    def _read(self, taken: Taken) -> dict[str, Any] | None:
        try:
            return events.loads(taken.fields[EVENT])
        except (ValueError, KeyError, RecursionError) as err:
            log.error("an entry of the stream of events is none and is left out: %s", err)
            return None

    def _follows(self, event: Mapping[str, Any] | None) -> list[tuple[str, Fields]]:
        if event is None:
            return []
        data = json.dumps({name: value for name, value in event.items() if value is not None}).encode()
        return [(sink.stream, {EVENT: data}) for sink in self._sinks if sink.form.wants(event)]


class BackData:
    """The whole stage: the ledger, and a poster for each sink.

    Messages in the stream ``dead`` are dropped when their records are over: their application was told of an error.
    """

    def __init__(
        self,
        queue: Queue,
        names: Names,
        sinks: Sequence[Sink],
        *,
        consumer: str,
        records: Records,
        suppression: Suppression | None = None,
        rules: Rules = Rules(),  # noqa: B008 (it is frozen)
        dead: str = "",
        claim_after: float = 60.0,
        block: float = 2.0,
    ) -> None:
        self.ledger = Ledger(queue, sinks, records=records, suppression=suppression, rules=rules)
        self._sinks, self._suppression, self._records = sinks, suppression, records
        self._queue, self._dead = queue, dead

        def reading(stream: str) -> Reading:
            return Reading((stream,), consumer, count=POSTED, block=block, claim_after=claim_after, rest=REST)

        self._workers = [
            Worker(queue, reading(names.told), self.ledger.work),
            *(Worker(queue, reading(sink.stream), sink.work) for sink in sinks),
        ]
        self._stopping = asyncio.Event()

    @property
    def counts(self) -> dict[str, float]:
        """For the metrics, under their names."""
        counted = self.ledger.counted
        return {
            "delivered_events": counted[events.DELIVERED],
            "bounced_events": counted[events.BOUNCE],
            "error_events": counted[events.ERROR],
            "spam_report_events": counted[events.SPAM_REPORT],
            "unsubscribe_events": counted[events.UNSUBSCRIBE],
            "malformed_events": counted["malformed"],
            "number_of_events_currently_posting": sum(one.posting for one in self._sinks),
            "successfully_pushed_events": sum(one.posted for one in self._sinks),
            "failed_pushed_events": sum(one.failed for one in self._sinks),
            "given_up_events": sum(one.given_up for one in self._sinks),
        }

    def stop(self) -> None:
        """End after what is under way."""
        self._stopping.set()
        for sink in self._sinks:
            sink.stopping.set()
        for worker in self._workers:
            worker.stop()

    async def run(self) -> None:
        """Work until :meth:`stop`."""
        try:
            async with asyncio.TaskGroup() as group:
                for worker in self._workers:
                    group.create_task(worker.run())
                group.create_task(self._purge())
        finally:
            for sink in self._sinks:
                await sink.close()

    async def _purge(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._records.purge()
                if self._dead:
                    await self._queue.trim(self._dead, before=time.time() - self._records.keep)
                if self._suppression is not None:
                    await self._suppression.purge()
            except (RedisError, OSError) as err:
                log.warning("what is over could not be dropped, the next attempt is in %d s: %s", PURGED, err)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), PURGED)


async def dead_letters(queue: Queue, names: Names, sink: str, *, count: int = 100) -> list[tuple[dict[str, Any], str]]:
    """The oldest events that were given up, up to ``count`` of each partition, and why."""
    found: list[tuple[dict[str, Any], str]] = []
    for number in range(queue.partitions):
        entries: Any = await queue.redis.xrange(stream_key(number, names.dead(sink)), count=count)
        found += [(events.loads(fields[EVENT]), fields.get(WHY, b"").decode()) for dummy, fields in entries]
    return found


async def replay(queue: Queue, names: Names, sink: str, *, uuid: str | None = None) -> int:
    """Have all events posted again that were given up, or those of one message; how many.

    What dies in between loses and doubles none.
    """
    replayed = 0
    for number in range(queue.partitions):
        source, target = (stream_key(number, stream) for stream in (names.dead(sink), names.of(sink)))
        last: Any = await queue.redis.xrevrange(source, count=1)
        after: Any = b"-"
        # No further than what was there at first: what fails again is not taken twice.
        while last:
            entries: Any = await queue.redis.xrange(source, min=after, max=last[0][0], count=POSTED)
            if not entries:
                break
            after = b"(" + entries[-1][0]
            words = [
                [2, source, target, id_, fields[EVENT]]
                for id_, fields in entries
                if uuid is None or events.loads(fields[EVENT]).get("uuid") == uuid
            ]
            replayed += sum([int(answer) for answer in await queue.call(_REPLAY, words)])
    return replayed
