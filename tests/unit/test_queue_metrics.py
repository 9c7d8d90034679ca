# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program behind the metrics of a queue: what daemons print, what logs say, and counters that only grow."""

from __future__ import annotations

import importlib.util
import json
import re
import stat
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

ROLE = Path(__file__).resolve().parents[2] / "roles/queue_monitor"
NOW = 1_795_917_730.0


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mail_queue_metrics", ROLE / "files/mail_queue_metrics.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["mail_queue_metrics"] = module
    spec.loader.exec_module(module)
    return module


program = load()
POSTFIX, EXIM, SMTPD = (program.MTAS[name] for name in ("postfix", "exim", "opensmtpd"))


# --- why mail waits --------------------------------------------------------------------------------

WHY = [
    ("connect to 198.18.44.99[198.18.44.99]:25: No route to host", "connection"),
    ("connect to mx.outside.test[198.18.44.26]:25: Connection refused", "connection"),
    (
        "conversation with mx.outside.test[198.18.44.26] timed out while receiving the initial server greeting",
        "connection",
    ),
    ("Host or domain name not found. Name service error for name=x.test type=MX: Host not found, try again", "dns"),
    ("host lookup did not complete", "dns"),
    ("host mx.test[192.0.2.1] said: 450 4.7.1 <a@b.test>: Recipient address rejected: Greylisted", "greylisted"),
    ("host mx.test[192.0.2.1] said: 452 4.2.2 The recipient's inbox is over quota", "mailbox_full"),
    ("host mx.test[192.0.2.1] said: 421 4.7.28 Our system has detected an unusual rate", "rate_limited"),
    ("host mx.test[192.0.2.1] said: 451 4.3.0 Try again later (in reply to RCPT TO command)", "remote"),
    ("TLS is required, but was not offered by host mx.test[192.0.2.1]", "tls"),
    ("Server certificate not trusted", "tls"),
    ("SASL authentication failed; server mx.test[192.0.2.1] said: 535 5.7.8 Error", "authentication"),
    ("451 4.3.2 Try later", "remote"),
    ("SMTP error from remote mail server after RCPT TO:<a@b.test>: 451 busy", "remote"),
    ("mail transport unavailable", "other"),
    ("", "other"),
]


@pytest.mark.parametrize(("text", "reason"), WHY)
def test_why_mail_waits(text: str, reason: str) -> None:
    assert program.reason_of(text) == reason


# --- queues ----------------------------------------------------------------------------------------


def queued(mta: Any, text: str) -> list[tuple[str, float | None, int, tuple[str, ...]]]:
    return [(one.queue, one.arrival, one.size, one.reasons) for one in mta.parse(text.splitlines(), NOW)]


# As Postfix 3.7 and 3.10 print it.
POSTQUEUE = """\
{"queue_name": "hold", "queue_id": "69EC319200C", "arrival_time": 1795917126, "message_size": 279, "forced_expire": false, \
"sender": "a@corp.example", "recipients": [{"address": "someone@outside.test"}]}
{"queue_name": "deferred", "queue_id": "4hPq3F2Zsyz7g", "arrival_time": 1795917100, "message_size": 1000, "sender": "", \
"recipients": [{"address": "a@b.test", "delay_reason": "connect to b.test[192.0.2.1]:25: Connection refused"}, \
{"address": "c@d.test", "delay_reason": "host d.test[192.0.2.2] said: 450 Greylisted"}, {"address": "e@f.test"}]}
"""
# As Exim 4.96 and 4.98 print it, whose numbers differ in length.
EXIM_BP = """\
 0m   330 1xXU5K-000000000rP-0u7I <a@corp.example> *** frozen ***
          someone@outside.test

25h  2.9K 1xXU5K-0007Hq-2k <> (root)
        D done@outside.test
          someone@outside.test

??   1.5M 1xXU5K-000000000rM-0r15 <a@corp.example>
"""
SHOW_QUEUE = """\
9e8fe7ca1234abcd|inet4|mta||a@corp.example|b@outside.test|b@outside.test|1795917126|1796262726|0|0|pending|12|Connection timeout
9e8fe7ca1234abce|local|mta|auth,suspend|a@corp.example|b|c@d.test|b@d.test|1795917126|1796262726|0|0|pending|12|
9e8fe7cb1234abcd|inet6|mda|bounce|@|root@x.test|root@x.test|1795917127|1796262726|1795917200|3|inflight|-5|451 4.7.1 Greylisted
"""
PRINTED = [
    (POSTFIX, POSTQUEUE, [("hold", 1795917126, 279, ()), ("deferred", 1795917100, 1000, ("connection", "greylisted"))]),
    (
        EXIM,
        EXIM_BP,
        [("frozen", 1795917130, 330, ()), ("waiting", 1795917130, 2970, ()), ("waiting", 1795917130, 1572864, ())],
    ),
    (
        SMTPD,
        SHOW_QUEUE,
        [
            ("pending", 1795917126, 0, ("connection",)),
            ("hold", 1795917126, 0, ()),
            ("inflight", 1795917127, 0, ("greylisted",)),
        ],
    ),
]


