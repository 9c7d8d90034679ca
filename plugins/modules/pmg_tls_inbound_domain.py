#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: pmg_tls_inbound_domain
short_description: Domains from which a Proxmox Mail Gateway takes mail by TLS alone
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Has a gateway refuse mail of the given domains that comes without TLS - the list that its web interface shows under
    Configuration, Mail Proxy, TLS.
  - Asks for what is there first and sends only what differs. Domains are compared without regard to case, as Postfix
    does; removing one removes every spelling of it.
  - Made for Proxmox Mail Gateway 8 and 9.
extends_documentation_fragment:
  - postmaster.mail.pmg
  - postmaster.mail.pmg.list
  - postmaster.mail.pmg.progress
options:
  domains:
    description: The domains. Two that mean the same are refused. One that begins with a dot stands for all below.
    type: list
    elements: str
    default: []
seealso:
  - name: Proxmox Mail Gateway API
    description: Reference of the API.
    link: https://pmg.proxmox.com/pmg-docs/api-viewer/
"""

EXAMPLES = r"""
- name: Mail of the bank comes by TLS or not at all
  postmaster.mail.pmg_tls_inbound_domain:
    api_host: pmg.example.org
    api_password: "{{ vault_pmg_password }}"
    domains: [bank.example]
  delegate_to: localhost
"""

RETURN = r"""
entries:
  description: The list after the run, in check mode as it would be.
  returned: success
  type: list
  elements: dict
  sample: [{"domain": "bank.example"}]
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

OPTIONS: dict[str, Any] = {"domains": {"type": "list", "elements": "str", "default": []}, **LIST, **PROGRESS}


def run(params: dict[str, Any], api: Api, check_mode: bool) -> dict[str, Any]:
    """What the module returns; raises :class:`PmgError`."""

    def read(one: str) -> _pmg.Item:
        return _pmg.Item(_pmg.domain_key(one))

    items = items_of(_pmg.TLS_INBOUND_DOMAINS, "domains", params["domains"], read)
    return keep(_pmg.TLS_INBOUND_DOMAINS, items, params, api, check_mode=check_mode)


def main() -> None:
    """Run the module."""
    run_module(OPTIONS, run)


if __name__ == "__main__":
    main()
