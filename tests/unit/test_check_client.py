# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import cast

sys.path.insert(0, str(Path(__file__).parent))

import _check_world as world
import dns.flags
import dns.message
import dns.rrset
import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _check_client as client
from ansible_collections.postmaster.mail.plugins.module_utils import _check_view as v
from ansible_collections.postmaster.mail.plugins.module_utils import _check_wire as wire
from hypothesis import given
from hypothesis import strategies as st

LONG = " ".join(f'"{"x" * 250}"' for dummy in range(8))

# -- messages -------------------------------------------------------------------------------------------


def message(name: str, rdtype: str, *records: str, rcode: int = 0, section: str = "answer", flags: int = 0) -> bytes:
    """An answer as dnspython writes it; records are "owner type data"."""
    answer = dns.message.make_response(dns.message.make_query(name, rdtype))
    answer.set_rcode(rcode)
    answer.flags |= flags
    for text in records:
        owner, kind, data = text.split(" ", 2)
        getattr(answer, section).append(dns.rrset.from_text(owner, 300, "IN", kind, data))
    return bytes(answer.to_wire(max_size=65535))


@pytest.mark.parametrize(
    ("rdtype", "data", "values"),
    [
        ("A", "192.0.2.1", ["192.0.2.1"]),
        ("AAAA", "2001:db8::1", ["2001:db8::1"]),
        ("MX", "10 mx.example.org.", ["10 mx.example.org."]),
        ("NS", "NS1.example.org.", ["NS1.example.org."]),
        ("PTR", r"a\.b.example.org.", [r"a\.b.example.org."]),
        ("TXT", r'"v=spf1 " "a \200\"-all"', ['v=spf1 a \xc8"-all']),
        ("SOA", "ns1.example. h.example. 1 2 3 4 5", ["ns1.example. h.example. 1 2 3 4 5"]),
        ("TLSA", f"3 1 1 {'00ff' * 16}", [f"3 1 1 {'00ff' * 16}"]),
        ("CAA", '0 issue "ca.example"', ['0 issue "ca.example"']),
        ("TYPE65300", r"\# 2 abcd", [r"\# 2 abcd"]),
    ],
)
def test_answers_are_read(rdtype: str, data: str, values: list[str]) -> None:
    answer = wire.read_answer(
        message("x.example.org.", rdtype, f"x.example.org. {rdtype} {data}"), v.Dns("x.example.org.", rdtype)
    )
    assert (answer.status, list(answer.values), answer.ttl, answer.chain) == (v.NOERROR, values, 300, ())


def test_aliases_are_followed_within_an_answer() -> None:
    records = ["a.example. CNAME B.example.", "b.example. CNAME c.example.", "c.example. A 192.0.2.1"]
    answer = wire.read_answer(message("a.example.", "A", *records), v.Dns("a.example.", "A"))
    assert answer.values == ("192.0.2.1",) and answer.chain == ("b.example.", "c.example.")


def test_a_loop_of_aliases_fails() -> None:
    records = ["a.example. CNAME b.example.", "b.example. CNAME a.example."]
    answer = wire.read_answer(message("a.example.", "A", *records), v.Dns("a.example.", "A"))
    assert (answer.status, answer.text) == (v.FAILED, "its aliases do not end")


def test_negative_answers_name_the_zone_and_referrals_are_told() -> None:
    soa = "example. SOA ns1.example. h.example. 1 2 3 4 5"
    nothing = wire.read_answer(
        message("a.example.", "TXT", soa, rcode=3, section="authority"), v.Dns("a.example.", "TXT")
    )
    assert (nothing.status, nothing.zone, nothing.referral) == (v.NXDOMAIN, "example.", False)
    referral = wire.read_answer(
        message("a.b.example.", "TXT", "b.example. NS ns1.b.example.", section="authority"),
        v.Dns("a.b.example.", "TXT"),
    )
    assert (referral.status, referral.referral, referral.values) == (v.NOERROR, True, ())


@pytest.mark.parametrize(("rcode", "text"), [(2, "SERVFAIL"), (5, "REFUSED"), (9, "NOTAUTH"), (11, "RCODE 11")])
def test_errors_are_named(rcode: int, text: str) -> None:
    answer = wire.read_answer(message("a.example.", "A", rcode=rcode), v.Dns("a.example.", "A"))
    assert (answer.status, answer.text) == (v.FAILED, text)


def test_an_answer_about_another_name_fails() -> None:
    answer = wire.read_answer(message("b.example.", "A", "b.example. A 192.0.2.1"), v.Dns("a.example.", "A"))
    assert answer.status == v.FAILED and "another name" in answer.text


