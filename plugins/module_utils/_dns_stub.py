# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A DNS stub resolver of the standard library alone, for hosts that have nothing else. Private.

It asks the name servers of /etc/resolv.conf and nobody else, so that a line in /etc/hosts does not
hide what the rest of the world sees. It knows A, AAAA and PTR, and follows nothing by itself: the
recursive resolver puts alias and target into one answer.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
import time
from collections.abc import Sequence

TYPES = {"A": 1, "PTR": 12, "MX": 15, "AAAA": 28}
PORT = 53
NAME_LIMIT = 255  # RFC 1035 section 2.3.4, octets on the wire
LABEL_LIMIT = 63
NOERROR, NXDOMAIN = 0, 3
RCODES = {1: "FORMERR", 2: "SERVFAIL", 4: "NOTIMP", 5: "REFUSED"}


class StubError(Exception):
    """No usable answer: nobody answered in time, or the answer was a refusal or broken."""


def parse_resolv_conf(text: str) -> list[str]:
    """The name servers of a resolv.conf in their order; none listed means the one on this host."""
    servers = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            servers.append(words[1])
    return servers or ["127.0.0.1"]


def encode_name(name: str) -> bytes:
    """``name`` in wire form. Raises :class:`StubError` where a label or the name is too long."""
    wire = b""
    for label in name.rstrip(".").split("."):
        try:
            raw = label.encode("ascii")
        except UnicodeEncodeError as err:
            raise StubError(f"{name!r} is not a DNS name in ASCII form") from err
        if not 0 < len(raw) <= LABEL_LIMIT:
            raise StubError(f"{name!r} is not a DNS name: a label has {len(raw)} octets, 1 to 63 are allowed")
        wire += bytes([len(raw)]) + raw
    if len(wire) + 1 > NAME_LIMIT:
        raise StubError(f"{name!r} is not a DNS name: it is longer than {NAME_LIMIT} octets")
    return wire + b"\0"


def decode_name(message: bytes, offset: int) -> tuple[str, int]:
    """The name at ``offset`` and the offset behind it (RFC 1035 section 4.1.4).

    A pointer must point backwards from where it stands, which also ends every loop.
    """
    labels: list[str] = []
    end = -1
    limit = offset
    while True:
        length = message[offset]
        if length & 0xC0 == 0xC0:
            target = struct.unpack_from("!H", message, offset)[0] & 0x3FFF
            end = offset + 2 if end < 0 else end
            if target >= limit:
                raise StubError("a compressed name points forwards")
            limit = offset = target
            continue
        if length & 0xC0:
            raise StubError("a name holds a label of unknown kind")
        offset += 1
        if length == 0:
            break
        label = message[offset : offset + length]
        if len(label) < length:
            raise StubError("a name is cut off")
        labels.append(label.decode("latin-1"))
        offset += length
    return ".".join(labels) + ".", end if end >= 0 else offset


def build_query(name: str, rdtype: str, ident: int) -> bytes:
    """One question with recursion desired."""
    header = struct.pack("!HHHHHH", ident, 0x0100, 1, 0, 0, 0)
    return header + encode_name(name) + struct.pack("!HH", TYPES[rdtype], 1)


def is_truncated(message: bytes) -> bool:
    """Whether the TC bit asks to repeat the question over TCP."""
    return len(message) > 3 and bool(message[2] & 0x02)


def parse_answer(message: bytes, rdtype: str, ident: int) -> list[str]:
    """Presentation texts of the records of ``rdtype``; empty for NODATA and NXDOMAIN."""
    try:
        return _parse_answer(message, rdtype, ident)
    except (IndexError, struct.error) as err:
        raise StubError("the answer is cut off") from err


