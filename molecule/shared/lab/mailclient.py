# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people have to do with a mail server: a mail client by IMAP, a message as such a client writes it."""

from __future__ import annotations

import email
import email.policy
import imaplib
import socket
import ssl
from email.message import EmailMessage
from typing import Any

from .probe import Lab


def letter(token: str, sender: str, *, to: str, extra: str = "", size: int = 0) -> str:
    """A message as a mail client writes it."""
    filler = "\n".join(["x" * 70] * (size // 71))
    name = token.split(maxsplit=1)[0]
    # rspamd remembers bodies that it has put off.
    return (
        f"From: Somebody <{sender}>\nTo: {to}\nSubject: {token}\nMessage-ID: <{name}@{sender.rpartition('@')[2]}>\n"
        f"Date: Fri, 27 Nov 2026 12:00:00 +0000\nMIME-Version: 1.0\nContent-Type: text/plain\n{extra}\n"
        f"Hello, this is what we said we would write to you about: {token}.\n{filler}\n"
    )


class Imap(imaplib.IMAP4_SSL):
    """IMAP on port 993, by the name of the host, whose certificate has to fit."""

    def __init__(self, lab: Lab, host: str, address: str, password: str) -> None:
        self.at = lab.address(host)
        context = ssl.create_default_context(cafile=lab.known["ca_file"])
        super().__init__(lab.fqdn(host), 993, ssl_context=context, timeout=60)
        self.login(address, password)

    def _create_socket(self, timeout: float | None) -> socket.socket:
        plain = socket.create_connection((self.at, self.port), timeout)
        wrapped: socket.socket = self.ssl_context.wrap_socket(plain, server_hostname=self.host)
        return wrapped

    def find(self, folder: str, token: str) -> list[str]:
        """Numbers of the messages with that subject."""
        code, said = self.select(f'"{folder}"')
        assert code == "OK", (folder, said)
        numbers: str = self.search(None, "SUBJECT", f'"{token}"')[1][0].decode()
        return numbers.split()

    def letter(self, folder: str, token: str) -> EmailMessage | None:
        """The message with that subject."""
        for number in self.find(folder, token):
            answer: Any = self.fetch(number, "(BODY.PEEK[])")[1][0]
            raw: bytes = answer[1]
            parsed = email.message_from_bytes(raw, policy=email.policy.default)
            assert isinstance(parsed, EmailMessage)
            return parsed
        return None


imaplib.Commands.setdefault("MOVE", ("SELECTED",))


def learned(lab: Lab, host: str) -> dict[str, int]:
    """How much rspamd has learned, by class."""
    said = lab.run(host, "rspamc --connect /run/rspamd/controller.sock stat").stdout
    found = {}
    for line in said.splitlines():
        for name in ("BAYES_HAM", "BAYES_SPAM"):
            if name in line:
                found[name] = int(line.rpartition("learned:")[2].strip().split(maxsplit=1)[0].rstrip(";,"))
    return found
