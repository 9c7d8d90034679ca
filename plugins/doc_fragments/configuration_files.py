# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the option by which modules take whole files."""

from __future__ import annotations


class ModuleDocFragment:
    """Fragment ``configuration_files``; the argument specification is in ``module_utils/_file_options.py``."""

    DOCUMENTATION = r"""
options:
  files:
    description: Plain files that belong to the configuration, such as C(/etc/mailname).
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path.
        type: str
        required: true
      content:
        description: The whole content.
        type: str
        required: true
      secret:
        description: The content is secret. The file gets mode 0600 and the diff hides it.
        type: bool
        default: false
      mode:
        description: Mode of the file, in quotes as V("0640"). The default is 0644, or 0600 if it is secret.
        type: raw
      owner:
        description: Owner of the file.
        type: str
        default: root
      group:
        description: Group of the file.
        type: str
        default: root
"""