@pytest.mark.parametrize(("mta", "text", "expected"), PRINTED, ids=lambda value: getattr(value, "name", ""))
def test_what_daemons_print_of_their_queues(mta: Any, text: str, expected: list[Any]) -> None:
    assert queued(mta, text) == expected


NO_MESSAGES = [
    (POSTFIX, 'x\n[]\n{}\n{"queue_id": 7}\n' + "[" * 100_000),
    (EXIM, "          0m   330 1xXU5K-000000000rP-0u7I <recipient@that.looks.like.a.message>\n0m 330 short <>"),
    (SMTPD, "9e8fe7ca1234abcd|inet4|mta||a@b|c@d|c@d|now|later|0|0|pending|12|\n||||||||||\nnothing"),
]


@pytest.mark.parametrize(("mta", "text"), NO_MESSAGES, ids=lambda value: getattr(value, "name", ""))
def test_what_is_no_message(mta: Any, text: str) -> None:
    assert queued(mta, text) == []


@pytest.mark.parametrize("value", [True, -1, 2**70, "7", None, 1.5])
def test_postfix_numbers_that_are_none(value: object) -> None:
    line = json.dumps({"queue_id": "A", "queue_name": "active", "arrival_time": value, "message_size": value})
    assert queued(POSTFIX, line) == [("active", None, 0, ())]


# --- logs ------------------------------------------------------------------------------------------

