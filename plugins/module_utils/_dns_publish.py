# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring records to a DNS server or into a zone-file fragment: read, plan, apply, verify, wait. Private."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _files
from ansible_collections.postmaster.mail.plugins.module_utils._dns import (
    DnsError,
    check_name,
    is_under,
    txt_value,
)
from ansible_collections.postmaster.mail.plugins.module_utils._dns_client import (
    Answer,
    DnsServer,
    normalise,
    parse_zone_text,
)
from ansible_collections.postmaster.mail.plugins.module_utils._dns_loss import Replacement, replacements
from ansible_collections.postmaster.mail.plugins.module_utils._dns_plan import (
    Action,
    Key,
    Plan,
    RRset,
    Wanted,
    by_zone,
    group,
    plan,
)
from ansible_collections.postmaster.mail.plugins.module_utils._dns_verdict import OK
from ansible_collections.postmaster.mail.plugins.module_utils._dns_watch import Directory, Watch, resolver_at
from ansible_collections.postmaster.mail.plugins.module_utils._record import Record

MAX_TTL = 2**31 - 1  # RFC 2181 section 8
TARGETED = ("CNAME", "DNAME", "MX", "NS", "PTR", "SRV")  # the last field of their data is a name
BESIDE_CNAME = ("A", "AAAA", "MX", "TXT")  # what most often stands where a CNAME shall go
FRAGMENT_HEADER = "; Written by Ansible (postmaster.mail.dns_records). Include it from the zone.\n"


@dataclass(frozen=True)
class Publication:
    """What was done, or in check mode would be: the plan, where, and what came of waiting."""

    plan: Plan
    place: str
    updates: int = 0
    zones: list[str] = field(default_factory=list)
    replaced: list[Replacement] = field(default_factory=list)
    waited: dict[str, Any] = field(default_factory=dict)


class NotVisible(DnsError):
    """The records are published, but not every server answered with them in time."""

    def __init__(self, message: str, done: Publication) -> None:
        super().__init__(message)
        self.done = done


def wanted(items: Sequence[Mapping[str, Any]], *, state: str = "present") -> list[Wanted]:
    """Record dicts (name, type, ttl, rdata or value, state) as canonical records; each fault names its record."""
    return [_one_wanted(index, item, state) for index, item in enumerate(items)]


def _one_wanted(index: int, item: Mapping[str, Any], state: str) -> Wanted:
    where = f"records[{index}]"
    name = check_name(str(item["name"]), what=f"{where}.name")
    rdtype = str(item["type"]).strip().upper()
    ttl, rdata, value = item.get("ttl"), item.get("rdata"), item.get("value")
    ttl = 3600 if ttl is None else int(ttl)
    present = (item.get("state") or state) == "present"
    if not 0 <= ttl <= MAX_TTL:
        raise DnsError(f"{where} ({name}): the ttl {ttl} is not between 0 and {MAX_TTL} seconds (RFC 2181 section 8)")
    if value is not None and rdtype != "TXT":
        raise DnsError(f"{where} ({name}): value is for TXT records only; give rdata for {rdtype}")
    if not f"{rdata or ''}{value or ''}".isascii():
        raise DnsError(f"{where} ({name} {rdtype}) is not ASCII; write the other octets as \\DDD in rdata")
    if present and not (rdata or value is not None):
        raise DnsError(f"{where} ({name} {rdtype}) has no data; give rdata, or value for TXT")
    if rdata:
        record = Record(name, rdtype, ttl, str(rdata))
    elif value is not None:
        record = Record.txt(name, str(value), ttl)
    else:
        record = Record(name, rdtype, ttl, "")
    try:
        found = Wanted(normalise(record), present)
        _check_meant(found, value)
    except DnsError as err:
        raise DnsError(f"{where}: {err}") from err
    return found


def _check_meant(wanted: Wanted, value: object) -> None:
    """Refuse what can be read and is not meant: a name that is cut short, a ``value`` that the data do not say."""
    record = wanted.record
    target = record.rdata.rpartition(" ")[2]
    if wanted.present and record.type in TARGETED and target != "." and "." not in target[:-1]:
        raise DnsError(
            f"{record.name} {record.type} {record.rdata!r} names a top-level domain; write names in full, such as "
            f"{target}example.org."
        )
    if value is not None and record.rdata and txt_value(record.rdata) != str(value).encode("ascii"):
        raise DnsError(f"{record.name} {record.type} has a value that is not what its rdata says; give one of them")


