# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The last change is taken back, and the way of the mail stays as the list in the inventory has it."""

from __future__ import annotations

import re

from edges import CLIENTS, EDGES, answered, knock, run
from lab.plays import Played
from lab.probe import Lab

CHANGE = {"edge_admin_port": 8007, "edge_web_port": 8080}


def in_force(lab: Lab, edge: str) -> tuple[set[str], set[str]]:
    """The ports of the relay that the kernel closes, and those that nginx asks."""
    closed = re.findall(r"dport (\d+) drop", lab.run(edge, "nft list table inet postmaster_edge").stdout)
    asked = re.findall(r"proxy_pass http://.*:(\d+)", lab.run(edge, "nginx -T 2>/dev/null", check=False).stdout)
    assert lab.run(edge, ["systemctl", "is-active", "mail-edge"]).stdout == "active\n"
    return set(closed), set(asked)


def restore(lab: Lab, **options: bool) -> Played:
    return run(lab, "restore", limit="edges", **options)


def test_the_last_change_is_taken_back_and_brought_again(lab: Lab) -> None:
    run(lab, "edge")
    before = {edge: in_force(lab, edge) for edge in EDGES}
    assert before == {"edge": ({"8006"}, {"80"}), "edge-12": ({"8006"}, set())}
    run(lab, "edge", extra=CHANGE)
    after = {edge: in_force(lab, edge) for edge in EDGES}
    assert after == {"edge": ({"8007"}, {"8080"}), "edge-12": ({"8007"}, set())}

    foreseen = restore(lab, check=True)
    assert {edge: in_force(lab, edge) for edge in EDGES} == after
    done = restore(lab)
    assert set(foreseen.changed) == set(done.changed) == {*EDGES}
    assert {edge: in_force(lab, edge) for edge in EDGES} == before
    for edge in EDGES:
        for version in (4, 6):
            assert answered(knock(lab, CLIENTS[edge], edge, version=version))
    assert run(lab, "edge").changed == {}, "what was restored is what the inventory says"

    restore(lab)
    assert {edge: in_force(lab, edge) for edge in EDGES} == after
    run(lab, "edge")
    assert {edge: in_force(lab, edge) for edge in EDGES} == before
