# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: who may reach a relay's port 25 through the edge, and what is refused. Private."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, TypeAlias

from ansible_collections.postmaster.mail.plugins.module_utils import _networks
from ansible_collections.postmaster.mail.plugins.module_utils._networks import PRIVATE, IPNetwork, NetworkError

Address: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"

VERSIONS = (4, 6)
LONGEST_DEADLINE = 7 * 24 * 3600  # seconds; what is to stay longer is no test
_PRIVATE_RANGES = {
    version: [(int(one.network_address), int(one.broadcast_address)) for one in PRIVATE if one.version == version]
    for version in VERSIONS
}
_TIMES = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_INTERFACE = re.compile(r"[A-Za-z0-9_.:@-]{1,15}\+?")  # IFNAMSIZ of Linux; the plus stands for anything


class SmtpDnatError(Exception):
    """What was asked for is refused or cannot be done; the message names the item and the remedy."""


# Of a thousand entries most lead from one address to one other.
_text = lru_cache(maxsize=64)(str)


@dataclass(frozen=True)
class Entry:
    """One translation: connections of ``source`` to port 25 of ``destination`` go to ``relay``.

    ``until`` is in seconds since 1970; None is for good.
    """

    source: IPNetwork
    destination: Address
    relay: Address
    port: int = 25
    until: int | None = None

    # Both are asked for several times, and cost more than all else where there are hundreds.
    @cached_property
    def text(self) -> str:
        """The source."""
        return str(self.source)

    @cached_property
    def key(self) -> tuple[str, str]:
        """What leads to one relay only."""
        return self.text, _text(self.destination)

    def told(self) -> dict[str, Any]:
        """For people."""
        found: dict[str, Any] = {
            "source": self.text,
            "destination": _text(self.destination),
            "relay": _text(self.relay),
            "port": self.port,
        }
        return found if self.until is None else {**found, "until": self.until}


@dataclass(frozen=True)
class Request:
    """What a call asks for, judged; ``relays`` and the like are by version of IP."""

    client: bool
    destinations: tuple[Address, ...]
    sources: tuple[IPNetwork, ...] = ()
    relays: Mapping[int, Address] = field(default_factory=dict)
    port: int = 25
    masquerade: str = "none"
    networks: Mapping[int, tuple[IPNetwork, ...]] = field(default_factory=dict)
    outgoing: Mapping[int, Address] = field(default_factory=dict)
    interface: str | None = None
    forward: bool = True
    absent: bool = False
    purge: bool = False
    adopt: bool = False
    seconds: int | None = None
    until: int | None = None

    @property
    def versions(self) -> tuple[int, ...]:
        """The versions of IP whose rules are looked at."""
        return VERSIONS if self.client else tuple(version for version in VERSIONS if version in self.relays)

    def entries(self, version: int) -> list[Entry]:
        """What is asked for, of one version."""
        return [
            Entry(source, destination, self.relays[version], self.port, self.until)
            for source in self.sources
            if source.version == version
            for destination in self.destinations
            if destination.version == version
        ]


Resolve: TypeAlias = Callable[[str], Sequence[str]]


def request(params: Mapping[str, Any], resolve: Resolve, *, now: int) -> Request:
    """The options of the module, judged. ``resolve`` gives the addresses of a name. Raises :class:`SmtpDnatError`."""
    client = params["mode"] == "client"
    destinations = _destinations(params["destination"], resolve)
    seconds = None if params["expires"] is None else duration(params["expires"])
    made = Request(
        client=client,
        destinations=destinations,
        sources=_sources(params["sources"]),
        relays=_by_version("relay", params["relay"]),
        port=_port(params["relay_port"]),
        masquerade=params["masquerade"],
        networks=_relay_networks(params["relay_networks"]),
        outgoing=_by_version("outgoing_address", params["outgoing_address"]),
        interface=_interface(params["interface"]),
        forward=params["forward"],
        absent=params["state"] == "absent",
        purge=params["purge"],
        adopt=params["adopt"],
        seconds=seconds,
        until=None if seconds is None else now + seconds,
    )
    _judge_combination(made)
    if not client:
        _judge_families(made, params["sources"])
        _judge_loops(made)
        _judge_masquerade(made)
        if not (made.absent or params["private_sources"]):
            _judge_private(made)
    return made


