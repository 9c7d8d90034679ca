# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stages on two hosts that share a Redis, with TLS, certificates and the user that the documentation describes.

Sentinel watches it, and makes its replica the primary when it dies.
"""

from __future__ import annotations

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
import yaml
from lab import ready
from lab.plays import Played, play
from lab.probe import Lab
from mailers import (
    APPLICATION,
    CONVERGE,
    ESTATE,
    FULL,
    RCPT,
    RESOLVER,
    SCENARIO,
    STAGES,
    answer,
    arrivals,
    bounce,
    events,
    fresh,
    hand_in,
    letter,
    room,
    sent,
    told,
    unit,
)

SPLIT = SCENARIO / "split"
FRONT, BACK = "mail-12", "mail-13"
SHARED = yaml.safe_load((SPLIT / "hosts.yml").read_text(encoding="utf-8"))["all"]["children"]["mailers"]
SERVERS = {"first": 6391, "second": 6392}
SENTINELS = {"one": 6401, "two": 6402, "three": 6403}
WATCHER = "of-the-sentinels-themselves"
SERVICE = """[Service]
ExecStart=/usr/bin/redis-server /run/shared/%i/redis.conf {option}
"""
CERTIFICATE, KEY = SHARED["vars"]["mailer_redis_tls_certificate"], SHARED["vars"]["mailer_redis_tls_key"]
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
COMMON = f"""port 0
tls-replication yes
tls-cert-file /etc/ssl/certs/lab-host.pem
tls-key-file /etc/ssl/private/lab-host.key
tls-client-cert-file {CERTIFICATE}
tls-client-key-file {KEY}
tls-ca-cert-file /run/shared/ca.pem
tls-auth-clients yes
"""
# What a Redis of others has to have beside the user of the mailer: one for those that follow it and watch it.
REDIS = f"""{COMMON}
appendonly yes
appendfsync always
maxmemory-policy noeviction
aclfile /run/shared/users.acl
masteruser watcher
masterauth {WATCHER}
min-replicas-to-write 1
min-replicas-max-lag 60
"""
USERS = f"""user default off
user watcher on >{WATCHER} allchannels -@all +psync +replconf +multi +slaveof +ping +exec +subscribe +config|rewrite \
+role +publish +info +client|setname +client|kill +script|kill
"""
WATCH = f"""{COMMON}
user mailer on >{SHARED["vars"]["mailer_redis_sentinel_password"]} -@all +sentinel|masters +ping
sentinel monitor mailer {{address}} {SERVERS["first"]} 2
sentinel auth-user mailer watcher
sentinel auth-pass mailer {WATCHER}
sentinel down-after-milliseconds mailer 10000
sentinel failover-timeout mailer 30000
"""
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


def asked(lab: Lab, port: int, command: str) -> list[str]:
    """What a server or a sentinel says to who watches it."""
    login = f"--user watcher --pass {WATCHER} --no-auth-warning" if port in SERVERS.values() else ""
    tls = f"--tls --cacert {AUTHORITIES} --cert {CERTIFICATE} --key {KEY}"
    done = lab.run(FRONT, f"redis-cli -h {lab.fqdn(FRONT)} -p {port} {tls} {login} {command}", check=False)
    return done.stdout.splitlines()


def primary(lab: Lab) -> int:
    """The port of the server that the sentinels name; 0 if none of them can be asked now."""
    said = asked(lab, SENTINELS["one"], "sentinel get-master-addr-by-name mailer")
    return int(said[1]) if len(said) == 2 and said[1].isdecimal() else 0


def followed(lab: Lab, port: int) -> bool:
    """Whether a server has the other one as its replica."""
    return "connected_slaves:1" in asked(lab, port, "info replication")


def watched(lab: Lab, port: int) -> bool:
    """Whether a sentinel knows all there is."""
    said = asked(lab, port, "sentinel master mailer")
    known = dict(zip(said[::2], said[1::2], strict=False))
    return (known.get("flags"), known.get("num-slaves"), known.get("num-other-sentinels")) == ("master", "1", "2")


def start_servers(lab: Lab) -> None:
    """A primary, its replica, and three sentinels that watch them, on one host."""
    user, address = " ".join(documented_user().split()), lab.address(FRONT)
    lab.run(FRONT, f"install -d -m 700 /run/shared && cat {CERTIFICATE} {AUTHORITIES} > /run/shared/ca.pem")
    lab.run(FRONT, "cat > /run/shared/users.acl", input=f"{USERS}{user}\n")
    following = {"second": f"replicaof {address} {SERVERS['first']}\n"}
    texts = {name: REDIS + following.get(name, "") for name in SERVERS} | dict.fromkeys(
        SENTINELS, WATCH.format(address=address)
    )
    for name, port in (SERVERS | SENTINELS).items():
        place = f"tls-port {port}\ndir /run/shared/{name}\n"
        lab.run(FRONT, f"mkdir -p /run/shared/{name} && cat > /run/shared/{name}/redis.conf", input=texts[name] + place)
    for unit_, option in (("redis", ""), ("sentinel", "--sentinel")):
        lab.run(FRONT, f"cat > /run/systemd/system/shared-{unit_}@.service", input=SERVICE.format(option=option))
    lab.run(FRONT, ["systemctl", "daemon-reload"])
    lab.run(FRONT, ["systemctl", "restart", *(f"shared-redis@{name}" for name in SERVERS)])
    ready.wait("a replica", lambda: followed(lab, SERVERS["first"]))
    lab.run(FRONT, ["systemctl", "restart", *(f"shared-sentinel@{name}" for name in SENTINELS)])
    ready.wait("the sentinels", lambda: all(watched(lab, port) for port in SENTINELS.values()))


@pytest.fixture(scope="module")
def split(lab: Lab) -> Split:
    """From two mailers that had all stages each."""
    lab.run(FRONT, MAKE)
    for path in (CERTIFICATE, KEY):
        lab.run(BACK, f"umask 077; cat > {path}", input=lab.run(FRONT, ["cat", path]).stdout)
    start_servers(lab)
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


def test_slow_destinations_have_a_way_of_their_own(lab: Lab, split: Split, token: str) -> None:
    """Of the pool's two ways they take the slow one; here nobody knows either of the domains."""
    pool = "out4-corp-example"
    for domain, way in (("orange.fr", f"{pool}-slow"), ("orange.test", pool)):
        uuid = fresh(token, way[-4:])
        somebody = f"{uuid}@{domain}"
        content = letter(FRONT, uuid, to=somebody).replace("X-Stream-Id: orders", "X-Stream-Id: news")
        assert answer(lab, FRONT, uuid, [somebody], content=content)[0] == 250
        assert events(lab, BACK, uuid)[0]["event"] == "bounce"
        (line,) = logged(lab, f": to=<{somebody}>, ")
        assert f" postfix/{way}/smtp[" in line
    names = ["concurrency_limit", "recipient_limit", "rate_delay", "concurrency_failed_cohort_limit"]
    limits = ["postconf", "-h", *(f"{pool}-slow_destination_{name}" for name in names), "maximal_queue_lifetime"]
    assert lab.run(BACK, limits).stdout.split() == ["3", "20", "5s", "10", "12h"]


