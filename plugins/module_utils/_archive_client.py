# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: archives of a mail server as files, and the journal of those that were restored. Private to this collection."""

from __future__ import annotations

import contextlib
import grp
import hashlib
import io
import json
import os
import pwd
import tarfile
import tempfile
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from ansible_collections.postmaster.mail.plugins.module_utils import _archive as values
from ansible_collections.postmaster.mail.plugins.module_utils._archive import ArchiveError

JOURNAL = "/var/lib/postmaster.mail/restored"
LEVEL = 1  # of gzip: mail is large, and time is dearer than space
_BROKEN = (tarfile.TarError, EOFError, zlib.error, OSError, UnicodeDecodeError)


@dataclass(frozen=True)
class Member:
    """A file or link of an archive."""

    name: str
    data: bytes = field(default=b"", repr=False)
    target: str = ""
    mtime: float = 0
    mode: int = 0o600
    owner: str = "root"
    group: str = "root"

    @property
    def digest(self) -> str:
        """What its content is known by."""
        return hashlib.sha256(b"link:" + self.target.encode() if self.target else self.data).hexdigest()

    @property
    def text(self) -> str:
        """The content as text; bytes that are not UTF-8 survive a round trip."""
        return self.data.decode("utf-8", "surrogateescape")


class Writer:
    """An archive that is being made."""

    def __init__(self, stream: tarfile.TarFile) -> None:
        self._tar = stream
        self.sums: dict[str, str] = {}

    def add(self, member: Member) -> None:
        """Put a member into it."""
        info = tarfile.TarInfo(member.name)
        info.mtime, info.mode, info.uname, info.gname = member.mtime, member.mode, member.owner, member.group
        if member.target:
            info.type, info.linkname = tarfile.SYMTYPE, member.target
        info.size = len(member.data)
        self._tar.addfile(info, io.BytesIO(member.data))
        self.sums[member.name] = member.digest

    def close(self) -> None:
        """Have it end with what everything is to be."""
        self.add(Member(values.SUMS, json.dumps(self.sums).encode()))


@contextlib.contextmanager
def writing(path: str, owner: tuple[int, int]) -> Iterator[Writer]:
    """An archive that is at ``path`` when it is whole, and nowhere before. Raises :class:`ArchiveError`."""
    folder = os.path.dirname(path)
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(prefix=".archive.", dir=folder)
        with os.fdopen(handle, "wb") as stream:
            with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=LEVEL, format=tarfile.PAX_FORMAT) as tar:
                writer = Writer(tar)
                yield writer
                writer.close()
            stream.flush()
            os.fchown(stream.fileno(), *owner)
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as err:
        raise ArchiveError(f"{path} cannot be written: {err.strerror}") from err
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def members(path: str) -> Iterator[Member]:
    """All members of an archive, in their order. Raises :class:`ArchiveError`."""
    try:
        with tarfile.open(path, "r:gz") as tar:
            for info in tar:
                if not (info.isreg() or info.issym()):
                    raise ArchiveError(f"{path} holds {info.name}, which is no file: it was not made by mail_backup")
                content = tar.extractfile(info) if info.isreg() else None
                data = content.read() if content else b""
                target = info.linkname if info.issym() else ""
                yield Member(info.name, data, target, info.mtime, info.mode & 0o7777, info.uname, info.gname)
            # tarfile stops where the tar ends: gzip's sum comes after it, and only it covers names, times and modes.
            while tar.fileobj and tar.fileobj.read(1 << 20):
                pass
    except _BROKEN as err:
        said = getattr(err, "strerror", None) or str(err) or type(err).__name__
        raise ArchiveError(f"{path} is damaged or no archive ({said}): take another one") from err


@dataclass(frozen=True)
class Checked:
    """An archive that was read from the first byte to the last one."""

    about: values.About
    names: tuple[str, ...]
    size: int


