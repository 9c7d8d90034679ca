# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written about the smaller roles is true."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = Path(__file__).resolve().parents[2] / "roles"

pytestmark = pytest.mark.parametrize(
    "role", ["certificate", "mail_web", "edge", "queue_monitor", "python_program", "restricted_list"]
)


def load(role: str, path: str) -> Any:
    return yaml.safe_load((ROLES / role / path).read_text(encoding="utf-8"))


def options(role: str) -> dict[str, dict[str, Any]]:
    """Those of all entry points."""
    entries = load(role, "meta/argument_specs.yml")["argument_specs"]
    return {name: option for entry in entries.values() for name, option in entry["options"].items()}


def rows(role: str) -> list[str]:
    """The variables as rows of the README's table."""
    made = []
    for name, option in options(role).items():
        text = " ".join(option["description"]) if isinstance(option["description"], list) else option["description"]
        text = re.sub(r"\b[CVOMP]\(([^)#]*)(#\w+)?\)", r"`\1`", " ".join(text.split()))
        default = yaml.safe_dump(option.get("default"), default_flow_style=True, width=200).split("\n", maxsplit=1)[0]
        shown = "required" if option.get("required") else f"`{default}`"
        made.append(f"| `{name}` | {option['type']} | {shown} | {text} |")
    return made


def test_defaults_are_those_of_the_specification(role: str) -> None:
    wanted = {name: item["default"] for name, item in options(role).items() if "default" in item}
    assert load(role, "defaults/main.yml") == wanted
    assert all("default" in item or item["required"] for item in options(role).values())


def test_the_readme_has_every_variable(role: str) -> None:
    text = (ROLES / role / "README.md").read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if line.startswith(f"| `{role}_")] == rows(role)
