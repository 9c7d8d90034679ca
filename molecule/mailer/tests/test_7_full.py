# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where Redis can keep no more, for want of memory or of disk, nobody is told yes who is not meant."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from lab import engine, ready, state
from lab.probe import Lab
from mailers import MAILERS, arrivals, converge, fresh, hand_in, letter, unit

LONG = os.environ.get("MAIL_TEST_FULL") == "1"
CONFIGURATION, DATA = "/etc/redis/redis-mailer.conf", "/var/lib/redis"
SERVICE = "redis-server@mailer"


def fill(lab: Lab, mailer: str, token: str) -> dict[str, list[str]]:
    """Hand in until no more is taken, by both ways; uuids by answer, all answers being of one kind or the other."""
    found: dict[str, list[str]] = {"taken": [], "put off": []}
    for by, count in (("smtp", 60), ("http", 4)):
        uuids = [fresh(token, f"{by[0]}{number}") for number in range(count)]
        large = [
            (uuid, ["victim@outside.test"], letter(mailer, uuid) + f"{uuid} {'x' * 900}\n" * 300) for uuid in uuids
        ]
        answers: dict[str, Any] = hand_in(lab, mailer, large, by=by, timeout=900)["answers"]
        for uuid, (code, said) in answers.items():
            kind = {250: "taken", 200: "taken", 451: "put off", 503: "put off"}.get(code)
            assert kind, (code, said)
            found[kind].append(uuid)
    return found


def fills_and_empties(lab: Lab, mailer: str, token: str, room: contextlib.AbstractContextManager[None]) -> None:
    """All that was taken arrives once there is somebody to take it on, and room; what was put off does not."""
    lab.run(mailer, ["systemctl", "stop", unit("transformer")])
    try:
        with room:
            answered = fill(lab, mailer, token)
            assert answered["taken"] and answered["put off"]
            assert [one for one in answered["taken"] if one.startswith(fresh(token, "h"))] == [], "Redis is full by now"
    finally:
        lab.run(mailer, ["systemctl", "start", unit("transformer")])
    ready.wait(f"{len(answered['taken'])} messages", lambda: set(answered["taken"]) <= set(arrivals(lab, fresh(token))))
    assert set(arrivals(lab, fresh(token))) == set(answered["taken"])


@contextlib.contextmanager
def little_memory(lab: Lab, mailer: str) -> Iterator[None]:
    """With as much memory as some dozen messages need; it stays so, as what is taken on makes room."""
    lab.run(mailer, f"echo 'maxmemory 12mb' >> {CONFIGURATION} && systemctl restart {SERVICE}")
    yield


@contextlib.contextmanager
def little_disk(lab: Lab, mailer: str) -> Iterator[None]:
    """With a disk of 12 MB for Redis, which is made larger at last."""
    known = engine.find(lab.known["engine"], state=state.CACHE)
    pid = known.text("inspect", "--format", "{{.State.Pid}}", lab.known["hosts"][mailer]["container"])
    inside = [*known.prefix[:2], "nsenter", "-t", pid, "-m"]
    mount = f"mount -t tmpfs -o size=12m,mode=0750 tmpfs {DATA}"
    kept = f"cp -a {DATA} /var/lib/kept"
    lab.run(mailer, f"systemctl stop {SERVICE} && {kept}")
    subprocess.run([*inside, "sh", "-c", mount], check=True, capture_output=True)
    lab.run(mailer, f"cp -a /var/lib/kept/. {DATA} && rm -r /var/lib/kept && systemctl start {SERVICE}")
    try:
        yield
    finally:
        subprocess.run([*inside, "mount", "-o", "remount,size=100m", DATA], check=True, capture_output=True)


@pytest.mark.parametrize("mailer", MAILERS if LONG else MAILERS[:1])
def test_no_memory_left(lab: Lab, token: str, mailer: str) -> None:
    fills_and_empties(lab, mailer, token, little_memory(lab, mailer))
    mended = converge(lab)
    assert set(mended.changed) == {mailer}
    assert converge(lab).changed == {}


@pytest.mark.parametrize("mailer", MAILERS if LONG else MAILERS[1:])
def test_no_disk_left(lab: Lab, token: str, mailer: str) -> None:
    """It is left on the disk that has grown."""
    fills_and_empties(lab, mailer, token, little_disk(lab, mailer))
