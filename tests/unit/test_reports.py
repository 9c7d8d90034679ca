# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reports that receivers send: read whatever their form, refused where hostile, summed up into advice."""

from __future__ import annotations

import email
import email.policy
import gzip
import io
import ipaddress
import json
import os
import re
import tracemalloc
import zipfile
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _report_files
from ansible_collections.postmaster.mail.plugins.module_utils._networks import parse as network
from ansible_collections.postmaster.mail.plugins.module_utils._report_evidence import (
    Advice,
    Demand,
    KnownSender,
    Summary,
    advise,
    gather,
    gather_tls,
)
from ansible_collections.postmaster.mail.plugins.module_utils._report_files import find_reports
from ansible_collections.postmaster.mail.plugins.module_utils._reports import (
    AggregateReport,
    Allowance,
    Authentication,
    ReportError,
    Row,
    TlsReport,
    parse_aggregate,
    parse_tls,
)
from ansible_collections.postmaster.mail.plugins.module_utils._reports_client import SourceError, from_paths
from hypothesis import given
from hypothesis import strategies as st

# Two rows in the form of RFC 9990 appendix B: one aligned, one that came through a list.
XML = """<?xml version="1.0" encoding="UTF-8"?>
<feedback xmlns="urn:ietf:params:xml:ns:dmarc-2.0">
  <report_metadata>
    <org_name>mx.example.net</org_name><email>dmarc@mx.example.net</email><report_id>one</report_id>
    <date_range><begin>1762000000</begin><end>1762086399</end></date_range>
  </report_metadata>
  <policy_published><domain>Example.org</domain><p>none</p><np>reject</np><testing>n</testing></policy_published>
  <record>
    <row><source_ip>192.0.2.25</source_ip><count>7</count>
      <policy_evaluated><disposition>none</disposition><dkim>pass</dkim><spf>fail</spf></policy_evaluated></row>
    <identifiers><header_from>example.org</header_from><envelope_from>example.org</envelope_from></identifiers>
    <auth_results>
      <dkim><domain>example.org</domain><selector>k1</selector><result>pass</result></dkim>
      <spf><domain>example.org</domain><scope>mfrom</scope><result>softfail</result></spf>
    </auth_results>
  </record>
  <record>
    <row><source_ip>2001:db8::7</source_ip><count>2</count>
      <policy_evaluated><disposition>none</disposition><dkim>fail</dkim><spf>fail</spf>
        <reason><type>mailing_list</type><comment>known list</comment></reason></policy_evaluated></row>
    <identifiers><header_from>example.org</header_from></identifiers>
    <auth_results><spf><domain>lists.example.com</domain><result>pass</result></spf></auth_results>
  </record>
</feedback>
"""
# After RFC 8460 appendix B.
TLS: dict[str, Any] = {
    "organization-name": "Company-X",
    "date-range": {"start-datetime": "2026-11-01T00:00:00Z", "end-datetime": "2026-11-01T23:59:59Z"},
    "report-id": "tls-1",
    "policies": [
        {
            "policy": {"policy-type": "sts", "policy-domain": "example.org"},
            "summary": {"total-successful-session-count": 50, "total-failure-session-count": 3},
            "failure-details": [
                {
                    "result-type": "certificate-expired",
                    "receiving-mx-hostname": "mx.example.org",
                    "failed-session-count": 3,
                }
            ],
        }
    ],
}


def test_an_aggregate_report_is_read_whole() -> None:
    report = parse_aggregate(XML.encode())
    assert (report.reporter, report.report_id, report.domain) == ("mx.example.net", "one", "example.org")
    assert report.begin == datetime(2025, 11, 1, 12, 26, 40, tzinfo=UTC)
    assert report.policy == {"p": "none", "np": "reject", "testing": "n"}
    assert report.rows[0] == Row(
        source=ipaddress.ip_address("192.0.2.25"),
        count=7,
        disposition="none",
        dkim_aligned=True,
        spf_aligned=False,
        header_from="example.org",
        envelope_from="example.org",
        dkim=(Authentication("example.org", "pass", selector="k1"),),
        spf=(Authentication("example.org", "softfail", scope="mfrom"),),
    )
    assert report.rows[1].reasons == ("mailing_list",)
    assert report.rows[1].authenticated == ("lists.example.com",)


