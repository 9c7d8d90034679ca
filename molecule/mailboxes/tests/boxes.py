# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of this folder have in common: clients of IMAP with TLS, deliveries by LMTP, runs of the role."""

from __future__ import annotations

import contextlib
import imaplib
import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab import plays
from lab.probe import Lab

CONVERGE = Path(__file__).parent.parent / "converge.yml"
HOSTS = ("mail-12", "mail-13")
BARE = ("sat-postfix-12", "sat-postfix-13")
ANN, BOB, EVE, ZOE = "ann@post.example", "bob@post.example", "eve@other.example", "zoe@post.example"
PASSWORDS = {ANN: "correct horse battery", BOB: "bob's own bcrypt", EVE: "größe: klein|groß"}
FOLDERS = {"Drafts", "Sent", "Archive", "Junk", "Trash"}

# Runs on the host: each recipient's code, then that of the message.
LMTP = """
import json, smtplib, sys
given = json.load(sys.stdin)
client = smtplib.LMTP(given["at"], timeout=30)
client.ehlo("host")
said = [client.docmd("MAIL FROM:<outside@outside.test>")]
said += [client.docmd(f"RCPT TO:<{name}>") for name in given["to"]]
if any(code == 250 for code, dummy in said[1:]):
    client.docmd("DATA")
    client.send(given["message"].replace("\\n", "\\r\\n").encode() + b"\\r\\n.\\r\\n")
    said += [client.getreply() for code, dummy in list(said[1:]) if code == 250]
print(json.dumps([[code, text.decode()] for code, text in said[1:]]))
"""
# Runs on the host: the answers to some lines at a port.
LINES = """
import json, socket, sys
given = json.load(sys.stdin)
with socket.create_connection(("127.0.0.1", given["port"]), timeout=60) as client:
    client.sendall("".join(line + "\\n" for line in given["lines"]).encode())
    client.shutdown(socket.SHUT_WR)
    print(json.dumps(client.makefile("rb").read().decode().splitlines()))
"""


def converge(lab: Lab, **options: Any) -> plays.Played:
    """Run the scenario's playbook."""
    return plays.play(lab, CONVERGE, inventories=(), **options)


def letter(token: str, *, extra: str = "", size: int = 0) -> str:
    """A message."""
    filler = "\n".join(["x" * 70] * (size // 71))
    return f"From: Someone <outside@outside.test>\nTo: {ANN}\nSubject: {token}\n{extra}\nHello\n{filler}"


def deliver(
    lab: Lab, host: str, to: str | list[str], message: str, *, at: str = "/run/dovecot/lmtp"
) -> list[tuple[int, str]]:
    """Hand a message over by LMTP."""
    given = {"to": [to] if isinstance(to, str) else to, "message": message, "at": at}
    said = lab.run(host, ["python3", "-c", LMTP], input=json.dumps(given)).stdout
    return [tuple(answer) for answer in json.loads(said)]


def ask(lab: Lab, host: str, port: int, *lines: str) -> list[str]:
    """Say lines to a port of the host's own and return the answers."""
    return list(
        json.loads(lab.run(host, ["python3", "-c", LINES], input=json.dumps({"port": port, "lines": lines})).stdout)
    )


def context(lab: Lab) -> ssl.SSLContext:
    """What trusts the lab's authority and nobody else."""
    return ssl.create_default_context(cafile=lab.known["ca_file"])


class Plain(imaplib.IMAP4):
    """IMAP on port 143, by the name of the host."""

    def __init__(self, lab: Lab, host: str) -> None:
        self.at = lab.address(host)
        super().__init__(lab.fqdn(host), 143, timeout=60)

    def _create_socket(self, timeout: float | None) -> socket.socket:
        return socket.create_connection((self.at, self.port), timeout)


class Imap(imaplib.IMAP4_SSL):
    """IMAP on port 993, by the name of the host, whose certificate has to fit."""

    def __init__(self, lab: Lab, host: str, user: str = "", password: str | None = None) -> None:
        self.at = lab.address(host)
        super().__init__(lab.fqdn(host), 993, ssl_context=context(lab), timeout=60)
        if user:
            self.enter(user, PASSWORDS[user] if password is None else password)

    def _create_socket(self, timeout: float | None) -> socket.socket:
        return self.ssl_context.wrap_socket(
            socket.create_connection((self.at, self.port), timeout), server_hostname=self.host
        )

    def enter(self, user: str, password: str) -> None:
        """Log in with any characters in the password."""
        self.authenticate("PLAIN", lambda dummy: f"\0{user}\0{password}".encode())

    def find(self, folder: str, token: str) -> list[str]:
        """Numbers of the messages with that subject."""
        code, said = self.select(f'"{folder}"')
        assert code == "OK", (folder, said)
        return self.search(None, "SUBJECT", f'"{token}"')[1][0].decode().split()

    def move(self, token: str, source: str, target: str) -> None:
        """Move a message as clients do."""
        (number,) = self.find(source, token)
        code, said = self._simple_command("MOVE", number, f'"{target}"')
        assert code == "OK", said


imaplib.Commands.setdefault("MOVE", ("SELECTED",))


def can_enter(lab: Lab, host: str, user: str, password: str) -> bool:
    """Whether the user gets in; what else goes wrong is an error."""
    client = Imap(lab, host)
    try:
        client.enter(user, password)
    except imaplib.IMAP4.error as err:
        assert "AUTHENTICATIONFAILED" in str(err), err
        return False
    finally:
        with contextlib.suppress(imaplib.IMAP4.error, OSError):
            client.logout()
    return True


def hold(lab: Lab, host: str, token: str, *, user: str = ANN, password: str | None = None) -> set[str]:
    """The folders in which a message with that subject lies."""
    with Imap(lab, host, user, password) as client:
        listed = [line.decode().rpartition(" ")[2].strip('"') for line in client.list()[1]]  # type: ignore[union-attr]
        return {folder for folder in listed if client.find(folder, token)}


def main_pid(lab: Lab, host: str, unit: str = "dovecot") -> str:
    """The process that systemd knows as the unit's."""
    return lab.run(host, ["systemctl", "show", "-p", "MainPID", "--value", unit]).stdout.strip()


@contextlib.contextmanager
def with_users(lab: Lab, *users: dict[str, Any], **extra: Any) -> Iterator[plays.Played]:
    """With more users for a while; their mail is deleted at the end."""
    try:
        yield converge(lab, extra={"mailboxes_more_users": list(users), **extra})
    finally:
        converge(lab, extra={"mailboxes_delete_mail_of": [user["address"] for user in users]})
