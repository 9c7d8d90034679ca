#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: iptables_smtp_dnat
short_description: Who reaches the relay's port 25 through the edge, and how the relay's mail leaves
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - On the host that owns the public address, has connections of the given sources to port 25 of O(destination)
    translated to the relay's private address. All of them are written in one transaction of each family.
  - Its rules are in chains of its own, named C(POSTMASTER-SMTP-*), or in an nftables table of its own. All other rules
    stay as they are, byte for byte, in the kernel and in the files that are loaded at boot.
  - With O(mode=client) it keeps a host from sending to port 25 of anybody but the gateway, and Docker's containers on
    it too.
  - Sources are compared by value, not by spelling.
extends_documentation_fragment:
  - postmaster.mail.action_group.mail
attributes:
  check_mode:
    description: Only reads in check mode, and predicts the change.
    support: full
  diff_mode:
    description: Shows the rules of its chains and the files that change.
    support: full
  idempotent:
    description: Changes nothing when run again, but that O(expires) counts from the last call.
    support: partial
options:
  mode:
    description:
      - V(dnat) is for the edge.
      - V(client) is for hosts that send through the gateway. O(destination) names the gateway, and no connection
        to port 25 leaves the host for any other. Its own addresses stay open.
      - Where Docker runs, V(client) also has the chain C(DOCKER-USER) refuse them, because containers' packets
        never pass C(OUTPUT). What goes into a bridge of Docker passes.
    type: str
    choices: [dnat, client]
    default: dnat
  destination:
    description:
      - Public addresses, or names that this host resolves to such. Without one, the relay's own mail to other
        people's port 25 would come back to it.
    type: list
    elements: str
    required: true
  sources:
    description:
      - Addresses and networks that may connect, IPv4 and IPv6. Required for O(expires).
      - A network may hold the relay, which is then left out. None may be as wide as a part of the internet.
    type: list
    elements: str
    default: []
  private_sources:
    description:
      - Whether private sources are taken although O(destination) is public. From the internet they cannot come, so
        this is for hosts on a network behind the edge.
    type: bool
    default: false
  relay:
    description:
      - The relay's private address, one of each family at most. Required for O(mode=dnat). A family that it has no
        address of is not looked at.
    type: list
    elements: str
    default: []
  relay_port:
    description: Port at which the relay takes what was sent to port 25.
    type: int
    default: 25
  masquerade:
    description:
      - V(egress) has connections from O(relay_networks) leave with an address of the edge, on the way out only. The
        relay sees its clients' addresses, but for clients in its own network, whose answers would not come back
        through the edge.
      - V(generic) has all connections from O(relay_networks), and all that were translated to the relay, carry an
        address of the edge. The relay sees the edge instead of any client. Use it if the relay's default route is not
        the edge, and filter by O(sources), as the relay cannot.
      - V(none) leaves that to others.
    type: str
    choices: [none, egress, generic]
    default: none
  relay_networks:
    description: Networks whose connections are masqueraded. Without any, the relay's addresses alone.
    type: list
    elements: str
    default: []
  outgoing_address:
    description:
      - The edge's public address, one of each family at most, with which the relay's own connections go out. It should
        be the one that SPF and PTR name. Other hosts in O(relay_networks) go out with the interface's address.
      - Needs a O(masquerade).
    type: list
    elements: str
    default: []
  interface:
    description:
      - The public interface, on which the way out leads. Without it, whatever leaves O(relay_networks) is on its way
        out.
    type: str
  forward:
    description:
      - Whether the edge forwards what was translated to the relay and, unless O(masquerade=none), the relay's own
        connections to ports 25, 465 and 587. These rules come first in C(FORWARD).
      - A native table of nftables cannot overrule others, so there are no such rules with O(backend=nftables), and a
        warning names the chain that may drop the packets.
    type: bool
    default: true
  state:
    description:
      - V(present) has the sources be there.
      - V(absent) removes those of O(sources), or all and everything else for this relay if there are none given.
        With O(mode=client) it opens port 25 again.
    type: str
    choices: [present, absent]
    default: present
  purge:
    description:
      - Whether sources that are not in O(sources) are removed, as far as they lead to this O(relay) or from
        this O(destination). Those with O(expires) stay until then.
    type: bool
    default: false
  adopt:
    description:
      - Whether rules in C(PREROUTING) of the form C(-s X -d Y -p tcp --dport 25 -j DNAT --to Z), that somebody wrote by
        hand for the same O(relay) or O(destination), become this module's. They move to its chain, in the kernel and in
        the file, and are purged like the others.
      - With nftables the form is C(ip saddr X ip daddr Y tcp dport 25 dnat to Z), in any chain of type nat on the hook
        prerouting. X may be a set. One of another form that leads to the same by port 25 is refused.
      - If not, they are told in RV(handwritten) and stay.
    type: bool
    default: false
  expires:
    description:
      - Time after which the sources of this call are removed, such as C(90s), C(10m) or C(2h), for a test. A
        timer of systemd does it, whatever becomes of the play. They are never saved, so a restart removes them too.
      - Nothing else is touched by such a call. Needs O(mode=dnat), O(state=present) and no O(purge).
    type: str
  backend:
    description:
      - Which rules are written. V(auto) takes the one that holds rules of this module, else of others on this host,
        else the one that C(iptables) is, else nftables. Where both variants of iptables hold rules, it has to be said.
    type: str
    choices: [auto, iptables-nft, iptables-legacy, nftables]
    default: auto
  persist:
    description:
      - Whether the rules are also written where the host loads them at boot. Only these are, and what the kernel holds
        else is not saved, because addresses that fail2ban bans or rules that Docker makes would come back as old
        ones that nobody takes away.
      - Where etckeeper is installed, C(/etc) is committed before and after.
    type: bool
    default: true
  rules_v4:
    description: The file in the format of C(iptables-save) that is loaded at boot, for IPv4.
    type: path
    default: /etc/iptables/rules.v4
  rules_v6:
    description: The same for IPv6.
    type: path
    default: /etc/iptables/rules.v6
  nftables_conf:
    description:
      - The file that nftables loads at boot. It gets a line that includes C(nftables.d/postmaster-smtp-dnat.nft) beside
        it, where the rules are.
    type: path
    default: /etc/nftables.conf
