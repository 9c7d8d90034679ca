# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import quopri
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from postmaster_mailer.envelope import DEFAULT, PRIMARY, Envelope, EnvelopeError, read
from postmaster_mailer.message import Message, MessageError, with_crlf
from postmaster_mailer.returnpath import BOUNCE, UNSUBSCRIBE, Answered, local_part
from postmaster_mailer.returnpath import read as read_local
from postmaster_mailer.transform import Domain, Outgoing, RefusedError, Style, transform

from .test_dkim import key, verified

SECRET = b"s" * 32
DOMAINS = {"example.org": Domain("example.org", "rp.example.org", lambda: [key()])}
STYLE = Style(
    SECRET,
    "postmaster.mail",
    {"List-Unsubscribe": "<mailto:unsub-{{uuid}}@{{ from-domain }}>"},
    "camp",
    "type",
    "sender",
)
ENVELOPE = Envelope("u1", ("b@example.com",), stream_id="s-1")
MAIL = (
    b"X-Uuid: u1\r\nX-Priority: 0\r\nX-Stream-Id: s-1\r\nFrom: A <a@Example.org>\r\nTo: b@example.com\r\nBcc: c@example.com\r\n"
    b"Subject: one\r\nMessage-ID: <old@example.org>\r\nX-Report-Abuse: abuse@example.org\r\n\r\nhello\r\n"
)


def out(raw: bytes = MAIL, envelope: Envelope = ENVELOPE, style: Style = STYLE, **domain: object) -> Outgoing:
    domains = {"example.org": replace(DOMAINS["example.org"], **domain)}  # type: ignore[arg-type]
    return transform(raw, envelope, domains, style, now=lambda: 1_795_900_000)


def test_what_leaves() -> None:
    outgoing = out()
    message = Message.parse(outgoing.raw)
    assert [(name.decode(), next(message.all(name)).decode()) for name, dummy in message.fields[1:]] == [
        ("from", "A <a@Example.org>"),
        ("to", "b@example.com"),
        ("subject", "one"),
        ("x-report-abuse", "abuse@example.org"),
        ("message-id", "<u1@example.org>"),
        ("date", "Sat, 28 Nov 2026 21:06:40 +0000"),
        ("x-mailer", "postmaster.mail"),
        ("feedback-id", "s-1:u1:type:sender"),
        ("list-unsubscribe", "<mailto:unsub-u1@example.org>"),
    ]
    assert message.fields[0][0] == b"dkim-signature"
    assert verified(outgoing.raw)
    assert read_local((SECRET,), outgoing.sender.partition("@")[0]) == Answered(BOUNCE, "u1", True)
    assert outgoing.sender.endswith("@rp.example.org")


def test_without_a_stream_id_the_campaign_is_named() -> None:
    assert (
        Message.parse(out(envelope=replace(ENVELOPE, stream_id=None)).raw).get(b"feedback-id") == b"camp:u1:type:sender"
    )


def test_a_date_that_is_there_stays() -> None:
    raw = out(b"Date: Sun, 29 Nov 2026 01:00:00 +0000\r\n" + MAIL).raw
    assert list(Message.parse(raw).all(b"date")) == [b"Sun, 29 Nov 2026 01:00:00 +0000"]


def test_a_link_to_unsubscribe_is_one_click_and_signed() -> None:
    style = replace(STYLE, inject={"List-Unsubscribe": "<https://example.org/u/{{unsubscribe-token}}>"})
    raw = out(style=style).raw
    message = Message.parse(raw)
    token = local_part(SECRET, UNSUBSCRIBE, "u1")
    assert message.get(b"list-unsubscribe") == f"<https://example.org/u/{token}>".encode()
    assert message.get(b"list-unsubscribe-post") == b"List-Unsubscribe=One-Click"
    listed = (
        (message.get(b"dkim-signature") or b"").replace(b" ", b"").partition(b"h=")[2].partition(b";")[0].split(b":")
    )
    assert {b"list-unsubscribe", b"list-unsubscribe-post"} <= set(listed)
    assert verified(raw)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            b"@Example.org>",
            b"@example.net>",
            "no mail may come from the domain example.net: it is not among domain-settings",
        ),
        (
            b"From: A <a@Example.org>",
            b"From: a@example.org, b@example.org",
            "From must stand in the header once, with one address",
        ),
        (b"From: A <a@Example.org>", b"From: A", "From must stand in the header once, with one address"),
        (b"Subject: one", b"From: a@example.org", "From must stand in the header once, with one address"),
        (b"Subject: one", b"Subject", "line 7 of the header is no field: 'Subject' has no name and colon"),
    ],
)
def test_what_cannot_be_sent_is_said(old: bytes, new: bytes, said: str) -> None:
    with pytest.raises(RefusedError) as error:
        out(MAIL.replace(old, new))
    assert str(error.value) == said


