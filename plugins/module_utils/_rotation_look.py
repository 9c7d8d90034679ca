# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: what every authoritative server says of the names of DKIM keys, as the rotation's plan takes it. Private.

Sources: RFC 2308 section 5 (how long negative answers are kept), RFC 7766 (TCP).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from ansible_collections.postmaster.mail.plugins.module_utils._dns import DnsError, TextError, txt_value
from ansible_collections.postmaster.mail.plugins.module_utils._dns_client import Answer, DnsNoRoute
from ansible_collections.postmaster.mail.plugins.module_utils._dns_plan import Key
from ansible_collections.postmaster.mail.plugins.module_utils._dns_watch import WORKERS, Directory, NameServer
from ansible_collections.postmaster.mail.plugins.module_utils._rotation import Sight


def look(directory: Directory, names: Iterable[str]) -> dict[str, list[Sight]]:
    """What each server of each name says; a zone whose servers are not known has one sight with the problem."""
    try:
        listed = directory.of(names)
        work: dict[int, tuple[NameServer, set[Key]]] = {}
        for name, servers in listed.items():
            for found in servers if isinstance(servers, list) else ():
                keys = work.setdefault(id(found.server), (found, set()))[1]
                # Asking for the CNAME as well tells how long an alias may be kept.
                keys.update({(name, "TXT"), (name, "CNAME"), (found.zone, "SOA")})
        with ThreadPoolExecutor(max_workers=min(max(len(work), 1), WORKERS)) as pool:
            told = dict(zip(work, pool.map(_ask, work.values()), strict=True))
    finally:
        directory.close()
    return {
        name: [Sight(name, problem=str(servers))]
        if isinstance(servers, DnsError)
        else _reached([(found, *_sight(found, name, told[id(found.server)])) for found in servers])
        for name, servers in listed.items()
    }


def _ask(asked: tuple[NameServer, set[Key]]) -> Mapping[Key, Answer | DnsError]:
    found, keys = asked
    try:
        return found.server.answers(sorted(keys))
    except DnsError as err:
        return dict.fromkeys(keys, err)


def _sight(found: NameServer, name: str, told: Mapping[Key, Answer | DnsError]) -> tuple[Sight, bool]:
    """What a server says of a name, and whether this machine has no way to the server at all."""
    label, answers = found.server.label, []
    for key in ((name, "TXT"), (name, "CNAME"), (found.zone, "SOA")):
        answer = told[key]
        if isinstance(answer, DnsError):
            return Sight(label, problem=str(answer)), isinstance(answer, DnsNoRoute)
        answers.append(answer.rrset)
    text, alias, soa = answers
    negative = min(soa.ttl, int(soa.values[0].split()[-1])) if soa is not None else 0
    if alias is not None:
        return Sight(label, alias=alias.values[0], ttl=alias.ttl, negative=negative), False
    if text is None:
        return Sight(label, ttl=negative, negative=negative), False
    try:
        texts = tuple(txt_value(value).decode("latin-1") for value in text.values)
    except TextError as err:
        return Sight(label, problem=f"{label} answers for {name} with what is no text: {err}"), False
    return Sight(label, texts, ttl=text.ttl, negative=negative), False


def _reached(sights: Sequence[tuple[NameServer, Sight, bool]]) -> list[Sight]:
    """Without the addresses that this machine has no way to, where another of the same server did answer."""
    heard = {found.host for found, sight, dummy in sights if not sight.problem}
    return [sight for found, sight, no_route in sights if not (no_route and found.host in heard)]
