# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Relays on both releases, with both signers: what leaves is signed, and nobody else gets anything through."""

from __future__ import annotations

import hashlib
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from lab import plays, ready
from lab.probe import Lab
from relays import (
    CLIENTS,
    CONVERGE,
    RESTORE,
    SIGNERS,
    VICTIM,
    assert_signed,
    converge,
    letter,
    post,
    postconf,
    signatures,
    stopped,
    wait_for_signer,
)

LMTP_SINK = (Path(__file__).parent / "lmtp_sink.py").read_text(encoding="utf-8")


# -- mail that may pass -------------------------------------------------------------------------
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("relay", SIGNERS)
def test_mail_of_the_estate_arrives_signed(lab: Lab, token: str, relay: str, version: int) -> None:
    assert post(lab, relay, token, version=version).accepted
    message = lab.wait_for_message(token)
    assert_signed(message, SIGNERS[relay])
    assert lab.dkim_verifies(message)
    assert message.client["name"] == ("relay1.corp.example" if relay == "relay1" else "smtp.provider.test")
    assert message.tls == "TLSv1.3"


@pytest.mark.parametrize("relay", SIGNERS)
def test_mail_of_the_relay_itself(lab: Lab, token: str, relay: str) -> None:
    text = f"Subject: {token}\nTo: ops@outside.test\n\nHello\n"
    lab.run(relay, ["sendmail", "ops@outside.test"], input=text)
    message = lab.wait_for_message(token)
    assert_signed(message, SIGNERS[relay])
    assert (message.sender, message.parsed["From"].addresses[0].addr_spec) == ("root@corp.example",) * 2


@pytest.mark.parametrize("relay", SIGNERS)
def test_mail_to_root_and_aliases(lab: Lab, token: str, relay: str) -> None:
    lab.run(relay, ["sendmail", "hostmaster"], input=f"To: hostmaster\nSubject: {token}\n\nHello\n")
    messages = lab.wait_for_messages(token, 2)
    assert sorted(message.recipient for message in messages) == ["ops@outside.test", "second@outside.test"]
    for message in messages:
        assert_signed(message, SIGNERS[relay])


@pytest.mark.parametrize("relay", SIGNERS)
def test_foreign_sender_is_passed_on_unsigned(lab: Lab, token: str, relay: str) -> None:
    sender = "someone@unrelated.test"
    assert post(lab, relay, token, sender=sender, message=letter(token, sender=sender)).accepted
    assert signatures(lab.wait_for_message(token)) == []


def test_lmtp_destination(lab: Lab, token: str) -> None:
    lab.run("relay1", ["systemd-run", "--quiet", "--collect", "--unit=lmtp-sink", "python3", "-c", LMTP_SINK])
    try:
        assert post(lab, "relay1", token, recipients="members@lists.corp.example").accepted
        kept = partial(lab.run, "relay1", f"grep -q {token} /run/lmtp-sink", check=False)
        ready.wait("the message at the LMTP server", lambda: kept().returncode == 0)
        received = lab.run("relay1", ["cat", "/run/lmtp-sink"]).stdout
        assert "RCPT TO:<members@lists.corp.example>" in received
        assert f"Subject: {token}" in received and "DKIM-Signature:" in received
    finally:
        lab.run("relay1", ["systemctl", "stop", "lmtp-sink"])


# -- mail that may not --------------------------------------------------------------------------
FORMS = [
    VICTIM,
    "victim%outside.test@{relay}",
    "@{relay}:victim@outside.test",
    '"victim@outside.test"@{relay}',
    '"victim%outside.test"@{relay}',
    "outside.test!victim@{relay}",
    "outside.test!victim",
    "victim@outside.test@{relay}",
    "victim%outside.test@[{address}]",
    "root@{relay}",
]
# What Postfix understands as mail to somebody it may send to. The rest are local names that do not exist.
UNDERSTOOD = {VICTIM, *(form for form in FORMS if "victim@outside.test" in form), "root@{relay}"}
SENDERS = ["spammer@stranger.test", "", "joe@corp.example", "root@{relay}", "joe@[{address}]"]


