# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers for tests, unpacked from Debian's packages: nothing is installed, and no service starts."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from .places import CACHE
from .prerequisites import which

# Packages and the programs that tests start.
PROGRAMS = {
    "redis-server": ("redis-server",),
    "prometheus": ("prometheus", "promtool"),
    "slapd": ("slapd", "slapadd"),
}


def folders() -> list[Path]:
    """Where programs that start them are; none for a package that neither the machine nor Debian has."""
    found = [folder(package) for package in PROGRAMS]
    return [one for one in dict.fromkeys(found) if one is not None]


def folder(package: str) -> Path | None:
    """Where the programs of a package are, or what starts them; None where neither the machine nor Debian has it."""
    programs = PROGRAMS[package]
    if found := which(programs[0]):
        return Path(found).parent
    home = CACHE / package.removesuffix("-server")
    starts = [home / "bin" / program for program in programs]
    if not all(start.exists() for start in starts) and not _unpack(package, home, starts):
        return None
    return home / "bin"


def _unpack(package: str, home: Path, starts: list[Path]) -> bool:
    """Fetch the packages that this machine lacks to run it, and lay scripts before it that know where they are."""
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        return False
    words = ["apt-get", "install", "--simulate", "--no-install-recommends", package]
    said = subprocess.run(words, capture_output=True, text=True, check=False)
    # Programs and libraries alone: what suits all machines is fonts, scripts of web pages and the like.
    names = [line.split()[1] for line in said.stdout.splitlines() if line.startswith("Inst ") and "[all])" not in line]
    if not names:
        return False
    root = home / "root"
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as fetched:
        done = subprocess.run(["apt-get", "download", *names], cwd=fetched, capture_output=True, check=False)
        if done.returncode != 0:
            return False
        for archive in Path(fetched).glob("*.deb"):
            subprocess.run(["dpkg", "-x", archive, root], check=True)
    libraries = os.pathsep.join(sorted({str(one.parent) for one in root.glob("usr/lib/**/*.so*")}))
    for start in starts:
        start.parent.mkdir(parents=True, exist_ok=True)
        program = next(root.glob(f"usr/*bin/{start.name}"))
        start.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH={libraries} exec {program} "$@"\n')
        start.chmod(0o755)
    return True
