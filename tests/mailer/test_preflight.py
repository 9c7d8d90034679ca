# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks before a start, on real servers on loopback."""

from __future__ import annotations

import datetime
import json
import socketserver
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import dns.asyncresolver
import dns.message
import dns.resolver
import dns.rrset
import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from postmaster_mailer import connect, ctl, preflight
from postmaster_mailer.__main__ import STAGES, Stage
from postmaster_mailer.config import ConfigError, load
from postmaster_mailer.preflight import Check
from redis.asyncio import Redis

from .conftest import RedisServer, reserved, run

NOW = datetime.datetime(2026, 11, 28, 21, tzinfo=datetime.UTC)
Greeter = Callable[[str], int]


@pytest.fixture
def greeter() -> Iterator[Greeter]:
    """Starts servers on 127.0.0.1 that say one line; the port of each."""
    servers: list[socketserver.ThreadingTCPServer] = []

    def start(line: str) -> int:
        class Greet(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                self.request.sendall(line.encode())

        servers.append(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Greet))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        return int(servers[-1].server_address[1])

    yield start
    for one in servers:
        one.shutdown()
        one.server_close()


# -- the network -----------------------------------------------------------------------------------------


def refused(port: int) -> str:
    return f"127.0.0.1:{port} cannot be reached: [Errno 111] Connect call failed ('127.0.0.1', {port})"


def test_outbound(greeter: Greeter) -> None:
    port = greeter("220 mx.example.net ESMTP\r\n")
    assert run(preflight.outbound("127.0.0.1", port)) == Check("outbound", "ok", f"127.0.0.1:{port} answers")


@pytest.mark.parametrize("line", ["554 go away\r\n", ""])
def test_outbound_is_not_wanted(greeter: Greeter, line: str) -> None:
    port = greeter(line)
    assert run(preflight.outbound("127.0.0.1", port)) == Check(
        "outbound",
        "failed",
        f"127.0.0.1:{port} says {line.strip()!r}",
        "ask its operator what it has against this host's address, or if something stands in between",
    )


def test_outbound_is_closed() -> None:
    port = reserved()
    assert run(preflight.outbound("127.0.0.1", port)) == Check(
        "outbound",
        "failed",
        refused(port),
        f"allow connections to port {port} in the firewall, and have the provider allow them",
    )


MX = "220 mx.example.org ESMTP"
PRIVATE = "postfix is private"


@pytest.mark.parametrize(
    ("line", "addresses", "verdict", "said"),
    [
        (
            "220 h ESMTP Postfix",
            [],
            "ok",
            "this host has no public address; if one leads here by NAT, try it from outside",
        ),
        ("220 h ESMTP Postfix", ["127.0.0.2"], "ok", "port {port} does not answer on 127.0.0.2"),
        (
            "220 h ESMTP Postfix",
            ["127.0.0.2", "127.0.0.1"],
            "failed",
            "port {port} answers on 127.0.0.1, which is public",
        ),
        ("", ["127.0.0.1"], "failed", "port {port} answers on 127.0.0.1, which is public"),
        (
            MX,
            ["127.0.0.1"],
            "failed",
            "port {port} answers on 127.0.0.1, which is public",
        ),  # Postfix under the MX's name
    ],
)
def test_postfix_is_private(greeter: Greeter, line: str, addresses: list[str], verdict: str, said: str) -> None:
    port = greeter(line + "\r\n")
    remedy = "set inet_interfaces = loopback-only in main.cf and restart Postfix" if verdict == "failed" else ""
    assert run(preflight.postfix("127.0.0.1", port, addresses, MX)) == [
        Check("postfix", "ok", f"127.0.0.1:{port} answers"),
        Check(PRIVATE, verdict, said.format(port=port), remedy),
    ]


