# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: MX records, the null MX among them. Private to this collection.

Sources: RFC 1035 section 3.3.9, RFC 5321 section 5.1, RFC 7505 (null MX), RFC 2181 section 10.3 (no aliases).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

from ansible_collections.postmaster.mail.plugins.module_utils._dns import DomainError, check_name
from ansible_collections.postmaster.mail.plugins.module_utils._term_error import TermError

MAX_PREFERENCE = 65535  # 16 bits, RFC 1035 section 3.3.9

_NUMBER = re.compile(r"[0-9]{1,5}", re.ASCII)


class MxError(TermError):
    """A text is no MX record, or records do not go together."""

    what = "the MX record"


@dataclass(frozen=True, order=True)
class MxRecord:
    """A lower ``preference`` is tried first; ``exchange`` is absolute and in lower case, ``.`` in a null MX."""

    preference: int
    exchange: str

    def __post_init__(self) -> None:
        if not 0 <= self.preference <= MAX_PREFERENCE:
            rule = f"the preference is a number from 0 to {MAX_PREFERENCE} (RFC 1035 section 3.3.9)"
            raise MxError(str(self.preference), 0, rule)
        object.__setattr__(self, "exchange", _exchange(self.exchange, 0))

    def __str__(self) -> str:
        return f"{self.preference} {self.exchange}"

    @property
    def null(self) -> bool:
        """Whether it says that the domain takes no mail (RFC 7505 section 3)."""
        return self.exchange == "."

    @classmethod
    def parse(cls, text: str) -> MxRecord:
        """The record that ``text``, such as ``10 mx.example.org.``, is. Raises :class:`MxError`."""
        fields = text.split(" ")
        if len(fields) != 2:
            raise MxError(text[:80], 0, "it is a preference and a host (RFC 1035 section 3.3.9)")
        if not _NUMBER.fullmatch(fields[0]) or int(fields[0]) > MAX_PREFERENCE:
            rule = f"the preference is a number from 0 to {MAX_PREFERENCE} (RFC 1035 section 3.3.9)"
            raise MxError(fields[0][:80], 0, rule)
        return cls(int(fields[0]), _exchange(fields[1], len(fields[0]) + 1))


def _exchange(text: str, position: int) -> str:
    if text == ".":
        return text
    try:
        ipaddress.ip_address(text.rstrip(".").strip("[]"))
    except ValueError:
        pass
    else:
        rule = "this is an address; an MX record names a host (RFC 1035 section 3.3.9)"
        raise MxError(text[:80], position, rule)
    try:
        name = check_name(text, what="the host")
    except DomainError as err:
        raise MxError(text[:80], position, str(err)) from err
    if name.startswith("*"):
        raise MxError(text[:80], position, "the host is a name of its own, not a wildcard (RFC 5321 section 5.1)")
    return name


NULL_MX = MxRecord(0, ".")


def check_set(records: Iterable[MxRecord]) -> tuple[MxRecord, ...]:
    """The MX records of one name, best first. Raises :class:`MxError` where they contradict each other."""
    found = tuple(sorted(set(records)))
    null = next((record for record in found if record.null), None)
    if null is not None and len(found) > 1:
        raise MxError(str(null), 0, "a null MX stands alone; delete it or all the others (RFC 7505 section 3)")
    if null is not None and null.preference:
        raise MxError(str(null), 0, "a null MX has preference 0 (RFC 7505 section 3)")
    return found
