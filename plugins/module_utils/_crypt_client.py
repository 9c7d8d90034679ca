# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: crypt(3) of the host, which the daemons ask too. Private.

Python's own module of that name is gone since 3.13, and a program would show the password on its command line. The
library is part of every Debian: PAM needs it.
"""

from __future__ import annotations

import ctypes
import hmac
import os

from ansible_collections.postmaster.mail.plugins.module_utils import _hashes

LIBRARY = "libcrypt.so.1"
# About 10 ms on a small server: each login waits for it, and whoever steals the file waits a thousand times as often.
PREFIX, ROUNDS = b"$6$", 20000


class CryptError(Exception):
    """The library is missing or refuses; the message says nothing of the password."""


class Crypt:
    """Makes and compares hashes of passwords."""

    def __init__(self, library: str = LIBRARY) -> None:
        try:
            self._library = ctypes.CDLL(library)
        except OSError as err:
            raise CryptError(f"{library} cannot be loaded: install the package libcrypt1") from err
        for name in ("crypt", "crypt_gensalt"):
            getattr(self._library, name).restype = ctypes.c_char_p

    def _crypt(self, password: str, setting: bytes) -> str:
        found: bytes | None = self._library.crypt(password.encode("utf-8", "surrogateescape"), setting)
        return (found or b"").decode("ascii", "replace")

    def make(self, password: str) -> str:
        """A new hash with a salt of its own. Raises :class:`CryptError`."""
        setting = self._library.crypt_gensalt(PREFIX, ctypes.c_ulong(ROUNDS), os.urandom(16), 16)
        made = self._crypt(password, setting or b"")
        if not _hashes.is_readable(made):
            raise CryptError("crypt(3) of this host makes no hash of the scheme SHA512-CRYPT: is libcrypt1 complete?")
        return made

    def verify(self, password: str, hashed: str) -> bool:
        """Whether the hash was made from that password."""
        if not _hashes.is_readable(hashed):
            return False
        return hmac.compare_digest(self._crypt(password, hashed.encode("ascii")), hashed)
