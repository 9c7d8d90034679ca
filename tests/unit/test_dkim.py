# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""DKIM values: names, key records, private keys."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from pathlib import Path

import dkim
import pytest
from ansible_collections.postmaster.mail.plugins.module_utils._dkim import (
    DkimError,
    DkimKey,
    DkimKeyError,
    DkimRecord,
    check_domain,
    check_selector,
    generate,
    read_private,
    record_name,
    split,
)
from cryptography.hazmat.primitives import serialization as ser
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

import _suites as suites
from _suites import needs_data

# RFC 6376 appendix C (the key that signs the example) and RFC 8463 appendix A.2.
RFC_RSA = (
    "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYtIxN2SnFC"
    "jxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB"
)
RFC_ED25519 = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="

PARSED = [
    (f"v=DKIM1; p={RFC_RSA}", DkimRecord(base64.b64decode(RFC_RSA))),
    (f"v=DKIM1;k=rsa;p={RFC_RSA};", DkimRecord(base64.b64decode(RFC_RSA))),
    (f"k=rsa; t=s; p={RFC_RSA}", DkimRecord(base64.b64decode(RFC_RSA), flags=("s",))),
    (f"v=DKIM1; k=ed25519; p={RFC_ED25519}", DkimRecord(base64.b64decode(RFC_ED25519), key_type="ed25519")),
    ("v=DKIM1; p=", DkimRecord(b"")),
    ("p=", DkimRecord(b"")),
    ("V=DKIM2; p=;", DkimRecord(b"", unknown=(("V", "DKIM2"),))),
    (
        "v=DKIM1; h=sha1 : sha256; s=email:*; t=y:s; n=a note; x_9=; p=",
        DkimRecord(
            b"",
            hashes=("sha1", "sha256"),
            services=("email", "*"),
            flags=("y", "s"),
            notes="a note",
            unknown=(("x_9", ""),),
        ),
    ),
    (f"v=DKIM1; p={RFC_RSA[:70]} \t{RFC_RSA[70:]}", DkimRecord(base64.b64decode(RFC_RSA))),
    ("v=DKIM1; \r\n k=rsa; p=", DkimRecord(b"")),
    ("v=DKIM1; k=quantum; p=AAAA", DkimRecord(b"\0\0\0", key_type="quantum")),
]

REFUSED = [
    ("", 0, "a key record is not empty (RFC 6376 section 3.6.1)"),
    ("p=; v=DKIM1", 4, "v= is DKIM1 in capitals and stands first (RFC 6376 section 3.6.1)"),
    ("v=dkim1; p=", 0, "v= is DKIM1 in capitals and stands first (RFC 6376 section 3.6.1)"),
    ("v=DKIM1; p=; ", 12, "between semicolons stands a tag, and nothing after the last (RFC 6376 section 3.2)"),
    ("v=DKIM1;; p=", 8, "between semicolons stands a tag, and nothing after the last (RFC 6376 section 3.2)"),
    ("v=DKIM1; k=rsa", 0, "a key record has a tag p= (RFC 6376 section 3.6.1)"),
    ("t=y; o=~;", 0, "a key record has a tag p= (RFC 6376 section 3.6.1)"),
    ("v=DKIM1 p=", 0, "v= is DKIM1 in capitals and stands first (RFC 6376 section 3.6.1)"),
    ("v=DKIM1; p", 8, "a tag is name=value (RFC 6376 section 3.2)"),
    ("v=DKIM1; 1a=; p=", 9, "a tag's name is a letter, then letters, digits and underscores (RFC 6376 section 3.2)"),
    ("v=DKIM1; p=; p=", 13, "a tag stands once in a list (RFC 6376 section 3.2)"),
    ("v=DKIM1; k=; p=", 9, "k= names one key type (RFC 6376 section 3.6.1)"),
    ("v=DKIM1; h=; p=", 9, "h= holds words between colons (RFC 6376 section 3.6.1)"),
    ("v=DKIM1; t=y:; p=", 9, "t= holds words between colons (RFC 6376 section 3.6.1)"),
    ("v=DKIM1; h=*; p=", 9, "h= holds words between colons (RFC 6376 section 3.6.1)"),
    ("v=DKIM1; n=b\u00fccher; p=", 12, "a value is printable ASCII with folding white space inside only (RFC 6376 section 3.2)"),
    ("v=DKIM1; n=a\nb; p=", 12, "a value is printable ASCII with folding white space inside only (RFC 6376 section 3.2)"),
    ("v=DKIM1; p=AA\"\"AA", 13, "p= holds base64, its strings joined without quotes (RFC 6376 section 3.6.1)"),
    (f"v=DKIM1; p={RFC_RSA[:215]}", 9, "p= is base64, complete with its padding (RFC 6376 section 3.6.1)"),
    (f"v=DKIM1; p={RFC_RSA[:212]}", 9, "p= is not the DER of an RSA public key (RFC 6376 section 3.6.1, erratum 3017)"),
    (f"v=DKIM1; p={RFC_ED25519}", 9, "p= is not the DER of an RSA public key (RFC 6376 section 3.6.1, erratum 3017)"),
    ("v=DKIM1; k=ed25519; p=HbawiMnQXTCopHTkR0jlKQ==", 20, "p= of an Ed25519 key is its 32 octets (RFC 8463 section 4.2)"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), PARSED)
