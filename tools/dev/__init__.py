# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the script ``dev`` starts. The standard library alone, as nothing is installed yet."""

import sys
from pathlib import Path

# The lab knows which engine answers, and is a package of its own.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "molecule" / "shared"))
