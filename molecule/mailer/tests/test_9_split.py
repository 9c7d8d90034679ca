# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stages on two hosts that share a Redis, with TLS, certificates and the user that the documentation describes."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import pytest
import yaml
from lab import ready
from lab.plays import Played, play
from lab.probe import Lab
from mailers import CONVERGE, ESTATE, FULL, SCENARIO, STAGES, answer, bounce, events, fresh, letter, room, unit

SPLIT = SCENARIO / "split"
FRONT, BACK = "mail-12", "mail-13"
SHARED = yaml.safe_load((SPLIT / "hosts.yml").read_text(encoding="utf-8"))["all"]["children"]["mailers"]
SERVICE = """[Service]
ExecStart=/usr/bin/redis-server /run/shared/redis.conf
Restart=always
"""
REDIS = f"""port 0
tls-port {SHARED["vars"]["mailer_redis_port"]}
tls-cert-file /etc/ssl/certs/lab-host.pem
tls-key-file /etc/ssl/private/lab-host.key
tls-ca-cert-file /etc/ssl/certs/mailer-client.pem
tls-auth-clients yes
dir /run/shared
appendonly yes
appendfsync always
maxmemory-policy noeviction
aclfile /run/shared/users.acl
"""
CERTIFICATE, KEY = SHARED["vars"]["mailer_redis_tls_certificate"], SHARED["vars"]["mailer_redis_tls_key"]
MAKE = f"""umask 077; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 \
-subj /CN=mailer -addext extendedKeyUsage=clientAuth \
-keyout {KEY} -out {CERTIFICATE} 2>/dev/null; chmod 644 {CERTIFICATE}"""


def documented_user() -> str:
    """The line of an ACL that docs/mailer.md gives for the mailer."""
    text = (SCENARIO.parent.parent / "docs/mailer.md").read_text(encoding="utf-8")
    found = re.search(r"^user mailer on >PASSWORD .*?(?=\n```)", text, re.MULTILINE | re.DOTALL)
    assert found
    return found[0].replace("\\\n", "").replace("PASSWORD", f"{SHARED['vars']['mailer_redis_password']}")


@dataclass(frozen=True)
class Split:
    """The run that made two of one, and the one after it."""

    done: Played
    second: Played


@pytest.fixture(scope="module")
def split(lab: Lab) -> Split:
    """From two mailers that had all stages each."""
    user = " ".join(documented_user().split())
    lab.run(FRONT, MAKE)
    for path in (CERTIFICATE, KEY):
        lab.run(BACK, f"umask 077; cat > {path}", input=lab.run(FRONT, ["cat", path]).stdout)
    lab.run(FRONT, "install -d -m 700 /run/shared && cat > /run/shared/redis.conf", input=REDIS)
    lab.run(FRONT, "cat > /run/shared/users.acl", input=f"user default off\n{user}\n")
    lab.run(FRONT, "cat > /run/systemd/system/shared-redis.service", input=SERVICE)
    lab.run(FRONT, "systemctl daemon-reload && systemctl restart shared-redis")
    runs = [play(lab, CONVERGE, inventories=[ESTATE, SPLIT]) for dummy in range(2)]
    return Split(*runs)


def test_each_host_runs_its_stages_alone(lab: Lab, split: Split) -> None:
    assert (split.done.failures, split.second.changed) == ({}, {})
    for host, about in SHARED["hosts"].items():
        said = lab.run(host, ["systemctl", "is-active", *map(unit, STAGES)], check=False).stdout.split()
        assert said == ["active" if stage in about["mailer_stages"] else "inactive" for stage in STAGES], host
    listening = {(host, port): bool(lab.listeners(host, port)) for host in (FRONT, BACK) for port in (25, 587)}
    assert listening == {(FRONT, 25): False, (FRONT, 587): True, (BACK, 25): True, (BACK, 587): False}


