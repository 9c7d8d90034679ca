# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many examples hypothesis tries: a few in everyday runs, many where MAIL_TEST_FULL=1 asks for the long form."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# A loaded machine is slow, which says nothing about the code.
PATIENT = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("everyday", **PATIENT)
settings.register_profile("full", max_examples=20_000, **PATIENT)
settings.load_profile("full" if os.environ.get("MAIL_TEST_FULL") == "1" else "everyday")
