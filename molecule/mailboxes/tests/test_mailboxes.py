# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What users and mail servers see of the mailboxes, on both releases."""

from __future__ import annotations

import base64
import imaplib
import json
import socket
import time

import pytest
from boxes import ANN, BOB, EVE, FOLDERS, HOSTS, PASSWORDS, Imap, Plain, ask, can_enter, context, deliver, hold, letter
from lab.probe import Lab

SIDE_BY_SIDE = """
import contextlib, json, smtplib, sys
with contextlib.ExitStack() as stack:
    clients = [stack.enter_context(smtplib.LMTP("/run/dovecot/lmtp")) for dummy in range(int(sys.argv[2]))]
    codes = []
    for client in clients:
        client.ehlo_or_helo_if_needed()
        client.mail("outside@outside.test")
        codes.append(client.rcpt(sys.argv[1])[0])
    print(json.dumps(codes))
"""

pytestmark = pytest.mark.parametrize("host", HOSTS)


def test_mail_is_delivered_and_read(lab: Lab, host: str, token: str) -> None:
    assert [code for code, dummy in deliver(lab, host, [ANN, BOB], letter(token))] == [250] * 4
    for user in (ANN, BOB):
        with Imap(lab, host, user) as client:
            (number,) = client.find("INBOX", token)
            text = client.fetch(number, "(BODY[])")[1][0][1].decode()  # type: ignore[index,union-attr]
            assert f"Subject: {token}" in text and text.startswith("Return-Path: <outside@outside.test>")
    names = lab.run(host, ["find", "/var/vmail/post.example/ann/Maildir", "-printf", "%u:%g\n"]).stdout.split()
    assert set(names) == {"vmail:vmail"}


def test_plus_addresses_are_the_same_mailbox(lab: Lab, host: str, token: str) -> None:
    assert deliver(lab, host, "Ann+anything@post.example", letter(token))[-1][0] == 250
    assert hold(lab, host, token) == {"INBOX"}


def test_twenty_messages_at_once_for_one_user(lab: Lab, host: str) -> None:
    """So many Postfix hands over side by side; Dovecot 2.4 by itself puts off all but ten."""
    said = lab.run(host, ["python3", "-c", SIDE_BY_SIDE, ANN, "20"]).stdout
    assert json.loads(said) == [250] * 20


def test_mail_for_nobody_is_refused(lab: Lab, host: str, token: str) -> None:
    said = deliver(lab, host, ["zoe@post.example", "ann@nowhere.example", ANN], letter(token))
    assert [code for code, dummy in said] == [550, 550, 250, 250]


def test_every_password_gets_in_and_no_other(lab: Lab, host: str) -> None:
    for user, password in PASSWORDS.items():
        assert can_enter(lab, host, user, password)
        assert not can_enter(lab, host, user, password + "x")
    assert not can_enter(lab, host, "zoe@post.example", PASSWORDS[ANN])


def test_nobody_logs_in_without_tls(lab: Lab, host: str) -> None:
    """The twin differs in STARTTLS alone."""
    client = Plain(lab, host)
    assert "LOGINDISABLED" in client.capabilities and "AUTH=PLAIN" not in client.capabilities
    with pytest.raises(imaplib.IMAP4.error, match="PRIVACYREQUIRED"):
        client.login(ANN, '"' + PASSWORDS[ANN] + '"')
    client.logout()
    client = Plain(lab, host)
    client.starttls(context(lab))
    assert client.login(ANN, PASSWORDS[ANN])[0] == "OK"
    client.logout()


def test_folders_and_what_they_are_for(lab: Lab, host: str) -> None:
    with Imap(lab, host, BOB) as client:
        listed = [line.decode() for line in client.list()[1]]  # type: ignore[union-attr]
        assert {
            name for name in FOLDERS if any(f"\\{name}" in line and line.endswith(f" {name}") for line in listed)
        } == FOLDERS
        subscribed = {line.decode().rpartition(" ")[2] for line in client.lsub()[1]}  # type: ignore[union-attr]
        assert subscribed >= FOLDERS


@pytest.mark.parametrize(("extra", "folder"), [("X-Spam: Yes\n", "Junk"), ("X-Spam: No\n", "INBOX"), ("", "INBOX")])
def test_junk_is_filed(lab: Lab, host: str, token: str, extra: str, folder: str) -> None:
    assert deliver(lab, host, ANN, letter(token, extra=extra))[-1][0] == 250
    assert hold(lab, host, token) == {folder}


def trained(lab: Lab, host: str, token: str) -> set[str]:
    said = lab.run(host, f"grep -l 'Subject: {token}' /var/vmail/trained-*", check=False).stdout
    return {line.rpartition("-")[2] for line in said.split()}


def test_moving_trains(lab: Lab, host: str, token: str) -> None:
    """Into Junk as spam, out of it as ham; to Trash as neither."""
    for number, extra in enumerate(("", "X-Spam: Yes\n", "X-Spam: Yes\n")):
        deliver(lab, host, ANN, letter(f"{token}-{number}", extra=extra))
    with Imap(lab, host, ANN) as client:
        client.move(f"{token}-0", "INBOX", "Junk")
        client.move(f"{token}-1", "Junk", "INBOX")
        client.move(f"{token}-2", "Junk", "Trash")
    assert [trained(lab, host, f"{token}-{number}") for number in range(3)] == [{"spam"}, {"ham"}, set()]


def status(lab: Lab, host: str, user: str, size: int = 1000) -> str:
    """What quota-status says at RCPT."""
    return ask(lab, host, 12340, "request=smtpd_access_policy", f"recipient={user}", f"size={size}", "")[0]


