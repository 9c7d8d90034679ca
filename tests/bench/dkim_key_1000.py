#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long ``dkim_key`` takes for 1,000 RSA-2048 keys, against making as many keys and doing nothing with them.

    python tests/bench/dkim_key_1000.py [number of keys]

The floor is ``cryptography`` alone in one process for each processor, half of its keys before and half after the
call, so that other load on the machine meets both. Keys take a random time each, which leaves some 3 % of chance in
the ratio. The goal is 1.15. A second call, that finds all keys, and their size in one call follow.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MODULE = "ansible_collections.postmaster.mail.plugins.modules.dkim_key"
GOAL = 1.15
FLOOR = """
import sys
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
for _ in range(int(sys.argv[1])):
    generate_private_key(public_exponent=65537, key_size=2048)
"""


def floor(count: int, processes: int) -> float:
    """Seconds that the bare keys take."""
    shares = [count // processes + (number < count % processes) for number in range(processes)]
    start = time.monotonic()
    children = [subprocess.Popen([sys.executable, "-c", FLOOR, str(share)]) for share in shares]
    codes = [child.wait() for child in children]
    if any(codes):
        sys.exit("the floor could not be measured: is the Python library cryptography installed?")
    return time.monotonic() - start


def call(directory: Path, count: int) -> tuple[float, dict[str, object]]:
    """Seconds that one call of the module takes, started as Ansible starts it, and what it returned."""
    options = {
        "keys": [{"domain": f"d{number}.example"} for number in range(count)],
        "directory": str(directory),
        "_ansible_remote_tmp": str(directory.parent),
        "_ansible_keep_remote_files": False,
    }
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", MODULE],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": options}),
        capture_output=True,
        text=True,
        check=False,
    )
    taken = time.monotonic() - start
    try:
        result = json.loads(done.stdout)
    except ValueError:
        sys.exit(f"the module could not be started; put the collection on PYTHONPATH:\n{done.stderr}")
    if result.get("failed"):
        sys.exit(f"the module failed: {result['msg']}")
    return taken, result


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    processes = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch, "keys")
        before = floor(count // 2, processes)
        first, result = call(directory, count)
        after = floor(count - count // 2, processes)
        assert len(list(directory.glob("*.key"))) == len(result["keys"]) == count  # type: ignore[arg-type]
        second, result = call(directory, count)
        assert not result["changed"]
    bare = before + after
    verdict = "reached" if first / bare <= GOAL else "missed"
    print(f"dkim_key, {count} RSA-2048 keys, {processes} processors")
    print(f"  keys alone   {bare:7.2f} s")
    print(f"  one call     {first:7.2f} s   ratio {first / bare:.3f}, goal {GOAL} {verdict}")
    print(f"  second call  {second:7.2f} s   ratio {second / bare:.3f}")


if __name__ == "__main__":
    main()
