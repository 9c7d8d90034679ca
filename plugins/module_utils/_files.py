# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: read and replace files so that no reader ever sees a half-written one. Private.

A write goes to a new file of mode 0600 in the same directory, gets its owner and mode there,
is synced and then renamed over the old one.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import stat
import tempfile
from dataclasses import dataclass


class FileError(Exception):
    """A file cannot be read or written; the message names the path and the reason."""


@dataclass(frozen=True)
class FileState:
    """A regular file as it lies on disk; ``mode`` holds the permission bits only."""

    content: bytes
    owner: str
    group: str
    mode: int

    @property
    def text(self) -> str:
        """The content as text; bytes that are not UTF-8 survive a round trip."""
        return self.content.decode("utf-8", "surrogateescape")


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _ids(path: str, owner: str | None, group: str | None) -> tuple[int, int]:
    """Numeric owner and group, -1 where none is asked for."""
    try:
        uid = -1 if owner is None else int(owner) if owner.isdecimal() else pwd.getpwnam(owner).pw_uid
        gid = -1 if group is None else int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
    except KeyError as err:
        raise FileError(f"{path}: no such user or group: {err.args[0]}") from err
    return uid, gid


def read(path: str) -> FileState | None:
    """The file at ``path``, or None where there is none. Raises :class:`FileError` otherwise."""
    try:
        with open(path, "rb") as handle:
            info = os.fstat(handle.fileno())
            if not stat.S_ISREG(info.st_mode):
                raise FileError(f"{path} is not a regular file")
            content = handle.read()
    except FileNotFoundError:
        return None
    except OSError as err:
        raise FileError(f"{path} cannot be read: {err.strerror}") from err
    return FileState(content, _user_name(info.st_uid), _group_name(info.st_gid), stat.S_IMODE(info.st_mode))


def write_atomic(
    path: str,
    content: bytes | str,
    *,
    mode: int | None = None,
    owner: str | None = None,
    group: str | None = None,
) -> None:
    """Replace ``path`` by ``content`` in one step.

    ``mode``, ``owner`` and ``group`` left out are taken from the file that is replaced, or are
    0644 and the process's own for a new one. A symbolic link is followed, so that it stays one.
    """
    target = os.path.realpath(path)
    data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    before = read(target)
    if before is not None:
        owner, group = owner or before.owner, group or before.group
    final_mode = mode if mode is not None else before.mode if before is not None else 0o644
    uid, gid = _ids(path, owner, group)
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(target)}.", dir=os.path.dirname(target))
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fchown(stream.fileno(), uid, gid)
            os.fchmod(stream.fileno(), final_mode)
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    except OSError as err:
        raise FileError(f"{path} cannot be written: {err.strerror}") from err
    finally:
        if temporary is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)


def set_attributes(path: str, *, mode: int | None = None, owner: str | None = None, group: str | None = None) -> bool:
    """Bring mode, owner and group of an existing file to what is asked; True if something changed."""
    info = os.stat(path)
    uid, gid = _ids(path, owner, group)
    changed = False
    try:
        if uid not in (-1, info.st_uid) or gid not in (-1, info.st_gid):
            os.chown(path, uid, gid)
            changed = True
        if mode is not None and stat.S_IMODE(info.st_mode) != mode:
            os.chmod(path, mode)
            changed = True
    except OSError as err:
        raise FileError(f"{path}: mode or owner cannot be set: {err.strerror}") from err
    return changed
