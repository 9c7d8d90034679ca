# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A message that is sent to be looked for, and what its arrival tells. Private, pure.

Sources: RFC 5322 (format), RFC 5321 section 4.4 (Received), RFC 8601 (Authentication-Results), RFC 3834 section 5
(Auto-Submitted).
"""

from __future__ import annotations

import email.utils
import re
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.message import EmailMessage

from ansible_collections.postmaster.mail.plugins.module_utils._check_mail import Mail
from ansible_collections.postmaster.mail.plugins.module_utils._signatures import Signature

METHODS = ("spf", "dkim", "dmarc")
HOP_LIMIT = 100
_ADDRESS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9.-]{1,253}")
TOKEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{7,63}")

_COMMENT = re.compile(r"\([^()]*\)")
# Servers write it in several ways: "using TLSv1.3 with", "(TLS1.3)", "version=TLS1_3", "(TLSv1.3:TLS_AES...".
_TLS = re.compile(r"\bTLS\s?v?(1)[._]([0-3])\b", re.IGNORECASE)
_FROM = re.compile(r"from\s+(\S{1,300})", re.IGNORECASE)
_BY = re.compile(r"(?:^|\s)by\s+(\S{1,300})", re.IGNORECASE)
_WITH = re.compile(r"(?:^|\s)with\s+([A-Za-z0-9]{1,20})")
_RESULT = re.compile(r"([a-z][a-z0-9-]{0,30})\s*=\s*([a-z]{1,20})", re.IGNORECASE)


class ProbeError(Exception):
    """A probe could not be sent or did not arrive; one sentence says what was seen."""


# --- the message -----------------------------------------------------------------------------


def is_address(text: str) -> bool:
    """Whether ``text`` is a plain address: no quotes, no international characters, nothing that ends a header."""
    return _ADDRESS.fullmatch(text) is not None and not text.startswith("-")


def new_token() -> str:
    """A word that no other message has."""
    return f"probe-{secrets.token_hex(8)}"


def message_id(token: str, sender: str) -> str:
    """The Message-ID of a probe, with its angle brackets."""
    return f"<{token}@{sender.rpartition('@')[2]}>"


def compose(token: str, sender: str, recipient: str, now: datetime) -> bytes:
    """The message, its lines ended by CR LF. Whoever finds it by accident learns what it is."""
    message = EmailMessage()
    message["From"] = sender
    message["To"] = recipient
    message["Subject"] = f"Mail probe {token}"
    message["Date"] = email.utils.format_datetime(now)
    message["Message-ID"] = message_id(token, sender)
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(
        "This message was sent by an automatic probe of the mail system.\n"
        "Nobody needs to read it, and it may be deleted.\n"
    )
    return message.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


# --- its arrival -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Hop:
    """One server on the way: ``tls`` is the version, e.g. ``TLSv1.3``, empty where the server names none.

    ``seconds`` is the time since the hop before, by the clocks of both; None where one does not say.
    """

    sender: str
    receiver: str
    protocol: str
    tls: str
    time: datetime | None
    seconds: float | None = None

    @property
    def encrypted(self) -> bool:
        """Whether it says that it took the message over TLS (RFC 3848: ESMTPS, ESMTPSA, LMTPS ...)."""
        return bool(self.tls) or self.protocol.upper() in ("ESMTPS", "ESMTPSA", "LMTPS", "LMTPSA", "UTF8SMTPS")

    @property
    def network(self) -> bool:
        """Whether the message came over a network at all, not from a program on the same host."""
        return "SMTP" in self.protocol.upper() or "LMTP" in self.protocol.upper()

    def as_dict(self) -> dict[str, object]:
        """Plain values for output."""
        return {**asdict(self), "time": self.time.isoformat() if self.time else "", "encrypted": self.encrypted}


def hops(mail: Mail) -> list[Hop]:
    """The message's way, the first server first."""
    found: list[Hop] = []
    for value in reversed(mail.all("received")[:HOP_LIMIT]):
        hop = _hop(" ".join(value.split()))
        before = found[-1].time if found else None
        seconds = (hop.time - before).total_seconds() if hop.time and before else None
        found.append(Hop(hop.sender, hop.receiver, hop.protocol, hop.tls, hop.time, seconds))
    return found


