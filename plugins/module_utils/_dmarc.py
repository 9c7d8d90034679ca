# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: DMARC policy records after RFC 9989. Private to this collection.

Section numbers in this file are of RFC 9989. The tags pct, rf and ri of RFC 7489 are gone from it
(appendix A.6): they are read and reported, and never written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ansible_collections.postmaster.mail.plugins.module_utils._term_error import TermError

VERSION = "v=DMARC1"
POLICIES = ("none", "quarantine", "reject")
REMOVED_TAGS = ("pct", "rf", "ri")
# Printed in this order: readers after RFC 7489 want p right behind v.
TAGS = ("p", "sp", "np", "adkim", "aspf", "t", "psd", "fo", "rua", "ruf")
CHOICES: Mapping[str, tuple[str, ...]] = {
    "p": POLICIES,
    "sp": POLICIES,
    "np": POLICIES,
    "adkim": ("r", "s"),
    "aspf": ("r", "s"),
    "t": ("y", "n"),
    "psd": ("y", "n", "u"),
}

_VERSION = re.compile(r"[vV][ \t]*=[ \t]*DMARC1[ \t]*(?:;|$)")
_TAG = re.compile(r"[ \t]*([A-Za-z]+)[ \t]*=[ \t]*([\x20-\x3a\x3c-\x7e]+?)[ \t]*")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9._~:/?#\[\]@$&'()*+;=-]|%[0-9A-Fa-f]{2})+")
_MAILTO = re.compile(r"mailto:[^@?]+@[^@?]+(?:\?.*)?", re.IGNORECASE)
_SIZE = re.compile(r"![0-9]+[kmgt]?$", re.IGNORECASE)


class DmarcError(TermError):
    """A text is no DMARC record, or a value is none of its tag."""

    what = "the DMARC tag"


def _check_choice(tag: str, value: str) -> str:
    if value.lower() not in CHOICES[tag]:
        raise ValueError(f"{tag} is one of {', '.join(CHOICES[tag])} (section 4.7)")
    return value.lower()


def _check_fo(values: Iterable[str]) -> tuple[str, ...]:
    options = tuple(value.lower() for value in values)
    if not options or any(option not in ("0", "1", "d", "s") for option in options):
        raise ValueError("fo is a list of 0, 1, d and s, with colons between them (section 4.8)")
    if len(set(options)) != len(options) or {"0", "1"} <= set(options):
        raise ValueError("fo has each value once, and not both 0 and 1 (section 4.7)")
    return options


def _check_uri(tag: str, uri: str) -> str:
    if not _URI.fullmatch(uri) or (uri.lower().startswith("mailto:") and not _MAILTO.fullmatch(uri)):
        raise ValueError(
            f"{uri[:80]!r} in {tag} is no URI such as mailto:dmarc@example.org; "
            "commas and exclamation marks in it are written %2C and %21 (section 4.8)"
        )
    return uri


