# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A redis-server for tests, unpacked from Debian's packages: nothing is installed, and no service starts."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from .places import CACHE
from .prerequisites import which

PROGRAM = "redis-server"
HOME = CACHE / "redis"


def folder() -> Path | None:
    """The folder of a program that starts one; None where neither the machine nor Debian has it."""
    if found := which(PROGRAM):
        return Path(found).parent
    start = HOME / "bin" / PROGRAM
    if not start.exists() and not _unpack(start):
        return None
    return start.parent


def _unpack(start: Path) -> bool:
    """Fetch the packages that this machine lacks to run it, and lay a script before it that knows where they are."""
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        return False
    said = subprocess.run(["apt-get", "install", "--simulate", PROGRAM], capture_output=True, text=True, check=False)
    names = [line.split()[1] for line in said.stdout.splitlines() if line.startswith("Inst ")]
    if not names:
        return False
    root = HOME / "root"
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as fetched:
        done = subprocess.run(["apt-get", "download", *names], cwd=fetched, capture_output=True, check=False)
        if done.returncode != 0:
            return False
        for package in Path(fetched).glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, root], check=True)
    libraries = os.pathsep.join(sorted({str(one.parent) for one in root.glob("usr/lib/**/*.so*")}))
    start.parent.mkdir(parents=True, exist_ok=True)
    start.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH={libraries} exec {root}/usr/bin/{PROGRAM} "$@"\n')
    start.chmod(0o755)
    return True
