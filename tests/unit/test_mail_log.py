# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Queues and logs of Postfix and Exim as they are written, and as a stranger might have them written."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _mail_log as ml
from hypothesis import given
from hypothesis import strategies as st

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
SENT = (
    "18F891AA7F9: to=<ops@outside.test>, orig_to=<root>, relay=relay1.corp.example[2001:db8:43:2::25]:25, delay=0.4,"
    " delays=0/0.19/0.01/0.2, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 4D3281A0412)"
)
DEFERRED = (
    "4bXkQz1nTzz2x: to=<a@example.net>, relay=none, delay=20, delays=0/0/20/0, dsn=4.4.1, status=deferred"
    " (connect to relay1.example.org[192.0.2.25]:25: Connection refused)"
)
BOUNCED = (
    "18F891AA7F9: to=<x@example.net>, relay=relay1.example.org[192.0.2.25]:25, delay=1, dsn=5.7.1, status=bounced"
    " (host relay1.example.org[192.0.2.25] said: 554 5.7.1 <x@example.net>: Relay access denied (in reply to RCPT TO))"
)
EXIM_SENT = (
    "1xXUA1-0000gK-17 => ops@outside.test <root@web1.example.org> R=smarthost T=remote_smtp_smarthost"
    ' H=relay1.corp.example [2001:db8:43:2::25] X=TLS1.3:AES:256 CV=no DN="CN=r" K C="250 2.0.0 Ok: queued as 8A98"'
)
EXIM_DEFERRED = (
    "1vOxyz-00000001abc-2def == a@example.net R=smarthost T=remote_smtp_smarthost defer (111): Connection refused"
)
EXIM_BOUNCED = (
    "1xXUA1-0000gK-17 ** x@example.net R=smarthost T=remote_smtp_smarthost H=relay1.example.org [192.0.2.25]: SMTP error"
    " from remote mail server after RCPT TO:<x@example.net>: 550 relay not permitted"
)


def event(text: str) -> ml.Event | None:
    return ml.event(ml.Line(NOON, "", text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SENT, ("18F891AA7F9", "delivered", "ops@outside.test", "relay1.corp.example[2001:db8:43:2::25]:25",
                "250 2.0.0 Ok: queued as 4D3281A0412")),
        (DEFERRED, ("4bXkQz1nTzz2x", "deferred", "a@example.net", "",
                    "connect to relay1.example.org[192.0.2.25]:25: Connection refused")),
        (BOUNCED, ("18F891AA7F9", "bounced", "x@example.net", "relay1.example.org[192.0.2.25]:25",
                   "host relay1.example.org[192.0.2.25] said: 554 5.7.1 <x@example.net>: Relay access denied"
                   " (in reply to RCPT TO)")),
        (EXIM_SENT, ("1xXUA1-0000gK-17", "delivered", "ops@outside.test", "relay1.corp.example[2001:db8:43:2::25]",
                     "250 2.0.0 Ok: queued as 8A98")),
        (EXIM_DEFERRED, ("1vOxyz-00000001abc-2def", "deferred", "a@example.net", "", "Connection refused")),
        (EXIM_BOUNCED, ("1xXUA1-0000gK-17", "bounced", "x@example.net", "relay1.example.org[192.0.2.25]",
                        "SMTP error from remote mail server after RCPT TO:<x@example.net>: 550 relay not permitted")),
    ],
)  # fmt: skip
def test_an_attempt_of_either_program(text: str, expected: tuple[str, ...]) -> None:
    found = event(text)
    assert found is not None
    assert (found.id, found.outcome, found.recipient, found.relay, found.reply) == expected


@pytest.mark.parametrize(
    "text",
    [
        SENT.replace("250 2.0.0 Ok: queued as", "forwarded as"),  # what an alias makes of it is a message of its own
        "18F891AA7F9: removed",
        "NOQUEUE: reject: RCPT from unknown[192.0.2.9]: 554 5.7.1 <a@b>: Relay access denied; status=sent (250 ok)",
        "1xXUA1-0000gK-17 Completed",
        "1xXUA1-0000gK-17 <= a@corp.example U=root P=local S=324",
        "",
    ],
)
def test_what_is_no_attempt(text: str) -> None:
    assert event(text) is None


