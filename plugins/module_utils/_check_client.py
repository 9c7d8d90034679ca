# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: answers the questions of the mail check, all at once within bounds, each of them once. Private.

DNS goes over UDP with EDNS (RFC 6891) and over TCP where an answer is cut (RFC 7766). A server that has not answered
one question in time is asked no more: whatever waits for it fails together. Needs dnspython 2.3 or newer.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import heapq
import io
import ipaddress
import os
import secrets
import socket
import ssl
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from http.client import HTTPException, HTTPResponse
from typing import Any, cast

from ansible_collections.postmaster.mail.plugins.module_utils._check_view import (
    FAILED,
    NO_ROUTE,
    NXDOMAIN,
    TIMEOUT,
    Answer,
    Connect,
    ConnectAnswer,
    Dns,
    DnsAnswer,
    Https,
    HttpsAnswer,
    Question,
    Relay,
    RelayAnswer,
    Smtp,
    SmtpAnswer,
)
from ansible_collections.postmaster.mail.plugins.module_utils._check_wire import (
    DNSPYTHON_IMPORT_ERROR,
    question_wire,
    read_answer,
)
from ansible_collections.postmaster.mail.plugins.module_utils._dns_stub import parse_resolv_conf

__all__ = ["DNSPYTHON_IMPORT_ERROR", "Collector", "is_local", "system_resolvers"]

IN_FLIGHT = 256  # questions under way at once
IN_FLIGHT_EACH = 48  # of these at one server
SESSIONS = 48  # TCP connections at once
RETRY_AT = 0.35  # of the timeout, when a lost packet is sent again
MISSES_LIMIT = 6  # questions in a row that a server may leave unanswered, once it has answered one
LINE_LIMIT, REPLY_LIMIT = 2048, 100  # octets of a line, and lines, of an SMTP reply; RFC 5321 section 4.5.3.1.5 has 512
BODY_LIMIT = 65536 + 8192  # octets of an HTTPS answer: RFC 8461 section 3.3, and its header
SILENT_LIMIT = 8  # mail servers without an answer, and none with one, that show that port 25 is blocked here
SILENCE = 4.0  # seconds at most without a reply that show that a server still waits for the end of data
UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)

Address = tuple[str, int]


def system_resolvers(path: str = "/etc/resolv.conf") -> list[Address]:
    """The resolvers of this machine."""
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            return [(server, 53) for server in parse_resolv_conf(handle.read())]
    except OSError:
        return [("127.0.0.1", 53)]


def is_local(resolver: Address) -> bool:
    """Whether nobody can change a resolver's answers on their way here, so that its AD bit counts (RFC 4035 4.9.3)."""
    return ipaddress.ip_address(resolver[0].partition("%")[0]).is_loopback


# -- DNS over UDP ---------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Server:
    """What is known of one server's health, and who waits for it."""

    address: Address
    answered: bool = False
    dead: bool = False
    misses: int = 0
    flights: set[int] = field(default_factory=set)
    waiting: deque[_Flight] = field(default_factory=deque)


@dataclass(slots=True)
class _Flight:
    """One question on its way to one server."""

    question: Dns
    server: _Server
    done: Callable[[DnsAnswer], None]
    number: int = 0
    wire: bytes = b""
    deadline: float = 0.0
    repeated: bool = False


