# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Redis has no room, be it in memory or on the disk: who is told yes is right, and who was put off is told so later."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import pytest
from lab import engine, ready, state
from lab.probe import Lab
from mailers import MAILERS, arrivals, fresh, hand_in, letter, metrics, unit

LONG = os.environ.get("MAIL_TEST_FULL") == "1"
ROOM = 4 << 20  # bytes that are left
COUNTS = {"smtp": 30, "http": 6}  # messages of 300 kB, more than there is room for
YES, LATER = {"smtp": 250, "http": 200}, {"smtp": 451, "http": 503}
CONFIGURATION, DATA, REDIS = "/etc/redis/redis-mailer.conf", "/var/lib/redis", "redis-server@mailer"
MakeRoom = Callable[[], None]


def bring(
    lab: Lab, mailer: str, token: str, *, ways: Sequence[str] = ("smtp", "http"), patience: float = 0
) -> dict[str, int]:
    """The same messages each time, by SMTP first, then by HTTP; the answers by uuid."""
    body = ("x" * 900 + "\n") * 330
    found: dict[str, int] = {}
    for by in ways:
        known = {"content": letter(mailer, "{uuid}") + body, "least": COUNTS[by], "endless": "/", "patience": patience}
        uuids = {"token": f"{fresh(token)}{by[0]}", "recipients": ["victim@outside.test"]}
        said = hand_in(lab, mailer, by=by, timeout=900, **known, **uuids)["answers"]
        strange = {uuid: one for uuid, one in said.items() if one[0] not in (YES[by], LATER[by])}
        assert strange == {}
        found |= {uuid: code for uuid, (code, dummy) in said.items()}
    return found


def fills_and_empties(lab: Lab, mailer: str, token: str, little: contextlib.AbstractContextManager[MakeRoom]) -> None:
    """Once there is room all that was put off is taken, with nobody's help, and what was taken is not sent twice."""
    with little as make_room:
        lab.run(mailer, ["systemctl", "stop", unit("transformer")])
        try:
            first = bring(lab, mailer, token)
        finally:
            make_room()
            lab.run(mailer, ["systemctl", "start", unit("transformer")])
        taken = {uuid for uuid, code in first.items() if code in YES.values()}
        assert set(first.values()) >= {250, 451, 503} and len(first) == sum(COUNTS.values())
        ready.wait(f"{len(taken)} messages", lambda: taken <= set(arrivals(lab, fresh(token))))
        second = bring(lab, mailer, token, patience=300)
        assert set(second.values()) == {250, 200} and set(second) == set(first)
        ready.wait("all of them", lambda: set(second) <= set(arrivals(lab, fresh(token))))
        twice = Counter(arrivals(lab, fresh(token))) - Counter(second.keys())
        # A delivery that Redis leaves alone may be made once more; what is handed in once more is not.
        assert len(twice) < len(taken), twice


@contextlib.contextmanager
def little_memory(lab: Lab, mailer: str) -> Iterator[MakeRoom]:
    """It stays little: what is taken on makes room."""
    used = int(metrics(lab, mailer, "redis")["mailer_redis_memory_used_bytes"])
    lab.run(mailer, f"echo 'maxmemory {used + ROOM}' >> {CONFIGURATION} && systemctl restart {REDIS}")
    try:
        yield lambda: None
    finally:
        lab.run(mailer, f"sed -i '$d' {CONFIGURATION} && systemctl restart {REDIS}")


@contextlib.contextmanager
def little_disk(lab: Lab, mailer: str, token: str) -> Iterator[MakeRoom]:
    """A disk of its own, which is made larger at last. Redis ends itself at each write until then."""
    known = engine.find(lab.known["engine"], state=state.CACHE)
    pid = known.text("inspect", "--format", "{{.State.Pid}}", lab.known["hosts"][mailer]["container"])

    def mount(options: str) -> None:
        command = ["nsenter", "-t", pid, "-m", "mount", "-t", "tmpfs", "-o", options, "tmpfs", DATA]
        subprocess.run([*known.prefix[:2], *command], check=True, capture_output=True)

    lab.run(mailer, f"systemctl stop {REDIS} && rm -rf /var/lib/kept && cp -a {DATA} /var/lib/kept")
    used = int(lab.run(mailer, "du -sb /var/lib/kept | cut -f 1").stdout)
    mount(f"size={used + ROOM},mode=0750")
    move = f"chown redis:redis {DATA} && cp -a /var/lib/kept/. {DATA} && rm -r /var/lib/kept"
    lab.run(mailer, f"{move} && systemctl start {REDIS}")

    def make_room() -> None:
        ready.wait("more starts than systemd does by itself", lambda: tries() > 5)
        mount(f"remount,size={used + (100 << 20)}")

    def tries() -> int:
        bring(lab, mailer, token, ways=["http"])
        return int(lab.run(mailer, ["systemctl", "show", "--value", "-p", "NRestarts", REDIS]).stdout)

    yield make_room


@pytest.mark.parametrize("mailer", MAILERS if LONG else MAILERS[:1])
def test_no_memory_left(lab: Lab, token: str, mailer: str) -> None:
    fills_and_empties(lab, mailer, token, little_memory(lab, mailer))


@pytest.mark.parametrize("mailer", MAILERS if LONG else MAILERS[1:])
def test_no_disk_left(lab: Lab, token: str, mailer: str) -> None:
    """It is left on the disk that has grown."""
    fills_and_empties(lab, mailer, token, little_disk(lab, mailer, token))
