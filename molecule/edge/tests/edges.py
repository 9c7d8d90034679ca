# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of this folder have in common: the edges, who reaches the relay through them, and as whom."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

from lab.plays import Played, play
from lab.probe import Dialogue, Lab

SCENARIO = Path(__file__).resolve().parent.parent
PLAYBOOKS = SCENARIO.parents[1] / "playbooks"
EDGES = ("edge", "edge-12")
NAMES = {"edge": "pmg.corp.example", "edge-12": "pmg-12.corp.example"}
CLIENTS = {"edge": "sat-away-13", "edge-12": "sat-away-12"}
VICTIM = "victim@outside.test"
ASKED = (("udp", 53), ("tcp", 53), ("tcp", 3142))
TABLES = {4: "iptables", 6: "ip6tables"}


def run(lab: Lab, playbook: str, **options: Any) -> Played:
    """Run a playbook of the collection on the estate of this scenario."""
    return play(lab, PLAYBOOKS / f"{playbook}.yml", inventories=[SCENARIO / "estate"], **options)


def addresses(lab: Lab, *hosts: str) -> list[str]:
    """The first address of each family of each host."""
    return [lab.address(host, version=version) for host in hosts for version in (4, 6)]


def shut_in(lab: Lab) -> None:
    """Take away every route into the estate, so that its addresses are as good as private ones."""
    nets = lab.known["networks"]["estate"]
    for host in [*lab.hosts("internet"), *CLIENTS.values()]:
        lab.run(host, f"ip route del {nets['v4']}; ip -6 route del {nets['v6']}")


def publish(lab: Lab, edge: str, name: str, *, ipv6: bool = True) -> None:
    """What somebody types into DNS for an edge: name and addresses, both ways."""
    # A service may have a name beside that of its host.
    host = name if edge == "edge" else f"host.{name}"
    if host != name:
        lab.update(f"{name}.", "CNAME", [f"{host}."])
    for version, rdtype in ((4, "A"), (6, "AAAA")):
        address = lab.address(edge, version=version)
        lab.update(f"{host}.", rdtype, [address] if version == 4 or ipv6 else [])
        lab.update(f"{ipaddress.ip_address(address).reverse_pointer}.", "PTR", [f"{name}."])


def docker(lab: Lab, *, on_top: bool = False) -> None:
    """Load Docker's rules on edge; ``on_top`` before those that are there, as Docker does when it starts."""
    for version, program in TABLES.items():
        lines = (SCENARIO / "files" / f"docker.v{version}").read_text(encoding="ascii").splitlines()
        if on_top:
            firsts = [line for line in lines if line.startswith("-A FORWARD ")]
            places = iter(range(1, len(firsts) + 1))
            lines = [f"-I FORWARD {next(places)} {line[11:]}" if line in firsts else line for line in lines]
        lab.run("edge", [f"{program}-restore", "--noflush"], input="\n".join(lines) + "\n")
    # By Docker's policy nothing else is forwarded. Its owner lets the relay ask for names and packages, but not send.
    ways = [f"-p {proto} --{side} {port}" for side in ("dport", "sport") for proto, port in ASKED]
    lab.run("edge", " && ".join(f"iptables -I DOCKER-USER {way} -j ACCEPT" for way in ways))


def docker_rules(lab: Lab) -> list[str]:
    """All rules on edge that are not the role's, without their counters."""
    saved = "".join(lab.run("edge", [f"{program}-save"]).stdout for program in TABLES.values())
    return [line.partition(" [")[0] for line in saved.splitlines() if line[:1] in "-:" and "POSTMASTER" not in line]


def knock(lab: Lab, host: str, edge: str, *, version: int = 4) -> Dialogue:
    """An SMTP session from a host to the public address of an edge, up to the recipient."""
    return post(lab, host, edge, version=version, message=None)


def post(lab: Lab, host: str, edge: str, *, version: int = 4, **options: Any) -> Dialogue:
    """The same with a message."""
    known = {"sender": "joe@corp.example", "recipients": VICTIM, "timeout": 8, **options}
    return lab.smtp(host, edge, version=version, **known)


def answered(dialogue: Dialogue) -> bool:
    """Whether the relay greeted."""
    return dialogue.steps[0][1] == 220 and "pmg.corp.example" in dialogue.steps[0][2]


def letter(token: str) -> str:
    """A message as a program writes it."""
    return f"From: joe@corp.example\nTo: {VICTIM}\nSubject: {token}\nMessage-ID: <{token}@corp.example>\n\nHello\n"
