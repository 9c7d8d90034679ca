# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``./dev demo`` as a newcomer starts it: its table, what it says afterwards, and that all of that works."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SATELLITES = ("sat-postfix-12", "sat-postfix-13", "sat-exim-12", "sat-exim-13")
RELAYS = ("relay1", "relay2")
# Left over from molecule, and not there where a person starts it.
STRANGE = ("ANSIBLE_", "MOLECULE_", "PYTHONPATH", "LAB_PRELOADED")


def demo(*words: str, stdin: str = "", timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """What a person types; the lab's name and place are the scenario's."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(STRANGE)}
    argv = [str(ROOT / "dev"), "demo", *words]
    return subprocess.run(
        argv, input=stdin, capture_output=True, text=True, timeout=timeout, env=env, cwd="/", check=False
    )


@pytest.fixture(scope="module")
def shown() -> str:
    """All that the demo prints; 20 minutes are what it may take at most."""
    done = demo("--yes", timeout=1200)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


def test_every_host_s_mail_is_believed(shown: str) -> None:
    begin = shown.index("who sent")
    heading, dummy, *lines = shown[begin : shown.index("\n\n", begin)].splitlines()
    columns = re.split(r"  +", heading)
    rows = [dict(zip(columns, re.split(r"  +", line), strict=True)) for line in lines]
    assert {(row["who sent"], row["to"]) for row in rows} == {
        *((host, "visitor@outside.test") for host in (*SATELLITES, *RELAYS)),
        *((host, "root") for host in SATELLITES),
    }
    for row in rows:
        assert (row["SPF"], row["DKIM"], row["DMARC"]) == ("pass", "pass", "pass")
        assert row["TLS"].startswith("TLSv1.")
        assert row["arrived at"] == {"root": "ops@outside.test"}.get(row["to"], row["to"])
        assert row["path"].startswith(row["who sent"]) and " > relay" in f" > {row['path']}"
    assert f"{len(rows)} of {len(rows)} messages arrived as they should" in shown


def test_it_tells_what_it_does_meanwhile(shown: str) -> None:
    steps = ("starting", "waiting for them to answer", "is up", "ansible-playbook", "PLAY RECAP", "Sending mail")
    places = [shown.find(step) for step in steps]
    assert -1 not in places and places == sorted(places), dict(zip(steps, places, strict=True))


def test_what_it_offers_afterwards_works(shown: str) -> None:
    offered = {line.split()[2] for line in shown.splitlines() if line.startswith("  ./dev demo")}
    assert offered == {"--enter", "--read", "--play", "--down"}
    assert demo("--enter", "relay1", stdin="hostname -f; exit\n").stdout.split()[-1:] == ["relay1.corp.example"]
    (first, *others) = demo("--read").stdout.splitlines()
    assert len(others) + 1 >= len(SATELLITES) * 2 + len(RELAYS)
    whole = demo("--read", first.split()[-1]).stdout
    assert "Authentication-Results: " in whole and f"Subject: {first.split()[-1]}" in whole
    hosts = demo("--play", "--list-hosts", "--limit", "relays").stdout
    assert all(host in hosts for host in RELAYS)


def test_it_goes_away(shown: str) -> None:
    assert demo("--down").returncode == 0
    nothing = demo("--read")
    assert nothing.returncode == 1
    assert "Traceback" not in nothing.stderr
