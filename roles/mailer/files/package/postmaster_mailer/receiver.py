# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stage: mail of applications comes in, over SMTP or HTTP. Who is told yes, has a message that is safe in the queue."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from .config import Login, QueueNames
from .envelope import PRIMARY, EnvelopeError, read
from .message import LINE_LIMIT, Message, MessageError, bare_line_end, long_line
from .passwords import Passwords, TooManyError
from .queue import Queue, QueueError, UsedError
from .smtp_server import Dialogue

log = logging.getLogger(__name__)


@dataclass
class Counts:
    """What has happened since the start."""

    enqueued: int = 0
    recipients: int = 0
    dropped: int = 0


class RejectedError(Exception):
    """The message can never be taken as it is."""


class ConflictError(RejectedError):
    """Its uuid belongs to another message."""


class ForbiddenError(RejectedError):
    """The login may not send it."""


def domains_of(logins: Iterable[Login]) -> dict[str, frozenset[str]]:
    """For each login that is bound to domains, those that its mail may come from."""
    return {one.username: frozenset(map(str.lower, one.domains)) for one in logins if one.domains is not None}


class Intake:
    """Checks messages and queues them. ``domains`` binds logins; who is not in it may send from any."""

    def __init__(
        self,
        queue: Queue,
        names: QueueNames,
        *,
        from_header: bool = False,
        domains: Mapping[str, frozenset[str]] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._queue, self._names, self._from_header, self._now = queue, names, from_header, now
        self._domains = domains or {}
        self.counts = Counts()

    async def ready(self) -> bool:
        """Whether the queue can be reached."""
        return await self._queue.answers()

    async def take(
        self, raw: bytes, recipients: tuple[str, ...], login: str, *, from_header: bool | None = None
    ) -> str:
        """Queue a message; its uuid. Raises :class:`RejectedError`, and QueueError where another try may help.

        ``from_header`` says where this message's recipients stand, other than the others'.
        """
        if from_header is None:
            from_header = self._from_header
        try:
            if (at := bare_line_end(raw)) is not None:
                raise MessageError(f"a line end at byte {at} is CR or LF alone: lines end in CRLF")
            if b"\0" in raw:
                raise MessageError("there is a NUL in it: encode what is no text as base64")
            raw += b"" if raw.endswith(b"\r\n") else b"\r\n"
            # Postfix would break it in two, and with it the signature.
            if (number := long_line(raw)) is not None:
                raise MessageError(f"line {number} has more than {LINE_LIMIT} bytes: encode the text it is in")
            message = Message.parse(raw)
            envelope = read(message, recipients, login=login, received=self._now(), from_header=from_header)
            self._permit(login, envelope.domain)
            stream = self._names.primary_queue if envelope.priority == PRIMARY else self._names.default_queue
            new = await self._queue.add(stream, envelope, raw)
        except (MessageError, EnvelopeError, UsedError) as err:
            self.counts.dropped += 1
            raise (ConflictError if isinstance(err, UsedError) else RejectedError)(str(err)) from err
        except ForbiddenError:
            self.counts.dropped += 1
            raise
        if new:
            self.counts.enqueued += 1
            self.counts.recipients += len(envelope.recipients)
        return envelope.uuid

    def _permit(self, login: str, domain: str) -> None:
        allowed = self._domains.get(login)
        if allowed is not None and domain not in allowed:
            here = f"the domain {domain}" if domain else "a field From without an address"
            names = ", ".join(sorted(allowed)) or "none"
            raise ForbiddenError(f"the login {login} may not send from {here}: its domains are {names}")


class SmtpTaker:
    """What the SMTP receiver says."""

    def __init__(self, intake: Intake, passwords: Passwords) -> None:
        self._intake, self._passwords = intake, passwords

    def mail(self, dialogue: Dialogue, sender: str) -> str:
        """Only who has logged in may send."""
        if not dialogue.tls:
            return "530 5.7.0 start TLS first"
        return "250 2.1.0 fine" if dialogue.login else "530 5.7.0 log in first"

    def rcpt(self, dialogue: Dialogue, recipient: str) -> str:
        """Any recipient will do."""
        return "250 2.1.5 fine"

    async def login(self, dialogue: Dialogue, user: str, password: str) -> str | None:
        """Check a password."""
        try:
            if await self._passwords.right(user, password, dialogue.peer):
                return None
        except TooManyError as err:
            log.warning("%s", err)
            return "454 4.7.0 too many wrong passwords, try again in a minute"
        log.warning("a wrong password from %s", dialogue.peer)
        return "535 5.7.8 name or password is wrong"

    async def take(self, dialogue: Dialogue, raw: bytes) -> str:
        """Queue a message."""
        try:
            return f"250 2.0.0 {await self._intake.take(raw, tuple(dialogue.recipients), dialogue.login)} is queued"
        except ForbiddenError as err:
            return f"550 5.7.1 {_in_a_line(str(err))}"
        except RejectedError as err:
            return f"550 5.6.0 {err}"
        except QueueError as err:
            log.error("a message was put off: %s", err)
            return "451 4.3.0 the queue does not take it now, try again later"


def _in_a_line(text: str) -> str:
    """A text that a reply can hold: a login's name or a domain may have been written in any letters."""
    return "".join(one if one.isprintable() else "?" for one in text)[:400]
