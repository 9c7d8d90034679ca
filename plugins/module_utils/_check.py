# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: the rows of the mail check, what they find, and the report as data, as a table and as an exit code. Private.

A row is one question about a domain's mail. Its id is what people put into their CI, so it never changes its meaning.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._dns import DnsTimeout

SEVERITIES = ("F", "W", "I")  # fail: mail is refused or a policy void; warning; information
OK, PROPAGATING, WRONG, UNKNOWN = "ok", "propagating", "wrong", "unknown"
VERDICTS = (OK, PROPAGATING, WRONG, UNKNOWN)
SEEN_LIMIT = 400  # characters of what a stranger's server said that go into a report


@dataclass(frozen=True)
class Row:
    """``severity`` is the worst that a finding of it can have, ``needs`` the options without which it is unknown."""

    number: int
    id: str
    title: str
    severity: str
    reference: str
    remedy: str
    needs: tuple[str, ...] = ()


def _rows(*rows: tuple[str, str, str, str, str, str]) -> tuple[Row, ...]:
    return tuple(Row(number, *row[:5], tuple(row[5].split())) for number, row in enumerate(rows, 1))


ROWS = _rows(
    ("ptr.exists", "every outbound address has a PTR", "F", "RFC 1912 2.1",
     "have the provider set the reverse name", "outbound"),
    ("ptr.fcrdns", "the PTR's name leads back to the address", "F", "RFC 8601 2.7.3",
     "correct the A or AAAA record, or the PTR", "outbound"),
    ("helo.name", "HELO is a full name that resolves and equals the PTR, which is not a generic one", "W",
     "RFC 5321 2.3.5, 4.1.1.1", "set myhostname or smtp_helo_name", "outbound"),
    ("egress.ip", "a receiver sees one of the outbound addresses", "F", "RFC 7208 2.4",
     "correct source NAT or smtp_bind_address, or add the address to SPF", "message_file"),
    ("ingress.src", "the mail server sees its clients' addresses, not the gateway's", "F", "RFC 7208 2.2",
     "remove MASQUERADE from the DNAT path", "inbound_message_file"),
    ("port25.out", "port 25 is open to the outside", "F", "RFC 5321 4.5.4.2",
     "ask the provider to open it, or send through a smarthost", "outbound_25"),
    ("mx.exists", "there is an MX record, or a null MX", "F", "RFC 5321 5.1", "publish an MX record", ""),
    ("mx.target", "each MX names a host with public addresses, no alias and no address", "F",
     "RFC 2181 10.3; RFC 5321 5.1", "point it at a host name", ""),
    ("mx.null", "a null MX stands alone and nothing is sent there", "F", "RFC 7505 3, 4.2",
     "remove the other MX records", ""),
    ("spf.single", "there is exactly one SPF record", "F", "RFC 7208 3.2, 4.5", "merge the records", ""),
    ("spf.syntax", "no SPF record has a syntax error anywhere", "F", "RFC 7208 4.6, 12", "correct the term", ""),
    ("spf.lookups", "SPF needs ten lookups at most", "F", "RFC 7208 4.6.4", "drop includes or list addresses", ""),
    ("spf.void", "two lookups at most lead to nothing", "F", "RFC 7208 4.6.4", "remove dead names", ""),
    ("spf.mx-ptr-limits", "a term mx leads to ten hosts at most, a term ptr to ten names", "F", "RFC 7208 4.6.4",
     "list addresses instead", ""),
    ("spf.size", "the SPF record and its answer are short enough", "W", "RFC 7208 3.3, 3.4",
     "shorten the record or split it over includes", ""),
    ("spf.ptr", "no term ptr", "W", "RFC 7208 5.5", "list addresses instead", ""),
    ("spf.all", "the record ends in ~all, -all or redirect", "F", "RFC 7208 5.1, 6.1", "end it in ~all or -all", ""),
    ("spf.include-target", "each include and redirect leads to exactly one record", "F", "RFC 7208 5.2, 6.1",
     "remove the term", ""),
    ("spf.covers-ip", "each outbound address passes", "F", "RFC 7208 2.3, 2.4", "add the address", "outbound"),
    ("spf.nonsender", "names that send nothing say so", "I", "RFC 7208 10.1.2", "publish v=spf1 -all", ""),
    ("dkim.present", "each selector has exactly one key, of its own", "F", "RFC 6376 3.6.2.2",
     "publish the key", "selectors"),
    ("dkim.syntax", "the key record can be read", "F", "RFC 6376 3.6.1", "publish it again, split in strings",
     "selectors"),
    ("dkim.match", "the published key is the signer's", "F", "RFC 6376 3.6.1", "publish the signer's key",
     "dkim_keys"),
    ("dkim.keysize", "RSA keys have 2048 to 4096 bits", "F", "RFC 8301 3.2", "make a key of 2048 bits", "selectors"),
    ("dkim.alg", "mail is signed with rsa-sha256, Ed25519 only beside it", "F", "RFC 8301 3.1; RFC 8463 3",
     "sign with rsa-sha256", "selectors"),
    ("dkim.flags", "the key is neither in test, nor revoked, nor for other uses", "F", "RFC 6376 3.6.1",
     "correct the flags", "selectors"),
    ("dkim.rotation", "keys are renewed in time, and DNS holds each as its state asks for", "W", "RFC 6376 3.1",
     "rotate the key", "dkim_keys"),
    ("dkim.sig", "a message's signature verifies and covers what it should", "F", "RFC 6376 5.4, 8.2, 8.15",
     "correct the signer's options", "message_file"),
    ("dmarc.present", "there is one DMARC record, at the domain or above", "F", "RFC 9989 4.7, 4.10",
     "publish a record", ""),
    ("dmarc.walk", "old and new receivers find the same organisational domain", "W", "RFC 9989 4.10; RFC 7489 3.2",
     "publish a record at the domain itself", ""),
    ("dmarc.policy", "the policy protects the domain and its subdomains", "W", "RFC 9989 4.7, 4.10.1, A.4",
     "step up to p=reject", ""),
    ("dmarc.removed", "no tags that have no meaning any more", "W", "RFC 9989 A.6", "delete them", ""),
    ("dmarc.rua", "reports go to an address that takes them", "W", "RFC 9990 4", "publish the authorisation", ""),
    ("dmarc.align", "a message passes DMARC by its DKIM signature", "F", "RFC 9989 4.10.2",
     "sign with the domain of From", "message_file"),
    ("bulk.both", "bulk mail passes SPF, DKIM and DMARC", "F", "Gmail and Yahoo 2024; Outlook 550 5.7.515",
     "correct what does not pass", "message_file bulk"),
    ("bulk.oneclick", "bulk mail can be unsubscribed from by one click", "F", "RFC 8058 3.1, 4; RFC 2369",
     "add the headers and sign them", "message_file bulk"),
    ("bulk.spamrate", "fewer than 0.1 % of recipients complain", "F", "Gmail sender guidelines",
     "send less to those who did not ask for it", "spam_rate"),
    ("msg.format", "the message is well-formed", "F", "RFC 5322 3.6; RFC 5321 4.5.3.1.6",
     "correct the program that makes it", "message_file"),
    ("tls.starttls", "each MX offers STARTTLS with TLS 1.2 or later and a certificate for its name; mail leaves by TLS",
     "F", "RFC 3207; RFC 8996; RFC 9325", "correct certificate and protocols", ""),
    ("mtasts.dns+policy", "the MTA-STS record and policy can be read", "F", "RFC 8461 3.1-3.3",
     "correct record or policy file", ""),
    ("mtasts.match", "the MTA-STS policy is enforced and names every MX", "F", "RFC 8461 3.2, 4.1",
     "correct the policy's mx lines", ""),
    ("tlsrpt", "there is one TLS reporting record", "W", "RFC 8460 3", "publish a record", ""),
    ("dane", "TLSA records are signed and match the certificate", "F", "RFC 7672 2.2, 3.1, 8.1",
     "publish 3 1 1 of this key and the next", ""),
    ("dnssec", "the zones of the domain and its mail servers are signed, and all that mail asks there validates", "F",
     "RFC 4035 5; RFC 7672 2.2",
     "correct the DS record", ""),
    ("dnsbl.ip/domain", "no blocklist has the addresses or the domain", "F", "RFC 5782 2, 5",
     "ask the list for removal", ""),
    ("relay+smuggling", "the server is no open relay, and only CR LF . CR LF ends a message", "F",
     "RFC 5321 2.3.8, 4.1.1.4, 7", "smtpd_forbid_bare_newline = normalize", "test_host intrusive"),
    ("addr.role", "postmaster and abuse take mail, also with an empty sender", "W", "RFC 5321 4.5.1; RFC 2142 4",
     "add the aliases", ""),
    ("ar.trust", "verdicts that came with a message are removed, ARC chains verify", "F", "RFC 8601 5; RFC 8617 5.2",
     "strip foreign headers with your authserv-id", "inbound_message_file authserv_id"),
    ("dns.consistency", "all name servers of the zone answer, alike and over TCP, too", "W", "RFC 1034 4.3.5; RFC 7766",
     "correct the secondary servers", ""),
    ("caa/bimi/ipv6", "CAA for the MX hosts, IPv6 that answers, BIMI that can be read and has an enforced DMARC policy",
     "I", "RFC 8659 3; RFC 3974",
     "optional", ""),
)  # fmt: skip
BY_ID: Mapping[str, Row] = {row.id: row for row in ROWS}


