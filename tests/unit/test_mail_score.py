# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Points for a message: ten where all is well, and each fault costs its own row and no other."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import basic
from ansible_collections.postmaster.mail.plugins.module_utils import _check_client as client
from ansible_collections.postmaster.mail.plugins.module_utils import _check_view as v
from ansible_collections.postmaster.mail.plugins.module_utils import _score
from ansible_collections.postmaster.mail.plugins.module_utils._check import CheckError
from ansible_collections.postmaster.mail.plugins.module_utils._check_mail import Mail
from ansible_collections.postmaster.mail.plugins.module_utils._score_run import score
from ansible_collections.postmaster.mail.plugins.modules import mail_score
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from _check_world import ADDRESS, LETTER, LIST, NAME_LIST, RECEIVED, Slow, World, options, signed

REVERSE = "25.113.0.203.in-addr.arpa."
PERSONAL = LETTER.replace("List-Unsubscribe", "X-List-Unsubscribe")
HTML = "MIME-Version: 1.0\r\nContent-Type: {kind}; charset=utf-8\r\n"


def judged(mail: Mail, world: World | None = None, *, bulk: bool = False, **changes: object) -> _score.Score:
    given_options = replace(options(), mail=mail, bulk=bulk, **changes)  # type: ignore[arg-type]
    return asyncio.run(score(mail, Slow(world or World()), given_options))


def lost(found: _score.Score) -> dict[str, float]:
    return {one.row.id: one.lost for one in found.rows if one.lost}


def unknown(found: _score.Score) -> dict[str, float]:
    return {one.row.id: one.unknown for one in found.rows if one.unknown}


def test_the_rows_make_ten() -> None:
    assert sum(row.points for row in _score.ROWS) == _score.TOTAL == 10


@pytest.mark.parametrize("bulk", [False, True])
def test_a_sound_message_has_ten(bulk: bool) -> None:
    found = judged(signed(), bulk=bulk)
    assert (found.points, lost(found), unknown(found)) == (10, {}, {}), found.table()
    assert found.conclusion == "10 of 10 points."
    assert found.table()[1] == "   1.5 of 1.5  spf          SPF passes"


def letter(head: str = "", body: str = "Hello\r\n", base: str = LETTER) -> str:
    start, _blank, _old = base.partition("\r\n\r\n")
    return f"{start}\r\n{head}\r\n{body}" if head else f"{start}\r\n\r\n{body}"


def html(text: str, *, plain: bool = True) -> str:
    parts = "--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nHello\r\n" if plain else ""
    parts += f"--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n{text}\r\n--b--\r\n"
    return letter("MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=b\r\n", parts)


def link(href: str, shown: str = "here") -> str:
    return html(f'<p><a href="{href}">{shown}</a></p>')


def dns(*key: str) -> Callable[[World], World]:
    name, rdtype, *values = key
    return lambda world: world.put(name, rdtype, *values)


def same(world: World) -> World:
    return world


