# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A mail server on Debian 12 is used, backed up while mail flows, and goes on as a new host with Debian 13."""

from __future__ import annotations

import json
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from lab import mailclient, plays, ready
from lab.probe import Lab
from moving import (
    ANN,
    BOB,
    CHOSEN,
    FOLDER,
    NEW,
    OLD,
    PASSWORDS,
    PLAYBOOKS,
    SCENARIO,
    TAUGHT,
    Traffic,
    arrive,
    can_enter,
    imap,
    restore,
    seen,
    send,
    use,
    wait_for,
)  # fmt: skip

FOLDERS = ("INBOX", FOLDER, "Archive", "Junk")


@dataclass
class Moved:
    """What was before, and what each run said."""

    token: str
    archive: Path
    before: dict[tuple[str, str], tuple[str, ...]]
    of_bob: dict[tuple[str, str], tuple[str, ...]]
    flow: Traffic
    runs: dict[str, plays.Played] = field(default_factory=dict)


def _refused(lab: Lab, archive: Path, moved: Moved, what: str) -> None:
    moved.runs[what] = restore(lab, archive, must_pass=False)
    listed = lab.run(
        NEW, "ls -d /etc/mail /etc/dkimkeys /var/vmail /var/lib/postmaster.mail/restore/* 2>/dev/null", check=False
    )
    assert listed.stdout == "", what


