# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Suites of cases that others made, kept elsewhere, and the few of their cases that an RFC says are wrong.

A suite passes when what differs from it is what is listed here, and that is at most two in a hundred of its cases.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

DATA = os.environ.get("MAIL_TEST_DATA", "")
needs_data = pytest.mark.skipif(not DATA, reason="not run: MAIL_TEST_DATA does not say where the suites lie")

LIMIT = 0.02  # of a suite's cases
SYNTAX = "record-syntax.json"

# Cases that are wrong, by suite, each with the rule that says so.
WRONG: dict[str, Mapping[Hashable, str]] = {
    SYNTAX: {
        "V=spf1 all Include:example.org a ?a -a +a ~a a:x a:x/0 a:x/24//64 a:x//64 mx mx:x ptr ptr:x IP4:10.0.0.1 "
        "ip4:0.0.0.0/0 ip4:10.0.0.1/24 ip6:2001:db8::1 ip6:2001:db8::1/128 exists:x REDIRECT=x exp=X Other=x": (
            "RFC 7208 section 7.1: a domain-spec ends in a macro or in a dot and a label, so there is no a:x"
        ),
    },
    "dmarc-parse.json by RFC 9989": {},
    "dmarc-parse.json by RFC 7489": {},
    "spf of blitirispf": {},
    "spf of mail-auth": {
        ("all.yml", "test.org", "10.0.0.1"): (
            "RFC 7208 section 4.6: an error anywhere in the record is permerror, and there is no mechanism ip; being "
            "ignored after all does not make it right"
        ),
        ("exists.yml", "ip6.test.org", "167.1.2.3"): (
            "RFC 7208 section 5.7: the name is looked up as A even when the client has an IPv6 address, and this one "
            "has AAAA alone"
        ),
        ("macro.yml", "mx.example.org", "2001:db8::cb01"): (
            "RFC 7208 section 5.7: the name is looked up as A even when the client has an IPv6 address, and this one "
            "has AAAA alone"
        ),
    },
    "dkim": {},
    "test_psl.txt": {},
}


def rows(name: str) -> list[dict[str, Any]]:
    """The cases of a suite in JSON."""
    found: list[dict[str, Any]] = json.loads(Path(DATA, name).read_text(encoding="utf-8"))
    return found


def settle(suite: str, cases: Iterable[Hashable], differing: Iterable[Hashable], *, size: int = 0) -> None:
    """Fail unless ``differing`` are those of ``cases`` that are listed, few enough for the suite.

    ``size`` is that of the whole suite, where ``cases`` are a part of it.
    """
    looked_at, wrong = list(cases), list(differing)
    listed = WRONG[suite]
    assert set(wrong) == set(listed).intersection(looked_at), wrong
    assert all(re.match(r"RFC \d+ section \d", rule) for rule in listed.values())
    every = size or len(looked_at)
    assert max(len(listed), len(wrong)) <= LIMIT * every, f"{len(wrong)} of {every} cases of {suite} are called wrong"


def settle_syntax(kind: str, parse: Callable[[str], object], error: type[Exception]) -> None:
    """The records of one kind in the suite of syntax: those that are good are read, the others refused."""
    suite = rows(SYNTAX)
    cases = [case for case in suite if case["kind"] == kind]
    assert len(cases) > 6 and {case["verdict"] for case in cases} == {"good", "bad"}
    differing = [case["text"] for case in cases if is_read(parse, case["text"], error) != (case["verdict"] == "good")]
    settle(SYNTAX, [case["text"] for case in cases], differing, size=len(suite))


def is_read(parse: Callable[[str], object], text: str, error: type[Exception]) -> bool:
    """Whether ``text`` can be read."""
    try:
        parse(text)
    except error:
        return False
    return True
