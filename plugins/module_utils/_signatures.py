# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The DKIM signatures of a message, verified by dkimpy and by what their keys allow (RFC 6376 section 6). Private.

dkimpy is nobody's own work here, which makes it the judge of what the collection signs and publishes. It overlooks some
of what a key says of its use, and takes SHA-1; there the record has the last word. It needs PyNaCl for Ed25519.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._check_mail import Mail
from ansible_collections.postmaster.mail.plugins.module_utils._dkim import DkimError, DkimRecord

SIGNATURE_LIMIT = 8  # of one message that are verified; a hostile one may carry thousands
EXPIRED = "it had expired (x=) when the message arrived"  # RFC 6376 section 3.5

DKIMPY, PYNACL = "dkimpy", "PyNaCl"
PACKAGES = {DKIMPY: "python3-dkim", PYNACL: "python3-nacl"}


class NoLibrary(Exception):
    """A library is not installed that is needed to judge."""

    def __init__(self, name: str = DKIMPY) -> None:
        super().__init__(f"the Python library {name} is not at hand")
        self.name = name

    @property
    def remedy(self) -> str:
        """What to install."""
        return f"install {PACKAGES[self.name]} (pip install {self.name.lower()})"


@dataclass(frozen=True)
class Signature:
    """One DKIM signature: its tags, and whether it verifies; None where a library is missing to tell."""

    tags: Mapping[str, str]
    valid: bool | None
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
        import dkim as dummy  # noqa: F401 - whether it is there
    except ImportError as err:
        raise NoLibrary from err
    return [_judge(mail, index, tags, txt) for index, tags in enumerate(mail.signatures[:SIGNATURE_LIMIT])]


def _judge(mail: Mail, index: int, tags: Mapping[str, str], txt: Callable[[str], list[str]]) -> Signature:
    import dkim

    answers: list[list[str]] = []

    def keep(name: str) -> list[str]:
        answers.append(txt(name))
        return answers[-1]

    valid: bool | None = False
    reason = "the signature does not fit the message and the key"
    try:
        valid = _fits(dkim.DKIM(mail.raw), index, asking(keep))
    except dkim.NaClNotFoundError:
        lacking = NoLibrary(PYNACL)
        valid, reason = None, f"{lacking}, which Ed25519 needs: {lacking.remedy}"
    except (dkim.DKIMException, ValueError, KeyError, IndexError, UnicodeError) as err:
        reason = str(err) or type(err).__name__
    refused = _refusal(tags, answers[0]) if answers else ""
    if refused:
        return Signature(tags, False, refused)
    if valid and _expired(mail, tags.get("x", "")):
        return Signature(tags, False, EXPIRED)
    return Signature(tags, valid, "" if valid else reason)


def _fits(signed: Any, index: int, ask: Callable[..., bytes | None]) -> bool:
    """The verdict of dkimpy's ``signed`` without that on the signature's age, which it takes by the clock of today."""
    import dkim

    try:
        return bool(signed.verify(idx=index, dnsfunc=ask))
    except dkim.ValidationError as err:
        if not str(err).startswith("x= value is past"):
            raise
    # All other fields were found to be good before.
    fields = signed.signature_fields
    covered = [name.strip().lower() for name in fields[b"h"].split(b":")]
    headers = [one for one in signed.headers if one[0].lower() == b"dkim-signature"]
    return bool(signed.verify_sig(fields, covered, headers[index], ask))


def _expired(mail: Mail, x: str) -> bool:
    """Whether the time of a signature was over when the message arrived, or is now where nothing says when it did."""
    arrived = mail.arrived or datetime.datetime.now(datetime.UTC)
    return x.isdecimal() and len(x) <= 12 and int(x) < arrived.timestamp()


def _refusal(tags: Mapping[str, str], texts: list[str]) -> str:
    """Why the key that dkimpy was given must not be used for the signature; empty where it may."""
    if not texts:
        return f"no key is published at {key_name(tags)}"
    try:
        record = DkimRecord.read(texts[0])
    except DkimError as err:
        return f"the key at {key_name(tags)} cannot be read: {err}"
    return record.refusal(algorithm=tags.get("a", ""), domain=tags.get("d", ""), identity=tags.get("i", ""))
