# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's files, laid out below a directory, and what its programs say."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _dkim
from ansible_collections.postmaster.mail.plugins.module_utils._adopt_client import AdoptError, MailHost, parse_conffiles
from ansible_collections.postmaster.mail.plugins.module_utils._command import CommandError, Result, Runner

POSTFIX = "Package: postfix\nStatus: install ok installed\nVersion: 3.7\nProvides: mail-transport-agent\n\n"
EXIM = (
    "Package: exim4-daemon-light\nStatus: install ok installed\nVersion: 4\nProvides: mail-transport-agent\n\n"
    "Package: exim4-config\nStatus: install ok installed\nVersion: 4\n"
    "Conffiles:\n /etc/exim4/exim4.conf.template {template}\n /etc/exim4/passwd.client 00\nDescription: x\n\n"
)
MAIN = {
    "relayhost": "[smtp.example.net]:587",
    "mynetworks": "127.0.0.0/8 192.0.2.0/28",
    "myorigin": "/etc/mailname",
    "myhostname": "mx.example.org",
    "smtp_sasl_auth_enable": "yes",
    "smtp_sasl_password_maps": "hash:/etc/postfix/sasl_passwd",
    "smtpd_milters": "inet:localhost:8891",
    "smtp_tls_security_level": "encrypt",
}
PASSWORD = "pa55-of-the-host"


class Programs(Runner):
    """Says what a table says; what is not in it cannot be started."""

    def __init__(self, said: Mapping[tuple[str, ...], str]) -> None:
        self.said = said

    def run(self, argv: Sequence[str], **_options: object) -> Result:  # type: ignore[override]
        if tuple(argv) not in self.said:
            raise CommandError(f"{argv[0]} cannot be started: No such file or directory")
        return Result(tuple(argv), 0, self.said[tuple(argv)], "")


def host(root: Path, files: Mapping[str, str], said: Mapping[tuple[str, ...], str] | None = None) -> MailHost:
    for path, text in files.items():
        place = root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return MailHost(root=str(root), runner=Programs(said or {}))


def postconf(values: Mapping[str, str]) -> dict[tuple[str, ...], str]:
    text = "".join(f"{name} = {value}\n" for name, value in values.items())
    return {("postconf", flag): text if flag != "-d" else "" for flag in ("-n", "-x", "-d")}


def test_a_relay_with_a_key_behind_a_link(tmp_path: Path) -> None:
    files = {
        "/var/lib/dpkg/status": POSTFIX,
        "/etc/mailname": "example.org\n",
        "/etc/aliases": "root: ops@example.net\n",
        "/etc/postfix/sasl_passwd": f"[smtp.example.net]:587 corp:{PASSWORD}\n[old.example.net] corp:{PASSWORD}\n",
        "/etc/opendkim.conf": "Domain example.org\nSelector mail\nKeyFile /etc/postfix/dkim.key\n",
        "/etc/postfix/mail.private": _dkim.generate("rsa", 1024).pem.decode(),
    }
    machine = host(tmp_path, files, postconf(MAIN))
    os.symlink("mail.private", tmp_path / "etc/postfix/dkim.key")
    said = machine.describe().as_dict()
    assert (said["role"], said["group"]) == ("relay", "relays")
    assert [(key["path"], key["bits"], key["target"]) for key in said["keys"]] == [
        ("/etc/postfix/mail.private", 1024, "/etc/dkimkeys/example.org.mail.key")
    ]
    assert "smtp_sasl_password_maps" in [note["item"] for note in said["untranslated"]]
    assert PASSWORD not in str(said) and "PRIVATE" not in str(said)


def test_a_key_in_the_manifest_is_ours(tmp_path: Path) -> None:
    files = {
        "/var/lib/dpkg/status": POSTFIX,
        "/etc/opendkim.conf": "KeyTable /etc/opendkim/key.table\nSigningTable /etc/opendkim/signing.table\n",
        "/etc/opendkim/key.table": "k example.org:s1:/etc/dkimkeys/example.org.s1.key\n",
        "/etc/opendkim/signing.table": "*@example.org k\n",
        "/etc/dkimkeys/example.org.s1.key": _dkim.generate("rsa", 1024).pem.decode(),
        "/etc/dkimkeys/example.org.json": '{"keys": [{"selector": "s1", "algorithm": "rsa", "state": "active"}]}',
    }
    said = host(tmp_path, files, postconf(MAIN)).describe()
    assert said.keys[0]["listed"] and "mail_dkim_adopted" not in said.variables


