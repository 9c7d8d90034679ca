# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the script dev finds missing on a machine, and what it says to a user who may not become root."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# The tools and the lab are started from the clone, not through Ansible's names.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "molecule" / "shared"))

from lab import engine as engines
from lab import images
from lab.engine import LabError

from tools.dev import molecule, prerequisites
from tools.dev.places import DevError

SOCKET = "/var/run/docker.sock"
SUDO_ALLOWS = "exit 0"
SUDO_ASKS = 'test "$1" = -v'


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Be an ordinary user on a machine with the named programs, each a shell script."""

    access = os.access

    def become(*, docker_group: bool = False, **programs: str) -> None:
        for name, script in programs.items():
            path = tmp_path / name
            path.write_text(f"#!/bin/sh\n{script}\n", encoding="ascii")
            path.chmod(stat.S_IRWXU)
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        monkeypatch.setattr(os, "access", lambda path, mode: docker_group if path == SOCKET else access(path, mode))
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.delenv("LAB_ENGINE", raising=False)
        monkeypatch.setattr(prerequisites, "search_path", lambda: [str(tmp_path)])

    return become


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("programs", [{}, {"podman": "exit 0"}, {"sudo": "exit 1", "podman": "exit 0"}])
def test_a_user_who_may_not_become_root_is_told_so(
    user: Callable[..., None], monkeypatch: pytest.MonkeyPatch, programs: dict[str, str], terminal: bool
) -> None:
    user(**programs)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: terminal)
    with pytest.raises(DevError) as caught:
        prerequisites.prepare_lab(yes=True)
    assert str(caught.value) == "the lab needs root: start this as root, or as a user whom sudo lets run commands"


@pytest.mark.parametrize(
    ("script", "terminal", "detached", "allowed"),
    [
        (SUDO_ALLOWS, False, False, True),
        (SUDO_ALLOWS, False, True, True),
        (SUDO_ASKS, True, False, True),
        # Without a terminal nobody can be asked for the password, and one typed there does not count elsewhere.
        (SUDO_ASKS, False, False, False),
        (SUDO_ASKS, True, True, False),
    ],
)
def test_a_password_is_asked_for_where_it_helps(
    user: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    terminal: bool,
    detached: bool,
    allowed: bool,
) -> None:
    user(sudo=script)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: terminal)
    monkeypatch.setattr(prerequisites, "packages_for_lab", list)
    monkeypatch.setattr(prerequisites, "engine", engines.Podman)
    if not allowed:
        with pytest.raises(DevError, match=" commands( without a password)?$"):
            prerequisites.prepare_lab(yes=True, detached=detached)
        return
    assert prerequisites.prepare_lab(yes=True, detached=detached) == "podman"


def _no_engine() -> engines.Engine:
    raise DevError("no container engine is ready")


def test_docker_serves_its_group_without_root(user: Callable[..., None]) -> None:
    user(docker_group=True, docker="echo '{}'", podman="exit 0")
    assert prerequisites.prepare_lab(yes=True, detached=True) == "docker"


def test_an_engine_says_that_there_is_no_sudo(user: Callable[..., None], tmp_path: Path) -> None:
    user(podman="exit 0")
    with pytest.raises(LabError, match="^podman needs root, and there is no sudo$"):
        engines.find("podman", state=tmp_path)


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ((), ["openssh-client", "podman", "runc", "netavark", "iptables", "nftables", "mmdebstrap"]),
        (("ssh", "runc", "nft", "iptables"), ["podman", "netavark", "mmdebstrap"]),
        (("ssh", "podman", "runc", "/usr/lib/podman/netavark", "iptables", "nft", "mmdebstrap"), []),
    ],
)
def test_packages_for_a_machine_without_an_engine(
    monkeypatch: pytest.MonkeyPatch, there: tuple[str, ...], expected: list[str]
) -> None:
    monkeypatch.setattr(prerequisites, "which", lambda program: program if program in there else None)
    monkeypatch.setattr(prerequisites, "engine", _no_engine)
    assert prerequisites.packages_for_lab() == expected


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Be root at a terminal and give one answer; returns the questions that were asked, then what was installed."""

    def become(needed: list[str], there: tuple[str, ...], *, systemd: bool, answer: str) -> list[str]:
        done: list[str] = []

        def ask(prompt: str) -> str:
            done.append(prompt)
            return answer

        def run(argv: list[str], **_options: object) -> None:
            done.extend(argv[argv.index("--no-install-recommends") + 1 :] if "install" in argv else [])

        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
        monkeypatch.setattr("builtins.input", ask)
        monkeypatch.setattr(prerequisites, "which", lambda program: program if program in there else None)
        monkeypatch.setattr(prerequisites, "SYSTEMD", Path("/" if systemd else "/no/such/folder"))
        monkeypatch.setattr(prerequisites, "docker_answers", lambda: False)
        monkeypatch.setattr(prerequisites, "packages_for_lab", lambda: needed)
        monkeypatch.setattr(prerequisites, "engine", engines.Podman)
        monkeypatch.setattr(prerequisites.subprocess, "run", run)
        return done

    return become


