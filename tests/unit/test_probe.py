# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A probe: what is sent, how its arrival is read, and what is said when it is not as it must be."""

from __future__ import annotations

import base64
import email
import email.policy
import imaplib
import os
import socket
import ssl
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _imap_client, _probe, _probe_client
from ansible_collections.postmaster.mail.plugins.module_utils._check_mail import Mail
from ansible_collections.postmaster.mail.plugins.module_utils._command import Runner
from ansible_collections.postmaster.mail.plugins.module_utils._probe import Arrival, Hop, ProbeError
from ansible_collections.postmaster.mail.plugins.module_utils._signatures import Signature, verify
from hypothesis import given
from hypothesis import strategies as st

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
TOKEN = "probe-0123456789abcdef"
ID = f"<{TOKEN}@example.org>"


def test_a_probe_says_what_it_is() -> None:
    content = _probe.compose(TOKEN, "root@example.org", "ops@example.net", NOON)
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert (message["From"], message["To"], message["Message-ID"]) == ("root@example.org", "ops@example.net", ID)
    assert message["Date"] == "Fri, 20 Nov 2026 12:00:00 +0000"
    assert message["Auto-Submitted"] == "auto-generated"
    assert TOKEN in message["Subject"]
    assert content.count(b"\n") == content.count(b"\r\n") and content.endswith(b"\r\n")


def test_no_two_tokens_are_the_same() -> None:
    assert _probe.new_token() != _probe.new_token()
    assert _probe.TOKEN.fullmatch(_probe.new_token())


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a.b+c@example.org", True), ("-f@example.org", False), ("a@b@c", False), ("a@b\nBcc: c@d", False), ("a", False)],
)
def test_addresses_cannot_end_a_header_or_be_an_option(text: str, expected: bool) -> None:
    assert _probe.is_address(text) is expected


# --- hops ------------------------------------------------------------------------------------

DATE = "Fri, 20 Nov 2026 12:00:05 +0000"


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        # Postfix
        (
            "from relay1.example.org (relay1.example.org [192.0.2.25])\r\n\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 "
            "(256/256 bits)\r\n\t key-exchange X25519)\r\n\t(No client certificate requested)\r\n\tby mx.example.net (Postfix) "
            f"with ESMTPS id 4bXkQz1nTzz2x\r\n\tfor <ops@example.net>; {DATE} (UTC)",
            Hop("relay1.example.org", "mx.example.net", "ESMTPS", "TLSv1.3", NOON.replace(second=5)),
        ),
        # Postfix, from a program on the host
        (
            f"by web1.example.org (Postfix, from userid 0)\r\n\tid 4bXkQz1nTzz2x; {DATE} (UTC)",
            Hop("", "web1.example.org", "", "", NOON.replace(second=5)),
        ),
        # Exim
        (
            "from [192.0.2.31] (helo=web2.example.org)\r\n\tby relay1.example.org with esmtps  (TLS1.3) tls "
            f"TLS_AES_256_GCM_SHA384\r\n\t(Exim 4.98)\r\n\t(envelope-from <root@example.org>)\r\n\tid 1vM0aB-00000001abc-2x3y; {DATE}",
            Hop("[192.0.2.31]", "relay1.example.org", "esmtps", "TLSv1.3", NOON.replace(second=5)),
        ),
        # OpenSMTPD
        (
            "from relay1.example.org (relay1.example.org [192.0.2.25])\r\n\tby mail.example.net (OpenSMTPD) with ESMTPS id 1a2b3c4d "
            f"(TLSv1.3:TLS_AES_256_GCM_SHA384:256:NO)\r\n\tfor <ops@example.net>; {DATE}",
            Hop("relay1.example.org", "mail.example.net", "ESMTPS", "TLSv1.3", NOON.replace(second=5)),
        ),
        # as large providers write it
        (
            "from mail.example.org (mail.example.org. [192.0.2.25]) by mx.google.com with ESMTPS id a1-2 for <x@y> "
            f"(version=TLS1_2 cipher=ECDHE-ECDSA-AES128-GCM-SHA256 bits=128/128); {DATE}",
            Hop("mail.example.org", "mx.google.com", "ESMTPS", "TLSv1.2", NOON.replace(second=5)),
        ),
        # without TLS, and with a date that is none
        (
            "from a.example (a.example [192.0.2.1]) by b.example (Postfix) with ESMTP id 1; soon",
            Hop("a.example", "b.example", "ESMTP", "", None),
        ),
        ("nonsense", Hop("", "", "", "", None)),
    ],
)  # fmt: skip
def test_hops_are_read_as_servers_write_them(received: str, expected: Hop) -> None:
    assert _probe.hops(Mail(f"Received: {received}\r\n\r\n".encode())) == [expected]


