# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: DKIM keys, key records, selectors and signing domains. Private to this collection.

Sources: RFC 6376 (DKIM; sections 3.1 selectors, 3.2 tag lists, 3.6.1 key records) with erratum
3017 (p= is a SubjectPublicKeyInfo), RFC 8301 (key sizes, no SHA-1), RFC 8463 (Ed25519: p= is the
raw public key of 32 octets), RFC 8017 appendix A.1 (PKCS#1), RFC 5958 (PKCS#8), RFC 8410 (Ed25519
in PKCS#8).

Only :func:`generate` and Ed25519 private keys need the ``cryptography`` library; it is imported
there, and the ``ImportError`` is the caller's to explain. RSA private keys are read without it: the
library proves primality each time, some 40 ms a key, which makes a look at a thousand keys slow.
"""

from __future__ import annotations

import base64
import contextlib
import re
from dataclasses import dataclass, field

from ansible_collections.postmaster.mail.plugins.module_utils._record import absolute, split_text
from ansible_collections.postmaster.mail.plugins.module_utils._term_error import TermError, shown

ALGORITHMS = ("rsa", "ed25519")
MIN_BITS = 1024  # signers must use at least these, RFC 8301 section 3.2
SOUND_BITS = 2048  # signers should use at least these, RFC 8301 section 3.2
MAX_BITS = 4096  # verifiers need not take longer keys, RFC 8301 section 3.2
ED25519_LENGTH = 32  # octets of a public key, RFC 8463 section 4.2
FILE_LIMIT = 65536  # octets; ten times what the longest key takes
LABEL_LIMIT = 63  # octets, RFC 1035 section 2.3.4
NAME_LIMIT = 253  # characters of a name in text form without its final dot, RFC 1035 section 2.3.4

OID_RSA = bytes.fromhex("2a864886f70d010101")  # rsaEncryption, RFC 8017 appendix A.1
OID_ED25519 = bytes.fromhex("2b6570")  # id-Ed25519, RFC 8410 section 3
SEQUENCE, INTEGER, BIT_STRING, OCTET_STRING, NULL, OID = 0x30, 0x02, 0x03, 0x04, 0x05, 0x06


class DkimError(TermError):
    """A record or name breaks a rule of DKIM."""


class DkimKeyError(ValueError):
    """A text holds no usable private key; the message completes "the file ..." and quotes nothing of it."""


# Names


_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?", re.ASCII)
_IDNA_2008_ONLY = frozenset("\u00df\u03c2\u200c\u200d")  # IDNA 2003 maps these elsewhere, RFC 5894 section 7.2


def _a_label_hint(text: str) -> str:
    """Which ASCII form to write for an internationalised name, as far as that is beyond doubt."""
    name = "xn--..."
    if _IDNA_2008_ONLY.isdisjoint(text.lower()):
        with contextlib.suppress(UnicodeError):
            mapped = text.encode("idna").decode("ascii").lower()
            name = mapped if all(_LABEL.fullmatch(label) for label in mapped.split(".")) else name
    return f"write it as its A-label, {name}"


def _check_labels(text: str, what: str, section: str) -> str:
    """``text`` in lower case, or :class:`DkimError` at the first label that is none."""
    if not text:
        raise DkimError(text, 0, f"a {what} is not empty ({section})")
    blank = re.search(r"\s", text)
    if blank:
        raise DkimError(text, blank.start(), f"a {what} holds no white space; remove it ({section})")
    strange = re.search(r"[^\x00-\x7f]", text)
    if strange:
        raise DkimError(text, strange.start(), f"a {what} is ASCII; {_a_label_hint(text)} (RFC 5890 section 2.3.2.1)")
    position = 0
    for label in text.lower().split("."):
        if not label:
            raise DkimError(text, position, f"a {what} has no empty label and no dot at its ends ({section})")
        if not _LABEL.fullmatch(label):
            rule = f"labels of a {what} are letters, digits and inner hyphens ({section})"
            raise DkimError(label, position, rule)
        if len(label) > LABEL_LIMIT:
            raise DkimError(label, position, f"a label has at most {LABEL_LIMIT} octets (RFC 1035 section 2.3.4)")
        position += len(label) + 1
    return text.lower()


def check_domain(text: str) -> str:
    """A signing domain (d=) in lower case. Raises :class:`DkimError`.

    An internationalised name is refused and its A-label named in the message: what is signed and
    published must not depend on which IDNA mapping the host's library knows.
    """
    name = _check_labels(text, "domain", "RFC 6376 section 3.5")
    if "." not in name:
        raise DkimError(text, 0, "a signing domain has at least two labels (RFC 6376 section 3.5)")
    if len(name) > NAME_LIMIT:
        raise DkimError(text, 0, f"a domain has at most {NAME_LIMIT} characters (RFC 1035 section 2.3.4)")
    return name


def check_selector(text: str, domain: str = "") -> str:
    """A selector (s=) in lower case; with ``domain``, the record's whole name must fit too."""
    name = _check_labels(text, "selector", "RFC 6376 section 3.1")
    if domain and len(record_name(name, domain)) - 1 > NAME_LIMIT:
        raise DkimError(text, 0, f"its record's name would exceed {NAME_LIMIT} characters (RFC 1035 section 2.3.4)")
    return name


def record_name(selector: str, domain: str) -> str:
    """Where the key record lies, absolute (RFC 6376 section 3.6.2.1)."""
    return f"{selector}._domainkey.{domain}."


def key_owner(selector: str, domain: str, target: str = "") -> str:
    """The name that holds the key record: the selector's own, or what its CNAME leads to by the template ``target``.

    Raises ValueError, KeyError or IndexError for a template with other words than selector, domain and dashed.
    """
    if not target:
        return record_name(selector, domain)
    return absolute(target.format(selector=selector, domain=domain, dashed=domain.replace(".", "-")))


def split(text: str) -> list[str]:
    """``text`` cut into character-strings of at most 255 octets, which are joined without a gap."""
    return split_text(text)


# DER (X.690), as much as keys need


class _DerError(ValueError):
    """The octets are not the element that is asked for."""


def _der_take(data: bytes, tag: int, at: int = 0) -> tuple[bytes, int]:
    """Content of the element with ``tag`` at offset ``at``, and the offset behind it."""
    if at + 2 > len(data) or data[at] != tag:
        raise _DerError
    length, start = data[at + 1], at + 2
    if length & 0x80:
        size = length & 0x7F
        if not 1 <= size <= 4 or start + size > len(data):
            raise _DerError
        length, start = int.from_bytes(data[start : start + size], "big"), start + size
    if start + length > len(data):
        raise _DerError
    return data[start : start + length], start + length


def _der_all(data: bytes, tag: int) -> bytes:
    """Content of the one element with ``tag`` that ``data`` is."""
    content, end = _der_take(data, tag)
    if end != len(data):
        raise _DerError
    return content


def _der_integers(data: bytes) -> list[int]:
    """The integers that a SEQUENCE of nothing else holds."""
    content, numbers, at = _der_all(data, SEQUENCE), [], 0
    while at < len(content):
        number, at = _der_take(content, INTEGER, at)
        if not number:
            raise _DerError
        numbers.append(int.from_bytes(number, "big", signed=True))
    return numbers


def _der(tag: int, content: bytes) -> bytes:
    """One element."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


def _der_integer(number: int) -> bytes:
    return _der(INTEGER, number.to_bytes(number.bit_length() // 8 + 1, "big"))


_RSA_IDENTIFIER = _der(SEQUENCE, _der(OID, OID_RSA) + _der(NULL, b""))
_ED25519_IDENTIFIER = _der(SEQUENCE, _der(OID, OID_ED25519))


def _rsa_public(modulus: int, exponent: int) -> bytes:
    """SubjectPublicKeyInfo of an RSA key."""
    key = _der(SEQUENCE, _der_integer(modulus) + _der_integer(exponent))
    return _der(SEQUENCE, _RSA_IDENTIFIER + _der(BIT_STRING, b"\x00" + key))


def _rsa_bits(public: bytes) -> int:
    """Size of the modulus in a SubjectPublicKeyInfo or, as older signers publish, a bare RSAPublicKey."""
    try:
        content = _der_all(public, SEQUENCE)
        if content[:1] == bytes((SEQUENCE,)):
            identifier, at = _der_take(content, SEQUENCE)
            if _der_take(identifier, OID)[0] != OID_RSA:
                raise _DerError
            public = _der_all(content[at:], BIT_STRING)[1:]
        numbers = _der_integers(public)
    except _DerError:
        return 0
    return numbers[0].bit_length() if len(numbers) == 2 and min(numbers) > 2 else 0


# Key records


_TAG_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)
_WORD = re.compile(r"[A-Za-z](?:[A-Za-z0-9-]*[A-Za-z0-9])?", re.ASCII)
_FWS = re.compile(r"(?:[ \t]*\r\n)?[ \t]+")  # RFC 6376 section 2.8 without the obsolete form
_QUOTED = re.compile(r"=([0-9A-F]{2})", re.ASCII)  # RFC 2045 section 6.7
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}", re.ASCII)
_BAD_VALUE = re.compile(r"[^\x21-\x7e]")
_NEVER_EMPTY = frozenset("hkst")


@dataclass(frozen=True)
class _Tag:
    """One tag of a tag list with the offset of its name and of its value."""

    name: str
    value: str
    position: int
    value_position: int

    def error(self, rule: str) -> DkimError:
        return DkimError(f"{self.name}={self.value}", self.position, rule)


def _trim(text: str) -> tuple[str, int]:
    """``text`` without folding white space at its ends, and how much went at its start."""
    lead = _FWS.match(text)
    start = lead.end() if lead else 0
    body = text[start:].rstrip(" \t")
    if body.endswith("\r\n") and len(body) < len(text) - start:
        body = body[:-2].rstrip(" \t")
    return body, start


def _parse_tag(piece: str, position: int) -> _Tag:
    """One tag-spec (RFC 6376 section 3.2) that begins at ``position``."""
    left, equals, right = piece.partition("=")
    name, lead = _trim(left)
    if not equals:
        raise DkimError(piece, position, "a tag is name=value (RFC 6376 section 3.2)")
    if not _TAG_NAME.fullmatch(name):
        rule = "a tag's name is a letter, then letters, digits and underscores (RFC 6376 section 3.2)"
        raise DkimError(name, position + lead, rule)
    value, skipped = _trim(right)
    start = position + len(left) + 1 + skipped
    bad = _BAD_VALUE.search(_FWS.sub(lambda match: "." * len(match[0]), value))
    if bad:
        rule = "a value is printable ASCII with folding white space inside only (RFC 6376 section 3.2)"
        raise DkimError(value[bad.start()], start + bad.start(), rule)
    return _Tag(name, value, position + lead, start)


def _parse_tags(text: str) -> tuple[list[_Tag], list[DkimError]]:
    """The tags of a list (RFC 6376 section 3.2) in their order, and faults that verifiers read past."""
    pieces = text.split(";")
    faults: list[DkimError] = []
    rule = "between semicolons stands a tag, and nothing after the last (RFC 6376 section 3.2)"
    if len(pieces) > 1 and not _trim(pieces[-1])[0]:
        rest = pieces.pop()
        # Common in DNS, and taken by OpenDKIM and dkimpy alike; two semicolons with nothing between they refuse.
        faults += [DkimError(rest, len(text) - len(rest), rule)] if rest else []
    tags: dict[str, _Tag] = {}
    position = 0
    for piece in pieces:
        if not _trim(piece)[0]:
            raise DkimError(piece, position, rule)
        tag = _parse_tag(piece, position)
        if tag.name in tags:
            raise tag.error("a tag stands once in a list (RFC 6376 section 3.2)")
        tags[tag.name] = tag
        position += len(piece) + 1
    return list(tags.values()), faults


def _words(tag: _Tag, *, star: bool = False) -> tuple[str, ...]:
    """A value of words between colons, as h=, s= and t= have it."""
    words = tuple(_trim(word)[0] for word in tag.value.split(":"))
    for word in words:
        if not (_WORD.fullmatch(word) or (star and word == "*")):
            raise tag.error(f"{tag.name}= holds words between colons (RFC 6376 section 3.6.1)")
    return words


def _key_bytes(tag: _Tag) -> bytes:
    """The value of p=, decoded."""
    strange = re.search(r"[^A-Za-z0-9+/= \t\r\n]", tag.value)
    if strange:
        at = tag.value_position + strange.start()
        raise DkimError(strange[0], at, "p= holds base64, its strings joined without quotes (RFC 6376 section 3.6.1)")
    text = _FWS.sub("", tag.value)
    if not _BASE64.fullmatch(text) or len(text) % 4:
        raise tag.error("p= is base64, complete with its padding (RFC 6376 section 3.6.1)")
    return base64.b64decode(text)


def _key_bits(key_type: str, public: bytes) -> int:
    """Bits of a public key; 0 when it is no key of its type or the type is unknown."""
    if key_type == "rsa":
        return _rsa_bits(public)
    return 256 if key_type == "ed25519" and len(public) == ED25519_LENGTH else 0


@dataclass(frozen=True)
class DkimRecord:
    """A key record (RFC 6376 section 3.6.1). Two are equal when they mean the same to a verifier."""

    public_key: bytes  # p=, empty when the key is revoked
    key_type: str = "rsa"  # k=
    hashes: tuple[str, ...] = ()  # h=, () allows any
    services: tuple[str, ...] = ("*",)  # s=
    flags: tuple[str, ...] = ()  # t=: y testing, s no subdomains in i=
    notes: str = ""  # n=, as written
    unknown: tuple[tuple[str, str], ...] = ()  # tags that verifiers ignore
    written: tuple[str, ...] = field(default=("v", "h", "k", "p"), compare=False)  # which tags str() shows, in order
    faults: tuple[DkimError, ...] = field(default=(), compare=False)  # what read() read past

    @classmethod
    def parse(cls, text: str) -> DkimRecord:
        """The record that ``text``, its strings joined without a gap, holds. Raises :class:`DkimError`."""
        record = cls.read(text)
        if record.faults:
            raise record.faults[0]
        return record

    @classmethod
    def read(cls, text: str) -> DkimRecord:
        """The record as verifiers take it: what they read past, against the formal definition, is told in ``faults``.

        Raises :class:`DkimError` for what they do not take.
        """
        if not text:
            raise DkimError(text, 0, "a key record is not empty (RFC 6376 section 3.6.1)")
        listed, faults = _parse_tags(text)
        tags = {tag.name: tag for tag in listed}
        names = tuple(tags)
        version = tags.pop("v", None)
        if version is not None and (version.value != "DKIM1" or names[0] != "v"):
            raise version.error("v= is DKIM1 in capitals and stands first (RFC 6376 section 3.6.1)")
        if "p" not in tags:
            raise DkimError(text, 0, "a key record has a tag p= (RFC 6376 section 3.6.1)")
        key = tags.pop("p")
        public = _key_bytes(key)
        kind = tags.pop("k", None)
        if kind is not None and not _WORD.fullmatch(kind.value):
            raise kind.error("k= names one key type (RFC 6376 section 3.6.1)")
        key_type = kind.value if kind is not None else "rsa"
        if public and key_type in ALGORITHMS and not _key_bits(key_type, public):
            rules = {
                "rsa": "p= is not the DER of an RSA public key (RFC 6376 section 3.6.1, erratum 3017)",
                "ed25519": "p= of an Ed25519 key is its 32 octets (RFC 8463 section 4.2)",
            }
            raise key.error(rules[key_type])
        hashes, services, flags = tags.pop("h", None), tags.pop("s", None), tags.pop("t", None)
        notes = tags.pop("n", None)
        return cls(
            public_key=public,
            key_type=key_type,
            hashes=_words(hashes) if hashes else (),
            services=_words(services, star=True) if services else ("*",),
            flags=_words(flags) if flags else (),
            notes=notes.value if notes else "",
            unknown=tuple((tag.name, tag.value) for tag in tags.values()),
            written=names,
            faults=tuple(faults),
        )

    @property
    def revoked(self) -> bool:
        """An empty p= says that the key must not be trusted any more."""
        return not self.public_key

    @property
    def bits(self) -> int:
        """Size of the key; 0 when it is revoked or of an unknown type."""
        return _key_bits(self.key_type, self.public_key)

    @property
    def note(self) -> str:
        """The notes for people, decoded (RFC 2045 section 6.7); octets that are no UTF-8 become U+FFFD."""
        text = _QUOTED.sub(lambda match: chr(int(match[1], 16)), self.notes.replace("\r\n", ""))
        return text.encode("latin-1").decode("utf-8", "replace")

    @property
    def problems(self) -> tuple[str, ...]:
        """What is allowed by the grammar and makes the key useless, weak or dubious all the same."""
        if self.revoked:
            return ()
        found = []
        if self.key_type not in ALGORITHMS:
            found.append(f"k={self.key_type} is a key type that verifiers do not know (RFC 8463 section 4.1)")
        if self.key_type == "rsa" and self.bits < MIN_BITS:
            found.append(
                f"the key has {self.bits} bits, and verifiers refuse less than {MIN_BITS} (RFC 8301 section 3.2)"
            )
        elif self.key_type == "rsa" and self.bits < SOUND_BITS:
            found.append(f"the key has {self.bits} bits, and should have {SOUND_BITS} (RFC 8301 section 3.2)")
        if self.bits > MAX_BITS:
            found.append(
                f"the key has {self.bits} bits, and not all verifiers take over {MAX_BITS} (RFC 8301 section 3.2)"
            )
        if self.hashes and "sha256" not in self.hashes:
            found.append(
                f"h={':'.join(self.hashes)} leaves out sha256, so nobody can verify with it (RFC 8301 section 3.1)"
            )
        if not {"*", "email"} & set(self.services):
            found.append(f"s={':'.join(self.services)} says that the key is not for mail (RFC 6376 section 3.6.1)")
        if "y" in self.flags:
            found.append("t=y says that the domain only tests DKIM (RFC 6376 section 3.6.1)")
        if "g" in dict(self.unknown):
            found.append("g= has no meaning any more (RFC 6376 appendix C.2)")
        return tuple(found)

    def refusal(self, *, algorithm: str, domain: str, identity: str = "") -> str:
        """Why verifiers do not take a signature with this key; empty when they do (RFC 6376 section 6.1.2).

        ``algorithm``, ``domain`` and ``identity`` are the values of its a=, d= and i=.
        """
        key_type, _dash, hash_name = algorithm.partition("-")
        _local, _at, below = identity.lower().rpartition("@")
        if self.revoked:
            return "the key is revoked: p= is empty (RFC 6376 section 3.6.1)"
        if algorithm not in ("rsa-sha256", "ed25519-sha256"):
            return f"{algorithm} must not be used (RFC 8301 section 3.1)"
        if key_type != self.key_type:
            return f"a={algorithm} does not fit k={self.key_type} (RFC 6376 section 6.1.2)"
        if self.hashes and hash_name not in self.hashes:
            return f"a={algorithm} does not fit h={':'.join(self.hashes)} (RFC 6376 section 6.1.2)"
        if not {"*", "email"} & set(self.services):
            return f"s={':'.join(self.services)} says that the key is not for mail (RFC 6376 section 3.6.1)"
        if self.key_type == "rsa" and self.bits < MIN_BITS:
            return f"the key has {self.bits} bits, less than {MIN_BITS} (RFC 8301 section 3.2)"
        if "s" in self.flags and below not in ("", domain.lower()):
            return f"t=s wants i= to be in {domain} itself, not in {below} (RFC 6376 section 3.6.1)"
        return ""

    def __str__(self) -> str:
        """The record's text: what was parsed, but for white space and a final semicolon."""
        values = {
            "v": "DKIM1",
            "h": ":".join(self.hashes),
            "k": self.key_type,
            "n": self.notes,
            "s": ":".join(self.services),
            "t": ":".join(self.flags),
            **dict(self.unknown),
            "p": base64.b64encode(self.public_key).decode("ascii"),
        }
        unset = {"v": "DKIM1", "h": "", "k": "rsa", "n": "", "s": "*", "t": ""}
        more = [name for name, value in values.items() if name not in self.written and value != unset.get(name)]
        shown_tags = (name for name in (*self.written, *more) if values[name] or name not in _NEVER_EMPTY)
        return "; ".join(f"{name}={values[name]}" for name in shown_tags)


# Private keys


@dataclass(frozen=True)
class DkimKey:
    """A key pair. ``public`` is what p= carries; ``pem`` is the private key as unencrypted PKCS#8."""

    algorithm: str
    bits: int
    public: bytes
    pem: bytes = field(repr=False)

    @property
    def record(self) -> DkimRecord:
        """The record to publish; h=sha256 keeps SHA-1 out (RFC 8301 section 3.1)."""
        return DkimRecord(self.public, key_type=self.algorithm, hashes=("sha256",))

    @property
    def seed_and_public(self) -> bytes:
        """An Ed25519 key in base64 of its 64 octets, the one form that rspamd reads."""
        if self.algorithm != "ed25519":
            raise DkimKeyError("holds an RSA key, which has no such form")
        seed = _pem_blocks(self.pem.decode("ascii"))[0][1][-ED25519_LENGTH:]
        return base64.b64encode(seed + self.public) + b"\n"


def _pem(der: bytes) -> bytes:
    """``der`` as a PEM block PRIVATE KEY (RFC 7468 section 10)."""
    text = base64.b64encode(der).decode("ascii")
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return "\n".join(("-----BEGIN PRIVATE KEY-----", *lines, "-----END PRIVATE KEY-----", "")).encode("ascii")


def _ed25519_key(seed: bytes) -> DkimKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    private = Ed25519PrivateKey.from_private_bytes(seed)
    public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    inner = _der(OCTET_STRING, _der(OCTET_STRING, seed))
    return DkimKey("ed25519", 256, public, _pem(_der(SEQUENCE, _der_integer(0) + _ED25519_IDENTIFIER + inner)))


def generate(algorithm: str, bits: int = SOUND_BITS) -> DkimKey:
    """A new key; ``bits`` counts for RSA alone. Raises ValueError for what RFC 8301 forbids to signers."""
    if algorithm == "ed25519":
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        made = Ed25519PrivateKey.generate()
        return _ed25519_key(made.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()))
    if algorithm != "rsa":
        raise ValueError(f"no such algorithm: {shown(algorithm)}; there are {' and '.join(ALGORITHMS)}")
    if not MIN_BITS <= bits <= MAX_BITS:
        raise ValueError(f"an RSA key has {MIN_BITS} to {MAX_BITS} bits, not {bits} (RFC 8301 section 3.2)")
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    private = generate_private_key(public_exponent=65537, key_size=bits)
    numbers = private.public_key().public_numbers()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return DkimKey("rsa", bits, _rsa_public(numbers.n, numbers.e), pem)


