# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: the HTTP receiver's answers, its OpenAPI document, and the page that shows it without help from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema

from .compose import Batch, Mail
from .events import LATEST

VERSION = "1"


class Accepted(BaseModel):
    """A message that is safe in the queue."""

    uuid: str = Field(description="The message's name in events.")


class Fault(BaseModel):
    """What is wrong with one field."""

    field: str = Field(description="Its path, such as attachments.0.content; empty where the whole is meant.")
    message: str = Field(description="What is wrong, and what to do.")


class Problem(BaseModel):
    """Why a request was not done (RFC 9457)."""

    title: str
    status: int
    detail: str
    errors: list[Fault] = []


class Result(BaseModel):
    """What became of one message of a batch."""

    status: int = Field(description="What the message alone would have been answered.")
    uuid: str | None = None
    detail: str | None = None
    errors: list[Fault] = []


class Results(BaseModel):
    """What became of each message of a batch, in its order."""

    results: list[Result]


class State(BaseModel):
    """What became of a message for one recipient."""

    address: str
    state: str = Field(description="The newest event, or under-way.")
    time: int | None = Field(default=None, description="When, in seconds since 1970.")
    type: str | None = None
    reason: str | None = None
    msg: str | None = None
    ip: str | None = None
    sink: bool = Field(default=False, description="It was not delivered, as sink mode was on.")


class Known(BaseModel):
    """A message that was taken in, and what became of it."""

    model_config = ConfigDict(populate_by_name=True)

    uuid: str
    time: int = Field(description="When it was taken in, in seconds since 1970.")
    sender: str = Field(alias="from")
    stream_id: str | None = None
    recipients: list[State]


class Found(BaseModel):
    """Messages, the newest first."""

    messages: list[Known]
    after: str | None = Field(default=None, description="Ask again with it for more; without it there are none.")


class Search(BaseModel):
    """What is searched for; what is left out is no matter."""

    model_config = ConfigDict(extra="forbid")

    to: str = Field(default="", max_length=320, description="A recipient, or a domain with an @ before it.")
    sender: str = Field(default="", max_length=320, alias="from", description="An author, or a domain with an @.")
    since: int = Field(default=0, ge=0, lt=LATEST, description="Taken in then or later, in seconds since 1970.")
    until: int = Field(default=0, ge=0, lt=LATEST, description="Taken in before.")
    outcome: Literal["", "bounce", "delivered", "error", "spam-report", "under-way", "unsubscribe"] = Field(
        default="", description="What became of it, for that recipient."
    )
    limit: int = Field(default=100, ge=1, le=1000)
    after: str = Field(default="", pattern=r"^(?:[0-9]{15}-[a-z0-9]{1,40})?$", description="Of the page before.")


class Suppress(BaseModel):
    """Who is to get no mail."""

    model_config = ConfigDict(extra="forbid")

    address: str = Field(max_length=320, description="An address or a domain.")
    stream: str = Field(default="", max_length=100, description="For mail of this stream_id alone.")
    reason: str = Field(default="manual", max_length=200)
    days: int | None = Field(default=None, ge=1, le=36_500, description="For how long; for good without it.")
    replace: bool = Field(default=False, description="Also if it is on the list for longer.")


MODELS = (Mail, Batch, Accepted, Problem, Results, Known, Found, Suppress)
AGAIN = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Instead of uuid: a request with the same key and content is done once. It counts for a day.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}


def document(size_limit: int) -> dict[str, Any]:
    """The OpenAPI document."""
    dummy, schemas = models_json_schema(
        [(model, "validation") for model in MODELS], ref_template="#/components/schemas/{model}"
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Mailer",
            "version": VERSION,
            "description": "Takes mail in to be signed and sent. A message that was accepted is safe in the queue; "
            f"what becomes of it is told in events. A request may have {size_limit} bytes.",
            "license": {"name": "GPL-3.0-or-later", "identifier": "GPL-3.0-or-later"},
        },
        "security": [{"basic": []}],
        "paths": {
            "/v1/messages": {"post": _message(), "get": _search()},
            "/v1/messages/batch": {"post": _batch()},
            "/v1/messages/{uuid}": {"get": _known()},
            "/v1/mail/send": {"post": _send()},
            "/v1/suppressions": {"get": _listed(), "post": _add(), "delete": _remove()},
            "/healthz": {"get": _look("health", "Whether the process lives.", queue=False)},
            "/readyz": {"get": _look("ready", "Whether the queue can be reached.", queue=True)},
        },
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"basic": {"type": "http", "scheme": "basic"}},
        },
    }


