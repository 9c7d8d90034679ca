#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: mail_score
short_description: Give a message that was sent up to ten points, and say how to win the rest
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Scores a message as a receiver outside stored it, by SPF, DKIM, DMARC, the sending address's name and HELO, TLS of
    the last hop, blocklists, header, MIME parts, text, size and links, and bulk mail by how to unsubscribe from it.
  - Each point that is lost comes with what was seen and what wins it back. What cannot be judged costs nothing and is
    named.
  - Asks DNS and nothing else. No link is opened and no server is talked to, so nobody learns of it.
requirements:
  - dnspython >= 2.3 on the host that runs the module (Debian package python3-dnspython)
  - dkimpy, to verify signatures (python3-dkim), and PyNaCl where they are by Ed25519 (python3-nacl)
extends_documentation_fragment:
  - postmaster.mail.action_group.mail
  - postmaster.mail.read_only
  - postmaster.mail.imap
options:
  message_file:
    description: The message as a receiver outside stored it, with Received and Return-Path.
    type: path
  maildir:
    description: A maildir of the receiver, in which the message with O(token) is looked for.
    type: path
  token:
    description:
      - The word that M(postmaster.mail.mail_probe) returned when it sent the message. Needed with O(maildir) and
        O(imap).
    type: str
  sender:
    description: The address that the message was sent from. Needed with O(maildir) and O(imap).
    type: str
  bulk:
    description: Whether it is bulk mail, which must offer to unsubscribe.
    type: bool
    default: false
  minimum:
    description: The module fails where the message has fewer points, those counted as won that could not be judged.
    type: float
    default: 0
  resolver:
    description: Resolvers to ask, as C(address) or C(address@port). Those of this machine if left out.
    type: list
    elements: str
    default: []
  dnsbl_ip:
    description:
      - Blocklists for the sending address. Each is believed after its self-test only (RFC 5782), and one that refuses
        to answer costs nothing. Mind their terms of use.
    type: list
    elements: str
    default: [zen.spamhaus.org, bl.spamcop.net]
  dnsbl_domain:
    description: Blocklists for the domain.
    type: list
    elements: str
    default: [dbl.spamhaus.org]
  query_timeout:
    description: Seconds to wait for a DNS answer.
    type: float
    default: 4
  timeout:
    description: Seconds for the whole call.
    type: float
    default: 60
seealso:
  - module: postmaster.mail.mail_probe
  - module: postmaster.mail.mail_check
  - module: postmaster.mail.mail_diagnose
"""

EXAMPLES = r"""
- name: Score a message that arrived
  postmaster.mail.mail_score:
    message_file: /home/alex/newsletter.eml
    bulk: true
  register: scored

- name: Show the points
  postmaster.mail.show_text:
    lines: "{{ scored.table }}"

- name: Score the probe that was sent before, in a mailbox outside
  postmaster.mail.mail_score:
    token: "{{ probe.token }}"
    sender: root@example.org
    imap: "{{ mail_probe_imap }}"
    minimum: 9
"""

RETURN = r"""
score:
  description: The points won, of ten.
  returned: when the message was read
  type: float
  sample: 8.5
unknown:
  description: Points that could not be judged; they are not in RV(score).
  returned: when the message was read
  type: float
  sample: 1
rows:
  description: Every row with its points.
  returned: when the message was read
  type: list
  elements: dict
  contains:
    id:
      description:
        - The row, one of V(spf), V(dkim), V(dmarc), V(reverse), V(helo), V(tls), V(blocklists), V(headers), V(mime),
          V(body) and V(unsubscribe).
      type: str
    verdict:
      description: V(ok), V(lost) or V(unknown).
      type: str
    points:
      description: Points won.
      type: float
    of:
      description: Points that can be won.
      type: float
    findings:
      description: What costs points, with C(points), C(seen) and C(remedy); 0 points where it could not be judged.
      type: list
      elements: dict
conclusion:
  description: One sentence.
  returned: when the message was read
  type: str
table:
  description: All of it as lines for people.
  returned: when the message was read
  type: list
  elements: str