# --- lines -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "moment", "program", "said"),
    [
        ("Nov 20 11:59:58 web1 postfix/smtp[123]: x: y", "2026-11-20T11:59:58+00:00", "postfix/smtp", "x: y"),
        ("Nov  5 01:02:03 web1 postfix/smtp[123]: x", "2026-11-05T01:02:03+00:00", "postfix/smtp", "x"),
        ("Dec 24 11:59:58 web1 postfix/qmgr: x", "2025-12-24T11:59:58+00:00", "postfix/qmgr", "x"),  # last year's
        ("2026-11-20T12:59:58.123456+01:00 web1 exim[1]: x", "2026-11-20T11:59:58.123456+00:00", "exim", "x"),
        ("2026-11-20 11:59:58 1xXUA1-0000gK-17 Completed", "2026-11-20T11:59:58+00:00", "", "1xXUA1-0000gK-17 Completed"),
        ("2026-11-20 11:59:58.123 +0100 [77] x", "2026-11-20T10:59:58+00:00", "", "x"),
    ],
)  # fmt: skip
def test_a_line_of_each_form(text: str, moment: str, program: str, said: str) -> None:
    (line,) = ml.parse_log(f"broken\n{text}\n", NOON)
    assert line.time is not None
    assert (line.time.isoformat(), line.program, line.text) == (moment, program, said)


def test_a_file_s_times_are_in_the_host_s_zone() -> None:
    now = NOON.astimezone(timezone(timedelta(hours=2)))
    lines = ml.parse_log("Nov 20 13:00:00 web1 postfix/smtp[1]: x\n2026-11-20 13:00:00 x\n", now)
    assert [line.time for line in lines] == [datetime(2026, 11, 20, 11, 0, tzinfo=UTC)] * 2


@pytest.mark.parametrize(
    "text", ["Feb 30 11:59:58 web1 x[1]: y", "Foo 20 11:59:58 web1 x[1]: y", "2026-13-20 11:59:58 x"]
)
def test_a_time_that_cannot_be_is_passed_over(text: str) -> None:
    assert ml.parse_log(text, NOON) == []


def test_the_journal() -> None:
    records = [
        {"__REALTIME_TIMESTAMP": "1795176000000000", "SYSLOG_IDENTIFIER": "postfix/smtp", "MESSAGE": "x: y"},
        {"__REALTIME_TIMESTAMP": "1795176000000000", "SYSLOG_IDENTIFIER": ["a", "b"], "MESSAGE": [104, 195, 164, 300]},
        {"MESSAGE": "when?"},
        {"MESSAGE": None},
        {"SYSLOG_IDENTIFIER": "x"},
        [],
    ]
    text = "\n".join(map(json.dumps, records)) + "\n{\n-- cursor\n"
    found = [(line.time, line.program, line.text) for line in ml.parse_journal(text)]
    assert found == [(NOON, "postfix/smtp", "x: y"), (NOON, "", "hä"), (None, "", "when?")]


def test_what_journal_and_file_both_tell_counts_once() -> None:
    twice = [ml.Line(NOON, "", SENT), ml.Line(NOON + timedelta(microseconds=9), "", SENT)]
    assert len(ml.events(twice)) == 1
    assert len(ml.events([*twice, ml.Line(NOON + timedelta(seconds=1), "", SENT)])) == 2


# --- queues ----------------------------------------------------------------------------------


