# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of a gateway by HTTPS against the fake: read once, written once, and only what differs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _pmg_run, _pmg_sections
from ansible_collections.postmaster.mail.plugins.module_utils._pmg import PmgError
from ansible_collections.postmaster.mail.plugins.modules import pmg_config
from fake_pmg import certificate
from hypothesis import given
from hypothesis import strategies as st
from pmg_gateway import DATA, RELEASES, Gateway, gateway_of, needs_schema

ASKED: dict[str, Any] = {
    "mail": {"int_port": 25, "ext_port": 26, "relay": "smtp-relay.gmail.com", "tls": True, "spf": True, "banner": None},
    "admin": {"email": "tech@example.org", "statlifetime": 7},
}
CHANGED = ["mail.int_port", "mail.ext_port", "mail.relay", "mail.tls", "mail.banner", "admin.email"]


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=RELEASES)
def gateway(request: pytest.FixtureRequest, pem: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    monkeypatch.setattr(_pmg_run, "WAITS", (0, 0, 0))
    with gateway_of(request.param, pem) as running:
        running.fake.sections["mail"] = {"banner": "x", "greylist": 0}
        yield running


def run(gateway: Gateway, **options: Any) -> dict[str, Any]:
    return gateway.run(module=pmg_config, **options)


@needs_schema
def test_foreseen_done_and_done_with(gateway: Gateway) -> None:
    foreseen = run(gateway, check=True, **ASKED)
    assert (foreseen["changed"], gateway.writes()) == (True, 0)
    gateway.fake.log.clear()
    done = run(gateway, **ASKED)
    assert foreseen["changed_options"] == done["changed_options"] == CHANGED
    assert (gateway.fake.count("GET"), gateway.writes(), done["requests"]) == (2, 2, 4)
    # What is its default already is not set, and what nobody named stays.
    assert gateway.fake.sections["mail"] == {"greylist": 0, "int_port": 25, "ext_port": 26, "relay": "smtp-relay.gmail.com", "tls": 1}  # fmt: skip
    assert gateway.fake.sections["admin"] == {"email": "tech@example.org"}
    assert "mail.banner: x\n" in done["diff"]["before"] and "mail.banner: (not set)\n" in done["diff"]["after"]
    assert foreseen["diff"] == done["diff"]
    gateway.fake.log.clear()
    for check in (True, False):
        assert run(gateway, check=check, **ASKED)["changed"] is False
    assert gateway.writes() == 0


@needs_schema
def test_back_to_the_default_by_its_value(gateway: Gateway) -> None:
    assert run(gateway, mail={"greylist": True})["changed_options"] == ["mail.greylist"]
    assert gateway.fake.sections["mail"]["greylist"] == 1
    assert run(gateway, mail={"greylist": None})["changed"] is False  # which is its default


@needs_schema
@pytest.mark.parametrize("fault", ["596 before", "596 after", "drop before", "drop after"])
def test_a_lost_answer(gateway: Gateway, fault: str) -> None:
    gateway.fake.faults.extend([fault, fault])
    assert run(gateway, **ASKED)["changed_options"] == CHANGED
    assert gateway.fake.sections["admin"] == {"email": "tech@example.org"}
    assert run(gateway, **ASKED)["changed"] is False


@needs_schema
def test_somebody_changes_another_option_meanwhile(gateway: Gateway) -> None:
    gateway.fake.faults.append(lambda: gateway.fake.sections["spam"].update(use_bayes=1))
    assert run(gateway, mail={"tls": True})["changed"] is True
    assert gateway.fake.sections["spam"] == {"use_bayes": 1} and gateway.fake.sections["mail"]["tls"] == 1
    refused = [entry for entry in gateway.fake.log if entry[3] == 500]
    assert len(refused) == 1, "the digest kept nothing from being overwritten"


@needs_schema
def test_what_the_gateway_refuses_is_told_with_what_is_done(gateway: Gateway) -> None:
    said = run(gateway, mail={"tls": True}, admin={"email": "nobody@no_where.example"}, fails=True)["msg"]
    assert said == (
        "the section admin: the gateway says: email: invalid format - value does not look like a valid email address "
        "(sections that are done: mail)"
    )


BAD: list[tuple[dict[str, Any], str]] = [
    ({"mail": {"intport": 25}}, "mail.intport is no option of a gateway: did you mean int_port?"),
    ({"mail": {"nothing like it": 1}}, "mail.nothing like it is no option of a gateway"),
    ({"mail": {"int_port": 70000}}, "mail.int_port: 70000 is out of range: from 1 to 65535"),
    ({"mail": {"maxsize": "10M"}}, "mail.maxsize: '10M' is no whole number"),
    ({"mail": {"tls": "maybe"}}, "mail.tls: 'maybe' is neither true nor false"),
    ({"mail": {"relayprotocol": "uucp"}}, "mail.relayprotocol: 'uucp' is not one of smtp, lmtp"),
    ({"mail": {"relay": "a b"}}, "mail.relay: 'a b' is neither a host's name nor an address"),
    ({"mail": {"relay": ["a"]}}, "mail.relay is a list or a dictionary: give one value"),
    (
        {"mail": {"banner": "ESMTP ☂"}},
        "mail.banner has letters beyond Latin-1, which the gateway would garble: write others",
    ),
    ({"mail": {"banner": "a\nb"}}, "mail.banner has a line break or another control character"),
    ({"admin": {"email": "tech"}}, "admin.email: 'tech' is no mail address: write one such as postmaster@example.org"),
    ({"admin": {"http_proxy": "http://u:p@proxy:3128"}}, "admin.http_proxy: write http://proxy:port, and no password"),
    (
        {"admin": {"dkim_selector": "x"}},
        "admin.dkim_selector is not set here: the gateway signs all mail with it at once",
    ),
]


@needs_schema
@pytest.mark.parametrize(("options", "said"), BAD)
def test_what_is_refused_is_not_sent(gateway: Gateway, options: dict[str, Any], said: str) -> None:
    assert run(gateway, fails=True, **options)["msg"].startswith(said)
    assert gateway.fake.log == []


@needs_schema
def test_two_ports_that_are_one(gateway: Gateway) -> None:
    said = run(gateway, mail={"int_port": 25}, fails=True)["msg"]
    assert said.startswith(
        "mail.int_port and mail.ext_port would both be 25, which the API takes and Postfix cannot serve"
    )
    assert gateway.writes() == 0
    assert run(gateway, mail={"int_port": 25, "ext_port": 26})["changed"] is True


@needs_schema
def test_the_table_is_the_schema_s() -> None:
    """Every option with its kind, default and limits; but for what the module leaves to others."""
    methods = json.loads((DATA / "pmg_api_schema.json").read_text())["methods"]
    for section, known in _pmg_sections.SECTIONS.items():
        (entry,) = [one for one in methods if (one["method"], one["path"]) == ("PUT", f"/config/{section}")]
        rules = entry["parameters"]["properties"]
        others = {name for where, name in _pmg_sections.NOT_HERE if where == section}
        assert set(known) == set(rules) - {"digest", "delete"} - others
        for name, option in known.items():
            rule = rules[name]
            kind = {"boolean": "bool", "integer": "int"}.get(rule["type"], "choice" if "enum" in rule else "")
            assert option.kind == kind or (not kind and option.kind in ("text", "host", "mail", "proxy")), name
            default = rule.get("default")
            shown = str(int(default)) if isinstance(default, bool) else str(default if default is not None else "")
            # Of a text that only people read it is enough to know whether it is set.
            assert option.default == shown or name in ("admin-mail-from",), name
            limits = [rule[bound] for bound in ("minimum", "maximum") if bound in rule] or rule.get("enum", [])
            assert list(option.bounds) == [str(limit) for limit in limits], name


VALUES = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text()) | st.floats()


