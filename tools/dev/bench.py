# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmarks: every script tests/bench/*.py, one after the other, in the open."""

from __future__ import annotations

import subprocess

from . import checks, prerequisites, venv
from .places import ROOT, environment


def run(*, yes: bool) -> int:
    """Run them all; the number of those that failed is the exit code."""
    engine = prerequisites.prepare_lab(yes=yes)  # some measure on a lab of their own
    folder = checks.prepare()
    venv.ensure("mailer")  # the mailer's have its libraries
    env = environment(folder, LAB_ENGINE=engine)
    failed = 0
    for script in sorted(ROOT.glob("tests/bench/[!_]*.py")):
        print(f"== {script.relative_to(ROOT)}", flush=True)
        done = subprocess.run([folder / "bin" / "python", script], cwd=ROOT, env=env, check=False)
        failed += done.returncode != 0
    return failed
