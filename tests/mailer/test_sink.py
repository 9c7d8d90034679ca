# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sink mode: everything happens but the delivery."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from postmaster_mailer import ctl, sink
from postmaster_mailer.backdata import Measured
from postmaster_mailer.config import SinkMode
from postmaster_mailer.envelope import Envelope
from postmaster_mailer.queue import Queue
from postmaster_mailer.suppression import Rules, Suppression
from redis.asyncio import Redis

from .conftest import Ctl, RedisServer, run
from .endpoint import Endpoint, until
from .stages import Application, Estate
from .test_ctl import record, take_in
from .test_stages import run as run_long

NOW = 1_795_900_000


@pytest.mark.parametrize(
    ("scopes", "expected"),
    [
        ([], False),
        (["all"], True),
        (["domain example.org"], True),
        (["domain example.com"], False),
        (["stream s-1"], True),
        (["stream s-2", "stream "], False),
        (["login shop"], True),
        (["login Shop"], False),
        (["login shop2", "domain example.org"], True),
    ],
)
def test_what_it_is_on_for(scopes: list[str], expected: bool) -> None:
    envelope = Envelope("u1", ("b@example.com",), stream_id="s-1", login="shop", domain="example.org")
    assert sink.is_on(frozenset(scopes), envelope) is expected


def test_a_configuration() -> None:
    settings = SinkMode(all=True, domains=("Example.org",), streams=("S",), logins=("L",))
    assert sink.configured(settings) == {"all", "domain example.org", "stream S", "login L"}
    assert sink.configured(SinkMode()) == frozenset()


@pytest.mark.parametrize(
    ("recipient", "expected"),
    [
        ("b@example.com", [("delivered", None, None)]),
        ("bounced@example.com", [("delivered", None, None)]),
        ("bounce@example.com", [("bounce", "hard", "550 5.1.1 sink mode: no such mailbox")]),
        ("Bounce+order4711@example.com", [("bounce", "hard", "550 5.1.1 sink mode: no such mailbox")]),
        ("softbounce@example.com", [("bounce", "soft", "452 4.2.2 sink mode: the mailbox is full")]),
        ("unroutable@example.com", [("bounce", "unroutable", "5.4.4 sink mode: no such host")]),
        ("autoreply@example.com", [("delivered", None, None), ("bounce", "autoreply", "sink mode: out of office")]),
        ("complaint@example.com", [("delivered", None, None), ("spam-report", None, None)]),
        ("unsubscribe@example.com", [("delivered", None, None), ("unsubscribe", None, None)]),
    ],
)
def test_outcomes_are_made_up(recipient: str, expected: list[tuple[str, str | None, str | None]]) -> None:
    made = [json.loads(one) for one in sink.outcomes(Envelope("u1", (recipient,)), recipient, NOW)]
    assert [(one["event"], one.get("type"), one.get("reason")) for one in made] == expected
    for one in made:
        assert (one["uuid"], one["timestamp"], one["rcpt"], one["sink"]) == ("u1", NOW, [recipient], True)
        # They suppress nobody and spoil no figures; the same without the mark would.
        real = {name: value for name, value in one.items() if name != "sink"}
        rules, suppression = Rules(), Suppression(None)  # type: ignore[arg-type]
        assert suppression._by_rule(one, rules) == []
        assert bool(suppression._by_rule(real, rules)) == (
            one["event"] in ("spam-report", "unsubscribe") or one.get("type") == "hard"
        )
        manager = Measured(1, "secret")
        assert (manager.wants({"fd": "example.org", **one}), manager.wants({"fd": "example.org", **real})) == (
            False,
            True,
        )


def test_a_stage_looks_again_after_a_second(redis_server: RedisServer) -> None:
    async def go() -> None:
        queue = Queue(Redis(unix_socket_path=str(redis_server.socket), protocol=3), partitions=2)
        now = [0.0]
        stage, operator = (sink.Switches(queue, frozenset({"login x"}), clock=lambda: now[0]) for dummy in range(2))
        assert await stage.known() == {"login x"}
        await operator.on(["all", "stream s"])
        now[0] = 0.9
        assert await stage.known() == {"login x"}
        now[0] = 1.0
        assert await stage.known() == {"login x", "all", "stream s"}
        await operator.off(["all"])
        assert await operator.scopes() == {"login x", "stream s"}
        await operator.off([])
        assert await operator.scopes() == {"login x"}

    run(go())


