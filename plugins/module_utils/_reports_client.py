# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetches what may be a report from files, folders and maildirs. Reads only. Private."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ansible_collections.postmaster.mail.plugins.module_utils._report_files import PACKED_LIMIT

FILE_LIMIT = 100_000  # files in one call


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
