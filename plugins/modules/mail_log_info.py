#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: mail_log_info
short_description: Say why mail did not arrive, by the logs of Postfix, Exim and OpenSMTPD
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Reads what a mail server has logged, in files (those put aside and packed too) and in the journal, and
    groups what failed by its cause. Attempts that were put off or refused, what the server itself refused, and errors
    of its programs.
  - Says of each cause what it means and what mends it, how often and when it was met, for which domains, and shows
    lines, and ids in the queue. The refusals of Google, Microsoft, Yahoo, GMX, Apple, T-Online, Spamhaus, Barracuda,
    Proofpoint, Mimecast and others are known; O(causes) adds your own.
  - Follows a message that was put off until the log tells what became of it.
  - What is refused in unknown words is grouped by these words, without numbers, addresses and ids.
  - Files packed with gzip, xz and bzip2 are read as they are, those packed with zstd where the host has the program
    C(zstd).
  - Takes a gigabyte of log in little memory. Changes nothing. Passwords in logs are never returned.
extends_documentation_fragment:
  - postmaster.mail.action_group.mail
  - postmaster.mail.read_only
options:
  paths:
    description:
      - Files of the host to read, or shell patterns such as V(/var/log/mail.log*).
      - If left out, C(mail.log), C(maillog) and C(exim4/mainlog) below C(/var/log), with those put aside.
    type: list
    elements: str
    default: []
  journal:
    description:
      - Whether to read the journal, instead of files where O(paths) names none.
      - If left out it is read where syslog writes no files of mail, and O(paths) names none.
    type: bool
  text:
    description:
      - Lines of a log, or what a bounce says, to explain instead of what the host has logged.
      - A line that does not begin like one of a log belongs to the one before.
    type: str
  days:
    description: Days of log that count, 0 for all. V(7) if left out, and all where O(paths) or O(text) is given.
    type: float
  recipients:
    description: Count what concerns these addresses and domains alone.
    type: list
    elements: str
    default: []
  outcomes:
    description:
      - What counts. V(deferred) and V(bounced) are attempts that were put off and that failed for good, V(refused) is
        what the host's own server did not take, V(error) what its programs complain of.
    type: list
    elements: str
    choices: [deferred, bounced, refused, error]
    default: [deferred, bounced, refused, error]
  causes:
    description: Causes of your own, looked at in their order and before those that are known.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: What to call it, in small letters, digits and C(_). The name of a known cause takes its place.
        type: str
        required: true
      pattern:
        description: A regular expression, found anywhere and in either case in a reply on one line.
        type: str
        required: true
      title:
        description: What it means.
        type: str
        required: true
      mend:
        description: What mends it.
        type: str
        required: true
      kind:
        description: What it is about, see RV(groups).
        type: str
        choices: [identity, reputation, content, recipient, limits, access, transport, host]
        default: recipient
  examples:
    description: How many lines of each group to return, the first and the last ones.
    type: int
    default: 3
  limit:
    description: How many groups and destinations to return, the most frequent ones.
    type: int
    default: 30
seealso:
  - module: postmaster.mail.mail_diagnose
  - module: postmaster.mail.mail_check
  - module: postmaster.mail.mail_score
"""

EXAMPLES = r"""
- name: See what went wrong in a week
  postmaster.mail.mail_log_info:
  register: explained

- name: Show it
  postmaster.mail.show_text:
    lines: "{{ explained.table }}"

- name: See why nothing arrives at one domain
  postmaster.mail.mail_log_info:
    paths: [/var/log/mail.log*]
    recipients: [gmx.example]

- name: Have a bounce explained
  postmaster.mail.mail_log_info:
    text: "550 5.7.1 Service unavailable; Client host [192.0.2.25] blocked using zen.spamhaus.org"
  delegate_to: localhost

- name: Know the words of a partner's gateway
  postmaster.mail.mail_log_info:
    causes:
      - name: partner_maintenance
        pattern: "XGW-77"
        title: the partner's gateway is being worked on
        mend: nothing, it is over by Monday
