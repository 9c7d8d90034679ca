# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what Postfix says of itself to the variables of satellite_postfix and relay. Pure, private.

What a role sets and no variable tells (``SATELLITE_FIXED``, ``RELAY_FIXED``) is compared with what was
found, so that nothing is replaced without a word. Parameters that no role sets stay in main.cf as
they are. Sources: postconf(5), master(5).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.postmaster.mail.plugins.module_utils import _adopt as ad
from ansible_collections.postmaster.mail.plugins.module_utils import _adopt_inbound as inbound
from ansible_collections.postmaster.mail.plugins.module_utils import _networks
from ansible_collections.postmaster.mail.plugins.module_utils import _postfix as pf
from ansible_collections.postmaster.mail.plugins.module_utils._adopt import Description, HostFacts, words
from ansible_collections.postmaster.mail.plugins.module_utils._adopt_filter import FilterFacts

SATELLITE_MAPS = "/etc/postfix/satellite_domain"
SATELLITE_FIXED: Mapping[str, str] = {
    "myorigin": "$myhostname",
    "smtp_host_lookup": "dns, native",
    "smtpd_client_restrictions": "permit_mynetworks, reject",
    "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination",
    "smtpd_tls_security_level": "none",
    "smtpd_forbid_bare_newline": "normalize",
    "smtpd_forbid_bare_newline_exclusions": "",
    "smtpd_forbid_unauth_pipelining": "yes",
    "alias_maps": "hash:/etc/aliases",
    "alias_database": "hash:/etc/aliases",
    "local_recipient_maps": "",
    "forward_path": "",
    "sender_canonical_maps": "hash:/etc/postfix/satellite_senders",
    "virtual_alias_maps": f"hash:{SATELLITE_MAPS}",
    "default_transport": "smtp",
    "relay_transport": "relay",
    "smtp_sasl_security_options": "noplaintext, noanonymous",
    "smtp_sasl_tls_security_options": "noanonymous",
    "notify_classes": "resource, software, 2bounce",
}
RELAY_FIXED: Mapping[str, str] = {
    "myorigin": "$myhostname",
    "relay_domains": "",
    "smtpd_client_restrictions": "permit_mynetworks, reject",
    "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination",
    "smtpd_recipient_restrictions": "",
    "smtpd_data_restrictions": "reject_unauth_pipelining",
    "smtpd_etrn_restrictions": "reject",
    "smtpd_helo_required": "yes",
    "smtpd_sasl_auth_enable": "no",
    "smtpd_authorized_xclient_hosts": "",
    "smtpd_authorized_xforward_hosts": "",
    "smtpd_upstream_proxy_protocol": "",
    "postscreen_upstream_proxy_protocol": "",
    "qmqpd_authorized_clients": "",
    "smtpd_milter_maps": "",
    "receive_override_options": "",
    "disable_vrfy_command": "yes",
    "allow_percent_hack": "no",
    "swap_bangpath": "no",
    "parent_domain_matches_subdomains": "",
    "smtpd_forbid_bare_newline": "normalize",
    "smtpd_forbid_bare_newline_exclusions": "",
    "smtpd_forbid_unauth_pipelining": "yes",
    "smtpd_banner": "$myhostname ESMTP",
    "mailbox_size_limit": "0",
    "smtpd_client_event_limit_exceptions": "127.0.0.0/8, [::1]/128",
    "smtpd_tls_security_level": "may",
    "smtpd_tls_protocols": ">=TLSv1.2",
    "smtpd_tls_mandatory_protocols": ">=TLSv1.2",
    "smtpd_tls_received_header": "yes",
    "smtpd_tls_loglevel": "1",
    "default_transport": "smtp",
    "relay_transport": "relay",
    "smtp_tls_mandatory_protocols": ">=TLSv1.2",
    "smtp_tls_CApath": "",
    "smtp_tls_loglevel": "1",
    "smtp_tls_session_cache_database": "lmdb:${data_directory}/smtp_scache",
    "smtp_sasl_security_options": "noplaintext, noanonymous",
    "smtp_sasl_tls_security_options": "noanonymous",
    "milter_protocol": "6",
    "default_database_type": "lmdb",
    "alias_maps": "lmdb:/etc/aliases",
    "alias_database": "lmdb:/etc/aliases",
}
"""What the roles set whatever their variables say; a null in a role counts as Postfix's own default."""