@pytest.fixture
def socket_of_postfix() -> Iterator[Path]:
    """A server on a socket that any user can reach: no folder above it keeps anybody out."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        path = Path(folder, "public", "mailer")
        path.parent.mkdir()
        Path(folder).chmod(0o755)

        class Greet(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                self.request.sendall(b"220 h ESMTP Postfix\r\n")

        with socketserver.ThreadingUnixStreamServer(str(path), Greet) as server:
            path.chmod(0o666)
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            yield path
            server.shutdown()


@pytest.mark.parametrize(
    ("folder", "mode", "verdict", "said"),
    [
        (0o710, 0o666, "ok", "not every user of this host can reach {path}"),  # as Postfix makes it
        (0o755, 0o660, "ok", "not every user of this host can reach {path}"),
        (0o711, 0o666, "failed", "any user of this host can reach {path}"),
    ],
)
def test_a_socket_of_postfix_is_private(
    socket_of_postfix: Path, monkeypatch: pytest.MonkeyPatch, folder: int, mode: int, verdict: str, said: str
) -> None:
    path = socket_of_postfix
    path.chmod(mode)
    path.parent.chmod(folder)
    remedy = "take it away from others: chmod o-rwx the folder that it lies in" if verdict == "failed" else ""
    assert run(preflight.postfix(str(path), 25, ["127.0.0.1"], MX)) == [
        Check("postfix", "ok", f"{path} answers"),
        Check(PRIVATE, verdict, said.format(path=path), remedy),
    ]


def test_no_socket_of_postfix(tmp_path: Path) -> None:
    path = tmp_path / "mailer"
    assert run(preflight.postfix(str(path), 25, [], MX)) == [
        Check(
            "postfix",
            "failed",
            f"{path} cannot be reached: [Errno 2] No such file or directory",
            "start Postfix, or set postfixlog.postfix",
        ),
        Check(PRIVATE, "skipped", f"{path} cannot be looked at: No such file or directory"),
    ]


@pytest.mark.parametrize("open_", [True, False])
def test_delivery_does_not_start_where_anybody_reaches_the_socket(
    host: dict[str, str | int], monkeypatch: pytest.MonkeyPatch, socket_of_postfix: Path, tmp_path: Path, open_: bool
) -> None:
    socket_of_postfix.parent.chmod(0o711 if open_ else 0o710)
    more = tmp_path / "more.yaml"
    more.write_text(json.dumps({"postfixlog": {"postfix": {"hostname": str(socket_of_postfix)}}}))
    monkeypatch.setattr(connect, "secrets", lambda path: (b"s" * 32,))
    up: list[Stage] = []
    monkeypatch.setattr(Stage, "show", lambda stage, *dummy: (up.append(stage), stage.stop.set()))
    stage = Stage(load([Path(str(host["config"])), more]), "postfix")
    if open_:
        with pytest.raises(ConfigError) as err:
            uvloop.run(STAGES["postfix"](stage))
        said = f"any user of this host can reach {socket_of_postfix}, and so send what nobody has signed; "
        assert str(err.value) == said + "take it away from others: chmod o-rwx the folder that it lies in"
    else:
        uvloop.run(STAGES["postfix"](stage))
    assert bool(up) == (not open_)


def test_our_own_mx_may_be_public(greeter: Greeter) -> None:
    port = greeter(MX + "\r\n")
    here, private = run(preflight.postfix("::1", port, ["127.0.0.1"], MX))
    assert (here.verdict, here.remedy) == ("failed", "start Postfix, or set postfixlog.postfix")
    assert private == Check(PRIVATE, "ok", f"port {port} does not answer on 127.0.0.1, except as our MX")


FIB = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 10.0.0.0
        /24 link UNICAST
     |-- 10.0.0.7
        /32 host LOCAL
     |-- 10.0.0.255
        /32 link BROADCAST
     |-- 8.8.4.4
        /32 link UNICAST
        /32 host LOCAL
     |-- 127.0.0.0
        /8 host LOCAL
     |-- 127.0.0.1
        /32 host LOCAL
Local:
  +-- 0.0.0.0/0 3 0 5
     |-- 10.0.0.7
        /32 host LOCAL
"""
INET6 = """\
00000000000000000000000000000001 01 80 10 80       lo
fe8000000000000048a232fffe10ac04 105 40 20 80    eth0
fd000000000000000000000000000007 105 40 00 80    eth0
20014860486000000000000000008844 105 40 00 80    eth0
"""


def test_addresses_of_this_host(tmp_path: Path) -> None:
    (tmp_path / "fib_trie").write_text(FIB)
    assert preflight.own_addresses(tmp_path) == ["10.0.0.7", "8.8.4.4", "127.0.0.1"]
    (tmp_path / "if_inet6").write_text(INET6)
    found = preflight.own_addresses(tmp_path)
    assert found[3:] == ["::1", "fe80::48a2:32ff:fe10:ac04", "fd00::7", "2001:4860:4860::8844"]
    assert preflight.public(found) == ["8.8.4.4", "2001:4860:4860::8844"]
    assert "127.0.0.1" in preflight.own_addresses()


