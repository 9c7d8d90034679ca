# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pure: SPF records made of senders, and of what exists and what is wanted. Private to this collection.

Section numbers are of RFC 7208.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from ansible_collections.postmaster.mail.plugins.module_utils._spf_record import (
    Directive,
    Modifier,
    SpfError,
    SpfRecord,
    term,
)


def compose(senders: Iterable[str], *, all_: str = "~all") -> SpfRecord:
    """The record that lets ``senders`` pass and ends in ``all_``.

    ``senders`` are directives as text. Addresses come first, since they cost no lookup; repetitions
    and networks inside another are left out. Raises :class:`SpfError` for a term that is none.
    """
    directives: dict[str, Directive] = {}
    for text in senders:
        item = term(text)
        if isinstance(item, Modifier) or item.mechanism == "all":
            raise SpfError(text, 0, "a sender is a mechanism such as ip4:, include: or a: (section 5)")
        directives.setdefault(text.lower(), item)
    addresses = _widest([item for item in directives.values() if item.network is not None])
    names = [item for item in directives.values() if item.network is None]
    last = term(all_)
    if not isinstance(last, Directive) or last.mechanism != "all":
        raise SpfError(all_, 0, "a record ends in -all, ~all or ?all (section 5.1)")
    return SpfRecord((*addresses, *names, last))


def _widest(directives: Sequence[Directive]) -> list[Directive]:
    """``directives`` without those whose network another one with the same qualifier holds."""
    kept: list[Directive] = []
    for item in directives:
        others = [other for other in directives if other.qualifier == item.qualifier and other is not item]
        repeated = any(one.network == item.network and one.qualifier == item.qualifier for one in kept)
        inside = any(_holds(other, item) and other.network != item.network for other in others)
        if not (repeated or inside):
            kept.append(item)
    return kept


def _holds(outer: Directive, inner: Directive) -> bool:
    one, other = outer.network, inner.network
    if isinstance(one, ipaddress.IPv4Network) and isinstance(other, ipaddress.IPv4Network):
        return other.subnet_of(one)
    if isinstance(one, ipaddress.IPv6Network) and isinstance(other, ipaddress.IPv6Network):
        return other.subnet_of(one)
    return False
