# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: of the keys that a host holds, those that sign."""

from __future__ import annotations

DOCUMENTATION = r"""
name: signing_keys
short_description: Of the keys that a host holds, those that sign
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Takes the keys that M(postmaster.mail.dkim_key) returns and gives those that are active, in the shape that roles
    with a signer take.
positional: _input
options:
  _input:
    description: The list RV(postmaster.mail.dkim_key#module:keys).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Sign with the active keys
  ansible.builtin.import_role:
    name: postmaster.mail.relay
  vars:
    relay_dkim_keys: "{{ dkim['keys'] | postmaster.mail.signing_keys }}"
"""

RETURN = r"""
_value:
  description:
    - Dictionaries with C(domain), C(selector), C(algorithm) and C(path), sorted.
    - Of a key that check mode would have made they also have C(planned), which is true.
  type: list
  elements: dict
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

FIELDS = ("domain", "selector", "algorithm", "path")


def signing_keys(keys: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The active keys, each with FIELDS and perhaps a note that it is not made yet; see DOCUMENTATION."""
    try:
        active = [
            {field: key[field] for field in FIELDS} | ({"planned": True} if key.get("record", "") is None else {})
            for key in keys
            if key["state"] == "active"
        ]
    except (KeyError, TypeError) as err:
        raise AnsibleFilterError(f"signing_keys takes the keys that dkim_key returns: {err} is missing") from None
    return sorted(active, key=lambda key: (key["domain"], key["selector"]))


class FilterModule:
    """The filters of this file, by name."""

    def filters(self) -> dict[str, Any]:
        return {"signing_keys": signing_keys}
