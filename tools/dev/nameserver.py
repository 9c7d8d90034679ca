# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A name server for tests without a network: answers from a table, over UDP, on a port of its own."""

from __future__ import annotations

import socketserver
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

TYPES = {"MX": 15, "TXT": 16}
ANSWER, RECURSION = 0x8180, 0x0100  # flags: a resolver's answer; RD of the question is among them


def rdata(kind: str, text: str) -> bytes:
    """The wire form of ``10 mx.example.org`` (MX) or of a text (TXT) of at most 255 octets."""
    if kind == "TXT":
        return bytes([len(text)]) + text.encode("ascii")
    preference, name = text.split()
    labels = b"".join(bytes([len(label)]) + label.encode("ascii") for label in name.split("."))
    return struct.pack("!H", int(preference)) + labels + b"\0"


def answer(question: bytes, table: Mapping[tuple[str, str], str]) -> bytes:
    """What is said to a question: the record that ``table`` has by name and type, or that there is none."""
    end = question.index(0, 12) + 5
    labels, place = [], 12
    while question[place]:
        labels.append(question[place + 1 : place + 1 + question[place]].decode("latin-1").lower())
        place += 1 + question[place]
    number = struct.unpack("!H", question[end - 4 : end - 2])[0]
    kind = next((name for name, value in TYPES.items() if value == number), "")
    text = table.get((".".join(labels), kind))
    head = question[:2] + struct.pack("!HHHHH", ANSWER, 1, 0 if text is None else 1, 0, 0)
    if text is None:
        return head + question[12:end]
    data = rdata(kind, text)
    return head + question[12:end] + struct.pack("!HHHIH", 0xC00C, number, 1, 60, len(data)) + data


@contextmanager
def serving(table: Mapping[tuple[str, str], str]) -> Iterator[str]:
    """Serve ``table`` as long as the context lasts; its value is ``address@port``."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            data, sock = self.request
            sock.sendto(answer(data, table), self.client_address)

    with socketserver.ThreadingUDPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1@{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
