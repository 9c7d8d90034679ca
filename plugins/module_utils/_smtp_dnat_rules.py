# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: the rules by which connections reach a relay, in the words of iptables and of nftables. Private.

A dialect writes rules and recognises those that it would write. Rules are texts without the name of their chain.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Protocol

from ansible_collections.postmaster.mail.plugins.module_utils import _iptables
from ansible_collections.postmaster.mail.plugins.module_utils._iptables import quoted
from ansible_collections.postmaster.mail.plugins.module_utils._networks import IPNetwork
from ansible_collections.postmaster.mail.plugins.module_utils._smtp_dnat import Address, Entry, Request

INCOMING, OUTGOING, FORWARD, CLIENT, DOCKER = "incoming", "outgoing", "forward", "client", "docker"
CHAINS = (INCOMING, OUTGOING, FORWARD, CLIENT, DOCKER)
EDGE_CHAINS, CLIENT_CHAINS = (INCOMING, OUTGOING, FORWARD), (CLIENT, DOCKER)
TAG = "postmaster.mail"
# Where the relay sends its own mail to: SMTP, and submission to a smarthost (RFC 8314 section 3.3, RFC 6409).
SMTP_PORTS = (25, 465, 587)
_UNTIL = re.compile(r"until ([0-9]{1,12})")


class Dialect(Protocol):
    """How a back end says what the plan needs."""

    def entry(self, rule: str) -> Entry | None:
        """The translation that a rule is; None for any other rule."""

    def translation(self, entry: Entry) -> str:
        """The rule of a translation."""

    def exclusion(self, relay: Address, destination: Address) -> str:
        """The relay's own connections to the destination are left alone."""

    def outgoing(self, request: Request, version: int) -> list[str]:
        """Which addresses connections carry."""

    def forwarded(self, request: Request, version: int) -> list[str]:
        """What passes the edge."""

    def refused(self, request: Request, version: int, *, docker: bool) -> list[str]:
        """What does not leave a client."""

    def belongs(self, rule: str, relay: Address) -> bool:
        """Whether a rule is one of those made for a relay, translations not counted."""

    def same(self, one: str, other: str) -> bool:
        """Whether two rules mean the same."""


def tag(relay: Address) -> str:
    """The comment by which the rules for a relay are known."""
    return f"{TAG}/{relay}"


def way_out(request: Request, network: IPNetwork, version: int) -> tuple[str | None, IPNetwork | None]:
    """On which interface or past which network the way out leads."""
    if request.interface is not None:
        return request.interface, None
    return None, networks(request, version)[0] if len(networks(request, version)) == 1 else network


def networks(request: Request, version: int) -> tuple[IPNetwork, ...]:
    """Whose connections are masqueraded."""
    return request.networks.get(version) or (ipaddress.ip_network(request.relays[version]),)


def masqueraded(request: Request, version: int) -> list[IPNetwork]:
    """Networks that go out with the interface's address: not the relay alone if it has one of its own."""
    host = _host(request.relays[version])
    return [one for one in networks(request, version) if one != host or version not in request.outgoing]


# -- iptables -----------------------------------------------------------------------------------

_JUMP = f"-p tcp -m tcp --dport 25 -m comment --comment {quoted(TAG)} -j "


IPTABLES_CHAINS = {
    INCOMING: _iptables.Chain("nat", "POSTMASTER-SMTP-DNAT", "PREROUTING", f"{_JUMP}POSTMASTER-SMTP-DNAT"),
    OUTGOING: _iptables.Chain(
        "nat", "POSTMASTER-SMTP-SNAT", "POSTROUTING", f"-m comment --comment {TAG} -j POSTMASTER-SMTP-SNAT"
    ),
    FORWARD: _iptables.Chain(
        "filter", "POSTMASTER-SMTP-FWD", "FORWARD", f"-p tcp -m comment --comment {TAG} -j POSTMASTER-SMTP-FWD"
    ),
    CLIENT: _iptables.Chain("filter", "POSTMASTER-SMTP-OUT", "OUTPUT", f"{_JUMP}POSTMASTER-SMTP-OUT"),
    DOCKER: _iptables.Chain("filter", "POSTMASTER-SMTP-DOCKER", "DOCKER-USER", f"{_JUMP}POSTMASTER-SMTP-DOCKER"),
}


