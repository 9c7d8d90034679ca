# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The queue and the log of OpenSMTPD, as Prometheus hears of them by the role queue_monitor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from lab import ready
from lab.plays import Played, play
from lab.probe import Lab
from lab.queues import metrics, without_filters
from servers import HOSTS, VICTIM, arrive, of, send, wait_for

MONITOR = Path(__file__).resolve().parents[3] / "playbooks" / "queue_monitor.yml"

pytestmark = pytest.mark.parametrize("host", HOSTS)


@pytest.fixture(scope="module", autouse=True)
def monitored(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Played]]:
    """Twice for real; in the end the timers rest."""
    inventory = tmp_path_factory.mktemp("monitor") / "monitors.yml"
    group = {"hosts": {host: {} for host in HOSTS}, "vars": {"queue_monitor_interval": 3600}}
    inventory.write_text(yaml.safe_dump({"all": {"children": {"queue_monitors": group}}}), encoding="utf-8")
    for host in HOSTS:
        without_filters(lab, host)
    yield {name: play(lab, MONITOR, inventories=[inventory]) for name in ("first", "second")}
    for host in HOSTS:
        lab.run(host, "systemctl disable --now mail-queue-metrics.timer")


def test_the_second_run_changes_nothing(monitored: dict[str, Played], host: str) -> None:
    assert host in monitored["first"].changed
    assert monitored["second"].changed == {}


def test_what_arrives_and_what_is_refused_counts_once(lab: Lab, host: str, token: str) -> None:
    before = metrics(lab, host)
    assert arrive(lab, host, token).accepted
    wait_for(lab, host, token)
    assert arrive(lab, host, token, recipients=of(host, "nobody")).refusal
    ready.wait("a refusal in the log", lambda: _refused(metrics(lab, host)) > _refused(before))
    lab.run(host, "systemctl restart opensmtpd; rm /var/lib/queue-monitor/mail_queue.prom")
    after = metrics(lab, host)
    assert (after["mail_sent_total"], _refused(after)) == (before["mail_sent_total"] + 1, _refused(before) + 1)


def _refused(known: dict[str, int]) -> int:
    return known['mail_rejected_total{kind="permanent"}']


def test_mail_for_a_server_that_is_away_waits(lab: Lab, host: str, token: str) -> None:
    before = metrics(lab, host)
    lab.run("outside", "systemctl stop postfix")
    try:
        assert send(lab, host, token).accepted
        ready.wait("it to wait", lambda: metrics(lab, host)["mail_queue_oldest_message_age_seconds"] > 0)
        waits = metrics(lab, host)
    finally:
        lab.run("outside", "systemctl start postfix")
    assert waits["mail_queue_messages"] == before["mail_queue_messages"] + 1
    assert waits["mail_sent_total"] == before["mail_sent_total"]
    assert lab.wait_for_message(token, timeout=180).recipient == VICTIM
    ready.wait("word of it", lambda: metrics(lab, host)["mail_sent_total"] == before["mail_sent_total"] + 1)
    assert metrics(lab, host)["mail_queue_messages"] == before["mail_queue_messages"]


def test_a_daemon_that_is_down_is_told(lab: Lab, host: str) -> None:
    lab.run(host, "systemctl stop opensmtpd")
    try:
        down = metrics(lab, host)
    finally:
        lab.run(host, "systemctl start opensmtpd")
    assert down['mail_monitor_readable{source="queue"}'] == 0
    assert metrics(lab, host)['mail_monitor_readable{source="queue"}'] == 1
