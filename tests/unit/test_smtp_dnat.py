# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""iptables_smtp_dnat: what is refused, what is planned, and what becomes of the kernel's tables and of files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _iptables, _nftables, _smtp_dnat
from ansible_collections.postmaster.mail.plugins.module_utils._command import CommandError
from ansible_collections.postmaster.mail.plugins.module_utils._firewall_client import Firewall
from ansible_collections.postmaster.mail.plugins.module_utils._iptables import Ruleset
from ansible_collections.postmaster.mail.plugins.module_utils._smtp_dnat import SmtpDnatError, request
from ansible_collections.postmaster.mail.plugins.module_utils._smtp_dnat_rules import (
    IPTABLES_CHAINS,
    Iptables,
    Nftables,
    nft_chains,
    nft_text,
)
from ansible_collections.postmaster.mail.plugins.module_utils._smtp_dnat_run import choose, run
from ansible_collections.postmaster.mail.plugins.module_utils._smtp_dnat_work import _as_loaded
from ansible_collections.postmaster.mail.plugins.modules.iptables_smtp_dnat import ARGUMENT_SPEC
from hypothesis import given
from hypothesis import strategies as st

NOW = 1_764_380_000
DEFAULTS: dict[str, Any] = {name: option.get("default") for name, option in ARGUMENT_SPEC.items()}
EDGE: dict[str, Any] = {
    **DEFAULTS,
    "destination": ["203.0.113.5"],
    "relay": ["10.1.0.102"],
    "sources": ["192.0.2.25"],
    "backend": "iptables-nft",
    "persist": False,
}
CLIENT: dict[str, Any] = {**EDGE, "mode": "client", "relay": [], "sources": []}
BOTH: dict[str, Any] = {
    **EDGE,
    "destination": ["203.0.113.5", "2001:db8:5::5"],
    "relay": ["10.1.0.102", "fd00:1::102"],
    "sources": ["192.0.2.25", "2001:db8:1::/64"],
}


class Tables(Firewall):
    """The kernel's tables as texts, by back end and version; restores change them as the kernel would."""

    def __init__(self, **texts: str) -> None:
        super().__init__()
        self.texts = {
            ("iptables-nft", 4): "",
            ("iptables-nft", 6): "",
            ("iptables-legacy", 4): "",
            ("iptables-legacy", 6): "",
        }
        self.native = ""
        self.native_others = ""
        self.others: list[dict[str, object]] = []
        self.programs = {"iptables", "ip6tables", "nft"}
        self.loads = True
        self.programs |= {f"iptables-{variant}-{what}" for variant in ("nft", "legacy") for what in ("save", "restore")}
        self.calls: list[str] = []
        self.scheduled: list[tuple[int, list[list[str]]]] = []
        self.names = {"pmg.example.org": ["203.0.113.5", "2001:db8:5::5"], "me.example.org": ["127.0.1.1"]}
        self.fails = ""
        self.variant = "iptables-nft"
        for key, text in texts.items():
            variant, number = key.rsplit("_", 1)
            self.texts[f"iptables-{variant}", int(number)] = text

    def has(self, program: str) -> bool:
        return program in self.programs

    def legacy_loaded(self, version: int) -> bool:
        return bool(self.texts["iptables-legacy", version])

    def default(self, version: int = 4) -> str:
        return self.variant

    def forwards(self, version: int) -> bool:
        return True

    def has_interface(self, name: str) -> bool:
        return False

    def loads_rules(self) -> bool:
        return self.loads

    def resolve(self, name: str) -> list[str]:
        return self.names.get(name, [])

    def save(self, backend: str, version: int) -> str:
        self.calls.append(f"save {backend} {version}")
        return self.texts[backend, version]

    def restore(self, backend: str, version: int, text: str, *, test: bool = False, flush: bool = False) -> None:
        self.calls.append(f"{'test' if test else 'restore'} {backend} {version}")
        if self.fails and self.fails in self.calls[-1]:
            raise CommandError("iptables-restore failed (exit 4): the table is locked")
        if not test:
            self.texts[backend, version] = "" if flush else self.texts[backend, version]
            self.texts[backend, version] = _restored(self.texts[backend, version], text)

    def nft_table(self, table: str) -> str:
        self.calls.append("nft list")
        return self.native

    def nft_ruleset(self) -> str:
        return self.native_others

    def nft(self, text: str, *, test: bool = False) -> None:
        self.calls.append("nft -c" if test else "nft")
        if not test:
            self.native = text.partition("delete table inet postmaster_smtp\n")[2]

    def nft_chains(self) -> list[dict[str, object]]:
        ours = [{"family": "inet", "table": "postmaster_smtp", "name": "incoming"}] if self.native else []
        return [*self.others, *ours]

    def later(self, seconds: int, unit: str, commands: Sequence[Sequence[str]]) -> None:
        self.calls.append("later")
        self.scheduled.append((seconds, [list(argv) for argv in commands]))


def _restored(text: str, change: str) -> str:
    """What iptables-restore --noflush makes of tables."""
    ruleset = Ruleset(text)
    table = ""
    for line in change.splitlines():
        word, dummy, rest = line.partition(" ")
        if line.startswith("*"):
            table = line[1:]
            ruleset._made_span(table)
        elif line.startswith(":"):
            chain = word[1:]
            first, last = ruleset.span(table) or (0, 0)
            ruleset.lines[first:last] = [one for one in ruleset.lines[first:last] if not one.startswith(f"-A {chain} ")]
            if not ruleset.has_chain(table, chain):
                ruleset.lines.insert(first, f":{chain} - [0:0]\n")
        elif line != "COMMIT" and not line.startswith("#"):
            first, last = ruleset.span(table) or (0, 0)
            chain, dummy, rule = rest.partition(" ")
            if word == "-I":
                ruleset.lines.insert(
                    next((n for n in range(first, last) if ruleset.lines[n].startswith(f"-A {chain} ")), last),
                    f"-A {chain} {rule.removeprefix('1 ')}\n",
                )
            elif word == "-A":
                assert ruleset.has_chain(table, chain)
                ruleset.lines.insert(last, f"-A {chain} {rule}\n")
            elif word == "-D":
                ruleset.lines.remove(f"-A {chain} {rule}\n")
            else:
                assert word == "-X"
                assert not ruleset.rules(table, chain)
                ruleset.lines.remove(f":{chain} - [0:0]\n")
    return str(ruleset)


class Keeper:
    """etckeeper, as far as it is asked."""

    def __init__(self, *, there: bool = True, dirty: bool = False) -> None:
        self.there, self.dirty, self.commits = there, dirty, list[str]()

    def ready(self) -> bool:
        return self.there

    def unclean(self) -> bool:
        return self.dirty or bool(self.commits) or True

    def commit(self, message: str) -> None:
        self.commits.append(message)


def call(
    tables: Tables, check_mode: bool = False, keeper: Any = None, now: float = NOW, **options: Any
) -> dict[str, Any]:
    given = {**EDGE, **options}
    keeper = keeper or Keeper(there=False)
    return run(given, check_mode=check_mode, firewall=tables, etckeeper=keeper, clock=lambda: now)


def asked(**options: Any) -> _smtp_dnat.Request:
    return request({**EDGE, **options}, Tables().resolve, now=NOW)


# -- what is refused ----------------------------------------------------------------------------

