# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a lab host: one SMTP session, every step of it printed as [said, code, text]."""

import base64
import contextlib
import json
import smtplib
import ssl
import sys
from typing import Any

options = json.loads(base64.b64decode(sys.argv[1]))
steps: list[list[Any]] = []


def note(said: str, reply: tuple[int, Any]) -> bool:
    """Record a step; true if the server goes along."""
    code, text = reply
    steps.append([said, code, text.decode(errors="replace") if isinstance(text, bytes) else str(text)])
    return 200 <= code < 400


def trusting() -> ssl.SSLContext:
    """TLS with whoever answers."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def secure(client: smtplib.SMTP) -> bool:
    """STARTTLS as asked; the certificate is not what these sessions are about."""
    wanted = options["starttls"]
    if wanted is False or (wanted is None and not client.has_extn("starttls")):
        return True
    return note("STARTTLS", client.starttls(context=trusting())) and note("EHLO", client.ehlo())


def transmit(client: smtplib.SMTP) -> None:
    """DATA, the message, and what is said to it."""
    data = base64.b64decode(options["message"])
    if not note("DATA", client.docmd("DATA")):
        return
    if not options["raw"]:
        lines = data.replace(b"\r\n", b"\n").rstrip(b"\n").split(b"\n")
        stuffed = b"\r\n".join(b"." + line if line.startswith(b".") else line for line in lines)
        client.send(stuffed + b"\r\n.\r\n")
        note(".", client.getreply())
        return
    client.send(data)
    # The end of the data is always answered, however late; what else comes does so at once.
    with contextlib.suppress(OSError):
        while note(".", client.getreply()) or steps[-1][1] > 0:
            if client.sock is not None:
                client.sock.settimeout(2)


def converse(client: smtplib.SMTP) -> None:
    """The session up to its end or to the first refusal."""
    if not note("EHLO", client.ehlo()) or not secure(client):
        return
    if options["login"]:
        user, password = options["login"]
        try:
            note("AUTH", client.login(user, password))
        except smtplib.SMTPException as err:
            note("AUTH", (getattr(err, "smtp_code", 503), getattr(err, "smtp_error", str(err))))
            return
    if not note("MAIL", client.docmd(f"MAIL FROM:<{options['sender']}>")):
        return
    taken = [note("RCPT", client.docmd(f"RCPT TO:<{recipient}>")) for recipient in options["recipients"]]
    if any(taken) and options["message"] is not None:
        transmit(client)
    with contextlib.suppress(OSError, smtplib.SMTPException):
        client.docmd("QUIT")


known = {"local_hostname": options["helo"], "timeout": options["timeout"], "source_address": (options["source"], 0)}
client = smtplib.SMTP_SSL(context=trusting(), **known) if options["wrapped"] else smtplib.SMTP(**known)
client._host = options["server"]  # type: ignore[attr-defined]  # TLS wants to know
try:
    if note("connect", client.connect(options["server"], options["port"])):
        converse(client)
except (OSError, smtplib.SMTPException) as err:
    steps.append(["connection", 0, f"{type(err).__name__}: {err}"])
print(json.dumps(steps))
