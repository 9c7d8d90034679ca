# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program behind certbot's hooks: servers that show the right certificate and servers that do not."""

from __future__ import annotations

import importlib.util
import json
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PROGRAM = Path(__file__).resolve().parents[2] / "roles/certificate/files/certificate.py"
NAME = "mail.example.org"
# What a server says first, and its answers to what it is told; as the daemons of Debian say it.
SMTP = [
    b"220 mail.example.org ESMTP OpenSMTPD\r\n",
    b"250-mail.example.org Hello\r\n250-STARTTLS\r\n250 HELP\r\n",
    b"220 2.0.0: Ready to start TLS\r\n",
]
IMAP = [b"* OK [CAPABILITY IMAP4rev1 STARTTLS] Dovecot ready.\r\n", b"a OK Begin TLS negotiation now.\r\n"]
POP3 = [b"+OK Dovecot ready.\r\n", b"+OK Begin TLS negotiation now.\r\n"]
SIEVE = [
    b'"IMPLEMENTATION" "Dovecot Pigeonhole"\r\n"STARTTLS"\r\nOK "Dovecot ready."\r\n',
    b'OK "Begin TLS negotiation now."\r\n',
]


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("certificate", PROGRAM)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["certificate"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    module = load()
    monkeypatch.setattr(module, "SETTINGS", tmp_path)
    monkeypatch.setattr(module, "LIVE", tmp_path / "live")
    monkeypatch.setattr(module, "PAUSE", 0.01)
    monkeypatch.setattr(module, "ANSWER", 60.0)
    yield module


def make(folder: Path) -> Path:
    """A certificate and its key in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    path = folder / f"{certificate.serial_number}.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
    return path


class Server:
    """Says its lines and then starts TLS, for one client after the other."""

    def __init__(self, certificate: Path, lines: list[bytes]) -> None:
        self.lines, self.names = lines, list[str]()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate)
        self.context.sni_callback = lambda _client, name, _context: self.names.append(name or "")
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        while True:
            try:
                plain = self.listener.accept()[0]
            except OSError:
                return
            with plain:
                try:
                    for number, line in enumerate(self.lines):
                        if number:
                            plain.recv(1024)
                        plain.sendall(line)
                    with self.context.wrap_socket(plain, server_side=True) as client:
                        client.recv(1)
                except OSError:
                    continue


def live(program: ModuleType, certificate: Path, version: int = 2) -> None:
    """Certbot's directory, as far as the program looks."""
    archive, folder = program.LIVE.parent / "archive", program.LIVE / NAME
    archive.mkdir(exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    (archive / f"cert{version}.pem").write_bytes(certificate.read_bytes().partition(b"-----BEGIN PRIVATE")[0])
    (folder / "cert.pem").unlink(missing_ok=True)
    (folder / "cert.pem").symlink_to(archive / f"cert{version}.pem")


def settle(program: ModuleType, services: list[dict[str, Any]], **more: Any) -> None:
    settings = {
        "server_name": NAME,
        "address": "127.0.0.1",
        "wait": 0.2,
        "open": [],
        "close": [],
        "services": services,
        **more,
    }
    (program.SETTINGS / f"{NAME}.json").write_text(json.dumps(settings))


@pytest.mark.parametrize(
    ("kind", "lines"), [(25, SMTP), (587, SMTP), (143, IMAP), (110, POP3), (4190, SIEVE), (993, [])]
)
def test_every_kind_of_port(program: ModuleType, tmp_path: Path, kind: int, lines: list[bytes]) -> None:
    mine, other = make(tmp_path), make(tmp_path)
    live(program, mine)
    for certificate, expected in ((mine, ""), (other, "port {} serves another certificate than mail.example.org")):
        server = Server(certificate, lines)
        for table in ("GREETINGS", "STEPS"):
            if kind in getattr(program, table):
                getattr(program, table)[server.port] = getattr(program, table)[kind]
        assert program.fault("127.0.0.1", server.port, NAME, program.held(NAME)) == expected.format(server.port)
        assert server.names == [NAME]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([b"554 go away\r\n"], "says '554 go away' instead of starting TLS"),
        ([SMTP[0], b"502 what\r\n"], "says '502 what' instead of starting TLS"),
        ([SMTP[0], SMTP[1], b"454 TLS not available\r\n"], "says '454 TLS not available' instead of starting TLS"),
    ],
)
def test_who_does_not_start_tls(program: ModuleType, tmp_path: Path, lines: list[bytes], expected: str) -> None:
    live(program, make(tmp_path))
    server = Server(make(tmp_path), lines)
    program.GREETINGS[server.port], program.STEPS[server.port] = program.GREETINGS[25], program.STEPS[25]
    assert program.fault("127.0.0.1", server.port, NAME, b"") == f"port {server.port} {expected}"
    server.listener.close()


