#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: spf_record
short_description: Compose, edit, flatten and prove SPF records
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Makes the SPF record (RFC 7208) of a domain, or of many, out of the one that is there and the terms that are wanted.
    Terms of others stay in their order, there is one C(all), and it stands last.
  - Before anything is published it judges the new record as receivers will - addresses that send have to pass, and
    strangers must not, nor end in an error. RV(records[].probes[].why) tells term by term how each verdict came about.
  - Records that do harm are refused, each kind with a name that O(allow) takes - C(+all), two records, more than ten
    lookups, more than two lookups without an answer, includes that lead nowhere.
  - It publishes nothing. What it returns in RV(publish) is for M(postmaster.mail.dns_records); it reports a change
    where there is something to publish.
requirements:
  - dnspython >= 2.3 on the host that runs the module (Debian package python3-dnspython), unless O(resolver=none)
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
      terms:
        description: See O(terms).
        type: list
        elements: str
        default: []
      known:
        description: See O(known).
        type: list
        elements: str
        default: []
      replaces:
        description: See O(replaces).
        type: list
        elements: str
        default: []
      all:
        description: See O(all).
        type: str
        choices: ['-all', '~all', '?all', '+all']
      flatten:
        description: See O(flatten).
        type: bool
        default: false
      keep:
        description: See O(keep).
        type: list
        elements: str
        default: []
      own_addresses:
        description: See O(own_addresses).
        type: list
        elements: str
        default: []
      strangers:
        description: See O(strangers).
        type: list
        elements: str
        default: [198.18.0.1, '100::1']
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
      - With V(present) the record gets the terms, and keeps what it has.
      - With V(absent) the terms go, and all else stays. A term that is written without a qualifier goes whatever its
        qualifier, V(-ip4:192.0.2.1) and V(+ip4:192.0.2.1) only with that one.
      - With V(exact) the record has the given terms alone.
    type: str
    choices: [present, absent, exact]
    default: present
  terms:
    description:
      - Mechanisms and modifiers as they are written in a record, such as V(ip4:192.0.2.25), V(ip6:2001:db8::/64),
        V(include:_spf.example.net), V(a:web.example.org), V(mx) or V(exp=why.example.org).
      - A new network is put before the first term that costs a lookup, other terms behind what is there, and networks
        too where a term of others forbids something; RV(records[].notes) tells which of these decide before yours.
      - Receivers try terms from left to right. Where one of yours begins with C(-), C(~) or C(?), all of yours are put
        before everything that is there, in your order, unless they stand where they take effect already.
      - With O(state=exact) addresses come first and networks inside others are left out, unless a term begins with
        C(-), C(~) or C(?) - then the order is kept, since it decides. A term that can never match is told in
        RV(records[].warnings).
    type: list
    elements: str
    default: []
  known:
    description:
      - Services that send for the domain, by their names in the catalogue of M(postmaster.mail.mail_records), such as
        V(google_workspace). Their terms are added to O(terms).
    type: list
    elements: str
    default: []
  replaces:
    description:
      - With O(state=present), terms that were published for you before. Those that are not among O(terms) any more go,
        as with O(state=absent).
    type: list
    elements: str
    default: []
  all:
    description:
      - What receivers shall make of mail from elsewhere. Without this option an existing record ends as it does, and a
        new one in V(~all), or in V(-all) if nobody sends.
    type: str
    choices: ['-all', '~all', '?all', '+all']
  flatten:
    description:
      - Write the addresses behind C(include), C(a) and C(mx) into the record in place of these terms, so that every
        verdict stays what it was and costs no lookup. Networks are joined. What does not fit into one record is split
        over records named C(_spf1), C(_spf2) and so on under the domain.
      - Terms that depend on more than the address (C(exists), C(ptr), macros) stay as they are, which
        RV(records[].notes) says.
      - A flat record goes out of date when a service changes its addresses, so run this often. It needs O(state=exact),
        since a flat record no longer tells who its senders are.
    type: bool
    default: false
  keep:
    description: With O(flatten), domains whose C(include) stays.
    type: list
    elements: str
    default: []
  own_addresses:
    description:
      - Addresses that have to pass once the record is published, such as those that your mail leaves from.
    type: list
    elements: str
    default: []
  strangers:
    description:
      - Addresses that must not pass, and not end in an error either. By default two that no mail comes from.
    type: list
    elements: str
    default: [198.18.0.1, '100::1']
  ttl:
    description: TTL of the returned records, in seconds.
    type: int
    default: 3600
  allow:
    description:
      - Refusals to pass over.
      - V(pass_all) allows C(+all) and C(ip4:0.0.0.0/0), by which the whole internet may send as the domain.
      - V(two_records) makes one record out of two that are there; receivers take neither until then.
      - V(lookups) allows more than ten lookups, for senders that receivers meet before the eleventh.
      - V(voids) allows more than two lookups without an answer, such as those of hosts that have no address yet, or
        none of the family that a client comes by. Those that clients of IPv6 alone meet are refused if a term after
        them lets somebody in over IPv6, and are a warning else.
      - V(broken_target) allows an include whose record is yet to be published or mended, and an C(mx) with more than
        ten hosts.
      - V(unanswered) allows a name that DNS gives no answer for just now, as receivers may not get one either.
      - V(unreached) allows that an address in O(own_addresses) does not pass.
      - V(stranger) allows that an address in O(strangers) passes.
    type: list
    elements: str
    choices: [pass_all, two_records, lookups, voids, broken_target, unanswered, unreached, stranger]
    default: []
  resolver:
    description:
      - Address (or C(address@port)) of the resolver to ask; without it that of the machine that the module runs on.
      - V(none) asks nothing. O(current) must be given then, and only what the record alone tells is judged.
    type: str
  timeout:
    description: Seconds to wait for each answer of the resolver.
    type: float
    default: 10
