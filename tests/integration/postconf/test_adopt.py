# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A main.cf that people have published, as this host's own Postfix reads it, is adopted word for word.

Run it as those in test_on_host.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils._adopt_client import MailHost

pytestmark = pytest.mark.skipif(
    os.environ.get("POSTCONF_THROW_AWAY_HOST") != "1" or os.geteuid() != 0, reason="only on a host to throw away"
)

TABLES = {
    "/etc/postfix/tls_policy": "[smtp-relay.gmail.com]:587\tencrypt\n",
    "/etc/postfix/transport": "restricted@abakus.no    lmtp:[127.0.0.1]:8024\n* \t\tsmtp:[smtp-relay.gmail.com]:587\n",
    "/etc/default/spamass-milter": 'OPTIONS="-u spamass-milter -i 127.0.0.1"\nOPTIONS="${OPTIONS} -r 12"\n',
    "/etc/default/postgrey": 'POSTGREY_OPTS="--inet=10023 --delay=60"\n',
    "/etc/spamassassin/local.cf": "required_score 4.5\n",
}


@pytest.fixture
def guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What postconf reads; the tables lie where it says."""
    (tmp_path / "main.cf").write_text(
        (Path(__file__).parent / "guide.cf").read_text() + "myhostname = luke.abakus.no\n"
    )
    (tmp_path / "master.cf").write_text(Path("/etc/postfix/master.cf").read_text())
    monkeypatch.setenv("MAIL_CONFIG", str(tmp_path))
    before = {name: Path(name).read_text() if Path(name).exists() else None for name in TABLES}
    for name, text in TABLES.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(text)
    yield
    for name, kept in before.items():
        if kept is None:
            Path(name).unlink()
        else:
            Path(name).write_text(kept)


def test_the_guide_is_adopted_as_it_stands(guide: None) -> None:
    said = MailHost().describe()
    expected = {
        "relay_hostname": "luke.abakus.no",
        "relay_networks": ["129.241.208.0/23"],
        "relay_inet_protocols": "ipv4",
        "relay_smarthost": "smtp-relay.gmail.com",
        "relay_smarthost_port": 587,
        "relay_smarthost_tls": "encrypt",
        "relay_transports": {"restricted@abakus.no": "lmtp:[127.0.0.1]:8024"},
        "relay_header_size_limit": 4096000,
        "relay_inbound_domains": ["abakus.no", "nyitrondheim.no", "hs.abakus.no"],
        "relay_inbound_postscreen": False,
        "relay_inbound_dnsbls": [
            {"zone": "bl.spamcop.net"},
            {"zone": "zen.spamhaus.org", "replies": "127.0.0.[2..11]"},
            {"zone": "b.barracudacentral.org"},
        ],
        "relay_inbound_greylist": True,
        "relay_inbound_greylist_delay": 60,
        "relay_inbound_filter": "spamassassin",
        "relay_inbound_filter_failure": "accept",
        "relay_inbound_tag_score": 4.5,
        "relay_inbound_reject_score": 12,
    }
    assert said.role == "relay"
    assert {name: said.variables.get(name) for name in expected} == expected
    told = {note.value: note.reason for note in said.notes}
    assert told["reject_invalid_hostname"] == "the role says reject_invalid_helo_hostname"
    assert "has been retired" in told["cbl.abuseat.org"] and "has been retired" in told["sbl-xbl.spamhaus.org"]
    assert {"smtpd_use_tls", "transport_maps *", "smtp_sasl_auth_enable"} <= {note.item for note in said.notes}
