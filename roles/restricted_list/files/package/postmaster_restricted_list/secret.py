# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: what is made from the one secret of the service: tokens, links to download them, links to unsubscribe.

A token is 128 characters, which stand for 512 bits that nobody can guess. The database knows it by its digest alone;
who has the secret can make it again from its number, and so a link to it can work for a while.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass

PREFIX = "RESTRICTED-TOKEN"
TOKEN = re.compile(rb"%s\s+([0-9a-f]{128})" % PREFIX.encode())
LENGTH_LIMIT = 1000  # characters of a link's token


def digest(secret: str) -> str:
    """What is stored of a token or of a credential. They are random, so a plain hash will do."""
    return hashlib.sha256(secret.encode()).hexdigest()


@dataclass(frozen=True)
class Secret:
    """What is secret, 32 bytes or more."""

    key: bytes

    def _mac(self, purpose: str, text: str) -> str:
        return hmac.new(self.key, f"{purpose}\n{text}".encode(), hashlib.sha512).hexdigest()

    def token(self, number: str) -> str:
        """The token of this number, which must be random."""
        return self._mac("token", number)

    def signature(self, number: str, expires: int) -> str:
        """What makes a link to a token's file valid until then, in seconds since the epoch."""
        return self._mac("download", f"{number}\n{expires}")[:64]

    def may_download(self, number: str, expires: str, signature: str, now: float) -> bool:
        """Whether a link is one of ours, and not too old."""
        if not re.fullmatch(r"[0-9]{1,12}", expires) or not signature.isascii() or int(expires) <= now:
            return False
        return hmac.compare_digest(self.signature(number, int(expires)), signature)

    def unsubscribe(self, address: str) -> str:
        """The last part of a link by which this address is opted out."""
        name = base64.urlsafe_b64encode(address.encode()).decode().rstrip("=")
        return f"{name}.{self._mac('unsubscribe', address)[:32]}"

    def address_of(self, word: str) -> str | None:
        """The address that such a link is for; None for one that is not of ours."""
        name, dummy, signature = word.partition(".")
        if len(word) > LENGTH_LIMIT or not word.isascii():
            return None
        try:
            address = base64.urlsafe_b64decode(name + "=" * (-len(name) % 4)).decode()
        except (binascii.Error, ValueError):
            return None
        return address if hmac.compare_digest(self._mac("unsubscribe", address)[:32], signature) else None


def token_file(token: str) -> str:
    """What is attached to a mail."""
    return f"{PREFIX} {token}\n"
