# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of one daemon that change together, after its own checker has seen a staged copy. Private.

The staged copies lie under one directory, each at its own path there. Where a file of the set or an
argument of a check names another file of the set, it is made to name the staged copy instead.
"""

from __future__ import annotations

import contextlib
import fnmatch
import glob
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.postmaster.mail.plugins.module_utils import _files
from ansible_collections.postmaster.mail.plugins.module_utils._command import CommandError, Runner


class ConfigFilesError(Exception):
    """The set cannot be written; nothing of it was. The message names the file or quotes the checker."""


@dataclass(frozen=True)
class Wanted:
    """A file as it should be; ``content`` None means it should not exist."""

    path: str
    content: bytes | None
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"


@dataclass(frozen=True)
class Check:
    """A program that must succeed; ``always`` also when no file changes, ``complaint`` goes before what it said."""

    argv: tuple[str, ...]
    complaint: str = ""
    always: bool = False


@dataclass(frozen=True)
class Change:
    """One file that differs: what lies there (None: nothing) and what should."""

    before: _files.FileState | None
    wanted: Wanted

    @property
    def describes(self) -> tuple[str, str]:
        """Owner, group and mode before and after, for a diff; empty where there is no file."""
        old = f"{self.before.owner}:{self.before.group} {self.before.mode:04o}\n" if self.before else ""
        want = self.wanted
        return old, "" if want.content is None else f"{want.owner}:{want.group} {want.mode:04o}\n"


def validate(files: Sequence[Wanted]) -> None:
    """Raise :class:`ConfigFilesError` for a path that is relative or given twice."""
    seen: set[str] = set()
    for wanted in files:
        if not os.path.isabs(wanted.path) or os.path.normpath(wanted.path) != wanted.path:
            raise ConfigFilesError(f"files: {wanted.path!r} is no plain absolute path")
        if wanted.path in seen:
            raise ConfigFilesError(f"files: {wanted.path} is given twice: give it once")
        seen.add(wanted.path)


def _differs(before: _files.FileState | None, wanted: Wanted) -> bool:
    if before is None or wanted.content is None:
        return (before is None) != (wanted.content is None)
    current = (before.content, before.owner, before.group, before.mode)
    return current != (wanted.content, wanted.owner, wanted.group, wanted.mode)


def plan(files: Sequence[Wanted]) -> list[Change]:
    """The files that differ from what is wanted, in the order given."""
    validate(files)
    try:
        found = [Change(_files.read(wanted.path), wanted) for wanted in files]
    except _files.FileError as err:
        raise ConfigFilesError(str(err)) from err
    return [change for change in found if _differs(change.before, change.wanted)]


def others(files: Sequence[Wanted], patterns: Sequence[str]) -> list[Wanted]:
    """The files that match one of ``patterns`` and that ``files`` does not name, as such that should not exist."""
    for pattern in patterns:
        if not os.path.isabs(pattern) or os.path.normpath(pattern) != pattern or glob.has_magic(pattern.split("/")[1]):
            raise ConfigFilesError(f"others_absent: {pattern!r} is no absolute path below a directory that it names")
    named = {wanted.path for wanted in files}
    found = {path for pattern in patterns for path in glob.glob(pattern) if os.path.isfile(path)}
    return [Wanted(path, None) for path in sorted(found - named)]


def remove_empty(files: Sequence[Wanted], patterns: Sequence[str]) -> None:
    """Remove the directories that ``files`` have left empty, as far up as the patterns have them match."""
    for wanted in files:
        for pattern in patterns:
            above, path = os.path.dirname(pattern), os.path.dirname(wanted.path)
            while glob.has_magic(above) and _matches(path, above):
                with contextlib.suppress(OSError):  # it holds something else, or is gone
                    os.rmdir(path)
                above, path = os.path.dirname(above), os.path.dirname(path)


def _matches(path: str, pattern: str) -> bool:
    """Whether a path has the form of a pattern, directory by directory."""
    pairs = list(zip(path.split("/"), pattern.split("/"), strict=False))
    return path.count("/") == pattern.count("/") and all(fnmatch.fnmatchcase(*pair) for pair in pairs)


def staged_text(text: str, paths: Sequence[str], root: str) -> str:
    """``text`` with each of ``paths`` replaced by its place under ``root``; the longest match wins."""
    for index, path in enumerate(ordered := sorted(paths, key=len, reverse=True)):
        text = text.replace(path, f"\0{index}\0")
    for index, path in enumerate(ordered):
        text = text.replace(f"\0{index}\0", root + path)
    return text


def _stage(files: Sequence[Wanted], root: str) -> list[str]:
    """Write the copies; the paths they stand for are returned."""
    present = [wanted for wanted in files if wanted.content is not None]
    paths = [wanted.path for wanted in present]
    for wanted in present:
        target = root + wanted.path
        os.makedirs(os.path.dirname(target), exist_ok=True)
        text = (wanted.content or b"").decode("utf-8", "surrogateescape")
        _files.write_atomic(
            target, staged_text(text, paths, root), mode=wanted.mode, owner=wanted.owner, group=wanted.group
        )
    return paths


def check(files: Sequence[Wanted], checks: Sequence[Check], *, changed: bool, runner: Runner) -> None:
    """Run the checks that are due on staged copies; raise :class:`ConfigFilesError` for the first that fails."""
    due = [item for item in checks if changed or item.always]
    if not due:
        return
    root = tempfile.mkdtemp(prefix="config_files.")
    try:
        os.chmod(root, 0o755)  # checkers may run as the daemon's own user
        paths = _stage(files, root)
        for item in due:
            argv = [staged_text(argument, paths, root) for argument in item.argv]
            result = runner.run(argv)
            if result.code != 0:
                said = result.output.replace(root, "") or f"{argv[0]} failed (exit {result.code})"
                raise ConfigFilesError(f"{item.complaint}: {said}" if item.complaint else said)
    except (_files.FileError, CommandError, OSError) as err:
        raise ConfigFilesError(str(err).replace(root, "")) from err
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _put(change: Change) -> None:
    wanted = change.wanted
    if wanted.content is None:
        os.unlink(wanted.path)
        return
    os.makedirs(os.path.dirname(wanted.path), mode=0o755, exist_ok=True)
    _files.write_atomic(wanted.path, wanted.content, mode=wanted.mode, owner=wanted.owner, group=wanted.group)


def _undo(change: Change) -> None:
    before = change.before
    if before is None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(change.wanted.path)
    else:
        _files.write_atomic(
            change.wanted.path, before.content, mode=before.mode, owner=before.owner, group=before.group
        )


def apply(changes: Sequence[Change]) -> None:
    """Write all of ``changes``, or, if one fails, none: what was written before it is put back."""
    done: list[Change] = []
    try:
        for change in changes:
            _put(change)
            done.append(change)
    except (_files.FileError, OSError) as err:
        for change in reversed(done):
            with contextlib.suppress(_files.FileError, OSError):
                _undo(change)
        raise ConfigFilesError(str(err)) from err
