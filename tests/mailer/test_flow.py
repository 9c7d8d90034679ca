# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The loop that gives entries to a delivery one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from postmaster_mailer.queue import Queue, Taken
from postmaster_mailer.worker import Flow, Reading
from redis.exceptions import ConnectionError as AwayError

from .conftest import run

ENTRIES = [Taken(0, "outgoing", b"%d-0" % number, {}) for number in (1, 2, 3)]


class Scripted(Queue):
    """A queue that gives the entries once as new, and then to who asks for what he holds."""

    def __init__(self, log: list[str]) -> None:
        self.partitions, self._log, self._left = 1, log, list(ENTRIES)

    async def prepare(self, streams: Any) -> None:
        pass

    async def own(self, *words: Any, after: bytes = b"0", **more: Any) -> list[Taken]:
        self._log.append(f"own after {after.decode()}")
        return [
            one for one in ENTRIES if not self._left and one.id > after and f"done {one.id.decode()}" not in self._log
        ]

    async def take(self, *words: Any, **more: Any) -> list[Taken]:
        await asyncio.sleep(0.01)
        new, self._left = self._left, []
        return new


@pytest.mark.parametrize("fails", [True, False])
def test_what_could_not_be_finished_is_not_begun(fails: bool) -> None:
    """The queue goes away while the first is in the hands of Postfix: the others would be sent, and sent again."""
    log: list[str] = []
    failing = [fails]

    async def go() -> None:
        async def work(taken: Sequence[Taken]) -> None:
            (one,) = taken
            log.append(f"sent {one.id.decode()}")
            await asyncio.sleep(0)
            if failing[0]:
                failing[0] = False
                raise AwayError("away")
            log.append(f"done {one.id.decode()}")
            if sum(entry.startswith("done") for entry in log) == 3:
                flow.stop()

        flow = Flow(Scripted(log), Reading(("outgoing",), "one"), work, at_once=1)
        await flow.run()

    run(go())
    sent = [entry for entry in log if entry.startswith("sent")]
    assert sent == [*(["sent 1-0"] if fails else []), "sent 1-0", "sent 2-0", "sent 3-0"]
    assert log[0] == "own after 0"
    assert ("own after 0" in log[1:]) == fails
