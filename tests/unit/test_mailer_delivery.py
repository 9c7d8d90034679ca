# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the mailer's Postfix sends by several addresses, and slowly to some destinations."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.postmaster.mail.plugins.filter.mailer_delivery import mailer_delivery

HOST = "mailer1.example.org"
LIMITS = {
    "destination_concurrency_limit": 3,
    "destination_recipient_limit": 20,
    "destination_rate_delay": "5s",
    "destination_concurrency_failed_cohort_limit": 10,
}
OUT1 = {"helo": "Out1.example.org", "ipv4": "203.0.113.10", "ipv6": "2001:db8::10"}
OUT2 = {"helo": "out2.example.org", "ipv4": "203.0.113.11"}


def limits(transport: str) -> dict[str, Any]:
    return {f"{transport}_{name}": value for name, value in LIMITS.items()}


def service(name: str, **options: Any) -> dict[str, Any]:
    return {
        "service": name,
        "type": "unix",
        "chroot": "yes",
        "command": "smtp",
        "options": {"syslog_name": f"postfix/{name}", **options},
    }


def pool(*addresses: Any, name: str = "bulk", **more: Any) -> dict[str, Any]:
    return {"name": name, "addresses": list(addresses), **more}


def test_without_pools() -> None:
    assert mailer_delivery([], ["orange.fr", ".orange.fr"], HOST) == {
        "problems": [],
        "main": {
            "smtpd_restriction_classes": None,
            "smtpd_recipient_restrictions": "",
            "transport_maps": "inline:{ {orange.fr = slow:} {.orange.fr = slow:} }",
            **limits("slow"),
        },
        "master": [service("slow")],
        "pools": {},
    }


def test_addresses_have_ways_that_are_chosen_by_name_and_destination() -> None:
    found = mailer_delivery([pool(OUT1, OUT2)], ["orange.fr"], HOST)
    assert found["main"] == {
        "smtpd_restriction_classes": ["way_out1-example-org", "way_out2-example-org"],
        "smtpd_recipient_restrictions": [
            "check_helo_access inline:{ {out1.example.org = way_out1-example-org} "
            "{out2.example.org = way_out2-example-org} {mailer1.example.org = permit} }",
            "check_helo_access static:{450 4.3.5 no address greets with this name: run the role mailer again}",
        ],
        "transport_maps": "inline:{ {orange.fr = slow:} }",
        **limits("slow"),
        "way_out1-example-org": [
            "check_recipient_access static:{FILTER out1-example-org:}",
            "check_recipient_access inline:{ {orange.fr = FILTER out1-example-org-slow:} }",
            "permit",
        ],
        **limits("out1-example-org-slow"),
        "way_out2-example-org": [
            "check_recipient_access static:{FILTER out2-example-org:}",
            "check_recipient_access inline:{ {orange.fr = FILTER out2-example-org-slow:} }",
            "permit",
        ],
        **limits("out2-example-org-slow"),
    }
    both = {"smtp_helo_name": "Out1.example.org", "smtp_bind_address": "203.0.113.10"}
    both |= {"smtp_bind_address6": "2001:db8::10", "inet_protocols": "all"}
    four = {"smtp_helo_name": "out2.example.org", "smtp_bind_address": "203.0.113.11"}
    four |= {"smtp_bind_address6": None, "inet_protocols": "ipv4"}  # it leaves by no other address
    names = ("out1-example-org", "out1-example-org-slow"), ("out2-example-org", "out2-example-org-slow")
    ways = [service(name, **options) for pair, options in zip(names, (both, four), strict=True) for name in pair]
    assert found["master"] == [service("slow"), *ways]


def test_a_host_that_greets_with_the_name_of_a_pool_sends_by_its_address() -> None:
    restrictions = mailer_delivery([pool(OUT2)], [], "out2.example.org")["main"]["smtpd_recipient_restrictions"]
    assert restrictions[0] == "check_helo_access inline:{ {out2.example.org = way_out2-example-org} }"


def test_without_slow_destinations() -> None:
    main = mailer_delivery([pool(OUT2)], [], HOST)["main"]
    assert main["transport_maps"] is None
    assert main["way_out2-example-org"] == ["check_recipient_access static:{FILTER out2-example-org:}", "permit"]