seealso:
  - module: postmaster.mail.dns_records
  - module: postmaster.mail.mail_records
  - module: postmaster.mail.dmarc_record
"""

EXAMPLES = r"""
- name: Let a new relay send, beside whoever may send today
  postmaster.mail.spf_record:
    domain: example.org
    terms: [ip4:192.0.2.25, ip6:2001:db8::25]
    own_addresses: [192.0.2.25, "2001:db8::25"]
  register: spf

- name: Publish what came of it, and wait until every name server has it
  postmaster.mail.dns_records:
    server: ns1.example.org
    tsig_name: estate
    tsig_secret: "{{ vault_tsig_secret }}"
    records: "{{ spf.publish }}"
    wait:
      timeout: 120

- name: Show how receivers will judge each address
  ansible.builtin.debug:
    msg: "{{ spf.records | map(attribute='probes') | flatten | map(attribute='why') }}"

- name: A service is left, and mail from elsewhere shall fail from now on
  postmaster.mail.spf_record:
    domain: example.org
    state: absent
    terms: [include:_spf.formerly.example]
    all: "-all"
    own_addresses: "{{ groups['relays'] | map('extract', hostvars, 'public_address') }}"

- name: The inventory is the whole truth, and the record stays under ten lookups
  postmaster.mail.spf_record:
    domain: example.org
    state: exact
    terms: [mx, "include:_spf.provider.example"]
    known: [google_workspace, brevo]
    all: "~all"
    flatten: true

- name: Many domains in one call, some of which never send mail
  postmaster.mail.spf_record:
    records:
      - domain: example.org
        terms: [include:_spf.example.net]
      - domain: parked.example
        state: exact
        all: "-all"

- name: Our relays moved to other addresses; whatever others added stays
  postmaster.mail.spf_record:
    domain: example.org
    terms: [ip4:198.51.100.0/28]
    replaces: [ip4:192.0.2.25, ip4:192.0.2.26]

