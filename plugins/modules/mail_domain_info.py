#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: mail_domain_info
short_description: Describe domains by what DNS says of them
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Reads the mail records of domains and returns the description that M(postmaster.mail.mail_records) would derive
    them from - senders, mail exchangers, DMARC, services of mail programs, issuers of certificates and other texts, and
    the addresses of mail exchangers and servers of mail programs that are the domain's own.
  - Services of the catalogue are recognised by their SPF terms, hosts of the inventory by their addresses.
  - Whatever no option describes, and every record that would be published differently, is listed with what to do
    about it.
  - DNS does not list the names below a name. So keys are looked for under usual selectors alone, names without mail
    under C(www) and C(*), TLSA records of the domain's own MX hosts.
  - TTLs are asked from the zones' own servers, as resolvers count them down.
  - A domain that DNS does not answer for is left out and listed; the module fails if that happens to all of them.
  - The playbook C(postmaster.mail.adopt) writes an inventory out of it.
requirements:
  - dnspython >= 2.3 on the host that runs the module (Debian package python3-dnspython)
extends_documentation_fragment:
  - postmaster.mail.action_group.mail
  - postmaster.mail.read_only
options:
  domains:
    description: The domains.
    type: list
    elements: str
    required: true
  hosts:
    description: Addresses by the group or host that has them, as for O(postmaster.mail.mail_records#module:hosts).
    type: dict
    default: {}
  selectors:
    description: Selectors of keys that hosts hold, which need no description.
    type: list
    elements: str
    default: []
  resolver:
    description: Address of the resolver to ask, C(192.0.2.53) or C(192.0.2.53@5353). Without it the system's.
    type: str
  port:
    description: Port of the zones' own servers, which are asked for TTLs.
    type: int
    default: 53
  timeout:
    description: Seconds to wait for each answer.
    type: float
    default: 10
seealso:
  - module: postmaster.mail.mail_records
  - module: postmaster.mail.mail_adopt_info
"""

EXAMPLES = r"""
# ansible localhost -m postmaster.mail.mail_domain_info -a "domains=example.org"
- name: Describe a domain
  postmaster.mail.mail_domain_info:
    domains: [example.org]
    hosts: "{{ groups | postmaster.mail.sender_addresses(hostvars) }}"
  register: found
  delegate_to: localhost

- name: Stop where something would be lost
  ansible.builtin.assert:
    that: found.untranslated | length == 0
    fail_msg: "{{ found.untranslated }}"
"""

RETURN = r"""
mail_domains:
  description: The descriptions, as O(postmaster.mail.mail_records#module:domains) takes them.
  returned: success
  type: list
  elements: dict
  sample:
    - name: example.org
      senders: [{hosts: relays}, {known: google_workspace}]
      spf_all: "~all"
      mx: [{host: smtp.google.com, priority: 1}]
      dmarc: {policy: none, rua: ["mailto:dmarc@example.org"]}
untranslated:
  description: What no option describes, or would be published differently.
  returned: success
  type: list
  elements: dict
  contains:
    domain:
      description: The domain.
      type: str
    item:
      description: What it is.
      type: str
    remedy:
      description: What to do about it.
      type: str
  sample: [{domain: example.org, item: "DMARC: pct=50", remedy: "it means nothing any more (RFC 9989) and is not kept"}]
unanswered:
  description: Domains that DNS did not answer for; they are not described.
  returned: success
  type: list
  elements: str
  sample: []
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.postmaster.mail.plugins.module_utils import _dns_client
from ansible_collections.postmaster.mail.plugins.module_utils._adopt_domain import Described, describe_all
from ansible_collections.postmaster.mail.plugins.module_utils._dns import DnsError, DomainError

ARGUMENTS: dict[str, Any] = {
    "domains": {"type": "list", "elements": "str", "required": True},
    "hosts": {"type": "dict", "default": {}},
    "selectors": {"type": "list", "elements": "str", "default": []},
    "resolver": {"type": "str"},
    "port": {"type": "int", "default": 53},
    "timeout": {"type": "float", "default": 10},
}


def _describe(params: dict[str, Any]) -> list[Described]:
    """The domains, in their order. Raises ``DnsError`` or ``DomainError`` where none can be described."""
    from ansible_collections.postmaster.mail.plugins.module_utils import _dns_watch

    hosts = {name: [found] if isinstance(found, str) else list(found or ()) for name, found in params["hosts"].items()}
    timeout = params["timeout"]
    resolver = _dns_watch.resolver_at(params["resolver"], timeout=timeout) or _dns_watch.system_resolver(
        timeout=timeout
    )
    directory = _dns_watch.Directory(resolver=resolver, port=params["port"], timeout=timeout)
    ttls = _dns_watch.Ttls(directory)
    return describe_all(params["domains"], resolver, hosts=hosts, selectors=params["selectors"], ttls=ttls)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    if _dns_client.DNSPYTHON_IMPORT_ERROR is not None:
        module.fail_json(msg=missing_required_lib("dnspython"), exception=_dns_client.DNSPYTHON_IMPORT_ERROR)
    try:
        found = _describe(module.params)
    except (DnsError, DomainError) as err:
        module.fail_json(msg=str(err))
    if found and all(one.problem for one in found):
        module.fail_json(msg=found[0].problem)
    module.exit_json(
        changed=False,
        mail_domains=[one.as_dict() for one in found if not one.problem],
        untranslated=[left.as_dict() for one in found for left in one.untranslated],
        unanswered=[one.name for one in found if one.problem],
    )


if __name__ == "__main__":
    main()
