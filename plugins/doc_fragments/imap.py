# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the option that names a mailbox to read."""

from __future__ import annotations


class ModuleDocFragment:
    """Fragment ``imap``."""

    DOCUMENTATION = r"""
options:
  imap:
    description: A mailbox to read. It is opened read-only, so messages stay unread. The connection is always encrypted.
    type: dict
    suboptions:
      host:
        description: Name of the server, which its certificate must carry.
        type: str
        required: true
      port:
        description: Port for IMAP over TLS; with 143 the connection is upgraded by STARTTLS before anything is said.
        type: int
        default: 993
      username:
        description: Name to log in with.
        type: str
        required: true
      password:
        description: Password to log in with.
        type: str
        required: true
      folder:
        description: The folder to read.
        type: str
        default: INBOX
      ca_path:
        description: File with the certificates of authorities to trust instead of the system's.
        type: path
"""
