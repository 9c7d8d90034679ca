# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs that end before their handlers: the next good one completes them, and the one after has nothing to do."""

from __future__ import annotations

import os
import time
from functools import partial

import pytest
from lab import plays
from lab.probe import Lab
from relays import CLIENTS, RESTORE, SIGNERS, converge, letter, post, postconf, signatures, wait_for_listeners

FULL = os.environ.get("MAIL_TEST_FULL") == "1"
TITLES = {"rspamd": "rspamd", "opendkim": "OpenDKIM"}
DROP_IN = "/etc/systemd/system/{}.service.d/relay.conf"


def new_key(lab: Lab, relay: str, domain: str) -> list[dict[str, str]]:
    """All keys of a relay, with one more for ``domain``."""
    path = f"/etc/dkimkeys/{domain}.new.key"
    lab.run(relay, f"umask 077; openssl genrsa -traditional -out {path} 2048")
    known = {
        "domain": "corp.example",
        "selector": f"{relay}-rsa",
        "path": f"/etc/dkimkeys/corp.example.{relay}-rsa.key",
    }
    return [known, {"domain": domain, "selector": "new", "path": path}]


def signed_for(lab: Lab, relay: str, token: str, domain: str) -> list[str]:
    """The domains in whose name a message of ``domain`` leaves."""
    sender = f"joe@{domain}"
    assert post(lab, relay, token, sender=sender, message=letter(token, sender=sender)).accepted
    return [tags["d"] for tags in signatures(lab.wait_for_message(token))]


def soon_signed_for(lab: Lab, relay: str, token: str, domain: str) -> list[str]:
    """The same, asked until there is one: for a moment after a reload, rspamd's old processes still sign."""
    for number in range(20):
        if found := signed_for(lab, relay, f"new{number}-{token}", domain):
            return found
        time.sleep(1)
    return []


@pytest.mark.parametrize("relay", SIGNERS)
def test_a_new_key_is_used_although_postfix_was_refused(lab: Lab, token: str, relay: str) -> None:
    """The files of the signer are in place, its reload was lost with the run."""
    domain, title = "fresh.stranger.test", TITLES[SIGNERS[relay]]
    wanted = {"relay_dkim_keys": new_key(lab, relay, domain)}
    broken = {**wanted, "relay_postfix_settings": {"smtp_hello": "x"}}
    try:
        failed = converge(lab, limit=relay, extra=broken, must_pass=False)
        assert "smtp_hello" in failed.failures[relay]
        assert f"Configure {title}" in failed.changed[relay]
        assert signed_for(lab, relay, f"old-{token}", domain) == []
        foreseen = converge(lab, limit=relay, extra=wanted, check=True)
        played = converge(lab, limit=relay, extra=wanted)
        mended = [f"Configure {title}", "Bring the signer up to date"]
        assert [task for task in played.changed[relay] if not task.startswith("Keep the")] == mended
        assert [task for task in foreseen.changed[relay] if not task.startswith("Keep the")] == mended
        assert soon_signed_for(lab, relay, token, domain) == [domain]
        assert converge(lab, limit=relay, extra=wanted).changed == {}
    finally:
        lab.run(relay, f"rm -f /etc/dkimkeys/{domain}.new.key")


@pytest.mark.parametrize("relay", SIGNERS)
def test_killed_before_the_signer_is_told(lab: Lab, relay: str) -> None:
    """Its unit has changed, and systemd does not know."""
    title, drop_in = TITLES[SIGNERS[relay]], DROP_IN.format(SIGNERS[relay])
    lab.run(relay, f"echo '# by hand' >> {drop_in} && systemctl daemon-reload")
    converge(lab, limit=relay, kill_after=f"Configure {title}")
    told = ["systemctl", "show", "--property=NeedDaemonReload", "--value", SIGNERS[relay]]
    started = ["systemctl", "show", "--property=ExecMainStartTimestampMonotonic", "--value", SIGNERS[relay]]
    assert lab.run(relay, told).stdout.strip() == "yes"
    before = lab.run(relay, started).stdout
    played = converge(lab, limit=relay)
    assert f"Configure {title}" in played.changed[relay] and "Bring the signer up to date" in played.changed[relay]
    assert lab.run(relay, told).stdout.strip() == "no"
    assert lab.run(relay, started).stdout != before
    assert converge(lab).changed == {}


@pytest.mark.parametrize("relay", list(SIGNERS) if FULL else ["relay2"])
def test_killed_before_postfix_is_told(lab: Lab, relay: str) -> None:
    """The parameter is one that a restart alone brings into force, so the daemon shows what it knows."""
    wanted = {"relay_inet_protocols": "ipv4"}
    both, one = {"0.0.0.0:25", "[::]:25"}, {"0.0.0.0:25"}
    assert lab.listeners(relay) == both
    try:
        converge(lab, limit=relay, extra=wanted, kill_after="Configure Postfix")
        assert lab.run(relay, ["postconf", "-h", "inet_protocols"]).stdout == "ipv4\n"
        assert lab.listeners(relay) == both
        played = converge(lab, limit=relay, extra=wanted)
        mended = ["Configure Postfix", "Bring Postfix up to date"]
        assert [task for task in played.changed[relay] if not task.startswith("Keep the")] == mended
        wait_for_listeners(lab, relay, one)
        assert post(lab, relay, "", client=CLIENTS[relay], message=None).refusal is None
        assert converge(lab, limit=relay, extra=wanted).changed == {}
    finally:
        converge(lab, limit=relay)
    wait_for_listeners(lab, relay, both)


def test_a_killed_restore_is_completed_and_not_undone(lab: Lab) -> None:
    both, one = {"0.0.0.0:25", "[::]:25"}, {"0.0.0.0:25"}
    restore = partial(plays.play, lab, RESTORE, inventories=(), limit="relay2")
    converge(lab, limit="relay2", extra={"relay_inet_protocols": "ipv4"})
    wait_for_listeners(lab, "relay2", one)
    restore(kill_after="Bring back the configuration")
    assert (postconf(lab, "relay2", "inet_protocols"), lab.listeners("relay2")) == ("all", one)
    restore()
    assert postconf(lab, "relay2", "inet_protocols") == "all"
    wait_for_listeners(lab, "relay2", both)