@dataclass(frozen=True)
class DmarcRecord:
    """A DMARC policy record; None and () stand for tags that are absent (section 4.7).

    ``removed`` and ``unknown`` hold tags that were read and mean nothing, ``problems`` what a reader
    must overlook (section 4.8). Bad values raise :class:`DmarcError`.
    """

    p: str = "none"
    sp: str | None = None
    np: str | None = None
    adkim: str | None = None
    aspf: str | None = None
    t: str | None = None
    psd: str | None = None
    fo: tuple[str, ...] = ()
    rua: tuple[str, ...] = ()
    ruf: tuple[str, ...] = ()
    removed: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    unknown: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    problems: tuple[DmarcError, ...] = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        for tag in TAGS:
            value = getattr(self, tag)
            try:
                if tag in CHOICES and value is not None:
                    object.__setattr__(self, tag, _check_choice(tag, value))
                elif tag == "fo" and value:
                    object.__setattr__(self, tag, _check_fo(value))
                elif tag in ("rua", "ruf"):
                    object.__setattr__(self, tag, tuple(_check_uri(tag, uri) for uri in value))
            except ValueError as err:
                text = value if isinstance(value, str) else ",".join(map(str, value))
                raise DmarcError(f"{tag}={text}", 0, str(err)) from None

    def __str__(self) -> str:
        parts = [VERSION]
        for tag in TAGS:
            value = getattr(self, tag)
            if value:
                text = value if isinstance(value, str) else (":" if tag == "fo" else ",").join(value)
                parts.append(f"{tag}={text}")
        return "; ".join(parts)

    @property
    def subdomain_policy(self) -> str:
        """The policy for subdomains that exist."""
        return self.sp or self.p

    @property
    def nonexistent_policy(self) -> str:
        """The policy for subdomains that do not exist."""
        return self.np or self.sp or self.p

    @classmethod
    def parse(cls, text: str) -> DmarcRecord:
        """The record as a reader after RFC 9989 takes it, with what it overlooks in ``problems``.

        Raises :class:`DmarcError` where there is no policy at all: another version, a tag given
        twice, or no valid p and nowhere to report to (section 4.10.1).
        """
        start = _VERSION.match(text)
        if not start:
            raise DmarcError(text[:20], 0, "a record begins with v=DMARC1, in this case, and a semicolon (section 4.7)")
        found = _tags(text, start.end())
        problems = list(found.problems)
        values: dict[str, object] = {}
        unknown = tuple((tag, value) for tag, (value, _at) in found.values.items() if tag not in TAGS + REMOVED_TAGS)
        removed = tuple((tag, value) for tag, (value, _at) in found.values.items() if tag in REMOVED_TAGS)
        for tag, (value, position) in found.values.items():
            if tag in TAGS:
                _read(tag, value, position, values, problems)
            elif tag in REMOVED_TAGS:
                problems.append(DmarcError(f"{tag}={value}", position, f"{tag} was removed, delete it (appendix A.6)"))
        invalid = [tag for tag in ("p", "sp", "np") if tag in found.values and tag not in values]
        if "p" not in values or invalid:
            if not values.get("rua"):
                tag = invalid[0] if invalid else "p"
                value, position = found.values.get(tag, ("", len(text)))
                raise DmarcError(f"{tag}={value}", position, "without valid policy and rua it is void (4.10.1)")
            problems += (
                [] if "p" in found.values else [DmarcError("p", len(text), "p is missing: read as p=none (4.7)")]
            )
            # The whole record counts as p=none then, whatever the other policies say.
            values |= {"p": "none", "sp": None, "np": None}
        return cls(**values, removed=removed, unknown=unknown, problems=tuple(problems))  # type: ignore[arg-type]


@dataclass
class _Found:
    values: dict[str, tuple[str, int]] = field(default_factory=dict)
    problems: list[DmarcError] = field(default_factory=list)


def _tags(text: str, position: int) -> _Found:
    """The tags after the version, each with its value and offset."""
    found = _Found()
    if not text[position:].strip(" \t"):
        return found
    parts = text[position:].split(";")
    if not parts[-1].strip(" \t"):
        parts.pop()  # one final semicolon is part of the grammar
    for part in parts:
        match = _TAG.fullmatch(part)
        if match:
            tag = match.group(1).lower()
            if tag in found.values or tag == "v":
                raise DmarcError(part.strip(), position, f"{tag} is given twice, so the list is void (RFC 6376, 3.2)")
            found.values[tag] = (match.group(2), position + match.start(1))
        else:
            found.problems.append(
                DmarcError(part.strip()[:80], position, "this is not of the form tag=value (section 4.8)")
            )
        position += len(part) + 1
    return found


def _read(tag: str, value: str, position: int, values: dict[str, object], problems: list[DmarcError]) -> None:
    """Put the value into ``values``, or what is wrong with it into ``problems``."""
    term = f"{tag}={value}"[:80]
    try:
        if tag in CHOICES:
            values[tag] = _check_choice(tag, value)
        elif tag == "fo":
            values[tag] = _check_fo(value.split(":"))
        else:
            values[tag] = _uris(tag, value, position, problems)
    except ValueError as err:
        problems.append(DmarcError(term, position, str(err)))


def _uris(tag: str, value: str, position: int, problems: list[DmarcError]) -> tuple[str, ...]:
    uris = []
    for uri in (part.strip(" \t") for part in value.split(",")):
        bare = _SIZE.sub("", uri)
        if bare != uri:
            problems.append(
                DmarcError(uri[:80], position, "the size limit after ! is obsolete, delete it (section 4.8)")
            )
        try:
            uris.append(_check_uri(tag, bare))
        except ValueError as err:
            problems.append(DmarcError(uri[:80], position, str(err)))
    return tuple(uris)
