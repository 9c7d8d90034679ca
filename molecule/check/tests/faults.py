# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Domains in the lab's DNS: a sound one, and for each check one that differs from it in one fault."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import dns.name
import dns.query
import dns.reversename
import dns.tsigkeyring
import dns.update
from ansible_collections.postmaster.mail.plugins.module_utils import _dkim
from ansible_collections.postmaster.mail.plugins.module_utils._record import Record
from lab.probe import Lab
from mailhosts import ALSO_SOUND, SERVERS, MailHosts
from zonecopy import Copy

SELECTOR = "sel1"
REPORTS = "rua=mailto:reports@stranger.test"
# Zones that ns2 is given another copy of: one that differs from ns1's under the same serial number, and one in which
# the signature of one record set does not hold, and which nobody but ns2 serves.
SPLIT, BOGUS_SET = "shop.example", "corp.example"
KEY, OTHER_KEY = _dkim.generate("rsa"), _dkim.generate("rsa")
SMALL_KEY, ED25519_KEY = _dkim.generate("rsa", 1024), _dkim.generate("ed25519")

Key = tuple[str, str]


def txt(*texts: str) -> list[str]:
    """Rdata of TXT records."""
    return [Record.txt("x", text).rdata for text in texts]


@dataclass
class Domain:
    """A domain: its records by name below it and type (an empty name is the domain), and what else belongs to it."""

    name: str
    row: str
    records: dict[Key, list[str]]
    policy: tuple[int, str, str]
    dkim_keys: list[dict[str, str]] = field(default_factory=list)

    def put(self, name: str, rdtype: str, *rdatas: str) -> Domain:
        """Hold other records at a name, absolute with a final dot or below the domain; none removes them."""
        self.records[(name, rdtype)] = list(rdatas)
        return self

    def say(self, name: str, *texts: str) -> Domain:
        """Hold other TXT records."""
        return self.put(name, "TXT", *txt(*texts))

    def absolute(self) -> dict[Key, list[str]]:
        """The records by absolute names."""
        return {
            (key[0] if key[0].endswith(".") else f"{key[0]}.{self.name}.".lstrip("."), key[1]): rdatas
            for key, rdatas in self.records.items()
            if rdatas
        }


class Planter:
    """Makes domains and brings them into the zones at ns1."""

    def __init__(self, lab: Lab, hosts: MailHosts) -> None:
        self.lab = lab
        self.hosts = hosts
        self.v4, self.v6 = (hosts.address("mx.stranger.test", version) for version in (4, 6))
        self.spf = f"v=spf1 ip4:{self.v4} ip6:{self.v6} -all"

    def sound(self, name: str, row: str = "", mx: str = "mx.stranger.test") -> Domain:
        """A domain at which all is well."""
        records: dict[Key, list[str]] = {
            ("", "MX"): [f"10 {mx}."],
            ("", "TXT"): txt(self.spf),
            (f"{SELECTOR}._domainkey", "TXT"): txt(str(KEY.record)),
            ("_dmarc", "TXT"): txt(f"v=DMARC1; p=reject; {REPORTS}"),
            ("_mta-sts", "TXT"): txt("v=STSv1; id=1;"),
            ("mta-sts", "A"): [self.v4],
            ("_smtp._tls", "TXT"): txt("v=TLSRPTv1; rua=mailto:reports@stranger.test"),
        }
        names = [mx] if mx.endswith(".lab.test") else ["*.stranger.test"]
        policy = (200, "text/plain", _text(*names))
        key = {"selector": SELECTOR, "domain": name, "value": str(KEY.record), "activated": _ago(30)}
        return Domain(name, row, records, policy, [key])

    def update(self, wanted: dict[Key, list[str]], key: str = "lab.", parent: str = "") -> None:
        """Make all these names hold exactly these records, in as few updates as there are zones, and wait for ns2.

        ``parent`` is the zone to change where it is not the closest one, as for what a parent says of its child.
        """
        facts = self.lab.known["dns"]
        keyring = dns.tsigkeyring.from_text({key: facts["tsig"][key]})
        zones: dict[dns.name.Name, list[tuple[dns.name.Name, str, list[str]]]] = {}
        names = ("stranger.test", "lab.test", "provider.test", SPLIT, BOGUS_SET, *self._reverse())
        known = [dns.name.from_text(name) for name in ([parent] if parent else names)]
        for (name, rdtype), rdatas in wanted.items():
            owner = dns.name.from_text(name)
            zone = max((zone for zone in known if owner.is_subdomain(zone)), key=lambda zone: len(zone.labels))
            zones.setdefault(zone, []).append((owner, rdtype, rdatas))
        for zone, sets in zones.items():
            for start in range(0, len(sets), 100):
                message = dns.update.UpdateMessage(
                    zone, keyring=keyring, keyname=dns.name.from_text(key), keyalgorithm=facts["algorithm"]
                )
                for owner, rdtype, rdatas in sets[start : start + 100]:
                    if rdtype != "CNAME":  # Knot leaves out a CNAME where the same message deletes at its name
                        message.delete(owner, rdtype)
                    for rdata in rdatas:
                        message.add(owner, 60, rdtype, rdata)
                answer = dns.query.tcp(message, facts["primary"], timeout=20)
                assert answer.rcode() == 0, (zone, answer.rcode())
            self.settle(zone.to_text())

    def _reverse(self) -> list[str]:
        one = dns.reversename.from_address(self.v4).to_text().partition(".")[2]
        return [one, ".".join(dns.reversename.from_address(self.v6).to_text().split(".")[16:])]

    def settle(self, zone: str, servers: Iterable[str] = ("ns2",)) -> None:
        """Wait until all servers have the primary's serial number."""
        end = time.monotonic() + 20
        while any(self.serial(zone, server) != self.serial(zone, "ns1") for server in servers):
            assert time.monotonic() < end, f"{zone} does not reach {servers}"
            time.sleep(0.2)

    def serial(self, zone: str, server: str) -> str:
        """The serial number of a zone."""
        return self.lab.query(zone, "SOA", server=server)[0].split()[2]


