# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: what a mail check asks of the world, what it was told, and the view of it that a row judges. Private, pure.

A row is a function of a :class:`View` and does no I/O. Where it needs an answer that is not there yet, the view
raises :class:`Pending` with the questions; whoever runs the row gets them answered and runs it again.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast

from ansible_collections.postmaster.mail.plugins.module_utils._check_mail import Mail
from ansible_collections.postmaster.mail.plugins.module_utils._dns import DnsTimeout, is_under
from ansible_collections.postmaster.mail.plugins.module_utils._networks import PRIVATE

ALIAS_LIMIT = 8  # CNAMEs followed from one name
SERVER_LIMIT = 13  # name servers of one zone that are asked
ADDRESS_LIMIT = 16  # addresses of one host, and hosts of one domain, that are looked at

Item = TypeVar("Item")
Result = TypeVar("Result")

NOERROR, NXDOMAIN, FAILED, TIMEOUT, NO_ROUTE = "noerror", "nxdomain", "failed", "timeout", "no route"

# -- questions and answers ------------------------------------------------------------------------


class Dns(NamedTuple):
    """Name (absolute, in lower case) and type; ``server`` an address, or empty for the resolver.

    ``tcp`` insists on TCP, ``unchecked`` asks the resolver not to validate (the CD bit, RFC 4035 section 3.2.2).
    """

    name: str
    type: str
    server: str = ""
    tcp: bool = False
    unchecked: bool = False


class Smtp(NamedTuple):
    """One session with a mail server up to RCPT: ``name`` is what its certificate must hold."""

    address: str
    port: int
    name: str
    recipients: tuple[str, ...] = ()


class Https(NamedTuple):
    """One GET; ``addresses`` are tried in turn."""

    addresses: tuple[str, ...]
    host: str
    path: str


class Connect(NamedTuple):
    """Whether a TCP connection can be opened."""

    address: str
    port: int


class Relay(NamedTuple):
    """An intrusive test of a mail server; ``ending`` None asks for an open relay, else it is tried as end of data."""

    address: str
    port: int
    sender: str
    recipient: str
    ending: bytes | None = None


Question: TypeAlias = "Dns | Smtp | Https | Connect | Relay"


@dataclass(frozen=True, slots=True)
class DnsAnswer:
    """What a server says. ``values`` are the records at the end of the ``chain`` of aliases, TXT as latin-1 text.

    ``status`` is one of the constants above, ``text`` says more where it failed; ``zone`` is the owner of the SOA
    record in a negative answer; ``referral`` says that the server passes on to others; ``size`` counts octets.
    """

    status: str
    values: tuple[str, ...] = ()
    chain: tuple[str, ...] = ()
    ttl: int = 0
    zone: str = ""
    authenticated: bool = False
    authoritative: bool = False
    referral: bool = False
    size: int = 0
    truncated: bool = False
    text: str = ""

    @property
    def usable(self) -> bool:
        return self.status in (NOERROR, NXDOMAIN)

    def same(self, other: DnsAnswer) -> bool:
        """Whether both say the same, TTLs and order aside."""
        return self.usable == other.usable and self.chain == other.chain and set(self.values) == set(other.values)


@dataclass(frozen=True, slots=True)
class SmtpAnswer:
    """A session: ``error`` where it ended early. ``tls`` is the version used, ``certificates`` the chain in DER.

    ``trouble`` says why the certificate is not valid for the name; ``replies`` are those to each recipient.
    """

    error: str = ""
    banner: str = ""
    starttls: bool = False
    tls: str = ""
    tls_error: str = ""
    trouble: str = ""
    certificates: tuple[bytes, ...] = ()
    replies: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class HttpsAnswer:
    """What a web server answers; ``error`` where there was no answer, ``silent`` where not even a refusal came."""

    error: str = ""
    status: int = 0
    content_type: str = ""
    body: bytes = b""
    silent: bool = False


@dataclass(frozen=True, slots=True)
class ConnectAnswer:
    """``error`` is empty where the connection was opened."""

    error: str = ""


@dataclass(frozen=True, slots=True)
class RelayAnswer:
    """``step`` is the command answered last, ``code`` 0 where nothing came."""

    error: str = ""
    step: str = ""
    code: int = 0
    text: str = ""


Answer: TypeAlias = "DnsAnswer | SmtpAnswer | HttpsAnswer | ConnectAnswer | RelayAnswer"


class Pending(BaseException):
    """Answers that a row waits for. No Exception, so that no parser in between takes it for a fault of its own."""

    def __init__(self, questions: Iterable[Question]) -> None:
        super().__init__()
        self.questions = frozenset(questions)


# -- what the user says -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outbound:
    """An address that mail leaves from, and the name the server says in HELO."""

    address: str
    helo: str = ""


