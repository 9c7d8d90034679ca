# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a gateway needs for ACME, by HTTPS against the fake: accounts, plugins and domains, and no secret shown."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _pmg_acme
from ansible_collections.postmaster.mail.plugins.module_utils._pmg import PmgError
from ansible_collections.postmaster.mail.plugins.modules import pmg_acme
from hypothesis import given
from hypothesis import strategies as st
from pmg_gateway import AUDITOR, Gateway, fixtures, needs_schema

pem, gateway = fixtures()

ACCOUNT = {"contact": ["hostmaster@example.org"], "terms_accepted": True}
ZONE = {"id": "zone", "api": "cf", "data": {"CF_Token": "hunter2", "CF_Zone_ID": "x=y"}}
NAME = {"domain": "PMG.example.org", "plugin": "zone"}
MX = {"domain": "mx.example.org", "usage": ["smtp"], "alias": "acme.example.net"}
ALL: dict[str, Any] = {"account": ACCOUNT, "plugins": [ZONE], "domains": [NAME, MX]}
PARTS = ["account default", "plugin zone", "domain pmg.example.org", "domain mx.example.org"]


def run(gateway: Gateway, **options: Any) -> dict[str, Any]:
    result = gateway.run(module=pmg_acme, **options)
    shown = json.dumps({**result, "invocation": None})
    assert "hunter2" not in shown and "aHVudGVy" not in shown
    return result


@needs_schema
def test_foreseen_done_and_done_with(gateway: Gateway) -> None:
    foreseen = run(gateway, check=True, **ALL)
    assert (foreseen["changed"], gateway.writes()) == (True, 0)
    done = run(gateway, **ALL)
    assert foreseen["changed_parts"] == done["changed_parts"] == PARTS
    assert foreseen["diff"] == done["diff"] == {"before": "", "after": (
        "account default: hostmaster@example.org\nplugin zone: api cf, validation-delay 30, data (hidden)\n"
        "domain=pmg.example.org,usage=api;smtp,plugin=zone\n"
        "domain=mx.example.org,usage=smtp,plugin=standalone,alias=acme.example.net\n"
    )}  # fmt: skip
    node = gateway.node
    assert node.contacts["default"]["account"]["contact"] == ["mailto:hostmaster@example.org"]
    assert node.contacts["default"]["tos"] == node.terms
    assert _pmg_acme.decode(node.plugins["zone"]["data"]) == ZONE["data"]
    assert set(node.config) == {"acmedomain0", "acmedomain1"}
    assert gateway.writes() == 3
    for check in (True, False):
        again = run(gateway, check=check, **ALL)
        assert (again["changed"], again["requests"], again["diff"]) == (False, 4, {"before": "", "after": ""})
    assert gateway.writes() == 3


@needs_schema
def test_the_terms_are_accepted_by_whoever_has_read_them(gateway: Gateway) -> None:
    directory = _pmg_acme.LETS_ENCRYPT
    said = run(gateway, account={"contact": ["a@example.org"]}, fails=True)["msg"]
    assert said == (
        f"the authority {directory} has terms of service, https://acme.example/terms: read them, and say "
        "terms_accepted: true if you agree (done: nothing)"
    )
    assert gateway.writes() == 0
    said = run(gateway, account={"terms_accepted": True}, fails=True)["msg"]
    assert said.startswith("the account default has no contact: give an address that the authority may write to")
    assert run(gateway, account=ACCOUNT)["changed"] is True
    assert run(gateway, account={"contact": []})["changed"] is False  # it is there


@needs_schema
def test_an_authority_that_refuses_is_quoted(gateway: Gateway) -> None:
    gateway.node.fails["acmeregister"] = "Registration failed: contact email has forbidden domain"
    said = run(gateway, fails=True, **ALL)["msg"]
    assert said == (
        "registering the account default failed on the gateway: Registration failed: contact email has forbidden domain "
        "(it said last: Registering new ACME account..) (done: account default)"
    )
    gateway.node.fails.clear()
    assert run(gateway, **ALL)["changed_parts"] == PARTS


