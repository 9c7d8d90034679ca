# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of the mail check on TLS: what the mail servers offer, MTA-STS, TLS reports, DANE. Private, pure."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from ansible_collections.postmaster.mail.plugins.module_utils._check import Found, settled, unanswered, unknown
from ansible_collections.postmaster.mail.plugins.module_utils._check_view import (
    Https,
    HttpsAnswer,
    Smtp,
    SmtpAnswer,
    View,
    hosts_of,
    is_private,
)
from ansible_collections.postmaster.mail.plugins.module_utils._dns import is_under
from ansible_collections.postmaster.mail.plugins.module_utils._mta_sts import (
    MAX_AGE_LIMIT,
    POLICY_HOST,
    POLICY_PATH,
    RECORD_NAME,
    MtaStsError,
    MtaStsPolicy,
    MtaStsRecord,
)
from ansible_collections.postmaster.mail.plugins.module_utils._record import Record
from ansible_collections.postmaster.mail.plugins.module_utils._tls_rpt import RECORD_NAME as REPORT_NAME
from ansible_collections.postmaster.mail.plugins.module_utils._tls_rpt import TlsRptError, TlsRptRecord
from ansible_collections.postmaster.mail.plugins.module_utils._tlsa import (
    DANE_TA,
    PKIX_EE,
    PKIX_TA,
    TlsaError,
    TlsaKeyError,
    TlsaRecord,
    tlsa_name,
)

ROLES = ("postmaster", "abuse")
PROBED_ADDRESSES = 8  # of a domain's mail servers; large providers have dozens
OLD_TLS = ("SSLv3", "TLSv1", "TLSv1.1")  # RFC 8996
DAY = 86400


@dataclass(frozen=True)
class Probe:
    """What a mail server said at one of its addresses."""

    host: str
    address: str
    answer: SmtpAnswer

    @property
    def where(self) -> str:
        return f"{self.host.rstrip('.')} [{self.address}]"


def probes(view: View) -> list[Probe]:
    """A session with each mail server at each of its addresses; of hosts without one nothing."""
    recipients = tuple(f"{name}@{view.bare}" for name in ROLES)
    found = hosts_of(view, view.mx_hosts)[0][:PROBED_ADDRESSES]
    port = view.options.smtp_port
    answers = view.all([Smtp(address, port, host, recipients) for host, address in found])
    pairs = zip(found, answers, strict=True)
    return [Probe(host, address, cast(SmtpAnswer, answer)) for (host, address), answer in pairs]


def _unreached(view: View) -> dict[str, str]:
    """Mail servers whose addresses were not told, and why."""
    return hosts_of(view, view.mx_hosts)[1]


def starttls(view: View) -> Iterator[Found]:
    """STARTTLS with TLS 1.2 or later and a valid certificate, at each mail server; and mail goes out by TLS."""
    yield from _outbound_tls(view)
    if not view.mx_hosts:
        return
    if not view.options.smtp:
        yield unknown("the mail servers were not asked", "set smtp: true")
        return
    told = probes(view)
    for probe in told:
        if probe.answer.error:
            remedy = "run the check where port 25 is open to the outside"
            yield unknown(f"no session: {probe.answer.error}", remedy, probe.where)
        else:
            yield from _judge_tls(probe)
    for host, why in _unreached(view).items():
        yield unanswered(why, host.rstrip("."))


def _outbound_tls(view: View) -> Iterator[Found]:
    """How the domain's message, if one is given, came to its receiver."""
    mail = view.options.mail
    if mail is None or not mail.clear or not mail.client or is_private(mail.client):
        return
    if not is_under((mail.from_domain or "invalid") + ".", view.domain):
        return
    seen = f"the message went from {mail.client} to its receiver without TLS ({mail.first('received')[:200]})"
    remedy = "smtp_tls_security_level = may (Postfix); hosts_avoid_tls without that receiver (Exim)"
    yield Found("W", seen, remedy, mail.client, "RFC 3207 4; RFC 3848")


