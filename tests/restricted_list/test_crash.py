# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service is killed in the middle of a mail to 500: everybody gets it, and at most one of them twice for each kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from email import message_from_bytes

import pytest

from .conftest import ANNA, PATIENCE, World, eventually, mail

MEMBERS = [f"member{number}@m{number % 7}.example" for number in range(500)]


class Service:
    """The service as a process, which is started again when it has died."""

    def __init__(self, world: World) -> None:
        self._world, self._path = world, world.write()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = [sys.executable, "-m", "postmaster_restricted_list", "--config", str(self._path), "serve"]
        with open(self._world.folder / "log", "ab") as log:
            self.process = subprocess.Popen(words, stderr=log)

    def wait_until_it_listens(self) -> None:
        eventually(self._world.listens, "the service")

    def kill(self) -> None:
        """As kill -9 does, and as often as one likes."""
        if self.process is not None and self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)

    def wait(self) -> int:
        assert self.process is not None
        return self.process.wait(PATIENCE)


@pytest.fixture
def service(world: World) -> Iterator[Service]:
    made = Service(world)
    yield made
    made.kill()
    if made.process is not None:
        made.wait()


@pytest.mark.parametrize("kills", [(1,), (150, 320), (10, 11, 12, 499, 501, 504)])
def test_a_kill_misses_nobody_and_repeats_one(world: World, service: Service, kills: tuple[int, ...]) -> None:
    """It is killed as the relay has a copy and has not said so, which is the worst moment of all."""
    world.members(*MEMBERS)
    dead = threading.Event()
    left = set(kills)

    def on_mail(dummy: int) -> None:
        count = len(world.relay.copies())
        if count in left:
            left.discard(count)
            service.kill()
            dead.set()

    world.relay.on_mail = on_mail
    service.start()
    service.wait_until_it_listens()
    assert world.send(mail(world.token()))[0] == (250, "2.0.0 it goes out to 500 recipients")
    while left:
        assert dead.wait(PATIENCE), f"{len(world.relay.copies())} copies"
        dead.clear()
        assert service.wait() == -signal.SIGKILL
        service.start()
    eventually(lambda: world.relay.notices(ANNA), "the last notice")
    copies = Counter(one.recipient for one in world.relay.copies())
    assert set(copies) == set(MEMBERS)
    assert sum(copies.values()) <= len(MEMBERS) + len(kills)
    # Who got it twice can tell, by the Message-ID.
    names = {one.recipient: set() for one in world.relay.copies()}  # type: dict[str, set[str]]
    for one in world.relay.copies():
        names[one.recipient].add(message_from_bytes(one.raw)["Message-ID"])
    assert all(len(ids) == 1 for ids in names.values())
    assert "sent: 500\nfailed: 0\n" in world.relay.notices(ANNA)[-1]


def test_what_was_not_answered_with_250_is_not_sent(world: World, service: Service) -> None:
    """Nothing of a mail is kept before all of it is."""
    service.start()
    service.wait_until_it_listens()
    token = world.token()
    client = world.lmtp()
    client.ehlo_or_helo_if_needed()
    client.mail(ANNA)
    client.rcpt("restricted@lists.example")
    client.putcmd("data")
    client.getreply()
    raw = mail(token)
    client.send(raw[:-20])
    service.kill()
    service.wait()
    client.close()
    service.start()
    service.wait_until_it_listens()
    assert world.send(raw)[0] == (250, "2.0.0 it goes out to 2 recipients")
    eventually(lambda: world.relay.notices(ANNA), "the notice")
    assert len(world.relay.copies()) == 2


def test_a_stop_ends_in_order_and_repeats_nobody(world: World, service: Service) -> None:
    world.members(*MEMBERS)
    asked = threading.Event()
    world.relay.on_mail = lambda count: asked.set() if count == 100 else None
    service.start()
    service.wait_until_it_listens()
    assert world.send(mail(world.token()))[0][0] == 250
    assert asked.wait(PATIENCE)
    assert service.process is not None
    service.process.terminate()
    assert service.wait() == 0
    service.start()
    eventually(lambda: world.relay.notices(ANNA), "the last notice")
    copies = Counter(one.recipient for one in world.relay.copies())
    assert set(copies) == set(MEMBERS) and set(copies.values()) == {1}
