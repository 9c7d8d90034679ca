# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mail comes in on all ways, arrives signed and believed, and the application is told what became of it."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest
from lab import ready
from lab.probe import Lab, Message
from mailers import (
    DOMAINS,
    FULL,
    GONE,
    MAILERS,
    RCPT,
    answer,
    answers,
    events,
    fresh,
    letter,
    posts,
    room,
    signed,
    start_endpoint,
    tags,
    told,
    variables,
)

SIGNED = {"from", "to", "subject", "date", "message-id", "list-unsubscribe", "list-unsubscribe-post"}
NEVER = ("X-Uuid", "X-Priority", "X-Stream-Id", "Bcc", "X-ReturnPathIb")


def assert_proper(lab: Lab, mailer: str, message: Message, uuid: str, *, stream: str = "orders") -> None:
    """What leaves is believed, signed over what matters, and has the headers of the seed."""
    domain, parsed = DOMAINS[mailer], message.parsed
    assert message.verdicts == {"spf": "pass", "dkim": "pass", "dmarc": "pass"}
    assert lab.dkim_verifies(message)
    assert message.sender.startswith(f"bounce-{uuid}-") and message.sender.endswith(f"@rp.{domain}")
    assert (message.client["name"], message.tls) == (lab.fqdn(mailer), "TLSv1.3")
    assert parsed["Message-ID"] == f"<{uuid}@{domain}>" and parsed["X-Mailer"] and parsed["Date"]
    assert parsed["Feedback-ID"] == f"{stream}:{uuid}:transactional:lab"
    assert f"<mailto:unsub-{uuid}-" in parsed["List-Unsubscribe"]
    assert parsed["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert [name for name in NEVER if parsed[name] is not None] == []
    made = tags(parsed)
    assert sorted(one["a"] for one in made) == (["ed25519-sha256"] if mailer == "mail-13" else []) + ["rsa-sha256"]
    for one in made:
        headers = one["h"].lower().split(":")
        assert one["d"] == domain and headers.count("from") == 2 and set(headers) >= SIGNED


def delivered(lab: Lab, uuid: str) -> list[dict[str, Any]]:
    """What the events of a delivered message may be: outside has two addresses."""
    event = {"event": "delivered", "uuid": uuid, "streamid": "orders"}
    return [{**event, "ip": lab.address("outside", version=version)} for version in (4, 6)]


@pytest.mark.parametrize("mailer", MAILERS)
def test_by_smtp(lab: Lab, token: str, mailer: str) -> None:
    """Who is in Bcc gets it, and stands nowhere."""
    uuid, hidden, begun = fresh(token), f"hidden-{token}@outside.test", int(time.time())
    content = letter(mailer, uuid, extra=f"Bcc: {hidden}\nReply-To: help@{DOMAINS[mailer]}\n")
    assert answer(lab, mailer, uuid, [RCPT, hidden], content=content)[0] == 250
    messages = lab.wait_for_messages(uuid, 2)
    assert {one.recipient for one in messages} == {RCPT, hidden}
    for one in messages:
        assert_proper(lab, mailer, one, uuid)
        assert hidden not in one.raw.decode().partition("From: Shop")[2]
    assert all(one in delivered(lab, uuid) for one in events(lab, mailer, uuid, 2))
    times = [one["timestamp"] for one in told(lab, mailer) if one.get("uuid") == uuid]
    assert all(begun <= one <= time.time() for one in times)


@pytest.mark.parametrize("mailer", MAILERS)
def test_by_http(lab: Lab, token: str, mailer: str) -> None:
    """The interface of the seed: recipients stand in To and Cc."""
    uuid, copy = fresh(token), f"copy-{token}@outside.test"
    assert answer(lab, mailer, uuid, by="http", content=letter(mailer, uuid, extra=f"Cc: {copy}\n")) == (200, "")
    messages = lab.wait_for_messages(uuid, 2)
    assert {one.recipient for one in messages} == {RCPT, copy}
    for one in messages:
        assert_proper(lab, mailer, one, uuid)
    assert all(one in delivered(lab, uuid) for one in events(lab, mailer, uuid, 2))


@pytest.mark.parametrize("mailer", MAILERS)
def test_by_json(lab: Lab, token: str, mailer: str) -> None:
    """With an attachment, whose bytes arrive; the same request once more is the same message."""
    uuid, picture = fresh(token), bytes(range(256)) * 40
    mail = {
        "uuid": uuid,
        "from": f"Läden <shop@{DOMAINS[mailer]}>",
        "to": [f"Zoë <{RCPT}>"],
        "bcc": [f"hidden-{token}@outside.test"],
        "subject": f"Größe {uuid}",
        "text": "Grüße",
        "html": "<p>Grüße</p>",
        "attachments": [
            {"filename": "Größe.png", "content_type": "image/png", "content": base64.b64encode(picture).decode()}
        ],
        "stream_id": "orders",
    }
    for dummy in range(2):
        code, said = answer(lab, mailer, uuid, by="http", content=mail)
        assert (code, json.loads(said)) == (202, {"uuid": uuid})
    messages = lab.wait_for_messages(uuid, 2)
    for one in messages:
        assert_proper(lab, mailer, one, uuid)
        assert one.parsed["Subject"] == f"Größe {uuid}"
        (attached,) = one.parsed.iter_attachments()
        assert (attached.get_filename(), attached.get_content()) == ("Größe.png", picture)
    events(lab, mailer, uuid, 2)
    assert len(lab.messages(uuid)) == 2
    other, said = answer(lab, mailer, uuid, by="http", content={**mail, "text": "other"})
    assert other == 409, said


@pytest.mark.parametrize("mailer", MAILERS)
def test_what_is_refused_is_told_and_not_tried_again(lab: Lab, token: str, mailer: str) -> None:
    first, second, good = fresh(token, "a"), fresh(token, "b"), fresh(token, "c")
    assert answer(lab, mailer, first, [GONE, RCPT])[0] == 250
    kinds = {one["event"]: one for one in events(lab, mailer, first, 2)}
    assert (kinds["bounce"]["type"], kinds["bounce"]["streamid"]) == ("hard", "orders")
    assert "550 5.1.1" in kinds["bounce"]["reason"] and kinds["delivered"] in delivered(lab, first)
    # He is on the list now; the others are not.
    assert answer(lab, mailer, second, [GONE])[0] == answer(lab, mailer, good)[0] == 250
    (event,) = events(lab, mailer, second)
    assert (event["event"], event["type"]) == ("bounce", "hard") and event["reason"].startswith("suppressed: ")
    (event,) = events(lab, mailer, good)
    assert event in delivered(lab, good)


def test_what_is_put_off_is_told_and_tried_again(lab: Lab, token: str) -> None:
    uuids = {mailer: fresh(token, mailer[-2:]) for mailer in MAILERS}
    for mailer, uuid in uuids.items():
        assert answer(lab, mailer, uuid, [FULL])[0] == 250
        event = events(lab, mailer, uuid)[0]
        assert (event["event"], event["type"], "452 4.2.2" in event["reason"]) == ("bounce", "soft", True)
    with room(lab):
        lab.wait_for_messages(fresh(token), len(MAILERS))
    for mailer, uuid in uuids.items():
        ready.wait("the delivery", lambda: events(lab, mailer, uuid)[-1]["event"] == "delivered")  # noqa: B023


@pytest.mark.parametrize("mailer", MAILERS)
def test_of_a_strange_domain_nothing_is_sent(lab: Lab, token: str, mailer: str) -> None:
    uuid = fresh(token)
    content = letter(mailer, uuid).replace(DOMAINS[mailer], "stranger.test")
    assert answer(lab, mailer, uuid, content=content)[0] == 250
    (event,) = events(lab, mailer, uuid)
    assert (event["event"], event["streamid"], "stranger.test" in event["msg"]) == ("error", "orders", True)
    assert lab.messages(uuid) == []


# -- the endpoint -------------------------------------------------------------------------------------
@pytest.mark.parametrize("mailer", MAILERS)
def test_posts_are_signed_and_come_again_until_they_are_taken(lab: Lab, token: str, mailer: str) -> None:
    uuid = fresh(token)
    answers(lab, mailer, 500)
    try:
        assert answer(lab, mailer, uuid)[0] == 250
        ready.wait("an attempt", lambda: any(uuid in one["body"] for one in posts(lab, mailer)))
        assert [one for one in told(lab, mailer) if one.get("uuid") == uuid] == []
    finally:
        answers(lab, mailer, None)
    events(lab, mailer, uuid)
    mine = [one for one in posts(lab, mailer) if uuid in one["body"]]
    assert [one["status"] for one in mine] == [500] * (len(mine) - 1) + [200] and len(mine) > 1
    assert all(signed(one, variables()["mailer_hook_secret"]) for one in mine)
    ids = {event["id"] for one in mine for event in json.loads(one["body"]) if event.get("uuid") == uuid}
    assert len(ids) == 1


def test_an_endpoint_that_is_back_is_served(lab: Lab, token: str) -> None:
    uuids = {mailer: fresh(token, mailer[-2:]) for mailer in MAILERS}
    lab.run("stranger", "systemctl stop endpoint")
    for mailer, uuid in uuids.items():
        assert answer(lab, mailer, uuid)[0] == 250
    lab.wait_for_messages(fresh(token), len(MAILERS))
    start_endpoint(lab)
    for mailer, uuid in uuids.items():
        events(lab, mailer, uuid)
