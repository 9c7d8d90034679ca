# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of ``./dev test`` that need no containers."""

from __future__ import annotations

import ast
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from . import debian, newest, venv
from .places import (
    CACHE,
    COLLECTION,
    LAB_CODE,
    NAME,
    NAMESPACE,
    ROOT,
    TREE,
    environment,
    files,
    link_collection,
    pythons,
)
from .steps import Shell, Step, call, not_run

JUNIT = CACHE / "junit"
LONGEST = 900  # seconds for a test, on a machine where the scenarios run beside it
# The roles that bring a program of ours, and the name of its package.
PACKAGES = {"mailer": "postmaster_mailer", "restricted_list": "postmaster_restricted_list"}


def _python_files() -> list[str]:
    return [path for path in files(["*.py"]) if not path.startswith("tests/output/")]


def _playbooks() -> list[str]:
    return files([":(glob)playbooks/*.yml"])


def _mypy(shell: Shell) -> None:
    """Type-check under the import names that Ansible uses, and our tools under their own."""
    ours = [path for path in _python_files() if path.startswith("plugins/")]
    shell.run(["mypy", *(COLLECTION / path for path in ours)], env={"MYPYPATH": str(TREE)})
    shell.run(["mypy", "-p", "tools", "-p", "lab"], env={"PYTHONPATH": "", "MYPYPATH": f"{ROOT}:{LAB_CODE}"})


def _shellcheck(shell: Shell) -> None:
    scripts = ["dev", ".ci/run", *files(["*.sh"])]
    shell.run(["shellcheck", *scripts])


def lint(folder: Path) -> list[Step]:
    """Everything that reads the sources without running them; the slowest first."""
    env = environment(folder)
    docs = ["antsibull-docs", "lint-collection-docs", "--plugin-docs", "--validate-collection-refs=all", "."]
    checks: list[tuple[str, Callable[[Shell], None]]] = [
        ("ansible-lint", call(["ansible-lint", "--profile", "production", "--offline", "--strict"])),
        ("mypy", _mypy),
        ("antsibull-docs", call(docs)),
        ("yamllint", lambda shell: shell.run(["yamllint", "--strict", *files(["*.yml", "*.yaml"])])),
        ("ruff", lambda shell: shell.run(["ruff", "check", *_python_files()])),
        ("antsibull-changelog", call(["antsibull-changelog", "lint"])),
        ("shellcheck", _shellcheck),
    ]
    return [Step(name, action, env) for name, action in checks]


def unit(folder: Path, *, full: bool) -> list[Step]:
    """The unit tests under the environment's own ansible-core; those that need daemons where they are installed."""
    env = environment(folder, **test_environment(full=full))
    steps = [_pytest("unit tests", env), _pytest("fuzz tests", env, where="tests/fuzz")]
    if any(ROOT.glob("tests/integration/**/test_*.py")):
        steps.append(_pytest("integration tests", env, where="tests/integration", workers=1))
    return [*steps, *(step for role in PACKAGES for step in _package(role, full=full))]


def _package(role: str, *, full: bool) -> list[Step]:
    """A role's program, which knows nothing of Ansible, with libraries of its own."""
    folder = venv.ensure("mailer")
    sources = ROOT / "roles" / role / "files" / "package"
    env = environment(folder, PYTHONPATH=str(sources), **test_environment(full=full))
    env["PATH"] = os.pathsep.join([env["PATH"], *map(str, debian.folders())])
    mypy: list[str | Path] = ["mypy", "--config-file", sources / "pyproject.toml", "-p", PACKAGES[role]]
    name = role.replace("_", " ")
    return [
        Step(f"{name} types", call(mypy), env | {"PYTHONPATH": "", "MYPYPATH": str(sources)}),
        _pytest(f"{name} tests", env, where=f"tests/{role}"),
    ]


def test_environment(*, full: bool) -> dict[str, str]:
    """How tests learn of the long form: by MAIL_TEST_FULL=1 alone."""
    return {"MAIL_TEST_FULL": "1"} if full else {}


def _junit(name: str) -> Path:
    return JUNIT / f"{name.replace(' ', '-')}.xml"


def _pytest_words(
    name: str, *, where: str = "tests/unit", workers: int | None = None, longest: int = LONGEST
) -> list[str]:
    """What follows ``python``; a test may take ``longest`` seconds."""
    processes = str(workers or os.cpu_count() or 1)
    words = ["-m", "pytest", "-q", "-rs", "-n", processes, f"--junit-xml={_junit(name)}"]
    # Of a test that hangs the log shows where each thread stands; then its worker ends, for no other way is sure.
    words += ["-o", f"faulthandler_timeout={longest - 30}", f"--timeout={longest}", "--timeout-method=thread"]
    return [*words, where]


def _pytest(name: str, env: Mapping[str, str], *, where: str = "tests/unit", workers: int | None = None) -> Step:
    whole, longest = (4 * 3600, 4 * 3600) if "MAIL_TEST_FULL" in env else (3600, LONGEST)
    argv = ["python", *_pytest_words(name, where=where, workers=workers, longest=longest)]

    def action(shell: Shell) -> None:
        # Through the symlink, as pytest derives the import names from the path.
        shell.run(argv, cwd=COLLECTION, timeout=whole)

    return Step(name, action, env, junit=_junit(name))


