# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What arrived says where it came from, to whom and how: alike on all four satellites."""

from __future__ import annotations

import re

import pytest
from lab import ready
from lab.probe import Lab, Message

ROOT = "ops@outside.test"
SOMEONE = "someone@outside.test"
WITH_LOGIN = ("sat-postfix-13", "sat-exim-12")
ADDRESS_HEADERS = ("From", "Sender", "Reply-To", "To", "Cc")


def addresses(message: Message) -> set[str]:
    """The envelope's sender and every address in the headers that show addresses."""
    headers = [header for name in ADDRESS_HEADERS for header in message.parsed.get_all(name, [])]
    return {message.sender, *(address.addr_spec for header in headers for address in header.addresses)}


def hop_from(lab: Lab, host: str, message: Message) -> str:
    """The Received header that the relay wrote, at the relay's end of the satellite's connection."""
    relay = "by smtp.provider.test" if host in WITH_LOGIN else "by mx.outside.test"
    return next(header for header in message.received if relay in header and f"from {lab.fqdn(host)} " in header)


@pytest.mark.parametrize(
    "recipient",
    ["root", "root@{fqdn}", "root@localhost", "root@corp.example", "ROOT", "postmaster", "www-data@localhost"],
)
def test_mail_to_root_arrives_at_its_address(lab: Lab, host: str, recipient: str, token: str) -> None:
    recipient = recipient.format(fqdn=lab.fqdn(host))
    lab.run(host, ["sendmail", "-f", "alex@corp.example", recipient], input=f"Subject: {token}\n\nTo root.\n")
    message = lab.wait_for_message(token)
    assert message.recipient == ROOT
    assert message.sender == "alex@corp.example"


def test_the_way_to_the_relay(lab: Lab, host: str, token: str) -> None:
    """TLS, the host's full name as greeting, its own address, and a login where one is asked for."""
    lab.run(host, ["sendmail", "-f", "alex@corp.example", SOMEONE], input=f"Subject: {token}\n\nx\n")
    hop = hop_from(lab, host, lab.wait_for_message(token))
    assert "using TLSv1." in hop
    assert hop.startswith(f"from {lab.fqdn(host)} ({lab.fqdn(host)} [")
    assert (" ESMTPSA " in f" {hop} ") == (host in WITH_LOGIN)


def test_mailx(lab: Lab, host: str, token: str) -> None:
    lab.run(host, ["mailx", "-s", token, "-r", "alex@corp.example", "root"], input="test\n")
    message = lab.wait_for_message(token)
    assert message.recipient == ROOT
    assert addresses(message) == {"alex@corp.example", "root@corp.example"}


def test_an_alias_is_known_by_each_of_its_names(lab: Lab, host: str, token: str) -> None:
    names = ["munin", f"munin@{lab.fqdn(host)}", "munin@corp.example"]
    for number, name in enumerate(names):
        lab.run(host, ["sendmail", "-f", "alex@corp.example", name], input=f"Subject: {token}-{number}\n\nx\n")
    found = lab.wait_for_messages(token, len(names))
    assert {message.recipient for message in found} == {"monitoring@outside.test"}


def test_no_host_shows_in_any_address(lab: Lab, host: str, token: str) -> None:
    fqdn = lab.fqdn(host)
    text = (
        f"From: Backup <backup@{fqdn}>\nSender: root@localhost\nReply-To: Admin <admin@other.corp.example>\n"
        f"To: {SOMEONE}, root\nCc: munin@{fqdn}\nSubject: {token}\n\nx\n"
    )
    lab.run(host, ["sendmail", "-f", f"backup@{fqdn}", SOMEONE], input=text)
    message = lab.wait_for_message(token)
    names = ("backup", "root", "admin", "munin")
    assert addresses(message) == {SOMEONE, *(f"{name}@corp.example" for name in names)}
    assert message.sender == "backup@corp.example"
    assert message.parsed["From"].addresses[0].display_name == "Backup"


