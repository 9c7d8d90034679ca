# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stage: hands messages to Postfix, one recipient a transaction. Postfix's log tells what becomes of them."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import re
import time
from collections.abc import Callable, Sequence

from redis.exceptions import RedisError, ResponseError

from . import events
from .connection import connection, is_socket
from .envelope import Envelope
from .metrics import LATENCY
from .pools import DEFAULT_WAY, FullError, Way, Ways
from .queue import ENVELOPE, EVENT, MESSAGE, SENDER, Fields, Move, Queue, Taken, stream_key

log = logging.getLogger(__name__)

LONGEST_PAUSE = 5.0  # seconds between two attempts to hand over what Postfix does not take for now
AT_ONCE = 65_536  # bytes of a message that go with the commands before it, ere it is known that they are taken
SILENCE = 300.0  # seconds that Postfix may be silent (RFC 5321 section 4.5.3.2)
LOOK = 60.0  # seconds between two looks at the day
BACK = 16  # messages that go back at a time
_HOSTILE = re.compile(r"[\x00-\x20\x7f<>]")


class AwayError(Exception):
    """Postfix is away, or takes nothing for now."""


class Lane:
    """One connection to Postfix, opened when it is needed and kept. It is used by one at a time.

    ``host`` may be the path of a socket.
    """

    def __init__(self, host: str, port: int, name: str) -> None:
        self._host, self._port, self._name = host, port, name
        self._where = host if is_socket(host) else f"{host}:{port}"
        self._said = ""  # under which name we are there
        self._chunking = False
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, sender: str, recipient: str, raw: bytes, helo: str = DEFAULT_WAY) -> str | None:
        """Hand over one message. ``helo`` is the way it shall go.

        None: Postfix has it. Else why it never will. Raises :class:`AwayError` where it may later.
        """
        if _HOSTILE.search(sender + recipient):  # whoever let it in: it must not end the line
            return "553 5.1.3 an address has a space, a bracket or a control character in it"
        try:
            async with asyncio.timeout(SILENCE):
                await self._greet(helo or self._name)
                return await self._transaction(sender, recipient, raw)
        except (OSError, EOFError, TimeoutError, ValueError) as err:
            self.close()
            raise AwayError(f"Postfix at {self._where}: {err or type(err).__name__}") from err

    async def _transaction(self, sender: str, recipient: str, raw: bytes) -> str | None:
        assert self._writer is not None
        utf8 = "" if (sender + recipient).isascii() else " SMTPUTF8"  # RFC 6531 section 3.4
        start = f"MAIL FROM:<{sender}>{utf8}\r\nRCPT TO:<{recipient}>\r\n".encode()
        # All at once (RFC 2920): if one is refused, so are those after it. With chunks that goes for the message, too,
        # and there is but one round trip (RFC 3030 section 2); a large one is worth the question.
        whole = self._chunking and len(raw) <= AT_ONCE
        self._writer.write(start + (b"BDAT %d LAST\r\n%b" % (len(raw), raw) if whole else b"DATA\r\n"))
        replies = [await self._reply() for dummy in range(3)]
        if not whole and replies[2][0] == "3":
            self._writer.write(stuffed(raw))
            return self._judged(await self._reply())
        if whole and replies[2][0] == "2":
            return None
        self._writer.write(b"RSET\r\n")
        await self._reply()
        return self._judged(next(one for one in replies if one[0] not in "23"))

    def _judged(self, reply: str) -> str | None:
        if reply[0] == "2":
            return None
        if reply[0] == "5":
            return reply
        if reply.startswith("421"):
            self.close()
        raise AwayError(f"Postfix says {reply}")

    async def _greet(self, name: str) -> None:
        """Be there under a name; another one begins anew (RFC 5321 section 4.1.4)."""
        if self._writer is None or self._writer.is_closing():
            self._reader, self._writer = await connection(self._host, self._port)
            self._said = ""
            self._judged(await self._reply())
        if self._said != name:
            self._writer.write(f"EHLO {name}\r\n".encode())
            *offers, last = await self._lines()
            if self._judged(last) is not None:
                raise ValueError(f"it does not take EHLO {name}")
            self._said, self._chunking = name, any(line[4:].upper() == "CHUNKING" for line in (*offers, last))

    async def _reply(self) -> str:
        return (await self._lines())[-1]

    async def _lines(self) -> list[str]:
        """The lines of a reply."""
        assert self._reader is not None
        lines: list[str] = []
        while not lines or lines[-1][3:4] == "-":
            lines.append((await self._reader.readuntil(b"\r\n")).rstrip().decode("utf-8", "replace"))
        return lines

    def close(self) -> None:
        """Close the connection; Postfix forgets what it was not given whole."""
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None


def waiting_of(outgoing: str) -> str:
    """The stream of what was taken from ``outgoing`` and waits for another day."""
    return f"{outgoing}-waiting"


def stuffed(raw: bytes) -> bytes:
    """A message as it follows DATA (RFC 5321 section 4.5.2)."""
    text = (b"\r\n" + raw).replace(b"\r\n.", b"\r\n..")[2:]
    return text + (b".\r\n" if text.endswith(b"\r\n") else b"\r\n.\r\n")


