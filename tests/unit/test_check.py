# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import asyncio
import base64
import ipaddress
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import _check_world as world
import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _check_dkim, _dkim, _public_suffix
from ansible_collections.postmaster.mail.plugins.module_utils import _check_run as run
from ansible_collections.postmaster.mail.plugins.module_utils import _check_view as v
from ansible_collections.postmaster.mail.plugins.module_utils._check import (
    BY_ID,
    OK,
    PROPAGATING,
    ROWS,
    UNKNOWN,
    WRONG,
    CheckError,
    Finding,
    Found,
    Report,
    guide_table,
    visible,
)
from ansible_collections.postmaster.mail.plugins.module_utils._check_host import ENDINGS
from ansible_collections.postmaster.mail.plugins.module_utils._check_mail import Mail
from hypothesis import given
from hypothesis import strategies as st

World, DOMAIN, ADDRESS, ADDRESS6, SERVERS = world.World, world.DOMAIN, world.ADDRESS, world.ADDRESS6, world.SERVERS
signed, inbound, signing_key = world.signed, world.inbound, world.signing_key
LETTER, SIGNED = world.LETTER, world.SIGNED_FIELDS
REVERSE = "25.113.0.203.in-addr.arpa."
SPF = "v=spf1 a:mx.example.org -all"


def checked(made: Any, *names: str, **options: object) -> Report:
    """The report on a world."""
    collector = world.Slow(made)
    return asyncio.run(run.check(names or [DOMAIN], collector, made.options, **options))


def key_text(bits: int = 2048, algorithm: str = "rsa", **changes: object) -> str:
    return str(replace(signing_key(bits, algorithm).record, **changes))


def other(letter: str) -> Mail:
    """A message without a valid signature, as the letter is."""
    return Mail((world.RECEIVED + letter).encode())


def with_key(made: Any, value: str, **key: str) -> Any:
    """Another key of the signer's, published as it is."""
    mine = v.SignerKey(DOMAIN, "sel1", value, **key)
    made.put("sel1._domainkey", "TXT", value)
    return made.tell(dkim_keys=(mine,), mail=None)


def with_state(made: Any, state: str, published: str = "", retired: str = "2026-11-18T00:00:00Z") -> Any:
    """A further key of the signer's in a state, and what DNS holds under its selector."""
    if published:
        made.put("old1._domainkey", "TXT", published)
    key = v.SignerKey(DOMAIN, "old1", "" if state == "withdrawn" else key_text(1024), state, retired=retired)
    return made.tell(dkim_keys=(*made.options.dkim_keys, key))


def without_message(made: Any) -> Any:
    return made.tell(mail=None, bulk=False)


def silent(made: Any) -> Any:
    """Neither a message nor a host that sends."""
    return without_message(made).tell(outbound=(), dnsbl_ip=())


def spf(made: Any, text: str) -> Any:
    return made.put("", "TXT", f"v=spf1 {text}")


def sel1(made: Any, *values: str) -> Any:
    """What stands under the selector, with no message that it would break."""
    return without_message(made.put("sel1._domainkey", "TXT", *values))


def dmarc(made: Any, tags: str) -> Any:
    """A policy with reports to the domain itself."""
    return made.put("_dmarc", "TXT", f"v=DMARC1; {tags}; rua=mailto:dmarc@example.org")


def reworded(made: Any, old: str, new: str) -> Any:
    """The message with other words, signed."""
    assert old in LETTER
    return made.tell(mail=signed(LETTER.replace(old, new)))


def announced(made: Any, selector: str, state: str, **times: str) -> Any:
    """One more key of the signer's, which DNS need not hold."""
    more = v.SignerKey(DOMAIN, selector, key_text(1024), state, **times)
    return made.tell(dkim_keys=(*made.options.dkim_keys, more))


def tlsa(made: Any, *records: str) -> Any:
    return made.put("_25._tcp.mx", "TLSA", *records)


def failing(made: Any, name: str, rdtype: str, server: str, answer: v.DnsAnswer) -> Any:
    """One server's answer to one question is a failure."""
    made.broken[(name, rdtype, server)] = answer
    return made


# 512 bits: no library makes such a key any more.
RSA_512, RSA_8192 = (base64.b64encode(_dkim._rsa_public((1 << bits) | 1, 65537)).decode() for bits in (511, 8191))
ARC = (
    "".join(
        f"{name}: i=1; a=rsa-sha256; cv=none; d=f.example; s=x; b=AAAA\r\n"
        for name in ("ARC-Seal", "ARC-Message-Signature")
    )
    + "ARC-Authentication-Results: i=1; f.example; spf=pass\r\n"
)


SERVFAIL = v.DnsAnswer(v.FAILED, text="SERVFAIL")
FORGED = "Authentication-Results: mx.example.org; spf=pass smtp.mailfrom=a@forged.invalid\r\n"
BIMI = "v=BIMI1; l=https://example.org/logo.svg"


def told_by(made: Any, server: str, name: str, rdtype: str, *values: str) -> Any:
    """One name server says something else than the others."""
    made.at[(name, rdtype, server)] = list(values)
    return made


def deaf_to_ipv6(made: Any) -> Any:
    made.sessions[ADDRESS6] = v.SmtpAnswer(error="connection refused")
    return made


def logo(made: Any, *records: str) -> Any:
    return made.put("default._bimi", "TXT", *records)


def smtp(made: Any, **changes: object) -> Any:
    made.smtp = replace(made.smtp, **changes)
    return made


def https(made: Any, **changes: object) -> Any:
    made.https = replace(made.https, **changes)
    return made


def no_dane(made: Any) -> Any:
    return tlsa(made)


def sts_for(made: Any, *names: str) -> Any:
    """A policy that names other hosts."""
    lines = "".join(f"mx: {name}\r\n" for name in names)
    return https(made, body=world.POLICY.replace("mx: mx.example.org\r\n", lines).encode())


def many_includes(made: Any) -> Any:
    """Eleven lookups, the domain's own addresses first."""
    names = [f"i{number}.example.net" for number in range(10)]
    for name in names:
        made.put(f"{name}.", "TXT", f"v=spf1 ip4:192.0.2.{len(name)} -all")
    return spf(made, f"a:mx.example.org {' '.join(f'include:{name}' for name in names)} -all")


def two_names(made: Any) -> Any:
    """The address has two names, and neither leads back; SPF passes all the same."""
    made.put(REVERSE, "PTR", "mail.example.org.", "mx.example.org.")
    made.put("mx", "A", "203.0.113.99").put("mail", "A", "203.0.113.99")
    own = f"v=spf1 ip4:{ADDRESS} ip6:{ADDRESS6} -all"
    return made.put("", "TXT", own).put("mx", "TXT", own)


def alias_as_mail_server(made: Any) -> Any:
    """The MX record names an alias; all else is as for a mail server."""
    made.put("", "MX", "10 in.example.org.").put("in", "TXT", "v=spf1 -all")
    made.put("real", "A", ADDRESS).put("real", "AAAA", ADDRESS6)
    made.aliases["in.example.org."] = "real.example.org."
    return sts_for(no_dane(made), "in.example.org")


def second_mail_server(made: Any, *addresses: str) -> Any:
    """One more mail server, which sends nothing."""
    made.put("", "MX", "10 mx.example.org.", "20 mx2.example.org.").put("mx2", "TXT", "v=spf1 -all")
    if addresses:
        made.put("mx2", "A", *addresses)
    return sts_for(made, "*.example.org")


def no_mail(made: Any, *hosts: str) -> Any:
    """A null MX record, maybe beside others; reports of DMARC go to another domain."""
    made.put("", "MX", "0 .", *hosts).put("other", "MX", "10 mx.example.org.")
    return made.put("_dmarc", "TXT", "v=DMARC1; p=reject; rua=mailto:d@other.example.org")


def parked(made: Any) -> Any:
    """A domain without mail, its record elsewhere."""
    return silent(no_mail(made).put("", "TXT", "x"))


def void_over_ipv6(made: Any) -> Any:
    """Three names of the SPF record have addresses of IPv4 alone."""
    for name in ("x1", "x2", "x3"):
        made.put(name, "A", ADDRESS)
    return spf(made, "a:mx.example.org a:x1.example.org a:x2.example.org a:x3.example.org -all")


def void_before_ipv6(made: Any) -> Any:
    """The same, and senders over IPv6 after them, who are refused."""
    return spf(void_over_ipv6(made), "a:x1.example.org a:x2.example.org a:x3.example.org a:mx.example.org -all")


def many_addresses(made: Any) -> Any:
    """An SPF record that is long."""
    return spf(made, f"a:mx.example.org {' '.join(f'ip4:192.0.2.{n}' for n in range(30))} -all")


def strictly_aligned(made: Any) -> Any:
    """A signature of a subdomain, where the policy wants the domain's own."""
    made.tell(mail=signed(domain="sub.example.org")).put("sel1._domainkey.sub", "TXT", key_text())
    return dmarc(made, "p=reject; adkim=s")


def long_lived(made: Any) -> Any:
    """A new key is at hand, and resolvers may keep the old answers for a day."""
    made.ttl = 86400
    return announced(made.put("new1._domainkey", "TXT", key_text(1024)), "new1", "pending")


def takes_bare_newlines(made: Any) -> Any:
    made.endings[b"\n.\r\n"] = v.RelayAnswer("", ".", 250, "Ok")
    return made


def takes_nothing(made: Any) -> Any:
    """No recipient gets as far as the end of data."""
    for ending in ENDINGS:
        made.endings[ending] = v.RelayAnswer("", "RCPT", 450, "later")
    return made


def other_key() -> bytes:
    """The public half of a key that the signer has not."""
    return bytes(world._dkim.generate("rsa", 2048).public)


