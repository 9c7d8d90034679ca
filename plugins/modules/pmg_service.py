#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: pmg_service
short_description: Services of a Proxmox Mail Gateway
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Starts, stops, restarts or reloads services of a gateway, and waits until that is done.
  - Made for Proxmox Mail Gateway 8 and 9.
extends_documentation_fragment:
  - postmaster.mail.pmg
  - postmaster.mail.pmg.tasks
options:
  services:
    description: The services, by the names that the gateway has for them.
    type: list
    elements: str
    required: true
    choices:
      - chrony
      - clamav-daemon
      - clamav-freshclam
      - fetchmail
      - pmg-daily
      - pmg-hourly
      - pmg-smtp-filter
      - pmgdaemon
      - pmgmirror
      - pmgpolicy
      - pmgproxy
      - pmgreport
      - pmgspamreport
      - pmgtunnel
      - postfix
      - postgres
      - rsyslog
      - ssh
      - systemd-timesyncd
  state:
    description:
      - What they should be. Those that are V(started) or V(stopped) already are left alone, V(restarted) and
        V(reloaded) are done each time - twice where an answer is lost.
      - C(pmgproxy) and C(pmgdaemon) cannot be stopped, as they serve the API.
    type: str
    choices: [started, stopped, restarted, reloaded]
    default: started
attributes:
  idempotent:
    description: Restarting and reloading are changes each time.
    support: partial
"""

EXAMPLES = r"""
- name: Postfix runs
  postmaster.mail.pmg_service:
    api_host: pmg.example.org
    api_password: "{{ vault_pmg_password }}"
    services: [postfix]
  delegate_to: localhost

- name: The filter begins anew
  postmaster.mail.pmg_service:
    api_transport: pmgsh
    services: [pmg-smtp-filter, pmgpolicy]
    state: restarted
"""

RETURN = r"""
services:
  description: The state of each service after the run, in check mode as it would be.
  returned: success
  type: dict
  sample: {"postfix": "running"}
changed_services:
  description: Those that something was (in check mode - would be) done to.
  returned: success
  type: list
  elements: str
  sample: [postfix]
requests:
  description: How many requests that took, logging in not counted.
  returned: success
  type: int
  sample: 4
"""

from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _pmg_service
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_client import Api
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_options import TASKS, node_of, run_module

OPTIONS: dict[str, Any] = {
    "services": {"type": "list", "elements": "str", "required": True, "choices": list(_pmg_service.SERVICES)},
    "state": {"type": "str", "choices": list(_pmg_service.VERBS), "default": "started"},
    **TASKS,
}


def run(params: dict[str, Any], api: Api, check_mode: bool) -> dict[str, Any]:
    """What the module returns; raises :class:`PmgError`."""
    outcome = _pmg_service.bring_about(node_of(params, api), params["services"], params["state"], check_mode=check_mode)
    before, after = (
        "".join(f"{name}: {states[name]}\n" for name in outcome.changed) for states in (outcome.before, outcome.after)
    )
    return {
        "changed": bool(outcome.changed),
        "services": dict(outcome.after),
        "changed_services": list(outcome.changed),
        "requests": api.requests,
        "diff": {"before": before, "after": after},
    }


def main() -> None:
    """Run the module."""
    run_module(OPTIONS, run)


if __name__ == "__main__":
    main()
