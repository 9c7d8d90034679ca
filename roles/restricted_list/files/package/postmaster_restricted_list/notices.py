# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: what the service writes of itself, to who made a token and to who used it.

A mail that is refused gets no notice of ours: the server that handed it over tells its sender, and nobody whose address
was forged hears of it. Who made the token does.
"""

from __future__ import annotations

from collections.abc import Sequence
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, localtime, make_msgid

from .config import Config
from .store import Notice, Outcome, Token

_FAILED_SHOWN = 50


class Notices:
    """Each method gives what is to be sent."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def used(self, token: Token, count: int, opted_out: int) -> list[Notice]:
        """To the creator: a mail goes out."""
        text = f"{token.sender} has used the token {_short(token)}. The mail goes out to {count} recipients."
        more = f"{opted_out} have opted out and get none." if opted_out else ""
        return self._to([token.notify], "A token was used", [text, more])

    def refused(self, token: Token, sender: str, why: str) -> list[Notice]:
        """To the creator: somebody who has the token was refused."""
        lines = [f"A mail from {sender} with the token {_short(token)} was refused: {why}."]
        return self._to([token.notify], "A token was refused", lines)

    def done(self, token: Token, outcome: Outcome) -> list[Notice]:
        """To the creator and the sender: how many got it, and who did not."""
        failed = outcome.failed
        lines = [f"The mail of {token.sender} with the token {_short(token)} has been sent.", ""]
        lines += [f"sent: {outcome.sent}", f"failed: {len(failed)}", ""]
        lines += [f"{recipient}: {why}" for recipient, why in failed[:_FAILED_SHOWN]]
        lines += [f"and {len(failed) - _FAILED_SHOWN} more"] if len(failed) > _FAILED_SHOWN else []
        return self._to([token.notify, token.sender], f"Sent to {outcome.sent} recipients", lines)

    def _to(self, recipients: Sequence[str], subject: str, lines: Sequence[str]) -> list[Notice]:
        return [Notice(one, self._mail(one, subject, lines)) for one in dict.fromkeys(recipients) if one]

    def _mail(self, recipient: str, subject: str, lines: Sequence[str]) -> bytes:
        mail = EmailMessage(policy=SMTP)
        author = self._config.author
        mail["From"] = author
        mail["To"] = recipient
        mail["Subject"] = f"{self._config.name}: {subject}"
        mail["Date"] = format_datetime(localtime())
        mail["Message-ID"] = make_msgid(domain=author.rpartition("@")[2])
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content("\n".join(line for line in lines) + "\n")
        return mail.as_bytes()


def _short(token: Token) -> str:
    return token.number[:8]
