# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: TLSA records (DANE) of mail servers. Private to this collection.

Sources: RFC 6698 section 2 (the record), RFC 7671 (which records to use, how they match a chain), RFC 7672 (SMTP:
section 3.1 usages, section 8.1 changing keys). :func:`tlsa_for` and :meth:`TlsaRecord.matches` need the
``cryptography`` library; it is imported there, and the ``ImportError`` is the caller's to explain.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ansible_collections.postmaster.mail.plugins.module_utils._record import Record, absolute
from ansible_collections.postmaster.mail.plugins.module_utils._term_error import TermError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

PKIX_TA, PKIX_EE, DANE_TA, DANE_EE = range(4)  # usages, RFC 7218 section 2.1
CERTIFICATE, PUBLIC_KEY = range(2)  # selectors, RFC 7218 section 2.2
FULL, SHA2_256, SHA2_512 = range(3)  # matching types, RFC 7218 section 2.3
LIMITS = {"usage": DANE_EE, "selector": PUBLIC_KEY, "matching": SHA2_512}
PRIVATE = 255  # PrivCert, PrivSel and PrivMatch: for use among friends, RFC 7218 sections 2.1 to 2.3
DIGEST_LENGTHS = {SHA2_256: 32, SHA2_512: 64}
FILE_LIMIT = 1048576  # characters of PEM; the longest chains have some 20,000

_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})+", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,3}", re.ASCII)
_PEM_BEGIN = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,60})-----", re.ASCII)


class TlsaError(TermError):
    """A text is no TLSA record."""

    what = "the TLSA record"


class TlsaKeyError(ValueError):
    """A text holds no certificate or key that a record could be made of; the message quotes nothing of it."""


@dataclass(frozen=True, order=True)
class TlsaRecord:
    """``data`` is the certificate or key itself, or its digest (RFC 6698 section 2.1)."""

    usage: int
    selector: int
    matching: int
    data: bytes

    def __post_init__(self) -> None:
        for name in LIMITS:
            _check_number(name, str(getattr(self, name)), 0)
        length = DIGEST_LENGTHS.get(self.matching, len(self.data) or 1)
        if len(self.data) != length:
            rule = f"the data of matching type {self.matching} has {length} octets, not {len(self.data)} (RFC 6698)"
            raise TlsaError(str(self)[:80], 0, rule)

    def __str__(self) -> str:
        return f"{self.usage} {self.selector} {self.matching} {self.data.hex()}"

    @property
    def private(self) -> bool:
        """Whether only those who have agreed on its meaning can use it."""
        return PRIVATE in (self.usage, self.selector, self.matching)

    @property
    def problems(self) -> tuple[str, ...]:
        """Why SMTP clients would not use it, or should not have to."""
        if self.private:
            return (f"{PRIVATE} is for private use, and clients overlook it; take 3 1 1 (RFC 7218 section 2.1)",)
        if self.usage in (PKIX_TA, PKIX_EE):
            return (f"usage {self.usage} is not for SMTP; take 3 1 1 (RFC 7672 section 3.1.3)",)
        if self.usage == DANE_TA and self.matching == FULL and self.selector == PUBLIC_KEY:
            return ("2 1 0 makes clients work without the authority's certificate; take 2 1 1 (RFC 7671 section 5.2)",)
        if self.matching == FULL:
            return ("matching type 0 makes large answers; take 1 (RFC 7671 section 10.1.2)",)
        return ()

    @classmethod
    def parse(cls, text: str) -> TlsaRecord:
        """The record that ``text``, such as ``3 1 1 8bd1...``, is; spaces may split the data.

        Raises :class:`TlsaError`.
        """
        fields = text.split(" ", 3)
        if len(fields) != 4:
            raise TlsaError(text[:80], 0, "it is usage, selector, matching type and data (RFC 6698 section 2.2)")
        position = 0
        for name, field in zip(LIMITS, fields, strict=False):
            _check_number(name, field, position)
            position += len(field) + 1
        data = re.sub(r"[ \t]+", "", fields[3])
        if not _HEX.fullmatch(data):
            raise TlsaError(fields[3][:80], position, "the data are pairs of hexadecimal digits (RFC 6698 section 2.2)")
        return cls(int(fields[0]), int(fields[1]), int(fields[2]), bytes.fromhex(data))

    def matches(self, chain: Sequence[str | bytes] | str) -> bool:
        """Whether a server that shows ``chain`` is the one meant; its own certificate comes first.

        ``chain`` are certificates in PEM or DER, or one text of PEM blocks. Usages 1 and 3 look at the server's
        certificate, 0 and 2 at those above it (RFC 7671 sections 5.1 and 5.2); whether the signatures between them,
        and for usage 2 the names and dates, are right is not judged. A record for private use matches none. Raises
        :class:`TlsaKeyError`.
        """
        certificates = _certificates(chain)
        if self.private:
            return False
        above = self.usage in (PKIX_TA, DANE_TA)
        return any(self.data == self._selected(one) for one in (certificates[1:] if above else certificates[:1]))

    def _selected(self, certificate: Certificate) -> bytes:
        return _digest(_certificate_octets(certificate, self.selector), self.matching)


