# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role does on a second run, on a bare host, with broken values, and with users who come and go."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from boxes import (
    ANN,
    BARE,
    BOB,
    CONVERGE,
    HOSTS,
    PASSWORDS,
    ZOE,
    Imap,
    ask,
    can_enter,
    converge,
    deliver,
    hold,
    letter,
    main_pid,
    with_users,
)
from lab import plays
from lab.probe import Lab

ACCOUNTS, CONFIGURE = "Give users their accounts", "Configure Dovecot"
CONF = "/etc/dovecot/dovecot.conf"


def each(value: Any) -> dict[str, Any]:
    """The same of every host."""
    return dict.fromkeys(HOSTS, value)


def test_a_second_run_changes_nothing(lab: Lab) -> None:
    pids = [main_pid(lab, host) for host in HOSTS]
    played = converge(lab)
    assert played.changed == {}
    assert [main_pid(lab, host) for host in HOSTS] == pids
    # How much it asks of a host is part of what it promises.
    assert {host: len(tasks) for host, tasks in played.remote.items()} == each(9)


RELOAD = "Bring Dovecot up to date"
# What is found is kept before it is mended, and what works after.
SNAPSHOTS = {"Keep the configuration as it was found", "Keep the configuration of the mailboxes"}
SPOILT: list[tuple[list[str], set[str]]] = [
    (
        [
            f"sed -i '/^auth_mechanisms/d' {CONF}",
            "rm /etc/dovecot/sieve/junk.sieve",
            "chmod 0644 /etc/mail/credentials",
            "usermod -s /bin/bash vmail",
            "chmod 0777 /var/vmail",
            "systemctl stop mail-password.socket",
        ],
        {
            CONFIGURE,
            RELOAD,
            ACCOUNTS,
            "Have the user that owns mail",
            "Have a place for mail",
            "Users can change their passwords",
        },
    ),
    (
        [f"chmod 0666 {CONF}", "sed -i '/^bob@/d' /etc/mail/credentials", "systemctl stop dovecot"],
        {CONFIGURE, ACCOUNTS, "Dovecot runs"},
    ),
    (["systemctl disable dovecot"], {"Dovecot runs"}),
]


def test_drift_is_mended_and_told(lab: Lab) -> None:
    for spoils, expected in SPOILT:
        for host in HOSTS:
            lab.run(host, " && ".join(spoils))
        changed = {host: set(tasks) - SNAPSHOTS for host, tasks in converge(lab).changed.items()}
        assert changed == each(expected)
        assert all(can_enter(lab, host, BOB, PASSWORDS[BOB]) for host in HOSTS)
    assert converge(lab).changed == {}


def test_check_mode_on_a_bare_host(lab: Lab) -> None:
    played = converge(lab, check=True, extra={"mailboxes_hosts": ",".join(BARE)})
    for host in BARE:
        assert {CONFIGURE, ACCOUNTS, "Say which packages would be installed"} <= set(played.changed[host])
        lab.run(host, "! id vmail && ! test -e /etc/dovecot && ! test -e /etc/mail/credentials && ! test -e /var/vmail")


def accounts(*users: dict[str, Any], **more: Any) -> dict[str, Any]:
    usual = {
        "domains": ["post.example"],
        "users": list(users) or [{"address": ANN, "password": "a"}],
        "role_address": ANN,
    }
    return {"mailboxes_accounts": {**usual, **more}}


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "twice": (
        accounts({"address": ANN, "password": "a"}, {"address": ANN, "password": "b"}),
        f"{ANN} is described twice in users",
    ),
    "loop": (
        accounts(aliases={"a@post.example": ["b@post.example"], "b@post.example": ["a@post.example"]}),
        "goes round in a circle",
    ),
    "nowhere": (accounts(aliases={"a@post.example": ["x@post.example"]}), "x@post.example, which does not exist"),
    "domain": (
        accounts({"address": ANN, "password": "a"}, {"address": "x@third.example", "password": "a"}),
        "add third.example there",
    ),
    "scheme": (accounts({"address": ANN, "password_hash": "{SSHA}x"}), "Dovecot alone reads a hash of the scheme SSHA"),
    "quota": ({"mailboxes_quota": "lots"}, "mailboxes_quota: lots is no size"),
    "key": ({"mailboxes_tls_key": "/run/other.key"}, "lab-host.pem does not match the key /run/other.key"),
    "certificate": ({"mailboxes_tls_certificate": "/no/such.pem"}, "/no/such.pem does not exist or cannot be read"),
    "settings": ({"mailboxes_settings": "no_such_setting = yes"}, "Dovecot does not accept its configuration"),
    "brace": ({"mailboxes_settings": "protocol imap {"}, "Dovecot does not accept its configuration"),
    "home": ({"mailboxes_directory": "/home/mail"}, "systemd hides /home/mail from Dovecot"),
    "trains": ({"mailboxes_train_ham": []}, "mailboxes_train_spam and mailboxes_train_ham go together"),
}


