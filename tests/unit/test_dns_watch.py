# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which servers answer with a record: finding them, judging them, and waiting, against a scripted port."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _dns_watch
from ansible_collections.postmaster.mail.plugins.module_utils._dns import DnsError, DnsTimeout
from ansible_collections.postmaster.mail.plugins.module_utils._dns_client import (
    Answer,
    DnsNoRoute,
    DnsRefused,
    DnsServer,
    normalise,
)
from ansible_collections.postmaster.mail.plugins.module_utils._dns_plan import Key, RRset, Wanted
from ansible_collections.postmaster.mail.plugins.module_utils._dns_verdict import (
    ALIAS,
    MISSING,
    OK,
    PROPAGATING,
    UNKNOWN,
    WRONG,
    Said,
    state_of,
    verdict,
)
from ansible_collections.postmaster.mail.plugins.module_utils._dns_watch import (
    Directory,
    Ttls,
    Watch,
    split_address,
    system_resolver,
)
from ansible_collections.postmaster.mail.plugins.module_utils._record import Record

ED25519 = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
OTHER = "2d7y5FQx1s9nVBkSkrC9RcBl0VJxw6xqF2+JR4SkWCc="
SOA = "ns1.test. host.test. 7 1 2 3 900"


def txt(name: str, value: str, ttl: int = 60) -> Record:
    return normalise(Record.txt(name, value, ttl))


class Net:
    """Name servers by address. Each holds records and zones; ``lag`` answers show it before they came."""

    def __init__(self) -> None:
        self.held: dict[str, dict[Key, RRset]] = {}
        self.zones: dict[str, tuple[str, ...]] = {}
        self.lag: dict[str, int] = {}
        self.broken: dict[str, DnsError] = {}
        self.asked: dict[str, list[list[Key]]] = {}
        self.referrals: dict[tuple[str, str], tuple[str, ...]] = {}

    def add(self, address: str, *records: Record, zones: tuple[str, ...] = ("test.",)) -> None:
        held = self.held.setdefault(address, {})
        self.zones[address] = zones
        for record in records:
            key = (record.name, record.type)
            values = held[key].values if key in held else ()
            held[key] = RRset(*key, record.ttl, (*values, record.rdata))

    def answer(self, server: DnsServer, key: Key) -> Answer | DnsError:
        held, name = self.held[server.address], key[0]
        zone = next((zone for zone in self.zones[server.address] if f".{name}".endswith(f".{zone}")), None)
        if zone is None and not server.recursive:
            return DnsRefused(f"{server.label} did not answer for {name}")
        if key in held and not (self.lag.get(server.address) and key[1] == "TXT"):
            return Answer(held[key])
        alias = held.get((name, "CNAME"))
        if key == (zone, "SOA"):
            return Answer(RRset(*key, 3600, (SOA,)))
        return Answer(alias=alias.values[0]) if alias else Answer(zone=zone, missing=True)

    def delegations(self, server: DnsServer, zones: Iterable[str]) -> dict[str, tuple[str, ...]]:
        if server.address in self.broken:
            raise self.broken[server.address]
        return {zone: self.referrals.get((server.address, zone), ()) for zone in zones}

    def answers(self, server: DnsServer, keys: Iterable[Key]) -> dict[Key, Answer | DnsError]:
        asked = list(keys)
        self.asked.setdefault(server.address, []).append(asked)
        if server.address in self.broken:
            raise self.broken[server.address]
        if server.address not in self.held:
            raise DnsTimeout(f"there is nobody at {server.address}")
        told = {key: self.answer(server, key) for key in asked}
        if self.lag.get(server.address) and any(key[1] == "TXT" for key in asked):
            self.lag[server.address] -= 1
        return told


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> Net:
    """ns1 and ns2 serve test., and the resolver knows both."""
    found = Net()
    listed = [Record("test.", "NS", 60, "ns1.test."), Record("test.", "NS", 60, "ns2.test.")]
    listed += [Record("ns1.test.", "A", 60, "192.0.2.1"), Record("ns2.test.", "A", 60, "192.0.2.2")]
    for address in ("192.0.2.1", "192.0.2.2", "192.0.2.9"):
        found.add(address, *listed)

    # Functions, as a bound method would not be given the server that it stands in for.
    def answers(server: DnsServer, keys: Iterable[Key]) -> dict[Key, Answer | DnsError]:
        return found.answers(server, keys)

    def delegations(server: DnsServer, zones: Iterable[str]) -> object:
        return found.delegations(server, zones)

    monkeypatch.setattr(DnsServer, "answers", answers)
    monkeypatch.setattr(DnsServer, "delegations", delegations)
    monkeypatch.setattr(_dns_watch, "_system_addresses", lambda host: [])
    return found