def with_ed25519(made: Any) -> Any:
    """A message signed with Ed25519 alone, beside an RSA key that nobody uses."""
    text, private = world.ed25519_key()
    made.put("sel2._domainkey", "TXT", text).tell(selectors=("sel1", "sel2"))
    signer = world.dkim.DKIM(LETTER.encode(), signature_algorithm=b"ed25519-sha256")
    header = signer.sign(b"sel2", b"example.org", private, include_headers=[name.encode() for name in SIGNED])
    return made.tell(mail=Mail(world.RECEIVED.encode() + header + LETTER.encode()))


def two_signatures() -> Mail:
    """One that holds, and an older one that does not."""
    damaged = header_of(world.signed(LETTER.replace("Hello\r\n\r\n", ""))).replace(b"bh=", b"bh=AAAA")
    return with_header(damaged)


def with_sha1() -> Mail:
    """One that holds, and an older one by SHA-1 that verifies."""
    return with_header(header_of(signed(algorithm="rsa-sha1")))


def header_of(mail: Mail) -> bytes:
    """The signature of a message."""
    return mail.raw[mail.raw.index(b"DKIM-Signature") : mail.raw.index(b"From:")]


def with_header(header: bytes) -> Mail:
    """A sound message with one more signature."""
    good = signed().raw
    place = good.index(b"DKIM-Signature")
    return Mail(good[:place] + header + good[place:])


def psd(made: Any) -> Any:
    """The policy stands at a public suffix by RFC 7489, which the walk of RFC 9989 takes for the organisation's."""
    made.put("_dmarc", "TXT").put("_dmarc.org.", "TXT", "v=DMARC1; p=reject; rua=mailto:dmarc@example.org")
    return made


def foreign_dane(made: Any) -> Any:
    """A mail server in another zone, which is not signed."""
    made.put("", "MX", "10 mx.example.net.").put("example.net.", "SOA", "ns1.example.net. h.example.net. 1 2 3 4 5")
    made.put("mx.example.net.", "A", ADDRESS).put("mx.example.net.", "AAAA", ADDRESS6)
    made.put("_25._tcp.mx.example.net.", "TLSA", f"3 1 1 {world.key_digest()}", f"3 1 1 {'00' * 32}")
    return sts_for(made, "mx.example.net")


def bogus_host(made: Any) -> Any:
    """A mail server in a zone whose signatures do not hold."""
    sts_for(made.put("", "MX", "10 mx.example.org.", "20 mx.bogus.example."), "mx.example.org", "mx.bogus.example")
    for rdtype in ("SOA", "A", "AAAA", "TLSA", "DS"):
        made.broken[("mx.bogus.example.", rdtype, "")] = v.DnsAnswer(v.FAILED, text="SERVFAIL")
    return made


def test_all_is_well() -> None:
    report = checked(World())
    assert report.findings == [] and report.unknowns == []
    assert report.verdicts()[DOMAIN] == {row.id: OK for row in ROWS}
    assert report.table() == [DOMAIN, "  50 ok, 0 propagating, 0 wrong, 0 unknown of 50 checks"]


def test_without_options_rows_that_need_them_are_unknown() -> None:
    made = World()
    made.options = v.Options(now=made.options.now)
    report = checked(made)
    assert report.findings == []
    told = {row for row, verdict in report.verdicts()[DOMAIN].items() if verdict == UNKNOWN}
    assert told == {row.id for row in ROWS if row.needs} | {"dnsbl.ip/domain"}
    assert all(item.remedy for item in report.unknowns)


# -- one fault for every row: (row, severity, a part of what is seen, a part of the remedy, the fault) ----------