def duration(text: str) -> int:
    """Seconds from ``90s``, ``10m``, ``2h`` or ``1d``. Raises :class:`SmtpDnatError`."""
    match = re.fullmatch(r"([0-9]{1,6})([smhd])", text.strip())
    if match is None:
        raise SmtpDnatError(f"expires: {text!r} is no time: write one such as 90s, 10m or 2h")
    seconds = int(match[1]) * _TIMES[match[2]]
    if not 0 < seconds <= LONGEST_DEADLINE:
        raise SmtpDnatError(f"expires: {text} is not between 1s and 7d: leave it out for sources that are to stay")
    return seconds


def address(what: str, text: str) -> Address:
    """One address. Raises :class:`SmtpDnatError`."""
    try:
        found = ipaddress.ip_address(text.strip())
    except ValueError:
        raise SmtpDnatError(f"{what}: {text!r} is no address: write one such as 192.0.2.25 or 2001:db8::25") from None
    if getattr(found, "scope_id", None):
        raise SmtpDnatError(f"{what}: {text!r} names an interface, which a rule cannot: leave out what follows %")
    if found.is_unspecified or found.is_multicast or found.is_loopback:
        raise SmtpDnatError(f"{what}: {found} is no address of a host that others reach: write the one they use")
    return getattr(found, "ipv4_mapped", None) or found


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.strip())
    except ValueError:
        return False
    return True


def _destinations(texts: Iterable[str], resolve: Resolve) -> tuple[Address, ...]:
    found: list[Address] = []
    for index, text in enumerate(texts):
        what = f"destination[{index}]"
        if _is_address(text):
            found.append(address(what, text))
            continue
        if "/" in text or not text.strip():
            raise SmtpDnatError(
                f"{what}: {text!r} is neither a name nor an address: write pmg.example.org or 203.0.113.5"
            )
        resolved = resolve(text.strip())
        if not resolved:
            raise SmtpDnatError(f"{what}: {text} has no address that this host can find: write the address itself")
        for one in resolved:
            if ipaddress.ip_address(one).is_loopback:
                raise SmtpDnatError(
                    f"{what}: this host takes {text} for itself ({one}): write the public address itself"
                )
            found.append(address(what, one))
    if not found:
        raise SmtpDnatError(
            "destination: without the public name or address, the relay's own mail to other people's port 25 would "
            "come back to it: name it"
        )
    return tuple(dict.fromkeys(found))


def _network(what: str, text: str) -> IPNetwork:
    try:
        return _networks.parse(text.strip())
    except NetworkError as err:
        raise SmtpDnatError(f"{what}: {err}") from None


def _sources(texts: Iterable[str]) -> tuple[IPNetwork, ...]:
    found: dict[IPNetwork, None] = {}
    for index, text in enumerate(texts):
        network = _network(f"sources[{index}]", text)
        if network.prefixlen == 0:
            raise SmtpDnatError(f"sources[{index}]: {network} is everybody: name the hosts that may send")
        try:
            _networks.judge(network)
        except NetworkError as err:
            raise SmtpDnatError(f"sources[{index}]: {err}") from None
        if network in found:
            raise SmtpDnatError(f"sources[{index}]: {network} is given twice: give it once")
        found[network] = None
    return tuple(found)


def _by_version(what: str, texts: Iterable[str]) -> dict[int, Address]:
    found: dict[int, Address] = {}
    for text in texts:
        one = address(what, text)
        if one.version in found:
            raise SmtpDnatError(f"{what}: {found[one.version]} and {one} are both IPv{one.version}: write one of them")
        found[one.version] = one
    return found