# -- Redis -------------------------------------------------------------------------------------------------

DURABLE, EVICTS = "redis is durable", "redis evicts nothing"
ALWAYS = "set appendonly yes and appendfsync always in redis.conf"
GOOD = [
    Check("redis", "ok", "it answers"),
    Check(DURABLE, "ok", "appendfsync is always"),
    Check(EVICTS, "ok", "maxmemory-policy is noeviction"),
]


@pytest.mark.parametrize(
    ("setting", "at", "expected"),
    [
        (None, 0, GOOD[0]),
        ("appendonly no", 1, Check(DURABLE, "warning", "there is no append-only file: what was queued is lost with the process", ALWAYS)),
        ("appendfsync everysec", 1, Check(DURABLE, "warning", "appendfsync is everysec: a crash loses what was just taken in", ALWAYS)),
        ("maxmemory-policy allkeys-lru", 2, Check(
            EVICTS, "warning", "maxmemory-policy is allkeys-lru: mail goes when memory is short",
            "set maxmemory-policy noeviction in redis.conf",
        )),
    ],
)  # fmt: skip
def test_redis(redis_server: RedisServer, setting: str | None, at: int, expected: Check) -> None:
    async def go() -> list[Check]:
        async with Redis(unix_socket_path=str(redis_server.socket), protocol=3) as client:
            if setting:
                await client.config_set(*setting.split())
            return await preflight.redis(client)

    assert run(go()) == [*GOOD[:at], expected, *GOOD[at + 1 :]]


def test_redis_that_does_not_tell_everything(redis_server: RedisServer) -> None:
    async def go() -> list[Check]:
        async with Redis(unix_socket_path=str(redis_server.socket), protocol=3) as client:
            await client.execute_command("ACL", "SETUSER", "mailer", "on", ">secret", "~*", "+@all", "-config")
        user = {"username": "mailer", "password": "secret"}
        async with Redis(unix_socket_path=str(redis_server.socket), protocol=3, **user) as client:  # type: ignore[arg-type]
            return await preflight.redis(client)

    said, remedy = "appendfsync may not be asked for", "allow CONFIG GET, or see to it by hand"
    assert run(go()) == [GOOD[0], Check(DURABLE, "warning", said, remedy), GOOD[2]]


# -- certificates ------------------------------------------------------------------------------------------


def write_certificate(path: Path, *, days: int, issuer: str = "CA", now: datetime.datetime = NOW) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mx.example.org")]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - datetime.timedelta(days=90))
        .not_valid_after(now + datetime.timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))


@pytest.mark.parametrize(
    ("days", "issuer", "verdict", "said", "remedy"),
    [
        (14, "CA", "ok", "{path} ends 2026-12-12T21:00:00Z", ""),
        (13, "CA", "warning", "{path} ends 2026-12-11T21:00:00Z", "renew it, and see why that has not happened by itself"),
        (0, "CA", "failed", "{path} ends 2026-11-28T21:00:00Z, which is over", "renew it"),
        (90, "mx.example.org", "warning", "{path} is signed by itself: no client can verify it",
         "have one issued, with ACME for instance"),
    ],
)  # fmt: skip
def test_certificate(tmp_path: Path, days: int, issuer: str, verdict: str, said: str, remedy: str) -> None:
    path = tmp_path / "cert.pem"
    write_certificate(path, days=days, issuer=issuer)
    expected = Check("certificate of receiver", verdict, said.format(path=path), remedy)
    assert preflight.certificate("receiver", path, NOW) == expected


def test_no_certificate(tmp_path: Path) -> None:
    path = tmp_path / "cert.pem"
    said, remedy = (
        f"{path} is not there: one that is signed by itself will be made",
        "have one issued, with ACME for instance",
    )
    assert preflight.certificate("mxserver", path, NOW) == Check("certificate of mxserver", "warning", said, remedy)
    path.write_text("no certificate")
    said, remedy = f"{path} holds no certificate", "write it as PEM, the host's own first"
    assert preflight.certificate("mxserver", path, NOW) == Check("certificate of mxserver", "failed", said, remedy)


