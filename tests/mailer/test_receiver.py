# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the SMTP receiver says to applications: who may send what, and who guesses passwords."""

from __future__ import annotations

import asyncio
import datetime
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from postmaster_mailer.config import ConfigError, Login, QueueNames, parse
from postmaster_mailer.connect import tls_of
from postmaster_mailer.envelope import Envelope
from postmaster_mailer.passwords import Passwords
from postmaster_mailer.queue import Queue
from postmaster_mailer.receiver import Intake, SmtpTaker, domains_of
from postmaster_mailer.smtp_server import Dialogue

from .conftest import run

MAIL = b"X-Uuid: u1\r\nFrom: %s\r\nTo: b@example.com\r\n\r\nhello\r\n"


class Kept(Queue):
    """A queue that keeps what it is given."""

    def __init__(self) -> None:
        self.kept: list[Envelope] = []
        self.messages: list[bytes] = []

    async def add(self, stream: str, envelope: Envelope, message: bytes) -> bool:
        self.kept.append(envelope)
        self.messages.append(message)
        return True


def login(**more: Any) -> Login:
    return Login.model_validate({"username": "shop", "password": "right", **more})


@pytest.mark.parametrize(
    ("domains", "author", "said"),
    [
        (None, b"a@example.net", "250 2.0.0 u1 is queued"),
        (["example.org", "Example.COM"], b"A <a@EXAMPLE.org>", "250 2.0.0 u1 is queued"),
        (["example.org", "Example.COM"], b"a@example.com", "250 2.0.0 u1 is queued"),
        (
            ["example.org", "Example.COM"],
            b"a@example.net",
            "550 5.7.1 the login shop may not send from the domain example.net: its domains are example.com, example.org",
        ),
        (
            ["example.org"],
            b"a@sub.example.org",
            "550 5.7.1 the login shop may not send from the domain sub.example.org: its domains are example.org",
        ),
        (["sub.example.org"], b"a@sub.example.org", "250 2.0.0 u1 is queued"),
        (
            ["example.org"],
            b'"example.org" <a@example.net>',
            "550 5.7.1 the login shop may not send from the domain example.net: its domains are example.org",
        ),
        (
            ["example.org"],
            b"nobody",
            "550 5.7.1 the login shop may not send from a field From without an address: its domains are example.org",
        ),
        (
            [],
            b"a@example.org",
            "550 5.7.1 the login shop may not send from the domain example.org: its domains are none",
        ),
    ],
)
def test_domains_of_a_login(domains: list[str] | None, author: bytes, said: str) -> None:
    queue = Kept()
    given = login(**({} if domains is None else {"domains": domains}))
    intake = Intake(queue, QueueNames(), domains=domains_of([given]))
    dialogue = Dialogue("192.0.2.1", tls=True, login="shop", recipients=["b@example.com"])
    assert run(SmtpTaker(intake, Passwords(())).take(dialogue, MAIL % author)) == said
    assert (len(queue.kept), intake.counts.dropped) == ((1, 0) if said[0] == "2" else (0, 1))


def test_another_login_is_not_bound() -> None:
    queue = Kept()
    intake = Intake(queue, QueueNames(), domains=domains_of([login(domains=["example.org"])]))
    dialogue = Dialogue("192.0.2.1", tls=True, login="other", recipients=["b@example.com"])
    assert run(SmtpTaker(intake, Passwords(())).take(dialogue, MAIL % b"a@example.net"))[:3] == "250"


def test_domains_are_a_list() -> None:
    logins = [{"username": "shop", "password": "x", "domains": "example.org"}]
    with pytest.raises(ConfigError, match=r"^receiver\.auth-logins\.0\.domains: "):
        parse({"receiver": {"auth-logins": logins}})


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"Gr\xfc\xdfe\r\n", "250 2.0.0 u1 is queued"),
        ("Grüße\r\n".encode(), "250 2.0.0 u1 is queued"),
        (b"Gr\0\xdfe\r\n", "550 5.6.0 there is a NUL in it: encode what is no text as base64"),
        (b"Gr\n\xdfe\r\n", "550 5.6.0 a line end at byte"),
        (b"Gr\r\xdfe\r\n", "550 5.6.0 a line end at byte"),
    ],
)
def test_eight_bits_are_taken_as_they_came(body: bytes, said: str) -> None:
    queue = Kept()
    raw = MAIL % "Jürgen <a@example.org>".encode() + body
    dialogue = Dialogue("192.0.2.1", tls=True, login="shop", recipients=["b@example.com"])
    answer = run(SmtpTaker(Intake(queue, QueueNames()), Passwords(())).take(dialogue, raw))
    assert answer.startswith(said)  # a place in bytes may follow
    if said[0] == "2":
        assert (queue.kept[0].domain, queue.messages) == ("example.org", [raw])
    else:
        assert queue.kept == []


