# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks that may send through a relay."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.postmaster.mail.plugins.filter.trusted_networks import trusted_networks


@pytest.mark.parametrize(
    ("networks", "plain", "postfix"),
    [
        ([], [], []),
        (["192.0.2.0/28"], ["192.0.2.0/28"], ["192.0.2.0/28"]),
        (["192.0.2.1"], ["192.0.2.1/32"], ["192.0.2.1/32"]),
        (["2001:db8::/64"], ["2001:db8::/64"], ["[2001:db8::]/64"]),
        (["[2001:db8::]/64", "2001:DB8::/64"], ["2001:db8::/64"], ["[2001:db8::]/64"]),
        (["::ffff:192.0.2.0/124"], ["192.0.2.0/28"], ["192.0.2.0/28"]),
        (["::1"], ["::1/128"], ["[::1]/128"]),
        (
            ["10.0.0.0/8", "172.16.0.0/12", "fc00::/7"],
            ["10.0.0.0/8", "172.16.0.0/12", "fc00::/7"],
            ["10.0.0.0/8", "172.16.0.0/12", "[fc00::]/7"],
        ),
        ([" 192.0.2.0/28 "], ["192.0.2.0/28"], ["192.0.2.0/28"]),
    ],
)
def test_notations(networks: list[str], plain: list[str], postfix: list[str]) -> None:
    assert trusted_networks(networks) == plain
    assert trusted_networks(networks, notation="postfix") == postfix


WIDE = "would let a part of the internet send through this host: name your own networks, none wider than"


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("0.0.0.0/0", f"0.0.0.0/0 {WIDE} /16"),
        ("128.0.0.0/1", f"128.0.0.0/1 {WIDE} /16"),
        ("172.16.0.0/11", "'172.16.0.0/11' has bits set beyond its prefix: did you mean 172.0.0.0/11?"),
        ("172.0.0.0/8", f"172.0.0.0/8 {WIDE} /16"),
        ("::/0", f"::/0 {WIDE} /32"),
        ("::ffff:0:0/96", f"0.0.0.0/0 {WIDE} /16"),
        ("2000::/3", f"2000::/3 {WIDE} /32"),
        ("192.0.2.1/24", "'192.0.2.1/24' has bits set beyond its prefix: did you mean 192.0.2.0/24?"),
        ("2001:db8::1/64", "'2001:db8::1/64' has bits set beyond its prefix: did you mean 2001:db8::/64?"),
        ("192.0.2", "'192.0.2' is no network: write one such as 192.0.2.0/28 or 2001:db8::/64"),
        ("192.0.2.0/33", "'192.0.2.0/33' is no network: write one such as 192.0.2.0/28 or 2001:db8::/64"),
        ("relay.example.org", "'relay.example.org' is no network: write one such as 192.0.2.0/28 or 2001:db8::/64"),
        ("", "'' is no network: write one such as 192.0.2.0/28 or 2001:db8::/64"),
        (
            "192.0.2.0/28, 0.0.0.0/0",
            "'192.0.2.0/28, 0.0.0.0/0' is no network: write one such as 192.0.2.0/28 or 2001:db8::/64",
        ),
    ],
)
def test_refused(network: str, message: str) -> None:
    with pytest.raises(AnsibleFilterError) as caught:
        trusted_networks(["192.0.2.0/28", network])
    assert str(caught.value) == message


def test_text_is_no_list() -> None:
    with pytest.raises(AnsibleFilterError, match="must be a list, not the text '192.0.2.0/28'"):
        trusted_networks("192.0.2.0/28")
    with pytest.raises(AnsibleFilterError, match="no notation 'bind'"):
        trusted_networks([], notation="bind")
