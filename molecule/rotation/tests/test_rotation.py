# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys turn under steady mail, and no message fails for anybody: not when a name server does, nor when a run is."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from lab.probe import Lab
from lab.witness import Witness

FULL = os.environ.get("MAIL_TEST_FULL") == "1"
ZONES = ("corp.example", "shop.example")
# relay2's OpenDKIM signs with RSA alone, so relays that share their keys have no others.
NEWS = {
    "name": "news.corp.example",
    "dkim": {"selectors": ["s1", "s2", "s3", "s4", "s5", "s6"], "target": "{selector}.{dashed}.keys.corp.example"},
    "ttl": 3,
}
RSA_ALONE = [*({"name": name, "ttl": 3} for name in ZONES), NEWS]
SHARED: dict[str, Any] = {"mail_dkim_share": "both", "mail_domains": RSA_ALONE}
# The tasks after which a run is killed, in the order in which a rotation comes to them.
ALL_KILLS = (
    "Make the next keys",
    "Write the keys",
    "Know them",
    "Note what the name servers say",
    "Publish",
    "Configure rspamd",
    "Configure OpenDKIM",
    "Check the signer",
    "Bring the signer up to date",
    "Keep the configuration that works",
    "Have the signer sign",
    "Verify them",
    "Retire the keys from before",
    "Revoke what no mail needs any more",
    "Withdraw what was revoked long ago",
    "Forget what is gone",
)
LONG_ALONE = (
    "Write the keys",
    "Know them",
    "Note what the name servers say",
    "Configure rspamd",
    "Check the signer",
    "Bring the signer up to date",
    "Keep the configuration that works",
    "Verify them",
    "Revoke what no mail needs any more",
    "Forget what is gone",
)
KILLS = tuple(task for task in ALL_KILLS if FULL or task not in LONG_ALONE)
# With keys of two algorithms: the first run is killed when rspamd has both and nobody knows yet.
PAIR_KILLS = ("Configure rspamd",) if not FULL else ALL_KILLS[3:4] + ALL_KILLS[5:13]


def until_done(rotator: Any, **extra: Any) -> None:
    """A run after the other until every key is active and nothing else is left."""
    end = time.monotonic() + 900
    while any(state != "active" for keys in rotator.keys().values() for state in keys.values()):
        assert time.monotonic() < end, rotator.keys()
        played = rotator.run(**extra)
        assert played.code == 0, played.output[-4000:]
        time.sleep(1)


def test_a_run_with_nothing_due_changes_nothing(rotator: Any, witness: Witness) -> None:
    before = rotator.keys()
    played = rotator.run()
    assert (played.code, played.changed) == (0, {}), played.output[-4000:]
    assert played.output.count("  renew  2027-") == 7
    assert rotator.keys() == before
    witness.check(more=5)


@contextmanager
def serving_old_data(lab: Lab) -> Iterator[None]:
    """ns2 takes nothing over any more."""
    for zone in ZONES:
        lab.run("ns2", ["knotc", "-b", "zone-freeze", zone])
    yield
    for zone in ZONES:
        lab.run("ns2", ["knotc", "-b", "zone-thaw", zone])
        lab.run("ns2", ["knotc", "zone-refresh", zone])


@contextmanager
def down(lab: Lab) -> Iterator[None]:
    """ns2 is not there."""
    lab.run("ns2", ["systemctl", "stop", "knot"])
    yield
    lab.run("ns2", ["systemctl", "start", "knot"])


@contextmanager
def slow(lab: Lab) -> Iterator[None]:
    """ns2 answers when it has slept."""
    nap = "while :; do pkill -STOP knotd; sleep 1; pkill -CONT knotd; sleep 0.3; done"
    lab.run("ns2", ["systemd-run", "--unit=nap", "--collect", "sh", "-c", nap])
    yield
    lab.run("ns2", "systemctl stop nap; pkill -CONT knotd")


@pytest.mark.parametrize("trouble", [serving_old_data, down])
def test_a_name_server_that_fails_stops_the_switch_loudly(
    lab: Lab, rotator: Any, witness: Witness, trouble: Callable[[Lab], Any]
) -> None:
    """The first makes the next keys and publishes them, the second finds them published and ns2 gone."""
    before = rotator.active()
    with trouble(lab):
        played = rotator.run(rotate_now=True)
        time.sleep(6)
        again = rotator.run()
    for run in (played, again):
        assert run.code != 0
        assert "ns2.lab.test" in next(iter(run.failures.values()))
    assert rotator.active() == before
    assert all("pending" in keys.values() for keys in rotator.keys().values())
    witness.check()


