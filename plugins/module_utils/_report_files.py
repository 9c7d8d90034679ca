# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the reports in what arrives: a bare file, one in gzip or zip, or a message that carries either. Private.

Told apart by content, never by name: reporters name and label them as they like. Nothing is unpacked beyond limits,
whatever a header claims of its size.
"""

from __future__ import annotations

import email
import email.policy
import io
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from ansible_collections.postmaster.mail.plugins.module_utils._reports import (
    Report,
    ReportError,
    parse_aggregate,
    parse_tls,
)

PACKED_LIMIT = 32 * 1024 * 1024  # octets of a file or message
UNPACKED_LIMIT = 64 * 1024 * 1024  # octets of a report; the largest honest ones have a few million
MEMBER_LIMIT = 50  # files in an archive, parts in a message

_GZIP = b"\x1f\x8b"
_ZIP = b"PK\x03\x04"


@dataclass(frozen=True)
class Found:
    """A report, or why what looked like one is none. ``name`` says where it was."""

    name: str
    report: Report | None = None
    problem: str = ""


def find_reports(content: bytes, name: str) -> list[Found]:
    """All reports in a file's or message's ``content``; an empty list where it holds nothing that looks like one."""
    if len(content) > PACKED_LIMIT:
        return [Found(name, problem=f"is larger than {PACKED_LIMIT // 1024 // 1024} MiB")]
    try:
        if _looks_packed(content) or _looks_bare(content):
            return [_read(inner, name) for inner in _unpack(content)]
        return list(_in_message(content, name))
    except ReportError as err:
        return [Found(name, problem=str(err))]


def _looks_packed(content: bytes) -> bool:
    return content.startswith((_GZIP, _ZIP))


def _looks_bare(content: bytes) -> bool:
    return _start(content).startswith((b"<", b"{"))


def _start(content: bytes) -> bytes:
    """The first octets without a byte order mark and white space."""
    return content[:200].removeprefix(b"\xef\xbb\xbf").lstrip()


def _read(content: bytes, name: str) -> Found:
    try:
        if _start(content).startswith(b"{"):
            return Found(name, parse_tls(content.removeprefix(b"\xef\xbb\xbf")))
        return Found(name, parse_aggregate(content))
    except ReportError as err:
        return Found(name, problem=str(err))


def _unpack(content: bytes) -> list[bytes]:
    """What an archive holds, or the content itself. Raises :class:`ReportError`."""
    if content.startswith(_GZIP):
        return [_inflate(content)]
    if not content.startswith(_ZIP):
        return [content]
    try:
        return _unzip(content)
    except ReportError:
        raise
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError, ValueError) as err:
        raise ReportError("is a zip archive that cannot be read") from err


def _unzip(content: bytes) -> list[bytes]:
    """The files in an archive, all together within the limit: what its directory says of sizes may be a lie."""
    unpacked: list[bytes] = []
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [one for one in archive.infolist() if not one.is_dir() and not one.filename.startswith("__MACOSX")]
        if len(members) > MEMBER_LIMIT:
            raise ReportError(f"is an archive of more than {MEMBER_LIMIT} files")
        for member in members:
            with archive.open(member) as stream:
                room = UNPACKED_LIMIT - sum(map(len, unpacked))
                unpacked.append(_within(stream.read(room + 1), room))
    return unpacked


def _inflate(content: bytes) -> bytes:
    stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        inflated = stream.decompress(content, UNPACKED_LIMIT + 1)
    except zlib.error as err:
        raise ReportError("is a gzip file that cannot be read") from err
    if not stream.eof and len(inflated) <= UNPACKED_LIMIT:
        raise ReportError("is a gzip file that ends too soon")
    return _within(inflated, UNPACKED_LIMIT)


def _within(content: bytes, limit: int) -> bytes:
    if len(content) > limit:
        raise ReportError(f"unpacks to more than {UNPACKED_LIMIT // 1024 // 1024} MiB")
    return content


def _in_message(content: bytes, name: str) -> Iterator[Found]:
    """The reports attached to a message (RFC 9990 section 3.3, RFC 8460 section 5.3)."""
    message = email.message_from_bytes(content, policy=email.policy.compat32)
    parts = 0
    for part in message.walk():
        parts += 1
        if parts > MEMBER_LIMIT:
            yield Found(name, problem=f"is a message of more than {MEMBER_LIMIT} parts")
            return
        payload = part.get_payload(decode=True)
        if part.is_multipart() or not isinstance(payload, bytes):
            continue
        if _looks_packed(payload) or (
            part.get_content_type() not in ("text/plain", "text/html") and _looks_bare(payload)
        ):
            yield from find_reports(payload, name)