def test_parse(text: str, expected: DkimRecord) -> None:
    record = DkimRecord.parse(text)
    assert record == expected
    assert DkimRecord.parse(str(record)) == record
    assert re.sub(r"\s|;\Z", "", str(record)) == re.sub(r"\s|;\Z", "", text)


@pytest.mark.parametrize(("text", "position", "rule"), REFUSED)
def test_parse_refuses(text: str, position: int, rule: str) -> None:
    with pytest.raises(DkimError) as caught:
        DkimRecord.parse(text)
    assert (caught.value.position, caught.value.rule) == (position, rule)
    assert caught.value.term in text


@pytest.mark.parametrize("rest", ["; ", ";\t \r\n "])
def test_readers_pass_over_blanks_at_the_end(rest: str) -> None:
    record = DkimRecord.read(f"v=DKIM1; t=s; p={rest}")
    assert record == DkimRecord.parse("v=DKIM1; t=s; p=") and str(record) == "v=DKIM1; t=s; p="
    assert [(fault.position, fault.rule[:23]) for fault in record.faults] == [(17, "between semicolons stan")]
    assert DkimRecord.read("v=DKIM1; t=s; p=;").faults == ()


@pytest.mark.parametrize("text", ["v=DKIM1; p=;; ", *(text for text, *dummy in REFUSED if not text.endswith("; "))])
def test_readers_pass_over_nothing_else(text: str) -> None:
    with pytest.raises(DkimError):
        DkimRecord.read(text)


def test_bits_of_both_forms_of_rsa() -> None:
    bare = base64.b64encode(base64.b64decode(RFC_RSA)[22:]).decode()  # RSAPublicKey without its envelope
    assert DkimRecord.parse(f"p={RFC_RSA}").bits == DkimRecord.parse(f"p={bare}").bits == 1024


HOSTILE = st.one_of(
    st.text(max_size=300),
    st.lists(st.sampled_from(["v=DKIM1", "p=", "k=rsa", "k=ed25519", "h=", "t=y", "n=", ";", " ", "\r\n ",
                              "=", ":", "MIGf", RFC_RSA, RFC_ED25519, "\0", "\u00fc"]), max_size=14).map("".join),
    st.binary(max_size=200).map(lambda octets: "v=DKIM1; p=" + base64.b64encode(octets).decode()),
)  # fmt: skip


@given(HOSTILE)
def test_hostile_text_is_a_record_or_an_error(text: str) -> None:
    try:
        record = DkimRecord.parse(text)
    except DkimError as err:
        assert 0 <= err.position <= len(text)
        assert str(err).isprintable()
        return
    assert DkimRecord.parse(str(record)) == record


