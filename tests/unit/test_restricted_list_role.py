# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role restricted_list: what it tells the program, and that what is written about it is true."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles/restricted_list"
GIVEN: dict[str, Any] = {
    "restricted_list_address": "restricted@lists.example",
    "restricted_list_bounce_address": "bounces@lists.example",
    "role_path": str(ROLE),
}
LOGIN: dict[str, Any] = {"restricted_list_relay_user": "u", "restricted_list_relay_password": "p"}
TWICE: dict[str, Any] = {"restricted_list_members": {"a": []}, "restricted_list_groups": {"a": {}}}


def _load(path: str) -> Any:
    return yaml.safe_load((ROLE / path).read_text(encoding="utf-8"))


def _value(name: str, **given: Any) -> Any:
    """A variable of the role, as Ansible has it."""
    known = {**_load("defaults/main.yml"), **_load("vars/main.yml"), **GIVEN, **given}
    return _templated(f"{{{{ {name} }}}}", known)


def _templated(text: str, known: dict[str, Any]) -> Any:
    try:
        from ansible.template import trust_as_template  # ansible-core 2.19 and later
    except ImportError:
        return Templar(loader=DataLoader(), variables=known).template(text)
    trusted = {name: _trusted(value, trust_as_template) for name, value in known.items()}
    return Templar(loader=DataLoader(), variables=trusted).template(trust_as_template(text))


def _trusted(value: Any, trust: Any) -> Any:
    if isinstance(value, dict):
        return {key: _trusted(one, trust) for key, one in value.items()}
    if isinstance(value, list):
        return [_trusted(one, trust) for one in value]
    return trust(value) if isinstance(value, str) else value


def _settings(**given: Any) -> Any:
    known = {**_load("defaults/main.yml"), **_load("vars/main.yml"), **GIVEN, **given}
    text = (ROLE / "templates/config.json.j2").read_text(encoding="utf-8")
    made = _templated(text, known)
    return json.loads(made) if isinstance(made, str) else made


def test_settings_of_a_small_list() -> None:
    assert _settings(restricted_list_members={"board": ["anna@example.org"]}) == {
        "address": "restricted@lists.example",
        "bounce_address": "bounces@lists.example",
        "name": "Restricted list",
        "sender": "reply-to",
        "footer": "Sent by $sender.\nGet no more of this: $unsubscribe",
        "recipients_limit": 500,
        "token_days": 7,
        "download_minutes": 10,
        "retry_hours": 48,
        "size_limit": 26214400,
        "secret_file": "/etc/postmaster-restricted-list/secret",
        "database": "sqlite:////var/lib/postmaster-restricted-list/list.db",
        "relay": {"host": "127.0.0.1", "port": 25, "tls": "may"},
        "lmtp": {"host": "127.0.0.1", "port": 8024},
        "groups": {"board": {"kind": "file", "path": "/etc/postmaster-restricted-list/members/board.yaml"}},
    }


def test_settings_of_a_list_with_all() -> None:
    made = _settings(
        restricted_list_lmtp_port=0,
        restricted_list_smtp_port=8025,
        restricted_list_smtp_certificate="/c.pem",
        restricted_list_smtp_key="/k.pem",
        restricted_list_http_port=8026,
        restricted_list_public_url="https://lists.example",
        restricted_list_groups={"staff": {"kind": "sql", "url": "sqlite:///x", "query": "SELECT 1"}},
        restricted_list_relay_host="smtp.test",
        restricted_list_relay_port=587,
        restricted_list_relay_tls="verify",
        **LOGIN,
    )
    assert made["lmtp"] is None
    assert made["smtp"] == {
        "host": "0.0.0.0",
        "port": 8025,
        "certificate": "/c.pem",
        "key": "/k.pem",
        "require_tls": False,
    }
    assert made["http"] == {"host": "127.0.0.1", "port": 8026}
    assert made["relay"] == {"host": "smtp.test", "port": 587, "tls": "verify", "user": "u", "password": "p"}
    assert made["groups"] == {"staff": {"kind": "sql", "url": "sqlite:///x", "query": "SELECT 1"}}
    assert _value("__restricted_list_complaints", **LOGIN, restricted_list_relay_tls="verify") == []


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"restricted_list_address": "list"}, "restricted_list_address is no address: give one such as list@example.org"),
        ({"restricted_list_bounce_address": "a b@c.example"}, "restricted_list_bounce_address is no address: give one such as list@example.org"),
        ({"restricted_list_lmtp_port": 0}, "restricted_list_lmtp_port and restricted_list_smtp_port are both 0, so nothing takes mail: set one of them"),
        ({"restricted_list_http_port": 1}, "restricted_list_public_url is not set, and links over HTTP begin with it: give it"),
        ({"restricted_list_smtp_key": "/k"}, "restricted_list_smtp_certificate and restricted_list_smtp_key go together: set both or neither"),
        ({"restricted_list_smtp_require_tls": True}, "restricted_list_smtp_require_tls needs restricted_list_smtp_certificate: give it"),
        ({"restricted_list_relay_user": "u"}, "restricted_list_relay_user and restricted_list_relay_password go together: set both or neither"),
        (LOGIN, "restricted_list_relay_password is given to a server that is known alone: set restricted_list_relay_tls to verify"),
        ({"restricted_list_secret": "short"}, "restricted_list_secret is too short: give 32 characters or more, as openssl rand -hex 32 makes them"),
        ({"restricted_list_memory_max": "much"}, "restricted_list_memory_max: much is no size: give one such as 512M"),
        (TWICE, "restricted_list_groups: a stands in restricted_list_members, too: give it in one of them"),
        ({"restricted_list_members": {"a/b": []}}, "restricted_list_members: a/b is no plain name: use letters, digits, - and _"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_told(given: dict[str, Any], complaint: str) -> None:
    assert _value("__restricted_list_complaints", **given) == [complaint]
    assert _value("__restricted_list_complaints") == []


def test_every_variable_is_used() -> None:
    parts = [
        path.read_text(encoding="utf-8") for part in ("vars", "tasks", "templates") for path in (ROLE / part).glob("*")
    ]
    options = _load("meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    assert [name for name in options if name not in "".join(parts)] == []


def test_everything_the_package_needs_is_pinned() -> None:
    project = (ROLE / "files/package/pyproject.toml").read_text(encoding="utf-8")
    named = re.findall(r'"([A-Za-z0-9.-]+)[^"]*",?$', project.partition("dependencies = [")[2].partition("]")[0], re.M)
    lines = (ROLE / "files/requirements.in").read_text(encoding="utf-8").splitlines()
    wanted = {re.sub(r"\[.*", "", line).lower() for line in lines if line[0] != "#"}
    pinned = (ROLE / "files/requirements.txt").read_text(encoding="utf-8")
    versions = re.findall(r"^([A-Za-z0-9.-]+)==([^ ]+)", pinned, re.M)
    assert {name.lower() for name in named} <= wanted <= {name.lower() for name, dummy in versions}
    assert pinned.count("--hash=sha256:") > len(versions)
    tested = (ROOT / "requirements/mailer.txt").read_text(encoding="utf-8").lower()
    assert [name for name, version in versions if f"\n{name.lower()}=={version}" not in tested] == []