# What is wrong, the message, and the twin that is taken.
REFUSALS: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    (
        {"sources": ["0.0.0.0/0"]},
        "sources[0]: 0.0.0.0/0 is everybody: name the hosts that may send",
        {"sources": ["192.0.2.0/24"]},
    ),
    (
        {**BOTH, "sources": ["::/0"]},
        "sources[0]: ::/0 is everybody: name the hosts that may send",
        {**BOTH, "sources": ["2001:db8::/32"]},
    ),
    (
        {"sources": ["193.0.0.0/8"]},
        "sources[0]: 193.0.0.0/8 would let a part of the internet send through this host: name your own networks, none "
        "wider than /16",
        {"sources": ["193.0.0.0/16"]},
    ),
    (
        {"sources": ["192.0.2.25", "192.0.2.7/24"]},
        "sources[1]: '192.0.2.7/24' has bits set beyond its prefix: did you mean 192.0.2.0/24?",
        {"sources": ["192.0.2.25", "192.0.2.0/24"]},
    ),
    (
        {"sources": ["example.org"]},
        "sources[0]: 'example.org' is no network: write one such as 192.0.2.0/28 or 2001:db8::/64",
        {"sources": ["::ffff:192.0.2.1"]},
    ),
    (
        {"sources": ["192.0.2.25", "192.0.2.25/32"]},
        "sources[1]: 192.0.2.25/32 is given twice: give it once",
        {"sources": ["192.0.2.25", "192.0.2.26/32"]},
    ),
    (
        {"sources": ["10.1.0.0/24"]},
        "sources[0]: 10.1.0.0/24 is private and 203.0.113.5 public, so nobody on the internet is meant; if it is a network "
        "behind the edge, say private_sources: true",
        {"sources": ["10.1.0.0/24"], "private_sources": True},
    ),
    (
        {"sources": ["100.64.1.1"]},
        "sources[0]: 100.64.1.1/32 is private and 203.0.113.5 public, so nobody on the internet is meant; if it is a network "
        "behind the edge, say private_sources: true",
        {"sources": ["100.64.1.1"], "destination": ["10.9.0.1"]},
    ),
    (
        {"sources": ["10.1.0.102"], "private_sources": True},
        "sources[0]: 10.1.0.102 is the relay, whose own mail would come back to it: leave it out",
        {"sources": ["10.1.0.103"], "private_sources": True},
    ),
    (
        {"sources": ["2001:db8::1"]},
        "sources[0]: 2001:db8::1 is IPv6, and relay has no such address: give relay one, or leave this source out",
        {**BOTH, "sources": ["2001:db8::1"]},
    ),
    (
        {**BOTH, "destination": ["203.0.113.5"]},
        "sources[1]: 2001:db8:1::/64 is IPv6, and destination has no such address: give destination one, or leave this "
        "source out",
        {**BOTH, "destination": ["pmg.example.org"]},
    ),
    (
        {"relay": ["fd00::1"], "sources": []},
        "destination and relay have no version of IP in common: give both an address of the same",
        {"relay": ["10.0.0.1"], "sources": []},
    ),
    (
        {"destination": []},
        "destination: without the public name or address, the relay's own mail to other people's port 25 would come back to "
        "it: name it",
        {"destination": ["203.0.113.5"]},
    ),
    (
        {"destination": ["0.0.0.0/0"]},
        "destination[0]: '0.0.0.0/0' is neither a name nor an address: write pmg.example.org or 203.0.113.5",
        {"destination": ["pmg.example.org"]},
    ),
    (
        {"destination": ["0.0.0.0"]},
        "destination[0]: 0.0.0.0 is no address of a host that others reach: write the one they use",
        {"destination": ["203.0.113.6"]},
    ),
    (
        {"destination": ["nowhere.example.org"]},
        "destination[0]: nowhere.example.org has no address that this host can find: write the address itself",
        {"destination": ["pmg.example.org"]},
    ),
    (
        {"destination": ["me.example.org"]},
        "destination[0]: this host takes me.example.org for itself (127.0.1.1): write the public address itself",
        {"destination": ["pmg.example.org"]},
    ),
    (
        {"relay": ["203.0.113.5"]},
        "relay: 203.0.113.5 is the destination, too: name the address that the relay has behind it",
        {"relay": ["203.0.113.6"]},
    ),
    (
        {"relay": ["10.1.0.102", "10.1.0.103"]},
        "relay: 10.1.0.102 and 10.1.0.103 are both IPv4: write one of them",
        {"relay": ["10.1.0.102", "fd00::2"]},
    ),
    (
        {"relay": ["pmg.example.org"]},
        "relay: 'pmg.example.org' is no address: write one such as 192.0.2.25 or 2001:db8::25",
        {"relay": ["10.1.0.102"]},
    ),
    (
        {"relay": ["fe80::1%eth0"]},
        "relay: 'fe80::1%eth0' names an interface, which a rule cannot: leave out what follows %",
        {"relay": ["fe80::1", "10.1.0.1"]},
    ),
    ({"relay": []}, "relay: name the relay's private address", {"relay": ["10.1.0.1"]}),
    ({"relay_port": 70000}, "relay_port: 70000 is no port: write one from 1 to 65535", {"relay_port": 26}),
    (
        {"interface": "eth0 -j ACCEPT"},
        "interface: 'eth0 -j ACCEPT' is no interface: write its name, such as eth0",
        {"interface": "eth0"},
    ),
    (
        {"outgoing_address": ["203.0.113.5"]},
        "outgoing_address: say masquerade: egress or generic with it",
        {"outgoing_address": ["203.0.113.5"], "masquerade": "egress"},
    ),
    (
        {"outgoing_address": ["2001:db8::5"], "masquerade": "egress"},
        "outgoing_address: 2001:db8::5 is IPv6, and relay has no such address: leave it out",
        {**BOTH, "outgoing_address": ["2001:db8::5"], "masquerade": "egress"},
    ),
    (
        {"relay_networks": ["10.1.0.0/24", "10.2.0.0/24"], "masquerade": "egress"},
        "relay_networks: of several IPv4 networks it cannot be told where the way out leads: name the interface",
        {"relay_networks": ["10.1.0.0/24", "10.2.0.0/24"], "masquerade": "egress", "interface": "eth0"},
    ),
    (
        {"relay_networks": ["0.0.0.0/0"]},
        "relay_networks[0]: 0.0.0.0/0 is everybody: name the networks behind the edge",
        {"relay_networks": ["10.0.0.0/8"]},
    ),
    (
        {"state": "absent", "purge": True},
        "purge goes with state: present: name the sources that stay, or none",
        {"state": "absent"},
    ),
    ({"expires": "soon"}, "expires: 'soon' is no time: write one such as 90s, 10m or 2h", {"expires": "10m"}),
    (
        {"expires": "8d"},
        "expires: 8d is not between 1s and 7d: leave it out for sources that are to stay",
        {"expires": "7d"},
    ),
    (
        {"expires": "10m", "purge": True},
        "expires adds sources for a time: leave out purge and state: absent",
        {"expires": "10m"},
    ),
    (
        {"expires": "10m", "sources": []},
        "expires: name the sources that are to be let in for that time",
        {"expires": "10m"},
    ),
    (
        {**CLIENT, "sources": ["192.0.2.25"]},
        "sources, relay and expires are for the edge: leave them out with mode: client",
        CLIENT,
    ),
]


