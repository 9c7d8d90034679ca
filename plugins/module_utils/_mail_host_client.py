# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: listeners of this host and what they say, and what its mail program says of itself. Private.

Listeners of mail are spoken to as a client would, up to the greeting and TLS; no mail is begun and nobody logs in. What
cannot be seen is noted, and the rest goes on.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime

from ansible_collections.postmaster.mail.plugins.module_utils import _diagnose as dg
from ansible_collections.postmaster.mail.plugins.module_utils import _exim as ex
from ansible_collections.postmaster.mail.plugins.module_utils import _mail_host as mh
from ansible_collections.postmaster.mail.plugins.module_utils import _mail_log as ml
from ansible_collections.postmaster.mail.plugins.module_utils._command import CommandError, Runner
from ansible_collections.postmaster.mail.plugins.module_utils._diagnose_client import FILE_LIMIT, SatelliteHost
from ansible_collections.postmaster.mail.plugins.module_utils._preflight import explain_socket_error
from ansible_collections.postmaster.mail.plugins.module_utils._preflight_client import LocalHost

SESSION = 4  # times the time for an answer that all of a session may take
AT_ONCE = 8  # listeners that are spoken to side by side
REPLY_LINES, LINE_LIMIT = 100, 2048  # of an answer
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
SMTPD_CONF = "/etc/smtpd.conf"
_ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
_X509 = ("openssl", "x509", "-noout", "-subject", "-issuer", "-enddate", "-ext", "subjectAltName")


class _Broken(Exception):
    """A session goes no further; the message says why."""


class Session:
    """A conversation with one listener, in any of the protocols of mail. ``timeout`` is in seconds, for each answer."""

    def __init__(self, address: str, port: int, timeout: float, context: ssl.SSLContext) -> None:
        self._context, self._timeout, self._end = context, timeout, time.monotonic() + SESSION * timeout
        try:
            self._socket = socket.create_connection((address, port), timeout)
            if port in mh.TLS_FIRST:
                self._socket = context.wrap_socket(self._socket)
        except BaseException:
            if hasattr(self, "_socket"):
                self._socket.close()
            raise

    def leave(self, protocol: str) -> None:
        """Say good-bye where there is somebody to hear it, so that no daemon complains in its log."""
        with contextlib.suppress(_Broken, OSError):
            self._say({"imap": "z LOGOUT", "managesieve": "LOGOUT"}.get(protocol, "QUIT"))
            self._until(lambda line: line.startswith(("22", "z ", "+OK", "OK")))
            if isinstance(self._socket, ssl.SSLSocket):
                self._socket.unwrap()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def talk(self, protocol: str) -> mh.Answer:
        """Greeting, and TLS where it is offered."""
        greeting = self._line()
        spoken = _protocol(greeting) or protocol
        known = mh.Answer(spoken, _cut(greeting), tls="implicit" if isinstance(self._socket, ssl.SSLSocket) else "")
        if known.tls:
            return self._encrypted(known)
        if not _protocol(greeting):
            return known
        offered, command, ready = self._capabilities(spoken, greeting)
        if not offered:
            return replace(known, tls="none")
        self._say(command)
        answer = self._line()
        if not answer.startswith(ready):
            return replace(known, tls="starttls", error=f"{command} is answered with {_cut(answer)}")
        try:
            self._socket = self._context.wrap_socket(self._socket)
        except ssl.SSLCertVerificationError:
            raise
        except (ssl.SSLError, OSError) as err:
            return replace(known, tls="starttls", error=f"TLS fails: {_why(err)}")
        return self._encrypted(replace(known, tls="starttls"))

    def _encrypted(self, known: mh.Answer) -> mh.Answer:
        version = self._socket.version() if isinstance(self._socket, ssl.SSLSocket) else None
        return replace(known, version=version or "")

    def certificate(self) -> bytes:
        """The server's, as DER, empty without TLS."""
        if isinstance(self._socket, ssl.SSLSocket):
            return self._socket.getpeercert(binary_form=True) or b""
        return b""

    def _capabilities(self, protocol: str, greeting: str) -> tuple[bool, str, str]:
        """Whether TLS is offered, the command for it, and how its answer begins."""
        if protocol == "imap":
            self._say("c CAPABILITY")
            told = self._until(lambda line: line.startswith("c "))
            return "STARTTLS" in told, "a STARTTLS", "a OK"
        if protocol == "pop3":
            self._say("CAPA")
            told = self._until(lambda line: line == "." or line.startswith("-ERR"))
            return "STLS" in told, "STLS", "+OK"
        if protocol == "managesieve":
            told = self._until(lambda line: line.startswith(("OK", "NO", "BYE")))
            return '"STARTTLS"' in told, "STARTTLS", "OK"
        self._say("LHLO localhost" if "LMTP" in greeting else "EHLO localhost")
        told = self._until(lambda line: line[3:4] != "-")
        return "STARTTLS" in told.upper(), "STARTTLS", "220"

    def _until(self, last: object) -> str:
        lines = []
        for dummy in range(REPLY_LINES):
            lines.append(self._line())
            if last(lines[-1]):  # type: ignore[operator]
                return "\n".join(lines)
        raise _Broken("its answer does not end")

    def _line(self) -> str:
        """The next line, octet by octet, so that nothing that comes before TLS is taken for what comes after."""
        found = b""
        while not found.endswith(b"\n") and len(found) < LINE_LIMIT:
            left = self._end - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(min(left, self._timeout))
            one = self._socket.recv(1)
            if not one:
                break
            found += one
        if not found:
            raise _Broken("it hangs up without a word")
        return found.decode("utf-8", "replace").rstrip("\r\n")

    def _say(self, command: str) -> None:
        self._socket.sendall(f"{command}\r\n".encode("ascii"))


