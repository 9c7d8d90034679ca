#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: pmg_user
short_description: Users of a Proxmox Mail Gateway
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Keeps the accounts that may log in to a gateway - the list that its web interface shows under Configuration, User
    Management.
  - The gateway lets C(root@pam) alone change users, so O(api_user) has to be that one, or O(api_transport=pmgsh). Check
    mode needs the role C(audit).
  - Asks for what is there first and sends only what differs. What is not named of a user stays as it is.
  - The account that the module logs in with is not removed, disabled or given another role.
  - Made for Proxmox Mail Gateway 8 and 9.
extends_documentation_fragment:
  - postmaster.mail.pmg
  - postmaster.mail.pmg.list
attributes:
  diff_mode:
    description: Shows what differs, never a password, nor O(users[].keys).
    support: full
options:
  users:
    description: The users. C(root@pam) can be given a name, an email and keys, and is never removed.
    type: list
    elements: dict
    default: []
    suboptions:
      userid:
        description: Name and realm, C(ansible@pmg).
        type: str
        required: true
      role:
        description: What the user may do. Required for a new one.
        type: str
        choices: [admin, helpdesk, qmanager, audit]
      enable:
        description: Whether the user may log in. A new one may unless this says otherwise.
        type: bool
      expire:
        description: Until when, in seconds since 1970 (UTC). V(0) is for ever.
        type: int
      email:
        description: Mail address. Empty removes it, as with all texts of a user.
        type: str
      firstname:
        description: First name.
        type: str
      lastname:
        description: Last name.
        type: str
      comment:
        description: What the list says beside it.
        type: str
      keys:
        description: Keys for a second factor (YubiKey).
        type: str
      password:
        description:
          - The password, 8 to 64 characters. Needs O(api_transport=https), as C(pmgsh) would show it to all users of
            the host.
          - To see whether it differs, the module tries to log in with it. That cannot be had of a user who is disabled
            or has expired, whose password then stays as it is.
        type: str
      crypt_pass:
        description:
          - The hash of a password for a new user, as crypt makes it, without C(rounds=). Needs O(api_transport=https).
          - The gateway does not tell hashes, so nothing is compared, and that of an existing user stays as it is.
        type: str
  update_password:
    description:
      - V(always) sets O(users[].password) wherever the user has another one.
      - V(on_create) sets it for new users alone.
    type: str
    choices: [always, on_create]
    default: always
seealso:
  - name: Proxmox Mail Gateway API
    description: Reference of the API.
    link: https://pmg.proxmox.com/pmg-docs/api-viewer/
"""

EXAMPLES = r"""
- name: A user for Ansible, and one who looks
  postmaster.mail.pmg_user:
    api_host: pmg.example.org
    api_user: root@pam
    api_password: "{{ vault_pmg_root_password }}"
    users:
      - {userid: ansible@pmg, role: admin, password: "{{ vault_pmg_password }}", comment: runs playbooks}
      - {userid: monitor@pmg, role: audit, password: "{{ vault_monitor_password }}", email: tech@example.org}
  delegate_to: localhost

- name: One of them has left
  postmaster.mail.pmg_user:
    api_host: pmg.example.org
    api_password: "{{ vault_pmg_root_password }}"
    users: [{userid: monitor@pmg}]
    state: absent
  delegate_to: localhost
"""

RETURN = r"""
entries:
  description: The users after the run, in check mode as they would be. Without keys.
  returned: success
  type: list
  elements: dict
  sample: [{"userid": "ansible@pmg", "role": "admin", "enable": "1", "expire": "0", "comment": "runs playbooks"}]
changed_entries:
  description: Those that were (in check mode - would be) added, changed or removed.
  returned: success
  type: list
  elements: str
  sample: [ansible@pmg]
changed_passwords:
  description: Those of existing users whose password was (in check mode - would be) changed.
  returned: success
  type: list
  elements: str
  sample: []
requests:
  description: How many requests that took, logging in not counted.
  returned: success
  type: int
  sample: 2
"""

import time
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _pmg_users
from ansible_collections.postmaster.mail.plugins.module_utils._pmg import Item
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_client import Api
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_options import (
    LIST,
    items_of,
    outcome_of,
    run_module,
    told,
)
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_run import change_passwords

OPTIONS: dict[str, Any] = {
    "users": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "userid": {"type": "str", "required": True},
            "role": {"type": "str", "choices": list(_pmg_users.ROLES)},
            "enable": {"type": "bool"},
            "expire": {"type": "int"},
            "email": {"type": "str"},
            "firstname": {"type": "str"},
            "lastname": {"type": "str"},
            "comment": {"type": "str"},
            "keys": {"type": "str", "no_log": True},
            "password": {"type": "str", "no_log": True},
            "crypt_pass": {"type": "str", "no_log": True},
        },
    },
    "update_password": {"type": "str", "choices": ["always", "on_create"], "default": "always", "no_log": False},
    **LIST,
}


def run(params: dict[str, Any], api: Api, check_mode: bool) -> dict[str, Any]:
    """What the module returns; raises :class:`PmgError`."""
    absent = params["state"] == "absent"
    items = items_of(_pmg_users.USERS, "users", params["users"], lambda one: _pmg_users.read(one, absent=absent))
    kept = list(items)
    if params["purge"] and all(item.key != _pmg_users.ROOT for item in items):
        kept.append(Item(_pmg_users.ROOT))  # which cannot be removed
    judge = _pmg_users.spare(api.login)
    outcome = outcome_of(_pmg_users.USERS, kept, params, api, check_mode=check_mode, judge=judge)
    done = told(_pmg_users.USERS, outcome)
    passwords = []
    if params["update_password"] == "always" and not absent:
        there = {str(entry["userid"]) for entry in outcome.before}
        states = [outcome.before, done["entries"]] if check_mode else [done["entries"]]
        old = _pmg_users.comparable((item for item in items if item.key in there), states, now=time.time())
        passwords = change_passwords(api, old, check_mode=check_mode)
    return {
        **done,
        "changed": done["changed"] or bool(passwords),
        "changed_passwords": passwords,
        "requests": api.requests,
    }


def main() -> None:
    """Run the module."""
    run_module(OPTIONS, run)


if __name__ == "__main__":
    main()
