# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Relay and lists, converged once for all tests of this folder."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from lab.plays import Played, play
from lab.probe import Lab

sys.path.insert(0, str(Path(__file__).resolve().parent))
from listhosts import ESTATE, GONE, HOSTS, SCENARIO, converge


@dataclass(frozen=True)
class First:
    """The first minutes of the lists."""

    foreseen: Played  # check mode on bare hosts
    left: str  # what it left there all the same
    done: Played
    second: Played


@pytest.fixture(scope="session", autouse=True)
def first(lab: Lab) -> First:
    """From bare hosts. Outside does not know one of the members; another domain says what is to become of its mail."""
    lab.run(
        "outside",
        [
            "postconf",
            "-e",
            f"smtpd_recipient_restrictions = check_recipient_access inline:{{ {{ {GONE} = 550 5.1.1 nobody }} }}",
        ],
    )
    lab.run("outside", "postfix reload")
    # Outside looks at chains of trust as well (RFC 8617).
    chains = "arc { check_local = true; check_authed = true; }"
    lab.run("outside", f"echo '{chains}' >>/etc/rspamd/rspamd.conf && systemctl restart rspamd")
    lab.update("_dmarc.stranger.test", "TXT", ['"v=DMARC1; p=none"'])
    foreseen = converge(lab, check=True, limit="mail_servers")
    traces = "ls -d /etc/mailman3 /var/lib/mailman3 /etc/postfix /etc/nginx 2>/dev/null"
    left = "".join(lab.run(host, traces, check=False).stdout for host in HOSTS)
    play(lab, SCENARIO / "prepare.yml", inventories=[ESTATE])
    done = converge(lab, timeout=2400)
    return First(foreseen, left, done, converge(lab))
