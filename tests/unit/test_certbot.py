# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates by certbot: when one is obtained, what certbot is told, and what is made of what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _certbot as cb
from ansible_collections.postmaster.mail.plugins.module_utils._certbot_client import Certbot
from ansible_collections.postmaster.mail.plugins.module_utils._command import CommandError, Result, Runner
from ansible_collections.postmaster.mail.plugins.modules import certbot_certificate

NAME = "mail.example.org"
NOW = datetime(2026, 11, 28, 9, 0, tzinfo=UTC)
SERVER = "https://acme.example/dir"
KEY = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQ==\n-----END PUBLIC KEY-----\n"
# As certbot 2.1 of Debian 12 and 4.0 of Debian 13 write it.
RENEWAL = f"""# renew_before_expiry = 30 days
version = 2.1.0
archive_dir = /etc/letsencrypt/archive/{NAME}
cert = /etc/letsencrypt/live/{NAME}/cert.pem

# Options used in the renewal process
[renewalparams]
reuse_key = True
account = 8dbfebb9b31d1a8cb15fd1110b14cac2
key_type = ecdsa
pref_challs = http-01,
renew_hook = systemctl start certificate-deploy@{NAME}
config_dir = /etc/letsencrypt
server = {SERVER}
authenticator = standalone
[acme_renewal_info]
server = nobody
"""
OPENSSL = f"""{KEY}notAfter=Feb 26 09:10:14 2027 GMT
X509v3 Subject Alternative Name: critical
    DNS:{NAME}, DNS:mta-sts.example.org
"""
WANTED = cb.Wanted(
    name=NAME,
    names=(NAME, "mta-sts.example.org"),
    method="http",
    server=SERVER,
    hooks={"deploy": f"systemctl start certificate-deploy@{NAME}"},
)
BY_DNS = replace(WANTED, method="dns", dns_credentials="/etc/dns.ini", dns_wait=5)


def held(**changes: Any) -> cb.Held:
    found = cb.parse_certificate(OPENSSL, cb.parse_settings(RENEWAL))
    assert found is not None
    return replace(found, **changes)


# -- values -------------------------------------------------------------------------------------
def test_what_is_held() -> None:
    found = held()
    assert found.names == {NAME, "mta-sts.example.org"}
    assert found.expires == datetime(2027, 2, 26, 9, 10, 14, tzinfo=UTC)
    assert found.public_key == KEY
    assert found.settings["server"] == SERVER
    assert "version" not in found.settings


@pytest.mark.parametrize(
    "text", ["", "unable to load certificate", KEY, "notAfter=Feb 26 09:10:14 2027 GMT\n    DNS:x.example"]
)
def test_what_is_no_certificate(text: str) -> None:
    assert cb.parse_certificate(text, {}) is None


def test_a_quoted_setting() -> None:
    assert cb.parse_settings('[renewalparams]\npre_hook = "a, b"\n') == {"pre_hook": "a, b"}


# -- plan ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("wanted", "there", "expected"),
    [
        (WANTED, None, ["there is none yet"]),
        (WANTED, held(), []),
        (
            replace(WANTED, names=(NAME, "mta-sts.example.org", "x.example.org")),
            held(),
            ["it does not hold x.example.org"],
        ),
        (replace(WANTED, names=(NAME,)), held(), ["it holds mta-sts.example.org, which is not wanted"]),
        (WANTED, held(expires=NOW), ["it has expired on 2026-11-28"]),
        (replace(WANTED, key_type="rsa"), held(), ["its key_type is ecdsa instead of rsa"]),
        (replace(WANTED, hooks={**WANTED.hooks, "pre": "open"}), held(), ["its pre_hook is not set instead of open"]),
        (
            BY_DNS,
            held(),
            [
                "its authenticator is standalone instead of dns-rfc2136",
                "its dns_rfc2136_credentials is not set instead of /etc/dns.ini",
                "its dns_rfc2136_propagation_seconds is not set instead of 5",
            ],
        ),
        (replace(WANTED, email="other@example.org"), held(), []),
    ],
)
def test_reasons(wanted: cb.Wanted, there: cb.Held | None, expected: list[str]) -> None:
    assert cb.reasons(wanted, there, NOW) == expected


