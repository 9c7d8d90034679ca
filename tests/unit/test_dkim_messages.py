# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Key records at work: what is said of them, and signatures that verify with the text we print."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path

import dkim
import pytest
from ansible_collections.postmaster.mail.plugins.module_utils._dkim import DkimRecord, generate

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

DATA = os.environ.get("MAIL_TEST_DATA", "")
needs_data = pytest.mark.skipif(not DATA, reason="not run: MAIL_TEST_DATA is not set")

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


def _signed() -> Iterator[tuple[Path, bytes, int]]:
    for path in sorted(Path(DATA, "dkim").rglob("*.eml")):
        message = path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        head = message.lower().partition(b"\r\n\r\n")[0]
        count = (b"\r\n" + head).count(b"\r\ndkim-signature:")
        if count:
            yield path, message, count


def _answer(name: bytes, timeout: int = 5) -> bytes:
    return str(DkimRecord.parse(RECORDS[name.decode()])).encode()


def _verdict(message: bytes, index: int) -> bool:
    """dkimpy's verdict with the record as we print it, and ours on what it does not look at."""
    checker = dkim.DKIM(message)
    try:
        if not checker.verify(index, dnsfunc=_answer):
            return False
    except (dkim.DKIMException, ValueError):
        return False
    tags = {name.decode(): value.decode() for name, value in checker.signature_fields.items()}
    record = DkimRecord.parse(RECORDS[f"{tags['s']}._domainkey.{tags['d']}."])
    return not record.refusal(algorithm=tags["a"], domain=tags["d"], identity=tags.get("i", ""))


@needs_data
def test_given_messages() -> None:
    seen = 0
    for path, message, count in _signed():
        for index in range(count):
            assert _verdict(message, index) == (path.name not in BROKEN), path.name
            seen += 1
    assert seen > 30
