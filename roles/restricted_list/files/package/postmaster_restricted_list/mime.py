# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: where the parts of a message are (RFC 2046), as places in its bytes.

Nothing is ever printed anew from what was parsed: a change replaces a stretch of bytes, and all others stay.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.errors import MultipartInvariantViolationDefect
from email.message import Message
from email.parser import BytesHeaderParser

DEPTH = 50  # of parts within parts
PARTS = 2000
HEADERS = BytesHeaderParser()
_PLAIN_CODES = ("", "7bit", "8bit", "binary")
_HEADER_END = re.compile(rb"\r\n\r\n")


class MimeError(ValueError):
    """A message that nobody should take apart; the text says why."""


@dataclass(frozen=True)
class Edit:
    """Bytes to put in the place of raw[start:end]."""

    start: int
    end: int
    instead: bytes = b""


@dataclass(frozen=True)
class Part:
    """An entity: its header is raw[start:body], with the empty line, and its body raw[body:end].

    ``opening`` is where the delimiter before it begins, ``closing`` where the next one does. ``last`` is where the
    delimiter that ends the children of this one begins; None without one.
    """

    start: int
    body: int
    end: int
    fields: Message
    children: tuple[Part, ...] = ()
    opening: int = 0
    closing: int = 0
    last: int | None = None

    @property
    def kind(self) -> str:
        """Its media type, such as text/plain, in lower case."""
        return self.fields.get_content_type()

    def walk(self) -> Iterator[Part]:
        """It and all within it."""
        yield self
        for child in self.children:
            yield from child.walk()


def parse(raw: bytes) -> Part:
    """The tree of a message whose lines end in CRLF. Raises :class:`MimeError`."""
    found = _entity(raw, 0, len(raw), 0)
    if sum(1 for dummy in found.walk()) > PARTS:
        raise MimeError(f"it has more than {PARTS} parts")
    return found


def _entity(raw: bytes, start: int, end: int, depth: int, opening: int = 0, closing: int = 0) -> Part:
    if depth > DEPTH:
        raise MimeError(f"its parts lie more than {DEPTH} deep in each other")
    body = body_of(raw, start, end)
    fields: Message = HEADERS.parsebytes(raw[start:body])
    boundary = fields.get_boundary("") if fields.get_content_maintype() == "multipart" else ""
    if not boundary or not boundary.isascii():
        return Part(start, body, end, fields, (), opening, closing)
    # The CRLF before a delimiter belongs to it; that before the first one may be the end of the header.
    delimiter = re.compile(rb"\r\n--%s(--)?[ \t]*(?=\r\n|\Z)" % re.escape(boundary.encode("ascii")))
    marks = []
    last = None
    for mark in delimiter.finditer(raw, max(body - 2, 0), end):
        if mark[1]:
            last = mark.start()
            break
        marks.append(mark)
    if not marks:
        return Part(start, body, end, fields, (), opening, closing)
    ends = [mark.start() for mark in marks[1:]] + [end if last is None else last]
    children = tuple(
        _entity(raw, mark.end() + 2, stop, depth + 1, mark.start(), stop)
        for mark, stop in zip(marks, ends, strict=True)
        if mark.end() + 2 <= stop
    )
    return Part(start, body, end, fields, children, opening, closing, last)


def is_broken(fields: Message) -> bool:
    """Whether a header cannot be read as it stands."""
    # Python before 3.11.4 misses the parts of a multipart of which it was given the header alone.
    return any(not isinstance(one, MultipartInvariantViolationDefect) for one in fields.defects)


def body_of(raw: bytes, start: int = 0, end: int | None = None) -> int:
    """Where the body of an entity begins."""
    end = len(raw) if end is None else end
    if raw.startswith(b"\r\n", start, end):
        return start + 2
    found = _HEADER_END.search(raw, start, end)
    return found.end() if found else end


def decoded(raw: bytes, part: Part) -> bytes | None:
    """A body without its transfer encoding; None where that cannot be undone."""
    code = str(part.fields.get("content-transfer-encoding", "")).strip().lower()
    body = raw[part.body : part.end]
    try:
        if code == "base64":
            return binascii.a2b_base64(body)
        if code == "quoted-printable":
            return binascii.a2b_qp(body)
    except ValueError:
        return None
    return body if code in _PLAIN_CODES else None


def edited(raw: bytes, edits: Iterable[Edit]) -> bytes:
    """The bytes after changes that do not overlap."""
    pieces, at = [], 0
    for edit in sorted(edits, key=lambda one: (one.start, one.end)):
        pieces += [raw[at : edit.start], edit.instead]
        at = edit.end
    return b"".join([*pieces, raw[at:]])


def lines(fields: Message, *, only: str = "") -> bytes:
    """A header as bytes, without the empty line; ``only`` the fields whose names begin so."""
    found = [(name, value) for name, value in fields.raw_items() if name.lower().startswith(only)]
    return b"".join(f"{name}: {value}\r\n".encode("ascii", "surrogateescape") for name, value in found)
