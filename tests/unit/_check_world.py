# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A made-up internet for the mail check: the domain example.org, in which all is well, unless a test changes it."""

from __future__ import annotations

import base64
import copy
import datetime
import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache

import dkim
from ansible_collections.postmaster.mail.plugins.module_utils import _check_view as v
from ansible_collections.postmaster.mail.plugins.module_utils import _dkim
from ansible_collections.postmaster.mail.plugins.module_utils._check_mail import Mail
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

DOMAIN = "example.org"
NOW = datetime.datetime(2026, 11, 20, 12, 0, tzinfo=datetime.UTC)
SERVERS = ("192.0.2.1", "192.0.2.2")
ADDRESS, ADDRESS6 = "203.0.113.25", "2001:db8::25"
LIST, NAME_LIST = "bl.example.net", "dbl.example.net"
POLICY = "version: STSv1\r\nmode: enforce\r\nmx: mx.example.org\r\nmax_age: 1209600\r\n"


def signing_key(bits: int = 2048, algorithm: str = "rsa") -> _dkim.DkimKey:
    """One key for all tests of a size."""
    return _made_key(bits, algorithm)


@cache
def _made_key(bits: int, algorithm: str) -> _dkim.DkimKey:
    return _dkim.generate(algorithm, bits)


@cache
def certificate() -> bytes:
    """A certificate in DER; who signed it does not matter here."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mx.example.org")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.datetime(2026, 1, 1))
        .not_valid_after(datetime.datetime(2027, 1, 1))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(Encoding.DER)


def key_digest() -> str:
    """The data of a TLSA record 3 1 1 of the certificate."""
    public = x509.load_der_x509_certificate(certificate()).public_key()
    digest = hashes.Hash(hashes.SHA256())
    digest.update(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    return digest.finalize().hex()


RECEIVED = (
    "Return-Path: <news@example.org>\r\n"
    f"Received: from mx.example.org (mx.example.org [{ADDRESS}]) by mx.elsewhere.example with ESMTPS id 1;"
    " Fri, 20 Nov 2026 11:00:05 +0000\r\n"
)
LETTER = (
    "From: News <news@example.org>\r\nTo: someone@elsewhere.example\r\nSubject: Hello\r\n"
    "Date: Fri, 20 Nov 2026 11:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n"
    "List-Unsubscribe: <https://example.org/u/1>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
    "\r\nHello\r\n"
)
SIGNED_FIELDS = ("from", "from", "to", "subject", "date", "message-id", "list-unsubscribe", "list-unsubscribe-post")


def signed(
    letter: str = LETTER,
    *,
    received: str = RECEIVED,
    domain: str = DOMAIN,
    fields: Iterable[str] = SIGNED_FIELDS,
    key: _dkim.DkimKey | None = None,
    identity: str = "",
    algorithm: str = "rsa-sha256",
    length: bool = False,
) -> Mail:
    """A message with a DKIM signature, as a receiver stores it."""
    private = (key or signing_key()).pem
    signer = dkim.DKIM(letter.encode(), signature_algorithm=algorithm.encode())
    header = signer.sign(
        b"sel1", domain.encode(), private, include_headers=[name.encode() for name in fields], length=length,
        identity=identity.encode() or None,
    )  # fmt: skip
    return Mail(received.encode() + header + letter.encode())


def inbound(*results: str, client: str = "198.51.100.7", extra: str = "", tried: bool = True) -> Mail:
    """A message from outside as the domain's own server stores it; ``tried`` says that it came with a forged verdict."""
    head = "".join(f"Authentication-Results: {result}; spf=pass\r\n" for result in results)
    received = (
        f"Received: from a.example ([{client}]) by mx.example.org with ESMTP; Fri, 20 Nov 2026 11:00:05 +0000\r\n"
    )
    subject = "Subject: forged.invalid\r\n" if tried else ""
    return Mail(f"{head}{received}{extra}From: a@a.example\r\n{subject}\r\nHello\r\n".encode())


