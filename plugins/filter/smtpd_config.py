# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: OpenSMTPD's configuration and tables."""

from __future__ import annotations

DOCUMENTATION = r"""
name: smtpd_config
short_description: Write OpenSMTPD's configuration and tables for an organisation's own mail server
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Judges the values and writes C(smtpd.conf) and its tables, which OpenSMTPD 6.8 and 7.6 both read.
  - The role P(postmaster.mail.mail_server#role) hands its own variables over; C(ansible-doc) of the role explains them.
positional: _input
options:
  _input:
    description:
      - C(hostname), C(listen), C(submission), C(smtps), C(certificate), C(key), C(checks), C(dyndns_patterns),
        C(senderscore), C(delivery), C(directory), C(user), C(credentials), C(smarthost), C(rspamd), C(own_from),
        C(own_senders), C(size), C(lifetime), C(root) and C(plan), which is what
        P(postmaster.mail.mail_accounts#filter) returns.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: See what OpenSMTPD would be told
  ansible.builtin.debug:
    msg: "{{ (settings | postmaster.mail.smtpd_config).files['/etc/smtpd.conf'] }}"
"""

RETURN = r"""
_value:
  description: C(problems), a list of sentences, and C(files), the texts by path; none where there are problems.
  type: dict
"""

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError


def smtpd_config(given: Mapping[str, Any]) -> dict[str, Any]:
    """Problems and files; see DOCUMENTATION."""

    from ansible_collections.postmaster.mail.plugins.module_utils import _smtpd

    try:
        return _smtpd.render(given)
    except KeyError as err:
        raise AnsibleFilterError(f"smtpd_config needs {err}") from None


class FilterModule:
    """Names the filter for Ansible."""

    def filters(self) -> dict[str, Any]:
        return {"smtpd_config": smtpd_config}
