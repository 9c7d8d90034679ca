# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why mail did not arrive, by logs of real daemons (tests/logs) and lines in their forms, and by what strangers may write."""

from __future__ import annotations

import bz2
import dataclasses
import gzip
import importlib.util
import json
import lzma
import os
import re
import sys
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _log_client as lc
from ansible_collections.postmaster.mail.plugins.module_utils import _log_explain as le
from ansible_collections.postmaster.mail.plugins.module_utils import _log_run as lr
from ansible_collections.postmaster.mail.plugins.module_utils import _mail_causes as mc
from ansible_collections.postmaster.mail.plugins.module_utils import _mail_failures as mf
from ansible_collections.postmaster.mail.plugins.module_utils import _mail_log as ml
from ansible_collections.postmaster.mail.plugins.module_utils._command import CommandError, Result, Runner
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
LOGS = ROOT / "tests" / "logs"
NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)


def _cases() -> ModuleType:
    spec = importlib.util.spec_from_file_location("cases", LOGS / "cases.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["cases"] = module
    spec.loader.exec_module(module)
    return module


cases = _cases()
DAEMONS = ("postfix", "postfix-own", "exim", "opensmtpd")
# What the log of a daemon cannot tell apart, or tells in a line of its own.
APART = {
    ("exim", "no-domain"): "unrouteable",
    ("opensmtpd", "tls-broken"): None,  # it goes on without TLS, and delivers
    **{("opensmtpd", case.name): "destinations_failed" for case in cases.CASES if case.stage in ("greeting", "hello")},
}


@dataclasses.dataclass
class Host(lc.LogHost):
    """A host whose clock stands."""

    def now(self) -> datetime:
        return NOW


class Journal(Runner):
    """A journalctl that prints what it is given."""

    def __init__(self, text: str = "", *, code: int = 0, stderr: str = "", error: str = "") -> None:
        self.text, self.result, self.error = text, Result(("journalctl",), code, "", stderr), error
        self.argv: list[str] = []

    def stream(self, argv: Any, **options: object) -> Any:
        self.argv = list(argv)
        if self.error:
            raise CommandError(self.error)
        for start in range(0, len(self.text), 100):
            yield self.text[start : start + 100].encode()
        return self.result


def explain(*, host: Host | None = None, **options: Any) -> dict[str, Any]:
    """What the module returns."""
    found = lr.explain(lr.Request(**options), host or Host())
    return {**found.report.as_dict(), "table": found.table("host"), "sources": found.sources, "unseen": found.unseen}


def causes_of(result: dict[str, Any]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for group in result["groups"]:
        counts[group["cause"]] = counts.get(group["cause"], 0) + group["count"]
    return counts


# --- logs of real daemons ------------------------------------------------------------------------


@pytest.mark.parametrize("daemon", DAEMONS)
def test_each_refusal_that_a_real_daemon_met_has_its_cause(daemon: str) -> None:
    found: dict[str, set[str]] = {}
    for text in (LOGS / f"{daemon}.log").read_text(encoding="utf-8").splitlines():
        line = ml.parse_line(text, NOW)
        one = mf.failure(line) if line else None
        if one and (case := cases.BY_DOMAIN.get(one.recipient.rpartition("@")[2])):
            found.setdefault(case.name, set()).add(mc.find(str(mf.said(one.reply)), mc.CATALOGUE))
    expected = {
        case.name: {cause}
        for case in cases.CASES
        if (cause := APART.get((daemon.removesuffix("-own"), case.name), case.cause))
    }
    assert found == expected


def test_opensmtpd_tells_in_other_lines_why_no_server_could_be_used() -> None:
    result = explain(paths=(str(LOGS / "opensmtpd.log"),), outcomes=("error",), limit=100)
    wanted = {case.cause for case in cases.CASES if case.stage in ("greeting", "hello") and case.replies != ("closed",)}
    assert set(causes_of(result)) == wanted | {"connection_refused"}


@pytest.mark.parametrize(("daemon", "cause"), [("postfix", "relay_denied"), ("opensmtpd", "no_such_user")])
def test_what_the_host_itself_refused(daemon: str, cause: str) -> None:
    """OpenSMTPD says the same to a stranger who wants to relay as to one who wants a user that is not there."""
    (group,) = explain(paths=(str(LOGS / f"{daemon}.log"),), outcomes=("refused",))["groups"]
    assert (group["cause"], group["count"], group["domains"]) == (cause, 1, {"elsewhere.example": 1})


@pytest.mark.parametrize("daemon", ["postfix", "postfix-own"])
def test_a_port_with_a_letter_stops_postfix(daemon: str) -> None:
    result = explain(paths=(str(LOGS / f"{daemon}.log"),), outcomes=("error",))
    group = result["groups"][0]
    assert (group["cause"], group["reply"]) == (
        "bad_port",
        "fatal: garbage after numerical service in server description: [192.0.2.1]:25x",
    )


def test_words_that_nobody_foresaw_are_grouped_by_themselves() -> None:
    groups = explain(paths=tuple(str(LOGS / f"{name}.log") for name in DAEMONS), limit=1000)["groups"]
    unknown = {tuple(group["domains"]): group["count"] for group in groups if group["cause"] == "unknown"}
    assert unknown == {("odd-1.example", "odd-2.example"): 8, ("odd-3.example",): 4}


def test_the_forms_of_syslog_tell_the_same() -> None:
    """RFC 3164 from Postfix's own writer, RFC 3339 from rsyslog, and the same as the journal has it."""
    rsyslog = explain(paths=(str(LOGS / "postfix.log"),), limit=1000)
    records = []
    for text in (LOGS / "postfix.log").read_text(encoding="utf-8").splitlines():
        line = ml.parse_line(text, NOW)
        assert line is not None and line.time is not None
        moment = str(int(line.time.timestamp() * 1_000_000))
        records.append({"__REALTIME_TIMESTAMP": moment, "SYSLOG_IDENTIFIER": line.program, "MESSAGE": line.text})
    journal = explain(host=Host(runner=Journal("\n".join(map(json.dumps, records)))), journal=True, limit=1000)
    parts = ("groups", "destinations", "days", "failures")
    attempts = [
        causes_of(explain(paths=(str(LOGS / f"{name}.log"),), limit=1000, outcomes=("deferred", "bounced", "refused")))
        for name in ("postfix-own", "postfix")
    ]
    assert {part: journal[part] for part in parts} == {part: rsyslog[part] for part in parts}
    assert attempts[0] == attempts[1]


def test_every_cause_is_proven_by_a_case_or_a_line() -> None:
    proven = (
        {case.cause for case in cases.CASES}
        | {cause for cause, dummy in (*LINES, *SEED)}
        | set(filter(None, APART.values()))
    )
    assert set(mc.CATALOGUE) - proven == set()


# --- the rest of the catalogue, in the forms that daemons write ------------------------------------

HEAD = "2026-11-29T11:00:00+00:00 mail "
SENT = "4bXkQz1nTzz2x: to=<sam@there.example>, relay=mx.there.example[192.0.2.9]:25, delay=1, delays=0/0/1/0, dsn="


def postfix(reply: str, *, dsn: str = "5.0.0", status: str = "bounced", stage: str = "RCPT TO") -> str:
    said = (
        f"host mx.there.example[192.0.2.9] said: {reply} (in reply to {stage} command)" if reply[:1] in "245" else reply
    )
    return f"{HEAD}postfix/smtp[1]: {SENT}{dsn}, status={status} ({said})"


LINES = [
    ("google_ip", postfix("550-5.7.1 [192.0.2.9] The IP you're using to send mail is not authorized to send email directly")),
    ("google_limit", postfix("550 5.4.5 Daily user sending limit exceeded. - gsmtp")),
    ("microsoft_tenant", postfix("550 5.1.8 Access denied, bad outbound sender")),
    ("laposte", postfix("550 5.7.1 Service refused LPN007_510")),
    ("comcast", postfix("554 5.7.1 BL000001 192.0.2.9 blocked")),
    ("charter", postfix("550 5.7.1 192.0.2.9 AUP#1310")),
    ("mail_ru", postfix("550 spam message rejected. Please visit http://help.mail.ru/notspam-support/id?c=1")),
    ("yandex", postfix("554 5.7.1 Message rejected under suspicion of SPAM; https://ya.cc/1IrBc 1234")),
    ("qq", postfix("550 Mail content denied. http://service.mail.qq.com/cgi-bin/help")),
    ("gmx_policy", postfix("554-web.de (mxweb012) 554 Reject due to policy restrictions.")),
    ("spamhaus_dbl", postfix("550 5.7.1 Your email was rejected due to having a domain present in the Spamhaus DBL")),
    ("trend_micro", postfix("550 5.7.1 blocked using Trend Micro RBL+, see https://ers.trendmicro.com/")),
    ("uceprotect", postfix("550 5.7.1 blocked using dnsbl-1.uceprotect.net")),
    ("abusix", postfix("554 5.7.1 blocked using combined.mail.abusix.zone")),
    ("authentication_failed", postfix("535 5.7.8 Error: authentication failed")),
    ("authentication_failed", f"{HEAD}postfix/smtpd[1]: warning: web[192.0.2.7]: SASL LOGIN authentication failed: UGFzc3dvcmQ6"),
    ("authentication_failed", "2026-11-29 11:00:00 plain authenticator failed for (web) [192.0.2.7]: 535 Incorrect authentication data"),
    ("milter", f"{HEAD}postfix/smtpd[1]: warning: connect to Milter service inet:localhost:8891: Connection refused"),
    ("transport_down", postfix("mail transport unavailable", dsn="4.3.0", status="deferred")),
    ("port_taken", "2026-11-29 11:00:00 socket bind() to port 25 for address (any IPv4) failed: Address already in use: daemon abandoned"),
    ("port_taken", f"{HEAD}postfix/master[1]: fatal: bind 0.0.0.0 port 25: Address already in use"),
    ("loop", postfix("mail for there.example loops back to myself", dsn="5.4.6")),
    ("mailbox_disabled", postfix("550 5.2.1 Mailbox disabled for this recipient")),
    ("too_many_connections", postfix("421 4.7.0 Too many concurrent connections from this client", status="deferred", dsn="4.7.0")),
    ("recipient_rate", postfix("554 5.2.122 The recipient has exceeded their limit")),
    ("line_too_long", postfix("500 5.5.2 Line too long")),
    ("smtputf8", postfix("SMTPUTF8 is required, but was not offered by host mx.there.example[192.0.2.9]", dsn="5.6.7")),
    ("tls_certificate", postfix("Server certificate not trusted", dsn="4.7.5", status="deferred")),
    ("unreachable", postfix("connect to mx.there.example[192.0.2.9]:25: Connection timed out", dsn="4.4.1", status="deferred")),
    ("unreachable", postfix("connect to mx.there.example[2001:db8::9]:25: Network is unreachable", dsn="4.4.1", status="deferred")),
    ("unreachable", "2026-11-29 11:00:00 1xXUA1-0000gK-17 == a@there.example R=r T=t defer (110): Connection timed out"),
    ("timeout", postfix("conversation with mx.there.example[192.0.2.9] timed out while sending end of data", dsn="4.4.2", status="deferred")
     .replace("conversation with", "session with")),
    ("configuration", f"{HEAD}postfix/smtpd[1]: fatal: open database /etc/postfix/transport.db: No such file or directory"),
    ("local_command", postfix("Command died with status 1: \"/usr/bin/vacation\"", dsn="5.3.0")),
    ("protocol", postfix("503 5.5.1 Error: need MAIL command", dsn="5.5.1")),
    ("expired", "2026-11-29 11:00:00 1xXUA1-0000gK-17 ** a@there.example: retry timeout exceeded"),
    ("expired", f"{HEAD}postfix/qmgr[1]: 4bXkQz1nTzz2x: from=<alex@sender.example>, status=expired, returned to sender"),
    ("policy", postfix("550 5.7.1 Not today, by our policy")),
    # Other forms of what real daemons met.
    ("no_ptr", f"{HEAD}postfix/smtpd[1]: NOQUEUE: reject: RCPT from unknown[192.0.2.7]: 450 4.7.25 Client host rejected: cannot find your"
     " hostname, [192.0.2.7]; from=<a@b.example> to=<sam@there.example> proto=ESMTP helo=<web>"),
    ("greylisted", f"{HEAD}postfix/smtpd[1]: NOQUEUE: reject: RCPT from web[192.0.2.7]: 450 4.2.0 <sam@there.example>: Recipient address"
     " rejected: Greylisted; from=<a@b.example> to=<sam@there.example> proto=ESMTP helo=<web>"),
    ("spamhaus", f"{HEAD}postfix/postscreen[1]: NOQUEUE: reject: RCPT from [192.0.2.7]:4711: 550 5.7.1 Service unavailable; client"
     " [192.0.2.7] blocked using zen.spamhaus.org; from=<a@b.example>, to=<sam@there.example>, proto=ESMTP, helo=<web>"),
    ("spam", f"{HEAD}postfix/cleanup[1]: 4bXkQz1nTzz2x: milter-reject: END-OF-MESSAGE from web[192.0.2.7]: 5.7.1 Spam message rejected;"
     " from=<a@b.example> to=<sam@there.example> proto=ESMTP helo=<web>"),
    ("relay_denied", "2026-11-29 11:00:00 H=(web) [192.0.2.7] F=<a@b.example> rejected RCPT <sam@there.example>: relay not permitted"),
    ("too_big", "2026-11-29 11:00:00 H=(web) [192.0.2.7] F=<a@b.example> rejected MAIL <a@b.example>: message too big"),
    ("sender_domain", "2026-11-29 11:00:00 H=web [192.0.2.7] sender verify fail for <a@b.example>: all relevant MX records point to"
     " non-existent hosts".replace("sender verify", "F=<a@b.example> rejected RCPT <sam@there.example>: Sender verify")),
    ("connection_refused", postfix("delivery temporarily suspended: connect to mx.spam.example[192.0.2.9]:25: Connection refused",
                                   dsn="4.4.1", status="deferred")),
    ("no_such_user", postfix("550-5.1.1 <sam@spf.example>: Recipient 550 5.1.1 address rejected: User unknown")),
    ("mailbox_full", "2026-11-29T11:00:00+00:00 mail smtpd[1]: 764b464c1618e949 mda delivery evpid=83c95f296da6735f from=<a@b.example>"
     ' to=<sam@there.example> rcpt=<-> user=sam delay=1s result="TempFail" stat="Error (mailbox full)"'),
]  # fmt: skip


@pytest.mark.parametrize(("cause", "text"), LINES)
def test_a_line_has_its_cause(cause: str, text: str) -> None:
    result = explain(text=text)
    assert causes_of(result) == {cause: 1}, result["groups"][0]["reply"]


SEED = (
    ("no_ptr", "Oct 16 07:06:16 host mx01.emig.gmx.example[192.0.2.5] refused to talk to me:\n554-gmx.example (mxgmx116) Nemesis ESMTP"
     " Service not available\n554-No SMTP service 554-Bad DNS PTR resource record.\n554 For explanation visit http://postmaster.gmx.example/"),
    ("blocked", "550 Email blocked"),
    ("sender_null_mx", "550-Requested action not taken: mailbox unavailable 550 Sender address\nhas null MX (in reply to MAIL FROM command))"),
    ("dmarc", "relay=mx.google.example[2001:db8::1a]:25,\n  status=bounced (host mx.google.example[2001:db8::1a] said:\n    550-5.7.26"
     " Unauthenticated email from sender.example is not accepted due to\n    domain's 550-5.7.26 DMARC policy. (in reply to end of DATA command))"),
    ("unauthenticated", "Diagnostic-Code: smtp; 550-5.7.26 This mail has been blocked because the sender is\n 550 5.7.26 unauthenticated."),
    ("lost_connection", "lost connection with mx.dkim.example[192.0.2.1] while sending MAIL FROM"),
    ("not_yet", "retry time not reached for any host"),
    ("bad_port", "fatal: garbage after numerical service in server description: [192.0.2.1]:25x"),
)  # fmt: skip


@pytest.mark.parametrize(("cause", "text"), SEED)
def test_a_text_that_a_person_has_is_explained(cause: str, text: str) -> None:
    assert causes_of(explain(text=text)) == {cause: 1}


# --- groups ----------------------------------------------------------------------------------------


def test_one_cause_with_several_codes_is_one_group() -> None:
    text = "\n".join(
        postfix(reply)
        for reply in (
            "550 5.1.1 User unknown",
            "550 5.1.10 User unknown",
            "554 user unknown",
            "550-5.1.1 No such user 550 5.1.1 here",
        )
    )
    (group,) = explain(text=text)["groups"]
    assert (group["cause"], group["count"]) == ("no_such_user", 4)
    assert group["codes"] == {"550 5.1.1": 2, "550 5.1.10": 1, "554": 1}


def test_unknown_words_are_one_group_whatever_numbers_and_addresses_they_name() -> None:
    text = "\n".join(
        postfix(reply)
        for reply in (
            "550 5.9.0 The owl of mx1.there.example ate <a@b.example> at 192.0.2.1 (X7Y12)",
            "554 5.9.9 The owl of mail.elsewhere.example ate c@d.example at [2001:db8::1] (Z9)",
            "550 The cat ate it",
        )
    )
    groups = explain(text=text)["groups"]
    assert [(group["cause"], group["count"]) for group in groups] == [("unknown", 2), ("unknown", 1)]
    assert "The owl of mx1.there.example ate" in groups[0]["reply"]


def attempt(
    number: str, second: int, status: str, reply: str, *, to: str = "sam@there.example", dsn: str = "4.0.0"
) -> str:
    moment = (NOW - timedelta(hours=5) + timedelta(seconds=second)).isoformat()
    return f"{moment} mail postfix/smtp[1]: {number}: to=<{to}>, relay=mx[192.0.2.9]:25, delay=1, dsn={dsn}, status={status} ({reply})"


GREY = "host mx[192.0.2.9] said: 450 4.2.0 Greylisted (in reply to RCPT TO command)"
FULL = "host mx[192.0.2.9] said: 452 4.2.2 Mailbox full (in reply to RCPT TO command)"


def test_a_message_is_followed_until_the_log_tells_what_became_of_it(tmp_path: Path) -> None:
    log = tmp_path / "mail.log"
    log.write_text(
        "\n".join(
            [
                attempt("AAAA11111", 1, "deferred", GREY),
                attempt("AAAA11111", 2, "deferred", GREY),
                attempt("AAAA11111", 3, "sent", "250 ok", dsn="2.0.0"),
                attempt("BBBB22222", 4, "deferred", GREY),
                attempt("BBBB22222", 5, "deferred", FULL),  # it waits for another reason now
                attempt("CCCC33333", 6, "deferred", FULL),
                (NOW - timedelta(hours=4)).isoformat()
                + " mail postfix/qmgr[1]: CCCC33333: from=<a@b.example>, status=expired, returned to sender",
                attempt("DDDD44444", 7, "deferred", FULL, to="other@there.example"),
            ]
        )
    )
    groups = {group["cause"]: group for group in explain(paths=(str(log),))["groups"]}
    fates = ("count", "messages", "delivered", "given_up", "waiting")
    assert {name: tuple(group[fate] for fate in fates) for name, group in groups.items()} == {
        "greylisted": (3, 2, 1, 0, 0),
        "mailbox_full": (3, 3, 0, 1, 2),
    }
    assert groups["greylisted"]["queue_ids"] == ["AAAA11111", "BBBB22222"]
    assert groups["greylisted"]["outcomes"] == {"deferred": 3}


def test_destinations_days_and_times() -> None:
    day = timedelta(days=1)
    text = "\n".join(
        f"{(NOW - number * day).isoformat()} mail postfix/smtp[1]: AAAA1111{number}: to=<a@{domain}>, relay=none, dsn=4.4.1,"
        f" status=deferred ({reply})"
        for number, domain, reply in (
            (1, "One.example", "connect to mx[192.0.2.1]:25: Connection refused"),
            (1, "two.example", GREY),
            (3, "one.example", GREY),
        )
    )
    result = explain(text=text)
    assert result["destinations"] == [
        {"domain": "one.example", "count": 2, "causes": {"connection_refused": 1, "greylisted": 1}},
        {"domain": "two.example", "count": 1, "causes": {"greylisted": 1}},
    ]
    assert result["days"] == [
        {"day": "2026-11-27", "count": 1, "causes": {"greylisted": 1}},
        {"day": "2026-11-29", "count": 2, "causes": {"connection_refused": 1, "greylisted": 1}},
    ]
    grey = result["groups"][0]
    assert (grey["first"], grey["last"]) == ("2026-11-27T12:00:00+00:00", "2026-11-29T12:00:00+00:00")
    table = "\n".join(result["table"])
    assert "host: text: 3 lines, 3 failures in 2 groups from 2026-11-27 12:00 to 2026-11-29 12:00" in table
    assert "      2 x greylisted: the receiver lets the first try of an unknown sender wait" in table
    assert "      2  one.example  connection_refused 1, greylisted 1" in table


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"no_such_user": 1, "greylisted": 1, "relay_denied": 1}),
        ({"recipients": ("there.example",)}, {"no_such_user": 1}),
        ({"recipients": ("@There.example",)}, {"no_such_user": 1}),
        ({"recipients": ("sam@there.example",)}, {"no_such_user": 1}),
        ({"recipients": ("tom@there.example",)}, {}),
        ({"recipients": ("here.example",)}, {}),
        ({"outcomes": ("refused",)}, {"relay_denied": 1}),
        ({"outcomes": ("deferred", "bounced")}, {"no_such_user": 1, "greylisted": 1}),
    ],
)
def test_what_is_asked_for(options: dict[str, Any], expected: dict[str, int]) -> None:
    text = "\n".join(
        [
            postfix("550 5.1.1 User unknown"),
            attempt("AAAA11111", 1, "deferred", GREY, to="a@grey.example"),
            f"{HEAD}postfix/smtpd[1]: NOQUEUE: reject: RCPT from web[192.0.2.7]: 554 5.7.1 <x@y.example>: Relay access denied; from=<> "
            "to=<x@y.example> proto=SMTP helo=<web>",
        ]
    )
    assert causes_of(explain(text=text, **options)) == expected


