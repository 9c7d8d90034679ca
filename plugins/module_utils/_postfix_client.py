# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: one host's Postfix configuration, read once, tried in a private copy, written once. Private.

The copy is tried by Postfix itself: ``postconf``, ``postfix check``, ``postmap``, and a master of
its own whose queue and data directories are scratch, whose network services are local sockets, and
which neither reads nor writes the host's queue. It ends by itself after ``MASTER_SECONDS`` even if
we are killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import re
import shutil
import stat
import struct
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ansible_collections.postmaster.mail.plugins.module_utils import _files, _postfix, _postfix_plan
from ansible_collections.postmaster.mail.plugins.module_utils._command import CommandError, Runner
from ansible_collections.postmaster.mail.plugins.module_utils._postfix_complaints import (
    complaints,
    condense,
    explain,
    lacking,
)
from ansible_collections.postmaster.mail.plugins.module_utils._postfix_trial import (
    MASTER_SECONDS,
    Trial,
    link_neighbours,
    log,
    stop_master,
    talk,
    write_master,
    write_staged,
)

ROOM = 32 << 20
"""Octets that must be free where the copy is made, beside what its maps need."""
COPY_LIMIT = 1 << 20
"""Files of the configuration directory above this size in octets are linked into the copy."""

_STAGE_PREFIX = "postmaster.mail-postconf-"
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_RESTRICTION = re.compile(r"(?i)(permit|reject|defer|warn_if_reject|check_\w|sleep)")
"""How access restrictions begin; the linker may have merged a name with the end of a longer one."""


class CheckFailed(Exception):
    """Postfix does not accept the staged configuration; ``problems`` are its sentences."""

    def __init__(self, problems: Sequence[str], lacking: bool = False) -> None:
        super().__init__("Postfix does not accept this, and nothing was changed: " + "; ".join(problems))
        self.problems = tuple(problems)
        self.lacking = lacking
        """Whether all that is wrong is that a file or a map type is not there (yet)."""