WAIT = "454 4.7.0 too many wrong passwords, try again in a minute"


@pytest.mark.parametrize(
    ("peers", "expected"),
    [
        (["192.0.2.1"], {"535 5.7.8 name or password is wrong": 10, WAIT: 20}),
        (["2001:db8::1", "2001:db8::2", "2001:db8::3"], {"535 5.7.8 name or password is wrong": 10, WAIT: 20}),
        (["192.0.2.1", "192.0.2.2", "192.0.2.3"], {"535 5.7.8 name or password is wrong": 30}),
    ],
)
def test_a_flood_of_guesses_is_stopped_before_it_is_hashed(
    monkeypatch: pytest.MonkeyPatch, peers: list[str], expected: dict[str, int]
) -> None:
    hashed = Counter[str]()
    monkeypatch.setattr(Passwords, "_verify", lambda self, stored, given: hashed.update([given]) or given == "right")
    now = [0.0]
    taker = SmtpTaker(Intake(Kept(), QueueNames()), Passwords((login(),), clock=lambda: now[0]))

    async def go() -> None:
        guesses = (taker.login(Dialogue(peers[number % len(peers)]), "shop", f"guess {number}") for number in range(30))
        answers = Counter(await asyncio.gather(*guesses))
        assert answers == expected
        assert hashed.total() == 30 - answers[WAIT]
        # Who has not guessed is let in at once, who has only after a minute.
        assert await taker.login(Dialogue("198.51.100.1"), "shop", "right") is None
        taker_of_guesser = Dialogue(peers[0])
        if WAIT in expected:
            assert await taker.login(taker_of_guesser, "shop", "right ") == WAIT
        now[0] = 61.0
        assert await taker.login(taker_of_guesser, "shop", "right") is None

    run(go())


def test_a_right_password_is_hashed_once_in_five_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered of it is a digest by a key that each process makes anew."""
    hashed: list[str] = []
    monkeypatch.setattr(Passwords, "_verify", lambda self, stored, given: hashed.append(given) or given == "right")
    now = [0.0]
    passwords, others = (Passwords((login(),), clock=lambda: now[0]) for dummy in range(2))

    async def go() -> None:
        for given, times in (("right", 1), ("right", 1), ("wrong", 2), ("wrong", 3)):
            assert await passwords.right("shop", given, "192.0.2.1") is (given == "right")
            assert len(hashed) == times
        assert (
            await asyncio.gather(*(passwords.right("shop", "right", "192.0.2.1") for dummy in range(9))) == [True] * 9
        )
        now[0] = 299.0
        assert await passwords.right("shop", "right", "192.0.2.1") and len(hashed) == 3
        now[0] = 301.0
        assert await passwords.right("shop", "right", "192.0.2.1") and len(hashed) == 4
        assert await others.right("shop", "right", "192.0.2.1")
        (one,), (other,) = passwords._right, others._right
        assert one != other and b"right" not in one + other

    run(go())


def test_a_certificate_is_made_where_none_is_given(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is warned of, kept over a restart, and made anew when it is taken away. One that is given stays."""
    paths = tmp_path / "cert.pem", tmp_path / "key.pem"
    tls_of(*paths)
    said = f"{paths[0]} is not there: a certificate signed by itself is made, which no client can verify"
    assert [(one.levelname, one.getMessage()) for one in caplog.records] == [("WARNING", said)]
    made = x509.load_pem_x509_certificate(paths[0].read_bytes())
    key = made.public_key()
    assert isinstance(key, rsa.RSAPublicKey) and key.key_size == 4096
    assert made.subject == made.issuer == x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    left = made.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    assert datetime.timedelta(364) < left <= datetime.timedelta(365)
    assert paths[1].stat().st_mode & 0o777 == 0o600
    before = paths[0].read_bytes()
    tls_of(*paths)
    assert paths[0].read_bytes() == before and len(caplog.records) == 1
    for path in paths:
        path.unlink()
    tls_of(*paths)
    assert paths[0].read_bytes() != before


def test_half_a_certificate_is_refused(tmp_path: Path, certificate: Path) -> None:
    with pytest.raises(ConfigError, match=r"key\.pem cannot be used: "):
        tls_of(certificate, tmp_path / "key.pem")
    tls_of(certificate, certificate)