OFF = "sink mode is off: mail is delivered\n"


def test_mailerctl(mailerctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    async def pause(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(ctl, "_pause", pause)
    assert mailerctl("sink") == (0, OFF, "")
    assert (mailerctl("sink", "on"), waited) == ((0, "ON FOR  BY\nall     mailerctl\n", ""), [sink.FRESH])
    assert mailerctl("status")[1].endswith("\nsink mode is on for all\n")
    assert mailerctl("sink", "off") == (0, OFF, "")
    assert mailerctl("status")[1].endswith("\nno stage has run yet\n")
    words = ["--domain", "Example.org", "--domain", "example.net", "--stream", "s-1", "--login", "shop"]
    assert mailerctl("sink", "on", *words) == (
        0,
        """\
ON FOR              BY
domain example.net  mailerctl
domain example.org  mailerctl
login shop          mailerctl
stream s-1          mailerctl
""",
        "",
    )
    assert mailerctl("sink", "off", *words[2:], "--json") == (0, '[\n  "domain example.org"\n]\n', "")
    said = "mailerctl: say whether sink mode is to be on or off for login shop\n"
    assert mailerctl("sink", "--login", "shop") == (2, "", said)


def test_what_the_configuration_says_stays(mailerctl: Ctl, config: Path) -> None:
    config.write_text(config.read_text() + "sink: {logins: [staging]}\n")
    shown = "ON FOR         BY\nlogin staging  configuration\n"
    assert mailerctl("sink") == (0, shown, "")
    assert mailerctl("sink", "off") == (1, shown, "")


def test_the_whole_way_but_the_last_step(tmp_path: Path, redis_server: RedisServer) -> None:
    endpoint = Endpoint()

    async def go() -> None:
        await endpoint.start()
        estate = Estate(tmp_path, redis_server, backdata={"post-url": endpoint.url})

        async def command(*words: str) -> None:
            assert await asyncio.to_thread(ctl.main, ["--config", str(estate.config), *words]) == 0

        def told() -> Counter[tuple[Any, ...]]:
            names = ("uuid", "event", "type", "sink")
            return Counter(tuple(one.get(name) for name in names) for one in endpoint.taken)

        try:
            await estate.postfix.start()
            estate.start("receiver", "transformer", "postfix", "backdata")
            app = Application(estate.smtp)
            assert (await app.send("real", "b@example.com"))[:3] == "250"
            await until(lambda: len(endpoint.taken) == 1)
            await command("sink", "on", "--domain", "example.org")
            assert (await app.send("sunk", "b@example.com", "bounce@example.com"))[:3] == "250"
            assert (await app.send("refused", "b@example.com", sender="a@example.net"))[:3] == "250"
            await until(lambda: len(endpoint.taken) == 4)
            await command("sink", "off")
            # Who bounced in sink mode gets mail.
            assert (await app.send("again", "bounce@example.com"))[:3] == "250"
            await until(lambda: len(endpoint.taken) == 5)
            assert told() == Counter(
                [
                    ("real", "delivered", None, None),
                    ("sunk", "delivered", None, True),
                    ("sunk", "bounce", "hard", True),
                    ("refused", "error", None, None),  # what could not be signed is told in sink mode, too
                    ("again", "delivered", None, None),
                ]
            )
            assert set(estate.postfix.delivered) == {"real b@example.com", "again bounce@example.com"}
            await command("trace", "sunk")
        finally:
            estate.end()
            await endpoint.stop()

    run_long(go())


def test_what_a_trace_shows(mailerctl: Ctl, redis_server: RedisServer) -> None:
    take_in(redis_server, moved=True)
    events = (sink.outcomes(Envelope("u1", ()), one, NOW) for one in ("b@example.com", "c@example.com"))
    record(redis_server, *(json.loads(event) for made in events for event in made))
    shown = mailerctl("trace", "u1")[1]
    assert "b@example.com  delivered  2026-11-28T21:06:40Z  sink mode\n" in shown
