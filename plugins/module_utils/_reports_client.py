# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetches what may be a report: from files and folders, a maildir, or a mailbox by IMAP. Reads only. Private."""

from __future__ import annotations

import imaplib
import os
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from ansible_collections.postmaster.mail.plugins.module_utils._report_files import PACKED_LIMIT
from ansible_collections.postmaster.mail.plugins.module_utils._reports import ReportError

FILE_LIMIT = 100_000  # files or messages in one call
_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


class SourceError(Exception):
    """A place cannot be read; the message names it and what to do."""


def from_paths(paths: list[str]) -> Iterator[tuple[str, bytes]]:
    """Name and content of the files named, and of all below the folders named; a maildir is such a folder.

    Raises :class:`SourceError` where a path cannot be read.
    """
    count = 0
    for path in paths:
        for file in [path] if os.path.isfile(path) else _below(path):
            count += 1
            if count > FILE_LIMIT:
                raise SourceError(f"{path} holds more than {FILE_LIMIT} files: name a smaller folder")
            yield file, _content(file)


def _below(folder: str) -> Iterator[str]:
    def failed(err: OSError) -> None:
        raise SourceError(f"{err.filename} cannot be read: {err.strerror}") from err

    if not os.path.isdir(folder):
        raise SourceError(f"{folder} is neither a file nor a folder: name where the reports are")
    for root, folders, files in os.walk(folder, onerror=failed):
        folders.sort()
        if "new" in folders and "cur" in folders and "tmp" in folders:
            folders.remove("tmp")  # a maildir's half-written messages
        for name in sorted(files):
            if os.path.isfile(os.path.join(root, name)):  # no devices, no pipes
                yield os.path.join(root, name)


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read(PACKED_LIMIT + 1)
    except OSError as err:
        raise SourceError(f"{path} cannot be read: {err.strerror}") from err


@dataclass(frozen=True)
class Mailbox:
    """A mailbox at an IMAP server. ``days`` limits what is read to recent messages; 0 reads all."""

    host: str
    username: str
    password: str
    port: int = 993
    folder: str = "INBOX"
    ca_path: str = ""
    days: int = 0
    timeout: float = 30

    def messages(self, today: date) -> Iterator[tuple[str, bytes]]:
        """Name and content of each message. Raises :class:`SourceError`. Leaves every message as it was."""
        try:
            with self._open() as server:
                server.login(self.username, self.password)
                code, said = server.select(_quoted(self.folder), readonly=True)
                if code != "OK":
                    raise SourceError(f"{self.host} has no folder {self.folder!r}: {_words(said)}")
                for number in self._numbers(server, today):
                    yield self._fetch(server, number)
        except (imaplib.IMAP4.error, OSError) as err:
            reason = str(err) if not isinstance(err, OSError) else (err.strerror or str(err))
            raise SourceError(f"IMAP at {self.host} port {self.port}: {reason}") from None

    def _open(self) -> imaplib.IMAP4:
        context = ssl.create_default_context(cafile=self.ca_path or None)
        if self.port != 143:
            return imaplib.IMAP4_SSL(self.host, self.port, ssl_context=context, timeout=self.timeout)
        server = imaplib.IMAP4(self.host, self.port, timeout=self.timeout)
        server.starttls(context)  # no password without TLS
        return server

    def _numbers(self, server: imaplib.IMAP4, today: date) -> list[str]:
        # Month names as RFC 3501 has them, whatever the locale.
        first = today - timedelta(days=self.days)
        criteria = f"SINCE {first.day:02}-{_MONTHS[first.month - 1]}-{first.year}" if self.days else "ALL"
        code, said = server.search(None, criteria)
        if code != "OK":
            raise SourceError(f"{self.host} does not search {self.folder!r}: {_words(said)}")
        numbers = (said[0] or b"").split()
        if len(numbers) > FILE_LIMIT:
            raise SourceError(f"{self.folder!r} at {self.host} holds {len(numbers)} messages: read fewer with days")
        return [number.decode("ascii") for number in numbers]

    def _fetch(self, server: imaplib.IMAP4, number: str) -> tuple[str, bytes]:
        name = f"message {number} of {self.folder}"
        code, said = server.fetch(number, f"(BODY.PEEK[]<0.{PACKED_LIMIT + 1}>)")
        content = next((part[1] for part in said if isinstance(part, tuple)), None)
        if code != "OK" or not isinstance(content, bytes):
            raise ReportError(f"{name} cannot be fetched: {_words(said)}")
        return name, content


def _quoted(folder: str) -> str:
    """A mailbox name as a quoted string (RFC 3501 section 4.3); others would end the command."""
    if not folder.isprintable():
        raise SourceError(f"{folder!r} is no name of a folder")
    return '"' + folder.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _words(said: Sequence[object]) -> str:
    first = said[0] if said else b""
    return first.decode("utf-8", "replace") if isinstance(first, bytes) else str(first)
