# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual environments from pinned requirement files, made once and kept until the file changes."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from .places import CACHE, ROOT, DevError, pythons, search_path

Version = tuple[int, int]


def _version(python: Path) -> Version | None:
    """The version of a Python that can make virtual environments; None for any other."""
    code = "import sys, venv, ensurepip; print(*sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    numbers = done.stdout.split()
    return (int(numbers[0]), int(numbers[1])) if done.returncode == 0 and len(numbers) == 2 else None


def find_python(*, lowest: Version, highest: Version) -> Path | None:
    """The oldest Python of this machine within the two versions, both included."""
    folders = [*pythons(), *(Path(folder) for folder in search_path())]
    for minor in range(lowest[1], highest[1] + 1):
        for folder in folders:
            python = folder / f"python3.{minor}"
            if python.exists() and _version(python) == (3, minor):
                return python
    return None


def ensure(name: str, *, python: Path | None = None) -> Path:
    """The virtual environment of requirements/<name>.txt, made or renewed if need be.

    ``python`` defaults to the one that runs this. Raises DevError with pip's last words.
    """
    requirements = ROOT / "requirements" / f"{name}.txt"
    python = python or Path(sys.executable)
    folder = CACHE / "venv" / name
    stamp = folder / "stamp"
    wanted = hashlib.sha256(requirements.read_bytes() + str(python).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return folder
    print(f"dev: virtual environment {folder.relative_to(ROOT)} from requirements/{name}.txt", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _run([str(python), "-m", "venv", str(folder)], "cannot make a virtual environment")
    # pip without a cache of its own: the environment is kept, and a second copy is of no use.
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-cache-dir", "--quiet"]
    _run([*pip, "install", "-r", str(requirements)], "cannot install the pinned requirements from PyPI")
    stamp.write_text(wanted)
    return folder


def _run(argv: list[str], problem: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        words = "\n".join(f"{done.stdout}{done.stderr}".strip().splitlines()[-15:])
        raise DevError(f"{problem}: {' '.join(argv)}\n{words}")
