# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What clients and other servers fetch by HTTPS, nginx's configuration for it, and the sheet for people."""

from __future__ import annotations

import fnmatch
import hashlib
import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.postmaster.mail.plugins.filter.client_sheet import client_sheet
from ansible_collections.postmaster.mail.plugins.filter.mail_web_files import mail_web_files
from ansible_collections.postmaster.mail.plugins.filter.mail_web_names import mail_web_names
from ansible_collections.postmaster.mail.plugins.filter.mta_sts_policies import mta_sts_policies
from ansible_collections.postmaster.mail.plugins.module_utils import _client_settings as client
from ansible_collections.postmaster.mail.plugins.module_utils._records import derive

CONFIGURATION = "/etc/nginx/conf.d/mail_web.conf"
EVERYTHING = ["imaps", "imap", "submissions", "submission", "sieve", "pop3s"]
DOMAINS: list[dict[str, Any]] = [
    {
        "name": "example.org",
        "mx": [{"host": "mail.example.org"}],
        "mta_sts": {"mode": "enforce", "host": "mail.example.org"},
        "senders": [{"mx": True}],
    },
    {"name": "example.net", "mx": [{"host": "mail.example.org"}], "mta_sts": {}, "senders": [{"mx": True}]},
    {"name": "plain.example", "senders": [{"mx": True}]},
]


def given(**changes: Any) -> dict[str, Any]:
    """Values that are well, with some of them changed."""
    values = {
        "hostname": "mail.example.org",
        "services": ["imaps", "imap", "submissions", "submission", "sieve"],
        "domains": ["example.org", "plain.example"],
        "policies": mta_sts_policies(DOMAINS, ["example.org"]),
        "listen": ["443", "[::]:443"],
        "inner_port": 8043,
        "tls_certificate": "/etc/ssl/mail.pem",
        "tls_key": "/etc/ssl/mail.key",
        "directory": "/var/www/mail_web",
    }
    return {**values, **changes}


# -- policies -----------------------------------------------------------------------------------
def test_the_policies_are_those_whose_numbers_are_published() -> None:
    derived = derive(DOMAINS)
    policies = mta_sts_policies(DOMAINS)
    assert [policy["content"] for policy in policies] == [policy.content for policy in derived.policies]
    numbers = {record.name: record.strings[0] for record in derived.records if record.name.startswith("_mta-sts.")}
    for policy in policies:
        number = hashlib.sha256(policy["content"].encode()).hexdigest()[:16]
        assert numbers[f"_mta-sts.{policy['domain']}."] == f"v=STSv1; id={number};"
    assert [policy["domain"] for policy in mta_sts_policies(DOMAINS, ["example.net", "plain.example"])] == [
        "example.net"
    ]


def test_a_policy_that_cannot_be() -> None:
    wrong = [{"name": "example.org", "mta_sts": {"mode": "enforce"}}]
    with pytest.raises(
        AnsibleFilterError, match=r"^mta_sts_policies: the domain example.org: mta_sts has no hosts to name"
    ):
        mta_sts_policies(wrong)


# -- names and files ----------------------------------------------------------------------------
def test_names() -> None:
    assert mail_web_names(["Example.org"], given()["policies"]) == [
        "autoconfig.example.org", "autodiscover.example.org", "mta-sts.example.org",
    ]  # fmt: skip
    with pytest.raises(
        AnsibleFilterError, match=r"^mail_web_names: domains: 'x y' is no domain: write it as example.org$"
    ):
        mail_web_names(["x y"])


def test_files() -> None:
    found = mail_web_files(given())
    assert found["problems"] == []
    assert sorted(found["files"]) == [
        CONFIGURATION,
        "/var/www/mail_web/autoconfig.example.org/mail/config-v1.1.xml",
        "/var/www/mail_web/autoconfig.plain.example/mail/config-v1.1.xml",
        "/var/www/mail_web/autodiscover/error.xml",
        "/var/www/mail_web/autodiscover/settings.xml",
        "/var/www/mail_web/mta-sts.example.org/.well-known/mta-sts.txt",
    ]
    policy = found["files"]["/var/www/mail_web/mta-sts.example.org/.well-known/mta-sts.txt"]
    assert policy == "version: STSv1\r\nmode: enforce\r\nmx: mail.example.org\r\nmax_age: 604800\r\n"
    # The configuration comes last: what it points to is there by then.
    assert list(found["files"])[-1] == CONFIGURATION


