# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Network namespaces to throw away, with kernel tables of their own. Root of a container may make them, too.

Where root lacks CAP_SYS_ADMIN they lie in a user namespace. There the kernel takes no transaction of a thousand rules.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence

from ansible_collections.postmaster.mail.plugins.module_utils._command import Result, Runner
from ansible_collections.postmaster.mail.plugins.module_utils._firewall_client import Firewall

PROGRAMS = ("iptables-nft-restore", "iptables-legacy-restore", "nft", "ip", "nsenter", "unshare")


def obstacle() -> str:
    """Why there can be no namespaces with tables here; empty if there can."""
    missing = [name for name in PROGRAMS if shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin") is None]
    if missing:
        return f"not installed: {', '.join(missing)} (packages iptables, nftables, iproute2, util-linux)"
    if not any(_works(words) for words in (OWN, IN_USER_NAMESPACE)):
        return (
            "no network namespace can be made here: it takes root, or a kernel that lets everybody make user namespaces"
        )
    return ""


OWN, IN_USER_NAMESPACE = ["unshare", "-n"], ["unshare", "-U", "-r", "-n"]


def _works(words: Sequence[str]) -> bool:
    argv = [*words, "nft", "list", "tables"]
    return os.geteuid() == 0 and subprocess.run(argv, capture_output=True, check=False).returncode == 0


class Namespace:
    """One, kept by a process that sleeps; another in the same user namespace is made with ``beside``."""

    def __init__(self, beside: Namespace | None = None) -> None:
        enter = [] if beside is None else [*beside.enter]
        words = OWN if beside or _works(OWN) else IN_USER_NAMESPACE
        argv = [*enter, *words, "sh", "-c", "echo $$; exec sleep 3600"]
        self.keeper = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        assert self.keeper.stdout is not None
        self.pid = self.keeper.stdout.readline().strip()
        self.enter = ["nsenter", "-t", self.pid, "-n"]
        if words == IN_USER_NAMESPACE or (beside and "-U" in beside.enter):
            self.enter += ["-U", "--preserve-credentials"]
        self.run("ip", "link", "set", "lo", "up")

    def close(self) -> None:
        self.keeper.kill()
        self.keeper.wait()
        assert self.keeper.stdout is not None
        self.keeper.stdout.close()

    def run(self, *argv: str, stdin: str = "", check: bool = True) -> str:
        """What a program says there."""
        done = subprocess.run([*self.enter, *argv], input=stdin, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or not check, f"{argv}: {done.stdout}{done.stderr}\n{stdin}"
        return done.stdout

    def set(self, name: str, value: str) -> None:
        """A setting of the kernel."""
        # In a container /proc/sys cannot be written, but the lab shows its hosts this part of it in another place.
        folder = next(path for path in ("/var/lib/lab-sysctl", "/proc/sys") if os.path.isdir(path))
        self.run("sh", "-c", f"echo {value} > {folder}/{name.replace('.', '/')}")

    def firewall(self) -> InNamespace:
        """The port of the module, there."""
        return InNamespace(self)

    # --- tables, without what tells no rule from another ---

    def rules(self, variant: str, version: int = 4) -> str:
        program = f"{'ip' if version == 4 else 'ip6'}tables-{variant}-save"
        lines = self.run(program).splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith("#"))

    def load(self, variant: str, version: int, text: str) -> None:
        self.run(f"{'ip' if version == 4 else 'ip6'}tables-{variant}-restore", stdin=text)

    def native(self) -> str:
        return self.run("nft", "-s", "list", "ruleset")


class There(Runner):
    """Runs programs in a namespace, and counts them."""

    def __init__(self, namespace: Namespace) -> None:
        self.namespace = namespace
        self.started: list[str] = []

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        timeout: float = 60,
    ) -> Result:
        self.started.append(argv[0].rpartition("/")[2])
        return super().run([*self.namespace.enter, *argv], stdin=stdin, env=env, cwd=cwd, timeout=timeout)


class InNamespace(Firewall):
    """The port, with what it reads from /proc."""

    def __init__(self, namespace: Namespace) -> None:
        self.there = There(namespace)
        super().__init__(self.there)

    def _text(self, path: str) -> str:
        argv = [*self.there.namespace.enter, "cat", path]
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout

    def has_interface(self, name: str) -> bool:
        argv = [*self.there.namespace.enter, "ip", "link", "show", name]
        return subprocess.run(argv, capture_output=True, check=False).returncode == 0