def _parse_answer(message: bytes, rdtype: str, ident: int) -> list[str]:
    answer_id, flags, questions, answers = struct.unpack_from("!HHHH", message)
    if answer_id != ident or not flags & 0x8000:
        raise StubError("the answer is not to our question")
    rcode = flags & 0x000F
    if rcode == NXDOMAIN:
        return []
    if rcode != NOERROR:
        raise StubError(f"the name server says {RCODES.get(rcode, f'RCODE {rcode}')}")
    offset = 12
    for _question in range(questions):
        offset = decode_name(message, offset)[1] + 4
    found = []
    for _answer in range(answers):
        offset = decode_name(message, offset)[1]
        kind, rdclass, _ttl, length = struct.unpack_from("!HHIH", message, offset)
        offset += 10
        if kind == TYPES[rdtype] and rdclass == 1:
            found.append(_rdata(message, offset, length, rdtype))
        offset += length
    return found


def _rdata(message: bytes, offset: int, length: int, rdtype: str) -> str:
    if rdtype == "PTR":
        return decode_name(message, offset)[0]
    if rdtype == "MX":
        if length < 3:
            raise StubError("an MX record is too short")
        return f"{int.from_bytes(message[offset : offset + 2], 'big')} {decode_name(message, offset + 2)[0]}"
    raw = message[offset : offset + length]
    if len(raw) != (4 if rdtype == "A" else 16):
        raise StubError("an address record has the wrong length")
    return str(ipaddress.ip_address(raw))


class StubResolver:
    """Asks the given servers in turn, twice, within ``timeout`` seconds for each try."""

    def __init__(self, servers: Sequence[str], *, timeout: float = 2.0, tries: int = 2, port: int = PORT) -> None:
        self.servers = list(servers)
        self.timeout = timeout
        self.tries = tries
        self.port = port

    @classmethod
    def of_host(cls, path: str = "/etc/resolv.conf") -> StubResolver:
        """A resolver with the name servers of this host."""
        try:
            with open(path, encoding="utf-8", errors="replace") as handle:
                return cls(parse_resolv_conf(handle.read()))
        except OSError:
            return cls(parse_resolv_conf(""))

    def query(self, name: str, rdtype: str) -> list[str]:
        """Texts of the records found. Raises :class:`StubError` if no server gives an answer."""
        reason = "there is no name server"
        for server in self.servers * self.tries:
            ident = int.from_bytes(os.urandom(2), "big")
            question = build_query(name, rdtype, ident)
            try:
                answer = self._udp(server, question)
                if is_truncated(answer):
                    answer = self._tcp(server, question)
                return parse_answer(answer, rdtype, ident)
            except TimeoutError:
                reason = f"{server} does not answer"
            except OSError as err:
                reason = f"{server}: {err.strerror or err}"
            except StubError as err:
                reason = f"{server}: {err}"
        raise StubError(reason)

    def _socket(self, server: str, kind: socket.SocketKind) -> socket.socket:
        info = socket.getaddrinfo(server, self.port, type=kind, flags=socket.AI_NUMERICHOST)[0]
        sock = socket.socket(info[0], kind)
        sock.settimeout(self.timeout)
        try:
            sock.connect(info[4])  # only datagrams of this server are delivered to a connected socket
        except OSError:
            sock.close()
            raise
        return sock

    def _udp(self, server: str, question: bytes) -> bytes:
        deadline = time.monotonic() + self.timeout
        with self._socket(server, socket.SOCK_DGRAM) as sock:
            sock.send(question)
            while True:
                answer = sock.recv(4096)
                # A late answer to an earlier try, or a forged one, is passed over.
                if answer[:2] == question[:2]:
                    return answer
                if time.monotonic() > deadline:
                    raise TimeoutError

    def _tcp(self, server: str, question: bytes) -> bytes:
        with self._socket(server, socket.SOCK_STREAM) as sock, sock.makefile("rb") as stream:
            sock.sendall(struct.pack("!H", len(question)) + question)
            head = stream.read(2)
            if len(head) < 2:
                raise StubError("the answer is cut off")
            return stream.read(struct.unpack("!H", head)[0])
