# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mailer as it is deployed, every stage a process, for its benchmarks."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from _mailer_load import Door
from _mailer_peers import running, wait_for_port

FIRST_PORT = 5870
METRICS = itertools.count(19_090)
STAGES = ("receiver", "transformer", "postfix", "backdata", "redis")


def make_key(path: Path) -> Path:
    """An RSA key of 2048 bits."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048)
    kind = form.PrivateFormat.TraditionalOpenSSL  # dkimpy reads no other
    path.write_bytes(key.private_bytes(form.Encoding.PEM, kind, form.NoEncryption()))
    path.chmod(0o600)
    return path


def settings(folder: Path, redis: Path, log: Path, key: Path) -> dict[str, Any]:
    """What mailer.yaml holds."""
    stage = {"reliable-queue": {"redis": {"hostname": str(redis)}}}
    return {
        "receiver": {
            **stage,
            "bind": {"inet-interface": "127.0.0.1", "inet-port": FIRST_PORT},
            "auth-logins": [{"username": "bench", "password": "secret"}],
            "certificate": str(folder / "cert.pem"),
            "key": str(folder / "cert.key"),
            "size-limit": 104_857_600,
        },
        "transformer": {
            **stage,
            "secret-file": str(folder / "secret"),
            "domain-settings": [
                {"domain": "example.org", "dkim-private-key-file": str(key), "return-path-domain": "rp.example.org"}
            ],
        },
        "postfixlog": {**stage, "logfile": str(log), "postfix": {"hostname": str(log.parent / "spool/public/mailer")}},
        "backdata": stage,
        "redis": stage,
    }


class Mailer:
    """Its processes, by stage and number."""

    def __init__(self, folder: Path, redis: Path, log: Path, key: Path, queue: Mapping[str, Any] | None = None) -> None:
        self._folder, self._settings = (
            folder,
            {**settings(folder, redis, log, key), "reliable-queue": dict(queue or {})},
        )
        self._open: dict[tuple[str, int], contextlib.ExitStack] = {}
        self.pids: dict[tuple[str, int], int] = {}
        folder.mkdir()
        (folder / "secret").write_text("s" * 32)

    def start(self, stage: str, number: int = 1) -> None:
        """Start one; a second receiver listens on the port after the first one's."""
        given = {**self._settings.get(_section(stage), {}), "prometheus": {"inet-port": next(METRICS)}}
        if stage == "receiver":
            given["bind"] = {"inet-interface": "127.0.0.1", "inet-port": FIRST_PORT + number - 1}
        path = self._folder / f"{stage}-{number}.yaml"
        path.write_text(yaml.safe_dump({**self._settings, _section(stage): given}))
        words = [sys.executable, "-m", "postmaster_mailer", stage, "--config", path, "--instance", f"n{number}"]
        self._open[stage, number] = stack = contextlib.ExitStack()
        process = stack.enter_context(running(*words, log=self._folder / f"{stage}-{number}.log", env=dict(os.environ)))
        self.pids[stage, number] = process.pid
        wait_for_port(given["prometheus"]["inet-port"])

    def stop(self, stage: str, number: int = 1) -> None:
        """Stop one in order."""
        self._open.pop((stage, number)).close()
        del self.pids[stage, number]

    def close(self) -> None:
        """Stop all."""
        for stage, number in sorted(self._open, key=lambda one: STAGES.index(one[0])):
            self.stop(stage, number)

    def doors(self, connections: int) -> list[Door]:
        """Where mail is handed in, over so many connections in all."""
        numbers = sorted(number for stage, number in self.pids if stage == "receiver")
        login = ("bench", "secret")
        return [Door(FIRST_PORT + number - 1, connections // len(numbers), login) for number in numbers]


def _section(stage: str) -> str:
    return {"postfix": "postfixlog"}.get(stage, stage)


@contextmanager
def mailer(
    folder: Path,
    redis: Path,
    log: Path,
    key: Path,
    counts: Mapping[str, int] | None = None,
    queue: Mapping[str, Any] | None = None,
) -> Iterator[Mailer]:
    """The mailer with all stages, one of each unless ``counts`` says more; ``queue`` has settings of ``reliable-queue``."""
    made = Mailer(folder, redis, log, key, queue)
    try:
        for stage in STAGES:
            for number in range(1, (counts or {}).get(stage, 1) + 1):
                made.start(stage, number)
        yield made
    finally:
        made.close()
