# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules that somebody wrote by hand, in real tables: they are told, move to ours, and leave nothing behind."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils._etckeeper_client import Etckeeper
from ansible_collections.postmaster.mail.plugins.module_utils._smtp_dnat import SmtpDnatError
from ansible_collections.postmaster.mail.plugins.module_utils._smtp_dnat_run import run

sys.path.insert(0, str(Path(__file__).parent))
from _namespace import Namespace, obstacle

pytestmark = pytest.mark.skipif(bool(obstacle()), reason=obstacle() or "-")

EDGE: dict[str, Any] = {
    "mode": "dnat",
    "destination": ["203.0.113.5", "2001:db8:5::5"],
    "relay": ["10.1.0.102", "fd00:1::102"],
    "sources": ["192.0.2.200", "2001:db8:1::/64"],
    "private_sources": True,
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
    "persist": True,
}
IPTABLES_4 = (
    "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n"
    "{}-A PREROUTING -d 203.0.113.5/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.1.0.80\n"
    "-A POSTROUTING -s 10.1.0.0/24 -o eth0 -j MASQUERADE\nCOMMIT\n"
)
HAND_4 = [
    "-s 192.0.2.200/32 -d 203.0.113.5/32 -p tcp -m tcp --dport 25 -j DNAT --to-destination 10.1.0.102:25",
    "-s 192.0.2.64/28 -d 203.0.113.5/32 -p tcp -m tcp --dport 25 -j DNAT --to-destination 10.1.0.102:25",
]
NATIVE = """\
table ip nat4 {{
    chain pre {{
        type nat hook prerouting priority dstnat; policy accept;
{}        ip daddr 203.0.113.5 tcp dport 80 dnat to 10.1.0.80
    }}

    chain post {{
        type nat hook postrouting priority srcnat; policy accept;
        oifname "eth0" ip saddr 10.1.0.0/24 masquerade
    }}
}}
table inet both {{
    chain pre {{
        type nat hook prerouting priority dstnat + 10; policy accept;
{}        tcp dport 8080 redirect to :80
    }}
}}
"""
HAND_NFT = (
    "\t\tip saddr 192.0.2.200 ip daddr 203.0.113.5 tcp dport 25 counter dnat to 10.1.0.102:25\n"
    '\t\tip daddr 203.0.113.5 ip saddr { 192.0.2.64/28, 192.0.2.9 } tcp dport 25 dnat to 10.1.0.102 comment "a # b"\n',
    "\t\tip6 saddr 2001:db8:1::/64 ip6 daddr 2001:db8:5::5 tcp dport 25 dnat ip6 to [fd00:1::102]:25\n",
)


@pytest.fixture(name="namespace")
def _namespace() -> Iterator[Namespace]:
    made = Namespace()
    yield made
    made.close()


def call(namespace: Namespace, folder: Path, *, check_mode: bool = False, **options: Any) -> dict[str, Any]:
    files = {"rules_v4": "rules.v4", "rules_v6": "rules.v6", "nftables_conf": "nftables.conf"}
    params = {**EDGE, **{name: str(folder / path) for name, path in files.items()}, **options}
    keeper = Etckeeper(top="/nowhere")
    return run(params, check_mode=check_mode, firewall=namespace.firewall(), etckeeper=keeper)


def sources(result: dict[str, Any]) -> list[str]:
    return sorted(entry["source"] for entry in result["entries"])


@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_of_iptables(namespace: Namespace, tmp_path: Path, variant: str) -> None:
    text = IPTABLES_4.format("".join(f"-A PREROUTING {rule}\n" for rule in HAND_4))
    path = tmp_path / "rules.v4"
    path.write_text(text, encoding="utf-8")
    namespace.load(variant, 4, text)
    asked = {"backend": f"iptables-{variant}"}
    told = call(namespace, tmp_path, **asked, check_mode=True)
    assert told["handwritten"] == [f"-A PREROUTING {rule}" for rule in HAND_4]
    result = call(namespace, tmp_path, **asked, adopt=True)
    assert sources(result) == ["192.0.2.200/32", "192.0.2.64/28", "2001:db8:1::/64"]
    assert not call(namespace, tmp_path, **asked, adopt=True)["changed"]
    assert call(namespace, tmp_path, **asked, adopt=True, purge=True)["removed"] == ["192.0.2.64/28"]
    call(namespace, tmp_path, **{**asked, "sources": []}, state="absent")
    left = IPTABLES_4.format("")
    assert path.read_text(encoding="utf-8") == left
    assert left in namespace.rules(variant)


