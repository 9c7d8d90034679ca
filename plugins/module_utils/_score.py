# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ten points for a message as a receiver stored it, and what each point that is lost takes to be won. Private, pure.

A row judges a :class:`View`, as those of the mail check do, most of which it asks. What a row cannot judge costs
nothing and is told. No link is ever opened.
Sources: RFC 5322, RFC 2045 and 2046 (MIME), RFC 7208, RFC 6376, RFC 9989, RFC 8601, RFC 8058, RFC 5782.
"""

from __future__ import annotations

import email.errors
import email.parser
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from email.message import Message
from functools import cached_property
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.postmaster.mail.plugins.module_utils import _check_dmarc, _check_host, _check_message, _spf
from ansible_collections.postmaster.mail.plugins.module_utils._check import UNKNOWN, Found, visible
from ansible_collections.postmaster.mail.plugins.module_utils._check_mail import Mail
from ansible_collections.postmaster.mail.plugins.module_utils._check_view import View
from ansible_collections.postmaster.mail.plugins.module_utils._dns import DnsTimeout
from ansible_collections.postmaster.mail.plugins.module_utils._probe import hops
from ansible_collections.postmaster.mail.plugins.module_utils._signatures import NoLibrary

TOTAL = 10.0
SIZE_LIMIT = 10 * 1024 * 1024  # octets of a message that every large receiver takes
HTML_LIMIT = 100 * 1024  # octets of HTML behind which webmail cuts a message off
TEXT_LIMIT = 512 * 1024  # octets of a part that are looked at
PART_LIMIT = 200  # parts of a message, and links of a part, that are looked at
DEPTH_LIMIT = 30  # parts within parts
_PLACEHOLDER = re.compile(r"\{\{|\}\}|%7B%7B|\[\[|\$\{", re.IGNORECASE)
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}")
_SHOWN_HOST = re.compile(r"\s*(?:https?://)?((?:[a-z0-9-]{1,63}\.)+[a-z]{2,63})(?:[/?#]\S*)?\s*", re.IGNORECASE)
_URL = re.compile(r"https?://[^\s<>\"')]{0,500}", re.IGNORECASE)
_CHARSETS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,40}")


@dataclass(frozen=True)
class Loss:
    """Points that a message loses, 0 where that could not be judged; ``remedy`` wins them back."""

    points: float
    seen: str
    remedy: str


@dataclass(frozen=True)
class Row:
    """One question; ``points`` is the most that can be lost by it."""

    id: str
    points: float
    title: str
    judge: Callable[[View], Iterator[Loss]]


@dataclass(frozen=True)
class Judged:
    """A row and what it found."""

    row: Row
    losses: tuple[Loss, ...]

    @property
    def lost(self) -> float:
        """Points lost."""
        return min(self.row.points, sum(one.points for one in self.losses))

    @property
    def unknown(self) -> float:
        """Points that nobody can tell to be won or lost."""
        return self.row.points - self.lost if any(not one.points for one in self.losses) else 0.0

    def as_dict(self) -> dict[str, Any]:
        """The shape a module returns."""
        findings = [
            {"points": one.points, "seen": visible(one.seen), "remedy": visible(one.remedy, 2000)}
            for one in self.losses
        ]
        verdict = "lost" if self.lost else "unknown" if self.unknown else "ok"
        points = self.row.points - self.lost - self.unknown
        return {"id": self.row.id, "verdict": verdict, "points": points, "of": self.row.points, "findings": findings}


@dataclass(frozen=True)
class Score:
    """All rows of one message."""

    domain: str
    rows: tuple[Judged, ...]

    @property
    def points(self) -> float:
        """What it won for certain."""
        return TOTAL - sum(one.lost + one.unknown for one in self.rows)

    @property
    def unknown(self) -> float:
        """What could not be judged."""
        return sum(one.unknown for one in self.rows)

    @property
    def conclusion(self) -> str:
        """One sentence."""
        lost = sorted((one for one in self.rows if one.lost), key=lambda one: -one.lost)
        said = f"{self.points:g} of {TOTAL:g} points"
        said += f", {self.unknown:g} could not be judged" if self.unknown else ""
        return f"{said}; most is lost by {lost[0].row.id}: {visible(lost[0].losses[0].seen)}." if lost else f"{said}."

    def as_dict(self) -> dict[str, Any]:
        """All of it as data."""
        return {
            "domain": self.domain,
            "score": self.points,
            "unknown": self.unknown,
            "rows": [one.as_dict() for one in self.rows],
            "conclusion": self.conclusion,
        }

    def table(self, width: int = 100) -> list[str]:
        """All of it as lines for people."""
        lines = [f"a message of {self.domain}"]
        for one in self.rows:
            told = one.as_dict()
            head = f"  {told['points']:>4g} of {told['of']:<4g} {one.row.id:<11}  "
            indent = " " * len(head)
            lines += [] if told["findings"] else [f"{head}{one.row.title}"]
            for finding in told["findings"]:
                lines += textwrap.wrap(finding["seen"], width, initial_indent=head, subsequent_indent=indent)
                lines.append(f"{indent}-> {finding['remedy']}")
                head = indent
        return [*lines, *textwrap.wrap(self.conclusion, width, initial_indent="  ", subsequent_indent="  ")]


def _mail(view: View) -> Mail:
    mail = view.options.mail
    if mail is None:  # whoever runs the rows sees to it
        raise ValueError("there is no message to judge")
    return mail


def _losses(found: Iterable[Found], costs: Callable[[Found], float]) -> Iterator[Loss]:
    """What the mail check found, in points."""
    for one in found:
        subject = f"{one.subject}: " if one.subject and one.subject not in one.seen else ""
        yield Loss(0.0 if one.verdict == UNKNOWN else costs(one), f"{subject}{one.seen}", one.remedy)


def _grave(points: float, light: float) -> Callable[[Found], float]:
    """``points`` for what has mail refused, ``light`` for a warning."""
    return lambda found: points if found.severity == "F" else light


# --- who sent it ---------------------------------------------------------------------------------

AS_STORED = "give the message as its receiver stored it, with Return-Path and the topmost Received"


def _sender(mail: Mail) -> str:
    """The domain that SPF judges."""
    return (mail.envelope_sender or "").rpartition("@")[2].lower() or mail.helo


def _spf_result(view: View) -> str:
    """What SPF says, empty where the message does not tell who handed it over."""
    mail = _mail(view)
    if not mail.client or mail.envelope_sender is None:
        return ""
    return _spf.check_host(ip=mail.client, sender=mail.envelope_sender, helo=mail.helo, resolver=view).result


def spf(view: View) -> Iterator[Loss]:
    """The address that handed it over may send for the envelope's sender."""
    mail, result = _mail(view), _spf_result(view)
    if not result:
        yield Loss(0, "the message does not tell who handed it over", AS_STORED)
        return
    domain, family = _sender(mail), "ip6" if ":" in mail.client else "ip4"
    seen, term = f"SPF of {domain} for {mail.client} gives {result}", f"{family}:{mail.client}"
    if result == "temperror":
        yield Loss(0, seen, "try again, or name another resolver")
    elif result == "none":
        yield Loss(1.5, seen, f'publish {domain}. TXT "v=spf1 {term} -all"')
    elif result != "pass":
        points = 1.0 if result in ("softfail", "neutral") else 1.5
        remedy = "correct the record's syntax" if result == "permerror" else f"add {term} to the record of {domain}"
        yield Loss(points, seen, remedy)


