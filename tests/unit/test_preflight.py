# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _preflight as pf
from ansible_collections.postmaster.mail.plugins.module_utils._command import Result, Runner
from ansible_collections.postmaster.mail.plugins.module_utils._dnsbl import Dnsbl
from ansible_collections.postmaster.mail.plugins.module_utils._preflight_client import LocalHost
from ansible_collections.postmaster.mail.plugins.modules import mail_preflight
from hypothesis import given
from hypothesis import strategies as st

STATUS = """\
Package: postfix
Status: install ok installed
Version: 3.10.5-1
Provides: mail-transport-agent, postfix-sqlite (= 1)

Package: exim4-base
Status: deinstall ok config-files
Version: 4.98.2-1

Package: exim4-daemon-light
Status: hold ok installed
Version: 4.98.2-1
Provides: exim4-localscanapi-4.1, mail-transport-agent
Description: text
 Status: install ok installed

Package: half
Status: install ok unpacked
Version: 1
"""

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0019 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1 0 100 0 0 10 0
   1: 0B12C6C6:0016 0112C6C6:B00A 01 00000000:00000000 00:00000000 00000000     0        0 222 4 0 20 4 30 10 -1
   2: broken
   3: ZZ00007F:0019 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 333 1 0 100 0 0 10 0
"""
TCP6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue
   0: 00000000000000000000000000000000:024B 00000000000000000000000000000000:0000 0A 00000000:00000000 00:0 0 0 0 444 1
   1: 0000000000000000FFFF00000100007F:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:0 0 0 0 555 1
"""


def listener(address: str, port: int = 25, inode: int = 1) -> pf.Listener:
    return pf.Listener(ipaddress.ip_address(address), port, inode)


@dataclass
class FakeHost:
    """A host on which all is well, unless told otherwise."""

    release: Mapping[str, str] = field(default_factory=lambda: {"ID": "debian", "VERSION_CODENAME": "trixie"})
    installed: Mapping[str, pf.Package] = field(default_factory=dict)
    files: Mapping[str, frozenset[str]] = field(default_factory=dict)
    sockets: Sequence[pf.Listener] = ()
    processes: Mapping[int, Sequence[pf.Holder]] = field(default_factory=dict)
    room: pf.Space = field(default_factory=lambda: pf.Space(5000))
    trouble: str = ""
    zone: Mapping[tuple[str, str], list[str]] = field(default_factory=dict)
    dns_down: bool = False
    sources: Mapping[str, str] = field(default_factory=lambda: {"ipv4": "192.0.2.25"})
    units: Mapping[str, pf.Unit] = field(default_factory=lambda: {"postfix": pf.Unit("active", "enabled")})
    scripts: Sequence[str] = ()
    foreign: Sequence[str] = ()

    def os_release(self) -> Mapping[str, str]:
        return self.release

    def packages(self) -> Mapping[str, pf.Package]:
        return self.installed

    def package_files(self, package: str) -> frozenset[str]:
        return self.files.get(package, frozenset())

    def listeners(self) -> Sequence[pf.Listener]:
        return self.sockets

    def holders(self, inodes: Iterable[int]) -> Mapping[int, Sequence[pf.Holder]]:
        return {inode: self.processes[inode] for inode in inodes if inode in self.processes}

    def space(self, path: str) -> pf.Space:
        return self.room

    def connect(self, host: str, port: int, timeout: float) -> str:
        return self.trouble

    def query(self, name: str, rdtype: str) -> list[str]:
        if self.dns_down:
            raise OSError("192.0.2.53 does not answer")
        return self.zone.get((name, rdtype), [])

    def source_addresses(self) -> Mapping[str, str]:
        return self.sources

    def has_global_ipv6(self) -> bool:
        return False

    def advertised_routes(self) -> Sequence[str]:
        return ["eth1"]

    def owns(self, address: str) -> bool:
        return address not in self.foreign

    def etckeeper_ready(self) -> bool:
        return True

    def services(self, names: Sequence[str]) -> Mapping[str, pf.Unit]:
        return {name: self.units.get(name, pf.Unit()) for name in names}

    def in_runlevel(self, name: str) -> bool:
        return name in self.scripts

    def names(self) -> tuple[str, str]:
        return "relay", "relay.example.org"