def _check_number(name: str, text: str, position: int) -> None:
    if not _NUMBER.fullmatch(text) or not (int(text) <= LIMITS[name] or int(text) == PRIVATE):
        rule = f"the {name} is a number from 0 to {LIMITS[name]}, or {PRIVATE} (RFC 6698 section 2.1, RFC 7218)"
        raise TlsaError(text[:80], position, rule)


def _digest(octets: bytes, matching: int) -> bytes:
    if matching == FULL:
        return octets
    return (hashlib.sha256 if matching == SHA2_256 else hashlib.sha512)(octets).digest()


def _certificate_octets(certificate: Certificate, selector: int) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.DER) if selector == CERTIFICATE else _public_octets(certificate)


def _public_octets(certificate: Certificate) -> bytes:
    """Its SubjectPublicKeyInfo."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    try:
        return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (UnsupportedAlgorithm, ValueError) as err:
        raise TlsaKeyError("it holds a key of a kind that the cryptography library does not know") from err


def _certificates(chain: Sequence[str | bytes] | str) -> list[Certificate]:
    from cryptography.x509 import load_der_x509_certificate, load_pem_x509_certificate

    found: list[Certificate] = []
    for item in [chain] if isinstance(chain, str) else chain:
        try:
            if isinstance(item, bytes) and not item.lstrip().startswith(b"-----"):
                found.append(load_der_x509_certificate(item))
                continue
            text = item.decode("ascii", "replace") if isinstance(item, bytes) else item
            blocks = [block for block in _blocks(text) if block.label == "CERTIFICATE"]
            found += [load_pem_x509_certificate(block.text.encode("ascii", "replace")) for block in blocks]
        except ValueError as err:
            raise TlsaKeyError("it holds a damaged certificate") from err
    if not found:
        raise TlsaKeyError("it holds no certificate in PEM or DER")
    return found


@dataclass(frozen=True)
class _Block:
    """One PEM block (RFC 7468): its label, and itself with its frame."""

    label: str
    text: str


def _blocks(text: str) -> list[_Block]:
    """The PEM blocks in their order, up to the first that does not end; none of a text too long to be a chain."""
    blocks: list[_Block] = []
    position = 0 if len(text) <= FILE_LIMIT else len(text)
    while match := _PEM_BEGIN.search(text, position):
        end = f"-----END {match.group(1)}-----"
        stop = text.find(end, match.end())
        if stop < 0:
            break
        position = stop + len(end)
        blocks.append(_Block(match.group(1), text[match.start() : position]))
    return blocks


def tlsa_for(
    certificate_or_key_pem: str | bytes, usage: int = DANE_EE, selector: int = PUBLIC_KEY, matching: int = SHA2_256
) -> TlsaRecord:
    """The record for the first certificate, or the first private or public key, in a text of PEM.

    A key alone serves for selector 1, so the record of the next key can be published before there is a
    certificate for it. Raises :class:`TlsaKeyError`.
    """
    pem = certificate_or_key_pem
    text = pem.decode("ascii", "replace") if isinstance(pem, bytes) else pem
    blocks = _blocks(text)
    if any(block.label == "CERTIFICATE" for block in blocks):
        octets = _certificate_octets(_certificates(text)[0], selector)
    else:
        key = next(
            (block for block in blocks if block.label.endswith("PRIVATE KEY") or block.label == "PUBLIC KEY"), None
        )
        if key is None:
            raise TlsaKeyError("it holds neither a certificate nor a key in PEM")
        if selector == CERTIFICATE:
            raise TlsaKeyError("it holds a key alone; a record with selector 0 is made of a certificate")
        octets = _key_octets(key.text.encode("ascii", "replace"), public=key.label == "PUBLIC KEY")
    return TlsaRecord(usage, selector, matching, _digest(octets, matching))


def _key_octets(pem: bytes, *, public: bool) -> bytes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_pem_private_key,
        load_pem_public_key,
    )

    try:
        key = load_pem_public_key(pem) if public else load_pem_private_key(pem, None).public_key()
        return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except TypeError as err:
        raise TlsaKeyError(
            "it holds an encrypted key; a record needs it without a passphrase, or its public key"
        ) from err
    except (UnsupportedAlgorithm, ValueError) as err:
        raise TlsaKeyError("it holds a damaged key, or one of an unknown kind") from err


def tlsa_name(host: str, port: int = 25) -> str:
    """Where the records of a server lie, absolute (RFC 6698 section 3)."""
    return f"_{port}._tcp.{absolute(host)}"


def record_set(host: str, records: Iterable[TlsaRecord], *, port: int = 25, ttl: int = 3600) -> list[Record]:
    """The DNS records of a server: of its current key and, before that changes, of the next (RFC 7672 section 8.1)."""
    return [Record(tlsa_name(host, port), "TLSA", ttl, str(record)) for record in dict.fromkeys(records)]
