# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long ``dkim_key`` takes for 1,000 RSA-2048 keys, against making as many keys and doing nothing with them.

    python tests/bench/dkim_key_1000.py [number of keys]

The floor is ``cryptography`` alone in one process for each processor, half of its keys before and half after the
call. Keys take a random time each, which leaves some 3 % of chance in the ratio, and other load on the machine
leaves more: then look at the ratio of processor time. The goal is 1.15. A second call, that finds all keys, follows.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MODULE = "ansible_collections.postmaster.mail.plugins.modules.dkim_key"
GOAL = 1.15
FLOOR = """
import sys
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
for _ in range(int(sys.argv[1])):
    generate_private_key(public_exponent=65537, key_size=2048)
"""


@dataclass
class Spent:
    """Seconds by the clock, and of processors."""

    clock: float = 0.0
    processors: float = 0.0


@contextmanager
def watch(spent: Spent) -> Iterator[None]:
    """Add what the children started meanwhile take."""
    clock, times = time.monotonic(), os.times()
    yield
    now = os.times()
    spent.clock += time.monotonic() - clock
    spent.processors += now.children_user + now.children_system - times.children_user - times.children_system


def floor(count: int, processes: int) -> None:
    """Make bare keys."""
    shares = [count // processes + (number < count % processes) for number in range(processes)]
    children = [subprocess.Popen([sys.executable, "-c", FLOOR, str(share)]) for share in shares]
    codes = [child.wait() for child in children]
    if any(codes):
        sys.exit("the floor could not be measured: is the Python library cryptography installed?")


def call(directory: Path, count: int) -> dict[str, object]:
    """What one call of the module returns, started as Ansible starts it."""
    options = {
        "keys": [{"domain": f"d{number}.example"} for number in range(count)],
        "directory": str(directory),
        "_ansible_remote_tmp": str(directory.parent),
        "_ansible_keep_remote_files": False,
    }
    done = subprocess.run(
        [sys.executable, "-m", MODULE],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": options}),
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        result = json.loads(done.stdout)
    except ValueError:
        sys.exit(f"the module could not be started; put the collection on PYTHONPATH:\n{done.stderr}")
    if result.get("failed"):
        sys.exit(f"the module failed: {result['msg']}")
    assert isinstance(result, dict)
    return result


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    processes = len(os.sched_getaffinity(0))
    bare, first, second = Spent(), Spent(), Spent()
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch, "keys")
        with watch(bare):
            floor(count // 2, processes)
        with watch(first):
            result = call(directory, count)
        with watch(bare):
            floor(count - count // 2, processes)
        assert len(list(directory.glob("*.key"))) == len(result["keys"]) == count  # type: ignore[arg-type]
        with watch(second):
            result = call(directory, count)
        assert not result["changed"]
    ratio = first.clock / bare.clock
    print(f"dkim_key, {count} RSA-2048 keys, {processes} processors")
    print(f"  keys alone   {bare.clock:7.2f} s")
    print(
        f"  one call     {first.clock:7.2f} s   ratio {ratio:.3f}, goal {GOAL} {'reached' if ratio <= GOAL else 'missed'}"
    )
    print(f"               ratio of processor time {first.processors / bare.processors:.3f}")
    print(f"  second call  {second.clock:7.2f} s   ratio {second.clock / bare.clock:.3f}")


if __name__ == "__main__":
    main()
