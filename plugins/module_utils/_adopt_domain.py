# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what DNS says of a domain to its description in ``mail_domains``. Private, pure but for the resolver.

The way back from ``_records.derive``: what the description gives is compared with what is there, so that every
difference is told before anything is published.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _spf
from ansible_collections.postmaster.mail.plugins.module_utils._bimi import BimiRecord
from ansible_collections.postmaster.mail.plugins.module_utils._dkim import DkimRecord
from ansible_collections.postmaster.mail.plugins.module_utils._dmarc import DmarcRecord, is_dmarc
from ansible_collections.postmaster.mail.plugins.module_utils._dns import (
    DnsError,
    Resolver,
    check_name,
    exists,
    is_under,
)
from ansible_collections.postmaster.mail.plugins.module_utils._mx import NULL_MX, MxError, MxRecord
from ansible_collections.postmaster.mail.plugins.module_utils._record import Record
from ansible_collections.postmaster.mail.plugins.module_utils._records import derive
from ansible_collections.postmaster.mail.plugins.module_utils._records_domain import DEFAULT_TTL, RecordsError
from ansible_collections.postmaster.mail.plugins.module_utils._records_hosts import address_of, is_unrouted
from ansible_collections.postmaster.mail.plugins.module_utils._senders import CATALOGUE, KnownSender
from ansible_collections.postmaster.mail.plugins.module_utils._spf_record import is_spf
from ansible_collections.postmaster.mail.plugins.module_utils._srv import NOT_OFFERED, PRIORITIES, SERVICES, SrvRecord
from ansible_collections.postmaster.mail.plugins.module_utils._term_error import TermError
from ansible_collections.postmaster.mail.plugins.module_utils._tls_rpt import TlsRptRecord
from ansible_collections.postmaster.mail.plugins.module_utils._tlsa import TlsaRecord, tlsa_name

# The TTLs of records by name and type; what cannot be told is left out.
Ttls = Callable[[Iterable[tuple[str, str]]], Mapping[tuple[str, str], int]]

NO_SUCH_NAME = "no-such-name-7f3a"  # exists by a wildcard alone
ALIGNMENT = {"r": "relaxed", "s": "strict"}
# Selectors that many signers have from the start; DNS does not list the names below a name.
USUAL_SELECTORS = tuple("default mail dkim email key1 s1 s2 k1 selector1 selector2 google 2024 2025 2026".split())


@dataclass(frozen=True)
class Untranslated:
    """Something that DNS says and no option describes: where it is, what it is, and what to do about it."""

    domain: str
    item: str
    remedy: str

    def as_dict(self) -> dict[str, str]:
        """Plain values for output."""
        return {"domain": self.domain, "item": self.item, "remedy": self.remedy}


