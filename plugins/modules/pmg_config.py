#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: pmg_config
short_description: Options of a Proxmox Mail Gateway
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Sets options of a gateway, such as its ports, its smarthost and its administrator's address, or has them be unset.
    Options that are not named stay as they are.
  - Each section that is named is asked for once, and written once if it differs, unless somebody has changed it
    meanwhile; then it is read again.
  - An option that is not set counts as its default, so asking for the default changes nothing.
  - An unknown option is told with the nearest known name before anything is sent.
  - Made for Proxmox Mail Gateway 8 and 9. The gateway refuses options that its release does not have.
extends_documentation_fragment:
  - postmaster.mail.pmg
options:
  mail:
    description:
      - Options of the mail proxy, by the names of the API - V(int_port) and V(ext_port), V(relay), V(smarthost),
        V(tls), V(greylist), V(banner) and others.
      - V(null) as a value has the option be unset. The same holds for all other sections.
      - V(int_port) is the port for your own hosts, V(ext_port) the one for all others. They have to differ.
    type: dict
    default: {}
  admin:
    description:
      - Options of the administration - V(email), V(dailyreport), V(dkim_sign), V(dkim_sign_all_mail) and others.
      - The selector for DKIM is not set here, as the gateway signs with it at once, whether DNS has its key or not.
    type: dict
    default: {}
  spam:
    description: Options of the spam filter.
    type: dict
    default: {}
  spamquar:
    description: Options of the quarantine for spam.
    type: dict
    default: {}
  virusquar:
    description: Options of the quarantine for viruses.
    type: dict
    default: {}
  clamav:
    description: Options of the virus scanner.
    type: dict
    default: {}
seealso:
  - name: Proxmox Mail Gateway API
    description: Reference of the API.
    link: https://pmg.proxmox.com/pmg-docs/api-viewer/
"""

EXAMPLES = r"""
- name: The gateway behind a firewall that leads port 25 to it, with a smarthost
  postmaster.mail.pmg_config:
    api_host: pmg.example.org
    api_password: "{{ vault_pmg_password }}"
    mail: {int_port: 25, ext_port: 26, smarthost: smtp-relay.gmail.com, smarthostport: 587, tls: true, banner: null}
    admin: {email: tech@example.org, dkim_sign: true, dkim_sign_all_mail: true}
  delegate_to: localhost
"""

RETURN = r"""
changed_options:
  description: Those that were (in check mode - would be) set or unset.
  returned: success
  type: list
  elements: str
  sample: [mail.int_port, admin.email]
requests:
  description: How many requests that took, logging in not counted.
  returned: success
  type: int
  sample: 4
"""

from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _pmg_sections
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_client import Api
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_options import run_module
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_run import configure

OPTIONS: dict[str, Any] = {section: {"type": "dict", "default": {}} for section in _pmg_sections.SECTIONS}


def run(params: dict[str, Any], api: Api, check_mode: bool) -> dict[str, Any]:
    """What the module returns; raises :class:`PmgError`."""
    wanted = {section: _pmg_sections.read(section, params[section]) for section in OPTIONS if params[section]}
    changes = configure(api, wanted, check_mode=check_mode)
    options = [(f"{one.section}.{name}", texts) for one in changes for name, texts in one.options.items()]
    before, after = ("".join(f"{name}: {texts[side] or '(not set)'}\n" for name, texts in options) for side in (0, 1))
    return {
        "changed": bool(options),
        "changed_options": [name for name, dummy in options],
        "requests": api.requests,
        "diff": {"before": before, "after": after},
    }


def main() -> None:
    """Run the module."""
    run_module(OPTIONS, run)


if __name__ == "__main__":
    main()
