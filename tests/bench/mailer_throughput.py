# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages a second through the whole mailer, and through what stands beside it, on two processors.

    python tests/bench/mailer_throughput.py [messages] [rounds]

A message of 10 kB is handed in over SMTP (the mailer: with STARTTLS and AUTH, and 250 once Redis has it on the disk),
signed with RSA-2048 and delivered over SMTP to a sink by a real Postfix. All stages, Redis, the sender and the sink
share the processors; its Postfix is set as the role does. Beside it, in turns: Postfix alone, as Debian sets it and as
the role does, Postfix with OpenDKIM or rspamd as its milter, and the design that the mailer replaces. Where no number of
rounds is given, there are as many as four minutes hold. Needs root and Debian's packages, see ``_mailer_room.py``.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import _mailer_room as room

MESSAGES, SIZE, CONNECTIONS = 800, 10_000, 20
SECONDS = 240.0  # of all rounds; what is begun is finished
GOAL = 0.6
BARE, SET, OLD = "Postfix alone", "Postfix alone, as the role has it", "the design it replaces"
OURS, TWICE, ONE = "the mailer", "the mailer, two of each stage", "the mailer, one partition"
NAMES = (BARE, SET, OURS, TWICE, ONE, "Postfix + OpenDKIM", "Postfix + rspamd", OLD)


def measure(folder: Path, messages: int, rounds: int | None) -> dict[str, list[float]]:
    """Messages a second of each, in rounds that take turns, so that other load on the machine meets all."""
    from _mailer_load import Load
    from _mailer_stages import make_key

    load, key = Load(), make_key(folder / "key.pem")
    rates: dict[str, list[float]] = {name: [] for name in NAMES}
    begun = time.monotonic()
    with load.sink():
        for turn in itertools.count() if rounds is None else range(rounds):
            for at, name in enumerate(NAMES):
                if rounds is None and time.monotonic() - begun > SECONDS:
                    return rates
                place = folder / f"{turn}-{at}"
                place.mkdir()
                slow = 10 if name == OLD else 1
                with _open(name, place, key) as doors:
                    if doors is None:
                        continue
                    load.rate(doors, 100 // slow, SIZE)  # processes are started, connections are open
                    rates[name].append(load.rate(doors, messages // slow, SIZE))
                print(f"round {turn + 1}, {time.monotonic() - begun:3.0f} s: {name} {rates[name][-1]:.0f}")
                shutil.rmtree(place)
    return rates


@contextlib.contextmanager
def _open(name: str, folder: Path, key: Path) -> Iterator[Sequence[object] | None]:
    """One of them at work, and where it takes mail; None where its program is missing."""
    import _mailer_peers as peers
    from _mailer_load import Door
    from _mailer_stages import mailer

    with contextlib.ExitStack() as stack:
        signers = {"Postfix + OpenDKIM": peers.opendkim, "Postfix + rspamd": peers.rspamd}
        more = stack.enter_context(signers[name](folder / "signer", key)) if name in signers else ""
        if more is None:
            yield None
            return
        own = name in (OURS, TWICE, ONE)
        log = stack.enter_context(peers.postfix(folder / "postfix", more=peers.OWN if own or name == SET else more))
        if own or name == OLD:
            redis = stack.enter_context(peers.redis(folder / "redis"))
        if name == OLD:
            yield [Door(stack.enter_context(peers.original(redis, key)), CONNECTIONS)]
        elif own:
            counts = dict.fromkeys(("receiver", "transformer", "postfix"), 2 if name == TWICE else 1)
            partitions = {"partitions": 1} if name == ONE else {}
            made = mailer(folder / "mailer", redis, log, key, counts, queue=partitions)
            yield stack.enter_context(made).doors(CONNECTIONS)
        else:
            yield [Door(peers.POSTFIX_PORT, CONNECTIONS)]


def report(rates: dict[str, list[float]]) -> None:
    """A table, with ratios to the Postfix of the same round."""
    for name, found in rates.items():
        if not found:
            print(f"{name}: not run (its program is missing, or the time was over)")
            continue
        ratio = statistics.median(one / bare for one, bare in zip(found, rates[BARE], strict=False))
        goal = f" (goal: {GOAL}): {'met' if ratio >= GOAL else 'missed'}" if name == OURS else ""
        print(f"{name:36}{statistics.median(found):6.0f} messages a second, {ratio:.2f} of {BARE}{goal}")


def main() -> None:
    """Measure and print."""
    folder = room.enter(__file__)
    if folder is None:
        return
    given = [int(one) for one in sys.argv[1:]]
    messages, rounds = given[0] if given else MESSAGES, given[1] if given[1:] else None
    print(f"{room.about()}; {messages} messages of {SIZE // 1000} kB over {CONNECTIONS} connections")
    try:
        report(measure(folder, messages, rounds))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
