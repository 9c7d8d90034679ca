# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP: who gets a token, who may download it and until when, and unsubscribing by one click."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import time
from collections import Counter
from typing import Any

import httpx
import pytest
from postmaster_restricted_list import ctl
from postmaster_restricted_list.api import Api
from postmaster_restricted_list.intake import Intake
from postmaster_restricted_list.secret import Secret, digest
from postmaster_restricted_list.store import UsedError
from starlette.testclient import TestClient

from .conftest import ANNA, MINUTE, World, eventually, mail

KINDS = "'file', 'sql', 'ldap', 'http'"
BEARER = {"Authorization": "Bearer right"}


@pytest.fixture
def http(world: World) -> World:
    all_ = {"permissions": ["create"], "groups": ["*"], "addresses": True, "senders": ["*"]}
    world.data |= {
        "http": {"host": world.host, "port": 8090},
        "public_url": f"http://{world.host}:8090",
        "credentials": [
            {"name": "all", "sha256": digest("right"), "notify": "boss@corp.example", **all_},
            {"name": "reader", "sha256": digest("reader"), **all_, "permissions": []},
            {
                "name": "narrow",
                "sha256": digest("narrow"),
                "permissions": ["create"],
                "groups": ["members"],
                "senders": ["@corp.example"],
            },
        ],
    }
    return world


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def _client(world: World, clock: Any = time.time) -> TestClient:
    return TestClient(Api(world.config, world.config.secret(), world.store, clock).app(), raise_server_exceptions=False)


def test_a_token_by_http_from_the_request_to_the_mail_that_arrives(http: World) -> None:
    with http.running(), httpx.Client(timeout=MINUTE) as client:
        made = client.post(
            f"http://{http.host}:8090/tokens", headers=BEARER, json={"sender": ANNA, "groups": ["members"]}
        )
        assert made.status_code == 201
        about = made.json()
        assert {name: about[name] for name in ("sender", "recipients", "opted_out", "not_addresses")} == {
            "sender": ANNA, "recipients": 2, "opted_out": 0, "not_addresses": [],
        }  # fmt: skip
        file = client.get(about["download"])
        assert file.headers["content-disposition"] == 'attachment; filename="token.txt"'
        assert file.headers["cache-control"] == "no-store"
        found = re.fullmatch("RESTRICTED-TOKEN ([0-9a-f]{128})\n", file.text)
        assert found and found[1] not in made.text
        assert http.send(mail(found[1]))[0] == (250, "2.0.0 it goes out to 2 recipients")
        eventually(lambda: len(http.relay.copies()) == 2)
        assert client.get(about["download"]).status_code == 410
        assert client.get(f"http://{http.host}:8090/health").text == "ok\n"
        link = re.search(rb"List-Unsubscribe: <(http[^>]*)>", http.relay.copies()[0].raw)
        assert link
        body = {"List-Unsubscribe": "One-Click"}
        assert client.post(link[1].decode(), data=body).status_code == 200
    assert http.store.opted_out() == {"one@a.example"}


