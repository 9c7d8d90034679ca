# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs where an application does: hands messages in, over SMTP or HTTP, with as much patience as it is given.

Each message is (uuid, recipients, content): MIME as text, or for the JSON interface an object. Where ``endless`` names
a file, messages made of a template come until the file is there, and at least ``least`` of them. Prints what was
answered to each message at last, and how often it was told to come again, or nothing.
"""

import base64
import http.client
import json
import smtplib
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

options = json.load(sys.stdin)
deadline = time.monotonic() + options["patience"]
lock = threading.Lock()
report: dict[str, Any] = {"answers": {}, "again": 0, "silent": 0}


class Smtp:
    """As the guide to the mailer says, a connection for several messages."""

    def __init__(self) -> None:
        self._server = smtplib.SMTP(options["server"], options.get("port", 587), timeout=20)
        self._server.starttls(context=ssl.create_default_context())
        self._server.login(options["user"], options["password"])

    def send(self, uuid: str, recipients: list[str], content: str) -> tuple[int, str]:
        """Code and text of the answer."""
        try:
            self._server.sendmail(options["sender"], recipients, content)
        except smtplib.SMTPResponseException as err:
            return err.smtp_code, str(err.smtp_error)
        except smtplib.SMTPRecipientsRefused as err:
            code, said = next(iter(err.recipients.values()))
            return code, said.decode()
        return 250, ""

    def close(self) -> None:
        """Hang up."""
        self._server.close()


class Http:
    """Either of the two interfaces."""

    def __init__(self) -> None:
        self._server = http.client.HTTPConnection(options["server"], options.get("port", 8080), timeout=20)
        name = f"{options['user']}:{options['password']}"
        self._headers = {"Authorization": "Basic " + base64.b64encode(name.encode()).decode()}

    def send(self, uuid: str, recipients: list[str], content: Any) -> tuple[int, str]:
        """Status and body of the answer."""
        plain = isinstance(content, str)
        kind = "application/octet-stream" if plain else "application/json"
        body = content if plain else json.dumps(content)
        path = "/v1/mail/send" if plain else "/v1/messages"
        self._server.request("POST", path, body.encode(), {**self._headers, "Content-Type": kind})
        answer = self._server.getresponse()
        return answer.status, answer.read().decode()

    def close(self) -> None:
        """Hang up."""
        self._server.close()


def numbered() -> Iterator[tuple[str, list[str], Any]]:
    """Messages of the template, for as long as they are wanted."""
    number = 0
    while number < options["least"] or not Path(options["endless"]).exists():
        uuid = f"{options['token']}n{number}"
        yield uuid, options["recipients"], options["content"].replace("{uuid}", uuid)
        number += 1


waiting = iter(options["messages"] if "messages" in options else numbered())


def settle(client: "Smtp | Http | None", uuid: str, recipients: list[str], content: Any) -> "Smtp | Http | None":
    """Hand one message in until there is an answer that stays; the connection for the next one."""
    while True:
        code, said = 0, ""
        try:
            client = client or (Smtp if options["by"] == "smtp" else Http)()
            code, said = client.send(uuid, recipients, content)
        except (OSError, smtplib.SMTPException, http.client.HTTPException) as err:
            said = repr(err)
        lasting = 200 <= code < 300 or code >= 500 if options["by"] == "smtp" else code and code not in (429, 503)
        with lock:
            report["answers"][uuid] = [code, said]
            if not lasting:
                report["again" if code else "silent"] += 1
        if not lasting and client is not None:
            client.close()
            client = None
        if lasting or time.monotonic() >= deadline:
            return client
        time.sleep(0.2)


def work() -> None:
    """One thread of the application."""
    client = None
    while True:
        with lock:
            message = next(waiting, None)
        if message is None:
            return
        client = settle(client, *message)
        time.sleep(options.get("pause", 0))


threads = [threading.Thread(target=work) for dummy in range(options.get("clients", 1))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps(report))
