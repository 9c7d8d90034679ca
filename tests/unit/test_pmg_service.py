# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services of a gateway by HTTPS against the fake: what is done to them, and that it is waited for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _pmg_service
from ansible_collections.postmaster.mail.plugins.module_utils._command import Result, Runner
from ansible_collections.postmaster.mail.plugins.module_utils._pmg import PmgError
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_client import Api, Shell
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_tasks import Node
from ansible_collections.postmaster.mail.plugins.modules import pmg_service
from pmg_gateway import AUDITOR, DATA, Gateway, fixtures, needs_schema

pem, gateway = fixtures()


def run(gateway: Gateway, *services: str, **options: Any) -> dict[str, Any]:
    return gateway.run(module=pmg_service, services=list(services), **options)


@needs_schema
@pytest.mark.parametrize(("state", "there", "after", "verb"), [
    ("started", "dead", "running", "start"), ("stopped", "running", "dead", "stop"),
])  # fmt: skip
def test_foreseen_done_and_done_with(gateway: Gateway, state: str, there: str, after: str, verb: str) -> None:
    gateway.node.services["postfix"] = there
    foreseen = run(gateway, "postfix", state=state, check=True, **AUDITOR)
    assert (foreseen["changed"], gateway.writes()) == (True, 0)
    done = run(gateway, "postfix", state=state)
    for said in (foreseen, done):
        assert (said["services"], said["changed_services"]) == ({"postfix": after}, ["postfix"])
        assert said["diff"] == {"before": f"postfix: {there}\n", "after": f"postfix: {after}\n"}
    assert gateway.node.actions == [f"{verb} postfix"]
    for check in (True, False):
        again = run(gateway, "postfix", state=state, check=check)
        assert (again["changed"], again["requests"], again["diff"]) == (False, 1, {"before": "", "after": ""})
    assert gateway.writes() == 1


@needs_schema
def test_several_that_begin_anew_each_time(gateway: Gateway) -> None:
    for dummy in range(2):
        said = run(gateway, "pmgpolicy", "postfix", "pmgpolicy", state="restarted")
        assert said["changed_services"] == ["pmgpolicy", "postfix"]
    assert gateway.node.actions == ["restart pmgpolicy", "restart postfix"] * 2
    assert run(gateway, "postfix", state="reloaded")["changed"] is True
    assert gateway.node.actions[-1] == "reload postfix"


@needs_schema
def test_it_waits_for_the_end(gateway: Gateway) -> None:
    gateway.node.polls = 5
    run(gateway, "postfix", state="restarted")
    asked = [path for method, path, dummy, dummy2 in gateway.fake.log if path.endswith("/status")]
    assert len(asked) == 6


@needs_schema
def test_but_not_for_ever(gateway: Gateway) -> None:
    gateway.node.polls = 10_000
    said = run(gateway, "postfix", state="restarted", task_timeout=0, fails=True)["msg"]
    assert said.startswith("the service postfix is not done after 0 seconds: see UPID:pmg:")
    assert said.endswith("among the gateway's tasks, or give a longer task_timeout (0 of 1 services are done)")


@needs_schema
def test_what_fails_is_told_with_what_the_task_said(gateway: Gateway) -> None:
    gateway.node.fails["srvreload"] = "command 'systemctl reload postfix' failed: exit code 1"
    said = run(gateway, "postfix", state="reloaded", fails=True)["msg"]
    assert said == (
        "the service postfix failed on the gateway: command 'systemctl reload postfix' failed: exit code 1 "
        "(0 of 1 services are done)"
    )
    gateway.node.fails.clear()
    assert run(gateway, "postfix", state="reloaded")["changed"] is True


