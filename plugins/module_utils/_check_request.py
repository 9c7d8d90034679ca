# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what a person writes to the options of a mail check; reads the files that are named. Private."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._check import CheckError
from ansible_collections.postmaster.mail.plugins.module_utils._check_mail import MESSAGE_LIMIT, Mail
from ansible_collections.postmaster.mail.plugins.module_utils._check_view import Options, Outbound, SignerKey
from ansible_collections.postmaster.mail.plugins.module_utils._dkim import (
    FILE_LIMIT,
    DkimError,
    DkimKeyError,
    check_selector,
    read_private,
)
from ansible_collections.postmaster.mail.plugins.module_utils._dns import DnsError, DomainError, check_name
from ansible_collections.postmaster.mail.plugins.module_utils._dns_watch import split_address

DOMAINKEY = "._domainkey."
PLAIN = ("bulk", "spam_rate", "intrusive", "smtp", "smtp_port", "https")


def resolvers(texts: Iterable[str]) -> list[tuple[str, int]]:
    """Resolvers as ``address`` or ``address@port``. Raises :class:`CheckError`."""
    found = []
    for text in texts:
        try:
            address, port = split_address(text.strip(), 53)
            found.append((str(ipaddress.ip_address(address)), port))
        except (DnsError, ValueError) as err:
            raise CheckError(f"resolver {text!r} is no address; write one such as 192.0.2.53 or ::1@5353") from err
    return found


def build(params: Mapping[str, Any], *, trust_ad: bool) -> Options:
    """The options out of the module's parameters. Raises :class:`CheckError` naming the item and the remedy."""
    rate = params.get("spam_rate")
    if rate is not None and not 0 <= rate <= 100:
        raise CheckError(f"spam_rate {rate:g} is no share in per cent: write 0.08 for 8 complaints in 10,000 messages")
    return Options(
        selectors=tuple(_selector(text) for text in params.get("selectors") or ()),
        dkim_keys=tuple(_key(index, item) for index, item in enumerate(params.get("dkim_keys") or ())),
        outbound=tuple(_outbound(item) for item in params.get("outbound") or ()),
        mail=_mail(params.get("message_file"), "message_file"),
        inbound_mail=_mail(params.get("inbound_message_file"), "inbound_message_file"),
        authserv_id=params.get("authserv_id") or "",
        outbound_25=_host(params.get("outbound_25"), "outbound_25"),
        test_host=_host(params.get("test_host"), "test_host"),
        dnsbl_ip=_lists(params.get("dnsbl_ip"), "dnsbl_ip"),
        dnsbl_domain=_lists(params.get("dnsbl_domain"), "dnsbl_domain"),
        trust_ad=trust_ad,
        **{name: params[name] for name in PLAIN if params.get(name) is not None},
    )


def _selector(text: str) -> str:
    try:
        return check_selector(text.strip())
    except DkimError as err:
        raise CheckError(f"selectors: {err}") from err


def _outbound(item: Mapping[str, Any]) -> Outbound:
    text = str(item.get("address") or "")
    try:
        return Outbound(str(ipaddress.ip_address(text)), str(item.get("helo") or ""))
    except ValueError as err:
        raise CheckError(f"outbound: {text!r} is no address; name each that mail leaves from") from err


def _host(text: str | None, what: str) -> str:
    """A host name or address, with ``@port`` where it is not 25."""
    if not text:
        return ""
    try:
        host, port = split_address(text, 25)
    except DnsError as err:
        raise CheckError(f"{what}: {err}") from err
    try:
        ipaddress.ip_address(host)
    except ValueError:
        try:
            host = check_name(host, what=what).rstrip(".")
        except DomainError as err:
            raise CheckError(str(err)) from err
    return f"{host}@{port}"


def _lists(names: Iterable[str] | None, what: str) -> tuple[str, ...]:
    try:
        return tuple(check_name(name, what=what).rstrip(".") for name in names or ())
    except DomainError as err:
        raise CheckError(str(err)) from err


def _mail(path: str | None, what: str) -> Mail | None:
    return Mail(_read(path, what, MESSAGE_LIMIT), path) if path else None


def _read(path: str, what: str, limit: int) -> bytes:
    try:
        with open(path, "rb") as handle:
            content = handle.read(limit + 1)
    except OSError as err:
        raise CheckError(f"{what}: {path} cannot be read: {err.strerror}") from err
    if len(content) > limit:
        raise CheckError(f"{what}: {path} is longer than {limit} octets")
    return content


def _key(index: int, item: Mapping[str, Any]) -> SignerKey:
    """A key as dkim_key returns it, a record's name and value, or a private key's file."""
    where = f"dkim_keys[{index}]"
    record = item.get("record") or {}
    name = str(item.get("name") or record.get("name") or "").lower().rstrip(".")
    selector, found, domain = name.partition(DOMAINKEY)
    selector = str(item.get("selector") or selector).lower()
    domain = str(item.get("domain") or (domain if found else "")).lower().rstrip(".")
    if not selector or not domain:
        raise CheckError(f"{where} names no key: give domain and selector, or the record's name")
    value = item.get("value") or record.get("value")
    path = item.get("private_key_file")
    if path:
        value = _public(os.fspath(path), where)
    if not value and item.get("state") != "withdrawn":
        raise CheckError(f"{where} ({selector} of {domain}) has no key: give value, record or private_key_file")
    texts = {field: str(item.get(field) or "") for field in ("activated", "retired")}
    return SignerKey(domain, selector, str(value or ""), str(item.get("state") or "active"), **texts)


def _public(path: str, where: str) -> str:
    try:
        return str(read_private(_read(path, where, FILE_LIMIT)).record)
    except DkimKeyError as err:
        raise CheckError(f"{where}: the file {path} {err}") from err
    except ImportError as err:
        raise CheckError(f"{where}: reading {path} takes the Python library cryptography; install it") from err
