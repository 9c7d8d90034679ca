# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from postmaster_mailer.answers import Outcome, classify, kind_of_bounce
from postmaster_mailer.postfix_log import Queued, Removed, Tried
from postmaster_mailer.postfix_log import read as read_line
from postmaster_mailer.returnpath import BOUNCE, UNSUBSCRIBE, local_part

SECRET = b"s" * 32
DATA = Path(os.environ.get("MAIL_TEST_DATA") or "/nowhere")
BOUNCED = local_part(SECRET, BOUNCE, "u1") + "@rp.example.org"

DSN = """From: MAILER-DAEMON@mx.example.com
To: {to}
Subject: Undelivered Mail Returned to Sender
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain

no such user
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.com

Final-Recipient: rfc822; b@example.com
Action: {action}
Status: {status}
Remote-MTA: dns; mx.example.com [192.0.2.7]
Diagnostic-Code: smtp; {said}

--b
Content-Type: text/rfc822-headers

Return-Path: <{path}>
From: a@example.org
--b--
"""
ARF = """From: fbl@example.com
Subject: complaint
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="b"

--b
Content-Type: text/plain

spam
--b
Content-Type: message/feedback-report

Feedback-Type: {kind}
User-Agent: x/1
Version: 1
Original-Rcpt-To: <b@example.com>
Source-IP: 192.0.2.7

--b
Content-Type: message/rfc822

Return-Path: <{path}>
From: a@example.org
Subject: one

hello
--b--
"""


def dsn(
    action: str = "failed", status: str = "5.1.1", said: str = "550 5.1.1 no such user", path: str = BOUNCED
) -> bytes:
    return DSN.format(to=BOUNCED, action=action, status=status, said=said, path=path).encode()


def test_a_bounce() -> None:
    answer = classify(dsn(), BOUNCED, (SECRET,))
    assert (answer.uuid, answer.proven) == ("u1", True)
    assert answer.outcomes == (Outcome("bounce", "hard", "b@example.com", "550 5.1.1 no such user", "192.0.2.7"),)


@pytest.mark.parametrize("action", ["delayed", "delivered", "relayed", "expanded"])
def test_what_has_not_failed_is_no_bounce(action: str) -> None:
    assert [one.kind for one in classify(dsn(action), BOUNCED, (SECRET,)).outcomes] == ["delayed"]


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        ("5.1.1", "550 no such user", "hard"),
        ("5.0.0", "no", "hard"),
        ("5.2.2", "552 mailbox full", "soft"),
        ("5.0.0", "550 over quota", "soft"),
        ("4.2.2", "452 later", "soft"),
        ("5.7.1", "550 blocked", "soft"),
        ("5.1.2", "host not found", "unroutable"),
        ("5.4.4", "name service error", "unroutable"),
        ("", "550 5.1.1 no", "hard"),
        ("", "451 later", "soft"),
        ("", "no idea", "hard"),
    ],
)
def test_kinds_of_bounces(status: str, said: str, kind: str) -> None:
    assert kind_of_bounce(status, said) == kind


def test_a_complaint_names_its_message_by_the_return_path_in_it() -> None:
    answer = classify(ARF.format(kind="abuse", path=BOUNCED).encode(), "abuse@example.org", (SECRET,))
    assert (answer.uuid, answer.proven) == ("u1", True)
    assert answer.outcomes == (Outcome("spam-report", "", "b@example.com", "abuse", "192.0.2.7"),)


def test_a_return_path_that_we_did_not_make_proves_nothing() -> None:
    forged = local_part(b"other" * 8, BOUNCE, "u1") + "@rp.example.org"
    assert classify(ARF.format(kind="abuse", path=forged).encode(), "abuse@example.org", (SECRET,)).uuid is None
    answer = classify(dsn(), forged, (SECRET,))
    assert (answer.uuid, answer.proven) == ("u1", False)


def test_a_complaint_that_is_taken_back_is_none() -> None:
    answer = classify(ARF.format(kind="not-spam", path=BOUNCED).encode(), "abuse@example.org", (SECRET,))
    assert [one.kind for one in answer.outcomes] == ["delayed"]


@pytest.mark.parametrize("field", ["Auto-Submitted: auto-replied", "Precedence: auto_reply", "X-Autoreply: yes"])
def test_an_automatic_reply(field: str) -> None:
    raw = f"From: B <b@example.com>\n{field}\nSubject: away\n\nI am on holiday\n".encode()
    assert classify(raw, BOUNCED, (SECRET,)).outcomes == (Outcome("bounce", "autoreply", "b@example.com", "away"),)
    other = raw.replace(field.encode(), b"X-Any: yes")
    assert classify(other, BOUNCED, (SECRET,)).outcomes == (Outcome(""),)


def test_who_wants_no_more() -> None:
    address = local_part(SECRET, UNSUBSCRIBE, "u1") + "@example.org"
    answer = classify(b"From: b@example.com\n\n\n", address, (SECRET,))
    assert (answer.uuid, answer.proven, answer.outcomes) == ("u1", True, (Outcome("unsubscribe"),))


# Of these, no program knows what they mean: read one, and you see that it is written for people alone.
UNKNOWN = {"bounce_01.txt", "dumbass_01.txt", "groupwise_03.txt", "simple_43.txt"}
# Servers still try, or (the last) an automatic reply.
NO_FAILURE = {f"dsn_{number}.txt" for number in ("03", "05", "06", "07", "08", "17", "18")}
NO_FAILURE |= {f"simple_{number}.txt" for number in ("03", "21", "22", "28", "35", "40")} | {"qmail_08.txt"}