@pytest.mark.parametrize("relay", SIGNERS)
@pytest.mark.parametrize("form", FORMS)
def test_nobody_else_relays(lab: Lab, relay: str, form: str) -> None:
    recipient = form.format(relay=lab.fqdn(relay), address=lab.address(relay))
    stranger = post(lab, relay, "", client="stranger", recipients=recipient, message=None)
    assert stranger.refusal is not None and stranger.refusal[0] == "RCPT" and stranger.refusal[1] >= 500, stranger
    ours = post(lab, relay, "", recipients=recipient, message=None)
    assert (ours.refusal is None) == (form in UNDERSTOOD), ours


@pytest.mark.parametrize("relay", SIGNERS)
@pytest.mark.parametrize("sender", SENDERS)
def test_nobody_else_relays_under_any_name(lab: Lab, relay: str, sender: str) -> None:
    known = {"sender": sender.format(relay=lab.fqdn(relay), address=lab.address(relay)), "message": None}
    helo = lab.fqdn(CLIENTS[relay])
    assert post(lab, relay, "", client="stranger", helo=helo, **known).refusal is not None
    assert post(lab, relay, "", client="stranger", helo=helo, version=6, **known).refusal is not None
    assert post(lab, relay, "", helo=helo, **known).refusal is None


ENDINGS = {
    "lf-dot-lf": b"\n.\n",
    "lf-dot-crlf": b"\n.\r\n",
    "crlf-dot-lf": b"\r\n.\n",
    "cr-dot-cr": b"\r.\r",
    "crlf-dot-cr": b"\r\n.\r",
    "lf-dot-cr-lf": b"\n.\r\r\n",
    "nul": b"\r\n.\x00\r\n",
}


@pytest.mark.parametrize("relay", SIGNERS)
@pytest.mark.parametrize("ending", [*ENDINGS, "proper"])
def test_end_of_data_is_one_thing_only(lab: Lab, token: str, relay: str, ending: str) -> None:
    outer, inner = f"outer-{token}", f"inner-{token}"
    data = (
        letter(outer).replace("\n", "\r\n").encode()
        + b"before"
        + ENDINGS.get(ending, b"\r\n.\r\n")
        + b"MAIL FROM:<ceo@corp.example>\r\nRCPT TO:<victim@outside.test>\r\nDATA\r\n"
        + letter(inner, sender="ceo@corp.example").replace("\n", "\r\n").encode()
        + b"\r\n.\r\n"
    )
    post(lab, relay, token, message=data, raw=True, starttls=False)
    first = lab.wait_for_message(token)
    assert str(first.parsed["Subject"]) == outer
    # What follows is one more message's worth of commands, sent without waiting: of the message, or refused.
    assert (inner in first.raw.decode(errors="replace")) == (ending != "proper")
    assert len(lab.messages(token)) == 1


@pytest.mark.parametrize("relay", SIGNERS)
def test_what_a_stranger_sees(lab: Lab, relay: str) -> None:
    hello = post(lab, relay, "", client="stranger", message=None, starttls=False).steps[1]
    assert hello[1] == 250 and "AUTH" not in hello[2] and "VRFY" not in hello[2] and "STARTTLS" in hello[2]
    tls = post(lab, relay, "", message=None, starttls=True)
    assert tls.refusal is None
    client = f"openssl s_client -starttls smtp -connect {lab.address(relay)}:25 -cipher ALL@SECLEVEL=0 </dev/null"
    new, old = (lab.run("stranger", f"{client} -{version}", check=False) for version in ("tls1_2", "tls1_1"))
    assert new.returncode == 0 and "Protocol  : TLSv1.2" in new.stdout, new.stderr
    # It is the relay that says no, not the client.
    assert old.returncode != 0 and "tlsv1 alert protocol version" in old.stderr, old.stderr


# -- no mail leaves unsigned --------------------------------------------------------------------
@pytest.mark.parametrize("relay", SIGNERS)
def test_without_its_signer_a_relay_takes_nothing(lab: Lab, token: str, relay: str) -> None:
    with stopped(lab, relay, SIGNERS[relay]):
        refusal = post(lab, relay, token, starttls=False).refusal
        assert refusal is not None and 400 <= refusal[1] < 500
    assert post(lab, relay, token).accepted
    assert_signed(lab.wait_for_message(token), SIGNERS[relay])


