# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian packages that the clone cannot bring itself: what is missing, asking, installing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lab.engine import Engine, LabError, find
from lab.images import NUMBERS, base_tag, public_image

from .places import CACHE, DevError, search_path

ENGINES = ("podman", "docker")
# Debian packages, and the programs that show they are there.
PODMAN = {
    "podman": "podman",
    "runc": "runc",  # crun cannot raise limits where root lacks CAP_SYS_RESOURCE; runc can be told not to
    "netavark": "/usr/lib/podman/netavark",
    "iptables": "iptables",
    "nftables": "nft",
    "mmdebstrap": "mmdebstrap",
}
DOCKER = "docker.io"
# Booted with systemd, the machine's owner decides whether Docker runs.
SYSTEMD = Path("/run/systemd/system")
NEED_ROOT = "the lab needs root: start this as root, or as a user whom sudo lets run commands"


def which(program: str) -> str | None:
    """The full path of a program, also when it lies in an sbin folder."""
    return shutil.which(program, path=os.pathsep.join(search_path()))


def engine() -> Engine:
    """The engine that LAB_ENGINE names, else the first that answers. Raises DevError with what each one said."""
    chosen = os.environ.get("LAB_ENGINE")
    problems = []
    for name in (chosen,) if chosen else ENGINES:
        try:
            return find(name, state=CACHE / "lab")
        except LabError as err:
            problems.append(str(err))
    raise DevError("no container engine is ready: " + "; ".join(problems))


def packages_for_lab() -> list[str]:
    """What a machine lacks to run the lab; nothing where an engine, images and ssh are at hand."""
    needed = [] if which("ssh") else ["openssh-client"]
    try:
        ready = engine()
    except DevError:
        return [*needed, *(package for package, program in PODMAN.items() if which(program) is None)]
    if not which("mmdebstrap") and not _can_make_images(ready):
        needed.append("mmdebstrap")
    return needed


def docker_answers() -> bool:
    """Whether Docker can be used as it is."""
    try:
        find("docker", state=CACHE / "lab")
    except LabError:
        return False
    return True


def may_start_docker() -> bool:
    """Whether a daemon of our own would be in nobody's way."""
    return os.geteuid() == 0 and not SYSTEMD.exists()


def packages_for_docker() -> list[str]:
    """What a machine lacks to try the lab under Docker too; nothing where that is not ours to start."""
    if which("dockerd") or not may_start_docker() or docker_answers():
        return []
    return [DOCKER]


def _can_make_images(ready: Engine) -> bool:
    """Whether the base images are there already or a registry answers: else Debian is bootstrapped."""
    if all(ready.has_image(base_tag(release)) for release in NUMBERS):
        return True
    roots = [public_image(release) for release in NUMBERS]
    try:
        return all(root and ready.run("pull", "-q", root, check=False, timeout=120).returncode == 0 for root in roots)
    except LabError:
        return False


def become_root() -> list[str]:
    """What to put before a command that needs root. Raises DevError if there is no way."""
    if os.geteuid() == 0:
        return []
    if which("sudo"):
        return ["sudo"]
    raise DevError("you are neither root nor have sudo")


def install(packages: Sequence[str], *, yes: bool) -> None:
    """Say what is missing, ask where a person sits at a terminal, install. Raises DevError."""
    if not packages:
        return
    names = " ".join(packages)
    by_hand = f"as root, run: apt-get install {names}"
    if not which("apt-get"):
        raise DevError(f"missing, and this is no Debian to install it from: {names}")
    print(f"dev: will install from Debian: {names}", flush=True)
    if not yes and sys.stdin.isatty() and not input("dev: go on? [y/N] ").strip().lower().startswith("y"):
        raise DevError(f"nothing was installed; {by_hand}")
    try:
        apt = [*become_root(), "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q"]
        for words in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
            subprocess.run([*apt, *words], check=True, stdout=subprocess.DEVNULL)
    except DevError as err:
        raise DevError(f"could not install {names} ({err}); {by_hand}") from err
    except subprocess.CalledProcessError as err:
        raise DevError(f"could not install {names} (apt-get {words[0]} said why, above); {by_hand}") from err


def _may_become_root(*, detached: bool) -> bool:
    """Whether the lab can have root; whoever has to type a password for it does so here, once."""
    if os.geteuid() == 0:
        return True
    if not which("sudo"):
        return False
    # A password typed at a terminal counts for what is started from that terminal.
    silent = subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False, start_new_session=detached)
    if silent.returncode and sys.stdin.isatty() and not detached:
        return subprocess.run(["sudo", "-v"], check=False).returncode == 0
    return silent.returncode == 0


def _serves_without_root(name: str) -> bool:
    """Whether this engine may be chosen and answers an ordinary user, as Docker does its group."""
    try:
        return os.environ.get("LAB_ENGINE", name) == name and not find(name, state=CACHE / "lab").prefix
    except LabError:
        return False


def prepare_lab(*, yes: bool, detached: bool = False, both_engines: bool = False) -> str:
    """Make sure that containers can be started; returns the engine's name. Raises DevError with what to do.

    ``detached``: they will be started by programs that have no terminal. ``both_engines``: by Docker too, where it
    can be had; a person who wants no second engine may say so, and everything else goes on.
    """
    if not _may_become_root(detached=detached):
        if _serves_without_root("docker"):
            return "docker"
        raise DevError(NEED_ROOT + (" without a password" if detached else ""))
    needed = packages_for_lab()
    try:
        install([*needed, *(packages_for_docker() if both_engines else [])], yes=yes)
    except DevError as err:
        if needed:
            raise
        print(f"dev: {err}", flush=True)
    return engine().name
