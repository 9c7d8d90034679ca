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
import selectors
import shutil
import signal
import socket
import stat
import struct
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from ansible_collections.postmaster.mail.plugins.module_utils import _files, _postfix, _postfix_plan
from ansible_collections.postmaster.mail.plugins.module_utils._command import CommandError, Runner

MASTER_SECONDS = 30
DIALOGUE_SECONDS = 15.0
ROOM = 32 << 20
"""Octets that must be free where the copy is made, beside what its maps need."""
COPY_LIMIT = 1 << 20
"""Files of the configuration directory above this size in octets are linked into the copy."""

PROBLEM_LIMIT = 8
"""More complaints than this help nobody."""

_LACKING = re.compile(r"No such file or directory|unsupported dictionary type|has no program")
_STAGE_PREFIX = "postmaster.mail-postconf-"
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_TROUBLE = re.compile(r"\b(warning|error|fatal|panic):")
_LOG_HEAD = re.compile(r"\A\w{3} [ \d]\d [\d:]{8} \S+ ([^\s\[]+)\[\d+\]: ")
_ENVIRONMENT = re.compile(
    r"connect to Milter service .*(Connection refused|No such file|timed out|unreachable)"
    r"|bounce: warning: malformed request"
    r"|NIS domain name not set"
    r"|inet_protocols: disabling IPv[46] name/address support"
    r"|warning: process \S+ pid \d+ exit status"
    r"|warning: \S+: bad command startup -- throttling"
)
"""What says nothing about the configuration: signers that are not up yet, and echoes of our own doing."""
_QUEUES = frozenset(
    "active bounce corrupt defer deferred flush hold incoming maildrop pid private public saved trace".split()
)
_DAEMONS = frozenset({"smtpd", "smtp", "lmtp", "cleanup", "trivial-rewrite", "local", "bounce", "proxymap", "tlsmgr"})
_QUEUE_RUNNERS = frozenset({"qmgr", "oqmgr", "nqmgr", "pickup"})
"""Programs that are woken in the trial; others work only with data that is not in the copy."""
_RESTRICTION = re.compile(r"(?i)(permit|reject|defer|warn_if_reject|check_\w|sleep)")
"""How access restrictions begin; the linker may have merged a name with the end of a longer one."""


class CheckFailed(Exception):
    """Postfix does not accept the staged configuration; ``problems`` are its sentences."""

    def __init__(self, problems: Sequence[str], lacking: bool = False) -> None:
        super().__init__("Postfix does not accept this, and nothing was changed: " + "; ".join(problems))
        self.problems = tuple(problems)
        self.lacking = lacking
        """Whether all that is wrong is that a file or a map type is not there (yet)."""


