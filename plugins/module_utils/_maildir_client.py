# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: homes of users with their Maildirs, read while mail flows, and filled while it flows. Private.

Mail needs no lock: a message's file is there whole or not at all, and keeps the first part of its name. So a home is
read until nothing new is found, and filled by renaming what was written beside it. Dovecot's lock is held while
messages and the list of their numbers go in, so that it never sees the one without the other.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping

from ansible_collections.postmaster.mail.plugins.module_utils import _archive as values
from ansible_collections.postmaster.mail.plugins.module_utils._archive import ArchiveError
from ansible_collections.postmaster.mail.plugins.module_utils._archive_client import Member

STAGE = ".restore"
PASSES = 20
LOCK_WAIT, LOCK_STALE = 150.0, 120.0  # Dovecot takes a lock over that is two minutes old
_INDEXES = "dovecot.index"


@contextlib.contextmanager
def as_user(uid: int, gid: int) -> Iterator[None]:
    """Touch mail as its owner does, so that no link in a home leads to what the owner may not touch."""
    if os.geteuid() != 0:
        yield
        return
    groups = os.getgroups()
    os.setgroups([gid])
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def homes(directory: str) -> list[str]:
    """All mailboxes as ``domain/local``, those included whose users have no account any more."""
    return [
        f"{domain}/{local}" for domain in _folders(directory) for local in _folders(os.path.join(directory, domain))
    ]


def _folders(path: str) -> list[str]:
    with os.scandir(path) as items:
        return sorted(item.name for item in items if item.is_dir(follow_symlinks=False) and item.name[0] != ".")


def maildir_folders(maildir: str) -> list[str]:
    """Names of the folders; the empty one is the INBOX."""
    try:
        with os.scandir(maildir) as items:
            found = [item.name for item in items if item.is_dir(follow_symlinks=False) and values.is_folder(item.name)]
    except FileNotFoundError:
        return []
    return ["", *sorted(found)]


def messages(folder: str) -> dict[str, str]:
    """Messages of a folder: ``cur/name`` or ``new/name`` by what stays of the name."""
    found = {}
    for part in ("new", "cur"):
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(os.path.join(folder, part)):
                if not name.startswith("."):
                    found[values.base(name)] = f"{part}/{name}"
    return found


def size_of(directory: str) -> int:
    """Bytes that mail takes, as its file names or the files say."""
    total = 0
    for folder, dummy, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(os.path.join(folder, name)).st_size
    return total


def _member(home: str, rest: str, name: str) -> Member | None:
    path = os.path.join(home, rest)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:  # gone, or renamed with other flags
        return None
    with os.fdopen(handle, "rb") as stream:
        return Member(name + rest, stream.read(), mtime=os.fstat(handle).st_mtime)


def read_home(home: str, name: str) -> Iterator[Member]:
    """What an archive holds of a home. Messages are looked for until a look finds no new one."""
    maildir = os.path.join(home, values.MAILDIR)
    seen: set[tuple[str, str]] = set()
    for dummy in range(PASSES):
        calm = True
        for folder in maildir_folders(maildir):
            for base, place in messages(os.path.join(maildir, folder)).items():
                if (folder, base) not in seen:
                    calm = False
                    member = _member(home, os.path.join(values.MAILDIR, folder, place), name)
                    if member is not None:
                        seen.add((folder, base))
                        yield member
        if calm:
            break
    yield from _small_files(home, name)


def _small_files(home: str, name: str) -> Iterator[Member]:
    """After the messages: who is in no list is given a number when it is looked at."""
    rests = [values.MAILDIR + "/" + values.SUBSCRIPTIONS]
    for folder in maildir_folders(os.path.join(home, values.MAILDIR)):
        rests += [os.path.join(values.MAILDIR, folder, item) for item in values.CONTROL]
    for folder, dummy, names in os.walk(os.path.join(home, values.SCRIPTS)):
        rests += [
            os.path.relpath(os.path.join(folder, item), home) for item in sorted(names) if item.endswith(".sieve")
        ]
    for rest in rests:
        member = _member(home, rest, name)
        if member is not None:
            yield member
    active = os.path.join(home, values.ACTIVE)
    if os.path.islink(active):
        yield Member(name + values.ACTIVE, target=os.readlink(active))


# -- filling ------------------------------------------------------------------------------------
def stage(directory: str, home: str, members: Iterable[Member]) -> str:
    """Write a home beside all others. Returns where."""
    place = os.path.join(directory, STAGE, home)
    shutil.rmtree(os.path.join(directory, STAGE), ignore_errors=True)
    os.makedirs(place, mode=0o700)
    for member in members:
        path = os.path.join(place, values.home_of(member.name)[1])
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        if member.target:
            if member.target.startswith("/") or ".." in member.target.split("/"):
                raise ArchiveError(f"{member.name} leads to {member.target}: it was not made by mail_backup")
            os.symlink(member.target, path)
            continue
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(member.data)
        os.utime(path, (member.mtime, member.mtime))
    for folder in maildir_folders(os.path.join(place, values.MAILDIR)):
        for part in ("cur", "new", "tmp"):
            os.makedirs(os.path.join(place, values.MAILDIR, folder, part), mode=0o700, exist_ok=True)
    return place