class Iptables:
    """Rules as iptables-save prints them, of one version of IP."""

    def __init__(self) -> None:
        self._written: dict[str, Entry] = {}  # what was written need not be read

    def entry(self, rule: str) -> Entry | None:
        """Also of a rule that somebody wrote by hand."""
        return self._written.get(rule) or _iptables_entry(rule)

    def translation(self, entry: Entry) -> str:
        rule = f"-s {entry.text} {_leading(entry.destination, entry.relay, entry.port, entry.until)}"
        self._written[rule] = entry
        return rule

    def exclusion(self, relay: Address, destination: Address) -> str:
        where = f"-s {_host(relay)} -d {_host(destination)}"
        return f"{where} -p tcp -m tcp --dport 25 {_comment(relay)} -j RETURN"

    def outgoing(self, request: Request, version: int) -> list[str]:
        relay = request.relays[version]
        host, comment = _host(relay), _comment(relay)
        translated = (
            f"-d {host} -p tcp -m tcp --dport {request.port} -m conntrack --ctstate DNAT {comment} -j MASQUERADE"
        )
        made = []
        if request.masquerade == "none":
            return []
        if request.masquerade == "generic":
            made.append(translated)
        else:
            made += [f"-s {one} {translated}" for one in networks(request, version) if one != host]
        if version in request.outgoing:
            made.append(
                f"-s {host} {self._out(request, host, version)}{comment} "
                f"-j SNAT --to-source {request.outgoing[version]}"
            )
        for one in masqueraded(request, version):
            out = self._out(request, one, version) if request.masquerade == "egress" else ""
            made.append(f"-s {one} {out}{comment} -j MASQUERADE")
        return made

    def _out(self, request: Request, network: IPNetwork, version: int) -> str:
        interface, inside = way_out(request, network, version)
        return f"-o {interface} " if interface else f"! -d {inside} "

    def forwarded(self, request: Request, version: int) -> list[str]:
        relay = request.relays[version]
        host, comment, port = _host(relay), _comment(relay), request.port
        if not request.forward:
            return []
        # The state DNAT holds in both directions.
        made = [
            f"-d {host} -p tcp -m tcp --dport {port} -m conntrack --ctstate DNAT {comment} -j ACCEPT",
            f"-s {host} -p tcp -m tcp --sport {port} -m conntrack --ctstate DNAT {comment} -j ACCEPT",
        ]
        if request.masquerade != "none":
            ports = ",".join(map(str, SMTP_PORTS))
            out = self._out(request, host, version)
            made += [
                f"-s {host} {out}-p tcp -m multiport --dports {ports} {comment} -j ACCEPT",
                f"-d {host} -p tcp -m multiport --sports {ports} -m conntrack --ctstate ESTABLISHED {comment} "
                "-j ACCEPT",
            ]
        return made

    def refused(self, request: Request, version: int, *, docker: bool) -> list[str]:
        # Into a bridge of Docker's goes what other containers, or the world, send to one that takes mail.
        own = ["-o docker+", "-o br-+", "-m conntrack --ctstate DNAT"] if docker else ["-o lo"]
        gateways = [f"-d {ipaddress.ip_network(one)}" for one in request.destinations if one.version == version]
        return [*(f"{one} -j RETURN" for one in (*own, *gateways)), "-p tcp -j REJECT --reject-with tcp-reset"]

    def belongs(self, rule: str, relay: Address) -> bool:
        return TAG in rule and tag(relay) in _iptables.words(rule)

    def same(self, one: str, other: str) -> bool:
        return _iptables.same(one, other)


@lru_cache(maxsize=_iptables.CACHED)
def _iptables_entry(rule: str) -> Entry | None:
    if "DNAT" not in rule:
        return None
    try:
        return _entry_of_words(_iptables.words(rule))
    except (ValueError, KeyError):
        return None


