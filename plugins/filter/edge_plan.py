# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: what the variables of an edge mean."""

from __future__ import annotations

DOCUMENTATION = r"""
name: edge_plan
short_description: What the variables of an edge mean, and what is wrong with them
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Judges the variables of the role P(postmaster.mail.edge#role) and sorts its addresses by family.
options:
  _input:
    description:
      - The variables without their prefix C(edge_) - C(hostname), C(addresses), C(relay_addresses), C(inet_protocols),
        C(clients), C(interface), C(advertised_interfaces), C(relay_port), C(admin_port) and C(web_port).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: See what an edge makes of its variables
  ansible.builtin.debug:
    msg: "{{ settings | postmaster.mail.edge_plan }}"
"""

RETURN = r"""
_value:
  description:
    - C(problems) is a list of sentences, each naming a variable that cannot be as it is. If it is not empty, there is
      nothing else.
    - C(addresses), C(relay_addresses) and C(clients) are those of the families that are served, C(unused) the two
      addresses of one that is not, C(ipv6) whether IPv6 is served, C(sysctls) what the kernel must be told, C(tunnel)
      what C(ssh -L) takes to lead to the administration port.
  type: dict
"""

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError


def edge_plan(given: Mapping[str, Any]) -> dict[str, Any]:
    """The plan; see DOCUMENTATION."""

    from ansible_collections.postmaster.mail.plugins.module_utils import _edge

    try:
        return _edge.plan(given)
    except KeyError as err:
        raise AnsibleFilterError(f"edge_plan needs {err}") from None


class FilterModule:
    """Names the filter for Ansible."""

    def filters(self) -> dict[str, Any]:
        return {"edge_plan": edge_plan}