def _judge_tls(probe: Probe) -> Iterator[Found]:
    answer = probe.answer
    if not answer.starttls:
        remedy = "smtpd_tls_security_level = may, with a certificate (Postfix); tls on the listener (OpenSMTPD)"
        yield Found("F", "STARTTLS is not offered: mail to it goes in the clear", remedy, probe.where, "RFC 3207 4")
    elif answer.tls_error:
        remedy = "look at the server's certificate and protocols"
        yield Found("F", f"STARTTLS is offered and fails: {answer.tls_error}", remedy, probe.where, "RFC 3207 4.1")
    elif answer.tls in OLD_TLS:
        remedy = "smtpd_tls_protocols = >=TLSv1.2"
        yield Found("F", f"{answer.tls} is the best it can do", remedy, probe.where, "RFC 8996 2")
    elif answer.trouble:
        remedy = f"install a certificate for {probe.host.rstrip('.')} with its chain, from an authority that all know"
        yield Found("W", f"the certificate does not hold: {answer.trouble}", remedy, probe.where, "RFC 9325 6.1")


def role(view: View) -> Iterator[Found]:
    """postmaster@ and abuse@ take mail from the null sender; asked up to RCPT, nothing is sent."""
    if not view.mx_hosts:
        return
    if not view.options.smtp:
        yield unknown("the mail servers were not asked", "set smtp: true")
        return
    answers = [probe.answer for probe in probes(view)]
    told = next((answer for answer in answers if answer.replies), None)
    if told is None:
        reasons = [answer.error for answer in answers if answer.error] + list(_unreached(view).values())
        why = next(iter(reasons), "none has an address")
        yield unknown(f"no mail server could be asked: {why}", "run the check where port 25 is open to the outside")
        return
    for name, (code, text) in zip(ROLES, told.replies, strict=False):
        yield from _judge_reply(f"{name}@{view.bare}", code, text)


def _judge_reply(recipient: str, code: int, text: str) -> Iterator[Found]:
    status = text.partition(" ")[0]
    said = f"the mail server says {code} {text}".strip()
    if 200 <= code < 300:
        return
    # What speaks of the address (5.1.x, 5.2.x) is its owner's; 5.7.x is about us, who ask from anywhere.
    if status.startswith(("5.1.", "5.2.")) or (code in (550, 551, 553) and not status.startswith(("5.", "4."))):
        reference = "RFC 2142 4" if recipient.startswith("abuse") else "RFC 5321 4.5.1"
        yield Found("W", said, f"add an alias for {recipient}", recipient, reference)
    else:
        yield unknown(said, "ask from an address with a PTR record, or later", recipient)


# -- MTA-STS and TLS reports --------------------------------------------------------------------------


def _policy_host(view: View) -> str:
    return f"{POLICY_HOST}.{view.domain}"


def _https(view: View) -> HttpsAnswer:
    host = _policy_host(view)
    addresses = tuple(view.addresses(host))
    if not addresses:
        return HttpsAnswer(error=f"{host.rstrip('.')} has no address")
    return cast(HttpsAnswer, view.get(Https(addresses, host.rstrip("."), POLICY_PATH)))


def _policy(view: View) -> MtaStsPolicy | None:
    """The policy where record, fetch and text are sound."""
    if len(view.text(f"{RECORD_NAME}.{view.domain}", "v=stsv1")) != 1 or not view.options.https:
        return None
    answer = _https(view)
    if answer.error or answer.status != 200:
        return None
    try:
        return MtaStsPolicy.parse(answer.body.decode("utf-8"))
    except (MtaStsError, UnicodeDecodeError):
        return None


def _fresh_record(view: View) -> str:
    number = time.strftime("%Y%m%dT%H%M%S", view.options.now.utctimetuple())
    return str(Record.txt(f"{RECORD_NAME}.{view.domain}", f"v=STSv1; id={number};"))


def mta_sts(view: View) -> Iterator[Found]:
    """Record and policy can be had and read (RFC 8461 sections 3.1 to 3.3)."""
    if not view.mx_hosts:
        return
    where = f"{RECORD_NAME}.{view.bare}"
    records = view.text(f"{RECORD_NAME}.{view.domain}", "v=stsv1")
    if not records:
        yield Found(
            "I",
            "no MTA-STS record: senders that know no DANE may be tricked into sending in the clear",
            _fresh_record(view),
            where,
        )
        return
    if len(records) > 1:
        yield Found("F", f"{len(records)} records, so senders use none", "leave one of them", where, "RFC 8461 3.1")
        return
    try:
        MtaStsRecord.parse(records[0])
    except MtaStsError as err:
        yield Found("F", str(err), _fresh_record(view), where, "RFC 8461 3.1")
        return
    if not view.options.https:
        yield unknown("the policy was not fetched", "set https: true")
        return
    yield from _judge_policy(view, _https(view))


