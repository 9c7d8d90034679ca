# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of what the filters take that describe one adopted host."""

from __future__ import annotations


class ModuleDocFragment:
    """Fragment ``adopted``."""

    DOCUMENTATION = r"""
options:
  _input:
    description: What M(postmaster.mail.mail_adopt_info) returned.
    type: dict
    required: true
  host:
    description: The host's name in the inventory.
    type: str
    required: true
"""
