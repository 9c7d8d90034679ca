# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mails what systemd says of a unit that failed, once in a while for each unit.

    STATE_DIRECTORY=/var/lib/email-failures python3 email_failures.py <unit> <address> <seconds>

A unit that fails again within the seconds is counted, and the next message says how often it did. All units together
have twenty messages in that time. It needs Python, systemctl and any sendmail.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Any

OWN = "email-failures@"
ALL_UNITS = 20  # messages within the interval
LINES = 50  # of the unit's log
TEXT_LIMIT = 100_000  # characters of a message
SENDMAIL = "/usr/sbin/sendmail"
CONTROL = re.compile(r"[^\t\n\x20-\x7e\u00a0-\ud7ff\ue000-\ufffd]")


def decide(known: dict[str, Any], unit: str, now: float, interval: float) -> tuple[dict[str, Any], int | None]:
    """What is to be remembered, and how many failures of the unit went unmentioned, None if this one shall, too.

    ``known`` is {"sent": {unit: time}, "withheld": {unit: count}}; what is of no use any more is dropped from it.
    """
    sent = {name: when for name, when in _numbers(known.get("sent")).items() if now - interval < when <= now}
    withheld = {name: int(count) for name, count in _numbers(known.get("withheld")).items()}
    if unit in sent or len(sent) >= ALL_UNITS:
        return {"sent": sent, "withheld": withheld | {unit: withheld.get(unit, 0) + 1}}, None
    unmentioned = withheld.pop(unit, 0)
    return {"sent": sent | {unit: now}, "withheld": withheld}, unmentioned


def _numbers(value: object) -> dict[str, float]:
    items = value.items() if isinstance(value, dict) else ()
    return {name: number for name, number in items if isinstance(number, int | float)}


@contextlib.contextmanager
def memory(folder: Path) -> Iterator[dict[str, Any]]:
    """What was remembered, for one process at a time; a change to it is kept."""
    with open(os.open(folder / "sent.json", os.O_RDWR | os.O_CREAT, 0o600), "r+", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        try:
            known = json.load(stream)
        except ValueError:
            known = {}
        known = known if isinstance(known, dict) else {}
        yield known
        stream.seek(0)
        stream.truncate()
        json.dump(known, stream)


def compose(unit: str, address: str, host: str, status: str, unmentioned: int) -> EmailMessage:
    """The message. Its text is what systemctl says, without what a terminal might obey."""
    message = EmailMessage(policy=SMTP.clone(linesep="\n"))
    message["To"] = address
    # The email package takes other characters than LF for ends of lines, too.
    message["Subject"] = " ".join(CONTROL.sub("?", f"{host}: {unit} failed").split())[:200]
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no vacation notices
    message["X-Auto-Response-Suppress"] = "All"
    before = f"It failed {unmentioned} more times since the last message.\n" if unmentioned else ""
    text = CONTROL.sub("?", status)[:TEXT_LIMIT]
    message.set_content(f"{unit} on {host} has failed.\n{before}\n{text.rstrip()}\n", charset="utf-8")
    return message


def status_of(unit: str) -> str:
    """What systemctl says of the unit, with the end of its log."""
    argv = ["systemctl", "status", "--full", "--no-pager", f"--lines={LINES}", "--", unit]
    done = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=60, check=False)
    return done.stdout or done.stderr


def report(unit: str, address: str, interval: float, folder: Path) -> bool:
    """Whether a message was handed to sendmail, which counts as sent only then."""
    with memory(folder) as known:
        after, unmentioned = decide(known, unit, time.time(), interval)
        if unmentioned is not None:
            message = compose(unit, address, socket.gethostname(), status_of(unit), unmentioned)
            # -i: a line with a single dot is text.
            subprocess.run([SENDMAIL, "-i", "--", address], input=message.as_bytes(), timeout=120, check=True)
        known.clear()
        known.update(after)
    return unmentioned is not None


def main(argv: list[str]) -> int:
    folder = os.environ.get("STATE_DIRECTORY", "")
    if len(argv) != 3 or not folder or not argv[2].isdecimal():
        sys.stderr.write("usage: STATE_DIRECTORY=<folder> email_failures.py <unit> <address> <seconds>\n")
        return 2
    unit, address, interval = argv
    if unit.startswith(OWN):  # a message on messages that cannot be sent would be one of them
        return 0
    try:
        sent = report(unit, address, float(interval), Path(folder))
    except (OSError, subprocess.SubprocessError) as err:
        sys.stderr.write(f"no message on {unit}: {err}\n")
        return 1
    sys.stdout.write(f"{unit}: {'a message was sent' if sent else 'no message, as there was one a while ago'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
