# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: the zones of the lab's internet, from the root down, forward and reverse.

Everything hangs on a root zone of the lab's own, so that the chain of trust is whole and
every public name is a proven NXDOMAIN. The estate's zones hold addresses only: what mail
needs is published by the estate itself.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from .credentials import ZoneKey
from .hosts import BY_NAME, ESTATE, HOSTS, INTERNET, SIDES, Plan

NAME_SERVERS = ("ns1.lab.test.", "ns2.lab.test.")
FORWARD = ("lab.test.", "provider.test.", "outside.test.", "stranger.test.", "bogus.test.")
OF_ESTATE = ("corp.example.", "shop.example.", "post.example.")
TTL = 60


@dataclass
class Zone:
    """A zone: absolute name, the TSIG keys that may update it, and (owner, type, rdata) for its records."""

    name: str
    updaters: tuple[str, ...] = ("lab.",)
    records: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def file(self) -> str:
        """Name of the zone's file."""
        return f"{self.name.rstrip('.') or 'root'}.zone"

    def add(self, owner: str, rdtype: str, *rdatas: str) -> None:
        """Add one record per rdata."""
        self.records += [(owner, rdtype, rdata) for rdata in rdatas]


def reverse_zone(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> str:
    """The reverse zone of a /24 or a /64."""
    labels = network.network_address.reverse_pointer.split(".")
    return ".".join(labels[1 if network.version == 4 else 16 :]) + "."


def build(plan: Plan, key: ZoneKey) -> list[Zone]:
    """All zones of a lab; ``key`` signs them and gives the parents their DS records."""
    reverse = [
        Zone(reverse_zone(net), ("estate.", "lab.") if side == ESTATE else ("lab.",))
        for side in SIDES
        for net in (plan.net4(side), plan.net6(side))
    ]
    forward = [Zone(name) for name in FORWARD] + [Zone(name, ("estate.", "lab.")) for name in OF_ESTATE]
    tops = [Zone("test."), Zone("example.")]
    root = Zone(".")
    _addresses(plan, [*forward, *reverse])
    _mail(plan, {zone.name: zone for zone in forward})
    for child in [*forward, *tops, *reverse]:
        parent = next((top for top in tops if child.name.endswith("." + top.name)), root)
        parent.add(child.name, "NS", *NAME_SERVERS)
        # A zone whose DS fits no key is bogus by definition: the resolver must refuse it.
        ds = key.ds(child.name if child.name != "bogus.test." else "another.test.")
        parent.add(child.name, "DS", ds)
    for zone in (root, tops[0]):  # glue
        for number in (1, 2):
            zone.add(f"ns{number}.lab.test.", "A", plan.v4(10 + number, INTERNET))
            zone.add(f"ns{number}.lab.test.", "AAAA", plan.v6(10 + number, INTERNET))
    return [root, *tops, *forward, *reverse]


def _addresses(plan: Plan, zones: list[Zone]) -> None:
    """A, AAAA and PTR of every host of the table, whether it runs or not."""

    def add(owner: str, rdtype: str, rdata: str) -> None:
        next(zone for zone in zones if owner.endswith("." + zone.name)).add(owner, rdtype, rdata)

    for host in HOSTS:
        for address in map(ipaddress.ip_address, plan.addresses(host)):
            add(f"{host.fqdn}.", "A" if address.version == 4 else "AAAA", str(address))
            add(f"{address.reverse_pointer}.", "PTR", f"{host.fqdn}.")


def _mail(plan: Plan, zones: dict[str, Zone]) -> None:
    """What the other organisations publish for their own mail."""
    for domain, host in (("provider.test.", "provider"), ("outside.test.", "outside"), ("stranger.test.", "stranger")):
        zones[domain].add(domain, "MX", f"10 {BY_NAME[host].fqdn}.")
    provider, outside, stranger = (BY_NAME[name].number for name in ("provider", "outside", "stranger"))
    zone = zones["provider.test."]
    zone.add("_spf.provider.test.", "TXT", _spf(plan, provider))
    zone.add("provider.test.", "TXT", '"v=spf1 include:_spf.provider.test -all"')
    zone = zones["outside.test."]
    zone.add("outside.test.", "TXT", _spf(plan, outside))
    zone.add("_dmarc.outside.test.", "TXT", '"v=DMARC1; p=reject; rua=mailto:dmarc@outside.test"')
    zone = zones["stranger.test."]
    zone.add("stranger.test.", "TXT", _spf(plan, stranger))
    zone.add("spf-fail.stranger.test.", "TXT", '"v=spf1 -all"')
    zone.add("spf-fail.stranger.test.", "MX", "0 .")
    zone.add("dmarc-reject.stranger.test.", "TXT", '"v=spf1 -all"')
    zone.add("_dmarc.dmarc-reject.stranger.test.", "TXT", '"v=DMARC1; p=reject"')
    zones["bogus.test."].add("www.bogus.test.", "A", plan.v4(outside, INTERNET))


def _spf(plan: Plan, number: int) -> str:
    return f'"v=spf1 ip4:{plan.v4(number, INTERNET)} ip6:{plan.v6(number, INTERNET)} -all"'
