# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: outcomes, as the application is told of them. ``timestamp`` is in seconds since the epoch.

``rcpt`` (the recipients), ``fd`` (the domain it came from) and ``unproven`` (who says so may be anybody) are for our
own use, suppression and search, and leave the house with no event.
"""

from __future__ import annotations

import json
import re
from typing import Any

DELIVERED, BOUNCE, ERROR, SPAM_REPORT, UNSUBSCRIBE = "delivered", "bounce", "error", "spam-report", "unsubscribe"
KINDS = frozenset({DELIVERED, BOUNCE, ERROR, SPAM_REPORT, UNSUBSCRIBE})
LATEST = 253_402_300_800  # seconds: the end of the year 9999
HARD, SOFT, UNROUTABLE, AUTOREPLY = "hard", "soft", "unroutable", "autoreply"
# Of what strangers' servers say: halves of characters, which are no UTF-8, and what orders terminals about.
_ODD = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
INTERNAL = frozenset({"rcpt", "fd", "unproven"})


def dumps(event: str, *, uuid: str | None, now: float, **more: Any) -> bytes:
    """One event; what is None is left out."""
    fields = {"event": event, "uuid": uuid, "timestamp": int(now), **more}
    return json.dumps({name: plain(value) for name, value in fields.items() if value is not None}).encode()


def plain(value: Any) -> Any:
    """The same with U+FFFD for each character that no text should have, in all texts of a value of JSON."""
    if isinstance(value, str):
        return _ODD.sub("\ufffd", value.replace("\r\n", "\n"))
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {plain(name): plain(one) for name, one in value.items()}
    return value


def error(msg: str, *, service: str, uuid: str | None, now: float) -> bytes:
    """Something went wrong within; ``service`` names the stage."""
    return dumps(ERROR, uuid=uuid, now=now, msg=msg, service=service)


def bounce(kind: str, *, uuid: str, now: float, reason: str, rcpt: str, ip: str = "") -> bytes:
    """Somebody's server will not have it; ``reason`` is what it said."""
    return dumps(BOUNCE, uuid=uuid, now=now, type=kind, reason=reason, ip=ip, rcpt=rcpt)


def loads(data: bytes) -> dict[str, Any]:
    """An event of the stream; ``rcpt`` is a list, if an empty one. Raises ValueError for what is none."""
    event = json.loads(data)
    if not isinstance(event, dict) or str(event.get("event")) not in KINDS:
        raise ValueError("it has no event that is known")
    when = event.get("timestamp")
    if not isinstance(when, int) or isinstance(when, bool) or not 0 <= when < LATEST:
        raise ValueError("its timestamp is no number of seconds since 1970")
    if not all(_is_text(event.get(name) or "") for name in ("uuid", "streamid", "fd")):
        raise ValueError("its uuid, streamid or fd is no text")
    named = event.get("rcpt") or []
    event["rcpt"] = [one for one in (named if isinstance(named, list) else [named]) if _is_text(one) and one]
    return event


def _is_text(value: object) -> bool:
    """Whether it is a text that can be written as UTF-8, which JSON does not promise."""
    return isinstance(value, str) and value == value.encode("utf-8", "replace").decode()


def public(event: bytes) -> dict[str, Any]:
    """An event as the application may see it."""
    return {name: value for name, value in plain(json.loads(event)).items() if name not in INTERNAL}
