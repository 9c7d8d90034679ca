# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the world reaches with either firewall and without one, and that no other table is touched."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest
from lab import ready
from lab.probe import Lab
from servers import HOSTS, Imap, arrive, converge

FULL = os.environ.get("MAIL_TEST_FULL") == "1"
# By host. The long form has them the other way round, too.
FIREWALLS = [("ufw", "nftables"), *([("nftables", "ufw")] if FULL else [])]
CLOSED, OPEN = 8080, (22, 25, 465, 587, 993, 4190)
PORT80 = "/usr/local/lib/postmaster.mail/port80"
# Runs on another host: which ports answer; one that drops is as silent as one whose packets are lost.
PROBE = """
import socket, sys
host, *ports = sys.argv[1:]
for port in ports:
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
        print(port)
    except OSError:
        pass
"""
FOREIGN = "nft 'add table inet foreign; add chain inet foreign c { type filter hook input priority 10; }'"
LISTEN = "python3 -m http.server --bind :: {} >/dev/null 2>&1 </dev/null & echo $!"


def reached(lab: Lab, host: str, *ports: int) -> set[int]:
    """Ports that answer somebody in the internet, by IPv4 and IPv6 alike."""
    seen = []
    for version in (4, 6):
        asked = ["python3", "-c", PROBE, lab.address(host, version=version), *map(str, ports)]
        seen.append({int(port) for port in lab.run("stranger", asked).stdout.split()})
    assert seen[0] == seen[1], seen
    return seen[0]


@contextlib.contextmanager
def listeners(lab: Lab, *ports: int) -> Iterator[None]:
    """Something that nobody asked for listens there."""
    pids = {host: [lab.run(host, LISTEN.format(port)).stdout.strip() for port in ports] for host in HOSTS}
    try:
        for host in HOSTS:
            ready.wait("the listeners", lambda h=host: all(lab.listeners(h, port) for port in ports))  # type: ignore[misc]
        yield
    finally:
        for host, found in pids.items():
            lab.run(host, ["kill", *found])


@pytest.fixture
def no_firewall_afterwards(lab: Lab) -> Iterator[None]:
    """The other tests find the hosts as they were."""
    try:
        yield
    finally:
        for host in HOSTS:
            lab.run(host, "ufw --force reset; ufw --force disable; nft delete table inet foreign", check=False)
            lab.run(host, "systemctl restart fail2ban; fail2ban-client set mail_server unbanip 192.0.2.1", check=False)
        converge(lab)


@pytest.mark.parametrize("firewalls", FIREWALLS)
@pytest.mark.usefixtures("no_firewall_afterwards")
def test_only_the_ports_in_use_are_open(lab: Lab, token: str, firewalls: tuple[str, str]) -> None:
    of = dict(zip(HOSTS, firewalls, strict=True))
    with listeners(lab, CLOSED, 80):
        for host in HOSTS:
            lab.run(host, FOREIGN)
            lab.run(host, "fail2ban-client set mail_server banip 192.0.2.1")
            assert reached(lab, host, CLOSED, 80, *OPEN) == {CLOSED, 80, *OPEN}
            lab.run(host, [PORT80, "open"])
            lab.run(host, [PORT80, "close"])
            assert reached(lab, host, 80) == {80}
        extra = {"mail_server_firewall": "{{ firewalls[inventory_hostname] }}", "firewalls": of}
        assert set(converge(lab, extra=extra, check=True).changed) == set(HOSTS)
        assert reached(lab, HOSTS[0], CLOSED) == {CLOSED}
        converge(lab, extra=extra)
        assert converge(lab, extra=extra).changed == {}
        for host in HOSTS:
            assert reached(lab, host, CLOSED, 80, *OPEN) == set(OPEN)
            assert lab.run(host, "nft list table inet foreign").stdout
            assert "192.0.2.1" in lab.run(host, "nft list table inet f2b-table").stdout
            lab.run(host, [PORT80, "open"])
            lab.run(host, [PORT80, "open"])
            assert reached(lab, host, CLOSED, 80) == {80}
            lab.run(host, [PORT80, "close"])
            lab.run(host, [PORT80, "close"])
            assert reached(lab, host, 80) == set()
            assert arrive(lab, host, f"{token}-{host}").accepted
            with Imap(lab, host):
                pass
        _what_is_flushed_or_broken(lab, [host for host in HOSTS if of[host] == "nftables"])


def _what_is_flushed_or_broken(lab: Lab, hosts: list[str]) -> None:
    for host in hosts:
        lab.run(host, "nft flush ruleset")
        assert reached(lab, host, CLOSED) == {CLOSED}
    extra = {"mail_server_firewall": "nftables", "mail_server_firewall_open": [CLOSED]}
    changed = converge(lab, limit=",".join(hosts), extra=extra).changed
    for host in hosts:
        assert {"Configure the firewall", "The firewall runs"} <= set(changed[host])
        assert reached(lab, host, CLOSED, 80, 25) == {CLOSED, 25}
        # Debian's own unit flushes everything when it is restarted; ours follows it, which systemctl does not wait for.
        lab.run(
            host, "systemctl restart nftables; while systemctl list-jobs | grep -q mail-firewall; do sleep 0.1; done"
        )
        assert reached(lab, host, CLOSED, 80, 25) == {CLOSED, 25}
        lab.run(host, "systemctl stop nftables", check=False)
