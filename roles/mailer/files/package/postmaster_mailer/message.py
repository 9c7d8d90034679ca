# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Value: a message as bytes, whose header fields can be read, taken out and added, and are else left as they came.

Python's email package writes a message anew from what it understood of it. Here nothing is: what a person wrote and
what is signed are the same bytes (RFC 5322; RFC 6376 section 5.3).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from email.errors import HeaderParseError
from email.policy import HTTP

LINE_LIMIT = 998  # RFC 5322 section 2.1.1, CRLF not counted
_NAME = re.compile(rb"([!-9;-~]+)[ \t]*:")  # RFC 5322 section 2.2; white space before the colon is its section 4.5.8
_FOLD = re.compile(rb"\r\n(?=[ \t])")
_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
# Name and address as nearly all mail has them. The parser for the others takes a hundred times as long, and for a long
# list far more.
_PLAIN = re.compile(
    rb"""(?:(?:[\w \t.'-]*|[ \t]*"[^"\\]*"[ \t]*)<({0})>|[ \t]*({0}))[ \t]*(?:,|$)""".replace(
        b"{0}", rb"[\w.!#$%&'*+/=?^`{|}~-]+@[\w.-]+"
    ),
    re.ASCII,
)
PARSED_LIMIT = 16_384  # bytes of an address field that the slow parser is given


class MessageError(Exception):
    """These bytes are no message that can be sent; the text says what is wrong with them, and where."""


class Message:
    """A message: its fields in order, each as (name in lower case, raw bytes with the final CRLF), and its body."""

    __slots__ = ("body", "fields")

    def __init__(self, fields: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        self.fields = list(fields)
        self.body = body

    @classmethod
    def parse(cls, raw: bytes) -> Message:
        """Read a message whose lines end in CRLF. Raises :class:`MessageError`."""
        head, gap, body = raw.partition(b"\r\n\r\n")
        if not gap:
            head, body = raw.removesuffix(b"\r\n"), b""
        fields: list[tuple[bytes, list[bytes]]] = []
        for number, line in enumerate(head.split(b"\r\n"), 1):
            if line[:1] in (b" ", b"\t") and fields:
                fields[-1][1].append(line)
            elif found := _NAME.match(line):
                fields.append((found[1].lower(), [line]))
            else:
                shown = line[:40].decode("ascii", "backslashreplace")
                raise MessageError(f"line {number} of the header is no field: {shown!r} has no name and colon")
        return cls([(name, b"\r\n".join([*lines, b""])) for name, lines in fields], body)

    def __bytes__(self) -> bytes:
        return b"".join([*(raw for dummy, raw in self.fields), b"\r\n", self.body])

    def all(self, name: bytes) -> Iterator[bytes]:
        """The values of the fields of this name (lower case), unfolded, from the top."""
        return (_value(raw) for known, raw in self.fields if known == name)

    def get(self, name: bytes) -> bytes | None:
        """The value of the first field of this name, unfolded; None where there is none."""
        return next(self.all(name), None)

    def remove(self, names: frozenset[bytes]) -> None:
        """Take out all fields of these names (lower case)."""
        self.fields = [field for field in self.fields if field[0] not in names]

    def add(self, name: str, value: str) -> None:
        """Add a field at the end, unless a line of it would be too long or hold what no header may."""
        text = f"{name}: {value}\r\n"
        if "\n" in text[:-2].replace("\r\n ", "") or "\r" in text[:-2].replace("\r\n ", "") or "\0" in text:
            raise MessageError(f"the value of {name} has a line break or a NUL in it, which would make other fields")
        if max(map(len, text.encode().split(b"\r\n"))) > LINE_LIMIT:
            raise MessageError(f"the value of {name} is longer than a line may be ({LINE_LIMIT} bytes)")
        self.fields.append((name.lower().encode(), text.encode()))

    def put_first(self, raw: bytes) -> None:
        """Put a whole field, CRLF and all, above the others."""
        self.fields.insert(0, (raw.partition(b":")[0].lower(), raw))


def _value(raw: bytes) -> bytes:
    return _FOLD.sub(b"", raw.partition(b":")[2]).strip()


def addresses(value: bytes) -> list[str]:
    """The plain addresses of a From, To or Cc field, groups opened; what is none is left out.

    A field of more than ``PARSED_LIMIT`` bytes that is no plain list has none.
    """
    plain, at = [], 0
    while found := _PLAIN.match(value, at):
        plain.append((found[1] or found[2]).decode())
        at = found.end()
        if at == len(value):
            return plain
    if len(value) > PARSED_LIMIT:
        return []
    try:
        parsed = HTTP.header_factory("to", value.decode("utf-8", "surrogateescape"))
        return [one.addr_spec for one in parsed.addresses if one.username and one.domain]
    except (HeaderParseError, IndexError, AttributeError, ValueError):  # what the parser is known to trip over
        return []


def bare_line_end(raw: bytes) -> int | None:
    """Where a CR without its LF, or an LF without its CR, stands first; None where there is none."""
    if _paired(raw):
        return None
    found = _BARE.search(raw)
    return found.start() if found else None


def long_line(raw: bytes) -> int | None:
    """The number of the first line that is longer than lines may be; None where there is none."""
    lines = raw.split(b"\r\n")
    if max(map(len, lines)) <= LINE_LIMIT:
        return None
    return next(number for number, line in enumerate(lines, 1) if len(line) > LINE_LIMIT)


def with_crlf(raw: bytes) -> bytes:
    """The same with every line end, whatever it was, as CRLF."""
    if _paired(raw):
        return raw
    return raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")


def _paired(raw: bytes) -> bool:
    """Whether every CR has its LF. This runs some hundred times as fast as the search, and six times as counting."""
    rest = raw.replace(b"\r\n", b"")
    return b"\n" not in rest and b"\r" not in rest
