# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import asyncio
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils import basic
from ansible_collections.postmaster.mail.plugins.module_utils import _check_client as client
from ansible_collections.postmaster.mail.plugins.module_utils import _check_request as request
from ansible_collections.postmaster.mail.plugins.module_utils._check import ROWS, CheckError
from ansible_collections.postmaster.mail.plugins.module_utils._check_view import (
    FAILED,
    NXDOMAIN,
    TIMEOUT,
    Dns,
    DnsAnswer,
    Options,
)
from ansible_collections.postmaster.mail.plugins.modules import mail_check

sys.path.insert(0, str(Path(__file__).parent))

import _check_world as world

ROOT = Path(__file__).parents[2]


def built(**params: Any) -> Options:
    return request.build(params, trust_ad=False)


# -- what a person writes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"spam_rate": 120.0}, "spam_rate 120 is no share in per cent: write 0.08 for 8 complaints in 10,000 messages"),
        ({"selectors": ["a b"]}, "selectors: "),
        ({"outbound": [{"address": "relay"}]}, "outbound: 'relay' is no address; name each that mail leaves from"),
        ({"outbound_25": "mx.example.org@x"}, "outbound_25: 'mx.example.org@x': the port after @ must be a number"),
        ({"test_host": "exa mple"}, "test_host 'exa mple'"),
        ({"dnsbl_ip": ["bl..example"]}, "dnsbl_ip 'bl..example'"),
        ({"message_file": "/nowhere.eml"}, "message_file: /nowhere.eml cannot be read: No such file or directory"),
        (
            {"dkim_keys": [{"selector": "a"}]},
            "dkim_keys[0] names no key: give domain and selector, or the record's name",
        ),
        (
            {"dkim_keys": [{"domain": "example.org", "selector": "a"}]},
            "dkim_keys[0] (a of example.org) has no key: give value, record or private_key_file",
        ),
        (
            {"dkim_keys": [{"name": "a._domainkey.example.org.", "private_key_file": "/nowhere.key"}]},
            "dkim_keys[0]: /nowhere.key cannot be read: No such file or directory",
        ),
    ],
)
def test_options_that_make_no_sense(params: dict[str, Any], said: str) -> None:
    with pytest.raises(CheckError) as error:
        built(**params)
    assert said in str(error.value)


@pytest.mark.parametrize("text", ["resolver.example", "192.0.2.53@0", ""])
def test_resolvers_are_addresses(text: str) -> None:
    with pytest.raises(CheckError, match="is no address; write one such as"):
        request.resolvers([text])


def test_resolvers_may_have_a_port() -> None:
    assert request.resolvers(["192.0.2.53", "::1@5353"]) == [("192.0.2.53", 53), ("::1", 5353)]


def test_keys_in_the_forms_that_people_have(tmp_path: Path) -> None:
    key = world.signing_key()
    path = tmp_path / "a.key"
    path.write_bytes(key.pem)
    text = str(key.record)
    made = built(
        dkim_keys=[
            {
                "domain": "Example.org.",
                "selector": "A",
                "state": "retired",
                "retired": "2026-11-01T00:00:00Z",
                "record": {"value": text},
            },
            {"name": "a._domainkey.example.org.", "value": text},
            {"domain": "example.org", "selector": "a", "private_key_file": str(path)},
            {"domain": "example.org", "selector": "gone", "state": "withdrawn", "record": None},
        ]
    ).dkim_keys
    assert [(one.domain, one.selector, one.state) for one in made] == [
        ("example.org", "a", "retired"),
        ("example.org", "a", "active"),
        ("example.org", "a", "active"),
        ("example.org", "gone", "withdrawn"),
    ]
    assert {one.value for one in made[:3]} == {text} and made[0].retired.startswith("2026-11-01")