@pytest.mark.parametrize(
    ("headers", "body", "status", "text"),
    [
        (BEARER, {}, 201, None),
        ({}, {}, 401, "give a credential: Authorization: Bearer ...\n"),
        ({"Authorization": "Bearer wrong"}, {}, 401, "give a credential: Authorization: Bearer ...\n"),
        ({"Authorization": "Basic right"}, {}, 401, "give a credential: Authorization: Bearer ...\n"),
        ({"Authorization": f"Bearer {digest('right')}"}, {}, 401, "give a credential: Authorization: Bearer ...\n"),
        ({"Authorization": "Bearer reader"}, {}, 403, "reader may not make tokens: give it the permission create\n"),
        ({"Authorization": "Bearer narrow"}, {}, 201, None),
        ({"Authorization": "Bearer narrow"}, {"groups": ["others"]}, 403, "narrow may not write to the group others\n"),
        ({"Authorization": "Bearer narrow"}, {"addresses": ["x@y.example"]}, 403, "narrow may write to groups alone, not to single addresses\n"),
        ({"Authorization": "Bearer narrow"}, {"sender": "a@other.example"}, 403, "narrow may not make tokens for a@other.example\n"),
        (BEARER, {"sender": "a@other.example", "addresses": ["x@y.example"]}, 201, None),
        (BEARER, {"groups": ["others"]}, 422, "there is no group others; there are members\n"),
        (BEARER, {"groups": []}, 422, "nobody would get the mail: name groups or addresses\n"),
        (BEARER, {"sender": "nobody"}, 422, "'nobody' is no address that mail can be sent to\n"),
        (BEARER, {"addresses": ["nobody"]}, 422, "'nobody' is no address that mail can be sent to\n"),
        (BEARER, {"days": 0}, 422, "days must be more than 0, and 366 at most\n"),
        (BEARER, {"shown": "maybe"}, 422, "shown: Input should be 'reply-to', 'footer' or 'hidden'\n"),
        (BEARER, {"strange": 1}, 422, "strange: Extra inputs are not permitted\n"),
        (BEARER, {"addresses": [f"x{number}@y.example" for number in range(498)]}, 201, None),
        (BEARER, {"addresses": [f"x{number}@y.example" for number in range(499)]}, 422, "501 recipients are more than the 500 that one mail may have\n"),
        (BEARER, {"addresses": ["x" * 250] * 1100}, 413, "the body may have 262144 bytes\n"),
    ],
)  # fmt: skip
def test_who_gets_a_token(
    http: World, headers: dict[str, str], body: dict[str, Any], status: int, text: str | None
) -> None:
    answer = _client(http).post("/tokens", headers=headers, json={"sender": ANNA, "groups": ["members"], **body})
    assert answer.status_code == status
    assert text is None or answer.text == text


def test_a_body_that_is_no_json(http: World) -> None:
    answer = _client(http).post("/tokens", headers=BEARER, content=b"{")
    assert answer.status_code == 422 and answer.text.startswith("the body: Invalid JSON")


def test_a_group_that_cannot_be_read(http: World) -> None:
    (http.folder / "members.yaml").unlink()
    answer = _client(http).post("/tokens", headers=BEARER, json={"sender": ANNA, "groups": ["members"]})
    assert answer.status_code == 502 and answer.text.startswith("the group members cannot be read (file): ")


def test_a_link_is_good_for_ten_minutes(http: World) -> None:
    clock = Clock()
    clock.now = time.time()
    client = _client(http, clock)
    link = client.post("/tokens", headers=BEARER, json={"sender": ANNA, "groups": ["members"]}).json()["download"]
    clock.now += 599
    assert client.get(link).status_code == 200
    clock.now += 1
    late = client.get(link)
    assert (late.status_code, late.text) == (403, "the link is not valid, or no more: ask for a new token\n")


def test_a_link_cannot_be_changed(http: World) -> None:
    client = _client(http)
    wish = {"sender": ANNA, "groups": ["members"]}
    links = [client.post("/tokens", headers=BEARER, json=wish).json()["download"] for dummy in range(2)]
    expires = re.search("expires=([0-9]+)", links[0])
    assert expires
    changed = [
        links[0].replace(expires[0], f"expires={int(expires[1]) + 60}"),
        links[0].replace(expires[0], "expires=1e99"),
        links[0][:-1] + ("0" if links[0][-1] != "0" else "1"),
        links[0].partition("?")[0] + "?" + links[1].partition("?")[2],
        links[0].partition("?")[0],
        links[0].replace("signature=", "signature=é"),
    ]
    assert [client.get(link).status_code for link in changed] == [403] * len(changed)
    assert [client.get(link).status_code for link in links] == [200, 200]


def test_unsubscribing(http: World) -> None:
    client, secret = _client(http), http.config.secret()
    path = f"/unsubscribe/{secret.unsubscribe('one@a.example')}"
    page = client.get(path)
    assert page.status_code == 200 and "<form" in page.text
    assert http.store.opted_out() == set()
    assert client.post(path, data={"List-Unsubscribe": "No"}).text == "the body must be List-Unsubscribe=One-Click\n"
    assert http.store.opted_out() == set()
    assert client.post(path, data={"List-Unsubscribe": "One-Click"}).status_code == 200
    assert client.post(path, data={"List-Unsubscribe": "One-Click"}).status_code == 200
    assert http.store.opted_out() == {"one@a.example"}
    other = f"/unsubscribe/{secret.unsubscribe('two@b.example')}"
    assert client.post(other, files={"List-Unsubscribe": (None, "One-Click")}).status_code == 200
    assert http.store.opted_out() == {"one@a.example", "two@b.example"}


