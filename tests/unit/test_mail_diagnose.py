# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The diagnosis of a satellite: each fault at its step, what it explains not tried, and nothing secret told."""

from __future__ import annotations

import io
import json
import os
import socket
import ssl
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import basic
from ansible_collections.postmaster.mail.plugins.module_utils import _diagnose as dg
from ansible_collections.postmaster.mail.plugins.module_utils import _diagnose_client as client
from ansible_collections.postmaster.mail.plugins.module_utils import _diagnose_run as run
from ansible_collections.postmaster.mail.plugins.module_utils import _mail_log as ml
from ansible_collections.postmaster.mail.plugins.module_utils._command import CommandError, Result, Runner
from ansible_collections.postmaster.mail.plugins.modules import mail_diagnose
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
HOP = dg.Hop("relay1.example.org", 25, "encrypt")
MTA = dg.Mta("postfix", "3.10.5", ("postfix",), True, HOP, "[relay1.example.org]:25")
ALIASES = "postmaster: root\nroot: sysadmin@example.org\n"
SOUND = dg.Dialogue(
    banner="relay1.example.org ESMTP",
    extensions=("PIPELINING", "STARTTLS"),
    tls="TLSv1.3",
    expires=NOON + timedelta(days=60),
    mail=dg.Reply(250, "2.1.0 Ok"),
    rcpt=dg.Reply(250, "2.1.5 Ok"),
)
SENT = (
    "18F891AA7F9: to=<ops@example.net>, relay=relay1.example.org[192.0.2.25]:25, dsn=2.0.0,"
    " status=sent (250 2.0.0 Ok: queued as 4D3281A0412)"
)
BOUNCED = SENT.replace("18F891AA7F9", "28F891AA7F9").replace(
    "status=sent (250 2.0.0 Ok", "status=bounced (554 5.7.1 no"
)


@dataclass
class FakeHost:
    """A host that answers as a test says; a step that must not be tried has no answer."""

    program: dg.Mta = MTA
    mail_name: str | None = "example.org"
    alias_file: dg.Aliases | dg.Unseen = field(default_factory=lambda: dg.Aliases("/etc/aliases", ALIASES))
    resolved: tuple[list[str], str] = (["192.0.2.25"], "")
    pong: run.Ping = field(default_factory=lambda: run.Ping("0.4 ms"))
    port: dg.Connection = field(default_factory=lambda: dg.Connection("192.0.2.25", own="192.0.2.31"))
    dialogue: dg.Dialogue = SOUND
    waits: list[ml.Queued] | dg.Unseen = field(default_factory=list)
    logged: list[ml.Line] | dg.Unseen = field(default_factory=lambda: [ml.Line(NOON, "postfix/smtp", SENT)])
    envelope: tuple[str, str] | None = None
    notes: list[str] = field(default_factory=list)
    secrets: set[str] = field(default_factory=lambda: {"xyzzy1"})

    def now(self) -> datetime:
        return NOON

    def name(self) -> str:
        return "web1.example.org"

    def mta(self) -> dg.Mta:
        return self.program

    def mailname(self) -> str | None:
        return self.mail_name

    def aliases(self) -> dg.Aliases:
        if isinstance(self.alias_file, dg.Unseen):
            raise self.alias_file
        return self.alias_file

    def addresses(self, host: str) -> tuple[list[str], str]:
        return self.resolved

    def ping(self, address: str) -> run.Ping:
        assert self.resolved[0]
        return self.pong

    def connect(self, address: str, port: int) -> dg.Connection:
        assert self.resolved[0]
        return self.port

    def talk(self, hop: dg.Hop, address: str, sender: str, recipient: str) -> dg.Dialogue:
        assert not self.port.error
        self.envelope = (sender, recipient)
        return self.dialogue

    def queue(self) -> list[ml.Queued]:
        if isinstance(self.waits, dg.Unseen):
            raise self.waits
        return self.waits

    def log(self, hours: int) -> list[ml.Line]:
        if isinstance(self.logged, dg.Unseen):
            raise self.logged
        return self.logged

    def hidden(self, text: str) -> str:
        return ml.redact(text, ["xyzzy1"])


REQUEST = dg.Request(gateway="relay1.example.org", port=25, mailname="example.org", root_address="sysadmin@example.org")


def examine(host: FakeHost, request: dg.Request = REQUEST) -> dg.Report:
    return run.examine(request, host)


def wrong(report: dg.Report) -> dict[str, str]:
    """Every verdict that is not ok, but for the gateway's log, which was not given."""
    return {one.id: one.verdict for one in report.steps if one.verdict != "ok" and one.id != "gateway"}


def test_a_sound_host() -> None:
    host = FakeHost()
    report = examine(host)
    assert wrong(report) == {}
    assert [one.id for one in report.steps] == list(dg.STEPS)
    assert host.envelope == ("root@example.org", "sysadmin@example.org")
    assert report.as_dict()["client"] == ["192.0.2.31"]
    assert report.conclusion == (
        "Nothing wrong was found on web1.example.org, whose mail leaves through relay1.example.org port 25."
    )


