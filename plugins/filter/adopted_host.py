# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: the file of variables that describes a host which runs mail already."""

from __future__ import annotations

DOCUMENTATION = r"""
name: adopted_host
short_description: The file of variables that describes a host which runs mail already
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
extends_documentation_fragment:
  - postmaster.mail.adopted
description:
  - Makes the text of C(host_vars/<host>/mail.yml) out of what M(postmaster.mail.mail_adopt_info) returned.
  - A description comes from the host it is about. One with variables that no role has, or with templates, is refused.
positional: _input, host, defined
options:
  defined:
    description: Names of the variables that the inventory sets; these are written even with their default value.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Write down what a host says of itself
  ansible.builtin.copy:
    content: "{{ found | postmaster.mail.adopted_host(inventory_hostname, hostvars[inventory_hostname].keys()) }}"
    dest: "host_vars/{{ inventory_hostname }}/mail.yml"
    mode: "0644"
  delegate_to: localhost
"""

RETURN = r"""
_value:
  description: The text, empty for a host that no role fits.
  type: str
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError


def adopted_host(found: Mapping[str, Any], host: str, defined: Iterable[str] = ()) -> str:
    """The file's text; see DOCUMENTATION."""
    # Every task that uses a filter loads all filters of the collection; only adoption shall pay for this one.
    from ansible_collections.postmaster.mail.plugins.plugin_utils import _adopt_inventory

    try:
        return _adopt_inventory.host_file(found, host, set(defined))
    except (_adopt_inventory.AdoptionError, AttributeError) as err:
        raise AnsibleFilterError(f"{host}: {err}") from err


class FilterModule:
    """The filters of this file, by name."""

    def filters(self) -> dict[str, Any]:
        return {"adopted_host": adopted_host}