class _Datagrams:
    """Questions over UDP: one socket for each family, random message numbers, bounded in number."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout: float) -> None:
        self._loop = loop
        self._timeout = timeout
        self._sockets: dict[int, socket.socket] = {}
        self._servers: dict[Address, _Server] = {}
        self._flights: dict[tuple[Address, int], _Flight] = {}
        self._queue: deque[_Server] = deque()
        self._clock: list[tuple[float, int, _Flight]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._count = 0

    def close(self) -> None:
        """Give the sockets back."""
        if self._timer is not None:
            self._timer.cancel()
        for sock in self._sockets.values():
            self._loop.remove_reader(sock.fileno())
            sock.close()

    def server(self, address: Address) -> _Server:
        """The state of a server."""
        return self._servers.setdefault(address, _Server(address))

    def send(self, question: Dns, address: Address, done: Callable[[DnsAnswer], None]) -> None:
        """Ask, and call ``done`` with the answer, whatever becomes of it."""
        server = self.server(address)
        flight = _Flight(question, server, done)
        if server.dead:
            done(_silence(server))
        elif len(self._flights) >= IN_FLIGHT or len(server.flights) >= IN_FLIGHT_EACH:
            if not server.waiting:
                self._queue.append(server)
            server.waiting.append(flight)
        else:
            self._start(flight)

    def _start(self, flight: _Flight) -> None:
        server, number = flight.server, secrets.randbelow(0x10000)
        while (server.address, number) in self._flights:
            number = (number + 1) % 0x10000
        try:
            flight.wire = question_wire(flight.question, number)
        except ValueError as err:
            flight.done(DnsAnswer(NXDOMAIN, text=str(err)))  # no such name can exist
            return
        flight.number = number
        self._flights[(server.address, number)] = flight
        server.flights.add(number)
        flight.deadline = self._loop.time() + self._timeout
        self._schedule(self._loop.time() + self._timeout * RETRY_AT, flight)
        self._transmit(flight)

    def _transmit(self, flight: _Flight) -> None:
        try:
            self._socket(flight.server.address[0]).sendto(flight.wire, flight.server.address)
        except BlockingIOError:
            pass  # the packet is lost, and sent again later
        except OSError as err:
            status = NO_ROUTE if err.errno in UNREACHABLE else FAILED
            self._land(flight, DnsAnswer(status, text=f"{flight.server.address[0]}: {err.strerror or err}"))

    def _socket(self, address: str) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        if family not in self._sockets:
            sock = socket.socket(family, socket.SOCK_DGRAM)
            sock.setblocking(False)
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            self._sockets[family] = sock
            self._loop.add_reader(sock.fileno(), self._receive, sock)
        return self._sockets[family]

    def _receive(self, sock: socket.socket) -> None:
        for dummy in range(IN_FLIGHT):
            try:
                wire, sender = sock.recvfrom(65535)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                continue  # an ICMP error of some earlier packet
            if len(wire) < 12 or not wire[2] & 0x80:
                continue
            flight = self._flights.get(((sender[0], sender[1]), int.from_bytes(wire[:2], "big")))
            if flight is not None:
                flight.server.answered, flight.server.misses = True, 0
                self._land(flight, read_answer(wire, flight.question))

    def _land(self, flight: _Flight, answer: DnsAnswer) -> None:
        server = flight.server
        if self._flights.pop((server.address, flight.number), None) is None:
            return
        server.flights.discard(flight.number)
        flight.done(answer)
        self._launch()

    def _launch(self) -> None:
        """Start what waits, as far as there is room."""
        passed = 0
        while passed < len(self._queue) and len(self._flights) < IN_FLIGHT:
            server = self._queue.popleft()
            flight = server.waiting.popleft() if server.waiting and len(server.flights) < IN_FLIGHT_EACH else None
            passed = passed + 1 if flight is None else 0
            if server.waiting:
                self._queue.append(server)
            if flight is not None:
                self._start(flight)

    # -- time -----------------------------------------------------------------------------------------
    def _schedule(self, when: float, flight: _Flight) -> None:
        self._count += 1
        heapq.heappush(self._clock, (when, self._count, flight))
        if self._timer is None:
            self._timer = self._loop.call_at(when, self._tick)

    def _tick(self) -> None:
        now, self._timer = self._loop.time(), None
        while self._clock and self._clock[0][0] <= now + 0.001:
            flight = heapq.heappop(self._clock)[2]
            if self._flights.get((flight.server.address, flight.number)) is not flight:
                continue
            if not flight.repeated:
                flight.repeated = True
                self._schedule(flight.deadline, flight)
                self._transmit(flight)
            else:
                self._give_up(flight)
        if self._clock and self._timer is None:
            self._timer = self._loop.call_at(self._clock[0][0], self._tick)

    def _give_up(self, flight: _Flight) -> None:
        """One question is lost; where the server never answered, or no more, all that wait for it are."""
        server = flight.server
        server.misses += 1
        # A resolver that is silent on one name may wait for that name's servers, and knows others.
        server.dead = not server.answered or (bool(flight.question.server) and server.misses >= MISSES_LIMIT)
        self._land(flight, _silence(server))
        if server.dead:
            waiting, server.waiting = server.waiting, deque()
            for number in list(server.flights):
                self._land(self._flights[(server.address, number)], _silence(server))
            for one in waiting:
                one.done(_silence(server))


def _silence(server: _Server) -> DnsAnswer:
    return DnsAnswer(TIMEOUT, text=f"{server.address[0]} does not answer")


# -- the collector --------------------------------------------------------------------------------------


class Collector:
    """Answers questions; to be used as an asynchronous context. ``facts`` holds the answers so far.

    ``timeout`` is in seconds, for one DNS answer; a session with a mail or web server may take three times as long.
    ``ca_file`` holds authorities that are trusted beside the system's.
    """

    def __init__(
        self,
        resolvers: Sequence[Address],
        *,
        timeout: float = 4,
        ca_file: str = "",
        port: int = 53,
        https_port: int = 443,
    ) -> None:
        self.facts: dict[Question, Answer] = {}
        self._resolvers = list(resolvers)
        self._timeout = timeout
        self._port = port
        self._https_port = https_port
        self._ca_file = ca_file
        self._asked: dict[Question, asyncio.Future[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._silent: set[str] = set()
        self._heard = False

    async def __aenter__(self) -> Collector:
        self._loop = asyncio.get_running_loop()
        self._datagrams = _Datagrams(self._loop, self._timeout)
        self._sessions = asyncio.Semaphore(SESSIONS)
        return self

    @cached_property
    def _strict(self) -> ssl.SSLContext:
        return tls_context(self._ca_file)

    @cached_property
    def _lax(self) -> ssl.SSLContext:
        return tls_context(self._ca_file, verify=False)

    async def __aexit__(self, *dummy: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._datagrams.close()

    @property
    def is_answered(self) -> bool:
        """Whether a resolver has answered anything that can be used."""
        return any(
            isinstance(question, Dns) and not question.server and cast(DnsAnswer, answer).usable
            for question, answer in self.facts.items()
        )

    async def ask(self, questions: Iterable[Question]) -> None:
        """Come back when each of ``questions`` has its answer in ``facts``. Never raises."""
        waited = [self._future(question) for question in questions if question not in self.facts]
        for future in waited:
            if not future.done():
                await future

    def _future(self, question: Question) -> asyncio.Future[None]:
        future = self._asked.get(question)
        if future is None:
            future = self._asked[question] = self._loop.create_future()
            self._begin(question)
        return future

    def _settle(self, question: Question, answer: Answer) -> None:
        self.facts[question] = answer
        future = self._asked[question]
        if not future.done():
            future.set_result(None)

    def _begin(self, question: Question) -> None:
        if isinstance(question, Dns):
            self._dns(question, 0)
        else:
            self._spawn(question, self._session(question))

    def _spawn(self, question: Question, work: Awaitable[Answer]) -> None:
        async def run() -> None:
            try:
                self._settle(question, await work)
            except Exception as err:  # whatever a stranger's server does must not end the check
                self._settle(question, _failure(question, f"{type(err).__name__}: {err}"))

        task = self._loop.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- DNS ------------------------------------------------------------------------------------------
    def _dns(self, question: Dns, attempt: int) -> None:
        """Ask the server named, or one resolver after the other."""
        if question.server:
            address = (question.server, self._port)
        elif attempt < len(self._resolvers):
            address = self._resolvers[attempt]
        else:
            self._settle(question, DnsAnswer(TIMEOUT, text="no resolver answers; name one by the option resolver"))
            return
        if question.tcp:
            self._spawn(question, self._over_tcp(question, address))
            return

        def done(answer: DnsAnswer) -> None:
            if answer.truncated:
                self._spawn(question, self._over_tcp(question, address))
            elif answer.status in (TIMEOUT, NO_ROUTE) and not question.server:
                self._dns(question, attempt + 1)
            else:
                self._settle(question, answer)

        self._datagrams.send(question, address, done)

    async def _over_tcp(self, question: Dns, address: Address) -> DnsAnswer:
        if self._datagrams.server(address).dead:
            return DnsAnswer(TIMEOUT, text=f"{address[0]} does not answer")
        try:
            async with self._sessions, asyncio.timeout(self._timeout):
                reader, writer = await asyncio.open_connection(*address)
                try:
                    wire = question_wire(question, secrets.randbelow(0x10000))
                    writer.write(struct.pack("!H", len(wire)) + wire)
                    size = int.from_bytes(await reader.readexactly(2), "big")
                    return read_answer(await reader.readexactly(size), question)
                finally:
                    writer.close()
        except TimeoutError:
            return DnsAnswer(TIMEOUT, text=f"{address[0]} does not answer over TCP")
        except (OSError, EOFError, ValueError) as err:
            reason = getattr(err, "strerror", None) or "the connection was closed"
            return DnsAnswer(FAILED, text=f"{address[0]} over TCP: {reason}")

    # -- other sessions -------------------------------------------------------------------------------
    async def _session(self, question: Question) -> Answer:
        limit = 3 * self._timeout
        try:
            async with self._sessions, asyncio.timeout(limit):
                if isinstance(question, Smtp):
                    return await self._smtp_once(question)
                if isinstance(question, Https):
                    return await self._https(question)
                if isinstance(question, Relay):
                    return await self._relay(question)
                return await _connect(cast(Connect, question))
        except TimeoutError:
            error = f"no answer within {limit:g} seconds"
            if isinstance(question, Smtp):
                self._silent.add(question.address)
            return HttpsAnswer(error, silent=True) if isinstance(question, Https) else _failure(question, error)
        except (OSError, EOFError, ValueError) as err:
            return _failure(question, _reason(err))

    async def _smtp_once(self, question: Smtp) -> SmtpAnswer:
        """A session, unless this address was silent before, or all were: a blocked port 25 costs one wait."""
        if question.address in self._silent or (len(self._silent) >= SILENT_LIMIT and not self._heard):
            return SmtpAnswer(error="no answer, and none to others before")
        answer = await self._smtp(question)
        self._heard = True
        return answer

    async def _smtp(self, question: Smtp) -> SmtpAnswer:
        """One session with a verified certificate; where that does not hold, another that looks at what is there."""
        first = await _talk(question, self._strict)
        if not first.trouble:
            return first
        second = await _talk(question, self._lax)
        return SmtpAnswer(
            error=second.error,
            banner=second.banner,
            starttls=second.starttls,
            tls=second.tls,
            tls_error=second.tls_error,
            trouble=first.trouble,
            certificates=second.certificates,
            replies=second.replies,
        )

    async def _https(self, question: Https) -> HttpsAnswer:
        error, silent = "there is no address", False
        for address in question.addresses:
            try:
                reader, writer = await asyncio.open_connection(
                    address, self._https_port, ssl=self._strict, server_hostname=question.host
                )
            except (OSError, ValueError) as err:
                error, silent = _reason(err), getattr(err, "errno", None) in (*UNREACHABLE, errno.ETIMEDOUT)
                continue
            try:
                request = f"GET {question.path} HTTP/1.1\r\nHost: {question.host}\r\nConnection: close\r\n\r\n"
                writer.write(request.encode("ascii"))
                return parse_http(await _read_all(reader))
            finally:
                writer.close()
        return HttpsAnswer(error, silent=silent)

    async def _relay(self, question: Relay) -> RelayAnswer:
        talk = await _Talk.open(question.address, question.port)
        try:
            code, text = await talk.greet()
            if code == 250 and talk.offers("STARTTLS"):
                await talk.starttls(self._lax, "")
                code, text = await talk.greet()
            step = "EHLO"
            for step, command in (
                ("MAIL", f"MAIL FROM:<{question.sender}>"),
                ("RCPT", f"RCPT TO:<{question.recipient}>"),
                ("DATA", "DATA"),
            ):
                if code >= 400 or (step == "DATA" and question.ending is None):
                    break
                code, text = await talk.say(command)
                if code >= 400 or (step == "RCPT" and question.ending is None):
                    return RelayAnswer("", step, code, text)
            if question.ending is None or code != 354:
                return RelayAnswer("", step, code, text)
            talk.writer.write(b"Subject: end of data\r\n\r\nThis is a test of line ends." + question.ending)
            try:
                async with asyncio.timeout(min(SILENCE, self._timeout)):
                    code, text = await talk.reply()
            except (TimeoutError, EOFError, OSError):
                code, text = 0, ""
            return RelayAnswer("", ".", code, text)
        finally:
            # The message has no end yet, and never gets one.
            talk.writer.transport.abort()


def _failure(question: Question, error: str) -> Answer:
    if isinstance(question, Dns):
        return DnsAnswer(FAILED, text=error)
    if isinstance(question, Smtp):
        return SmtpAnswer(error=error)
    if isinstance(question, Https):
        return HttpsAnswer(error=error)
    return RelayAnswer(error=error) if isinstance(question, Relay) else ConnectAnswer(error)


def _reason(err: Exception) -> str:
    if isinstance(err, ssl.SSLCertVerificationError):
        return f"its certificate does not hold: {err.verify_message}"
    if isinstance(err, ssl.SSLError):
        return f"TLS: {err.reason or err}"
    if isinstance(err, EOFError):
        return "the connection was closed"
    if isinstance(err, OSError) and err.errno:
        return os.strerror(err.errno).lower()  # asyncio's own text repeats the address
    return str(err) or type(err).__name__


def tls_context(ca_file: str, *, verify: bool = True) -> ssl.SSLContext:
    """A client's context that speaks what old servers know, too, as a check has to see it."""
    context = ssl.create_default_context()
    if ca_file:
        context.load_verify_locations(cafile=ca_file)
    with contextlib.suppress(ssl.SSLError, ValueError):
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


