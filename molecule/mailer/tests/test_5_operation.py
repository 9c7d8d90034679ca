# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics, mailerctl, a restart of the host, drift, values that are wrong, secrets."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from lab import control, plays, ready
from lab.probe import Lab
from mailers import (
    CONVERGE,
    DOMAINS,
    ESTATE,
    FULL,
    MAILERS,
    PASSWORDS,
    STAGES,
    answer,
    arrived,
    converge,
    events,
    fresh,
    metrics,
    unit,
    variables,
    wait_for_stages,
)

# The names of the seed.
NAMES = {
    "redis": "primary_queue_messages default_queue_messages event_queue_messages queue_to_postfix_messages",
    "receiver": "nbr_emails_enqueued_total nbr_recipients_total nbr_dropped_emails_total",
    "http-receiver": "nbr_emails_enqueued_total nbr_recipients_total nbr_dropped_emails_total",
    "transformer": "transformer_polled_primary_total transformer_polled_default_total transformer_pushed_total",
    "postfix": "postfix_incoming_queue_messages postfix_active_queue_messages postfix_deferred_queue_messages "
    "postfix_corrupt_queue_messages postfix_hold_queue_messages "
    "postfix_emails_polled_total postfix_emails_to_postfix_total",
    "mxserver": "mxserver_received_unsubscribe_total mxserver_received_unclassified_total",
    "backdata": "delivered_events_total bounced_events_total error_events_total spam_report_events_total "
    "unsubscribe_events_total malformed_events_total number_of_events_currently_posting "
    "successfully_pushed_events_total failed_pushed_events_total",
}


@pytest.mark.parametrize("mailer", MAILERS)
def test_metrics_have_the_names_of_the_seed_and_count(lab: Lab, token: str, mailer: str) -> None:
    names = {stage: set(line.split()) for stage, line in NAMES.items()}
    before = {stage: metrics(lab, mailer, stage) for stage in STAGES}
    for stage in STAGES:
        assert names[stage] | {"memory_usage_percent"} <= set(before[stage]), stage
    arrived(lab, mailer, fresh(token))
    grown = {stage: metrics(lab, mailer, stage) for stage in STAGES}
    for stage, name in (
        ("receiver", "nbr_emails_enqueued_total"),
        ("receiver", "nbr_recipients_total"),
        ("transformer", "transformer_polled_primary_total"),
        ("transformer", "transformer_pushed_total"),
        ("postfix", "postfix_emails_polled_total"),
        ("postfix", "postfix_emails_to_postfix_total"),
        ("backdata", "delivered_events_total"),
        ("backdata", "successfully_pushed_events_total"),
    ):
        assert grown[stage][name] == before[stage][name] + 1, name


@pytest.mark.parametrize("mailer", MAILERS)
def test_what_postfix_holds_is_counted(lab: Lab, token: str, mailer: str) -> None:
    """By a stage that is neither root nor Postfix's own user, and may read no message of its queue."""
    uuid, kept = fresh(token), f"/var/spool/postfix/corrupt/{token}"
    lab.run(mailer, f"umask 077; echo secret > {kept}; chown postfix {kept}")
    assert answer(lab, mailer, uuid, [FULL])[0] == 250
    assert events(lab, mailer, uuid)[0]["type"] == "soft"
    ids = [one["queue_id"] for one in queued(lab, mailer)]
    for command, state in (("-H", "deferred"), ("-h", "hold")):
        lab.run(mailer, ["postsuper", command, *ids], check=False)

        def counted() -> bool:
            there, shown = Counter(one["queue_name"] for one in queued(lab, mailer)), metrics(lab, mailer, "postfix")
            there["corrupt"] = 1
            names = ("incoming", "active", "deferred", "corrupt", "hold")
            found = [shown.get(f"postfix_{name}_queue_messages") for name in names]
            return found == [there[name] for name in names] and there[state] > 0  # noqa: B023

        ready.wait(f"the counts of Postfix's queues on {mailer}", counted)
    runuser = ["runuser", "-u", "postmaster-mailer-postfix", "--"]
    assert lab.run(mailer, [*runuser, "ls", kept]).stdout.strip() == kept
    assert lab.run(mailer, [*runuser, "cat", kept], check=False).returncode == 1
    lab.run(mailer, ["rm", kept])
    lab.run(mailer, ["postsuper", "-d", "-"], input="\n".join(ids) + "\n")


def queued(lab: Lab, mailer: str) -> list[dict[str, Any]]:
    """What Postfix holds, as it tells root."""
    return [json.loads(line) for line in lab.run(mailer, ["postqueue", "-j"]).stdout.splitlines()]


@pytest.mark.parametrize("mailer", MAILERS)
def test_mailerctl(lab: Lab, token: str, mailer: str) -> None:
    uuid = fresh(token)
    arrived(lab, mailer, uuid)
    about = json.loads(lab.run(mailer, ["mailerctl", "trace", uuid, "--json"]).stdout)
    assert (about["login"], about["domain"], about["stream_id"]) == ("app", DOMAINS[mailer], "orders")
    assert [one["state"] for one in about["recipients"]] == ["delivered"]
    assert lab.run(mailer, ["mailerctl", "trace", f"{uuid}x"], check=False).returncode == 1
    checked = lab.run(mailer, ["mailerctl", "preflight", "--host", "mx.outside.test"], check=False)
    assert checked.returncode == 0, checked.stdout


