# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What mail_host_info and mail_log_info see of a real Postfix or Exim. It rewrites this host's configuration of them!

Run it as root in a throw-away host of the lab with postfix or exim4-daemon-light and ssl-cert, the collection's tree on
PYTHONPATH, and MAIL_HOST_THROW_AWAY_HOST=1 set. It needs no Ansible.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _log_run as lr
from ansible_collections.postmaster.mail.plugins.module_utils._log_client import LogHost
from ansible_collections.postmaster.mail.plugins.module_utils._mail_host import HostError
from ansible_collections.postmaster.mail.plugins.module_utils._mail_host_client import MailHost
from ansible_collections.postmaster.mail.plugins.module_utils._mail_host_run import look

pytestmark = pytest.mark.skipif(
    os.environ.get("MAIL_HOST_THROW_AWAY_HOST") != "1" or os.geteuid() != 0, reason="only on a host to throw away"
)

POSTFIX = Path("/etc/postfix/main.cf").exists()
LAB = ("/etc/ssl/certs/lab-host.pem", "/etc/ssl/private/lab-host.key")
SNAKEOIL = ("/etc/ssl/certs/ssl-cert-snakeoil.pem", "/etc/ssl/private/ssl-cert-snakeoil.key")
CLOSED = "mx.outside.test"  # nothing listens there at port 9
DOMAIN = f"waits-{os.getpid()}.example"  # of this run


def sh(line: str) -> str:
    return subprocess.run(line, shell=True, check=True, capture_output=True, text=True).stdout


def configure(certificate: tuple[str, str]) -> None:
    """All mail goes to a port where nobody listens."""
    Path("/etc/mailname").write_text("host.corp.example\n")
    if POSTFIX:
        settings = {
            "myorigin": "/etc/mailname", "masquerade_domains": "corp.example", "inet_interfaces": "all", "mydestination": "",
            "relayhost": f"[{CLOSED}]:9", "smtpd_tls_security_level": "may", "smtpd_tls_cert_file": certificate[0],
            "smtpd_tls_key_file": certificate[1], "alias_maps": "", "compatibility_level": "3.6",
        }  # fmt: skip
        Path("/etc/postfix/main.cf").write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
        sh("systemctl unmask postfix 2>/dev/null; systemctl restart postfix")
        return
    for mine, theirs in zip(("/etc/exim4/test.pem", "/etc/exim4/test.key"), certificate, strict=True):
        Path(mine).write_bytes(Path(theirs).read_bytes())
        sh(f"chown root:Debian-exim {mine}; chmod 640 {mine}")
    Path("/etc/exim4/exim4.conf.localmacros").write_text(
        "MAIN_TLS_ENABLE = yes\nMAIN_TLS_CERTIFICATE = /etc/exim4/test.pem\nMAIN_TLS_PRIVATEKEY = /etc/exim4/test.key\n"
    )
    Path("/etc/exim4/update-exim4.conf.conf").write_text(
        "dc_eximconfig_configtype='satellite'\ndc_other_hostnames=''\ndc_local_interfaces=''\ndc_readhost='corp.example'\n"
        f"dc_relay_domains=''\ndc_minimaldns='false'\ndc_relay_nets=''\ndc_smarthost='{CLOSED}::9'\nCFILEMODE='644'\n"
        "dc_use_split_config='false'\ndc_hide_mailname='true'\ndc_mailname_in_oh='true'\ndc_localdelivery='mail_spool'\n"
    )
    sh("systemctl stop exim4; rm -f /var/spool/exim4/db/*; update-exim4.conf && systemctl start exim4")


def wait(condition: Callable[[], Any]) -> Any:
    end = time.monotonic() + 60
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.3)
    return found


def view(**options: Any) -> dict[str, Any]:
    seen = look(MailHost(timeout=20), **{"user": "root", "probe": True, **options})
    return {**seen.as_dict(), "table": seen.table()}


def door(port: int) -> dict[str, Any]:
    """What is seen of a port, once it is open."""
    (found,) = wait(lambda: [one for one in view()["listeners"] if one["port"] == port and not one["error"]])
    return found


@pytest.fixture(scope="module", autouse=True)
def waiting() -> Iterator[None]:
    """A message that cannot leave."""
    configure(LAB)
    wait(lambda: [one for one in view()["listeners"] if one["port"] == 25 and not one["error"]])
    subprocess.run(["sendmail", "-f", "root", f"sam@{DOMAIN}"], input="Subject: x\n\nx\n", text=True, check=True)
    yield
    sh("postsuper -d ALL" if POSTFIX else "exim4 -bp | awk '/</ {print $3}' | xargs -r exim4 -Mrm")


