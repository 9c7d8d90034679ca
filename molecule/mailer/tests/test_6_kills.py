# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever is killed or full, a message that was answered with a yes arrives, and its event too."""

from __future__ import annotations

import os
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lab import ready
from lab.probe import Lab
from mailers import APPLICATION, MAILERS, arrivals, fresh, hand_in, letter, remote, start_endpoint, told, unit

FULL = os.environ.get("MAIL_TEST_FULL") == "1"
LEAST = 5000 if FULL else 100  # messages on each way
PATIENCE = 3600 if FULL else 300  # seconds for what is still on its way when nobody is killed any more
LANES = 20  # that the stage has to Postfix, and Postfix to one destination
VICTIMS = ["receiver", "http-receiver", "transformer", "postfix", "Redis", "Postfix", "backdata"]


def kill_run(lab: Lab, mailer: str, token: str) -> tuple[set[str], list[tuple[str, dict[str, int]]]]:
    """Mail comes in on both ways for as long as something is killed: what was answered with a yes, and the report."""
    chance = random.Random(mailer)
    more = chance.choices(VICTIMS, k=60 if FULL else 0)
    victims = [one if one in ("Redis", "Postfix") else unit(one) for one in [*more, *VICTIMS]]
    ports = {unit("receiver"): 587, unit("http-receiver"): 8080}
    end = f"/run/{token}"
    known: dict[str, Any] = {
        "recipients": ["victim@outside.test"],
        "content": letter(mailer, "{uuid}"),
        "endless": end,
        "least": LEAST,
        "clients": 5,
        "pause": 0.3 if not FULL else 0.05,
        "patience": 7200 if FULL else 600,
        "timeout": 7200 if FULL else 900,
    }
    with ThreadPoolExecutor(3) as pool:
        ways = [pool.submit(feed, lab, mailer, by, f"{token}{by[0]}", known) for by in ("smtp", "http")]
        try:
            killed = remote(
                lab, mailer, "kill.py", {"victims": victims, "ports": ports, "end": end, "patience": 120}, timeout=7200
            )
        finally:
            for host in (mailer, APPLICATION):
                lab.run(host, ["touch", end])
        reports = [way.result() for way in ways]
    refused = {uuid: code for one in reports for uuid, code in one["answers"].items() if code[0] not in (200, 250)}
    assert refused == {}
    return {uuid for one in reports for uuid in one["answers"]}, killed


def feed(lab: Lab, mailer: str, by: str, token: str, known: dict[str, Any]) -> dict[str, Any]:
    """The application's report."""
    return hand_in(lab, mailer, by=by, token=token, **known)


def test_nothing_is_lost_whatever_is_killed(lab: Lab, token: str) -> None:
    """The endpoint is down all the time, and gets everything later."""
    marks = {mailer: fresh(token, mailer[-2:]) for mailer in MAILERS}
    lab.run("stranger", "systemctl stop endpoint")
    try:
        with ThreadPoolExecutor(2) as pool:
            runs = {mailer: pool.submit(kill_run, lab, mailer, mark) for mailer, mark in marks.items()}
            done = {mailer: run.result() for mailer, run in runs.items()}
        for mailer, (taken, killed) in done.items():
            ready.wait(
                f"{len(taken)} messages of {mailer}",
                lambda: taken <= set(arrivals(lab, marks[mailer])),  # noqa: B023
                timeout=PATIENCE,
            )
            found = arrivals(lab, marks[mailer])
            twice = sum(found.values()) - len(found)
            unfinished = [sum(counts.values()) for dummy, counts in killed]
            print(f"{mailer}: {len(taken)} messages, {len(killed)} kills, {twice} more than once", *killed, sep="\n")
            assert set(found) == taken and all(unfinished)
            # What was on its way to Postfix, or from there, when the delivery, Redis below it or Postfix was killed.
            assert twice <= 2 * LANES * sum(name in ("Redis", "Postfix", unit("postfix")) for name, dummy in killed)
    finally:
        start_endpoint(lab)
    for mailer, (taken, dummy) in done.items():
        ready.wait(
            f"the events of {mailer}",
            lambda: taken <= {one.get("uuid") for one in told(lab, mailer)},  # noqa: B023
            timeout=PATIENCE,
        )
