# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fake of a Proxmox Mail Gateway answers as the real one did (requests recorded from pmg-api 9.1.0)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fake_pmg import FakePmg, Said

DATA = Path(os.environ.get("MAIL_TEST_DATA", "/nowhere")) / "pmg"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="not run: MAIL_TEST_DATA names no folder with pmg")
FIRST, LAST = 9, 110  # the recorded requests about lists and sections, by somebody who was let in
SECTIONS = ("/config/mail", "/config/admin")


def schema() -> list[dict[str, Any]]:
    return list(json.loads((DATA / "pmg_api_schema.json").read_text())["methods"])


def recorded(first: int, last: int) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (DATA / "transcript-9.1.0.jsonl").read_text().splitlines()]
    return [one for one in lines if first <= one.get("n", 0) <= last]


def admin(fake: FakePmg) -> dict[str, str]:
    """The headers of somebody who is let in."""
    said = fake.handle("POST", "/access/ticket", {"username": "root@pam", "password": "secret"}, {})
    assert said is not None
    data = said.body["data"]
    return {
        "Cookie": f"PMGAuthCookie={quote(data['ticket'], safe='')}",
        "CSRFPreventionToken": data["CSRFPreventionToken"],
    }


def ask(fake: FakePmg, request: list[Any], headers: dict[str, str]) -> Said:
    method, path, params = request
    said = fake.handle(method, path, dict(params or {}), headers, body=bool(params))
    assert said is not None
    return said


def replay(text: str) -> None:
    """Each request is answered as it is written there."""
    fake = FakePmg(schema())
    headers = admin(fake)
    exchanges = json.loads(text)
    assert len(exchanges) == LAST - FIRST + 1
    digest = ""
    for one in exchanges:
        method, path, params = one["req"]
        if params and "digest" in params and path in SECTIONS:  # which was left out of the recording
            params["digest"] = digest
        said = ask(fake, [method, path, params], headers)
        body = said.body
        if method == "GET" and path in SECTIONS:
            digest, body = body["data"]["digest"], {"data": {**body["data"], "digest": "SHA1"}}
        assert (said.status, said.reason, body) == (
            one["res"]["status"],
            one["res"]["reason"],
            one["res"]["body"],
        ), one["n"]


def test_it_answers_as_was_recorded() -> None:
    replay(json.dumps(recorded(FIRST, LAST)))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("192.0.2.", "198.51.100."),
        ("10.9.0.0", "10.200.0.0"),
        ("203.0.113.0", "203.0.99.0"),
        ("DB8", "DB9"),
        ("nope.example", "none.test"),
        ("h.example", "lmtp.test"),
    ],
)
def test_and_with_other_names(old: str, new: str) -> None:
    """It has not learned the answers by heart."""
    text = json.dumps(recorded(FIRST, LAST))
    assert old in text
    replay(text.replace(old, new).replace(old.lower(), new.lower()))


def test_who_is_not_let_in() -> None:
    fake = FakePmg(schema())
    good = admin(fake)
    cases = {
        1: {}, 2: {}, 3: {}, 4: {"Cookie": "PMGAuthCookie=wrong"}, 5: {**good, "CSRFPreventionToken": "wrong"},
        6: {"Authorization": "PVEAPIToken=root@pam!x=y"}, 7: {"Authorization": "PMGAPIToken=root@pam!x=y"},
    }  # fmt: skip
    for one in recorded(1, 7):
        said = ask(fake, one["req"], cases[one["n"]])
        expected = one["res"]
        assert (said.status, said.reason, said.body) == (expected["status"], expected["reason"], expected["body"])
    said = ask(fake, ["POST", "/access/ticket", {"username": "auditor@pmg", "password": "reads"}], {})
    data = said.body["data"]
    auditor = {
        "Cookie": f"PMGAuthCookie={quote(data['ticket'], safe='')}",
        "CSRFPreventionToken": data["CSRFPreventionToken"],
    }
    for one in recorded(122, 123):
        said = ask(fake, one["req"], auditor)
        assert (said.status, said.reason, said.body) == tuple(one["res"][name] for name in ("status", "reason", "body"))
    assert fake.lists["/config/mynetworks"] == {}
