# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The postconf module's work on a real Postfix. It rewrites this host's /etc/postfix!

Run it as root in a throw-away Debian container with postfix, postfix-lmdb, postfix-pcre,
libsasl2-modules, ssl-cert and python3-pytest, the collection's tree on PYTHONPATH, and
POSTCONF_THROW_AWAY_HOST=1 set. It needs no Ansible.
"""

from __future__ import annotations

import hashlib
import os
import signal
import smtplib
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _postfix_service, _postfix_trial
from ansible_collections.postmaster.mail.plugins.module_utils._postfix_client import CheckFailed

pytestmark = pytest.mark.skipif(
    os.environ.get("POSTCONF_THROW_AWAY_HOST") != "1" or os.geteuid() != 0, reason="only on a host to throw away"
)

PASSWD = {
    "path": "/etc/postfix/sasl_passwd",
    "secret": True,
    "entries": {"[smtp.provider.test]:587": "corp:hidden-one"},
}
ALIASES = {"path": "/etc/aliases", "type": "alias", "keep_foreign": True, "entries": {"root": "ops@outside.test"}}
SATELLITE: dict[str, Any] = {
    "main": {
        "relayhost": "[smtp.provider.test]:587",
        "inet_interfaces": "loopback-only",
        "smtp_tls_security_level": "encrypt",
        "smtp_sasl_auth_enable": True,
        "smtp_sasl_password_maps": "lmdb:/etc/postfix/sasl_passwd",
        "smtp_sasl_security_options": "noanonymous",
        "alias_maps": "lmdb:/etc/aliases",
        "alias_database": "lmdb:/etc/aliases",
        "myorigin": "/etc/mailname",
    },
    "maps": [PASSWD, ALIASES],
    "files": [{"path": "/etc/mailname", "content": "corp.example\n"}],
}


def postconf(*, check_mode: bool = False, **changes: Any) -> dict[str, Any]:
    maps = [{"type": "lmdb", "alias_type": "lmdb", **table} for table in changes.pop("maps", [])]
    params = {"config_directory": "/etc/postfix", "main": {}, "master": [], "files": [], **changes, "maps": maps}
    return _postfix_service.run(params, check_mode=check_mode).as_result()


def fingerprint() -> dict[str, tuple[str, int, float]]:
    paths = [path for root in ("/etc/postfix", "/etc/aliases*", "/etc/mailname") for path in _files_below(root)]
    return {
        str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mode, path.stat().st_mtime)
        for path in paths
    }


def _files_below(pattern: str) -> list[Path]:
    if pattern.endswith("*"):
        return [path for path in Path("/etc").glob(Path(pattern).name) if path.is_file()]
    root = Path(pattern)
    return [path for path in root.rglob("*") if path.is_file()] if root.is_dir() else [root]


def leftovers() -> list[str]:
    trial = [name for name in os.listdir("/run") if name.startswith("postmaster.mail-postconf-")]
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return trial + [line for line in listed.splitlines() if "master -c /run/" in line]


@pytest.fixture(scope="module", autouse=True)
def configured() -> None:
    postconf(**SATELLITE)
    subprocess.run(["systemctl", "restart", "postfix"], check=True)


@pytest.fixture(autouse=True)
def clean() -> Any:
    yield
    assert leftovers() == []


def test_again_changes_nothing_and_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", None)
    monkeypatch.setattr(subprocess, "Popen", None)
    before = fingerprint()
    assert postconf(**SATELLITE)["changed"] is False
    monkeypatch.undo()
    assert fingerprint() == before


def test_postfix_says_what_was_asked_for() -> None:
    said = subprocess.run(["postconf", "-n"], capture_output=True, text=True, check=True)
    assert said.stderr == ""
    assert "smtp_sasl_password_maps = lmdb:/etc/postfix/sasl_passwd" in said.stdout
    query = ["postmap", "-q", "[smtp.provider.test]:587", "lmdb:/etc/postfix/sasl_passwd"]
    assert subprocess.run(query, capture_output=True, text=True, check=True).stdout == "corp:hidden-one\n"
    assert {oct(os.stat(f"/etc/postfix/sasl_passwd{end}").st_mode)[-3:] for end in ("", ".lmdb")} == {"600"}


def entry(key: str, value: str) -> dict[str, str]:
    return {"key": key, "value": value}


BAD: list[tuple[dict[str, Any], str]] = [
    ({"main": {"smtpd_tls_security_level": "mya"}}, "smtpd_tls_security_level = mya"),
    ({"main": {"inet_protocols": "ipv5"}}, "inet_protocols = ipv5"),
    ({"main": {"smtp_tls_security_level": "encript"}}, "smtp_tls_security_level = encript"),
    ({"main": {"smtp_tls_securty_level": "encrypt"}}, "unused parameter: smtp_tls_securty_level"),
    ({"main": {"message_size_limit": "10m"}}, "message_size_limit = 10m"),
    ({"main": {"maximal_queue_lifetime": "5x"}}, "maximal_queue_lifetime = 5x"),
    ({"main": {"smtp_sasl_auth_enable": "ja"}}, "smtp_sasl_auth_enable = ja"),
    ({"main": {"smtp_sasl_security_options": "noanonymus"}}, "'noanonymus' is no value"),
    ({"main": {"smtpd_recipient_restrictions": ["permit_mynetwork", "reject"]}}, "no restriction 'permit_mynetwork'"),
    ({"main": {"smtpd_relay_restrictions": "permit"}}, "smtpd_relay_restrictions = permit"),
    ({"main": {"mynetworks": "127.0.0.0/8 10.0.0.0/33"}}, "mynetworks = 127.0.0.0/8 10.0.0.0/33"),
    ({"main": {"inet_interfaces": "loopback-onyl"}}, "inet_interfaces = loopback-onyl"),
    ({"main": {"smtpd_tls_security_level": "may", "smtpd_tls_cert_file": "/etc/ssl/nope.pem"}}, "smtpd_tls_cert_file = /etc/ssl/nope.pem"),
    ({"main": {"smtp_tls_CAfile": "/etc/ssl/nope.pem"}}, "smtp_tls_CAfile = /etc/ssl/nope.pem"),
    ({"main": {"transport_maps": "lmdb:/etc/postfix/nope"}}, "transport_maps = lmdb:/etc/postfix/nope"),
    ({"main": {"transport_maps": "lmbd:/etc/postfix/sasl_passwd"}}, "transport_maps = lmbd:"),
    ({"main": {"mydestination": "$myhostnam, localhost"}}, "mydestination = $myhostnam"),
    ({"main": {"smtpd_milters": "int:127.0.0.1:11332"}}, "smtpd_milters = int:"),
    ({"main": {"masquerade_classes": "header_sendr"}}, "masquerade_classes = header_sendr"),
    ({"main": {"mail_owner": "nobody-here"}}, "mail_owner = nobody-here"),
    ({"master": [{"service": "x", "type": "unix", "command": "smtpdd"}]}, "x/unix: error: /usr/lib/postfix/sbin has no"),
    (
        {"master": [{"service": "smtp", "type": "inet", "options": {"smtpd_tls_security_level": "must"}}]},
        "master.cf smtp/inet: smtpd_tls_security_level = must",
    ),
    (
        {"maps": [{"path": "/etc/postfix/h", "type": "pcre", "entries": [entry("/a/", "OK"), entry("/b(/", "OK")]}]},
        "pcre map /etc/postfix/h, line 3",
    ),
    ({"maps": [{"path": "/etc/postfix/c", "type": "cidr", "entries": {"10.0.0.0/99": "OK"}}]}, "cidr map /etc/postfix/c, line 2"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "named"), BAD, ids=[named for dummy, named in BAD])
def test_a_bad_value_is_named_and_nothing_is_touched(changes: dict[str, Any], named: str) -> None:
    before = fingerprint()
    with pytest.raises(CheckFailed) as caught:
        postconf(**changes)
    assert named in str(caught.value)
    assert "/run/postmaster" not in str(caught.value)
    assert fingerprint() == before
    with smtplib.SMTP("127.0.0.1", 25, timeout=60) as smtp:
        assert smtp.noop()[0] == 250


def test_services_come_and_go() -> None:
    submission: dict[str, Any] = {
        "service": "submission",
        "type": "inet",
        "private": "no",
        "command": "smtpd",
        "options": {
            "syslog_name": "postfix/submission",
            "smtpd_tls_security_level": "encrypt",
            "smtpd_tls_cert_file": "/etc/ssl/certs/ssl-cert-snakeoil.pem",
            "smtpd_tls_key_file": "/etc/ssl/private/ssl-cert-snakeoil.key",
        },
    }
    assert postconf(master=[submission])["restart_required"] is True
    said = subprocess.run(["postconf", "-M", "submission/inet"], capture_output=True, text=True, check=True).stdout
    options = [f"{name}={value}" for name, value in submission["options"].items()]
    assert said.split() == ["submission", "inet", *"n----", "smtpd", *(word for one in options for word in ("-o", one))]
    assert postconf(master=[submission])["changed"] is False
    assert postconf(master=[{**submission, "state": "absent"}])["changed_parameters"] == ["submission/inet"]


@pytest.mark.parametrize(
    ("spoil", "reported"),
    [
        (lambda: os.chmod("/etc/postfix/sasl_passwd.lmdb", 0o644), "/etc/postfix/sasl_passwd.lmdb"),
        (lambda: os.chown("/etc/aliases", 1, 1), "/etc/aliases"),
        (lambda: os.truncate("/etc/aliases.lmdb", 0), "/etc/aliases.lmdb"),
        (lambda: os.unlink("/etc/postfix/sasl_passwd.lmdb"), "/etc/postfix/sasl_passwd.lmdb"),
        (lambda: os.utime("/etc/aliases"), "/etc/aliases.lmdb"),
        (lambda: os.chmod("/etc/postfix/main.cf", 0o666), "/etc/postfix/main.cf"),
        (lambda: subprocess.run(["postconf", "-e", "relayhost="], check=True), "/etc/postfix/main.cf"),
    ],
)
def test_what_was_spoilt_is_mended_and_nothing_else_reported(spoil: Any, reported: str) -> None:
    spoil()
    predicted = postconf(check_mode=True, **SATELLITE)
    done = postconf(**SATELLITE)
    assert done == predicted
    assert [change["before_header"] for change in done["diff"]] == [reported]
    assert postconf(**SATELLITE)["changed"] is False


def test_killed_at_any_moment_the_next_run_mends() -> None:
    """Kill a run that changes everything, later each time; the daemon's own check passes in between."""
    code = f"from {__name__.rpartition('.')[2]} import *; postconf(**other(int(sys.argv[1])))"
    environment = {**os.environ, "PYTHONPATH": f"{os.environ['PYTHONPATH']}:{os.path.dirname(__file__)}"}
    killed = 0
    for turn in range(12):
        argv = [sys.executable, "-c", code, str(turn)]
        process = subprocess.Popen(argv, env=environment)
        time.sleep(0.3 + turn * 0.35)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
        assert subprocess.run(["postconf", "-n"], capture_output=True, check=True).stderr == b""
        postconf(**other(turn))
        assert postconf(**other(turn))["changed"] is False
        for name in os.listdir("/etc/postfix"):
            assert not name.startswith(".main.cf.")
    assert killed > 0
    # The next run ended the masters of the killed ones; one that was about to start ends by itself.
    deadline = time.monotonic() + _postfix_trial.MASTER_SECONDS + 10
    while leftovers() and time.monotonic() < deadline:
        time.sleep(1)


def other(turn: int) -> dict[str, Any]:
    """A state that differs in every file from the one before."""
    passwd = {**PASSWD, "entries": {"[smtp.provider.test]:587": f"corp:hidden-{turn}"}}
    aliases = {**ALIASES, "entries": {"root": f"ops{turn}@outside.test"}}
    main = {**SATELLITE["main"], "relayhost": f"[smtp.provider.test]:{600 + turn}"}
    master = [{"service": "smtp", "type": "inet", "maxproc": str(20 + turn)}]
    return {**SATELLITE, "main": main, "maps": [passwd, aliases], "master": master}
