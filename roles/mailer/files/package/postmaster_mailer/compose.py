# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: a message as JSON describes it, and the MIME message that it makes.

The same description under the same uuid makes the same bytes, so that a request that is sent again is known again:
boundaries come from the uuid, and Date and Message-ID are left to the transformer.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import quote
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    SkipValidation,
    WithJsonSchema,
    model_validator,
)

from .message import LINE_LIMIT
from .returnpath import UUID

LINE = 78  # RFC 5322 section 2.1.1: lines should be no longer
RECIPIENTS, ATTACHMENTS, HEADERS, BATCH = 1000, 100, 50, 500  # the most of each
SLOW_ENCODER = 65_536  # bytes of text; beyond it base64 is taken, as quoted-printable is encoded byte by byte
WORD = 30  # bytes in an encoded word, so that it has its place in a line of 76 (RFC 2047 section 2) with most names
POLICY = SMTP.clone(cte_type="7bit")

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"(?=.{{1,64}}@){_ATOM}(?:\.{_ATOM})*@(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*")
_MAILBOX = re.compile(r"""(?:"((?:[^"\\]|\\.)*)"\s*|([^"<>]*))<([^<>]*)>""")
_PHRASE = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_TOKEN = r"[\w!#$&^.+-]{1,100}"
_TYPE = re.compile(rf"({_TOKEN})/({_TOKEN})((?:; ?{_TOKEN}={_TOKEN}){{0,5}})", re.ASCII)
_PARAMETER = re.compile(r"; ?([^=]+)=([^;]+)")
_CID = re.compile(r"[\w.+-]{1,100}(?:@[\w.-]{1,100})?", re.ASCII)

# What an application may set beside X-fields. All else is structure, or ours.
UNSTRUCTURED = frozenset({"comments", "keywords", "organization"})
ALLOWED = UNSTRUCTURED | {
    "auto-submitted", "importance", "in-reply-to", "list-archive", "list-help", "list-id", "list-owner", "list-post",
    "list-subscribe", "list-unsubscribe", "list-unsubscribe-post", "precedence", "references", "sensitivity",
}  # fmt: skip
INSTEAD = {name: name.replace("-", "_") for name in ("from", "to", "cc", "bcc", "reply-to", "subject")} | {
    "x-priority": "priority",
    "x-uuid": "uuid",
    "x-stream-id": "stream_id",
}
MAILERS = frozenset({"x-mailer", "x-returnpathib"})


def _one_line(text: str) -> str:
    if found := _CONTROL.search(text):
        raise ValueError(f"there is a control character at {found.start()}: write it in one line, without line breaks")
    return text.strip()


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("there is a NUL in it: leave it out, or attach the data as a file")
    return text


def _mailbox(text: str) -> str:
    text = _one_line(text)
    split(text)
    return text


def split(text: str) -> tuple[str, str]:
    """Name and address of ``Name <address>`` or of a plain address. Raises ValueError."""
    name, address = "", text
    if found := _MAILBOX.fullmatch(text):
        name, address = re.sub(r"\\(.)", r"\1", found[1]) if found[1] is not None else found[2].strip(), found[3]
    if not _ADDRESS.fullmatch(address):
        far = "; a domain outside of ASCII is written as xn--" if not address.isascii() else ""
        raise ValueError(f"this is no address: write a@example.org or Name <a@example.org>{far}")
    return name, address


