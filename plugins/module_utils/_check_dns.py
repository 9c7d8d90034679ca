# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of the mail check on the DNS itself: DNSSEC, agreement of the name servers, CAA, IPv6, BIMI. Private, pure."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import cast

from ansible_collections.postmaster.mail.plugins.module_utils import _check_dkim
from ansible_collections.postmaster.mail.plugins.module_utils._check import (
    PROPAGATING,
    WRONG,
    Found,
    settled,
    unanswered,
    unknown,
)
from ansible_collections.postmaster.mail.plugins.module_utils._check_mail import tags
from ansible_collections.postmaster.mail.plugins.module_utils._check_mx import is_literal
from ansible_collections.postmaster.mail.plugins.module_utils._check_tls import probes
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
from ansible_collections.postmaster.mail.plugins.module_utils._tlsa import tlsa_name

ROTATION_TTL = 3600  # seconds; a longer TTL makes each step of a key rotation wait as long
KEY_STATES_MOVING = ("pending", "retired")
REFUSED = os.strerror(errno.ECONNREFUSED).lower()  # as the port tells it
SHOWN_LIMIT = 120  # characters of what one server says of a name, in a finding

# -- dnssec -------------------------------------------------------------------------------------------


def dnssec(view: View) -> Iterator[Found]:
    """Each zone that mail depends on is signed and validates (RFC 4035 section 5)."""
    if view.missing:
        return  # whoever owns the zone above has no part in this
    hosts = _known_hosts(view)
    zones = list(dict.fromkeys([view.zone, *(view.zone_of(host) for host in hosts)]))
    starts = [(name, "SOA") for name in dict.fromkeys([view.domain, *hosts])]
    told = [cast(DnsAnswer, answer) for answer in view.all([Dns(*key) for key in starts])]
    if all(answer.status in (TIMEOUT, NO_ROUTE) for answer in told):
        raise DnsTimeout(told[0].text)
    bogus = [name for name, dummy in _refused(view, starts)]
    for name in bogus:
        seen = "the resolver refuses the answer, and gives it when told not to validate: the signatures do not hold"
        remedy = f"delv {name} SOA says which; correct the DS record at the registrar, or sign the zone again"
        yield Found("F", seen, remedy, name.rstrip("."))
    sets = [key for key in _record_sets(view, hosts) if not any(is_under(key[0], name) for name in bogus)]
    for name, rdtype in _refused(view, sets):
        seen = f"the {rdtype} records are refused by the resolver, which gives them when told not to validate"
        remedy = f"sign the zone again (delv {name} {rdtype} says what is wrong), on all its name servers"
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


def _record_sets(view: View, hosts: list[str]) -> list[tuple[str, str]]:
    """What mail asks of the domain and its mail servers."""
    texts = ["", "_dmarc.", "_mta-sts.", "_smtp._tls.", *(f"{one}._domainkey." for one in _check_dkim.told(view))]
    own = [(view.domain, "MX"), *((f"{label}{view.domain}", "TXT") for label in texts)]
    port = view.options.smtp_port
    return own + [key for host in hosts for key in ((host, "A"), (host, "AAAA"), (tlsa_name(host, port), "TLSA"))]