TO = "69EC319200C: to=<someone@outside.test>, "
WAY = "relay=mx.outside.test[198.18.44.26]:25, delay=0.2, delays=0.1/0/0.05/0.05, "
H = "2026-11-29 01:52:12 1xXU5K-000000000rP-0u7I "
D = "2a7f3c0012345678 mta delivery evpid=9e8fe7ca1234abcd from=<a@b.test> to=<c@d.test> rcpt=<-> "
EVENTS = [
    (POSTFIX, "postfix/smtp", f"{TO}{WAY}dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as ABC)", "sent"),
    (POSTFIX, "postfix/satellite/smtp", f"{TO}orig_to=<root>, {WAY}dsn=2.0.0, status=sent (250 Ok)", "sent"),
    (POSTFIX, "postfix/smtp", f"{TO}relay=none, conn_use=3, delay=1, delays=0/0/0/0, dsn=2.0.0, status=sent (250 Ok)", "sent"),
    (POSTFIX, "postfix/local", f"{TO}relay=local, delay=0, delays=0/0/0/0, dsn=2.0.0, status=sent (forwarded as 6D2E)", None),
    (POSTFIX, "postfix/local", f"{TO}relay=local, delay=0, delays=0/0/0/0, dsn=2.0.0, status=sent (delivered to mailbox)", "sent"),
    (POSTFIX, "postfix/smtp", f"{TO}{WAY}dsn=4.4.1, status=deferred (connect to x: Connection refused)", "deferred/connection"),
    (POSTFIX, "postfix/error", f"{TO}{WAY}dsn=4.7.5, status=deferred (Server certificate not trusted)", "deferred/tls"),
    (POSTFIX, "postfix/smtp", f"{TO}{WAY}dsn=4.0.0, status=SOFTBOUNCE (host x said: 550 no)", "deferred/remote"),
    (POSTFIX, "postfix/smtp", f"{TO}{WAY}dsn=5.1.1, status=bounced (host x said: 550 no such user)", "bounced/refused"),
    (POSTFIX, "postfix/qmgr", "69EC319200C: from=<a@b.test>, status=expired, returned to sender", "bounced/expired"),
    (POSTFIX, "postfix/qmgr", "69EC319200C: from=<a@b.test>, status=force-expired, returned to sender", "bounced/expired"),
    (POSTFIX, "postfix/qmgr", "69EC319200C: from=<a@b.test>, size=279, nrcpt=1 (queue active)", None),
    (POSTFIX, "postfix/smtp", f"{TO}{WAY}dsn=2.0.0, status=deliverable (250 Ok)", None),
    (POSTFIX, "postfix/smtp", f"{TO}{WAY}dsn=5.0.0, status=undeliverable (550 no)", None),
    (
        POSTFIX,
        "postfix/smtpd",
        "NOQUEUE: reject: RCPT from x[192.0.2.1]: 554 5.7.1 <x[192.0.2.1]>: Client host rejected: Access denied",
        "rejected/permanent",
    ),
    (POSTFIX, "postfix/smtpd", "NOQUEUE: reject: RCPT from x[192.0.2.1]: 450 4.1.8 <a@b>: no", "rejected/temporary"),
    (POSTFIX, "postfix/postscreen", "NOQUEUE: reject: RCPT from [192.0.2.1]:4711: 550 5.7.1 Service", "rejected/permanent"),
    (POSTFIX, "postfix/cleanup", "69EC319200C: milter-reject: END-OF-MESSAGE from x[1]: 4.7.1 A key", "rejected/temporary"),
    (POSTFIX, "postfix/smtpd", "warning: hostname x does not resolve", None),
    # What others write decides on nothing: a reply that tells of another outcome, an address as well.
    (POSTFIX, "postfix/smtp", f"{TO}{WAY}dsn=5.0.0, status=bounced (550 A: to=<b>, dsn=2.0.0, status=sent (ok))", "bounced/refused"),
    (POSTFIX, "postfix/smtpd", f"{TO}{WAY}dsn=2.0.0, status=sent (250 Ok)", None),
    (POSTFIX, "sudo", f"{TO}{WAY}dsn=2.0.0, status=sent (250 Ok)", None),
    (EXIM, "", f"{H}=> someone@outside.test R=smarthost T=remote_smtp_smarthost H=mx [1] C=\"250 Ok\"", "sent"),
    (EXIM, "", f"{H}-> other@outside.test R=smarthost T=remote_smtp_smarthost", "sent"),
    (EXIM, "", "2026-11-29 01:52:12.204 +0100 [77] 1xXU5K-0007Hq-2k => a@b.test R=x T=y", "sent"),
    (EXIM, "", f"{H}=> :blackhole: <nobody@x.test> R=system_aliases", None),
    (EXIM, "", f"{H}== a@b.test R=smarthost T=remote_smtp defer (113): No route to host H=x [1]", "deferred/connection"),
    (EXIM, "", f"{H}== a@b.test R=s T=t defer (-44) H=x [1]: SMTP error from remote mail server: 450 Greylisted", "deferred/greylisted"),
    (EXIM, "", f"{H}== a@b.test R=s T=t defer (-54): retry time not reached for any host for 'b.test'", None),
    (EXIM, "", f"{H}** a@b.test R=s T=t H=x [1]: SMTP error from remote mail server: 550 no", "bounced/refused"),
    (EXIM, "", f"{H}** a@b.test: retry timeout exceeded", "bounced/expired"),
    (EXIM, "", f"{H}<= a@corp.example U=root P=local S=330", None),
    (EXIM, "", f"{H}Completed", None),
    (EXIM, "", f"{H}frozen by root", None),
    (EXIM, "", "2026-11-29 01:52:12 H=(x) [192.0.2.1] F=<a@b> rejected RCPT <c@d>: relay not permitted", "rejected/permanent"),
    (EXIM, "", "2026-11-29 01:52:12 H=(x) [192.0.2.1] F=<a@b> temporarily rejected RCPT <c@d>: later", "rejected/temporary"),
    (SMTPD, "smtpd", f'{D}source="1" relay="x" delay=1s result="Ok" stat="250 2.0.0 queued"', "sent"),
    (SMTPD, "smtpd", D.replace(" mta ", " mda ") + "user=vmail delay=0s result=Ok stat=Delivered", "sent"),
    (SMTPD, "smtpd", f'{D}source="-" relay="x" delay=1s result="TempFail" stat="Connection timeout"', "deferred/connection"),
    (SMTPD, "smtpd", f'{D}source="-" relay="x" delay=1s result="PermFail" stat="550 no"', "bounced/refused"),
    (SMTPD, "smtpd", "relay: Expire for 9e8fe7ca1234abcd: from=<a@b>, to=<c@d>, rcpt=<->, delay=4d, stat=x", "bounced/expired"),
    (SMTPD, "smtpd", '2a7f3c0012345678 smtp failed-command command="RCPT TO:<a@b>" result="550 no"', "rejected/permanent"),
    (SMTPD, "smtpd", '2a7f3c0012345678 smtp failed-command command="MAIL FROM:<a@b>" result="421 later"', "rejected/temporary"),
    (SMTPD, "smtpd", '2a7f3c0012345678 smtp failed-command command="GET / HTTP/1.1" result="500 no"', None),
    (SMTPD, "smtpd", "2a7f3c0012345678 smtp message msgid=9e8fe7ca size=1 nrcpt=1 proto=ESMTP", None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("mta", "name", "text", "counter"), EVENTS, ids=lambda value: str(getattr(value, "name", ""))[:9]
)
def test_what_a_line_of_a_log_counts_for(mta: Any, name: str, text: str, counter: str | None) -> None:
    assert mta.event(name, text) == counter


@pytest.mark.parametrize("mta", [POSTFIX, EXIM, SMTPD], ids=lambda mta: mta.name)
@given(text=st.text(max_size=300), place=st.integers(0, 400), line=st.integers(0, len(EVENTS) - 1))
def test_hostile_text_gets_into_no_metric(mta: Any, text: str, place: int, line: int) -> None:
    """Cut into lines of logs and of queues at any place: no exception, and only words of our own in the answer."""
    known = EVENTS[line][2]
    event = mta.event("postfix/smtp", known[:place] + text + known[place:])
    assert event is None or event in program.COUNTERS
    shown = {POSTFIX: POSTQUEUE, EXIM: EXIM_BP, SMTPD: SHOW_QUEUE}[mta] if mta in (POSTFIX, EXIM, SMTPD) else ""
    lines = (shown[:place] + text + shown[place:]).split("\n")
    metrics = program.queue_metrics(mta, mta.parse(lines, NOW), NOW)
    assert [line for line in metrics if not re.fullmatch(SAMPLE, line)] == []


SAMPLE = r'# (HELP|TYPE) mail_[a-z_]+ [A-Za-z ,0-9]+\.?|mail_[a-z_]+\{([a-z]+="[A-Za-z0-9_+]+",?)+\} \d+'


# --- positions -------------------------------------------------------------------------------------


def journal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lines: list[str], code: int = 0) -> Path:
    """A journalctl that prints these lines and notes how it was called."""
    (tmp_path / "lines").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    script = tmp_path / "journalctl"
    script.write_text(
        f'#!/bin/sh\necho "$@" > {tmp_path}/called\ncat {tmp_path}/lines\nexit {code}\n', encoding="utf-8"
    )
    script.chmod(0o755)
    popen = program.subprocess.Popen
    monkeypatch.setattr(
        program.subprocess, "Popen", lambda argv, **rest: popen([str(tmp_path / argv[0]), *argv[1:]], **rest)
    )
    return tmp_path / "called"


