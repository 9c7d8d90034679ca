# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real connections from clients through the edge to the relay, and of the relay to the world, in namespaces."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils._etckeeper_client import Etckeeper
from ansible_collections.postmaster.mail.plugins.module_utils._smtp_dnat_run import run

sys.path.insert(0, str(Path(__file__).parent))
from _namespace import Namespace, obstacle

pytestmark = pytest.mark.skipif(bool(obstacle()), reason=obstacle() or "-")

# The internet is one link, the network behind the edge a bridge. By version of IP: the public address, hosts that are on
# the list and not, another organisation's server, the relay and its neighbour.
PUBLIC = {4: "203.0.113.5", 6: "2001:db8:5::5"}
LISTED = {4: "192.0.2.25", 6: "2001:db8:2::25"}
STRANGER = {4: "192.0.2.99", 6: "2001:db8:2::99"}
OTHERS = {4: "192.0.2.26", 6: "2001:db8:2::26"}
EDGE = {4: ("192.0.2.1", "10.1.0.1"), 6: ("2001:db8:2::1", "fd00:1::1")}
RELAY = {4: "10.1.0.102", 6: "fd00:1::102"}
NEIGHBOUR = {4: "10.1.0.50", 6: "fd00:1::50"}
INSIDE = {4: "10.1.0.0/24", 6: "fd00:1::/64"}

BRIDGE = "br-lan"

SERVER = """
import socket, sys
server = socket.create_server(("::", 25), family=socket.AF_INET6, dualstack_ipv6=True)
print("ready", flush=True)
while True:
    connection, peer = server.accept()
    connection.sendall(f"{sys.argv[1]} sees {peer[0].removeprefix('::ffff:')}".encode())
    connection.close()
"""
CLIENT = """
import socket, sys
try:
    with socket.create_connection((sys.argv[2], 25), timeout=float(sys.argv[3]), source_address=(sys.argv[1], 0)) as one:
        print(one.makefile().read())
except OSError as err:
    print(type(err).__name__)
"""


class Net:
    """Client, edge, relay and a neighbour of the relay."""

    def __init__(self) -> None:
        self.client = Namespace()
        self.edge = Namespace(beside=self.client)
        self.relay = Namespace(beside=self.client)
        self.neighbour = Namespace(beside=self.client)
        self.servers: list[subprocess.Popen[str]] = []
        self._link(self.client, "wan", [*LISTED.values(), *STRANGER.values(), *OTHERS.values()], to="")
        self.edge.run("ip", "link", "add", BRIDGE, "type", "bridge")
        self._link(self.relay, "relay", [*RELAY.values()], to=BRIDGE)
        self._link(self.neighbour, "near", [*NEIGHBOUR.values()], to=BRIDGE)
        for version in (4, 6):
            outside, inside = EDGE[version]
            bits, where = (24, "default") if version == 4 else (64, "default")
            self.edge.run("ip", "address", "add", f"{outside}/{bits}", "dev", "wan", *self._nodad(version))
            self.edge.run("ip", "address", "add", f"{inside}/{bits}", "dev", BRIDGE, *self._nodad(version))
            self.edge.run("ip", "address", "add", f"{PUBLIC[version]}/{32 if version == 4 else 128}", "dev", "lo")
            self.client.run("ip", "route", "add", f"{PUBLIC[version]}", "via", outside)
            for host in (self.relay, self.neighbour):
                host.run("ip", f"-{version}", "route", "add", where, "via", inside)
        self.edge.run("ip", "link", "set", BRIDGE, "up")
        self.edge.set("net.ipv4.ip_forward", "1")
        self.edge.set("net.ipv6.conf.all.forwarding", "1")
        self._serve(self.client, "another server")
        self._serve(self.relay, "relay")
        self._serve(self.neighbour, "itself")

    def _link(self, host: Namespace, name: str, addresses: list[str], *, to: str) -> None:
        self.edge.run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", host.pid)
        if to:
            self.edge.run("ip", "link", "set", name, "master", to)
        self.edge.run("ip", "link", "set", name, "up")
        for address in addresses:
            version = 6 if ":" in address else 4
            bits = 64 if version == 6 else 24
            host.run("ip", "address", "add", f"{address}/{bits}", "dev", "eth0", *self._nodad(version))
        host.run("ip", "link", "set", "eth0", "up")

    def _nodad(self, version: int) -> list[str]:
        return ["nodad"] if version == 6 else []

    def _serve(self, host: Namespace, name: str) -> None:
        argv = [*host.enter, sys.executable, "-c", SERVER, name]
        server = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        self.servers.append(server)

    def close(self) -> None:
        for server in self.servers:
            server.kill()
            server.wait()
            assert server.stdout is not None
            server.stdout.close()
        for host in (self.client, self.edge, self.relay, self.neighbour):
            host.close()

    def clear(self) -> None:
        for program in ("iptables", "ip6tables"):
            for variant in ("nft", "legacy"):
                empty = (
                    "*nat\nCOMMIT\n*filter\n:FORWARD ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n"
                )
                for host in (self.edge, self.neighbour):
                    host.run(f"{program}-{variant}-restore", stdin=empty)
        for host in (self.edge, self.neighbour):
            host.run("nft", "flush", "ruleset")

    def connect(self, host: Namespace, source: str, destination: str, *, seconds: float = 30) -> str:
        """What the other end says, or how it failed."""
        return host.run(sys.executable, "-c", CLIENT, source, destination, str(seconds)).strip()

    def module(self, host: Namespace | None = None, **options: Any) -> dict[str, Any]:
        """The module on the edge."""
        asked = {
            "mode": "dnat",
            "destination": [*PUBLIC.values()],
            "sources": [*LISTED.values()],
            "private_sources": False,
            "relay": [*RELAY.values()],
            "relay_port": 25,
            "masquerade": "egress",
            "relay_networks": [*INSIDE.values()],
            "outgoing_address": [*PUBLIC.values()],
            "interface": None,
            "forward": True,
            "state": "present",
            "purge": False,
            "adopt": False,
            "expires": None,
            "persist": False,
            "rules_v4": "/nowhere",
            "rules_v6": "/nowhere",
            "nftables_conf": "/nowhere",
            **options,
        }
        firewall = (host or self.edge).firewall()
        return run(asked, check_mode=False, firewall=firewall, etckeeper=Etckeeper(top="/nowhere"))


