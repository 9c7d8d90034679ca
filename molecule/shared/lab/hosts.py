# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: which hosts a lab has, what they are called and which addresses they own.

Names are the same in every lab, addresses carry the lab's index: the internet is
198.18.N.0/24 and 2001:db8:N:1::/64, the estate 198.19.N.0/24 and 2001:db8:N:2::/64
(RFC 2544 and RFC 3849 ranges). An address's last number is the same in both families.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

INTERNET, ESTATE, ROUTERS = "internet", "estate", "routers"
SIDES = (INTERNET, ESTATE)
GATEWAY = 1  # the controller's own address on each bridge


@dataclass(frozen=True)
class Host:
    """One host; ``number`` is the last part of its addresses, ``nameless`` those of its addresses without PTR.

    ``also`` are other names that its certificate holds. ``on_request`` marks one that runs only in labs that
    name it, and not in those that want all.
    """

    name: str
    fqdn: str
    number: int
    sides: tuple[str, ...]
    release: str = "trixie"
    groups: tuple[str, ...] = ()
    nameless: tuple[int, ...] = ()
    also: tuple[str, ...] = ()
    on_request: bool = False

    @property
    def of_internet(self) -> bool:
        """Whether the lab itself sets this host up, rather than the estate's roles."""
        return INTERNET in self.groups

    @property
    def routes(self) -> bool:
        """Whether it passes packets on between the sides."""
        return ROUTERS in self.groups


def _internet(name: str, fqdn: str, number: int, nameless: tuple[int, ...] = ()) -> Host:
    return Host(name, fqdn, number, (INTERNET,), groups=(INTERNET,), nameless=nameless)


def _estate(name: str, number: int, release: str, *groups: str, on_request: bool = False) -> Host:
    return Host(name, f"{name}.corp.example", number, (ESTATE,), release, (ESTATE, *groups), on_request=on_request)


def _away(name: str, number: int, release: str, group: str) -> Host:
    groups = (ESTATE, "satellites", group)
    return Host(name, f"{name}.corp.example", number, (INTERNET,), release, groups, on_request=True)


HOSTS = (
    _internet("ns1", "ns1.lab.test", 11),
    _internet("ns2", "ns2.lab.test", 12),
    _internet("resolver", "resolver.lab.test", 13),
    Host("acme", "acme.lab.test", 14, (INTERNET,), groups=(INTERNET,), on_request=True),
    _internet("provider", "smtp.provider.test", 25),
    # Its domains with a policy of MTA-STS have it on this host.
    Host(
        "outside",
        "mx.outside.test",
        26,
        (INTERNET,),
        groups=(INTERNET,),
        also=("mta-sts.right.outside.test", "mta-sts.wrong.outside.test"),
    ),
    _internet("stranger", "host.stranger.test", 66, nameless=(67,)),
    Host("edge", "edge.corp.example", 2, SIDES, groups=(ROUTERS,)),
    Host("edge-12", "edge-12.corp.example", 3, SIDES, "bookworm", (ROUTERS,), on_request=True),
    _estate("relay1", 25, "trixie", "relays"),
    _estate("relay2", 26, "bookworm", "relays"),
    _estate("sat-postfix-12", 31, "bookworm", "satellites", "satellites_postfix"),
    _estate("sat-postfix-13", 32, "trixie", "satellites", "satellites_postfix"),
    _estate("sat-exim-12", 33, "bookworm", "satellites", "satellites_exim"),
    _estate("sat-exim-13", 34, "trixie", "satellites", "satellites_exim"),
    # Servers of the estate that stand somewhere else.
    _away("sat-away-12", 35, "bookworm", "satellites_exim"),
    _away("sat-away-13", 36, "trixie", "satellites_postfix"),
    _estate("mail-12", 41, "bookworm", "mail_servers", on_request=True),
    _estate("mail-13", 42, "trixie", "mail_servers", on_request=True),
)
BY_NAME = {host.name: host for host in HOSTS}
# The estate that molecule/shared/estate describes, and what it needs.
EVERYTHING = tuple(host.name for host in HOSTS if not host.on_request)


@dataclass(frozen=True)
class Plan:
    """A lab's name and index, and everything that follows from them."""

    name: str
    index: int

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?", self.name):
            raise ValueError(f"a lab's name is made of a-z, 0-9 and inner hyphens, at most 32: {self.name!r} is not")
        if not 1 <= self.index <= 254:
            raise ValueError(f"a lab's index is between 1 and 254, not {self.index}")

    def container(self, host: Host) -> str:
        """Name of the host's container."""
        return f"pml-{self.name}-{host.name}"

    def network(self, side: str) -> str:
        """Name of a side's network."""
        return f"pml-{self.name}-{side}"

    def net4(self, side: str) -> ipaddress.IPv4Network:
        """The side's IPv4 network."""
        return ipaddress.IPv4Network(f"198.{18 + SIDES.index(side)}.{self.index}.0/24")

    def net6(self, side: str) -> ipaddress.IPv6Network:
        """The side's IPv6 network."""
        return ipaddress.IPv6Network(f"2001:db8:{self.index}:{1 + SIDES.index(side)}::/64")

    def v4(self, number: int, side: str) -> str:
        """The IPv4 address with that last number."""
        return str(self.net4(side)[number])

    def v6(self, number: int, side: str) -> str:
        """The IPv6 address that shows the same digits at its end."""
        return str(self.net6(side)[int(str(number), 16)])

    def addresses(self, host: Host) -> list[str]:
        """All addresses of a host that have a name, the internet side first."""
        return [address for side in host.sides for address in (self.v4(host.number, side), self.v6(host.number, side))]

    def control(self, host: Host) -> str:
        """The address by which the controller reaches the host."""
        return self.v4(host.number, host.sides[0])