def records() -> dict[tuple[str, str], list[str]]:
    """What DNS holds where all is well."""
    text = str(signing_key().record)
    reverse = {a: ipaddress.ip_address(a).reverse_pointer + "." for a in (ADDRESS, ADDRESS6)}
    return {
        ("example.org.", "NS"): ["ns1.example.net.", "ns2.example.net."],
        ("ns1.example.net.", "A"): [SERVERS[0]],
        ("ns2.example.net.", "A"): [SERVERS[1]],
        ("example.org.", "SOA"): ["ns1.example.net. hostmaster.example.org. 2026112001 3600 600 86400 300"],
        ("org.", "SOA"): ["a.example.net. b.example.net. 1 3600 600 86400 300"],
        ("example.org.", "DS"): ["1 13 2 00"],
        ("example.org.", "MX"): ["10 mx.example.org."],
        ("example.org.", "CAA"): ['0 issue "ca.example.net"'],
        ("mx.example.org.", "A"): [ADDRESS],
        ("mx.example.org.", "AAAA"): [ADDRESS6],
        ("mx.example.org.", "TXT"): ["v=spf1 a -all"],
        ("mx.elsewhere.example.", "A"): ["198.51.100.25"],
        (reverse[ADDRESS], "PTR"): ["mx.example.org."],
        (reverse[ADDRESS6], "PTR"): ["mx.example.org."],
        ("example.org.", "TXT"): ["v=spf1 a:mx.example.org -all", "some-verification=1"],
        ("sel1._domainkey.example.org.", "TXT"): [text],
        ("_dmarc.example.org.", "TXT"): ["v=DMARC1; p=reject; rua=mailto:dmarc@example.org"],
        ("_mta-sts.example.org.", "TXT"): ["v=STSv1; id=20261101;"],
        ("mta-sts.example.org.", "A"): [ADDRESS],
        ("_smtp._tls.example.org.", "TXT"): ["v=TLSRPTv1; rua=mailto:tls@example.org"],
        ("_25._tcp.mx.example.org.", "TLSA"): [f"3 1 1 {key_digest()}", f"3 1 1 {'00' * 32}"],
        ("2.0.0.127.bl.example.net.", "A"): ["127.0.0.2"],
        (ipaddress.ip_address("::ffff:7f00:2").reverse_pointer.removesuffix("ip6.arpa") + "bl.example.net.", "A"): ["127.0.0.2"],
        ("test.dbl.example.net.", "A"): ["127.0.1.2"],
    }  # fmt: skip


def options() -> v.Options:
    """What a person may tell, all of it."""
    key = v.SignerKey(DOMAIN, "sel1", str(signing_key().record), "active", "2026-06-01T00:00:00Z")
    return v.Options(
        selectors=("sel1",),
        dkim_keys=(key,),
        outbound=(v.Outbound(ADDRESS, "mx.example.org"), v.Outbound(ADDRESS6, "mx.example.org")),
        mail=signed(),
        inbound_mail=inbound("mx.example.org"),
        authserv_id="mx.example.org",
        bulk=True,
        spam_rate=0.05,
        outbound_25="mx.elsewhere.example",
        test_host="mx.example.org",
        intrusive=True,
        dnsbl_ip=(LIST,),
        dnsbl_domain=(NAME_LIST,),
        trust_ad=True,
        now=NOW,
    )


