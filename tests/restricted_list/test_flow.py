# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A mail to the list, from LMTP or SMTP to the relay: taken or refused, and what is told of it."""

from __future__ import annotations

import contextlib
import email
import smtplib
import sqlite3
import ssl
import time
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult
from postmaster_restricted_list.config import ConfigError, parse
from postmaster_restricted_list.intake import Intake
from postmaster_restricted_list.issue import WrongError
from postmaster_restricted_list.secret import digest
from postmaster_restricted_list.store import BusyError

from .conftest import ANNA, LIST, World, eventually, made_certificate, mail

NO_TOKEN = (550, "5.7.1 mail to this list needs a token: attach the file of a token")


def _sent(world: World, count: int) -> list[EmailMessage]:
    copies = eventually(lambda: len(world.relay.copies()) >= count and world.relay.copies(), "all copies")
    assert [one.sender for one in copies] == ["bounces@lists.example"] * count
    return [email.message_from_bytes(one.raw, policy=default) for one in copies]


def test_a_mail_with_a_token_goes_to_everybody_as_the_lists_own(world: World) -> None:
    with world.running():
        assert world.send(mail(world.token(), DKIM_Signature="v=1; d=corp.example", X_Mailer="x")) == [
            (250, "2.0.0 it goes out to 2 recipients")
        ]
        copies = _sent(world, 2)
    first = copies[0]
    assert [(name, str(value)) for name, value in first.items() if name not in ("Message-ID", "Content-Type")] == [
        ("From", "Anna via Members <restricted@lists.example>"),
        ("To", "one@a.example"),
        ("Reply-To", "Anna <anna@corp.example>"),
        ("Subject", "News"),
        ("Date", "Mon, 02 Nov 2026 10:00:00 +0100"),
        ("List-Id", "<restricted.lists.example>"),
        ("X-Restricted-List", "1"),
        ("MIME-Version", "1.0"),
    ]
    assert first.get_content_type() == "multipart/mixed" and [one.get_content_type() for one in first.iter_parts()] == [
        "text/plain"
    ]
    assert [one["To"] for one in copies] == ["one@a.example", "two@b.example"]
    assert len({one["Message-ID"] for one in copies}) == 2
    assert all(one["Message-ID"].endswith("@lists.example>") for one in copies)


def test_creator_and_sender_are_told_with_counts(world: World) -> None:
    world.members("one@a.example", "gone@b.example", "no address", {"address": "quiet@c.example", "opted_out": True})
    world.relay.answers = {"gone@b.example": "550 5.1.1 no such user"}
    with world.running():
        assert world.send(mail(world.token()))[0][0] == 250
        notices = eventually(lambda: world.relay.notices(ANNA), "the notice to the sender")
        told = eventually(
            lambda: len(world.relay.notices("boss@corp.example")) == 2 and world.relay.notices("boss@corp.example")
        )
    assert notices[0].startswith("Members: Sent to 1 recipients\n\n")
    assert "sent: 1\nfailed: 2\n" in notices[0]
    assert "gone@b.example: 550 5.1.1 no such user" in notices[0]
    assert "no address: 'no address' is no address that mail can be sent to" in notices[0]
    assert (
        "anna@corp.example has used the token" in told[0]
        and "goes out to 2 recipients" in told[0]
        and "1 have opted out" in told[0]
    )
    assert "sent: 1\nfailed: 2\n" in told[1]
    assert {one.sender for one in world.relay.got if "Auto-Submitted: auto-generated" in one.raw.decode()} == {"<>"}


def test_lmtp_answers_once_for_each_recipient_and_the_mail_goes_out_once(world: World) -> None:
    with world.running():
        assert world.send(mail(world.token()), recipients=3) == [(250, "2.0.0 it goes out to 2 recipients")] * 3
        assert world.send(mail(), recipients=2) == [NO_TOKEN] * 2
        eventually(lambda: world.relay.notices(ANNA), "the end")
    assert len(world.relay.copies()) == 2


def test_lmtp_answers_as_often_where_a_mail_is_too_large(world: World) -> None:
    world.data["size_limit"] = 10_000
    with world.running():
        assert [code for code, dummy in world.send(mail(world.token(), text="x\n" * 9000), recipients=2)] == [552] * 2
        assert [code for code, dummy in world.send(mail(world.token(), text="x\n" * 900), recipients=2)] == [250] * 2