def entry(cursor: str, message: object, identifier: object = "postfix/smtp") -> str:
    return json.dumps({"__CURSOR": cursor, "MESSAGE": message, "SYSLOG_IDENTIFIER": identifier})


GONE = EVENTS[0][2]


def test_the_journal_is_read_from_where_it_was_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines = [
        entry("s=1", GONE),
        "no JSON",
        entry("s=2", [*GONE.encode()]),
        entry("s=3", None),
        entry("s=4", GONE, [112]),
    ]
    called = journal(monkeypatch, tmp_path, lines)
    state = program.read_log(POSTFIX, program.State(), NOW)
    assert (state.counters, state.position) == (Counter(), {"since": int(NOW)})
    state = program.read_log(POSTFIX, state, NOW + 60)
    assert (state.counters, state.position) == (Counter(sent=2), {"cursor": "s=4"})
    assert called.read_text().split()[-3:] == [
        "--unit=postfix.service",
        "--unit=postfix@*.service",
        f"--since=@{int(NOW)}",
    ]
    (tmp_path / "lines").write_text(entry("s=5", GONE) + "\n")
    state = program.read_log(POSTFIX, state, NOW + 120)
    assert (state.counters, state.position) == (Counter(sent=3), {"cursor": "s=5"})
    assert called.read_text().split()[-1] == "--after-cursor=s=4"


def test_a_journal_that_breaks_off_counts_for_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    journal(monkeypatch, tmp_path, [entry("s=1", GONE)], code=1)
    before = program.State(Counter(sent=7), {"cursor": "s=0"})
    with pytest.raises(program.MonitorError, match=r"^journalctl --quiet --no-pager ended with 1$"):
        program.read_log(POSTFIX, before, NOW)
    assert before == program.State(Counter(sent=7), {"cursor": "s=0"})


