# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: SMTP from the server's side (RFC 5321), for the receiver and for the answers of the world.

Written for this, as a general server in Python reads the text of a message line by line, which costs three times as
much. It reads ahead what a client pipelines (RFC 2920), and ends a message at CRLF . CRLF and nowhere else.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import logging
import re
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

log = logging.getLogger(__name__)

COMMAND_LIMIT = 2048  # bytes; RFC 5321 section 4.5.3.1.4 asks for 512, extensions add some
AUTH_LIMIT = 12_288  # RFC 4954 section 4
ERRORS_LIMIT = 20  # refused commands before the connection is ended
TLS_END = 1.0  # seconds that a client gets to end TLS in good order
END = b"\r\n.\r\n"
_PATH = re.compile(rb"(?:FROM|TO):[ ]?<(?:@[^:>]*:)?([^<>\x00-\x20\x7f]*)>(?: (.*))?", re.IGNORECASE)
_ADDRESS = re.compile(r"""(?:[^\s@"]+|"[^"\\]*")@(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[^\]]+\])""")
SMALL = 1 << 18  # bytes of each message that are not counted, so that a few who send large ones cannot stop all mail
HELD = 4  # messages of the largest size that may be in memory before others wait; twice as many are never
ROOM = 60.0  # seconds that they wait; clients have two minutes for it (RFC 5321 section 4.5.3.2.4)
FULL = "452 4.3.1 too much mail is coming in at once, try again later"
BUSY = "421 4.3.2 too many connections, try again later"
TOO_BIG = "552 5.3.4 a message may have {} bytes here"
# There is no SMTPUTF8 (RFC 6531) here.
LETTERS = "553 5.6.7 addresses are in ASCII here: write a domain as xn--"
FAULT = "421 4.3.0 a fault of this server: its log says more"
SYNTAX = "501 5.5.4 this cannot be read: {}"


@dataclass
class Dialogue:
    """What a client has said so far. ``login`` is empty until it has proven who it is."""

    peer: str
    hello: str = ""
    esmtp: bool = False
    tls: bool = False
    login: str = ""
    sender: str | None = None
    recipients: list[str] = field(default_factory=list)


class Taker(Protocol):
    """What decides and keeps. Each method answers with a reply as the client sees it, such as ``250 2.1.0 fine``."""

    def mail(self, dialogue: Dialogue, sender: str) -> str:
        """May mail come from this sender?"""

    def rcpt(self, dialogue: Dialogue, recipient: str) -> str:
        """May it go to this recipient?"""

    async def login(self, dialogue: Dialogue, user: str, password: str) -> str | None:
        """A reply that refuses; None where the password is right."""

    async def take(self, dialogue: Dialogue, raw: bytes) -> str:
        """Keep a message. 250 means that it is safe."""


@dataclass(frozen=True)
class Manner:
    """How a server behaves. ``seconds``: how long it waits for a client; ``tls``: None without a certificate."""

    name: str
    size_limit: int
    recipients_limit: int
    tls: ssl.SSLContext | None = None
    tls_at_once: bool = False
    auth: bool = False
    connections: int = 500
    connections_of_client: int = 500
    seconds: float = 300.0  # RFC 5321 section 4.5.3.2.7


class Server:
    """Makes a session for each connection, up to a limit. Give ``server`` to ``loop.create_server``."""

    def __init__(self, manner: Manner, taker: Taker) -> None:
        self.manner, self.taker = manner, taker
        self.sessions: set[Session] = set()
        self.held = 0  # bytes of messages that are coming, or being kept, without the first ones of each
        self._enough = HELD * manner.size_limit
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()

    def __call__(self) -> Session:
        return Session(self)

    def hold(self, more: int) -> bool:
        """Count that more bytes are held, or fewer; False where they are too many."""
        self.held += more
        if more < 0:
            self._freed.set()
        return self.held <= 2 * self._enough

    def has_room(self) -> bool:
        """Whether another message may come at once."""
        return self.held < self._enough and not self._turn.locked()

    async def room(self) -> None:
        """Wait until another message may come; one after the other. Raises TimeoutError."""
        async with asyncio.timeout(ROOM), self._turn:
            while self.held >= self._enough:
                self._freed.clear()
                await self._freed.wait()

    async def drain(self, seconds: float) -> None:
        """Let the messages that are being kept be answered, then end all connections."""
        for session in list(self.sessions):
            session.leave()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.sessions:
                    await asyncio.sleep(0.05)
        for session in list(self.sessions):
            session.end()


