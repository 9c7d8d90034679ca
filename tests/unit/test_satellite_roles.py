# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The satellite roles are equals: one set of variables, and what is written about it is true."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = ("satellite_postfix", "satellite_exim")
SAME_FILES = ("defaults/main.yml",)


def load(role: str, path: str) -> Any:
    return yaml.safe_load((ROOT / "roles" / role / path).read_text(encoding="utf-8"))


def options(role: str) -> dict[str, dict[str, Any]]:
    found = load(role, "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    assert isinstance(found, dict)
    return found


def table(role: str) -> list[str]:
    """The variables as rows of a README's table: name, type, default, the first sentence about it."""
    rows = []
    for name, option in options(role).items():
        text = option["description"][0] if isinstance(option["description"], list) else option["description"]
        sentence = " ".join(text.split()).partition(". ")[0].rstrip(".")
        sentence = re.sub(r"\b[CVO]\(([^)]*)\)", r"`\1`", sentence)
        kind = " or ".join(f"`{choice}`" for choice in option["choices"]) if "choices" in option else option["type"]
        default = "required" if option.get("required") else f"`{yaml.safe_dump(option['default']).split(chr(10))[0]}`"
        rows.append(f"| `{name}` | {kind} | {default} | {sentence} |")
    return rows


def test_one_specification() -> None:
    assert options("satellite_postfix") == options("satellite_exim")


@pytest.mark.parametrize("path", SAME_FILES)
def test_same_files(path: str) -> None:
    assert load("satellite_postfix", path) == load("satellite_exim", path)


@pytest.mark.parametrize("role", ROLES)
def test_defaults_are_those_of_the_specification(role: str) -> None:
    stated = {name: option["default"] for name, option in options(role).items() if "default" in option}
    assert load(role, "defaults/main.yml") == stated
    assert all("default" in option or option["required"] for option in options(role).values())


@pytest.mark.parametrize("role", ROLES)
def test_passwords_are_marked(role: str) -> None:
    assert [name for name, option in options(role).items() if option.get("no_log")] == ["satellite_password"]


@pytest.mark.parametrize("role", ROLES)
def test_table_in_the_readme(role: str) -> None:
    lines = (ROOT / "roles" / role / "README.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("| `satellite_")] == table(role)


@pytest.mark.parametrize("role", ROLES)
def test_every_variable_reaches_the_plan_or_the_role(role: str) -> None:
    folder = ROOT / "roles" / role
    used = "".join(path.read_text(encoding="utf-8") for part in ("vars", "tasks") for path in folder.glob(f"{part}/*"))
    assert [name for name in options(role) if name not in used] == []
