# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: what people are told of a host that is adopted."""

from __future__ import annotations

DOCUMENTATION = r"""
name: adopted_report
short_description: What people are told of a host that is adopted
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
extends_documentation_fragment:
  - postmaster.mail.adopted
description:
  - Turns what M(postmaster.mail.mail_adopt_info) returned into lines, with the role, the variables and the rest.
positional: _input, host, groups
options:
  groups:
    description: The groups that the host is in already, to be told if another role stands against them.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Tell
  ansible.builtin.debug:
    msg: "{{ found | postmaster.mail.adopted_report(inventory_hostname) }}"
"""

RETURN = r"""
_value:
  description: The lines.
  type: list
  elements: str
"""

from collections.abc import Collection, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError


def adopted_report(found: Mapping[str, Any], host: str, groups: Collection[str] = ()) -> list[str]:
    """The lines; see DOCUMENTATION."""
    # Every task that uses a filter loads all filters of the collection; only adoption shall pay for this one.
    from ansible_collections.postmaster.mail.plugins.plugin_utils import _adopt_inventory

    try:
        return _adopt_inventory.report(found, host, groups)
    except (_adopt_inventory.AdoptionError, AttributeError) as err:
        raise AnsibleFilterError(f"{host}: {err}") from err


class FilterModule:
    """The filters of this file, by name."""

    def filters(self) -> dict[str, Any]:
        return {"adopted_report": adopted_report}
