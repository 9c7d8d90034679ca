# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The restricted list with a real SQLite, real SMTP and LMTP on loopback, and a relay that keeps what it gets."""

from __future__ import annotations

import asyncio
import contextlib
import email
import itertools
import os
import smtplib
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiosmtpd.smtp import SMTP
from hypothesis import HealthCheck, settings
from postmaster_restricted_list.config import Config, parse
from postmaster_restricted_list.issue import Wish, issue
from postmaster_restricted_list.secret import token_file
from postmaster_restricted_list.service import serve
from postmaster_restricted_list.store import Store

PATIENT: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
}
settings.register_profile("everyday", **PATIENT)
settings.register_profile("full", max_examples=20_000, **PATIENT)
settings.load_profile("full" if os.environ.get("MAIL_TEST_FULL") == "1" else "everyday")
LIST = "restricted@lists.example"
ANNA = "anna@corp.example"
MINUTE = 60
PATIENCE = 300  # seconds for what nobody waits for once it is there: a mail to 500 on a machine that does much beside
_numbers = itertools.count(1)


def host() -> str:
    """A loopback address that nobody else uses, so that ports need not be sought."""
    pid = os.getpid()
    return f"127.{1 + pid % 250}.{pid // 250 % 250}.{next(_numbers) % 250 + 1}"