async def _connect(question: Connect) -> ConnectAnswer:
    dummy, writer = await asyncio.open_connection(question.address, question.port)
    writer.close()
    return ConnectAnswer()


async def _read_all(reader: asyncio.StreamReader) -> bytes:
    data = b""
    while len(data) <= BODY_LIMIT:
        part = await reader.read(8192)
        if not part:
            break
        data += part
    return data


class _Stored(io.BytesIO):
    """Octets that were read already, as the socket that http.client wants."""

    def makefile(self, *dummy: object) -> _Stored:
        return self


def parse_http(data: bytes) -> HttpsAnswer:
    """What a web server sent, cut at the limit. Redirects are an answer like any other."""
    if len(data) > BODY_LIMIT:
        return HttpsAnswer(error=f"the answer is longer than {BODY_LIMIT} octets")
    response = HTTPResponse(cast(socket.socket, _Stored(data)))
    try:
        response.begin()
        body = response.read(BODY_LIMIT)  # a length that is announced may be any number
    except (HTTPException, ValueError, OSError) as err:
        return HttpsAnswer(error=f"the answer is no HTTP: {type(err).__name__}")
    return HttpsAnswer("", response.status, response.getheader("Content-Type", "") or "", body)


# -- SMTP -----------------------------------------------------------------------------------------------