def test_os_release() -> None:
    text = 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nID=debian\n# no\nVERSION_CODENAME=trixie\nX="a\\"b"\nbroken\n'
    assert pf.parse_os_release(text) == {
        "PRETTY_NAME": "Debian GNU/Linux 13 (trixie)",
        "ID": "debian",
        "VERSION_CODENAME": "trixie",
        "X": 'a"b',
    }


def test_dpkg_status() -> None:
    assert pf.parse_dpkg_status(STATUS) == {
        "postfix": pf.Package("3.10.5-1", ("mail-transport-agent", "postfix-sqlite")),
        "exim4-daemon-light": pf.Package("4.98.2-1", ("exim4-localscanapi-4.1", "mail-transport-agent")),
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (TCP, [listener("127.0.0.1", 25, 111)]),
        (TCP6, [listener("::", 587, 444), listener("127.0.0.1", 80, 555)]),
        ("", []),
    ],
)
def test_proc_net_tcp(text: str, expected: list[pf.Listener]) -> None:
    assert pf.parse_proc_net_tcp(text, byteorder="little") == expected


def test_proc_net_tcp_of_a_big_endian_machine() -> None:
    text = TCP.replace("0100007F", "7F000001")
    assert pf.parse_proc_net_tcp(text, byteorder="big") == [listener("127.0.0.1", 25, 111)]


@given(st.text(max_size=400))
def test_no_text_breaks_a_parser(text: str) -> None:
    pf.parse_os_release(text)
    pf.parse_dpkg_status(text)
    pf.parse_dpkg_status(f"Package: {text}\nStatus: {text}\nProvides: {text}")
    pf.parse_proc_net_tcp(f"head\n{text}\n 0: {text} {text} 0A 0 0 0 0 0 {text}")
    pf.parse_if_inet6(text)
    pf.parse_ipv6_route(text)
    pf.parse_systemctl_show(text, ["a"])
    pf.fqdn_from_hosts(text, "a")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", False),
        ("00000000000000000000000000000001 01 80 10 80       lo\n", False),
        ("fe800000000000000000000000000001 02 40 20 80     eth0\n", False),
        ("20010db8003200020000000000000019 02 40 00 80     eth0\n", True),
        ("20010db8003200020000000000000019 02 40 00 c0     eth0\n", False),
    ],
)
def test_global_ipv6(text: str, expected: bool) -> None:
    assert pf.parse_if_inet6(text) is expected


ROUTES = """\
20010db8000100000000000000000000 40 00000000000000000000000000000000 00 {none} 00000100 2 0 00040001     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 {via} 00000400 1 0 00450003     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 {via} 00000400 1 0 00450003     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 {via} 00000400 1 0 00000003     eth1
00000000000000000000000000000000 00 00000000000000000000000000000000 00 {none} ffffffff 1 0 00240200       lo
broken
"""


def test_routes_that_routers_advertise() -> None:
    text = ROUTES.format(none="0" * 32, via="fe80" + "0" * 27 + "1")
    assert pf.parse_ipv6_route(text) == ["eth0"]


def test_the_port_knows_the_addresses_of_the_host() -> None:
    assert LocalHost().owns("127.0.0.1")
    assert not LocalHost().owns("192.0.2.250")


def test_systemctl_show() -> None:
    text = (
        "LoadState=loaded\nActiveState=active\nUnitFileState=enabled\n\nLoadState=not-found\nActiveState=inactive\n\n"
        "LoadState=loaded\nActiveState=failed\n"
    )
    assert pf.parse_systemctl_show(text, ["a", "b", "c", "d"]) == {
        "a": pf.Unit("active", "enabled"),
        "b": pf.Unit("absent"),
        "c": pf.Unit("inactive"),
        "d": pf.Unit("absent"),
    }


