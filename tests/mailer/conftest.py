# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mailer's package, and a real Redis of the test's own where a test needs one."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, settings
from postmaster_mailer import ctl
from redis import Redis

Ctl = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).resolve().parents[2]
# Seconds for what is there in a moment where nothing else runs, and for a whole test. Nobody waits for their end.
PATIENCE, LONGEST = 120.0, 600.0
PATIENT = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]}
settings.register_profile("everyday", **PATIENT)
settings.register_profile("full", max_examples=20_000, **PATIENT)
settings.load_profile("full" if os.environ.get("MAIL_TEST_FULL") == "1" else "everyday")


_reserved: list[socket.socket] = []


def reserved(port: int = 0) -> int:
    """A port that nobody listens on. As long as this process lives nobody is given it but who asks for it by number.

    A server that does, with SO_REUSEADDR as they all have, may listen. Raises OSError for one that is taken.
    """
    one = socket.socket()
    _reserved.append(one)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind(("127.0.0.1", port))
    given: int = one.getsockname()[1]
    return given


class RedisServer:
    """A Redis on a socket, which can be killed and started again on what it has on disk."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program, self._folder = program, folder
        self.socket = folder / "redis.sock"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        """Start it, and wait until it answers."""
        words = ["--port", "0", "--unixsocket", str(self.socket), "--dir", str(self._folder), "--save", ""]
        words += ["--appendonly", "yes", "--appendfsync", "always", "--logfile", str(self._folder / "log"), *options]
        self.socket.unlink(missing_ok=True)
        # As it inherits that SIGXFSZ is ignored, a limit on its files is to it as a full disk.
        self.process = subprocess.Popen([self._program, *words], restore_signals=False)
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            assert time.monotonic() < deadline, (self._folder / "log").read_text()
            time.sleep(0.02)

    def _answers(self) -> bool:
        """The socket is there a moment before anybody listens on it, and then for a while it reads what it has on disk."""
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(PATIENCE)
            try:
                one.connect(str(self.socket))
                one.sendall(b"PING\r\n")
                said = one.recv(100)
            except OSError:
                return False
        return bool(said) and not said.startswith(b"-LOADING")

    @property
    def where(self) -> dict[str, Any]:
        """What the configuration says of it."""
        return {"hostname": str(self.socket)}

    def client(self) -> Redis:
        """A connection of the test's own."""
        return Redis(unix_socket_path=str(self.socket))

    def kill(self) -> None:
        """End it without a word, as kill -9 does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A running Redis with the durability that the mailer asks for."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        pytest.skip("no redis-server here")
    server = RedisServer(program, tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def config(redis_server: RedisServer, tmp_path: Path) -> Path:
    path = tmp_path / "mailer.yaml"
    path.write_text(
        f"""\
reliable-queue: {{partitions: 2}}
redis:
  reliable-queue:
    redis: {{hostname: {redis_server.socket}}}
receiver: {{certificate: {tmp_path}/cert.pem, key: {tmp_path}/key.pem}}
"""
    )
    return path


@pytest.fixture
def mailerctl(config: Path, capsys: pytest.CaptureFixture[str]) -> Ctl:
    def call(*words: str) -> tuple[int, str, str]:
        code = ctl.main(["--config", str(config), *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(1))
    # By its address, too, as a cluster names its servers.
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
    path = tmp_path_factory.mktemp("tls") / "pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return path


def run(coroutine):  # type: ignore[no-untyped-def]
    """Run a test's coroutine, with an end to it."""
    return asyncio.run(asyncio.wait_for(coroutine, LONGEST))