def compat(folder: Path) -> list[Step]:
    """Both ends of requires_ansible: unit tests and the playbooks' syntax."""
    steps = []
    for name, lowest in (("oldest", (3, 11)), ("newest", (3, 12))):
        python = venv.find_python(lowest=lowest, highest=(3, 13))
        if python is None:
            missing = not_run(name, f"no Python {lowest[0]}.{lowest[1]} to 3.13 with a venv module on this machine")
            steps.append(_in_debian(folder) if name == "newest" else missing)
            continue
        env = environment(venv.ensure(name, python=python), MAIL_TEST_BRIEF="1")
        steps.append(Step(f"{name} versions", call(["ansible", "--version"]), env))
        steps.append(_pytest(f"{name} unit tests", env))
        steps.append(Step(f"{name} playbook syntax", _syntax, env))
    return steps


def _in_debian(folder: Path) -> Step:
    """The same in one step, where no Python of this machine will do."""
    name = "newest ansible-core"
    commands = [
        ["-m", "ansible", "adhoc", "--version"],
        _pytest_words(name),
        ["-m", "ansible", "playbook", *_syntax_words()],
    ]
    action = newest.in_debian(commands, writable=JUNIT)
    return Step(name, action, environment(folder), junit=_junit(name), announce=True)


def _syntax(shell: Shell) -> None:
    shell.run(["ansible-playbook", *_syntax_words()])


def _syntax_words() -> list[str]:
    return ["--syntax-check", "-i", "playbooks/inventories/example", *_playbooks()]


def sanity(folder: Path) -> list[Step]:
    """ansible-test sanity on an exported copy, as it refuses to work through a symlink."""
    return [Step("ansible-test", _sanity, environment(folder, HOME=str(CACHE / "home")))]


def _sanity(shell: Shell) -> None:
    copy = export(CACHE / "sanity")
    # Else it finds the clone's own git above, which ignores .cache, and tests nothing.
    shell.run(["git", "init", "--quiet", copy])
    _provide_pip(shell)
    # Without --python it runs its compile and import tests under every Python it finds.
    path = os.pathsep.join([shell.env["PATH"], *(str(folder) for folder in pythons())])
    shell.run(["ansible-test", "sanity", "--venv", "--color", "no"], cwd=copy, env={"PATH": path})


def export(folder: Path) -> Path:
    """Copy the clone's files under their Ansible names below ``folder``; return the copy's root."""
    copy = folder / "ansible_collections" / NAMESPACE / NAME
    # What ansible-test made for itself stays: its virtual environments take most of its time.
    output = copy / "tests" / "output"
    kept = folder / "output"
    shutil.rmtree(kept, ignore_errors=True)
    if output.exists():
        output.rename(kept)
    shutil.rmtree(copy, ignore_errors=True)
    if kept.exists():
        output.parent.mkdir(parents=True)
        kept.rename(output)
    for path in files():
        target = copy / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, target, follow_symlinks=False)
    return copy


# ansible-test fetches a get-pip script from a host of its own that not every network reaches.
# It takes one from its cache instead: this stand-in starts a pip wheel that came from PyPI.
_GET_PIP = """\
import os, runpy, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), {wheel!r}))
wanted = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
sys.argv = ["pip", "install", *wanted]
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""
_ASK_VERSION = """\
import re, pathlib, ansible_test._internal.python_requirements as module
print(re.search(r"pip='([0-9.]+)'", pathlib.Path(module.__file__).read_text()).group(1))
"""


def _provide_pip(shell: Shell) -> None:
    """Lay the stand-in into ansible-test's cache, for the very pip version it asks for."""
    version = shell.capture(["python", "-c", _ASK_VERSION]).strip()
    cache = Path(shell.env["HOME"]) / ".ansible" / "test" / "cache"
    script = cache / f"get_pip_{version.replace('.', '_')}.py"
    pip = ["python", "-m", "pip", "--disable-pip-version-check"]
    _copy_pip_settings(shell, pip)
    if script.exists():
        return
    cache.mkdir(parents=True, exist_ok=True)
    shell.run([*pip, "download", f"pip=={version}", "--no-deps", "--dest", cache])
    wheel = next(cache.glob(f"pip-{version}-*.whl")).name
    script.write_text(_GET_PIP.format(wheel=wheel))


def _copy_pip_settings(shell: Shell, pip: list[str]) -> None:
    """Keep a proxy, a certificate or an index of this machine in force.

    ansible-test hides most of the environment from pip, and we give it another home.
    """
    home = os.environ.get("HOME", "/")
    lines = ["[global]"]
    for line in shell.capture([*pip, "config", "list"], env={"HOME": home}).splitlines():
        name, value = line.split("=", 1)
        section, key = name.rsplit(".", 1)
        if section in ("global", ":env:") and key not in ("config-file", "disable-pip-version-check"):
            lines.append(f"{key} = {' '.join(str(ast.literal_eval(value)).split())}")
    config = Path(shell.env["HOME"]) / ".config" / "pip" / "pip.conf"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text("\n".join(dict.fromkeys(lines)) + "\n")


def prepare() -> Path:
    """The virtual environment and the link that every part needs."""
    link_collection()
    return venv.ensure("dev")
