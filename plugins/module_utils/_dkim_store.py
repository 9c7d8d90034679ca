# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: the directory that holds DKIM keys and their manifests. Private to this collection.

``<directory>/<domain>.<selector>.key`` holds a private key, ``<directory>/<domain>.json`` lists the
keys of a domain. A key's file is there before a manifest lists it, so a run that was killed leaves at
worst a whole key in no manifest, and the next run takes it up. A lock on the directory keeps two
runs apart.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import grp
import hashlib
import os
import pwd
import re
import socket
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from ansible_collections.postmaster.mail.plugins.module_utils._command import CommandError
from ansible_collections.postmaster.mail.plugins.module_utils._dkim import (
    FILE_LIMIT,
    DkimKey,
    DkimKeyError,
    read_private,
)
from ansible_collections.postmaster.mail.plugins.module_utils._dkim_plan import (
    Entry,
    Found,
    Manifest,
    ManifestError,
    PlanError,
    show_path,
)
from ansible_collections.postmaster.mail.plugins.module_utils._etckeeper_client import Etckeeper
from ansible_collections.postmaster.mail.plugins.module_utils._files import (
    FileError,
    read,
    set_attributes,
    write_atomic,
)
from ansible_collections.postmaster.mail.plugins.module_utils._snapshot import SnapshotError, ignore_lines

KEY, MANIFEST = ".key", ".json"
KEY_MODES = (0o400, 0o440, 0o600, 0o640)
LOCK_WAIT = 120.0  # seconds that a run waits for another one to end
_TEMPORARY = re.compile(r"\.[a-z0-9.-]+\.(key|json)\.[a-z0-9_]{8}", re.ASCII)  # what write_atomic names its files


class StoreError(Exception):
    """The directory or one of its files is not as it must be; the message is a sentence with the remedy."""


@dataclass(frozen=True)
class Access:
    """Who may read keys; None leaves it to what is there already, see :meth:`KeyStore.access_for_new`."""

    owner: str | None = None
    group: str | None = None
    mode: int | None = None

    @property
    def for_group(self) -> bool:
        """Whether a group is to read the keys."""
        return bool(self.mode & 0o040) if self.mode is not None else self.group is not None


@dataclass(frozen=True)
class Change:
    """A file whose mode or owner is to be mended, and how."""

    path: str
    before: str
    after: str
    mode: int | None
    owner: str | None
    group: str | None
    exposed: bool = False  # a private key that others could get at


# The directory