@dataclass
class Trial:
    """The private copy: ``etc`` (configuration), ``queue``, ``data``, below ``root``."""

    root: str
    etc: str
    queue: str
    data: str
    log: str
    moved: dict[str, str] = field(default_factory=dict)
    """Real path of every file or directory that lies in the copy, to its place there."""

    def place(self, path: str) -> str:
        """Where ``path`` lies in the copy."""
        for real, staged in self.moved.items():
            if path == real or path.startswith(f"{real}/"):
                return staged + path[len(real) :]
        return f"{self.root}/etc/.outside{path}"

    def redirect(self, text: str) -> str:
        """``text`` with every path that was moved replaced by its place in the copy."""
        if not self.moved:
            return text
        names = sorted(self.moved, key=len, reverse=True)
        pattern = "|".join(re.escape(name) for name in names)
        return re.sub(rf"(?<![\w./-])({pattern})(?![\w.-])", lambda found: self.moved[found[1]], text)

    def restore(self, text: str) -> str:
        """``text`` with the copy's paths replaced by the real ones, for people."""
        for real, staged in sorted(self.moved.items(), key=lambda pair: len(pair[1]), reverse=True):
            text = text.replace(staged, real)
        return text.replace(f"{self.root}/etc/.outside", "").replace(self.queue, "$queue_directory")


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
                owner=_files._user_name(int(owner)) if owner.isdigit() else attributes.owner,
                group=_files._group_name(int(group)) if group.isdigit() else attributes.group,
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
        main = _postfix.MainCf.parse(trial.redirect(plan.main_text)).with_values(
            {
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
        )
        _write_staged(f"{trial.etc}/main.cf", str(main), 0o644)
        _write_staged(f"{trial.etc}/master.cf", trial.redirect(plan.master_text), 0o644)

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
        said = _complaints(result.output)
        if result.code != 0 and build.compile and not said:
            said = [f"{argv[0]} {request.path} failed (exit {result.code})"]
        return [f"map {request.path}: {line}" for line in said]

    def _settings(self, trial: Trial) -> tuple[dict[str, str], list[str]]:
        """What the trial needs to know, and what postconf complains of."""
        listed = self._run(["postconf", "-c", trial.etc, "-n"])
        said = _complaints(listed.output)
        if said:
            return {}, said
        # postmap reads all common parameters and, unlike postfix on Debian 12, names a bad one on its standard error.
        tried = self._run(["postmap", "-c", trial.etc, "-q", "x", "static:x"])
        said = _complaints(tried.output)
        if said:
            return {}, said
        names = ["daemon_directory", "mail_owner"]
        found = self._run(["postconf", "-c", trial.etc, "-x", *names])
        pairs = (line.partition("=") for line in found.stdout.splitlines())
        settings = {name.strip(): value.strip() for name, _, value in pairs}
        if found.code != 0 or not set(names) <= set(settings):
            return {}, _complaints(found.output) or [f"postconf: error: it does not tell {' and '.join(names)}"]
        return settings, _complaints(found.output)

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
        said = _complaints(result.output + "\n" + _log(trial))
        if result.code != 0 and not said:
            said = [f"postfix check failed (exit {result.code}): {result.output}"]
        return said

    def _run(self, argv: Sequence[str]) -> _CommandResult:
        result = self._runner.run(argv, env={"PATH": self._path})
        return _CommandResult(result.code, result.stdout, result.output)

    # ------------------------------------------------------------ dialogue

    def _dialogue(self, trial: Trial, plan: _postfix_plan.Plan, settings: dict[str, str]) -> list[str]:
        """Start a master on the copy, talk to every smtpd, wake the other daemons."""
        probes = _trial_master(trial, plan)
        _link_neighbours(trial, plan)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(trial.log)
        argv = [f"{settings['daemon_directory']}/master", "-c", trial.etc, "-e", str(MASTER_SECONDS), "-w"]
        started = self._run(argv)
        try:
            if started.code != 0:
                said = _complaints(started.output + "\n" + _log(trial))
                return said or [f"master does not start (exit {started.code}): {started.output}"]
            return _talk(trial, probes)
        finally:
            _stop_master(trial)

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


def _stage_write(trial: Trial, write: _postfix_plan.Write) -> None:
    place = trial.place(write.path)
    trial.moved.setdefault(write.path, place)
    os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
    _write_staged(place, write.content, write.attributes.mode or 0o600)
    for suffix in set(_postfix.INDEXED.values()):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(place + suffix)


def _write_staged(path: str, content: str, mode: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content.encode("utf-8", "surrogateescape"))
        os.fchmod(handle, mode)
    # Postfix reads a file again and again until its last change is more than a second ago.
    past = time.time() - 60
    os.utime(path, (past, past))


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
    """Remove what killed runs left: their copies may hold secrets. The name tells whose it was."""
    for base in {"/run", tempfile.gettempdir()}:
        with contextlib.suppress(OSError):
            for entry in os.scandir(base):
                owner = re.match(rf"{re.escape(_STAGE_PREFIX)}(\d+)-", entry.name)
                ours = entry.stat(follow_symlinks=False).st_uid == os.geteuid()
                if owner and ours and not os.path.exists(f"/proc/{owner[1]}"):
                    shutil.rmtree(entry.path, ignore_errors=True)


# ---------------------------------------------------------------- what Postfix says


def _log(trial: Trial) -> str:
    try:
        with open(trial.log, encoding="utf-8", errors="replace") as handle:
            return handle.read()
    except FileNotFoundError:
        return ""


def _complaints(text: str) -> list[str]:
    """The lines of ``text`` that are warnings or worse, without time and process number."""
    lines = (_LOG_HEAD.sub(r"\1: ", line.strip()) for line in text.splitlines())
    return [line for line in lines if _TROUBLE.search(line) and not _ENVIRONMENT.search(line)]


_PLACE = re.compile(r" \[(main|master)\.cf .*\]\Z")


def explain(problem: str, plan: _postfix_plan.Plan) -> str:
    """``problem`` with the parameter and the line of the file it is about, where that can be told."""
    if "unsupported dictionary type" in problem:
        problem = f"{problem} (install the package of this map type, such as postfix-lmdb or postfix-pcre)"
    if problem.startswith("map ") or _PLACE.search(problem):
        return problem
    found = _postfix.settings(plan.main_text, plan.master_text)
    changed = [item for item in found if _is_changed(item, plan)]
    said = re.sub(r"\A\S+: ", "", problem)
    for candidates in (changed, found):
        named = [item.where for item in candidates if re.search(rf"(?<![\w-]){re.escape(item.name)}(?![\w-])", said)]
        whole = [item.where for item in candidates if len(item.value) > 3 and item.value in said]
        words = [item.where for item in candidates if _mentions(said, item.value)]
        places = whole if len(whole) == 1 else named or words[:1]
        if places:
            return f"{problem} [{'; '.join(dict.fromkeys(places))}]"
    return problem


def _is_changed(item: _postfix.Setting, plan: _postfix_plan.Plan) -> bool:
    if item.where.startswith("main.cf"):
        return item.name in plan.changed_parameters
    return item.where.split(":")[0].removeprefix("master.cf ") in plan.changed_parameters


def _mentions(said: str, value: str) -> bool:
    """Whether a quoted or final word of ``said``, or a file or map type in it, occurs in ``value``."""
    words = {*re.findall(r"[\"'<]([^\"'<>]+)[\"'>]", said), re.split(r"[\s:]+", said)[-1]} - {""}
    if any(word == value or word in re.split(r"[\s,]+", value) for word in words):
        return True
    if any(re.search(rf"\$[{{(]?{re.escape(word)}\b", value) for word in words):
        return True
    files = re.findall(r"(/[\w./-]+?)(?:\.lmdb|\.db)?(?=[\s:;,()]|\Z)", said)
    kinds = re.findall(r"unsupported dictionary type: (\w+)", said)
    return any(word in value for word in (*files, *(f"{kind}:" for kind in kinds)))


_ECHO = re.compile(
    r"TLS library problem|is unavailable|lookup (error|problem|failure)|smtpd_client_event_limit_exceptions"
    r"|smtpd answers with an error"
)


def condense(problems: Sequence[str]) -> list[str]:
    """Each sentence once, whichever daemons say it, and echoes only where nothing else is said."""
    kept: dict[str, str] = {}
    for problem in problems:
        sentence = re.sub(r"\A\S+/([\w-]+): ", r"\1: ", problem)
        kept.setdefault(_PLACE.sub("", sentence), problem)
    plain = [problem for problem in kept.values() if not _ECHO.search(problem)]
    placed = [problem for problem in kept.values() if _PLACE.search(problem)]
    return (plain or placed or list(kept.values()))[:PROBLEM_LIMIT]


def lacking(problems: Sequence[str]) -> bool:
    """Whether every program that complains does so because something is not there."""
    speakers: dict[str, list[str]] = {}
    for problem in problems:
        speakers.setdefault(problem.split(": ")[0], []).append(problem)
    speakers.pop("master.cf", None)
    return bool(speakers) and all(any(_LACKING.search(line) for line in lines) for lines in speakers.values())


# ---------------------------------------------------------------- the trial's master


@dataclass(frozen=True)
class _Probe:
    """A socket to talk to; without ``commands`` it is enough that the daemon sends its greeting,
    or takes the ``trigger`` and closes."""

    path: str
    name: str
    commands: tuple[str, ...] = ()
    trigger: str = ""


_GREET = ("EHLO localhost", "QUIT")
_STRANGER = ("XCLIENT ADDR=192.0.2.1 NAME=[UNAVAILABLE]", "EHLO localhost", "VRFY nobody@nowhere.invalid", "QUIT")
"""What a stranger asks: makes smtpd and trivial-rewrite evaluate every list of networks and domains."""

_ACCESS = _postfix.MasterService(
    service="trial-access",
    type="unix",
    private="n",
    chroot="n",
    command=("smtpd",),
    options=(
        ("smtpd_authorized_xclient_hosts", "127.0.0.0/8"),
        ("disable_vrfy_command", "no"),
        ("smtpd_delay_reject", "yes"),
        ("smtpd_upstream_proxy_protocol", ""),
        ("smtpd_tls_wrappermode", "no"),
        ("smtpd_tls_security_level", ""),
        ("smtpd_milters", ""),
        ("smtpd_helo_required", "no"),
        ("smtpd_client_restrictions", ""),
        ("smtpd_helo_restrictions", ""),
        ("smtpd_sender_restrictions", ""),
        ("smtpd_recipient_restrictions", ""),
        ("smtpd_relay_restrictions", "permit_mynetworks, reject_unauth_destination"),
    ),
)
_POSTLOG = _postfix.MasterService("postlog", "unix-dgram", "n", "-", "n", "-", "1", ("postlogd",))


def _trial_master(trial: Trial, plan: _postfix_plan.Plan) -> list[_Probe]:
    """Write the trial's master.cf: network services on local sockets, nothing chrooted, no queue runs."""
    master = _postfix.MasterCf.parse(trial.redirect(plan.master_text))
    main = _postfix.MainCf.parse(plan.main_text).as_dict()
    services = [_POSTLOG, _ACCESS]
    probes = [_Probe(f"{trial.queue}/public/{_ACCESS.service}", "the lists of networks and domains", _STRANGER)]
    for service in master.services().values():
        program = service.command[0]
        if program in ("postscreen", "spawn", "postlogd"):
            continue
        if program == "smtpd":
            name = f"trial-{len(probes)}"
            services.append(_trial_smtpd(service, name, main))
            probes.append(_Probe(f"{trial.queue}/public/{name}", f"{service.service}/{service.type}", _GREET))
        elif service.type in ("unix", "unix-dgram", "fifo"):
            services.append(replace(service, chroot="n"))
            if program in _DAEMONS | _QUEUE_RUNNERS and service.type == "unix":
                kind = "public" if service.private == "n" else "private"
                trigger = "W" if program in _QUEUE_RUNNERS else ""
                probes.append(_Probe(f"{trial.queue}/{kind}/{service.service}", f"{service.service}/unix", (), trigger))
    _write_staged(f"{trial.etc}/master.cf", "".join(f"{service}\n" for service in services), 0o644)
    return probes


def _trial_smtpd(service: _postfix.MasterService, name: str, main: dict[str, str]) -> _postfix.MasterService:
    options = dict(service.options)
    options["smtpd_upstream_proxy_protocol"] = ""
    wrapped = options.get("smtpd_tls_wrappermode", main.get("smtpd_tls_wrappermode", "no"))
    if wrapped == "yes":
        # The greeting would come inside TLS only; STARTTLS loads the same keys and certificates.
        options["smtpd_tls_wrappermode"] = "no"
        if not options.get("smtpd_tls_security_level", main.get("smtpd_tls_security_level", "")):
            options["smtpd_tls_security_level"] = "encrypt"
    return replace(service, service=name, type="unix", private="n", chroot="n", options=tuple(options.items()))


def _link_neighbours(trial: Trial, plan: _postfix_plan.Plan) -> None:
    """Let the trial's daemons reach sockets of other programs, such as a SASL server's."""
    real = _postfix.MainCf.parse(plan.main_text).as_dict().get("queue_directory", "/var/spool/postfix")
    own = {key[0] for key in _postfix.MasterCf.parse(plan.master_text).services()}
    for kind in ("", "private", "public"):
        skip = _QUEUES if not kind else own
        with contextlib.suppress(OSError):
            for entry in os.scandir(os.path.join(real, kind)):
                place = os.path.join(trial.queue, kind, entry.name)
                if entry.name not in skip and not os.path.lexists(place):
                    os.symlink(entry.path, place)


def _stop_master(trial: Trial) -> None:
    """End the trial's master and its children, and wait for it."""
    try:
        with open(f"{trial.queue}/pid/master.pid", encoding="ascii") as handle:
            pid = int(handle.read())
    except (OSError, ValueError):
        return
    deadline = time.monotonic() + 5
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        while time.monotonic() < deadline:
            os.kill(pid, 0)
            time.sleep(0.01)
        os.kill(pid, signal.SIGKILL)


def _talk(trial: Trial, probes: Iterable[_Probe]) -> list[str]:
    """EHLO and QUIT with every smtpd, a greeting from every other daemon; what went wrong."""
    waiting = selectors.DefaultSelector()
    problems: list[str] = []
    for probe in probes:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(DIALOGUE_SECONDS)
        try:
            connection.connect(probe.path)
            connection.sendall(probe.trigger.encode())
        except OSError as err:
            connection.close()
            problems.append(f"master.cf: {probe.name} takes no connection: error: {err.strerror}")
            continue
        waiting.register(connection, selectors.EVENT_READ, _Dialogue(probe))
    deadline = time.monotonic() + DIALOGUE_SECONDS
    grace = 0.0
    while waiting.get_map() and time.monotonic() < deadline:
        for key, _ in waiting.select(0.05):
            _advance(waiting, key.fileobj, key.data, problems)  # type: ignore[arg-type]
        if not grace and re.search(r"\b(fatal|panic):", _log(trial)):
            grace = time.monotonic() + 0.3  # others that fail as well get to say so
            deadline = min(deadline, grace)
    silent = [key.data.probe.name for key in waiting.get_map().values()]
    for key in list(waiting.get_map().values()):
        key.fileobj.close()  # type: ignore[union-attr]
    waiting.close()
    said = _complaints(_log(trial)) + problems
    if silent and not said:
        said = [f"master.cf: {name} gives no answer within {DIALOGUE_SECONDS:g} seconds" for name in silent]
    return said


@dataclass
class _Dialogue:
    probe: _Probe
    received: bytes = b""
    sent: int = 0


def _advance(
    waiting: selectors.BaseSelector, connection: socket.socket, dialogue: _Dialogue, problems: list[str]
) -> None:
    """Take what came; send the next command after a whole reply, close after the last."""
    probe = dialogue.probe
    try:
        data = connection.recv(4096)
        dialogue.received += data
        if data and probe.commands:
            if not re.search(rb"(?m)^\d{3} .*\r\n\Z", dialogue.received):
                return
            text = dialogue.received.decode("utf-8", "replace").strip().splitlines()[-1]
            if text[:1] == "4" or (text[:1] == "5" and " 5.5." in text):
                problems.append(f"master.cf: {probe.name}: smtpd answers with an error: {text}")
            dialogue.received = b""
            if dialogue.sent < len(probe.commands):
                connection.sendall(f"{probe.commands[dialogue.sent]}\r\n".encode())
                dialogue.sent += 1
                return
    except OSError as err:
        problems.append(f"master.cf: {probe.name} breaks off: error: {err.strerror}")
    waiting.unregister(connection)
    connection.close()


__all__ = ["CheckFailed", "CommandError", "PostfixClient", "Trial"]
