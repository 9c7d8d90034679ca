#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: show_text
short_description: Print text as it is
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Prints lines of text on the controller's terminal without quotes, escapes and folding, so that they can be copied.
    The C(debug) module prints them as JSON or YAML.
attributes:
  check_mode:
    description: Can run in check mode; it never changes anything.
    support: full
  diff_mode:
    description: There is nothing to compare, since nothing is changed.
    support: none
  idempotent:
    description: It changes nothing.
    support: full
options:
  lines:
    description: The lines. Control characters in them are shown as escapes.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Show the records to publish by hand
  postmaster.mail.show_text:
    lines: "{{ seen.records | postmaster.mail.records_table }}"
"""

RETURN = r""" # """
