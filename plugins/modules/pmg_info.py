#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: pmg_info
short_description: A running Proxmox Mail Gateway as variables of the role pmg
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Reads a gateway and returns the variables of the role P(postmaster.mail.pmg#role) that describe it, so that a run
    of the role with them changes nothing.
  - Secrets are not among them - passwords and second factors of users, private keys, credentials of ACME plugins. The
    role leaves those as they are where it is not told of them.
  - What cannot be described is named in RV(left_out).
  - The role C(audit) sees most of it. For the selector of DKIM and the plugins of ACME it takes C(admin), for the
    contact of an ACME account C(root@pam).
  - Made for Proxmox Mail Gateway 8 and 9.
extends_documentation_fragment:
  - postmaster.mail.read_only
  - postmaster.mail.pmg
options:
  node:
    description: The node of a cluster that is meant. C(localhost) is the one that is asked.
    type: str
    default: localhost
"""

EXAMPLES = r"""
- name: Describe a gateway in host_vars
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Read it
      postmaster.mail.pmg_info:
        api_host: pmg.example.org
        api_password: "{{ vault_pmg_password }}"
      register: gateway

    - name: Write it down
      ansible.builtin.copy:
        content: "{{ gateway.variables | to_nice_yaml(sort_keys=false) }}"
        dest: inventory/host_vars/pmg.example.org/gateway.yml
        mode: "0644"

    - name: Say what is not in it
      ansible.builtin.debug:
        var: gateway.left_out
"""

RETURN = r"""
variables:
  description: The variables, by name.
  returned: success
  type: dict
  sample: {"pmg_mail": {"int_port": 25, "ext_port": 26}, "pmg_networks": [{"cidr": "192.0.2.25/32"}]}
left_out:
  description: What they do not say, and why.
  returned: success
  type: list
  elements: str
  sample: ["ACME plugin zone: its credentials"]
release:
  description: The release of the gateway.
  returned: success
  type: str
  sample: "9.1"
version:
  description: The version of its API.
  returned: success
  type: str
  sample: 9.1.0
requests:
  description: How many requests that took, logging in not counted.
  returned: success
  type: int
  sample: 21
"""

from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._pmg import PmgError
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_client import Api
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_export import export
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_options import run_module
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_tasks import Node

OPTIONS: dict[str, Any] = {"node": {"type": "str", "default": "localhost"}}


def run(params: dict[str, Any], api: Api, check_mode: bool) -> dict[str, Any]:
    """What the module returns; raises :class:`PmgError`."""
    version = api.get("/version")
    if not isinstance(version, dict) or "release" not in version:
        raise PmgError("what answers says no version: is this a Proxmox Mail Gateway?")
    found = export(Node(api, params["node"]))
    return {
        "changed": False,
        "variables": found.variables,
        "left_out": found.left_out,
        "release": str(version["release"]),
        "version": str(version.get("version") or ""),
        "requests": api.requests,
    }


def main() -> None:
    """Run the module."""
    run_module(OPTIONS, run)


if __name__ == "__main__":
    main()