def test_exim_tells_of_files_that_were_changed(tmp_path: Path) -> None:
    settings = "dc_eximconfig_configtype='satellite'\ndc_smarthost='relay.example.org'\ndc_readhost='example.org'\n"
    template = "as the package has it\n"
    digest = hashlib.md5(template.encode(), usedforsecurity=False).hexdigest()
    files = {
        "/var/lib/dpkg/status": EXIM.format(template=digest),
        "/etc/mailname": "example.org\n",
        "/etc/aliases": "root: ops@example.net\n",
        "/etc/exim4/update-exim4.conf.conf": settings,
        "/etc/exim4/exim4.conf.template": template,
        "/etc/exim4/passwd.client": f"# hosts\nrelay.example.org:corp:{PASSWORD}\n",
        "/etc/exim4/conf.d/router/999_own": "x:\n",
    }
    said = host(tmp_path, files).describe()
    items = {note.item: note.value for note in said.notes}
    assert items["passwd.client"] == "relay.example.org" and "/etc/exim4/conf.d/router/999_own" in items
    assert "/etc/exim4/exim4.conf.template" not in items and PASSWORD not in str(said)
    (tmp_path / "etc/exim4/exim4.conf.template").write_text("by hand\n")
    assert "/etc/exim4/exim4.conf.template" in {note.item for note in MailHost(root=str(tmp_path)).describe().notes}


@pytest.mark.parametrize(
    "status", ["", "Package: nullmailer\nStatus: install ok installed\nVersion: 1\nProvides: mail-transport-agent\n\n"]
)
def test_other_hosts_are_left_alone(tmp_path: Path, status: str) -> None:
    said = host(tmp_path, {"/var/lib/dpkg/status": status}).describe()
    assert (said.role, said.variables) == ("", {}) and said.notes[0].item == "mail transport agent"


def test_a_postfix_that_says_nothing(tmp_path: Path) -> None:
    with pytest.raises(AdoptError, match="Postfix's configuration cannot be read: postconf cannot be started"):
        host(tmp_path, {"/var/lib/dpkg/status": POSTFIX}).describe()


def test_a_login_file_that_cannot_be_read(tmp_path: Path) -> None:
    files = {"/var/lib/dpkg/status": EXIM, "/etc/exim4/passwd.client": f"  {PASSWORD}\n"}
    with pytest.raises(AdoptError, match=r"/etc/exim4/passwd\.client, line 1 cannot be read") as caught:
        host(tmp_path, files).describe()
    assert PASSWORD not in str(caught.value)


ODD = ["fifo", "directory", "huge", "binary"]


@pytest.mark.parametrize("kind", ODD)
def test_odd_files_are_as_good_as_none(tmp_path: Path, kind: str) -> None:
    files = {
        "/var/lib/dpkg/status": POSTFIX,
        "/etc/opendkim.conf": "Domain example.org\nSelector s\nKeyFile /etc/key\n",
    }
    machine = host(tmp_path, files, postconf(MAIN))
    place = tmp_path / "etc/key"
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "directory":
        place.mkdir()
    else:
        place.write_bytes(b"x" * 5_000_000 if kind == "huge" else bytes(range(256)))
    said = machine.describe()
    assert said.keys == [] and "DKIM key" in [note.item for note in said.notes]


def test_conffiles() -> None:
    assert parse_conffiles(EXIM, "exim4-config")["/etc/exim4/passwd.client"] == "00"
    assert parse_conffiles(EXIM, "exim4") == {}