OWN = {"name": "owls", "pattern": r"our owl", "title": "owls", "mend": "feed them", "kind": "recipient"}


def test_a_cause_of_ones_own_comes_first() -> None:
    text = postfix("550 5.1.1 Our owl says: user unknown")
    assert causes_of(explain(text=text)) == {"no_such_user": 1}
    (group,) = explain(text=text, causes=(OWN,))["groups"]
    assert (group["cause"], group["title"], group["mend"], group["by"]) == ("owls", "owls", "feed them", "")


@pytest.mark.parametrize("pattern", ["XGW-77", r"xgw\W77", r"(?P<Code>XGW)-\d+", "[A-Z]GW-[0-9]+$"])
def test_a_pattern_is_found_in_either_case(pattern: str) -> None:
    cause = {**OWN, "pattern": pattern}
    assert causes_of(explain(text="550 no, Xgw-77", causes=(cause,))) == {"owls": 1}
    assert "owls" not in causes_of(explain(text="550 no, Xg-77", causes=(cause,)))


# --- bad input, each with a twin that is well ------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "good", "message"),
    [
        ({"days": -1}, {"days": 1}, "days: -1 is out of range: give a number of days, or 0 for all"),
        ({"examples": 0}, {"examples": 1}, "examples: 0 is out of range: give 1 to 1000"),
        ({"limit": 1001}, {"limit": 1000}, "limit: 1001 is out of range: give 1 to 1000"),
        ({"recipients": ("a b",)}, {"recipients": ("a.b",)}, "recipients: 'a b' is neither an address nor a domain such as example.org"),
        ({"journal": True}, {"journal": False}, "text: is read instead of logs: leave out paths and journal"),
        ({"causes": ({**OWN, "name": "Owls!"},)}, {"causes": (OWN,)}, "causes[0]: name: 'Owls!' is no name: use small letters, digits and _"),
        ({"causes": (OWN, OWN)}, {"causes": (OWN,)}, "causes[1]: name: 'owls' is there twice: give each cause a name of its own"),
        ({"causes": ({**OWN, "pattern": ""},)}, {"causes": (OWN,)}, "causes[0] (owls): pattern: is empty, and would explain everything"),
        ({"causes": ({**OWN, "pattern": "a*"},)}, {"causes": (OWN,)},
         "causes[0] (owls): pattern: matches an empty text, and would explain everything"),
        ({"causes": ({**OWN, "pattern": "("},)}, {"causes": (OWN,)},
         "causes[0] (owls): pattern: missing ), unterminated subpattern at position 0: give a regular expression of Python"),
    ],
)  # fmt: skip
def test_bad_input_is_named(bad: dict[str, Any], good: dict[str, Any], message: str) -> None:
    with pytest.raises((lr.ExplainError, mc.CauseError)) as caught:
        explain(text="550 x", **bad)
    assert str(caught.value) == message
    explain(text="550 x", **good)