Fault = Callable[[Any], Any]
FAULTS: list[tuple[str, str, str, str, Fault]] = [
    ("ptr.exists", "F", "no PTR record", f"{REVERSE} PTR mx.example.org", lambda w: w.put(REVERSE, "PTR")),
    ("ptr.fcrdns", "F", "names mail.example.org, which does not lead back", "A 203.0.113.25", two_names),
    ("helo.name", "W", "HELO says relay.example.org, the PTR mx.example.org", "myhostname",
     lambda w: w.put("relay", "A", ADDRESS).tell(outbound=(v.Outbound(ADDRESS, "relay.example.org"),))),
    ("helo.name", "W", "no full name", "myhostname", lambda w: w.tell(outbound=(v.Outbound(ADDRESS, "relay"),))),
    ("helo.name", "W", "re lay", "myhostname", lambda w: w.tell(outbound=(v.Outbound(ADDRESS, "re lay.example.org"),))),
    ("helo.name", "W", "has no address", "relay.example.org. 3600 IN A 203.0.113.25",
     lambda w: w.tell(outbound=(v.Outbound(ADDRESS, "relay.example.org"),))),
    ("helo.name", "W", "a customer's line", "PTR mx.example.org",
     lambda w: w.put(REVERSE, "PTR", "25-113-0-203.dyn.example.net.").put("25-113-0-203.dyn.example.net.", "A", ADDRESS)),
    ("egress.ip", "F", "saw 203.0.113.77", "ip4:203.0.113.77",
     lambda w: w.tell(mail=signed(received=world.RECEIVED.replace(ADDRESS, "203.0.113.77")))
     .put("", "TXT", "v=spf1 a:mx.example.org ip4:203.0.113.77 -all")),
    ("ingress.src", "F", "your server took 10.0.0.1", "MASQUERADE", lambda w: w.tell(inbound_mail=inbound("mx.example.org", client="10.0.0.1"))),
    ("ingress.src", "F", f"your server took {ADDRESS}", "MASQUERADE", lambda w: w.tell(inbound_mail=inbound("mx.example.org", client=ADDRESS))),
    ("port25.out", "F", "no connection to mx.elsewhere.example", "smarthost", lambda w: setattr(w, "connect", v.ConnectAnswer("no route")) or w),
    ("mx.exists", "W", "fall back on the domain's own addresses", "IN MX 10 mail.example.org.",
     lambda w: w.put("", "MX").put("", "A", ADDRESS)),
    ("mx.exists", "F", "neither an MX record nor an address", "IN MX 0 .", lambda w: parked(w).put("", "MX").put("", "TXT", SPF)),
    ("mx.target", "F", "is an alias of real.example.org", "example.org. 3600 IN MX 10 real.example.org.",
     alias_as_mail_server),
    ("mx.target", "F", "has no address", "IN A", second_mail_server),
    ("mx.target", "F", "holds an address", "a host with addresses",
     lambda w: sts_for(w.put("", "MX", "10 mx.example.org.", "20 203.0.113.25."), "mx.example.org", "203.0.113.25")),
    ("mx.target", "F", "nobody outside can reach 10.1.2.3", "public address", lambda w: second_mail_server(w, "10.1.2.3")),
    ("mx.null", "F", "beside the null MX stands mx.example.org", "delete",
     lambda w: silent(spf(no_mail(w, "10 mx.example.org."), "-all"))),
    ("mx.null", "W", "its SPF record lets hosts send", '"v=spf1 -all"', no_mail),
    ("spf.single", "F", "2 SPF records", 'example.org. 3600 IN TXT "v=spf1 a:mx.example.org mx -all"',
     lambda w: silent(w.put("", "TXT", SPF, "V=SPF1 mx -all"))),
    ("spf.single", "F", "no SPF record", 'TXT "v=spf1 mx ~all"', lambda w: silent(w.put("", "TXT", "x"))),
    ("spf.syntax", "F", "nclude:_spf.example.net", "correct the term", lambda w: silent(w.put("", "TXT", f"{SPF} nclude:_spf.example.net"))),
    ("spf.syntax", "F", "ip4:300.1.1.1", "inc.example.net",
     lambda w: spf(w, "a:mx.example.org include:inc.example.net -all").put("inc.example.net.", "TXT", "v=spf1 ip4:300.1.1.1 -all")),
    ("spf.lookups", "F", "11 lookups in the worst case", "remove includes",
     lambda w: silent(many_includes(w))),
    ("spf.lookups", "W", "your own addresses pass after 1, 1", "remove includes", many_includes),
    ("spf.lookups", "F", "leads back to", "remove include:loop.example.org",
     lambda w: spf(w, "a:mx.example.org include:loop.example.org -all").put("loop", "TXT", "v=spf1 include:loop.example.org -all")),
    ("spf.void", "F", "3 lookups of a client over IPv4 lead to nothing", "remove these terms",
     lambda w: spf(w, "a:mx.example.org a:x1.example.org a:x2.example.org mx:x3.example.org -all")),
    ("spf.void", "W", "over IPv6", "addresses", void_over_ipv6),
    ("spf.void", "F", "over IPv6", "addresses", void_before_ipv6),
    ("spf.mx-ptr-limits", "F", "leads to 11 hosts", "replace mx:many.example.org",
     lambda w: spf(w, "a:mx.example.org mx:many.example.org -all").put("many", "MX", *(f"10 m{n}.example.org." for n in range(11)))),
    ("spf.size", "W", "the record has", "include", many_addresses),
    ("spf.size", "W", "make an answer of some", "delete", lambda w: w.put("", "TXT", SPF, "x" * 250, "y" * 250)),
    ("spf.ptr", "W", "the term ptr", "ip4 and ip6", lambda w: spf(w, "a:mx.example.org ptr -all")),
    ("spf.all", "F", "lets the whole world send", 'TXT "v=spf1 a:mx.example.org ~all"', lambda w: spf(w, "a:mx.example.org +all")),
    ("spf.all", "W", "?all says nothing", "~all", lambda w: spf(w, "a:mx.example.org ?all")),
    ("spf.all", "W", "ends without all", "~all", lambda w: spf(w, "a:mx.example.org")),
    ("spf.all", "W", "never tried: ip4:192.0.2.1", "move all to the end", lambda w: w.put("", "TXT", f"{SPF} ip4:192.0.2.1")),
    ("spf.all", "W", "redirect=_spf.example.net is ignored", "delete one", lambda w: w.put("", "TXT", f"{SPF} redirect=_spf.example.net")),
    ("spf.include-target", "F", "leads to no SPF record", "remove include:none.example.net",
     lambda w: spf(w, "a:mx.example.org include:none.example.net -all")),
    ("spf.include-target", "F", "leads to 2 SPF records", "merged",
     lambda w: spf(w, "a:mx.example.org include:two.example.net -all").put("two.example.net.", "TXT", "v=spf1 -all", "v=spf1 ?all")),
    ("spf.covers-ip", "F", f"mail from {ADDRESS6} gets fail", f'example.org. 3600 IN TXT "v=spf1 ip4:{ADDRESS} ip6:{ADDRESS6} -all"',
     lambda w: spf(w, f"ip4:{ADDRESS} -all")),
    ("spf.covers-ip", "F", "as HELO mx.example.org it gets fail", 'mx.example.org. 3600 IN TXT "v=spf1 ip4:203.0.113.25 -all"',
     lambda w: w.put("mx", "TXT", "v=spf1 -all").tell(outbound=(v.Outbound(ADDRESS, "mx.example.org"),))),
    ("spf.nonsender", "I", "the mail server's own name has no SPF", "mx.example.org. 3600 IN TXT", lambda w: w.put("mx", "TXT")),
    ("spf.nonsender", "I", "no SPF record: anyone can send", '"v=spf1 -all"', parked),
    ("dkim.present", "F", "no key is published", "sel2._domainkey.example.org. 3600 IN TXT", lambda w: w.tell(selectors=("sel1", "sel2"))),
    ("dkim.present", "F", "2 TXT records under one selector", "leave the one", lambda w: sel1(w, key_text(), key_text(1024))),
    ("dkim.present", "F", "by a wildcard", "delete the wildcard", lambda w: w.put("no-such-selector-7f3a._domainkey", "TXT", "v=DKIM1; p=")),
    ("dkim.syntax", "F", "p= holds base64", "sel1._domainkey.example.org. 3600 IN TXT",
     lambda w: sel1(w, key_text().replace("p=M", 'p=M" "'))),
    ("dkim.syntax", "W", "nothing after the last", "sel1._domainkey.example.org. 3600 IN TXT",
     lambda w: w.put("sel1._domainkey", "TXT", key_text() + "; ")),
    ("dkim.syntax", "W", "verifiers read past it", "h=sha256",
     lambda w: w.put("sel1._domainkey", "TXT", key_text() + "; ").tell(dkim_keys=(), bulk=False)),
    ("dkim.syntax", "F", "between semicolons stands a tag", "sel1._domainkey.example.org. 3600 IN TXT",
     lambda w: sel1(w, key_text().replace(";", ";;", 1))),
    ("dkim.syntax", "F", "the text ends after 255 octets", "sel1._domainkey.example.org. 3600 IN TXT", lambda w: sel1(w, key_text()[:255])),
    ("dkim.match", "F", "not the one that the signer holds", "sel1._domainkey.example.org. 3600 IN TXT",
     lambda w: sel1(w, key_text(2047 + 1, "rsa", public_key=other_key()))),
    ("dkim.keysize", "F", "the key has 512 bits", "2048", lambda w: with_key(w, f"v=DKIM1; k=rsa; p={RSA_512}").tell(bulk=False)),
    ("dkim.keysize", "W", "the key has 1024 bits", "2048", lambda w: with_key(w, key_text(1024)).tell(bulk=False)),
    ("dkim.keysize", "W", "verifiers need not take more than 4096", "2048", lambda w: with_key(w, f"v=DKIM1; k=rsa; p={RSA_8192}").tell(bulk=False)),
    ("dkim.alg", "W", "an Ed25519 key alone", "RSA key", lambda w: with_key(w, key_text(256, "ed25519")).tell(bulk=False)),
    ("dkim.alg", "F", "an Ed25519 key alone", "RSA key", with_ed25519),
    ("dkim.alg", "F", "rsa-sha1", "rsa-sha256", lambda w: w.tell(mail=with_sha1())),
    ("dkim.flags", "W", "t=y", "delete t=y", lambda w: w.put("sel1._domainkey", "TXT", key_text(flags=("y",)))),
    ("dkim.flags", "F", "the key is revoked", "sel1._domainkey.example.org. 3600 IN TXT", lambda w: sel1(w, "v=DKIM1; p=")),
    ("dkim.flags", "F", "h=sha1 forbids SHA-256", "h=sha256", lambda w: sel1(w, key_text(hashes=("sha1",)))),
    ("dkim.flags", "F", "s=tlsrpt: the key is not for mail", "leave s out", lambda w: sel1(w, key_text(services=("tlsrpt",)))),
    ("dkim.rotation", "W", "the key is 538 days old", "rotate_dkim", lambda w: with_key(w, key_text(), activated="2025-05-31T00:00:00Z").tell(bulk=False)),
    ("dkim.rotation", "W", "retired 2 days ago and is gone", "old1._domainkey.example.org. 3600 IN TXT",
     lambda w: announced(w, "old1", "retired", retired="2026-11-18T00:00:00Z")),
    ("dkim.rotation", "W", "the next key is not published", "new1._domainkey.example.org. 3600 IN TXT",
     lambda w: announced(w, "new1", "pending")),
    ("dkim.rotation", "W", "retired 2 days ago and is revoked already", "old1._domainkey.example.org. 3600 IN TXT",
     lambda w: with_state(w, "retired", "v=DKIM1; p=")),
    ("dkim.rotation", "W", "retired 2 days ago and is another one in DNS", "old1._domainkey.example.org. 3600 IN TXT",
     lambda w: with_state(w, "retired", key_text())),
    ("dkim.rotation", "W", "the next key is another one in DNS", "old1._domainkey.example.org. 3600 IN TXT", lambda w: with_state(w, "pending", key_text())),
    ("dkim.rotation", "W", "the next key is revoked in DNS", "old1._domainkey.example.org. 3600 IN TXT", lambda w: with_state(w, "pending", "v=DKIM1; p=")),
    ("dkim.rotation", "W", "the next key cannot be read", "old1._domainkey.example.org. 3600 IN TXT", lambda w: with_state(w, "pending", "v=DKIM1; p=!")),
    ("dkim.rotation", "W", "the next key has 2 records", "old1._domainkey.example.org. 3600 IN TXT",
     lambda w: with_state(w, "pending", key_text(1024)).put("old1._domainkey", "TXT", key_text(1024), key_text())),
    ("dkim.rotation", "W", "still has it in full", 'old1._domainkey.example.org. 3600 IN TXT "v=DKIM1; p="',
     lambda w: with_state(w, "revoked", key_text(1024))),
    ("dkim.rotation", "W", "withdrawn, and its record still there", "delete old1._domainkey.example.org. TXT",
     lambda w: with_state(w, "withdrawn", "v=DKIM1; p=")),
    ("dkim.sig", "W", "a second From can be added", "OversignHeaders", lambda w: w.tell(mail=signed(fields=list(dict.fromkeys(SIGNED))))),
    ("dkim.sig", "W", "anyone can append", "l=", lambda w: w.tell(mail=signed(length=True))),
    ("dkim.sig", "F", "the signature is not valid", "nothing change", lambda w: w.tell(mail=two_signatures())),
    ("dkim.sig", "W", "does not end in CR LF", "end the last line", lambda w: w.tell(mail=Mail(signed().raw.removesuffix(b"\r\n")))),
    ("dmarc.present", "F", "no DMARC record, neither here nor above", "_dmarc.example.org. 3600 IN TXT", lambda w: w.put("_dmarc", "TXT").tell(bulk=False)),
    ("dmarc.present", "F", "2 DMARC records", "leave one", lambda w: w.put("_dmarc", "TXT", "v=DMARC1; p=reject", "v=DMARC1; p=none").tell(bulk=False)),
    ("dmarc.present", "W", "at the domain itself, where nobody looks for it: V=dmarc1; p=none", "belongs to _dmarc.example.org",
     lambda w: w.put("", "TXT", SPF, "V=dmarc1; p=none")),
    ("dmarc.present", "F", "no receiver takes this", "in this case", lambda w: w.put("_dmarc", "TXT", "v=dmarc1; p=reject").tell(bulk=False)),
    ("dmarc.walk", "W", "the organisational domain is", "_dmarc.example.org. 3600 IN TXT", psd),
    ("dmarc.policy", "W", "p=none only watches", '_dmarc.example.org. 3600 IN TXT "v=DMARC1; p=quarantine; rua=mailto:dmarc@example.org"',
     lambda w: dmarc(w, "p=none")),
    ("dmarc.policy", "W", "p is missing", "p=reject", lambda w: w.put("_dmarc", "TXT", "v=DMARC1; rua=mailto:dmarc@example.org")),
    ("dmarc.policy", "W", "t=y lowers reject to quarantine", '"v=DMARC1; p=reject; rua=', lambda w: dmarc(w, "p=reject; t=y")),
    ("dmarc.policy", "W", "sp=none is weaker", '"v=DMARC1; p=reject; rua=mailto:dmarc@example.org"', lambda w: dmarc(w, "p=reject; sp=none")),
    ("dmarc.removed", "W", "pct=50", '"v=DMARC1; p=reject; rua=mailto:dmarc@example.org"', lambda w: dmarc(w, "p=reject; pct=50")),
    ("dmarc.removed", "I", "ruq=1: no such tag", "delete it", lambda w: dmarc(w, "p=reject; ruq=1")),
    ("dmarc.rua", "W", "no rua", 'TXT "v=DMARC1; p=reject; rua=mailto:dmarc@example.org"', lambda w: w.put("_dmarc", "TXT", "v=DMARC1; p=reject")),
    ("dmarc.rua", "W", "does not say that it takes them", 'example.org._report._dmarc.other.example. 3600 IN TXT "v=DMARC1;"',
     lambda w: w.put("_dmarc", "TXT", "v=DMARC1; p=reject; rua=mailto:d@other.example").put("other.example.", "MX", "10 mx.example.org.")),
    ("dmarc.rua", "W", "takes no mail", "name another", lambda w: w.put("_dmarc", "TXT", "v=DMARC1; p=reject; rua=mailto:d@gone.example.org")),
    ("dmarc.rua", "W", "reports are sent by mail only", "mailto:", lambda w: w.put("_dmarc", "TXT", "v=DMARC1; p=reject; rua=https://r.example.org/")),
    ("dmarc.align", "F", "adkim=s wants the very domain", "d=example.org", strictly_aligned),
    ("bulk.both", "F", "SPF of example.net for 203.0.113.25 gives none", "spf.covers-ip",
     lambda w: w.tell(mail=signed(received=world.RECEIVED.replace("<news@example.org>", "<news@example.net>")))),
    ("bulk.oneclick", "F", "no List-Unsubscribe with an https", "List-Unsubscribe: <https",
     lambda w: reworded(w, "<https://example.org/u/1>", "<mailto:u@example.org>")),
    ("bulk.oneclick", "F", "no List-Unsubscribe-Post", "One-Click", lambda w: reworded(w, "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n", "")),
    ("bulk.oneclick", "F", "covers both", "list-unsubscribe-post", lambda w: w.tell(mail=signed(fields=SIGNED[:-1]))),
    ("bulk.spamrate", "F", "0.4 % complain", "clean", lambda w: w.tell(spam_rate=0.4)),
    ("bulk.spamrate", "W", "0.2 % complain", "clean", lambda w: w.tell(spam_rate=0.2)),
    ("msg.format", "F", "2 fields Subject", "leave one", lambda w: reworded(w, "Subject: Hello\r\n", "Subject: Hello\r\nSubject: again\r\n")),
    ("msg.format", "F", "no field Date", "add it", lambda w: reworded(w, "Date: Fri, 20 Nov 2026 11:00:00 +0000\r\n", "")),
    ("msg.format", "W", "the Date is 2026-11-01", "clock", lambda w: reworded(w, "Fri, 20 Nov", "Sun, 01 Nov")),
    ("msg.format", "F", "the Date cannot be read: soon", "RFC 5322 3.3", lambda w: reworded(w, "Fri, 20 Nov 2026 11:00:00 +0000", "soon")),
    ("msg.format", "F", "From is in gmail.com", "a domain of your own", lambda w: reworded(w, "<news@example.org>", "<news@gmail.com>")),
    ("msg.format", "F", "a line has 1200 octets", "quoted-printable", lambda w: w.tell(mail=signed(LETTER + "x" * 1200 + "\r\n"))),
    ("msg.format", "F", "CR without LF", "CR LF", lambda w: w.tell(mail=signed(LETTER + "a\rb\r\n"))),
    ("tls.starttls", "F", "STARTTLS is not offered", "smtpd_tls_security_level", lambda w: smtp(no_dane(w), starttls=False, tls="", certificates=())),
    ("tls.starttls", "F", "STARTTLS is offered and fails: boom", "look at", lambda w: smtp(no_dane(w), tls="", tls_error="boom", certificates=())),
    ("tls.starttls", "F", "TLSv1.1 is the best", ">=TLSv1.2", lambda w: smtp(w, tls="TLSv1.1")),
    ("tls.starttls", "W", "does not hold: expired", "mx.example.org", lambda w: smtp(w, trouble="expired")),
    ("tls.starttls", "W", "from 203.0.113.25 to its receiver without TLS", "smtp_tls_security_level = may",
     lambda w: w.tell(mail=signed(received=world.RECEIVED.replace("ESMTPS", "ESMTP")))),
    ("mtasts.dns+policy", "I", "no MTA-STS record", '"v=STSv1; id=20261120T120000;"', lambda w: w.put("_mta-sts", "TXT")),
    ("mtasts.dns+policy", "F", "2 records", "leave one", lambda w: w.put("_mta-sts", "TXT", "v=STSv1; id=1;", "v=STSv1; id=2;")),
    ("mtasts.dns+policy", "F", "id has 1 to 32", "v=STSv1; id=", lambda w: w.put("_mta-sts", "TXT", "v=STSv1; id=a-b;")),
    ("mtasts.dns+policy", "F", "cannot be fetched: no way", "HTTPS", lambda w: https(w, error="no way")),
    ("mtasts.dns+policy", "F", "status 301", "without a redirect", lambda w: https(w, status=301)),
    ("mtasts.dns+policy", "W", "text/html", "text/plain", lambda w: https(w, content_type="text/html")),
    ("mtasts.dns+policy", "F", "a policy has a field mode", "correct the policy file", lambda w: https(w, body=b"version: STSv1\n")),
    ("mtasts.dns+policy", "W", "has an empty line", "delete it", lambda w: https(w, body=(world.POLICY + "\r\n").encode())),
    ("mtasts.match", "F", "names no mx.example.org", "add mx: mx.example.org", lambda w: sts_for(w, "other.example.org")),
    ("mtasts.match", "W", "mode: testing protects nothing", "enforce", lambda w: https(w, body=world.POLICY.replace("enforce", "testing").encode())),
    ("mtasts.match", "W", "less than a day", "max_age", lambda w: https(w, body=world.POLICY.replace("1209600", "600").encode())),
    ("mtasts.match", "F", "exceeds a year", "max_age", lambda w: https(w, body=world.POLICY.replace("1209600", "99999999").encode())),
    ("tlsrpt", "I", "no TLS reporting record", '"v=TLSRPTv1; rua=mailto:tls@example.org"', lambda w: w.put("_smtp._tls", "TXT")),
    ("tlsrpt", "W", "2 records", "leave one", lambda w: w.put("_smtp._tls", "TXT", "v=TLSRPTv1; rua=mailto:a@b.example", "v=TLSRPTv1; rua=mailto:a@c.example")),
    ("tlsrpt", "W", "rua", "v=TLSRPTv1; rua=mailto:tls@example.org", lambda w: w.put("_smtp._tls", "TXT", "v=TLSRPTv1;")),
    ("dane", "F", "no record matches the certificate", "TLSA 3 1 1", lambda w: tlsa(w, f"3 1 1 {'11' * 32}", f"3 1 1 {'22' * 32}")),
    ("dane", "F", "usage 0 or 1", "3 1 1", lambda w: tlsa(w, f"1 1 1 {'11' * 32}", f"3 1 1 {world.key_digest()}", f"3 1 1 {'22' * 32}")),
    ("dane", "F", "'zz'", "publish 3 1 1", lambda w: tlsa(w, "3 1 1 zz")),
    ("dane", "F", "the certificate at", "another certificate", lambda w: smtp(w, certificates=(b"junk",))),
    ("dane", "I", "255 is for private use", "delete it",
     lambda w: tlsa(w, f"255 1 1 {'11' * 32}", f"3 1 1 {world.key_digest()}", f"3 1 1 {'22' * 32}")),
    ("dane", "I", "one record alone", "next key", lambda w: tlsa(w, f"3 1 1 {world.key_digest()}")),
    ("dnssec", "F", "the signatures do not hold", "DS record", bogus_host),
    ("dnssec", "F", "the TXT records are refused by the resolver", "sign the zone again",
     lambda w: failing(w, "example.org.", "TXT", "", SERVFAIL)),
    ("dnssec", "F", "the TLSA records are refused by the resolver", "delv _25._tcp.mx.example.org. TLSA",
     lambda w: failing(w, "_25._tcp.mx.example.org.", "TLSA", "", SERVFAIL)),
    ("dnssec", "I", "not signed", "sign example.org", lambda w: no_dane(w).put("", "DS")),
    ("dnsbl.ip/domain", "F", "bl.example.net lists it (127.0.0.4)", "removal", lambda w: w.put("25.113.0.203.bl.example.net.", "A", "127.0.0.4")),
    ("dnsbl.ip/domain", "F", "dbl.example.net lists it (127.0.1.2): spam", "removal",
     lambda w: w.put("example.org.dbl.example.net.", "A", "127.0.1.2").put("example.org.dbl.example.net.", "TXT", "spam")),
    ("relay+smuggling", "F", "strangers to strangers", "reject_unauth_destination", lambda w: setattr(w, "relay", v.RelayAnswer("", "RCPT", 250, "Ok")) or w),
    ("relay+smuggling", "F", "\\n.\\r\\n ends a message", "smtpd_forbid_bare_newline", takes_bare_newlines),
    ("addr.role", "W", "550 5.1.1 no such user", "add an alias for abuse@example.org",
     lambda w: smtp(w, replies=((250, "2.1.5 Ok"), (550, "5.1.1 no such user")))),
    ("ar.trust", "F", "2 fields", "remove", lambda w: w.tell(inbound_mail=inbound("mx.example.org", "mx.example.org"))),
    ("ar.trust", "F", "the forged Authentication-Results of mx.example.org was left in", "milter_headers",
     lambda w: w.tell(inbound_mail=inbound(extra=FORGED))),
    ("ar.trust", "F", "the forged Authentication-Results of mx.example.org was left in", "milter_headers",
     lambda w: w.tell(inbound_mail=inbound("mx.example.org", extra=FORGED))),
    ("ar.trust", "F", "no Authentication-Results of mx.example.org", "filter", lambda w: w.tell(inbound_mail=inbound("mx.else.example"))),
    ("ar.trust", "F", "the ARC chain does not verify", "forwarder", lambda w: w.tell(inbound_mail=inbound("mx.example.org", extra=ARC))),
    ("dns.consistency", "W", "no answer for example.org", "NS record", lambda w: failing(w, "*", "*", SERVERS[1], v.DnsAnswer(v.TIMEOUT))),
    ("dns.consistency", "W", "does not serve it (REFUSED)", "load the zone",
     lambda w: failing(w, "example.org.", "SOA", SERVERS[1], v.DnsAnswer(v.FAILED, text="REFUSED"))),
    ("dns.consistency", "W", "no answer over TCP", "let TCP through", lambda w: failing(w, "example.org.", "SOA", "tcp", v.DnsAnswer(v.TIMEOUT))),
    ("dns.consistency", "W", "its TTL is 86400 seconds", "3600 or less", long_lived),
    ("dns.consistency", "W", "example.org TXT is not the same everywhere", "raise the serial",
     lambda w: told_by(w, SERVERS[1], "example.org.", "TXT", SPF, "some-verification=2")),
    ("caa/bimi/ipv6", "I", "no CAA record", "IN CAA 0 issue", lambda w: w.put("", "CAA")),
    ("caa/bimi/ipv6", "I", "nothing listens at its IPv6 address", "AAAA 2001:db8::25", deaf_to_ipv6),
    ("caa/bimi/ipv6", "I", "2 records, so receivers use none", "v=BIMI1; l=https", lambda w: logo(w, BIMI, BIMI + "; a=")),
    ("caa/bimi/ipv6", "I", "begins with v=bimi1", "v=BIMI1; l=https", lambda w: logo(w, BIMI.lower())),
    ("caa/bimi/ipv6", "I", "the tag l, the logo's address, is missing", "v=BIMI1; l=https",
     lambda w: logo(w, "v=BIMI1; a=https://example.org/a.pem")),
    ("caa/bimi/ipv6", "I", "l=http://example.org/logo.svg is no https", "v=BIMI1; l=https", lambda w: logo(w, BIMI.replace("https:", "http:"))),
    ("caa/bimi/ipv6", "I", "a=example.org/a.pem is no https", "v=BIMI1; l=https", lambda w: logo(w, BIMI + "; a=example.org/a.pem")),
    ("caa/bimi/ipv6", "I", "logo is no tag", "v=BIMI1; l=https", lambda w: logo(w, BIMI + "; logo")),
    ("caa/bimi/ipv6", "I", "no mail server is reached over IPv6", "IN AAAA",
     lambda w: w.put("mx", "AAAA").tell(outbound=(v.Outbound(ADDRESS, "mx.example.org"),))),
]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "severity", "seen", "remedy", "fault"), FAULTS, ids=[f"{n}-{case[0]}" for n, case in enumerate(FAULTS)]
)
def test_each_fault_is_found_and_nothing_else(row: str, severity: str, seen: str, remedy: str, fault: Fault) -> None:
    made = World()
    report = checked(fault(made) or made)
    assert {(item.id, item.severity, item.verdict) for item in report.findings} == {(row, severity, WRONG)}, (
        report.table()
    )
    found = report.findings[0]
    assert seen in found.seen and remedy in found.remedy and found.reference.split()[0].isalnum()
    assert report.verdicts()[DOMAIN][row] == WRONG


