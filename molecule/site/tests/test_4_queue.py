# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""No message is lost: while the relays are stopped, and when their daemons are killed in the middle of their work."""

from __future__ import annotations

import os
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from lab.probe import Lab, Message

SATELLITES = ("sat-postfix-12", "sat-postfix-13", "sat-exim-12", "sat-exim-13")
RELAYS = {"relay1": "rspamd", "relay2": "opendkim"}
NEXT_HOPS = ("provider", "outside")
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
FLUSH = "if command -v postqueue >/dev/null; then postqueue -f; else exim4 -qff; fi"
# Counts messages in any queue, or on their way into one.
QUEUED = """
cd /var/spool
find postfix/maildrop postfix/incoming postfix/active postfix/deferred exim4/input -type f {which} 2>/dev/null | wc -l
"""
# Postfix leaves behind what it had not taken whole when it was killed. Nobody was told that it had it.
WHOLE = "-perm -u+x"


@dataclass(frozen=True)
class Killed:
    """What one kill found unfinished."""

    ids: frozenset[str]  # queue ids of messages
    leaving: frozenset[str]  # those of them that were being handed to the next hop
    entering: int  # connections by which messages were coming in

    @property
    def flying(self) -> int:
        """Deliveries in flight: a connection with no message on its way is none."""
        return len(self.leaving) + self.entering


def _send(lab: Lab, host: str, token: str, numbers: range) -> None:
    lab.run(host, SEND.format(first=numbers.start, end=numbers.stop, token=token, host=host), timeout=300)


def _kill(lab: Lab, relay: str) -> Killed:
    seen = lab.script(relay, "kill_relay.py", {"signer": RELAYS[relay], "patience": 120}, timeout=300)
    return Killed(frozenset(seen["ids"]), frozenset(seen["leaving"]), seen["entering"])


def _drain(lab: Lab, *, timeout: float) -> None:
    """Have every queue run until all are empty: what has not arrived then is lost, and no copy comes later.

    They are looked at in the order in which mail goes, so that none passes by.
    """

    def queued(host: str) -> int:
        return int(lab.run(host, QUEUED.format(which=WHOLE if host in RELAYS else "")).stdout)

    end = time.monotonic() + timeout
    while True:
        counts = {host: queued(host) for host in (*SATELLITES, *RELAYS, *NEXT_HOPS)}
        busy = [host for host, count in counts.items() if count]
        if not busy:
            return
        assert time.monotonic() < end, f"still queued after {timeout:g} s: {counts}"
        for host in busy:
            lab.run(host, FLUSH, timeout=120)
        time.sleep(1)


def _by_message_id(messages: Sequence[Message]) -> dict[str, list[Message]]:
    """All copies of each message."""
    found = defaultdict(list)
    for message in messages:
        found[str(message.parsed["Message-ID"])].append(message)
    return dict(found)


def test_mail_waits_while_the_relays_are_stopped(lab: Lab, token: str) -> None:
    for relay in RELAYS:
        lab.run(relay, ["systemctl", "stop", "postfix"])
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda host: _send(lab, host, token, range(50)), SATELLITES))
    time.sleep(3)
    assert lab.messages(token) == []
    for relay in RELAYS:
        lab.run(relay, ["systemctl", "start", "postfix"])
    _drain(lab, timeout=180)
    copies = _by_message_id(lab.messages(token))
    assert len(copies) == 200
    assert {len(messages) for messages in copies.values()} == {1}


@contextmanager
def _slow_next_hops(lab: Lab) -> Iterator[None]:
    """The next hops think for a second about each message they have got whole.

    So there are always some under way, on machines of any speed; and as they take a message whose client is
    gone meanwhile, a kill does make duplicates.
    """
    for host in NEXT_HOPS:
        lab.run(host, "postconf -e 'smtpd_end_of_data_restrictions = sleep 1' && postfix reload")
    try:
        yield
    finally:
        for host in NEXT_HOPS:
            lab.run(host, "postconf -X smtpd_end_of_data_restrictions && postfix reload")


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


def _relay_ids(message: Message) -> list[str]:
    """The message's id in a relay's queue; of each relay that it passed."""
    names = "|".join(RELAYS)
    return [found[1] for hop in message.received if (found := re.search(rf"\bby (?:{names})\.\S+ .*? id (\w+)", hop))]


def _culprits(copies: Sequence[Message], kills: Sequence[Killed]) -> list[int]:
    """The kills that can have doubled a message.

    Copies of one id: it was leaving when that relay was killed. Copies of two: the first was in the queue and the
    satellite was not told so.
    """
    ids = Counter(id for message in copies for id in _relay_ids(message))
    twice = {id for id, count in ids.items() if count > 1}
    guilty = [number for number, kill in enumerate(kills) if twice & kill.leaving]
    if len(ids) > 1:
        guilty += [number for number, kill in enumerate(kills) if kill.entering and set(ids) & kill.ids][:1]
    return guilty


def test_kills_lose_nothing(lab: Lab, token: str, capsys: pytest.CaptureFixture[str]) -> None:
    kills: list[Killed] = []
    with _slow_next_hops(lab):
        for turn in range(KILLS):
            numbers = range(turn * EACH, (turn + 1) * EACH)
            kills.append(_send_around_a_kill(lab, token, numbers, list(RELAYS)[turn % 2]))
    _drain(lab, timeout=300)
    total = KILLS * EACH * len(SATELLITES)
    messages = lab.messages(token)
    copies = _by_message_id(messages)
    arrived_ids = {id for message in messages for id in _relay_ids(message)}
    redelivered = sum(len(kill.ids & arrived_ids) for kill in kills)
    doubled = {name: _culprits(several, kills) for name, several in copies.items() if len(several) > 1}
    caused = Counter(number for numbers in doubled.values() for number in numbers)
    with capsys.disabled():
        counts = ", ".join(f"{len(kill.ids)}/{kill.flying}/{caused[number]}" for number, kill in enumerate(kills))
        print(
            f"\n{total} messages, {KILLS} kills; unfinished, in flight, doubled at each: {counts}; "
            f"redelivered {redelivered}; lost {total - len(copies)}; duplicates {len(messages) - len(copies)}"
        )
    assert all(kill.ids and kill.flying for kill in kills), "a kill met no work: this run did not test anything"
    assert redelivered > 0, "nothing was delivered again after a kill: this run did not test anything"
    assert len(copies) == total
    assert all(doubled.values()), f"no kill accounts for {[name for name, numbers in doubled.items() if not numbers]}"
    for number, kill in enumerate(kills):
        assert caused[number] <= kill.flying
    assert len(messages) - len(copies) <= sum(kill.flying for kill in kills)