@pytest.mark.parametrize(
    ("wrong", "message", "right"), REFUSALS, ids=[message[:60] for dummy, message, dummy2 in REFUSALS]
)
def test_refused_before_anything_is_read(wrong: dict[str, Any], message: str, right: dict[str, Any]) -> None:
    tables = Tables()
    with pytest.raises(SmtpDnatError, match=f"^{re.escape(message)}$"):
        call(tables, **wrong)
    assert tables.calls == []
    assert call(tables, **right)["backend"] == "iptables-nft"


# -- the kernel's tables ------------------------------------------------------------------------

FOREIGN = (
    "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n:DOCKER-USER - [0:0]\n"
    "-A FORWARD -j DOCKER-USER\n-A DOCKER-USER -j RETURN\nCOMMIT\n"
    "*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n"
    '-A PREROUTING -p tcp -m tcp --dport 80 -m comment --comment "a \\"b\\"" -j DNAT --to-destination 10.1.0.80\n'
    "-A POSTROUTING -s 10.1.0.0/24 -j MASQUERADE\nCOMMIT\n"
)


def rules_of(tables: Tables, name: str, version: int = 4) -> list[str]:
    chain = IPTABLES_CHAINS[name]
    return Ruleset(tables.texts["iptables-nft", version]).rules(chain.table, chain.name)


def dnat(source: str, *, comment: str = "", relay: str = "10.1.0.102:25") -> str:
    said = f'-m comment --comment "{comment}" ' if comment else ""
    return f"-s {source} -d 203.0.113.5/32 -p tcp -m tcp --dport 25 {said}-j DNAT --to-destination {relay}"


def test_rules_appear_once_and_go_again() -> None:
    tables = Tables(nft_4=FOREIGN)
    result = call(tables, sources=["192.0.2.25", "192.0.2.32/28"], masquerade="egress")
    assert (result["changed"], result["added"], result["removed"]) == (True, ["192.0.2.25/32", "192.0.2.32/28"], [])
    assert tables.calls == ["save iptables-nft 4", "restore iptables-nft 4"]
    assert rules_of(tables, "incoming") == [dnat("192.0.2.25/32"), dnat("192.0.2.32/28")]
    tables.calls.clear()
    again = call(tables, sources=["192.0.2.32/28", "192.0.2.25/32"], masquerade="egress")
    assert (again["changed"], again["diff"], tables.calls) == (False, [], ["save iptables-nft 4"])
    assert call(tables, sources=[], state="absent")["removed"] == ["192.0.2.25/32", "192.0.2.32/28"]
    assert tables.texts["iptables-nft", 4] == FOREIGN


def test_check_mode_predicts_and_writes_nothing() -> None:
    tables = Tables(nft_4=FOREIGN)
    predicted = call(tables, check_mode=True)
    assert tables.texts["iptables-nft", 4] == FOREIGN
    done = call(tables)
    assert predicted == done
    assert done["diff"][0]["before"] == ""
    assert f"incoming: {dnat('192.0.2.25/32')}\n" in done["diff"][0]["after"]


def test_only_purge_and_absent_remove() -> None:
    tables = Tables(nft_4=FOREIGN)
    call(tables, sources=["192.0.2.1", "192.0.2.2", "192.0.2.3"])
    assert call(tables, sources=["192.0.2.4"])["removed"] == []
    assert call(tables, sources=["192.0.2.1"], state="absent")["removed"] == ["192.0.2.1/32"]
    assert not call(tables, sources=["192.0.2.1"], state="absent")["changed"]
    assert call(tables, sources=["192.0.2.3"], purge=True)["removed"] == ["192.0.2.2/32", "192.0.2.4/32"]
    assert rules_of(tables, "incoming") == [dnat("192.0.2.3/32")]


def test_a_relay_that_moved_replaces_the_old_one() -> None:
    tables = Tables()
    call(tables)
    result = call(tables, relay=["10.1.0.103"], relay_port=26)
    assert rules_of(tables, "incoming") == [dnat("192.0.2.25/32", relay="10.1.0.103:26")]
    assert (result["changed"], result["added"], result["removed"]) == (True, [], [])


def test_two_relays_leave_each_other_alone() -> None:
    tables = Tables()
    one = {"masquerade": "egress", "sources": ["10.1.0.0/24"], "private_sources": True}
    other = {**one, "relay": ["10.1.0.77"], "destination": ["203.0.113.7"]}
    call(tables, **one)
    call(tables, **other, purge=True)
    text = tables.texts["iptables-nft", 4]
    assert not call(tables, **one, purge=True)["changed"]
    assert not call(tables, **other, purge=True)["changed"]
    call(tables, **{**other, "sources": []}, state="absent")
    assert tables.texts["iptables-nft", 4] != text
    assert not call(tables, **one, purge=True)["changed"]
    assert "10.1.0.77" not in tables.texts["iptables-nft", 4]


def test_doubled_and_foreign_rules_in_our_chain() -> None:
    tables = Tables()
    call(tables)
    text = tables.texts["iptables-nft", 4]
    line = f"-A POSTMASTER-SMTP-DNAT {dnat('192.0.2.25/32')}\n"
    odd = "-A POSTMASTER-SMTP-DNAT -s 192.0.2.9/32 -j LOG\n"
    jump = "-A PREROUTING -p tcp -m tcp --dport 25 -m comment --comment postmaster.mail -j POSTMASTER-SMTP-DNAT\n"
    tables.texts["iptables-nft", 4] = text.replace(line, line + odd + line).replace(jump, jump + jump)
    assert call(tables)["changed"]
    # The order of rules counts within a chain alone.
    assert sorted(tables.texts["iptables-nft", 4].splitlines()) == sorted(text.replace(line, line + odd).splitlines())
    assert rules_of(tables, "incoming") == [dnat("192.0.2.25/32"), "-s 192.0.2.9/32 -j LOG"]


def test_the_relay_is_left_out_of_its_own_network() -> None:
    tables = Tables()
    call(tables, sources=["10.1.0.0/24"], private_sources=True)
    out = (
        "-s 10.1.0.102/32 -d 203.0.113.5/32 -p tcp -m tcp --dport 25 -m comment --comment postmaster.mail/10.1.0.102 "
        "-j RETURN"
    )
    assert rules_of(tables, "incoming") == [out, dnat("10.1.0.0/24")]
    call(tables, sources=["10.2.0.0/24"], private_sources=True, purge=True)
    assert rules_of(tables, "incoming") == [dnat("10.2.0.0/24")]


RELAY_COMMENT = "-m comment --comment postmaster.mail/10.1.0.102"
HAIRPIN = f"-s 10.1.0.0/24 -d 10.1.0.102/32 -p tcp -m tcp --dport 25 -m conntrack --ctstate DNAT {RELAY_COMMENT} -j MASQUERADE"
MASQUERADES: list[tuple[dict[str, Any], list[str]]] = [
    ({"masquerade": "none"}, []),
    ({"masquerade": "egress"}, [f"-s 10.1.0.102/32 ! -d 10.1.0.102/32 {RELAY_COMMENT} -j MASQUERADE"]),
    (
        {"masquerade": "egress", "outgoing_address": ["203.0.113.5"]},
        [f"-s 10.1.0.102/32 ! -d 10.1.0.102/32 {RELAY_COMMENT} -j SNAT --to-source 203.0.113.5"],
    ),
    (
        {
            "masquerade": "egress",
            "relay_networks": ["10.1.0.0/24"],
            "outgoing_address": ["203.0.113.5"],
            "interface": "eth0",
        },
        [
            HAIRPIN,
            f"-s 10.1.0.102/32 -o eth0 {RELAY_COMMENT} -j SNAT --to-source 203.0.113.5",
            f"-s 10.1.0.0/24 -o eth0 {RELAY_COMMENT} -j MASQUERADE",
        ],
    ),
    (
        {"masquerade": "generic", "relay_networks": ["10.1.0.0/24"]},
        [
            HAIRPIN.removeprefix("-s 10.1.0.0/24 "),
            f"-s 10.1.0.0/24 {RELAY_COMMENT} -j MASQUERADE",
        ],
    ),
]


