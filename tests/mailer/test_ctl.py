# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What mailerctl prints, on a real Redis."""

from __future__ import annotations

import datetime
import json
import os
import re
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest
from postmaster_mailer import ctl, events, spool
from postmaster_mailer.backdata import WHY
from postmaster_mailer.envelope import Envelope
from postmaster_mailer.queue import ENVELOPE, EVENT, MESSAGE, SENDER, Move, Queue, partition_of, stream_key
from postmaster_mailer.records import Records
from redis.asyncio import Redis

from .conftest import PATIENCE, ROOT, Ctl, RedisServer, run
from .test_dkim import pem, rsa_key

NOW = 1_795_900_000
DAY = 86_400
PACKAGE = ROOT / "roles" / "mailer" / "files" / "package"


def queue_of(server: RedisServer) -> Queue:
    return Queue(Redis(unix_socket_path=str(server.socket), protocol=3), partitions=2)


def put(server: RedisServer, stream: str, uuid: str, fields: dict[bytes, bytes], id_: str = "*") -> None:
    async def go() -> None:
        queue = queue_of(server)
        await queue.redis.xadd(stream_key(partition_of(uuid, 2), stream), fields, id=id_)  # type: ignore[arg-type]
        await queue.redis.aclose()

    run(go())


# -- status ----------------------------------------------------------------------------------------------


def test_status_of_a_mailer_that_never_ran(mailerctl: Ctl) -> None:
    assert mailerctl("status") == (
        0,
        """\
STREAM               WAITING  WORKED ON  OLDEST
primary              0        0          -
default              0        0          -
outgoing             0        0          -
outgoing-waiting     0        0          -
outgoing-dead        0        0          -
events               0        0          -
events-post          0        0          -
events-post-dead     0        0          -
events-manager       0        0          -
events-manager-dead  0        0          -

no stage has run yet
""",
        "",
    )


@pytest.fixture
def busy(redis_server: RedisServer) -> None:
    """Four messages in default, of which transformer a has one and b two; one that is days old in primary."""

    async def go() -> None:
        queue = queue_of(redis_server)
        await queue.prepare(["primary", "default"])
        old = f"{int((time.time() - 3.5 * DAY) * 1000)}-0"
        await queue.redis.xadd(stream_key(1, "primary"), {b"e": b"{}"}, id=old)
        for number in range(4):
            await queue.redis.xadd(stream_key(number % 2, "default"), {b"e": b"{}"}, id=f"{old[:-2]}-{number + 1}")
        for part, consumer in ((0, "a"), (0, "b"), (1, "b")):
            assert len(await queue.take(part, ["default"], consumer, count=1, block=0.01)) == 1
        await queue.redis.aclose()

    run(go())


@pytest.mark.usefixtures("busy")
def test_status(mailerctl: Ctl) -> None:
    code, out, dummy = mailerctl("status")
    assert (code, re.sub(r"\b\d+ s$", "N s", out, flags=re.M)) == (
        0,
        """\
STREAM               WAITING  WORKED ON  OLDEST
primary              1        0          3 d
default              1        3          3 d
outgoing             0        0          -
outgoing-waiting     0        0          -
outgoing-dead        0        0          -
events               0        0          -
events-post          0        0          -
events-post-dead     0        0          -
events-manager       0        0          -
events-manager-dead  0        0          -

CONSUMER  STREAM   WORKS ON  IDLE
a         default  1         N s
b         default  2         N s
""",
    )


@pytest.mark.usefixtures("busy")
def test_status_for_programs(mailerctl: Ctl) -> None:
    code, out, dummy = mailerctl("status", "--json")
    default = json.loads(out)[1]
    oldest, idle = default.pop("oldest"), [one.pop("idle") for one in default["consumers"]]
    assert (code, default) == (
        0,
        {
            "name": "default",
            "waiting": 1,
            "working": 3,
            "consumers": [{"name": "a", "working": 1}, {"name": "b", "working": 2}],
        },
    )
    assert 3.5 * DAY <= oldest < 3.6 * DAY and all(0 <= one < 60 for one in idle)


def test_status_when_memory_is_full(mailerctl: Ctl, redis_server: RedisServer) -> None:
    async def go() -> None:
        queue = queue_of(redis_server)
        await queue.redis.config_set("maxmemory", 1)
        await queue.redis.aclose()

    run(go())
    assert mailerctl("status")[0] == 0


# -- trace -------------------------------------------------------------------------------------------------


