# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What leaves the house is text that every reader of JSON can take, whatever strangers' servers have said."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from postmaster_mailer import events
from postmaster_mailer.backdata import Measured, Plain

NOW = 1_795_900_000
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=30)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("550 5.1.1 kein Empfänger", "550 5.1.1 kein Empfänger"),
        (b"550 kein Empf\xe4nger".decode("utf-8", "surrogateescape"), "550 kein Empf\ufffdnger"),
        ("550 \ud83d", "550 \ufffd"),
        ("550 \U0001f4ec", "550 \U0001f4ec"),
        ("550 \x00\x1b[2J\x7f\x9b", "550 \ufffd\ufffd[2J\ufffd\ufffd"),
        ("550-one\r\n550 two\tthree", "550-one\n550 two\tthree"),
    ],
)
def test_a_reason(said: str, shown: str) -> None:
    event = events.bounce("hard", uuid="u1", now=NOW, reason=said, rcpt="b@example.com")
    assert json.loads(event)["reason"] == shown
    # One that another version has put into the stream as it was.
    raw = json.dumps({"event": "bounce", "uuid": "u1", "timestamp": NOW, "fd": "a.b", "rcpt": ["b@c"], "reason": said})
    for form in (Plain(), Measured(1, "secret")):
        assert json.loads(form.request([raw.encode()], NOW)[0].decode("ascii"))[0]["reason"] == shown


@given(st.dictionaries(st.sampled_from(["reason", "msg", "email", "ip", "type"]), ANY_TEXT | st.lists(ANY_TEXT)))
def test_whatever_is_said_what_is_posted_is_utf8(more: dict[str, object]) -> None:
    event = events.dumps("bounce", uuid="u1", now=NOW, fd="example.org", rcpt=["b@example.com"], **more)
    for form in (Plain(), Measured(1, "secret")):
        posted = json.loads(form.request([event], NOW)[0].decode("utf-8"))
        text = json.dumps(posted, ensure_ascii=False).encode("utf-8")  # halves of characters would raise here
        assert not set(text.decode()) & {chr(number) for number in (0, 27, 127, 155)}