@pytest.mark.parametrize("relay", SIGNERS)
def test_without_its_key_a_relay_takes_nothing(lab: Lab, token: str, relay: str) -> None:
    key = f"/etc/dkimkeys/corp.example.{relay}-rsa.key"
    lab.run(relay, f"mv {key} {key}.away && systemctl restart {SIGNERS[relay]}")
    try:
        wait_for_signer(lab, relay)
        refusal = post(lab, relay, token).refusal
        assert refusal is not None and 400 <= refusal[1] < 500
    finally:
        lab.run(relay, f"mv {key}.away {key} && systemctl restart {SIGNERS[relay]}")
    wait_for_signer(lab, relay)
    assert post(lab, relay, token).accepted
    assert_signed(lab.wait_for_message(token), SIGNERS[relay])


# -- runs of the role ---------------------------------------------------------------------------
BROKEN = {
    "the whole internet": ("relay1", {"relay_networks": ["0.0.0.0/0"]}, "0.0.0.0/0 would let a part of the internet"),
    "a network with host bits": ("relay1", {"relay_networks": ["198.19.0.5/24"]}, "did you mean 198.19.0.0/24?"),
    "a misspelt choice": ("relay1", {"relay_inet_protocols": "ipv5"}, "relay_inet_protocols"),
    "a time that is none": ("relay1", {"relay_maximal_queue_lifetime": "5 dogs"}, "maximal_queue_lifetime"),
    "a parameter of the role": (
        "relay1",
        {"relay_postfix_settings": {"smtpd_client_restrictions": "permit"}},
        "smtpd_client_restrictions is set by this role",
    ),
    "a parameter that does not exist": ("relay1", {"relay_postfix_settings": {"smtp_hello": "x"}}, "smtp_hello"),
    "a bad line in a map": ("relay1", {"relay_transports": {"lists.corp.example": "a\nb"}}, "/etc/postfix/transport"),
    "a certificate that is not there": ("relay1", {"relay_tls_cert_file": "/etc/ssl/no.pem"}, "/etc/ssl/no.pem"),
    "a missing key": (
        "relay1",
        {"relay_dkim_keys": [{"domain": "corp.example", "selector": "s", "path": "/etc/dkimkeys/gone.key"}]},
        "/etc/dkimkeys/gone.key cannot be read by rspamd",
    ),
    "a key that is none": (
        "relay2",
        {"relay_dkim_keys": [{"domain": "corp.example", "selector": "s", "path": "/etc/dkimkeys/README.PrivateKeys"}]},
        "/etc/dkimkeys/README.PrivateKeys is no RSA private key",
    ),
    "Ed25519 for OpenDKIM": (
        "relay2",
        {"relay_dkim_keys": [{"domain": "a.test", "selector": "s", "algorithm": "ed25519", "path": "/etc/dkimkeys/x"}]},
        "OpenDKIM cannot sign with Ed25519 (keys of a.test)",
    ),
    "port 25 blocked": (
        "relay1",
        {"relay_probe_host": "edge.corp.example"},
        "edge.corp.example port 25 cannot be reached",
    ),
    "an address without name": (
        "relay1",
        {"relay_public_addresses": ["{nameless}"]},
        "has no PTR record: ask whoever provides this address",
    ),
    "a password without TLS": ("relay2", {"relay_smarthost_tls": "may"}, "in the clear"),
    "a directory of the system": (
        "relay1",
        {"relay_dkim_directory": "/etc/rspamd", "relay_dkim_keys": []},
        "relay_dkim_directory: all in /etc/rspamd would be handed to the signer",
    ),
    "no space": ("relay1", {"relay_min_free_mb": 900000000}, "/var/spool"),
}