def test_quota(lab: Lab, host: str, token: str) -> None:
    with Imap(lab, host, EVE) as client:
        assert b"STORAGE" in (said := client.getquota('"User quota"')[1][0]) and said.endswith(b" 1024)"), said  # type: ignore[operator,union-attr]
    with Imap(lab, host, ANN) as client:
        assert client.getquota('"User quota"')[1][0].endswith(b" 51200)")  # type: ignore[union-attr]
    assert status(lab, host, EVE) == "action=DUNNO"
    try:
        # The last one may be larger than what is left.
        for dummy in range(2):
            assert deliver(lab, host, EVE, letter(token, size=700_000))[-1][0] == 250
        ((code, text),) = deliver(lab, host, EVE, letter(token))
        assert code == 552 and "5.2.2" in text, text
        assert status(lab, host, EVE) == "action=552 5.2.2 Mailbox is full"
        assert status(lab, host, ANN) == "action=DUNNO"
        with Imap(lab, host, EVE) as client, pytest.raises(AssertionError, match="OVERQUOTA"):
            code, said = client.append("INBOX", "", "", letter(token).replace("\n", "\r\n").encode())
            assert code == "OK", said
    finally:
        lab.run(host, ["doveadm", "expunge", "-u", EVE, "mailbox", "INBOX", "all"])
    assert deliver(lab, host, EVE, letter(token))[-1][0] == 250
    assert status(lab, host, EVE) == "action=DUNNO"


def sieve(lab: Lab, host: str, script: str) -> list[str]:
    """Upload a script by ManageSieve as ann; what was said before TLS and after."""
    with socket.create_connection((lab.address(host), 4190), 30) as bare:
        lines = bare.makefile("rb")

        def answer(reader: object) -> str:
            said = ""
            while not said.rpartition("\n")[2].startswith(("OK", "NO", "BYE")):
                said += "\n" + reader.readline().decode().strip()  # type: ignore[attr-defined]
            return said

        said = [answer(lines)]
        bare.sendall(b"STARTTLS\r\n")
        answer(lines)
        with context(lab).wrap_socket(bare, server_hostname=lab.fqdn(host)) as client:
            lines = client.makefile("rb")
            said.append(answer(lines))
            word = base64.b64encode(f"\0{ANN}\0{PASSWORDS[ANN]}".encode()).decode()
            for line in (
                f'AUTHENTICATE "PLAIN" "{word}"',
                f'PUTSCRIPT "mine" {{{len(script)}+}}\r\n{script}',
                'SETACTIVE "mine"',
            ):
                client.sendall(line.encode() + b"\r\n")
                said.append(answer(lines).strip())
    return said


def test_a_script_of_the_user(lab: Lab, host: str, token: str) -> None:
    script = f'require ["fileinto"]; if header :contains "Subject" "{token}" {{ fileinto "Archive"; }}'
    before, after, *done = sieve(lab, host, script)
    assert '"SASL" ""' in before and '"SASL" "PLAIN' in after
    assert [line.split(maxsplit=1)[0] for line in done] == ["OK"] * 3, done
    try:
        deliver(lab, host, ANN, letter(token))
        deliver(lab, host, ANN, letter(f"other-{token[::-1]}"))
        # Junk is junk, whatever the script says.
        deliver(lab, host, ANN, letter(f"spam-{token}", extra="X-Spam: Yes\n"))
        assert hold(lab, host, f"spam-{token}") == {"Junk"}
        assert "Archive" in hold(lab, host, token)
        assert hold(lab, host, f"other-{token[::-1]}") == {"INBOX"}
    finally:
        lab.run(host, "rm -rf /var/vmail/post.example/ann/sieve /var/vmail/post.example/ann/.dovecot.sieve")


def test_who_may_use_the_sockets_and_read_the_hashes(lab: Lab, host: str) -> None:
    """Members of the groups and nobody else."""
    try_it = "import socket; socket.socket(socket.AF_UNIX).connect('/run/dovecot/lmtp')"
    for group, code in (("mail", 0), ("nogroup", 1)):
        done = lab.run(host, ["runuser", "-u", "nobody", "-g", group, "--", "python3", "-c", try_it], check=False)
        assert done.returncode == code, (group, done.stderr)
    for group, code in (("mailauth", 0), ("vmail", 1), ("mail", 1)):
        read = ["runuser", "-u", "nobody", "-g", group, "--", "cat", "/etc/mail/credentials"]
        assert lab.run(host, read, check=False).returncode == code, group


def test_limits_are_in_force(lab: Lab, host: str) -> None:
    pid = lab.run(host, ["systemctl", "show", "-p", "MainPID", "--value", "dovecot"]).stdout.strip()
    limits = lab.run(host, ["cat", f"/proc/{pid}/limits"]).stdout
    assert " 8192 " in next(line for line in limits.splitlines() if line.startswith("Max open files"))
    assert "NoNewPrivs:\t1" in lab.run(host, ["cat", f"/proc/{pid}/status"]).stdout


def test_the_journal_has_no_complaints(lab: Lab, host: str, token: str) -> None:
    """Neither errors nor warnings come with a delivery, a login and a move that trains."""
    since = lab.run(host, ["date", "+%F %T"]).stdout.strip()
    time.sleep(1)
    deliver(lab, host, ANN, letter(token))
    with Imap(lab, host, ANN) as client:
        client.move(token, "INBOX", "Junk")
    journal = lab.journal(host, since=since)
    assert "saved" in journal or "sieve" in journal or "stored mail" in journal
    assert not [line for line in journal.splitlines() if "Error:" in line or "Warning:" in line or "Fatal:" in line]