class _Talk:
    """An SMTP session, command by command; every reply is bounded."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.banner = ""
        self._words: set[str] = set()

    @classmethod
    async def open(cls, address: str, port: int) -> _Talk:
        reader, writer = await asyncio.open_connection(address, port, limit=LINE_LIMIT)
        talk = cls(reader, writer)
        try:
            code, text = await talk.reply()
        except BaseException:
            writer.close()
            raise
        if code != 220:
            writer.close()
            raise ConnectionError(f"it greets with {code} {text}")
        talk.banner = text
        return talk

    async def reply(self) -> tuple[int, str]:
        """Code and text of the next reply, its lines joined (RFC 5321 section 4.2)."""
        lines: list[str] = []
        while len(lines) < REPLY_LIMIT:
            line = (await self.reader.readline()).decode("latin-1")
            if not line:
                raise EOFError
            lines.append(line[4:].strip())
            if not line[:3].isdecimal():
                raise ConnectionError(f"it answers what is no SMTP: {line[:40]!r}")
            if line[3:4] != "-":
                return int(line[:3]), "\n".join(lines)
        raise ConnectionError("its reply does not end")

    async def say(self, command: str) -> tuple[int, str]:
        """Send a command; code and text of its reply on one line."""
        self.writer.write(command.encode("ascii") + b"\r\n")
        code, text = await self.reply()
        return code, " ".join(text.split())

    async def greet(self) -> tuple[int, str]:
        """EHLO with our address: who checks has no name that counts (RFC 5321 section 4.1.3)."""
        own = self.writer.get_extra_info("sockname")[0]
        self.writer.write(f"EHLO [{'IPv6:' if ':' in own else ''}{own}]\r\n".encode("ascii"))
        code, text = await self.reply()
        self._words = {line.split()[0].upper() for line in text.splitlines()[1:] if line.split()}
        return code, text

    def offers(self, keyword: str) -> bool:
        return keyword in self._words

    async def starttls(self, context: ssl.SSLContext, name: str) -> None:
        """Change to TLS; raises ConnectionError where the server will not, ssl.SSLError where it cannot."""
        code, text = await self.say("STARTTLS")
        if code != 220:
            raise ConnectionError(f"STARTTLS is answered with {code} {text}")
        await self.writer.start_tls(context, server_hostname=name or None)


async def _talk(question: Smtp, context: ssl.SSLContext) -> SmtpAnswer:
    """Greeting, STARTTLS, and what becomes of each recipient."""
    talk = await _Talk.open(question.address, question.port)
    known: dict[str, Any] = {"banner": talk.banner}
    try:
        code, text = await talk.greet()
        if code != 250:
            return SmtpAnswer(error=f"EHLO is answered with {code} {text}", **known)
        known["starttls"] = talk.offers("STARTTLS")
        if known["starttls"]:
            try:
                await talk.starttls(context, question.name.rstrip("."))
            except ssl.SSLCertVerificationError as err:
                return SmtpAnswer(trouble=str(err.verify_message), **known)
            except (OSError, EOFError) as err:
                return SmtpAnswer(tls_error=_reason(err), **known)
            known |= _tls_facts(talk.writer.get_extra_info("ssl_object"))
            await talk.greet()
        known["replies"] = await _recipients(talk, question.recipients)
        return SmtpAnswer(**known)
    finally:
        talk.writer.close()


def _tls_facts(tls: Any) -> dict[str, Any]:
    """Version and certificates; the whole chain where this Python gives it."""
    leaf = tls.getpeercert(binary_form=True)
    chain = getattr(tls, "get_unverified_chain", None)
    if chain is not None:
        return {"tls": tls.version(), "certificates": tuple(chain())}
    inner = getattr(getattr(tls, "_sslobj", None), "get_unverified_chain", None)
    try:
        shown = tuple(ssl.PEM_cert_to_DER_cert(one.public_bytes()) for one in inner()) if inner else ()
    except (AttributeError, ValueError, ssl.SSLError):
        shown = ()
    return {"tls": tls.version(), "certificates": shown or ((leaf,) if leaf else ())}


async def _recipients(talk: _Talk, recipients: Sequence[str]) -> tuple[tuple[int, str], ...]:
    """What is said to each recipient of a message from the null sender; the message itself is never sent."""
    if not recipients:
        return ()
    code, text = await talk.say("MAIL FROM:<>")
    if code != 250:
        return ((code, text),) * len(recipients)
    replies = []
    for recipient in recipients:
        replies.append(await talk.say(f"RCPT TO:<{recipient}>"))
    with contextlib.suppress(OSError, EOFError):
        await talk.say("QUIT")
    return tuple(replies)
