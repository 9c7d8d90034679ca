# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: the records that DNS does not hold yet, as a table to paste from."""

from __future__ import annotations

DOCUMENTATION = r"""
name: records_table
short_description: The records that DNS does not hold yet, as a table to paste from
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Takes what M(postmaster.mail.dns_records_info) saw of records and gives lines of text - a table of those that are
    not as wanted, with what is there in their place.
  - TXT records stand there without quotes and in one piece, as the forms of DNS providers take them.
positional: _input
options:
  _input:
    description: The list RV(postmaster.mail.dns_records_info#module:records).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the records to publish by hand
  postmaster.mail.show_text:
    lines: "{{ seen.records | postmaster.mail.records_table }}"
"""

RETURN = r"""
_value:
  description: Lines of text.
  type: list
  elements: str
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

HEADER = ("name", "type", "ttl", "now", "value")


def _rows(seen: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """The wanted records of one name and type."""

    from ansible_collections.postmaster.mail.plugins.module_utils._dns import plain_rdata

    for line, rdata in zip(seen["lines"], seen["wanted"], strict=True):
        yield seen["name"], seen["type"], line.split()[1], seen["verdict"], plain_rdata(seen["type"], rdata)


def _remarks(seen: Mapping[str, Any]) -> Iterator[str]:
    """What else to know of one name and type."""

    from ansible_collections.postmaster.mail.plugins.module_utils._dns import plain_rdata

    replaced = {
        plain_rdata(seen["type"], value)
        for server in seen["servers"]
        if server["state"] == "wrong"
        for value in server["values"]
    } - {plain_rdata(seen["type"], value) for value in seen["wanted"]}
    if replaced:
        yield f"{seen['name']} {seen['type']} is there now with: {' | '.join(sorted(replaced))}"
    if seen["verdict"] in ("propagating", "unknown"):
        yield f"{seen['name']} {seen['type']}: {seen['seen']}"


def records_table(seen: Iterable[Mapping[str, Any]]) -> list[str]:
    """Lines of text; see DOCUMENTATION."""
    try:
        every = list(seen)
        bad = [one for one in every if one["verdict"] != "ok"]
        rows = [HEADER, *(row for one in bad for row in _rows(one))]
        remarks = [line for one in bad for line in _remarks(one)]
    except (KeyError, TypeError, IndexError):
        raise AnsibleFilterError("records_table takes the records that dns_records_info returns") from None
    good = len(every) - len(bad)
    if not bad:
        return [f"DNS holds all {good} record sets."]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER) - 1)]
    table = [
        "  ".join([*(f"{cell:{width}}" for cell, width in zip(row, widths, strict=False)), row[-1]]) for row in rows
    ]
    return [*table, *remarks, *([f"DNS holds {good} more as they should be."] if good else [])]


class FilterModule:
    """The filters of this file, by name."""

    def filters(self) -> dict[str, Any]:
        return {"records_table": records_table}
