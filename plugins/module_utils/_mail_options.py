# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of a mailbox that a module reads by IMAP, shared by the modules that do. Private."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._imap_client import Mailbox

# no_log as a whole: the host's log shows a dictionary as it prints, where a password with a quote or a backslash
# looks different from itself and is not recognised. A module narrows this after its start by secrets().
IMAP: dict[str, Any] = {
    "type": "dict",
    "no_log": True,
    "options": {
        "host": {"type": "str", "required": True},
        "port": {"type": "int", "default": 993},
        "username": {"type": "str", "required": True},
        "password": {"type": "str", "required": True, "no_log": True},
        "folder": {"type": "str", "default": "INBOX"},
        "ca_path": {"type": "path"},
    },
}


def secrets(*options: Mapping[str, Any] | None) -> set[str]:
    """The passwords among options of connections."""
    return {str(option["password"]) for option in options if option and option.get("password")}


def mailbox(option: Mapping[str, Any], *, timeout: float = 30) -> Mailbox:
    """The mailbox that the option describes."""
    return Mailbox(
        host=option["host"],
        username=option["username"],
        password=option["password"],
        port=option["port"],
        folder=option["folder"],
        ca_path=option["ca_path"] or "",
        timeout=timeout,
    )