@pytest.mark.parametrize(
    ("file_state", "scripts", "expected"),
    [
        ("enabled", (), ["exim4"]),
        ("enabled-runtime", (), []),
        ("disabled", ("exim4",), []),
        ("masked", (), []),
        ("", (), []),
        ("generated", ("exim4",), ["exim4"]),
        ("generated", ("postfix",), []),
    ],
)
def test_what_starts_at_boot(file_state: str, scripts: tuple[str, ...], expected: list[str]) -> None:
    host = FakeHost(units={"exim4": pf.Unit("inactive", file_state)}, scripts=scripts)
    assert pf.examine(pf.Request(services=("exim4",)), host).facts["enabled_services"] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.1.1 relay.example.org relay\n", "relay.example.org"),
        ("127.0.1.1 relay # relay.example.org\n", None),
        ("127.0.1.1 relay-a.example.org relay-a\n", None),
    ],
)
def test_fqdn_from_hosts(text: str, expected: str | None) -> None:
    assert pf.fqdn_from_hosts(text, "relay") == expected


@pytest.mark.parametrize(
    ("wanted", "held", "expected"),
    [
        (None, "127.0.0.1", True),
        (None, "::1", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("127.0.0.1", "0.0.0.0", True),
        ("127.0.0.1", "::", True),
        ("::1", "0.0.0.0", False),
        ("::1", "::", True),
        ("::", "127.0.0.1", True),
    ],
)
def test_clashes(wanted: str | None, held: str, expected: bool) -> None:
    assert pf.clashes(pf.wanted_port(25, wanted, []), listener(held)) is expected
    assert not pf.clashes(pf.wanted_port(26, wanted, []), listener(held))


EXIM = {"exim4-daemon-light": pf.Package("4.98", ("mail-transport-agent",))}
DBUS_HOLDER = pf.Holder(51, ("dbus-daemon",), "/usr/bin/dbus-daemon", "dbus.service")
EXIM_HOLDER = pf.Holder(411, ("exim4",), "/usr/sbin/exim4", "exim4.service")
PORT_25 = (pf.wanted_port(25, "127.0.0.1", ["master"]),)
PORT_SPAMD = (pf.wanted_port(25, "127.0.0.1", ["spamd"]),)
SPAMD_HOLDER = pf.Holder(9, ("perl",), "/usr/bin/perl", "spamd.service")
PTR = pf.Ptr(("192.0.2.25",), "Relay.example.org.")
PTR_NAME = ("25.2.0.192.in-addr.arpa", "PTR")

NAME = pf.PublicName("mail.example.org", ("192.0.2.2", "2001:db8::2"))
NAME_A, NAME_AAAA = ("mail.example.org", "A"), ("mail.example.org", "AAAA")
LIST = Dnsbl("bl.example.org", "a-long-secret")
OBSTACLES = [
    (
        {"releases": ("bookworm", "trixie")},
        {"release": {"PRETTY_NAME": "Ubuntu 24.04", "ID": "ubuntu", "VERSION_CODENAME": "noble"}},
        "Ubuntu 24.04 is not supported: use a host with Debian bookworm or trixie, or upgrade this one.",
    ),
    (
        {"mta": "postfix"},
        {"installed": EXIM},
        "Another mail transport agent is installed (exim4-daemon-light): remove it with"
        " `apt-get purge exim4-daemon-light`, or have it replaced by postfix"
        " with `satellite_replace_mta: true` (on a relay `relay_replace_mta: true`).",
    ),
    (
        {"ports": PORT_SPAMD},
        {
            "sockets": [listener("127.0.0.1")],
            "processes": {1: [pf.Holder(9, ("perl",), "/usr/bin/perl", "other.service")]},
        },
        "Port 25 on 127.0.0.1 is taken by perl (process 9): stop it with `systemctl disable --now other.service`,"
        " or give it another port or address.",
    ),
    (
        {"ports": PORT_25},
        {"sockets": [listener("127.0.0.1")], "processes": {1: [EXIM_HOLDER]}},
        "Port 25 on 127.0.0.1 is taken by exim4 (process 411): stop it with `systemctl disable --now exim4.service`,"
        " or give it another port or address.",
    ),
    (
        {"ports": PORT_25},
        {"sockets": [listener("127.0.0.1")], "processes": {1: [DBUS_HOLDER, EXIM_HOLDER]}},
        "Port 25 on 127.0.0.1 is taken by one of dbus-daemon (process 51), exim4 (process 411): stop it,"
        " or give it another port or address.",
    ),
    (
        {"ports": PORT_25},
        {"sockets": [listener("0.0.0.0")]},
        "Port 25 on 127.0.0.1 is taken by a program that this user cannot see: find it as root with `ss -ltnp`"
        " and stop it.",
    ),
    (
        {"min_free_mb": {"/var/spool": 100}},
        {"room": pf.Space(12)},
        "/var/spool has 12 MiB free of the 100 MiB needed: free some or enlarge its file system.",
    ),
    (
        {"min_free_mb": {"/var/spool": 100}},
        {"room": pf.Space(5000, writable=False)},
        "The file system of /var/spool is mounted read-only: mount it for writing.",
    ),
    (
        {"min_free_mb": {"/var/spool": 100}},
        {"room": pf.Space(5000, inodes_left=False)},
        "The file system of /var/spool has no inodes left: remove files there.",
    ),
    (
        {"outbound": pf.Outbound("mx.example.net")},
        {"trouble": "no answer"},
        "mx.example.net port 25 cannot be reached (no answer): ask the provider of this host to open outgoing TCP"
        " port 25 for 192.0.2.25, look for a rule of the host's own firewall, or send through a smarthost.",
    ),
    (
        {"outbound": pf.Outbound("mx.example.net")},
        {"trouble": "name: Name or service not known"},
        "mx.example.net has no address (Name or service not known): check the name and /etc/resolv.conf.",
    ),
    (
        {"ptr": PTR},
        {},
        "192.0.2.25 has no PTR record: ask whoever provides this address for"
        " `25.2.0.192.in-addr.arpa. PTR Relay.example.org.`.",
    ),
    (
        {"ptr": PTR},
        {"zone": {PTR_NAME: ["vps77.provider.example."]}},
        "The PTR of 192.0.2.25 is vps77.provider.example, not Relay.example.org: ask its provider for"
        " `25.2.0.192.in-addr.arpa. PTR Relay.example.org.`.",
    ),
    (
        {"ptr": PTR},
        {"zone": {PTR_NAME: ["relay.example.org."]}},
        "The PTR of 192.0.2.25 is Relay.example.org, but Relay.example.org has no address:"
        " publish `Relay.example.org. A 192.0.2.25`.",
    ),
    (
        {"ptr": PTR},
        {"dns_down": True},
        "The PTR of 192.0.2.25 cannot be looked up (192.0.2.53 does not answer): check the name servers in"
        " /etc/resolv.conf.",
    ),
    (
        {"ptr": pf.Ptr((), "relay.example.org")},
        {"sources": {"ipv4": "10.0.0.1", "ipv6": "2001:db8::25"}},
        "2001:db8::25 has no PTR record: ask whoever provides this address for `5.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0."
        "0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. PTR relay.example.org.`.",
    ),
    (
        {"public_name": NAME},
        {"zone": {NAME_A: ["192.0.2.2"]}},
        "mail.example.org has no AAAA record: publish `mail.example.org. AAAA 2001:db8::2`.",
    ),
    (
        {"public_name": NAME},
        {"zone": {NAME_A: ["192.0.2.2", "192.0.2.3"], NAME_AAAA: ["2001:db8::2"]}},
        "mail.example.org leads to 192.0.2.2, 192.0.2.3 but should to 192.0.2.2: remove `mail.example.org. A 192.0.2.3`.",
    ),
    (
        {"public_name": NAME},
        {"zone": {NAME_A: ["192.0.2.3"], NAME_AAAA: ["2001:db8::2"]}},
        "mail.example.org leads to 192.0.2.3 but should to 192.0.2.2: publish `mail.example.org. A 192.0.2.2`"
        " and remove `mail.example.org. A 192.0.2.3`.",
    ),
    (
        {"public_name": pf.PublicName("mail.example.org", ("192.0.2.2",))},
        {"zone": {NAME_A: ["192.0.2.2"], NAME_AAAA: ["2001:db8::2"]}},
        "mail.example.org leads to 2001:db8::2, where this host takes nothing by IPv6:"
        " remove `mail.example.org. AAAA 2001:db8::2`.",
    ),
    (
        {"public_name": NAME},
        {"dns_down": True},
        "mail.example.org cannot be looked up (192.0.2.53 does not answer): check the name servers in /etc/resolv.conf.",
    ),
    (
        {"public_name": NAME},
        {"zone": {NAME_A: ["192.0.2.2"], NAME_AAAA: ["2001:DB8:0::2"]}, "foreign": ["192.0.2.2"]},
        "192.0.2.2 is no address of this host: add it to an interface, or name the one the host is reached at.",
    ),
    (
        {"dnsbls": (LIST,)},
        {"zone": {("2.0.0.127.a-long-secret.bl.example.org", "A"): ["127.255.255.254"]}},
        "bl.example.org answers 127.255.255.254: it does not answer public or open resolvers: run a resolver on the host,"
        " or ask with a key.",
    ),
    (
        {"dnsbls": (LIST,)},
        {},
        "bl.example.org does not list its own test address 127.0.0.2: it is gone, or nobody answers for it here.",
    ),
    (
        {"dnsbls": (LIST,)},
        {"dns_down": True},
        "bl.example.org cannot be looked up: check the name servers in /etc/resolv.conf.",
    ),
]


@pytest.mark.parametrize(("request_", "host", "message"), OBSTACLES)
def test_obstacle(request_: dict, host: dict, message: str) -> None:
    report = pf.examine(pf.Request(**request_), FakeHost(**host))
    assert report.messages(pf.OBSTACLE) == [message]
    assert report.messages(pf.WARNING) == []


@pytest.mark.parametrize(("request_", "host", "message"), OBSTACLES)
def test_obstacle_as_a_warning(request_: dict, host: dict, message: str) -> None:
    report = pf.examine(pf.Request(**request_, warn_only=frozenset(pf.CHECK_NAMES)), FakeHost(**host))
    assert report.messages(pf.OBSTACLE) == []
    assert report.messages(pf.WARNING) == [message]


@pytest.mark.parametrize(
    ("request_", "host"),
    [
        ({"releases": ("trixie",)}, {}),
        ({"mta": "exim"}, {"installed": EXIM}),
        ({"mta": "postfix", "replace_mta": True}, {"installed": EXIM}),
        ({"ports": PORT_25}, {}),
        ({"ports": PORT_25}, {"sockets": [listener("127.0.0.1")], "processes": {1: [pf.Holder(9, ("master",))]}}),
        # A Perl daemon that was told to read its configuration again.
        ({"ports": PORT_SPAMD}, {"sockets": [listener("127.0.0.1")], "processes": {1: [SPAMD_HOLDER]}}),
        (
            {"ports": PORT_25, "mta": "postfix", "replace_mta": True},
            {
                "sockets": [listener("127.0.0.1")],
                "processes": {1: [EXIM_HOLDER]},
                "installed": EXIM,
                "files": {"exim4-daemon-light": frozenset({"/usr/sbin/exim4"})},
            },
        ),
        ({"min_free_mb": {"/var/spool": 100}}, {}),
        ({"outbound": pf.Outbound("mx.example.net")}, {}),
        (
            {"ptr": PTR},
            {"zone": {PTR_NAME: ["relay.example.org."], ("Relay.example.org", "A"): ["192.0.2.9", "192.0.2.25"]}},
        ),
        ({"public_name": NAME}, {"zone": {NAME_A: ["192.0.2.2"], NAME_AAAA: ["2001:DB8:0::2"]}}),
        ({"public_name": pf.PublicName("mail.example.org.", ("192.0.2.2",))}, {"zone": {NAME_A: ["192.0.2.2"]}}),
        ({"dnsbls": (LIST,)}, {"zone": {("2.0.0.127.a-long-secret.bl.example.org", "A"): ["127.0.0.2"]}}),
    ],
)
def test_all_is_well(request_: dict, host: dict) -> None:
    report = pf.examine(pf.Request(**request_), FakeHost(**host))
    assert {check.verdict for check in report.checks} == {pf.OK}


def test_every_obstacle_is_reported_at_once() -> None:
    request_ = pf.Request(
        releases=("trixie",), mta="postfix", min_free_mb={"/a": 9, "/b": 9}, ptr=PTR, outbound=pf.Outbound("mx")
    )
    host = FakeHost(release={"ID": "x"}, installed=EXIM, room=pf.Space(1), trouble="no answer")
    assert [check.name for check in pf.examine(request_, host).checks if check.verdict == pf.OBSTACLE] == [
        "release",
        "mta",
        "space",
        "space",
        "outbound_25",
        "ptr",
    ]


def test_optional_outbound_and_a_host_behind_nat_are_warnings() -> None:
    request_ = pf.Request(outbound=pf.Outbound("mx", required=False), ptr=pf.Ptr((), "relay.example.org"))
    report = pf.examine(request_, FakeHost(trouble="no answer", sources={"ipv4": "10.1.0.102"}))
    assert [check.verdict for check in report.checks] == [pf.WARNING, pf.WARNING]


def test_facts() -> None:
    request_ = pf.Request(packages=("postfix", "rspamd", "mail-transport-agent"), services=("postfix",))
    packages = {**pf.parse_dpkg_status(STATUS), "etckeeper": pf.Package("1")}
    assert pf.examine(request_, FakeHost(installed=packages)).facts == {
        "distribution": "debian",
        "release": "trixie",
        "hostname": "relay",
        "fqdn": "relay.example.org",
        "ipv6": False,
        "advertised_routes": ["eth1"],
        "addresses": {"ipv4": "192.0.2.25"},
        "missing_packages": ["rspamd"],
        "versions": {"postfix": "3.10.5-1"},
        "mtas": ["exim4-daemon-light", "postfix"],
        "etckeeper": True,
        "services": {"postfix": "active"},
        "enabled_services": ["postfix"],
    }


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"warn_only": frozenset({"nosuch"})}, "warn_only: there is no check 'nosuch': choose from"),
        ({"min_free_mb": {"var": 1}}, "min_free_mb: 'var' is no absolute path"),
        ({"min_free_mb": {"/var": -1}}, "min_free_mb: /var needs a number of MiB that is not negative, not -1"),
        ({"services": ("-H", "x")}, "services: '-H' is no unit name"),
        ({"outbound": pf.Outbound("mx", 0)}, "outbound_25: 0 is no port"),
        ({"ptr": pf.Ptr((), "relay")}, "ptr: 'relay' is no full host name"),
        ({"ptr": pf.Ptr((), "relay.example.org ")}, "ptr: 'relay.example.org ' is no full host name"),
        ({"ptr": pf.Ptr(("192.0.2.300",), "relay.example.org")}, "ptr: '192.0.2.300' is no IP address"),
        ({"public_name": pf.PublicName("edge", ())}, "public_name: 'edge' is no full host name"),
        ({"public_name": pf.PublicName("mail.example.org", ("edge",))}, "public_name: 'edge' is no IP address"),
    ],
)
def test_bad_request(request_: dict, message: str) -> None:
    with pytest.raises(pf.PreflightError) as caught:
        pf.examine(pf.Request(**request_), FakeHost())
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(("port", "address"), [(0, None), (65536, None), (25, "localhost"), (25, "127.0.0.1/8")])
def test_bad_port(port: int, address: str | None) -> None:
    with pytest.raises(pf.PreflightError, match=r"^ports: "):
        pf.wanted_port(port, address, [])


