# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: records that ask for reports on TLS. Private to this collection.

Section numbers in this file are of RFC 8460.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ansible_collections.postmaster.mail.plugins.module_utils._term_error import TermError
from ansible_collections.postmaster.mail.plugins.module_utils._uri import is_report_uri, scheme

VERSION = "v=TLSRPTv1"
SCHEMES = ("mailto", "https")  # section 3
RECORD_NAME = "_smtp._tls"  # section 3

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}", re.ASCII)
_VALUE = re.compile(r"[\x21-\x3a\x3c\x3e-\x7e]+")


class TlsRptError(TermError):
    """A text is no TLS-RPT record."""

    what = "the TLS-RPT term"


@dataclass(frozen=True)
class TlsRptRecord:
    """The TXT record at ``_smtp._tls`` + domain (section 3); ``rua`` are the URIs that reports go to."""

    rua: tuple[str, ...]
    extensions: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if not self.rua:
            raise TlsRptError("rua", 0, "a record says by rua where reports go (section 3)")
        for uri in self.rua:
            _check_uri(uri, 0)

    def __str__(self) -> str:
        return "; ".join(
            [VERSION, f"rua={','.join(self.rua)}", *(f"{name}={value}" for name, value in self.extensions)]
        )

    @property
    def problems(self) -> tuple[str, ...]:
        """What is allowed by the grammar and of no use all the same."""
        return tuple(
            f"{uri} is neither mailto nor https, so nobody can report there (section 3)"
            for uri in self.rua
            if scheme(uri) not in SCHEMES
        )

    @classmethod
    def parse(cls, text: str) -> TlsRptRecord:
        """The record that ``text`` is. Raises :class:`TlsRptError`."""
        first, *pieces = text.split(";")
        if first.rstrip(" \t") != VERSION:
            raise TlsRptError(first[:40], 0, f"a record begins with {VERSION} and a semicolon (section 3)")
        if pieces and not pieces[-1].strip(" \t"):
            pieces.pop()  # one final semicolon is part of the grammar
        rua: tuple[str, ...] = ()
        extensions, position = [], len(first) + 1
        for piece in pieces:
            name, value = _field(piece, position)
            if name == "rua" and rua:
                raise TlsRptError(piece.strip()[:80], position, "rua stands once in a record (section 3)")
            if name == "rua":
                rua = tuple(_check_uri(uri.strip(" \t"), position) for uri in value.split(","))
            else:
                extensions.append((name, value))
            position += len(piece) + 1
        if not rua:
            raise TlsRptError(text[:40], len(text), "a record says by rua where reports go (section 3)")
        return cls(rua, tuple(extensions))


def _field(piece: str, position: int) -> tuple[str, str]:
    """Name and value of a field that begins at ``position``."""
    body = piece.strip(" \t")
    name, equals, value = body.partition("=")
    if name != "rua":
        name, value = name.rstrip(" \t"), value.lstrip(" \t")
        if name == "rua":
            raise TlsRptError(body[:80], position, "rua= is written without white space (section 3)")
        if not equals or not _NAME.fullmatch(name):
            rule = "a field is name=value, the name of at most 32 letters, digits, _, - and . (section 3)"
            raise TlsRptError(body[:80], position, rule)
        if not _VALUE.fullmatch(value):
            raise TlsRptError(body[:80], position, "a value is visible ASCII without = and not empty (section 3)")
    return name, value


def _check_uri(uri: str, position: int) -> str:
    if not is_report_uri(uri):
        rule = (
            "this is no URI such as mailto:tls@example.org; commas, exclamation marks and semicolons "
            "in it are written %2C, %21 and %3B (section 3)"
        )
        raise TlsRptError(uri[:80], position, rule)
    return uri