def _protocol(greeting: str) -> str:
    if greeting.startswith(("220", "421", "554")):
        return "lmtp" if "LMTP" in greeting else "smtp"
    if greeting.startswith("* "):
        return "imap"
    if greeting.startswith(("+OK", "-ERR")):
        return "pop3"
    return "managesieve" if greeting.startswith('"') else ""


def _cut(text: str) -> str:
    return " ".join(text.split())[:200]


def _why(err: Exception) -> str:
    if isinstance(err, ssl.SSLError):
        return (err.reason or "an error").replace("_", " ").lower()
    return explain_socket_error(err) if isinstance(err, OSError) else str(err)


def _context(*, verify: bool) -> ssl.SSLContext:
    # The folder beside the bundle holds the host's own snakeoil certificate, in which nobody else believes.
    context = ssl.create_default_context(cafile=BUNDLE if os.path.exists(BUNDLE) else None)
    context.check_hostname = False
    if not verify:
        context.verify_mode = ssl.CERT_NONE
    return context


class MailHost:
    """The host this process runs on; ``root`` lets a test point at a made-up tree. ``timeout`` is for each answer."""

    def __init__(self, *, timeout: float = 5, root: str = "/", runner: Runner | None = None) -> None:
        self._timeout, self._root = timeout, root
        self._runner = runner or Runner()
        self._local = LocalHost(root=root, runner=self._runner)
        self._satellite = SatelliteHost(timeout=timeout, root=root, runner=self._runner)
        self.unseen: list[str] = []

    def now(self) -> datetime:
        """The time, with the host's zone."""
        return datetime.now().astimezone()

    def name(self) -> str:
        """The host's full name."""
        return self._local.names()[1]

    def note(self, what: str) -> None:
        """Something could not be seen."""
        if what not in self.unseen:
            self.unseen.append(what)

    def _run(self, *argv: str) -> str:
        """What a program prints, empty where it cannot; that is noted."""
        try:
            return self._runner.check(argv, env=_ENV).stdout
        except CommandError as err:
            self.note(ml.redact(str(err)).partition("\n")[0][:300])
            return ""

    def read(self, path: str) -> str | None:
        """The text of a file, None where there is none or it may not be read, which is noted."""
        try:
            with open(os.path.join(self._root, path.lstrip("/")), "rb") as handle:
                return handle.read(FILE_LIMIT).decode("utf-8", "replace")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as err:
            self.note(f"{path} cannot be read: {(err.strerror or '').lower()}")
            return None

    # --- listeners ---------------------------------------------------------------------------

    def doors(self) -> list[mh.Door]:
        """Who listens at which port."""
        listeners = self._local.listeners()
        holders = self._local.holders(one.inode for one in listeners)
        found = mh.doors(listeners, holders)
        if hidden := sorted({door.port for door in found if not door.holders}):
            listed = ", ".join(map(str, hidden))
            self.note(f"whose port {listed} is: that shows to root alone, in a container with CAP_SYS_PTRACE")
        return found

    def ask(self, doors: Iterable[mh.Door]) -> list[mh.Door]:
        """The same with what the mail programs among them say."""
        listed = list(doors)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(
                pool.map(lambda door: replace(door, answer=self._answer(door)) if door.is_mail else door, listed)
            )

    def _answer(self, door: mh.Door) -> mh.Answer:
        protocol = mh.PORTS.get(door.port, "")
        try:
            try:
                return self._talk(door, protocol, verify=True)
            except ssl.SSLCertVerificationError as err:
                return replace(self._talk(door, protocol, verify=False), chain=str(err.verify_message))
        except TimeoutError:
            return mh.Answer(protocol, error=f"it does not answer within {self._timeout:g} seconds")
        except (_Broken, OSError) as err:
            return mh.Answer(protocol, error=_why(err))

    def _talk(self, door: mh.Door, protocol: str, *, verify: bool) -> mh.Answer:
        session = Session(door.target, door.port, self._timeout, _context(verify=verify))
        try:
            answer = session.talk(protocol)
            der = session.certificate()
            if answer.tls and not answer.error:
                session.leave(answer.protocol)
            return replace(answer, certificate=self._certificate(der)) if der else answer
        finally:
            session.close()

    def _certificate(self, der: bytes) -> mh.Certificate | None:
        try:
            said = self._runner.run(_X509, stdin=ssl.DER_cert_to_PEM_cert(der), env=_ENV)
        except CommandError:
            self.note("names and ends of certificates: there is no program openssl")
            return None
        return mh.parse_certificate(said.stdout)

    # --- the program -------------------------------------------------------------------------

    def program(self) -> tuple[str, str]:
        """The mail program, postfix, exim, opensmtpd or empty, and its version."""
        packages = self._local.packages()
        for name, package in (("postfix", "postfix"), ("opensmtpd", "opensmtpd"), ("exim", "exim4-base")):
            if package in packages:
                version = packages[package].version.partition("-")[0]
                told = self._run("postconf", "-h", "mail_version").strip() if name == "postfix" else ""
                return name, told or version
        return "", ""

    def queue(self, program: str) -> list[ml.Queued] | None:
        """What waits, None where it cannot be seen."""
        try:
            if program == "opensmtpd":
                return ml.parse_smtpctl_queue(self._runner.check(["smtpctl", "show", "queue"], env=_ENV).stdout)
            queue = self._satellite.queue()
        except (dg.Unseen, CommandError) as err:
            self.note(f"the queue: {ml.redact(str(err))[:300]}")
            return None
        return queue if program == "postfix" else self._with_reasons(queue)

    def _with_reasons(self, queue: Sequence[ml.Queued]) -> list[ml.Queued]:
        """Exim's queue does not say why, its log does."""
        if not queue:
            return list(queue)
        try:
            return ml.with_reasons(queue, ml.events(self._satellite.log(24 * 5)))
        except dg.Unseen as err:
            self.note(f"why messages wait: {err}")
            return list(queue)

    def settings(self, program: str) -> list[mh.Setting]:
        """What differs from the program's defaults."""
        if program == "postfix":
            return mh.differing(
                mh.parse_parameters(self._run("postconf", "-n")), mh.parse_parameters(self._run("postconf", "-d"))
            )
        if program == "exim":
            found = self._exim_settings()
            return [mh.Setting(name, ml.redact(value)) for name, value in sorted(found.items())]
        return []

    def _exim_settings(self) -> Mapping[str, str]:
        return ex.parse_settings(self.read(ex.SETTINGS_FILE) or "")

    # --- From --------------------------------------------------------------------------------

    def sender(self, program: str, user: str) -> list[mh.Rewrite]:
        """What becomes of the address of a local user who sends mail."""
        steps = mh.mailutils_from(user, self.read("/etc/mailutils.conf") or "")
        mailname = (self.read("/etc/mailname") or "").partition("\n")[0].strip() or None
        if program == "postfix":
            values = mh.parse_parameters(self._run("postconf", "-x", *mh.FROM_PARAMETERS))
            return steps + mh.postfix_from(user, values, mailname, self._postmap)
        if program == "exim":
            qualify = self._run("exim4", "-bP", "qualify_domain").rpartition("=")[2].strip()
            rewritten = self._run("exim4", "-brw", f"{user}@{qualify}") if qualify else ""
            return steps + mh.exim_from(user, qualify, rewritten, self._exim_settings())
        if program == "opensmtpd":
            table = mh.smtpd_masquerade(self.read(SMTPD_CONF) or "")
            return steps + mh.opensmtpd_from(user, self.name(), mailname, table)
        return steps

    def _postmap(self, table: str, key: str) -> str | None:
        try:
            result = self._runner.run(["postmap", "-q", key, table], env=_ENV)
        except CommandError as err:
            self.note(str(err))
            return None
        if result.code and result.stderr.strip():
            self.note(f"{table}: {ml.redact(re.sub(r'^postmap: ', '', result.stderr.strip()))[:200]}")
        return result.stdout.strip() if result.code == 0 else None
