# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""First and second run of mail_server on a bare Debian 12, against DebOps' roles for Postfix, Dovecot and rspamd on another.

Start it with ./dev bench, or with molecule/shared on PYTHONPATH. It puts up a lab of its own (index 28) and takes it
down again. The peer is read from the folder debops in PEER_PATH, a virtual environment with the packages debops, ansible and
netaddr of PyPI; without it "not run" is printed. Both keep mail for virtual users in Dovecot behind rspamd; only ours
also has a resolver, a ban of who guesses passwords, and accounts with quotas. Second runs alternate.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "molecule" / "shared"))

from lab import control  # noqa: E402
from lab.hosts import Plan  # noqa: E402
from lab.plays import Played, play  # noqa: E402
from lab.probe import Lab, ProbeError  # noqa: E402

NAME, INDEX, ROUNDS = "benchmail", 28, 3
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
CONFIGURATION = "[defaults]\nhost_key_checking = true\n[ssh_connection]\npipelining = true\n"
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
class Measured:
    """Runs of one side: seconds of each, and how many calls of the last reached the host."""

    seconds: list[float] = field(default_factory=list)
    calls: int = 0
    changed: int = 0

    def note(self, played: Played, host: str, seconds: float) -> None:
        """One more run."""
        self.seconds.append(seconds)
        self.calls, self.changed = len(played.remote.get(host, ())), len(played.changed.get(host, ()))


def ours(lab: Lab, **extra: Any) -> tuple[Played, float]:
    """One run of the role."""
    start = time.monotonic()
    played = play(lab, SCENARIO / "converge.yml", limit=OURS, inventories=(), extra=extra, timeout=1800)
    return played, time.monotonic() - start


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

    def run(self, lab: Lab) -> tuple[list[Played], float]:
        """The three playbooks, one after the other."""
        start, done = time.monotonic(), []
        for name in SERVICES:
            path = self.collections / "ansible_collections/debops/debops/playbooks/service" / f"{name}.yml"
            environment = {
                "ANSIBLE_COLLECTIONS_PATH": f"{self.collections}:{self.packages}",
                "ANSIBLE_CONFIG": str(self.configuration),
                "PYTHONPATH": "",
            }
            done.append(
                play(lab, path, limit=PEERS, inventories=[self.inventory], program=self.program,
                     environment=environment, timeout=1800)
            )  # fmt: skip
        return done, time.monotonic() - start


def peer(folder: Path) -> Peer | None:
    """The peer, if it is at hand."""
    given = os.environ.get("PEER_PATH")
    venv = Path(given) / "debops" if given else None
    return Peer(venv, folder) if venv and (venv / "bin" / "ansible-playbook").exists() else None


def report(lab: Lab, other: Peer | None) -> None:
    """Measure and print."""
    own, theirs = Measured(), Measured()
    play(lab, SCENARIO / "prepare.yml", inventories=(), limit=f"{OURS},localhost")
    played, first = ours(lab)
    print(f"mail_server, first run on a bare host: {first:.0f} s, {len(played.remote[OURS])} calls reach the host")
    if other is None:
        print("DebOps: not run (PEER_PATH names no folder with a virtual environment debops)")
    else:
        try:
            done, seconds = other.run(lab)
            calls = sum(len(one.remote.get(PEERS, ())) for one in done)
            print(f"DebOps' postfix, dovecot and rspamd, first run: {seconds:.0f} s, {calls} calls")
        except (ProbeError, subprocess.TimeoutExpired) as err:
            print(f"DebOps: failed, with {CONFIGURATION!r} and {INVENTORY!r}:\n{str(err)[-1500:]}")
            other = None
    for dummy in range(ROUNDS):
        own.note(*_with(ours(lab), OURS))
        if other is not None:
            done, seconds = other.run(lab)
            theirs.seconds.append(seconds)
            theirs.calls = sum(len(one.remote.get(PEERS, ())) for one in done)
            theirs.changed = sum(len(one.changed.get(PEERS, ())) for one in done)
    middle = statistics.median(own.seconds)
    met = own.calls <= GOAL_TASKS and not own.changed
    print(f"mail_server, second run: {middle:.1f} s, {own.calls} calls, {own.changed} changes "
          f"(goal: {GOAL_TASKS} calls, none): {'met' if met else 'missed'}")  # fmt: skip
    if other is not None:
        ratio = middle / statistics.median(theirs.seconds)
        print(f"DebOps, second run: {statistics.median(theirs.seconds):.1f} s, {theirs.calls} calls, {theirs.changed} changes")
        print(f"ratio {ratio:.3f} (goal: {GOAL_RATIO}): {'met' if ratio <= GOAL_RATIO else 'missed'}")
    many, dummy = ours(lab, mail_server_accounts=MANY, mail_server_dkim_keys=[])
    again, seconds = ours(lab, mail_server_accounts=MANY, mail_server_dkim_keys=[])
    print(f"1,000 users in 50 domains: {len(many.remote[OURS])} calls when they come, {len(again.remote[OURS])} on the run after, "
          f"{seconds / middle:.2f} times the seconds")  # fmt: skip


def _with(run: tuple[Played, float], host: str) -> tuple[Played, str, float]:
    return run[0], host, run[1]


def main() -> None:
    """Put the lab up, measure, take it down."""
    import tempfile

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
