#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: exim4_config
short_description: Configure Debian's Exim in one step
version_added: 0.1.0
description:
  - Sets values of C(update-exim4.conf.conf), macros, fragments and lookup files in one call. Only what is named is
    touched; comments and other settings stay.
  - Everything is tried in a private copy first, by C(update-exim4.conf), by C(exim4 -bV), by routing the aliases that
    change and by a trial dialogue. If the copy does not pass, the running configuration stays byte for byte as it was.
  - The module does not reload Exim; it returns RV(reload_required) and RV(restart_required).
author: The postmaster.mail authors (@postmaster-mail)
extends_documentation_fragment:
  - postmaster.mail.action_group.mail
  - postmaster.mail.configuration_files
  - postmaster.mail.pending
attributes:
  check_mode:
    description: Can run in check mode. Without Exim on the host it says what it would write, without Exim's judgement.
    support: full
  diff_mode:
    description: Shows every file that changes, and of secret ones the keys only.
    support: full
  idempotent:
    description: Changes nothing if all is as wanted.
    support: full
options:
  settings:
    description:
      - Settings of C(/etc/exim4/update-exim4.conf.conf), C(dc_*) and C(CFILEMODE), and their values.
      - A list is joined by semicolons, a boolean becomes V(true) or V(false).
    type: dict
    default: {}
  macros:
    description:
      - Macros and their values, kept in C(/etc/exim4/exim4.conf.localmacros), or with split configuration in
        C(/etc/exim4/conf.d/main/000_localmacros). V(null) removes one.
      - A macro that nothing uses is an error, as its name is misspelt.
    type: dict
    default: {}
  fragments:
    description: Files below C(/etc/exim4/conf.d), for split configuration only.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The file, C(/etc/exim4/conf.d/SECTION/NAME).
        type: str
        required: true
      content:
        description: Its whole content. Needed unless it is to be absent.
        type: str
      state:
        description: Whether the file is there.
        type: str
        choices: [present, absent]
        default: present
  lookups:
    description:
      - Files in which Exim looks up keys line by line, such as C(/etc/aliases) and C(/etc/exim4/passwd.client).
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The file.
        type: str
        required: true
      entries:
        description: Keys and values. A value may be a list, which is joined by commas; V(null) removes a key.
        type: dict
        default: {}
      keep_foreign:
        description: Keep entries that are not named here. Comments stay in any case.
        type: bool
        default: false
      secret:
        description:
          - The values are secret. The diff shows the keys only, and the file gets mode 0640 and group C(Debian-exim)
            unless told otherwise, as Exim delivers without root's rights.
        type: bool
        default: false
      mode:
        description: Mode of the file, as a text such as V("0644"). Stays as it is if left out, or 0644 for a new file.
        type: raw
      owner:
        description: Owner of the file. Stays as it is if left out.
        type: str
      group:
        description: Group of the file. Stays as it is if left out.
        type: str
"""

EXAMPLES = r"""
- name: Send all mail through a relay
  postmaster.mail.exim4_config:
    settings:
      dc_eximconfig_configtype: satellite
      dc_smarthost: relay1.example.org::25
      dc_local_interfaces: [127.0.0.1, "::1"]
      dc_readhost: example.org
      dc_hide_mailname: true
    macros:
      REMOTE_SMTP_SMARTHOST_HOSTS_REQUIRE_TLS: "*"
    lookups:
      - path: /etc/aliases
        keep_foreign: true
        entries:
          root: ops@example.org
      - path: /etc/exim4/passwd.client
        secret: true
        entries:
          relay1.example.org: "host:{{ relay_password }}"
    files:
      - path: /etc/mailname
        content: "example.org\n"
  notify: Reload Exim
"""

RETURN = r"""
changed_settings:
  description: Settings whose value changed.
  returned: success
  type: list
  elements: str
  sample: [dc_smarthost]
changed_macros:
  description: Macros that changed.
  returned: success
  type: list
  elements: str
changed_lookups:
  description: Lookup files whose content, owner or mode changed.
  returned: success
  type: list
  elements: str
  sample: [/etc/aliases]
changed_files:
  description: All files that changed.
  returned: success
  type: list
  elements: str
  sample: [/etc/exim4/update-exim4.conf.conf, /etc/aliases]
checked:
  description: Whether Exim itself judged the configuration; false in check mode on a host without it.
  returned: success
  type: bool
reload_required:
  description: Whether the running daemon sees the change only after a reload.
  returned: success
  type: bool