def test_every_row_has_a_fault() -> None:
    assert {case[0] for case in FAULTS} == set(BY_ID)


def below_the_domain(made: Any) -> Any:
    """A key for the very domain, and a signature of a name below it."""
    return sel1(made, key_text(flags=("s",))).tell(mail=signed(identity="@sub.example.org"), bulk=True)


def by_others(made: Any, received: str = world.RECEIVED) -> Any:
    """Somebody else signed the message, and well."""
    return made.put("sel1._domainkey.example.net.", "TXT", key_text()).tell(
        mail=signed(domain="example.net", received=received)
    )


OTHERS = world.RECEIVED.replace("<news@example.org>", "<news@example.net>")

# What one fault breaks in several rows: the row in question, a part of what it says, the other rows.
TOGETHER: list[tuple[str, str, set[str], Fault]] = [
    ("dkim.flags", "t=s wants i= of the signature", {"dkim.sig", "dmarc.align", "bulk.both", "bulk.oneclick"}, below_the_domain),
    ("dkim.sig", "not signed by example.org, but by example.net", {"dmarc.align"}, by_others),
    ("dkim.sig", "not signed by example.org, but by nobody", {"dmarc.align", "bulk.both", "bulk.oneclick"},
     lambda w: w.tell(mail=other(LETTER))),
    ("bulk.both", "DMARC does not pass", {"dkim.sig", "dmarc.align"},
     lambda w: by_others(w.put("example.net.", "TXT", f"v=spf1 ip4:{ADDRESS} -all"), OTHERS)),
    ("bulk.both", "DMARC does not pass", {"dmarc.present"}, lambda w: w.put("_dmarc", "TXT")),
]  # fmt: skip


