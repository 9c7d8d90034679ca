# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Queues of a gateway by HTTPS against the fake: what is meant, what is deleted, and that it is looked at again."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _pmg_queue
from ansible_collections.postmaster.mail.plugins.module_utils._pmg import PmgError
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_queue import Message, Selection, read_selection
from ansible_collections.postmaster.mail.plugins.modules import pmg_queue
from hypothesis import given
from hypothesis import strategies as st
from pmg_gateway import AUDITOR, Gateway, fixtures, needs_schema

pem, gateway = fixtures()

FLOOD, WAITS = "www-data@example.org", "user@example.org"


def run(gateway: Gateway, **options: Any) -> dict[str, Any]:
    return gateway.run(module=pmg_queue, **options)


def flooded(gateway: Gateway, flood: int = 30) -> None:
    """A queue with a flood in it, two bounces, and mail that somebody waits for."""
    for number in range(flood):
        gateway.node.queue_message(f"{number:011X}", FLOOD, [f"victim{number}@gone.example"], reason="Host not found")
    gateway.node.queue_message("B0000000001", "MAILER-DAEMON", ["a@gone.example"])
    gateway.node.queue_message(
        "B0000000002", "MAILER-DAEMON", ["b@there.example", "c@GONE.example"], reason="greylisted"
    )
    gateway.node.queue_message("C0000000001", WAITS, ["d@there.example"], reason="greylisted,  try\nagain")


def left(gateway: Gateway, queue: str = "deferred") -> list[str]:
    return [one["queue_id"] for one in gateway.node.queues[queue]]


@needs_schema
def test_what_waits_and_why(gateway: Gateway) -> None:
    flooded(gateway, 120)  # more than the API lists unasked
    said = run(gateway, **AUDITOR)
    assert (said["changed"], said["total"], said["matching"], said["remaining"]) == (False, 123, 123, 123)
    assert said["senders"][:2] == [{"sender": FLOOD, "count": 120}, {"sender": "<>", "count": 2}]
    assert len(said["messages"]) == 100
    assert said["shape"][:2] == [
        {**dict.fromkeys(said["shape"][0], "0"), "domain": "TOTAL", "total": "124", "20m": "124"},
        {**dict.fromkeys(said["shape"][0], "0"), "domain": "gone.example", "total": "121", "20m": "121"},
    ]
    assert gateway.writes() == 0
    one = run(gateway, senders=[WAITS], **AUDITOR)["messages"]
    assert one == [{
        "queue_id": "C0000000001", "sender": WAITS, "size": 1000, "arrival_time": one[0]["arrival_time"],
        "recipients": [{"recipient": "d@there.example", "reason": "greylisted, try again"}],
    }]  # fmt: skip


@needs_schema
def test_a_flood_is_counted_deleted_and_gone(gateway: Gateway) -> None:
    flooded(gateway)
    flood = {"action": "delete", "senders": [FLOOD]}
    foreseen = run(gateway, check=True, **flood, **AUDITOR)
    assert (foreseen["changed"], foreseen["matching"], foreseen["deleted"], gateway.writes()) == (True, 30, 0, 0)
    done = run(gateway, **flood)
    assert (done["changed"], done["matching"], done["deleted"], done["remaining"]) == (True, 30, 30, 3)
    assert foreseen["diff"] == done["diff"] == {
        "before": f"messages: 33\n{FLOOD}: 30\n<>: 2\n{WAITS}: 1\n", "after": f"messages: 3\n<>: 2\n{WAITS}: 1\n",
    }  # fmt: skip
    assert left(gateway) == ["B0000000001", "B0000000002", "C0000000001"]
    writes = gateway.writes()
    assert writes == (1 if gateway.fake.release == "9.1" else 31)  # 8.2 is asked in vain, then for each
    for check in (True, False):
        again = run(gateway, check=check, **flood)
        assert (again["changed"], again["requests"]) == (False, 1)
    assert gateway.writes() == writes


@needs_schema
def test_a_great_flood_in_few_requests(gateway: Gateway) -> None:
    flooded(gateway, 1200)
    gateway.fake.release = "9.1"
    done = run(gateway, action="delete", senders=["example.org"], recipients=["gone.example"])
    assert (done["deleted"], done["remaining"], gateway.writes(), done["requests"]) == (1200, 3, 3, 5)
    assert all(len(params.get("ids", "")) < 16_000 for dummy, dummy2, params, dummy3 in gateway.fake.log)


SELECTIONS: list[tuple[dict[str, Any], list[str]]] = [
    ({"senders": ["<>"]}, ["B0000000001", "B0000000002"]),
    ({"senders": ["mailer-daemon"]}, ["B0000000001", "B0000000002"]),
    ({"senders": ["User@EXAMPLE.org"]}, ["C0000000001"]),
    ({"senders": [".org"], "reason": "TRY again"}, ["C0000000001"]),
    ({"recipients": ["there.example"]}, ["C0000000001"]),
    ({"recipients": ["there.example", "gone.example"], "senders": ["<>"]}, ["B0000000001", "B0000000002"]),
    ({"reason": "greylisted"}, ["B0000000002", "C0000000001"]),
    ({"senders": ["ample.org", "user@example.or", ".example.org"]}, []),
]


@needs_schema
@pytest.mark.parametrize(("chosen", "gone"), SELECTIONS)
def test_what_is_meant_goes_and_nothing_else(gateway: Gateway, chosen: dict[str, Any], gone: list[str]) -> None:
    flooded(gateway, 2)
    before = left(gateway)
    assert run(gateway, action="delete", **chosen)["deleted"] == len(gone)
    assert left(gateway) == [one for one in before if one not in gone]


