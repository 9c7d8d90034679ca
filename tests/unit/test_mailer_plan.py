# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.postmaster.mail.plugins.filter.mailer_parts import mailer_parts
from ansible_collections.postmaster.mail.plugins.module_utils import _mailer_plan as mp

LOGIN = {"username": "shop", "password-hash": "$argon2id$x"}
SETTINGS: dict[str, Any] = {
    "reliable-queue": {"partitions": 8},
    "suppression": {"hard-bounces": 30},
    "receiver": {
        "bind": {"inet-interface": "192.0.2.1", "inet-port": 587},
        "bind-tls": {"inet-port": "465"},
        "auth-logins": [LOGIN],
        "certificate": "/etc/ssl/certs/mail.pem",
        "key": "/etc/ssl/private/mail.key",
        "reliable-queue": {"redis": {"hostname": "r1", "password-file": "/etc/redis.password"}},
    },
    "httpreceiver": {"auth-logins": [LOGIN]},
    "transformer": {
        "secret-file": "/etc/return-path.secret",
        "domain-settings": [
            {"domain": "a.example", "dkim-private-key-file": "/keys/a/mail.key"},
            {"domain": "b.example", "dkim-private-key-file": "/keys/b/mail.key"},
        ],
    },
    "backdata": {"queue-name": "told", "signing-secret": "whsec_x", "bounce-manager": {"cid": 1, "secret": "s"}},
    "mxserver": {"hostname": "mx.example"},
    "common-config": {"object-storage": {"bucket": "b", "secret-access-key": "k"}},
}


def test_stage_gets_its_own_section_and_what_all_share() -> None:
    part = mp.part(SETTINGS, "receiver")
    assert part.plain == {
        "reliable-queue": {"partitions": 8},
        "suppression": {"hard-bounces": 30},
        "receiver": {
            "bind": {"inet-interface": "192.0.2.1", "inet-port": 587},
            "bind-tls": {"inet-port": "465"},
            "certificate": "/run/postmaster-mailer/receiver/mail.pem",
            "key": "/run/postmaster-mailer/receiver/mail.key",
            "reliable-queue": {
                "redis": {"hostname": "r1", "password-file": "/run/postmaster-mailer/receiver/redis.password"}
            },
        },
    }
    assert part.secret == {"receiver": {"auth-logins": [LOGIN]}}
    assert part.handed == [
        {"source": "/etc/ssl/certs/mail.pem", "path": "/run/postmaster-mailer/receiver/mail.pem"},
        {"source": "/etc/ssl/private/mail.key", "path": "/run/postmaster-mailer/receiver/mail.key"},
        {"source": "/etc/redis.password", "path": "/run/postmaster-mailer/receiver/redis.password"},
    ]
    assert part.listens == [{"address": "192.0.2.1", "port": 587}, {"address": "127.0.0.1", "port": 465}]


@pytest.mark.parametrize("stage", mp.SECTIONS)
def test_no_stage_knows_a_secret_of_another(stage: str) -> None:
    told = str(mp.part(SETTINGS, stage))
    known = {word for word in ("$argon2id$x", "whsec_x", "'secret': 's'", "'secret-access-key': 'k'") if word in told}
    assert known == {
        "receiver": {"$argon2id$x"},
        "http-receiver": {"$argon2id$x"},
        "backdata": {"whsec_x", "'secret': 's'"},
        "redis": {"'secret-access-key': 'k'"},
    }.get(stage, set())


def test_two_files_of_one_name_are_handed_under_two() -> None:
    part = mp.part(SETTINGS, "transformer")
    assert [one["path"].rpartition("/")[2] for one in part.handed] == ["return-path.secret", "mail.key", "2-mail.key"]
    domains = part.plain["transformer"]["domain-settings"]
    assert [one["dkim-private-key-file"] for one in domains] == [one["path"] for one in part.handed[1:]]


def test_the_mx_knows_the_domains_and_gets_no_key() -> None:
    part = mp.part(SETTINGS, "mxserver")
    assert [one["domain"] for one in part.plain["transformer"]["domain-settings"]] == ["a.example", "b.example"]
    assert [one["source"] for one in part.handed] == ["/etc/return-path.secret"]
    assert part.plain["backdata"] == {"queue-name": "told"}


@pytest.mark.parametrize(
    ("settings", "plain", "secret"),
    [
        ({"a": {"password": "x", "b": 1}}, {"a": {"b": 1}}, {"a": {"password": "x"}}),
        ({"a": {"password": "x"}}, {}, {"a": {"password": "x"}}),
        ({"a": {"password": None}}, {"a": {"password": None}}, {}),
        ({"a": {}}, {"a": {}}, {}),
        ({"a": [{"secret": "x"}, {"b": 1}]}, {}, {"a": [{"secret": "x"}, {"b": 1}]}),
        ({"a": [{"b": 1}]}, {"a": [{"b": 1}]}, {}),
    ],
)
def test_what_is_secret_stands_apart(settings: dict[str, Any], plain: dict[str, Any], secret: dict[str, Any]) -> None:
    assert mp.split(settings) == (plain, secret)


def test_filter_gives_all_and_each_stage() -> None:
    parts = mailer_parts(SETTINGS, ["receiver", "mxserver"])
    assert list(parts) == ["all", "receiver", "mxserver"]
    assert parts["all"]["plain"]["receiver"]["key"] == "/etc/ssl/private/mail.key"
    assert parts["all"]["secret"]["backdata"] == {"signing-secret": "whsec_x", "bounce-manager": {"secret": "s"}}


@pytest.mark.parametrize(
    ("settings", "stages", "message"),
    [
        (
            SETTINGS,
            ["sender"],
            "sender is no stage: choose of redis, backdata, mxserver, postfix, transformer, receiver, http-receiver",
        ),
        ({"receiver": 587}, ["receiver"], "receiver must hold settings, as in receiver: {...}"),
        ("receiver", ["receiver"], "the mailer's settings must be sections with keys in them"),
    ],
)
def test_refusals(settings: Any, stages: list[str], message: str) -> None:
    with pytest.raises(AnsibleFilterError) as caught:
        mailer_parts(settings, stages)
    assert str(caught.value) == message