@dataclass(frozen=True)
class SignerKey:
    """A key that a signer holds: the TXT value it wants published, its state, and since when (ISO 8601 or empty)."""

    domain: str
    selector: str
    value: str
    state: str = "active"
    activated: str = ""
    retired: str = ""


@dataclass(frozen=True)
class Options:
    """All that a person may tell a check; see the module for their meaning."""

    selectors: tuple[str, ...] = ()
    dkim_keys: tuple[SignerKey, ...] = ()
    outbound: tuple[Outbound, ...] = ()
    mail: Mail | None = None
    inbound_mail: Mail | None = None
    authserv_id: str = ""
    bulk: bool = False
    spam_rate: float | None = None
    outbound_25: str = ""
    test_host: str = ""
    intrusive: bool = False
    smtp: bool = True
    smtp_port: int = 25
    https: bool = True
    dnsbl_ip: tuple[str, ...] = ()
    dnsbl_domain: tuple[str, ...] = ()
    trust_ad: bool = False
    now: datetime.datetime = field(default_factory=lambda: datetime.datetime.now(datetime.UTC))


# -- the view -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Server:
    """A name server of the domain's zone."""

    name: str
    address: str

    def __str__(self) -> str:
        return f"{self.name.rstrip('.')} [{self.address}]"


