# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests need of a running lab: run commands, speak SMTP from any host, read what arrived and how it was judged.

The judge is the outside host alone: verdicts come from the topmost Authentication-Results
header, and only if it carries that host's own authserv-id.
"""

from __future__ import annotations

import base64
import email
import email.policy
import ipaddress
import json
import os
import re
import shlex
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from . import state

REMOTE = Path(__file__).parent / "remote"
PATIENCE = 60.0  # seconds: what is waited for comes in one or two, but a loaded machine is slow
METHODS = ("spf", "dkim", "dmarc")
COMMENT = re.compile(r"\([^()]*\)")
TLS = re.compile(r"\(using (TLSv[\d.]+) with cipher (\S+)")
CLIENT = re.compile(r"from (?P<helo>\S+) \((?P<name>\S+) \[(?:IPv6:)?(?P<address>[^\]]+)\]\)")
TRY_AGAIN = "(postqueue -f; exim4 -qff; smtpctl schedule all) >/dev/null 2>&1 </dev/null &"


class ProbeError(AssertionError):
    """The lab did not do what a test waited for; the text says what was seen instead."""


def verdicts(message: EmailMessage, authserv_id: str) -> dict[str, str]:
    """Results of SPF, DKIM and DMARC in the topmost Authentication-Results header (RFC 8601).

    A method the header does not mention is ``none``; of several DKIM results a pass wins, else
    the first counts. :class:`ProbeError` if the topmost header is not ``authserv_id``'s own.
    """
    headers = message.get_all("Authentication-Results") or []
    if not headers:
        raise ProbeError("the message has no Authentication-Results header")
    plain = COMMENT.sub(" ", " ".join(str(headers[0]).split()))
    owner, *results = (part.strip() for part in plain.split(";"))
    if owner.split()[:1] != [authserv_id]:
        raise ProbeError(f"the topmost Authentication-Results header is {owner!r}'s, not {authserv_id}'s")
    found: dict[str, list[str]] = {method: [] for method in METHODS}
    for result in results:
        method, dummy, verdict = (result.split() or [""])[0].partition("=")
        found.setdefault(method, []).append(verdict)
    return {m: "pass" if "pass" in found[m] else (found[m] or ["none"])[0] for m in METHODS}


@dataclass(frozen=True)
class Message:
    """A message as it lies in outside's mailbox."""

    raw: bytes
    authserv_id: str

    @property
    def parsed(self) -> EmailMessage:
        """The message, parsed."""
        parsed = email.message_from_bytes(self.raw, policy=email.policy.default)
        assert isinstance(parsed, EmailMessage)
        return parsed

    @property
    def verdicts(self) -> dict[str, str]:
        """What outside says of spf, dkim and dmarc."""
        return verdicts(self.parsed, self.authserv_id)

    @property
    def received(self) -> list[str]:
        """All Received headers, unfolded, the receiver's own first."""
        return [" ".join(str(header).split()) for header in self.parsed.get_all("Received") or []]

    @property
    def tls(self) -> str:
        """TLS version of the last hop, e.g. ``TLSv1.3``; empty without TLS."""
        match = TLS.search(self.received[0])
        return match[1] if match else ""

    @property
    def client(self) -> dict[str, str]:
        """``helo``, verified ``name`` and ``address`` of who delivered it."""
        match = CLIENT.match(self.received[0])
        return match.groupdict() if match else {}

    @property
    def sender(self) -> str:
        """The envelope sender."""
        return str(self.parsed["Return-Path"]).strip("<> ")

    @property
    def recipient(self) -> str:
        """The envelope recipient."""
        return str(self.parsed["X-Original-To"] or self.parsed["Delivered-To"])


@dataclass(frozen=True)
class Dialogue:
    """An SMTP session: (what was said, code, text) for each step; code 0 when the connection ended."""

    steps: list[tuple[str, int, str]] = field(default_factory=list)

    @property
    def accepted(self) -> bool:
        """Whether the message was taken: the last step is the end of data and its code 250."""
        return bool(self.steps) and self.steps[-1][0] == "." and self.steps[-1][1] == 250

    @property
    def refusal(self) -> tuple[str, int, str] | None:
        """The first step answered with 4xx or 5xx, or with silence."""
        return next((step for step in self.steps if step[1] >= 400 or step[1] == 0), None)


