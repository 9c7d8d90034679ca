# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stages as processes of their own, which are killed; and a fake Postfix that takes their mail and writes a log of it."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import yaml
from postmaster_mailer.message import Message
from postmaster_mailer.queue import stream_key
from postmaster_mailer.smtp_server import Dialogue, Manner, Server

from .conftest import PATIENCE, ROOT, reserved
from .test_dkim import pem, rsa_key

PACKAGE = ROOT / "roles" / "mailer" / "files" / "package"


class Servers(Protocol):
    """Where the queue is."""

    @property
    def where(self) -> Mapping[str, Any]:
        """What the configuration says of it."""

    def client(self) -> Any:
        """A connection of the test's own."""


STAGES = ("receiver", "transformer", "postfix", "redis", "backdata")


class FakePostfix:
    """Takes messages and logs them as Postfix does: from the queue, tried, removed. Refuses what it is told to."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._numbers = itertools.count(1)
        self.delivered: Counter[str] = Counter()
        self.messages: dict[str, bytes] = {}
        self.senders: dict[str, str] = {}
        self.answers: dict[str, str] = {}  # by recipient: what the far server says; without: 250
        self.delay = 0.0  # seconds that it takes for a message
        self.port = reserved()
        self.server: Any = None

    async def start(self) -> None:
        """Listen."""
        self._sessions = Server(Manner("fake.postfix", 50_000_000, 100), self)
        self.server = await asyncio.get_running_loop().create_server(self._sessions, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """Be away, in the middle of whatever is said."""
        self.server.close()
        for session in list(self._sessions.sessions):
            session.end()

    def mail(self, dialogue: Dialogue, sender: str) -> str:
        return "250 2.1.0 Ok"

    def rcpt(self, dialogue: Dialogue, recipient: str) -> str:
        return "550 5.1.1 refused at once" if recipient.startswith("refused@") else "250 2.1.5 Ok"

    async def login(self, dialogue: Dialogue, user: str, password: str) -> str | None:
        return "502 5.5.1 no"

    async def take(self, dialogue: Dialogue, raw: bytes) -> str:
        (recipient,) = dialogue.recipients
        await asyncio.sleep(self.delay)
        uuid = (Message.parse(raw).get(b"message-id") or b"").decode().partition("@")[0].strip("<")
        self.delivered[f"{uuid} {recipient}"] += 1
        self.messages[uuid], self.senders[uuid] = raw, dialogue.sender or ""
        id_ = f"{next(self._numbers):010X}"
        said = self.answers.get(recipient, "250 2.0.0 Ok")
        status = {"2": "sent", "4": "deferred", "5": "bounced"}[said[0]]
        lines = [
            f"qmgr[1]: {id_}: from=<{dialogue.sender}>, size={len(raw)}, nrcpt=1 (queue active)",
            f"smtp[1]: {id_}: to=<{recipient}>, relay=mx.example.com[192.0.2.7]:25, delay=0.1, delays=0/0/0/0.1, "
            f"dsn={said.split()[1]}, status={status} ({said})",
            *([] if status == "deferred" else [f"qmgr[1]: {id_}: removed"]),
        ]
        with self._log.open("a", encoding="utf-8") as file:
            file.writelines(f"2026-11-29T01:00:00+00:00 host postfix/{line}\n" for line in lines)
        return f"250 2.0.0 Ok: queued as {id_}"


class Estate:
    """A mailer on this host: its configuration, over which ``more`` is laid by section, and its processes.

    With ``host`` it takes itself for one on another host.
    """

    def __init__(self, folder: Path, redis: Servers, *, host: str = "", **more: Mapping[str, Any]) -> None:
        self.folder, self.redis = folder, redis
        named = (
            f"import socket; socket.gethostname = lambda: '{host}'; from postmaster_mailer.__main__ import main; main()"
        )
        self._program = ["-c", named] if host else ["-m", "postmaster_mailer"]
        self.log = folder / "mail.log"
        self.postfix = FakePostfix(self.log)
        self.ports = {stage: reserved() for stage in STAGES}
        self.smtp = reserved()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        (folder / "key.pem").write_bytes(pem(rsa_key()))
        (folder / "secret").write_text("s" * 32)
        settings = self._settings()
        for section, keys in more.items():
            settings[section] = settings.get(section, {}) | dict(keys)
        self.partitions: int = settings["reliable-queue"]["partitions"]
        self.config = folder / "mailer.yaml"
        self.config.write_text(yaml.safe_dump(settings))

    def _settings(self) -> dict[str, Any]:
        def stage(name: str) -> dict[str, Any]:
            return {
                "reliable-queue": {"redis": self.redis.where},
                "prometheus": {"inet-port": self.ports[name]},
            }

        domain = {
            "domain": "example.org",
            "dkim-private-key-file": str(self.folder / "key.pem"),
            "return-path-domain": "rp.example.org",
        }
        return {
            "reliable-queue": {"partitions": 2, "claim-after": 2},
            "receiver": {
                **stage("receiver"),
                "bind": {"inet-interface": "127.0.0.1", "inet-port": self.smtp},
                "auth-logins": [{"username": "app", "password": "secret"}],
                "certificate": str(self.folder / "cert.pem"),
                "key": str(self.folder / "cert.key"),
            },
            "transformer": {
                **stage("transformer"),
                "secret-file": str(self.folder / "secret"),
                "domain-settings": [domain],
            },
            "postfixlog": {
                **stage("postfix"),
                "logfile": str(self.log),
                "postfix": {"hostname": "127.0.0.1", "port": self.postfix.port},
            },
            "backdata": {**stage("backdata"), "private-urls": True},
            "redis": stage("redis"),
        }

    def start(self, *stages: str) -> None:
        """Start stages, under the names they always have."""
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PACKAGE), os.environ.get("PYTHONPATH", "")])}
        for stage in stages:
            words = [sys.executable, *self._program, stage, "--config", str(self.folder / "mailer.yaml")]
            log = (self.folder / f"{stage}.log").open("ab")
            self.processes[stage] = subprocess.Popen(words, env=env, stdout=log, stderr=log)

    def kill(self, stage: str) -> None:
        """End a stage as kill -9 does."""
        self.processes[stage].kill()
        self.processes[stage].wait()

    def stop(self, stage: str) -> int:
        """Ask a stage to end; its exit code."""
        self.processes[stage].send_signal(signal.SIGTERM)
        return self.processes[stage].wait(PATIENCE)

    def told(self) -> list[dict[str, Any]]:
        """All events so far."""
        redis = self.redis.client()
        keys = [stream_key(part, "events") for part in range(self.partitions)]
        return [json.loads(fields[b"v"]) for key in keys for dummy, fields in redis.xrange(key)]

    def said(self) -> str:
        """The last words of each stage."""
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join(f"{log.name}: {line}" for log in logs for line in log.read_text().splitlines()[-6:])

    def end(self) -> None:
        """End whatever runs."""
        for process in self.processes.values():
            process.kill()
            process.wait()


class Application:
    """Hands mail in, with patience: what was not answered with a yes is handed in once more."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, uuid: str, *recipients: str, sender: str = "a@example.org") -> str:
        """The last reply to a message."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                reply = await asyncio.wait_for(self._try(uuid, recipients, sender), PATIENCE / 2)
                if reply[0] != "4":
                    return reply
            except (OSError, EOFError, TimeoutError):
                self._streams = None
            assert time.monotonic() < deadline, "it is never taken"
            await asyncio.sleep(0.1)

    async def once(self, uuid: str, *recipients: str) -> str:
        """The reply to a single try, over a connection of its own."""
        self._streams = None
        return await asyncio.wait_for(self._try(uuid, recipients, "a@example.org"), PATIENCE)

    async def _try(self, uuid: str, recipients: tuple[str, ...], sender: str) -> str:
        if self._streams is None:
            await self._open()
        await self._said(f"MAIL FROM:<{sender}>")
        for one in recipients:
            await self._said(f"RCPT TO:<{one}>")
        await self._said("DATA")
        return await self._said(
            f"X-Uuid: {uuid}\r\nFrom: {sender}\r\nTo: x@example.com\r\nSubject: {uuid}\r\n\r\nhello\r\n."
        )

    async def _open(self) -> None:
        self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        await self._reply()
        await self._said("EHLO app")
        await self._said("STARTTLS")
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        await self._streams[1].start_tls(context)
        await self._said("EHLO app")
        reply = await self._said("AUTH PLAIN " + base64.b64encode(b"\0app\0secret").decode())
        assert reply[:3] == "235", reply

    async def _said(self, words: str) -> str:
        assert self._streams is not None
        self._streams[1].write(words.encode() + b"\r\n")
        return await self._reply()

    async def _reply(self) -> str:
        assert self._streams is not None
        while True:
            line = await self._streams[0].readuntil(b"\r\n")
            if line[3:4] != b"-":
                return line.decode().rstrip()
