# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: what a Proxmox Mail Gateway does in the background, and how to wait for it. Private.

A request that starts such a task returns its identifier (UPID), at which its state and what it says can be asked for.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ansible_collections.postmaster.mail.plugins.module_utils._pmg import PmgError
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_client import Api, Interrupted

PAUSE = 1.0  # seconds between two looks at a task
PATIENCE = 300.0  # seconds for a backup
FRESH = 3600  # seconds for which a backup is one of what is there now
LAST_LINES = 4  # of what a task said, in the error
_NODE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True)
class Node:
    """A node, and how long its tasks are waited for."""

    api: Api
    name: str = "localhost"
    patience: float = PATIENCE
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def path(self, below: str) -> str:
        """A path of this node's. Raises :class:`PmgError` for a name that is none."""
        if not _NODE.fullmatch(self.name):
            raise PmgError(f"{self.name!r} is no node's name: write its host name without the domain")
        return f"/nodes/{self.name}{below}"

    def get(self, below: str) -> Any:
        """The data at a path of this node's. Raises :class:`PmgError`."""
        return self.api.get(self.path(below))

    def listed(self, below: str, what: str) -> list[dict[str, Any]]:
        """The list at a path of this node's. Raises :class:`PmgError`, which names it."""
        return listed(self.api, self.path(below), what)

    def run(self, what: str, method: str, path: str, params: Mapping[str, str]) -> None:
        """Start a task and wait for its end. Raises :class:`PmgError` with what it said last."""
        self.finish(what, self.api.call(method, path, params))

    def finish(self, what: str, task: Any) -> None:
        """Wait for the end of a task. Raises :class:`PmgError` with what it said last."""
        if not isinstance(task, str) or not task.startswith("UPID:"):
            raise PmgError(f"{what}: the gateway names no task to wait for: is this a Proxmox Mail Gateway?")
        at, deadline = f"/tasks/{quote(task, safe='')}", self.clock() + self.patience
        while True:
            try:
                state = self.get(f"{at}/status")
            except Interrupted:  # some tasks restart what answers
                state = None
            if isinstance(state, dict) and state.get("status") == "stopped":
                break
            if self.clock() >= deadline:
                raise PmgError(
                    f"{what} is not done after {self.patience:g} seconds: see {task} among the gateway's tasks, or "
                    "give a longer task_timeout"
                )
            self.sleep(PAUSE)
        ended = str(state.get("exitstatus") or "unknown")
        if ended != "OK" and not ended.startswith("WARNINGS:"):
            raise PmgError(f"{what} failed on the gateway: {_plain(ended)}{self._said(at)}")

    def _said(self, at: str) -> str:
        try:
            lines = self.api.call("GET", self.path(f"{at}/log"), {"limit": "500"})
        except PmgError:
            return ""
        texts = [str(one.get("t") or "") for one in lines or [] if isinstance(one, dict)]
        told = [_plain(text) for text in texts if text.strip() and not text.startswith("TASK ")]
        return f" (it said last: {'; '.join(told[-LAST_LINES:])})" if told else ""


def listed(api: Api, path: str, what: str) -> list[dict[str, Any]]:
    """The list of dictionaries at a path. Raises :class:`PmgError`, which names it."""
    found = api.get(path)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise PmgError(f"the gateway's list of {what} cannot be read: is this a Proxmox Mail Gateway?")
    return found


def _plain(text: str) -> str:
    return " ".join(text.split())[:300]


def back_up(api: Api) -> None:
    """Have the gateway keep its configuration, unless it did so within the last hour. Raises :class:`PmgError`."""
    node = Node(api)
    kept = [int(one.get("timestamp") or 0) for one in node.listed("/backup", "backups")]
    clock = node.get("/time")
    now = int(clock.get("time") or 0) if isinstance(clock, dict) else 0
    if not any(now - FRESH < one <= now for one in kept):
        node.run("the backup before the change", "POST", node.path("/backup"), {"statistic": "0"})
