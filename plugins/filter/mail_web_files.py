# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: the web answers of mail domains, and nginx's configuration for them."""

from __future__ import annotations

DOCUMENTATION = r"""
name: mail_web_files
short_description: Write the web answers of mail domains, and nginx's configuration for them
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Judges the values and writes what mail clients and other mail servers fetch by HTTPS - policies of MTA-STS,
    autoconfig for Thunderbird, autodiscover for Outlook.
  - The role P(postmaster.mail.mail_web#role) hands its own variables over; C(ansible-doc) of the role explains them.
positional: _input
options:
  _input:
    description:
      - C(hostname), C(services), C(domains), C(policies), C(listen), C(inner_port), C(tls_certificate), C(tls_key) and
        C(directory).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: See how nginx would be configured
  ansible.builtin.debug:
    msg: "{{ (settings | postmaster.mail.mail_web_files).files['/etc/nginx/conf.d/mail_web.conf'] }}"
"""

RETURN = r"""
_value:
  description:
    - C(problems), a list of sentences, and C(files), the texts by path; none where there are problems.
    - C(others), patterns of files that may be there from domains that are no more.
  type: dict
"""

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError


def mail_web_files(given: Mapping[str, Any]) -> dict[str, Any]:
    """Problems and files; see DOCUMENTATION."""

    from ansible_collections.postmaster.mail.plugins.module_utils import _mail_web

    try:
        return _mail_web.render(given)
    except KeyError as err:
        raise AnsibleFilterError(f"mail_web_files needs {err}") from None


class FilterModule:
    """Names the filter for Ansible."""

    def filters(self) -> dict[str, Any]:
        return {"mail_web_files": mail_web_files}