def resolver() -> DnsServer:
    return DnsServer("192.0.2.9", recursive=True, label="the resolver")


class Clock:
    """Time that only passes while one sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def watching(*, timeout: float = 0, lines: list[str] | None = None, **options: object) -> Watch:
    """A watch that finds the servers by the resolver."""
    clock = Clock()
    directory = Directory(resolver=resolver())
    progress = (lambda line: None) if lines is None else lines.append
    return Watch(directory, timeout=timeout, clock=clock, sleep=clock.sleep, progress=progress, **options)  # type: ignore[arg-type]


# -- judging ------------------------------------------------------------------------------------


def said(*states: str, resolver: str = "") -> list[Said]:
    words = [Said(f"ns{number}", f"ns{number}", state) for number, state in enumerate(states)]
    return words + ([Said("r", "r", resolver, recursive=True)] if resolver else [])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (said(OK, OK), OK),
        (said(OK, MISSING), PROPAGATING),
        (said(WRONG, OK), PROPAGATING),
        (said(OK, WRONG, UNKNOWN), PROPAGATING),
        (said(MISSING, MISSING), MISSING),
        (said(MISSING, WRONG), WRONG),
        (said(MISSING, UNKNOWN), MISSING),
        (said(OK, UNKNOWN), UNKNOWN),
        (said(UNKNOWN), UNKNOWN),
        (said(), UNKNOWN),
        (said(OK, resolver=OK), OK),
        (said(OK, resolver=MISSING), PROPAGATING),
        (said(OK, resolver=WRONG), PROPAGATING),
        (said(OK, resolver=UNKNOWN), UNKNOWN),
        (said(MISSING, resolver=OK), MISSING),
        (said(WRONG, resolver=UNKNOWN), WRONG),
        (said(resolver=OK), OK),
        (said(resolver=MISSING), MISSING),
        (said(ALIAS, OK), OK),
        (said(ALIAS, ALIAS, MISSING), MISSING),
        (said(ALIAS), UNKNOWN),
    ],
)
def test_verdicts(words: list[Said], expected: str) -> None:
    assert verdict(words) == expected


SELECTOR = "s._domainkey.test"


@pytest.mark.parametrize(
    ("name", "wanted", "found", "expected"),
    [
        ("test", "v=spf1 -all", [], MISSING),
        ("test", "v=spf1 -all", ["v=spf1 -all", "verify=1"], OK),
        ("test", "v=spf1 -all", ["verify=1"], MISSING),
        ("test", "v=spf1 -all", ["v=spf1 ~all", "verify=1"], WRONG),
        ("test", "v=spf1 -all", ["v=spf1 -all", "v=spf1 ~all"], WRONG),
        (SELECTOR, f"v=DKIM1; h=sha256; k=ed25519; p={ED25519}", [f"k=ed25519;p={ED25519};"], OK),
        (SELECTOR, f"v=DKIM1; k=ed25519; p={ED25519}", [f"v=DKIM1; t=s; n=x; k=ed25519; p={ED25519}"], OK),
        (SELECTOR, f"v=DKIM1; k=ed25519; p={ED25519}", [f"v=DKIM1; k=ed25519; p={OTHER}"], WRONG),
        (SELECTOR, f"v=DKIM1; k=ed25519; p={ED25519}", [f"v=DKIM1; h=sha1; k=ed25519; p={ED25519}"], WRONG),
        (SELECTOR, f"v=DKIM1; k=ed25519; p={ED25519}", [f"v=DKIM1; s=tlsrpt; k=ed25519; p={ED25519}"], WRONG),
        (SELECTOR, f"v=DKIM1; k=ed25519; p={ED25519}", ["v=DKIM1; k=ed25519; p="], WRONG),
        (SELECTOR, f"v=DKIM1; k=ed25519; p={ED25519}", ["what is this"], WRONG),
        (SELECTOR, f"v=DKIM1; k=ed25519; p={ED25519}", [f"k=ed25519; p={ED25519}", f"k=ed25519; p={OTHER}"], WRONG),
        (SELECTOR, "v=DKIM1; p=", ["v=DKIM1; k=rsa; p="], OK),
        (SELECTOR, "v=DKIM1; p=", [f"k=ed25519; p={ED25519}"], WRONG),
        ("s.test", f"v=DKIM1; k=ed25519; p={ED25519}", [f"k=ed25519;p={ED25519}"], MISSING),
    ],
)
def test_states(name: str, wanted: str, found: list[str], expected: str) -> None:
    record = txt(name, wanted)
    rrset = RRset(record.name, "TXT", 30, tuple(txt(name, value).rdata for value in found)) if found else None
    assert state_of([Wanted(record)], rrset, exact=False, exclusive=True, ttl=False) == expected


def test_exact_means_text_and_ttl() -> None:
    record = txt(SELECTOR, f"v=DKIM1; k=ed25519; p={ED25519}")
    wanted = [Wanted(record)]
    other = RRset(record.name, "TXT", 60, (txt(SELECTOR, f"k=ed25519; p={ED25519}").rdata,))
    assert state_of(wanted, other, exact=True, exclusive=True, ttl=False) == WRONG
    late = RRset(record.name, "TXT", 30, (record.rdata,))
    assert state_of(wanted, late, exact=True, exclusive=True, ttl=True) == WRONG
    assert state_of(wanted, late, exact=True, exclusive=True, ttl=False) == OK


# -- finding ------------------------------------------------------------------------------------


def test_servers_are_found_by_the_primary(net: Net) -> None:
    directory = Directory(primary=DnsServer("192.0.2.1"))
    found = directory.of(["a.b.test.", "test."])
    for servers in found.values():
        assert isinstance(servers, list)
        assert [(one.host, one.server.address, one.zone) for one in servers] == [
            ("ns1.test.", "192.0.2.1", "test."),
            ("ns2.test.", "192.0.2.2", "test."),
        ]


def test_a_thousand_names_take_a_few_questions(net: Net) -> None:
    found = Directory(primary=DnsServer("192.0.2.1")).of([f"n{number}.test." for number in range(1000)])
    assert len(found) == 1000 and len({id(servers) for servers in found.values()}) == 1
    assert len(net.asked["192.0.2.1"]) == 4  # one of them is about the parent


def test_zones_that_the_primary_does_not_serve_are_asked_of_the_resolver(net: Net) -> None:
    net.add("192.0.2.9", Record("other.", "NS", 60, "ns2.test."), zones=("test.", "other."))
    found = Directory(primary=DnsServer("192.0.2.1"), resolver=resolver()).of(["a.other."])["a.other."]
    assert isinstance(found, list)
    assert [(one.server.address, one.zone) for one in found] == [("192.0.2.2", "other.")]


def test_the_zone_of_an_alias_is_its_own(net: Net) -> None:
    net.add("192.0.2.9", Record("www.test.", "CNAME", 60, "host.else."))
    assert Directory(resolver=resolver()).zones(["www.test."]) == {"www.test.": "test."}


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([Record("test.", "NS", 60, "ns3.test.")], "the name server ns3.test. of test. has no address here"),
        ([], "no name servers are listed for test."),
    ],
)
def test_servers_that_cannot_be_found_are_told(net: Net, records: list[Record], message: str) -> None:
    net.held["192.0.2.9"] = {}
    net.add("192.0.2.9", *records)
    (seen,) = watching().see([Wanted(txt("a.test", "x"))])
    assert seen.verdict == UNKNOWN and message in seen.seen


def test_no_resolver_is_unknown(net: Net) -> None:
    def none() -> DnsServer:
        raise DnsTimeout("192.0.2.9 does not answer; name a resolver")

    watch = Watch(Directory(system=none))
    (seen,) = watch.see([Wanted(txt("a.test", "x"))])
    assert (seen.verdict, seen.seen) == (UNKNOWN, "192.0.2.9 does not answer; name a resolver")


def test_this_machine_s_resolver_is_the_first_that_answers(net: Net, tmp_path: Path) -> None:
    conf = tmp_path / "resolv.conf"
    conf.write_text("nameserver 192.0.2.8\nnameserver 192.0.2.9\n")
    net.broken["192.0.2.8"] = DnsTimeout("192.0.2.8 is down")
    assert system_resolver(path=str(conf)).address == "192.0.2.9"
    net.broken["192.0.2.9"] = DnsTimeout("192.0.2.9 is down")
    with pytest.raises(DnsTimeout, match=r"192\.0\.2\.8 is down; name a resolver"):
        system_resolver(path=str(conf))


def test_addresses_with_ports() -> None:
    assert split_address("2001:db8::1", 53) == ("2001:db8::1", 53)
    assert split_address("192.0.2.1@5353", 53) == ("192.0.2.1", 5353)
    with pytest.raises(DnsError, match="the port after @"):
        split_address("192.0.2.1@x", 53)


# -- seeing and waiting -------------------------------------------------------------------------

RECORD = txt("a.test", "x")
NS1, NS2 = "ns1.test. (192.0.2.1)", "ns2.test. (192.0.2.2)"


def test_what_every_server_says(net: Net) -> None:
    net.add("192.0.2.1", RECORD)
    (seen,) = watching().see([Wanted(RECORD)])
    assert seen.verdict == PROPAGATING
    assert seen.seen == f"{NS2} has no TXT record a.test."
    assert (seen.zone, seen.negative_ttl) == ("test.", 900)
    shown = seen.as_dict()
    assert shown["lines"] == ['a.test. 60 IN TXT "x"']
    assert [(one["server"], one["state"], one["values"]) for one in shown["servers"]] == [
        (NS1, "ok", ['"x"']),
        (NS2, "missing", []),
    ]


@pytest.mark.parametrize(
    ("records", "wanted", "clause"),
    [
        ({"192.0.2.1": [], "192.0.2.2": []}, Wanted(RECORD), f"{NS1} and {NS2} have no TXT record a.test."),
        ({"192.0.2.1": [txt("a.test", "y")], "192.0.2.2": [RECORD]}, Wanted(RECORD), f'{NS1} answers for a.test. TXT with "y"'),
        ({"192.0.2.1": [RECORD], "192.0.2.2": []}, Wanted(RECORD, present=False), f"{NS1} still has the TXT record a.test."),
        ({"192.0.2.1": [txt("test", "v=1")], "192.0.2.2": [txt("test", "v=spf1 -all")]},
         Wanted(txt("test", "v=spf1 -all")), f"{NS1} has no such TXT record at test."),
    ],
)  # fmt: skip
def test_clauses(net: Net, records: Mapping[str, list[Record]], wanted: Wanted, clause: str) -> None:
    for address, held in records.items():
        net.add(address, *held)
    assert watching().see([wanted])[0].seen == clause


def test_what_is_gone_is_ok(net: Net) -> None:
    assert watching().see([Wanted(RECORD, present=False)])[0].verdict == OK


def test_a_server_that_is_down_makes_it_unknown(net: Net) -> None:
    net.add("192.0.2.1", RECORD)
    net.broken["192.0.2.2"] = DnsTimeout("ns2 is down")
    (seen,) = watching().see([Wanted(RECORD)])
    assert (seen.verdict, seen.seen) == (UNKNOWN, "ns2 is down")


def test_waiting_ends_when_the_last_server_answers(net: Net) -> None:
    net.add("192.0.2.1", RECORD)
    net.add("192.0.2.2", RECORD)
    net.lag["192.0.2.2"] = 3
    lines: list[str] = []
    watch = watching(timeout=10, lines=lines)
    assert [one.verdict for one in watch.see([Wanted(RECORD)])] == [OK]
    assert watch.seconds == {NS1: 0.0, NS2: 1.8} and watch.late == []
    assert lines == [
        f"0.0 s: {NS1} answers with all 1 record sets",
        f"0.0 s: {NS2} does not yet answer with a.test. TXT",
        f"1.8 s: {NS2} answers with all 1 record sets",
    ]


def test_waiting_ends_in_time(net: Net) -> None:
    net.add("192.0.2.1", RECORD, txt("b.test", "x"))
    watch = watching(timeout=10)
    seen = watch.see([Wanted(RECORD), Wanted(txt("b.test", "x"))])
    assert [one.verdict for one in seen] == [PROPAGATING, PROPAGATING]
    assert watch.clock() == 10
    assert watch.late == [f"{NS2} does not yet answer with a.test. TXT and 1 more"]


def test_only_what_is_not_there_yet_is_asked_again(net: Net) -> None:
    for address in ("192.0.2.1", "192.0.2.2"):
        net.add(address, RECORD)
    watching(timeout=0.1).see([Wanted(RECORD), Wanted(txt("b.test", "x"))])
    asked = [[key for key in keys if key[1] == "TXT"] for keys in net.asked["192.0.2.1"]]
    assert asked == [[("a.test.", "TXT"), ("b.test.", "TXT")], [("b.test.", "TXT")]]


def test_an_address_without_a_route_is_left_out_if_its_server_has_another(net: Net) -> None:
    for address in ("192.0.2.1", "192.0.2.2"):
        net.add(address, RECORD)
    net.add("192.0.2.9", Record("ns2.test.", "AAAA", 60, "2001:db8::2"))
    net.broken["2001:db8::2"] = DnsNoRoute("no IPv6 here")
    lines: list[str] = []
    watch = watching(lines=lines)
    assert watch.see([Wanted(RECORD)])[0].verdict == OK
    assert "0.0 s: left out: no IPv6 here" in lines and watch.late == []
    net.broken["192.0.2.2"] = DnsNoRoute("no IPv4 either")
    assert watching().see([Wanted(RECORD)])[0].verdict == UNKNOWN


def test_a_resolver_must_know_it_as_well(net: Net) -> None:
    for address in ("192.0.2.1", "192.0.2.2"):
        net.add(address, RECORD)
    (seen,) = watching(resolver=resolver()).see([Wanted(RECORD)])
    assert (seen.verdict, seen.seen) == (PROPAGATING, "the resolver (192.0.2.9) has no TXT record a.test.")
    net.add("192.0.2.9", RECORD)
    assert watching(resolver=resolver()).see([Wanted(RECORD)])[0].verdict == OK


def test_ttls_are_those_of_the_zone_s_own_servers(net: Net) -> None:
    net.add("192.0.2.9", txt("a.test", "x", ttl=17))  # counted down in the cache
    for address in ("192.0.2.1", "192.0.2.2"):
        net.add(address, txt("a.test", "x", ttl=300), Record("a.test.", "MX", 600, "0 ."))
    ttls = Ttls(Directory(resolver=resolver()))
    keys = [("a.test.", "TXT"), ("a.test.", "MX"), ("b.test.", "TXT")]
    assert ttls(keys) == {("a.test.", "TXT"): 300, ("a.test.", "MX"): 600}
    # A server that is down is asked once; without any there is nothing to tell.
    net.broken["192.0.2.1"] = DnsTimeout("ns1 is down")
    ttls = Ttls(Directory(resolver=resolver()))
    before = len(net.asked["192.0.2.1"])
    assert ttls(keys) == ttls(keys) == {("a.test.", "TXT"): 300, ("a.test.", "MX"): 600}
    assert len(net.asked["192.0.2.1"]) == before + 1
    net.broken["192.0.2.2"] = DnsTimeout("ns2 is down")
    assert Ttls(Directory(resolver=resolver()))(keys) == {}


def test_ttls_of_what_no_server_is_known_for_are_left_out(net: Net) -> None:
    net.add("192.0.2.9", zones=("test.", "lost."))
    net.add("192.0.2.1", txt("a.test", "x", ttl=300))
    keys = [("a.test.", "TXT"), ("a.lost.", "TXT")]
    assert Ttls(Directory(resolver=resolver()))(keys) == {("a.test.", "TXT"): 300}


def test_named_servers_are_asked_and_no_others(net: Net) -> None:
    net.add("192.0.2.2", RECORD)
    watch = Watch(Directory(), servers=["192.0.2.2@5353"])
    (seen,) = watch.see([Wanted(RECORD)])
    assert seen.verdict == OK
    assert list(net.asked) == ["192.0.2.2"]


def test_a_delegated_name_is_followed_to_its_servers(net: Net) -> None:
    net.add("192.0.2.9", Record("keys.", "NS", 60, "ns.keys."), Record("ns.keys.", "A", 60, "192.0.2.3"),
            zones=("test.", "keys."))  # fmt: skip
    for address in ("192.0.2.1", "192.0.2.2", "192.0.2.9"):
        net.add(address, Record("a.test.", "CNAME", 60, "b.keys."), zones=net.zones[address])
    net.add("192.0.2.3", zones=("keys.",))
    (seen,) = watching().see([Wanted(RECORD)])
    assert (seen.verdict, seen.seen) == (MISSING, "ns.keys. (192.0.2.3) has no TXT record a.test.")
    net.add("192.0.2.3", txt("b.keys", "x"), zones=("keys.",))
    (seen,) = watching().see([Wanted(RECORD)])
    assert seen.verdict == OK
    assert [one.alias for one in seen.said] == ["b.keys.", "b.keys.", ""]


@pytest.mark.parametrize(
    ("chain", "clause"),
    [
        ([("a.test.", "a.test.")], "a.test. is an alias of itself"),
        ([("a.test.", "b.test."), ("b.test.", "a.test.")], "a.test. is an alias of itself"),
        ([("a.test.", "b0.test."), *((f"b{n}.test.", f"b{n + 1}.test.") for n in range(20))], "a.test. leads from alias to alias"),
    ],
)  # fmt: skip
def test_aliases_that_lead_nowhere(net: Net, chain: list[tuple[str, str]], clause: str) -> None:
    for address in ("192.0.2.1", "192.0.2.2", "192.0.2.9"):
        net.add(address, *(Record(name, "CNAME", 60, target) for name, target in chain))
    (seen,) = watching().see([Wanted(RECORD)])
    assert seen.verdict == UNKNOWN and clause in seen.seen


def test_several_types_at_one_name(net: Net) -> None:
    mx = Record("a.test.", "MX", 60, "10 mx.test.")
    for address in ("192.0.2.1", "192.0.2.2"):
        net.add(address, RECORD)
    assert [one.verdict for one in watching().see([Wanted(RECORD), Wanted(mx)])] == [OK, MISSING]


def test_nothing_asked_is_nothing_seen(net: Net) -> None:
    assert watching(timeout=10).see([]) == []


def test_servers_that_only_the_parent_names_are_asked_too(net: Net) -> None:
    """The zone's list was changed, its delegation was not: resolvers still come to the old server."""
    net.add(
        "192.0.2.9", Record(".", "NS", 60, "a.root."), Record("a.root.", "A", 60, "192.0.2.4"), zones=("test.", ".")
    )
    net.add("192.0.2.9", Record("old.other.", "A", 60, "192.0.2.5"), zones=("test.", "."))
    net.add("192.0.2.4", zones=(".",))
    hosts = ["ns1.test.", "ns2.test."]

    def found() -> list[str]:
        servers = Directory(resolver=resolver()).of(["www.test."])["www.test."]
        assert isinstance(servers, list)
        return [server.host for server in servers]

    assert found() == hosts
    net.referrals[("192.0.2.4", "test.")] = ("ns1.test.", "old.other.")
    assert found() == [*hosts, "old.other."]
    # Nobody finds a server without an address, and a parent that is silent is not needed.
    net.referrals[("192.0.2.4", "test.")] = ("ns1.test.", "gone.other.")
    assert found() == hosts
    net.broken["192.0.2.4"] = DnsTimeout("a.root. is down")
    assert found() == hosts
