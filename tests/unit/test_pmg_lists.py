# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lists of a gateway beside that of networks, by HTTPS against the fake: check, apply, check, apply."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _pmg_run
from ansible_collections.postmaster.mail.plugins.modules import (
    pmg_domain,
    pmg_tls_inbound_domain,
    pmg_tls_policy,
    pmg_transport,
)
from fake_pmg import certificate
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pmg_gateway import RELEASES, Gateway, gateway_of, needs_schema

# The module and its list; what is there, what is asked for, what is there then, and what was changed on the way.
Case = tuple[ModuleType, str, dict[str, Any], dict[str, Any], dict[str, Any], list[str]]
CASES: dict[str, Case] = {
    "domain": (
        pmg_domain, "/config/domains",
        {"Example.ORG": {"comment": "old"}, "kept.example": {}},
        {"domains": [{"domain": "example.org", "comment": "ours"}, {"domain": ".new.example"}]},
        {".new.example": {}, "Example.ORG": {"comment": "ours"}, "kept.example": {}},
        [".new.example", "Example.ORG"],
    ),
    "a domain goes": (
        pmg_domain, "/config/domains",
        {"Example.ORG": {}, "example.org": {}, "kept.example": {}},
        {"domains": [{"domain": "EXAMPLE.org"}], "state": "absent"},
        {"kept.example": {}},
        ["Example.ORG", "example.org"],
    ),
    "no domain": (pmg_domain, "/config/domains", {"a.example": {}, "b.example": {}}, {"purge": True}, {}, ["a.example", "b.example"]),
    "inbound": (
        pmg_tls_inbound_domain, "/config/tls-inbound-domains",
        {"old.example": {}, "Kept.example": {}},
        {"domains": ["kept.example", "bank.example"], "purge": True},
        {"bank.example": {}, "Kept.example": {}},
        ["bank.example", "old.example"],
    ),
    "policy": (
        pmg_tls_policy, "/config/tlspolicy",
        {"bank.example": {"policy": "may"}, "[192.0.2.1]": {"policy": "none"}},
        {"policies": [{"destination": "bank.example", "policy": "dane-only"}, {"destination": "[mx.example]", "policy": "secure"}]},
        {"[mx.example]": {"policy": "secure"}, "bank.example": {"policy": "dane-only"}, "[192.0.2.1]": {"policy": "none"}},
        ["[mx.example]", "bank.example"],
    ),
    "a policy goes": (
        pmg_tls_policy, "/config/tlspolicy", {"bank.example": {"policy": "may"}},
        {"policies": [{"destination": "bank.example"}], "state": "absent"}, {}, ["bank.example"],
    ),
    "transport": (
        pmg_transport, "/config/transport",
        {"example.org": {"host": "192.0.2.9", "use_mx": "1", "comment": "kept"}, "old.example": {"host": "h.example"}},
        {
            "transports": [
                # With an address nothing is looked up, so this is no difference.
                {"domain": "example.org", "host": "192.0.2.9", "use_mx": True},
                {"domain": "lists@example.org", "host": "lmtp.example", "port": 8024, "protocol": "lmtp"},
                {"domain": ".old.example", "host": "h.example", "use_mx": False},
                {"domain": "a+b%c?d#e@example.org", "host": "h.example", "comment": "ü"},
                {"domain": "old.example", "host": "h.example", "port": 26},
            ]
        },
        {
            "lists@example.org": {"host": "lmtp.example", "port": "8024", "protocol": "lmtp", "use_mx": "1"},
            ".old.example": {"host": "h.example", "port": "25", "protocol": "smtp", "use_mx": "0"},
            "old.example": {"host": "h.example", "port": "26"},
            "a+b%c?d#e@example.org": {"host": "h.example", "port": "25", "protocol": "smtp", "use_mx": "1", "comment": "ü"},
            "example.org": {"host": "192.0.2.9", "use_mx": "1", "comment": "kept"},
        },
        ["lists@example.org", ".old.example", "a+b%c?d#e@example.org", "old.example"],
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=RELEASES)
def gateway(request: pytest.FixtureRequest, pem: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    monkeypatch.setattr(_pmg_run, "WAITS", (0, 0, 0))
    with gateway_of(request.param, pem) as running:
        yield running


@needs_schema
@pytest.mark.parametrize("name", CASES)
def test_foreseen_done_and_done_with(gateway: Gateway, name: str) -> None:
    module, path, before, wanted, after, changed = CASES[name]
    gateway.fake.lists[path] = {key: dict(entry) for key, entry in before.items()}
    foreseen = gateway.run(module=module, check=True, **wanted)
    assert (foreseen["changed"], gateway.writes()) == (True, 0)
    done = gateway.run(module=module, **wanted)
    assert foreseen["changed_entries"] == done["changed_entries"] == changed
    assert foreseen["entries"] == done["entries"]
    assert foreseen["diff"] == done["diff"] and done["diff"]["before"] != done["diff"]["after"]
    assert gateway.fake.lists[path] == after
    for check in (True, False):
        again = gateway.run(module=module, check=check, **wanted)
        assert (again["changed"], again["entries"]) == (False, done["entries"])
    assert gateway.writes() == len(changed)
    assert [entry for entry in gateway.fake.log if entry[3] >= 400] == []


BAD: list[tuple[ModuleType, dict[str, Any], str]] = [
    (pmg_domain, {"domains": [{"domain": "bad_dom.com"}]}, "domains[0]: 'bad_dom.com' is no domain: write one such as example.org"),
    (pmg_domain, {"domains": [{"domain": "exämple.org"}]}, "domains[0]: 'exämple.org' is not ASCII: write international names"),
    (pmg_domain, {"domains": [{"domain": "a.example", "comment": "a\nb"}]}, "domains[0]: the comment has a line break"),
    (pmg_domain, {"domains": [{"domain": "a.example"}, {"domain": "A.example"}]}, "the relay domain a.example and a.example is given 2 times"),
    (pmg_tls_inbound_domain, {"domains": [""]}, "domains[0]: '' is no domain"),
    (pmg_tls_policy, {"policies": [{"destination": "[mx.example]:25", "policy": "may"}]}, "policies[0]: '[mx.example]:25' has a port"),
    (pmg_tls_policy, {"policies": [{"destination": "a.example"}]}, "policies[0]: a.example has no policy: name one of none, may"),
    (pmg_transport, {"transports": [{"domain": "a.example"}]}, "transports[0]: a.example has no host: name the server"),
    (pmg_transport, {"transports": [{"domain": "a.example", "host": "h.example", "port": 0}]}, "transports[0]: a.example: there is no port 0"),
    (pmg_transport, {"transports": [{"domain": "a b@a.example", "host": "h.example"}]}, "transports[0]: 'a b@a.example' is neither"),
    (pmg_transport, {"transports": [{"domain": "a/b@a.example", "host": "h.example"}]}, "transports[0]: 'a/b@a.example' is neither"),
    (pmg_transport, {"transports": [{"domain": "a.example", "host": "h.example", "comment": "ř"}]}, "transports[0]: the comment has letters beyond"),
    (pmg_transport, {"transports": [{"domain": "a.example", "host": "h_x.example"}]}, "transports[0]: 'h_x.example' is no domain"),
    (pmg_transport, {"state": "absent", "purge": True}, "purge goes with state present"),
]  # fmt: skip


@needs_schema
@pytest.mark.parametrize(("module", "options", "said"), BAD)
def test_what_is_refused_is_not_sent(gateway: Gateway, module: ModuleType, options: dict[str, Any], said: str) -> None:
    assert gateway.run(module=module, fails=True, **options)["msg"].startswith(said)
    assert gateway.fake.log == []


@needs_schema
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(
    key=st.text() | st.from_regex(r"[a-z.@_\[\]:-]{1,20}", fullmatch=True),
    host=st.text(),
    comment=st.none() | st.text(),
)
def test_hostile_values_are_refused_or_taken_by_the_gateway(
    gateway: Gateway, key: str, host: str, comment: str | None
) -> None:
    """What is sent is not refused there: the modules know the API's rules."""
    for module, options in (
        (pmg_domain, {"domains": [{"domain": key, "comment": comment}]}),
        (pmg_tls_inbound_domain, {"domains": [key]}),
        (pmg_tls_policy, {"policies": [{"destination": key, "policy": "may"}]}),
        (pmg_transport, {"transports": [{"domain": key, "host": host, "comment": comment}]}),
    ):
        gateway.fake.log.clear()
        try:
            gateway.run(module=module, **options)
        except AssertionError:
            assert gateway.fake.log == [], f"{options} was sent and refused: {gateway.fake.log}"