WORD = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
RECORDS = st.builds(
    DkimRecord,
    public_key=st.sampled_from([b"", base64.b64decode(RFC_RSA)]),
    hashes=st.lists(WORD, max_size=3).map(tuple),
    services=st.lists(WORD | st.just("*"), min_size=1, max_size=3).map(tuple),
    flags=st.lists(WORD, max_size=3).map(tuple),
    notes=st.from_regex(r"([!-:<-~]([!-:<-~ ]{0,20}[!-:<-~])?)?", fullmatch=True),
    unknown=st.dictionaries(st.from_regex(r"[A-Zxyz][a-z0-9_]{1,5}", fullmatch=True), WORD, max_size=3).map(
        lambda some: tuple(some.items())
    ),
)


@given(RECORDS)
def test_print_and_parse(record: DkimRecord) -> None:
    assert DkimRecord.parse(str(record)) == record


NAMES = [
    (check_domain, "Example.ORG", "example.org"),
    (check_domain, "xn--bcher-kva.example", "xn--bcher-kva.example"),
    (check_domain, "a-b.c--d.example", "a-b.c--d.example"),
    (check_selector, "Mail", "mail"),
    (check_selector, "2026.q4", "2026.q4"),
]

BAD_NAMES = [
    (check_domain, "", "'' at character 1: a domain is not empty (RFC 6376 section 3.5)"),
    (check_domain, "example.org ", "'example.org ' at character 12: a domain holds no white space; remove it (RFC 6376 section 3.5)"),
    (check_domain, "b\u00fccher.example", "'b\\xfccher.example' at character 2: a domain is ASCII; write it as its A-label, "
        "xn--bcher-kva.example (RFC 5890 section 2.3.2.1)"),
    (check_domain, "stra\u00dfe.example", "'stra\\xdfe.example' at character 5: a domain is ASCII; write it as its "
        "A-label, xn--... (RFC 5890 section 2.3.2.1)"),
    (check_domain, "\ud800.example", "'\\ud800.example' at character 1: a domain is ASCII; write it as its A-label, xn--... (RFC 5890 section 2.3.2.1)"),
    (check_domain, "example.org.", "'example.org.' at character 13: a domain has no empty label and no dot at its ends (RFC 6376 section 3.5)"),
    (check_domain, "localhost", "'localhost' at character 1: a signing domain has at least two labels (RFC 6376 section 3.5)"),
    (check_domain, "../etc.example", "'..' at character 1: a domain has no empty label and no dot at its ends (RFC 6376 section 3.5)"),
    (check_domain, "a/b.example", "'a/b' at character 1: labels of a domain are letters, digits and inner hyphens (RFC 6376 section 3.5)"),
    (check_domain, "a." + "b" * 64, f"'{'b' * 57}...' at character 3: a label has at most 63 octets (RFC 1035 section 2.3.4)"),
    (check_selector, "a_b", "'a_b' at character 1: labels of a selector are letters, digits and inner hyphens (RFC 6376 section 3.1)"),
    (check_selector, "x.-y", "'-y' at character 3: labels of a selector are letters, digits and inner hyphens (RFC 6376 section 3.1)"),
    (check_selector, "a\n", "'a\\n' at character 2: a selector holds no white space; remove it (RFC 6376 section 3.1)"),
    (check_selector, "a;rm", "'a;rm' at character 1: labels of a selector are letters, digits and inner hyphens (RFC 6376 section 3.1)"),
]  # fmt: skip


@pytest.mark.parametrize(("check", "text", "expected"), NAMES)
def test_names(check, text: str, expected: str) -> None:
    assert check(text) == expected


@pytest.mark.parametrize(("check", "text", "message"), BAD_NAMES)
def test_bad_names(check, text: str, message: str) -> None:
    if message.startswith("'..'"):
        message = message.replace("'..'", "'../etc.example'")
    with pytest.raises(DkimError) as caught:
        check(text)
    assert str(caught.value) == message


def test_a_record_name_has_its_limit() -> None:
    domain = ".".join(["a" * 60] * 4)
    assert check_domain(domain) == domain
    with pytest.raises(DkimError, match="its record's name would exceed 253 characters"):
        check_selector("selector", domain)


