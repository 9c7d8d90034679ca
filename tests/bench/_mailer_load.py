# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who sends and who takes in the mailer's benchmarks: both know a message by its number and write down when it was theirs.

They share the processors with what is measured, so they do little. Times lie in memory that all processes share.
"""

from __future__ import annotations

import asyncio
import base64
import mmap
import multiprocessing
import os
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvloop

SINK_PORT = 2525
END = b"\r\n.\r\n"
MARK = b"Subject: number "
LIMIT = 1_000_000  # messages of one run
LINE = b"This is a line of a letter that says nothing at all, again and again.\r\n"
PATIENCE = 120.0  # seconds that nothing may arrive
_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # the certificates of the world, which take long to read, are not needed
_TLS.check_hostname, _TLS.verify_mode = False, ssl.CERT_NONE


class Times:
    """When each message was due, was taken with 250, and arrived; in seconds of the monotonic clock, 0 for never."""

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, 3 * 8 * LIMIT)
        whole = memoryview(self._map).cast("d")
        self.due, self.taken, self.arrived = whole[:LIMIT], whole[LIMIT : 2 * LIMIT], whole[2 * LIMIT :]

    def clear(self, count: int) -> None:
        """Forget the last run."""
        for one in (self.due, self.taken, self.arrived):
            one[:count] = memoryview(bytes(8 * count)).cast("d")

    def wait(self, count: int) -> None:
        """Until all have arrived. Raises TimeoutError if nothing comes for long: something was lost."""
        last, since = -1, time.monotonic()
        while (there := sum(map(bool, self.arrived[:count].tolist()))) < count:
            if there != last:
                last, since = there, time.monotonic()
            if time.monotonic() - since > PATIENCE:
                raise TimeoutError(f"only {there} of {count} messages have arrived")
            time.sleep(0.1)


@dataclass(frozen=True)
class Door:
    """Where mail is handed in, over so many connections; with a login TLS is started first."""

    port: int
    connections: int = 10
    login: tuple[str, str] | None = None


def message(number: int, size: int, *, token: str) -> bytes:
    """A message of about ``size`` bytes, dot and all."""
    head = (
        b"X-Uuid: %sn%d\r\nFrom: Shop <shop@example.org>\r\nTo: Ann <ann%d@example.com>\r\n"
        % (token.encode(), number, number)
        + b"%s%d\r\nDate: Sun, 29 Nov 2026 01:00:00 +0000\r\nMIME-Version: 1.0\r\n" % (MARK, number)
        + b"Message-ID: <%s.%d@example.org>\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
        % (token.encode(), number)
    )
    return head + LINE * ((size - len(head)) // len(LINE)) + b".\r\n"


class _Sink(asyncio.Protocol):
    def __init__(self, times: Times) -> None:
        self._times, self._buffer, self._text = times, bytearray(), False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(b"220 sink ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        said = bytearray()
        while (end := self._buffer.find(END if self._text else b"\r\n")) >= 0:
            if self._text:
                mark = self._buffer.find(MARK) + len(MARK)
                number = int(self._buffer[mark : self._buffer.find(b"\r\n", mark)])
                self._times.arrived[number] = self._times.arrived[number] or time.monotonic()
                del self._buffer[: end + len(END)]
                self._text = False
                said += b"250 2.0.0 taken\r\n"
                continue
            verb = bytes(self._buffer[:4]).upper()
            del self._buffer[: end + 2]
            if verb == b"EHLO":
                said += b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 100000000\r\n"
            elif verb == b"DATA":
                self._text = True
                said += b"354 go on\r\n"
            elif verb == b"QUIT":
                self._transport.write(b"221 bye\r\n")
                self._transport.close()
                return
            else:
                said += b"250 2.0.0 ok\r\n"
        if said:
            self._transport.write(said)


async def _serve(times: Times, ready: Any) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: _Sink(times), "127.0.0.1", SINK_PORT, backlog=1000)
    ready.set()
    await server.serve_forever()


class _Client:
    """One connection that hands mail in."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._door.port)
        await self._reply()
        await self._said(b"EHLO bench")
        if self._door.login is not None:
            await self._said(b"STARTTLS")
            await self._writer.start_tls(_TLS)
            await self._said(b"EHLO bench")
            await self._said(b"AUTH PLAIN " + base64.b64encode("\0".join(["", *self._door.login]).encode()))

    async def send(self, number: int, text: bytes) -> None:
        """Hand over one message; it must be taken."""
        self._writer.write(b"MAIL FROM:<shop@example.org>\r\nRCPT TO:<ann%d@example.com>\r\nDATA\r\n" % number)
        for dummy in range(3):
            await self._reply()
        self._writer.write(text)
        await self._reply()

    async def _said(self, words: bytes) -> None:
        self._writer.write(words + b"\r\n")
        await self._reply()

    async def _reply(self) -> None:
        while (line := await self._reader.readuntil(b"\r\n"))[3:4] == b"-":
            pass
        if line[:1] not in b"23":
            raise ConnectionError(line.decode())

    def close(self) -> None:
        self._writer.close()