# What is wrong; the message; what is told of DNS; points lost by row; a part of the first finding.
FAULTS = {
    "SPF of nobody": (
        signed(), dns("example.org.", "TXT"), {"spf": 1.5}, f"SPF of example.org for {ADDRESS} gives none"
    ),
    "SPF fails": (
        signed(), dns("example.org.", "TXT", "v=spf1 ip4:192.0.2.9 -all"), {"spf": 1.5}, "gives fail"
    ),
    "SPF softfails": (
        signed(), dns("example.org.", "TXT", "v=spf1 ip4:192.0.2.9 ~all"), {"spf": 1.0}, "gives softfail"
    ),
    "SPF's syntax": (signed(), dns("example.org.", "TXT", "v=spf1 ip4:x -all"), {"spf": 1.5}, "gives permerror"),
    "not signed": (Mail((RECEIVED + LETTER).encode()), same, {"dkim": 1.5}, "not signed by example.org, but by nobody"),
    "signature broken": (
        Mail(signed().raw.replace(b"\r\n\r\nHello", b"\r\n\r\nHallo")), same, {"dkim": 1.5}, "the signature is not valid"
    ),
    "neither SPF nor DKIM": (
        Mail((RECEIVED + LETTER).encode()), dns("example.org.", "TXT"), {"spf": 1.5, "dkim": 1.5, "dmarc": 1.5},
        "SPF of example.org",
    ),
    "no DMARC": (signed(), dns("_dmarc.example.org.", "TXT"), {"dmarc": 1.5}, "no DMARC record"),
    "DMARC only watches": (
        signed(), dns("_dmarc.example.org.", "TXT", "v=DMARC1; p=none"), {"dmarc": 0.5}, "p=none only watches"
    ),
    "no PTR": (signed(), dns(REVERSE, "PTR"), {"reverse": 1.0}, "no PTR record"),
    "PTR leads elsewhere": (
        signed(), dns(REVERSE, "PTR", "mx.elsewhere.example."), {"reverse": 1.0, "helo": 0.5}, "does not lead back"
    ),
    "HELO": (
        signed(received=RECEIVED.replace("from mx.example.org", "from localhost")), same, {"helo": 0.5},
        "HELO localhost is no full name",
    ),
    "no TLS": (
        signed(received=RECEIVED.replace("ESMTPS", "ESMTP")), same, {"tls": 0.5}, "mx.elsewhere.example took it without TLS"
    ),
    "address listed": (
        signed(), dns("25.113.0.203.bl.example.net.", "A", "127.0.0.2"), {"blocklists": 1.0}, "bl.example.net lists it"
    ),
    "domain listed": (
        signed(), dns("example.org.dbl.example.net.", "A", "127.0.1.2"), {"blocklists": 1.0}, "dbl.example.net lists it"
    ),
    "no Date": (
        signed(LETTER.replace("Date: Fri, 20 Nov 2026 11:00:00 +0000\r\n", "")), same, {"headers": 1.0}, "no field Date"
    ),
    "no Message-ID": (
        signed(LETTER.replace("Message-ID: <1@example.org>\r\n", "")), same, {"headers": 0.5}, "no field Message-Id"
    ),
    "Message-ID malformed": (
        signed(LETTER.replace("<1@example.org>", "12345")), same, {"headers": 0.5}, "the Message-ID 12345 is no <word@host>"
    ),
    "no MIME-Version": (
        signed(letter("Content-Type: text/plain; charset=utf-8\r\n")), same, {"mime": 0.25},
        "there is a Content-Type without MIME-Version",
    ),
    "no end of parts": (
        signed(html("<p>x</p>").replace("--b--\r\n", "")), same, {"mime": 0.5}, "close boundary not found"
    ),
    "character set unknown": (
        signed(letter(HTML.format(kind="text/plain").replace("utf-8", "klingon"))), same, {"mime": 0.5},
        "nobody knows the character set klingon",
    ),
    "not in its character set": (
        signed(letter(HTML.format(kind="text/plain") + "Content-Transfer-Encoding: base64\r\n", "/w==\r\n")), same,
        {"mime": 0.5}, "a text is not in its character set utf-8",
    ),
    "HTML alone": (
        signed(html("<p>Hello</p>", plain=False)), same, {"body": 0.25}, "there is HTML, and no text"
    ),
    "HTML too long": (
        signed(html("<p>Hello</p>\r\n" * 8000)), same, {"body": 0.25}, "its HTML has 109 KiB, of which webmail shows 100"
    ),
    "link to nowhere": (signed(link("#")), same, {"body": 0.25}, "a link leads nowhere"),
    "link without a scheme": (
        signed(link("/account")), same, {"body": 0.25}, "the link /account leads to no server: it has no https://"
    ),
    "placeholder": (
        signed(link("https://example.org/u/{{ token }}")), same, {"body": 0.25}, "a placeholder was left in the link"
    ),
    "link without a host": (signed(link("https://localhost/x")), same, {"body": 0.25}, "names no host"),
    "link that shows another": (
        signed(link("https://example.com/", "www.example.org")), same, {"body": 0.25},
        "a link shows www.example.org and leads to example.com, as those of forgers do",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_costs_its_row(name: str) -> None:
    mail, change, expected, seen = FAULTS[name]
    found = judged(mail, change(World()))
    assert lost(found) == expected, found.table()
    assert unknown(found) == {}
    findings = [finding for one in found.rows for finding in one.losses]
    assert seen in findings[0].seen
    assert all(finding.remedy for finding in findings)
    assert found.points == 10 - sum(expected.values())
    assert all(line.isprintable() for line in found.table())


TWINS = {
    "text with a sound link": letter(body="See https://example.org/u/1 or http://www.example.net\r\n"),
    "HTML with text": html("<p>Hello</p>"),
    "a link that shows its own host": link("https://www.example.org/x", "example.org"),
    "an address to write to": link("mailto:news@example.org"),
    "a picture in the message": html('<img src="cid:1">'),
    "a place in the text": html('<a href="#top">up</a>'),
    "latin-1": letter(HTML.format(kind="text/plain").replace("utf-8", "iso-8859-1")),
}


@pytest.mark.parametrize("name", TWINS)
def test_what_differs_in_one_point_costs_nothing(name: str) -> None:
    assert lost(judged(signed(TWINS[name]))) == {}


@pytest.mark.parametrize(
    ("bulk", "text", "expected"),
    [(True, PERSONAL, {"unsubscribe": 0.5}), (False, PERSONAL, {}), (True, LETTER, {})],
)
def test_bulk_mail_must_offer_to_unsubscribe(bulk: bool, text: str, expected: dict[str, float]) -> None:
    assert lost(judged(signed(text), bulk=bulk)) == expected


def test_what_cannot_be_judged_costs_nothing_and_is_named() -> None:
    bare = judged(Mail(signed(received="").raw))
    assert lost(bare) == {}
    assert unknown(bare) == {"spf": 1.5, "reverse": 1.0, "helo": 0.5, "tls": 0.5, "blocklists": 1.0}
    assert bare.conclusion == "5.5 of 10 points, 4.5 could not be judged."
    world = World()
    world.broken[("sel1._domainkey.example.org.", "TXT", "")] = v.DnsAnswer(v.TIMEOUT, text="nobody answers")
    assert unknown(judged(signed(), world)) == {"dkim": 1.5}


def test_a_list_that_does_not_answer_costs_nothing() -> None:
    world = World().put(f"2.0.0.127.{LIST}.", "A")
    found = judged(signed(), world)
    assert (lost(found), unknown(found)) == ({}, {"blocklists": 1.0})
    assert judged(signed(), world, dnsbl_ip=(), dnsbl_domain=(NAME_LIST,)).points == 10


def test_no_question_goes_to_a_server_of_mail_or_of_links() -> None:
    collector = Slow(World())
    mail = signed(link("https://tracker.example.com/1"))
    asyncio.run(score(mail, collector, replace(options(), mail=mail, bulk=True)))
    assert {type(question) for question in collector.facts} == {v.Dns}
    assert not any("tracker" in question.name for question in collector.facts if isinstance(question, v.Dns))


@pytest.mark.parametrize("text", [b"", b"To: a@b.example\r\n\r\nx\r\n", b"From: nobody\r\n\r\nx\r\n"])
def test_a_message_without_an_author(text: bytes) -> None:
    with pytest.raises(CheckError) as caught:
        judged(Mail(text, "m.eml"))
    assert str(caught.value) == "m.eml has no From with one address: give a message as its receiver stored it"


PIECES = st.sampled_from(
    ["Content-Type: multipart/mixed; boundary=b\r\n", "--b\r\n", "\r\n\r\n", "Content-Type: text/html; charset=", "idna",
     "<a href=", "<![CDATA[", "&#x110000;", "http://[", "%%%", "=?utf-8?b?", "Content-Transfer-Encoding: base64\r\n",
     "message/rfc822\r\n", "Received: from x by y with ESMTP;", "\x00", "DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=x; h=:;"]
)  # fmt: skip


@given(st.lists(PIECES | st.text(max_size=30), max_size=12).map("".join))
def test_hostile_messages_end_in_a_score(text: str) -> None:
    found = judged(Mail(b"From: a@example.org\r\nX-Other: 1\r\n" + text.encode("utf-8", "replace")))
    assert 0 <= found.points <= 10
    json.dumps(found.as_dict())
    assert all(line.isprintable() for line in found.table())


@pytest.mark.parametrize("count", [40, 5000])
def test_parts_within_parts_have_an_end(count: int) -> None:
    nested = "".join(f"Content-Type: multipart/mixed; boundary=b{i}\r\n\r\n--b{i}\r\n" for i in range(count))
    found = judged(signed(letter(f"MIME-Version: 1.0\r\n{nested}")))
    assert lost(found)["mime"] == 0.5


# --- the module --------------------------------------------------------------------------------


class Known(client.Collector):
    """The made-up internet instead of the real one."""

    async def ask(self, questions: Any) -> None:
        for question in questions:
            self.facts[question] = World().answer(question)


def module(monkeypatch: pytest.MonkeyPatch, **params: object) -> dict[str, Any]:
    """What the module prints."""
    printed = io.StringIO()
    monkeypatch.setattr(sys, "stdout", printed)
    monkeypatch.setattr(client, "Collector", Known)
    lists = {"dnsbl_ip": [LIST], "dnsbl_domain": [NAME_LIST]}
    # What ansible.module_utils.testing does from ansible-core 2.19 on; 2.18 has no such thing.
    monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": {**lists, **params}}).encode())
    monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
    with pytest.raises(SystemExit):
        mail_score.main()
    return dict(json.loads(printed.getvalue()))


TOKEN = "probe-0123456789abcdef"


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    """A maildir with a probe."""
    (tmp_path / "new").mkdir()
    (tmp_path / "cur").mkdir()
    (tmp_path / "new" / "1").write_bytes(signed(LETTER.replace("<1@example.org>", f"<{TOKEN}@example.org>")).raw)
    return tmp_path


def test_a_file_and_a_probe_in_a_maildir_are_scored(monkeypatch: pytest.MonkeyPatch, maildir: Path) -> None:
    by_file = module(monkeypatch, message_file=str(maildir / "new" / "1"))
    by_token = module(monkeypatch, maildir=str(maildir), token=TOKEN, sender="root@example.org")
    assert (by_file["score"], by_file["domain"], by_file["changed"]) == (10, "example.org", False)
    assert by_file["table"] == by_token["table"]
    assert [row["id"] for row in by_file["rows"]] == [row.id for row in _score.ROWS]


def test_a_minimum(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "m.eml"
    path.write_bytes((RECEIVED + LETTER).encode())
    failed = module(monkeypatch, message_file=str(path), minimum=9)
    assert failed["msg"].startswith("fewer points than 9: 8.5 of 10 points; most is lost by dkim: not signed by")
    assert failed["failed"] and failed["score"] == 8.5
    assert "failed" not in module(monkeypatch, message_file=str(path), minimum=8.5)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({}, "one of the following is required: message_file, maildir, imap"),
        ({"maildir": "/x"}, "missing parameter(s) required by 'maildir': token, sender"),
        ({"maildir": "/x", "token": "a b", "sender": "a@b.example"}, "token 'a b' is not 8 to 64 letters"),
        ({"maildir": "/x", "token": TOKEN, "sender": "root"}, "sender 'root' is no address such as probe@example.org"),
        ({"message_file": "/x"}, "message_file: /x cannot be read: No such file or directory"),
        ({"message_file": "/x", "resolver": ["ns"]}, "resolver 'ns' is no address"),
    ],
)
def test_what_makes_no_sense_is_said(monkeypatch: pytest.MonkeyPatch, params: dict[str, object], said: str) -> None:
    assert said in module(monkeypatch, **params)["msg"]


def test_a_probe_that_is_not_there(monkeypatch: pytest.MonkeyPatch, maildir: Path) -> None:
    said = module(monkeypatch, maildir=str(maildir), token="probe-other", sender="root@example.org")["msg"]
    assert said == (
        "there is no message probe-other of root@example.org: send one with mail_probe, and wait until it arrives"
    )
