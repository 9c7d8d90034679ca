#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: dmarc_record
short_description: Compose or edit DMARC records
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Makes the DMARC record (RFC 9989) of a domain, or of many, out of the one that is there and the tags that are
    wanted.
  - It publishes nothing. What it returns is for M(postmaster.mail.dns_records); it reports a change where there is
    something to publish.
  - Records that do not do what they seem to are refused, each kind with a name that O(allow) takes.
  - It also tells what readers of the older RFC 7489 make of the record, row by row, where that differs.
requirements:
  - dnspython >= 2.3 on the host that runs the module (Debian package python3-dnspython), unless O(resolver=none)
  - a public suffix list (Debian package publicsuffix, or Python package publicsuffixlist), without which
    RV(records[].differences) holds what the record alone tells
extends_documentation_fragment:
  - postmaster.mail.action_group.mail
attributes:
  check_mode:
    description: Can run in check mode; it never changes anything.
    support: full
  diff_mode:
    description: Shows the records before and after.
    support: full
  idempotent:
    description: A record that is as wanted stays as it is, however it is written.
    support: full
options:
  domain:
    description: The domain; international names in their C(xn--) form. Either this or O(records).
    type: str
  records:
    description: Many at once; each has the options of a single one.
    type: list
    elements: dict
    suboptions:
      domain:
        description: See O(domain).
        type: str
        required: true
      current:
        description: See O(current).
        type: str
      state:
        description: See O(state).
        type: str
        choices: [present, absent, exact]
        default: present
      tags:
        description: See O(tags).
        type: list
        elements: str
        choices: [sp, np, adkim, aspf, t, psd, fo, rua, ruf]
        default: []
      policy:
        description: See O(policy).
        type: str
        choices: [none, quarantine, reject]
      subdomain_policy:
        description: See O(subdomain_policy).
        type: str
        choices: [none, quarantine, reject]
      nonexistent_policy:
        description: See O(nonexistent_policy).
        type: str
        choices: [none, quarantine, reject]
      rua:
        description: See O(rua).
        type: list
        elements: str
      ruf:
        description: See O(ruf).
        type: list
        elements: str
      fo:
        description: See O(fo).
        type: list
        elements: str
        choices: ['0', '1', 'd', 's']
      adkim:
        description: See O(adkim).
        type: str
        choices: [relaxed, strict]
      aspf:
        description: See O(aspf).
        type: str
        choices: [relaxed, strict]
      testing:
        description: See O(testing).
        type: bool
      psd:
        description: See O(psd).
        type: str
        choices: ['y', 'n', 'u']
      ttl:
        description: See O(ttl).
        type: int
        default: 3600
  current:
    description:
      - The record as it is, V("") where there is none. Without this option DNS is asked.
    type: str
  state:
    description:
      - With V(present) the given tags get their values, and O(rua) and O(ruf) get more addresses. Other tags stay.
      - With V(exact) the record has the given tags alone.
      - With V(absent) the given addresses of O(rua) and O(ruf) go, and the tags in O(tags).
    type: str
    choices: [present, absent, exact]
    default: present
  tags:
    description: With O(state=absent), tags that shall go.
    type: list
    elements: str
    choices: [sp, np, adkim, aspf, t, psd, fo, rua, ruf]
    default: []
  policy:
    description: What receivers shall do with mail that fails. A new record has V(none) by default.
    type: str
    choices: [none, quarantine, reject]
  subdomain_policy:
    description: The same for subdomains.
    type: str
    choices: [none, quarantine, reject]
  nonexistent_policy:
    description: The same for subdomains that do not exist.
    type: str
    choices: [none, quarantine, reject]
  rua:
    description: Where aggregate reports go, addresses or URIs.
    type: list
    elements: str
  ruf:
    description: Where failure reports go, addresses or URIs.
    type: list
    elements: str
  fo:
    description: When failure reports are wanted.
    type: list
    elements: str
    choices: ['0', '1', 'd', 's']
  adkim:
    description: How exactly the DKIM domain must match.
    type: str
    choices: [relaxed, strict]
  aspf:
    description: How exactly the SPF domain must match.
    type: str
    choices: [relaxed, strict]
  testing:
    description: Ask receivers to apply the policy one step below (C(t=y)).
    type: bool
  psd:
    description: Whether the domain is a public suffix, or certainly none.
    type: str
    choices: ['y', 'n', 'u']
  ttl:
    description: TTL of the returned record, in seconds.
    type: int
    default: 3600
  allow:
    description:
      - Refusals to pass over.
      - V(no_reports) allows C(p=none) without O(rua), by which nobody learns anything.
      - V(weaker_subdomains) allows a policy for subdomains that is weaker than that of the domain.
      - V(unauthorised_reports) allows reports to another organisation that does not consent to them (RFC 9990), so that
        none are sent before it does.
      - V(unreachable_reports) allows reports to a host that takes no mail.
      - V(public_suffix) allows C(psd=y), which is for the operators of public suffixes.
    type: list
    elements: str
    choices: [no_reports, weaker_subdomains, unauthorised_reports, unreachable_reports, public_suffix]
    default: []
  resolver:
    description:
      - Address (or C(address@port)) of the resolver to ask; without it that of the machine that the module runs on.
      - V(none) asks nothing. O(current) must be given then, and nothing is known of other domains.
    type: str
  timeout:
    description: Seconds to wait for each answer of the resolver.
    type: float
    default: 10
seealso:
  - module: postmaster.mail.dns_records
  - module: postmaster.mail.mail_records
