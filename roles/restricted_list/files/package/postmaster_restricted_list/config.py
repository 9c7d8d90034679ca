# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: the configuration, read from one YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from .message import Style, address
from .secret import Secret

DEFAULT = Path("/etc/postmaster-restricted-list/config.yaml")
FOOTER = "Sent by $sender.\nGet no more of this: $unsubscribe"
Port = Annotated[int, Field(ge=1, le=65535)]
Sender = Literal["reply-to", "footer", "hidden"]
Address = Annotated[str, AfterValidator(address)]


class ConfigError(Exception):
    """The configuration cannot be used; each line of the text names a key and says what is wrong with it."""


def _database(url: SecretStr) -> SecretStr:
    try:
        make_url(url.get_secret_value())
    except ArgumentError:
        raise ValueError("it is no URL of a database, such as sqlite:////var/lib/list.db") from None
    return url


DatabaseUrl = Annotated[SecretStr, AfterValidator(_database)]


class Section(BaseModel):
    """A key that is not known is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Listen(Section):
    """Where to listen."""

    host: str = "127.0.0.1"
    port: Port


class Smtp(Listen):
    """SMTP; STARTTLS is offered where there is a certificate."""

    certificate: Path | None = None
    key: Path | None = None
    require_tls: bool = False

    @model_validator(mode="after")
    def _pair(self) -> Smtp:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together: give both or neither")
        if self.require_tls and self.certificate is None:
            raise ValueError("require_tls needs a certificate and a key")
        return self


class Relay(Section):
    """The server that takes what goes out."""

    host: str = "127.0.0.1"
    port: Port = 25
    tls: Literal["none", "may", "verify"] = "may"
    user: str = ""
    password: SecretStr = SecretStr("")

    @model_validator(mode="after")
    def _login(self) -> Relay:
        if bool(self.user) != bool(self.password.get_secret_value()):
            raise ValueError("user and password go together: give both or neither")
        if self.user and self.tls != "verify":
            raise ValueError("a password is given to a server that is known alone: set tls to verify")
        return self


class FileGroup(Section):
    """A YAML list, or a CSV file whose first line has ``address`` and, by choice, ``opted_out``."""

    kind: Literal["file"]
    path: Path


class SqlGroup(Section):
    """The first column is the address; a second one, if there is one, says whether it has opted out."""

    kind: Literal["sql"]
    url: DatabaseUrl
    query: str


class LdapGroup(Section):
    """All values of an attribute of the entries that are found."""

    kind: Literal["ldap"]
    url: str = Field(pattern=r"^ldaps?://[^/]+/?$")
    base: str
    filter: str = "(mail=*)"
    attribute: str = "mail"
    user: str = ""
    password: SecretStr = SecretStr("")
    starttls: bool = False
    ca_file: Path | None = None


class HttpGroup(Section):
    """JSON of the same shape as a YAML file."""

    kind: Literal["http"]
    url: str = Field(pattern=r"^https?://")
    bearer: SecretStr = SecretStr("")
    ca_file: Path | None = None


Group = Annotated[FileGroup | SqlGroup | LdapGroup | HttpGroup, Field(discriminator="kind")]


class Credential(Section):
    """Who may ask for tokens over HTTP. ``groups`` may hold ``*``; ``senders`` are addresses, ``@domain`` or ``*``."""

    name: str = Field(min_length=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    permissions: tuple[Literal["create"], ...] = ()
    groups: tuple[str, ...] = ()
    addresses: bool = False
    senders: tuple[str, ...] = ()
    notify: Address | None = None


class Config(Section):
    """All of it."""

    address: Address
    name: str = "Restricted list"
    from_address: Address | None = None
    bounce_address: Address
    list_id: str = Field(default="", pattern=r"^([A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+)?$")
    footer: str = FOOTER
    sender: Sender = "reply-to"
    unsubscribe_address: Address | None = None
    database: DatabaseUrl
    secret_file: Path
    lmtp: Listen | None = Listen(port=8024)
    smtp: Smtp | None = None
    http: Listen | None = None
    public_url: str = Field(default="", pattern=r"^(https?://[^\s/?#]+(/[^\s?#]*[^\s?#/])?)?$")
    relay: Relay = Relay()
    groups: Mapping[str, Group] = {}
    credentials: tuple[Credential, ...] = ()
    recipients_limit: int = Field(default=500, ge=1, le=100_000)
    token_days: float = Field(default=7, gt=0, le=366)
    download_minutes: float = Field(default=10, gt=0, le=1440)
    retry_hours: float = Field(default=48, gt=0)
    size_limit: int = Field(default=26_214_400, ge=10_000)
    authserv_id: str = ""

    @model_validator(mode="after")
    def _fits(self) -> Config:
        if self.lmtp is None and self.smtp is None:
            raise ValueError("nothing takes mail: give lmtp or smtp")
        if self.http is not None and not self.public_url:
            raise ValueError("http needs public_url, with which the links begin")
        return self

    @property
    def author(self) -> str:
        """The address that copies come from."""
        return self.from_address or self.address

    def style(self, sender: str) -> Style:
        """What copies look like that tell their author in this way."""
        list_id = self.list_id or self.address.replace("@", ".")
        mailbox = self.unsubscribe_address or ""
        return Style(self.name, self.author, list_id, self.footer, sender, mailbox)

    def secret(self) -> Secret:
        """What the secret's file holds. Raises :class:`ConfigError`."""
        try:
            key = self.secret_file.read_bytes().strip()
        except OSError as err:
            raise ConfigError(f"secret_file: {err}") from None
        if len(key) < 32:
            raise ConfigError(
                f"secret_file: {self.secret_file} holds less than 32 bytes: make it with openssl rand -hex 32"
            )
        return Secret(key)


def load(path: Path) -> Config:
    """Read the file. Raises :class:`ConfigError`."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(f"{path} cannot be read: {err}") from None
    except yaml.YAMLError as err:
        mark = getattr(err, "problem_mark", None)
        # Without what stands there: it may be a password.
        raise ConfigError(f"{path} is no YAML" + (f" at line {mark.line + 1}" if mark else "")) from None
    return parse(data)


def parse(data: Any) -> Config:
    """The configuration of what YAML holds. Raises :class:`ConfigError`."""
    try:
        return Config.model_validate(data)
    except ValidationError as err:
        # Without the input: it may be a password.
        raise ConfigError("\n".join(_told(one) for one in err.errors(include_input=False))) from None


def _told(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"]) or "the file"
    if error["type"] == "extra_forbidden":
        return f"{where}: there is no such key"
    return f"{where}: {str(error['msg']).removeprefix('Value error, ')}"
