# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running again: nothing changes; check mode tells the truth; a change is recorded and can be taken back."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from lab.plays import ESTATE, Played, play
from lab.probe import Lab

from .conftest import keep_history

ROOT = Path(__file__).resolve().parents[3]
PLAYBOOKS = ROOT / "playbooks"
GUIDE = ROOT / "docs" / "restore.md"
SITE = PLAYBOOKS / "site.yml"
SENDERS = ("sat-postfix-12", "sat-postfix-13", "sat-exim-12", "sat-exim-13", "relay1", "relay2")
# One host of each kind keeps the history of its /etc.
KEEPERS = ("relay2", "sat-postfix-13", "sat-exim-12")
OUR_SECRETS = ("dkimkeys/", "postfix/sasl_passwd", "postfix/satellite_password", "exim4/passwd.client")
OTHERS = "others@outside.test"
VARIABLES = {
    "satellite_queue_lifetime": "3d",
    "satellite_root_address": OTHERS,
    "relay_maximal_queue_lifetime": "3d",
    "relay_bounce_queue_lifetime": "3d",
    "relay_root_address": OTHERS,
}


def commits(lab: Lab, host: str) -> list[str]:
    """Subjects of the commits in the host's /etc, the newest first."""
    return lab.run(host, ["git", "-C", "/etc", "log", "--format=%s"]).stdout.splitlines()


def _start_history(lab: Lab, host: str) -> None:
    keep_history(lab, host)
    lab.run(host, "etckeeper commit -q 'all so far' || true")
    lab.run(host, "echo 'a note of the administrator' > /etc/note")


@pytest.fixture(scope="module")
def changed(lab: Lab) -> Iterator[tuple[Played, Played, dict[str, list[str]]]]:
    """A run with other variables: what check mode said of it, what it did, and the commits before."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda host: _start_history(lab, host), KEEPERS))
    before = {host: commits(lab, host) for host in KEEPERS}
    predicted = play(lab, SITE, check=True, extra=VARIABLES)
    yield predicted, play(lab, SITE, extra=VARIABLES), before


def test_a_second_run_changes_nothing(lab: Lab) -> None:
    assert play(lab, SITE).changed == {}


def test_check_mode_predicts_a_changed_variable(lab: Lab, changed: tuple[Played, Played, dict[str, list[str]]]) -> None:
    predicted, done, dummy = changed
    assert set(done.changed) == {*lab.hosts("relays"), *lab.hosts("satellites")}
    assert predicted.changed == done.changed


@pytest.mark.parametrize("host", KEEPERS)
def test_a_changing_run_is_two_commits(
    lab: Lab, changed: tuple[Played, Played, dict[str, list[str]]], host: str
) -> None:
    before = changed[2][host]
    now = commits(lab, host)
    assert now[2:] == before
    assert now[1].startswith("saving uncommitted changes before")
    assert not now[0].startswith(("saving", "daily"))
    tracked = lab.run(host, ["git", "-C", "/etc", "ls-files"]).stdout.splitlines()
    assert "note" in tracked
    assert not [path for path in tracked if path.startswith(OUR_SECRETS)]
    # Nor does anything else that is tracked hold a key of ours, under whatever name.
    held = "find dkimkeys -type f -exec git hash-object {} + 2>/dev/null || true"
    hashes = set(lab.run(host, f"cd /etc && {held}").stdout.split())
    assert bool(hashes) == host.startswith("relay")
    assert not hashes & set(lab.run(host, ["git", "-C", "/etc", "ls-tree", "-r", "HEAD"]).stdout.split())


def roots_addresses(lab: Lab, token: str) -> set[str]:
    """Where mail to root arrives from each kind of host."""
    for host in SENDERS:
        lab.run(host, ["sendmail", "-f", "alex@corp.example", "root"], input=f"Subject: {token}\n\n{host}\n")
    return {message.recipient for message in lab.wait_for_messages(token, len(SENDERS))}


def as_written(lab: Lab, command: str) -> str:
    """Run a command of the guide with the lab's inventory; what it printed."""
    folder = Path(sys.executable).parent
    done = subprocess.run(
        command.replace("-i inventory", f"-i {lab.known['inventory']} -i {ESTATE}"),
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "ANSIBLE_NOCOLOR": "1"},
        shell=True, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def lifetime(lab: Lab, host: str) -> str:
    """The setting by which this file tells one configuration from the other."""
    return lab.run(host, ["postconf", "-h", "maximal_queue_lifetime"]).stdout.strip()


def test_the_guide_s_commands_do_what_it_says(
    lab: Lab, changed: tuple[Played, Played, dict[str, list[str]]], token: str
) -> None:
    """All of docs/restore.md, from its first command to its last."""
    assert roots_addresses(lab, f"{token}-changed") == {OTHERS}
    text = GUIDE.read_text(encoding="utf-8")
    listing, content, difference, foreseen, restored, undone = re.findall(r"^    (ansible.*)$", text, re.MULTILINE)
    by_hand = "\n".join(re.findall(r"^    ((?:tar|postfix) .*)$", text, re.MULTILINE))
    assert "000001.tar" in (said := as_written(lab, listing)) and "000002.tar" in said
    assert re.search(r"etc/aliases\.lmdb$", as_written(lab, content), re.MULTILINE)
    assert "> maximal_queue_lifetime = 3d" in as_written(lab, difference)
    assert re.search(r"^\+.*/etc/postfix/main\.cf", as_written(lab, foreseen), re.MULTILINE)
    assert lifetime(lab, "relay1") == "3d"
    as_written(lab, restored)
    assert lifetime(lab, "relay1") == "5d"
    as_written(lab, undone)
    assert lifetime(lab, "relay1") == "3d"
    lab.run("relay1", by_hand.replace("NUMBER", min(re.findall(r"\d{6}", as_written(lab, listing)))))
    assert lifetime(lab, "relay1") == "5d"
    as_written(lab, restored)
    assert lifetime(lab, "relay1") == "3d"


def test_a_restore_says_first_which_hosts(lab: Lab) -> None:
    """The twin is the test before."""
    before = {host: lifetime(lab, host) for host in lab.hosts("relays")}
    played = play(lab, PLAYBOOKS / "restore.yml", must_pass=False)
    assert set(SENDERS) <= set(played.failures)
    assert all("Say which hosts to restore with -l" in said for said in played.failures.values())
    assert played.changed == {}
    assert {host: lifetime(lab, host) for host in before} == before


def test_the_last_working_configuration_comes_back(
    lab: Lab, changed: tuple[Played, Played, dict[str, list[str]]], token: str
) -> None:
    play(lab, PLAYBOOKS / "restore.yml", limit="relays:satellites")
    assert roots_addresses(lab, token) == {"ops@outside.test"}
    assert play(lab, SITE).changed == {}