class Session(asyncio.Protocol):
    """One connection."""

    def __init__(self, server: Server) -> None:
        self._server, self._manner, self._taker = server, server.manner, server.taker
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._read: Callable[[], bool] = self._command  # what to do with the buffer; False: it needs more
        self._replies = bytearray()
        self._reading = False
        self._scanned = 0
        self._refusal = ""  # of the message that is coming
        self._announced = self._held = 0  # bytes of it
        self._paused = False
        self._errors = 0
        self._leaving = False
        self._tasks: set[asyncio.Task[None]] = set()

    # -- the connection -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        if self in self._server.sessions:  # STARTTLS is done
            return
        peer = transport.get_extra_info("peername")
        self.dialogue = Dialogue(str(peer[0]) if peer else "", tls=self._manner.tls_at_once)
        self._seen = self._loop.time()
        self._timer = self._loop.call_later(self._manner.seconds, self._look_at_clock)
        others = self._server.sessions
        of_client = sum(one.dialogue.peer == self.dialogue.peer for one in others)
        if len(others) >= self._manner.connections or of_client >= self._manner.connections_of_client:
            self._say(BUSY)
            self.end()
            return
        self._server.sessions.add(self)
        self._say(f"220 {self._manner.name} ESMTP")

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.sessions.discard(self)
        self._timer.cancel()
        self._buffer.clear()
        if self._read != self._wait:  # else a message is still being kept
            self._hold(0)

    def eof_received(self) -> bool:
        return False

    def data_received(self, data: bytes) -> None:
        self._seen = self._loop.time()
        self._buffer += data
        self._advance()

    def end(self) -> None:
        """End the connection."""
        self._send()
        self._transport.close()

    def leave(self) -> None:
        """End the connection as soon as no message is being kept."""
        self._leaving = True
        if self._read == self._command:
            self._say("421 4.3.2 the service is stopped, try again later")
            self.end()

    def _look_at_clock(self) -> None:
        idle = self._loop.time() - self._seen
        if idle >= self._manner.seconds and self._read != self._wait:
            self._say("421 4.4.2 nothing was said for too long")
            self.end()
            return
        self._timer = self._loop.call_later(max(1.0, self._manner.seconds - idle), self._look_at_clock)

    def _say(self, reply: str) -> None:
        self._replies += reply.encode() + b"\r\n"
        if not self._reading:
            self._send()

    def _send(self) -> None:
        """Send what was said. What answers commands that came together goes out together."""
        if self._replies:
            self._transport.write(bytes(self._replies))
            self._replies.clear()

    def _answer(self, reply: str) -> None:
        """Answer a command; who gets too many refusals is sent away."""
        if reply[0] == "5":
            self._errors += 1
            if self._errors >= ERRORS_LIMIT:
                self._say("421 4.7.0 too many errors")
                self.end()
                return
        self._say(reply)

    def _advance(self) -> None:
        self._reading = True
        while self._buffer and not self._transport.is_closing() and self._read():
            pass
        self._reading = False
        self._send()
        # Who sends on while we are busy is held back by TCP.
        held = len(self._buffer) > COMMAND_LIMIT and self._read == self._wait
        if held != self._paused:
            self._paused = held
            (self._transport.pause_reading if held else self._transport.resume_reading)()

    def _wait(self) -> bool:
        return False

    def _do(self, work: Awaitable[None]) -> None:
        """Let work be done while the client waits."""
        self._read = self._wait

        async def run() -> None:
            try:
                await work
            except Exception:  # a fault of ours: the client must not wait for an answer that never comes
                log.exception("a command could not be worked on")
                self._say(FAULT)
                self.end()
            finally:
                if self._read == self._wait:
                    self._read = self._command
            if self._leaving:
                self.leave()
            elif not self._transport.is_closing():
                self._advance()

        task = asyncio.ensure_future(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- commands -----------------------------------------------------------------------------------

    def _line(self, limit: int) -> bytes | None:
        """Take a line out of the buffer. None: it is not whole yet, or too long, of which the client is told."""
        end = self._buffer.find(b"\r\n")
        if (len(self._buffer) if end < 0 else end) > limit:
            self._say("500 5.5.2 the line is too long")
            self.end()
            return None
        if end < 0:
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    def _command(self) -> bool:
        line = self._line(AUTH_LIMIT if self._buffer[:4].upper() == b"AUTH" else COMMAND_LIMIT)
        if line is None:
            return False
        verb, dummy, rest = line.partition(b" ")
        name = verb.upper().decode("ascii", "replace")
        if b"\n" in line or b"\r" in line or b"\0" in line:
            self._answer("500 5.5.2 a line ends in CRLF, and has neither a NUL nor a CR or LF of its own in it")
        elif (method := _METHODS.get(name)) is None:
            self._answer("500 5.5.1 there is no such command here")
        else:
            method(self, rest)
        return True

    def _helo(self, rest: bytes) -> None:
        if self._hello(rest, esmtp=False):
            self._say(f"250 {self._manner.name}")

    def _ehlo(self, rest: bytes) -> None:
        if not self._hello(rest, esmtp=True):
            return
        offers = [self._manner.name, "PIPELINING", f"SIZE {self._manner.size_limit}", "8BITMIME", "ENHANCEDSTATUSCODES"]
        if self._manner.tls and not self.dialogue.tls:
            offers.append("STARTTLS")
        if self._manner.auth and self.dialogue.tls:
            offers.append("AUTH PLAIN LOGIN")
        self._say("\r\n".join([*(f"250-{one}" for one in offers[:-1]), f"250 {offers[-1]}"]))

    def _hello(self, rest: bytes, *, esmtp: bool) -> bool:
        name = rest.strip().decode("ascii", "replace")
        if not name or " " in name:
            self._answer("501 5.5.4 say your name with it")
            return False
        self.dialogue.hello, self.dialogue.esmtp = name, esmtp
        self._reset()
        return True

    def _starttls(self, rest: bytes) -> None:
        if self._manner.tls is None or self.dialogue.tls:
            self._answer("503 5.5.1 TLS cannot be started here" if rest else "503 5.5.1 TLS is on, or not to be had")
            return
        # What came in clear text after the command is not to be taken for what comes under TLS (RFC 3207 section 4.2).
        self._buffer.clear()
        self._say("220 2.0.0 go ahead")
        self._do(self._start_tls(self._manner.tls))

    async def _start_tls(self, context: ssl.SSLContext) -> None:
        try:
            changed = await self._loop.start_tls(
                self._transport, self, context, server_side=True, ssl_shutdown_timeout=TLS_END
            )
        except (OSError, ssl.SSLError):
            self.end()
            return
        if changed is None:
            return
        self._transport = changed
        self.dialogue = Dialogue(self.dialogue.peer, tls=True)

    def _mail(self, rest: bytes) -> None:
        found = _PATH.fullmatch(rest.strip())
        if not found or rest[:4].upper() != b"FROM":
            self._answer(SYNTAX.format("write MAIL FROM:<address>"))
        elif not self.dialogue.hello:
            self._answer("503 5.5.1 say EHLO first")
        elif self.dialogue.sender is not None:
            self._answer("503 5.5.1 there is a sender already: RSET forgets it")
        elif refusal := self._parameters(found[2] or b""):
            self._answer(refusal)
        else:
            sender = found[1].decode("ascii", "replace")
            if not found[1].isascii():
                self._answer(LETTERS)
                return
            if sender and not _ADDRESS.fullmatch(sender):
                self._answer("553 5.1.7 this is no address")
                return
            reply = self._taker.mail(self.dialogue, sender)
            if reply[0] == "2":
                self.dialogue.sender = sender
                self._announced = _announced(found[2] or b"")
            self._answer(reply)

    def _parameters(self, text: bytes) -> str | None:
        for word in text.split():
            name, dummy, value = word.upper().partition(b"=")
            if name == b"SIZE" and value.isdigit() and len(value) <= 20:  # RFC 1870
                if int(value) > self._manner.size_limit:
                    return TOO_BIG.format(self._manner.size_limit)
            elif not (name == b"BODY" and value in (b"7BIT", b"8BITMIME")) and name != b"AUTH":
                return "555 5.5.4 there is no such parameter here"
        return None

    def _rcpt(self, rest: bytes) -> None:
        found = _PATH.fullmatch(rest.strip())
        recipient = found[1].decode("ascii", "replace") if found else ""
        if recipient.lower() == "postmaster":  # RFC 5321 section 4.5.1
            recipient = f"postmaster@{self._manner.name}"
        if not found or rest[:2].upper() != b"TO" or found[2]:
            self._answer(SYNTAX.format("write RCPT TO:<address>"))
        elif self.dialogue.sender is None:
            self._answer("503 5.5.1 say MAIL first")
        elif not found[1].isascii():
            self._answer(LETTERS)
        elif not _ADDRESS.fullmatch(recipient):
            self._answer("553 5.1.3 this is no address")
        elif len(self.dialogue.recipients) >= self._manner.recipients_limit:
            self._say("452 4.5.3 too many recipients: send the message to the others in another one")
        else:
            reply = self._taker.rcpt(self.dialogue, recipient)
            if reply[0] == "2":
                self.dialogue.recipients.append(recipient)
            self._answer(reply)

    def _rset(self, rest: bytes) -> None:
        self._reset()
        self._say("250 2.0.0 forgotten")

    def _reset(self) -> None:
        self.dialogue.sender = None
        self.dialogue.recipients = []
        self._announced = 0

    def _noop(self, rest: bytes) -> None:
        self._say("250 2.0.0 here")

    def _vrfy(self, rest: bytes) -> None:
        self._say("252 2.5.2 send it and see")

    def _quit(self, rest: bytes) -> None:
        self._say("221 2.0.0 goodbye")
        self.end()

    # -- the message --------------------------------------------------------------------------------

    def _data(self, rest: bytes) -> None:
        if rest:
            self._answer(SYNTAX.format("DATA stands alone"))
        elif not self.dialogue.recipients:
            self._answer("503 5.5.1 there is no recipient")
        elif self._announced <= SMALL or self._server.has_room():
            self._begin()
        else:
            self._do(self._admit())

    async def _admit(self) -> None:
        try:
            await self._server.room()
        except TimeoutError:
            self._answer(FULL)
            return
        if not self._transport.is_closing():
            self._begin()

    def _begin(self) -> None:
        self._say("354 end with a line that has nothing but a dot")
        self._scanned, self._refusal = 0, ""
        self._hold(self._announced)
        # So that a message with no line at all ends where any other does.
        self._buffer[:0] = b"\r\n"
        self._read = self._text

    def _hold(self, size: int) -> bool:
        """Count what is held of the message; False where all messages are too much."""
        counted = max(0, size - SMALL)
        more, self._held = counted - self._held, counted
        return self._server.hold(more) or not counted

    def _text(self) -> bool:
        buffer = self._buffer
        end = buffer.find(END, self._scanned)
        if not self._refusal and (end if end >= 0 else len(buffer) - len(END)) > self._manner.size_limit:
            self._refusal = TOO_BIG.format(self._manner.size_limit)
        if not self._refusal and not self._hold(max(self._announced, len(buffer))):
            self._refusal = FULL
        if end < 0:
            self._scanned = max(0, len(buffer) - len(END) + 1)
            if self._refusal:
                del buffer[: self._scanned]
                self._scanned = 0
                self._hold(0)
            return False
        raw = b"" if self._refusal else bytes(memoryview(buffer)[2 : end + 2])
        del buffer[: end + len(END)]
        if self._refusal:
            self._hold(0)
            self._reset()
            self._read = self._command
            self._answer(self._refusal)
            return True
        self._hold(len(raw))
        self._do(self._keep(_unstuffed(raw)))
        return True

    async def _keep(self, raw: bytes) -> None:
        try:
            reply = await self._taker.take(self.dialogue, raw)
        finally:
            self._hold(0)
        self._reset()
        self._answer(reply)

    # -- who it is ----------------------------------------------------------------------------------

    def _auth(self, rest: bytes) -> None:
        mechanism, dummy, first = rest.partition(b" ")
        if not self._manner.auth:
            self._answer("502 5.5.1 nobody logs in here")
        elif not self.dialogue.tls:
            self._answer("538 5.7.11 start TLS first, or your password is read by others")
        elif self.dialogue.login or self.dialogue.sender is not None:
            self._answer("503 5.5.1 not now")
        elif mechanism.upper() == b"PLAIN":  # RFC 4616
            self._ask("", first, self._plain)
        elif mechanism.upper() == b"LOGIN":
            self._ask("Username:", first, self._login_name)
        else:
            self._answer("504 5.5.4 there are PLAIN and LOGIN")

    def _ask(self, question: str, first: bytes, then: Callable[[bytes], None]) -> None:
        """Have an answer in base64 read, the first of which may stand in the command itself."""
        if first:
            self._decoded(first, then)
            return
        self._say(f"334 {base64.b64encode(question.encode()).decode()}")
        self._read = lambda: self._said(then)

    def _said(self, then: Callable[[bytes], None]) -> bool:
        line = self._line(AUTH_LIMIT)
        if line is None:
            return False
        self._read = self._command
        self._decoded(line, then)
        return True

    def _decoded(self, line: bytes, then: Callable[[bytes], None]) -> None:
        if line == b"*":
            self._answer("501 5.7.0 as you wish")
            return
        try:
            then(base64.b64decode(b"" if line == b"=" else line, validate=True))
        except (binascii.Error, ValueError):
            self._answer("501 5.5.2 this is no base64 of what was asked for")

    def _plain(self, answer: bytes) -> None:
        dummy, user, password = answer.split(b"\0")
        self._do(self._check(user.decode(), password.decode()))

    def _login_name(self, user: bytes) -> None:
        name = user.decode()

        def check(password: bytes) -> None:
            self._do(self._check(name, password.decode()))

        self._ask("Password:", b"", check)

    async def _check(self, user: str, password: str) -> None:
        refusal = await self._taker.login(self.dialogue, user, password)
        if refusal is None:
            self.dialogue.login = user
        self._answer(refusal or "235 2.7.0 welcome")


def _announced(parameters: bytes) -> int:
    """The bytes of the parameter SIZE (RFC 1870); 0 where there is none."""
    sizes = [word[5:] for word in parameters.upper().split() if word.startswith(b"SIZE=")]
    return int(sizes[0]) if sizes else 0


def _unstuffed(raw: bytes) -> bytes:
    """A message without the dots that kept its lines from ending it (RFC 5321 section 4.5.2)."""
    if raw[:1] != b"." and b"\r\n." not in raw:
        return raw
    return (b"\r\n" + raw).replace(b"\r\n.", b"\r\n")[2:]


_METHODS: dict[str, Callable[[Session, bytes], None]] = {
    "HELO": Session._helo,
    "EHLO": Session._ehlo,
    "STARTTLS": Session._starttls,
    "AUTH": Session._auth,
    "MAIL": Session._mail,
    "RCPT": Session._rcpt,
    "DATA": Session._data,
    "RSET": Session._rset,
    "NOOP": Session._noop,
    "VRFY": Session._vrfy,
    "QUIT": Session._quit,
}