def publish(
    server: DnsServer,
    records: Sequence[Wanted],
    *,
    zone: str | None = None,
    exclusive: bool = True,
    losses: bool = True,
    wait: Mapping[str, Any] | None = None,
    check: bool = False,
) -> Publication:
    """Make ``server`` hold ``records``; with ``check`` only say what would change.

    Without ``losses`` nothing is changed where :func:`replacements` finds some. ``wait`` has servers, port,
    resolver and timeout as the module documents them. Raises :class:`DnsError`, of which
    :class:`NotVisible` tells what was published all the same.
    """
    zone = _checked_zone(zone, records)
    try:
        answers = _read(server, records)
        current = {key: answer.rrset for key, answer in answers.items()}
        changes = plan(current, records, exclusive=exclusive)
        _check_aliases(server, answers, changes)
        replaced = replacements(changes, records)
        if not losses and not check:
            _refuse_losses(replaced)
        zones = by_zone(changes.actions, _zones(server, {a.record.name for a in changes.actions}, answers, zone))
        sent = 0
        if check:
            for name in zones:
                server.check_key(name)
        else:
            sent = _apply(server, records, changes, zones, exclusive)
        done = Publication(changes, server.label, sent, sorted(zones), replaced)
        if wait and not check:
            _wait(server, records, zone, exclusive, wait, done)
    finally:
        server.close()
    return done


def _refuse_losses(replaced: Iterable[Replacement]) -> None:
    lost = [str(one) for one in replaced if one.lost]
    if lost:
        raise DnsError(f"{'; '.join(lost)}: put what shall stay into the records, or allow losses; nothing was changed")


def _checked_zone(zone: str | None, records: Iterable[Wanted]) -> str | None:
    if zone is None:
        return None
    zone = check_name(zone, what="zone")
    for item in records:
        if not is_under(item.record.name, zone):
            raise DnsError(f"{item.record.name} {item.record.type} does not lie in the zone {zone}; names are absolute")
    return zone


def _read(server: DnsServer, records: Iterable[Wanted]) -> dict[Key, Answer]:
    return server.lookup_many(group(records))


def _check_aliases(server: DnsServer, answers: Mapping[Key, Answer], changes: Plan) -> None:
    """Nothing stands beside a CNAME (RFC 1034 section 3.6.2); a server would ignore such a record silently."""
    removed = {(a.record.name, a.record.type) for a in changes.actions if a.kind == "delete"}
    for rrset in changes.after:
        alias = answers[(rrset.name, rrset.type)].alias
        if alias is None or (rrset.name, "CNAME") in removed:
            continue
        if not _from_wildcard(server, rrset.name, alias):
            raise DnsError(
                f"{rrset.name} is a CNAME for {alias} on {server.label}, and no {rrset.type} record can stand beside "
                "it (RFC 1034 section 3.6.2); remove the CNAME first, or in the same call with state absent"
            )
    cnames = [rrset.name for rrset in changes.after if rrset.type == "CNAME"]
    beside = server.lookup_many((name, rdtype) for name in cnames for rdtype in BESIDE_CNAME)
    for key, answer in beside.items():
        if answer.rrset is not None and key not in removed:
            raise DnsError(
                f"{key[0]} has a {key[1]} record on {server.label}, and no CNAME can stand beside it "
                "(RFC 1034 section 3.6.2); remove it first, or in the same call with state absent"
            )


def _from_wildcard(server: DnsServer, name: str, alias: str) -> bool:
    """Whether ``name`` is an alias only by a wildcard above it, which a record of its own overrides (RFC 4592)."""
    labels = name.split(".")
    wildcards = [(".".join(["*", *labels[start:]]), "CNAME") for start in range(1, len(labels) - 1)]
    with contextlib.suppress(DnsError):  # above the zone the server has nothing to say
        for key in wildcards:
            rrset = server.lookup(*key).rrset
            if rrset is not None:
                return alias in rrset.values
    return False


def _zones(server: DnsServer, names: Iterable[str], answers: Mapping[Key, Answer], zone: str | None) -> dict[str, str]:
    """The zone of each name: given, told by a negative answer, or asked for."""
    told = {key[0]: answer.zone for key, answer in answers.items() if answer.zone}
    return {name: zone or told.get(name) or server.zone_of(name) for name in sorted(names)}


