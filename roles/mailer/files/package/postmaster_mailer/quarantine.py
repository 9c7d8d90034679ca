# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: a directory of messages that were not understood, for a person to look at. The oldest go when it is full."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path


class Quarantine:
    """Keeps up to ``count`` files ``*.eml`` with up to ``size`` bytes in all."""

    def __init__(self, folder: Path, *, count: int, size: int, now: Callable[[], float] = time.time) -> None:
        self._folder, self._count, self._size, self._now = folder, count, size, now
        self._turn = asyncio.Lock()

    async def keep(self, raw: bytes) -> Path:
        """Keep a message; its file. Raises OSError."""
        async with self._turn:
            return await asyncio.to_thread(self._keep, raw)

    def _keep(self, raw: bytes) -> Path:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The time first, so that names sort by age.
        path = self._folder / f"{int(self._now() * 1_000_000):020d}-{secrets.token_hex(4)}.eml"
        part = path.with_suffix(".part")
        try:
            with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
            part.rename(path)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        self._prune()
        return path

    def _prune(self) -> None:
        """Let the oldest go. Another process may do the same at the same time."""
        count = size = 0
        for path in sorted(self._folder.glob("*.eml"), reverse=True):
            with contextlib.suppress(FileNotFoundError):
                count, size = count + 1, size + path.stat().st_size
                if count > self._count or size > self._size:
                    path.unlink()
        for left in self._folder.glob("*.part"):  # by a process that died
            with contextlib.suppress(FileNotFoundError):
                if left.stat().st_mtime < self._now() - 3600:
                    left.unlink()
