# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Value: one DNS record, the same everywhere in this collection. Private.

Sources: RFC 1035 sections 3.3.14 (TXT) and 5.1 (zone files), RFC 4592 (owner names).
"""

from __future__ import annotations

from dataclasses import dataclass

STRING_LIMIT = 255  # octets in one character-string, RFC 1035 section 3.3


def absolute(name: str) -> str:
    """``name`` in lower case with its final dot."""
    return name.lower().rstrip(".") + "."


def split_text(text: str) -> list[str]:
    """``text`` cut into strings of at most 255 octets, in order; joined without a gap they are ``text``."""
    return [text[start : start + STRING_LIMIT] for start in range(0, len(text), STRING_LIMIT)] or [""]


def quote(string: str) -> str:
    """One character-string as a zone file writes it (RFC 1035 section 5.1)."""
    escaped = string.replace("\\", "\\\\").replace('"', '\\"').encode("utf-8")
    return '"' + "".join(chr(byte) if 0x20 <= byte <= 0x7E else f"\\{byte:03d}" for byte in escaped) + '"'


@dataclass(frozen=True, order=True)
class Record:
    """``name`` absolute and lower case; ``ttl`` in seconds; ``rdata`` in presentation form.

    For TXT, ``rdata`` holds the quoted strings and ``strings`` the same unquoted.
    """

    name: str
    type: str
    ttl: int
    rdata: str
    strings: tuple[str, ...] = ()

    @classmethod
    def txt(cls, name: str, text: str, ttl: int = 3600) -> Record:
        """A TXT record of ``text`` (ASCII), split as needed."""
        strings = split_text(text)
        return cls(absolute(name), "TXT", ttl, " ".join(quote(s) for s in strings), tuple(strings))

    def __str__(self) -> str:
        """The record as one line of a zone file."""
        return f"{self.name} {self.ttl} IN {self.type} {self.rdata}"

    def as_dict(self) -> dict[str, object]:
        """The shape that modules return and ``dns_records`` takes."""
        result: dict[str, object] = {"name": self.name, "type": self.type, "ttl": self.ttl, "rdata": self.rdata}
        if self.type == "TXT":
            result["strings"] = list(self.strings)
            result["value"] = "".join(self.strings)
        return result
