# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of the mail check on the DNS itself: DNSSEC, agreement of the name servers, CAA, IPv6, BIMI. Private, pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from ansible_collections.postmaster.mail.plugins.module_utils._check import PROPAGATING, Found, unknown
from ansible_collections.postmaster.mail.plugins.module_utils._check_view import (
    FAILED,
    NO_ROUTE,
    TIMEOUT,
    Dns,
    DnsAnswer,
    Server,
    View,
)
from ansible_collections.postmaster.mail.plugins.module_utils._dmarc import discover
from ansible_collections.postmaster.mail.plugins.module_utils._dns import DnsTimeout, is_under

ROTATION_TTL = 3600  # seconds; a longer TTL makes each step of a key rotation wait as long
KEY_STATES_MOVING = ("pending", "retired")

# -- dnssec -------------------------------------------------------------------------------------------


def dnssec(view: View) -> Iterator[Found]:
    """Each zone that mail depends on is signed and validates (RFC 4035 section 5)."""
    hosts = _known_hosts(view)
    zones = list(dict.fromkeys([view.zone, *(view.zone_of(host) for host in hosts)]))
    names = list(dict.fromkeys([view.domain, *hosts]))
    checked = view.all([Dns(name, "SOA") for name in names])
    told = {name: cast(DnsAnswer, answer) for name, answer in zip(names, checked, strict=True)}
    if all(answer.status in (TIMEOUT, NO_ROUTE) for answer in told.values()):
        raise DnsTimeout(told[view.domain].text)
    failed = [name for name, answer in told.items() if answer.status == FAILED]
    again = view.all([Dns(name, "SOA", unchecked=True) for name in failed])
    bogus = [name for name, answer in zip(failed, again, strict=True) if cast(DnsAnswer, answer).usable]
    for name in bogus:
        seen = "the resolver refuses the answer, and gives it when told not to validate: the signatures do not hold"
        remedy = f"delv {name} SOA says which; correct the DS record at the registrar, or sign the zone again"
        yield Found("F", seen, remedy, name.rstrip("."))
    zones = [zone for zone in zones if zone != "." and not any(is_under(name, zone) for name in bogus)]
    signed = view.all([Dns(zone, "DS") for zone in zones])
    for zone, answer in zip(zones, signed, strict=True):
        vouched = cast(DnsAnswer, answer)
        if vouched.usable and not vouched.values:
            remedy = f"sign {zone.rstrip('.')} and give its DS record to the parent zone (RFC 7672 needs it for DANE)"
            yield Found("I", "the zone is not signed: its parent has no DS record for it", remedy, zone.rstrip("."))
        elif vouched.usable and view.options.trust_ad and not vouched.authenticated:
            remedy = "let the resolver validate (unbound: auto-trust-anchor-file), or set trust_ad: false"
            yield unknown("the zone is signed, but the resolver does not vouch for it", remedy, zone.rstrip("."))


def _known_hosts(view: View) -> list[str]:
    """The MX hosts; none where the question itself fails, as it does in a bogus zone."""
    if not view.ask(view.domain, "MX").usable:
        return []
    return view.mx_hosts


# -- dns.consistency ----------------------------------------------------------------------------------


def consistency(view: View) -> Iterator[Found]:
    """Every name server answers with authority, alike, and over TCP (RFC 1034 section 4.3.5, RFC 7766 section 5)."""
    zone, servers = view.zone, view.servers
    if not servers:
        yield unknown("the zone's name servers cannot be found out", f"dig {view.bare} SOA +trace shows the way")
        return
    udp = view.all([Dns(zone, "SOA", server.address) for server in servers])
    told = {server: cast(DnsAnswer, answer) for server, answer in zip(servers, udp, strict=True)}
    reachable = {server: answer for server, answer in told.items() if answer.status != NO_ROUTE}
    for server, answer in reachable.items():
        yield from _lame(zone, server, answer)
    good = [server for server, answer in reachable.items() if _serves(answer)]
    tcp = view.all([Dns(zone, "SOA", server.address, tcp=True) for server in good])
    for server, answered in zip(good, tcp, strict=True):
        if not cast(DnsAnswer, answered).usable:
            remedy = "let TCP through to port 53 there: long TXT records and DNSSEC do not fit in a packet"
            yield Found("W", f"no answer over TCP: {cast(DnsAnswer, answered).text}", remedy, str(server))
    yield from _serials(zone, {server: told[server] for server in good})
    yield from _ttls(view)


