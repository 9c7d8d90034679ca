# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""With systemd, and with what loads rules at boot. It rewrites this host's own rules, and files of /etc!

Run it as root in a throw-away Debian container with systemd, iptables-persistent, nftables and python3-pytest, the
collection's tree on PYTHONPATH, and IPTABLES_THROW_AWAY_HOST=1 set.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(
    os.environ.get("IPTABLES_THROW_AWAY_HOST") != "1" or os.geteuid() != 0, reason="only on a host to throw away"
)

MODULE = "ansible_collections.postmaster.mail.plugins.modules.iptables_smtp_dnat"
EDGE: dict[str, Any] = {
    "destination": ["203.0.113.5", "2001:db8:5::5"],
    "relay": ["10.1.0.102", "fd00:1::102"],
    "sources": ["192.0.2.25", "2001:db8:1::/64"],
    "masquerade": "egress",
}
TEMPORARY = {**EDGE, "sources": ["192.0.2.77", "2001:db8:7::77"], "expires": "3s"}


def module(**options: Any) -> dict[str, Any]:
    """One call of the module, started as Ansible starts it."""
    given = {**options, "_ansible_remote_tmp": "/tmp", "_ansible_keep_remote_files": False}
    text = json.dumps({"ANSIBLE_MODULE_ARGS": given})
    done = subprocess.run([sys.executable, "-m", MODULE], input=text, capture_output=True, text=True, check=False)
    result = json.loads(done.stdout)
    assert isinstance(result, dict)
    assert not result.get("failed"), result
    return result


def said(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def wait_until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end
        time.sleep(0.2)


SAVED = "*filter\n:INPUT ACCEPT [7:420]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n-A INPUT -i lo -j ACCEPT\nCOMMIT\n"
EMPTY = "*nat\nCOMMIT\n*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n"


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    _clear()
    yield
    _clear()


def _clear() -> None:
    for each in ("iptables", "ip6tables"):
        subprocess.run([f"{each}-legacy-restore"], input=EMPTY, text=True, check=True)
    said("nft", "flush", "ruleset")


@pytest.mark.parametrize("backend", ["iptables-nft", "iptables-legacy", "nftables"])
def test_what_is_for_a_time_goes_by_itself(backend: str) -> None:
    variant = backend.partition("-")[2]

    def rules() -> str:
        if backend == "nftables":
            return said("nft", "list", "ruleset")
        return said(f"iptables-{variant}-save") + said(f"ip6tables-{variant}-save")

    module(**EDGE, backend=backend, persist=False)
    before = rules()
    assert "192.0.2.25" in before
    # Long enough to be looked at on a slow machine; then the time counts anew.
    long = {**TEMPORARY, "expires": "10m"}
    assert module(**long, backend=backend)["added"] == ["192.0.2.77/32", "2001:db8:7::77/128"]
    assert "postmaster-smtp-dnat" in said("systemctl", "list-timers", "postmaster-smtp-dnat*")
    assert ("192.0.2.77" in rules(), "2001:db8:7::77" in rules()) == (True, True)
    said("systemctl", "stop", "postmaster-smtp-dnat*.timer")
    assert module(**TEMPORARY, backend=backend)["changed"]
    wait_until(lambda: "192.0.2.77" not in rules() and "2001:db8:7::77" not in rules())
    assert "192.0.2.25" in rules()
    assert not module(**EDGE, backend=backend, persist=False, purge=True)["changed"]


@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_netfilter_persistent_loads_them(variant: str) -> None:
    for tool in ("iptables", "ip6tables"):
        said("update-alternatives", "--set", tool, f"/usr/sbin/{tool}-{variant}")
    files = [Path(f"/etc/iptables/rules.v{version}") for version in (4, 6)]
    for path in files:
        path.write_text(SAVED, encoding="utf-8")
    # What is in the kernel for a while only, as Docker's and fail2ban's are.
    said(f"iptables-{variant}", "-N", "f2b-sshd")
    said(f"iptables-{variant}", "-A", "INPUT", "-j", "f2b-sshd")
    asked = {**EDGE, "backend": "auto"}
    result = module(**asked)
    assert (result["backend"], result["changed_files"]) == (f"iptables-{variant}", [str(path) for path in files])
    module(**TEMPORARY, backend="auto")
    said("netfilter-persistent", "start")
    text = said(f"iptables-{variant}-save") + said(f"ip6tables-{variant}-save")
    assert ("192.0.2.25" in text, "192.0.2.77" in text, "f2b-sshd" in text) == (True, False, False)
    assert not module(**asked)["changed"]
    assert module(**{**asked, "sources": []}, state="absent")["changed"]
    assert [path.read_text(encoding="utf-8") for path in files] == [SAVED, SAVED]


def test_nftables_loads_them() -> None:
    conf = Path("/etc/nftables.conf")
    before = conf.read_text(encoding="utf-8")
    asked = {**EDGE, "backend": "nftables"}
    assert len(module(**asked)["changed_files"]) == 2
    module(**TEMPORARY, backend="nftables")
    said("systemctl", "restart", "nftables")
    text = said("nft", "list", "ruleset")
    assert ("192.0.2.25" in text, "192.0.2.77" in text) == (True, False)
    assert not module(**asked)["changed"]
    assert module(**{**asked, "sources": []}, state="absent")["changed"]
    assert conf.read_text(encoding="utf-8") == before


def test_where_nothing_is_yet() -> None:
    done = said("nft", "list", "ruleset")
    assert done == ""
    assert module(**EDGE, persist=False)["backend"].startswith("iptables-")
