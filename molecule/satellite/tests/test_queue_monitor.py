# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Prometheus learns of the satellites' queues, and what root learns of units that fail."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from lab import ready
from lab.plays import Played
from lab.probe import Lab
from lab.queues import METRICS, metrics

from .conftest import HERE, HOSTS, monitor

SOMEONE = "someone@outside.test"
RELAYS = ("outside", "provider")
FLUSH = {"postfix": "postfix flush", "exim": "exim4 -qff"}
MTA = {host: "postfix" if "postfix" in host else "exim" for host in HOSTS}


@pytest.fixture(scope="module", autouse=True)
def monitored(lab: Lab, runs: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Played]]:
    """Twice for real. In the end no unit is watched any more, and the timers rest."""
    folder = tmp_path_factory.mktemp("monitor")
    yield {name: monitor(lab, folder) for name in ("first", "second")}
    monitor(lab, folder, extra={"queue_monitor_failure_units": []})
    for host in HOSTS:
        lab.run(host, "systemctl reset-failed 'flaps-*' 'other-*' 'lost-*' 'email-failures@*' 2>/dev/null || true")
        lab.run(host, "systemctl disable --now mail-queue-metrics.timer")
        assert (
            lab.run(host, "systemctl show --property OnFailure --value cron.service ssh.service").stdout.split() == []
        )


def send(lab: Lab, host: str, token: str, number: int = 0) -> None:
    text = f"Subject: {token}-{number}\n\nx\n"
    lab.run(host, ["sendmail", "-f", "alex@corp.example", SOMEONE], input=text)


def settled(lab: Lab, host: str, sent: int) -> dict[str, int]:
    """The metrics, once the log tells of so many messages sent; a daemon may write it after the message arrived."""
    ready.wait(f"{sent} sent on {host}", lambda: metrics(lab, host)["mail_sent_total"] >= sent)
    return metrics(lab, host)


def test_the_second_run_changes_nothing(monitored: dict[str, Played]) -> None:
    assert set(monitored["first"].changed) == set(HOSTS)
    assert monitored["second"].changed == {}


def test_check_mode_on_bare_hosts_foresees_the_first_run(monitor_foreseen: Played) -> None:
    assert monitor_foreseen.failures == {}
    assert set(monitor_foreseen.changed) == set(HOSTS)
    assert all("Configure the metrics and the mail" in tasks for tasks in monitor_foreseen.changed.values())


def test_bad_values_are_named_and_nothing_is_changed(lab: Lab, tmp_path: Path) -> None:
    """The twin without them is every other run."""
    extra = {"queue_monitor_failure_units": ["backup"], "queue_monitor_interval": 1}
    failed = monitor(lab, tmp_path, extra=extra, must_pass=False)
    assert set(failed.failures) == set(HOSTS)
    for text in failed.failures.values():
        assert "queue_monitor_interval: 1 is too short: give 10 seconds or more" in text
        assert "queue_monitor_failure_units: backup is no unit to watch" in text
    assert failed.changed == {}


def test_a_mail_server_that_is_not_there_is_named(lab: Lab, tmp_path: Path) -> None:
    failed = monitor(lab, tmp_path, extra={"queue_monitor_mta": "opensmtpd"}, must_pass=False)
    assert set(failed.failures) == set(HOSTS)
    for host, text in failed.failures.items():
        assert f"queue_monitor_mta: opensmtpd is not installed on {host}: run the role mail_server first" in text
    assert failed.changed == {}


