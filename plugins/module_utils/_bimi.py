# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: BIMI assertion records, which name a domain's logo. Private to this collection.

Source: draft-brand-indicators-for-message-identification, section 4.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ansible_collections.postmaster.mail.plugins.module_utils._term_error import TermError

VERSION = "BIMI1"

_TAG = re.compile(r"[ \t]*([A-Za-z][A-Za-z0-9_]*)[ \t]*=([\t\x20-\x3a\x3c-\x7e]*)")


class BimiError(TermError):
    """A text is no BIMI record."""

    what = "the BIMI tag"


@dataclass(frozen=True)
class BimiRecord:
    """The TXT record at ``default._bimi`` + domain; with both values empty the domain declines (section 4.3)."""

    location: str = ""  # l=, the logo as SVG
    evidence: str = ""  # a=, the certificate of the logo
    extensions: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        pairs = [("v", VERSION), ("l", self.location), ("a", self.evidence), *self.extensions]
        return "; ".join(f"{name}={value}" for name, value in pairs)

    @property
    def declined(self) -> bool:
        """Whether the domain says that it takes no part."""
        return not self.location and not self.evidence

    @classmethod
    def parse(cls, text: str) -> BimiRecord:
        """The record that ``text`` is. Raises :class:`BimiError`."""
        pieces = text.split(";")
        if len(pieces) > 1 and not pieces[-1].strip(" \t"):
            pieces.pop()
        values: dict[str, str] = {}
        position = 0
        for piece in pieces:
            match = _TAG.fullmatch(piece)
            name, value = (match.group(1), match.group(2).strip(" \t")) if match else ("", "\t")
            if "\t" in value or (not values) != (name == "v") or name in values:
                rule = f"a record is v={VERSION} and then tags, each once, of the form name=value"
                raise BimiError(piece.strip()[:80], position, rule)
            if name == "v" and value != VERSION:
                raise BimiError(piece.strip()[:80], position, f"the version is {VERSION}")
            if name in ("l", "a") and value and not value.lower().startswith("https://"):
                raise BimiError(piece.strip()[:80], position, f"{name} is an https address or empty")
            values[name] = value
            position += len(piece) + 1
        if "l" not in values:
            raise BimiError(text[:80], len(text), "a record has l=, the address of the logo or nothing")
        extensions = tuple((name, value) for name, value in values.items() if name not in ("v", "l", "a"))
        return cls(values["l"], values.get("a", ""), extensions)