class ScriptedRunner(Runner):
    def __init__(self, stdout: str) -> None:
        self.stdout = stdout

    def run(self, argv: Sequence[str], **options: object) -> Result:  # type: ignore[override]
        return Result(tuple(argv), 0, self.stdout, "")


def test_the_port_reads_a_tree_of_files(tmp_path: Path) -> None:
    files = {
        "etc/os-release": "ID=debian\n",
        "var/lib/dpkg/status": STATUS,
        "var/lib/dpkg/info/postfix.list": "/.\n/usr/sbin/postfix\n",
        "proc/net/tcp": TCP,
        "proc/net/if_inet6": "20010db8003200020000000000000019 02 40 00 80     eth0\n",
        "proc/7/comm": "master\n",
        "proc/7/cgroup": "2:cpu:/\n1:name=systemd:/system.slice/postfix@-.service\n0::/\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "proc/7/fd").mkdir()
    os.symlink("socket:[111]", tmp_path / "proc/7/fd/5")
    os.symlink("/usr/lib/postfix/sbin/master (deleted)", tmp_path / "proc/7/exe")
    (tmp_path / "etc/.git").mkdir()
    for link in ("rc2.d/S01exim4", "rc2.d/K01postfix", "rc0.d/S01postfix"):
        (tmp_path / "etc" / link).parent.mkdir(exist_ok=True)
        (tmp_path / "etc" / link).touch()
    host = LocalHost(root=str(tmp_path), runner=ScriptedRunner("LoadState=loaded\nActiveState=active\n"))
    assert host.os_release() == {"ID": "debian"}
    assert set(host.packages()) == {"postfix", "exim4-daemon-light"}
    assert "/usr/sbin/postfix" in host.package_files("postfix")
    assert host.has_global_ipv6()
    assert host.etckeeper_ready()
    assert host.services(["postfix"]) == {"postfix": pf.Unit("active")}
    assert (host.in_runlevel("exim4.service"), host.in_runlevel("exim"), host.in_runlevel("postfix")) == (
        True,
        False,
        False,
    )
    assert host.holders({item.inode for item in host.listeners()}) == {
        111: (pf.Holder(7, ("master",), "/usr/lib/postfix/sbin/master", "postfix@-.service"),)
    }
    assert host.space("/not/yet/there").writable


def test_processes_that_hide_their_files_are_suspects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "proc/8/fd").mkdir(parents=True)
    (tmp_path / "proc/8/fd/3").symlink_to("socket:[111]")
    (tmp_path / "proc/8/comm").write_text("exim4\n")
    (tmp_path / "proc/8/cmdline").write_text("/usr/sbin/exim4\0-bd\0")

    def refuse(path: str) -> str:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "readlink", refuse)
    assert LocalHost(root=str(tmp_path)).holders({111}) == {111: (pf.Holder(8, ("exim4",), "/usr/sbin/exim4"),)}


