# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures, which dkimpy verifies."""

from __future__ import annotations

import base64
from functools import cache

import dkim as dkimpy
import pytest
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st
from postmaster_mailer.dkim import SigningKey, SigningKeyError, read_key, relaxed_body, sign
from postmaster_mailer.message import Message, with_crlf

HEADER = (
    b"From: A <a@example.org>\r\nTo: b@example.com\r\nSubject:  hello \r\n\tthere\t\r\nDate: Sun, 29 Nov 2026 01:00:00 +0000\r\n"
    b"Message-ID: <1@example.org>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"List-Unsubscribe: <https://example.org/u/1>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\nX-Other: 1\r\n"
)
FORMATS = {"PKCS#1": form.PrivateFormat.TraditionalOpenSSL, "PKCS#8": form.PrivateFormat.PKCS8}


@cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


@cache
def ed_key() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def pem(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey, kind: str = "PKCS#8") -> bytes:
    return key.private_bytes(form.Encoding.PEM, FORMATS[kind], form.NoEncryption())


def key(selector: str = "r") -> SigningKey:
    private = rsa_key() if selector == "r" else ed_key()
    return read_key(pem(private), domain="example.org", selector=selector, where="test.pem")


def published(name: bytes, timeout: int = 5) -> bytes:
    if name.startswith(b"e."):
        raw = ed_key().public_key().public_bytes(form.Encoding.Raw, form.PublicFormat.Raw)
        return b"v=DKIM1; k=ed25519; p=" + base64.b64encode(raw)
    der = rsa_key().public_key().public_bytes(form.Encoding.DER, form.PublicFormat.SubjectPublicKeyInfo)
    return b"v=DKIM1; k=rsa; p=" + base64.b64encode(der)


def signed(raw: bytes, *keys: SigningKey) -> bytes:
    message = Message.parse(raw)
    sign(message, keys or [key()], now=lambda: 1_795_900_000.5)
    return bytes(message)


def verified(raw: bytes, index: int = 0) -> bool:
    try:
        return bool(dkimpy.DKIM(raw).verify(index, dnsfunc=published))
    except dkimpy.ValidationError:
        return False


def test_the_signature_verifies_and_leaves_the_rest_as_it_was() -> None:
    raw = signed(HEADER + b"\r\nhello  world \r\n\r\n\r\n")
    assert verified(raw)
    assert raw.endswith(HEADER + b"\r\nhello  world \r\n\r\n\r\n")
    assert b"t=1795900000;" in raw.split(b"From:")[0]
    assert max(map(len, raw.split(b"\r\n"))) < 100


def test_rsa_and_ed25519_side_by_side() -> None:
    raw = signed(HEADER + b"\r\nhello\r\n", key("r"), key("e"))
    assert (verified(raw, 0), verified(raw, 1)) == (True, True)
    assert raw.count(b"a=rsa-sha256") == raw.count(b"a=ed25519-sha256") == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"hello\r\n", b"hullo\r\n"),
        (b"From: A", b"From: B"),
        (b"Date: Sun", b"Date: Mon"),
        (b"Message-ID: <1", b"Message-ID: <2"),
        (b"One-Click", b"Two-Click"),
        (b"/u/1>", b"/u/2>"),
        (b"Content-Type: text/plain", b"Content-Type: text/html"),
        (b"From: A <", b"From: x@example.com\r\nFrom: A <"),
        (b"Subject:", b"Subject: other\r\nSubject:"),
        (b"X-Other: 1", b"Reply-To: x@example.com\r\nX-Other: 1"),
        (b"X-Other: 1", b"Cc: x@example.com\r\nX-Other: 1"),
        (b"X-Other: 1", b"Content-Transfer-Encoding: base64\r\nX-Other: 1"),
    ],
)
def test_what_changes_or_is_added_breaks_it(old: bytes, new: bytes) -> None:
    raw = signed(HEADER + b"\r\nhello\r\n")
    top, rest = raw.split(b"\r\nFrom:", 1)
    assert verified(raw)
    assert not verified(top + b"\r\n" + (b"From:" + rest).replace(old, new, 1))


@pytest.mark.parametrize(
    "new", [b"X-Other: 2", b"X-Other: 1\r\nSender: x@example.com", b"X-Other: 1\r\nList-Id: <x.example.com>"]
)
def test_what_others_add_in_all_honesty_does_not(new: bytes) -> None:
    raw = signed(HEADER + b"\r\nhello\r\n")
    assert verified(raw.replace(b"X-Other: 1", new, 1))


@given(st.text(alphabet=" \t\r\na.", max_size=60), st.text(alphabet=" \taé", max_size=20))
def test_every_body_and_subject_verifies(body: str, subject: str) -> None:
    # SMTP carries whole lines.
    text = with_crlf(body.encode() + b"\r\n")
    assert verified(signed(b"From: a@example.org\r\nSubject: " + subject.encode() + b"\r\n\r\n" + text))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", b""),
        (b"\r\n\r\n", b""),
        (b" \r\n", b""),
        (b" C \r\nD \t E\r\n\r\n\r\n", b" C\r\nD E\r\n"),  # RFC 6376 section 3.4.5
        (b"a", b"a\r\n"),
        (b"a\t", b"a\r\n"),
    ],
)
def test_relaxed_body(body: bytes, expected: bytes) -> None:
    assert relaxed_body(body) == expected


@pytest.mark.parametrize("kind", FORMATS)
def test_both_forms_of_keys_are_read(kind: str) -> None:
    read = read_key(pem(rsa_key(), kind), domain="example.org", selector="r", where="test.pem")
    assert verified(signed(HEADER + b"\r\nhello\r\n", read))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "test.pem holds no private key in PEM without a passphrase: make one with openssl genrsa 2048"),
        (b"-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----\n", "test.pem holds no private key"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "test.pem is neither an RSA nor an Ed25519 key"),
    ],
)
def test_what_is_no_key_is_named(text: bytes, said: str) -> None:
    with pytest.raises(SigningKeyError) as error:
        read_key(text, domain="example.org", selector="r", where="test.pem")
    assert str(error.value).startswith(said)
