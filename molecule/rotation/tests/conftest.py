# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two relays that sign, steady mail through both, and a witness who verifies every message at every place."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab.plays import CALLBACKS, ESTATE, Played, play
from lab.probe import Lab
from lab.witness import Witness

HERE = Path(__file__).resolve().parent
PLAYBOOKS = HERE.parents[2] / "playbooks"
ESTATES = [ESTATE, HERE.parent / "estate"]
RELAYS = ("relay1", "relay2")
LIFETIME = 12  # of the queues, as in the estate
# A message of each domain every 0.8 s from each relay: five a second in all.
STEADY = r"""
n=0
while :; do
    for domain in corp.example shop.example; do
        n=$((n + 1))
        printf 'From: Alex <alex@%s>\nTo: x@outside.test\nSubject: steady %s\n\nHello\n' $domain $n |
            sendmail -f alex@$domain x@outside.test
        sleep 0.4
    done
done
"""


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
        with tempfile.NamedTemporaryFile("r", suffix=".jsonl", encoding="utf-8") as record:
            environment = {
                **os.environ,
                "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS),
                "ANSIBLE_CALLBACKS_ENABLED": "record",
                "ANSIBLE_NOCOLOR": "1",
                "LAB_RECORD": record.name,
            }
            command = [str(Path(sys.executable).parent / "ansible-playbook"), "-e", json.dumps(extra)]
            for inventory in (self.lab.known["inventory"], *ESTATES):
                command += ["-i", str(inventory)]
            process = subprocess.Popen(
                [*command, str(PLAYBOOKS / "rotate_dkim.yml")],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            while process.poll() is None:
                if any(self._is(line, task) for line in record):
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                    return True
                time.sleep(0.02)
        return False

    @staticmethod
    def _is(line: str, task: str) -> bool:
        try:
            entry = json.loads(line)
        except ValueError:  # half a line; it comes again with the rest of it, or the run ends
            return False
        return entry["kind"] == "ok" and entry["task"].rpartition(" : ")[2] == task

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
        lab.run(relay, ["systemd-run", "--unit=steady-mail", "--collect", "bash", "-c", STEADY])
    witness.start()
    yield witness
    for relay in RELAYS:
        lab.run(relay, ["systemctl", "stop", "steady-mail"], check=False)
    witness.stop()