STOCK: Mapping[str, tuple[str, ...]] = {
    "alias_database": ("hash:/etc/aliases", "lmdb:/etc/aliases"),
    "alias_maps": ("hash:/etc/aliases", "lmdb:/etc/aliases"),
    "append_dot_mydomain": ("no",),
    "biff": ("no",),
    "cyrus_sasl_config_path": ("/etc/postfix/sasl",),
    "default_database_type": ("hash", "lmdb"),
    "mailbox_command": ("",),
    "mailbox_size_limit": ("0",),
    "milter_protocol": ("2", "3", "4", "6"),
    "mynetworks_style": ("host", "subnet"),
    "readme_directory": ("no",),
    "recipient_delimiter": ("+",),
    "smtp_tls_CApath": ("/etc/ssl/certs",),
    "smtp_tls_session_cache_database": ("btree:${data_directory}/smtp_scache", "lmdb:${data_directory}/smtp_scache"),
    "smtpd_relay_restrictions": ("permit_mynetworks permit_sasl_authenticated defer_unauth_destination",),
    "smtpd_tls_security_level": ("may",),
    "smtpd_use_tls": ("yes",),
    "smtpd_tls_session_cache_database": ("btree:${data_directory}/smtpd_scache",),
    "smtpd_tls_cert_file": ("/etc/ssl/certs/ssl-cert-snakeoil.pem",),
    "smtpd_tls_key_file": ("/etc/ssl/private/ssl-cert-snakeoil.key",),
}
"""What Debian's package writes into every main.cf, with the values that mean nothing in particular."""
_BANNER = re.compile(r"\$myhostname ESMTP( \$mail_name( \(Debian(/GNU)?\))?)?")
_LOOPBACK = [ipaddress.ip_network(text) for text in ("127.0.0.0/8", "::1/128")]
_PORTS = {"smtp": 25, "submission": 587, "smtps": 465, "submissions": 465}
_TLS_NONE = ("", "none")
_OWN_SERVICES = {("satellite", "unix")}
_REMOVED = "no role has a variable for it, and the role sets it otherwise"
_STAYS = "the role does not touch it, so it stays as it is on this host"
_KEEP = "note it down for the day on which the host is set up anew"


@dataclass(frozen=True)
class PostfixFound:
    """``given`` is what main.cf sets, ``values`` every parameter with names expanded, ``defaults`` as built in.

    ``tables`` holds the entries of maps by ``type:path``; of maps with passwords ``login_keys`` has the keys alone.
    """

    given: Mapping[str, str]
    values: Mapping[str, str]
    defaults: Mapping[str, str] = field(default_factory=dict)
    tables: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    login_keys: Sequence[str] = ()
    master: str = ""
    master_stock: str = ""
    signer: str = ""  # rspamd or opendkim, if one of them is what the milter's address leads to
    filters: FilterFacts = field(default_factory=FilterFacts)


@dataclass
class _Draft(Description):
    """A description while it is made; ``used`` are the parameters that went into a variable."""

    used: set[str] = field(default_factory=set)

    def take(self, found: PostfixFound, name: str) -> str:
        """The value of a parameter that a variable tells."""
        self.used.add(name)
        return " ".join(found.values.get(name, "").split())


def describe(found: PostfixFound, host: HostFacts) -> Description:
    """The host in the variables of the role that fits it best."""
    draft = _Draft(mta="postfix")
    networks = _networks_outside(draft, found)
    _obstacles(draft, found)
    if draft.notes:
        return draft
    draft.role = _choose_role(found, networks)
    if draft.role == ad.SATELLITE_POSTFIX:
        _satellite(draft, found, host, networks)
    elif draft.role == ad.RELAY:
        _relay(draft, found, host, networks)
    else:
        draft.note(
            "relayhost",
            found.values.get("relayhost", ""),
            "the host keeps all mail to itself, or sends it unsigned to its destinations",
            "make it a satellite: put it into satellites_postfix and set the variables named satellite_",
        )
        return draft
    _leftovers(draft, found)
    _services(draft, found)
    return draft


