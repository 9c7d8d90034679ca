# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: what is wrong with the signatures of test messages."""

from __future__ import annotations

DOCUMENTATION = r"""
name: signature_problems
short_description: What is wrong with the signatures of test messages
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Takes the messages that M(postmaster.mail.dkim_signature_info) returns and the keys that ought to have signed them,
    and verifies each signature with dkimpy and by what the text of the key's record allows.
  - Needs dkimpy on the controller, and PyNaCl for Ed25519, without which such a signature counts as a problem.
positional: _input, keys
options:
  _input:
    description: The list RV(postmaster.mail.dkim_signature_info#module:signed).
    type: list
    elements: dict
    required: true
  keys:
    description: Dictionaries with C(domain), C(selector) and C(record), the text of the record in DNS.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: The signatures are good
  ansible.builtin.assert:
    that: signatures.signed | postmaster.mail.signature_problems(keys) | length == 0
"""

RETURN = r"""
_value:
  description: A sentence for each key that did not sign the message of its domain, or whose signature is bad.
  type: list
  elements: str
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError


def _verdict(text: str, domain: str, selector: str, record: str) -> str:
    """What is wrong with the signature of one key; empty if nothing is."""

    from ansible_collections.postmaster.mail.plugins.module_utils._check_mail import Mail
    from ansible_collections.postmaster.mail.plugins.module_utils._signatures import NoLibrary, key_name, verify

    place = f"{selector}._domainkey.{domain}.".lower()
    try:
        found = verify(Mail(text.encode()), lambda name: [record] if name.lower() == place else [])
    except NoLibrary:
        raise AnsibleFilterError(
            "signature_problems needs the Python library dkimpy on the controller: install it beside Ansible, "
            "for example by pip install dkimpy pynacl"
        ) from None
    reason = f"no signature was made with {selector}"
    for one in found:
        if key_name(one.tags).lower() == place:
            if one.valid:
                return ""
            fault = "cannot be verified" if one.valid is None else "is bad"
            reason = f"the signature with {selector} {fault}: {one.reason}"
    return reason


def signature_problems(signed: Iterable[Mapping[str, Any]], keys: Iterable[Mapping[str, Any]]) -> list[str]:
    """A sentence for each key that did not sign well; see DOCUMENTATION."""
    try:
        messages = {message["domain"].lower(): message for message in signed}
        problems = []
        for key in keys:
            message = messages.get(key["domain"].lower())
            if message is None:
                problems.append(f"{key['domain']}: there is no message")
            elif message["problem"]:
                problems.append(f"{key['domain']}: {message['problem']}")
            else:
                why = _verdict(message["text"], key["domain"], key["selector"], key["record"])
                problems += [f"{key['domain']}: {why}"] if why else []
    except (KeyError, TypeError, AttributeError) as err:
        raise AnsibleFilterError(f"signature_problems takes messages and keys as dictionaries: {err}") from None
    return list(dict.fromkeys(problems))


class FilterModule:
    """The filters of this file, by name."""

    def filters(self) -> dict[str, Any]:
        return {"signature_problems": signature_problems}