@pytest.mark.parametrize(("row", "seen", "others", "fault"), TOGETHER)
def test_a_fault_that_several_rows_show(row: str, seen: str, others: set[str], fault: Fault) -> None:
    report = checked(fault(World()))
    assert {item.id for item in report.findings} == {row} | others, report.table()
    assert any(seen in item.seen for item in report.findings if item.id == row)


# What cannot be judged: the row, a part of why, a part of what it takes.
OPEN: list[tuple[str, str, str, Fault]] = [
    ("helo.name", "is not told", "helo:", lambda w: w.tell(outbound=(v.Outbound(ADDRESS, ""),))),
    ("egress.ip", "names no address", "as the receiver stored it", lambda w: w.tell(mail=signed(received=""), bulk=False)),
    ("egress.ip", "no sending address", "outbound", lambda w: w.tell(outbound=())),
    ("port25.out", "gone.example has no address", "always there", lambda w: w.tell(outbound_25="gone.example")),
    ("dkim.match", "the key given for sel1 cannot be read", "its record's value",
     lambda w: w.tell(dkim_keys=(v.SignerKey(DOMAIN, "sel1", "v=DKIM1; p=!"),))),
    ("dkim.alg", "no selector and no message", "selectors", lambda w: without_message(w).put("sel1._domainkey", "TXT").tell(selectors=(), dkim_keys=())),
    ("bulk.both", "do not tell who sent it", "as the receiver stored it", lambda w: w.tell(mail=signed(received=""))),
    ("tls.starttls", "were not asked", "smtp: true", lambda w: w.tell(smtp=False)),
    ("tls.starttls", "no session: boom", "port 25 is open", lambda w: smtp(w, error="boom")),
    ("addr.role", "were not asked", "smtp: true", lambda w: w.tell(smtp=False)),
    ("addr.role", "no mail server could be asked: boom", "port 25 is open", lambda w: smtp(w, error="boom", replies=())),
    ("addr.role", "450 4.7.1 later", "a PTR record", lambda w: smtp(w, replies=((450, "4.7.1 later"), (250, "")))),
    ("mtasts.dns+policy", "was not fetched", "https: true", lambda w: w.tell(https=False)),
    ("mtasts.match", "was not fetched", "https: true", lambda w: w.tell(https=False)),
    ("dane", "were not asked", "smtp: true", lambda w: w.tell(smtp=False)),
    ("dane", "it shows no certificate", "port 25 is open", lambda w: smtp(w, certificates=())),
    ("dane", "the authority's certificate is not among", "the whole chain", lambda w: tlsa(w, f"2 1 1 {'11' * 32}", f"2 1 1 {'22' * 32}")),
    ("dnsbl.ip/domain", "no blocklist is named", "dnsbl_ip", lambda w: w.tell(dnsbl_ip=(), dnsbl_domain=())),
    ("dnsbl.ip/domain", "the error 127.255.255.250", "a resolver of your own", lambda w: w.put("2.0.0.127.bl.example.net.", "A", "127.255.255.250")),
    ("relay+smuggling", "gone.example has no address", "test_host", lambda w: w.tell(test_host="gone.example")),
    ("relay+smuggling", "no session with mx.example.org: boom", "can be reached", lambda w: setattr(w, "relay", v.RelayAnswer("boom")) or w),
    ("relay+smuggling", "RCPT is answered with 450 later", "take mail for postmaster@example.org", takes_nothing),
]  # fmt: skip


@pytest.mark.parametrize(("row", "seen", "remedy", "change"), OPEN)
def test_what_cannot_be_judged_is_unknown_and_no_fault(row: str, seen: str, remedy: str, change: Fault) -> None:
    report = checked(change(World()))
    assert report.verdicts()[DOMAIN][row] == UNKNOWN and row not in {item.id for item in report.findings}
    assert any(seen in item.seen and remedy in item.remedy for item in report.unknowns if item.id == row), (
        report.unknowns
    )


@pytest.mark.parametrize(
    ("state", "published", "retired"),
    [
        ("pending", key_text(1024), ""),
        ("retired", key_text(1024), "2026-11-18T00:00:00Z"),
        ("retired", "v=DKIM1; p=", "2026-11-01T00:00:00Z"),
        ("retired", "", "2026-11-01T00:00:00Z"),
        ("revoked", "v=DKIM1; p=", "2026-11-01T00:00:00Z"),
        ("revoked", "", "2026-11-01T00:00:00Z"),
        ("withdrawn", "", "2026-11-01T00:00:00Z"),
    ],
)
def test_keys_whose_records_are_as_their_states_ask_for(state: str, published: str, retired: str) -> None:
    report = checked(with_state(World(), state, published, retired))
    assert report.findings == [] and report.verdicts()[DOMAIN]["dkim.rotation"] == OK


def test_a_wildcard_is_found_once_where_no_selector_is_named() -> None:
    """Every selector exists then, so the usual ones say nothing but that."""
    broken = ("v=DKIM1; h=sha256; p=", "v=DMARC1; p=none", SPF)
    made = without_message(World().tell(selectors=(), dkim_keys=()))
    for selector in (*_check_dkim.USUAL, _check_dkim.NO_SUCH_SELECTOR):
        made.put(f"{selector}._domainkey", "TXT", *broken)
    made.put("google._domainkey", "TXT", *broken[::-1])
    report = checked(made)
    assert [(item.id, item.subject) for item in report.findings] == [("dkim.present", "*._domainkey.example.org")]
    assert report.findings[0].seen == f"every selector exists, by a wildcard: {' | '.join(broken)}"
    assert report.verdicts()[DOMAIN]["dkim.keysize"] == UNKNOWN
    # One that has a record of its own is judged beside it.
    report = checked(made.put("mail._domainkey", "TXT", f"v=DKIM1; p={RSA_512}"))
    assert {(item.id, item.subject) for item in report.findings} == {
        ("dkim.present", "*._domainkey.example.org"),
        ("dkim.keysize", "mail._domainkey.example.org"),
    }
    # Those that are named are judged, whatever they are.
    report = checked(made.tell(selectors=("google",)))
    assert {item.subject for item in report.findings} == {
        "*._domainkey.example.org",
        "google._domainkey.example.org",
    }