@pytest.fixture(scope="module", name="wires")
def _wires() -> Iterator[Net]:
    made = Net()
    yield made
    made.close()


@pytest.fixture(name="net")
def _net(wires: Net) -> Iterator[Net]:
    wires.clear()
    yield wires
    wires.clear()


REFUSED = "ConnectionRefusedError"
EVERY = [(backend, version) for backend in ("iptables-nft", "iptables-legacy", "nftables") for version in (4, 6)]


@pytest.mark.parametrize(("backend", "version"), EVERY)
def test_who_is_listed_reaches_the_relay_and_is_seen(net: Net, backend: str, version: int) -> None:
    assert net.connect(net.client, LISTED[version], PUBLIC[version]) == REFUSED
    net.module(backend=backend)
    assert net.connect(net.client, LISTED[version], PUBLIC[version]) == f"relay sees {LISTED[version]}"
    assert net.connect(net.client, STRANGER[version], PUBLIC[version]) == REFUSED
    net.module(backend=backend, sources=[STRANGER[version]], purge=True)
    assert net.connect(net.client, LISTED[version], PUBLIC[version]) == REFUSED
    assert net.connect(net.client, STRANGER[version], PUBLIC[version]) == f"relay sees {STRANGER[version]}"
    net.module(backend=backend, sources=[], state="absent")
    assert net.connect(net.client, STRANGER[version], PUBLIC[version]) == REFUSED


@pytest.mark.parametrize(("backend", "version"), EVERY)
def test_the_relays_own_mail_goes_out_with_the_public_address(net: Net, backend: str, version: int) -> None:
    net.module(backend=backend)
    assert net.connect(net.relay, RELAY[version], OTHERS[version]) == f"another server sees {PUBLIC[version]}"
    # Its neighbour has no business with that address.
    told = net.connect(net.neighbour, NEIGHBOUR[version], OTHERS[version])
    assert told == f"another server sees {EDGE[version][0]}"


