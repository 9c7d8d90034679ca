# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: how the mailer's Postfix sends by several addresses."""

from __future__ import annotations

DOCUMENTATION = r"""
name: mailer_delivery
short_description: How the mailer's Postfix sends by several addresses, and slowly to some destinations
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Turns the variables C(mailer_pools) and C(mailer_slow_destinations) of the role P(postmaster.mail.mailer#role) into
    parameters and services of Postfix for M(postmaster.mail.postconf), and into the mailer's own words.
positional: _input, slow, hostname, known
options:
  _input:
    description: The variable C(mailer_pools).
    type: list
    elements: dict
    required: true
  slow:
    description: The variable C(mailer_slow_destinations).
    type: list
    elements: str
    required: true
  hostname:
    description: The name that mail without a pool leaves with.
    type: str
    required: true
  known:
    description: What Postfix has as C(smtpd_restriction_classes) now. Those that no pool needs any more are removed.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: See what Postfix gets
  ansible.builtin.debug:
    msg: "{{ mailer_pools | postmaster.mail.mailer_delivery(['orange.fr'], 'mailer1.example.org') }}"
"""

RETURN = r"""
_value:
  description: The plan. If there are problems there is nothing else.
  type: dict
  contains:
    problems:
      description: Sentences, each naming a variable that cannot be as it is.
      type: list
      elements: str
    main:
      description: Parameters of C(main.cf).
      type: dict
    master:
      description: Services of C(master.cf).
      type: list
      elements: dict
    pools:
      description: The pools in the mailer's own words.
      type: dict
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError


def mailer_delivery(
    pools: Sequence[Mapping[str, Any]], slow: Sequence[str], hostname: str, known: Iterable[str] = ()
) -> dict[str, Any]:
    """The plan; see DOCUMENTATION."""

    from ansible_collections.postmaster.mail.plugins.module_utils import _mailer_delivery

    try:
        return _mailer_delivery.plan(pools, slow, hostname=hostname, known=known)
    except (TypeError, KeyError) as err:
        raise AnsibleFilterError(f"mailer_delivery: mailer_pools is no list of pools: {err}") from None


class FilterModule:
    """The filters of this file, by name."""

    def filters(self) -> dict[str, Any]:
        return {"mailer_delivery": mailer_delivery}