def aliases(text: str, stale: str = "") -> dg.Aliases:
    return dg.Aliases("/etc/aliases", text, stale)


REFUSED = dg.Reply(554, "5.7.1 <sysadmin@example.org>: Relay access denied")
WAITS = ml.Queued("4bXkQz1nTzz2x", "a@example.org", NOON - timedelta(hours=3), ("connect to x: Connection refused",))
AFTER_RESOLVE = dict.fromkeys(("ping", "port", "smtp", "tls", "recipient"), "skipped")
AFTER_PORT = dict.fromkeys(("smtp", "tls", "recipient"), "skipped")
FAULTS: dict[str, tuple[dict[str, Any], dict[str, str], str]] = {
    "not running": ({"program": replace(MTA, running=False)}, {"mta": "fail"}, "postfix 3.10.5 does not run"),
    "another relayhost": (
        {"program": replace(MTA, hop=dg.Hop("old.example.org", 25))}, {"relayhost": "fail"},
        "mail goes to old.example.org port 25, not to relay1.example.org port 25",
    ),
    "another port": (
        {"program": replace(MTA, hop=replace(HOP, port=587))}, {"relayhost": "fail"},
        "mail goes to relay1.example.org port 587, not to relay1.example.org port 25",
    ),
    "no relayhost": (
        {"program": replace(MTA, hop=None)}, {"relayhost": "fail"},
        "no gateway is set: mail goes straight to its receivers, who may not believe this host",
    ),
    "no mail leaves": (
        {"program": replace(MTA, hop=None, trouble="no mail leaves: default_transport is error")},
        {"relayhost": "fail"}, "no mail leaves: default_transport is error",
    ),
    "configuration not readable": (
        {"program": replace(MTA, hop=None, trouble="the configuration cannot be read: x", readable=False)},
        {"relayhost": "unknown"}, "the configuration cannot be read: x",
    ),
    "wrong mailname": ({"mail_name": "web1"}, {"mailname": "fail"}, "/etc/mailname says web1, not example.org"),
    "no mailname": ({"mail_name": None}, {"mailname": "fail"}, "/etc/mailname is not there"),
    "empty mailname": ({"mail_name": ""}, {"mailname": "fail"}, "/etc/mailname is empty"),
    "no alias of root": (
        {"alias_file": aliases("postmaster: root\n")}, {"aliases": "fail", "recipient": "skipped"},
        "/etc/aliases does not say where mail to root goes",
    ),
    "another alias of root": (
        {"alias_file": aliases("root: alex@example.org\n")}, {"aliases": "fail"},
        "mail to root goes to alex@example.org, not to sysadmin@example.org",
    ),
    "old alias database": (
        {"alias_file": aliases(ALIASES, "/etc/aliases.db is older than /etc/aliases")}, {"aliases": "fail"},
        "/etc/aliases.db is older than /etc/aliases, so its line for root does not count",
    ),
    "aliases not readable": (
        {"alias_file": dg.Unseen("/etc/aliases cannot be read")}, {"aliases": "unknown", "recipient": "skipped"},
        "/etc/aliases cannot be read",
    ),
    "name not known": (
        {"resolved": ([], "name: Name or service not known")}, {"resolve": "fail", **AFTER_RESOLVE},
        "relay1.example.org has no address: name: Name or service not known",
    ),
    "port shut": (
        {"port": dg.Connection("192.0.2.25", error="connection refused")}, {"port": "fail", **AFTER_PORT},
        "no connection to relay1.example.org port 25 (192.0.2.25: connection refused)",
    ),
    "host away": (
        {"port": dg.Connection("192.0.2.25", error="no answer"), "pong": run.Ping(error="no answer to ping")},
        {"ping": "warn", "port": "fail", **AFTER_PORT},
        "no connection to relay1.example.org port 25 (192.0.2.25: no answer)",
    ),
    "no ping": (
        {"pong": run.Ping(error="there is no program ping, so it was not tried", absent=True)}, {"ping": "skipped"},
        "there is no program ping, so it was not tried",
    ),
    "no greeting": (
        {"dialogue": dg.Dialogue(error="greets with 554 5.7.1 not you")},
        {"smtp": "fail", "tls": "skipped", "recipient": "skipped"},
        "relay1.example.org port 25 greets with 554 5.7.1 not you",
    ),
    "no STARTTLS": (
        {"dialogue": replace(SOUND, extensions=("PIPELINING",), tls="")}, {"tls": "fail", "recipient": "skipped"},
        "it does not offer STARTTLS, on which this host insists",
    ),
    "no STARTTLS, not insisted on": (
        {"dialogue": replace(SOUND, extensions=("PIPELINING",), tls=""), "program": replace(MTA, hop=replace(HOP, tls="may"))},
        {"tls": "warn"}, "it does not offer STARTTLS",
    ),
    "STARTTLS fails": (
        {"dialogue": replace(SOUND, tls="", tls_error="speaks no TLS that this host knows (X)")},
        {"tls": "fail", "recipient": "skipped"}, "STARTTLS fails: speaks no TLS that this host knows (X)",
    ),
    "certificate, verified": (
        {"dialogue": replace(SOUND, trouble="self-signed certificate"), "program": replace(MTA, hop=replace(HOP, tls="verify"))},
        {"tls": "fail", "recipient": "skipped"},
        "TLSv1.3, but the certificate does not hold for relay1.example.org: self-signed certificate; nothing is sent without",
    ),
    "certificate ends": (
        {"dialogue": replace(SOUND, expires=NOON + timedelta(days=3))}, {"tls": "warn"},
        "TLSv1.3, but the certificate ends on 2026-11-23",
    ),
    "relay refused": (
        {"dialogue": replace(SOUND, rcpt=REFUSED)}, {"recipient": "fail"}, f"it answers RCPT with {REFUSED}",
    ),
    "sender refused": (
        {"dialogue": replace(SOUND, mail=dg.Reply(550, "no"), rcpt=dg.Reply())}, {"recipient": "fail"},
        "it answers MAIL with 550 no",
    ),
    "greylisted": (
        {"dialogue": replace(SOUND, rcpt=dg.Reply(450, "later"))}, {"recipient": "warn"},
        "it answers RCPT with 450 later: not now",
    ),
    "login refused": (
        {"dialogue": replace(SOUND, login="535 5.7.8 no", mail=dg.Reply(), rcpt=dg.Reply())}, {"recipient": "fail"},
        "relay1.example.org port 25 does not take the login: 535 5.7.8 no",
    ),
    "password not readable": (
        {"dialogue": replace(SOUND, login="unseen: the password in x cannot be read", mail=dg.Reply(), rcpt=dg.Reply())},
        {"recipient": "unknown"}, "the password in x cannot be read",
    ),
    "ends the session": (
        {"dialogue": replace(SOUND, rcpt=dg.Reply(), error="ends the session before it has answered")},
        {"recipient": "fail"}, "relay1.example.org port 25 ends the session before it has answered",
    ),
    "mail waits for long": (
        {"waits": [WAITS]}, {"queue": "fail"},
        "1 message waits, the oldest for 3 h: 1 x connect to x: Connection refused",
    ),
    "mail waits": (
        {"waits": [replace(WAITS, arrival=NOON - timedelta(minutes=10))] * 2}, {"queue": "warn"},
        "2 messages wait, the oldest for 10 min: 2 x connect to x: Connection refused",
    ),
    "mail is held": (
        {"waits": [replace(WAITS, reasons=(), held=True, arrival=NOON)]}, {"queue": "warn"},
        "1 message waits, the oldest for 0 min, 1 held",
    ),
    "queue not readable": ({"waits": dg.Unseen("exim4 -bp failed")}, {"queue": "unknown"}, "exim4 -bp failed"),
    "mail went back": (
        {"logged": [ml.Line(NOON, "", SENT), ml.Line(NOON + timedelta(seconds=1), "", BOUNCED)]}, {"log": "warn"},
        "1 failed since the last delivery; the last bounced for ops@example.net by relay1.example.org[192.0.2.25]:25"
        " at 2026-11-20 12:00:01 UTC (554 5.7.1 no: queued as 4D3281A0412)",
    ),
    "log not readable": ({"logged": dg.Unseen("the journal cannot be read")}, {"log": "unknown"}, "the journal cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_found_at_its_step_and_nothing_else(name: str) -> None:
    changes, expected, seen = FAULTS[name]
    report = examine(FakeHost(**changes))
    assert wrong(report) == expected
    assert seen in [one.seen for one in report.steps if one.id in expected], report.steps
    # What is wrong has a remedy, and what a failure explains names it.
    assert all(one.remedy for one in report.steps if one.verdict in ("warn", "fail", "unknown")), report.steps
    causes = {one.seen for one in report.steps if one.verdict == "skipped" and one.id not in ("gateway", "ping")}
    if causes:
        grave = next(one.id for one in report.steps if one.verdict in ("fail", "unknown"))
        assert causes <= {f"not tried after {grave}", "there is no program ping, so it was not tried"}
    if "fail" in expected.values():
        assert seen in report.conclusion
    assert not any(line.endswith(" ") for line in report.table())


TWINS = {
    "a bounce before the last delivery": {
        "logged": [ml.Line(NOON, "", BOUNCED), ml.Line(NOON + timedelta(seconds=1), "", SENT)]
    },
    "mail on its way": {"waits": [replace(WAITS, reasons=(), arrival=NOON - timedelta(seconds=20))]},
    "no ping, open port": {"pong": run.Ping(error="no answer to ping")},
    "a certificate that nobody asks for": {"dialogue": replace(SOUND, trouble="self-signed certificate")},
    "nothing was sent yet": {"logged": []},
    "what waits was deferred": {
        "waits": [], "logged": [ml.Line(NOON, "", SENT), ml.Line(NOON, "", BOUNCED.replace("bounced", "deferred"))]
    },
    "other case": {"mail_name": "Example.org", "alias_file": aliases("Root: SysAdmin@example.org\n")},
}  # fmt: skip


@pytest.mark.parametrize("name", TWINS)
def test_what_differs_in_one_point_is_no_fault(name: str) -> None:
    assert wrong(examine(FakeHost(**TWINS[name]))) == {}


HINTED = {
    "554 5.7.1 <a@b>: Relay access denied": "let the gateway take mail from 192.0.2.31",
    "550 relay not permitted": "let the gateway take mail from 192.0.2.31",
    "530 5.7.0 Authentication required": "set satellite_username",
    "450 4.7.1 Client host rejected: cannot find your reverse hostname": "let the gateway take mail from",
    "504 5.5.2 <web1>: Helo command rejected: need fully-qualified hostname": "give 192.0.2.31 a reverse name",
    "550 5.1.1 <a@b>: User unknown": "correct where mail to root goes",
    "connect to r[192.0.2.25]:25: Connection refused": "see the steps resolve and port",
    "no": "ask who runs the gateway",
}


@pytest.mark.parametrize("text", HINTED)
def test_a_refusal_has_its_remedy(text: str) -> None:
    assert dg.hint(text, "192.0.2.31").startswith(HINTED[text])


@pytest.mark.parametrize(
    ("packages", "verdict", "seen"),
    [
        ((), "fail", "no mail program is installed"),
        (("opensmtpd",), "unknown", "opensmtpd is neither Postfix nor Exim"),
    ],
)
def test_a_host_with_neither_program(packages: tuple[str, ...], verdict: str, seen: str) -> None:
    report = examine(FakeHost(program=dg.Mta(packages=packages)))
    assert report.steps[0] == replace(report.steps[0], verdict=verdict, seen=seen)
    assert wrong(report) == {"mta": verdict, "relayhost": "skipped", "queue": "skipped"}


def test_a_clock_that_is_a_moment_behind_makes_no_message_young() -> None:
    queue = [replace(WAITS, arrival=NOON + timedelta(seconds=1))]
    assert wrong(examine(FakeHost(waits=queue), replace(REQUEST, queue_age=0))) == {"queue": "fail"}


def test_without_expectations_what_is_there_will_do() -> None:
    host = FakeHost(mail_name="mail.example.org", alias_file=aliases("root: alex@example.net\n"))
    assert wrong(examine(host, dg.Request())) == {}
    assert host.envelope == ("root@mail.example.org", "alex@example.net")
    assert examine(FakeHost(mail_name="web1"), dg.Request()).as_dict()["verdicts"]["mailname"] == "warn"


def test_what_could_not_be_seen_is_said() -> None:
    report = examine(FakeHost(waits=dg.Unseen("x"), logged=dg.Unseen("y")))
    assert report.conclusion.endswith("port 25; not seen: queue, log.")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"port": 70000}, "port: 70000 is no port: give a number from 1 to 65535"),
        ({"sender": "root"}, "sender: 'root' is no address such as root@example.org"),
        ({"recipient": "a@b\nRCPT"}, "recipient: 'a@b\\nRCPT' is no address such as root@example.org"),
        ({"queue_id": "-x"}, "queue_id: '-x' is no id of a queue: take it from postqueue -p or exim4 -bp"),
        ({"hours": 0}, "log_hours: 0 is too small: give 1 or more"),
        ({"limit": -1}, "log_limit: -1 is too small: give 0 or more"),
        ({"timeout": 0}, "timeout: 0 seconds cannot be waited: give more than 0, up to 3600"),
        ({"timeout": -1.5}, "timeout: -1.5 seconds cannot be waited: give more than 0, up to 3600"),
        ({"timeout": float("nan")}, "timeout: nan seconds cannot be waited: give more than 0, up to 3600"),
        ({"timeout": float("inf")}, "timeout: inf seconds cannot be waited: give more than 0, up to 3600"),
    ],
)
def test_a_request_that_makes_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(dg.DiagnoseError) as caught:
        examine(FakeHost(), replace(REQUEST, **changes))
    assert str(caught.value) == message


