# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: find the authoritative servers of names, and see whether all of them answer with given records. Private.

Zones, name servers and their addresses of a thousand names are asked for together, and every server is
asked over one connection. Sources: RFC 1034 sections 3.6.2 (aliases) and 4.2 (zones), RFC 2308 section 5.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from ansible_collections.postmaster.mail.plugins.module_utils._dns import DnsError, DnsTimeout
from ansible_collections.postmaster.mail.plugins.module_utils._dns_client import (
    DNSPYTHON_IMPORT_ERROR,
    Answer,
    DnsNoRoute,
    DnsServer,
)
from ansible_collections.postmaster.mail.plugins.module_utils._dns_plan import Key, Wanted, group
from ansible_collections.postmaster.mail.plugins.module_utils._dns_stub import parse_resolv_conf
from ansible_collections.postmaster.mail.plugins.module_utils._dns_verdict import (
    ALIAS,
    OK,
    UNKNOWN,
    Said,
    Visibility,
    reached,
    state_of,
)

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 5.0  # seconds between two looks at a server
WORKERS = 32  # servers asked at once
PARENTS = 2  # servers of a parent zone that are asked for its delegations
PARENT_TIMEOUT = 3.0  # seconds; that they answer is not needed
ALIAS_LIMIT = 8  # steps from one alias to the next
RESOLV_CONF = "/etc/resolv.conf"


def split_address(text: str, port: int) -> tuple[str, int]:
    """``address`` or ``address@port`` as Knot and Unbound write it."""
    address, separator, number = text.partition("@")
    if not separator:
        return address, port
    if not number.isdecimal() or not 0 < int(number) < 65536:
        raise DnsError(f"{text!r}: the port after @ must be a number between 1 and 65535")
    return address, int(number)


def resolver_at(text: str | None, *, timeout: float) -> DnsServer | None:
    """The resolver at an address that may have a port; None where none is given."""
    if not text:
        return None
    address, port = split_address(text, 53)
    return DnsServer(address, port=port, timeout=timeout, recursive=True, label="the resolver")


def system_resolver(*, timeout: float = 10, path: str = RESOLV_CONF) -> DnsServer:
    """The first resolver of this machine that answers. Raises :class:`DnsTimeout` if none does."""
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            addresses = parse_resolv_conf(handle.read())
    except OSError:
        addresses = parse_resolv_conf("")
    said = ""
    for address in addresses:
        server = DnsServer(address, timeout=timeout, recursive=True, label="this machine's resolver")
        try:
            server.answers([(".", "SOA")])
            return server
        except DnsError as err:
            said = said or str(err)
            server.close()
    raise DnsTimeout(f"{said}; name a resolver that this machine reaches, or the name servers themselves")


class LateResolver:
    """A resolver that is only looked for when something is asked; where none answers, every question says so at once.

    That a resolver is out of reach is a plain :class:`DnsError`, that it does not know a :class:`DnsTimeout`.
    """

    def __init__(self, address: str | None, *, timeout: float) -> None:
        self.address, self.timeout = address, timeout
        self._server: DnsServer | None = None
        self._problem = ""

    def query(self, name: str, rdtype: str) -> list[str]:
        """The port of the evaluators."""
        if self._server is None and not self._problem:
            try:
                self._server = self._found()
            except DnsError as err:
                self._problem = str(err)
        if self._server is None:
            raise DnsError(self._problem)
        return self._server.query(name, rdtype)

    def _found(self) -> DnsServer:
        if DNSPYTHON_IMPORT_ERROR:
            raise DnsError("dnspython is not installed here, without which DNS cannot be asked (python3-dnspython)")
        given = resolver_at(self.address, timeout=self.timeout)
        if given is None:
            return system_resolver(timeout=self.timeout)
        given.answers([(".", "SOA")])
        return given

    def close(self) -> None:
        if self._server is not None:
            self._server.close()


@dataclass(frozen=True)
class NameServer:
    """One address of one name server of a zone."""

    server: DnsServer
    host: str
    zone: str = ""