def test_what_certbot_is_told() -> None:
    first = " ".join(cb.arguments(WANTED, renew=False))
    assert first == (
        f"certbot certonly --non-interactive --agree-tos --cert-name {NAME} --server {SERVER} --key-type ecdsa --reuse-key"
        " --register-unsafely-without-email --standalone --preferred-challenges http"
        f" --deploy-hook systemctl start certificate-deploy@{NAME} -d {NAME} -d mta-sts.example.org"
    )
    again = cb.arguments(replace(BY_DNS, email="a@example.org", hooks={}), renew=True)
    assert "--force-renewal --renew-with-new-domains --email a@example.org --no-eff-email --dns-rfc2136" in " ".join(
        again
    )
    assert again[again.index("--dns-rfc2136-credentials") + 1] == "/etc/dns.ini"
    assert again[again.index("--dns-rfc2136-propagation-seconds") + 1] == "5"
    assert "--standalone" not in again


# -- what it says -------------------------------------------------------------------------------
REFUSED = """Saving debug log to /var/log/letsencrypt/letsencrypt.log
Requesting a certificate for nowhere.post.example and mail.example.org

Certbot failed to authenticate some domains (authenticator: standalone). The Certificate Authority reported these problems:
  Domain: mail.example.org
  Type:   connection
  Detail: Get "http://mail.example.org:80/x": dial tcp [2001:db8::42]:80:
connect: connection refused

  Domain: nowhere.post.example
  Type:   dns
  Detail: no such name

Hint: The Certificate Authority failed to download the challenge files.

Some challenges have failed.
Ask for help or search for solutions at https://community.letsencrypt.org. See the logfile /var/log/letsencrypt/letsencrypt.log.
"""
UNKNOWN_HOST = """Saving debug log to /var/log/letsencrypt/letsencrypt.log
An unexpected error occurred:
requests.exceptions.ConnectionError: HTTPSConnectionPool(host='gone.lab.test', port=14000): Max retries exceeded with url: /dir \
(Caused by NameResolutionError("<urllib3 object>: Failed to resolve 'gone.lab.test' ([Errno -2] Name or service not known)"))
Ask for help or search for solutions at https://community.letsencrypt.org.
"""


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            REFUSED,
            'the authority could not see who holds the names (mail.example.org: Get "http://mail.example.org:80/x": dial tcp '
            "[2001:db8::42]:80: connect: connection refused; nowhere.post.example: no such name): mend what it says, then run again",
        ),
        (
            "Another instance of Certbot is already running.\n",
            "another certbot is running: wait for it, then run again",
        ),
        (
            "An unexpected error occurred:\nValueError: Requesting acme.lab.test/dir: Connection refused\n",
            f"the authority at {SERVER} does not answer (Connection refused): name the right server, or its ca_bundle",
        ),
        (
            UNKNOWN_HOST,
            f"the authority at {SERVER} does not answer (\"<urllib3 object>: Failed to resolve 'gone.lab.test' "
            '([Errno -2] Name or service not known)"): name the right server, or its ca_bundle',
        ),
        (
            "Saving debug log to x\nReceived response from server: NOTAUTH\n",
            "certbot says Received response from server: NOTAUTH: see /var/log/letsencrypt/letsencrypt.log",
        ),
        ("", "certbot says nothing: see /var/log/letsencrypt/letsencrypt.log"),
    ],
)
def test_one_sentence(said: str, expected: str) -> None:
    assert cb.complaint(WANTED, said) == f"no certificate {NAME}: {expected}"


# -- module -------------------------------------------------------------------------------------
class FakeCertbot(Runner):
    """Writes what certbot would write; ``names`` are those that the authority agrees to."""

    def __init__(self, directory: Path, *, names: Sequence[str] = (), code: int = 0) -> None:
        self.directory, self.names, self.code = directory, names, code
        self.told: list[list[str]] = []
        self.env: dict[str, str] = {}

    def run(self, argv: Sequence[str], **options: Any) -> Result:
        if argv[0] == "openssl":
            return Result(tuple(argv), 0, Path(argv[3]).read_text(), "")
        self.told.append(list(argv))
        self.env = dict(options["env"])
        if self.code:
            return Result(tuple(argv), self.code, "", "Another instance of Certbot is already running.")
        names = self.names or [argv[at + 1] for at, word in enumerate(argv) if word == "-d"]
        write(self.directory, names, argv[argv.index("--key-type") + 1])
        return Result(tuple(argv), 0, "", "")


