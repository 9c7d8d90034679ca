# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of this folder have in common: clients of both mail servers, and runs of the role."""

from __future__ import annotations

import time
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from lab import mailclient, plays, ready
from lab.probe import Dialogue, Lab

CONVERGE = Path(__file__).parent.parent / "converge.yml"
HOSTS = ("mail-12", "mail-13")
BARE = "sat-postfix-12,sat-postfix-13"
DOMAINS = {"mail-12": "m12.post.example", "mail-13": "m13.post.example"}
PASSWORDS = {"ann": "correct horse battery", "bob": "bob's own", "eve": "eve has little room"}
VICTIM = "victim@outside.test"


def converge(lab: Lab, **options: Any) -> plays.Played:
    """Run the scenario's playbook."""
    return plays.play(lab, CONVERGE, inventories=(), **options)


def of(host: str, name: str) -> str:
    """An address at the host's own domain."""
    return f"{name}@{DOMAINS[host]}"


def letter(token: str, sender: str, *, to: str = VICTIM, extra: str = "", size: int = 0) -> str:
    """A message as a mail client writes it."""
    return mailclient.letter(token, sender, to=to, extra=extra, size=size)


def arrive(lab: Lab, host: str, token: str, *, client: str = "outside", **options: Any) -> Dialogue:
    """Mail from another organisation, which comes back when it is asked to, or when the filter is not ready yet."""
    sender = options.pop("sender", "joe@outside.test")
    writer, extra = options.pop("writer", sender), options.pop("extra", "")
    known = {
        "recipients": of(host, "ann"),
        "message": letter(token, writer, to=of(host, "ann"), extra=extra),
        **options,
    }
    patience = time.monotonic() + (30 if known.pop("patient", True) else 0)
    while True:
        said = lab.smtp(client, host, sender=sender, **known)
        if not said.refusal or said.refusal[1] not in (421, 451) or time.monotonic() > patience:
            return said
        time.sleep(1)


def send(lab: Lab, host: str, token: str, *, user: str = "ann", **options: Any) -> Dialogue:
    """Mail of a user who logs in, from somewhere in the internet."""
    known = {
        "sender": of(host, user),
        "recipients": VICTIM,
        "message": letter(token, options.pop("writer", of(host, user)), extra=options.pop("extra", "")),
        "port": 587,
        "login": (of(host, user), PASSWORDS[user]),
        "starttls": None,
        **options,
    }
    return lab.smtp(known.pop("client", "stranger"), host, **known)


class Imap(mailclient.Imap):
    """A user's client at one of the hosts."""

    def __init__(self, lab: Lab, host: str, user: str = "ann", password: str = "") -> None:
        super().__init__(lab, host, of(host, user), password or PASSWORDS[user])


def wait_for(lab: Lab, host: str, token: str, *, user: str = "ann", folder: str = "INBOX") -> EmailMessage:
    """The message, as soon as it is in the folder."""
    with Imap(lab, host, user) as client:
        ready.wait(f"{token} in {folder} of {user} on {host}", lambda: bool(client.find(folder, token)))
        found = client.letter(folder, token)
        assert found is not None
        return found


def results(message: EmailMessage, host: str, lab: Lab) -> dict[str, str]:
    """The topmost Authentication-Results, by method; it must be the host's own."""
    said = " ".join(str((message.get_all("Authentication-Results") or [""])[0]).split())
    owner, *rest = said.split(";")
    assert owner.split()[:1] == [lab.fqdn(host)], said
    return {part.strip().partition("=")[0]: part.strip().partition("=")[2].split()[0] for part in rest if "=" in part}
