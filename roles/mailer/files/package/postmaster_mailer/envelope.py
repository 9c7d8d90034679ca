# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: what is known of a message beside its text. It travels next to the message, never in its header."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from .message import PARSED_LIMIT, Message, addresses
from .returnpath import UUID

PRIMARY, DEFAULT = 0, 1
# Fields by which an application speaks to the mailer; they leave it no more.
OURS = frozenset({b"x-priority", b"x-uuid", b"x-stream-id"})


class EnvelopeError(Exception):
    """A message lacks what the mailer must know of it; the text names the field and what it should hold."""


@dataclass(frozen=True)
class Envelope:
    """Who gets a message, and under which names its outcome is told. ``received`` is in seconds since the epoch.

    ``author`` is the address in the field From, ``domain`` its domain.
    """

    uuid: str
    recipients: tuple[str, ...]
    priority: int = DEFAULT
    stream_id: str | None = None
    login: str = ""
    received: float = 0.0
    domain: str = ""
    author: str = ""

    def dumps(self) -> bytes:
        """As it is kept."""
        return json.dumps(vars(self), separators=(",", ":")).encode()

    @classmethod
    def loads(cls, data: bytes) -> Envelope:
        """As :meth:`dumps` made it."""
        fields = json.loads(data)
        return cls(**{**fields, "recipients": tuple(fields["recipients"])})


def read(message: Message, recipients: tuple[str, ...], *, login: str, received: float, from_header: bool) -> Envelope:
    """The envelope of a message that was handed in. Raises :class:`EnvelopeError`.

    ``from_header`` takes the recipients from To and Cc, as Inboxbooster-Mailer did, instead of those that were named.
    """
    uuid = _text(message, b"x-uuid")
    if not uuid or not UUID.fullmatch(uuid):
        raise EnvelopeError("X-Uuid is missing or wrong: give each message one, 1 to 40 of a-z and 0-9")
    priority = _text(message, b"x-priority") or str(DEFAULT)
    if priority not in ("0", "1"):
        raise EnvelopeError("X-Priority is 0 for mail that goes first, else 1")
    if from_header:
        recipients = tuple(dict.fromkeys(one for field in (b"to", b"cc") for one in _named(message, field)))
    if not recipients:
        raise EnvelopeError("there is no recipient: name one in To or Cc" if from_header else "there is no recipient")
    stream_id = _text(message, b"x-stream-id") or None
    author = author_of(message)
    return Envelope(uuid, recipients, int(priority), stream_id, login, received, domain_of(author), author)


def author_of(message: Message) -> str:
    """The address of the first author; empty where there is none."""
    return _writable(next(iter(addresses(message.get(b"from") or b"")), ""))


def domain_of(address: str) -> str:
    """Its domain in lower case; empty where it has none."""
    return address.rpartition("@")[2].lower()


def _writable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _named(message: Message, field: bytes) -> Iterator[str]:
    for value in message.all(field):
        found = addresses(value)
        if not found and len(value) > PARSED_LIMIT:
            raise EnvelopeError(f"{field.decode().title()} is too long to be read: write plain addresses with commas")
        for one in found:
            if _writable(one) != one:
                raise EnvelopeError(
                    f"{field.decode().title()} has an address that is no UTF-8: write it in ASCII or UTF-8"
                )
            yield one


def _text(message: Message, name: bytes) -> str:
    found = list(message.all(name))
    if len(found) > 1:
        raise EnvelopeError(f"{name.decode().title()} stands in the header more than once")
    return found[0].decode("ascii", "replace") if found else ""