@needs_schema
def test_what_changes_is_sent_alone(gateway: Gateway) -> None:
    run(gateway, **ALL)
    gateway.fake.log.clear()
    other = {
        "account": {"contact": ["b@example.org"]},
        "plugins": [{"id": "zone", "api": "cf", "validation_delay": 60}],
        "domains": [{**NAME, "usage": ["api"]}],
    }
    assert run(gateway, **other)["changed_parts"] == PARTS[:3]
    writes = [(method, path, params) for method, path, params, dummy in gateway.fake.log if method == "PUT"]
    assert [one[:2] for one in writes] == [
        ("PUT", "/config/acme/account/default"),
        ("PUT", "/config/acme/plugins/zone"),
        ("PUT", "/nodes/localhost/config"),
    ]
    assert writes[1][2] == {"validation-delay": "60"}
    assert set(writes[2][2]) == {"acmedomain0", "digest"}
    assert _pmg_acme.decode(gateway.node.plugins["zone"]["data"]) == ZONE["data"], "credentials that are not given stay"
    assert run(gateway, **other)["changed"] is False
    assert run(gateway, plugins=[{**ZONE, "data": {"CF_Token": "other"}, "validation_delay": 60}])["changed_parts"] == [
        "plugin zone"
    ]


@needs_schema
def test_purge_and_absence(gateway: Gateway) -> None:
    run(gateway, **ALL)
    assert run(gateway, plugins=[ZONE], purge=True)["changed"] is False  # domains are not given
    assert run(gateway, domains=[NAME], purge=True)["changed_parts"] == ["domain mx.example.org"]
    gone = {"account": {}, "plugins": [{"id": "zone"}], "domains": [NAME], "state": "absent"}
    foreseen = run(gateway, check=True, **gone)
    done = run(gateway, **gone)
    assert (
        foreseen["changed_parts"]
        == done["changed_parts"]
        == ["domain pmg.example.org", "plugin zone", "account default"]
    )
    assert (gateway.node.config, list(gateway.node.plugins), gateway.node.contacts) == ({}, ["standalone"], {})
    for check in (True, False):
        assert run(gateway, check=check, **gone)["changed"] is False


@needs_schema
def test_a_place_is_found_for_each_and_no_more_than_there_are(gateway: Gateway) -> None:
    gateway.node.config = {"acmedomain3": "old.example.org,usage=api"}
    six = [{"domain": f"n{number}.example.org"} for number in range(6)]
    said = run(gateway, domains=six, fails=True)["msg"]
    assert said.startswith("the domain n5.example.org is one too many: a gateway has certificates for 6")
    assert gateway.writes() == 0
    assert len(run(gateway, domains=six, purge=True)["changed_parts"]) == 6
    assert len(gateway.node.config) == 6
    assert run(gateway, domains=six, purge=True)["changed"] is False


@needs_schema
def test_another_account_becomes_the_node_s(gateway: Gateway) -> None:
    account = {**ACCOUNT, "name": "staging", "directory": "https://acme.example/dir"}
    assert run(gateway, account=account)["changed_parts"] == ["account staging", "the node's account"]
    assert gateway.node.config["acme"] == "account=staging"
    assert run(gateway, account=account)["changed"] is False
    said = run(gateway, account={**account, "directory": "https://other.example/dir"}, fails=True)["msg"]
    assert said.startswith(
        "the account staging is one at https://acme.example/dir: give another name for one at https://other.ex"
    )


@needs_schema
def test_an_account_for_customers(gateway: Gateway) -> None:
    run(gateway, account={**ACCOUNT, "eab_kid": "me", "eab_hmac_key": "hunter2"})
    (params,) = [params for method, path, params, dummy in gateway.fake.log if method == "POST" and "account" in path]
    assert (params["eab-kid"], params["eab-hmac-key"]) == ("me", "hunter2")


@needs_schema
@pytest.mark.parametrize("fault", ["596 before", "596 after", "drop before", "drop after"])
def test_a_lost_answer(gateway: Gateway, fault: str) -> None:
    gateway.fake.faults.extend([fault, "", fault, "", fault])
    assert run(gateway, **ALL)["changed_parts"] == PARTS
    assert run(gateway, **ALL)["changed"] is False
    assert [task.kind for task in gateway.node.tasks.values()] == ["acmeregister"]
    assert [entry for entry in gateway.fake.log if entry[3] in (400, 500)] == [], "something was asked for twice"


@needs_schema
def test_somebody_changes_the_node_s_configuration_meanwhile(gateway: Gateway) -> None:
    gateway.fake.faults.append(lambda: gateway.node.config.update(acmedomain0="theirs.example.org,usage=api"))
    assert run(gateway, domains=[MX])["changed_parts"] == ["domain mx.example.org"]
    assert gateway.node.config["acmedomain0"].startswith("theirs.") and "mx." in gateway.node.config["acmedomain1"]


