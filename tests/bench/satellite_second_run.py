# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A second run of the satellite roles on one host each, against a peer's role with the same settings on the same host.

Start it with ./dev bench, or with molecule/shared on PYTHONPATH. It puts up a lab of its own (index 29) and takes it
down again. The peer is linux-system-roles' postfix, read from the folder linux-system-roles.postfix (or postfix) in
PEER_PATH; without it "not run" is printed. The floor is minimal facts and one ping.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "molecule" / "shared"))

from lab import control  # noqa: E402
from lab.hosts import Plan  # noqa: E402
from lab.plays import Played, play  # noqa: E402
from lab.probe import Lab  # noqa: E402

NAME, INDEX, ROUNDS = "benchsat", 29, 5
HOSTS = ("sat-postfix-12", "sat-postfix-13", "sat-exim-12", "sat-exim-13")
GOAL_TASKS, GOAL_RATIO = 6, 0.5
SETTINGS = {
    "satellite_domain": "corp.example",
    "satellite_relay": "mx.outside.test",
    "satellite_root_address": "ops@outside.test",
}
FLOOR = """
- hosts: {host}
  gather_facts: true
  gather_subset: [min]
  tasks:
    - ansible.builtin.ping:
"""
PEER = """
- hosts: {host}
  roles:
    - role: {role}
      vars:
        postfix_backup: false
        postfix_conf:
          myhostname: {host}.corp.example
          myorigin: $myhostname
          mydestination: $myhostname, localhost, localhost.localdomain
          relayhost: "[mx.outside.test]:25"
          smtp_host_lookup: dns, native
          inet_interfaces: loopback-only
          inet_protocols: all
          mynetworks: 127.0.0.0/8, [::ffff:127.0.0.0]/104, [::1]/128
          smtpd_client_restrictions: permit_mynetworks, reject
          smtpd_relay_restrictions: permit_mynetworks, reject_unauth_destination
          smtpd_tls_security_level: none
          alias_maps: hash:/etc/aliases
          alias_database: hash:/etc/aliases
          masquerade_domains: corp.example
          mailbox_transport: "satellite:[mx.outside.test]:25"
          smtp_tls_security_level: encrypt
          smtp_tls_CAfile: /etc/ssl/certs/ca-certificates.crt
          maximal_queue_lifetime: 5d
          bounce_queue_lifetime: 5d
          notify_classes: resource, software, 2bounce
"""


@dataclass
class Measured:
    """A playbook's runs: how long each took, and what the last one did."""

    path: Path
    extra: dict[str, str] | None = None
    seconds: list[float] = field(default_factory=list)
    played: Played | None = None

    def run(self, lab: Lab, host: str) -> None:
        """Once more."""
        start = time.monotonic()
        self.played = play(lab, self.path, limit=host, inventories=[], extra=self.extra)
        self.seconds.append(time.monotonic() - start)

    @property
    def median(self) -> float:
        """The median run, in seconds."""
        return statistics.median(self.seconds)

    def reached(self, host: str) -> str:
        """How many of its tasks reached the host, and changed something."""
        assert self.played is not None
        return f"{len(self.played.remote[host])} tasks reach the host, {len(self.played.changed.get(host, ()))} of them change"


def measure(lab: Lab, host: str, candidates: Sequence[Measured]) -> None:
    """Run all of them in turn, so that whatever else the machine does weighs on each alike; first runs do not count."""
    for candidate in reversed(candidates):
        candidate.run(lab, host)
        candidate.seconds.clear()
    for dummy in range(ROUNDS):
        for candidate in candidates:
            candidate.run(lab, host)


def peer_role() -> Path | None:
    """The peer's role, if it is at hand."""
    folder = os.environ.get("PEER_PATH")
    names = ("linux-system-roles.postfix", "postfix") if folder else ()
    return next((Path(folder or "") / name for name in names if (Path(folder or "") / name / "tasks").is_dir()), None)


def report(lab: Lab, host: str, role: Path | None, folder: Path) -> None:
    """Measure on one host and print."""

    def written(name: str, text: str) -> Path:
        path = folder / f"{name}.yml"
        path.write_text(text, encoding="utf-8")
        return path

    own = Measured(ROOT / "playbooks" / "satellite.yml", SETTINGS)
    floor = Measured(written("floor", FLOOR.format(host=host)))
    peer = Measured(written("peer", PEER.format(host=host, role=role))) if role and "postfix" in host else None
    measure(lab, host, [own, floor, *([peer] if peer else [])])
    assert own.played is not None
    met = len(own.played.remote[host]) <= GOAL_TASKS and not own.played.changed
    print(f"{host}: {own.reached(host)} (goal: {GOAL_TASKS} at most, none): {'met' if met else 'missed'}")
    print(f"{host}: second run {own.median:.2f} s, {own.median / floor.median:.1f} times minimal facts and one ping")
    if peer:
        ratio, fastest = own.median / peer.median, min(own.seconds) / min(peer.seconds)
        verdict = "met" if ratio <= GOAL_RATIO else "missed"
        print(f"{host}: linux-system-roles' postfix: {peer.reached(host)}; {peer.median:.2f} s")
        print(f"{host}: ratio {ratio:.2f}, of the fastest runs {fastest:.2f} (goal: {GOAL_RATIO} at most): {verdict}")


def main() -> None:
    """Put the lab up, measure, take it down."""
    say = control.narrator()
    control.up(Plan(NAME, INDEX), hosts=control.choose(HOSTS), engine_name="auto", say=say)
    try:
        print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
        lab, role = Lab.load(NAME), peer_role()
        if role is None:
            print("linux-system-roles' postfix: not run (PEER_PATH names no folder that holds it)")
        for host in HOSTS:
            with tempfile.TemporaryDirectory() as folder:
                report(lab, host, role, Path(folder))
    finally:
        control.down(NAME, engine_name="auto", say=say)


if __name__ == "__main__":
    main()
