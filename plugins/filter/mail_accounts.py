# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: whose mailboxes there are, judged, and as the tables that mail servers want."""

from __future__ import annotations

DOCUMENTATION = r"""
name: mail_accounts
short_description: Judge a description of users, aliases and domains, and make tables of it
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Takes the description of an organisation's mailboxes and judges it as a whole. Two users of one name, an alias that
    leads nowhere or in a circle, an address in a domain that is not listed, and a hash that one of the daemons
    cannot read are problems, each one sentence with its remedy.
  - Adds the addresses that every domain must have (RFC 2142), V(postmaster), V(abuse), V(hostmaster), V(noc) and
    V(security), as aliases of C(role_address), where they are not described.
positional: _input
options:
  _input:
    description:
      - C(domains), a list; C(users), a list of mappings with C(address) and either C(password) or C(password_hash),
        and if wanted C(quota), C(aliases) and C(send_as); C(aliases), a mapping of addresses to lists of addresses;
        C(catch_all), a mapping of domains to an address; C(role_address).
    type: dict
    required: true
  directory:
    description: Where the mailboxes lie, each in C(<domain>/<local part>) below.
    type: path
    default: /var/vmail
"""

EXAMPLES = r"""
- name: See whether the accounts can be as they are
  ansible.builtin.debug:
    msg: "{{ (mail_accounts | postmaster.mail.mail_accounts).problems }}"
  vars:
    mail_accounts:
      domains: [example.org]
      users:
        - address: ann@example.org
          password: "{{ vaulted_password_of_ann }}"
          quota: 2G
          aliases: [ann.lee@example.org]
      aliases:
        sales@example.org: [ann@example.org, sales@example.net]
      role_address: ann@example.org
"""

RETURN = r"""
_value:
  description:
    - C(problems) is a list of sentences. If it is not empty, there is nothing else but C(warnings), a list too.
    - C(domains) is sorted. C(users) holds for each C(address), C(local), C(domain), C(hash), C(password), C(quota) in
      bytes (0 for none) and C(home); either C(hash) or C(password) is empty.
    - C(virtuals) maps every address that takes mail, and C(@domain) for a catch-all, to where its mail goes. A user's
      address goes to itself.
    - C(senders) maps each user to the addresses that may stand in the From of its mail.
  type: dict
"""

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError


def mail_accounts(description: object, *, directory: str = "") -> dict[str, Any]:
    """The tables; see DOCUMENTATION."""

    from ansible_collections.postmaster.mail.plugins.module_utils import _accounts

    if not isinstance(description, Mapping):
        raise AnsibleFilterError(f"mail_accounts needs a mapping, not {type(description).__name__}")
    return _accounts.plan(description, directory=(directory or _accounts.DIRECTORY).rstrip("/"))


class FilterModule:
    """Names the filter for Ansible."""

    def filters(self) -> dict[str, Any]:
        return {"mail_accounts": mail_accounts}
