#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: mail_diagnose
short_description: Say why mail does not leave a host
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Follows the way of a satellite's mail, with Postfix or Exim, step by step. The program and where it hands its mail,
    C(/etc/mailname), where root's mail goes, the gateway's name, its port, a dialogue with it, the queue and the log.
  - Says of each step whether it is V(ok), V(warn), V(fail), V(unknown) where it could not be looked at, or V(skipped)
    where an earlier failure explains it, with what was seen and what mends it, and ends with one sentence.
  - The dialogue goes as far as RCPT with the address of root's mail, and never sends a message. Where the program logs
    in, so does the dialogue, over TLS with a certificate that holds.
  - Run on the gateway with O(client), it tells what became there of that client's last sessions.
  - Changes nothing, and needs nothing on the host but Python. Root sees more; what another user cannot see is
    V(unknown) and named in RV(unseen). Passwords in logs and configuration are never returned.
extends_documentation_fragment:
  - postmaster.mail.action_group.mail
  - postmaster.mail.read_only
options:
  gateway:
    description: Name or address of the host that should take all mail. The one that the program uses if left out.
    type: str
  port:
    description: The gateway's port. The one that the program uses if left out.
    type: int
  mailname:
    description: What C(/etc/mailname) should say. Any full name will do if left out.
    type: str
  root_address:
    description: Where mail to root should go. Any address will do if left out.
    type: str
  sender:
    description: The sender to name to the gateway, V(root@) O(mailname) if left out.
    type: str
  recipient:
    description: The recipient to name to the gateway. Where mail to root goes if left out.
    type: str
  ca_file:
    description: Certificates of authorities to trust instead of those that the program does.
    type: path
  queue_age:
    description: Seconds that a message may wait before that is V(fail) instead of V(warn).
    type: int
    default: 3600
  log_hours:
    description: Hours of the log that are read.
    type: int
    default: 24
  log_limit:
    description: How many of the last failures and deliveries are returned.
    type: int
    default: 5
  queue_id:
    description: A message's id in the queue, whose way through the log is wanted.
    type: str
  log_recipient:
    description: A recipient whose messages' way through the log is wanted.
    type: str
  gateway_log:
    description:
      - Lines of the gateway's log, where this module cannot be run there. Those on this host are looked for.
    type: list
    elements: str
    default: []
  client:
    description:
      - Addresses or names of a client. The module then runs on a gateway, and looks for the client's sessions in the
        log of it. All options but those on the log are of no use then.
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds to wait for a connection, and for each answer.
    type: float
    default: 10
seealso:
  - module: postmaster.mail.mail_score
  - module: postmaster.mail.mail_probe
  - module: postmaster.mail.mail_check
"""

EXAMPLES = r"""
- name: See why no mail comes from here
  postmaster.mail.mail_diagnose:
    gateway: relay1.example.org
    mailname: example.org
    root_address: sysadmin@example.org
  register: diagnosis

- name: See what the gateway says of it
  postmaster.mail.mail_diagnose:
    client: "{{ diagnosis.client + [diagnosis.host] }}"
  delegate_to: relay1.example.org
  register: other_side

- name: Show both
  postmaster.mail.show_text:
    lines: "{{ diagnosis.table + other_side.table }}"

- name: See what became of one message
  postmaster.mail.mail_diagnose:
    queue_id: 4bXkQz1nTzz2x
"""

RETURN = r"""
steps:
  description: Every step in its order.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description:
        - The step, one of V(mta), V(relayhost), V(mailname), V(aliases), V(resolve), V(ping), V(port), V(smtp), V(tls),
          V(recipient), V(queue), V(log) and V(gateway); with O(client) V(mta) and V(gateway) alone.
      type: str
    verdict:
      description: V(ok), V(warn), V(fail), V(unknown) or V(skipped).
      type: str
    seen:
      description: What was seen.
      type: str
    remedy:
      description: What mends it, or what it takes to see it.
      type: str
  sample:
    - id: resolve
      verdict: fail
      seen: "relay1.example.org has no address: name: Name or service not known"
      remedy: "correct the name, its A record, /etc/resolv.conf or a line in /etc/hosts"