@pytest.mark.parametrize(
    "word", ["x", "b25lQGEuZXhhbXBsZQ.0", "é.é", "a" * 2000, f"{Secret(b'other' * 9).unsubscribe('one@a.example')}"]
)
def test_links_that_are_none_of_ours(http: World, word: str) -> None:
    assert _client(http).get(f"/unsubscribe/{word}").status_code == 404
    assert _client(http).post(f"/unsubscribe/{word}", data={"List-Unsubscribe": "One-Click"}).status_code == 404
    assert http.store.opted_out() == set()


# -- the command -----------------------------------------------------------------------------------


def test_the_command_makes_a_token_that_works(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(world.write())
    words = [
        "--config",
        path,
        "token",
        "--sender",
        ANNA,
        "--group",
        "members",
        "--address",
        "x@y.example",
        "--days",
        "1",
        "--shown",
        "hidden",
    ]
    assert ctl.main(words) == 0
    said = capsys.readouterr()
    assert re.match("[0-9a-f]{8}: one mail of anna@corp.example to 3 recipients, until ", said.err)
    token = said.out.split()[1]
    with world.running():
        assert world.send(mail(token))[0][0] == 250
        eventually(lambda: world.relay.notices(ANNA))
    assert ctl.main(["--config", path, "status"]) == 0
    assert re.fullmatch(
        r"1 \d{4}-\d\d-\d\d \d\d:\d\d anna@corp\.example: 3 sent, 0 failed, done\n", capsys.readouterr().out
    )
    assert b"corp.example" not in world.relay.copies()[0].raw


def test_the_command_opts_people_out_and_in(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(world.write())
    assert ctl.main(["--config", path, "opt-out", "one@a.example"]) == 0
    assert world.store.opted_out() == {"one@a.example"}
    assert ctl.main(["--config", path, "opt-in", "one@a.example"]) == 0
    assert ctl.main(["--config", path, "opt-in", "one@a.example"]) == 1
    assert capsys.readouterr().err == "one@a.example has not opted out\n"


def _ran(capsys: pytest.CaptureFixture[str], world: World, *words: str) -> tuple[int, str]:
    """What a command ends with, and all that it says."""
    code = ctl.main(["--config", str(world.write()), *words])
    said = capsys.readouterr()
    return code, said.out + said.err


def test_the_command_takes_a_token_back(http: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither a mail nor the link to its file works from then on; the twin that was not taken back does."""
    client = _client(http)
    made = [
        client.post("/tokens", headers=BEARER, json={"sender": ANNA, "groups": ["members"]}).json()
        for dummy in range(2)
    ]
    files = [client.get(one["download"]).text.split()[1] for one in made]
    number = made[0]["id"]
    assert _ran(capsys, http, "revoke", number[:10]) == (
        0,
        f"the token {number[:8]} of {ANNA} is good for nothing any more\n",
    )
    assert [client.get(one["download"]).status_code for one in made] == [410, 200]
    intake = Intake(http.config, http.store, lambda: None)
    assert intake.take(mail(files[0])) == "550 5.7.1 the token has been revoked: ask for a new one"
    assert intake.take(mail(files[1])) == "250 2.0.0 it goes out to 2 recipients"
    used = made[1]["id"]
    assert _ran(capsys, http, "revoke", used) == (1, f"the token {used} has been used: its mail is on its way\n")


@pytest.mark.parametrize("word", ["", "zz", "%", "_"])
def test_a_number_that_is_none(world: World, capsys: pytest.CaptureFixture[str], word: str) -> None:
    world.token()
    assert _ran(capsys, world, "revoke", word) == (1, f"there is no token {word}\n")
    assert [one.state(time.time()) for one in world.store.tokens()] == ["good"]


def test_a_number_that_several_begin_with(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    for dummy in range(17):  # of 16 digits, so two begin alike
        world.token()
    first = Counter(one.number[0] for one in world.store.tokens()).most_common(1)[0]
    assert _ran(capsys, world, "revoke", first[0]) == (
        1,
        f"{first[1]} tokens begin with {first[0]}: give more of the number\n",
    )


def test_a_token_is_taken_back_while_its_mail_is_read(world: World) -> None:
    token = world.token()
    known = world.store.by_digest(digest(token))
    assert known
    world.store.revoke(known.number)
    with pytest.raises(UsedError):
        world.store.accept(known, b"", "", ["one@a.example"], [], time.time())
    other = world.store.by_digest(digest(world.token()))
    assert other
    world.store.accept(other, b"", "", ["one@a.example"], [], time.time())


def test_the_command_lists_tokens_and_forgets_old_ones(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    clock = r"\d{4}-\d\d-\d\d \d\d:\d\d"
    for days in (5, 4, 3, 2):
        world.token(days=days, addresses=("x@y.example",) if days == 5 else ())
    used, taken, old, good = [one.number for one in world.store.tokens()]
    with world.running():
        secret = world.config.secret()
        assert world.send(mail(secret.token(used)))[0][0] == 250
        eventually(lambda: world.relay.notices(ANNA), "the end")
    world.store.revoke(taken)
    with contextlib.closing(sqlite3.connect(world.folder / "list.db")) as database:
        for table, column, where in (
            ("tokens", "expires", f"number = '{old}'"),
            ("tokens", "used", "used"),
            ("jobs", "ended", "1"),
        ):
            database.execute(f"UPDATE {table} SET {column} = {column} - 10 * 86400 WHERE {where}")
        database.commit()
    code, said = _ran(capsys, world, "tokens")
    assert code == 0
    assert re.fullmatch(
        f"{used[:8]} used {clock} {ANNA} to members, 1 addresses, made by test\n"
        f"{good[:8]} good {clock} {ANNA} to members, made by test\n"
        f"{old[:8]} expired {clock} {ANNA} to members, made by test\n"
        f"{taken[:8]} revoked {ANNA} to members, made by test\n",
        said,
    )
    assert _ran(capsys, world, "purge", "--days", "0") == (1, "--days must be more than 0\n")
    assert _ran(capsys, world, "purge", "--days", "30") == (0, "forgotten: 1 tokens, 0 mails\n")  # the revoked one
    assert {one.number for one in world.store.tokens()} == {used, good, old}
    assert _ran(capsys, world, "purge", "--days", "6") == (0, "forgotten: 2 tokens, 1 mails\n")
    assert {one.number for one in world.store.tokens()} == {good}
    assert _ran(capsys, world, "status") == (0, "")


def test_what_still_goes_out_is_not_forgotten(world: World) -> None:
    token = world.token()
    assert Intake(world.config, world.store, lambda: None).take(mail(token)).startswith("250 ")
    assert world.store.purge(time.time() + 366 * 86_400) == (0, 0)
    assert len(world.store.waiting(time.time(), 9)) == 3  # two copies, and the notice
    with world.running():
        eventually(lambda: world.relay.notices(ANNA) and not world.store.waiting(time.time(), 9), "the end")
    assert world.store.purge(time.time() + 366 * 86_400) == (1, 1)


def test_the_command_makes_credentials(capsys: pytest.CaptureFixture[str]) -> None:
    assert ctl.main(["credential"]) == 0
    found = re.fullmatch("bearer: (.{43})\nsha256: ([0-9a-f]{64})\n", capsys.readouterr().out)
    assert found and digest(found[1]) == found[2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, ""),
        ({"secret_file": "/nonexistent"}, "secret_file: [Errno 2] No such file or directory: '/nonexistent'\n"),
        ({"relay": {"host": "h", "port": 0}}, "relay.port: Input should be greater than or equal to 1\n"),
        ({"groups": {"g": {"kind": "magic"}}}, f"groups.g: Input tag 'magic' found using 'kind' does not match any of the expected tags: {KINDS}\n"),
    ],
)  # fmt: skip
def test_the_command_checks_the_configuration(
    world: World, capsys: pytest.CaptureFixture[str], change: dict[str, Any], message: str
) -> None:
    world.data |= change
    assert ctl.main(["--config", str(world.write()), "check-config"]) == (1 if message else 0)
    assert capsys.readouterr().err == message
    assert not (world.folder / "list.db").exists()


def test_a_bearer_is_never_in_a_message(http: World, capsys: pytest.CaptureFixture[str]) -> None:
    http.data["credentials"][0]["sha256"] = "my password"
    assert ctl.main(["--config", str(http.write()), "check-config"]) == 1
    assert "my password" not in capsys.readouterr().err