@needs_schema
def test_what_goes_to_others_too_is_spared(gateway: Gateway) -> None:
    flooded(gateway, 1)
    said = run(gateway, action="delete", recipients=["gone.example"])
    assert (said["deleted"], said["spared"]) == (2, 1)
    assert left(gateway) == ["B0000000002", "C0000000001"]


@needs_schema
def test_everything_takes_a_word(gateway: Gateway) -> None:
    flooded(gateway)
    said = run(gateway, action="delete", fails=True)["msg"]
    assert said == "delete takes senders, recipients or a reason: name some, or say everything: true to empty the queue"
    said = run(gateway, action="delete", everything=True, senders=[FLOOD], fails=True)["msg"]
    assert said == "everything goes with no senders, recipients and reason: leave one of the two out"
    assert gateway.fake.log == []
    gateway.node.queue_message("D0000000001", FLOOD, ["a@gone.example"], queue="hold")
    done = run(gateway, action="delete", everything=True)
    assert (done["deleted"], left(gateway), left(gateway, "hold"), gateway.writes()) == (33, [], ["D0000000001"], 1)
    assert run(gateway, action="delete", everything=True)["changed"] is False


@needs_schema
def test_the_gateway_s_word_is_not_enough(gateway: Gateway) -> None:
    flooded(gateway, 3)
    gateway.node.stubborn = {"00000000001"}
    said = run(gateway, action="delete", senders=[FLOOD], fails=True)["msg"]
    assert said == (
        "1 of 3 messages are still in the queue deferred, though the gateway says that they are deleted: they may be on "
        "their way, so try again"
    )
    gateway.node.stubborn = set()
    assert run(gateway, action="delete", senders=[FLOOD])["deleted"] == 1


@needs_schema
@pytest.mark.parametrize("fault", ["596 before", "596 after", "drop before", "drop after"])
def test_a_lost_answer(gateway: Gateway, fault: str) -> None:
    flooded(gateway, 4)
    gateway.fake.faults.extend([fault, fault])
    assert run(gateway, action="delete", senders=[FLOOD])["deleted"] == 4
    assert len(left(gateway)) == 3
    gateway.fake.faults.extend([fault, fault])
    assert run(gateway, action="delete", everything=True)["remaining"] == 0


@needs_schema
def test_delivering(gateway: Gateway) -> None:
    assert run(gateway, action="deliver")["changed"] is False
    flooded(gateway, 1)
    assert run(gateway, action="deliver", check=True)["changed"] is True
    assert gateway.node.flushed == []
    assert run(gateway, action="deliver")["changed"] is True
    assert run(gateway, action="deliver", recipients=["there.example"])["matching"] == 1
    assert gateway.node.flushed == ["all", "C0000000001"]


@needs_schema
def test_an_auditor_deletes_nothing(gateway: Gateway) -> None:
    flooded(gateway, 1)
    said = run(gateway, action="delete", senders=[FLOOD], fails=True, **AUDITOR)["msg"]
    assert "an account needs the role admin to write" in said
    assert len(left(gateway)) == 4


BAD = [
    ({"senders": ["*"]}, "senders[0]: '*' is no domain: write one such as example.org"),
    ({"senders": [WAITS, ""]}, "senders[1]: '' is no domain"),
    ({"senders": ["@example.org"]}, "senders[0]: '@example.org' is no mail address: write user@example.org, or example.org for all"),
    ({"recipients": ["a b@example.org"]}, "recipients[0]: 'a b@example.org' is no mail address"),
    ({"reason": "a\nb"}, "reason has a line break"),
    ({"senders": [WAITS], "node": "../x"}, "'../x' is no node's name"),
]  # fmt: skip


@needs_schema
@pytest.mark.parametrize(("options", "said"), BAD)
def test_what_is_refused_is_not_sent(gateway: Gateway, options: dict[str, Any], said: str) -> None:
    assert run(gateway, action="delete", fails=True, **options)["msg"].startswith(said)
    assert gateway.fake.log == []


TEXTS = st.text(max_size=12) | st.sampled_from(
    ["a@b.example", "B@b.example", ".example", "<>", "MAILER-DAEMON", "b.example"]
)


@given(TEXTS, TEXTS, st.lists(TEXTS, min_size=1, max_size=3))
def test_hostile_senders_and_recipients(wanted: str, sender: str, recipients: list[str]) -> None:
    """Strangers choose what stands in a queue; a selection holds what it names, or is refused."""
    (message,) = _pmg_queue.messages_of([{"queue_id": "x", "sender": sender, "receiver": one} for one in recipients])
    try:
        chosen = read_selection([wanted], [], "")
    except PmgError as err:
        assert str(err).startswith("senders[0]: ")
        return
    if chosen.holds(message):
        name = wanted.strip().lower()
        assert name in ("<>", "mailer-daemon") or message.sender.lower().endswith(name)


@pytest.mark.parametrize(
    "entries",
    [
        [{}],
        [{"queue_id": "x", "sender": "y"}],
        [{"queue_id": "x", "sender": "y", "receiver": "z", "arrival_time": "soon"}],
    ],
)
def test_what_is_no_queue_is_told(entries: list[dict[str, Any]]) -> None:
    with pytest.raises(PmgError, match="queue cannot be read: is this a Proxmox Mail Gateway"):
        _pmg_queue.messages_of(entries)


def test_a_selection_that_names_nobody_means_all() -> None:
    message = Message("x", "a@b.example", {"c@d.example": ""}, 0, 0)
    assert Selection().is_empty and Selection().holds(message)
    assert not Selection(reason="x").is_empty
