# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: the server that takes what goes out, over SMTP."""

from __future__ import annotations

import contextlib
import smtplib
import socket
import ssl

from .config import Relay as Where

SECONDS = 300.0  # RFC 5321 section 4.5.3.2


class AnswerError(Exception):
    """The relay does not take a mail. ``text`` is what it said; ``lasting`` whether it will say so again."""

    def __init__(self, code: int, text: bytes | str) -> None:
        said = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        self.text, self.lasting = " ".join(f"{code} {said}".split())[:500], code >= 500
        super().__init__(self.text)


class AwayError(Exception):
    """The relay cannot be reached; nothing is known of the mail."""


class Relay:
    """One connection, made when it is needed."""

    def __init__(self, where: Where) -> None:
        self._where, self._name = where, f"{where.host}:{where.port}"
        self._smtp: smtplib.SMTP | None = None

    def send(self, sender: str, recipient: str, mail: bytes) -> str:
        """What the relay says when it has taken the mail. Raises :class:`AnswerError`, :class:`AwayError`."""
        try:
            smtp = self._smtp or self._connected()
            return self._send(smtp, sender, recipient, mail)
        except AnswerError:
            if self._smtp is not None:
                with contextlib.suppress(OSError, smtplib.SMTPException):
                    self._smtp.rset()
            raise
        except (OSError, smtplib.SMTPException) as err:
            self.close()
            raise AwayError(f"the relay {self._name} is away: {err}") from err

    def _send(self, smtp: smtplib.SMTP, sender: str, recipient: str, mail: bytes) -> str:
        eight = [] if mail.isascii() or not smtp.has_extn("8bitmime") else ["BODY=8BITMIME"]
        _taken(*smtp.mail(sender, eight))
        _taken(*smtp.rcpt(recipient))
        try:
            code, said = smtp.data(mail)
        except smtplib.SMTPDataError as err:
            code, said = err.smtp_code, err.smtp_error  # type: ignore[assignment]
        return _taken(code, said)

    def _connected(self) -> smtplib.SMTP:
        self._smtp = smtp = smtplib.SMTP(self._where.host, self._where.port, socket.getfqdn(), SECONDS)
        smtp.ehlo_or_helo_if_needed()
        if self._where.tls == "verify" or (self._where.tls == "may" and smtp.has_extn("starttls")):
            trust = ssl.create_default_context()
            if self._where.tls == "may":
                trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
            smtp.starttls(context=trust)
            smtp.ehlo_or_helo_if_needed()
        if self._where.user:
            self._log_in(smtp)
        return smtp

    def _log_in(self, smtp: smtplib.SMTP) -> None:
        """A refusal says nothing of a mail: it may be mended while mail waits. Raises :class:`AwayError`."""
        try:
            smtp.login(self._where.user, self._where.password.get_secret_value())
        except smtplib.SMTPAuthenticationError as err:
            self.close()
            said = AnswerError(err.smtp_code, err.smtp_error).text
            raise AwayError(f"the relay {self._name} does not let {self._where.user} in: {said}") from None

    def close(self) -> None:
        """End the connection."""
        smtp, self._smtp = self._smtp, None
        if smtp is not None:
            with contextlib.suppress(OSError, smtplib.SMTPException):
                smtp.quit()
            smtp.close()


def _taken(code: int, said: bytes) -> str:
    if code == 421:  # it ends the connection
        raise smtplib.SMTPServerDisconnected(said.decode("utf-8", "replace"))
    if not 200 <= code < 300:
        raise AnswerError(code, said)
    return f"{code} {said.decode('utf-8', 'replace')}"[:500]
