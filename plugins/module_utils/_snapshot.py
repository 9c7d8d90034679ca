# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""States of configuration: values, their archive form, and what it takes to get from one to another. Private.

A state is every directory, regular file and symbolic link below some paths, with owner, group and
mode. Its archive is a tar file that ``tar -C / -x`` understands, led by a member that says what
the state covers. Whatever an archive holds, nothing outside the paths it covers is ever described
by a state read from it.
"""

from __future__ import annotations

import fnmatch
import io
import json
import posixpath
import re
import stat
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

DIRECTORY, FILE, LINK = "directory", "file", "link"
CREATE, REPLACE, ATTRIBUTES, REMOVE = "create", "replace", "attributes", "remove"
SIZE_LIMIT = 64 << 20  # bytes of all files of a state: configuration is small, spools and databases are not
LEADER = "postmaster.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
_TAR_KINDS = {tarfile.DIRTYPE: DIRECTORY, tarfile.REGTYPE: FILE, tarfile.AREGTYPE: FILE, tarfile.SYMTYPE: LINK}


class SnapshotError(ValueError):
    """A state cannot be taken, read or described; the message names the path and the remedy."""


@dataclass(frozen=True)
class Entry:
    """One directory, file or link. Times and numeric owners are kept but do not count as a difference."""

    path: str
    kind: str
    mode: int
    owner: str
    group: str
    content: bytes = field(default=b"", repr=False)
    target: str = ""
    uid: int = field(default=0, compare=False)
    gid: int = field(default=0, compare=False)
    mtime: float = field(default=0, compare=False)

    def describe(self) -> str:
        """One line without content, for a diff."""
        if self.kind == LINK:
            return f"{self.path} -> {self.target}"
        return f"{self.path} {self.kind} {self.mode:04o} {self.owner}:{self.group}"


@dataclass(frozen=True)
class Scope:
    """What a state covers: whole trees or files, less what ``exclude`` matches; and who judges it.

    ``verify`` holds the commands whose success makes a state a working one.
    """

    paths: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    verify: tuple[tuple[str, ...], ...] = ()

    def root_of(self, path: str) -> str | None:
        """The one of ``paths`` that holds ``path``, None if no one does or it is excluded."""
        if any(fnmatch.fnmatchcase(part, pattern) for part in _and_parents(path) for pattern in self.exclude):
            return None
        for root in self.paths:
            if path == root or path.startswith(f"{root}/"):
                return root
        return None


@dataclass(frozen=True)
class State:
    """Entries by path."""

    scope: Scope
    entries: Mapping[str, Entry]


@dataclass(frozen=True)
class Action:
    """One step from a state to another: ``entry`` is the one to be made, or the one to be removed."""

    verb: str
    entry: Entry


@dataclass(frozen=True)
class Plan:
    """The steps in the order in which they are safe, and a diff that shows no content."""

    actions: tuple[Action, ...]
    before: str
    after: str

    @property
    def paths(self) -> list[str]:
        """The paths that are touched, sorted."""
        return sorted({action.entry.path for action in self.actions})


def _and_parents(path: str) -> list[str]:
    """``path`` and every directory above it but the root directory."""
    found = []
    while (parent := posixpath.dirname(path)) != path:
        found.append(path)
        path = parent
    return found


def check_name(name: str) -> str:
    """A name that is safe as a directory's, else :class:`SnapshotError`."""
    if not _NAME.match(name):
        raise SnapshotError(f"name: {name!r} will not do: use letters, digits, dots, dashes and underscores")
    return name


def make_scope(paths: Iterable[str], exclude: Iterable[str] = (), verify: Iterable[Sequence[str]] = ()) -> Scope:
    """A scope of checked absolute paths. Raises :class:`SnapshotError`."""
    cleaned = []
    for path in paths:
        clean = posixpath.normpath(path)
        if not path.startswith("/") or clean in ("/", "//") or "\0" in path or ".." in path.split("/"):
            raise SnapshotError(f"paths: {path!r} will not do: give an absolute path below / without `..`")
        cleaned.append("/" + clean.lstrip("/"))
    if not cleaned:
        raise SnapshotError("paths: there is none: name the files and directories that make up the configuration")
    commands = tuple(tuple(argv) for argv in verify)
    if any(not argv or not argv[0] for argv in commands):
        raise SnapshotError("verify: there is an empty command")
    return Scope(tuple(dict.fromkeys(cleaned)), tuple(exclude), commands)


