# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run says it did is what it did: nothing the second time, the drift and no more after that."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from lab.plays import Played
from lab.probe import Lab

from .conftest import HOSTS, OBSTACLES

KEPT = ("Keep what works before anything is changed", "Keep what works with Postfix", "Keep what works with Exim")
PROGRAM = {host: "Postfix" if "postfix" in host else "Exim" for host in HOSTS}
REACH = 6


def changed(played: Played) -> dict[str, list[str]]:
    """Changed tasks by host, without those that keep the configuration."""
    return {host: [task for task in tasks if task not in KEPT] for host, tasks in played.changed.items()}


@pytest.mark.parametrize("name", OBSTACLES)
def test_what_stands_in_the_way_is_named_and_nothing_is_changed(refused: dict[str, Played], name: str) -> None:
    """Each host is as it was before, then, and the run that follows passes: the first one below."""
    for host in OBSTACLES[name].hosts:
        assert OBSTACLES[name].says in refused[name].failures[host], refused[name].failures
    assert set(refused[name].failures) == set(HOSTS)
    assert refused[name].changed == {}


def test_without_it_the_run_passes(runs: dict[str, Played]) -> None:
    assert (runs["first"].code, set(runs["first"].changed)) == (0, set(HOSTS))


def test_check_mode_on_bare_hosts_foresees_the_first_run(runs: dict[str, Played]) -> None:
    assert runs["foreseen"].failures == {}
    configured = {host: f"Configure {PROGRAM[host]}" for host in HOSTS if host in runs["first"].changed}
    assert all(task in runs["foreseen"].changed[host] for host, task in configured.items())


def test_the_second_run_changes_nothing(runs: dict[str, Played]) -> None:
    assert runs["second"].changed == {}


def test_hosts_are_taken_a_few_at_a_time(runs: dict[str, Played]) -> None:
    assert [runs[name].output.count("PLAY [Satellites]") for name in ("first", "second")] == [1, 2]


def test_the_second_run_needs_few_tasks(runs: dict[str, Played]) -> None:
    assert {host: len(tasks) <= REACH for host, tasks in runs["second"].remote.items()} == dict.fromkeys(HOSTS, True)


SPOIL = {
    "Postfix": """
        sed -i 's/^relayhost.*/relayhost = [elsewhere.test]:25/' /etc/postfix/main.cf
        chmod 0666 /etc/postfix/satellite_domain
        systemctl stop postfix
        while pgrep -x master; do sleep .1; done""",
    "Exim": """
        sed -i "s/^dc_smarthost.*/dc_smarthost='elsewhere.test'/" /etc/exim4/update-exim4.conf.conf
        chmod 0666 /etc/exim4/passwd.client
        systemctl stop exim4
        while pgrep -x exim4; do sleep .1; done""",
}


def test_drift_is_mended_and_no_more_reported(lab: Lab, converge: Callable[..., Played], token: str) -> None:
    """One managed line, one mode, one stopped service, made by hand on every host."""
    for host in HOSTS:
        lab.run(host, f"set -e{SPOIL[PROGRAM[host]]}")
    mended = converge()
    program = PROGRAM.items()
    assert changed(mended) == {
        host: [f"Configure {name}", f"Start {name} now and at boot", f"Check {name}"] for host, name in program
    }
    for line in ("+relayhost = [mx.outside.test]:25", "-dc_smarthost='elsewhere.test'", "mode 0666"):
        assert line in mended.output
    for host in HOSTS:
        lab.run(host, ["sendmail", "-f", "alex@corp.example", "root"], input=f"Subject: {token}\n\n{host}\n")
    lab.wait_for_messages(token, len(HOSTS))


