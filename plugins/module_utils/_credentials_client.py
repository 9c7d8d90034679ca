# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: the file of users and hashes on disk, and the mailboxes that nobody owns any more. Private."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from ansible_collections.postmaster.mail.plugins.module_utils import _files


@contextlib.contextmanager
def locked(path: str) -> Iterator[None]:
    """Keep others from changing the file at ``path`` meanwhile; a lock on its directory outlives its replacement."""
    folder = os.path.dirname(path)
    try:
        os.makedirs(folder, mode=0o755, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as err:
        raise _files.FileError(f"{folder} cannot be used: {err.strerror}") from err
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@dataclass(frozen=True)
class Attributes:
    """Mode, owner and group that a file is to have."""

    mode: int
    owner: str
    group: str

    def of(self, state: _files.FileState | None) -> bool:
        """Whether the file has them."""
        return state is not None and (state.mode, state.owner, state.group) == (self.mode, self.owner, self.group)

    def __str__(self) -> str:
        return f"# {self.owner}:{self.group} {self.mode:04o}\n"


def write(path: str, text: str, attributes: Attributes) -> None:
    """Replace the file. Raises :class:`_files.FileError`.

    Dovecot reads it again when its size or its time in seconds has changed, so the time always grows.
    """
    before = os.stat(path).st_mtime if os.path.exists(path) else 0
    _files.write_atomic(path, text, mode=attributes.mode, owner=attributes.owner, group=attributes.group)
    now = os.stat(path).st_mtime
    if int(now) <= int(before):
        os.utime(path, (int(before) + 1, int(before) + 1))


def unowned(directory: str, homes: Collection[str]) -> list[str]:
    """Mailboxes below ``directory``, as domain and name, that are nobody's home. Raises :class:`_files.FileError`."""
    found: list[str] = []
    try:
        for domain in _folders(directory):
            found += [path for path in _folders(domain) if path not in homes]
    except OSError as err:
        raise _files.FileError(f"{err.filename} cannot be read: {err.strerror}") from err
    return sorted(found)


def _folders(path: str) -> list[str]:
    if not os.path.isdir(path):
        return []
    with os.scandir(path) as items:
        return [item.path for item in items if item.is_dir(follow_symlinks=False) and not item.name.startswith(".")]