def test_a_tls_report_is_read_whole() -> None:
    report = parse_tls(json.dumps(TLS).encode())
    (result,) = report.results
    assert (result.type, result.domain, result.successes, result.failures) == ("sts", "example.org", 50, 3)
    assert [(one.kind, one.mx, one.count) for one in result.details] == [("certificate-expired", "mx.example.org", 3)]


BOMB = (
    """<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><feedback>&b;</feedback>"""
)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is no XML: no element found: line 1, column 0"),
        (b"<feedback>", "is no XML: no element found: line 1, column 10"),
        (b"<html/>", "is XML, but no DMARC report: its root is not feedback"),
        (BOMB.encode(), "has a document type definition, which no report needs and attacks are made of"),
        (b"<feedback>" + b"<a>" * 40 + b"</a>" * 40, "has more elements, or deeper ones, than any honest report"),
        (b"<feedback></feedback>", "does not say which domain it is about"),
        (XML.replace("1762000000", "soon").encode(), "its date range 'soon' is no time"),
        (XML.replace("1762000000", "9" * 400).encode(), "its date range '999999999999999999999999999999999999999999999999999999999999' is no time"),
        (b"<?xml version='1.0' encoding='x-nothing'?><feedback/>", "is in an encoding that cannot be read"),
    ],
)  # fmt: skip
def test_what_is_no_report_is_refused_in_a_sentence(content: bytes, sentence: str) -> None:
    with pytest.raises(ReportError) as caught:
        parse_aggregate(content)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("192.0.2.25", "192.0.2", "record 1: the source '192.0.2' is no IP address"),
        (">7<", ">many<", "record 1: the count 'many' is no number of messages"),
        (">7<", ">-7<", "record 1: the count '-7' is no number of messages"),
        (">7<", f">{'9' * 5000}<", f"record 1: the count '{'9' * 60}' is no number of messages"),
    ],
)
def test_a_row_without_sense_is_left_out_and_told(old: str, new: str, problem: str) -> None:
    report = parse_aggregate(XML.replace(old, new).encode())
    assert report.skipped == (problem,)
    assert len(report.rows) == 1


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"{", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"{}", "is JSON, but no TLS report: it has no policies"),
        (json.dumps({**TLS, "date-range": {}}).encode(), "its date range 'None' is no time"),
        (
            json.dumps({**TLS, "policies": [{"summary": {"total-successful-session-count": -1}}]}).encode(),
            "its total-successful-session-count '-1' is no number of sessions",
        ),
    ],
)
def test_a_broken_tls_report_is_refused_in_a_sentence(content: bytes, sentence: str) -> None:
    with pytest.raises(ReportError) as caught:
        parse_tls(content)
    assert str(caught.value) == sentence


@given(st.binary() | st.text().map(str.encode))
def test_any_content_is_read_or_refused(content: bytes) -> None:
    for found in find_reports(content, "x"):
        assert found.problem and "\n" not in found.problem


# --- what reports come in --------------------------------------------------------------------


