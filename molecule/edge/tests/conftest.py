# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The estate with its edges, converged once for all tests of this folder."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from lab.plays import Played
from lab.probe import Lab

sys.path.insert(0, str(Path(__file__).resolve().parent))
from edges import EDGES, NAMES, docker, docker_rules, publish, run, shut_in


@dataclass(frozen=True)
class First:
    """The first minutes of the estate."""

    unpublished: Played  # before anybody published the names
    foreseen: Played  # check mode on bare hosts
    left: str  # what it left there all the same
    done: Played
    second: Played
    docker: tuple[list[str], list[str]]  # Docker's rules before all that, and after it


@pytest.fixture(scope="session", autouse=True)
def first(lab: Lab) -> First:
    """From bare hosts. On edge Docker was there before."""
    shut_in(lab)
    lab.run("edge", "apt-get -qq update && apt-get -qq install --no-install-recommends iptables", timeout=300)
    docker(lab)
    before = docker_rules(lab)
    unpublished = run(lab, "edge", must_pass=False)
    for edge, name in NAMES.items():
        publish(lab, edge, name)
    foreseen = run(lab, "edge", check=True)
    traces = "ls -d /etc/sysctl.d/mail-edge.conf /etc/postmaster.mail /etc/iptables /etc/nginx 2>/dev/null"
    left = "".join(lab.run(edge, traces, check=False).stdout for edge in EDGES)
    done, second = run(lab, "site"), run(lab, "edge")
    return First(unpublished, foreseen, left, done, second, (before, docker_rules(lab)))
