#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: config_snapshot
short_description: Keep the last working configuration and bring it back
version_added: 0.1.0
description:
  - Stores the configuration of a daemon whenever it differs from what was stored last and the daemon's own
    checkers accept it, and brings the newest one back that differs from what is there now.
  - Where etckeeper is installed and has a git repository, commits what is uncommitted in C(/etc). Files that must not
    get there, such as keys, are named in O(ignore). Without etckeeper nothing of this happens, and nothing fails.
  - Content, owners, groups, modes, modification times and symbolic links are kept. Access control lists and extended
    attributes are not; sockets, pipes and devices are passed over.
author: The postmaster.mail authors (@postmaster-mail)
extends_documentation_fragment:
  - postmaster.mail.action_group.mail
attributes:
  check_mode:
    description: Can run in check mode and says what it would do. The checkers of O(verify) do run.
    support: full
  diff_mode:
    description: Lists the files that differ, never their content.
    support: full
  idempotent:
    description:
      - Changes nothing with O(state=present) if what is there is stored already.
      - A second O(state=restored) brings back what the first one replaced, if that was stored.
    support: partial
options:
  name:
    description:
      - What the states belong to, for instance the role.
      - With O(state=restored) it may be left out on a host that has snapshots of one name only.
    type: str
  state:
    description:
      - V(present) stores the state of now.
      - V(restored) brings one back, then runs the checkers that were named when it was stored. One that was cut
        short is finished by the next call.
    type: str
    choices: [present, restored]
    default: present
  paths:
    description:
      - Files and directories that make up the configuration. A symbolic link is kept as one and not followed.
      - Needed with O(state=present). A stored state knows its own.
    type: list
    elements: path
    default: []
  exclude:
    description:
      - Patterns of absolute paths below O(paths) that are neither stored nor touched. C(*) matches slashes too.
    type: list
    elements: str
    default: []
  verify:
    description: Commands, each a list of words, that all must succeed for a state to count as a working one.
    type: list
    elements: list
    default: []
  comment:
    description: Text of the etckeeper commit. Made from O(name) if left out.
    type: str
  ignore:
    description:
      - Paths or patterns that etckeeper must not see. They are written to a section of C(/etc/.gitignore) of their own
        before anything is committed, and files that are tracked already are taken out.
      - The section stays as it is if this is left out, and goes away with an empty list.
    type: list
    elements: str
  keep:
    description: Number of states to keep.
    type: int
    default: 5
  notified:
    description:
      - Say that this runs because something has changed, as in a handler.
      - In check mode the change is not there to be seen, and the answer is C(changed) nevertheless.
    type: bool
    default: false
  pending_file:
    description:
      - With O(state=restored) a file, best below C(/run), that says that the daemons have not taken up yet what was
        brought back. It is written before anything is touched.
      - While it is there, the same state is brought back once more, so that a call that follows one whose handlers were
        lost does not undo it. Remove the file when the daemons run with the configuration.
    type: path
  directory:
    description: Where the states are kept, a directory that only root can enter.
    type: path
    default: /var/lib/postmaster.mail/snapshots
"""

EXAMPLES = r"""
- name: Keep what works before anything is changed
  postmaster.mail.config_snapshot:
    name: relay
    paths: [/etc/postfix, /etc/mailname, /etc/aliases]
    verify:
      - [postfix, check]
    ignore: [/etc/postfix/sasl_passwd*]
    comment: saving uncommitted changes before relay

- name: Keep what works now
  postmaster.mail.config_snapshot:
    name: relay
    paths: [/etc/postfix, /etc/mailname, /etc/aliases]
    verify:
      - [postfix, check]
    ignore: [/etc/postfix/sasl_passwd*]
    comment: relay
    notified: true

- name: Bring back the configuration before the last change
  postmaster.mail.config_snapshot:
    name: relay
    state: restored
"""

RETURN = r"""
name:
  description: The name the states belong to.
  returned: success
  type: str
  sample: relay
snapshot:
  description: Number of the state that was stored, is the same as now, or was brought back.
  returned: when there is one
  type: int
  sample: 3
paths:
  description: Files and directories in which this state differs from the one before.
  returned: success
  type: list
  elements: str
  sample: [/etc/postfix/main.cf]
reason:
  description: Why the state of now is not stored.
  returned: when it does not work or is empty
  type: str
  sample: "`postfix check` refuses it: fatal: /etc/postfix/main.cf, line 7: missing '='"
committed:
  description: Whether etckeeper made a commit.
  returned: success
  type: bool
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.postmaster.mail.plugins.module_utils._command import CommandError
from ansible_collections.postmaster.mail.plugins.module_utils._files import FileError
from ansible_collections.postmaster.mail.plugins.module_utils._pending import Pending
from ansible_collections.postmaster.mail.plugins.module_utils._snapshot import SnapshotError, make_scope
from ansible_collections.postmaster.mail.plugins.module_utils._snapshot_client import Store
from ansible_collections.postmaster.mail.plugins.module_utils._snapshot_keeper import Keeper, Outcome

ARGUMENT_SPEC = {
    "name": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "restored"], "default": "present"},
    "paths": {"type": "list", "elements": "path", "default": []},
    "exclude": {"type": "list", "elements": "str", "default": []},
    "verify": {"type": "list", "elements": "list", "default": []},
    "comment": {"type": "str"},
    "ignore": {"type": "list", "elements": "str"},
    "keep": {"type": "int", "default": 5},
    "notified": {"type": "bool", "default": False},
    "pending_file": {"type": "path"},
    "directory": {"type": "path", "default": "/var/lib/postmaster.mail/snapshots"},
}


def perform(params: dict[str, Any], *, dry_run: bool) -> Outcome:
    """What the options ask for. Raises the errors of the layers below."""
    keeper = Keeper(Store(params["directory"]), dry_run=dry_run)
    if params["state"] == "restored":
        mark = Pending.at(params["pending_file"])
        return keeper.restore(params["name"], message=params["comment"] or "", mark=mark)
    if params["keep"] < 2:
        raise SnapshotError("keep: at least two are needed, the state of now and the one before")
    verify = [[str(word) for word in argv] for argv in params["verify"]]
    return keeper.keep(
        params["name"],
        make_scope(params["paths"], params["exclude"], verify),
        message=params["comment"] or f"configuration of {params['name']}",
        ignore=params["ignore"],
        number=params["keep"],
        notified=params["notified"],
    )


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        required_if=[("state", "present", ["name", "paths"])],
        supports_check_mode=True,
    )
    try:
        outcome = perform(module.params, dry_run=module.check_mode)
    except (SnapshotError, CommandError, FileError) as err:
        module.fail_json(msg=str(err))
    for warning in outcome.warnings:
        module.warn(warning)
    result = {"name": outcome.name, "paths": list(outcome.paths), "committed": outcome.committed}
    if outcome.snapshot is not None:
        result["snapshot"] = outcome.snapshot
    if outcome.reason:
        result["reason"] = outcome.reason
    module.exit_json(changed=outcome.changed, diff=list(outcome.diff), **result)


if __name__ == "__main__":
    main()
