# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that mail_records derives, published to Knot DNS and read back; dmarc_record and spf_record on it.

Needs the Debian package knot; without it the tests are skipped with 'not run'. The scenario modules runs them too.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils._dmarc import discover
from ansible_collections.postmaster.mail.plugins.module_utils._dns import DnsError
from ansible_collections.postmaster.mail.plugins.module_utils._dns_client import DnsServer
from ansible_collections.postmaster.mail.plugins.module_utils._spf import check_host
from ansible_collections.postmaster.mail.plugins.modules import (
    dmarc_record,
    dns_records,
    mail_domain_info,
    mail_records,
    spf_record,
)

testing = pytest.importorskip("ansible.module_utils.testing", reason="not run: ansible-core is too old")

SECRET = "c2VjcmV0IG9mIHRoZSBlc3RhdGUgZm9yIHRlc3RzIQ=="
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
KNOT = """
server:
  rundir: {dir}
  listen: 127.0.0.1@{port}
database:
  storage: {dir}
key:
  - id: estate.
    algorithm: hmac-sha256
    secret: {secret}
acl:
  - id: updates
    key: estate.
    action: update
template:
  - id: default
    acl: updates
zone:
  - domain: corp.example.
    file: {dir}/corp.zone
  - domain: broken.example.
    file: {dir}/none
  - domain: .
    file: {dir}/root.zone
"""
ZONE = "$TTL 60\n@ SOA ns1.corp.example. hostmaster.corp.example. 1 3600 600 86400 30\n@ NS ns1.corp.example.\n"
ADDRESS = "ns1 A 127.0.0.1\n"
PEM = """-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
-----END PUBLIC KEY-----
"""
DOMAIN = {
    "name": "corp.example",
    "senders": [{"ip4": "192.0.2.25"}, {"known": "brevo", "verification": "abc"}],
    "mx": [{"host": "mx.corp.example"}],
    "dmarc": {"policy": "none", "rua": ["dmarc@corp.example"], "nonexistent_policy": "reject"},
    "mta_sts": {"mode": "enforce", "host": "web.corp.example"},
    "tls_rpt": {"rua": ["tls@corp.example"]},
    "tlsa": [{"host": "mx.corp.example", "current": PEM, "next": "3 1 1 " + "AB" * 32}],
    "autoconfig": {"submissions": "mail.corp.example", "pop3s": "."},
    "caa": ["letsencrypt.org", '0 issuewild ";"'],
    "bimi": {"logo": "https://corp.example/logo.svg"},
    "no_mail": ["www"],
    "host_records": [
        {"name": "mx", "addresses": ["192.0.2.25", "2001:db8::25"]},
        {"name": "pmg", "alias_of": "mx.corp.example"},
    ],
    "reports_for": ["shop.test"],
    "ttl": 60,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DnsServer]:
    knotd = shutil.which("knotd", path=PATH)
    if knotd is None:
        pytest.skip("not run: knotd is not installed (Debian package knot)")
    directory = tmp_path_factory.mktemp("knot")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    (directory / "corp.zone").write_text(ZONE + ADDRESS)
    (directory / "root.zone").write_text(ZONE)
    (directory / "conf").write_text(KNOT.format(dir=directory, port=port, secret=SECRET))
    with (directory / "out").open("wb") as output:
        process = subprocess.Popen([knotd, "-c", str(directory / "conf")], stdout=output, stderr=output)
    answering = DnsServer("127.0.0.1", port=port, timeout=30, recursive=True)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(DnsError):
                answering.query("corp.example", "SOA")
                break
            time.sleep(0.1)
        yield answering
    finally:
        answering.close()
        process.terminate()
        process.wait(10)


def _main(main: Callable[[], None], args: dict[str, Any]) -> dict[str, Any]:
    stream = io.StringIO()
    with testing.patch_module_args(args), contextlib.redirect_stdout(stream), contextlib.suppress(SystemExit):
        main()
    result: dict[str, Any] = json.loads(stream.getvalue().strip().splitlines()[-1])
    assert not result.get("failed"), result["msg"]
    return result