class PostfixClient:
    """Reads, tries and writes one configuration directory."""

    def __init__(self, *, runner: Runner | None = None, path: str = _PATH) -> None:
        self._runner = runner or Runner()
        self._path = path

    def refuse_user(self) -> None:
        """Raise :class:`CommandError` unless we are root, to whom the configuration belongs."""
        if os.geteuid() != 0:
            raise CommandError("Postfix's configuration belongs to root; run this task with become: true")

    def installed(self) -> bool:
        """Whether Postfix's programs are there."""
        return shutil.which("postconf", path=self._path) is not None

    @contextlib.contextmanager
    def lock(self, directory: str) -> Iterator[None]:
        """Keep a second run out of ``directory`` until this one has finished."""
        try:
            handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as err:
            raise _files.FileError(f"{directory} cannot be opened: {err.strerror}; is Postfix installed?") from err
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    # ------------------------------------------------------------ reading

    def read(self, request: _postfix_plan.Request) -> _postfix_plan.Current:
        """All files that ``request`` is about; no process is started."""
        found: dict[str, _postfix_plan.OnDisk | None] = {}
        for path in (request.main_path, request.master_path, *(item.path for item in request.files)):
            found[path] = _read_text(path)
        for table in request.maps:
            found[table.path] = _read_text(table.path)
            if table.compiled:
                found[table.compiled] = _read_compiled(table.compiled, table.table)
        return _postfix_plan.Current(found)

    def named(self, request: _postfix_plan.Request) -> _postfix_plan.Request:
        """``request`` with numeric owners and groups as names, the way they are read from disk."""

        def by_name(attributes: _postfix_plan.Attributes) -> _postfix_plan.Attributes:
            owner, group = attributes.owner or "", attributes.group or ""
            return replace(
                attributes,
                owner=_files._user_name(int(owner)) if owner.isdecimal() else attributes.owner,
                group=_files._group_name(int(group)) if group.isdecimal() else attributes.group,
            )

        return replace(
            request,
            maps=tuple(replace(table, attributes=by_name(table.attributes)) for table in request.maps),
            files=tuple(replace(item, attributes=by_name(item.attributes)) for item in request.files),
        )

    def refuse(self, request: _postfix_plan.Request) -> None:
        """Raise :class:`_files.FileError` for what would fail halfway: no directory, no such owner."""
        wanted = [(table.path, table.attributes) for table in request.maps if not table.absent]
        wanted += [(item.path, item.attributes) for item in request.files]
        for path, attributes in wanted:
            directory = os.path.dirname(path)
            if not os.path.isdir(directory):
                raise _files.FileError(f"{path} cannot be written: there is no directory {directory}; create it first")
            _files._ids(path, attributes.owner, attributes.group)

    # ------------------------------------------------------------ trying

    @contextlib.contextmanager
    def staged(self, plan: _postfix_plan.Plan) -> Iterator[Trial]:
        """A private copy of the configuration as ``plan`` would make it; removed at the end."""
        _remove_stale()
        root = tempfile.mkdtemp(prefix=f"{_STAGE_PREFIX}{os.getpid()}-", dir=_roomy(plan))
        try:
            # Daemons reach the scratch queue after they gave up root; etc stays closed to them.
            os.chmod(root, 0o711)
            trial = Trial(root, f"{root}/etc", f"{root}/queue", f"{root}/data", f"{root}/etc/.log")
            os.mkdir(trial.etc, 0o700)
            os.mkdir(trial.queue, 0o755)
            os.mkdir(trial.data, 0o700)
            self._fill(trial, plan)
            yield trial
        finally:
            shutil.rmtree(root, ignore_errors=True)

    def _fill(self, trial: Trial, plan: _postfix_plan.Plan) -> None:
        directory = plan.request.config_directory
        _copy_directory(directory, trial.etc)
        trial.moved[directory] = trial.etc
        data = _postfix.MainCf.parse(plan.main_text).as_dict().get("data_directory", "/var/lib/postfix")
        trial.moved[data] = trial.data
        for write in (*plan.files, *plan.maps):
            _stage_write(trial, write)
        fresh = {write.path for write in plan.maps}
        for build in plan.builds:
            request = build.request
            if request.path not in fresh:
                # Its copy may be a link; postmap must never write through one.
                content = _files.read(request.path)
                _stage_write(
                    trial, _postfix_plan.Write(request.path, content.text if content else "", request.attributes)
                )
        for path, wanted in plan.attributes:
            # A mode that is about to be mended must not be what the check stumbles over.
            if not os.path.islink(trial.place(path)) and os.path.exists(trial.place(path)):
                _files.set_attributes(trial.place(path), mode=wanted.mode, owner=wanted.owner, group=wanted.group)
        for path in plan.removals:
            trial.moved.setdefault(path, trial.place(path))
            with contextlib.suppress(FileNotFoundError):
                os.unlink(trial.place(path))
        main = _postfix.MainCf.parse(trial.redirect(plan.main_text)).with_values(_overrides(trial))
        write_staged(f"{trial.etc}/main.cf", str(main), 0o644)
        write_staged(f"{trial.etc}/master.cf", trial.redirect(plan.master_text), 0o644)

    def check(self, trial: Trial, plan: _postfix_plan.Plan) -> None:
        """Let Postfix judge the copy; raises :class:`CheckFailed` with everything it complains of."""
        problems: list[str] = []
        for build in plan.builds:
            problems += self._build(trial, build)
        settings, said = self._settings(trial)
        problems += said
        if not said:
            problems += self._judge_values(plan, settings["daemon_directory"])
            owner = pwd.getpwnam(settings["mail_owner"])
            os.chown(trial.data, owner.pw_uid, -1)
            problems += self._postfix_check(trial)
        if not problems:
            problems += self._dialogue(trial, plan, settings)
        if problems:
            raise CheckFailed(condense([explain(trial.restore(line), plan) for line in problems]), lacking(problems))

    def _build(self, trial: Trial, build: _postfix_plan.Build) -> list[str]:
        """Compile or at least read one map in the copy; what Postfix says of it."""
        request = build.request
        place = trial.place(request.path)
        argv = ["postmap", "-c", trial.etc]
        if request.type == _postfix.ALIAS:
            argv[0] = "postalias"
        if not build.compile:
            argv += ["-q", "nobody@invalid"]
        argv.append(f"{request.table}:{place}")
        result = self._run(argv)
        said = complaints(result.output)
        if result.code != 0 and build.compile and not said:
            said = [f"{argv[0]} {request.path} failed (exit {result.code})"]
        return [f"map {request.path}: {line}" for line in said]

    def _settings(self, trial: Trial) -> tuple[dict[str, str], list[str]]:
        """What the trial needs to know, and what postconf complains of."""
        listed = self._run(["postconf", "-c", trial.etc, "-n"])
        said = complaints(listed.output)
        if said:
            return {}, said
        # postmap reads all common parameters and, unlike postfix on Debian 12, names a bad one on its standard error.
        tried = self._run(["postmap", "-c", trial.etc, "-q", "x", "static:x"])
        said = complaints(tried.output)
        if said:
            return {}, said
        names = ["daemon_directory", "mail_owner"]
        found = self._run(["postconf", "-c", trial.etc, "-x", *names])
        pairs = (line.partition("=") for line in found.stdout.splitlines())
        settings = {name.strip(): value.strip() for name, dummy, value in pairs}
        if found.code != 0 or not set(names) <= set(settings):
            return {}, complaints(found.output) or [f"postconf: error: it does not tell {' and '.join(names)}"]
        return settings, complaints(found.output)

    def _judge_values(self, plan: _postfix_plan.Plan, daemons: str) -> list[str]:
        """What Postfix would find out only with mail at the door: unknown words and missing programs."""
        found = _postfix.settings(plan.main_text, plan.master_text)
        said = [
            f"error: {word!r} is no value of this parameter [{item.where}]" for item, word in _postfix.bad_words(found)
        ]
        for service in _postfix.MasterCf.parse(plan.master_text).services().values():
            if not os.access(os.path.join(daemons, service.command[0]), os.X_OK):
                name = f"{service.service}/{service.type}"
                said.append(f"master.cf: {name}: error: {daemons} has no program {service.command[0]}")
        try:
            with open(f"{daemons}/smtpd", "rb") as handle:
                program = handle.read()
        except OSError:
            return said
        if b"reject_unauth_destination\0" in program:
            for item, word in _postfix.restriction_words(found):
                if not _RESTRICTION.match(word) or f"{word.lower()}\0".encode() not in program:
                    said.append(f"error: smtpd knows no restriction {word!r} [{item.where}]")
        return said

    def _postfix_check(self, trial: Trial) -> list[str]:
        result = self._run(["postfix", "-c", trial.etc, "check"])
        said = complaints(result.output + "\n" + log(trial))
        if result.code != 0 and not said:
            said = [f"postfix check failed (exit {result.code}): {result.output}"]
        return said

    def _run(self, argv: Sequence[str]) -> _CommandResult:
        result = self._runner.run(argv, env={"PATH": self._path})
        return _CommandResult(result.code, result.stdout, result.output)

    # ------------------------------------------------------------ dialogue

    def _dialogue(self, trial: Trial, plan: _postfix_plan.Plan, settings: dict[str, str]) -> list[str]:
        """Start a master on the copy, talk to every smtpd, wake the other daemons."""
        probes = write_master(trial, plan)
        link_neighbours(trial, plan)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(trial.log)
        argv = [f"{settings['daemon_directory']}/master", "-c", trial.etc, "-e", str(MASTER_SECONDS), "-w"]
        started = self._run(argv)
        try:
            if started.code != 0:
                said = complaints(started.output + "\n" + log(trial))
                return said or [f"master does not start (exit {started.code}): {started.output}"]
            return talk(trial, probes)
        finally:
            stop_master(trial.root)

    # ------------------------------------------------------------ writing

    def commit(self, trial: Trial | None, plan: _postfix_plan.Plan) -> None:
        """Write what ``plan`` says, in its order; every single step is atomic.

        A compiled map follows its source: killed between the two, the next run finds the compiled
        file older than its source and makes it anew.
        """
        for write in plan.files:
            _replace(write)
        for write in plan.maps:
            _replace(write)
            self._commit_compiled(trial, plan, write.path)
        written = {write.path for write in plan.maps}
        for build in plan.builds:
            if build.request.path not in written:
                self._commit_compiled(trial, plan, build.request.path)
        for write in plan.configuration:
            _replace(write)
        for path, wanted in plan.attributes:
            _files.set_attributes(path, mode=wanted.mode, owner=wanted.owner, group=wanted.group)
        for path in plan.removals:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def _commit_compiled(self, trial: Trial | None, plan: _postfix_plan.Plan, path: str) -> None:
        for build in plan.builds:
            request = build.request
            if request.path != path or not build.compile or request.compiled is None or trial is None:
                continue
            staged = trial.place(request.path) + request.compiled[len(request.path) :]
            with open(staged, "rb") as handle:
                content = handle.read()
            wanted = request.attributes
            _sweep(request.compiled)
            _files.write_atomic(request.compiled, content, mode=wanted.mode, owner=wanted.owner, group=wanted.group)


