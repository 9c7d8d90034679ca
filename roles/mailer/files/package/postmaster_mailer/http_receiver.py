# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stage: mail of applications comes in over HTTP, as MIME or as JSON. 200 and 202 mean that it is safe in the queue."""

from __future__ import annotations

import asyncio
import base64
import binascii
import difflib
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from redis.exceptions import RedisError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from . import http_docs
from .compose import Attachment, Batch, Mail, compose, new_uuid
from .envelope import Envelope
from .http_docs import Accepted, Fault, Found, Known, Problem, Result, Results, Search, State, Suppress
from .limits import WINDOW
from .message import with_crlf
from .passwords import Passwords, TooManyError
from .queue import QueueError
from .receiver import ConflictError, ForbiddenError, Intake, RejectedError
from .records import Record, Records, Wanted, state_of
from .returnpath import UUID
from .suppression import Entry, Suppression, SuppressionError, as_dict

log = logging.getLogger(__name__)

T = TypeVar("T")

SEND, MESSAGES, BATCH, SUPPRESSIONS = "/v1/mail/send", "/v1/messages", "/v1/messages/batch", "/v1/suppressions"
CSV = "text/csv"
OCTETS, JSON, PROBLEM = "application/octet-stream", "application/json", "application/problem+json"
KEY = "Idempotency-Key"
KEY_LIMIT = 255  # characters
FAULTS = 20  # that are told at once
LARGE = 262_144  # bytes; work on more is done beside the loop, which goes on answering others
AGAIN = 5  # seconds after which a client may try again
LOOKED = 5000  # messages that one search looks at
HELD = 4  # requests of the largest size that may be in memory at a time
CHALLENGE = {"WWW-Authenticate": 'Basic realm="mailer", charset="UTF-8"'}
SILENT = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class Manner:
    """How the receiver behaves. Times are in seconds: for a whole body, for its next bytes, and for the queue."""

    size_limit: int
    body_seconds: float = 300.0
    pause_seconds: float = 30.0
    queue_seconds: float = 30.0