def _base64(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("this is no base64: use the standard alphabet with its padding, without line breaks") from None


def _content_type(text: str) -> str:
    found = _TYPE.fullmatch(text)
    if not found:
        raise ValueError("this is no content type: write it as application/pdf")
    if found[1].lower() in ("multipart", "message"):
        raise ValueError(f"{found[1]} cannot be attached as it is: use application/octet-stream")
    return text


def _cid(text: str) -> str:
    if not _CID.fullmatch(text):
        raise ValueError("use letters, digits and . _ + - with at most one @, without < and >")
    return text


def _few_headers(headers: object) -> object:
    if isinstance(headers, dict) and len(headers) > HEADERS:
        raise ValueError(f"{HEADERS} fields may stand there, not {len(headers)}")
    return headers


def _headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        key = name.lower()
        if not re.fullmatch(r"[a-z0-9-]{1,70}", key):
            raise ValueError("a name in it is none: use letters, digits and -")
        if key in INSTEAD:
            raise ValueError(f"{name} cannot be set here: use {INSTEAD[key]}")
        if key in MAILERS or not (key in ALLOWED or key.startswith("x-")):
            raise ValueError(f"{name} cannot be set: it is the mailer's own, or not among what may be set")
        if not value.isascii() and key in ALLOWED - UNSTRUCTURED:
            raise ValueError(f"{name} must be ASCII: write other letters percent-encoded or as xn--")
    if len({name.lower() for name in headers}) < len(headers):
        raise ValueError("a field stands there twice, in other letters: leave one out")
    return headers


def _attachments(attachments: list[Attachment]) -> list[Attachment]:
    cids = [one.cid for one in attachments if one.cid is not None]
    if len(set(cids)) < len(cids):
        raise ValueError("two of them have the same cid: give each its own")
    return attachments


Line = Annotated[str, Field(max_length=900), AfterValidator(_one_line)]
Text = Annotated[str, AfterValidator(_no_nul)]
Mailbox = Annotated[str, Field(max_length=500, examples=["Ann <ann@example.org>"]), AfterValidator(_mailbox)]
Mailboxes = Annotated[list[Mailbox], Field(max_length=RECIPIENTS), FailFast()]
File = Annotated[bytes, BeforeValidator(_base64), WithJsonSchema({"type": "string", "contentEncoding": "base64"})]


class Part(BaseModel):
    """What all parts have: a field that is not known is an error, and "1" is no 1."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _few(cls, data: Any) -> Any:
        """Not a fault for each of a million fields that are not known."""
        if isinstance(data, dict) and len(data) > 2 * len(cls.model_fields):
            raise ValueError(f"there are no more fields than these: {', '.join(cls.names())}")
        return data

    @classmethod
    def names(cls) -> list[str]:
        """The fields, as they are written."""
        return [field.alias or name for name, field in cls.model_fields.items()]


class Attachment(Part):
    """A file that goes with the message."""

    filename: Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_one_line)] = Field(
        description="Its name, in any script."
    )
    content: File = Field(description="Its bytes in base64.")
    content_type: Annotated[str, AfterValidator(_content_type)] = Field(
        "application/octet-stream", description="Its type, with parameters where they matter."
    )
    cid: Annotated[str, AfterValidator(_cid)] | None = Field(
        None, description='A name under which the HTML shows it: <img src="cid:logo"> shows the one with the cid logo.'
    )


class Mail(Part):
    """A message to be sent."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "from": "Shop <shop@example.org>",
                    "to": ["Ann <ann@example.com>"],
                    "subject": "Your order",
                    "text": "It is on its way.",
                }
            ]
        }
    )

    sender: Mailbox = Field(alias="from", description="Who it is from; the domain must be one of the mailer's.")
    to: Mailboxes = Field([], description="Recipients that all see.")
    cc: Mailboxes = Field([], description="More recipients that all see.")
    bcc: Mailboxes = Field([], description="Recipients that nobody sees.")
    reply_to: Mailboxes = Field([], description="Where answers go, if not to from.")
    subject: Line = Field("", description="One line.")
    text: Text | None = Field(None, description="The message as plain text.")
    html: Text | None = Field(None, description="The message as HTML.")
    headers: Annotated[dict[str, Line], BeforeValidator(_few_headers), AfterValidator(_headers)] = Field(
        {}, description="More header fields: " + ", ".join(sorted(ALLOWED)) + " and those that begin with x-."
    )
    attachments: Annotated[
        list[Attachment], Field(max_length=ATTACHMENTS), FailFast(), AfterValidator(_attachments)
    ] = Field([], description="Files that go with it.")
    stream_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")] | None = Field(
        None, description="What it belongs to, such as a template and a campaign; comes back in its events."
    )
    priority: Literal[0, 1] = Field(1, description="0 for mail that goes first.")
    uuid: Annotated[str, Field(pattern=f"^{UUID.pattern}$")] | None = Field(
        None, description="Its name in events. The same uuid with the same content is queued once. Made if missing."
    )

    @model_validator(mode="after")
    def _whole(self) -> Mail:
        people = len(self.to) + len(self.cc) + len(self.bcc)
        if not 1 <= people <= RECIPIENTS:
            raise ValueError(f"name 1 to {RECIPIENTS} recipients in to, cc and bcc, not {people}")
        if self.text is None and self.html is None:
            raise ValueError("give text, html or both")
        if self.html is None and any(one.cid is not None for one in self.attachments):
            raise ValueError("an attachment with a cid needs html that shows it: leave the cid out")
        return self

    @property
    def recipients(self) -> tuple[str, ...]:
        """The addresses that it goes to, each once."""
        return tuple(dict.fromkeys(split(one)[1] for one in (*self.to, *self.cc, *self.bcc)))


