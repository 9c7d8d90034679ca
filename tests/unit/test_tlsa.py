# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""TLSA records: parsed, printed, made from certificates and keys, matched with what a server shows."""

from __future__ import annotations

import datetime
import hashlib
from typing import Any

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils._tlsa import (
    TlsaError,
    TlsaKeyError,
    TlsaRecord,
    record_set,
    tlsa_for,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

# The examples of RFC 6698 section 2.3.
RFC_EXAMPLES = [
    "0 0 1 d2abde240d7cd3ee6b4b28c54df034b97983a1d16e8a410e4561cb106618e971",
    "1 1 2 92003ba34942dc74152e2f2c408d29eca5a520e7f2e06bb944f4dca346baf63c"
    "1b177615d466f6c4b71c216a50292bd58c9ebdd2f74e38fe51ffd48c43326cbc",
    "3 0 0 30820307",
]
# RFC 7218 sections 2.1 to 2.3.
PRIVATE = ["255 1 1 " + "ab" * 32, "3 255 1 " + "ab" * 32, "3 1 255 ab", "255 255 255 ab"]
BAD = [
    ("", "", 0, "usage, selector, matching type and data"),
    ("3 1 1", "3 1 1", 0, "usage, selector, matching type and data"),
    ("3  1 1 ab", "", 2, "the selector is a number"),
    ("x 1 1 ab", "x", 0, "the usage is a number"),
    ("4 1 1 ab", "4", 0, "the usage is a number from 0 to 3, or 255"),
    ("254 1 1 ab", "254", 0, "the usage is a number from 0 to 3, or 255"),
    ("256 1 1 ab", "256", 0, "the usage is a number from 0 to 3, or 255"),
    ("3 2 1 ab", "2", 2, "the selector is a number from 0 to 1, or 255"),
    ("3 1 3 ab", "3", 4, "the matching is a number from 0 to 2, or 255"),
    ("3 1 0 abc", "abc", 6, "pairs of hexadecimal digits"),
    ("3 1 0 ", "", 6, "pairs of hexadecimal digits"),
    ("3 1 1 abcd", "3 1 1 abcd", 0, "has 32 octets, not 2"),
]


@pytest.mark.parametrize("text", [*RFC_EXAMPLES, *PRIVATE])
def test_records(text: str) -> None:
    record = TlsaRecord.parse(text)
    assert str(record) == text
    fields = text.split(" ")
    split = f"{' '.join(fields[:3])} {fields[3][:5].upper()} {fields[3][5:]}"
    assert TlsaRecord.parse(split) == record


@pytest.mark.parametrize(("text", "term", "position", "rule"), BAD)
def test_what_is_no_record(text: str, term: str, position: int, rule: str) -> None:
    with pytest.raises(TlsaError) as caught:
        TlsaRecord.parse(text)
    assert (caught.value.term, caught.value.position) == (term, position)
    assert rule in caught.value.rule


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (RFC_EXAMPLES[0], "usage 0 is not for SMTP; take 3 1 1"),
        *((text, "255 is for private use, and clients overlook it; take 3 1 1") for text in PRIVATE),
        ("2 1 0 abcd", "take 2 1 1"),
        ("3 1 0 abcd", "makes large answers"),
        ("3 1 1 " + "ab" * 32, ""),
        ("2 0 1 " + "ab" * 32, ""),
    ],
)
def test_problems(text: str, problem: str) -> None:
    problems = TlsaRecord.parse(text).problems
    assert problem in problems[0] if problem else not problems


# Certificates: an authority, a server below it, and the server's next key.

Key = Any


def _certificate(name: str, key: Key, issuer: str, issuer_key: Key) -> x509.Certificate:
    start = datetime.datetime(2026, 1, 1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=90))
    )
    return builder.sign(issuer_key, hashes.SHA256())


AUTHORITY_KEY, SERVER_KEY, NEXT_KEY = (
    ec.generate_private_key(ec.SECP256R1()),
    rsa.generate_private_key(65537, 2048),
    ed25519.Ed25519PrivateKey.generate(),
)
AUTHORITY = _certificate("authority", AUTHORITY_KEY, "authority", AUTHORITY_KEY)
SERVER = _certificate("mx.example.org", SERVER_KEY, "authority", AUTHORITY_KEY)
NEXT = _certificate("mx.example.org", NEXT_KEY, "authority", AUTHORITY_KEY)