def _hop(value: str) -> Hop:
    trace, dummy, date = value.rpartition(";")
    plain = _without_comments(trace)
    sender, receiver, protocol = (pattern.search(plain) for pattern in (_FROM, _BY, _WITH))
    version = _TLS.search(trace)
    return Hop(
        sender=sender[1] if sender and plain.lower().startswith("from") else "",
        receiver=receiver[1] if receiver else "",
        protocol=protocol[1] if protocol else "",
        tls=f"TLSv{version[1]}.{version[2]}" if version else "",
        time=_time(date),
    )


def _without_comments(text: str) -> str:
    """``text`` without what stands in parentheses, which nest."""
    for dummy in range(10):
        shorter = _COMMENT.sub(" ", text)
        if shorter == text:
            break
        text = shorter
    return text


def _time(text: str) -> datetime | None:
    try:
        moment = email.utils.parsedate_to_datetime(text.strip())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (OverflowError, ValueError):
        return None


def verdicts(mail: Mail, authserv_id: str) -> dict[str, str]:
    """What the receiver ``authserv_id`` says of SPF, DKIM and DMARC; a method that it does not name is ``none``.

    Only its own topmost header counts: all others may be forged (RFC 8601 section 5). Of several DKIM results a pass
    wins. Empty without such a header.
    """
    for value in mail.all("authentication-results"):
        owner, *parts = _without_comments(value).split(";")
        if owner.split()[:1] != [authserv_id]:
            continue
        found: dict[str, list[str]] = {}
        for part in parts:
            match = _RESULT.match(part.strip())
            if match:
                found.setdefault(match[1].lower(), []).append(match[2].lower())
        return {one: "pass" if "pass" in found.get(one, ()) else found.get(one, ["none"])[0] for one in METHODS}
    return {}


@dataclass(frozen=True)
class Arrival:
    """A probe that arrived: ``seconds`` from its sending to when it was found."""

    mail: Mail
    seconds: float
    signatures: Sequence[Signature]
    authserv_id: str = ""

    def as_dict(self) -> dict[str, object]:
        """Plain values for output."""
        way = hops(self.mail)
        return {
            "seconds": round(self.seconds, 1),
            "envelope_sender": self.mail.envelope_sender,
            "hops": [hop.as_dict() for hop in way],
            "tls": all(hop.encrypted for hop in way if hop.network),
            "verdicts": verdicts(self.mail, self.authserv_id) if self.authserv_id else {},
            "signatures": [
                {
                    "domain": one.domain,
                    "selector": one.tags.get("s", ""),
                    "algorithm": one.tags.get("a", ""),
                    "valid": one.valid,
                    "reason": one.reason,
                }
                for one in self.signatures
            ],
        }

    def failings(self, require: Sequence[str]) -> list[str]:
        """A sentence for each of ``require`` (spf, dkim, dmarc, tls) that does not hold."""
        told = verdicts(self.mail, self.authserv_id) if self.authserv_id else {}
        found = []
        for one in require:
            if one == "tls":
                found += [f"{hop.receiver or 'a hop'} took it without TLS" for hop in hops(self.mail) if _is_open(hop)]
            elif one == "dkim":
                found += self._dkim_failings(told)
            elif not told:
                found.append(f"nobody says anything of {one}: name the receiver in authserv_id")
            elif told[one] != "pass":
                found.append(f"{self.authserv_id} says {one}={told[one]}")
        return found

    def _dkim_failings(self, told: dict[str, str]) -> list[str]:
        if not any(one.valid for one in self.signatures):
            reasons = ", ".join(f"{one.domain}: {one.reason}" for one in self.signatures)
            undecided = any(one.valid is None for one in self.signatures)
            verb = "can be verified" if undecided else "verifies"
            return [f"no DKIM signature {verb} ({reasons or 'there is none'})"]
        if told and told["dkim"] != "pass":
            return [f"{self.authserv_id} says dkim={told['dkim']}"]
        return []


def _is_open(hop: Hop) -> bool:
    return hop.network and not hop.encrypted and not _is_local(hop.sender)


def _is_local(name: str) -> bool:
    return name.lower() in ("localhost", "localhost.localdomain", "[127.0.0.1]", "[::1]", "127.0.0.1", "::1")