def test_of_nftables(namespace: Namespace, tmp_path: Path) -> None:
    namespace.run("nft", "-f", "-", stdin=NATIVE.format("", ""))
    left = namespace.native()
    namespace.run("nft", "flush", "ruleset")
    text = "#!/usr/sbin/nft -f\nflush ruleset\n" + NATIVE.format(*HAND_NFT)
    conf = tmp_path / "nftables.conf"
    conf.write_text(text, encoding="utf-8")
    namespace.run("nft", "-f", str(conf))
    before = namespace.native()
    asked = {"backend": "nftables"}

    told = call(namespace, tmp_path, **asked)
    places = ["ip nat4 pre", "ip nat4 pre", "inet both pre"]
    rules = "".join(HAND_NFT).replace("\t", "").splitlines()
    rules[1] = rules[1].replace("{ 192.0.2.64/28, 192.0.2.9 }", "{ 192.0.2.9, 192.0.2.64/28 }")  # as nft sorts them
    assert told["handwritten"] == [f"{place} {rule}" for place, rule in zip(places, rules, strict=True)]
    ours = namespace.run("nft", "-s", "list", "table", "inet", "postmaster_smtp")
    assert namespace.native().replace(ours, "") == before

    predicted = call(namespace, tmp_path, **asked, adopt=True, check_mode=True)
    result = call(namespace, tmp_path, **asked, adopt=True)
    assert (result["changed"], result["diff"], result["warnings"]) == (True, predicted["diff"], predicted["warnings"])
    assert not any("taken over" in warning for warning in result["warnings"])
    assert sources(result) == ["192.0.2.200/32", "192.0.2.64/28", "192.0.2.9/32", "2001:db8:1::/64"]
    ours = namespace.run("nft", "-s", "list", "table", "inet", "postmaster_smtp")
    assert namespace.native().replace(ours, "") == left
    again = call(namespace, tmp_path, **asked, adopt=True)
    assert (again["changed"], again["handwritten"]) == (False, [])

    # What is loaded at boot is the same.
    clean = Namespace(beside=namespace)
    clean.run("nft", "-f", str(conf))
    assert clean.native() == namespace.native()
    clean.close()

    purged = call(namespace, tmp_path, **asked, adopt=True, purge=True)
    assert sorted(purged["removed"]) == ["192.0.2.64/28", "192.0.2.9/32"]
    call(namespace, tmp_path, **{**asked, "sources": []}, state="absent")
    assert namespace.native() == left
    assert conf.read_text(encoding="utf-8") == "#!/usr/sbin/nft -f\nflush ruleset\n" + NATIVE.format("", "")


UNCLEAR = [
    'iifname "eth0" ip saddr 192.0.2.7 ip daddr 203.0.113.5 tcp dport 25 dnat to 10.1.0.102',
    "ip saddr 192.0.2.7 ip daddr 203.0.113.5 tcp dport { 25, 465 } dnat to 10.1.0.102",
    "ip daddr 203.0.113.5 dnat to tcp dport map { 25 : 10.1.0.102, 80 : 10.1.0.80 }",
]


@pytest.mark.parametrize("rule", UNCLEAR)
def test_a_form_that_cannot_be_taken_over_is_refused(namespace: Namespace, tmp_path: Path, rule: str) -> None:
    (tmp_path / "nftables.conf").write_text("flush ruleset\n", encoding="utf-8")
    namespace.run("nft", "-f", "-", stdin=NATIVE.format(f"\t\t{rule}\n", ""))
    before = namespace.native()
    with pytest.raises(SmtpDnatError) as caught:
        call(namespace, tmp_path, backend="nftables", adopt=True)
    assert str(caught.value) == (
        f"adopt: a rule is of no form that can be taken over: ip nat4 pre {rule}; write it as "
        "ip saddr X ip daddr Y tcp dport 25 dnat to Z, or take it out"
    )
    assert namespace.native() == before
    # It stays where nobody asks for that.
    assert call(namespace, tmp_path, backend="nftables")["handwritten"] == []


def test_a_rule_that_a_file_has_in_another_form_is_told(namespace: Namespace, tmp_path: Path) -> None:
    (tmp_path / "nftables.conf").write_text('include "more.nft"\n', encoding="utf-8")
    namespace.run("nft", "-f", "-", stdin=NATIVE.format("", HAND_NFT[1]))
    result = call(namespace, tmp_path, backend="nftables", adopt=True)
    rule = f"inet both pre {HAND_NFT[1].strip()}"
    warning = (
        f"the rule {rule} is taken over, but {tmp_path}/nftables.conf has no such line: if another file or form loads it at "
        "boot, take it out there"
    )
    assert warning in result["warnings"]
    assert not any("taken over" in one for one in call(namespace, tmp_path, backend="nftables", adopt=True)["warnings"])


def test_a_rule_for_everybody_is_told(namespace: Namespace, tmp_path: Path) -> None:
    namespace.run(
        "nft", "-f", "-", stdin=NATIVE.format("        ip daddr 203.0.113.5 tcp dport 25 dnat to 10.1.0.102\n", "")
    )
    (tmp_path / "nftables.conf").write_text("", encoding="utf-8")
    result = call(namespace, tmp_path, backend="nftables", adopt=True, persist=False)
    told = [one for one in result["warnings"] if "everybody" in one]
    assert told == [
        "a rule of others has everybody reach the relay, whatever sources says: ip nat4 pre ip daddr 203.0.113.5 tcp dport "
        f"25 dnat to 10.1.0.102; remove it with {told[0].rpartition('remove it with ')[2]}"
    ]
    namespace.run(*told[0].rpartition("remove it with ")[2].split())
    assert not any(
        "everybody" in one for one in call(namespace, tmp_path, backend="nftables", persist=False)["warnings"]
    )