class Batch(Part):
    """Messages that are sent together; each is judged by itself."""

    messages: Annotated[list[SkipValidation[Mail]], Field(min_length=1, max_length=BATCH)]


def new_uuid() -> str:
    """A uuid that nobody has."""
    return secrets.token_hex(16)


def compose(mail: Mail, uuid: str) -> bytes:
    """The message, in lines that end in CRLF and are no longer than SMTP allows, all in ASCII."""
    fields = {
        "From": [mail.sender],
        "To": mail.to,
        "Cc": mail.cc,
        "Reply-To": mail.reply_to,
    }
    lines = [_addresses(name, people) for name, people in fields.items() if people]
    lines += [_field(name, value) for name, value in _texts(mail, uuid)]
    body = _body(mail)
    for number, part in enumerate(body.walk()):
        if part.get_content_maintype() == "multipart":
            part.set_boundary(f"=_{uuid}_{number}")
    return "".join(lines).encode() + body.as_bytes(policy=POLICY)


def _texts(mail: Mail, uuid: str) -> Iterator[tuple[str, str]]:
    yield "Subject", mail.subject
    yield "X-Uuid", uuid
    yield "X-Priority", str(mail.priority)
    if mail.stream_id is not None:
        yield "X-Stream-Id", mail.stream_id
    yield from mail.headers.items()


def _addresses(name: str, people: Sequence[str]) -> str:
    """One address a line, as lists of them may be long."""
    return f"{name}: " + ",\r\n ".join(map(_written, people)) + "\r\n"


def _written(mailbox: str) -> str:
    name, address = split(mailbox)
    if not name:
        return address
    if _foreign(name):
        return f"{_encoded(name)}\r\n <{address}>"
    return f"{name} <{address}>" if _PHRASE.fullmatch(name) else f'"{quote(name)}" <{address}>'


def _field(name: str, value: str) -> str:
    if _foreign(value):
        return f"{name}: {_encoded(value)}\r\n"
    lines, line = [], f"{name}:"
    for word in value.split(" "):
        # Never after the name alone, and never so that a line has nothing but white space.
        if word and line.strip() and line != f"{name}:" and len(line) + 1 + len(word) > LINE:
            lines.append(line)
            line = f" {word}"
        else:
            line += f" {word}"
    return "\r\n".join([*lines, line]) + "\r\n"


def _foreign(text: str) -> bool:
    """Whether it cannot stand in a header as it is, or would be read as something else there."""
    return not text.isascii() or "=?" in text


def _encoded(text: str) -> str:
    """Encoded words (RFC 2047 section 2), one a line, each of whole characters."""
    words = [b""]
    for character in text:
        data = character.encode()
        if len(words[-1]) + len(data) > WORD:
            words.append(b"")
        words[-1] += data
    return "\r\n ".join(f"=?utf-8?b?{base64.b64encode(word).decode()}?=" for word in words)


def _body(mail: Mail) -> EmailMessage:
    body = EmailMessage(policy=POLICY)
    if mail.text is not None:
        _set(body.set_content, mail.text, "plain")
    if mail.html is not None:
        _set(body.set_content if mail.text is None else body.add_alternative, mail.html, "html")
    rich: Any = body if mail.text is None or mail.html is None else list(body.iter_parts())[-1]
    for one in mail.attachments:
        if one.cid is not None:
            rich.add_related(one.content, disposition="inline", cid=f"<{one.cid}>", **_described(one))
    for one in mail.attachments:
        if one.cid is None:
            body.add_attachment(one.content, **_described(one))
    return body


def _described(one: Attachment) -> Mapping[str, Any]:
    found = _TYPE.fullmatch(one.content_type)
    assert found is not None
    parameters = dict(_PARAMETER.findall(found[3]))
    return {"maintype": found[1], "subtype": found[2], "filename": one.filename, "params": parameters}


def _set(setter: Any, text: str, subtype: str) -> None:
    data = text.encode()
    if data.isascii() and max(map(len, data.splitlines()), default=0) <= LINE_LIMIT and b"--=_" not in data:
        encoding = "7bit"
    elif len(data) < SLOW_ENCODER and len(data) - len(text) < len(text) / 4:
        encoding = "quoted-printable"
    else:
        encoding = "base64"
    setter(text, subtype=subtype, cte=encoding)
