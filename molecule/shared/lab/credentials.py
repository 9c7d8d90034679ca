# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything secret of one run: ssh keys, the lab's CA, TSIG keys, the DNSSEC key, the provider's account.

Made afresh for each run, kept nowhere but in the lab's state folder.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import ipaddress
import secrets
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_NAME = "postmaster.mail lab CA"
DNSKEY_FLAGS, DNSKEY_PROTOCOL, ECDSAP256SHA256, DIGEST_SHA256 = 257, 3, 13, 2  # RFC 4034, 6605, 4509


@dataclass(frozen=True)
class SshKey:
    """An Ed25519 key in the forms OpenSSH reads."""

    private: str
    public: str

    @classmethod
    def make(cls, comment: str) -> SshKey:
        """A new key."""
        key = ed25519.Ed25519PrivateKey.generate()
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        return cls(private.decode(), f"{public.decode()} {comment}\n")


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def openssl_hash(common_name: str) -> str:
    """OpenSSL's subject hash of a name that has a common name only: what links in /etc/ssl/certs are called.

    It is the SHA-1 of the RDN with its text as lower-case UTF8String and single spaces.
    """
    text = " ".join(common_name.lower().split()).encode()
    value = b"\x06\x03\x55\x04\x03" + bytes([0x0C, len(text)]) + text
    sequence = bytes([0x30, len(value)]) + value
    digest = hashlib.sha1(bytes([0x31, len(sequence)]) + sequence, usedforsecurity=False).digest()
    return f"{int.from_bytes(digest[:4], 'little'):08x}"


class Authority:
    """The lab's certificate authority."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
        self._start, self._end = start, start + datetime.timedelta(days=60)
        builder = self._builder(_name(CA_NAME), self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        usage = dict.fromkeys(("key_cert_sign", "crl_sign", "digital_signature"), True)
        rest = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
        usage |= dict.fromkeys((*rest, "encipher_only", "decipher_only"), False)
        self._cert = builder.add_extension(x509.KeyUsage(**usage), critical=True).sign(self._key, hashes.SHA256())
        self.pem = self._cert.public_bytes(serialization.Encoding.PEM).decode()

    def _builder(self, subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(_name(CA_NAME))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._start)
            .not_valid_after(self._end)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )

    def issue(self, names: Sequence[str], addresses: Sequence[str] = ()) -> tuple[str, str]:
        """Certificate and private key, as PEM, for a server of these names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        general: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
        general += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
        cert = (
            self._builder(_name(names[0]), key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(general), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return cert.public_bytes(serialization.Encoding.PEM).decode(), _pem(key)


class ZoneKey:
    """The one ECDSA P-256 key that signs all zones of the lab (a combined signing key)."""

    def __init__(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        numbers = key.public_key().public_numbers()
        public = numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
        self.pem = _pem(key)
        self.rdata = struct.pack("!HBB", DNSKEY_FLAGS, DNSKEY_PROTOCOL, ECDSAP256SHA256) + public

    @property
    def tag(self) -> int:
        """The key tag of RFC 4034, appendix B."""
        total = sum(byte << (0 if place & 1 else 8) for place, byte in enumerate(self.rdata))
        return (total + (total >> 16)) & 0xFFFF

    def ds(self, zone: str) -> str:
        """The DS rdata by which the parent vouches for ``zone`` (absolute, with the dot)."""
        labels = [label for label in zone.lower().split(".") if label]
        wire = b"".join(bytes([len(label)]) + label.encode("ascii") for label in labels) + b"\0"
        return f"{self.tag} {ECDSAP256SHA256} {DIGEST_SHA256} {hashlib.sha256(wire + self.rdata).hexdigest().upper()}"


def _tsig() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


@dataclass(frozen=True)
class Credentials:
    """All of them together; ``tsig`` maps key names to base64 secrets (hmac-sha256)."""

    client: SshKey = field(default_factory=lambda: SshKey.make("lab"))
    host: SshKey = field(default_factory=lambda: SshKey.make("lab host"))
    authority: Authority = field(default_factory=Authority)
    zone_key: ZoneKey = field(default_factory=ZoneKey)
    tsig: dict[str, str] = field(default_factory=lambda: {name: _tsig() for name in ("estate.", "lab.", "transfer.")})
    provider_password: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    mailbox_password: str = field(default_factory=lambda: secrets.token_urlsafe(18))