def _entry_of_words(found: Sequence[str]) -> Entry | None:
    """Raises ValueError or KeyError for what is none."""
    options: dict[str, str] = {}
    for name, value in zip(found[::2], found[1::2], strict=True):
        if name == "-m" and value in ("tcp", "comment"):
            continue
        if name in options or name not in ("-s", "-d", "-p", "--dport", "--comment", "-j", "--to-destination"):
            return None
        options[name] = value
    if (options["-p"], options["-j"]) != ("tcp", "DNAT") or options["--dport"] not in ("25", "smtp"):
        return None
    destination = _network(options["-d"])
    if destination.num_addresses != 1:
        return None
    relay, port = relay_and_port(options["--to-destination"])
    until = _UNTIL.fullmatch(options.get("--comment", ""))
    source = ipaddress.ip_network(options["-s"], strict=False)
    return Entry(source, destination.network_address, relay, port, int(until[1]) if until else None)


def _comment(relay: Address) -> str:
    return f"-m comment --comment {quoted(tag(relay))}"


# Of a thousand rules most lead from one address to one other.
@lru_cache(maxsize=64)
def _leading(destination: Address, relay: Address, port: int, until: int | None) -> str:
    """What a translation says behind its source."""
    comment = "" if until is None else f"-m comment --comment {quoted(f'until {until}')} "
    return f"-d {_host(destination)} -p tcp -m tcp --dport 25 {comment}-j DNAT --to-destination {_socket(relay, port)}"


@lru_cache(maxsize=64)
def _host(address: Address) -> IPNetwork:
    """An address as a network of one."""
    return ipaddress.ip_network(address)


@lru_cache(maxsize=64)
def _network(text: str) -> IPNetwork:
    return ipaddress.ip_network(text)


@lru_cache(maxsize=64)
def _socket(relay: Address, port: int) -> str:
    return f"[{relay}]:{port}" if relay.version == 6 else f"{relay}:{port}"


@lru_cache(maxsize=64)
def relay_and_port(text: str) -> tuple[Address, int]:
    """Raises :class:`ValueError` for a range of addresses or ports."""
    match = re.fullmatch(r"\[([0-9A-Fa-f:.]+)\](?::([0-9]{1,5}))?|([0-9.]+)(?::([0-9]{1,5}))?|([0-9A-Fa-f:]+)", text)
    if match is None:
        raise ValueError(text)
    relay = ipaddress.ip_address(match[1] or match[3] or match[5])
    return relay, int(match[2] or match[4] or 25)


# -- nftables -----------------------------------------------------------------------------------

TABLE = "postmaster_smtp"
_TYPES = {
    INCOMING: "type nat hook prerouting priority dstnat - 5; policy accept;",
    OUTGOING: "type nat hook postrouting priority srcnat - 5; policy accept;",
    CLIENT: "type filter hook output priority filter; policy accept;",
    DOCKER: "type filter hook forward priority filter - 5; policy accept;",
}
_TEMPORARY = "type nat hook prerouting priority dstnat - 6; policy accept;"
_NFT_ENTRY = re.compile(
    r"ip6? saddr (\S+) ip6? daddr (\S+) tcp dport 25 dnat ip6? to (\S+)(?: comment \"until ([0-9]{1,12})\")?"
)
_NFT_COMMENT = re.compile(r'comment "([^"]*)"')


def temporary_chain(until: int) -> str:
    """The base chain of the translations that end then: it can go without anybody having to know a handle."""
    return f"until_{until}"


@lru_cache(maxsize=_iptables.CACHED)
def _nft_entry(rule: str) -> Entry | None:
    match = _NFT_ENTRY.fullmatch(rule.strip())
    try:
        if match is None:
            return None
        relay, port = relay_and_port(match[3])
        source, destination = ipaddress.ip_network(match[1]), ipaddress.ip_address(match[2])
    except ValueError:
        return None
    return Entry(source, destination, relay, port, int(match[4]) if match[4] else None)


