# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan: DKIM signatures, relaxed/relaxed (RFC 6376; Ed25519: RFC 8463)."""

from __future__ import annotations

import base64
import hashlib
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from .message import Message

SHORTEST_RSA = 1024  # RFC 8301 section 3.2: shorter ones are not verified
# What a reader sees, what a program acts on, and what says how the body is read (RFC 6376 section 5.4.1). A name is
# listed once more than it occurs, so that none can be added afterwards (its section 8.15).
SIGNED = (
    "from sender reply-to subject date message-id to cc mime-version content-type content-transfer-encoding "
    "in-reply-to references list-id list-unsubscribe list-unsubscribe-post list-help feedback-id auto-submitted"
).split()
# Fields that others add to mail under way in all honesty: adding one would break the signature if they were.
_NOT_MORE = frozenset({"sender", "list-id", "list-help", "in-reply-to", "references", "auto-submitted", "feedback-id"})
_SPACES = re.compile(rb"[ \t]+")


class SigningKeyError(Exception):
    """A private key cannot be used; the text names the file, and says how to make one that can."""


@dataclass(frozen=True)
class SigningKey:
    """One key of one domain; ``sign`` makes the signature over the canonical header."""

    domain: str
    selector: str
    algorithm: str
    sign: Callable[[bytes], bytes]


def read_key(pem: bytes, *, domain: str, selector: str, where: str) -> SigningKey:
    """Read a private key in PKCS#1 or PKCS#8. ``where`` names it in errors. Raises :class:`SigningKeyError`."""
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SigningKeyError(
            f"{where} holds no private key in PEM without a passphrase: make one with openssl genrsa 2048"
        ) from None
    if isinstance(key, Ed25519PrivateKey):
        ed25519 = key
        return SigningKey(domain, selector, "ed25519-sha256", lambda data: ed25519.sign(hashlib.sha256(data).digest()))
    if not isinstance(key, RSAPrivateKey):
        raise SigningKeyError(f"{where} is neither an RSA nor an Ed25519 key, and DKIM knows no others")
    if key.key_size < SHORTEST_RSA:
        raise SigningKeyError(
            f"{where} has {key.key_size} bits, fewer than the {SHORTEST_RSA} that receivers want at least"
        )
    rsa, padding, digest = key, PKCS1v15(), SHA256()
    return SigningKey(domain, selector, "rsa-sha256", lambda data: rsa.sign(data, padding, digest))


def relaxed_body(body: bytes) -> bytes:
    """RFC 6376 section 3.4.4, of a body whose lines end in CRLF."""
    # Plain replacements run ten times as fast as a regular expression over every space.
    body = body.replace(b"\t", b" ")
    while b"  " in body:
        body = body.replace(b"  ", b" ")
    body = body.replace(b" \r\n", b"\r\n").rstrip(b"\r\n ")
    return body + b"\r\n" if body else b""


def relaxed_field(name: bytes, raw: bytes) -> bytes:
    """RFC 6376 section 3.4.2, without the CRLF at the end."""
    value = raw.partition(b":")[2].replace(b"\r\n", b"")
    return name + b":" + _SPACES.sub(b" ", value).strip(b" \t")


def sign(message: Message, keys: Sequence[SigningKey], *, now: Callable[[], float] = time.time) -> None:
    """Put a signature by each key on top of the message. Nothing below it may change any more."""
    body_hash = base64.b64encode(hashlib.sha256(relaxed_body(message.body)).digest())
    by_name: dict[str, list[bytes]] = {}
    for label, raw in message.fields:
        by_name.setdefault(label.decode(), []).append(raw)
    names: list[str] = []
    canonical: list[bytes] = []
    for name in SIGNED:
        there = by_name.get(name, ())
        names += [name] * (len(there) + (name not in _NOT_MORE))
        # From the bottom up (RFC 6376 section 5.4.2).
        canonical += [relaxed_field(name.encode(), raw) for raw in reversed(there)]
    listed = ":".join(names)
    for key in keys:
        message.put_first(_signature(key, listed, canonical, body_hash, int(now())))


def _signature(key: SigningKey, listed: str, canonical: Sequence[bytes], body_hash: bytes, when: int) -> bytes:
    start = (
        f"DKIM-Signature: v=1; a={key.algorithm}; c=relaxed/relaxed; d={key.domain};\r\n"
        f" s={key.selector}; t={when};\r\n"
        f" h={_folded(listed)};\r\n"
        f" bh={body_hash.decode()};\r\n b="
    ).encode()
    signed = b"\r\n".join([*canonical, relaxed_field(b"dkim-signature", start)])
    value = base64.b64encode(key.sign(signed))
    return start + b"\r\n ".join(value[at : at + 72] for at in range(0, len(value), 72)) + b"\r\n"


def _folded(listed: str) -> str:
    lines = [""]
    for name in listed.split(":"):
        if len(lines[-1]) + len(name) > 70:
            lines.append("")
        lines[-1] += f"{name}:"
    return "\r\n  ".join(lines).removesuffix(":")
