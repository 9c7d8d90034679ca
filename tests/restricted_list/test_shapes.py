# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The footer in mails of every shape: it is read by everybody, and what need not change stays as it was, byte for byte."""

from __future__ import annotations

import base64
import email
import html
import quopri
from collections.abc import Iterator
from email.errors import MissingHeaderBodySeparatorDefect, MultipartInvariantViolationDefect
from email.message import EmailMessage
from email.policy import default

import pytest
from hypothesis import given
from hypothesis import strategies as st
from postmaster_restricted_list.footer import plan
from postmaster_restricted_list.message import Incoming, Outgoing, Style, UnusableError
from postmaster_restricted_list.mime import MimeError, edited, is_broken, parse
from postmaster_restricted_list.secret import token_file

FOOTER = "Sent by Zoë <z@corp.example>.\nGet no more: https://lists.example/u?a=1&b=2"
PLAIN = f"-- \n{FOOTER}\n"
TOKEN = "0123456789abcdef" * 8


def _lines(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode("utf-8", "surrogateescape")


def _parsed(content: bytes) -> EmailMessage:
    made = email.message_from_bytes(content, policy=default)
    assert isinstance(made, EmailMessage)
    return made


def _texts(message: EmailMessage) -> list[str]:
    """What readers see: each text that is not attached."""
    found = [one for one in message.walk() if one.get_content_maintype() == "text" and not one.is_attachment()]
    return [one.get_content().replace("\r\n", "\n") for one in found]


def _mixed(*parts: str, kind: str = "mixed", boundary: str = "b") -> str:
    inner = "".join(f"--{boundary}\n{part}\n" for part in parts)
    return f'Content-Type: multipart/{kind}; boundary="{boundary}"\n\npreamble\n{inner}--{boundary}--\nepilogue\n'


TEXT = "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nGrüße\n"
HTML = "Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n<body><p>Grüße</p></body>\n"
PDF = "Content-Type: application/pdf; name=a.pdf\nContent-Disposition: attachment\nContent-Transfer-Encoding: base64\n\nJVBERi0x \nLjQK\n"
IMAGE = "Content-Type: image/png\nContent-ID: <i>\n\n\x7fPNG\n"
TOKEN_PART = f"Content-Type: text/plain\nContent-Disposition: attachment\n\n{token_file(TOKEN)}"
CALENDAR = "Content-Type: text/calendar\n\nBEGIN:VCALENDAR\n"
SIGNED = _mixed(
    TEXT,
    "Content-Type: application/pgp-signature\n\nSIGNATURE\n",
    kind="signed; protocol=application/pgp-signature",
    boundary="s",
)


def _encoded(text: str, charset: str, code: str) -> bytes:
    body = text.replace("\n", "\r\n").encode(charset)
    coded = {"base64": base64.encodebytes, "quoted-printable": quopri.encodestring}.get(code, lambda raw: raw)(body)
    head = f"Content-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: {code}\r\n\r\n"
    return head.encode() + (coded.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") if code != "8bit" else coded)


CHARSETS = [
    ("us-ascii", "Hello\n.\nFrom here\n"),
    ("utf-8", "Grüße, 你好 \n"),
    ("iso-8859-1", "Grüße\n"),
    ("iso-8859-15", "5 €\n"),
    ("windows-1252", "\u201eGrüße\u201c\n"),
    ("iso-2022-jp", "こんにちは\n"),
    ("shift_jis", "こんにちは\n"),
    ("gb18030", "你好\n"),
    ("koi8-r", "Привет\n"),
    ("utf-16", "Grüße\n"),
    ("utf-16-le", "Grüße\n"),
]


def _ways() -> Iterator[tuple[str, str, str]]:
    """UTF-16 travels in base64 alone, and 7bit cannot say all."""
    for charset, text in CHARSETS:
        codes = ["base64", *([] if charset.startswith("utf-16") else ["8bit", "quoted-printable"])]
        codes += ["7bit"] if "8bit" in codes and text.encode(charset).isascii() else []
        yield from ((charset, text, code) for code in codes)


@pytest.mark.parametrize(("charset", "text", "code"), list(_ways()))
def test_text_of_every_charset_and_encoding(charset: str, text: str, code: str) -> None:
    made = plan(_encoded(text, charset, code)).render(FOOTER)
    parsed = _parsed(made)
    assert parsed.get_content_type() == "text/plain"
    assert parsed.get_content().replace("\r\n", "\n") == f"{text.rstrip(chr(10))}\n\n{PLAIN}"
    assert parsed.get_content_charset() in (charset, "utf-8")
    assert made.isascii() and max(map(len, made.split(b"\r\n"))) <= 998 and b"\n" not in made.replace(b"\r\n", b"")


@pytest.mark.parametrize(
    ("shape", "texts", "kind"),
    [
        (TEXT, [f"Grüße\n\n{PLAIN}"], "text/plain"),
        ("\nHello\n", [f"Hello\n\n{PLAIN}"], "text/plain"),
        ("Content-Type: text/plain; format=flowed; delsp=yes\n\nHello \nyou\n", [f"Hello \nyou\n\n{PLAIN}"], "text/plain"),
        ("Content-Type: text/plain; charset=nonsense\n\nHello\n", None, "multipart/mixed"),
        ("Content-Type: text/plain; charset=rot13\n\nHello\n", None, "multipart/mixed"),
        ("Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: x-uue\n\nHello\n", None, "multipart/mixed"),
        ("Content-Type: text/plain; charset=utf-8\n\n\udcff\n", None, "multipart/mixed"),
        (_mixed(TEXT, PDF), [f"Grüße\n\n{PLAIN}"], "multipart/mixed"),
        (_mixed(PDF, TEXT), ["Grüße\n", PLAIN], "multipart/mixed"),
        (_mixed(PDF), [PLAIN], "multipart/mixed"),
        (PDF, [PLAIN], "multipart/mixed"),
        (_mixed(SIGNED, PDF), ["Grüße\n", PLAIN], "multipart/mixed"),
        (SIGNED, ["Grüße\n", PLAIN], "multipart/mixed"),
        ("Content-Type: application/pkcs7-mime; smime-type=signed-data\n\nMII\n", [PLAIN], "multipart/mixed"),
        (_mixed(IMAGE, kind="related"), [PLAIN], "multipart/mixed"),
        (_mixed(CALENDAR, kind="alternative"), ["BEGIN:VCALENDAR\n", PLAIN], "multipart/mixed"),
        ("Content-Type: message/rfc822\n\nSubject: inner\n\nHello\n", None, "multipart/mixed"),
        ("Content-Type: multipart/mixed\n\nno boundary\n", None, "multipart/mixed"),
        ("Content-Type: multipart/alternative; boundary=b\n\nno part\n", None, "multipart/mixed"),
        ("Content-Type: multipart/mixed; boundary=b\n\n--b\n" + PDF, [PLAIN], "multipart/mixed"),
    ],
)  # fmt: skip
def test_shapes(shape: str, texts: list[str] | None, kind: str) -> None:
    made = plan(_lines(shape)).render(FOOTER)
    parsed = _parsed(made)
    assert parsed.get_content_type() == kind
    if texts is None:
        assert list(parsed.iter_parts())[-1].get_content().replace("\r\n", "\n") == PLAIN
        assert _lines(shape) in made
    else:
        assert _texts(parsed) == texts
    assert all(
        part.encode() in made for part in ("SIGNATURE", "PNG", "JVBERi0x \r\nLjQK") if _lines(part) in _lines(shape)
    )


@pytest.mark.parametrize(
    "shape", [_mixed(TEXT, PDF), _mixed(SIGNED, PDF), SIGNED, PDF, _mixed(PDF), _mixed(HTML, IMAGE, kind="related")]
)
def test_other_parts_stay_byte_for_byte(shape: str) -> None:
    made = plan(_lines(shape)).render(FOOTER)
    for part in (PDF, IMAGE, SIGNED):
        assert (_lines(part) in made) == (_lines(part) in _lines(shape))


@pytest.mark.parametrize(
    "shape",
    [
        _mixed(TEXT, HTML, kind="alternative"),
        _mixed(TEXT, HTML, CALENDAR, kind="alternative"),
        _mixed(TEXT, _mixed(HTML, IMAGE, kind="related", boundary="r"), kind="alternative"),
        _mixed(_mixed(TEXT, HTML, kind="alternative", boundary="a"), PDF),
        _mixed(_mixed(TEXT, HTML, kind="alternative", boundary="a"), IMAGE, kind="related"),
        _mixed(_mixed(TEXT, _mixed(HTML, PDF, boundary="m"), kind="alternative", boundary="a"), PDF),
    ],
)
def test_every_alternative_has_the_footer(shape: str) -> None:
    made = plan(_lines(shape)).render(FOOTER)
    plain, rich = _texts(_parsed(made))[:2]
    assert plain == f"Grüße\n\n{PLAIN}"
    assert rich == (
        "<body><p>Grüße</p>\n<hr>\n<p>Sent by Zoë &lt;z@corp.example&gt;.<br>\nGet no more: "
        '<a href="https://lists.example/u?a=1&amp;b=2">https://lists.example/u?a=1&amp;b=2</a></p>\n</body>\n'
    )
    assert made.count(b"preamble") == shape.count("preamble") and made.count(b"epilogue") == shape.count("epilogue")


def test_html_keeps_its_charset() -> None:
    made = plan(b'Content-Type: text/html; charset=iso-8859-1\r\n\r\n<meta charset="iso-8859-1">\xfc').render("你 < 好")
    assert _parsed(made).get_content_charset() == "iso-8859-1"
    assert html.unescape(_parsed(made).get_content()).replace("\r\n", "\n").endswith("ü\n<hr>\n<p>你 < 好</p>\n")


def test_a_signature_still_covers_the_same_bytes() -> None:
    made = plan(_lines(SIGNED)).render(FOOTER)
    signed = next(part for part in parse(made).walk() if part.kind == "multipart/signed")
    before = parse(_lines(SIGNED))
    assert (
        made[signed.children[0].start : signed.children[0].end]
        == _lines(SIGNED)[before.children[0].start : before.children[0].end]
    )


def test_a_boundary_is_new() -> None:
    inside = _lines("Content-Type: application/x\n\n--=_restricted_0\nx\n")
    made = _parsed(plan(inside).render(FOOTER))
    assert made.get_boundary() == "=_restricted_1"
    assert [part.get_content_type() for part in made.iter_parts()] == ["application/x", "text/plain"]


# -- the token -------------------------------------------------------------------------------------

STYLE = Style(
    "Members", "restricted@lists.example", "restricted.lists.example", "$sender\n$unsubscribe\nbye", "reply-to"
)


def _incoming(content: str, head: str = "From: a@b.example\n") -> Incoming:
    return Incoming.parse(_lines(head + content))


def _copy(mail: Incoming, style: Style = STYLE, link: str = "") -> EmailMessage:
    return _parsed(Outgoing(mail, style, 7, "Mon, 02 Nov 2026 10:00:00 +0000").copy(3, "one@a.example", link))


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        (_mixed(TEXT, TOKEN_PART), ["Grüße\n\n-- \nbye\n"]),
        (_mixed(TOKEN_PART, TEXT), ["Grüße\n\n-- \nbye\n"]),
        (_mixed(_mixed(TEXT, TOKEN_PART, boundary="i"), PDF), ["Grüße\n\n-- \nbye\n"]),
        (_mixed(TEXT, _mixed(TOKEN_PART, boundary="i")), ["Grüße\n\n-- \nbye\n"]),
        (_mixed(TEXT, TOKEN_PART.replace("text/plain", "application/octet-stream")), ["Grüße\n\n-- \nbye\n"]),
        (_mixed(TOKEN_PART), ["\n\n-- \nbye\n"]),
        (TOKEN_PART, ["\n\n-- \nbye\n"]),
        (f"\n{token_file(TOKEN)}", ["\n\n-- \nbye\n"]),
        ("Content-Transfer-Encoding: base64\n\n" + base64.b64encode(token_file(TOKEN).encode()).decode(), ["\n\n-- \nbye\n"]),
        (_mixed(TEXT, "Content-Transfer-Encoding: base64\n\n77u/" + base64.b64encode(token_file(TOKEN).encode()).decode()), ["Grüße\n\n-- \nbye\n"]),
    ],
)  # fmt: skip
def test_a_token_is_found_and_taken_out(content: str, texts: list[str]) -> None:
    mail = _incoming(content)
    assert mail.tokens == (TOKEN,)
    copy = _copy(mail)
    assert _texts(copy) == texts
    assert TOKEN not in copy.as_string()


