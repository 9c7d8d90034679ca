# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is outside of the container, within it: an MX at port 2525, an endpoint for events at 8099.

What they take lies in /out afterwards, a file each.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from pathlib import Path

OUT = Path("/out")
NUMBERS = itertools.count()


def keep(kind: str, data: bytes) -> None:
    """Under a name that no run of this program has used before."""
    path = OUT / f"{kind}-{os.getpid()}-{next(NUMBERS)}"
    path.with_suffix(".new").write_bytes(data)
    path.with_suffix(".new").rename(path)


async def smtp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mx.example.net ESMTP\r\n")
    while line := await reader.readline():
        if line[:4].upper() == b"DATA":
            writer.write(b"354 go on\r\n")
            keep("mail", await reader.readuntil(b"\r\n.\r\n"))
        elif line[:4].upper() == b"QUIT":
            break
        writer.write(b"250 2.0.0 fine\r\n")
    writer.close()


async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    keep("event", await reader.readexactly(int(head.partition("content-length:")[2].split()[0])))
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    await writer.drain()
    writer.close()


async def main() -> None:
    await asyncio.start_server(smtp, "127.0.0.1", 2525, limit=1 << 22)
    await asyncio.start_server(http, "127.0.0.1", 8099, limit=1 << 22)
    await asyncio.Event().wait()


asyncio.run(main())
