# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the containers are made of, without one."""

from __future__ import annotations

import configparser
import importlib.util
from collections.abc import Mapping
from types import ModuleType

import pytest
from postmaster_mailer.__main__ import DRAIN, STAGES
from postmaster_mailer.config import parse

from .conftest import ROOT

CONTAINER = ROOT / "roles" / "mailer" / "files" / "container"


@pytest.fixture(scope="module")
def postfix() -> ModuleType:
    spec = importlib.util.spec_from_file_location("container_postfix", CONTAINER / "postfix.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("given", "legacy", "expected"),
    [
        ({"myhostname": "mx.example.com"}, {}, {"myhostname": "mx.example.com"}),
        ({}, {"myhostname": "old.example.com"}, {"myhostname": "old.example.com"}),
        ({"myhostname": "mx.example.com"}, {"myhostname": "old.example.com"}, {"myhostname": "mx.example.com"}),
        ({"mailname": "example.com"}, {}, {"myorigin": "example.com"}),
        ({}, {"mailname": "old.example.com"}, {"myorigin": "old.example.com"}),
        (
            {"smtp_tls_note_starttls_offer": True, "smtp_tls_loglevel": 1, "append_dot_mydomain": False},
            {},
            {"smtp_tls_note_starttls_offer": "yes", "smtp_tls_loglevel": "1", "append_dot_mydomain": "no"},
        ),
        ({"maximal_queue_lifetime": "1d"}, {}, {"maximal_queue_lifetime": "1d"}),
        # What would make it an open relay for others, or its mail another one than was signed, is not taken over.
        ({"mynetworks": "0.0.0.0/0"}, {}, {"mynetworks": "127.0.0.0/8 [::1]/128"}),
        ({"inet_interfaces": "all"}, {}, {"inet_interfaces": "loopback-only"}),
        ({"smtpd_relay_restrictions": "permit"}, {}, {"smtpd_relay_restrictions": "permit_mynetworks, reject"}),
    ],
)
def test_main_cf(
    postfix: ModuleType, given: Mapping[str, str | int | bool], legacy: Mapping[str, str], expected: Mapping[str, str]
) -> None:
    settings = parse({"postfixlog": {"string-replacer": {"main-cf": given}}})
    found = postfix.parameters(settings, legacy)
    assert found | expected == found
    assert "mailname" not in found


@pytest.mark.parametrize(("given", "port"), [({}, 25), ({"master-cf": {"smtpd-port": 26}}, 26)])
def test_master_cf(postfix: ModuleType, given: Mapping[str, object], port: int) -> None:
    found = postfix.services(parse({"postfixlog": {"string-replacer": given}}))
    assert found[f"{port}/inet"] == f"{port} inet n - n - - smtpd"


def test_the_supervisor_stops_as_the_guide_says() -> None:
    parts = configparser.RawConfigParser()
    parts.read(CONTAINER / "supervisord.conf")
    programs = {name.removeprefix("program:"): parts[name] for name in parts if name.startswith("program:")}
    last_first = sorted(programs, key=lambda name: -int(programs[name]["priority"]))
    assert last_first == [
        "http-receiver", "receiver", "transformer", "postfix", "postfix-daemon", "backdata", "mxserver", "redis",
        "redis-server",
    ]  # fmt: skip
    assert {
        one["command"].split("mailer stage ")[1] for one in programs.values() if " stage " in one["command"]
    } == set(STAGES)
    assert all(int(one["stopwaitsecs"]) > DRAIN for one in programs.values())
    as_root = {name for name, one in programs.items() if "user" not in one and "--reuid=mailer" not in one["command"]}
    assert as_root == {"postfix-daemon"}


def test_its_redis_keeps_what_it_has_said_yes_to() -> None:
    lines = (CONTAINER / "redis.conf").read_text().splitlines()
    settings = dict(line.split(" ", 1) for line in lines if not line.startswith("#"))
    assert (settings["appendonly"], settings["appendfsync"]) == ("yes", "always")
    assert (settings["maxmemory-policy"], settings["bind"]) == ("noeviction", "127.0.0.1")