def test_broken_values_are_named_and_touch_nothing(lab: Lab, token: str) -> None:
    """After each of them the relay goes on taking mail, and all of it arrives."""
    look = "sha256sum /etc/postfix/* /etc/rspamd/relay.* /etc/opendkim/* /etc/opendkim.conf 2>/dev/null | sort"
    before = {relay: lab.run(relay, look).stdout for relay in SIGNERS}
    cases: dict[str, list[dict[str, Any]]] = {relay: [] for relay in SIGNERS}
    for what, (relay, values, dummy) in BROKEN.items():
        given = json.loads(json.dumps(values).replace("{nameless}", lab.nameless()))
        cases[relay].append({"what": what, "given": given})
    plays.play(
        lab, CONVERGE.with_name("broken.yml"), inventories=(), extra={"broken_cases": cases, "broken_token": token}
    )
    for relay in SIGNERS:
        said = json.loads(lab.run(relay, ["cat", "/run/broken.json"]).stdout)
        for what, (where, dummy, named) in BROKEN.items():
            assert where != relay or named in said[what], what
        assert lab.run(relay, look).stdout == before[relay]
        assert lab.run(relay, ["stat", "-c", "%U %a", "/etc/rspamd"], check=False).stdout in ("root 755\n", "")
    arrived = {str(message.parsed["Subject"]) for message in lab.wait_for_messages(token, len(BROKEN))}
    assert arrived == {f"{token} {what}" for what in BROKEN}


CHANGED = {
    "relay_maximal_queue_lifetime": "0",
    "relay_bounce_queue_lifetime": "0",
    "relay_message_size_limit": 20000,
    "relay_header_size_limit": 51200,
    "relay_recipient_limit": 2000,
    "relay_client_message_rate": 7,
    "relay_sender_domains": ["corp.example"],
    "relay_tls_policies": {"outside.test": "none"},
}


@pytest.mark.from_any_state
def test_changed_values(lab: Lab, token: str) -> None:
    foreseen = converge(lab, limit="relay1", extra=CHANGED, check=True)
    played = converge(lab, limit="relay1", extra=CHANGED)
    assert foreseen.changed == played.changed
    assert "Configure Postfix" in played.changed["relay1"]
    try:
        size = post(lab, "relay1", token, message=letter(token) + 30000 * "x\n").refusal
        assert size is not None and size[1] == 552
        refused = post(lab, "relay1", token, sender="joe@host.corp.example", message=None).refusal
        assert refused is not None and refused[1] == 554
        assert post(lab, "relay1", token, sender="", message=None).refusal is None
        assert post(lab, "relay1", token).accepted
        assert lab.wait_for_message(token).tls == ""
        assert postconf(lab, "relay1", "bounce_queue_lifetime") == "0"
        assert postconf(lab, "relay1", "smtpd_client_message_rate_limit") == "7"
        bounced = f"bounced-{token}"
        lab.run("relay1", ["sendmail", "-f", "ops@outside.test", f"nobody@[{lab.address('edge')}]"],
                input=f"Subject: {bounced}\nFrom: joe@corp.example\n\nHello\n")  # fmt: skip
        notice = lab.wait_for_message(bounced)
        assert notice.sender == "" and str(notice.parsed["From"].addresses[0].addr_spec).endswith("@corp.example")
        assert notice.verdicts["dkim"] == notice.verdicts["dmarc"] == "pass"
    finally:
        converge(lab, limit="relay1")
    assert post(lab, "relay1", f"again-{token}", message=letter(f"again-{token}") + 15000 * "x\n").accepted
    assert lab.wait_for_message(f"again-{token}").tls == "TLSv1.3"


def test_drift_is_mended_and_reported(lab: Lab) -> None:
    lab.run("relay2", "sed -i '/^smtpd_client_restrictions/s/=.*/= permit/' /etc/postfix/main.cf")
    lab.run("relay2", "chmod 0644 /etc/postfix/sasl_passwd; sed -i 's/^Mode.*/Mode sv/' /etc/opendkim.conf")
    lab.run("relay1", ["systemctl", "stop", "postfix"])
    lab.run("relay1", "chown root /etc/dkimkeys/corp.example.relay1-rsa.key")
    played = converge(lab)
    assert played.changed == {
        "relay1": ["The signer alone reads the keys", "Postfix runs"],
        "relay2": [
            "Keep the configuration as it was found",
            "Configure OpenDKIM",
            "Configure Postfix",
            "Bring the signer up to date",
            "Bring Postfix up to date",
            "Keep the configuration that works",
        ],
    }
    assert postconf(lab, "relay2", "smtpd_client_restrictions") == "permit_mynetworks, reject"
    assert lab.run("relay2", ["stat", "-c", "%a", "/etc/postfix/sasl_passwd"]).stdout.strip() == "600"
    key = lab.run("relay1", ["stat", "-c", "%a %U", "/etc/dkimkeys/corp.example.relay1-rsa.key"]).stdout
    assert key == "600 _rspamd\n"
    assert post(lab, "relay1", "", message=None).refusal is None


