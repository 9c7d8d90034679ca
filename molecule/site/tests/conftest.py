# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The estate, converged once for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from lab.plays import Played, play
from lab.poller import Answers, polling
from lab.probe import Lab

PLAYBOOKS = Path(__file__).resolve().parents[3] / "playbooks"
# Of a mail server, or of what the playbooks bring: none of it is on a bare host.
TRACES = "ls -d /etc/postfix /etc/exim4 /etc/dkimkeys /etc/rspamd /etc/opendkim* /var/lib/postmaster.mail 2>/dev/null"
# What etckeeper recommends recommends a mail server.
INSTALL = "apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends etckeeper"


def keep_history(lab: Lab, host: str) -> None:
    """Have etckeeper on a host, and only this test's commits in its history."""
    # Its timer would commit at a moment of its own, the first time right after the installation.
    lab.run(host, ["systemctl", "mask", "etckeeper.timer"])
    lab.run(host, INSTALL, timeout=300)


@contextmanager
def unsigned_mail(lab: Lab, relay: str) -> Iterator[None]:
    """A relay that asks no signer, all the while the block runs."""
    lab.run(relay, "postconf -e smtpd_milters= && postfix reload")
    try:
        yield
    finally:
        lab.run(relay, "postconf -e smtpd_milters=inet:127.0.0.1:11332 && postfix reload")


@dataclass(frozen=True)
class First:
    """The first minutes of the estate."""

    foreseen: Played  # check mode on bare hosts
    left: str  # what it left there all the same
    done: Played  # the first run, as talkative as people make it when something is wrong
    answers: Answers  # what a stranger got who tried to relay all the while


@pytest.fixture(scope="session", autouse=True)
def first(lab: Lab) -> First:
    """The first run of the whole estate, from bare hosts. On relay2 etckeeper was there before."""
    hosts = lab.hosts("estate")
    foreseen = play(lab, PLAYBOOKS / "site.yml", check=True)
    left = "".join(lab.run(host, TRACES, check=False).stdout for host in hosts)
    keep_history(lab, "relay2")
    with polling(lab, "stranger", hosts) as answers:
        done = play(lab, PLAYBOOKS / "site.yml", options=["-vvv"], timeout=1500)
    return First(foreseen, left, done, answers)
