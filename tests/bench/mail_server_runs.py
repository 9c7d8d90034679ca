# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""First and second run of mail_server on a bare Debian 12, against DebOps' roles for Postfix, Dovecot and rspamd on another.

Start it with ./dev bench, or with molecule/shared on PYTHONPATH. It puts up a lab of its own (index 28) and takes it
down again. The peer is read from the folder debops in PEER_PATH, a virtual environment with the packages debops, ansible
(12), netaddr and passlib of PyPI; without it "not run" is printed. Both keep mail for virtual users in Dovecot behind
rspamd; only ours also has a resolver, a ban of who guesses passwords, and the accounts themselves. Second runs alternate.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "molecule" / "shared"))

from lab import control  # noqa: E402
from lab.hosts import Plan  # noqa: E402
from lab.plays import Played, play  # noqa: E402
from lab.probe import Lab, ProbeError  # noqa: E402

NAME, INDEX, ROUNDS = "benchmail", 28, 2
OURS, PEERS = "mail-12", "sat-postfix-12"
GOAL_TASKS, GOAL_RATIO = 30, 0.2
SCENARIO = ROOT / "molecule" / "mail_server"
SERVICES = ("postfix", "dovecot", "rspamd")
# What these roles ask for besides is left out where the peer can do without.
INVENTORY = f"""
debops_all_hosts:
  hosts: {{{PEERS}: {{}}}}
  vars:
    ferm__enabled: false
    ldap__enabled: false
    pki_enabled: false
    dovecot__user_accounts: [deny, passwdfile]
    dovecot__features: [imap, lmtp, sieve, managesieve]
"""
# Conditions that are no booleans, which ansible-core 2.19 refuses, are let pass.
CONFIGURATION = "[defaults]\nallow_broken_conditionals = true\n[ssh_connection]\npipelining = true\n"
MANY = {
    "domains": [f"d{number}.post.example" for number in range(50)],
    "users": [
        {"address": f"u{user}@d{number}.post.example", "password_hash": "$6$saltsalt$" + "." * 86}
        for number in range(50)
        for user in range(20)
    ],
    "role_address": "u0@d0.post.example",
}


@dataclass
class Run:
    """What one run took (seconds), how many of its calls reached the host, and how many of them changed something."""

    seconds: float
    calls: int
    changed: int

    @classmethod
    def of(cls, host: str, started: float, *played: Played) -> Run:
        """The sum of some playbooks."""
        seconds = time.monotonic() - started
        calls = sum(one.calls.get(host, 0) for one in played)
        return cls(seconds, calls, sum(len(one.changed.get(host, ())) for one in played))

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s, {self.calls} calls reach the host, {self.changed} of them change something"


def ours(lab: Lab, **extra: Any) -> Run:
    """One run of the role."""
    started = time.monotonic()
    played = play(lab, SCENARIO / "converge.yml", limit=OURS, inventories=(), extra=extra, timeout=1800)
    return Run.of(OURS, started, played)


class Peer:
    """DebOps, with its own Ansible."""

    def __init__(self, venv: Path, folder: Path) -> None:
        (self.packages,) = venv.glob("lib/python3*/site-packages")
        self.collections = self.packages / "debops" / "_data" / "ansible" / "collections"
        self.program = venv / "bin" / "ansible-playbook"
        self.inventory, self.configuration = folder / "debops.yml", folder / "debops.cfg"
        groups = "".join(f"debops_service_{name}: {{hosts: {{{PEERS}: {{}}}}}}\n" for name in SERVICES)
        secrets = f"    secret__root: {folder}/secret\n"
        self.inventory.write_text(groups + INVENTORY + secrets, encoding="utf-8")
        self.configuration.write_text(CONFIGURATION, encoding="utf-8")

    def run(self, lab: Lab) -> Run:
        """The three playbooks, one after the other."""
        started, played = time.monotonic(), []
        environment = {
            "ANSIBLE_COLLECTIONS_PATH": f"{self.collections}:{self.packages}",
            "ANSIBLE_CONFIG": str(self.configuration),
            "PYTHONPATH": "",
        }
        options: dict[str, Any] = {"program": self.program, "environment": environment, "timeout": 1800}
        for name in SERVICES:
            path = self.collections / "ansible_collections/debops/debops/playbooks/service" / f"{name}.yml"
            played.append(play(lab, path, limit=PEERS, inventories=[self.inventory], **options))
        return Run.of(PEERS, started, *played)


def peer(folder: Path) -> Peer | None:
    """The peer, if it is at hand."""
    given = os.environ.get("PEER_PATH")
    venv = Path(given) / "debops" if given else None
    return Peer(venv, folder) if venv and (venv / "bin" / "ansible-playbook").exists() else None


def first_of(lab: Lab, other: Peer | None) -> Peer | None:
    """First runs, each on a bare host; a peer that fails is told of and takes no part in what follows."""
    play(lab, SCENARIO / "prepare.yml", inventories=(), limit=OURS)
    lab.run(OURS, "rm /etc/rspamd/local.d/options.inc")  # which spares the tests time
    print(f"mail_server, first run: {ours(lab)}", flush=True)
    if other is None:
        print("DebOps: not run (PEER_PATH names no folder with a virtual environment debops)")
        return None
    try:
        print(f"DebOps' postfix, dovecot and rspamd, first run: {other.run(lab)}", flush=True)
    except (ProbeError, subprocess.TimeoutExpired) as err:
        print(f"DebOps: failed, with {CONFIGURATION!r} and {INVENTORY!r}:\n{str(err)[-1500:]}")
        return None
    return other


def report(lab: Lab, other: Peer | None) -> None:
    """Measure and print."""
    other = first_of(lab, other)
    own, theirs = [], []
    for dummy in range(ROUNDS):
        own.append(ours(lab))
        theirs += [other.run(lab)] if other else []
    last, middle = own[-1], statistics.median(run.seconds for run in own)
    verdict = "met" if last.calls <= GOAL_TASKS and not last.changed else "missed"
    print(f"mail_server, second runs: {last} (goal: {GOAL_TASKS} calls at most, none): {verdict}")
    if theirs:
        ratio = middle / statistics.median(run.seconds for run in theirs)
        print(f"DebOps, second runs: {theirs[-1]}")
        print(
            f"ratio of the medians {ratio:.3f} (goal: {GOAL_RATIO} at most): {'met' if ratio <= GOAL_RATIO else 'missed'}"
        )
    extra = {"mail_server_accounts": MANY, "mail_server_dkim_keys": []}
    print(f"1,000 users in 50 domains come: {ours(lab, **extra)}")
    print(f"the run after: {ours(lab, **extra)}")


def main() -> None:
    """Put the lab up, measure, take it down."""
    say = control.narrator()
    control.up(Plan(NAME, INDEX), hosts=control.choose((OURS, PEERS)), engine_name="auto", say=say)
    try:
        print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
        with tempfile.TemporaryDirectory() as folder:
            report(Lab.load(NAME), peer(Path(folder)))
    finally:
        control.down(NAME, engine_name="auto", say=say)


if __name__ == "__main__":
    main()
