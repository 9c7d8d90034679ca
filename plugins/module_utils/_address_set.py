# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Value: a set of IP addresses of both families, with the fewest networks that make it up (RFC 4632). Private."""

from __future__ import annotations

import socket
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

Ranges: TypeAlias = "tuple[tuple[int, int], ...]"  # first and last address of each, in order, with gaps between them
BITS = (32, 128)  # by whether it is IPv6


@dataclass(frozen=True)
class AddressSet:
    """Any set of addresses: ``four`` and ``six`` are its ranges of IPv4 and IPv6."""

    four: Ranges = ()
    six: Ranges = ()

    @classmethod
    def of(cls, networks: Iterable[tuple[bool, int, int]]) -> AddressSet:
        """The union of networks, each given as whether it is IPv6, its number and its prefix length."""
        ranges: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
        for six, number, length in networks:
            size = 1 << (BITS[six] - length)
            first = number // size * size
            ranges[six].append((first, first + size - 1))
        return cls(_joined(ranges[False]), _joined(ranges[True]))

    def __bool__(self) -> bool:
        return bool(self.four or self.six)

    def __or__(self, other: AddressSet) -> AddressSet:
        if not (self and other):
            return self or other
        return AddressSet(_joined([*self.four, *other.four]), _joined([*self.six, *other.six]))

    def __sub__(self, other: AddressSet) -> AddressSet:
        return AddressSet(_without(self.four, other.four), _without(self.six, other.six)) if other else self

    def holds(self, six: bool, number: int, length: int) -> bool:
        """Whether the whole network is in the set."""
        ranges = self.six if six else self.four
        place = bisect_right(ranges, (number, 1 << BITS[six])) - 1
        return place >= 0 and ranges[place][1] >= number + (1 << (BITS[six] - length)) - 1

    def networks(self) -> Iterator[tuple[bool, int, int]]:
        """The fewest networks that make up the set, IPv4 first, in order."""
        for six, ranges in ((False, self.four), (True, self.six)):
            for first, last in ranges:
                yield from _networks(six, first, last)


NOBODY = AddressSet()
EVERYTHING = AddressSet(((0, (1 << 32) - 1),), ((0, (1 << 128) - 1),))


def network_text(six: bool, number: int, length: int) -> str:
    """A network as people write it; a single address without its prefix length."""
    family = socket.AF_INET6 if six else socket.AF_INET
    text = socket.inet_ntop(family, number.to_bytes(BITS[six] // 8, "big"))
    return text if length == BITS[six] else f"{text}/{length}"


def _joined(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """``ranges`` in order, those that touch or overlap made one."""
    made: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if made and first <= made[-1][1] + 1:
            if last > made[-1][1]:
                made[-1] = (made[-1][0], last)
        else:
            made.append((first, last))
    return tuple(made)


def _without(ranges: Ranges, gone: Ranges) -> Ranges:
    made: list[tuple[int, int]] = []
    holes = iter(gone)
    hole = next(holes, None)
    for first, last in ranges:
        while hole is not None and hole[1] < first:
            hole = next(holes, None)
        while hole is not None and hole[0] <= last:
            if hole[0] > first:
                made.append((first, hole[0] - 1))
            first = hole[1] + 1
            if first > last:
                break
            hole = next(holes, None)
        if first <= last:
            made.append((first, last))
    return tuple(made)


def _networks(six: bool, first: int, last: int) -> Iterator[tuple[bool, int, int]]:
    """The networks of one range: each as large as its place and what is left of the range allow."""
    bits = BITS[six]
    while first <= last:
        fitting = (last - first + 1).bit_length() - 1
        aligned = (first & -first).bit_length() - 1 if first else bits
        size = min(fitting, aligned)
        yield six, first, bits - size
        first += 1 << size
