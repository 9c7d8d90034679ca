#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: mail_check
short_description: Check all that mail of a domain depends on, from outside
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Judges a domain by 50 checks of its DNS, mail servers, keys and messages, and says of each whether it is V(ok),
    V(propagating), V(wrong) or V(unknown). Works for any domain, whoever runs it. Changes nothing.
  - Asks a resolver and every authoritative server of the domain's zone. What only some of them say is
    V(propagating); a question that nobody answers makes the checks that need it V(unknown), never V(wrong).
  - Checks that need a message, a key or a host take one as an option, and are V(unknown) without it.
  - Many domains are checked at once; each question is asked once in a call, and a server that does not answer costs one
    timeout.
requirements:
  - dnspython >= 2.3 on the host that runs the module (Debian package python3-dnspython)
  - dkimpy, to verify a message's signature (python3-dkim), and PyNaCl where that is by Ed25519 (python3-nacl)
  - cryptography, to compare TLSA records (python3-cryptography)
extends_documentation_fragment:
  - postmaster.mail.action_group.mail
  - postmaster.mail.read_only
attributes:
  check_mode:
    description: Gives the same answer in check mode. O(report_file) is not written then.
    support: full
options:
  domains:
    description: The mail domains to check.
    type: list
    elements: str
    required: true
    aliases: [domain]
  resolver:
    description:
      - Resolvers to ask, as C(address) or C(address@port), each where the one before does not answer. Those of this
        machine if left out.
      - It should validate DNSSEC, and be one that blocklists answer, that is, no public one.
    type: list
    elements: str
    default: []
  trust_ad:
    description:
      - Whether the way to the resolver is safe, so that its word counts on whether an answer was validated. If left
        out, that of one on this machine.
    type: bool
  selectors:
    description:
      - DKIM selectors in use. Those of O(message_file) and O(dkim_keys) are added.
      - Without any the usual ones are tried.
    type: list
    elements: str
    default: []
  dkim_keys:
    description:
      - Keys that signers hold, as RV(postmaster.mail.dkim_key#module:keys) returns them.
      - Or, for others, C(domain), C(selector) and either C(value), the text of the record, or C(private_key_file), the
        path of the key on the host that runs the module.
    type: list
    elements: dict
    default: []
  outbound:
    description: Addresses that mail leaves from.
    type: list
    elements: dict
    default: []
    suboptions:
      address:
        description: The address as receivers see it.
        type: str
        required: true
      helo:
        description: The name that the server says in HELO.
        type: str
  message_file:
    description:
      - A message of the domain as a receiver outside stored it, with Received and Return-Path.
    type: path
  inbound_message_file:
    description:
      - A message from outside as the domain's own server stored it. To be of use for the check C(ar.trust) it was sent
        with the subject C(forged.invalid) and a forged field of the domain's own server, which is
        C(Authentication-Results), O(authserv_id), C(; spf=pass smtp.mailfrom=a@forged.invalid).
    type: path
  authserv_id:
    description: The name by which the domain's own filter signs Authentication-Results.
    type: str
  bulk:
    description: Whether O(message_file) is bulk mail.
    type: bool
    default: false
  spam_rate:
    description: Share of complaints in per cent, as Google Postmaster Tools or others report it.
    type: float
  outbound_25:
    description: A mail server outside, as C(host) or C(host@port), that the host running the module must reach.
    type: str
  test_host:
    description: A mail server of yours, as C(host) or C(host@port), for the check C(relay+smuggling).
    type: str
  intrusive:
    description:
      - Whether O(test_host) may be asked to relay, and be sent the beginnings of messages that end in a wrong way.
        A sound server delivers none of them; one that is not may deliver some to postmaster of the domain.
    type: bool
    default: false
  smtp:
    description:
      - Whether the domain's mail servers are asked.
      - A session ends after the recipients postmaster and abuse; no message is sent.
    type: bool
    default: true
  smtp_port:
    description: Port of these servers.
    type: int
    default: 25
  https:
    description: Whether the MTA-STS policy is fetched.
    type: bool
    default: true
  dnsbl_ip:
    description:
      - Blocklists for O(outbound). Each is believed after its self-test only (RFC 5782), and one that refuses to
        answer is V(unknown). Mind their terms of use.
    type: list
    elements: str
    default: [zen.spamhaus.org, bl.spamcop.net]
  dnsbl_domain:
    description: Blocklists for the domains.
    type: list
    elements: str
    default: [dbl.spamhaus.org]
  ca_file:
    description: Certificates of authorities that are trusted beside the system's.
    type: path
  ignore:
    description: Ids of checks to leave out, e.g. V(tlsrpt).
    type: list
    elements: str
    default: []
  fail_on:
    description: How grave a finding must be to appear in RV(failing), F (fail), W (warning) or I (information).
    type: str
    choices: [F, W, I, never]
    default: F
  report_file:
    description: Path of a file for the same as JSON. Writing it does not count as a change.
    type: path
  query_timeout:
    description: Seconds to wait for a DNS answer. A session with a mail or web server may take three times as long.
    type: float
    default: 4
  timeout:
    description: Seconds for the whole call. What is not known by then is V(unknown).
    type: float
    default: 300
seealso:
  - name: The guide on checks
    description: The 50 checks, what their verdicts mean, and how to use them in CI.
    link: https://github.com/postmaster-mail/postmaster.mail/blob/main/docs/checks.md
"""

EXAMPLES = r"""
- name: Look at a domain
  postmaster.mail.mail_check:
    domain: example.org
  delegate_to: localhost
  register: mail_health

- name: Show what was found
  postmaster.mail.show_text:
    lines: "{{ mail_health.table }}"

- name: Look at all domains of the inventory, with the relays' keys and addresses
  postmaster.mail.mail_check:
    domains: "{{ mail_domains | map(attribute='name') }}"
    dkim_keys: "{{ groups.relays | map('extract', hostvars, ['mail_dkim', 'keys']) | flatten }}"
    outbound:
      - address: 192.0.2.25
        helo: relay.example.org
    report_file: /var/lib/mail-check.json
  delegate_to: localhost
  register: mail_health
  failed_when: mail_health.failing | length > 0
"""

RETURN = r"""
findings:
  description: What is V(wrong) or V(propagating), by domain, the gravest first.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: The check, which never changes its name.
      type: str
      sample: spf.lookups
    domain:
      description: The domain.
      type: str
      sample: example.org
    verdict:
      description: V(wrong), or V(propagating) where not all servers say the same yet.
      type: str
    severity:
      description: V(F) where mail is refused or a policy void, V(W) for a warning, V(I) for information.
      type: str
    subject:
      description: The name or address it is about.
      type: str
      sample: example.org
    seen:
      description: What was seen.
      type: str
      sample: 12 lookups in the worst case, where 10 are allowed (include:_spf.example.net 9)
    remedy:
      description: The record or command that mends it.
      type: str
    reference:
      description: The RFC and section, or whose rule it is.
      type: str
      sample: RFC 7208 4.6.4
unknown:
  description: What could not be judged, with the reason in C(seen) and what it takes in C(remedy).
  returned: success
  type: list
  elements: dict
verdicts:
  description: For each domain the verdict of every check by its id.
  returned: success
  type: dict
  sample: {"example.org": {"ptr.exists": "unknown", "mx.exists": "ok"}}
failing:
  description: Those of RV(findings) that are V(wrong) and as grave as O(fail_on).
  returned: success
  type: list
  elements: dict
table:
  description: Findings and counts as lines for people.
  returned: success
  type: list
  elements: str
problem:
  description: Why nothing could be checked at all, empty otherwise. Everything is V(unknown) then.
  returned: success
  type: str
  sample: nothing could be checked, as no resolver answers (192.0.2.53); name one that does in resolver
domains:
  description: The domains that were checked.
  returned: success
  type: list
  elements: str
"""

import asyncio
import json
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.postmaster.mail.plugins.module_utils import _check_client as client
from ansible_collections.postmaster.mail.plugins.module_utils import _check_request as request
from ansible_collections.postmaster.mail.plugins.module_utils._check import CheckError, Report
from ansible_collections.postmaster.mail.plugins.module_utils._check_run import check
from ansible_collections.postmaster.mail.plugins.module_utils._files import FileError, write_atomic

NAMES: dict[str, Any] = {"type": "list", "elements": "str", "default": []}
OUTBOUND_SPEC: dict[str, Any] = {"address": {"type": "str", "required": True}, "helo": {"type": "str"}}
ARGUMENT_SPEC: dict[str, Any] = {
    "domains": {"type": "list", "elements": "str", "required": True, "aliases": ["domain"]},
    "resolver": NAMES,
    "trust_ad": {"type": "bool"},
    "selectors": NAMES,
    "dkim_keys": {"type": "list", "elements": "dict", "default": [], "no_log": False},
    "outbound": {"type": "list", "elements": "dict", "default": [], "options": OUTBOUND_SPEC},
    "message_file": {"type": "path"},
    "inbound_message_file": {"type": "path"},
    "authserv_id": {"type": "str"},
    "bulk": {"type": "bool", "default": False},
    "spam_rate": {"type": "float"},
    "outbound_25": {"type": "str"},
    "test_host": {"type": "str"},
    "intrusive": {"type": "bool", "default": False},
    "smtp": {"type": "bool", "default": True},
    "smtp_port": {"type": "int", "default": 25},
    "https": {"type": "bool", "default": True},
    "dnsbl_ip": {"type": "list", "elements": "str", "default": ["zen.spamhaus.org", "bl.spamcop.net"]},
    "dnsbl_domain": {"type": "list", "elements": "str", "default": ["dbl.spamhaus.org"]},
    "ca_file": {"type": "path"},
    "ignore": NAMES,
    "fail_on": {"type": "str", "choices": ["F", "W", "I", "never"], "default": "F"},
    "report_file": {"type": "path"},
    "query_timeout": {"type": "float", "default": 4},
    "timeout": {"type": "float", "default": 300},
}


async def run(params: dict[str, Any]) -> tuple[Report, str]:
    """The report on all domains, and what kept it from saying anything, or nothing. Raises :class:`CheckError`."""
    named = request.resolvers(params["resolver"]) or client.system_resolvers()
    trusted = params["trust_ad"]
    if trusted is None:
        trusted = all(client.is_local(one) for one in named)
    options = request.build(params, trust_ad=trusted)
    async with client.Collector(named, timeout=params["query_timeout"], ca_file=params["ca_file"] or "") as collector:
        report = await check(params["domains"], collector, options, ignore=params["ignore"], timeout=params["timeout"])
    if collector.is_answered:
        return report, ""
    asked = ", ".join(address for address, dummy in named)
    return report, f"nothing could be checked, as no resolver answers ({asked}); name one that does in resolver"


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    if client.DNSPYTHON_IMPORT_ERROR:
        module.fail_json(msg=missing_required_lib("dnspython"), exception=client.DNSPYTHON_IMPORT_ERROR)
    params = module.params
    try:
        report, problem = asyncio.run(run(params))
        result = report.as_dict()
        if params["report_file"] and not module.check_mode:
            write_atomic(params["report_file"], json.dumps(result, indent=2) + "\n", mode=0o644)
    except (CheckError, FileError) as err:
        module.fail_json(msg=str(err))
    if problem:
        module.warn(problem)
    failing = [item.as_dict() for item in report.failing(params["fail_on"])]
    module.exit_json(changed=False, failing=failing, table=report.table(), problem=problem, **result)


if __name__ == "__main__":
    main()
