# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: the configuration, read from one or more YAML files that are laid over each other.

The keys are those of Inboxbooster-Mailer, so its two files load as they are; what that program does not have has keys
of the same manner. Secrets may be named by a file (``password-file``) instead of standing here.
"""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, IPvAnyNetwork, SecretStr, ValidationError, model_validator

DEFAULT = Path("/etc/postmaster-mailer")
Port = Annotated[int, Field(ge=1, le=65535)]
PoolName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")]
# Messages a day that a new address sends, from its first day on. What comes after it has no limit.
WARM_UP = (50, 100, 500, 1000, 5000, 10_000, 20_000, 40_000, 70_000, 100_000)


class ConfigError(Exception):
    """The configuration cannot be used; each line of the text names a key and says what is wrong with it."""


class Section(BaseModel):
    """Keys are written with hyphens, and one that is not known is an error."""

    model_config = ConfigDict(alias_generator=lambda name: name.replace("_", "-"), extra="forbid", frozen=True)


def _once(where: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{where}: {name} stands there twice: give it to one pool")
        seen.add(name)


class Redis(Section):
    """How to reach Redis or Valkey: one server, the sentinels that know which one it is, or servers of a cluster."""

    hostname: str = "localhost"
    port: Port = 6379
    username: str | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    tls: bool = False
    tls_ca_file: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    sentinels: tuple[str, ...] = ()
    sentinel_service: str = "mailer"
    sentinel_username: str | None = None
    sentinel_password: SecretStr | None = None
    sentinel_password_file: Path | None = None
    cluster: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one(self) -> Redis:
        if self.sentinels and self.cluster:
            raise ValueError("give either sentinels or cluster: a cluster sees to its failover itself")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls-certificate and tls-key go together: give both or neither")
        for one in (*self.sentinels, *self.cluster):
            if not one.rpartition(":")[2].isdecimal() or not one.rpartition(":")[0]:
                raise ValueError(f"{one} names no server: write host:port")
        return self


class ReliableQueue(Section):
    """Where the queue is; the old name of the section is kept."""

    redis: Redis = Redis()


class Listen(Section):
    """An address and a port to listen on."""

    inet_interface: str = "127.0.0.1"
    inet_port: Port
    inet_port_metrics: Port | None = None


def _on(port: int) -> Listen:
    return Listen.model_validate({"inet-port": port})


class Prometheus(Section):
    """Where a stage shows its metrics."""

    inet_interface: str = "127.0.0.1"
    inet_port: Port = 9090


class Login(Section):
    """Somebody who may hand mail in: a password, better its hash (Argon2). ``domains`` are those of his authors."""

    username: str = Field(min_length=1)
    password: SecretStr | None = None
    password_hash: SecretStr | None = None
    domains: tuple[str, ...] | None = None  # None: any
    suppressions: bool = False  # may see and change the suppression list over HTTP

    @model_validator(mode="after")
    def _one(self) -> Login:
        if (self.password is None) == (self.password_hash is None):
            raise ValueError(f"the login {self.username} needs either password or password-hash")
        return self


class Stage(Section):
    """What each stage has."""

    reliable_queue: ReliableQueue = ReliableQueue()
    prometheus: Prometheus = Prometheus()


class Receiver(Stage):
    """SMTP in."""

    bind: Listen = _on(587)
    bind_tls: Listen | None = None
    auth_logins: tuple[Login, ...] = ()
    ignore_smtp_mail_from_rcpt_to: bool = False
    certificate: Path = DEFAULT / "receiver_cert.pem"
    key: Path = DEFAULT / "receiver_key.pem"
    size_limit: int = Field(default=26_214_400, ge=1024)
    recipients_limit: int = Field(default=1000, ge=100)  # RFC 5321 section 4.5.3.1.8


class HttpReceiver(Stage):
    """HTTP in. TLS is the business of the reverse proxy in front of it."""

    bind: Listen = _on(8080)
    auth_logins: tuple[Login, ...] = ()
    size_limit: int = Field(default=26_214_400, ge=1024)
    trusted_proxies: tuple[IPvAnyNetwork, ...] = ()  # whose X-Forwarded-For tells the peer


class Inject(Section):
    """Fields to add to each message."""

    inject: Mapping[str, str] = {}


class DomainSettings(Section):
    """A domain that mail may come from: its key, or the directory in which the rotation keeps its keys."""

    domain: str = Field(min_length=1)
    dkim_private_key_file: Path | None = None
    dkim_keys: Path | None = None
    return_path_domain: str = Field(min_length=1)
    selector: str = "mailer"
    beacon_url: str | None = None

    @model_validator(mode="after")
    def _key(self) -> DomainSettings:
        if (self.dkim_private_key_file is None) == (self.dkim_keys is None):
            raise ValueError(f"the domain {self.domain} needs either dkim-private-key-file or dkim-keys")
        return self


class FeedbackId(Section):
    """The parts of a Feedback-ID that are the same for all mail."""

    campaign_id: str
    mail_type: str
    sender_id: str


class Transformer(Stage):
    """From the message that came to the one that goes."""

    x_mailer: str = "postmaster.mail"
    email_headers: Inject = Inject()
    domain_settings: tuple[DomainSettings, ...] = ()
    feedback_id: FeedbackId | None = None
    secret_file: Path = DEFAULT / "return-path.secret"


class QueueNames(Section):
    """The streams between receivers and transformers."""

    primary_queue: str = "primary"
    default_queue: str = "default"


class Queue(Section):
    """The queue as a whole."""

    queue_names: QueueNames = QueueNames()
    partitions: int = Field(default=4, ge=1, le=1024)
    replicas: int = Field(default=0, ge=0)
    replicas_wait: float = Field(default=2.0, gt=0)
    replicas_on_disk: bool = False  # by WAITAOF, to which a replica answers once a second
    claim_after: float = Field(default=60.0, ge=1)
    keep_records: int = Field(default=604_800, ge=3600)  # seconds


class Postfix(Section):
    """The stream between transformers and deliveries."""

    incoming_queue_name: str = "outgoing"


class Smtp(Section):
    """The Postfix that delivers. A hostname that begins with a slash is the path of a socket, which has no port."""

    hostname: str = "localhost"
    port: Port = 25


class Smtpd(Section):
    """The port that Postfix listens on."""

    smtpd_port: Port = 25


class Replacer(Section):
    """What Postfix is configured with."""

    main_cf: Mapping[str, str | int | bool] = {}
    master_cf: Smtpd = Smtpd()


class Address(Section):
    """An address to send from. Postfix has a way out by it, which goes by the name that it greets with."""

    helo: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]*(\.[A-Za-z0-9-]+)+$")
    warm_up_since: datetime.date | None = None


class Pool(Section):
    """Addresses that some mail leaves by."""

    streams: tuple[str, ...] = ()
    logins: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    addresses: tuple[Address, ...] = Field(min_length=1)
    warm_up: tuple[Annotated[int, Field(ge=1)], ...] = WARM_UP


class PostfixLog(Stage):
    """Delivery, and the log that tells how it went."""

    logfile: Path | None = None
    journal_units: tuple[str, ...] = ("postfix.service", "postfix@-.service")
    spool: Path = Path("/var/spool/postfix")
    postfix: Smtp = Smtp()
    string_replacer: Replacer = Replacer()
    connections: int = Field(default=20, ge=1, le=1000)
    hostname: str | None = None
    pools: Mapping[PoolName, Pool] = {}

    @model_validator(mode="after")
    def _once(self) -> PostfixLog:
        _once("streams of pools", [one for pool in self.pools.values() for one in pool.streams])
        _once("logins of pools", [one for pool in self.pools.values() for one in pool.logins])
        _once("domains of pools", [one.lower() for pool in self.pools.values() for one in pool.domains])
        _once("helo of pools", [one.helo.lower() for pool in self.pools.values() for one in pool.addresses])
        return self


class Yahoo(Section):
    """The address that Yahoo's complaints are sent to."""

    to: str