def _judge_policy(view: View, answer: HttpsAnswer) -> Iterator[Found]:
    where = f"https://{_policy_host(view).rstrip('.')}{POLICY_PATH}"
    fix = "serve it by HTTPS with a certificate for that name, status 200, without a redirect"
    if answer.silent:
        yield unknown(f"the policy was not had: {answer.error}", "run the check where the web can be reached", where)
        return
    if answer.error:
        yield Found("F", f"the policy cannot be fetched: {answer.error}", fix, where, "RFC 8461 3.3")
        return
    if answer.status != 200:
        yield Found("F", f"the policy is answered with status {answer.status}", fix, where, "RFC 8461 3.3")
        return
    if answer.content_type.partition(";")[0].strip().lower() != "text/plain":
        seen = f"the policy's type is {answer.content_type or 'missing'}, not text/plain"
        yield Found("W", seen, "serve it as text/plain", where, "RFC 8461 3.2")
    try:
        policy = MtaStsPolicy.parse(answer.body.decode("utf-8"))
    except (MtaStsError, UnicodeDecodeError) as err:
        yield Found("F", str(err), "correct the policy file", where, "RFC 8461 3.2")
        return
    if policy.has_blanks:
        seen = "the policy has an empty line: senders read past it, and none has to"
        yield Found("W", seen, "delete it", where, "RFC 8461 3.2")


def mta_sts_match(view: View) -> Iterator[Found]:
    """The policy is enforced, lasts, and names every MX (RFC 8461 sections 3.2 and 4.1)."""
    policy = _policy(view)
    if policy is None:
        if view.text(f"{RECORD_NAME}.{view.domain}", "v=stsv1") and not view.options.https:
            yield unknown("the policy was not fetched", "set https: true")
        return
    where = f"https://{_policy_host(view).rstrip('.')}{POLICY_PATH}"
    missing = [host.rstrip(".") for host in view.mx_hosts if not policy.matches(host)]
    if missing and policy.mode != "none":
        lines = ", ".join(f"mx: {host}" for host in missing)
        severity = "F" if policy.mode == "enforce" else "W"
        seen = f"the policy names no {', '.join(missing)}: senders do not deliver there"
        yield Found(severity, seen, f"add {lines}, and change id in {_fresh_record(view)}", where, "RFC 8461 4.1")
    if policy.mode != "enforce":
        remedy = f"mode: enforce when reports are clean, and change id in {_fresh_record(view)}"
        yield Found("W", f"mode: {policy.mode} protects nothing", remedy, where, "RFC 8461 5")
    if policy.max_age > MAX_AGE_LIMIT:
        yield Found("F", f"max_age {policy.max_age} exceeds a year", "max_age: 1209600", where, "RFC 8461 3.2")
    elif policy.max_age < DAY and policy.mode == "enforce":
        yield Found("W", f"max_age {policy.max_age} is less than a day", "max_age: 1209600", where, "RFC 8461 3.2")


def tls_rpt(view: View) -> Iterator[Found]:
    """One record that can be read (RFC 8460 section 3)."""
    if not view.mx_hosts:
        return
    where = f"{REPORT_NAME}.{view.bare}"
    fix = str(Record.txt(f"{REPORT_NAME}.{view.domain}", f"v=TLSRPTv1; rua=mailto:tls@{view.bare}"))
    records = view.text(f"{REPORT_NAME}.{view.domain}", "v=tlsrptv1")
    if not records:
        yield Found("I", "no TLS reporting record: nobody says when TLS to your servers fails", fix, where)
    elif len(records) > 1:
        yield Found("W", f"{len(records)} records, so senders use none", "leave one of them", where)
    else:
        try:
            record = TlsRptRecord.parse(records[0])
        except TlsRptError as err:
            yield Found("W", str(err), fix, where)
            return
        for problem in record.problems:
            yield Found("W", problem, fix, where)