@given(st.text(max_size=80))
def test_hostile_names(text: str) -> None:
    for check in (check_domain, check_selector):
        try:
            assert re.fullmatch(r"[a-z0-9.-]+", check(text))
        except DkimError as err:
            assert str(err).isprintable()


def test_split() -> None:
    text = "v=DKIM1; p=" + "A" * 700
    assert [len(part) for part in split(text)] == [255, 255, 201]
    assert "".join(split(text)) == text


# Private keys


@pytest.fixture(scope="module")
def rsa_key() -> DkimKey:
    return generate("rsa", 2048)


@pytest.fixture(scope="module")
def ed25519_key() -> DkimKey:
    return generate("ed25519")


def test_generated_rsa(rsa_key: DkimKey) -> None:
    loaded = ser.load_pem_private_key(rsa_key.pem, None)
    spki = loaded.public_key().public_bytes(ser.Encoding.DER, ser.PublicFormat.SubjectPublicKeyInfo)
    assert (rsa_key.bits, rsa_key.public) == (2048, spki)
    assert rsa_key.record.bits == 2048


def test_read_all_forms_of_rsa(rsa_key: DkimKey) -> None:
    loaded = ser.load_pem_private_key(rsa_key.pem, None)
    assert isinstance(loaded, rsa.RSAPrivateKey)
    pkcs1 = loaded.private_bytes(ser.Encoding.PEM, ser.PrivateFormat.TraditionalOpenSSL, ser.NoEncryption())
    for content in (pkcs1, rsa_key.pem, b"a line before\n" + rsa_key.pem.replace(b"\n", b"\r\n") + b"\nand after"):
        assert read_private(content) == rsa_key


def test_read_all_forms_of_ed25519(ed25519_key: DkimKey) -> None:
    loaded = ser.load_pem_private_key(ed25519_key.pem, None)
    seed = loaded.private_bytes(ser.Encoding.Raw, ser.PrivateFormat.Raw, ser.NoEncryption())
    assert loaded.public_key().public_bytes(ser.Encoding.Raw, ser.PublicFormat.Raw) == ed25519_key.public
    for content in (ed25519_key.pem, ed25519_key.seed_and_public, base64.b64encode(seed)):
        assert read_private(content) == ed25519_key


