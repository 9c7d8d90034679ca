# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the world answers later, by mail and by one click, becomes events; what is forged does not."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import pytest
from lab.probe import Dialogue, Lab
from mailers import AUTOREPLY, MAILERS, answer, arrived, bounce, complaint, events, fresh, told

CLICK = """
import sys, urllib.request as u
try:
    print(u.urlopen(sys.argv[1], sys.argv[2].encode() if sys.argv[2] else None, timeout=20).status)
except u.HTTPError as err:
    print(err.code)
"""


def reply(lab: Lab, mailer: str, to: str, message: str | None, *, sender: str = "") -> Dialogue:
    """Outside answers."""
    return lab.smtp("outside", mailer, sender=sender, recipients=to, message=message)


def later(lab: Lab, mailer: str, uuid: str) -> dict[str, Any]:
    """The event after that of the delivery."""
    return events(lab, mailer, uuid, 2)[1]


def suppressed(lab: Lab, mailer: str, uuid: str, name: str) -> bool:
    """Whether who had a message gets no other one."""
    assert answer(lab, mailer, name, [f"{uuid}@outside.test"])[0] == 250
    event = events(lab, mailer, name)[0]
    return event["event"] == "bounce" and event["reason"].startswith("suppressed: ")


@pytest.mark.parametrize("mailer", MAILERS)
def test_a_bounce(lab: Lab, token: str, mailer: str) -> None:
    """A hard one is the last mail that its recipient gets, a soft one is not."""
    cases = {"a": ("5.1.1", "550 5.1.1 unknown", "hard"), "b": ("4.2.2", "452 4.2.2 full", "soft")}
    for name, (status, said, kind) in cases.items():
        uuid = fresh(token, name)
        back = arrived(lab, mailer, uuid).sender
        dialogue = reply(lab, mailer, back, bounce(mailer, status=status, said=said, to=f"{uuid}@outside.test"))
        assert dialogue.accepted and ("STARTTLS", 220) in [step[:2] for step in dialogue.steps]
        event = later(lab, mailer, uuid)
        assert (event["event"], event["type"], event["reason"]) == ("bounce", kind, said)
        assert event["streamid"] == "orders"
        assert suppressed(lab, mailer, uuid, f"{uuid}2") == (kind == "hard")


@pytest.mark.parametrize("mailer", MAILERS)
def test_a_complaint(lab: Lab, token: str, mailer: str) -> None:
    uuid = fresh(token)
    back = arrived(lab, mailer, uuid).sender
    assert reply(lab, mailer, back, complaint(f"{uuid}@outside.test"), sender="fbl@outside.test").accepted
    event = later(lab, mailer, uuid)
    assert (event["event"], event["email"], event["streamid"]) == ("spam-report", f"{uuid}@outside.test", "orders")
    assert suppressed(lab, mailer, uuid, f"{uuid}2")


@pytest.mark.parametrize("mailer", MAILERS)
def test_an_automatic_reply(lab: Lab, token: str, mailer: str) -> None:
    uuid = fresh(token)
    assert reply(lab, mailer, arrived(lab, mailer, uuid).sender, AUTOREPLY).accepted
    event = later(lab, mailer, uuid)
    assert (event["event"], event["type"], event["reason"]) == ("bounce", "autoreply", "I am away")
    assert not suppressed(lab, mailer, uuid, f"{uuid}2")


@pytest.mark.parametrize("mailer", MAILERS)
def test_an_unsubscription_by_mail(lab: Lab, token: str, mailer: str) -> None:
    uuid = fresh(token)
    found = re.search(r"<mailto:([^>]+)>", str(arrived(lab, mailer, uuid).parsed["List-Unsubscribe"]))
    assert found and reply(lab, mailer, found[1], "Subject: unsubscribe\n\n", sender="v@outside.test").accepted
    event = later(lab, mailer, uuid)
    assert event == {"event": "unsubscribe", "uuid": uuid, "streamid": "orders"}
    assert suppressed(lab, mailer, uuid, f"{uuid}2")


@pytest.mark.parametrize("mailer", MAILERS)
def test_an_unsubscription_by_one_click(lab: Lab, token: str, mailer: str) -> None:
    """The proxy with the certificate passes paths on. Whoever only looks, or has another link, unsubscribes nobody."""
    uuid = fresh(token)
    found = re.search(r"<(https:[^>]+)>", str(arrived(lab, mailer, uuid).parsed["List-Unsubscribe"]))
    assert found and urlsplit(found[1]).hostname == lab.fqdn(mailer)
    path = urlsplit(found[1]).path
    forged = path[:-1] + ("a" if path[-1] != "a" else "b")

    def click(path: str, body: str) -> str:
        return lab.run(mailer, ["python3", "-c", CLICK, f"http://127.0.0.1:8081{path}", body]).stdout.strip()

    word = "List-Unsubscribe=One-Click"
    assert (click(path, ""), click(forged, word), click(path, "List-Unsubscribe=No")) == ("200", "404", "400")
    assert not suppressed(lab, mailer, uuid, f"{uuid}2")
    assert click(path, word) == "200"
    assert later(lab, mailer, uuid) == {"event": "unsubscribe", "uuid": uuid, "streamid": "orders"}
    assert suppressed(lab, mailer, uuid, f"{uuid}3")


@pytest.mark.parametrize("mailer", MAILERS)
def test_a_forged_return_path(lab: Lab, token: str, mailer: str) -> None:
    """Its twin has one letter less wrong."""
    uuid = fresh(token)
    back = arrived(lab, mailer, uuid).sender
    local, dummy, domain = back.partition("@")
    forged = local[:-1] + ("a" if local[-1] != "a" else "b")
    for address in (
        f"{forged}@{domain}",
        f"bounce-{uuid}@{domain}",
        f"bounce-{fresh(token, 'x')}{local[-17:]}@{domain}",
    ):
        refusal = reply(lab, mailer, address, bounce(mailer)).refusal
        assert refusal == ("RCPT", 550, "5.7.1 this address was not made here"), (address, refusal)
    assert [one["event"] for one in told(lab, mailer) if one.get("uuid") == uuid] == ["delivered"]
    assert reply(lab, mailer, back, bounce(mailer, to=f"{uuid}@outside.test")).accepted
    assert later(lab, mailer, uuid)["type"] == "hard"


@pytest.mark.parametrize("mailer", MAILERS)
def test_what_is_not_understood_is_kept_and_told_nobody(lab: Lab, token: str, mailer: str) -> None:
    uuid, kept = fresh(token), "/var/lib/postmaster-mailer/unclassified"
    back = arrived(lab, mailer, uuid).sender
    assert reply(lab, mailer, back, f"Subject: strange {uuid}\n\nWhat is this?\n", sender="v@outside.test").accepted
    assert lab.run(mailer, f"grep -rl 'strange {uuid}' {kept}").stdout.count("\n") == 1
    assert len(events(lab, mailer, uuid)) == 1
