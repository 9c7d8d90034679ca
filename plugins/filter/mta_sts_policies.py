# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: the MTA-STS policies of mail domains."""

from __future__ import annotations

DOCUMENTATION = r"""
name: mta_sts_policies
short_description: The MTA-STS policies of mail domains
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - The same as the value C(policies) of M(postmaster.mail.mail_records), so that a web server has the policy whose
    number is published, and has it before.
positional: _input, names
options:
  _input:
    description: The list C(mail_domains).
    type: list
    elements: dict
    required: true
  names:
    description: The domains whose policies are wanted. All if left out.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Show the policies to serve
  ansible.builtin.debug:
    msg: "{{ mail_domains | postmaster.mail.mta_sts_policies }}"
"""

RETURN = r"""
_value:
  description: Dictionaries with C(domain), C(url) and C(content).
  type: list
  elements: dict
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from ansible.errors import AnsibleFilterError


def mta_sts_policies(
    domains: Iterable[Mapping[str, Any]], names: Collection[str] | None = None
) -> list[dict[str, str]]:
    """The policies; see DOCUMENTATION."""

    from ansible_collections.postmaster.mail.plugins.module_utils._records import policies_of
    from ansible_collections.postmaster.mail.plugins.module_utils._records_domain import RecordsError

    try:
        return [asdict(policy) for policy in policies_of(domains) if names is None or policy.domain in names]
    except RecordsError as err:
        raise AnsibleFilterError(f"mta_sts_policies: {err}") from None


class FilterModule:
    """Names the filter for Ansible."""

    def filters(self) -> dict[str, Any]:
        return {"mta_sts_policies": mta_sts_policies}
