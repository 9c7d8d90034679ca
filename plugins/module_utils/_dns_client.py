# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: ask and update DNS servers over TCP with dnspython 2.3 or newer. Private to this collection.

All questions go over TCP (RFC 7766), many in flight on one connection, so no answer is ever cut and
a thousand records cost a few round trips. Sources: RFC 1035, RFC 2136 (update), RFC 8945 (TSIG).
"""

from __future__ import annotations

import binascii
import contextlib
import errno
import functools
import random
import socket
import struct
import time
import traceback
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._dns import DnsError, DnsTimeout
from ansible_collections.postmaster.mail.plugins.module_utils._dns_plan import (
    Action,
    Key,
    RRset,
    comparable,
    pack,
)
from ansible_collections.postmaster.mail.plugins.module_utils._record import Record

DNSPYTHON_IMPORT_ERROR: str | None = None
try:
    import dns.exception
    import dns.flags
    import dns.message
    import dns.name
    import dns.rcode
    import dns.rdata
    import dns.rdataclass
    import dns.rdatatype
    import dns.rrset
    import dns.tsig
    import dns.update
except ImportError:
    DNSPYTHON_IMPORT_ERROR = traceback.format_exc()

WINDOW = 64  # questions in flight on one connection; far below what would fill a socket buffer
TSIG_FIXED_SIZE = 100  # the TSIG record without its two names: RFC 8945 section 4.2, MAC of at most 64 octets
TSIG_ALGORITHMS = ("hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512", "hmac-sha1", "hmac-md5")
NO_ROUTE = (errno.ENETUNREACH, errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


class DnsNoRoute(DnsTimeout):
    """This machine has no way to the address at all, e.g. no IPv6."""


class DnsRefused(DnsTimeout):
    """The server answers with an error code instead of an answer."""


@dataclass(frozen=True)
class TsigKey:
    """A TSIG key; ``secret`` in base64, never shown."""

    name: str
    secret: str = field(repr=False)
    algorithm: str = "hmac-sha256"

    def build(self) -> Any:
        """dnspython's key, or :class:`DnsError` when name or secret cannot be one."""
        algorithm = "HMAC-MD5.SIG-ALG.REG.INT." if self.algorithm == "hmac-md5" else self.algorithm
        try:
            binascii.a2b_base64(self.secret.encode("ascii"), strict_mode=True)
            return dns.tsig.Key(self.name, self.secret, algorithm)
        except (binascii.Error, UnicodeError) as err:
            raise DnsError(
                f"the secret of the TSIG key {self.name} is not base64; copy it as tsig-keygen or keymgr printed it"
            ) from err
        except dns.exception.DNSException as err:
            raise DnsError(f"the TSIG key name {self.name!r} is no DNS name: {err}") from err


@dataclass(frozen=True)
class Answer:
    """What a server says of one name and type.

    ``alias`` is the target where the name is a CNAME instead; ``zone`` the owner of the SOA record
    in a negative answer (RFC 2308 section 3); ``missing`` tells NXDOMAIN from NODATA.
    """

    rrset: RRset | None = None
    alias: str | None = None
    zone: str | None = None
    missing: bool = False


def normalise(record: Record) -> Record:
    """``record`` with name and rdata in canonical form (RFC 4034 section 6.2), TXT as it is split.

    Raises :class:`DnsError` naming the record.
    """
    try:
        owner = dns.name.from_text(record.name).canonicalize().to_text()
        rdtype = dns.rdatatype.from_text(record.type)
        if dns.rdatatype.is_metatype(rdtype) or rdtype == dns.rdatatype.SOA:
            raise DnsError(
                f"records of type {record.type} ({record.name}) are not for this module; the server keeps them"
            )
        rdata = record.rdata and _canonical(_parsed(dns.rdatatype.to_text(rdtype), record.rdata))
        return Record(owner, dns.rdatatype.to_text(rdtype), record.ttl, rdata, record.strings)
    except (dns.exception.DNSException, ValueError) as err:
        reason = str(err) or type(err).__name__
        raise DnsError(f"{record.name} {record.type} {record.rdata!r} is no valid record: {reason}") from err