# -- DNS -----------------------------------------------------------------------------------------------------

PUBLISH = "publish rp.example.org. IN MX 10 mx.example.org."


@pytest.mark.parametrize(
    ("names", "own", "verdict", "said", "remedy"),
    [
        (["mx.example.org"], [], "ok", "mx.example.org is this host", ""),
        (["Mx.Example.Org"], [], "ok", "Mx.Example.Org is this host", ""),
        (["127.0.0.1"], ["127.0.0.1"], "ok", "127.0.0.1 is this host", ""),
        (["127.0.0.1"], ["127.0.0.2"], "warning", "127.0.0.1 is not this host", f"if mxserver runs here, {PUBLISH}"),
        (["127.0.0.2", "127.0.0.1"], ["127.0.0.1"], "ok", "127.0.0.1 is this host", ""),
        ([], [], "failed", "there is none: no bounce can come back", PUBLISH),
        (
            OSError("SERVFAIL"),
            [],
            "failed",
            "it cannot be looked up: SERVFAIL",
            "see to the resolver in /etc/resolv.conf",
        ),
        (ImportError("no dns"), [], "skipped", "dnspython is not installed", ""),
    ],
)
def test_return_path(names: list[str] | Exception, own: list[str], verdict: str, said: str, remedy: str) -> None:
    async def mx_of(domain: str) -> Sequence[str]:
        assert domain == "rp.example.org"
        if isinstance(names, Exception):
            raise names
        return names

    found = run(preflight.return_path("rp.example.org", "mx.example.org", own, mx_of))
    assert found == Check("MX of rp.example.org", verdict, said, remedy)


class Dns(socketserver.BaseRequestHandler):
    """A nameserver that knows rp.example.org, and fails for broken.example.org."""

    def handle(self) -> None:
        data, to = self.request
        answer = dns.message.make_response(dns.message.from_wire(data))
        name = answer.question[0].name.to_text()
        if name == "rp.example.org.":
            answer.answer.append(dns.rrset.from_text(name, 60, "IN", "MX", "20 b.example.org.", "10 a.example.org."))
        else:
            answer.set_rcode(2 if name.startswith("broken.") else 3)
        to.sendto(answer.to_wire(), self.client_address)


def test_mx_of_a_real_nameserver(monkeypatch: pytest.MonkeyPatch) -> None:
    with socketserver.ThreadingUDPServer(("127.0.0.1", 0), Dns) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        resolver = dns.asyncresolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = ["127.0.0.1"], server.server_address[1]
        monkeypatch.setattr(dns.asyncresolver, "default_resolver", resolver)
        assert run(preflight.mx_of("rp.example.org")) == ["a.example.org", "b.example.org"]
        assert run(preflight.mx_of("nothing.example.org")) == []
        with pytest.raises(OSError, match="SERVFAIL"):
            run(preflight.mx_of("broken.example.org"))
        server.shutdown()


# -- all of it -------------------------------------------------------------------------------------------------


@pytest.fixture
def host(
    redis_server: RedisServer, tmp_path: Path, greeter: Greeter, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str | int]:
    """A host that is fit, and its configuration."""
    outside, postfix = greeter("220 mx.example.net ESMTP\r\n"), greeter("220 h ESMTP Postfix\r\n")
    write_certificate(tmp_path / "cert.pem", days=90, now=datetime.datetime(2098, 10, 3, tzinfo=datetime.UTC))
    (tmp_path / "mailer.yaml").write_text(
        f"""\
redis: {{reliable-queue: {{redis: {{hostname: {redis_server.socket}}}}}}}
receiver: {{certificate: {tmp_path}/cert.pem, key: {tmp_path}/key.pem}}
postfixlog:
  reliable-queue: {{redis: {{hostname: {redis_server.socket}}}}}
  postfix: {{hostname: 127.0.0.1, port: {postfix}}}
mxserver: {{hostname: mx.example.org}}
transformer:
  domain-settings:
    - {{domain: example.org, return-path-domain: rp.example.org, dkim-keys: /nowhere}}
    - {{domain: example.com, return-path-domain: rp.example.org, dkim-keys: /nowhere}}
"""
    )

    async def mx_of(domain: str) -> Sequence[str]:
        return ["mx.example.org"]

    monkeypatch.setattr(preflight, "mx_of", mx_of)
    monkeypatch.setattr(preflight, "own_addresses", lambda: ["127.0.0.2", "10.0.0.7"])
    monkeypatch.setattr(preflight, "public", lambda addresses: ["127.0.0.2"])
    return {
        "outside": outside,
        "postfix": postfix,
        "path": str(tmp_path / "cert.pem"),
        "config": str(tmp_path / "mailer.yaml"),
    }