class Nftables:
    """Rules as ``nft list`` prints them. Both versions of IP share the chains."""

    def entry(self, rule: str) -> Entry | None:
        return _nft_entry(rule)

    def translation(self, entry: Entry) -> str:
        ip = _ip(entry.relay.version)
        comment = "" if entry.until is None else f' comment "until {entry.until}"'
        where = f"{ip} saddr {_short(entry.source)} {ip} daddr {entry.destination} tcp dport 25"
        return f"{where} dnat {ip} to {_socket(entry.relay, entry.port)}{comment}"

    def exclusion(self, relay: Address, destination: Address) -> str:
        ip = _ip(relay.version)
        return f'{ip} saddr {relay} {ip} daddr {destination} tcp dport 25 return comment "{tag(relay)}"'

    def outgoing(self, request: Request, version: int) -> list[str]:
        relay, ip = request.relays[version], _ip(version)
        host, comment = _host(relay), f'comment "{tag(relay)}"'
        translated = f"{ip} daddr {relay} tcp dport {request.port} ct status dnat masquerade {comment}"
        made = []
        if request.masquerade == "none":
            return []
        if request.masquerade == "generic":
            made.append(translated)
        else:
            made += [f"{ip} saddr {_short(one)} {translated}" for one in networks(request, version) if one != host]
        if version in request.outgoing:
            out = self._out(request, host, version)
            made.append(f"{ip} saddr {relay} {out}snat {ip} to {request.outgoing[version]} {comment}")
        for one in masqueraded(request, version):
            out = self._out(request, one, version) if request.masquerade == "egress" else ""
            made.append(f"{ip} saddr {_short(one)} {out}masquerade {comment}")
        return made

    def _out(self, request: Request, network: IPNetwork, version: int) -> str:
        interface, inside = way_out(request, network, version)
        if interface:
            return f'oifname "{interface[:-1]}*" ' if interface.endswith("+") else f'oifname "{interface}" '
        return f"{_ip(version)} daddr != {_short(inside or network)} "

    def forwarded(self, request: Request, version: int) -> list[str]:
        """None: a chain of ours that accepts keeps no other from dropping."""
        return []

    def refused(self, request: Request, version: int, *, docker: bool) -> list[str]:
        """Said for both versions at once, with the first."""
        if version != 4:
            return []
        own = ['oifname "docker*"', 'oifname "br-*"', "ct status dnat"] if docker else ['oifname "lo"']
        gateways = [f"{_ip(one.version)} daddr {one}" for one in request.destinations]
        return [*(f"{one} return" for one in (*own, *gateways)), "tcp dport 25 reject with tcp reset"]

    def belongs(self, rule: str, relay: Address) -> bool:
        return TAG in rule and tag(relay) in _NFT_COMMENT.findall(rule)

    def same(self, one: str, other: str) -> bool:
        return one.split() == other.split()


def _ip(version: int) -> str:
    return "ip" if version == 4 else "ip6"


def _short(network: IPNetwork) -> str:
    """A network as nft prints it: one address without its length."""
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def nft_chains(listed: str) -> dict[str, list[str]]:
    """The chains of what ``nft list table`` printed; temporary ones are part of the incoming one."""
    found: dict[str, list[str]] = {}
    name = None
    for line in listed.split("\n"):
        text = line.strip()
        if text.startswith("chain ") and text.endswith("{"):
            name = text.split()[1]
            name = INCOMING if name.startswith("until_") else name
            found.setdefault(name, [])
        elif text == "}":
            name = None
        elif name is not None and text and not text.startswith("type "):
            found[name].append(text)
    return found


def nft_text(chains: dict[str, list[str]], dialect: Nftables) -> str:
    """One transaction that replaces our table by these chains; without any, it removes the table."""
    # Declared first, as what is not there cannot be deleted.
    made = [f"table inet {TABLE}", f"delete table inet {TABLE}"]
    if any(chains.values()):
        made += [f"table inet {TABLE} {{", *_nft_body(chains, dialect), "}"]
    return "\n".join(made) + "\n"


def _nft_body(chains: dict[str, list[str]], dialect: Nftables) -> Iterator[str]:
    parts: dict[str, tuple[str, list[str]]] = {}
    for name, rules in chains.items():
        for rule in rules:
            entry = dialect.entry(rule) if name == INCOMING else None
            until = entry.until if entry else None
            place = name if until is None else temporary_chain(until)
            parts.setdefault(place, (_TYPES[name] if until is None else _TEMPORARY, []))[1].append(rule)
    for name, (kind, rules) in parts.items():
        yield f"\tchain {name} {{"
        yield f"\t\t{kind}"
        yield from (f"\t\t{rule}" for rule in rules)
        yield "\t}"
