# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the configuration to what stages work with: the connection to Redis, the keys, certificates, secrets."""

from __future__ import annotations

import datetime
import json
import logging
import os
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from standardwebhooks.webhooks import EmptyWebhookSecretError

from . import config
from .backdata import Measured, Names, Plain, Sink
from .dkim import SigningKey, SigningKeyError, read_key
from .hooks import Hook, HookError
from .mx import Addresses
from .pools import Address, Pool, Pools
from .queue import Queue
from .returnpath import SHORTEST_SECRET, UNSUBSCRIBE
from .servers import Cluster, Servers
from .suppression import Rules, Suppression
from .transform import Domain, Style

log = logging.getLogger(__name__)

SECONDS = 10.0  # that Redis gets to answer


def redis_of(where: config.Redis) -> Servers:
    """A client; no connection is made yet. Nothing is tried twice in secret: stages see to that."""
    shared: dict[str, Any] = {
        "socket_timeout": SECONDS,
        "socket_connect_timeout": SECONDS,
        "retry": Retry(NoBackoff(), 0),
    }
    if where.tls:
        files = {"ca_certs": where.tls_ca_file, "certfile": where.tls_certificate, "keyfile": where.tls_key}
        shared |= {"ssl": True, **{f"ssl_{name}": str(path) if path else None for name, path in files.items()}}
    password = _password(where.password, where.password_file)
    options = shared | {"username": where.username, "password": password, "protocol": 3}
    if where.cluster:
        nodes = [ClusterNode(host, port) for host, port in map(_place, where.cluster)]
        return Cluster(startup_nodes=nodes, require_full_coverage=False, reinitialize_steps=0, **options)
    if where.hostname.startswith("/"):
        return Redis(unix_socket_path=where.hostname, **options)
    if where.sentinels:
        asking = shared | {
            "username": where.sentinel_username,
            "password": _password(where.sentinel_password, where.sentinel_password_file),
        }
        sentinel = Sentinel([*map(_place, where.sentinels)], sentinel_kwargs=asking)  # type: ignore[no-untyped-call]
        found: Redis = sentinel.master_for(where.sentinel_service, **options)
        return found
    return Redis(host=where.hostname, port=where.port, **options)


def _place(text: str) -> tuple[str, int]:
    host, dummy, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def _password(text: SecretStr | None, file: Path | None) -> str | None:
    if file is not None:
        return _secret(file).decode()
    return text.get_secret_value() if text else None


def queue_of(settings: config.Config, stage: config.Stage) -> Queue:
    """The queue, as a stage reaches it."""
    queue = settings.reliable_queue
    return Queue(
        redis_of(stage.reliable_queue.redis),
        partitions=queue.partitions,
        keep=queue.keep_records,
        replicas=queue.replicas,
        wait=queue.replicas_wait,
        disk=queue.replicas_on_disk,
    )


def _secret(path: Path) -> bytes:
    try:
        return path.read_bytes().strip()
    except OSError as err:
        raise config.ConfigError(f"{path} cannot be read: {err.strerror}") from err


def secrets(path: Path) -> tuple[bytes, ...]:
    """The secrets of the return paths, one a line: the first is in use, the others were, and still prove old mail."""
    lines = tuple(line for line in _secret(path).splitlines() if line)
    if not lines or min(map(len, lines)) < SHORTEST_SECRET:
        raise config.ConfigError(f"{path} must hold a secret of {SHORTEST_SECRET} bytes or more: openssl rand -hex 32")
    return lines


def style_of(settings: config.Transformer) -> Style:
    """What all messages get."""
    feedback = settings.feedback_id
    return Style(
        secrets(settings.secret_file)[0],
        settings.x_mailer,
        settings.email_headers.inject,
        feedback.campaign_id if feedback else "",
        feedback.mail_type if feedback else "",
        feedback.sender_id if feedback else "",
    )


def domains_of(settings: config.Transformer) -> dict[str, Domain]:
    """The domains that mail may come from. Raises ConfigError for a key that cannot be read."""
    return {
        one.domain.lower(): Domain(one.domain.lower(), one.return_path_domain.lower(), _keys(one), one.beacon_url)
        for one in settings.domain_settings
    }


def _keys(settings: config.DomainSettings) -> Callable[[], Sequence[SigningKey]]:
    if settings.dkim_keys is not None:
        rotated = RotatedKeys(settings.dkim_keys, settings.domain.lower())
        rotated()
        return rotated
    assert settings.dkim_private_key_file is not None
    path = settings.dkim_private_key_file
    try:
        key = read_key(_secret(path), domain=settings.domain.lower(), selector=settings.selector, where=str(path))
    except SigningKeyError as err:
        raise config.ConfigError(str(err)) from err
    return lambda: [key]


class RotatedKeys:
    """The keys that a domain signs with now, of a directory that the module dkim_key and the rotation keep.

    Its list is read anew when it changes. One that cannot be read leaves the keys as they were.
    """

    def __init__(self, folder: Path, domain: str) -> None:
        self._folder, self._domain = folder, domain
        self._list = folder / f"{domain}.json"
        self._seen: tuple[int, int] | None = None
        self._keys: Sequence[SigningKey] = ()

    def __call__(self) -> Sequence[SigningKey]:
        """The keys, the first one first."""
        try:
            there = self._list.stat()
            seen = (there.st_mtime_ns, there.st_ino)
            if seen != self._seen:
                self._keys, self._seen = self._read(), seen
        except (OSError, ValueError, KeyError, TypeError, SigningKeyError) as err:
            if not self._keys:
                raise config.ConfigError(f"{self._list}: there is no key to sign with: {err}") from err
            log.error("%s cannot be read, the old keys are used: %s", self._list, err)
        return self._keys

    def _read(self) -> Sequence[SigningKey]:
        entries = json.loads(self._list.read_text(encoding="utf-8"))["keys"]
        return [
            read_key(path.read_bytes(), domain=self._domain, selector=one["selector"], where=str(path))
            for one in entries
            if one["state"] == "active"
            for path in (Path(one.get("path") or self._folder / f"{self._domain}.{one['selector']}.key"),)
        ]