def test_a_message_counts_once(lab: Lab, host: str, token: str) -> None:
    """Over runs, restarts of the daemon, rotated logs, and lost metrics."""
    before = metrics(lab, host)
    send(lab, host, token)
    lab.wait_for_message(token)
    after = settled(lab, host, before["mail_sent_total"] + 1)
    assert after["mail_sent_total"] == before["mail_sent_total"] + 1
    lab.run(host, f"systemctl restart {MTA[host].replace('exim', 'exim4')}; rm /var/lib/queue-monitor/mail_queue.prom")
    rotate = {"postfix": "journalctl --quiet --rotate", "exim": "cd /var/log/exim4 && mv mainlog mainlog.1"}
    lab.run(host, rotate[MTA[host]])
    assert metrics(lab, host)["mail_sent_total"] == after["mail_sent_total"]
    send(lab, host, token, 1)
    lab.wait_for_messages(token, 2)
    assert settled(lab, host, after["mail_sent_total"] + 1)["mail_sent_total"] == after["mail_sent_total"] + 1


@pytest.fixture(scope="module")
def stopped(lab: Lab) -> Iterator[dict[str, list[dict[str, int]]]]:
    """Metrics of each host before its relay stops, twice while two messages wait, and after they have gone."""
    token = f"stopped{time.time_ns()}"
    seen = {host: [metrics(lab, host)] for host in HOSTS}
    for relay in RELAYS:
        lab.run(relay, "systemctl stop postfix")
    try:
        for host in HOSTS:
            send(lab, host, token)
            send(lab, host, token, 1)
        for host in HOSTS:
            known = seen[host][0]["mail_deferred_total"]
            ready.wait(
                f"a delay on {host}", lambda host=host, known=known: metrics(lab, host)["mail_deferred_total"] > known
            )
        for _time in range(2):
            for host in HOSTS:
                seen[host].append(metrics(lab, host))
            time.sleep(2)
    finally:
        for relay in RELAYS:
            lab.run(relay, "systemctl start postfix")
    for host in HOSTS:
        lab.run(host, FLUSH[MTA[host]])
    lab.wait_for_messages(token, 2 * len(HOSTS), timeout=120)
    for host in HOSTS:
        seen[host].append(settled(lab, host, seen[host][0]["mail_sent_total"] + 2))
    yield seen


def test_a_stopped_relay_makes_the_queue_grow(stopped: dict[str, list[dict[str, int]]], host: str) -> None:
    before, first, second, _after = stopped[host]
    assert before["mail_queue_messages"] == 0
    assert (first["mail_queue_messages"], second["mail_queue_messages"]) == (2, 2)
    assert first["mail_queue_message_age_seconds_count"] == 2
    queue = {"postfix": "deferred", "exim": "waiting"}[MTA[host]]
    assert second[f'mail_queue_messages{{queue="{queue}"}}'] == 2
    assert second[f'mail_queue_bytes{{queue="{queue}"}}'] > 0
    ages = [one["mail_queue_oldest_message_age_seconds"] for one in (before, first, second)]
    assert ages[0] == 0 and ages[2] > ages[1], ages
    assert second['mail_deferred_total{reason="connection"}'] > before['mail_deferred_total{reason="connection"}']
    assert second["mail_sent_total"] == before["mail_sent_total"]
    if MTA[host] == "postfix":
        assert second['mail_queue_deferred_recipients{reason="connection"}'] == 2


def test_it_empties_when_the_relay_is_back(stopped: dict[str, list[dict[str, int]]], host: str) -> None:
    before, _first, _second, after = stopped[host]
    assert after["mail_sent_total"] == before["mail_sent_total"] + 2
    assert (after["mail_queue_messages"], after["mail_queue_oldest_message_age_seconds"]) == (0, 0)


@pytest.mark.parametrize("host", ["sat-postfix-12", "sat-exim-13"], indirect=True)
def test_refused_mail_is_counted(lab: Lab, host: str, token: str) -> None:
    """outside takes nothing for corp.example."""
    before = metrics(lab, host)
    lab.run(host, ["sendmail", "-f", "root", f"{token}@corp.example"], input=f"Subject: {token}\n\nx\n")
    lab.wait_for_message(token)
    after = settled(lab, host, before["mail_sent_total"] + 1)
    assert after['mail_bounced_total{cause="refused"}'] == before['mail_bounced_total{cause="refused"}'] + 1
    assert after["mail_sent_total"] == before["mail_sent_total"] + 1  # the notice


