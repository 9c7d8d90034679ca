# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes hostile text out of good text: a stream of inputs that is the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Sequence

# Characters at which parsers go wrong: separators, quotes, controls, the ends of ranges, signs that change when
# their case does, half a surrogate pair.
NASTY = (
    "\0\t\n\r\x0b\x1b \"'\\;:=/%{}()[]<>,.@#-_+~?*|&^$!0919azAZ\x7f\x80\xad\xff\u0130\u2028\u202e\ud800\ufeff\U0001f4e7"
)
POOL = 400  # accepted inputs that are mutated further
LONGEST = 20_000


class Mutator:
    """Gives inputs made of ``seeds`` and ``words``; those that a parser took are worth changing again."""

    def __init__(self, seeds: Sequence[str], words: Sequence[str], *, seed: int) -> None:
        self._random = random.Random(seed)
        self._seeds = list(seeds)
        self._words = [*words, "", " ", "\n", "0", "-1", "99999999999999999999", "a" * 64, "a." * 130]
        self._pool = list(seeds)

    def next(self) -> str:
        """One more input."""
        pick = self._random
        text = pick.choice(self._pool if pick.random() < 0.7 else self._seeds)
        for dummy in range(pick.randint(1, 4)):
            text = pick.choice(CHANGES)(pick, text, self._words, self._seeds)
        return text[:LONGEST]

    def took(self, text: str) -> None:
        """Remember an input that was accepted."""
        if len(self._pool) < POOL + len(self._seeds):
            self._pool.append(text)
        elif self._random.random() < 0.05:
            self._pool[self._random.randrange(len(self._seeds), len(self._pool))] = text


def _span(pick: random.Random, text: str) -> tuple[int, int]:
    start = pick.randint(0, len(text))
    return start, min(len(text), start + int(pick.expovariate(1 / 6)))


def _insert(pick: random.Random, text: str, words: Sequence[str], seeds: Sequence[str]) -> str:
    at = pick.randint(0, len(text))
    return text[:at] + pick.choice(words) + text[at:]


def _replace(pick: random.Random, text: str, words: Sequence[str], seeds: Sequence[str]) -> str:
    start, end = _span(pick, text)
    return text[:start] + pick.choice(words) + text[end:]


def _character(pick: random.Random, text: str, words: Sequence[str], seeds: Sequence[str]) -> str:
    at = pick.randint(0, len(text))
    new = pick.choice(NASTY) if pick.random() < 0.9 else chr(pick.randrange(0xD800))
    return text[:at] + new + text[at + pick.randint(0, 1) :]


def _delete(pick: random.Random, text: str, words: Sequence[str], seeds: Sequence[str]) -> str:
    start, end = _span(pick, text)
    return text[:start] + text[end:]


def _repeat(pick: random.Random, text: str, words: Sequence[str], seeds: Sequence[str]) -> str:
    start, end = _span(pick, text)
    times = pick.choice((2, 2, 2, 3, 11, 300))
    return text[:start] + text[start:end] * times + text[end:]


def _splice(pick: random.Random, text: str, words: Sequence[str], seeds: Sequence[str]) -> str:
    other = pick.choice(seeds)
    return text[: pick.randint(0, len(text))] + other[pick.randint(0, len(other)) :]


def _case(pick: random.Random, text: str, words: Sequence[str], seeds: Sequence[str]) -> str:
    start, end = _span(pick, text)
    return text[:start] + text[start:end].swapcase() + text[end:]


CHANGES = (_insert, _insert, _replace, _replace, _character, _character, _delete, _repeat, _splice, _case)