def test_the_tables_of_mail_from_outside_are_read_but_not_the_one_with_keys(tmp_path: Path) -> None:
    """A list's key stays on the host; its zone is not told either, as it stands in the same word."""
    files = {
        "/var/lib/dpkg/status": POSTFIX,
        "/etc/postfix/inbound_clients": "192.0.2.77 permit\n203.0.113.0/24 reject\n",
        "/etc/postfix/inbound_header_checks": "/^Subject: a b/ REJECT no\n",
        "/etc/postfix/inbound_dnsbls": "0.0.0.0/0 reject_rbl_client the-key-of-it.dq.example.net=127.0.0.2\n",
    }
    clients = (
        "check_client_access cidr:/etc/postfix/inbound_clients, check_client_access cidr:/etc/postfix/inbound_dnsbls"
    )
    main = {
        "relay_domains": "example.org", "relayhost": "[mx.example.net]", "mynetworks": "127.0.0.0/8 192.0.2.0/28",
        "myhostname": "mx.example.org", "smtpd_client_restrictions": f"permit_mynetworks, {clients}",
        "header_checks": "regexp:/etc/postfix/inbound_header_checks",
    }  # fmt: skip
    said = host(tmp_path, files, postconf(main)).describe()
    assert said.variables["relay_inbound_clients"] == {"192.0.2.77": "permit", "203.0.113.0/24": "reject"}
    assert said.variables["relay_inbound_header_checks"] == [{"pattern": "/^Subject: a b/", "action": "REJECT no"}]
    assert "the-key-of-it" not in str(said.as_dict())
    assert "cidr:/etc/postfix/inbound_dnsbls" in [note.item for note in said.notes]


INBOUND = {
    "relay_domains": "example.org", "relayhost": "[mx.example.net]", "mynetworks": "127.0.0.0/8 192.0.2.0/28",
    "myhostname": "mx.example.org",
}  # fmt: skip


def test_spamassassin_and_postgrey_as_debian_s_packages_have_them(tmp_path: Path) -> None:
    """Then with what the role has written beside them, which comes first."""
    files = {
        "/var/lib/dpkg/status": POSTFIX,
        "/etc/spamassassin/65_debian.cf": "required_score 9\n",
        "/etc/spamassassin/local.cf": "# required_score 5.0\nrequired_score 4.5\n",
        "/etc/spamassassin/v310.pre": "required_score 1\n",
        "/etc/default/spamass-milter": 'OPTIONS="-u spamass-milter -i 127.0.0.1"\nOPTIONS="${OPTIONS} -r 12"\n',
        "/etc/default/postgrey": 'POSTGREY_OPTS="--inet=10023 --delay=60"\n',
    }
    main = {
        **INBOUND,
        "smtpd_milters": "unix:/spamass/spamass.sock",
        "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination, check_policy_service inet:127.0.0.1:10023",
    }
    names = ("filter", "tag_score", "reject_score", "greylist", "greylist_delay")
    said = host(tmp_path, files, postconf(main)).describe().variables
    assert [said[f"relay_inbound_{name}"] for name in names] == ["spamassassin", 4.5, 12, True, 60]
    ours = {
        "/etc/spamassassin/relay.cf": "required_score 6\n",
        "/etc/systemd/system/spamass-milter.service": "[Service]\nExecStart=/usr/sbin/spamass-milter -p x -m -r 15\n",
        "/etc/systemd/system/postgrey.service.d/relay.conf": "[Service]\nExecStart=\nExecStart=/usr/sbin/postgrey --delay=300\n",
    }
    said = host(tmp_path, ours, postconf(main)).describe().variables
    assert [said[f"relay_inbound_{name}"] for name in names] == ["spamassassin", 6, 15, True, 300]


@pytest.mark.parametrize(("port", "more"), [("11332", ()), ("11336", ("-c", "/etc/rspamd/inbound.conf"))])
def test_scores_of_the_rspamd_that_postfix_asks(tmp_path: Path, port: str, more: tuple[str, ...]) -> None:
    """One that people have installed, whose own files the role goes on reading, and the role's filter."""
    files = {"/var/lib/dpkg/status": POSTFIX, "/etc/rspamd/local.d/actions.conf": "reject = 9;\n"}
    actions = {("rspamadm", "configdump", *more, "-j", "actions"): '{"reject": 9, "add_header": 4, "greylist": null}'}
    main = {**INBOUND, "smtpd_milters": f"inet:127.0.0.1:{port}"}
    said = host(tmp_path, files, {**postconf(main), **actions}).describe()
    names = ("filter", "tag_score", "reject_score")
    assert [said.variables[f"relay_inbound_{name}"] for name in names] == ["rspamd", 4, 9]
    assert [note for note in said.notes if "no longer read" in note.reason] == []
