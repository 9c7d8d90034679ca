# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a stage may write and see of its host. The lab's hosts may not mount, so this needs one beside them that may.

It has the units as they are on the mailer, with a program in them that looks around, and nobody else's permissions
stand in its way.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest
from lab import engine, ready, state
from lab.engine import Container, Link
from lab.probe import Lab
from mailers import MAILERS, STAGES

LONG = os.environ.get("MAIL_TEST_FULL") == "1"
# Without /run, a mount of its own, which systemd leaves writable in a container where it may not change /proc.
PLACES = ["/etc", "/usr", "/opt", "/srv", "/var/lib", "/var/spool"]
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
mkdir -p {" ".join(SECRETS)}
chmod 777 {" ".join(PLACES + SECRETS)} /home
cat > /srv/look.py
"""
START = """
import json, pathlib, subprocess, sys
given = json.load(sys.stdin)
for path, lines in given["people"].items():
    with open(path, "a") as file:
        file.write(lines)
for name, text in given["units"].items():
    pathlib.Path(f"/run/systemd/system/{name}@.service").write_text(text)
subprocess.run(["systemctl", "daemon-reload"], check=True)
subprocess.run(["systemctl", "start", *(f"{name}@1" for name in given["units"])], check=True)
print(json.dumps({name: json.loads(pathlib.Path(f"/run/{name}.said").read_text()) for name in given["units"]}))
"""


@pytest.fixture(scope="module", params=MAILERS if LONG else MAILERS[1:])
def host(lab: Lab, request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """A mailer, and the name of a host like it whose systemd may mount."""
    known, of = engine.find(lab.known["engine"], state=state.CACHE), lab.known["hosts"][request.param]["container"]
    image, name = known.text("inspect", "--format", "{{.Config.Image}}", of), f"{of}-mounting"
    wanted = Container(name, "mounting", image, lab.known["name"], (Link(known.uplink),), mounting=True)
    known.create(wanted)
    try:
        known.start(name)
        # Else tmpfiles.d would set modes later.
        up = ["exec", name, "systemctl", "is-active", "multi-user.target"]
        ready.wait(name, lambda: known.run(*up, check=False).returncode == 0)
        known.run("exec", "-i", name, "sh", "-c", READY, stdin=LOOK.encode())
        yield request.param, name
    finally:
        known.remove([name])


def looking(name: str, text: str) -> str:
    """A unit with the program that looks around in the place of its own."""
    kept = "\n".join(line for line in text.splitlines() if not line.startswith(("Exec", "Type=", "Restart")))
    start = f"Type=oneshot\nExecStart=/usr/bin/python3 /srv/look.py\nStandardOutput=file:/run/{name}.said\n"
    return kept.replace("[Service]\n", f"[Service]\n{start}", 1) + "\n"


def test_stages_write_and_see_little(lab: Lab, host: tuple[str, str]) -> None:
    mailer, name = host
    script = "grep ^postmaster-mailer- /etc/passwd; echo ---; grep -E '^(postmaster-mailer-|postdrop)' /etc/group"
    paths = " ".join(f"/etc/systemd/system/postmaster-mailer-{stage}@.service" for stage in STAGES)
    said = lab.run(mailer, f"{script}; for path in {paths}; do echo ---; cat $path; done").stdout
    users, groups, *texts = said.split("---\n")
    units = dict(zip(STAGES, texts, strict=True))
    units["free"] = "[Service]\nUser=postmaster-mailer-transformer\nRuntimeDirectory=free\n"
    given = {
        "people": {"/etc/passwd": users, "/etc/group": groups},
        "units": {unit: looking(unit, text) for unit, text in units.items()},
    }
    known = engine.find(lab.known["engine"], state=state.CACHE)
    done = known.run("exec", "-i", name, "python3", "-c", START, stdin=json.dumps(given).encode())
    found = json.loads(done.stdout)
    # A service that is not shut in may do all of it.
    free = found.pop("free")
    assert (free["writes"], free["reads"], free["own"], free["others"]) == (PLACES, SECRETS, [True], True)
    for stage in STAGES:
        assert found[stage] == {
            "writes": [],
            "reads": SECRETS[-1:] if stage == "transformer" else [],
            "own": [True] * (2 if stage == "mxserver" else 1),
            "devices": ["fd"],
            "others": False,
        }, stage
