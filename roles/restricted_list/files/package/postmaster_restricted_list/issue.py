# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan: a new token, if who asks for it may have it."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

from .config import Config, Credential, Sender
from .groups import Recipients, recipients
from .message import address, same
from .secret import Secret, digest
from .store import Store, Token


class ForbiddenError(Exception):
    """Who asks may not have such a token; the text says why."""


class WrongError(ValueError):
    """There can be no such token; the text says why."""


@dataclass(frozen=True)
class Wish:
    """Whom a mail of ``sender`` shall go to, and what is shown of who wrote it."""

    sender: str
    groups: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    days: float | None = None
    shown: Sender | None = None


def allow(credential: Credential, wish: Wish) -> None:
    """Raises :class:`ForbiddenError` if the credential does not do."""
    if "create" not in credential.permissions:
        raise ForbiddenError(f"{credential.name} may not make tokens: give it the permission create")
    if strange := [one for one in wish.groups if not {one, "*"} & set(credential.groups)]:
        raise ForbiddenError(f"{credential.name} may not write to the group {strange[0]}")
    if wish.addresses and not credential.addresses:
        raise ForbiddenError(f"{credential.name} may write to groups alone, not to single addresses")
    domain = f"@{wish.sender.rpartition('@')[2]}"
    if not {same(one) for one in (wish.sender, domain, "*")} & {same(one) for one in credential.senders}:
        raise ForbiddenError(f"{credential.name} may not make tokens for {wish.sender}")


def issue(
    config: Config, secret: Secret, store: Store, wish: Wish, *, creator: str, notify: str | None
) -> tuple[Token, str, Recipients]:
    """Make a token and keep it: what is known of it, the token itself, and whom the mail would go to now.

    Raises :class:`WrongError`, GroupError.
    """
    if unknown := [one for one in wish.groups if one not in config.groups]:
        raise WrongError(f"there is no group {unknown[0]}; there are {', '.join(config.groups) or 'none'}")
    days = config.token_days if wish.days is None else wish.days
    if not 0 < days <= 366:
        raise WrongError("days must be more than 0, and 366 at most")
    try:
        sender = address(wish.sender)
        addresses = [address(one) for one in wish.addresses]
    except ValueError as err:
        raise WrongError(str(err)) from None
    groups = {name: config.groups[name] for name in wish.groups}
    found = recipients(groups, addresses, store.opted_out())
    if not found.addresses:
        raise WrongError("nobody would get the mail: name groups or addresses")
    if len(found.addresses) > config.recipients_limit:
        raise WrongError(
            f"{len(found.addresses)} recipients are more than the {config.recipients_limit} that one mail may have"
        )
    number = secrets.token_hex(16)
    token = secret.token(number)
    known = Token(
        number,
        digest(token),
        sender,
        creator,
        notify or "",
        list(wish.groups),
        addresses,
        wish.shown or config.sender,
        time.time() + days * 86_400,
    )
    store.add(known)
    return known, token, found
