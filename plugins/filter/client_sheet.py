# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: what people type into a mail client."""

from __future__ import annotations

DOCUMENTATION = r"""
name: client_sheet
short_description: What people type into a mail client
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - A sheet for one domain as plain text - servers, ports, security, and what the user name is.
positional: _input, domain, users
options:
  _input:
    description: C(hostname) of the server, and its C(services) as P(postmaster.mail.mail_web#role) takes them.
    type: dict
    required: true
  domain:
    description: The mail domain.
    type: str
    required: true
  users:
    description: Addresses of users, the first of which becomes the example.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Write a sheet for the people of a domain
  ansible.builtin.copy:
    content: "{{ offered | postmaster.mail.client_sheet('example.org') }}"
    dest: example.org.txt
    mode: "0644"
  delegate_to: localhost
  vars:
    offered: {hostname: mail.example.org, services: [imaps, submissions]}
"""

RETURN = r"""
_value:
  description: The text.
  type: str
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError


def client_sheet(given: Mapping[str, Any], domain: str, users: Iterable[str] = ()) -> str:
    """The text; see DOCUMENTATION."""

    from ansible_collections.postmaster.mail.plugins.module_utils import _client_settings as client

    try:
        return client.sheet(client.Settings.of(given), client.check_domain(domain), users)
    except client.SettingsError as err:
        raise AnsibleFilterError(f"client_sheet: {err}") from None


class FilterModule:
    """Names the filter for Ansible."""

    def filters(self) -> dict[str, Any]:
        return {"client_sheet": client_sheet}
