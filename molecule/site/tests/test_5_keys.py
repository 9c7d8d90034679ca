# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The next key, made by hand on a relay: published, while the old one goes on signing until it is told to stop."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from lab.plays import ESTATE, play
from lab.probe import Lab

PLAYBOOKS = Path(__file__).resolve().parents[3] / "playbooks"


def dkim_key(lab: Lab, state: str) -> str:
    """``ansible relay1 -m postmaster.mail.dkim_key`` for corp.example; what it printed."""
    program = str(Path(sys.executable).parent / "ansible")
    words = ["relay1", "-m", "postmaster.mail.dkim_key", "-a", f"domain=corp.example state={state}"]
    done = subprocess.run(
        [program, "-i", lab.known["inventory"], "-i", str(ESTATE), *words],
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PRIVATE KEY" not in done.stdout
    return done.stdout


def signed_with(lab: Lab, token: str) -> str:
    """The selector that a satellite's mail through relay1 is signed with; it verifies."""
    lab.run(
        "sat-exim-13", ["sendmail", "-f", "alex@corp.example", "x@outside.test"], input=f"Subject: {token}\n\nHi.\n"
    )
    message = lab.wait_for_message(token)
    assert message.verdicts["dkim"] == "pass"
    assert lab.dkim_verifies(message)
    found = re.search(r"\bs=([^;\s]+)", str(message.parsed["DKIM-Signature"]))
    assert found
    return found[1]


def test_a_key_is_rotated_by_hand(lab: Lab, token: str) -> None:
    old = signed_with(lab, f"{token}-1")
    assert "CHANGED" in dkim_key(lab, "rotated")
    assert "SUCCESS" in dkim_key(lab, "rotated")
    play(lab, PLAYBOOKS / "relay.yml")
    assert signed_with(lab, f"{token}-2") == old
    assert "CHANGED" in dkim_key(lab, "activated")
    play(lab, PLAYBOOKS / "relay.yml")
    new = signed_with(lab, f"{token}-3")
    assert new != old
    for selector in (old, new):
        assert lab.query(f"{selector}._domainkey.corp.example", "TXT", server="ns2")
