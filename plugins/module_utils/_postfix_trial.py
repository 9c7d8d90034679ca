# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: a private copy of a Postfix configuration, and a master of its own that proves it. Private.

The trial's queue and data directories are scratch, its network services are local sockets, and it
neither reads nor writes the host's queue. It ends by itself after ``MASTER_SECONDS`` even if we
are killed.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from ansible_collections.postmaster.mail.plugins.module_utils import _postfix, _postfix_plan
from ansible_collections.postmaster.mail.plugins.module_utils._postfix_complaints import complaints

MASTER_SECONDS = 120
STOP_SECONDS = 10.0
DIALOGUE_SECONDS = 60.0  # a busy host may need half a minute to start its daemons
_QUEUES = frozenset(
    "active bounce corrupt defer deferred flush hold incoming maildrop pid private public saved trace".split()
)
_DAEMONS = frozenset({"smtpd", "smtp", "lmtp", "cleanup", "trivial-rewrite", "local", "bounce", "proxymap", "tlsmgr"})
_QUEUE_RUNNERS = frozenset({"qmgr", "oqmgr", "nqmgr", "pickup"})
"""Programs that are woken in the trial; others work only with data that is not in the copy."""


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


def log(trial: Trial) -> str:
    try:
        with open(trial.log, encoding="utf-8", errors="replace") as handle:
            return handle.read()
    except FileNotFoundError:
        return ""


def write_staged(path: str, content: str, mode: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content.encode("utf-8", "surrogateescape"))
        os.fchmod(handle, mode)
    # Postfix reads a file again and again until its last change is more than a second ago.
    past = time.time() - 60
    os.utime(path, (past, past))


# ---------------------------------------------------------------- the trial's master


@dataclass(frozen=True)
class Probe:
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


def write_master(trial: Trial, plan: _postfix_plan.Plan) -> list[Probe]:
    """Write the trial's master.cf: network services on local sockets, nothing chrooted, no queue runs."""
    master = _postfix.MasterCf.parse(trial.redirect(plan.master_text))
    main = _postfix.MainCf.parse(plan.main_text).as_dict()
    services = [_POSTLOG, _ACCESS]
    probes = [Probe(f"{trial.queue}/public/{_ACCESS.service}", "the lists of networks and domains", _STRANGER)]
    for service in master.services().values():
        program = service.command[0]
        if program in ("postscreen", "spawn", "postlogd"):
            continue
        if program == "smtpd":
            name = f"trial-{len(probes)}"
            services.append(_trial_smtpd(service, name, main))
            probes.append(Probe(f"{trial.queue}/public/{name}", f"{service.service}/{service.type}", _GREET))
        elif service.type in ("unix", "unix-dgram", "fifo"):
            services.append(replace(service, chroot="n"))
            if program in _DAEMONS | _QUEUE_RUNNERS and service.type == "unix":
                kind = "public" if service.private == "n" else "private"
                trigger = "W" if program in _QUEUE_RUNNERS else ""
                probes.append(Probe(f"{trial.queue}/{kind}/{service.service}", f"{service.service}/unix", (), trigger))
    write_staged(f"{trial.etc}/master.cf", "".join(f"{service}\n" for service in services), 0o644)
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


def link_neighbours(trial: Trial, plan: _postfix_plan.Plan) -> None:
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


def stop_master(root: str) -> None:
    """End the master of the trial in ``root`` with the process group it leads, and wait until nothing is left of it."""
    try:
        with open(f"{root}/queue/pid/master.pid", encoding="ascii") as handle:
            pid = int(handle.read())
        with open(f"/proc/{pid}/cmdline", "rb") as handle:
            command = handle.read().split(b"\0")
    except (OSError, ValueError):
        return
    if os.fsencode(f"{root}/etc") not in command:
        return  # the run was killed long ago, and the number is another's by now
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        _wait_for_group(pid, STOP_SECONDS)
        os.killpg(pid, signal.SIGKILL)
        _wait_for_group(pid, STOP_SECONDS)


def _wait_for_group(pid: int, seconds: float) -> None:
    """Wait at most so long; raises ProcessLookupError once the group has no members."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        os.killpg(pid, 0)
        time.sleep(0.01)


def talk(trial: Trial, probes: Iterable[Probe]) -> list[str]:
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
        for key, dummy in waiting.select(0.05):
            _advance(waiting, key.fileobj, key.data, problems)  # type: ignore[arg-type]
        if not grace and re.search(r"\b(fatal|panic):", log(trial)):
            grace = time.monotonic() + 0.3  # others that fail as well get to say so
            deadline = min(deadline, grace)
    silent = [key.data.probe.name for key in waiting.get_map().values()]
    for key in list(waiting.get_map().values()):
        key.fileobj.close()  # type: ignore[union-attr]
    waiting.close()
    _wait_for_log(trial)
    said = complaints(log(trial)) + problems
    if silent and not said:
        said = [f"master.cf: {name} gives no answer within {DIALOGUE_SECONDS:g} seconds" for name in silent]
    return said


def _wait_for_log(trial: Trial) -> None:
    """Let the log service write what the daemons have told it: it takes one text after the other, ours last."""
    mark = "trial: end of the dialogues\n"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(DIALOGUE_SECONDS)
            sender.sendto(mark.encode(), f"{trial.queue}/public/postlog")
    except OSError:
        return  # no log service, no log
    deadline = time.monotonic() + DIALOGUE_SECONDS
    while mark not in log(trial) and time.monotonic() < deadline:
        time.sleep(0.01)


@dataclass
class _Dialogue:
    probe: Probe
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