# --- one message, and the other side -------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "verdict"),
    [
        ({"queue_id": "18F891AA7F9"}, "ok"),
        ({"queue_id": "28F891AA7F9"}, "fail"),
        ({"queue_id": "38F891AA7F9"}, "unknown"),
        ({"log_recipient": "OPS@example.net"}, "fail"),
        ({"log_recipient": "ops@example.net", "queue_id": "18F891AA7F9"}, "ok"),
        ({"log_recipient": "x@example.net"}, "unknown"),
    ],
)
def test_the_way_of_one_message(asked: dict[str, str], verdict: str) -> None:
    logged = [
        ml.Line(NOON, "", SENT),
        ml.Line(NOON, "", "18F891AA7F9: removed"),
        ml.Line(NOON + timedelta(seconds=1), "", BOUNCED),
    ]
    report = examine(FakeHost(logged=logged), replace(REQUEST, **asked))
    assert report.as_dict()["verdicts"]["log"] == verdict
    if asked == {"queue_id": "18F891AA7F9"}:
        assert report.as_dict()["lines"] == [f"2026-11-20 12:00:00 {text}" for text in (SENT, "18F891AA7F9: removed")]


GATEWAY_LOG = "Nov 20 11:59:58 relay1 postfix/smtpd[1]: NOQUEUE: reject: RCPT from web1.example.org[192.0.2.31]: 554 5.7.1 x: Relay access denied"


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (GATEWAY_LOG, "fail"),
        (GATEWAY_LOG.replace("NOQUEUE: reject: RCPT", "connect"), "ok"),
        (GATEWAY_LOG.replace("1.example", "2.example").replace(".31", ".32"), "warn"),
    ],
)  # fmt: skip
def test_the_gateway_s_log_as_it_is_given(text: str, verdict: str) -> None:
    report = examine(FakeHost(), replace(REQUEST, gateway_log=(text,)))
    assert report.as_dict()["verdicts"]["gateway"] == verdict
    assert (verdict == "warn") == (report.as_dict()["sessions"] == [])