def test_broken_values_are_named_and_nothing_is_touched(lab: Lab) -> None:
    look = f"sha256sum {CONF} /etc/mail/credentials*; stat -c %Y {CONF}"
    for host in HOSTS:
        lab.run(host, "openssl genrsa -out /run/other.key 2048 2>/dev/null")
    before = [(main_pid(lab, host), lab.run(host, look).stdout) for host in HOSTS]
    said = plays.refusals(lab, CONVERGE, {what: extra for what, (extra, dummy) in BROKEN.items()}, inventories=())
    for what, (dummy, expected) in BROKEN.items():
        assert {host: expected in said[what].get(host, "") for host in HOSTS} == each(True), (what, said[what])
    assert [(main_pid(lab, host), lab.run(host, look).stdout) for host in HOSTS] == before
    assert all(can_enter(lab, host, ANN, PASSWORDS[ANN]) for host in HOSTS)


def test_a_user_comes_and_goes(lab: Lab, token: str) -> None:
    """Removed with the mail kept, back with the same mail, and deleted when asked."""
    zoe = {"address": ZOE, "password": "zoe's password"}
    with with_users(lab, zoe) as played:
        assert played.changed == each([ACCOUNTS])
        for host in HOSTS:
            assert deliver(lab, host, ZOE, letter(token))[-1][0] == 250
        client = Imap(lab, HOSTS[1], ZOE, "zoe's password")
        gone = converge(lab)
        assert gone.changed == each([ACCOUNTS])
        for host in HOSTS:
            assert f"{host} keeps mail of users who have no account: /var/vmail/post.example/zoe" in gone.output
            assert not can_enter(lab, host, ZOE, "zoe's password")
            assert deliver(lab, host, ZOE, letter(token))[0][0] == 550
        with pytest.raises((OSError, client.abort)):  # the session of before ended
            client.noop()
        assert "keeps mail of users who have no account" in converge(lab).output
        converge(lab, extra={"mailboxes_more_users": [zoe]})
        assert all(hold(lab, host, token, user=ZOE, password="zoe's password") == {"INBOX"} for host in HOSTS)
        refused = converge(
            lab, extra={"mailboxes_more_users": [zoe], "mailboxes_delete_mail_of": [ZOE]}, must_pass=False
        )
        assert all("zoe@post.example has an account" in text for text in refused.failures.values()) and refused.failures
    for host in HOSTS:
        assert lab.run(host, "test -e /var/vmail/post.example/zoe", check=False).returncode == 1


def test_hashes_of_every_scheme_are_read(lab: Lab) -> None:
    """Those of other programs; made on the older host by its own crypt(3), and of the passwords beside them."""
    make = (
        "import ctypes; l = ctypes.CDLL('libcrypt.so.1'); l.crypt.restype = l.crypt_gensalt.restype = ctypes.c_char_p\n"
        "for p, n in ((b'$y$', 1), (b'$5$', 5000), (b'$6$', 5000), (b'$2b$', 5), (b'$2a$', 5)):\n"
        "    s = l.crypt_gensalt(p, ctypes.c_ulong(n), b'0123456789abcdef', 16)\n"
        "    print(l.crypt(b'of ' + p.strip(b'$'), s).decode())"
    )
    hashes = lab.run("mail-12", ["python3", "-c", make]).stdout.split()
    users = [{"address": f"u{number}@post.example", "password_hash": made} for number, made in enumerate(hashes)]
    assert len(users) == 5
    with with_users(lab, *users):
        for host in HOSTS:
            for user in users:
                word = "of " + user["password_hash"].split("$")[1]
                assert can_enter(lab, host, user["address"], word), user
                assert not can_enter(lab, host, user["address"], word + "."), user


def change(lab: Lab, host: str, old: str, new: str) -> list[str]:
    """What the user's webmail says, and what it is told. Dovecot looks at the file once a second."""
    said = ask(lab, host, 106, f"user {ANN}", f"pass {old}", f"newpass {new}", "quit")
    time.sleep(1.1)
    return said


