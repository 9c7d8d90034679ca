# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users of a gateway by HTTPS against the fake: check, apply, check, apply; passwords; and nobody is locked out."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _pmg_options, _pmg_run
from ansible_collections.postmaster.mail.plugins.modules import pmg_user
from fake_pmg import certificate
from fake_pmg_lists import Users
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pmg_gateway import RELEASES, Gateway, Node, gateway_of, needs_schema

ANSIBLE: dict[str, Any] = {
    "userid": "ansible@pmg",
    "role": "admin",
    "password": "hunter2-hunter2",
    "comment": "runs playbooks",
}
HASH = "$6$saltsalt$" + "a" * 86


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=RELEASES)
def gateway(request: pytest.FixtureRequest, pem: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    monkeypatch.setattr(_pmg_run, "WAITS", (0, 0, 0))
    with gateway_of(request.param, pem) as running:
        yield running


def run(gateway: Gateway, *users: dict[str, Any], **options: Any) -> dict[str, Any]:
    return gateway.run(module=pmg_user, users=list(users), **options)


def part(gateway: Gateway) -> Users:
    users: Users = gateway.fake.parts["users"]
    return users


def sent(gateway: Gateway) -> list[tuple[str, str, dict[str, str]]]:
    """What was sent that may change something."""
    return [one[:3] for one in gateway.fake.log if one[0] != "GET" and one[1] != "/access/ticket"]


@needs_schema
def test_foreseen_done_and_done_with(gateway: Gateway) -> None:
    users = part(gateway)
    users.entries["old@pmg"] = {
        "enable": 1,
        "expire": 0,
        "role": "audit",
        "email": "old@example.org",
        "keys": "k1",
        "firstname": "Old",
    }
    users.entries["gone@pmg"] = {"enable": 0, "expire": 0, "role": "helpdesk"}
    users.entries["auditor@pmg"]["comment"] = "kept"
    wanted: dict[str, Any] = {
        "users": [
            ANSIBLE,
            {"userid": "hashed@pmg", "role": "audit", "crypt_pass": HASH, "enable": False},
            {"userid": "old@pmg", "role": "qmanager", "email": "", "expire": 0, "lastname": "Hand", "keys": "k2"},
            {"userid": "auditor@pmg", "role": "audit", "comment": "kept"},
            {"userid": "root@pam", "email": "root@example.org"},
        ],
        "purge": True,
    }
    changed = ["ansible@pmg", "hashed@pmg", "old@pmg", "root@pam", "gone@pmg"]
    foreseen = gateway.run(module=pmg_user, check=True, **wanted)
    assert (foreseen["changed"], gateway.writes()) == (True, 0)
    done = gateway.run(module=pmg_user, **wanted)
    assert foreseen["changed_entries"] == done["changed_entries"] == changed
    assert (foreseen["entries"], foreseen["diff"]) == (done["entries"], done["diff"])
    assert users.entries == {
        "root@pam": {
            "enable": 1,
            "expire": 0,
            "role": "root",
            "comment": "Unix Superuser",
            "email": "root@example.org",
        },
        "ansible@pmg": {"enable": 1, "expire": 0, "role": "admin", "comment": "runs playbooks"},
        "hashed@pmg": {"enable": 0, "expire": 0, "role": "audit", "crypt_pass": HASH},
        "old@pmg": {"enable": 1, "expire": 0, "role": "qmanager", "lastname": "Hand", "keys": "k2", "firstname": "Old"},
        "auditor@pmg": {"enable": 1, "expire": 0, "role": "audit", "comment": "kept"},
    }
    (edit,) = [params for method, path, params in sent(gateway) if path == "/access/users/old%40pmg"]
    assert edit == {"role": "qmanager", "keys": "k2", "lastname": "Hand", "delete": "email"}
    assert users.passwords["ansible@pmg"] == ANSIBLE["password"]
    gateway.fake.log.clear()
    for check in (True, False):
        again = gateway.run(module=pmg_user, check=check, **wanted)
        assert (again["changed"], again["changed_passwords"], again["entries"]) == (False, [], done["entries"])
    assert gateway.writes() == 0 and users.changed_passwords == 0
    assert [entry for entry in gateway.fake.log if entry[3] >= 400] == []
    for result in (foreseen, done, again):
        told = json.dumps({name: text for name, text in result.items() if name != "invocation"})
        assert not [secret for secret in (ANSIBLE["password"], HASH, "k1", "k2") if secret in told]
        assert ANSIBLE["password"] not in json.dumps(result)


@needs_schema
@pytest.mark.parametrize(
    ("stored", "entry", "update", "changed"),
    [
        ("another-one", {}, "always", ["a@pmg"]),
        ("hunter2-hunter2", {}, "always", []),
        ("another-one", {}, "on_create", []),
        # Nobody can tell what the password of these is, so it stays.
        ("another-one", {"enable": 0}, "always", []),
        ("another-one", {"expire": 1}, "always", []),
        ("another-one", {"expire": int(time.time()) + 1000}, "always", ["a@pmg"]),
        ("", {}, "always", ["a@pmg"]),
    ],
)  # fmt: skip
def test_a_password_is_set_where_it_differs(
    gateway: Gateway, stored: str, entry: dict[str, Any], update: str, changed: list[str]
) -> None:
    users = part(gateway)
    users.entries["a@pmg"] = {"enable": 1, "expire": 0, "role": "audit", **entry}
    users.passwords["a@pmg"] = stored
    users._let_in()
    wanted = {"userid": "a@pmg", "password": "hunter2-hunter2"}
    foreseen = run(gateway, wanted, update_password=update, check=True)
    assert (foreseen["changed_passwords"], gateway.writes()) == (changed, 0)
    done = run(gateway, wanted, update_password=update)
    assert (done["changed"], done["changed_passwords"]) == (bool(changed), changed)
    assert users.passwords["a@pmg"] == ("hunter2-hunter2" if changed else stored)
    assert run(gateway, wanted, update_password=update)["changed"] is False
    assert gateway.writes() == len(changed)


@needs_schema
def test_one_who_is_let_in_again_has_the_password_then(gateway: Gateway) -> None:
    users = part(gateway)
    users.entries["a@pmg"] = {"enable": 0, "expire": 0, "role": "audit"}
    users.passwords["a@pmg"] = "another-one"
    wanted = {"userid": "a@pmg", "password": "hunter2-hunter2", "enable": True}
    assert run(gateway, wanted, check=True)["changed"] is True
    assert run(gateway, wanted)["changed_passwords"] == ["a@pmg"]
    assert run(gateway, wanted)["changed"] is False


@needs_schema
@pytest.mark.parametrize("fault", ["596 before", "596 after", "drop before", "drop after"])
def test_lost_answers(gateway: Gateway, fault: str) -> None:
    """Made once, and the password set as often as it takes."""
    users = part(gateway)
    gateway.fake.faults.extend([fault])
    assert run(gateway, ANSIBLE)["changed_entries"] == ["ansible@pmg"]
    users.passwords["ansible@pmg"] = "another-one"
    users._let_in()
    gateway.fake.faults.extend([fault])
    assert run(gateway, ANSIBLE)["changed_passwords"] == ["ansible@pmg"]
    assert users.passwords["ansible@pmg"] == ANSIBLE["password"]
    gateway.fake.faults.extend(["596 before"] * 4)
    said = run(gateway, {**ANSIBLE, "password": "hunter3-hunter3"}, fails=True)["msg"]
    assert said == "the password of ansible@pmg: the gateway broke off (596 Broken pipe)"


@needs_schema
def test_whoever_is_logged_in_stays(gateway: Gateway) -> None:
    """The twin: of another it may be done."""
    users = part(gateway)
    for name in ("a@pmg", "b@pmg"):
        users.entries[name] = {"enable": 1, "expire": 0, "role": "audit"}
        users.passwords[name] = "hunter2-hunter2"
    users._let_in()
    me = {"api_user": "a@pmg", "api_password": "hunter2-hunter2", "check": True}
    for options, said in (
        ({"state": "absent", "users": [{"userid": "a@pmg"}]}, "a@pmg is who is logged in, and is not removed: log in as another, or list it to keep it"),
        ({"purge": True}, "a@pmg is who is logged in, and is not removed: log in as another, or list it to keep it"),
        ({"users": [{"userid": "a@pmg", "enable": False}]}, "a@pmg is who is logged in, and is not disabled: log in as another"),
        ({"users": [{"userid": "a@pmg", "role": "admin"}]}, "a@pmg is who is logged in, and is not given another role: log in as another"),
        ({"users": [{"userid": "a@pmg", "expire": 1}]}, "a@pmg is who is logged in, and is not made to expire: log in as another"),
    ):  # fmt: skip
        assert gateway.run(module=pmg_user, fails=True, **me, **options)["msg"] == said
        other = json.loads(json.dumps(options).replace("a@pmg", "b@pmg"))
        if "purge" in other:
            other["users"] = [{"userid": "a@pmg"}]
        assert gateway.run(module=pmg_user, **me, **other)["changed"] is True
    assert gateway.writes() == 0


@needs_schema
def test_root_stays_and_an_auditor_only_looks(gateway: Gateway) -> None:
    auditor = {"api_user": "auditor@pmg", "api_password": "reads"}
    assert run(gateway, ANSIBLE, check=True, **auditor)["changed_entries"] == ["ansible@pmg"]
    said = run(gateway, ANSIBLE, fails=True, **auditor)["msg"]
    assert said == (
        "the user ansible@pmg: the gateway says: Permission check failed (user != root@pam) (it lets nobody but root@pam do "
        "this: log in as that one) (0 of 1 changes are done)"
    )
    assert run(gateway, ANSIBLE, purge=True)["changed_entries"] == ["ansible@pmg", "auditor@pmg"]
    assert sorted(part(gateway).entries) == ["ansible@pmg", "root@pam"]
    assert run(gateway, {"userid": "root@pam"}, state="absent", fails=True)["msg"].startswith(
        "root@pam is who is logged in"
    )


@needs_schema
def test_a_password_is_not_for_the_command_line(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(gateway.fake)
    monkeypatch.setattr(_pmg_options, "Runner", lambda: node)
    there = {"api_transport": "pmgsh"}
    for secret in ("password", "crypt_pass", "keys"):
        given = {"userid": "a@pmg", "role": "audit", secret: {"crypt_pass": HASH}.get(secret, "hunter2-hunter2")}
        said = run(gateway, given, fails=True, **there)["msg"]
        assert (
            f"pmgsh takes {secret} on its command line, which all users of the host can read: use the transport https"
            in said
        )
    run(gateway, {"userid": "a@pmg", "role": "audit"}, **there)
    run(gateway, {"userid": "a@pmg", "comment": "x"}, **there)
    run(gateway, {"userid": "a@pmg"}, state="absent", **there)
    assert "hunter2" not in str(node.argvs) and HASH not in str(node.argvs)
    assert [argv[1:3] for argv in node.argvs if argv[1] != "get"] == [
        ["create", "/access/users"], ["set", "/access/users/a@pmg"], ["delete", "/access/users/a@pmg"],
    ]  # fmt: skip


BAD: list[tuple[dict[str, Any], str]] = [
    ({"userid": "ansible"}, "users[0]: the user 'ansible' has no realm: write ansible@pmg"),
    ({"userid": "a b@pmg"}, "users[0]: 'a b@pmg' is no user: write name@pmg"),
    ({"userid": "a:b@pmg"}, "users[0]: 'a:b@pmg' is no user: write name@pmg"),
    ({"userid": "#a@pmg"}, "users[0]: '#a@pmg' begins with #, which the gateway would take for a comment"),
    ({"userid": "a@pmg", "role": "audit", "password": "pässword1"}, "users[0]: the password of a@pmg has letters beyond ASCII, with which the"),
    ({"userid": "λ@pmg"}, "users[0]: the user's name 'λ@pmg' has letters beyond Latin-1"),
    ({"userid": "a@pmg"}, "there is no user a@pmg yet: give a role, one of admin, helpdesk, qmanager, audit"),
    ({"userid": "a@pam", "role": "audit"}, "the gateway makes no users of the realm pam: write a@pmg"),
    ({"userid": "a@pmg", "comment": "x\nevil@pmg:1"}, "users[0]: a@pmg: comment has a line break or another control character"),
    ({"userid": "a@pmg", "firstname": "x:1:0"}, "users[0]: a@pmg: firstname has a colon, with which the gateway would lose the user"),
    ({"userid": "a@pmg", "lastname": "x" * 65}, "users[0]: a@pmg: lastname has more than 64 characters: shorten it"),
    ({"userid": "a@pmg", "email": "a b@example.org"}, "users[0]: a@pmg: email 'a b@example.org' is no mail address that the gateway takes"),
    ({"userid": "a@pmg", "email": "root"}, "users[0]: a@pmg: email 'root' is no mail address that the gateway takes"),
    ({"userid": "a@pmg", "expire": -1}, "users[0]: a@pmg: expire -1 is before 1970: write 0 for never"),
    ({"userid": "a@pmg", "password": "short"}, "users[0]: the password of a@pmg has to have 8 to 64 characters"),
    ({"userid": "a@pmg", "crypt_pass": "$6$rounds=9$a$b"}, "users[0]: the crypt_pass of a@pmg is no hash that the gateway takes"),
    ({"userid": "a@pmg", "crypt_pass": HASH, "password": "x" * 8}, "users[0]: a@pmg has a password and a crypt_pass: give one of them"),
    ({"userid": "root@pam", "enable": False, "role": "audit"}, "users[0]: root@pam is the gateway's own, its role and enable cannot be set"),
]  # fmt: skip


@needs_schema
@pytest.mark.parametrize(("user", "said"), BAD)
def test_what_is_refused_is_not_sent(gateway: Gateway, user: dict[str, Any], said: str) -> None:
    result = run(gateway, user, fails=True)
    assert result["msg"].startswith(said)
    assert gateway.writes() == 0
    for secret in ("password", "crypt_pass"):
        assert user.get(secret, "nothing") not in result["msg"]


@needs_schema
@pytest.mark.parametrize("userid", ["a+b@pmg", "a'b@pmg", "müller@pmg", "a%2Fb@pmg", "first.last@pmg", "-x@pmg"])
def test_unusual_names_are_taken(gateway: Gateway, userid: str) -> None:
    user = {"userid": userid, "role": "audit"}
    assert run(gateway, user)["changed"] is True
    assert run(gateway, {**user, "role": "helpdesk"})["changed"] is True
    assert run(gateway, {**user, "role": "helpdesk"})["changed"] is False
    assert part(gateway).entries[userid]["role"] == "helpdesk"
    assert run(gateway, {"userid": userid}, state="absent")["changed"] is True
    assert userid not in part(gateway).entries


@needs_schema
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(
    userid=st.text() | st.from_regex(r"[a-z+#:@/ ü-]{1,12}@pmg", fullmatch=True),
    texts=st.dictionaries(st.sampled_from(["email", "firstname", "lastname", "comment", "keys"]), st.text()),
    secret=st.fixed_dictionaries({}, optional={"password": st.text(), "crypt_pass": st.text()}),
    expire=st.integers(-5, 2**40),
)
def test_hostile_values_are_refused_or_taken_by_the_gateway(
    gateway: Gateway, userid: str, texts: dict[str, str], secret: dict[str, str], expire: int
) -> None:
    """What is sent is not refused there, and is a user as asked for then: a second run finds nothing to do."""
    user = {"userid": userid, "role": "audit", "expire": expire, **texts, **secret}
    gateway.fake.log.clear()
    before = json.dumps(part(gateway).entries)
    try:
        run(gateway, user)
    except AssertionError:
        assert json.dumps(part(gateway).entries) == before
        assert sent(gateway) == [], f"{user} was sent and refused: {gateway.fake.log}"
        return
    if expire == 0 or expire > time.time():
        assert run(gateway, user)["changed"] is False