def test_mail_goes_through_both(lab: Lab, split: Split, token: str) -> None:
    """In at one host, out at the other, where the answer comes to; the application hears of it, and each host knows."""
    uuids = {"smtp": fresh(token, "s"), "http": fresh(token, "h")}
    for by, uuid in uuids.items():
        somebody = f"{uuid}@outside.test"
        assert answer(lab, FRONT, uuid, [somebody], by=by)[0] in (250, 200)
        message = lab.wait_for_message(uuid)
        assert message.verdicts == {"spf": "pass", "dkim": "pass", "dmarc": "pass"}
        assert message.client["name"] == lab.fqdn(BACK) and lab.dkim_verifies(message)
        assert events(lab, BACK, uuid)[0]["event"] == "delivered"
        assert lab.smtp(
            "outside", BACK, sender="", recipients=message.sender, message=bounce(FRONT, to=somebody)
        ).accepted
        assert events(lab, BACK, uuid, 2)[1]["type"] == "hard"
    for host in (FRONT, BACK):
        about = json.loads(lab.run(host, ["mailerctl", "trace", uuids["smtp"], "--json"]).stdout)
        assert [(one["recipient"], one["state"]) for one in about["recipients"]] == [
            (f"{uuids['smtp']}@outside.test", "bounce")
        ], host


@pytest.mark.parametrize(("stream", "version"), [("orders", 6), ("news", 4)])
def test_each_stream_leaves_by_its_pool(lab: Lab, split: Split, token: str, stream: str, version: int) -> None:
    uuid = fresh(token)
    content = letter(FRONT, uuid).replace("X-Stream-Id: orders", f"X-Stream-Id: {stream}")
    assert answer(lab, FRONT, uuid, content=content)[0] == 250
    client = lab.wait_for_message(uuid).client
    assert (client["address"], client["helo"]) == (lab.address(BACK, version=version), f"out{version}.corp.example")


def test_a_host_that_is_taken_out_keeps_no_mail(lab: Lab, split: Split, token: str) -> None:
    """What its Postfix could not send is in the queue again, and is sent by who delivers next."""
    uuid, delivery = fresh(token), unit("postfix")
    assert answer(lab, FRONT, uuid, [FULL])[0] == 250
    assert events(lab, BACK, uuid)[0]["type"] == "soft"
    lab.run(BACK, ["systemctl", "stop", delivery, "postfix"])
    assert json.loads(lab.run(BACK, ["mailerctl", "push-back", "--json"]).stdout)["back"] == 1
    assert lab.run(BACK, "find /var/spool/postfix/deferred /var/spool/postfix/incoming -type f").stdout == ""
    streams = {one["name"]: one for one in json.loads(lab.run(FRONT, ["mailerctl", "status", "--json"]).stdout)}
    assert (streams["outgoing"]["waiting"], streams["outgoing"]["working"]) == (1, 0)
    with room(lab):
        lab.run(BACK, ["systemctl", "start", "postfix", delivery])
        assert lab.wait_for_message(uuid).recipient == FULL
    ready.wait("the delivery", lambda: events(lab, BACK, uuid)[-1]["event"] == "delivered")


def test_redis_takes_who_shows_all_three(lab: Lab, split: Split) -> None:
    """TLS, a certificate, and the user, who may do no more than the mailer does."""
    port = SHARED["vars"]["mailer_redis_port"]
    lab.run(BACK, "umask 077; cat > /run/password", input=SHARED["vars"]["mailer_redis_password"])

    def ask(options: str, command: str) -> str:
        word = f'REDISCLI_AUTH="$(cat /run/password)" redis-cli -h mail-12.corp.example -p {port}'
        done = lab.run(BACK, f"{word} {options} {command} 2>&1", check=False)
        return done.stdout.strip()

    full = f"--tls --cacert /etc/ssl/certs/ca-certificates.crt --cert {CERTIFICATE} --key {KEY} --user mailer"
    assert ask(full, "PING").splitlines()[-1] == "PONG"
    for options in (
        "--user mailer",
        "--tls --cacert /etc/ssl/certs/ca-certificates.crt --user mailer",
        full.replace("--user mailer", "--user default"),
    ):
        assert "PONG" not in ask(options, "PING"), options
    for command in ("FLUSHALL", "KEYS '*'", "CONFIG SET appendonly no", "GET secret"):
        assert "NOPERM" in ask(full, command), command
