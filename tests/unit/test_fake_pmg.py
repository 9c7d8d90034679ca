# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fake of a Proxmox Mail Gateway answers as the real one did (requests recorded from pmg-api 9.1.0)."""

from __future__ import annotations

import json
import os
import random
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fake_pmg import FakePmg, Said
from fake_pmg_lists import Dkim

DATA = Path(os.environ.get("MAIL_TEST_DATA", "/nowhere")) / "pmg"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="not run: MAIL_TEST_DATA names no folder with pmg")
FIRST, LAST = 8, 126  # the recorded requests by somebody who was let in
AUDITOR = range(122, 125)  # those by a user who was made before
SECTIONS = ("/config/mail", "/config/admin")


def schema() -> list[dict[str, Any]]:
    return list(json.loads((DATA / "pmg_api_schema.json").read_text())["methods"])


def recorded(first: int, last: int) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (DATA / "transcript-9.1.0.jsonl").read_text().splitlines()]
    return [one for one in lines if first <= one.get("n", 0) <= last]


def admin(fake: FakePmg, user: str = "root@pam", password: str = "secret") -> dict[str, str]:
    """The headers of somebody who is let in."""
    said = fake.handle("POST", "/access/ticket", {"username": user, "password": password}, {})
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


def redacted(one: dict[str, Any], said: Said) -> Any:
    """A body without what was left out of the recording: digests and public keys."""
    method, path, dummy = one["req"]
    text = json.dumps(said.body)
    if method == "GET" and path in SECTIONS:
        text = re.sub(r'"digest": "[0-9a-f]{40}"', '"digest": "SHA1"', text)
    if (method, path) == ("GET", "/config/dkim/selector"):
        text = re.sub(r"p=.+ \)", "p=KEY )", text)
    return json.loads(text)


def replay(exchanges: list[dict[str, Any]], fake: FakePmg | None = None) -> None:
    """Each request is answered as it is written there."""
    fake = fake or FakePmg(schema())
    headers, auditor, digest = admin(fake), {}, ""
    for one in exchanges:
        method, path, params = one["req"]
        if params and "digest" in params and path in SECTIONS:
            params["digest"] = digest
        if one["n"] == AUDITOR[0]:
            auditor = admin(fake, "probe@pmg", "probepass1")
        said = ask(fake, [method, path, params], auditor if one["n"] in AUDITOR else headers)
        if method == "GET" and path in SECTIONS:
            digest = said.body["data"]["digest"]
        expected = one["res"]
        assert (said.status, said.reason, redacted(one, said)) == tuple(
            expected[name] for name in ("status", "reason", "body")
        ), one["n"]


def test_it_answers_as_was_recorded() -> None:
    exchanges = recorded(FIRST, LAST)
    assert [one["n"] for one in exchanges] == list(range(FIRST, LAST + 1))
    replay(exchanges)


# Recorded requests about one thing, which say nothing of any other.
SUBJECTS = [
    (9, 41), (42, 51), (52, 61), (62, 73), (74, 85), (86, 91), (92, 106), (107, 110), (111, 119), (120, 126),
]  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_and_in_another_order(seed: int) -> None:
    parts = [recorded(*subject) for subject in SUBJECTS]
    random.Random(seed).shuffle(parts)
    replay([one for part in parts for one in part])


@pytest.mark.parametrize("seed", range(3))
def test_what_only_reads_or_is_refused_changes_nothing(seed: int) -> None:
    """So it may come once more, at any time before the next change."""
    chance, exchanges = random.Random(seed), []
    idle: list[dict[str, Any]] = []
    for one in recorded(FIRST, LAST):
        changed = one["res"]["status"] == 200 and one["req"][0] != "GET"
        idle = [] if changed or one["n"] in AUDITOR else [*idle, one]
        exchanges += [one, *chance.sample(idle, chance.randint(0, len(idle)))]
    assert len(exchanges) > LAST
    replay(exchanges)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("192.0.2.", "198.51.100."),
        ("10.9.0.0", "10.200.0.0"),
        ("203.0.113.0", "203.0.99.0"),
        ("DB8", "DB9"),
        ("nope.example", "none.test"),
        ("h.example", "lmtp.test"),
        ('"probe"', '"s1.mail"'),
        ("2048", "1024"),
        ('"comment": "d"', '"comment": "the second"'),
    ],
)
def test_and_with_other_names(old: str, new: str) -> None:
    """It has not learned the answers by heart."""
    text = json.dumps(recorded(FIRST, LAST))
    assert old in text
    text = text.replace(old, new).replace(old.lower(), new.lower())
    if old == '"probe"':  # and where the selector stands within a text
        text = (
            text.replace("probe.", "s1.mail.")
            .replace("probe_", "s1.mail_")
            .replace("key probe", "key s1.mail")
            .replace("(probe ", "(s1.mail ")
        )
    replay(json.loads(text))


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
    assert fake.lists["/config/mynetworks"] == {}


def test_root_alone_changes_users() -> None:
    """The schema names no role for it. (From the source: it was not recorded.)"""
    fake = FakePmg(schema())
    said = ask(
        fake, ["POST", "/access/users", {"userid": "a@pmg", "role": "audit"}], admin(fake, "auditor@pmg", "reads")
    )
    assert (said.status, said.reason) == (403, "Permission check failed (user != root@pam)")
    assert ask(fake, ["POST", "/access/users", {"userid": "a@pmg", "role": "audit"}], admin(fake)).status == 200


def test_a_key_that_is_there_is_signed_with() -> None:
    fake = FakePmg(schema())
    dkim: Dkim = fake.parts["dkim"]
    headers = admin(fake)
    assert ask(fake, ["POST", "/config/dkim/selector", {"selector": "a", "keysize": 1024}], headers).status == 200
    first = dkim.public("a")
    dkim.file("b").write_bytes(dkim.file("a").read_bytes())
    assert ask(fake, ["POST", "/config/dkim/selector", {"selector": "b", "keysize": 1024}], headers).status == 200
    assert (dkim.made, dkim.public("b"), fake.sections["admin"]["dkim_selector"]) == (1, first, "b")


def test_the_two_names_of_the_welcome_list() -> None:
    """Release 8 knows the old one alone. (From the source.)"""
    for release, known in (("8.2", ["whitelist"]), ("9.1", ["welcomelist", "whitelist"])):
        fake = FakePmg(schema(), release=release)
        said = {
            name: ask(fake, ["GET", f"/config/{name}/objects", None], admin(fake)).status
            for name in ("welcomelist", "whitelist")
        }
        assert [name for name, status in said.items() if status == 200] == known
