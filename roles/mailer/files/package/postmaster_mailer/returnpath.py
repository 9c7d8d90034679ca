# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: addresses that say which message an answer belongs to, and that only we can make.

``bounce-<uuid>-<mac>@<return-path-domain>`` takes bounces, ``unsub-<uuid>-<mac>@...`` those who want no more. The mac
is the start of an HMAC over kind and uuid: a stranger who knows a uuid can report nothing in its name.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass

UUID = re.compile(r"[a-z0-9]{1,40}")  # with the rest it fills the 64 bytes of a local part (RFC 5321 section 4.5.3.1.1)
BOUNCE, UNSUBSCRIBE = "bounce", "unsub"
SHORTEST_SECRET = 32  # bytes
_BYTES, _MAC = 10, 16  # of the digest, and the characters of base32 that they make
_ADDRESS = re.compile(rf"(bounce|unsub)-({UUID.pattern})(?:-([a-z2-7]{{{_MAC}}}))?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Answered:
    """What an address of ours stands for; ``proven`` if its mac is right."""

    kind: str
    uuid: str
    proven: bool


def mac(secret: bytes, kind: str, uuid: str) -> str:
    """The mark that only a holder of the secret can make."""
    digest = hmac.digest(secret, f"{kind}:{uuid}".encode(), hashlib.sha256)
    return base64.b32encode(digest[:_BYTES]).decode().lower()


def local_part(secret: bytes, kind: str, uuid: str) -> str:
    """The local part that answers of this kind for this message go to."""
    return f"{kind}-{uuid}-{mac(secret, kind, uuid)}"


def read(secrets: tuple[bytes, ...], local: str) -> Answered | None:
    """What a local part stands for; None if it is none of ours. Several secrets: the old ones count while mail is out.

    Case does not matter: some servers change it on the way.
    """
    found = _ADDRESS.fullmatch(local)
    if not found:
        return None
    kind, uuid, given = found[1].lower(), found[2].lower(), (found[3] or "").lower()
    proven = any(hmac.compare_digest(mac(secret, kind, uuid), given) for secret in secrets)
    return Answered(kind, uuid, proven)
