#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: config_files
short_description: Replace the configuration files of a daemon together, after its own checker accepts them
version_added: 0.1.0
description:
  - Reads the files, and if any differs, writes staged copies, runs the checks on these and only then replaces the
    files. If a check fails, nothing is touched and the module says what the checker said.
  - Where a file or an argument of a check names another file of O(files), it names the staged copy during the check.
  - If a file cannot be replaced, those replaced before it are put back.
  - Does not reload or restart anything.
author: The postmaster.mail authors (@postmaster-mail)
extends_documentation_fragment:
  - postmaster.mail.action_group.mail
  - postmaster.mail.pending
attributes:
  check_mode:
    description: Can run in check mode, runs the checks there too, and predicts the change.
    support: full
  diff_mode:
    description: Shows content, owner and mode of every file that changes, of secret ones the fact alone.
    support: full
  idempotent:
    description: Changes nothing when run again.
    support: full
options:
  files:
    description: The files. Directories above them are made (root, mode 0755) if they are absent.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Absolute path.
        type: path
        required: true
      content:
        description: The whole content. Required unless O(files[].state=absent).
        type: str
      mode:
        description: Permission bits in octal digits.
        type: str
        default: "0644"
      owner:
        description: Owner.
        type: str
        default: root
      group:
        description: Group.
        type: str
        default: root
      secret:
        description: Whether the content must stay out of the diff.
        type: bool
        default: false
      state:
        description: Whether the file should be there.
        type: str
        choices: [present, absent]
        default: present
  others_absent:
    description:
      - Patterns of paths, as shells have them. A file that matches one and is not in O(files) is removed, and so are
        the directories that this leaves empty, as far as the pattern has a wildcard for them or above them.
      - A pattern begins with a directory that it names.
    type: list
    elements: str
    default: []
  checks:
    description: Programs that must succeed before anything is replaced, in this order.
    type: list
    elements: dict
    default: []
    suboptions:
      argv:
        description: The program and its arguments.
        type: list
        elements: str
        required: true
      complaint:
        description: What to say before the program's own words when it fails.
        type: str
        default: ""
      always:
        description: Whether it also runs when no file changes.
        type: bool
        default: false
"""

EXAMPLES = r"""
- name: Configure OpenDKIM
  postmaster.mail.config_files:
    files:
      - path: /etc/opendkim.conf
        content: "{{ lookup('ansible.builtin.template', 'opendkim.conf.j2') }}"
      - path: /etc/opendkim/key.table
        content: "{{ lookup('ansible.builtin.template', 'key.table.j2') }}"
    checks:
      - argv: [opendkim, -n, -x, /etc/opendkim.conf]
        complaint: OpenDKIM does not accept its configuration
  notify: Reload OpenDKIM
"""

RETURN = r"""
changed_files:
  description: Paths of the files that were (in check mode - would be) replaced, made or removed.
  returned: success
  type: list
  elements: str
  sample: [/etc/opendkim.conf]
pending_files:
  description: These, and those of earlier calls that O(pending_file) still names.
  returned: success
  type: list
  elements: str
  sample: [/etc/opendkim.conf]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.postmaster.mail.plugins.module_utils import _config_files as cf
from ansible_collections.postmaster.mail.plugins.module_utils._command import Runner
from ansible_collections.postmaster.mail.plugins.module_utils._files import FileError
from ansible_collections.postmaster.mail.plugins.module_utils._pending import Pending

FILE_OPTIONS = {
    "path": {"type": "path", "required": True},
    # Hidden as a whole until it is known which files are secret.
    "content": {"type": "str", "no_log": True},
    "mode": {"type": "str", "default": "0644"},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
    "secret": {"type": "bool", "default": False},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}
CHECK_OPTIONS = {
    "argv": {"type": "list", "elements": "str", "required": True},
    "complaint": {"type": "str", "default": ""},
    "always": {"type": "bool", "default": False},
}


def wanted_file(item: dict[str, Any]) -> cf.Wanted:
    """One entry of O(files)."""
    absent = item["state"] == "absent"
    try:
        mode = int(item["mode"], 8)
    except ValueError as err:
        raise cf.ConfigFilesError(f"files: {item['path']}: {item['mode']!r} is no mode in octal digits") from err
    content = None if absent else item["content"].encode("utf-8", "surrogateescape")
    return cf.Wanted(item["path"], content, mode, item["owner"], item["group"])


def diff_of(change: cf.Change, *, secret: bool) -> dict[str, str]:
    """One entry of the diff: owner and mode as its first line."""
    path, before = change.wanted.path, change.before
    old, new = change.describes
    if secret:
        old, new = f"{old}(secret)\n" if old else "", f"{new}(secret)\n" if new else ""
    else:
        old += before.text if before else ""
        new += (change.wanted.content or b"").decode("utf-8", "surrogateescape")
    return {"before_header": path, "after_header": path, "before": old, "after": new}


def run(params: dict[str, Any], *, check_mode: bool, runner: Runner) -> dict[str, Any]:
    """What the module returns; raises :class:`ConfigFilesError` or :class:`FileError`."""
    files = [wanted_file(item) for item in params["files"]]
    checks = [cf.Check(tuple(item["argv"]), item["complaint"], item["always"]) for item in params["checks"]]
    secrets = {item["path"] for item in params["files"] if item["secret"]}
    mark = Pending.at(params.get("pending_file"))
    others = cf.others(files, params["others_absent"])
    changes = cf.plan([*files, *others])
    changed = [change.wanted.path for change in changes]
    pending = list(dict.fromkeys((*mark.earlier, *changed)))
    cf.check(files, checks, changed=bool(pending), runner=runner)
    if changes and not check_mode:
        mark.add(changed)
        cf.apply(changes)
        cf.remove_empty(others, params["others_absent"])
    return {
        "changed": bool(pending),
        "changed_files": changed,
        "pending_files": pending,
        "diff": [diff_of(change, secret=change.wanted.path in secrets) for change in changes] + mark.diff(),
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "files": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": FILE_OPTIONS,
                "required_if": [("state", "present", ["content"])],
            },
            "others_absent": {"type": "list", "elements": "str", "default": []},
            "checks": {"type": "list", "elements": "dict", "default": [], "options": CHECK_OPTIONS},
            "pending_file": {"type": "path"},
        },
        supports_check_mode=True,
    )
    module.no_log_values = {item["content"] for item in module.params["files"] if item["secret"] and item["content"]}
    try:
        module.exit_json(**run(module.params, check_mode=module.check_mode, runner=Runner()))
    except (cf.ConfigFilesError, FileError) as err:
        module.fail_json(msg=str(err))


if __name__ == "__main__":
    main()
