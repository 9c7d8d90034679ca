# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists of a Proxmox Mail Gateway: what may be asked for, and the requests that bring it about."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils._pmg import (
    NETWORKS,
    Change,
    Item,
    PmgError,
    check_text,
    check_trust,
    network_key,
    once_each,
    plan,
)
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("192.0.2.0/24", "192.0.2.0/24"),
        (" 192.0.2.7 ", "192.0.2.7/32"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("10.0.0.0/8", "10.0.0.0/8"),
    ],
)
def test_a_network_as_the_gateway_takes_it(text: str, key: str) -> None:
    assert network_key(text) == key


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("192.0.2.7/24", "192.0.2.7/24 has bits set beyond its prefix: did you mean 192.0.2.0/24?"),
        ("10.0.0.0/7", "10.0.0.0/7 is wider than /8, which no Proxmox Mail Gateway takes: name narrower ones"),
        ("::/0", "::/0 is wider than /8, which no Proxmox Mail Gateway takes: name narrower ones"),
        ("192.0.2.300/24", "'192.0.2.300/24' is no network: write one such as 192.0.2.0/28 or 2001:db8::/64"),
        ("", "'' is no network: write one such as 192.0.2.0/28 or 2001:db8::/64"),
        ("192.0.2.0/255.255.255.0", "'192.0.2.0/255.255.255.0' has no prefix length: write it as 192.0.2.0/24, not with a mask of dots"),
        ("pmg.example.org", "'pmg.example.org' is no network: write one such as 192.0.2.0/28 or 2001:db8::/64"),
    ],
)  # fmt: skip
def test_what_is_no_network_is_told(text: str, said: str) -> None:
    with pytest.raises(PmgError) as caught:
        network_key(text)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    "key",
    ["10.0.0.0/8", "10.1.0.1/32", "172.16.0.0/12", "192.168.3.0/24", "fd00::/8", "::1/128", "::ffff:10.0.0.0/104"],
)
def test_private_networks_are_not_trusted_on_a_public_port(key: str) -> None:
    with pytest.raises(PmgError, match=f"^{key} is private: .+ say reachable_from_outside: false$"):
        check_trust(key)


@pytest.mark.parametrize(("key", "wide"), [("193.0.0.0/8", True), ("193.0.0.0/16", False), ("2a00::/16", True), ("2a00:db8::/32", False)])  # fmt: skip
def test_nor_is_a_part_of_the_internet(key: str, wide: bool) -> None:
    if wide:
        with pytest.raises(PmgError, match=f"^{key} would let a part of the internet send"):
            check_trust(key)
    else:
        check_trust(key)


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "\0", "tab\there"])
def test_no_line_breaks_in_a_comment(text: str) -> None:
    with pytest.raises(PmgError, match="^the comment has a line break or another control character"):
        check_text("the comment", text)
    assert check_text("the comment", " # ü x ") == "# ü x"


def test_each_once() -> None:
    once_each(NETWORKS, ["192.0.2.0/24", "192.0.2.0/25"])
    with pytest.raises(PmgError, match=r"^the network 192.0.2.0/24 and 192.0.2.0/24 is given 2 times: give it once$"):
        once_each(NETWORKS, ["192.0.2.0/24", "192.0.2.0/24"])


def entry(cidr: str, comment: str = "") -> dict[str, str]:
    return {"cidr": cidr, "comment": comment}


def short(changes: Iterable[Change]) -> list[str]:
    """Method, path's end and parameters."""
    found = []
    for one in changes:
        end = unquote(one.path.removeprefix("/config/mynetworks"))
        found.append(" ".join([one.method, end, *(f"{name}={text}" for name, text in one.params.items())]))
    return found