@needs_schema
def test_one_that_does_not_stay_up(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway.node.services["postfix"] = "dead"
    seen = gateway.node._service
    monkeypatch.setattr(
        gateway.node,
        "_service",
        lambda name: {**seen(name), **({"state": "failed", "active-state": "failed"} if gateway.node.actions else {})},
    )
    said = run(gateway, "postfix", fails=True)["msg"]
    assert said == "the service postfix has failed after it was started: look at its log on the gateway"


@needs_schema
@pytest.mark.parametrize("fault", ["596 before", "596 after", "drop before", "drop after"])
def test_a_lost_answer_starts_nothing_twice(gateway: Gateway, fault: str) -> None:
    gateway.node.services |= {"postfix": "dead", "pmgpolicy": "dead"}
    gateway.fake.faults.extend([fault, fault])
    assert run(gateway, "postfix", "pmgpolicy")["changed_services"] == ["postfix", "pmgpolicy"]
    assert sorted(gateway.node.actions) == ["start pmgpolicy", "start postfix"]


@needs_schema
def test_a_gateway_that_goes_on_breaking_off(gateway: Gateway) -> None:
    gateway.fake.faults.extend(["596 before"] * 9)
    said = run(gateway, "postfix", state="restarted", fails=True)["msg"]
    assert said == "the service postfix: the gateway broke off (596 Broken pipe) (0 of 1 services are done)"


@needs_schema
def test_what_is_refused_is_not_sent(gateway: Gateway) -> None:
    said = run(gateway, "pmgproxy", state="stopped", fails=True)["msg"]
    assert said == "pmgproxy serves the gateway's API, and the gateway refuses to stop it: restart it instead"
    said = run(gateway, "postfix", node="a/b", fails=True)["msg"]
    assert said == "'a/b' is no node's name: write its host name without the domain"
    assert "value of services must be one or more of" in run(gateway, "postfix/../ssh", fails=True)["msg"]
    assert gateway.fake.log == []
    assert run(gateway, "pmgproxy", state="restarted")["changed"] is True


@needs_schema
def test_a_service_that_is_not_there(gateway: Gateway) -> None:
    said = run(gateway, "chrony", fails=True)["msg"]
    assert said.startswith("the gateway has no service chrony; it has clamav-daemon, fetchmail, ")
    assert gateway.writes() == 0


@needs_schema
def test_an_auditor_changes_nothing(gateway: Gateway) -> None:
    said = run(gateway, "postfix", state="restarted", fails=True, **AUDITOR)["msg"]
    assert "an account needs the role admin to write" in said
    assert gateway.node.actions == []


@needs_schema
def test_a_backup_before_the_change(gateway: Gateway) -> None:
    assert run(gateway, "postfix", backup=True)["changed"] is False
    assert gateway.node.backups == []
    for dummy in range(2):
        run(gateway, "postfix", state="reloaded", backup=True)
    kept = gateway.node.backups
    assert len(kept) == 1, "one within an hour is enough"
    gateway.node.clock += 3601
    run(gateway, "postfix", state="reloaded", backup=True, check=True)
    assert len(kept) == 1
    run(gateway, "postfix", state="reloaded", backup=True)
    assert len(kept) == 2
    order = [path for method, path, dummy, status in gateway.fake.log if method == "POST" and "ticket" not in path]
    assert order[0] == "/nodes/localhost/backup" and order[1] == "/nodes/localhost/services/postfix/reload"


@needs_schema
def test_without_a_backup_there_is_no_change(gateway: Gateway) -> None:
    gateway.node.fails["backup"] = "backup failed: no space left"
    said = run(gateway, "postfix", state="reloaded", backup=True, fails=True)["msg"]
    assert said.startswith("the backup before the change failed on the gateway: backup failed: no space left")
    assert gateway.node.actions == []
    gateway.node.fails.clear()
    gateway.fake.faults.append("596 before")
    assert run(gateway, "postfix", state="reloaded", backup=True)["changed"] is True
    assert len(gateway.node.backups) == 1, "a lost answer must not do without"


@needs_schema
def test_the_services_are_the_schema_s() -> None:
    methods = json.loads((DATA / "pmg_api_schema.json").read_text())["methods"]
    (entry,) = [
        one for one in methods if (one["method"], one["path"]) == ("POST", "/nodes/{node}/services/{service}/start")
    ]
    assert sorted(entry["parameters"]["properties"]["service"]["enum"]) == list(_pmg_service.SERVICES)


class Scripted(Runner):
    """A pmgsh that says what it is told to."""

    def __init__(self, *said: str) -> None:
        self.said = list(said)
        self.argvs: list[list[str]] = []

    def run(self, argv: Any, **options: Any) -> Result:
        self.argvs.append(list(argv))
        return Result(tuple(argv), 0, self.said.pop(0), "200 OK\n")


def test_on_the_node_itself_a_task_shows_what_it_says_before_its_name() -> None:
    """pmgsh waits for a task, shows its log, and then prints a text that is no JSON."""
    upid = "UPID:pmg:00001234:00005678:65000000:srvrestart:postfix:root@pam:"
    listed = '[{"service":"postfix","state":"running","active-state":"active"}]'
    runner = Scripted(listed, f"restarting\nUPID of another\n{upid}", '{"status":"stopped","exitstatus":"OK"}', listed)
    outcome = _pmg_service.bring_about(Node(Api(Shell(runner))), ["postfix"], "restarted")
    assert outcome.changed == ("postfix",)
    assert runner.argvs[1:3] == [
        ["pmgsh", "create", "/nodes/localhost/services/postfix/restart"],
        ["pmgsh", "get", f"/nodes/localhost/tasks/{upid}/status"],
    ]


@pytest.mark.parametrize("name", ["key", "data", "eab-hmac-key"])
def test_no_secret_is_on_a_command_line(name: str) -> None:
    runner = Scripted("")
    with pytest.raises(PmgError, match=f"^pmgsh takes {name} on its command line"):
        Api(Shell(runner)).call("POST", "/x", {name: "hunter2"})
    assert runner.argvs == []
    assert Api(Shell(runner)).call("POST", "/x", {"other": "x"}) is None
