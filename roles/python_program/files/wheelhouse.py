# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the archive that a host installs a program from: its package, what that needs and, by choice, the wheels.

    PIP_INDEX_URL=... python3 wheelhouse.py <package> <requirements> <archive> [<python> <machine>]

It runs on the controller. With a Python's version (3.11) and a machine (x86_64) the wheels for these are fetched, by
their hashes, with nothing of theirs being run. An archive that is there is kept, so its name must say what is in it.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

OLDEST, NEWEST = 5, 36  # of glibc 2, for wheels; Debian 12 has the latter
LEGACY = ("manylinux2014", "manylinux2010", "manylinux1")


class WheelhouseError(Exception):
    """The archive cannot be made; the text says why."""


def platforms(machine: str) -> list[str]:
    """The tags of wheels that Debian 12 and all after it can run."""
    numbered = [f"manylinux_2_{number}" for number in range(NEWEST, OLDEST - 1, -1)]
    return [f"{tag}_{machine}" for tag in (*numbered, *LEGACY)]


def fetch(requirements: Path, into: Path, python: str, machine: str) -> None:
    """Fetch wheels. Raises :class:`WheelhouseError`."""
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--require-hashes"]
    argv += ["--only-binary=:all:", "--no-deps", f"--python-version={python}", "--implementation=cp"]
    argv += [f"--abi=cp{python.replace('.', '')}", "--abi=abi3", "--abi=none"]
    argv += [f"--platform={tag}" for tag in platforms(machine)]
    done = subprocess.run(
        [*argv, f"--dest={into}", f"--requirement={requirements}"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise WheelhouseError(
            f"the wheels for Python {python} on {machine} cannot be fetched: {said}\n"
            "give the controller a way to an index of packages, or have the host install from one"
        )


def make(package: Path, requirements: Path, archive: Path, wheels_for: list[str]) -> bool:
    """Make the archive; whether it was not there yet."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with open(archive.parent / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # hosts are set up side by side
        if archive.exists():
            return False
        with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
            whole = Path(folder, "whole")
            wheels = whole / "wheels"
            wheels.mkdir(parents=True)
            shutil.copytree(
                package,
                whole / "package" / package.name,
                ignore=shutil.ignore_patterns("__pycache__", "*.pyc"),
            )
            shutil.copy(requirements, whole / "requirements.txt")
            if wheels_for:
                fetch(requirements, wheels, *wheels_for)
            made = Path(folder, "archive.tar")
            with tarfile.open(made, "w") as tar:
                tar.add(whole, arcname=".", filter=_nobodys)
            made.replace(archive)
    return True


def _nobodys(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    entry.mode = 0o755 if entry.isdir() else 0o644
    return entry


def main(argv: list[str]) -> int:
    if len(argv) not in (3, 5):
        sys.stderr.write("usage: wheelhouse.py <package> <requirements> <archive> [<python> <machine>]\n")
        return 2
    try:
        made = make(Path(argv[0]), Path(argv[1]), Path(argv[2]), argv[3:])
    except (OSError, WheelhouseError) as err:
        sys.stderr.write(f"{err}\n")
        return 1
    sys.stdout.write("made\n" if made else "there\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
