# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way out: one copy after the other goes to the relay, and each is known to have gone before the next one goes.

So a process that is killed leaves one copy in doubt at most, the one on the wire. It is sent again, with the same
Message-ID; none of the others is, and none is left out.
"""

from __future__ import annotations

import logging
import threading
import time
from email.utils import formatdate

from sqlalchemy.exc import SQLAlchemyError

from .config import Config
from .message import Incoming, Outgoing
from .notices import Notices
from .relay import AnswerError, AwayError, Relay
from .secret import Secret
from .store import FAILED, SENT, Copy, Job, Notice, Outcome, Store

log = logging.getLogger(__name__)

BATCH = 100
LOOK = 1.0  # seconds between two looks for copies that are due
FIRST, LONGEST = 60.0, 3600.0  # seconds before a copy is tried again
AWAY = (1.0, 60.0)  # seconds before a relay that is away is tried again


class Fanout:
    """Sends what waits, in a thread of its own. ``wake`` tells it that there is something new."""

    def __init__(self, config: Config, secret: Secret, store: Store, relay: Relay) -> None:
        self._config, self._secret, self._store, self._relay = config, secret, store, relay
        self._notices = Notices(config)
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._known: Job | None = None
        self._outgoing: Outgoing | None = None

    def wake(self) -> None:
        """Look at once."""
        self._wake.set()

    def stop(self) -> None:
        """End after the copy that is on its way."""
        self._stopping.set()
        self._wake.set()

    def run(self) -> None:
        """Send until :meth:`stop`. Raises BusyError: another process does."""
        pause = AWAY[0]
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                found = self.send_due()
            except (AwayError, SQLAlchemyError) as err:
                log.warning("%s; next try in %d s", err, pause)
                self._stopping.wait(pause)
                pause = min(2 * pause, AWAY[1])
                continue
            pause = AWAY[0]
            if not found:
                self._relay.close()
                self._wake.wait(LOOK)
        self._relay.close()

    def send_due(self) -> int:
        """Send a batch of what is due; how many. Raises :class:`AwayError`, BusyError, SQLAlchemyError."""
        copies = self._store.waiting(time.time(), BATCH)
        for number, copy in enumerate(copies):
            if self._stopping.is_set():
                return number
            self._send(copy)
        return len(copies)

    def _send(self, copy: Copy) -> None:
        job = self._job(copy.job)
        try:
            sender, mail = self._mail(job, copy)
        except Exception as err:  # the next one is not to wait for this one for ever
            log.exception("copy %d of mail %d cannot be made", copy.number, job.id)
            self._end(job, copy, FAILED, f"it cannot be made: {err}")
            return
        self._store.still_alone()
        try:
            answer = self._relay.send(sender, copy.recipient, mail)
        except AnswerError as err:
            if err.lasting or time.time() > job.accepted + 3600 * self._config.retry_hours:
                self._end(job, copy, FAILED, err.text)
            else:
                self._store.put_off(copy, err.text, time.time() + min(FIRST * 2**copy.tries, LONGEST))
        else:
            self._end(job, copy, SENT, answer)

    def _end(self, job: Job, copy: Copy, state: str, answer: str) -> None:
        if state == FAILED:
            log.warning("mail %d: %s was refused: %s", job.id, copy.recipient, answer)

        def done(outcome: Outcome) -> list[Notice]:
            log.info("%s %d: %d sent, %d failed", job.kind, job.id, outcome.sent, len(outcome.failed))
            return self._notices.done(job.token, outcome) if job.token else []

        self._store.end(copy, state, answer, time.time(), done)

    def _job(self, number: int) -> Job:
        if self._known is None or self._known.id != number:
            self._known, self._outgoing = self._store.job(number), None
        return self._known

    def _mail(self, job: Job, copy: Copy) -> tuple[str, bytes]:
        """Envelope sender and text."""
        if job.token is None:
            return "", job.raw  # nobody answers a notice
        if self._outgoing is None:
            style = self._config.style(job.token.shown)
            self._outgoing = Outgoing(Incoming.parse(job.raw), style, job.id, formatdate(job.accepted))
        link = ""
        if self._config.http is not None:
            link = f"{self._config.public_url}/unsubscribe/{self._secret.unsubscribe(copy.recipient)}"
        return self._config.bounce_address, self._outgoing.copy(copy.number, copy.recipient, link)
