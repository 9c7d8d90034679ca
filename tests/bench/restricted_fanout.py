# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies a second that a restricted list sends, with each one's state on disk before the next one goes.

python tests/bench/restricted_fanout.py [recipients] [rounds]

The relay is a process that answers at once. Beside it: the least that is as safe, smtplib and a commit of sqlite3 for each copy;
and the copies made and not sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".cache" / "venv" / "mailer" / "bin" / "python"
PACKAGE = ROOT / "roles" / "restricted_list" / "files" / "package"
RECIPIENTS, ROUNDS = 500, 3
GOAL = 0.2  # of the rate of the least that is as safe, by processor time, as other programs do not matter to that
LIST, ANNA = "restricted@lists.example", "anna@corp.example"


def relay(ready: Any) -> None:
    """Takes all that comes, as fast as Python can."""

    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 relay\r\n")
        while line := await reader.readline():
            word = line[:4].upper()
            if word == b"DATA":
                writer.write(b"354 go on\r\n")
                await reader.readuntil(b"\r\n.\r\n")
            writer.write(b"250-relay\r\n250 8BITMIME\r\n" if word == b"EHLO" else b"250 fine\r\n")
        writer.close()

    async def serve() -> None:
        server = await asyncio.start_server(session, "127.0.0.1", 0, limit=1 << 24)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


def letter(token: str) -> bytes:
    """A mail of some 20 kB: two alternatives, an attachment and the token."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = f"Anna <{ANNA}>", LIST, "News"
    mail.set_content("Grüße an alle. " * 200)
    mail.add_alternative(f"<html><body><p>{'Grüße an alle. ' * 200}</p></body></html>", subtype="html")
    mail.add_attachment(bytes(range(256)) * 30, maintype="application", subtype="pdf", filename="a.pdf")
    mail.add_attachment(f"RESTRICTED-TOKEN {token}\n", filename="token.txt")
    return mail.as_bytes().replace(b"\n", b"\r\n")


def rates(folder: Path, port: int, count: int) -> dict[str, tuple[float, float]]:
    """Copies of each way, a second by the clock and a second of a processor."""
    from postmaster_restricted_list.config import Relay as Where
    from postmaster_restricted_list.config import parse
    from postmaster_restricted_list.fanout import Fanout
    from postmaster_restricted_list.intake import Intake
    from postmaster_restricted_list.issue import Wish, issue
    from postmaster_restricted_list.message import Incoming, Outgoing
    from postmaster_restricted_list.relay import Relay
    from postmaster_restricted_list.store import Store

    (folder / "secret").write_text("s" * 64)
    members = [f"member{number}@m{number % 9}.example" for number in range(count)]
    (folder / "members.yaml").write_text("\n".join(f"- {one}" for one in members))
    config = parse(
        {
            "address": LIST,
            "bounce_address": "bounces@lists.example",
            "database": f"sqlite:///{folder}/list.db",
            "secret_file": str(folder / "secret"),
            "relay": {"host": "127.0.0.1", "port": port},
            "groups": {"members": {"kind": "file", "path": str(folder / "members.yaml")}},
            "recipients_limit": count,
        }
    )
    store = Store(config.database.get_secret_value())
    store.prepare()
    token = issue(config, config.secret(), store, Wish(ANNA, ("members",)), creator="bench", notify=None)[1]
    raw = letter(token)
    assert Intake(config, store, lambda: None).take(raw) == f"250 2.0.0 it goes out to {count} recipients"
    fanout = Fanout(config, config.secret(), store, Relay(config.relay))

    def whole() -> None:
        done = 0
        while found := fanout.send_due():
            done += found
        assert done == count + 1  # and a notice

    copies = Outgoing(Incoming.parse(raw), config.style("reply-to"), 1, "Mon, 02 Nov 2026 10:00:00 +0000")
    alone = Relay(Where(host="127.0.0.1", port=port))

    def made() -> None:
        for number, one in enumerate(members):
            copies.copy(number, one, "")

    def least() -> None:
        mail = copies.copy(0, members[0], "")
        with contextlib.closing(sqlite3.connect(folder / "least.db", isolation_level=None)) as database:
            for words in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "CREATE TABLE sent (recipient)"):
                database.execute(words)
            for one in members:
                alone.send("bounces@lists.example", one, mail)
                database.execute("INSERT INTO sent VALUES (?)", [one])

    return {
        name: _rate(count, work) for name, work in (("the list", whole), ("the least", least), ("copies made", made))
    }


def _rate(count: int, work: Callable[[], None]) -> tuple[float, float]:
    start, spent = time.perf_counter(), time.process_time()
    work()
    return count / (time.perf_counter() - start), count / (time.process_time() - spent)


def main() -> None:
    """Measure and print."""
    if Path(sys.prefix) != PYTHON.parent.parent:
        if not PYTHON.exists():
            print(f"not run ({PYTHON} is missing: ./dev bench makes it)")
            return
        sys.stdout.flush()
        os.execve(PYTHON, [str(PYTHON), "-u", *sys.argv], {**os.environ, "PYTHONPATH": str(PACKAGE)})
    given = [int(one) for one in sys.argv[1:3]]
    count, rounds = [*given, RECIPIENTS, ROUNDS][:2] if len(given) != 1 else (given[0], ROUNDS)
    here, there = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.Process(target=relay, args=(there,), daemon=True)
    process.start()
    port = here.recv()
    found = []
    for dummy in range(rounds):
        # Beside the clone: what /tmp lies on may be no disk.
        with tempfile.TemporaryDirectory(dir=ROOT / ".cache") as folder:
            found.append(rates(Path(folder), port, count))
    process.terminate()
    print(f"{count} recipients of a mail of 20 kB, {rounds} rounds, medians")
    for name in found[0]:
        clock, processor = (statistics.median(one[name][which] for one in found) for which in (0, 1))
        print(f"{name:16}{clock:8.0f} a second, {processor:8.0f} a second of a processor")
    ratio = statistics.median(one["the list"][1] / one["the least"][1] for one in found)
    print(f"the list has {ratio:.2f} of the rate of the least (goal: {GOAL:g}): {'met' if ratio >= GOAL else 'missed'}")


if __name__ == "__main__":
    main()
