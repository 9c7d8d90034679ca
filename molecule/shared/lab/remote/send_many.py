# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a host that sends: many clients at once hand messages to a server, each until it was told that it is taken.

Prints the numbers of those that were (``answered``), what was refused for good, how often a client was sent away
for now (``deferred``), and how often it never heard what became of a message that it had sent whole (``doubtful``):
only these can arrive twice by the client's doing.
"""

import base64
import json
import queue
import smtplib
import sys
import threading
import time
from typing import Any

options = json.loads(base64.b64decode(sys.argv[1]))
waiting: "queue.Queue[int]" = queue.Queue()
for number in range(options["first"], options["end"]):
    waiting.put(number)
lock = threading.Lock()
report: dict[str, Any] = {"answered": [], "refused": [], "deferred": 0, "doubtful": 0, "unreachable": 0}
deadline = time.monotonic() + options["patience"]


def text(number: int, to: str) -> bytes:
    """A message of the wished size, unlike all others."""
    name = f"{options['token']}-{number}"
    head = (
        f"From: Somebody <{options['sender']}>\r\nTo: {to}\r\nSubject: {name}\r\nMessage-ID: <{name}@outside.test>\r\n"
        "Date: Fri, 27 Nov 2026 12:00:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n"
    )
    line = f"This is line %d of what we said we would write to you about: {name}.\r\n"
    count = max(1, (options["size"] - len(head)) // (len(line) + 1))
    return (head + "".join(line % index for index in range(count))).encode()


def hand_over(client: smtplib.SMTP, number: int) -> tuple[int, str]:
    """The server's last word; 0 where there was none."""
    to = options["recipients"][number % len(options["recipients"])]
    for command in (f"MAIL FROM:<{options['sender']}>", f"RCPT TO:<{to}>", "DATA"):
        code, said = client.docmd(command)
        if code >= 400:
            return code, f"{command}: {said.decode(errors='replace')}"
    client.send(text(number, to) + b".\r\n")
    try:
        code, said = client.getreply()
    except (OSError, smtplib.SMTPException):
        return 0, ""
    return code, said.decode(errors="replace")


def note(number: int, code: int, said: str) -> bool:
    """Keep what was said; whether the message has to be sent again."""
    with lock:
        if 200 <= code < 300:
            report["answered"].append(number)
        elif code >= 500:
            report["refused"].append([number, code, said])
        else:
            report["deferred" if code else "doubtful"] += 1
    return code < 200 or 400 <= code < 500


def work() -> None:
    """One client: some messages in each session."""
    client, left = None, 0
    while time.monotonic() < deadline:
        try:
            number = waiting.get_nowait()
        except queue.Empty:
            break
        code, said = -1, ""
        try:
            if client is None:
                client, left = smtplib.SMTP(options["server"], 25, options["name"], timeout=15), 5
                client.ehlo()
            code, said = hand_over(client, number)
        except (OSError, smtplib.SMTPException):
            with lock:
                report["unreachable"] += 1
        again = code == -1 or note(number, code, said)
        left -= 1
        if (again or left == 0) and client is not None:
            client.close()
            client = None
        if again:
            waiting.put(number)
            time.sleep(0.2)


start = time.monotonic()
threads = [threading.Thread(target=work) for dummy in range(options["clients"])]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
report["seconds"] = time.monotonic() - start
print(json.dumps(report))
