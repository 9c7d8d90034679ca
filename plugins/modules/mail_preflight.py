#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: mail_preflight
short_description: Say what stands in the way of a mail role on a host
version_added: 0.1.0
description:
  - Looks at a host before a mail role touches it, and fails with every obstacle it finds, each as one sentence
    with its remedy.
  - Returns what a role needs to know of the host, so that plays can do without gathering facts.
  - Changes nothing. Needs nothing on the host but Python.
author: The postmaster.mail authors (@postmaster-mail)
extends_documentation_fragment:
  - postmaster.mail.action_group.mail
  - postmaster.mail.read_only
options:
  releases:
    description: Code names of the Debian releases that will do. An empty list leaves the check out.
    type: list
    elements: str
    default: [bookworm, trixie]
  mta:
    description: The mail transport agent the role sets up. Any other that is installed is an obstacle.
    type: str
    choices: [postfix, exim, opensmtpd]
  replace_mta:
    description:
      - Whether another mail transport agent may be replaced. It is no obstacle then, nor are the ports it holds.
    type: bool
    default: false
  packages:
    description: Packages the role needs. Those that are absent come back as RV(missing_packages).
    type: list
    elements: str
    default: []
  ports:
    description: TCP ports the role listens on. One that another program holds is an obstacle.
    type: list
    elements: dict
    default: []
    suboptions:
      port:
        description: The port.
        type: int
        required: true
      address:
        description: The address to listen on. All addresses if left out.
        type: str
      program:
        description: Names of programs that may hold it already, as the kernel, their file or their service names them.
        type: list
        elements: str
        default: []
  min_free_mb:
    description:
      - Space needed, a number of mebibytes for each path.
      - A path that does not exist yet means the nearest directory above it.
    type: dict
    default: {}
  outbound_25:
    description: A mail server that the host must be able to reach.
    type: dict
    suboptions:
      host:
        description: Name or address of the server.
        type: str
        required: true
      port:
        description: Its port.
        type: int
        default: 25
      required:
        description: Whether it is an obstacle, rather than a warning, if the server cannot be reached.
        type: bool
        default: true
      timeout:
        description: Seconds to try at most.
        type: float
        default: 4
  ptr:
    description: Reverse DNS that receivers will ask for.
    type: dict
    suboptions:
      addresses:
        description:
          - Public addresses the host is seen with. Those it sends from if left out, without the private ones.
        type: list
        elements: str
        default: []
      hostname:
        description: The name the PTR of each must hold, which must have the address in its turn.
        type: str
        required: true
  public_name:
    description: A name under which the host is found.
    type: dict
    suboptions:
      hostname:
        description: The name. It may be an alias.
        type: str
        required: true
      addresses:
        description:
          - Addresses it must have, and no others. Each must be one of the host's own.
          - Without an IPv6 address the name must have none either, and the same goes for IPv4.
        type: list
        elements: str
        required: true
  dnsbls:
    description: DNS lists of addresses that must answer the name servers of this host.
    type: list
    elements: dict
    default: []
    suboptions:
      zone:
        description: The zone.
        type: str
        required: true
      key:
        description: The secret that stands before the zone.
        type: str
        default: ""
      replies:
        description: The answers that mean a listing. They are checked to be some.
        type: str
        default: 127.0.0.[2..254]
  services:
    description: Units whose state is wanted in RV(services) and RV(enabled_services).
    type: list
    elements: str
    default: []
  warn_only:
    description: Checks whose obstacles become warnings.
    type: list
    elements: str
    choices: [release, mta, port, space, outbound_25, ptr, name, address, dnsbl]
    default: []
"""

EXAMPLES = r"""
- name: Look for what stands in the way
  postmaster.mail.mail_preflight:
    mta: postfix
    packages: [postfix, postfix-lmdb]
    ports:
      - port: 25
        address: 127.0.0.1
        program: master
    min_free_mb:
      /var/spool: 200
    services: [postfix]
  register: preflight

- name: Install what is missing
  ansible.builtin.apt:
    name: "{{ preflight.missing_packages }}"
    update_cache: true
  when: preflight.missing_packages | length > 0

- name: Ask whether a relay could send mail to the world from here
  postmaster.mail.mail_preflight:
    outbound_25:
      host: mx.example.net
    ptr:
      addresses: [192.0.2.25]
      hostname: relay.example.org
    warn_only: [ptr]
"""

RETURN = r"""
checks:
  description: Every judgement.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The check, one of those that O(warn_only) takes.
      type: str
    verdict:
      description: V(ok), V(warning) or V(obstacle).
      type: str
    message:
      description: The judgement in one sentence, with the remedy if there is something to mend.
      type: str
  sample:
    - name: port
      verdict: obstacle
      message: >-
        Port 25 is taken by exim4 (process 411): stop it with `systemctl disable --now exim4.service`,
        or give it another port or address.
distribution:
  description: The distribution as os-release names it.
  returned: always
  type: str
  sample: debian
release:
  description: Code name of the release.
  returned: always
  type: str
  sample: trixie
hostname:
  description: The host's short name.
  returned: always
  type: str
  sample: relay1
fqdn:
  description: The host's full name, or the short one where it has none.
  returned: always
  type: str
  sample: relay1.example.org
