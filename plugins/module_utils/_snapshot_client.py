# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: states of configuration on disk, and the store that keeps the last working ones. Private.

The trees that are read and written may belong to daemons, which are not trusted here: below the
paths of a state no symbolic link is ever followed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator

from ansible_collections.postmaster.mail.plugins.module_utils import _files
from ansible_collections.postmaster.mail.plugins.module_utils import _snapshot as sn

_ARCHIVE = re.compile(r"(\d{6,})\.tar$")
_PENDING = "pending"
_REPLACED = "replaced.tar"
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


# --- reading ---------------------------------------------------------------------------------


def read_state(scope: sn.Scope) -> sn.State:
    """What lies on disk now. Sockets, pipes and devices are passed over."""
    entries: dict[str, sn.Entry] = {}
    budget = sn.SIZE_LIMIT
    for root in scope.paths:
        for entry in _walk(root, scope):
            budget -= len(entry.content)
            if budget < 0:
                raise sn.SnapshotError(
                    f"paths: {root} and the others hold more than {sn.SIZE_LIMIT >> 20} MiB:"
                    " exclude what is no configuration"
                )
            entries[entry.path] = entry
    return sn.State(scope, entries)


def _walk(path: str, scope: sn.Scope) -> Iterator[sn.Entry]:
    if scope.root_of(path) is None:
        return
    try:
        entry = _read_entry(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as err:
        raise sn.SnapshotError(f"{path} cannot be read: {err.strerror}") from err
    if entry is None:
        return
    yield entry
    if entry.kind == sn.DIRECTORY:
        for name in sorted(os.listdir(path)):
            yield from _walk(os.path.join(path, name), scope)


def _read_entry(path: str) -> sn.Entry | None:
    info = os.lstat(path)
    content, target = b"", ""
    if stat.S_ISREG(info.st_mode):
        kind = sn.FILE
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as handle:
            info = os.fstat(handle.fileno())
            content = handle.read(sn.SIZE_LIMIT + 1)
    elif stat.S_ISDIR(info.st_mode):
        kind = sn.DIRECTORY
    elif stat.S_ISLNK(info.st_mode):
        kind, target = sn.LINK, os.readlink(path)
    else:
        return None
    return sn.Entry(
        path=path,
        kind=kind,
        mode=stat.S_IMODE(info.st_mode),
        owner=_files._user_name(info.st_uid),
        group=_files._group_name(info.st_gid),
        content=content,
        target=target,
        uid=info.st_uid,
        gid=info.st_gid,
        mtime=info.st_mtime,
    )


# --- writing ---------------------------------------------------------------------------------


def apply(plan: sn.Plan, scope: sn.Scope, *, progress: Callable[[sn.Action], None] = lambda action: None) -> None:
    """Carry out a plan. Every file is replaced in one step, so that a plan cut short can be made anew.

    ``progress`` is called before each action.
    """
    for action in plan.actions:
        progress(action)
        root = scope.root_of(action.entry.path)
        if root is None:
            raise sn.SnapshotError(f"{action.entry.path} lies outside of what the snapshot covers")
        try:
            _apply_one(action, root)
        except OSError as err:
            raise sn.SnapshotError(f"{action.entry.path} cannot be brought back: {err.strerror}") from err


def _apply_one(action: sn.Action, root: str) -> None:
    entry = action.entry
    with _parent(entry.path, root) as (folder, name):
        if action.verb == sn.REMOVE:
            _remove(entry, folder, name)
        elif entry.kind == sn.DIRECTORY:
            _make_directory(entry, folder, name)
        elif action.verb == sn.ATTRIBUTES and entry.kind == sn.FILE:
            handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            with contextlib.closing(os.fdopen(handle, "rb")):
                _set_attributes(entry, handle)
        else:
            _replace(entry, folder, name)


@contextlib.contextmanager
def _parent(path: str, root: str) -> Iterator[tuple[int, str]]:
    """A descriptor of the directory that holds ``path`` and the name therein.

    The way down from ``root`` goes through real directories only; what lies above it is the
    administrator's own business and is made where it is missing.
    """
    os.makedirs(os.path.dirname(root), exist_ok=True)
    handle = os.open(os.path.dirname(root), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        steps = [os.path.basename(root), *path.removeprefix(root).strip("/").split("/")] if path != root else [path]
        for step in steps[:-1]:
            below = os.open(step, _OPEN_DIRECTORY, dir_fd=handle)
            os.close(handle)
            handle = below
        yield handle, os.path.basename(path)
    finally:
        os.close(handle)


def _remove(entry: sn.Entry, folder: int, name: str) -> None:
    try:
        if entry.kind == sn.DIRECTORY:
            os.rmdir(name, dir_fd=folder)
        else:
            os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass
    except OSError:
        # A directory that holds what the snapshot does not cover stays.
        if entry.kind != sn.DIRECTORY:
            raise


def _make_directory(entry: sn.Entry, folder: int, name: str) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=folder)
    handle = os.open(name, _OPEN_DIRECTORY, dir_fd=folder)
    try:
        _set_attributes(entry, handle)
    finally:
        os.close(handle)


def _replace(entry: sn.Entry, folder: int, name: str) -> None:
    # Named after nothing else: what a crash leaves of it is removed when the plan is made anew.
    temporary = f".postmaster.{secrets.token_hex(8)}"
    uid, gid = _ids(entry)
    try:
        if entry.kind == sn.LINK:
            os.symlink(entry.target, temporary, dir_fd=folder)
            os.chown(temporary, uid, gid, dir_fd=folder, follow_symlinks=False)
        else:
            with os.fdopen(os.open(temporary, _NEW_FILE, 0o600, dir_fd=folder), "wb") as stream:
                stream.write(entry.content)
                stream.flush()
                _set_attributes(entry, stream.fileno())
                # A compiled map must not look older than the text it was made of.
                os.utime(stream.fileno(), (entry.mtime, entry.mtime))
                os.fsync(stream.fileno())
        os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=folder)


