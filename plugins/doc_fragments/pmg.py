# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the way to a Proxmox Mail Gateway, of what all its lists have, and of what its tasks have."""

from __future__ import annotations


class ModuleDocFragment:
    """Fragments ``pmg``, ``pmg.list`` and ``pmg.tasks``."""

    DOCUMENTATION = r"""
options:
  api_transport:
    description:
      - C(https) asks the API over the network, from the controller or any other host.
      - C(pmgsh) asks it by the program of that name. The module has to run on the gateway then, as root; no other of
        the C(api_) options but O(api_timeout) is looked at.
    type: str
    choices: [https, pmgsh]
    default: https
  api_host:
    description: Name of the gateway, which its certificate must carry. Required for C(https).
    type: str
  api_port:
    description: Port of the API.
    type: int
    default: 8006
  api_user:
    description:
      - Who logs in, with the realm - C(root@pam), C(ansible@pmg). Writing needs the role C(admin), check mode C(audit).
      - An account that has to show a second factor cannot be used.
    type: str
    default: root@pam
  api_password:
    description: Its password. Without it, the environment variable E(PMG_PASSWORD). Required for C(https).
    type: str
  ca_path:
    description: File with the certificates of authorities to trust instead of the system's.
    type: path
  validate_certs:
    description: Whether the gateway has to show a certificate that holds. If not, somebody in between learns it all.
    type: bool
    default: true
  api_timeout:
    description: Seconds to wait for an answer. A change takes the gateway some two seconds.
    type: int
    default: 30
  backup:
    description:
      - Whether the gateway packs a backup of its configuration before the first change, unless it has one of the last
        hour. It stays on the gateway, in C(/var/lib/pmg/backup).
    type: bool
    default: false
attributes:
  action_group:
    description: Use C(group/postmaster.mail.pmg) in C(module_defaults) to set options for all modules of the gateway.
    support: full
    membership:
      - postmaster.mail.pmg
  check_mode:
    description: Only reads in check mode, and predicts the change.
    support: full
  diff_mode:
    description: Shows what differs, without secrets.
    support: full
  idempotent:
    description: Changes nothing when run again.
    support: full
"""

    PROGRESS = r"""
options:
  progress:
    description:
      - After how many changes the run says how far it is, as long as some are left. It looks at the list again each
        time, and logs in once.
      - 25 if left out, which takes the gateway some 50 seconds. With V(0), nothing is said.
    type: int
"""

    LIST = r"""
options:
  state:
    description: Whether the entries should be in the list.
    type: str
    choices: [present, absent]
    default: present
  purge:
    description: Whether all others are removed from the list. Without any entry given, that is all there are.
    type: bool
    default: false
"""

    TASKS = r"""
options:
  node:
    description: The node of a cluster that is meant. C(localhost) is the one that is asked.
    type: str
    default: localhost
  task_timeout:
    description: Seconds to wait for what the gateway does in the background.
    type: int
    default: 300
"""
