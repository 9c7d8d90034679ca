# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The welcome list of a gateway by HTTPS against the fake: check, apply, check, apply."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _pmg_options, _pmg_run
from ansible_collections.postmaster.mail.plugins.modules import pmg_welcomelist
from fake_pmg import certificate
from fake_pmg_lists import Welcome
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pmg_gateway import RELEASES, Gateway, Node, gateway_of, needs_schema

ALL: dict[str, Any] = {
    "emails": ["News@Partner.example"],
    "domains": ["partner.example"],
    "regexes": [r".*@.*\.partner\.example"],
    "addresses": ["2001:DB8::25", "192.0.2.1"],
    "networks": ["192.0.2.0/28", "198.51.100.7"],
    "receivers": ["postmaster@example.org"],
    "receiver_domains": ["open.example"],
    "receiver_regexes": [r"abuse\+.*@.*"],
}
STORED = [
    ("domain", "partner.example"), ("email", "news@partner.example"), ("ip", "192.0.2.1"), ("ip", "2001:db8::25"),
    ("network", "192.0.2.0/28"), ("network", "198.51.100.7/32"), ("receiver", "postmaster@example.org"),
    ("receiver_domain", "open.example"), ("receiver_regex", r"abuse\+.*@.*"), ("regex", r".*@.*\.partner\.example"),
]  # fmt: skip


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=RELEASES)
def gateway(request: pytest.FixtureRequest, pem: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    monkeypatch.setattr(_pmg_run, "WAITS", (0, 0, 0))
    with gateway_of(request.param, pem) as running:
        yield running


def run(gateway: Gateway, **options: Any) -> dict[str, Any]:
    return gateway.run(module=pmg_welcomelist, **options)


def part(gateway: Gateway) -> Welcome:
    welcome: Welcome = gateway.fake.parts["welcome"]
    return welcome


@needs_schema
def test_foreseen_done_and_done_with(gateway: Gateway) -> None:
    welcome = part(gateway)
    kept = welcome.add("domain", "Partner.EXAMPLE")
    for kind, value in (("email", "old@x.example"), ("receiver", "Old@x.example"), ("ip", "198.51.100.1")):
        welcome.add(kind, value)
    foreseen = run(gateway, **ALL, purge=True, check=True)
    assert (foreseen["changed"], gateway.writes()) == (True, 0)
    done = run(gateway, **ALL, purge=True)
    assert (foreseen["changed_entries"], foreseen["entries"], foreseen["diff"]) == (
        done["changed_entries"],
        done["entries"],
        done["diff"],
    )
    # What is there in another spelling stays as it is.
    assert welcome.objects[kept] == ("domain", "Partner.EXAMPLE")
    assert [(kind, value.lower()) for kind, value in welcome.values()] == STORED
    assert {"kind": "ip", "value": "2001:db8::25"} in done["entries"] and len(done["entries"]) == len(STORED)
    assert "ip 198.51.100.1\n" in done["diff"]["before"] and "ip 198.51.100.1\n" not in done["diff"]["after"]
    writes = gateway.writes()
    assert writes == len(done["changed_entries"]) == len(STORED) - 1 + 3
    for check in (True, False):
        again = run(gateway, **ALL, purge=True, check=check)
        assert (again["changed"], again["entries"]) == (False, done["entries"])
    assert gateway.writes() == writes
    # The name of the list is learned by asking: release 8 has another.
    refused = [entry for entry in gateway.fake.log if entry[3] >= 400]
    assert {entry[3] for entry in refused} == ({501} if gateway.fake.release == "8.2" else set())


@needs_schema
def test_without_purge_the_others_stay(gateway: Gateway) -> None:
    part(gateway).add("email", "old@x.example")
    assert run(gateway, domains=["a.example"])["changed_entries"] == ["domain a.example"]
    assert part(gateway).values() == [("domain", "a.example"), ("email", "old@x.example")]
    assert run(gateway)["changed"] is False


@needs_schema
def test_some_go(gateway: Gateway) -> None:
    """In every spelling; of one that is for receivers it is not meant."""
    welcome = part(gateway)
    for kind, value in (
        ("email", "A@x.example"), ("email", "a@X.example"), ("receiver", "a@x.example"),
        ("network", "192.0.2.7/28"), ("network", "192.0.2.0/28"), ("regex", "A.*"), ("ip", "2001:db8:0::1"),
    ):  # fmt: skip
        welcome.add(kind, value)
    wanted: dict[str, Any] = {
        "emails": ["a@x.example"],
        "networks": ["192.0.2.0/28"],
        "regexes": ["a.*"],
        "addresses": ["2001:db8::1"],
    }
    wanted["state"] = "absent"
    assert len(run(gateway, **wanted, check=True)["changed_entries"]) == 5
    assert run(gateway, **wanted)["changed"] is True
    assert welcome.values() == [("receiver", "a@x.example"), ("regex", "A.*")]
    assert run(gateway, **wanted)["changed"] is False


@needs_schema
@pytest.mark.parametrize("fault", ["596 before", "596 after", "drop before", "drop after"])
def test_lost_answers(gateway: Gateway, fault: str) -> None:
    gateway.fake.faults.extend([fault, fault])
    assert run(gateway, domains=["a.example", "b.example"])["changed_entries"] == [
        "domain a.example",
        "domain b.example",
    ]
    assert part(gateway).values() == [("domain", "a.example"), ("domain", "b.example")]
    gateway.fake.faults.extend(["596 before"] * 4)
    said = run(gateway, domains=["c.example"], fails=True)["msg"]
    assert said == (
        "the entry domain c.example: the gateway broke off (596 Broken pipe) (0 of 1 changes are done); the next run goes on from there"
    )


@needs_schema
def test_an_auditor_looks_and_the_node_asks_itself(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    auditor = {"api_user": "auditor@pmg", "api_password": "reads"}
    assert run(gateway, **ALL, check=True, **auditor)["changed"] is True
    said = run(gateway, domains=["a.example"], fails=True, **auditor)["msg"]
    assert said == (
        "the entry domain a.example: the gateway says: Permission check failed (an account needs the role admin to write, "
        "audit to read) (0 of 1 changes are done)"
    )
    monkeypatch.setattr(_pmg_options, "Runner", lambda: Node(gateway.fake))
    assert run(gateway, **ALL, api_transport="pmgsh")["changed"] is True
    assert run(gateway, **ALL, api_transport="pmgsh")["changed"] is False
    assert run(gateway, purge=True, api_transport="pmgsh")["entries"] == []


BAD: list[tuple[dict[str, Any], str]] = [
    ({"emails": ["example.org"]}, "emails[0]: 'example.org' is no mail address that the gateway takes: write one such as user@example.org"),
    ({"emails": ["a@.example.org"]}, "emails[0]: 'a@.example.org' is no mail address that the gateway takes"),
    ({"emails": ["+a@example.org"]}, "emails[0]: '+a@example.org' has a + where the gateway takes it for an operator: give it as an expression, with \\+"),
    ({"receivers": ["a!b@example.org"]}, "receivers[0]: 'a!b@example.org' is no mail address that the gateway takes"),
    ({"domains": [".example.org"]}, "domains[0]: '.example.org' begins with a dot: for the domains below one, give an expression"),
    ({"domains": ["exämple.org"]}, "domains[0]: 'exämple.org' is not ASCII"),
    ({"receiver_domains": ["a b"]}, "receiver_domains[0]: 'a b' is no domain"),
    ({"regexes": ["x", ""]}, "regexes[1]: an expression is empty: leave it out"),
    ({"regexes": ["a\nb"]}, "regexes[0]: 'a\\nb' has a line break or another control character"),
    ({"receiver_regexes": ["x" * 1025]}, "receiver_regexes[0]: 'xxxxxxxxxxxxxxxxxxxx'... has more than 1024 characters: split it"),
    ({"addresses": ["192.0.2.0/24"]}, "addresses[0]: '192.0.2.0/24' is no address: write one such as 192.0.2.25"),
    ({"addresses": ["fe80::1%eth0"]}, "addresses[0]: 'fe80::1%eth0' names an interface"),
    ({"networks": ["10.0.0.0/7"]}, "networks[0]: 10.0.0.0/7 is wider than /8"),
    ({"networks": ["192.0.2.7/24"]}, "networks[0]: 192.0.2.7/24 has bits set beyond its prefix: did you mean 192.0.2.0/24?"),
    ({"emails": ["a@x.example", "A@X.example"]}, "the entry email a@x.example and email a@x.example is given 2 times: give it once"),
    ({"state": "absent", "purge": True}, "purge goes with state present"),
]  # fmt: skip


@needs_schema
@pytest.mark.parametrize(("options", "said"), BAD)
def test_what_is_refused_is_not_sent(gateway: Gateway, options: dict[str, Any], said: str) -> None:
    assert run(gateway, fails=True, **options)["msg"].startswith(said)
    assert gateway.fake.log == []


@needs_schema
def test_perl_has_the_last_word_on_expressions(gateway: Gateway) -> None:
    said = run(gateway, domains=["a.example"], regexes=["(x"], fails=True)["msg"]
    assert said.startswith("the entry regex (x: the gateway says: invalid regex: ") and said.endswith(
        "(1 of 2 changes are done)"
    )
    assert run(gateway, domains=["a.example"], regexes=["(x)"])["changed_entries"] == ["regex (x)"]


@needs_schema
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(
    option=st.sampled_from(sorted(set(ALL) - {"regexes", "receiver_regexes"})),
    value=st.text() | st.from_regex(r"[a-z+~_.@:/0-9-]{1,20}", fullmatch=True),
)
def test_hostile_values_are_refused_or_taken_by_the_gateway(gateway: Gateway, option: str, value: str) -> None:
    gateway.fake.log.clear()
    try:
        run(gateway, **{option: [value]})
    except AssertionError:
        assert gateway.fake.log == [], f"{value!r} was sent and refused: {gateway.fake.log}"
        return
    assert run(gateway, **{option: [value]})["changed"] is False


@needs_schema
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(value=st.text())
def test_any_expression_is_kept_as_it_is_or_refused(gateway: Gateway, value: str) -> None:
    try:
        run(gateway, regexes=[value])
    except AssertionError:
        assert ("regex", value) not in part(gateway).values()
        return
    assert ("regex", value) in part(gateway).values()
    assert run(gateway, regexes=[value])["changed"] is False
