#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: pmg_tls_policy
short_description: How a Proxmox Mail Gateway uses TLS with which server
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Has a gateway use TLS with the given destinations as it is said here, and not as with all others - the list that its
    web interface shows under Configuration, Mail Proxy, TLS.
  - Asks for what is there first and sends only what differs. Destinations are compared without regard to case; removing
    one removes every spelling of it.
  - Made for Proxmox Mail Gateway 8 and 9.
extends_documentation_fragment:
  - postmaster.mail.pmg
  - postmaster.mail.pmg.list
  - postmaster.mail.pmg.progress
options:
  policies:
    description: The destinations. Two that mean the same are refused.
    type: list
    elements: dict
    default: []
    suboptions:
      destination:
        description: A domain, or a server in brackets, C([smtp.example.org]). The gateway takes none with a port.
        type: str
        required: true
      policy:
        description: Postfix' level of TLS. Required unless O(state=absent).
        type: str
        choices: [none, may, encrypt, dane, dane-only, fingerprint, verify, secure]
seealso:
  - name: Proxmox Mail Gateway API
    description: Reference of the API.
    link: https://pmg.proxmox.com/pmg-docs/api-viewer/
"""

EXAMPLES = r"""
- name: Never without TLS to the smarthost
  postmaster.mail.pmg_tls_policy:
    api_host: pmg.example.org
    api_password: "{{ vault_pmg_password }}"
    policies:
      - {destination: "[smtp-relay.gmail.com]", policy: secure}
      - {destination: bank.example, policy: dane-only}
  delegate_to: localhost
"""

RETURN = r"""
entries:
  description: The list after the run, in check mode as it would be.
  returned: success
  type: list
  elements: dict
  sample: [{"destination": "bank.example", "policy": "dane-only"}]
changed_entries:
  description: The keys of those that were (in check mode - would be) added, changed or removed.
  returned: success
  type: list
  elements: str
  sample: [bank.example]
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
    items_of,
    keep,
    run_module,
)

OPTIONS: dict[str, Any] = {
    "policies": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "destination": {"type": "str", "required": True},
            "policy": {"type": "str", "choices": list(_pmg.TLS_LEVELS)},
        },
    },
    **LIST,
    **PROGRESS,
}


def run(params: dict[str, Any], api: Api, check_mode: bool) -> dict[str, Any]:
    """What the module returns; raises :class:`PmgError`."""

    def read(one: dict[str, Any]) -> _pmg.Item:
        key, policy = _pmg.destination_key(one["destination"]), one.get("policy")
        if policy is None and params["state"] == "present":
            raise _pmg.PmgError(f"{key} has no policy: name one of {', '.join(_pmg.TLS_LEVELS)}")
        return _pmg.Item(key, {} if policy is None else {"policy": policy})

    items = items_of(_pmg.TLS_POLICIES, "policies", params["policies"], read)
    return keep(_pmg.TLS_POLICIES, items, params, api, check_mode=check_mode)


def main() -> None:
    """Run the module."""
    run_module(OPTIONS, run)


if __name__ == "__main__":
    main()
