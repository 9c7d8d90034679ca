# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: the domains that adopted hosts sign for, as a first mail_domains."""

from __future__ import annotations

DOCUMENTATION = r"""
name: adopted_domains
short_description: The domains that adopted hosts sign for, as a first mail_domains
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Makes the text of a file of variables with C(mail_domains) out of the keys that
    M(postmaster.mail.mail_adopt_info) returned, and of what M(postmaster.mail.mail_domain_info) says of their DNS.
positional: _input, dns
options:
  _input:
    description: What M(postmaster.mail.mail_adopt_info) returned, by host.
    type: dict
    required: true
  dns:
    description: What M(postmaster.mail.mail_domain_info) returned of the domains.
    type: dict
"""

EXAMPLES = r"""
- name: Show the domains
  ansible.builtin.debug:
    msg: "{{ {'relay1.example.org': found} | postmaster.mail.adopted_domains }}"
"""

RETURN = r"""
_value:
  description: The text, empty if nothing signs.
  type: str
"""

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError


def adopted_domains(results: Mapping[str, Mapping[str, Any]], dns: Mapping[str, Any] | None = None) -> str:
    """The file's text; see DOCUMENTATION."""
    # Every task that uses a filter loads all filters of the collection; only adoption shall pay for this one.
    from ansible_collections.postmaster.mail.plugins.plugin_utils import _adopt_inventory

    try:
        return _adopt_inventory.domains_file(results, dns)
    except (_adopt_inventory.AdoptionError, AttributeError) as err:
        raise AnsibleFilterError(str(err)) from err


class FilterModule:
    """The filters of this file, by name."""

    def filters(self) -> dict[str, Any]:
        return {"adopted_domains": adopted_domains}
