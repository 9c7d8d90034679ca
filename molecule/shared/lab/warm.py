# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run ansible-playbook in a fork of a process that has imported it: half of what a short run costs is imports."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing import forkserver
from pathlib import Path

_PRELOADED = "lab.warm_imports"
_context = multiprocessing.get_context("forkserver")
_started_with: dict[str, str] = {}


def _read_at_import(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that Ansible and Python look at when they are imported."""
    return {key: value for key, value in environment.items() if key.startswith(("ANSIBLE_", "PYTHON", "LC_", "LANG"))}


@contextlib.contextmanager
def _as_environment(environment: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update(environment)
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def fits(environment: Mapping[str, str]) -> bool:
    """Whether a run with this environment can be a fork; the first run's environment decides for all."""
    wanted = _read_at_import(environment)
    if not _started_with:
        _started_with.update(wanted)
        _context.set_forkserver_preload([_PRELOADED])
        with _as_environment(environment):
            forkserver.ensure_running()
    return wanted == _started_with


def run(argv: Sequence[str], environment: Mapping[str, str], *, timeout: float) -> subprocess.CompletedProcess[str]:
    """As :func:`subprocess.run` of ``ansible-playbook`` with ``argv``, its output captured as text."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder, name) for name in ("out", "err")]
        for path in outputs:
            path.touch(mode=0o600)
        process = _context.Process(target=_play, args=(list(argv), dict(environment), os.getcwd(), outputs))
        process.start()
        process.join(timeout)
        said = [path.read_text(encoding="utf-8", errors="replace") for path in outputs]
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(list(argv), timeout, *said)
    return subprocess.CompletedProcess(list(argv), process.exitcode, *said)


def _play(argv: list[str], environment: dict[str, str], folder: str, outputs: Sequence[Path]) -> None:
    """What the fork does."""
    from ansible import constants
    from ansible.cli.playbook import PlaybookCLI

    for number, path in enumerate(outputs, start=1):
        handle = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(handle, number)
        os.close(handle)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = argv
    # Made when Ansible is imported, for one run.
    constants.DEFAULT_LOCAL_TMP = tempfile.mkdtemp(
        prefix="ansible-local-", dir=Path(constants.DEFAULT_LOCAL_TMP).parent
    )
    try:
        PlaybookCLI.cli_executor(argv)
    finally:
        shutil.rmtree(constants.DEFAULT_LOCAL_TMP, ignore_errors=True)