@pytest.mark.parametrize(
    "name", ["example.org.", ".", "*.example.org.", r"a\.b.example.", r"\000x.example.", "_25._tcp.mx.example."]
)
def test_questions_are_what_dnspython_reads(name: str) -> None:
    read = dns.message.from_wire(wire.question_wire(v.Dns(name, "TLSA", unchecked=True), 7))
    assert (read.id, read.question[0].name.to_text()) == (7, name)
    assert read.flags == dns.flags.RD | dns.flags.AD | dns.flags.CD and read.payload == 1232
    assert not dns.message.from_wire(wire.question_wire(v.Dns(name, "A", "192.0.2.1"), 7)).flags & dns.flags.RD


@pytest.mark.parametrize(
    "name", ["a..example.", f"{'x' * 64}.example.", "x" * 60 + ("." + "x" * 60) * 5 + ".", "\u00fc" * 64 + "."]
)
def test_names_that_cannot_exist(name: str) -> None:
    with pytest.raises(ValueError):
        wire.question_wire(v.Dns(name, "A"), 1)


@given(st.binary(max_size=200))
def test_whatever_comes_is_an_answer(octets: bytes) -> None:
    head = message("a.example.", "A", "a.example. A 192.0.2.1", "a.example. TXT x")[:12]
    for data in (octets, head + b"\x01a\x07example\0\0\x01\0\x01" + octets):
        for rdtype in ("A", "TXT", "MX", "TLSA", "SOA"):
            assert wire.read_answer(data, v.Dns("a.example.", rdtype)).status in (v.NOERROR, v.NXDOMAIN, v.FAILED)


@given(st.binary(max_size=200))
def test_whatever_a_web_server_sends_is_an_answer(octets: bytes) -> None:
    for data in (
        octets,
        b"HTTP/1.1 200 OK\r\n" + octets,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + octets,
    ):
        answer = client.parse_http(data)
        assert answer.error or 0 < answer.status < 1000


def test_http_answers_are_read() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n"
    for data in (
        head + b"Content-Length: 2\r\n\r\nabXX",
        head + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        head + b"\r\nab",
    ):
        assert client.parse_http(data) == v.HttpsAnswer("", 200, "text/plain; charset=utf-8", b"ab")
    assert client.parse_http(head + b"\r\n" + b"x" * 80000).error == "the answer is longer than 73728 octets"


# -- a server of one's own ------------------------------------------------------------------------------


@dataclass
class NameServer(asyncio.DatagramProtocol):
    """Answers by a function of the question; None leaves it unanswered. Counts what it is asked."""

    reply: Callable[[dns.message.Message, bool], dns.message.Message | None]
    asked: list[str] = field(default_factory=list)
    most: int = 0
    transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self.answer(data, tcp=False)
        if answer is not None and self.transport is not None:
            self.transport.sendto(answer, addr)

    def answer(self, data: bytes, *, tcp: bool) -> bytes | None:
        query = dns.message.from_wire(data)
        self.asked.append(query.question[0].name.to_text())
        made = self.reply(query, tcp)
        return None if made is None else made.to_wire(max_size=65535)

    async def over_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = int.from_bytes(await reader.readexactly(2), "big")
        answer = self.answer(await reader.readexactly(size), tcp=True) or b""
        writer.write(len(answer).to_bytes(2, "big") + answer)
        writer.close()


@asynccontextmanager
async def serving(server: NameServer) -> AsyncIterator[int]:
    """Its port on this machine."""
    loop = asyncio.get_running_loop()
    tcp = await asyncio.start_server(server.over_tcp, "127.0.0.1", 0)
    port = tcp.sockets[0].getsockname()[1]
    transport, dummy = await loop.create_datagram_endpoint(lambda: server, local_addr=("127.0.0.1", port))
    try:
        yield port
    finally:
        transport.close()
        tcp.close()


def fixed(query: dns.message.Message, tcp: bool) -> dns.message.Message:
    """192.0.2.1 for every A; a TXT record that needs TCP."""
    made = dns.message.make_response(query)
    name, rdtype = query.question[0].name, query.question[0].rdtype
    if rdtype == 1:
        made.answer.append(dns.rrset.from_text(name, 60, "IN", "A", "192.0.2.1"))
    elif tcp:
        made.answer.append(dns.rrset.from_text(name, 60, "IN", "TXT", LONG))
    else:
        made.flags |= dns.flags.TC
    return made


def asked(
    server: NameServer, *questions: v.Question, timeout: float = 60, resolvers: int = 1
) -> tuple[dict[v.Question, v.Answer], float]:
    """The answers, and how long they took."""

    async def run() -> tuple[dict[v.Question, v.Answer], float]:
        async with serving(server) as port:
            known = [("127.0.0.1", port)] if resolvers == 1 else [("127.0.0.1", free_port()), ("127.0.0.1", port)]
            async with client.Collector(known, timeout=timeout, port=port) as collector:
                start = time.monotonic()
                await collector.ask(questions)
                return dict(collector.facts), time.monotonic() - start

    return asyncio.run(run())