# -- DANE ---------------------------------------------------------------------------------------------


def dane(view: View) -> Iterator[Found]:
    """TLSA records that are signed, of a usage for SMTP, and match what the server shows (RFC 7672)."""
    hosts = view.mx_hosts
    names = {host: tlsa_name(host, view.options.smtp_port) for host in hosts}
    view.prefetch([(name, "TLSA") for name in names.values()])
    for host, name in names.items():
        yield from settled(_judge_dane(view, host, name.rstrip(".")), name.rstrip("."))


def _judge_dane(view: View, host: str, where: str) -> Iterator[Found]:
    if not view.query(where + ".", "TLSA"):
        return
    unsigned = [zone for zone in (view.zone, view.zone_of(host)) if zone != "." and not view.query(zone, "DS")]
    if unsigned:
        seen = f"{unsigned[0].rstrip('.')} is not signed, so no sender uses the TLSA record"
        yield Found("F", seen, f"sign {unsigned[0].rstrip('.')}, or delete the record", where, "RFC 7672 2.2")
        return
    try:
        records = [TlsaRecord.parse(text) for text in view.query(where + ".", "TLSA")]
    except TlsaError as err:
        yield Found("F", str(err), "publish 3 1 1 of the server's key", where, "RFC 6698 2.2")
        return
    known = [record for record in records if not record.private]
    if len(known) < len(records):
        seen = "255 is for private use: senders overlook the record"
        yield Found("I", seen, "delete it, unless senders of yours know it", where, "RFC 7218 2.1")
    usable = [record for record in known if record.usage not in (PKIX_TA, PKIX_EE)]
    if len(usable) < len(known):
        remedy = "publish 3 1 1 of the server's key (openssl pkey -pubout, SHA-256)"
        yield Found("F", "usage 0 or 1 is not for SMTP: senders refuse or ignore it", remedy, where, "RFC 7672 3.1.3")
    if not usable:
        return
    if not view.options.smtp:
        yield unknown("the mail servers were not asked", "set smtp: true", where)
        return
    for probe in probes(view):
        if probe.host == host:
            yield from _judge_match(probe, usable, where)
    if host in (unreached := _unreached(view)):
        yield unanswered(unreached[host], where)
    if len(usable) == 1:
        seen = "one record alone: the next key will not match until it is published, and mail waits meanwhile"
        remedy = "publish 3 1 1 of the next key, or 2 1 1 of the authority, beside it"
        yield Found("I", seen, remedy, where, "RFC 7672 8.1")


def _judge_match(probe: Probe, records: list[TlsaRecord], where: str) -> Iterator[Found]:
    chain = list(probe.answer.certificates)
    if not chain:
        why = probe.answer.error or probe.answer.tls_error or "it shows no certificate"
        yield unknown(f"{probe.where}: {why}", "run the check where port 25 is open to the outside", where)
        return
    try:
        matched = any(record.matches(chain) for record in records)
    except ImportError:
        yield unknown("the Python library cryptography is not at hand", "install python3-cryptography", where)
        return
    except TlsaKeyError as err:
        yield Found("F", f"the certificate at {probe.where}: {err}", "install another certificate", where)
        return
    if not matched and len(chain) == 1 and any(record.usage == DANE_TA for record in records):
        yield unknown("the authority's certificate is not among those shown", "send the whole chain", where)
    elif not matched:
        seen = f"no record matches the certificate that {probe.where} shows: senders with DANE do not deliver"
        yield Found("F", seen, _matching(chain, where), where, "RFC 7672 3.1")


def _matching(chain: list[bytes], where: str) -> str:
    """The record of the certificate that is shown."""
    import base64

    from ansible_collections.postmaster.mail.plugins.module_utils._tlsa import tlsa_for

    pem = base64.encodebytes(chain[0]).decode("ascii")
    record = tlsa_for(f"-----BEGIN CERTIFICATE-----\n{pem}-----END CERTIFICATE-----\n")
    return str(Record(where + ".", "TLSA", 3600, str(record)))


ROWS = {
    "tls.starttls": starttls,
    "addr.role": role,
    "mtasts.dns+policy": mta_sts,
    "mtasts.match": mta_sts_match,
    "tlsrpt": tls_rpt,
    "dane": dane,
}
