# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written about the role mailer is true."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles/mailer"
SPECS: dict[str, Any] = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]
OPTIONS: dict[str, dict[str, Any]] = SPECS["main"]["options"] | SPECS["monitoring"]["options"]


def test_defaults_are_those_of_the_specification() -> None:
    stated = {name: option["default"] for name, option in OPTIONS.items() if "default" in option}
    assert yaml.safe_load((ROLE / "defaults/main.yml").read_text(encoding="utf-8")) == stated
    assert all("default" in option or option["required"] for option in OPTIONS.values())


def test_every_variable_has_a_row_in_the_readme() -> None:
    lines = (ROLE / "README.md").read_text(encoding="utf-8").splitlines()
    rows = [line.split("`")[1] for line in lines if line.startswith("| `mailer_")]
    assert sorted(rows) == sorted(OPTIONS)


def test_every_variable_is_used() -> None:
    used = "".join(
        path.read_text(encoding="utf-8")
        for part in ("vars/main", "tasks", "templates")
        for path in (ROLE / part).glob("*")
    )
    assert [name for name in OPTIONS if name not in used] == []


def test_stages_are_those_of_the_package() -> None:
    main = (ROLE / "files/package/postmaster_mailer/__main__.py").read_text(encoding="utf-8")
    table = re.search(r"^STAGES.*?^}", main, re.M | re.S)
    assert table
    stages = re.findall(r'^    "([a-z-]+)":', table[0], re.M)
    assert sorted(stages) == sorted(OPTIONS["mailer_stages"]["default"])
    role = yaml.safe_load((ROLE / "vars/main/role.yml").read_text(encoding="utf-8"))
    assert sorted(stages) == sorted(role["__mailer_order"]) == sorted(role["__mailer_sections"])


def test_everything_the_package_needs_is_pinned() -> None:
    named = re.findall(
        r'^    "([A-Za-z0-9.-]+)', (ROLE / "files/package/pyproject.toml").read_text(encoding="utf-8"), re.M
    )
    wanted = [
        line for line in (ROLE / "files/requirements.in").read_text(encoding="utf-8").splitlines() if line[0] != "#"
    ]
    pinned = (ROLE / "files/requirements.txt").read_text(encoding="utf-8")
    known = {name.lower() for name in re.findall(r"^([A-Za-z0-9.-]+)==", pinned, re.M)}
    assert {name.lower() for name in named} <= {name.lower() for name in wanted}
    assert {name.lower().replace(".", "-") for name in wanted} <= known
    development = (ROOT / "requirements/mailer.txt").read_text(encoding="utf-8").lower().splitlines()
    versions = {line.split(" ")[0] for line in development}
    strange = [line for line in re.findall(r"^[A-Za-z0-9.-]+==[^ ]+", pinned, re.M) if line.lower() not in versions]
    assert strange == []