def zipped(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def mailed(content: bytes, maintype: str = "application", subtype: str = "octet-stream") -> bytes:
    message = EmailMessage()
    message["Subject"] = "Report domain: example.org"
    message.set_content("<p>This is a report.</p>")
    message.add_attachment(content, maintype=maintype, subtype=subtype, filename="any name.bin")
    return bytes(message)


def forwarded(content: bytes) -> bytes:
    message = EmailMessage()
    message.set_content("Is this for you?")
    message.add_attachment(email.message_from_bytes(content, policy=email.policy.default))
    return bytes(message)


FORMS = {
    "bare": XML.encode(),
    "with a byte order mark": b"\xef\xbb\xbf" + XML.encode(),
    "with a name in Latin-1": XML.replace("<org_name>", "<org_name>\u00dc", 1).encode("latin-1"),
    "gzip": gzip.compress(XML.encode()),
    "zip": zipped(**{"a.xml": XML.encode()}),
    "zip with a note": zipped(**{"a.xml": XML.encode(), "readme.txt": b"This is a report."}),
    "message with gzip": mailed(gzip.compress(XML.encode())),
    "message with zip": mailed(zipped(x=XML.encode()), subtype="zip"),
    "message with xml": mailed(XML.encode(), subtype="xml"),
    "forwarded message": forwarded(mailed(gzip.compress(XML.encode()))),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_report_is_found_in_whatever_it_comes(form: str) -> None:
    (found,) = find_reports(FORMS[form], "x")
    assert found.problem == ""
    assert isinstance(found.report, AggregateReport) and found.report.report_id == "one"


def test_archives_that_grow_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_report_files, "UNPACKED_LIMIT", 1024 * 1024)
    many = zipped(**{f"{number}.xml": b"<feedback>" + bytes(600_000) for number in range(3)})
    for content in (gzip.compress(bytes(5_000_000)), zipped(x=bytes(5_000_000)), many):
        assert [found.problem for found in find_reports(content, "x")] == ["unpacks to more than 1 MiB"]
    crowd = zipped(**{str(number): b"" for number in range(60)})
    assert [found.problem for found in find_reports(crowd, "x")] == ["is an archive of more than 50 files"]


RECORD = XML[XML.index("  <record>") : XML.index("  </record>") + len("  </record>\n")]
MANY = XML.replace("</feedback>", RECORD * 3 + "</feedback>")  # five records


def test_what_is_kept_of_a_report_is_its_rows() -> None:
    """Memory does not grow with what is in a report and none of it."""
    tracemalloc.start()
    for inner in (b"<record/>", b"<record><a/></record>", b"<a/>", b"<a>x</a>"):
        content = b"<feedback>" + inner * 30_000 + b"</feedback>"
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        (found,) = find_reports(content, "x")
        assert found.problem == "does not say which domain it is about"
        assert tracemalloc.get_traced_memory()[1] - before < 2_000_000
    tracemalloc.stop()


def test_a_message_holds_so_many_records_and_elements(monkeypatch: pytest.MonkeyPatch) -> None:
    other = XML.replace("<report_id>one<", "<report_id>two<").encode()
    zip_of_two, message = zipped(a=MANY.encode(), b=other), EmailMessage()
    message.set_content("Two at once.")
    for content in (MANY.encode(), other):
        message.add_attachment(content, maintype="application", subtype="xml", filename="x.xml")

    def found(content: bytes, allowance: Allowance) -> list[str]:
        monkeypatch.setattr(_report_files, "Allowance", lambda: allowance)
        reports = find_reports(content, "x")
        return [one.report.report_id if isinstance(one.report, AggregateReport) else one.problem for one in reports]

    for content in (zip_of_two, bytes(message)):
        assert found(content, Allowance(records=7)) == ["one", "two"]
        assert found(content, Allowance(records=6)) == ["one", "has more than 200000 records, as no honest report has"]
        assert found(content, Allowance(elements=100)) == ["has more than 2000000 elements, as no honest report has"]


def test_records_in_honest_numbers_are_read() -> None:
    report = parse_aggregate(XML.replace("</feedback>", RECORD * 5000 + "</feedback>").encode())
    assert len(report.rows) == 5002 and report.skipped == ()


@pytest.mark.parametrize(("auths", "fits"), [(200, True), (400, False)])
def test_a_record_has_an_end(auths: int, fits: bool) -> None:
    more = "<dkim><domain>a.example</domain><result>pass</result></dkim>" * auths
    content = XML.replace("<auth_results>", f"<auth_results>{more}", 1).encode()
    if fits:
        assert len(parse_aggregate(content).rows) == 2
    else:
        with pytest.raises(ReportError, match="has more elements, or deeper ones, than any honest report"):
            parse_aggregate(content)


def test_senseless_records_are_told_in_part() -> None:
    skipped = parse_aggregate(XML.replace("</feedback>", "<record/>" * 60 + "</feedback>").encode()).skipped
    assert len(skipped) == 51 and skipped[-1] == "10 more records make no sense"
    assert skipped[0] == "record 3: the source '' is no IP address"


def test_the_parts_of_a_message_share_its_room(monkeypatch: pytest.MonkeyPatch) -> None:
    message = EmailMessage()
    message.set_content("Two at once.")
    for number in range(2):
        content = gzip.compress(XML.replace(">one<", f">{number}<").encode() + b" " * 600_000)
        message.add_attachment(content, maintype="application", subtype="gzip", filename="x.gz")
    assert [one.problem for one in find_reports(bytes(message), "x")] == ["", ""]
    monkeypatch.setattr(_report_files, "UNPACKED_LIMIT", 1024 * 1024)
    assert [one.problem for one in find_reports(bytes(message), "x")] == ["", "unpacks to more than 1 MiB"]


def test_a_tls_report_has_an_end() -> None:
    text = json.dumps(TLS)
    assert parse_tls((text + " " * 1_000_000).encode()).report_id == "tls-1"
    with pytest.raises(ReportError, match="is a TLS report of more than 4 MiB, as no honest one is"):
        parse_tls((text + " " * 5_000_000).encode())


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (gzip.compress(XML.encode())[:-200], "is a gzip file that ends too soon"),
        (b"\x1f\x8bnothing", "is a gzip file that cannot be read"),
        (zipped(x=XML.encode())[:-30], "is a zip archive that cannot be read"),
        (bytes(40 * 1024 * 1024), "is larger than 32 MiB"),
    ],
)
def test_damaged_files_are_told(content: bytes, problem: str) -> None:
    assert [found.problem for found in find_reports(content, "x")] == [problem]


