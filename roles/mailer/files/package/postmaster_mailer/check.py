# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether stages could start with a configuration: all that it names is read, nothing is made, nobody is asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from . import connect
from .config import Config, ConfigError, Login, Transformer

_HASH = re.compile(r"\$argon2(?:id|i|d)\$.")
Look = Callable[[Config], Iterable[Callable[[], Any]]]


def faults(settings: Config, stages: Iterable[str]) -> list[str]:
    """What stands in the way of these stages, each fault once."""
    found: list[str] = []
    for stage in stages:
        for look in LOOKS[stage](settings):
            try:
                look()
            except ConfigError as err:
                found += [line for line in str(err).splitlines() if line not in found]
            except (ValueError, OSError) as err:
                found.append(f"{stage}: {err}")
    return found


def _receiver(whole: Config) -> Iterable[Callable[[], Any]]:
    settings = whole.receiver
    yield lambda: connect.queue_of(whole, settings)
    yield lambda: _logins(settings.auth_logins)
    yield lambda: _pair(settings.certificate, settings.key)


def _http_receiver(whole: Config) -> Iterable[Callable[[], Any]]:
    settings = whole.httpreceiver
    yield lambda: connect.queue_of(whole, settings)
    yield lambda: _logins(settings.auth_logins)


def _transformer(whole: Config) -> Iterable[Callable[[], Any]]:
    settings = whole.transformer
    yield lambda: connect.queue_of(whole, settings)
    yield lambda: connect.style_of(settings)
    for domain in settings.domain_settings:
        alone: Transformer = settings.model_copy(update={"domain_settings": (domain,)})
        yield lambda alone=alone: connect.domains_of(alone)  # type: ignore[misc]


def _postfix(whole: Config) -> Iterable[Callable[[], Any]]:
    yield lambda: connect.queue_of(whole, whole.postfixlog)
    yield lambda: connect.secrets(whole.transformer.secret_file)


def _backdata(whole: Config) -> Iterable[Callable[[], Any]]:
    yield lambda: connect.sinks_of(whole.backdata, connect.queue_of(whole, whole.backdata))


def _mxserver(whole: Config) -> Iterable[Callable[[], Any]]:
    settings = whole.mxserver
    yield lambda: connect.queue_of(whole, settings)
    yield lambda: connect.addresses_of(whole)
    if settings.certificate is not None and settings.key is not None:
        certificate, key = settings.certificate, settings.key
        yield lambda: _pair(certificate, key)


def _redis(whole: Config) -> Iterable[Callable[[], Any]]:
    yield lambda: connect.queue_of(whole, whole.redis)


def _logins(logins: Iterable[Login]) -> None:
    wrong = [
        one.username for one in logins if one.password_hash and not _HASH.match(one.password_hash.get_secret_value())
    ]
    if wrong:
        how = 'make it with argon2 "$(openssl rand -hex 16)" -id -e'
        raise ConfigError(f"the password-hash of {', '.join(wrong)} is none of Argon2: {how}")


def _pair(certificate: Path, key: Path) -> None:
    if certificate.exists() or key.exists():  # else one is made at the start
        connect.tls_of(certificate, key)


LOOKS: dict[str, Look] = {
    "receiver": _receiver,
    "http-receiver": _http_receiver,
    "transformer": _transformer,
    "postfix": _postfix,
    "backdata": _backdata,
    "mxserver": _mxserver,
    "redis": _redis,
}