def _ago(days: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 86400 * days))


def in_dns(p: Planter) -> list[Domain]:
    """Domains whose one fault DNS, a mail server or a web server shows."""

    def bad(row: str, label: str = "", mx: str = "mx.stranger.test") -> Domain:
        name = label or "".join(char if char.isalnum() else "-" for char in row)
        return p.sound(f"{name}.stranger.test", row, mx)

    eleven = " ".join(f"include:i{number}.many.stranger.test" for number in range(11))
    long = " ".join(f"ip4:203.0.113.{number}" for number in range(30))
    void = " ".join(f"a:void{number}.stranger.test" for number in range(3))
    faults = [
        bad("mx.exists").put("", "MX").put("", "A", p.v4).put("", "AAAA", p.v6),
        bad("mx.target").put("", "MX", "10 alias.stranger.test.")
        .put("alias.stranger.test.", "CNAME", "mx.stranger.test."),
        _policy(bad("mx.target", "literal"), 200, _text("mx.stranger.test", p.v4))
        .put("", "MX", "10 mx.stranger.test.", f"20 {p.v4}."),
        bad("mx.target", "private").put("", "MX", "10 mx.stranger.test.", "20 mx-private.stranger.test.")
        .put("mx-private.stranger.test.", "A", "10.1.2.3"),
        bad("mx.null").put("", "MX", "0 .").put("_mta-sts", "TXT"),
        bad("spf.single").say("", p.spf, "v=spf1 mx -all"),
        bad("spf.syntax").say("", f"{p.spf} nclude:_spf.provider.test"),
        bad("spf.lookups").say("", f"v=spf1 {eleven} ip4:{p.v4} ip6:{p.v6} -all"),
        bad("spf.void").say("", f"v=spf1 ip4:{p.v4} ip6:{p.v6} {void} -all"),
        bad("spf.mx-ptr-limits").say("", f"v=spf1 ip4:{p.v4} ip6:{p.v6} mx:hosts.stranger.test -all")
        .put("hosts.stranger.test.", "MX", *(f"10 h{number}.stranger.test." for number in range(11))),
        bad("spf.size").say("", f"v=spf1 ip4:{p.v4} ip6:{p.v6} {long} -all"),
        bad("spf.ptr").say("", f"v=spf1 ip4:{p.v4} ip6:{p.v6} ptr -all"),
        bad("spf.all").say("", f"v=spf1 ip4:{p.v4} ip6:{p.v6} +all"),
        bad("spf.include-target").say("", f"v=spf1 ip4:{p.v4} ip6:{p.v6} include:nothing.stranger.test -all"),
        bad("spf.covers-ip").say("", f"v=spf1 ip4:{p.v4} -all"),
        bad("spf.nonsender").put("", "MX", "0 .").put("", "TXT", *txt("none=1")).put("_mta-sts", "TXT"),
        bad("dkim.present").put(f"{SELECTOR}._domainkey", "TXT"),
        bad("dkim.syntax").say(f"{SELECTOR}._domainkey", str(KEY.record)[:255]),
        bad("dkim.match").say(f"{SELECTOR}._domainkey", str(OTHER_KEY.record)),
        _own_key(bad("dkim.keysize"), SMALL_KEY),
        _own_key(bad("dkim.alg"), ED25519_KEY),
        bad("dkim.flags").say(f"{SELECTOR}._domainkey", f"{KEY.record}; t=y"),
        _aged(bad("dkim.rotation")),
        _faded(bad("dkim.rotation", "faded")),
        bad("dmarc.present").put("_dmarc", "TXT"),
        bad("dmarc.walk", "a.walk").put("_dmarc", "TXT")
        .say("_dmarc.walk.stranger.test.", f"v=DMARC1; p=reject; psd=n; {REPORTS}"),
        bad("dmarc.policy").say("_dmarc", f"v=DMARC1; p=none; {REPORTS}"),
        bad("dmarc.removed").say("_dmarc", f"v=DMARC1; p=reject; pct=50; {REPORTS}"),
        bad("dmarc.rua").say("_dmarc", "v=DMARC1; p=reject; rua=mailto:dmarc@outside.test"),
        bad("tls.starttls", mx="mx-plain.stranger.test"),
        bad("tls.starttls", "old", mx="mx-old.stranger.test"),
        bad("tls.starttls", "cert", mx="mx-cert.stranger.test"),
        bad("mtasts.dns+policy").say("_mta-sts", "v=STSv1; id=1;", "v=STSv1; id=2;"),
        _policy(bad("mtasts.dns+policy", "moved"), 301, ""),
        _policy(bad("mtasts.match"), 200, _text("mx.outside.test")),
        bad("tlsrpt").say("_smtp._tls", "v=TLSRPTv1;"),
        bad("dane", mx="mx-dane.stranger.test")
        .put("_25._tcp.mx-dane.stranger.test.", "TLSA", f"3 1 1 {'11' * 32}", f"3 1 1 {'22' * 32}"),
        bad("dnsbl.ip/domain").put("dnsbl-ip-domain.stranger.test.dbl.stranger.test.", "A", "127.0.1.2"),
        bad("addr.role", mx="mx-role.stranger.test"),
        p.sound("nocaa.lab.test", "caa/bimi/ipv6", "mx.lab.test"),
        bad("caa/bimi/ipv6", "four", mx="mx-four.stranger.test"),
        bad("caa/bimi/ipv6", "deaf", mx="mx-deaf.stranger.test"),
        bad("caa/bimi/ipv6", "logo").say("default._bimi", "v=BIMI1; a=https://stranger.test/logo.pem"),
    ]  # fmt: skip
    bogus = Domain("bogus.test", "dnssec", {}, (404, "", ""))
    lame = p.sound("lame.provider.test", "dns.consistency")
    return [*faults, bogus, lame, p.sound(SPLIT, "dns.consistency"), p.sound(BOGUS_SET, "dnssec")]


