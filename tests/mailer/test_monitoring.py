# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics of real stages, and rules and a dashboard that ask for these and no others."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from postmaster_mailer import gauges
from postmaster_mailer.metrics import Warnings
from prometheus_client.parser import text_string_to_metric_families

from .conftest import LONGEST, PATIENCE, ROOT, RedisServer, reserved, run
from .endpoint import Endpoint
from .stages import Application, Estate

MONITORING = ROOT / "roles" / "mailer" / "files" / "monitoring"
RULES = yaml.safe_load((MONITORING / "mailer.rules.yml").read_text())
DASHBOARD = json.loads((MONITORING / "mailer-dashboard.json").read_text())
STAGES = ("receiver", "http-receiver", "transformer", "postfix", "backdata", "mxserver", "redis")
# From the documentation of Inboxbooster-Mailer and, after the blank line, what its programs show beside it.
NAMES = """
primary_queue_messages default_queue_messages event_queue_messages queue_to_postfix_messages
nbr_emails_enqueued_total nbr_recipients_total nbr_dropped_emails_total
transformer_polled_primary_total transformer_polled_default_total transformer_pushed_total
postfix_incoming_queue_messages postfix_active_queue_messages postfix_deferred_queue_messages
postfix_corrupt_queue_messages postfix_hold_queue_messages postfix_emails_polled_total postfix_emails_to_postfix_total
mxserver_received_unsubscribe_total mxserver_received_unclassified_total
delivered_events_total bounced_events_total error_events_total spam_report_events_total unsubscribe_events_total
malformed_events_total number_of_events_currently_posting successfully_pushed_events_total failed_pushed_events_total

memory_usage_percent receiver_warnings_total transformer_warnings_total postfix_poller_warnings_total
mxserver_received_spam_total mxserver_received_autoreply_total mxserver_warnings_total
""".split()  # fmt: skip
EXPRESSIONS = [
    *(target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]),
    *(rule["expr"] for group in RULES["groups"] for rule in group["rules"]),
]
# Those that a scrape adds, and those that a Prometheus in Kubernetes does.
LABELS_OF_SCRAPE = {"job", "instance", "namespace"}
WORDS = {"sum", "max", "rate", "increase", "histogram_quantile", "by", "and", "absent", "le"}


class Watched(Estate):
    """An estate with all stages, whose events go to an endpoint."""

    def __init__(self, folder: Path, redis: RedisServer, endpoint: Endpoint) -> None:
        super().__init__(folder, redis)
        self.ports |= {stage: reserved() for stage in STAGES if stage not in self.ports}
        for queue in gauges.POSTFIX_QUEUES:
            (folder / "spool" / queue).mkdir(parents=True)
        settings = yaml.safe_load((folder / "mailer.yaml").read_text())
        settings["postfixlog"]["spool"] = str(folder / "spool")
        common = {"reliable-queue": {"redis": {"hostname": str(redis.socket)}}}
        settings["backdata"] = {**common, "post-url": endpoint.url, "private-urls": True}
        settings["mxserver"] = {**common, "bind": {"inet-port": reserved()}, "eml-directory": str(folder / "eml")}
        settings["httpreceiver"] = {**common, "bind": {"inet-port": reserved()}}
        for stage, section in (("backdata",) * 2, ("mxserver",) * 2, ("http-receiver", "httpreceiver")):
            settings[section]["prometheus"] = {"inet-port": self.ports[stage]}
        (folder / "mailer.yaml").write_text(yaml.safe_dump(settings))

    def samples(self) -> dict[str, set[str]]:
        """The names of all samples of all stages, each with the labels it has."""
        found: dict[str, set[str]] = {}
        for port in self.ports.values():
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as answer:
                for family in text_string_to_metric_families(answer.read().decode()):
                    for sample in family.samples:
                        found.setdefault(sample.name, set()).update(sample.labels)
        return found


