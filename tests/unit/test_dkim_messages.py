# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Key records at work: what is said of them, and signatures that verify with the text we print."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import Any

import dkim
import pytest
from ansible_collections.postmaster.mail.plugins.filter.signature_problems import signature_problems
from ansible_collections.postmaster.mail.plugins.module_utils._check_mail import Mail
from ansible_collections.postmaster.mail.plugins.module_utils._dkim import DkimRecord, generate
from ansible_collections.postmaster.mail.plugins.module_utils._signatures import Signature, verify

sys.path.insert(0, str(Path(__file__).parent))

import _suites as suites
from _suites import DATA, needs_data

P = base64.b64encode(generate("rsa", 2048).public).decode()
WEAK = base64.b64encode(generate("rsa", 1024).public).decode()
ED25519 = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="  # RFC 8463 appendix A.2
TINY = "MEgCQQDdeqDZyT9vDzRuVDBDjoH/CzFFEcMdFQ/cKC+rRTw5mZM2Ny6wPUYDE3gi90Nn9E2EMlqDSCZ1Kpn02hP9YfXTAgMBAAE="

PROBLEMS = [
    (f"v=DKIM1; p={P}", []),
    (f"v=DKIM1; k=ed25519; h=sha256; s=email; t=s; p={ED25519}", []),
    ("v=DKIM1; t=y; p=", []),
    (f"v=DKIM1; p={WEAK}", ["has 1024 bits, and should have 2048"]),
    (f"v=DKIM1; p={TINY}", ["has 512 bits, and verifiers refuse less than 1024"]),
    (f"v=DKIM1; h=sha1; t=y:s; p={P}", ["h=sha1 leaves out sha256", "t=y says that"]),
    (f"v=DKIM1; s=tlsrpt; g=*; p={P}", ["s=tlsrpt says that the key is not for mail", "g= has no meaning any more"]),
    ("v=DKIM1; k=quantum; p=AAAA", ["k=quantum is a key type that verifiers do not know"]),
]
REFUSALS = [
    (f"p={P}", "rsa-sha256", "", ""),
    (f"p={P}", "rsa-sha256", "joe@mail.example.org", ""),
    (f"t=s; p={P}", "rsa-sha256", "joe@Example.org", ""),
    (
        f"t=s; p={P}",
        "rsa-sha256",
        "@mail.example.org",
        "t=s wants i= to be in example.org itself, not in mail.example.org",
    ),
    ("p=", "rsa-sha256", "", "the key is revoked"),
    (f"p={P}", "rsa-sha1", "", "rsa-sha1 must not be used"),
    (f"p={P}", "ed25519-sha256", "", "a=ed25519-sha256 does not fit k=rsa"),
    (f"h=sha1; p={P}", "rsa-sha256", "", "does not fit h=sha1"),
    (f"s=tlsrpt; p={P}", "rsa-sha256", "", "the key is not for mail"),
    (f"p={TINY}", "rsa-sha256", "", "has 512 bits, less than 1024"),
]


@pytest.mark.parametrize(("text", "expected"), PROBLEMS)
def test_problems(text: str, expected: list[str]) -> None:
    problems = DkimRecord.parse(text).problems
    assert len(problems) == len(expected)
    for problem, piece in zip(problems, expected, strict=True):
        assert piece in problem and "(RFC " in problem


@pytest.mark.parametrize(("text", "algorithm", "identity", "expected"), REFUSALS)
def test_why_a_signature_is_not_taken(text: str, algorithm: str, identity: str, expected: str) -> None:
    reason = DkimRecord.parse(text).refusal(algorithm=algorithm, domain="example.org", identity=identity)
    assert expected in reason and bool(reason) == bool(expected)


@pytest.mark.parametrize(
    ("notes", "expected"),
    [
        ("a note", "a note"),
        ("a=20note=3B\r\n =3D", "a note; ="),
        ("=C3=A9", "\u00e9"),
        ("=E9=zz=4", "\ufffd=zz=4"),
        ("", ""),
    ],
)
def test_notes_are_decoded(notes: str, expected: str) -> None:
    assert DkimRecord.parse(f"v=DKIM1; n={notes}; p=").note == expected


# -- messages kept elsewhere --------------------------------------------------------------------

