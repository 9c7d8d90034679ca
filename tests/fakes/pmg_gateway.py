# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules for a Proxmox Mail Gateway, run by HTTPS against the fake of one."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote

import fake_pmg_lists
import pytest
from ansible.module_utils import basic
from ansible.module_utils.common import warnings
from ansible_collections.postmaster.mail.plugins.module_utils import _pmg_client, _pmg_run, _pmg_tasks
from ansible_collections.postmaster.mail.plugins.module_utils._command import Result, Runner
from ansible_collections.postmaster.mail.plugins.modules import pmg_network
from fake_pmg import FakePmg, certificate, serving
from fake_pmg_node import FakeNode

PARTS = (fake_pmg_lists,)  # it adds its own to the fake
DATA = Path(os.environ.get("MAIL_TEST_DATA", "/nowhere")) / "pmg"
needs_schema = pytest.mark.skipif(not DATA.is_dir(), reason="not run: MAIL_TEST_DATA names no folder with pmg")
NETWORKS = "/config/mynetworks"
RELEASES = ("9.1", "8.2")
AUDITOR = {"api_user": "auditor@pmg", "api_password": "reads"}


@dataclass
class Gateway:
    """The fake, and how to reach it."""

    fake: FakePmg
    port: int
    ca_path: str

    def run(
        self, *, module: ModuleType = pmg_network, check: bool = False, fails: bool = False, **options: Any
    ) -> dict[str, Any]:
        """What the module returns."""
        given = {
            "api_host": "127.0.0.1", "api_port": self.port, "api_password": "secret", "ca_path": self.ca_path, **options,
        }  # fmt: skip
        stream = io.StringIO()
        arguments = {"ANSIBLE_MODULE_ARGS": {**given, "_ansible_check_mode": check, "_ansible_diff": True}}
        with pytest.MonkeyPatch.context() as patched:
            # What ansible.module_utils.testing does from ansible-core 2.19 on; 2.18 has no such thing.
            patched.setattr(basic, "_ANSIBLE_ARGS", json.dumps(arguments).encode())
            patched.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
            # In life each run of a module is a process of its own, and none is the controller's.
            patched.setattr(warnings, "_global_warnings", type(warnings._global_warnings)())
            if internal := sys.modules.get("ansible.module_utils._internal"):
                patched.setattr(internal, "is_controller", False, raising=False)
            with contextlib.redirect_stdout(stream), contextlib.suppress(SystemExit):
                module.main()
        result: dict[str, Any] = json.loads(stream.getvalue().strip().splitlines()[-1])
        assert bool(result.get("failed")) is fails, result
        return result

    @property
    def node(self) -> FakeNode:
        """What the fake knows of its node."""
        part = self.fake.parts["node"]
        assert isinstance(part, FakeNode)
        return part

    @property
    def networks(self) -> dict[str, str]:
        """The comments of the trusted networks."""
        return {cidr: entry.get("comment", "") for cidr, entry in self.fake.lists[NETWORKS].items()}

    @networks.setter
    def networks(self, wanted: dict[str, str]) -> None:
        self.fake.lists[NETWORKS] = {cidr: {"comment": comment} for cidr, comment in wanted.items()}

    def writes(self) -> int:
        """How many requests came that may change something."""
        return sum(self.fake.count(method) for method in ("POST", "PUT", "DELETE"))


class Node(Runner):
    """A node whose pmgsh does what the fake does."""

    def __init__(self, fake: FakePmg) -> None:
        self.fake = fake
        self.argvs: list[list[str]] = []

    def run(self, argv: Any, **options: Any) -> Result:
        self.argvs.append(list(argv))
        verb, path, *words = argv[1:]
        method = {"get": "GET", "create": "POST", "set": "PUT", "delete": "DELETE"}[verb]
        given = {word.removeprefix("--"): text for word, text in zip(words[::2], words[1::2], strict=True)}
        entry, named = self.fake._find(method, quote(path))  # it takes no escapes in a path
        if entry is None:
            return Result(tuple(argv), 255, "", f"no '{verb}' handler for '{path.lstrip('/')}'\n")
        said = self.fake._carry_out(method, entry["path"], {**given, **named})
        self.fake.log.append((method, path, given, said.status))
        if said.status != 200:
            return Result(tuple(argv), 255, "", f"{said.reason}\n")
        data = said.body["data"]
        if data and (method, path) == ("GET", "/config/tls-inbound-domains"):  # where the schema says texts
            wrong = "400 Result verification failed\n[0]: type check ('string') failed - got HASH\n"
            return Result(tuple(argv), 255, "", wrong)
        return Result(tuple(argv), 0, "" if data is None else json.dumps(data), "200 OK\n")


@contextmanager
def gateway_of(release: str, pem: Path) -> Iterator[Gateway]:
    """A gateway of a release, while it runs."""
    fake = FakePmg(json.loads((DATA / "pmg_api_schema.json").read_text())["methods"], release=release)
    with serving(fake, pem) as port:
        yield Gateway(fake, port, str(pem))


def fixtures() -> tuple[Any, Any]:
    """The fixtures ``pem`` and ``gateway``, for modules of tests: gateways of both releases that nobody waits for."""

    @pytest.fixture(scope="module")
    def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
        return certificate(tmp_path_factory.mktemp("tls"))

    @pytest.fixture(params=RELEASES)
    def gateway(request: pytest.FixtureRequest, pem: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
        monkeypatch.setattr(_pmg_run, "WAITS", (0, 0, 0))
        monkeypatch.setattr(_pmg_client, "READ_WAITS", (0, 0, 0))
        monkeypatch.setattr(_pmg_tasks, "PAUSE", 0)
        with gateway_of(request.param, pem) as running:
            yield running

    return pem, gateway