def write(directory: Path, names: Sequence[str], key_type: str = "ecdsa") -> None:
    for path, text in (
        (f"renewal/{NAME}.conf", RENEWAL.replace("key_type = ecdsa", f"key_type = {key_type}")),
        (f"live/{NAME}/cert.pem", f"{KEY}notAfter=Feb 26 09:10:14 2027 GMT\n    DNS:" + ", DNS:".join(names)),
    ):
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text(text)


def params(directory: Path, **changes: Any) -> dict[str, Any]:
    defaults = {key: option.get("default") for key, option in certbot_certificate.ARGUMENT_SPEC.items()}
    given = {"names": [NAME], "server": SERVER, "deploy_hook": f"systemctl start certificate-deploy@{NAME}"}
    return {**defaults, **given, "directory": str(directory), **changes}


def call(directory: Path, runner: Runner, *, check_mode: bool = False, **changes: Any) -> dict[str, Any]:
    certbot = Certbot(str(directory), runner)
    return certbot_certificate.run(params(directory, **changes), certbot, NOW, check_mode=check_mode)


def test_obtained_once(tmp_path: Path) -> None:
    runner = FakeCertbot(tmp_path)
    foreseen = call(tmp_path, runner, check_mode=True)
    assert (foreseen["changed"], foreseen["public_key"], foreseen["expires"], runner.told) == (True, "", "", [])
    first = call(tmp_path, runner, ca_bundle="/root/ca.pem")
    assert (first["changed"], first["reasons"], first["public_key"]) == (True, ["there is none yet"], KEY)
    assert first["fullchain"] == f"{tmp_path}/live/{NAME}/fullchain.pem"
    assert first["diff"]["before"] == "" and f"names: {NAME}\n" in first["diff"]["after"]
    assert runner.env == {"REQUESTS_CA_BUNDLE": "/root/ca.pem"}
    assert "--force-renewal" not in runner.told[0]
    again = call(tmp_path, runner)
    assert (again["changed"], again["expires"], len(runner.told)) == (False, "2027-02-26T09:10:14Z", 1)
    assert again["diff"]["before"] == again["diff"]["after"]


def test_other_names_are_another_certificate(tmp_path: Path) -> None:
    write(tmp_path, [NAME])
    runner = FakeCertbot(tmp_path)
    found = call(tmp_path, runner, names=[NAME, "X.example.org"])
    assert found["reasons"] == ["it does not hold x.example.org"]
    assert {"--force-renewal", "--renew-with-new-domains", "x.example.org"} <= set(runner.told[0])


@pytest.mark.parametrize(
    ("changes", "fake", "message"),
    [
        ({"names": []}, {}, "names is empty: name at least one host"),
        ({"method": "dns"}, {}, "method is dns and dns_credentials is empty: name the file with the TSIG key"),
        ({}, {"code": 1}, f"no certificate {NAME}: another certbot is running: wait for it, then run again"),
        ({}, {"names": ["y.example.org"]},
         f"the certificate {NAME} came, but it does not hold {NAME} and it holds y.example.org, which is not wanted: see certbot's log"),
    ],
)  # fmt: skip
def test_what_fails(tmp_path: Path, changes: dict[str, Any], fake: dict[str, Any], message: str) -> None:
    with pytest.raises(cb.CertbotError) as caught:
        call(tmp_path, FakeCertbot(tmp_path, **fake), **changes)
    assert str(caught.value) == message


class Absent(Runner):
    """A host without the program."""

    def run(self, argv: Sequence[str], **options: Any) -> Result:
        raise CommandError(f"{argv[0]} cannot be started: No such file or directory")


def test_programs_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        cb.CertbotError, match=rf"^no certificate {NAME}: certbot cannot be started: No such file or directory$"
    ):
        call(tmp_path, Absent())
    write(tmp_path, [NAME])
    with pytest.raises(cb.CertbotError, match=r"^openssl cannot be started: .*: install openssl$"):
        call(tmp_path, Absent())