# ---------------------------------------------------------------- which role


def _choose_role(found: PostfixFound, networks: Sequence[str]) -> str:
    loopback = found.values.get("inet_interfaces") in ("loopback-only", "localhost", "127.0.0.1", "127.0.0.1, [::1]")
    if networks and not loopback:
        return ad.RELAY
    if inbound.handed_on(found, inbound.entries(found, "transport_maps")) and not loopback:
        return ad.RELAY
    if found.values.get("default_transport", "").startswith("error"):
        return ""
    signed = any(found.values.get(name) for name in ("smtpd_milters", "non_smtpd_milters"))
    if found.values.get("relayhost"):
        return ad.RELAY if signed else ad.SATELLITE_POSTFIX
    return ad.RELAY if signed else ""


def _obstacles(draft: Description, found: PostfixFound) -> None:
    """What makes a host something that no role sets up; such a host is left alone."""
    for name in ("virtual_mailbox_domains", "virtual_mailbox_maps", "relay_domains"):
        value = found.given.get(name, "")
        plain = name == "relay_domains" and all(ad.is_domain(word.lower()) for word in words(value))
        if plain and inbound.has_next_hops(found):
            continue
        if value and value not in ("$virtual_mailbox_maps", "$mydestination"):
            draft.note(name, value, "the host receives mail for others", "no role does that: leave the host as it is")
    logins = [*found.given.items(), *((name, value) for service in _master(found) for name, value in service.options)]
    if ("smtpd_sasl_auth_enable", "yes") in logins:
        draft.note(
            "smtpd_sasl_auth_enable", "yes", "people log in to send", "no role does that: leave the host as it is"
        )


def _networks_outside(draft: Description, found: PostfixFound) -> list[str]:
    """``mynetworks`` without the host itself, in plain notation."""
    outside: list[str] = []
    for word in words(found.values.get("mynetworks", "")):
        try:
            network = _networks.parse(word)
            _networks.judge(network)
        except _networks.NetworkError as err:
            draft.note("mynetworks", word, str(err), "leave the host as it is until mynetworks lists networks")
            continue
        if not any(network.version == own.version and network.subnet_of(own) for own in _LOOPBACK):  # type: ignore[arg-type]
            outside.append(str(network))
    return list(dict.fromkeys(outside))


# ---------------------------------------------------------------- what both roles have


def _host_name(draft: _Draft, found: PostfixFound) -> str:
    return draft.take(found, "myhostname").lower().rstrip(".")


def _protocols(draft: _Draft, found: PostfixFound, variable: str) -> None:
    listed = sorted(words(draft.take(found, "inet_protocols")))
    draft.put(variable, listed[0] if listed in (["ipv4"], ["ipv6"]) else "all")


def split_next_hop(text: str) -> tuple[str, int | None]:
    """Host and port of a relayhost; the port is None where it is no number and no name that is known."""
    match = re.fullmatch(r"(?:\[([^\[\]]+)\]|([^\[\]:\s]+))(?::([\w-]+))?", text.strip())
    if not match:
        return "", None
    port = match[3] or "smtp"
    host = (match[1] or match[2]).lower().removeprefix("ipv6:").rstrip(".")
    number = _PORTS.get(port, int(port) if port.isdecimal() and int(port) < 65536 else None)
    return host, number


def _next_hop(draft: _Draft, found: PostfixFound) -> tuple[str, int]:
    """The host that takes all mail; says so where the roles reach it in another way."""
    text = draft.take(found, "relayhost")
    hops = words(text)
    host, port = split_next_hop(hops[0] if hops else "")
    if hops and (not host or port is None or len(hops) > 1):
        draft.note("relayhost", text, "the roles know one host with a port in numbers", "check the variables")
    if host and "[" not in text and not re.fullmatch(r"[\d.]+", host):
        draft.note(
            "relayhost",
            text,
            "Postfix looks for MX records of this name first; the role goes to its address",
            "nothing, if the name has no MX record, else name the host behind it",
        )
    if port == 465 or found.values.get("smtp_tls_wrappermode") == "yes":
        draft.note("smtp_tls_wrappermode", "yes", "the roles speak STARTTLS", "use the relay's port 587")
    return host, port or 25