def _apply(
    server: DnsServer, records: Iterable[Wanted], changes: Plan, zones: Mapping[str, list[Action]], exclusive: bool
) -> int:
    """Update, then read back until the server holds what is wanted; the number of messages sent.

    BIND answers with an update of an inline-signed zone only after it has signed it. Knot DNS confirms,
    but leaves out, a CNAME in the message in which the records go whose place it takes: it is sent again.
    """
    zone_of = {action.record.name: zone for zone, actions in zones.items() for action in actions}
    keys = set(changes.keys)
    ours = [item for item in records if (item.record.name, item.record.type) in keys]
    sent = sum(server.update(zone, actions) for zone, actions in zones.items())
    deadline, pause, left, repeated = time.monotonic() + server.timeout, 0.05, len(changes.keys) + 1, False
    while True:
        held = {key: answer.rrset for key, answer in server.lookup_many(changes.keys).items()}
        rest = plan(held, ours, exclusive=exclusive)
        if not rest.changed:
            return sent
        aliases = [action for action in rest.actions if action.kind == "add" and action.record.type == "CNAME"]
        if aliases and not repeated:
            repeated = True
            sent += sum(server.update(zone, actions) for zone, actions in by_zone(aliases, zone_of).items())
            continue
        if len(rest.keys) < left:  # it is still at work: signing a thousand records takes its time
            left, deadline = len(rest.keys), time.monotonic() + server.timeout
        if time.monotonic() > deadline:
            raise DnsError(_not_held(server, rest))
        time.sleep(pause)
        pause = min(2 * pause, 1)


def _not_held(server: DnsServer, rest: Plan) -> str:
    more = f" and {len(rest.keys) - 1} more" if len(rest.keys) > 1 else ""
    return (
        f"{server.label} confirmed the update but does not answer with it for {' '.join(rest.keys[0])}{more}: another "
        "client may have changed it, a wildcard may cover the name, or the server shows updates only after a reload"
    )


def _wait(
    server: DnsServer,
    records: Sequence[Wanted],
    zone: str | None,
    exclusive: bool,
    options: Mapping[str, Any],
    done: Publication,
) -> None:
    """Wait until all servers answer with ``records``; what came of it goes into ``done.waited``."""
    lines: list[str] = done.waited.setdefault("progress", [])
    resolver = resolver_at(options.get("resolver"), timeout=server.timeout)
    directory = Directory(
        primary=server, resolver=resolver, zone=zone, port=options.get("port", 53), timeout=server.timeout
    )
    watch = Watch(
        directory,
        servers=options.get("servers", ["auto"]),
        resolver=resolver,
        timeout=options["timeout"],
        exact=True,
        exclusive=exclusive,
        progress=lines.append,
    )
    bad = [one.seen for one in watch.see(records) if one.verdict != OK]
    if bad:
        late = "; ".join(watch.late or bad)
        raise NotVisible(f"after {watch.timeout:g} seconds not every server answers as wanted: {late}", done)
    done.waited["visible"] = [{"server": name, "seconds": seconds} for name, seconds in watch.seconds.items()]


# -- zone-file fragments ------------------------------------------------------------------------


def publish_file(
    path: str,
    records: Sequence[Wanted],
    *,
    exclusive: bool = True,
    losses: bool = True,
    mode: int = 0o644,
    check: bool = False,
) -> Publication:
    """Make the fragment at ``path`` hold ``records``; what else is in it stays."""
    state = _files.read(path)
    held = parse_zone_text(state.text, path) if state else []
    sets: dict[Key, RRset] = {}
    for record in held:
        key = (record.name, record.type)
        values = sets[key].values if key in sets else ()
        sets[key] = RRset(*key, record.ttl, (*values, record.rdata))
    changes = plan(sets, records, exclusive=exclusive)
    replaced = replacements(changes, records)
    if not losses and not check:
        _refuse_losses(replaced)
    for key in changes.keys:
        sets.pop(key, None)
    sets |= {(rrset.name, rrset.type): rrset for rrset in changes.after}
    if changes.changed and not check:
        lines = [line for key in sorted(sets) for line in sets[key].lines()]
        _files.write_atomic(
            path, FRAGMENT_HEADER + "".join(line + "\n" for line in lines), mode=None if state else mode
        )
    return Publication(changes, path, replaced=replaced)
