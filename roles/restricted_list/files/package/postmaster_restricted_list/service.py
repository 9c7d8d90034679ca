# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service: the ways in, the way out and HTTP, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import uvicorn
from aiosmtpd.smtp import SMTP

from .api import Api
from .config import Config, ConfigError
from .fanout import Fanout
from .intake import Intake, ListLMTP
from .relay import Relay
from .store import Store

log = logging.getLogger(__name__)

IDENT = "ESMTP"


class _Http(uvicorn.Server):
    """uvicorn, which leaves signals to its caller."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


async def serve(config: Config, stop: asyncio.Event) -> None:
    """Run until ``stop``, then end in order. Raises ConfigError, OSError, BusyError, SQLAlchemyError."""
    secret, store = config.secret(), Store(config.database.get_secret_value())
    tls = tls_of(config)
    store.prepare()
    store.alone()
    fanout = Fanout(config, secret, store, Relay(config.relay))
    intake = Intake(config, store, fanout.wake)
    loop = asyncio.get_running_loop()
    common: dict[str, Any] = {
        "data_size_limit": config.size_limit,
        "hostname": socket.getfqdn(),
        "ident": IDENT,
        "loop": loop,
    }
    servers = []
    if config.lmtp is not None:
        servers.append(await loop.create_server(lambda: ListLMTP(intake, **common), config.lmtp.host, config.lmtp.port))
    if config.smtp is not None:
        more = {**common, "tls_context": tls, "require_starttls": config.smtp.require_tls}
        servers.append(await loop.create_server(lambda: SMTP(intake, **more), config.smtp.host, config.smtp.port))
    work = [asyncio.ensure_future(asyncio.to_thread(fanout.run))]
    http = None
    if config.http is not None:
        http = _http(config, Api(config, secret, store))
        work.append(asyncio.ensure_future(http.serve()))
    _notify("READY=1")
    log.info("up")
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait([stopping, *work], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    for server in servers:
        server.close()
    fanout.stop()
    if http is not None:
        http.should_exit = True
    await asyncio.gather(*work)
    store.close()


def tls_of(config: Config) -> ssl.SSLContext | None:
    """The certificate of SMTP. Raises :class:`ConfigError`."""
    if config.smtp is None or config.smtp.certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(config.smtp.certificate, config.smtp.key)
    except (OSError, ssl.SSLError) as err:
        raise ConfigError(f"smtp.certificate: {config.smtp.certificate} and its key cannot be used: {err}") from None
    return context


def _http(config: Config, api: Api) -> _Http:
    where = config.http
    assert where is not None
    settings = uvicorn.Config(
        api.app(),
        host=where.host,
        port=where.port,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=100,
        timeout_graceful_shutdown=30,
    )
    return _Http(settings)


def run(config: Config) -> None:
    """Run until SIGTERM or SIGINT."""

    async def main() -> None:
        stop = asyncio.Event()
        for one in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(one, stop.set)
        await serve(config, stop)

    asyncio.run(main())


def _notify(state: str) -> None:
    """Tell systemd (sd_notify), where there is one that listens."""
    path = os.environ.get("NOTIFY_SOCKET")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
            one.sendto(state.encode(), "\0" + path[1:] if path.startswith("@") else path)
