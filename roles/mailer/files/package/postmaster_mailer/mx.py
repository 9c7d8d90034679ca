# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stage: the world's answers come in over SMTP, at the MX of our return domains: bounces, complaints, unsubscriptions.

Nothing is relayed and nothing is answered by mail, so no loop begins here. 250 means that what a message says is safe.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass

from . import events
from .answers import Answer, classify
from .limits import Rate
from .message import with_crlf
from .quarantine import Quarantine
from .queue import QueueError
from .reporter import Reporter
from .returnpath import BOUNCE, UNSUBSCRIBE, Answered, read
from .smtp_server import Dialogue

log = logging.getLogger(__name__)

POSTMASTER = "postmaster"


@dataclass(frozen=True)
class Addresses:
    """What mail is taken for. Domains and addresses are in lower case.

    ``bounces`` are the domains that take bounces, ``unsubscribes`` those that take unsubscriptions, ``complaints`` are
    addresses. ``secrets`` prove our own. ``unproven`` are kinds that count without a proof; with ``forged`` a wrong
    one is no matter.
    """

    secrets: tuple[bytes, ...]
    bounces: frozenset[str]
    unsubscribes: frozenset[str] = frozenset()
    complaints: frozenset[str] = frozenset()
    unproven: frozenset[str] = frozenset()
    forged: bool = False

    def refusal(self, recipient: str) -> str | None:
        """Why an address gets nothing here; None if it does."""
        local, dummy, domain = recipient.lower().rpartition("@")
        if recipient.lower() in self.complaints:
            return None
        if domain not in self.bounces | self.unsubscribes:
            return "550 5.7.1 nothing is relayed here"
        if local == POSTMASTER:  # RFC 5321 section 4.5.1
            return None
        ours = read(self.secrets, local)
        places = {BOUNCE: self.bounces, UNSUBSCRIBE: self.bounces | self.unsubscribes}
        if ours is None or domain not in places[ours.kind]:
            return "550 5.1.1 there is no such address"
        return None if self._counts(ours, local) else "550 5.7.1 this address was not made here"

    def _counts(self, ours: Answered, local: str) -> bool:
        bare = local == f"{ours.kind}-{ours.uuid}"
        return ours.proven or self.forged or (bare and ours.kind in self.unproven)


class MxTaker:
    """What the server for answers says."""

    def __init__(self, addresses: Addresses, reporter: Reporter, quarantine: Quarantine, rate: Rate) -> None:
        self._addresses, self._reporter = addresses, reporter
        self._quarantine, self._rate = quarantine, rate
        self._seen: Counter[str] = Counter()

    @property
    def counts(self) -> dict[str, float]:
        """For the metrics, under their names."""
        return {
            "mxserver_received_unsubscribe": self._seen[events.UNSUBSCRIBE],
            "mxserver_received_spam": self._seen[events.SPAM_REPORT],
            "mxserver_received_autoreply": self._seen[events.AUTOREPLY],
            "mxserver_received_bounce": self._seen[events.BOUNCE],
            "mxserver_received_unclassified": self._seen[""],
            "mxserver_warnings": self._seen["warning"],
        }

    def mail(self, dialogue: Dialogue, sender: str) -> str:
        """Anybody may answer, and bounces have no sender."""
        if self._rate.is_too_much(dialogue.peer):
            return "450 4.7.1 too many messages, try again in a minute"
        return "250 2.1.0 fine"

    def rcpt(self, dialogue: Dialogue, recipient: str) -> str:
        """Our own answer addresses alone."""
        return self._addresses.refusal(recipient) or "250 2.1.5 fine"

    async def login(self, dialogue: Dialogue, user: str, password: str) -> str | None:
        """Nobody logs in."""
        return "502 5.5.1 nobody logs in here"

    async def take(self, dialogue: Dialogue, raw: bytes) -> str:
        """Tell what a message says, or keep it."""
        try:
            for recipient in dict.fromkeys(one.lower() for one in dialogue.recipients):
                await self._take(dialogue.sender or "", recipient, raw)
        except (QueueError, OSError) as err:
            self._seen["warning"] += 1
            log.error("an answer was put off: %s", err)
            return "451 4.3.0 it cannot be kept now, try again later"
        return "250 2.0.0 thank you"

    async def _take(self, sender: str, recipient: str, raw: bytes) -> None:
        # On a thread: a strange message may take its time to be read, and others are not to wait for it.
        answer = await asyncio.to_thread(self._read, with_crlf(raw), recipient)
        understood = [one for one in answer.outcomes if one.kind]
        if answer.uuid is None or not understood:
            self._seen[""] += 1
            path = await self._quarantine.keep(
                f"Return-Path: <{sender}>\r\nX-Original-To: {recipient}\r\n".encode() + raw
            )
            log.info("a message to %s was not understood and is kept as %s", recipient.partition("-")[0], path)
            return
        await self._reporter.report(answer.uuid, understood, proven=answer.proven, sender=sender)
        for kind in {one.type if one.type == events.AUTOREPLY else one.kind for one in understood}:
            self._seen[kind] += 1

    def _read(self, raw: bytes, recipient: str) -> Answer:
        try:
            return classify(raw, recipient, self._addresses.secrets)
        except Exception as err:  # a stranger wrote it, and Python's parser has its gaps
            log.warning("a message cannot be read: %r", err)
            return Answer(None, False, ())
