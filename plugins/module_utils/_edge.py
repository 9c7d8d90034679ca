# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the variables of an edge mean: judged, then sorted by address family. Private. Everything here is pure.

The edge owns the public addresses and hands port 25 of them to a relay that has private ones. Each family is either
served, with an address at both ends, or said not to be.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from ansible_collections.postmaster.mail.plugins.module_utils import _networks

IPAddress: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"

FAMILIES = {"all": (4, 6), "ipv4": (4,), "ipv6": (6,)}
FORWARDING = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOSTNAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})+\Z", re.IGNORECASE)
_INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}\Z")
_PORTS = ("relay_port", "admin_port", "web_port")


class EdgeError(ValueError):
    """A variable has a value that cannot be; the message names it and says what would do."""


def parse_address(item: str, text: object) -> IPAddress:
    """One address, else an :class:`EdgeError` that names ``item``."""
    try:
        address = ipaddress.ip_address(str(text))
        if getattr(address, "scope_id", None) is not None:
            raise ValueError("a scope is of this host alone")
    except ValueError as err:
        raise EdgeError(f"{item}: {text!r} is no IP address: give one such as 192.0.2.25") from err
    return address


def by_family(item: str, texts: Iterable[object], *, families: Iterable[int]) -> dict[int, IPAddress]:
    """The address of each family; one of each in ``families``, and no second one of any."""
    found: dict[int, IPAddress] = {}
    for address in (parse_address(item, text) for text in texts):
        if address.is_unspecified or address.is_multicast or address.is_loopback or address.is_link_local:
            raise EdgeError(f"{item}: {address} is not an address that other hosts reach: give one that they do")
        if address.version in found:
            first = found[address.version]
            raise EdgeError(f"{item}: {first} and {address} are both IPv{address.version}: give one of each family")
        found[address.version] = address
    for version in families:
        if version not in found:
            other = f"ipv{10 - version}"
            raise EdgeError(
                f"{item} has no IPv{version} address: give it one, or say edge_inet_protocols: {other}"
                f" where nothing is to be taken by IPv{version}"
            )
    return found


def clients(texts: Iterable[object]) -> list[_networks.IPNetwork]:
    """The networks of ``edge_clients``, each once."""
    try:
        return _networks.trusted(str(text) for text in texts)
    except _networks.NetworkError as err:
        raise EdgeError(f"edge_clients: {err}") from err


def _check_words(given: Mapping[str, Any]) -> None:
    """What ends up in files: a host name, names of interfaces, ports."""
    if not _HOSTNAME.match(given["hostname"]):
        raise EdgeError(f"edge_hostname: {given['hostname']!r} is no full host name: give one such as mail.example.org")
    interfaces = [("edge_interface", given["interface"])] if given["interface"] else []
    interfaces += [("edge_advertised_interfaces", name) for name in given["advertised_interfaces"]]
    for item, name in interfaces:
        if not _INTERFACE.match(name):
            raise EdgeError(f"{item}: {name!r} is no name of an interface: give one such as eth0")
    for name in _PORTS:
        if not 1 <= given[name] <= 65535:
            raise EdgeError(f"edge_{name}: {given[name]} is no port: give a number from 1 to 65535")


def sysctls(families: Iterable[int], advertised: Iterable[str]) -> dict[str, str]:
    """What the kernel must be told, for it to pass packets on and still learn its own way out."""
    found = {FORWARDING[version]: "1" for version in families}
    # A host that forwards does not listen to router advertisements, unless told so (ip-sysctl, accept_ra).
    # Slashes, as an interface such as eth0.100 has a dot of its own.
    return found | {f"net/ipv6/conf/{name}/accept_ra": "2" for name in advertised}


def tunnel(address: IPAddress, port: int) -> str:
    """What ``ssh -L`` takes to lead the same port of the own machine there."""
    return f"{port}:{address if address.version == 4 else f'[{address}]'}:{port}"


def _work(given: Mapping[str, Any]) -> dict[str, Any]:
    _check_words(given)
    families = FAMILIES[given["inet_protocols"]]
    public = by_family("edge_addresses", given["addresses"], families=families)
    private = by_family("edge_relay_addresses", given["relay_addresses"], families=families)
    if both := sorted(set(map(str, public.values())) & set(map(str, private.values()))):
        raise EdgeError(f"edge_relay_addresses: {both[0]} is the edge's own: give the address the relay has behind it")
    unused = [version for version in (4, 6) if version not in families]
    return {
        "problems": [],
        "addresses": [str(public[version]) for version in families],
        "relay_addresses": [str(private[version]) for version in families],
        "clients": [str(network) for network in clients(given["clients"]) if network.version in families],
        # Named for both ends, so that what an earlier run left of a family can be taken away.
        "unused": [
            {"address": str(public[version]), "relay_address": str(private[version])}
            for version in unused
            if version in public and version in private
        ],
        "ipv6": 6 in families,
        "sysctls": sysctls(families, given["advertised_interfaces"] if 6 in families else ()),
        "tunnel": tunnel(private[families[0]], given["admin_port"]),
    }


def plan(given: Mapping[str, Any]) -> dict[str, Any]:
    """``problems``, sentences; and, if there are none, what the role needs, as the filter's documentation tells."""
    try:
        return _work(given)
    except EdgeError as err:
        return {"problems": [str(err)]}
