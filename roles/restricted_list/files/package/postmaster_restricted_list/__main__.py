# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m postmaster_restricted_list`` is the command restricted-list."""

import sys

from .ctl import main

sys.exit(main())