def test_a_long_journal_is_read_in_parts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(program, "READ_LIMIT", 2)
    journal(monkeypatch, tmp_path, [entry(f"s={number}", GONE) for number in range(100_000)])
    state = program.read_log(POSTFIX, program.State(Counter(), {"cursor": "s=x"}), NOW)
    assert (state.counters, state.position) == (Counter(sent=2), {"cursor": "s=1"})


class File:
    """Exim's log in a folder, and the counters of a monitor that reads it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "mainlog"
        self.mta = program.Mta(**{**vars(EXIM), "log": program.LogFile(self.path)})
        self.state = program.State()
        self.look()

    def write(self, text: str) -> None:
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(text)

    def look(self) -> int:
        self.state = program.read_log(self.mta, self.state, NOW)
        return int(self.state.counters["sent"])


LINE = f"{H}=> someone@outside.test R=smarthost T=remote_smtp_smarthost\n"


def test_a_log_file_is_counted_once_over_rotations(tmp_path: Path) -> None:
    (tmp_path / "mainlog").write_text(LINE * 5, encoding="utf-8")
    log = File(tmp_path)
    assert log.look() == 0  # what was there before does not count
    log.write(LINE + LINE[:20])
    assert (log.look(), log.look()) == (1, 1)
    log.write(LINE[20:])
    assert (log.look(), log.look()) == (2, 2)
    log.write(LINE)
    log.path.rename(tmp_path / "mainlog.1")
    assert (log.look(), log.look()) == (3, 3)  # renamed, and nothing new yet
    log.write(LINE * 2)
    assert (log.look(), log.look()) == (5, 5)
    log.write(LINE)
    (tmp_path / "mainlog.1").rename(tmp_path / "mainlog.2")
    log.path.rename(tmp_path / "mainlog.1")
    log.write(LINE)
    assert (log.look(), log.look()) == (7, 7)


def test_a_log_file_that_is_not_there_yet_is_read_from_its_beginning(tmp_path: Path) -> None:
    log = File(tmp_path)
    log.write(LINE)
    assert (log.look(), log.look()) == (1, 1)


def test_a_log_file_that_was_emptied_is_read_from_its_beginning(tmp_path: Path) -> None:
    (tmp_path / "mainlog").write_text(LINE * 3, encoding="utf-8")
    log = File(tmp_path)
    log.path.write_text(LINE, encoding="utf-8")
    assert log.look() == 1


def test_a_rotated_log_is_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "READ_LIMIT", 3)
    log = File(tmp_path)
    log.write(LINE * 2)
    log.look()
    log.write(LINE * 4)
    log.path.rename(tmp_path / "mainlog.1")
    log.write(LINE * 4)
    assert [log.look() for _run in range(4)] == [5, 8, 10, 10]


# --- the whole -------------------------------------------------------------------------------------


@pytest.fixture
def exim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Exim with a queue that is printed by a program, and a log."""
    (tmp_path / "queue").write_text(EXIM_BP, encoding="utf-8")
    log = program.LogFile(tmp_path / "mainlog")
    return program.Mta(**{**vars(EXIM), "log": log, "command": ("cat", str(tmp_path / "queue"))})


