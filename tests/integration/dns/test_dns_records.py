# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""dns_records and dns_records_info against real name servers on the loopback: Knot DNS (signed zones, a secondary) and BIND.

Needs the Debian packages knot and bind9 for the daemons; what is not installed is skipped with 'not run'. The
scenario modules runs all of it on hosts of both releases.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dns.dnssec
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rdatatype
import pytest
from ansible_collections.postmaster.mail.plugins.module_utils._dns import DnsError
from ansible_collections.postmaster.mail.plugins.module_utils._dns_client import DnsServer, TsigKey
from ansible_collections.postmaster.mail.plugins.module_utils._dns_publish import publish, wanted
from ansible_collections.postmaster.mail.plugins.modules import dns_records, dns_records_info

testing = pytest.importorskip("ansible.module_utils.testing", reason="not run: ansible-core is too old")

SECRET = "c2VjcmV0IG9mIHRoZSBlc3RhdGUgZm9yIHRlc3RzIQ=="
OTHER_SECRET = "YW5vdGhlciBzZWNyZXQsIG5vdCBvZiB0aGUgZXN0YXQ="
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"

ZONE = """$TTL 60
@ SOA ns1.corp.example. hostmaster.corp.example. 1 3600 600 86400 30
@ NS ns1.corp.example.
@ NS ns2.corp.example.
ns1 A 127.0.0.1
ns2 A 127.0.0.2
@ TXT "google-site-verification=abc"
@ TXT "v=spf1 -all"
alias CNAME ns1
*.wild CNAME ns1
child NS ns.elsewhere.test.
big TXT {big}
"""
PLAIN_ZONE = """$TTL 60
@ SOA ns1.corp.example. hostmaster.corp.example. 1 3600 600 86400 30
@ NS ns1.corp.example.
"""
BIG = " ".join(f'"{chr(97 + n % 26) * 255}"' for n in range(30))

KNOT = """
server:
  rundir: {dir}
  listen: {address}@{port}
log:
  - target: {dir}/log
    any: info
database:
  storage: {dir}
key:
  - id: estate.
    algorithm: hmac-sha256
    secret: {secret}
  - id: reader.
    algorithm: hmac-sha256
    secret: {secret}
remote:
  - id: primary
    address: 127.0.0.1@{port}
acl:
  - id: estate_updates
    key: estate.
    action: update
  - id: transfers
    address: 127.0.0.0/8
    action: transfer
zone:
{zones}
"""
KNOT_PRIMARY = """
  - domain: corp.example.
    file: {dir}/corp.zone
    dnssec-signing: on
    acl: [estate_updates, transfers]
  - domain: shop.corp.example.
    file: {dir}/plain.zone
    acl: [estate_updates, transfers]
  - domain: closed.example.
    file: {dir}/plain2.zone
"""
KNOT_SECONDARY = """
  - domain: corp.example.
    file: {dir}/second.zone
    master: primary
"""
NAMED = """
options {{
  directory "{dir}"; pid-file "{dir}/pid"; session-keyfile "{dir}/session"; managed-keys-directory "{dir}";
  listen-on port {port} {{ {address}; }}; listen-on-v6 {{ none; }};
  recursion no; dnssec-validation no; notify no; allow-transfer {{ any; }};
}};
controls {{ }};
key "estate." {{ algorithm hmac-sha256; secret "{secret}"; }};
key "reader." {{ algorithm hmac-sha256; secret "{secret}"; }};
zone "corp.example" {{ type primary; file "{dir}/corp.zone"; update-policy {{ grant estate. zonesub ANY; }};
  dnssec-policy default; inline-signing yes; }};
zone "shop.corp.example" {{ type primary; file "{dir}/plain.zone"; update-policy {{ grant estate. zonesub ANY; }}; }};
zone "closed.example" {{ type primary; file "{dir}/plain2.zone"; }};
"""


@dataclass
class Daemon:
    """A name server that this test started."""

    kind: str
    address: str
    port: int
    directory: Path

    def server(self, *, key: TsigKey | None = None, timeout: float = 10) -> DnsServer:
        return DnsServer(self.address, port=self.port, key=key, timeout=timeout)


