# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Callback: one JSON line for each task's result on each host, in the file that LAB_RECORD names."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.plugins.callback import CallbackBase
from ansible.release import __version__

DOCUMENTATION = """
name: record
type: notification
short_description: Write each result as a line of JSON to the file LAB_RECORD
description: For tests and measurements; the results themselves are left out but for what failed and why.
requirements: [the environment variable LAB_RECORD]
notes:
  - LAB_KILL_AFTER names a task at whose end the run is killed
  - LAB_PAYLOADS is a folder in which the archives of modules stay for the next run
"""


class CallbackModule(CallbackBase):
    """Writes results as they come."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "record"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._path = os.environ.get("LAB_RECORD", "")
        self._started = 0.0
        self._play = ""
        if kept := os.environ.get("LAB_PAYLOADS"):
            # Where Ansible looks for those of this run; it removes the link at the end.
            payloads = Path(kept) / __version__
            payloads.mkdir(exist_ok=True)
            (Path(constants.DEFAULT_LOCAL_TMP) / "ansiballz_cache").symlink_to(payloads)

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._play = play.get_name()

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self._started = time.monotonic()

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        self._started = time.monotonic()

    def _write(self, kind: str, result: Any) -> None:
        if not self._path:
            return
        data = result._result
        entry = {
            "kind": kind,
            "play": self._play,
            "host": result._host.get_name(),
            "task": result._task.get_name(),
            "action": result._task.action,
            "changed": bool(data.get("changed")),
            # Each item of a loop is a call of its own.
            "calls": sum(not item.get("skipped") for item in data["results"])
            if result._task.loop and "results" in data
            else 1,
            "seconds": round(time.monotonic() - self._started, 3),
        }
        if kind in ("failed", "unreachable"):
            entry["msg"] = str(data.get("msg", ""))
            entry["items"] = [str(item.get("msg", "")) for item in data.get("results", []) if item.get("failed")]
        with open(self._path, "a", encoding="utf-8") as file:
            print(json.dumps(entry), file=file)

    def v2_runner_on_ok(self, result: Any) -> None:
        self._write("ok", result)
        if result._task.get_name().rpartition(" : ")[2] == os.environ.get("LAB_KILL_AFTER"):
            os.kill(os.getpid(), signal.SIGKILL)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._write("ignored" if ignore_errors else "failed", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._write("unreachable", result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._write("skipped", result)