def test_the_record_that_mends_spf_lets_all_own_addresses_pass() -> None:
    """Of two records to paste, the second would take away what the first brought."""
    made = spf(silent(World()), "mx:example.net ~all").tell(outbound=world.options().outbound)
    remedies = {item.remedy for item in checked(made).findings if item.id == "spf.covers-ip"}
    mended = f"v=spf1 ip4:{ADDRESS} ip6:{ADDRESS6} mx:example.net ~all"
    assert remedies == {f'example.org. 3600 IN TXT "{mended}"'}
    assert checked(made.put("", "TXT", mended)).findings == []


def test_a_wildcard_that_says_that_names_send_no_mail_is_no_key() -> None:
    made = silent(World().tell(selectors=(), dkim_keys=()))
    for selector in ("", *_check_dkim.USUAL, _check_dkim.NO_SUCH_SELECTOR):
        made.put(f"{selector}._domainkey".lstrip("."), "TXT", "v=spf1 -all")
    report = checked(made)
    assert report.findings == []
    assert "dkim.present" in {item.id for item in report.unknowns}


def test_each_of_two_spf_records_is_read() -> None:
    made = silent(World().put("", "TXT", SPF, "v=spf1 nclude:_spf.example.net -all"))
    assert {(item.id, item.severity) for item in checked(made).findings} == {("spf.single", "F"), ("spf.syntax", "F")}
    assert {item.id for item in checked(made.put("", "TXT", SPF, "v=spf1 mx -all")).findings} == {"spf.single"}


def test_what_is_said_of_a_domain_that_does_not_exist() -> None:
    """The zone above is not its own: nothing is asked of who runs that."""
    made = silent(World()).tell(selectors=(), dkim_keys=())
    made.dns = {key: values for key, values in made.dns.items() if not key[0].endswith("example.org.")}
    made.missing |= {"example.org.", "_domainkey.example.org."}
    report = checked(made)
    assert {item.id for item in report.findings} == {"mx.exists", "spf.single", "dmarc.present"}
    assert report.findings[0].remedy == "register it, or correct the name example.org"


def test_no_address_is_asked_for_an_mx_that_is_one_itself() -> None:
    made = sts_for(World().put("mx", "AAAA").put("", "MX", "10 203.0.113.25."), "203.0.113.25")
    made.tell(outbound=(v.Outbound(ADDRESS, "mx.example.org"),))
    assert {item.id for item in checked(made).findings} == {"mx.target"}
    assert {
        item.id for item in checked(sts_for(made.put("", "MX", "10 mx.example.org."), "mx.example.org")).findings
    } == {"caa/bimi/ipv6"}


def test_of_many_names_of_an_address_few_count_for_a_term_ptr() -> None:
    made = (
        World()
        .put("", "TXT", "v=spf1 a:mx.example.org ptr -all")
        .put(REVERSE, "PTR", "mx.example.org.", *(f"m{n}.example.org." for n in range(10)))
    )
    assert [(item.id, item.severity) for item in checked(made).findings] == [
        ("spf.mx-ptr-limits", "W"),
        ("spf.ptr", "W"),
    ]
    made.put(REVERSE, "PTR", "mx.example.org.", *(f"m{n}.example.org." for n in range(9)))
    assert [item.id for item in checked(made).findings] == ["spf.ptr"]


@pytest.mark.parametrize(
    ("received", "clear"),
    [
        ("from a (a [192.0.2.1]) by b (Postfix) with ESMTP id 1; date", True),
        ("from a (a [192.0.2.1]) by b (Postfix) with ESMTPS id 1; date", False),
        ("from a ([192.0.2.1]) by b with smtp (Exim 4.98) id 1; date", True),
        ("from a ([192.0.2.1]) by b with esmtps (TLS1.3) id 1; date", False),
        ("from a (a [192.0.2.1]) (using TLSv1.3 with cipher X) by b with ESMTP id 1; date", False),
        ("from a (192.0.2.1) by b with UTF8SMTPSA id 1; date", False),
        ("from a by b with Microsoft SMTP Server (version=TLS1_2, cipher=X) id 1; date", False),
        ("from a by b with LMTP id 1; date", False),
        ("by b with HTTP; date", False),
        ("", False),
    ],
)
def test_whether_a_received_field_tells_of_no_tls(received: str, clear: bool) -> None:
    assert Mail(f"Received: {received}\r\nFrom: a@example.org\r\n\r\n".encode()).clear is clear


def test_a_logo_takes_an_enforced_policy() -> None:
    weak = World().put("_dmarc", "TXT", "v=DMARC1; p=none; rua=mailto:dmarc@example.org")
    found = checked(weak.copy().put("default._bimi", "TXT", BIMI)).findings
    assert [(item.id, item.severity) for item in found] == [("dmarc.policy", "W"), ("caa/bimi/ipv6", "I")]
    assert "DMARC does not enforce: no logo is shown" in found[1].seen
    for text in (BIMI, BIMI + "; a=https://example.org/a.pem", "v=BIMI1; l=; a="):
        assert checked(World().put("default._bimi", "TXT", text)).findings == [], text
    assert [item.id for item in checked(weak.put("default._bimi", "TXT", "v=BIMI1; l=;")).findings] == ["dmarc.policy"]


def test_whether_forged_verdicts_are_removed_takes_a_message_that_came_with_one() -> None:
    report = checked(World().tell(inbound_mail=inbound("mx.example.org", tried=False)))
    assert report.findings == []
    assert [item.id for item in report.unknowns] == ["ar.trust"]
    assert FORGED.strip() in report.unknowns[0].remedy and "Subject: forged.invalid" in report.unknowns[0].remedy


def test_dane_in_a_zone_that_is_not_signed() -> None:
    report = checked(foreign_dane(World()))
    assert {item.id: item.severity for item in report.findings} == {"dane": "F", "dnssec": "I"}
    assert "example.net is not signed, so no sender uses the TLSA record" in report.findings[0].seen


# -- ok, propagating, wrong and unknown ---------------------------------------------------------------


@pytest.mark.parametrize("server", [SERVERS[0], SERVERS[1], ""], ids=["first", "second", "resolver"])
@pytest.mark.parametrize(
    ("row", "name", "rdtype", "values"),
    [
        ("spf.all", "example.org.", "TXT", ["v=spf1 a:mx.example.org ?all"]),
        ("dkim.present", "sel1._domainkey.example.org.", "TXT", []),
        ("dmarc.policy", "_dmarc.example.org.", "TXT", ["v=DMARC1; p=none; rua=mailto:dmarc@example.org"]),
        ("mx.target", "example.org.", "MX", ["10 mx.example.org.", "20 203.0.113.25."]),
    ],
)
def test_what_only_some_servers_say_is_propagating(
    row: str, name: str, rdtype: str, values: list[str], server: str
) -> None:
    made = without_message(World()).tell(dkim_keys=())
    made.at[(name, rdtype, server)] = values
    report = checked(made)
    assert report.verdicts()[DOMAIN][row] == PROPAGATING
    assert {item.id for item in report.failing("I")} == ({"dns.consistency"} if server else set())
    found = next(item for item in report.findings if item.id == row)
    assert found.seen.startswith("only some servers say so: ")
    assert f"  ~ {row}" in "\n".join(report.table())


def test_a_fault_that_differs_between_servers_is_wrong() -> None:
    made = World()
    made.put("", "TXT", "v=spf1 a:mx.example.org ?all")
    made.at[("example.org.", "TXT", SERVERS[0])] = ["v=spf1 a:mx.example.org +all"]
    assert checked(made).verdicts()[DOMAIN]["spf.all"] == WRONG


def test_serial_numbers_that_differ_are_propagating() -> None:
    made = World()
    made.at[("example.org.", "SOA", SERVERS[1])] = [
        "ns1.example.net. hostmaster.example.org. 2026112000 3600 600 86400 300"
    ]
    report = checked(made)
    assert [(item.id, item.verdict) for item in report.findings] == [("dns.consistency", PROPAGATING)]
    assert "has serial 2026112000" in report.findings[0].seen


@pytest.mark.parametrize("moved", [True, False], ids=["serials differ", "serials are equal"])
@pytest.mark.parametrize(
    ("name", "rdtype", "value"),
    [
        ("example.org.", "MX", "20 mx.example.org."),
        ("example.org.", "TXT", "v=spf1 a:mx.example.org ~all"),
        ("_dmarc.example.org.", "TXT", "v=DMARC1; p=reject; rua=mailto:postmaster@example.org"),
        ("sel1._domainkey.example.org.", "TXT", key_text(1024)),
    ],
)
def test_what_differs_between_servers_is_wrong_where_no_transfer_will_mend_it(
    name: str, rdtype: str, value: str, moved: bool
) -> None:
    made = without_message(World())
    made.at[(name, rdtype, SERVERS[1])] = [value]
    if moved:
        made.at[("example.org.", "SOA", SERVERS[1])] = [
            "ns1.example.net. hostmaster.example.org. 2026112000 3600 600 86400 300"
        ]
    found = [item for item in checked(made).findings if item.id == "dns.consistency" and "has serial" not in item.seen]
    assert [(item.severity, item.verdict) for item in found] == [("W", PROPAGATING if moved else WRONG)]
    assert (
        f"{name.rstrip('.')} {rdtype} is not the same everywhere" in found[0].seen
        and SERVERS[1] in found[0].seen
        and value[:40] in found[0].seen
    )


def test_a_server_that_keeps_one_name_to_itself_is_named() -> None:
    made = World()
    made.broken[("_dmarc.example.org.", "TXT", SERVERS[1])] = v.DnsAnswer(v.FAILED, text="SERVFAIL")
    report = checked(made)
    assert report.findings == []
    assert [(item.id, item.seen) for item in report.unknowns] == [
        ("dns.consistency", "ns2.example.net [192.0.2.2] does not tell _dmarc.example.org TXT: SERVFAIL")
    ]


