# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mails of every shape: what is sent, what a reader must see of it, and what must arrive byte for byte."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

PLAIN = "-- \nSent by Änna <anna@corp.example>.\nGet no more of this: {link}\n"
RICH = '\n<hr>\n<p>Sent by Änna &lt;anna@corp.example&gt;.<br>\nGet no more of this: <a href="{link}">{link}</a></p>\n'
HEAD = "From: =?utf-8?q?=C3=84nna?= <anna@corp.example>\nTo: restricted@corp.example\nMIME-Version: 1.0\n"


@dataclass(frozen=True)
class Shape:
    """``content`` begins with its own fields, and has ``{token}`` where the part with the token goes, if it has one.

    ``texts`` are what readers see, one after the other; ``kept`` are the parts that nobody has a reason to touch.
    Lines end in LF.
    """

    content: bytes
    texts: tuple[str, ...]
    kept: tuple[bytes, ...] = ()

    def mail(self, subject: str, file: str) -> bytes:
        """A mail to the list, with the file of a token in a part or else in a field."""
        head = f"{HEAD}Subject: {subject}\n"
        part = f"Content-Type: text/plain\nContent-Disposition: attachment; filename=token.txt\n\n{file}"
        if b"{token}" not in self.content:
            head += f"X-Restricted-Token: {file.split()[1]}\n"
        return head.encode() + self.content.replace(b"{token}", part.encode())

    def complaints(self, parsed: EmailMessage, raw: bytes) -> list[str]:
        """What is wrong with a copy that arrived."""
        link = str(parsed["List-Unsubscribe"]).strip("<>")
        expected = [text.format(plain=PLAIN, rich=RICH).replace("{link}", link) for text in self.texts]
        leaves = [part for part in parsed.walk() if part.get_content_maintype() == "text" and not part.is_attachment()]
        found = [part.get_content() for part in leaves]
        wrong = [] if found == expected else [f"it reads {found}, not {expected}"]
        wrong += [f"{part[:60]!r} has changed" for part in self.kept if part not in raw]
        return wrong + (["the token is still there"] if b"RESTRICTED-TOKEN" in raw else [])


def _multipart(kind: str, boundary: str, *parts: bytes) -> bytes:
    inner = b"".join(b"--%s\n%s\n" % (boundary.encode(), part) for part in parts)
    return f'Content-Type: multipart/{kind}; boundary="{boundary}"\n\n'.encode() + inner + f"--{boundary}--\n".encode()


def _file(kind: str, name: str, content: bytes, place: str = "attachment") -> bytes:
    head = f"Content-Type: {kind}\nContent-Disposition: {place}; filename={name}\nContent-Transfer-Encoding: base64\n\n"
    return head.encode() + base64.encodebytes(content)


_TEXT = "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nGrüße\n.\nFrom here\n".encode()
_HTML = b"Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n"
_HTML += b"<html><body><p>Gr=C3=BC=C3=9Fe</p></body></html>\n"
_HELLO = b"\xf0\xd2\xc9\xd7\xc5\xd4"
_RUSSIAN = b"Content-Type: text/plain; charset=koi8-r\nContent-Transfer-Encoding: 8bit\n\n%s\n" % _HELLO
_POEM = "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\nContent-Disposition: attachment;\n"
_POEM += " filename*=utf-8''Gedicht%20%C3%BC.txt\n\nüber allen Gipfeln  \n\tist Ruh \n"
_IMAGE = _file("image/png", "i.png", b"\x89PNG" + bytes(range(256)), "inline")
_INNER = b"Content-Type: message/rfc822\n\nFrom: x@outside.test\nSubject: inner\nDKIM-Signature: v=1\n\ninner text\n"
_INNER_READ = "inner text\n"
_FILES = tuple(_file("application/x-bytes", f"{n}.bin", bytes(n ^ m for m in range(256)) * 16) for n in range(10))
_SEEN, _SEEN_RICH = "Grüße\n.\nFrom here\n\n{plain}", "<html><body><p>Grüße</p>{rich}</body></html>\n"


def shapes(folder: Path) -> Mapping[str, Shape]:
    """All, by name. A key to sign with is made in the folder."""
    multipart = _multipart("alternative", "a", _TEXT, _multipart("related", "r", _HTML, _IMAGE))
    sealed = _signed(folder, _multipart("mixed", "s", _HTML.replace(b"/html;", b"/plain;"), _FILES[0]))
    return {
        "plain": Shape(b"Content-Type: text/plain\n\nHello\n.\nFrom here\n", ("Hello\n.\nFrom here\n\n{plain}",)),
        "html": Shape(_HTML, (_SEEN_RICH,)),
        "multipart": Shape(_multipart("mixed", "m", multipart, b"{token}"), (_SEEN, _SEEN_RICH), (_IMAGE,)),
        "signed": Shape(sealed, ("<html><body><p>Grüße</p></body></html>\n", "{plain}"), (sealed,)),
        "foreign": Shape(
            _multipart("mixed", "m", _RUSSIAN, _POEM.encode(), b"{token}"),
            (_HELLO.decode("koi8-r") + "\n\n{plain}",),
            (_POEM.encode(),),
        ),
        "laden": Shape(
            _multipart("mixed", "m", _TEXT, *_FILES[:5], b"{token}", _INNER, *_FILES[5:]),
            (_SEEN, _INNER_READ),
            (*_FILES, _INNER),
        ),
    }


def _signed(folder: Path, content: bytes) -> bytes:
    """The content under a signature of S/MIME, as mail programs make it."""
    words = [
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=Anna",
        "-keyout",
        "key",
        "-out",
        "crt",
    ]
    subprocess.run(["openssl", "req", *words], check=True, capture_output=True, cwd=folder)
    words = ["cms", "-sign", "-md", "sha256", "-signer", "crt", "-inkey", "key"]
    made = subprocess.run(["openssl", *words], input=content, check=True, capture_output=True, cwd=folder).stdout
    return made.replace(b"\r\n", b"\n").removeprefix(b"MIME-Version: 1.0\n")


def signature_holds(content: bytes) -> bool:
    """What OpenSSL says of a signed part."""
    words = ["openssl", "cms", "-verify", "-noverify", "-out", "/dev/null"]  # whoever signed it
    return subprocess.run(words, input=content, capture_output=True, check=False).returncode == 0