def call(host: dict[str, str | int], *words: str) -> int:
    ports = ["--host", "127.0.0.1", "--port", str(host["outside"])]
    return ctl.main(["--config", str(host["config"]), "preflight", *ports, *words])


FIT = """\
ok  outbound                 127.0.0.1:{outside} answers
ok  postfix                  127.0.0.1:{postfix} answers
ok  postfix is private       port {postfix} does not answer on 127.0.0.2
ok  redis                    it answers
ok  redis is durable         appendfsync is always
ok  redis evicts nothing     maxmemory-policy is noeviction
ok  certificate of receiver  {path} ends 2099-01-01T00:00:00Z
ok  MX of rp.example.org     mx.example.org is this host
"""


def test_preflight_of_a_host_that_is_fit(host: dict[str, str | int], capsys: pytest.CaptureFixture[str]) -> None:
    assert (call(host), capsys.readouterr().out) == (0, FIT.format(**host))
    assert (call(host, "--json"), json.loads(capsys.readouterr().out)[0]) == (
        0,
        {"name": "outbound", "verdict": "ok", "said": f"127.0.0.1:{host['outside']} answers", "remedy": ""},
    )


def test_of_postfix_alone(host: dict[str, str | int], capsys: pytest.CaptureFixture[str]) -> None:
    both = FIT.format(**host).splitlines()[1:3]
    assert call(host, "--postfix-only") == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [line.split() for line in both]


@pytest.mark.parametrize(
    ("public", "reached"),
    [(["127.0.0.1"], False), (["127.0.0.2"], True), ([], True)],  # what listens is on 127.0.0.1
)
def test_delivery_does_not_start_where_postfix_is_public(
    host: dict[str, str | int], monkeypatch: pytest.MonkeyPatch, public: list[str], reached: bool
) -> None:
    monkeypatch.setattr(preflight, "public", lambda addresses: public)
    monkeypatch.setattr(connect, "secrets", lambda path: (b"s" * 32,))
    up: list[Stage] = []
    monkeypatch.setattr(Stage, "show", lambda stage, *dummy: (up.append(stage), stage.stop.set()))
    stage = Stage(load([Path(str(host["config"]))]), "postfix")

    def go() -> None:
        uvloop.run(STAGES["postfix"](stage))

    if reached:
        go()
    else:
        with pytest.raises(ConfigError) as err:
            go()
        said = f"port {host['postfix']} answers on 127.0.0.1, which is public: anybody could send by it; "
        assert str(err.value) == said + "set inet_interfaces = loopback-only in main.cf and restart Postfix"
    assert bool(up) == reached


UNFIT = """\
ok       outbound                 127.0.0.1:{outside} answers
ok       postfix                  127.0.0.1:{postfix} answers
failed   postfix is private       port {postfix} answers on 127.0.0.1, which is public
                                  remedy: set inet_interfaces = loopback-only in main.cf and restart Postfix
failed   redis                    it cannot be reached: Error 111 connecting to {socket}. Connection refused.
                                  remedy: start it, or set redis.reliable-queue.redis
warning  certificate of receiver  {path} is not there: one that is signed by itself will be made
                                  remedy: have one issued, with ACME for instance
ok       MX of rp.example.org     mx.example.org is this host
"""


def test_preflight_of_one_that_is_not(
    host: dict[str, str | int],
    redis_server: RedisServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    redis_server.kill()
    Path(str(host["path"])).unlink()
    monkeypatch.setattr(preflight, "public", lambda addresses: ["127.0.0.1"])
    assert (call(host), capsys.readouterr().out) == (1, UNFIT.format(**host, socket=redis_server.socket))


def test_a_warning_fails_nothing(host: dict[str, str | int], capsys: pytest.CaptureFixture[str]) -> None:
    Path(str(host["path"])).unlink()
    assert call(host) == 0
    assert "warning  certificate of receiver" in capsys.readouterr().out
