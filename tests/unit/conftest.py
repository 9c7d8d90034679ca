# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many examples hypothesis tries: a hundred in everyday runs, many where MAIL_TEST_FULL=1 asks for the long form.

MAIL_TEST_BRIEF=1 asks for a few, for runs under other versions of Python and Ansible after the everyday run.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# A loaded machine is slow, which says nothing about the code.
PATIENT = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("everyday", **PATIENT)
settings.register_profile("full", max_examples=20_000, **PATIENT)
settings.register_profile("brief", max_examples=10, **PATIENT)
_asked = (profile for profile in ("full", "brief") if os.environ.get(f"MAIL_TEST_{profile.upper()}") == "1")
settings.load_profile(next(_asked, "everyday"))