def eventually(condition: Callable[[], Any], what: str = "it") -> Any:
    """What the condition gives, once it is true."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} has not come"
        time.sleep(0.02)
    return found


@dataclass(frozen=True)
class Got:
    """A mail that the relay has taken."""

    sender: str
    recipient: str
    raw: bytes


class Sink:
    """A relay. ``answers`` maps recipients to what RCPT is answered with; ``on_mail`` sees each mail before it is answered."""

    def __init__(self) -> None:
        self.host, self.port = host(), 2525
        self.got: list[Got] = []
        self.answers: dict[str, str] = {}
        self.on_mail: Callable[[int], None] = lambda count: None
        self.server: type[SMTP] = SMTP
        self.options: dict[str, Any] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server: Any = None
        self.start()

    def _do(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(MINUTE)

    def start(self) -> None:
        def session() -> SMTP:
            return self.server(self, loop=self._loop, data_size_limit=None, **self.options)

        self._server = self._do(self._loop.create_server(session, self.host, self.port, reuse_address=True))

    def stop(self) -> None:
        async def close() -> None:
            self._server.close()

        self._do(close())

    def end(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(MINUTE)

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        answer = self.answers.get(address, "250 fine")
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.got.append(Got(envelope.mail_from or "", envelope.rcpt_tos[0], envelope.content))
        self.on_mail(len(self.got))
        return "250 kept"

    def copies(self) -> list[Got]:
        """What was sent for the list."""
        return [one for one in self.got if b"\r\nX-Restricted-List: " in one.raw]

    def notices(self, recipient: str) -> list[str]:
        """What the service wrote of itself: subject, an empty line, text."""
        found = [email.message_from_bytes(one.raw, policy=default) for one in self.got if one.recipient == recipient]
        return [
            f"{one['Subject']}\n\n{one.get_content()}".replace("\r\n", "\n")
            for one in found
            if one["Auto-Submitted"] == "auto-generated"
        ]


@pytest.fixture
def relay() -> Iterator[Sink]:
    sink = Sink()
    yield sink
    sink.end()


@dataclass
class World:
    """A list, its files and its relay. ``data`` is the configuration as YAML has it."""

    folder: Path
    relay: Sink
    data: dict[str, Any]
    host: str = field(default_factory=host)

    @property
    def config(self) -> Config:
        return parse(self.data)

    @property
    def store(self) -> Store:
        store = Store(self.data["database"])
        store.prepare()
        return store

    def write(self) -> Path:
        """The configuration as a file."""
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(self.data))
        return path

    def members(self, *people: Any) -> None:
        (self.folder / "members.yaml").write_text(yaml.safe_dump(list(people)))

    def token(self, sender: str = ANNA, *, groups: tuple[str, ...] = ("members",), **more: Any) -> str:
        """A new token."""
        config = self.config
        notify = more.pop("notify", "boss@corp.example")
        return issue(config, config.secret(), self.store, Wish(sender, groups, **more), creator="test", notify=notify)[
            1
        ]

    @contextlib.contextmanager
    def running(self) -> Iterator[World]:
        """The service, in a thread."""
        loop, stop = asyncio.new_event_loop(), asyncio.Event()
        ended: list[BaseException] = []

        def run() -> None:
            try:
                loop.run_until_complete(serve(self.config, stop))
            except BaseException as err:
                ended.append(err)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            eventually(lambda: ended or self.listens(), "the service")
            assert not ended, ended
            yield self
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join(MINUTE)
            assert not ended, ended

    def listens(self) -> bool:
        with contextlib.suppress(OSError, smtplib.SMTPException):
            self.lmtp().quit()
            for name in {"smtp", "http"} & self.data.keys():
                socket.create_connection((self.data[name]["host"], self.data[name]["port"]), MINUTE).close()
            return True
        return False

    def lmtp(self) -> smtplib.LMTP:
        return smtplib.LMTP(self.host, 8024, timeout=MINUTE)

    def send(self, mail: bytes, *, recipients: int = 1) -> list[tuple[int, str]]:
        """Hand a mail over by LMTP; the replies to its text."""
        with self.lmtp() as client:
            client.ehlo_or_helo_if_needed()
            assert client.mail(ANNA)[0] == 250
            for dummy in range(recipients):
                assert client.rcpt(LIST)[0] == 250
            client.putcmd("data")
            assert client.getreply()[0] == 354
            client.send(mail.replace(b"\r\n.", b"\r\n..") + b"\r\n.\r\n")
            replies = [client.getreply() for dummy in range(recipients)]
        return [(code, text.decode()) for code, text in replies]


@pytest.fixture
def world(tmp_path: Path, relay: Sink) -> World:
    (tmp_path / "secret").write_text("s" * 64)
    made = World(tmp_path, relay, {})
    made.data = {
        "address": LIST,
        "name": "Members",
        "bounce_address": "bounces@lists.example",
        "database": f"sqlite:///{tmp_path}/list.db",
        "secret_file": str(tmp_path / "secret"),
        "lmtp": {"host": made.host, "port": 8024},
        "relay": {"host": relay.host, "port": relay.port},
        "groups": {"members": {"kind": "file", "path": str(tmp_path / "members.yaml")}},
    }
    made.members("one@a.example", "two@b.example")
    return made


def made_certificate(path: Path, address: str) -> Path:
    """A certificate that vouches for itself, and its key, in one file."""
    words = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    words += ["-addext", f"subjectAltName=IP:{address}", "-keyout", str(path), "-out", f"{path}.crt"]
    subprocess.run(["openssl", "req", *words], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + Path(f"{path}.crt").read_bytes())
    return path


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of this machine's own."""
    return made_certificate(tmp_path_factory.mktemp("tls") / "pem", "127.0.0.1")


def mail(token: str | None = None, *, sender: str = ANNA, text: str = "Hello\n", **fields: str) -> bytes:
    """A mail to the list, with the file of a token."""
    made = EmailMessage()
    made["From"] = f"Anna <{sender}>"
    made["To"] = LIST
    made["Subject"] = fields.pop("subject", "News")
    made["Date"] = "Mon, 02 Nov 2026 10:00:00 +0100"
    made["Message-ID"] = "<first@corp.example>"
    for name, value in fields.items():
        made[name.replace("_", "-")] = value
    made.set_content(text)
    if token is not None:
        made.add_attachment(token_file(token), filename="token.txt")
    return made.as_bytes().replace(b"\n", b"\r\n")