_PEM_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,60})-----(.*?)-----END \1-----", re.ASCII | re.DOTALL)


def _pem_blocks(text: str) -> list[tuple[str, bytes]]:
    """The labels and contents of all PEM blocks in ``text`` (RFC 7468)."""
    blocks = []
    for label, body in _PEM_BLOCK.findall(text):
        if "ENCRYPTED" in label or "ENCRYPTED" in body:
            raise DkimKeyError("holds an encrypted key, which no signer can read; store it without a passphrase")
        try:
            blocks.append((label, base64.b64decode("".join(body.split()), validate=True)))
        except ValueError as err:  # also for what is not ASCII
            raise DkimKeyError(f"holds a damaged PEM block {label}") from err
    return blocks


def _rsa_key(der: bytes) -> DkimKey:
    """The key in an RSAPrivateKey (RFC 8017 appendix A.1.2), its numbers proven to belong together."""
    damaged = DkimKeyError("holds a damaged RSA key")
    try:
        numbers = _der_integers(der)
    except _DerError as err:
        raise damaged from err
    if len(numbers) != 9 or numbers[0] != 0 or min(numbers[1:]) < 1:
        raise damaged
    n, e, d, p, q, dp, dq, inverse = numbers[1:]
    if p * q != n or min(p, q) < 3 or dp != d % (p - 1) or dq != d % (q - 1) or inverse * q % p != 1:
        raise damaged
    if d * e % (p - 1) != 1 or d * e % (q - 1) != 1:
        raise damaged
    if n.bit_length() < MIN_BITS:
        raise DkimKeyError(f"holds an RSA key of {n.bit_length()} bits; verifiers refuse less than {MIN_BITS}")
    inner = _der(OCTET_STRING, der)
    return DkimKey(
        "rsa", n.bit_length(), _rsa_public(n, e), _pem(_der(SEQUENCE, _der_integer(0) + _RSA_IDENTIFIER + inner))
    )