def _free_port(addresses: list[str]) -> int:
    """A port that is free for TCP and UDP on all of ``addresses``."""
    for _attempt in range(50):
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(socket.socket())
            first.bind((addresses[0], 0))
            port: int = first.getsockname()[1]
            with contextlib.suppress(OSError):
                for address in addresses:
                    stack.enter_context(socket.socket(type=socket.SOCK_DGRAM)).bind((address, port))
                for address in addresses[1:]:
                    stack.enter_context(socket.socket()).bind((address, port))
                return port
    pytest.skip("not run: no free port on the loopback")


def _start(argv: list[str], daemon: Daemon) -> subprocess.Popen[bytes]:
    with (daemon.directory / "out").open("wb") as output:
        process = subprocess.Popen(argv, stdout=output, stderr=output, env={**os.environ, "PATH": PATH})
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(DnsError):
            daemon.server(timeout=2).lookup("corp.example.", "SOA")
            return process
        time.sleep(0.1)
    process.kill()
    pytest.fail(f"{argv[0]} does not answer: {(daemon.directory / 'out').read_text()}")


def _need(program: str, package: str) -> str:
    path = shutil.which(program, path=PATH)
    if path is None:
        pytest.skip(f"not run: {program} is not installed (Debian package {package})")
    return path


@contextlib.contextmanager
def _running(kind: str, directory: Path, *, address: str, port: int, secondary: bool = False) -> Iterator[Daemon]:
    directory.mkdir(mode=0o777, exist_ok=True)
    daemon = Daemon(kind, address, port, directory)
    values = {"dir": directory, "address": address, "port": port, "secret": SECRET}
    (directory / "corp.zone").write_text(ZONE.format(big=BIG))
    for name in ("plain.zone", "plain2.zone"):
        (directory / name).write_text(PLAIN_ZONE)
    if kind == "knot":
        zones = (KNOT_SECONDARY if secondary else KNOT_PRIMARY).format(**values)
        (directory / "conf").write_text(KNOT.format(zones=zones, **values))
        argv = [_need("knotd", "knot"), "-c", str(directory / "conf")]
    else:
        (directory / "conf").write_text(NAMED.format(**values))
        argv = [_need("named", "bind9"), "-g", "-c", str(directory / "conf"), "-n", "1"]
    process = _start(argv, daemon)
    try:
        yield daemon
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(params=["knot", "bind"])
def primary(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Daemon]:
    port = _free_port(["127.0.0.1", "127.0.0.2"])
    with _running(request.param, tmp_path / request.param, address="127.0.0.1", port=port) as daemon:
        yield daemon


def _fail(daemon: Daemon, records: list[dict[str, Any]], **options: Any) -> str:
    """What the module says when it fails, as it must."""
    result = _call(daemon, records, **options)
    assert result.get("failed"), result
    print(result["msg"])
    return str(result["msg"])


