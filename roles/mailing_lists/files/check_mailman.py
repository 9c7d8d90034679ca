# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Holds a configuration of Mailman against Mailman's own schema, which `mailman conf` does not do for unknown names."""

from __future__ import annotations

import os
import sys

import mailman.config
from lazr.config import ConfigSchema

place = os.path.dirname(mailman.config.__file__)
known = ConfigSchema(os.path.join(place, "schema.cfg")).load(os.path.join(place, "mailman.cfg"))
try:
    with open(sys.argv[1], encoding="utf-8") as file:
        known.push("given", file.read())
    known.validate()
except Exception as err:
    sys.exit("; ".join(str(one) for one in getattr(err, "errors", None) or [err]))
