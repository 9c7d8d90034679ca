# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection's own tests on hosts to throw away: on real daemons, and with Debian's Python libraries."""

from __future__ import annotations

import base64
import io
import re
import subprocess
import tarfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import ansible.release
import pytest
from lab.probe import Lab

ROOT = Path(__file__).resolve().parents[3]
TREE, COLLECTION = "/root/tree", "ansible_collections/postmaster/mail"


@dataclass(frozen=True)
class Suite:
    """Tests to run on a host, and what they need there."""

    paths: tuple[str, ...]
    packages: tuple[str, ...]
    environment: str = ""
    skipped: int = 0  # tests that need data which is not on the host
    least: int = 21  # tests that must have run


POSTCONF = Suite(
    ("tests/integration/postconf",),
    ("postfix", "postfix-lmdb", "postfix-pcre", "libsasl2-modules", "ssl-cert"),
    "POSTCONF_THROW_AWAY_HOST=1",
)
EXIM = Suite(("tests/integration/exim4_config",), ("exim4-daemon-light",), "EXIM4_THROW_AWAY_HOST=1")
# The values and ports that need more than the standard library.
LIBRARIES = Suite(
    tuple(f"tests/unit/test_{name}.py" for name in ("dkim", "dkim_plan", "dkim_store", "dns_client", "dns_plan")),
    ("python3-cryptography", "python3-dnspython", "python3-hypothesis", "python3-dkim"),
    skipped=2,
)
# Whole modules against Knot DNS and BIND, with the dnspython that a host of the estate would have.
DNS = Suite(("tests/integration/dns",), ("knot", "bind9", "python3-cryptography", "python3-dnspython"))
# Real tables of the kernel, some of them in namespaces, and real connections between these.
FIREWALL = Suite(
    ("tests/integration/iptables_smtp_dnat", "tests/unit/test_smtp_dnat.py"),
    ("iptables", "iptables-persistent", "nftables", "python3-hypothesis"),
    "IPTABLES_THROW_AWAY_HOST=1",
)
# What is seen of the daemons that those before have left.
VIEW = Suite(
    ("tests/integration/mail_host_info",),
    ("ssl-cert", "xz-utils", "bzip2", "zstd"),
    "MAIL_HOST_THROW_AWAY_HOST=1",
    least=13,
)
RUNS = {
    "sat-postfix-12": (POSTCONF, LIBRARIES, FIREWALL, VIEW),
    "sat-postfix-13": (POSTCONF, LIBRARIES, FIREWALL, VIEW),
    "sat-exim-12": (EXIM, DNS, VIEW),
    "sat-exim-13": (EXIM, DNS, VIEW),
}


def _tree() -> str:
    """What the tests need, as a tar in base64, the only thing a shell's input takes unharmed.

    That is a part of the clone, and of this ansible-core what a module needs of it on a host.
    """
    ours = ["plugins/module_utils", "plugins/modules", "tests"]
    listed = subprocess.run(["git", "ls-files", "-z", *ours], cwd=ROOT, capture_output=True, text=True, check=True)
    core = Path(ansible.release.__file__).parent
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w:gz") as tar:
        for name in filter(None, listed.stdout.split("\0")):
            if (ROOT / name).exists():
                tar.add(ROOT / name, f"{COLLECTION}/{name}")
        for name in ("__init__.py", "release.py", "_vendor", "module_utils"):
            tar.add(core / name, f"ansible/{name}", filter=lambda info: None if "__pycache__" in info.name else info)
    return base64.b64encode(memory.getvalue()).decode()


def _run(lab: Lab, host: str, tree: str) -> dict[str, str]:
    """Run a host's suites; the last line of each, by the suite's first path, or all it said if it failed."""
    lab.run(host, f"mkdir -p {TREE} && base64 -d | tar -C {TREE} -xz", input=tree)
    packages = sorted({package for suite in RUNS[host] for package in suite.packages})
    apt = "DEBIAN_FRONTEND=noninteractive apt-get -qq"
    install = f"{apt} install --no-install-recommends python3-pytest {' '.join(packages)}"
    lab.run(host, f"{apt} update && {install}", timeout=600)
    said = {}
    for suite in RUNS[host]:
        command = (
            f"cd {TREE}/{COLLECTION} && {suite.environment} PYTHONPATH={TREE} python3 -m pytest -q -p no:cacheprovider "
        )
        done = lab.run(host, command + " ".join(suite.paths), check=False, timeout=900)
        said[suite.paths[0]] = done.stdout[-6000:] + done.stderr[-2000:]
    return said


@pytest.fixture(scope="module")
def runs(lab: Lab) -> Iterator[dict[str, Future[dict[str, str]]]]:
    """All hosts at once."""
    tree = _tree()
    with ThreadPoolExecutor() as pool:
        yield {host: pool.submit(_run, lab, host, tree) for host in RUNS}


@pytest.mark.parametrize(
    ("host", "suite"),
    [pytest.param(host, suite, id=f"{host} {suite.paths[0]}") for host, suites in RUNS.items() for suite in suites],
)
def test_suite_passes(runs: dict[str, Future[dict[str, str]]], host: str, suite: Suite) -> None:
    said = runs[host].result()[suite.paths[0]]
    counted = re.search(r"^(\d+) passed(?:, (\d+) skipped)? in [\d.]+s", said, re.MULTILINE)
    assert counted, said
    assert int(counted[1]) >= suite.least
    assert int(counted[2] or 0) == suite.skipped
