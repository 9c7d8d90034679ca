#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: mailman_list
short_description: Mailing lists of Mailman 3, with owners and settings
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Makes, changes and removes mailing lists through the REST API of Mailman core, and adds the domains of new ones.
  - Runs on Mailman's own host. Where the API is and what lets one in stands in Mailman's configuration, so that no
    password is given.
  - All lists are read and judged before the first change. A new list whose settings Mailman refuses is taken away
    again.
  - Lists that are not named stay as they are, unless O(purge=true).
extends_documentation_fragment:
  - postmaster.mail.action_group.mail
attributes:
  check_mode:
    description: Can run in check mode and predicts the change. On a host without Mailman it says what it would make.
    support: full
  diff_mode:
    description: Shows the settings, owners, moderators and members that were asked about.
    support: full
  idempotent:
    description: Changes nothing when run again.
    support: full
options:
  lists:
    description: The lists.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Address of the list.
        type: str
        required: true
      style:
        description: What a new list begins as. A list that is there keeps its settings.
        type: str
        choices: [legacy-default, legacy-announce, private-default]
        default: legacy-default
      description:
        description: What the list is about, in one line.
        type: str
      display_name:
        description: Name of the list as people see it. Made from the address by Mailman if left out.
        type: str
      owners:
        description: Addresses of those who own the list, and no others. They stay as they are if left out.
        type: list
        elements: str
      moderators:
        description: Addresses of those who moderate it, and no others. They stay as they are if left out.
        type: list
        elements: str
      members:
        description: Addresses that are added, without being asked or welcomed. Nobody is ever removed.
        type: list
        elements: str
      settings:
        description:
          - Settings by the names of the REST API, such as C(archive_policy) or C(dmarc_mitigate_action). Others stay as
            they are.
          - Put quotes around values that YAML would take for something else, such as C("none").
        type: dict
        default: {}
      state:
        description: Whether the list is there. Its archive in HyperKitty stays when it is removed.
        type: str
        choices: [present, absent]
        default: present
  purge:
    description: Whether all other lists are removed.
    type: bool
    default: false
  configuration:
    description: Configuration of Mailman, whose section C(webservice) is read.
    type: path
    default: /etc/mailman3/mailman.cfg
  wait:
    description: Seconds to wait for a Mailman that has just been started.
    type: float
    default: 60
seealso:
  - name: Mailman core REST API
    description: All settings of a list.
    link: https://docs.mailman3.org/projects/mailman/en/latest/src/mailman/rest/docs/listconf.html
"""

EXAMPLES = r"""
- name: Two lists
  postmaster.mail.mailman_list:
    lists:
      - name: staff@lists.example.org
        description: All who work here
        owners: [ann@example.org]
        members: [ann@example.org, bob@example.org]
        style: private-default
        settings: {dmarc_mitigate_action: munge_from, subscription_policy: moderate}
      - name: news@lists.example.org
        style: legacy-announce
        owners: [ann@example.org, bob@example.org]
"""

RETURN = r"""
changed_lists:
  description: Addresses of the lists that were (in check mode - would be) made, changed or removed.
  returned: success
  type: list
  elements: str
  sample: [staff@lists.example.org]
actions:
  description: What was done, or would be, in words. What a new list is given after it is made is not told here.
  returned: success
  type: list
  elements: str
  sample: [add domain lists.example.org, make staff@lists.example.org]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.postmaster.mail.plugins.module_utils import _mailman_client as client
from ansible_collections.postmaster.mail.plugins.module_utils import _mailman_run
from ansible_collections.postmaster.mail.plugins.module_utils._mailman import STYLES, MailmanError

_ADDRESSES = {"type": "list", "elements": "str"}
LISTS: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "style": {"type": "str", "choices": list(STYLES), "default": STYLES[0]},
    "description": {"type": "str"},
    "display_name": {"type": "str"},
    "owners": _ADDRESSES,
    "moderators": _ADDRESSES,
    "members": _ADDRESSES,
    "settings": {"type": "dict", "default": {}},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def perform(params: dict[str, Any], *, check_mode: bool) -> dict[str, Any]:
    """What the module returns. Raises :class:`MailmanError`."""
    api = None
    try:
        api = client.Api(client.webservice(params["configuration"]), patience=params["wait"])
    except client.NoMailman:
        if not check_mode:
            raise
    return _mailman_run.run(api, params["lists"], purge=params["purge"], check_mode=check_mode)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "lists": {"type": "list", "elements": "dict", "default": [], "options": LISTS},
            "purge": {"type": "bool", "default": False},
            "configuration": {"type": "path", "default": "/etc/mailman3/mailman.cfg"},
            "wait": {"type": "float", "default": 60},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**perform(module.params, check_mode=module.check_mode))
    except MailmanError as err:
        module.fail_json(msg=str(err))


if __name__ == "__main__":
    main()