def test_the_rfc_8463_key() -> None:
    key = read_private(b"nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
    assert key.record == DkimRecord.parse(f"v=DKIM1; h=sha256; k=ed25519; p={RFC_ED25519}")


def _pem(label: str, body: str) -> bytes:
    return f"-----BEGIN {label}-----\n{body}\n-----END {label}-----\n".encode()


BAD_KEYS = [
    (b"", "is no private key in PEM"),
    (b"\xff\xfe\x00", "is no private key in PEM"),
    (b"-----BEGIN PRIVATE KEY-----\nAAAA", "is no private key in PEM"),
    (_pem("PRIVATE KEY", "AAAA"), "holds a damaged private key"),
    (_pem("PRIVATE KEY", "A!"), "holds a damaged PEM block PRIVATE KEY"),
    (_pem("RSA PRIVATE KEY", "MAMCAQA="), "holds a damaged RSA key"),
    (_pem("ENCRYPTED PRIVATE KEY", "AAAA"), "holds an encrypted key, which no signer can read; store it without a passphrase"),
    (_pem("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\n\nAAAA"), "holds an encrypted key, which no signer can read; store it without a passphrase"),
    (_pem("CERTIFICATE", "AAAA"), "holds no RSA or Ed25519 private key but a CERTIFICATE"),
    (base64.b64encode(bytes(64)), "holds a damaged Ed25519 key"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "message"), BAD_KEYS)
def test_bad_keys(content: bytes, message: str) -> None:
    with pytest.raises(DkimKeyError) as caught:
        read_private(content)
    assert str(caught.value) == message


def test_foreign_and_weak_keys() -> None:
    plain = (ser.Encoding.PEM, ser.PrivateFormat.PKCS8, ser.NoEncryption())
    with pytest.raises(DkimKeyError, match="neither RSA nor Ed25519"):
        read_private(ec.generate_private_key(ec.SECP256R1()).private_bytes(*plain))
    # 1016 bits: two primes of 508
    weak = subprocess.run(["openssl", "genrsa", "1016"], capture_output=True, check=False).stdout
    if weak:
        with pytest.raises(DkimKeyError, match="RSA key of 1016 bits; verifiers refuse less than 1024"):
            read_private(weak)


@given(at=st.integers(0, 1190), octet=st.integers(1, 255))
def test_a_changed_octet_is_found_or_harmless(rsa_key: DkimKey, at: int, octet: int) -> None:
    der = bytearray(base64.b64decode(b"".join(rsa_key.pem.splitlines()[1:-1])))
    der[at % len(der)] ^= octet
    try:
        key = read_private(_pem("PRIVATE KEY", base64.b64encode(bytes(der)).decode()))
    except DkimKeyError:
        return
    assert key.public == rsa_key.public


@given(st.binary(max_size=300))
def test_hostile_keys(octets: bytes) -> None:
    for content in (octets, _pem("PRIVATE KEY", base64.b64encode(octets).decode()), _pem("RSA PRIVATE KEY", base64.b64encode(octets).decode())):  # fmt: skip
        with pytest.raises(DkimKeyError):
            read_private(content)


def test_nothing_shows_the_private_key(rsa_key: DkimKey, ed25519_key: DkimKey) -> None:
    for key in (rsa_key, ed25519_key):
        assert "PRIVATE" not in repr(key)
        assert "pem" not in repr(key)


@pytest.mark.parametrize(
    ("algorithm", "bits", "message"),
    [
        ("rsa", 1023, "an RSA key has 1024 to 4096 bits, not 1023 (RFC 8301 section 3.2)"),
        ("rsa", 8192, "an RSA key has 1024 to 4096 bits, not 8192 (RFC 8301 section 3.2)"),
        ("dsa", 2048, "no such algorithm: 'dsa'; there are rsa and ed25519"),
    ],
)
def test_generate_refuses(algorithm: str, bits: int, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        generate(algorithm, bits)
    assert str(caught.value) == message


# Other people's software

MESSAGE = (
    b"From: a@corp.example\r\nTo: b@outside.test\r\nSubject: t\r\nDate: Fri, 20 Nov 2026 11:00:00 +0000\r\n\r\nhi\r\n"
)


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_dkimpy_signs_and_verifies(kind: str, rsa_key: DkimKey, ed25519_key: DkimKey) -> None:
    key = rsa_key if kind == "rsa" else ed25519_key
    private = key.pem
    if kind == "ed25519":  # dkimpy reads the seed alone
        private = base64.b64encode(base64.b64decode(key.seed_and_public)[:32])
    algorithm = f"{kind}-sha256".encode()
    signature = dkim.sign(MESSAGE, b"s1", b"corp.example", private, signature_algorithm=algorithm)
    asked: list[str] = []

    def answer(name: bytes, timeout: int = 5) -> bytes:
        asked.append(name.decode())
        return str(key.record).encode()

    assert dkim.verify(signature + MESSAGE, dnsfunc=answer)
    assert asked == [record_name("s1", "corp.example")]
    assert not dkim.verify(signature + MESSAGE.replace(b"hi", b"ho"), dnsfunc=answer)


# Suites kept elsewhere


@needs_data
def test_given_syntax_cases() -> None:
    suites.settle_syntax("dkim-key", DkimRecord.parse, DkimError)


@needs_data
def test_given_public_records() -> None:
    records = suites.rows("moj-mail-records.json")
    texts = [
        text
        for record in records
        if record["type"] == "TXT" and re.match(r"[^_].*\._domainkey\.", record["name"])
        for text in record["values"]
    ]
    assert len(texts) > 100
    for text in texts:
        if '"' in text:  # three zones published the quotes of their strings, so no verifier can read the key
            with pytest.raises(DkimError, match="strings joined without quotes"):
                DkimRecord.parse(text)
            continue
        record = DkimRecord.parse(text)
        assert record.revoked or record.bits >= 1024
        assert str(record).replace(" ", "") == re.sub(r" |;\Z", "", text)
