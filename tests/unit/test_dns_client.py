# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The DNS port against a scripted server on the loopback, and what is built upon it against a scripted port."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from ansible_collections.postmaster.mail.plugins.module_utils._dns import DnsError, DnsTimeout, DomainError
from ansible_collections.postmaster.mail.plugins.module_utils._dns_client import (
    Answer,
    DnsServer,
    TsigKey,
    normalise,
    parse_zone_text,
)
from ansible_collections.postmaster.mail.plugins.module_utils._dns_plan import (
    Action,
    Key,
    RRset,
    Wanted,
    ordered,
)
from ansible_collections.postmaster.mail.plugins.module_utils._dns_publish import publish, publish_file, wanted
from ansible_collections.postmaster.mail.plugins.module_utils._record import Record

Reply = Callable[[Any], "bytes | None"]


def _answer(message: Any, *lines: str, rcode: int = 0, flags: int = dns.flags.AA) -> bytes:
    response = dns.message.make_response(message)
    response.flags |= flags
    response.set_rcode(rcode)
    for line in lines:
        section = response.authority if " SOA " in line else response.answer
        section.append(dns.rrset.from_text_list(*_fields(line)))
    return bytes(response.to_wire())


def _fields(line: str) -> tuple[str, int, str, str, list[str]]:
    name, ttl, rdtype, rdata = line.split(" ", 3)
    return name, int(ttl), "IN", rdtype, rdata.split(" | ")


