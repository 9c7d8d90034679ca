# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every parser of text that others wrote: DNS answers, key files, configuration of hosts that are adopted.

A new parser gets a line here. ``refuses`` names what it may raise; ``again`` prints a value, where the text must
then be read as the same value.
"""

from __future__ import annotations

import base64
import datetime
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import (
    _adopt,
    _adopt_client,
    _adopt_dkim,
    _adopt_exim,
    _adopt_filter,
    _archive,
    _bimi,
    _caa,
    _check_client,
    _check_mail,
    _check_view,
    _check_wire,
    _credentials,
    _dkim,
    _dkim_plan,
    _dmarc,
    _dmarc_7489,
    _dns,
    _dns_client,
    _dns_stub,
    _exim,
    _hashes,
    _iptables,
    _log_client,
    _log_explain,
    _mail_causes,
    _mail_log,
    _mta_sts,
    _mx,
    _networks,
    _nftables,
    _pmg,
    _pmg_dkim,
    _postfix,
    _preflight,
    _public_suffix,
    _reports,
    _score,
    _smtp_dnat_rules,
    _spf,
    _srv,
    _tls_rpt,
    _tlsa,
)

# A name of a host, one too long, one in Unicode, a number that no field holds.
WORDS = (
    "example.org",
    "_domainkey.",
    "xn--mnchen-3ya.example",
    "münchen.example",
    "256",
    "v=",
    "=",
    ";",
    ":",
    "/",
    "%",
)


@dataclass(frozen=True)
class Parser:
    """``parse`` takes any text and gives a value or raises one of ``refuses``, whatever the text is."""

    parse: Callable[[str], Any]
    seeds: tuple[str, ...]
    words: tuple[str, ...] = ()
    refuses: tuple[type[Exception], ...] = ()
    again: Callable[[Any], str] | None = None


def _answer(text: str) -> object:
    """A DNS message, its octets as Latin-1."""
    return _dns_stub.parse_answer(text.encode("latin-1", "replace"), "PTR", 1)


def _checked_answer(text: str) -> object:
    """The same for the mail check, which takes every type."""
    wire = text.encode("latin-1", "replace")
    question = _check_view.Dns("example.org.", ("PTR", "TXT", "MX", "SOA", "TLSA")[len(wire) % 5])
    return _check_wire.read_answer(wire, question)


def _received_mail(text: str) -> object:
    mail = _check_mail.Mail(text.encode("latin-1", "replace"))
    return mail.from_domain, mail.envelope_sender, mail.client, mail.helo, mail.signatures


def _mail_log_whole(text: str) -> object:
    """Lines of both programs' logs, the journal's and the queues', by whichever reader takes them."""
    now = datetime.datetime(2026, 11, 20, tzinfo=datetime.UTC)
    lines = [*_mail_log.parse_log(text, now), *_mail_log.parse_journal(text)]
    lines += [_mail_log.Line(None, "", line) for line in text.splitlines()]
    return _mail_log.events(lines), _mail_log.sessions(lines, ["192.0.2.31"])


def _mail_log_explained(text: str) -> object:
    """As lines that a person gives, and as a file."""
    now = datetime.datetime(2026, 11, 20, tzinfo=datetime.UTC)
    explainer = _log_explain.Explainer(_mail_causes.CATALOGUE, _log_explain.Wish())
    for line in _log_client.given(text, now):
        explainer.take(line, reply=True)
    raws = _log_client.split_lines(iter([text.encode("utf-8", "replace")]))
    explainer.read(raws, lambda one: _mail_log.parse_line(one, now))
    return explainer.report(10).table("x")


def _queues(text: str) -> object:
    now = datetime.datetime(2026, 11, 20, tzinfo=datetime.UTC)
    smtpd = _mail_log.parse_smtpctl_queue(text)
    return _mail_log.reasons([*_mail_log.parse_postqueue(text), *_mail_log.parse_exim_queue(text, now), *smtpd])