class Directory:
    """Knows the authoritative servers of names: from the zones' ``primary``, else from a resolver.

    A zone's servers are looked up once. ``zone`` is that of all names, where it is known. ``resolver`` defaults to
    this machine's, which is only asked when needed.
    """

    def __init__(
        self,
        *,
        primary: DnsServer | None = None,
        resolver: DnsServer | None = None,
        zone: str | None = None,
        port: int = 53,
        timeout: float = 10,
        system: Callable[[], DnsServer] | None = None,
    ) -> None:
        self.primary, self.zone, self.port, self.timeout = primary, zone, port, timeout
        self._resolver = resolver
        self._system = system or (lambda: system_resolver(timeout=timeout))
        self._problem = ""  # why there is no resolver
        self._servers: dict[tuple[str, int], DnsServer] = {}
        self._zones: dict[str, list[NameServer]] = {}

    def close(self) -> None:
        """End all connections; the next question opens another."""
        for server in (*self._servers.values(), self._resolver, self.primary):
            if server is not None:
                server.close()

    def of(self, names: Iterable[str]) -> dict[str, list[NameServer] | DnsError]:
        """The servers of each name's zone, or the error that says why they are not known."""
        zones = self.zones(names)
        new = [zone for zone in dict.fromkeys(zones.values()) if isinstance(zone, str) and zone not in self._zones]
        told = {**self._zones, **self._find(new)}
        self._zones |= {zone: servers for zone, servers in told.items() if not isinstance(servers, DnsError)}
        return {name: zone if isinstance(zone, DnsError) else told[zone] for name, zone in zones.items()}

    def zones(self, names: Iterable[str]) -> dict[str, str | DnsError]:
        """The zone of each name, found by its SOA record."""
        return dict.fromkeys(names, self.zone) if self.zone else self._zones_of(names)

    def _zones_of(self, names: Iterable[str]) -> dict[str, str | DnsError]:
        found: dict[str, str | DnsError] = {}
        at = {name: name for name in names}
        while at:
            answers = self._ask({(name, "SOA") for name in at.values()})
            above: dict[str, str] = {}
            for name, asked in at.items():
                answer = answers[(asked, "SOA")]
                if isinstance(answer, DnsError):
                    found[name] = answer
                elif answer.rrset is not None or answer.zone is not None:
                    found[name] = answer.zone or asked
                elif asked == ".":
                    found[name] = DnsTimeout(f"nothing tells which zone {name} lies in; name its servers")
                else:  # the authority section of an alias speaks of its target: the parent is in the same zone
                    above[name] = asked.partition(".")[2] or "."
            at = above
        return found

    def _find(self, zones: Sequence[str]) -> dict[str, list[NameServer] | DnsError]:
        listed = self._ask({(zone, "NS") for zone in zones})
        hosts: dict[str, list[str] | DnsError] = {}
        for zone in zones:
            answer = listed[(zone, "NS")]
            if isinstance(answer, DnsError):
                hosts[zone] = answer
            elif answer.rrset is None:
                hosts[zone] = DnsTimeout(f"no name servers are listed for {zone}; name them in servers")
            else:
                hosts[zone] = sorted(answer.rrset.values)
        known_zones = [zone for zone, known in hosts.items() if isinstance(known, list)]
        delegated = self._delegated(known_zones)
        listed_hosts = {host for known in hosts.values() if isinstance(known, list) for host in known}
        addresses = self._addresses(listed_hosts | {host for found in delegated.values() for host in found})
        for zone, found in delegated.items():
            # A server that nobody finds is asked by nobody; one that the zone itself names must have an address.
            hosts[zone] = sorted({*hosts[zone], *(host for host in found if addresses.get(host))})  # type: ignore[misc]
        return {zone: self._name_servers(zone, known, addresses) for zone, known in hosts.items()}

    def _delegated(self, zones: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """The servers to which the parents of zones refer, whom resolvers ask first; none where no parent answers.

        A list that the zone itself has changed since would leave out servers that many still ask.
        """
        above: dict[str, list[str]] = {}
        parents = self._zones_of({zone: zone.partition(".")[2] or "." for zone in zones if zone != "."}.values())
        for zone in zones:
            parent = parents.get(zone.partition(".")[2] or ".")
            if isinstance(parent, str) and zone != ".":
                above.setdefault(parent, []).append(zone)
        listed = self._ask({(parent, "NS") for parent in above})
        found: dict[str, tuple[str, ...]] = {}
        for parent, below in above.items():
            answer = listed[(parent, "NS")]
            hosts = sorted(answer.rrset.values) if isinstance(answer, Answer) and answer.rrset is not None else []
            found |= self._referrals(hosts[:PARENTS], below)
        return found

    def _referrals(self, hosts: Sequence[str], zones: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """What the first server of a parent that answers says of zones below it."""
        for addresses in self._addresses(hosts).values():
            for address in addresses[:1]:
                server = DnsServer(address, port=self.port, timeout=min(self.timeout, PARENT_TIMEOUT))
                try:
                    return server.delegations(zones)
                except DnsError:
                    continue
                finally:
                    server.close()
        return {}

    def _name_servers(
        self, zone: str, hosts: list[str] | DnsError, addresses: Mapping[str, Sequence[str]]
    ) -> list[NameServer] | DnsError:
        if isinstance(hosts, DnsError):
            return hosts
        lost = next((host for host in hosts if not addresses.get(host)), None)
        if lost is not None:
            return DnsTimeout(f"the name server {lost} of {zone} has no address here; name the addresses in servers")
        return [NameServer(self._server(address, host), host, zone) for host in hosts for address in addresses[host]]

    def _server(self, address: str, host: str) -> DnsServer:
        """One connection serves all zones at an address."""
        place = (address, self.port)
        if place not in self._servers:
            self._servers[place] = DnsServer(address, port=self.port, timeout=self.timeout, label=host)
        return self._servers[place]

    def _addresses(self, hosts: Iterable[str]) -> dict[str, list[str]]:
        keys = {(host, rdtype) for host in hosts for rdtype in ("A", "AAAA")}
        answers = self._ask(keys)
        found: dict[str, list[str]] = {host: [] for host in hosts}
        for host, rdtype in sorted(keys):
            answer = answers[(host, rdtype)]
            if isinstance(answer, Answer) and answer.rrset is not None:
                found[host] += sorted(answer.rrset.values)
        return {host: known or self._by_system(host) for host, known in found.items()}

    def _by_system(self, host: str) -> list[str]:
        """Addresses of a host that DNS did not tell in one step, e.g. by an alias."""
        if self._resolver is not None:
            with contextlib.suppress(DnsError):
                return [text for rdtype in ("A", "AAAA") for text in self._resolver.query(host, rdtype)]
        return _system_addresses(host)

    def _ask(self, keys: Iterable[Key]) -> dict[Key, Answer | DnsError]:
        """Answers of the primary, where it has none those of the resolver."""
        answers: dict[Key, Answer | DnsError] = {}
        left = list(keys)
        if self.primary is not None and left:
            answers = _answers(self.primary, left)
            left = [key for key in left if isinstance(answers[key], DnsError)]
        if left:
            try:
                told = _answers(self._resolving(), left)
            except DnsError as err:
                told = dict.fromkeys(left, err)
            # Where both fail, the primary is the one that should have known.
            answers |= {key: answer for key, answer in told.items() if isinstance(answer, Answer) or key not in answers}
        return answers

    def _resolving(self) -> DnsServer:
        if self._problem:
            raise DnsTimeout(self._problem)
        if self._resolver is None:
            try:
                self._resolver = self._system()
            except DnsError as err:
                self._problem = str(err)
                raise
        return self._resolver


class Ttls:
    """Asks the authoritative servers for TTLs: a resolver's count down. A server that fails is not asked again."""

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self._failed: set[DnsServer] = set()

    def __call__(self, keys: Iterable[Key]) -> dict[Key, int]:
        """TTLs by name and type, as far as a server tells them."""
        wanted = list(keys)
        found: dict[Key, int] = {}
        places = self.directory.of({name for name, dummy in wanted})
        for servers in {id(known): known for known in places.values() if not isinstance(known, DnsError)}.values():
            found |= self._of([key for key in wanted if places[key[0]] is servers], servers)
        return found

    def _of(self, keys: Sequence[Key], servers: Sequence[NameServer]) -> dict[Key, int]:
        found: dict[Key, int] = {}
        for server in [one.server for one in servers]:
            left = [key for key in keys if key not in found]
            if not left or server in self._failed:
                continue
            answers = _answers(server, left)
            if all(isinstance(answer, DnsError) for answer in answers.values()):
                self._failed.add(server)
            found |= {key: one.rrset.ttl for key, one in answers.items() if isinstance(one, Answer) and one.rrset}
        return found


def _answers(server: DnsServer, keys: Sequence[Key]) -> dict[Key, Answer | DnsError]:
    try:
        return server.answers(keys)
    except DnsError as err:
        server.close()
        return dict.fromkeys(keys, err)


def _system_addresses(host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host.rstrip("."), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(item[4][0]) for item in found))


@dataclass
class _Look:
    """A record set that is looked for: at which name next, and what was said of it so far, by place."""

    items: Sequence[Wanted]
    said: dict[str, Said] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    zone: str = ""
    negative_ttl: int | None = None

    def restart(self) -> None:
        """Forget what was said."""
        self.said, self.names = {}, [self.items[0].record.name]

    @property
    def key(self) -> Key:
        """What to ask for: the record set itself, or the target of the last alias that was found."""
        return self.names[-1], self.items[0].record.type

    def follow(self) -> bool:
        """Go on to the target of an alias, if there is one that was not looked at yet."""
        target = next((one.alias for one in self.said.values() if one.alias not in ("", *self.names)), None)
        if target is not None and len(self.names) > ALIAS_LIMIT:
            problem = f"{self.names[0]} leads from alias to alias, more than {ALIAS_LIMIT} times"
            self.said[target] = Said(target, target, UNKNOWN, problem=problem)
        elif target is not None:
            self.names.append(target)
            return True
        return False

    def hear(self, found: NameServer, answer: Answer | DnsError, *, exact: bool, exclusive: bool) -> None:
        """Note what a server says."""
        server = found.server
        said = Said(server.label, found.host, UNKNOWN, recursive=server.recursive)
        if isinstance(answer, DnsError):
            said = replace(said, problem=str(answer), no_route=isinstance(answer, DnsNoRoute))
        elif answer.alias is not None and any(item.present for item in self.items):
            said = replace(said, state=ALIAS, alias=answer.alias)
        else:
            rrset = replace(answer.rrset, name=self.names[0]) if answer.rrset is not None else None
            ttl = exact and not server.recursive
            state = state_of(self.items, rrset, exact=exact, exclusive=exclusive, ttl=ttl)
            said = replace(said, state=state, rrset=rrset)
        self.said[f"{self.names[-1]} {server.address}@{server.port}"] = said

    def learn(self, answer: Answer | DnsError | None) -> None:
        """Note how long a negative answer of the zone may be kept (RFC 2308 section 5)."""
        if isinstance(answer, Answer) and answer.rrset is not None:
            ttl = min(answer.rrset.ttl, int(answer.rrset.values[0].split()[-1]))
            self.negative_ttl = max(ttl, self.negative_ttl or 0)

    def visibility(self) -> Visibility:
        """The outcome so far."""
        return Visibility(tuple(self.items), tuple(reached(list(self.said.values()))), self.zone, self.negative_ttl)


class Watch:
    """Sees what servers say of records, and waits until all answer as wanted or ``timeout`` seconds are over.

    ``servers`` are addresses (``address@port``), ``auto`` stands for those that ``directory`` finds for each name;
    ``resolver`` has to answer as well. With ``exact`` a record must have the wanted text and TTL, else one
    that means the same to those who read it will do. ``progress`` is called with one line of text whenever
    something is new; ``clock`` and ``sleep`` are those of :mod:`time`. A watch is used once.
    """

    def __init__(
        self,
        directory: Directory,
        *,
        servers: Sequence[str] = ("auto",),
        resolver: DnsServer | None = None,
        timeout: float = 0,
        exact: bool = False,
        exclusive: bool = True,
        progress: Callable[[str], None] = lambda _line: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.directory, self.timeout = directory, timeout
        self.exact, self.exclusive = exact, exclusive
        self.progress, self.clock, self.sleep = progress, clock, sleep
        self.auto = "auto" in servers
        self.named = [self._named(text) for text in servers if text != "auto"]
        if resolver is not None:
            self.named.append(NameServer(resolver, "the resolver"))
        self.seconds: dict[str, float] = {}  # after which a server first answered with all records
        self.late: list[str] = []  # a clause for each server that does not
        self._lines: dict[str, str] = {}

    def _named(self, text: str) -> NameServer:
        address, port = split_address(text, self.directory.port)
        return NameServer(DnsServer(address, port=port, timeout=self.directory.timeout), text)

    def see(self, records: Iterable[Wanted]) -> list[Visibility]:
        """What the servers say of each record set in the end, in the order given; never raises for what they say."""
        looks = [_Look(items) for items in group(records).values()]
        start, pause, left = self.clock(), FIRST_PAUSE, looks
        try:
            while left:
                self._look(left)
                elapsed = self.clock() - start
                self._tell(looks, elapsed)
                left = [one for one in looks if one.visibility().verdict != OK]
                if elapsed >= self.timeout:
                    break
                if left:
                    self.sleep(min(pause, self.timeout - elapsed))
                    pause = min(pause * 2, LONGEST_PAUSE)
        finally:
            for found in self.named:
                found.server.close()
            self.directory.close()
        return [one.visibility() for one in looks]

    def _look(self, looks: Sequence[_Look]) -> None:
        """Ask all servers once, and those of the targets where names are aliases."""
        for one in looks:
            one.restart()
        while looks:
            self._round(looks)
            looks = [one for one in looks if one.follow()]

    def _round(self, looks: Sequence[_Look]) -> None:
        """Ask for the present key of each record set, all servers at once."""
        work: dict[int, list[tuple[NameServer, _Look]]] = {}
        for one, servers in zip(looks, self._servers(looks), strict=True):
            for found in servers:
                work.setdefault(id(found.server), []).append((found, one))
        if not work:
            return
        with ThreadPoolExecutor(max_workers=min(len(work), WORKERS)) as pool:
            told = list(pool.map(self._ask, work.values()))
        for pairs, answers in zip(work.values(), told, strict=True):
            for found, one in pairs:
                one.hear(found, answers[one.key], exact=self.exact, exclusive=self.exclusive)
                if found.zone == one.zone:
                    one.learn(answers.get((one.zone, "SOA")))

    def _servers(self, looks: Sequence[_Look]) -> list[list[NameServer]]:
        """The servers to ask for each record set. Those that were named may know nothing of an alias's target."""
        found = self.directory.of({one.key[0] for one in looks if self.auto or len(one.names) > 1})
        result = []
        for one in looks:
            servers = found.get(one.key[0], [])
            if isinstance(servers, DnsError):
                one.said[one.key[0]] = Said(one.key[0], one.key[0], UNKNOWN, problem=str(servers))
                servers = []
            if servers and len(one.names) == 1:
                one.zone = servers[0].zone
            result.append([*servers, *(s for s in self.named if s.server.recursive or len(one.names) == 1)])
        return result

    @staticmethod
    def _ask(pairs: Sequence[tuple[NameServer, _Look]]) -> dict[Key, Answer | DnsError]:
        zones = sorted({found.zone for found, dummy in pairs if found.zone})
        keys = [one.key for dummy, one in pairs] + [(zone, "SOA") for zone in zones]
        return _answers(pairs[0][0].server, list(dict.fromkeys(keys)))

    def _tell(self, looks: Sequence[_Look], elapsed: float) -> None:
        """A line for each server that says something new."""
        servers: dict[str, list[tuple[_Look, Said]]] = {}
        for one in looks:
            for said in one.said.values():
                servers.setdefault(said.server, []).append((one, said))
        self.late = []
        for server, pairs in servers.items():
            bad = [(one, said) for one, said in pairs if said.state not in (OK, ALIAS)]
            if not bad:
                line = f"{server} answers with all {len(pairs)} record sets"
                self.seconds.setdefault(server, round(elapsed, 1))
            else:
                line = _complaint(bad)
                left_out = all(said not in one.visibility().said for one, said in bad)
                self.late += [] if left_out else [line]
                line = f"left out: {line}" if left_out else line
            if self._lines.get(server) != line:
                self._lines[server] = line
                self.progress(f"{elapsed:.1f} s: {line}")


def _complaint(bad: Sequence[tuple[_Look, Said]]) -> str:
    """What is wrong with a server's answers, as a clause."""
    one, said = bad[0]
    more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
    return said.problem or f"{said.server} does not yet answer with {' '.join(one.visibility().key)}{more}"
