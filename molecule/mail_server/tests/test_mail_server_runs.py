# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role does on a second run, on a bare host, with broken values, and when a daemon ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from lab import plays, ready
from lab.probe import Lab
from servers import BARE, CONVERGE, DOMAINS, HOSTS, PASSWORDS, Imap, arrive, converge, letter, of, send, wait_for

RESTORE = CONVERGE.parents[2] / "playbooks" / "restore.yml"
SEED = Path(__file__).parent / "seed_smtpd.conf"


def pids(lab: Lab, host: str) -> str:
    """The daemons that run."""
    return lab.run(host, "systemctl show -p MainPID --value opensmtpd dovecot unbound").stdout


def sums(lab: Lab, host: str) -> str:
    """What the daemons are told."""
    return lab.run(host, "sha256sum /etc/smtpd.conf /etc/mail/* /etc/rspamd/local.d/*").stdout


def zoe_sends(lab: Lab, host: str, token: str) -> bool:
    """Whether zoe may."""
    zoe = of(host, "zoe")
    return send(lab, host, token, sender=zoe, writer=zoe, login=(zoe, "zoe's words")).accepted


def test_a_second_run_changes_nothing(lab: Lab) -> None:
    before = {host: pids(lab, host) for host in HOSTS}
    played = converge(lab)
    assert played.changed == {}
    for host in HOSTS:
        assert pids(lab, host) == before[host]
        # How much it asks of a host is part of what it promises.
        assert played.calls[host] <= 30


def test_drift_is_mended(lab: Lab, token: str) -> None:
    for host in HOSTS:
        lab.run(host, "echo '# drift' >> /etc/smtpd.conf; echo 'reject = 1;' >> /etc/rspamd/local.d/actions.conf")
        lab.run(host, "chmod 0644 /etc/mail/secrets; systemctl stop opensmtpd unbound")
    changed = converge(lab).changed
    for host in HOSTS:
        assert {"Configure OpenSMTPD", "Configure rspamd", "Unbound runs", "OpenSMTPD runs"} <= set(changed[host])
        assert lab.run(host, "stat -c %a /etc/mail/secrets").stdout.strip() == "640"
        assert "drift" not in lab.run(host, ["cat", "/etc/smtpd.conf"]).stdout
        assert arrive(lab, host, token).accepted
    assert converge(lab).changed == {}


def test_check_mode_on_a_bare_host(lab: Lab) -> None:
    extra = {"mail_server_hosts": BARE}
    played = converge(lab, extra=extra, check=True)
    assert played.code == 0
    for host in BARE.split(","):
        assert "Configure OpenSMTPD" in played.changed[host]
        assert lab.run(host, "ls /etc/smtpd.conf /etc/dovecot /etc/rspamd", check=False).returncode != 0
        assert lab.listeners(host) == set()


def test_a_user_who_comes_is_known_at_once(lab: Lab, token: str) -> None:
    for host in HOSTS:
        assert not arrive(lab, host, f"{token}-1", recipients=of(host, "zoe")).accepted
    before = {host: pids(lab, host) for host in HOSTS}
    extra = {"mail_more_users": [{"address": "zoe@{{ mail_domain }}", "password": "zoe's words"}]}
    converge(lab, extra=extra)
    for host in HOSTS:
        assert pids(lab, host) == before[host]
        assert arrive(lab, host, f"{token}-2", recipients=of(host, "zoe")).accepted
        ready.wait("the login of zoe", lambda h=host: zoe_sends(lab, h, f"{token}-3"))  # type: ignore[misc]
        with Imap(lab, host, "zoe", "zoe's words") as client:
            ready.wait("the mail of zoe", lambda c=client: bool(c.find("INBOX", f"{token}-2")))  # type: ignore[misc]
    converge(lab)
    for host in HOSTS:
        assert not arrive(lab, host, f"{token}-4", recipients=of(host, "zoe")).accepted
        assert not zoe_sends(lab, host, f"{token}-5")


@pytest.mark.parametrize("host", HOSTS)
def test_a_name_with_a_bar_stops_nobody(lab: Lab, host: str, token: str) -> None:
    before = pids(lab, host)
    assert not send(lab, host, token, login=("a|b", "x"), timeout=10).accepted
    assert send(lab, host, token).accepted
    assert lab.wait_for_message(token).verdicts["dkim"] == "pass"
    assert pids(lab, host) == before


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("unit", ["opensmtpd", "rspamd", "redis-server", "unbound", "dovecot"])
def test_what_is_killed_comes_back_and_no_mail_is_lost(lab: Lab, host: str, unit: str, token: str) -> None:
    lab.run(host, f"kill -9 $(systemctl show -p MainPID --value {unit})")
    if unit == "dovecot":  # whose unit is the other role's
        assert arrive(lab, host, token).accepted
        lab.run(host, ["systemctl", "start", unit])
    ready.wait(f"mail after the end of {unit}", lambda: arrive(lab, host, token, timeout=10).accepted)
    wait_for(lab, host, token)


@pytest.mark.parametrize("host", HOSTS)
def test_a_filter_that_is_away_is_no_open_door(lab: Lab, host: str, token: str) -> None:
    lab.run(host, "systemctl stop rspamd")
    try:
        assert arrive(lab, host, token, patient=False).refusal[1] in (421, 451)  # type: ignore[index]
    finally:
        lab.run(host, "systemctl start rspamd")
    ready.wait("rspamd", lambda: arrive(lab, host, token).accepted)