def _publish(server: DnsServer, records: list[dict[str, Any]]) -> dict[str, Any]:
    args = {"server": server.address, "port": server.port, "tsig_name": "estate.", "tsig_secret": SECRET}
    return _main(dns_records.main, {**args, "records": records})


def _edit(server: DnsServer, **options: Any) -> dict[str, Any]:
    result = _main(
        dmarc_record.main, {"resolver": f"{server.address}@{server.port}", "domain": "corp.example", **options}
    )
    record: dict[str, Any] = result["records"][0]
    assert result["changed"] is record["changed"]
    return record


def test_every_derived_record_is_published_and_read_back(server: DnsServer) -> None:
    records = _main(mail_records.main, {"domains": [DOMAIN]})["records"]
    assert {record["type"] for record in records} == {"A", "AAAA", "MX", "TXT", "CNAME", "TLSA", "SRV", "CAA"}
    assert _publish(server, records)["changed"]
    assert not _publish(server, records)["changed"]
    for name, rdtype, expected in [
        ("_25._tcp.mx.corp.example", "TLSA", {r["rdata"] for r in records if r["type"] == "TLSA"}),
        ("_pop3s._tcp.corp.example", "SRV", {"0 0 0 ."}),
        ("_submissions._tcp.corp.example", "SRV", {"0 1 465 mail.corp.example."}),
        ("corp.example", "CAA", {'0 issue "letsencrypt.org"', '0 issuewild ";"'}),
        ("www.corp.example", "MX", {"0 ."}),
        ("mx.corp.example", "AAAA", {"2001:db8::25"}),
        ("pmg.corp.example", "A", {"192.0.2.25"}),
        ("_smtp._tls.corp.example", "TXT", {"v=TLSRPTv1; rua=mailto:tls@corp.example"}),
        ("shop.test._report._dmarc.corp.example", "TXT", {"v=DMARC1;"}),
    ]:
        assert set(server.query(name, rdtype)) == expected


