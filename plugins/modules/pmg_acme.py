#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: pmg_acme
short_description: How a Proxmox Mail Gateway obtains certificates by ACME
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Keeps the account of a gateway at an authority, the plugins by which it proves that names are its own, and the names
    for its certificates. M(postmaster.mail.pmg_certificate) then has it obtain them.
  - What is not named stays as it is. Registering and changing an account is waited for.
  - The gateway lets no role but C(admin) see plugins, and C(root@pam) alone the contact of an account.
  - Made for Proxmox Mail Gateway 8 and 9.
extends_documentation_fragment:
  - postmaster.mail.pmg
  - postmaster.mail.pmg.tasks
options:
  account:
    description: The account, which the node then orders certificates with.
    type: dict
    suboptions:
      name:
        description: What the gateway calls it.
        type: str
        default: default
      contact:
        description:
          - Mail addresses to which the authority may write. They are needed to register, and updated if they differ.
        type: list
        elements: str
        default: []
      directory:
        description: The directory of the authority (RFC 8555).
        type: str
        default: https://acme-v02.api.letsencrypt.org/directory
      terms_accepted:
        description:
          - Whether you have read the authority's terms of service and agree. Without it nothing is registered, and the
            error says where they are.
        type: bool
        default: false
      eab_kid:
        description: For an authority that knows its customers, the name of the key that binds the account to one.
        type: str
      eab_hmac_key:
        description: That key. Needs O(api_transport=https), as C(pmgsh) would show it.
        type: str
  plugins:
    description: Plugins. The one named C(standalone), which answers on port 80, is always there.
    type: list
    elements: dict
    suboptions:
      id:
        description: What the gateway calls it.
        type: str
        required: true
      api:
        description: The provider of DNS, by the name that the gateway has for it, such as V(cf) or V(nsupdate).
        type: str
      data:
        description:
          - Its credentials as variables of acme.sh, such as C(CF_Token). Without it they stay as they are. A new
            plugin has none then.
          - Needs O(api_transport=https), as C(pmgsh) would show it.
        type: dict
      validation_delay:
        description: Seconds between a record and the authority's look at it.
        type: int
        default: 30
      disable:
        description: Whether it is switched off.
        type: bool
        default: false
  domains:
    description: Names for the certificates of the node, six at most.
    type: list
    elements: dict
    suboptions:
      domain:
        description: The name. One that begins with C(*.) takes a plugin for DNS.
        type: str
        required: true
      usage:
        description: The certificates it is for.
        type: list
        elements: str
        choices: [api, smtp]
        default: [api, smtp]
      plugin:
        description: The plugin that proves it.
        type: str
        default: standalone
      alias:
        description: A domain in whose zone the record for the proof is put instead.
        type: str
  state:
    description:
      - Whether what is named should be there. To remove an account is to deactivate it at the authority.
    type: str
    choices: [present, absent]
    default: present
  purge:
    description: Whether O(plugins) and O(domains), where they are given, are all that there should be.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: The gateway obtains a certificate for its name by itself
  postmaster.mail.pmg_acme:
    api_host: pmg.example.org
    api_password: "{{ vault_pmg_password }}"
    account: {contact: [hostmaster@example.org], terms_accepted: true}
    plugins:
      - {id: zone, api: nsupdate, data: {NSUPDATE_SERVER: ns1.example.org, NSUPDATE_KEY: "{{ vault_key_file }}"}}
    domains:
      - {domain: pmg.example.org, plugin: zone}
      - {domain: mx.example.org, usage: [smtp], plugin: zone}
  delegate_to: localhost
"""

RETURN = r"""
changed_parts:
  description: What was (in check mode - would be) added, changed or removed.
  returned: success
  type: list
  elements: str
  sample: [account default, domain pmg.example.org]
requests:
  description: How many requests that took, logging in not counted.
  returned: success
  type: int
  sample: 9
"""

from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

from ansible_collections.postmaster.mail.plugins.module_utils import _pmg_acme
from ansible_collections.postmaster.mail.plugins.module_utils._pmg import PmgError
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_client import Api
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_options import TASKS, node_of, run_module

Read = TypeVar("Read")

OPTIONS: dict[str, Any] = {
    "account": {
        "type": "dict",
        "options": {
            "name": {"type": "str", "default": "default"},
            "contact": {"type": "list", "elements": "str", "default": []},
            "directory": {"type": "str", "default": _pmg_acme.LETS_ENCRYPT},
            "terms_accepted": {"type": "bool", "default": False},
            "eab_kid": {"type": "str"},
            "eab_hmac_key": {"type": "str", "no_log": True},
        },
    },
    "plugins": {
        "type": "list",
        "elements": "dict",
        "options": {
            "id": {"type": "str", "required": True},
            "api": {"type": "str"},
            "data": {"type": "dict", "no_log": True},
            "validation_delay": {"type": "int", "default": _pmg_acme.DELAY},
            "disable": {"type": "bool", "default": False},
        },
    },
    "domains": {
        "type": "list",
        "elements": "dict",
        "options": {
            "domain": {"type": "str", "required": True},
            "usage": {
                "type": "list",
                "elements": "str",
                "choices": list(_pmg_acme.USES),
                "default": list(_pmg_acme.USES),
            },
            "plugin": {"type": "str", "default": _pmg_acme.STANDALONE},
            "alias": {"type": "str"},
        },
    },
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "purge": {"type": "bool", "default": False},
    **TASKS,
}


def run(params: dict[str, Any], api: Api, check_mode: bool) -> dict[str, Any]:
    """What the module returns; raises :class:`PmgError`."""
    absent = params["state"] == "absent"
    if absent and params["purge"]:
        raise PmgError("purge goes with state present: name those that stay, or none")
    wanted = _pmg_acme.Wanted(
        _pmg_acme.read_account(params["account"]) if params["account"] else None,
        _all("plugins", params["plugins"], _pmg_acme.read_plugin, lambda one: one.name),
        _all("domains", params["domains"], _pmg_acme.read_domain, lambda one: one.name),
        params["purge"],
        absent,
    )
    done = _pmg_acme.bring_about(node_of(params, api), wanted, check_mode=check_mode)
    before, after = ("".join(change[side] for change in done.changes) for side in (1, 2))
    return {
        "changed": bool(done.changes),
        "changed_parts": [what for what, dummy, dummy2 in done.changes],
        "warnings": done.warnings,
        "requests": api.requests,
        "diff": {"before": before, "after": after},
    }


def _all(
    option: str,
    given: list[dict[str, Any]] | None,
    read: Callable[[Mapping[str, Any]], Read],
    key: Callable[[Read], Hashable],
) -> list[Read] | None:
    """What an option asks for, each once; None where it is not given."""
    if given is None:
        return None
    found: dict[Hashable, Read] = {}
    for index, one in enumerate(given):
        try:
            item = read(one)
        except PmgError as err:
            raise PmgError(f"{option}[{index}]: {err}") from err
        if key(item) in found:
            raise PmgError(f"{option}[{index}]: {key(item)} is given twice: give it once")
        found[key(item)] = item
    return list(found.values())


def main() -> None:
    """Run the module."""
    run_module(OPTIONS, run)


if __name__ == "__main__":
    main()