def test_a_token_that_a_signature_covers_stays() -> None:
    """It has been used, and the signature is worth more."""
    mail = _incoming(
        _mixed(_mixed(TEXT, TOKEN_PART, boundary="i"), "Content-Type: application/pgp-signature\n\nS\n", kind="signed")
    )
    assert mail.tokens == (TOKEN,) and mail.gone == frozenset()
    assert TOKEN.encode() in Outgoing(mail, STYLE, 1, "now").copy(1, "one@a.example", "")


@pytest.mark.parametrize(
    "content", [_mixed(TEXT, PDF), _mixed(TEXT, TOKEN_PART + "more\n"), f"\nHello\n{token_file(TOKEN)}"]
)
def test_what_is_no_token(content: str) -> None:
    assert _incoming(content).tokens == ()


# -- the header ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("From: a@b.example\nSubject: =?utf-8?q?Gr=C3=BC?=\n =?utf-8?q?=C3=9Fe?=\n", {"Subject": "Grüße"}),
        ("From: a@b.example\nSubject: Grüße\n", {"Subject": "Grüße"}),
        ("From: a@b.example\nSubject: x\n \n y\n", {"Subject": "x y"}),
        ("From: a@b.example\n", {"Subject": "", "Date": "Mon, 02 Nov 2026 10:00:00 +0000", "From": "\"a@b.example via Members\" <restricted@lists.example>"}),
        ("From: a@b.example\nDate: nonsense\n", {"Date": "Mon, 02 Nov 2026 10:00:00 +0000"}),
        ("From: =?utf-8?q?Zo=C3=AB?= <a@b.example>\n", {"From": "Zoë via Members <restricted@lists.example>", "Reply-To": "Zoë <a@b.example>"}),
        ("From: =?utf-8?q?x=0D=0ABcc=3A_v=40e.example?= <a@b.example>\n", {"From": '"x Bcc: v@e.example via Members" <restricted@lists.example>', "Bcc": None}),
        ("From: a@b.example\nDKIM-Signature: x\nReceived: x\nCc: c@d.example\n", {"DKIM-Signature": None, "Received": None, "Cc": None}),
        ("From: a@b.example\nMIME-Version: 1.0\nMIME-Version: 1.0\n", {"MIME-Version": "1.0"}),
    ],
)  # fmt: skip
def test_headers(head: str, expected: dict[str, str | None]) -> None:
    copy = _copy(Incoming.parse(_lines(head + "\nHello\n")))
    assert {name: None if copy[name] is None else str(copy[name]) for name in expected} == expected
    assert (
        len(copy.get_all("MIME-Version", []))
        == len(copy.get_all("Message-ID", []))
        == len(copy.get_all("From", []))
        == 1
    )