def test_a_file_that_is_no_key_is_not_quoted(tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    path.write_text("-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n")
    with pytest.raises(CheckError) as error:
        built(dkim_keys=[{"domain": "example.org", "selector": "a", "private_key_file": str(path)}])
    assert str(error.value).startswith(f"dkim_keys[0]: the file {path} holds") and "secret" not in str(error.value)


# -- the module -----------------------------------------------------------------------------------------


def ran(monkeypatch: pytest.MonkeyPatch, params: dict[str, Any]) -> dict[str, Any]:
    """What the module prints."""
    printed = io.StringIO()
    monkeypatch.setattr(sys, "stdout", printed)
    # What ansible.module_utils.testing does from ansible-core 2.19 on; 2.18 has no such thing.
    monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": params}).encode())
    monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
    with pytest.raises(SystemExit):
        mail_check.main()
    return dict(json.loads(printed.getvalue()))


class Known(client.Collector):
    """The made-up internet instead of the real one."""

    async def ask(self, questions: Any) -> None:
        for question in questions:
            self.facts[question] = world.World().answer(question)


def test_the_report_is_returned_and_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(client, "Collector", Known)
    path = tmp_path / "report.json"
    params = {"domain": "example.org,example.net", "fail_on": "W", "report_file": str(path), "resolver": ["192.0.2.53"]}
    result = ran(monkeypatch, params)
    assert result["changed"] is False and result["domains"] == ["example.org", "example.net"]
    assert {item["domain"] for item in result["failing"]} == {"example.net"}
    assert all(item["severity"] in "FW" for item in result["failing"])
    assert result["table"][0] == "example.org" and set(result["verdicts"]["example.org"]) == {row.id for row in ROWS}
    written = json.loads(path.read_text())
    assert written == {name: result[name] for name in ("domains", "findings", "unknown", "verdicts")}


def test_check_mode_writes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(client, "Collector", Known)
    path = tmp_path / "report.json"
    assert "findings" in ran(
        monkeypatch, {"domain": "example.org", "report_file": str(path), "_ansible_check_mode": True}
    )
    assert not path.exists()


def test_a_bad_request_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    result = ran(monkeypatch, {"domain": "exa mple.org"})
    assert result["failed"] and result["msg"].startswith("domain 'exa mple.org' has the label 'exa mple'")


@pytest.mark.parametrize("answer", [DnsAnswer(TIMEOUT), DnsAnswer(FAILED, text="SERVFAIL"), DnsAnswer(NXDOMAIN)])
def test_that_nothing_could_be_checked_is_no_success(monkeypatch: pytest.MonkeyPatch, answer: DnsAnswer) -> None:
    class Same(client.Collector):
        async def ask(self, questions: Any) -> None:
            self.facts.update(dict.fromkeys(questions, answer))

    monkeypatch.setattr(client, "Collector", Same)
    result = ran(monkeypatch, {"domain": "example.org", "resolver": ["192.0.2.53", "192.0.2.54@5353"], "smtp": False})
    if answer.usable:
        assert result["failing"][0]["seen"] == "the domain does not exist" and result["problem"] == ""
    else:
        assert not result["failing"] and "wrong" not in result["verdicts"]["example.org"].values()
        assert result["problem"] == (
            "nothing could be checked, as no resolver answers (192.0.2.53, 192.0.2.54); name one that does in resolver"
        )


def test_a_missing_library_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "DNSPYTHON_IMPORT_ERROR", "no module")
    result = ran(monkeypatch, {"domain": "example.org"})
    assert result["failed"] and "dnspython" in result["msg"] and sys.executable in result["msg"]


def test_trust_in_the_resolver_follows_from_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    async def check(_domains: object, collector: client.Collector, options: Options, **_more: object) -> str:
        seen.append(options.trust_ad)
        await collector.ask([Dns("example.org.", "MX")])
        return ""

    monkeypatch.setattr(client, "Collector", Known)
    monkeypatch.setattr(mail_check, "check", check)
    params = {name: spec.get("default") for name, spec in mail_check.ARGUMENT_SPEC.items()} | {
        "domains": ["example.org"]
    }
    for resolver, trust in (
        (["127.0.0.1"], None),
        (["192.0.2.53"], None),
        (["192.0.2.53"], True),
        (["127.0.0.1"], False),
    ):
        asyncio.run(mail_check.run(params | {"resolver": resolver, "trust_ad": trust}))
    assert seen == [True, False, True, False]


def test_the_playbook_passes_every_option_on() -> None:
    *_first, play = yaml.safe_load((ROOT / "playbooks" / "check.yml").read_text())
    task = next(task for task in play["tasks"] if "postmaster.mail.mail_check" in task)
    given = task["postmaster.mail.mail_check"]
    assert set(given) == set(mail_check.ARGUMENT_SPEC)
    inventory = {"dkim_keys": "__check_keys", "outbound": "__check_outbound"}
    for name, text in given.items():
        if name != "domains":
            assert text == f"{{{{ check_{name} | default({inventory.get(name, 'omit')}) }}}}"


def test_arguments_are_documented() -> None:
    documented = yaml.safe_load(mail_check.DOCUMENTATION)["options"]
    assert set(documented) == set(mail_check.ARGUMENT_SPEC)
    for name, spec in mail_check.ARGUMENT_SPEC.items():
        assert documented[name].get("default") == spec.get("default"), name
