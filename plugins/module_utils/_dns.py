# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: DNS names and texts, and the errors of a DNS query. Private to this collection.

Sources: RFC 1035 sections 2.3.4 (limits), 3.3 (character-strings) and 5.1 (presentation form),
RFC 8553 (names with underscores), RFC 5890 (labels of international names).
"""

from __future__ import annotations

import re
from typing import Protocol

LABEL_LIMIT = 63  # octets in one label, RFC 1035 section 2.3.4
NAME_LIMIT = 253  # characters of a name without its final dot: 255 octets on the wire

_LABEL = re.compile(r"(?!-)[a-z0-9_-]+(?<!-)", re.IGNORECASE)
_TOKEN = re.compile(rb'"((?:[^"\\]|\\.)*)"|((?:[^"\\\s;]|\\.)+)', re.DOTALL)
_ESCAPE = re.compile(rb"\\([0-9]{3}|.)", re.DOTALL)


class DnsError(Exception):
    """A DNS question or update failed; the message is one sentence with its remedy."""


class DnsTimeout(DnsError):
    """No usable answer: none came in time, or the server says that it failed (SERVFAIL, REFUSED)."""


class Resolver(Protocol):
    """The port through which evaluators ask DNS."""

    def query(self, name: str, rdtype: str) -> list[str]:
        """Presentation texts of the records, names with their final dot, TXT unquoted and joined.

        ``[]`` where there are none, whether or not the name exists. Raises :class:`DnsTimeout`.
        """


class DomainError(ValueError):
    """A text is no DNS name; the message names the text and the rule."""


class TextError(ValueError):
    """The presentation form of a TXT record cannot be read."""


def check_name(text: str, *, what: str = "name") -> str:
    """``text`` as a name in lower case with its final dot, or :class:`DomainError` saying what is wrong."""
    bare = text[:-1] if text.endswith(".") else text
    if not bare:
        raise DomainError(f"{what} {text!r} is empty; write a domain name such as example.org")
    if not bare.isascii():
        raise DomainError(f"{what} {text!r} is not ASCII; write international names in their xn-- form (RFC 5890)")
    if len(bare) > NAME_LIMIT:
        raise DomainError(f"{what} {text!r} is longer than {NAME_LIMIT} characters (RFC 1035 section 2.3.4)")
    for position, label in enumerate(bare.split(".")):
        if label == "*" and position == 0:
            continue
        if not _LABEL.fullmatch(label) or len(label) > LABEL_LIMIT:
            reason = "an empty label" if not label else f"the label {label!r}, which no host or mail name may have"
            raise DomainError(f"{what} {text!r} has {reason} (RFC 1035 section 2.3.1)")
    return bare.lower() + "."


def exists(name: str, resolver: Resolver) -> bool:
    """Whether ``name`` exists in the sense of RFC 8020: no server answers NXDOMAIN.

    A resolver that has a method ``exists`` is asked by it. Of another, whose empty answers may mean both,
    the common types are asked for: a name without any of them counts as one that does not exist.
    """
    known = getattr(resolver, "exists", None)
    if known is not None:
        return bool(known(name))
    return any(resolver.query(name, rdtype) for rdtype in ("A", "AAAA", "MX", "TXT", "NS", "SOA"))


def is_under(name: str, zone: str) -> bool:
    """Whether ``name`` is ``zone`` or lies below it; both absolute and in lower case."""
    return zone == "." or name == zone or name.endswith("." + zone)


def _unescape(match: re.Match[bytes]) -> bytes:
    code = match.group(1)
    if len(code) == 1:
        return code
    if int(code) > 255:
        raise TextError(f"\\{code.decode()} is no octet (RFC 1035 section 5.1)")
    return bytes([int(code)])


def txt_strings(rdata: str) -> list[bytes]:
    """The character-strings of a TXT record's presentation form, unquoted, in order."""
    data = rdata.encode("utf-8", "surrogatepass").strip()
    strings: list[bytes] = []
    position = 0
    while position < len(data):
        match = _TOKEN.match(data, position)
        if match is None:
            raise TextError(f"the TXT data {rdata!r} has a stray quote or backslash (RFC 1035 section 5.1)")
        strings.append(_ESCAPE.sub(_unescape, match.group(1) if match.group(1) is not None else match.group(2)))
        position = match.end()
        while position < len(data) and data[position : position + 1].isspace():
            position += 1
    return strings


def txt_value(rdata: str) -> bytes:
    """The content of a TXT record: its strings joined without a gap (RFC 7208 section 3.3)."""
    return b"".join(txt_strings(rdata))


def plain_rdata(rdtype: str, rdata: str) -> str:
    """A record's data as a provider's form takes it: TXT unquoted and in one piece, unless it cannot be shown so."""
    if rdtype != "TXT":
        return rdata
    try:
        text = txt_value(rdata).decode("ascii")
    except (TextError, UnicodeError):
        return rdata
    return text if text.isprintable() else rdata
