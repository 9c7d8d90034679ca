#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: mail_archive
short_description: Make an archive of a mail server, and bring one onto a host
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Puts into one file what a mail server of the role P(postmaster.mail.mail_server#role) has that nobody can make
    anew - the mail of all mailboxes with flags, folders and the users' Sieve scripts, the accounts with the passwords
    that users chose, files such as DKIM keys, and what rspamd has learned.
  - The playbooks C(mail_backup) and C(mail_restore) use it.
  - Mail may flow and users may work meanwhile, on either host. Messages that are on the host already stay as they are.
  - An archive is read to its end and compared with its own list of sums before anything of it is written.
extends_documentation_fragment:
  - postmaster.mail.action_group.mail
attributes:
  check_mode:
    description: Can run in check mode. Where the archive is on the host it is read and judged there.
    support: full
  diff_mode:
    description: Names what comes, and shows nothing that it holds.
    support: full
  idempotent:
    description:
      - An archive is brought onto a host once, whatever becomes of its messages there. O(state=made) makes one each
        time.
    support: partial
options:
  state:
    description:
      - V(made) makes an archive at O(path).
      - V(known) says in RV(left) what of the archive O(digest) has not arrived yet, and changes nothing.
      - V(restored) brings what is left.
    type: str
    choices: [made, known, restored]
    required: true
  path:
    description: The archive on the host. Needed but for O(state=known).
    type: path
  digest:
    description:
      - SHA-256 of the archive in hexadecimal digits, by which a host knows what it has. Needed but for O(state=made).
    type: str
  parts:
    description: What is wanted of the archive, in whatever order.
    type: list
    elements: str
    choices: [files, accounts, bayes, mail]
    default: [files, accounts, bayes, mail]
  mail_directory:
    description: Where mail lies, as C(domain/local part/Maildir).
    type: path
    default: /var/vmail
  uid:
    description: User that owns all mail, as whom it is read and written.
    type: int
    default: 2000
  gid:
    description: Group that owns all mail.
    type: int
    default: 2000
  credentials:
    description: File of users and hashes, as M(postmaster.mail.mail_credentials) writes it.
    type: path
    default: /etc/mail/credentials
  files:
    description: Files and directories for the part V(files). An archive that holds others is refused.
    type: list
    elements: path
    default: [/etc/dkimkeys]
  redis:
    description: Where rspamd keeps what it has learned.
    type: str
    default: 127.0.0.1:6379
  differing:
    description: What becomes of a file that is here already with another content.
    type: str
    choices: [refuse, keep, replace]
    default: refuse
  again:
    description: Whether mail of an archive is brought that was here before, which brings back what users deleted since.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Make an archive
  postmaster.mail.mail_archive:
    state: made
    path: /var/lib/postmaster.mail/backup/archive.tar.gz

- name: Bring it onto another host
  postmaster.mail.mail_archive:
    state: restored
    path: /var/lib/postmaster.mail/restore/archive.tar.gz
    digest: "{{ archive.stat.checksum }}"
"""

RETURN = r"""
digest:
  description: SHA-256 of the archive that was made.
  returned: when O(state=made)
  type: str
made:
  description: When it was made (UTC), fit for the name of a file.
  returned: when O(state=made)
  type: str
  sample: 2026-11-28-091500
counts:
  description: How many members each part of the archive has.
  returned: when O(state=made) and not in check mode
  type: dict
left:
  description: Parts that have not arrived.
  returned: when O(state=known) or O(state=restored)
  type: list
  elements: str
waiting:
  description: Those of them that need what the role sets up, which is not there yet.
  returned: when O(state=known) or O(state=restored)
  type: list
  elements: str
kept:
  description: What stays as it is on the host, though the archive has another.
  returned: when O(state=restored)
  type: list
  elements: str
unknown:
  description: Users of the archive who have no account here.
  returned: when O(state=restored)
  type: list
  elements: str
"""

import os
import platform
from datetime import UTC, datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.postmaster.mail.plugins.module_utils import _archive as values
from ansible_collections.postmaster.mail.plugins.module_utils import _archive_client as client
from ansible_collections.postmaster.mail.plugins.module_utils import _archive_run as work
from ansible_collections.postmaster.mail.plugins.module_utils import _files

PARTS = list(values.PARTS)
ARGUMENT_SPEC: dict[str, Any] = {
    "state": {"type": "str", "choices": ["made", "known", "restored"], "required": True},
    "path": {"type": "path"},
    "digest": {"type": "str"},
    "parts": {"type": "list", "elements": "str", "choices": PARTS, "default": PARTS},
    "mail_directory": {"type": "path", "default": "/var/vmail"},
    "uid": {"type": "int", "default": 2000},
    "gid": {"type": "int", "default": 2000},
    "credentials": {"type": "path", "default": "/etc/mail/credentials"},
    "files": {"type": "list", "elements": "path", "default": ["/etc/dkimkeys"]},
    "redis": {"type": "str", "default": "127.0.0.1:6379"},
    "differing": {"type": "str", "choices": ["refuse", "keep", "replace"], "default": "refuse"},
    "again": {"type": "bool", "default": False},
}


def diff_of(lines: list[str]) -> dict[str, str]:
    """Names of what comes."""
    return {"before": "", "after": "".join(f"{line}\n" for line in lines), "after_header": "from the archive"}


def made(params: dict[str, Any], settings: work.Settings, *, check_mode: bool) -> dict[str, Any]:
    """Make an archive, for the one who became root to do so."""
    path = params["path"]
    if check_mode:
        return {"changed": True, "digest": "", "made": "", "diff": diff_of([path])}
    now = datetime.now(UTC)
    release = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    about = values.About(platform.node(), release, now.isoformat(timespec="seconds"), settings.parts)
    login = (int(os.environ.get("SUDO_UID", "0")), int(os.environ.get("SUDO_GID", "0")))
    counts = work.make(path, about, settings, login)
    known = {"digest": client.digest_of(path), "made": now.strftime("%Y-%m-%d-%H%M%S"), "counts": counts}
    return {"changed": True, "diff": diff_of([path]), **known}


def restored(params: dict[str, Any], settings: work.Settings, *, check_mode: bool) -> dict[str, Any]:
    """See what is left of an archive, and bring it if that is asked."""
    digest, path = params["digest"], params["path"]
    left = list(settings.parts) if params["again"] else work.left(digest, settings)
    waiting = [part for part in left if part in values.LATE and not work.is_ready(settings)]
    wanted = [part for part in left if part not in waiting]
    known = {"changed": False, "left": left, "waiting": waiting}
    if params["state"] == "known" or not wanted:
        return known
    if check_mode and not os.path.exists(path):
        return {**known, "changed": True, "diff": diff_of(wanted)}
    if client.digest_of(path) != digest:
        raise values.ArchiveError(f"{path} is not the archive {digest}: it was changed on its way, so run this again")
    done = work.Restore(path, digest, settings, again=params["again"]).run(wanted, check_mode=check_mode)
    return {
        "changed": bool(done.changes),
        "left": left if check_mode else waiting,
        "waiting": waiting,
        "kept": done.kept,
        "unknown": done.unknown,
        "diff": diff_of(done.changes),
    }


def run(params: dict[str, Any], *, check_mode: bool) -> dict[str, Any]:
    """What the module returns; raises the errors of what it uses."""
    settings = work.settings_of(params)
    if params["state"] == "made":
        return made(params, settings, check_mode=check_mode)
    return restored(params, settings, check_mode=check_mode)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        supports_check_mode=True,
        required_if=[
            ("state", "made", ["path"]),
            ("state", "known", ["digest"]),
            ("state", "restored", ["path", "digest"]),
        ],
    )
    try:
        module.exit_json(**run(module.params, check_mode=module.check_mode))
    except (values.ArchiveError, _files.FileError) as err:
        module.fail_json(msg=str(err))
    except OSError as err:
        module.fail_json(msg=f"{err.filename or module.params['path']}: {err.strerror}. Mend that and run this again")


if __name__ == "__main__":
    main()