def test_the_gateway_s_side_seen_there() -> None:
    taken = [
        ml.Line(NOON, "postfix/smtpd", "18F891AA7F9: client=web1.example.org[192.0.2.31]"),
        ml.Line(NOON, "postfix/cleanup", "18F891AA7F9: message-id=<1@example.org>"),
        ml.Line(NOON, "postfix/smtp", SENT),
    ]
    report = examine(FakeHost(logged=taken), dg.Request(client=("192.0.2.31",)))
    assert [(one.id, one.verdict) for one in report.steps] == [("mta", "ok"), ("gateway", "ok")]
    assert report.steps[1].seen.startswith("1 messages of 192.0.2.31; the last delivered for ops@example.net")
    assert report.as_dict()["deliveries"][0]["id"] == "18F891AA7F9"
    refused = ml.Line(NOON + timedelta(seconds=1), "postfix/smtpd", GATEWAY_LOG.partition("]: ")[2])
    report = examine(FakeHost(logged=[*taken, refused]), dg.Request(client=("192.0.2.31",)))
    assert report.conclusion.startswith("web1.example.org refused mail of 192.0.2.31: refused 2026-11-20 12:00:01")
    report = examine(FakeHost(logged=dg.Unseen("the journal cannot be read")), dg.Request(client=("192.0.2.31",)))
    assert report.as_dict()["verdicts"]["gateway"] == "unknown"


