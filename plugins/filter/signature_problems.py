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
    and verifies each signature with dkimpy, with the text of the key's record.
  - Needs dkimpy on the controller, and PyNaCl for Ed25519.
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
    try:
        import dkim
    except ImportError:
        raise AnsibleFilterError(
            "signature_problems needs the Python library dkimpy on the controller: install it beside Ansible, "
            "for example by pip install dkimpy pynacl"
        ) from None
    message = text.encode()
    place = f"{selector}._domainkey.{domain}".lower()
    asked: list[str] = []

    def answer(name: bytes, timeout: int = 5) -> bytes:
        asked.append(name.decode().rstrip(".").lower())
        return record.encode() if asked[-1] == place else b""

    signer = dkim.DKIM(message)
    count = sum(name.lower() == b"dkim-signature" for name, dummy in signer.headers)
    reason = f"no signature was made with {selector}"
    for index in range(count):
        asked.clear()
        try:
            good = dkim.DKIM(message).verify(index, dnsfunc=answer)
        except (dkim.DKIMException, ImportError) as err:
            if place in asked:
                reason = f"the signature with {selector} cannot be verified: {err}"
            continue
        if good and place in asked:
            return ""
        if place in asked:
            reason = f"the signature with {selector} is bad"
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
