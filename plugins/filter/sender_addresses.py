# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: which addresses each inventory group and host sends from."""

from __future__ import annotations

DOCUMENTATION = r"""
name: sender_addresses
short_description: The addresses that each inventory group and host sends mail from
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Turns the inventory's groups into the option O(postmaster.mail.mail_records#module:hosts).
  - A host's addresses are its variable C(mail_addresses) (a list), or its C(ansible_host) where that is an IP address.
  - Hosts and groups for which neither is known are left out, so that a domain that names one fails with its name.
positional: _input, hostvars
options:
  _input:
    description: The magic variable C(groups).
    type: dict
    required: true
  hostvars:
    description: The magic variable C(hostvars).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Derive the records
  postmaster.mail.mail_records:
    domains: "{{ mail_domains }}"
    hosts: "{{ groups | postmaster.mail.sender_addresses(hostvars) }}"
"""

RETURN = r"""
_value:
  description: Lists of IP addresses by the name of the group or host, each address once.
  type: dict
"""

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError


def _is_address(text: object) -> bool:
    try:
        ipaddress.ip_address(str(text))
    except ValueError:
        return False
    return True


def _host_addresses(name: str, variables: Mapping[str, Any]) -> list[str]:
    stated = variables.get("mail_addresses")
    if stated is None:
        address = variables.get("ansible_host")
        return [str(address)] if _is_address(address) else []
    if isinstance(stated, str):
        raise AnsibleFilterError(f"mail_addresses of {name} must be a list of IP addresses, not the text {stated!r}")
    wrong = [str(address) for address in stated if not _is_address(address)]
    if wrong:
        raise AnsibleFilterError(f"mail_addresses of {name}: {wrong[0]!r} is not an IP address")
    return [str(address) for address in stated]


def sender_addresses(groups: Mapping[str, Iterable[str]], hostvars: Mapping[str, Any]) -> dict[str, list[str]]:
    """Addresses by group and by host name; see DOCUMENTATION."""
    hosts = {name for members in groups.values() for name in members}
    by_host = {name: _host_addresses(name, hostvars[name]) for name in sorted(hosts)}
    by_group = {
        group: list(dict.fromkeys(address for name in members for address in by_host[name]))
        for group, members in groups.items()
    }
    return {name: addresses for name, addresses in {**by_host, **by_group}.items() if addresses}


class FilterModule:
    """The filters of this file, by name."""

    def filters(self) -> dict[str, Any]:
        return {"sender_addresses": sender_addresses}