def _text(*hosts: str) -> str:
    """An MTA-STS policy."""
    lines = "".join(f"mx: {host}\r\n" for host in hosts)
    return f"version: STSv1\r\nmode: enforce\r\n{lines}max_age: 1209600\r\n"


def _own_key(domain: Domain, key: _dkim.DkimKey) -> Domain:
    domain.dkim_keys[0]["value"] = str(key.record)
    return domain.say(f"{SELECTOR}._domainkey", str(key.record))


def _aged(domain: Domain) -> Domain:
    domain.dkim_keys[0]["activated"] = _ago(500)
    return domain


def _faded(domain: Domain) -> Domain:
    """A key that was retired two days ago, and revoked in DNS too early."""
    key = {"selector": "old1", "domain": domain.name, "value": str(OTHER_KEY.record), "state": "retired"}
    domain.dkim_keys.append(key | {"retired": _ago(2)})
    return domain.say("old1._domainkey", "v=DKIM1; p=")


def _policy(domain: Domain, status: int, text: str) -> Domain:
    domain.policy = (status, "text/plain", text)
    return domain


def surroundings(p: Planter) -> dict[Key, list[str]]:
    """Records that several domains rely on: hosts, blocklists with their self-tests, what an include leads to."""
    records: dict[Key, list[str]] = {
        ("stranger.test.", "CAA"): ['0 issue "ca.stranger.test"'],
        ("mx.stranger.test.", "TXT"): txt("v=spf1 a -all"),
        ("2.0.0.127.bl.stranger.test.", "A"): ["127.0.0.2"],
        ("test.dbl.stranger.test.", "A"): ["127.0.0.2"],
        ("*._report._dmarc.stranger.test.", "TXT"): txt("v=DMARC1;"),
        ("provider.test.", "NS"): ["ns1.lab.test.", "ns2.lab.test.", "mx.stranger.test."],
        ("*.refusing.stranger.test.", "A"): ["127.255.255.254"],
        (f"{_nibbles('::ffff:7f00:2')}.bl.stranger.test.", "A"): ["127.0.0.2"],
    }
    for name in (*SERVERS, *ALSO_SOUND):
        records[(f"{name}.", "A")] = [p.hosts.address(name)]
        if name != "mx-four.stranger.test":
            records[(f"{name}.", "AAAA")] = [p.hosts.address(name, 6)]
    for version in (4, 6):
        for name in SERVERS:
            pointer = dns.reversename.from_address(p.hosts.address(name, version)).to_text()
            records[(pointer, "PTR")] = [f"{name}."]
    for number in range(11):
        records[(f"i{number}.many.stranger.test.", "TXT")] = txt(f"v=spf1 ip4:203.0.113.{number} -all")
    return records