def test_a_resolver_that_does_not_answer_makes_nothing_wrong() -> None:
    made = World()
    made.broken[("*", "*", "")] = v.DnsAnswer(v.TIMEOUT, text="192.0.2.53 does not answer")
    report = checked(made)
    assert report.findings == []
    assert {item.seen for item in report.unknowns if item.id.startswith("spf.") and item.id != "spf.covers-ip"} == {
        "192.0.2.53 does not answer"
    }


def test_a_signature_that_no_library_can_verify_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {"dkim.sig", "dmarc.align", "bulk.both", "bulk.oneclick"}
    made, again = with_ed25519(World()), with_ed25519(World())
    assert not rows & {item.id for item in checked(made).all_findings}
    monkeypatch.delattr(world.dkim, "nacl")
    report = checked(again)
    assert {item.id for item in report.unknowns} == rows
    assert {item.id for item in report.findings} == {"dkim.alg"}
    (told,) = [item for item in report.unknowns if item.id == "dmarc.align"]
    assert (told.seen, told.remedy) == (
        "the Python library PyNaCl is not at hand",
        "install python3-nacl (pip install pynacl)",
    )
    # A message with another signature that holds is judged by that.
    assert checked(World()).unknowns == []


def test_mail_that_is_signed_with_sha1_alone_passes_nowhere() -> None:
    report = checked(World().tell(mail=signed(algorithm="rsa-sha1")))
    assert {item.id for item in report.findings} == {"dkim.alg", "dmarc.align", "bulk.both", "bulk.oneclick"}


def mute(made: Any, *keys: tuple[str, str]) -> Any:
    """Names and types that neither the resolver nor a name server answers."""
    for name, rdtype in keys:
        full = name if name.endswith(".") else f"{name}.{DOMAIN}."
        for server in ("", "unchecked", *SERVERS):
            made.broken[(full, rdtype, server)] = SERVFAIL
    return made


def listed_by_one(made: Any, lists: str, silent_one: str) -> Any:
    """Of two blocklists, sound by their self-tests, one lists the address, and the other does not answer for it."""
    made.put("2.0.0.127.bl2.example.net.", "A", "127.0.0.2")
    mapped = ipaddress.ip_address("::ffff:7f00:2").reverse_pointer.removesuffix("ip6.arpa")
    made.put(f"{mapped}bl2.example.net.", "A", "127.0.0.2").put(f"25.113.0.203.{lists}.example.net.", "A", "127.0.0.4")
    return mute(made, (f"25.113.0.203.{silent_one}.example.net.", "A")).tell(
        dnsbl_ip=("bl.example.net", "bl2.example.net")
    )


def two_mail_servers(made: Any, second: str) -> Any:
    """The first in another zone, where nobody answers."""
    sts_for(made, "*.example.org", "mx.example.net").put("", "MX", "10 mx.example.net.", f"20 {second}.")
    return mute(made, *(("mx.example.net.", rdtype) for rdtype in ("A", "AAAA", "CAA")))


def two_signers() -> Mail:
    """A signature by a domain whose key nobody gives, and one that does not cover a second From."""
    first = header_of(signed(domain="lost.example.org"))
    second = header_of(signed(fields=list(dict.fromkeys(SIGNED))))
    return Mail(world.RECEIVED.encode() + first + second + LETTER.encode())


OWN = "a:mx.example.org"
REVERSE6 = ipaddress.ip_address(ADDRESS6).reverse_pointer + "."
SLOW = ("slow.example.net.", "TXT")
# Row, its severity, a part of what is seen, and the fault: beside each stands a question that nobody answers.
HALF_KNOWN: list[tuple[str, str, str, Fault]] = [
    ("dnsbl.ip/domain", "F", "bl.example.net lists it", lambda w: listed_by_one(w, "bl", "bl2")),
    ("dnsbl.ip/domain", "F", "bl2.example.net lists it", lambda w: listed_by_one(w, "bl2", "bl")),
    ("ptr.exists", "F", "no PTR record", lambda w: mute(w, (REVERSE6, "PTR")).put(REVERSE, "PTR")),
    ("ptr.fcrdns", "F", "does not lead back", lambda w: two_names(mute(w, (REVERSE6, "PTR")))),
    ("helo.name", "W", "a customer's line", lambda w: mute(w, (REVERSE6, "PTR"))
     .put(REVERSE, "PTR", "25-113-0-203.dyn.example.net.").put("25-113-0-203.dyn.example.net.", "A", ADDRESS)),
    ("mx.target", "F", "nobody outside can reach 10.1.2.3", lambda w: two_mail_servers(w, "mx2.example.org")
     .put("mx2", "A", "10.1.2.3").put("mx2", "TXT", "v=spf1 -all").put("mx2", "AAAA", ADDRESS6)),
    ("spf.syntax", "F", "ip4:999.1.1.1", lambda w: spf(mute(w, SLOW), f"{OWN} include:slow.example.net include:bad.example.net -all")
     .put("bad.example.net.", "TXT", "v=spf1 ip4:999.1.1.1 -all")),
    ("spf.include-target", "F", "leads to no SPF record",
     lambda w: spf(mute(w, SLOW), f"{OWN} include:slow.example.net include:none.example.net -all")),
    ("spf.ptr", "W", "the term ptr", lambda w: spf(mute(w, SLOW), f"{OWN} include:slow.example.net ptr -all")),
    ("spf.void", "F", "3 lookups of a client over IPv4 lead to nothing",
     lambda w: spf(mute(w, ("x9.example.net.", "A"), ("x9.example.net.", "AAAA")),
                   f"{OWN} a:x9.example.net a:x1.example.org a:x2.example.org mx:x3.example.org -all")),
    ("spf.mx-ptr-limits", "F", "leads to 11 hosts",
     lambda w: spf(mute(w, ("lost.example.net.", "MX")), f"{OWN} mx:lost.example.net mx:many.example.org -all")
     .put("many", "MX", *(f"10 m{n}.example.org." for n in range(11)))),
    ("spf.covers-ip", "F", "as HELO mx.example.org it gets fail",
     lambda w: spf(without_message(mute(w, SLOW)), f"include:slow.example.net {OWN} -all")
     .put("mx", "TXT", "v=spf1 -all").tell(outbound=(v.Outbound(ADDRESS, "mx.example.org"),))),
    ("spf.nonsender", "I", "the mail server's own name has no SPF", lambda w: mute(sts_for(w, "*.example.org"), ("mx0", "TXT"))
     .put("", "MX", "10 mx0.example.org.", "20 mx.example.org.").put("mx0", "A", ADDRESS).put("mx0", "AAAA", ADDRESS6).put("mx", "TXT")),
    ("dkim.keysize", "W", "the key has 1024 bits",
     lambda w: mute(with_key(w, key_text(1024)), ("sel0._domainkey", "TXT")).tell(selectors=("sel0", "sel1"), bulk=False)),
    ("dkim.present", "F", "no key is published", lambda w: mute(w, ("sel0._domainkey", "TXT")).tell(selectors=("sel0", "sel1", "sel2"))),
    ("dkim.sig", "W", "a second From can be added", lambda w: mute(w, ("sel1._domainkey.lost", "TXT")).tell(mail=two_signers())),
    ("dmarc.rua", "W", "takes no mail", lambda w: mute(w, ("other.example.", "MX"))
     .put("_dmarc", "TXT", "v=DMARC1; p=reject; rua=mailto:d@other.example,mailto:d@gone.example.org")),
    ("tls.starttls", "F", "TLSv1.1 is the best", lambda w: smtp(two_mail_servers(w, "mx.example.org"), tls="TLSv1.1")),
    ("dane", "I", "one record alone", lambda w: tlsa(mute(sts_for(w, "*.example.org", "mx.example.net"), ("_25._tcp.mx.example.net.", "TLSA")),
     f"3 1 1 {world.key_digest()}").put("", "MX", "10 mx.example.net.", "20 mx.example.org.").put("mx.example.net.", "A", ADDRESS)),
    ("caa/bimi/ipv6", "I", "no CAA record", lambda w: mute(w, ("default._bimi", "TXT")).put("", "CAA")),
    ("bulk.both", "F", "SPF of example.net for 203.0.113.25 gives none", lambda w: mute(w, ("_dmarc", "TXT"))
     .tell(mail=signed(received=world.RECEIVED.replace("<news@example.org>", "<news@example.net>")))),
]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "severity", "seen", "fault"), HALF_KNOWN, ids=[f"{n}-{case[0]}" for n, case in enumerate(HALF_KNOWN)]
)
def test_what_is_found_stays_beside_a_question_that_nobody_answers(
    row: str, severity: str, seen: str, fault: Fault
) -> None:
    report = checked(fault(World()))
    assert {(item.id, item.severity, item.verdict) for item in report.findings} == {(row, severity, WRONG)}, (
        report.table()
    )
    assert seen in report.findings[0].seen and report.verdicts()[DOMAIN][row] == WRONG
    assert any(item.id == row and ("SERVFAIL" in item.seen or "temperror" in item.seen) for item in report.unknowns)


def test_an_include_that_nobody_answers_leaves_the_rows_on_the_record_itself_judged() -> None:
    made = spf(mute(World(), SLOW), f"{OWN} include:slow.example.net -all")
    report = checked(made)
    assert report.findings == []
    told = {row for row, verdict in report.verdicts()[DOMAIN].items() if verdict == UNKNOWN}
    assert told == {"spf.syntax", "spf.lookups", "spf.void", "spf.mx-ptr-limits", "spf.ptr", "spf.include-target"}
    assert {item.subject for item in report.unknowns} == {"slow.example.net"}


def test_silence_of_a_web_server_is_unknown() -> None:
    report = checked(https(World(), error="no answer within 12 seconds", silent=True))
    assert report.findings == [] and report.verdicts()[DOMAIN]["mtasts.dns+policy"] == UNKNOWN


