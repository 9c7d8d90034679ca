# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pure: from the description of mail domains to the records that DNS must hold. Private to this collection.

Sources: RFC 5321 section 5.1 and RFC 7505 (MX and null MX), RFC 7208 (SPF), RFC 6376 (DKIM), RFC 9989
(DMARC), RFC 9990 (who may receive reports for another domain).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _spf
from ansible_collections.postmaster.mail.plugins.module_utils._dkim import DkimError, DkimRecord, key_owner, record_name
from ansible_collections.postmaster.mail.plugins.module_utils._dmarc import DmarcError, DmarcRecord
from ansible_collections.postmaster.mail.plugins.module_utils._dns import DomainError, check_name, is_under
from ansible_collections.postmaster.mail.plugins.module_utils._mx import NULL_MX, MxError, MxRecord
from ansible_collections.postmaster.mail.plugins.module_utils._record import Record, absolute
from ansible_collections.postmaster.mail.plugins.module_utils._records_domain import (
    DerivedSpf,
    Domain,
    PolicyFile,
    RecordsError,
    listed,
    report_uri,
)
from ansible_collections.postmaster.mail.plugins.module_utils._records_hosts import (
    add_hosts,
    address_of,
    check_targets,
    is_unrouted,
)
from ansible_collections.postmaster.mail.plugins.module_utils._records_proof import refusal_text
from ansible_collections.postmaster.mail.plugins.module_utils._records_transport import add_mta_sts, add_transport
from ansible_collections.postmaster.mail.plugins.module_utils._senders import CATALOGUE, KnownSender
from ansible_collections.postmaster.mail.plugins.module_utils._spf_plan import refusals

SENDER_KINDS = ("hosts", "known", "include", "ip4", "ip6", "a", "mx", "term")
MAX_TTL = 2**31 - 1  # RFC 2181 section 8


@dataclass(frozen=True)
class Derived:
    """The records of all domains in order, the same as zone-file text, what should be looked at, policies to serve, and
    the SPF records among them with what has to hold of each.
    """

    records: tuple[Record, ...]
    zone_text: str
    warnings: tuple[str, ...]
    policies: tuple[PolicyFile, ...] = ()
    spf: tuple[DerivedSpf, ...] = ()


def derive(
    domains: Iterable[Mapping[str, Any]],
    *,
    hosts: Mapping[str, Sequence[str]] | None = None,
    dkim_keys: Iterable[Mapping[str, Any]] = (),
    tls_keys: Iterable[Mapping[str, Any]] = (),
) -> Derived:
    """All records of ``domains``, as the module ``mail_records`` documents the inputs. Raises :class:`RecordsError`."""
    described = _described(domains)
    warnings: list[str] = []
    keys = _key_records(dkim_keys, described, warnings)
    held = {absolute(str(key.get("host") or "")): key for key in tls_keys}
    for domain in described.values():
        _mx(domain)
        _spf_record(domain, hosts or {})
        _services(domain)
        _dkim(domain, keys.get(domain.name, ()))
        _dmarc(domain, described)
        add_transport(domain, described, held)
        add_hosts(domain)
        warnings += domain.warnings
    records = tuple(dict.fromkeys(record for domain in described.values() for record in domain.records))
    _check_set(records)
    check_targets(records)
    policies = tuple(policy for domain in described.values() for policy in domain.policies)
    spf = tuple(one for domain in described.values() for one in domain.spf)
    return Derived(records, _zone_text(described.values()), tuple(warnings), policies, spf)


def policies_of(domains: Iterable[Mapping[str, Any]]) -> tuple[PolicyFile, ...]:
    """The MTA-STS policies alone, the same as :func:`derive` returns them. Raises :class:`RecordsError`."""
    described = _described(domains)
    for domain in described.values():
        add_mta_sts(domain)
    return tuple(policy for domain in described.values() for policy in domain.policies)


def _described(domains: Iterable[Mapping[str, Any]]) -> dict[str, Domain]:
    described: dict[str, Domain] = {}
    for index, options in enumerate(domains):
        try:
            name = check_name(str(options.get("name") or ""), what=f"domains[{index}].name")
        except DomainError as err:
            raise RecordsError(str(err)) from err
        if name.startswith("*"):
            raise RecordsError(f"domains[{index}].name {name!r} is a wildcard; name each mail domain")
        if name in described:
            raise RecordsError(
                f"the domain {name.rstrip('.')} is described twice and would have two SPF records; merge the entries"
            )
        domain = Domain(name, options)
        if not 0 <= domain.ttl <= MAX_TTL:
            raise domain.fail(f"the ttl {domain.ttl} is not between 0 and {MAX_TTL} seconds")
        described[name] = domain
    return described