ASKED = "dev: go on? [y/N] "


@pytest.mark.parametrize(
    ("needed", "there", "systemd", "answer", "expected"),
    [
        (["podman"], ("apt-get",), False, "y", [ASKED, "podman", "docker.io"]),
        ([], ("apt-get",), False, "y", [ASKED, "docker.io"]),
        # Without a second engine there is one to work with.
        ([], ("apt-get",), False, "n", [ASKED]),
        ([], ("apt-get", "dockerd"), False, "y", []),
        (["podman"], ("apt-get",), True, "y", [ASKED, "podman"]),
        ([], (), False, "y", []),
    ],
)
def test_both_engines_are_asked_for_at_once(
    root: Callable[..., list[str]],
    needed: list[str],
    there: tuple[str, ...],
    systemd: bool,
    answer: str,
    expected: list[str],
) -> None:
    done = root(needed, there, systemd=systemd, answer=answer)
    assert prerequisites.prepare_lab(yes=False, detached=True, both_engines=True) == "podman"
    assert done == expected


def test_without_a_first_engine_nothing_goes_on(root: Callable[..., list[str]]) -> None:
    done = root(["podman"], ("apt-get",), systemd=False, answer="n")
    with pytest.raises(DevError, match="^nothing was installed; as root, run: apt-get install podman docker.io$"):
        prerequisites.prepare_lab(yes=False, detached=True, both_engines=True)
    assert done == [ASKED]


@pytest.mark.parametrize(("names", "expected"), [((), True), (("lab",), True), (("relay", "site"), False)])
def test_which_scenarios_need_both_engines(names: tuple[str, ...], expected: bool) -> None:
    assert molecule.needs_docker(names) == expected


class FakeEngine(engines.Podman):
    """Has no images; pulls those that a registry has."""

    def __init__(self, registry: tuple[str, ...]) -> None:
        super().__init__()
        self.registry = registry

    def has_image(self, tag: str) -> bool:
        return False

    def argv(self, *args: str) -> list[str]:
        return ["true" if args[-1] in self.registry else "false"]


@pytest.mark.parametrize(
    ("registry", "refuse", "expected"),
    [
        (("docker.io/library/debian:12-slim", "docker.io/library/debian:13-slim"), "", []),
        (("docker.io/library/debian:12-slim", "docker.io/library/debian:13-slim"), "1", ["mmdebstrap"]),
        (("docker.io/library/debian:12-slim",), "", ["mmdebstrap"]),
        ((), "", ["mmdebstrap"]),
    ],
)
def test_mmdebstrap_is_wanted_where_no_registry_has_debian(
    monkeypatch: pytest.MonkeyPatch, registry: tuple[str, ...], refuse: str, expected: list[str]
) -> None:
    monkeypatch.setenv("LAB_NO_REGISTRY", refuse)
    monkeypatch.setattr(images, "REGISTRY", "docker.io/library")
    monkeypatch.setattr(prerequisites, "which", lambda program: program if program == "ssh" else None)
    monkeypatch.setattr(prerequisites, "engine", lambda: FakeEngine(registry))
    assert prerequisites.packages_for_lab() == expected


def test_another_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAB_NO_REGISTRY", raising=False)
    monkeypatch.setattr(images, "REGISTRY", "registry.test:5000/mirror")
    assert images.public_image("trixie") == "registry.test:5000/mirror/debian:13-slim"


@pytest.mark.parametrize("inside", [True, False])
def test_an_image_is_built_inside_its_container_or_not_at_all(tmp_path: Path, inside: bool) -> None:
    """In a chroot an engine's exec ends up in the machine's own root."""
    (tmp_path / "hostname").write_text("pml-build-1\n" if inside else "controller\n", encoding="ascii")
    script = images.GUARD.replace("/etc/hostname", str(tmp_path / "hostname")) + "echo replaced"
    done = subprocess.run(["sh", "-c", script], env={"CONTAINER": "pml-build-1"}, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == ((0, b"replaced\n") if inside else (1, b""))