def test_check_mode_foresees_what_the_run_does(lab: Lab, converge: Callable[..., Played], token: str) -> None:
    """Hosts that from now on speak IPv6 alone."""
    variables = {"satellite_inet_protocols": "ipv6", "satellite_queue_lifetime": "3d"}
    foreseen, done = converge(check=True, extra=variables), converge(extra=variables)
    try:
        assert foreseen.changed == done.changed
        assert changed(done) == {
            host: [f"Configure {name}", f"Check {name}", f"Bring {name} up to date"] for host, name in PROGRAM.items()
        }
        for host in HOSTS:
            assert lab.run(host, "ss -Hltn sport = :25").stdout.split()[3:] == ["[::1]:25", "[::]:*"]
            lab.run(host, ["sendmail", "-f", "alex@corp.example", "root"], input=f"Subject: {token}\n\n{host}\n")
        hops = [" ".join(message.received) for message in lab.wait_for_messages(token, len(HOSTS))]
        for host in HOSTS:
            assert sum(f"[IPv6:{lab.address(host, version=6)}]" in hop for hop in hops) == 1, (host, hops)
    finally:
        converge()


@pytest.mark.parametrize("program", ["Postfix", "Exim"])
def test_a_killed_run_is_completed_by_the_next(lab: Lab, converge: Callable[..., Played], program: str) -> None:
    """The files are in place, the daemon knows nothing of it, and a restart alone tells it where to listen."""
    host, variable = f"sat-{program.lower()}-13", {"satellite_inet_protocols": "ipv4"}
    assert lab.listeners(host) == {"127.0.0.1:25", "[::1]:25"}
    try:
        converge(limit=host, extra=variable, kill_after=f"Configure {program}")
        assert lab.listeners(host) == {"127.0.0.1:25", "[::1]:25"}
        foreseen, done = (converge(limit=host, extra=variable, check=check) for check in (True, False))
        mended = {host: [f"Configure {program}", f"Check {program}", f"Bring {program} up to date"]}
        assert (changed(foreseen), changed(done)) == (mended, mended)
        assert lab.listeners(host) == {"127.0.0.1:25"}
        assert converge(limit=host, extra=variable).changed == {}
    finally:
        converge(limit=host)


BROKEN = [
    ({"satellite_relay": "mx outside.test"}, "satellite_relay: 'mx outside.test' is no host name"),
    ({"satellite_tls_ca_file": "/etc/ssl/none.pem"}, "satellite_tls_ca_file: /etc/ssl/none.pem is not there"),
    ({"satellite_tls": "sometimes"}, "satellite_tls"),
]


@pytest.mark.parametrize(("variables", "says"), BROKEN, ids=lambda value: str(value)[:24])
def test_a_broken_value_is_named_and_stops_the_run(
    lab: Lab, converge: Callable[..., Played], variables: dict[str, str], says: str
) -> None:
    failed = converge(extra=variables, must_pass=False)
    assert set(failed.failures) == set(HOSTS)
    assert all(says in text for text in failed.failures.values()), failed.failures
    assert failed.changed == {}


RUIN = {
    "Postfix": "echo 'smtpd_helo_restritions = permit' >> /etc/postfix/main.cf",
    "Exim": "echo 'begn_nothing = true' > /etc/exim4/conf.d/main/99_ruin",
}
REPAIR = {
    "Postfix": "sed -i '/^smtpd_helo_restritions/d' /etc/postfix/main.cf",
    "Exim": "rm /etc/exim4/conf.d/main/99_ruin",
}
SAYS = {"Postfix": "smtpd_helo_restritions", "Exim": "begn_nothing"}


@pytest.fixture
def ruined(lab: Lab) -> Iterator[None]:
    """A line of somebody else's in each configuration, which the daemon does not accept."""
    for host in HOSTS:
        lab.run(host, RUIN[PROGRAM[host]])
    yield
    for host in HOSTS:
        lab.run(host, REPAIR[PROGRAM[host]])


@pytest.mark.usefixtures("ruined")
def test_what_the_daemon_refuses_is_named_and_the_daemon_goes_on(
    lab: Lab, converge: Callable[..., Played], token: str
) -> None:
    failed = converge(extra={"satellite_queue_lifetime": "4d"}, must_pass=False)
    assert set(failed.failures) == set(HOSTS)
    for host, said in failed.failures.items():
        assert SAYS[PROGRAM[host]] in said
        text = f"From: alex@corp.example\nSubject: {token}\n\n{host}\n"
        taken = lab.smtp(
            host, host, server="127.0.0.1", source="127.0.0.1",
            sender="alex@corp.example", recipients="root", message=text,
        )  # fmt: skip
        assert taken.accepted, taken
    lab.wait_for_messages(token, len(HOSTS))