@functools.lru_cache(maxsize=8192)
def _canonical(rdata: Any) -> str:
    """Presentation text of ``rdata`` with all names in lower case. What was sent is read back right after."""
    if rdata.rdtype in (dns.rdatatype.TXT, dns.rdatatype.SPF):
        return str(rdata.to_text())
    wire = rdata.to_digestable(dns.name.root)
    return str(dns.rdata.from_wire(rdata.rdclass, rdata.rdtype, wire, 0, len(wire)).to_text())


@functools.lru_cache(maxsize=8192)
def _parsed(rdtype: str, text: str) -> Any:
    """dnspython's immutable rdata. A record is parsed when it is checked, weighed and sent."""
    return dns.rdata.from_text("IN", rdtype, text, relativize=False)


def rdata_size(record: Record) -> int:
    """Octets of the record's data on the wire, names uncompressed."""
    return len(_parsed(record.type, record.rdata).to_wire(origin=dns.name.root) or b"")


def parse_zone_text(text: str, path: str) -> list[Record]:
    """The records of a zone-file fragment that this collection wrote: one a line, names absolute."""
    records = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith(";"):
            continue
        fields = line.split(None, 4)
        if len(fields) < 5 or not fields[1].isdecimal() or fields[2] != "IN":
            raise DnsError(
                f"{path} line {number} is not of the form 'name ttl IN type data': the file was not written here; "
                "name another zone_file and include it from your zone"
            )
        records.append(normalise(Record(fields[0].lower(), fields[3].upper(), int(fields[1]), fields[4].strip())))
    return records


def _referred(zone: str, response: Any) -> tuple[str, ...]:
    owner = dns.name.from_text(zone)
    for section in (dns.message.ANSWER, dns.message.AUTHORITY):
        found = response.get_rrset(section, owner, dns.rdataclass.IN, dns.rdatatype.NS)
        if found is not None:
            return tuple(_canonical(rdata) for rdata in found)
    return ()


