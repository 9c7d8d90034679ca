# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: outcomes, as the application is told of them. ``timestamp`` is in seconds since the epoch.

``rcpt`` is for our own use (suppression, search) and leaves the house with no event.
"""

from __future__ import annotations

import json
from typing import Any

DELIVERED, BOUNCE, ERROR, SPAM_REPORT, UNSUBSCRIBE = "delivered", "bounce", "error", "spam-report", "unsubscribe"
HARD, SOFT, UNROUTABLE, AUTOREPLY = "hard", "soft", "unroutable", "autoreply"
INTERNAL = frozenset({"rcpt", "fd"})


def dumps(event: str, *, uuid: str | None, now: float, **more: Any) -> bytes:
    """One event; what is None is left out."""
    fields = {"event": event, "uuid": uuid, "timestamp": int(now), **more}
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


def error(msg: str, *, service: str, uuid: str | None, now: float) -> bytes:
    """Something went wrong within; ``service`` names the stage."""
    return dumps(ERROR, uuid=uuid, now=now, msg=msg, service=service)


def bounce(kind: str, *, uuid: str, now: float, reason: str, rcpt: str, ip: str = "") -> bytes:
    """Somebody's server will not have it; ``reason`` is what it said."""
    return dumps(BOUNCE, uuid=uuid, now=now, type=kind, reason=reason, ip=ip, rcpt=rcpt)


def public(event: bytes) -> dict[str, Any]:
    """An event as the application may see it."""
    return {name: value for name, value in json.loads(event).items() if name not in INTERNAL}