def _policies(draft: _Draft, found: PostfixFound) -> dict[str, str]:
    """TLS by destination. A table that was not read is told of."""
    return _table(draft, found, "smtp_tls_policy_maps")


def _table(draft: _Draft, found: PostfixFound, name: str) -> dict[str, str]:
    entries: dict[str, str] = {}
    value = draft.take(found, name)
    for table in reversed(words(value)):
        if table in found.tables:
            entries.update(found.tables[table])
        else:
            draft.note(name, table, "only tables of the types hash, lmdb, btree and texthash are read", _KEEP)
    return entries


def _hop_policy(entries: dict[str, str], hop: str, host: str, port: int) -> str:
    """Takes the policy of the next hop out of ``entries``; an empty text without one."""
    for key in (hop, f"[{host}]:{port}", f"[{host}]", f"{host}:{port}", host):
        if key in entries:
            return entries.pop(key)
    return ""


def _tls_level(draft: _Draft, found: PostfixFound) -> str:
    level = draft.take(found, "smtp_tls_security_level")
    draft.used |= {"smtp_use_tls", "smtp_enforce_tls"}
    if not level and found.values.get("smtp_enforce_tls") == "yes":
        return "verify"
    if not level and found.values.get("smtp_use_tls") == "yes":
        return "may"
    return level or "none"


def _login(draft: _Draft, found: PostfixFound, prefix: str) -> bool:
    """The vault's variables for the next hop's login. Of the map only keys are known here."""
    on = draft.take(found, "smtp_sasl_auth_enable") == "yes"
    draft.used.add("smtp_sasl_password_maps")
    if not on or not found.values.get("smtp_sasl_password_maps"):
        return False
    for name in ("username", "password"):
        draft.secrets[f"{prefix}_{name}"] = f"vault_{prefix}_{name}"
    others = [key for key in found.login_keys if not _is_hop(key, found.values.get("relayhost", ""))]
    if others:
        draft.note(
            "smtp_sasl_password_maps",
            ", ".join(others),
            "logins at other hosts than the next hop",
            _KEEP,
            harmless=True,
        )
    return True


def _is_hop(key: str, hop: str) -> bool:
    return split_next_hop(key)[0] == split_next_hop(hop)[0]


def _mail_domain(draft: _Draft, found: PostfixFound, host: HostFacts, name: str) -> str:
    """The domain of addresses without one."""
    origin = draft.take(found, "myorigin")
    origin = (host.mailname if origin.startswith("/") else origin).lower()
    for candidate in (origin, host.mailname.lower(), ad.parent_domain(name)):
        if ad.is_domain(candidate) and candidate != name:
            return candidate
    return ""


def _destinations(draft: _Draft, found: PostfixFound, name: str, domain: str, handed_on: Sequence[str] = ()) -> bool:
    """Tells of domains whose mail stays on the host; True if ``domain`` is one of them."""
    draft.used.add("mydomain")
    listed = [word.lower() for word in words(draft.take(found, "mydestination"))]
    own = {*ad.LOCAL_NAMES, name, name.partition(".")[0], f"localhost.{ad.parent_domain(name)}", f"localhost.{domain}"}
    others = [word for word in dict.fromkeys(listed) if word not in {*own, *handed_on, domain}]
    if others:
        draft.note("mydestination", ", ".join(others), "mail for these names stays on the host", "none will do so")
    return domain in listed


# ---------------------------------------------------------------- satellite