def test_nothing_to_answer() -> None:
    rendered = mail_web_files(given(domains=[], policies=[]))
    assert (rendered["problems"], rendered["files"]) == ([], {})
    assert "/etc/nginx/conf.d/mail_web.conf" in rendered["others"]


def test_every_file_is_found_when_its_domain_is_gone() -> None:
    """Each file that some domain has is one of those that go without it."""
    rendered = mail_web_files(given())
    assert rendered["files"]
    for path in rendered["files"]:
        assert any(fnmatch.fnmatchcase(path, pattern) for pattern in rendered["others"]), path
    alone = mail_web_files(given(domains=[]))["files"]
    assert "autodiscover" not in alone[CONFIGURATION] and "mta-sts.example.org" in alone[CONFIGURATION]


def test_port_80_stays_free() -> None:
    text = mail_web_files(given())["files"][CONFIGURATION]
    assert re.findall(r"^ *listen (.*);$", text, re.MULTILINE) == ["443 ssl", "[::]:443 ssl"] * 2 + ["127.0.0.1:8043"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"hostname": "mail"}, "hostname: 'mail' is no full host name: give one such as mail.example.org"),
        (
            {"hostname": "x.example; }"},
            "hostname: 'x.example; }' is no full host name: give one such as mail.example.org",
        ),
        ({"domains": ["a}b.example"]}, "domains: 'a}b.example' is no domain: write it as example.org"),
        ({"services": ["imaps", "smtp"]}, f"services: 'smtp' is not one of {', '.join(client.SERVICES)}: mend it"),
        ({"services": ["imaps"]}, "services: none for smtp: add one such as submissions"),
        ({"services": ["submissions", "sieve"]}, "services: none for imap or pop3: add one such as imaps"),
        (
            {"listen": ["443; x"]},
            "listen: '443; x' is neither a port nor an address with one: write it as 443 or [::]:443",
        ),
        ({"listen": []}, "listen is empty: name a port at least, such as 443"),
        (
            {"tls_key": "/etc/x;y"},
            "tls_key: '/etc/x;y' is no plain absolute path: use letters, digits, and . _ - between slashes",
        ),
        (
            {"directory": "www"},
            "directory: 'www' is no plain absolute path: use letters, digits, and . _ - between slashes",
        ),
        ({"policies": [{"domain": "example.org", "content": "mode: enforce\n"}]}, "policies: "),
    ],
)
def test_what_is_refused(changes: dict[str, Any], expected: str) -> None:
    found = mail_web_files(given(**changes))
    assert found["files"] == {}
    assert [problem for problem in found["problems"] if problem.startswith(expected)], found["problems"]


def test_what_is_missing() -> None:
    with pytest.raises(AnsibleFilterError, match="mail_web_files needs 'listen'"):
        mail_web_files({key: value for key, value in given().items() if key != "listen"})


@pytest.mark.parametrize(("domain", "expected"), [("example.org", 0), ("a-domain-that-is-rather-long.example.org", 1)])
def test_long_names(domain: str, expected: int) -> None:
    text = mail_web_files(given(domains=[domain], policies=[]))["files"][CONFIGURATION]
    assert text.count("server_names_hash_bucket_size 512;") == expected


