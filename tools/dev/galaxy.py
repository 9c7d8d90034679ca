# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Does the collection survive what Galaxy does to it: build, install, import, documentation?"""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from pathlib import Path

from . import venv
from .checks import export
from .places import CACHE, NAME, NAMESPACE, environment
from .steps import Shell, Step, StepFailed

WORK = CACHE / "galaxy"
COLLECTION = f"{NAMESPACE}.{NAME}"
IMPORTER_CONFIG = """\
[galaxy-importer]
CHECK_CHANGELOG = True
RUN_ANSIBLE_LINT = True
RUN_ANSIBLE_TEST = False
"""


def steps(folder: Path) -> list[Step]:
    """Build and install first: the others work on the tarball."""
    # Outside of the clone: Ansible takes the first ansible_collections in a path for the root of
    # it, and people clone into a folder of that name.
    target = tempfile.mkdtemp(prefix="postmaster.mail-")
    atexit.register(shutil.rmtree, target, ignore_errors=True)
    installed = environment(folder, ANSIBLE_COLLECTIONS_PATH=target, PYTHONPATH="")
    return [
        Step("build", _build, installed),
        Step("install", _install, installed),
        Step("ansible-doc", _documentation, installed),
        Step("galaxy-importer", _import, installed),
    ]


def _target(shell: Shell) -> Path:
    return Path(shell.env["ANSIBLE_COLLECTIONS_PATH"])


def _tarball() -> Path:
    found = list(WORK.glob("*.tar.gz"))
    if not found:
        raise StepFailed("there is no tarball: the build failed")
    return found[0]


def _build(shell: Shell) -> None:
    shutil.rmtree(WORK, ignore_errors=True)
    source = export(WORK / "source")
    shell.run(["ansible-galaxy", "collection", "build", "--output-path", WORK, source])


def _install(shell: Shell) -> None:
    shell.run(["ansible-galaxy", "collection", "install", "--offline", "-p", _target(shell), _tarball()])


def _documentation(shell: Shell) -> None:
    """ansible-doc must know every module and every role of the installed collection by name."""
    where = _target(shell) / "ansible_collections" / NAMESPACE / NAME
    modules = {path.stem for path in (where / "plugins" / "modules").glob("[!_]*.py")}
    roles = {path.parent.name for path in where.glob("roles/*/tasks")}
    for kind, names in (("module", modules), ("role", roles)):
        if not names:
            continue
        wanted = [f"{COLLECTION}.{name}" for name in sorted(names)]
        # Not from the clone: what is documented must be what was installed.
        documented = json.loads(shell.capture(["ansible-doc", "--type", kind, "--json", *wanted], cwd=WORK))
        missing = [name for name in wanted if not documented.get(name)]
        if missing:
            raise StepFailed(f"ansible-doc shows nothing for: {', '.join(missing)}")


def _import(shell: Shell) -> None:
    """galaxy-importer decides what Galaxy accepts; its warnings count as failures here."""
    env = environment(venv.ensure("galaxy"), ANSIBLE_COLLECTIONS_PATH=str(_target(shell)), PYTHONPATH="")
    config = WORK / "galaxy-importer.cfg"
    config.write_text(IMPORTER_CONFIG)
    env["GALAXY_IMPORTER_CONFIG"] = str(config)
    shell.run(["python", "-m", "galaxy_importer.main", _tarball()], env=env, cwd=WORK)
    warnings = [line for line in shell.said() if line.startswith("WARNING:")]
    if warnings:
        raise StepFailed(f"galaxy-importer has {len(warnings)} warnings")