def _content(text: str) -> object:
    content = _score.Content(_check_mail.Mail(text.encode("latin-1", "replace")))
    return content.problems, [_score.link_troubles(one, html=True) for one in content.texts["text/html"]]


def _private(text: str) -> object:
    return _dkim.read_private(text.encode("utf-8", "replace"))


class _Everywhere:
    """DNS in which every name has the same SPF record."""

    def __init__(self, text: str) -> None:
        self.answers = {"TXT": [text], "A": ["192.0.2.1"], "MX": ["10 mx.example."], "PTR": ["example.org."]}

    def query(self, name: str, rdtype: str) -> list[str]:
        assert 0 < len(name) <= 506, name  # 253 characters, some of them escaped
        return self.answers.get(rdtype, [])


def _spf_verdict(text: str) -> object:
    """The verdict on a client that calls itself by the record's own words."""
    sender = f"{text[7:47]}@example.org"
    return _spf.check_host(ip="198.51.100.1", sender=sender, helo=text[-60:], resolver=_Everywhere(text))


def _spf_flat(text: str) -> object:
    return _spf.flatten(text, domain="example.org", resolver=_Everywhere(text))


# The private key of RFC 8032 section 7.1, test 1, as PKCS#8 and bare.
_SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
_PKCS8 = base64.b64encode(bytes.fromhex("302e020100300506032b657004220420") + _SEED).decode()
_PEM = f"-----BEGIN PRIVATE KEY-----\n{_PKCS8}\n-----END PRIVATE KEY-----\n"
_P = "MCowBQYDK2VwAyEA11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
# One question and one PTR answer, whose names share a part by a pointer.
_MESSAGE = "\0\1\x81\x80\0\1\0\1\0\0\0\0\7example\3org\0\0\x0c\0\1\xc0\x0c\0\x0c\0\1\0\0\0\x3c\0\5\2mx\xc0\x0c"

_AGGREGATE = """<feedback><report_metadata><org_name>x</org_name><date_range><begin>1</begin><end>2</end></date_range>
</report_metadata><policy_published><domain>example.org</domain><p>none</p></policy_published><record><row><source_ip>
192.0.2.1</source_ip><count>1</count><policy_evaluated><dkim>pass</dkim></policy_evaluated></row></record></feedback>"""
_TLS_REPORT = (
    '{"organization-name": "x", "date-range": {"start-datetime": "2026-11-01T00:00:00Z", "end-datetime":'
    ' "2026-11-01T23:59:59+01:00"}, "policies": [{"policy": {"policy-type": "sts", "policy-domain": "example.org"},'
    ' "summary": {"total-successful-session-count": 1}, "failure-details": [{"failed-session-count": 3}]}]}'
)