def unstage(directory: str) -> None:
    """Leave nothing of it."""
    shutil.rmtree(os.path.join(directory, STAGE), ignore_errors=True)


def merge(place: str, home: str) -> list[str]:
    """Bring a home that was written beside it into its place. Returns what stays as it is here, though it differs."""
    if not os.path.lexists(home):
        os.makedirs(os.path.dirname(home), mode=0o700, exist_ok=True)
        os.rename(place, home)
        return []
    there, here = os.path.join(place, values.MAILDIR), os.path.join(home, values.MAILDIR)
    if os.path.isdir(there) and not os.path.lexists(here):
        os.rename(there, here)
    for folder in maildir_folders(there):
        source, goal = os.path.join(there, folder), os.path.join(here, folder)
        if folder and not os.path.lexists(goal):
            os.rename(source, goal)
        else:
            merge_folder(source, goal)
    _merge_subscriptions(there, here)
    return _merge_scripts(place, home)


def merge_folder(source: str, goal: str) -> None:
    """Bring messages into a folder that is there already."""
    arriving = messages(source)
    with locked(goal):
        present = messages(goal)
        new = {base: name for base, name in arriving.items() if base not in present}
        if not new:
            return
        letters: Mapping[str, str] = {}
        if not present:
            _take_over(source, goal)
        else:
            letters = _join_keywords(source, goal)
        for part in ("cur", "new", "tmp"):
            os.makedirs(os.path.join(goal, part), mode=0o700, exist_ok=True)
        for name in new.values():
            os.rename(
                os.path.join(source, name), os.path.join(goal, values.renamed(name, letters) if letters else name)
            )


def _take_over(source: str, goal: str) -> None:
    """A folder without messages gets the numbers of the one that arrives, so that clients need not fetch all anew."""
    for name in os.listdir(goal):
        if name.startswith(_INDEXES):
            os.unlink(os.path.join(goal, name))
    for name in (values.UIDLIST, values.KEYWORDS):
        if os.path.exists(os.path.join(source, name)):
            os.replace(os.path.join(source, name), os.path.join(goal, name))


def _join_keywords(source: str, goal: str) -> Mapping[str, str]:
    here, there = (values.parse_keywords(_text(os.path.join(item, values.KEYWORDS))) for item in (goal, source))
    words, letters = values.join_keywords(here, there)
    if words != here:
        _replace(os.path.join(goal, values.KEYWORDS), values.render_keywords(words))
    return letters


def _merge_subscriptions(there: str, here: str) -> None:
    name = values.SUBSCRIPTIONS
    old, new = _text(os.path.join(here, name)), _text(os.path.join(there, name))
    joined = values.join_lines(old, new)
    if new and joined != old:
        _replace(os.path.join(here, name), joined)


def _merge_scripts(place: str, home: str) -> list[str]:
    """Scripts that are missing here come; of two that differ the one that is here stays."""
    kept = []
    for folder, dummy, names in os.walk(os.path.join(place, values.SCRIPTS)):
        for name in sorted(names):
            source = os.path.join(folder, name)
            goal = os.path.join(home, os.path.relpath(source, place))
            if not os.path.lexists(goal):
                os.makedirs(os.path.dirname(goal), mode=0o700, exist_ok=True)
                os.rename(source, goal)
            elif _text(goal) != _text(source):
                kept.append(goal)
    source, goal = os.path.join(place, values.ACTIVE), os.path.join(home, values.ACTIVE)
    if os.path.lexists(source):
        if not os.path.lexists(goal):
            os.rename(source, goal)
        elif os.path.islink(goal) and os.readlink(goal) != os.readlink(source):
            kept.append(goal)
    return kept


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            return stream.read()
    except FileNotFoundError:
        return ""


def _replace(path: str, text: str) -> None:
    temporary = f"{path}.restored"
    with open(temporary, "w", encoding="utf-8", errors="surrogateescape") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)


@contextlib.contextmanager
def locked(folder: str) -> Iterator[None]:
    """Hold Dovecot's lock on the list of a folder's messages. Raises :class:`ArchiveError`."""
    path = os.path.join(folder, f"{values.UIDLIST}.lock")
    end = time.monotonic() + LOCK_WAIT
    while True:
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            break
        except FileExistsError:
            with contextlib.suppress(FileNotFoundError):
                if time.time() - os.stat(path).st_mtime > LOCK_STALE:
                    os.unlink(path)
                    continue
        if time.monotonic() > end:
            raise ArchiveError(f"{path} stays: end whatever holds it, or remove it, and run this again")
        time.sleep(0.1)
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