# -- the question of Outlook --------------------------------------------------------------------
@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("<EMailAddress>ann@example.org</EMailAddress>", "ann@example.org"),
        ("<EmailAddress> Ann.Lee+x@Plain.Example\n</EmailAddress>", "Ann.Lee+x@Plain.Example"),
        ("<EMailAddress>ann@other.example</EMailAddress>", ""),
        ("<EMailAddress>ann@exampleXorg</EMailAddress>", ""),
        ("<EMailAddress>&lt;x@example.org</EMailAddress>", ""),
        ("<EMailAddress>a<b>@example.org</EMailAddress>", ""),
        ("ann@example.org", ""),
    ],
)
def test_the_address_in_a_question(asked: str, expected: str) -> None:
    text = mail_web_files(given())["files"][CONFIGURATION]
    pattern = re.search(r'"~\*(.*)" \$mail_web_found;', text)
    assert pattern
    found = re.search(pattern[1].replace("(?<", "(?P<"), asked, re.IGNORECASE)
    assert (found["mail_web_found"] if found else "") == expected


# -- answers ------------------------------------------------------------------------------------
def test_autoconfig() -> None:
    settings = client.Settings.of(given(services=EVERYTHING))
    provider = ET.fromstring(client.autoconfig(settings, "example.org")).find("emailProvider")
    assert provider is not None and provider.get("id") == provider.findtext("domain") == "example.org"
    fields = ("hostname", "port", "socketType", "username", "authentication")
    found = [
        (one.tag, one.get("type"), *(one.findtext(field) for field in fields)) for one in provider if one.get("type")
    ]
    rest = ("%EMAILADDRESS%", "password-cleartext")
    assert found == [
        ("incomingServer", "imap", "mail.example.org", "993", "SSL", *rest),
        ("incomingServer", "imap", "mail.example.org", "143", "STARTTLS", *rest),
        ("incomingServer", "pop3", "mail.example.org", "995", "SSL", *rest),
        ("outgoingServer", "smtp", "mail.example.org", "465", "SSL", *rest),
        ("outgoingServer", "smtp", "mail.example.org", "587", "STARTTLS", *rest),
    ]


@pytest.mark.parametrize(
    ("services", "expected"),
    [
        (EVERYTHING, [("IMAP", "993", "on", "SSL"), ("POP3", "995", "on", "SSL"), ("SMTP", "465", "on", "SSL")]),
        (["imap", "submission"], [("IMAP", "143", "off", "TLS"), ("SMTP", "587", "off", "TLS")]),
    ],
)
def test_autodiscover(services: list[str], expected: list[tuple[str, ...]]) -> None:
    text = client.autodiscover(client.Settings.of(given(services=services)))
    space = f"{{{client.OUTLOOK}}}"
    found = [
        tuple(one.findtext(f"{space}{field}") for field in ("Type", "Port", "SSL", "Encryption"))
        for one in ET.fromstring(text.encode()).iter(f"{space}Protocol")
    ]
    assert found == expected
    assert text.count("<LoginName>%EMAILADDRESS%</LoginName>") == len(expected)


def test_autodiscover_error() -> None:
    response = ET.fromstring(client.autodiscover_error().encode())
    assert response.findtext(f".//{{{client.RESPONSE}}}ErrorCode") == "600"


SHEET = """Mail of example.org
===================

User name   your whole address, such as ann@example.org
Password    the one of your mailbox

To read mail (IMAP)
  Server      mail.example.org
  Port        993
  Security    SSL/TLS

To send mail (SMTP)
  Server      mail.example.org
  Port        465
  Security    SSL/TLS

or, where that cannot be chosen
  Server      mail.example.org
  Port        587
  Security    STARTTLS

To change rules for incoming mail (ManageSieve)
  Server      mail.example.org
  Port        4190
  Security    STARTTLS

Authentication is by normal password everywhere. A client that warns of the certificate is not at our
server: stop.
"""


def test_the_sheet() -> None:
    offered = given(services=["sieve", "submission", "submissions", "imaps"])
    assert client_sheet(offered, "example.org", ["ann@example.org", "bob@example.org"]) == SHEET
    assert client_sheet(offered, "example.org") == SHEET.replace("ann@", "you@")
    assert "ManageSieve" not in client_sheet(given(services=["imaps", "submissions"]), "example.org")
    with pytest.raises(AnsibleFilterError, match="client_sheet: services: none for smtp"):
        client_sheet(given(services=["imaps"]), "example.org")