# --- secrets and strangers -----------------------------------------------------------------------


def test_a_password_in_a_log_is_not_told() -> None:
    text = SENT.replace("250 2.0.0 Ok", "250 login web1 xyzzy1 password=hunter2")
    queue = [replace(WAITS, reasons=("login web1 xyzzy1 failed",))]
    report = examine(FakeHost(logged=[ml.Line(NOON, "", text)], waits=queue), replace(REQUEST, queue_id="18F891AA7F9"))
    told = json.dumps([report.as_dict(), report.table()])
    assert "xyzzy1" not in told and "hunter2" not in told
    assert "login web1 ***" in told


@given(st.text(max_size=60), st.text(max_size=60), st.integers(0, 999))
def test_hostile_answers_end_in_a_report_of_plain_lines(one: str, other: str, code: int) -> None:
    host = FakeHost(
        mail_name=one,
        alias_file=aliases(f"root: {other}\n{one}"),
        resolved=([one or "x"], other),
        dialogue=replace(
            SOUND, banner=one, trouble=other, login="", mail=dg.Reply(250, one), rcpt=dg.Reply(code, other)
        ),
        logged=[ml.Line(NOON, one, other), ml.Line(NOON, "", SENT + other)],
        waits=[ml.Queued(one, other, NOON, (other,))],
    )
    report = examine(host, dg.Request(gateway_log=(one, other)))
    json.dumps(report.as_dict())
    assert all(line.isprintable() for line in report.table())


# --- the port --------------------------------------------------------------------------------

STATUS = "Package: {name}\nStatus: install ok installed\nVersion: {version}\nProvides: mail-transport-agent\n\n"
POSTCONF = {
    "relayhost": "[relay1.example.org]:587", "default_transport": "smtp", "smtp_helo_name": "web1.example.org",
    "smtp_tls_security_level": "verify", "smtp_tls_CAfile": "", "smtp_sasl_auth_enable": "yes",
    "smtp_sasl_password_maps": "hash:/etc/postfix/satellite_password", "alias_maps": "hash:/etc/aliases",
    "inet_protocols": "ipv4",
}  # fmt: skip


class Script(Runner):
    """Programs that say what a test says; any other is not there."""

    def __init__(self, said: dict[str, tuple[int, str, str]]) -> None:
        self.said = said

    def run(self, argv: Sequence[str], **_options: Any) -> Result:  # type: ignore[override]
        if argv[0] not in self.said:
            raise CommandError(f"{argv[0]} cannot be started: No such file or directory")
        return Result(tuple(argv), *self.said[argv[0]])


