# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: lists of addresses that are asked by DNS (RFC 5782), and what their answers mean. Pure, private.

An answer counts as a listing only within ``replies``. Without such a limit a list that answers
127.255.255.254 ("you ask through a public resolver") would refuse all mail.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

USUAL_REPLIES = "127.0.0.[2..254]"
RETIRED: Mapping[str, str] = {
    "sbl-xbl.spamhaus.org": "zen.spamhaus.org",
    "sbl.spamhaus.org": "zen.spamhaus.org",
    "xbl.spamhaus.org": "zen.spamhaus.org",
    "pbl.spamhaus.org": "zen.spamhaus.org",
    "cbl.abuseat.org": "zen.spamhaus.org",
    "dnsbl.sorbs.net": "",
    "ix.dnsbl.manitu.net": "",
    "dnsbl.njabl.org": "",
    "combined.njabl.org": "",
    "list.dsbl.org": "",
    "relays.ordb.org": "",
    "opm.blitzed.org": "",
    "dnsbl.ahbl.org": "",
    "bl.spamcannibal.org": "",
    "dnsbl.inps.de": "",
    "no-more-funn.moensted.dk": "",
    "blackholes.five-ten-sg.com": "",
    "relays.osirusoft.com": "",
}
"""Lists that no longer exist by themselves, each with the one that holds their entries now, or an empty text."""

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_ZONE = re.compile(rf"(?=.{{1,200}}\Z){_LABEL}(?:\.{_LABEL})+\Z")
_KEY = re.compile(r"[A-Za-z0-9_-]{8,63}\Z")
_NUMBERS = r"(?:\d{1,3}|\[\d{1,3}(?:\.\.\d{1,3})?(?:;\d{1,3}(?:\.\.\d{1,3})?)*\])"
_REPLIES = re.compile(rf"127\.0\.({_NUMBERS})\.({_NUMBERS})\Z")
_REFUSED = {  # what Spamhaus, and others after it, answer instead of a judgement
    "127.255.255.252": "the name of the list or its key is mistyped",
    "127.255.255.254": "it does not answer public or open resolvers: run a resolver on the host, or ask with a key",
    "127.255.255.255": "it has been asked too often: get a key of your own",
}


class DnsblError(ValueError):
    """A list that cannot be asked; the message names it (never its key) and the remedy."""


@dataclass(frozen=True)
class Dnsbl:
    """``key`` is secret: it stands before ``zone`` in every name that is asked, and is shown to nobody."""

    zone: str
    key: str = ""
    replies: str = USUAL_REPLIES

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Dnsbl:
        """A list out of ``{zone, key, replies}``. Raises :class:`DnsblError`."""
        zone = str(given.get("zone", "")).lower().rstrip(".")
        key, replies = str(given.get("key") or ""), str(given.get("replies") or USUAL_REPLIES).replace(" ", "")
        if not _ZONE.match(zone):
            raise DnsblError(f"{zone!r} is no zone of a list: give one such as zen.spamhaus.org")
        if zone in RETIRED:
            instead = f"name {RETIRED[zone]} in its place" if RETIRED[zone] else "leave it out"
            raise DnsblError(f"{zone} has been retired: {instead}")
        if key and not _KEY.match(key):
            raise DnsblError(f"the key of {zone} is none: it has 8 to 63 letters and digits")
        if not _are_replies(replies):
            raise DnsblError(
                f"{zone}: {replies!r} are no replies that tell of a listing: give some within 127.0.x.x, such as"
                f" {USUAL_REPLIES} (127.255.255.x means that the question was refused)"
            )
        return cls(zone, key, replies)

    @property
    def domain(self) -> str:
        """What follows the address in a question; secret where there is a key."""
        return f"{self.key}.{self.zone}" if self.key else self.zone

    @property
    def site(self) -> str:
        """The list as Postfix takes it (postconf(5), reject_rbl_client)."""
        return f"{self.domain}={self.replies}"


def _are_replies(text: str) -> bool:
    match = _REPLIES.match(text)
    return match is not None and all(
        int(low) <= int(high or low) <= 255
        for part in match.groups()
        for low, high in re.findall(r"(\d+)(?:\.\.(\d+))?", part)
    )


def judge(listed: Iterable[str], harmless: Iterable[str]) -> str:
    """What is wrong with a list, by its answers for 127.0.0.2 and 127.0.0.1 (RFC 5782, section 5); empty if nothing."""
    answers, others = list(listed), list(harmless)
    for answer in [*answers, *others]:
        if answer in _REFUSED:
            return f"answers {answer}: {_REFUSED[answer]}"
    if not answers:
        return "does not list its own test address 127.0.0.2: it is gone, or nobody answers for it here"
    return "lists 127.0.0.1, which means that it lists everybody: do not ask it" if others else ""
