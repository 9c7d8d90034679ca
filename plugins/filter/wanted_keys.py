# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: the DKIM keys that a list of mail domains asks for."""

from __future__ import annotations

DOCUMENTATION = r"""
name: wanted_keys
short_description: The DKIM keys that a list of mail domains asks for
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Turns C(mail_domains) into the option O(postmaster.mail.dkim_key#module:keys).
  - A domain asks for one key for each entry of C(dkim.algorithms), by default one RSA key; an empty list asks for none.
    C(dkim.bits) and C(dkim.selectors) are passed on.
positional: _input, adopted
options:
  _input:
    description: The list C(mail_domains).
    type: list
    elements: dict
    required: true
  adopted:
    description:
      - Keys that a host has from before, dictionaries with C(domain), C(selector), C(algorithm) and C(path). Each
        stands for the key that its domain asks for.
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Make the keys that are missing
  postmaster.mail.dkim_key:
    keys: "{{ mail_domains | postmaster.mail.wanted_keys }}"
"""

RETURN = r"""
_value:
  description: Dictionaries with C(domain), C(algorithm) and, where they are given, C(bits) and C(selectors).
  type: list
  elements: dict
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError


def _keys(domain: Mapping[str, Any]) -> list[dict[str, Any]]:
    dkim = domain.get("dkim", {})
    if not isinstance(dkim, Mapping):
        raise AnsibleFilterError(f"dkim of {domain['name']} must be a mapping as {{algorithms: [rsa]}}, not {dkim!r}")
    bits = {"bits": dkim["bits"]} if "bits" in dkim else {}
    names = {"selectors": dkim["selectors"]} if dkim.get("selectors") else {}
    return [
        {"domain": domain["name"], "algorithm": algorithm, **(bits if algorithm == "rsa" else {}), **names}
        for algorithm in dkim.get("algorithms", ["rsa"])
    ]


def _adopted_keys(adopted: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    try:
        return [{name: key[name] for name in ("domain", "selector", "algorithm", "path")} for key in adopted]
    except (KeyError, TypeError):
        message = "an adopted key (mail_dkim_adopted) is a mapping with a domain, a selector, an algorithm and a path"
        raise AnsibleFilterError(message) from None


def wanted_keys(
    domains: Iterable[Mapping[str, Any]], adopted: Iterable[Mapping[str, Any]] = ()
) -> list[dict[str, Any]]:
    """One item a domain and algorithm; see DOCUMENTATION."""
    there = _adopted_keys(adopted)
    covered = {(key["domain"], key["algorithm"]) for key in there}
    try:
        wanted = [key for domain in domains for key in _keys(domain)]
        return there + [key for key in wanted if (key["domain"], key["algorithm"]) not in covered]
    except (KeyError, TypeError, AttributeError):
        raise AnsibleFilterError("wanted_keys takes a list of domains, each a mapping with a name") from None


class FilterModule:
    """The filters of this file, by name."""

    def filters(self) -> dict[str, Any]:
        return {"wanted_keys": wanted_keys}
