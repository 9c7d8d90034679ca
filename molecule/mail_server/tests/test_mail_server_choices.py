# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The other side of each switch: a smarthost, Maildirs, strangers without a name sent away, the web interface."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab.probe import Lab
from servers import DOMAINS, HOSTS, arrive, converge, send, wait_for

WORD = "let me see"

pytestmark = pytest.mark.parametrize("host", HOSTS)


@pytest.fixture(scope="module", autouse=True)
def chosen(lab: Lab) -> Iterator[None]:
    """Both servers with these choices; the scenario's own come back afterwards."""
    provider = lab.known["provider"]
    hashed = lab.run(HOSTS[1], ["rspamadm", "pw", "-q", "-p", WORD]).stdout.strip()
    converge(
        lab,
        extra={
            "mail_server_smarthost": provider["host"],
            "mail_server_smarthost_port": provider["port"],
            "mail_server_smarthost_username": provider["username"],
            "mail_server_smarthost_password": provider["password"],
            "mail_server_delivery": "maildir",
            "mail_server_checks": {"rdns": "disconnect", "fcrdns": "junk"},
            "mail_server_web_password_hash": hashed,
        },
    )
    yield
    converge(lab)


def test_mail_goes_out_by_the_smarthost(lab: Lab, host: str, token: str) -> None:
    said = send(lab, host, token)
    assert said.accepted, said.steps
    found = lab.wait_for_message(token)
    assert found.client["name"] == lab.known["provider"]["host"]
    assert found.verdicts["dkim"] == found.verdicts["dmarc"] == "pass"
    secret = lab.known["provider"]["password"]
    assert secret not in lab.run(host, ["cat", "/etc/smtpd.conf"]).stdout
    assert lab.run(host, "stat -c '%a %U %G' /etc/mail/secrets").stdout.split() == ["640", "root", "opensmtpd"]


def test_mail_lies_in_maildirs(lab: Lab, host: str, token: str) -> None:
    assert arrive(lab, host, f"{token}-well").accepted
    assert arrive(lab, host, f"{token}-junk looks-like-junk").accepted
    wait_for(lab, host, f"{token}-well")
    wait_for(lab, host, f"{token}-junk", folder="Junk")
    at = f"/var/vmail/{DOMAINS[host]}/ann/Maildir"
    (path,) = lab.run(host, f"grep -rl 'Subject: {token}-well' {at}/new {at}/cur").stdout.split()
    assert "Delivered-To:" in lab.run(host, ["cat", path]).stdout
    assert lab.run(host, ["stat", "-c", "%U %a", path]).stdout.split() == ["vmail", "600"]


def test_a_client_without_a_name_is_sent_away(lab: Lab, host: str, token: str) -> None:
    options = {"client": "stranger", "sender": "a@stranger.test", "patient": False}
    said = arrive(lab, host, token, source=lab.nameless(), **options)
    assert said.refusal and said.refusal[1] == 550 and "PTR" in said.refusal[2], said.steps
    assert arrive(lab, host, token, **options).accepted


def test_the_web_interface_wants_the_password(lab: Lab, host: str) -> None:
    assert lab.listeners(host, 11334) == {"127.0.0.1:11334"}
    asked = (
        "import sys, urllib.request, urllib.error\n"
        "request = urllib.request.Request('http://127.0.0.1:11334/stat', headers={'Password': sys.argv[1]})\n"
        "try: print(urllib.request.urlopen(request, timeout=20).status)\n"
        "except urllib.error.HTTPError as err: print(err.code)\n"
    )
    answers = [lab.run(host, ["python3", "-c", asked, word]).stdout.strip() for word in (WORD, "let me guess")]
    assert answers == ["200", "401"]