def test_nothing_leaves_unsigned() -> None:
    with pytest.raises(RefusedError, match=r"the domain example\.org has no key to sign with"):
        out(keys=list)


# -- the picture ---------------------------------------------------------------------------------------

HTML = '<html><body class="a">Grüße, a = b</BODY ></html>\r\n'
ENCODED = {
    "8bit": HTML.encode(),
    "base64": base64.encodebytes(HTML.encode()).replace(b"\n", b"\r\n"),
    "quoted-printable": quopri.encodestring(HTML.encode().replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n"),
}
PICTURE = '<img src="https://example.org/b/s-1.gif?u=u1&amp;x" width="1" height="1" alt="">'


def html_mail(encoding: str) -> bytes:
    head = MAIL.partition(b"\r\n\r\n")[0]
    kind = f"\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode()
    return head + kind + ENCODED[encoding]


def decoded(encoding: str, body: bytes) -> str:
    if encoding == "base64":
        body = base64.b64decode(body)
    if encoding == "quoted-printable":
        body = quopri.decodestring(body)
    return body.decode().replace("\r", "").replace("\n", "")


@pytest.mark.parametrize("encoding", ENCODED)
def test_the_picture_comes_before_the_end(encoding: str) -> None:
    raw = out(html_mail(encoding), beacon_url="https://example.org/b/{{ stream-id }}.gif?u={{uuid}}&x").raw
    body = Message.parse(raw).body
    assert decoded(encoding, body) == HTML.strip().replace("</BODY >", PICTURE + "</BODY >")
    assert max(map(len, body.split(b"\r\n"))) <= 100
    assert verified(raw)


@pytest.mark.parametrize("encoding", ENCODED)
def test_within_parts_the_others_stay_as_they_came(encoding: str) -> None:
    part = html_mail(encoding).partition(b"X-Report-Abuse: abuse@example.org\r\n")[2]
    before = b"preamble\r\n--b\r\nContent-Type: text/plain\r\n\r\nplain  text \r\n--b\r\n"
    after = b"\r\n--b\r\nContent-Type: text/html\r\nContent-Disposition: attachment\r\n\r\n<body></body>\r\n--b--\r\nepilogue\r\n"
    head = MAIL.partition(b"\r\n\r\n")[0] + b'\r\nContent-Type: multipart/alternative; boundary="b"\r\n\r\n'
    body = Message.parse(
        out(head + before + part.removesuffix(b"\r\n") + after, beacon_url="https://example.org/b").raw
    ).body
    assert body.startswith(before)
    assert body.endswith(after)
    assert b"example.org/b" in body or encoding == "base64"
    assert len(body) > len(before + part + after)


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Type: text/plain\r\n\r\n",
        b"Content-Type: text/html\r\nContent-Disposition: attachment\r\n\r\n",
        b"Content-Type: multipart/mixed\r\n\r\n",
        b'Content-Type: multipart/signed; boundary="b"\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n',
    ],
)
def test_where_there_is_no_place_for_it_nothing_changes(head: bytes) -> None:
    raw = MAIL.partition(b"\r\n\r\n")[0] + b"\r\n" + head + b"<body></body>\r\n--b--\r\n"
    assert Message.parse(out(raw, beacon_url="https://example.org/b").raw).body == Message.parse(raw).body


@given(st.text(alphabet='-b\r\n\tContent-Type:html/="; ', max_size=120))
def test_hostile_parts_make_no_trouble(text: str) -> None:
    raw = (
        MAIL.partition(b"\r\n\r\n")[0]
        + b'\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n'
        + with_crlf(text.encode())
    )
    assert verified(out(raw + b"\r\n", beacon_url="https://example.org/b").raw)