def _pkcs8_key(der: bytes) -> DkimKey:
    """The key in a PrivateKeyInfo (RFC 5958 section 2)."""
    try:
        content = _der_all(der, SEQUENCE)
        _version, at = _der_take(content, INTEGER)
        identifier, at = _der_take(content, SEQUENCE, at)
        oid, _end = _der_take(identifier, OID)
        inner, _end = _der_take(content, OCTET_STRING, at)
        if oid == OID_RSA:
            return _rsa_key(inner)
        if oid == OID_ED25519:
            seed = _der_all(inner, OCTET_STRING)
            if len(seed) != ED25519_LENGTH:
                raise _DerError
            return _ed25519_key(seed)
    except _DerError as err:
        raise DkimKeyError("holds a damaged private key") from err
    raise DkimKeyError("holds a key that is neither RSA nor Ed25519, which DKIM does not know")


def _bare_ed25519(text: str) -> DkimKey | None:
    """An Ed25519 key in base64 without armour: 64 octets (rspamd) or the seed of 32 (dkimpy)."""
    try:
        octets = base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        return None
    if len(octets) not in (ED25519_LENGTH, 2 * ED25519_LENGTH):
        return None
    key = _ed25519_key(octets[:ED25519_LENGTH])
    if octets[ED25519_LENGTH:] not in (b"", key.public):
        raise DkimKeyError("holds a damaged Ed25519 key")
    return key


def read_private(content: bytes) -> DkimKey:
    """The key in a file's ``content``: PEM as PKCS#1 or PKCS#8, or bare base64 of an Ed25519 key.

    Raises :class:`DkimKeyError`, whose message never quotes the content.
    """
    text = content.decode("ascii", "replace") if len(content) <= FILE_LIMIT else ""
    blocks = dict(reversed(_pem_blocks(text)))
    if "PRIVATE KEY" in blocks:
        return _pkcs8_key(blocks["PRIVATE KEY"])
    if "RSA PRIVATE KEY" in blocks:
        return _rsa_key(blocks["RSA PRIVATE KEY"])
    if blocks:
        raise DkimKeyError(f"holds no RSA or Ed25519 private key but a {next(iter(blocks))}")
    bare = _bare_ed25519(text)
    if bare is None:
        raise DkimKeyError("is no private key in PEM")
    return bare
