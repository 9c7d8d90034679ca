# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written about the role mailing_lists is true, and it takes lists as its module does."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.postmaster.mail.plugins.modules import mailman_list

ROLE = Path(__file__).resolve().parents[2] / "roles/mailing_lists"
OPTIONS: dict[str, dict[str, Any]] = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text(encoding="utf-8"))[
    "argument_specs"
]["main"]["options"]


def rows() -> list[str]:
    """The variables as rows of the README's table."""
    made = []
    for name, option in OPTIONS.items():
        text = " ".join(option["description"]) if isinstance(option["description"], list) else option["description"]
        text = re.sub(r"\b[CVOMP]\(([^)#]*)(#\w+)?\)", r"`\1`", " ".join(text.split())).replace("main:", "")
        default = yaml.safe_dump(option.get("default"), default_flow_style=True, width=200).split("\n", maxsplit=1)[0]
        shown = "required" if option.get("required") else f"`{default}`"
        made.append(f"| `{name}` | {option['type']} | {shown} | {text} |")
    return made


def test_defaults_are_those_of_the_specification() -> None:
    stated = {name: option["default"] for name, option in OPTIONS.items() if "default" in option}
    assert yaml.safe_load((ROLE / "defaults/main.yml").read_text(encoding="utf-8")) == stated
    assert all("default" in option or option["required"] for option in OPTIONS.values())


def test_the_readme_has_every_variable() -> None:
    text = (ROLE / "README.md").read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if line.startswith("| `")] == rows()


def test_every_variable_is_used() -> None:
    used = "".join(
        path.read_text(encoding="utf-8") for part in ("vars", "tasks", "templates") for path in (ROLE / part).glob("*")
    )
    assert [name for name in OPTIONS if not re.search(rf"\b{name}\b", used)] == []


def test_passwords_are_marked() -> None:
    assert [name for name, option in OPTIONS.items() if option.get("no_log")] == ["mailing_lists_admin_password"]


def test_a_list_is_what_the_module_takes() -> None:
    given = OPTIONS["mailing_lists"]["options"]
    assert {name: option["type"] for name, option in given.items()} == {
        name: option["type"] for name, option in mailman_list.LISTS.items()
    }
    choices = {name: option["choices"] for name, option in given.items() if "choices" in option}
    assert choices == {name: option["choices"] for name, option in mailman_list.LISTS.items() if "choices" in option}


@pytest.fixture
def secrets(tmp_path: Path) -> Any:
    """The script that has the secrets, with a folder of its own."""
    text = (ROLE / "files/secrets.sh").read_text(encoding="utf-8")
    script = text.replace("/etc/mailman3/secrets", str(tmp_path / "secrets"))
    assert script != text

    def run(mode: str) -> tuple[dict[str, str], list[str]]:
        done = subprocess.run(["sh", "-c", script, "sh", mode], capture_output=True, text=True, check=True, timeout=60)
        return json.loads(done.stdout), done.stderr.splitlines()

    return run


def test_secrets_are_made_once_and_only_foreseen_in_check_mode(secrets: Any, tmp_path: Path) -> None:
    new = ["rest is new", "django is new", "archiver is new"]
    assert secrets("look") == (dict.fromkeys(("rest", "django", "archiver"), "to-come"), new)
    assert not (tmp_path / "secrets").exists()
    made, said = secrets("make")
    assert (said, len(set(made.values()))) == (new, 3)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{48}", secret) for secret in made.values())
    assert secrets("look") == secrets("make") == (made, [])
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "secrets").iterdir()} == {0o600}
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700


def test_one_that_is_lost_is_made_anew_and_the_others_stay(secrets: Any, tmp_path: Path) -> None:
    made, dummy = secrets("make")
    (tmp_path / "secrets/rest").unlink()
    again, said = secrets("make")
    assert said == ["rest is new"] and again["rest"] != made["rest"]
    assert {name: secret for name, secret in again.items() if name != "rest"} == {
        name: secret for name, secret in made.items() if name != "rest"
    }
