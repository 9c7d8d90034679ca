# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: the inventory that puts adopted hosts into the groups of their roles."""

from __future__ import annotations

DOCUMENTATION = r"""
name: adopted_groups
short_description: The inventory that puts adopted hosts into the groups of their roles
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Makes the text of C(hosts-adopted.yml). Hosts that an earlier text lists and that are not named again stay in it.
positional: _input, existing
options:
  _input:
    description: The role of each host, as M(postmaster.mail.mail_adopt_info) returned it.
    type: dict
    required: true
  existing:
    description: The text that the file has now.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Show the groups
  ansible.builtin.debug:
    msg: "{{ {'web1.example.org': 'satellite_postfix'} | postmaster.mail.adopted_groups }}"
"""

RETURN = r"""
_value:
  description: The text.
  type: str
"""

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError


def adopted_groups(roles: Mapping[str, str], existing: str = "") -> str:
    """The file's text; see DOCUMENTATION."""
    # Every task that uses a filter loads all filters of the collection; only adoption shall pay for this one.
    from ansible_collections.postmaster.mail.plugins.plugin_utils import _adopt_inventory

    try:
        return _adopt_inventory.groups_file(existing, roles)
    except (_adopt_inventory.AdoptionError, AttributeError) as err:
        raise AnsibleFilterError(str(err)) from err


class FilterModule:
    """The filters of this file, by name."""

    def filters(self) -> dict[str, Any]:
        return {"adopted_groups": adopted_groups}
