# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run playbooks on a lab as a person would, and know exactly what changed and what failed where."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from . import warm
from .probe import Lab, ProbeError
from .state import CACHE, REPOSITORY

BYTECODE = Path(__file__).parent / "bytecode"
CALLBACKS = Path(__file__).parent / "callback"
CONFIGURATION = Path(__file__).parent / "ansible.cfg"
ESTATE = Path(__file__).parent.parent / "estate"
PROGRAM = Path(sys.executable).parent / "ansible-playbook"
# These run on the controller and cost a host nothing.
LOCAL_ACTIONS = "set_fact debug assert meta include_role include_tasks import_tasks fail validate_argument_spec".split()


@dataclass(frozen=True)
class Played:
    """What a run of ansible-playbook did; ``entries`` are the callback's lines."""

    code: int
    output: str
    entries: tuple[Mapping[str, Any], ...]

    @property
    def changed(self) -> dict[str, list[str]]:
        """Names of the changed tasks by host; hosts without change are left out."""
        found: dict[str, list[str]] = {}
        for entry in self.entries:
            if entry["changed"] and entry["kind"] == "ok":
                found.setdefault(entry["host"], []).append(entry["task"].rpartition(" : ")[2])
        return found

    @property
    def failures(self) -> dict[str, str]:
        """What each failed host said, by host."""
        return {
            entry["host"]: "\n".join([entry.get("msg", ""), *entry.get("items", [])])
            for entry in self.entries
            if entry["kind"] in ("failed", "unreachable")
        }

    @property
    def remote(self) -> dict[str, list[str]]:
        """Names of the tasks that reached each host."""
        found: dict[str, list[str]] = {}
        for entry in self.entries:
            if entry["kind"] in ("ok", "failed") and entry["action"].rpartition(".")[2] not in LOCAL_ACTIONS:
                found.setdefault(entry["host"], []).append(entry["task"].rpartition(" : ")[2])
        return found

    @property
    def calls(self) -> dict[str, int]:
        """How many calls reached each host, each item of a loop counted."""
        found: dict[str, int] = {}
        for entry in self.entries:
            if entry["kind"] in ("ok", "failed") and entry["action"].rpartition(".")[2] not in LOCAL_ACTIONS:
                found[entry["host"]] = found.get(entry["host"], 0) + entry["calls"]
        return found


def _payloads() -> Path:
    """Where runs keep the archives of modules that they send to hosts, for as long as no module changes.

    Ansible makes each anew in each run, which takes it half a second of a processor for one of ours.
    """
    about = [
        f"{path} {path.stat().st_mtime_ns} {path.stat().st_size}"
        for path in sorted((REPOSITORY / "plugins").glob("module*/*.py"))
    ]
    kept = CACHE / "payloads" / hashlib.sha256("\n".join(about).encode()).hexdigest()[:16]
    if not kept.exists() and kept.parent.exists():
        for old in kept.parent.iterdir():
            with contextlib.suppress(FileNotFoundError):  # a run beside this one was faster
                if time.time() - old.stat().st_mtime > 86_400:
                    shutil.rmtree(old, ignore_errors=True)
    (kept / "bytecode").mkdir(parents=True, exist_ok=True)
    return kept


def play(
    lab: Lab,
    playbook: str | Path,
    *,
    limit: str = "",
    check: bool = False,
    extra: Mapping[str, Any] | None = None,
    inventories: Sequence[str | Path] = (ESTATE,),
    options: Sequence[str] = (),
    must_pass: bool = True,
    kill_after: str = "",
    timeout: float = 900,
    program: Path = PROGRAM,
    environment: Mapping[str, str] | None = None,
) -> Played:
    """Run a playbook on the lab's hosts, always with ``--diff``.

    ``extra`` are extra variables; ``environment`` is laid over what the run gets otherwise; with ``must_pass`` a
    failing run raises :class:`ProbeError` with what it said, as does one that ends before it is killed. With
    ``kill_after`` the run is killed (SIGKILL) at the end of the task of that name.
    """
    payloads = _payloads()
    with (
        tempfile.NamedTemporaryFile("r", suffix=".jsonl", encoding="utf-8") as record,
        tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as variables,
    ):
        around = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(BYTECODE), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "LAB_BYTECODE": str(payloads / "bytecode"),
            # Not that of molecule, in which a test may run.
            "ANSIBLE_CONFIG": str(CONFIGURATION),
            "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS),
            "ANSIBLE_CALLBACKS_ENABLED": "record",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_FORKS": "8",
            "ANSIBLE_TIMEOUT": "60",
            "LAB_PAYLOADS": str(payloads),
            "LAB_RECORD": record.name,
            "LAB_KILL_AFTER": kill_after,
            **(environment or {}),
        }
        command = [str(program), "--diff", *(["--check"] if check else []), *(["--limit", limit] if limit else [])]
        for inventory in (lab.known["inventory"], *inventories):
            command += ["-i", str(inventory)]
        if extra:  # in a file, as a word on the command line has an end
            json.dump(extra, variables)
            variables.flush()
            command += ["-e", f"@{variables.name}"]
        command += [*options, str(playbook)]
        done = (
            warm.run(command, around, timeout=timeout)
            if program == PROGRAM and os.environ.get("LAB_PRELOADED") and warm.fits(around)
            else subprocess.run(
                command,
                env=around,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        )
        played = Played(done.returncode, done.stdout + done.stderr, tuple(json.loads(line) for line in record))
    if must_pass and kill_after and played.code != -signal.SIGKILL:
        raise ProbeError(f"{Path(playbook).name} was not killed after {kill_after}:\n{played.output[-6000:]}")
    if must_pass and not kill_after and played.code != 0:
        where = ", ".join(played.failures) or "start"
        raise ProbeError(f"{Path(playbook).name} failed on {where}:\n{played.output[-6000:]}")
    return played


def refusals(
    lab: Lab, playbook: Path, cases: Mapping[str, Mapping[str, Any]], **options: Any
) -> dict[str, dict[str, str]]:
    """What each host says to each case, by case; a case in which all went well has no entry for the host.

    ``playbook`` holds one play with one role. The cases are variables with which it runs, one after the other in one
    run of ansible-playbook, as most of the time of a run that is refused at once goes into starting it.
    """
    (pattern,) = yaml.safe_load(playbook.read_text(encoding="utf-8"))
    (role,) = pattern.pop("roles")
    pattern["vars_files"] = [str(playbook.parent / name) for name in pattern.get("vars_files", [])]
    written = []
    for case, given in cases.items():
        run = {"name": "Run the role", "ansible.builtin.include_role": {"name": role["role"]}, "vars": dict(given)}
        rest = {"name": "Go on with the next case", "ansible.builtin.debug": {"msg": case}}
        written.append({**pattern, "name": case, "tasks": [{"name": case, "block": [run], "rescue": [rest]}]})
    with tempfile.NamedTemporaryFile("w", suffix=".yml", encoding="utf-8") as file:
        yaml.safe_dump(written, file, sort_keys=False)
        file.flush()
        played = play(lab, file.name, **options)
    found: dict[str, dict[str, str]] = {case: {} for case in cases}
    for entry in played.entries:
        if entry["kind"] == "failed":
            found[entry["play"]][entry["host"]] = "\n".join([entry["msg"], *entry["items"]])
    return found
