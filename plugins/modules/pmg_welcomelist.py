#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: pmg_welcomelist
short_description: The welcome list of a Proxmox Mail Gateway's mail proxy
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Has a gateway's mail proxy let pass what comes from the given senders or goes to the given receivers, past its
    greylist, its SPF test and its block lists. It is the list that the web interface shows under Configuration, Mail
    Proxy, Welcomelist (Whitelist in release 8). The filter's rules look at such mail all the same.
  - Asks for what is there first and sends only what differs. Addresses, domains and networks are compared by what they
    mean, expressions by their letters. Removing one removes every spelling of it.
  - Made for Proxmox Mail Gateway 8 and 9.
extends_documentation_fragment:
  - postmaster.mail.pmg
  - postmaster.mail.pmg.list
  - postmaster.mail.pmg.progress
options:
  emails:
    description: Mail addresses of senders.
    type: list
    elements: str
    default: []
  domains:
    description: Domains of senders, without those below them.
    type: list
    elements: str
    default: []
  regexes:
    description: Perl's regular expressions for whole mail addresses of senders, without regard to case.
    type: list
    elements: str
    default: []
  addresses:
    description: Addresses of hosts that send, IPv4 or IPv6.
    type: list
    elements: str
    default: []
  networks:
    description: Networks of hosts that send.
    type: list
    elements: str
    default: []
  receivers:
    description: Mail addresses of receivers.
    type: list
    elements: str
    default: []
  receiver_domains:
    description: Domains of receivers, without those below them.
    type: list
    elements: str
    default: []
  receiver_regexes:
    description: Perl's regular expressions for whole mail addresses of receivers, without regard to case.
    type: list
    elements: str
    default: []
seealso:
  - name: Proxmox Mail Gateway API
    description: Reference of the API.
    link: https://pmg.proxmox.com/pmg-docs/api-viewer/
"""

EXAMPLES = r"""
- name: Partners are not kept waiting, and mail for postmaster always comes in
  postmaster.mail.pmg_welcomelist:
    api_host: pmg.example.org
    api_password: "{{ vault_pmg_password }}"
    domains: [partner.example]
    networks: [192.0.2.0/28]
    receivers: [postmaster@example.org]
  delegate_to: localhost
"""

RETURN = r"""
entries:
  description:
    - The list after the run, in check mode as it would be. C(kind) is V(email), V(domain), V(regex), V(ip),
      V(network), V(receiver), V(receiver_domain) or V(receiver_regex), as the API calls them.
  returned: success
  type: list
  elements: dict
  sample: [{"kind": "domain", "value": "partner.example"}]
changed_entries:
  description: Those that were (in check mode - would be) added or removed, each as its kind and value.
  returned: success
  type: list
  elements: str
  sample: ["domain partner.example"]
requests:
  description: How many requests that took, logging in not counted.
  returned: success
  type: int
  sample: 2
"""

from functools import partial
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _pmg_welcome
from ansible_collections.postmaster.mail.plugins.module_utils._pmg import Item
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_client import Api, Unknown
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_options import (
    LIST,
    PROGRESS,
    items_of,
    keep,
    run_module,
)

OPTIONS: dict[str, Any] = {
    **{option: {"type": "list", "elements": "str", "default": []} for option, *dummy in _pmg_welcome.KINDS.values()},
    **LIST,
    **PROGRESS,
}


def _item(kind: str, value: str) -> Item:
    return Item(_pmg_welcome.key_of(kind, value))


def run(params: dict[str, Any], api: Api, check_mode: bool) -> dict[str, Any]:
    """What the module returns; raises :class:`PmgError`."""
    items = [
        item
        for kind, (option, *dummy) in _pmg_welcome.KINDS.items()
        for item in items_of(_pmg_welcome.WELCOME_LIST, option, params[option], partial(_item, kind))
    ]
    try:
        done = keep(_pmg_welcome.WELCOME_LIST, items, params, api, check_mode=check_mode)
    except Unknown:
        done = keep(_pmg_welcome.WHITELIST, items, params, api, check_mode=check_mode)
    pairs = [_pmg_welcome.split_key(one["entry"]) for one in done["entries"]]
    return {**done, "entries": [{"kind": kind, "value": value} for kind, value in pairs]}


def main() -> None:
    """Run the module."""
    run_module(OPTIONS, run)


if __name__ == "__main__":
    main()
