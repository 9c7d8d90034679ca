# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records as other tools read them: octoDNS (YAML) and dnscontrol (JavaScript). Private, pure.

Both manage whole zones by nature. What is written here is a part of a zone, to be laid beside the rest: in octoDNS as
one source of two, in dnscontrol as an extension of a domain declared elsewhere.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from ansible_collections.postmaster.mail.plugins.module_utils._dns import is_under
from ansible_collections.postmaster.mail.plugins.module_utils._record import Record, absolute

_DIGITS = re.compile(r"([0-9]+)")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')


class FormatError(ValueError):
    """A record cannot be written in a format; the message names it."""


def by_zone(records: Iterable[Record], zones: Iterable[str]) -> dict[str, list[Record]]:
    """The records of each zone, by the closest zone above each; those outside of all zones are under ``""``."""
    names = sorted({absolute(zone) for zone in zones}, key=len, reverse=True)
    found: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        found[next((name for name in names if is_under(record.name, name)), "")].append(record)
    return dict(found)


def files(records: Iterable[Record], zones: Iterable[str]) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Each zone's files by their format, and a sentence for each record that lies in none of the zones."""
    found = by_zone(records, zones)
    outside = [
        f"{record.name} {record.type} lies in none of the zones and is in no file for octoDNS or dnscontrol"
        for record in found.pop("", [])
    ]
    return {
        zone.rstrip("."): {"octodns": octodns(members, zone), "dnscontrol": dnscontrol(members, zone)}
        for zone, members in found.items()
    }, outside


def relative(name: str, zone: str) -> str:
    """``name`` without its zone; empty for the zone itself."""
    return name[: -len(zone)].rstrip(".")


# --- octoDNS ---------------------------------------------------------------------------------


def octodns(records: Sequence[Record], zone: str) -> str:
    """The YAML file of a zone, names in the order that octoDNS asks for. Raises :class:`FormatError`.

    Semicolons stand as they are: the provider that reads it needs ``escaped_semicolons: false``.
    """
    zone = absolute(zone)
    sets: dict[str, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        sets[relative(record.name, zone)][record.type].append(record)
    lines = ["---"]
    for name in sorted(sets, key=_natural):
        lines.append(f"{json.dumps(name)}:")
        for rdtype, members in sorted(sets[name].items()):
            lines += _octodns_set(rdtype, members)
    return "\n".join(lines) + "\n"


def _natural(name: str) -> list[tuple[int, str]]:
    """octoDNS sorts names with their numbers as numbers."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in _DIGITS.split(name) if part]


def _octodns_set(rdtype: str, members: Sequence[Record]) -> list[str]:
    write = _OCTODNS.get(rdtype)
    if write is None:
        raise FormatError(f"octoDNS: {members[0].name} {rdtype} is of a type that is not written: add it by hand")
    values = [json.dumps(write(record), sort_keys=True) for record in sorted(members)]
    lines = [f"  - ttl: {min(record.ttl for record in members)}", f"    type: {rdtype}"]
    if rdtype == "CNAME":
        return [*lines, f"    value: {values[0]}"]
    return [*lines, "    values:", *(f"      - {value}" for value in values)]


def _words(record: Record, count: int) -> list[str]:
    words = record.rdata.split(None, count - 1)
    if len(words) != count:
        raise FormatError(f"{record.name} {record.type} has no {count} fields: {record.rdata!r}")
    return words


def _mx(record: Record) -> object:
    preference, exchange = _words(record, 2)
    return {"preference": int(preference), "exchange": exchange}


def _srv(record: Record) -> object:
    priority, weight, port, target = _words(record, 4)
    return {"priority": int(priority), "weight": int(weight), "port": int(port), "target": target}


def _tlsa(record: Record) -> object:
    usage, selector, matching, data = _words(record, 4)
    return {
        "certificate_usage": int(usage),
        "selector": int(selector),
        "matching_type": int(matching),
        "certificate_association_data": "".join(data.split()).lower(),
    }


def _caa(record: Record) -> object:
    flags, tag, value = _words(record, 3)
    return {"flags": int(flags), "tag": tag, "value": _unquoted(value)}


def _unquoted(value: str) -> str:
    match = _QUOTED.fullmatch(value)
    return match[1].replace('\\"', '"').replace("\\\\", "\\") if match else value


def _text(record: Record) -> str:
    return "".join(record.strings)


_OCTODNS: Mapping[str, Callable[[Record], object]] = {
    "A": lambda record: record.rdata,
    "AAAA": lambda record: record.rdata,
    "CAA": _caa,
    "CNAME": lambda record: record.rdata,
    "MX": _mx,
    "PTR": lambda record: record.rdata,
    "SRV": _srv,
    "TLSA": _tlsa,
    "TXT": _text,
}


# --- dnscontrol ------------------------------------------------------------------------------


def dnscontrol(records: Sequence[Record], zone: str) -> str:
    """JavaScript that adds the records to a domain declared with D(). Raises :class:`FormatError`."""
    zone = absolute(zone)
    lines = [f"D_EXTEND({json.dumps(zone.rstrip('.'))},"]
    for record in sorted(records, key=lambda one: (_natural(relative(one.name, zone)), one.type, one.rdata)):
        write = _DNSCONTROL.get(record.type)
        if write is None:
            raise FormatError(
                f"dnscontrol: {record.name} {record.type} is of a type that is not written: add it by hand"
            )
        values = [relative(record.name, zone) or "@", *write(record)]
        arguments = ", ".join(value if isinstance(value, _Raw) else json.dumps(value) for value in values)
        lines.append(f"  {record.type}({arguments}, TTL({record.ttl})),")
    # No comma after the last: an old JavaScript would see one more, undefined.
    lines[-1] = lines[-1].removesuffix(",")
    return "\n".join([*lines, ");"]) + "\n"


def _numbers(record: Record, count: int) -> list[object]:
    """Fields of which all but the last are numbers."""
    *numbers, last = _words(record, count)
    return [*(int(number) for number in numbers), last]


def _dnscontrol_tlsa(record: Record) -> list[object]:
    *numbers, data = _numbers(record, 4)
    return [*numbers, "".join(str(data).split()).lower()]


def _dnscontrol_caa(record: Record) -> list[object]:
    flags, tag, value = _words(record, 3)
    if int(flags) not in (0, 128):
        raise FormatError(f"dnscontrol: {record.name} CAA has the flags {flags}, of which it knows 0 and 128 alone")
    return [tag, _unquoted(value), *([_Raw("CAA_CRITICAL")] if int(flags) else [])]


class _Raw(str):
    """A word of JavaScript."""


_DNSCONTROL: Mapping[str, Callable[[Record], list[object]]] = {
    "A": lambda record: [record.rdata],
    "AAAA": lambda record: [record.rdata],
    "CAA": _dnscontrol_caa,
    "CNAME": lambda record: [record.rdata],
    "MX": lambda record: _numbers(record, 2),
    "PTR": lambda record: [record.rdata],
    "SRV": lambda record: _numbers(record, 4),
    "TLSA": _dnscontrol_tlsa,
    "TXT": lambda record: [_text(record)],
}
