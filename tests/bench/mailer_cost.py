# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processor time of each process for a message through the whole mailer, and through Postfix alone.

    python tests/bench/mailer_cost.py [messages] [rounds]

The setting is that of ``mailer_throughput.py``. Unlike messages a second these figures bear it that the machine has
other work: who waits for a processor uses none. On two processors that are full, the ratio of the sums is that of the
rates. Beside it stand, for Redis, commands and flushes to the disk for a message.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import statistics
import sys
import time
from collections import Counter
from pathlib import Path

import _mailer_room as room
from mailer_throughput import BARE, OURS, SET, SIZE, _open

MESSAGES, ROUNDS = 2000, 2
FEW, SETTLED = 100, 1.0  # messages, seconds
NAMES = (BARE, SET, OURS)
TICKS = os.sysconf("SC_CLK_TCK")
ENDED = "ended children of "


def spent() -> Counter[str]:
    """Seconds of processor time that the processes of this namespace have used, by name."""
    found: Counter[str] = Counter()
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, StopIteration):  # it has ended meanwhile
            words = (place / "cmdline").read_bytes().split(b"\0")
            name, dummy, rest = (place / "stat").read_text().partition("(")[2].rpartition(")")
            if b"postmaster_mailer" in words:
                name = words[words.index(b"postmaster_mailer") + 1].decode()
            user, system, of_user, of_system = map(int, rest.split()[11:15])
            found[name] += user + system
            found[ENDED + name] += of_user + of_system
    return Counter({name: ticks / TICKS for name, ticks in found.items()})


def asked(place: Path) -> Counter[str]:
    """How often Redis was asked for each command."""
    with socket.socket(socket.AF_UNIX) as to, to.makefile("rb") as answer:
        to.connect(str(place))
        to.sendall(b"INFO commandstats\r\n")
        text = answer.read(int(answer.readline()[1:])).decode()
    lines = (line.removeprefix("cmdstat_").split(":calls=") for line in text.splitlines() if ":calls=" in line)
    return Counter({name: int(rest.split(",")[0]) for name, rest in lines})


def measure(folder: Path, messages: int, rounds: int) -> tuple[dict[str, list[Counter[str]]], Counter[str]]:
    """Of each its rounds, milliseconds a message of each process; and how often a message asks Redis for something."""
    from _mailer_load import Load
    from _mailer_stages import make_key

    load, key = Load(), make_key(folder / "key.pem")
    found: dict[str, list[Counter[str]]] = {name: [] for name in NAMES}
    commands: Counter[str] = Counter()
    with load.sink():
        for turn in range(rounds):
            for at, name in enumerate(NAMES):
                print(f"round {turn + 1} of {rounds}: {name}")
                place = folder / f"{turn}-{at}"
                place.mkdir()
                with _open(name, place, key) as doors:
                    load.rate(doors, FEW, SIZE)  # processes are started
                    seen = [spent()]
                    for count in (FEW, FEW + messages):  # the first tells what TLS, logins and the like cost
                        begun = asked(place / "redis/redis.sock") if name == OURS else Counter()
                        load.rate(doors, count, SIZE)
                        time.sleep(SETTLED)
                        seen.append(spent())
                    opening, all_ = seen[1] - seen[0], seen[2] - seen[1]
                    all_.subtract(opening)
                    found[name].append(Counter({one: 1000 * more / messages for one, more in all_.items()}))
                    if name == OURS:
                        commands = asked(place / "redis/redis.sock") - begun
                shutil.rmtree(place)
    return found, Counter({name: count / (FEW + messages) for name, count in commands.items()})


def report(found: dict[str, list[Counter[str]]]) -> None:
    """A table of medians."""
    names = sorted({one for rounds in found.values() for spent in rounds for one in spent})
    for name in (*names, "sum"):
        columns = [
            statistics.median((spent.total() if name == "sum" else spent[name]) for spent in rounds)
            for rounds in found.values()
        ]
        if max(columns) >= 0.01:
            print(f"{name:32}" + "".join(f"{one:10.2f}" for one in columns))


def main() -> None:
    """Measure and print."""
    folder = room.enter(__file__)
    if folder is None:
        return
    given = [int(one) for one in sys.argv[1:]]
    messages, rounds = [*given, *(MESSAGES, ROUNDS)[len(given) :]]
    print(f"{room.about()}; {messages} messages of {SIZE // 1000} kB, {rounds} rounds")
    try:
        found, commands = measure(folder, messages, rounds)
        print("milliseconds of processor time a message: " + ", ".join(NAMES))
        report(found)
        print(
            "commands of Redis a message: " + ", ".join(f"{name} {count:.2f}" for name, count in commands.most_common())
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
