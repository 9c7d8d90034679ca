# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The very first runs on bare hosts: foreseen, never open half-way, and no secret told or committed."""

from __future__ import annotations

import pytest
from lab.poller import poll
from lab.probe import Lab

from .conftest import First

RELAYS = ("relay1", "relay2")
ENOUGH = 20  # answers of a relay, below which nobody can say that it was watched
SECRET_FILES = "dkimkeys/*.key postfix/sasl_passwd postfix/sasl_passwd.lmdb"


def test_check_mode_on_bare_hosts_foresees_changes_and_makes_none(lab: Lab, first: First) -> None:
    assert first.foreseen.failures == {}
    assert set(first.foreseen.changed) >= set(lab.hosts("estate"))
    assert first.left == ""


def test_nobody_could_relay_while_the_estate_was_built(lab: Lab, first: First) -> None:
    assert set(first.answers) == set(lab.hosts("estate"))
    for host, answers in first.answers.items():
        assert answers.get("refused", 0) >= ENOUGH, f"{host} was not watched from the start: {answers}"
        assert "taken" not in answers, f"{host}: {answers}"
    for relay in RELAYS:
        answers = first.answers[relay]
        assert answers.get("RCPT 554", 0) >= ENOUGH, f"{relay}: {answers}"
    for host in lab.hosts("satellites"):
        assert set(first.answers[host]) == {"refused"}, f"{host}: {first.answers[host]}"


@pytest.mark.parametrize("host", ["sat-postfix-13", "sat-exim-12"])
def test_a_host_of_the_estate_that_asks_the_same_is_served(lab: Lab, host: str) -> None:
    answers = poll(lab, host, RELAYS)
    assert {relay: set(answers[relay]) for relay in answers} == {"relay1": {"taken"}, "relay2": {"taken"}}


def test_no_commit_holds_a_secret_where_etckeeper_was_first(lab: Lab) -> None:
    """Neither one of the role nor one that apt had etckeeper make in the middle of the run."""
    git = "cd /etc && git"
    files = lab.run("relay2", f"cd /etc && ls {SECRET_FILES}").stdout.split()
    assert len(files) == 4, files  # a key for each domain, and the password in two forms
    hashes = set(lab.run("relay2", f"{git} hash-object {SECRET_FILES}").stdout.split())
    assert len(hashes) == 4
    objects = lab.run("relay2", f"{git} rev-list --all --objects").stdout
    kept = {line.split(maxsplit=1)[0] for line in objects.splitlines()}
    assert not hashes & kept
    # It is no empty history: what the run wrote beside the secrets is there, in more than one commit.
    assert set(lab.run("relay2", f"{git} hash-object postfix/main.cf opendkim/key.table").stdout.split()) <= kept
    assert len(lab.run("relay2", f"{git} log --all --format=%h").stdout.split()) >= 3
    found = lab.run("relay2", f"{git} log --all --format=%h -S '{lab.known['provider']['password']}'").stdout
    assert found == ""


def secrets(lab: Lab) -> dict[str, str]:
    """All that the first run knew and should tell nobody."""
    found = {"TSIG secret": lab.known["dns"]["tsig"]["estate."], "password": lab.known["provider"]["password"]}
    for relay in RELAYS:
        lines = lab.run(relay, "cat /etc/dkimkeys/*.key").stdout.splitlines()
        found |= {f"line {number} of {relay}'s keys": line for number, line in enumerate(lines) if len(line) > 20}
    assert "-----BEGIN PRIVATE KEY-----" in found.values() or "-----BEGIN RSA PRIVATE KEY-----" in found.values()
    assert len(found) > 50
    return found


def test_a_talkative_run_tells_no_secret(lab: Lab, first: First) -> None:
    output = first.done.output
    assert '"tsig_secret": "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"' in output, "the run was not talkative"
    assert [what for what, secret in secrets(lab).items() if secret in output] == []


def test_no_journal_holds_a_secret(lab: Lab) -> None:
    told = secrets(lab)
    for relay in RELAYS:
        journal = lab.journal(relay)
        assert "maps=NOT_LOGGING_PARAMETER" in journal, "Ansible wrote no log there"
        assert [what for what, secret in told.items() if secret in journal] == []
