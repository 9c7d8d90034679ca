# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: what iptables-save prints, and how to change a few chains in it and nothing else. Private.

The format is that of iptables-save(8): ``*table``, ``:chain policy [packets:bytes]``, rules, ``COMMIT``. Text that is
not understood is kept as it is.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

# The chains that a table begins with, for a file that has no such table yet.
BUILT_IN = {"nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"), "filter": ("INPUT", "FORWARD", "OUTPUT")}
MADE_BY_US = "# The next table was added by postmaster.mail, and goes when its rules are gone."

CACHED = 8192  # rules whose meaning is remembered, as each is asked for several times

_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)', re.DOTALL)
_COUNTERS = re.compile(r"^\[[0-9]+:[0-9]+\] ")
_INCOMPATIBLE = re.compile(r"^# Table `([^']*)' is incompatible", re.MULTILINE)


class IptablesError(Exception):
    """Text that iptables-restore would not load; the message names the table."""


def _plain(line: str) -> str:
    """A line without its counters."""
    return _COUNTERS.sub("", line) if line.startswith("[") else line


def words(rule: str) -> list[str]:
    """The words of a rule, quotation marks and backslashes undone."""
    return [
        re.sub(r"\\(.)", r"\1", match[1], flags=re.DOTALL) if match[1] is not None else match[2]
        for match in _WORD.finditer(rule)
    ]


def quoted(word: str) -> str:
    """A word as a rule has it, in quotation marks if it needs them."""
    if word and re.fullmatch(r"[A-Za-z0-9_.,:/+!\[\]-]+", word):
        return word
    return '"' + re.sub(r'(["\\])', r"\\\1", word) + '"'


def _meant(word: str) -> str:
    if "." not in word and ":" not in word:
        return word
    try:
        return str(ipaddress.ip_network(word, strict=False))
    except ValueError:
        return word


@lru_cache(maxsize=CACHED)
def meaning(rule: str) -> tuple[str, ...]:
    """What two rules that differ in spelling alone have in common: no ``-m tcp``, addresses by value."""
    found = [_meant(word) for word in words(rule)]
    return tuple(
        word
        for index, word in enumerate(found)
        if not (word == "-m" and found[index + 1 : index + 2] == ["tcp"])
        and not (word == "tcp" and found[index - 1 : index] == ["-m"])
    )


def same(one: str, other: str) -> bool:
    """Whether two rules mean the same."""
    return one == other or meaning(one) == meaning(other)


def all_same(some: Sequence[str], others: Sequence[str]) -> bool:
    """Whether rules mean the same one by one."""
    return len(some) == len(others) and all(map(same, some, others))


def incompatible(text: str) -> list[str]:
    """Tables that iptables-nft cannot show, as nft put something into them."""
    return _INCOMPATIBLE.findall(text)


@dataclass(frozen=True)
class Chain:
    """A chain of ours: its rules, without ``-A`` and its name, and the rule that leads to it from ``hook``.

    Such rules in ``elsewhere``, which may be empty, are from before.
    """

    table: str
    name: str
    hook: str
    jump: str
    elsewhere: str = ""

    def is_jump(self, found: Sequence[str]) -> bool:
        """Whether the words of a rule of the hook lead here."""
        return self.name in found and any(
            word in ("-j", "-g") and found[index + 1 : index + 2] == [self.name] for index, word in enumerate(found)
        )


