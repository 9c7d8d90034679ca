#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: dkim_signature_info
short_description: Have a signer sign a test message, and see with which keys it does
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Hands a short message of each domain to a milter that signs, as the MTA of the same host does, and returns what
    would have been sent. Nothing is sent anywhere.
  - The filter P(postmaster.mail.signature_problems#filter) says whether the signatures are good.
extends_documentation_fragment:
  - postmaster.mail.action_group.mail
attributes:
  check_mode:
    description: Can run in check mode; it never changes anything.
    support: full
  diff_mode:
    description: There is nothing to compare, since nothing is changed.
    support: none
  idempotent:
    description: It changes nothing.
    support: full
options:
  address:
    description: Where the milter listens.
    type: str
    default: 127.0.0.1
  port:
    description: Its port.
    type: int
    required: true
  keys:
    description: The keys that it is to sign with. Each domain has a message.
    type: list
    elements: dict
    required: true
    suboptions:
      domain:
        description: The signing domain.
        type: str
        required: true
      selector:
        description: The selector.
        type: str
        required: true
      algorithm:
        description: Not used, so that the keys of a role can be given as they are.
        type: str
      path:
        description: Not used either.
        type: str
  wait:
    description: For how many seconds to try again while it signs with other keys, as after a reload.
    type: float
    default: 20
  timeout:
    description: Seconds to wait for an answer of the milter.
    type: float
    default: 10
seealso:
  - module: postmaster.mail.dkim_key
"""

EXAMPLES = r"""
- name: See what rspamd signs with
  postmaster.mail.dkim_signature_info:
    port: 11332
    keys:
      - {domain: corp.example, selector: rsa-202611-k3f9}
  register: signatures
"""

RETURN = r"""
signed:
  description: One entry for each domain.
  returned: success
  type: list
  elements: dict
  contains:
    domain:
      description: The domain in the message's From header.
      type: str
    selectors:
      description: The selectors of its signatures, sorted.
      type: list
      elements: str
    text:
      description: The message as it would be sent, empty if the milter would not have it.
      type: str
    problem:
      description: What the milter said instead, or an empty string.
      type: str
"""

import re
import time
from email.utils import formatdate
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.postmaster.mail.plugins.module_utils._milter_client import Milter, MilterError

PAUSE = 0.5  # seconds between two tries
KEY_SPEC: dict[str, Any] = {
    "domain": {"type": "str", "required": True},
    "selector": {"type": "str", "required": True},
    "algorithm": {"type": "str"},
    "path": {"type": "str"},
}
ARGUMENT_SPEC: dict[str, Any] = {
    "address": {"type": "str", "default": "127.0.0.1"},
    "port": {"type": "int", "required": True},
    "keys": {"type": "list", "elements": "dict", "required": True, "options": KEY_SPEC, "no_log": False},
    "wait": {"type": "float", "default": 20},
    "timeout": {"type": "float", "default": 10},
}
BODY = "This message tests which keys a signer uses. It was never sent.\r\n"


def sign(domain: str, params: dict[str, Any]) -> dict[str, Any]:
    """What the milter makes of a message of ``domain``."""
    sender = f"postmaster@{domain}"
    headers = [
        ("From", sender),
        ("To", sender),
        ("Date", formatdate()),
        ("Message-ID", f"<probe.{time.time_ns()}@{domain}>"),
        ("Subject", "Which keys sign?"),
    ]
    try:
        milter = Milter(params["address"], params["port"], timeout=params["timeout"])
        added = milter.pass_through(sender, sender, headers, BODY)
    except MilterError as err:
        return {"domain": domain, "selectors": [], "text": "", "problem": str(err)}
    whole = [(name, re.sub(r"\r?\n", "\r\n", value.strip())) for name, value in [*added, *headers]]
    signatures = [value for name, value in added if name.lower() == "dkim-signature"]
    found = [match[1] for value in signatures if (match := re.search(r"(?:^|;)\s*s\s*=\s*([^;\s]+)", value))]
    text = "".join(f"{name}: {value}\r\n" for name, value in whole) + "\r\n" + BODY
    return {"domain": domain, "selectors": sorted(found), "text": text, "problem": ""}


def run(params: dict[str, Any]) -> list[dict[str, Any]]:
    """A message for each domain, tried again until all are signed with the keys named or the time is over."""
    wanted: dict[str, set[str]] = {}
    for key in params["keys"]:
        wanted.setdefault(key["domain"].lower(), set()).add(key["selector"].lower())
    end = time.monotonic() + params["wait"]
    signed: dict[str, dict[str, Any]] = {}
    while True:
        for domain, selectors in wanted.items():
            if domain not in signed or set(signed[domain]["selectors"]) != selectors:
                signed[domain] = sign(domain, params)
        if all(set(signed[domain]["selectors"]) == selectors for domain, selectors in wanted.items()):
            break
        if time.monotonic() >= end:
            break
        time.sleep(PAUSE)
    return list(signed.values())


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    module.exit_json(changed=False, signed=run(module.params))


if __name__ == "__main__":
    main()