def test_an_account_s_own_mail_is_from_the_domain(lab: Lab, host: str, token: str) -> None:
    """As cron sends it: no sender given, by a user who is not root."""
    lab.run(host, ["runuser", "-u", "www-data", "--", "/usr/sbin/sendmail", "root"], input=f"Subject: {token}\n\nx\n")
    message = lab.wait_for_message(token)
    assert addresses(message) == {"www-data@corp.example"}


def test_programs_that_speak_smtp(lab: Lab, host: str, token: str) -> None:
    fqdn = lab.fqdn(host)
    text = f"From: shop@{fqdn}\nTo: {SOMEONE}\nSubject: {token}\n\nx\n"
    said = lab.smtp(
        host, host, server="127.0.0.1", source="127.0.0.1", sender=f"shop@{fqdn}", recipients=SOMEONE, message=text
    )
    assert said.accepted, said
    assert addresses(lab.wait_for_message(token)) == {"shop@corp.example", SOMEONE}


def test_another_domain_is_left_alone(lab: Lab, host: str, token: str) -> None:
    lab.run(
        host, ["sendmail", "-f", "bob@shop.example", SOMEONE], input=f"From: bob@shop.example\nSubject: {token}\n\nx\n"
    )
    assert addresses(lab.wait_for_message(token)) == {"bob@shop.example"}


def test_a_name_nobody_knows_goes_on_to_the_domain(lab: Lab, host: str, token: str) -> None:
    relay = "provider" if host in WITH_LOGIN else "outside"
    lab.run(host, ["sendmail", "-f", SOMEONE, token], input=f"Subject: {token}\n\nx\n")
    ready.wait("word of it at the relay", lambda: f"<{token}@corp.example>" in lab.journal(relay))
    assert lab.run(host, "ls -A /var/mail /var/spool/mail", check=False).stdout.split() in (
        ["/var/mail:", "/var/spool/mail:"],
        [],
    )


@pytest.mark.parametrize("host", ["sat-postfix-12", "sat-exim-13"], indirect=True)
def test_what_cannot_be_delivered_comes_back_to_root(lab: Lab, host: str, token: str) -> None:
    """outside takes nothing for corp.example, so it refuses at once."""
    lab.run(host, ["sendmail", "-f", "root", f"{token}@corp.example"], input=f"Subject: {token}\n\nx\n")
    returned = lab.wait_for_message(token)
    assert returned.recipient == ROOT
    assert returned.sender == ""
    assert re.match(r"(?i)mailer-daemon@corp\.example", returned.parsed["From"].addresses[0].addr_spec)


def test_the_journal_has_no_warnings(lab: Lab, host: str) -> None:
    words = lab.run(
        host, "journalctl --no-pager -o cat -u 'postfix*' -u 'exim4*'; cat /var/log/exim4/paniclog", check=False
    )
    bad = [
        line
        for line in words.stdout.splitlines()
        if re.search(r"warning:|fatal:|panic:|error:|Exim configuration", line)
    ]
    assert bad == []


@pytest.mark.parametrize("host", WITH_LOGIN, indirect=True)
def test_a_relay_that_cannot_prove_its_name_gets_nothing(lab: Lab, host: str, token: str) -> None:
    """Another authority in the file: mail waits. The right one again: it arrives."""
    path, program = "/usr/local/share/ca-certificates/postmaster-mail-lab.crt", host.split("-")[1]
    restart = {"postfix": "postfix stop && postfix start", "exim": "true"}[program]
    waiting = {"postfix": "mailq | grep -i certificate", "exim": "grep -ih certificate /var/log/exim4/mainlog"}[program]
    flush = {"postfix": "postfix flush", "exim": "exim4 -qff"}[program]
    lab.run(host, f"mv {path} {path}.kept && cp /etc/ssl/certs/ISRG_Root_X1.pem {path} && {restart}")
    try:
        lab.run(host, ["sendmail", "-f", "alex@corp.example", SOMEONE], input=f"Subject: {token}\n\nx\n")
        ready.wait("a word on the certificate", lambda: lab.run(host, waiting, check=False).returncode == 0)
        assert lab.messages(token) == []
    finally:
        lab.run(host, f"mv {path}.kept {path} && {restart} && {flush}")
    lab.wait_for_message(token)
