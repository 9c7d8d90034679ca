# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenSMTPD's configuration: what is written for which values, and what is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.postmaster.mail.plugins.filter.mail_accounts import mail_accounts
from ansible_collections.postmaster.mail.plugins.filter.smtpd_config import smtpd_config

SHIM = Path(__file__).resolve().parents[2] / "roles" / "mail_server" / "files" / "filter-rspamd.sh"
ACCOUNTS: dict[str, Any] = {
    "domains": ["post.example"],
    "users": [
        {"address": "ann@post.example", "password": "ann's word", "aliases": ["ann.lee@post.example"]},
        {"address": "bob@post.example", "password": "bob's word"},
    ],
    "aliases": {"sales@post.example": ["ann@post.example", "x@outside.test"]},
    "catch_all": {"post.example": "bob@post.example"},
    "role_address": "ann@post.example",
}
NO_SMARTHOST = {"host": "", "port": 587, "username": "", "password": "", "tls": "verify"}
SMARTHOST = {"host": "smtp.provider.test", "port": 587, "username": "corp", "password": "secret", "tls": "verify"}


def given(**changes: Any) -> dict[str, Any]:
    """Values that are well, with some of them changed."""
    values: dict[str, Any] = {
        "hostname": "mail.post.example",
        "listen": ["0.0.0.0", "::"],
        "submission": True,
        "smtps": True,
        "certificate": "/etc/ssl/certs/mail.pem",
        "key": "/etc/ssl/private/mail.key",
        "checks": {"rdns": "junk", "fcrdns": "disconnect", "dyndns": "none"},
        "dyndns_patterns": [r".*\.dyn\..*"],
        "senderscore": False,
        "rspamd": "filter-rspamd",
        "quota": "",
        "delivery": "lmtp",
        "directory": "/var/vmail",
        "user": "vmail",
        "credentials": "/etc/mail/credentials",
        "smarthost": NO_SMARTHOST,
        "own_from": True,
        "own_senders": True,
        "size": 36700160,
        "lifetime": "4d",
        "root": "ann@post.example",
        "plan": mail_accounts(ACCOUNTS),
    }
    return {**values, **changes}


def lines(beginning: str, **changes: Any) -> list[str]:
    """The lines of smtpd.conf that begin so."""
    return [
        line
        for line in smtpd_config(given(**changes))["files"]["/etc/smtpd.conf"].splitlines()
        if line.startswith(beginning)
    ]


def test_the_tables() -> None:
    files = smtpd_config(given())["files"]
    assert files["/etc/mail/domains"] == "post.example\n"
    assert files["/etc/mail/own"] == "@post.example\n"
    assert files["/etc/mail/aliases"] == "root: ann@post.example\n@: ann@post.example\n"
    assert (
        files["/etc/mail/senders"]
        == "ann@post.example ann.lee@post.example, ann@post.example\nbob@post.example bob@post.example\n"
    )
    assert files["/etc/mail/virtuals"].splitlines()[:4] == [
        "@post.example: bob@post.example",
        "abuse@post.example: ann@post.example",
        "ann.lee@post.example: ann@post.example",
        "ann@post.example: vmail",
    ]
    assert "sales@post.example: ann@post.example, x@outside.test\n" in files["/etc/mail/virtuals"]
    assert files["/etc/mail/secrets"] == ""


def test_listeners() -> None:
    shown = 'pki "mail.post.example" hostname "mail.post.example"'
    login = "auth <credentials> senders <users> mask-src filter rspamd"
    assert lines("listen", listen=["eth0"]) == [
        "listen on socket filter rspamd",
        f"listen on eth0 port 25 tls {shown} filter {{ check_rdns, check_fcrdns, rspamd }}",
        f"listen on eth0 port 587 tls-require {shown} {login}",
        f"listen on eth0 port 465 smtps {shown} {login}",
    ]
    assert len(lines("listen", listen=["192.0.2.1", "::1"], smtps=False)) == 5
    assert not [line for line in lines("listen", own_from=False) if "senders" in line]
    assert not [line for line in lines("listen", submission=False) if "587" in line]


