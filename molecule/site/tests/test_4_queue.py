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
EACH = 400 if FULL else 60
KILLS = 12 if FULL else 4

SEND = """
i=0
while [ $i -lt {count} ]; do
  i=$((i + 1))
  printf 'Message-ID: <{token}-{host}-%s@corp.example>\\nSubject: {token}\\n\\nNumber %s.\\n' $i $i |
    sendmail -f alex@corp.example someone@outside.test || exit 1
done
"""
# Waits until the queue holds work, kills Postfix and its signer at once, and says what was unfinished:
# queue files, and connections with a message on its way in or out.
KILL = """
unit=postfix.service
systemctl is-active -q postfix@-.service && unit=postfix@-.service
tries=0
while :; do
  queued=$(find /var/spool/postfix/incoming /var/spool/postfix/active -type f | wc -l)
  [ "$queued" -ge 2 ] && break
  tries=$((tries + 1)); [ $tries -gt 400 ] && break
  sleep 0.02
done
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


def _send(lab: Lab, host: str, token: str, count: int) -> None:
    lab.run(host, SEND.format(count=count, token=token, host=host), timeout=300)


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
        list(pool.map(lambda host: _send(lab, host, token, 50), SATELLITES))
    time.sleep(3)
    assert lab.messages(token) == []
    for relay in RELAYS:
        lab.run(relay, ["systemctl", "start", "postfix"])
    counts = _counts(_flush_until(lab, token, 200, timeout=180))
    assert len(counts) == 200
    assert set(counts.values()) == {1}


def test_kills_lose_nothing(lab: Lab, token: str, capsys: pytest.CaptureFixture[str]) -> None:
    total = EACH * len(SATELLITES)
    with ThreadPoolExecutor() as pool:
        sending = [pool.submit(_send, lab, host, token, EACH) for host in SATELLITES]
        killed = []
        for number in range(KILLS):
            killed.append(_kill(lab, RELAYS[number % 2]))
            time.sleep(1)
        for one in sending:
            one.result()
    messages = _flush_until(lab, token, total, timeout=300)
    counts = _counts(messages)
    hops = " ".join(hop for message in messages for hop in message.received)
    arrived_ids = set(re.findall(r"\bid (\w+)", hops))
    redelivered = sum(len(kill.ids & arrived_ids) for kill in killed)
    duplicates = sum(counts.values()) - len(counts)
    flying = sum(kill.flying for kill in killed)
    with capsys.disabled():
        unfinished = ", ".join(str(len(kill.ids)) for kill in killed)
        print(
            f"\n{total} messages, {KILLS} kills: unfinished at each {unfinished}; in flight {flying}; "
            f"redelivered {redelivered}; lost {total - len(counts)}; duplicates {duplicates}"
        )
    assert all(kill.ids for kill in killed), "a kill met an empty queue: this run did not test anything"
    assert redelivered > 0, "nothing was delivered again after a kill: this run did not test anything"
    assert len(counts) == total
    assert duplicates <= flying