@pytest.mark.skipif(not (DATA / "bounces").is_dir(), reason="not run: MAIL_TEST_DATA is not set")
def test_bounces_of_many_programs() -> None:
    found = {}
    for path in sorted((DATA / "bounces").glob("*.txt")):
        (first, *dummy) = classify(path.read_bytes(), "postmaster@example.org", (SECRET,)).outcomes
        found[path.name] = (
            "failure" if first.kind == "bounce" and first.type != "autoreply" else first.kind or "unknown"
        )
    assert {name for name, kind in found.items() if kind == "unknown"} == UNKNOWN
    assert {name for name, kind in found.items() if kind not in ("unknown", "failure")} == NO_FAILURE
    assert Counter(found.values())["failure"] == 99


@pytest.mark.skipif(not (DATA / "arf").is_dir(), reason="not run: MAIL_TEST_DATA is not set")
def test_complaints_of_many_programs() -> None:
    kinds = {
        path.name: [one.kind for one in classify(path.read_bytes(), "abuse@example.org", (SECRET,)).outcomes]
        for path in sorted((DATA / "arf").glob("*.eml"))
    }
    # The last three tell of a failed check (RFC 6591): nobody complains.
    assert kinds == {
        "001.eml": ["spam-report"],
        "002.eml": ["spam-report"],
        "003.eml": ["delayed"],
        "004.eml": ["delayed"],
        "005.eml": ["delayed"],
    }


@given(st.binary(max_size=300), st.sampled_from([b"delivery-status", b"feedback-report", b"rfc822"]))
def test_hostile_answers_make_no_trouble(text: bytes, kind: bytes) -> None:
    raw = (
        b"Content-Type: multipart/report; boundary=b\n\n--b\nContent-Type: message/"
        + kind
        + b"\n\n"
        + text
        + b"\n--b--\n"
    )
    assert classify(raw, BOUNCED, (SECRET,)).outcomes
    assert classify(text, BOUNCED, (SECRET,)).outcomes


# -- the log of Postfix --------------------------------------------------------------------------------

SENT = "to=<b@example.com>, relay=mx.example.com[192.0.2.7]:25, delay=0.3, delays=0.1/0/0.1/0.1, dsn=2.0.0, status=sent (250 2.0.0 Ok)"


@pytest.mark.parametrize(
    "date", ["Nov 29 01:00:00 host ", "2026-11-29T01:00:00.123456+00:00 host ", "<22>Nov 29 01:00:00 host ", ""]
)
@pytest.mark.parametrize("id_", ["0A1B2C3D4E", "ABCDEF12345", "4bGk8Z3nBkzBq1W"])
@pytest.mark.parametrize(
    "tag", ["postfix/smtp[12]: ", "postfix/smtp: ", "postfix-out/smtp[12]: ", "postfix/slow/smtp[12]: "]
)
def test_a_delivery_in_every_form(date: str, id_: str, tag: str) -> None:
    said = Tried(id_, "b@example.com", "sent", "2.0.0", "192.0.2.7", "250 2.0.0 Ok", True)
    assert read_line(f"{date}{tag}{id_}: {SENT}") == said


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "postfix/qmgr[1]: 0A1B2C3D4E: from=<bounce-u1@rp>, size=500, nrcpt=1 (queue active)",
            Queued("0A1B2C3D4E", "bounce-u1@rp"),
        ),
        ("postfix/qmgr[1]: 0A1B2C3D4E: removed", Removed("0A1B2C3D4E")),
        (
            "postfix/qmgr[1]: 0A1B2C3D4E: from=<a@b>, status=expired, returned to sender",
            Tried("0A1B2C3D4E", "", "expired", "4.4.7", "", "returned to sender", True),
        ),
        (
            "postfix/smtp[1]: 0A1B2C3D4E: to=<b@c>, orig_to=<d@e>, relay=none, delay=1, delays=1/0/0/0, dsn=4.4.1, "
            "status=deferred (connect to c[2001:db8::1]:25: Connection timed out)",
            Tried(
                "0A1B2C3D4E", "b@c", "deferred", "4.4.1", "", "connect to c[2001:db8::1]:25: Connection timed out", True
            ),
        ),
        (
            "postfix/smtp[1]: 0A1B2C3D4E: to=<b@c>, relay=127.0.0.1[127.0.0.1]:10024, delay=1, delays=1/0/0/0, dsn=2.0.0, "
            "status=sent (250 2.0.0 Ok: queued as 1A1B2C3D4E)",
            Tried("0A1B2C3D4E", "b@c", "sent", "2.0.0", "127.0.0.1", "250 2.0.0 Ok: queued as 1A1B2C3D4E", False),
        ),
        ("postfix/smtpd[1]: connect from x[192.0.2.7]", None),
        ("postfix/cleanup[1]: 0A1B2C3D4E: message-id=<u1@example.org>", None),
        ("postfix/smtp[1]: 0A1B2C3D4E: host c[192.0.2.7] said: 451 later (in reply to RCPT TO command)", None),
        ("", None),
    ],
)
def test_lines_of_the_log(line: str, expected: object) -> None:
    assert read_line(line) == expected


@given(st.text(max_size=200))
def test_hostile_lines_make_no_trouble(text: str) -> None:
    read_line(text)
    assert read_line(f"postfix/smtp[1]: 0A1B2C3D4E: {text}") is None or "to=<" in text