@pytest.mark.parametrize(
    ("checks", "expected"),
    [
        ({"rdns": "junk"}, "filter check_rdns phase connect match !rdns junk"),
        ({"rdns": "disconnect"},
         'filter check_rdns phase connect match !rdns disconnect "550 5.7.25 Your address has no name: give it a PTR record"'),
        ({"fcrdns": "junk"}, "filter check_fcrdns phase connect match !fcrdns junk"),
        ({"dyndns": "junk"}, r"filter check_dyndns phase connect match rdns regex { '.*\.dyn\..*' } junk"),
        ({}, None),
    ],
)  # fmt: skip
def test_checks(checks: dict[str, str], expected: str | None) -> None:
    assert lines("filter check_", checks=checks) == ([expected] if expected else [])


def test_senderscore_only_on_request() -> None:
    assert not lines("filter senderscore")
    assert lines("filter senderscore", senderscore=True) == [
        'filter senderscore proc-exec "filter-senderscore -junkBelow 70 -slowFactor 5000"'
    ]
    assert "senderscore, rspamd }" in lines("listen on ::", senderscore=True)[0]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 'relay helo "mail.post.example"'),
        ({"smarthost": SMARTHOST}, 'relay host "smtp+tls://smarthost@smtp.provider.test:587" auth <secrets> helo "mail.post.example"'),
        ({"smarthost": {**SMARTHOST, "port": 465}},
         'relay host "smtps://smarthost@smtp.provider.test:465" auth <secrets> helo "mail.post.example"'),
        ({"smarthost": {**SMARTHOST, "tls": "encrypt"}},
         'relay host "smtp+tls://smarthost@smtp.provider.test:587" auth <secrets> tls no-verify helo "mail.post.example"'),
        ({"smarthost": {**SMARTHOST, "tls": "may", "username": "", "password": "", "port": 25}},
         'relay host "smtp://smtp.provider.test:25" helo "mail.post.example"'),
    ],
)  # fmt: skip
def test_the_way_out(changes: dict[str, Any], expected: str) -> None:
    assert lines('action "outbound"', **changes) == [f'action "outbound" {expected}']


def test_a_full_mailbox_is_asked_about_before_mail_is_read() -> None:
    quota = "/usr/bin/python3 -I /usr/local/lib/quota_filter.py"
    assert lines("filter quota", quota=quota) == [f'filter quota proc-exec "{quota}"']
    listeners = lines("listen on", quota=quota)
    assert listeners[0] == "listen on socket filter { quota, rspamd }"
    assert "filter { check_rdns, check_fcrdns, quota, rspamd }" in listeners[1]
    assert all(line.endswith("quota, rspamd }") for line in listeners)
    # There is no quota past Dovecot.
    assert not [line for line in lines("", quota=quota, delivery="maildir") if "quota" in line]


def test_secrets() -> None:
    assert smtpd_config(given(smarthost=SMARTHOST))["files"]["/etc/mail/secrets"] == "smarthost corp:secret\n"
    assert "table secrets file:/etc/mail/secrets" in lines("table", smarthost=SMARTHOST)


def test_the_way_in() -> None:
    assert lines('action "mailbox"') == [
        'action "mailbox" lmtp "/run/dovecot/lmtp" rcpt-to virtual <virtuals> wrapper "again"'
    ]
    assert lines('action "mailbox"', delivery="maildir") == [
        'action "mailbox" maildir "/var/vmail/%{dest.domain:lowercase}/%{dest.user:lowercase}/Maildir" junk virtual <virtuals> wrapper "again"'
    ]


def test_nobody_relays_who_has_not_logged_in() -> None:
    assert lines("match") == [
        'match from local for local action "local"',
        'match from local for domain <domains> action "mailbox"',
        'match from local for any action "outbound"',
        "match from any !auth mail-from <own> for any reject",
        'match from any for domain <domains> action "mailbox"',
        'match from any auth for any action "outbound"',
    ]
    assert not [line for line in lines("match", own_senders=False) if "own" in line]