def test_the_port_connects(tmp_path: Path) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        assert LocalHost().connect("127.0.0.1", port, 1) == "connection refused"
        server.listen()
        assert LocalHost().connect("127.0.0.1", port, 1) == ""
    assert LocalHost().connect("host.invalid", 25, 1).startswith("name:")


def test_options_become_a_request() -> None:
    params = {
        "releases": ["trixie"],
        "mta": "postfix",
        "replace_mta": False,
        "packages": ["postfix"],
        "ports": [{"port": 25, "address": "127.0.0.1", "program": ["master"]}],
        "min_free_mb": {"/var": "100"},
        "outbound_25": {"host": "mx", "port": 25, "required": False, "timeout": 2.0},
        "ptr": {"addresses": ["192.0.2.25"], "hostname": "relay.example.org"},
        "public_name": {"addresses": ["192.0.2.2"], "hostname": "mail.example.org"},
        "dnsbls": [{"zone": "bl.example.org", "key": "a-long-secret", "replies": "127.0.0.2"}],
        "services": ["postfix"],
        "warn_only": ["ptr"],
    }
    request_ = mail_preflight.build_request(params)
    assert request_.ports == (pf.WantedPort(25, ipaddress.ip_address("127.0.0.1"), ("master",)),)
    assert request_.min_free_mb == {"/var": 100}
    assert request_.outbound == pf.Outbound("mx", 25, False, 2.0)
    assert request_.public_name == pf.PublicName("mail.example.org", ("192.0.2.2",))
    assert request_.dnsbls == (Dnsbl("bl.example.org", "a-long-secret", "127.0.0.2"),)
    with pytest.raises(pf.PreflightError, match="min_free_mb: /var needs a whole number of MiB, not 'much'"):
        mail_preflight.build_request({**params, "min_free_mb": {"/var": "much"}})
