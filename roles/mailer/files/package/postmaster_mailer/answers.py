# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: what a message that the world sends back means: a bounce, a complaint, an automatic reply, or none of them.

Bounces: RFC 3464, and what flufl.bounce knows of older programs. Complaints: RFC 5965. Automatic replies: RFC 3834.
"""

from __future__ import annotations

import email
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message as Parsed

from flufl.bounce import all_failures

from . import events
from .message import addresses
from .returnpath import Answered, read

log = logging.getLogger(__name__)
logging.getLogger("flufl.bounce").setLevel(logging.CRITICAL)  # it writes a traceback for each

DELAYED = "delayed"  # a server still tries: nothing has happened yet
_STATUS = re.compile(r"\b([245])\.(\d{1,3})\.(\d{1,3})\b")  # RFC 3463
_REPLY = re.compile(r"\b([45])\d\d[ -]")
# Classes of RFC 3463 that blame no mailbox: another try, or another text, may do.
_PASSING = frozenset({(2, 2), (2, 1), (3, 1), (3, 2), (4, 1), (4, 2), (4, 5), (4, 7), (7, 0), (7, 1)})
_FULL = re.compile(r"quota|mailbox (?:is )?full|insufficient (?:disk )?(?:space|storage)", re.IGNORECASE)
# With an end to each part: a stranger's text is searched, and may be long.
_OURS = re.compile(r"(?:bounce|unsub)-[a-z0-9]{1,40}-[a-z2-7]{16}(?=@)", re.IGNORECASE)
_UNROUTABLE = frozenset({(1, 2), (1, 10), (4, 3), (4, 4), (4, 6)})


@dataclass(frozen=True)
class Outcome:
    """What a message says of one recipient. ``kind``: an event's name, ``delayed``, or empty (not understood).

    ``type`` is a bounce's: hard, soft, unroutable or autoreply. ``reason`` is what the server said.
    """

    kind: str
    type: str = ""
    recipient: str = ""
    reason: str = ""
    ip: str = ""


@dataclass(frozen=True)
class Answer:
    """Outcomes, and the uuid of the message that they concern, where it names one."""

    uuid: str | None
    proven: bool
    outcomes: tuple[Outcome, ...]


def classify(raw: bytes, recipient: str, secrets: tuple[bytes, ...]) -> Answer:
    """What a message to ``recipient``, one of our answer addresses or the one for complaints, says."""
    parsed = email.message_from_bytes(raw)
    address = read(secrets, recipient.rpartition("@")[0])
    if address is not None and address.kind == "unsub":
        return Answer(address.uuid, address.proven, (Outcome(events.UNSUBSCRIBE),))
    outcomes = tuple(dict.fromkeys(_complaints(parsed) or _reports(parsed) or _old(parsed) or _automatic(parsed)))
    uuid, proven = _whose(parsed, address, secrets)
    return Answer(uuid, proven, outcomes or (Outcome(""),))


def kind_of_bounce(status: str, said: str) -> str:
    """The type of a bounce by its status (RFC 3463) or, without one, by what the server said."""
    found = _STATUS.search(status) or _STATUS.search(said)
    if not found:
        reply = _REPLY.search(said)
        return events.SOFT if reply and reply[1] == "4" else events.HARD
    detail = (int(found[2]), int(found[3]))
    if detail in _UNROUTABLE:
        return events.UNROUTABLE
    return events.SOFT if found[1] == "4" or detail in _PASSING or _FULL.search(said) else events.HARD


def _parts(parsed: Parsed, kind: str) -> Iterator[Parsed]:
    return (part for part in parsed.walk() if part.get_content_type() == kind)


def _blocks(part: Parsed) -> list[Parsed]:
    """The groups of fields of a status or a report; a part with another encoding has but a text."""
    content = part.get_payload()
    if isinstance(content, list):
        return [block for block in content if isinstance(block, Parsed)]
    decoded = part.get_payload(decode=True)
    text = decoded if isinstance(decoded, bytes) else b""
    return [email.message_from_bytes(block) for block in re.split(rb"(?:\r?\n){2,}", text.strip()) if block]


def _field(block: Parsed, name: str) -> str:
    return " ".join(str(block.get(name, "")).split())


def _typed(value: str) -> str:
    """The value of a field such as ``rfc822; a@example.org``."""
    return value.rpartition(";")[2].strip()


def _complaints(parsed: Parsed) -> list[Outcome]:
    for part in _parts(parsed, "message/feedback-report"):
        for block in _blocks(part):
            who = next(iter(addresses(_field(block, "Original-Rcpt-To").encode())), "")
            kind = _field(block, "Feedback-Type").lower()
            if kind in ("not-spam", "auth-failure"):  # the one takes a complaint back, the other is none (RFC 6591)
                return [Outcome(DELAYED, recipient=who, reason=kind)]
            return [Outcome(events.SPAM_REPORT, recipient=who, reason=kind, ip=_field(block, "Source-IP"))]
    return []


def _reports(parsed: Parsed) -> list[Outcome]:
    return [
        outcome
        for part in _parts(parsed, "message/delivery-status")
        for block in _blocks(part)
        if (outcome := _of_recipient(block)) is not None
    ]


def _of_recipient(block: Parsed) -> Outcome | None:
    who = _typed(_field(block, "Final-Recipient") or _field(block, "Original-Recipient")).strip("<>")
    action = _field(block, "Action").lower()
    if not who or not action:  # the group about the message as a whole
        return None
    said = _typed(_field(block, "Diagnostic-Code"))
    status = _field(block, "Status")
    if action.startswith("failed"):
        mta = _typed(_field(block, "Remote-MTA"))
        ip = re.search(r"\[([0-9a-fA-F.:]+)\]", f"{mta} {said}")
        kind = kind_of_bounce(status, f"{said} {_field(block, 'Status')}")
        return Outcome(events.BOUNCE, kind, who, said or status, ip[1] if ip else "")
    return Outcome(DELAYED, recipient=who, reason=said or status)


def _automatic(parsed: Parsed) -> list[Outcome]:
    """RFC 3834 section 5, and what programs wrote before it."""
    said = _field(parsed, "Auto-Submitted").lower()
    before = _field(parsed, "Precedence").lower() in ("auto_reply", "auto-reply")
    other = any(parsed.get(name) is not None for name in ("X-Autoreply", "X-Autorespond", "X-Autoresponder"))
    if said.startswith("auto-replied") or before or other:
        sender = next(iter(addresses(_field(parsed, "From").encode())), "")
        return [Outcome(events.BOUNCE, events.AUTOREPLY, sender, _field(parsed, "Subject"))]
    return []


def _old(parsed: Parsed) -> list[Outcome]:
    if parsed.get("From") is None:  # one of its readers takes that there is one for granted
        parsed["From"] = "<>"
    try:
        passing, lasting = all_failures(parsed)
    except Exception as err:  # others may take other things for granted, and the mail is a stranger's
        log.info("flufl.bounce cannot read a message: %r", err)
        return []
    soft = [Outcome(DELAYED, recipient=one.decode("ascii", "replace")) for one in sorted(passing - lasting)]
    hard = [Outcome(events.BOUNCE, events.HARD, one.decode("ascii", "replace")) for one in sorted(lasting)]
    return hard + soft


def _whose(parsed: Parsed, address: Answered | None, secrets: tuple[bytes, ...]) -> tuple[str | None, bool]:
    """The message that it is about: by the address it came to, else by what it holds of that message."""
    if address is not None:
        return address.uuid, address.proven
    for part in parsed.walk():
        if part.get_content_type() not in ("message/rfc822", "text/rfc822-headers", "message/feedback-report"):
            continue
        text = part.as_string()
        for found in _OURS.finditer(text):
            ours = read(secrets, found[0])
            if ours is not None and ours.proven:
                return ours.uuid, True
    return None, False