def _run(daemon: Daemon, records: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
    """What the module returns when it does not fail."""
    result = _call(daemon, records, **options)
    assert not result.get("failed"), result["msg"]
    return result


def _call(daemon: Daemon, records: list[dict[str, Any]], *, check: bool = False, **options: Any) -> dict[str, Any]:
    args = {
        "server": daemon.address,
        "port": daemon.port,
        "tsig_name": "estate.",
        "tsig_secret": SECRET,
        "records": records,
        "_ansible_check_mode": check,
        "_ansible_diff": True,
        **options,
    }
    result = _main(dns_records.main, {name: value for name, value in args.items() if value is not None})
    assert SECRET not in json.dumps(result)
    return result


def _info(daemon: Daemon, records: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
    """What dns_records_info returns; the servers are those that the daemon lists."""
    primary = f"{daemon.address}@{daemon.port}"
    args = {"primary": primary, "port": daemon.port, "records": records, "timeout": 30, **options}
    result = _main(dns_records_info.main, args)
    assert not result.get("failed") and result["changed"] is False, result
    return result


def _main(main: Callable[[], None], args: dict[str, Any]) -> dict[str, Any]:
    with testing.patch_module_args(args), _captured() as output:
        with contextlib.suppress(SystemExit):
            main()
    result: dict[str, Any] = json.loads(output()[-1])
    return result


@contextlib.contextmanager
def _captured() -> Iterator[Callable[[], list[str]]]:
    import io

    stream = io.StringIO()
    with contextlib.redirect_stdout(stream):
        yield lambda: stream.getvalue().strip().splitlines()


def _txt(name: str, value: str, ttl: int = 60) -> dict[str, Any]:
    return {"name": name, "type": "TXT", "value": value, "ttl": ttl}


def test_check_then_apply_then_nothing(primary: Daemon) -> None:
    records = [
        _txt("corp.example", "v=spf1 ip4:198.18.0.25 -all"),
        _txt("a._domainkey.corp.example", "v=DKIM1; p=" + "A" * 500),
        _txt("_dmarc.shop.corp.example", "v=DMARC1; p=reject"),
        {"name": "corp.example.", "type": "MX", "rdata": "10 NS1.corp.example.", "ttl": 60},
    ]
    before = sorted(primary.server().query("corp.example.", "TXT"))
    predicted = _run(primary, records, check=True)
    assert predicted["changed"] and predicted["updates"] == 0
    assert sorted(primary.server().query("corp.example.", "TXT")) == before
    done = _run(primary, records)
    assert done["changed"] and done["updates"] == 2
    assert done["zones"] == ["corp.example.", "shop.corp.example."]
    assert done["diff"] == predicted["diff"]
    again = _run(primary, records)
    assert not again["changed"] and again["updates"] == 0
    server = primary.server()
    assert sorted(server.query("corp.example.", "TXT")) == [
        "google-site-verification=abc",
        "v=spf1 ip4:198.18.0.25 -all",
    ]
    assert server.query("a._domainkey.corp.example.", "TXT") == ["v=DKIM1; p=" + "A" * 500]
    assert server.query("corp.example.", "MX") == ["10 ns1.corp.example."]
    server.close()


def test_the_same_text_split_otherwise_is_no_change(primary: Daemon) -> None:
    assert _run(primary, [_txt("a.corp.example", "hello world")])["changed"]
    split = {"name": "a.corp.example", "type": "TXT", "rdata": '"hello" " world"', "ttl": 60}
    assert not _run(primary, [split])["changed"]


@pytest.mark.parametrize("ttl", [30, 7200])
def test_another_ttl_is_a_change(primary: Daemon, ttl: int) -> None:
    _run(primary, [_txt("_a.corp.example", "one"), _txt("_a.corp.example", "two")])
    changed = _run(primary, [_txt("_a.corp.example", "one", ttl), _txt("_a.corp.example", "two", ttl)])
    assert changed["changed"], changed
    rrset = primary.server().lookup("_a.corp.example.", "TXT").rrset
    assert rrset is not None and rrset.ttl == ttl and len(rrset.values) == 2


def test_absent_removes_only_what_is_named(primary: Daemon) -> None:
    _run(primary, [_txt("_a.corp.example", "one"), _txt("_a.corp.example", "two"), _txt("_b.corp.example", "x")])
    assert _run(primary, [_txt("_a.corp.example", "one")], state="absent")["changed"]
    assert primary.server().query("_a.corp.example.", "TXT") == ["two"]
    whole = [{"name": "_a.corp.example", "type": "TXT"}]
    assert _run(primary, whole, state="absent")["changed"]
    assert not _run(primary, whole, state="absent")["changed"]
    assert primary.server().query("_a.corp.example.", "TXT") == []
    assert primary.server().query("_b.corp.example.", "TXT") == ["x"]


def test_a_txt_record_gives_way_to_a_cname_in_one_call(primary: Daemon) -> None:
    name = "s._domainkey.corp.example"
    _run(primary, [_txt(name, "v=DKIM1; p=")])
    cname = {"name": name, "type": "CNAME", "rdata": "s.keys.test.", "ttl": 60}
    assert "no CNAME can stand beside it" in _fail(primary, [cname])
    both = [cname, {"name": name, "type": "TXT", "state": "absent"}]
    assert _run(primary, both)["changed"]
    assert primary.server().query(name + ".", "CNAME") == ["s.keys.test."]
    assert not _run(primary, both)["changed"]
    assert "is a CNAME for s.keys.test." in _fail(primary, [_txt(name, "v=DKIM1; p=")])


def test_a_record_of_its_own_overrides_a_wildcard(primary: Daemon) -> None:
    record = _txt("a.wild.corp.example", "v=DKIM1; p=")
    assert primary.server().query("a.wild.corp.example.", "CNAME") == ["ns1.corp.example."]
    assert _run(primary, [record])["changed"] and not _run(primary, [record])["changed"]
    assert "is a CNAME for ns1.corp.example." in _fail(primary, [_txt("alias.corp.example", "x")])


def test_a_clock_that_is_wrong_is_said(primary: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time
    with monkeypatch.context() as patched:
        patched.setattr("time.time", lambda: now() - 4000)
        assert "BADTIME" in _fail(primary, [_txt("x.corp.example", "x")])


def test_a_thousand_records_in_few_messages(primary: Daemon) -> None:
    records = [_txt(f"rsa-{n}._domainkey.corp.example", f"v=DKIM1; k=rsa; p={n:0392d}") for n in range(1000)]
    size = sum(len(f"rsa-{n}") + 1 + 2 + 10 + 412 for n in range(1000))
    start = time.monotonic()
    done = _run(primary, records)
    seconds = time.monotonic() - start
    assert done["updates"] == -(-size // 65535), done
    again = _run(primary, records)
    print(f"{primary.kind}: 1,000 records in {done['updates']} updates and {seconds:.1f} s")
    assert not again["changed"]
    gone = [{"name": record["name"], "type": "TXT"} for record in records]
    assert len(_run(primary, gone, state="absent")["changed_records"]) == 1000


def test_answers_larger_than_any_udp_message_are_whole(primary: Daemon) -> None:
    assert len(primary.server().query("big.corp.example.", "TXT")[0]) == 30 * 255


def test_what_udp_would_cut_is_read_and_published_whole(primary: Daemon) -> None:
    question = dns.message.make_query("big.corp.example.", "TXT")
    assert dns.query.udp(question, primary.address, port=primary.port, timeout=30).flags & dns.flags.TC
    long = _txt("_long.corp.example", "x" * 20000)
    assert _run(primary, [long])["changed"] and not _run(primary, [long])["changed"]
    named = [f"{primary.address}@{primary.port}"]
    assert _info(primary, [long], servers=named)["ok"]


def _signed(daemon: Daemon, name: str, rdtype: str) -> None:
    """The set, or the proof that there is none, has signatures that verify with the zone's keys.

    BIND signs after it has answered (inline-signing), on a loaded machine some time after.
    """
    deadline = time.monotonic() + 60
    while True:
        try:
            return _verify(daemon, name, rdtype)
        except KeyError:
            assert time.monotonic() < deadline, f"{name} {rdtype} is never signed"
            time.sleep(0.2)


def _verify(daemon: Daemon, name: str, rdtype: str) -> None:
    """Raises KeyError where a signature is not there."""
    zone = dns.name.from_text("corp.example.")
    keys = {zone: _secure(daemon, "corp.example.", "DNSKEY").answer[0]}
    answer = _secure(daemon, name, rdtype)
    checked = 0
    for rrset in (*answer.answer, *answer.authority):
        if rrset.rdtype != dns.rdatatype.RRSIG:
            section = answer.answer if rrset in answer.answer else answer.authority
            signatures = answer.find_rrset(section, rrset.name, rrset.rdclass, dns.rdatatype.RRSIG, rrset.rdtype)
            dns.dnssec.validate(rrset, signatures, keys)
            checked += 1
    assert checked


def _secure(daemon: Daemon, name: str, rdtype: str) -> dns.message.Message:
    question = dns.message.make_query(name, rdtype, want_dnssec=True)
    return dns.query.tcp(question, daemon.address, port=daemon.port, timeout=30)


def test_what_is_published_in_a_signed_zone_is_signed(primary: Daemon) -> None:
    record = _txt("s1._domainkey.corp.example", "v=DKIM1; p=" + "A" * 392)
    _run(primary, [record, _txt("corp.example", "v=spf1 mx -all")])
    _signed(primary, "s1._domainkey.corp.example.", "TXT")
    _signed(primary, "corp.example.", "TXT")
    _run(primary, [record], state="absent")
    assert not _secure(primary, "s1._domainkey.corp.example.", "TXT").answer
    _signed(primary, "s1._domainkey.corp.example.", "TXT")


def test_nothing_is_lost_if_that_is_refused(primary: Daemon) -> None:
    before = sorted(primary.server().query("corp.example.", "TXT"))
    records = [_txt("corp.example", "v=spf1 mx ~all"), _txt("_new.corp.example", "x")]
    assert "would lose -all" in _fail(primary, records, losses="refuse")
    assert sorted(primary.server().query("corp.example.", "TXT")) == before
    assert primary.server().query("_new.corp.example.", "TXT") == []
    (foreseen,) = _run(primary, records, losses="refuse", check=True)["replaced"]
    assert (foreseen["before"], foreseen["lost"]) == (['"v=spf1 -all"'], ["-all"])
    assert _run(primary, [_txt("corp.example", "v=spf1 mx -all")], losses="refuse")["changed"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"tsig_secret": OTHER_SECRET}, "secret"),
        ({"tsig_name": "nobody."}, "the TSIG key nobody."),
        ({"tsig_name": "reader."}, "update"),
        ({"tsig_name": None, "tsig_secret": None}, "did not accept the update of zone corp.example."),
        ({"tsig_secret": "no base64!"}, "is not base64"),
        ({"zone": "shop.corp.example"}, "does not lie in the zone shop.corp.example."),
        ({"port": 1}, "cannot be reached over TCP"),
    ],
)
def test_what_goes_wrong_is_said(primary: Daemon, options: dict[str, Any], expected: str) -> None:
    assert expected in _fail(primary, [_txt("x.corp.example", "x")], **options)
    assert primary.server().query("x.corp.example.", "TXT") == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x.closed.example", "update"),
        ("x.child.corp.example", "is not authoritative for x.child.corp.example."),
        ("x.elsewhere.test", "did not answer for x.elsewhere.test. TXT (REFUSED)"),
    ],
)
def test_zones_that_are_not_ours(primary: Daemon, name: str, expected: str) -> None:
    assert expected in _fail(primary, [_txt(name, "x")])