def test_files_folders_and_maildirs_are_read(tmp_path: Path) -> None:
    for folder in ("box/cur", "box/new", "box/tmp"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "box/cur/1:2,S").write_bytes(FORMS["message with gzip"])
    (tmp_path / "box/tmp/2").write_bytes(b"half a mess")
    (tmp_path / "a.xml").write_text(XML)
    os.mkfifo(tmp_path / "pipe")  # reading it would wait for ever
    names = [os.path.relpath(name, tmp_path) for name, dummy in from_paths([str(tmp_path)])]
    assert names == ["a.xml", "box/cur/1:2,S"]
    with pytest.raises(SourceError, match="nowhere is neither a file nor a folder: name where the reports are"):
        list(from_paths([str(tmp_path / "nowhere")]))


# --- evidence and advice ---------------------------------------------------------------------

BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
Policy = dict[str, str]


def row(source: str, count: int, *, passes: bool, vouched: str = "", reasons: tuple[str, ...] = ()) -> Row:
    spf = (Authentication(vouched, "pass"),) if vouched else ()
    address = ipaddress.ip_address(source)
    return Row(address, count, "none", passes, False, "example.org", reasons=reasons, spf=spf)


def report(
    *rows: Row, hours: float = 24, at: int = 0, report_id: str = "1", policy: Policy | None = None
) -> AggregateReport:
    """A report that begins on day ``at``."""
    begin = BEGIN + timedelta(days=at)
    end = begin + timedelta(hours=hours, seconds=-1)
    return AggregateReport(
        "mx.example.net", report_id, begin, end, "example.org", {"p": "none", **(policy or {})}, rows
    )


def daily(*rows: Row, days: int = 20, policy: Policy | None = None) -> list[AggregateReport]:
    """A report for every day, the rows in the first."""
    return [report(*(rows if not day else ()), at=day, report_id=f"day {day}", policy=policy) for day in range(days)]


OURS = KnownSender("our relays", (network("192.0.2.0/28"),))
LETTERS = KnownSender("newsletters", domains=("letters.example",))
GOOD = row("192.0.2.1", 1000, passes=True, vouched="example.org")


FORGED = row("198.51.100.9", 900, passes=False)
CRM = row("198.51.100.7", 100, passes=False, vouched="crm.example")
CROWD = [row(f"198.51.100.{number}", 11, passes=False, vouched=f"s{number}.example") for number in range(100)]
SINGLE = (
    "messages authenticate, but not as example.org: if it sends for you, "
    "name it as a sender and have it sign with your domain; if not, add it to ignore"
)
FAILING = "sources that may be ours fail: a stricter policy would lose their mail"
NAME_THEM = "name those who send for you, that strangers can be told from them"


def up(**publish: str) -> Advice:
    policy = publish.get("p", "reject")
    before = {"quarantine": "none"}.get(policy, "reject" if "p" not in publish else "quarantine")
    return Advice(before, policy, "mail of ours passes: 1000 of 1000 messages in 20 days", publish=publish)


