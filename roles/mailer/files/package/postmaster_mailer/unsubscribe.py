# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unsubscribing by one click (RFC 8058), for the field List-Unsubscribe: ``<https://host/unsubscribe/{{unsubscribe-token}}>``.

A POST with the words of the RFC unsubscribes. A GET shows a page and does nothing else: programs that look at mail open
links.
"""

from __future__ import annotations

import email
import logging
from collections import Counter
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from . import events
from .answers import Outcome
from .limits import WINDOW, Rate
from .queue import QueueError
from .reporter import Reporter
from .returnpath import UNSUBSCRIBE, Answered, read

log = logging.getLogger(__name__)

BODY_LIMIT = 10_000  # bytes
_WORD = ("List-Unsubscribe", "One-Click")
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
}
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Unsubscribe</title></head>
<body><h1>Unsubscribe</h1>{}</body></html>
"""
_ASK = _PAGE.format(
    '<p>Do you want no more of this mail?</p><form method="post">'
    '<input type="hidden" name="List-Unsubscribe" value="One-Click"><button>Unsubscribe</button></form>'
)
_DONE = _PAGE.format("<p>You will get no more of this mail.</p>")


class Unsubscribe:
    """The endpoint. ``rate`` is how often a client may come. ``unproven`` takes tokens that prove nothing, too."""

    def __init__(self, secrets: tuple[bytes, ...], reporter: Reporter, rate: Rate, *, unproven: bool = False) -> None:
        self._secrets, self._reporter, self._rate, self._unproven = secrets, reporter, rate, unproven
        self.counts: Counter[str] = Counter()

    def _refusal(self, request: Request) -> Response | None:
        """A client that comes too often costs no more than this answer."""
        if not self._rate.is_too_much(request.client.host if request.client else ""):
            return None
        headers = {**_HEADERS, "Retry-After": str(int(WINDOW))}
        return PlainTextResponse("too many requests, try again in a minute\n", 429, headers)

    def _of(self, request: Request) -> Answered | None:
        # Before the body is read: a forged token costs one HMAC for each secret, and no memory.
        token = read(self._secrets, request.path_params["token"])
        known = token is not None and token.kind == UNSUBSCRIBE and (token.proven or self._unproven)
        return token if known else None

    async def ask(self, request: Request) -> Response:
        """Show the page."""
        if (refusal := self._refusal(request)) is not None:
            return refusal
        if self._of(request) is None:
            return _no_such_link()
        return HTMLResponse(_ASK, headers=_HEADERS)

    async def click(self, request: Request) -> Response:
        """Unsubscribe."""
        if (refusal := self._refusal(request)) is not None:
            return refusal
        token = self._of(request)
        if token is None:
            return _no_such_link()
        body = await _body(request)
        if body is None:
            return PlainTextResponse("the request is too big\n", 413, _HEADERS)
        if _WORD not in _fields(request.headers.get("content-type", ""), body):
            return PlainTextResponse("the body must be List-Unsubscribe=One-Click\n", 400, _HEADERS)
        try:
            await self._reporter.report(token.uuid, [Outcome(events.UNSUBSCRIBE)], proven=token.proven)
        except QueueError as err:
            log.error("an unsubscription was put off: %s", err)
            return PlainTextResponse("try again later\n", 503, {**_HEADERS, "Retry-After": "60"})
        self.counts[events.UNSUBSCRIBE] += 1
        return HTMLResponse(_DONE, headers=_HEADERS)

    def routes(self) -> list[Route]:
        """For an application that has others as well."""
        path = "/unsubscribe/{token}"
        return [Route(path, self.ask, methods=["GET"]), Route(path, self.click, methods=["POST"])]

    def app(self) -> Starlette:
        """As an application of its own."""
        return Starlette(routes=self.routes())


def _no_such_link() -> Response:
    return PlainTextResponse("there is no such link\n", 404, _HEADERS)


async def _body(request: Request) -> bytes | None:
    """The body; None if it is too big."""
    body = b""
    try:
        async for part in request.stream():
            body += part
            if len(body) > BODY_LIMIT:
                return None
    except ClientDisconnect:
        return b""
    return body


def _fields(kind: str, body: bytes) -> list[tuple[str, str]]:
    """The fields of a form, in either of the two types of RFC 8058 section 3.2."""
    if not kind.lower().startswith("multipart/form-data"):
        return parse_qsl(body.decode("ascii", "replace"), max_num_fields=100) if body.count(b"&") < 100 else []
    parsed = email.message_from_bytes(b"Content-Type: " + kind.encode("ascii", "replace") + b"\r\n\r\n" + body)
    found = []
    for part in parsed.walk():
        name, value = part.get_param("name", header="content-disposition"), part.get_payload()
        if isinstance(name, str) and isinstance(value, str):
            found.append((name, value.strip()))
    return found