def test_a_policy_for_tls_is_heeded(lab: Lab, split: Split, token: str) -> None:
    """Where the certificate is of another name than it says, mail waits."""
    setting = "smtp_tls_policy_maps"
    before = lab.run(BACK, ["postconf", "-h", setting]).stdout.strip()
    uuid = fresh(token, "kept")
    lab.run(BACK, ["postconf", "-e", f"{setting} = inline:{{ {{ outside.test = secure match=mx.stranger.test }} }}"])
    lab.run(BACK, "postfix reload")
    try:
        assert answer(lab, FRONT, uuid)[0] == 250
        event = events(lab, BACK, uuid)[0]
        assert event["type"] == "soft" and "certificate not verified" in event["reason"], event
    finally:
        lab.run(BACK, ["postconf", "-e", f"{setting} = {before}"])
        lab.run(BACK, "postfix reload")
    lab.run(BACK, "postqueue -f")
    assert lab.wait_for_message(uuid).recipient == RCPT
    assert any(
        "Verified TLS connection established to mx.outside.test" in line for line in logged(lab, "TLS connection")
    )


def test_dane_is_heeded(lab: Lab, split: Split, policies: None, token: str) -> None:
    """While the server's TLSA record is of another key, mail waits; with the right one it is sent, and was verified."""
    name, uuid, since = "_25._tcp.mx.outside.test.", fresh(token), time.time()
    somebody = f"{uuid}@right.outside.test"
    lab.update(name, "TLSA", [tlsa(lab, "stranger")])
    try:
        assert answer(lab, FRONT, uuid, [somebody])[0] == 250
        event = events(lab, BACK, uuid)[0]
        assert event["type"] == "soft" and "certificate not verified" in event["reason"], event
        lab.update(name, "TLSA", [tlsa(lab, "outside")])
        ready.wait("the message", lambda: sent(lab, BACK, uuid))
        assert lab.wait_for_message(uuid).recipient == somebody
        log = lab.journal(BACK, "postfix*", since=f"@{int(since)}")
        assert "no matching DANE TLSA records" in log
        assert "Verified TLS connection established to mx.outside.test[" in log
    finally:
        lab.update(name, "TLSA", [])


def tlsa(lab: Lab, host: str) -> str:
    """The record for the key of a host's certificate, whoever issued it (RFC 7671, section 5.1)."""
    key = "openssl x509 -in /etc/ssl/certs/lab-host.pem -pubkey -noout | openssl pkey -pubin -outform DER | sha256sum"
    return f"3 1 1 {lab.run(host, key).stdout.split()[0]}"


