# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: the macro language of SPF records, RFC 7208 section 7: parse and expand. Private to this collection."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import quote

TARGET_LIMIT = 253  # characters of a name that macros make, section 7.3
COUNT_DIGITS = 9  # of how many parts a macro keeps; no text has more
EXPANDED_LIMIT = 65535  # characters of any text that macros make: no TXT record is longer

_MACRO = re.compile(r"%(?:\{([A-Za-z])([0-9]*)([rR]?)([.+,/_=-]*)\}|([%_-]))")
_LITERAL = re.compile(r"[\x21-\x24\x26-\x7e]+")
_EXPLAINED = re.compile(r"[\x20-\x24\x26-\x7e]+")
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?")


class Rule(Exception):
    """A rule that a term breaks; the caller knows the term and its position."""


@dataclass(frozen=True)
class Macro:
    """``%{d2r.}`` in a domain-spec or explanation (section 7.1); ``count`` 0 keeps all parts.

    ``escape`` asks for URL escaping: the letter was written as a capital.
    """

    letter: str
    count: int = 0
    reverse: bool = False
    delimiters: str = "."
    escape: bool = False


@dataclass(frozen=True)
class DomainSpec:
    """A domain-spec as written, and its parts: literal texts and macros."""

    text: str
    parts: tuple[str | Macro, ...]

    @property
    def literal(self) -> str | None:
        """The domain where no macro is in it, in lower case and without the final dot."""
        return self.text.lower().rstrip(".") if not self.letters else None

    @property
    def letters(self) -> frozenset[str]:
        """The letters of the macros in it."""
        return frozenset(part.letter for part in self.parts if isinstance(part, Macro))


def domain_spec(text: str) -> DomainSpec:
    """A domain-spec (section 7.1). Raises :class:`Rule`."""
    parts = macros(text, explanation=False)
    if not parts:
        raise Rule("the domain is missing (section 7.1)")
    # A literal per cent sign (%%, %_, %-) is a macro by the grammar, so it may end the text.
    ends_in_macro = any(match.end() == len(text) for match in _MACRO.finditer(text))
    if not ends_in_macro and not _ends_in_toplabel(text):
        raise Rule(f"{text!r} does not end in a dot and a top-level label, such as example.org (section 7.1)")
    return DomainSpec(text, parts)


def _ends_in_toplabel(text: str) -> bool:
    dummy, dot, label = text.removesuffix(".").rpartition(".")
    return bool(dot) and _LABEL.fullmatch(label) is not None and not label.isdigit()


def macros(text: str, *, explanation: bool) -> tuple[str | Macro, ...]:
    """The literal texts and macros of a macro-string (section 7.1); c, r and t only in an ``explanation``."""
    literal = _EXPLAINED if explanation else _LITERAL
    parts: list[str | Macro] = []
    position = 0
    while position < len(text):
        match = literal.match(text, position)
        if match:
            _append(parts, match.group())
        else:
            match = _MACRO.match(text, position)
            if not match:
                raise Rule(
                    f"{text[position : position + 8]!r} is no macro; a per cent sign is written %% (section 7.1)"
                )
            if match.group(1):
                parts.append(_macro(match, explanation))
            else:
                _append(parts, {"%": "%", "_": " ", "-": "%20"}[match.group(5)])
        position = match.end()
    return tuple(parts)


def _append(parts: list[str | Macro], literal: str) -> None:
    last = parts[-1] if parts else None
    if isinstance(last, str):
        parts[-1] = last + literal
    else:
        parts.append(literal)


def _macro(match: re.Match[str], explanation: bool) -> Macro:
    letter, digits, reverse, delimiters = match.group(1), match.group(2), match.group(3), match.group(4)
    low = letter.lower()
    if low not in "slodiphcrtv":
        raise Rule(f"there is no macro letter {letter!r} (section 7.2)")
    if low in "crt" and not explanation:
        raise Rule(f"the macro letter {letter!r} is for explanations only (section 7.2)")
    number = digits.lstrip("0")
    if digits and not number:
        raise Rule(f"{match.group()} keeps no part at all; the number must not be zero (section 7.3)")
    return Macro(low, int(number[:COUNT_DIGITS] or 0), bool(reverse), delimiters or ".", letter.isupper())


# -- expanding ----------------------------------------------------------------------------------


def expand(parts: Sequence[str | Macro], value: Callable[[str], str]) -> str:
    """The text that ``parts`` stand for; ``value`` gives what a macro letter stands for (section 7.3).

    Raises :class:`Rule` when the text would grow beyond what any record holds.
    """
    pieces: list[str] = []
    size = 0
    for part in parts:
        piece = part if isinstance(part, str) else transform(part, value(part.letter))
        size += len(piece)
        if size > EXPANDED_LIMIT:
            raise Rule(f"its macros make a text of more than {EXPANDED_LIMIT} characters")
        pieces.append(piece)
    return "".join(pieces)


def transform(macro: Macro, text: str) -> str:
    """``text`` as the digits, the ``r`` and the delimiters of ``macro`` turn it, escaped for a capital letter."""
    if macro.count or macro.reverse or macro.delimiters != ".":
        pieces = _split(text, macro.delimiters)
        if macro.reverse:
            pieces.reverse()
        text = ".".join(pieces[-macro.count :])
    # Capitals ask for URL escaping of all that RFC 3986 section 2.3 does not call unreserved.
    return quote(text, safe="", errors="replace") if macro.escape else text


def _split(text: str, delimiters: str) -> list[str]:
    for delimiter in delimiters[1:]:
        text = text.replace(delimiter, delimiters[0])
    return text.split(delimiters[0])


def target_name(text: str) -> str:
    """An expanded domain-spec as a name to ask for: no final dot, labels cut from the left until it fits."""
    name = text[:-1] if text.endswith(".") else text
    while len(name) > TARGET_LIMIT:
        dummy, dot, rest = name.partition(".")
        if not dot:
            return ""  # one label that no name can hold
        name = rest
    return name