@contextlib.contextmanager
def _listening(handle: Callable[[socket.socket], None]) -> Iterator[int]:
    """A TCP server that gives each connection to ``handle``; its port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _peer = listener.accept()
                    with connection, contextlib.suppress(OSError, EOFError):
                        handle(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]


def _read(connection: socket.socket) -> Any:
    data = b""
    while len(data) < 2:
        part = connection.recv(2 - len(data))
        if not part:
            raise EOFError
        data += part
    (size,) = struct.unpack("!H", data)
    return dns.message.from_wire(connection.recv(size, socket.MSG_WAITALL))


def _send(connection: socket.socket, wire: bytes) -> None:
    connection.sendall(struct.pack("!H", len(wire)) + wire)


def _replying(reply: Reply) -> Callable[[socket.socket], None]:
    def handle(connection: socket.socket) -> None:
        while True:
            wire = reply(_read(connection))
            if wire is None:
                return
            _send(connection, wire)

    return handle


@pytest.mark.parametrize(
    ("lines", "rdtype", "expected"),
    [
        (['a.test. 60 TXT "one" "two"'], "TXT", ["onetwo"]),
        (['a.test. 60 TXT "\\228\\195\\164"'], "TXT", ["\u00e4\u00c3\u00a4"]),
        (["a.test. 60 MX 10 Mx.test. | 20 b.test."], "MX", ["10 Mx.test.", "20 b.test."]),
        (["a.test. 60 AAAA 2001:db8::1"], "AAAA", ["2001:db8::1"]),
        (["a.test. 60 CNAME b.test.", 'b.test. 60 TXT "x"'], "TXT", ["x"]),
        (["a.test. 60 CNAME b.test."], "TXT", []),
        (["test. 60 SOA ns. h. 1 2 3 4 5"], "TXT", []),
        ([], "TXT", []),
    ],
)
def test_query_gives_presentation_texts(lines: list[str], rdtype: str, expected: list[str]) -> None:
    with _listening(_replying(lambda message: _answer(message, *lines))) as port:
        assert sorted(DnsServer("127.0.0.1", port=port, timeout=60).query("a.test.", rdtype)) == expected


def test_a_missing_name_has_no_records() -> None:
    with _listening(_replying(lambda m: _answer(m, "test. 60 SOA ns. h. 1 2 3 4 5", rcode=dns.rcode.NXDOMAIN))) as port:
        server = DnsServer("127.0.0.1", port=port, timeout=60)
        assert server.query("a.test.", "A") == []
        assert server.lookup("a.test.", "A") == Answer(zone="test.", missing=True)
        assert server.zone_of("a.test.") == "test."


@pytest.mark.parametrize(
    ("lines", "rcode", "expected"),
    [
        ([], dns.rcode.NOERROR, True),  # another type, or names below
        (['a.test. 60 TXT "x"'], dns.rcode.NOERROR, True),
        (["test. 60 SOA ns. h. 1 2 3 4 5"], dns.rcode.NXDOMAIN, False),
        (["a.test. 60 CNAME gone.test."], dns.rcode.NXDOMAIN, True),
    ],
)
def test_whether_a_name_exists(lines: list[str], rcode: int, expected: bool) -> None:
    with _listening(_replying(lambda message: _answer(message, *lines, rcode=rcode))) as port:
        assert DnsServer("127.0.0.1", port=port, timeout=60).exists("a.test") is expected


@pytest.mark.parametrize("name", ["a..test", "a" * 64 + ".test", ".".join(["a" * 60] * 5), "\u0000" * 300])
def test_names_that_cannot_exist_have_no_records(name: str) -> None:
    assert DnsServer("127.0.0.1", port=1).query(name, "A") == []
    assert not DnsServer("127.0.0.1", port=1).exists(name)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (lambda m: _answer(m, rcode=dns.rcode.SERVFAIL), r"did not answer for a\.test\. A \(SERVFAIL\)"),
        (lambda m: _answer(m, rcode=dns.rcode.REFUSED), r"\(REFUSED\): it may not serve this zone"),
        (lambda m: _answer(m, flags=0), r"is not authoritative for a\.test\."),
        (lambda m: _answer(m, flags=dns.flags.AA | dns.flags.TC), "cut its answer"),
        (lambda m: b"\0\1" + b"\xff" * 3, "was not asked|not understood"),
        (lambda m: m.to_wire()[:2] + b"\xff" * 30, "not understood"),
        (lambda m: b"", "was not asked"),
        (lambda m: None, "ended the TCP connection"),
    ],
)
def test_bad_answers_are_one_sentence(reply: Reply, message: str) -> None:
    with _listening(_replying(reply)) as port, pytest.raises(DnsError, match=message):
        DnsServer("127.0.0.1", port=port, timeout=60).query("a.test.", "A")


def test_silence_is_a_timeout() -> None:
    def silent(connection: socket.socket) -> None:
        while connection.recv(100):
            pass

    with _listening(silent) as port, pytest.raises(DnsTimeout, match=r"did not answer within 0\.2 seconds"):
        DnsServer("127.0.0.1", port=port, timeout=0.2).query("a.test.", "A")


def test_many_questions_share_a_connection_and_answers_come_in_any_order() -> None:
    connections = []

    def handle(connection: socket.socket) -> None:
        connections.append(connection)
        for _half in range(2):
            asked = [_read(connection) for _n in range(5)]
            for message in reversed(asked):
                _send(connection, _answer(message, f'{message.question[0].name} 60 TXT "{message.question[0].name}"'))

    keys = [(f"n{n}.test.", "TXT") for n in range(10)]
    with _listening(handle) as port:
        answers = DnsServer("127.0.0.1", port=port, timeout=60).lookup_many(keys)
    assert [answers[key].rrset for key in keys] == [RRset(*key, 60, (f'"{key[0]}"',)) for key in keys]
    assert len(connections) == 1


def test_a_server_that_ends_connections_is_asked_again() -> None:
    def once(connection: socket.socket) -> None:
        _send(connection, _answer(_read(connection), 'n. 60 TXT "x"'))

    with _listening(once) as port:
        answers = DnsServer("127.0.0.1", port=port, timeout=60).lookup_many([(f"n{n}.test.", "TXT") for n in range(5)])
    assert len(answers) == 5


def _unsigned(rcode: int) -> Callable[[socket.socket], None]:
    """A server that answers signed questions without a signature."""

    def handle(connection: socket.socket) -> None:
        (size,) = struct.unpack("!H", connection.recv(2, socket.MSG_WAITALL))
        asked = connection.recv(size, socket.MSG_WAITALL)
        plain = dns.message.make_query("test.", "SOA", id=int.from_bytes(asked[:2], "big"))
        _send(connection, _answer(plain, "test. 60 SOA ns. h. 1 2 3 4 5", rcode=rcode))

    return handle


def test_an_unsigned_answer_to_a_signed_question_is_not_believed() -> None:
    key = TsigKey("k.", "c2VjcmV0")
    with _listening(_unsigned(dns.rcode.NOERROR)) as port, pytest.raises(DnsError) as caught:
        DnsServer("127.0.0.1", port=port, key=key, timeout=60).check_key("test.")
    assert "left its answer unsigned, though asked with a TSIG key" in str(caught.value)
    assert "c2VjcmV0" not in repr(key)


def test_an_unsigned_refusal_is_told_as_one() -> None:
    """It changes nothing, so that nobody gains by it: servers refuse a key that they do not know without a signature."""
    change = Action("add", Record("a.test.", "TXT", 60, '"x"'))
    with _listening(_unsigned(dns.rcode.REFUSED)) as port, pytest.raises(DnsError) as caught:
        DnsServer("127.0.0.1", port=port, key=TsigKey("k.", "c2VjcmV0"), timeout=60).update("test.", [change])
    assert "did not accept the update of zone test. (REFUSED): allow the TSIG key k. to change this zone" in str(
        caught.value
    )


@pytest.mark.parametrize(
    ("name", "secret", "message"),
    [("k.", "%%%", "is not base64"), ("k.", "\u00e4", "is not base64"), ("k..x", "c2VjcmV0", "is no DNS name")],
)
def test_keys_that_are_none(name: str, secret: str, message: str) -> None:
    with pytest.raises(DnsError, match=message) as caught:
        TsigKey(name, secret).build()
    assert secret not in str(caught.value)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (Record("A.Test.", "mx", 60, "10 MX.Test."), "a.test. 60 IN MX 10 mx.test."),
        (Record("a.test.", "AAAA", 60, "2001:DB8:0::1"), "a.test. 60 IN AAAA 2001:db8::1"),
        (Record("a.test.", "TXT", 60, 'A "B c"'), 'a.test. 60 IN TXT "A" "B c"'),
        (
            Record("_25._tcp.a.test.", "TLSA", 60, "3 1 1 " + "AB " * 32),
            "_25._tcp.a.test. 60 IN TLSA 3 1 1 " + "ab" * 32,
        ),
        (Record("a.test.", "SRV", 60, "0 1 587 Mail.test."), "a.test. 60 IN SRV 0 1 587 mail.test."),
        (Record("a.test.", "MX", 60, ""), "a.test. 60 IN MX "),
    ],
)
def test_records_are_compared_in_canonical_form(record: Record, expected: str) -> None:
    assert str(normalise(record)) == expected


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"name": "a.test", "type": "A", "rdata": "1.2.3"}, r"records\[0\]: a\.test\. A '1\.2\.3' is no valid record"),
        ({"name": "a.test", "type": "MX", "rdata": "mx.test."}, "is no valid record"),
        ({"name": "a.test", "type": "NONSENSE", "rdata": "x"}, "is no valid record"),
        ({"name": "a.test", "type": "SOA", "rdata": "a. b. 1 2 3 4 5"}, "not for this module"),
        ({"name": "a.test", "type": "ANY", "rdata": "x"}, "not for this module"),
        ({"name": "a.test", "type": "A"}, "has no data"),
        (
            {"name": "a.test", "type": "MX", "rdata": "10 mx"},
            "a.test. MX '10 mx.' names a top-level domain; write names in full, such as mx.example",
        ),
        ({"name": "a.test", "type": "CNAME", "rdata": "www"}, "names a top-level domain"),
        (
            {"name": "a.test", "type": "TXT", "rdata": '"a" "b"', "value": "a b"},
            "a value that is not what its rdata says; give one of them",
        ),
        ({"name": "a.test", "type": "MX", "value": "x"}, "value is for TXT records only"),
        ({"name": "a.test", "type": "A", "rdata": "192.0.2.1", "ttl": -1}, "the ttl -1"),
        ({"name": "a.test", "type": "TXT", "value": "\u00e4"}, "is not ASCII"),
        ({"name": "a.test", "type": "TXT", "rdata": '"a'}, "is no valid record"),
        ({"name": "a.test", "type": "TXT", "rdata": '"' + "a" * 256 + '"'}, "is no valid record"),
    ],
)
def test_bad_records_are_named(item: dict[str, Any], message: str) -> None:
    with pytest.raises(DnsError, match=message):
        wanted([item])


@pytest.mark.parametrize(
    ("item", "rdata"),
    [
        ({"name": "a.test", "type": "MX", "rdata": "10 mx.test"}, "10 mx.test."),
        ({"name": "a.test", "type": "MX", "rdata": "0 ."}, "0 ."),
        ({"name": "_x._tcp.a.test", "type": "SRV", "rdata": "0 0 0 ."}, "0 0 0 ."),
        ({"name": "a.test", "type": "TXT", "rdata": '"a" " b"', "value": "a b"}, '"a" " b"'),
        ({"name": "a.test", "type": "MX", "rdata": "10 mx.", "state": "absent"}, "10 mx."),
    ],
)
def test_records_that_are_meant_as_they_are_written(item: dict[str, Any], rdata: str) -> None:
    assert wanted([item])[0].record.rdata == rdata


def test_bad_names_are_named() -> None:
    with pytest.raises(DomainError, match=r"records\[1\]\.name 'a b'"):
        wanted([{"name": "a", "type": "A", "rdata": "192.0.2.1"}, {"name": "a b", "type": "A", "rdata": "192.0.2.1"}])


# -- publishing, against a scripted port --------------------------------------------------------


class FakeServer(DnsServer):
    """Holds record sets; ``broken`` replaces every answer."""

    def __init__(self, *records: Record, broken: Exception | None = None, ignore: str = "") -> None:
        super().__init__("192.0.2.53")
        self.sets: dict[Key, RRset] = {}
        self.broken, self.ignore = broken, ignore
        self.updates: list[list[Action]] = []
        for record in records:
            self._add(record)

    def _add(self, record: Record) -> None:
        key = (record.name, record.type)
        values = self.sets[key].values if key in self.sets else ()
        self.sets[key] = RRset(*key, record.ttl, (*values, record.rdata))

    def answers(self, keys: Iterable[Key]) -> dict[Key, Answer | DnsError]:
        if self.broken:
            raise self.broken
        return {key: self._look(key) for key in keys}

    def _look(self, key: Key) -> Answer:
        alias = self.sets.get((key[0], "CNAME"))
        if key not in self.sets and alias:
            return Answer(alias=alias.values[0])
        return Answer(self.sets.get(key), zone=None if key in self.sets else "test.")

    def update(self, zone: str, actions: Sequence[Action]) -> int:
        self.updates.append([action for unit in ordered(actions) for action in unit])
        for action in self.updates[-1]:
            key, value = (action.record.name, action.record.type), action.record.rdata
            if action.kind != "add" and key in self.sets:
                left = tuple(one for one in self.sets[key].values if one != value)
                self.sets[key] = RRset(*key, self.sets[key].ttl, left)
                if not left:
                    del self.sets[key]
            if action.kind != "delete" and action.record.type != self.ignore:
                self._add(action.record)
        return 1


def _txt(name: str, value: str, ttl: int = 60) -> Record:
    return normalise(Record.txt(name, value, ttl))


def test_publish_updates_once_and_then_no_more() -> None:
    server = FakeServer(_txt("a.test", "v=spf1 a -all"), _txt("a.test", "other"))
    records = [Wanted(_txt("a.test", "v=spf1 -all")), Wanted(_txt("_b.test", "x"))]
    checked = publish(server, records, check=True)
    assert checked.plan.changed and checked.updates == 0 and not server.updates
    done = publish(server, records)
    assert done.plan == checked.plan and done.updates == 1 and done.zones == ["test."]
    assert server.sets[("a.test.", "TXT")].values == ('"other"', '"v=spf1 -all"')
    again = publish(server, records)
    assert not again.plan.changed and len(server.updates) == 1


def test_losses_are_refused_before_anything_is_sent() -> None:
    server = FakeServer(_txt("a.test", "v=spf1 include:x.test -all"), _txt("a.test", "other"))
    records = [Wanted(_txt("a.test", "v=spf1 -all")), Wanted(_txt("_b.test", "x"))]
    with pytest.raises(DnsError, match=r"a\.test\. TXT is .* would lose include:x\.test: .*nothing was changed"):
        publish(server, records, losses=False)
    assert not server.updates
    foreseen = publish(server, records, losses=False, check=True)
    assert [one.lost for one in foreseen.replaced] == [("include:x.test",)]
    more = [Wanted(_txt("a.test", "v=spf1 include:x.test a -all"))]
    assert publish(server, more, losses=False).updates == 1
    assert publish(server, records).updates == 1


def test_a_server_that_drops_a_change_is_found_out() -> None:
    server = FakeServer(ignore="MX")
    server.timeout = 0.1
    with pytest.raises(DnsError, match=r"confirmed the update but does not answer with it for a\.test\. MX"):
        publish(server, [Wanted(Record("a.test.", "MX", 60, "0 ."))])


@pytest.mark.parametrize(
    ("held", "new", "message"),
    [
        (Record("a.test.", "CNAME", 60, "b.test."), _txt("a.test", "x"), "a.test. is a CNAME for b.test."),
        (_txt("a.test", "x"), Record("a.test.", "CNAME", 60, "b.test."), "a.test. has a TXT record"),
    ],
)
def test_nothing_stands_beside_an_alias(held: Record, new: Record, message: str) -> None:
    server = FakeServer(held)
    with pytest.raises(DnsError, match=message):
        publish(server, [Wanted(new)])
    assert not server.updates
    swapped = publish(server, [Wanted(new), Wanted(Record(held.name, held.type, 60, ""), present=False)])
    assert [action.kind for action in server.updates[0]] == ["delete", "add"] and swapped.updates == 1


def test_a_record_outside_the_zone_is_refused_before_anything_is_asked() -> None:
    server = FakeServer(broken=AssertionError("asked"))
    with pytest.raises(DnsError, match=r"a\.other\. TXT does not lie in the zone test\."):
        publish(server, [Wanted(_txt("a.other", "x"))], zone="test")


# -- zone-file fragments ------------------------------------------------------------------------


def test_a_fragment_keeps_what_it_is_not_told_of(tmp_path: Path) -> None:
    path = str(tmp_path / "mail.inc")
    first = [Wanted(_txt("b.test", "x")), Wanted(Record("a.test.", "MX", 60, "0 ."))]
    assert publish_file(path, first, check=True).plan.changed and not Path(path).exists()
    assert publish_file(path, first, mode=0o640).plan.changed
    assert not publish_file(path, first).plan.changed
    assert publish_file(path, [Wanted(_txt("b.test", "y"))]).plan.changed
    assert Path(path).read_text().splitlines()[1:] == ["a.test. 60 IN MX 0 .", 'b.test. 60 IN TXT "y"']
    assert Path(path).stat().st_mode & 0o777 == 0o640
    publish_file(path, [Wanted(Record("a.test.", "MX", 60, ""), present=False)])
    assert Path(path).read_text().splitlines()[1:] == ['b.test. 60 IN TXT "y"']


def test_a_fragment_loses_nothing_unless_it_may(tmp_path: Path) -> None:
    path = tmp_path / "mail.inc"
    publish_file(str(path), [Wanted(_txt("a.test", "v=spf1 a -all"))])
    text = path.read_text()
    with pytest.raises(DnsError, match="would lose a:"):
        publish_file(str(path), [Wanted(_txt("a.test", "v=spf1 -all"))], losses=False)
    assert path.read_text() == text


@pytest.mark.parametrize("line", ["$TTL 300", "a.test. 30\u2070 IN TXT x"])
def test_a_file_of_another_form_is_not_touched(tmp_path: Path, line: str) -> None:
    path = tmp_path / "zone"
    path.write_text(f"; mine\n{line}\n")
    with pytest.raises(DnsError, match="line 2 is not of the form"):
        publish_file(str(path), [Wanted(_txt("b.test", "x"))])
    assert path.read_text() == f"; mine\n{line}\n"


def test_fragments_read_back() -> None:
    text = '; c\n\na.test. 60 IN TXT "a b" "c;"\n'
    assert [str(record) for record in parse_zone_text(text, "x")] == ['a.test. 60 IN TXT "a b" "c;"']