class KeyStore:
    """One directory of keys."""

    def __init__(self, directory: str, access: Access | None = None, *, etckeeper: Etckeeper | None = None) -> None:
        self.directory = directory
        self.access = access if access is not None else Access()
        self._etckeeper = etckeeper if etckeeper is not None else Etckeeper()
        self._keys: dict[str, DkimKey] = {}

    def key_path(self, domain: str, entry: Entry | str) -> str:
        """Where a key lies, or by its selector would lie."""
        if isinstance(entry, Entry):
            if entry.path:
                return entry.path
            entry = entry.selector
        return os.path.join(self.directory, f"{domain}.{entry}{KEY}")

    def manifest_path(self, domain: str) -> str:
        """Where a domain's manifest lies."""
        return os.path.join(self.directory, domain + MANIFEST)

    # What must hold before anything is read or written

    def exists(self) -> bool:
        """Whether the directory is there, proven to be one that can be trusted and used."""
        path = self.directory
        if not os.path.isabs(path) or os.path.normpath(path) != path:
            raise StoreError(f"directory {show_path(path)} is not an absolute path without . and ..: write it out")
        try:
            info = os.lstat(path)
        except FileNotFoundError:
            self._check_creatable(path)
            return False
        except OSError as err:
            raise StoreError(f"directory {show_path(path)} cannot be used: {err.strerror}") from err
        if stat.S_ISLNK(info.st_mode):
            raise StoreError(f"directory {show_path(path)} is a symbolic link: name the directory it leads to")
        if not stat.S_ISDIR(info.st_mode):
            raise StoreError(f"directory {show_path(path)} is not a directory")
        check_private(path)
        if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            raise StoreError(f"directory {show_path(path)} cannot be read and written: run this as its owner or root")
        return True

    @staticmethod
    def _check_creatable(path: str) -> None:
        parent = os.path.dirname(path)
        while not os.path.lexists(parent):
            parent = os.path.dirname(parent)
        check_private(parent)
        if not os.path.isdir(parent) or not os.access(parent, os.W_OK | os.X_OK):
            raise StoreError(f"directory {show_path(path)} cannot be made: no right to write in {show_path(parent)}")

    def check_people(self) -> list[str]:
        """Sentences on an owner or group that does not exist."""
        missing = []
        for what, name, look in (("user", self.access.owner, pwd.getpwnam), ("group", self.access.group, grp.getgrnam)):
            if name is not None and not name.isdecimal():
                try:
                    look(name)
                except KeyError:
                    missing.append(f"there is no {what} {name} on this host: install its package first")
        return missing

    def make_directory(self) -> None:
        """Make the directory with its missing parents."""
        try:
            os.makedirs(os.path.dirname(self.directory), exist_ok=True)
            os.mkdir(self.directory, 0o700)
        except FileExistsError:
            return
        except OSError as err:
            raise StoreError(f"directory {show_path(self.directory)} cannot be made: {err.strerror}") from err
        set_attributes(self.directory, mode=self._directory_mode(), owner=self.access.owner, group=self.access.group)

    def _directory_mode(self) -> int:
        return 0o750 if self.access.for_group else 0o700

    def hide(self, *, dry_run: bool) -> str:
        """Have etckeeper commit nothing of the directory; says so if that is news, and else nothing."""
        keeper = self._etckeeper
        probe = os.path.join(self.directory, f"any{KEY}")
        try:
            lines = ignore_lines([f"{self.directory}/"], keeper.top)
            if not lines or not keeper.ready() or not keeper.sees(probe):
                return ""
            before, after = keeper.ignore_text(f"keys in {self.directory}", lines)
            if before == after:
                return ""
            if not dry_run:
                keeper.write_ignore_text(after)
        except (SnapshotError, CommandError) as err:
            raise StoreError(f"etckeeper cannot be kept from committing the keys in {self.directory}: {err}") from err
        return f"etckeeper ignores {self.directory}/"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs out. Raises :class:`StoreError` when one does not end in time."""
        handle = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            deadline = time.monotonic() + LOCK_WAIT
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise StoreError(f"another run is at work in {self.directory}: try again later") from None
                    time.sleep(0.1)
            yield
        finally:
            os.close(handle)

    # Reading

    def names(self) -> list[str]:
        """The names in the directory; none when it does not exist yet."""
        try:
            return sorted(os.listdir(self.directory))
        except FileNotFoundError:
            return []

    def manifest(self, domain: str) -> Manifest | None:
        """The manifest of a domain, or None where there is none."""
        path = self.manifest_path(domain)
        if os.path.islink(path):
            raise StoreError(f"the file {path} is a symbolic link: replace it by a file")
        state = read(path)
        if state is None:
            return None
        try:
            return Manifest.parse(domain, state.text)
        except ManifestError as err:
            raise StoreError(f"the file {path} {err}: restore it, or move it away to have key files adopted") from err

    def read_key(self, path: str) -> DkimKey:
        """The key in a file. Raises :class:`StoreError`; remembered, for it is asked for more than once."""
        if path not in self._keys:
            if os.path.islink(path):
                raise StoreError(
                    f"the file {show_path(path)} is a symbolic link: signers must find the key itself there"
                )
            if os.path.lexists(path):
                self._check_file(path)
            state = read(path)
            if state is None:
                raise StoreError(f"the file {show_path(path)} does not exist")
            try:
                self._keys[path] = read_private(state.content)
            except DkimKeyError as err:
                raise StoreError(f"the file {show_path(path)} {err}") from err
        return self._keys[path]

    @staticmethod
    def _check_file(path: str) -> None:
        """Opening a pipe would wait for ever, and reading a disk would take as long."""
        info = os.stat(path)
        if not stat.S_ISREG(info.st_mode):
            raise StoreError(f"{show_path(path)} is not a file")
        if info.st_size > FILE_LIMIT:
            raise StoreError(f"the file {show_path(path)} is far too long for a private key")

    def look_at(self, selector: str, path: str, *, own: bool) -> Found:
        """A key file that no manifest lists."""
        try:
            check_private(os.path.dirname(path))
            key = self.read_key(path)
            info = os.stat(path)
        except (StoreError, FileError, OSError) as err:
            return Found(selector, problem=str(err))
        if info.st_uid not in (0, os.geteuid(), os.stat(os.path.dirname(path)).st_uid):
            return Found(selector, problem=f"the file {show_path(path)} belongs to an unexpected user: chown it first")
        created = _utc(info.st_mtime)
        return Found(selector, key.algorithm, key.bits, created, "" if own else path)

    def found(
        self, domain: str, wanted: Iterable[str], listed: Manifest, candidates: Mapping[str, list[str]]
    ) -> dict[str, Found]:
        """Key files of a domain that its manifest does not list, by selector.

        A selector with dots counts only if it is ``wanted``: the file ``example.org.uk.mail.key`` is
        more likely one of example.org.uk than one of example.org.
        """
        wanted = set(wanted)
        result = {}
        for selector in candidates.get(domain, []):
            if listed.find(selector) or ("." in selector and selector not in wanted):
                continue
            other = self._claimed(domain, selector)
            if other is None:
                result[selector] = self.look_at(selector, self.key_path(domain, selector), own=True)
            elif selector in wanted:
                raise PlanError(f"its file would be {self.key_path(domain, selector)}, which holds a key of {other}")
        return result

    def _claimed(self, domain: str, selector: str) -> str | None:
        """The other domain whose manifest lists the file that this one's key would lie in."""
        labels = f"{domain}.{selector}".split(".")
        for cut in range(2, len(labels)):
            other, rest = ".".join(labels[:cut]), ".".join(labels[cut:])
            if other != domain and os.path.exists(self.manifest_path(other)):
                manifest = self.manifest(other)
                entry = manifest.find(rest) if manifest is not None else None
                if entry is not None and not entry.path:
                    return other
        return None

    def claimed_paths(self, names: Iterable[str]) -> dict[str, str]:
        """All files outside the naming scheme that manifests list, with their domains."""
        result = {}
        for name in names:
            if name.endswith(MANIFEST) and not name.startswith("."):
                manifest = self.manifest(name.removesuffix(MANIFEST))
                for entry in manifest.keys if manifest is not None else ():
                    if entry.path:
                        result[entry.path] = name.removesuffix(MANIFEST)
        return result

    # Owners and modes

    def access_for_new(self, sibling: str | None) -> Access:
        """Owner, group and mode of a new file: as asked, else as a key beside it, else as the directory.

        So a key made ad hoc for a host that a role has set up can be read by its signer at once.
        """
        like = os.stat(sibling) if sibling is not None and os.path.exists(sibling) else None
        where = os.stat(self.directory)
        pattern = like if like is not None else where
        readable = like.st_mode & 0o040 if like is not None else where.st_mode & 0o050 == 0o050 and where.st_gid != 0
        mode = self.access.mode
        if mode is None:
            mode = 0o640 if self.access.group is not None or readable else 0o600
        root = os.geteuid() == 0
        owner = self.access.owner if self.access.owner is not None or not root else str(pattern.st_uid)
        group = self.access.group if self.access.group is not None or not root else str(pattern.st_gid)
        return Access(owner, group, mode)

    def mend(self, path: str) -> Change | None:
        """What is to be changed about an existing key file's owner, group and mode."""
        info = os.stat(path)
        mode = self.access.mode
        if mode is None:
            mode = 0o640 if self.access.group is not None else stat.S_IMODE(info.st_mode) & self._tolerated(path)
        return self._change(path, info, mode)

    def _tolerated(self, path: str) -> int:
        """Which bits a key file may keep where none are asked for."""
        where = os.stat(os.path.dirname(path))
        own = os.path.dirname(path) == self.directory
        return 0o640 if not own or where.st_mode & 0o050 == 0o050 else 0o600

    def mend_directory(self) -> Change | None:
        """The same for the directory; left as it is where nothing is asked for."""
        info = os.stat(self.directory)
        if self.access == Access():
            return None
        return self._change(self.directory, info, self._directory_mode())

    def _change(self, path: str, info: os.stat_result, mode: int) -> Change | None:
        uid = _number(self.access.owner, info.st_uid, lambda name: pwd.getpwnam(name).pw_uid)
        gid = _number(self.access.group, info.st_gid, lambda name: grp.getgrnam(name).gr_gid)
        if (uid, gid, mode) == (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)):
            return None
        before = f"file {path} {info.st_uid}:{info.st_gid} {stat.S_IMODE(info.st_mode):04o}"
        after = f"file {path} {uid}:{gid} {mode:04o}"
        exposed = stat.S_ISREG(info.st_mode) and bool(info.st_mode & 0o007)
        return Change(path, before, after, mode, self.access.owner, self.access.group, exposed)

    # Writing

    def sweep(self) -> None:
        """Delete the unfinished files of a run that was killed."""
        for name in self.names():
            if _TEMPORARY.fullmatch(name):
                with contextlib.suppress(OSError):
                    os.unlink(os.path.join(self.directory, name))

    def write_key(self, domain: str, entry: Entry, content: bytes, access: Access) -> None:
        """Store a new private key; never over another one."""
        path = self.key_path(domain, entry)
        if os.path.lexists(path):
            raise StoreError(f"the file {path} has come into being meanwhile: run this again")
        write_atomic(path, content, mode=access.mode, owner=access.owner, group=access.group)

    def write_manifest(self, manifest: Manifest, access: Access) -> None:
        """Store a manifest; it holds nothing secret, but is none of others' business."""
        mode = (access.mode or 0o600) | 0o200
        write_atomic(
            self.manifest_path(manifest.domain), str(manifest), mode=mode, owner=access.owner, group=access.group
        )

    def remove_key(self, domain: str, entry: Entry) -> None:
        """Delete a private key; it is well if it is gone already."""
        try:
            os.unlink(self.key_path(domain, entry))
        except FileNotFoundError:
            pass
        except OSError as err:
            raise StoreError(f"the file {self.key_path(domain, entry)} cannot be removed: {err.strerror}") from err