def test_keys_are_the_signers_alone(lab: Lab) -> None:
    for relay, user in (("relay1", "_rspamd"), ("relay2", "opendkim")):
        listing = lab.run(relay, "stat -c '%a %U %G' /etc/dkimkeys /etc/dkimkeys/*.key").stdout.splitlines()
        assert set(listing) == {f"700 {user} {user}", f"600 {user} {user}"}


def test_check_mode_on_bare_hosts(lab: Lab) -> None:
    played = converge(lab, check=True, extra={"relay_hosts": ",".join(CLIENTS.values())})
    for host in CLIENTS.values():
        assert "Configure Postfix" in played.changed[host]
        assert lab.run(host, "ls /etc/postfix /etc/rspamd /etc/opendkim* 2>/dev/null", check=False).stdout == ""


def test_a_taken_port_is_named(lab: Lab) -> None:
    """The twin of the test before: the same host, with a program of somebody else's on port 25."""
    host = CLIENTS["relay1"]
    lab.run(host, ["systemd-run", "--quiet", "--collect", "--unit=taken", "python3", "-m", "http.server", "25"])
    try:
        ready.wait("a listener", lambda: lab.listeners(host))
        failures = converge(lab, check=True, extra={"relay_hosts": host}, must_pass=False).failures
        assert "Port 25 is taken by python3" in failures[host] and "taken.service" in failures[host]
    finally:
        lab.run(host, ["systemctl", "stop", "taken"])


INSTALL_EXIM = "apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install exim4-daemon-light"


def test_a_failed_installation_leaves_the_old_server_running(lab: Lab) -> None:
    """Postfix is not to be had; the test after this one is the twin, on the same host."""
    host = CLIENTS["relay2"]
    lab.run(host, INSTALL_EXIM, timeout=300)
    lab.run(host, "printf 'Package: postfix\\nPin: release *\\nPin-Priority: -1\\n' > /etc/apt/preferences.d/none")
    try:
        extra = {"relay_hosts": host, "relay_replace_mta": True}
        played = converge(lab, extra=extra, must_pass=False)
        assert "The packages cannot be installed: " in played.failures[host] and "postfix" in played.failures[host]
        assert "The mail server to be replaced is at rest" in played.changed[host]
        assert lab.run(host, ["systemctl", "is-active", "exim4"]).stdout == "active\n"
        assert post(lab, host, "", server="127.0.0.1", source="127.0.0.1", client=host, message=None).steps[1][1] == 250
    finally:
        lab.run(host, "rm /etc/apt/preferences.d/none")


def test_stopped_half_way_nothing_listens(lab: Lab) -> None:
    """A run that ends before Postfix is configured, on a bare host and one with Exim: no reboot brings up a relay."""
    key = {"domain": "corp.example", "selector": "s", "path": "/etc/dkimkeys/gone.key"}
    bare, with_exim = CLIENTS.values()
    lab.run(with_exim, INSTALL_EXIM, timeout=300)
    extra = {"relay_hosts": f"{bare},{with_exim}", "relay_dkim_keys": [key]}
    failures = converge(lab, extra=extra, must_pass=False).failures
    assert "Another mail transport agent is installed (exim4-daemon-light)" in failures[with_exim]
    assert "exim4" in lab.run(with_exim, "ss -Hlntp sport = :25").stdout
    failures |= converge(lab, limit=with_exim, extra={**extra, "relay_replace_mta": True}, must_pass=False).failures
    for host in (bare, with_exim):
        assert "/etc/dkimkeys/gone.key cannot be read" in failures[host]
        assert lab.listeners(host) == set()
        lab.run(host, ["systemctl", "start", "postfix"])
        listeners = lab.listeners(host)
        assert listeners and listeners <= {"127.0.0.1:25", "[::1]:25"}
        assert (
            post(lab, host, "", client="stranger", message=None).refusal
            == post(lab, host, "", client="relay1", message=None).refusal
        )
    assert post(lab, "relay1", "", client="stranger", message=None).steps[0][:2] == ("connect", 220)


