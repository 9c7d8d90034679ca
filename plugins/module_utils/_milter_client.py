# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: hand one message to a milter as an MTA would, and get back what it made of it. Private to this collection.

Speaks version 6 of the protocol that Postfix and Sendmail speak to milters, as documented with libmilter. No
mail goes anywhere: what comes back is what the MTA would have sent on.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence

VERSION = 6
ALL_ACTIONS = 0x1FF  # add, change and insert headers, change the body, recipients and sender, quarantine
# By command: the flag by which a milter says that it wants none, and the one by which it says that it sends no reply.
SHORTCUTS = {
    b"C": (0x1, 0x1000),
    b"H": (0x2, 0x2000),
    b"M": (0x4, 0x4000),
    b"R": (0x8, 0x8000),
    b"T": (0x200, 0x10000),
    b"L": (0x20, 0x80),
    b"N": (0x40, 0x40000),
    b"B": (0x10, 0x80000),
}
ALL_SHORTCUTS = sum(unwanted | silent for unwanted, silent in SHORTCUTS.values())
PACKET_LIMIT = 1 << 24  # octets; a reply is never near that
FINAL = {b"a": "", b"c": "", b"d": "it dropped the message", b"r": "it refused the message", b"t": "it cannot sign now"}

Header = tuple[str, str]


class MilterError(Exception):
    """The milter did not take or did not answer; the message is one sentence."""


class Milter:
    """One connection to a milter on TCP, used once."""

    def __init__(self, address: str, port: int, *, timeout: float = 10) -> None:
        self.where = f"{address} port {port}"
        self._flags = 0
        try:
            self._socket = socket.create_connection((address, port), timeout=timeout)
        except OSError as err:
            raise MilterError(f"the signer at {self.where} cannot be reached: {err.strerror or err}") from err

    def pass_through(self, sender: str, recipient: str, headers: Sequence[Header], body: str) -> list[Header]:
        """The headers that the milter puts before a message from the host itself. Raises :class:`MilterError`."""
        try:
            with self._socket:
                return self._converse(sender, recipient, headers, body)
        except (OSError, EOFError, struct.error) as err:
            raise MilterError(f"the signer at {self.where} ended the conversation: {err or 'no answer'}") from err

    def _converse(self, sender: str, recipient: str, headers: Sequence[Header], body: str) -> list[Header]:
        self._send(b"O", struct.pack("!III", VERSION, ALL_ACTIONS, ALL_SHORTCUTS))
        reply, data = self._receive()
        if reply != b"O":
            raise MilterError(f"what answers at {self.where} is no milter")
        self._flags = struct.unpack("!III", data[:12])[2]
        self._command(b"C", b"localhost\x004" + struct.pack("!H", 25) + b"127.0.0.1\x00")
        self._command(b"H", b"localhost\x00")
        self._send(b"D", b"Mi\x00postmaster-mail-probe\x00")  # the queue identifier, which signers write to their log
        self._command(b"M", f"<{sender}>\x00".encode())
        self._command(b"R", f"<{recipient}>\x00".encode())
        self._command(b"T", b"")
        for name, value in headers:
            self._command(b"L", f"{name}\x00{value}\x00".encode())
        self._command(b"N", b"")
        self._command(b"B", body.encode())
        self._send(b"E", b"")
        added = list(self._changes())
        self._send(b"Q", b"")
        return added

    def _changes(self) -> Iterator[Header]:
        """What the milter does with a message that is complete."""
        while True:
            reply, data = self._receive()
            if reply == b"h":
                yield _header(data)
            elif reply == b"i":
                yield _header(data[4:])
            elif reply == b"y":
                raise MilterError(self._said(data))
            elif reply in FINAL:
                if FINAL[reply]:
                    raise MilterError(f"the signer at {self.where} did not sign: {FINAL[reply]}")
                return

    def _command(self, command: bytes, data: bytes) -> None:
        unwanted, silent = SHORTCUTS[command]
        if self._flags & unwanted:
            return
        self._send(command, data)
        if self._flags & silent:
            return
        reply, text = self._receive()
        if reply == b"y":
            raise MilterError(self._said(text))
        if reply != b"c":
            why = FINAL.get(reply) or "it takes no further interest, so it does not sign mail of this host"
            raise MilterError(f"the signer at {self.where} did not sign: {why}")

    def _said(self, text: bytes) -> str:
        return f"the signer at {self.where} says: {text.rstrip(bytes(1)).decode('ascii', 'replace')}"

    def _send(self, command: bytes, data: bytes) -> None:
        self._socket.sendall(struct.pack("!I", len(data) + 1) + command + data)

    def _receive(self) -> tuple[bytes, bytes]:
        """The next reply; signs of life on the way are passed over."""
        while True:
            (size,) = struct.unpack("!I", self._exactly(4))
            if not 0 < size < PACKET_LIMIT:
                raise MilterError(f"what answers at {self.where} is no milter")
            packet = self._exactly(size)
            if packet[:1] != b"p":
                return packet[:1], packet[1:]

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self._socket.recv(size - len(data))
            if not part:
                raise EOFError("it closed the connection")
            data += part
        return data


def _header(data: bytes) -> Header:
    name, value, *dummy = data.decode("utf-8", "replace").split("\x00")
    return name, value
