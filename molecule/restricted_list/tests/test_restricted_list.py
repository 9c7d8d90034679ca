# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists on Debian 12 and 13, behind relays that sign with OpenDKIM and rspamd: what arrives at another organisation."""

from __future__ import annotations

import re
import time
from collections import Counter
from typing import Any

import pytest
from lab.probe import Lab
from lists import ANNA, HOSTS, UNIT, converge, http, mail, send, token

each_host = pytest.mark.parametrize("host", HOSTS)
PASS = {"spf": "pass", "dkim": "pass", "dmarc": "pass"}


def test_bare_hosts_and_a_second_run(first: Any) -> None:
    assert set(first.foreseen.changed) == set(HOSTS) and first.left == ""
    assert first.second.changed == {}


@each_host
def test_secrets_are_for_the_service_alone(lab: Lab, host: str) -> None:
    stat = "cd /etc/postmaster-restricted-list && stat -c '%a %U %n' * members/*"
    found = lab.run(host, f"{stat}; stat -c '%a %U' /var/lib/postmaster-restricted-list/list.db")
    lines = set(found.stdout.splitlines())
    own = f"600 {UNIT}"
    assert {f"{own} config.yaml", f"{own} secret", f"{own} members/few.yaml", own} <= lines


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
    assert send(lab, host, mail(word, None)).accepted
    bounce = "mail to this list needs a token: attach the file of a token"
    deadline = time.monotonic() + 120
    while bounce not in lab.journal(host, "postfix", "postfix@-"):
        assert time.monotonic() < deadline, "no refusal in the relay's log"
        time.sleep(0.5)
    assert [copy for copy in lab.messages(word) if copy.recipient == "one@outside.test"] == []


@each_host
def test_smtp_asks_for_tls_and_refuses_a_token_that_was_used(lab: Lab, host: str, word: str) -> None:
    file = token(lab, host)
    assert send(lab, host, mail(word, file), port=8025, starttls=False).refusal[:2] == ("MAIL", 530)
    assert send(lab, host, mail(word, file), port=8025, starttls=True).accepted
    again = send(lab, host, mail(f"{word} again", file), port=8025, starttls=True)
    assert again.refusal and again.refusal[1:] == (550, "5.7.1 the token has been used: ask for a new one")
    lab.wait_for_messages(word, 2, timeout=120)


@each_host
def test_500_of_everything_arrive_though_it_is_killed(lab: Lab, host: str, word: str) -> None:
    made = mail(word, token(lab, host, "members"))
    assert send(lab, host, made).accepted
    deadline = time.monotonic() + 60
    while " waiting" not in lab.run(host, ["restricted-list", "status"]).stdout.partition("\n")[0]:
        assert time.monotonic() < deadline, "it never went out"
    lab.run(host, ["systemctl", "kill", "--signal=KILL", UNIT])
    copies = lab.wait_for_messages(word, 500, timeout=400)
    if len({copy.recipient for copy in copies}) < 500:  # one of them came twice
        copies = lab.wait_for_messages(word, 501, timeout=200)
    found = Counter(copy.recipient for copy in copies if copy.recipient.startswith("member"))
    assert len(found) == 500 and sum(found.values()) <= 501
    assert all(copy.verdicts == PASS for copy in copies)


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
