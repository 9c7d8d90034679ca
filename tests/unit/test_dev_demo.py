# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo's table: a row is good only if the receiver believed the message in every respect."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

import pytest

# The tools and the lab are started from the clone, not through Ansible's names.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "molecule" / "shared"))

from lab.probe import Lab, Message

from tools.dev import demo

GOOD = """\
Return-Path: <demo@corp.example>
X-Original-To: visitor@outside.test
Authentication-Results: mx.outside.test; spf=pass smtp.mailfrom=corp.example; dkim=pass header.d=corp.example; dmarc=pass
Received: from relay1.corp.example (relay1.corp.example [198.19.10.25])
 (using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits))
 by mx.outside.test (Postfix) with ESMTPS id 1 for <visitor@outside.test>
Received: from sat.corp.example (sat.corp.example [198.19.10.31]) by relay1.corp.example (Postfix) with ESMTPS id 2
Received: by sat.corp.example (Postfix, from userid 0) id 3
From: Demo <demo@corp.example>

Hello.
"""
SENDING = demo.Sending("sat", "visitor@outside.test", "visitor@outside.test", "demo-1")


class FakeLab:
    """Knows the names of three hosts."""

    known = {"hosts": {"sat": {}, "relay1": {}, "outside": {}}}  # noqa: RUF012

    def fqdn(self, host: str) -> str:
        return "mx.outside.test" if host == "outside" else f"{host}.corp.example"


def judge(text: str) -> demo.Row:
    return demo.judge(cast(Lab, FakeLab()), SENDING, Message(text.encode(), "mx.outside.test"))


def test_a_good_message() -> None:
    path = "sat > relay1 > outside"
    verdicts = ("pass", "pass", "pass", "TLSv1.3")
    assert judge(GOOD) == demo.Row(("sat", "visitor@outside.test", path, "visitor@outside.test", *verdicts))


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("dkim=pass", "dkim=fail", "dkim is fail"),
        ("spf=pass", "spf=softfail", "spf is softfail"),
        ("; dmarc=pass", "", "dmarc is none"),
        ("(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits))", "", "the last hop was not encrypted"),
        ("To: visitor@", "To: postmaster@", "it arrived at postmaster@outside.test"),
        ("From: Demo <demo@corp", "From: Demo <demo@sat.corp", "its sender is demo@sat.corp.example"),
    ],
)
def test_a_bad_message(old: str, new: str, problem: str) -> None:
    assert judge(GOOD.replace(old, new)).problem == problem


@pytest.mark.parametrize(("problem", "code"), [("", 0), ("dkim is fail", 1)])
def test_one_bad_row_fails_the_demo(
    problem: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Ready(FakeLab):
        def hosts(self) -> list[str]:
            return ["sat"]

    rows = [demo.Row(("a",) * 8), demo.Row(("sat", "root", *("b",) * 6), problem)]
    replaced: dict[str, Any] = {"_lab": lambda *words: None, "play": lambda lab: 0, "prove": lambda lab: rows}
    for name, value in replaced.items():
        monkeypatch.setattr(demo, name, value)
    monkeypatch.setattr(demo.Lab, "load", Ready)
    assert demo.build() == code
    assert ("FAILED sat to root: dkim is fail" in capsys.readouterr().out) == bool(problem)