def test_files_that_are_named_must_be_there_and_whole(tmp_path: Path) -> None:
    whole = tmp_path / "mail.log.2.gz"
    whole.write_bytes(gzip.compress(f"{postfix('550 5.1.1 User unknown')}\n".encode() * 1000))
    assert explain(paths=(str(whole),))["failures"] == 1000
    (tmp_path / "broken.gz").write_bytes(whole.read_bytes()[:-9])
    for name, message in {
        "none.log": f"paths: {tmp_path}/none.log is not there: give a file of this host, or a pattern that fits one",
        "none*": f"paths: {tmp_path}/none* is not there: give a file of this host, or a pattern that fits one",
        "": f"paths: {tmp_path}/ is a folder: name the files in it, such as {tmp_path}/*.log",
        "broken.gz": f"{tmp_path}/broken.gz is broken: Compressed file ended before the end-of-stream marker was reached; what stood before"
        " that has been read",
    }.items():
        with pytest.raises(lc.LogError) as caught:
            explain(paths=(f"{tmp_path}/{name}",))
        assert str(caught.value) == message


class Zstd(Journal):
    """A zstd that unpacks everything to what it is given."""


PACKED = {"gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress, "zst": lambda _data: b"\x28\xb5\x2f\xfd...."}
ENDS = "Compressed file ended before the end-of-stream marker was reached"
BROKEN = {
    "gz": f"is broken: {ENDS}; what stood before that has been read",
    "xz": f"is broken: {ENDS}; what stood before that has been read",
    "bz2": f"is broken: {ENDS}; what stood before that has been read",
    "zst": "is broken: Read error (39) : premature end; what stood before that has been read",
}


@pytest.mark.parametrize("kind", PACKED)
def test_a_packed_log_is_read_as_it_is(tmp_path: Path, kind: str) -> None:
    """Two files one after the other, as people join them; and the twin that has lost its end."""
    log = tmp_path / f"mail.log.{kind}"
    text = f"{postfix('550 5.1.1 User unknown')}\n" * 500
    log.write_bytes(PACKED[kind](text.encode()) * 2)
    unpacks = Zstd(text * 2)
    assert explain(paths=(str(log),), host=Host(runner=unpacks))["failures"] == 1000
    assert unpacks.argv == ([*lc.ZSTD, str(log)] if kind == "zst" else [])
    log.write_bytes(log.read_bytes()[:-5])
    cut = Zstd(text, code=1, stderr=f"{log} : Read error (39) : premature end \n")
    with pytest.raises(lc.LogError) as caught:
        explain(paths=(str(log),), host=Host(runner=cut))
    assert str(caught.value) == f"{log} {BROKEN[kind]}"


def test_what_unpacks_is_bounded_and_may_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("xz", "bz2", "zst"):
        (tmp_path / kind).write_bytes(PACKED[kind](b"x\n"))
    (tmp_path / "xz").write_bytes(lzma.compress((b"x" * 4095 + b"\n") * 8192, preset=0))
    tracemalloc.start()
    assert explain(paths=(str(tmp_path / "xz"),))["lines"] == 8192
    assert tracemalloc.get_traced_memory()[1] < 10 * lc.PIECE, "32 MB were not held as a whole"
    tracemalloc.stop()
    monkeypatch.setattr(lc, "UNPACK_MEMORY", 1 << 10)
    (tmp_path / "bz2").write_bytes(b"BZh9" + b"no block of it" * 10)
    none = Zstd(error="zstd cannot be started: No such file or directory")
    for kind, message in {
        "xz": "is broken: Memory usage limit exceeded; what stood before that has been read",
        "bz2": "is broken: Invalid data stream; what stood before that has been read",
        "zst": "is packed with zstd, and zstd cannot be started: No such file or directory: install zstd, or unpack the file",
    }.items():
        with pytest.raises(lc.LogError) as caught:
            explain(paths=(str(tmp_path / kind),), host=Host(runner=none))
        assert str(caught.value) == f"{tmp_path}/{kind} {message}"


# --- where logs are --------------------------------------------------------------------------------


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "var" / "log"
    folder.mkdir(parents=True)
    yield folder


def put(path: Path, text: str, *, days: float) -> None:
    data = f"{text}\n".encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    moment = (NOW - timedelta(days=days)).timestamp()
    os.utime(path, (moment, moment))


def test_logs_are_found_with_those_put_aside_the_oldest_first(logs: Path) -> None:
    put(logs / "mail.log", attempt("AAAA11111", 9, "sent", "250 ok", dsn="2.0.0"), days=0)
    put(logs / "mail.log.1", attempt("AAAA11111", 1, "deferred", GREY), days=1)
    put(logs / "mail.log.2.gz", attempt("BBBB22222", 1, "deferred", GREY), days=2)
    put(logs / "mail.log.3.gz", attempt("CCCC33333", 1, "deferred", GREY), days=20)
    put(logs / "mail.logger", attempt("DDDD44444", 1, "deferred", GREY), days=0)
    journal = Journal()
    result = explain(host=Host(root=str(logs.parents[1]), runner=journal))
    assert [Path(source).name for source in result["sources"]] == ["mail.log.2.gz", "mail.log.1", "mail.log"]
    assert (result["groups"][0]["count"], result["groups"][0]["delivered"], journal.argv) == (2, 1, [])


def test_without_files_of_syslog_the_journal_is_read_too(logs: Path) -> None:
    (logs / "exim4").mkdir()
    put(
        logs / "exim4" / "mainlog",
        "2026-11-29 11:00:00 1xXUA1-0000gK-17 ** a@there.example: Unrouteable address",
        days=0,
    )
    record = json.dumps(
        {"SYSLOG_IDENTIFIER": "postfix/smtp", "MESSAGE": attempt("AAAA11111", 1, "deferred", GREY).partition("]: ")[2]}
    )
    journal = Journal(f"{record}\n")
    result = explain(host=Host(root=str(logs.parents[1]), runner=journal))
    assert causes_of(result) == {"unrouteable": 1, "greylisted": 1}
    assert result["sources"] == (f"{logs}/exim4/mainlog", "journal")
    assert journal.argv[-2:] == [f"--since=@{int((NOW - timedelta(days=7)).timestamp())}", "SYSLOG_FACILITY=2"]


@pytest.mark.parametrize(
    ("journal", "message"),
    [
        (Journal(error="journalctl cannot be started: No such file or directory"),
         "the journal cannot be read: journalctl cannot be started: No such file or directory"),
        (Journal(stderr="Hint: You are currently not seeing messages from other users and the system."),
         "the journal cannot be read: Hint: You are currently not seeing messages from other users and the system."),
        (Journal(code=1), "the journal cannot be read: journalctl ended with 1"),
    ],
)  # fmt: skip
def test_a_journal_that_cannot_be_read_is_named_and_an_error_where_it_was_asked_for(
    logs: Path, journal: Journal, message: str
) -> None:
    result = explain(host=Host(root=str(logs.parents[1]), runner=journal))
    assert (result["unseen"], result["failures"]) == ((message,), 0)
    assert f"not seen: {message}" in result["table"]
    with pytest.raises(lc.LogError, match=re.escape(message)):
        explain(host=Host(runner=journal), journal=True)


def test_what_is_older_is_left_out_and_counted(logs: Path) -> None:
    put(logs / "mail.log", f"{attempt('AAAA11111', 1, 'deferred', GREY)}\n{postfix('550 5.1.1 User unknown')}", days=0)
    result = explain(host=Host(root=str(logs.parents[1])), days=0.5)
    assert (causes_of(result), result["older"]) == ({"greylisted": 1}, 1)


def test_the_year_of_a_line_without_one_is_the_last_before_its_file_was_written(tmp_path: Path) -> None:
    line = f"Mar  3 10:00:00 mail postfix/smtp[1]: {SENT}5.1.1, status=bounced (host mx[192.0.2.1] said: 550 5.1.1 User unknown)"
    put(tmp_path / "mail.log.9", line, days=900)
    (group,) = explain(paths=(str(tmp_path / "mail.log.9"),))["groups"]
    assert group["first"].startswith("2024-03-03")


# --- bounds ----------------------------------------------------------------------------------------


def test_what_is_kept_has_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(le, "FOLLOWED", 50)
    monkeypatch.setattr(le, "GROUPS", 5)
    monkeypatch.setattr(le, "DOMAINS", 20)
    monkeypatch.setattr(le, "REPLIES", 30)
    explainer = le.Explainer({"grey": mc.CATALOGUE["greylisted"]}, le.Wish())
    letters = "abcdefghij"
    for number in range(1000):
        word = "".join(letters[int(digit)] for digit in str(number))
        text = attempt(f"A{number:08X}", 1, "deferred", f"host x said: 450 Owl {word}", to=f"a@d{number}.example")
        line = ml.parse_line(text, NOW)
        assert line is not None
        explainer.take(line)
    assert len(explainer.groups) <= 5 + 1 + 1
    assert len(explainer.domains) == 21
    assert explainer.domains["(others)"].total() == 980
    assert explainer._followed == sum(map(len, explainer._open.values())) == 50
    assert sum(group.waiting for group in explainer.groups.values()) == 50
    assert len(explainer._known) <= 30
    assert sum(group.count for group in explainer.groups.values()) == explainer.failures == 1000
    assert all(len(group.lines) <= 2 and len(group.ids) <= 5 for group in explainer.groups.values())


def test_a_line_without_end_is_cut() -> None:
    pieces = iter([b"a" * lc.PIECE] * 20 + [b"\nshort\nlast"])
    first, *rest = (line for group in lc.split_lines(pieces) for line in group)
    assert len(first) < 3 * lc.PIECE
    assert rest == [b"short", b"last"]


def test_the_command_port_streams_and_ends_what_nobody_reads() -> None:
    runner = Runner()
    stream = runner.stream(["sh", "-c", "echo one; echo two >&2; exit 3"])
    pieces = [next(stream)]
    with pytest.raises(StopIteration) as end:
        while True:
            pieces.append(next(stream))
    result = end.value.value
    assert (b"".join(pieces), result.code, result.stderr) == (b"one\n", 3, "two\n")
    endless = runner.stream(["yes"])
    assert next(endless).startswith(b"y\n")
    endless.close()
    with pytest.raises(CommandError, match=r"^/none cannot be started: No such file or directory$"):
        next(runner.stream(["/none"]))
    with pytest.raises(CommandError, match=r"^sleep did not end within 0.1 seconds$"):
        list(runner.stream(["sleep", "600"], timeout=0.1))


def test_passwords_and_what_a_terminal_obeys_are_not_shown() -> None:
    result = explain(text=postfix("550 5.9.9 \x1b[31m AUTH PLAIN AHdlYjEAaHVudGVyMg== password=hunter2"))
    assert (
        "hunter2" not in json.dumps(result)
        and "AHdl" not in json.dumps(result)
        and "\x1b" not in "".join(result["table"])
    )


# --- strangers -------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [*(text for dummy, text in LINES[:8]), *(text for dummy, text in SEED), "\n", " status=deferred (", "host x said: ", "550-", "550 5.7.1 ",
     "to=<", "<a@b.example>", '" result="', "== ", "** ", "reject: RCPT from ", "fatal: ", "SMTP error from remote mail server after ", ": ",
     "\\n", "[", "(", "\x00", "\u2028", "9" * 300, "a." * 200, "a-1" * 300, "é", '{"MESSAGE": "'])  # fmt: skip


@given(st.lists(PIECES | st.text(max_size=40), max_size=12).map("".join))
def test_hostile_text_is_no_error(text: str) -> None:
    result = explain(text=text, causes=(OWN,))
    json.dumps(result)
    assert sum(group["count"] for group in result["groups"]) == result["failures"]
    assert all(line.isprintable() for line in result["table"])
    explainer = le.Explainer(mc.CATALOGUE, le.Wish())
    explainer.read(
        lc.split_lines(iter([text.encode("utf-8", "surrogatepass")] * 3)), lambda one: ml.parse_line(one, NOW)
    )
    json.dumps(explainer.report(5).as_dict())


@given(st.text(max_size=300))
def test_a_reply_is_alike_to_itself_with_other_numbers(words: str) -> None:
    one, other = (mf.said(f"host mx[192.0.2.1] said: 550 5.7.{number} {words} id {number}12345") for number in (1, 2))
    assert one.bare == other.bare


def test_the_guide_has_a_row_for_each_cause() -> None:
    rows = re.findall(
        r"^\| `([a-z_0-9]+)` \|", (ROOT / "docs" / "explain.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert rows == list(mc.CATALOGUE)