@pytest.mark.parametrize(
    ("recipient", "sender", "reply"),
    [
        (LIST, ANNA, (250, b"2.1.5 fine")),
        ("Restricted@Lists.Example", ANNA, (250, b"2.1.5 fine")),
        ("other@lists.example", ANNA, (550, b"5.1.1 there is no such list here")),
        (LIST, "", (550, b"5.7.1 the list takes no bounces")),
    ],
)
def test_recipients_are_refused_at_once(world: World, recipient: str, sender: str, reply: tuple[int, bytes]) -> None:
    with world.running(), world.lmtp() as client:
        client.ehlo_or_helo_if_needed()
        said = client.mail(sender)
        assert (said if said[0] != 250 else client.rcpt(recipient)) == reply


def _take(world: World, raw: bytes) -> str:
    return Intake(world.config, world.store, lambda: None).take(raw)


TAKEN = "250 2.0.0 it goes out to 2 recipients"


def test_a_token_is_taken_once(world: World) -> None:
    token = world.token()
    assert _take(world, mail(token)) == TAKEN
    assert _take(world, mail(token, subject="Again")) == "550 5.7.1 the token has been used: ask for a new one"


def test_the_same_mail_again_is_no_second_one(world: World) -> None:
    """The client that did not get our answer asks again."""
    token = world.token()
    raw = mail(token)
    assert _take(world, raw) == TAKEN
    assert _take(world, raw) == "250 2.0.0 it goes out already"
    assert len([one for one in world.store.waiting(time.time(), 9) if one.job == 1]) == 2


def test_a_token_is_for_its_sender(world: World) -> None:
    token = world.token()
    other = mail(token, sender="eve@corp.example")
    assert _take(world, other) == (
        "550 5.7.1 the token is not for mail from eve@corp.example: send from the address it was made for"
    )
    assert _take(world, mail(token, sender="ANNA@Corp.example")) == TAKEN


def test_a_token_expires(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    tokens = [world.token(days=1) for dummy in range(2)]
    monkeypatch.setattr("postmaster_restricted_list.intake.time.time", lambda: now + 86_000)
    assert _take(world, mail(tokens[0])) == TAKEN
    monkeypatch.setattr("postmaster_restricted_list.intake.time.time", lambda: now + 87_000)
    assert _take(world, mail(tokens[1])) == "550 5.7.1 the token has expired: ask for a new one"


def test_a_token_is_known(world: World) -> None:
    token = world.token()
    wrong = token[:-1] + ("0" if token[-1] != "0" else "1")
    assert _take(world, mail(wrong)) == "550 5.7.1 the token is not known here: ask for a new one"
    assert _take(world, mail(token)) == TAKEN


def test_there_is_one_token(world: World) -> None:
    tokens = [world.token(), world.token()]
    assert _take(world, mail(tokens[0], X_Restricted_Token=tokens[1])) == (
        "550 5.7.1 mail to this list needs a token: attach one token, not several"
    )
    assert _take(world, mail(tokens[0], X_Restricted_Token=tokens[0])) == TAKEN
    assert _take(world, mail(X_Restricted_Token=tokens[1])) == TAKEN
    assert f"{_take(world, mail())}" == f"550 {NO_TOKEN[1]}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Auto_Submitted", "auto-replied"),
        ("Precedence", "bulk"),
        ("List_Id", "<other.lists.example>"),
        ("X_Restricted_List", "1"),
    ],
)
def test_programs_and_lists_are_refused(world: World, name: str, value: str) -> None:
    token = world.token()
    assert (
        _take(world, mail(token, **{name: value})) == "550 5.7.1 the list takes no mail of programs or of other lists"
    )
    assert _take(world, mail(token, Auto_Submitted="no")) == TAKEN


