# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: the hosts that sign, as the rotation takes them."""

from __future__ import annotations

DOCUMENTATION = r"""
name: rotation_signers
short_description: The hosts that sign, as the rotation takes them
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Takes the names of hosts and gives the option O(postmaster.mail.dkim_rotation_info#module:signers), from the
    variables C(signer_facts), C(signer_signed), C(mail_dkim_share) and C(rotate_dkim_keys) of each.
  - A host without C(rotate_dkim_keys) is one that could not be reached, and one that is not in O(play) is left out.
positional: _input, hostvars
options:
  _input:
    description: Names of hosts.
    type: list
    elements: str
    required: true
  hostvars:
    description: The variables of all hosts.
    type: dict
    required: true
  reached:
    description: Names of the hosts that are still there.
    type: list
    elements: str
    required: true
  play:
    description: Names of the hosts that the play is for, all of them if left out.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Find the next step of every key
  postmaster.mail.dkim_rotation_info:
    signers: >-
      {{ groups.relays
         | postmaster.mail.rotation_signers(hostvars, reached=ansible_play_hosts, play=ansible_play_hosts_all) }}
    domains: "{{ mail_domains }}"
"""

RETURN = r"""
_value:
  description: Dictionaries with C(name), C(reached) and what is known of the host.
  type: list
  elements: dict
"""

from collections.abc import Iterable, Mapping
from typing import Any

FACTS = ("algorithms", "program", "queue_lifetimes", "last_attempt", "one_key")


def rotation_signers(
    hosts: Iterable[str],
    hostvars: Mapping[str, Mapping[str, Any]],
    reached: Iterable[str],
    play: Iterable[str] | None = None,
) -> list[dict[str, Any]]:
    """One entry a host; see DOCUMENTATION."""
    hosts, there = list(hosts), set(reached)
    asked = set(hosts if play is None else play)
    return [
        _signer(name, hostvars[name], name in there) if name in asked else _left_out(name, hostvars[name])
        for name in hosts
    ]


def _left_out(name: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    return {**_signer(name, variables, False), "left_out": True}


def _signer(name: str, variables: Mapping[str, Any], reached: bool) -> dict[str, Any]:
    share = variables.get("mail_dkim_share")
    common = {"name": name, **({"share": share} if share else {})}
    found, facts = variables.get("rotate_dkim_keys"), variables.get("signer_facts")
    if not reached or not isinstance(found, Mapping) or "keys" not in found or not isinstance(facts, Mapping):
        return {**common, "reached": False}
    signed = variables.get("signer_signed")
    known = {**common, **{fact: facts[fact] for fact in FACTS if fact in facts}}
    clock = {"time": found["time"]} if "time" in found else {}
    return {**known, **clock, "keys": found["keys"], **({"signed": list(signed)} if signed is not None else {})}


class FilterModule:
    """The filters of this file, by name."""

    def filters(self) -> dict[str, Any]:
        return {"rotation_signers": rotation_signers}
