# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An edge whose owner has ufw refuse all that is forwarded: mail passes nevertheless, after a boot too."""

from __future__ import annotations

from edges import CLIENTS, TABLES, answered, knock, run
from lab import control
from lab.probe import Lab

EDGE = "edge-12"
MINE = {"edge_backend": "iptables-nft"}
BESIDE = {**MINE, "edge_rules_v4": "/etc/ufw/before.rules", "edge_rules_v6": "/etc/ufw/before6.rules"}
# What the tests before had the role write with nftables goes first.
SET_UP = """nft delete table inet postmaster_smtp && rm /etc/nftables.d/postmaster-smtp-dnat.nft
    sed -i /postmaster-smtp-dnat/d /etc/nftables.conf
    apt-get -qq install --no-install-recommends ufw && ufw allow 22/tcp && ufw --force enable"""


def of_ufw(lab: Lab) -> list[str]:
    """All that filters and is not the role's, without counters."""
    saved = "".join(lab.run(EDGE, [f"{program}-save", "-t", "filter"]).stdout for program in TABLES.values())
    return [line.partition(" [")[0] for line in saved.splitlines() if line[:1] in "-:" and "POSTMASTER" not in line]


def assert_only_the_listed_pass(lab: Lab) -> None:
    for version in (4, 6):
        assert answered(knock(lab, CLIENTS[EDGE], EDGE, version=version))
        assert not answered(knock(lab, "stranger", EDGE, version=version))


def test_beside_ufw_mail_passes_also_after_a_boot(lab: Lab) -> None:
    lab.run(EDGE, SET_UP, timeout=300)
    before = of_ufw(lab)
    assert ":FORWARD DROP" in before and sum("ufw6-" in rule for rule in before) > 30
    assert not answered(knock(lab, CLIENTS[EDGE], EDGE))

    failed = run(lab, "edge", limit=EDGE, extra=MINE, must_pass=False)
    says = "ufw is installed, which Debian would take away for iptables-persistent: set edge_rules_v4 to"
    assert says in failed.failures[EDGE] and failed.changed == {}

    run(lab, "edge", limit=EDGE, extra=BESIDE)
    assert_only_the_listed_pass(lab)
    assert of_ufw(lab) == before
    control.restart(lab.name, EDGE)
    assert_only_the_listed_pass(lab)
    assert of_ufw(lab) == before
    assert run(lab, "edge", limit=EDGE, extra=BESIDE).changed == {}
