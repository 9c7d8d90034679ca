# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written about the role mailboxes is true."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROLE = Path(__file__).resolve().parents[2] / "roles/mailboxes"


def load(path: str) -> Any:
    return yaml.safe_load((ROLE / path).read_text(encoding="utf-8"))


def options() -> dict[str, dict[str, Any]]:
    found = load("meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    assert isinstance(found, dict)
    return found


def rows() -> list[str]:
    """The variables as rows of the README's table."""
    made = []
    for name, option in options().items():
        text = option["description"][0] if isinstance(option["description"], list) else option["description"]
        text = re.sub(r"\b[CVOMP]\(([^)#]*)(#\w+)?\)", r"`\1`", " ".join(text.split()))
        default = yaml.safe_dump(option.get("default"), default_flow_style=True).split("\n", maxsplit=1)[0]
        shown = (
            "required" if option.get("required") else "five folders" if name == "mailboxes_folders" else f"`{default}`"
        )
        made.append(f"| `{name}` | {option['type']} | {shown} | {text} |")
    return made


def test_defaults_are_those_of_the_specification() -> None:
    assert load("defaults/main.yml") == {name: item["default"] for name, item in options().items() if "default" in item}
    assert all("default" in item or item["required"] for item in options().values())


def test_the_readme_has_every_variable() -> None:
    table = [line for line in (ROLE / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert table == rows()


def test_both_releases_are_told_the_same() -> None:
    """Each variable of the role that one template uses the other uses too."""
    used = [
        set(
            re.findall(
                r"mailboxes_[a-z_0-9]+", (ROLE / f"templates/dovecot-{release}.conf.j2").read_text(encoding="utf-8")
            )
        )
        for release in ("2.3", "2.4")
    ]
    assert used[0] == used[1]
