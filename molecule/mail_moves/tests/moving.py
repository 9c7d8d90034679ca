# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A mail server that is used, and moved while it is used."""

from __future__ import annotations

import imaplib
import json
import re
import threading
import time
from pathlib import Path
from typing import Any

from lab import mailclient, plays, ready
from lab.probe import Dialogue, Lab

SCENARIO = Path(__file__).parent.parent
PLAYBOOKS = SCENARIO.parent.parent / "playbooks"
OLD, NEW = "mail-12", "mail-13"
ANN, BOB = "ann@post.example", "bob@post.example"
PASSWORDS = {ANN: "correct horse battery", BOB: "bob's own"}
CHOSEN = "what bob chose himself"
FOLDER = "Entw&APw-rfe"  # as IMAP writes an umlaut
DATED = '"01-Feb-2003 04:05:06 +0000"'
SIEVE = 'require "fileinto";\nif header :contains "Subject" "for-the-archive" {\n  fileinto "Archive";\n}\n'
# rspamd learns nothing from a few words, and takes what is much alike for the same.
HAM = (
    "Shall we meet on Monday at noon, under the old clock of the station?\r\n"
    "Bring the drawings of both bridges along.\r\n"
)
COUNTED = "redis-cli --raw hmget RS learns_ham learns_spam"
TAUGHT = {"BAYES_HAM": 1, "BAYES_SPAM": 1}
# Runs on the host: the answers to some lines at the port where passwords are changed.
LINES = """
import json, socket, sys
with socket.create_connection(("127.0.0.1", 106), timeout=60) as client:
    client.sendall("".join(line + "\\n" for line in json.load(sys.stdin)).encode())
    client.shutdown(socket.SHUT_WR)
    print(client.makefile("rb").read().decode())
"""


def imap(lab: Lab, host: str, user: str = ANN, password: str = "") -> mailclient.Imap:
    """A user's mail client."""
    return mailclient.Imap(lab, host, user, password or PASSWORDS[user])


def can_enter(lab: Lab, host: str, user: str, password: str) -> bool:
    """Whether the user gets in."""
    try:
        with imap(lab, host, user, password):
            return True
    except imaplib.IMAP4.error as err:
        assert "AUTHENTICATIONFAILED" in str(err), err
        return False


def arrive(lab: Lab, host: str, token: str, *, to: str = ANN) -> Dialogue:
    """Mail from outside, which comes back when it is asked to."""
    message, patience = mailclient.letter(token, "joe@outside.test", to=to), time.monotonic() + 30
    while True:
        said = lab.smtp("outside", host, sender="joe@outside.test", recipients=to, message=message)
        if not said.refusal or said.refusal[1] not in (421, 451) or time.monotonic() > patience:
            return said
        time.sleep(1)


def send(lab: Lab, host: str, token: str, *, user: str = ANN, password: str = "") -> Dialogue:
    """Mail of a user who logs in."""
    message = mailclient.letter(token, user, to="victim@outside.test")
    login = (user, password or PASSWORDS[user])
    return lab.smtp("stranger", host, sender=user, recipients="victim@outside.test", message=message, port=587,
                    login=login)  # fmt: skip


def wait_for(lab: Lab, host: str, token: str, *, user: str = ANN, folder: str = "INBOX") -> None:
    """Until the message is there."""
    with imap(lab, host, user) as client:
        ready.wait(f"{token} in {folder} of {user} on {host}", lambda: bool(client.find(folder, token)))


