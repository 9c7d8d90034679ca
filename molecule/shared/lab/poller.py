# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that tries to send mail through others all the while something is done to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from .probe import Lab

SENDER = "someone@stranger.test"
RECIPIENT = "victim@outside.test"  # a domain that is foreign to every host of the estate
PAUSE = 0.3  # seconds between two questions to a server
GOING = "/run/lab-poll"

# How often each server gave each answer: ``refused``, ``RCPT 554``, ``taken``, ...
Answers = dict[str, dict[str, int]]


def poll(lab: Lab, source: str, servers: Sequence[str], *, seconds: float = 0, going: str = "") -> Answers:
    """Ask for ``seconds``, or until the file ``going`` is gone, over IPv4 and IPv6 in turn."""

    def routes(server: str) -> list[tuple[str, str]]:
        return [(lab.address(source, version=version), lab.address(server, version=version)) for version in (4, 6)]

    options: dict[str, Any] = {
        "servers": {server: routes(server) for server in servers},
        "helo": lab.fqdn(source),
        "sender": SENDER,
        "recipient": RECIPIENT,
        "pause": PAUSE,
        "seconds": seconds,
        "while": going,
    }
    answers: Answers = lab.script(source, "poll.py", options, timeout=seconds + 120)
    return answers


@contextmanager
def polling(lab: Lab, source: str, servers: Sequence[str], *, longest: float = 3600) -> Iterator[Answers]:
    """Ask all the while the block runs; the answers are there when it has ended."""
    answers: Answers = {}
    lab.run(source, ["touch", GOING])
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(poll, lab, source, servers, seconds=longest, going=GOING)
        try:
            yield answers
        finally:
            lab.run(source, ["rm", "-f", GOING])
        answers.update(asking.result())
