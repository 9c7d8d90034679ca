# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Name servers that are some milliseconds away, on a machine whose kernel has no netem.

A network namespace holds the servers' addresses itself; what is asked there on port 53, by UDP or TCP, is handed to the
real servers after half of the round trip, and the answer after the other half. Programs in the namespace reach
nothing else. Started as a program it does so until it is ended: NAMESPACE MILLISECONDS ADDRESS...
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

DNS = 53
CLONE_NEWNET = 0x40000000
FORGOTTEN = 20.0  # seconds after which no answer is waited for


@contextlib.contextmanager
def away(name: str, milliseconds: float, addresses: Sequence[str]) -> Iterator[list[str]]:
    """What to put before a command so that it meets servers that are ``milliseconds`` there and back away."""
    ip = ["ip", "-n", name]
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run([*ip, "link", "set", "lo", "up"], check=True)
        for address in addresses:
            subprocess.run([*ip, "address", "add", address, "dev", "lo"], check=True)
        argv = [sys.executable, __file__, name, str(milliseconds), *addresses]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as link:
            assert link.stdout is not None
            try:
                if link.stdout.readline() != b"up\n":
                    raise SystemExit("the distance to the name servers cannot be made")
                yield ["ip", "netns", "exec", name]
            finally:
                link.terminate()
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


@contextlib.contextmanager
def _inside(name: str) -> Iterator[None]:
    """Sockets made meanwhile belong to the namespace."""
    here = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(Path("/run/netns") / name, os.O_RDONLY)
    try:
        _enter(there)
        yield
    finally:
        _enter(here)
        os.close(here)
        os.close(there)


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _bound(kind: socket.SocketKind, address: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, DNS))
    if kind == socket.SOCK_STREAM:
        sock.listen(1024)
    sock.setblocking(False)
    return sock


class _Questions(asyncio.DatagramProtocol):
    """What is asked by UDP. Whoever asks gets a socket of his own to the server."""

    def __init__(self, address: str, delay: float) -> None:
        self._address, self._delay = address, delay

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._asked: asyncio.DatagramTransport = transport  # type: ignore[assignment]
        self._loop = asyncio.get_running_loop()
        self._out: dict[object, asyncio.DatagramTransport] = {}

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._loop.call_later(self._delay, lambda: asyncio.ensure_future(self._pass_on(data, addr)))

    async def _pass_on(self, data: bytes, asker: object) -> None:
        out = self._out.get(asker)
        if out is None:
            made = await self._loop.create_datagram_endpoint(
                lambda: _Answers(self._asked, asker, self._delay), remote_addr=(self._address, DNS)
            )
            out = self._out[asker] = made[0]
            self._loop.call_later(FORGOTTEN, self._forget, asker, out)
        out.sendto(data)

    def _forget(self, asker: object, out: asyncio.DatagramTransport) -> None:
        self._out.pop(asker, None)
        out.close()


class _Answers(asyncio.DatagramProtocol):
    def __init__(self, back: asyncio.DatagramTransport, asker: object, delay: float) -> None:
        self._back, self._asker, self._delay = back, asker, delay

    def datagram_received(self, data: bytes, addr: object) -> None:
        del addr
        asyncio.get_running_loop().call_later(self._delay, self._back.sendto, data, self._asker)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            await asyncio.sleep(delay)
            writer.write(data)
            await writer.drain()
    writer.close()


async def _link(name: str, milliseconds: float, addresses: Sequence[str]) -> None:
    delay, loop = milliseconds / 2000, asyncio.get_running_loop()
    with _inside(name):
        bound = [(one, _bound(socket.SOCK_DGRAM, one), _bound(socket.SOCK_STREAM, one)) for one in addresses]
    for address, udp, tcp in bound:

        async def taken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str = address) -> None:
            await asyncio.sleep(2 * delay)  # the handshake
            reader_there, writer_there = await asyncio.open_connection(address, DNS)
            await asyncio.gather(_pump(reader, writer_there, delay), _pump(reader_there, writer, delay))

        await loop.create_datagram_endpoint(lambda address=address: _Questions(address, delay), sock=udp)  # type: ignore[misc]
        await asyncio.start_server(taken, sock=tcp)
    print("up", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_link(sys.argv[1], float(sys.argv[2]), sys.argv[3:]))
