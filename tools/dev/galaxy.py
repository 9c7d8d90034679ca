# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Does the collection survive what Galaxy does to it: build, install, import, documentation?"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from . import nameserver, venv
from .checks import export
from .places import CACHE, NAME, NAMESPACE, environment
from .steps import NotRun, Shell, Step, StepFailed

WORK = CACHE / "galaxy"
COLLECTION = f"{NAMESPACE}.{NAME}"
NOBODY = 65534  # Debian's user without rights
SILENT = "127.0.0.1@9"  # nobody answers there
PATIENCE = 120  # seconds for the check of one domain
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
        Step("first check", _first_check, installed),
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


def _first_check(shell: Shell) -> None:
    """What docs/checks.md begins with: no inventory, no root, right after the installation."""
    table = {("example.org", "MX"): "10 mx.example.org", ("example.org", "TXT"): "v=spf1 +all"}
    with nameserver.serving(table) as resolver:
        code, report = _check_as_anyone(shell, resolver)
    found = {(item["id"], item["severity"]) for item in report["findings"]}
    if code != 2 or ("spf.all", "F") not in found or report["verdicts"]["example.org"]["mx.exists"] != "ok":
        raise StepFailed(f"of v=spf1 +all the check found {sorted(found)}, and exited with {code}")
    code, report = _check_as_anyone(shell, SILENT)
    if code != 2 or set(report["verdicts"]["example.org"].values()) != {"unknown"}:
        raise StepFailed(f"where no resolver answers it found {report['findings']}, and exited with {code}")


def _check_as_anyone(shell: Shell, resolver: str) -> tuple[int, dict[str, Any]]:
    """The playbook of the installed collection, run by a user without rights; its exit code and report."""
    with tempfile.TemporaryDirectory(prefix="postmaster.mail-") as home:
        report = Path(home) / "report.json"
        options = {
            "domain": "example.org",
            "check_resolver": [resolver],
            "check_query_timeout": 0.5,
            "check_report_file": str(report),
        }
        argv = ["ansible-playbook", f"{COLLECTION}.check", "-e", json.dumps(options)]
        names = ("HOME", "ANSIBLE_HOME", "ANSIBLE_LOCAL_TEMP", "ANSIBLE_REMOTE_TMP")
        env = dict.fromkeys(names, home) | {"PYTHONDONTWRITEBYTECODE": "1"}
        if os.geteuid() == 0:
            os.chown(home, NOBODY, NOBODY)
            for path in (_target(shell), *_target(shell).rglob("*")):
                path.chmod(0o755 if path.is_dir() else 0o644)
            become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
            _try(shell, [*become, "sh", "-c", "command -v ansible-playbook"])
            argv = become + argv
        try:
            shell.run(argv, env=env, cwd=Path(home), timeout=PATIENCE)
            code = 0
        except StepFailed as err:
            shell.say(str(err))
            code = int(str(err).rpartition(" ")[2]) if str(err).rpartition(" ")[2].isdigit() else -1
        if not report.exists():
            raise StepFailed("the check of a domain, run as its guide says, wrote no report")
        return code, json.loads(report.read_text())


def _try(shell: Shell, argv: list[str]) -> None:
    """Whether a user without rights may start programs of the clone at all."""
    try:
        shell.run(argv, cwd=Path("/"))
    except StepFailed as err:
        raise NotRun(f"users without rights cannot enter {CACHE}: clone to where they can, or run this as one") from err


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