async def _send(
    doors: Sequence[Door], times: Times, numbers: Iterator[int], make: Callable[[int], bytes], pace: float | None
) -> None:
    """All numbers; ``pace`` is the messages a second that are due, None for as fast as they are taken."""
    clients = [_Client(door) for door in doors for dummy in range(door.connections)]
    await asyncio.gather(*(one.open() for one in clients))
    start = time.monotonic() + 0.05
    shared = enumerate(numbers)

    async def work(client: _Client) -> None:
        for at, number in shared:
            due = start + at / pace if pace else time.monotonic()
            times.due[number] = due
            if pace and (left := due - time.monotonic()) > 0:
                await asyncio.sleep(left)
            await client.send(number, make(number))
            times.taken[number] = time.monotonic()
        client.close()

    await asyncio.gather(*(work(one) for one in clients))


class Load:
    """A sink that runs, and a sender for as often as it is asked."""

    def __init__(self) -> None:
        self.times = Times()
        self._runs = 0
        self._context = multiprocessing.get_context("fork")

    @contextmanager
    def sink(self) -> Iterator[None]:
        """Have the sink run."""
        ready = self._context.Event()
        process = self._context.Process(target=lambda: uvloop.run(_serve(self.times, ready)), daemon=True)
        process.start()
        ready.wait(20)
        try:
            yield
        finally:
            process.kill()
            process.join()

    def send(
        self, doors: Sequence[Door], count: int, size: int, *, pace: float | None = None, wait: bool = True
    ) -> None:
        """Hand ``count`` messages in, each with a number, and wait until they are at the sink. Raises TimeoutError."""
        self._runs += 1
        token = f"r{os.getpid()}x{self._runs}"
        self.times.clear(count)
        process = self._context.Process(
            target=lambda: uvloop.run(
                _send(doors, self.times, iter(range(count)), lambda number: message(number, size, token=token), pace)
            )
        )
        process.start()
        process.join()
        if process.exitcode:
            raise ConnectionError("a message was not taken, see above")
        if wait:
            self.times.wait(count)

    def rate(self, doors: Sequence[Door], count: int, size: int) -> float:
        """Messages a second, from the first that is sent until the last is at the sink."""
        self.send(doors, count, size)
        times = self.times
        return count / (max(times.arrived[:count]) - min(times.due[:count]))

    def latencies(self, doors: Sequence[Door], count: int, size: int, pace: float) -> list[float]:
        """Seconds from when each was due until it was at the sink, sorted."""
        self.send(doors, count, size, pace=pace)
        pairs = zip(self.times.arrived[:count], self.times.due[:count], strict=True)
        return sorted(arrived - due for arrived, due in pairs)