PEOPLE = ("b@example.com", "c@example.com")
HEAD = """\
uuid        u1
taken in    2026-11-28T21:06:40Z
login       shop
domain      example.org
stream id   s-1
in streams  {}

"""


def message(people: tuple[str, ...] = PEOPLE) -> Envelope:
    return Envelope("u1", people, stream_id="s-1", login="shop", received=float(NOW), domain="example.org")


def take_in(server: RedisServer, *, moved: bool, to: tuple[str, ...] = ()) -> None:
    """Message u1, among others; ``moved`` by the transformer on to these recipients in stream outgoing."""

    async def go() -> None:
        queue = queue_of(server)
        await queue.prepare(["default", "outgoing"])
        for number in range(250):
            await queue.add("default", Envelope(f"other{number}", ("b@example.com",)), b"m")
        await queue.add("default", message(), b'm "u1"')
        part = partition_of("u1", 2)
        taken = await queue.take(part, ["default"], "one", count=1000, block=0.01)
        (mine,) = [one for one in taken if one.envelope.uuid == "u1"]
        if moved:
            fields = {ENVELOPE: message(to).dumps(), MESSAGE: b"m", SENDER: b"bounce-u1@rp.example.org"}
            await queue.move([Move(mine, [("outgoing", fields)] if to else [])])
        await queue.redis.aclose()

    run(go())


def record(server: RedisServer, *told: dict[str, Any]) -> None:
    async def go() -> None:
        queue = queue_of(server)
        await Records(queue).outcomes([{"uuid": "u1", "timestamp": NOW + 60, "rcpt": [], **one} for one in told])
        await queue.redis.aclose()

    run(go())


DELIVERED = {"event": "delivered", "rcpt": ["b@example.com"], "ip": "192.0.2.7"}
BOUNCED = {"event": "bounce", "rcpt": ["c@example.com"], "type": "hard", "reason": "550 5.1.1 \x1b[2Jno\nyes"}
REFUSED = {"event": "error", "msg": "example.org is not in domain-settings"}


@pytest.mark.parametrize(
    ("moved", "to", "told", "streams", "expected"),
    [
        (False, (), [], "default 1", """\
RECIPIENT      STATE     TIME  SAID
b@example.com  taken in  -     -
c@example.com  taken in  -     -
"""),
        (True, PEOPLE[1:], [DELIVERED], "outgoing 1", """\
RECIPIENT      STATE        TIME                  SAID
b@example.com  delivered    2026-11-28T21:07:40Z  192.0.2.7
c@example.com  transformed  -                     -
"""),
        (True, (), [DELIVERED], "none", """\
RECIPIENT      STATE        TIME                  SAID
b@example.com  delivered    2026-11-28T21:07:40Z  192.0.2.7
c@example.com  handed over  -                     -
"""),
        (True, (), [DELIVERED, BOUNCED], "none", """\
RECIPIENT      STATE      TIME                  SAID
b@example.com  delivered  2026-11-28T21:07:40Z  192.0.2.7
c@example.com  bounce     2026-11-28T21:07:40Z  hard, 550 5.1.1 ?[2Jno?yes
"""),
        (True, (), [REFUSED], "none", """\
RECIPIENT      STATE     TIME                  SAID
b@example.com  not sent  -                     -
c@example.com  not sent  -                     -
(all)          error     2026-11-28T21:07:40Z  example.org is not in domain-settings
"""),
    ],
)  # fmt: skip
def test_trace(
    mailerctl: Ctl,
    redis_server: RedisServer,
    moved: bool,
    to: tuple[str, ...],
    told: list[dict[str, Any]],
    streams: str,
    expected: str,
) -> None:
    take_in(redis_server, moved=moved, to=to)
    record(redis_server, *told)
    assert mailerctl("trace", "u1") == (0, HEAD.format(streams) + expected, "")


def test_trace_for_programs(mailerctl: Ctl, redis_server: RedisServer) -> None:
    take_in(redis_server, moved=True)
    record(redis_server, DELIVERED)
    put(redis_server, "events-post", "u1", {EVENT: events.dumps("delivered", uuid="u1", now=NOW)})
    for other in (b'{"uuid": "u2", "reason": "u1"}', b'no JSON, "u1"', b'["u1"]', b"[" * 9999 + b'"u1"'):
        put(redis_server, "events-post", "u1", {EVENT: other})
    code, out, dummy = mailerctl("trace", "u1", "--json")
    assert (code, json.loads(out)) == (
        0,
        {
            "uuid": "u1",
            "taken_in": "2026-11-28T21:06:40Z",
            "login": "shop",
            "domain": "example.org",
            "stream_id": "s-1",
            "recipients": [
                {"recipient": "b@example.com", "state": "delivered", "ip": "192.0.2.7", "time": "2026-11-28T21:07:40Z"},
                {"recipient": "c@example.com", "state": "handed over"},
            ],
            "streams": {"events-post": 1},
        },
    )


