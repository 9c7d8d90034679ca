# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: what lines of Postfix's log say of the messages it has.

Lines come with the date of RFC 3164 or of RFC 3339, or without one, as the journal gives them; queue ids are short or
long (enable_long_queue_ids).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_LINE = re.compile(
    r"""(?:.*?\s)?postfix[^\s/\[]*/(?P<program>[\w./-]+)(?:\[\d+\])?:\s
        (?P<id>[0-9A-F]{6,20}|[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{10,31}):\s(?P<rest>.*)""",
    re.VERBOSE,
)
_FROM = re.compile(r"from=<([^>]*)>")
_STATUS = re.compile(
    r"""to=<(?P<to>[^>]*)>,.*?(?:\srelay=(?P<relay>[^,]+),)?.*?\sdsn=(?P<dsn>\d\.\d+\.\d+),\sstatus=(?P<status>\w+)
        (?:\s\((?P<said>.*)\))?""",
    re.VERBOSE,
)
_IP = re.compile(r"\[([0-9a-fA-F.:]+)\]")
SENT, BOUNCED, DEFERRED, EXPIRED = "sent", "bounced", "deferred", "expired"


@dataclass(frozen=True)
class Queued:
    """Postfix has a message from this sender under this id."""

    id: str
    sender: str


@dataclass(frozen=True)
class Tried:
    """What came of a try for one recipient. ``final``: no other queue of the same Postfix goes on with it."""

    id: str
    recipient: str
    status: str
    dsn: str
    ip: str
    said: str
    final: bool


@dataclass(frozen=True)
class Removed:
    """Postfix has it no more."""

    id: str


def read(line: str) -> Queued | Tried | Removed | None:
    """What a line says; None for one that says nothing of the kind."""
    found = _LINE.match(line)
    if not found:
        return None
    id_, rest, program = found["id"], found["rest"], found["program"].rpartition("/")[2]
    if program == "qmgr":
        return _of_manager(id_, rest)
    tried = _STATUS.match(rest)
    if not tried or program not in ("smtp", "lmtp", "error", "local", "virtual", "pipe", "discard", "bounce"):
        return None
    relay = tried["relay"] or ""
    ip = _IP.search(relay)
    # A filter on this very host gives it back to Postfix, which goes on with it under another id.
    final = not (ip and ip[1] in ("127.0.0.1", "::1") and "queued as" in (tried["said"] or ""))
    return Tried(id_, tried["to"], tried["status"], tried["dsn"], ip[1] if ip else "", tried["said"] or "", final)


def _of_manager(id_: str, rest: str) -> Queued | Removed | Tried | None:
    if rest.startswith("removed"):
        return Removed(id_)
    sender = _FROM.match(rest)
    if not sender:
        return None
    if ", status=expired" in rest:
        return Tried(id_, "", EXPIRED, "4.4.7", "", rest.rpartition("status=expired, ")[2], True)
    return Queued(id_, sender[1])
