# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The option by which a change outlives a run that did not get to its handlers."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation of ``pending_file``."""

    DOCUMENTATION = r"""
options:
  pending_file:
    description:
      - A file, best below C(/run), that says that a change waits to be brought into force. It is written before the
        first file is replaced.
      - While it is there the answer is C(changed) even where nothing differs, so that a handler that an earlier run
        did not get to is notified again. Remove the file when the daemon has taken the change up.
    type: path
"""