def test_trace_of_nothing(mailerctl: Ctl) -> None:
    said = "mailerctl: nothing is known of u1: it never came, or longer ago than records are kept\n"
    assert mailerctl("trace", "u1") == (1, "", said)


# -- dead letters -------------------------------------------------------------------------------------------


@pytest.fixture
def buried(redis_server: RedisServer) -> None:
    for number, uuid in enumerate(("u1", "u2", "u1")):
        event = events.dumps("delivered", uuid=uuid, now=NOW + number, rcpt=["b@example.com"])
        put(redis_server, "events-post-dead", uuid, {EVENT: event, WHY: b"post answers 400 to it alone"})


@pytest.mark.usefixtures("buried")
def test_dead_letters(mailerctl: Ctl) -> None:
    assert mailerctl("dead") == (
        0,
        """\
ENDPOINT  TIME                  EVENT      UUID  WHY
post      2026-11-28T21:06:40Z  delivered  u1    post answers 400 to it alone
post      2026-11-28T21:06:41Z  delivered  u2    post answers 400 to it alone
post      2026-11-28T21:06:42Z  delivered  u1    post answers 400 to it alone
""",
        "",
    )
    assert json.loads(mailerctl("dead", "--json")[1])[1] == {
        "endpoint": "post",
        "why": "post answers 400 to it alone",
        "event": "delivered",
        "uuid": "u2",
        "timestamp": NOW + 1,
        "rcpt": ["b@example.com"],
    }


def test_no_dead_letters(mailerctl: Ctl) -> None:
    assert mailerctl("dead") == (0, "there are no dead letters\n", "")
    assert mailerctl("dead", "--json") == (0, "[]\n", "")
    assert mailerctl("replay") == (0, "0 to post, 0 to manager are posted again\n", "")


@pytest.mark.usefixtures("buried")
@pytest.mark.parametrize(
    ("words", "expected", "left"),
    [
        (["replay"], (0, "3 to post, 0 to manager are posted again\n", ""), []),
        (["replay", "u1"], (0, "2 to post, 0 to manager are posted again\n", ""), ["u2"]),
        (["replay", "u3"], (1, "0 to post, 0 to manager are posted again\n", ""), ["u1", "u2", "u1"]),
        (["replay", "u2", "--json"], (0, '{\n  "post": 1,\n  "manager": 0\n}\n', ""), ["u1", "u1"]),
    ],
)
def test_replay(mailerctl: Ctl, words: list[str], expected: tuple[int, str, str], left: list[str]) -> None:
    assert mailerctl(*words) == expected
    assert [one["uuid"] for one in json.loads(mailerctl("dead", "--json")[1])] == left
    posting = json.loads(mailerctl("status", "--json")[1])[6]
    assert (posting["name"], posting["waiting"]) == ("events-post", 3 - len(left))


def test_replay_of_many(mailerctl: Ctl, redis_server: RedisServer) -> None:
    async def go() -> None:
        queue = queue_of(redis_server)
        entries = [("u1", {EVENT: events.dumps("delivered", uuid=f"u{number % 2}", now=NOW)}) for number in range(230)]
        await queue.put("events-post-dead", entries)
        await queue.redis.aclose()

    run(go())
    assert mailerctl("replay", "u1")[1] == "115 to post, 0 to manager are posted again\n"
    assert mailerctl("replay")[1] == "115 to post, 0 to manager are posted again\n"


