# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: the record and the policy file of MTA-STS. Private to this collection.

Section numbers in this file are of RFC 8461.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ansible_collections.postmaster.mail.plugins.module_utils._dns import DomainError, check_name
from ansible_collections.postmaster.mail.plugins.module_utils._term_error import TermError

RECORD_VERSION = "v=STSv1"
POLICY_VERSION = "STSv1"
MODES = ("enforce", "testing", "none")
MAX_AGE_LIMIT = 31557600  # seconds, about a year, section 3.2
MAX_AGE_ADVISED = 604800  # seconds; section 3.2 speaks of "weeks or greater"
POLICY_LIMIT = 65536  # octets that senders need read at most, section 3.3
RECORD_NAME = "_mta-sts"  # section 3.1
POLICY_HOST = "mta-sts"  # section 3.3
POLICY_PATH = "/.well-known/mta-sts.txt"  # section 3.3

_ID = re.compile(r"[A-Za-z0-9]{1,32}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}", re.ASCII)
_RECORD_VALUE = re.compile(r"[\x21-\x3a\x3c\x3e-\x7e]+")
_POLICY_VALUE = re.compile(r"[^\x00-\x20\x7f](?:[^\x00-\x1f\x7f]*[^\x00-\x20\x7f])?")
_NUMBER = re.compile(r"[0-9]{1,10}", re.ASCII)


class MtaStsError(TermError):
    """A text is no MTA-STS record or policy."""

    what = "the MTA-STS term"


@dataclass(frozen=True)
class MtaStsRecord:
    """The TXT record at ``_mta-sts`` + domain (section 3.1); ``id`` changes whenever the policy does."""

    id: str
    extensions: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise MtaStsError(f"id={self.id}", 0, "id has 1 to 32 letters and digits (section 3.1)")

    def __str__(self) -> str:
        fields = [f"id={self.id}", *(f"{name}={value}" for name, value in self.extensions)]
        return f"{RECORD_VERSION}; {'; '.join(fields)};"

    @classmethod
    def parse(cls, text: str) -> MtaStsRecord:
        """The record that ``text`` is. Raises :class:`MtaStsError`."""
        first, *pieces = text.split(";")
        if first.rstrip(" \t") != RECORD_VERSION:
            raise MtaStsError(first[:40], 0, f"a record begins with {RECORD_VERSION} and a semicolon (section 3.1)")
        if pieces and not pieces[-1].strip(" \t"):
            pieces.pop()  # one final semicolon is part of the grammar
        position, found, extensions = len(first) + 1, "", []
        for piece in pieces:
            name, value = _field(piece, position)
            if name == "id" and found:
                raise MtaStsError(piece.strip(), position, "id stands once in a record (section 3.1)")
            if name == "id":
                found = value
            else:
                extensions.append((name, value))
            position += len(piece) + 1
        if not found:
            raise MtaStsError(text[:40], len(text), "a record has an id (section 3.1)")
        return cls(found, tuple(extensions))


def _field(piece: str, position: int) -> tuple[str, str]:
    """Name and value of a field of the record that begins at ``position``."""
    body = piece.strip(" \t")
    name, equals, value = body.partition("=")
    if not equals or not _NAME.fullmatch(name):
        rule = "a field is name=value, the name of at most 32 letters, digits, _, - and . (section 3.1)"
        raise MtaStsError(body[:80], position, rule)
    if name == "id" and not _ID.fullmatch(value):
        raise MtaStsError(body[:80], position, "id has 1 to 32 letters and digits (section 3.1)")
    if not _RECORD_VALUE.fullmatch(value):
        raise MtaStsError(body[:80], position, "a value is visible ASCII without = and not empty (section 3.1)")
    return name, value