def _satellite(draft: _Draft, found: PostfixFound, host: HostFacts, networks: Sequence[str]) -> None:
    name = _host_name(draft, found)
    domain = _mail_domain(draft, found, host, name)
    _put_names(draft, host, name, domain)
    relay, port = _next_hop(draft, found)
    draft.put("satellite_relay", relay, "relayhost")
    draft.put("satellite_relay_port", port)
    draft.used |= {"inet_interfaces", "mynetworks", "mailbox_transport"}
    if networks:
        draft.note(
            "mynetworks", ", ".join(networks), "a satellite takes mail from itself alone", "let them use a relay"
        )
    _protocols(draft, found, "satellite_inet_protocols")
    _satellite_masquerade(draft, found, name, domain)
    _satellite_tls(draft, found, relay, port)
    _satellite_lifetime(draft, found)
    draft.put("satellite_mailx", "bsd-mailx" in host.packages)
    local = _destinations(draft, found, name, domain)
    ad.describe_satellite_aliases(draft, host.aliases, _own_names(draft, found, host, domain, local), {name})


def _put_names(draft: Description, host: HostFacts, name: str, domain: str) -> None:
    if domain:
        draft.put("satellite_domain", domain)
    else:
        draft.note("/etc/mailname", host.mailname, "no domain can be told from the host", "set satellite_domain")
    fqdn = host.fqdn.lower()
    usual = fqdn if "." in fqdn else f"{fqdn}.{domain}"
    draft.put("satellite_hostname", "" if name == usual else name, "myhostname")


def _own_names(draft: _Draft, found: PostfixFound, host: HostFacts, domain: str, local: bool) -> list[str]:
    """The names that are resolved here when they are written with the domain."""
    tables = words(draft.take(found, "virtual_alias_maps"))
    ours = SATELLITE_FIXED["virtual_alias_maps"]
    for table in tables:
        if table != ours:
            draft.note("virtual_alias_maps", table, _REMOVED, "put its names into satellite_aliases")
    names = [key.rpartition("@")[0] for key in found.tables.get(ours, {})] if ours in tables else []
    return [*names, *(_plain_names(host) if local else [])]


def _plain_names(host: HostFacts) -> list[str]:
    """All names of the host but the standard ones, which lead to root as they do with the role."""
    standard = ad.standard_names()
    return [name for name in ad.parse_aliases(host.aliases) if name not in standard]


def _satellite_masquerade(draft: _Draft, found: PostfixFound, name: str, domain: str) -> None:
    masked = words(draft.take(found, "masquerade_domains"))
    users = words(draft.take(found, "masquerade_exceptions"))
    ours = words(found.given.get("sender_canonical_maps", "")) == [SATELLITE_FIXED["sender_canonical_maps"]]
    at_host = not masked and (ours or found.values.get("myorigin", "").lower() == name)
    draft.put("satellite_masquerade", not at_host)
    kept = [f"@{item[1:]}" for item in masked if item.startswith("!")]
    draft.put("satellite_masquerade_exceptions", [*users, *kept], "masquerade_exceptions")
    others = [item for item in masked if not item.startswith("!") and item.lower() != domain]
    if others:
        draft.note("masquerade_domains", ", ".join(others), "the role masquerades its one domain", _KEEP)


def _satellite_tls(draft: _Draft, found: PostfixFound, relay: str, port: int) -> None:
    entries = _policies(draft, found) if found.values.get("smtp_tls_policy_maps") else {}
    policy = _hop_policy(entries, found.values.get("relayhost", ""), relay, port)
    level = (policy or _tls_level(draft, found)).split()[0]
    draft.used.add("smtp_tls_security_level")
    known = {"none": "none", "may": "may", "encrypt": "encrypt", "verify": "verify", "secure": "verify"}
    tls = known.get(level, "encrypt" if level in ("fingerprint", "dane-only") else "may")
    if level not in known:
        draft.note("smtp_tls_security_level", policy or level, "the role knows no such level", f"{tls} comes nearest")
    if entries:
        draft.note("smtp_tls_policy_maps", ", ".join(entries), "all mail of a satellite goes to the relay", _KEEP)
    if policy:
        draft.note("smtp_tls_policy_maps", policy, _STAYS, "remove the table once satellite_tls says the same")
    if _login(draft, found, "satellite") and tls in ("none", "may"):
        draft.note(
            "smtp_tls_security_level", tls, "a password is sent, so the role insists on TLS", "see that it works"
        )
        tls = "encrypt"
    draft.put("satellite_tls", tls)
    file = draft.take(found, "smtp_tls_CAfile")
    draft.put("satellite_tls_ca_file", "" if file == ad.RELAY_DEFAULTS["relay_tls_ca_file"] else file)