@pytest.mark.parametrize(
    ("words", "expected", "left"),
    [
        (["retry"], (0, "3 messages are made ready again\n", ""), []),
        (["retry", "u1"], (0, "1 messages are made ready again\n", ""), ["u2", "u3"]),
        (["retry", "u4"], (1, "0 messages are made ready again\n", ""), ["u1", "u2", "u3"]),
        (["retry", "u2", "--json"], (0, '{\n  "messages": 1\n}\n', ""), ["u1", "u3"]),
    ],
)
def test_retry(
    mailerctl: Ctl, redis_server: RedisServer, words: list[str], expected: tuple[int, str, str], left: list[str]
) -> None:
    """Messages that a fault kept go back to where they came from, with all that is known of them."""
    envelopes = [Envelope(f"u{number}", ("b@example.com",), priority=number % 2) for number in (1, 2, 3)]
    for one in envelopes:
        put(redis_server, "outgoing-dead", one.uuid, {ENVELOPE: one.dumps(), MESSAGE: b"m" + one.uuid.encode()})
    assert mailerctl(*words) == expected

    async def found(stream: str) -> list[tuple[Envelope, bytes]]:
        queue = queue_of(redis_server)
        entries = [fields for part in range(2) for dummy, fields in await queue.redis.xrange(stream_key(part, stream))]
        await queue.redis.aclose()
        return sorted(
            ((Envelope.loads(fields[ENVELOPE]), fields[MESSAGE]) for fields in entries), key=lambda one: one[0].uuid
        )

    there = {stream: run(found(stream)) for stream in ("primary", "default", "outgoing-dead")}
    for stream, priority in (("primary", 0), ("default", 1)):
        wanted = [one for one in envelopes if one.uuid not in left and one.priority == priority]
        assert there[stream] == [(one, b"m" + one.uuid.encode()) for one in wanted]
    assert [one.uuid for one, dummy in there["outgoing-dead"]] == left


# -- the suppression list --------------------------------------------------------------------------------------


CSV = """\
address,stream,reason,source,time,expiry
b@example.com,,hard bounce: 550 5.1.1,message u1,2026-11-28T21:06:40Z,2199-02-26T21:06:40Z
example.net,s-1,manual,ann,2026-11-28T21:06:40Z,
"""
LISTED = """\
ADDRESS        STREAM  SINCE                 UNTIL                 SOURCE      REASON
b@example.com  -       2026-11-28T21:06:40Z  2199-02-26T21:06:40Z  message u1  hard bounce: 550 5.1.1
example.net    s-1     2026-11-28T21:06:40Z  never                 ann         manual
"""
CHECKED = """\
ADDRESS        STREAM  SINCE                 UNTIL                 SOURCE      REASON
B@Example.com  -       2026-11-28T21:06:40Z  2199-02-26T21:06:40Z  message u1  hard bounce: 550 5.1.1
"""


@pytest.fixture
def listed(mailerctl: Ctl, tmp_path: Path) -> Ctl:
    file = tmp_path / "list.csv"
    file.write_text(CSV)
    assert mailerctl("suppress", "import", str(file)) == (0, "2 put in; what is in for as long or longer stays\n", "")
    assert mailerctl("suppress", "import", str(file), "--json") == (0, '{\n  "changed": 0\n}\n', "")
    return mailerctl


def test_what_is_listed(listed: Ctl) -> None:
    assert listed("suppress", "list") == (0, LISTED, "")
    assert json.loads(listed("suppress", "list", "--json")[1])[1] == {
        "address": "example.net",
        "reason": "manual",
        "source": "ann",
        "time": "2026-11-28T21:06:40Z",
        "expiry": None,
        "stream": "s-1",
    }
    code, out, dummy = listed("suppress", "export")
    head, *rows = out.splitlines()
    assert (code, [head, *sorted(rows)]) == (0, CSV.splitlines())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["check", "B@Example.com"], (1, CHECKED, "")),
        (["check", "c@example.com"], (0, "nobody is suppressed\n", "")),
        (["check", "c@example.com", "B@Example.com"], (1, CHECKED, "")),
        (["check", "a@example.net"], (0, "nobody is suppressed\n", "")),
        (["check", "c@example.com", "--json"], (0, "[]\n", "")),
        (["remove", "b@example.com"], (0, "1 of 1 taken out\n", "")),
        (["remove", "b@example.com", "example.net"], (1, "1 of 2 taken out, the others are not in\n", "")),
        (["remove", "example.net", "--stream", "s-1", "--json"], (0, '{\n  "changed": 1\n}\n', "")),
        (["add", "c@example.com", "example.com"], (0, "2 of 2 put in\n", "")),
        (["add", "b@example.com", "--days", "1"], (
            0, "0 of 1 put in, the others are in for as long or longer: --replace shortens that\n", "",
        )),
        (["add", "b@example.com", "--days", "1", "--replace"], (0, "1 of 1 put in\n", "")),
        (["add", "no address"], (2, "", "mailerctl: 'no address' is neither an address nor a domain\n")),
        (["import", "/nowhere.csv"], (2, "", "mailerctl: /nowhere.csv cannot be read: No such file or directory\n")),
    ],
)  # fmt: skip
def test_the_list_is_changed(listed: Ctl, words: list[str], expected: tuple[int, str, str]) -> None:
    assert listed("suppress", *words) == expected