@pytest.mark.parametrize(("options", "rules"), MASQUERADES)
def test_masquerading(options: dict[str, Any], rules: list[str]) -> None:
    tables = Tables()
    call(tables, **options)
    assert rules_of(tables, "outgoing") == rules
    assert len(rules_of(tables, "forward")) == (2 if options["masquerade"] == "none" else 4)
    assert not call(tables, **options)["changed"]
    call(tables, **options, forward=False)
    assert rules_of(tables, "forward") == []


def test_both_versions_are_tested_before_either_is_written() -> None:
    tables = Tables()
    call(tables, **BOTH)
    assert tables.calls == [
        "save iptables-nft 4",
        "save iptables-nft 6",
        "test iptables-nft 4",
        "test iptables-nft 6",
        "restore iptables-nft 4",
        "restore iptables-nft 6",
    ]
    assert rules_of(tables, "incoming", 6) == [
        "-s 2001:db8:1::/64 -d 2001:db8:5::5/128 -p tcp -m tcp --dport 25 -j DNAT --to-destination [fd00:1::102]:25"
    ]
    broken = Tables()
    broken.fails = "test iptables-nft 6"
    with pytest.raises(CommandError, match="the table is locked"):
        call(broken, **BOTH)
    assert broken.texts["iptables-nft", 4] == ""
    broken.fails = "restore iptables-nft 6"
    message = (
        "iptables-nft, IPv6: iptables-restore failed (exit 4): the table is locked (done before: iptables-nft, IPv4; "
        "the next run goes on from there)"
    )
    with pytest.raises(SmtpDnatError, match=f"^{re.escape(message)}$"):
        call(broken, **BOTH)
    broken.fails = ""
    assert call(broken, **BOTH)["added"] == ["2001:db8:1::/64"]


# -- rules that people wrote --------------------------------------------------------------------

BY_HAND = (
    "*nat\n:PREROUTING ACCEPT [0:0]\n"
    "-A PREROUTING -s 192.0.2.25/32 -d 203.0.113.5/32 -p tcp -m tcp --dport 25 -j DNAT --to-destination 10.1.0.102:25\n"
    '-A PREROUTING -s 192.0.2.8/32 -d 203.0.113.5/32 -p tcp -m comment --comment "off 8" -m tcp --dport 25 -j DNAT '
    "--to-destination 10.1.0.102\n"
    "-A PREROUTING -s 192.0.2.9/32 -d 203.0.113.6/32 -p tcp -m tcp --dport 25 -j DNAT --to-destination 10.1.0.111:25\n"
    "-A PREROUTING -s 192.0.2.9/32 -i eth0 -p tcp -m tcp --dport 25 -j DNAT --to-destination 10.1.0.102:25\nCOMMIT\n"
)


def test_rules_written_by_hand_are_told_and_stay() -> None:
    tables = Tables(nft_4=BY_HAND)
    result = call(tables)
    assert [rule.split()[3] for rule in result["handwritten"]] == ["192.0.2.25/32", "192.0.2.8/32"]
    assert all(line in tables.texts["iptables-nft", 4] for line in BY_HAND.splitlines())


def test_adopted_they_move() -> None:
    tables = Tables(nft_4=BY_HAND)
    result = call(tables, adopt=True)
    assert rules_of(tables, "incoming") == [dnat("192.0.2.25/32"), dnat("192.0.2.8/32")]
    assert [entry["source"] for entry in result["entries"]] == ["192.0.2.25/32", "192.0.2.8/32"]
    left = Ruleset(tables.texts["iptables-nft", 4]).rules("nat", "PREROUTING")
    assert [rule.split()[1] for rule in left] == ["tcp", "192.0.2.9/32", "192.0.2.9/32"]
    again = call(tables, adopt=True, purge=True)
    assert (again["removed"], again["handwritten"]) == (["192.0.2.8/32"], [])
    assert not call(tables, adopt=True, purge=True)["changed"]


def test_adopted_they_leave_the_file_too(tmp_path: Path) -> None:
    path = tmp_path / "rules.v4"
    first = BY_HAND.splitlines(keepends=True)[2]
    path.write_text(BY_HAND.replace(first, first + first))
    tables = Tables(nft_4=BY_HAND.replace(first, first + first))
    call(tables, adopt=True, purge=True, persist=True, rules_v4=str(path))
    for text in (tables.texts["iptables-nft", 4], path.read_text()):
        ruleset = Ruleset(text)
        assert ruleset.rules("nat", "POSTMASTER-SMTP-DNAT") == [dnat("192.0.2.25/32")]
        assert [rule.split()[1] for rule in ruleset.rules("nat", "PREROUTING")] == [
            "tcp",
            "192.0.2.9/32",
            "192.0.2.9/32",
        ]


def test_a_rule_for_everybody_is_warned_of() -> None:
    rule = "-d 203.0.113.5/32 -p tcp -m tcp --dport 25 -j DNAT --to-destination 10.1.0.102:25"
    tables = Tables(nft_4=f"*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING {rule}\nCOMMIT\n")
    warning = (
        f"a rule of others has everybody reach the relay, whatever sources says: -A PREROUTING {rule}; remove it with "
        "iptables -t nat -D and these words"
    )
    assert call(tables)["warnings"] == [warning]
    assert call(Tables())["warnings"] == []


# -- for a time ---------------------------------------------------------------------------------


def test_a_deadline_is_kept_by_a_timer_and_never_saved(tmp_path: Path) -> None:
    tables = Tables(nft_4=FOREIGN)
    path = tmp_path / "rules.v4"
    saving = {"persist": True, "rules_v4": str(path)}
    call(tables, **saving)
    saved, outgoing = path.read_text(), rules_of(tables, "outgoing")
    tables.calls.clear()
    result = call(tables, **saving, sources=["192.0.2.77"], expires="10m", masquerade="egress")
    assert tables.calls == ["save iptables-nft 4", "later", "restore iptables-nft 4"]
    until = NOW + 600
    rule = dnat("192.0.2.77/32", comment=f"until {until}")
    assert rules_of(tables, "incoming") == [dnat("192.0.2.25/32"), rule]
    assert rules_of(tables, "outgoing") == outgoing
    assert path.read_text() == saved
    assert result["entries"][1] == {
        "source": "192.0.2.77/32",
        "destination": "203.0.113.5",
        "relay": "10.1.0.102",
        "port": 25,
        "until": until,
    }
    undo = ["iptables-nft", "-w", "-t", "nat", "-D", "POSTMASTER-SMTP-DNAT", *_iptables.words(rule)]
    assert tables.scheduled == [(600, [undo])]
    # An ordinary run leaves it alone while it lasts, and takes it away if the timer has not.
    assert not call(tables, **saving, purge=True)["changed"]
    assert call(tables, **saving, now=until + 1)["removed"] == ["192.0.2.77/32"]