ipv6:
  description: Whether the host has an IPv6 address of global scope.
  returned: always
  type: bool
advertised_routes:
  description:
    - Interfaces over which a router has told the kernel of a default route for IPv6. The kernel does not listen any
      more once it forwards packets, unless C(net.ipv6.conf.<interface>.accept_ra) is 2.
  returned: always
  type: list
  elements: str
  sample: [eth0]
addresses:
  description: The address the host sends from, by family. A family without a route is left out.
  returned: always
  type: dict
  sample: {ipv4: 192.0.2.25, ipv6: 2001:db8::25}
missing_packages:
  description: Those of O(packages) that are not installed, in the order given.
  returned: always
  type: list
  elements: str
versions:
  description: Version of each of O(packages) that is installed.
  returned: always
  type: dict
  sample: {postfix: 3.10.5-1+deb13u1}
mtas:
  description: Installed packages that are mail transport agents.
  returned: always
  type: list
  elements: str
etckeeper:
  description: Whether etckeeper is installed and initialised.
  returned: always
  type: bool
services:
  description: State of each of O(services), V(active), V(inactive) or V(absent).
  returned: always
  type: dict
  sample: {postfix: active}
enabled_services:
  description: Those of O(services) that start at boot.
  returned: always
  type: list
  elements: str
  sample: [postfix]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.postmaster.mail.plugins.module_utils import _dnsbl
from ansible_collections.postmaster.mail.plugins.module_utils import _preflight as pf
from ansible_collections.postmaster.mail.plugins.module_utils._preflight_client import LocalHost

PORT_OPTIONS = {
    "port": {"type": "int", "required": True},
    "address": {"type": "str"},
    "program": {"type": "list", "elements": "str", "default": []},
}
OUTBOUND_OPTIONS = {
    "host": {"type": "str", "required": True},
    "port": {"type": "int", "default": 25},
    "required": {"type": "bool", "default": True},
    "timeout": {"type": "float", "default": 4},
}
PTR_OPTIONS = {
    "addresses": {"type": "list", "elements": "str", "default": []},
    "hostname": {"type": "str", "required": True},
}
NAME_OPTIONS = {
    "hostname": {"type": "str", "required": True},
    "addresses": {"type": "list", "elements": "str", "required": True},
}
DNSBL_OPTIONS = {
    "zone": {"type": "str", "required": True},
    "key": {"type": "str", "default": "", "no_log": True},
    "replies": {"type": "str", "default": _dnsbl.USUAL_REPLIES},
}
ARGUMENT_SPEC = {
    "releases": {"type": "list", "elements": "str", "default": ["bookworm", "trixie"]},
    "mta": {"type": "str", "choices": ["postfix", "exim", "opensmtpd"]},
    "replace_mta": {"type": "bool", "default": False},
    "packages": {"type": "list", "elements": "str", "default": []},
    "ports": {"type": "list", "elements": "dict", "default": [], "options": PORT_OPTIONS},
    "min_free_mb": {"type": "dict", "default": {}},
    "outbound_25": {"type": "dict", "options": OUTBOUND_OPTIONS},
    "ptr": {"type": "dict", "options": PTR_OPTIONS},
    "public_name": {"type": "dict", "options": NAME_OPTIONS},
    "dnsbls": {"type": "list", "elements": "dict", "default": [], "options": DNSBL_OPTIONS},
    "services": {"type": "list", "elements": "str", "default": []},
    "warn_only": {"type": "list", "elements": "str", "choices": list(pf.CHECK_NAMES), "default": []},
}


def whole_number(path: str, value: object) -> int:
    """A number of MiB out of an untyped option."""
    try:
        return int(str(value))
    except ValueError as err:
        raise pf.PreflightError(f"min_free_mb: {path} needs a whole number of MiB, not {value!r}") from err


def build_request(params: dict[str, Any]) -> pf.Request:
    """The request the options describe. Raises :class:`PreflightError`."""
    outbound, ptr, name = params["outbound_25"], params["ptr"], params["public_name"]
    return pf.Request(
        releases=tuple(params["releases"]),
        mta=params["mta"],
        replace_mta=params["replace_mta"],
        packages=tuple(params["packages"]),
        ports=tuple(pf.wanted_port(item["port"], item["address"], item["program"]) for item in params["ports"]),
        min_free_mb={path: whole_number(path, value) for path, value in params["min_free_mb"].items()},
        outbound=pf.Outbound(**outbound) if outbound else None,
        ptr=pf.Ptr(tuple(ptr["addresses"]), ptr["hostname"]) if ptr else None,
        public_name=pf.PublicName(name["hostname"], tuple(name["addresses"])) if name else None,
        dnsbls=tuple(map(_dnsbl.Dnsbl.of, params["dnsbls"])),
        services=tuple(params["services"]),
        warn_only=frozenset(params["warn_only"]),
    )


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        report = pf.examine(build_request(module.params), LocalHost())
    except (pf.PreflightError, _dnsbl.DnsblError) as err:
        module.fail_json(msg=str(err))
    result = {**report.facts, "checks": [check.as_dict() for check in report.checks]}
    for message in report.messages(pf.WARNING):
        module.warn(message)
    obstacles = report.messages(pf.OBSTACLE)
    if obstacles:
        module.fail_json(msg="\n".join(obstacles), **result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