@dataclass(frozen=True)
class _CommandResult:
    code: int
    stdout: str
    output: str


# ---------------------------------------------------------------- files


def _attributes(state: _files.FileState) -> _postfix_plan.Attributes:
    return _postfix_plan.Attributes(state.mode, state.owner, state.group)


def _read_text(path: str) -> _postfix_plan.OnDisk | None:
    state = _files.read(path)
    if state is None:
        return None
    return _postfix_plan.OnDisk(state.text, _attributes(state), os.stat(path).st_mtime_ns)


def _read_compiled(path: str, kind: str) -> _postfix_plan.OnDisk | None:
    """A compiled map by its first bytes: LMDB's and Berkeley DB's magic numbers."""
    try:
        with open(path, "rb") as handle:
            info = os.fstat(handle.fileno())
            head = handle.read(24)
    except FileNotFoundError:
        return None
    except OSError as err:
        raise _files.FileError(f"{path} cannot be read: {err.strerror}") from err
    names = _files.FileState(
        b"", _files._user_name(info.st_uid), _files._group_name(info.st_gid), stat.S_IMODE(info.st_mode)
    )
    return _postfix_plan.OnDisk("", _attributes(names), info.st_mtime_ns, _has_magic(head, kind))


_MAGIC = {"lmdb": (16, 0xBEEFC0DE), "hash": (12, 0x061561), "btree": (12, 0x053162)}


