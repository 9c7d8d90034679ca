# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pure: addresses and aliases of the hosts that a domain's mail needs, and what may lead to an alias. Private.

Sources: RFC 1034 section 3.6.2 (an alias has nothing beside it), RFC 2181 section 10.3 (MX), RFC 2782 (SRV).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TypeAlias

from ansible_collections.postmaster.mail.plugins.module_utils._record import Record
from ansible_collections.postmaster.mail.plugins.module_utils._records_domain import Domain, RecordsError, listed

Address: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"

# Addresses that no receiver ever sees; documentation and benchmark ranges are left to labs.
UNROUTED = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.168.0.0/16", "224.0.0.0/3", "::/128", "::1/128", "fc00::/7", "fe80::/10", "ff00::/8"),
    )
)
# Where a target must be no alias, the rule that says so and the field of the data that is the target.
TARGETS = {"MX": ("mx", "RFC 2181 section 10.3", 1), "SRV": ("server of mail programs", "RFC 2782", 3)}


def address_of(text: str) -> Address | None:
    """The address that a text is, if it is one; no record holds the zone of a link-local one."""
    try:
        return ipaddress.ip_address(text) if "%" not in text else None
    except ValueError:
        return None


def is_unrouted(address: Address) -> bool:
    """Whether nobody outside reaches an address."""
    return any(address in network for network in UNROUTED)


def add_hosts(domain: Domain) -> None:
    """The records of ``host_records``: each host has addresses, or is an alias of another."""
    for index, options in enumerate(domain.options.get("host_records") or ()):
        what = f"host_records[{index}]"
        name = _name(domain, f"{what}.name", str(options.get("name") or ""))
        addresses, alias = listed(options.get("addresses")), str(options.get("alias_of") or "")
        if bool(addresses) == bool(alias):
            raise domain.fail(f"{what}: {name.rstrip('.')} has either addresses or alias_of; give one of them")
        if alias:
            _alias(domain, what, name, alias)
        if alias and options.get("ptr"):
            raise domain.fail(
                f"{what}: {name.rstrip('.')} is an alias, which no address can be called by; give its addresses"
            )
        for text in addresses:
            address = address_of(text)
            if address is None:
                raise domain.fail(f"{what}: {text!r} is no IP address")
            if is_unrouted(address):
                domain.warn(f"{what}: {text} is a private address, which nobody outside reaches")
            domain.add(name, "A" if address.version == 4 else "AAAA", str(address))
            if options.get("ptr"):
                domain.add(f"{address.reverse_pointer}.", "PTR", name)


def _name(domain: Domain, what: str, text: str) -> str:
    """A host's name from its label or in full, absolute; it lies in the domain."""
    inside = text.rstrip(".").lower()
    whole = inside == domain.bare or inside.endswith("." + domain.bare)
    if text.endswith(".") and not whole:
        raise domain.fail(f"{what}: {inside} is not in this domain; describe it in its own")
    name = domain.check_name(inside if whole else f"{inside}.{domain.bare}", what)
    if name.startswith("*"):
        raise domain.fail(f"{what}: {name.rstrip('.')} is a wildcard; name each host")
    return name


def _alias(domain: Domain, what: str, name: str, target: str) -> None:
    target = domain.check_name(target, f"{what}.alias_of")
    if target == name:
        raise domain.fail(f"{what}: {name.rstrip('.')} would be an alias of itself; give its addresses")
    domain.add(name, "CNAME", target)


def check_targets(records: Iterable[Record]) -> None:
    """What MX and SRV records name is no alias, and no MX host has private addresses. Raises :class:`RecordsError`."""
    every = list(records)
    aliases = {record.name: record.rdata for record in every if record.type == "CNAME"}
    private = {record.name: record.rdata for record in every if _is_private(record)}
    for record in every:
        if record.type not in TARGETS:
            continue
        title, rule, field = TARGETS[record.type]
        target = record.rdata.split(" ")[field].lower()
        said = f"{record.name.rstrip('.')}: its {title} {target.rstrip('.')}"
        if target in aliases:
            raise RecordsError(
                f"{said} would be an alias, which it must not be ({rule}); name {aliases[target].rstrip('.')} instead"
            )
        if record.type == "MX" and target in private:
            raise RecordsError(
                f"{said} has the private address {private[target]}, which no sender reaches; give its public one"
            )


def _is_private(record: Record) -> bool:
    address = address_of(record.rdata) if record.type in ("A", "AAAA") else None
    return address is not None and is_unrouted(address)
