# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: what to say of signing keys that DNS does not hold."""

from __future__ import annotations

DOCUMENTATION = r"""
name: unpublished_keys
short_description: What to say of signing keys that DNS does not hold
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Takes what M(postmaster.mail.dns_records_info) saw of the records of a host's signing keys and gives a sentence for
    each key that not every authoritative server holds, with the record and the remedy.
positional: _input, host, updates
options:
  _input:
    description: The list RV(postmaster.mail.dns_records_info#module:records).
    type: list
    elements: dict
    required: true
  host:
    description: The host that is to sign, as the inventory calls it.
    type: str
    required: true
  updates:
    description: Whether the playbook for records can publish them itself.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Stop before a key signs that DNS does not hold
  ansible.builtin.assert:
    that: sentences | length == 0
    fail_msg: "{{ sentences | join('\n') }}"
  vars:
    sentences: "{{ seen.records | postmaster.mail.unpublished_keys(inventory_hostname) }}"
"""

RETURN = r"""
_value:
  description: Sentences, none if all keys are published.
  type: list
  elements: str
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

OVERRIDE = "-e mail_unpublished_keys=accept goes on all the same"


def _sentence(seen: Mapping[str, Any], host: str, updates: bool) -> str:
    selector, dummy, domain = seen["name"].rstrip(".").partition("._domainkey.")
    intent = f"{host} would sign for {domain} with the key {selector}"
    if seen["verdict"] == "unknown":
        return (
            f"{intent}, but whether DNS holds it is not known: {seen['seen']}. Mend that and run again, or name in "
            f"mail_dns_wait.servers what this machine can reach ({OVERRIDE})."
        )
    if updates:
        remedy = f"run again with --limit {host},localhost, which publishes it, or publish it by hand and run again"
    else:
        remedy = "publish it and run again when every name server has it"
    lines = "; ".join(seen["lines"])
    return f"{intent}, but {seen['seen']}: {remedy} ({OVERRIDE}). The record is: {lines}"


def unpublished_keys(seen: Iterable[Mapping[str, Any]], host: str, updates: bool = False) -> list[str]:
    """Sentences; see DOCUMENTATION."""
    try:
        return [_sentence(one, host, updates) for one in seen if one["verdict"] != "ok"]
    except (KeyError, TypeError, AttributeError):
        raise AnsibleFilterError("unpublished_keys takes the records that dns_records_info returns") from None


class FilterModule:
    """The filters of this file, by name."""

    def filters(self) -> dict[str, Any]:
        return {"unpublished_keys": unpublished_keys}
