# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The option by which modules take whole files, documented in the fragment ``configuration_files``. Private."""

from __future__ import annotations

import re
from typing import Any

FILES: dict[str, Any] = {
    "type": "list",
    "elements": "dict",
    "default": [],
    # Kept out of the host's log as a whole: Ansible searches the log's text for secrets, and does not
    # find one that has a backslash, a quotation mark or a line feed, for there it is written otherwise.
    "no_log": True,
    "options": {
        "path": {"type": "str", "required": True},
        "content": {"type": "str", "required": True, "no_log": True},
        "secret": {"type": "bool", "default": False, "no_log": False},
        "mode": {"type": "raw"},
        "owner": {"type": "str", "default": "root"},
        "group": {"type": "str", "default": "root"},
    },
}


class ModeError(ValueError):
    """A mode that is none; the message names the item."""


def parse_mode(raw: object, what: str) -> int | None:
    """Permission bits from ``"0640"`` or a YAML octal number; None stays None. Raises :class:`ModeError`."""
    if raw is None:
        return None
    if isinstance(raw, str) and re.fullmatch(r"0?o?[0-7]{3,4}", raw):
        return int(raw.replace("o", ""), 8)
    if isinstance(raw, int) and not isinstance(raw, bool) and 0 <= raw <= 0o777:
        return raw
    raise ModeError(f"{what}: {raw!r} is no mode; write it in quotes, such as '0640'")