def _number(name: str | None, current: int, look: Callable[[str], int]) -> int:
    """The numeric id of ``name``; ``current`` where none is asked for, -1 for one that does not exist yet."""
    if name is None:
        return current
    if name.isdecimal():
        return int(name)
    try:
        return look(name)
    except KeyError:
        return -1


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def host_suffix() -> str:
    """Four characters that tell this host's keys from those of another that signs for the same domain.

    Two relays that each make a key in the same month must not want the same name in DNS. The
    characters follow from the machine's identity, so that check mode foretells them, and do not show it.
    """
    try:
        with open("/etc/machine-id", encoding="ascii") as handle:
            identity = handle.read().strip()
    except (OSError, UnicodeDecodeError):
        identity = ""
    digest = hashlib.sha256(f"postmaster.mail selector {identity} {socket.gethostname()}".encode()).digest()
    return base64.b32encode(digest)[:4].decode("ascii").lower()


def check_private(path: str) -> None:
    """No directory on the way to ``path`` may be one where others can put files in the place of ours."""
    others = 0o022
    while True:
        try:
            info = os.stat(path)
        except OSError as err:
            raise StoreError(f"directory {show_path(path)} cannot be used: {err.strerror}") from err
        if info.st_mode & others and not info.st_mode & stat.S_ISVTX:
            raise StoreError(f"directory {show_path(path)} can be written by others: chmod go-w it first")
        if path == os.path.dirname(path):
            return
        path, others = os.path.dirname(path), 0o002  # Debian gives some parents, /usr/local, to a group of their own