domain:
  description: The domain of From.
  returned: when the message was read
  type: str
"""

import asyncio
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.postmaster.mail.plugins.module_utils import _check_client as client
from ansible_collections.postmaster.mail.plugins.module_utils import _check_request as request
from ansible_collections.postmaster.mail.plugins.module_utils import _probe, _probe_client
from ansible_collections.postmaster.mail.plugins.module_utils._check import CheckError
from ansible_collections.postmaster.mail.plugins.module_utils._check_mail import Mail
from ansible_collections.postmaster.mail.plugins.module_utils._imap_client import ImapError
from ansible_collections.postmaster.mail.plugins.module_utils._mail_options import IMAP, mailbox, secrets
from ansible_collections.postmaster.mail.plugins.module_utils._score import Score
from ansible_collections.postmaster.mail.plugins.module_utils._score_run import score

NAMES: dict[str, Any] = {"type": "list", "elements": "str", "default": []}
ARGUMENT_SPEC: dict[str, Any] = {
    "message_file": {"type": "path"},
    "maildir": {"type": "path"},
    "imap": IMAP,
    "token": {"type": "str", "no_log": False},
    "sender": {"type": "str"},
    "bulk": {"type": "bool", "default": False},
    "minimum": {"type": "float", "default": 0},
    "resolver": NAMES,
    "dnsbl_ip": {"type": "list", "elements": "str", "default": ["zen.spamhaus.org", "bl.spamcop.net"]},
    "dnsbl_domain": {"type": "list", "elements": "str", "default": ["dbl.spamhaus.org"]},
    "query_timeout": {"type": "float", "default": 4},
    "timeout": {"type": "float", "default": 60},
}
PLACES = ("message_file", "maildir", "imap")


def find(params: dict[str, Any]) -> Mail | None:
    """The probe that is named; None for a message in a file. Raises :class:`CheckError`."""
    if params["message_file"]:
        return None
    token, sender = params["token"], params["sender"]
    if not _probe.TOKEN.fullmatch(token):
        raise CheckError(f"token {token!r} is not 8 to 64 letters, digits and hyphens")
    if not _probe.is_address(sender):
        raise CheckError(f"sender {sender!r} is no address such as probe@example.org")
    message_id = _probe.message_id(token, sender)
    if params["imap"]:
        look = _probe_client.look_in_mailbox(mailbox(params["imap"]), message_id)
    else:
        look = _probe_client.look_in_maildir(params["maildir"], message_id, since=0)
    content = look()
    if content is None:
        raise CheckError(
            f"there is no message {token} of {sender}: send one with mail_probe, and wait until it arrives"
        )
    return Mail(content, f"the message {token}")


async def run(params: dict[str, Any]) -> Score:
    """The score. Raises :class:`CheckError`."""
    named = request.resolvers(params["resolver"]) or client.system_resolvers()
    options = request.build(params, trust_ad=False)
    mail = find(params) or options.mail
    if mail is None:
        raise CheckError("there is no message: give message_file, or token and sender with maildir or imap")
    async with client.Collector(named, timeout=params["query_timeout"]) as collector:
        return await score(mail, collector, options, timeout=params["timeout"])


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        supports_check_mode=True,
        required_one_of=[PLACES],
        mutually_exclusive=[PLACES],
        required_by={"maildir": ["token", "sender"], "imap": ["token", "sender"]},
    )
    module.no_log_values |= secrets(module.params["imap"])
    if client.DNSPYTHON_IMPORT_ERROR:
        module.fail_json(msg=missing_required_lib("dnspython"), exception=client.DNSPYTHON_IMPORT_ERROR)
    try:
        found = asyncio.run(run(module.params))
    except (CheckError, _probe.ProbeError, ImapError) as err:
        module.fail_json(msg=str(err))
    result = {"changed": False, "table": found.table(), **found.as_dict()}
    if found.points + found.unknown < module.params["minimum"]:
        module.fail_json(msg=f"fewer points than {module.params['minimum']:g}: {found.conclusion}", **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