# The keys of RFC 6376 appendix C and of RFC 8463 appendix A.2, by selector and domain.
BRISBANE = (
    "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYtIxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od"
    "+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB"
)
FOOTBALL = (
    "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ"
    "/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB"
)
RECORDS = {
    "brisbane._domainkey.example.com.": f"v=DKIM1; p={BRISBANE}",
    "s.flags._domainkey.example.com.": f"v=DKIM1; t=s; p={BRISBANE}",
    "brisbane._domainkey.football.example.com.": f"v=DKIM1; k=ed25519; p={ED25519}",
    "test._domainkey.football.example.com.": f"v=DKIM1; k=rsa; p={FOOTBALL}",
}
# Messages whose signature must not verify; all others must.
BROKEN = {
    "added_header-from.eml",  # a second From, which h= names twice
    "flags_s-auid_is_subdomain_of_sdid.eml",
    "rfc6376-A.2-body_modified.eml",
    "rfc6376-A.2-header_subject_modified.eml",
    "rfc6376-A.2-ill_formed-missing_v.eml",
    "rfc8463-A.3-key_algo_mismatch.eml",
}


def _printed(name: str) -> list[str]:
    """The record as we print it."""
    return [str(DkimRecord.parse(RECORDS[name]))] if name in RECORDS else []


@needs_data
def test_given_messages() -> None:
    seen, differing = [], []
    for path in sorted(Path(DATA, "dkim").rglob("*.eml")):
        message = path.read_bytes().replace(b"\r\n", b"\n")
        for lines in (message, message.replace(b"\n", b"\r\n")):  # as a maildir holds it, and as SMTP carries it
            for one in verify(Mail(lines), _printed):
                assert bool(one.reason) != one.valid
                seen.append(path.name)
                differing += [path.name] if one.valid != (path.name not in BROKEN) else []
    assert len(seen) > 60
    suites.settle("dkim", seen, differing)


# -- messages made here -------------------------------------------------------------------------

LETTER = (
    b"From: a@example.org\r\nTo: b@example.net\r\nSubject: x\r\nDate: Fri, 1 Jan 2027 00:00:00 +0000\r\n\r\nbody\r\n"
)
PLACE = "k1._domainkey.example.org."


def _key(algorithm: bytes) -> tuple[bytes, str]:
    """A private key as dkimpy takes it, and p= of its record."""
    key = generate("ed25519" if algorithm.startswith(b"ed25519") else "rsa", 2048)
    if key.algorithm == "rsa":
        return key.pem, base64.b64encode(key.public).decode()
    return base64.b64encode(base64.b64decode(key.seed_and_public)[:32]), base64.b64encode(key.public).decode()


def _made(tags: str, algorithm: bytes = b"rsa-sha256", identity: bytes | None = None) -> tuple[Mail, str]:
    """A signed message and the record of its key, which has ``tags`` too."""
    private, public = _key(algorithm)
    signer = dkim.DKIM(LETTER, signature_algorithm=algorithm)
    return Mail(signer.sign(b"k1", b"example.org", private, identity=identity) + LETTER), f"v=DKIM1; {tags}p={public}"


def _sole(mail: Mail, *texts: str) -> Signature:
    (one,) = verify(mail, lambda name: list(texts) if name == PLACE else [])
    return one


# Each with the twin that differs in that point alone and holds. dkimpy takes them all.
HELD = [
    ("", {}, ("", {"algorithm": b"rsa-sha1"}), "rsa-sha1 must not be used (RFC 8301 section 3.1)"),
    ("h=sha256; ", {}, ("h=sha1; ", {}), "a=rsa-sha256 does not fit h=sha1 (RFC 6376 section 6.1.2)"),
    ("t=y; ", {"identity": b"a@sub.example.org"}, ("t=s; ", {"identity": b"a@sub.example.org"}),
     "t=s wants i= to be in example.org itself, not in sub.example.org (RFC 6376 section 3.6.1)"),
    ("t=s; ", {"identity": b"a@example.org"}, ("t=y:s; ", {"identity": b"a@sub.example.org"}),
     "t=s wants i= to be in example.org itself, not in sub.example.org (RFC 6376 section 3.6.1)"),
]  # fmt: skip


@pytest.mark.parametrize(("tags", "how", "refused", "reason"), HELD)
def test_the_key_has_the_last_word(
    tags: str, how: dict[str, Any], refused: tuple[str, dict[str, Any]], reason: str
) -> None:
    one = _sole(*_made(tags, **how))
    assert (one.valid, one.reason) == (True, "")
    mail, record = _made(refused[0], **refused[1])
    assert dkim.verify(mail.raw, dnsfunc=lambda name, timeout=5: record.encode())
    one = _sole(mail, record)
    assert (one.valid, one.reason) == (False, reason)


