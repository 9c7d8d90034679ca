# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the variables of the role mailer become in the mailer's own words, and which of them do not go together."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLE = Path(__file__).resolve().parents[2] / "roles/mailer"
PLAY = f"""
- hosts: all
  gather_facts: false
  connection: local
  vars_files: [{ROLE}/vars/main/role.yml, {ROLE}/vars/main/postfix.yml]
  vars:
    __mailer_preflight: {{release: bookworm}}
  tasks:
    - ansible.builtin.set_fact:
        shown:
          complaints: "{{{{ __mailer_complaints + __mailer_postfix_complaints }}}}"
          settings: "{{{{ __mailer_settings }}}}"
          policies: "{{{{ __mailer_postfix_main.smtp_tls_policy_maps }}}}"
          packages: "{{{{ __mailer_packages }}}}"
          ports: "{{{{ __mailer_ports | map(attribute='port') }}}}"
          handed: "{{{{ (__mailer_settings | postmaster.mail.mailer_parts(['receiver'])).receiver.handed | map(attribute='source') }}}}"
    - ansible.builtin.copy:
        dest: shown.json
        content: "{{{{ dict(groups.all | zip(groups.all | map('extract', hostvars, 'shown'))) | to_json }}}}"
        mode: "0600"
      delegate_to: localhost
      run_once: true
"""
SECRET = "0123456789abcdef0123456789abcdef"
REMOTE = {
    "mailer_redis_server": "remote",
    "mailer_redis_password": "of the queue",
    "mailer_return_path_secret": SECRET,
    "mailer_redis_tls": True,
}
SENTINELS = {
    **REMOTE,
    "mailer_redis_sentinels": ["s1.example:26379", "[2001:db8::1]:26379"],
    "mailer_redis_sentinel_username": "watcher",
    "mailer_redis_sentinel_password": "of the sentinels",
}
CLUSTER = {
    **REMOTE,
    "mailer_redis_cluster": ["r1.example:6379", "r2.example:6379"],
    "mailer_redis_tls_certificate": "/etc/ssl/mailer.pem",
    "mailer_redis_tls_key": "/etc/ssl/mailer.key",
    "mailer_redis_replicas": 2,
    "mailer_redis_replicas_wait": 1.5,
    "mailer_redis_replicas_on_disk": True,
}
# As the tests of the package, which know no Ansible, reach real servers.
WRITTEN = {
    "sentinels": {
        "mailer_redis_sentinels": ["s1.example:26379"],
        "mailer_redis_sentinel_username": "mailer",
        "mailer_redis_sentinel_password": "of the sentinels",
    },
    "cluster": {"mailer_redis_cluster": ["r1.example:6379"]},
    "cluster_tls": {
        "mailer_redis_cluster": ["r1.example:6379"],
        "mailer_redis_tls": True,
        "mailer_redis_tls_ca_file": "/etc/ssl/redis-ca.pem",
        "mailer_redis_tls_certificate": "/etc/ssl/mailer.pem",
        "mailer_redis_tls_key": "/etc/ssl/mailer.key",
    },
}
KNOWN = json.loads((ROLE.parents[1] / "tests/mailer/redis_of_the_role.json").read_text(encoding="utf-8"))
POLICIES = {"mailer_tls_policies": {"bank.example": "dane-only"}}
MTA_STS = {**POLICIES, "mailer_tls_mta_sts": True}
BEFORE_DANE = (
    "mailer_tls_mta_sts: policies of MTA-STS would go before DANE, which must not be (RFC 8461, section 2): "
    "set mailer_postfix_tls to may or encrypt, or leave it out"
)
# What is refused, and a host that differs in that and is not.
REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "local_and_remote": (
        {"mailer_redis_host": "r1.example"},
        "one",
        "mailer_redis_server is redis, which is on this host alone: set remote for r1.example",
    ),
    "replicas_of_none": (
        {"mailer_redis_replicas": 1},
        "cluster",
        "mailer_redis_replicas: a server on this host alone has none: set mailer_redis_server to remote",
    ),
    "two_ways": (
        {**SENTINELS, "mailer_redis_cluster": ["r1.example:6379"]},
        "sentinels",
        "mailer_redis_host, mailer_redis_sentinels and mailer_redis_cluster are three ways: set one of them",
    ),
    "no_port": (
        {**CLUSTER, "mailer_redis_cluster": ["r1.example:6379", "r2.example"]},
        "cluster",
        "mailer_redis_sentinels and mailer_redis_cluster: r2.example has no port: write host:port",
    ),
    "no_key": (
        {**CLUSTER, "mailer_redis_tls_key": ""},
        "cluster",
        "mailer_redis_tls_certificate and mailer_redis_tls_key go together: set both or neither",
    ),
    "no_tls": (
        {**CLUSTER, "mailer_redis_tls": False},
        "cluster",
        "mailer_redis_tls_certificate: without TLS nobody sees it: set mailer_redis_tls",
    ),
    "no_sentinels": (
        {**SENTINELS, "mailer_redis_sentinels": [], "mailer_redis_host": "r1.example"},
        "sentinels",
        "mailer_redis_sentinel_password: no sentinels are named: set mailer_redis_sentinels",
    ),
    "sts_before_dane": ({**MTA_STS, "mailer_postfix_tls": "dane"}, "dane", BEFORE_DANE),
    "sts_before_dane_set": (
        {**MTA_STS, "mailer_postfix_settings": {"smtp_tls_security_level": "dane-only"}},
        "mta_sts",
        BEFORE_DANE,
    ),
    "sts_left_out": (
        {**MTA_STS, "mailer_postfix_settings": {"smtp_tls_policy_maps": "lmdb:/etc/postfix/own"}},
        "mta_sts",
        "mailer_postfix_settings: smtp_tls_policy_maps would take the place of mailer_tls_mta_sts: "
        "name its domains in mailer_tls_policies",
    ),
}


HOSTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "one": {**REMOTE, "mailer_redis_host": "r1.example"},
    "sentinels": SENTINELS,
    "cluster": CLUSTER,
    "by_file": {"mailer_config_files": ["old.yml"], "mailer_config": {"mxserver": {"size-limit": 131072}}},
    "policies": POLICIES,
    "mta_sts": MTA_STS,
    "mta_sts_alone": {"mailer_tls_mta_sts": True},
    "mta_sts_nobody_asks": {"mailer_tls_mta_sts": True, "mailer_stages": {"receiver": 1}},
    "dane": {**POLICIES, "mailer_postfix_tls": "dane"},
    "elsewhere": {"mailer_config": {"postfixlog": {"postfix": {"hostname": "postfix.example"}}}},
    **{f"written_{kind}": {**REMOTE, "mailer_redis_tls": False, **more} for kind, more in WRITTEN.items()},
    **{f"bad_{name}": bad for name, (bad, twin, said) in REFUSED.items()},
}


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What becomes of the variables of each host."""
    folder = tmp_path_factory.mktemp("settings")
    (folder / "templates").symlink_to(ROLE / "templates")
    (folder / "play.yml").write_text(PLAY)
    (folder / "old.yml").write_text(
        yaml.safe_dump(
            {
                "reliable-queue": {"replicas": 3},
                "mxserver": {"size-limit": 65536},
                "postfixlog": {"postfix": {"hostname": "localhost"}},
            }
        )
    )
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text(encoding="utf-8"))
    local = {"ansible_python_interpreter": sys.executable, "role_path": str(ROLE)}
    (folder / "hosts.json").write_text(json.dumps({"all": {"vars": {**defaults, **local}, "hosts": HOSTS}}))
    done = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "hosts.json", "play.yml"],
        cwd=folder,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    found: dict[str, Any] = json.loads((folder / "shown.json").read_text())
    return found


def redis(shown: dict[str, Any], host: str) -> dict[str, Any]:
    """How the receiver of a host reaches Redis; all stages do so alike."""
    settings = shown[host]["settings"]
    ways = [section["reliable-queue"]["redis"] for section in settings.values() if "prometheus" in section]
    assert len(ways) == 7 and all(one == ways[0] for one in ways)
    way: dict[str, Any] = ways[0]
    return way


def test_redis_of_the_host_itself(shown: dict[str, Any]) -> None:
    way = redis(shown, "plain")
    assert way["hostname"] == "/run/redis-mailer/redis.sock" and way["sentinels"] == way["cluster"] == []
    assert shown["plain"]["settings"]["reliable-queue"] == {
        "replicas": 0, "replicas-wait": 2, "replicas-on-disk": False,
    }  # fmt: skip


def test_sentinels_have_a_login_of_their_own(shown: dict[str, Any]) -> None:
    way = redis(shown, "sentinels")
    assert (way["sentinels"], way["sentinel-service"]) == (SENTINELS["mailer_redis_sentinels"], "mailer")
    assert (way["username"], way["password-file"]) == ("mailer", "/etc/postmaster-mailer/redis.password")
    assert (way["sentinel-username"], way["sentinel-password-file"]) == (
        "watcher", "/etc/postmaster-mailer/sentinel.password",
    )  # fmt: skip
    assert "/etc/postmaster-mailer/sentinel.password" in shown["sentinels"]["handed"]
    assert "of the sentinels" not in json.dumps(shown["sentinels"]["settings"])


def test_a_cluster_with_replicas_and_a_certificate(shown: dict[str, Any]) -> None:
    way = redis(shown, "cluster")
    assert (way["cluster"], way["sentinels"], way["tls"]) == (CLUSTER["mailer_redis_cluster"], [], True)
    assert way["sentinel-password-file"] is way["sentinel-username"] is None
    assert {"/etc/ssl/mailer.pem", "/etc/ssl/mailer.key"} <= set(shown["cluster"]["handed"])
    assert shown["cluster"]["settings"]["reliable-queue"] == KNOWN["reliable-queue"]
    assert KNOWN["reliable-queue"] == {"replicas": 2, "replicas-wait": 1.5, "replicas-on-disk": True}


@pytest.mark.parametrize("kind", WRITTEN)
def test_what_the_tests_of_the_package_take_is_what_the_role_writes(shown: dict[str, Any], kind: str) -> None:
    assert redis(shown, f"written_{kind}") == KNOWN[kind]


def test_the_package_takes_all_of_it(shown: dict[str, Any]) -> None:
    """Its keys are those of its configuration, of which no word is left out here by mistake."""
    text = (ROLE / "files/package/postmaster_mailer/config.py").read_text(encoding="utf-8")
    section = text.partition("class Redis(Section):")[2].partition("@model_validator")[0]
    assert set(redis(shown, "cluster")) == {
        key.replace("_", "-") for key in re.findall(r"^    ([a-z_]+):", section, re.MULTILINE)
    }


def test_files_lie_over_the_variables_and_settings_over_files(shown: dict[str, Any]) -> None:
    """Where Postfix is no file of another host knows, but a setting may."""
    settings = shown["by_file"]["settings"]
    assert (settings["reliable-queue"]["replicas"], settings["mxserver"]["size-limit"]) == (3, 131072)
    where = {host: shown[host]["settings"]["postfixlog"]["postfix"]["hostname"] for host in ("by_file", "elsewhere")}
    assert where == {"by_file": "/var/spool/postfix/public/mailer", "elsewhere": "postfix.example"}


@pytest.mark.parametrize(
    ("host", "maps"),
    [
        ("plain", None),
        ("policies", "lmdb:/etc/postfix/tls_policy"),
        ("mta_sts", "lmdb:/etc/postfix/tls_policy, socketmap:inet:127.0.0.1:8461:postfix"),
        ("mta_sts_alone", "socketmap:inet:127.0.0.1:8461:postfix"),
    ],
)
def test_policies_of_domains_come_after_those_written_by_hand(
    shown: dict[str, Any], host: str, maps: str | None
) -> None:
    found = shown[host]
    assert (found["policies"] or None) == maps
    asks = bool(maps) and "socketmap" in str(maps)
    assert ("postfix-mta-sts-resolver" in found["packages"], 8461 in found["ports"]) == (asks, asks)


def test_a_host_that_does_not_deliver_needs_no_policies(shown: dict[str, Any]) -> None:
    found = shown["mta_sts_nobody_asks"]
    assert "postfix-mta-sts-resolver" not in found["packages"] and 8461 not in found["ports"]


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(shown: dict[str, Any], name: str) -> None:
    dummy, twin, said = REFUSED[name]
    assert (shown[f"bad_{name}"]["complaints"], shown[twin]["complaints"]) == ([said], [])
