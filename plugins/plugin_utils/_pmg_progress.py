# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Says how far a module is that keeps a list of a Proxmox Mail Gateway. Private.

A module cannot say anything before it ends, and a change takes a gateway some two seconds: a thousand are half an hour
of silence. So it is run for some changes at a time, each time from what the list is by then. Where nothing is left
after the first time, as on most days, it is run once. The runs share the task's directory on their host, through which
each hands its ticket to the next: however many there are, they are one login.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

AT_A_TIME = 25


class Progress(ActionBase):
    """Runs the module until no change is left; in the background, where nobody watches, once for all."""

    _supports_async = True

    def run(self, tmp: Any = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        given = {"progress": AT_A_TIME, **self._task.args}
        if self._task.async_val:
            given["progress"] = 0
            return dict(self._execute_module(module_args=given, task_vars=task_vars, wrap_async=True))
        if given["progress"] and not self._task.check_mode and self._connection._shell.tmpdir is None:
            self._make_tmp_path()
        results: list[dict[str, Any]] = []
        while not results or results[-1].get("left"):
            results.append(dict(self._execute_module(module_args=given, task_vars=task_vars)))
            if left := results[-1].get("left"):
                given |= {"backup": False} if given.get("backup") else {}  # it was made before the first change
                done = changes(results)
                host = (task_vars or {}).get("inventory_hostname", "")
                Display().display(f"[{host}] {done} of {done + left} changes are done")
        return together(results)


def changes(results: Sequence[Mapping[str, Any]]) -> int:
    """How many changes were made."""
    return sum(len(one.get("changed_entries", ())) for one in results)


def together(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the module would have returned for all at once."""
    first, last = results[0], dict(results[-1])
    if len(results) == 1:
        return last
    earlier = changes(results[:-1])
    if last.get("failed"):
        return {**last, "changed": True, "msg": f"{last.get('msg')} (after {earlier} others)"}
    last["changed"] = True
    last["changed_entries"] = [key for one in results for key in one["changed_entries"]]
    last["requests"] = sum(one["requests"] for one in results)
    if "diff" in last:
        last["diff"] = {"before": first["diff"]["before"], "after": last["diff"]["after"]}
    return last