_silent: list[socket.socket] = []


def free_port() -> int:
    """A port where nobody listens, over TCP or UDP, as long as this process lives."""
    while True:
        stream, datagrams = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
        stream.bind(("127.0.0.1", 0))
        port = int(stream.getsockname()[1])
        with contextlib.suppress(OSError):
            datagrams.bind(("127.0.0.1", port))
            _silent.extend((stream, datagrams))
            return port


def test_each_question_is_asked_once() -> None:
    server = NameServer(fixed)
    question = v.Dns("a.example.", "A")
    facts, dummy = asked(server, question, v.Dns("a.example.", "A"), question)
    assert facts[question].values == ("192.0.2.1",)  # type: ignore[union-attr]
    assert server.asked == ["a.example."]


def test_an_answer_that_is_cut_is_asked_for_over_tcp() -> None:
    server = NameServer(fixed)
    question = v.Dns("a.example.", "TXT")
    facts, dummy = asked(server, question)
    assert facts[question].values == ("x" * 2000,)  # type: ignore[union-attr]
    assert len(server.asked) == 2


def test_a_thousand_questions_stay_within_the_bound() -> None:
    server = NameServer(fixed)
    questions = [v.Dns(f"d{number}.example.", "A") for number in range(1000)]
    facts, dummy = asked(server, *questions)
    assert all(facts[question].status == v.NOERROR for question in questions)  # type: ignore[union-attr]


def test_a_lost_packet_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "RETRY_AT", 0.01)
    lost: list[str] = []

    def reply(query: dns.message.Message, tcp: bool) -> dns.message.Message | None:
        lost.append("")
        return fixed(query, tcp) if len(lost) > 1 else None

    question = v.Dns("a.example.", "A")
    facts, dummy = asked(NameServer(reply), question)
    assert facts[question].values == ("192.0.2.1",)  # type: ignore[union-attr]


def test_a_server_that_never_answers_costs_one_timeout() -> None:
    server = NameServer(lambda query, tcp: None)
    questions = [v.Dns(f"d{number}.example.", "A", "127.0.0.1") for number in range(500)]
    facts, seconds = asked(server, *questions, timeout=0.5)
    assert {facts[question].text for question in questions} == {"127.0.0.1 does not answer"}  # type: ignore[union-attr]
    assert seconds < 30
    assert len(set(server.asked)) <= client.IN_FLIGHT_EACH


def test_the_next_resolver_is_asked_where_one_is_silent() -> None:
    questions = [v.Dns(f"d{number}.example.", "A") for number in range(100)]
    facts, _seconds = asked(NameServer(fixed), *questions, timeout=5, resolvers=2)
    assert all(facts[question].values == ("192.0.2.1",) for question in questions)  # type: ignore[union-attr]


def test_a_name_that_cannot_exist_is_not_asked() -> None:
    server = NameServer(fixed)
    question = v.Dns("a..example.", "A")
    facts, dummy = asked(server, question)
    assert facts[question].status == v.NXDOMAIN and server.asked == []  # type: ignore[union-attr]


def test_connections_that_are_refused_are_told() -> None:
    questions = [
        v.Smtp("127.0.0.1", free_port(), "mx.example."),
        v.Connect("127.0.0.1", free_port()),
        v.Relay("127.0.0.1", free_port(), "a@b", "c@d"),
    ]
    facts, dummy = asked(NameServer(fixed), *questions)
    assert {facts[question].error for question in questions} == {"connection refused"}  # type: ignore[union-attr]


def test_a_blocked_port_costs_one_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    async def nothing(address: str, port: int) -> None:
        tried.append(address)
        await asyncio.sleep(60)

    monkeypatch.setattr(client._Talk, "open", nothing)
    questions = [v.Smtp(f"192.0.2.{number}", 25, "mx.example.") for number in range(200)]
    facts, seconds = asked(NameServer(fixed), *questions, timeout=0.2)
    assert len(tried) < 2 * client.SESSIONS and seconds < 30
    assert {facts[question].error for question in questions} == {  # type: ignore[union-attr]
        "no answer within 0.6 seconds",
        "no answer, and none to others before",
    }


# -- SMTP -----------------------------------------------------------------------------------------------


async def mail_server(script: list[bytes], port: int = 0) -> tuple[asyncio.Server, list[bytes]]:
    """A server that says one line of ``script`` after each line it gets, and what it got."""
    said: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for line in script:
            writer.write(line)
            got = await reader.readline()
            said.append(got)
            if not got:
                break
        writer.close()

    return await asyncio.start_server(talk, "127.0.0.1", port), said