def test_nobody_listens(program: ModuleType) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert program.fault("127.0.0.1", port, NAME, b"").startswith(f"port {port} cannot be reached: ")


class Machine:
    """The services of a host; those in ``away`` do not run, those in ``broken`` do not take anything up."""

    def __init__(self, program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told: list[str] = []
        self.away: set[str] = set()
        self.broken: set[str] = set()
        monkeypatch.setattr(program, "running", lambda name: name not in self.away)
        monkeypatch.setattr(program, "told", self.tell)

    def tell(self, argv: list[str]) -> str:
        self.told.append(" ".join(argv))
        return f"{' '.join(argv)} failed: no" if argv[-1] in self.broken else ""


@pytest.fixture
def machine(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(program, monkeypatch)


def test_deploy(program: ModuleType, machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine, other = make(tmp_path), make(tmp_path)
    live(program, mine)
    right, wrong = Server(mine, []), Server(other, [])
    services = [
        {"name": "opensmtpd", "state": "restarted", "ports": [right.port]},
        {"name": "dovecot", "ports": [wrong.port]},
    ]
    settle(program, services)
    assert program.run("deploy", NAME) == [f"port {wrong.port} serves another certificate than {NAME}"]
    assert machine.told == ["systemctl restart opensmtpd", "systemctl reload dovecot"]
    assert capsys.readouterr().out == ""
    machine.away.add("dovecot")
    assert program.run("deploy", NAME) == []
    assert capsys.readouterr().out == f"the certificate {NAME} is served on {right.port}\n"
    machine.broken.add("opensmtpd")
    assert program.run("deploy", NAME) == ["systemctl restart opensmtpd failed: no"]


def test_the_first_certificate_is_served_by_nobody_yet(program: ModuleType, machine: Machine, tmp_path: Path) -> None:
    mine = make(tmp_path)
    server = Server(make(tmp_path), [])
    settle(program, [{"name": "dovecot", "ports": [server.port]}])
    live(program, mine, version=1)
    assert program.run("deploy", NAME) == []
    live(program, mine, version=2)
    assert program.run("deploy", NAME) == [f"port {server.port} serves another certificate than {NAME}"]
    live(program, mine, version=1)
    assert program.run("prove", NAME) == [f"port {server.port} serves another certificate than {NAME}"]


def test_a_proof_forgets_what_failed(program: ModuleType, machine: Machine, tmp_path: Path) -> None:
    mine = make(tmp_path)
    live(program, mine)
    settle(program, [{"name": "dovecot", "ports": [Server(mine, []).port]}])
    assert program.run("prove", NAME) == []
    assert machine.told == [f"systemctl reset-failed certificate-deploy@{NAME}.service"]
    machine.away.add("dovecot")
    assert program.run("prove", NAME) == ["dovecot does not run"]


def test_port_80(program: ModuleType, machine: Machine) -> None:
    settle(program, [], open=[["nft", "add"], ["x"]], close=[["nft", "delete"]])
    assert program.run("open", NAME) == []
    machine.broken.add("delete")
    assert program.run("close", NAME) == ["nft delete failed: no"]
    assert machine.told == ["nft add", "x", "nft delete"]


def test_commands_that_fail(program: ModuleType) -> None:
    assert program.told(["true"]) == ""
    assert program.told(["sh", "-c", "echo no >&2; exit 3"]) == "sh -c echo no >&2; exit 3 failed: no"
    assert program.told(["/nowhere"]) == "/nowhere cannot be started: No such file or directory"


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["x"], 2, "python3 certificate.py open|close|deploy|prove <name>"),
        (["x", "renew", NAME], 2, "python3 certificate.py open|close|deploy|prove <name>"),
        (["x", "open", "other.example.org"], 1, "other.example.org.json cannot be read"),
        (["x", "prove", NAME], 1, "the certificate mail.example.org cannot be read"),
        (["x", "open", NAME], 0, ""),
    ],
)
def test_as_a_program(
    program: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    argv: list[str],
    code: int,
    said: str,
) -> None:
    settle(program, [])
    monkeypatch.setattr(sys, "argv", argv)
    assert program.main() == code
    assert said in capsys.readouterr().err