@pytest.mark.parametrize("host", HOSTS)
def test_the_seed_with_its_errors_mended(lab: Lab, host: str) -> None:
    mended = SEED.read_text(encoding="utf-8")
    for text, taken in (
        (mended, True),
        (mended.replace("listen on lo port 465 smtps", "listen on lo port 465 smtp"), False),
    ):
        said = lab.run(host, "cat >/run/seed.conf; smtpd -n -f /run/seed.conf 2>&1", input=text, check=False)
        assert (said.returncode == 0) == taken, said.stdout
    assert "syntax error" in said.stdout


def test_whoever_sends_too_much_is_put_off(lab: Lab, token: str) -> None:
    limits = "/etc/rspamd/local.d/ratelimit.conf"
    try:
        for host in HOSTS:
            lab.run(host, f"redis-cli flushall; sed -i 's/burst = .*/burst = 3;/' {limits}; systemctl reload rspamd")
            ready.wait("the limit", lambda at=host: (send(lab, at, token, user="bob").refusal or ("", 0))[1] == 451)  # type: ignore[misc]
            assert send(lab, host, token).accepted
    finally:
        for host in HOSTS:
            lab.run(host, "redis-cli flushall")
        converge(lab)


STRAY = {"domain": "m12.post.example", "selector": "x", "path": "/root/x.key"}
LOST = {**STRAY, "path": "/etc/dkimkeys/x.key"}
BROKEN: list[tuple[str, dict[str, Any], str]] = [
    ("hostname", {"mail_server_hostname": "mail"}, "mail_server_hostname: mail is no full host name"),
    ("checks", {"mail_server_checks": {"rdns": "reject"}}, "mail_server_checks: rdns cannot be reject"),
    ("scores", {"mail_server_scores": {"reject": 5, "add_header": 6}}, "mail_server_scores: greylist must be below"),
    ("score", {"mail_server_scores": {"refuse": 5}}, "mail_server_scores: refuse is not one of"),
    ("password", {"mail_server_smarthost": "smtp.provider.test", "mail_server_smarthost_username": "x"},
     "mail_server_smarthost_username and smarthost_password go together"),
    ("stray key", {"mail_server_dkim_keys": [STRAY]},
     "mail_server_dkim_keys: /root/x.key does not lie in mail_server_dkim_directory"),
    ("lost key", {"mail_server_dkim_keys": [LOST]},
     "/etc/dkimkeys/x.key cannot be read by rspamd"),
    ("accounts", {"mail_server_accounts": {"domains": []}}, "mail_server_accounts: domains: name at least one"),
    ("nowhere", {"mail_server_listen": ["nowhere0"]}, "OpenSMTPD does not accept its configuration"),
]  # fmt: skip


def test_broken_values_are_named_and_leave_what_runs(lab: Lab, token: str) -> None:
    before = {host: sums(lab, host) for host in HOSTS}
    cases = [{"what": what, "given": given} for what, given, dummy in BROKEN]
    plays.play(lab, CONVERGE.parent / "broken.yml", inventories=(), extra={"broken_cases": cases})
    for host in HOSTS:
        said = json.loads(lab.run(host, ["cat", "/run/broken.json"]).stdout)
        for what, dummy, expected in BROKEN:
            assert expected in said[what], (what, said[what])
        assert sums(lab, host) == before[host]
        assert arrive(lab, host, f"{token}-{DOMAINS[host]}").accepted
    assert converge(lab).code == 0


def test_the_rotation_can_turn_the_keys(lab: Lab, token: str) -> None:
    signer = CONVERGE.parent / "signer.yml"
    for number, selectors in enumerate((["test-rsa"], ["test-rsa", "test-ed"])):
        plays.play(lab, signer, inventories=(), extra={"signer_selectors": selectors})
        for host in HOSTS:
            assert send(lab, host, f"{token}-{host}-{number}").accepted
            found = lab.wait_for_message(f"{token}-{host}-{number}")
            assert len(found.parsed.get_all("DKIM-Signature") or []) == len(selectors)
            assert found.verdicts["dkim"] == "pass"
    assert converge(lab).changed == {}


def test_the_configuration_before_can_be_brought_back(lab: Lab, token: str) -> None:
    """A limit that turned out badly. A password that a user chose meanwhile is no configuration, and stays."""
    host, chosen = HOSTS[1], "bob chose this"
    lines = f"user {of(host, 'bob')}\npass {PASSWORDS['bob']}\nnewpass {chosen}\nquit\n"

    def taken() -> bool:
        return send(lab, host, token, message=letter(token, of(host, "ann"), size=68_000)).accepted

    assert not taken()
    converge(lab, limit=host, extra={"mail_server_message_size_limit": 100_000})
    assert taken()
    said = lab.run(host, "exec 3<>/dev/tcp/127.0.0.1/106; cat >&3; cat <&3", input=lines).stdout
    assert "200 The password is changed." in said
    try:
        plays.play(lab, RESTORE, inventories=(), limit=host, extra={"snapshot": "mail_server"})
        assert not taken()
        with Imap(lab, host, "bob", chosen):
            pass
    finally:
        converge(lab, limit=host, extra={"mailboxes_reset_passwords": [of(host, "bob")]})
    assert converge(lab, limit=host).changed == {}