def stay(reason: str, *blockers: str, policy: str = "none") -> Advice:
    return Advice(policy, policy, reason, blockers)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({"p": "none"}, up(p="quarantine")),
        ({"p": "nonsense"}, up(p="quarantine")),
        ({"p": "quarantine"}, up(p="reject")),
        ({"p": "reject"}, stay("the ladder ends here: keep reading the reports", policy="reject")),
        ({"p": "reject", "sp": "reject", "np": "reject", "testing": "n"}, stay("the ladder ends here: keep reading the reports", policy="reject")),
        # RFC 9989 section 4.7: t=y is one step less than what is published, sp and np are policies of their own.
        ({"p": "reject", "testing": "y"}, up(t="n")),
        ({"p": "none", "testing": "y"}, up(p="quarantine")),
        ({"p": "reject", "sp": "none"}, up(sp="quarantine")),
        ({"p": "reject", "sp": "quarantine"}, up(sp="reject")),
        ({"p": "reject", "np": "quarantine"}, up(np="reject")),
        ({"p": "quarantine", "sp": "none"}, up(p="reject")),
    ],
)  # fmt: skip
def test_the_ladder(policy: dict[str, str], expected: Advice) -> None:
    evidence = gather(daily(GOOD, policy=policy), [OURS])["example.org"]
    assert advise(evidence, Demand()) == expected


@pytest.mark.parametrize(
    ("rows", "policy", "expected"),
    [
        # A stranger's forgeries are what the policy is for: they hold nothing up.
        ([GOOD, FORGED], "none", Advice("none", "quarantine", "mail of ours passes: 1000 of 1900 messages in 20 days", publish={"p": "quarantine"})),
        # Nor does mail that a list has changed on its way.
        (
            [GOOD, row("198.51.100.9", 900, passes=False, vouched="lists.example", reasons=("mailing_list",))],
            "none",
            Advice("none", "quarantine", "mail of ours passes: 1000 of 1900 messages in 20 days", publish={"p": "quarantine"}),
        ),
        (
            [GOOD, row("192.0.2.2", 100, passes=False)],
            "none",
            stay(
                FAILING,
                "our relays: 100 of 1100 messages fail, 100 of them without any authentication: "
                "put its addresses into SPF and have it sign for example.org",
            ),
        ),
        (
            [GOOD, CRM],
            "none",
            stay(FAILING, f"crm.example: 100 {SINGLE}"),
        ),
        # Within the tolerance.
        (
            [GOOD, row("192.0.2.2", 5, passes=False)],
            "none",
            Advice("none", "quarantine", "mail of ours passes: 1000 of 1005 messages in 20 days", publish={"p": "quarantine"}),
        ),
        # Each within the tolerance, and beyond it together; the twin has one source less.
        (
            [GOOD, *(row(f"198.51.100.{number}", 5, passes=False, vouched=f"s{number}.example") for number in range(3))],
            "none",
            stay(
                FAILING,
                "3 more sources: 15 messages together authenticate, but not as example.org "
                "(s0.example, s1.example, s2.example): name as senders those that send for you, and add the others to ignore",
            ),
        ),
        (
            [GOOD, *(row(f"198.51.100.{number}", 5, passes=False, vouched=f"s{number}.example") for number in range(2))],
            "none",
            Advice("none", "quarantine", "mail of ours passes: 1000 of 1010 messages in 20 days", publish={"p": "quarantine"}),
        ),
        # Forgeries do not widen what is tolerated.
        ([GOOD, row("198.51.100.9", 90000, passes=False), CRM], "none", stay(FAILING, f"crm.example: 100 {SINGLE}")),
    ],
)  # fmt: skip
def test_what_fails_holds_a_step_up_where_it_may_be_ours(rows: list[Row], policy: str, expected: Advice) -> None:
    evidence = gather(daily(*rows, policy={"p": policy}), [OURS])["example.org"]
    assert advise(evidence, Demand()) == expected


def test_a_crowd_of_strangers_is_told_in_few_lines() -> None:
    advice = advise(gather(daily(GOOD, *CROWD), [OURS])["example.org"], Demand())
    assert (advice.next, advice.reason, len(advice.blockers)) == ("none", FAILING, 6)
    assert advice.blockers[0] == f"s0.example: 11 {SINGLE}"
    assert advice.blockers[5] == (
        "95 more sources: 1045 messages together authenticate, but not as example.org "
        "(s13.example, s14.example, s15.example, s16.example, s17.example, ...): "
        "name as senders those that send for you, and add the others to ignore"
    )