def check(path: str, allowed: Collection[str]) -> Checked:
    """Read all of an archive and find it whole and ours. Raises :class:`ArchiveError`."""
    found: dict[str, str] = {}
    about, sums, size = None, None, 0
    for member in members(path):
        if sums is not None:
            raise ArchiveError(f"{path} does not end where it says: it was not made by mail_backup")
        wrong = values.complaint(member.name, allowed)
        if about is None:
            about = values.parse_about(member.text if member.name == values.ABOUT else "", path)
        elif wrong:
            raise ArchiveError(f"{path} {wrong}")
        if member.name == values.SUMS:
            sums = values.parse_sums(member.text, path)
        else:
            found[member.name] = member.digest
            size += len(member.data)
    if about is None:
        values.parse_about("", path)
        raise ArchiveError(path)
    if sums is None:
        raise ArchiveError(f"{path} is damaged: it ends early, so take another archive")
    for name in sorted(set(sums) | set(found)):
        if sums.get(name) != found.get(name):
            raise ArchiveError(f"{path} is damaged: {name} is not what it was, so take another archive")
    return Checked(about, tuple(found), size)


def digest_of(path: str) -> str:
    """What an archive is known by."""
    summed = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(1 << 20):
            summed.update(chunk)
    return summed.hexdigest()


class Journal:
    """What of one archive has arrived on this host, so that a run goes on where one before it ended."""

    def __init__(self, digest: str) -> None:
        self.path = os.path.join(JOURNAL, f"{digest}.json")
        try:
            with open(self.path, encoding="utf-8") as stream:
                known = json.load(stream)
        except FileNotFoundError:
            known = {}
        except (OSError, ValueError) as err:
            raise ArchiveError(
                f"{self.path} cannot be read: remove it, and all of the archive is looked at again"
            ) from err
        self.parts: list[str] = list(known.get("parts", []))
        self.homes: list[str] = list(known.get("homes", []))

    def note(self, *, part: str = "", home: str = "") -> None:
        """A part or a home is done."""
        self.parts += [part] if part and part not in self.parts else []
        self.homes += [home] if home and home not in self.homes else []
        os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
        temporary = f"{self.path}.new"
        with open(temporary, "w", encoding="utf-8") as stream:
            json.dump({"parts": self.parts, "homes": self.homes}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, self.path)


def files_below(roots: Collection[str]) -> Iterator[Member]:
    """Files and links at and below the given paths, each under its whole name."""
    for root in roots:
        found = [root] if os.path.islink(root) or os.path.isfile(root) else []
        for folder, names, leaves in os.walk(root):
            found += [os.path.join(folder, name) for name in [*leaves, *names]]
        for path in sorted(found):
            info = os.lstat(path)
            owner, group = _name(pwd.getpwuid, info.st_uid), _name(grp.getgrgid, info.st_gid)
            name = values.FILES + path.lstrip("/")
            if os.path.islink(path):
                yield Member(name, target=os.readlink(path), mtime=info.st_mtime, owner=owner, group=group)
            elif os.path.isfile(path):
                with open(path, "rb") as stream:
                    data = stream.read()
                yield Member(name, data, mtime=info.st_mtime, mode=info.st_mode & 0o7777, owner=owner, group=group)


def _name(look: object, number: int) -> str:
    try:
        return str(look(number)[0])  # type: ignore[operator]
    except KeyError:
        return "root"


def differs(member: Member) -> bool | None:
    """Whether the file of a member is another one here; None where there is none."""
    path = member.name[len(values.FILES) - 1 :]
    if not os.path.lexists(path):
        return None
    if os.path.islink(path):
        return os.readlink(path) != member.target
    if member.target or not os.path.isfile(path):
        return True
    with open(path, "rb") as stream:
        return stream.read() != member.data


def place(member: Member) -> None:
    """Put a file where it was, for its owner if there is one of that name. Raises :class:`ArchiveError`."""
    path = member.name[len(values.FILES) - 1 :]
    temporary = f"{path}.restored"
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        if member.target:
            os.symlink(member.target, temporary)
        else:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as stream:
                stream.write(member.data)
                os.fchown(stream.fileno(), _number(pwd.getpwnam, member.owner), _number(grp.getgrnam, member.group))
                os.fchmod(stream.fileno(), member.mode)
                os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as err:
        raise ArchiveError(f"{path} cannot be written: {err.strerror}") from err


def _number(look: object, name: str) -> int:
    try:
        return int(look(name)[2])  # type: ignore[operator]
    except KeyError:
        return 0
