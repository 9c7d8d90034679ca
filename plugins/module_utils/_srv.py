# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: SRV records, by which mail programs find their servers. Private to this collection.

Sources: RFC 2782 (SRV), RFC 6186 (submission, IMAP and POP3), RFC 8314 section 5.1 (submissions, TLS from the start
preferred), RFC 5804 section 1.8 (sieve).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.postmaster.mail.plugins.module_utils._dns import DomainError, check_name
from ansible_collections.postmaster.mail.plugins.module_utils._record import Record
from ansible_collections.postmaster.mail.plugins.module_utils._term_error import TermError

MAX_NUMBER = 65535  # 16 bits, RFC 2782
# The services of mail programs and their ports; of two for the same use, that with TLS from the start comes first.
SERVICES: Mapping[str, int] = {
    "submissions": 465,
    "submission": 587,
    "imaps": 993,
    "imap": 143,
    "pop3s": 995,
    "pop3": 110,
    "sieve": 4190,
}
# Where one use has two services, a lower priority makes programs prefer TLS from the start (RFC 8314 section 5.1).
PRIORITIES: Mapping[str, int] = {"submission": 10, "imap": 10, "pop3": 10}

_NUMBER = re.compile(r"[0-9]{1,5}", re.ASCII)


class SrvError(TermError):
    """A text is no SRV record, or a service is none of mail programs."""

    what = "the SRV record"


@dataclass(frozen=True, order=True)
class SrvRecord:
    """``target`` is absolute and in lower case; ``.`` says that the service is not offered (RFC 2782)."""

    priority: int
    weight: int
    port: int
    target: str

    def __post_init__(self) -> None:
        for name in ("priority", "weight", "port"):
            if not 0 <= getattr(self, name) <= MAX_NUMBER:
                raise SrvError(str(getattr(self, name)), 0, f"the {name} is a number from 0 to {MAX_NUMBER} (RFC 2782)")
        object.__setattr__(self, "target", _target(self.target, 0))

    def __str__(self) -> str:
        return f"{self.priority} {self.weight} {self.port} {self.target}"

    @property
    def offered(self) -> bool:
        """Whether there is such a service at all."""
        return self.target != "."

    @classmethod
    def parse(cls, text: str) -> SrvRecord:
        """The record that ``text``, such as ``0 1 993 imap.example.org.``, is. Raises :class:`SrvError`."""
        fields = text.split(" ")
        if len(fields) != 4:
            raise SrvError(text[:80], 0, "it is a priority, a weight, a port and a host (RFC 2782)")
        position, numbers = 0, []
        for name, field in zip(("priority", "weight", "port"), fields, strict=False):
            if not _NUMBER.fullmatch(field) or int(field) > MAX_NUMBER:
                rule = f"the {name} is a number from 0 to {MAX_NUMBER} (RFC 2782)"
                raise SrvError(field[:80], position, rule)
            numbers.append(int(field))
            position += len(field) + 1
        priority, weight, port = numbers
        return cls(priority, weight, port, _target(fields[3], position))


def _target(text: str, position: int) -> str:
    if text == ".":
        return text
    try:
        name = check_name(text, what="the host")
    except DomainError as err:
        raise SrvError(text[:80], position, str(err)) from err
    if name.startswith("*"):
        raise SrvError(text[:80], position, "the host is a name of its own, not a wildcard (RFC 2782)")
    return name


NOT_OFFERED = SrvRecord(0, 0, 0, ".")


def autoconfig(domain: str, services: Mapping[str, str], ttl: int = 3600) -> list[Record]:
    """The records by which mail programs find the servers of ``domain`` (RFC 6186 section 3).

    ``services`` maps each service to its host, ``host:port`` where the port is another than usual, and
    ``.`` where it is not offered (section 3.4). Raises :class:`SrvError`.
    """
    records = []
    for service, where in services.items():
        if service not in SERVICES:
            raise SrvError(service, 0, f"there is no such service; known are {', '.join(SERVICES)} (RFC 6186)")
        host, _colon, port = where.partition(":")
        if host == ".":
            record = NOT_OFFERED
        else:
            text = f"{PRIORITIES.get(service, 0)} 1 {port or SERVICES[service]} {host}"
            record = SrvRecord.parse(text)
        records.append(Record(f"_{service}._tcp.{domain.rstrip('.').lower()}.", "SRV", ttl, str(record)))
    return records
