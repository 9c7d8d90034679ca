# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Beside the rules of others, in real tables of the kernel: they stay byte for byte, and ours come and go."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils._etckeeper_client import Etckeeper
from ansible_collections.postmaster.mail.plugins.module_utils._smtp_dnat_run import run

sys.path.insert(0, str(Path(__file__).parent))
from _namespace import Namespace, obstacle
from _rulesets import of_iptables, of_nftables

pytestmark = pytest.mark.skipif(bool(obstacle()), reason=obstacle() or "-")

EDGE: dict[int, dict[str, Any]] = {
    4: {
        "destination": ["203.0.113.5"],
        "relay": ["10.1.0.102"],
        "sources": ["192.0.2.25", "192.0.2.32/28", "10.1.0.0/24"],
        "relay_networks": ["10.1.0.0/24"],
        "outgoing_address": ["203.0.113.5"],
    },
    6: {
        "destination": ["2001:db8:5::5"],
        "relay": ["fd00:1::102"],
        "sources": ["2001:db8:1::/64", "2001:db8:2::25"],
        "relay_networks": ["fd00:1::/64"],
        "outgoing_address": ["2001:db8:5::5"],
    },
}
DEFAULTS: dict[str, Any] = {
    "mode": "dnat",
    "sources": [],
    "private_sources": True,
    "relay": [],
    "relay_port": 25,
    "masquerade": "egress",
    "relay_networks": [],
    "outgoing_address": [],
    "interface": None,
    "forward": True,
    "state": "present",
    "purge": False,
    "adopt": False,
    "expires": None,
    "backend": "auto",
    "persist": False,
    "rules_v4": "/nowhere/rules.v4",
    "rules_v6": "/nowhere/rules.v6",
    "nftables_conf": "/nowhere/nftables.conf",
}
SETS = of_iptables()
# Where Docker is, and some others.
OF_CLIENTS = [one for number, one in enumerate(SETS) if "DOCKER-USER" in one[2] or number % 4 == 0]


@pytest.fixture(name="namespace")
def _namespace() -> Iterator[Namespace]:
    made = Namespace()
    yield made
    made.close()


def call(namespace: Namespace, *, check_mode: bool = False, **options: Any) -> dict[str, Any]:
    """One run of the module there; files are the caller's own, so nothing of /etc is read or written."""
    keeper = Etckeeper(top="/nowhere")
    return run({**DEFAULTS, **options}, check_mode=check_mode, firewall=namespace.firewall(), etckeeper=keeper)


def without_ours(text: str) -> str:
    """Lines that do not speak of our chains."""
    ours = (":POSTMASTER-SMTP-", "-A POSTMASTER-SMTP-")
    names = [f"POSTMASTER-SMTP-{name}" for name in ("DNAT", "SNAT", "FWD", "OUT", "DOCKER")]
    kept = []
    for line in text.splitlines(keepends=True):
        declared = line.startswith(ours) and line[1:].removeprefix("A ").split()[0] in names
        if not declared and not any(line.rstrip().endswith(f" -j {name}") for name in names):
            kept.append(line)
    return "".join(kept)


def empty_tables(text: str) -> str:
    """Without tables that hold nothing, as a table that was asked for once is listed from then on."""
    parts = [part + "COMMIT\n" for part in text.split("COMMIT\n") if part]
    return "".join(
        part
        for part in parts
        if any(line.startswith("-A") or " - [" in line or "DROP" in line for line in part.splitlines())
    )


def test_there_are_enough() -> None:
    made_by_tools = {name for name, dummy, dummy2 in SETS if name.endswith(("-bookworm", "-trixie"))}
    made_by_tools |= {name for name, dummy in of_nftables() if name.endswith(("-bookworm", "-trixie"))}
    assert len(made_by_tools) >= 10
    assert {name.split("-")[0] for name in made_by_tools} == {"ufw", "firewalld", "fail2ban", "docker"}
    assert len({*(name for name, dummy, dummy2 in SETS), *(name for name, dummy in of_nftables())}) >= 30