WAY = (
    "Return-Path: <root@example.org>\r\n"
    "Authentication-Results: mx.example.net; dkim=pass (2048-bit key) header.d=example.org; spf=pass smtp.mailfrom=example.org;\r\n"
    "\tdmarc=pass (policy=reject) header.from=example.org\r\n"
    "Received: from relay1.example.org (relay1.example.org [192.0.2.25]) (using TLSv1.3 with cipher X)\r\n"
    "\tby mx.example.net (Postfix) with ESMTPS id 2; Fri, 20 Nov 2026 12:00:07 +0000\r\n"
    "Authentication-Results: forger.example; spf=fail\r\n"
    "Received: from web1.example.org (web1.example.org [192.0.2.31])\r\n"
    "\tby relay1.example.org (Postfix) with {protocol} id 1; Fri, 20 Nov 2026 13:00:05 +0100\r\n"
    "Received: by web1.example.org (Postfix, from userid 0) id 0; Fri, 20 Nov 2026 12:00:04 +0000\r\n"
    "Subject: x\r\n\r\n"
)
VALID = Signature({"d": "example.org", "s": "k1", "a": "rsa-sha256"}, True)
UNDECIDED = Signature({"d": "example.org", "s": "k2"}, None, "no library")
BROKEN = Signature({"d": "example.org", "s": "k1"}, False, "no key")


def arrival(protocol: str = "ESMTPS", *signatures: Signature, owner: str = "mx.example.net") -> Arrival:
    return Arrival(Mail(WAY.replace("{protocol}", protocol).encode()), 3.21, signatures or (VALID,), owner)


def test_an_arrival_is_told_whole() -> None:
    told = arrival().as_dict()
    assert told["seconds"] == 3.2
    assert told["envelope_sender"] == "root@example.org"
    assert told["verdicts"] == {"spf": "pass", "dkim": "pass", "dmarc": "pass"}
    assert told["tls"] is True
    assert told["signatures"] == [
        {"domain": "example.org", "selector": "k1", "algorithm": "rsa-sha256", "valid": True, "reason": ""}
    ]
    way = told["hops"]
    assert isinstance(way, list)
    assert [(hop["sender"], hop["receiver"], hop["seconds"]) for hop in way] == [
        ("", "web1.example.org", None),
        ("web1.example.org", "relay1.example.org", 1.0),
        ("relay1.example.org", "mx.example.net", 2.0),
    ]


def test_only_the_named_receiver_s_word_counts() -> None:
    assert arrival(owner="forger.example").as_dict()["verdicts"] == {"spf": "fail", "dkim": "none", "dmarc": "none"}
    assert arrival(owner="").as_dict()["verdicts"] == {}
    assert arrival(owner="another.example").as_dict()["verdicts"] == {}


