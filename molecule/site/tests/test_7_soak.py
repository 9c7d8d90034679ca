# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steady mail while the estate is converged again: all of it comes once, and no daemon is restarted."""

from __future__ import annotations

import os
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab.plays import play
from lab.probe import Lab

SITE = Path(__file__).resolve().parents[3] / "playbooks" / "site.yml"
SATELLITES = ("sat-postfix-12", "sat-postfix-13", "sat-exim-12", "sat-exim-13")
SECONDS = 900 if os.environ.get("MAIL_TEST_FULL") == "1" else 20
PAUSE = 0.8  # seconds between two messages of a satellite, so 5 messages a second in all

SEND = """
end=$(($(date +%s) + {seconds})) i=0
while [ $(date +%s) -lt $end ]; do
  i=$((i + 1))
  printf 'Message-ID: <{token}-{host}-%s@corp.example>\\nSubject: {token}\\n\\nNumber %s.\\n' $i $i |
    sendmail -f alex@corp.example someone@outside.test || exit 1
  sleep {pause}
done
echo $i
"""
UNITS = {"relay1": ("postfix@-", "postfix", "rspamd"), "relay2": ("postfix@-", "postfix", "opendkim")}
COMPLAINTS = ("fatal:", "panic:", "warning: unsuccessful", "out of memory", "Segmentation")


def _send(lab: Lab, host: str, token: str) -> int:
    script = SEND.format(seconds=SECONDS, token=token, host=host, pause=PAUSE)
    return int(lab.run(host, script, timeout=SECONDS + 120).stdout)


def _main_processes(lab: Lab) -> dict[str, str]:
    """The main processes of the relays' daemons: the same as before where none was restarted."""
    show = ["systemctl", "show", "-p", "Id,MainPID,NRestarts"]
    return {relay: lab.run(relay, [*show, *units]).stdout for relay, units in UNITS.items()}


def _queued(lab: Lab, relay: str) -> str:
    # A file that its owner may not run is one that Postfix had not taken whole when the test of the queue killed it.
    queues = "/var/spool/postfix/incoming /var/spool/postfix/active /var/spool/postfix/deferred"
    return lab.run(relay, f"find {queues} -type f -perm -u+x").stdout


def test_steady_mail_comes_once_while_the_estate_is_converged(lab: Lab, token: str) -> None:
    play(lab, SITE)  # whatever tests before this one have left behind
    before = _main_processes(lab)
    began = lab.run("relay1", ["date", "+%F %T"]).stdout.strip()
    with ThreadPoolExecutor() as pool:
        sending = [pool.submit(_send, lab, host, token) for host in SATELLITES]
        changed = play(lab, SITE).changed
        sent = sum(one.result() for one in sending)
    assert changed == {}
    messages = lab.wait_for_messages(token, sent, timeout=120)
    assert Counter(str(message.parsed["Message-ID"]) for message in messages).most_common(1)[0][1] == 1
    assert len(messages) == sent > SECONDS
    verdicts = Counter(tuple(sorted(message.verdicts.items())) for message in messages)
    assert verdicts == {(("dkim", "pass"), ("dmarc", "pass"), ("spf", "pass")): sent}
    end = time.monotonic() + 60
    while any(_queued(lab, relay) for relay in UNITS) and time.monotonic() < end:
        time.sleep(1)
    assert {relay: _queued(lab, relay) for relay in UNITS} == {"relay1": "", "relay2": ""}
    assert _main_processes(lab) == before
    for relay in UNITS:
        log = lab.journal(relay, since=began)
        assert [line for line in log.splitlines() if any(words in line for words in COMPLAINTS)] == []
