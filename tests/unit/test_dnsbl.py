# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""DNS lists of addresses: what is asked, which answers count, and that no key is ever said."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.postmaster.mail.plugins.filter.dnsbl_sites import dnsbl_sites
from ansible_collections.postmaster.mail.plugins.module_utils._dnsbl import Dnsbl, DnsblError, judge
from hypothesis import given
from hypothesis import strategies as st

KEY = "abcdefghijklmnop1234567890"
SITES = [
    ({"zone": "zen.spamhaus.org", "replies": "127.0.0.[2..11]"}, "zen.spamhaus.org=127.0.0.[2..11]"),
    ({"zone": "Bl.SpamCop.net."}, "bl.spamcop.net=127.0.0.[2..254]"),
    ({"zone": "list.dnswl.example", "replies": "127.0.[0..255].[1;2;3]"}, "list.dnswl.example=127.0.[0..255].[1;2;3]"),
    ({"zone": "zen.dq.spamhaus.net", "key": KEY, "replies": "127.0.0.2"}, f"{KEY}.zen.dq.spamhaus.net=127.0.0.2"),
]
REPLIES = "are no replies that tell of a listing: give some within 127.0.x.x, such as 127.0.0.[2..254] (127.255.255.x means that the question was refused)"
BAD = [
    ({"zone": "zen"}, "'zen' is no zone of a list: give one such as zen.spamhaus.org"),
    ({"zone": "bl.example.org=127.0.0.2, permit"}, "'bl.example.org=127.0.0.2, permit' is no zone of a list: give one such as zen.spamhaus.org"),
    ({"zone": "cbl.abuseat.org"}, "cbl.abuseat.org has been retired: name zen.spamhaus.org in its place"),
    ({"zone": "dnsbl.sorbs.net"}, "dnsbl.sorbs.net has been retired: leave it out"),
    ({"zone": "zen.dq.spamhaus.net", "key": "se cret"}, "the key of zen.dq.spamhaus.net is none: it has 8 to 63 letters and digits"),
    ({"zone": "bl.example.org", "replies": "127.255.255.254"}, f"bl.example.org: '127.255.255.254' {REPLIES}"),
    ({"zone": "bl.example.org", "replies": "127.[0..255].[0..255].[0..255]"}, f"bl.example.org: '127.[0..255].[0..255].[0..255]' {REPLIES}"),
    ({"zone": "bl.example.org", "replies": "127.0.0.[2..300]"}, f"bl.example.org: '127.0.0.[2..300]' {REPLIES}"),
]  # fmt: skip
ANSWERS = [
    (["127.0.0.2", "127.0.0.4"], [], ""),
    ([], [], "does not list its own test address 127.0.0.2: it is gone, or nobody answers for it here"),
    (["127.0.0.2"], ["127.0.0.2"], "lists 127.0.0.1, which means that it lists everybody: do not ask it"),
    (["127.255.255.254"], [], "answers 127.255.255.254: it does not answer public or open resolvers: run a resolver on the host, or ask with a key"),
    (["127.255.255.252"], [], "answers 127.255.255.252: the name of the list or its key is mistyped"),
    (["127.0.0.2"], ["127.255.255.255"], "answers 127.255.255.255: it has been asked too often: get a key of your own"),
]  # fmt: skip


@pytest.mark.parametrize(("stated", "site"), SITES)
def test_what_is_asked(stated: dict[str, str], site: str) -> None:
    assert Dnsbl.of(stated).site == site


@pytest.mark.parametrize(("stated", "message"), BAD)
def test_what_cannot_be_asked(stated: dict[str, str], message: str) -> None:
    with pytest.raises(DnsblError) as caught:
        Dnsbl.of(stated)
    assert str(caught.value) == message


@pytest.mark.parametrize(("listed", "harmless", "trouble"), ANSWERS)
def test_what_answers_mean(listed: list[str], harmless: list[str], trouble: str) -> None:
    assert judge(listed, harmless) == trouble


def test_lists_with_a_key_are_apart() -> None:
    lists = [stated for stated, _site in SITES]
    assert [one["zone"] for one in dnsbl_sites(lists)] == ["zen.spamhaus.org", "bl.spamcop.net", "list.dnswl.example"]
    assert dnsbl_sites(lists, keyed=True) == [
        {
            "zone": "zen.dq.spamhaus.net",
            "domain": f"{KEY}.zen.dq.spamhaus.net",
            "site": f"{KEY}.zen.dq.spamhaus.net=127.0.0.2",
        }
    ]
    assert KEY not in str(dnsbl_sites(lists))
    with pytest.raises(AnsibleFilterError, match="has been retired"):
        dnsbl_sites([{"zone": "cbl.abuseat.org"}])


@given(
    st.fixed_dictionaries(
        {"zone": st.text(max_size=60)}, optional={"key": st.text(max_size=30), "replies": st.text(max_size=30)}
    )
)
def test_no_site_is_more_than_one_word(stated: dict[str, str]) -> None:
    """Whatever the inventory says, it cannot become another restriction."""
    try:
        site = Dnsbl.of(stated).site
    except DnsblError:
        return
    assert len(site.split()) == 1 and "," not in site and site.count("=") == 1 and "=127.0." in site