def guide_table() -> list[str]:
    """The rows as the guide shows them."""
    lines = ["| | check | what is ok | worst | reference | what mends it | takes |", "|---|---|---|---|---|---|---|"]
    for row in ROWS:
        takes = ", ".join(f"`{name}`" for name in row.needs)
        what = f"| {row.number} | `{row.id}` | {row.title} | {row.severity} | {row.reference}"
        lines.append(f"{what} | {row.remedy} | {takes} |")
    return lines


class CheckError(ValueError):
    """The request makes no sense; the message names the item and the remedy."""


def visible(text: str, limit: int = SEEN_LIMIT) -> str:
    """``text`` on one line, without control characters, cut at ``limit``: it comes from strangers."""
    if len(text) <= limit and text.isprintable():
        return text
    clean = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text[: limit + 1])
    return clean if len(clean) <= limit else clean[: limit - 3] + "..."


@dataclass(frozen=True)
class Found:
    """What a row finds about ``subject``, a name or address; ``remedy`` is the record or command that mends it."""

    severity: str
    seen: str
    remedy: str
    subject: str = ""
    reference: str = ""
    verdict: str = WRONG


def unknown(seen: str, remedy: str, subject: str = "") -> Found:
    """That a row cannot be judged, and what it would take."""
    return Found("I", seen, remedy, subject, verdict=UNKNOWN)