@pytest.mark.parametrize(("backend", "version"), EVERY)
def test_it_does_not_loop(net: Net, backend: str, version: int) -> None:
    net.module(backend=backend, sources=[INSIDE[version]], private_sources=True)
    assert net.connect(net.relay, RELAY[version], OTHERS[version]) == f"another server sees {PUBLIC[version]}"
    assert net.connect(net.relay, RELAY[version], PUBLIC[version]) == REFUSED
    # A neighbour reaches it by the public name, seen as the edge: its answers would go past the edge else.
    told = net.connect(net.neighbour, NEIGHBOUR[version], PUBLIC[version])
    assert told == f"relay sees {EDGE[version][1]}"


@pytest.mark.parametrize(("backend", "version"), EVERY)
def test_generic_masquerading_shows_the_edge(net: Net, backend: str, version: int) -> None:
    net.module(backend=backend, masquerade="generic")
    assert net.connect(net.client, LISTED[version], PUBLIC[version]) == f"relay sees {EDGE[version][1]}"
    assert net.connect(net.relay, RELAY[version], OTHERS[version]) == f"another server sees {PUBLIC[version]}"
    net.module(backend=backend, masquerade="generic", outgoing_address=[])
    assert net.connect(net.relay, RELAY[version], OTHERS[version]) == f"another server sees {EDGE[version][0]}"


@pytest.mark.parametrize(("backend", "version"), EVERY)
def test_the_way_out_by_its_interface(net: Net, backend: str, version: int) -> None:
    net.module(backend=backend, interface="wan")
    assert net.connect(net.relay, RELAY[version], OTHERS[version]) == f"another server sees {PUBLIC[version]}"
    net.module(backend=backend, interface=BRIDGE)
    assert net.connect(net.relay, RELAY[version], OTHERS[version], seconds=0.5) == "TimeoutError"


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_an_edge_that_forwards_nothing_else(net: Net, variant: str, version: int) -> None:
    drop = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n-A FORWARD -j DROP\nCOMMIT\n"
    net.edge.load(variant, version, drop)
    net.module(backend=f"iptables-{variant}", forward=False)
    assert net.connect(net.client, LISTED[version], PUBLIC[version], seconds=0.5) == "TimeoutError"
    net.module(backend=f"iptables-{variant}")
    assert net.connect(net.client, LISTED[version], PUBLIC[version]) == f"relay sees {LISTED[version]}"
    assert net.connect(net.relay, RELAY[version], OTHERS[version]) == f"another server sees {PUBLIC[version]}"
    assert net.connect(net.client, LISTED[version], RELAY[version], seconds=0.5) != f"relay sees {LISTED[version]}"


# What ufw makes before it loads its file, where it is to refuse what is forwarded, and that file; {} is empty or 6.
UFW = """*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:ufw{0}-before-forward - [0:0]
:ufw{0}-before-output - [0:0]
:ufw{0}-reject-forward - [0:0]
:ufw{0}-track-output - [0:0]
:ufw{0}-logging-deny - [0:0]
-A FORWARD -j ufw{0}-before-forward
-A FORWARD -j ufw{0}-reject-forward
-A OUTPUT -j ufw{0}-before-output
-A OUTPUT -j ufw{0}-track-output
-A ufw{0}-reject-forward -j REJECT
-A ufw{0}-track-output -p tcp -m conntrack --ctstate NEW -j ACCEPT
COMMIT
"""
UFW_FILE = """*filter
:ufw{0}-before-forward - [0:0]
:ufw{0}-before-output - [0:0]
-A ufw{0}-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw{0}-before-output -m conntrack --ctstate INVALID -j ufw{0}-logging-deny
COMMIT
"""


class Ufw:
    """A host with it."""

    def __init__(self, host: Namespace, variant: str, folder: Path) -> None:
        self.host, self.variant = host, variant
        folder.mkdir()
        self.files = {4: folder / "before.rules", 6: folder / "before6.rules"}
        for version, file in self.files.items():
            file.write_text(UFW_FILE.format("6" if version == 6 else ""))

    def boot(self) -> None:
        for version, file in self.files.items():
            program = f"{'ip' if version == 4 else 'ip6'}tables-{self.variant}-restore"
            self.host.run(program, stdin="*nat\nCOMMIT\n")
            self.host.load(self.variant, version, UFW.format("6" if version == 6 else ""))
            self.host.run(program, "-n", stdin=file.read_text())

    @property
    def options(self) -> dict[str, Any]:
        files = {f"rules_v{version}": str(file) for version, file in self.files.items()}
        return {"backend": f"iptables-{self.variant}", "persist": True, **files}


