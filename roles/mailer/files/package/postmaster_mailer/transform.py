# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan: from the message that came to the one that goes out, signed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import formatdate

from . import beacon, returnpath
from .dkim import SigningKey, sign
from .envelope import OURS, Envelope
from .message import Message, MessageError, addresses

# Not ours to pass on: who else got it, what we set ourselves, and signatures that what we change breaks.
_NOT_KEPT = OURS | {
    b"bcc", b"resent-bcc", b"return-path", b"message-id", b"x-mailer", b"feedback-id", b"dkim-signature",
    b"x-returnpathib",
}  # fmt: skip
ONE_CLICK = "List-Unsubscribe=One-Click"  # RFC 8058 section 3.1
_PLACE = re.compile(r"\{\{\s*([a-z-]+)\s*\}\}")


class RefusedError(Exception):
    """The message cannot be sent; the text is what the error event says."""


@dataclass(frozen=True)
class Domain:
    """A domain that mail may come from. ``keys`` is asked each time, as the rotation changes them."""

    name: str
    return_path_domain: str
    keys: Callable[[], Sequence[SigningKey]]
    beacon_url: str | None = None


@dataclass(frozen=True)
class Style:
    """What all messages get: see the section ``transformer`` of the configuration."""

    secret: bytes
    x_mailer: str = ""
    inject: Mapping[str, str] | None = None
    campaign_id: str = ""
    mail_type: str = ""
    sender_id: str = ""


@dataclass(frozen=True)
class Outgoing:
    """A message as Postfix gets it: its return path and its bytes."""

    sender: str
    raw: bytes


def transform(
    raw: bytes, envelope: Envelope, domains: Mapping[str, Domain], style: Style, *, now: Callable[[], float]
) -> Outgoing:
    """Make a message ready to be sent. Raises :class:`RefusedError`."""
    try:
        message = Message.parse(raw)
        domain = _domain(message, domains)
        message.remove(_NOT_KEPT)
        if domain.beacon_url:
            beacon.put(message, _filled(domain.beacon_url, envelope, domain, style))
        _identify(message, envelope, domain, style, now())
    except MessageError as err:
        raise RefusedError(str(err)) from err
    keys = domain.keys()
    if not keys:
        raise RefusedError(f"the domain {domain.name} has no key to sign with: run the rotation, or give it one")
    sign(message, keys, now=now)
    local = returnpath.local_part(style.secret, returnpath.BOUNCE, envelope.uuid)
    return Outgoing(f"{local}@{domain.return_path_domain}", bytes(message))


def _domain(message: Message, domains: Mapping[str, Domain]) -> Domain:
    """The settings for the domain in From, of which there must be one (RFC 5322 section 3.6.2)."""
    fields = list(message.all(b"from"))
    senders = addresses(fields[0]) if len(fields) == 1 else []
    if len(senders) != 1:
        raise RefusedError("From must stand in the header once, with one address")
    name = senders[0].rpartition("@")[2].lower()
    if name not in domains:
        raise RefusedError(f"no mail may come from the domain {name}: it is not among domain-settings")
    return domains[name]


def _identify(message: Message, envelope: Envelope, domain: Domain, style: Style, now: float) -> None:
    message.add("Message-ID", f"<{envelope.uuid}@{domain.name}>")
    if message.get(b"date") is None:
        message.add("Date", formatdate(now).replace("-0000", "+0000"))
    if style.x_mailer:
        message.add("X-Mailer", style.x_mailer)
    if style.sender_id:
        campaign = envelope.stream_id or style.campaign_id
        message.add("Feedback-ID", f"{campaign}:{envelope.uuid}:{style.mail_type}:{style.sender_id}")
    for name, template in (style.inject or {}).items():
        message.remove(frozenset({name.lower().encode()}))
        message.add(name, _filled(template, envelope, domain, style))
    # A link that unsubscribes by one click must say so, and both fields must be signed (RFC 8058 sections 3.1, 4).
    if b"<https:" in (message.get(b"list-unsubscribe") or b"").lower() and not message.get(b"list-unsubscribe-post"):
        message.add("List-Unsubscribe-Post", ONE_CLICK)


def _filled(template: str, envelope: Envelope, domain: Domain, style: Style) -> str:
    def value(place: re.Match[str]) -> str:
        if place[1] == "unsubscribe-token":
            return returnpath.local_part(style.secret, returnpath.UNSUBSCRIBE, envelope.uuid)
        known = {"uuid": envelope.uuid, "from-domain": domain.name, "stream-id": envelope.stream_id or ""}
        known["return-path-domain"] = domain.return_path_domain
        return known.get(place[1], place[0])

    return _PLACE.sub(value, template)
