#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: mail_host_info
short_description: Say what a host does with mail, who answers at its ports, what waits, and what From it writes
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Lists the ports that the host listens at, with the program and the systemd unit behind each.
  - Speaks to those of mail (SMTP, LMTP, IMAP, POP3 and ManageSieve) as a client would, and tells what they greet with,
    whether they offer TLS, its version, the names and the end of the certificate, and whether an authority vouches for
    it. No mail is begun and nobody logs in. The daemons log these connections.
  - Tells what waits in the queue of Postfix, Exim or OpenSMTPD, by age and by cause as M(postmaster.mail.mail_log_info)
    knows them, the program's version, the parameters that are not at their default, and what the address of a local
    user who sends mail becomes, step by step.
  - Changes nothing. Root sees all. Another user sees most, and what was not seen is named in RV(unseen). Passwords in
    parameters are not returned.
extends_documentation_fragment:
  - postmaster.mail.action_group.mail
  - postmaster.mail.read_only
options:
  user:
    description: The local user whose address to follow.
    type: str
    default: root
  probe:
    description: Whether to speak to the listeners.
    type: bool
    default: true
  timeout:
    description: Seconds to wait for a connection, and for each answer.
    type: float
    default: 5
seealso:
  - module: postmaster.mail.mail_diagnose
  - module: postmaster.mail.mail_log_info
  - module: postmaster.mail.mail_check
"""

EXAMPLES = r"""
- name: See what a host does with mail
  postmaster.mail.mail_host_info:
  register: seen

- name: Show it
  postmaster.mail.show_text:
    lines: "{{ seen.table }}"

- name: Expect no trouble with TLS
  ansible.builtin.assert:
    that: seen.listeners | map(attribute='troubles') | flatten | length == 0
"""

RETURN = r"""
host:
  description: The host's full name.
  returned: success
  type: str
  sample: mail.example.org
mta:
  description: The mail program, V(postfix), V(exim), V(opensmtpd) or an empty string.
  returned: success
  type: str
version:
  description: Its version.
  returned: success
  type: str
  sample: 3.7.11
listeners:
  description: Ports that are listened at, in their order.
  returned: success
  type: list
  elements: dict
  contains:
    port:
      description: The port.
      type: int
    addresses:
      description: The addresses it is open at, V(0.0.0.0) and V(::) for all.
      type: list
      elements: str
    program:
      description: Whose it is, or an empty string where that could not be seen.
      type: str
    pid:
      description: The process, or 0.
      type: int
    unit:
      description: Its systemd unit, or an empty string.
      type: str
    protocol:
      description: What is spoken there, for ports of mail.
      type: str
    banner:
      description: What it greets with.
      type: str
    tls:
      description: V(none), V(starttls), V(implicit), or an empty string where it was not asked or is not known.
      type: str
    tls_version:
      description: The version that a session had.
      type: str
    names:
      description: Names that the certificate holds.
      type: list
      elements: str
    expires:
      description: When the certificate ends.
      type: str
    issuer:
      description: Who signed it.
      type: str
    chain:
      description: Why no authority that the host trusts vouches for it, or an empty string.
      type: str
    error:
      description: Why the session broke off, or an empty string.
      type: str
    troubles:
      description: What is not as it should be with TLS.
      type: list
      elements: str
  sample:
    - port: 25
      addresses: [0.0.0.0, "::"]
      program: Postfix
      pid: 812
      unit: postfix@-.service
      protocol: smtp
      banner: 220 mail.example.org ESMTP Postfix
      tls: starttls
      tls_version: TLSv1.3
      names: [mail.example.org]
      expires: "2027-02-01T10:00:00+00:00"
      issuer: C = US, O = Let's Encrypt, CN = R11
      chain: ""
      error: ""
      troubles: []
queue:
  description:
    - What waits. How many messages (envelopes of OpenSMTPD), how many of them are held, the age of the oldest in
      seconds, how many have waited up to which time, and why.
  returned: when the queue can be seen
  type: dict
  sample:
    count: 3
    held: 0
    oldest: 5400
    ages: {1 hour: 1, 4 hours: 2}
    causes:
      - cause: connection_refused
        count: 3
        reason: "connect to relay1.example.org[192.0.2.25]:25: Connection refused"
        title: nothing listens at the port of the next server
        mend: see that its mail program runs
settings:
  description: Parameters of Postfix that are not at their default, or the settings of Debian's Exim.
  returned: success
  type: dict
  sample: {relayhost: {value: "[relay1.example.org]", default: ""}}
sender:
  description: The address of the local user after each step, and what made it so. The last is what leaves the host.
  returned: success
  type: list
  elements: dict
  sample:
    - {address: root@web1.example.org, why: "myorigin is /etc/mailname, which says web1.example.org"}
    - {address: root@example.org, why: masquerade_domains is example.org}
unseen:
  description: What could not be seen, one sentence each.
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
from ansible_collections.postmaster.mail.plugins.module_utils._mail_host import HostError
from ansible_collections.postmaster.mail.plugins.module_utils._mail_host_client import MailHost
from ansible_collections.postmaster.mail.plugins.module_utils._mail_host_run import look

ARGUMENT_SPEC: dict[str, Any] = {
    "user": {"type": "str", "default": "root"},
    "probe": {"type": "bool", "default": True},
    "timeout": {"type": "float", "default": 5},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    timeout = module.params["timeout"]
    if not 0 < timeout <= 600:
        module.fail_json(msg=f"timeout: {timeout:g} is out of range: give seconds, up to 600")
    try:
        view = look(MailHost(timeout=timeout), user=module.params["user"], probe=module.params["probe"])
    except HostError as err:
        module.fail_json(msg=str(err))
    module.exit_json(changed=False, table=view.table(), **view.as_dict())


if __name__ == "__main__":
    main()
