# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""No text crashes a parser, keeps it busy, or is read as something else once it was printed.

A million inputs a parser where MAIL_TEST_FULL=1 asks for the long form. MAIL_TEST_SEED (a number) repeats a run
or makes another one.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import pytest
from _mutate import Mutator
from parsers import PARSERS, WORDS, Parser

FULL = os.environ.get("MAIL_TEST_FULL") == "1"
INPUTS = 1_000_000 if FULL else 3_000
SEED = int(os.environ.get("MAIL_TEST_SEED", "20261120"))
LIMIT = 1.0  # seconds of processor time for one input of at most 20,000 characters
HANG = 60.0


class Stuck(BaseException):
    """A parser did not come back. No Exception, so that no parser swallows it."""


@contextmanager
def no_hang() -> Iterator[None]:
    """Raise :class:`Stuck` in whatever runs after HANG seconds of processor time without a beat of the clock."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stuck

    before = signal.signal(signal.SIGPROF, stop)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def check(parser: Parser, text: str) -> bool:
    """Give ``text`` to the parser; whether it was taken. Raises whatever the parser must not raise."""
    began = time.thread_time()
    try:
        value = parser.parse(text)
    except parser.refuses as err:
        assert "\n" not in str(err), f"more than a sentence: {err}"
        value = None
    spent = time.thread_time() - began
    assert spent < LIMIT, f"{spent:.1f} s"
    if value is None:
        return False
    if parser.again is not None:
        printed = parser.again(value)
        assert parser.parse(printed) == value, f"printed as {printed!r}, which reads differently"
    return True


@pytest.mark.parametrize("name", PARSERS)
def test_any_text_is_read_or_refused(name: str) -> None:
    parser = PARSERS[name]
    for seed in parser.seeds:
        check(parser, seed)
    mutator = Mutator(parser.seeds, (*WORDS, *parser.words), seed=SEED)
    text = ""
    with no_hang():
        for number in range(INPUTS):
            if number % 1000 == 0:
                signal.setitimer(signal.ITIMER_PROF, HANG)
            text = mutator.next()
            try:
                if check(parser, text):
                    mutator.took(text)
            except (Exception, Stuck) as err:
                pytest.fail(f"{name}, seed {SEED}, input {number}: {text!r}: {type(err).__name__}: {err}")


@pytest.mark.parametrize("name", PARSERS)
def test_long_runs_cost_no_time(name: str) -> None:
    """What a pattern that goes back over white space or a repeated character would take minutes for."""
    parser = PARSERS[name]
    units = (" ", " \t", "\t", "\r\n ", "\n", "\\", '"', *";:=.,/%@!()-a1", *filter(None, parser.words))
    for seed in parser.seeds:
        for unit in units:
            run = (unit * 20_000)[:20_000]
            for place in sorted({0, len(seed) // 3, len(seed) // 2, len(seed) - 1, len(seed)}):
                with no_hang():
                    signal.setitimer(signal.ITIMER_PROF, HANG)
                    try:
                        check(parser, seed[:place] + run + seed[place:])
                    except (Exception, Stuck) as err:
                        pytest.fail(f"{name}: {unit!r} repeated at {place} in {seed!r}: {type(err).__name__}: {err}")
