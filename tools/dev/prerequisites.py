# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian packages that the clone cannot bring itself: what is missing, asking, installing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

from .places import DevError, search_path

# crun cannot raise limits where root lacks CAP_SYS_RESOURCE; runc can be told not to.
PODMAN = ("podman", "runc", "netavark", "aardvark-dns", "iptables", "nftables", "mmdebstrap")


def find(program: str) -> str | None:
    """The full path of a program, also when it lies in an sbin folder."""
    return shutil.which(program, path=os.pathsep.join(search_path()))


def engine() -> str | None:
    """The container engine that answers: podman, docker or None."""
    for name in ("podman", "docker"):
        program = find(name)
        if program is None:
            continue
        done = subprocess.run([program, "info"], capture_output=True, timeout=60, check=False)
        if done.returncode == 0:
            return name
    return None


def packages_for_lab() -> list[str]:
    """What a machine lacks to run the lab; nothing where an engine and ssh are at hand."""
    needed = [] if engine() else [package for package in PODMAN if find(package) is None]
    if not find("ssh"):
        needed.append("openssh-client")
    return needed


def become_root() -> list[str]:
    """What to put before a command that needs root."""
    if os.geteuid() == 0:
        return []
    if find("sudo"):
        return ["sudo"]
    raise DevError("you are neither root nor have sudo")


def install(packages: Sequence[str], *, yes: bool) -> None:
    """Say what is missing, ask where a person sits at a terminal, install. Raises DevError."""
    if not packages:
        return
    names = " ".join(packages)
    by_hand = f"as root, run: apt-get install {names}"
    if not find("apt-get"):
        raise DevError(f"missing, and this is no Debian to install it from: {names}")
    print(f"dev: will install from Debian: {names}", flush=True)
    if not yes and sys.stdin.isatty() and not input("dev: go on? [y/N] ").strip().lower().startswith("y"):
        raise DevError(f"nothing was installed; {by_hand}")
    try:
        root = become_root()
        apt = [*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q"]
        subprocess.run([*apt, "update"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(
            [*apt, "install", "-y", "--no-install-recommends", *packages], check=True, stdout=subprocess.DEVNULL
        )
    except (DevError, subprocess.CalledProcessError) as err:
        raise DevError(f"could not install {names} ({err}); {by_hand}") from err


def prepare_lab(*, yes: bool) -> None:
    """Make sure that containers can be started. Raises DevError with what to do."""
    install(packages_for_lab(), yes=yes)
    if engine() is None:
        raise DevError(
            "neither podman nor docker answers: see what `podman info` says, "
            "and whether you must be root or in the group docker"
        )
