# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The diagnosis finds nothing on sound satellites, and each planted fault at its step with nothing else wrong."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from lab import ready
from lab.plays import Played, play
from lab.probe import Lab

from .conftest import ESTATE, HOSTS

PLAYBOOK = ESTATE.parents[2] / "playbooks" / "diagnose.yml"
RELAYS = {
    "sat-postfix-12": "outside",
    "sat-exim-13": "outside",
    "sat-postfix-13": "provider",
    "sat-exim-12": "provider",
}
# No other host's log is given, and a minimal Debian has no ping.
SKIPPED = {"ping": "skipped", "gateway": "skipped"}
KEEP, PUT_BACK = "mkdir /run/kept && cp -p {}* /run/kept", "cp -p /run/kept/* {} && rm -r /run/kept"
FOLDER = {"postfix": "/etc/postfix", "exim": "/etc/exim4"}
SPOIL_PASSWORD = {
    kind: f"{KEEP.format(path)} && sed -i 's/:[^:]*$/:wrong/' {path} && {then} {path}"
    for kind, path, then in (
        ("postfix", "/etc/postfix/satellite_password", "postmap"),
        ("exim", "/etc/exim4/passwd.client", "test -f"),
    )
}
# What lies between a host and its relay, by which mail that is sent in that time stays on the host.
BLOCK = "ip route add unreachable {v4} && ip -6 route add unreachable {v6}"
UNBLOCK = "ip route del unreachable {v4} && ip -6 route del unreachable {v6}"


def verdicts(played: Played) -> dict[str, dict[str, str]]:
    """The verdicts of each table that was shown, by its title and step, those that are ok left out."""
    found: dict[str, dict[str, str]] = {}
    title = ""
    for line in played.output.splitlines():
        if re.fullmatch(r"[a-z0-9-]+\.[a-z.]+(, on the sessions of .*)?", line):
            title = line
            found[title] = {}
        elif title and (match := re.match(r"  (ok|warn|fail|unknown|skipped) +([a-z]+)  ", line)):
            if match[1] != "ok":
                found[title][match[2]] = match[1]
        elif not line.startswith("  "):
            title = ""
    return found


def diagnose(lab: Lab, *inventories: Path, must_pass: bool = False, **extra: object) -> Played:
    return play(lab, PLAYBOOK, inventories=[ESTATE, *inventories], extra=extra, must_pass=must_pass)


def send(lab: Lab, token: str) -> None:
    for host in HOSTS:
        lab.run(host, ["sendmail", "-f", "alex@corp.example", "root"], input=f"Subject: {token}\n\n{host}\n")


def program(host: str) -> str:
    return host.split("-")[1]


@dataclass(frozen=True)
class Fault:
    """What is done to each host, or to its relay, and where it shows; ``seen`` is part of what is told then."""

    expected: dict[str, str]
    seen: dict[str, str]  # by host
    do: dict[str, str]
    undo: dict[str, str]
    extra: dict[str, str] = field(default_factory=dict)


def same(command: str, hosts: tuple[str, ...] = HOSTS) -> dict[str, str]:
    return dict.fromkeys(hosts, command)


WITH_LOGIN = tuple(host for host in HOSTS if RELAYS[host] == "provider")
AFTER_PORT = dict.fromkeys(("smtp", "tls", "recipient"), "skipped")
FAULTS = {
    "gateway's name not resolving": Fault(
        {"resolve": "fail", "port": "skipped", **AFTER_PORT},
        same("has no address"),
        same("cp /etc/resolv.conf /run/resolv.conf.kept && echo nameserver 127.0.0.1 > /etc/resolv.conf"),
        same("cp /run/resolv.conf.kept /etc/resolv.conf"),
    ),
    "port shut": Fault(
        {"port": "fail", **AFTER_PORT},
        same("connection refused"),
        {"outside": "systemctl stop postfix", "provider": "systemctl stop postfix"},
        {"outside": "systemctl start postfix", "provider": "systemctl start postfix"},
    ),
    "wrong mailname": Fault(
        {"mailname": "fail"},
        same("/etc/mailname says wrong.example, not corp.example"),
        same("echo wrong.example > /etc/mailname"),
        same("echo corp.example > /etc/mailname"),
    ),
    "no root alias": Fault(
        {"aliases": "fail", "recipient": "skipped"},
        same("/etc/aliases does not say where mail to root goes"),
        same(KEEP.format("/etc/aliases") + " && sed -i '/^root:/d' /etc/aliases && newaliases"),
        same(PUT_BACK.format("/etc")),
    ),
    # Without a login outside takes mail for its own domain alone; the provider takes any, after a login that holds.
    "relay refused": Fault(
        {"recipient": "fail"},
        {host: "does not take the login: 535" if host in WITH_LOGIN else "Relay access denied" for host in HOSTS},
        {host: SPOIL_PASSWORD[program(host)] for host in WITH_LOGIN},
        {host: PUT_BACK.format(FOLDER[program(host)]) for host in WITH_LOGIN},
        {"diagnose_recipient": "someone@elsewhere.test"},
    ),
}  # fmt: skip


@contextmanager
def planted(lab: Lab, fault: Fault) -> Iterator[None]:
    for host, command in fault.do.items():
        lab.run(host, command)
    try:
        yield
    finally:
        for host, command in fault.undo.items():
            lab.run(host, command)
        for relay, port in (("outside", 25), ("provider", 587)):
            ready.wait(f"{relay}'s port {port}", lambda relay=relay, port=port: bool(lab.listeners(relay, port)))


