# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long ``explain`` and ``flatten`` take for 1,000 records, in processor time, DNS being a dictionary in memory.

    python tests/bench/spf_1000_records.py [number of records]

The records are made up like those of organisations: most forbid all mail or name one service, some name five with
includes of their own and hundreds of networks. Where MAIL_TEST_DATA says where they lie, real public records come
first; what their includes hold is made up, since it is not known. ``check_host`` on the same records is the floor.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ansible_collections.postmaster.mail.plugins.module_utils._spf import (
    SpfError,
    check_host,
    explain,
    flatten,
    is_spf,
    parse,
)

SERVICES = 40
STRANGER = "203.0.113.77"


class Zone(dict[tuple[str, str], list[str]]):
    """DNS in memory."""

    def query(self, name: str, rdtype: str) -> list[str]:
        return self.get((name.rstrip("."), rdtype), [])


def service(zone: Zone, name: str, number: int) -> None:
    """The record of a service: networks, and for every third one two includes of its own."""
    networks = " ".join(f"ip4:10.{number}.{2 * index}.0/{24 + index % 5}" for index in range(10 + 7 * (number % 5)))
    below = f"include:a.{name} include:b.{name} " if number % 3 == 0 else ""
    zone[name, "TXT"] = [f"v=spf1 {below}{networks} ip6:2001:db8:{number:x}::/48 -all"]
    for label in "ab" if below else "":
        zone[f"{label}.{name}", "TXT"] = [f"v=spf1 {networks.replace('ip4:10.', f'ip4:1{ord(label) % 10}.')} ~all"]


def given() -> Iterator[tuple[str, str]]:
    """Real public records by name, if they are at hand."""
    folder = os.environ.get("MAIL_TEST_DATA")
    records = json.loads(Path(folder, "moj-mail-records.json").read_text()) if folder else []
    for record in records:
        for text in record["values"] if record["type"] == "TXT" else ():
            if is_spf(text):
                yield record["name"].rstrip("."), text


def made_up(count: int) -> Iterator[tuple[str, str]]:
    for number in range(count):
        includes = " ".join(
            f"include:s{(number + step) % SERVICES}.example" for step in range((0, 0, 1, 2, 5)[number % 5])
        )
        own = f"ip4:192.0.2.{number % 256} a mx" if number % 5 > 1 else ""
        yield f"d{number}.example", " ".join(f"v=spf1 {own} {includes} {'-all' if number % 2 else '~all'}".split())


def zone_of(records: dict[str, str]) -> Zone:
    """All that the records need to be evaluated."""
    zone = Zone()
    for number in range(SERVICES):
        service(zone, f"s{number}.example", number)
    for name, text in records.items():
        zone[name, "TXT"] = [text]
        zone[name, "A"], zone[name, "MX"] = ["192.0.2.1"], [f"10 mx.{name}."]
        zone[f"mx.{name}", "A"], zone[f"mx.{name}", "AAAA"] = ["192.0.2.2"], ["2001:db8::2"]
        for term in parse(text).lookup_terms:
            target = term.domain.literal if term.domain is not None else None
            if target and (target, "TXT") not in zone:
                service(zone, target, len(zone) % 200)
    return zone


def seconds(work: Callable[[str, str], object], records: dict[str, str]) -> float:
    start = time.process_time()
    for name, text in records.items():
        work(name, text)
    return time.process_time() - start


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    real = dict(given())
    records = dict(list({**real, **dict(made_up(count))}.items())[:count])
    zone = zone_of(records)
    refused: list[str] = []
    split: list[int] = []

    def judge(name: str, text: str) -> None:
        check_host(ip=STRANGER, sender=f"a@{name}", helo=name, resolver=zone)

    def tell(name: str, text: str) -> None:
        explain(ip=STRANGER, sender=f"a@{name}", helo=name, resolver=zone).lines()

    def flat(name: str, text: str) -> None:
        try:
            split.append(len(flatten(text, domain=name, resolver=zone).records))
        except SpfError:
            refused.append(name)

    where = (
        f"{len(set(real) & set(records))} real ones among them"
        if real
        else "the real ones not run: MAIL_TEST_DATA is not set"
    )
    print(f"{len(records)} records, {where}; load {os.getloadavg()[0]:.1f}")
    for title, work in (("check_host", judge), ("explain", tell), ("flatten", flat)):
        taken = min(seconds(work, records) for dummy in range(3))
        print(f"  {title:10} {taken:6.2f} s, {len(records) / taken:,.0f} records a second")
    parts = sum(number > 1 for number in split)
    print(f"  flat: {parts // 3} split over includes, {len(refused) // 3} too large for ten lookups")


if __name__ == "__main__":
    main()