# -- MX -----------------------------------------------------------------------------------------


def _mx(domain: Domain) -> None:
    entries = domain.options.get("mx") or ()
    if domain.null_mx:
        if entries:
            raise domain.fail("it has mx entries and receives: false; leave out one of them (RFC 7505 section 3)")
        domain.add(domain.name, "MX", str(NULL_MX))
        if domain.senders:
            domain.warn("it sends mail but has a null MX: some receivers refuse such mail (RFC 7505 section 4.2)")
        return
    for entry in entries:
        host, priority = str(entry.get("host") or ""), entry.get("priority")
        try:
            record = MxRecord(10 if priority is None else int(priority), host)
        except MxError as err:
            raise domain.fail(f"the mx {host}: {err.rule}") from err
        if record.null:
            raise domain.fail("an mx without a host is a null MX; write receives: false instead (RFC 7505 section 3)")
        domain.add(domain.name, "MX", str(record))


# -- SPF ----------------------------------------------------------------------------------------


def _spf_record(domain: Domain, hosts: Mapping[str, Sequence[str]]) -> None:
    terms = [
        text for index, sender in enumerate(domain.senders) for text in _sender_terms(domain, index, sender, hosts)
    ]
    ending = str(domain.options.get("spf_all") or ("~all" if domain.senders else "-all"))
    try:
        record = _spf.compose(terms, all_=ending)
    except _spf.SpfError as err:
        raise domain.fail(f"{err.term!r} cannot stand in its SPF record: {err.rule}") from err
    own = [address for sender in domain.senders for address in hosts.get(str(sender.get("hosts") or ""), ())]
    spf = DerivedSpf(domain.bare, record, tuple(dict.fromkeys(own)), tuple(listed(domain.options.get("spf_allow"))))
    for refusal in refusals(record, 1, None):
        if refusal.id not in spf.allow:
            raise RecordsError(refusal_text(spf, refusal))
    domain.spf.append(spf)
    for hint in record.warnings():
        domain.warn(str(hint))
    cost = len(record.lookup_terms) + sum(max(s.spf_lookups - len(s.spf), 0) for s in _known(domain))
    if cost > _spf.LOOKUP_LIMIT:
        domain.warn(
            f"its SPF record needs about {cost} lookups with those of its includes, and 10 are allowed (RFC 7208)"
        )
    domain.records.append(Record.txt(domain.name, str(record), domain.ttl))
    for text in listed(domain.options.get("texts")):
        if text.lower().startswith("v=spf1"):
            raise domain.fail("texts holds an SPF record; describe what it allows in senders (RFC 7208 section 3.2)")
        domain.add_txt(domain.name, text, "a text in texts")


def _known(domain: Domain) -> list[KnownSender]:
    return [CATALOGUE[sender["known"]] for sender in domain.senders if sender.get("known")]


def _sender_terms(
    domain: Domain, index: int, sender: Mapping[str, Any], hosts: Mapping[str, Sequence[str]]
) -> list[str]:
    """The SPF directives of one sender."""
    kinds = [kind for kind in SENDER_KINDS if sender.get(kind)]
    if len(kinds) != 1:
        said = f"names {' and '.join(kinds)}" if kinds else "names none"
        raise domain.fail(f"senders[{index}] {said}; each sender has exactly one of {', '.join(SENDER_KINDS)}")
    kind, value = kinds[0], sender[kinds[0]]
    if kind == "hosts":
        return _host_terms(domain, str(value), hosts)
    if kind == "known":
        if value not in CATALOGUE:
            raise domain.fail(
                f"senders[{index}]: no sender {value!r} is known; known are {', '.join(sorted(CATALOGUE))}"
            )
        return list(CATALOGUE[value].spf)
    if kind == "mx":
        return ["mx"]
    return [str(value) if kind == "term" else f"{kind}:{value}"]


def _host_terms(domain: Domain, group: str, hosts: Mapping[str, Sequence[str]]) -> list[str]:
    addresses = hosts.get(group)
    if not addresses:
        known = ", ".join(sorted(name for name, found in hosts.items() if found)) or "none"
        raise domain.fail(f"no address of the sending hosts {group!r} is known; known are those of: {known}")
    terms = []
    for text in addresses:
        address = address_of(text)
        if address is None:
            raise domain.fail(f"{text!r} of the hosts {group!r} is no IP address")
        if is_unrouted(address):
            raise domain.fail(
                f"{text} of the hosts {group!r} is a private address that receivers never see; "
                "give the public address that their mail leaves from"
            )
        terms.append(f"ip{address.version}:{address}")
    return terms


# -- what known senders ask for -----------------------------------------------------------------


