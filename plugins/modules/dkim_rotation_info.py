#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: dkim_rotation_info
short_description: Say what the next step of every DKIM key is
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Takes the keys of all hosts that sign, asks every authoritative name server what it says of them, and returns the
    next step of each key and what each host is to do for it. The playbook C(postmaster.mail.rotate_dkim) does it.
  - No key is to sign before every name server publishes it and no resolver can remember that it did not, and no key
    loses its record while mail that it signed may be under way.
  - It changes nothing. What it needs to know of earlier days, M(postmaster.mail.dkim_key) keeps with the keys.
requirements:
  - dnspython >= 2.3 on the host that runs the module (Debian package python3-dnspython)
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
    description: It changes nothing.
    support: full
options:
  signers:
    description: All hosts that sign.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The host's name in the inventory.
        type: str
        required: true
      keys:
        description: Its keys, as M(postmaster.mail.dkim_key) returns them.
        type: list
        elements: dict
        default: []
      share:
        description: Hosts with the same word have their keys in common. Without it a host has keys of its own.
        type: str
      algorithms:
        description: What its signer can sign with.
        type: list
        elements: str
        choices: [rsa, ed25519]
        default: [rsa, ed25519]
      program:
        description: What its signer is called.
        type: str
        default: the signer
      queue_lifetimes:
        description: How long a message that was signed may wait there, such as C(5d). The longest counts.
        type: list
        elements: str
        default: []
      last_attempt:
        description: How long after that the last attempt to deliver it may end.
        type: str
        default: 2h
      time:
        description:
          - What its clock said when it was asked for its keys, as M(postmaster.mail.dkim_key) returns it. Nothing is
            done where it differs from this machine's by more than five minutes.
        type: str
      one_key:
        description: Whether it signs with one key, under one selector, for all its domains.
        type: bool
        default: false
      signed:
        description:
          - Messages that it has just signed, as M(postmaster.mail.dkim_signature_info) returns them. Without them it is
            taken to sign with its active keys.
        type: list
        elements: dict
      reached:
        description: Whether it could be asked for its keys.
        type: bool
        default: true
      left_out:
        description:
          - Whether it was not asked, for this run is not about it. Keys that it has in common with others stay as they
            are.
        type: bool
        default: false
  domains:
    description: The mail domains, usually C(mail_domains) of the inventory. Of each, C(name), C(ttl) and C(dkim) count.
    type: list
    elements: dict
    required: true
  rotate_after:
    description: The age at which a key is to be followed by another.
    type: str
    default: 180d
  rotate_now:
    description: Whether every key is old enough, unless a rotation is under way.
    type: bool
    default: false
  settle:
    description:
      - The least time between a key being visible at every name server and its use. It is longer where TTLs ask for it.
    type: str
    default: 1d
  keep:
    description:
      - For how long a key that signs nothing any more stays published after the last message that it signed has left
        the signer's own queue. This is for what smarthosts and receivers keep.
    type: str
    default: 14d
  revoked:
    description: The least time for which the record of a key says that it is revoked, before it is removed.
    type: str
    default: 30d
  replace:
    description: Whether valid keys of somebody else are replaced in DNS. Without it they are in the way.
    type: bool
    default: false
  attempted:
    description: RV(attempted) of earlier rounds of the same run. What is not visible by then is blocked.
    type: list
    elements: list
    default: []
  wait:
    description: For how many seconds to wait until what O(attempted) names is visible.
    type: float
    default: 0
  primary:
    description:
      - The name server that is updated, C(address) or C(address@port). Without it records are published by hand, and
        O(resolver) tells which name servers there are.
    type: str
  port:
    description: Port of the other name servers.
    type: int
    default: 53
  resolver:
    description:
      - Resolver that finds the name servers of zones, C(address) or C(address@port). This machine's if left out.
    type: str
  timeout:
    description: Seconds to wait for an answer of a name server.
    type: float
    default: 10
seealso:
  - module: postmaster.mail.dkim_key
  - module: postmaster.mail.dns_records
"""

EXAMPLES = r"""
- name: Look at the keys
  postmaster.mail.dkim_key:
    keys: [{domain: corp.example}]
  register: dkim
  check_mode: true

- name: What is next
  postmaster.mail.dkim_rotation_info:
    signers:
      - name: relay1
        keys: "{{ dkim['keys'] }}"
        queue_lifetimes: [5d]
    domains:
      - name: corp.example
  delegate_to: localhost
  register: rotation

- name: Show it
  ansible.builtin.debug:
    var: rotation.table
"""

RETURN = r"""
steps:
  description: The next step of every key.
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description:
        - V(generate), V(bring), V(publish), V(switch), V(revoke), V(withdraw) and V(remove) are to be done now;
          V(wait), V(keep) and V(rest) have their time; V(blocked) is in need of somebody.
      type: str
    domain:
      description: The domain.
      type: str
    selector:
      description: The selector, empty where something is in the way of all keys of RV(steps[].algorithm).
      type: str
    algorithm:
      description: The key's algorithm.
      type: str
    state:
      description: The key's state.
      type: str
    signers:
      description: The hosts that are to act.
      type: list
      elements: str
    until:
      description: When the step is due, in UTC, or an empty string.
      type: str
    why:
      description: What it waits for or what is in the way.
      type: str
table:
  description: The same for people, a line for each key.
  returned: success
  type: list
  elements: str
  sample:
    - "domain        selector         state   since                 on      next   when"
    - "corp.example  rsa-202611-k3f9  active  2026-11-20T11:00:00Z  relay1  renew  2027-05-19T11:00:00Z"
blocked:
  description: A sentence for each step that is V(blocked).
  returned: success
  type: list
  elements: str
