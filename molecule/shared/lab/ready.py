# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks daemons from the controller whether they serve yet."""

from __future__ import annotations

import secrets
import smtplib
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

from .engine import LabError

TYPES = {"A": 1, "SOA": 6, "TXT": 16, "DNSKEY": 48}
RD, AD, DO = 0x0100, 0x0020, 0x8000


@dataclass(frozen=True)
class Answer:
    """Of a DNS response: code (RFC 1035, 4.1.1), the authenticated-data bit, number of answers."""

    rcode: int
    authenticated: bool
    count: int


def ask(server: str, name: str, rdtype: str, *, timeout: float = 1.0) -> Answer:
    """Send one UDP question with DO and AD set; raises ``OSError`` when no answer comes."""
    number = secrets.randbelow(0x10000)
    labels = [label.encode("ascii") for label in name.split(".") if label]
    wire = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    opt = b"\0" + struct.pack("!HHIH", 41, 1232, DO, 0)
    question = struct.pack("!6H", number, RD | AD, 1, 0, 0, 1) + wire + struct.pack("!2H", TYPES[rdtype], 1) + opt
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(timeout)
        sock.connect((server, 53))
        sock.send(question)
        data = sock.recv(4096)
    returned, flags, dummy, count = struct.unpack("!4H", data[:8])
    if returned != number:
        raise OSError("the answer belongs to another question")
    return Answer(flags & 15, bool(flags & AD), count)


def banner(server: str, port: int, expected: bytes, *, timeout: float = 1.0) -> bool:
    """Whether a TCP server greets with ``expected``; an empty one asks for the connection only."""
    try:
        with socket.create_connection((server, port), timeout) as sock:
            sock.settimeout(timeout)
            return not expected or sock.recv(256).startswith(expected)
    except OSError:
        return False


def takes_mail(server: str, *, timeout: float = 1.0) -> bool:
    """Whether an SMTP server gets as far as a sender, that is: its filters answer too."""
    try:
        with smtplib.SMTP(server, timeout=timeout, local_hostname="controller.test") as client:
            client.ehlo()
            return client.mail("someone@stranger.test")[0] == 250
    except (OSError, smtplib.SMTPException):
        return False


def serves(server: str, zone: str) -> bool:
    """Whether a name server answers for a zone with signatures (SOA and its RRSIG)."""
    try:
        answer = ask(server, zone, "SOA")
    except OSError:
        return False
    return answer.rcode == 0 and answer.count >= 2


def validates(server: str, name: str) -> bool:
    """Whether a resolver answers for a name and vouches for it."""
    try:
        answer = ask(server, name, "SOA")
    except OSError:
        return False
    return answer.rcode == 0 and answer.authenticated


def wait(what: str, test: Callable[[], bool], *, timeout: float = 180) -> None:
    """Repeat ``test`` until it holds; :class:`LabError` naming ``what`` after ``timeout`` seconds."""
    end = time.monotonic() + timeout
    while not test():
        if time.monotonic() > end:
            raise LabError(f"{what} did not come within {timeout:g} seconds")
        time.sleep(0.1)
