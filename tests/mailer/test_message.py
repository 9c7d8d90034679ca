# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from postmaster_mailer.message import Message, MessageError, addresses, bare_line_end, with_crlf

MAIL = b"From: A <a@example.org>\r\nSubject: one\r\n two\r\nX-Uuid: 1\r\nsubject:three\r\n\r\nbody\r\n"


def test_bytes_stay_as_they_came() -> None:
    assert bytes(Message.parse(MAIL)) == MAIL


def test_fields_are_read_unfolded() -> None:
    message = Message.parse(MAIL)
    assert list(message.all(b"subject")) == [b"one two", b"three"]
    assert (message.get(b"x-uuid"), message.get(b"to"), message.body) == (b"1", None, b"body\r\n")


def test_what_is_taken_out_is_all_that_changes() -> None:
    message = Message.parse(MAIL)
    message.remove(frozenset({b"subject"}))
    message.add("To", "b@example.org")
    assert bytes(message) == b"From: A <a@example.org>\r\nX-Uuid: 1\r\nTo: b@example.org\r\n\r\nbody\r\n"


@pytest.mark.parametrize("raw", [b"From: a@example.org\r\n\r\n", b"From: a@example.org\r\n", b"From: a@example.org"])
def test_a_message_may_have_no_body(raw: bytes) -> None:
    message = Message.parse(raw)
    assert (message.get(b"from"), message.body) == (b"a@example.org", b"")


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"no field\r\n\r\n", "line 1 of the header is no field: 'no field' has no name and colon"),
        (b" folded: first\r\n\r\n", "line 1 of the header is no field: ' folded: first' has no name and colon"),
        (b"A: b\r\n: c\r\n\r\n", "line 2 of the header is no field: ': c' has no name and colon"),
        (b"\xff\xfe: c\r\n\r\n", r"line 1 of the header is no field: '\\xff\\xfe: c' has no name and colon"),
    ],
)
def test_what_is_no_header_is_named(raw: bytes, said: str) -> None:
    with pytest.raises(MessageError) as error:
        Message.parse(raw)
    assert str(error.value) == said


@pytest.mark.parametrize("value", ["a\r\nBcc: x@example.org", "a\nb", "a\rb", "a\0b"])
def test_no_value_makes_another_field(value: str) -> None:
    message = Message.parse(MAIL)
    with pytest.raises(MessageError, match="the value of X-Any has a line break or a NUL"):
        message.add("X-Any", value)
    assert bytes(message) == MAIL
    message.add("X-Any", "a\r\n folded")
    assert message.get(b"x-any") == b"a folded"


def test_no_line_is_too_long() -> None:
    with pytest.raises(MessageError, match="longer than a line may be"):
        Message.parse(MAIL).add("A", "b" * 996)
    Message.parse(MAIL).add("A", "b" * 995)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"a@example.org", ["a@example.org"]),
        (b"A B <a@example.org>", ["a@example.org"]),
        (b'"B, A" <a@example.org>', ["a@example.org"]),
        (b"a@example.org, B <b@example.org>", ["a@example.org", "b@example.org"]),
        (
            b'A <a@example.org>,"B, C"\t<b@example.org> ,c@example.org',
            ["a@example.org", "b@example.org", "c@example.org"],
        ),
        (b"a@example.org,, b@example.org", ["a@example.org", "b@example.org"]),
        (b"a@example.org,", ["a@example.org"]),
        (b"team: a@example.org, b@example.org;", ["a@example.org", "b@example.org"]),
        (b"=?utf-8?q?J=C3=BCrgen?= <j@example.org>", ["j@example.org"]),
        (b"a@example.org (who@example.com)", ["a@example.org"]),
        (b'"<x@example.com>" <a@example.org>', ["a@example.org"]),
        (b"undisclosed-recipients:;", []),
        (b"", []),
        (b"nobody", []),
        (b"<>", []),
    ],
)
def test_addresses(value: bytes, expected: list[str]) -> None:
    assert addresses(value) == expected


def test_a_long_list_is_read_if_it_is_plain() -> None:
    """No more than a moment: the general parser would take minutes for each of these."""
    plain = [b"Name %d <a%d@example.org>" % (number, number) for number in range(20_000)]
    assert addresses(b", ".join(plain)) == [f"a{number}@example.org" for number in range(20_000)]
    assert addresses(b", ".join([*plain, b"team:;"])) == []
    for hostile in (b" ", b"a", b'"', b"<", b",", b"(", b"a@", b"a@b,", b'"" '):
        addresses(hostile * 1_000_000)


def test_a_field_of_a_million_lines() -> None:
    raw = b"A: b\r\n" + b" \r\n" * 1_000_000 + b"\r\n"
    assert bytes(Message.parse(raw)) == raw


@given(st.binary(max_size=80))
def test_hostile_addresses_make_no_trouble(value: bytes) -> None:
    assert all("@" in one for one in addresses(value))


@given(st.binary(max_size=200))
def test_what_can_be_read_is_written_as_it_was(raw: bytes) -> None:
    raw = with_crlf(raw)
    try:
        message = Message.parse(raw)
    except MessageError:
        return
    if b"\r\n\r\n" in raw:
        assert bytes(message) == raw


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        (b"a\r\nb\r\n", None),
        (b"a\nb", 1),
        (b"a\r\nb\rc", 4),
        (b"\r\n\r\n\n", 4),
        (b"\n\r", 0),
        (b"", None),
        (b"a\r", 1),
    ],
)
def test_bare_line_ends_are_found(raw: bytes, where: int | None) -> None:
    assert bare_line_end(raw) == where


@given(st.text(alphabet="\r\na", max_size=20))
def test_with_crlf_leaves_no_bare_line_end(text: str) -> None:
    assert bare_line_end(with_crlf(text.encode())) is None
    assert bare_line_end(text.encode()) is not None or with_crlf(text.encode()) == text.encode()