def test_what_is_wrong_with_the_key_is_told() -> None:
    mail, record = _made("")
    assert _sole(mail, record + "; ").valid is True
    assert _sole(mail).reason == "no key is published at k1._domainkey.example.org."
    assert _sole(mail, "v=DKIM1; p=").reason == "the key is revoked: p= is empty (RFC 6376 section 3.6.1)"
    assert _sole(mail, record.replace("; ", ";; ")).reason.startswith(f"the key at {PLACE} cannot be read: ")
    changed = _sole(Mail(mail.raw.replace(b"body", b"BODY")), record)
    assert changed.valid is False and changed.reason.startswith("body hash mismatch")


class Expiring(dkim.DKIM):
    """Signs for a week that is over at X, years ago."""

    X = 1_600_000_000

    def gen_header(self, fields: list[tuple[bytes, bytes]], *more: Any) -> bytes:
        week = [(b"t", str(self.X - 7 * 86400).encode()), (b"x", str(self.X).encode())]
        made: bytes = super().gen_header(
            [one for one in fields if one[0] not in (b"t", b"bh", b"b")] + week + fields[-2:], *more
        )
        return made


RECEIVED = "Received: from a.example ([192.0.2.1]) by b.example; {date}\r\n"


@pytest.mark.parametrize(
    ("date", "holds"),
    [
        ("Sun, 13 Sep 2020 12:26:40 +0000", True),
        ("Sun, 13 Sep 2020 12:26:41 +0000", False),
        ("Sun, 13 Sep 2020 13:26:40 +0100", True),
        ("whenever", False),  # by the clock of today
    ],
)
@pytest.mark.parametrize("algorithm", [b"rsa-sha256", b"ed25519-sha256"])
def test_the_age_of_a_signature_counts_when_the_message_arrives(date: str, holds: bool, algorithm: bytes) -> None:
    private, public = _key(algorithm)
    record = f"v=DKIM1; k={'rsa' if algorithm.startswith(b'rsa') else 'ed25519'}; p={public}"
    signed = Expiring(LETTER, signature_algorithm=algorithm).sign(b"k1", b"example.org", private) + LETTER
    with pytest.raises(dkim.ValidationError, match="x= value is past"):
        dkim.DKIM(signed).verify(dnsfunc=lambda name, timeout=5: record.encode())
    received = RECEIVED.format(date=date).encode()
    one = _sole(Mail(received + signed), record)
    assert (one.valid, one.reason) == (holds, "" if holds else "it had expired (x=) when the message arrived")
    changed = _sole(Mail(received + signed.replace(b"body", b"BODY")), record)
    assert changed.valid is False and changed.reason.startswith("body hash mismatch")


NO_NACL = "the Python library PyNaCl is not at hand, which Ed25519 needs: install python3-nacl (pip install pynacl)"


def test_ed25519_without_its_library_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    mail, record = _made("k=ed25519; ", b"ed25519-sha256")
    rsa, rsa_record = _made("")
    assert _sole(mail, record).valid is True
    monkeypatch.delattr(dkim, "nacl")
    one = _sole(mail, record)
    assert (one.valid, one.reason) == (None, NO_NACL)
    # What needs no library is judged as before.
    assert _sole(mail, "v=DKIM1; k=ed25519; p=").valid is False
    assert _sole(rsa, rsa_record).valid is True


def test_signature_problems_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def problems(mail: Mail, record: str, selector: str = "k1") -> list[str]:
        signed = [{"domain": "example.org", "problem": "", "text": mail.raw.decode()}]
        return signature_problems(signed, [{"domain": "Example.org", "selector": selector, "record": record}])

    mail, record = _made("k=ed25519; ", b"ed25519-sha256")
    assert problems(mail, record) == []
    assert problems(mail, record, "k2") == ["Example.org: no signature was made with k2"]
    assert problems(mail, "v=DKIM1; p=") == [
        "Example.org: the signature with k1 is bad: the key is revoked: p= is empty (RFC 6376 section 3.6.1)"
    ]
    monkeypatch.delattr(dkim, "nacl")
    assert problems(mail, record) == [f"Example.org: the signature with k1 cannot be verified: {NO_NACL}"]