@pytest.mark.parametrize(
    ("raw", "reply"),
    [
        (b"From: a@b.example\r\nnot a field\r\n\r\nx", "550 5.6.0 the mail cannot be used: its header cannot be read"),
        (b"Subject: x\r\n\r\nx", "550 5.6.0 the mail cannot be used: it must have one From field with one address"),
        (b"From: a@b.example, c@d.example\r\n\r\nx", "550 5.6.0 the mail cannot be used: it must have one From field with one address"),
        (b"From: a@b.example\r\nFrom: c@d.example\r\n\r\nx", "550 5.6.0 the mail cannot be used: it must have one From field with one address"),
        (b"From: nobody\r\n\r\nx", "550 5.6.0 the mail cannot be used: From: 'nobody' is no address that mail can be sent to"),
        (b"From: a@b.example\r\n\r\nx", f"550 {NO_TOKEN[1]}"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(world: World, raw: bytes, reply: str) -> None:
    assert _take(world, raw) == reply


def test_the_authors_domain_must_vouch_where_that_is_asked_for(world: World) -> None:
    world.data["authserv_id"] = "mx.lists.example"
    token = world.token()
    refused = "550 5.7.1 the domain of anna@corp.example does not vouch for the mail: sign it with DKIM"
    results = [
        ("mx.lists.example; dmarc=fail header.from=corp.example", refused),
        ("other.example; dmarc=pass header.from=corp.example", refused),
        ("mx.lists.example; dmarc=pass header.from=evil.example", refused),
        ("mx.lists.example; spf=fail (dmarc=pass header.from=corp.example)", refused),
        ("mx.lists.example; dkim=pass header.d=x.example; dmarc=pass (p=none) header.from=corp.example", TAKEN),
    ]
    for value, reply in results:
        assert _take(world, mail(token, Authentication_Results=value)) == reply


def test_a_group_that_is_too_large_is_refused(world: World) -> None:
    world.data["recipients_limit"] = 2
    token = world.token()
    world.members("one@a.example", "two@b.example", "three@c.example")
    assert _take(world, mail(token)) == "552 5.5.3 3 recipients are more than the 2 that one mail may have"
    with pytest.raises(WrongError, match="^3 recipients are more than the 2 that one mail may have$"):
        world.token()
    world.members("one@a.example", "two@b.example", "ONE@A.example")
    assert _take(world, mail(token)) == TAKEN


def test_a_group_that_cannot_be_read_uses_no_token_up(world: World) -> None:
    token = world.token()
    (world.folder / "members.yaml").unlink()
    assert _take(world, mail(token)) == "451 4.3.0 the recipients are not known now, try again later"
    world.members("one@a.example", "two@b.example")
    assert _take(world, mail(token)) == TAKEN


def test_nobody_is_left(world: World) -> None:
    token = world.token()
    for one in ("one@a.example", "TWO@b.example"):
        world.store.opt_out(one)
    assert _take(world, mail(token)) == "550 5.7.1 nobody would get it: the groups are empty, or all have opted out"
    assert world.store.opt_in("TWO@b.example")
    assert _take(world, mail(token)) == "250 2.0.0 it goes out to 1 recipients"


def test_the_creator_learns_who_was_refused_with_the_token(world: World) -> None:
    token = world.token()
    with world.running():
        assert world.send(mail(token, sender="eve@corp.example"))[0][0] == 550
        told = eventually(lambda: world.relay.notices("boss@corp.example"), "the notice")
    assert "A mail from eve@corp.example with the token" in told[0]
    assert world.relay.notices("eve@corp.example") == []


def test_a_database_that_does_not_answer_puts_mail_off(world: World) -> None:
    token = world.token()
    intake = Intake(world.config, world.store, lambda: None)
    with contextlib.closing(sqlite3.connect(world.folder / "list.db")) as database:
        database.execute("ALTER TABLE jobs RENAME TO away")
        assert intake.take(mail(token)) == "451 4.3.0 the database does not answer, try again later"
        database.execute("ALTER TABLE away RENAME TO jobs")
    assert intake.take(mail(token)) == TAKEN


def test_tokens_are_stored_as_digests(world: World) -> None:
    token = world.token()
    assert len(token) == 128
    held = b"".join(path.read_bytes() for path in world.folder.glob("list.db*"))
    assert token.encode() not in held
    assert digest(token).encode() in held


@pytest.mark.parametrize("required", [True, False])
def test_smtp_with_starttls(world: World, certificate: Path, required: bool) -> None:
    world.data["smtp"] = {
        "host": world.host,
        "port": 8025,
        "certificate": str(certificate),
        "key": str(certificate),
        "require_tls": required,
    }
    trust = ssl.create_default_context(cafile=str(certificate))
    trust.check_hostname = False
    with world.running():
        with smtplib.SMTP(world.host, 8025, timeout=60) as client:
            if required:
                client.ehlo()
                assert client.mail(ANNA)[0] == 530
            client.starttls(context=trust)
            client.sendmail(ANNA, [LIST], mail(world.token()))
            with pytest.raises(smtplib.SMTPDataError) as caught:
                client.sendmail(ANNA, [LIST], mail())
        assert (caught.value.smtp_code, caught.value.smtp_error) == (NO_TOKEN[0], NO_TOKEN[1].encode())
        _sent(world, 2)


def test_two_services_do_not_send_from_one_database(world: World) -> None:
    first, second = world.store, world.store
    first.alone()
    with pytest.raises(BusyError, match="another process sends from"):
        second.alone()
    first.close()
    second.alone()


def test_a_refusal_for_now_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postmaster_restricted_list.fanout.FIRST", 0.05)
    world.relay.answers = {"one@a.example": "451 4.7.1 later"}
    with world.running():
        world.send(mail(world.token()))
        eventually(lambda: len(world.relay.copies()) == 1)
        eventually(lambda: any(one.tries for one in world.store.waiting(time.time() + 9999, 9)), "a second try")
        world.relay.answers = {}
        assert {one["To"] for one in _sent(world, 2)} == {"one@a.example", "two@b.example"}


def test_a_refusal_for_now_lasts_no_longer_than_is_set(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postmaster_restricted_list.fanout.FIRST", 0.05)
    world.data["retry_hours"] = 0.0001
    world.relay.answers = {"one@a.example": "451 4.7.1 later"}
    with world.running():
        world.send(mail(world.token()))
        assert (
            "sent: 1\nfailed: 1\n\none@a.example: 451 4.7.1 later" in eventually(lambda: world.relay.notices(ANNA))[0]
        )


def test_a_relay_that_is_away_is_waited_for(world: World) -> None:
    world.relay.stop()
    with world.running():
        assert world.send(mail(world.token()))[0][0] == 250
    world.relay.start()
    with world.running():
        _sent(world, 2)


class Submission(SMTP):
    """A server that wants to know who hands a mail over."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, authenticator=self.knows, auth_required=True, **more)

    @staticmethod
    def knows(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=(data.login, data.password) == (b"list", b"open sesame"), handled=False)


@pytest.fixture
def submission(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """The relay behind TLS and a password."""
    pem = made_certificate(tmp_path / "pem", world.relay.host)
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pem)
    world.relay.stop()
    world.relay.server, world.relay.options = Submission, {"tls_context": tls, "require_starttls": True}
    world.relay.start()
    world.data["relay"] |= {"tls": "verify", "user": "list", "password": "open sesame"}
    return world


def test_a_relay_that_asks_for_a_password(submission: World) -> None:
    with submission.running():
        assert submission.send(mail(submission.token()))[0][0] == 250
        _sent(submission, 2)


@pytest.mark.parametrize(
    ("password", "trust", "why"),
    [
        ("open up", True, "does not let list in: 535 5.7.8 Authentication credentials invalid; next try in 1 s"),
        ("open sesame", False, "is away: [SSL: CERTIFICATE_VERIFY_FAILED]"),
    ],
)
def test_mail_waits_until_the_relay_lets_it_in(
    submission: World,
    certificate: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    password: str,
    trust: bool,
    why: str,
) -> None:
    right = submission.data["relay"]
    submission.data["relay"] = {**right, "password": password}
    with monkeypatch.context() as patch:
        if not trust:
            patch.setenv("SSL_CERT_FILE", str(certificate))
        with submission.running():
            assert submission.send(mail(submission.token()))[0][0] == 250
            said = f"the relay {right['host']}:{right['port']} {why}"
            eventually(lambda: said in caplog.text, "the complaint")
    assert password not in caplog.text
    assert submission.relay.copies() == []
    submission.data["relay"] = right
    with submission.running():
        _sent(submission, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"address": "nobody"}, "address: 'nobody' is no address that mail can be sent to"),
        ({"adress": LIST}, "adress: there is no such key"),
        ({"lmtp": None}, "the file: nothing takes mail: give lmtp or smtp"),
        ({"http": {"port": 1}}, "the file: http needs public_url, with which the links begin"),
        ({"database": "hello"}, "database: it is no URL of a database, such as sqlite:////var/lib/list.db"),
        ({"smtp": {"port": 1, "require_tls": True}}, "smtp: require_tls needs a certificate and a key"),
        ({"smtp": {"port": 1, "key": "/x"}}, "smtp: certificate and key go together: give both or neither"),
        ({"relay": {"user": "u", "tls": "verify"}}, "relay: user and password go together: give both or neither"),
        ({"relay": {"password": "p", "tls": "verify"}}, "relay: user and password go together: give both or neither"),
        ({"relay": {"user": "u", "password": "p"}}, "relay: a password is given to a server that is known alone: set tls to verify"),
    ],
)  # fmt: skip
def test_a_configuration_that_is_wrong_is_refused(world: World, change: dict[str, object], message: str) -> None:
    assert parse(world.data).address == LIST
    with pytest.raises(ConfigError) as caught:
        parse({**world.data, **change})
    assert str(caught.value) == message
