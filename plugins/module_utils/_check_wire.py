# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""DNS messages of the mail check: questions as octets, and answers read as far as a check needs them. Private.

A check of a hundred domains reads thousands of answers. This reads the header, the names and the types that nearly
all of them hold; dnspython 2.3 or newer reads the data of the other types, and writes the names that need escapes.
Sources: RFC 1035 sections 3.3 and 4.1, RFC 3596 (AAAA), RFC 6891 (EDNS).
"""

from __future__ import annotations

import re
import socket
import struct
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from ansible_collections.postmaster.mail.plugins.module_utils._check_view import (
    ALIAS_LIMIT,
    FAILED,
    NOERROR,
    NXDOMAIN,
    Dns,
    DnsAnswer,
)

DNSPYTHON_IMPORT_ERROR: str | None = None
try:
    import dns.exception
    import dns.name
    import dns.rdata
    import dns.rdataclass
    import dns.rdatatype
except ImportError:
    DNSPYTHON_IMPORT_ERROR = traceback.format_exc()

PAYLOAD = 1232  # octets of an answer over UDP that no network fragments, DNS flag day 2020
CHECKING_DISABLED, AUTHENTIC, RECURSION, TRUNCATED, AUTHORITATIVE, RESPONSE = 0x10, 0x20, 0x100, 0x200, 0x400, 0x8000
A, NS, CNAME, SOA, PTR, MX, TXT, AAAA, OPT = 1, 2, 5, 6, 12, 15, 16, 28, 41
INTERNET = 1
NAME_LIMIT = 255  # octets of a name, RFC 1035 section 2.3.4
RECORD_LIMIT = 2000  # records of one message that are looked at
RCODES = {1: "FORMERR", 2: "SERVFAIL", 4: "NOTIMP", 5: "REFUSED", 9: "NOTAUTH"}

_PLAIN = re.compile(r"(?:[a-zA-Z0-9_*-]{1,63}\.)+")
_PLAIN_LABEL = re.compile(rb"[a-zA-Z0-9_-]+")
_SPECIAL = b'"().;\\@$'  # escaped in a name, RFC 1035 section 5.1 and what dnspython adds


class WireError(ValueError):
    """The octets are no DNS message."""


# -- questions ------------------------------------------------------------------------------------------


def question_wire(question: Dns, ident: int) -> bytes:
    """The message that asks; raises ValueError where no such name can exist."""
    flags = AUTHENTIC if question.server else RECURSION | AUTHENTIC
    if question.unchecked:
        flags |= CHECKING_DISABLED
    head = struct.pack("!6H", ident, flags, 1, 0, 0, 1)
    edns = b"\0" + struct.pack("!HHIH", OPT, PAYLOAD, 0, 0)
    return head + name_wire(question.name) + struct.pack("!2H", type_number(question.type), INTERNET) + edns


@lru_cache(maxsize=64)
def type_number(text: str) -> int:
    """The number of a record type."""
    return int(dns.rdatatype.from_text(text))


@lru_cache(maxsize=4096)
def name_wire(text: str) -> bytes:
    """An absolute name as octets; raises ValueError where it is too long or malformed."""
    if text == ".":
        return b"\0"
    if _PLAIN.fullmatch(text) and len(text) < NAME_LIMIT:
        return b"".join(bytes((len(label),)) + label.encode("ascii") for label in text.split(".")[:-1]) + b"\0"
    try:
        return bytes(dns.name.from_text(text).to_wire() or b"")
    except dns.exception.DNSException as err:
        raise WireError(str(err) or type(err).__name__) from err


# -- answers --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Record:
    """One record; its data lie at ``start`` to ``end`` in the message."""

    owner: str
    type: int
    ttl: int
    start: int
    end: int


def read_answer(wire: bytes, question: Dns) -> DnsAnswer:
    """What a message says. Whatever is wrong with it makes an answer that failed."""
    try:
        return _read(wire, question)
    except (WireError, struct.error, IndexError) as err:
        return DnsAnswer(FAILED, text=f"an answer that is not understood ({err or 'it is cut off'})")
    except dns.exception.DNSException as err:
        return DnsAnswer(FAILED, text=f"an answer that is not understood ({err or type(err).__name__})")


def _read(wire: bytes, question: Dns) -> DnsAnswer:
    dummy, flags, questions, answers, authorities, dummy = struct.unpack_from("!6H", wire)
    rcode, size, rdtype = flags & 15, len(wire), type_number(question.type)
    bits = (bool(flags & AUTHENTIC), bool(flags & AUTHORITATIVE))
    if rcode not in (0, 3):
        text = RCODES.get(rcode, f"RCODE {rcode}")
        return DnsAnswer(FAILED, (), (), 0, "", *bits, False, size, bool(flags & TRUNCATED), text)
    asked = name_wire(question.name)
    offset = 12 + len(asked)
    if questions != 1 or wire[12:offset].lower() != asked.lower():
        raise WireError("it is about another name")
    offset += 4
    records = _records(wire, offset, min(answers + authorities, RECORD_LIMIT))
    found = [next(records) for dummy in range(min(answers, RECORD_LIMIT))]
    chain, end = _chain(wire, question.name.lower(), found, rdtype)
    if len(chain) > ALIAS_LIMIT:
        return DnsAnswer(FAILED, (), chain, 0, "", *bits, False, size, False, "its aliases do not end")
    mine = [record for record in found if record.type == rdtype and record.owner == end]
    values = tuple(dict.fromkeys(_value(wire, record) for record in mine))
    # An answer that is cut is asked for again: what follows in it counts for nothing.
    rest = () if flags & TRUNCATED or values else tuple(records)
    zone = next((record.owner for record in rest if record.type == SOA), "")
    referral = not chain and not zone and any(record.type == NS for record in rest)
    status = NXDOMAIN if rcode == 3 else NOERROR
    ttl = mine[0].ttl if mine else 0
    return DnsAnswer(status, values, chain, ttl, "" if chain else zone, *bits, referral, size, bool(flags & TRUNCATED))


@lru_cache(maxsize=4096)
def _canonical(name: str) -> str:
    """A name as :func:`read_name` writes it, in lower case."""
    return read_name(name_wire(name), 0)[0].lower()


def _records(wire: bytes, offset: int, count: int) -> Iterator[_Record]:
    for dummy in range(count):
        owner, offset = read_name(wire, offset)
        rdtype, dummy, ttl, length = struct.unpack_from("!HHIH", wire, offset)
        offset += 10
        if offset + length > len(wire):
            raise WireError("a record is cut off")
        yield _Record(owner.lower(), rdtype, ttl, offset, offset + length)
        offset += length


def _chain(wire: bytes, owner: str, found: list[_Record], rdtype: int) -> tuple[tuple[str, ...], str]:
    """The aliases from ``owner`` on, and the name at their end."""
    end = _canonical(owner)
    if rdtype == CNAME:
        return (), end
    aliases = {record.owner: record for record in found if record.type == CNAME}
    chain: list[str] = []
    while end in aliases and len(chain) <= ALIAS_LIMIT:
        end = read_name(wire, aliases[end].start)[0].lower()
        chain.append(end)
    return tuple(chain), end


def read_name(wire: bytes, offset: int) -> tuple[str, int]:
    """The name at ``offset`` in presentation form, and the offset behind it (RFC 1035 section 4.1.4).

    A pointer must point backwards from where it stands, which also ends every loop.
    """
    labels: list[str] = []
    after, limit, total = -1, offset, 0
    while True:
        length = wire[offset]
        if length >= 0xC0:
            target = (length & 0x3F) << 8 | wire[offset + 1]
            after = offset + 2 if after < 0 else after
            if target >= limit:
                raise WireError("a compressed name points forwards")
            limit = offset = target
            continue
        offset += 1
        if not length:
            break
        label = wire[offset : offset + length]
        total += length + 1
        if length > 63 or len(label) < length or total >= NAME_LIMIT:
            raise WireError("a name is malformed")
        labels.append(_escaped(label))
        offset += length
    return ".".join(labels) + ".", after if after >= 0 else offset


@lru_cache(maxsize=4096)
def _escaped(label: bytes) -> str:
    if _PLAIN_LABEL.fullmatch(label):
        return label.decode("ascii")
    return "".join(
        f"\\{chr(octet)}" if octet in _SPECIAL else chr(octet) if 0x20 < octet < 0x7F else f"\\{octet:03d}"
        for octet in label
    )


def _value(wire: bytes, record: _Record) -> str:
    """The data in presentation form; TXT as its strings joined, in latin-1."""
    rdtype, start, end = record.type, record.start, record.end
    if rdtype == TXT:
        return _text(wire[start:end])
    if rdtype in (A, AAAA):
        if end - start != (4 if rdtype == A else 16):
            raise WireError("an address has the wrong length")
        return socket.inet_ntop(socket.AF_INET if rdtype == A else socket.AF_INET6, wire[start:end])
    if rdtype in (NS, CNAME, PTR):
        return read_name(wire, start)[0]
    if rdtype == MX:
        return f"{int.from_bytes(wire[start : start + 2], 'big')} {read_name(wire, start + 2)[0]}"
    return str(
        dns.rdata.from_wire(dns.rdataclass.IN, dns.rdatatype.RdataType.make(rdtype), wire, start, end - start).to_text()
    )


def _text(data: bytes) -> str:
    joined, position = b"", 0
    while position < len(data):
        length = data[position]
        part = data[position + 1 : position + 1 + length]
        if len(part) < length:
            raise WireError("a string is cut off")
        joined += part
        position += 1 + length
    return joined.decode("latin-1")
