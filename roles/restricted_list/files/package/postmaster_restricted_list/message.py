# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: a mail as it came, and the copies of it that go out."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import Header, decode_header, make_header
from email.message import Message
from email.utils import format_datetime, formataddr, getaddresses, parseaddr, parsedate_to_datetime
from string import Template

from . import footer, mime
from .mime import MimeError, Part
from .secret import TOKEN

CRLF = "\r\n"
LOOP = "X-Restricted-List"
TOKEN_FIELD = "X-Restricted-Token"
_TOKEN_FILE_LIMIT = 4096  # bytes
# No quotes, no spaces, nothing that would end a line or a path of SMTP.
_ADDRESS = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?\.)+[A-Za-z0-9-]+"
)
_NEWLINE = re.compile(rb"\r\n|\r|\n")


class UnusableError(ValueError):
    """A mail that cannot be passed on; the text says why."""


def address(text: str) -> str:
    """An address as SMTP can take it, its domain in ASCII and small letters. Raises ValueError."""
    local, at, domain = text.strip().rpartition("@")
    try:
        found = local + at + domain.encode("idna").decode("ascii").lower()
    except UnicodeError:
        found = ""
    if not _ADDRESS.fullmatch(found) or len(found) > 254:
        raise ValueError(f"{text.strip()[:100]!r} is no address that mail can be sent to")
    return found


def same(text: str) -> str:
    """What two spellings of one address have in common."""
    return text.casefold()


def _clean(text: str) -> str:
    """A text that cannot leave its line."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())[:200]


@dataclass(frozen=True)
class Incoming:
    """A mail to the list. ``tokens`` are those that it brings, ``gone`` the parts to take out for that reason."""

    raw: bytes
    fields: Message
    sender: str
    name: str
    tokens: tuple[str, ...]
    content: bytes
    gone: frozenset[int]

    @classmethod
    def parse(cls, raw: bytes) -> Incoming:
        """Read a mail. Raises :class:`UnusableError`."""
        raw = _NEWLINE.sub(b"\r\n", raw)
        body = mime.body_of(raw)
        fields: Message = mime.HEADERS.parsebytes(raw[:body])
        if mime.is_broken(fields):
            raise UnusableError("its header cannot be read")
        name, sender = _author(fields)
        content = mime.lines(fields, only="content-") + b"\r\n" + raw[body:]
        try:
            root = mime.parse(content)
        except MimeError as err:
            raise UnusableError(str(err)) from None
        found = dict(_tokens(content, root, sealed=False))
        given = ["".join(_decoded(str(field)).split()) for field in fields.get_all(TOKEN_FIELD, [])]
        tokens = [*given, *(one for one, dummy in found.values())]
        gone = frozenset(start for start, (dummy, sealed) in found.items() if not sealed)
        return cls(raw, fields, sender, name, tuple(dict.fromkeys(tokens)), content, gone)

    @property
    def digest(self) -> str:
        """What tells whether it is the same mail, come again as its answer was lost."""
        return hashlib.sha256(self.raw).hexdigest()

    @property
    def automatic(self) -> bool:
        """Whether a program has sent it: a bounce, an answer, a list (RFC 3834 section 2)."""
        auto = str(self.fields.get("auto-submitted", "no")).partition(";")[0].strip().lower()
        bulk = str(self.fields.get("precedence", "")).strip().lower() in ("bulk", "junk", "list", "auto_reply")
        return auto != "no" or bulk or LOOP in self.fields or "List-Id" in self.fields

    def passed_dmarc(self, authserv_id: str) -> bool:
        """Whether this server says that the author's domain has sent it (RFC 8601): in its topmost field."""
        for field in self.fields.get_all("authentication-results", []):
            name, dummy, results = re.sub(r"\([^()]*\)", " ", str(field)).partition(";")
            if name.split()[:1] == [authserv_id]:
                domain = re.escape(self.sender.rpartition("@")[2])
                found = [one for one in results.split(";") if re.match(r"\s*dmarc\s*=\s*pass\b", one)]
                return any(re.search(rf"\bheader\.from\s*=\s*{domain}(\s|$)", one, re.IGNORECASE) for one in found)
        return False


def _author(fields: Message) -> tuple[str, str]:
    found = [str(field) for field in fields.get_all("from", [])]
    authors = getaddresses(found) if len(found) == 1 else []
    if len(authors) != 1:
        raise UnusableError("it must have one From field with one address")
    try:
        return _clean(_decoded(authors[0][0])), address(authors[0][1])
    except ValueError as err:
        raise UnusableError(f"From: {err}") from None


def _decoded(text: str) -> str:
    """A text of a header without the encoding of RFC 2047, if that can be undone."""
    try:
        return str(make_header(decode_header(text)))
    except (HeaderParseError, LookupError, ValueError):
        return text


