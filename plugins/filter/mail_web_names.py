# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: the names of the web server of mail domains."""

from __future__ import annotations

DOCUMENTATION = r"""
name: mail_web_names
short_description: The names that the web server of mail domains answers for
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - C(autoconfig) and C(autodiscover) below each domain, and C(mta-sts) below each that has a policy.
  - They have to be in the certificate, and lead to the host in DNS.
positional: _input, policies
options:
  _input:
    description: Mail domains.
    type: list
    elements: str
    required: true
  policies:
    description: The policies of MTA-STS, as P(postmaster.mail.mta_sts_policies#filter) returns them.
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Show which names a certificate has to hold
  ansible.builtin.debug:
    msg: "{{ ['example.org'] | postmaster.mail.mail_web_names(mail_domains | postmaster.mail.mta_sts_policies) }}"
"""

RETURN = r"""
_value:
  description: Host names.
  type: list
  elements: str
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError


def mail_web_names(domains: Iterable[str], policies: Iterable[Mapping[str, Any]] = ()) -> list[str]:
    """The names; see DOCUMENTATION."""

    from ansible_collections.postmaster.mail.plugins.module_utils._client_settings import SettingsError
    from ansible_collections.postmaster.mail.plugins.module_utils._mail_web import names

    try:
        return names(domains, policies)
    except SettingsError as err:
        raise AnsibleFilterError(f"mail_web_names: {err}") from None


class FilterModule:
    """Names the filter for Ansible."""

    def filters(self) -> dict[str, Any]:
        return {"mail_web_names": mail_web_names}