def _described(server: DnsServer, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    where = {"resolver": f"{server.address}@{server.port}", "port": server.port}
    found = _main(mail_domain_info.main, {**where, "domains": ["broken.example", "corp.example"], **options})
    (domain,) = found["mail_domains"]
    return domain, found


def test_what_was_published_is_described_again(server: DnsServer) -> None:
    _publish(server, _main(mail_records.main, {"domains": [DOMAIN]})["records"])
    domain, found = _described(server)
    assert found["unanswered"] == ["broken.example"]  # whose zone the server cannot load, and says SERVFAIL
    records = {(one["type"], one["rdata"]) for one in _main(mail_records.main, {"domains": [DOMAIN]})["records"]}
    described = {(one["type"], one["rdata"]) for one in _main(mail_records.main, {"domains": [domain]})["records"]}
    assert domain["ttl"] == 60 and described < records
    assert {one["item"] for one in found["untranslated"] if one["domain"] == "corp.example"} == {
        "MTA-STS",
        "there are records below _report._dmarc.corp.example, which DNS does not list",
    }
    # What lacks are those, and the aliases, which stay as they are.
    assert {kind for kind, dummy in records - described} == {"TXT", "CNAME"}
    _publish(server, [{"name": "corp.example", "type": "MX", "ttl": 300, "rdata": "10 mx.corp.example."}])
    domain, found = _described(server)
    assert domain["ttl"] == 60
    assert "corp.example. MX has a TTL of 300 seconds" in [one["item"] for one in found["untranslated"]]


def test_a_record_is_edited_where_it_lies(server: DnsServer) -> None:
    _publish(server, _main(mail_records.main, {"domains": [DOMAIN]})["records"])
    edited = _edit(server, policy="quarantine", testing=True)
    assert edited["before"] == "v=DMARC1; p=none; np=reject; rua=mailto:dmarc@corp.example"
    assert edited["after"] == "v=DMARC1; p=quarantine; np=reject; t=y; rua=mailto:dmarc@corp.example"
    assert (edited["policy"], edited["organizational_domain"]) == ("none", "corp.example")
    assert [row["id"] for row in edited["differences"]][-1:] == ["t"]
    assert _publish(server, [{**edited["record"], "ttl": 60}])["changed"]
    assert not _edit(server, policy="quarantine", testing=True)["changed"]
    # What exists and what does not, by the server's own word: below www there is nothing, _tcp has names below.
    policies = {name: discover(f"{name}.corp.example", server).policy for name in ("www", "_tcp", "gone")}
    assert policies == {"www": "none", "_tcp": "none", "gone": "quarantine"}


def _spf(server: DnsServer, **options: Any) -> dict[str, Any]:
    where = {"resolver": f"{server.address}@{server.port}", "domain": "corp.example", "ttl": 60}
    return _main(spf_record.main, {**where, **options})


def _verdict(server: DnsServer, ip: str) -> tuple[str, int]:
    found = check_host(ip=ip, sender="postmaster@corp.example", helo="mx.corp.example", resolver=server)
    return found.result, found.lookups


def test_spf_is_edited_proven_and_made_flat_where_it_lies(server: DnsServer) -> None:
    networks = [f"ip4:10.{number}.0.0/24" for number in range(60)]
    texts = {
        "corp.example": "google-site-verification=abc",
        "_spf.sender.test": f"v=spf1 {' '.join(networks[:30])} include:b.sender.test -all",
        "b.sender.test": f"v=spf1 {' '.join(networks[30:])} -all",
    }
    _publish(server, [{"name": name, "type": "TXT", "ttl": 60, "value": text} for name, text in texts.items()])
    _publish(server, [{"name": "corp.example", "type": "TXT", "ttl": 60, "value": "v=spf1 ip4:192.0.2.25 ~all"}])
    # A term more, proven before it is published
    added = {"terms": ["include:_spf.sender.test"], "own_addresses": ["192.0.2.25", "10.59.0.9"]}
    edited = _spf(server, **added)
    assert edited["records"][0]["after"] == "v=spf1 ip4:192.0.2.25 include:_spf.sender.test ~all"
    assert edited["records"][0]["lookups"] == 2
    assert _publish(server, edited["publish"])["changed"] and not _spf(server, **added)["changed"]
    assert texts["corp.example"] in server.query("corp.example", "TXT")
    assert (_verdict(server, "10.59.0.9"), _verdict(server, "10.60.0.9")) == (("pass", 2), ("softfail", 2))
    # Flat, split over records of its own, with the same verdicts
    whole = {**added, "state": "exact", "flatten": True, "terms": ["ip4:192.0.2.25", *added["terms"]]}
    flat = _spf(server, **whole)
    parts = set(flat["records"][0]["parts"])
    assert parts == {"_spf1.corp.example", "_spf2.corp.example", "_spf3.corp.example"}
    assert _publish(server, flat["publish"])["changed"] and not _spf(server, **whole)["changed"]
    assert (_verdict(server, "10.59.0.9"), _verdict(server, "10.60.0.9")) == (("pass", 3), ("softfail", 3))
    # The sender is left: its parts go with it.
    left = _spf(server, state="exact", flatten=True, terms=["ip4:192.0.2.25"])
    assert {record["name"].rstrip(".") for record in left["publish"] if record.get("state") == "absent"} == parts
    _publish(server, left["publish"])
    assert not any(server.query(name, "TXT") for name in parts)
    assert (_verdict(server, "192.0.2.25"), _verdict(server, "10.59.0.9")) == (("pass", 0), ("softfail", 0))


def test_derived_records_are_proven_by_a_resolver(server: DnsServer) -> None:
    """The same record of an include, before and after that has a record of its own."""
    domain = {"name": "corp.example", "senders": [{"hosts": "relays"}, {"include": "_spf.late.test"}]}
    args = {
        "domains": [domain],
        "hosts": {"relays": ["192.0.2.25"]},
        "prove": {"resolver": f"{server.address}@{server.port}"},
    }
    with pytest.raises(AssertionError, match=r"_spf\.late\.test has no SPF record"):
        _main(mail_records.main, args)
    _publish(server, [{"name": "_spf.late.test.", "type": "TXT", "ttl": 60, "value": "v=spf1 ip4:203.0.113.0/28 -all"}])
    (proof,) = _main(mail_records.main, args)["spf"]
    assert (proof["proven"], proof["lookups"], proof["voids"]) == (True, 1, [])
    assert (proof["probes"][0]["ip"], proof["probes"][0]["result"]) == ("192.0.2.25", "pass")