class Abuse(Section):
    """Where complaints come from; more than the one of old, as any sender's report is read."""

    yahoo: Yahoo | None = None
    addresses: tuple[str, ...] = ()


class MxServer(Stage):
    """Answers of the world: bounces, complaints, unsubscriptions."""

    bind: Listen = _on(25)
    eml_directory: Path = Path("/var/lib/postmaster-mailer/unclassified")
    abuse: Abuse = Abuse()
    hostname: str | None = None
    certificate: Path | None = None
    key: Path | None = None
    size_limit: int = Field(default=10_485_760, ge=65_536)
    connections: int = Field(default=100, ge=1)
    connections_of_client: int = Field(default=10, ge=1)
    messages_per_minute: int = Field(default=120, ge=1)
    eml_count: int = Field(default=1000, ge=1)
    eml_bytes: int = Field(default=104_857_600, ge=1)
    legacy_addresses: bool | None = None
    unsubscribe_bind: Listen | None = None
    unsubscribe_proxies: tuple[IPvAnyNetwork, ...] = ()  # whose X-Forwarded-For tells the client
    clicks_per_minute: int = Field(default=600, ge=1)

    @model_validator(mode="after")
    def _fits(self) -> MxServer:
        if self.eml_bytes < 2 * self.size_limit:
            raise ValueError("eml-bytes must be at least twice size-limit, or no message of that size could be kept")
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together: give both or neither")
        return self