def copies(p: Planter) -> list[Copy]:
    """The two zones of which ns2 has a copy of its own, each signed as it stands there."""
    split, half = (Copy.of(p.lab, name) for name in (SPLIT, BOGUS_SET))
    split.put("@", "TXT", *txt(p.spf.replace("-all", "~all")))
    half.put("@", "NS", "ns2.lab.test.")
    half.put("@", "TXT", *txt(p.spf), signed=txt("v=spf1 -all"))
    return [split, half]


def after_certificates(p: Planter, digest: str) -> dict[Key, list[str]]:
    """Records that tell of the servers' key, or would keep an authority from finding its proofs."""
    records: dict[Key, list[str]] = {("mx-deaf.stranger.test.", "AAAA"): [p.lab.address("ns1", version=6)]}
    for name in ("mx.stranger.test.", "mx-open.stranger.test."):
        records[(f"_25._tcp.{name}", "TLSA")] = [f"3 1 1 {digest}", f"3 1 1 {'00' * 32}"]
    return records


def _nibbles(address: str) -> str:
    """How a blocklist is asked for an IPv6 address: one that is mapped, too, which dnspython would unmap."""
    return ipaddress.ip_address(address).reverse_pointer.removesuffix(".ip6.arpa")


def options(p: Planter, domains: Iterable[Domain], ca_file: str, **more: Any) -> dict[str, Any]:
    """Options of the module with which nothing is unknown but what takes a message or a server to try."""
    known: dict[str, Any] = {
        "domains": [domain.name for domain in domains],
        "resolver": [p.lab.known["dns"]["resolver"]],
        "trust_ad": True,
        "selectors": [SELECTOR],
        "dkim_keys": [key for domain in domains for key in domain.dkim_keys],
        "outbound": [{"address": p.v4, "helo": "mx.stranger.test"}, {"address": p.v6, "helo": "mx.stranger.test"}],
        "dnsbl_ip": ["bl.stranger.test"],
        "dnsbl_domain": ["dbl.stranger.test"],
        "ca_file": ca_file,
        "query_timeout": 8,  # the machine may be busy
    }
    return known | more