def values(folder: Path) -> dict[str, int]:
    lines = (folder / "mail_queue.prom").read_text(encoding="utf-8").splitlines()
    return {name: int(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def test_metrics_of_a_run(exim: Any, tmp_path: Path) -> None:
    assert program.run(exim, tmp_path, NOW) == {}
    (tmp_path / "mainlog").write_text(LINE * 3, encoding="utf-8")
    assert program.run(exim, tmp_path, NOW + 10) == {}
    found = values(tmp_path)
    age = int(NOW) + 10 - 1795917130
    waiting = '{mta="exim",queue="waiting"}'
    assert {name: value for name, value in found.items() if value and "_bucket" not in name} == {
        'mail_queue_messages{mta="exim",queue="frozen"}': 1,
        f"mail_queue_messages{waiting}": 2,
        'mail_queue_bytes{mta="exim",queue="frozen"}': 330,
        f"mail_queue_bytes{waiting}": 2970 + 1572864,
        'mail_queue_oldest_message_age_seconds{mta="exim",queue="frozen"}': age,
        f"mail_queue_oldest_message_age_seconds{waiting}": age,
        'mail_queue_message_age_seconds_sum{mta="exim",queue="frozen"}': age,
        'mail_queue_message_age_seconds_count{mta="exim",queue="frozen"}': 1,
        f"mail_queue_message_age_seconds_sum{waiting}": 2 * age,
        f"mail_queue_message_age_seconds_count{waiting}": 2,
        'mail_sent_total{mta="exim"}': 3,
        'mail_monitor_readable{mta="exim",source="queue"}': 1,
        'mail_monitor_readable{mta="exim",source="log"}': 1,
        'mail_monitor_last_run_timestamp_seconds{mta="exim"}': int(NOW) + 10,
    }
    buckets = {
        bound: found[f'mail_queue_message_age_seconds_bucket{waiting[:-1]},le="{bound}"}}']
        for bound in (300, 900, "+Inf")
    }
    assert buckets == {300: 0, 900: 2, "+Inf": 2}


def test_files_and_their_modes(exim: Any, tmp_path: Path) -> None:
    program.run(exim, tmp_path, NOW)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes["mail_queue.prom"] == 0o644
    assert modes["state.json"] == 0o600
    assert not [name for name in modes if name.endswith(".new")]


def test_a_queue_that_cannot_be_read_is_told_and_counters_go_on(exim: Any, tmp_path: Path) -> None:
    program.run(exim, tmp_path, NOW)
    (tmp_path / "mainlog").write_text(LINE, encoding="utf-8")
    broken = program.Mta(**{**vars(exim), "command": ("false", "-j")})
    assert program.run(broken, tmp_path, NOW) == {"queue": "false -j ended with 1"}
    found = values(tmp_path)
    assert found['mail_monitor_readable{mta="exim",source="queue"}'] == 0
    assert found['mail_monitor_readable{mta="exim",source="log"}'] == 1
    assert found['mail_sent_total{mta="exim"}'] == 1
    assert [name for name in found if name.startswith("mail_queue_")] == []


def test_a_log_that_cannot_be_read_is_told_and_counters_stay(exim: Any, tmp_path: Path) -> None:
    program.run(exim, tmp_path, NOW)
    (tmp_path / "mainlog").write_text(LINE, encoding="utf-8")
    program.run(exim, tmp_path, NOW)
    (tmp_path / "mainlog").unlink()
    (tmp_path / "mainlog").mkdir()
    assert program.run(exim, tmp_path, NOW) == {"log": f"{tmp_path}/mainlog cannot be read: Is a directory"}
    found = values(tmp_path)
    assert found['mail_monitor_readable{mta="exim",source="log"}'] == 0
    assert found['mail_sent_total{mta="exim"}'] == 1
    assert found['mail_queue_messages{mta="exim",queue="frozen"}'] == 1


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"mta": "exim"}', '{"mta": "exim", "counters": [], "position": {}}',
     '{"mta": "postfix", "counters": {"sent": 7}, "position": {"cursor": "s=1"}}'],
)  # fmt: skip
def test_a_state_that_is_none_is_a_beginning(text: str, exim: Any, tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text(text, encoding="utf-8")
    assert program.State.load(tmp_path / "state.json", exim) == program.State()


def test_a_state_is_kept(exim: Any, tmp_path: Path) -> None:
    kept = program.State(Counter(dict.fromkeys(program.COUNTERS, 3)), {"inode": 7, "offset": 9})
    kept.save(tmp_path / "state.json", exim)
    assert program.State.load(tmp_path / "state.json", exim) == kept


@pytest.mark.parametrize("argv", [[], ["sendmail"], ["exim", "x"]])
def test_how_it_is_called(argv: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/nowhere")
    assert program.main(argv) == 2
    assert capsys.readouterr().err == "usage: STATE_DIRECTORY=<folder> mail_queue_metrics.py postfix|exim|opensmtpd\n"


def test_the_rules_speak_of_metrics_that_there_are() -> None:
    """And every family of the program has one word of help and a type."""
    rules = (ROLE / "templates/mail_queue.rules.yml.j2").read_text(encoding="utf-8")
    made = [
        line
        for mta in program.MTAS.values()
        for line in (
            *program.queue_metrics(mta, [], NOW),
            *program.counter_metrics(mta, Counter()),
            *program.monitor_metrics(mta, [], NOW),
        )
    ]
    families = {line.split()[2] for line in made if line.startswith("# TYPE")}
    assert families == {line.split()[2] for line in made if line.startswith("# HELP")}
    named = set(
        re.findall(r"\bmail_[a-z_]+_(?:messages|seconds(?:_bucket|_sum|_count)?|total|readable|recipients)\b", rules)
    )
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in named} <= families
