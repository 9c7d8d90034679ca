# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: which addresses the mail of some domains leaves from, by the inventory."""

from __future__ import annotations

DOCUMENTATION = r"""
name: outbound_addresses
short_description: The addresses that mail of some domains leaves from
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Turns the inventory into the option O(postmaster.mail.mail_check#module:outbound).
  - A host counts if each of the domains names it in C(senders), by itself or by its group, and its mail goes to its
    destination directly, that is, with neither C(relay_smarthost) nor C(satellite_relay).
  - Its addresses are C(relay_public_addresses), or what P(postmaster.mail.sender_addresses#filter) says; it greets
    with C(relay_hostname).
positional: _input, groups, hostvars
options:
  _input:
    description: Entries of C(mail_domains).
    type: list
    elements: dict
    required: true
  groups:
    description: The magic variable C(groups).
    type: dict
    required: true
  hostvars:
    description: The magic variable C(hostvars).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Look at the domains of the inventory
  postmaster.mail.mail_check:
    domains: "{{ mail_domains | map(attribute='name') }}"
    outbound: "{{ mail_domains | postmaster.mail.outbound_addresses(groups, hostvars) }}"
  delegate_to: localhost
"""

RETURN = r"""
_value:
  description: The addresses with the name that is said there in HELO, empty where that is not known.
  type: list
  elements: dict
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.postmaster.mail.plugins.filter.sender_addresses import sender_addresses


def _named(domain: Mapping[str, Any], groups: Mapping[str, Iterable[str]]) -> set[str]:
    """The hosts that a domain names as senders."""
    wanted = [sender["hosts"] for sender in domain.get("senders") or () if sender.get("hosts")]
    return {host for name in wanted for host in groups.get(name, [name])}


def outbound_addresses(
    domains: Sequence[Mapping[str, Any]], groups: Mapping[str, Iterable[str]], hostvars: Mapping[str, Any]
) -> list[dict[str, str]]:
    """Addresses and names in HELO; see DOCUMENTATION."""
    known = {name for members in groups.values() for name in members}
    hosts = set.intersection(known, *(_named(domain, groups) for domain in domains)) if domains else set()
    addresses = sender_addresses(groups, hostvars)
    found = []
    for host in sorted(hosts):
        variables = hostvars[host]
        if variables.get("relay_smarthost") or variables.get("satellite_relay"):
            continue
        own = variables.get("relay_public_addresses") or addresses.get(host, [])
        found += [{"address": str(address), "helo": str(variables.get("relay_hostname") or "")} for address in own]
    return found


class FilterModule:
    """The filters of this file, by name."""

    def filters(self) -> dict[str, Any]:
        return {"outbound_addresses": outbound_addresses}