@dataclass
class Described:
    """A domain's description as far as DNS gives it, and what is left over."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    untranslated: list[Untranslated] = field(default_factory=list)
    problem: str = ""  # why there is no description

    def leave(self, item: str, remedy: str) -> None:
        """Note what is not described."""
        self.untranslated.append(Untranslated(self.name, item, remedy))

    def as_dict(self) -> dict[str, Any]:
        """The entry of ``mail_domains``."""
        return {"name": self.name, **self.options}


def describe_all(names: Iterable[str], resolver: Resolver, **options: Any) -> list[Described]:
    """Describe each of ``names``, with the ``options`` of :func:`describe`. One for which DNS fails has a ``problem``.

    Raises ``DomainError`` where a name is no domain.
    """
    found = []
    for name in [check_name(name).rstrip(".") for name in names]:
        try:
            found.append(describe(name, resolver, **options))
        except DnsError as err:
            lost = Described(name, problem=str(err))
            lost.leave("DNS does not tell of this domain", f"{err}; adopt again before anything of it is published")
            found.append(lost)
    return found


def describe(
    name: str,
    resolver: Resolver,
    *,
    hosts: Mapping[str, Sequence[str]] | None = None,
    selectors: Iterable[str] = (),
    ttls: Ttls | None = None,
) -> Described:
    """Describe ``name`` by its records. ``hosts`` maps groups to addresses, so that SPF can name a group.

    ``selectors`` are those of keys that hosts hold, which need no description. ``ttls`` asks where TTLs are whole: a
    resolver counts them down. Raises :class:`DnsTimeout` where DNS does not answer, and ``DomainError`` where ``name``
    is no domain.
    """
    name = check_name(name).rstrip(".")
    found = Described(name)
    texts = resolver.query(f"{name}.", "TXT")
    _mail_exchangers(found, resolver)
    used = _senders(found, texts, hosts or {})
    _service_records(found, resolver, used, texts)
    _other_keys(found, resolver, {*selectors, *(service.txt_selector for dummy, service in used)})
    _dmarc(found, resolver)
    _transport(found, resolver)
    _own_hosts(found, resolver)
    _tlsa(found, resolver)
    _no_mail(found, resolver)
    _reports_for(found, resolver)
    unchanged = _differences(found, resolver, hosts or {})
    if ttls is not None and unchanged:
        _ttl(found, unchanged, ttls(unchanged))
    return found


# --- MX --------------------------------------------------------------------------------------


def _mail_exchangers(found: Described, resolver: Resolver) -> None:
    try:
        records = [MxRecord.parse(text) for text in resolver.query(f"{found.name}.", "MX")]
    except TermError as err:
        return found.leave(f"MX: {err}", "correct the record, then adopt again")
    if any(record.null for record in records):
        found.options["receives"] = False
    elif records:
        found.options["mx"] = [
            {"host": one.exchange.rstrip("."), "priority": one.preference} for one in sorted(records)
        ]
    return None


# --- SPF -------------------------------------------------------------------------------------


def _senders(
    found: Described, texts: Sequence[str], hosts: Mapping[str, Sequence[str]]
) -> list[tuple[str, KnownSender]]:
    """The senders by the SPF record; the services of the catalogue among them."""
    records = [text for text in texts if is_spf(text)]
    if len(records) != 1:
        if records:
            found.leave(f"{len(records)} SPF records", "receivers refuse them all: describe what they allow together")
        return []
    try:
        record = _spf.parse(records[0])
    except _spf.SpfError as err:
        found.leave(f"SPF: {err}", "correct the record, then adopt again")
        return []
    terms = [str(term) for term in record.directives if term.mechanism != "all"]
    ending = next((str(term) for term in record.directives if term.mechanism == "all"), "?all")
    for modifier in (term for term in record.terms if not hasattr(term, "qualifier")):
        remedy = "describe what that record allows in senders" if modifier.name == "redirect" else "it is not kept"
        found.leave(f"SPF: {modifier}", remedy)
    found.options["senders"], used = _as_senders(terms, hosts)
    found.options["spf_all"] = ending if ending[0] in "+-~?" else f"+{ending}"
    return used


def _as_senders(
    terms: list[str], hosts: Mapping[str, Sequence[str]]
) -> tuple[list[dict[str, Any]], list[tuple[str, KnownSender]]]:
    senders: list[dict[str, Any]] = []
    addresses = {_bare_address(term): term for term in terms if _bare_address(term)}
    for group in sorted(hosts, key=lambda name: (-len(hosts[name]), name)):
        wanted = {str(ipaddress.ip_address(text)) for text in hosts[group]}
        if wanted and wanted <= set(addresses):
            senders.append({"hosts": group})
            terms = [term for term in terms if _bare_address(term) not in wanted]
            addresses = {address: term for address, term in addresses.items() if address not in wanted}
    used = []
    for name, service in CATALOGUE.items():
        if service.spf and set(service.spf) <= set(terms):
            senders.append({"known": name})
            used.append((name, service))
            terms = [term for term in terms if term not in service.spf]
    return senders + [_as_sender(term) for term in terms], used


def _bare_address(term: str) -> str:
    """The single address that a term lets send, else empty."""
    kind, colon, value = term.removeprefix("+").partition(":")
    if kind.lower() not in ("ip4", "ip6") or not colon:
        return ""
    network = ipaddress.ip_network(value, strict=False)
    return str(network.network_address) if network.num_addresses == 1 else ""


def _as_sender(term: str) -> dict[str, Any]:
    kind, dummy, value = term.removeprefix("+").partition(":")
    kind = kind.lower()
    if value and (kind in ("ip4", "ip6") or (kind in ("include", "a") and "%" not in value and "/" not in value)):
        return {kind: value}
    return {"mx": True} if term.removeprefix("+").lower() == "mx" else {"term": term}


# --- services and keys -----------------------------------------------------------------------


def _service_records(
    found: Described, resolver: Resolver, used: Sequence[tuple[str, KnownSender]], texts: Sequence[str]
) -> None:
    """What the services in use have had published: their keys, their proofs of ownership; then all other texts."""
    left = [text for text in texts if not is_spf(text)]
    for name, service in used:
        sender = next(one for one in found.options["senders"] if one.get("known") == name)
        proofs = [text for text in left if service.verification and text.startswith(service.verification)]
        if len(proofs) == 1:
            sender["verification"] = proofs[0]
            left.remove(proofs[0])
        _service_keys(found, resolver, sender, service)
    if left:
        found.options["texts"] = left


def _service_keys(found: Described, resolver: Resolver, sender: dict[str, Any], service: KnownSender) -> None:
    where = f"._domainkey.{found.name}."
    if service.txt_selector:
        keys = resolver.query(service.txt_selector + where, "TXT")
        if keys and not resolver.query(service.txt_selector + where, "CNAME"):
            try:
                DkimRecord.read(keys[0])
                sender["dkim_value"] = keys[0]
            except TermError as err:
                item = f"{service.txt_selector}{where.rstrip('.')} holds no key: {err}"
                found.leave(item, f"it stays: copy the key of {service.title} from its console into dkim_value")
    selectors = [alias.selector for alias in service.aliases] or [one.lower() for one in service.own_aliases]
    targets = {one: resolver.query(one + where, "CNAME") for one in selectors}
    there = {one: target[0] for one, target in targets.items() if target}
    usual = {one.selector: _filled(one.target, found.name) for one in service.aliases}
    if there and there != usual:
        sender["dkim_cnames"] = there


def _filled(target: str, domain: str) -> str:
    return target.format(domain=domain, dashed=domain.replace(".", "-"))


def _other_keys(found: Described, resolver: Resolver, selectors: Iterable[str]) -> None:
    """Keys under usual selectors that nothing describes: they stay, as nothing of ours touches their names."""
    senders = found.options.get("senders", ())
    held = set(selectors) | {selector for one in senders for selector in one.get("dkim_cnames", ())}
    for selector in USUAL_SELECTORS:
        if selector in held:
            continue
        for text in resolver.query(f"{selector}._domainkey.{found.name}.", "TXT"):
            try:
                revoked = DkimRecord.read(text).revoked
            except TermError:
                revoked = False
            if not revoked:
                item = f"{selector}._domainkey.{found.name} holds a key that no adopted host has"
                found.leave(item, "it stays: take the key over with its signer, or remove it once nobody signs with it")


# --- DMARC -----------------------------------------------------------------------------------


def _dmarc(found: Described, resolver: Resolver) -> None:
    texts = [text for text in resolver.query(f"_dmarc.{found.name}.", "TXT") if is_dmarc(text)]
    if len(texts) != 1:
        if texts:
            found.leave(f"{len(texts)} DMARC records", "receivers overlook them all: describe one")
        return
    try:
        record = DmarcRecord.read(texts[0])
    except TermError as err:
        return found.leave(f"DMARC: {err}", "describe the policy in dmarc")
    named = {
        "policy": record.p,
        "subdomain_policy": record.sp,
        "nonexistent_policy": record.np,
        "rua": list(record.rua),
        "ruf": list(record.ruf),
        "fo": list(record.fo),
        "adkim": ALIGNMENT.get(record.adkim or ""),
        "aspf": ALIGNMENT.get(record.aspf or ""),
        "testing": record.t == "y",
        "psd": record.psd,
    }
    found.options["dmarc"] = {name: value for name, value in named.items() if value}
    for tag, value in record.unknown:
        found.leave(f"DMARC: {tag}={value}", "no tag has this name, and it is not kept")
    for problem in record.problems:
        found.leave(f"DMARC: {problem}", "receivers overlook it, and it is not kept")


# --- the rest --------------------------------------------------------------------------------


def _transport(found: Described, resolver: Resolver) -> None:
    if resolver.query(f"_mta-sts.{found.name}.", "TXT"):
        remedy = f"describe mta_sts as https://mta-sts.{found.name}/.well-known/mta-sts.txt has it, with the same id"
        found.leave("MTA-STS", remedy)
    for text in resolver.query(f"_smtp._tls.{found.name}.", "TXT"):
        try:
            found.options["tls_rpt"] = {"rua": list(TlsRptRecord.parse(text).rua)}
        except TermError as err:
            found.leave(f"TLS-RPT: {err}", "describe tls_rpt")
    services = {service: target for service in SERVICES if (target := _service(found, resolver, service))}
    if services:
        found.options["autoconfig"] = services
    issuers = resolver.query(f"{found.name}.", "CAA")
    if issuers:
        found.options["caa"] = sorted(issuers)
    for text in resolver.query(f"default._bimi.{found.name}.", "TXT"):
        try:
            record = BimiRecord.parse(text)
        except TermError as err:
            found.leave(f"BIMI: {err}", "describe bimi")
            continue
        given = {"logo": record.location, "certificate": record.evidence}
        found.options["bimi"] = {name: value for name, value in given.items() if value}


def _service(found: Described, resolver: Resolver, service: str) -> str:
    """The server of a mail program's service as ``autoconfig`` takes it."""
    texts = resolver.query(f"_{service}._tcp.{found.name}.", "SRV")
    try:
        records = [SrvRecord.parse(text) for text in texts]
    except TermError as err:
        found.leave(f"SRV of {service}: {err}", "describe autoconfig")
        return ""
    if len(records) != 1:
        if records:
            found.leave(
                f"{len(records)} SRV records of {service}", "autoconfig names one server: leave it out to keep them"
            )
        return ""
    record = records[0]
    if record == NOT_OFFERED:
        return "."
    host = record.target.rstrip(".")
    if record.priority != PRIORITIES.get(service, 0):
        found.leave(f"SRV of {service} has the priority {record.priority}", "autoconfig would publish its own")
    return host if record.port == SERVICES[service] else f"{host}:{record.port}"


