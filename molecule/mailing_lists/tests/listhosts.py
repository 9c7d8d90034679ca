# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of this folder have in common: the hosts of the lists, their REST API, and their web pages."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from email.utils import formatdate
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
FULL = os.environ.get("MAIL_TEST_FULL") == "1"
# Each release with each database, the other way round in the full form.
DATABASES = dict(zip(HOSTS, ("postgresql", "sqlite") if FULL else ("sqlite", "postgresql"), strict=True))
GONE = "gone@outside.test"

REST = """
import base64, configparser, json, sys, urllib.error, urllib.parse, urllib.request
known = configparser.ConfigParser(interpolation=None)
known.read("/etc/mailman3/mailman.cfg")
web = known["webservice"]
form = urllib.parse.urlencode(json.loads(sys.argv[2])).encode() if sys.argv[2:] else None
request = urllib.request.Request(f"http://127.0.0.1:{web['port']}/3.1{sys.argv[1]}", form)
word = base64.b64encode(f"{web['admin_user']}:{web['admin_pass']}".encode()).decode()
request.add_header("Authorization", f"Basic {word}")
try:
    print(urllib.request.urlopen(request, timeout=60).read().decode() or "{}")
except urllib.error.HTTPError as err:
    print(json.dumps({"status": err.code}))
"""


def converge(lab: Lab, **options: Any) -> Played:
    """Run the scenario's playbook."""
    options["extra"] = {"lists_databases": DATABASES, **options.get("extra", {})}
    return play(lab, SCENARIO / "converge.yml", inventories=[ESTATE], **options)


def rest(lab: Lab, host: str, path: str, form: dict[str, str] | None = None) -> Any:
    """What Mailman's REST API shows, or says to a form."""
    return json.loads(lab.run(host, ["python3", "-", path, *([json.dumps(form)] if form else [])], input=REST).stdout)


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
    known = f"Subject: {subject}\nDate: {formatdate()}\nMessage-ID: <{subject}@{author.rpartition('@')[2]}>"
    return f"From: {author}\nTo: {to}\n{known}\n\n{body}\n"


def archived(lab: Lab, host: str, name: str, subject: str, author: str) -> list[str]:
    """The pages by which the archive shows a message, and its list (Mailman's Message-ID-Hash makes the address)."""
    key = base64.b32encode(hashlib.sha1(f"{subject}@{author.rpartition('@')[2]}".encode()).digest()).decode()
    site, address = f"https://{lab.fqdn(host)}/hyperkitty", f"{name}@{DOMAINS[host]}"
    return [
        f"{site}/list/{address}/message/{key}/",
        f"{site}/list/{address}/thread/{key}/",
        f"{site}/list/{address}/latest",
        f"{site}/list/{address}/feed/",
        f"{site}/list/{address}/export/{address}.mbox.gz?message={key}",
    ]


def post(
    lab: Lab,
    host: str,
    author: str,
    subject: str,
    *,
    name: str = "talk",
    from_host: str = "stranger",
    message: bytes | None = None,
) -> None:
    """Somebody sends a message to a list."""
    to = f"{name}@{DOMAINS[host]}"
    data = message or letter(author, to, subject)
    said = lab.smtp(from_host, host, sender=author, recipients=to, message=data)
    assert said.accepted, said.steps


def until(what: str, test: Any) -> None:
    """Wait for something, with a bound."""
    ready.wait(what, test, timeout=120)
