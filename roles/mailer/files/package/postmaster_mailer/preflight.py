# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether this host is fit to send: each check has a verdict, what was seen, and a remedy."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from cryptography import x509
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from .connection import connection, is_socket, open_to_all
from .hooks import is_outside, resolve
from .servers import Servers

OK, SKIPPED, WARNING, FAILED = "ok", "skipped", "warning", "failed"
SECONDS = 10.0  # that a server gets to take a connection, and as many to say something
OPEN_SOCKET = "take it away from others: chmod o-rwx the folder that it lies in"
EXPIRES = datetime.timedelta(days=14)  # before which a certificate should be renewed
MxOf: TypeAlias = Callable[[str], Awaitable[Sequence[str]]]


@dataclass(frozen=True)
class Check:
    """What a check has found. Without a verdict of ``ok`` or ``skipped`` there is a remedy."""

    name: str
    verdict: str
    said: str
    remedy: str = ""


# -- the network -----------------------------------------------------------------------------------------


async def greeting(host: str, port: int) -> str:
    """What a server says first; empty where it takes the connection in silence. Raises OSError."""
    async with asyncio.timeout(SECONDS):
        reader, writer = await connection(host, port)
    try:
        async with asyncio.timeout(SECONDS):
            line = await reader.readline()
    except (OSError, ValueError):
        return ""
    finally:
        writer.close()
    return line.decode("ascii", "replace").strip()


async def outbound(host: str, port: int) -> Check:
    """Whether mail can leave."""
    name, where = "outbound", f"{host}:{port}"
    try:
        said = await greeting(host, port)
    except OSError as err:
        remedy = f"allow connections to port {port} in the firewall, and have the provider allow them"
        return Check(name, FAILED, f"{where} cannot be reached: {_why(err)}", remedy)
    if not said.startswith("220"):
        remedy = "ask its operator what it has against this host's address, or if something stands in between"
        return Check(name, FAILED, f"{where} says {said!r}", remedy)
    return Check(name, OK, f"{where} answers")


async def postfix(host: str, port: int, addresses: Collection[str], mx: str) -> list[Check]:
    """Whether Postfix takes mail from the stage, and from nobody on the internet; on a socket, from nobody else at all.

    ``addresses`` are those of this host, ``mx`` is how our own MX greets, which may be public.
    """
    where = host if is_socket(host) else f"{host}:{port}"
    try:
        own = await greeting(host, port)
        here = Check("postfix", OK, f"{where} answers")
    except OSError as err:
        own = ""
        remedy = "start Postfix, or set postfixlog.postfix"
        here = Check("postfix", FAILED, f"{where} cannot be reached: {_why(err)}", remedy)
    if is_socket(host):
        return [here, _shut(Path(host))]
    open_, ours = await exposed(port, addresses, mx, own)
    name = "postfix is private"
    if open_:
        remedy = "set inet_interfaces = loopback-only in main.cf and restart Postfix"
        return [here, Check(name, FAILED, f"port {port} answers on {', '.join(open_)}, which is public", remedy)]
    if addresses:
        but = ", except as our MX" if ours else ""
        return [here, Check(name, OK, f"port {port} does not answer on {', '.join(addresses)}{but}")]
    return [here, Check(name, OK, "this host has no public address; if one leads here by NAT, try it from outside")]


def _shut(path: Path) -> Check:
    name = "postfix is private"
    try:
        open_ = open_to_all(path)
    except OSError as err:
        return Check(name, SKIPPED, f"{path} cannot be looked at: {err.strerror}")
    if open_:
        return Check(name, FAILED, f"any user of this host can reach {path}", OPEN_SOCKET)
    return Check(name, OK, f"not every user of this host can reach {path}")


async def exposed(port: int, addresses: Collection[str], mx: str, own: str) -> tuple[list[str], bool]:
    """On which addresses Postfix answers, and whether our own MX does, which greets differently from Postfix."""
    said = await asyncio.gather(*(greeting(address, port) for address in addresses), return_exceptions=True)
    heard = [(address, one) for address, one in zip(addresses, said, strict=True) if isinstance(one, str)]
    open_ = [address for address, one in heard if not one == mx != own]
    return open_, len(open_) < len(heard)


def own_addresses(proc: Path = Path("/proc/self/net")) -> list[str]:
    """The addresses of this host, or container. Raises OSError."""
    found, address = [], ""
    for line in (proc / "fib_trie").read_text().splitlines():
        words = line.split()
        if words[:1] == ["|--"]:
            address = words[1]
        elif words == ["/32", "host", "LOCAL"]:
            found.append(address)
    inet6 = proc / "if_inet6"  # not there without IPv6
    lines = inet6.read_text().splitlines() if inet6.exists() else []
    found += [str(ipaddress.IPv6Address(bytes.fromhex(line.split()[0]))) for line in lines]
    return list(dict.fromkeys(found))


