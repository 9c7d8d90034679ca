# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The newest ansible-core, in a Debian 13 to throw away: for machines whose own Python is too old for it.

From PyPI comes ansible-core alone, which is nothing but Python; Python and the libraries are Debian's.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import uuid
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from lab.engine import LabError, Mount
from lab.images import GUARD, Images, base_tag

from . import prerequisites
from .places import CACHE, COLLECTION, ROOT, TREE, DevError
from .steps import NotRun, Shell, StepFailed

RELEASE = "trixie"
PACKAGES = (
    "git openssl python3-cryptography python3-dkim python3-dnspython python3-hypothesis python3-jinja2 python3-nacl "
    "python3-packaging python3-pytest python3-pytest-xdist python3-resolvelib python3-yaml"
).split()
INSTALL = """\
export DEBIAN_FRONTEND=noninteractive
apt-get -q update && apt-get -q -y --no-install-recommends install "$@"
"""
CORE = CACHE / "newest"
ENVIRONMENT = {
    "LC_ALL": "C.UTF-8",
    "HOME": "/tmp",
    "ANSIBLE_HOME": "/tmp/ansible",
    "ANSIBLE_COLLECTIONS_PATH": str(TREE),
    "MAIL_TEST_BRIEF": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONPATH": os.pathsep.join([str(CORE), str(TREE)]),
    "PYTEST_ADDOPTS": "-o cache_dir=/tmp/pytest",
}

Run = Callable[[Sequence[str | Path]], None]


def in_debian(commands: Sequence[Sequence[str | Path]], *, writable: Path) -> Callable[[Shell], None]:
    """Run Python with each of ``commands``; they see the clone and may write into the folder ``writable`` alone."""

    def action(shell: Shell) -> None:
        _fetch_core(shell)
        with _container(shell, writable) as run:
            for words in commands:
                run(["python3", *words])

    return action


def _fetch_core(shell: Shell) -> None:
    """Unpack the pinned ansible-core where the container's Python will find it."""
    pinned = (ROOT / "requirements" / "newest.txt").read_text(encoding="utf-8")
    wanted = re.search(r"^ansible-core==\S+", pinned, re.MULTILINE)
    if wanted is None:
        raise StepFailed("requirements/newest.txt pins no ansible-core")
    shutil.rmtree(CORE, ignore_errors=True)
    wheels = CORE / "wheels"
    # For Python 3.13, whatever this one is.
    target = ["--no-deps", "--only-binary=:all:", "--python-version", "3.13", "--dest", str(wheels)]
    shell.run(["python", "-m", "pip", "--disable-pip-version-check", "download", *target, wanted[0]])
    with zipfile.ZipFile(next(wheels.glob("ansible_core-*.whl"))) as wheel:
        wheel.extractall(CORE)


@contextlib.contextmanager
def _container(shell: Shell, writable: Path) -> Iterator[Run]:
    try:
        engine = prerequisites.engine()
        Images(engine, cache=CACHE / "lab" / "images", say=shell.say).ensure({RELEASE})
    except (DevError, LabError) as err:
        raise NotRun(f"no Python 3.12 or 3.13 on this machine, and no container that has one: {err}") from err
    name = f"pml-newest-{uuid.uuid4().hex[:8]}"
    proxies = {key: os.environ[key] for key in ("http_proxy", "https_proxy", "no_proxy") if key in os.environ}
    settings = [part for key, value in (ENVIRONMENT | proxies).items() for part in ("-e", f"{key}={value}")]
    writable.mkdir(parents=True, exist_ok=True)
    mounts = [Mount(ROOT, str(ROOT)), Mount(writable, str(writable), read_only=False)]
    shown = [part for mount in mounts for part in ("-v", str(mount))]

    def run(words: Sequence[str | Path]) -> None:
        inside = engine.argv("exec", "-w", str(COLLECTION), *settings, name, *(str(word) for word in words))
        shell.run(inside, env=engine.env, timeout=1800)

    try:
        place = ["--name", name, "--hostname", name, "--network", engine.uplink]
        engine.run("run", "-d", *place, *shown, "-e", f"CONTAINER={name}", base_tag(RELEASE), "sleep", "infinity")
        run(["sh", "-c", GUARD + INSTALL, "sh", *PACKAGES])
        yield run
    except LabError as err:
        raise StepFailed(str(err)) from err
    finally:
        with contextlib.suppress(LabError):
            engine.remove([name])
