# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long ``iptables_smtp_dnat`` takes for 500 sources, against iptables-restore alone and ansible.builtin.iptables.

Start it with ./dev bench, or as root with the collection on PYTHONPATH. All happens in a network namespace that goes when
it ends. ``bare`` is iptables-restore with the very text that the module hands it, ``work`` what the module does without
the start of Python and Ansible; ``play`` is a play with one task, and beside it one with a loop of ansible.builtin.iptables
over 50 sources, from which 500 are extrapolated: ten times what it takes beyond a play of no task.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TREE = ROOT / ".cache" / "tree"
sys.path[:0] = [str(TREE)]

from ansible_collections.postmaster.mail.plugins.module_utils._command import Result, Runner  # noqa: E402
from ansible_collections.postmaster.mail.plugins.module_utils._firewall_client import Firewall  # noqa: E402
from ansible_collections.postmaster.mail.plugins.module_utils._smtp_dnat_run import run  # noqa: E402
from ansible_collections.postmaster.mail.plugins.modules.iptables_smtp_dnat import ARGUMENT_SPEC  # noqa: E402

COUNT, LOOPED, ROUNDS = 500, 50, 15
MARK = "BENCH_IN_NAMESPACE"
PROGRAMS = ("iptables-nft-restore", "iptables-legacy-restore", "unshare")
SOURCES = [f"192.0.{number // 250}.{number % 250 + 1}" for number in range(COUNT)]
EDGE: dict[str, Any] = {"destination": ["203.0.113.5"], "relay": ["10.1.0.102"], "persist": False}


class Counting(Runner):
    """Keeps what it starts and what it hands over."""

    def __init__(self) -> None:
        self.started: list[list[str]] = []
        self.handed: list[str] = []

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        timeout: float = 60,
    ) -> Result:
        self.started.append([argv[0].rpartition("/")[2], *(word for word in argv[1:] if word == "--test")])
        self.handed.append(stdin or "")
        return super().run(argv, stdin=stdin, env=env, cwd=cwd, timeout=timeout)


def call(backend: str, runner: Runner) -> dict[str, Any]:
    """What one task does."""
    defaults = {name: option.get("default") for name, option in ARGUMENT_SPEC.items()}
    options = {**defaults, **EDGE, "sources": SOURCES, "backend": backend}
    return run(options, check_mode=False, firewall=Firewall(runner))


def clear(backend: str) -> None:
    """Empty tables, of which the kernel holds no trace."""
    subprocess.run([f"{backend}-restore"], input="*nat\nCOMMIT\n*filter\nCOMMIT\n", text=True, check=True)


def seconds(what: Callable[[], object], before: Callable[[], object]) -> tuple[float, float]:
    """The medians of some runs: by the clock, and of processors, which other work on the machine disturbs less."""
    clock, processors = [], []
    for dummy in range(ROUNDS):
        before()
        start, spent = time.monotonic(), sum(os.times()[:4])
        what()
        clock.append(time.monotonic() - start)
        processors.append(sum(os.times()[:4]) - spent)
    return statistics.median(clock), statistics.mean(processors)


def bare(backend: str) -> None:
    """The module's work against iptables-restore, and what the second run starts."""
    clear(backend)
    first, second = Counting(), Counting()
    call(backend, first)
    assert not call(backend, second)["changed"]
    text = first.handed[-1]
    assert text.count("DNAT --to-destination") == COUNT
    argv = [f"{backend}-restore", "--noflush"]

    def restore() -> None:
        subprocess.run(argv, input=text, text=True, check=True)

    alone = seconds(restore, lambda: clear(backend))
    work = seconds(lambda: call(backend, Runner()), lambda: clear(backend))
    again = seconds(lambda: call(backend, Runner()), lambda: None)
    print(f"{backend}, {COUNT} sources (goal: under 2 times bare)")
    for index, what in enumerate(("by the clock", "of processors")):
        ratio = work[index] / alone[index]
        print(
            f"  {what}: bare {alone[index]:.3f} s, work {work[index]:.3f} s, {ratio:.2f} times; again {again[index]:.3f} s"
        )
    print(f"  first run starts {_told(first)}; second run starts {_told(second)}")


def _told(runner: Counting) -> str:
    return ", ".join(" ".join(words) for words in runner.started)


OURS = {"name": "Ours", "postmaster.mail.iptables_smtp_dnat": {**EDGE, "sources": SOURCES, "backend": "iptables-nft"}}
LOOP = {
    "name": "A loop",
    "ansible.builtin.iptables": {
        "table": "nat",
        "chain": "PREROUTING",
        "source": "{{ item }}",
        "destination": "203.0.113.5",
        "protocol": "tcp",
        "destination_port": "25",
        "jump": "DNAT",
        "to_destination": "10.1.0.102:25",
    },
    "loop": SOURCES[:LOOPED],
}


def play(folder: Path, tasks: list[dict[str, Any]]) -> float:
    """Seconds of a play on this very host."""
    path = folder / "play.yml"
    play_text = [{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}]
    path.write_text(json.dumps(play_text), encoding="utf-8")
    env = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(TREE),
        "ANSIBLE_HOME": str(folder),
        "ANSIBLE_RETRY_FILES_ENABLED": "0",
    }
    argv = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", str(path)]
    env["ANSIBLE_PYTHON_INTERPRETER"] = sys.executable
    start = time.monotonic()
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.stdout + done.stderr)
    return time.monotonic() - start


def plays() -> None:
    """One task of ours against a loop."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        clear("iptables-nft")
        nothing = play(folder, [])
        first, second = play(folder, [OURS]), play(folder, [OURS])
        clear("iptables-nft")
        looped, again = play(folder, [LOOP]), play(folder, [LOOP])
    factor = COUNT / LOOPED
    whole, whole_again = (nothing + factor * (found - nothing) for found in (looped, again))
    print(f"play with one task of ours: first {first:.1f} s, second {second:.1f} s; with no task {nothing:.1f} s")
    print(f"ansible.builtin.iptables, {LOOPED} sources: first {looped:.1f} s, second {again:.1f} s")
    print(f"  extrapolated to {COUNT}: {whole:.0f} s and {whole_again:.0f} s")
    print(f"  ours takes {first / whole:.4f} and {second / whole_again:.4f} of that")


def main() -> None:
    """Measure and print, in a namespace."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        print(f"iptables_smtp_dnat: not run ({'not installed: ' + ', '.join(missing) if missing else 'it takes root'})")
        return
    if MARK not in os.environ:
        argv = ["unshare", "-n", sys.executable, __file__]
        sys.exit(subprocess.run(argv, env={**os.environ, MARK: "1"}, check=False).returncode)
    bare("iptables-nft")
    bare("iptables-legacy")
    plays()


if __name__ == "__main__":
    main()
