# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Later runs: what changes, what is refused, and what goes on after a daemon was killed."""

from __future__ import annotations

from typing import Any

import pytest
from lab.probe import Lab
from listhosts import DOMAINS, HOSTS, converge, rest, settings, until

LISTS: list[dict[str, Any]] = [
    {"name": "talk@{{ lists_domain }}", "description": "Talk", "settings": {"emergency": True}}
]


def pids(lab: Lab, host: str) -> str:
    """The main processes."""
    return lab.run(host, "systemctl show --value -p MainPID mailman3 mailman3-web nginx").stdout


def test_a_change_of_a_list_touches_that_list_alone(lab: Lab) -> None:
    host = "mail-12"
    before = pids(lab, host)
    made = [
        "runuser",
        "-u",
        "list",
        "--",
        "mailman",
        "-C",
        "/etc/mailman3/mailman.cfg",
        "create",
        f"other@{DOMAINS[host]}",
    ]
    lab.run(host, made)
    played = converge(lab, limit=host, extra={"mailing_lists": LISTS})
    assert played.changed == {host: ["Have the lists"]} and pids(lab, host) == before
    assert (settings(lab, host, "talk")["description"], settings(lab, host, "talk")["emergency"]) == ("Talk", True)
    names = {entry["list_name"] for entry in rest(lab, host, "/lists")["entries"]}
    assert names == {"talk", "news", "other"}  # those that are not named stay
    converge(lab, limit=host, extra={"mailing_lists": LISTS, "mailing_lists_purge": True})
    assert {entry["list_name"] for entry in rest(lab, host, "/lists")["entries"]} == {"talk"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mailing_lists_mailman_settings": {"mta": {"no_such": "x"}}}, "Mailman does not accept its configuration"),
        ({"mailing_lists_arc_key": "/etc/dkimkeys/nosuch.key"}, "Mailman does not accept its configuration"),
        ({"mailing_lists_arc_selector": ""}, "mailing_lists_arc_selector go together: set all or none"),
        ({"relay_hostname": "lists.example.org"}, "whose role sets up Postfix: set it to false"),
        ({"mailing_lists_web_settings": "x = ("}, "the settings of the web pages are no Python"),
        ({"mailing_lists_upload_limit": "lots"}, "nginx does not accept its configuration"),
        ({"mailing_lists_postfix_settings": {"relay_domains": "x"}}, "relay_domains is set by this role"),
        (
            {"mailing_lists": [{"name": "a@b.example", "settings": {"emergency": "maybe"}}]},
            "a@b.example: emergency: 'maybe' will not do",
        ),
    ],
    ids=["mailman", "key", "seal", "relay", "web", "nginx", "postfix", "list"],
)
def test_what_a_daemon_does_not_take_changes_nothing(lab: Lab, given: dict[str, Any], said: str) -> None:
    host = "mail-13"
    files = (
        "/etc/mailman3/*.cfg /etc/mailman3/*.py /etc/nginx/conf.d/* /etc/postfix/main.cf /etc/postfix/mailing_lists_*"
    )
    state = f"cat {files} | sha256sum"
    before = (pids(lab, host), lab.run(host, state).stdout)
    played = converge(lab, limit=host, extra=given, must_pass=False)
    assert said in played.failures[host]
    assert (pids(lab, host), lab.run(host, state).stdout) == before


@pytest.mark.parametrize("host", HOSTS)
def test_a_mailman_that_was_killed_comes_back(lab: Lab, host: str) -> None:
    lab.run(host, "systemctl kill -s KILL mailman3")
    until(
        "the API answers again", lambda: lab.run(host, "systemctl is-active mailman3", check=False).stdout == "active\n"
    )

    def answers() -> bool:
        try:
            return "entries" in rest(lab, host, "/lists")
        except AssertionError:  # nobody listens yet
            return False

    until("the API answers again", answers)