class Ruleset:
    """The text of iptables-save, by lines. ``str()`` gives back the very text."""

    def __init__(self, text: str) -> None:
        # Not by splitlines(), which also ends lines at characters that a comment may hold.
        self.lines = re.findall(r"[^\n]*\n|[^\n]+", text)

    def __str__(self) -> str:
        return "".join(self.lines)

    def span(self, table: str) -> tuple[int, int] | None:
        """The first line after ``*table`` and that of its COMMIT. Raises :class:`IptablesError` if there is none."""
        for first, line in enumerate(self.lines):
            if line.strip() != f"*{table}":
                continue
            for last in range(first + 1, len(self.lines)):
                if self.lines[last].strip() == "COMMIT":
                    return first + 1, last
                if self.lines[last].startswith("*"):
                    break
            raise IptablesError(f"the table {table} does not end with COMMIT")
        return None

    def rules(self, table: str, chain: str) -> list[str]:
        """The rules of a chain, without ``-A`` and its name."""
        start = f"-A {chain} "
        plain = (_plain(line) for line in self._of(table))
        return [line[len(start) :].rstrip("\r\n") for line in plain if line.startswith(start)]

    def has_chain(self, table: str, chain: str) -> bool:
        """Whether a chain is declared."""
        return any(line.startswith(f":{chain} ") for line in self._of(table))

    def has_rules(self) -> bool:
        """Whether there is a rule, a chain of somebody's own or a policy that drops."""
        return any(
            _plain(line).startswith("-A ") or (line.startswith(":") and line.split()[1:2] != ["ACCEPT"])
            for line in self.lines
        )

    def _of(self, table: str) -> list[str]:
        span = self.span(table)
        return [] if span is None else self.lines[span[0] : span[1]]

    # --- changing ---

    def keep(self, chain: Chain, rules: Sequence[str]) -> None:
        """Have a chain hold these rules, and one jump lead to it; without rules it is gone."""
        if self._is_so(chain, rules):
            return
        jumped = self._take_out(chain, stays=bool(rules))
        if not rules:
            self._tidy(chain)
            return
        first, last = self._made_span(chain.table)
        own = [f"-A {chain.name} {rule}\n" for rule in rules]
        self.lines[last:last] = own
        if not jumped:
            place = next((n for n in range(first, last) if _plain(self.lines[n]).startswith("-A ")), last)
            self.lines.insert(place, f"-A {chain.hook} {chain.jump}\n")
        # A built-in chain needs no line, and one would set its policy.
        for name in (chain.name, *(() if chain.hook in BUILT_IN[chain.table] else (chain.hook,))):
            if not self.has_chain(chain.table, name):
                place = 1 + max((n for n in range(first, last) if self.lines[n].startswith(":")), default=first - 1)
                self.lines.insert(place, f":{name} - [0:0]\n")

    def remove(self, table: str, chain: str, rules: Sequence[str]) -> None:
        """Take out rules of somebody else's chain, each once."""
        leaving = list(rules)
        span = self.span(table)
        for number in range(*(span or (0, 0))):
            line = _plain(self.lines[number]).rstrip("\r\n")
            rule = line[len(f"-A {chain} ") :]
            if line.startswith(f"-A {chain} ") and rule in leaving:
                leaving.remove(rule)
                self.lines[number] = ""
        self.lines = [line for line in self.lines if line]

    def _is_so(self, chain: Chain, rules: Sequence[str]) -> bool:
        there = self.rules(chain.table, chain.name)
        declared = self.has_chain(chain.table, chain.name)
        jumps, former = jumps_of(self, chain), former_jumps_of(self, chain)
        if not rules or former:
            return not (there or declared or jumps or former)
        return declared and all_same(there, rules) and all_same(jumps, [chain.jump])

    def _take_out(self, chain: Chain, *, stays: bool) -> bool:
        """Take the chain's lines out; its jump stays where it is if it is right and ``stays``, which is returned."""
        jumped = False
        span = self.span(chain.table)
        for number in range(*(span or (0, 0))):
            line = _plain(self.lines[number])
            if line.startswith((f":{chain.name} ", f"-A {chain.name} ")):
                self.lines[number] = ""
            elif line.startswith((f"-A {chain.hook} ", f"-A {chain.elsewhere} ")):
                dummy, hook, rule = line.split(" ", 2)
                if not chain.is_jump(words(rule)):
                    continue
                if stays and not jumped and hook == chain.hook and same(rule, chain.jump):
                    jumped = True
                else:
                    self.lines[number] = ""
        self.lines = [line for line in self.lines if line]
        return jumped

    def _made_span(self, table: str) -> tuple[int, int]:
        """Where the table is; it is added if the text has none."""
        if (span := self.span(table)) is not None:
            return span
        if self.lines and not self.lines[-1].endswith("\n"):
            self.lines[-1] += "\n"
        policies = [f":{name} ACCEPT [0:0]\n" for name in BUILT_IN[table]]
        self.lines += [f"{MADE_BY_US}\n", f"*{table}\n", *policies, "COMMIT\n"]
        return self._made_span(table)

    def _tidy(self, chain: Chain) -> None:
        """Take out the hook if it is Docker's and holds nothing, and a table that we added and that holds nothing."""
        span = self.span(chain.table)
        if span is None:
            return
        first, last = span
        used = any(chain.hook in words(line) for line in self.lines[first:last] if not line.startswith(":"))
        if chain.hook not in BUILT_IN[chain.table] and not used:
            self.lines[first:last] = [
                line for line in self.lines[first:last] if line.rstrip() != f":{chain.hook} - [0:0]"
            ]
            first, last = self.span(chain.table) or (first, last)
        ours = first >= 2 and self.lines[first - 2].rstrip() == MADE_BY_US
        if ours and all(line.startswith(":") and line.split()[1] == "ACCEPT" for line in self.lines[first:last]):
            del self.lines[first - 2 : last + 1]