@pytest.mark.parametrize("host", ["sat-postfix-12", "sat-postfix-13"], indirect=True)
def test_a_daemon_that_is_down_is_told(lab: Lab, host: str) -> None:
    lab.run(host, "systemctl stop postfix; while pgrep -x master; do sleep .1; done")
    try:
        down = metrics(lab, host)
    finally:
        lab.run(host, "systemctl start postfix")
    assert (down['mail_monitor_readable{source="queue"}'], "mail_queue_messages" in down) == (0, False)
    up = metrics(lab, host)
    assert (up['mail_monitor_readable{source="queue"}'], up["mail_sent_total"]) == (1, down["mail_sent_total"])


def test_no_address_gets_into_the_metrics(lab: Lab, host: str, stopped: object) -> None:
    text = lab.run(host, ["cat", METRICS]).stdout
    assert re.findall(r"@|test|corp|example|alex", text) == []


def test_the_program_is_not_root(lab: Lab, host: str) -> None:
    shown = (
        "systemctl show mail-queue-metrics.service --property User,NoNewPrivileges,CapabilityBoundingSet,ProtectSystem"
    )
    assert set(lab.run(host, shown).stdout.split()) == {
        "User=queue-monitor",
        "CapabilityBoundingSet=",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
    }
    assert lab.run(host, "stat -c %U /var/lib/queue-monitor/state.json").stdout.strip() == "queue-monitor"


@pytest.mark.parametrize("host", ["sat-postfix-13", "sat-exim-12"], indirect=True)
def test_node_exporter_hands_them_on(lab: Lab, host: str) -> None:
    metrics(lab, host)
    fetch = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9100/metrics').read().decode())"
    text = lab.run(host, ["python3", "-c", fetch]).stdout
    assert f'mail_monitor_readable{{mta="{MTA[host]}",source="queue"}} 1' in text
    assert "\nnode_textfile_scrape_error 0\n" in text


# --- units that fail -------------------------------------------------------------------------------


def unit(lab: Lab, host: str, name: str, program: str) -> None:
    text = f"[Service]\nType=oneshot\nExecStart={program}\n"
    lab.run(host, f"cat > /run/systemd/system/{name} && systemctl daemon-reload", input=text)


def start(lab: Lab, host: str, name: str) -> None:
    """And wait until whoever tells of its failure has ended."""
    lab.run(host, ["systemctl", "start", name], check=False)
    mailer = shlex.quote(f"email-failures@{name}.service")
    lab.run(host, f"while systemctl is-active {mailer} | grep -q activating; do sleep .1; done")


def test_a_unit_that_flaps_mails_root_once(lab: Lab, host: str, token: str) -> None:
    """Another unit has a message of its own, and one that succeeds has none."""
    for name, program in (
        ("flaps", "/bin/sh -c 'echo It broke; exit 3'"),
        ("other", "/bin/false"),
        ("works", "/bin/true"),
    ):
        unit(lab, host, f"{name}-{token}.service", program)
    for _time in range(4):
        start(lab, host, f"flaps-{token}.service")
    start(lab, host, f"works-{token}.service")
    start(lab, host, f"other-{token}.service")
    found = lab.wait_for_messages(token, 2)
    subjects = sorted(str(message.parsed["Subject"]) for message in found)
    name = lab.fqdn(host)
    assert subjects == [f"{name}: flaps-{token}.service failed", f"{name}: other-{token}.service failed"]
    first = next(message for message in found if "flaps" in str(message.parsed["Subject"]))
    assert first.recipient == "ops@outside.test"
    assert "It broke" in first.parsed.get_content() and "status=3" in first.parsed.get_content()
    assert lab.run(host, f"grep -c 'flaps-{token}' /var/lib/email-failures/sent.json").stdout.strip() == "1"
    send(lab, host, token, 9)  # what was sent after it has arrived, so whatever was sent before it has, too
    lab.wait_for_messages(token, 3)
    assert len(lab.messages(token)) == 3