def test_check_mode_finds_a_wrong_key(primary: Daemon) -> None:
    assert "secret" in _fail(primary, [_txt("x.corp.example", "x")], check=True, tsig_secret=OTHER_SECRET)


def _level(first: Daemon, second: Daemon) -> None:
    """Wait until the secondary has the zone as it is now; it asks again only after the zone's refresh time."""
    deadline, again = time.monotonic() + 60, 0.0
    while True:
        level = first.server().query("corp.example.", "SOA") == second.server().query("corp.example.", "SOA")
        # A transfer that is still to come would bring what is published next.
        if level and "refresh: +" in _control(second, "zone-status", "corp.example."):
            return
        assert time.monotonic() < deadline, "the secondary does not transfer the zone"
        if not level and time.monotonic() > again:
            _refresh(second)
            again = time.monotonic() + 5
        time.sleep(0.2)


def _control(daemon: Daemon, *words: str) -> str:
    """What Knot says to a command."""
    argv = [_need("knotc", "knot"), "-s", str(daemon.directory / "knot.sock"), *words]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def _refresh(secondary: Daemon) -> None:
    _control(secondary, "zone-refresh")


def test_waiting_for_a_lagging_secondary(tmp_path: Path) -> None:
    port = _free_port(["127.0.0.1", "127.0.0.2"])
    with (
        _running("knot", tmp_path / "one", address="127.0.0.1", port=port) as first,
        _running("knot", tmp_path / "two", address="127.0.0.2", port=port, secondary=True) as second,
    ):
        _level(first, second)
        records = [_txt("_a.corp.example", "new"), _txt("_b.corp.example", "new")]
        result = _call(first, records, wait={"timeout": 2, "port": port})
        late = result["msg"]
        assert result["failed"] and result["changed"] and result["updates"] == 1 and result["progress"]
        assert "ns2.corp.example. (127.0.0.2 port" in late and "does not yet answer" in late
        _refresh(second)
        seen = _run(first, records, wait={"timeout": 60, "port": port})
        assert not seen["changed"] and len(seen["visible"]) == 2, seen
        named = _run(first, records, wait={"timeout": 60, "servers": [f"127.0.0.2@{port}"]})
        assert len(named["visible"]) == 1