@pytest.mark.parametrize("variant", ["nft", "legacy"])
@pytest.mark.parametrize(
    ("name", "version", "text"), SETS, ids=[f"{name} IPv{version}" for name, version, text in SETS]
)
def test_rules_of_others_stay(
    namespace: Namespace, tmp_path: Path, variant: str, name: str, version: int, text: str
) -> None:
    namespace.load(variant, version, text)
    before = namespace.rules(variant, version)
    path = tmp_path / "rules"
    path.write_text(text, encoding="utf-8")
    asked = {**EDGE[version], "backend": f"iptables-{variant}", "persist": True, f"rules_v{version}": str(path)}

    predicted = call(namespace, check_mode=True, **asked)
    assert namespace.rules(variant, version) == before
    assert path.read_text(encoding="utf-8") == text

    first = call(namespace, **asked)
    assert first["changed"]
    assert first["changed_files"] == [str(path)]
    assert {key: first[key] for key in ("added", "entries", "diff")} == {
        key: predicted[key] for key in ("added", "entries", "diff")
    }
    during, saved = namespace.rules(variant, version), path.read_text(encoding="utf-8")
    assert during.count("--to-destination") - before.count("--to-destination") == len(asked["sources"])
    assert empty_tables(without_ours(during)) == empty_tables(before)
    assert empty_tables(without_ours(saved)).startswith(empty_tables(text))

    again = call(namespace, **asked)
    assert (again["changed"], again["diff"]) == (False, [])
    assert namespace.rules(variant, version) == during

    # What is loaded at boot brings the same rules of ours.
    clean = Namespace(beside=namespace)
    clean.load(variant, version, saved)
    assert not call(clean, **{**asked, "persist": False})["changed"]
    clean.close()

    assert call(namespace, **{**asked, "sources": [], "state": "absent"})["changed"]
    assert empty_tables(namespace.rules(variant, version)) == empty_tables(before)
    assert (path.read_text(encoding="utf-8") if path.exists() else "") == text
    assert not call(namespace, **{**asked, "sources": [], "state": "absent"})["changed"]


@pytest.mark.parametrize("variant", ["nft", "legacy"])
@pytest.mark.parametrize(
    ("name", "version", "text"), OF_CLIENTS, ids=[f"{name} IPv{version}" for name, version, text in OF_CLIENTS]
)
def test_a_client_sends_past_no_gateway(namespace: Namespace, variant: str, name: str, version: int, text: str) -> None:
    namespace.load(variant, version, text)
    before = namespace.rules(variant, version)
    asked = {"mode": "client", "destination": EDGE[version]["destination"], "backend": f"iptables-{variant}"}
    assert call(namespace, **asked)["changed"]
    during = namespace.rules(variant, version)
    assert (":POSTMASTER-SMTP-DOCKER " in during) == (":DOCKER-USER " in before)
    assert empty_tables(without_ours(during)) == empty_tables(before)
    assert not call(namespace, **asked)["changed"]
    assert call(namespace, **asked, state="absent")["changed"]
    assert empty_tables(namespace.rules(variant, version)) == empty_tables(before)


@pytest.mark.parametrize(("name", "text"), of_nftables(), ids=[name for name, text in of_nftables()])
def test_tables_of_nftables_stay(namespace: Namespace, tmp_path: Path, name: str, text: str) -> None:
    namespace.run("nft", "-f", "-", stdin=text)
    before = namespace.native()
    conf = tmp_path / "nftables.conf"
    conf.write_text("#!/usr/sbin/nft -f\nflush ruleset\n", encoding="utf-8")
    asked = {key: [*EDGE[4][key], *EDGE[6][key]] for key in EDGE[4]}
    asked |= {"persist": True, "nftables_conf": str(conf)}

    first = call(namespace, **asked)
    assert (first["changed"], first["backend"], len(first["entries"])) == (True, "nftables", 5)
    assert len(first["changed_files"]) == 2
    during = namespace.native()
    assert during.replace(namespace.run("nft", "-s", "list", "table", "inet", "postmaster_smtp"), "") == before
    assert not call(namespace, **asked)["changed"]

    clean = Namespace(beside=namespace)
    clean.run("nft", "-f", str(conf))
    assert not call(clean, **{**asked, "persist": False, "backend": "nftables"})["changed"]
    clean.close()

    client = {"mode": "client", "destination": EDGE[4]["destination"], "backend": "nftables"}
    assert call(namespace, **client)["changed"]
    assert not call(namespace, **client)["changed"]
    assert not call(namespace, **asked)["changed"]
    assert call(namespace, **client, state="absent")["changed"]

    assert call(namespace, **{**asked, "sources": [], "state": "absent", "backend": "nftables"})["changed"]
    assert namespace.native() == before
    assert conf.read_text(encoding="utf-8") == "#!/usr/sbin/nft -f\nflush ruleset\n"
    assert not (tmp_path / "nftables.d" / "postmaster-smtp-dnat.nft").exists()