def test_a_message_that_cannot_be_sent_is_no_reason_for_another(lab: Lab, host: str, token: str) -> None:
    unit(lab, host, f"lost-{token}.service", "/bin/false")
    kept = "/usr/sbin/sendmail"
    lab.run(host, f"mv {kept} {kept}.kept && ln -s /bin/false {kept}")
    try:
        start(lab, host, f"lost-{token}.service")
        listed = lab.run(host, "systemctl list-units --all --plain --no-legend 'email-failures@*'").stdout
    finally:
        lab.run(host, f"rm {kept} && mv {kept}.kept {kept}")
    assert f"email-failures@lost-{token}.service.service" in listed
    assert "email-failures@email-failures" not in listed
    shown = "systemctl show --property OnFailure --value"
    assert lab.run(host, f"{shown} email-failures@lost-{token}.service.service").stdout.strip() == ""
    assert (
        lab.run(host, f"{shown} lost-{token}.service").stdout.strip() == f"email-failures@lost-{token}.service.service"
    )
    start(lab, host, f"lost-{token}.service")  # it was not counted as told
    lab.wait_for_message(token)


# --- rules -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ruled(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Played]:
    """The rules on a host of either release, twice."""
    for host in ("sat-postfix-12", "sat-exim-13"):
        lab.run(host, "apt-get -qq update && apt-get -qq install --no-install-recommends prometheus", timeout=600)
        lab.run(
            host,
            "echo 'rule_files: [mail_queue.rules.yml]' > /etc/prometheus/prometheus.yml; systemctl restart prometheus",
        )
    folder = tmp_path_factory.mktemp("rules")
    servers = ["sat-postfix-12", "sat-exim-13"]
    return {name: monitor(lab, folder, servers=servers, limit=",".join(servers)) for name in ("first", "second")}


def test_rules_are_written_once(ruled: dict[str, Played]) -> None:
    assert {host: "Write the alert rules" in tasks for host, tasks in ruled["first"].changed.items()} == {
        "sat-postfix-12": True,
        "sat-exim-13": True,
    }
    assert ruled["second"].changed == {}


@pytest.mark.parametrize("host", ["sat-postfix-12", "sat-exim-13"], indirect=True)
def test_the_rules_do_what_they_say(lab: Lab, ruled: object, host: str) -> None:
    """promtool's own test of the file on the host, with series that fire each alert and series that do not."""
    text = (HERE / "mail_queue_rules_test.yml").read_text(encoding="utf-8")
    lab.run(host, "cat > /etc/prometheus/mail_queue_rules_test.yml", input=text)
    said = lab.run(host, "cd /etc/prometheus && promtool test rules mail_queue_rules_test.yml 2>&1").stdout
    assert "SUCCESS" in said and "FAILED" not in said
    wrong = text.replace("for 4h 20m 0s", "for 4h 21m 0s")
    lab.run(host, "cat > /etc/prometheus/mail_queue_rules_test.yml", input=wrong)
    assert (
        lab.run(host, "cd /etc/prometheus && promtool test rules mail_queue_rules_test.yml", check=False).returncode
        == 1
    )


def test_prometheus_has_taken_them_up(lab: Lab, ruled: object) -> None:
    """On Debian 12; that of Debian 13 does not start where root has no CAP_SYS_ADMIN, as in the lab's containers."""
    fetch = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9090/api/v1/rules').read().decode())"
    text = lab.run("sat-postfix-12", ["python3", "-c", fetch]).stdout
    names = {rule["name"] for group in yaml.safe_load(text)["data"]["groups"] for rule in group["rules"]}
    assert {"MailQueueLong", "MailQueueOld", "MailSentDropped", "MailMonitorStale"} <= names
