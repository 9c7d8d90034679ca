# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import socket
import struct
import threading

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _dns_stub as stub
from hypothesis import given
from hypothesis import strategies as st

dns_message = pytest.importorskip("dns.message")


def wire(question: str, rdtype: str, answers: list[str], *, ident: int = 7, rcode: int = 0, flags: str = "QR RD RA"):
    lines = [f"id {ident}", "opcode QUERY", f"rcode {'NOERROR' if rcode == 0 else rcode}", f"flags {flags}"]
    lines += [";QUESTION", f"{question} IN {rdtype}", ";ANSWER", *answers]
    return dns_message.from_text("\n".join(lines)).to_wire()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["127.0.0.1"]),
        ("# comment\nnameserver 192.0.2.1\nnameserver 2001:db8::1 # two\nsearch example", ["192.0.2.1", "2001:db8::1"]),
        ("nameserver\nnameservers 192.0.2.1", ["127.0.0.1"]),
    ],
)
def test_resolv_conf(text: str, expected: list[str]) -> None:
    assert stub.parse_resolv_conf(text) == expected


@pytest.mark.parametrize(
    ("rdtype", "answers", "expected"),
    [
        ("A", ["host.example. 60 IN A 192.0.2.25", "host.example. 60 IN A 192.0.2.26"], ["192.0.2.25", "192.0.2.26"]),
        ("AAAA", ["host.example. 60 IN AAAA 2001:db8::25"], ["2001:db8::25"]),
        ("MX", ["host.example. 60 IN MX 10 mx.example.", "host.example. 60 IN MX 0 ."], ["0 .", "10 mx.example."]),
        ("PTR", ["host.example. 60 IN PTR relay.host.example."], ["relay.host.example."]),
        ("A", ["host.example. 60 IN CNAME other.example.", "other.example. 60 IN A 192.0.2.1"], ["192.0.2.1"]),
        ("A", [], []),
    ],
)
def test_answer(rdtype: str, answers: list[str], expected: list[str]) -> None:
    assert sorted(stub.parse_answer(wire("host.example.", rdtype, answers), rdtype, 7)) == expected


HEAD = struct.pack("!HHHHHH", 7, 0x8180, 1, 0, 0, 0)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"", "the answer is cut off"),
        (wire("x.example.", "A", [], ident=8), "the answer is not to our question"),
        (wire("x.example.", "A", ["x.example. 1 IN A 192.0.2.1"])[:-2], "an address record has the wrong length"),
        (HEAD + b"\xc0\x0c" + b"\0" * 13, "a compressed name points forwards"),
        (wire("x.example.", "A", []).replace(b"\x01x", b"\x81x"), "a name holds a label of unknown kind"),
    ],
)
def test_bad_answer(message: bytes, expected: str) -> None:
    with pytest.raises(stub.StubError) as caught:
        stub.parse_answer(message, "A", 7)
    assert str(caught.value) == expected


def test_nxdomain_is_no_error_and_servfail_is() -> None:
    head = struct.pack("!HHHHHH", 7, 0x8183, 0, 0, 0, 0)
    assert stub.parse_answer(head, "A", 7) == []
    with pytest.raises(stub.StubError, match="SERVFAIL"):
        stub.parse_answer(struct.pack("!HHHHHH", 7, 0x8182, 0, 0, 0, 0), "A", 7)


@given(st.binary(max_size=300))
def test_no_bytes_lead_to_anything_but_a_stub_error(noise: bytes) -> None:
    message = struct.pack("!HHHHHH", 7, 0x8180, 1, 3, 0, 0) + noise
    for rdtype in stub.TYPES:
        with contextlib.suppress(stub.StubError):
            stub.parse_answer(message, rdtype, 7)


@pytest.mark.parametrize("name", ["a" * 64 + ".example", "..", ".".join(["a" * 60] * 5), "b\u00fccher.example"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(stub.StubError, match="is not a DNS name"):
        stub.encode_name(name)


def answer_once(sock: socket.socket, answers: list[str]) -> None:
    question, peer = sock.recvfrom(512)
    ident = struct.unpack("!H", question[:2])[0]
    sock.sendto(wire("host.example.", "A", answers, ident=ident ^ 1), peer)  # a forged one first
    sock.sendto(wire("host.example.", "A", answers, ident=ident), peer)


def test_query_over_udp_passes_over_a_forged_answer_and_a_dead_server() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=answer_once, args=(server, ["host.example. 60 IN A 192.0.2.25"]))
        thread.start()
        resolver = stub.StubResolver(["127.0.0.1"], timeout=60, port=server.getsockname()[1])
        assert resolver.query("host.example", "A") == ["192.0.2.25"]
        thread.join()


def test_nobody_answers() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        resolver = stub.StubResolver(["127.0.0.1"], timeout=0.05, port=server.getsockname()[1])
        with pytest.raises(stub.StubError, match=r"127\.0\.0\.1 does not answer"):
            resolver.query("host.example", "A")