def test_a_dead_secondary_is_named(tmp_path: Path) -> None:
    port = _free_port(["127.0.0.1", "127.0.0.2"])
    with _running("knot", tmp_path / "one", address="127.0.0.1", port=port) as first:
        said = _fail(first, [_txt("_a.corp.example", "new")], wait={"timeout": 1, "port": port})
        assert "ns2.corp.example. (127.0.0.2 port" in said and "cannot be reached" in said


def test_what_servers_say_is_told_apart(tmp_path: Path) -> None:
    port = _free_port(["127.0.0.1", "127.0.0.2"])
    new = _txt("_a.corp.example", "new")
    with _running("knot", tmp_path / "one", address="127.0.0.1", port=port) as first:
        with _running("knot", tmp_path / "two", address="127.0.0.2", port=port, secondary=True) as second:
            _level(first, second)
            before = _info(first, [new])["records"][0]
            assert (before["verdict"], before["zone"], before["negative_ttl"]) == ("missing", "corp.example.", 30)
            _run(first, [new])
            late = _info(first, [new, _txt("corp.example", "v=spf1 -all")])
            assert [one["verdict"] for one in late["records"]] == ["propagating", "ok"]
            assert late["records"][0]["seen"].startswith("ns2.corp.example. (127.0.0.2 port")
            assert not late["ok"]
            _refresh(second)
            there = _info(first, [new], wait={"timeout": 60})
            assert there["ok"] and there["records"][0]["found"] == ['"new"']
            _run(first, [_txt("_a.corp.example", "newer")])
            _refresh(second)
            assert _info(first, [_txt("_a.corp.example", "newer")], wait={"timeout": 60})["ok"]
            assert _info(first, [new])["records"][0]["verdict"] == "wrong"
        dead = _info(first, [_txt("_a.corp.example", "newer")])["records"][0]
        assert dead["verdict"] == "unknown" and "cannot be reached" in dead["seen"]
        assert [one["state"] for one in dead["servers"]] == ["ok", "unknown"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x.elsewhere.test", "did not answer for x.elsewhere.test. TXT (REFUSED)"),
        ("x.child.corp.example", "is not authoritative for x.child.corp.example."),
    ],
)
def test_refused_questions_are_unknown(primary: Daemon, name: str, expected: str) -> None:
    (seen,) = _info(primary, [_txt(name, "x")], servers=[f"{primary.address}@{primary.port}"])["records"]
    assert seen["verdict"] == "unknown" and expected in seen["seen"]


def test_a_thousand_records_are_seen(primary: Daemon) -> None:
    records = [_txt(f"rsa-{n}._domainkey.corp.example", f"v=DKIM1; k=rsa; p={n:0392d}") for n in range(1000)]
    _run(primary, records)
    start = time.monotonic()
    seen = _info(primary, records, servers=[f"{primary.address}@{primary.port}"])
    print(f"{primary.kind}: 1,000 records seen in {time.monotonic() - start:.1f} s")
    assert seen["ok"] and len(seen["records"]) == 1000


def test_records_of_one_call_may_be_in_several_zones(primary: Daemon) -> None:
    done = publish(
        primary.server(key=TsigKey("estate.", SECRET)),
        wanted([_txt("x.corp.example", "x"), _txt("x.shop.corp.example", "x")]),
    )
    assert done.zones == ["corp.example.", "shop.corp.example."] and done.updates == 2