@given(st.sampled_from(list(_pmg_sections.SECTIONS)), st.data())
def test_any_value_is_read_or_refused(section: str, data: st.DataObject) -> None:
    names = st.sampled_from(list(_pmg_sections.SECTIONS[section])) | st.text()
    given = data.draw(st.dictionaries(names, VALUES, max_size=3))
    try:
        wanted = _pmg_sections.read(section, given)
        todo = _pmg_sections.change(section, {"digest": "x"}, wanted)
    except PmgError as err:
        assert "\n" not in str(err) or any("\n" in str(name) for name in given)
        return
    if todo is not None:
        after = {name: text for name, text in todo.params.items() if name not in ("delete", "digest")}
        assert _pmg_sections.change(section, after, wanted) is None


NEWER: list[tuple[dict[str, Any], str]] = [
    ({"mail": {"relay": "mx.example.org", "queue-lifetime": 3}}, "mail.queue-lifetime came with version 9.0.10, and the gateway has 8.2.0"),
    ({"mail": {"log-headers": True}}, "mail.log-headers came with version 9.0.10, and the gateway has 8.2.0"),
    ({"mail": {"relay": "mx.example.org"}, "admin": {"consent-text": "x"}}, "admin.consent-text came with version 9.0.10, and the gateway has 8.2.0"),
    ({"spamquar": {"viewimages": "on-demand"}}, "spamquar.viewimages: on-demand came with version 9.0.8, and the gateway has 8.2.0"),
]  # fmt: skip


@needs_schema
@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(("options", "said"), NEWER)
def test_what_a_release_does_not_know_is_told_before_anything_is_written(
    gateway: Gateway, options: dict[str, Any], said: str, check: bool
) -> None:
    new = gateway.fake.release == "9.1"
    result = gateway.run(module=pmg_config, check=check, fails=not new, **options)
    if not new:
        assert (result["msg"], gateway.writes()) == (f"{said}: leave it out, or upgrade it", 0)


@needs_schema
@pytest.mark.parametrize(
    "options", [{"mail": {"queue-lifetime": None, "helotests": True}}, {"spamquar": {"viewimages": False}}]
)
def test_what_every_release_knows_needs_no_look(gateway: Gateway, options: dict[str, Any]) -> None:
    assert gateway.run(module=pmg_config, **options)["changed"] is True
    assert not [path for dummy, path, dummy2, dummy3 in gateway.fake.log if path == "/version"]


FITS = {"9.0.10": True, "9.0.9": False, "9.1.0": True, "10.0.0~1": True, "9.0.10~2": True, "": False}


@pytest.mark.parametrize(("version", "fits"), FITS.items())
def test_versions_are_numbers(version: str, fits: bool) -> None:
    newer = _pmg_sections.since({"mail": {"queue-lifetime": "3"}})
    with contextlib.nullcontext() if fits else pytest.raises(PmgError):
        _pmg_sections.check_version(newer, version)
