# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes from every host to a mailbox outside, read by IMAP; and reports of receivers, read from the same mailbox."""

from __future__ import annotations

import gzip
import io
import json
import time
import zipfile
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab.plays import play
from lab.probe import Lab

from tools.dev import demo

from .conftest import unsigned_mail

PROBE = Path(__file__).resolve().parents[3] / "playbooks" / "probe.yml"
RECIPIENT = "someone@outside.test"
PROBE_SUBJECT = "Mail probe"


@pytest.fixture(scope="module")
def mailbox(lab: Lab) -> dict[str, Any]:
    """The mailbox outside, as the option ``imap`` takes it."""
    outside = lab.known["outside"]
    return {
        "host": lab.address("outside"),
        "username": outside["username"],
        "password": outside["password"],
        "ca_path": lab.known["ca_file"],
    }


@pytest.fixture
def variables(lab: Lab, mailbox: dict[str, Any]) -> dict[str, Any]:
    """What a person says of a mailbox outside to probe."""
    return {
        "mail_probe_recipient": RECIPIENT,
        "mail_probe_imap": mailbox,
        "mail_probe_authserv_id": "mx.outside.test",
        "mail_probe_resolver": lab.address("resolver"),
    }


def _hosts(lab: Lab) -> list[str]:
    return [*lab.hosts("satellites"), *lab.hosts("relays")]


def test_a_probe_from_every_host_arrives_and_is_believed(lab: Lab, variables: dict[str, Any]) -> None:
    played = play(lab, PROBE, extra=variables)
    assert played.changed == {}
    for host in _hosts(lab):
        assert f"{host} -> localhost" in played.output
    assert played.output.count("'spf': 'pass', 'dkim': 'pass', 'dmarc': 'pass'") == len(_hosts(lab))
    assert "relay1.corp.example -> mx.outside.test" in played.output
    assert variables["mail_probe_imap"]["password"] not in played.output


def test_check_mode_sends_nothing(lab: Lab, variables: dict[str, Any]) -> None:
    before = len(lab.messages(PROBE_SUBJECT))
    assert play(lab, PROBE, extra=variables, check=True).failures == {}
    time.sleep(2)
    assert len(lab.messages(PROBE_SUBJECT)) == before


def test_a_wrong_password_is_told_and_not_shown(lab: Lab, variables: dict[str, Any], mailbox: dict[str, Any]) -> None:
    wrong = {**mailbox, "password": "it's\\wrong"}
    played = play(lab, PROBE, extra={**variables, "mail_probe_imap": wrong}, limit="relay1,localhost", must_pass=False)
    assert "IMAP at" in played.failures["relay1"] and "failed" in played.failures["relay1"].lower()
    assert "wrong" not in played.output


def test_mail_that_is_not_signed_fails_its_probe(lab: Lab, variables: dict[str, Any]) -> None:
    with unsigned_mail(lab, "relay1"):
        played = play(lab, PROBE, extra=variables, limit="relay1", must_pass=False)
    assert "no DKIM signature verifies (there is none)" in played.failures["relay1"]


def _restart_signer(lab: Lab) -> None:
    """Mail that comes before rspamd answers would be put off for minutes."""
    lab.run("relay1", "systemctl restart rspamd; until ss -Hltn 'sport = :11332' | grep -q .; do sleep 0.2; done")


def _bring_keys_back(lab: Lab) -> None:
    if (
        lab.run("relay1", "test -d /etc/dkimkeys.away && mv /etc/dkimkeys.away /etc/dkimkeys", check=False).returncode
        == 0
    ):
        _restart_signer(lab)


@pytest.fixture
def keyless(lab: Lab) -> Iterator[str]:
    """A relay whose signer has no key."""
    lab.run("relay1", ["mv", "/etc/dkimkeys", "/etc/dkimkeys.away"])
    _restart_signer(lab)
    yield "relay1"
    _bring_keys_back(lab)


def test_a_relay_without_keys_keeps_its_mail_until_it_can_sign(
    lab: Lab, variables: dict[str, Any], keyless: str
) -> None:
    before = {message.raw for message in lab.messages(PROBE_SUBJECT)}
    began = lab.run(keyless, ["date", "+%F %T"]).stdout.strip()
    played = play(lab, PROBE, extra={**variables, "mail_probe_timeout": 6}, limit=keyless, must_pass=False)
    assert "did not arrive within 6 seconds" in played.failures[keyless]
    assert "A key of the sender domain cannot be used" in lab.journal(keyless, since=began)
    _bring_keys_back(lab)
    lab.run(keyless, ["postkick", "public", "pickup", "W"])
    messages = lab.wait_for_messages(PROBE_SUBJECT, len(before) + 1, timeout=150)
    assert [message.verdicts["dkim"] for message in messages if message.raw not in before] == ["pass"]