def _own_hosts(found: Described, resolver: Resolver) -> None:
    """The addresses of the hosts that mail needs, as far as they are the domain's own; DNS does not list others."""
    servers = [server.partition(":")[0] for server in found.options.get("autoconfig", {}).values() if server != "."]
    described = []
    for host in dict.fromkeys([*(entry["host"] for entry in found.options.get("mx", ())), *servers]):
        if not is_under(f"{host}.", f"{found.name}."):
            continue  # its owner's business
        alias = resolver.query(f"{host}.", "CNAME")
        if alias:
            target = alias[0].rstrip(".")
            found.leave(f"{host} is an alias of {target}", f"mail must not lead to an alias: name {target} instead")
            continue
        addresses = _addresses(host, resolver)
        private = [text for text in addresses if (known := address_of(text)) is None or is_unrouted(known)]
        if private:
            found.leave(f"{host} has the address {private[0]}", "nobody outside reaches it: it stays as it is")
        elif addresses and addresses != _addresses(f"*.{found.name}", resolver):
            # A record of its own would hide a wildcard's others.
            described.append({"name": host.removesuffix(f".{found.name}"), "addresses": addresses})
    if described:
        found.options["host_records"] = described


def _addresses(host: str, resolver: Resolver) -> list[str]:
    """A host's addresses, those of IPv4 first."""
    return [text for rdtype in ("A", "AAAA") for text in sorted(resolver.query(f"{host}.", rdtype))]


