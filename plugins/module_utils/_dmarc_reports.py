# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where DMARC reports go, and whether they are taken there. Private to this collection.

Source: RFC 9990 section 4 (reports to another organisation need its consent, a record there).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ansible_collections.postmaster.mail.plugins.module_utils._dmarc import is_dmarc, organizational_domain, walk
from ansible_collections.postmaster.mail.plugins.module_utils._dns import DomainError, Resolver, check_name
from ansible_collections.postmaster.mail.plugins.module_utils._uri import host, scheme

CONSENT = "v=DMARC1;"


@dataclass(frozen=True)
class Destination:
    """One report URI, the host it leads to, and whether reports arrive.

    ``own``: the host is of the same organization. ``authorised``: it consents. ``unauthorised``: it does not, so that
    no report is sent. ``unreachable``: it takes no mail, or is no host.
    """

    uri: str
    host: str
    status: Literal["own", "authorised", "unauthorised", "unreachable"]


def consent_name(domain: str, target: str) -> str:
    """Where the host's owner consents to reports on ``domain``."""
    return f"{domain.rstrip('.')}._report._dmarc.{target.rstrip('.')}."


def destinations(uris: Iterable[str], domain: str, resolver: Resolver) -> list[Destination]:
    """What becomes of reports on the record at ``domain``. Raises ``DnsTimeout`` as the resolver does."""
    own = organizational_domain(walk(domain, resolver))
    return [_destination(uri, domain, own, resolver) for uri in dict.fromkeys(uris)]


def _destination(uri: str, domain: str, own: str, resolver: Resolver) -> Destination:
    target = host(uri)
    try:
        check_name(target)
    except DomainError:
        return Destination(uri, target, "unreachable")
    if scheme(uri) == "mailto" and not _takes_mail(target, resolver):
        return Destination(uri, target, "unreachable")
    if organizational_domain(walk(target, resolver)) == own:
        return Destination(uri, target, "own")
    texts = resolver.query(consent_name(domain, target), "TXT")
    return Destination(uri, target, "authorised" if any(map(is_dmarc, texts)) else "unauthorised")


def _takes_mail(name: str, resolver: Resolver) -> bool:
    """Whether mail for ``name`` has somewhere to go (RFC 5321 section 5.1, RFC 7505)."""
    records = resolver.query(name, "MX")
    if records:
        return not all(record.split()[-1:] == ["."] for record in records)
    return bool(resolver.query(name, "A") or resolver.query(name, "AAAA"))
