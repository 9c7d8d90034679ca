# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: a connection to a server, over TCP or a socket of this host."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any


def is_socket(host: str) -> bool:
    """Whether it is the path of a socket instead of a name or an address."""
    return host.startswith("/")


async def connection(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """To a server; ``port`` is nothing to a socket. Raises OSError."""
    if is_socket(host):
        return await asyncio.open_unix_connection(host)
    # uvloop has none of it; stages ask addresses alone, which it makes no difference to.
    happy: dict[str, Any] = (
        {"happy_eyeballs_delay": 0.25} if isinstance(asyncio.get_running_loop(), asyncio.BaseEventLoop) else {}
    )
    return await asyncio.open_connection(host, port, **happy)


def open_to_all(path: Path) -> bool:
    """Whether any user of this host can reach a socket: it lets him write, and all folders above it let him through.

    Raises OSError.
    """
    return bool(path.stat().st_mode & 0o002) and all(folder.stat().st_mode & 0o001 for folder in path.parents)
