# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: what the variables of a satellite mean, the same for Postfix and Exim."""

from __future__ import annotations

DOCUMENTATION = r"""
name: satellite_plan
short_description: What the variables of a satellite mean, and what is wrong with them
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Judges the variables of the roles P(postmaster.mail.satellite_postfix#role) and
    P(postmaster.mail.satellite_exim#role) and works out the aliases and the rewriting of addresses, so that
    both roles come to the same result.
options:
  _input:
    description:
      - The variables without their prefix C(satellite_), and C(fqdn), the full name by which the host calls itself.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: See what a satellite makes of its variables
  ansible.builtin.debug:
    msg: >-
      {{ {'domain': 'example.org', 'relay': 'relay1.example.org', 'fqdn': 'web1.example.org',
          'root_address': 'sysadmin@example.org'} | postmaster.mail.satellite_plan }}
"""

RETURN = r"""
_value:
  description:
    - C(problems) is a list of sentences, each naming a variable that cannot be as it is. If it is not empty, there is
      nothing else.
    - C(hostname) is the host's full name, C(aliases) what C(/etc/aliases) must hold, C(domain_names) and
      C(domain_map) the names that are resolved on the host when written with the domain, C(sender_map) and
      C(recipient_map) how addresses on the host leave it, C(exim_rewrites) the same for Exim, C(local_names) the
      further names of the host, C(kept_users) and C(kept_domains) the exceptions from masquerading.
  type: dict
"""

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError


def satellite_plan(variables: object) -> dict[str, Any]:
    """The plan; see DOCUMENTATION."""

    from ansible_collections.postmaster.mail.plugins.module_utils import _satellite

    if not isinstance(variables, Mapping):
        raise AnsibleFilterError(f"satellite_plan needs a mapping of variables, not {type(variables).__name__}")
    return _satellite.plan(variables)


class FilterModule:
    """Names the filter for Ansible."""

    def filters(self) -> dict[str, Any]:
        return {"satellite_plan": satellite_plan}
