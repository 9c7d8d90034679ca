# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: records at DNS that give way to others, as lines to read."""

from __future__ import annotations

DOCUMENTATION = r"""
name: replaced_records
short_description: Records at DNS that give way to others, as lines to read
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Takes the records that M(postmaster.mail.dns_records) would replace and gives lines of text - for each what is there
    now, what comes in its place, and what would be lost by it.
positional: _input
options:
  _input:
    description: The list RV(postmaster.mail.dns_records#module:replaced).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Show what would be replaced
  postmaster.mail.show_text:
    lines: "{{ foreseen.replaced | postmaster.mail.replaced_records }}"
"""

RETURN = r"""
_value:
  description: Lines of text.
  type: list
  elements: str
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError


def _lines(one: Mapping[str, Any]) -> list[str]:
    from ansible_collections.postmaster.mail.plugins.module_utils._dns import plain_rdata

    then = [plain_rdata(one["type"], value) for value in one["after"]] or ["what is left of it"]
    return [
        f"{one['name']} {one['type']}",
        *(f"  now   {plain_rdata(one['type'], value)}" for value in one["before"]),
        *(f"  then  {value}" for value in then),
        *(f"  lost  {value}" for value in one["lost"]),
    ]


def replaced_records(replaced: Iterable[Mapping[str, Any]]) -> list[str]:
    """Lines of text; see DOCUMENTATION."""
    try:
        return [line for one in replaced for line in _lines(one)]
    except (KeyError, TypeError):
        raise AnsibleFilterError("replaced_records takes the list replaced that dns_records returns") from None


class FilterModule:
    """The filters of this file, by name."""

    def filters(self) -> dict[str, Any]:
        return {"replaced_records": replaced_records}
