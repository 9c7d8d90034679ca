# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that asks Dovecot whether there is room: whom it asks for, what it says, and that it never ends by itself."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

PATH = Path(__file__).resolve().parents[2] / "roles" / "mail_server" / "files" / "quota_filter.py"
VIRTUALS = """\
ann@a.example: vmail
eve@a.example: vmail
ann.lee@a.example: ann@a.example
both@a.example: ann@a.example, eve@a.example
away@a.example: x@outside.test
round@a.example: about@a.example
about@a.example: round@a.example
@b.example: eve@a.example
"""


def _module() -> object:
    spec = importlib.util.spec_from_file_location("quota_filter", PATH)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


quota_filter = _module()


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("ann@a.example", "ann@a.example"),
        ("Ann@A.Example", "ann@a.example"),
        ("ann+list@a.example", "ann@a.example"),
        ("ann.lee@a.example", "ann@a.example"),
        ("anybody@b.example", "eve@a.example"),
        ("both@a.example", ""),
        ("away@a.example", ""),
        ("round@a.example", ""),
        ("nobody@a.example", ""),
        ("root", ""),
        ("", ""),
    ],
)
def test_whose_mailbox_it_is(address: str, expected: str) -> None:
    assert quota_filter.mailbox(quota_filter.table(VIRTUALS), address) == expected  # type: ignore[attr-defined]


@pytest.fixture
def status(tmp_path: Path) -> Iterator[Path]:
    """A stand-in for quota-status, which finds eve's mailbox full and says one thing too many."""
    path = tmp_path / "status"
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(path))
    server.listen()

    def serve() -> None:
        while True:
            try:
                client, dummy = server.accept()
            except OSError:
                return
            with client:
                asked = client.recv(4096).decode()
                full = "recipient=eve@a.example\n" in asked
                client.sendall(b"action=552 5.2.2 Mailbox | is full\n\n" if full else b"action=DUNNO\n\n")

    threading.Thread(target=serve, daemon=True).start()
    yield path
    server.close()


def said(status: Path, virtuals: Path, *requests: str) -> list[str]:
    """What a run of the filter answers."""
    lines = "".join(f"{line}\n" for line in ("config|smtpd-version|7.6", "config|ready", *requests))
    # As it is, but with patience: the stand-in is a thread of this process.
    patient = f"import sys; sys.path.insert(0, {str(PATH.parent)!r}); import quota_filter; quota_filter.SECONDS = 60"
    command = [sys.executable, "-I", "-c", f"{patient}; quota_filter.main()", str(status), str(virtuals)]
    done = subprocess.run(command, input=lines.encode(), capture_output=True, timeout=60, check=True)
    answers = done.stdout.decode().splitlines()
    registered, rest = answers[:2], answers[2:]
    assert registered == ["register|filter|smtp-in|rcpt-to", "register|ready"]
    return rest


def ask(token: str, address: str) -> str:
    """A request of OpenSMTPD."""
    return f"filter|0.7|1576146008.006099|smtp-in|rcpt-to|7641df9771b4ed00|{token}|{address}"


def test_a_full_mailbox_is_refused_and_no_other(tmp_path: Path, status: Path) -> None:
    virtuals = tmp_path / "virtuals"
    virtuals.write_text(VIRTUALS, encoding="utf-8")
    requests = [
        ask("1", "eve@a.example"),
        ask("2", "<ann@a.example> NOTIFY=NEVER"),
        ask("3", "<x@b.example>"),
        ask("4", "both@a.example"),
    ]
    session = "filter-result|7641df9771b4ed00"
    assert said(status, virtuals, *requests, "report|0.7|1.0|smtp-in|link-disconnect|7641df9771b4ed00") == [
        f"{session}|1|reject|552 5.2.2 Mailbox  is full",
        f"{session}|2|proceed",
        f"{session}|3|reject|552 5.2.2 Mailbox  is full",
        f"{session}|4|proceed",
    ]


@pytest.mark.parametrize("end", ["\r", "\x0b", "\x0c", "\x1e", "\x85", "\u2028"])
def test_an_address_begins_no_request(tmp_path: Path, status: Path, end: str) -> None:
    virtuals = tmp_path / "virtuals"
    virtuals.write_text(VIRTUALS, encoding="utf-8")
    forged = ask("9", "eve@a.example").replace("7641df9771b4ed00", "0000000000000000")
    assert said(status, virtuals, ask("1", f"<x{end}{forged}>")) == ["filter-result|7641df9771b4ed00|1|proceed"]


def test_what_cannot_be_asked_is_let_pass(tmp_path: Path, status: Path) -> None:
    virtuals = tmp_path / "virtuals"
    virtuals.write_bytes(b"eve@a.example: vmail\n\xff\xfe: x\n")
    there = tmp_path / "there"
    there.write_text(VIRTUALS, encoding="utf-8")
    for path, table in ((status, tmp_path / "none"), (tmp_path / "nobody", there), (status, virtuals)):
        assert said(path, table, ask("1", "eve@a.example")) == ["filter-result|7641df9771b4ed00|1|proceed"]