verdicts:
  description: The verdict of each step by its id.
  returned: success
  type: dict
  sample: {mta: ok, relayhost: ok, resolve: fail, ping: skipped}
conclusion:
  description: One sentence, with the first step that explains what is wrong.
  returned: success
  type: str
table:
  description: All of it as lines for people.
  returned: success
  type: list
  elements: str
host:
  description: The host's full name.
  returned: success
  type: str
  sample: web1.example.org
mta:
  description: The mail program, V(postfix) or V(exim), or an empty string.
  returned: success
  type: str
gateway:
  description: The gateway that was tried, or an empty string.
  returned: success
  type: str
  sample: relay1.example.org port 25
client:
  description: The host's own addresses in connections with the gateway.
  returned: success
  type: list
  elements: str
  sample: [192.0.2.31, "2001:db8::31"]
queue:
  description:
    - How many messages are in the queue, how many of them wait, the age of the oldest in seconds, and why how many
      wait.
  returned: when the queue can be seen
  type: dict
  sample: {count: 2, waiting: 2, oldest: 5400, reasons: [{reason: Connection refused, count: 2}]}
failures:
  description: The last attempts that failed, the newest first.
  returned: success
  type: list
  elements: dict
  sample:
    - {time: "2026-11-20T12:00:01+00:00", id: 4bXkQz1nTzz2x, outcome: deferred, recipient: ops@example.org, relay: "",
       reply: Connection refused}
deliveries:
  description: The last deliveries, in the same shape.
  returned: success
  type: list
  elements: dict
lines:
  description: The log's lines on the messages that were asked for.
  returned: with O(queue_id) or O(log_recipient)
  type: list
  elements: str
sessions:
  description: The gateway's log lines on the client.
  returned: with O(client) or O(gateway_log)
  type: list
  elements: str
unseen:
  description: What could not be read of the log, one sentence each.
  returned: success
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.postmaster.mail.plugins.module_utils._diagnose import DiagnoseError, Request
from ansible_collections.postmaster.mail.plugins.module_utils._diagnose_client import SatelliteHost
from ansible_collections.postmaster.mail.plugins.module_utils._diagnose_run import examine

NAMES: dict[str, Any] = {"type": "list", "elements": "str", "default": []}
ARGUMENT_SPEC: dict[str, Any] = {
    "gateway": {"type": "str"},
    "port": {"type": "int"},
    "mailname": {"type": "str"},
    "root_address": {"type": "str"},
    "sender": {"type": "str"},
    "recipient": {"type": "str"},
    "ca_file": {"type": "path"},
    "queue_age": {"type": "int", "default": 3600},
    "log_hours": {"type": "int", "default": 24},
    "log_limit": {"type": "int", "default": 5},
    "queue_id": {"type": "str"},
    "log_recipient": {"type": "str"},
    "gateway_log": NAMES,
    "client": NAMES,
    "timeout": {"type": "float", "default": 10},
}


def build_request(params: dict[str, Any]) -> Request:
    """The request that the options describe."""
    texts = ("gateway", "mailname", "root_address", "sender", "recipient", "queue_id", "log_recipient")
    return Request(
        port=params["port"] or 0,
        hours=params["log_hours"],
        limit=params["log_limit"],
        queue_age=params["queue_age"],
        timeout=params["timeout"],
        gateway_log=tuple(params["gateway_log"]),
        client=tuple(params["client"]),
        **{name: (params[name] or "").strip() for name in texts},
    )


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    host = SatelliteHost(timeout=module.params["timeout"], ca_file=module.params["ca_file"] or "")
    try:
        report = examine(build_request(module.params), host)
    except DiagnoseError as err:
        module.fail_json(msg=str(err))
    module.no_log_values |= host.secrets
    module.exit_json(changed=False, table=report.table(), unseen=host.notes, **report.as_dict())


if __name__ == "__main__":
    main()