def dkim(view: View) -> Iterator[Loss]:
    """Its own domain signed it, and the signature holds."""
    return _losses(_check_message.signature(view), _grave(1.5, 0.5))


def dmarc(view: View) -> Iterator[Loss]:
    """From belongs to whom SPF or DKIM vouch for, and the domain has a policy."""
    mail, result = _mail(view), _spf_result(view)
    missing = [one for one in _check_dmarc.present(view) if one.severity == "F"]
    yield from _losses(missing, _grave(1.5, 1.5))
    if missing:
        return
    verdict = list(_check_message.with_libraries(view, _check_message.dmarc_verdict(view, mail, result, _sender(mail))))
    for one in verdict:
        seen = f"neither SPF ({result or 'unknown'}) nor a DKIM signature vouches for {mail.from_domain}"
        unknown = one.verdict == UNKNOWN
        yield Loss(
            0.0 if unknown else 1.5, one.seen if unknown else seen, one.remedy or f"sign with d={mail.from_domain}"
        )
    if not verdict:
        yield from _losses(_check_dmarc.policy(view), _grave(0.5, 0.5))


def reverse(view: View) -> Iterator[Loss]:
    """The address has a name, which leads back."""
    if not view.options.outbound:
        yield Loss(0, "the message does not tell which address handed it over", AS_STORED)
        return
    for row in (_check_host.ptr_exists, _check_host.ptr_fcrdns):
        yield from _losses(row(view), _grave(1.0, 1.0))


def helo(view: View) -> Iterator[Loss]:
    """It greeted with a full name that is its own."""
    if not view.options.outbound:
        yield Loss(0, "the message does not tell what its server said in HELO", AS_STORED)
        return
    yield from _losses(_check_host.helo(view), _grave(0.5, 0.5))