def jumps_of(ruleset: Ruleset, chain: Chain) -> list[str]:
    """The rules of the hook that lead to a chain."""
    return _jumps(ruleset, chain, chain.hook)


def former_jumps_of(ruleset: Ruleset, chain: Chain) -> list[str]:
    """The rules that lead to a chain from where it used to be asked."""
    return _jumps(ruleset, chain, chain.elsewhere) if chain.elsewhere else []


def _jumps(ruleset: Ruleset, chain: Chain, hook: str) -> list[str]:
    found = ruleset.rules(chain.table, hook)
    return [rule for rule in found if chain.name in rule and chain.is_jump(words(rule))]


def restore_lines(
    ruleset: Ruleset, wanted: Sequence[tuple[Chain, Sequence[str]]], gone: Sequence[tuple[str, str, str]] = ()
) -> str:
    """What ``iptables-restore --noflush`` needs to have chains hold their rules; empty if they do.

    ``gone`` are rules of others that are taken out: table, chain and rule. A chain that is declared is emptied by that,
    in the same transaction.
    """
    by_table: dict[str, list[str]] = {}
    for table, chain, rule in gone:
        by_table.setdefault(table, []).append(f"-D {chain} {rule}")
    for one, rules in wanted:
        lines = _chain_lines(ruleset, one, rules)
        if lines:
            by_table.setdefault(one.table, []).extend(lines)
    return "".join("\n".join([f"*{table}", *lines, "COMMIT", ""]) for table, lines in by_table.items())


def _chain_lines(ruleset: Ruleset, chain: Chain, rules: Sequence[str]) -> list[str]:
    there = ruleset.rules(chain.table, chain.name)
    declared = ruleset.has_chain(chain.table, chain.name)
    right = [rule for rule in jumps_of(ruleset, chain) if same(rule, chain.jump)]
    leaving = [rule for rule in jumps_of(ruleset, chain) if not same(rule, chain.jump)]
    if len(right) > 1 or not rules:  # of several the first would be taken out, and the last need not be asked in time
        leaving, right = [*leaving, *right], []
    lines = [f"-D {chain.hook} {rule}" for rule in leaving]
    lines += [f"-D {chain.elsewhere} {rule}" for rule in former_jumps_of(ruleset, chain)]
    if rules:
        if not declared or not all_same(there, rules):
            lines += [f":{chain.name} - [0:0]", *(f"-A {chain.name} {rule}" for rule in rules)]
        if not right:
            lines.append(f"-I {chain.hook} 1 {chain.jump}")
    elif declared:
        lines += [f":{chain.name} - [0:0]", f"-X {chain.name}"]
    return lines