def _message() -> dict[str, Any]:
    refusals = {409: "Another message has this uuid or key.", 422: "A field is wrong."}
    return {
        "operationId": "sendMessage",
        "summary": "Send a message described in JSON.",
        "parameters": [KEY],
        "requestBody": _body("Mail"),
        "responses": {"202": _json("The message is queued, or was before.", "Accepted"), **_refusals(refusals)},
    }


def _search() -> dict[str, Any]:
    schema = Search.model_json_schema()["properties"]
    fields = [
        {"name": name, "in": "query", "description": about.get("description", "How many."), "schema": about}
        for name, about in schema.items()
    ]
    return {
        "operationId": "findMessages",
        "summary": "Find messages that this login handed in, while records of them are kept.",
        "parameters": fields,
        "responses": {"200": _json("What was found.", "Found"), **_asked({422: "A field is wrong."})},
    }


def _known() -> dict[str, Any]:
    uuid = {"name": "uuid", "in": "path", "required": True, "description": "Its name.", "schema": {"type": "string"}}
    return {
        "operationId": "getMessage",
        "summary": "What became of a message that this login handed in.",
        "parameters": [uuid],
        "responses": {"200": _json("It is known.", "Known"), **_asked({404: "Nothing is known of it."})},
    }


_OBJECT, _TEXT = {"schema": {"type": "object"}}, {"schema": {"type": "string"}}
_CHANGED = {"description": "How many entries changed.", "content": {"application/json": _OBJECT}}
_NOT_ALLOWED = {403: "The login may not see or change the list."}


def _named(*, required: bool) -> list[dict[str, Any]]:
    text = {"type": "string"}
    address = {"name": "address", "in": "query", "required": required, "description": "Of a recipient.", "schema": text}
    return [address, {"name": "stream", "in": "query", "description": "Its stream_id.", "schema": text}]


def _listed() -> dict[str, Any]:
    shown = {"application/json": _OBJECT, "text/csv": _TEXT}
    return {
        "operationId": "getSuppressions",
        "summary": "What suppresses an address; without one all of the list as CSV.",
        "parameters": _named(required=False),
        "responses": {"200": {"description": "The entries.", "content": shown}, **_asked(_NOT_ALLOWED)},
    }


def _add() -> dict[str, Any]:
    body = _body("Suppress")
    body["content"]["text/csv"] = _TEXT
    return {
        "operationId": "addSuppressions",
        "summary": "Put an entry in, or a list as CSV.",
        "requestBody": body,
        "responses": {"200": _CHANGED, **_refusals({**_NOT_ALLOWED, 422: "A field or a line is wrong."})},
    }


def _remove() -> dict[str, Any]:
    return {
        "operationId": "removeSuppression",
        "summary": "Take an entry out.",
        "parameters": _named(required=True),
        "responses": {"200": _CHANGED, **_asked({**_NOT_ALLOWED, 404: "It is not on the list."})},
    }


def _asked(more: Mapping[int, str]) -> dict[str, Any]:
    """The refusals of what has no body."""
    return {status: one for status, one in _refusals(more).items() if status in {"401", "429", "503", *map(str, more)}}


def _batch() -> dict[str, Any]:
    refused = _refusals({422: "This is no list of 1 to 500 messages."})
    refused["503"] = _json("None was queued, as the queue does not take them now.", "Results") | {"headers": AGAIN}
    return {
        "operationId": "sendMessages",
        "summary": "Send up to 500 messages, each judged by itself.",
        "parameters": [KEY],
        "requestBody": _body("Batch"),
        "responses": {
            "200": _json("All are queued.", "Results"),
            "207": _json("Some are not: see the results.", "Results"),
            **refused,
        },
    }