# -- what goes beside a message ------------------------------------------------------------------------


def test_the_envelope_is_read_from_the_header() -> None:
    envelope = read(Message.parse(MAIL), ("x@example.com",), login="app", received=1.5, from_header=False)
    assert envelope == Envelope("u1", ("x@example.com",), PRIMARY, "s-1", "app", 1.5, "example.org", "a@Example.org")
    assert Envelope.loads(envelope.dumps()) == envelope


def test_recipients_of_the_header_where_that_is_asked_for() -> None:
    raw = MAIL.replace(
        b"To: b@example.com", b"To: B <b@example.com>, c@example.com\r\nCc: b@example.com, d@example.com"
    )
    envelope = read(Message.parse(raw), ("x@example.com",), login="", received=0, from_header=True)
    assert envelope.recipients == ("b@example.com", "c@example.com", "d@example.com")


def test_an_address_in_utf_8_is_taken() -> None:
    raw = MAIL.replace(b"To: b@example.com", "To: jös@example.com".encode())
    envelope = read(Message.parse(raw), (), login="", received=0, from_header=True)
    assert "jös@example.com" in envelope.recipients
    assert Envelope.loads(envelope.dumps()) == envelope


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b"X-Uuid: u1\r\n", b"", "X-Uuid is missing or wrong: give each message one, 1 to 40 of a-z and 0-9"),
        (b"X-Uuid: u1", b"X-Uuid: U1", "X-Uuid is missing or wrong: give each message one, 1 to 40 of a-z and 0-9"),
        (
            b"X-Uuid: u1",
            b"X-Uuid: " + b"u" * 41,
            "X-Uuid is missing or wrong: give each message one, 1 to 40 of a-z and 0-9",
        ),
        (b"X-Uuid: u1", b"X-Uuid: u1\r\nX-Uuid: u2", "X-Uuid stands in the header more than once"),
        (b"X-Priority: 0", b"X-Priority: 2", "X-Priority is 0 for mail that goes first, else 1"),
        (b"To: b@example.com", b"To: nobody", "there is no recipient: name one in To or Cc"),
        (
            b"To: b@example.com",
            b"To: j\xf6s@example.com",
            "To has an address that is no UTF-8: write it in ASCII or UTF-8",
        ),
    ],
)
def test_what_the_envelope_lacks_is_said(old: bytes, new: bytes, said: str) -> None:
    with pytest.raises(EnvelopeError) as error:
        read(Message.parse(MAIL.replace(old, new)), ("x@example.com",), login="", received=0, from_header=True)
    assert str(error.value) == said


def test_priority_is_low_unless_asked_for() -> None:
    raw = MAIL.replace(b"X-Priority: 0\r\n", b"")
    assert read(Message.parse(raw), ("x@example.com",), login="", received=0, from_header=False).priority == DEFAULT


@pytest.mark.parametrize(
    ("local", "expected"),
    [
        (local_part(SECRET, BOUNCE, "u1"), Answered("bounce", "u1", True)),
        (local_part(SECRET, BOUNCE, "u1").upper(), Answered("bounce", "u1", True)),
        (local_part(b"old" * 16, UNSUBSCRIBE, "u1"), Answered("unsub", "u1", True)),
        (local_part(b"other" * 16, BOUNCE, "u1"), Answered("bounce", "u1", False)),
        (local_part(SECRET, BOUNCE, "u1").replace("bounce", "unsub"), Answered("unsub", "u1", False)),
        (local_part(SECRET, BOUNCE, "u1").replace("u1", "u2"), Answered("bounce", "u2", False)),
        ("bounce-u1", Answered("bounce", "u1", False)),
        ("info", None),
        ("bounce-", None),
        ("bounce-u1-short", None),
    ],
)
def test_answer_addresses(local: str, expected: Answered | None) -> None:
    assert read_local((SECRET, b"old" * 16), local) == expected


def test_an_answer_address_fits() -> None:
    assert len(local_part(SECRET, BOUNCE, "u" * 40)) == 64


def test_no_field_is_made_by_a_template() -> None:
    with pytest.raises(RefusedError, match="line break"):
        out(style=replace(STYLE, inject={"X-A": "a\r\nBcc: x@example.org"}))
    with pytest.raises(MessageError):
        Message([], b"").add("X-A", "\r\n")
