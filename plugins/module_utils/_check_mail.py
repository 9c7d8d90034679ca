# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Value: a message as a receiver stored it, read for a check and never changed. Private, pure.

Sources: RFC 5322 (format), RFC 5321 section 4.4 (Received), RFC 6376 section 3.5 (DKIM-Signature).
"""

from __future__ import annotations

import datetime
import email.utils
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

MESSAGE_LIMIT = 32 * 1024 * 1024  # octets that are read
HEADER_LIMIT = 1000  # header fields that are looked at
FIELD_LIMIT = 10_000  # octets of one field that are looked at where parts of it are searched

_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:(.*)", re.DOTALL)
_FOLD = re.compile(rb"\r?\n(?=[ \t])")
# The last address in brackets or parentheses of the clause "from": what the server itself saw.
_CLIENT = re.compile(r"\[(?:IPv6:)?([0-9A-Fa-f.:]+)\]", re.IGNORECASE)
# SMTP, ESMTP, ESMTPA, UTF8SMTP: without the letter S at the end that TLS adds (RFC 3848, RFC 6531 section 4.3).
_PROTOCOL = re.compile(r"\swith\s+(?:E|UTF8)?SMTP(S?)A?\b", re.IGNORECASE)
_TLS = re.compile(r"\b(?:using|version[=:]|cipher[=:])\s*TLS", re.IGNORECASE)
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_COMMENT = re.compile(r"\([^()]*\)")
_ANGLE = re.compile(r"<([^<>]*)>")
_MAILBOX_DOMAIN = re.compile(r"@([^@\s<>\"]+?)\.?$")


def tags(value: str) -> dict[str, str]:
    """The tags of a DKIM-Signature or ARC header (RFC 6376 section 3.2), white space removed; of two the first."""
    found: dict[str, str] = {}
    for part in value.split(";"):
        name, equals, content = part.partition("=")
        if equals:
            found.setdefault(name.strip().lower(), "".join(content.split()))
    return found


def moment(text: str) -> datetime.datetime | None:
    """The time that a Date or Received field holds (RFC 5322 section 3.3), in UTC where it names no zone."""
    try:
        found = email.utils.parsedate_to_datetime(text.strip()[:200])
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)


@dataclass(frozen=True)
class Mail:
    """A message, ``raw`` as it lies in a file; ``path`` names it to people. Line ends may be LF or CR LF."""

    raw: bytes
    path: str = "the message"

    @cached_property
    def _split(self) -> tuple[bytes, bytes]:
        match = re.search(rb"\r?\n\r?\n", self.raw)
        return (self.raw[: match.start()], self.raw[match.end() :]) if match else (self.raw, b"")

    @property
    def head(self) -> bytes:
        """The header as it is written."""
        return self._split[0]

    @property
    def body(self) -> bytes:
        """What follows the first empty line."""
        return self._split[1]

    @cached_property
    def fields(self) -> list[tuple[str, str]]:
        """Names in lower case and values, unfolded, in their order; octets as latin-1."""
        found = []
        for line in re.split(rb"\r?\n", _FOLD.sub(b"", self.head))[:HEADER_LIMIT]:
            match = _FIELD.match(line)
            if match:
                found.append((match.group(1).decode("ascii").lower(), match.group(2).decode("latin-1").strip()))
        return found

    def all(self, name: str) -> list[str]:
        """The values of all fields of a name, the topmost first."""
        return [value for field, value in self.fields if field == name.lower()]

    def first(self, name: str) -> str:
        """The topmost field of a name, empty where there is none."""
        return next(iter(self.all(name)), "")

    @property
    def from_domain(self) -> str:
        """The domain of the one address in From, in lower case; empty where that cannot be told."""
        # The standard library's parser of addresses recurses as deep as a stranger wants.
        text = _COMMENT.sub(" ", _QUOTED.sub('""', self.first("from")[:FIELD_LIMIT]))
        angle = _ANGLE.search(text)
        address = angle.group(1) if angle else text.partition(",")[0]
        match = _MAILBOX_DOMAIN.search(address.strip())
        return match.group(1).lower() if match else ""

    @property
    def envelope_sender(self) -> str | None:
        """What Return-Path holds, empty for the null sender, None without that field."""
        path = self.first("return-path")
        return path.strip("<> ") if path else None

    @property
    def client(self) -> str:
        """The address that the topmost Received field was written for; empty where it holds none."""
        before = re.split(r"\sby\s", self.first("received"), maxsplit=1)[0]
        for text in reversed(_CLIENT.findall(before)):
            try:
                return str(ipaddress.ip_address(text))
            except ValueError:
                continue
        return ""

    @property
    def arrived(self) -> datetime.datetime | None:
        """When the last server took it, by the topmost Received field; None where that tells no time."""
        return moment(self.first("received").rpartition(";")[2])

    @property
    def clear(self) -> bool:
        """Whether the topmost Received field says that the message came by SMTP without TLS (RFC 3848)."""
        text = self.first("received")[:FIELD_LIMIT]
        match = _PROTOCOL.search(_QUOTED.sub('""', text))
        return match is not None and not match.group(1) and not _TLS.search(text)

    @property
    def helo(self) -> str:
        """The name that the client of the topmost Received field gave."""
        words = self.first("received").split()
        return words[1] if len(words) > 1 and words[0].lower() == "from" else ""

    @property
    def signatures(self) -> list[Mapping[str, str]]:
        """The tags of all DKIM signatures, the topmost first."""
        return [tags(value) for value in self.all("dkim-signature")]
