# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: POST to a URL that a customer wrote into a configuration, without being led into our own network by it.

The host is looked up once for each request, all its addresses are checked, and the connection goes to one of those: a
name that says something else a moment later changes nothing. No redirect is followed, no proxy of the environment used.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TypeAlias

import httpx

for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)  # they write whole URLs, in which there may be secrets
SECONDS = 30.0  # that an endpoint gets to answer, the whole of it
ANSWER_LIMIT = 65_536  # bytes of an answer that are read; the rest goes with the connection
ADDRESSES = 4  # that are tried
# What Python takes for the internet, and is a way into a network of one's own, or a cloud's metadata (the last).
_NOT_OUT = tuple(
    ipaddress.ip_network(one)
    for one in (
        "::/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16", "fec0::/10", "5f00::/16", "192.0.0.0/24",
        "192.88.99.0/24", "168.63.129.16/32",
    )
)  # fmt: skip
Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]


class HookError(Exception):
    """There was no answer; the text says why, and names the host alone, as the rest of a URL may be secret."""


@dataclass(frozen=True)
class Answered:
    """What an endpoint answered. ``retry_after`` is in seconds, None where it says nothing of the kind."""

    status: int
    retry_after: float | None = None


def is_outside(address: str) -> bool:
    """Whether an address is one of the internet's, and not of this host, of a network of one's own, or of nobody."""
    value = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(value, "ipv4_mapped", None)
    if mapped is not None:
        value = mapped
    special = value.is_multicast or any(value in net for net in _NOT_OUT if net.version == value.version)
    return value.is_global and not special


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a host, as the system says."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=1)  # SOCK_STREAM
    return list(dict.fromkeys(str(address[0]) for *dummy, address in found))


class Hook:
    """An endpoint. ``private`` allows one in a network of one's own; ``name`` is what errors call its key."""

    def __init__(
        self,
        url: str,
        name: str,
        *,
        private: bool = False,
        resolve: Resolve = resolve,
        tls: ssl.SSLContext | None = None,
        seconds: float = SECONDS,
    ) -> None:
        try:
            self._url = httpx.URL(url)
        except httpx.InvalidURL as err:
            raise HookError(f"{name} is no URL: {err}") from err
        if self._url.scheme not in ("http", "https") or not self._url.host:
            raise HookError(f"{name} must begin with https:// (or http://) and name a host")
        self._name, self._private, self._resolve, self._seconds = name, private, resolve, seconds
        # Whom the system trusts, and thus an authority of one's own, rather than the list that httpx brings along.
        tls = tls or ssl.create_default_context()
        self._client = httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=seconds, verify=tls)

    async def post(self, body: bytes, headers: Mapping[str, str], query: str = "") -> Answered:
        """Post; what is answered. ``query`` is added to the URL's own. Raises :class:`HookError`."""
        try:
            async with asyncio.timeout(self._seconds):
                return await self._post(body, headers, query)
        except TimeoutError as err:
            raise HookError(f"{self._url.host} has not answered within {self._seconds:g} s") from err

    async def _post(self, body: bytes, headers: Mapping[str, str], query: str) -> Answered:
        url = self._url
        if query:
            url = url.copy_with(query="&".join(one for one in (url.query.decode("ascii"), query) if one).encode())
        why = "has no address"
        for address in (await self._addresses())[:ADDRESSES]:
            request = self._client.build_request(
                "POST",
                url.copy_with(host=address),
                content=body,
                headers={
                    **headers,
                    "Host": url.netloc.decode("ascii"),
                    "Content-Type": "application/json; charset=utf-8",
                },
                extensions={"sni_hostname": url.raw_host.decode("ascii")},
            )
            try:
                return await self._send(request)
            except httpx.ConnectError as err:  # nothing was sent: the next address may do
                why = f"cannot be reached: {err}"
            except httpx.HTTPError as err:
                why = f"broke off: {err or type(err).__name__}"
                break
        raise HookError(f"{url.host} {why}")

    async def _send(self, request: httpx.Request) -> Answered:
        response = await self._client.send(request, stream=True)
        try:
            read = 0
            async for part in response.aiter_raw():
                read += len(part)
                if read > ANSWER_LIMIT:
                    break
        finally:
            await response.aclose()
        return Answered(response.status_code, _retry_after(response.headers))

    async def _addresses(self) -> Sequence[str]:
        host, port = self._url.raw_host.decode("ascii"), self._url.port or (443 if self._url.scheme == "https" else 80)
        try:
            found = await self._resolve(host.strip("[]"), port)
        except (OSError, UnicodeError) as err:
            raise HookError(f"{self._url.host} cannot be looked up: {err}") from err
        inside = [] if self._private else [one for one in found if not is_outside(one)]
        if inside:
            raise HookError(
                f"{self._url.host} is {inside[0]}, which is no address of the internet: "
                f"if {self._name} is meant to lead there, set private-urls to true"
            )
        return found

    async def close(self) -> None:
        """Close its connections."""
        await self._client.aclose()


def _retry_after(headers: httpx.Headers) -> float | None:
    """RFC 9110 section 10.2.3: seconds or a date, which counts from the server's own Date."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return max(0.0, (parsedate_to_datetime(value) - parsedate_to_datetime(headers["date"])).total_seconds())
    except (KeyError, ValueError, TypeError, OverflowError):
        return None
