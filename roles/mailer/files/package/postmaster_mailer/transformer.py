# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stage: from the messages that were handed in to those that go out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from . import events
from .envelope import Envelope
from .metrics import LATENCY
from .queue import ENVELOPE, EVENT, MESSAGE, SENDER, Fields, Move, Queue, Taken, stream_key
from .suppression import SAID, Entry, Suppression
from .transform import Domain, RefusedError, Style, transform

log = logging.getLogger(__name__)

# A message to more goes on as several entries: several connections, also of several hosts, hand it over.
RECIPIENTS = 20
PARTS = 1 << 26  # bytes of all these entries together; one of a large message has more recipients


# In one step: a message goes back to where it came from.
_RETRY = """
local entry = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[2], 'COUNT', 1)[1]
if not entry then return {'', 0} end
local envelope = {}
for i = 1, #entry[2], 2 do
  if entry[2][i] == 'e' then envelope = cjson.decode(entry[2][i + 1]) end
end
if ARGV[3] ~= '' and envelope.uuid ~= ARGV[3] then return {entry[1], 0} end
redis.call('XDEL', KEYS[1], entry[1])
redis.call('XADD', KEYS[envelope.priority == 0 and 2 or 3], '*', unpack(entry[2]))
return {entry[1], 1}
"""


def dead_of(outgoing: str) -> str:
    """The stream of messages that a fault of the mailer kept from going to ``outgoing``."""
    return f"{outgoing}-dead"


async def retry(queue: Queue, dead: str, primary: str, default: str, *, uuid: str = "") -> int:
    """Have the messages in ``dead`` made ready again, or one of them; how many. Raises RedisError."""
    seconds, micros = await queue.redis.time()
    now = f"{seconds}{micros // 1000:03d}"  # no further: what fails again is not taken twice
    retried = 0
    for number in range(queue.partitions):
        keys = [stream_key(number, stream) for stream in (dead, primary, default)]
        after = b"-"
        while after:
            ((last, moved),) = await queue.call(_RETRY, [[3, *keys, after, now, uuid]])
            retried += moved
            after = last and b"(" + last
    return retried


class Transformer:
    """Makes messages ready and hands them to the stream ``outgoing``; what cannot be sent is told in ``told``.

    Recipients that are suppressed get nothing, which is told, too.
    """

    def __init__(
        self,
        queue: Queue,
        domains: Mapping[str, Domain],
        style: Style,
        *,
        primary: str,
        outgoing: str,
        told: str,
        suppression: Suppression | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._queue, self._domains, self._style = queue, domains, style
        self._suppression = suppression
        self._primary, self._outgoing, self._told, self._now = primary, outgoing, told, now
        self._dead = dead_of(outgoing)
        self.counts = {"transformer_polled_primary": 0, "transformer_polled_default": 0, "transformer_pushed": 0}

    async def work(self, taken: Sequence[Taken]) -> None:
        """Have all of it moved on."""
        envelopes = [one.envelope for one in taken]
        wanted = [(recipient, one.stream_id) for one in envelopes for recipient in one.recipients]
        suppressed = await self._suppression.check(wanted) if self._suppression else {}
        moves = [
            Move(one, list(self._follows(one, envelope, suppressed)))
            for one, envelope in zip(taken, envelopes, strict=True)
        ]
        await self._queue.move(moves)
        for move, envelope in zip(moves, envelopes, strict=True):
            first = move.done.stream == self._primary
            self.counts["transformer_polled_primary" if first else "transformer_polled_default"] += 1
            self.counts["transformer_pushed"] += sum(stream == self._outgoing for stream, dummy in move.follows)
            LATENCY.labels("transformer").observe(self._now() - envelope.received)

    def _follows(
        self, taken: Taken, envelope: Envelope, suppressed: Mapping[tuple[str, str | None], Entry]
    ) -> Iterator[tuple[str, Fields]]:
        left = []
        for recipient in envelope.recipients:
            if (entry := suppressed.get((recipient, envelope.stream_id))) is None:
                left.append(recipient)
            else:
                yield self._told, {EVENT: self._withheld(envelope.uuid, recipient, entry)}
        if not left:
            return
        try:
            outgoing = transform(taken.fields[MESSAGE], envelope, self._domains, self._style, now=self._now)
        except RefusedError as err:
            yield self._told, {EVENT: self._failed(envelope.uuid, str(err))}
            return
        except Exception:
            # A fault of ours. It must neither lose the message nor keep the ones behind it from going on.
            log.exception("the message %s cannot be made ready; it is kept in the stream %s", envelope.uuid, self._dead)
            yield self._dead, taken.fields
            yield self._told, {EVENT: self._failed(envelope.uuid, "a fault of the mailer: its log says more")}
            return
        most = max(1, PARTS // len(outgoing.raw))
        step = max(RECIPIENTS, -(-len(left) // most))
        for at in range(0, len(left), step):
            part = Envelope(**{**vars(envelope), "recipients": tuple(left[at : at + step])})
            yield (
                self._outgoing,
                {ENVELOPE: part.dumps(), MESSAGE: outgoing.raw, SENDER: outgoing.sender.encode()},
            )

    def _failed(self, uuid: str, why: str) -> bytes:
        return events.error(why, service="transformer", uuid=uuid, now=self._now())

    def _withheld(self, uuid: str, recipient: str, entry: Entry) -> bytes:
        return events.bounce(events.HARD, uuid=uuid, now=self._now(), reason=SAID + entry.reason, rcpt=recipient)
