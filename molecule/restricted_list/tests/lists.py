# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of this folder have in common: the lists, and mails to them."""

from __future__ import annotations

import re
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from lab.plays import ESTATE, Played, play
from lab.probe import Dialogue, Lab

SCENARIO = Path(__file__).resolve().parent.parent
PLAYBOOKS = SCENARIO.parent.parent / "playbooks"
HOSTS = ("relay1", "relay2")
LIST = "restricted@corp.example"
ANNA = "anna@corp.example"
UNIT = "postmaster-restricted-list"


def converge(lab: Lab, playbook: str = "restricted_list.yml", **options: Any) -> Played:
    """Run a playbook of the collection."""
    return play(lab, PLAYBOOKS / playbook, inventories=[ESTATE, SCENARIO / "estate"], **options)


def token(lab: Lab, host: str, *words: str) -> str:
    """The file of a new token of Anna's, for a few unless words say otherwise."""
    whom = words or ("--group", "few")
    made = lab.run(host, ["restricted-list", "token", "--sender", ANNA, *whom]).stdout
    assert re.fullmatch(r"RESTRICTED-TOKEN [0-9a-f]{128}\n", made)
    return made


def mail(subject: str, file: str | None, *, sender: str = ANNA) -> EmailMessage:
    """A mail with a text in two alternatives, an attachment, and the file of a token."""
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = f"Änna <{sender}>", LIST, subject
    made.set_content("Grüße\n")
    made.add_alternative("<html><body><p>Grüße</p></body></html>\n", subtype="html")
    made.add_attachment(bytes(range(256)), maintype="application", subtype="x-bytes", filename="bytes")
    if file is not None:
        made.add_attachment(file, filename="token.txt")
    return made


def send(
    lab: Lab,
    host: str,
    made: EmailMessage | bytes,
    *,
    sender: str = ANNA,
    port: int = 25,
    starttls: bool | None = None,
) -> Dialogue:
    """Hand a mail to the relay, or to the list behind it."""
    data = (made if isinstance(made, bytes) else made.as_bytes()).replace(b"\n", b"\r\n")
    return lab.smtp(host, host, sender=sender, recipients=LIST, message=data, port=port, starttls=starttls)


# The hosts have no curl.
_HTTP = """
import sys, urllib.error, urllib.request
url, body, bearer = sys.argv[1:]
request = urllib.request.Request(url, body.encode() or None, {"Authorization": "Bearer " + bearer})
try:
    answer = urllib.request.urlopen(request, timeout=60)
except urllib.error.HTTPError as err:
    answer = err
print(answer.status)
print(answer.read().decode(), end="")
"""


def http(lab: Lab, host: str, path: str, body: str = "", *, bearer: str = "") -> tuple[int, str]:
    """Ask the list over HTTP, as a proxy on its host does: status and text."""
    words = ["python3", "-", f"http://127.0.0.1:8026{path}", body, bearer]
    status, dummy, text = lab.run(host, words, input=_HTTP).stdout.partition("\n")
    return int(status), text