"""

RETURN = r"""
groups:
  description: Failures of one cause each, the most frequent first.
  returned: success
  type: list
  elements: dict
  contains:
    cause:
      description: The name of the cause, V(unknown) where nobody knows it.
      type: str
    kind:
      description:
        - What it is about. V(identity) is who you are for the receiver, V(reputation) what it thinks of your address,
          V(content) the message, V(recipient) the recipient or its server, V(limits) how much it takes, V(access) a
          server that you send through, V(transport) the way there, V(host) the host itself.
      type: str
    by:
      description: The provider whose words these are, or an empty string.
      type: str
    title:
      description: What it means.
      type: str
    mend:
      description: What mends it.
      type: str
    page:
      description: The provider's page where it can be taken up, or an empty string.
      type: str
    reply:
      description: What was said, the first time.
      type: str
    count:
      description: How many lines.
      type: int
    messages:
      description: How many messages, each recipient being one.
      type: int
    delivered:
      description: How many of them were delivered later.
      type: int
    given_up:
      description: How many of them were given up after waiting too long.
      type: int
    waiting:
      description: How many of them the log leaves waiting.
      type: int
    outcomes:
      description: How many of each of O(outcomes).
      type: dict
    codes:
      description: The codes of the replies, and how many of each.
      type: dict
    first:
      description: When it was met first, or an empty string where no line says when.
      type: str
    last:
      description: When it was met last.
      type: str
    domains:
      description: Domains of the recipients, up to ten, and how many of each.
      type: dict
    relays:
      description: Servers that said so, up to five; for what was refused here, the clients.
      type: list
      elements: str
    queue_ids:
      description: Ids of messages in the queue, up to five.
      type: list
      elements: str
    lines:
      description: Lines of the log.
      type: list
      elements: str
  sample:
    - cause: no_ptr
      kind: identity
      by: ""
      title: the sending address has no name in reverse DNS, or one that does not lead back to it
      mend: "have the provider of the address set its PTR to the server's full name, whose A or AAAA record leads back"
      page: ""
      reply: "host mx.gmx.example[192.0.2.1] refused to talk to me: 554-gmx.example Bad DNS PTR resource record."
      count: 12
      messages: 2
      delivered: 1
      given_up: 0
      waiting: 1
      outcomes: {deferred: 12}
      codes: {"554": 12}
      first: "2026-11-20T10:00:00+01:00"
      last: "2026-11-20T12:30:00+01:00"
      domains: {gmx.example: 12}
      relays: ["mx.gmx.example[192.0.2.1]:25"]
      queue_ids: [4bXkQz1nTzz2x]
      lines: ["2026-11-20 09:00:00 postfix/smtp: 4bXkQz1nTzz2x: to=<sam@gmx.example>, ... status=deferred (...)"]
destinations:
  description: Failures by the recipients' domain, the most frequent first.
  returned: success
  type: list
  elements: dict
  sample: [{domain: gmx.example, count: 12, causes: {no_ptr: 12}}]
days:
  description: Failures by day, in the host's time.
  returned: success
  type: list
  elements: dict
  sample: [{day: "2026-11-20", count: 12, causes: {no_ptr: 12}}]
lines:
  description: How many lines were read.
  returned: success
  type: int
  sample: 12000
failures:
  description: How many of them tell of a failure that counts.
  returned: success
  type: int
  sample: 12
older:
  description: How many failures were left out as they are older than O(days).
  returned: success
  type: int
  sample: 0
more_groups:
  description: How many groups are not returned, see O(limit).
  returned: success
  type: int
  sample: 0
sources:
  description: What was read, the oldest first.
  returned: success
  type: list
  elements: str
  sample: [/var/log/mail.log.1, /var/log/mail.log]
unseen:
  description: What could not be read, one sentence each. Root, and members of the group C(adm), see all.
  returned: success
  type: list
  elements: str
  sample: []
table:
  description: All of it as lines for people.
  returned: success
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.postmaster.mail.plugins.module_utils._log_client import LogError, LogHost
from ansible_collections.postmaster.mail.plugins.module_utils._log_run import ExplainError, Request, explain
from ansible_collections.postmaster.mail.plugins.module_utils._mail_causes import KINDS, CauseError

OUTCOMES = ["deferred", "bounced", "refused", "error"]
CAUSE: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "pattern": {"type": "str", "required": True},
    "title": {"type": "str", "required": True},
    "mend": {"type": "str", "required": True},
    "kind": {"type": "str", "choices": list(KINDS), "default": "recipient"},
}
ARGUMENT_SPEC: dict[str, Any] = {
    "paths": {"type": "list", "elements": "str", "default": []},
    "journal": {"type": "bool"},
    "text": {"type": "str"},
    "days": {"type": "float"},
    "recipients": {"type": "list", "elements": "str", "default": []},
    "outcomes": {"type": "list", "elements": "str", "choices": OUTCOMES, "default": OUTCOMES},
    "causes": {"type": "list", "elements": "dict", "default": [], "options": CAUSE},
    "examples": {"type": "int", "default": 3},
    "limit": {"type": "int", "default": 30},
}


def build_request(params: dict[str, Any]) -> Request:
    """The request that the options describe."""
    return Request(
        paths=tuple(params["paths"]),
        journal=params["journal"],
        text=params["text"] or "",
        days=params["days"],
        recipients=tuple(params["recipients"]),
        outcomes=tuple(params["outcomes"]),
        causes=tuple(params["causes"]),
        examples=params["examples"],
        limit=params["limit"],
    )


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    host = LogHost()
    try:
        found = explain(build_request(module.params), host)
    except (ExplainError, CauseError, LogError) as err:
        module.fail_json(msg=str(err))
    module.exit_json(
        changed=False,
        sources=list(found.sources),
        unseen=list(found.unseen),
        table=found.table(host.name()),
        **found.report.as_dict(),
    )


if __name__ == "__main__":
    main()
