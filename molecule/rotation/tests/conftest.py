# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two relays that sign, steady mail through both, and a witness who verifies every message at every place."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from lab.plays import ESTATE, Played, play
from lab.probe import Lab
from lab.witness import Witness

HERE = Path(__file__).resolve().parent
PLAYBOOKS = HERE.parents[2] / "playbooks"
ESTATES = [ESTATE, HERE.parent / "estate"]
RELAYS = ("relay1", "relay2")
LIFETIME = 12  # of the queues, as in the estate
DOMAINS = ("corp.example", "shop.example", "news.corp.example")
RATE = 3.4  # messages a second from each relay, whatever a message takes
# Each is numbered, and what the relay took is counted. Who is late hurries.
STEADY = r"""
import itertools, subprocess, sys, time
relay, rate, count, domains = sys.argv[1], float(sys.argv[2]), sys.argv[3], sys.argv[4:]
begin = time.monotonic()
for number, domain in zip(itertools.count(1), itertools.cycle(domains)):
    text = f"From: Alex <alex@{domain}>\nTo: x@outside.test\nMessage-ID: <steady.{number}@{relay}.test>\n"
    text += f"Subject: steady {relay} {number}\n\nHello\n"
    subprocess.run(["sendmail", "-f", f"alex@{domain}", "x@outside.test"], input=text.encode(), check=True)
    with open(count, "w") as file:
        file.write(f"{number} {time.monotonic() - begin}")
    time.sleep(max(0, begin + number / rate - time.monotonic()))
"""
COUNT = "/run/steady-mail"
STEADY_ID = re.compile(r"(?m)^(\w+): message-id=<steady\.([0-9]+)@")


class Rotator:
    """Runs the playbook, as a timer would."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def run(self, *options: str, **extra: Any) -> Played:
        """A run to its end, whatever that is."""
        playbook = PLAYBOOKS / "rotate_dkim.yml"
        return play(self.lab, playbook, inventories=ESTATES, extra=extra, options=options, must_pass=False, timeout=900)

    def killed_after(self, task: str, **extra: Any) -> bool:
        """A run that is killed when ``task`` is done on some host; False if it came to its end before."""
        playbook = PLAYBOOKS / "rotate_dkim.yml"
        killed = play(self.lab, playbook, inventories=ESTATES, extra=extra, kill_after=task, must_pass=False)
        return killed.code == -signal.SIGKILL

    def killed_in(self, tasks: Sequence[str], **extra: Any) -> dict[str, int]:
        """A run killed after each of ``tasks``; one that ends before is repeated. By task how many runs that took."""
        runs: dict[str, int] = {}
        for task in tasks:
            end, runs[task] = time.monotonic() + 600, 1
            while not self.killed_after(task, **extra):
                assert time.monotonic() < end, f"no run came to {task}: {self.keys()}"
                runs[task] += 1
                time.sleep(2)
        return runs

    def keys(self) -> dict[str, dict[tuple[str, str], str]]:
        """By relay: the state of each key, by domain and selector."""
        found: dict[str, dict[tuple[str, str], str]] = {}
        for relay in RELAYS:
            said = self.lab.run(
                relay, "cd /etc/dkimkeys && for f in *.json; do echo $f; tr -d '\\n' <$f; echo; done"
            ).stdout
            lines = said.splitlines()
            found[relay] = {
                (name.removesuffix(".json"), key["selector"]): key["state"]
                for name, text in zip(lines[::2], lines[1::2], strict=True)
                for key in json.loads(text)["keys"]
            }
        return found

    def active(self) -> dict[str, set[tuple[str, str]]]:
        """By relay: what it signs with."""
        return {relay: {key for key, state in keys.items() if state == "active"} for relay, keys in self.keys().items()}

    def stop_mail(self) -> dict[str, tuple[int, float]]:
        """No more mail is sent: by relay how many messages it took, and in how many seconds."""
        for relay in RELAYS:
            self.lab.run(relay, ["systemctl", "stop", "steady-mail"], check=False)
        told = {relay: self.lab.run(relay, ["cat", COUNT]).stdout.split() for relay in RELAYS}
        return {relay: (int(number), float(seconds)) for relay, (number, seconds) in told.items()}

    def returned(self) -> dict[str, dict[int, str]]:
        """By relay the numbers of messages that went back to their sender, with what was said last."""
        found: dict[str, dict[int, str]] = {relay: {} for relay in RELAYS}
        for relay in RELAYS:
            log = self.lab.run(relay, "journalctl --no-pager -o cat -u 'postfix*'").stdout
            numbers = {queued: int(number) for queued, number in STEADY_ID.findall(log)}
            gone = set(re.findall(r"(?m)^(\w+): .*status=(?:bounced|expired)", log))
            for queued, reason in re.findall(r"(?m)^(\w+): to=.*(status=(?:deferred|bounced).*)$", log):
                if queued in gone & set(numbers):
                    found[relay][numbers[queued]] = reason
        return found


@pytest.fixture(scope="session")
def rotator(lab: Lab) -> Rotator:
    """The relays are set up once."""
    play(lab, PLAYBOOKS / "relay.yml", inventories=ESTATES, timeout=1500)
    return Rotator(lab)


@pytest.fixture(scope="session")
def witness(lab: Lab, rotator: Rotator) -> Iterator[Witness]:
    """Mail flows and is verified from here on."""
    lab.forget_messages()
    witness = Witness(lab, lifetime=LIFETIME, signers=RELAYS)
    for relay in RELAYS:
        options = [relay, str(RATE), COUNT, *DOMAINS]
        lab.run(relay, ["systemd-run", "--unit=steady-mail", "--collect", "python3", "-c", STEADY, *options])
    witness.start()
    yield witness
    rotator.stop_mail()
    witness.stop()
