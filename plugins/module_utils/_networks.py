# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks that may send through a server: parse, judge and print. Private.

A network here is written as in RFC 4632 section 3.1 and RFC 4291 section 2.3; a bare address is
a network of one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TypeAlias

IPNetwork: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"

# A public network wider than this is nobody's estate: letting it send makes an open relay.
WIDEST_PUBLIC = {4: 16, 6: 32}
MAPPED_PREFIX = 96
# Ranges that no packet from the internet carries as its source (RFC 1918, 6598, 3927, 4193, 4291).
# Those for documentation and benchmarks are left out on purpose: a laboratory means them as life means public ones.
PRIVATE = [
    ipaddress.ip_network(text)
    for text in (
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "::1/128",
        "fc00::/7",
        "fe80::/10",
    )
]


class NetworkError(ValueError):
    """A network that is malformed, or too wide to be trusted; the message names it and says what to write."""


def parse(text: str) -> IPNetwork:
    """One network, with or without the brackets that Postfix writes around IPv6 addresses."""
    plain = text.replace("[", "").replace("]", "")
    try:
        loose = ipaddress.ip_network(plain, strict=False)
    except ValueError as err:
        raise NetworkError(f"{text!r} is no network: write one such as 192.0.2.0/28 or 2001:db8::/64") from err
    if "/" in plain and ipaddress.ip_address(plain.partition("/")[0]) != loose.network_address:
        raise NetworkError(f"{text!r} has bits set beyond its prefix: did you mean {loose}?")
    return _unmapped(loose)


def _unmapped(network: IPNetwork) -> IPNetwork:
    """A network of IPv4 addresses mapped into IPv6 as the IPv4 network it means (RFC 4291 section 2.5.5.2)."""
    first = getattr(network.network_address, "ipv4_mapped", None)
    if first is None or network.prefixlen < MAPPED_PREFIX:
        return network
    return ipaddress.IPv4Network((int(first), network.prefixlen - MAPPED_PREFIX))


def judge(network: IPNetwork) -> None:
    """Raise :class:`NetworkError` if ``network`` is public and wider than any estate."""
    widest = WIDEST_PUBLIC[network.version]
    if network.prefixlen >= widest:
        return
    if not is_private(network):
        raise NetworkError(
            f"{network} would let a part of the internet send through this host: name your own networks,"
            f" none wider than /{widest}"
        )


def is_private(network: IPNetwork) -> bool:
    """Whether no address of ``network`` is one of the internet's."""
    return any(network.version == private.version and network.subnet_of(private) for private in PRIVATE)  # type: ignore[arg-type]


def trusted(texts: Iterable[str]) -> list[IPNetwork]:
    """All of ``texts`` parsed and judged, each once, in the order given."""
    networks = [parse(str(text).strip()) for text in texts]
    for network in networks:
        judge(network)
    return list(dict.fromkeys(networks))


def for_postfix(network: IPNetwork) -> str:
    """``network`` as Postfix's mynetworks takes it: an IPv6 address in brackets."""
    return str(network) if network.version == 4 else f"[{network.network_address}]/{network.prefixlen}"