def _satellite_lifetime(draft: _Draft, found: PostfixFound) -> None:
    text = ad.lifetime(draft.take(found, "maximal_queue_lifetime"))
    bounce = ad.lifetime(draft.take(found, "bounce_queue_lifetime"))
    if text:
        draft.put("satellite_queue_lifetime", text)
    if not text or ad.seconds(text) != ad.seconds(bounce or "0"):
        draft.note("bounce_queue_lifetime", bounce, "the role has one time for all mail", "check the variable")


# ---------------------------------------------------------------- relay


def _relay(draft: _Draft, found: PostfixFound, host: HostFacts, networks: Sequence[str]) -> None:
    name = _host_name(draft, found)
    domains = inbound.handed_on(found, inbound.entries(found, "transport_maps"))
    found = inbound.without_star(draft, found)
    draft.put("relay_hostname", name, "myhostname")
    if host.addresses:
        draft.put("mail_addresses", list(host.addresses))
    else:
        reason = "the address that receivers see is not on the host"
        draft.note("mail_addresses", "", reason, "set it to the addresses that mail leaves your network with")
    domain = _mail_domain(draft, found, host, name)
    if host.mailname.lower() == name and draft.take(found, "myorigin") == name:
        domain = name
    draft.put("relay_domain", domain or ad.parent_domain(name), "/etc/mailname")
    draft.used |= {"mynetworks", "sender_canonical_maps"}
    draft.put("relay_networks", list(networks) or ["127.0.0.0/8"])
    draft.put("relay_listen", words(draft.take(found, "inet_interfaces")) or ["all"])
    _protocols(draft, found, "relay_inet_protocols")
    draft.put("relay_bind_address", draft.take(found, "smtp_bind_address"))
    draft.put("relay_bind_address_ipv6", draft.take(found, "smtp_bind_address6").strip("[]"))
    if _destinations(draft, found, name, domain, domains) and domain not in domains:
        draft.note(
            "mydestination",
            domain,
            "mail for the domain stays on the host",
            "it will go where the domain's MX record says: see that it is meant so",
        )
    if domains:
        inbound.describe(draft, found, domains)
    _relay_senders(draft, found, name, domain)
    _relay_signer(draft, found)
    _relay_way_out(draft, found)
    _relay_files(draft, found)
    _relay_aliases(draft, host)
    _relay_limits(draft, found)
    _relay_rest(draft, found)


def _relay_senders(draft: _Draft, found: PostfixFound, name: str, domain: str) -> None:
    ours = "smtpd_sender_restrictions" if "own_senders" not in found.given else "own_senders"
    restrictions = words(draft.take(found, ours))
    table = "lmdb:/etc/postfix/senders"
    if restrictions == ["check_sender_access", table, "reject"] and table in found.tables:
        draft.put("relay_sender_domains", [key for key in found.tables[table] if key != "<>"])
    elif restrictions and "relay_inbound_domains" not in draft.variables:
        draft.note("smtpd_sender_restrictions", " ".join(restrictions), _REMOVED, "relay_sender_domains limits senders")
    canonical = found.values.get("sender_canonical_maps", "")
    if canonical and not canonical.startswith("inline:{ {@" + name):
        draft.note("sender_canonical_maps", canonical, _REMOVED, f"local senders become addresses of {domain}")


