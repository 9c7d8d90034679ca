# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of modules that change nothing."""

from __future__ import annotations


class ModuleDocFragment:
    """Fragment ``read_only``; a module whose check mode differs after all says so itself."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Does the same in check mode.
    support: full
  diff_mode:
    description: There is nothing to show, as nothing changes.
    support: none
  idempotent:
    description: Changes nothing.
    support: full
"""
