# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""No message is lost: while the relays are stopped, and when their daemons are killed in the middle of their work."""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from lab.probe import Lab, Message

SATELLITES = ("sat-postfix-12", "sat-postfix-13", "sat-exim-12", "sat-exim-13")
RELAYS = ("relay1", "relay2")
# A longer run for the full test: more messages and more kills.
FULL = os.environ.get("MAIL_TEST_FULL") == "1"
KILLS = 12 if FULL else 4
EACH = 35 if FULL else 15  # messages that a satellite sends around a kill

SEND = """
i={first}
while [ $i -lt {end} ]; do
  printf 'Message-ID: <{token}-{host}-%s@corp.example>\\nSubject: {token}\\n\\nNumber %s.\\n' $i $i |
    sendmail -f alex@corp.example someone@outside.test || exit 1
  i=$((i + 1))
done
"""
# Waits until the queue holds work, kills Postfix and its signer at once, and says what was unfinished:
# queue files, and connections with a message on its way in or out. They stand still while they are counted.
KILL = """
unit=postfix.service
systemctl is-active -q postfix@-.service && unit=postfix@-.service
tries=0
while :; do
  queued=$(find /var/spool/postfix/incoming /var/spool/postfix/active -type f | wc -l)
  [ "$queued" -ge 2 ] && break
  tries=$((tries + 1)); [ $tries -gt 1000 ] && break
  sleep 0.02
done
systemctl kill -s STOP $unit {signer}
flying=$(ss -Htn state established '( sport = :25 or dport = :25 or dport = :587 )' | wc -l)
systemctl kill -s KILL $unit {signer}
ids=$(find /var/spool/postfix/incoming /var/spool/postfix/active /var/spool/postfix/deferred -type f -printf '%f ')
systemctl reset-failed $unit {signer} 2>/dev/null
systemctl restart {signer} $unit || exit 1
printf '{{"flying": %s, "ids": "%s"}}\\n' "$flying" "$ids"
"""
FLUSH = "if command -v postqueue >/dev/null; then postqueue -f; else exim4 -qff; fi"


@dataclass(frozen=True)
class Killed:
    """What one kill found: queue ids of unfinished messages, and deliveries in flight."""

    ids: frozenset[str]
    flying: int


def _send(lab: Lab, host: str, token: str, numbers: range) -> None:
    lab.run(host, SEND.format(first=numbers.start, end=numbers.stop, token=token, host=host), timeout=300)


def _kill(lab: Lab, relay: str) -> Killed:
    signer = "opendkim" if relay == "relay2" else "rspamd"
    said = json.loads(lab.run(relay, KILL.format(signer=signer), timeout=120).stdout)
    return Killed(frozenset(said["ids"].split()), said["flying"])


def _flush_until(lab: Lab, token: str, count: int, *, timeout: float) -> list[Message]:
    """Have every queue run until ``count`` different messages have arrived; whatever came by then."""
    end = time.monotonic() + timeout
    while True:
        messages = lab.messages(token)
        if len({str(message.parsed["Message-ID"]) for message in messages}) >= count or time.monotonic() > end:
            return messages
        for host in (*SATELLITES, *RELAYS):
            lab.run(host, FLUSH, timeout=120)
        time.sleep(2)


def _counts(messages: list[Message]) -> Counter[str]:
    return Counter(str(message.parsed["Message-ID"]) for message in messages)


def test_mail_waits_while_the_relays_are_stopped(lab: Lab, token: str) -> None:
    for relay in RELAYS:
        lab.run(relay, ["systemctl", "stop", "postfix"])
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda host: _send(lab, host, token, range(50)), SATELLITES))
    time.sleep(3)
    assert lab.messages(token) == []
    for relay in RELAYS:
        lab.run(relay, ["systemctl", "start", "postfix"])
    counts = _counts(_flush_until(lab, token, 200, timeout=180))
    assert len(counts) == 200
    assert set(counts.values()) == {1}


def _send_around_a_kill(lab: Lab, token: str, numbers: range, relay: str) -> Killed:
    """Have all satellites send, also what they put off after the kill before, and kill the relay meanwhile."""

    def send(host: str) -> None:
        lab.run(host, FLUSH, timeout=120)
        _send(lab, host, token, numbers)
        lab.run(host, FLUSH, timeout=120)

    with ThreadPoolExecutor() as pool:
        sending = [pool.submit(send, host) for host in SATELLITES]
        killed = _kill(lab, relay)
        for one in sending:
            one.result()
    return killed


def test_kills_lose_nothing(lab: Lab, token: str, capsys: pytest.CaptureFixture[str]) -> None:
    # A fast relay can be done with its queue in the moment before a kill. Such a kill proves nothing and is not
    # counted, so there are some more turns than kills.
    kills: list[Killed] = []
    turns = 0
    while sum(bool(kill.ids) for kill in kills) < KILLS and turns < 3 * KILLS:
        numbers = range(turns * EACH, (turns + 1) * EACH)
        kills.append(_send_around_a_kill(lab, token, numbers, RELAYS[turns % 2]))
        turns += 1
    total = turns * EACH * len(SATELLITES)
    messages = _flush_until(lab, token, total, timeout=300)
    counts = _counts(messages)
    hops = " ".join(hop for message in messages for hop in message.received)
    arrived_ids = set(re.findall(r"\bid (\w+)", hops))
    redelivered = sum(len(kill.ids & arrived_ids) for kill in kills)
    duplicates = sum(counts.values()) - len(counts)
    flying = sum(kill.flying for kill in kills)
    with capsys.disabled():
        unfinished = ", ".join(str(len(kill.ids)) for kill in kills)
        print(
            f"\n{total} messages, {turns} kills: unfinished at each {unfinished}; in flight {flying}; "
            f"redelivered {redelivered}; lost {total - len(counts)}; duplicates {duplicates}"
        )
    assert sum(bool(kill.ids) for kill in kills) == KILLS, "too many kills met an empty queue: this run did not test it"
    assert redelivered > 0, "nothing was delivered again after a kill: this run did not test anything"
    assert len(counts) == total
    assert duplicates <= flying