class Prometheus:
    """A real one that looks at an estate every second."""

    def __init__(self, program: str, folder: Path, estate: Estate) -> None:
        self.port = reserved()
        targets = [f"127.0.0.1:{port}" for port in estate.ports.values()]
        settings = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(MONITORING / "mailer.rules.yml")],
            "scrape_configs": [{"job_name": "mailer", "static_configs": [{"targets": targets}]}],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
        words = [program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb"]
        words.append(f"--web.listen-address=127.0.0.1:{self.port}")
        self.log = folder / "prometheus.log"
        with self.log.open("wb") as log:
            # In a time zone that is there: the clone's own program finds no other.
            self.process = subprocess.Popen(words, stdout=log, stderr=log, env={**os.environ, "TZ": "UTC"})

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """The answer to a query; empty while it is not up."""
        query = urllib.parse.urlencode({"query": expression})
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.port}/api/v1/query?{query}", timeout=PATIENCE
            ) as answer:
                found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
                return found
        except urllib.error.HTTPError as err:
            if err.code == 503:  # it is starting
                return []
            raise AssertionError(f"{expression}: {err.read().decode()}") from err
        except OSError:
            return []


def as_asked(expression: str) -> str:
    """A panel's query as Grafana sends it, with all namespaces chosen."""
    return expression.replace("$namespace", ".*").replace("$__rate_interval", "1m")


def selectors(expression: str) -> dict[str, set[str]]:
    """The metrics that a query names, and the labels it wants of each."""
    grouped = {one for words in re.findall(r"by \(([^)]*)\)", expression) for one in words.split(", ")}
    bare = re.sub(r"by \([^)]*\)|\[[^]]*\]", "", expression)
    found: dict[str, set[str]] = {}
    for name, matchers in re.findall(r"\b([a-z_]{3,})\b(\{[^}]*\})?(?!\()", re.sub(r'"[^"]*"', '""', bare)):
        if name not in WORDS:
            labels = set(re.findall(r"([a-z_]+)(?:=|!)", matchers))
            found[name] = found.get(name, set()) | labels | grouped
    return found


@pytest.fixture
def prometheus_programs() -> Iterator[tuple[str, str]]:
    programs = shutil.which("prometheus"), shutil.which("promtool")
    if programs[0] is None or programs[1] is None:
        pytest.skip("no prometheus and promtool here")
    yield programs[0], programs[1]


def test_a_querys_metrics_and_labels_are_found_in_it() -> None:
    query = 'sum by (le, stage) (rate(a_bucket{namespace=~"x",kind!~"y z"}[5m])) / (max(bcd) > 0)'
    assert selectors(query) == {"a_bucket": {"namespace", "kind", "le", "stage"}, "bcd": {"le", "stage"}}


def test_each_query_is_answered_from_real_stages(
    redis_server: RedisServer, tmp_path: Path, prometheus_programs: tuple[str, str]
) -> None:
    async def go() -> None:
        endpoint = await Endpoint().start()
        estate = Watched(tmp_path, redis_server, endpoint)
        await estate.postfix.start()
        estate.start(*STAGES)
        prometheus = Prometheus(prometheus_programs[0], tmp_path, estate)
        try:
            await _answered(estate, prometheus)
        finally:
            prometheus.process.terminate()
            prometheus.process.wait(PATIENCE)
            estate.end()
            await endpoint.stop()

    asyncio.run(asyncio.wait_for(go(), LONGEST))


async def _answered(estate: Watched, prometheus: Prometheus) -> None:
    """While mail goes through the stages, each query of a panel gets an answer that is a number."""
    app = Application(estate.smtp)
    unanswered = {as_asked(expression) for expression in EXPRESSIONS if "$namespace" in expression}
    deadline = time.monotonic() + 300  # seven programs start, and Prometheus needs two looks at each
    number = 0
    while unanswered:
        assert time.monotonic() < deadline, (unanswered, estate.said(), prometheus.log.read_text()[-2000:])
        assert (await app.send(f"u{number}", "b@example.com"))[:3] == "250"
        number += 1
        await asyncio.sleep(0.2)
        for query in list(unanswered):
            answer = await asyncio.to_thread(prometheus.ask, query)
            if any(not math.isnan(float(one["value"][1])) for one in answer):
                unanswered.remove(query)
    samples = await asyncio.to_thread(estate.samples)
    assert set(NAMES) - samples.keys() == set()
    for expression in EXPRESSIONS:
        for metric, labels in selectors(expression).items():
            assert metric in samples, expression
            assert labels - LABELS_OF_SCRAPE - samples[metric] == set(), expression