def test_what_is_there_for_good_stays_for_good() -> None:
    tables = Tables()
    call(tables)
    assert not call(tables, expires="10m")["changed"]
    assert tables.scheduled == []
    call(tables, sources=["192.0.2.77"], expires="10m")
    result = call(tables, sources=["192.0.2.77"])
    assert result["changed"]
    assert rules_of(tables, "incoming") == [dnat("192.0.2.25/32"), dnat("192.0.2.77/32")]


def test_a_deadline_in_nftables_is_a_chain_of_its_own() -> None:
    tables = Tables()
    call(tables, backend="nftables")
    call(tables, backend="nftables", sources=["192.0.2.77"], expires="1h")
    chain = f"inet postmaster_smtp until_{NOW + 3600}"
    assert tables.scheduled == [(3600, [["nft", f"flush chain {chain}; delete chain {chain}"]])]
    assert f"\tchain until_{NOW + 3600} {{\n" in tables.native
    assert not call(tables, backend="nftables", purge=True)["changed"]
    assert call(tables, backend="nftables", now=NOW + 3601)["removed"] == ["192.0.2.77/32"]
    assert "until_" not in tables.native


# -- clients ------------------------------------------------------------------------------------


def test_a_client_and_its_containers() -> None:
    tables = Tables(nft_4=FOREIGN)
    assert call(tables, **CLIENT)["changed"]
    assert rules_of(tables, "client") == [
        "-o lo -j RETURN",
        "-d 203.0.113.5/32 -j RETURN",
        "-p tcp -j REJECT --reject-with tcp-reset",
    ]
    assert rules_of(tables, "docker") == [
        "-o docker+ -j RETURN",
        "-o br-+ -j RETURN",
        "-m conntrack --ctstate DNAT -j RETURN",
        "-d 203.0.113.5/32 -j RETURN",
        "-p tcp -j REJECT --reject-with tcp-reset",
    ]
    # The gateway has no IPv6 address, so nothing leaves by IPv6; Docker has no chain there.
    assert rules_of(tables, "client", 6) == ["-o lo -j RETURN", "-p tcp -j REJECT --reject-with tcp-reset"]
    assert rules_of(tables, "docker", 6) == []
    assert not call(tables, **CLIENT)["changed"]
    assert call(tables, **{**CLIENT, "state": "absent"})["changed"]
    assert tables.texts["iptables-nft", 4] == FOREIGN


# -- beside ufw, whose own chains end all -------------------------------------------------------

# What ufw puts there itself before it loads its file; {} is empty or 6.
UFW = """*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:ufw{0}-before-forward - [0:0]
:ufw{0}-before-output - [0:0]
:ufw{0}-reject-forward - [0:0]
:ufw{0}-track-output - [0:0]
:ufw{0}-logging-deny - [0:0]
-A FORWARD -j ufw{0}-before-forward
-A FORWARD -j ufw{0}-reject-forward
-A OUTPUT -j ufw{0}-before-output
-A OUTPUT -j ufw{0}-track-output
-A ufw{0}-reject-forward -j REJECT
-A ufw{0}-track-output -p tcp -m conntrack --ctstate NEW -j ACCEPT
COMMIT
"""
UFW_FILE = """# rules.before
*filter
:ufw{0}-before-forward - [0:0]
:ufw{0}-before-output - [0:0]
-A ufw{0}-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw{0}-before-output -m conntrack --ctstate INVALID -j ufw{0}-logging-deny
COMMIT
"""
VARIANTS = ["nft", "legacy"]


def places(ruleset: Ruleset, name: str) -> list[tuple[str, int]]:
    """The chains from which a chain of ours is asked, and at which place."""
    hooks = ["FORWARD", "OUTPUT", *(f"ufw{six}-before-{way}" for six in ("", "6") for way in ("forward", "output"))]
    return [
        (hook, place)
        for hook in hooks
        for place, rule in enumerate(ruleset.rules("filter", hook))
        if rule.endswith(f"-j {name}")
    ]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    ("options", "way", "name"),
    [
        (BOTH, "before-forward", "POSTMASTER-SMTP-FWD"),
        ({**CLIENT, "destination": BOTH["destination"]}, "before-output", "POSTMASTER-SMTP-OUT"),
    ],
)
def test_beside_ufw_ours_are_asked_first_now_and_after_a_boot(
    tmp_path: Path, variant: str, options: dict[str, Any], way: str, name: str
) -> None:
    before = {f"{variant}_4": UFW.format(""), f"{variant}_6": UFW.format("6")}
    tables, files = Tables(**before), {4: tmp_path / "before.rules", 6: tmp_path / "before6.rules"}
    for version, file in files.items():
        file.write_text(UFW_FILE.format("6" if version == 6 else ""))
    backend = f"iptables-{variant}"
    asked = {
        **options,
        "backend": backend,
        "persist": True,
        "rules_v4": str(files[4]),
        "rules_v6": str(files[6]),
    }
    assert [call(tables, **asked)["changed"] for dummy in range(2)] == [True, False]
    booted = Tables(**before)
    for version, file in files.items():
        booted.restore(backend, version, file.read_text())
        for some in (tables, booted):
            ruleset = Ruleset(some.texts[backend, version])
            assert places(ruleset, name) == [(f"ufw{'6' if version == 6 else ''}-{way}", 0)]
    assert not call(booted, **asked)["changed"]
    assert call(tables, **{**asked, "state": "absent", "sources": []})["changed"]
    for version, file in files.items():
        assert file.read_text() == UFW_FILE.format("6" if version == 6 else "")
        assert "POSTMASTER" not in tables.texts[backend, version]


def test_jumps_from_before_are_moved(tmp_path: Path) -> None:
    """Those behind ufw's own, as they stood at first, in the kernel and in the file."""
    jump = '-A FORWARD -p tcp -m comment --comment "postmaster.mail" -j POSTMASTER-SMTP-FWD\n'
    kernel = UFW.format("").replace("COMMIT", f"{jump}{jump}COMMIT")
    file = tmp_path / "before.rules"
    file.write_text(UFW_FILE.format("").replace("-A ufw-before-forward", f"{jump}-A ufw-before-forward", 1))
    tables = Tables(nft_4=kernel.replace(":FORWARD", ":POSTMASTER-SMTP-FWD - [0:0]\n:FORWARD"))
    asked = {"persist": True, "rules_v4": str(file)}
    assert [call(tables, **asked)["changed"] for dummy in range(2)] == [True, False]
    for text in (tables.texts["iptables-nft", 4], file.read_text()):
        assert places(Ruleset(text), "POSTMASTER-SMTP-FWD") == [("ufw-before-forward", 0)]


def test_of_several_jumps_one_stays_in_front() -> None:
    """As after each ufw reload, which adds one behind the others."""
    tables = Tables(nft_4=FOREIGN)
    call(tables)
    text = tables.texts["iptables-nft", 4]
    jump = next(line for line in text.splitlines(keepends=True) if "PREROUTING" in line and "-j POSTMASTER" in line)
    nat, rest = text.split("*nat", 1)[0], text.split("*nat", 1)[1].replace("COMMIT", f"{jump}COMMIT", 1)
    doubled = Tables(nft_4=f"{nat}*nat{rest}")
    assert [call(doubled)["changed"] for dummy in range(2)] == [True, False]
    assert Ruleset(doubled.texts["iptables-nft", 4]).rules("nat", "PREROUTING") == Ruleset(text).rules(
        "nat", "PREROUTING"
    )


def test_a_file_of_ufw_is_tested_with_the_chains_that_ufw_makes() -> None:
    tested = _as_loaded(UFW_FILE.format(""))
    assert tested.count(":ufw-logging-deny - [0:0]\n") == 1
    assert _as_loaded(tested) == tested
    assert _as_loaded(UFW.format("6")) == UFW.format("6")