def pools_of(settings: config.PostfixLog) -> Pools:
    """Which mail leaves by which addresses."""
    made = {
        name: Pool(name, [Address(of.helo, of.warm_up_since) for of in one.addresses], one.warm_up)
        for name, one in settings.pools.items()
    }
    given = [(made[name], one) for name, one in settings.pools.items()]
    return Pools(
        list(made.values()),
        {stream: pool for pool, one in given for stream in one.streams},
        {login: pool for pool, one in given for login in one.logins},
        {domain.lower(): pool for pool, one in given for domain in one.domains},
    )


def suppression_of(settings: config.Config, queue: Queue) -> Suppression | None:
    """The suppression list; None where it is not wanted."""
    wanted = settings.suppression
    return Suppression(queue, case_sensitive=wanted.case_sensitive) if wanted.enabled else None


def rules_of(settings: config.Suppression) -> Rules:
    """Which outcomes suppress."""
    return Rules(settings.hard_bounces, settings.complaints, settings.unsubscribes, settings.per_stream)


def sinks_of(settings: config.BackData, queue: Queue) -> list[Sink]:
    """Where events are posted to. Raises ConfigError."""
    names, manager, sinks = Names(settings.queue_name), settings.bounce_manager, []
    try:
        if settings.post_url:
            hook = Hook(settings.post_url, "post-url", private=settings.private_urls)
            sinks.append(Sink(queue, "post", names, hook, Plain(_signing(settings)), retried=settings.retry_seconds))
        if manager is not None:
            hook = Hook(manager.url, "bounce-manager.url", private=settings.private_urls)
            form = Measured(manager.cid, manager.secret.get_secret_value())
            sinks.append(Sink(queue, "manager", names, hook, form, retried=settings.retry_seconds))
    except HookError as err:
        raise config.ConfigError(f"backdata: {err}") from err
    except (ValueError, EmptyWebhookSecretError) as err:
        raise config.ConfigError("backdata.signing-secret is no base64: echo whsec_$(openssl rand -base64 32)") from err
    return sinks


async def restored(settings: config.Config, redis: Servers) -> None:
    """Put back what object storage has for an empty Redis, where there is object storage. Raises ConfigError."""
    await _stored(settings, redis, "load")


async def saved(settings: config.Config, redis: Servers) -> None:
    """Keep what Redis holds, where there is object storage. Raises ConfigError."""
    await _stored(settings, redis, "save")


async def _stored(settings: config.Config, redis: Servers, what: str) -> None:
    where = settings.common_config.object_storage
    if where is None:
        return
    if isinstance(redis, Cluster):
        raise config.ConfigError("common-config.object-storage: it keeps one server, not a cluster: take it out")
    try:
        from . import storage  # as its library is there only where it is wanted
    except ImportError as err:
        raise config.ConfigError(f"common-config.object-storage: pip install postmaster-mailer[s3]: {err}") from err
    secret = where.secret_access_key.get_secret_value() if where.secret_access_key else ""
    if where.secret_access_key_file is not None:
        secret = _secret(where.secret_access_key_file).decode()
    try:
        await getattr(storage, what)(redis, storage.Bucket(where, secret))
    except storage.StorageError as err:
        raise config.ConfigError(f"common-config.object-storage: {err}") from err


def _signing(settings: config.BackData) -> list[str]:
    """The secrets that events are signed with, the newest first; the others count until receivers know it."""
    text = settings.signing_secret.get_secret_value() if settings.signing_secret else ""
    if settings.signing_secret_file is not None:
        text = _secret(settings.signing_secret_file).decode()
    return text.split()


def addresses_of(settings: config.Config) -> Addresses:
    """What the MX takes mail for."""
    mx, domains = settings.mxserver, settings.transformer.domain_settings
    yahoo = (mx.abuse.yahoo.to,) if mx.abuse.yahoo else ()
    # Mail that is sent with such a field says so to whoever unsubscribes: those answers must be taken.
    named = any("unsub-{{uuid}}@" in one.replace(" ", "") for one in settings.transformer.email_headers.inject.values())
    if named and mx.legacy_addresses is None:
        log.warning("List-Unsubscribe has no proof in it: write {{unsubscribe-token}}@ instead of unsub-{{uuid}}@")
    unproven = frozenset({UNSUBSCRIBE}) if named and mx.legacy_addresses is None else frozenset()
    return Addresses(
        secrets(settings.transformer.secret_file),
        frozenset(one.return_path_domain.lower() for one in domains),
        frozenset(one.domain.lower() for one in domains),
        frozenset(one.lower() for one in (*yahoo, *mx.abuse.addresses)),
        unproven,
        bool(mx.legacy_addresses),
    )


def tls_of(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS for a server. Where there is no certificate one is made, signed by itself, which is warned of."""
    if not certificate.exists() and not key.exists():
        log.warning("%s is not there: a certificate signed by itself is made, which no client can verify", certificate)
        _self_signed(certificate, key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as err:
        raise config.ConfigError(f"{certificate} and {key} cannot be used: {err}") from err
    return context


def _self_signed(certificate: Path, key: Path) -> None:
    private = rsa.generate_private_key(65537, 4096)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=365))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(private, hashes.SHA256())
    )
    text = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with open(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(text)
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
