# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first runs: what check mode foresees on bare hosts, what the first one makes, that the second changes nothing."""

from __future__ import annotations

import pytest
from conftest import First
from lab.probe import Lab
from listhosts import ADMIN, DATABASES, DOMAINS, HOSTS, rest, roster, settings

UNITS = ("mailman3", "mailman3-web", "nginx", "postfix")
SECRETS = ("rest", "django", "archiver")


def test_check_mode_on_bare_hosts_foresees_the_first_run(first: First) -> None:
    assert (first.foreseen.failures, first.left) == ({}, "")
    for host in HOSTS:
        assert set(first.foreseen.changed[host]) - {"Say which packages would be installed"} <= set(
            first.done.changed[host]
        )
        assert {"Configure Postfix", "Have the lists"} <= set(first.foreseen.changed[host]), first.foreseen.changed


def test_the_second_run_changes_nothing(first: First) -> None:
    assert (first.done.failures, first.second.changed) == ({}, {})


@pytest.mark.parametrize("host", HOSTS)
def test_all_runs_and_starts_with_the_host(lab: Lab, host: str) -> None:
    for question, answer in (("is-active", "active"), ("is-enabled", "enabled")):
        assert lab.run(host, ["systemctl", question, *UNITS], check=False).stdout.split() == [answer] * len(UNITS)
    assert lab.run(host, "systemctl --failed --plain --no-legend").stdout == ""


@pytest.mark.parametrize("host", HOSTS)
def test_secrets_are_the_hosts_own_and_nobody_elses_to_read(lab: Lab, first: First, host: str) -> None:
    secrets = [lab.run(host, ["cat", f"/etc/mailman3/secrets/{name}"]).stdout for name in SECRETS]
    assert len(set(secrets)) == 3 and all(len(secret) == 48 for secret in secrets)
    for played in (first.foreseen, first.done, first.second):
        assert not [secret for secret in (*secrets, ADMIN[1]) if secret in played.output]
    # Whoever is neither root nor one of the two daemons finds none of them.
    files = lab.run(host, "find /etc -type f", timeout=60).stdout
    assert "/etc/mailman3/mailman.cfg\n" in files
    found = lab.run(
        host,
        ["runuser", "-u", "nobody", "--", "grep", "-rlsF", *(f"-e{secret}" for secret in secrets), "/etc"],
        check=False,
    )
    assert found.stdout == ""
    modes = lab.run(
        host,
        "cd /etc/mailman3 && stat -c '%n %a %U:%G' secrets secrets/rest mailman.cfg mailman-hyperkitty.cfg"
        " mailman-web.py",
    )
    assert modes.stdout.splitlines() == [
        "secrets 700 root:root",
        "secrets/rest 600 root:root",
        "mailman.cfg 640 root:list",
        "mailman-hyperkitty.cfg 640 root:list",
        "mailman-web.py 640 root:www-data",
    ]


@pytest.mark.parametrize("host", HOSTS)
def test_the_lists_are_as_described(lab: Lab, host: str) -> None:
    names = {entry["fqdn_listname"] for entry in rest(lab, host, "/lists")["entries"]}
    assert names == {f"talk@{DOMAINS[host]}", f"news@{DOMAINS[host]}"}
    talk, news = settings(lab, host, "talk"), settings(lab, host, "news")
    assert (talk["description"], talk["dmarc_mitigate_action"], talk["archive_policy"]) == (
        "Talk, and more: talk",
        "munge_from",
        "public",
    )
    assert (news["allow_list_posts"], news["dmarc_mitigate_action"], news["archive_policy"]) == (
        False,
        "munge_from",
        "private",
    )
    assert set(roster(lab, host, "news", "owner")) == {"owner@outside.test", "second@outside.test"}


@pytest.mark.parametrize("host", HOSTS)
def test_each_host_has_the_database_that_it_was_given(lab: Lab, host: str) -> None:
    """Core's is asked for the lists, that of the web pages for the name of the site."""
    asked = [
        ("list", "mailman3", "/var/lib/mailman3/data/mailman.db", "SELECT count(*) FROM mailinglist", "2"),
        (
            "www-data",
            "mailman3web",
            "/var/lib/mailman3/web/mailman3web.db",
            "SELECT domain FROM django_site",
            lab.fqdn(host),
        ),
    ]
    for user, database, file, question, answer in asked:
        if DATABASES[host] == "postgresql":
            words = ["runuser", "-u", user, "--", "psql", "-h", "/run/postgresql", "-AtXc", question, database]
        else:
            program = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchone()[0])"
            words = ["python3", "-c", program, file, question]
        assert lab.run(host, words).stdout == f"{answer}\n"
    here = lab.run(host, ["test", "-e", "/var/lib/mailman3/data/mailman.db"], check=False).returncode == 0
    assert here == (DATABASES[host] == "sqlite")


@pytest.mark.parametrize("host", HOSTS)
def test_mailmans_own_programs_accept_what_is_there(lab: Lab, host: str) -> None:
    said = lab.run(
        host,
        [
            "runuser",
            "-u",
            "list",
            "--",
            "mailman",
            "-C",
            "/etc/mailman3/mailman.cfg",
            "conf",
            "-s",
            "mta",
            "-k",
            "lmtp_port",
        ],
    )
    assert said.stdout.strip().endswith("8024")
    assert lab.listeners(host, 8024) == {"127.0.0.1:8024"}
    assert lab.run(host, "nginx -t -q && postfix check").returncode == 0