# -- which back end -----------------------------------------------------------------------------

EMPTY = "*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n"
ALL_NATIVE = [{"family": "inet", "table": "firewalld", "name": "x"}]
BY_NFT = [{"family": "ip", "table": "nat", "name": "PREROUTING"}]
OURS = "*nat\n:POSTMASTER-SMTP-DNAT - [0:0]\nCOMMIT\n"


@pytest.mark.parametrize(
    ("texts", "others", "native", "missing", "chosen"),
    [
        ({}, [], "", set(), "iptables-nft"),
        ({"nft_4": EMPTY, "legacy_4": EMPTY}, [], "", set(), "iptables-nft"),
        ({"nft_4": FOREIGN}, BY_NFT, "", set(), "iptables-nft"),
        ({"nft_4": FOREIGN}, ALL_NATIVE, "", set(), "iptables-nft"),
        ({"legacy_4": FOREIGN}, ALL_NATIVE, "", set(), "iptables-legacy"),
        ({"nft_4": EMPTY}, [*BY_NFT, *ALL_NATIVE], "", set(), "nftables"),
        ({"nft_4": FOREIGN}, [], "table inet postmaster_smtp {", set(), "nftables"),
        ({"nft_4": OURS, "legacy_4": FOREIGN}, ALL_NATIVE, "", set(), "iptables-nft"),
        ({"nft_4": FOREIGN, "legacy_4": OURS}, [], "", set(), "iptables-legacy"),
        ({}, [], "", {"iptables", "iptables-nft-save", "iptables-legacy-save"}, "nftables"),
    ],
)
def test_auto(
    texts: dict[str, str], others: list[dict[str, object]], native: str, missing: set[str], chosen: str
) -> None:
    tables = Tables(**texts)
    tables.others, tables.native, tables.programs = others, native, tables.programs - missing
    assert choose("auto", tables, [4])[0] == chosen


def test_auto_takes_what_iptables_is_where_nothing_is() -> None:
    tables = Tables()
    tables.variant = "iptables-legacy"
    assert choose("auto", tables, [4])[0] == "iptables-legacy"


def test_ambiguous_or_absent() -> None:
    message = (
        "backend: both iptables-nft and iptables-legacy hold rules here: say which of them is to be used, and move the "
        "rules of the other"
    )
    with pytest.raises(SmtpDnatError, match=f"^{re.escape(message)}$"):
        choose("auto", Tables(nft_4=FOREIGN, legacy_4=FOREIGN), [4])
    bare = Tables()
    bare.programs = set()
    with pytest.raises(SmtpDnatError, match=r"^backend: neither iptables nor nft is installed here: install nftables$"):
        choose("auto", bare, [4])
    with pytest.raises(
        SmtpDnatError, match=r"^backend: iptables-nft is not installed: install iptables, or say another back end$"
    ):
        choose("iptables-nft", bare, [4])
    # Check mode foretells what a host will get that is bare as yet.
    assert call(bare, check_mode=True, backend="auto")["added"] == ["192.0.2.25/32"]


def test_the_second_run_starts_one_program() -> None:
    tables = Tables()
    call(tables, backend="auto")
    tables.calls.clear()
    assert not call(tables, backend="auto")["changed"]
    assert tables.calls == ["save iptables-nft 4"]


def test_a_table_that_iptables_cannot_show() -> None:
    tables = Tables(nft_4="# Table `nat' is incompatible, use 'nft' tool.\n")
    message = "the table nat has rules that nft put there, which iptables-nft cannot show: say backend: nftables"
    with pytest.raises(SmtpDnatError, match=f"^{re.escape(message)}$"):
        call(tables)


def test_a_chain_that_drops_is_named() -> None:
    tables = Tables()
    tables.others = [
        {"family": "inet", "table": "filter", "name": "forward", "hook": "forward", "policy": "drop"},
        {"family": "inet", "table": "filter", "name": "input", "hook": "input", "policy": "drop"},
    ]
    said = call(tables, backend="nftables")["warnings"]
    assert [warning[:50] for warning in said] == ["the chain forward of the table inet filter drops w"]
    assert call(tables, backend="nftables", forward=False)["warnings"] == []


# -- what is loaded at boot ---------------------------------------------------------------------


def test_only_our_rules_get_into_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rules.v4"
    mine = "# mine\n*nat\n:PREROUTING ACCEPT [7:420]\n[3:180] -A PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 8080\nCOMMIT\n"
    path.write_text(mine)
    path.chmod(0o600)
    tables = Tables(nft_4=FOREIGN)
    saving = {"persist": True, "rules_v4": str(path)}
    keeper = Keeper()
    result = call(tables, **saving, keeper=keeper)
    assert result["changed_files"] == [str(path)]
    assert keeper.commits == [
        "saving uncommitted changes before the rules for SMTP to the relay",
        "rules for SMTP to the relay",
    ]
    text = path.read_text()
    assert "DOCKER-USER" not in text
    assert [line for line in text.splitlines() if "POSTMASTER" not in line][:5] == mine.splitlines()
    assert path.stat().st_mode & 0o777 == 0o600
    assert not call(tables, **saving)["changed"]
    # Somebody saved all that was in the kernel: what is right stays as it stands there.
    path.write_text(text.replace(":POSTMASTER-SMTP-DNAT - [0:0]", ":POSTMASTER-SMTP-DNAT - [1:60]"))
    assert not call(tables, **saving)["changed"]
    call(tables, **saving, sources=[], state="absent")
    assert path.read_text() == mine


def test_a_file_that_is_not_there_comes_and_goes(tmp_path: Path) -> None:
    path = tmp_path / "iptables" / "rules.v4"
    tables = Tables()
    call(tables, persist=True, rules_v4=str(path))
    assert path.stat().st_mode & 0o777 == 0o640
    fresh = Tables()
    fresh.restore("iptables-nft", 4, path.read_text(), flush=True)
    assert not call(fresh)["changed"]
    call(tables, persist=True, rules_v4=str(path), sources=[], state="absent")
    assert not path.exists()


def test_a_file_that_would_not_be_loaded_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rules.v4"
    path.write_text("*nat\n:PREROUTING ACCEPT [0:0]\n")
    tables = Tables()
    message = f"{path}: the table nat does not end with COMMIT, so it is not loaded at boot: repair it first"
    with pytest.raises(SmtpDnatError, match=f"^{re.escape(message)}$"):
        call(tables, persist=True, rules_v4=str(path))
    assert tables.texts["iptables-nft", 4] == ""
    path.write_text("*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n")
    assert call(tables, persist=True, rules_v4=str(path))["changed"]


ELSEWHERE = (
    "at boot {path} is loaded into the tables of iptables-nft, which {command} is here, and not into those of "
    "iptables-legacy: run update-alternatives --set {command} /usr/sbin/{command}-legacy, or say backend: iptables-nft"
)


