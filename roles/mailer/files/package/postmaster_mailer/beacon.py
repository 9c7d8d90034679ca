# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan: a picture at the end of an HTML text that tells when it is read, also where the text is encoded.

Only the one part changes, and only its bytes: the rest of the message stays as it came.
"""

from __future__ import annotations

import base64
import binascii
import html
import itertools
import quopri
import re

from .message import Message, MessageError

DEPTH = 10  # parts within parts
_END = re.compile(rb"</body\s*>", re.IGNORECASE)
_BOUNDARY = re.compile(rb"""boundary\s*=\s*(?:"([^"]{1,70})"|([^\s;"]{1,70}))""", re.IGNORECASE)


def put(message: Message, url: str) -> None:
    """Put the picture into the first HTML part that is no attachment; a message without one stays as it is."""
    body = _within(message, message.body, url, DEPTH)
    if body is not None:
        message.body = body


def _within(message: Message, body: bytes, url: str, depth: int) -> bytes | None:
    """The body with the picture; None where it has no place for it."""
    kind = (message.get(b"content-type") or b"text/plain").lower()
    if kind.startswith(b"multipart/") and not kind.startswith(b"multipart/signed") and depth:
        found = _BOUNDARY.search(message.get(b"content-type") or b"")
        return _among_parts(body, found[1] or found[2], url, depth) if found else None
    attached = (message.get(b"content-disposition") or b"").lower().startswith(b"attachment")
    if not kind.startswith(b"text/html") or attached:
        return None
    encoding = (message.get(b"content-transfer-encoding") or b"7bit").lower()
    return _in_text(body, encoding, f'<img src="{html.escape(url)}" width="1" height="1" alt="">'.encode())


def _among_parts(body: bytes, boundary: bytes, url: str, depth: int) -> bytes | None:
    delimiter = re.compile(rb"(?:\A|\r\n)--" + re.escape(boundary) + rb"(?:--)?[ \t]*(?=\r\n|\Z)")
    marks = list(delimiter.finditer(body))
    for mark, following in itertools.pairwise(marks):
        start, end = mark.end() + 2, following.start()
        try:
            part = Message.parse(body[start:end])
        except MessageError:
            continue
        if (changed := _within(part, part.body, url, depth - 1)) is not None:
            part.body = changed
            return body[:start] + bytes(part) + body[end:]
    return None


def _in_text(body: bytes, encoding: bytes, picture: bytes) -> bytes | None:
    if encoding == b"base64":
        try:
            text = base64.b64decode(body, validate=False)
        except binascii.Error:
            return None
        return base64.encodebytes(_before_end(text, picture)).replace(b"\n", b"\r\n")
    if encoding == b"quoted-printable":
        # The picture alone is encoded: the text around it stays as its author's program wrote it.
        coded = quopri.encodestring(picture).replace(b"\n", b"\r\n")
        return _before_end(body, b"=\r\n" + coded + b"=\r\n")
    return _before_end(body, b"\r\n" + picture + b"\r\n")


def _before_end(text: bytes, picture: bytes) -> bytes:
    ends = list(_END.finditer(text))
    at = ends[-1].start() if ends else len(text.rstrip(b"\r\n"))
    return text[:at] + picture + text[at:]
