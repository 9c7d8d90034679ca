# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pure: the records around a domain's mail: how it travels, how programs find it, who vouches for it. Private.

Sources: RFC 8461 (MTA-STS), RFC 8460 (TLS-RPT), RFC 6698 and RFC 7672 (TLSA), RFC 6186 and RFC 8314 (SRV), RFC 8659
(CAA), RFC 7505 and RFC 7208 section 10.1.2 (names without mail), RFC 9990 section 4 (reports for other domains).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._bimi import BimiError, BimiRecord
from ansible_collections.postmaster.mail.plugins.module_utils._caa import CaaError, CaaRecord
from ansible_collections.postmaster.mail.plugins.module_utils._dns import is_under
from ansible_collections.postmaster.mail.plugins.module_utils._mta_sts import (
    MAX_AGE_ADVISED,
    POLICY_HOST,
    POLICY_PATH,
    RECORD_NAME,
    MtaStsError,
    MtaStsPolicy,
    MtaStsRecord,
)
from ansible_collections.postmaster.mail.plugins.module_utils._mx import NULL_MX
from ansible_collections.postmaster.mail.plugins.module_utils._records_domain import (
    Domain,
    PolicyFile,
    listed,
    report_uri,
)
from ansible_collections.postmaster.mail.plugins.module_utils._srv import SERVICES, SrvError, autoconfig
from ansible_collections.postmaster.mail.plugins.module_utils._tls_rpt import RECORD_NAME as TLS_RPT_NAME
from ansible_collections.postmaster.mail.plugins.module_utils._tls_rpt import TlsRptError, TlsRptRecord
from ansible_collections.postmaster.mail.plugins.module_utils._tlsa import (
    TlsaError,
    TlsaKeyError,
    TlsaRecord,
    record_set,
    tlsa_for,
)

WEB_LABELS = ("autoconfig", "autodiscover")  # where Thunderbird and Outlook ask by HTTPS
ID_LENGTH = 16  # hexadecimal digits of the policy's digest


def add_transport(
    domain: Domain, domains: Iterable[str], tls_keys: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
) -> None:
    """All records of this file for ``domain``; ``domains`` are the names of all described ones, absolute.

    ``tls_keys`` are the keys that hosts hold, by their absolute names.
    """
    known = tuple(domains)
    add_mta_sts(domain)
    _tls_rpt(domain)
    _tlsa(domain, known, tls_keys)
    _autoconfig(domain)
    _caa(domain)
    _bimi(domain)
    _no_mail(domain, known)
    _reports_for(domain)


# -- MTA-STS ------------------------------------------------------------------------------------


def add_mta_sts(domain: Domain) -> None:
    """The record and the policy of MTA-STS, where they are asked for."""
    options = domain.options.get("mta_sts")
    if options is None:
        return
    if domain.null_mx:
        raise domain.fail("it has mta_sts and receives: false; a domain without mail needs no MTA-STS")
    hosts = [str(entry.get("host") or "").rstrip(".") for entry in domain.options.get("mx") or ()]
    mx = listed(options.get("mx")) or hosts
    mode, max_age = str(options.get("mode") or "testing"), options.get("max_age")
    if not mx and mode != "none":
        raise domain.fail("mta_sts has no hosts to name; describe the domain's mx, or give mta_sts.mx (RFC 8461)")
    try:
        policy = MtaStsPolicy(mode, tuple(dict.fromkeys(mx)), MAX_AGE_ADVISED if max_age is None else int(max_age))
    except MtaStsError as err:
        raise domain.fail(f"{err.term!r} cannot stand in its MTA-STS policy: {err.rule}") from err
    for host in hosts:
        if mode != "none" and not policy.matches(host):
            raise domain.fail(
                f"its MTA-STS policy leaves out the mx {host}, which would get no mail; add it to mta_sts.mx"
            )
    for problem in policy.problems:
        domain.warn(f"its MTA-STS policy: {problem}")
    _publish_policy(domain, policy, options)


def _publish_policy(domain: Domain, policy: MtaStsPolicy, options: Mapping[str, Any]) -> None:
    content = str(policy)
    # A digest changes exactly when the policy does, which is what the id is for (RFC 8461 section 3.1).
    wanted = options.get("id") or hashlib.sha256(content.encode("ascii")).hexdigest()[:ID_LENGTH]
    try:
        record = MtaStsRecord(str(wanted))
    except MtaStsError as err:
        raise domain.fail(f"{err.term!r} cannot stand in its MTA-STS record: {err.rule}") from err
    domain.add_txt(f"{RECORD_NAME}.{domain.name}", str(record), "the MTA-STS record")
    where = f"{POLICY_HOST}.{domain.name}"
    if options.get("host"):
        domain.add(where, "CNAME", domain.check_name(str(options["host"]), "mta_sts.host"))
    domain.policies.append(PolicyFile(domain.bare, f"https://{where.rstrip('.')}{POLICY_PATH}", content))


# -- TLS-RPT ------------------------------------------------------------------------------------


def _tls_rpt(domain: Domain) -> None:
    options = domain.options.get("tls_rpt")
    if options is None:
        return
    try:
        record = TlsRptRecord(tuple(map(report_uri, listed(options.get("rua")))))
    except TlsRptError as err:
        raise domain.fail(f"{err.term!r} cannot stand in its TLS-RPT record: {err.rule}") from err
    for problem in record.problems:
        raise domain.fail(f"its TLS-RPT record: {problem}; write an address or an https address")
    domain.add_txt(f"{TLS_RPT_NAME}.{domain.name}", str(record), "the TLS-RPT record")


