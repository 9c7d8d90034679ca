# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A filter of OpenSMTPD that refuses mail for a full mailbox at RCPT: its sender is told at once, and nothing bounces.

OpenSMTPD has no policy service as Postfix has. So this asks Dovecot's quota-status, by smtpd-filters(7) on one side and
Postfix's policy protocol on the other. An address that leads to several mailboxes, or elsewhere, is let pass: one full
mailbox refuses no mail for the others. So is everything that cannot be asked; Dovecot itself refuses what does not fit.
A filter that ends takes OpenSMTPD with it, so this one does not end before its input does.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

STATUS = "/run/dovecot/quota-status"
VIRTUALS = "/etc/mail/virtuals"
SECONDS = 2.0  # for one question; the others wait meanwhile
DEPTH = 20  # of aliases that lead to aliases; the role refuses circles


def table(text: str) -> dict[str, list[str]]:
    """Addresses and where they lead, of a table as the role writes it."""
    found = {}
    for line in text.splitlines():
        name, colon, goals = line.partition(":")
        if colon:
            found[name.strip().lower()] = [goal.strip().lower() for goal in goals.split(",")]
    return found


def mailbox(virtuals: Mapping[str, Sequence[str]], address: str) -> str:
    """The one mailbox that an address leads to, or nothing."""
    for dummy in range(DEPTH):
        local, at, domain = address.lower().rpartition("@")
        names = (f"{local}@{domain}", f"{local.partition('+')[0]}@{domain}", f"@{domain}")
        name = next((name for name in names if at and name in virtuals), "")
        goals = virtuals.get(name, [])
        if len(goals) != 1:
            return ""
        if "@" not in goals[0]:  # the user of the host that owns all mail
            return name
        address = goals[0]
    return ""


def refusal(path: str, user: str) -> str:
    """What quota-status says against a message for a user, beginning with its code; nothing if it does not mind."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(SECONDS)
        client.connect(path)
        client.sendall(f"request=smtpd_access_policy\nrecipient={user}\nsize=0\n\n".encode())
        said = b""
        while b"\n\n" not in said:
            part = client.recv(4096)
            if not part:
                break
            said += part
    action = said.decode("ascii", "replace").partition("\n")[0].partition("=")[2]
    return action if action[:1] == "5" else ""


class Quota:
    """Answers whether there is room for a recipient, with the table as it is at that moment."""

    def __init__(self, status: str = STATUS, virtuals: str = VIRTUALS) -> None:
        self._status, self._path = status, virtuals
        self._stamp: tuple[int, int] | None = None
        self._virtuals: dict[str, list[str]] = {}

    def _read(self) -> None:
        about = os.stat(self._path)
        stamp = (about.st_mtime_ns, about.st_ino)
        if stamp != self._stamp:
            with open(self._path, encoding="utf-8") as file:
                self._virtuals = table(file.read())
            self._stamp = stamp

    def __call__(self, address: str) -> str:
        """Why not, or nothing."""
        try:
            self._read()
            user = mailbox(self._virtuals, address)
            return refusal(self._status, user) if user else ""
        except (OSError, ValueError) as err:
            print(f"quota_filter: {address} is let pass: {err}", file=sys.stderr, flush=True)
            return ""


def answers(lines: Iterable[str], full: Callable[[str], str]) -> Iterator[str]:
    """What the filter says to what OpenSMTPD says."""
    for line in lines:
        parts = line.rstrip("\n").split("|", 7)
        if parts == ["config", "ready"]:
            yield "register|filter|smtp-in|rcpt-to"
            yield "register|ready"
        elif parts[0] == "filter" and len(parts) == 8 and parts[4] == "rcpt-to":
            # The address may stand in angle brackets, with parameters behind it.
            given = parts[7].strip()
            address = given[1:].partition(">")[0] if given.startswith("<") else given.partition(" ")[0]
            said = "".join(char for char in full(address) if " " <= char <= "~" and char != "|")
            yield f"filter-result|{parts[5]}|{parts[6]}|" + (f"reject|{said}" if said else "proceed")


def main() -> None:
    """Answer until OpenSMTPD ends."""
    # A carriage return in an address begins no line, or a stranger would write requests of OpenSMTPD's.
    sys.stdin.reconfigure(encoding="utf-8", errors="replace", newline="\n")  # type: ignore[union-attr]
    for said in answers(sys.stdin, Quota(*sys.argv[1:])):
        print(said, flush=True)


if __name__ == "__main__":
    main()