def test_a_multipart_whose_parts_python_misses_is_not_broken() -> None:
    """As Debian 12's does, where it is given the header alone."""
    fields = email.message_from_string("Content-Type: multipart/mixed\n\n")
    fields.defects = [MultipartInvariantViolationDefect()]
    assert not is_broken(fields)
    fields.defects += [MissingHeaderBodySeparatorDefect()]
    assert is_broken(fields)


@pytest.mark.parametrize(
    ("sender", "reply_to", "author", "text"),
    [
        ("reply-to", "Anna <a@b.example>", "Anna via Members <restricted@lists.example>", "-- \nbye\n"),
        ("footer", None, "Anna via Members <restricted@lists.example>", "-- \nAnna <a@b.example>\nbye\n"),
        ("hidden", None, "Members <restricted@lists.example>", "-- \nbye\n"),
    ],
)
def test_who_wrote_it_stands_where_one_wants_it(sender: str, reply_to: str | None, author: str, text: str) -> None:
    style = Style(STYLE.name, STYLE.from_address, STYLE.list_id, STYLE.footer, sender)
    copy = _copy(_incoming("\nHello\n", "From: Anna <a@b.example>\n"), style)
    assert (copy["Reply-To"], copy["From"]) == (reply_to, author)
    assert _texts(copy) == [f"Hello\n\n{text}"]
    assert sender != "hidden" or "a@b" not in copy.as_string()


