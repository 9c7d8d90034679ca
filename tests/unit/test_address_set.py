# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets of addresses, against the standard library's."""

from __future__ import annotations

import ipaddress

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils._address_set import EVERYTHING, AddressSet, network_text
from hypothesis import given
from hypothesis import strategies as st

# A few bits that matter: networks that touch, overlap and hold one another.
FOUR = st.tuples(st.just(False), st.integers(0, 63).map(lambda low: 0xC0000200 + low), st.integers(24, 32))
SIX = st.tuples(st.just(True), st.integers(0, 63).map(lambda low: (0x20010DB8 << 96) + low), st.integers(120, 128))
WIDE = st.tuples(st.booleans(), st.just(0), st.integers(0, 2))
SETS = st.lists(st.one_of(FOUR, SIX, WIDE), max_size=8)
POINTS = [(False, 0xC0000200 + low) for low in range(-1, 66)] + [(True, (0x20010DB8 << 96) + low) for low in range(66)]


def aligned(networks: list[tuple[bool, int, int]]) -> list[tuple[bool, int, int]]:
    return [
        (six, number >> (bits - length) << (bits - length), length)
        for six, number, length in networks
        for bits in [128 if six else 32]
    ]


def inside(networks: list[tuple[bool, int, int]], six: bool, number: int) -> bool:
    return any(
        one[0] == six and one[1] == number >> (b - one[2]) << (b - one[2])
        for one in networks
        for b in [128 if six else 32]
    )


@given(SETS, SETS)
def test_union_and_difference(one: list[tuple[bool, int, int]], other: list[tuple[bool, int, int]]) -> None:
    one, other = aligned(one), aligned(other)
    both, rest = AddressSet.of(one) | AddressSet.of(other), AddressSet.of(one) - AddressSet.of(other)
    for six, number in POINTS:
        bits = 128 if six else 32
        assert both.holds(six, number, bits) == (inside(one, six, number) or inside(other, six, number))
        assert rest.holds(six, number, bits) == (inside(one, six, number) and not inside(other, six, number))
    assert not AddressSet.of(one) - (AddressSet.of(one) | AddressSet.of(other))


@given(SETS)
def test_the_fewest_networks(networks: list[tuple[bool, int, int]]) -> None:
    found = [ipaddress.ip_network(network_text(*one)) for one in AddressSet.of(networks).networks()]
    given_ = [ipaddress.ip_network(network_text(*one)) for one in aligned(networks)]
    four = ipaddress.collapse_addresses(one for one in given_ if one.version == 4)
    six = ipaddress.collapse_addresses(one for one in given_ if one.version == 6)
    assert found == [*four, *six]


@pytest.mark.parametrize(
    ("number", "length", "held"), [(0xC0000200, 24, True), (0xC0000200, 23, False), (0xC0000300, 24, False)]
)
def test_holding_networks(number: int, length: int, held: bool) -> None:
    assert AddressSet.of([(False, 0xC0000200, 24)]).holds(False, number, length) is held
    assert EVERYTHING.holds(False, number, length) and EVERYTHING.holds(True, number, length)
    assert not AddressSet()
