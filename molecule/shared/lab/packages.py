# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The package cache: what one lab downloaded, the next one finds, and no two labs write the same file."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

PATTERNS = ("*.deb", "*.deb.head")


def share(source: Path, target: Path) -> int:
    """Link the packages of ``source`` that ``target`` lacks into it; index files stay out. Returns how many."""
    count = 0
    for folder in (source, target):
        folder.mkdir(parents=True, exist_ok=True)
    for pattern in PATTERNS:
        for file in source.rglob(pattern):
            place = target / file.relative_to(source)
            if place.exists() or not file.stat().st_size:
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(file, place)
            except OSError:  # another file system, or a kernel that guards hard links
                shutil.copyfile(file, place)
            count += 1
    return count