@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_beside_ufw_that_refuses_to_forward_also_after_a_boot(net: Net, variant: str, tmp_path: Path) -> None:
    ufw = Ufw(net.edge, variant, tmp_path / "edge")
    ufw.boot()
    net.module(**ufw.options)

    def seen() -> list[str]:
        found = [net.connect(net.client, LISTED[version], PUBLIC[version]) for version in (4, 6)]
        return [*found, *(net.connect(net.client, STRANGER[version], PUBLIC[version]) for version in (4, 6))]

    expected = [*(f"relay sees {LISTED[version]}" for version in (4, 6)), REFUSED, REFUSED]
    assert seen() == expected
    ufw.boot()
    assert seen() == expected
    assert net.module(**ufw.options)["changed"] is False


@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_a_client_with_ufw_sends_to_its_gateway_alone_also_after_a_boot(net: Net, variant: str, tmp_path: Path) -> None:
    ufw = Ufw(net.neighbour, variant, tmp_path / "neighbour")
    ufw.boot()
    client = {"mode": "client", "sources": [], "relay": [], "destination": [*RELAY.values()], **ufw.options}
    net.module(net.neighbour, **client)

    def seen() -> list[str]:
        return [
            net.connect(net.neighbour, NEIGHBOUR[version], to[version]) for version in (4, 6) for to in (RELAY, OTHERS)
        ]

    expected = [one for version in (4, 6) for one in (f"relay sees {NEIGHBOUR[version]}", REFUSED)]
    assert seen() == expected
    ufw.boot()
    assert seen() == expected
    assert net.module(net.neighbour, **client)["changed"] is False


@pytest.mark.parametrize(("backend", "version"), EVERY)
def test_a_client_sends_to_its_gateway_alone(net: Net, backend: str, version: int) -> None:
    net.module(backend=backend)

    def seen_from_here() -> list[str]:
        others, own = (RELAY[version], NEIGHBOUR[version]), NEIGHBOUR[version]
        return [net.connect(net.neighbour, own, one) for one in (OTHERS[version], *others)]

    gateway, relay = f"another server sees {EDGE[version][0]}", f"relay sees {NEIGHBOUR[version]}"
    itself = f"itself sees {NEIGHBOUR[version]}"
    client = {"mode": "client", "backend": backend, "sources": [], "relay": [], "destination": [*OTHERS.values()]}
    assert seen_from_here() == [gateway, relay, itself]
    net.module(net.neighbour, **client)
    assert seen_from_here() == [gateway, REFUSED, itself]
    net.module(net.neighbour, **{**client, "destination": [*RELAY.values()]})
    assert seen_from_here() == [REFUSED, relay, itself]
    net.module(net.neighbour, **client, state="absent")
    assert seen_from_here() == [gateway, relay, itself]


@pytest.mark.parametrize(("backend", "version"), EVERY)
def test_neither_do_dockers_containers(net: Net, backend: str, version: int) -> None:
    # The edge is a host with Docker here, and what lies behind its bridge are containers.
    net.module(backend=backend)
    if backend == "nftables":
        net.edge.run("ip", "link", "add", "docker0", "type", "bridge")
    else:
        there = "*filter\n:DOCKER-USER - [0:0]\n-A FORWARD -j DOCKER-USER\n-A DOCKER-USER -j RETURN\nCOMMIT\n"
        for program in ("iptables", "ip6tables"):
            net.edge.run(f"{program}-{backend.partition('-')[2]}-restore", "--noflush", stdin=there)
    client = {"mode": "client", "backend": backend, "sources": [], "relay": []}
    gateway, inward = f"another server sees {EDGE[version][0]}", f"relay sees {LISTED[version]}"

    def seen() -> list[str]:
        inside = (net.client, LISTED[version], PUBLIC[version])
        return [net.connect(net.neighbour, NEIGHBOUR[version], OTHERS[version]), net.connect(*inside)]

    net.module(**client, destination=[*OTHERS.values()])
    assert seen() == [gateway, inward]
    net.module(**client, destination=[*NEIGHBOUR.values()])
    assert seen() == [REFUSED, inward]
    net.module(**client, destination=[*NEIGHBOUR.values()], state="absent")
    assert seen() == [gateway, inward]
    net.edge.run("ip", "link", "delete", "docker0", check=False)