@pytest.mark.from_any_state
def test_smarthost_must_show_its_certificate(lab: Lab, token: str) -> None:
    converge(lab, limit="relay2", extra={"relay_tls_ca_file": "/etc/ssl/certs/ssl-cert-snakeoil.pem"})
    assert post(lab, "relay2", token).accepted
    queue = partial(lab.run, "relay2", ["postqueue", "-p"])
    ready.wait("a message that waits", lambda: "Server certificate not" in queue().stdout)
    assert lab.messages(token) == []
    converge(lab, limit="relay2")
    lab.run("relay2", ["postqueue", "-f"])
    assert_signed(lab.wait_for_message(token), "opendkim")


def log_lines(lab: Lab, relay: str, word: str, *, since: float = 0) -> list[str]:
    """What Postfix has said on a relay, the lines with a word in them."""
    log = lab.journal(relay, "postfix*", since=f"@{int(since)}")
    return [line for line in log.splitlines() if word in line]


@pytest.mark.from_any_state
def test_smarthost_that_knows_a_relay_by_its_address(lab: Lab, token: str) -> None:
    """Without a password on both relays: the provider's list has relay1, and not relay2."""
    converge(lab, extra={"relay_through": {"host": lab.known["provider"]["host"]}})
    for relay in SIGNERS:
        assert post(lab, relay, token, recipients=f"{relay}-{token}@outside.test").accepted
    message = lab.wait_for_message(token)
    assert (message.recipient, message.client["name"]) == (f"relay1-{token}@outside.test", "smtp.provider.test")
    assert_signed(message, "rspamd")
    told = partial(log_lines, lab, "relay2", f"to=<relay2-{token}@outside.test>")
    ready.wait("the provider's refusal", lambda: any(" said: 554 5.7.1 " in line for line in told()))
    assert len(lab.messages(token)) == 1


def tlsa(lab: Lab, host: str) -> str:
    """The record for the key of a host's certificate, whoever issued it (RFC 7671, 5.1)."""
    certificate = lab.run(host, ["cat", "/etc/ssl/certs/lab-host.pem"]).stdout
    key = x509.load_pem_x509_certificate(certificate.encode()).public_key()
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return f"3 1 1 {hashlib.sha256(spki).hexdigest()}"


def left_verified(lab: Lab, relay: str, since: float) -> bool:
    """Whether a relay has sent to a server that it could verify; it is told to try now."""
    lab.run(relay, ["postqueue", "-f"])
    return bool(log_lines(lab, relay, "Verified TLS connection established to mx.outside.test[", since=since))


@pytest.mark.from_any_state
def test_dane(lab: Lab, token: str) -> None:
    """Both relays send directly: not while the receiver's TLSA record is of another key, but once it is right."""
    name, since = "_25._tcp.mx.outside.test.", time.time()
    lab.update(name, "TLSA", [tlsa(lab, "stranger")])
    try:
        converge(lab, extra={"relay_outbound_tls": "dane", "relay_tls_policies": {}, "relay_through": {}})
        for relay in SIGNERS:
            assert post(lab, relay, token).accepted
            deferred = partial(log_lines, lab, relay, "status=deferred (Server certificate not verified)", since=since)
            ready.wait(f"a deferred message on {relay}", deferred)
            assert log_lines(lab, relay, "no matching DANE TLSA records", since=since)
            assert "Server certificate not verified" in lab.run(relay, ["postqueue", "-p"]).stdout
        assert lab.messages(token) == []
        lab.update(name, "TLSA", [tlsa(lab, "outside")])
        for relay in SIGNERS:
            ready.wait(f"mail from {relay}", partial(left_verified, lab, relay, since))
        assert [message.tls for message in lab.wait_for_messages(token, 2)] == ["TLSv1.3", "TLSv1.3"]
    finally:
        lab.update(name, "TLSA", [])