def test_postfix_s_queue() -> None:
    text = (
        '{"queue_name": "deferred", "queue_id": "4bXkQz1nTzz2x", "arrival_time": 1795176000, "message_size": 300,'
        ' "forced_expire": false, "sender": "a@b.example", "recipients": [{"address": "c@d.example",'
        ' "delay_reason": "Connection refused"}, {"address": "e@f.example", "delay_reason": "Connection refused"}]}\n'
        '{"queue_name": "hold", "queue_id": "18F891AA7F9", "arrival_time": 1795176000, "sender": "", "recipients": []}\n'
        '{"queue_id": 7}\nnonsense\n'
    )
    assert ml.parse_postqueue(text) == [
        ml.Queued("4bXkQz1nTzz2x", "a@b.example", NOON, ("Connection refused",)),
        ml.Queued("18F891AA7F9", "", NOON, (), held=True),
    ]


def test_exim_s_queue_with_reasons_of_its_log() -> None:
    text = (
        " 4m   332 1vOxyz-00000001abc-2def <a@b.example>\n          c@d.example\n        D e@f.example\n\n"
        "25h  2.9K 1xXUA1-0000gK-17 <> *** frozen ***\n          root@web1.example.org\n\n"
        " 3d   300 1xXUA1-0000gK-18 <x@y.example> (www-data)\n          z@y.example\n\n"
        "   1xXUA1 is no line\n"
    )
    queue = ml.parse_exim_queue(text, NOON)
    assert [(one.id, one.sender, one.arrival, one.held) for one in queue] == [
        ("1vOxyz-00000001abc-2def", "a@b.example", NOON - timedelta(minutes=4), False),
        ("1xXUA1-0000gK-17", "", NOON - timedelta(hours=25), True),
        ("1xXUA1-0000gK-18", "x@y.example", NOON - timedelta(days=3), False),
    ]
    known = ml.events([ml.Line(NOON, "", EXIM_DEFERRED)])
    assert [one.reasons for one in ml.with_reasons(queue, known)] == [("Connection refused",), (), ()]
    waits = "1vOxyz-00000001abc-2def == a@example.net R=r T=t defer (-54): retry time not reached for any host"
    later = ml.events([ml.Line(NOON, "", EXIM_DEFERRED), ml.Line(NOON + timedelta(hours=1), "", waits)])
    assert ml.with_reasons(queue[:1], later)[0].reasons == ("Connection refused",)
    assert ml.with_reasons(queue[:1], later[1:])[0].reasons == ("retry time not reached for any host",)


def test_reasons_that_differ_in_addresses_alone_are_one() -> None:
    queue = [
        ml.Queued("A", "", NOON, ("connect to r[192.0.2.1]:25: Connection refused",)),
        ml.Queued("B", "", NOON, ("host not found",)),
        ml.Queued("C", "", NOON, ("connect to r[2001:db8::1]:25: Connection refused",)),
    ]
    assert ml.reasons(queue) == [("connect to r[192.0.2.1]:25: Connection refused", 2), ("host not found", 1)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("18F891AA7F9", True), ("4bXkQz1nTzz2x", True), ("1xXUA1-0000gK-17", True), ("1vOxyz-00000001abc-2def", True),
     ("-x", False), ("18F891AA7F9 ; x", False), ("", False)],
)  # fmt: skip
def test_ids(text: str, expected: bool) -> None:
    assert ml.is_queue_id(text) is expected


# --- the gateway -----------------------------------------------------------------------------

CLIENT = "web1.example.org[192.0.2.31]"


def lines(*texts: str) -> list[ml.Line]:
    return [ml.Line(NOON + timedelta(seconds=number), "postfix/smtpd", text) for number, text in enumerate(texts)]


def test_sessions_of_a_client_and_the_way_of_its_mail_through_a_filter() -> None:
    found = ml.sessions(
        lines(
            f"connect from {CLIENT}",
            f"AAAA11111: client={CLIENT}",
            "AAAA11111: message-id=<1@example.org>",
            f"disconnect from {CLIENT} ehlo=2 mail=1 commands=9",
            "connect from other[192.0.2.3]",
            "BBBB22222: client=localhost[127.0.0.1]",
            "AAAA11111: to=<a@b>, relay=127.0.0.1[127.0.0.1]:10024, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as BBBB22222)",
            "BBBB22222: to=<a@b>, relay=mx.b[198.51.100.1]:25, dsn=2.0.0, status=sent (250 ok)",
            "CCCC33333: to=<q@b>, relay=mx.b[198.51.100.1]:25, dsn=2.0.0, status=sent (250 ok)",
        ),
        ["192.0.2.31"],
    )
    assert (len(found.lines), found.messages, found.refused_last) == (3, 1, False)
    assert [one.id for one in found.events] == ["AAAA11111", "BBBB22222"]


