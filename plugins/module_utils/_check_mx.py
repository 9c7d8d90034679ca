# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of the mail check on where a domain's mail goes: MX records. Private, pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from ansible_collections.postmaster.mail.plugins.module_utils import _spf
from ansible_collections.postmaster.mail.plugins.module_utils._check import Found, settled
from ansible_collections.postmaster.mail.plugins.module_utils._check_view import (
    View,
    is_private,
)
from ansible_collections.postmaster.mail.plugins.module_utils._dmarc import discover
from ansible_collections.postmaster.mail.plugins.module_utils._dns import DomainError, check_name


def exists(view: View) -> Iterator[Found]:
    """A domain says where its mail goes (RFC 5321 section 5.1)."""
    if view.mx:
        return
    if view.missing:
        yield Found("F", "the domain does not exist", f"register it, or correct the name {view.bare}")
    elif view.addresses(view.domain):
        seen = "no MX record: senders fall back on the domain's own addresses, which most likely take no mail"
        yield Found("W", seen, _publish_mx(view))
    else:
        yield Found("F", "neither an MX record nor an address: no mail can be delivered", _publish_mx(view))


def _publish_mx(view: View) -> str:
    return f"{view.domain} 3600 IN MX 10 mail.{view.domain} or, if it takes no mail, {view.domain} 3600 IN MX 0 ."


def target(view: View) -> Iterator[Found]:
    """Each MX names a host that has addresses, and is neither an alias nor an address itself."""
    hosts = view.mx_hosts
    view.prefetch([(host, rdtype) for host in hosts if not is_literal(host) for rdtype in ("A", "AAAA")])
    for host in hosts:
        yield from settled(_judge_target(view, host), host.rstrip("."))


def is_literal(host: str) -> bool:
    """Whether the name of a mail server is an address, which a name cannot be."""
    try:
        ipaddress.ip_address(host.rstrip(".").strip("[]"))
    except ValueError:
        return False
    return True


def _judge_target(view: View, host: str) -> Iterator[Found]:
    name, fix = host.rstrip("."), f"{view.domain} 3600 IN MX 10 mail.{view.domain} (a host with addresses)"
    if is_literal(host):
        yield Found("F", "the MX record holds an address, which is read as a name", fix, name, "RFC 1035 3.3.9")
        return
    try:
        check_name(host)
    except DomainError as err:
        yield Found("F", str(err), fix, name, "RFC 5321 2.3.5")
        return
    answers = [view.ask(host, rdtype) for rdtype in ("A", "AAAA")]
    aliases = [answer.chain[-1] for answer in answers if answer.chain]
    if aliases:
        alias = aliases[0]
        remedy = f"{view.domain} 3600 IN MX 10 {alias}"
        yield Found("F", f"the mail server's name is an alias of {alias.rstrip('.')}", remedy, name, "RFC 2181 10.3")
        return
    addresses = view.addresses(host)
    private = [address for address in addresses if is_private(address)]
    if not addresses and all(answer.usable for answer in answers):
        yield Found("F", "the mail server's name has no address", f"{host} 3600 IN A 192.0.2.25 (its own)", name)
    elif private:
        remedy = f"publish the public address of {name}"
        yield Found("F", f"nobody outside can reach {', '.join(private)}", remedy, name, "RFC 6890 2.2.2")


def null(view: View) -> Iterator[Found]:
    """A null MX stands alone (RFC 7505 section 3), and such a domain neither sends nor gets reports."""
    if not view.null_mx:
        return
    if view.mx_hosts:
        others = ", ".join(host.rstrip(".") for host in view.mx_hosts)
        remedy = f"delete {view.domain} MX 0 . or the others"
        yield Found("F", f"beside the null MX stands {others}", remedy, reference="RFC 7505 3")
    yield from settled(_sends(view))
    yield from settled(_gets_reports(view), f"_dmarc.{view.bare}")


def _sends(view: View) -> Iterator[Found]:
    records = view.text(view.domain, _spf.VERSION)
    if records and [record.lower().split()[1:] for record in records] != [["-all"]]:
        seen = "the domain takes no mail, but its SPF record lets hosts send: answers and bounces are lost"
        yield Found("W", seen, f'{view.domain} 3600 IN TXT "v=spf1 -all"', reference="RFC 7505 4.2")


def _gets_reports(view: View) -> Iterator[Found]:
    record = discover(view.bare, view).record
    for uri in record.rua if record else ():
        if uri.lower().partition("?")[0].endswith(f"@{view.bare}"):
            seen = f"DMARC reports are sent to {uri}, in a domain that takes no mail"
            yield Found("F", seen, "name an address in another domain in rua", reference="RFC 7505 3")


ROWS = {"mx.exists": exists, "mx.target": target, "mx.null": null}