def test_a_restart_of_the_hosts_loses_nothing(lab: Lab, token: str) -> None:
    """What waits for a stage that is down is sent after the start, by which all stages come back."""
    uuids = {mailer: fresh(token, mailer[-2:]) for mailer in MAILERS}
    for mailer, uuid in uuids.items():
        lab.run(mailer, ["systemctl", "stop", unit("transformer")])
        assert answer(lab, mailer, uuid)[0] == 250
        control.restart(lab.name, mailer)
    wait_for_stages(lab)
    for mailer, uuid in uuids.items():
        event = events(lab, mailer, uuid)[0]
        assert (event["event"], event["streamid"]) == ("delivered", "orders")
    assert converge(lab).changed == {}


# -- runs of the role ---------------------------------------------------------------------------------
BROKEN = {
    "a stage that does not exist": ({"mailer_stages": {"reciever": 1}}, "reciever"),
    "a misspelt key": ({"mailer_config": {"receiver": {"size-limitt": 1}}}, "did you mean size-limit?"),
    "a key that is not there": (
        {"mailer_domains": [{"name": "x.example", "return_path_domain": "rp.x.example", "key_file": "/etc/no.pem"}]},
        "/etc/no.pem",
    ),
    "a certificate that is not there": ({"mailer_receiver_certificate": "/etc/ssl/no.pem"}, "/etc/ssl/no.pem"),
    "a short secret": ({"mailer_return_path_secret": "short"}, "32"),
    "a hook into the own network": ({"mailer_hook_url": "ftp://host.stranger.test/"}, "https://"),
    "a hook's secret that is none": ({"mailer_hook_secret": "???"}, "signing-secret"),
    "a policy of MTA-STS before DANE": ({"mailer_postfix_tls": "dane"}, "mailer_tls_mta_sts"),
}


def test_a_broken_value_is_named_and_all_runs_on(lab: Lab, token: str) -> None:
    started = {
        mailer: lab.run(mailer, ["systemctl", "show", "-p", "MainPID", *map(unit, STAGES)]).stdout for mailer in MAILERS
    }
    for at, mailer in enumerate(MAILERS):  # one half each
        cases = {what: given for what, (given, dummy) in [*BROKEN.items()][at :: len(MAILERS)]}
        said = plays.refusals(lab, CONVERGE, cases, inventories=[ESTATE], must_pass=False, limit=mailer)
        for what in cases:
            assert BROKEN[what][1] in said[what].get(mailer, "nothing"), (what, said[what])
    for mailer in MAILERS:
        assert lab.run(mailer, ["systemctl", "show", "-p", "MainPID", *map(unit, STAGES)]).stdout == started[mailer]
        arrived(lab, mailer, fresh(token, mailer[-2:]))


def test_drift_is_mended(lab: Lab, token: str) -> None:
    for mailer in MAILERS:
        lab.run(mailer, "echo '# by hand' >> /etc/postmaster-mailer/mailer.yaml")
        lab.run(mailer, f"systemctl stop {unit('mxserver')}")
    foreseen, mended = (converge(lab, check=check) for check in (True, False))
    assert foreseen.changed == mended.changed
    assert set(mended.changed) == set(MAILERS)
    wait_for_stages(lab)
    assert converge(lab).changed == {}
    for mailer in MAILERS:
        arrived(lab, mailer, fresh(token, mailer[-2:]))


@pytest.mark.parametrize("mailer", MAILERS)
def test_secrets_stand_nowhere(lab: Lab, token: str, mailer: str) -> None:
    """Neither in the journal nor in command lines, environments or what others can read below /etc."""
    kept = lab.run(
        mailer, "cat /etc/postmaster-mailer/*.secret /etc/postmaster-mailer/*password* 2>/dev/null", check=False
    )
    secrets = [PASSWORDS[mailer], variables()["mailer_hook_secret"], *kept.stdout.split()]
    assert len(secrets) >= 3
    patterns = "\n".join(secret for secret in secrets if len(secret) > 8) + "\n"
    lab.run(mailer, "umask 077; cat > /run/patterns", input=patterns)
    look = "journalctl --no-pager -o export | grep -acF -f /run/patterns"
    assert lab.run(mailer, look, check=False).stdout.strip() == "0"
    seen = lab.run(mailer, "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ | grep -acF -f /run/patterns", check=False)
    assert seen.stdout.strip() == "0"
    readable = lab.run(
        mailer, "find /etc /var/lib /opt -xdev -type f -perm -o=r -exec grep -lF -f /run/patterns {} + || true"
    )
    assert readable.stdout == ""
    twin = lab.run(mailer, "grep -lrF -f /run/patterns /etc/postmaster-mailer").stdout
    assert twin, "the search finds what is there"