def test_a_file_that_is_loaded_into_the_other_tables_is_told() -> None:
    files = {"iptables": "/etc/iptables/rules.v4", "ip6tables": "/etc/iptables/rules.v6"}
    told = [ELSEWHERE.format(path=path, command=command) for command, path in files.items()]
    asked = {**BOTH, "backend": "iptables-legacy", "persist": True}
    assert call(Tables(), check_mode=True, **asked)["warnings"] == told
    assert call(Tables(), check_mode=True, **{**asked, "backend": "iptables-nft"})["warnings"] == []
    assert call(Tables(), check_mode=True, **{**asked, "persist": False})["warnings"] == []
    ufw = {**asked, "rules_v4": "/etc/ufw/before.rules", "rules_v6": "/nowhere/rules.v6"}
    assert call(Tables(), check_mode=True, **ufw)["warnings"] == [
        ELSEWHERE.format(path="/etc/ufw/before.rules", command="iptables")
    ]
    tables = Tables()
    tables.variant = "iptables-legacy"
    assert call(tables, check_mode=True, **asked)["warnings"] == []


def test_nothing_loads_the_file() -> None:
    tables = Tables()
    tables.loads = False
    message = (
        "nothing here loads /etc/iptables/rules.v4 at boot: install iptables-persistent, name the file that is loaded in "
        "rules_v4 and rules_v6, or say persist: false"
    )
    with pytest.raises(SmtpDnatError, match=f"^{re.escape(message)}$"):
        call(tables, persist=True)
    assert call(tables, check_mode=True, persist=True)["warnings"] == [message]
    assert tables.texts["iptables-nft", 4] == ""
    assert call(tables, persist=False)["changed"]


def test_nftables_loads_a_file_beside_its_own(tmp_path: Path) -> None:
    conf = tmp_path / "nftables.conf"
    tables = Tables()
    saving = {"persist": True, "backend": "nftables", "nftables_conf": str(conf)}
    with pytest.raises(SmtpDnatError, match="which would load the rules at boot, is not there: install nftables"):
        call(tables, **saving)
    conf.write_text("flush ruleset\n# no line feed at the end")
    result = call(tables, **saving, sources=["192.0.2.25", "192.0.2.26"])
    fragment = tmp_path / "nftables.d" / "postmaster-smtp-dnat.nft"
    assert result["changed_files"] == [str(fragment), str(conf)]
    assert conf.read_text() == f'flush ruleset\n# no line feed at the end\ninclude "{fragment}"\n'
    assert fragment.read_text().endswith(tables.native)
    assert not call(tables, **saving)["changed"]
    call(tables, **saving, sources=[], state="absent")
    assert not fragment.exists()
    assert conf.read_text() == "flush ruleset\n# no line feed at the end\n"


# -- texts of others ----------------------------------------------------------------------------

HOSTILE = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "*nat",
                "*filter",
                "COMMIT",
                ":PREROUTING ACCEPT [0:0]",
                ":FORWARD DROP [0:0]",
                "-A PREROUTING ",
                "-A FORWARD ",
                "\n",
                "\r",
                "-j POSTMASTER-SMTP-DNAT",
                ":POSTMASTER-SMTP-DNAT - [0:0]",
                "-A POSTMASTER-SMTP-DNAT ",
                '"',
                "\\",
                "[1:2] ",
                "until 9",
                *(
                    dnat("192.0.2.25/32"),
                    "--comment",
                    " ",
                    "! ",
                    "\u2028",
                    "\x0b",
                    "\x85",
                    "# Table `nat' is incompatible",
                ),
            ]
        ),
        st.text(max_size=8),
    )
).map("".join)


@given(HOSTILE)
def test_a_ruleset_is_printed_as_it_was_read(text: str) -> None:
    assert str(Ruleset(text)) == text


@given(HOSTILE)
def test_hostile_tables_end_in_a_result_or_a_sentence(text: str) -> None:
    tables = Tables(nft_4=text)
    try:
        first = call(tables, adopt=True, check_mode=True)
    except (SmtpDnatError, _iptables.IptablesError) as err:
        assert str(err)
    else:
        assert first["changed"] in (True, False)
    assert tables.texts["iptables-nft", 4] == text


