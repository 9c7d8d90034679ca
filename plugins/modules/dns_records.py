#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: dns_records
short_description: Publish DNS records by dynamic update, or write them to a zone file
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Makes an authoritative DNS server hold the given records, by dynamic updates (RFC 2136) over TCP, signed with TSIG.
  - Reads what the server holds first and sends only what differs, in as few update messages as fit in 64 KiB each.
    The changes of one name take effect at once; names that only lose records come last.
  - Only the names and types that are given are touched. After the update the server is asked again, and the module
    fails when it does not hold what it confirmed.
  - If asked, it waits until every authoritative server of the zone, and a resolver, answer with the records.
  - Without a server to update, O(zone_file) writes the records to a file that you include from your zone.
requirements:
  - dnspython >= 2.3 on the host that runs the module (Debian package python3-dnspython)
extends_documentation_fragment:
  - postmaster.mail.action_group.dns
attributes:
  check_mode:
    description: Can run in check mode, where it only reads.
    support: full
  diff_mode:
    description: Lists the records of every set that changes, before and after.
    support: full
  idempotent:
    description: A second run sends no update.
    support: full
options:
  server:
    description:
      - Address or name of the zone's primary server. Required unless O(zone_file) is given.
    type: str
  port:
    description: Its TCP port.
    type: int
    default: 53
  timeout:
    description: Seconds to wait for each answer of a server.
    type: float
    default: 10
  tsig_name:
    description: Name of the TSIG key. Without it updates are sent unsigned.
    type: str
  tsig_algorithm:
    description: Algorithm of the TSIG key.
    type: str
    choices: [hmac-sha256, hmac-sha512, hmac-sha384, hmac-sha224, hmac-sha1, hmac-md5]
    default: hmac-sha256
  tsig_secret:
    description: Secret of the TSIG key, in base64. Required with O(tsig_name).
    type: str
  zone:
    description:
      - Zone that all records are in. Without it the zone of each name is found by the SOA record on O(server).
    type: str
  records:
    description:
      - The records. Those that M(postmaster.mail.mail_records) and M(postmaster.mail.dkim_key) return can be given as
        they are.
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
        description: Seconds for which others may keep the record. All records of one name and type have the same.
        type: int
        default: 3600
      rdata:
        description:
          - The data as a zone file has it, names in it absolute, e.g. V(10 mx.example.org.) for MX, quoted strings for
            TXT.
          - With O(state=absent) it may be left out to remove all records of the name and type.
        type: str
      value:
        description:
          - Content of a TXT record, without quotes, instead of O(records[].rdata). It is split into strings as needed.
          - Where both are given, both must say the same.
        type: str
      strings:
        description: Not used; allowed so that returned records can be given as they are.
        type: list
        elements: str
      state:
        description: Overrides O(state) for this record, so that one call can publish some records and remove others.
        type: str
        choices: [present, absent]
  state:
    description: Whether the records shall exist.
    type: str
    choices: [present, absent]
    default: present
  exclusive:
    description:
      - Whether a name and type shall have exactly the given values. With V(false) other values stay beside them.
      - TXT records at names without an underscore label belong to many services. There only records of the same
        purpose, told by how they begin (C(v=spf1), C(google-site-verification=)), are replaced; the others and the
        TTL they share stay.
    type: bool
    default: true
  losses:
    description:
      - Whether records may lose something that is there now and not in the new ones - a term of an SPF record, a tag of
        a DMARC record, an address for reports, another DKIM key, an MX host. V(refuse) changes nothing in that case
        and says what would be lost; check mode only lists it, in RV(replaced).
      - What is asked to be absent, TLSA records and the number of an MTA-STS policy are no loss.
    type: str
    choices: [allow, refuse]
    default: allow
  wait:
    description:
      - Wait until the records are visible. Not done in check mode.
    type: dict
    suboptions:
      servers:
        description:
          - Servers that must answer with the records, as C(address) or C(address@port).
            V(auto) stands for all name servers that the zone lists.
        type: list
        elements: str
        default: [auto]
      port:
        description: Port of these servers.
        type: int
        default: 53
      resolver:
        description:
          - Address (or C(address@port)) of a resolver that must answer with the records, too; TTLs are not compared
            there. It is also asked for the addresses of name servers.
        type: str
      timeout:
        description: Seconds after which to give up.
        type: float
        default: 60
  zone_file:
    description:
      - Path of a file to hold the records instead of an update. Its other records are kept. It is replaced in one step.
      - Include it from your zone (C($INCLUDE)) and raise the zone's serial number yourself.
    type: path
  mode:
    description: Mode of a new O(zone_file), in octal.
    type: str
    default: '0644'
"""

EXAMPLES = r"""
- name: Publish the mail records and wait until every name server has them
  postmaster.mail.dns_records:
    server: ns1.example.org
    tsig_name: estate
    tsig_secret: "{{ vault_tsig_secret }}"
    records: "{{ mail.records }}"
    wait:
      timeout: 120
  delegate_to: localhost

- name: Remove a retired DKIM key
  postmaster.mail.dns_records:
    server: ns1.example.org
    tsig_name: estate
    tsig_secret: "{{ vault_tsig_secret }}"
    records:
      - name: rsa-202601._domainkey.example.org
        type: TXT
    state: absent

- name: Write a zone-file fragment where there is no server to update
  postmaster.mail.dns_records:
    zone_file: /etc/bind/mail.example.org.inc
    records: "{{ mail.records }}"
