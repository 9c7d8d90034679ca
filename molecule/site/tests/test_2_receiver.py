# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The receiver can say no: each case differs in one point from a message that passes.

These messages are made and signed here with dkimpy, so that nothing of ours has a say in them.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from lab.probe import Dialogue, Lab

SENDER = "alex@corp.example"
SOMEONE = "someone@outside.test"


@dataclass(frozen=True)
class Signer:
    """A key of the test's own, published for corp.example under a selector of its own."""

    selector: str
    private: bytes

    def sign(self, text: bytes) -> bytes:
        """The message with a signature on top."""
        signature: bytes = dkim.sign(text, self.selector.encode(), b"corp.example", self.private)
        return signature + text


def _signer(lab: Lab, selector: str, *, spoil: bool = False) -> Signer:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = bytearray(
        key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    if spoil:
        public[100] ^= 1  # one bit of the modulus: still a key, but another
    text = f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}"
    strings = " ".join(f'"{text[start : start + 255]}"' for start in range(0, len(text), 255))
    lab.update(f"{selector}._domainkey.corp.example.", "TXT", [strings])
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    return Signer(selector, private)


@pytest.fixture(scope="module")
def good(lab: Lab) -> Signer:
    return _signer(lab, "test-good")


@pytest.fixture(scope="module")
def spoilt(lab: Lab) -> Signer:
    return _signer(lab, "test-spoilt", spoil=True)


def text(token: str) -> bytes:
    lines = [f"From: {SENDER}", f"To: {SOMEONE}", f"Subject: {token}", f"Message-ID: <{token}@corp.example>"]
    lines += ["Date: Fri, 02 Jan 2026 10:00:00 +0000", "", "Hello.", ""]
    return "\r\n".join(lines).encode()


def send(lab: Lab, host: str, message: bytes, *, source: str = "") -> Dialogue:
    return lab.smtp(host, "outside", sender=SENDER, recipients=SOMEONE, message=message, source=source)


@pytest.mark.parametrize(
    ("host", "key", "expected"),
    [
        ("relay1", "good", {"spf": "pass", "dkim": "pass", "dmarc": "pass"}),
        ("relay1", "none", {"spf": "pass", "dkim": "none", "dmarc": "pass"}),
        ("relay1", "spoilt", {"spf": "pass", "dkim": "fail", "dmarc": "pass"}),
        ("stranger", "good", {"spf": "fail", "dkim": "pass", "dmarc": "pass"}),
    ],
)
def test_verdicts(
    lab: Lab, good: Signer, spoilt: Signer, host: str, key: str, expected: dict[str, str], token: str
) -> None:
    signers = {"good": good.sign, "spoilt": spoilt.sign, "none": bytes}
    dialogue = send(lab, host, signers[key](text(token)))
    assert dialogue.accepted, dialogue.refusal
    message = lab.wait_for_message(token)
    assert message.verdicts == expected
    assert lab.dkim_verifies(message) is (key == "good")


@pytest.mark.parametrize("key", ["none", "spoilt"])
def test_both_wrong_under_reject_is_refused(lab: Lab, spoilt: Signer, key: str, token: str) -> None:
    signers = {"spoilt": spoilt.sign, "none": bytes}
    dialogue = send(lab, "stranger", signers[key](text(token)))
    assert dialogue.refusal is not None
    said, code, dummy = dialogue.refusal
    assert (said, code // 100) == (".", 5)


def test_an_address_without_a_name_is_refused(lab: Lab, good: Signer, token: str) -> None:
    dialogue = send(lab, "stranger", good.sign(text(token)), source=lab.nameless())
    assert dialogue.refusal is not None
    said, code, reason = dialogue.refusal
    assert (said, code) == ("RCPT", 550)
    assert "cannot find your hostname" in reason
    assert not lab.messages(token)
