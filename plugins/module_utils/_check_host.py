# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of the mail check on hosts: reverse names, HELO, the ways out and in, blocklists, open relays. Private, pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import cast

from ansible_collections.postmaster.mail.plugins.module_utils._check import Found, settled, unknown
from ansible_collections.postmaster.mail.plugins.module_utils._check_view import (
    Connect,
    ConnectAnswer,
    Outbound,
    Relay,
    RelayAnswer,
    View,
    is_private,
)
from ansible_collections.postmaster.mail.plugins.module_utils._dns import DomainError, check_name

POINTER_LIMIT = 10  # names of one address that are looked at, as RFC 7208 section 5.5 does
LISTED = ipaddress.ip_network("127.0.0.0/8")  # RFC 5782 section 2.1
REFUSALS = {  # codes by which lists say that they do not answer, by the last octets
    "127.255.255.252": "the list's name is misspelt",
    "127.255.255.254": "the list does not answer public resolvers",
    "127.255.255.255": "the list was asked too often",
}
# Ends of data that are none (RFC 5321 section 4.1.1.4): a server that takes one can be made to read two messages.
ENDINGS = (b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n", b"\n.\r")
STRANGER = "relay-test@example.com"  # RFC 2606; nothing is sent
_GENERIC = re.compile(
    r"(?:^|[.-])(?:dyn(?:amic)?|dhcp|pool|dial(?:up|in)?|ppp|a?dsl|cable|broadband|customer|unassigned)(?:[.-]|\d)",
    re.I,
)


def _outbound(view: View) -> Iterator[Found]:
    yield unknown("no sending address is named", "give outbound: [{address: ..., helo: ...}]")


def _pointer(address: str) -> str:
    return ipaddress.ip_address(address).reverse_pointer + "."


def _pointers(view: View, address: str) -> list[str]:
    return view.query(_pointer(address), "PTR")[:POINTER_LIMIT]


def _reverse_record(outbound: Outbound) -> str:
    name = outbound.helo or "the name that the server says in HELO"
    pointer = ipaddress.ip_address(outbound.address).reverse_pointer
    return f"ask the provider of {outbound.address} for {pointer}. PTR {name}"


def ptr_exists(view: View) -> Iterator[Found]:
    """Every address that sends has a name (RFC 1912 section 2.1)."""
    if not view.options.outbound:
        yield from _outbound(view)
    yield from _for_each(view, _has_pointer)


def _for_each(view: View, judge: Callable[[View, Outbound], Iterator[Found]]) -> Iterator[Found]:
    """What ``judge`` finds of each outbound address, whatever becomes of the others."""
    view.prefetch([(_pointer(outbound.address), "PTR") for outbound in view.options.outbound])
    judged = view.each(lambda one: list(settled(judge(view, one), one.address)), view.options.outbound)
    for found in judged:
        yield from found


def _has_pointer(view: View, outbound: Outbound) -> Iterator[Found]:
    if not _pointers(view, outbound.address):
        seen = "no PTR record: large receivers refuse its mail"
        yield Found("F", seen, _reverse_record(outbound), outbound.address)


def ptr_fcrdns(view: View) -> Iterator[Found]:
    """The name leads back to the address (RFC 8601 section 2.7.3)."""
    if not view.options.outbound:
        yield from _outbound(view)
    yield from _for_each(view, _leads_back)


def _leads_back(view: View, outbound: Outbound) -> Iterator[Found]:
    names = _pointers(view, outbound.address)
    rdtype = "A" if "." in outbound.address else "AAAA"
    view.prefetch([(name, rdtype) for name in names])
    wanted = ipaddress.ip_address(outbound.address)
    told = [ipaddress.ip_address(text) for name in names for text in view.ask(name, rdtype).values]
    if not names or wanted in told:
        return
    for name in names:
        view.query(name, rdtype)  # one that was not answered may be the right one
    seen = f"the PTR names {names[0].rstrip('.')}, which does not lead back to it"
    remedy = f"{names[0]} 3600 IN {rdtype} {outbound.address}, or {_reverse_record(outbound)}"
    yield Found("F", seen, remedy, outbound.address)


def helo(view: View) -> Iterator[Found]:
    """HELO is a full name that resolves and is the PTR's (RFC 5321 sections 2.3.5 and 4.1.1.1)."""
    if not view.options.outbound:
        yield from _outbound(view)
    yield from _for_each(view, _greets)


def _greets(view: View, outbound: Outbound) -> Iterator[Found]:
    names = [name.rstrip(".").lower() for name in _pointers(view, outbound.address)]
    if names and _is_generic(names[0], outbound.address):
        seen = f"the PTR {names[0]} looks like that of a customer's line"
        yield Found("W", seen, _reverse_record(outbound), outbound.address)
    elif not outbound.helo:
        remedy = "give outbound: [{address: ..., helo: ...}]"
        yield unknown("the name it says in HELO is not told", remedy, outbound.address)
    else:
        yield from _judge_helo(view, outbound, names)


def _is_generic(name: str, address: str) -> bool:
    """Whether a name is made of its address, or says that it is a dial-up line's."""
    octets = address.split(".") if "." in address else []
    spelt = bool(octets) and all(re.search(rf"(?<!\d)0*{octet}(?!\d)", name) for octet in octets)
    return spelt or bool(_GENERIC.search(name))


def _judge_helo(view: View, outbound: Outbound, names: list[str]) -> Iterator[Found]:
    name, fix = outbound.helo.rstrip(".").lower(), "set myhostname (Postfix), primary_hostname (Exim)"
    try:
        check_name(name)
    except DomainError as err:
        yield Found("W", str(err), fix, outbound.address, "RFC 5321 2.3.5")
        return
    if "." not in name:
        yield Found("W", f"HELO {name} is no full name", fix, outbound.address, "RFC 5321 2.3.5")
    elif not view.addresses(name + "."):
        family = "A" if "." in outbound.address else "AAAA"
        remedy = f"{name}. 3600 IN {family} {outbound.address}"
        yield Found("W", f"HELO {name} has no address", remedy, outbound.address, "RFC 5321 2.3.5")
    elif names and name not in names:
        seen = f"HELO says {name}, the PTR {', '.join(names)}"
        yield Found("W", seen, f"{fix} to {names[0]}, or {_reverse_record(outbound)}", outbound.address)


# -- ways out and in ----------------------------------------------------------------------------------


def egress(view: View) -> Iterator[Found]:
    """A receiver saw the message come from one of the outbound addresses."""
    mail = view.options.mail
    if mail is None:
        yield unknown("no message is given", "give message_file: a message as a receiver outside stored it")
        return
    if not view.options.outbound:
        yield from _outbound(view)
        return
    known = [ipaddress.ip_address(outbound.address) for outbound in view.options.outbound]
    if not mail.client:
        yield unknown("its topmost Received field names no address", "take a message as the receiver stored it")
    elif ipaddress.ip_address(mail.client) not in known:
        family = "ip4" if "." in mail.client else "ip6"
        seen = f"the receiver saw {mail.client}, which is none of the outbound addresses"
        remedy = f"correct source NAT or smtp_bind_address; or add {family}:{mail.client} to SPF and give it a PTR"
        yield Found("F", seen, remedy, mail.client)


def ingress(view: View) -> Iterator[Found]:
    """The mail server saw its client's address, not that of a gateway in between."""
    mail = view.options.inbound_mail
    if mail is None:
        yield unknown(
            "no message is given", "give inbound_message_file: a message from outside as your server stored it"
        )
        return
    own = [ipaddress.ip_address(outbound.address) for outbound in view.options.outbound]
    if not mail.client:
        yield unknown("its topmost Received field names no address", "take a message as your own server stored it")
    elif is_private(mail.client) or ipaddress.ip_address(mail.client) in own:
        seen = f"your server took {mail.client} for the client outside: SPF and blocklists judge the gateway"
        remedy = (
            "leave the source address alone on the DNAT path (no MASQUERADE), hairpin NAT for the local network only"
        )
        yield Found("F", seen, remedy, mail.client)


def port25(view: View) -> Iterator[Found]:
    """A mail server outside can be reached from here."""
    target = view.options.outbound_25
    if not target:
        yield unknown("no server outside is named", "give outbound_25: a mail server that is always there")
        return
    host, dummy, port = target.partition("@")
    addresses = _addresses(view, host)
    if not addresses:
        yield unknown(f"{host} has no address", "name a mail server that is always there in outbound_25")
        return
    answers = view.all([Connect(address, int(port or 25)) for address in addresses])
    errors = [cast(ConnectAnswer, answer).error for answer in answers]
    if all(errors):
        remedy = "ask the provider to open port 25 to the outside, or send through a smarthost on port 587"
        yield Found("F", f"no connection to {host} port {port or 25}: {errors[0]}", remedy, host)


def _addresses(view: View, host: str) -> list[str]:
    """The addresses of a host that is named in an option, or the one that stands there."""
    try:
        return [str(ipaddress.ip_address(host))]
    except ValueError:
        return view.addresses(host.lower().rstrip(".") + ".")


# -- blocklists ---------------------------------------------------------------------------------------


def dnsbl(view: View) -> Iterator[Found]:
    """No list has the addresses or the domain; a list is believed after its self-test only (RFC 5782 section 5)."""
    lists = [(zone, "ip") for zone in view.options.dnsbl_ip] + [(zone, "domain") for zone in view.options.dnsbl_domain]
    if not lists:
        yield unknown("no blocklist is named", "give dnsbl_ip and dnsbl_domain")
    elif view.options.dnsbl_ip and not view.options.outbound:
        yield from _outbound(view)
    for found in view.each(lambda item: list(settled(_judge_list(view, *item), item[0])), lists):
        yield from found


def _judge_list(view: View, zone: str, kind: str) -> Iterator[Found]:
    if kind == "domain":
        subjects = {view.bare: view.bare}
    else:
        subjects = {outbound.address: reversed_name(outbound.address) for outbound in view.options.outbound}
    if not subjects:
        return
    trouble = _self_test(view, zone, kind, v6=any(":" in subject for subject in subjects))
    if trouble:
        yield unknown(
            f"{zone} cannot be believed: {trouble}", "ask through a resolver of your own, or leave the list out", zone
        )
        return
    view.prefetch([(f"{label}.{zone}.", "A") for label in subjects.values()])
    for subject, label in subjects.items():
        yield from settled(_listing(view, zone, subject, label), subject)


def _listing(view: View, zone: str, subject: str, label: str) -> Iterator[Found]:
    codes = view.query(f"{label}.{zone}.", "A")
    refused = _refusal(codes)
    if refused:
        yield unknown(f"{zone} does not answer: {refused}", "ask through a resolver of your own", subject)
    elif codes:
        reasons = view.ask(f"{label}.{zone}.", "TXT").values
        seen = f"{zone} lists it ({', '.join(codes)}){': ' + reasons[0] if reasons else ''}"
        yield Found("F", seen, f"find out why, mend that, then ask {zone} for removal", subject)


def reversed_name(address: str) -> str:
    """How a list of addresses is asked (RFC 5782 sections 2.1 and 2.4)."""
    pointer = ipaddress.ip_address(address).reverse_pointer
    return pointer.removesuffix(".in-addr.arpa").removesuffix(".ip6.arpa")


def _self_test(view: View, zone: str, kind: str, *, v6: bool) -> str:
    """Why a list cannot be believed, empty where it can: what must be listed is, what must not be is not."""
    pairs = [("test", "invalid")] if kind == "domain" else [(reversed_name("127.0.0.2"), reversed_name("127.0.0.1"))]
    if v6:
        pairs.append((reversed_name("::ffff:7f00:2"), reversed_name("::ffff:7f00:1")))
    view.prefetch([(f"{label}.{zone}.", "A") for pair in pairs for label in pair])
    for listed, clean in pairs:
        codes = view.ask(f"{listed}.{zone}.", "A")
        if not codes.usable:
            return codes.text or "no answer"
        refused = _refusal(list(codes.values))
        if refused or not codes.values:
            return refused or f"it does not list {listed}, as each list must"
        if view.ask(f"{clean}.{zone}.", "A").values:
            return f"it lists {clean}, as no list may"
    return ""


def _refusal(codes: list[str]) -> str:
    for code in codes:
        if code in REFUSALS:
            return REFUSALS[code]
        if code.startswith("127.255.255."):
            return f"it answers with the error {code}"
        if ipaddress.ip_address(code) not in LISTED:
            return f"it answers with {code}, which is no answer of a blocklist"
    return ""


# -- intrusive ----------------------------------------------------------------------------------------


def relay(view: View) -> Iterator[Found]:
    """The host named is no open relay and takes CR LF . CR LF alone for the end of a message."""
    host, dummy, port = view.options.test_host.partition("@")
    if not host or not view.options.intrusive:
        yield unknown("not tested, as it is intrusive", "name your own server in test_host and set intrusive: true")
        return
    addresses = _addresses(view, host)
    if not addresses:
        yield unknown(f"{host} has no address", "name your own server in test_host")
        return
    address = addresses[0]
    own = f"postmaster@{view.bare}"
    tests = [Relay(address, int(port or 25), own, STRANGER)]
    tests += [Relay(address, int(port or 25), own, own, ending) for ending in ENDINGS]
    answers = [cast(RelayAnswer, answer) for answer in view.all(tests)]
    yield from _judge_relay(host, answers[0])
    taken = [
        ending for ending, answer in zip(ENDINGS, answers[1:], strict=True) if answer.step == "." and answer.code == 250
    ]
    untold = [answer for answer in answers[1:] if answer.error or answer.step != "."]
    if taken:
        shown = ", ".join(repr(ending)[2:-1] for ending in taken)
        remedy = "smtpd_forbid_bare_newline = normalize (Postfix 3.8.4 or later); for others, their newest release"
        yield Found(
            "F", f"{shown} ends a message: a second one can be smuggled in", remedy, host, "RFC 5321 2.3.8, 4.1.1.4"
        )
    elif untold:
        why = untold[0].error or f"{untold[0].step} is answered with {untold[0].code} {untold[0].text}"
        yield unknown(f"the ends of data could not be tried: {why}", f"let {host} take mail for {own}", host)


def _judge_relay(host: str, answer: RelayAnswer) -> Iterator[Found]:
    if answer.error:
        yield unknown(f"no session with {host}: {answer.error}", "name a server that can be reached in test_host", host)
    elif answer.step == "RCPT" and 200 <= answer.code < 300:
        seen = f"it takes mail from strangers to strangers ({answer.code} {answer.text})"
        yield Found(
            "F", seen, "smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination", host, "RFC 5321 7"
        )


ROWS = {
    "ptr.exists": ptr_exists,
    "ptr.fcrdns": ptr_fcrdns,
    "helo.name": helo,
    "egress.ip": egress,
    "ingress.src": ingress,
    "port25.out": port25,
    "dnsbl.ip/domain": dnsbl,
    "relay+smuggling": relay,
}
