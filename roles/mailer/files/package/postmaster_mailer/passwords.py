# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may hand mail in: passwords checked against hashes, without a flood of guesses taking the processor.

A right password is remembered for some minutes as a keyed digest, whose key lives as long as the process. Wrong ones
cost a hash each, of which only a few are made at a time; who guesses too often waits.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from .config import Login
from .limits import CLIENTS, WINDOW, network

REMEMBERED = 300.0  # seconds
GUESSES = 10  # wrong passwords from a network within WINDOW before it must wait


class TooManyError(Exception):
    """This network has guessed too often."""


class Passwords:
    """The logins. Plain passwords of a configuration are hashed at once and forgotten."""

    def __init__(self, logins: tuple[Login, ...], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._hasher = PasswordHasher()
        self._hashes: Mapping[str, str] = {one.username: self._hash_of(one) for one in logins}
        # So that a name nobody has takes as long as one that somebody has.
        self._nobody = self._hasher.hash(secrets.token_hex())
        self._key = secrets.token_bytes(32)
        self._right: dict[bytes, float] = {}
        self._wrong: dict[str, list[float]] = {}
        self._asked: dict[bytes, asyncio.Task[bool]] = {}
        self._clock = clock
        self._pool = ThreadPoolExecutor(2, "passwords")

    def _hash_of(self, login: Login) -> str:
        if login.password_hash is not None:
            return login.password_hash.get_secret_value()
        assert login.password is not None
        return self._hasher.hash(login.password.get_secret_value())

    async def right(self, user: str, password: str, peer: str) -> bool:
        """Whether that is the user's password. Raises :class:`TooManyError`."""
        now, peer = self._clock(), network(peer)
        digest = hmac.digest(self._key, f"{user}\0{password}".encode("utf-8", "surrogatepass"), hashlib.sha256)
        if self._right.get(digest, 0) > now:
            return True
        # The same at once is asked once: an application may open many connections before the first answer.
        asked = self._asked.get(digest)
        if asked is None:
            recent = [when for when in self._wrong.get(peer, ()) if when > now - WINDOW]
            if len(recent) >= GUESSES:
                raise TooManyError(f"{peer} has given {GUESSES} wrong passwords within a minute")
            # Counted before it is known, so that many at once are no way around.
            self._count(peer, [*recent, now])
            asked = self._asked[digest] = asyncio.create_task(self._ask(user, password, peer, digest))
            asked.add_done_callback(lambda dummy: self._asked.pop(digest))
        return await asyncio.shield(asked)

    async def _ask(self, user: str, password: str, peer: str, digest: bytes) -> bool:
        stored = self._hashes.get(user)
        loop = asyncio.get_running_loop()
        fits = await loop.run_in_executor(self._pool, self._verify, stored or self._nobody, password)
        if not fits or stored is None:
            return False
        now = self._clock()
        self._wrong.pop(peer, None)
        self._right = {known: until for known, until in self._right.items() if until > now}
        self._right[digest] = now + REMEMBERED
        return True

    def _count(self, peer: str, times: list[float]) -> None:
        self._wrong.pop(peer, None)
        self._wrong[peer] = times
        if len(self._wrong) > CLIENTS:
            del self._wrong[next(iter(self._wrong))]

    def _verify(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (Argon2Error, InvalidHashError, UnicodeError):
            return False