def _tokens(raw: bytes, part: Part, *, sealed: bool) -> Iterator[tuple[int, tuple[str, bool]]]:
    """Where there are parts that are a token and nothing else, and whether a signature covers them."""
    for child in part.children:
        yield from _tokens(raw, child, sealed=sealed or part.kind == "multipart/signed")
    if part.children or part.end - part.body > _TOKEN_FILE_LIMIT:
        return
    body = mime.decoded(raw, part) or b""
    if token := TOKEN.fullmatch(body.removeprefix(b"\xef\xbb\xbf").strip()):
        yield part.start, (token[1].decode("ascii"), sealed)


@dataclass(frozen=True)
class Style:
    """What copies have in common. ``sender`` is where the author is told: ``reply-to``, ``footer`` or ``hidden``."""

    name: str
    from_address: str
    list_id: str
    footer: str
    sender: str
    unsubscribe_address: str = ""


class Outgoing:
    """The copies of one mail. Raises :class:`MimeError`."""

    def __init__(self, mail: Incoming, style: Style, job: int, accepted: str) -> None:
        self._mail, self._style, self._job = mail, style, job
        self._plan = footer.plan(mail.content, mail.gone)
        self._date = _date(mail.fields) or accepted

    def copy(self, number: int, recipient: str, unsubscribe: str) -> bytes:
        """One recipient's; ``unsubscribe`` is a link, or empty. The same bytes each time, its Message-ID too."""
        return self._head(number, recipient, unsubscribe) + self._plan.render(self._footer(unsubscribe))

    def _head(self, number: int, recipient: str, unsubscribe: str) -> bytes:
        style, mail = self._style, self._mail
        shown = style.name if style.sender == "hidden" else f"{mail.name or mail.sender} via {style.name}"
        domain = style.from_address.rpartition("@")[2]
        fields = [
            ("From", _mailbox(shown, style.from_address)),
            ("To", recipient),
            *([("Reply-To", _mailbox(mail.name, mail.sender))] if style.sender == "reply-to" else []),
            ("Subject", _subject(mail.fields)),
            ("Date", self._date),
            ("Message-ID", f"<{self._job}.{number}.{mail.digest[:32]}@{domain}>"),
            ("List-Id", f"<{style.list_id}>"),
            *_unsubscribe(unsubscribe, style.unsubscribe_address),
            (LOOP, str(self._job)),
            ("MIME-Version", "1.0"),
        ]
        return "".join(f"{name}: {value}\r\n" for name, value in fields).encode("ascii")

    def _footer(self, unsubscribe: str) -> str:
        mail, style = self._mail, self._style
        author = f"{mail.name} <{mail.sender}>" if mail.name else mail.sender
        known = {"sender": author if style.sender == "footer" else "", "list": style.name, "unsubscribe": unsubscribe}
        return filled(style.footer, known)


def _mailbox(name: str, mailbox: str) -> str:
    return (
        formataddr((name, mailbox)) if name.isascii() else f"{Header(name, 'utf-8').encode(linesep=CRLF)} <{mailbox}>"
    )


def filled(text: str, known: dict[str, str]) -> str:
    """A template of lines. One that names something that there is not is left out."""
    missing = [name for name, value in known.items() if not value]
    kept = [line for line in text.splitlines() if not any(f"${name}" in line for name in missing)]
    return Template("\n".join(kept)).safe_substitute(known)


def _subject(fields: Message) -> str:
    """As it came, bytes and all, if it may stand so in a header."""
    value = next((value for name, value in fields.raw_items() if name.lower() == "subject"), "")
    folded = "\r\n".join(line for line in value.split("\r\n") if line.strip())
    if folded.isascii():
        return folded
    text = value.encode("ascii", "surrogateescape").decode("utf-8", "replace")
    return Header(_clean(text), "utf-8").encode(linesep=CRLF)


def _date(fields: Message) -> str:
    """As it came, if that is a date; else empty."""
    try:
        return format_datetime(parsedate_to_datetime(str(fields.get("date", ""))))
    except (ValueError, TypeError, IndexError, OverflowError):
        return ""


def _unsubscribe(link: str, mailbox: str) -> list[tuple[str, str]]:
    """RFC 2369, and RFC 8058 where there is a link."""
    ways = [f"<{way}>" for way in (link, f"mailto:{mailbox}" if mailbox else "") if way]
    if not ways:
        return []
    one_click = [("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")] if link else []
    return [("List-Unsubscribe", ", ".join(ways)), *one_click]


def addressed(text: str) -> str:
    """The address of a mailbox such as ``Anna <anna@example.org>``. Raises ValueError."""
    return address(parseaddr(text)[1])
