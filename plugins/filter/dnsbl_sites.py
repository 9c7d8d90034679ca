# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: lists of addresses as Postfix asks them, those with a key apart."""

from __future__ import annotations

DOCUMENTATION = r"""
name: dnsbl_sites
short_description: Turn DNS lists of addresses into what Postfix asks
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Every list comes with the answers that count, so that one that refuses a question (127.255.255.x) lists nobody.
  - Fails with a sentence for a list that is malformed or has been retired. A key is in no message.
positional: _input
options:
  _input:
    description: Lists, each with C(zone), and C(key) and C(replies) if it has them.
    type: list
    elements: dict
    required: true
  keyed:
    description: Whether those with a key are wanted, or those without.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Show what Postfix asks
  ansible.builtin.debug:
    msg: "{{ [{'zone': 'zen.spamhaus.org', 'replies': '127.0.0.[2..11]'}] | postmaster.mail.dnsbl_sites }}"
"""

RETURN = r"""
_value:
  description:
    - The lists in the order given, each with C(zone), C(domain) (with the key) and C(site), which is C(domain) with the
      answers that count.
  type: list
  elements: dict
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError


def dnsbl_sites(lists: Iterable[Mapping[str, Any]], *, keyed: bool = False) -> list[dict[str, str]]:
    """The lists with a key, or those without; see DOCUMENTATION."""

    from ansible_collections.postmaster.mail.plugins.module_utils import _dnsbl

    try:
        known = [_dnsbl.Dnsbl.of(given) for given in lists]
    except _dnsbl.DnsblError as err:
        raise AnsibleFilterError(str(err)) from None
    return [{"zone": one.zone, "domain": one.domain, "site": one.site} for one in known if bool(one.key) is keyed]


class FilterModule:
    """The filters of this file, by name."""

    def filters(self) -> dict[str, Any]:
        return {"dnsbl_sites": dnsbl_sites}