# -- TLSA ---------------------------------------------------------------------------------------


def _tlsa(domain: Domain, domains: Iterable[str], tls_keys: Mapping[str, Mapping[str, Any]]) -> None:
    for index, options in enumerate(domain.options.get("tlsa") or ()):
        what = f"tlsa[{index}]"
        host = domain.check_name(str(options.get("host") or ""), f"{what}.host")
        if not any(is_under(host, other) for other in domains):
            raise domain.fail(
                f"{what}: {host.rstrip('.')} is in none of the described domains; its owner publishes TLSA"
            )
        port = options.get("port")
        port = 25 if port is None else int(port)
        if not 1 <= port <= 65535:
            raise domain.fail(f"{what}: the port {port} is not between 1 and 65535")
        keys = options if options.get("current") else {**tls_keys.get(host, {}), **_given(options)}
        if keys.get("next") and not keys.get("current"):
            raise domain.fail(f"{what} has no current key; give the certificate, its public key or the record's text")
        if not keys.get("current"):
            domain.warn(
                f"{what}: no key of {host.rstrip('.')} is known yet, so there is no TLSA record; give its certificate "
                "or public key in current, or run the playbook that gives the host one"
            )
            continue
        records = [_tlsa_record(domain, f"{what}.{key}", keys[key]) for key in ("current", "next") if keys.get(key)]
        domain.records += record_set(host, records, port=port, ttl=domain.ttl)


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: options[key] for key in ("current", "next") if options.get(key)}


def _tlsa_record(domain: Domain, what: str, text: str) -> TlsaRecord:
    if "PRIVATE KEY" in text:
        raise domain.fail(
            f"{what} is a private key, which belongs to its host alone; give its public key or certificate"
        )
    try:
        record = tlsa_for(text) if "-----BEGIN" in text else TlsaRecord.parse(text.strip())
    except TlsaKeyError as err:
        raise domain.fail(f"no record can be made of {what}: {err}") from err
    except TlsaError as err:
        raise domain.fail(f"{err.term!r} in {what} is no TLSA record: {err.rule}") from err
    for problem in record.problems:
        domain.warn(f"{what}: {problem}")
    return record


# -- SRV, CAA, BIMI -----------------------------------------------------------------------------


def _autoconfig(domain: Domain) -> None:
    options = domain.options.get("autoconfig") or {}
    services = {service: str(options[service]) for service in SERVICES if options.get(service)}
    try:
        domain.records += autoconfig(domain.name, services, domain.ttl)
    except SrvError as err:
        raise domain.fail(f"{err.term!r} in autoconfig is no host: {err.rule}") from err
    if options.get("web"):
        target = domain.check_name(str(options["web"]), "autoconfig.web")
        for label in WEB_LABELS:
            domain.add(f"{label}.{domain.name}", "CNAME", target)


def _caa(domain: Domain) -> None:
    for text in listed(domain.options.get("caa")):
        try:
            record = CaaRecord.parse(text if " " in text else f'0 issue "{text}"')
        except CaaError as err:
            raise domain.fail(f"{err.term!r} cannot stand in its CAA record: {err.rule}") from err
        domain.add(domain.name, "CAA", str(record))


def _bimi(domain: Domain) -> None:
    options = domain.options.get("bimi")
    if options is None:
        return
    record = BimiRecord(str(options.get("logo") or ""), str(options.get("certificate") or ""))
    try:
        BimiRecord.parse(str(record))
    except BimiError as err:
        raise domain.fail(f"{err.term!r} cannot stand in its BIMI record: {err.rule}") from err
    selector = str(options.get("selector") or "default")
    name = domain.check_name(f"{selector}._bimi.{domain.bare}", "the name of the BIMI record")
    domain.add_txt(name, str(record), "the BIMI record")
    if not record.declined and domain.dmarc_policy == "none":
        domain.warn("a BIMI logo is shown only where the DMARC policy is quarantine or reject")


# -- names without mail, reports for others -----------------------------------------------------


def _no_mail(domain: Domain, domains: Iterable[str]) -> None:
    """Names that neither send nor receive: forgers love them (RFC 7208 section 10.1.2, RFC 7505)."""
    for text in listed(domain.options.get("no_mail")):
        inside = text.rstrip(".").lower()
        whole = inside == domain.bare or inside.endswith("." + domain.bare)
        name = domain.check_name(inside if whole else f"{inside}.{domain.bare}", "a name in no_mail")
        if name in domains:
            raise domain.fail(f"{name.rstrip('.')} stands in no_mail, and is a described domain; leave out one of them")
        if name.startswith("*") and (domain.options.get("dmarc") or {}).get("nonexistent_policy"):
            domain.warn(f"with {name} in no_mail every name exists, so the DMARC tag np never applies (RFC 9989 4.7)")
        domain.add(name, "MX", str(NULL_MX))
        domain.add_txt(name, "v=spf1 -all", "the SPF record")


def _reports_for(domain: Domain) -> None:
    """The consent to take the DMARC reports of other domains (RFC 9990 section 4)."""
    for text in listed(domain.options.get("reports_for")):
        other = domain.check_name(text, "a domain in reports_for").rstrip(".")
        name = domain.check_name(f"{other}._report._dmarc.{domain.bare}", "the name of the report consent")
        domain.add_txt(name, "v=DMARC1;", "the report consent")
