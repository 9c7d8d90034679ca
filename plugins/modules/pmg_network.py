#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: pmg_network
short_description: Networks that may send through a Proxmox Mail Gateway
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Has a gateway trust the given networks, all with one login - the list that its web interface shows under
    Configuration, Mail Proxy, Networks.
  - Asks for what is there first and sends only what differs, which for a list that is right is nothing.
  - Networks are compared by value, not by spelling. Removing one removes every spelling of it.
  - A change takes the gateway some two seconds. Where an answer is lost, it looks at what became of it and goes on; a
    run that was cut off is completed by the next.
  - Made for Proxmox Mail Gateway 8 and 9.
extends_documentation_fragment:
  - postmaster.mail.pmg
options:
  networks:
    description: The networks. Two that mean the same are refused.
    type: list
    elements: dict
    default: []
    suboptions:
      cidr:
        description: The network. An address is a network of one.
        type: str
        required: true
      comment:
        description: What the list says beside it. Without it, the comment stays as it is; an empty one is removed.
        type: str
  state:
    description: Whether the networks should be trusted.
    type: str
    choices: [present, absent]
    default: present
  purge:
    description: Whether all other networks are removed from the list. Without any O(networks) that is all there are.
    type: bool
    default: false
  reachable_from_outside:
    description:
      - Whether the port on which trusted hosts are served can be reached from the internet.
      - If so, private networks are refused, as strangers come with such addresses through a translation of addresses,
        and so are networks wider than an organisation has (16 bits, 32 with IPv6).
    type: bool
    default: true
seealso:
  - name: Proxmox Mail Gateway API
    description: Reference of the API.
    link: https://pmg.proxmox.com/pmg-docs/api-viewer/
"""

EXAMPLES = r"""
- name: The servers may send through the gateway, and nobody else
  postmaster.mail.pmg_network:
    api_host: pmg.example.org
    api_user: ansible@pmg
    api_password: "{{ vault_pmg_password }}"
    networks:
      - {cidr: 192.0.2.25, comment: web server}
      - {cidr: "2001:db8:1::/64", comment: cluster}
    purge: true
  delegate_to: localhost

- name: One of them has left
  postmaster.mail.pmg_network:
    api_host: pmg.example.org
    networks: [{cidr: 192.0.2.25}]
    state: absent
  delegate_to: localhost

- name: On the gateway itself, whose trusted port only the firewall in front of it reaches
  postmaster.mail.pmg_network:
    api_transport: pmgsh
    networks: [{cidr: 10.0.0.0/8, comment: servers behind the firewall}]
    reachable_from_outside: false
"""

RETURN = r"""
networks:
  description: The list after the run, in check mode as it would be.
  returned: success
  type: list
  elements: dict
  sample: [{"cidr": "192.0.2.25/32", "comment": "web server"}]
changed_networks:
  description: Those that were (in check mode - would be) added, changed or removed.
  returned: success
  type: list
  elements: str
  sample: [192.0.2.25/32]
requests:
  description: How many requests that took, logging in not counted.
  returned: success
  type: int
  sample: 2
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule, env_fallback
from ansible_collections.postmaster.mail.plugins.module_utils import _pmg
from ansible_collections.postmaster.mail.plugins.module_utils._command import Runner
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_client import Api, Https, Shell
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_run import Outcome, bring_about

ARGUMENT_SPEC: dict[str, Any] = {
    "api_transport": {"type": "str", "choices": ["https", "pmgsh"], "default": "https"},
    "api_host": {"type": "str"},
    "api_port": {"type": "int", "default": 8006},
    "api_user": {"type": "str", "default": "root@pam"},
    "api_password": {"type": "str", "no_log": True, "fallback": (env_fallback, ["PMG_PASSWORD"])},
    "ca_path": {"type": "path"},
    "validate_certs": {"type": "bool", "default": True},
    "api_timeout": {"type": "int", "default": 30},
    "networks": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"cidr": {"type": "str", "required": True}, "comment": {"type": "str"}},
    },
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "purge": {"type": "bool", "default": False},
    "reachable_from_outside": {"type": "bool", "default": True},
}


def api_of(params: dict[str, Any]) -> Api:
    """The way to the gateway that the options name; raises :class:`PmgError`."""
    if params["api_transport"] == "pmgsh":
        return Api(Shell(Runner(), timeout=params["api_timeout"]))
    return Api(
        Https(
            params["api_host"],
            params["api_user"],
            params["api_password"],
            port=params["api_port"],
            ca_path=params["ca_path"],
            validate_certs=params["validate_certs"],
            timeout=params["api_timeout"],
        )
    )


def wanted_items(params: dict[str, Any]) -> list[_pmg.Item]:
    """The networks that are asked for; raises :class:`PmgError` before anything is sent."""
    items = []
    for index, one in enumerate(params["networks"]):
        try:
            key = _pmg.network_key(one["cidr"])
            if params["state"] == "present" and params["reachable_from_outside"]:
                _pmg.check_trust(key)
            comment = one.get("comment")
            values = {} if comment is None else {"comment": _pmg.check_text("the comment", comment)}
        except _pmg.PmgError as err:
            raise _pmg.PmgError(f"networks[{index}]: {err}") from err
        items.append(_pmg.Item(key, values))
    _pmg.once_each(_pmg.NETWORKS, [item.key for item in items])
    return items


def run(params: dict[str, Any], api: Api, *, check_mode: bool) -> dict[str, Any]:
    """What the module returns; raises :class:`PmgError`."""
    items = wanted_items(params)
    absent = params["state"] == "absent"
    if absent and params["purge"]:
        raise _pmg.PmgError("purge goes with state present: name the networks that stay, or none")
    outcome = bring_about(
        api,
        _pmg.NETWORKS,
        wanted=() if absent else items,
        unwanted=[item.key for item in items] if absent else (),
        purge=params["purge"],
        check_mode=check_mode,
    )
    return {
        "changed": bool(outcome.changes),
        "changed_networks": [change.key for change in outcome.changes],
        "networks": after(outcome),
        "requests": outcome.requests,
        "diff": {"before": lines(outcome.before), "after": lines(after(outcome))},
    }


def after(outcome: Outcome) -> list[dict[str, str]]:
    """The list as the changes leave it, sorted."""
    found = {str(entry["cidr"]): entry for entry in outcome.before}
    for change in outcome.changes:
        found.pop(change.key, None)
        if change.after is not None:
            found[change.key] = change.after
    return [{"cidr": key, "comment": str(found[key].get("comment") or "")} for key in sorted(found)]


def lines(entries: Any) -> str:
    """A list for people to compare."""
    return "".join(f"{one['cidr']}  {one.get('comment') or ''}".rstrip() + "\n" for one in sorted(entries, key=str))


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        required_if=[("api_transport", "https", ["api_host", "api_password"])],
        supports_check_mode=True,
    )
    try:
        module.exit_json(**run(module.params, api_of(module.params), check_mode=module.check_mode))
    except _pmg.PmgError as err:
        module.fail_json(msg=str(err))


if __name__ == "__main__":
    main()
