# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads messages from a mailbox by IMAP, always over TLS, and leaves them as they are (RFC 3501). Private."""

from __future__ import annotations

import imaplib
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date

MESSAGE_LIMIT = 32 * 1024 * 1024  # octets that are read of one message
COUNT_LIMIT = 100_000  # messages in one call
STARTTLS_PORT = 143
_PASSING = ("[UNAVAILABLE]", "[INUSE]", "[LIMIT]", "[SERVERBUG]")  # RFC 5530 section 3
_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


class ImapError(Exception):
    """The mailbox cannot be read; the message names the server and what it said."""


class ImapUnavailable(ImapError):
    """The same, for a reason that may pass by itself: no connection, or a server that is busy."""


def since(day: date) -> str:
    """Criterion: messages that came on ``day`` or later. Month names as RFC 3501 has them, whatever the locale."""
    return f"SINCE {day.day:02}-{_MONTHS[day.month - 1]}-{day.year}"


def header(name: str, value: str) -> str:
    """Criterion: messages with ``value`` in a header field."""
    return f"HEADER {name} {_quoted(value)}"


@dataclass(frozen=True)
class Mailbox:
    """A folder at an IMAP server. Port 143 means STARTTLS, any other TLS from the start; timeout in seconds."""

    host: str
    username: str
    password: str
    port: int = 993
    folder: str = "INBOX"
    ca_path: str = ""
    timeout: float = 30

    def messages(self, criteria: str = "ALL") -> Iterator[tuple[str, bytes]]:
        """Name and content of each message that fits. Raises :class:`ImapError`."""
        with self._session() as server:
            for number in self._numbers(server, criteria):
                yield self._fetch(server, number)

    @contextmanager
    def _session(self) -> Iterator[imaplib.IMAP4]:
        try:
            with self._open() as server:
                server.login(self.username, self.password)
                code, said = server.select(_quoted(self.folder), readonly=True)
                if code != "OK":
                    raise ImapError(f"{self.host} has no folder {self.folder!r}: {_words(said)}")
                yield server
        except (imaplib.IMAP4.error, OSError) as err:
            reason = (err.strerror if isinstance(err, OSError) else "") or str(err)
            kind = ImapUnavailable if _may_pass(err) else ImapError
            raise kind(f"IMAP at {self.host} port {self.port}: {reason}") from None

    def _open(self) -> imaplib.IMAP4:
        context = ssl.create_default_context(cafile=self.ca_path or None)
        if self.port != STARTTLS_PORT:
            return imaplib.IMAP4_SSL(self.host, self.port, ssl_context=context, timeout=self.timeout)
        server = imaplib.IMAP4(self.host, self.port, timeout=self.timeout)
        server.starttls(context)  # no password without TLS
        return server

    def _numbers(self, server: imaplib.IMAP4, criteria: str) -> list[str]:
        code, said = server.search(None, criteria)
        if code != "OK":
            raise ImapError(f"{self.host} does not search {self.folder!r}: {_words(said)}")
        numbers = (said[0] or b"").split()
        if len(numbers) > COUNT_LIMIT:
            raise ImapError(f"{self.folder!r} at {self.host} holds {len(numbers)} messages: read those of fewer days")
        return [number.decode("ascii") for number in numbers]

    def _fetch(self, server: imaplib.IMAP4, number: str) -> tuple[str, bytes]:
        name = f"message {number} of {self.folder}"
        code, said = server.fetch(number, f"(BODY.PEEK[]<0.{MESSAGE_LIMIT + 1}>)")
        content = next((part[1] for part in said if isinstance(part, tuple)), None)
        if code != "OK" or not isinstance(content, bytes):
            raise ImapError(f"{name} at {self.host} cannot be fetched: {_words(said)}")
        return name, content


def _may_pass(err: Exception) -> bool:
    """Whether trying again later may help: not with a wrong name, certificate or password."""
    if isinstance(err, socket.gaierror):
        return err.errno == socket.EAI_AGAIN
    if isinstance(err, OSError):
        return not isinstance(err, ssl.SSLCertVerificationError)
    return isinstance(err, imaplib.IMAP4.abort) or any(code in str(err) for code in _PASSING)


def _quoted(text: str) -> str:
    """A quoted string (RFC 3501 section 4.3). Control characters would end the command."""
    if not text.isprintable() or not text.isascii():
        raise ImapError(f"{text!r} holds characters that IMAP does not take")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _words(said: Sequence[object]) -> str:
    first = said[0] if said else b""
    return first.decode("utf-8", "replace") if isinstance(first, bytes) else str(first)
