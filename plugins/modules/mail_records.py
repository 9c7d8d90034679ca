#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: mail_records
short_description: Derive the DNS records that mail domains need
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Turns the description of mail domains into the records that DNS must hold - MX or null MX, SPF, DKIM and DMARC.
  - It reads and changes nothing; M(postmaster.mail.dns_records) publishes what it returns.
  - Records that would do harm are refused with a sentence that names the domain and the term - C(+all), more than ten
    lookups, two SPF records, private addresses, two keys under one selector.
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
    description: The same input gives the same records.
    support: full
options:
  domains:
    description: The mail domains, usually C(mail_domains) of the inventory.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The domain; international names in their C(xn--) form.
        type: str
        required: true
      senders:
        description:
          - Who may send mail of this domain. Each entry has exactly one of O(domains[].senders[].hosts),
            O(domains[].senders[].known), O(domains[].senders[].include), O(domains[].senders[].ip4),
            O(domains[].senders[].ip6), O(domains[].senders[].a), O(domains[].senders[].mx) and
            O(domains[].senders[].term).
          - A domain without senders gets C(v=spf1 -all) and, unless O(domains[].dmarc) says otherwise, C(p=reject).
        type: list
        elements: dict
        default: []
        suboptions:
          hosts:
            description: A key of O(hosts), whose addresses may send.
            type: str
          known:
            description: A service of the catalogue.
            type: str
            choices: [brevo, google_workspace]
          include:
            description: A domain whose SPF record is included.
            type: str
          ip4:
            description: An IPv4 address or network.
            type: str
          ip6:
            description: An IPv6 address or network.
            type: str
          a:
            description: A host whose addresses may send.
            type: str
          mx:
            description: The domain's own MX hosts may send.
            type: bool
          term:
            description: Any other SPF mechanism as it is written in the record.
            type: str
          verification:
            description: With O(domains[].senders[].known), the code by which the service proves who owns the domain.
            type: str
          dkim_value:
            description:
              - With O(domains[].senders[].known), the text of the DKIM record that the service's console shows.
            type: str
          dkim_selector:
            description: Its selector, where it is not the one the service uses by default.
            type: str
      spf_all:
        description:
          - What receivers shall do with mail from elsewhere. The default is V(~all), and V(-all) without senders.
        type: str
        choices: ['-all', '~all', '?all', '+all']
      mx:
        description: The hosts that receive mail for the domain. Without any, its MX records are left alone.
        type: list
        elements: dict
        default: []
        suboptions:
          host:
            description: Name of the host, which must have addresses and be no alias.
            type: str
            required: true
          priority:
            description: Lower is tried first.
            type: int
            default: 10
      receives:
        description: V(false) says by a null MX (RFC 7505) that the domain takes no mail.
        type: bool
      dkim:
        description: What M(postmaster.mail.dkim_key) is asked to make for the domain; not used here.
        type: dict
      dmarc:
        description:
          - The DMARC policy (RFC 9989). A domain below another described one has none of its own unless this is given.
        type: dict
        suboptions:
          policy:
            description:
              - What receivers shall do with mail that fails. The default is V(none), and V(reject) without senders.
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
            default: false
          psd:
            description: Whether the domain is a public suffix, or certainly none (C(psd)).
            type: str
            choices: ['y', 'n', 'u']
      ttl:
        description: TTL of the domain's records, in seconds.
        type: int
        default: 3600
  hosts:
    description: Public addresses that the mail of hosts or groups of hosts leaves from, by name.
    type: dict
    default: {}
  dkim_keys:
    description:
      - Keys as M(postmaster.mail.dkim_key) returns them, or their records. All are published, whatever their state.
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Derive the records of every domain
  postmaster.mail.mail_records:
    domains:
      - name: example.org
        senders:
          - hosts: relays
          - known: google_workspace
          - known: brevo
        spf_all: "-all"
        mx:
          - host: mx1.example.org
            priority: 10
        dmarc:
          policy: quarantine
          rua: [dmarc@example.org]
      - name: parked.example.org
        receives: false
    hosts:
      relays: [192.0.2.25, "2001:db8::25"]
    dkim_keys: "{{ keys.keys }}"
  register: mail