def _tlsa(found: Described, resolver: Resolver) -> None:
    """TLSA records of the domain's own MX hosts."""
    described = []
    for host in dict.fromkeys(entry["host"] for entry in found.options.get("mx", ())):
        name = tlsa_name(host)
        if not is_under(f"{host}.", f"{found.name}."):
            continue  # its owner's business
        try:
            texts = [str(TlsaRecord.parse(text)) for text in resolver.query(name, "TLSA")]
        except TermError as err:
            found.leave(f"TLSA of {host}: {err}", "describe tlsa")
            continue
        if len(texts) > 2:
            found.leave(f"{len(texts)} TLSA records of {host}", "tlsa has a current and a next one: describe those")
        elif texts:
            described.append({"host": host, **dict(zip(("current", "next"), sorted(texts), strict=False))})
    if described:
        found.options["tlsa"] = described


def _no_mail(found: Described, resolver: Resolver) -> None:
    """Whether the usual names are said to have no mail; DNS does not list others."""
    names = [label for label in ("*", "www") if _has_no_mail(f"{label}.{found.name}.", found, resolver)]
    wild = f"*.{found.name}."
    if names[1:] and any(resolver.query(wild, rdtype) for rdtype in ("A", "AAAA", "CNAME")):
        names.pop()  # what was seen may be the wildcard, and a record of its own would hide that
    if names:
        found.options["no_mail"] = names


