# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists on Debian 12 and 13, behind relays that sign with OpenDKIM and rspamd: what arrives at another organisation."""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from lab.probe import Lab
from lists import ANNA, HOSTS, UNIT, converge, http, mail, send, token
from shapes import Shape, shapes, signature_holds

FULL = os.environ.get("MAIL_TEST_FULL") == "1"
each_host = pytest.mark.parametrize("host", HOSTS)
PASS = {"spf": "pass", "dkim": "pass", "dmarc": "pass"}
HAND_OVER = """
import json, sys
from postmaster_restricted_list import config, relay
where, sender, recipient, mail = json.load(sys.stdin)
try:
    print(relay.Relay(config.Relay(**where)).send(sender, recipient, mail.encode()))
except relay.AwayError as err:
    print(err)
"""


def test_bare_hosts_and_a_second_run(first: Any) -> None:
    assert set(first.foreseen.changed) == set(HOSTS) and first.left == ""
    assert first.second.changed == {}


@each_host
def test_secrets_are_for_the_service_alone(lab: Lab, host: str) -> None:
    stat = "cd /etc/postmaster-restricted-list && stat -c '%a %U %n' * members/*"
    found = lab.run(host, f"{stat} /var/lib/postmaster-restricted-list/*", check=False)  # one has a database elsewhere
    own = f"600 {UNIT}"
    files = {"config.yaml", "secret", "members/few.yaml"}
    files |= set() if host == "relay1" else {"/var/lib/postmaster-restricted-list/list.db"}
    assert {f"{own} {file}" for file in files} <= set(found.stdout.splitlines())