def test_mail_of_ours_that_is_being_lost_is_told_at_the_end_of_the_ladder_too() -> None:
    lost = row("198.51.100.7", 100, passes=False, vouched="bounces.letters.example")
    advice = advise(gather(daily(GOOD, lost, policy={"p": "reject"}), [OURS, LETTERS])["example.org"], Demand())
    assert advice == stay(
        "mail of ours is being lost: mend what is named",
        "newsletters: 100 of 100 messages fail: it authenticates as bounces.letters.example; "
        "have it sign with DKIM for example.org",
        policy="reject",
    )


@pytest.mark.parametrize(
    ("rows", "senders", "reason"),
    [
        # Nothing of ours passes at all: nobody knows yet what a policy would do to it.
        ([FORGED], [], "0 of 900 messages pass, and a step needs 100 that do"),
        ([FORGED, row("203.0.113.1", 3, passes=True, vouched="example.org")], [], "3 of 903 messages pass, and a step needs 100 that do"),
        ([row("192.0.2.1", 99, passes=True)], [OURS], "99 of 99 messages pass, and a step needs 100 that do"),
        ([row("192.0.2.1", 100, passes=True)], [OURS], ""),
        # A sender that is named and has not sent is no evidence.
        ([GOOD], [OURS, LETTERS], "the reports have no mail of newsletters: wait for it, or name only who still sends"),
        ([GOOD, row("198.51.100.7", 1, passes=True, vouched="letters.example")], [OURS, LETTERS], ""),
        # Without names, mail that nobody vouches for may be ours.
        ([GOOD, FORGED], [], f"900 of 1900 messages fail, and no senders are named: {NAME_THEM}"),
        ([GOOD, row("198.51.100.9", 112, passes=False)], [], f"112 of 1112 messages fail, and no senders are named: {NAME_THEM}"),
        ([GOOD, row("198.51.100.9", 111, passes=False)], [], ""),
        ([GOOD, FORGED], [OURS], ""),
    ],
)  # fmt: skip
def test_a_step_wants_mail_that_passes(rows: list[Row], senders: list[KnownSender], reason: str) -> None:
    advice = advise(gather(daily(*rows), senders)["example.org"], Demand())
    assert (advice.next, advice.publish) == (("none", {}) if reason else ("quarantine", {"p": "quarantine"}))
    assert advice.reason == reason or not reason


@pytest.mark.parametrize(
    ("reports", "days"),
    [
        (daily(GOOD, days=14), 14),
        (daily(GOOD, days=13), 13),
        ([report(GOOD), report(at=30, report_id="2")], 2),  # a gap is no evidence
        ([report(GOOD), report(report_id="2"), report(at=1, report_id="3")], 2),  # nor is a day that two report
        ([report(GOOD, hours=7 * 24, report_id=str(week), at=7 * week) for week in range(2)], 14),
        ([report(GOOD, hours=20 * 24)], 7),
        ([report(GOOD, hours=24 * 365 * 50)], 7),  # begin=1970
    ],
)
def test_days_count_that_have_reports(reports: list[AggregateReport], days: int) -> None:
    advice = advise(gather(reports, [OURS])["example.org"], Demand())
    assert advice.next == ("quarantine" if days >= 14 else "none")
    assert f"{days} days" in advice.reason


def test_a_report_on_years_is_told() -> None:
    assert report(hours=7 * 24).problems == ()
    assert report(hours=24 * 365).problems == ("its date range has 364 days, of which the last 7 count",)
    ancient = XML.replace("1762000000", "-62135596800").replace("1762086399", "-62135596700")
    assert parse_aggregate(ancient.encode()).period[0].year == 1


def test_an_ignored_source_holds_nothing_up() -> None:
    evidence = gather(daily(GOOD, CRM), [OURS])["example.org"]
    assert advise(evidence, Demand()).next == "none"
    assert advise(evidence, Demand(ignore=frozenset({"crm.example"}))).next == "quarantine"