seealso:
  - module: ansible.builtin.iptables
"""

EXAMPLES = r"""
- name: The servers reach the gateway by its public name, and nobody else does
  postmaster.mail.iptables_smtp_dnat:
    destination: pmg.example.org
    relay: [10.1.0.102, "fd00:1::102"]
    sources: [192.0.2.25, 192.0.2.32/28, "2001:db8:1::/64"]
    purge: true
    masquerade: egress
    outgoing_address: [203.0.113.5, "2001:db8:5::5"]

- name: One more for ten minutes, to have a test site judge a message
  postmaster.mail.iptables_smtp_dnat:
    destination: pmg.example.org
    relay: 10.1.0.102
    sources: 10.1.0.77
    private_sources: true
    expires: 10m

- name: No host sends past the gateway
  postmaster.mail.iptables_smtp_dnat:
    mode: client
    destination: pmg.example.org
"""

RETURN = r"""
backend:
  description: What the rules were written with.
  returned: success
  type: str
  sample: iptables-nft
entries:
  description: What is translated after the run, in check mode as it would be.
  returned: success
  type: list
  elements: dict
  sample: [{"source": "192.0.2.25/32", "destination": "203.0.113.5", "relay": "10.1.0.102", "port": 25}]
  contains:
    source:
      description: Who connects.
      type: str
    destination:
      description: The public address.
      type: str
    relay:
      description: Where that leads.
      type: str
    port:
      description: The port there.
      type: int
    until:
      description: When it ends, in seconds since 1970.
      type: int
      returned: with a deadline
added:
  description: Sources that were (in check mode - would be) added.
  returned: success
  type: list
  elements: str
  sample: [192.0.2.25/32]
removed:
  description: Sources that were (in check mode - would be) removed.
  returned: success
  type: list
  elements: str
  sample: [192.0.2.26/32]
handwritten:
  description: Rules that somebody wrote by hand for the same relay or destination.
  returned: success
  type: list
  elements: str
  sample: ["-A PREROUTING -s 192.0.2.25/32 -d 203.0.113.5/32 -p tcp --dport 25 -j DNAT --to-destination 10.1.0.102:25"]
changed_files:
  description: Files that were (in check mode - would be) written.
  returned: success
  type: list
  elements: str
  sample: [/etc/iptables/rules.v4]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.postmaster.mail.plugins.module_utils._command import CommandError
from ansible_collections.postmaster.mail.plugins.module_utils._files import FileError
from ansible_collections.postmaster.mail.plugins.module_utils._smtp_dnat import SmtpDnatError
from ansible_collections.postmaster.mail.plugins.module_utils._smtp_dnat_run import run

TEXTS: dict[str, Any] = {"type": "list", "elements": "str", "default": []}
ARGUMENT_SPEC: dict[str, Any] = {
    "mode": {"type": "str", "choices": ["dnat", "client"], "default": "dnat"},
    "destination": {"type": "list", "elements": "str", "required": True},
    "sources": TEXTS,
    "private_sources": {"type": "bool", "default": False},
    "relay": TEXTS,
    "relay_port": {"type": "int", "default": 25},
    "masquerade": {"type": "str", "choices": ["none", "egress", "generic"], "default": "none"},
    "relay_networks": TEXTS,
    "outgoing_address": TEXTS,
    "interface": {"type": "str"},
    "forward": {"type": "bool", "default": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "purge": {"type": "bool", "default": False},
    "adopt": {"type": "bool", "default": False},
    "expires": {"type": "str"},
    "backend": {
        "type": "str",
        "choices": ["auto", "iptables-nft", "iptables-legacy", "nftables"],
        "default": "auto",
    },
    "persist": {"type": "bool", "default": True},
    "rules_v4": {"type": "path", "default": "/etc/iptables/rules.v4"},
    "rules_v6": {"type": "path", "default": "/etc/iptables/rules.v6"},
    "nftables_conf": {"type": "path", "default": "/etc/nftables.conf"},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC, required_if=[("mode", "dnat", ["relay"])], supports_check_mode=True
    )
    try:
        result = run(module.params, check_mode=module.check_mode)
    except (SmtpDnatError, CommandError, FileError) as err:
        module.fail_json(msg=str(err))
    for warning in result.pop("warnings"):
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