def unanswered(why: object, subject: str = "") -> Found:
    """That a question of a row was not answered."""
    return unknown(str(why), "try again, or name another resolver", subject)


def settled(found: Iterable[Found], subject: str = "") -> Iterator[Found]:
    """What is ``found``; where a question about ``subject`` is not answered, what came before it, and that."""
    try:
        yield from found
    except DnsTimeout as err:
        yield unanswered(err, subject)


@dataclass(frozen=True)
class Finding:
    """A :class:`Found` with the row and the domain it belongs to."""

    id: str
    domain: str
    verdict: str
    severity: str
    subject: str
    seen: str
    remedy: str
    reference: str

    @classmethod
    def of(cls, row: Row, domain: str, found: Found) -> Finding:
        """``found`` in ``row`` of ``domain``, its texts made fit for a terminal."""
        return cls(
            id=row.id,
            domain=domain,
            verdict=found.verdict,
            severity=found.severity,
            subject=visible(found.subject or domain, 255),
            seen=visible(found.seen),
            remedy=visible(found.remedy, 2000),
            reference=found.reference or row.reference,
        )

    def as_dict(self) -> dict[str, str]:
        """The shape a module returns."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def _worst(verdicts: Iterable[str]) -> str:
    order = (OK, UNKNOWN, PROPAGATING, WRONG)
    return max(verdicts, key=order.index, default=OK)


@dataclass(frozen=True)
class Report:
    """What came of all rows of all domains; ``ignored`` are the ids left out on request."""

    domains: tuple[str, ...]
    all_findings: tuple[Finding, ...]
    ignored: frozenset[str] = field(default=frozenset())

    @property
    def findings(self) -> list[Finding]:
        """What is wrong or propagating, the gravest first within each domain."""
        found = [item for item in self.all_findings if item.verdict != UNKNOWN]
        place = {name: number for number, name in enumerate(self.domains)}
        numbers = {row.id: row.number for row in ROWS}
        return sorted(found, key=lambda f: (place[f.domain], SEVERITIES.index(f.severity), numbers[f.id], f.subject))

    @property
    def unknowns(self) -> list[Finding]:
        """What could not be judged."""
        return [item for item in self.all_findings if item.verdict == UNKNOWN]

    def verdicts(self) -> dict[str, dict[str, str]]:
        """The verdict on every row, by domain and id."""
        seen: dict[tuple[str, str], list[str]] = {}
        for item in self.all_findings:
            seen.setdefault((item.domain, item.id), []).append(item.verdict)
        rows = [row.id for row in ROWS if row.id not in self.ignored]
        return {name: {row: _worst(seen.get((name, row), ())) for row in rows} for name in self.domains}

    def failing(self, fail_on: str) -> list[Finding]:
        """The findings that are wrong and at least as grave as ``fail_on`` (F, W or I; ``never``: none)."""
        if fail_on not in SEVERITIES:
            return []
        grave = SEVERITIES[: SEVERITIES.index(fail_on) + 1]
        return [item for item in self.findings if item.verdict == WRONG and item.severity in grave]

    def as_dict(self) -> dict[str, Any]:
        """All of it as data."""
        return {
            "domains": list(self.domains),
            "findings": [item.as_dict() for item in self.findings],
            "unknown": [item.as_dict() for item in self.unknowns],
            "verdicts": self.verdicts(),
        }

    def table(self, width: int = 100) -> list[str]:
        """All of it as lines for people; what is unknown of every domain stands once at the end."""
        lines: list[str] = []
        verdicts, reasons = self.verdicts(), self._reasons()
        common = set(reasons[self.domains[0]]).intersection(*reasons.values()) if self.domains else set()
        for name in self.domains:
            mine = [item for item in self.findings if item.domain == name]
            lines += [name, *_lines(mine, width)]
            counted = [f"{list(verdicts[name].values()).count(one)} {one}" for one in VERDICTS]
            lines += [f"  {', '.join(counted)} of {len(verdicts[name])} checks"]
            lines += [line for one in reasons[name] if one not in common for line in _unjudged(*one, width)]
        if common:
            whose = "" if len(self.domains) == 1 else f" of all {len(self.domains)} domains"
            shared = [one for one in reasons[self.domains[0]] if one in common]
            lines += [f"unknown{whose}, why, and what it takes:"]
            lines += [line for one in shared for line in _unjudged(*one, width)]
        return lines

    def _reasons(self) -> dict[str, list[tuple[tuple[str, ...], str, str]]]:
        """By domain the rows that are unknown for the same reason, that reason, and what it takes."""
        found: dict[str, dict[tuple[str, str], list[str]]] = {name: {} for name in self.domains}
        for item in self.unknowns:
            rows = found[item.domain].setdefault((item.seen, item.remedy), [])
            rows += [item.id] if item.id not in rows else []
        return {name: [(tuple(rows), *why) for why, rows in mine.items()] for name, mine in found.items()}


def _lines(findings: Sequence[Finding], width: int) -> list[str]:
    """Three parts for each finding: what it is, what was seen, what mends it."""
    lines: list[str] = []
    column = max((len(item.id) for item in findings), default=0)
    for item in findings:
        mark = item.severity if item.verdict == WRONG else "~"
        subject = "" if item.subject == item.domain else f"{item.subject}: "
        head = f"  {mark} {item.id:<{column}}  "
        indent = " " * len(head)
        text = f"{subject}{item.seen} ({item.reference})"
        lines += textwrap.wrap(text, max(width, len(head) + 30), initial_indent=head, subsequent_indent=indent)
        # A record to paste must stay on its line.
        lines.append(f"{indent}-> {item.remedy}")
    return lines


def _unjudged(rows: Sequence[str], seen: str, remedy: str, width: int) -> list[str]:
    """Rows that cannot be judged, and why."""
    lines = textwrap.wrap(f"? {', '.join(rows)}: {seen}", width, initial_indent="  ", subsequent_indent="    ")
    return [*lines, f"    -> {remedy}"]