"""

RETURN = r"""
updates:
  description: How many update messages were sent.
  returned: success
  type: int
  sample: 1
changed_records:
  description: The names and types that changed, or would in check mode.
  returned: success
  type: list
  elements: str
  sample: ["example.org. TXT"]
zones:
  description: The zones that changed, or would in check mode.
  returned: success
  type: list
  elements: str
  sample: ["example.org."]
replaced:
  description: The records that gave way to others of their name and type, or would in check mode.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the records.
      type: str
    type:
      description: Their type.
      type: str
    before:
      description: The data that goes.
      type: list
      elements: str
    after:
      description: The data that comes.
      type: list
      elements: str
    lost:
      description: What of it is in no record of this name and type any more, see O(losses).
      type: list
      elements: str
visible:
  description: The servers that answer with all records, and after how many seconds of waiting they did.
  returned: when O(wait) is given and not in check mode
  type: list
  elements: dict
  sample: [{"server": "ns1.example.org. (192.0.2.53)", "seconds": 0.1}]
progress:
  description: What happened while waiting, line by line.
  returned: when O(wait) is given and not in check mode, also when it fails
  type: list
  elements: str
  sample: ["0.1 s: ns1.example.org. (192.0.2.53) answers with all 4 record sets"]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.postmaster.mail.plugins.module_utils import _dns_client as client
from ansible_collections.postmaster.mail.plugins.module_utils import _dns_plan as planner
from ansible_collections.postmaster.mail.plugins.module_utils._dns import DnsError, DomainError
from ansible_collections.postmaster.mail.plugins.module_utils._dns_publish import (
    NotVisible,
    Publication,
    publish,
    publish_file,
    wanted,
)
from ansible_collections.postmaster.mail.plugins.module_utils._files import FileError

RECORD_SPEC: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "type": {"type": "str", "required": True},
    "ttl": {"type": "int", "default": 3600},
    "rdata": {"type": "str"},
    "value": {"type": "str"},
    "strings": {"type": "list", "elements": "str"},
    "state": {"type": "str", "choices": ["present", "absent"]},
}
WAIT_SPEC: dict[str, Any] = {
    "servers": {"type": "list", "elements": "str", "default": ["auto"]},
    "port": {"type": "int", "default": 53},
    "resolver": {"type": "str"},
    "timeout": {"type": "float", "default": 60},
}
ARGUMENT_SPEC: dict[str, Any] = {
    "server": {"type": "str"},
    "port": {"type": "int", "default": 53},
    "timeout": {"type": "float", "default": 10},
    "tsig_name": {"type": "str"},
    "tsig_algorithm": {
        "type": "str",
        "choices": ["hmac-sha256", "hmac-sha512", "hmac-sha384", "hmac-sha224", "hmac-sha1", "hmac-md5"],
        "default": "hmac-sha256",
    },
    "tsig_secret": {"type": "str", "no_log": True},
    "zone": {"type": "str"},
    "records": {"type": "list", "elements": "dict", "required": True, "options": RECORD_SPEC},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "exclusive": {"type": "bool", "default": True},
    "losses": {"type": "str", "choices": ["allow", "refuse"], "default": "allow"},
    "wait": {"type": "dict", "options": WAIT_SPEC},
    "zone_file": {"type": "path"},
    "mode": {"type": "str", "default": "0644"},
}


def _server(params: dict[str, Any]) -> client.DnsServer:
    key = None
    if params["tsig_name"]:
        key = client.TsigKey(params["tsig_name"], params["tsig_secret"], params["tsig_algorithm"])
        key.build()
    return client.DnsServer(params["server"], port=params["port"], timeout=params["timeout"], key=key)


def _run(module: AnsibleModule) -> Publication:
    params = module.params
    records = wanted(params["records"], state=params["state"])
    if params["zone_file"]:
        return publish_file(
            params["zone_file"],
            records,
            exclusive=params["exclusive"],
            losses=params["losses"] == "allow",
            mode=_mode(params["mode"]),
            check=module.check_mode,
        )
    return publish(
        _server(params),
        records,
        zone=params["zone"],
        exclusive=params["exclusive"],
        losses=params["losses"] == "allow",
        wait=params["wait"],
        check=module.check_mode,
    )


def _result(done: Publication) -> dict[str, Any]:
    return {
        "changed": done.plan.changed,
        "diff": planner.diff(done.plan, done.place),
        "updates": done.updates,
        "changed_records": [" ".join(key) for key in done.plan.keys],
        "zones": done.zones,
        "replaced": [one.as_dict() for one in done.replaced],
        **done.waited,
    }


def _mode(text: str) -> int:
    try:
        return int(text, 8) & 0o7777
    except ValueError as err:
        raise DnsError(f"mode {text!r} is not octal; write it as '0644'") from err


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        supports_check_mode=True,
        required_one_of=[("server", "zone_file")],
        mutually_exclusive=[("server", "zone_file"), ("zone_file", "wait")],
        required_together=[("tsig_name", "tsig_secret")],
    )
    if client.DNSPYTHON_IMPORT_ERROR:
        module.fail_json(msg=missing_required_lib("dnspython"), exception=client.DNSPYTHON_IMPORT_ERROR)
    try:
        done = _run(module)
    except NotVisible as err:
        module.fail_json(msg=str(err), **_result(err.done))
    except (DnsError, DomainError, FileError) as err:
        module.fail_json(msg=str(err))
    module.exit_json(**_result(done))


if __name__ == "__main__":
    main()