def accounts(**changes: Any) -> dict[str, Any]:
    """A plan of other accounts."""
    return mail_accounts({**ACCOUNTS, **changes})


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"hostname": "mail"}, "hostname: mail is no full host name: give one such as mail.example.org"),
        ({"hostname": 'x" y.example'}, 'hostname: x" y.example is no full host name: give one such as mail.example.org'),
        ({"listen": []}, "listen is empty, so nobody could reach the server: list addresses or interfaces, or 0.0.0.0 and ::"),
        ({"listen": ["eth0 auth"]}, "listen: 'eth0 auth' is neither an address nor an interface: give one such as 192.0.2.25 or eth0"),
        ({"key": "key"}, "key: key is no plain absolute path: use letters, digits, and . _ - between slashes"),
        ({"lifetime": "5 d"}, "lifetime: 5 d is no time: write it as 5d or 12h"),
        ({"size": 10}, "size: 10 bytes is no size for messages: give one from 65536 to 2147483648"),
        ({"checks": {"rnds": "junk"}}, "checks: there is no rnds: choose from rdns, fcrdns, dyndns"),
        ({"checks": {"rdns": "reject"}}, "checks: rdns cannot be reject: choose junk, disconnect or none"),
        ({"dyndns_patterns": ["("]},
         "dyndns_patterns: '(' is no regular expression (missing ), unterminated subpattern at position 0): mend it"),
        ({"dyndns_patterns": ["it's"]}, 'dyndns_patterns: "it\'s" holds a quote or a control character: write it without'),
        ({"checks": {"dyndns": "junk"}, "dyndns_patterns": []}, "dyndns_patterns is empty: name patterns, or set the check dyndns to none"),
        ({"smarthost": {**SMARTHOST, "host": "a b"}},
         "smarthost: a b is neither a host name nor an address: write an IPv6 address in brackets"),
        ({"smarthost": {**SMARTHOST, "password": ""}}, "smarthost_username and smarthost_password go together: set both or neither"),
        ({"smarthost": {**SMARTHOST, "tls": "may"}},
         "smarthost_tls: may would send the password in the clear when TLS fails: choose verify or encrypt"),
        ({"smarthost": {**SMARTHOST, "username": "a:b"}},
         "smarthost_username holds a blank, a colon or what is not ASCII, which OpenSMTPD cannot read"),
        ({"smarthost": {**SMARTHOST, "password": "a b"}},
         "smarthost_password holds a blank or what is not ASCII, which OpenSMTPD cannot read: choose another"),
        ({"plan": accounts(aliases={"sales@post.example": ["/x@outside.test"]})},
         "aliases: sales@post.example leads to /x@outside.test, which OpenSMTPD would not take for an address: choose another"),
        ({"root": ""}, "root_address: nobody would get the host's own mail: name an address, or set role_address in the accounts"),
        ({"root": "|cat"}, "root_address: |cat is no address: write it as name@example.org"),
        ({"plan": accounts(domains=[])}, "accounts: domains: name at least one, or nobody can have a mailbox"),
    ],
)  # fmt: skip
def test_what_cannot_be(changes: dict[str, Any], problem: str) -> None:
    found = smtpd_config(given(**changes))
    assert problem in found["problems"]
    assert found["files"] == {}


def test_who_logged_in_is_said_in_the_order_that_the_filter_knows(tmp_path: Path) -> None:
    """What stands between OpenSMTPD and its filter on Debian 12."""
    if not shutil.which("mawk"):
        pytest.skip("there is no mawk")
    stand_in = tmp_path / "filter-rspamd"
    stand_in.write_text("#!/bin/sh\nexec cat\n", encoding="ascii")
    stand_in.chmod(0o755)
    said = [
        "config|ready",
        "report|0.7|1.2|smtp-in|link-auth|0011223344556677|pass|ann@post.example",
        "report|0.7|1.2|smtp-in|link-auth|0011223344556677|fail|a|b",
        "report|0.6|1.2|smtp-in|link-auth|0011223344556677|ann@post.example|pass",
        "report|0.7|1.2|smtp-in|tx-mail|0011223344556677|8899aabb|ok|a|b@post.example",
        "filter|0.7|1.2|smtp-in|data-line|0011223344556677|99|report|0.7|1.2|smtp-in|link-auth|x|pass|y",
        "filter|0.7|1.2|smtp-in|data-line|0011223344556677|99|caf\u00e9|",
    ]
    heard = list(said)
    heard[1] = "report|0.7|1.2|smtp-in|link-auth|0011223344556677|ann@post.example|pass"
    heard[2] = "report|0.7|1.2|smtp-in|link-auth|0011223344556677|a_b|fail"
    done = subprocess.run(
        ["sh", str(SHIM)], input="\n".join(said) + "\n", env={**os.environ, "FILTER_DIRECTORY": str(tmp_path)},
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.splitlines() == heard


def test_what_is_missing_is_named() -> None:
    with pytest.raises(AnsibleFilterError, match="smtpd_config needs .plan."):
        smtpd_config({})
