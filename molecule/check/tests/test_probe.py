# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes handed to the provider by SMTP, and waited for by IMAP, in a maildir and in a log."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab.plays import Played, play
from lab.probe import Lab

SENDER, RECIPIENT = "probe@provider.test", "someone@outside.test"
IMAPS = 993


@pytest.fixture
def server(lab: Lab) -> dict[str, Any]:
    """The provider's submission, as the option ``smtp`` takes it."""
    known = lab.known["provider"]
    return {
        "host": lab.address("provider"),
        "username": known["username"],
        "password": known["password"],
        "ca_path": lab.known["ca_file"],
    }


@pytest.fixture
def mailbox(lab: Lab) -> dict[str, Any]:
    """The mailbox outside, as the option ``imap`` takes it."""
    known = lab.known["outside"]
    return {
        "host": lab.address("outside"),
        "username": known["username"],
        "password": known["password"],
        "ca_path": lab.known["ca_file"],
    }


def run(lab: Lab, folder: Path, *probes: tuple[str, dict[str, Any]]) -> tuple[Played, list[dict[str, Any]]]:
    """Tasks of mail_probe, each on its host, whatever becomes of the others; what the module returned."""
    book: list[dict[str, Any]] = []
    path = folder / "results.json"
    for number, (host, options) in enumerate(probes):
        local = {"connection": "local", "vars": {"ansible_python_interpreter": sys.executable}}
        task = {"postmaster.mail.mail_probe": {"sender": SENDER, **options}, "register": f"probe{number}"}
        task["ignore_errors"] = True
        book.append({"hosts": host, "gather_facts": False, "tasks": [task], **(local if host == "localhost" else {})})
    told = [f"hostvars['{host}'].probe{number}" for number, (host, dummy) in enumerate(probes)]
    write = {"ansible.builtin.copy": {"content": f"{{{{ [{', '.join(told)}] | to_json }}}}", "dest": str(path)}}
    book.append({"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [write]})
    (folder / "probe.yml").write_text(yaml.safe_dump(book))
    played = play(lab, folder / "probe.yml", inventories=[])
    return played, json.loads(path.read_text())


def test_a_server_takes_a_probe_by_password_over_tls(
    lab: Lab, server: dict[str, Any], mailbox: dict[str, Any], tmp_path: Path
) -> None:
    wanted = {"recipient": RECIPIENT, "authserv_id": "mx.outside.test", "require": ["spf", "tls"], "imap": mailbox}
    wanted["resolver"] = lab.address("resolver")
    ways = ({"tls": "starttls", "port": 587}, {"tls": "implicit", "port": 465})
    played, found = run(lab, tmp_path, *(("localhost", {**wanted, "smtp": {**server, **way}}) for way in ways))
    for told in found:
        assert told["arrived"] and told["verdicts"]["spf"] == "pass", told
        assert told["hops"][0]["tls"].startswith("TLS")
        assert lab.wait_for_message(told["token"]).sender == SENDER
    assert server["password"] not in played.output


def test_a_server_that_does_not_take_it_is_quoted(lab: Lab, server: dict[str, Any], tmp_path: Path) -> None:
    stranger = {name: server[name] for name in ("host", "ca_path")}
    cases = (
        ({**server, "password": "it's wrong"}, "port 587 refuses: 535 5.7.8"),
        (stranger, "554 5.7.1"),
        ({name: server[name] for name in ("host", "username", "password")}, "certificate verify failed"),
        ({**server, "tls": "implicit"}, "wrong version number"),
        ({**stranger, "tls": "none"}, "530 5.7.0"),
    )
    send = {"action": "send", "recipient": RECIPIENT}
    probes = [("localhost", {**send, "smtp": {"port": 587, **given}}) for given, dummy in cases]
    played, found = run(lab, tmp_path, *probes)
    for told, (dummy, said) in zip(found, cases, strict=True):
        assert told["failed"] and said.lower() in told["msg"].lower()
    assert "it's wrong" not in played.output and server["password"] not in played.output


def test_the_receiver_looks_into_its_maildir_and_its_log(lab: Lab, server: dict[str, Any], tmp_path: Path) -> None:
    token = "probe-receiver-0001"
    receive = {"action": "receive", "token": token, "timeout": 60}
    maildir = {"maildir": lab.known["outside"]["maildir"], "authserv_id": "mx.outside.test", "require": ["spf"]}
    dummy, told = run(
        lab,
        tmp_path,
        ("localhost", {"action": "send", "token": token, "recipient": RECIPIENT, "smtp": server}),
        ("outside", receive | maildir),
        ("outside", receive | {"log": {"unit": "postfix*"}}),
    )
    assert told[0]["token"] == token and "arrived" not in told[0]
    assert told[1]["arrived"] and told[1]["verdicts"]["spf"] == "pass" and len(told[1]["hops"]) == 2
    assert told[2]["arrived"] and any("status=sent" in line for line in told[2]["log"])


def test_what_never_came_is_said_of_maildir_and_log(lab: Lab, tmp_path: Path) -> None:
    receive = {"action": "receive", "token": "probe-receiver-0002", "timeout": 3}
    cases = (
        ({"maildir": lab.known["outside"]["maildir"]}, "did not arrive within 3 seconds"),
        ({"log": {"unit": "postfix*"}}, "the log shows no delivery"),
        ({"maildir": "/nowhere"}, "name a maildir, which has new and cur"),
    )
    dummy, found = run(lab, tmp_path, *(("outside", receive | where) for where, said in cases))
    for told, (where, said) in zip(found, cases, strict=True):
        assert told["failed"] and said in told["msg"], (where, told["msg"])


def test_a_mailbox_that_is_away_is_waited_for(
    lab: Lab, server: dict[str, Any], mailbox: dict[str, Any], tmp_path: Path
) -> None:
    token = "probe-patience-0001"
    send = ("localhost", {"action": "send", "token": token, "recipient": RECIPIENT, "smtp": server})
    receive = {"action": "receive", "token": token, "imap": mailbox, "resolver": lab.address("resolver")}
    lab.run("outside", "systemctl stop dovecot.socket dovecot.service")
    try:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((lab.address("outside"), IMAPS), timeout=10)
        dummy, (sent, told) = run(lab, tmp_path, send, ("localhost", receive | {"timeout": 3}))
        assert not sent["failed"] and "port 993: Connection refused" in told["msg"]
        # It comes back while the module waits.
        lab.run("outside", "systemd-run -q --on-active=20 --timer-property=AccuracySec=100ms systemctl start dovecot")
        dummy, (told,) = run(lab, tmp_path, ("localhost", receive | {"timeout": 90}))
    finally:
        lab.run("outside", "systemctl start dovecot")
    assert told["arrived"] and told["seconds"] > 1
