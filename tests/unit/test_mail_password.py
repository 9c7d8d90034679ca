# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program by which users change their passwords: dialogues, and what they leave in the file."""

from __future__ import annotations

import importlib.util
import io
import stat
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _hashes
from ansible_collections.postmaster.mail.plugins.module_utils._crypt_client import PREFIX, ROUNDS, Crypt
from hypothesis import given
from hypothesis import strategies as st

PROGRAM = Path(__file__).resolve().parents[2] / "roles/mailboxes/files/mail_password.py"
ANN, BOB = "ann@post.example", "bob@post.example"
CRYPT = Crypt()
OLD, BOBS = CRYPT.make("old secret"), CRYPT.make("bobs secret")
REST = "2000:2000::/var/vmail/post.example/ann::userdb_quota_rule=*:storage=10B"
TEXT = f"{ANN}:{OLD}:{REST}\n{BOB}:{BOBS}:2000:2000::/var/vmail/post.example/bob::\n"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mail_password", PROGRAM)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["mail_password"] = module
    spec.loader.exec_module(module)
    module.PENALTY = 0  # type: ignore[attr-defined]
    return module


PASSWORD = load()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "credentials"
    file.write_text(TEXT)
    file.chmod(0o640)
    return file


def talk(path: Path, *lines: str | bytes, library: Any = None) -> list[str]:
    """The answers to these lines, without the greeting."""
    said = b"".join((line if isinstance(line, bytes) else line.encode()) + b"\r\n" for line in lines)
    answers = io.BytesIO()
    PASSWORD.Dialogue(str(path), 10, library or PASSWORD.Library(), io.BytesIO(said), answers).run()
    greeting, *rest = answers.getvalue().decode().splitlines()
    assert greeting.startswith("200 ")
    return rest


def hashes(path: Path) -> dict[str, str]:
    return {line.split(":")[0]: line.split(":")[1] for line in path.read_text().splitlines()}


def test_a_password_is_changed(path: Path) -> None:
    before = path.stat()
    assert talk(path, f"user {ANN.upper()}", "pass old secret", "newpass größer: als|vorher", "quit") == [
        "300 The password, please.",
        "200 Right. The new password, please.",
        "200 The password is changed.",
        "200 Bye.",
    ]
    fresh = hashes(path)[ANN]
    assert CRYPT.verify("größer: als|vorher", fresh) and not CRYPT.verify("old secret", fresh)
    assert path.read_text() == TEXT.replace(OLD, fresh)
    after = path.stat()
    assert (stat.S_IMODE(after.st_mode), after.st_uid, after.st_gid) == (0o640, before.st_uid, before.st_gid)
    assert int(after.st_mtime) > int(before.st_mtime)
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_it_makes_the_hashes_that_the_module_makes() -> None:
    made = PASSWORD.Library().make(b"hunter2 hunter2")
    assert _hashes.is_readable(made) and CRYPT.verify("hunter2 hunter2", made)
    assert (PASSWORD.PREFIX, PASSWORD.ROUNDS, PASSWORD.MAX_PASSWORD) == (PREFIX, ROUNDS, _hashes.MAX_PASSWORD)
    assert _hashes.is_readable(PASSWORD.NOBODY)


@pytest.mark.parametrize(
    ("lines", "last"),
    [
        (["user ann@post.example", "pass wrong", "newpass new secret"], "500 The name or the password is wrong."),
        (["user zoe@post.example", "pass old secret", "newpass new secret"], "500 The name or the password is wrong."),
        (["user ann", "pass old secret"], "500 The name or the password is wrong."),
        (["user ann@post.example:x", "pass old secret"], "500 The name or the password is wrong."),
        (["user ann@post.example", "newpass new secret"], "500 Say user, pass and newpass, in this order."),
        (["pass old secret"], "500 Say user, pass and newpass, in this order."),
        (["user ann@post.example", "pass old secret", "user bob@post.example"], "500 Say user, pass and newpass, in this order."),
        (["user ann@post.example", "pass old secret", "newpass short"], "500 The new password needs at least 10 characters."),
        (["user ann@post.example", "pass old secret", "newpass " + "x" * 256], "500 The new password is too long or holds control characters."),
        (["user ann@post.example", "pass old secret", "newpass two\x0blines here"], "500 The new password is too long or holds control characters."),
        (["user ann@post.example", "pass old secret", "newpass old secret"], "500 The new password is the old one."),
        (["user ann@post.example", "pass old secret", b"newpass \xff\xfe0123456789"], "500 The new password is not in UTF-8."),
    ],
)  # fmt: skip
def test_what_is_refused(path: Path, lines: list[str | bytes], last: str) -> None:
    """The dialogue ends there: nothing after a refusal is obeyed."""
    assert talk(path, *lines, "user ann@post.example")[-1] == last
    assert path.read_text() == TEXT


def test_somebody_else_was_faster(path: Path) -> None:
    class Slow(PASSWORD.Library):  # type: ignore[name-defined,misc]
        def make(self, password: bytes) -> str:
            path.write_text(TEXT.replace(OLD, BOBS))
            return super().make(password)  # type: ignore[no-any-return]

    said = talk(path, f"user {ANN}", "pass old secret", "newpass new secret", library=Slow())
    assert said[-1] == "500 The password was changed by somebody else meanwhile, try again."
    assert path.read_text() == TEXT.replace(OLD, BOBS)


def test_what_is_logged_holds_no_password(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    talk(path, f"user {ANN}", "pass old secret", "newpass new secret")
    talk(path, f"user {ANN}", "pass hunter2")
    talk(path, "user old secret", "pass hunter2")
    assert capsys.readouterr().err.splitlines() == [
        "ann@post.example changed the password",
        "wrong password for ann@post.example",
        "wrong password for a name that is no address",
    ]


@given(
    st.lists(
        st.one_of(st.binary(max_size=40), st.sampled_from([b"user ann@post.example", b"pass old secret", b"quit"])),
        max_size=6,
    )
)
def test_no_line_breaks_it(lines: list[bytes]) -> None:
    path = Path("/nonexistent/credentials")
    said = b"\n".join(lines)
    answers = io.BytesIO()
    dialogue = PASSWORD.Dialogue(str(path), 10, PASSWORD.Library(), io.BytesIO(said), answers)
    PASSWORD.read_hash, kept = lambda *_: "", PASSWORD.read_hash
    try:
        dialogue.run()
    finally:
        PASSWORD.read_hash = kept
    assert b"is changed" not in answers.getvalue()