def _services(domain: Domain) -> None:
    """DKIM, bounce and ownership records of the services that send for the domain."""
    for index, sender in enumerate(domain.senders):
        service = CATALOGUE.get(str(sender.get("known") or ""))
        if service is None:
            continue
        if sender.get("verification"):
            value = str(sender["verification"])
            text = value if value.startswith(service.verification) else service.verification + value
            domain.add_txt(domain.name, text, f"the verification for {service.title}")
        _service_keys(domain, f"senders[{index}]", sender, service)
        if sender.get("bounce"):
            _service_bounce(domain, f"senders[{index}]", str(sender["bounce"]), service)


def _service_keys(domain: Domain, item: str, sender: Mapping[str, Any], service: KnownSender) -> None:
    """The service's DKIM records: a text, aliases as its console shows them, or those that all customers have."""
    if sender.get("dkim_value"):
        selector = str(sender.get("dkim_selector") or service.txt_selector)
        if not selector:
            raise domain.fail(f"{item}: {service.title} chooses its selectors; give dkim_selector with dkim_value")
        text = str(sender["dkim_value"])
        try:
            DkimRecord.read(text)
        except DkimError as err:
            raise domain.fail(f"{item}.dkim_value: {err}; copy it whole from the console of {service.title}") from None
        domain.add_txt(_selector_name(domain, selector), text, f"the DKIM value of {service.title}")
    elif sender.get("dkim_cnames"):
        for selector, target in sender["dkim_cnames"].items():
            filled = domain.check_name(str(target), f"the target of {selector} in dkim_cnames")
            domain.add(_selector_name(domain, str(selector)), "CNAME", filled)
    elif service.aliases:
        for alias in service.aliases:
            filled = alias.target.format(domain=domain.bare, dashed=domain.bare.replace(".", "-"))
            domain.add(_selector_name(domain, alias.selector), "CNAME", filled)
    elif service.own_aliases:
        names = " and ".join(service.own_aliases)
        domain.warn(
            f"the DKIM records of {service.title} are not described; copy the targets of {names} from its console "
            "into dkim_cnames"
        )
    else:
        domain.warn(f"the DKIM record of {service.title} is not described; copy it from its console into dkim_value")


def _selector_name(domain: Domain, selector: str) -> str:
    return domain.check_name(f"{selector}._domainkey.{domain.bare}", "the name of the DKIM record")


def _service_bounce(domain: Domain, item: str, name: str, service: KnownSender) -> None:
    """The bounce domain, by which SPF helps DMARC (RFC 9989 section 4.4.2)."""
    if not service.bounce_target:
        raise domain.fail(
            f"{item}: the bounce domain of {service.title} is not the same alias for all; "
            "publish what its console shows"
        )
    inside = f"{name.rstrip('.')}.{domain.bare}"
    domain.add(domain.check_name(inside, f"{item}.bounce"), "CNAME", service.bounce_target)


# -- DKIM ---------------------------------------------------------------------------------------


def _key_records(
    keys: Iterable[Mapping[str, Any]], domains: Mapping[str, Domain], warnings: list[str]
) -> dict[str, list[tuple[str, str]]]:
    """Name and text of every DKIM key by the domain it is for: the longest that holds its name."""
    found: dict[str, list[tuple[str, str]]] = {}
    for index, key in enumerate(keys):
        if "record" in key and key["record"] is None:
            continue  # check mode has not made it, or its record is to be gone
        record = key.get("record") or key
        name, text = absolute(str(record.get("name") or "")), _key_text(record)
        if "._domainkey." not in name or text is None:
            raise RecordsError(
                f"dkim_keys[{index}] is no DKIM record: it needs the name selector._domainkey.domain and a TXT value, "
                "as postmaster.mail.dkim_key returns them"
            )
        owner = name.partition("._domainkey.")[2]
        if owner in domains:
            found.setdefault(owner, []).append((name, text))
        else:
            warnings.append(f"the DKIM key {name.rstrip('.')} belongs to no described domain and is left out")
    return found


def _key_text(record: Mapping[str, Any]) -> str | None:
    if record.get("value") is not None:
        return str(record["value"])
    return "".join(map(str, record["strings"])) if record.get("strings") else None


def _dkim(domain: Domain, keys: Iterable[tuple[str, str]]) -> None:
    seen: dict[str, str] = {}
    for name, text in keys:
        if seen.setdefault(name, text) != text:
            raise domain.fail(
                f"two different DKIM keys want the name {name.rstrip('.')}; relays share one key, or have selectors "
                "of their own (RFC 6376 section 3.6.2.2)"
            )
    dkim = domain.options.get("dkim") or {}
    target = str(dkim.get("target") or "")
    try:
        for selector in (dkim.get("selectors") or ()) if target else ():
            alias = domain.check_name(record_name(str(selector), domain.bare), "a selector in dkim.selectors")
            domain.add(alias, "CNAME", key_owner(str(selector), domain.bare, target))
        for name, text in seen.items():
            selector = name.partition("._domainkey.")[0]
            owner = domain.check_name(key_owner(selector, domain.bare, target), "the DKIM key")
            domain.add_txt(owner, text, f"the DKIM key {owner}")
    except (KeyError, ValueError, IndexError) as err:
        if isinstance(err, RecordsError):
            raise
        raise domain.fail("dkim.target: write {selector}, {domain} or {dashed}, nothing else in braces") from err