def spoken(
    script: list[bytes], question: Callable[[int], v.Question], timeout: float = 60
) -> tuple[v.Answer, list[bytes]]:
    async def run() -> tuple[v.Answer, list[bytes]]:
        server, said = await mail_server(script)
        made = question(port=server.sockets[0].getsockname()[1])
        async with client.Collector([("127.0.0.1", free_port())], timeout=timeout) as collector:
            await collector.ask([made])
            server.close()
            return collector.facts[made], said

    return asyncio.run(run())


def probe(port: int) -> v.Question:
    return v.Smtp("127.0.0.1", port, "mx.example.", ("postmaster@example.org", "abuse@example.org"))


def test_recipients_are_asked_and_no_message_is_sent() -> None:
    script = [
        b"220 mx\r\n",
        b"250-mx\r\n250 8BITMIME\r\n",
        b"250 ok\r\n",
        b"250 2.1.5 ok\r\n",
        b"550 5.1.1 no\r\n",
        b"221 bye\r\n",
    ]
    answer, said = spoken(script, probe)
    assert isinstance(answer, v.SmtpAnswer)
    assert (answer.error, answer.starttls, answer.replies) == ("", False, ((250, "2.1.5 ok"), (550, "5.1.1 no")))
    assert said[0] == b"EHLO [127.0.0.1]\r\n"
    assert said[1:5] == [
        b"MAIL FROM:<>\r\n",
        b"RCPT TO:<postmaster@example.org>\r\n",
        b"RCPT TO:<abuse@example.org>\r\n",
        b"QUIT\r\n",
    ]


SILENT = "no answer within"


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ([b"554 go away\r\n"], "it greets with 554 go away"),
        ([b"hello\r\n"], "it answers what is no SMTP: 'hello\\r\\n'"),
        ([b"220 " + b"x" * 9000], "Separator is"),
        ([b"220 mx\r\n", b"250-a\r\n" * 200], "its reply does not end"),
        ([b"220 mx\r\n", b"500 what\r\n"], "EHLO is answered with 500 what"),
        ([b""], SILENT),
        ([b"220 mx\r\n", b"250-mx\r\n250 STARTTLS\r\n", b"454 not now\r\n"], ""),
    ],
)
def test_servers_that_are_none(script: list[bytes], error: str) -> None:
    answer, dummy = spoken(script, probe, timeout=0.3 if error == SILENT else 60)
    assert isinstance(answer, v.SmtpAnswer)
    assert answer.error.startswith(error)
    if not error:
        assert answer.tls_error == "STARTTLS is answered with 454 not now"


@pytest.mark.parametrize(("reply", "code"), [(b"250 queued\r\n", 250), (b"", 0)])
def test_an_end_of_data_that_is_taken_is_told(monkeypatch: pytest.MonkeyPatch, reply: bytes, code: int) -> None:
    monkeypatch.setattr(client, "SILENCE", 60.0 if reply else 1.0)
    script = [b"220 mx\r\n", b"250 mx\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"]
    answer, said = spoken(
        [*script, b"", b"", reply],
        lambda port: v.Relay("127.0.0.1", port, "a@example.org", "p@example.org", b"\n.\n"),
    )
    assert answer == v.RelayAnswer("", ".", code, "queued" if reply else "")
    assert said[4:] == [b"Subject: end of data\r\n", b"\r\n", b"This is a test of line ends.\n", b".\n"]


def test_a_refused_recipient_ends_the_test() -> None:
    script = [b"220 mx\r\n", b"250 mx\r\n", b"250 ok\r\n", b"554 5.7.1 no\r\n"]
    for ending in (None, b"\n.\n"):
        answer, dummy = spoken(
            script, partial(v.Relay, "127.0.0.1", sender="a@example.org", recipient="p@example.org", ending=ending)
        )
        assert answer == v.RelayAnswer("", "RCPT", 554, "5.7.1 no")


def test_authorities_of_ones_own_are_added(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.x509 import load_der_x509_certificate

    path = tmp_path / "ca.pem"
    path.write_bytes(load_der_x509_certificate(world.certificate()).public_bytes(serialization.Encoding.PEM))
    context = client.tls_context(str(path))
    assert context.verify_mode == ssl.CERT_REQUIRED and context.check_hostname
    assert not client.tls_context("", verify=False).check_hostname


def test_resolvers_of_this_machine(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 192.0.2.53\nnameserver ::1\n")
    assert client.system_resolvers(str(path)) == [("192.0.2.53", 53), ("::1", 53)]
    assert client.system_resolvers(str(tmp_path / "none")) == [("127.0.0.1", 53)]
    assert client.is_local(("::1", 53)) and not client.is_local(("192.0.2.53", 53))
