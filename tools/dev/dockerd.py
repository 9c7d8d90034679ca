# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Docker daemon for one test step, on machines where none runs and no systemd could start one."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator

from .places import CACHE
from .prerequisites import DOCKER, docker_answers, may_start_docker, which
from .steps import NotRun, Shell

WAIT = 60  # seconds for a daemon to answer


def with_docker(action: Callable[[Shell], None]) -> Callable[[Shell], None]:
    """``action`` while Docker answers; raises NotRun with what is missing where it cannot be had."""

    def run(shell: Shell) -> None:
        with _docker(shell):
            action(shell)

    return run


@contextlib.contextmanager
def _docker(shell: Shell) -> Iterator[None]:
    if docker_answers():
        yield
        return
    if not may_start_docker():
        raise NotRun("Docker does not run on this machine, so no scenario was run under it")
    if not which("dockerd"):
        raise NotRun(f"Docker is not installed, so no scenario was run under it: apt-get install {DOCKER}")
    with _daemon(shell):
        yield


@contextlib.contextmanager
def _daemon(shell: Shell) -> Iterator[None]:
    """A daemon of our own with its images in the clone's cache; ended by its process, whatever happens."""
    log = CACHE / "log" / "dockerd.txt"
    data = CACHE / "docker"
    data.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pml-docker-") as run, log.open("wb") as said:
        argv = [which("dockerd") or "dockerd", "--data-root", str(data), "--exec-root", f"{run}/exec"]
        argv += ["--pidfile", f"{run}/pid", "--exec-opt", "native.cgroupdriver=cgroupfs"]
        shell.say(f"$ {' '.join(argv)}")
        daemon = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True)
        try:
            end = time.monotonic() + WAIT
            while not docker_answers():
                if daemon.poll() is not None or time.monotonic() > end:
                    raise NotRun(f"no Docker daemon could be started here; {log} says why")
                time.sleep(0.5)
            yield
        finally:
            # A scenario that was cut short leaves networks, and a daemon that ends leaves their bridges on the machine.
            with contextlib.suppress(subprocess.SubprocessError, OSError):
                argv = ["docker", "network", "prune", "--force"]
                subprocess.run(argv, stdout=said, stderr=said, timeout=WAIT, check=False)
            daemon.terminate()
            try:
                daemon.wait(30)
            except subprocess.TimeoutExpired:
                daemon.kill()