@dataclass
class View:
    """What is known of ``domain`` (absolute, lower case) so far, as the resolver or one ``server`` of its zone sees it.

    ``used`` collects the names and types that were looked at; ``memo`` is for :meth:`once`.
    """

    domain: str
    facts: Mapping[Question, Answer]
    options: Options = field(default_factory=Options)
    server: Server | None = None
    used: set[tuple[str, str]] = field(default_factory=set)
    memo: dict[str, tuple[Any, frozenset[tuple[str, str]]]] = field(default_factory=dict)

    @property
    def bare(self) -> str:
        """The domain without its final dot."""
        return self.domain.rstrip(".")

    # -- DNS ----------------------------------------------------------------------------------------
    def ask(self, name: str, rdtype: str) -> DnsAnswer:
        """The answer for a name, aliases followed; one that failed is an answer, too."""
        name = name.lower().rstrip(".") + "."
        chain: list[str] = []
        while True:
            answer = self._one(name, rdtype)
            chain += answer.chain
            if answer.values or not answer.chain or not answer.usable or self.server is None:
                break
            # A name server knows its own part of a chain of aliases only.
            name = answer.chain[-1]
            if len(chain) > ALIAS_LIMIT:
                return DnsAnswer(FAILED, chain=tuple(chain), text=f"the aliases of {name} do not end")
        return answer if len(chain) == len(answer.chain) else _with_chain(answer, tuple(chain))

    def _one(self, name: str, rdtype: str) -> DnsAnswer:
        self.used.add((name, rdtype))
        if self.server is not None and is_under(name, self.zone):
            told = self._fact(Dns(name, rdtype, self.server.address))
            if told.usable and told.authoritative and not told.referral:
                return told
        return self._fact(Dns(name, rdtype))

    def _fact(self, question: Dns) -> DnsAnswer:
        return cast(DnsAnswer, self.get(question))

    def get(self, question: Question) -> Answer:
        """The answer to any question, or :class:`Pending`."""
        answer = self.facts.get(question)
        if answer is None:
            raise Pending([question])
        return answer

    def all(self, questions: Iterable[Question]) -> list[Answer]:
        """The answers to many questions; what is missing is asked for at once."""
        wanted = list(questions)
        missing = [question for question in wanted if question not in self.facts]
        if missing:
            raise Pending(missing)
        return [self.facts[question] for question in wanted]

    def each(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """``function`` of every item; what any of them waits for is asked for at once."""
        results: list[Result] = []
        missing: set[Question] = set()
        for item in items:
            try:
                results.append(function(item))
            except Pending as pending:
                missing |= pending.questions
        if missing:
            raise Pending(missing)
        return results

    def prefetch(self, keys: Iterable[tuple[str, str]]) -> None:
        """Ask for many names and types at once, where the order of the answers does not matter."""
        self.each(lambda key: self.ask(*key), keys)

    def once(self, key: str, function: Callable[[], Result]) -> Result:
        """What ``function`` gives, computed once for all rows that look at this view's domain as this view does."""
        if key not in self.memo:
            before, self.used = self.used, set()
            try:
                self.memo[key] = (function(), frozenset(self.used))
            finally:
                self.used |= before
        value, used = self.memo[key]
        self.used |= used
        return cast(Result, value)

    def query(self, name: str, rdtype: str) -> list[str]:
        """The resolver port of the SPF and DMARC evaluators: texts of the records, ``[]`` where there are none."""
        answer = self.ask(name, rdtype)
        if not answer.usable:
            raise DnsTimeout(_why(answer, name, rdtype))
        return list(answer.values)

    def text(self, name: str, prefix: str) -> list[str]:
        """The TXT records at a name that begin with ``prefix``, without regard to case."""
        return [value for value in self.query(name, "TXT") if value[: len(prefix)].lower() == prefix]

    @property
    def missing(self) -> bool:
        """Whether the domain does not exist."""
        return self.ask(self.domain, "MX").status == NXDOMAIN

    # -- the domain's zone --------------------------------------------------------------------------
    @property
    def zone(self) -> str:
        """The zone that the domain lies in; the root where that cannot be found out."""
        return self.zone_of(self.domain)

    def zone_of(self, name: str) -> str:
        """The zone that ``name`` lies in, by the SOA record that the resolver shows."""
        return self.once(f"zone {name}", lambda: self._zone_of(name))

    def _zone_of(self, name: str) -> str:
        while name:
            answer = self._fact(Dns(name, "SOA"))
            if answer.zone and is_under(name, answer.zone):
                return answer.zone
            if answer.values and not answer.chain:
                return name
            if not answer.usable:
                return "."
            name = name.partition(".")[2]
        return "."

    @property
    def servers(self) -> list[Server]:
        """All addresses of the name servers of the domain's zone."""
        return self.once("servers", self._servers)

    def _servers(self) -> list[Server]:
        zone = self.zone
        if zone == ".":
            return []
        names = sorted(name.lower() for name in self._fact(Dns(zone, "NS")).values)[:SERVER_LIMIT]
        questions = [Dns(name, rdtype) for name in names for rdtype in ("A", "AAAA")]
        found = []
        for question, answer in zip(questions, self.all(questions), strict=True):
            found += [Server(question.name, address) for address in cast(DnsAnswer, answer).values[:ADDRESS_LIMIT]]
        return list(dict.fromkeys(found))

    @property
    def voices(self) -> list[Server]:
        """One address of each name server: the first at which it serves the zone."""
        return self.once("voices", self._voices)

    def _voices(self) -> list[Server]:
        servers = self.servers
        answers = self.all([Dns(self.zone, "SOA", server.address) for server in servers])
        found: dict[str, Server] = {}
        for server, answer in zip(servers, answers, strict=True):
            told = cast(DnsAnswer, answer)
            if told.usable and told.authoritative:
                found.setdefault(server.name, server)
        return list(found.values())

    # -- mail ---------------------------------------------------------------------------------------
    @property
    def mx(self) -> list[tuple[int, str]]:
        """Preferences and hosts (absolute, in lower case; the root for a null MX) of the domain's MX records."""
        found = []
        for value in self.query(self.domain, "MX"):
            preference, dummy, host = value.partition(" ")
            found.append((int(preference), host.lower()))
        return sorted(found)

    @property
    def null_mx(self) -> bool:
        """Whether the domain takes no mail (RFC 7505)."""
        return any(host == "." for dummy, host in self.mx)

    @property
    def mx_hosts(self) -> list[str]:
        """The hosts of the MX records, those of a null MX left out."""
        return list(dict.fromkeys(host for dummy, host in self.mx if host != "."))[:ADDRESS_LIMIT]

    def addresses(self, name: str) -> list[str]:
        """Addresses of a host, of both families; of one alone where the other's answer failed."""
        self.prefetch([(name, "A"), (name, "AAAA")])
        answers = [self.ask(name, rdtype) for rdtype in ("A", "AAAA")]
        if not any(answer.usable for answer in answers):
            raise DnsTimeout(_why(answers[0], name, "A"))
        return [value for answer in answers for value in answer.values][:ADDRESS_LIMIT]


def _why(answer: DnsAnswer, name: str, rdtype: str) -> str:
    return answer.text if answer.status == TIMEOUT else f"{name} {rdtype} is answered with {answer.text or 'an error'}"


def _with_chain(answer: DnsAnswer, chain: tuple[str, ...]) -> DnsAnswer:
    return DnsAnswer(answer.status, answer.values, chain, answer.ttl, answer.zone, text=answer.text)


def is_private(address: str) -> bool:
    """Whether no packet from the internet comes from or goes to an address."""
    value = ipaddress.ip_address(address)
    special = value.is_multicast or value.is_unspecified or (value.version == 4 and value.packed[0] in (0, 255))
    return special or any(value.version == net.version and value in net for net in PRIVATE)


def hosts_of(view: View, names: Sequence[str]) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Host and address of each of ``names``, asked for at once; and why those have none that were not answered."""
    view.prefetch([(name, rdtype) for name in names for rdtype in ("A", "AAAA")])
    found: list[tuple[str, str]] = []
    failed: dict[str, str] = {}
    for name in names:
        try:
            found += [(name, address) for address in view.addresses(name)]
        except DnsTimeout as err:
            failed[name] = str(err)
    return found, failed