# --- archives --------------------------------------------------------------------------------


def pack(state: State) -> bytes:
    """The archive of a state."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        leader = json.dumps(
            {"paths": state.scope.paths, "exclude": state.scope.exclude, "verify": state.scope.verify}, indent=1
        ).encode()
        info = tarfile.TarInfo(LEADER)
        info.size, info.mode = len(leader), 0o600
        tar.addfile(info, io.BytesIO(leader))
        for path in sorted(state.entries):
            entry = state.entries[path]
            tar.addfile(_member(entry), io.BytesIO(entry.content))
    return buffer.getvalue()


def _member(entry: Entry) -> tarfile.TarInfo:
    info = tarfile.TarInfo(entry.path.lstrip("/"))
    info.type = {DIRECTORY: tarfile.DIRTYPE, FILE: tarfile.REGTYPE, LINK: tarfile.SYMTYPE}[entry.kind]
    info.mode, info.mtime = entry.mode, entry.mtime
    info.uid, info.gid, info.uname, info.gname = entry.uid, entry.gid, entry.owner, entry.group
    info.size, info.linkname = len(entry.content), entry.target
    return info


def unpack(data: bytes) -> State:
    """The state in an archive. Raises :class:`SnapshotError` for anything that :func:`pack` does not make."""
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            leader = tar.next()
            if leader is None or leader.name != LEADER or not leader.isreg():
                raise SnapshotError("the archive does not say what it covers")
            scope = _parse_leader(_content(tar, leader))
            entries = {}
            while (info := tar.next()) is not None:
                entry = _entry(tar, info, scope)
                entries[entry.path] = entry
    except (tarfile.TarError, OSError, ValueError, EOFError, OverflowError, RecursionError) as err:
        if isinstance(err, SnapshotError):
            raise
        raise SnapshotError(f"the archive cannot be read: {err}") from err
    for path in entries:
        for parent in _and_parents(path)[1:]:
            if parent in entries and entries[parent].kind != DIRECTORY:
                raise SnapshotError(f"the archive holds {path} below {parent}, which is no directory")
    return State(scope, entries)


def _parse_leader(text: bytes) -> Scope:
    values = json.loads(text)
    if not isinstance(values, dict):
        raise SnapshotError("the archive does not say what it covers")
    lists = [values.get(key, []) for key in ("paths", "exclude", "verify")]
    if not all(isinstance(item, list) for item in lists):
        raise SnapshotError("the archive does not say what it covers")
    paths, exclude, verify = lists
    commands = all(isinstance(argv, list) and all(isinstance(word, str) for word in argv) for argv in verify)
    if not commands or not all(isinstance(text, str) for text in [*paths, *exclude]):
        raise SnapshotError("the archive does not say what it covers")
    return make_scope(paths, exclude, verify)


def _content(tar: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    if info.size > SIZE_LIMIT or info.issparse():
        raise SnapshotError(f"the archive holds {info.name}, which is larger than any configuration")
    handle = tar.extractfile(info)
    content = handle.read() if handle is not None else b""
    if len(content) != info.size:
        raise SnapshotError(f"the archive ends within {info.name}")
    return content


def _entry(tar: tarfile.TarFile, info: tarfile.TarInfo, scope: Scope) -> Entry:
    path = "/" + info.name
    plain = posixpath.normpath(path) == path and not path.startswith("//") and "\0" not in path
    if not plain or scope.root_of(path) is None:
        raise SnapshotError(f"the archive holds {info.name!r}, which lies outside of what it covers")
    if info.type not in _TAR_KINDS:
        raise SnapshotError(f"the archive holds {info.name!r}, which is neither a file, a directory nor a link")
    kind = _TAR_KINDS[info.type]
    return Entry(
        path=path,
        kind=kind,
        mode=stat.S_IMODE(info.mode),
        owner=info.uname,
        group=info.gname,
        content=_content(tar, info) if kind == FILE else b"",
        target=info.linkname if kind == LINK else "",
        uid=info.uid,
        gid=info.gid,
        mtime=float(info.mtime),
    )


# --- from one state to another ---------------------------------------------------------------


def plan(current: State, wanted: State) -> Plan:
    """What turns ``current`` into ``wanted`` inside of what ``wanted`` covers.

    First everything that has to give way to another kind, then what is made from the top down (so
    that a directory is there before its content), then what has to go from the bottom up. Every
    step leaves a state from which the rest can be planned anew.
    """
    have = {path: entry for path, entry in current.entries.items() if wanted.scope.root_of(path) is not None}
    want = {path: entry for path, entry in wanted.entries.items() if wanted.scope.root_of(path) is not None}
    # A directory that becomes a file takes its whole content along.
    displaced = {
        path for path in have if path in want and (have[path].kind == DIRECTORY) != (want[path].kind == DIRECTORY)
    }
    clear = [path for path in have if any(part in displaced for part in _and_parents(path))]
    actions = [Action(REMOVE, have[path]) for path in sorted(clear, reverse=True)]
    for path in sorted(want):
        verb = _verb(have.get(path) if path not in clear else None, want[path])
        if verb is not None:
            actions.append(Action(verb, want[path]))
    gone = [path for path in have if path not in want and path not in clear]
    actions += [Action(REMOVE, have[path]) for path in sorted(gone, reverse=True)]
    changed = {action.entry.path for action in actions}
    return Plan(
        tuple(actions),
        before=_listing(changed, have, want, "old content"),
        after=_listing(changed, want, have, "new content"),
    )


def _verb(have: Entry | None, want: Entry) -> str | None:
    if have is None:
        return CREATE
    if have == want:
        return None
    if have.kind != want.kind or have.content != want.content or have.target != want.target:
        return REPLACE
    return ATTRIBUTES


def _listing(paths: Iterable[str], these: Mapping[str, Entry], those: Mapping[str, Entry], remark: str) -> str:
    """A line for each of ``paths`` that is in ``these``; where only contents differ, the remark tells so."""
    lines = []
    for path in sorted(paths):
        if path in these:
            differs = path in those and these[path].content != those[path].content
            lines.append(these[path].describe() + (f", {remark}" if differs else "") + "\n")
    return "".join(lines)


# --- what version control of /etc must not see ------------------------------------------------


def ignore_lines(patterns: Iterable[str], top: str = "/etc") -> list[str]:
    """Patterns as lines of the .gitignore file in ``top``.

    Absolute ones are anchored there; those elsewhere are left out, as nobody tracks them. Raises
    :class:`SnapshotError` for what git would read as something else.
    """
    lines = []
    for pattern in patterns:
        if not pattern.strip() or pattern != pattern.strip() or any(ord(sign) < 32 for sign in pattern):
            raise SnapshotError(f"ignore: {pattern!r} will not do: give one path or pattern without spaces around it")
        if pattern[0] in "!#":
            raise SnapshotError(f"ignore: {pattern!r} will not do: it would not ignore anything")
        if pattern.startswith(f"{top}/"):
            lines.append(pattern.removeprefix(top))
        elif not pattern.startswith("/"):
            lines.append(pattern)
    return list(dict.fromkeys(lines))


def with_ignore_block(text: str, name: str, lines: Sequence[str]) -> str:
    """A .gitignore ``text`` in which the block of ``name`` holds exactly ``lines``.

    The block stands at the end, because later lines win, and never inside etckeeper's own section,
    which etckeeper writes anew.
    """
    begin, end = f"# begin postmaster.mail {name}", f"# end postmaster.mail {name}"
    kept, inside = [], False
    for line in text.splitlines():
        if line == begin:
            inside = True
        elif line == end and inside:
            inside = False
        elif not inside:
            kept.append(line)
    if inside:
        raise SnapshotError(f"/etc/.gitignore holds `{begin}` without its end: mend it by hand")
    block = [begin, *lines, end] if lines else []
    return "".join(f"{line}\n" for line in [*kept, *block])
