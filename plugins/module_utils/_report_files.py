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
    Allowance,
    Report,
    ReportError,
    TooLarge,
    parse_aggregate,
    parse_tls,
)

PACKED_LIMIT = 32 * 1024 * 1024  # octets of a file or message
UNPACKED_LIMIT = 64 * 1024 * 1024  # octets of all reports in a file or message; large ones have a few million
MEMBER_LIMIT = 50  # files in an archive, parts in a message

_GZIP = b"\x1f\x8b"
_ZIP = b"PK\x03\x04"


@dataclass(frozen=True)
class Found:
    """A report, or why what looked like one is none. ``name`` says where it was."""

    name: str
    report: Report | None = None
    problem: str = ""


@dataclass
class _Room:
    """What may still be unpacked and read of one file or message."""

    octets: int
    allowance: Allowance


def find_reports(content: bytes, name: str) -> list[Found]:
    """All reports in a file's or message's ``content``; an empty list where it holds nothing that looks like one."""
    if len(content) > PACKED_LIMIT:
        return [Found(name, problem=f"is larger than {PACKED_LIMIT // 1024 // 1024} MiB")]
    found: list[Found] = []
    room = _Room(UNPACKED_LIMIT, Allowance())
    try:
        for one in _within_limits(content, name, room):
            found.append(one)
    except TooLarge as err:
        found.append(Found(name, problem=str(err)))
    return found


def _within_limits(content: bytes, name: str, room: _Room) -> Iterator[Found]:
    """The reports in a file, a message, or a part of one. Raises :class:`TooLarge`."""
    if not (_looks_packed(content) or _looks_bare(content)):
        yield from _in_message(content, name, room)
        return
    try:
        contents = _unpack(content, room)
    except TooLarge:
        raise
    except ReportError as err:
        yield Found(name, problem=str(err))
        return
    # Some archives hold a note for people beside the report.
    for inner in [one for one in contents if _looks_bare(one)] or contents:
        yield _read(inner, name, room)


def _looks_packed(content: bytes) -> bool:
    return content.startswith((_GZIP, _ZIP))


def _looks_bare(content: bytes) -> bool:
    return _start(content).startswith((b"<", b"{"))


def _start(content: bytes) -> bytes:
    """The first octets without a byte order mark and white space."""
    return content[:200].removeprefix(b"\xef\xbb\xbf").lstrip()


def _read(content: bytes, name: str, room: _Room) -> Found:
    try:
        if _start(content).startswith(b"{"):
            return Found(name, parse_tls(content.removeprefix(b"\xef\xbb\xbf")))
        return Found(name, parse_aggregate(content, room.allowance))
    except TooLarge:
        raise
    except ReportError as err:
        return Found(name, problem=str(err))


def _unpack(content: bytes, room: _Room) -> list[bytes]:
    """What an archive holds, or the content itself. Raises :class:`ReportError`."""
    if content.startswith(_GZIP):
        return [_inflate(content, room)]
    if not content.startswith(_ZIP):
        return [_taken(content, room)]
    try:
        return _unzip(content, room)
    except ReportError:
        raise
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError, ValueError) as err:
        raise ReportError("is a zip archive that cannot be read") from err


def _unzip(content: bytes, room: _Room) -> list[bytes]:
    """The files in an archive, all together within the limit: what its directory says of sizes may be a lie."""
    unpacked: list[bytes] = []
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [one for one in archive.infolist() if not one.is_dir() and not one.filename.startswith("__MACOSX")]
        if len(members) > MEMBER_LIMIT:
            raise ReportError(f"is an archive of more than {MEMBER_LIMIT} files")
        for member in members:
            with archive.open(member) as stream:
                unpacked.append(_taken(stream.read(room.octets + 1), room))
    return unpacked


def _inflate(content: bytes, room: _Room) -> bytes:
    stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        inflated = stream.decompress(content, room.octets + 1)
    except zlib.error as err:
        raise ReportError("is a gzip file that cannot be read") from err
    if not stream.eof and len(inflated) <= room.octets:
        raise ReportError("is a gzip file that ends too soon")
    return _taken(inflated, room)


def _taken(content: bytes, room: _Room) -> bytes:
    """``content``, which takes its part of the room."""
    if len(content) > room.octets:
        raise TooLarge(f"unpacks to more than {UNPACKED_LIMIT // 1024 // 1024} MiB")
    room.octets -= len(content)
    return content


def _in_message(content: bytes, name: str, room: _Room) -> Iterator[Found]:
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
            yield from _within_limits(payload, name, room)
