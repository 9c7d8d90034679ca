#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: dns_records_info
short_description: See whether every authoritative server answers with given DNS records
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Finds the name servers of the zones that the records are in, asks all of them over TCP, and returns a verdict for
    each record and what each server said. It never fails because of what servers say.
  - A thousand records cost a few round trips to each server.
  - A DKIM record counts when it holds the wanted key, however its tags are written. Of TXT records at names without an
    underscore label only those of the same purpose count, as in O(postmaster.mail.dns_records#module:exclusive).
    TTLs are told and not compared.
  - Where a name is an alias, the servers of its target are asked, too.
requirements:
  - dnspython >= 2.3 on the host that runs the module (Debian package python3-dnspython)
extends_documentation_fragment:
  - postmaster.mail.action_group.dns
  - postmaster.mail.read_only
attributes:
  check_mode:
    description: Does the same in check mode, but does not wait there.
    support: full
options:
  records:
    description: The records. Those that M(postmaster.mail.mail_records) and M(postmaster.mail.dkim_key) return can be
      given as they are.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Absolute name; the final dot may be left out.
        type: str
        required: true
      type:
        description: Record type.
        type: str
        required: true
      ttl:
        description: Not compared; part of RV(records[].lines).
        type: int
        default: 3600
      rdata:
        description:
          - The data as a zone file has it.
          - With O(records[].state=absent) it may be left out to mean all records of the name and type.
        type: str
      value:
        description:
          - Content of a TXT record, without quotes, instead of O(records[].rdata).
          - Where both are given, both must say the same.
        type: str
      strings:
        description: Not used; allowed so that returned records can be given as they are.
        type: list
        elements: str
      state:
        description: Whether the record is expected.
        type: str
        choices: [present, absent]
        default: present
  servers:
    description:
      - Servers that must answer with the records, as C(address) or C(address@port).
        V(auto) stands for all name servers of the zones.
    type: list
    elements: str
    default: [auto]
  port:
    description: Port of these servers.
    type: int
    default: 53
  primary:
    description:
      - A server of the zones, as C(address) or C(address@port), that is asked for their name servers. It need not be
        one of them. Without it, O(resolver) is asked, or the resolvers of the machine that the module runs on.
    type: str
  resolver:
    description: Address (or C(address@port)) of a resolver that must answer with the records, too.
    type: str
  timeout:
    description: Seconds to wait for each answer of a server.
    type: float
    default: 10
  exclusive:
    description: Whether a name and type shall have the given values and no other of the same purpose.
    type: bool
    default: true
  wait:
    description: Wait until all verdicts are V(ok).
    type: dict
    suboptions:
      timeout:
        description: Seconds after which to give up, and return what was seen last.
        type: float
        default: 60
seealso:
  - module: postmaster.mail.dns_records
"""

EXAMPLES = r"""
- name: See whether the keys are published
  postmaster.mail.dns_records_info:
    records: "{{ dkim['keys'] | map(attribute='record') }}"
  delegate_to: localhost
  register: published

- name: Go on only then
  ansible.builtin.assert:
    that: published.ok
    fail_msg: "{{ published.records | map(attribute='seen') | select | join('; ') }}"

- name: Wait until someone has published a record by hand
  postmaster.mail.dns_records_info:
    records:
      - name: _dmarc.example.org
        type: TXT
        value: v=DMARC1; p=none
    resolver: 192.0.2.53
    wait:
      timeout: 600
"""

RETURN = r"""
ok:
  description: Whether all verdicts are V(ok).
  returned: success
  type: bool
records:
  description: One item for each name and type, in the order given.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Its name, absolute.
      type: str
      sample: example.org.
    type:
      description: Its type.
      type: str
      sample: TXT
    wanted:
      description: The wanted data.
      type: list
      elements: str
      sample: ['"v=spf1 -all"']
    lines:
      description: The same as lines of a zone file.
      type: list
      elements: str
      sample: ['example.org. 3600 IN TXT "v=spf1 -all"']
    verdict:
      description:
        - V(ok) if every server answers as wanted, V(propagating) if some do, V(wrong) or V(missing) if none does and
          they have something else in its place or nothing, V(unknown) if none contradicts but one did not answer.
      type: str
      sample: propagating
    seen:
      description: What stands against it, as a clause. Empty if the verdict is V(ok).
      type: str
      sample: ns2.example.org. (192.0.2.53) has no such TXT record at example.org.
    found:
      description: All data of the name and type that any server answers with.
      type: list
      elements: str
    zone:
      description: The zone it is in, empty where the servers were given.
      type: str
      sample: example.org.
    negative_ttl:
      description: Seconds for which resolvers remember that the record was not there (RFC 2308), null if not known.
      type: int
      sample: 900
    servers:
      description: What each server said.
      type: list
      elements: dict
      contains:
        server:
          description: Its name and address.
          type: str
          sample: ns2.example.org. (192.0.2.53)
        state:
          description: V(ok), V(wrong), V(missing), V(unknown), or V(alias) if it names a target that is asked for, too.
          type: str
        values:
          description: The data it answers with.
          type: list
          elements: str
        ttl:
          description: Its TTL, null without data.
          type: int
        alias:
          description: The target, or an empty string.
          type: str
        problem:
          description: Why there is no usable answer, or an empty string.
          type: str
progress:
  description: What happened, line by line.
  returned: success
  type: list
  elements: str
  sample: ["0.1 s: ns1.example.org. (192.0.2.53) answers with all 4 record sets"]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.postmaster.mail.plugins.module_utils import _dns_client as client
from ansible_collections.postmaster.mail.plugins.module_utils._dns import DnsError, DomainError
from ansible_collections.postmaster.mail.plugins.module_utils._dns_publish import wanted
from ansible_collections.postmaster.mail.plugins.module_utils._dns_verdict import OK
from ansible_collections.postmaster.mail.plugins.module_utils._dns_watch import (
    Directory,
    Watch,
    resolver_at,
    split_address,
)

ARGUMENT_SPEC: dict[str, Any] = {
    "records": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "name": {"type": "str", "required": True},
            "type": {"type": "str", "required": True},
            "ttl": {"type": "int", "default": 3600},
            "rdata": {"type": "str"},
            "value": {"type": "str"},
            "strings": {"type": "list", "elements": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
    },
    "servers": {"type": "list", "elements": "str", "default": ["auto"]},
    "port": {"type": "int", "default": 53},
    "primary": {"type": "str"},
    "resolver": {"type": "str"},
    "timeout": {"type": "float", "default": 10},
    "exclusive": {"type": "bool", "default": True},
    "wait": {"type": "dict", "options": {"timeout": {"type": "float", "default": 60}}},
}


def _see(params: dict[str, Any], *, wait: bool) -> dict[str, Any]:
    lines: list[str] = []
    records = wanted(params["records"])
    resolver = resolver_at(params["resolver"], timeout=params["timeout"])
    primary = None
    if params["primary"]:
        address, port = split_address(params["primary"], 53)
        primary = client.DnsServer(address, port=port, timeout=params["timeout"])
    directory = Directory(primary=primary, resolver=resolver, port=params["port"], timeout=params["timeout"])
    watch = Watch(
        directory,
        servers=params["servers"],
        resolver=resolver,
        timeout=params["wait"]["timeout"] if wait else 0,
        exclusive=params["exclusive"],
        progress=lines.append,
    )
    seen = watch.see(records)
    return {
        "ok": all(one.verdict == OK for one in seen),
        "records": [one.as_dict() for one in seen],
        "progress": lines,
    }


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    if client.DNSPYTHON_IMPORT_ERROR:
        module.fail_json(msg=missing_required_lib("dnspython"), exception=client.DNSPYTHON_IMPORT_ERROR)
    try:
        result = _see(module.params, wait=bool(module.params["wait"]) and not module.check_mode)
    except (DnsError, DomainError) as err:
        module.fail_json(msg=str(err))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