def _ids(entry: sn.Entry) -> tuple[int, int]:
    """Owner and group by name, which outlives a new installation, or by number where the name is gone."""
    try:
        uid = _files._ids(entry.path, entry.owner or None, None)[0]
    except _files.FileError:
        uid = entry.uid
    try:
        gid = _files._ids(entry.path, None, entry.group or None)[1]
    except _files.FileError:
        gid = entry.gid
    return uid, gid


def _set_attributes(entry: sn.Entry, handle: int) -> None:
    uid, gid = _ids(entry)
    info = os.fstat(handle)
    if (uid, gid) != (info.st_uid, info.st_gid):
        os.fchown(handle, uid, gid)
    os.fchmod(handle, entry.mode)


# --- the store -------------------------------------------------------------------------------


class Store:
    """Archives in ``directory``/``name``/NNNNNN.tar, which root alone can read. Higher is newer."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def names(self) -> list[str]:
        """Everything that has at least one archive."""
        try:
            return sorted(name for name in os.listdir(self.directory) if self.numbers(name))
        except FileNotFoundError:
            return []
        except OSError as err:
            raise sn.SnapshotError(f"{self.directory} cannot be read: {err.strerror}") from err

    def numbers(self, name: str) -> list[int]:
        """The archives of ``name``, newest first."""
        try:
            found = [_ARCHIVE.match(item) for item in os.listdir(os.path.join(self.directory, name))]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as err:
            raise sn.SnapshotError(f"{self.directory}/{name} cannot be read: {err.strerror}") from err
        return sorted((int(match[1]) for match in found if match), reverse=True)

    def path(self, name: str, number: int) -> str:
        """Where an archive lies."""
        return os.path.join(self.directory, name, f"{number:06d}.tar")

    def load(self, name: str, number: int) -> sn.State:
        """One state. Raises :class:`SnapshotError` when it cannot be read."""
        state = _files.read(self.path(name, number))
        if state is None:
            raise sn.SnapshotError(f"{self.path(name, number)} is gone")
        try:
            return sn.unpack(state.content)
        except sn.SnapshotError as err:
            raise sn.SnapshotError(f"{self.path(name, number)}: {err}") from err

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Make the directories, and keep everybody else from writing there."""
        folder = os.path.join(self.directory, name)
        try:
            os.makedirs(os.path.dirname(self.directory), exist_ok=True)
            for place in (self.directory, folder):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(place, 0o700)
                os.chmod(place, 0o700)
            handle = os.open(folder, _OPEN_DIRECTORY)
        except OSError as err:
            raise sn.SnapshotError(f"{folder} cannot be made: {err.strerror}") from err
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def save(self, name: str, state: sn.State, *, keep: int) -> int:
        """Store a state as the newest one, drop all but ``keep``, and return its number."""
        number = (self.numbers(name) or [0])[0] + 1
        _files.write_atomic(self.path(name, number), sn.pack(state), mode=0o600)
        for old in self.numbers(name)[keep:]:
            os.unlink(self.path(name, old))
        return number

    def save_replaced(self, name: str, state: sn.State) -> None:
        """Keep a state that is about to be replaced and is stored nowhere else."""
        _files.write_atomic(os.path.join(self.directory, name, _REPLACED), sn.pack(state), mode=0o600)

    def promote(self, name: str, number: int) -> int:
        """Make a state the newest one and return its new number."""
        newest = self.numbers(name)[0]
        if number == newest:
            return number
        os.rename(self.path(name, number), self.path(name, newest + 1))
        return newest + 1

    def pending(self, name: str) -> int | None:
        """The number of the state whose return was cut short, if it is still there."""
        state = _files.read(os.path.join(self.directory, name, _PENDING))
        if state is None or not state.text.strip().isdecimal():
            return None
        number = int(state.text)
        return number if number in self.numbers(name) else None

    def set_pending(self, name: str, number: int | None) -> None:
        """Note that a state is being brought back, or that it is done."""
        path = os.path.join(self.directory, name, _PENDING)
        if number is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        else:
            _files.write_atomic(path, f"{number}\n", mode=0o600)
