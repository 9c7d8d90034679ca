# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: the domains that DNS must describe, with what mailers need."""

from __future__ import annotations

DOCUMENTATION = r"""
name: mailer_records
short_description: Domains with what mailers need in DNS
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Adds to the option O(postmaster.mail.mail_records#module:domains) what the role mailer needs on the
    hosts of a group.
  - Each return domain gets these hosts as MX and as senders; one that is not described is added with C(-all).
  - The names of the mailers and of their MX get addresses where they lie in a described domain and have none there.
positional: _input, groups, hostvars
options:
  _input:
    description: The variable C(mail_domains).
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
  group:
    description: The group of the mailers. Without it, or without hosts in it, nothing is added.
    type: str
    default: mailers
"""

EXAMPLES = r"""
- name: Derive the records
  postmaster.mail.mail_records:
    domains: "{{ mail_domains | postmaster.mail.mailer_records(groups, hostvars) }}"
    hosts: "{{ groups | postmaster.mail.sender_addresses(hostvars) }}"
"""

RETURN = r"""
_value:
  description: The domains, those that were there first.
  type: list
  elements: dict
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.postmaster.mail.plugins.filter.sender_addresses import sender_addresses

Domain = dict[str, Any]


def _return_domain(domains: dict[str, Domain], name: str, mx_hosts: Iterable[str], group: str) -> None:
    """Have bounces arrive, and the mailers allowed to send (SPF is about the return path)."""
    domain = domains.setdefault(name, {"name": name, "spf_all": "-all"})
    others = [one["host"] for one in domain.get("mx", []) if one["host"].rstrip(".") not in mx_hosts]
    if others:
        raise AnsibleFilterError(
            f"bounces to {name} would go to {others[0]}: "
            f"give return_path_domain a name that receives nothing else, such as bounce.{name}"
        )
    domain["mx"] = domain.get("mx") or [{"host": host} for host in mx_hosts]
    senders = domain.get("senders", [])
    if {"hosts": group} not in senders:
        domain["senders"] = [*senders, {"hosts": group}]


def _address(domains: dict[str, Domain], host: str, addresses: list[str]) -> None:
    """Have a host found, in the closest of the domains that it lies in; one in others' domains is theirs."""
    above = [name for name in domains if host == name or host.endswith(f".{name}")]
    if not above or not addresses:
        return
    domain = domains[max(above, key=len)]
    there = domain.get("host_records", [])
    named = {f"{one['name']}".rstrip(".") for one in there}
    if not named & {host, host.removesuffix(f".{domain['name']}")}:
        domain["host_records"] = [*there, {"name": f"{host}.", "addresses": addresses}]


def mailer_records(
    described: Iterable[Mapping[str, Any]],
    groups: Mapping[str, Iterable[str]],
    hostvars: Mapping[str, Any],
    group: str = "mailers",
) -> list[Domain]:
    """The domains with what mailers need; see DOCUMENTATION."""
    domains = {str(one["name"]): dict(one) for one in described}
    own = set(domains)
    addresses = sender_addresses(groups, hostvars)
    hosts: dict[str, list[str]] = {}
    returns: dict[str, list[str]] = {}
    for member in groups.get(group, ()):
        variables = hostvars[member]
        name = str(variables.get("mailer_hostname", member))
        mx_host = str(variables.get("mailer_mx_hostname", name))
        hosts |= {name: addresses.get(member, []), mx_host: addresses.get(member, [])}
        for one in variables.get("mailer_domains", ()):
            if one["name"] not in own:
                raise AnsibleFilterError(
                    f"{member} sends for {one['name']}, which is not in mail_domains: describe it there"
                )
            returns.setdefault(one["return_path_domain"], []).append(mx_host)
    for name, mx_hosts in returns.items():
        _return_domain(domains, name, list(dict.fromkeys(mx_hosts)), group)
    for host, found in hosts.items():
        _address(domains, host, found)
    return list(domains.values())


class FilterModule:
    """The filters of this file, by name."""

    def filters(self) -> dict[str, Any]:
        return {"mailer_records": mailer_records}