def test_an_address_of_ipv6_alone() -> None:
    master = mailer_delivery([pool({"helo": "out3.example.org", "ipv6": "2001:db8::11"})], [], HOST)["master"]
    assert (master[1]["options"]["inet_protocols"], master[1]["options"]["smtp_bind_address"]) == ("ipv6", None)


def test_ways_that_no_pool_needs_go() -> None:
    known = ["way_out1-example-org", "way_out2-example-org", "somebody_elses"]
    found = mailer_delivery([pool(OUT2)], [], HOST, known)
    gone = {name: value for name, value in found["main"].items() if "out1" in name}
    assert gone == {"way_out1-example-org": None, **dict.fromkeys(limits("out1-example-org-slow"))}
    assert [one["service"] for one in found["master"] if one.get("state") == "absent"] == [
        "out1-example-org",
        "out1-example-org-slow",
    ]
    assert "somebody_elses" not in found["main"]


def test_pools_in_the_words_of_the_package() -> None:
    new = {**OUT2, "warm_up_since": "2026-11-28"}
    pools = [
        pool(OUT1, new, streams=["news"], warm_up=[10, 20]),
        pool({**OUT2, "helo": "x.org"}, name="b", logins=["s"]),
    ]
    assert mailer_delivery(pools, [], HOST)["pools"] == {
        "bulk": {
            "streams": ["news"],
            "addresses": [
                {"helo": "Out1.example.org"},
                {"helo": "out2.example.org", "warm-up-since": "2026-11-28"},
            ],
            "warm-up": [10, 20],
        },
        "b": {"logins": ["s"], "addresses": [{"helo": "x.org"}]},
    }


@pytest.mark.parametrize(
    ("pools", "slow", "expected"),
    [
        (
            [pool({"helo": "out1", "ipv4": "203.0.113.10"})],
            [],
            "mailer_pools: out1 of bulk is no full host name: give one such as out1.example.org",
        ),
        (
            [pool({"helo": "o.example.org"})],
            [],
            "mailer_pools: o.example.org of bulk has no address: set ipv4, ipv6 or both",
        ),
        (
            [pool({"helo": "o.example.org", "ipv4": "2001:db8::1"})],
            [],
            "mailer_pools: 2001:db8::1 of bulk is no ipv4 address: give one of this host",
        ),
        ([pool()], [], "mailer_pools: bulk has no address: give it one, with its helo name"),
        ([pool(OUT1), pool(OUT2)], [], "mailer_pools: bulk stands there twice: give each pool a name of its own"),
        ([pool(OUT1, name="Bulk")], [], "mailer_pools: Bulk is no name for a pool: use up to 31 of a-z, 0-9 and -"),
        (
            [pool(OUT2, OUT2)],
            [],
            "mailer_pools: the helo name out2.example.org is taken, or differs in - and . alone: give each address its own",
        ),
        (
            [],
            ["orange.fr = x:} {"],
            "mailer_slow_destinations: orange.fr = x:} { is no domain: write it as example.org, and .example.org for those "
            "below it",
        ),
    ],
)
def test_what_cannot_be(pools: list[dict[str, Any]], slow: list[str], expected: str) -> None:
    assert mailer_delivery(pools, slow, HOST) == {"problems": [expected]}


def test_names_that_make_the_same_transport() -> None:
    first, second = ({"helo": name, "ipv4": "203.0.113.10"} for name in ("a-b.org", "a.b.org"))
    assert len(mailer_delivery([pool(first, second)], [], HOST)["problems"]) == 2
    assert mailer_delivery([pool(first, {**second, "helo": "a.c.org"})], [], HOST)["problems"] == []


def test_a_host_without_a_full_name() -> None:
    said = "mailer_hostname: mailer1 is no full host name: give one such as mailer1.example.org"
    assert mailer_delivery([pool(OUT1)], [], "mailer1") == {"problems": [said]}
    assert mailer_delivery([], [], "mailer1")["problems"] == []


def test_no_list_of_pools() -> None:
    with pytest.raises(AnsibleFilterError, match="mailer_delivery: mailer_pools is no list of pools"):
        mailer_delivery(["bulk"], [], HOST)  # type: ignore[list-item]