class DnsServer:
    """One DNS server, asked over one TCP connection that is opened when first needed.

    ``address`` is an IP address or host name, ``timeout`` the seconds to wait for each answer.
    ``recursive`` asks it to resolve for us; else only its own authoritative word counts.
    Every failure is a :class:`DnsError`, one sentence with its remedy.
    """

    def __init__(
        self,
        address: str,
        *,
        port: int = 53,
        timeout: float = 10,
        key: TsigKey | None = None,
        recursive: bool = False,
        label: str | None = None,
    ) -> None:
        self.address = address
        self.port = port
        self.timeout = timeout
        self.recursive = recursive
        self.key = key
        where = address if port == 53 else f"{address} port {port}"
        self.label = f"{label} ({where})" if label and label.rstrip(".") != address else where
        self._socket: socket.socket | None = None
        self._next_id = random.randrange(0x10000)

    def close(self) -> None:
        """End the connection; the next question opens another."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
            self._socket = None

    # -- the contract of the SPF and DMARC evaluators -------------------------------------------

    def query(self, name: str, rdtype: str) -> list[str]:
        """Presentation texts of ``name``'s records, aliases followed; ``[]`` where there are none.

        TXT comes unquoted with its strings joined, octets above 127 as latin-1. Raises
        :class:`DnsTimeout` when there is no usable answer.
        """
        try:
            message = self._question(name, rdtype)
        except (dns.exception.DNSException, UnicodeError, ValueError):
            return []  # no such name can exist
        response = self._exchange([message])[0]
        self._check_answer(response, name, rdtype)
        try:
            answer = response.resolve_chaining().answer
        except dns.exception.DNSException:
            return []
        return [_unquoted(rdata) for rdata in answer] if answer is not None else []

    def exists(self, name: str) -> bool:
        """Whether there is anything at or below ``name``: whether the answer is other than NXDOMAIN (RFC 8020)."""
        try:
            message = self._question(name, "TXT")
        except (dns.exception.DNSException, UnicodeError, ValueError):
            return False
        response = self._exchange([message])[0]
        self._check_answer(response, name, "TXT")
        # The answer to an alias tells of its target.
        return response.rcode() != dns.rcode.NXDOMAIN or bool(response.answer)

    # -- reading --------------------------------------------------------------------------------

    def lookup(self, name: str, rdtype: str) -> Answer:
        """What this server says of one name and type; see :meth:`lookup_many`."""
        return self.lookup_many([(name, rdtype)])[(name, rdtype)]

    def lookup_many(self, keys: Iterable[Key]) -> dict[Key, Answer]:
        """Ask for many names and types at once; names absolute, in lower case.

        Raises :class:`DnsError` when an answer is missing or, unless ``recursive``, not authoritative.
        """
        found: dict[Key, Answer] = {}
        for key, answer in self.answers(keys).items():
            if isinstance(answer, DnsError):
                raise answer
            found[key] = answer
        return found

    def answers(self, keys: Iterable[Key]) -> dict[Key, Answer | DnsError]:
        """The same, with the error in place of each useless answer; raises only where the connection fails."""
        wanted = list(dict.fromkeys(keys))
        responses = self._exchange([self._question(*key) for key in wanted])
        return {key: self._answer_or_error(key, response) for key, response in zip(wanted, responses, strict=True)}

    def delegations(self, zones: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """The name servers that this server of a parent zone refers to, by zone; none where it refers to nobody.

        A server that has the zone as well answers with the zone's own list (RFC 1034 section 4.3.2).
        """
        wanted = list(dict.fromkeys(zones))
        responses = self._exchange([self._question(zone, "NS") for zone in wanted])
        return {zone: _referred(zone, response) for zone, response in zip(wanted, responses, strict=True)}

    def zone_of(self, name: str) -> str:
        """The zone on this server that ``name`` lies in, found by its SOA record."""
        while True:
            answer = self.lookup(name, "SOA")
            if answer.rrset is not None:
                return name
            if answer.alias is None and answer.zone is not None:
                return answer.zone
            # The authority section of an alias speaks of the target: ask for the parent, in the same zone.
            name = name.partition(".")[2]
            if answer.alias is None or not name:
                raise DnsError(f"{self.label} names no zone for {name or '.'}; give the zone by the option zone")

    def check_key(self, zone: str) -> None:
        """Prove by a signed question that the server knows our TSIG key; changes nothing."""
        if self.key is not None:
            message = self._question(zone, "SOA")
            message.use_tsig(self.key.build())
            self._check_answer(self._exchange([message])[0], zone, "SOA")

    # -- updating -------------------------------------------------------------------------------

    def update(self, zone: str, actions: Sequence[Action]) -> int:
        """Apply ``actions`` to ``zone`` in as few messages as they fit in; the number sent.

        Each message takes effect as a whole or not at all (RFC 2136 section 3.7).
        """
        reserve = TSIG_FIXED_SIZE + len(self.key.name) + 32 if self.key else 0
        messages = pack(actions, zone=zone, rdata_size=rdata_size, reserve=reserve)
        for done, part in enumerate(messages):
            try:
                if done:
                    self._settle(messages[done - 1][-1])
                self._update(zone, part)
            except DnsError as err:
                if not done:
                    raise
                raise DnsError(
                    f"{err} ({done} of {len(messages)} messages were applied before; run again to go on)"
                ) from err
        return len(messages)

    def _settle(self, action: Action) -> None:
        """Wait, at most the timeout, until the server answers with the end of the message before.

        BIND 9.18 and 9.20 sometimes leave an update of an inline-signed zone unsigned, and so unseen,
        when it comes while the one before is being signed.
        """
        record = action.record
        pause, deadline = 1 / 64, time.monotonic() + self.timeout
        while time.monotonic() < deadline:
            rrset = self.lookup(record.name, record.type).rrset
            held = {comparable(record.type, value) for value in rrset.values} if rrset else set()
            if (comparable(record.type, record.rdata) in held) == (action.kind != "delete"):
                return
            time.sleep(pause)
            pause = min(2 * pause, 1)

    def _update(self, zone: str, actions: Sequence[Action]) -> None:
        message = dns.update.UpdateMessage(zone, id=self._id())
        for action in actions:
            record = action.record
            rdata = _parsed(record.type, record.rdata)
            owner = dns.name.from_text(record.name)
            if action.kind != "add":
                message.delete(owner, rdata)
            if action.kind != "delete":
                message.add(owner, record.ttl, rdata)
        if self.key is not None:
            message.use_tsig(self.key.build())
        response = self._exchange([message])[0]
        rcode = response.rcode()
        if rcode != dns.rcode.NOERROR:
            raise DnsRefused(self._update_refusal(zone, rcode))

    def _update_refusal(self, zone: str, rcode: Any) -> str:
        signed = f"the TSIG key {self.key.name}" if self.key else "updates from this address without a TSIG key"
        remedies = {
            "REFUSED": f"allow {signed} to change this zone there (Knot: an acl with action update; "
            "BIND: update-policy or allow-update)",
            "NOTAUTH": f"it does not accept {signed} (check tsig_name and tsig_algorithm), or it is not the primary "
            "server of this zone",
            "NOTZONE": "a record lies outside this zone; leave out the option zone, or correct it",
            "NOTIMP": "it does not do dynamic updates (RFC 2136); use zone_file, or another server",
            "SERVFAIL": "it failed while applying the update; its log says why (journal full, zone read-only, signing)",
            "FORMERR": "it could not read the update; its log says why",
        }
        code = dns.rcode.to_text(rcode)
        remedy = remedies.get(code, "its log says why")
        return f"{self.label} did not accept the update of zone {zone} ({code}): {remedy}"

    # -- messages -------------------------------------------------------------------------------

    def _id(self) -> int:
        self._next_id = (self._next_id + 1) % 0x10000
        return self._next_id

    def _question(self, name: str, rdtype: str) -> Any:
        message = dns.message.make_query(dns.name.from_text(name), rdtype, use_edns=0)
        message.id = self._id()
        if not self.recursive:
            message.flags &= ~dns.flags.RD
        return message

    def _check_answer(self, response: Any, name: str, rdtype: str) -> None:
        rcode = response.rcode()
        if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            remedy = (
                "it may not serve this zone, or not to this address"
                if rcode in (dns.rcode.REFUSED, dns.rcode.NOTAUTH)
                else "its log says why"
            )
            raise DnsRefused(f"{self.label} did not answer for {name} {rdtype} ({dns.rcode.to_text(rcode)}): {remedy}")
        if response.flags & dns.flags.TC:
            raise DnsRefused(f"{self.label} cut its answer for {name} {rdtype} even over TCP; look at that server")
        if not self.recursive and not response.flags & dns.flags.AA:
            raise DnsRefused(f"{self.label} is not authoritative for {name}; name a server that serves the zone")

    def _answer_or_error(self, key: Key, response: Any) -> Answer | DnsError:
        try:
            return self._answer(key, response)
        except DnsError as err:
            return err

    def _answer(self, key: Key, response: Any) -> Answer:
        name, rdtype = key
        self._check_answer(response, name, rdtype)
        owner = dns.name.from_text(name)
        found = response.get_rrset(dns.message.ANSWER, owner, dns.rdataclass.IN, dns.rdatatype.from_text(rdtype))
        if found is not None:
            return Answer(rrset=RRset(name, rdtype, found.ttl, tuple(_canonical(rdata) for rdata in found)))
        alias = response.get_rrset(dns.message.ANSWER, owner, dns.rdataclass.IN, dns.rdatatype.CNAME)
        zone = next((s.name for s in response.authority if s.rdtype == dns.rdatatype.SOA), None)
        return Answer(
            alias=_canonical(alias[0]) if alias else None,
            zone=zone.canonicalize().to_text() if zone is not None and not alias else None,
            missing=response.rcode() == dns.rcode.NXDOMAIN,
        )

    # -- the connection -------------------------------------------------------------------------

    def _connect(self) -> socket.socket:
        try:
            return socket.create_connection((self.address, self.port), timeout=self.timeout)
        except TimeoutError as err:
            raise DnsTimeout(
                f"{self.label} does not accept a TCP connection within {self.timeout:g} seconds; "
                "check the address and that firewalls let TCP through to the port"
            ) from err
        except socket.gaierror as err:
            raise DnsTimeout(f"the name server {self.address} has no address here: {err.strerror}") from err
        except OSError as err:
            kind = DnsNoRoute if err.errno in NO_ROUTE else DnsTimeout
            raise kind(f"{self.label} cannot be reached over TCP: {err.strerror or err}") from err

    def _exchange(self, messages: Sequence[Any]) -> list[Any]:
        """Send ``messages``, up to :data:`WINDOW` at a time, and return their answers in order."""
        answers: dict[int, Any] = {}
        waiting = deque(range(len(messages)))
        flight: dict[int, int] = {}
        while len(answers) < len(messages):
            fresh = self._socket is None
            before = len(answers)
            try:
                if self._socket is None:
                    self._socket = self._connect()
                self._pump(self._socket, messages, waiting, flight, answers)
            except TimeoutError as err:
                self.close()
                raise DnsTimeout(
                    f"{self.label} did not answer within {self.timeout:g} seconds; look at that server"
                ) from err
            except (OSError, EOFError) as err:
                # Servers end idle connections when they like (RFC 7766 section 6.2.3): once more, on a new one.
                self.close()
                if fresh and len(answers) == before:
                    reason = getattr(err, "strerror", None) or "closed without an answer"
                    raise DnsTimeout(f"{self.label} ended the TCP connection: {reason}") from err
                waiting.extendleft(sorted(flight.values(), reverse=True))
                flight.clear()
            except DnsError:
                self.close()
                raise
        return [answers[index] for index in range(len(messages))]

    def _pump(
        self,
        connection: socket.socket,
        messages: Sequence[Any],
        waiting: deque[int],
        flight: dict[int, int],
        answers: dict[int, Any],
    ) -> None:
        """Ask what is ``waiting``, keep the ``flight`` full, and collect ``answers``, until none is left."""
        while waiting or flight:
            batch = b""
            while waiting and len(flight) < WINDOW:
                index = waiting.popleft()
                wire = messages[index].to_wire(max_size=65535)
                flight[messages[index].id] = index
                batch += struct.pack("!H", len(wire)) + wire
            if batch:
                connection.sendall(batch)
            wire = _receive(connection)
            index = flight.pop(int.from_bytes(wire[:2], "big"), -1)
            if index < 0:
                raise DnsError(f"{self.label} sent an answer to a question that was not asked")
            answers[index] = self._parse(wire, messages[index])

    def _parse(self, wire: bytes, message: Any) -> Any:
        """The answer in ``wire``, its TSIG signature verified where ``message`` was signed."""
        try:
            try:
                response = dns.message.from_wire(wire, keyring=message.keyring, request_mac=message.mac)
            except dns.exception.FormError:
                # What dnspython 2.8 and later say of an answer without a signature, too. Its code tells more.
                response = dns.message.from_wire(wire)
        except (dns.exception.DNSException, ValueError, struct.error) as err:
            said = self._tsig_failure(err) or f"sent an answer that is not understood: {err or type(err).__name__}"
            raise DnsError(f"{self.label} {said}") from err
        if message.keyring and not response.had_tsig and response.rcode() == dns.rcode.NOERROR:
            raise DnsError(
                f"{self.label} left its answer unsigned, though asked with a TSIG key; something else may have answered"
            )
        return response

    def _tsig_failure(self, err: Exception) -> str | None:
        """What a failure of the signature means, as the rest of a sentence (RFC 8945 section 5.2)."""
        key = self.key.name if self.key else ""
        failures: dict[type, str] = {
            dns.tsig.PeerBadKey: f"refuses the TSIG key {key} (BADKEY): it does not know the key, or no "
            "acl of the zone names it; check tsig_name and tsig_algorithm, and that the key may update the zone",
            dns.tsig.PeerBadSignature: f"has another secret for the TSIG key {key} (BADSIG): check tsig_secret",
            dns.tsig.PeerBadTime: f"has another time than this machine (BADTIME, key {key}): set both clocks by NTP",
            dns.tsig.PeerBadTruncation: f"wants a longer signature of the TSIG key {key} (BADTRUNC): "
            "choose another tsig_algorithm",
            dns.tsig.BadTime: f"signs with another time than this machine's (key {key}): set both clocks by NTP",
            dns.tsig.BadSignature: f"signs with another secret for the TSIG key {key}: check tsig_secret",
        }
        return failures.get(type(err))


def _unquoted(rdata: Any) -> str:
    if rdata.rdtype in (dns.rdatatype.TXT, dns.rdatatype.SPF):
        return b"".join(rdata.strings).decode("latin-1")
    return str(rdata.to_text())


def _receive(connection: socket.socket) -> bytes:
    (size,) = struct.unpack("!H", _receive_exactly(connection, 2))
    return _receive_exactly(connection, size)


def _receive_exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise EOFError
        data += part
    return data
