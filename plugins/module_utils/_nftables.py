# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: translations that somebody wrote in tables of nftables, as nft lists them and as files have them. Private.

Only what stands in chains with ``type nat hook prerouting`` is looked at, a rule a line. Other text is left as it is.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from ansible_collections.postmaster.mail.plugins.module_utils._networks import IPNetwork
from ansible_collections.postmaster.mail.plugins.module_utils._smtp_dnat import Entry
from ansible_collections.postmaster.mail.plugins.module_utils._smtp_dnat_rules import TABLE, relay_and_port

_TABLE = re.compile(r"(?:add )?table (?:(ip|ip6|inet|arp|bridge|netdev) )?(\S+) \{")
_CHAIN = re.compile(r"chain (\S+) \{")
_BASE = re.compile(r"type nat hook prerouting\b")
_HANDLE = re.compile(r" # handle ([0-9]+)$")
# What a line of a file says after the rule; a # in a comment of nft's stands in quotation marks.
_REMARK = re.compile(r'^((?:[^"#]|"[^"]*")*)#.*$')
_PART = re.compile(
    r"(?:(?P<source>ip6? saddr) (?P<from>\{[^{}]*\}|[0-9A-Fa-f.:/]+)"
    r"|(?P<destination>ip6? daddr) (?P<at>[0-9A-Fa-f.:]+)"
    r"|tcp dport (?P<port>25|smtp)|dnat(?: ip6?)? to (?P<relay>[0-9A-Fa-f.:\[\]]+)"
    r'|(?:meta l4proto|ip protocol) tcp|counter(?: packets [0-9]+ bytes [0-9]+)?|comment "[^"]*")(?:\s+|$)'
)
_EVERYBODY = {4: ipaddress.ip_network("0.0.0.0/0"), 6: ipaddress.ip_network("::/0")}
_DPORT = re.compile(r"dport (\{[^{}]*\}|\S+)")


@dataclass(frozen=True)
class Rule:
    """One rule of somebody else's; ``handle`` is nft's number of it in the kernel, ``line`` that of the text."""

    place: str  # family, table and chain
    text: str
    line: int
    handle: int | None = None

    def __str__(self) -> str:
        return f"{self.place} {self.text}"

    @property
    def deletion(self) -> str:
        """The command for nft that takes it out of the kernel."""
        return f"delete rule {self.place} handle {self.handle}"


def prerouting(text: str) -> list[Rule]:
    """The rules of all chains that translate what comes in, but those of our own table."""
    found: list[Rule] = []
    for place, lines in _chains(text):
        if not place.startswith(f"inet {TABLE} ") and any(_BASE.match(said) for dummy, said in lines):
            found += [_rule(place, number, said) for number, said in lines if not said.startswith("type ")]
    return found


def _chains(text: str) -> Iterator[tuple[str, list[tuple[int, str]]]]:
    """Family, table and chain, and the numbered lines in it."""
    table = chain = ""
    lines: list[tuple[int, str]] = []
    for number, line in enumerate(text.split("\n")):
        said = line.strip()
        if match := _TABLE.match(said):
            table, chain = f"{match[1] or 'ip'} {match[2]}", ""
        elif match := _CHAIN.match(said):
            chain, lines = match[1], []
        elif said.startswith("}") and chain:
            yield f"{table} {chain}", lines
            chain = ""
        elif chain and said and not said.startswith("#"):
            lines.append((number, said))


def _rule(place: str, number: int, said: str) -> Rule:
    handle = _HANDLE.search(said)
    if handle is not None:
        return Rule(place, said[: handle.start()].strip(), number, int(handle[1]))
    return Rule(place, _REMARK.sub(r"\1", said).strip().rstrip("; "), number)


def entries(rule: Rule) -> list[Entry]:
    """The translations that a rule of the form ``ip saddr X ip daddr Y tcp dport 25 dnat to Z`` is; X may be a set.

    One without ``saddr`` is for everybody. Others give none.
    """
    said: dict[str, str] = {}
    end = 0
    while end < len(rule.text):
        match = _PART.match(rule.text, end)
        if match is None:
            return []
        given = {name: value for name, value in match.groupdict().items() if value is not None}
        if said.keys() & given.keys():
            return []
        said |= given
        end = match.end()
    if not {"destination", "port", "relay"} <= said.keys():
        return []
    try:
        return _entries(said)
    except ValueError:
        return []


def _entries(said: dict[str, str]) -> list[Entry]:
    """Raises :class:`ValueError` for ranges and the like."""
    destination = ipaddress.ip_address(said["at"])
    relay, port = relay_and_port(said["relay"])
    sources: list[IPNetwork] = [_EVERYBODY[destination.version]]
    if "from" in said:
        texts = (one.strip() for one in said["from"].strip("{}").split(","))
        sources = [ipaddress.ip_network(one, strict=False) for one in texts if one]
    if any(one.version != destination.version for one in (*sources, relay)):
        return []
    return [Entry(source, destination, relay, port) for source in sources]


def unclear(rule: Rule, addresses: Collection[str]) -> bool:
    """Whether a rule that is not understood may lead from or to one of the addresses, by port 25."""
    named = {form for word in _words(rule.text) for form in (word, word.strip("[]"), _without_port(word))}
    if "dnat" not in named or not named & set(addresses) or entries(rule):
        return False
    ports = _DPORT.findall(rule.text)
    return bool(ports) and any(_may_be_25(one) for one in ports)


def _words(text: str) -> list[str]:
    return re.findall(r"[^\s{},;]+", re.sub(r'"[^"]*"', "", text))


def _without_port(word: str) -> str:
    return word.rpartition(":")[0].strip("[]")


def _may_be_25(value: str) -> bool:
    for one in _words(value):
        first, dash, last = one.partition("-")
        if one == "smtp" or not first.isdecimal() or (dash and not last.isdecimal()):
            return True
        if int(first) <= 25 <= int(last or first):
            return True
    return False


def without(text: str, rules: Sequence[Rule]) -> str:
    """A file without the lines of some rules of it."""
    leaving = {rule.line for rule in rules}
    return "\n".join(line for number, line in enumerate(text.split("\n")) if number not in leaving)
