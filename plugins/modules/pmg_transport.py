#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: pmg_transport
short_description: Where a Proxmox Mail Gateway sends which mail
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Has a gateway send mail for the given domains and addresses to the given servers - the list that its web interface
    shows under Configuration, Mail Proxy, Transports.
  - Asks for what is there first and sends only what differs. Domains are compared without regard to case; removing one
    removes every spelling of it.
  - Made for Proxmox Mail Gateway 8 and 9.
extends_documentation_fragment:
  - postmaster.mail.pmg
  - postmaster.mail.pmg.list
  - postmaster.mail.pmg.progress
options:
  transports:
    description: What goes where. Two for the same are refused.
    type: list
    elements: dict
    default: []
    suboptions:
      domain:
        description: A domain, one that begins with a dot for all below, or a mail address.
        type: str
        required: true
      host:
        description: Name or address of the server. Required unless O(state=absent).
        type: str
      port:
        description: Its port.
        type: int
        default: 25
      protocol:
        description: What is spoken there.
        type: str
        choices: [smtp, lmtp]
        default: smtp
      use_mx:
        description:
          - Whether the mail exchangers of that name are looked up. With an address or LMTP the gateway looks up none,
            whatever is said here.
        type: bool
        default: true
      comment:
        description: What the list says beside it. Without it, the comment stays as it is; an empty one is removed.
        type: str
seealso:
  - name: Proxmox Mail Gateway API
    description: Reference of the API.
    link: https://pmg.proxmox.com/pmg-docs/api-viewer/
"""

EXAMPLES = r"""
- name: Mail of a domain goes to its mailboxes, that of one address to a program
  postmaster.mail.pmg_transport:
    api_host: pmg.example.org
    api_password: "{{ vault_pmg_password }}"
    transports:
      - {domain: example.org, host: mail.example.org, use_mx: false}
      - {domain: lists@example.org, host: 192.0.2.24, port: 8024, protocol: lmtp}
  delegate_to: localhost
"""

RETURN = r"""
entries:
  description: The list after the run, in check mode as it would be.
  returned: success
  type: list
  elements: dict
  sample:
    - {"domain": "example.org", "host": "mail.example.org", "port": "25", "protocol": "smtp", "use_mx": "0"}
changed_entries:
  description: The keys of those that were (in check mode - would be) added, changed or removed.
  returned: success
  type: list
  elements: str
  sample: [example.org]
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
    "transports": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "domain": {"type": "str", "required": True},
            "host": {"type": "str"},
            "port": {"type": "int", "default": 25},
            "protocol": {"type": "str", "choices": ["smtp", "lmtp"], "default": "smtp"},
            "use_mx": {"type": "bool", "default": True},
            "comment": {"type": "str"},
        },
    },
    **LIST,
    **PROGRESS,
}


def run(params: dict[str, Any], api: Api, check_mode: bool) -> dict[str, Any]:
    """What the module returns; raises :class:`PmgError`."""

    def read(one: dict[str, Any]) -> _pmg.Item:
        key = _pmg.address_key(one["domain"])
        if params["state"] == "absent":
            return _pmg.Item(key)
        if not one.get("host"):
            raise _pmg.PmgError(f"{key} has no host: name the server that its mail goes to")
        if not 1 <= one["port"] <= 65535:
            raise _pmg.PmgError(f"{key}: there is no port {one['port']}: name one from 1 to 65535")
        values = {"host": _pmg.host(one["host"]), "port": str(one["port"]), "protocol": one["protocol"]}
        return _pmg.Item(key, {**values, "use_mx": str(int(one["use_mx"])), **comment_of(one)})

    items = items_of(_pmg.TRANSPORTS, "transports", params["transports"], read)
    return keep(_pmg.TRANSPORTS, items, params, api, check_mode=check_mode)


def main() -> None:
    """Run the module."""
    run_module(OPTIONS, run)


if __name__ == "__main__":
    main()
