# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: what the world says of our messages becomes events. Who was told 250 or 200 has said something that is safe.

Whoever has got one message may write what he likes to its answer addresses. So an event names a recipient only if the
message went to him: nobody has others suppressed by a made-up bounce.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from redis.exceptions import RedisError

from . import events
from .answers import DELAYED, Outcome
from .envelope import Envelope
from .queue import EVENT, Queue, QueueError
from .records import Records

OUTCOMES = 20  # of one answer; ours concern one recipient
_TEXT = 500  # characters of what a stranger wrote that go into an event


class Reporter:
    """Puts outcomes into the stream ``told``."""

    def __init__(self, queue: Queue, told: str, *, now: Callable[[], float] = time.time) -> None:
        self._queue, self._told, self._now = queue, told, now
        self._records = Records(queue)

    async def report(self, uuid: str, outcomes: Sequence[Outcome], *, proven: bool, sender: str = "") -> int:
        """Tell of outcomes for a message; how many events that made. Raises :class:`QueueError`.

        ``sender`` says who unsubscribes where a message went to several.
        """
        try:
            envelope = (await self._records.envelopes([uuid])).get(uuid)
            told = dict.fromkeys(
                self._event(one, uuid, envelope, proven, sender) for one in outcomes[:OUTCOMES] if one.kind != DELAYED
            )
            await self._queue.put(self._told, [(uuid, {EVENT: event}) for event in told])
        except (RedisError, OSError, TimeoutError) as err:
            raise QueueError(f"an event for {uuid} cannot be kept: {err}") from err
        return len(told)

    def _event(self, one: Outcome, uuid: str, envelope: Envelope | None, proven: bool, sender: str) -> bytes:
        bounce = one.kind == events.BOUNCE
        recipient = _recipient(one.recipient or (sender if one.kind == events.UNSUBSCRIBE else ""), envelope)
        return events.dumps(
            one.kind,
            uuid=uuid,
            now=self._now(),
            type=one.type if bounce else None,
            reason=one.reason[:_TEXT] if bounce else None,
            ip=one.ip[:45] if bounce else None,
            email=(recipient or one.recipient[:_TEXT] or None) if one.kind == events.SPAM_REPORT else None,
            streamid=envelope.stream_id if envelope else None,
            rcpt=[recipient] if recipient else None,
            unproven=None if proven else True,
        )


def _recipient(named: str, envelope: Envelope | None) -> str | None:
    """The recipient of ours that is meant; the only one is, whatever his server calls him after forwarding."""
    if envelope is None:
        return None
    if len(envelope.recipients) == 1:
        return envelope.recipients[0]
    return next((one for one in envelope.recipients if one.lower() == named.lower()), None)