- name: Try a record out without asking DNS
  postmaster.mail.spf_record:
    domain: example.org
    current: v=spf1 include:_spf.example.net ~all
    terms: [mx]
    resolver: none
  check_mode: true
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
      description: Whether a record has to be published anew.
      type: bool
    before:
      description: The record as it was, empty where there was none; two are two lines.
      type: str
    after:
      description: The record as it shall be.
      type: str
    record:
      description: The same as M(postmaster.mail.dns_records) takes it.
      type: dict
    parts:
      description: The records that a flat one is split over, by name.
      type: dict
    lookups:
      description: How many lookups a stranger costs, with those of all includes; null with O(resolver=none).
      type: int
    voids:
      description:
        - Terms that have no answer, for clients of IPv4 or of IPv6, whichever has more of them; null with
          O(resolver=none).
      type: list
      elements: str
    probes:
      description: How receivers will judge the addresses of O(own_addresses) and O(strangers).
      type: list
      elements: dict
      contains:
        ip:
          description: The address.
          type: str
        wanted:
          description: V(pass), or V(fail) for a stranger.
          type: str
        result:
          description: The result by RFC 7208 section 2.6.
          type: str
        term:
          description: The term that decided.
          type: str
        lookups:
          description: Lookups that it took.
          type: int
        voids:
          description: Lookups without an answer among them.
          type: int
        why:
          description: The way to the result, one line for each term and include.
          type: list
          elements: str
    notes:
      description:
        - With O(flatten), which terms stay and which match nobody; with O(state=present), which terms of others decide
          before yours.
      type: list
      elements: str
    warnings:
      description: What is allowed and should be looked at.
      type: list
      elements: str
  sample:
    - domain: example.org
      changed: true
      before: v=spf1 include:_spf.example.net ~all
      after: v=spf1 ip4:192.0.2.25 include:_spf.example.net ~all
      record: {"name": "example.org.", "type": "TXT", "ttl": 3600, "rdata": "...", "value": "..."}
      parts: {}
      lookups: 1
      voids: []
      probes:
        - ip: 192.0.2.25
          wanted: pass
          result: pass
          term: ip4:192.0.2.25
          lookups: 0
          voids: 0
          why:
            - 192.0.2.25 sends as postmaster@example.org
            - "example.org: v=spf1 ip4:192.0.2.25 include:_spf.example.net ~all"
            - "  ip4:192.0.2.25: match, so pass"
            - pass by ip4:192.0.2.25 (0 of 10 lookups, 0 of 2 without an answer)
      notes: []
      warnings: []
publish:
  description:
    - All records of all domains as M(postmaster.mail.dns_records) takes them, parts of flat records before what
      includes them, and parts that are no longer needed with C(state=absent).
  returned: success
  type: list
  elements: dict
  sample:
    - {"name": "example.org.", "type": "TXT", "ttl": 3600, "rdata": "...", "value": "..."}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.postmaster.mail.plugins.module_utils import _dns_client as client
from ansible_collections.postmaster.mail.plugins.module_utils._dns import DnsError
from ansible_collections.postmaster.mail.plugins.module_utils._dns_watch import resolver_at, system_resolver
from ansible_collections.postmaster.mail.plugins.module_utils._spf_plan import REFUSALS, STRANGERS
from ansible_collections.postmaster.mail.plugins.module_utils._spf_run import RunError, run

TEXTS: dict[str, Any] = {"type": "list", "elements": "str", "default": []}
RECORD_SPEC: dict[str, Any] = {
    "domain": {"type": "str"},
    "current": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent", "exact"], "default": "present"},
    "terms": TEXTS,
    "known": TEXTS,
    "replaces": TEXTS,
    "all": {"type": "str", "choices": ["-all", "~all", "?all", "+all"]},
    "flatten": {"type": "bool", "default": False},
    "keep": TEXTS,
    "own_addresses": TEXTS,
    "strangers": {"type": "list", "elements": "str", "default": list(STRANGERS)},
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
        publish=[record for one in done for record in one.publish],
        diff={
            "before": "".join(one.lines(one.before) for one in done),
            "after": "".join(one.lines(one.after) for one in done),
        },
    )


if __name__ == "__main__":
    main()
