# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests and time of pmg_network for 1, 100 and 1,000 networks, against a loop of single calls with a login each.

Start it with ./dev bench, or with the collection on PYTHONPATH. It asks a fake of a Proxmox Mail Gateway, which judges
requests by the API's schema: MAIL_TEST_DATA names the folder with pmg/pmg_api_schema.json, without which "not run" is
printed. The fake answers at once, a real one takes some two seconds for each change: so requests are what counts.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "fakes"), str(ROOT / ".cache" / "tree")]

from ansible_collections.postmaster.mail.plugins.module_utils._pmg_client import Api, Https  # noqa: E402
from ansible_collections.postmaster.mail.plugins.modules import pmg_network  # noqa: E402
from fake_pmg import FakePmg, certificate, serving  # noqa: E402

SCHEMA = Path(os.environ.get("MAIL_TEST_DATA", "/nowhere")) / "pmg" / "pmg_api_schema.json"
SIZES = (1, 100, 1000)


def wanted(count: int) -> list[dict[str, Any]]:
    """So many networks."""
    return [
        {"cidr": f"192.0.{number // 250}.{number % 250 + 1}", "comment": f"host {number}"} for number in range(count)
    ]


def call(port: int, pem: Path, networks: list[dict[str, Any]]) -> None:
    """What one task does, without Ansible's own start."""
    params = {
        "networks": networks,
        "state": "present",
        "purge": False,
        "reachable_from_outside": True,
        "host_bits": "refuse",
    }
    api = Api(Https("127.0.0.1", "root@pam", "secret", port=port, ca_path=str(pem)))
    pmg_network.run(params, api, False)


def one_by_one(port: int, pem: Path, networks: list[dict[str, Any]]) -> None:
    """A task for each network."""
    for network in networks:
        call(port, pem, [network])


def measured(fake: FakePmg, what: Callable[[], None]) -> str:
    """How long something took, and what it asked for."""
    fake.log.clear()
    start = time.monotonic()
    what()
    seconds = time.monotonic() - start
    writes = sum(method != "GET" and path != "/access/ticket" for method, path, dummy, dummy2 in fake.log)
    return f"{seconds:6.2f} s, {fake.logins:4} logins, {fake.count('GET'):4} reads, {writes:4} changes"


def main() -> None:
    """Measure and print."""
    if not SCHEMA.is_file():
        print("pmg_network: not run (MAIL_TEST_DATA names no folder with pmg/pmg_api_schema.json)")
        return
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))["methods"]
    with tempfile.TemporaryDirectory() as folder:
        pem = certificate(Path(folder))
        for count in SIZES:
            networks = wanted(count)
            fake = FakePmg(schema)
            with serving(fake, pem) as port:
                print(f"{count:5} networks, first run:   {measured(fake, partial(call, port, pem, networks))}")
                print(f"{count:5} networks, second run:  {measured(fake, partial(call, port, pem, networks))}")
                networks[0] = {**networks[0], "comment": "another"}
                print(f"{count:5} networks, one changed: {measured(fake, partial(call, port, pem, networks))}")
                fake.lists["/config/mynetworks"].clear()
                print(f"{count:5} networks, one by one:  {measured(fake, partial(one_by_one, port, pem, networks))}")


if __name__ == "__main__":
    main()