@pytest.fixture(scope="module")
def sound(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Every host has just delivered a message; outside, which is no relay of ours, is asked as one."""
    send(lab, "before-the-diagnosis")
    lab.wait_for_messages("before-the-diagnosis", len(HOSTS))
    relays = tmp_path_factory.mktemp("relays") / "relays.yml"
    relays.write_text(
        textwrap.dedent(
            """\
            relays:
              hosts:
                outside:
                  relay_hostname: mx.outside.test
            """
        ),
        encoding="utf-8",
    )
    return diagnose(lab, relays, must_pass=True)


def test_a_sound_host_is_sound(lab: Lab, sound: Played, host: str) -> None:
    assert verdicts(sound)[lab.fqdn(host)] == SKIPPED
    assert f"Nothing wrong was found on {lab.fqdn(host)}, whose mail leaves through" in sound.output
    assert sound.changed == {}


def test_the_relay_s_side_is_shown_where_it_is_known(lab: Lab, sound: Played) -> None:
    titles = [title for title in verdicts(sound) if "on the sessions of" in title]
    direct = [host for host in HOSTS if RELAYS[host] == "outside"]
    assert len(titles) == len(direct)
    for host in direct:
        (title,) = (title for title in titles if title.endswith(f", {lab.fqdn(host)}"))
        assert title.startswith(f"{lab.fqdn('outside')}, on the sessions of {lab.address(host)}")
        assert verdicts(sound)[title] == {}
    assert "passwor" not in sound.output


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found_at_its_step(lab: Lab, sound: Played, name: str) -> None:
    fault = FAULTS[name]
    with planted(lab, fault):
        played = diagnose(lab, **fault.extra)
    found = verdicts(played)
    assert {host: found[lab.fqdn(host)] for host in HOSTS} == dict.fromkeys(HOSTS, SKIPPED | fault.expected)
    assert set(played.failures) == set(HOSTS)
    for host, conclusion in played.failures.items():
        assert fault.seen[host] in conclusion
    assert played.changed == {}
    assert str(lab.known["provider"]["password"]) not in played.output


def test_mail_that_waits_is_found_in_the_queue(lab: Lab, sound: Played, token: str) -> None:
    """It was sent while there was no way to the relay, which there is again."""
    ways = {host: {"v4": lab.address(relay), "v6": lab.address(relay, version=6)} for host, relay in RELAYS.items()}
    waits = {
        "postfix": "postqueue -j | grep -q delay_reason",
        "exim": "id=$(exim4 -bp | awk '/</ { print $3; exit }') && grep -q \"$id == \" /var/log/exim4/mainlog",
    }
    again = {"postfix": "postqueue -f", "exim": "exim4 -qff"}
    for host, way in ways.items():
        lab.run(host, BLOCK.format(**way))
    try:
        send(lab, token)
        for host in HOSTS:
            command = waits[program(host)]
            ready.wait(
                f"mail that waits on {host}",
                lambda host=host, command=command: not lab.run(host, command, check=False).returncode,
            )
    finally:
        for host, way in ways.items():
            lab.run(host, UNBLOCK.format(**way))
    found = verdicts(played := diagnose(lab, must_pass=True))
    late = diagnose(lab, diagnose_queue_age=0)
    told = looked_at(lab)
    for host in HOSTS:
        lab.run(host, again[program(host)])
    lab.wait_for_messages(token, len(HOSTS))
    assert {host: found[lab.fqdn(host)] for host in HOSTS} == {host: {**SKIPPED, "queue": "warn"} for host in HOSTS}
    assert played.output.count("1 message waits, the oldest for 0 min") >= len(HOSTS)
    assert {lab.fqdn(host) for host in late.failures} == {lab.fqdn(host) for host in HOSTS}
    assert all("Mail waits on" in conclusion for conclusion in late.failures.values())
    for host in HOSTS:
        for pattern in (*LOOKS, f"{program(host).capitalize()} "):
            assert re.search(pattern, told[host], re.MULTILINE), (host, pattern, told[host])


def looked_at(lab: Lab) -> dict[str, str]:
    """What the playbooks host and explain, in one run, tell of each host."""
    extra = {"explain_hosts": "satellites", "explain_recipients": ["outside.test"]}
    explain = str(PLAYBOOK.with_name("explain.yml"))
    said = play(lab, PLAYBOOK.with_name("host.yml"), inventories=[ESTATE], options=[explain], extra=extra)
    assert said.changed == {}
    found = {}
    for host in HOSTS:
        title = f"{re.escape(lab.fqdn(host))}: "
        found[host] = "".join(
            re.findall(rf"^{title}.*?(?=^\S+\.example: |^ok: )", said.output, re.MULTILINE | re.DOTALL)
        )
    return found


# Who listens, what waits and why, and what the log says of it.
LOOKS = (
    r"^  25 +127\.0\.0\.1\S* .* smtp ",
    "^Queue: 1 waiting, the oldest for ",
    "^  1 x unreachable: ",
    r"^ +\d+ x unreachable: .*\n +\d+ deferred; .* still wait",
    r"^  root@corp\.example ",
)


def test_after_all_of_it_a_sound_host_is_sound_again(lab: Lab, sound: Played) -> None:
    found = verdicts(diagnose(lab, must_pass=True))
    assert {host: found[lab.fqdn(host)] for host in HOSTS} == dict.fromkeys(HOSTS, SKIPPED)