def _serves(answer: DnsAnswer) -> bool:
    return answer.usable and answer.authoritative and bool(answer.values)


def _lame(zone: str, server: Server, answer: DnsAnswer) -> Iterator[Found]:
    name = zone.rstrip(".")
    if answer.status == TIMEOUT:
        yield Found("W", f"no answer for {name}", "bring the server back, or remove its NS record", str(server))
    elif not _serves(answer):
        seen = f"listed for {name}, but does not serve it ({answer.text or 'its answer has no authority'})"
        yield Found("W", seen, "load the zone on that server, or remove its NS record", str(server))


def _serials(zone: str, told: dict[Server, DnsAnswer]) -> Iterator[Found]:
    """Different serial numbers: a transfer is under way, or fails."""
    serials = {server: answer.values[0].split()[2:3] for server, answer in told.items()}
    different = {serial[0] for serial in serials.values() if serial}
    if len(different) > 1:
        seen = "; ".join(f"{server} has serial {serial[0]}" for server, serial in serials.items() if serial)
        remedy = (
            f"if it lasts: look at the secondary servers' logs for the transfer of {zone.rstrip('.')} (NOTIFY, TSIG)"
        )
        yield Found("W", seen, remedy, zone.rstrip("."), verdict=PROPAGATING)


def _ttls(view: View) -> Iterator[Found]:
    """While a key is being rotated, a long TTL holds every step up."""
    keys = [key for key in view.options.dkim_keys if key.domain == view.bare and key.state in KEY_STATES_MOVING]
    for key in keys:
        name = f"{key.selector}._domainkey.{view.domain}"
        ttl = max((view.ask(name, "TXT").ttl, *(_ttl_at(view, name, server) for server in view.servers)))
        if ttl > ROTATION_TTL:
            seen = f"the key is being rotated, and its TTL is {ttl} seconds"
            yield Found("W", seen, f"publish it with a TTL of {ROTATION_TTL} or less", name.rstrip("."))


def _ttl_at(view: View, name: str, server: Server) -> int:
    return cast(DnsAnswer, view.get(Dns(name, "TXT", server.address))).ttl


# -- caa/bimi/ipv6 ------------------------------------------------------------------------------------


def extras(view: View) -> Iterator[Found]:
    """What is good to have."""
    hosts = view.mx_hosts
    _prefetch_extras(view, hosts)
    for host in hosts:
        if is_under(host, view.zone) and not _has_caa(view, host):
            remedy = f'{view.zone} 3600 IN CAA 0 issue "your-ca.example"'
            seen = "no CAA record: every authority may issue certificates for it"
            yield Found("I", seen, remedy, host.rstrip("."), "RFC 8659 3")
    if hosts and not any(view.query(host, "AAAA") for host in hosts):
        names = ", ".join(host.rstrip(".") for host in hosts)
        remedy = f"{hosts[0]} 3600 IN AAAA 2001:db8::25 (its own address)"
        yield Found("I", f"no mail server is reached over IPv6: {names}", remedy, reference="RFC 3974 3")
    yield from _bimi(view)


def _prefetch_extras(view: View, hosts: list[str]) -> None:
    wanted = [(host, "AAAA") for host in hosts] + [(f"default._bimi.{view.domain}", "TXT")]
    view.prefetch(wanted + [(host, "CAA") for host in hosts if is_under(host, view.zone)])


def _has_caa(view: View, host: str) -> bool:
    """Whether the host or a name above it has CAA records (RFC 8659 section 3), up to its zone."""
    name, zone = host, view.zone_of(host)
    while is_under(name, zone):
        if view.query(name, "CAA"):
            return True
        name = name.partition(".")[2]
        if not name:
            break
    return False


def _bimi(view: View) -> Iterator[Found]:
    """A BIMI record counts only with an enforced DMARC policy."""
    if not view.text(f"default._bimi.{view.domain}", "v=bimi1"):
        return
    if discover(view.bare, view).policy not in ("quarantine", "reject"):
        remedy = "step DMARC up to p=quarantine or p=reject, or delete the BIMI record"
        seen = "there is a BIMI record, but DMARC does not enforce: no logo is shown"
        yield Found("I", seen, remedy, f"default._bimi.{view.bare}", "BIMI draft 7.1")


ROWS = {"dnssec": dnssec, "dns.consistency": consistency, "caa/bimi/ipv6": extras}