@dataclass
class World:
    """All answers. ``dns`` holds what every server says, ``at`` what one server says instead, ``broken`` failures."""

    dns: dict[tuple[str, str], list[str]] = field(default_factory=records)
    at: dict[tuple[str, str, str], list[str]] = field(default_factory=dict)
    broken: dict[tuple[str, str, str], v.DnsAnswer] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    ttl: int = 300
    smtp: v.SmtpAnswer = field(
        default_factory=lambda: v.SmtpAnswer(
            starttls=True, tls="TLSv1.3", certificates=(certificate(),), replies=((250, "2.1.5 Ok"), (250, "2.1.5 Ok"))
        )
    )
    sessions: dict[str, v.SmtpAnswer] = field(default_factory=dict)
    https: v.HttpsAnswer = field(default_factory=lambda: v.HttpsAnswer("", 200, "text/plain", POLICY.encode()))
    connect: v.ConnectAnswer = field(default_factory=v.ConnectAnswer)
    relay: v.RelayAnswer = field(default_factory=lambda: v.RelayAnswer("", "RCPT", 554, "5.7.1 Relay access denied"))
    endings: dict[bytes, v.RelayAnswer] = field(default_factory=dict)
    options: v.Options = field(default_factory=options)

    def put(self, name: str, rdtype: str, *values: str) -> World:
        """Hold other records at a name (its domain added where there is no final dot)."""
        full = name if name.endswith(".") else f"{name}.{DOMAIN}." if name else f"{DOMAIN}."
        self.dns[(full, rdtype)] = list(values)
        return self

    def tell(self, **changes: object) -> World:
        """Change options."""
        self.options = replace(self.options, **changes)  # type: ignore[arg-type]
        return self

    def copy(self) -> World:
        """Another one to change."""
        return copy.deepcopy(self)

    def answer(self, question: v.Question) -> v.Answer:
        """The answer to any question."""
        if isinstance(question, v.Dns):
            return self._dns(question)
        if isinstance(question, v.Smtp):
            return self.sessions.get(question.address, self.smtp)
        if isinstance(question, v.Https):
            return self.https
        if isinstance(question, v.Connect):
            return self.connect
        if question.ending is None:
            return self.relay
        return self.endings.get(question.ending, v.RelayAnswer("", ".", 0, ""))

    def _dns(self, question: v.Dns) -> v.DnsAnswer:
        name, rdtype, server = question.name, question.type, question.server
        how = "tcp" if question.tcp and server else "unchecked" if question.unchecked else server
        for key in ((name, rdtype, how), ("*", "*", how)):
            if key in self.broken:
                return self.broken[key]
        chain: list[str] = []
        while (name, rdtype) not in self.dns and name in self.aliases and len(chain) < 9:
            name = self.aliases[name]
            chain.append(name)
        if len(chain) > 8:
            return v.DnsAnswer(v.FAILED, text="its aliases do not end")
        values = self.at.get((name, rdtype, server), self.dns.get((name, rdtype), []))
        status = v.NXDOMAIN if name in self.missing else v.NOERROR
        zone = "" if values or chain else self._zone(name)
        return v.DnsAnswer(
            status, tuple(values), tuple(chain), self.ttl, zone, authenticated=not server, authoritative=bool(server)
        )

    def _zone(self, name: str) -> str:
        while name:
            name = name.partition(".")[2]
            if self.dns.get((name, "SOA")):
                return name
        return "."


class Facts(Mapping[v.Question, v.Answer]):
    """A world as the facts that a view reads: every question is answered already."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.asked: list[v.Question] = []

    def __getitem__(self, question: v.Question) -> v.Answer:
        self.asked.append(question)
        return self.world.answer(question)

    def __contains__(self, question: object) -> bool:
        return True

    def __iter__(self) -> Iterator[v.Question]:
        return iter(self.asked)

    def __len__(self) -> int:
        return len(self.asked)


class Slow:
    """A collector that answers nothing before it is asked, as the real one does."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.facts: dict[v.Question, v.Answer] = {}
        self.rounds = 0

    async def ask(self, questions: Iterable[v.Question]) -> None:
        """Answer at once."""
        self.rounds += 1
        for question in questions:
            self.facts[question] = self.world.answer(question)


def ed25519_key() -> tuple[str, bytes]:
    """A key record and a private key for dkimpy."""
    key = signing_key(256, "ed25519")
    lines = [line for line in key.pem.decode().splitlines() if "-----" not in line]
    return str(key.record), base64.b64encode(base64.b64decode("".join(lines))[-32:])
