# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pure: one mail domain while its records are derived. Private to this collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ansible_collections.postmaster.mail.plugins.module_utils._dns import DomainError, check_name
from ansible_collections.postmaster.mail.plugins.module_utils._record import Record

if TYPE_CHECKING:
    from ansible_collections.postmaster.mail.plugins.module_utils._spf import SpfRecord

DEFAULT_TTL = 3600


class RecordsError(ValueError):
    """The description of the domains is wrong; the message names the domain, the item and the remedy."""


@dataclass(frozen=True)
class PolicyFile:
    """An MTA-STS policy (RFC 8461 section 3.2) and the address that it must be served at."""

    domain: str
    url: str
    content: str


@dataclass(frozen=True)
class DerivedSpf:
    """The SPF record of a domain, the addresses of ours that have to pass, and the refusals that its user allows."""

    domain: str
    record: SpfRecord
    own: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()


@dataclass
class Domain:
    """One domain while its records are derived; ``name`` is absolute, ``options`` are as the user wrote them."""

    name: str
    options: Mapping[str, Any]
    records: list[Record] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    policies: list[PolicyFile] = field(default_factory=list)
    spf: list[DerivedSpf] = field(default_factory=list)

    @property
    def bare(self) -> str:
        return self.name.rstrip(".")

    @property
    def ttl(self) -> int:
        ttl = self.options.get("ttl")
        return DEFAULT_TTL if ttl is None else int(ttl)

    @property
    def senders(self) -> Sequence[Mapping[str, Any]]:
        return self.options.get("senders") or ()

    @property
    def null_mx(self) -> bool:
        return self.options.get("receives") is False

    @property
    def dmarc_policy(self) -> str:
        """Its own policy, as described or by default."""
        # A domain that never sends has nothing to lose by the strictest policy.
        return (self.options.get("dmarc") or {}).get("policy") or ("none" if self.senders else "reject")

    def fail(self, text: str) -> RecordsError:
        return RecordsError(f"the domain {self.bare}: {text}")

    def warn(self, text: str) -> None:
        self.warnings.append(f"the domain {self.bare}: {text}")

    def add(self, name: str, rdtype: str, rdata: str) -> None:
        """A record of any type but TXT; ``name`` is absolute."""
        self.records.append(Record(name, rdtype, self.ttl, rdata))

    def add_txt(self, name: str, text: str, what: str) -> None:
        """A TXT record; ``what`` names it in the sentence that refuses characters beyond visible ASCII."""
        if not all(" " <= character <= "~" for character in text):
            raise self.fail(f"{what} has characters that are not visible ASCII: {text[:40]!r}")
        self.records.append(Record.txt(name, text, self.ttl))

    def check_name(self, text: str, what: str) -> str:
        """``text`` as an absolute name in lower case, or the sentence why it is none."""
        try:
            return check_name(text, what=what)
        except DomainError as err:
            raise self.fail(str(err)) from err


def listed(value: Any) -> list[str]:
    """A list of texts that may have been given as one."""
    if not value:
        return []
    return [value] if isinstance(value, str) else [str(item) for item in value]


def report_uri(text: str) -> str:
    """Where reports go: an address alone means mailto."""
    return text if ":" in text else f"mailto:{text}"