@dataclass(frozen=True)
class MtaStsPolicy:
    """The file at ``https://mta-sts.`` + domain + ``/.well-known/mta-sts.txt`` (section 3.2).

    ``mx`` are host names in lower case, ``*.`` in front stands for one label; ``max_age`` is in seconds.
    ``repeated`` names fields whose later values readers ignore, ``has_blanks`` tells of empty lines, which they skip.
    """

    mode: str
    mx: tuple[str, ...] = ()
    max_age: int = MAX_AGE_ADVISED
    extensions: tuple[tuple[str, str], ...] = ()
    repeated: tuple[str, ...] = field(default=(), compare=False)
    has_blanks: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise MtaStsError(f"mode: {self.mode}", 0, f"mode is one of {', '.join(MODES)} (section 3.2)")
        if not 0 <= self.max_age <= 9999999999:
            raise MtaStsError(f"max_age: {self.max_age}", 0, "max_age is a number of seconds (section 3.2)")
        if not self.mx and self.mode != "none":
            raise MtaStsError(f"mode: {self.mode}", 0, "a policy that is not none names at least one mx (section 3.2)")
        object.__setattr__(self, "mx", tuple(_pattern(mx) for mx in self.mx))

    def __str__(self) -> str:
        lines = [("version", POLICY_VERSION), ("mode", self.mode), *(("mx", mx) for mx in self.mx)]
        lines += [("max_age", str(self.max_age)), *self.extensions]
        return "".join(f"{name}: {value}\r\n" for name, value in lines)

    @property
    def problems(self) -> tuple[str, ...]:
        """What is allowed by the grammar and wrong or of little use all the same."""
        found = [f"{name} stands twice and counts the first time only (section 3.2)" for name in self.repeated]
        if self.has_blanks:
            found.append("it has an empty line: senders read past that, and none has to (section 3.2)")
        if self.max_age > MAX_AGE_LIMIT:
            found.append(f"max_age {self.max_age} exceeds the limit of {MAX_AGE_LIMIT} seconds (section 3.2)")
        elif self.max_age < 86400 and self.mode != "none":
            found.append(f"max_age {self.max_age} is less than a day; take weeks, such as 1209600 (section 3.2)")
        return tuple(found)

    def matches(self, mx: str) -> bool:
        """Whether the policy allows mail to the MX host ``mx`` (section 4.1)."""
        name = mx.lower().rstrip(".")
        _first, dot, above = name.partition(".")
        return name in self.mx or (bool(dot) and f"*.{above}" in self.mx)

    @classmethod
    def parse(cls, text: str) -> MtaStsPolicy:
        """The policy that the content of the file is; lines end in LF or CRLF. Raises :class:`MtaStsError`."""
        if len(text) > POLICY_LIMIT:
            raise MtaStsError(text[:40], 0, f"a policy has at most {POLICY_LIMIT} octets (section 3.3)")
        single: dict[str, str] = {}
        mx: list[str] = []
        extensions: list[tuple[str, str]] = []
        repeated: list[str] = []
        lines = _lines(text)
        written = [(position, line) for position, line in lines if line.strip(" \t")]
        for position, line in written:
            name, value = _policy_field(line, position)
            if name == "mx":
                mx.append(_pattern(value, position))
            elif name in single or name in dict(extensions):
                repeated.append(name)
            elif name in ("version", "mode", "max_age"):
                single[name] = value
            else:
                extensions.append((name, value))
        for name in ("version", "mode", "max_age"):
            if name not in single:
                raise MtaStsError(name, len(text), f"a policy has a field {name} (section 3.2)")
        has_blanks = len(written) < len(lines)
        return cls(single["mode"], tuple(mx), int(single["max_age"]), tuple(extensions), tuple(repeated), has_blanks)


def _lines(text: str) -> list[tuple[int, str]]:
    """The lines, without their ends, and their offsets; one final end of line is part of the grammar."""
    lines, position = [], 0
    for line in text.split("\n"):
        lines.append((position, line.removesuffix("\r")))
        position += len(line) + 1
    if len(lines) > 1 and not lines[-1][1]:
        lines.pop()
    return lines


def _policy_field(line: str, position: int) -> tuple[str, str]:
    name, colon, rest = line.partition(":")
    value = rest.strip(" \t")
    if not colon or not _NAME.fullmatch(name):
        raise MtaStsError(line[:80], position, "a line is of the form name: value (section 3.2)")
    if not _POLICY_VALUE.fullmatch(value):
        raise MtaStsError(line[:80], position, "a value is not empty and holds no control characters (section 3.2)")
    if name == "version" and value != POLICY_VERSION:
        raise MtaStsError(line[:80], position, f"version is {POLICY_VERSION} (section 3.2)")
    if name == "mode" and value not in MODES:
        raise MtaStsError(line[:80], position, f"mode is one of {', '.join(MODES)} (section 3.2)")
    if name == "max_age" and not _NUMBER.fullmatch(value):
        raise MtaStsError(line[:80], position, "max_age is a number of at most ten digits (section 3.2)")
    return name, value


def _pattern(text: str, position: int = 0) -> str:
    """A host name, or one with ``*`` as its first label, in lower case."""
    try:
        name = check_name(text).rstrip(".")
    except DomainError:
        name = "*"
    if name == "*" or text.endswith("."):
        rule = "mx is a host name, or *. and a domain, without a final dot (section 3.2)"
        raise MtaStsError(f"mx: {text}"[:80], position, rule)
    return name
