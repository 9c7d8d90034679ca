# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hands a probe to a mail server and waits for it at the other end. Private."""

from __future__ import annotations

import os
import re
import smtplib
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass

from ansible_collections.postmaster.mail.plugins.module_utils._command import CommandError, Runner
from ansible_collections.postmaster.mail.plugins.module_utils._imap_client import ImapUnavailable, Mailbox, header
from ansible_collections.postmaster.mail.plugins.module_utils._probe import ProbeError

PAUSE = 1.0  # seconds between two looks
HEAD = 64 * 1024  # octets of a message that are searched for the token
LOG_TAIL = 16 * 1024 * 1024  # octets of a log that are searched
# Queue ids of Postfix, short and long, of Exim, and of OpenSMTPD: each holds a digit, which words do not.
_QUEUE_ID = re.compile(
    r"\b(?=[0-9A-Za-z-]*\d)"
    r"(?:[0-9A-F]{8,14}|[0-9A-Za-z]{11,18}|[0-9A-Za-z]{6}-[0-9A-Za-z]{6,11}-[0-9A-Za-z]{2,4})"
    r"\b(?=[: ])"
)


# --- sending ---------------------------------------------------------------------------------


def send_by_sendmail(message: bytes, sender: str, recipient: str, *, program: str, runner: Runner) -> None:
    """As any program on the host does. Raises :class:`ProbeError`."""
    text = message.decode("ascii").replace("\r\n", "\n")
    try:
        runner.check([program, "-i", "-f", sender, "--", recipient], stdin=text)
    except CommandError as err:
        raise ProbeError(f"the message was not taken: {err}") from err


@dataclass(frozen=True)
class Submission:
    """A server to hand the message to. ``tls``: starttls, implicit or none. Certificates are verified."""

    host: str
    port: int = 587
    tls: str = "starttls"
    username: str = ""
    password: str = ""
    ca_path: str = ""
    timeout: float = 30

    def send(self, message: bytes, sender: str, recipient: str) -> None:
        """Raises :class:`ProbeError` with what the server said."""
        try:
            with self._open() as server:
                if self.username:
                    server.login(self.username, self.password)
                server.sendmail(sender, [recipient], message)
        except smtplib.SMTPRecipientsRefused as err:
            code, said = next(iter(err.recipients.values()))
            raise ProbeError(f"{self.host} port {self.port} refuses {recipient}: {code} {_text(said)}") from None
        except smtplib.SMTPResponseException as err:
            reply = f"{err.smtp_code} {_text(err.smtp_error)}"
            raise ProbeError(f"{self.host} port {self.port} refuses: {reply}") from None
        except (smtplib.SMTPException, OSError) as err:
            reason = (err.strerror if isinstance(err, OSError) else "") or str(err)
            raise ProbeError(f"SMTP at {self.host} port {self.port}: {reason}") from None

    def _open(self) -> smtplib.SMTP:
        context = ssl.create_default_context(cafile=self.ca_path or None)
        if self.tls == "implicit":
            return smtplib.SMTP_SSL(self.host, self.port, timeout=self.timeout, context=context)
        server = smtplib.SMTP(self.host, self.port, timeout=self.timeout)
        if self.tls == "starttls":
            server.starttls(context=context)  # raises where the server does not offer it
        return server


def _text(said: bytes | str) -> str:
    return " ".join((said.decode("utf-8", "replace") if isinstance(said, bytes) else said).split())


# --- waiting ---------------------------------------------------------------------------------

Look = Callable[[], "bytes | None"]


def look_in_mailbox(mailbox: Mailbox, message_id: str) -> Look:
    """Asks a mailbox by IMAP for the message."""

    def look() -> bytes | None:
        return next((content for dummy, content in mailbox.messages(header("Message-ID", message_id))), None)

    return look


def look_in_maildir(path: str, message_id: str, *, since: float) -> Look:
    """Looks for the message among the files of a maildir that are not older than ``since`` (seconds of the epoch)."""
    wanted = message_id.encode("ascii")

    def look() -> bytes | None:
        for folder in ("new", "cur"):
            for file in _files(os.path.join(path, folder), since):
                content = _content(file)
                if wanted in content[:HEAD]:
                    return content
        return None

    return look


def _files(folder: str, since: float) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.path for entry in entries if entry.is_file() and entry.stat().st_mtime >= since]
    except OSError as err:
        raise ProbeError(f"{folder} cannot be read: {err.strerror}; name a maildir, which has new and cur") from err


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except FileNotFoundError:  # moved from new to cur in this moment
        return b""
    except OSError as err:
        raise ProbeError(f"{path} cannot be read: {err.strerror}") from err


def lines_of(log: str, message_id: str) -> list[str]:
    """The lines of a mail log on a message: those that name it, and those with the queue ids that such lines name."""
    lines = log.splitlines()
    named = [line for line in lines if message_id in line]
    ids = {match for line in named for match in _QUEUE_ID.findall(line.partition(message_id)[0])}
    return [line for line in lines if message_id in line or any(one in line for one in ids)]


def is_delivery(line: str) -> bool:
    """Whether a line says that a message reached its last server's mailbox (Postfix, Exim, OpenSMTPD)."""
    return any(words in line for words in ("status=sent", " Completed", "delivery result=ok", 'result="Ok"', " => "))


def read_log(path: str, unit: str, runner: Runner) -> str:
    """The end of a log file, or of a unit's journal. Raises :class:`ProbeError`."""
    try:
        if not path:
            return runner.check(["journalctl", "--no-pager", "-o", "cat", "--since", "-1h", "-u", unit]).stdout
        with open(path, "rb") as stream:
            stream.seek(max(0, os.path.getsize(path) - LOG_TAIL))
            return stream.read().decode("utf-8", "replace")
    except CommandError as err:
        raise ProbeError(str(err)) from err
    except OSError as err:
        raise ProbeError(f"{path} cannot be read: {err.strerror}") from err


def wait_for(look: Look, *, timeout: float) -> bytes | None:
    """Look until there is something or ``timeout`` seconds have passed, whatever befalls a mail server meanwhile.

    Raises :class:`ImapUnavailable` where the last look could not be had.
    """
    end = time.monotonic() + timeout
    while True:
        found, trouble = None, None
        try:
            found = look()
        except ImapUnavailable as err:
            trouble = err
        if found is not None or time.monotonic() >= end:
            if trouble is not None:
                raise trouble
            return found
        time.sleep(min(PAUSE, max(0.0, end - time.monotonic())))