"""

EXAMPLES = r"""
- name: Step up to quarantine, and have reports sent to one more address
  postmaster.mail.dmarc_record:
    domain: example.org
    policy: quarantine
    rua: [dmarc@example.org]
  register: dmarc

- name: Publish what came of it
  postmaster.mail.dns_records:
    server: ns1.example.org
    records: "{{ dmarc.records | map(attribute='record') }}"

- name: Take a tag and an address away
  postmaster.mail.dmarc_record:
    domain: example.org
    state: absent
    tags: [sp]
    rua: [old@example.org]

- name: The records of domains that never send mail, without asking DNS
  postmaster.mail.dmarc_record:
    resolver: none
    records:
      - domain: parked.example
        current: ""
        policy: reject
"""

RETURN = r"""
records:
  description: One entry for each domain, in order.
  returned: success
  type: list
  elements: dict
  contains:
    domain:
      description: The domain.
      type: str
    changed:
      description: Whether the record has to be published anew.
      type: bool
    before:
      description: The record as it was, empty where there was none.
      type: str
    after:
      description: The record as it shall be.
      type: str
    record:
      description: The same as M(postmaster.mail.dns_records) takes it; null where there shall be none.
      type: dict
    policy:
      description: What receivers will do with mail of the domain that fails, C(t=y) considered.
      type: str
    organizational_domain:
      description: The organizational domain by RFC 9989; null with O(resolver=none).
      type: str
    differences:
      description: What readers of RFC 7489 make of it, where that differs.
      type: list
      elements: dict
      contains:
        id:
          description: A stable name of the row.
          type: str
        detail:
          description: How the row touches this record.
          type: str
        rfc7489:
          description: The section of RFC 7489.
          type: str
        rfc9989:
          description: The section of RFC 9989.
          type: str
    warnings:
      description: What is allowed and should be looked at.
      type: list
      elements: str
  sample:
    - domain: example.org
      changed: true
      before: v=DMARC1; p=none; pct=100
      after: v=DMARC1; p=quarantine; rua=mailto:dmarc@example.org
      record: {"name": "_dmarc.example.org.", "type": "TXT", "ttl": 3600, "rdata": "...", "value": "..."}
      policy: quarantine
      organizational_domain: example.org
      differences: []
      warnings: ["pct=100 means nothing any more, and is left out"]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.postmaster.mail.plugins.module_utils import _dns_client as client
from ansible_collections.postmaster.mail.plugins.module_utils._dmarc_plan import REFUSALS
from ansible_collections.postmaster.mail.plugins.module_utils._dmarc_run import RunError, run
from ansible_collections.postmaster.mail.plugins.module_utils._dns import DnsError
from ansible_collections.postmaster.mail.plugins.module_utils._dns_watch import resolver_at, system_resolver

POLICIES = ["none", "quarantine", "reject"]
TAG_NAMES = ["sp", "np", "adkim", "aspf", "t", "psd", "fo", "rua", "ruf"]
RECORD_SPEC: dict[str, Any] = {
    "domain": {"type": "str"},
    "current": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent", "exact"], "default": "present"},
    "tags": {"type": "list", "elements": "str", "choices": TAG_NAMES, "default": []},
    "policy": {"type": "str", "choices": POLICIES},
    "subdomain_policy": {"type": "str", "choices": POLICIES},
    "nonexistent_policy": {"type": "str", "choices": POLICIES},
    "rua": {"type": "list", "elements": "str"},
    "ruf": {"type": "list", "elements": "str"},
    "fo": {"type": "list", "elements": "str", "choices": ["0", "1", "d", "s"]},
    "adkim": {"type": "str", "choices": ["relaxed", "strict"]},
    "aspf": {"type": "str", "choices": ["relaxed", "strict"]},
    "testing": {"type": "bool"},
    "psd": {"type": "str", "choices": ["y", "n", "u"]},
    "ttl": {"type": "int", "default": 3600},
}
MANY_SPEC = {**RECORD_SPEC, "domain": {"type": "str", "required": True}}
ARGUMENT_SPEC: dict[str, Any] = {
    **RECORD_SPEC,
    "records": {"type": "list", "elements": "dict", "options": MANY_SPEC},
    "allow": {"type": "list", "elements": "str", "choices": list(REFUSALS), "default": []},
    "resolver": {"type": "str"},
    "timeout": {"type": "float", "default": 10},
}


def _resolver(module: AnsibleModule) -> client.DnsServer | None:
    if module.params["resolver"] == "none":
        return None
    if client.DNSPYTHON_IMPORT_ERROR:
        module.fail_json(msg=missing_required_lib("dnspython"), exception=client.DNSPYTHON_IMPORT_ERROR)
    given = resolver_at(module.params["resolver"], timeout=module.params["timeout"])
    return given or system_resolver(timeout=module.params["timeout"])


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        supports_check_mode=True,
        mutually_exclusive=[("domain", "records")],
        required_one_of=[("domain", "records")],
    )
    items = module.params["records"] if module.params["records"] is not None else [module.params]
    try:
        done = run(items, allow=module.params["allow"], resolver=_resolver(module))
    except (RunError, DnsError) as err:
        module.fail_json(msg=str(err))
    for one in done:
        for warning in one.warnings:
            module.warn(f"{one.domain}: {warning}")
    module.exit_json(
        changed=any(one.changed for one in done),
        records=[one.as_dict() for one in done],
        diff={
            "before": "".join(one.line(one.before) for one in done),
            "after": "".join(one.line(one.after) for one in done),
        },
    )


if __name__ == "__main__":
    main()