@pytest.mark.parametrize(
    ("present", "options", "expected"),
    [
        ([], {"wanted": [Item("192.0.2.0/24", {"comment": "x"})]}, ["POST  cidr=192.0.2.0/24 comment=x"]),
        ([], {"wanted": [Item("192.0.2.0/24", {"comment": ""})]}, ["POST  cidr=192.0.2.0/24"]),
        ([entry("192.0.2.0/24", "x")], {"wanted": [Item("192.0.2.0/24")]}, []),
        ([entry("192.0.2.0/24", "x")], {"wanted": [Item("192.0.2.0/24", {"comment": ""})]}, ["PUT /192.0.2.0/24 comment="]),
        # Another spelling is the same network, and stays as it is written.
        ([entry("192.0.2.7/24", "x")], {"wanted": [Item("192.0.2.0/24", {"comment": "y"})]}, ["PUT /192.0.2.7/24 comment=y"]),
        ([entry("2001:DB8::/32")], {"wanted": [Item("2001:db8::/32")]}, []),
        # Where there are two, that which was asked for counts; the other is one too many where all else goes.
        ([entry("192.0.2.7/24"), entry("192.0.2.0/24", "x")], {"wanted": [Item("192.0.2.0/24", {"comment": "x"})]}, []),
        ([entry("192.0.2.7/24"), entry("192.0.2.0/24")], {"wanted": [Item("192.0.2.0/24")], "purge": True}, ["DELETE /192.0.2.7/24"]),
        # Removing takes every spelling.
        ([entry("192.0.2.7/24"), entry("192.0.2.0/24"), entry("192.0.3.0/24")], {"unwanted": ["192.0.2.0/24"]},
         ["DELETE /192.0.2.0/24", "DELETE /192.0.2.7/24"]),
        ([entry("192.0.2.0/24")], {"unwanted": ["192.0.3.0/24"]}, []),
        ([entry("192.0.2.0/24")], {}, []),
        # Additions come first: nobody is locked out who is to stay.
        ([entry("192.0.2.0/24"), entry("192.0.4.0/24")], {"wanted": [Item("192.0.3.0/24"), Item("192.0.4.0/24", {"comment": "x"})], "purge": True},
         ["POST  cidr=192.0.3.0/24", "PUT /192.0.4.0/24 comment=x", "DELETE /192.0.2.0/24"]),
    ],
)  # fmt: skip
def test_the_plan(present: list[dict[str, str]], options: dict[str, Any], expected: list[str]) -> None:
    assert short(plan(NETWORKS, present, **options)) == expected


SPELLINGS = (
    "192.0.2.0/24",
    "192.0.2.9/24",
    "192.0.3.0/24",
    "2001:db8::/32",
    "2001:DB8::/32",
    "2001:DB8:0::1/32",
    "junk",
)
COMMENTS = st.sampled_from(["", "a", "b"])
PRESENT = st.dictionaries(st.sampled_from(SPELLINGS), COMMENTS)
WANTED = st.dictionaries(st.sampled_from([network_key("192.0.2.0/24"), "192.0.3.0/24", "2001:db8::/32", "192.0.9.0/24"]), COMMENTS | st.none())  # fmt: skip


def carried_out(present: Mapping[str, str], changes: Iterable[Change]) -> dict[str, str]:
    """The list after the requests, as the gateway would do them."""
    there = dict(present)
    for one in changes:
        key = unquote(one.path.removeprefix("/config/mynetworks/")) if one.method != "POST" else one.params["cidr"]
        assert (key in there) is (one.method != "POST"), "a request that the gateway refuses"
        if one.method == "DELETE":
            del there[key]
        else:
            there[key] = one.params.get("comment", "")
    return there


@given(PRESENT, WANTED, st.booleans())
def test_a_plan_reaches_what_is_wanted_and_then_rests(
    present: dict[str, str], wanted: dict[str, str | None], purge: bool
) -> None:
    items = [Item(key, {} if comment is None else {"comment": comment}) for key, comment in wanted.items()]
    after = carried_out(present, plan(NETWORKS, [entry(*one) for one in present.items()], wanted=items, purge=purge))
    assert plan(NETWORKS, [entry(*one) for one in after.items()], wanted=items, purge=purge) == []
    meant = {str(ipaddress.ip_network(key, strict=False)) for key in after if key != "junk"}
    assert set(wanted) <= meant
    if purge:
        assert len(after) == len(wanted)
    else:
        assert set(present) <= set(after)


@given(st.text() | st.from_regex(r"[0-9a-fA-F.:]{1,40}(/[0-9]{1,4})?", fullmatch=True))
def test_any_text_is_a_network_or_refused(text: str) -> None:
    try:
        key = network_key(text)
    except PmgError as err:
        assert "\n" not in str(err)
        return
    assert network_key(key) == key
