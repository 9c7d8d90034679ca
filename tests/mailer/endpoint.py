# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real endpoint for events, on loopback, that answers what a test tells it to."""

from __future__ import annotations

import asyncio
import inspect
import json
import ssl
from collections.abc import Callable
from typing import Any

from .conftest import PATIENCE

Answer = tuple[int, dict[str, str]]


class Endpoint:
    """Keeps each request as (line, headers, events); those it answered with 2xx are ``taken``."""

    def __init__(self, answer: Callable[[list[dict[str, Any]]], Answer] = lambda batch: (200, {})) -> None:
        self.answer = answer
        self.requests: list[tuple[str, dict[str, str], str]] = []
        self.taken: list[dict[str, Any]] = []
        self.port = 0
        self.delay = 0.0  # seconds between taking and saying so
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def start(self, tls: ssl.SSLContext | None = None) -> Endpoint:
        """Listen, where it was before if it was."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            line, *fields = head.strip().split("\r\n")
            headers = {name.lower(): value.strip() for name, dummy, value in (one.partition(":") for one in fields)}
            body = (await reader.readexactly(int(headers.get("content-length", "0")))).decode()
            batch = json.loads(body)
            self.requests.append((line, headers, body))
            status, more = self.answer(batch)
            if 200 <= status < 300:
                self.taken += batch
            await asyncio.sleep(self.delay)
            said = "".join(f"{name}: {value}\r\n" for name, value in more.items())
            writer.write(f"HTTP/1.1 {status} so\r\nContent-Length: 2\r\nConnection: close\r\n{said}\r\nok".encode())
            await writer.drain()
        except (EOFError, OSError):
            pass
        writer.close()


async def until(condition: Callable[[], Any], seconds: float = PATIENCE) -> None:
    """Wait for what a test expects; the condition may be one that is awaited."""
    async with asyncio.timeout(seconds):
        while True:
            found = condition()
            if await found if inspect.isawaitable(found) else found:
                return
            await asyncio.sleep(0.02)
