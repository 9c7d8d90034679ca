# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The web pages, as a browser on another host sees them."""

from __future__ import annotations

import pytest
from lab.probe import Lab
from listhosts import ADMIN, DOMAINS, HOSTS, browse


@pytest.mark.parametrize("host", HOSTS)
def test_pages_come_by_https_and_the_inner_ones_do_not_come(lab: Lab, host: str) -> None:
    site, talk = lab.fqdn(host), f"talk@{DOMAINS[host]}"
    urls = {
        f"http://{site}/postorius/lists/": 301,
        f"https://{site}/postorius/lists/": 200,
        f"https://{site}/hyperkitty/list/{talk}/": 200,
        f"https://{site}/mailman3/static/postorius/css/style.css": 200,
        f"https://{site}/hyperkitty/api/mailman/urls?mlist={talk}": 404,
        f"https://{site}/admin/": 302,
    }
    answers = dict(zip(urls, browse(lab, "stranger", urls=list(urls)), strict=True))
    assert {url: answer["status"] for url, answer in answers.items()} == urls
    assert answers[f"http://{site}/postorius/lists/"]["location"] == f"https://{site}/postorius/lists/"
    assert talk.partition("@")[0] in answers[f"https://{site}/postorius/lists/"]["text"]


@pytest.mark.parametrize("host", HOSTS)
def test_the_administrator_logs_in_and_nobody_else_does(lab: Lab, host: str) -> None:
    url = f"https://{lab.fqdn(host)}/accounts/login/"
    (good,) = browse(lab, "stranger", login_url=url, login=ADMIN)
    assert (good["status"], "sessionid" in good["cookies"]) == (302, True), good["text"][:2000]
    assert "confirm-email" not in good["location"]
    (bad,) = browse(lab, "stranger", login_url=url, login=[ADMIN[0], "another"])
    assert (bad["status"], "sessionid" in bad["cookies"]) == (200, False)


@pytest.mark.parametrize("host", HOSTS)
def test_nobody_else_reaches_what_is_meant_for_the_host(lab: Lab, host: str) -> None:
    reach = "import socket, sys\nfor port in sys.argv[2:]:\n socket.create_connection((sys.argv[1], int(port)), 20)"
    inner = ["8001", "8024", "8025"]
    for port in inner:
        said = lab.run("stranger", ["python3", "-c", reach, lab.address(host), port], check=False)
        assert "ConnectionRefusedError" in said.stderr, said
    assert lab.run(host, ["python3", "-c", reach, "127.0.0.1", *inner]).stderr == ""
    assert lab.run("stranger", ["python3", "-c", reach, lab.address(host), "443"]).stderr == ""