def tls(view: View) -> Iterator[Loss]:
    """The last hop was encrypted."""
    last = next((hop for hop in reversed(hops(_mail(view))) if hop.network), None)
    if last is None:
        yield Loss(0, "no Received field tells of a hop between hosts", AS_STORED)
    elif not last.encrypted:
        seen = f"{last.receiver or 'the receiver'} took it without TLS"
        yield Loss(
            0.5, seen, "smtp_tls_security_level = may at least, where it leaves; the receiver must offer STARTTLS"
        )


def blocklists(view: View) -> Iterator[Loss]:
    """No list has its address or its domain."""
    lists = view.options.dnsbl_ip or view.options.dnsbl_domain
    return _losses(_check_host.dnsbl(view), _grave(1.0, 1.0)) if lists else iter(())


# --- what it is like -----------------------------------------------------------------------------


def headers(view: View) -> Iterator[Loss]:
    """Date, From and Message-ID are there once and can be read, and no line is too long."""
    mail = _mail(view)
    yield from _losses(_check_message.form(view), _grave(1.0, 0.5))
    identifier = mail.first("message-id")
    if identifier and not re.fullmatch(r"<[^<>@\s]+@[^<>@\s]+>", identifier):
        yield Loss(0.5, f"the Message-ID {identifier} is no <word@host>", "let the mail server add it")


class Content:
    """The parts of a message. Whatever is wrong with it is in ``problems``."""

    def __init__(self, mail: Mail) -> None:
        self._mail = mail
        self.problems: list[str] = []
        self.parts: list[Message] = []
        # The parser goes as deep as a stranger wants.
        nested = mail.raw.lower().count(b"\ncontent-type: multipart/") + mail.raw.lower().count(b"message/rfc822")
        if nested > DEPTH_LIMIT:
            self.problems.append(f"it has parts within parts, more than {DEPTH_LIMIT} of them")
            return
        try:
            whole = email.parser.BytesParser().parsebytes(mail.raw)
            self.parts = list(whole.walk())[:PART_LIMIT]
        except (ValueError, TypeError, LookupError, RecursionError, email.errors.MessageError) as err:
            self.problems.append(f"its parts cannot be read ({type(err).__name__})")
        for part in self.parts:
            self.problems += [_defect(one) for one in part.defects]
            self.problems += _trouble(part)

    @cached_property
    def texts(self) -> dict[str, list[str]]:
        """The texts by their type, text/plain or text/html."""
        found: dict[str, list[str]] = {"text/plain": [], "text/html": []}
        for part in self.parts:
            kind = part.get_content_type()
            if kind in found and part.get_filename() is None:
                found[kind].append(_decoded(part))
        return found


def _defect(one: object) -> str:
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(one).__name__.removesuffix("Defect"))
    return words.lower()


def _charset(part: Message) -> str:
    name = part.get_content_charset() or "us-ascii"
    return name if _CHARSETS.fullmatch(name) else ""


def _decoded(part: Message) -> str:
    try:
        octets = part.get_payload(decode=True)
        data = octets[:TEXT_LIMIT] if isinstance(octets, bytes) else b""
        return data.decode(_charset(part) or "latin-1", "replace")
    except (LookupError, ValueError, TypeError):
        return ""


def _trouble(part: Message) -> Iterator[str]:
    if part.is_multipart() or part.get_content_maintype() != "text":
        return
    try:
        octets = part.get_payload(decode=True)
        (octets if isinstance(octets, bytes) else b"")[:TEXT_LIMIT].decode(_charset(part) or "?")
    except LookupError:
        yield f"nobody knows the character set {part.get_content_charset()}"
    except (ValueError, TypeError):
        name = part.get_content_charset()
        yield (
            f"a text is not in its character set {name}"
            if name
            else "a text holds more than ASCII and names no charset"
        )


def mime(view: View) -> Iterator[Loss]:
    """Its parts are whole, and in the character sets that they name."""
    mail = _mail(view)
    content = view.once("content", lambda: Content(mail))
    if mail.first("content-type") and not mail.first("mime-version"):
        yield Loss(0.25, "there is a Content-Type without MIME-Version", "add MIME-Version: 1.0")
    for problem in dict.fromkeys(content.problems):
        yield Loss(0.5, problem, "have the message made by a library for MIME, in UTF-8")


