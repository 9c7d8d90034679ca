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
          - The password, 8 to 64 characters. Needs O(api_transport=https), as C(pmgsh) would show it to all users of the
            host.
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

from typing import Any

OPTIONS: dict[str, Any] = {}
