# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: the kernel's packet filter by iptables and nft, and a timer that undoes what was for a time. Private."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
from collections.abc import Sequence

from ansible_collections.postmaster.mail.plugins.module_utils._command import CommandError, Runner

# A shell that Ansible opens does not always know them.
_PATH = os.pathsep.join(filter(None, (os.environ.get("PATH"), "/usr/sbin", "/sbin")))
_WAIT = "10"  # seconds that iptables waits for another to give its lock back
LEGACY_TABLES = {4: "/proc/net/ip_tables_names", 6: "/proc/net/ip6_tables_names"}
LOADER = "/usr/share/netfilter-persistent/plugins.d/15-ip4tables"  # of the package iptables-persistent
FORWARDING = {4: "/proc/sys/net/ipv4/ip_forward", 6: "/proc/sys/net/ipv6/conf/all/forwarding"}


class Firewall:
    """Reads and writes whole rulesets."""

    def __init__(self, runner: Runner | None = None) -> None:
        self.runner = runner or Runner()

    # --- what there is ---

    def has(self, program: str) -> bool:
        """Whether a program is installed."""
        return shutil.which(program, path=_PATH) is not None

    def legacy_loaded(self, version: int) -> bool:
        """Whether tables of iptables-legacy are in the kernel; no program is needed to see that."""
        return bool(self._text(LEGACY_TABLES[version]).strip())

    def default(self, version: int = 4) -> str:
        """The variant that the plain command ``iptables`` or ``ip6tables`` is, and with it what loads rules at boot."""
        said = self.runner.run([self._path("iptables" if version == 4 else "ip6tables"), "-V"]).stdout
        return "iptables-legacy" if "legacy" in said else "iptables-nft"

    def forwards(self, version: int) -> bool:
        """Whether the kernel forwards packets."""
        return self._text(FORWARDING[version]).strip() not in ("", "0")

    def has_interface(self, name: str) -> bool:
        """Whether there is such an interface."""
        return os.path.isdir(f"/sys/class/net/{name}")

    def loads_rules(self) -> bool:
        """Whether netfilter-persistent loads rules of iptables at boot."""
        return os.path.exists(LOADER)

    def resolve(self, name: str) -> list[str]:
        """The addresses of a name as this host sees them, none if it cannot tell."""
        try:
            found = socket.getaddrinfo(name, 25, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return []
        return list(dict.fromkeys(str(one[4][0]) for one in found))

    def _text(self, path: str) -> str:
        try:
            with open(path, encoding="ascii", errors="replace") as handle:
                return handle.read()
        except OSError:
            return ""

    def _path(self, program: str) -> str:
        return shutil.which(program, path=_PATH) or program

    # --- iptables ---

    def save(self, backend: str, version: int) -> str:
        """All tables, without counters."""
        return self.runner.check([self._path(f"{program(backend, version)}-save")]).stdout

    def restore(self, backend: str, version: int, text: str, *, test: bool = False, flush: bool = False) -> None:
        """Change what ``text`` names, in one transaction for each table; with ``test`` only see whether it would do."""
        argv = [self._path(f"{program(backend, version)}-restore"), "-w", _WAIT]
        argv += [*([] if flush else ["--noflush"]), *(["--test"] if test else [])]
        self.runner.check(argv, stdin=text)

    # --- nftables ---

    def nft_table(self, table: str) -> str:
        """Our table as text, empty if there is none."""
        result = self.runner.run([self._path("nft"), "-s", "list", "table", "inet", table])
        if result.code != 0 and "No such file or directory" not in result.stderr:
            raise CommandError(f"nft list table failed: {result.output}", result)
        return result.stdout

    def nft_ruleset(self) -> str:
        """All tables as text, without counters, each rule with its handle."""
        return self.runner.check([self._path("nft"), "-s", "-a", "list", "ruleset"]).stdout

    def nft(self, text: str, *, test: bool = False) -> None:
        """Carry out one transaction, or see whether it could be."""
        self.runner.check([self._path("nft"), *(["-c"] if test else []), "-f", "-"], stdin=text)

    def nft_chains(self) -> list[dict[str, object]]:
        """All chains in nftables, those of iptables-nft among them: family, table, name, hook and policy."""
        said = self.runner.check([self._path("nft"), "-j", "list", "chains"]).stdout
        try:
            found = json.loads(said)["nftables"]
        except (ValueError, KeyError, TypeError) as err:
            raise CommandError("nft -j list chains printed something that cannot be read") from err
        return [one["chain"] for one in found if isinstance(one, dict) and isinstance(one.get("chain"), dict)]

    # --- later ---

    def later(self, seconds: int, unit: str, commands: Sequence[Sequence[str]]) -> None:
        """Have systemd run commands then, one after another, whether or not one before it fails."""
        line = "; ".join(shlex.join([self._path(argv[0]), *argv[1:]]) for argv in commands)
        timer = [f"--on-active={seconds}s", "--timer-property=AccuracySec=1s", f"--unit={unit}", "--collect", "--quiet"]
        self.runner.check([self._path("systemd-run"), *timer, "/bin/sh", "-c", line])


def program(backend: str, version: int) -> str:
    """The name of a variant's program for a version of IP, such as ``ip6tables-nft``."""
    return backend if version == 4 else f"ip6{backend[2:]}"