@each_host
def test_what_arrives_passes_all(lab: Lab, host: str, word: str) -> None:
    assert send(lab, host, mail(word, token(lab, host))).accepted
    copies = lab.wait_for_messages(word, 2, timeout=120)
    assert sorted(copy.recipient for copy in copies) == ["one@outside.test", "two@outside.test"]
    for copy in copies:
        assert copy.verdicts == PASS
        assert copy.sender == "bounces@corp.example"
        parsed = copy.parsed
        assert parsed["From"] == "Änna via Members <restricted@corp.example>"
        assert (
            parsed["List-Id"] == "<restricted.corp.example>"
            and parsed["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        )
        text, rich = parsed.get_body(("plain",)), parsed.get_body(("html",))
        assert text and text.get_content().startswith(
            f"Grüße\n\n-- \nSent by Änna <{ANNA}>.\nGet no more of this: https://{lab.fqdn(host)}/unsubscribe/"
        )
        assert rich and "Sent by Änna &lt;anna@corp.example&gt;" in rich.get_content()
        assert [part.get_content() for part in parsed.iter_attachments()] == [bytes(range(256))]
    signed = re.search(r"\bh=([^;]*);", str(copies[0].parsed["DKIM-Signature"]))
    assert signed, "no signature"
    assert "list-unsubscribe" in re.sub(r"\s", "", signed[1]).lower().split(":")


@each_host
def test_what_has_no_right_to_it_comes_back(lab: Lab, host: str, word: str) -> None:
    """The relay takes it, asks the list by LMTP, and tells the sender."""
    assert send(lab, host, mail(word, None), sender="writer@outside.test").accepted
    bounce = lab.wait_for_message(word, timeout=120)
    assert (bounce.recipient, bounce.sender) == ("writer@outside.test", "")
    refusal = "550 5.7.1 mail to this list needs a token: attach the file of a token"
    assert refusal in " ".join(bounce.raw.decode().split())
    assert len(lab.messages(word)) == 1


@each_host
def test_smtp_asks_for_tls_and_refuses_a_token_that_was_used(lab: Lab, host: str, word: str) -> None:
    file = token(lab, host)
    assert send(lab, host, mail(word, file), port=8025, starttls=False).refusal[:2] == ("MAIL", 530)
    assert send(lab, host, mail(word, file), port=8025, starttls=True).accepted
    again = send(lab, host, mail(f"{word} again", file), port=8025, starttls=True)
    assert again.refusal and again.refusal[1:] == (550, "5.7.1 the token has been used: ask for a new one")
    lab.wait_for_messages(word, 2, timeout=120)


def _status(lab: Lab, host: str, count: int) -> list[str]:
    """What is known of the latest mails."""
    return lab.run(host, ["restricted-list", "status"]).stdout.splitlines()[:count]


def _hand_over(lab: Lab, host: str, mails: dict[str, tuple[Shape, list[str]]]) -> None:
    """Mails by their subjects, each with those whom it goes to: all at once, and all are taken before it returns."""
    words = {
        subject: [word for one in group for word in ("--address", one)] for subject, (dummy, group) in mails.items()
    }
    before = len(_status(lab, host, 50))
    with ThreadPoolExecutor(len(mails)) as pool:
        files = pool.map(lambda subject: token(lab, host, *words[subject]), mails)
        raw = [shape.mail(subject, file) for (subject, (shape, dummy)), file in zip(mails.items(), files, strict=True)]
        assert all(one.accepted for one in pool.map(lambda one: send(lab, host, one), raw))
    deadline = time.monotonic() + 120
    while len(_status(lab, host, 50)) < before + len(mails):
        assert time.monotonic() < deadline, "the relay does not hand them over"


@each_host
def test_500_in_every_shape_arrive_though_it_is_killed(lab: Lab, host: str, word: str, tmp_path: Path) -> None:
    """With MAIL_TEST_FULL=1 500 of each shape, else in all."""
    everybody = [f"member{number}@outside.test" for number in range(500)]
    made = shapes(tmp_path)
    mails = {
        f"{word} {name}": (shape, everybody if FULL else everybody[number :: len(made)])
        for number, (name, shape) in enumerate(made.items())
    }
    _hand_over(lab, host, mails)
    assert any(" waiting" in line for line in _status(lab, host, len(mails))), "all had gone before the kill"
    lab.run(host, ["systemctl", "kill", "--signal=KILL", UNIT])
    twice = 0
    for subject, (shape, group) in mails.items():
        copies = lab.wait_for_messages(subject, len(group), timeout=400)
        if len({copy.recipient for copy in copies}) < len(group):  # one of them came twice
            copies = lab.wait_for_messages(subject, len(group) + 1, timeout=200)
        found = Counter(copy.recipient for copy in copies if copy.recipient.startswith("member"))
        assert set(found) == set(group)
        twice += sum(found.values()) - len(group)
        for copy in copies:
            if copy.recipient in found:
                assert (copy.verdicts, shape.complaints(copy.parsed, copy.raw)) == (PASS, [])
    assert twice <= 1
    sealed = made["signed"].kept[0]  # and so it is in the copies
    assert signature_holds(sealed) and not signature_holds(sealed.replace(b"<p>", b"<b>"))


@each_host
def test_a_relay_that_asks_for_a_password(lab: Lab, host: str, word: str) -> None:
    """The program hands mail to a server of others, as it does where the role's variables name one."""
    known = lab.known["provider"]
    where = {"host": known["host"], "port": known["port"], "tls": "verify", "user": known["username"]}
    letter = f"From: {ANNA}\r\nSubject: {word}\r\n\r\nHello\r\n"
    for password, answer in (
        (known["password"], "250 "),
        ("wrong", f"the relay {known['host']}:587 does not let corp in: 535 "),
    ):
        given = json.dumps([{**where, "password": password}, ANNA, "one@outside.test", letter])
        python = "/opt/postmaster-restricted-list/current/venv/bin/python"
        assert lab.run(host, [python, "-I", "-c", HAND_OVER], input=given).stdout.startswith(answer)
    assert lab.wait_for_message(word).client["name"] == known["host"]


def test_a_group_of_a_directory(lab: Lab, word: str) -> None:
    file = token(lab, "relay2", "--group", "office")
    assert send(lab, "relay2", mail(word, file), port=8025, starttls=True).accepted
    copies = lab.wait_for_messages(word, 2, timeout=120)
    assert sorted(copy.recipient for copy in copies) == ["clerk@outside.test", "second.clerk@outside.test"]


@each_host
def test_a_token_that_was_revoked_opens_nothing(lab: Lab, host: str, word: str) -> None:
    files = [token(lab, host), token(lab, host)]
    listed = lab.run(host, ["restricted-list", "tokens"]).stdout
    number = re.findall(rf"^(\w{{8}}) good \S+ \S+ {ANNA} to few, made by restricted-list$", listed, re.M)
    for one in number:
        lab.run(host, ["restricted-list", "revoke", one])
    files.append(token(lab, host))
    mails = [mail(f"{word} {number}", file) for number, file in enumerate(files)]
    said = [send(lab, host, one, port=8025, starttls=True) for one in mails]
    refusal = (550, "5.7.1 the token has been revoked: ask for a new one")
    assert [one.refusal and one.refusal[1:] for one in said] == [refusal, refusal, None]
    lab.wait_for_messages(word, 2, timeout=120)


@each_host
def test_http_makes_tokens_for_those_who_may(lab: Lab, host: str, word: str) -> None:
    wish = '{"sender": "anna@corp.example", "groups": ["few"]}'
    assert http(lab, host, "/tokens", wish, bearer="nobody")[0] == 401
    status, made = http(lab, host, "/tokens", wish, bearer="bearer of the office")
    assert status == 201
    path = re.search(r'"download":"https://[^/]*(/[^"]*)"', made)
    assert path
    file = http(lab, host, path[1])[1]
    assert send(lab, host, mail(word, file), port=8025, starttls=True).accepted
    copies = lab.wait_for_messages(word, 2, timeout=120)
    links = {copy.recipient: copy.parsed["List-Unsubscribe"] for copy in copies}
    link = re.search(r"<https://[^/]*(/unsubscribe/[^>]*)>", links["one@outside.test"])
    assert link
    assert http(lab, host, link[1], "List-Unsubscribe=One-Click")[0] == 200
    said = lab.run(host, ["restricted-list", "token", "--sender", ANNA, "--group", "few"])
    assert f"one mail of {ANNA} to 1 recipients" in said.stderr
    lab.run(host, ["restricted-list", "opt-in", "one@outside.test"])


def test_a_broken_configuration_leaves_the_list_as_it_is(lab: Lab) -> None:
    host = "relay1"
    before = lab.run(host, ["systemctl", "show", "-p", "MainPID", UNIT]).stdout
    groups = {"staff": {"kind": "magic"}}
    failed = converge(lab, limit=host, extra={"restricted_list_groups": groups}, must_pass=False)
    assert "The restricted list does not accept its configuration" in failed.failures[host]
    assert lab.run(host, ["systemctl", "show", "-p", "MainPID", UNIT]).stdout == before
    assert converge(lab, limit=host).changed == {}


@each_host
def test_the_journal_has_no_complaints(lab: Lab, host: str) -> None:
    lines = lab.journal(host, UNIT).splitlines()
    assert [line for line in lines if line.startswith(("ERROR", "CRITICAL", "Traceback"))] == []