def _send() -> dict[str, Any]:
    text = {"text/plain": {"schema": {"type": "string"}}}
    reasons = {
        400: "The content type, the header, X-Uuid, X-Priority or the recipients are wrong.",
        401: "Name or password is missing or wrong.",
        403: "The login may not send from this domain.",
        408: "The body came too slowly.",
        409: "Another message has this uuid.",
        413: "It is too large.",
        429: "Too many wrong passwords came from this address.",
        503: "The queue does not take it now.",
    }
    return {
        "operationId": "sendRaw",
        "summary": "Send a message as it is, with X-Uuid in its header and its recipients in To and Cc.",
        "requestBody": {"required": True, "content": {"application/octet-stream": {}}},
        "responses": {
            "200": {"description": "The message is queued, or was before."},
            **{str(status): {"description": why, "content": text} for status, why in reasons.items()},
        },
    }


def _look(name: str, summary: str, *, queue: bool) -> dict[str, Any]:
    responses = {"200": {"description": "It is so."}}
    if queue:
        responses["503"] = _json("It is not.", "Problem", "application/problem+json")
    return {"operationId": name, "summary": summary, "security": [], "responses": responses}


def _body(model: str) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": _ref(model)}}}


def _json(description: str, model: str, kind: str = "application/json") -> dict[str, Any]:
    return {"description": description, "content": {kind: {"schema": _ref(model)}}}


def _ref(model: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model}"}


def _refusals(more: Mapping[int, str]) -> dict[str, Any]:
    reasons = {
        400: "The body is no JSON.",
        401: "Name or password is missing or wrong.",
        403: "The login may not send from this domain.",
        408: "The body came too slowly.",
        413: "It is too large.",
        415: "The content type is not application/json.",
        429: "Too many wrong passwords came from this address.",
        503: "The queue does not take it now.",
        **more,
    }
    made = {str(code): _json(why, "Problem", "application/problem+json") for code, why in sorted(reasons.items())}
    for code in ("429", "503"):
        made[code]["headers"] = AGAIN
    return made


STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; vertical-align: top; padding: .3rem .6rem;
border-top: 1px solid #ccc } pre { background: #f4f4f4; padding: 1rem; overflow: auto } h2 { margin-top: 3rem }
@media (prefers-color-scheme: dark) { body { background: #1b1b1b; color: #ddd } pre { background: #2a2a2a } }
"""


def page(found: Mapping[str, Any]) -> str:
    """The document as a page of HTML."""
    info = found["info"]
    parts = [
        "<!doctype html>",
        f'<html lang="en"><meta charset="utf-8"><title>{escape(info["title"])}</title><style>{STYLE}</style>',
        f"<h1>{escape(info['title'])}</h1><p>{escape(info['description'])}",
        '<p>For programs: <a href="openapi.json">openapi.json</a> (OpenAPI 3.1).',
    ]
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            parts += _operation(f"{method.upper()} {path}", operation)
    for name, schema in found["components"]["schemas"].items():
        parts += _schema(name, schema)
    return "\n".join(parts) + "\n"


def _operation(title: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h2>{escape(title)}</h2><p>{escape(operation['summary'])}"
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"<p>Body: {_type(content['schema']) if 'schema' in content else 'the message'} as {escape(kind)}"
    for one in operation.get("parameters", ()):
        where = {"header": "Header", "query": "Query", "path": "Path"}[one["in"]]
        yield f"<p>{where} <code>{escape(one['name'])}</code>: {escape(one['description'])}"
    yield "<table><tr><th>answer<th>meaning"
    for status, answer in operation["responses"].items():
        shown = next((_type(one["schema"]) for one in answer.get("content", {}).values()), "")
        yield f"<tr><td>{status} {shown}<td>{escape(answer['description'])}"
    yield "</table>"


def _schema(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield f'<h2 id="{escape(name)}">{escape(name)}</h2><p>{escape(schema.get("description", ""))}'
    for example in schema.get("examples", ()):
        yield f"<pre>{escape(json.dumps(example, indent=2, ensure_ascii=False))}</pre>"
    yield "<table><tr><th>field<th>type<th>meaning"
    for field, about in schema["properties"].items():
        needed = " (required)" if field in schema.get("required", ()) else ""
        meaning = escape(about.get("description", ""))
        yield f"<tr><td><code>{escape(field)}</code>{needed}<td>{_type(about)}<td>{meaning}"
    yield "</table>"


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(escape(json.dumps(one)) for one in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    encoded = f" ({escape(schema['contentEncoding'])})" if "contentEncoding" in schema else ""
    return escape(str(schema.get("type", "any"))) + encoded