def test_the_demo_s_proof_and_its_table(lab: Lab) -> None:
    """What ./dev demo does after site.yml."""
    rows = demo.prove(lab)
    assert [row.problem for row in rows] == [""] * len(rows)
    assert {row.cells[0] for row in rows} == set(_hosts(lab))
    assert "FAILED" not in demo.table(rows)
    first = next(row for row in rows if row.cells[:2] == ("sat-exim-12", "root"))
    assert first.cells[2:4] == ("sat-exim-12 > relay2 > provider > outside", "ops@outside.test")
    assert first.cells[4:] == ("pass", "pass", "pass", "TLSv1.3")


def test_the_demo_s_table_says_what_failed(lab: Lab) -> None:
    with unsigned_mail(lab, "relay1"):
        rows = demo.prove(lab)
    table = demo.table(rows)
    for row in rows:
        unsigned = "relay1 > outside" in row.cells[2]
        assert row.problem == ("dkim is none" if unsigned else "")
        assert (f"FAILED {row.cells[0]} to {row.cells[1]}: dkim is none" in table) is unsigned
    assert {bool(row.problem) for row in rows} == {True, False}


# --- reports ---------------------------------------------------------------------------------

REPORT = """<feedback><report_metadata><org_name>outside</org_name><report_id>{id}</report_id>
<date_range><begin>{begin}</begin><end>{end}</end></date_range></report_metadata>
<policy_published><domain>corp.example</domain><p>none</p></policy_published>
<record><row><source_ip>{source}</source_ip><count>{count}</count>
<policy_evaluated><disposition>none</disposition><dkim>{verdict}</dkim><spf>{verdict}</spf></policy_evaluated></row>
<identifiers><header_from>corp.example</header_from></identifiers><auth_results/></record></feedback>
"""


def _report(day: int, **row: Any) -> bytes:
    begin = 1762000000 + day * 86400
    return REPORT.format(id=day, begin=begin, end=begin + 86399, **row).encode()


def _zipped(contents: list[bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, content in enumerate(contents):
            archive.writestr(f"{number}.xml", content)
    return stream.getvalue()


def _deliver(lab: Lab, content: bytes, subtype: str) -> None:
    message = EmailMessage()
    message["From"] = "dmarc@stranger.test"
    message["To"] = RECIPIENT
    message["Subject"] = "Report domain: corp.example"
    message.set_content("A report.")
    message.add_attachment(content, maintype="application", subtype=subtype, filename="report")
    # Dropped into the mailbox: what is tested is reading it.
    maildir, name = lab.known["outside"]["maildir"], f"{time.time_ns()}.report"
    take = f"cat > tmp/{name} && chown 5000:5000 tmp/{name} && mv tmp/{name} new/{name}"
    lab.run("outside", f"cd {maildir} && {take}", input=message.as_string())


def test_reports_in_a_mailbox_are_read(lab: Lab, mailbox: dict[str, Any], tmp_path: Path) -> None:
    relay = lab.address("relay1")
    ours, stranger = {"source": relay, "count": 500, "verdict": "pass"}, "198.51.100.9"
    _deliver(lab, gzip.compress(_report(0, **ours)), "gzip")
    _deliver(lab, _report(1, source=stranger, count=20, verdict="fail"), "xml")
    _deliver(lab, _zipped([_report(day, **{**ours, "count": 1}) for day in range(2, 14)]), "zip")
    _deliver(lab, b"<!DOCTYPE feedback [<!ENTITY a 'b'>]><feedback>&a;</feedback>", "xml")
    options = {"imap": mailbox, "senders": [{"name": "our relays", "networks": [relay]}]}
    tasks = [
        {"postmaster.mail.mail_reports": options, "register": "found"},
        {"ansible.builtin.copy": {"content": "{{ found | to_json }}", "dest": str(tmp_path / "found.json")}},
    ]
    playbook = tmp_path / "reports.yml"
    playbook.write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    play(lab, playbook)
    found = json.loads((tmp_path / "found.json").read_text())
    told = found["domains"]["corp.example"]
    assert (told["aligned"], told["unaligned"], told["unknown"]) == (512, 0, 20)
    assert [source["name"] for source in told["sources"]] == ["our relays", "198.51.100.9"]
    assert told["advice"]["next"] == "quarantine"
    assert [one["problem"] for one in found["problems"]] == [
        "has a document type definition, which no report needs and attacks are made of"
    ]
