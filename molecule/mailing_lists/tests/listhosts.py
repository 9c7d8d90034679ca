# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of this folder have in common: the hosts of the lists, their REST API, and their web pages."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from lab import ready
from lab.plays import Played, play
from lab.probe import Lab

SCENARIO = Path(__file__).resolve().parent.parent
ESTATE = SCENARIO / "estate"
REMOTE = Path(__file__).resolve().parent / "remote"
DOMAINS = {"mail-12": "lists.shop.example", "mail-13": "lists.corp.example"}
HOSTS = tuple(DOMAINS)
ADMIN = ("boss", "first pa55 of the boss")
GONE = "gone@outside.test"

REST = """
import base64, configparser, json, sys, urllib.error, urllib.request
known = configparser.ConfigParser(interpolation=None)
known.read("/etc/mailman3/mailman.cfg")
web = known["webservice"]
request = urllib.request.Request(f"http://127.0.0.1:{web['port']}/3.1{sys.argv[1]}")
word = base64.b64encode(f"{web['admin_user']}:{web['admin_pass']}".encode()).decode()
request.add_header("Authorization", f"Basic {word}")
try:
    print(urllib.request.urlopen(request, timeout=60).read().decode())
except urllib.error.HTTPError as err:
    print(json.dumps({"status": err.code}))
"""


def converge(lab: Lab, **options: Any) -> Played:
    """Run the scenario's playbook."""
    return play(lab, SCENARIO / "converge.yml", inventories=[ESTATE], **options)


def rest(lab: Lab, host: str, path: str) -> Any:
    """What Mailman's REST API shows."""
    return json.loads(lab.run(host, ["python3", "-", path], input=REST).stdout)


def roster(lab: Lab, host: str, name: str, role: str = "member") -> dict[str, dict[str, Any]]:
    """The members of a list, or its owners, by address."""
    found = rest(lab, host, f"/lists/{name}.{DOMAINS[host]}/roster/{role}")
    return {entry["email"]: entry for entry in found.get("entries", [])}


def settings(lab: Lab, host: str, name: str) -> dict[str, Any]:
    """All settings of a list."""
    found: dict[str, Any] = rest(lab, host, f"/lists/{name}.{DOMAINS[host]}/config")
    return found


def browse(lab: Lab, from_host: str, **asked: Any) -> list[dict[str, Any]]:
    """Ask for pages from a host that trusts the lab's authority; see remote/browse.py."""
    argument = base64.b64encode(json.dumps(asked).encode()).decode()
    program = (REMOTE / "browse.py").read_text(encoding="utf-8")
    found: list[dict[str, Any]] = json.loads(
        lab.run(from_host, ["python3", "-", argument], input=program, timeout=600).stdout
    )
    return found


def letter(author: str, to: str, subject: str, body: str = "Hello, all") -> str:
    """A message as people write it."""
    return (
        f"From: {author}\nTo: {to}\nSubject: {subject}\nMessage-ID: <{subject}@{author.rpartition('@')[2]}>\n\n{body}\n"
    )


def post(lab: Lab, host: str, author: str, subject: str, *, name: str = "talk", from_host: str = "stranger") -> None:
    """Somebody sends a message to a list."""
    to = f"{name}@{DOMAINS[host]}"
    said = lab.smtp(from_host, host, sender=author, recipients=to, message=letter(author, to, subject))
    assert said.accepted, said.steps


def until(what: str, test: Any) -> None:
    """Wait for something, with a bound."""
    ready.wait(what, test, timeout=120)