def test_a_report_that_came_twice_counts_once() -> None:
    assert gather([report(GOOD), report(GOOD)])["example.org"].messages == 1000
    assert gather([report(GOOD), report(GOOD, report_id="2")])["example.org"].messages == 2000


def test_the_table_tells_sources_apart() -> None:
    rows = (GOOD, row("198.51.100.7", 40, passes=False, vouched="crm.example"), row("203.0.113.5", 9, passes=False))
    evidence = gather(daily(*rows), [OURS])
    tls = gather_tls([parse_tls(json.dumps(TLS).encode())])
    assert Summary(evidence, tls, Demand()).lines() == [
        "example.org: 1049 messages, 2026-11-01 to 2026-11-20, reported by mx.example.net",
        "  aligned       1000        0 failing  our relays",
        "  unaligned       40       40 failing  crm.example (1 addresses)",
        "  unknown          9        9 failing  203.0.113.5",
        "  p=none, stay: sources that may be ours fail: a stricter policy would lose their mail",
        "  mend crm.example: 40 messages authenticate, but not as example.org: if it sends for you, "
        "name it as a sender and have it sign with your domain; if not, add it to ignore",
        "example.org: TLS for 50 sessions, failures 3, policies sts",
        "         3 certificate-expired at mx.example.org",
    ]


def test_the_table_tells_what_to_publish() -> None:
    def step(**policy: str) -> str:
        return Summary(gather(daily(GOOD, policy=policy), [OURS]), {}, Demand()).lines()[-1]

    passes = "mail of ours passes: 1000 of 1000 messages in 20 days"
    assert step(p="none", sp="none") == f"  p=none -> p=quarantine: {passes}"
    assert step(p="reject", testing="y") == f"  p=reject; t=y -> t=n: {passes}"
    assert step(p="reject", sp="none") == f"  p=reject; sp=none -> sp=quarantine: {passes}"


# --- real reports ----------------------------------------------------------------------------


def _real(folder: str) -> list[Path]:
    data = os.environ.get("MAIL_TEST_DATA")
    return sorted(path for path in (Path(data) / folder).iterdir() if path.suffix in (".xml", ".eml")) if data else []


needs_data = pytest.mark.skipif(not os.environ.get("MAIL_TEST_DATA"), reason="not run: MAIL_TEST_DATA is not set")


@needs_data
def test_real_aggregate_reports_are_read_as_expected() -> None:
    paths = _real("dmarc-feedback")
    assert len(paths) == 10
    for path in paths:
        (found,) = find_reports(path.read_bytes(), path.name)
        assert isinstance(found.report, AggregateReport), (path.name, found.problem)
        told = json.loads(path.with_suffix(".json").read_text())
        _compare(found.report, told)


def _compare(report: AggregateReport, told: dict[str, Any]) -> None:
    meta = told["report_metadata"]
    assert (report.reporter, report.report_id) == (meta["org_name"], meta["report_id"])
    assert (report.begin.timestamp(), report.end.timestamp()) == tuple(meta["date_range"].values())
    assert report.domain == told["policy_published"]["domain"].lower()
    assert report.policy["p"] == told["policy_published"]["p"].lower()
    assert report.skipped == () and len(report.rows) == len(told["record"])
    for row, one in zip(report.rows, told["record"], strict=True):
        evaluated = one["row"]["policy_evaluated"]
        assert (str(row.source), row.count) == (one["row"]["source_ip"], one["row"]["count"])
        assert (row.dkim_aligned, row.spf_aligned) == (evaluated["dkim"] == "Pass", evaluated["spf"] == "Pass")
        assert row.header_from == one["identifiers"]["header_from"]
        for ours, theirs in ((row.dkim, one["auth_results"]["dkim"]), (row.spf, one["auth_results"]["spf"])):
            expected = [(entry["domain"], re.sub("[^a-z]", "", entry["result"].lower())) for entry in theirs]
            assert [(entry.domain, entry.result) for entry in ours] == expected


@needs_data
def test_real_tls_reports_are_read_as_expected() -> None:
    paths = _real("tlsrpt")
    assert paths
    for path in paths:
        (found,) = find_reports(path.read_bytes(), path.name)
        assert isinstance(found.report, TlsReport), (path.name, found.problem)
        told = parse_tls(path.with_suffix(".json").read_bytes())
        assert found.report == told
