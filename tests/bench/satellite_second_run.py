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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "molecule" / "shared"))

from lab import control  # noqa: E402
from lab.hosts import Plan  # noqa: E402
from lab.plays import Played, play  # noqa: E402
from lab.probe import Lab  # noqa: E402

NAME, INDEX, ROUNDS = "benchsat", 29, 5
HOSTS = ("sat-postfix-13", "sat-exim-13")
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


@contextmanager
def playbook(text: str) -> Iterator[Path]:
    """A playbook in a file of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.yml"
        path.write_text(text, encoding="utf-8")
        yield path


def median(lab: Lab, path: Path, host: str, **options: object) -> tuple[float, Played]:
    """Median seconds of some runs after a first that does not count, and the last of them."""
    play(lab, path, limit=host, inventories=[], **options)  # type: ignore[arg-type]
    seconds = []
    for dummy in range(ROUNDS):
        start = time.monotonic()
        played = play(lab, path, limit=host, inventories=[], **options)  # type: ignore[arg-type]
        seconds.append(time.monotonic() - start)
    return statistics.median(seconds), played


def peer_role() -> Path | None:
    """The peer's role, if it is at hand."""
    folder = os.environ.get("PEER_PATH")
    names = ("linux-system-roles.postfix", "postfix") if folder else ()
    return next((Path(folder or "") / name for name in names if (Path(folder or "") / name / "tasks").is_dir()), None)


def report(lab: Lab) -> None:
    """Measure and print."""
    with playbook(FLOOR.format(host="satellites")) as path:
        floor, dummy = median(lab, path, HOSTS[0])
    own = {}
    for host in HOSTS:
        own[host], played = median(lab, ROOT / "playbooks" / "satellite.yml", host, extra=SETTINGS)
        reached = played.remote[host]
        verdict = "met" if len(reached) <= GOAL_TASKS and not played.changed else "missed"
        print(f"{host}: {len(reached)} tasks reach the host (goal: {GOAL_TASKS} at most, none changed): {verdict}")
        print(f"{host}: second run {own[host]:.2f} s, {own[host] / floor:.1f} times minimal facts and one ping")
    role = peer_role()
    if role is None:
        print("linux-system-roles' postfix: not run (PEER_PATH names no folder that holds it)")
        return
    with playbook(PEER.format(host=HOSTS[0], role=role)) as path:
        peer, played = median(lab, path, HOSTS[0])
    ratio = own[HOSTS[0]] / peer
    print(f"{HOSTS[0]}: linux-system-roles' postfix: {len(played.remote[HOSTS[0]])} tasks reach the host, {peer:.2f} s")
    print(f"{HOSTS[0]}: ratio {ratio:.2f} (goal: {GOAL_RATIO} at most): {'met' if ratio <= GOAL_RATIO else 'missed'}")


def main() -> None:
    """Put the lab up, measure, take it down."""
    say = control.narrator()
    control.up(Plan(NAME, INDEX), hosts=control.choose(HOSTS), engine_name="auto", say=say)
    try:
        print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
        report(Lab.load(NAME))
    finally:
        control.down(NAME, engine_name="auto", say=say)


if __name__ == "__main__":
    main()