@pytest.mark.parametrize(
    ("given_arrival", "require", "failings"),
    [
        (arrival(), ["spf", "dkim", "dmarc", "tls"], []),
        (arrival("ESMTP"), ["tls"], ["relay1.example.org took it without TLS"]),
        (arrival("ESMTP"), ["dkim"], []),
        (arrival("ESMTPS", BROKEN), ["dkim"], ["no DKIM signature verifies (example.org: no key)"]),
        (arrival("ESMTPS", BROKEN, VALID), ["dkim"], []),
        (arrival("ESMTPS", BROKEN, UNDECIDED), ["dkim"], ["no DKIM signature can be verified (example.org: no key, example.org: no library)"]),
        (arrival("ESMTPS", UNDECIDED, VALID), ["dkim"], []),
        (arrival(owner=""), ["spf"], ["nobody says anything of spf: name the receiver in authserv_id"]),
        (arrival(owner="forger.example"), ["spf", "dmarc"], ["forger.example says spf=fail", "forger.example says dmarc=none"]),
        (arrival(owner="forger.example"), ["dkim"], ["forger.example says dkim=none"]),
    ],
)  # fmt: skip
def test_what_is_required_and_does_not_hold_is_told(
    given_arrival: Arrival, require: list[str], failings: list[str]
) -> None:
    assert given_arrival.failings(require) == failings


@given(st.text(), st.text(), st.text())
def test_any_header_is_read(received: str, results: str, rest: str) -> None:
    raw = f"Received: {received}\nAuthentication-Results: {results}\nDKIM-Signature: {rest}\n\n"
    Arrival(Mail(raw.encode("utf-8", "replace")), 1, (), "mx").as_dict()


def test_signatures_are_verified_by_dkimpy() -> None:
    dkim = pytest.importorskip("dkim")
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    public = base64.b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
    content = _probe.compose(TOKEN, "root@example.org", "ops@example.net", NOON)
    signed = dkim.sign(content, b"k1", b"example.org", private) + content
    records = {"k1._domainkey.example.org.": [f"v=DKIM1; k=rsa; p={public}"]}
    (good,) = verify(Mail(signed), lambda name: records.get(name, []))
    assert (good.domain, good.valid, good.reason) == ("example.org", True, "")
    (changed,) = verify(Mail(signed.replace(b"Nobody", b"Anybody")), lambda name: records.get(name, []))
    assert changed.valid is False and changed.reason
    (without,) = verify(Mail(signed), lambda name: [])
    assert without.valid is False and without.reason


# --- looking ---------------------------------------------------------------------------------


def test_a_maildir_is_searched_in_new_and_cur(tmp_path: Path) -> None:
    for folder in ("new", "cur"):
        (tmp_path / folder).mkdir()
    look = _probe_client.look_in_maildir(str(tmp_path), ID, since=time.time() - 60)
    assert look() is None
    (tmp_path / "new" / "1").write_bytes(b"Message-ID: <other@example.org>\n\n")
    assert look() is None
    (tmp_path / "cur" / "2:2,S").write_bytes(f"Message-ID: {ID}\n\nx".encode())
    assert look() == f"Message-ID: {ID}\n\nx".encode()
    os.utime(tmp_path / "cur" / "2:2,S", (1, 1))
    assert look() is None
    with pytest.raises(ProbeError, match="name a maildir, which has new and cur"):
        _probe_client.look_in_maildir(str(tmp_path / "nowhere"), ID, since=0)()


LOG = f"""\
postfix/smtpd[7]: 4bXkQz1nTzz2x: client=relay1.example.org[192.0.2.25]
postfix/cleanup[8]: 4bXkQz1nTzz2x: message-id={ID}
postfix/cleanup[8]: 4bXkR02hBzz3c: message-id=<other@example.org>
postfix/local[9]: 4bXkQz1nTzz2x: to=<ops@example.net>, relay=local, delay=0.1, dsn=2.0.0, status=sent (delivered to maildir)
postfix/local[9]: 4bXkR02hBzz3c: to=<ops@example.net>, status=sent (delivered to maildir)
"""


def test_a_log_tells_of_the_message_alone() -> None:
    lines = _probe_client.lines_of(LOG, ID)
    assert [line.partition(": ")[0] for line in lines] == ["postfix/smtpd[7]", "postfix/cleanup[8]", "postfix/local[9]"]
    assert [_probe_client.is_delivery(line) for line in lines] == [False, False, True]
    assert _probe_client.lines_of(LOG, "<nothing@example.org>") == []


