# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where things lie in the clone, and the environment that programs are started with."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"
LOGS = CACHE / "log"
LAB_CODE = ROOT / "molecule" / "shared"
NAMESPACE, NAME = "postmaster", "mail"
# Python and Ansible find the collection's own code only under these names.
TREE = CACHE / "tree"
COLLECTION = TREE / "ansible_collections" / NAMESPACE / NAME


class DevError(Exception):
    """Something a person must see to; the message says what, and what to do."""


def link_collection() -> None:
    """Make the clone reachable as ansible_collections/postmaster/mail."""
    if COLLECTION.is_symlink() and COLLECTION.resolve() == ROOT:
        return
    COLLECTION.parent.mkdir(parents=True, exist_ok=True)
    COLLECTION.unlink(missing_ok=True)
    COLLECTION.symlink_to(ROOT)


def pythons() -> list[Path]:
    """The folders that hold real Pythons: pyenv's versions, where there are any."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    return sorted(root.glob("versions/3.1[1-9].*/bin"))


def search_path() -> list[str]:
    """PATH without the stand-ins of version managers, which ansible-test cannot bear."""
    given = os.environ.get("PATH", "").split(os.pathsep)
    real = [folder for folder in given if folder and Path(folder).name != "shims"]
    system = ["/usr/local/sbin", "/usr/sbin", "/sbin"]  # not on an ordinary user's PATH
    return [*real, *(folder for folder in system if folder not in real)]


def environment(venv: Path, **extra: str) -> dict[str, str]:
    """The environment for a program of ``venv``; ``extra`` is laid over it."""
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    env.update(
        PATH=os.pathsep.join([str(venv / "bin"), *search_path()]),
        # Ansible refuses to start in a locale without UTF-8, and a minimal Debian has no other.
        LC_ALL="C.UTF-8",
        ANSIBLE_COLLECTIONS_PATH=str(TREE),
        ANSIBLE_HOME=str(CACHE / "ansible"),
        PYTHONPATH=str(TREE),
    )
    return env | extra


def files(patterns: Iterable[str] = ()) -> list[str]:
    """Paths of the clone's files that git tracks or would track, relative to the root, sorted."""
    # A clone made by another user is not ours to distrust: it holds this very script.
    argv = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--"]
    try:
        done = subprocess.run([*argv, *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    except FileNotFoundError as err:
        raise DevError("git is needed: apt-get install git") from err
    except subprocess.CalledProcessError as err:
        raise DevError(f"{ROOT} is not a git clone ({err.stderr.strip()}); get it with git clone") from err
    return sorted({path for path in done.stdout.split("\0") if path and (ROOT / path).exists()})
