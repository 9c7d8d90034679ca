# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the groups of modules whose options are set together."""

from __future__ import annotations


class ModuleDocFragment:
    """Fragments ``action_group.mail`` and ``action_group.dns``."""

    MAIL = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/postmaster.mail.mail) in C(module_defaults) to set options for all mail modules.
    support: full
    membership:
      - postmaster.mail.mail
"""

    DNS = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/postmaster.mail.dns) in C(module_defaults) to set options for all DNS modules.
    support: full
    membership:
      - postmaster.mail.dns
"""