class BounceManager(Section):
    """A second taker of outcomes."""

    secret: SecretStr
    cid: int
    url: str


class BackData(Stage):
    """Outcomes out."""

    queue_name: str = "events"
    post_url: str | None = None
    signing_secret: SecretStr | None = None
    signing_secret_file: Path | None = None
    bounce_manager: BounceManager | None = None
    private_urls: bool = False
    retry_seconds: float = Field(default=86_400, gt=0)


Days = bool | Annotated[int, Field(ge=1, le=36_500)]


class Suppression(Section):
    """Who gets no mail any more: by rule, false for nobody, true for good, or for so many days."""

    enabled: bool = True
    hard_bounces: Days = 90
    complaints: Days = True
    unsubscribes: Days = True
    per_stream: bool = False
    case_sensitive: bool = False


class SinkMode(Section):
    """Mail that is never delivered: all of it, or that of these domains of authors, X-Stream-Ids or logins."""

    all: bool = False
    domains: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    logins: tuple[str, ...] = ()


class ObjectStorage(Section):
    """Where Redis's state is kept between a stop and a start; optional."""

    type: Literal["s3"] = "s3"
    bucket: str
    region: str
    access_key_id: str
    secret_access_key: SecretStr | None = None
    secret_access_key_file: Path | None = None
    endpoint_url: str
    prefix: str = "postmaster-mailer/"

    @model_validator(mode="after")
    def _secret(self) -> ObjectStorage:
        if (self.secret_access_key is None) == (self.secret_access_key_file is None):
            raise ValueError("object-storage needs either secret-access-key or secret-access-key-file")
        return self


class Common(Section):
    """What concerns several stages."""

    object_storage: ObjectStorage | None = None


class Config(Section):
    """All of it."""

    reliable_queue: Queue = Queue()
    backdata: BackData = BackData()
    suppression: Suppression = Suppression()
    sink: SinkMode = SinkMode()
    transformer: Transformer = Transformer()
    postfix: Postfix = Postfix()
    httpreceiver: HttpReceiver = HttpReceiver()
    receiver: Receiver = Receiver()
    postfixlog: PostfixLog = PostfixLog()
    mxserver: MxServer = MxServer()
    redis: Stage = Stage()
    common_config: Common = Common()


def default_files() -> list[Path]:
    """Where the configuration is unless something else is said. What is secret may stand in a file of its own."""
    secret = DEFAULT / "mailer.secret.yaml"
    return [DEFAULT / "mailer.yaml", *([secret] if secret.exists() else [])]


def load(paths: Iterable[Path]) -> Config:
    """Read the files, later ones over earlier ones. Raises :class:`ConfigError`."""
    merged: dict[str, Any] = {}
    for path in paths:
        try:
            found = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as err:
            raise ConfigError(f"{path} cannot be read: {err}") from err
        except yaml.YAMLError as err:
            mark = getattr(err, "problem_mark", None)
            # Without what stands there: it may be a password.
            raise ConfigError(f"{path} is no YAML" + (f" at line {mark.line + 1}" if mark else "")) from None
        if not isinstance(found, dict | None):
            raise ConfigError(f"{path} holds no sections: begin it with one, such as receiver:")
        merged = _laid_over(merged, found or {})
    return parse(merged)


def parse(data: Mapping[str, Any]) -> Config:
    """The configuration of what YAML holds. Raises :class:`ConfigError`."""
    try:
        return Config.model_validate(data)
    except ValidationError as err:
        # Without the input: it may be a password.
        raise ConfigError("\n".join(_told(error) for error in err.errors(include_input=False))) from None


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        result[key] = _laid_over(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def _told(error: Mapping[str, Any]) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] != "extra_forbidden":
        return f"{where}: {str(error['msg']).removeprefix('Value error, ')}"
    near = difflib.get_close_matches(str(error["loc"][-1]), _keys_beside(error["loc"][:-1]), 1)
    return f"{where}: there is no such key" + (f"; did you mean {near[0]}?" if near else "")


def _keys_beside(loc: Iterable[str | int]) -> list[str]:
    """The keys that are known at a place."""
    model: Any = Config
    for part in loc:
        if isinstance(part, int):
            continue
        field = next((one for one in model.model_fields.values() if one.alias == part), None)
        kinds = [field.annotation, *getattr(field.annotation, "__args__", ())] if field else []
        model = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)), Section)
    return [one.alias or "" for one in model.model_fields.values()]