def test_waiting_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_probe_client, "PAUSE", 0.01)
    answers = iter([None, None, b"here"])
    assert _probe_client.wait_for(lambda: next(answers), timeout=30) == b"here"
    assert _probe_client.wait_for(lambda: None, timeout=0.05) is None


def test_waiting_outlasts_a_mail_server_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_probe_client, "PAUSE", 0.01)
    answers: list[bytes | Exception | None] = [
        _imap_client.ImapUnavailable("away"),
        None,
        _imap_client.ImapUnavailable("away"),
        b"here",
    ]

    def look() -> bytes | None:
        answer = answers.pop(0) if answers else _imap_client.ImapUnavailable("still away")
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert _probe_client.wait_for(look, timeout=30) == b"here"
    with pytest.raises(_imap_client.ImapUnavailable, match="still away"):
        _probe_client.wait_for(look, timeout=0.05)


def test_waiting_ends_at_once_where_it_is_in_vain() -> None:
    looks = []

    def look() -> bytes | None:
        looks.append("")
        raise _imap_client.ImapError("wrong password")

    with pytest.raises(_imap_client.ImapError, match="wrong password"):
        _probe_client.wait_for(look, timeout=30)
    assert len(looks) == 1


@pytest.mark.parametrize(
    ("err", "passes"),
    [
        (ConnectionRefusedError(111, "Connection refused"), True),
        (TimeoutError("timed out"), True),
        (ssl.SSLEOFError(8, "EOF occurred"), True),
        (ssl.SSLCertVerificationError(1, "certificate verify failed"), False),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), False),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), True),
        (imaplib.IMAP4.abort("socket error: EOF"), True),
        (imaplib.IMAP4.error("[AUTHENTICATIONFAILED] Authentication failed."), False),
        (imaplib.IMAP4.error("b'[UNAVAILABLE] Internal error'"), True),
        (imaplib.IMAP4.error("LOGIN command error: BAD"), False),
    ],
)
def test_what_may_pass_by_itself(monkeypatch: pytest.MonkeyPatch, err: Exception, passes: bool) -> None:
    def fail(*dummy: object, **more: object) -> None:
        raise err

    monkeypatch.setattr(imaplib, "IMAP4_SSL", fail)
    with pytest.raises(_imap_client.ImapError, match="IMAP at imap.example.net port 993: ") as caught:
        list(_imap_client.Mailbox("imap.example.net", "x", "y").messages())
    assert isinstance(caught.value, _imap_client.ImapUnavailable) is passes


# --- sending ---------------------------------------------------------------------------------


def test_a_refusal_by_sendmail_is_told(tmp_path: Path) -> None:
    program = tmp_path / "sendmail"
    program.write_text('#!/bin/sh\ncat >"$0.got"; echo "$@" >>"$0.got"; echo "queue file write error" >&2; exit 75\n')
    program.chmod(0o755)
    content = _probe.compose(TOKEN, "root@example.org", "ops@example.net", NOON)
    with pytest.raises(ProbeError, match="the message was not taken: .*queue file write error"):
        _probe_client.send_by_sendmail(
            content, "root@example.org", "ops@example.net", program=str(program), runner=Runner()
        )
    got = (tmp_path / "sendmail.got").read_text()
    assert got.endswith("-i -f root@example.org -- ops@example.net\n") and "\r" not in got


def test_a_server_that_is_not_there_is_told() -> None:
    with pytest.raises(ProbeError, match="SMTP at 127.0.0.1 port 1: Connection refused"):
        _probe_client.Submission("127.0.0.1", 1).send(b"x", "a@example.org", "b@example.org")
    with pytest.raises(_imap_client.ImapError, match="IMAP at 127.0.0.1 port 1: Connection refused"):
        list(_imap_client.Mailbox("127.0.0.1", "x", "y", port=1).messages())


@pytest.mark.parametrize("text", ["a\r\nb LOGOUT", "ä"])
def test_a_search_cannot_end_its_command(text: str) -> None:
    with pytest.raises(_imap_client.ImapError, match="characters that IMAP does not take"):
        _imap_client.header("Message-ID", text)