def _relay_signer(draft: _Draft, found: PostfixFound) -> None:
    milters = [draft.take(found, name) for name in ("smtpd_milters", "non_smtpd_milters")]
    draft.used.add("internal_mail_filter_classes")
    draft.put("relay_signer", found.signer or "none")
    listed = list(dict.fromkeys(re.split(r"(?:,\s*|\s+)(?![^{]*\})", " ".join(milters).strip())))
    ours = "spamass|:11336" if "relay_inbound_domains" in draft.variables else r"\Z."
    unknown = [item for item in listed if item and item != "$smtpd_milters" and not re.search(ours, item)]
    if len(unknown) > 1 or (unknown and not found.signer):
        draft.note("smtpd_milters", ", ".join(unknown), "the role has one milter, the signer", _KEEP)
    action = draft.take(found, "milter_default_action")
    known = action in ("tempfail", "accept", "reject")
    draft.put("relay_signer_failure", action if known else "tempfail")
    if not known:
        draft.note("milter_default_action", action, "the role knows tempfail, accept and reject", "check the variable")


def _relay_way_out(draft: _Draft, found: PostfixFound) -> None:
    policies = _policies(draft, found)
    level = _tls_level(draft, found)
    host, port = _next_hop(draft, found) if draft.take(found, "relayhost") else ("", 25)
    policy = _hop_policy(policies, found.values.get("relayhost", ""), host, port) if host else ""
    outbound = level if level in ("may", "dane", "encrypt") else "may" if level == "none" else "encrypt"
    if outbound != level and not (host and level in ("verify", "secure")):
        draft.note(
            "smtp_tls_security_level", level, "the role knows may, dane and encrypt", f"{outbound} comes nearest"
        )
    draft.put("relay_outbound_tls", outbound)
    draft.used.add("smtp_dns_support_level")
    draft.put("relay_tls_policies", policies, "smtp_tls_policy_maps")
    draft.put("relay_transports", _table(draft, found, "transport_maps"), "transport_maps")
    login = _login(draft, found, "relay_smarthost")
    if not host:
        draft.secrets.clear()
        return
    draft.put("relay_smarthost", host, "relayhost")
    draft.put("relay_smarthost_port", port)
    words_of = (policy or level).split()
    wanted = {"verify": "verify", "secure": "verify", "may": "may", "none": "may"}.get(words_of[0], "encrypt")
    if wanted == "may" and login:
        draft.note(
            "smtp_tls_security_level", level, "a password is sent, so the role insists on TLS", "see that it works"
        )
        wanted = "encrypt"
    draft.put("relay_smarthost_tls", wanted)


def _relay_files(draft: _Draft, found: PostfixFound) -> None:
    for name, variable in (
        ("smtpd_tls_cert_file", "cert_file"),
        ("smtpd_tls_key_file", "key_file"),
        ("smtp_tls_CAfile", "ca_file"),
    ):
        value = draft.take(found, name)
        draft.put(f"relay_tls_{variable}", value or ad.RELAY_DEFAULTS[f"relay_tls_{variable}"], name)
    chain = draft.take(found, "smtpd_tls_chain_files")
    if chain:
        draft.note("smtpd_tls_chain_files", chain, "the role has a file for the certificate and one for the key", _KEEP)


def _relay_aliases(draft: _Draft, host: HostFacts) -> None:
    aliases = ad.parse_aliases(host.aliases)
    draft.put("relay_root_address", ", ".join(aliases.pop("root", ())), "/etc/aliases root")
    if aliases.get("postmaster") == ("root",):
        del aliases["postmaster"]
    plain = {
        name: list(targets) for name, targets in aliases.items() if targets and all(map(ad.is_plain_target, targets))
    }
    draft.put("relay_aliases", plain, "/etc/aliases")
    for name in aliases.keys() - plain.keys():
        shown = ", ".join(ad.show_target(item) for item in aliases[name])
        draft.note(
            f"/etc/aliases {name}", shown, "a program, file or list; the role leaves the entry in the file", _KEEP
        )


_LIMITS = {
    "relay_message_size_limit": "message_size_limit",
    "relay_header_size_limit": "header_size_limit",
    "relay_recipient_limit": "smtpd_recipient_limit",
    "relay_client_connection_limit": "smtpd_client_connection_count_limit",
    "relay_client_connection_rate": "smtpd_client_connection_rate_limit",
    "relay_client_message_rate": "smtpd_client_message_rate_limit",
    "relay_client_recipient_rate": "smtpd_client_recipient_rate_limit",
}