def _refused(view: View, keys: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those that the resolver has, and does not give unless told not to validate; asked twice, as it may be busy."""
    for tcp in (False, True):
        answers = view.all([Dns(*key, tcp=tcp) for key in keys])
        keys = [key for key, one in zip(keys, answers, strict=True) if cast(DnsAnswer, one).status == FAILED]
    again = view.all([Dns(*key, unchecked=True) for key in keys])
    return [key for key, one in zip(keys, again, strict=True) if cast(DnsAnswer, one).usable]


def _known_hosts(view: View) -> list[str]:
    """The MX hosts; none where the question itself fails, as it does in a bogus zone."""
    if not view.ask(view.domain, "MX").usable:
        return []
    return view.mx_hosts


# -- dns.consistency ----------------------------------------------------------------------------------


def consistency(view: View) -> Iterator[Found]:
    """Every name server answers with authority, alike, and over TCP (RFC 1034 section 4.3.5, RFC 7766 section 5)."""
    if view.missing:
        return
    zone, servers = view.zone, view.servers
    if not servers:
        yield unknown("the zone's name servers cannot be found out", f"dig {view.bare} SOA +trace shows the way")
        return
    udp = view.all([Dns(zone, "SOA", server.address) for server in servers])
    starts = {server: cast(DnsAnswer, answer) for server, answer in zip(servers, udp, strict=True)}
    reachable = {server: answer for server, answer in starts.items() if answer.status != NO_ROUTE}
    for server, answer in reachable.items():
        yield from _lame(zone, server, answer)
    good = [server for server, answer in reachable.items() if _serves(answer)]
    tcp = view.all([Dns(zone, "SOA", server.address, tcp=True) for server in good])
    for server, answered in zip(good, tcp, strict=True):
        if not cast(DnsAnswer, answered).usable:
            remedy = "let TCP through to port 53 there: long TXT records and DNSSEC do not fit in a packet"
            yield Found("W", f"no answer over TCP: {cast(DnsAnswer, answered).text}", remedy, str(server))
    serials = {server: starts[server].values[0].split()[2] for server in good}
    yield from _serials(zone, serials)
    # Both addresses of a name server are one server; where they are not, their serial numbers tell.
    voices = list({server.name: server for server in reversed(good)}.values())
    yield from _contents(view, voices[::-1], PROPAGATING if len(set(serials.values())) > 1 else WRONG)
    yield from _ttls(view)


def _serves(answer: DnsAnswer) -> bool:
    return answer.usable and answer.authoritative and any(len(value.split()) > 2 for value in answer.values[:1])


def _lame(zone: str, server: Server, answer: DnsAnswer) -> Iterator[Found]:
    name = zone.rstrip(".")
    if answer.status == TIMEOUT:
        yield Found("W", f"no answer for {name}", "bring the server back, or remove its NS record", str(server))
    elif not _serves(answer):
        seen = f"listed for {name}, but does not serve it ({answer.text or 'its answer has no authority'})"
        yield Found("W", seen, "load the zone on that server, or remove its NS record", str(server))


def _serials(zone: str, serials: dict[Server, str]) -> Iterator[Found]:
    """Different serial numbers: a transfer is under way, or fails."""
    if len(set(serials.values())) > 1:
        seen = "; ".join(f"{server} has serial {serial}" for server, serial in serials.items())
        remedy = (
            f"if it lasts: look at the secondary servers' logs for the transfer of {zone.rstrip('.')} (NOTIFY, TSIG)"
        )
        yield Found("W", seen, remedy, zone.rstrip("."), verdict=PROPAGATING)


def _contents(view: View, servers: list[Server], verdict: str) -> Iterator[Found]:
    """What mail needs is the same at every server: equal serial numbers do not say so, as no transfer mends that."""
    names = [(view.domain, "MX"), (view.domain, "TXT"), (f"_dmarc.{view.domain}", "TXT")]
    names += [(_check_dkim.record_name(view, selector), "TXT") for selector in _check_dkim.told(view)]
    answers = view.all([Dns(*name, server.address) for name in names for server in servers])
    for number, (name, rdtype) in enumerate(names):
        mine = cast("list[DnsAnswer]", answers[number * len(servers) : (number + 1) * len(servers)])
        yield from _compare(f"{name.rstrip('.')} {rdtype}", dict(zip(servers, mine, strict=True)), verdict)


def _compare(what: str, answers: dict[Server, DnsAnswer], verdict: str) -> Iterator[Found]:
    said: dict[tuple[str, ...], list[Server]] = {}
    for server, answer in answers.items():
        if not answer.usable:
            yield unanswered(f"{server} does not tell {what}: {answer.text or answer.status}", str(server))
        elif answer.authoritative and not answer.referral:
            said.setdefault((*answer.chain, *sorted(answer.values)), []).append(server)
    if len(said) > 1:
        seen = "; ".join(f"{', '.join(map(str, who))}: {_shown(values)}" for values, who in said.items())
        remedy = (
            "load the same zone on all name servers: raise the serial at the primary, have the others fetch it anew"
        )
        yield Found("W", f"{what} is not the same everywhere. {seen}", remedy, what.partition(" ")[0], verdict=verdict)


def _shown(values: tuple[str, ...]) -> str:
    text = ", ".join(values) or "nothing"
    return text if len(text) <= SHOWN_LIMIT else text[:SHOWN_LIMIT] + "..."


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
    hosts = [host for host in view.mx_hosts if not is_literal(host)]
    _prefetch_extras(view, hosts)
    for host in hosts:
        yield from settled(_caa(view, host), host.rstrip("."))
    yield from settled(_ipv6(view, hosts))
    yield from settled(_bimi(view), f"default._bimi.{view.bare}")


def _caa(view: View, host: str) -> Iterator[Found]:
    """Whoever may issue a certificate for a mail server of the domain's own zone."""
    if is_under(host, view.zone) and not _has_caa(view, host):
        remedy = f'{view.zone} 3600 IN CAA 0 issue "your-ca.example"'
        seen = "no CAA record: every authority may issue certificates for it"
        yield Found("I", seen, remedy, host.rstrip("."), "RFC 8659 3")


def _ipv6(view: View, hosts: list[str]) -> Iterator[Found]:
    """One mail server at least has an IPv6 address, and answers there if it does at its other one."""
    if any(view.ask(host, "AAAA").values for host in hosts):
        yield from _deaf(view)
        return
    if not hosts:
        return
    for host in hosts:
        view.query(host, "AAAA")
    names = ", ".join(host.rstrip(".") for host in hosts)
    remedy = f"{hosts[0]} 3600 IN AAAA 2001:db8::25 (its own address)"
    yield Found("I", f"no mail server is reached over IPv6: {names}", remedy, reference="RFC 3974 3")


def _deaf(view: View) -> Iterator[Found]:
    """Mail servers that refuse at their IPv6 address what they take at the other."""
    known = probes(view) if view.options.smtp else []
    awake = {probe.host for probe in known if not probe.answer.error}
    for probe in known:
        if ":" in probe.address and probe.host in awake and probe.answer.error == REFUSED:
            remedy = f"let the mail server listen at {probe.address}, or delete {probe.host} AAAA {probe.address}"
            yield Found("I", "nothing listens at its IPv6 address: senders lose time there", remedy, probe.where)


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
    """A BIMI record can be read, and counts only with an enforced DMARC policy."""
    where = f"default._bimi.{view.bare}"
    records = view.text(f"{where}.", "v=bimi1")
    if not records:
        return
    fault = f"{len(records)} records, so receivers use none" if len(records) > 1 else _bimi_fault(records[0])
    if fault:
        remedy = f'{where}. 3600 IN TXT "v=BIMI1; l=https://{view.bare}/logo.svg" (or delete the record)'
        yield Found("I", f"no logo is shown: {fault}", remedy, where, "BIMI draft 4.3")
    elif not tags(records[0]).get("l"):
        return  # the domain says that it has no logo
    if discover(view.bare, view).policy not in ("quarantine", "reject"):
        remedy = "step DMARC up to p=quarantine or p=reject, or delete the BIMI record"
        seen = "there is a BIMI record, but DMARC does not enforce: no logo is shown"
        yield Found("I", seen, remedy, where, "BIMI draft 7.1")


def _bimi_fault(text: str) -> str:
    """Why a BIMI record is void; empty where it is not."""
    known = tags(text)
    if not text.startswith("v=BIMI1"):
        return f"it begins with {text[:7]}, where v=BIMI1 is wanted"
    malformed = [part.strip() for part in text.split(";") if part.strip() and "=" not in part]
    if malformed:
        return f"{malformed[0]} is no tag"
    if "l" not in known:
        return "the tag l, the logo's address, is missing"
    wrong = [f"{name}={known[name]}" for name in ("l", "a") if known.get(name) and not _is_https(known[name])]
    return f"{wrong[0]} is no https address" if wrong else ""


def _is_https(uri: str) -> bool:
    return uri.lower().startswith("https://") and len(uri) > len("https://")


ROWS = {"dnssec": dnssec, "dns.consistency": consistency, "caa/bimi/ipv6": extras}