def _has_no_mail(name: str, found: Described, resolver: Resolver) -> bool:
    """Whether a name has a null MX and an SPF record that allows nobody; one alone is told."""
    if resolver.query(name, "CNAME"):
        return False  # what is there is said of its target
    texts = [text for text in resolver.query(name, "TXT") if is_spf(text)]
    said = {"v=spf1 -all": texts == ["v=spf1 -all"], "a null MX": _is_null(resolver.query(name, "MX"))}
    if any(said.values()) and not all(said.values()):
        there = next(what for what, holds in said.items() if holds)
        found.leave(f"{name.rstrip('.')} has {there} alone", "it stays; no_mail would publish both")
    return all(said.values())


def _is_null(texts: Sequence[str]) -> bool:
    try:
        return [MxRecord.parse(text) for text in texts] == [NULL_MX]
    except MxError:
        return False


def _reports_for(found: Described, resolver: Resolver) -> None:
    """The consent to take reports of other domains; which ones, DNS does not list."""
    below = f"_report._dmarc.{found.name}."
    if any(is_dmarc(text) for text in resolver.query(f"*.{below}", "TXT")):
        found.options["reports_for"] = ["*"]
    elif exists(below, resolver) and not exists(f"{NO_SUCH_NAME}.{found.name}.", resolver):
        remedy = "name in reports_for the domains that send reports here and are not described themselves"
        found.leave(f"there are records below {below.rstrip('.')}, which DNS does not list", remedy)


# --- what would change -----------------------------------------------------------------------


def _differences(found: Described, resolver: Resolver, hosts: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """Tell of records that the description gives and DNS does not have; names and types of all others."""
    try:
        derived = derive([found.as_dict()], hosts={name: list(addresses) for name, addresses in hosts.items()})
    except RecordsError as err:
        found.leave(f"the description as a whole: {err}", "correct the records or the description")
        return []
    unchanged = []
    for record in derived.records:
        there = resolver.query(record.name, record.type)
        if any(_same(record, text) for text in there):
            unchanged.append((record.name, record.type))
        else:
            shown = "".join(record.strings) or record.rdata
            found.leave(f"{record.name} {record.type} would become {shown}", "look at it before anything is published")
    return list(dict.fromkeys(unchanged))


def _ttl(found: Described, records: Sequence[tuple[str, str]], known: Mapping[tuple[str, str], int]) -> None:
    """The TTL that most records have, and those that have another."""
    counts = Counter(known.values())
    usual = min(counts, key=lambda ttl: (-counts[ttl], ttl), default=DEFAULT_TTL)
    if usual != DEFAULT_TTL:
        found.options["ttl"] = usual
    remedy = f"one TTL holds for all records of a domain, and {usual} seconds would be published"
    for name, rdtype in records:
        if known.get((name, rdtype), usual) != usual:
            found.leave(f"{name} {rdtype} has a TTL of {known[(name, rdtype)]} seconds", remedy)
    lost = [f"{name} {rdtype}" for name, rdtype in records if (name, rdtype) not in known]
    if lost:
        found.leave(f"no server tells the TTL of {', '.join(lost)}", remedy)


def _same(record: Record, text: str) -> bool:
    """Whether a record means the same as what DNS has; of SPF the order of terms that all pass counts for nothing."""
    if record.type != "TXT":
        return record.rdata.replace('"', "").lower() == text.replace('"', "").lower()
    ours = "".join(record.strings)
    if is_spf(ours) and is_spf(text):
        return _passing_sets(ours) == _passing_sets(text)
    if is_dmarc(ours) and is_dmarc(text):
        return _policy(ours) == _policy(text)
    return "".join(ours.split()) == "".join(text.split())


def _policy(text: str) -> str:
    try:
        return str(DmarcRecord.read(text))
    except TermError:
        return text


def _passing_sets(text: str) -> object:
    """The terms of a record; those that all pass as a set."""
    terms = [term.removeprefix("+").lower() for term in text.split()[1:]]
    if any(term[0] in "-~?" for term in terms[:-1]):
        return terms
    return set(terms)
