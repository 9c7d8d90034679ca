#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: mail_adopt_info
short_description: Describe a host that runs Postfix or Exim in the variables of this collection's roles
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Reads how a running host handles mail and returns the role that fits, that role's variables, and whatever no
    variable says.
  - Of Postfix it reads C(main.cf) and C(master.cf) through C(postconf), maps and aliases; of Exim the files of Debian's
    package; of OpenDKIM and rspamd the keys they sign with.
  - Changes nothing. Secrets stay on the host; of files with passwords only the keys are read out, and of DKIM keys the
    algorithm, the size and the path.
  - The playbook C(postmaster.mail.adopt) writes an inventory out of it.
requirements:
  - cryptography >= 38 on the host (Debian package python3-cryptography), to recognise Ed25519 keys.
extends_documentation_fragment:
  - postmaster.mail.action_group.mail
  - postmaster.mail.read_only
options: {}
seealso:
  - module: postmaster.mail.dkim_key
"""

EXAMPLES = r"""
# ansible all -b -m postmaster.mail.mail_adopt_info
- name: See how a host handles mail
  postmaster.mail.mail_adopt_info:
  register: found

- name: Stop where something would be lost
  ansible.builtin.assert:
    that: found.untranslated | length == 0
    fail_msg: "{{ found.untranslated }}"
"""

RETURN = r"""
mta:
  description: What handles mail, V(postfix), V(exim) or an empty string.
  returned: success
  type: str
  sample: postfix
role:
  description: The role that fits, V(satellite_postfix), V(satellite_exim), V(relay), or an empty string for none.
  returned: success
  type: str
  sample: relay
group:
  description: The inventory group of that role, V(unadopted) for none.
  returned: success
  type: str
  sample: relays
variables:
  description: The role's variables, those with their default value included.
  returned: success
  type: dict
  sample: {"satellite_domain": "corp.example", "satellite_relay": "relay1.corp.example"}
secrets:
  description: Variables that hold secrets, each with the name of the vault variable to fill.
  returned: success
  type: dict
  sample: {"satellite_password": "vault_satellite_password"}
keys:
  description: The DKIM keys that sign.
  returned: success
  type: list
  elements: dict
  contains:
    domain:
      description: The signing domain.
      type: str
    selector:
      description: The selector.
      type: str
    algorithm:
      description: V(rsa) or V(ed25519).
      type: str
    bits:
      description: Size of the key.
      type: int
    path:
      description: The file.
      type: str
    target:
      description: Where the file must lie for the role; differs from RV(keys[].path) if it must be copied.
      type: str
    listed:
      description: Whether a manifest of M(postmaster.mail.dkim_key) knows the key.
      type: bool
untranslated:
  description: What no variable says.
  returned: success
  type: list
  elements: dict
  contains:
    item:
      description: The parameter, file or entry.
      type: str
      sample: mydestination
    value:
      description: Its value, on one line and shortened; never a secret.
      type: str
      sample: corp.example
    reason:
      description: Why it is not translated, and what becomes of it.
      type: str
    remedy:
      description: What to do about it.
      type: str
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.postmaster.mail.plugins.module_utils._adopt_client import AdoptError, MailHost
from ansible_collections.postmaster.mail.plugins.module_utils._postfix import PostfixError


def main() -> None:
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    if os.geteuid() != 0:
        module.fail_json(msg="only root can read all of a host's mail configuration: run this with become")
    try:
        description = MailHost().describe()
    except (AdoptError, PostfixError) as err:
        module.fail_json(msg=str(err))
    module.exit_json(changed=False, **description.as_dict())


if __name__ == "__main__":
    main()
