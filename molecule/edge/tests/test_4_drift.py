# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What somebody undoes by hand is mended by the next run, and the administration port stays closed."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator

import pytest
from edges import CLIENTS, EDGES, answered, knock, run
from lab import engine, state
from lab.probe import Lab

SERVE = """systemd-run --quiet --unit=port-{0} python3 -m http.server --bind :: {0}
    until ss -Hltn sport = :{0} | grep -q .; do sleep .1; done"""
FETCH = "import sys, urllib.request as u; print(u.urlopen(f'http://{sys.argv[1]}/', timeout=4).status)"
# Processes on the controller see the files of the container; only its network is to be changed.
LET = "mount --bind /proc/sys/net /proc/sys/net && mount -o remount,bind,rw /proc/sys/net"


@pytest.fixture(scope="module")
def sysctl_at_hand(lab: Lab) -> None:
    """A container may not change its own kernel's settings; a host may, so these of its network are opened to it."""
    known = engine.find(lab.known["engine"], state=state.CACHE)
    for edge in EDGES:
        pid = known.text("inspect", "--format", "{{.State.Pid}}", lab.known["hosts"][edge]["container"])
        subprocess.run(
            [*known.prefix[:2], "nsenter", "-t", pid, "-m", "sh", "-c", LET], check=True, capture_output=True
        )


FOUND, KEPT = "Keep the configuration as it was found", "Keep the configuration of the edge"
SPOIL = {
    "edge": "iptables -t nat -F POSTMASTER-SMTP-DNAT && ip6tables -D FORWARD 1",
    "edge-12": "nft flush chain inet postmaster_smtp incoming && rm /etc/nftables.d/*",
}


@pytest.mark.usefixtures("sysctl_at_hand")
def test_drift_is_mended(lab: Lab) -> None:
    for edge in EDGES:
        lab.run(edge, f"{SPOIL[edge]}; nft delete table inet postmaster_edge; systemctl disable -q mail-edge")
        lab.run(
            edge, "sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0; rm /etc/sysctl.d/mail-edge.conf"
        )
        assert not answered(knock(lab, CLIENTS[edge], edge))
    foreseen, mended = (run(lab, "edge", check=check) for check in (True, False))
    tasks = [
        "Configure the edge",
        "The administration port is closed",
        "Packets are forwarded",
        "The relay is reached by those in the list",
    ]
    assert foreseen.changed == mended.changed == {edge: [FOUND, *tasks, KEPT] for edge in EDGES}
    for edge in EDGES:
        for version in (4, 6):
            assert answered(knock(lab, CLIENTS[edge], edge, version=version))
        assert lab.run(edge, "systemctl is-enabled mail-edge").stdout == "enabled\n"


@pytest.mark.usefixtures("sysctl_at_hand")
def test_packets_are_forwarded_after_a_boot(lab: Lab) -> None:
    """By what reads the files at boot, from whatever the kernel starts with."""
    for edge in EDGES:
        asked = "sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding"
        lab.run(edge, "sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0")
        assert lab.run(edge, asked).stdout.split() == ["0", "0"]
        lab.run(edge, "/usr/lib/systemd/systemd-sysctl", check=False)
        assert lab.run(edge, asked).stdout.split() == ["1", "1"]


@pytest.fixture
def inside(lab: Lab) -> Iterator[str]:
    """Two ports of the relay that edge's owner lets pass, and a host outside that has a route to the relay."""
    relay, client, way = lab.address("relay1"), CLIENTS["edge"], f"{lab.address('relay1')} via {lab.address('edge')}"
    rule = "DOCKER-USER -p tcp -m multiport --ports 8006,8007 -j ACCEPT"
    lab.run("relay1", "\n".join(SERVE.format(port) for port in (8006, 8007)))
    lab.run("edge", f"iptables -I {rule}")
    lab.run(client, f"ip route add {way}")
    yield relay
    lab.run(client, f"ip route del {way}")
    lab.run("edge", f"iptables -D {rule}")
    lab.run("relay1", "systemctl stop port-8006 port-8007")


def test_the_administration_port_is_reached_by_the_tunnel_alone(lab: Lab, inside: str) -> None:
    def seen(port: int) -> bool:
        fetched = lab.run(CLIENTS["edge"], ["python3", "-c", FETCH, f"{inside}:{port}"], check=False)
        return fetched.stdout.strip() == "200"

    assert (seen(8007), seen(8006)) == (True, False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    way = f"127.0.0.1:{port}:{inside}:8006"
    tunnel = subprocess.Popen([*lab._ssh, "-S", "none", "-N", "-L", way, f"root@{lab.address('edge')}"])
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
                    client.sendall(b"HEAD / HTTP/1.0\r\n\r\n")
                    assert client.recv(64).split()[1] == b"200"
                    break
            except ConnectionRefusedError:
                time.sleep(0.2)
        else:
            raise AssertionError("no tunnel")
    finally:
        tunnel.terminate()
        tunnel.wait()
