#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: pmg_network
short_description: Networks that may send through a Proxmox Mail Gateway
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Has a gateway trust the given networks, all with one login - the list that its web interface shows under
    Configuration, Mail Proxy, Networks.
  - Asks for what is there first and sends only what differs, which for a list that is right is nothing.
  - Networks are compared by value, not by spelling. Removing one removes every spelling of it.
  - A change takes the gateway some two seconds. Where an answer is lost, it looks at what became of it and goes on; a
    run that was cut off is completed by the next.
  - Made for Proxmox Mail Gateway 8 and 9.
extends_documentation_fragment:
  - postmaster.mail.pmg
  - postmaster.mail.pmg.list
  - postmaster.mail.pmg.progress
options:
  networks:
    description: The networks. Two that mean the same are refused.
    type: list
    elements: dict
    default: []
    suboptions:
      cidr:
        description: The network. An address is a network of one.
        type: str
        required: true
      comment:
        description: What the list says beside it. Without it, the comment stays as it is; an empty one is removed.
        type: str
  host_bits:
    description:
      - What becomes of a network with bits beyond its prefix, such as C(192.0.2.7/24), which may stand for the host or
        for the network.
      - V(refuse) is an error before anything is sent. V(warn) takes the network, here C(192.0.2.0/24), and says so.
    type: str
    choices: [refuse, warn]
    default: refuse
  reachable_from_outside:
    description:
      - Whether the port on which trusted hosts are served can be reached from the internet.
      - If so, private networks are refused, as strangers come with such addresses through a translation of addresses,
        and so are networks wider than an organisation has (16 bits, 32 with IPv6).
    type: bool
    default: true
seealso:
  - name: Proxmox Mail Gateway API
    description: Reference of the API.
    link: https://pmg.proxmox.com/pmg-docs/api-viewer/
"""

EXAMPLES = r"""
- name: The servers may send through the gateway, and nobody else
  postmaster.mail.pmg_network:
    api_host: pmg.example.org
    api_user: ansible@pmg
    api_password: "{{ vault_pmg_password }}"
    networks:
      - {cidr: 192.0.2.25, comment: web server}
      - {cidr: "2001:db8:1::/64", comment: cluster}
    purge: true
  delegate_to: localhost

- name: One of them has left
  postmaster.mail.pmg_network:
    api_host: pmg.example.org
    api_password: "{{ vault_pmg_password }}"
    networks: [{cidr: 192.0.2.25}]
    state: absent
  delegate_to: localhost

- name: On the gateway itself, whose trusted port only the firewall in front of it reaches
  postmaster.mail.pmg_network:
    api_transport: pmgsh
    networks: [{cidr: 10.0.0.0/8, comment: servers behind the firewall}]
    reachable_from_outside: false
"""

RETURN = r"""
entries:
  description: The list after the run, in check mode as it would be.
  returned: success
  type: list
  elements: dict
  sample: [{"cidr": "192.0.2.25/32", "comment": "web server"}]
changed_entries:
  description: The keys of those that were (in check mode - would be) added, changed or removed.
  returned: success
  type: list
  elements: str
  sample: [192.0.2.25/32]
requests:
  description: How many requests that took, logging in not counted.
  returned: success
  type: int
  sample: 2
"""

from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _pmg
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_client import Api
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_options import (
    LIST,
    PROGRESS,
    comment_of,
    items_of,
    keep,
    run_module,
)

OPTIONS: dict[str, Any] = {
    "networks": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"cidr": {"type": "str", "required": True}, "comment": {"type": "str"}},
    },
    "host_bits": {"type": "str", "choices": ["refuse", "warn"], "default": "refuse"},
    "reachable_from_outside": {"type": "bool", "default": True},
    **LIST,
    **PROGRESS,
}


def run(params: dict[str, Any], api: Api, check_mode: bool) -> dict[str, Any]:
    """What the module returns; raises :class:`PmgError`."""
    warnings: list[str] = []

    def network(text: str) -> str:
        try:
            return _pmg.network_key(text)
        except _pmg.HostBits as err:
            if params["host_bits"] == "refuse":
                raise
            warnings.append(f"{text} has bits set beyond its prefix: it is taken for {err.meant}")
            return err.meant

    def read(one: dict[str, Any]) -> _pmg.Item:
        key = network(one["cidr"])
        if params["state"] == "present" and params["reachable_from_outside"]:
            _pmg.check_trust(key)
        return _pmg.Item(key, comment_of(one))

    items = items_of(_pmg.NETWORKS, "networks", params["networks"], read)
    return {**keep(_pmg.NETWORKS, items, params, api, check_mode=check_mode), "warnings": warnings}


def main() -> None:
    """Run the module."""
    run_module(OPTIONS, run)


if __name__ == "__main__":
    main()
