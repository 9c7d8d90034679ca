# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mailers, converged once for all tests of this folder."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from lab.plays import Played, play
from lab.probe import Lab

sys.path.insert(0, str(Path(__file__).resolve().parent))
from mailers import ESTATE, FULL, GONE, MAILERS, POLICIES, SCENARIO, converge, start_endpoint, start_policies


@dataclass(frozen=True)
class First:
    """The first minutes of the mailers."""

    foreseen: Played  # check mode on bare hosts
    left: str  # what it left there all the same
    done: Played
    checked: dict[str, Any]  # what the check of mail domains says of the records
    second: Played


@pytest.fixture(scope="session", autouse=True)
def first(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> First:
    """From bare hosts, of which one was given a key as the seed of all this makes it."""
    key = "/etc/ssl/private/shop.example.pem"
    lab.run("mail-12", f"umask 077; openssl genrsa -traditional -out {key} 2048")
    start_endpoint(lab)
    refuse = f"check_recipient_access inline:{{ {{ {GONE} = 550 5.1.1 nobody }}, {{ {FULL} = 452 4.2.2 full }} }}"
    lab.run("outside", ["postconf", "-e", f"smtpd_recipient_restrictions = {refuse}"])
    lab.run("outside", "postfix reload")
    foreseen = converge(lab, check=True)
    traces = "ls -d /etc/postmaster-mailer /opt/postmaster* /etc/redis /etc/postfix* 2>/dev/null"
    left = "".join(lab.run(mailer, traces, check=False).stdout for mailer in MAILERS)
    done = converge(lab)
    report = tmp_path_factory.mktemp("check") / "report.json"
    play(lab, SCENARIO / "dns.yml", inventories=[ESTATE], extra={"report_file": str(report)})
    return First(foreseen, left, done, json.loads(report.read_text()), converge(lab))


@pytest.fixture(scope="session")
def policies(lab: Lab) -> None:
    """Outside has other domains too, which say by MTA-STS (RFC 8461) which servers take their mail."""
    domains = ["outside.test", lab.fqdn("outside"), *POLICIES]
    lab.run("outside", ["postconf", "-e", f"virtual_mailbox_domains = {' '.join(domains)}"])
    lab.run("outside", "postfix reload")
    start_policies(lab)
    for domain in POLICIES:
        lab.update(f"{domain}.", "MX", [f"10 {lab.fqdn('outside')}."])
        lab.update(f"mta-sts.{domain}.", "A", [lab.address("outside")])
        lab.update(f"_mta-sts.{domain}.", "TXT", ['"v=STSv1; id=1"'])