def test_an_answer_that_some_lists_refuse_is_unknown_and_never_listed() -> None:
    for code in ("127.255.255.252", "127.255.255.254", "127.255.255.255", "198.51.100.1"):
        made = World().put("25.113.0.203.bl.example.net.", "A", code)
        report = checked(made)
        assert report.findings == [] and report.verdicts()[DOMAIN]["dnsbl.ip/domain"] == UNKNOWN, code


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        ("2.0.0.127.bl.example.net.", [], "does not list 2.0.0.127"),
        ("2.0.0.127.bl.example.net.", ["127.255.255.254"], "does not answer public resolvers"),
        ("1.0.0.127.bl.example.net.", ["127.0.0.2"], "it lists 1.0.0.127"),
        ("invalid.dbl.example.net.", ["127.0.1.2"], "it lists invalid"),
        ("test.dbl.example.net.", [], "does not list test"),
    ],
)
def test_a_list_that_fails_its_self_test_is_not_believed(name: str, values: list[str], why: str) -> None:
    made = (
        World()
        .put(name, "A", *values)
        .put("25.113.0.203.bl.example.net.", "A", "127.0.0.4")
        .put("example.org.dbl.example.net.", "A", "127.0.1.2")
    )
    zone = "bl" if name.endswith(".bl.example.net.") else "dbl"
    report = checked(made)
    assert any(why in item.seen for item in report.unknowns)
    assert not any(item.seen.startswith(f"{zone}.example.net lists") for item in report.findings)


# -- strangers' data ----------------------------------------------------------------------------------


def test_loops_of_aliases_end() -> None:
    made = World()
    made.aliases.update(
        {"mx.example.org.": "a.example.org.", "a.example.org.": "b.example.org.", "b.example.org.": "a.example.org."}
    )
    for rdtype in ("A", "AAAA", "TXT"):
        made.dns.pop(("mx.example.org.", rdtype))
    verdicts = checked(made).verdicts()[DOMAIN]
    assert verdicts["mx.target"] == UNKNOWN and verdicts["dkim.present"] == OK


NASTY = st.text(alphabet=st.characters(max_codepoint=255), max_size=80)


@given(
    st.dictionaries(
        st.sampled_from(["", "mx", "_dmarc", "sel1._domainkey", "_mta-sts", "_smtp._tls", "_dmarc.org."]),
        st.lists(NASTY, max_size=3),
        max_size=5,
    ),
    st.lists(
        st.sampled_from(["10 .", "0 mx.example.org.", "10 \\000.example.org.", "65535 *.example.org.", "7 127.0.0.1."]),
        max_size=4,
    ),
    st.binary(max_size=300),
    st.sampled_from(["v=spf1 ", "v=DMARC1; ", "v=STSv1; ", "v=DKIM1; ", "v=TLSRPTv1; ", ""]),
)
def test_whatever_strangers_publish_ends_in_a_report(
    texts: dict[str, list[str]], hosts: list[str], letter: bytes, prefix: str
) -> None:
    made = World().put("", "MX", *hosts).tell(mail=Mail(letter), inbound_mail=Mail(letter))
    for name, values in texts.items():
        made.put(name, "TXT", *(prefix + value for value in values))
    made.https = replace(made.https, body=letter)
    report = checked(made)
    assert all(line.isprintable() for line in report.table())
    assert set(report.verdicts()[DOMAIN]) == set(BY_ID)


# -- the request and the report -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "no domain is named"),
        (["exa mple.org"], "the label 'exa mple'"),
        (["org"], "'org' is no mail domain"),
        (["*.example.org"], "no mail domain"),
        ([f"d{number}.example" for number in range(1001)], "1001 domains are too many"),
    ],
)
def test_domains_that_are_none(names: list[str], said: str) -> None:
    with pytest.raises(CheckError, match=said.replace("*", r"\*")):
        run.domain_names(names)


def test_domains_are_made_ascii_and_named_once() -> None:
    assert run.domain_names(["B\u00fccher.example", "xn--bcher-kva.example.", "example.org"]) == [
        "xn--bcher-kva.example.",
        "example.org.",
    ]


def test_checks_can_be_left_out() -> None:
    made = World().put("_smtp._tls", "TXT").put("", "CAA")
    report = checked(made, ignore=["tlsrpt"])
    assert [item.id for item in report.findings] == ["caa/bimi/ipv6"]
    assert "tlsrpt" not in report.verdicts()[DOMAIN]
    with pytest.raises(CheckError, match="ignore names 'tls.rpt', which is no check"):
        checked(made, ignore=["tls.rpt"])


def test_time_is_bounded() -> None:
    class Stuck(world.Slow):  # type: ignore[name-defined, misc]
        async def ask(self, questions: object) -> None:
            await asyncio.sleep(60)

    made = World()
    report = asyncio.run(run.check([DOMAIN], Stuck(made), made.options, timeout=0.05))
    assert report.findings == [] and len(report.unknowns) == sum(
        1 for verdict in report.verdicts()[DOMAIN].values() if verdict == UNKNOWN
    )
    assert "not answered within the 0.05 seconds" in report.unknowns[0].seen


def test_a_domain_that_wants_too_many_questions_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "QUESTION_LIMIT", 20)
    report = checked(World())
    assert report.findings == [] and any("more than 20 questions" in item.seen for item in report.unknowns)


def test_sessions_begin_when_dns_has_told_all_that_it_can() -> None:
    """They take long, and no row that needs none waits for one."""

    class Stuck(world.Slow):
        async def ask(self, questions: Any) -> None:
            await super().ask([one for one in questions if isinstance(one, v.Dns)])
            if not all(isinstance(one, v.Dns) for one in questions):
                reached.set()
                await asyncio.Event().wait()

    async def judged() -> dict[str, list[Found]]:
        domain = run._Domain("example.org.", list(BY_ID), Stuck(made), made.options)
        task = asyncio.ensure_future(domain.judge())
        await asyncio.wait_for(reached.wait(), 60)
        task.cancel()
        return domain.found

    made, reached = World().put("_smtp._tls", "TXT"), asyncio.Event()
    found = asyncio.run(judged())
    assert set(BY_ID) - set(found) == {
        *("port25.out", "tls.starttls", "mtasts.dns+policy", "mtasts.match", "dane", "relay+smuggling", "addr.role"),
        "caa/bimi/ipv6",
    }
    assert [row for row, told in found.items() if told] == ["tlsrpt"]


def test_failing_counts_what_is_wrong_and_as_grave() -> None:
    def finding(severity: str, verdict: str = WRONG) -> Finding:
        return Finding.of(BY_ID["spf.all"], DOMAIN, Found(severity, "seen", "remedy", verdict=verdict))

    report = Report(
        (DOMAIN,), (finding("F"), finding("W"), finding("I"), finding("F", PROPAGATING), finding("F", UNKNOWN))
    )
    assert [len(report.failing(one)) for one in ("F", "W", "I", "never")] == [1, 2, 3, 0]


def test_records_to_paste_stay_on_one_line() -> None:
    made = World().put("_smtp._tls", "TXT").put("_mta-sts", "TXT")
    lines = [line.strip() for line in checked(made).table()]
    assert '-> _smtp._tls.example.org. 3600 IN TXT "v=TLSRPTv1; rua=mailto:tls@example.org"' in lines


def test_the_table_tells_why_something_is_unknown() -> None:
    made = World().tell(outbound=(), dnsbl_ip=(), mail=None, bulk=False)
    nothing_sends = [
        "  ? ptr.exists, ptr.fcrdns, helo.name, spf.covers-ip: no sending address is named",
        "    -> give outbound: [{address: ..., helo: ...}]",
    ]
    lines = checked(made).table()
    assert lines[:3] == [
        DOMAIN,
        "  40 ok, 0 propagating, 0 wrong, 10 unknown of 50 checks",
        "unknown, why, and what it takes:",
    ]
    assert lines[3:5] == nothing_sends
    # Of several domains the same is said once, and what differs at its domain.
    for server in ("", *SERVERS):
        failing(made, "_smtp._tls.example.org.", "TXT", server, v.DnsAnswer(v.TIMEOUT, text="it does not answer"))
    lines = checked(made, "example.org", "example.net").table()
    end = lines.index("unknown of all 2 domains, why, and what it takes:")
    assert lines[end + 1 : end + 3] == nothing_sends
    assert lines[2:4] == [
        "  ? tlsrpt: it does not answer",
        "    -> try again, or name another resolver",
    ]
    assert lines[4] == "example.net"


def test_texts_of_strangers_are_made_visible() -> None:
    assert visible("a\x1b[31m\n\u202eb") == "a\\x1b[31m\\x0a\\x202eb"
    assert len(visible("x" * 1000)) == 400


@pytest.fixture(autouse=True)
def suffixes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own list, if it has one, plays no part."""
    monkeypatch.setattr(_public_suffix, "installed", lambda: _public_suffix.SuffixList.parse("org\nnet\ntest\n"))


def test_without_a_public_suffix_list_the_older_readers_answer_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Any:
        raise _public_suffix.SuffixListMissing("there is no list; install one")

    monkeypatch.setattr(_public_suffix, "installed", missing)
    report = checked(psd(World()))
    assert [(item.id, item.seen, item.remedy) for item in report.unknowns] == [
        ("dmarc.walk", "there is no list", "install one")
    ]


def test_rows_are_numbered_and_named_once() -> None:
    assert [row.number for row in ROWS] == list(range(1, 51)) and len(BY_ID) == 50
    assert all(row.title and row.reference and row.remedy and row.severity in "FWI" for row in ROWS)


def test_the_guide_shows_all_checks() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "checks.md").read_text(encoding="utf-8")
    shown = guide.partition("<!-- checks -->\n")[2].partition("\n<!-- end of checks -->")[0]
    assert shown.splitlines() == guide_table(), "put what guide_table() of _check.py returns between the marks"
