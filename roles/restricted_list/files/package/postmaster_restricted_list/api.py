# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP: tokens for those who hold a credential, links to their files, and unsubscribing by one click (RFC 8058)."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable
from typing import Annotated
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from .config import Config, Credential, Sender
from .groups import GroupError
from .issue import ForbiddenError, Wish, WrongError, allow, issue
from .secret import Secret, digest, token_file
from .store import Store, Token

BODY_LIMIT = 262_144  # bytes
BODY_SECONDS = 30
ONE_CLICK = ("List-Unsubscribe", "One-Click")
HEADERS = {
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
Text = Annotated[str, Field(max_length=254)]


class Asked(BaseModel):
    """The body of a request for a token."""

    model_config = ConfigDict(extra="forbid", strict=True)

    sender: Text
    groups: list[Text] = []
    addresses: list[Text] = []
    days: float | None = None
    shown: Sender | None = None


class Refusal(Exception):
    """An answer that is none."""

    def __init__(self, status: int, why: str, headers: dict[str, str] | None = None) -> None:
        self.status, self.why, self.headers = status, why, headers or {}
        super().__init__(why)


class Api:
    """The endpoints. ``now`` tells the time, in seconds since the epoch."""

    def __init__(self, config: Config, secret: Secret, store: Store, now: Callable[[], float] = time.time) -> None:
        self._config, self._secret, self._store, self._now = config, secret, store, now

    def app(self) -> Starlette:
        """As an application."""
        routes = [
            Route("/tokens", _answered(self.create), methods=["POST"]),
            Route("/tokens/{number}", _answered(self.download), methods=["GET"]),
            Route("/unsubscribe/{word}", _answered(self.ask), methods=["GET"]),
            Route("/unsubscribe/{word}", _answered(self.click), methods=["POST"]),
            Route("/health", _answered(self.health), methods=["GET"]),
        ]
        return Starlette(routes=routes)

    async def create(self, request: Request) -> Response:
        """Make a token; the answer holds a link to it."""
        credential = self._credential(request)
        try:
            asked = Asked.model_validate_json(await _body(request))
        except ValidationError as err:
            first = err.errors(include_url=False, include_input=False)[0]
            raise Refusal(422, f"{'.'.join(map(str, first['loc'])) or 'the body'}: {first['msg']}") from None
        wish = Wish(asked.sender, tuple(asked.groups), tuple(asked.addresses), asked.days, asked.shown)
        try:
            allow(credential, wish)
            token, dummy, found = await asyncio.to_thread(
                issue, self._config, self._secret, self._store, wish, creator=credential.name, notify=credential.notify
            )
        except ForbiddenError as err:
            raise Refusal(403, str(err)) from None
        except WrongError as err:
            raise Refusal(422, str(err)) from None
        except GroupError as err:
            raise Refusal(502, str(err)) from None
        about = {
            "id": token.number,
            "sender": token.sender,
            "recipients": len(found.addresses),
            "opted_out": found.opted_out,
            "not_addresses": [one for one, dummy in found.faults],
            "expires": int(token.expires),
            "download": self._link(token),
        }
        return JSONResponse(about, 201, HEADERS)

    def _link(self, token: Token) -> str:
        expires = int(self._now() + 60 * self._config.download_minutes)
        signature = self._secret.signature(token.number, expires)
        return f"{self._config.public_url}/tokens/{token.number}?expires={expires}&signature={signature}"

    async def download(self, request: Request) -> Response:
        """The file of a token, for who has the link."""
        number, query = request.path_params["number"], request.query_params
        if not self._secret.may_download(number, query.get("expires", ""), query.get("signature", ""), self._now()):
            raise Refusal(403, "the link is not valid, or no more: ask for a new token")
        token = await asyncio.to_thread(self._store.by_number, number)
        if token is None or token.used is not None or token.expires <= self._now():
            raise Refusal(410, "the token has been used, or has expired: ask for a new one")
        headers = {**HEADERS, "Content-Disposition": 'attachment; filename="token.txt"'}
        return PlainTextResponse(token_file(self._secret.token(number)), headers=headers)

    async def ask(self, request: Request) -> Response:
        """Show a page, and do nothing: programs that look at mail open links."""
        self._unsubscribing(request)
        return HTMLResponse(_ASK, headers=HEADERS)

    async def click(self, request: Request) -> Response:
        """Unsubscribe."""
        address = self._unsubscribing(request)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        body = await _body(request)
        # RFC 8058 section 3.2 allows both.
        form = b'name="List-Unsubscribe"' in body and b"One-Click" in body
        if not (form if kind == "multipart/form-data" else ONE_CLICK in parse_qsl(body.decode("ascii", "replace"))):
            raise Refusal(400, "the body must be List-Unsubscribe=One-Click")
        await asyncio.to_thread(self._store.opt_out, address)
        return HTMLResponse(_DONE, headers=HEADERS)

    async def health(self, request: Request) -> Response:
        """Whether the database answers."""
        await asyncio.to_thread(self._store.opted_out)
        return PlainTextResponse("ok\n", headers=HEADERS)

    def _unsubscribing(self, request: Request) -> str:
        address = self._secret.address_of(request.path_params["word"])
        if address is None:
            raise Refusal(404, "there is no such link")
        return address

    def _credential(self, request: Request) -> Credential:
        scheme, dummy, bearer = request.headers.get("authorization", "").partition(" ")
        given = digest(bearer.strip())
        found = [one for one in self._config.credentials if hmac.compare_digest(one.sha256, given)]
        if scheme.lower() != "bearer" or not found:
            raise Refusal(401, "give a credential: Authorization: Bearer ...", {"WWW-Authenticate": "Bearer"})
        return found[0]


async def _body(request: Request) -> bytes:
    body = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > BODY_LIMIT:
                    raise Refusal(413, f"the body may have {BODY_LIMIT} bytes")
    except TimeoutError:
        raise Refusal(408, "the body came too slowly") from None
    return body


def _answered(endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except Refusal as refusal:
            return PlainTextResponse(f"{refusal.why}\n", refusal.status, {**HEADERS, **refusal.headers})
        except SQLAlchemyError:
            return PlainTextResponse("try again later\n", 503, {**HEADERS, "Retry-After": "60"})

    return answer
