# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Action: the module of the same name, which says how far it is."""

from __future__ import annotations

from ansible_collections.postmaster.mail.plugins.plugin_utils._pmg_progress import Progress as ActionModule

__all__ = ["ActionModule"]
