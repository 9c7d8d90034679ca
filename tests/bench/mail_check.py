# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""mail_check of 100 domains in a lab against checkdmarc on the same names and the same resolver.

Start it with ./dev bench, or with molecule/shared and the collection on PYTHONPATH. It puts up a lab of its own (index
49) and takes it down again. The peer is checkdmarc, read from PEER_PATH: a folder that holds the package, or a virtual
environment with it; without it "not run" is printed. Neither asks mail or web servers: both judge what DNS says, and
only mail_check asks every authoritative server. Both run in a process of their own, in turns. The goal is a tenth of the
peer's time. It is measured with the name servers on the same machine, where the processor alone counts, and with all
of them some milliseconds away, as name servers are in life.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [
    str(ROOT / "tests" / "bench"),
    str(ROOT / "molecule" / "shared"),
    str(ROOT / "molecule" / "check" / "tests"),
]

from _distance import away  # noqa: E402
from faults import Planter, surroundings  # noqa: E402
from lab import control  # noqa: E402
from lab.hosts import Plan  # noqa: E402
from lab.probe import Lab  # noqa: E402
from mailhosts import MailHosts  # noqa: E402

NAME, INDEX, DOMAINS, ROUNDS, GOAL = "benchcheck", 49, 100, 3, 0.1
DISTANCES = (1, 2, 5, 20)  # milliseconds there and back
OWN = """
import asyncio, json, sys, time
from ansible_collections.postmaster.mail.plugins.modules.mail_check import ARGUMENT_SPEC, run
params = {name: spec.get("default") for name, spec in ARGUMENT_SPEC.items()} | json.loads(sys.argv[1])
start = time.monotonic()
report, problem = asyncio.run(run(params))
print(time.monotonic() - start, len(report.findings), sum("not answer" in one.seen for one in report.unknowns))
"""
PEER = """
import json, sys, time
sys.path[:0] = json.loads(sys.argv[2])
import checkdmarc
options = json.loads(sys.argv[1])
start = time.monotonic()
results = checkdmarc.check_domains(options["domains"], nameservers=options["resolver"], timeout=5.0)
print(time.monotonic() - start, sum(not result["spf"]["valid"] for result in results), len(results))
"""


def peer_paths() -> list[str] | None:
    """Where the peer's packages are, if they are at hand."""
    folder = os.environ.get("PEER_PATH")
    for base in [Path(folder), Path(folder) / "checkdmarc"] if folder else []:
        for place in (base, *base.glob("lib/python*/site-packages")):
            if (place / "checkdmarc" / "__init__.py").is_file():
                return [str(place)]
    return None


def timed(before: list[str], script: str, *arguments: Any) -> list[float]:
    """The numbers that a script prints; ``before`` leads to where it runs."""
    argv = [*before, sys.executable, "-c", script, *(json.dumps(argument) for argument in arguments)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=1800, check=False)
    if done.returncode:
        raise SystemExit(f"a run failed: {done.stderr.strip()[-500:]}")
    return [float(word) for word in done.stdout.split()]


def plant(lab: Lab) -> list[str]:
    """Domains with MX, SPF with an include, DKIM, DMARC and TLS reports; no MTA-STS, which the peer would fetch."""
    planter = Planter(lab, MailHosts(lab))
    records = surroundings(planter)
    del records[("provider.test.", "NS")]
    names = [f"d{number}.stranger.test" for number in range(DOMAINS)]
    for name in names:
        domain = planter.sound(name).put("_mta-sts", "TXT").put("mta-sts", "A")
        domain.say("", f"v=spf1 include:_spf.provider.test ip4:{planter.v4} -all")
        records |= domain.absolute()
    planter.update(records)
    return names


def measure(before: list[str], options: dict[str, Any]) -> None:
    """Run both in turns, and print."""
    own_options = options | {"smtp": False, "https": False, "selectors": ["sel1"], "dnsbl_domain": [], "dnsbl_ip": []}
    peer = peer_paths()
    own, other = [], []
    for dummy in range(ROUNDS):
        seconds, dummy, silent = timed(before, OWN, own_options)
        if silent:
            raise SystemExit(f"{silent:g} questions were not answered: the machine is too busy to measure")
        own.append(seconds)
        if peer:
            other.append(timed(before, PEER, options, peer)[0])
    print(f"mail_check, {DOMAINS} domains: {statistics.median(own):.2f} s (median of {ROUNDS})")
    if not peer:
        print("checkdmarc: not run (PEER_PATH names no folder that holds it)")
        return
    ratio = statistics.median(own) / statistics.median(other)
    print(f"checkdmarc, the same: {statistics.median(other):.2f} s")
    print(f"ratio {ratio:.3f} (goal: {GOAL} at most): {'met' if ratio <= GOAL else 'missed'}")


def report(lab: Lab) -> None:
    """Measure near and far."""
    options: dict[str, Any] = {"domains": plant(lab), "resolver": [lab.known["dns"]["resolver"]], "trust_ad": True}
    print("the name servers on this machine:")
    measure([], options)
    servers = [one for host in ("ns1", "ns2", "resolver") for one in lab.known["hosts"][host]["addresses"]]
    for distance in DISTANCES:
        print(f"the name servers {distance} ms away (load {os.getloadavg()[0]:.1f}):")
        with away(NAME, distance, servers) as before:
            measure(before, options)


def main() -> None:
    """Put the lab up, measure, take it down."""
    say = control.narrator()
    control.up(Plan(NAME, INDEX), hosts=control.choose([]), engine_name="auto", say=say)
    try:
        print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
        report(Lab.load(NAME))
    finally:
        control.down(NAME, engine_name="auto", say=say)


if __name__ == "__main__":
    main()