def test_what_is_put_in(mailerctl: Ctl) -> None:
    began = int(time.time())
    words = ["--days", "2", "--reason", "he asked", "--source", "ann", "--stream", "s-1"]
    assert mailerctl("suppress", "list") == (0, "nobody is suppressed\n", "")
    assert mailerctl("suppress", "add", "b@example.com", *words)[0] == 0
    (found,) = json.loads(mailerctl("suppress", "list", "--json")[1])
    times = [datetime.datetime.fromisoformat(found.pop(name)).timestamp() for name in ("time", "expiry")]
    assert found == {"address": "b@example.com", "reason": "he asked", "source": "ann", "stream": "s-1"}
    assert times[1] - times[0] in (2 * DAY, 2 * DAY + 1, 2 * DAY - 1) and times[0] >= began


def test_a_reason_that_cannot_be_written(mailerctl: Ctl) -> None:
    assert mailerctl("suppress", "add", "b@example.com", "--reason", "it was \udcff\x1b")[0] == 0
    assert ",,it was ?\x1b,mailerctl," in mailerctl("suppress", "export")[1]
    assert "mailerctl  it was ??\n" in mailerctl("suppress", "list")[1]


# -- drain -----------------------------------------------------------------------------------------------------


def test_drain(mailerctl: Ctl, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    put(redis_server, "default", "u1", {ENVELOPE: message().dumps()})

    async def delivered(seconds: float) -> None:
        queue = queue_of(redis_server)
        await queue.redis.delete(stream_key(partition_of("u1", 2), "default"))
        await queue.redis.aclose()

    monkeypatch.setattr(ctl, "_pause", delivered)
    assert mailerctl("drain") == (0, "Postfix has all of it\n", "primary 0, default 1, outgoing 0\n")
    empty = '{\n  "primary": 0,\n  "default": 0,\n  "outgoing": 0\n}\n'
    assert mailerctl("drain", "--json") == (0, empty, "")


def test_drain_in_vain(mailerctl: Ctl, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    put(redis_server, "outgoing", "u1", {ENVELOPE: message().dumps()})
    said = "primary 0, default 0, outgoing 1"
    now = [0.0]

    async def passes(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(ctl, "_pause", passes)
    monkeypatch.setattr(ctl, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    assert mailerctl("drain", "--timeout", "1") == (1, f"not empty after 1 s: {said}\n", said + "\n")


# -- what cannot be asked ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "{path} cannot be read: [Errno 2] No such file or directory: '{path}'"),
        ("redis: {password: 'hunter2}\n", "{path} is no YAML at line 2"),
        ("redis: {password: hunter2}\n", "redis.password: there is no such key"),
        ("redis: {reliable-queue: {redis: {hostname: /nowhere/redis, password: hunter2}}}\n",
         "Redis cannot be asked: Error 2 connecting to /nowhere/redis. No such file or directory."),
        ("redis: {reliable-queue: {redis: {password-file: /nowhere/hunter}}}\n",
         "/nowhere/hunter cannot be read: No such file or directory"),
        ("redis: {reliable-queue: {redis: {hostname: REDIS, username: default, password: hunter2}}}\n",
         "Redis cannot be asked: invalid username-password pair or user is disabled."),
    ],
)  # fmt: skip
def test_what_cannot_be_asked(
    redis_server: RedisServer, mailerctl: Ctl, config: Path, text: str | None, expected: str
) -> None:
    async def go() -> None:
        queue = queue_of(redis_server)
        await queue.redis.config_set("requirepass", "correct horse")
        await queue.redis.aclose()

    run(go())
    config.unlink()
    if text is not None:
        config.write_text(text.replace("REDIS", str(redis_server.socket)))
    assert mailerctl("status") == (2, "", f"mailerctl: {expected.format(path=config)}\n")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["trace", "U-1"], "mailerctl trace: error: argument uuid: 'U-1' is no uuid: it has 1 to 40 of a-z and 0-9"),
        (
            ["drain", "--timeout", "nan"],
            "mailerctl drain: error: argument --timeout: 'nan' is no number from 1 to 86400",
        ),
        (["preflight", "--port", "0"], "mailerctl preflight: error: argument --port: '0' is no number from 1 to 65535"),
    ],
)
def test_what_cannot_be_meant(capsys: pytest.CaptureFixture[str], words: list[str], expected: str) -> None:
    with pytest.raises(SystemExit) as ended:
        ctl.main(words)
    assert (ended.value.code, capsys.readouterr().err.splitlines()[-1]) == (2, expected)