def test_rules_alert_when_they_should(tmp_path: Path, prometheus_programs: tuple[str, str]) -> None:
    for path in (MONITORING / "mailer.rules.yml", Path(__file__).with_name("mailer_rules_test.yml")):
        shutil.copy(path, tmp_path)
    words = [prometheus_programs[1], "test", "rules", "mailer_rules_test.yml"]

    def said() -> tuple[int, str]:
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False)
        return done.returncode, done.stdout + done.stderr

    assert said()[0] == 0, said()
    # It can fail: with another threshold one alert more is up.
    rules = (tmp_path / "mailer.rules.yml").read_text()
    (tmp_path / "mailer.rules.yml").write_text(rules.replace("0.7 *", "0.9 *"))
    assert said()[0] == 1


def test_panels_lie_side_by_side() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert max(x for x, dummy in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


# -- what is counted --------------------------------------------------------------------------------------


def test_warnings_are_counted_and_lesser_lines_are_not() -> None:
    log, handler = logging.getLogger("test.of.warnings"), Warnings()
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    log.getChild("part").warning("one")
    log.error("two")
    log.info("and one that is none")
    assert handler.count == 2


def test_postfixs_queues_are_counted_by_their_files(tmp_path: Path) -> None:
    for queue in gauges.POSTFIX_QUEUES:
        (tmp_path / queue).mkdir()
    (tmp_path / "active" / "A1").touch()
    (tmp_path / "deferred" / "B").mkdir()  # hashed, as Postfix does with it
    for name in ("B1", "B2"):
        (tmp_path / "deferred" / "B" / name).touch()
    counts = {"incoming": 0, "active": 1, "deferred": 2, "corrupt": 0, "hold": 0}
    assert run(gauges.of_postfix(tmp_path)) == {f"postfix_{name}_queue_messages": n for name, n in counts.items()}


def test_a_spool_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(gauges.PostfixQueueError) as caught:
        run(gauges.of_postfix(tmp_path / "no"))
    assert str(caught.value) == f"{tmp_path}/no is no spool of Postfix: No such file or directory"


POSTQUEUE = '{"queue_name": "%s", "queue_id": "4bXc", "recipients": []}'


@pytest.mark.parametrize("readable", [True, False])
def test_corrupt_ones_are_counted_where_their_folder_may_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, readable: bool
) -> None:
    """postqueue does not tell them."""
    (tmp_path / "postqueue").write_text(f"#!/bin/sh\necho '{POSTQUEUE % 'hold'}'\n")
    (tmp_path / "postqueue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    (tmp_path / "corrupt").mkdir()
    (tmp_path / "corrupt" / "C1").touch()
    number = gauges._number

    def closed(folder: Path) -> int:
        if folder.name != "corrupt" or not readable:
            raise PermissionError
        return number(folder)

    monkeypatch.setattr(gauges, "_number", closed)
    counts = {"incoming": 0, "active": 0, "deferred": 0, "hold": 1, **({"corrupt": 1} if readable else {})}
    assert run(gauges.of_postfix(tmp_path)) == {f"postfix_{name}_queue_messages": n for name, n in counts.items()}


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (
            "\n".join(f"echo '{POSTQUEUE % name}'" for name in ("active", "deferred", "deferred")),
            {"incoming": 0, "active": 1, "deferred": 2, "hold": 0},
        ),
        (
            "echo 'postqueue: fatal: Permission denied' >&2; exit 69",
            "postqueue -j: postqueue: fatal: Permission denied: is this user in the group postdrop?",
        ),
        (None, "postqueue cannot be started: No such file or directory"),
    ],
)
def test_postfixs_queues_as_postqueue_tells_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, expected: object
) -> None:
    """For a user who may not look into the spool."""

    def refused(spool: Path) -> dict[str, int]:
        raise PermissionError

    monkeypatch.setattr(gauges, "_files", refused)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin" if script else str(tmp_path))
    if script:
        (tmp_path / "postqueue").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "postqueue").chmod(0o755)
    if isinstance(expected, str):
        with pytest.raises(gauges.PostfixQueueError) as caught:
            run(gauges.of_postfix(tmp_path))
        assert str(caught.value) == expected
    else:
        assert isinstance(expected, dict)
        found = {f"postfix_{name}_queue_messages": number for name, number in expected.items()}
        assert run(gauges.of_postfix(tmp_path)) == found