# -- DMARC --------------------------------------------------------------------------------------


def _dmarc(domain: Domain, domains: Mapping[str, Domain]) -> None:
    options = domain.options.get("dmarc")
    above = next((name for name in domains if name != domain.name and is_under(domain.name, name)), None)
    if options is None and above is not None:
        return  # the policy of the domain above holds, found by the tree walk (RFC 9989 section 4.10)
    options = options or {}
    try:
        record = DmarcRecord(
            p=domain.dmarc_policy,
            sp=options.get("subdomain_policy"),
            np=options.get("nonexistent_policy"),
            adkim=_alignment(options.get("adkim")),
            aspf=_alignment(options.get("aspf")),
            t="y" if options.get("testing") else None,
            psd=options.get("psd"),
            fo=tuple(listed(options.get("fo"))),
            rua=tuple(map(report_uri, listed(options.get("rua")))),
            ruf=tuple(map(report_uri, listed(options.get("ruf")))),
        )
    except DmarcError as err:
        raise domain.fail(f"{err.term!r} cannot stand in its DMARC record: {err.rule}") from err
    if not record.rua and domain.senders:
        domain.warn("its DMARC record asks for no reports; without rua nobody sees what fails")
    domain.records.append(Record.txt(f"_dmarc.{domain.name}", str(record), domain.ttl))
    for uri in dict.fromkeys(record.rua + record.ruf):
        _authorisation(domain, uri, domains)


def _alignment(value: Any) -> str | None:
    return {"relaxed": "r", "strict": "s"}.get(str(value), str(value)) if value else None


def _authorisation(domain: Domain, uri: str, domains: Mapping[str, Domain]) -> None:
    """Reports that go to another domain need its consent, a record there (RFC 9990 section 4)."""
    scheme, _colon, rest = uri.partition(":")
    if scheme.lower() != "mailto":
        return
    target = absolute(rest.partition("?")[0].rpartition("@")[2])
    if target in domains and domains[target].null_mx:
        raise domain.fail(f"its DMARC reports go to {uri}, but {target.rstrip('.')} has receives: false")
    if is_under(target, domain.name) or is_under(domain.name, target):
        return
    name = f"{domain.bare}._report._dmarc.{target}"
    if any(is_under(target, other) for other in domains):
        domain.records.append(
            Record.txt(domain.check_name(name, "the name of the report consent"), "v=DMARC1;", domain.ttl)
        )
    else:
        domain.warn(f'reports to {uri} need the record {name} TXT "v=DMARC1;" there; ask whoever runs that domain')


# -- the whole ----------------------------------------------------------------------------------


def _purpose(record: Record) -> str | None:
    """Of which there may be one at a name: SPF, DKIM, DMARC, or an alias."""
    text = "".join(record.strings)
    if record.type == "CNAME":
        return "CNAME"
    if record.type == "TXT" and _spf.is_spf(text):
        return "SPF"
    if record.type == "TXT" and "._domainkey." in record.name:
        return "DKIM"
    return "DMARC" if record.type == "TXT" and record.name.startswith("_dmarc.") else None


def _check_set(records: Iterable[Record]) -> None:
    """One SPF, DKIM or DMARC record at a name, and nothing beside an alias (RFC 1034 section 3.6.2)."""
    seen: dict[tuple[str, str | None], Record] = {}
    aliases = {record.name for record in records if record.type == "CNAME"}
    for record in records:
        purpose = _purpose(record)
        other = seen.setdefault((record.name, purpose), record) if purpose else record
        if other is not record:
            raise RecordsError(
                f"{record.name.rstrip('.')} would have two {purpose} records: {other.rdata} and {record.rdata}"
            )
        if record.name in aliases and record.type != "CNAME":
            raise RecordsError(f"{record.name.rstrip('.')} would have a {record.type} record beside a CNAME (RFC 1034)")


def _zone_text(domains: Iterable[Domain]) -> str:
    parts = []
    for domain in domains:
        lines = [str(record) for record in dict.fromkeys(domain.records)]
        parts.append("\n".join([f"; {domain.bare}", *lines]) + "\n")
    return "\n".join(parts)