def _relay_limits(draft: _Draft, found: PostfixFound) -> None:
    exempt = draft.take(found, "smtpd_client_event_limit_exceptions")
    # Postfix exempts mynetworks by default, so that the limits hold for nobody who may send.
    free = exempt != RELAY_FIXED["smtpd_client_event_limit_exceptions"] and set(words(exempt)) >= set(
        words(found.values.get("mynetworks", ""))
    )
    for variable, name in _LIMITS.items():
        value = draft.take(found, name)
        if variable.startswith("relay_client") and free:
            draft.put(variable, 0)
        elif value.isdecimal():
            draft.put(variable, int(value))
        else:
            draft.note(name, value, "is no whole number", f"check {variable}")
    for which in ("maximal", "bounce"):
        text = ad.lifetime(draft.take(found, f"{which}_queue_lifetime"))
        if text:
            draft.put(f"relay_{which}_queue_lifetime", text)


def _relay_rest(draft: _Draft, found: PostfixFound) -> None:
    """What no variable stands for goes into ``relay_postfix_settings`` whole."""
    rest = {}
    for name, value in found.given.items():
        if name in draft.used or name in RELAY_FIXED or _is_usual(found, name):
            continue
        if ad.show_value(name, value) == ad.HIDDEN:
            draft.note(name, value, _STAYS, _KEEP)
        else:
            rest[name] = pf.squeeze(value)
    draft.used |= rest.keys()
    for name, value in rest.items():
        if not ad.is_harmless(value):
            draft.note(name, value, "holds braces that Ansible would take for a template", _KEEP)
    draft.put("relay_postfix_settings", {name: value for name, value in rest.items() if ad.is_harmless(value)})


# ---------------------------------------------------------------- what is left


def _is_usual(found: PostfixFound, name: str) -> bool:
    """Whether a parameter has Postfix's own value or the one that every Debian host has."""
    value = pf.squeeze(found.given[name])
    if name == "compatibility_level" or (name == "smtpd_banner" and _BANNER.fullmatch(value)):
        return True
    return value == pf.squeeze(found.defaults.get(name, "\0")) or value in STOCK.get(name, ())


def _leftovers(draft: _Draft, found: PostfixFound) -> None:
    """Parameters that are set and that no variable tells."""
    fixed = SATELLITE_FIXED if draft.role == ad.SATELLITE_POSTFIX else RELAY_FIXED
    for name, value in found.given.items():
        if name in draft.used or _is_usual(found, name):
            continue
        if name not in fixed:
            draft.note(name, value, _STAYS, _KEEP)
        elif words(value) != words(fixed[name]):
            draft.note(name, value, f"the role sets it to {fixed[name] or 'nothing'}", "see whether that will do")


def _master(found: PostfixFound) -> list[pf.MasterService]:
    return _parse_master(found.master)


def _parse_master(text: str) -> list[pf.MasterService]:
    services = []
    for chunk in pf.MasterCf.parse(text).chunks:
        if chunk.is_entry:
            try:
                services.append(pf.MasterService.parse(chunk.text))
            except pf.PostfixError:
                continue
    return services


def _services(draft: Description, found: PostfixFound) -> None:
    """Services that differ from those of the package."""
    if not found.master_stock:
        return
    stock = {service.key: service for service in _parse_master(found.master_stock)}
    now = {service.key: service for service in _parse_master(found.master)}
    for key, service in now.items():
        if key not in _OWN_SERVICES and stock.get(key) != service:
            shown = pf.squeeze(str(service))
            safe = shown if ad.show_value("", shown) != ad.HIDDEN else " ".join(key)
            draft.note(f"master.cf {key[0]}/{key[1]}", safe, _STAYS, _KEEP)
    for key in stock.keys() - now.keys():
        draft.note(f"master.cf {key[0]}/{key[1]}", "removed", _STAYS, _KEEP)
