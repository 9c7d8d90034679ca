# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a stage may write and see of its host. The lab's hosts may not mount, so this needs one beside them that may.

It has the units as they are on the mailer, with a program in them that looks around, and nobody else's permissions
stand in its way.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from lab import engine, ready, state
from lab.engine import Container, Link
from lab.probe import Lab
from mailers import MAILERS, STAGES

PLACES = ["/etc", "/usr", "/opt", "/srv", "/var/lib", "/var/spool", "/run"]
SECRETS = ["/root", "/home/somebody", "/etc/ssl/private", "/etc/postmaster-mailer/dkim"]
LOOK = f"""
import json, os, sys

def works(action, *words):
    try:
        action(*words)
    except OSError:
        return False
    return True

def write(folder):
    name = os.path.join(folder, "probe")
    open(name, "w").close()
    os.unlink(name)

own = os.environ.get("RUNTIME_DIRECTORY", ""), os.environ.get("STATE_DIRECTORY", "")
print(json.dumps({{
    "writes": [one for one in {PLACES} if works(write, one)],
    "reads": [one for one in {SECRETS} if works(os.listdir, one)],
    "own": [works(write, one) for one in own if one],
    "devices": sorted(set(os.listdir("/dev")) & {{"fuse", "kmsg", "mem", "net", "fd"}}),
    "others": os.path.exists("/proc/1"),
}}))
"""
READY = f"""set -e
systemctl is-system-running --wait >/dev/null || true
mkdir -p {" ".join(SECRETS)} && chmod 777 {" ".join(PLACES + SECRETS)} /home
"""


@pytest.fixture(scope="module", params=MAILERS)
def host(lab: Lab, request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """A mailer, and the name of a host like it whose systemd may mount."""
    known, of = engine.find(lab.known["engine"], state=state.CACHE), lab.known["hosts"][request.param]["container"]
    image, name = known.text("inspect", "--format", "{{.Config.Image}}", of), f"{of}-mounting"
    wanted = Container(name, "mounting", image, lab.known["name"], (Link(known.uplink),), mounting=True)
    known.create(wanted)
    try:
        known.start(name)
        people = lab.run(
            request.param,
            "grep ^postmaster-mailer- /etc/passwd; echo; grep -E '^(postmaster-mailer-|postdrop)' /etc/group",
        )
        users, groups = people.stdout.split("\n\n")
        known.run("exec", "-i", name, "sh", "-c", READY + "cat >> /etc/passwd", stdin=f"{users}\n".encode())
        known.run("exec", "-i", name, "sh", "-c", "cat >> /etc/group", stdin=groups.encode())
        known.run("exec", "-i", name, "sh", "-c", "cat > /srv/look.py", stdin=LOOK.encode())
        yield request.param, name
    finally:
        known.remove([name])


def test_stages_write_and_see_little(lab: Lab, host: tuple[str, str]) -> None:
    mailer, name = host
    known = engine.find(lab.known["engine"], state=state.CACHE)

    def bash(script: str, text: str = "") -> str:
        return known.run("exec", "-i", name, "sh", "-c", script, stdin=text.encode()).stdout.decode()

    def seen(unit: str, body: str, user: str) -> dict[str, object]:
        lines = [line for line in body.splitlines() if not line.startswith(("Exec", "Type=", "Restart"))]
        body = "\n".join(lines).replace(
            "[Service]",
            "[Service]\nType=oneshot\nExecStart=/usr/bin/python3 /srv/look.py\nStandardOutput=file:/run/said",
            1,
        )
        bash(f"rm -f /run/said; cat > /run/systemd/system/{unit}", body)
        bash(f"systemctl daemon-reload && systemctl start {unit.replace('@', '@1')}")
        found: dict[str, object] = json.loads(bash("cat /run/said"))
        return found

    # A service that is not shut in may do all of it.
    free = seen("free@.service", "[Service]\nUser=postmaster-mailer-transformer\nRuntimeDirectory=free\n", "")
    assert free["writes"] == PLACES and free["reads"] == SECRETS and free["own"] == [True] and free["others"], free
    for stage in STAGES:
        unit = f"postmaster-mailer-{stage}@.service"
        found = seen(unit, lab.run(mailer, ["cat", f"/etc/systemd/system/{unit}"]).stdout, stage)
        assert found == {
            "writes": [],
            "reads": SECRETS[-1:] if stage == "transformer" else [],
            "own": [True] * (2 if stage == "mxserver" else 1),
            "devices": ["fd"],
            "others": False,
        }, (stage, found)
