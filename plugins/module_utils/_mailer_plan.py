# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Values: which of the mailer's settings each of its stages gets to see.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

A stage reads a file of its own, with its own section and what all share. Of the sections of other stages it gets the
few keys that it works with, so that no stage knows a secret that it does not need. What is secret stands apart, and so
does what names a file that systemd hands to the stage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

RUN = "/run/postmaster-mailer"
# In the order in which they start; they stop the other way round.
SECTIONS = {
    "redis": "redis",
    "backdata": "backdata",
    "mxserver": "mxserver",
    "postfix": "postfixlog",
    "transformer": "transformer",
    "receiver": "receiver",
    "http-receiver": "httpreceiver",
}
OTHERS = "common-config"  # credentials of the object storage
# Keys of other stages' sections that a stage works with.
SEEN: dict[str, dict[str, tuple[str, ...]]] = {
    "redis": {"backdata": ("queue-name",), OTHERS: ("object-storage",)},
    "mxserver": {
        "backdata": ("queue-name",),
        "transformer": ("secret-file", "domain-settings", "email-headers"),
    },
    "postfix": {"backdata": ("queue-name",), "transformer": ("secret-file",), "mxserver": ("hostname",)},
    "transformer": {"backdata": ("queue-name",)},
}
LISTENS = ("bind", "bind-tls", "unsubscribe-bind")
SECRET_KEYS = frozenset(
    {"password", "password-hash", "secret", "signing-secret", "secret-access-key", "sentinel-password"}
)
FILE_KEYS = frozenset(
    {
        "certificate", "key", "dkim-private-key-file", "signing-secret-file", "secret-file", "password-file",
        "secret-access-key-file", "sentinel-password-file", "tls-certificate", "tls-key",
    }
)  # fmt: skip
NOT_SIGNED_HERE = frozenset({"dkim-private-key-file"})  # that only the transformer has a use for


class MailerPlanError(ValueError):
    """The settings cannot be used; the text names the stage or the key."""


@dataclass(frozen=True)
class Part:
    """What a stage gets: settings to show and those to hide, and files, each as its source and where it is handed."""

    plain: dict[str, Any]
    secret: dict[str, Any]
    handed: list[dict[str, str]]
    listens: list[dict[str, Any]]


def part(settings: Mapping[str, Any], stage: str) -> Part:
    """The part of a stage. Raises :class:`MailerPlanError`."""
    if stage not in SECTIONS:
        raise MailerPlanError(f"{stage} is no stage: choose of {', '.join(SECTIONS)}")
    _sections(settings)
    seen = SEEN.get(stage, {})
    mine: dict[str, Any] = {}
    for name, section in settings.items():
        if name == SECTIONS[stage] or name not in (*SECTIONS.values(), OTHERS):
            mine[name] = section
        elif name in seen:
            mine[name] = {key: value for key, value in section.items() if key in seen[name]}
    handed: dict[str, str] = {}
    mine = _handed(mine, stage, handed)
    plain, secret = split(mine)
    own = settings.get(SECTIONS[stage]) or {}
    return Part(
        plain,
        secret,
        [{"source": source, "path": path} for source, path in handed.items()],
        [
            {"address": own[key].get("inet-interface", "127.0.0.1"), "port": int(own[key]["inet-port"])}
            for key in LISTENS
            if isinstance(own.get(key), Mapping) and "inet-port" in own[key]
        ],
    )


def split(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings to show and those to hide. A list with a secret in it is hidden as a whole."""
    plain: dict[str, Any] = {}
    secret: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            shown, hidden = split(value)
            if shown or not hidden:
                plain[key] = shown
            if hidden:
                secret[key] = hidden
        elif (key in SECRET_KEYS and value is not None) or _has_secret(value):
            secret[key] = value
        else:
            plain[key] = value
    return plain, secret


def _sections(settings: Mapping[str, Any]) -> None:
    for name, section in settings.items():
        if not isinstance(section, Mapping):
            raise MailerPlanError(f"{name} must hold settings, as in {name}: {{...}}")


def _has_secret(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(key in SECRET_KEYS or _has_secret(one) for key, one in value.items())
    return isinstance(value, Sequence) and not isinstance(value, str) and any(map(_has_secret, value))


def _handed(value: Any, stage: str, handed: dict[str, str]) -> Any:
    """The settings with the names under which the stage finds its files, which are added to ``handed``."""
    if isinstance(value, Mapping):
        result = {}
        for key, one in value.items():
            if key in FILE_KEYS and isinstance(one, str) and one:
                result[key] = one if _others(key, stage) else _place(one, stage, handed)
            else:
                result[key] = _handed(one, stage, handed)
        return result
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_handed(one, stage, handed) for one in value]
    return value


def _others(key: str, stage: str) -> bool:
    return key in NOT_SIGNED_HERE and stage != "transformer"


def _place(source: str, stage: str, handed: dict[str, str]) -> str:
    if source not in handed:
        name = PurePosixPath(source).name
        taken = {PurePosixPath(path).name for path in handed.values()}
        handed[source] = f"{RUN}/{stage}/{name if name not in taken else f'{len(handed)}-{name}'}"
    return handed[source]