@given(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\n")))
def test_words_are_read_as_they_were_quoted(word: str) -> None:
    assert _iptables.words(f"-m comment --comment {_iptables.quoted(word)} -j X")[3:-2] == [word]


# A chain with rules of our making goes into any text of the right form and comes out again.
COMMENTS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\n\r"), max_size=30)
RULES = st.builds(
    lambda chain, comment: f"-A {chain} -m comment --comment {_iptables.quoted(comment)} -j ACCEPT\n",
    st.sampled_from(["PREROUTING", "POSTROUTING", "other", "POSTMASTER-SMTP-DNAT2"]),
    COMMENTS,
)


@given(st.lists(RULES), st.booleans(), st.sampled_from(["", "# a comment\n", "*raw\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n"]))
def test_rules_of_others_are_the_same_after_ours_have_gone(rules: list[str], end: bool, before: str) -> None:
    chains = ":PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [5:6]\n:other - [0:0]\n:POSTMASTER-SMTP-DNAT2 - [0:0]\n"
    text = f"{before}*nat\n{chains}{''.join(rules)}COMMIT{chr(10) if end else ''}"
    ruleset = Ruleset(text)
    for chain in IPTABLES_CHAINS.values():
        ruleset.keep(chain, ["-j RETURN"])
    assert all(rule in str(ruleset) for rule in rules)
    for chain in IPTABLES_CHAINS.values():
        assert ruleset.rules(chain.table, chain.name) == ["-j RETURN"]
        ruleset.keep(chain, [])
    assert str(ruleset).rstrip("\n") == text.rstrip("\n")


@given(
    st.dictionaries(
        st.sampled_from(["sources", "destination", "relay", "relay_networks", "outgoing_address"]), st.lists(st.text())
    )
)
def test_hostile_options_are_refused_in_a_sentence(options: dict[str, list[str]]) -> None:
    tables = Tables()
    try:
        call(tables, check_mode=True, **options)
    except SmtpDnatError as err:
        assert re.match(r"(sources|destination|relay|relay_networks|outgoing_address)\b", str(err))
    assert not [one for one in tables.calls if not one.startswith("save")]


@given(st.text())
def test_hostile_output_of_nft(text: str) -> None:
    chains = nft_chains(f"table inet postmaster_smtp {{\n\tchain incoming {{\n{text}\n")
    assert isinstance(nft_text(chains, Nftables()), str)
    for rule in chains["incoming"]:
        Nftables().entry(rule)
        Iptables().entry(rule)


ENTRIES = [
    dnat("192.0.2.25/32"),
    "-s 192.0.2.0/24 -d 203.0.113.5 -p tcp --dport smtp -j DNAT --to-destination 10.1.0.102",
    "-s 2001:db8::/64 -d 2001:db8:5::5/128 -p tcp -m tcp --dport 25 -j DNAT --to-destination fd00::1",
]
NO_ENTRIES = [
    "! -s 192.0.2.25/32 -d 203.0.113.5/32 -p tcp -m tcp --dport 25 -j DNAT --to-destination 10.1.0.102:25",
    "-s 192.0.2.25/32 -p tcp -m tcp --dport 25 -j DNAT --to-destination 10.1.0.102:25",
    "-s 192.0.2.25/32 -d 203.0.113.0/24 -p tcp -m tcp --dport 25 -j DNAT --to-destination 10.1.0.102:25",
    "-s 192.0.2.25/32 -d 203.0.113.5/32 -i eth0 -p tcp -m tcp --dport 25 -j DNAT --to-destination 10.1.0.102:25",
    "-s 192.0.2.25/32 -d 203.0.113.5/32 -p tcp -m tcp --dport 26 -j DNAT --to-destination 10.1.0.102:25",
    "-s 192.0.2.25/32 -d 203.0.113.5/32 -p udp -m udp --dport 25 -j DNAT --to-destination 10.1.0.102:25",
    "-s 192.0.2.25/32 -d 203.0.113.5/32 -p tcp -m tcp --dport 25 -j DNAT --to-destination 10.1.0.102-10.1.0.103",
    "-s 192.0.2.25/32 -d 203.0.113.5/32 -p tcp -m tcp --dport 25 -m tcp --sport 1 -j DNAT --to-destination 10.1.0.102:25",
    "-s 192.0.2.25/32 -d 203.0.113.5/32 -p tcp -m tcp --dport 25 -j ACCEPT",
    "",
]


@pytest.mark.parametrize("rule", ENTRIES)
def test_a_translation_is_recognised(rule: str) -> None:
    entry = Iptables().entry(rule)
    assert entry is not None
    assert Iptables().entry(Iptables().translation(entry)) == entry
    assert Nftables().entry(Nftables().translation(entry)) == entry


@pytest.mark.parametrize("rule", NO_ENTRIES)
def test_what_is_no_such_translation(rule: str) -> None:
    assert Iptables().entry(rule) is None


# -- nftables' rules of others ------------------------------------------------------------------

PRE = (
    "table ip nat4 {{\n\tchain pre {{\n\t\ttype nat hook prerouting priority dstnat; policy accept;\n\t\t{}\n\t}}\n}}\n"
)
OF_NFT: list[tuple[str, list[str]]] = [
    ("ip saddr 192.0.2.1 ip daddr 203.0.113.5 tcp dport 25 dnat to 10.1.0.102:25 # handle 7", ["192.0.2.1/32"]),
    ("ip daddr 203.0.113.5 ip saddr 192.0.2.0/24 tcp dport smtp counter dnat to 10.1.0.102;", ["192.0.2.0/24"]),
    (
        'tcp dport 25 ip saddr {192.0.2.1,192.0.2.2} ip daddr 203.0.113.5 dnat to 10.1.0.102 comment "a # b" # c',
        ["192.0.2.1/32", "192.0.2.2/32"],
    ),
    ("ip daddr 203.0.113.5 tcp dport 25 counter packets 1 bytes 60 dnat to 10.1.0.102", ["0.0.0.0/0"]),
    ("ip6 saddr 2001:db8::/64 ip6 daddr 2001:db8:5::5 tcp dport 25 dnat ip6 to [fd00:1::102]:26", ["2001:db8::/64"]),
    ("ip saddr != 192.0.2.1 ip daddr 203.0.113.5 tcp dport 25 dnat to 10.1.0.102", []),
    ("ip saddr 192.0.2.1-192.0.2.9 ip daddr 203.0.113.5 tcp dport 25 dnat to 10.1.0.102", []),
    ("ip saddr @friends ip daddr 203.0.113.5 tcp dport 25 dnat to 10.1.0.102", []),
    ("ip saddr 192.0.2.1 ip saddr 192.0.2.1 ip daddr 203.0.113.5 tcp dport 25 dnat to 10.1.0.102", []),
    ("ip saddr 192.0.2.1 ip daddr 203.0.113.5 tcp dport 25 dnat to fd00:1::102", []),
    ("ip saddr 192.0.2.1 ip daddr 203.0.113.5 tcp dport 25 dnat to 10.1.0.102 persistent", []),
    ("ip saddr 192.0.2.1 tcp dport 25 dnat to 10.1.0.102", []),
    ("ip saddr 192.0.2.1 ip daddr 203.0.113.5 tcp dport 25 accept", []),
]


@pytest.mark.parametrize(("rule", "expected"), OF_NFT)
def test_translations_of_nftables_are_recognised(rule: str, expected: list[str]) -> None:
    (found,) = _nftables.prerouting(PRE.format(rule))
    assert [str(entry.source) for entry in _nftables.entries(found)] == expected
    assert found.handle == (7 if rule.endswith("handle 7") else None)


# A rule that is not understood, and whether it may be one of port 25 for the relay or the destination.
MAY_BE: list[tuple[str, bool]] = [
    ("ip saddr @friends ip daddr 203.0.113.5 tcp dport 25 dnat to 10.1.0.110", True),
    ("ip saddr @friends ip daddr 203.0.113.6 tcp dport 25 dnat to 10.1.0.102:2525", True),
    ("ip saddr @friends ip daddr 203.0.113.6 tcp dport 25 dnat to 10.1.0.110", False),
    ("ip saddr @friends ip daddr 203.0.113.5 tcp dport { 20-30, 80 } dnat to 10.1.0.110", True),
    ("ip saddr @friends ip daddr 203.0.113.5 tcp dport { 80, 443 } dnat to 10.1.0.102", False),
    ("ip saddr @friends ip daddr 203.0.113.5 tcp dport @mail dnat to 10.1.0.102", True),
    ("ip6 saddr @friends ip6 daddr 2001:db8:5::6 tcp dport 25 dnat to [fd00:1::102]:25", True),
    ("iifname eth0 ip saddr 192.0.2.1 ip daddr 203.0.113.5 tcp dport 25 redirect to :2525", False),
    ('ip saddr @friends ip daddr 203.0.113.6 tcp dport 25 dnat to 10.1.0.110 comment "10.1.0.102"', False),
    ("ip saddr 192.0.2.1 ip daddr 203.0.113.5 tcp dport 25 dnat to 10.1.0.102", False),  # it is understood
]


@pytest.mark.parametrize(("rule", "expected"), MAY_BE)
def test_rules_of_nftables_that_may_be_ours(rule: str, expected: bool) -> None:
    (found,) = _nftables.prerouting(PRE.format(rule))
    assert _nftables.unclear(found, {"203.0.113.5", "10.1.0.102", "fd00:1::102"}) == expected


def test_only_chains_that_translate_what_comes_in_are_looked_at() -> None:
    rule = "ip saddr 192.0.2.1 ip daddr 203.0.113.5 tcp dport 25 dnat to 10.1.0.102"
    assert len(_nftables.prerouting(PRE.format(rule))) == 1
    assert _nftables.prerouting(PRE.format(rule).replace("prerouting", "output")) == []
    assert _nftables.prerouting(PRE.format(rule).replace("ip nat4", "inet postmaster_smtp")) == []
    (unnamed,) = _nftables.prerouting(PRE.format(rule).replace("ip nat4", "nat4"))
    assert (unnamed.place, _nftables.without(PRE.format(rule), [unnamed])) == (
        "ip nat4 pre",
        PRE.format("\0").replace("\t\t\0\n", ""),
    )


NFT_PIECES = st.sampled_from(
    ["ip saddr ", "{ ", " }", "192.0.2.1", "dnat to ", "10.1.0.102", "tcp dport ", "25", "\n", '"', "#", "-", ":"]
)


@given(st.lists(NFT_PIECES | st.text(max_size=5), max_size=30).map("".join), st.booleans())
def test_hostile_rules_of_nftables_end_in_a_result_or_a_sentence(text: str, adopt: bool) -> None:
    tables = Tables()
    tables.native_others = PRE.format(text)
    try:
        call(tables, adopt=adopt, backend="nftables", check_mode=True)
    except SmtpDnatError as err:
        assert str(err).startswith("adopt: a rule is of no form")
    assert "nft" not in tables.calls
    found = _nftables.prerouting(tables.native_others)
    left = _nftables.without(tables.native_others, found)
    assert [line for line in left.split("\n") if line in tables.native_others.split("\n")] == left.split("\n")