def test_who_reads_no_further(mailerctl: Ctl, config: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    words = [sys.executable, "-m", "postmaster_mailer.ctl", "--config", config, "status"]
    env = {"PYTHONPATH": str(PACKAGE)}
    done = subprocess.run(
        words, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=PATIENCE, env=env, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


# -- pools -----------------------------------------------------------------------------------------------


def test_pools_of_a_mailer_without_any(mailerctl: Ctl) -> None:
    assert mailerctl("pools") == (0, "all mail leaves by Postfix's own address\n", "")


def test_pools(mailerctl: Ctl, config: Path, redis_server: RedisServer) -> None:
    day = datetime.datetime.now(datetime.UTC).date()
    grown, second, ahead = (str(day - datetime.timedelta(days)) for days in (9, 1, -1))
    with config.open("a") as file:
        file.write(
            f"""\
postfixlog:
  pools:
    receipts: {{addresses: [{{helo: a.example.org}}]}}
    news:
      streams: [news]
      warm-up: [10, 20]
      addresses:
        - {{helo: b.example.org, warm-up-since: {grown}}}
        - {{helo: c.example.org, warm-up-since: {second}}}
        - {{helo: d.example.org, warm-up-since: {ahead}}}
"""
        )

    async def go() -> None:
        queue = queue_of(redis_server)
        await queue.redis.set(f"mailer:warm-up:news:c.example.org:{day}", 7)
        await queue.redis.aclose()

    run(go())
    assert mailerctl("pools") == (
        0,
        """\
POOL      ADDRESS        DAY  SENT  OF
receipts  a.example.org  -    -     -
news      b.example.org  -    -     -
news      c.example.org  2    7     20
news      d.example.org  0    0     0
""",
        "",
    )
    assert json.loads(mailerctl("pools", "--json")[1])[2] == {
        "pool": "news",
        "address": "c.example.org",
        "day": 2,
        "sent": 7,
        "limit": 20,
    }


def test_push_back_without_postfix(
    mailerctl: Ctl, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("s" * 32)
    with config.open("a") as file:
        file.write(f"transformer: {{secret-file: {tmp_path}/secret}}\n")
    monkeypatch.setattr(spool, "_PLACES", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    said = "mailerctl: postfix is not there: run this on the host of Postfix, as root\n"
    assert mailerctl("push-back") == (2, "", said)


def test_what_it_signs_with_follows_the_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def manifest(**states: str) -> None:
        keys = [{"selector": selector, "state": state} for selector, state in states.items()]
        (tmp_path / "example.org.json").write_text(json.dumps({"keys": keys}))

    for selector in ("s1", "s2"):
        (tmp_path / f"example.org.{selector}.key").write_bytes(pem(rsa_key()))
    (tmp_path / "secret").write_text("s" * 32)
    domain = {"domain": "example.org", "return-path-domain": "rp.example.org", "dkim-keys": str(tmp_path)}
    settings = {"transformer": {"secret-file": str(tmp_path / "secret"), "domain-settings": [domain]}}
    (tmp_path / "mailer.yaml").write_text(json.dumps(settings))

    def signed(*domains: str) -> list[dict[str, Any]]:
        assert ctl.main(["--config", str(tmp_path / "mailer.yaml"), "sign", "--json", *domains]) == 0
        return list(json.loads(capsys.readouterr().out))

    manifest(s1="active", s2="pending")
    (one,) = signed("example.org")
    assert (one["domain"], one["selectors"], one["problem"]) == ("example.org", ["s1"], "")
    assert "s=s1;" in one["text"] and "From: postmaster@example.org" in one["text"]
    manifest(s1="retired", s2="active")
    assert [one["selectors"] for one in signed("example.org", "example.net")] == [["s2"], []]
    assert (
        signed("example.net")[0]["problem"]
        == "no mail may come from the domain example.net: it is not among domain-settings"
    )
    assert ctl.main(["--config", str(tmp_path / "mailer.yaml"), "sign", "example.org"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["example.org", "s2"]
