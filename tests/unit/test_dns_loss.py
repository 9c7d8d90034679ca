# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What someone put into a record by hand is not taken away unnoticed."""

from __future__ import annotations

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils._dns_client import normalise
from ansible_collections.postmaster.mail.plugins.module_utils._dns_loss import Replacement, replacements
from ansible_collections.postmaster.mail.plugins.module_utils._dns_plan import Key, RRset, Wanted, plan
from ansible_collections.postmaster.mail.plugins.module_utils._record import Record

SELECTOR = "s._domainkey.a.test"
TARGET = "s.a-test.keys.test"  # where a selector's CNAME may lead
ONE, TWO = (f"v=DKIM1; k=ed25519; p={key}=" for key in ("A" * 43, "B" * 42 + "A"))


def record(name: str, rdtype: str, value: str) -> Record:
    if rdtype == "TXT":
        return normalise(Record.txt(name, value, 60))
    return normalise(Record(name + ".", rdtype, 60, value))


def replaced(name: str, rdtype: str, there: list[str], new: list[str], *, absent: str = "") -> list[Replacement]:
    key: Key = (name + ".", rdtype)
    held = RRset(*key, 60, tuple(record(name, rdtype, value).rdata for value in there)) if there else None
    wanted = [Wanted(record(name, rdtype, value)) for value in new]
    wanted += [Wanted(record(name, rdtype, absent), present=False)] if absent else []
    return replacements(plan({key: held}, wanted), wanted)


@pytest.mark.parametrize(
    ("name", "rdtype", "there", "new", "lost"),
    [
        ("a.test", "TXT", "v=spf1 ip4:192.0.2.1 -all", "v=spf1 ip4:192.0.2.1 ip4:192.0.2.2 -all", ()),
        ("a.test", "TXT", "v=spf1 include:x.test ip4:192.0.2.1 -all", "v=spf1 ip4:192.0.2.1 -all", ("include:x.test",)),
        ("a.test", "TXT", "V=SPF1 Include:X.test  ~all", "v=spf1 include:x.test ~all", ()),
        ("a.test", "TXT", "v=spf1 a ~all", "v=spf1 a -all", ("~all",)),
        ("_dmarc.a.test", "TXT", "v=DMARC1; p=none", "v=DMARC1;p=none; rua=mailto:a@a.test", ()),
        ("_dmarc.a.test", "TXT", "v=DMARC1; p=none", "v=DMARC1; p=reject", ("p=none",)),
        (
            "_dmarc.a.test", "TXT", "v=DMARC1; p=none; rua=mailto:a@a.test, mailto:b@b.test",
            "v=DMARC1; p=none; rua=mailto:a@a.test", ("rua=mailto:b@b.test",),
        ),
        ("_smtp._tls.a.test", "TXT", "v=TLSRPTv1; rua=mailto:x@a.test", "v=TLSRPTv1; rua=mailto:y@a.test", ("rua=mailto:x@a.test",)),
        ("_mta-sts.a.test", "TXT", "v=STSv1; id=1", "v=STSv1; id=2", ()),
        (SELECTOR, "TXT", ONE, ONE + "; t=s", ()),
        (SELECTOR, "TXT", ONE, TWO, (ONE.rpartition(" ")[2],)),
        (SELECTOR, "TXT", ONE, "v=DKIM1; p=", ()),
        (SELECTOR, "TXT", "v=DKIM1; p=", ONE, ()),
        (TARGET, "TXT", ONE, ONE + "; t=s", ()),
        (TARGET, "TXT", ONE, TWO, (ONE.rpartition(" ")[2],)),
        (TARGET, "TXT", ONE, "v=DKIM1; p=", ()),
        ("a.test", "MX", "10 a.test.", "10 b.test.", ("10 a.test.",)),
        ("_25._tcp.a.test", "TLSA", "3 1 1 " + "aa" * 32, "3 1 1 " + "bb" * 32, ()),
    ],
)  # fmt: skip
def test_what_is_lost(name: str, rdtype: str, there: str, new: str, lost: tuple[str, ...]) -> None:
    (one,) = replaced(name, rdtype, [there], [new])
    assert one.lost == lost
    assert one.before == (record(name, rdtype, there).rdata,)
    assert one.after == (record(name, rdtype, new).rdata,)


def test_others_texts_and_new_records_are_no_replacement() -> None:
    assert replaced("a.test", "TXT", ["verify=1"], ["v=spf1 -all"]) == []
    assert replaced("a.test", "TXT", [], ["v=spf1 -all"]) == []
    assert replaced("a.test", "TXT", ["v=spf1 -all"], ["v=spf1 -all"]) == []


def test_what_is_asked_to_go_is_not_lost() -> None:
    assert replaced("a.test", "MX", ["10 a.test."], ["10 b.test."], absent="10 a.test.") == []


def test_a_second_record_beside_ours_is_lost() -> None:
    (one,) = replaced("a.test", "MX", ["10 a.test.", "20 b.test."], ["10 a.test."])
    assert one.lost == ("20 b.test.",)
    assert str(one) == "a.test. MX is 20 b.test. at DNS, and what is left of it would lose 20 b.test."


def test_a_clause_has_both_and_what_is_lost() -> None:
    (one,) = replaced("a.test", "TXT", ["v=spf1 include:x.test -all"], ["v=spf1 a -all"])
    assert str(one) == (
        'a.test. TXT is "v=spf1 include:x.test -all" at DNS, and "v=spf1 a -all" would lose include:x.test'
    )