@pytest.mark.parametrize(
    ("link", "mailbox", "expected"),
    [
        ("https://l.example/u/1", "", ("<https://l.example/u/1>", "List-Unsubscribe=One-Click")),
        (
            "https://l.example/u/1",
            "off@l.example",
            ("<https://l.example/u/1>, <mailto:off@l.example>", "List-Unsubscribe=One-Click"),
        ),
        ("", "off@l.example", ("<mailto:off@l.example>", None)),
        ("", "", (None, None)),
    ],
)
def test_ways_to_unsubscribe(link: str, mailbox: str, expected: tuple[str | None, str | None]) -> None:
    style = Style(STYLE.name, STYLE.from_address, STYLE.list_id, STYLE.footer, "hidden", mailbox)
    copy = _copy(_incoming("\nHello\n"), style, link)
    assert (copy["List-Unsubscribe"], copy["List-Unsubscribe-Post"]) == expected
    assert (link in copy.get_content()) if link else "u/1" not in copy.get_content()


# -- whatever comes --------------------------------------------------------------------------------


def _words() -> st.SearchStrategy[bytes]:
    heads = [
        b"Content-Type: multipart/mixed; boundary=b\r\n",
        b"Content-Type: multipart/alternative; boundary=b\r\n",
        b"--b\r\n",
        b"--b--\r\n",
    ]
    heads += [
        b"Content-Type: text/plain; charset=utf-8\r\n",
        b"Content-Type: text/html; charset*=utf-7''x\r\n",
        b"\r\n",
        b"\r\n\r\n",
        b"--b",
    ]
    heads += [
        b'Content-Type: multipart/signed; boundary="b c"\r\n',
        b"Content-Transfer-Encoding: base64\r\n",
        b"</body>",
        b"From: a@b.example\r\n",
    ]
    heads += [
        b"Content-Transfer-Encoding: quoted-printable\r\n",
        b"Content-Disposition: attachment\r\n",
        token_file(TOKEN).encode(),
        b"x: \xff\r\n",
    ]
    return st.lists(st.one_of(st.sampled_from(heads), st.binary(max_size=20)), max_size=25).map(b"".join)  # fmt: skip