def test_a_password_that_a_user_chose_stays(lab: Lab) -> None:
    old = PASSWORDS[ANN]
    since = time.time()
    try:
        for host in HOSTS:
            assert change(lab, host, "wrong", "my own choice")[-1] == "500 The name or the password is wrong."
            assert can_enter(lab, host, ANN, old)
            assert change(lab, host, old, "my own choice")[-2] == "200 The password is changed."
            assert can_enter(lab, host, ANN, "my own choice") and not can_enter(lab, host, ANN, old)
            journal = lab.journal(host, since=f"@{int(since)}")
            assert f"{ANN} changed the password" in journal and f"wrong password for {ANN}" in journal
            assert "my own choice" not in journal
        assert converge(lab).changed == {}
        assert all(can_enter(lab, host, ANN, "my own choice") for host in HOSTS)
        # Given anew, it is what is given.
        played = converge(lab, extra={"mailboxes_password_of_ann": "from the inventory"})
        assert played.changed == each([ACCOUNTS])
        assert all(can_enter(lab, host, ANN, "from the inventory") for host in HOSTS)
        for host in HOSTS:
            change(lab, host, "from the inventory", "my own choice")
        played = converge(
            lab, extra={"mailboxes_password_of_ann": "from the inventory", "mailboxes_reset_passwords": [ANN]}
        )
        assert played.changed == each([ACCOUNTS])
        assert all(can_enter(lab, host, ANN, "from the inventory") for host in HOSTS)
    finally:
        converge(lab, extra={"mailboxes_reset_passwords": [ANN]})
    assert all(can_enter(lab, host, ANN, old) for host in HOSTS)


def test_the_change_of_passwords_can_be_left_out(lab: Lab) -> None:
    try:
        converge(lab, extra={"mailboxes_password_change": False})
        assert all(lab.listeners(host, 106) == set() for host in HOSTS)
        assert converge(lab, extra={"mailboxes_password_change": False}).changed == {}
    finally:
        converge(lab)
    assert all(lab.listeners(host, 106) == {"127.0.0.1:106"} for host in HOSTS)


def test_pop3_on_request(lab: Lab) -> None:
    wanted = {"143", "993", "4190"}
    look = "ss -Hlnt | awk '{print $4}' | grep -vE '127.0.0.1|\\[::1\\]' | sed 's/.*://' | sort -u"
    assert all(set(lab.run(host, look).stdout.split()) - {"22"} == wanted for host in HOSTS)
    try:
        converge(lab, extra={"mailboxes_pop3": True, "mailboxes_imap_starttls": False, "mailboxes_managesieve": False})
        assert all(set(lab.run(host, look).stdout.split()) - {"22"} == {"993", "995"} for host in HOSTS)
        for host in HOSTS:
            lines = f"sleep 1; echo 'USER {BOB}'; sleep 1; echo \"PASS {PASSWORDS[BOB]}\"; sleep 2; echo QUIT"
            client = f"openssl s_client -quiet -crlf -connect {lab.fqdn(host)}:995 -verify_return_error 2>&1"
            said = lab.run(host, f"({lines}) | {client}").stdout
            assert "+OK Logged in." in said, said
    finally:
        converge(lab)
    greeting = ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/4190; read -rt 20 line <&3; echo $line"]
    assert all("IMPLEMENTATION" in lab.run(host, greeting).stdout for host in HOSTS)
    assert all(set(lab.run(host, look).stdout.split()) - {"22"} == wanted for host in HOSTS)


def test_an_interrupted_run_is_completed(lab: Lab) -> None:
    """Killed between the files and the handlers; the next run brings them into force."""
    extra = {"mailboxes_imap_starttls": False}
    try:
        converge(lab, extra=extra, kill_after=CONFIGURE)
        assert all(lab.listeners(host, 143) for host in HOSTS)
        played = converge(lab, extra=extra)
        assert all("Bring Dovecot up to date" in played.changed[host] for host in HOSTS)
        assert not any(lab.listeners(host, 143) for host in HOSTS)
    finally:
        converge(lab)
    assert all(lab.listeners(host, 143) for host in HOSTS)


def test_secrets_are_shown_nowhere(lab: Lab) -> None:
    """Neither in the most talkative output of the run that writes them, nor in the journal."""
    password, since = "zoe's secret word", time.time()
    with with_users(lab, {"address": ZOE, "password": password, "quota": "3M"}):
        pass
    played = converge(lab, extra={"mailboxes_more_users": [{"address": ZOE, "password": password}]}, options=["-vvv"])
    try:
        assert ACCOUNTS in played.changed["mail-12"]
        assert all(can_enter(lab, host, ZOE, password) for host in HOSTS)
        said = played.output + "".join(lab.journal(host, since=f"@{int(since)}") for host in HOSTS)
        assert ZOE in said and "/var/vmail/post.example/zoe" in said
        # The line with which ansible-playbook was started is not shown by it.
        assert password not in said and PASSWORDS[ANN] not in said
        # The program that changes passwords holds a hash of nobody.
        assert not re.search(r"\$(6|2y)\$(?!rounds=20000\$nobody)[^ ]{20}", said)
    finally:
        converge(lab, extra={"mailboxes_delete_mail_of": [ZOE]})