- name: Show them as zone-file text
  ansible.builtin.debug:
    msg: "{{ mail.zone_text }}"
"""

RETURN = r"""
records:
  description: The records; C(rdata) as a zone file has it, TXT records also with C(value) and C(strings).
  returned: success
  type: list
  elements: dict
  sample:
    - {"name": "example.org.", "type": "MX", "ttl": 3600, "rdata": "10 mx1.example.org."}
zone_text:
  description: The same as zone-file text, domain by domain.
  returned: success
  type: str
  sample: "; example.org\nexample.org. 3600 IN MX 10 mx1.example.org.\n"
warnings:
  description: What is allowed but should be looked at.
  returned: when there is something
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.postmaster.mail.plugins.module_utils._records import RecordsError, derive
from ansible_collections.postmaster.mail.plugins.module_utils._senders import CATALOGUE

POLICIES = ["none", "quarantine", "reject"]
SENDER_SPEC: dict[str, Any] = {
    "hosts": {"type": "str"},
    "known": {"type": "str", "choices": sorted(CATALOGUE)},
    "include": {"type": "str"},
    "ip4": {"type": "str"},
    "ip6": {"type": "str"},
    "a": {"type": "str"},
    "mx": {"type": "bool"},
    "term": {"type": "str"},
    "verification": {"type": "str"},
    "dkim_value": {"type": "str"},
    "dkim_selector": {"type": "str"},
}
DMARC_SPEC: dict[str, Any] = {
    "policy": {"type": "str", "choices": POLICIES},
    "subdomain_policy": {"type": "str", "choices": POLICIES},
    "nonexistent_policy": {"type": "str", "choices": POLICIES},
    "rua": {"type": "list", "elements": "str"},
    "ruf": {"type": "list", "elements": "str"},
    "fo": {"type": "list", "elements": "str", "choices": ["0", "1", "d", "s"]},
    "adkim": {"type": "str", "choices": ["relaxed", "strict"]},
    "aspf": {"type": "str", "choices": ["relaxed", "strict"]},
    "testing": {"type": "bool", "default": False},
    "psd": {"type": "str", "choices": ["y", "n", "u"]},
}
MX_SPEC: dict[str, Any] = {
    "host": {"type": "str", "required": True},
    "priority": {"type": "int", "default": 10},
}
DOMAIN_SPEC: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "senders": {"type": "list", "elements": "dict", "default": [], "options": SENDER_SPEC},
    "spf_all": {"type": "str", "choices": ["-all", "~all", "?all", "+all"]},
    "mx": {"type": "list", "elements": "dict", "default": [], "options": MX_SPEC},
    "receives": {"type": "bool"},
    "dkim": {"type": "dict"},
    "dmarc": {"type": "dict", "options": DMARC_SPEC},
    "ttl": {"type": "int", "default": 3600},
}
ARGUMENT_SPEC: dict[str, Any] = {
    "domains": {"type": "list", "elements": "dict", "required": True, "options": DOMAIN_SPEC},
    "hosts": {"type": "dict", "default": {}},
    "dkim_keys": {"type": "list", "elements": "dict", "default": [], "no_log": False},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    params = module.params
    hosts = {name: [found] if isinstance(found, str) else list(found or ()) for name, found in params["hosts"].items()}
    try:
        derived = derive(params["domains"], hosts=hosts, dkim_keys=params["dkim_keys"])
    except RecordsError as err:
        module.fail_json(msg=str(err))
    for warning in derived.warnings:
        module.warn(warning)
    module.exit_json(
        changed=False,
        records=[record.as_dict() for record in derived.records],
        zone_text=derived.zone_text,
    )


if __name__ == "__main__":
    main()
