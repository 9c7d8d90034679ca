# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Action: print text as it is. Its documentation is that of the module of the same name."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display


class ActionModule(ActionBase):
    """Runs on the controller alone."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Print the lines; control characters other than the ends of lines are shown as escapes."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        dummy, args = self.validate_argument_spec({"lines": {"type": "list", "elements": "str", "required": True}})
        for line in args["lines"]:
            Display().display("".join(char if char.isprintable() else ascii(char)[1:-1] for char in str(line)))
        return {**result, "changed": False}