due:
  description: Whether there is anything to do now.
  returned: success
  type: bool
again:
  description: Whether there may be more to do as soon as that is done.
  returned: success
  type: bool
work:
  description: What each host is to do, and C(publish), the records to publish, for the playbook.
  returned: success
  type: dict
attempted:
  description: What O(attempted) of the next round is to be.
  returned: success
  type: list
  elements: list
time:
  description: The time that counted as now, in UTC.
  returned: success
  type: str
"""

import time
from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.postmaster.mail.plugins.module_utils import _dns_client as client
from ansible_collections.postmaster.mail.plugins.module_utils import _rotation as rotation
from ansible_collections.postmaster.mail.plugins.module_utils import _rotation_work as working
from ansible_collections.postmaster.mail.plugins.module_utils._dns import DnsError
from ansible_collections.postmaster.mail.plugins.module_utils._dns_watch import Directory, resolver_at, split_address
from ansible_collections.postmaster.mail.plugins.module_utils._rotation_look import look

PAUSE = 0.5  # seconds between two looks at the name servers
ALGORITHMS = ["rsa", "ed25519"]
SIGNER_SPEC: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "keys": {"type": "list", "elements": "dict", "default": [], "no_log": False},
    "share": {"type": "str"},
    "algorithms": {"type": "list", "elements": "str", "choices": ALGORITHMS, "default": ALGORITHMS},
    "program": {"type": "str", "default": "the signer"},
    "queue_lifetimes": {"type": "list", "elements": "str", "default": []},
    "last_attempt": {"type": "str", "default": "2h"},
    "time": {"type": "str"},
    "one_key": {"type": "bool", "default": False},
    "signed": {"type": "list", "elements": "dict"},
    "reached": {"type": "bool", "default": True},
    "left_out": {"type": "bool", "default": False},
}
ARGUMENT_SPEC: dict[str, Any] = {
    "signers": {"type": "list", "elements": "dict", "required": True, "options": SIGNER_SPEC},
    "domains": {"type": "list", "elements": "dict", "required": True},
    "rotate_after": {"type": "str", "default": "180d"},
    "rotate_now": {"type": "bool", "default": False},
    "settle": {"type": "str", "default": "1d"},
    "keep": {"type": "str", "default": "14d"},
    "revoked": {"type": "str", "default": "30d"},
    "replace": {"type": "bool", "default": False},
    "attempted": {"type": "list", "elements": "list", "default": []},
    "wait": {"type": "float", "default": 0},
    "primary": {"type": "str"},
    "port": {"type": "int", "default": 53},
    "resolver": {"type": "str"},
    "timeout": {"type": "float", "default": 10},
}


def policy(params: dict[str, Any]) -> rotation.Policy:
    """When keys are due, from the module's options."""
    return rotation.Policy(
        rotate_now=params["rotate_now"],
        replace=params["replace"],
        attempted=frozenset((str(name), str(state)) for name, state in params["attempted"]),
        by_hand=params["primary"] is None,
        **{name: working.seconds(params[name], name) for name in ("rotate_after", "settle", "keep", "revoked")},
    )


def directory(params: dict[str, Any]) -> Directory:
    """Who knows the name servers."""
    primary, timeout = None, params["timeout"]
    if params["primary"] is not None:
        address, port = split_address(params["primary"], 53)
        primary = client.DnsServer(address, port=port, timeout=timeout)
    resolver = resolver_at(params["resolver"], timeout=timeout)
    return Directory(primary=primary, resolver=resolver, port=params["port"], timeout=timeout)


def run(params: dict[str, Any]) -> dict[str, Any]:
    """The next steps; where something was just published, as soon as it is visible or the time to wait is over."""
    signers = working.signers(params["signers"], now=int(time.time()))
    domains, rules = working.domains(params["domains"]), policy(params)
    known = {domain.name for domain in domains}
    if len(known) < len(domains):
        raise working.InputError("domains describes a domain twice: merge the entries")
    end = time.monotonic() + params["wait"]
    while True:
        seen = look(directory(params), rotation.names(signers, domains))
        now = int(time.time())  # not earlier than what was seen, so that no wait begins before it
        steps = rotation.plan(signers, domains, seen, now=now, policy=rules)
        if not _late(steps, domains, rules) or time.monotonic() >= end:
            break
        time.sleep(PAUSE)
    work = working.work(steps, signers, domains)
    return {
        "steps": [_told(step) for step in steps],
        "table": working.table(steps),
        "blocked": work.blocked,
        "due": work.any,
        "work": {name: part for name, part in asdict(work).items() if name not in ("again", "attempted", "blocked")},
        "again": work.again,
        "attempted": [*params["attempted"], *work.attempted],
        "time": working.show_time(now),
    }


def _late(steps: list[rotation.Step], domains: list[rotation.Domain], rules: rotation.Policy) -> bool:
    """Whether something that this run published is not visible yet."""
    of = {domain.name: domain for domain in domains}
    places = {(of[step.domain].owner(step.selector), step.state) for step in steps if step.kind == "blocked"}
    return bool(places & rules.attempted)


def _told(step: rotation.Step) -> dict[str, Any]:
    names = ("kind", "domain", "selector", "algorithm", "state", "why")
    return {
        **{name: getattr(step, name) for name in names},
        "signers": list(step.signers),
        "until": working.show_time(step.until),
    }


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    if client.DNSPYTHON_IMPORT_ERROR:
        module.fail_json(msg=missing_required_lib("dnspython"), exception=client.DNSPYTHON_IMPORT_ERROR)
    try:
        result = run(module.params)
    except (working.InputError, DnsError) as err:
        module.fail_json(msg=str(err))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
