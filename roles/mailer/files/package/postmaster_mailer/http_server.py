# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: HTTP from the server's side: uvicorn, and what it lacks against clients that never finish what they begin."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Sequence
from typing import Any

import uvicorn
from pydantic import IPvAnyNetwork
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .config import Listen

HEAD_LIMIT = 65_536  # bytes before the body
HEAD_SECONDS = 10.0  # to send them in; a body that nobody wants any more is thrown away for no longer either
KEEP_SECONDS = 75  # between two requests; longer than reverse proxies keep a connection
CONNECTIONS = 1000
DRAIN = 30  # seconds that requests under way get at a stop


class Protocol(HttpToolsProtocol):
    """A connection whose client must say what it wants, soon and in a few words."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See :class:`asyncio.Protocol`."""
        super().connection_made(transport)
        self._head = 0  # bytes of a header that is not whole yet
        self._in_head = False
        self._known: Any = self
        self._look_at_clock()

    def data_received(self, data: bytes) -> None:
        """See :class:`asyncio.Protocol`."""
        super().data_received(data)
        self._head = self._head + len(data) if self._in_head else 0
        if self._head > HEAD_LIMIT and not self.transport.is_closing():
            self.send_400_response("The header is too long.")

    def on_message_begin(self) -> None:
        """See :class:`httptools.HttpRequestParser`."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """See :class:`httptools.HttpRequestParser`."""
        self._in_head = False
        super().on_headers_complete()

    def _look_at_clock(self) -> None:
        if self.transport.is_closing():
            return
        idle = self.cycle is None or self.cycle.response_complete
        if self.timeout_keep_alive_task is not None and not self._in_head:
            idle = False  # it is quiet between two requests, for which uvicorn has a time of its own
        if idle and self._known is self.cycle:
            self.transport.close()
            return
        # Two looks that find the same and no request under way: none was finished in the time between.
        self._known = self.cycle if idle else self
        self.loop.call_later(HEAD_SECONDS, self._look_at_clock)


def behind(app: ASGIApp, proxies: Sequence[IPvAnyNetwork]) -> ASGIApp:
    """The application, which takes a peer's address from X-Forwarded-For where a host of these networks says so."""
    if not proxies:
        return app
    return ProxyHeadersMiddleware(app, [str(one) for one in proxies])  # type: ignore[arg-type, return-value]


def listening(bind: Listen) -> socket.socket:
    """A socket that other processes of the stage may listen beside. Raises OSError."""
    found = socket.getaddrinfo(bind.inet_interface, bind.inet_port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return socket.create_server(found[4][:2], family=found[0], reuse_port=True)


class Server(uvicorn.Server):
    """uvicorn, which leaves signals to its caller. Set ``should_exit`` to end ``serve()`` in order."""

    def __init__(self, app: ASGIApp, bind: Listen) -> None:
        settings = uvicorn.Config(
            app,
            host=bind.inet_interface,
            port=bind.inet_port,
            http=Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=CONNECTIONS,
            timeout_keep_alive=KEEP_SECONDS,
            timeout_graceful_shutdown=DRAIN,
        )
        super().__init__(settings)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    def leave(self) -> None:
        """Take no more connections, answer what is under way, and end."""
        self.should_exit = True