REFUSED = f"NOQUEUE: reject: RCPT from {CLIENT}: 554 5.7.1 <a@b>: Relay access denied; from=<> to=<a@b> proto=ESMTP"


@pytest.mark.parametrize(
    ("texts", "refused"),
    [
        ((REFUSED,), True),
        ((REFUSED, f"AAAA11111: client={CLIENT}"), False),
        ((f"AAAA11111: client={CLIENT}", REFUSED), True),
        (("H=web1.example.org [192.0.2.31] F=<a@b> rejected RCPT <c@d>: relay not permitted",), True),
        ((f"warning: {CLIENT}: SASL LOGIN authentication failed: authentication failure",), True),
        ((REFUSED.replace("192.0.2.31", "192.0.2.3"),), False),  # another client
        ((REFUSED.replace("192.0.2.31", "192.0.2.311"),), False),
    ],
)
def test_what_was_refused_last(texts: tuple[str, ...], refused: bool) -> None:
    assert ml.sessions(lines(*texts), ["192.0.2.31"]).refused_last is refused


def test_no_client_has_no_sessions() -> None:
    assert ml.sessions(lines(REFUSED), []).lines == ()


# --- secrets ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("AUTH PLAIN AHdlYjEAaHVudGVyMg==", "AUTH PLAIN ***"),
        ("smtp_sasl_password=hunter2, x", "smtp_sasl_password=***, x"),
        ("Password: hunter2", "Password: ***"),
        ("ldap://bind:hunter2@ldap.example.org/", "ldap://bind:***@ldap.example.org/"),
        ("of web1:xyzzy1 and AHdlYjE= eHl6enkx", "of web1:*** and AHdlYjE= ***"),
        ("the author of it", "the author of it"),
    ],
)
def test_passwords_do_not_leave(text: str, expected: str) -> None:
    assert ml.redact(text, ["xyzzy1"]) == expected


# --- strangers -------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [SENT, DEFERRED, EXIM_SENT, EXIM_BOUNCED, "Nov 20 11:59:58 web1 x[1]: ", "2026-11-20 11:59:58 ", "[", "<", "(", '"', "\n",
     " 4m   332 1vOxyz-00000001abc-2def <", '{"MESSAGE": ', '{"queue_id": "', "9" * 400, "\x00", "\u2028", " H=", "password=",
     "0000-00-00 00:00:00 x"]
)  # fmt: skip
HOSTILE = st.lists(PIECES | st.text(max_size=40), max_size=12).map("".join)


@given(HOSTILE)
def test_hostile_text_is_no_error(text: str) -> None:
    found = [*ml.parse_log(text, NOON), *ml.parse_journal(text), *(ml.Line(None, "", one) for one in text.splitlines())]
    for one in ml.events(found):
        json.dumps(one.as_dict())
    queue = ml.with_reasons([*ml.parse_postqueue(text), *ml.parse_exim_queue(text, NOON)], ml.events(found))
    assert sum(count for dummy, count in ml.reasons(queue)) >= 0
    ml.sessions(found, [text, "192.0.2.31"])
    assert "hunter2" not in ml.redact(f"{text} password=hunter2", [])


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), lambda one: st.lists(one) | st.dictionaries(
    st.sampled_from(["queue_id", "recipients", "delay_reason", "arrival_time", "sender", "queue_name", "MESSAGE",
                     "__REALTIME_TIMESTAMP", "SYSLOG_IDENTIFIER"]), one)))  # fmt: skip
def test_json_of_any_shape_is_no_error(value: object) -> None:
    text = json.dumps(value)
    ml.parse_postqueue(text)
    ml.parse_journal(text)