def _has_magic(head: bytes, kind: str) -> bool:
    offset, magic = _MAGIC[kind]
    return len(head) >= offset + 4 and struct.unpack_from("=I", head, offset)[0] == magic


def _copy_directory(source: str, target: str) -> None:
    """Copy regular files with mode and owner; large ones and dangling links become links."""
    for entry in os.scandir(source):
        place = f"{target}/{entry.name}"
        try:
            info = entry.stat()
        except FileNotFoundError:
            continue
        if stat.S_ISDIR(info.st_mode):
            os.mkdir(place, 0o700)
            _copy_directory(entry.path, place)
            os.chown(place, info.st_uid, info.st_gid)
            os.chmod(place, stat.S_IMODE(info.st_mode))
        elif stat.S_ISREG(info.st_mode) and info.st_size <= COPY_LIMIT:
            shutil.copy2(entry.path, place)
            os.chown(place, info.st_uid, info.st_gid)
        elif stat.S_ISREG(info.st_mode):
            os.symlink(os.path.realpath(entry.path), place)


def _overrides(trial: Trial) -> dict[str, str | None]:
    """What keeps the trial away from the host's queue, log and other instances, and from waiting for a signer."""
    return {
        "queue_directory": trial.queue,
        "data_directory": trial.data,
        "maillog_file": trial.log,
        "maillog_file_prefixes": trial.root,
        # The check looks at the modes there too, and would see those that are about to be mended.
        **({"meta_directory": trial.etc} if os.path.exists(f"{trial.etc}/postfix-files") else {}),
        "multi_instance_wrapper": None,
        "multi_instance_directories": None,
        "multi_instance_enable": None,
        "milter_default_action": "accept",
        "milter_connect_timeout": "2s",
    }


def _stage_write(trial: Trial, write: _postfix_plan.Write) -> None:
    place = trial.place(write.path)
    trial.moved.setdefault(write.path, place)
    os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
    write_staged(place, write.content, write.attributes.mode or 0o600)
    for suffix in set(_postfix.INDEXED.values()):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(place + suffix)


def _replace(write: _postfix_plan.Write) -> None:
    wanted = write.attributes
    _sweep(write.path)
    _files.write_atomic(write.path, write.content, mode=wanted.mode, owner=wanted.owner, group=wanted.group)


def _roomy(plan: _postfix_plan.Plan) -> str | None:
    """/run, which is gone after a restart; None, the usual place, if the maps may not fit there."""
    need = ROOM + 16 * sum(len(write.content) for write in plan.maps)
    try:
        free = os.statvfs("/run")
    except OSError:
        return None
    return "/run" if os.access("/run", os.W_OK) and free.f_bavail * free.f_frsize > need else None


def _sweep(path: str) -> None:
    """Remove what a killed run may have left beside ``path``; it can hold a secret."""
    directory, name = os.path.split(os.path.realpath(path))
    leftover = re.compile(rf"\.{re.escape(name)}\.[a-z0-9_]{{8}}")
    with contextlib.suppress(OSError):
        for entry in os.scandir(directory):
            if leftover.fullmatch(entry.name):
                os.unlink(entry.path)


def _remove_stale() -> None:
    """End and remove what killed runs left: their copies may hold secrets. The name tells whose it was."""
    for base in sorted({"/run", tempfile.gettempdir()}):
        with contextlib.suppress(OSError):
            for entry in os.scandir(base):
                owner = re.match(rf"{re.escape(_STAGE_PREFIX)}(\d+)-", entry.name)
                ours = entry.stat(follow_symlinks=False).st_uid == os.geteuid()
                if owner and ours and not os.path.exists(f"/proc/{owner[1]}"):
                    stop_master(entry.path)
                    shutil.rmtree(entry.path, ignore_errors=True)