@needs_schema
def test_who_may_see_what(gateway: Gateway) -> None:
    gateway.node.contacts["default"] = {
        "account": {"contact": ["mailto:other@example.org"]},
        "directory": _pmg_acme.LETS_ENCRYPT,
    }
    said = run(gateway, account=ACCOUNT, domains=[MX], check=True, **AUDITOR)
    assert said["changed_parts"] == ["domain mx.example.org"]
    assert "its contact is not compared" in str(said["warnings"])
    assert "an account needs the role admin" in run(gateway, plugins=[ZONE], check=True, fails=True, **AUDITOR)["msg"]


BAD: list[tuple[dict[str, Any], str]] = [
    ({"account": {"name": "../x"}}, "account '../x' cannot be a name: use letters, digits, - and _"),
    ({"account": {"contact": ["nobody"]}}, "account: 'nobody' is no mail address"),
    ({"account": {"directory": "http://acme.example"}}, "account: 'http://acme.example' is no https address"),
    ({"account": {"eab_kid": "x"}}, "account: eab_kid and eab_hmac_key go together"),
    ({"plugins": [ZONE, ZONE]}, "plugins[1]: zone is given twice: give it once"),
    ({"plugins": [{"id": "zone", "data": {"A": "b"}}]}, "plugins[0]: plugin zone: data goes with api"),
    ({"plugins": [{**ZONE, "data": {"CF Token": "hunter2"}}]}, "plugins[0]: plugin zone: 'CF Token' cannot be a variable"),
    ({"plugins": [{**ZONE, "data": {"CF_Token": "a\nCF_Key=hunter2"}}]}, "plugins[0]: plugin zone: CF_Token has a line break"),
    ({"plugins": [{**ZONE, "validation_delay": -1}]}, "plugins[0]: plugin zone: validation_delay is from 0 to 172800 seconds"),
    ({"domains": [NAME, {"domain": "pmg.EXAMPLE.org"}]}, "domains[1]: pmg.example.org is given twice"),
    ({"domains": [{"domain": "a.example,plugin=x"}]}, "domains[0]: domain 'a.example,plugin=x' is no full host name"),
    ({"domains": [{"domain": "*.example.org"}]}, "domains[0]: domain *.example.org stands for many names, which takes a plugin for DNS"),
    ({"domains": [{**MX, "usage": []}]}, "domains[0]: domain mx.example.org has no usage: say api, smtp or both"),
    ({"domains": [{**MX, "alias": "a,b"}]}, "domains[0]: domain mx.example.org: the alias 'a,b' is no domain"),
    ({"state": "absent", "purge": True}, "purge goes with state present"),
]  # fmt: skip


@needs_schema
@pytest.mark.parametrize(("options", "said"), BAD)
def test_what_is_refused_is_not_sent(gateway: Gateway, options: dict[str, Any], said: str) -> None:
    assert run(gateway, fails=True, **options)["msg"].startswith(said)
    assert gateway.fake.log == []


@needs_schema
def test_a_plugin_of_another_kind_and_the_gateway_s_own(gateway: Gateway) -> None:
    gateway.node.plugins["zone"] = {"type": "standalone"}
    assert "the plugin zone is one for standalone: remove it first" in run(gateway, plugins=[ZONE], fails=True)["msg"]
    said = run(gateway, plugins=[{"id": "standalone"}], state="absent", fails=True)["msg"]
    assert said.startswith("the plugin standalone is the gateway's own and cannot be removed")
    assert run(gateway, plugins=[{"id": "standalone"}], purge=True)["changed_parts"] == ["plugin zone"]


@given(
    st.dictionaries(
        st.from_regex(r"[A-Z_]{1,9}", fullmatch=True),
        st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"])),
        max_size=4,
    )
)
def test_credentials_come_back(data: dict[str, str]) -> None:
    assert _pmg_acme.decode(_pmg_acme.encode(data)) == data
    assert _pmg_acme.decode(_pmg_acme.encode(data).translate(str.maketrans("+/", "-_")).rstrip("=")) == data


@given(st.text())
def test_hostile_texts(text: str) -> None:
    _pmg_acme.decode(text)
    _pmg_acme.parse_domain(text)
    for given_ in (
        {"domain": text, "alias": None, "plugin": "zone", "usage": ["api"]},
        {"domain": "a.example", "alias": text, "plugin": "zone", "usage": ["api"]},
    ):
        try:
            domain = _pmg_acme.read_domain(given_)
        except PmgError:
            continue
        assert _pmg_acme.parse_domain(str(domain)) == domain
