# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Relays and lists, converged once for all tests of this folder."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from lab.plays import Played
from lab.probe import Lab
from lab.queues import NO_FILTERS

sys.path.insert(0, str(Path(__file__).resolve().parent))
from lists import HOSTS, converge

DROP_IN = "/run/systemd/system/postmaster-restricted-list.service.d"
TRACES = (
    "ls -d /etc/postmaster-restricted-list /opt/postmaster-restricted-list /usr/local/bin/restricted-list 2>/dev/null"
)

# What the lists rest on besides: a database beside one, a directory beside the other.
_INSTALL = """set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
"""
NEIGHBOURS = {
    "relay1": _INSTALL
    + """apt-get -qq install --no-install-recommends postgresql >/dev/null
runuser -u postgres -- psql -q -c "CREATE ROLE list LOGIN PASSWORD 'open sesame'"
runuser -u postgres -- psql -q -c "CREATE DATABASE list OWNER list ENCODING 'UTF8' TEMPLATE template0"
""",
    "relay2": _INSTALL
    + """echo slapd slapd/domain string corp.example | debconf-set-selections
apt-get -qq install --no-install-recommends slapd >/dev/null
systemctl stop slapd
runuser -u openldap -- slapadd -b dc=corp,dc=example <<END
dn: cn=clerk,dc=corp,dc=example
objectClass: inetOrgPerson
cn: clerk
sn: clerk
mail: clerk@outside.test
mail: second.clerk@outside.test
END
systemctl start slapd
""",
}


@dataclass(frozen=True)
class First:
    """The first minutes of the lists."""

    foreseen: Played  # check mode on bare hosts
    left: str  # what it left there all the same
    second: Played


@pytest.fixture(scope="session", autouse=True)
def first(lab: Lab) -> First:
    """From bare hosts to lists that run."""
    with ThreadPoolExecutor() as pool:
        beside = [pool.submit(lab.run, host, script, timeout=600) for host, script in NEIGHBOURS.items()]
        foreseen = converge(lab, check=True)
        for one in beside:
            one.result()
    left = "".join(lab.run(host, TRACES, check=False).stdout for host in HOSTS)
    # As the lab's containers of Debian 13 cannot have them.
    lab.run("relay1", f"mkdir -p {DROP_IN} && cat > {DROP_IN}/lab.conf && systemctl daemon-reload", input=NO_FILTERS)
    converge(lab, "relay.yml")
    converge(lab)
    return First(foreseen, left, converge(lab))


@pytest.fixture
def word(token: str) -> str:
    """What no other message contains; a token is something else here."""
    return token