@given(_words())
def test_whatever_comes_is_refused_or_passed_on(raw: bytes) -> None:
    try:
        mail = Incoming.parse(b"From: a@b.example\r\n" + raw)
    except UnusableError:
        return
    made = Outgoing(mail, STYLE, 1, "Mon, 02 Nov 2026 10:00:00 +0000").copy(1, "one@a.example", "https://l.example/u")
    head = made.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert all(line[:1] in (b" ", b"\t") or b":" in line for line in head)
    assert b"\n" not in made.replace(b"\r\n", b"") and b"\r" not in made.replace(b"\r\n", b"")
    assert b"https://l.example/u" in made.partition(b"\r\n\r\n")[2]


@given(
    st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), max_size=200),
    st.sampled_from(["utf-8", "iso-8859-1", "utf-16"]),
)
def test_any_text_comes_back_whole(text: str, charset: str) -> None:
    if text.encode(charset, "ignore").decode(charset) != text:
        return
    content = f"Content-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: base64\r\n\r\n".encode()
    made = _parsed(plan(content + base64.encodebytes(text.encode(charset)).replace(b"\n", b"\r\n")).render(FOOTER))
    body = made.get_payload(decode=True).decode(made.get_content_charset()).replace("\r\n", "\n")
    assert body == f"{text}\n\n{PLAIN}"


def _tree() -> st.SearchStrategy[str]:
    leaves = st.sampled_from([TEXT, HTML, PDF, IMAGE, CALENDAR, SIGNED])
    kinds = st.sampled_from(["mixed", "alternative", "related", "x-unknown"])

    def several(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        # A boundary that nothing within has.
        return st.tuples(st.lists(parts, min_size=1, max_size=3), kinds).map(
            lambda found: _mixed(*found[0], kind=found[1], boundary=f"b{sum(map(len, found[0]))}")
        )

    return st.recursive(leaves, several, max_leaves=8)


def _leaves(message: EmailMessage) -> Iterator[bytes]:
    for part in message.walk():
        if not part.is_multipart():
            yield part.get_payload(decode=True)


@given(_tree())
def test_any_tree_keeps_all_its_parts(shape: str) -> None:
    made = _parsed(plan(_lines(shape)).render(FOOTER))
    before = [one for one in _leaves(_parsed(_lines(shape))) if "Grüße".encode() not in one]
    after = list(_leaves(made))
    assert all(one in after for one in before)
    assert any(b"Get no more" in one for one in after)
    assert all(part.defects == [] for part in made.walk() if part.is_multipart())


@given(_tree())
def test_a_tree_is_where_it_is(shape: str) -> None:
    raw = _lines(shape)
    assert edited(raw, []) == raw
    for part in parse(raw).walk():
        assert 0 <= part.start <= part.body <= part.end <= len(raw)
        assert all(part.body <= child.start and child.end <= part.end for child in part.children)


def test_too_deep_and_too_many_are_refused() -> None:
    deep = "Content-Type: text/plain\n\nx"
    for level in range(60):
        deep = _mixed(deep, boundary=f"b{level}x")
    with pytest.raises(MimeError, match="^its parts lie more than 50 deep in each other$"):
        parse(_lines(deep))
    with pytest.raises(MimeError, match="^it has more than 2000 parts$"):
        parse(_lines(_mixed(*["\nx"] * 2001)))
    assert len(parse(_lines(_mixed(*["\nx"] * 1999))).children) == 1999