def _relay_networks(texts: Iterable[str]) -> dict[int, tuple[IPNetwork, ...]]:
    found: dict[int, tuple[IPNetwork, ...]] = {}
    for index, text in enumerate(texts):
        network = _network(f"relay_networks[{index}]", text)
        if network.prefixlen == 0:
            raise SmtpDnatError(f"relay_networks[{index}]: {network} is everybody: name the networks behind the edge")
        found[network.version] = tuple(dict.fromkeys((*found.get(network.version, ()), network)))
    return found


def _port(number: int) -> int:
    if not 0 < number < 65536:
        raise SmtpDnatError(f"relay_port: {number} is no port: write one from 1 to 65535")
    return number


def _interface(name: str | None) -> str | None:
    if name is not None and not _INTERFACE.fullmatch(name):
        raise SmtpDnatError(f"interface: {name!r} is no interface: write its name, such as eth0")
    return name


def _judge_combination(made: Request) -> None:
    if made.client and (made.sources or made.relays or made.seconds is not None):
        raise SmtpDnatError("sources, relay and expires are for the edge: leave them out with mode: client")
    if not made.client and not made.relays:
        raise SmtpDnatError("relay: name the relay's private address")
    if made.absent and made.purge:
        raise SmtpDnatError("purge goes with state: present: name the sources that stay, or none")
    if made.seconds is not None and (made.absent or made.purge):
        raise SmtpDnatError("expires adds sources for a time: leave out purge and state: absent")
    if made.seconds is not None and not made.sources:
        raise SmtpDnatError("expires: name the sources that are to be let in for that time")


def _judge_families(made: Request, texts: Sequence[str]) -> None:
    reached = {destination.version for destination in made.destinations}
    for index, (source, text) in enumerate(zip(made.sources, texts, strict=True)):
        for what, versions in (("relay", made.relays), ("destination", reached)):
            if source.version not in versions:
                raise SmtpDnatError(
                    f"sources[{index}]: {text} is IPv{source.version}, and {what} has no such address: "
                    f"give {what} one, or leave this source out"
                )
    if not reached & set(made.relays):
        raise SmtpDnatError("destination and relay have no version of IP in common: give both an address of the same")


def _judge_loops(made: Request) -> None:
    for relay in made.relays.values():
        if relay in made.destinations:
            raise SmtpDnatError(
                f"relay: {relay} is the destination, too: name the address that the relay has behind it"
            )
        for index, source in enumerate(made.sources):
            if source.prefixlen == source.max_prefixlen and source.network_address == relay:
                raise SmtpDnatError(
                    f"sources[{index}]: {relay} is the relay, whose own mail would come back to it: leave it out"
                )


def _judge_masquerade(made: Request) -> None:
    if made.outgoing and made.masquerade == "none":
        raise SmtpDnatError("outgoing_address: say masquerade: egress or generic with it")
    for version, networks in made.networks.items():
        if made.masquerade == "egress" and len(networks) > 1 and made.interface is None:
            raise SmtpDnatError(
                f"relay_networks: of several IPv{version} networks it cannot be told where the way out leads: "
                "name the interface"
            )
    for version in made.outgoing:
        if version not in made.relays:
            raise SmtpDnatError(
                f"outgoing_address: {made.outgoing[version]} is IPv{version}, and relay has no such address: "
                "leave it out"
            )


def is_private(network: IPNetwork) -> bool:
    """Whether any of it never comes from the internet."""
    first = int(network.network_address)
    last = first + (1 << (network.max_prefixlen - network.prefixlen)) - 1
    return any(start <= last and first <= end for start, end in _PRIVATE_RANGES[network.version])


def _judge_private(made: Request) -> None:
    public = next((one for one in made.destinations if not is_private(ipaddress.ip_network(one))), None)
    for index, source in enumerate(made.sources):
        if public is not None and is_private(source):
            raise SmtpDnatError(
                f"sources[{index}]: {source} is private and {public} public, so nobody on the internet is meant; "
                "if it is a network behind the edge, say private_sources: true"
            )