def body(view: View) -> Iterator[Loss]:
    """It can be read as text, is not too large, and its links are links."""
    mail = _mail(view)
    content = view.once("content", lambda: Content(mail))
    html, plain = content.texts["text/html"], content.texts["text/plain"]
    if html and not any(text.strip() for text in plain):
        yield Loss(
            0.25, "there is HTML, and no text for those who do not show it", "add a text/plain part with the same"
        )
    if len(mail.raw) > SIZE_LIMIT:
        seen = f"it has {len(mail.raw) // 1024} KiB, more than many receivers take"
        yield Loss(0.5, seen, "put large files on a server and send links to them")
    longest = max((len(text.encode("utf-8", "replace")) for text in html), default=0)
    if longest > HTML_LIMIT:
        yield Loss(
            0.25, f"its HTML has {longest // 1024} KiB, of which webmail shows {HTML_LIMIT // 1024}", "shorten it"
        )
    bad = [trouble for kind in (html, plain) for text in kind for trouble in link_troubles(text, html=kind is html)]
    for trouble in list(dict.fromkeys(bad))[:5]:
        yield Loss(0.25, trouble, "correct the link; each begins with https:// and a host of your own")


class _Links(HTMLParser):
    """Collects what links lead to and what they show."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.links: list[list[str]] = []
        self._open = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a" and len(self.links) < PART_LIMIT:
            href = dict(attrs).get("href")
            self._open = href is not None
            if href is not None:
                self.links.append([href.strip(), ""])

    def handle_endtag(self, tag: str) -> None:
        self._open = self._open and tag != "a"

    def handle_data(self, data: str) -> None:
        if self._open and len(self.links[-1][1]) < 300:
            self.links[-1][1] += data


def link_troubles(text: str, *, html: bool) -> list[str]:
    """What is wrong with the links of a text by their looks."""
    pairs: Sequence[Sequence[str]] = [(url, "") for url in _URL.findall(text)[:PART_LIMIT]]
    if html:
        parser = _Links()
        try:
            parser.feed(text)
        except (ValueError, AssertionError):  # of a declaration that never ends
            return []
        pairs = parser.links
    return [trouble for href, shown in pairs if (trouble := _link_trouble(href, shown))]


def _link_trouble(href: str, shown: str) -> str:
    if not href or href == "#":
        return "a link leads nowhere"
    if _PLACEHOLDER.search(href):
        return f"a placeholder was left in the link {href}"
    try:
        parts = urlsplit(href)
        host = (parts.hostname or "").lower()
    except ValueError:
        return f"the link {href} cannot be read"
    if parts.scheme in ("mailto", "tel", "cid") or (not parts.scheme and href.startswith("#")):
        return ""
    if parts.scheme not in ("http", "https"):
        return f"the link {href} leads to no server: it has no https://"
    if not _HOST.fullmatch(host):
        return f"the link {href} names no host"
    named = _SHOWN_HOST.fullmatch(shown)
    if named and not _same_site(named[1].lower(), host):
        return f"a link shows {named[1]} and leads to {host}, as those of forgers do"
    return ""


def _same_site(one: str, other: str) -> bool:
    return (
        one == other
        or one.endswith(f".{other}")
        or other.endswith(f".{one}")
        or one.split(".")[-2:] == other.split(".")[-2:]
    )


def unsubscribe(view: View) -> Iterator[Loss]:
    """Bulk mail can be unsubscribed from by one click; other mail need not."""
    return _losses(_check_message.one_click(view), _grave(0.5, 0.5)) if view.options.bulk else iter(())


ROWS = (
    Row("spf", 1.5, "SPF passes", spf),
    Row("dkim", 1.5, "signed by its own domain", dkim),
    Row("dmarc", 1.5, "DMARC passes, and has a policy", dmarc),
    Row("reverse", 1.0, "the address has a name that leads back", reverse),
    Row("helo", 0.5, "HELO is that name", helo),
    Row("tls", 0.5, "the last hop was encrypted", tls),
    Row("blocklists", 1.0, "on none of the lists that were asked", blocklists),
    Row("headers", 1.0, "the header is well-formed", headers),
    Row("mime", 0.5, "its parts are whole", mime),
    Row("body", 0.5, "text, size and links are sound", body),
    Row("unsubscribe", 0.5, "can be unsubscribed from, or is no bulk mail", unsubscribe),
)


def judge(row: Row, view: View) -> Judged:
    """What a row finds; what nobody answers, or takes a library, makes it unknown. Raises :class:`Pending`."""
    losses: list[Loss] = []
    try:
        losses.extend(row.judge(view))
    except DnsTimeout as err:
        losses.append(Loss(0, str(err), "try again, or name another resolver"))
    except NoLibrary as err:
        losses.append(Loss(0, str(err), err.remedy))
    return Judged(row, tuple(losses))
