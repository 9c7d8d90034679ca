# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people read of records that are not published."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.postmaster.mail.plugins.filter.records_table import records_table
from ansible_collections.postmaster.mail.plugins.filter.replaced_records import replaced_records
from ansible_collections.postmaster.mail.plugins.filter.unpublished_keys import unpublished_keys

LINE = 's1._domainkey.example.org. 3600 IN TXT "v=DKIM1; p=AAAA"'


def seen(verdict: str, clause: str = "", *, name: str = "s1._domainkey.example.org.", **more: Any) -> dict[str, Any]:
    item = {
        "name": name,
        "type": "TXT",
        "lines": [LINE],
        "wanted": ['"v=DKIM1; p=AA" "AA"'],
        "verdict": verdict,
        "seen": clause,
        "servers": [],
    }
    return {**item, **more}


@pytest.mark.parametrize(
    ("one", "updates", "sentence"),
    [
        (
            seen("missing", "ns2 has no TXT record s1._domainkey.example.org."),
            True,
            "relay1 would sign for example.org with the key s1, but ns2 has no TXT record s1._domainkey.example.org.: "
            "run again with --limit relay1,localhost, which publishes it, or publish it by hand and run again "
            f"(-e mail_unpublished_keys=accept goes on all the same). The record is: {LINE}",
        ),
        (
            seen("wrong", 'ns1 answers for s1._domainkey.example.org. TXT with "x"'),
            False,
            'relay1 would sign for example.org with the key s1, but ns1 answers for s1._domainkey.example.org. TXT with "x": '
            "publish it and run again when every name server has it "
            f"(-e mail_unpublished_keys=accept goes on all the same). The record is: {LINE}",
        ),
        (
            seen("unknown", "ns2 cannot be reached"),
            True,
            "relay1 would sign for example.org with the key s1, but whether DNS holds it is not known: ns2 cannot be reached. "
            "Mend that and run again, or name in mail_dns_wait.servers what this machine can reach "
            "(-e mail_unpublished_keys=accept goes on all the same).",
        ),
    ],
)
def test_sentences_of_unpublished_keys(one: dict[str, Any], updates: bool, sentence: str) -> None:
    assert unpublished_keys([seen("ok"), one], "relay1", updates) == [sentence]


def test_published_keys_need_no_words() -> None:
    assert unpublished_keys([seen("ok")], "relay1") == []


MX: dict[str, Any] = {
    "name": "example.org.",
    "type": "MX",
    "lines": ["example.org. 60 IN MX 10 a.", "example.org. 60 IN MX 20 b."],
    "wanted": ["10 a.", "20 b."],
}


def test_a_table_has_what_is_missing_and_what_is_there_instead() -> None:
    theirs = [{"state": "wrong", "values": ['"v=DKIM1; p=" "BBBB"']}, {"state": "ok", "values": ['"v=DKIM1; p=AAAA"']}]
    records = [
        seen("ok"),
        seen("missing", "nobody has it", **MX),
        seen("propagating", "ns2 is late", servers=theirs),
    ]
    assert records_table(records) == [
        "name                        type  ttl   now          value",
        "example.org.                MX    60    missing      10 a.",
        "example.org.                MX    60    missing      20 b.",
        "s1._domainkey.example.org.  TXT   3600  propagating  v=DKIM1; p=AAAA",
        "s1._domainkey.example.org. TXT is there now with: v=DKIM1; p=BBBB",
        "s1._domainkey.example.org. TXT: ns2 is late",
        "DNS holds 1 more as they should be.",
    ]


def test_a_table_of_nothing() -> None:
    assert records_table([seen("ok"), seen("ok")]) == ["DNS holds all 2 record sets."]


def test_what_a_terminal_must_not_see_stays_escaped() -> None:
    theirs = [{"state": "wrong", "values": ['"\\027[2J"']}]
    assert records_table([seen("wrong", servers=theirs)])[-1].endswith('there now with: "\\027[2J"')


@pytest.mark.parametrize("given", [[{}], [1], "x", [{"verdict": "missing"}]])
def test_something_else_is_refused(given: Any) -> None:
    for function in (records_table, lambda one: unpublished_keys(one, "relay1")):
        with pytest.raises(AnsibleFilterError, match="the records that dns_records_info returns"):
            function(given)


def test_replaced_records_are_shown_with_what_is_lost() -> None:
    spf = {"name": "a.", "type": "TXT", "before": ['"v=spf1 " "mx -all"'], "after": ['"v=spf1 -all"'], "lost": ["mx"]}
    mx = {"name": "a.", "type": "MX", "before": ["20 b."], "after": [], "lost": ["20 b."]}
    assert replaced_records([spf, mx]) == [
        "a. TXT",
        "  now   v=spf1 mx -all",
        "  then  v=spf1 -all",
        "  lost  mx",
        "a. MX",
        "  now   20 b.",
        "  then  what is left of it",
        "  lost  20 b.",
    ]
    assert replaced_records([]) == []
    with pytest.raises(AnsibleFilterError, match="the list replaced that dns_records returns"):
        replaced_records([{"name": "a."}])
