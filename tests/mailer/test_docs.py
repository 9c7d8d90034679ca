# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration that the guide shows is one that loads."""

from __future__ import annotations

import re

import pytest
import yaml
from postmaster_mailer.config import parse

from .conftest import ROOT

GUIDE = (ROOT / "docs" / "mailer.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "block",
    [
        block
        for block in re.findall(r"^```yaml\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
        if not block.startswith("# inventory/")  # those are Ansible's
    ],
)
def test_what_the_guide_shows_loads(block: str) -> None:
    assert parse(yaml.safe_load(block))