class Delivery:
    """Gives entries to free lanes. What Postfix refuses for good is told in the stream ``told``.

    What no address may send today goes to the stream ``waiting``.
    """

    def __init__(
        self,
        queue: Queue,
        lanes: Sequence[Lane],
        *,
        told: str,
        ways: Ways,
        waiting: str = "",
        stopping: Callable[[], bool] = lambda: False,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._queue, self._told, self._stopping, self._now = queue, told, stopping, now
        self._ways, self._waiting = ways, waiting
        # Who got it, of entries that are not done with: when Redis is back from a death they are not handed over again.
        self._had: dict[tuple[int, bytes, bytes], set[int]] = {}
        self._lanes: asyncio.LifoQueue[Lane] = asyncio.LifoQueue()
        for lane in lanes:
            self._lanes.put_nowait(lane)
        self.counts = {"postfix_emails_polled": 0, "postfix_emails_to_postfix": 0}

    async def work(self, taken: Sequence[Taken]) -> None:
        """Have Postfix take all of it. At a stop, what it has not taken stays where it is."""
        results = await asyncio.gather(*(self._deliver(one) for one in taken))
        moves = [move for move in results if move is not None]
        await self._queue.move(moves)
        for move in moves:
            self._had.pop(_known(move.done), None)

    async def _deliver(self, taken: Taken) -> Move | None:
        self.counts["postfix_emails_polled"] += 1
        envelope, text = taken.envelope, taken.fields[MESSAGE]
        sender = taken.fields[SENDER].decode()
        several = len(envelope.recipients) > 1
        had = self._had.setdefault(_known(taken), set())
        if several:
            had |= await self._queue.noted(taken)
        left = [(number, one) for number, one in enumerate(envelope.recipients) if number not in had]
        follows: list[tuple[str, Fields]] = []
        waits = []
        for at, (number, recipient) in enumerate(left):
            try:
                way = await self._ways.find(envelope)
            except FullError:
                waits.append(recipient)
                continue
            try:
                refusal = await self._hand_over(sender, recipient, text, way)
            except AwayError:
                await self._ways.give_up(way)
                if at == 0:
                    return None
                # Those before got it, and shall not get it again after the next start.
                follows.append(self._left(taken, envelope, [one for dummy, one in left[at:]], taken.stream))
                break
            if refusal is None:
                self.counts["postfix_emails_to_postfix"] += 1
                had.add(number)
                if at < len(left) - 1:  # after the last one the entry goes
                    await self._note(taken, number)
            else:
                follows.append((self._told, {EVENT: self._refused(envelope, recipient, refusal)}))
        if waits:
            follows.append(self._left(taken, envelope, waits, self._waiting))
        LATENCY.labels("postfix").observe(self._now() - envelope.received)
        return Move(taken, follows, noted=several)

    async def _note(self, taken: Taken, number: int) -> None:
        """Note who has it, so that after a death he does not get it again."""
        try:
            await self._queue.note(taken, number)
        except ResponseError as err:  # if Redis is there the others need not wait, nor he get it again
            log.warning("cannot note to whom a message was handed over: %s", err)

    def _left(self, taken: Taken, envelope: Envelope, left: Sequence[str], stream: str) -> tuple[str, Fields]:
        return stream, {**taken.fields, ENVELOPE: dataclasses.replace(envelope, recipients=tuple(left)).dumps()}

    async def _hand_over(self, sender: str, recipient: str, text: bytes, way: Way) -> str | None:
        pause = 0.1
        while True:
            lane = await self._lanes.get()
            try:
                return await lane.send(sender, recipient, text, way.helo)
            except AwayError as err:
                if self._stopping():
                    raise
                log.warning("%s; the next attempt is in %.1f s", err, pause)
            finally:
                self._lanes.put_nowait(lane)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _refused(self, envelope: Envelope, recipient: str, refusal: str) -> bytes:
        return events.bounce(events.HARD, uuid=envelope.uuid, now=self._now(), reason=refusal, rcpt=recipient)


def _known(taken: Taken) -> tuple[int, bytes, bytes]:
    """What an entry is known by. After a failover an id may be used again, but not for the same message."""
    return taken.partition, taken.id, taken.fields[ENVELOPE]


class Waiting:
    """What waits for another day goes back to the stream ``outgoing`` when it has come, and at each start."""

    def __init__(
        self, queue: Queue, *, waiting: str, outgoing: str, consumer: str, today: Callable[[], object]
    ) -> None:
        self._queue, self._waiting, self._outgoing = queue, waiting, outgoing
        self._consumer, self._today = consumer, today

    async def run(self, stop: asyncio.Event) -> None:
        """See to it until told to stop."""
        day: object = None
        while not stop.is_set():
            try:
                if (now := self._today()) != day:
                    await self.back()
                    day = now
            except (RedisError, OSError, TimeoutError) as err:
                log.warning("mail that waits for its day cannot be looked after for now: %s", err)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), LOOK)

    async def back(self) -> None:
        """Take all that waits now, and what a process that died had taken. Raises RedisError."""
        queue, stream, me = self._queue, self._waiting, self._consumer
        await queue.prepare([stream])
        for partition in range(queue.partitions):
            left = await queue.redis.xlen(stream_key(partition, stream))  # more may come, which has had its turn
            while left > 0:
                found = (
                    await queue.own(partition, [stream], me, count=BACK)
                    or await queue.claim(partition, stream, me, idle=LOOK, count=BACK)
                    or await queue.take(partition, [stream], me, count=BACK, block=0.001)
                )
                if not found:
                    break
                await queue.move([Move(one, [(self._outgoing, one.fields)]) for one in found])
                left -= len(found)
