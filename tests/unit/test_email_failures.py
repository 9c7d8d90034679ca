# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that mails on failed units: once in a while for each, never on itself."""

from __future__ import annotations

import email
import email.policy
import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

PROGRAM = Path(__file__).resolve().parents[2] / "roles/queue_monitor/files/email_failures.py"
HOUR = 3600.0


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("email_failures", PROGRAM)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


program = load()


def decisions(*events: tuple[str, float], known: dict[str, Any] | None = None) -> list[int | None]:
    known, made = known or {}, []
    for unit, when in events:
        known, unmentioned = program.decide(known, unit, when, HOUR)
        made.append(unmentioned)
    return made


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([("a.service", 0.0)], [0]),
        ([("a.service", 0.0), ("a.service", 1.0), ("a.service", 3599.0)], [0, None, None]),
        ([("a.service", 0.0), ("a.service", 1.0), ("a.service", 2.0), ("a.service", 3600.0)], [0, None, None, 2]),
        ([("a.service", 0.0), ("a.service", 3600.0), ("a.service", 7200.0)], [0, 0, 0]),
        ([("a.service", 0.0), ("b.service", 0.0), ("a.service", 1.0)], [0, 0, None]),
        # A clock that was put back makes nobody silent.
        ([("a.service", 99999.0), ("a.service", 5.0)], [0, 0]),
    ],
)
def test_how_often(events: list[tuple[str, float]], expected: list[int | None]) -> None:
    assert decisions(*events) == expected


def test_all_units_together_have_twenty_messages() -> None:
    made = decisions(*((f"{number}.service", 0.0) for number in range(25)), ("24.service", HOUR))
    assert made == [0] * 20 + [None] * 5 + [1]


@pytest.mark.parametrize("known", [{}, {"sent": []}, {"sent": {"a.service": "x"}}, {"withheld": 7}])
def test_a_memory_that_is_none(known: dict[str, Any]) -> None:
    assert decisions(("a.service", 0.0), known=known) == [0]


@given(st.dictionaries(st.text(), st.recursive(st.none() | st.floats(allow_nan=False) | st.text(), st.lists)))
def test_any_memory(known: dict[str, Any]) -> None:
    after, unmentioned = program.decide(known, "a.service", 5.0, HOUR)
    assert set(after) == {"sent", "withheld"} and (unmentioned is None or unmentioned >= 0)


def parsed(message: Any) -> Any:
    return email.message_from_bytes(message.as_bytes(), policy=email.policy.default)


def test_the_message() -> None:
    message = parsed(program.compose("a.service", "root", "host.example.org", "\u00d7 a.service\n\x1b[31mred\x00\n", 2))
    assert (message["To"], message["Subject"]) == ("root", "host.example.org: a.service failed")
    assert message["Auto-Submitted"] == "auto-generated"
    assert message.get_content() == (
        "a.service on host.example.org has failed.\nIt failed 2 more times since the last message.\n\n"
        "\u00d7 a.service\n?[31mred?\n"
    )


@given(unit=st.text(max_size=300), status=st.text(max_size=3000))
@example(unit="\u2028Bcc: x@example.org", status="")
@example(unit="\x85Bcc: x@example.org", status="")
def test_a_hostile_unit_adds_no_header(unit: str, status: str) -> None:
    message = parsed(program.compose(unit, "root", "host", status, 0))
    assert set(message.keys()) == {
        "To", "Subject", "Auto-Submitted", "X-Auto-Response-Suppress", "Content-Type", "Content-Transfer-Encoding",
        "MIME-Version",
    }  # fmt: skip


@pytest.fixture
def mails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sendmail that keeps what it is given, and fails while a file says so."""
    script = tmp_path / "sendmail"
    script.write_text(
        f'#!/bin/sh\n[ ! -e {tmp_path}/broken ] || exit 75\necho "$@" >> {tmp_path}/called\ncat >> {tmp_path}/sent\n',
        encoding="utf-8",
    )
    script.chmod(0o755)
    monkeypatch.setattr(program, "SENDMAIL", str(script))
    monkeypatch.setattr(program, "status_of", lambda unit: f"status of {unit}")
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    return tmp_path


def test_a_unit_that_flaps_has_one_message(mails: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [program.main(["a.service", "root", "3600"]) for _time in range(5)] == [0] * 5
    assert (mails / "called").read_text() == "-i -- root\n"
    assert (mails / "sent").read_text().count("status of a.service") == 1
    assert json.loads((mails / "sent.json").read_text())["withheld"] == {"a.service": 4}
    assert capsys.readouterr().out.splitlines()[:2] == [
        "a.service: a message was sent",
        "a.service: no message, as there was one a while ago",
    ]


def test_a_message_that_could_not_be_handed_over_does_not_count(
    mails: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (mails / "broken").touch()
    assert program.main(["a.service", "root", "3600"]) == 1
    assert capsys.readouterr().err.startswith("no message on a.service: Command ")
    (mails / "broken").unlink()
    assert program.main(["a.service", "root", "3600"]) == 0
    assert (mails / "sent").read_text().count("status of a.service") == 1


def test_it_says_nothing_of_itself(mails: Path) -> None:
    assert program.main(["email-failures@a.service.service", "root", "3600"]) == 0
    assert not (mails / "sent").exists()


@pytest.mark.parametrize("argv", [[], ["a.service", "root"], ["a.service", "root", "often"]])
def test_how_it_is_called(argv: list[str], mails: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(argv) == 2
    assert capsys.readouterr().err == "usage: STATE_DIRECTORY=<folder> email_failures.py <unit> <address> <seconds>\n"
