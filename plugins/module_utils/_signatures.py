# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The DKIM signatures of a message, verified by dkimpy (RFC 6376 section 6). Private.

dkimpy is nobody's own work here, which makes it the judge of what the collection signs and publishes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ansible_collections.postmaster.mail.plugins.module_utils._check_mail import Mail

SIGNATURE_LIMIT = 8  # of one message that are verified; a hostile one may carry thousands


class NoLibrary(Exception):
    """dkimpy is not installed."""


@dataclass(frozen=True)
class Signature:
    """One DKIM signature: its tags, and whether it verifies."""

    tags: Mapping[str, str]
    valid: bool
    reason: str = ""

    @property
    def domain(self) -> str:
        """The signing domain, in lower case."""
        return self.tags.get("d", "").lower()

    @property
    def signed(self) -> list[str]:
        """The header fields it covers, one entry for each time they are named."""
        return [name.lower() for name in self.tags.get("h", "").split(":")]


def key_name(tags: Mapping[str, str]) -> str:
    """Where the key of a signature is published, empty if the signature does not say."""
    return f"{tags['s']}._domainkey.{tags['d']}." if tags.get("s") and tags.get("d") else ""


def asking(txt: Callable[[str], list[str]]) -> Callable[..., bytes | None]:
    """``txt``, which gives the TXT records of a name, as dkimpy asks for keys."""

    def ask(name: bytes, timeout: int = 5) -> bytes | None:
        texts = txt(name.decode("ascii", "replace"))
        return texts[0].encode("latin-1") if texts else None

    return ask


def verify(mail: Mail, txt: Callable[[str], list[str]]) -> list[Signature]:
    """All signatures of ``mail``, the topmost first; ``txt`` gives the TXT records of a name, joined.

    Raises :class:`NoLibrary`, and whatever ``txt`` raises.
    """
    try:
        import dkim
    except ImportError as err:
        raise NoLibrary from err

    found = []
    for index, tags in enumerate(mail.signatures[:SIGNATURE_LIMIT]):
        try:
            valid = bool(dkim.DKIM(mail.raw).verify(idx=index, dnsfunc=asking(txt)))
            found.append(Signature(tags, valid, "" if valid else "the signature does not fit the message and the key"))
        except (dkim.DKIMException, ValueError, KeyError, IndexError, UnicodeError) as err:
            found.append(Signature(tags, False, str(err) or type(err).__name__))
    return found
