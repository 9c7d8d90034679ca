# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan: where a footer goes in a message, of whatever shape it is, and the message with it.

Text takes the footer in itself, in every alternative. What must not be touched (signed, encrypted, in a charset that
nobody knows) or has no text is laid unchanged into a new multipart/mixed, with the footer as a part after it.
"""

from __future__ import annotations

import binascii
import copy
import html
import re
from collections.abc import Container
from dataclasses import dataclass
from email.message import Message
from email.utils import collapse_rfc2231_value
from typing import Any

from .mime import Edit, Part, decoded, edited, is_broken, lines, parse

LINE = 998  # RFC 5322 section 2.1.1
_TEXT = ("text/plain", "text/html")
# Codecs of Python that are no charsets of mail.
_NO_CHARSETS = ("idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined")
_SEALED = ("signed", "encrypted", "report", "digest", "byteranges")
_END_OF_HTML = re.compile(r"</(?:body|html)\s*>", re.IGNORECASE)
_URL = re.compile(r"https?://[^\s<>\"]+")


@dataclass(frozen=True)
class Plan:
    """What is changed for every recipient alike (``edits``), and where the footer of each goes.

    ``texts`` take it. If there are none, it becomes a part at the end of ``mixed``, or beside the whole message.
    """

    raw: bytes
    edits: tuple[Edit, ...]
    texts: tuple[tuple[Part, str], ...]
    mixed: Part | None

    def render(self, text: str) -> bytes:
        """The content with its footer: fields, an empty line, and a body."""
        if self.texts:
            changes = [Edit(part.start, part.end, _with_footer(part, old, text)) for part, old in self.texts]
        elif self.mixed is not None:
            changes = [_at_the_end(self.mixed, text)]
        else:
            return _beside(edited(self.raw, self.edits), text)
        return edited(self.raw, [*self.edits, *changes])


def plan(raw: bytes, gone: Container[int] = ()) -> Plan:
    """Where the footer goes in this content, whose parts that start at ``gone`` are to be taken out.

    Raises :class:`postmaster_restricted_list.mime.MimeError`.
    """
    root = parse(raw)
    left = _left(root, gone)
    if left is None:
        return plan(b"Content-Type: text/plain; charset=us-ascii\r\n\r\n")
    edits = tuple(Edit(part.opening, part.closing) for part in _taken_out(root, gone))
    texts = _texts(raw, left)
    mixed = left if texts is None and _is_mixed(left) else None
    return Plan(raw, edits, tuple(texts or ()), mixed)


def _left(part: Part, gone: Container[int]) -> Part | None:
    """The tree without parts that are taken out, and without those that this leaves empty."""
    if part.start in gone:
        return None
    if not part.children:
        return part
    children = tuple(left for child in part.children if (left := _left(child, gone)) is not None)
    if not children:
        return None
    return Part(part.start, part.body, part.end, part.fields, children, part.opening, part.closing, part.last)


def _taken_out(part: Part, gone: Container[int]) -> list[Part]:
    """The largest parts of which nothing is left."""
    if _left(part, gone) is None:
        return [part]
    return [one for child in part.children for one in _taken_out(child, gone)]


def _is_mixed(part: Part) -> bool:
    """Whether its parts come one after the other, as those of a multipart of an unknown kind do too."""
    known = ("multipart/alternative", "multipart/related", *(f"multipart/{one}" for one in _SEALED))
    return bool(part.children) and part.kind not in known


def _texts(raw: bytes, part: Part) -> list[tuple[Part, str]] | None:
    """The texts of which each reader sees one; None where somebody would see none."""
    if is_broken(part.fields) or part.fields.get_content_disposition() == "attachment":
        return None
    if part.kind in _TEXT:
        text = decoded_text(raw, part)
        return None if text is None else [(part, text)]
    if _is_mixed(part) or (part.kind == "multipart/related" and part.children):
        return _texts(raw, part.children[0])
    if part.kind == "multipart/alternative":
        readable = [one for one in part.children if one.kind in _TEXT or one.kind.startswith("multipart/")]
        found = [_texts(raw, one) for one in readable]
        return [text for texts in found if texts for text in texts] if found and None not in found else None
    return None


def _charset(part: Part) -> str:
    given: Any = part.fields.get_param("charset", "")
    return collapse_rfc2231_value(given).strip().lower()


def decoded_text(raw: bytes, part: Part) -> str | None:
    """The text of a part, its lines ending in LF; None where nobody knows what it says."""
    body = decoded(raw, part)
    charset = _charset(part)
    # Without a charset it should be ASCII, and is what the sender's machine uses.
    if body is None or charset.replace("-", "_") in _NO_CHARSETS:
        return None
    try:
        text = body.decode(charset if charset not in ("", "us-ascii") else "utf-8")
        "a".encode(charset or "utf-8")  # of an empty body no codec is asked
    except (LookupError, ValueError):
        return None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _with_footer(part: Part, text: str, footer: str) -> bytes:
    """The part with the footer in its text."""
    if part.kind == "text/html":
        ends = [found.start() for found in _END_OF_HTML.finditer(text)]
        body_ends = [at for at in ends if text[at : at + 6].lower() == "</body"]
        at = (body_ends or ends or [len(text)])[-1]
        return _encoded(part, f"{text[:at]}{as_html(footer)}{text[at:]}")
    return _encoded(part, f"{text.rstrip(chr(10))}\n\n{as_plain(footer)}")


def as_plain(footer: str) -> str:
    """The footer below the line that mail programs know as the end of a text."""
    return f"-- \n{footer}\n"


def as_html(footer: str) -> str:
    """The footer, with links."""
    pieces, at = [], 0
    for url in _URL.finditer(footer):
        link = html.escape(url[0])
        pieces += [html.escape(footer[at : url.start()]), f'<a href="{link}">{link}</a>']
        at = url.end()
    inner = "".join([*pieces, html.escape(footer[at:])]).replace("\n", "<br>\n")
    return f"\n<hr>\n<p>{inner}</p>\n"


def _encoded(part: Part, text: str) -> bytes:
    """The part with another text, in its own charset if that can say it."""
    old = _charset(part) or "us-ascii"
    for charset, errors in ((old, "strict"), (old, "xmlcharrefreplace"), ("utf-8", "replace")):
        if errors == "xmlcharrefreplace" and part.kind != "text/html":
            continue
        try:
            code, body = transfer(text, charset, errors)
        except ValueError:
            continue
        break
    fields = copy.deepcopy(part.fields)
    if charset != old:
        _declare(fields, charset)
    del fields["Content-Transfer-Encoding"], fields["Content-MD5"], fields["Content-Length"]
    fields["Content-Transfer-Encoding"] = code
    return lines(fields) + b"\r\n" + body


def _declare(fields: Message, charset: str) -> None:
    """Another charset. What RFC 3676 says of the lines stays."""
    flowed = [(name, str(fields.get_param(name, ""))) for name in ("format", "delsp")]
    more = "".join(f"; {name}={value}" for name, value in flowed if value.isalpha() and value.isascii())
    kind = fields.get_content_type()
    del fields["Content-Type"]
    fields["Content-Type"] = f"{kind}; charset={charset}{more}"


def transfer(text: str, charset: str, errors: str = "strict") -> tuple[str, bytes]:
    """A transfer encoding that every server passes on as it is, and a text in it. Raises ValueError."""
    if "a".encode(charset) != b"a":  # UTF-16 and the like
        body = text.replace("\n", "\r\n").encode(charset, errors)
        pieces = (body[at : at + 57] for at in range(0, len(body), 57))
        return "base64", b"".join(binascii.b2a_base64(piece, newline=False) + b"\r\n" for piece in pieces)
    body = text.encode(charset, errors)
    if body.isascii() and b"\0" not in body and all(len(line) <= LINE for line in body.split(b"\n")):
        return "7bit", body.replace(b"\n", b"\r\n")
    return "quoted-printable", binascii.b2a_qp(body).replace(b"\n", b"\r\n")


def _footer_part(footer: str) -> bytes:
    charset = "us-ascii" if footer.isascii() else "utf-8"
    code, body = transfer(as_plain(footer), charset)
    head = f"Content-Type: text/plain; charset={charset}\r\nContent-Disposition: inline\r\n"
    return f"{head}Content-Transfer-Encoding: {code}\r\n\r\n".encode() + body


def _at_the_end(mixed: Part, footer: str) -> Edit:
    boundary = str(mixed.fields.get_boundary()).encode("ascii")
    part = b"\r\n--" + boundary + b"\r\n" + _footer_part(footer)
    if mixed.last is None:  # nobody has said where it ends
        return Edit(mixed.end, mixed.end, part + b"\r\n--" + boundary + b"--\r\n")
    return Edit(mixed.last, mixed.last, part)


def _beside(content: bytes, footer: str) -> bytes:
    number = 0
    while (boundary := b"=_restricted_%d" % number) in content:
        number += 1
    head = b'Content-Type: multipart/mixed; boundary="' + boundary + b'"\r\n\r\n'
    parts = [content, _footer_part(footer)]
    return head + b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + boundary + b"--\r\n"