@pytest.fixture(scope="module")
def moved(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Moved:
    """The move, from the first mail on the old host to the last run on the new one."""
    token, folder = f"moved-{lab.known['index']}", tmp_path_factory.mktemp("backup") / "archives"
    use(lab, token)
    with imap(lab, OLD) as ann, imap(lab, OLD, BOB, CHOSEN) as bob:
        before, of_bob = seen(ann, FOLDERS), seen(bob, ("INBOX",))
    with Traffic(lab, token) as flow:
        backup = plays.play(
            lab, PLAYBOOKS / "mail_backup.yml", inventories=(), limit=OLD, extra={"mail_backup_directory": str(folder)}
        )
    (archive,) = folder.iterdir()
    found = Moved(token, archive, before, of_bob, flow, {"backup": backup})
    whole = archive.read_bytes()
    damaged = folder / "damaged.tar.gz"
    damaged.write_bytes(whole[: len(whole) // 2])
    _refused(lab, damaged, found, "damaged")
    found.runs["first"] = restore(lab, archive)
    found.runs["role"] = plays.play(lab, SCENARIO / "converge.yml", inventories=(), extra={"mail_server_hosts": NEW})
    assert arrive(lab, NEW, f"{token}-meanwhile").accepted
    wait_for(lab, NEW, f"{token}-meanwhile")
    found.runs["check"] = restore(lab, archive, check=True)
    found.runs["second"] = restore(lab, archive)
    return found


def test_the_archive_is_for_its_owner_alone(moved: Moved) -> None:
    assert stat.S_IMODE(moved.archive.stat().st_mode) == 0o600
    assert stat.S_IMODE(moved.archive.parent.stat().st_mode) == 0o700
    for played in moved.runs.values():
        # The program that changes passwords, which a first run shows, holds a hash of nobody.
        assert not re.search(r"\$(6|2y)\$(?!rounds=20000\$nobody)[^ ]{20}", played.output)
        assert "PRIVATE KEY" not in played.output


def test_a_damaged_one_is_refused_before_anything_is_written(moved: Moved) -> None:
    said = moved.runs["damaged"].failures[NEW]
    assert "is damaged or no archive" in said, said
    assert "take another one" in said


def test_each_run_says_what_it_brings(moved: Moved) -> None:
    first, second = moved.runs["first"], moved.runs["second"]
    assert first.changed == {NEW: ["Restore what is left"]}
    assert "is no mail server yet, so bayes and mail wait" in first.output
    assert moved.runs["check"].changed == second.changed == {NEW: ["Restore what is left"]}


def test_a_run_more_changes_nothing(lab: Lab, moved: Moved) -> None:
    with imap(lab, NEW) as client:  # what a user deletes stays deleted
        (number,) = client.find("INBOX", f"{moved.token}-meanwhile")
        assert client.find(FOLDER, f"{moved.token}-draft")
    assert restore(lab, moved.archive).changed == {}
    assert number


def test_mail_is_there_with_flags_folders_and_dates(lab: Lab, moved: Moved) -> None:
    with imap(lab, NEW) as client:
        after = seen(client, FOLDERS)
        assert FOLDER in " ".join(str(line) for line in client.lsub()[1])
    old = {key: about[:2] for key, about in moved.before.items() if key[1] and not key[1].endswith("-0")}
    assert len(old) == 5, old
    assert {key: after[key][:2] for key in old} == old
    assert "$Forwarded" in after[(FOLDER, f"{moved.token}-draft")][0]
    assert "2003" in after[(FOLDER, f"{moved.token}-draft")][1]
    assert ("INBOX", f"{moved.token}-meanwhile") in after
    # A folder that was not here keeps its numbers, so that clients need not fetch it anew.
    for key in ((FOLDER, ""), (FOLDER, f"{moved.token}-draft")):
        assert after[key] == moved.before[key]
    with imap(lab, NEW, BOB, CHOSEN) as client:
        assert seen(client, ("INBOX",)) == moved.of_bob


def test_what_came_and_moved_during_the_backup_is_not_lost(lab: Lab, moved: Moved) -> None:
    assert moved.flow.moves > 10
    with imap(lab, NEW) as client:
        found = [folder for folder in ("INBOX", "Archive") if client.find(folder, f"{moved.token}-0")]
        arrived = [name for name in moved.flow.arrived if client.find("INBOX", name)]
    assert found
    # All that arrived before the backup began, and of the rest the first ones.
    assert len(arrived) >= 2
    assert arrived == moved.flow.arrived[: len(arrived)]


def test_users_have_the_passwords_they_chose(lab: Lab, moved: Moved) -> None:
    for user, password, wrong in ((ANN, PASSWORDS[ANN], CHOSEN), (BOB, CHOSEN, PASSWORDS[BOB])):
        assert can_enter(lab, NEW, user, password)
        assert not can_enter(lab, NEW, user, wrong)
    assert send(lab, NEW, f"{moved.token}-chosen", user=BOB, password=CHOSEN).accepted


def test_mail_is_signed_with_the_same_keys(lab: Lab, moved: Moved) -> None:
    signed = {}
    for host in (OLD, NEW):
        assert send(lab, host, f"{moved.token}-signed-{host}").accepted
        found = lab.wait_for_message(f"{moved.token}-signed-{host}")
        assert found.verdicts == {"spf": "pass", "dkim": "pass", "dmarc": "pass"}
        headers = [str(header) for header in found.parsed.get_all("DKIM-Signature") or []]
        signed[host] = sorted(
            word for header in headers for word in header.replace("\n", " ").split() if word.startswith("s=")
        )
    assert signed[OLD] == signed[NEW] == ["s=test-ed;", "s=test-rsa;"]


def test_the_filter_knows_what_it_learned(lab: Lab, moved: Moved) -> None:
    assert moved.runs["second"].code == 0
    # rspamd counts anew once in a while.
    ready.wait("what rspamd has learned", lambda: mailclient.learned(lab, NEW) == TAUGHT)
    tokens = "redis-cli --scan --pattern 'RS*' | sort | while read k; do echo $k $(redis-cli hgetall $k | sort); done"
    assert lab.run(NEW, tokens).stdout == lab.run(OLD, tokens).stdout


def test_a_users_own_script_sorts_here_too(lab: Lab, moved: Moved) -> None:
    assert arrive(lab, NEW, f"{moved.token}-for-the-archive").accepted
    wait_for(lab, NEW, f"{moved.token}-for-the-archive", folder="Archive")
    assert arrive(lab, NEW, f"{moved.token}-for-the-inbox").accepted
    wait_for(lab, NEW, f"{moved.token}-for-the-inbox")


def test_the_role_finds_all_as_it_should_be(lab: Lab, moved: Moved) -> None:
    assert moved.runs["role"].code == 0
    extra = {"mail_server_hosts": NEW}
    assert plays.play(lab, SCENARIO / "converge.yml", inventories=(), extra=extra).changed == {}
    assert json.loads(lab.run(NEW, "cat /var/lib/postmaster.mail/restored/*.json").stdout)["parts"] != []