class Lab:
    """A running lab, by its lab.json."""

    def __init__(self, known: dict[str, Any]) -> None:
        self.known = known
        self.name: str = known["name"]
        self._ssh = ["ssh", *state.ssh_options(self.name), "-i", known["ssh_key"]]

    @classmethod
    def load(cls, name: str | None = None) -> Lab:
        """The lab called ``name``, by default the one in the variable LAB_NAME."""
        name = name or os.environ.get("LAB_NAME", "demo")
        try:
            return cls(state.load(name))
        except FileNotFoundError:
            raise ProbeError(f"there is no lab called {name}: start it with python -m lab up --name {name}") from None

    # -- hosts ----------------------------------------------------------------------------------
    def hosts(self, group: str | None = None) -> list[str]:
        """Names of the running hosts, of one group if asked."""
        entries = self.known["hosts"].items()
        return [name for name, host in entries if host["running"] and (group is None or group in host["groups"])]

    def fqdn(self, host: str) -> str:
        """The host's DNS name."""
        return str(self.known["hosts"][host]["fqdn"])

    def address(self, host: str, *, version: int = 4) -> str:
        """The host's first address of an IP version; the edge's is the internet side's."""
        addresses: list[str] = self.known["hosts"][host]["addresses"]
        return next(str(a) for a in addresses if ipaddress.ip_address(a).version == version)

    def nameless(self, host: str = "stranger", *, version: int = 4) -> str:
        """An address of the host that has no PTR."""
        return next(str(a) for a in self.known["hosts"][host]["nameless"] if ipaddress.ip_address(a).version == version)

    def run(
        self, host: str, argv: Sequence[str] | str, *, input: str = "", check: bool = True, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as root on a host; a string is given to its shell. ``check`` raises :class:`ProbeError`."""
        command = argv if isinstance(argv, str) else shlex.join(argv)
        target = f"root@{self.known['hosts'][host]['control']}"
        done = subprocess.run(
            [*self._ssh, target, command], input=input, capture_output=True, text=True, timeout=timeout, check=False
        )
        if check and done.returncode != 0:
            said = done.stderr.strip() or done.stdout.strip()
            raise ProbeError(f"{host}: {command} failed ({done.returncode}): {said}")
        return done

    def script(self, host: str, script: str, options: dict[str, Any], *, timeout: float) -> Any:
        """Run a script of the folder remote on a host, with a JSON argument; returns the JSON it prints."""
        program = (REMOTE / script).read_text(encoding="utf-8")
        argument = base64.b64encode(json.dumps(options).encode()).decode()
        return json.loads(self.run(host, ["python3", "-", argument], input=program, timeout=timeout).stdout)

    def journal(self, host: str, *units: str, since: str = "") -> str:
        """The journal of a host, of some units only if named."""
        options = [part for unit in units for part in ("-u", unit)] + (["--since", since] if since else [])
        return self.run(host, ["journalctl", "--no-pager", "-o", "cat", *options]).stdout

    def listeners(self, host: str, port: int = 25) -> set[str]:
        """The addresses and port on which somebody on the host listens, as ``{"127.0.0.1:25", "[::1]:25"}``."""
        return {line.split()[3] for line in self.run(host, f"ss -Hlnt sport = :{port}").stdout.splitlines()}

    # -- mail -----------------------------------------------------------------------------------
    def messages(self, token: str = "", *, host: str = "outside") -> list[Message]:
        """All messages in the mailbox that contain ``token``, in the order of their arrival."""
        return self._mailbox(host, token, count=0, timeout=0)

    def wait_for_messages(
        self, token: str, count: int = 1, *, host: str = "outside", timeout: float = PATIENCE
    ) -> list[Message]:
        """Wait until ``count`` messages with ``token`` have arrived; :class:`ProbeError` with what is known if not.

        What was put off, as happens where all hosts share a busy machine, is tried again after half the time by all
        hosts; by themselves they would after some minutes.
        """
        found = self._mailbox(host, token, count=count, timeout=timeout / 2)
        if len(found) < count:
            for name, about in self.known["hosts"].items():
                if about["running"]:
                    self.run(name, TRY_AGAIN, check=False)
            found = self._mailbox(host, token, count=count, timeout=timeout / 2)
        if len(found) < count:
            log = "\n".join(self.journal(host, "postfix").splitlines()[-10:])
            seen = f"{len(found)} of {count} messages with {token!r} arrived at {host} within {timeout:g} s"
            raise ProbeError(f"{seen}; its log:\n{log}")
        return found

    def wait_for_message(self, token: str, *, host: str = "outside", timeout: float = PATIENCE) -> Message:
        """Wait for the message with ``token``."""
        return self.wait_for_messages(token, 1, host=host, timeout=timeout)[0]

    def _mailbox(self, host: str, token: str, *, count: int, timeout: float) -> list[Message]:
        options = {"maildir": self.known["outside"]["maildir"], "token": token, "count": count, "timeout": timeout}
        found = self.script(host, "mailbox.py", options, timeout=timeout + 60)
        identity = self.fqdn(host)
        return [Message(base64.b64decode(content), identity) for content in found]

    def forget_messages(self, *, host: str = "outside") -> None:
        """Empty the mailbox."""
        self.run(host, f"find {self.known['outside']['maildir']} -type f -delete")

    def smtp(
        self,
        from_host: str,
        to_host: str,
        *,
        sender: str,
        recipients: Sequence[str] | str,
        message: str | bytes | None = None,
        raw: bool = False,
        port: int = 25,
        source: str = "",
        version: int = 4,
        helo: str = "",
        starttls: bool | None = None,
        wrapped: bool = False,
        login: tuple[str, str] | None = None,
        server: str = "",
        timeout: float = PATIENCE,
    ) -> Dialogue:
        """Speak SMTP from one host to another and return every step.

        ``message`` None stops after RCPT. With ``raw`` its bytes follow the 354 as they are, without
        dot-stuffing and without an end of data of ours, and every reply that comes is recorded.
        ``starttls`` None uses TLS where it is offered, True insists, False abstains; certificates are
        not verified; with ``wrapped`` TLS comes first, as on port 465. ``server`` overrides the address to connect to.
        """
        data = message.encode() if isinstance(message, str) else message
        options = {
            "server": server or self.address(to_host, version=version),
            "port": port,
            "source": source or self.address(from_host, version=version),
            "helo": helo or self.fqdn(from_host),
            "sender": sender,
            "recipients": [recipients] if isinstance(recipients, str) else list(recipients),
            "message": None if data is None else base64.b64encode(data).decode(),
            "raw": raw,
            "starttls": starttls,
            "wrapped": wrapped,
            "login": login,
            "timeout": timeout,
        }
        steps = self.script(from_host, "smtp.py", options, timeout=timeout * 8)
        return Dialogue([tuple(step) for step in steps])

    # -- DNS (needs dnspython) ------------------------------------------------------------------
    def query(self, name: str, rdtype: str, *, server: str = "resolver") -> list[str]:
        """Rdata texts of an answer, sorted; empty for NODATA and NXDOMAIN. ``server`` is a host or an address."""
        import dns.resolver

        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers = [self.address(server) if server in self.known["hosts"] else server]
        try:
            return sorted(rdata.to_text() for rdata in resolver.resolve(name, rdtype, search=False))
        except (dns.resolver.NoAnswer, dns.resolver.NXDOMAIN):
            return []

    def update(self, name: str, rdtype: str, rdatas: Sequence[str], *, ttl: int = 60, key: str = "lab.") -> None:
        """Make a name have exactly these rdatas, by a TSIG-signed update at ns1; none removes the set.

        Returns when the secondary and the resolver say so too.
        """
        import dns.exception
        import dns.name
        import dns.query
        import dns.rcode
        import dns.tsigkeyring
        import dns.update

        dns_facts = self.known["dns"]
        keyring = dns.tsigkeyring.from_text({key: dns_facts["tsig"][key]})
        owner, signer = dns.name.from_text(name), dns.name.from_text(key)
        algorithm = dns.name.from_text(dns_facts["algorithm"])
        update = dns.update.UpdateMessage(self._zone(owner), keyring=keyring, keyname=signer, keyalgorithm=algorithm)
        update.delete(owner, rdtype)
        for rdata in rdatas:
            update.add(owner, ttl, rdtype, rdata)
        try:
            answer = dns.query.tcp(update, dns_facts["primary"], timeout=10)
        except dns.exception.FormError as err:  # a refusal comes unsigned
            raise ProbeError(f"ns1 refuses the update of {name} with the key {key}: {err}") from err
        if answer.rcode() != 0:
            raise ProbeError(f"ns1 refuses the update of {name}: {dns.rcode.to_text(answer.rcode())}")
        self._wait_until_told(name, rdtype)

    def _wait_until_told(self, name: str, rdtype: str, timeout: float = PATIENCE) -> None:
        """Wait until the secondary and the resolver answer as the primary does."""
        told = self.query(name, rdtype, server="ns1")
        end = time.monotonic() + timeout
        while any(self.query(name, rdtype, server=server) != told for server in ("ns2", "resolver")):
            if time.monotonic() > end:
                raise ProbeError(f"ns2 or the resolver still has an old {rdtype} of {name} after {timeout:g} s")
            time.sleep(0.2)

    def _zone(self, owner: Any) -> Any:
        """The zone a name is in: the closest SOA that ns1 has above it."""
        import dns.name

        while owner != dns.name.root:
            if self.query(owner.to_text(), "SOA", server="ns1"):
                return owner
            owner = owner.parent()
        return owner

    def dkim_verifies(self, message: Message) -> bool:
        """What dkimpy says of the first signature, with keys from the lab's resolver."""
        import dkim

        def txt(name: bytes, timeout: int = 5) -> bytes:
            texts = self.query(name.decode(), "TXT")
            return b"".join(re.findall(rb'"((?:[^"\\]|\\.)*)"', texts[0].encode())) if texts else b""

        return bool(dkim.verify(message.raw, dnsfunc=txt))
