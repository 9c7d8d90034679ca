#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: mail_credentials
short_description: Keep the file of users and password hashes that the daemons of a mail server share
version_added: 0.1.0
description:
  - Writes one line for each user, C(address:hash:uid:gid::home::extra), the form that Dovecot's passwd-file and
    OpenSMTPD's table of the kind passwd read.
  - Passwords in plain text are hashed on the host (SHA512-CRYPT, 20,000 rounds). A hash stays as long as the password
    it was made from.
  - A hash that a user has chosen since stays too, until another password or hash is given for the user, or
    O(reset) names the user. What was given last is kept beside the file, in C(<path>.given), which only O(owner) reads.
  - Whoever else changes the file holds a lock (C(flock)) on its directory meanwhile, as this module does.
  - Reloads nothing. Dovecot sees by itself that the file changed.
author: The postmaster.mail authors (@postmaster-mail)
extends_documentation_fragment:
  - postmaster.mail.action_group.mail
attributes:
  check_mode:
    description: Can run in check mode and predicts the change. Owner and group need not exist there.
    support: full
  diff_mode:
    description: Shows addresses and homes, and of a hash no more than that it differs.
    support: full
  idempotent:
    description: Changes nothing when run again.
    support: full
options:
  path:
    description: The file. The directory above it is made (root, mode 0755) if it is absent.
    type: path
    default: /etc/mail/credentials
  users:
    description:
      - Everyone who is to have an account. Who is in the file and not here is removed from it.
      - The filter P(postmaster.mail.mail_accounts#filter) makes entries of this shape.
    type: list
    elements: dict
    required: true
    suboptions:
      address:
        description: The address by which the user logs in.
        type: str
        required: true
      password:
        description: Password in plain text. Give either this or O(users[].hash).
        type: str
      hash:
        description: Hash as crypt(3) makes it (SHA512-CRYPT, SHA256-CRYPT, BLF-CRYPT or yescrypt).
        type: str
      home:
        description: Directory with everything of the user.
        type: path
        required: true
      local:
        description: Taken, so that entries of the filter can be given as they are, and not needed.
        type: str
      domain:
        description: Like O(users[].local).
        type: str
      quota:
        description: Quota in bytes, 0 for what the daemon's configuration says.
        type: int
        default: 0
  uid:
    description: User that owns all mail.
    type: int
    default: 2000
  gid:
    description: Group that owns all mail.
    type: int
    default: 2000
  dovecot:
    description: Release of Dovecot for whose configuration a quota is written.
    type: str
    choices: ['2.3', '2.4']
    default: '2.4'
  reset:
    description: Addresses of users who get the given password back, whatever they chose since.
    type: list
    elements: str
    default: []
  mail_directory:
    description: If given, RV(unowned) names the mailboxes below it that belong to nobody.
    type: path
  mode:
    description: Mode of the file in octal digits.
    type: str
    default: "0640"
  owner:
    description: Owner of the file.
    type: str
    default: root
  group:
    description: Group of the file, whose members read all hashes.
    type: str
    default: root
"""

EXAMPLES = r"""
- name: Give everyone an account
  postmaster.mail.mail_credentials:
    group: mailauth
    users:
      - address: ann@example.org
        password: "{{ vaulted_password_of_ann }}"
        home: /var/vmail/example.org/ann
      - address: bob@example.org
        hash: $2y$10$h3yDdzUl5hVdZWJ6NhYlTOFqtMSbwZbhTPnLXxrJyqmqTGYxBpYMe
        home: /var/vmail/example.org/bob
        quota: 1073741824

- name: Give somebody who forgot it the password of the inventory back
  postmaster.mail.mail_credentials:
    group: mailauth
    users: "{{ (mail_accounts | postmaster.mail.mail_accounts).users }}"
    reset: [ann@example.org]
"""

RETURN = r"""
added:
  description: Users who were (in check mode - would be) added.
  returned: success
  type: list
  elements: str
  sample: [ann@example.org]
updated:
  description: Users whose password, home or quota was changed.
  returned: success
  type: list
  elements: str
removed:
  description: Users who were removed. Their mail is not touched.
  returned: success
  type: list
  elements: str
own:
  description: Users who have a password of their own choice.
  returned: success
  type: list
  elements: str
unowned:
  description: Mailboxes below O(mail_directory) that belong to no user.
  returned: success
  type: list
  elements: str
  sample: [/var/vmail/example.org/zoe]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.postmaster.mail.plugins.module_utils import _credentials as values
from ansible_collections.postmaster.mail.plugins.module_utils import _credentials_client as client
from ansible_collections.postmaster.mail.plugins.module_utils import _files
from ansible_collections.postmaster.mail.plugins.module_utils._crypt_client import Crypt, CryptError

USER_OPTIONS = {
    "address": {"type": "str", "required": True},
    "password": {"type": "str", "no_log": True},
    "hash": {"type": "str", "no_log": True},
    "home": {"type": "path", "required": True},
    "local": {"type": "str"},
    "domain": {"type": "str"},
    "quota": {"type": "int", "default": 0},
}
ARGUMENT_SPEC: dict[str, Any] = {
    "path": {"type": "path", "default": "/etc/mail/credentials"},
    "users": {"type": "list", "elements": "dict", "required": True, "options": USER_OPTIONS},
    "uid": {"type": "int", "default": 2000},
    "gid": {"type": "int", "default": 2000},
    "dovecot": {"type": "str", "choices": ["2.3", "2.4"], "default": "2.4"},
    "reset": {"type": "list", "elements": "str", "default": []},
    "mail_directory": {"type": "path"},
    "mode": {"type": "str", "default": "0640"},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
}


def diff_of(path: str, before: str, after: str) -> dict[str, str]:
    """One entry of the diff."""
    return {"before_header": path, "after_header": path, "before": before, "after": after}


def attributes(params: dict[str, Any]) -> client.Attributes:
    """What the file is to have. Raises :class:`CredentialsError`."""
    try:
        return client.Attributes(int(params["mode"], 8), params["owner"], params["group"])
    except ValueError as err:
        raise values.CredentialsError(f"mode: {params['mode']!r} is no mode in octal digits") from err


def replace(
    path: str, content: str, shown: tuple[str, str], wanted: client.Attributes, *, check_mode: bool
) -> list[dict[str, str]]:
    """Bring one file to what it is to be; ``shown`` is what the diff says of it. Returns the diff, or nothing."""
    state = _files.read(path)
    if state is not None and state.text == content and wanted.of(state):
        return []
    if not check_mode:
        client.write(path, content, wanted)
    had = str(client.Attributes(state.mode, state.owner, state.group)) + shown[0] if state else ""
    return [diff_of(path, had, str(wanted) + shown[1])]


def converge(params: dict[str, Any], hasher: values.Hasher, *, check_mode: bool) -> dict[str, Any]:
    """Read, plan and write, in this order: the users' file comes first, so that a broken run gives the same again."""
    path, given_path = params["path"], f"{params['path']}.given"
    options = {"uid": params["uid"], "gid": params["gid"], "dovecot": params["dovecot"]}
    users = [values.wanted(item, **options) for item in params["users"]]
    state, given = _files.read(path), _files.read(given_path)
    current = values.parse(state.text) if state else {}
    before = values.parse_given(given.text) if given else {}
    plan = values.plan(current, before, users, hasher, reset=params["reset"])
    astray = "(lines that are of no user or out of order)\n" if state and state.text != values.render(current) else ""
    shown = values.veiled(current) + astray, values.veiled(plan.entries, current)
    diff = replace(path, values.render(plan.entries), shown, attributes(params), check_mode=check_mode)
    secret = client.Attributes(0o600, params["owner"], params["group"])
    words = "(what was given last)\n", "(what is given now)\n"
    diff += replace(given_path, values.render_given(plan.given), words, secret, check_mode=check_mode)
    homes = {item["home"] for item in params["users"]}
    return {
        "changed": bool(diff),
        "added": list(plan.added),
        "updated": list(plan.changed),
        "removed": list(plan.removed),
        "own": list(plan.own),
        "unowned": client.unowned(params["mail_directory"], homes) if params["mail_directory"] else [],
        "diff": diff,
    }


def run(params: dict[str, Any], hasher: values.Hasher, *, check_mode: bool) -> dict[str, Any]:
    """What the module returns; raises the errors of what it uses."""
    if check_mode:
        return converge(params, hasher, check_mode=True)
    with client.locked(params["path"]):
        return converge(params, hasher, check_mode=False)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        module.exit_json(**run(module.params, Crypt(), check_mode=module.check_mode))
    except (values.CredentialsError, _files.FileError, CryptError) as err:
        module.fail_json(msg=str(err))


if __name__ == "__main__":
    main()
