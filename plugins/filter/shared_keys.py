# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: the keys that a host lacks and another has."""

from __future__ import annotations

DOCUMENTATION = r"""
name: shared_keys
short_description: The keys that a host lacks and another has
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Of the active keys of one host, those of domains and algorithms for which another host has none.
positional: _input, here, source
options:
  _input:
    description: The list RV(postmaster.mail.dkim_key#module:keys) of the host that has them.
    type: list
    elements: dict
    required: true
  here:
    description: The same of the host that may lack some.
    type: list
    elements: dict
    required: true
  source:
    description: Name of the host that has them.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: What relay2 lacks
  ansible.builtin.set_fact:
    lacking: "{{ on_relay1['keys'] | postmaster.mail.shared_keys(on_relay2['keys'], 'relay1') }}"
"""

RETURN = r"""
_value:
  description: Dictionaries with C(domain), C(selector), C(source), C(path), and C(listed), an item for dkim_key.
  type: list
  elements: dict
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError


def shared_keys(
    there: Iterable[Mapping[str, Any]], here: Iterable[Mapping[str, Any]], source: str
) -> list[dict[str, Any]]:
    """What to bring; see DOCUMENTATION. A key without a record does not exist, check mode foretells it."""
    try:
        held = {(key["domain"], key["algorithm"]) for key in here if key["record"] is not None}
        return [
            {
                "domain": key["domain"],
                "selector": key["selector"],
                "source": source,
                "path": key["path"],
                "listed": {name: key[name] for name in ("domain", "selector", "algorithm")},
            }
            for key in there
            if key["state"] == "active" and key["record"] is not None and (key["domain"], key["algorithm"]) not in held
        ]
    except (KeyError, TypeError) as err:
        raise AnsibleFilterError(f"shared_keys takes the keys that dkim_key returns: {err} is missing") from None


class FilterModule:
    """The filters of this file, by name."""

    def filters(self) -> dict[str, Any]:
        return {"shared_keys": shared_keys}