def public(addresses: Collection[str]) -> list[str]:
    """Those addresses that the internet can reach."""
    return [one for one in addresses if is_outside(one)]


# -- Redis -----------------------------------------------------------------------------------------------


async def redis(client: Servers) -> list[Check]:
    """Whether Redis answers, and keeps what it has said yes to."""
    try:
        about: dict[str, Any] = await client.info("persistence", "memory")
    except (RedisError, OSError) as err:
        remedy = "start it, or set redis.reliable-queue.redis"
        return [Check("redis", FAILED, f"it cannot be reached: {_why(err)}", remedy)]
    name, remedy = "redis is durable", "set appendonly yes and appendfsync always in redis.conf"
    if str(about.get("aof_enabled")) != "1":
        durable = Check(name, WARNING, "there is no append-only file: what was queued is lost with the process", remedy)
    else:
        durable = _flushed(name, await _appendfsync(client), remedy)
    policy = about.get("maxmemory_policy")
    name, remedy = "redis evicts nothing", "set maxmemory-policy noeviction in redis.conf"
    if policy == "noeviction":
        kept = Check(name, OK, "maxmemory-policy is noeviction")
    else:
        kept = Check(name, WARNING, f"maxmemory-policy is {policy}: mail goes when memory is short", remedy)
    return [Check("redis", OK, "it answers"), durable, kept]


def _flushed(name: str, found: str | None, remedy: str) -> Check:
    if found is None:
        return Check(name, WARNING, "appendfsync may not be asked for", "allow CONFIG GET, or see to it by hand")
    if found != "always":
        return Check(name, WARNING, f"appendfsync is {found}: a crash loses what was just taken in", remedy)
    return Check(name, OK, "appendfsync is always")


async def _appendfsync(client: Servers) -> str | None:
    try:
        found: dict[Any, Any] = await client.config_get("appendfsync")
    except (NoPermissionError, ResponseError):  # the second: the command has another name, or none
        return None
    return next((_text(value) for value in found.values()), None)


# -- certificates ----------------------------------------------------------------------------------------


def certificate(name: str, path: Path, now: datetime.datetime) -> Check:
    """Whether clients can verify a certificate, and how long."""
    name = f"certificate of {name}"
    remedy = "have one issued, with ACME for instance"
    if not path.exists():
        return Check(name, WARNING, f"{path} is not there: one that is signed by itself will be made", remedy)
    try:
        found = x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as err:
        return Check(name, FAILED, f"{path} cannot be read: {err.strerror}", "let the mailer's user read it")
    except ValueError:
        return Check(name, FAILED, f"{path} holds no certificate", "write it as PEM, the host's own first")
    ends = found.not_valid_after_utc
    said = f"{path} ends {ends:%Y-%m-%dT%H:%M:%SZ}"
    if ends <= now:
        return Check(name, FAILED, f"{said}, which is over", "renew it")
    if found.issuer == found.subject:
        return Check(name, WARNING, f"{path} is signed by itself: no client can verify it", remedy)
    if ends - now < EXPIRES:
        return Check(name, WARNING, said, "renew it, and see why that has not happened by itself")
    return Check(name, OK, said)


# -- DNS -------------------------------------------------------------------------------------------------


async def return_path(domain: str, hostname: str, addresses: Collection[str], mx_of: MxOf) -> Check:
    """Whether answers to mail come here: to ``hostname``, or to one of this host's ``addresses``."""
    name, record = f"MX of {domain}", f"{domain}. IN MX 10 {hostname}."
    try:
        names = await mx_of(domain)
    except ImportError:
        return Check(name, SKIPPED, "dnspython is not installed")
    except OSError as err:
        return Check(name, FAILED, f"it cannot be looked up: {_why(err)}", "see to the resolver in /etc/resolv.conf")
    if not names:
        return Check(name, FAILED, "there is none: no bounce can come back", f"publish {record}")
    for one in names:
        if one.lower() == hostname.lower() or set(await _addresses(one)) & set(addresses):
            return Check(name, OK, f"{one} is this host")
    return Check(name, WARNING, f"{', '.join(names)} is not this host", f"if mxserver runs here, publish {record}")


async def mx_of(domain: str) -> Sequence[str]:
    """The mail exchangers of a domain, without their last dot. Raises OSError, and ImportError without dnspython."""
    import dns.asyncresolver
    import dns.exception
    import dns.resolver

    try:
        answer = await dns.asyncresolver.resolve(domain, "MX", lifetime=SECONDS)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return []
    except dns.exception.DNSException as err:
        raise OSError(str(err)) from err
    return [one.exchange.to_text(omit_final_dot=True) for one in sorted(answer, key=lambda one: one.preference)]


async def _addresses(host: str) -> Sequence[str]:
    try:
        return await resolve(host, 25)
    except (OSError, UnicodeError):
        return []


def _why(err: Exception) -> str:
    return str(err) or f"no answer within {SECONDS:g} s"


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
