# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mail of an old server comes in by IMAP, each time only what is new. It follows the move and uses what it left."""

from __future__ import annotations

from typing import Any

from lab import plays
from lab.probe import Lab
from moving import ANN, BOB, CHOSEN, FOLDER, NEW, OLD, PASSWORDS, PLAYBOOKS, arrive, imap, seen, wait_for


def fetch(lab: Lab, *, password: str = PASSWORDS[ANN], **options: Any) -> plays.Played:
    """Run the playbook."""
    users = [{"address": BOB, "host": lab.fqdn(OLD), "user": ANN, "password": password}]
    extra = {"mail_import_users": users}
    return plays.play(lab, PLAYBOOKS / "mail_import.yml", inventories=(), limit=NEW, extra=extra, **options)


def of_bob(lab: Lab, token: str) -> dict[tuple[str, str], tuple[str, ...]]:
    """What of the mailbox that ann has there is in the one that bob has here, without the numbers."""
    with imap(lab, NEW, BOB, CHOSEN) as client:
        found = seen(client, ("INBOX", FOLDER))
    return {key: about[:2] for key, about in found.items() if token in key[1]}


def test_mail_of_an_old_server_comes_in(lab: Lab, token: str) -> None:
    with imap(lab, OLD) as client:
        client.create(FOLDER)
        for number, (folder, flags) in enumerate(((FOLDER, "(\\Seen $Forwarded)"), ("INBOX", "(\\Flagged)"))):
            letter = f"From: eve@outside.test\r\nSubject: {token}-{number}\r\n\r\nHello\r\n"
            client.append(folder, flags, '"01-Feb-2003 04:05:06 +0000"', letter.encode())
        there = {key: about[:2] for key, about in seen(client, ("INBOX", FOLDER)).items() if token in key[1]}
    assert len(there) == 2
    assert arrive(lab, NEW, f"{token}-bobs", to=BOB).accepted
    refused = fetch(lab, password='not "hers" %u \\', must_pass=False)
    assert BOB in refused.failures[NEW]
    assert "Mend that and run this again" in refused.failures[NEW]
    assert of_bob(lab, f"{token}-0") == {}
    second_line = fetch(lab, password="hers\nmail_path = /root", must_pass=False)
    assert f"host, user or password of {BOB} has a control character" in second_line.failures[NEW]
    first = fetch(lab)
    assert first.changed == {NEW: ["Fetch what is not here yet"]}
    assert {key: about for key, about in of_bob(lab, token).items() if key in there} == there
    assert ("INBOX", f"{token}-bobs") in of_bob(lab, token)
    assert fetch(lab).changed == {}
    assert arrive(lab, OLD, f"{token}-new").accepted
    wait_for(lab, OLD, f"{token}-new")
    later = fetch(lab)
    assert f"1 messages came for {BOB}" in later.output
    assert ("INBOX", f"{token}-bobs") in of_bob(lab, token)
    for played in (refused, first, later):
        assert PASSWORDS[ANN] not in played.output
    assert lab.run(NEW, "ls -d /run/mail-import.*", check=False).stdout == ""