def test_nobody_looks_for_policies_where_dane_counts(lab: Lab, split: Split) -> None:
    """Who did so before is at rest. On the other host, whose Postfix keeps what it had, so does it."""
    for host, listening, states in (
        (BACK, set(), ["inactive", "disabled"]),
        (FRONT, {"127.0.0.1:8461"}, ["active", "enabled"]),
    ):
        assert lab.listeners(host, 8461) == listening
        said = [
            lab.run(host, ["systemctl", what, RESOLVER], check=False).stdout.strip()
            for what in ("is-active", "is-enabled")
        ]
        assert said == states
    assert lab.run(BACK, ["postconf", "-h", "smtp_tls_policy_maps"]).stdout.strip() == "lmdb:/etc/postfix/tls_policy"
    assert lab.run(BACK, "ls /etc/postmaster-mailer/mta-sts.yaml", check=False).returncode == 2


def logged(lab: Lab, text: str) -> list[str]:
    """Lines of Postfix's log that have a text in them."""
    return lab.run(BACK, ["journalctl", "-q", "-u", "postfix*", "--grep", re.escape(text)]).stdout.splitlines()


def test_a_host_that_is_taken_out_keeps_no_mail(lab: Lab, split: Split, token: str) -> None:
    """What its Postfix could not send is in the queue again, and is sent by who delivers next."""
    uuid, delivery = fresh(token), unit("postfix")
    assert answer(lab, FRONT, uuid, [FULL])[0] == 250
    assert events(lab, BACK, uuid)[0]["type"] == "soft"
    lab.run(BACK, ["systemctl", "stop", delivery, "postfix"])
    try:
        assert json.loads(lab.run(BACK, ["mailerctl", "push-back", "--json"]).stdout)["back"] == 1
        # A file that is not executable is no message yet: one that was being written when Postfix was killed (test_6).
        messages = "find /var/spool/postfix/deferred /var/spool/postfix/incoming -type f -perm /100"
        assert lab.run(BACK, messages).stdout == ""
        streams = {one["name"]: one for one in json.loads(lab.run(FRONT, ["mailerctl", "status", "--json"]).stdout)}
        assert (streams["outgoing"]["waiting"], streams["outgoing"]["working"]) == (1, 0)
        with room(lab):
            lab.run(BACK, ["systemctl", "start", "postfix", delivery])
            assert lab.wait_for_message(uuid).recipient == FULL
    finally:
        lab.run(BACK, ["systemctl", "start", "postfix", delivery])
    ready.wait("the delivery", lambda: events(lab, BACK, uuid)[-1]["event"] == "delivered")


def test_redis_takes_who_shows_all_three(lab: Lab, split: Split) -> None:
    """TLS, a certificate, and the user, who may do no more than the mailer does."""
    port = SERVERS["first"]
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


def test_nothing_is_lost_when_the_primary_dies(lab: Lab, split: Split, token: str) -> None:
    """While mail comes in at one host and goes out at the other, and all of it is told of."""
    mark, end = fresh(token), f"/run/{token}"
    known = {"endless": end, "least": 50, "clients": 5, "pause": 0.1, "patience": 600, "timeout": 900}
    known |= {"token": mark, "recipients": [RCPT], "content": letter(FRONT, "{uuid}")}
    ready.wait("a primary", lambda: primary(lab) > 0)
    old = primary(lab)
    name = next(name for name, port in SERVERS.items() if port == old)
    with ThreadPoolExecutor(1) as pool:
        application = pool.submit(lambda: hand_in(lab, FRONT, **known))
        try:
            ready.wait("mail", lambda: bool(arrivals(lab, mark)))
            lab.run(FRONT, ["systemctl", "kill", "--signal=KILL", f"shared-redis@{name}"])
            ready.wait("another primary", lambda: primary(lab) not in (0, old))
            before = set(arrivals(lab, mark))
            lab.run(FRONT, ["systemctl", "restart", f"shared-redis@{name}"])
            ready.wait("a replica", lambda: followed(lab, primary(lab)), timeout=300)
            ready.wait("more mail", lambda: len(set(arrivals(lab, mark)) - before) > 20)
        finally:
            lab.run(APPLICATION, ["touch", end])
        answers = application.result()["answers"]
    assert {code for code, dummy in answers.values()} == {250}
    ready.wait(f"{len(answers)} messages", lambda: set(arrivals(lab, mark)) >= set(answers))
    found = arrivals(lab, mark)
    # What the primary did last, without its replica, is done again.
    print(f"{len(answers)} messages, a failover, {found.total() - len(found)} more than once")
    assert set(found) == set(answers)
    ready.wait("the events", lambda: {one.get("uuid") for one in told(lab, BACK)} >= set(answers))
