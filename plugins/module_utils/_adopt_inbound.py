# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what Postfix says of mail from outside to the variables ``relay_inbound_*``. Pure, private.

A domain is taken in where strangers' mail for it is handed on to another server: those of relay_domains, and those of
mydestination that transport_maps sends away all the same. Names that stay on the host are none of them.
Sources: postconf(5), access(5), transport(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ansible_collections.postmaster.mail.plugins.module_utils import _adopt as ad
from ansible_collections.postmaster.mail.plugins.module_utils import _adopt_filter, _dnsbl
from ansible_collections.postmaster.mail.plugins.module_utils._adopt import words

if TYPE_CHECKING:
    from ansible_collections.postmaster.mail.plugins.module_utils._adopt_postfix import PostfixFound, _Draft

LISTS = tuple(f"smtpd_{name}_restrictions" for name in ("client", "helo", "sender", "recipient", "relay", "data"))
_OTHERS = (
    "relay_domains",
    "relay_recipient_maps",
    "smtpd_reject_unlisted_recipient",
    "smtpd_delay_reject",
    "smtpd_restriction_classes",
    "own_senders",
    "header_checks",
    "milter_connect_macros",
    "unverified_recipient_reject_code",
    "unverified_recipient_reject_reason",
    "address_verify_map",
    "rbl_reply_maps",
    "smtpd_policy_service_default_action",
)
CLIENTS = "cidr:/etc/postfix/inbound_clients"
HEADER_CHECKS = "regexp:/etc/postfix/inbound_header_checks"
KEYED = "cidr:/etc/postfix/inbound_dnsbls"
_OWN_TABLES = frozenset({CLIENTS, KEYED, "cidr:/etc/postfix/inbound_networks"})
_ALWAYS = frozenset(
    "permit_mynetworks permit_sasl_authenticated permit reject reject_unauth_destination reject_unauth_pipelining"
    " reject_invalid_helo_hostname reject_non_fqdn_helo_hostname reject_non_fqdn_sender reject_unknown_sender_domain"
    " reject_non_fqdn_recipient reject_unlisted_recipient reject_unverified_recipient reject_unknown_recipient_domain"
    " reject_multi_recipient_bounce".split()
)
"""What the role asks for by itself, or what has no meaning left in it."""
_RENAMED = {
    "reject_invalid_hostname": "reject_invalid_helo_hostname",
    "reject_non_fqdn_hostname": "reject_non_fqdn_helo_hostname",
    "reject_unknown_hostname": "reject_unknown_helo_hostname",
    "reject_unknown_client": "reject_unknown_client_hostname",
    "defer_unauth_destination": "reject_unauth_destination",
}
_WITH_VALUE = re.compile(r"(reject_rbl_client|reject_rhsbl_\w+|permit_dnswl_client|check_\w+)\Z")
_OLD_PARAMETERS = {
    "smtpd_use_tls": "the role says smtpd_tls_security_level = may, which Postfix has had in its place since 2.3",
    "smtp_use_tls": "the role says smtp_tls_security_level, which Postfix has had in its place since 2.3",
    "smtpd_tls_session_cache_database": "clients keep their sessions themselves, by tickets: no cache is needed",
}
_REGISTRATION = {"b.barracudacentral.org": "it answers registered hosts only: register this one, or leave the list out"}


def handed_on(found: PostfixFound, transports: Mapping[str, str]) -> list[str]:
    """The domains for which mail from outside is taken in and handed on."""
    given = [word.lower() for word in words(found.given.get("relay_domains", "")) if ad.is_domain(word.lower())]
    name = found.values.get("myhostname", "").lower()
    own = {*ad.LOCAL_NAMES, name, f"localhost.{ad.parent_domain(name)}"}
    local = [word.lower() for word in words(found.values.get("mydestination", ""))]
    sent = [word for word in local if ad.is_domain(word) and word not in own and _is_sent(word, transports)]
    return list(dict.fromkeys([*given, *sent]))


def _is_sent(domain: str, transports: Mapping[str, str]) -> bool:
    return domain in transports or "*" in transports


def entries(found: PostfixFound, name: str) -> dict[str, str]:
    """What the tables of a parameter say, as far as they were read; the first that has a key counts."""
    said: dict[str, str] = {}
    for table in reversed(words(found.values.get(name, ""))):
        said.update(found.tables.get(table, {}))
    return said


def has_next_hops(found: PostfixFound) -> bool:
    """Whether something says where the mail of each domain goes, other than its MX record, which may name this host."""
    transports = entries(found, "transport_maps")
    return bool(found.values.get("relayhost")) or all(
        _is_sent(domain, transports) for domain in handed_on(found, transports)
    )


def without_star(draft: _Draft, found: PostfixFound) -> PostfixFound:
    """A transport for ``*`` is a relayhost that takes the host's own mail as well: it becomes one that does not."""
    hop = re.fullmatch(r"(?:smtp|relay):(\S+)", entries(found, "transport_maps").get("*", ""))
    if hop is None or found.values.get("relayhost"):
        return found
    draft.note(
        "transport_maps *",
        hop[0],
        "it takes the host's own mail and aliases away too, so it becomes relay_smarthost",
        "nothing, unless mail for root should still go there: name an address in relay_root_address",
        harmless=True,
    )
    tables = {table: {key: value for key, value in said.items() if key != "*"} for table, said in found.tables.items()}
    return replace(found, values={**found.values, "relayhost": hop[1]}, tables=tables)


def describe(draft: _Draft, found: PostfixFound, domains: list[str]) -> None:
    """The variables about mail from outside, and in words what becomes of what they do not say."""
    draft.put("relay_inbound_domains", domains, "relay_domains")
    draft.used |= {*LISTS, *_OTHERS, *(name for name in found.given if name.startswith("postscreen_"))}
    said = [item for name in LISTS for item in _restrictions(found, name)]
    _lists(draft, found, said)
    _greylist(draft, found, said)
    _recipients(draft, found, said)
    _own_tables(draft, found)
    _filter(draft, found)
    _rest(draft, said)
    for name, reason in _OLD_PARAMETERS.items():
        if name in found.given:
            draft.note(name, found.given[name], reason, "nothing")
    checks = found.given.get("header_checks", "")
    if checks and checks not in found.tables:
        draft.note("header_checks", checks, "its table is not read", "put it into relay_inbound_header_checks")
    if found.values.get("smtp_sasl_auth_enable") == "yes" and not found.values.get("smtp_sasl_password_maps"):
        reason = "without smtp_sasl_password_maps Postfix's client would stop; the role logs in nowhere"
        draft.note("smtp_sasl_auth_enable", "yes", reason, "nothing, where the next hop knows the host by its address")


def _restrictions(found: PostfixFound, name: str) -> Iterator[tuple[str, str, str]]:
    """List, restriction and its value, in order."""
    value = found.values.get(name, "")
    while "{" in value and (inner := re.sub(r"\{([^{}]*)\}", _first_word, value)) != value:
        value = inner
    rest = words(value) if name in found.given else []
    while rest:
        word = rest.pop(0)
        yield name, word, rest.pop(0) if _WITH_VALUE.match(word) and rest else ""


def _first_word(group: re.Match[str]) -> str:
    """What is asked, without what is said about it in the same braces."""
    return re.sub(r"[\s,]+.*", "", group[1].strip())


def _lists(draft: _Draft, found: PostfixFound, said: list[tuple[str, str, str]]) -> None:
    asked = [value for _list, word, value in said if word == "reject_rbl_client"]
    sites = [*asked, *(re.sub(r"\*-?\d+\Z", "", site) for site in words(found.given.get("postscreen_dnsbl_sites", "")))]
    chosen: dict[str, dict[str, str]] = {}
    for site in sites:
        zone, _equals, replies = site.lower().partition("=")
        if zone in _dnsbl.RETIRED:
            instead = _dnsbl.RETIRED[zone]
            reason = (
                f"; {instead} holds what was in it and is asked in its place" if instead else " and is asked no more"
            )
            draft.note("reject_rbl_client", zone, f"the list has been retired{reason}", "nothing")
            zone, replies = instead, ""
        if zone:
            chosen.setdefault(zone, {"zone": zone, **({"replies": replies} if replies else {})})
        if zone in _REGISTRATION:
            draft.note("reject_rbl_client", zone, _REGISTRATION[zone], "see the list's web site")
    lists = [_usual(item) for item in chosen.values() if _is_sound(draft, item)]
    draft.put("relay_inbound_dnsbls", lists, "reject_rbl_client")
    if sites and not any("=" in site for site in sites):
        reason = "any answer counted, even one that refuses the question (127.255.255.x); now those within 127.0.0.x do"
        draft.note("reject_rbl_client", ", ".join(sites), reason, "nothing")
    if "zen.spamhaus.org" in chosen and not all("=" in site for site in sites):
        reason = "it does not answer public resolvers, and asks for a key from a certain number of questions on"
        remedy = "run a resolver on the host, or set zone zen.dq.spamhaus.net and key in relay_inbound_dnsbls"
        draft.note("zen.spamhaus.org", "", reason, remedy)
    # postscreen listens where master.cf says so.
    draft.put("relay_inbound_postscreen", bool(re.search(r"(?m)^[^#\s]\S*\s+inet\s.*\spostscreen\b", found.master)))


def _usual(item: Mapping[str, str]) -> dict[str, str]:
    """As people write it: Spamhaus's own limits where none are given."""
    return {"replies": "127.0.0.[2..11]", **item} if item["zone"] == "zen.spamhaus.org" else dict(item)


def _is_sound(draft: _Draft, item: Mapping[str, str]) -> bool:
    try:
        _dnsbl.Dnsbl.of(item)
    except _dnsbl.DnsblError as err:
        draft.note("reject_rbl_client", item["zone"], str(err), "name it in relay_inbound_dnsbls as the role takes it")
        return False
    return True


def _greylist(draft: _Draft, found: PostfixFound, said: list[tuple[str, str, str]]) -> None:
    services = [value for _list, word, value in said if word == "check_policy_service"]
    ours = [value for value in services if _adopt_filter.POSTGREY.search(value)]
    draft.put("relay_inbound_greylist", bool(ours))
    action = found.values.get("smtpd_policy_service_default_action", "").upper()
    own = [re.search(r"default_action\s*=\s*(\w+)", found.values.get(name, "")) for name in LISTS]
    accepts = action in ("DUNNO", "OK") or any(match and match[1].upper() in ("DUNNO", "OK") for match in own)
    draft.put("relay_inbound_greylist_failure", "accept" if accepts or not ours else "tempfail")
    for value in services:
        if value not in ours:
            draft.note("check_policy_service", value, "the role asks postgrey alone", "see whether it is needed")


def _recipients(draft: _Draft, found: PostfixFound, said: list[tuple[str, str, str]]) -> None:
    table = found.given.get("relay_recipient_maps", "")
    if table.strip() and table.strip() in found.tables:
        draft.put("relay_inbound_recipients", list(found.tables[table.strip()]), "relay_recipient_maps")
        return
    draft.put("relay_inbound_recipients", [])
    if not table and any(word == "reject_unverified_recipient" for _list, word, _value in said):
        return
    before = "its entries were not read" if table else "Postfix knew the names of this host alone"
    reason = f"{before}; the next hop is now asked for each address, and its answer remembered"
    remedy = "name all addresses in relay_inbound_recipients, if the next hop takes any"
    draft.note("relay_recipient_maps", table, reason, remedy)


def _own_tables(draft: _Draft, found: PostfixFound) -> None:
    """What the role's own tables of the types cidr and regexp hold, and that of keys which stay on the host."""
    draft.put("relay_inbound_clients", dict(found.tables.get(CLIENTS, {})))
    checks = [{"pattern": key, "action": value} for key, value in found.tables.get(HEADER_CHECKS, {}).items()]
    draft.put("relay_inbound_header_checks", checks)
    if KEYED in found.values.get("smtpd_client_restrictions", ""):
        reason = "lists with a key: what they are stays on the host, as the key does"
        draft.note(KEYED, "", reason, "name zone and key in relay_inbound_dnsbls, the key out of the vault")


def _filter(draft: _Draft, found: PostfixFound) -> None:
    milters = found.values.get("smtpd_milters", "")
    marks = "spamass|:11336" + ("|:11332|rspamd" if found.filters.whole_rspamd else "")
    kind = "spamassassin" if "spamass" in milters else "rspamd" if re.search(marks, milters) else "none"
    draft.put("relay_inbound_filter", kind)
    _adopt_filter.describe(draft, kind, found.filters)
    own = re.search(rf"\{{[^{{}}]*(?:{marks})[^{{}}]*default_action\s*=\s*(\w+)", milters)
    action = own[1] if own else found.values.get("milter_default_action", "")
    draft.put("relay_inbound_filter_failure", "tempfail" if kind != "none" and action == "tempfail" else "accept")


def _rest(draft: _Draft, said: list[tuple[str, str, str]]) -> None:
    """Words that mean something else than they used to, stand in another list now, or mean nothing."""
    told: set[str] = set()
    remark = ""
    for name, word, value in said:
        plain = _RENAMED.get(word, word)
        if word in _RENAMED and word not in told:
            told.add(word)
            draft.note(name, word, f"the role says {plain}", "nothing")
        if word in ("reject_rbl_client", "check_policy_service") or value in _OWN_TABLES:
            continue
        if plain.startswith("#"):
            remark = name
            reason = "this is no remark to Postfix, which takes the words for restrictions and warns of them"
            draft.note(name, word, reason, "nothing: it is left out")
        elif plain == "permit_sasl_authenticated":
            draft.note(name, word, "nobody logs in at a relay", "nothing")
        elif plain not in _ALWAYS and remark != name:
            draft.note(name, f"{word} {value}".strip(), "no variable says this", "see whether it is needed")
    if any(name == "smtpd_relay_restrictions" and word.startswith(("reject_rbl", "check_")) for name, word, _v in said):
        reason = "what keeps spam out stands in the lists of client, sender and recipient; this one says who may relay"
        draft.note("smtpd_relay_restrictions", "", reason, "nothing")