def _pem(*certificates: x509.Certificate) -> str:
    return "".join(one.public_bytes(Encoding.PEM).decode() for one in certificates)


def _private(key: Key, encryption: Any = None) -> str:
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()).decode())


def _spki(key: Key) -> bytes:
    return bytes(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


@pytest.mark.parametrize("key", [AUTHORITY_KEY, SERVER_KEY, NEXT_KEY])
def test_key_and_certificate_give_the_same_record(key: Key) -> None:
    expected = "3 1 1 " + hashlib.sha256(_spki(key)).hexdigest()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    certificate = _certificate("x", key, "authority", AUTHORITY_KEY)
    for pem in (_private(key), public, _pem(certificate), _private(key) + _pem(certificate, AUTHORITY)):
        assert str(tlsa_for(pem)) == expected


def test_the_other_selectors_and_matching_types() -> None:
    der = SERVER.public_bytes(Encoding.DER)
    assert tlsa_for(_pem(SERVER), 2, 0, 0) == TlsaRecord(2, 0, 0, der)
    assert tlsa_for(_pem(SERVER), 3, 0, 2) == TlsaRecord(3, 0, 2, hashlib.sha512(der).digest())
    assert tlsa_for(_private(SERVER_KEY), 3, 1, 0) == TlsaRecord(3, 1, 0, _spki(SERVER_KEY))


@pytest.mark.parametrize(
    ("pem", "selector", "message"),
    [
        ("", 1, "neither a certificate nor a key"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 1, "a damaged certificate"),
        ("-----BEGIN CERTIFICATE-----\n\u00e9\n-----END CERTIFICATE-----\n", 1, "a damaged certificate"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", 1, "a damaged key"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", 1, "a damaged key"),
        ("-----BEGIN CERTIFICATE-----\n" * 30000, 1, "neither a certificate nor a key"),
        (_private(SERVER_KEY), 0, "a record with selector 0 is made of a certificate"),
        (_private(SERVER_KEY, BestAvailableEncryption(b"x")), 1, "an encrypted key"),
    ],
)
def test_what_no_record_can_be_made_of(pem: str, selector: int, message: str) -> None:
    with pytest.raises(TlsaKeyError, match=message):
        tlsa_for(pem, selector=selector)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (tlsa_for(_pem(SERVER)), True),
        (tlsa_for(_pem(SERVER), 3, 0, 0), True),
        (tlsa_for(_pem(AUTHORITY), 2, 0, 1), True),
        (tlsa_for(_pem(AUTHORITY), 3, 0, 1), False),
        (tlsa_for(_pem(SERVER), 2, 0, 1), False),
        (tlsa_for(_pem(NEXT)), False),
        (TlsaRecord(255, 1, 1, tlsa_for(_pem(SERVER)).data), False),
        (TlsaRecord(3, 255, 1, tlsa_for(_pem(SERVER)).data), False),
        (TlsaRecord(3, 1, 255, tlsa_for(_pem(SERVER)).data), False),
    ],
)
def test_which_chains_match(record: TlsaRecord, expected: bool) -> None:
    chain = [SERVER, AUTHORITY]
    assert record.matches(_pem(*chain)) is expected
    assert record.matches([_pem(one) for one in chain]) is expected
    assert record.matches([one.public_bytes(Encoding.DER) for one in chain]) is expected


def test_no_chain_is_told() -> None:
    record = tlsa_for(_pem(SERVER))
    for chain in ([], "", [b"\x30"]):
        with pytest.raises(TlsaKeyError):
            record.matches(chain)


def test_a_set_holds_the_current_and_the_next_key() -> None:
    current, following = tlsa_for(_pem(SERVER)), tlsa_for(_private(NEXT_KEY))
    records = record_set("MX.example.org", [current, following, current], ttl=300)
    assert [str(one) for one in records] == [
        f"_25._tcp.mx.example.org. 300 IN TLSA {current}",
        f"_25._tcp.mx.example.org. 300 IN TLSA {following}",
    ]


@given(st.one_of(st.text(), st.text(alphabet="0123 abf", max_size=80)))
def test_hostile_text_parses_or_is_refused_properly(text: str) -> None:
    try:
        record = TlsaRecord.parse(text)
    except TlsaError as err:
        assert str(err).isprintable() and 0 <= err.position <= len(text)
        return
    assert TlsaRecord.parse(str(record)) == record
