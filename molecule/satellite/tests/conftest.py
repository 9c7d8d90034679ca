# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The satellites, converged once for all tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from lab.plays import Played, play
from lab.probe import Lab
from lab.queues import without_filters

HERE = Path(__file__).resolve().parent
PLAYBOOK = HERE.parents[2] / "playbooks" / "satellite.yml"
MONITOR = HERE.parents[2] / "playbooks" / "queue_monitor.yml"
ESTATE = HERE.parent / "estate"
HOSTS = ("sat-postfix-12", "sat-postfix-13", "sat-exim-12", "sat-exim-13")


@pytest.fixture(scope="session")
def converge(lab: Lab) -> Callable[..., Played]:
    """Runs playbooks/satellite.yml on all satellites at once; options as those of lab.plays.play."""

    def run(**options: object) -> Played:
        return play(lab, PLAYBOOK, inventories=[ESTATE], **options)  # type: ignore[arg-type]

    return run


@dataclass(frozen=True)
class Obstacle:
    """Something on a bare host that ends a run before it has changed anything; ``says`` is what the run says of it."""

    hosts: tuple[str, str]
    do: str
    undo: str
    says: str


# Each on one host of either program and of either release.
OBSTACLES = {
    "release": Obstacle(
        ("sat-postfix-12", "sat-exim-13"),
        "cp -P /etc/os-release /etc/os-release.kept"
        " && sed 's/^VERSION_CODENAME=.*/VERSION_CODENAME=bullseye/; s/^PRETTY_NAME=.*/PRETTY_NAME=Old/'"
        " /usr/lib/os-release > /etc/os-release.new && mv /etc/os-release.new /etc/os-release",
        "mv /etc/os-release.kept /etc/os-release",
        "Old is not supported: use a host with Debian bookworm or trixie",
    ),
    "space": Obstacle(
        ("sat-postfix-13", "sat-exim-12"),
        "mv /var/spool /var/spool.kept && ln -s /dev/shm /var/spool",
        "rm /var/spool && mv /var/spool.kept /var/spool",
        "MiB free of the 100 MiB needed: free some or enlarge its file system",
    ),
    "port on IPv6": Obstacle(
        ("sat-postfix-12", "sat-exim-13"),
        "systemd-run --quiet --unit=intruder python3 -m http.server --bind ::1 25"
        " && until ss -Hltn sport = :25 | grep -q ::1; do sleep .1; done",
        "systemctl stop intruder",
        "Port 25 on ::1 is taken by python3 (process ",
    ),
    "port on IPv4": Obstacle(
        ("sat-postfix-13", "sat-exim-12"),
        "systemd-run --quiet --unit=intruder python3 -m http.server --bind 127.0.0.1 25"
        " && until ss -Hltn sport = :25 | grep -q 127.0.0.1; do sleep .1; done",
        "systemctl stop intruder",
        "Port 25 on 127.0.0.1 is taken by python3 (process ",
    ),
}
ROUNDS = (("release", "space"), ("port on IPv6", "port on IPv4"))


@pytest.fixture(scope="session")
def refused(lab: Lab, converge: Callable[..., Played]) -> dict[str, Played]:
    """Runs on bare hosts, each of which has something in the way, by the obstacle's name."""
    found = {}
    for names in ROUNDS:
        obstacles = [OBSTACLES[name] for name in names]
        for obstacle in obstacles:
            for host in obstacle.hosts:
                lab.run(host, obstacle.do)
        try:
            found |= dict.fromkeys(names, converge(must_pass=False))
        finally:
            for obstacle in obstacles:
                for host in obstacle.hosts:
                    lab.run(host, obstacle.undo)
    return found


def monitor(lab: Lab, folder: Path, *, servers: Sequence[str] = (), **options: object) -> Played:
    """Runs playbooks/queue_monitor.yml on all satellites, and for the rules on some of them."""
    variables = {
        "queue_monitor_interval": 3600,
        "queue_monitor_failure_units": ["all"],
        "queue_monitor_node_exporter": "{{ inventory_hostname in ['sat-postfix-13', 'sat-exim-12'] }}",
    }
    groups = {
        "queue_monitors": {"hosts": {host: {} for host in HOSTS}, "vars": variables},
        "prometheus_servers": {"hosts": {host: {} for host in servers}},
    }
    inventory = folder / "monitors.yml"
    inventory.write_text(yaml.safe_dump({"all": {"children": groups}}), encoding="utf-8")
    for host in HOSTS:
        without_filters(lab, host)
    return play(lab, MONITOR, inventories=[ESTATE, inventory], **options)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def monitor_foreseen(lab: Lab, refused: object, tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Check mode of playbooks/queue_monitor.yml on hosts that are still bare."""
    return monitor(lab, tmp_path_factory.mktemp("foreseen"), check=True)


@pytest.fixture(scope="session", autouse=True)
def runs(converge: Callable[..., Played], refused: dict[str, Played], monitor_foreseen: Played) -> dict[str, Played]:
    """Nothing is in the way any more: check mode on bare hosts, then twice for real, at last two hosts at a time."""
    return {"foreseen": converge(check=True), "first": converge(), "second": converge(extra={"satellite_serial": 2})}


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest) -> str:
    """Each satellite in turn."""
    return str(request.param)
