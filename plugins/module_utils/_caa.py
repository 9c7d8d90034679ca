# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: CAA records, which say who may issue certificates for a name. Private to this collection.

Section numbers in this file are of RFC 8659.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ansible_collections.postmaster.mail.plugins.module_utils._dns import TextError, txt_strings
from ansible_collections.postmaster.mail.plugins.module_utils._record import quote
from ansible_collections.postmaster.mail.plugins.module_utils._term_error import TermError

CRITICAL = 128  # the flag's bit, section 4.1
ISSUER_TAGS = ("issue", "issuewild")  # sections 4.2 and 4.3

_RECORD = re.compile(r"([0-9]{1,3}) ([A-Za-z0-9]{1,255}) (.+)", re.ASCII | re.DOTALL)
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_ISSUER = re.compile(rf"[ \t]*((?:{_LABEL}(?:\.{_LABEL})*)?)[ \t]*(?:;(.*))?", re.ASCII | re.DOTALL)
_PARAMETER = re.compile(r"[ \t]*([A-Za-z0-9]+)[ \t]*=[ \t]*([\x21-\x3a\x3c-\x7e]*)[ \t]*", re.ASCII)


class CaaError(TermError):
    """A text is no CAA record."""

    what = "the CAA record"


@dataclass(frozen=True)
class CaaRecord:
    """``tag`` in lower case; ``value`` as it stands between the quotes, unescaped."""

    flags: int
    tag: str
    value: str

    def __str__(self) -> str:
        return f"{self.flags} {self.tag} {quote(self.value)}"

    @property
    def issuer(self) -> str | None:
        """The domain of the authority that may issue, empty for nobody; None for tags that name none."""
        match = _ISSUER.fullmatch(self.value)
        return match.group(1).lower() if match and self.tag in ISSUER_TAGS else None

    @classmethod
    def parse(cls, text: str) -> CaaRecord:
        """The record that ``text``, such as ``0 issue "letsencrypt.org"``, is. Raises :class:`CaaError`."""
        match = _RECORD.fullmatch(text)
        if not match:
            raise CaaError(text[:80], 0, "it is flags, a tag of letters and digits, and a quoted value (section 4.1.1)")
        flags, tag, at = int(match.group(1)), match.group(2).lower(), match.start(3)
        if flags > 255:
            raise CaaError(match.group(1), 0, "flags is a number from 0 to 255 (section 4.1)")
        try:
            strings = txt_strings(match.group(3))
            value = strings[0].decode("ascii") if len(strings) == 1 else None
        except (TextError, UnicodeDecodeError):
            value = None
        if value is None:
            raise CaaError(match.group(3)[:80], at, "the value is one quoted text of ASCII (section 4.1.1)")
        if tag in ISSUER_TAGS:
            _check_issuer(value, at)
        return cls(flags, tag, value)


def _check_issuer(value: str, position: int) -> None:
    """The grammar of issue-value (section 4.2)."""
    match = _ISSUER.fullmatch(value)
    parameters = match.group(2) if match else None
    pieces = parameters.split(";") if parameters and parameters.strip(" \t") else []
    if not match or not all(_PARAMETER.fullmatch(piece) for piece in pieces):
        rule = "the value is the domain of an authority, or nothing, then ; tag=value where wanted (section 4.2)"
        raise CaaError(value[:80], position, rule)
