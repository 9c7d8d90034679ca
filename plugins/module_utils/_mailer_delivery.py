# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Plan: how the mailer's Postfix sends by several addresses, and slowly to some destinations.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

Each address has two transports, its way and its slow way, and a restriction class that chooses between them by the
recipient. The class is chosen by the name that the delivery says in EHLO, which is the helo name of the address, so one
port serves all. An empty next hop after FILTER is the domain of the recipient (access(5)), and the delivery names one
recipient a transaction, so limits and TLS policies are those of that domain.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SLOW = "slow"
CLASS = "way_"
# What slow destinations get: at most three connections, 20 recipients of a message, a pause between deliveries; ten
# failed connections in a row stop them for a while.
LIMITS: Mapping[str, int | str] = {
    "destination_concurrency_limit": 3,
    "destination_recipient_limit": 20,
    "destination_rate_delay": "5s",
    "destination_concurrency_failed_cohort_limit": 10,
}
UNKNOWN = "static:{450 4.3.5 no address greets with this name: run the role mailer again}"

_POOL = re.compile(r"[a-z][a-z0-9-]{0,30}")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)+")
_DOMAIN = re.compile(r"\.?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_CLASS = re.compile(rf"{CLASS}([a-z0-9-]+)")


@dataclass(frozen=True)
class Way:
    """An address to send from, or one of each family; ``name`` is that of its transport."""

    helo: str
    ipv4: str
    ipv6: str

    @property
    def name(self) -> str:
        """Made of the helo name, so that it stays the same whatever comes before it in the list."""
        return self.helo.lower().replace(".", "-")


def plan(
    pools: Sequence[Mapping[str, Any]], slow: Sequence[str], *, hostname: str, known: Iterable[str] = ()
) -> dict[str, Any]:
    """What Postfix and the package get.

    ``known`` are the restriction classes that there are, of which those that are no more wanted are removed. Returns
    ``problems`` (sentences), and if there are none ``main`` (parameters), ``master`` (services) and ``pools`` (that key
    of the package's configuration).
    """
    problems = [*_problems(pools, hostname), *_bad_domains(slow)]
    if problems:
        return {"problems": problems}
    ways = [way for pool in pools for way in map(_way, pool["addresses"])]
    gone = [one[1] for name in known if (one := _CLASS.fullmatch(name)) and one[1] not in {way.name for way in ways}]
    main: dict[str, Any] = {
        "smtpd_restriction_classes": [CLASS + way.name for way in ways] or None,
        "smtpd_recipient_restrictions": _by_name(ways, hostname) if ways else "",
        "transport_maps": f"inline:{{ {_table((one, f'{SLOW}:') for one in slow)} }}" if slow else None,
        **_limits(SLOW),
    }
    for way in ways:
        main |= {CLASS + way.name: _by_recipient(way, slow), **_limits(f"{way.name}-{SLOW}")}
    for name in gone:
        main |= {CLASS + name: None, **dict.fromkeys(_limits(f"{name}-{SLOW}"))}
    absent = [{"service": one, "type": "unix", "state": "absent"} for name in gone for one in (name, f"{name}-{SLOW}")]
    master = [_transport(SLOW, {}), *(one for way in ways for one in _transports(way)), *absent]
    return {"problems": [], "main": main, "master": master, "pools": {one["name"]: _pool(one) for one in pools}}


def _way(address: Mapping[str, Any]) -> Way:
    return Way(address["helo"], address.get("ipv4") or "", address.get("ipv6") or "")


def _table(entries: Iterable[tuple[str, str]]) -> str:
    return " ".join(f"{{{key} = {value}}}" for key, value in entries)


def _by_name(ways: Sequence[Way], hostname: str) -> list[str]:
    own = [(hostname, "permit")] if hostname.lower() not in {way.helo.lower() for way in ways} else []
    names = [*((way.helo.lower(), CLASS + way.name) for way in ways), *((name.lower(), value) for name, value in own)]
    return [f"check_helo_access inline:{{ {_table(names)} }}", f"check_helo_access {UNKNOWN}"]


def _by_recipient(way: Way, slow: Sequence[str]) -> list[str]:
    """Of several filters the last one counts."""
    first = [f"check_recipient_access static:{{FILTER {way.name}:}}"]
    table = _table((one, f"FILTER {way.name}-{SLOW}:") for one in slow)
    return [*first, *([f"check_recipient_access inline:{{ {table} }}"] if slow else []), "permit"]


def _limits(transport: str) -> dict[str, Any]:
    return {f"{transport}_{name}": value for name, value in LIMITS.items()}


def _transports(way: Way) -> list[dict[str, Any]]:
    options = {
        "smtp_helo_name": way.helo,
        "smtp_bind_address": way.ipv4 or None,
        "smtp_bind_address6": way.ipv6 or None,
        # Without an address of a family there must be no other one that it leaves by.
        "inet_protocols": "all" if way.ipv4 and way.ipv6 else "ipv4" if way.ipv4 else "ipv6",
    }
    return [_transport(way.name, options), _transport(f"{way.name}-{SLOW}", options)]


def _transport(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "service": name,
        "type": "unix",
        "chroot": "yes",
        "command": "smtp",
        "options": {"syslog_name": f"postfix/{name}", **options},
    }


def _pool(pool: Mapping[str, Any]) -> dict[str, Any]:
    """A pool in the package's words."""
    lists = {key: list(pool[key]) for key in ("streams", "logins", "domains") if pool.get(key)}
    addresses = [
        {"helo": one["helo"], **({"warm-up-since": str(one["warm_up_since"])} if one.get("warm_up_since") else {})}
        for one in pool["addresses"]
    ]
    return {**lists, "addresses": addresses, **({"warm-up": list(pool["warm_up"])} if pool.get("warm_up") else {})}


# -- what cannot be --------------------------------------------------------------------------------------


def _problems(pools: Sequence[Mapping[str, Any]], hostname: str) -> list[str]:
    found = []
    names, helos = [str(pool["name"]) for pool in pools], []
    for pool, name in zip(pools, names, strict=True):
        if not _POOL.fullmatch(name):
            found.append(f"mailer_pools: {name} is no name for a pool: use up to 31 of a-z, 0-9 and -")
        if not pool.get("addresses"):
            found.append(f"mailer_pools: {name} has no address: give it one, with its helo name")
        for address in pool.get("addresses") or ():
            found += _bad_address(name, address)
            helos.append(str(address["helo"]))
    found += [f"mailer_pools: {name} stands there twice: give each pool a name of its own" for name in _twice(names)]
    transports = [helo.lower().replace(".", "-") for helo in helos]
    found += [
        f"mailer_pools: the helo name {helo} is taken, or differs in - and . alone: give each address its own"
        for helo in dict.fromkeys(
            helo for helo, name in zip(helos, transports, strict=True) if name in _twice(transports)
        )
    ]
    if pools and not _NAME.fullmatch(hostname):
        found.append(f"mailer_hostname: {hostname} is no full host name: give one such as mailer1.example.org")
    return found


def _bad_address(pool: str, address: Mapping[str, Any]) -> list[str]:
    helo, found = str(address["helo"]), []
    if not _NAME.fullmatch(helo):
        found.append(f"mailer_pools: {helo} of {pool} is no full host name: give one such as out1.example.org")
    given = {family: str(address.get(family) or "") for family in ("ipv4", "ipv6")}
    if not any(given.values()):
        found.append(f"mailer_pools: {helo} of {pool} has no address: set ipv4, ipv6 or both")
    for family, text in given.items():
        if text and not _is(text, int(family[-1])):
            found.append(f"mailer_pools: {text} of {pool} is no {family} address: give one of this host")
    return found


def _is(text: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(text).version == version
    except ValueError:
        return False


def _bad_domains(slow: Iterable[str]) -> list[str]:
    return [
        f"mailer_slow_destinations: {one} is no domain: write it as example.org, and .example.org for those below it"
        for one in slow
        if not _DOMAIN.fullmatch(one)
    ]


def _twice(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(name for name in names if names.count(name) > 1))