def test_keys_turn_through_both_signers(lab: Lab, rotator: Any, witness: Witness) -> None:
    before = rotator.active()
    assert len({selector for domain, selector in before["relay1"] if domain == "shop.example"}) == 2
    with slow(lab):
        print(rotator.killed_in(PAIR_KILLS))
        witness.check()
        while any(rotator.active()[relay] & before[relay] for relay in before):
            played = rotator.run()
            assert played.code == 0, played.output[-4000:]
            time.sleep(2)
    witness.check(more=20)
    after = rotator.active()
    assert all(after[relay] and not after[relay] & before[relay] for relay in before)
    until_done(rotator)
    witness.check(more=20)
    signed = {name for names in witness.signed for name in names}
    assert {f"{selector}._domainkey.{domain}." for keys in after.values() for domain, selector in keys} <= signed
    # The first name server has let go of the old keys.
    assert not any(
        lab.query(f"{selector}._domainkey.{domain}", "TXT", server="ns1")
        for keys in before.values()
        for domain, selector in keys
    )


def test_opendkim_and_ed25519_are_refused_with_a_sentence(rotator: Any, witness: Witness) -> None:
    played = rotator.run(mail_dkim_share="both")
    assert "OpenDKIM on relay2 cannot sign with Ed25519" in next(iter(played.failures.values()))
    assert played.changed == {}


def test_relays_that_share_a_key_and_runs_that_are_killed(lab: Lab, rotator: Any, witness: Witness) -> None:
    """Each relay has a key of its own; the next is the same for both, whatever happens to the runs on the way."""
    before = rotator.active()
    assert not before["relay1"] & before["relay2"]
    assert rotator.run(**SHARED).changed == {}
    limited = rotator.run("--limit", "relay1", rotate_now=True, **SHARED)
    assert "relay2 has its keys in common with relay1 and is left out" in next(iter(limited.failures.values()))
    assert limited.changed == {}
    for task in KILLS:
        print(rotator.killed_in((task,), rotate_now=task == KILLS[0], **SHARED))
        witness.check()
        held = rotator.keys()
        new = {relay: set(held[relay]) - before[relay] for relay in held}
        signing = rotator.active()
        assert not any(signing[relay] & new[relay] for relay in held) or new["relay1"] == new["relay2"]
    until_done(rotator, **SHARED)
    after = rotator.active()
    shared = {key for key in after["relay1"] if not key[1].startswith("ed25519")}
    assert shared == after["relay2"] and not shared & (before["relay1"] | before["relay2"])
    witness.check(more=20)
    secrets = [
        lab.run(relay, "cat /etc/dkimkeys/*.key | sha256sum; ls -l /etc/dkimkeys/*.key").stdout for relay in after
    ]
    assert all("-rw-------" in secret and "-rw-r" not in secret for secret in secrets)


def test_no_private_key_is_shown(lab: Lab, rotator: Any, witness: Witness) -> None:
    """Not even by a run that is told to say all it knows: a third key, shared, with -vvv."""
    secrets = []
    played = rotator.run("-vvv", rotate_now=True, **SHARED)
    for relay in ("relay1", "relay2"):
        texts = lab.run(relay, "cat /etc/dkimkeys/*.key").stdout
        secrets += [line for line in texts.splitlines() if len(line) > 40 and "-----" not in line]
        journal = lab.run(relay, "journalctl --no-pager -o cat").stdout
        assert not any(secret in journal for secret in secrets)
    assert len(secrets) > 40
    assert not any(secret in played.output for secret in secrets)
    witness.check(more=10)


@pytest.mark.skipif(not FULL, reason="not run: MAIL_TEST_FULL is not 1")
def test_for_some_minutes(rotator: Any, witness: Witness) -> None:
    end = time.monotonic() + 240
    while time.monotonic() < end:
        rotator.run(rotate_now=True, **SHARED)
        until_done(rotator, **SHARED)
        witness.check(more=50)


def test_every_message_arrived(lab: Lab, rotator: Any, witness: Witness) -> None:
    """The last test. What a relay took has arrived outside, each message by its number, and there were enough.

    A lifetime of some seconds is short for a loaded machine: what the receiver put off for that long goes back to its
    sender, as it should. That may happen to a few, and never for what a signature or a record said.
    """
    witness.check(more=10)
    sent = rotator.stop_mail()
    wanted = {relay: set(range(1, count + 1)) for relay, (count, dummy) in sent.items()}
    end = time.monotonic() + 240
    while True:
        returned = rotator.returned()
        lost = {relay: sorted(wanted[relay] - witness.numbers(relay) - set(returned[relay])) for relay in wanted}
        if not any(lost.values()):
            break
        assert time.monotonic() < end and witness.error is None, f"not arrived: {lost}, {witness.error!r}"
        # A message whose first delivery was put off is not lost: its next attempt would come minutes from now.
        for relay in (relay for relay in lost if lost[relay]):
            lab.run(relay, ["postqueue", "-f"])
        time.sleep(5)
    reasons = [reason for numbers in returned.values() for reason in numbers.values()]
    assert len(reasons) <= 5 and not re.search("(?i)dkim|spf|dmarc|policy|signature", str(reasons)), reasons
    # The last may have been taken without having been counted.
    assert all(max(witness.numbers(relay)) <= count + 1 for relay, (count, dummy) in sent.items())
    rate = sum(count / seconds for count, seconds in sent.values())
    print(f"{sum(count for count, dummy in sent.values())} messages, {rate:.1f} a second: {sent}, returned: {reasons}")
    assert rate >= 5
    witness.check()
