# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prometheus looks at all stages of a host, with the alert rules of the role, none of which has anything to say."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from lab import ready
from lab.plays import Played, play
from lab.probe import Lab
from mailers import ESTATE, PORTS, SCENARIO

# On Debian 12: that of 13 does not start where root has no CAP_SYS_ADMIN. Its own port is that of the stage redis.
HOST, PORT = "mail-12", 9190
INSTALL = f"""mkdir -p /etc/prometheus && cat > /etc/prometheus/prometheus.yml
echo 'ARGS="--web.listen-address=127.0.0.1:{PORT}"' > /etc/default/prometheus
apt-get -qq -o Dpkg::Options::=--force-confold install --no-install-recommends prometheus"""
CONFIGURATION = {
    "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
    "rule_files": ["mailer.rules.yml"],
    "scrape_configs": [
        {"job_name": "mailer", "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in PORTS.values()]}]}
    ],
}
# Stands for Grafana, which Debian does not have: when it was started, it says of which folders it knew.
GRAFANA = """[Service]
ExecStart=/bin/sh -c 'cat /etc/grafana/provisioning/dashboards/* >> /run/grafana.started; exec sleep infinity'
"""


def ask(lab: Lab, path: str) -> Any:
    """An answer of Prometheus."""
    fetch = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())"
    done = lab.run(HOST, ["python3", "-c", fetch, f"http://127.0.0.1:{PORT}/api/v1/{path}"])
    return json.loads(done.stdout)["data"]


@pytest.fixture(scope="module")
def monitored(lab: Lab) -> list[Played]:
    """Two runs."""
    lab.run(HOST, INSTALL, input=yaml.safe_dump(CONFIGURATION), timeout=600)
    lab.run(
        HOST, "mkdir -p /etc/grafana/provisioning/dashboards && echo '# none' > /etc/grafana/provisioning/dashboards/x"
    )
    lab.run(HOST, "cat > /run/systemd/system/grafana-server.service", input=GRAFANA)
    lab.run(HOST, "systemctl daemon-reload && systemctl start grafana-server")
    return [play(lab, SCENARIO / "monitoring.yml", inventories=[ESTATE]) for dummy in range(2)]


def test_they_are_written_once(lab: Lab, monitored: list[Played]) -> None:
    first, second = monitored
    written = ["Write the alert rules", "Write the dashboard"]
    assert [task for task in first.changed[HOST] if task in written] == written and second.changed == {}
    known = lab.run(HOST, "cat /run/grafana.started").stdout
    assert known.count("/var/lib/grafana/dashboards/mailer") == 1, "it was restarted once"
    assert json.loads(lab.run(HOST, "cat /var/lib/grafana/dashboards/mailer/mailer.json").stdout)["title"] == "Mailer"


def test_prometheus_sees_all_stages_and_no_fault(lab: Lab, monitored: list[Played]) -> None:
    def seen() -> bool:
        found = ask(lab, "query?query=up")["result"]
        return {one["metric"]["instance"]: one["value"][1] for one in found} == {
            f"127.0.0.1:{port}": "1" for port in PORTS.values()
        }

    ready.wait("Prometheus's look at all stages", seen)
    rules = {rule["name"]: rule for group in ask(lab, "rules")["groups"] for rule in group["rules"]}
    assert {"MailerDeliveredFew", "MailerDeadLetters", "MailerQueueOld", "MailerRedisFull", "MailerUnseen"} <= set(
        rules
    )
    ready.wait(
        "a look at the rules", lambda: all(one["health"] == "ok" for one in ask(lab, "rules")["groups"][0]["rules"])
    )
    assert [one["labels"]["alertname"] for one in ask(lab, "alerts")["alerts"] if one["state"] == "firing"] == []
