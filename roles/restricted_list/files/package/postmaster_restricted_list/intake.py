# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way in: a mail to the list, over LMTP or SMTP. 250 means that it goes out to everybody, come what may."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from aiosmtpd.lmtp import LMTP
from sqlalchemy.exc import SQLAlchemyError

from .config import Config
from .groups import GroupError, Recipients
from .groups import recipients as recipients_of
from .message import Incoming, Outgoing, UnusableError, same
from .notices import Notices
from .secret import digest
from .store import Store, Token, UsedError

log = logging.getLogger(__name__)

ACCEPTED = "250 2.0.0 it goes out to {} recipients"
AGAIN = "250 2.0.0 it goes out already"
BUSY = "451 4.3.0 {}, try again later"
NO_LIST = "550 5.1.1 there is no such list here"
NO_BOUNCES = "550 5.7.1 the list takes no bounces"


class RefusalError(Exception):
    """Why a mail is not taken: a code of RFC 3463 and what the sender reads."""

    def __init__(self, code: str, text: str) -> None:
        self.reply, self.text = f"{'552' if code == '5.5.3' else '550'} {code} {text}", text
        super().__init__(text)


class Tokens:
    """What a token opens."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config, self._store = config, store

    def find(self, mail: Incoming) -> Token:
        """The token that a mail brings. Raises :class:`RefusalError`."""
        if len(mail.tokens) != 1:
            why = "attach the file of a token" if not mail.tokens else "attach one token, not several"
            raise RefusalError("5.7.1", f"mail to this list needs a token: {why}")
        token = self._store.by_digest(digest(mail.tokens[0]))
        if token is None:
            raise RefusalError("5.7.1", "the token is not known here: ask for a new one")
        return token

    @staticmethod
    def check(token: Token, mail: Incoming, now: float) -> None:
        """Raises :class:`RefusalError` if this mail may not use it."""
        if same(token.sender) != same(mail.sender):
            raise RefusalError(
                "5.7.1", f"the token is not for mail from {mail.sender}: send from the address it was made for"
            )
        if token.used is not None:
            raise RefusalError("5.7.1", "the token has been used: ask for a new one")
        if token.revoked:
            raise RefusalError("5.7.1", "the token has been revoked: ask for a new one")
        if token.expires <= now:
            raise RefusalError("5.7.1", "the token has expired: ask for a new one")

    def recipients(self, token: Token) -> Recipients:
        """Raises :class:`RefusalError`, :class:`GroupError`."""
        groups = {name: group for name, group in self._config.groups.items() if name in token.groups}
        if missing := [name for name in token.groups if name not in groups]:
            raise RefusalError("5.7.1", f"there is no group {missing[0]} any more: ask for a new token")
        found = recipients_of(groups, token.addresses, self._store.opted_out())
        if len(found.addresses) > self._config.recipients_limit:
            limit = f"the {self._config.recipients_limit} that one mail may have"
            raise RefusalError("5.5.3", f"{len(found.addresses)} recipients are more than {limit}")
        if not found.addresses:
            raise RefusalError("5.7.1", "nobody would get it: the groups are empty, or all have opted out")
        return found


class ListLMTP(LMTP):
    """LMTP, which answers the data once for each recipient (RFC 2033 section 4.2), whatever the answer is."""

    _answers = 1

    async def push(self, status: str) -> None:  # type: ignore[override]
        """Say something to the client."""
        said, self._answers = self._answers, 1
        if status.startswith("354") and self.envelope is not None:
            self._answers = len(self.envelope.rcpt_tos)
        await super().push("\r\n".join([status] * said))


class Intake:
    """What aiosmtpd asks. ``wake`` is called when there is something to send."""

    def __init__(self, config: Config, store: Store, wake: Callable[[], None]) -> None:
        self._config, self._store, self._wake = config, store, wake
        self._tokens, self._notices = Tokens(config, store), Notices(config)

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        """Is it from somebody?"""
        if address in ("", "<>"):
            return NO_BOUNCES
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 fine"

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        """May a mail come here?"""
        if same(address) != same(self._config.address):
            return NO_LIST
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 fine"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        """One reply for all recipients, each of which is the list."""
        reply = await asyncio.to_thread(self.take, envelope.content)
        log.info("%s from %s: %s", session.host_name, envelope.mail_from, reply)
        return reply

    def take(self, raw: bytes) -> str:
        """Take a mail, or say why not."""
        try:
            return self._take(raw)
        except RefusalError as refusal:
            return refusal.reply
        except GroupError as err:
            log.error("%s", err)
            return BUSY.format("the recipients are not known now")
        except (SQLAlchemyError, OSError):
            log.exception("a mail was put off")
            return BUSY.format("the database does not answer")

    def _take(self, raw: bytes) -> str:
        mail = self._read(raw)
        token = self._tokens.find(mail)
        if self._store.known(token, mail.digest):
            return AGAIN  # our answer was lost
        now = time.time()
        try:
            self._tokens.check(token, mail, now)
            self._try(token, mail)
            found = self._tokens.recipients(token)
            notices = self._notices.used(token, len(found.addresses), found.opted_out)
            self._store.accept(token, mail.raw, mail.digest, found.addresses, found.faults, now, notices)
        except UsedError:
            return (
                AGAIN
                if self._store.known(token, mail.digest)
                else self._refused(token, mail, "the token has been used")
            )
        except RefusalError as refusal:
            self._store.notify(self._notices.refused(token, mail.sender, refusal.text), now)
            raise
        finally:
            self._wake()
        return ACCEPTED.format(len(found.addresses))

    def _try(self, token: Token, mail: Incoming) -> None:
        """Nothing is taken of which no copy can be made."""
        try:
            Outgoing(mail, self._config.style(token.shown), 0, "").copy(0, token.sender, "")
        except Exception as err:
            log.exception("no copy can be made of a mail of %s", mail.sender)
            raise RefusalError("5.6.0", f"the mail cannot be used: no copy can be made of it: {err}") from None

    def _refused(self, token: Token, mail: Incoming, why: str) -> str:
        self._store.notify(self._notices.refused(token, mail.sender, why), time.time())
        return RefusalError("5.7.1", why).reply

    def _read(self, raw: bytes) -> Incoming:
        try:
            mail = Incoming.parse(raw)
        except UnusableError as err:
            raise RefusalError("5.6.0", f"the mail cannot be used: {err}") from None
        if mail.automatic:
            raise RefusalError("5.7.1", "the list takes no mail of programs or of other lists")
        if self._config.authserv_id and not mail.passed_dmarc(self._config.authserv_id):
            raise RefusalError("5.7.1", f"the domain of {mail.sender} does not vouch for the mail: sign it with DKIM")
        return mail