SWAPPED = {"relay1": "opendkim", "relay2": "rspamd"}


def signers(lab: Lab, host: str) -> dict[str, str]:
    """Whether each of the two runs, and starts at boot."""
    asked = "for what in is-active is-enabled; do systemctl $what {} 2>/dev/null || true; done"
    return {
        name: lab.run(host, asked.format(name)).stdout.replace("\n", " ").strip() for name in ("rspamd", "opendkim")
    }


def test_signers_swapped(lab: Lab, token: str) -> None:
    assert not signers(lab, "relay2")["rspamd"].startswith("active")
    converge(lab, extra={"relay_signers": SWAPPED})
    for relay, signer in SWAPPED.items():
        assert signers(lab, relay) == {signer: "active enabled", SIGNERS[relay]: "inactive disabled"}
        assert post(lab, relay, f"{relay}-{token}", message=letter(f"{relay}-{token}")).accepted
        assert_signed(lab.wait_for_message(f"{relay}-{token}"), signer)
    assert converge(lab, extra={"relay_signers": SWAPPED}).changed == {}


@pytest.mark.from_any_state
def test_a_restore_across_a_change_of_signer(lab: Lab, token: str) -> None:
    """Its keys, its unit and its start at boot go with it. The relays are as the test before left them."""
    for signer, other, word in (("opendkim", "rspamd", "back"), ("rspamd", "opendkim", "forth")):
        # The same command again undoes it, with everything that belongs to it.
        plays.play(lab, RESTORE, inventories=(), limit="relay2")
        assert signers(lab, "relay2") == {signer: "active enabled", other: "inactive disabled"}
        assert lab.run("relay2", f"systemctl show --property=NeedDaemonReload --value {signer}").stdout == "no\n"
        owner = {"opendkim": "opendkim", "rspamd": "_rspamd"}[signer]
        assert lab.run("relay2", "stat -c %U /etc/dkimkeys").stdout == f"{owner}\n"
        assert post(lab, "relay2", f"{word}-{token}", message=letter(f"{word}-{token}")).accepted
        assert_signed(lab.wait_for_message(f"{word}-{token}"), signer)
    converge(lab)
    for relay, signer in SIGNERS.items():
        back = f"back-{relay}-{token}"
        assert post(lab, relay, back, message=letter(back)).accepted
        assert_signed(lab.wait_for_message(back), signer)


def test_an_rspamd_that_filters_is_left_alone(lab: Lab) -> None:
    """One that the role did not set up, beside OpenDKIM. The twin is the test before, where the role stops its own."""
    drop_in, asked = "/etc/systemd/system/rspamd.service.d/relay.conf", ["systemctl", "is-active", "rspamd"]
    lab.run("relay2", f"mv {drop_in} /run && systemctl daemon-reload && systemctl enable --now rspamd")
    try:
        assert converge(lab, limit="relay2").changed == {"relay2": ["Keep the configuration as it was found"]}
        plays.play(lab, RESTORE, inventories=(), limit="relay2")
        assert lab.run("relay2", asked).stdout == "active\n"
        assert lab.run("relay2", ["systemctl", "is-active", "opendkim"]).stdout == "active\n"
    finally:
        lab.run("relay2", f"systemctl disable --now rspamd; mv /run/relay.conf {drop_in}; systemctl daemon-reload")
        converge(lab, limit="relay2")


def test_the_journals_hold_no_complaint(lab: Lab) -> None:
    for relay in SIGNERS:
        lines = lab.journal(relay).splitlines()
        found = [line for line in lines if "warning:" in line or "fatal:" in line or "panic:" in line]
        expected = ("ilter", "can't load key", "TLS library problem", "error loading key")
        # What the test of the size limit leaves behind.
        expected += ("queue file size limit exceeded", "mail_stream_cleanup: close error")
        assert [line for line in found if not any(word in line for word in expected)] == []