def tree(root: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return str(root)


def postfix(tmp_path: Path, said: dict[str, tuple[int, str, str]] | None = None, **values: str) -> client.SatelliteHost:
    files = {
        "/var/lib/dpkg/status": STATUS.format(name="postfix", version="3.10.5-1+deb13u1"),
        "/proc/77/comm": "master\n", "/proc/77/cmdline": "/usr/lib/postfix/sbin/master\0-w\0",
        "/etc/mailname": "example.org\n", "/etc/aliases": ALIASES, "/etc/aliases.db": "",
    }  # fmt: skip
    text = "\n".join(f"{name} = {value}" for name, value in {**POSTCONF, **values}.items())
    programs = {"postconf": (0, text, ""), "postmap": (0, "web1:xyzzy1\n", ""), **(said or {})}
    return client.SatelliteHost(root=tree(tmp_path, files), runner=Script(programs))


def test_postfix_is_read(tmp_path: Path) -> None:
    host = postfix(tmp_path)
    hop = dg.Hop("relay1.example.org", 587, "verify", True)
    assert host.mta() == dg.Mta("postfix", "3.10.5", ("postfix",), True, hop, "[relay1.example.org]:587")
    assert host.mailname() == "example.org"
    assert host.hidden("web1:xyzzy1") == "web1:***" and host.secrets == {"xyzzy1"}


@pytest.mark.parametrize(
    ("values", "hop", "trouble"),
    [
        ({"relayhost": ""}, None, ""),
        ({"relayhost": "[192.0.2.25]", "smtp_tls_security_level": "may", "smtp_sasl_auth_enable": "no"}, dg.Hop("192.0.2.25", 25, "may"), ""),
        ({"relayhost": "relay", "smtp_tls_security_level": "", "smtp_sasl_auth_enable": "no"}, dg.Hop("relay", 25, "none"), ""),
        ({"relayhost": "[a]:b:c"}, None, "relayhost is '[a]:b:c', which names no host and port"),
        ({"default_transport": "error"}, None, "no mail leaves: default_transport is error"),
    ],
)  # fmt: skip
def test_postfix_s_gateway(tmp_path: Path, values: dict[str, str], hop: dg.Hop | None, trouble: str) -> None:
    found = postfix(tmp_path, **values).mta()
    assert (found.hop, found.trouble) == (hop, trouble)


@pytest.mark.parametrize(
    ("relayhost", "asked", "expected"),
    [
        ("example.org", "example.org", ["192.0.2.25"]),  # by its best MX
        ("[example.org]", "example.org", ["192.0.2.1"]),
        ("example.org", "relay1.example.org", ["192.0.2.26"]),
    ],
)
def test_a_relayhost_without_brackets_is_reached_by_its_mx(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relayhost: str, asked: str, expected: list[str]
) -> None:
    known = {"example.org": "192.0.2.1", "mx1.example.org.": "192.0.2.25", "relay1.example.org": "192.0.2.26"}
    host = postfix(tmp_path, relayhost=relayhost)
    host.mta()
    monkeypatch.setattr(host._local, "query", lambda name, rdtype: ["20 mx2.example.org.", "10 mx1.example.org."])
    monkeypatch.setattr(socket, "getaddrinfo", lambda name, *args, **options: [(0, 0, 0, "", (known[name], 0))])
    assert host.addresses(asked) == (expected, "")


def test_an_alias_database_that_is_older(tmp_path: Path) -> None:
    host = postfix(tmp_path)
    host.mta()
    os.utime(tmp_path / "etc/aliases.db", (2_000_000_000, 2_000_000_000))
    assert host.aliases() == dg.Aliases("/etc/aliases", ALIASES, "")
    os.utime(tmp_path / "etc/aliases.db", (1, 1))
    assert host.aliases().stale == "/etc/aliases.db is older than /etc/aliases"
    (tmp_path / "etc/aliases.db").unlink()
    assert host.aliases().stale == "/etc/aliases.db is not there"


SMARTHOST = "dc_eximconfig_configtype='satellite'\ndc_smarthost='relay1.example.org::587'\n"
MACROS = "REMOTE_SMTP_SMARTHOST_HOSTS_REQUIRE_TLS = *\nREMOTE_SMTP_SMARTHOST_TLS_VERIFY_HOSTS = *\n"


@pytest.mark.parametrize(
    ("settings", "macros", "hop", "trouble"),
    [
        (SMARTHOST, MACROS, dg.Hop("relay1.example.org", 587, "verify", True), ""),
        (SMARTHOST, "", dg.Hop("relay1.example.org", 587, "may", True), ""),
        ("dc_eximconfig_configtype='internet'\n", "", None, ""),
        ("dc_eximconfig_configtype='local'\n", "", None, "no mail leaves: dc_eximconfig_configtype is local"),
    ],
)
def test_exim_is_read(tmp_path: Path, settings: str, macros: str, hop: dg.Hop | None, trouble: str) -> None:
    files = {
        "/var/lib/dpkg/status": STATUS.format(name="exim4-daemon-light", version="4.98-3"),
        "/proc/78/comm": "exim4\n", "/proc/78/cmdline": "/usr/sbin/exim4\0-bd\0-q30m\0",
        "/etc/exim4/update-exim4.conf.conf": settings, "/etc/exim4/conf.d/main/000_satellite": macros,
        "/etc/exim4/passwd.client": "# comment\n*:web1:xyzzy1\n",
    }  # fmt: skip
    host = client.SatelliteHost(root=tree(tmp_path, files), runner=Script({}))
    found = host.mta()
    assert (found.name, found.version, found.running) == ("exim", "4.98", True)
    assert (found.hop, found.trouble) == (hop, trouble)
    assert host.secrets == ({"xyzzy1"} if hop else set())


def test_ping_is_a_note(tmp_path: Path) -> None:
    said = "64 bytes from 192.0.2.25: icmp_seq=1 ttl=64 time=0.045 ms\n"
    cases = {
        (0, said, ""): run.Ping("0.045 ms"),
        (1, "", ""): run.Ping(error="no answer to ping"),
        (2, "", "ping: socktype: SOCK_RAW: Operation not permitted"): run.Ping(
            error="this user may not send pings", absent=True
        ),
    }
    for result, expected in cases.items():
        assert postfix(tmp_path, {"ping": result}).ping("192.0.2.25") == expected
    assert postfix(tmp_path).ping("192.0.2.25").absent


def test_the_log_of_journal_and_files(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    record = {
        "__REALTIME_TIMESTAMP": str(int(now.timestamp() * 1e6)),
        "SYSLOG_IDENTIFIER": "postfix/smtp",
        "MESSAGE": "one",
    }
    host = postfix(tmp_path, {"journalctl": (0, json.dumps(record), "")})
    tree(tmp_path, {
        "/var/log/mail.log": f"{now.isoformat()} web1 postfix/smtp[1]: two\n2001-01-01T00:00:00+00:00 web1 x[1]: old\n",
        "/var/log/exim4/mainlog": f"{now:%Y-%m-%d %H:%M:%S} +0000 three\n",
    })  # fmt: skip
    assert [line.text for line in host.log(24)] == ["one", "two", "three"]
    assert host.notes == []


def test_a_log_that_this_user_cannot_read(tmp_path: Path) -> None:
    hint = "Hint: You are currently not seeing messages from other users and the system.\n"
    with pytest.raises(dg.Unseen) as caught:
        postfix(tmp_path, {"journalctl": (1, "", hint)}).log(24)
    assert str(caught.value) == "the journal cannot be read by this user"


def test_no_log_at_all_is_not_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(dg.Unseen, match="there is neither a journal nor a file such as /var/log/mail.log"):
        postfix(tmp_path).log(24)
    assert postfix(tmp_path, {"journalctl": (0, "", "")}).log(24) == []


def test_queues(tmp_path: Path) -> None:
    line = '{"queue_id": "18F891AA7F9", "arrival_time": 1795176000, "recipients": []}\n'
    assert postfix(tmp_path, {"postqueue": (0, line, "")}).queue() == [ml.Queued("18F891AA7F9", "", NOON)]
    with pytest.raises(dg.Unseen, match="mail system is down"):
        postfix(tmp_path, {"postqueue": (69, "", "postqueue: fatal: mail system is down")}).queue()


# --- the dialogue ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for relay1.example.org and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "relay1.example.org")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=90))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("relay1.example.org")]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    path = tmp_path_factory.mktemp("tls") / "relay1.pem"
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(pem + made.public_bytes(Encoding.PEM))
    return path


@contextmanager
def gateway(
    replies: dict[str, str], certificate: Path | None = None, banner: str = "220 relay1 ESMTP"
) -> Iterator[tuple[int, list[str]]]:
    """A mail server on a port of the loopback interface, which answers each command as ``replies`` says."""
    heard: list[str] = []
    server = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        connection.settimeout(60)
        connection.sendall(f"{banner}\r\n".encode())
        stream = connection.makefile("rb")
        while line := stream.readline().decode().strip():
            heard.append(line)
            word = line.split()[0].upper()
            answer = replies.get(
                word, {"EHLO": "250-relay1\r\n250 STARTTLS" if certificate else "250 relay1"}.get(word, "250 ok")
            )
            if not answer:
                break
            connection.sendall(f"{answer}\r\n".encode())
            if word == "STARTTLS" and certificate:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(certificate)
                connection = context.wrap_socket(connection, server_side=True)
                stream = connection.makefile("rb")
            if word == "QUIT":
                break
        connection.close()

    def accept() -> None:
        while True:
            try:
                serve(server.accept()[0])
            except ssl.SSLError:
                continue
            except OSError:
                return

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1], heard
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def talk(port: int, *, tls: str = "may", ca_file: str = "", login: bool = False) -> dg.Dialogue:
    host = client.SatelliteHost(timeout=60, ca_file=ca_file)
    host._helo = "web1.example.org"
    host._login = ("web1", "xyzzy1") if login else None
    hop = dg.Hop("relay1.example.org", port, tls, login)
    return host.talk(hop, "127.0.0.1", "root@example.org", "sysadmin@example.org")


def test_a_dialogue_ends_before_a_message_would_be_sent() -> None:
    with gateway({}) as (port, heard):
        found = talk(port)
    assert (found.error, found.banner, found.tls, found.rcpt) == ("", "relay1 ESMTP", "", dg.Reply(250, "ok"))
    assert heard == ["ehlo web1.example.org", "MAIL FROM:<root@example.org>", "RCPT TO:<sysadmin@example.org>", "quit"]


def test_tls_with_a_certificate_that_holds(certified: Path) -> None:
    with gateway({"STARTTLS": "220 go"}, certified) as (port, _heard):
        found = talk(port, tls="verify", ca_file=str(certified))
    assert (found.error, found.trouble, found.rcpt.code) == ("", "", 250)
    assert found.tls.startswith("TLSv1.") and found.expires and found.expires > datetime.now(UTC) + timedelta(days=80)


def test_tls_with_a_certificate_that_does_not(certified: Path) -> None:
    with gateway({"STARTTLS": "220 go"}, certified) as (port, heard):
        found = talk(port, login=True)
    assert "self" in found.trouble and found.tls.startswith("TLSv1.")
    # A password is only given to whom it is meant for.
    assert found.login == "unseen: a password is only sent to a gateway whose certificate holds"
    assert not any("auth" in line.lower() for line in heard)


def test_a_login_over_tls(certified: Path) -> None:
    replies = {"STARTTLS": "220 go", "EHLO": "250-relay1\r\n250-AUTH PLAIN\r\n250 STARTTLS", "AUTH": "235 welcome"}
    with gateway(replies, certified) as (port, _heard):
        found = talk(port, ca_file=str(certified), login=True)
    assert (found.login, found.rcpt.code) == ("ok", 250)
    with gateway({**replies, "AUTH": "535 5.7.8 no"}, certified) as (port, _heard):
        found = talk(port, ca_file=str(certified), login=True)
    assert (found.login, found.rcpt.code) == ("535 5.7.8 no", 0)


@pytest.mark.parametrize(
    ("replies", "banner", "error", "rcpt"),
    [
        ({}, "554 not you", "greets with 554 not you", 0),
        ({"EHLO": "502 what?"}, "220 x", "answers EHLO with 502 what?", 0),
        ({}, "SSH-2.0-OpenSSH_10.0", "greets with what is no SMTP", 0),
        ({}, "220 " + "x" * 20_000, "answers 500 Line too long.", 0),
        ({"EHLO": "250-" + "x" * 20_000}, "220 x", "answers 500 Line too long.", 0),
        ({"RCPT": "554 5.7.1 Relay access denied"}, "220 x", "", 554),
        ({"MAIL": "451 later"}, "220 x", "", 0),
        ({"RCPT": ""}, "220 x", "ends the session before it has answered", 0),
        ({}, "220", "", 250),
    ],
)
def test_what_a_gateway_may_say(replies: dict[str, str], banner: str, error: str, rcpt: int) -> None:
    with gateway(replies, banner=banner) as (port, _heard):
        found = talk(port)
    assert (found.error, found.rcpt.code) == (error, rcpt)


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert client.SatelliteHost().connect("127.0.0.1", port) == dg.Connection("127.0.0.1", own="127.0.0.1")
    assert client.SatelliteHost().connect("127.0.0.1", port).error == "connection refused"


# --- the module --------------------------------------------------------------------------------


def module(monkeypatch: pytest.MonkeyPatch, host: FakeHost, **params: object) -> dict[str, Any]:
    """What the module prints on a host that answers as a test says."""
    printed = io.StringIO()
    monkeypatch.setattr(sys, "stdout", printed)
    monkeypatch.setattr(mail_diagnose, "SatelliteHost", lambda **options: host)
    # What ansible.module_utils.testing does from ansible-core 2.19 on; 2.18 has no such thing.
    monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": params}).encode())
    monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
    with pytest.raises(SystemExit):
        mail_diagnose.main()
    return dict(json.loads(printed.getvalue()))


def test_the_module_returns_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    found = module(monkeypatch, FakeHost(mail_name="xyzzy1.example"), mailname="example.org", _ansible_check_mode=True)
    assert (found["verdicts"]["mailname"], found["changed"], found["unseen"]) == ("fail", False, [])
    assert found["table"][0] == "web1.example.org" and len(found["steps"]) == len(dg.STEPS)
    assert "xyzzy1" not in json.dumps(found)


def test_the_module_says_what_makes_no_sense(monkeypatch: pytest.MonkeyPatch) -> None:
    assert module(monkeypatch, FakeHost(), queue_id="x y")["msg"].startswith("queue_id: 'x y' is no id of a queue")
    assert "failed" not in module(monkeypatch, FakeHost(), queue_id="18F891AA7F9")