def seen(client: mailclient.Imap, folders: tuple[str, ...]) -> dict[tuple[str, str], tuple[str, ...]]:
    """By folder and subject: flags, date and UID, and by folder the UIDVALIDITY."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for folder in folders:
        if client.select(f'"{folder}"', readonly=True)[0] != "OK":
            continue  # there is none yet
        found[(folder, "")] = (client.untagged_responses["UIDVALIDITY"][0].decode(),)
        for answer in client.uid("FETCH", "1:*", "(UID FLAGS INTERNALDATE BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1]:
            if not isinstance(answer, tuple):
                continue
            about, subject = answer[0].decode(), answer[1].decode().partition(":")[2].strip()
            flags = sorted(set(re.search(r"FLAGS \(([^)]*)\)", about)[1].split()) - {"\\Recent"})  # type: ignore[index]
            date = re.search(r'INTERNALDATE "([^"]+)"', about)[1]  # type: ignore[index]
            found[(folder, subject)] = (" ".join(flags), date, re.search(r"UID (\d+)", about)[1])  # type: ignore[index]
    return found


def change_password(lab: Lab, host: str, user: str, old: str, new: str) -> None:
    """As a webmail does it."""
    lines = [f"user {user}", f"pass {old}", f"newpass {new}", "quit"]
    said = lab.run(host, ["python3", "-c", LINES], input=json.dumps(lines)).stdout
    assert "200 The password is changed" in said, said
    ready.wait(f"the new password of {user}", lambda: can_enter(lab, host, user, new))


def use(lab: Lab, token: str) -> None:
    """What becomes of a mail server in a while."""
    for number in range(4):
        assert arrive(lab, OLD, f"{token}-{number}").accepted
        wait_for(lab, OLD, f"{token}-{number}")
    assert arrive(lab, OLD, f"{token}-bob", to=BOB).accepted
    wait_for(lab, OLD, f"{token}-bob", user=BOB)
    with imap(lab, OLD) as client:
        client.create(FOLDER)
        client.subscribe(FOLDER)
        client.append(FOLDER, "(\\Seen $Forwarded)", DATED, f"Subject: {token}-draft\r\n\r\nHello\r\n".encode())
        for number, flags in ((1, "\\Seen \\Flagged"), (2, "Projekt $Forwarded")):
            client.store(client.find("INBOX", f"{token}-{number}")[0], "+FLAGS", f"({flags})")
        # Spam, and what was no spam after all.
        head = f"From: eve@outside.test\r\nTo: {ANN}\r\nSubject: {token}-ham\r\nMessage-ID: <{token}-ham@outside.test>"
        ham = f"{head}\r\n\r\n{HAM}"
        client.append("Junk", "", DATED, ham.encode())
        for name, source, goal in ((f"{token}-3", "INBOX", "Junk"), (f"{token}-ham", "Junk", "INBOX")):
            assert client._simple_command("MOVE", client.find(source, name)[0], goal)[0] == "OK"
    # rspamd itself counts anew but once in a minute.
    ready.wait("what rspamd learns", lambda: lab.run(OLD, COUNTED).stdout.split() == ["1", "1"])
    lab.run(OLD, ["doveadm", "sieve", "put", "-a", "-u", ANN, "mine"], input=SIEVE)
    change_password(lab, OLD, BOB, PASSWORDS[BOB], CHOSEN)


class Traffic:
    """Mail that arrives and is moved about while something else happens."""

    def __init__(self, lab: Lab, token: str) -> None:
        self.lab, self.token = lab, token
        self.arrived: list[str] = []
        self.moves = 0
        self._end = threading.Event()
        self._work = threading.Thread(target=self._run)

    def _run(self) -> None:
        with imap(self.lab, OLD) as client:
            while not self._end.is_set():
                name = f"{self.token}-flow-{len(self.arrived)}-"
                if arrive(self.lab, OLD, name).accepted:
                    self.arrived.append(name)
                for source, goal in (("INBOX", "Archive"), ("Archive", "INBOX")):
                    for number in client.find(source, f"{self.token}-0"):
                        client._simple_command("MOVE", number, goal)
                        self.moves += 1
                time.sleep(0.05)

    def __enter__(self) -> Traffic:
        self._work.start()
        ready.wait("the first message", lambda: len(self.arrived) > 1)
        return self

    def __exit__(self, *dummy: object) -> None:
        self._end.set()
        self._work.join()


def restore(lab: Lab, archive: Path, **options: Any) -> plays.Played:
    """Run the playbook that restores."""
    extra = {"mail_restore_archive": str(archive), **options.pop("extra", {})}
    return plays.play(lab, PLAYBOOKS / "mail_restore.yml", inventories=(), limit=NEW, extra=extra, **options)
