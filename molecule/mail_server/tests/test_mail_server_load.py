# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many clients send at once while daemons are killed and the disk is full: no message that was taken is lost."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from lab import ready
from lab.probe import Lab
from servers import HOSTS, Imap, of

FULL = os.environ.get("MAIL_TEST_FULL") == "1"
FAULTS = ("smtpd", "rspamd", "redis", "dovecot", "disk")
EACH = 834 if FULL else 60  # messages around each fault, and before the first one
CLIENTS, SIZE = 20, 10_000
USERS = ("ann", "bob")
# What podman and docker give a container of its own, with 64 MiB.
SMALL_DISK = "/dev/shm/smtpd"
# In a container with control groups of the first kind nobody tells systemd that a group has become empty, so where
# all of a daemon is killed at once, it waits for the unit's time limit before it starts it again.
BEGIN = f"""
for unit in opensmtpd rspamd redis-server dovecot; do
    mkdir -p /run/systemd/system/$unit.service.d
    printf '[Service]\\nTimeoutStopSec=2s\\n' >/run/systemd/system/$unit.service.d/zz-load.conf
done
systemctl daemon-reload
systemctl stop opensmtpd
cp -a /var/spool/smtpd {SMALL_DISK}; mv /var/spool/smtpd /var/spool/smtpd.large; ln -s {SMALL_DISK} /var/spool/smtpd
systemctl start opensmtpd
"""
END = f"""
rm -f /run/systemd/system/*.service.d/zz-load.conf
systemctl daemon-reload
systemctl stop opensmtpd
rm /var/spool/smtpd; mv /var/spool/smtpd.large /var/spool/smtpd; rm -rf {SMALL_DISK}
systemctl reset-failed opensmtpd
systemctl start opensmtpd
"""
QUEUED = "smtpctl schedule all >/dev/null 2>&1; find /var/spool/smtpd/queue/ -type f ! -name message | wc -l"


@contextmanager
def small_disk(lab: Lab, host: str) -> Iterator[None]:
    """With a queue on a disk that is soon full."""
    lab.run(host, BEGIN)
    try:
        yield
    finally:
        lab.run(host, END)


def burst(lab: Lab, host: str, token: str, first: int, count: int) -> dict[str, object]:
    """Many clients at once."""
    options = {
        "server": lab.address(host), "name": lab.fqdn("outside"), "token": token, "size": SIZE, "clients": CLIENTS,
        "sender": "joe@outside.test", "recipients": [of(host, user) for user in USERS], "first": first,
        "end": first + count, "patience": 600 if FULL else 120,
    }  # fmt: skip
    return dict(lab.script("outside", "send_many.py", options, timeout=900))


def burst_with_fault(lab: Lab, host: str, token: str, first: int, fault: str) -> tuple[dict, dict]:  # type: ignore[type-arg]
    """Many clients at once, and a fault while their mail is on its way."""
    options = {"fault": fault, "patience": 60, "seconds": 3}
    with ThreadPoolExecutor() as pool:
        sending = pool.submit(burst, lab, host, token, first, EACH)
        seen = lab.script(host, "fault_mail_server.py", options, timeout=200)
        return dict(sending.result()), dict(seen)


def arrived(lab: Lab, host: str, token: str) -> Counter[int]:
    """How often each message is in a mailbox, by its number."""
    found: Counter[int] = Counter()
    for user in USERS:
        with Imap(lab, host, user) as client:
            for folder in ("INBOX", "Junk"):
                client.select(folder, readonly=True)
                for answer in client.uid("FETCH", "1:*", "(BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")[1]:
                    if isinstance(answer, tuple):
                        found.update(int(number) for number in re.findall(rf"<{token}-(\d+)@", answer[1].decode()))
    return found


def told(lab: Lab, host: str, message_id: str) -> str:
    """What logs and directories of the host know of a message."""
    id_ = f"journalctl --no-pager -o short-iso | grep -F '{message_id}' | tail -n 20"
    files = f"grep -rlF '{message_id}' /var/spool/smtpd* /var/vmail /srv /var/mail /home 2>/dev/null"
    refused = "journalctl --no-pager -u opensmtpd | grep -E 'PermFail|bounce' | tail -n 20"
    return str(lab.run(host, f"{id_}; {files}; {refused}").stdout)


def drain(lab: Lab, host: str) -> None:
    """Until nothing is queued any more."""
    ready.wait(f"an empty queue on {host}", lambda: lab.run(host, QUEUED).stdout.strip() == "0", timeout=300)


@pytest.mark.parametrize("host", HOSTS)
def test_a_delivery_that_is_cut_short_is_tried_again(lab: Lab, host: str, token: str) -> None:
    """The program that hands mail to Dovecot is killed by the broken connection, of which OpenSMTPD makes a bounce."""
    began = lab.run(host, "date +%s").stdout.strip()
    failed = f"journalctl --no-pager -u opensmtpd --since @{began} | grep Fail || true"
    with ThreadPoolExecutor() as pool:
        cut = pool.submit(lab.script, host, "cut_delivery.py", {"patience": 60}, timeout=120)
        ready.wait("the stand-in", lambda: "666" in lab.run(host, "stat -c %a /run/dovecot/lmtp", check=False).stdout)
        assert burst(lab, host, token, 0, 1)["answered"] == [0]
        assert cut.result() == {"commands": 4}
    ready.wait("word of the delivery that was cut", lambda: bool(lab.run(host, failed).stdout.strip()))
    assert "PermFail" not in lab.run(host, failed).stdout
    drain(lab, host)
    assert arrived(lab, host, token) == {0: 1}


@pytest.mark.parametrize("host", HOSTS)
def test_load_and_faults_lose_nothing(lab: Lab, host: str, token: str, capsys: pytest.CaptureFixture[str]) -> None:
    total = EACH * (len(FAULTS) + 1)
    sent, seen = [], []
    with small_disk(lab, host):
        sent.append(burst(lab, host, token, 0, EACH))
        for number, fault in enumerate(FAULTS, start=1):
            report, unfinished = burst_with_fault(lab, host, token, number * EACH, fault)
            sent.append(report)
            seen.append(unfinished)
        drain(lab, host)
    copies = arrived(lab, host, token)
    answered = {number for report in sent for number in report["answered"]}
    doubtful = sum(report["doubtful"] for report in sent)
    twice = sum(count - 1 for count in copies.values())
    with capsys.disabled():
        faults = ", ".join(f"{fault} {it['queued']}/{it['leaving']}" for fault, it in zip(FAULTS, seen, strict=True))
        waits = sum(report["deferred"] + report["unreachable"] for report in sent)
        took = " ".join(f"{report['seconds']:.0f}" for report in sent)
        rate = EACH / sent[0]["seconds"]
        print(
            f"\n{host}: {total} messages of {SIZE} bytes by {CLIENTS} clients, {rate:.1f} a second without a fault; "
            f"unfinished/in flight at each fault: {faults}; put off {waits}, took {took} s, in doubt {doubtful}; "
            f"lost {len(answered - set(copies))}; duplicates {twice}"
        )
    assert [report["refused"] for report in sent if report["refused"]] == []
    assert answered == set(range(total))
    assert all(it["queued"] > 0 for it in seen), "a fault met no work: this run did not test anything"
    assert all(it["killed"] > 0 for fault, it in zip(FAULTS, seen, strict=True) if fault != "disk")
    lost = answered - set(copies)
    assert lost == set(), [told(lab, host, f"{token}-{number}@") for number in sorted(lost)[:3]]
    assert twice <= doubtful + sum(it["leaving"] for it in seen)
