# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: how much one client may ask for. Clients are told apart by network: a /64 of IPv6 is one."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable

CLIENTS = 10_000  # networks that are counted
WINDOW = 60.0  # seconds


def network(peer: str) -> str:
    """The network that an address is counted for; what is no address is its own."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(getattr(address, "ipv4_mapped", None) or address)


class Rate:
    """How often a network may come within a minute."""

    def __init__(self, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._seen: dict[str, tuple[float, int]] = {}

    def is_too_much(self, peer: str) -> bool:
        """Count one more."""
        client, now = network(peer), self._clock()
        since, count = self._seen.pop(client, (now, 0))
        if now - since >= WINDOW:
            since, count = now, 0
        self._seen[client] = (since, count + 1)
        if len(self._seen) > CLIENTS:
            del self._seen[next(iter(self._seen))]
        return count >= self._most