def test_the_mail_program_at_its_port() -> None:
    found = door(25)
    assert (found["program"], found["protocol"]) == (("Postfix" if POSTFIX else "Exim"), "smtp")
    assert found["unit"].startswith("postfix" if POSTFIX else "exim4")
    assert found["banner"].startswith("220 ")
    assert (found["tls"], found["tls_version"]) == ("starttls", "TLSv1.3")
    assert found["expires"] > "2026"
    assert (found["chain"], found["troubles"]) == ("", [])


def test_another_program_is_named_and_not_spoken_to() -> None:
    found = door(22)
    assert (found["program"], found["protocol"], found["banner"], found["tls"]) == ("OpenSSH", "", "", "")


def test_a_certificate_that_nobody_vouches_for() -> None:
    """The twin is the one of the lab's authority, which every other test has."""
    configure(SNAKEOIL)
    try:
        found = wait(lambda: (one := door(25)) and one["chain"] and one)
        assert "self-signed" in found["chain"] or "self signed" in found["chain"]
        assert found["troubles"][0].startswith("no authority vouches for its certificate: self")
        assert found["tls_version"] == "TLSv1.3"
    finally:
        configure(LAB)


def test_what_waits_and_why() -> None:
    queue = wait(lambda: (found := view(probe=False)["queue"])["causes"] and found)
    assert (queue["count"], queue["held"]) == (1, 0)
    assert [(one["cause"], one["count"]) for one in queue["causes"]] == [("connection_refused", 1)]
    assert sum(queue["ages"].values()) == 1


def test_the_log_says_so_too() -> None:
    def explained() -> Any:
        found = lr.explain(lr.Request(recipients=(DOMAIN,)), LogHost())
        return found.report.as_dict()["groups"] and found

    found = wait(explained)
    (group,) = found.report.as_dict()["groups"]
    assert (group["cause"], group["domains"].keys(), group["waiting"]) == ("connection_refused", {DOMAIN}, 1)
    assert ("journal" if POSTFIX else "/var/log/exim4/mainlog") in found.sources
    assert found.unseen == ()


@pytest.mark.parametrize("packer", ["gzip", "xz", "bzip2", "zstd"])
def test_a_log_that_the_host_s_own_programs_packed(packer: str, tmp_path: Path) -> None:
    line = f"2026-11-29T11:00:00+00:00 mail postfix/smtp[1]: 4bXkQz1nTzz2x: to=<sam@{DOMAIN}>, relay=none, delay=1, dsn=4.4.1, "
    (tmp_path / "mail.log").write_text(
        f"{line}status=deferred (connect to mx[192.0.2.1]:25: Connection refused)\n" * 1000
    )
    packed = tmp_path / "mail.log.packed"
    sh(f"{packer} -c {tmp_path}/mail.log > {packed}")
    found = lr.explain(lr.Request(paths=(str(packed),)), LogHost()).report.as_dict()
    assert (found["lines"], found["groups"][0]["cause"], found["groups"][0]["count"]) == (
        1000,
        "connection_refused",
        1000,
    )


def test_from_of_a_local_mail() -> None:
    steps = view(probe=False)["sender"]
    assert [one["address"] for one in steps] == ["root@host.corp.example", "root@corp.example"]
    assert ("masquerade_domains" if POSTFIX else "dc_hide_mailname") in steps[1]["why"]


def test_settings_and_version() -> None:
    found = view(probe=False)
    name, value = ("relayhost", f"[{CLOSED}]:9") if POSTFIX else ("dc_smarthost", f"{CLOSED}::9")
    assert found["settings"][name]["value"] == value
    assert "daemon_directory" not in found["settings"]
    assert found["version"][0].isdigit()


def test_another_user_is_told_what_was_not_seen() -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        os.write(writer, json.dumps(view()).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        found = json.loads(stream.read())
    os.waitpid(child, 0)
    assert re.match(r"whose port .*\b22\b.* is: that shows to root alone", found["unseen"][0])
    assert f"not seen: {found['unseen'][0]}" in found["table"]
    (port,) = (one for one in found["listeners"] if one["port"] == 25)
    # Of the processes that may hold the port one alone is a program of mail.
    assert (port["program"], port["tls"], port["banner"][:3]) == ("Postfix" if POSTFIX else "Exim", "starttls", "220")
    assert found["sender"][0]["address"] == "root@host.corp.example"


def test_bad_input_is_named() -> None:
    with pytest.raises(HostError, match=r"^user: 'a b' is no name of a user: give one of this host, such as root$"):
        view(user="a b")
    assert view(user="alex", probe=False)["sender"][0]["address"] == "alex@host.corp.example"