class Refusal(Exception):
    """Why a request is not done, as the client is told."""

    def __init__(
        self,
        status: int,
        detail: str,
        faults: tuple[Fault, ...] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.faults, self.headers = status, detail, faults, headers


def application(
    intake: Intake,
    passwords: Passwords,
    manner: Manner,
    records: Records | None = None,
    suppressions: Suppressions | None = None,
) -> Starlette:
    """The ASGI application. Without ``records`` there is no search, without ``suppressions`` no list."""
    one = _Receiver(intake, passwords, manner, records)
    listed = _List(one, suppressions)
    routes = [
        Route(SEND, one.send, methods=["POST"]),
        Route(MESSAGES, one.message, methods=["POST"]),
        Route(BATCH, one.batch, methods=["POST"]),
        Route(MESSAGES, one.search, methods=["GET"]),
        Route(f"{MESSAGES}/{{uuid}}", one.known, methods=["GET"]),
        Route(SUPPRESSIONS, listed.read, methods=["GET"]),
        Route(SUPPRESSIONS, listed.add, methods=["POST"]),
        Route(SUPPRESSIONS, listed.remove, methods=["DELETE"]),
        Route("/openapi.json", one.openapi),
        Route("/docs", one.docs),
        Route("/healthz", one.health),
        Route("/readyz", one.ready),
    ]
    handlers: dict[Any, Any] = {
        Refusal: _refused,
        HTTPException: _not_found,
        ClientDisconnect: _gone,
        Exception: _broken,
    }
    return Starlette(routes=routes, exception_handlers=handlers)


class _Receiver:
    """The answers."""

    def __init__(self, intake: Intake, passwords: Passwords, manner: Manner, records: Records | None) -> None:
        self._intake, self._passwords, self._manner, self._records = intake, passwords, manner, records
        self._held = 0
        self._document = http_docs.document(manner.size_limit)
        self._page = http_docs.page(self._document)

    # -- what is asked for ------------------------------------------------------------------------

    async def send(self, request: Request) -> Response:
        """A message as MIME, with its recipients in To and Cc, as Inboxbooster-Mailer takes it."""
        login = await self.login(request)
        kind = request.headers.get("content-type", "*/*")
        if kind.lower() != OCTETS:
            raise Refusal(400, f"incorrect content type '{kind}', expected '{OCTETS}'")
        async with self.body(request) as body:
            raw = await _beside(len(body), with_crlf, body)
            await self._take(raw, (), login, from_header=True, refused=400)
        return Response()

    async def message(self, request: Request) -> Response:
        """A message as JSON."""
        login = await self.login(request)
        async with self.json(request) as data:
            uuid = await self._one(data, login, _key(request))
        return _answer(202, Accepted(uuid=uuid))

    async def batch(self, request: Request) -> Response:
        """Several, each judged by itself."""
        login = await self.login(request)
        key = _key(request)
        async with self.json(request) as data:
            try:
                items = Batch.model_validate(data).messages
            except ValidationError as err:
                raise _wrong(err, Batch) from None
            keys = [f"{key}\n{number}" if key else None for number in range(len(items))]
            results = await asyncio.gather(
                *(self._result(item, login, key) for item, key in zip(items, keys, strict=True))
            )
        statuses = {one.status for one in results}
        if statuses == {202}:
            return _answer(200, Results(results=results))
        if 503 in statuses and 202 not in statuses:
            return _answer(503, Results(results=results), {"Retry-After": str(AGAIN)})
        return _answer(207, Results(results=results))

    async def search(self, request: Request) -> Response:
        """The messages of this login that fit."""
        login = await self.login(request)
        try:
            asked = Search.model_validate(dict(request.query_params))
        except ValidationError as err:
            raise _wrong(err, Search) from None
        wanted = Wanted(asked.to, asked.sender, login, asked.since, asked.until, asked.outcome)
        async with self._asking() as records:
            page = await records.search(wanted, limit=asked.limit, after=asked.after, looked=LOOKED)
        messages = [_shown(record.envelope, record) for record in page.found if record.envelope is not None]
        return _answer(200, Found(messages=messages, after=page.after or None))

    async def known(self, request: Request) -> Response:
        """What became of one message of this login."""
        login = await self.login(request)
        uuid = request.path_params["uuid"]
        async with self._asking() as records:
            record = await records.read(uuid) if UUID.fullmatch(uuid) else None
        if record is None or record.envelope is None or record.envelope.login != login:
            raise Refusal(404, "nothing is known of it: it never came, or longer ago than records are kept")
        return _answer(200, _shown(record.envelope, record))

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[Records]:
        if self._records is None:
            raise Refusal(404, "there are no records here")
        try:
            async with asyncio.timeout(self._manner.queue_seconds):
                yield self._records
        except (RedisError, OSError, TimeoutError) as err:
            log.error("a search was put off: %s", err)
            headers = {"Retry-After": str(AGAIN)}
            raise Refusal(503, "the records cannot be read now, try again later", headers=headers) from None

    async def openapi(self, request: Request) -> Response:
        """What there is, for programs."""
        return JSONResponse(self._document)

    async def docs(self, request: Request) -> Response:
        """What there is, for people."""
        return HTMLResponse(self._page, headers=SILENT)

    async def health(self, request: Request) -> Response:
        """Whether this process lives."""
        return JSONResponse({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """Whether mail can be taken in."""
        try:
            async with asyncio.timeout(min(AGAIN, self._manner.queue_seconds)):
                there = await self._intake.ready()
        except TimeoutError:
            there = False
        if not there:
            raise Refusal(503, "the queue cannot be reached", headers={"Retry-After": str(AGAIN)})
        return JSONResponse({"status": "ok"})

    # -- what comes with a request ----------------------------------------------------------------

    async def login(self, request: Request) -> str:
        """Who it is. A body is not read before that is known."""
        user, password = _credentials(request.headers.get("authorization", ""))
        peer = request.client.host if request.client else ""
        try:
            if user and await self._passwords.right(user, password, peer):
                return user
        except TooManyError as err:
            log.warning("%s", err)
            headers = {"Retry-After": str(int(WINDOW))}
            raise Refusal(429, "too many wrong passwords, try again in a minute", headers=headers) from None
        if user:
            log.warning("a wrong password from %s", peer)
        raise Refusal(401, "log in with HTTP Basic: name or password is missing or wrong", headers=CHALLENGE)

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """The body; what is held of it counts until it is done with."""
        announced = request.headers.get("content-length", "0")
        if not announced.isdecimal() or len(announced) > 20 or int(announced) > self._manner.size_limit:
            raise self._too_large()
        body = bytearray()
        try:
            await self._read(request, body)
            yield bytes(body)
        finally:
            self._held -= len(body)

    async def _read(self, request: Request, body: bytearray) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._manner.body_seconds
        try:
            async with asyncio.timeout(self._manner.pause_seconds) as clock:
                async for chunk in request.stream():
                    clock.reschedule(min(end, loop.time() + self._manner.pause_seconds))
                    body += chunk
                    self._held += len(chunk)
                    if len(body) > self._manner.size_limit:
                        raise self._too_large()
                    if self._held > HELD * self._manner.size_limit:
                        raise Refusal(
                            503, "too much comes in at once, try again later", headers={"Retry-After": str(AGAIN)}
                        )
        except TimeoutError:
            raise Refusal(408, "the body came too slowly: send it without long pauses") from None

    def _too_large(self) -> Refusal:
        self._intake.counts.dropped += 1
        return Refusal(413, f"a request may have {self._manner.size_limit} bytes: send less, or attach less")

    @asynccontextmanager
    async def json(self, request: Request) -> AsyncIterator[Any]:
        """The body, as JSON has it."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != JSON:
            raise Refusal(415, f"the content type must be {JSON}")
        async with self.body(request) as body:
            try:
                data = await _beside(len(body), from_json, body)
            except ValueError as err:
                self._intake.counts.dropped += 1
                raise Refusal(400, f"the body is no JSON: {err}") from None
            yield data

    # -- into the queue ---------------------------------------------------------------------------

    async def _one(self, data: object, login: str, key: str | None) -> str:
        """Take one message in; its uuid."""
        try:
            mail = _validated(data)
            if key and mail.uuid:
                fault = Fault(field="uuid", message=f"it names the message, and so does {KEY}: give one of them")
                raise Refusal(422, "the message is not as it should be", (fault,))
        except Refusal:
            self._intake.counts.dropped += 1
            raise
        uuid = mail.uuid or (_uuid_of(login, key) if key else new_uuid())
        raw = await _beside(_size(mail), compose, mail, uuid)
        if len(raw) > self._manner.size_limit:
            raise self._too_large()
        return await self._take(raw, mail.recipients, login, from_header=False, refused=422)

    async def _take(
        self, raw: bytes, recipients: tuple[str, ...], login: str, *, from_header: bool, refused: int
    ) -> str:
        try:
            async with asyncio.timeout(self._manner.queue_seconds):
                return await self._intake.take(raw, recipients, login, from_header=from_header)
        except ConflictError as err:
            raise Refusal(409, str(err)) from None
        except ForbiddenError as err:
            raise Refusal(403, str(err)) from None
        except RejectedError as err:
            raise Refusal(refused, str(err)) from None
        except (QueueError, TimeoutError) as err:
            log.error("a message was put off: %s", err)
            headers = {"Retry-After": str(AGAIN)}
            raise Refusal(503, "the queue does not take it now, try again later", headers=headers) from None

    async def _result(self, data: object, login: str, key: str | None) -> Result:
        try:
            return Result(status=202, uuid=await self._one(data, login, key))
        except Refusal as refusal:
            return Result(status=refusal.status, detail=refusal.detail, errors=list(refusal.faults))


@dataclass(frozen=True)
class Suppressions:
    """The suppression list, and the logins that may see and change it."""

    listed: Suppression
    logins: frozenset[str]


class _List:
    """The answers about the suppression list."""

    def __init__(self, receiver: _Receiver, suppressions: Suppressions | None) -> None:
        self._receiver, self._suppressions = receiver, suppressions

    async def read(self, request: Request) -> Response:
        """What suppresses an address; all of the list as CSV where none is named."""
        async with self._of(request) as listed:
            address, stream = request.query_params.get("address"), request.query_params.get("stream")
            if address is None:
                return Response(
                    "".join([line async for line in listed.export()]).encode("utf-8", "replace"), 200, None, CSV
                )
            found = await listed.check([(address, stream)])
            return JSONResponse({"suppressed": [as_dict(entry) for entry in found.values()]})

    async def add(self, request: Request) -> Response:
        """One entry as JSON, or many as CSV."""
        async with self._of(request) as listed:
            if request.headers.get("content-type", "").partition(";")[0].strip().lower() == CSV:
                async with self._receiver.body(request) as body:
                    try:
                        text = body.decode("utf-8-sig")
                    except UnicodeDecodeError:
                        raise Refusal(422, "the list is not UTF-8") from None
                return JSONResponse({"changed": await listed.import_(text)})
            async with self._receiver.json(request) as data:
                try:
                    one = Suppress.model_validate(data)
                except ValidationError as err:
                    raise _wrong(err, Suppress) from None
            expiry = int(time.time()) + one.days * 86_400 if one.days else 0
            entry = Entry(one.address, one.reason, "HTTP", 0, expiry, one.stream)
            return JSONResponse({"changed": await listed.add([entry], replace=one.replace)})

    async def remove(self, request: Request) -> Response:
        """Take an entry out."""
        async with self._of(request) as listed:
            address, stream = request.query_params.get("address", ""), request.query_params.get("stream", "")
            if not await listed.remove(address, stream):
                raise Refusal(404, "it is not on the list")
            return JSONResponse({"changed": 1})

    @asynccontextmanager
    async def _of(self, request: Request) -> AsyncIterator[Suppression]:
        login = await self._receiver.login(request)
        if self._suppressions is None or login not in self._suppressions.logins:
            why = f"the login {login} may not see or change the suppression list: set suppressions to true for it"
            raise Refusal(403, why)
        try:
            yield self._suppressions.listed
        except SuppressionError as err:
            raise Refusal(422, str(err)) from None
        except (RedisError, OSError, TimeoutError) as err:
            log.error("the suppression list was not reached: %s", err)
            headers = {"Retry-After": str(AGAIN)}
            raise Refusal(503, "the list cannot be reached now, try again later", headers=headers) from None


async def _beside(size: int, work: Callable[..., T], *words: Any) -> T:
    """The result of work, done on a thread if it is much."""
    return work(*words) if size < LARGE else await asyncio.to_thread(work, *words)


def _credentials(header: str) -> tuple[str, str]:
    """Name and password of HTTP Basic (RFC 7617); empty if there are none."""
    scheme, dummy, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        user, dummy, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return "", ""
    return user, password


def _key(request: Request) -> str | None:
    keys = request.headers.getlist(KEY)
    if not keys:
        return None
    if len(keys) > 1 or not 1 <= len(keys[0]) <= KEY_LIMIT:
        fault = Fault(field=KEY, message=f"give it once, with 1 to {KEY_LIMIT} characters")
        raise Refusal(400, "a header is not as it should be", (fault,))
    return keys[0]


def _uuid_of(login: str, key: str) -> str:
    """The uuid that a login's key stands for."""
    return hashlib.sha256(f"{login}\n{key}".encode()).hexdigest()[:32]


def _size(mail: Mail) -> int:
    return len(mail.text or "") + len(mail.html or "") + sum(len(one.content) for one in mail.attachments)


def _validated(data: object) -> Mail:
    try:
        return Mail.model_validate(data)
    except ValidationError as err:
        raise _wrong(err, Mail) from None


def _shown(envelope: Envelope, record: Record) -> Known:
    states = {recipient: state_of(record, recipient) for recipient in envelope.recipients}
    return Known(
        uuid=envelope.uuid,
        time=int(envelope.received),
        **{"from": envelope.author},
        stream_id=envelope.stream_id,
        recipients=[State(address=recipient, **state) for recipient, state in states.items()],
    )


def _wrong(error: ValidationError, model: type[BaseModel]) -> Refusal:
    found = error.errors(include_url=False, include_context=False, include_input=False)[:FAULTS]
    faults = tuple(Fault(field=_where(one["loc"]), message=_said(one)) for one in found)
    what = {Mail: "the message is", Batch: "the batch is", Suppress: "the entry is"}.get(model, "the search is")
    return Refusal(422, f"{what} not as it should be", faults)


def _where(loc: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in loc)[:200]


def _said(error: Mapping[str, Any]) -> str:
    if error["type"] == "missing":
        return "it is missing: give it"
    if error["type"] != "extra_forbidden":
        return str(error["msg"]).removeprefix("Value error, ")
    model = Attachment if error["loc"][0] == "attachments" else Mail
    near = difflib.get_close_matches(str(error["loc"][-1])[:100], model.names(), 1)
    return "there is no such field" + (f"; did you mean {near[0]}?" if near else "")


# -- answers ---------------------------------------------------------------------------------------


def _answer(status: int, body: BaseModel, headers: Mapping[str, str] | None = None, kind: str = JSON) -> Response:
    return Response(body.model_dump_json(exclude_defaults=True, by_alias=True), status, headers, kind)


def _refused(request: Request, refusal: Refusal) -> Response:
    title = HTTPStatus(refusal.status).phrase
    if request.url.path == SEND:
        # As Inboxbooster-Mailer words it.
        text = "" if refusal.status == 401 else f"{refusal.status} {title}: {title}: {refusal.detail}"
        return Response(text, refusal.status, refusal.headers, "text/plain")
    problem = Problem(title=title, status=refusal.status, detail=refusal.detail, errors=list(refusal.faults))
    return _answer(refusal.status, problem, refusal.headers, PROBLEM)


def _not_found(request: Request, error: HTTPException) -> Response:
    return _refused(request, Refusal(error.status_code, error.detail, headers=error.headers))


def _gone(request: Request, error: ClientDisconnect) -> Response:
    return Response(status_code=400)  # that nobody reads


def _broken(request: Request, error: Exception) -> Response:
    return _refused(request, Refusal(500, "something went wrong here; it is in the log"))