restart_required:
  description: Whether the daemon listens elsewhere from now on.
  returned: success
  type: bool
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.postmaster.mail.plugins.module_utils import _exim as ex
from ansible_collections.postmaster.mail.plugins.module_utils._command import CommandError
from ansible_collections.postmaster.mail.plugins.module_utils._exim_client import Exim, Outcome
from ansible_collections.postmaster.mail.plugins.module_utils._file_options import FILES, ModeError, parse_mode
from ansible_collections.postmaster.mail.plugins.module_utils._files import FileError
from ansible_collections.postmaster.mail.plugins.module_utils._pending import Pending

FRAGMENT_OPTIONS = {
    "path": {"type": "str", "required": True},
    "content": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}
LOOKUP_OPTIONS = {
    "path": {"type": "str", "required": True},
    # Hidden as a whole until it is known which files are secret.
    "entries": {"type": "dict", "default": {}, "no_log": True},
    "keep_foreign": {"type": "bool", "default": False},
    "secret": {"type": "bool", "default": False, "no_log": False},
    "mode": {"type": "raw"},
    "owner": {"type": "str"},
    "group": {"type": "str"},
}
ARGUMENT_SPEC = {
    "settings": {"type": "dict", "default": {}},
    "macros": {"type": "dict", "default": {}},
    "fragments": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": FRAGMENT_OPTIONS,
        "required_if": [("state", "present", ["content"])],
    },
    # Kept out of the host's log as a whole, for the reason that _file_options.py gives.
    "lookups": {"type": "list", "elements": "dict", "default": [], "options": LOOKUP_OPTIONS, "no_log": True},
    "files": FILES,
    "pending_file": {"type": "path"},
}


def file_mode(item: dict[str, Any]) -> int | None:
    """The mode of a file, None where it is left out."""
    try:
        return parse_mode(item["mode"], item["path"])
    except ModeError as err:
        raise ex.EximError(str(err)) from err


def plain_file(item: dict[str, Any]) -> ex.PlainFile:
    """One entry of O(files)."""
    mode = file_mode(item)
    if mode is None:
        mode = 0o600 if item["secret"] else 0o644
    return ex.PlainFile(item["path"], item["content"], mode, item["owner"], item["group"], item["secret"])


def build_desired(params: dict[str, Any]) -> ex.Desired:
    """What the options ask for, every value checked. Raises :class:`EximError`."""
    return ex.Desired(
        settings={name: ex.setting_text(name, value) for name, value in params["settings"].items()},
        macros={name: ex.macro_text(name, value) for name, value in params["macros"].items()},
        lookups=tuple(
            ex.Lookup(
                path=item["path"],
                entries={str(key): ex.lookup_value(item["path"], key, value) for key, value in item["entries"].items()},
                keep_foreign=item["keep_foreign"],
                secret=item["secret"],
                mode=file_mode(item),
                owner=item["owner"],
                group=item["group"],
            )
            for item in params["lookups"]
        ),
        fragments=tuple(
            ex.PlainFile(item["path"], item["content"] if item["state"] == "present" else None, 0o644, "root", "root")
            for item in params["fragments"]
        ),
        files=tuple(plain_file(item) for item in params["files"]),
    )


def describe(outcome: Outcome) -> dict[str, Any]:
    """The module's answer."""
    plan = outcome.plan
    return {
        "changed": outcome.changed,
        "changed_settings": list(plan.settings),
        "changed_macros": list(plan.macros),
        "changed_lookups": list(plan.lookups),
        "changed_files": [change.path for change in plan.changes],
        "checked": outcome.checked,
        "reload_required": outcome.reload_required,
        "restart_required": outcome.restart_required,
        "diff": [
            {
                "before_header": change.path,
                "after_header": change.path,
                "before": change.shown[0],
                "after": change.shown[1],
            }
            for change in plan.changes
        ]
        + outcome.pending.diff(),
    }


def secrets(params: dict[str, Any]) -> set[str]:
    """Everything that no answer and no log may hold."""
    values = [value for item in params["lookups"] if item["secret"] for value in item["entries"].values()]
    values += [item["content"] for item in params["files"] if item["secret"]]
    return {str(value) for value in values if value}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    # From here on only what is secret is hidden, so that a diff of the other lookups can be read.
    module.no_log_values = secrets(module.params)
    try:
        pending = Pending.at(module.params["pending_file"])
        outcome = Exim().configure(build_desired(module.params), dry_run=module.check_mode, pending=pending)
    except (ex.EximError, CommandError, FileError) as err:
        module.fail_json(msg=str(err))
    for warning in outcome.warnings:
        module.warn(warning)
    module.exit_json(**describe(outcome))


if __name__ == "__main__":
    main()