PARSERS: dict[str, Parser] = {
    "answer, as a check reads it": Parser(_checked_answer, (_MESSAGE,), ("\xc0\x0c", "\0\x10", "\x3f", "\xff")),
    "answer of a web server": Parser(
        lambda text: _check_client.parse_http(text.encode("latin-1", "replace")),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        ),
        ("HTTP/1.1", "chunked", "Content-Length:", "\r\n"),
    ),
    "message that was received": Parser(
        _received_mail,
        (
            "Return-Path: <a@example.org>\r\nReceived: from a.example (a.example [192.0.2.1]) by mx.example; now\r\n"
            "From: A <a@example.org>\r\nDKIM-Signature: v=1; d=example.org; s=x; b=AA\r\n\r\nHello\r\n",
        ),
        ("[", "]", "IPv6:", "<", ">", "@", ";", ":", "From:", "Received:", "\r\n "),
    ),
    "output of iptables-save": Parser(
        lambda text: [_iptables.meaning(line) for line in _iptables.Ruleset(text).lines],
        (
            '*nat\n:PREROUTING ACCEPT [0:0]\n[1:2] -A PREROUTING -s 192.0.2.1/32 -m comment --comment "a \\"b" -j X\nCOMMIT\n',
        ),
        ("*nat", "COMMIT", ":", "-A ", '"', "\\", "\n", "[0:0] ", "-m tcp"),
    ),
    "translation in iptables": Parser(
        _smtp_dnat_rules.Iptables().entry,
        ("-s 192.0.2.25/32 -d 203.0.113.5/32 -p tcp -m tcp --dport 25 -j DNAT --to-destination 10.1.0.102:25",),
        ("-s ", "! ", "-m comment --comment ", '"until 9"', "[fd00::1]:25", "/0", "-"),
        again=lambda entry: "-j ACCEPT" if entry is None else _smtp_dnat_rules.Iptables().translation(entry),
    ),
    "translation in nftables": Parser(
        _smtp_dnat_rules.Nftables().entry,
        ('ip saddr 192.0.2.25 ip daddr 203.0.113.5 tcp dport 25 dnat ip to 10.1.0.102:25 comment "until 9"',),
        ("ip6", "!=", "{", "[fd00::1]:25", "/0", "comment"),
        again=lambda entry: "" if entry is None else _smtp_dnat_rules.Nftables().translation(entry),
    ),
    "rules of others in nftables": Parser(
        lambda text: [(_nftables.entries(rule), _nftables.unclear(rule, {"x"})) for rule in _nftables.prerouting(text)],
        (
            "table ip nat {\n\tchain pre {\n\t\ttype nat hook prerouting priority dstnat;\n\t\tip saddr { 192.0.2.25, 192.0.2.0/28 } "
            'ip daddr 203.0.113.5 tcp dport 25 counter dnat to 10.1.0.102:25 comment "a" # handle 7\n\t}\n}\n',
        ),
        ("ip6 ", "!= ", "{", "}", "\n", '"', "#", "# handle ", "@set", "20-30", "map { 25 : x }", "dnat to ", "dport "),
    ),
    "spf record": Parser(
        _spf.parse,
        (
            "v=spf1 -all",
            "v=spf1 +mx a:colo.example.com/28 ip4:192.0.2.0/24 ip6:2001:db8::/32 ~all",
            "v=spf1 include:example.com exists:%{l1r+-}.%{d2r}._spf.%{ir}.%{v}.example.com redirect=_spf.example.com",
            "v=spf1 ptr a//64 mx/24//64 ?all exp=explain._spf.%{d} moo=%{S}",
        ),
        (
            "all",
            "-",
            "ip4:",
            "ip6:",
            "include:",
            "a",
            "mx",
            "ptr",
            "exists:",
            "redirect=",
            "exp=",
            "%{",
            "%%",
            "%_",
            "//",
        ),
        (_spf.SpfError,),
        str,
    ),
    "spf verdict": Parser(
        _spf_verdict,
        (
            "v=spf1 a mx ptr exists:%{ir}.%{l1r+-}.%{d2}.example -all exp=%{p}.example.org",
            "v=spf1 -include:x.example ?a:%{H}.example redirect=%{o}.example",
            "v=spf1 ip4:198.51.100.0/24 ip6:::ffff:198.51.100.0/120 ~all",
        ),
        ("%{", "}", "%{S}", "%{lr-}", "include:", "redirect=", "exp=", "@", ".", "ip4:", "/", "-all"),
    ),
    "spf flat": Parser(
        _spf_flat,
        (
            "v=spf1 a mx include:x.example -ip4:192.0.2.0/25 ip4:192.0.2.0/24 -all",
            "v=spf1 include:%{d}.example ~a:mx.example//64 redirect=x.example exp=why.%{d}",
        ),
        ("include:", "redirect=", "ip4:0.0.0.0/", "ip6:::/", "a/", "?", "exists:", "%{d}", "-all"),
        (_spf.SpfError,),
    ),
    "dmarc record": Parser(
        _dmarc.DmarcRecord.parse,
        (
            "v=DMARC1; p=none",
            "v=DMARC1; p=reject; sp=quarantine; np=reject; adkim=s; aspf=r; t=y; psd=n; fo=1:d:s; rua=mailto:a@b.example!10m",
            "v=DMARC1;p=quarantine;pct=50;rf=afrf;ri=86400;ruf=mailto:x@example.org,mailto:y@example.org",
        ),
        ("p=", "sp=", "np=", "rua=mailto:", "none", "reject", "psd=u", "t=", "pct=", "!", "v=DMARC1"),
        (_dmarc.DmarcError,),
        str,
    ),
    "dmarc record as receivers read it": Parser(
        _dmarc.DmarcRecord.read,
        (
            "v=DMARC1; p=none;; t=x; rua=x,mailto:a@b.example; fo=0:1",
            "v=DMARC1; sp=bad; rua=mailto:a@b.example",
        ),
        ("p=", "np=", "rua=mailto:", "none", "psd=u", "t=", "fo=", ",", ":", "!9k", "v=DMARC1"),
        (_dmarc.DmarcError,),
        str,
    ),
    "dmarc record as the older rfc has it": Parser(
        _dmarc_7489.record_rows,
        (
            "v=DMARC1; p=none; np=reject; psd=y; t=y; pct=5; ri=1; rf=afrf; rua=mailto:a@b.example!1k",
            "v=DMARC1; sp=none; p=none",
        ),
        ("p=", "np=bad", "pct=", ";", "none", "rua=mailto:a@b.example", "v=DMARC1"),
    ),
    "mta-sts record": Parser(
        _mta_sts.MtaStsRecord.parse,
        ("v=STSv1; id=20160831085700Z;", "v=STSv1;id=a;x-1.y_z=%<>~"),
        ("v=STSv1", "id=", ";", "x="),
        (_mta_sts.MtaStsError,),
        str,
    ),
    "mta-sts policy": Parser(
        _mta_sts.MtaStsPolicy.parse,
        ("version: STSv1\nmode: enforce\nmx: mail.example.com\nmx: *.example.net\nmax_age: 604800\nx: y z\n",),
        ("version: STSv1\r\n", "mode: none\n", "mx: *.", "max_age: ", "\r", "\n"),
        (_mta_sts.MtaStsError,),
        str,
    ),
    "tls-rpt record": Parser(
        _tls_rpt.TlsRptRecord.parse,
        ("v=TLSRPTv1; rua=mailto:a@b.example,https://b.example/x; y=1;",),
        ("v=TLSRPTv1", "rua=", "mailto:", "https://", ",", "!", "%21"),
        (_tls_rpt.TlsRptError,),
        str,
    ),
    "tlsa record": Parser(
        _tlsa.TlsaRecord.parse,
        ("3 1 1 " + "ab" * 32, "2 0 2 " + "cd" * 64, "3 0 0 30820307"),
        ("3 1 1 ", "ff", " ", "G"),
        (_tlsa.TlsaError,),
        str,
    ),
    "key for tlsa": Parser(
        _tlsa.tlsa_for,
        (_PEM, _PEM.replace("PRIVATE", "PUBLIC"), _PEM.replace("PRIVATE KEY", "CERTIFICATE")),
        ("-----BEGIN ", "-----END ", "CERTIFICATE-----", "PUBLIC KEY-----", "MIIE", "AA=="),
        (_tlsa.TlsaKeyError,),
    ),
    "mx record": Parser(_mx.MxRecord.parse, ("10 mx.example.org.", "0 ."), ("65536", "[", "::1"), (_mx.MxError,), str),
    "srv record": Parser(
        _srv.SrvRecord.parse, ("0 1 993 imap.example.org.", "0 0 0 ."), ("65536", "*."), (_srv.SrvError,), str
    ),
    "caa record": Parser(
        _caa.CaaRecord.parse,
        ('0 issue "ca.example; account=1"', '128 issuewild ";"', '0 iodef "mailto:a@b.example"'),
        ("issue ", '"', "\\", ";", "255 "),
        (_caa.CaaError,),
        str,
    ),
    "bimi record": Parser(
        _bimi.BimiRecord.parse,
        ("v=BIMI1; l=https://b.example/x.svg; a=; avp=brand", "v=BIMI1; l=; a="),
        ("v=BIMI1", "l=", "a=", "https://"),
        (_bimi.BimiError,),
        str,
    ),
    "public suffix list": Parser(
        lambda text: _public_suffix.SuffixList.parse(text).organizational_domain("a.b.example.org"),
        ("// x\ncom\n*.example.org\n!b.example.org\n",),
        ("*.", "!", "//", "\n"),
    ),
    "dkim record": Parser(
        _dkim.DkimRecord.parse,
        (
            "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
            f"v=DKIM1; h=sha256; k=rsa; n=a=20note; s=email:*; t=y:s; p={_P}",
            "p=",
        ),
        ("k=rsa", "h=sha1:", "n==3D", "s=", "t=y", "p=", "=20", "v=DKIM1"),
        (_dkim.DkimError, _dkim.DkimKeyError),
        str,
    ),
    "dkim record in use": Parser(
        _dkim.DkimRecord.read,
        (
            "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
            f"v=DKIM1; h=sha256; k=rsa; n=a=20note; s=email:*; t=y:s; p={_P}",
            "v=DKIM1; t=s; p=; ",
        ),
        ("k=rsa", "h=sha1:", "n==3D", "s=", "t=y", "p=", "=20", "v=DKIM1"),
        (_dkim.DkimError, _dkim.DkimKeyError),
        str,
    ),
    "private key": Parser(
        _private,
        (_PEM, base64.b64encode(_SEED).decode(), _PEM.replace("PRIVATE", "RSA PRIVATE")),
        ("-----BEGIN ", "-----END ", "PRIVATE KEY-----", "ENCRYPTED", "MIIE", "AA=="),
        (_dkim.DkimKeyError,),
    ),
    "key manifest": Parser(
        lambda text: _dkim_plan.Manifest.parse("example.org", text),
        (
            '{"keys": [{"selector": "rsa-202611-k3f9", "algorithm": "rsa", "bits": 2048, "state": "active",'
            ' "created": "2026-11-20", "file": "example.org.rsa-202611-k3f9.key"}], "used": ["old"]}',
        ),
        ('"state": "pending"', '"state": "retired"', "null", "[]", "{}", '"keys"', "1e999", "[" * 2000),
        (_dkim_plan.ManifestError,),
        str,
    ),
    "dns answer": Parser(
        _answer, (_MESSAGE,), ("\xc0\x0c", "\xc0\x00", "\xff\xff", "\0\x0c\0\1", "\0\0"), (_dns_stub.StubError,)
    ),
    "dns name": Parser(
        _dns.check_name,
        ("example.org.", "rsa-1._domainkey.example.org", "*.example.org."),
        ("..", "_", "*", "-", "xn--"),
        (_dns.DnsError, _dns.DomainError, _dns.TextError),
    ),
    "zone file": Parser(
        lambda text: _dns_client.parse_zone_text(text, "zone"),
        ('example.org. 300 IN TXT "v=spf1 -all" "x"\nexample.org. 60 IN MX 10 mx.example.org.\n; note\n',),
        (" IN ", "TXT", "MX", "A 192.0.2.1", "AAAA", "\\", '"', "CNAME", "TYPE65280 \\# 4 0A000001"),
        (_dns.DnsError, _dns.TextError),
    ),
    "resolv.conf": Parser(_dns_stub.parse_resolv_conf, ("nameserver 192.0.2.1\nsearch example.org\noptions edns0\n",)),
    "main.cf": Parser(
        _postfix.MainCf.parse,
        ("# note\nmyhostname = mx.example.org\nmynetworks = 127.0.0.0/8\n  [::1]/128\n\nsmtpd_x = {a, b}\n",),
        ("\n ", "\n#", " = ", "$", "${x?{y}:{z}}"),
        (_postfix.PostfixError,),
        str,
    ),
    "master.cf": Parser(
        lambda text: (_postfix.MasterCf.parse(text), _postfix.MasterCf.parse(text).services()),
        ("smtp inet n - y - - smtpd\n  -o a=b -o { c = d e }\n# x\npickup unix n - y 60 1 pickup\n",),
        ("\n  -o ", "{", "}", "inet", "unix", " - "),
        (_postfix.PostfixError,),
        lambda value: str(value[0]),
    ),
    "alias file": Parser(
        lambda text: _postfix.MapSource.parse(text, "alias").entries(),
        ('postmaster: root\nroot: "a b"@example.org, :include:/x, |"/bin/y z"\n',),
        (": ", '"', "|", ":include:", "\\"),
        (_postfix.PostfixError,),
    ),
    "postfix table": Parser(
        lambda text: _postfix.MapSource.parse(text, "pcre").entries(),
        ("/^x(a|b)$/i  OK\nif /y/\n!/z/ REJECT\nendif\n", "a.example  smtp:[b]:25\n"),
        ("/", "if ", "endif", "!", "\n "),
        (_postfix.PostfixError,),
    ),
    "exim settings": Parser(
        _exim.parse_settings,
        ("dc_eximconfig_configtype='satellite'\ndc_other_hostnames='a;b'\n# x\n",),
        ("dc_", "'", '"', "\\", "$("),
        (_exim.EximError,),
    ),
    "exim macros": Parser(
        _exim.parse_macros,
        ("MAIN_TLS_ENABLE = yes\nREMOTE_X = a \\\n  b\n",),
        (" = ", "\\\n", ".ifdef "),
        (_exim.EximError,),
    ),
    "exim lookup": Parser(
        lambda text: _exim.parse_lookup("/etc/aliases", text),
        ("root: a@example.org,\n  b@example.org\n# x\n",),
        (": ", "\n ", '"'),
        (_exim.EximError,),
    ),
    "exim list": Parser(_adopt_exim.items, ("a : b : ::1", "<; a;b", "<\\n a\\n b"), ("<;", "::", " : ")),
    "adopted aliases": Parser(_adopt.parse_aliases, ("postmaster: root\nroot: a, b\n",), (": ", '"', ",", "\\")),
    "opendkim.conf": Parser(
        _adopt_dkim.parse_opendkim,
        ("Domain example.org\nSelector mail # x\nKeyTable refile:/etc/opendkim/keys\n",),
        ("KeyFile ", "#", '"'),
    ),
    "opendkim table": Parser(
        _adopt_dkim.table_lines, ("*@example.org  mail._domainkey.example.org\n# x\n",), (":", "%")
    ),
    "options of a filter": Parser(
        lambda text: _adopt_filter.spamassassin([text], _adopt_filter.options([text], text, "OPTIONS")),
        (
            'OPTIONS="-u x -r 15"\nOPTIONS="${OPTIONS} -m"\n',
            "ExecStart=/usr/sbin/x -r 9 $OPTIONS\n",
            "required_score 6.5\n",
        ),
        ("OPTIONS=", '"', "${OPTIONS}", "\\\n", "-r ", "ExecStart=", "required_hits "),
    ),
    "rspamd's actions": Parser(
        _adopt_filter.rspamd,
        ('{"actions": {"reject": 15, "add_header": 6.5, "greylist": null}}',),
        ('"reject"', "[", "1e9"),
    ),
    "dpkg conffiles": Parser(
        lambda text: _adopt_client.parse_conffiles(text, "postfix"),
        ("Package: postfix\nConffiles:\n /etc/a 0123456789abcdef0123456789abcdef\n /etc/b newconffile\n\n",),
        ("Package: postfix\n", "\n ", "obsolete"),
    ),
    "dpkg status": Parser(
        _preflight.parse_dpkg_status,
        (
            "Package: postfix\nStatus: install ok installed\nVersion: 3.7.11-0\nProvides: mail-transport-agent, x (= 1)\n",
        ),
        ("\n\n", "Status: ", "Provides: ", ","),
    ),
    "os-release": Parser(
        _preflight.parse_os_release, ("ID=debian\nVERSION_CODENAME=\"trixie\"\nX='a\\$b'\n",), ("=", '"')
    ),
    "listening sockets": Parser(
        _preflight.parse_proc_net_tcp,
        (
            "  sl  local_address\n   0: 0100007F:0019 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0  0 123 1\n",
            "  sl\n 1: 00000000000000000000000001000000:0019 0:0 0A 0:0 0:0 0 0 0 5 1\n",
        ),
        (" 0A ", ":", "FFFFFFFF", "g"),
    ),
    "aggregate report": Parser(
        lambda text: _reports.parse_aggregate(text.encode("utf-8", "replace")),
        (_AGGREGATE,),
        (
            "<!DOCTYPE x [",
            "<!ENTITY a 'b'>",
            "&a;",
            "<record>",
            "</record>",
            "<![CDATA[",
            "<?xml encoding='utf-16'?>",
            "xmlns:a='b'",
        ),
        (_reports.ReportError,),
    ),
    "tls report": Parser(
        lambda text: _reports.parse_tls(text.encode("utf-8", "replace")),
        (_TLS_REPORT,),
        (
            "null",
            "[]",
            "{}",
            "1e400",
            "NaN",
            "-0",
            '"0001-01-01T00:00:00+23:59"',
            '"9999-12-31T23:59:59-23:59"',
            "[" * 2000,
        ),
        (_reports.ReportError,),
    ),
    "head of an archive": Parser(
        lambda text: _archive.parse_about(text, "a.tar.gz"),
        (_archive.About("mail", "trixie", "2026-11-28", _archive.PARTS).render(),),
        ("null", "[]", "{}", '"parts": 1', "1e400", '"version": "1"', "[" * 2000),
        (_archive.ArchiveError,),
        _archive.About.render,
    ),
    "sums of an archive": Parser(
        lambda text: _archive.parse_sums(text, "a.tar.gz"),
        ('{"about.json": "' + "0" * 64 + '"}',),
        ("null", "[]", "{}", "1e400", "[" * 2000),
        (_archive.ArchiveError,),
    ),
    "what a filter has learned": Parser(
        lambda text: _archive.bayes_commands(text, "a.tar.gz"),
        ('["h", "RS", "learns_ham", "3"]\n["h", "RS_17", "H", "1"]\n["s", "BAYES_HAM_keys", "RS"]\n',),
        ("null", "[]", "{}", '"h"', '"s"', "1e400", "[" * 2000),
        (_archive.ArchiveError,),
    ),
    "keywords of a folder": Parser(
        _archive.parse_keywords,
        ("0 Blue\n1 $Forwarded\n",),
        ("0 ", " ", "-1", "\u00b2 x", "9" * 30, "\x85", "9" * 5000 + " x\n"),
        (),
    ),
    "users and hashes": Parser(
        _credentials.parse,
        ("ann@post.example:$6$salt$x:2000:2000::/var/vmail/post.example/ann::userdb_quota_rule=*:storage=1B\n",),
        (":", "\n", "#", "{SSHA}", "\x85", "\u2028"),
        (),
        _credentials.render,
    ),
    "record of a gateway's key": Parser(
        _pmg_dkim.record_of,
        (
            's._domainkey\tIN\tTXT\t( "v=DKIM1; h=sha256; k=rsa; "\n\t  "p=MCowBQYDK2Vw"\n\t  "AyEA" )  ; ----- DKIM key s',
        ),
        ('"', "(", ")", ";", "p=", "\\", "\t", "v=DKIM1"),
        (_pmg.PmgError,),
    ),
    "hash of a password": Parser(
        _hashes.readable,
        ("{SHA512-CRYPT}$6$rounds=20000$saltsalt$" + "." * 86, "{BLF-CRYPT}$2y$10$" + "." * 53),
        ("{", "}", "$", "$1$", "$y$", ":", "rounds=", "{CRYPT}"),
        (_hashes.HashError,),
        str,
    ),
    "network": Parser(
        _networks.parse,
        ("192.0.2.0/24", "[2001:db8::]/32", "::ffff:192.0.2.0/120"),
        ("/", "[", "]", "::", "%eth0", "/33"),
        (_networks.NetworkError,),
        str,
    ),
    "log of mail": Parser(
        _mail_log_whole,
        (
            "Nov 20 11:59:58 web1 postfix/smtp[1]: 18F891AA7F9: to=<a@b>, relay=r[192.0.2.1]:25, dsn=2.0.0,"
            " status=sent (250 ok)\n",
            '2026-11-20 11:59:58 1xXUA1-0000gK-17 => a@b R=smarthost T=smtp H=r [192.0.2.1] C="250 ok"\n',
            '{"__REALTIME_TIMESTAMP": "1795176000000000", "SYSLOG_IDENTIFIER": "x", "MESSAGE": "y"}\n',
        ),
        ("to=<", "status=", "(", '"', "==", "**", "[192.0.2.31]", "client=", "9" * 30, "\x85", "\u2028", "[" * 2000),
    ),
    "failures in a log": Parser(
        _mail_log_explained,
        (
            "Nov 20 11:59:58 web1 postfix/smtp[1]: 18F891AA7F9: to=<a@b>, relay=r[192.0.2.1]:25, dsn=5.7.1,"
            " status=bounced (host r[192.0.2.1] said: 550-5.7.1 no 550 5.7.1 way (in reply to RCPT TO command))\n",
            "2026-11-20 11:59:58 1xXUA1-0000gK-17 ** a@b R=r T=t H=r [192.0.2.1]: SMTP error from remote mail server after"
            " RCPT TO:<a@b>: 550-5.1.1 no\\n550 5.1.1 user\n",
            "2026-11-20T11:59:58+00:00 web1 smtpd[1]: 764b464c1618e949 mta delivery evpid=83c95f296da6735f from=<c@d> to=<a@b>"
            ' rcpt=<-> source="192.0.2.2" relay="192.0.2.1 (r)" delay=0s result="TempFail" stat="451 4.7.1 later"\n',
        ),
        (
            "status=",
            "result=",
            "550-",
            "\\n",
            "host ",
            " said: ",
            "reject: RCPT from ",
            "== ",
            "; from=<",
            "a." * 300,
            "[" * 2000,
        ),
    ),
    "queue": Parser(
        _queues,
        (
            '{"queue_id": "18F891AA7F9", "arrival_time": 1795176000, "recipients": [{"delay_reason": "x"}]}\n',
            " 4m   332 1vOxyz-00000001abc-2def <a@b.example>\n          c@d.example\n",
            "83c95f296da6735f|inet4|mta|hold|a@b.example|c@d.example|c@d.example|1795953600|1796299200|0|0|pending|340|450 x\n",
        ),
        ("null", "[]", "{}", "1e400", "-1", "9" * 30, "??", "*** frozen ***", "[" * 2000),
    ),
    "parts of a message": Parser(
        _content,
        (
            "MIME-Version: 1.0\nContent-Type: multipart/alternative; boundary=b\n\n--b\n\nx\n--b\n"
            "Content-Type: text/html; charset=utf-8\n\n<a href='https://a.example/'>a.example</a>\n--b--\n",
        ),
        (
            "multipart/mixed",
            "boundary=",
            "charset=",
            "base64",
            "=?",
            "<a href=",
            "<!",
            "<![",
            "&#",
            "--b\n",
            "idna",
            "\x00",
        ),
    ),
}
