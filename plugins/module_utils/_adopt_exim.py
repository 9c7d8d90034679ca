# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the files of Debian's Exim to the variables of satellite_exim. Pure, private.

The role writes a split configuration, so what was made for the unsplit one (macros, a template that
was changed) would no longer be read: it is told of, never dropped in silence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.postmaster.mail.plugins.module_utils import _adopt as ad
from ansible_collections.postmaster.mail.plugins.module_utils import _exim as ex
from ansible_collections.postmaster.mail.plugins.module_utils import _satellite
from ansible_collections.postmaster.mail.plugins.module_utils._adopt import Description, HostFacts

OVERRIDE = f"{ex.DIRECTORY}/exim4.conf"
FRAGMENTS = {
    "main": f"{ex.FRAGMENT_DIRECTORY}/main/000_satellite",
    "rewrite": f"{ex.FRAGMENT_DIRECTORY}/rewrite/60_satellite",
    "domain": f"{ex.FRAGMENT_DIRECTORY}/router/140_satellite_domain",
    "retry": f"{ex.FRAGMENT_DIRECTORY}/retry/10_satellite",
}
OWN_FRAGMENTS = frozenset(
    {*FRAGMENTS.values()}
    | {f"{ex.FRAGMENT_DIRECTORY}/router/{name}" for name in ("190_satellite_ipv6", "450_satellite_rest")}
)
_TLS_MACROS = {
    "REMOTE_SMTP_SMARTHOST_HOSTS_AVOID_TLS",
    "REMOTE_SMTP_SMARTHOST_HOSTS_REQUIRE_TLS",
    "REMOTE_SMTP_SMARTHOST_TLS_VERIFY_HOSTS",
    "REMOTE_SMTP_SMARTHOST_TLS_VERIFY_CERTIFICATES",
}
_USED_MACROS = _TLS_MACROS | {
    "MAIN_HARDCODE_PRIMARY_HOSTNAME",
    "MAIN_QUALIFY_DOMAIN",
    "MAIN_TLS_ADVERTISE_HOSTS",
}
_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
_LOST = "the role writes a split configuration, in which this is not read"
_READ_ON = "the role leaves the file alone, and Exim goes on reading it"
_KEEP = "note it down for the day on which the host is set up anew"


@dataclass(frozen=True)
class EximFound:
    """``settings`` is update-exim4.conf.conf, ``texts`` the files named in ``FRAGMENTS`` that are there, by path.

    ``generated`` is the configuration in force; of passwd.client only ``login_hosts`` is known. ``changed_files``
    are files of the package that differ from it, ``added_files`` others below conf.d.
    """

    settings: Mapping[str, str]
    macros: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    generated: str = ""
    login_hosts: Sequence[str] = ()
    email_addresses: Sequence[str] = ()
    changed_files: Sequence[str] = ()
    added_files: Sequence[str] = ()
    overridden: bool = False

    def fragment(self, name: str) -> str:
        """The text of one of the role's own fragments, empty without it."""
        return self.texts.get(FRAGMENTS[name], "")

    @property
    def is_split(self) -> bool:
        """Whether the configuration is made of conf.d."""
        return self.settings.get("dc_use_split_config") == "true"


def describe(found: EximFound, host: HostFacts) -> Description:
    """The host in the variables of satellite_exim, if it is a satellite."""
    draft = Description(mta="exim")
    _obstacles(draft, found)
    if draft.notes:
        return draft
    draft.role = ad.SATELLITE_EXIM
    macros = {**found.macros, **ex.parse_macros(found.fragment("main"))}
    domain = _names(draft, found, host, macros)
    _relay(draft, found, macros)
    _interfaces(draft, found)
    _masquerade(draft, found, host, domain)
    _lifetime(draft, found)
    draft.put("satellite_mailx", "bsd-mailx" in host.packages)
    _aliases(draft, found, host, domain)
    _leftovers(draft, found, macros)
    return draft


def _obstacles(draft: Description, found: EximFound) -> None:
    """What makes a host something else than a satellite; such a host is left alone."""
    remedy = "leave the host as it is, or make it a satellite: put it into satellites_exim and set its variables"
    kind = found.settings.get("dc_eximconfig_configtype", "")
    if found.overridden:
        draft.note(OVERRIDE, "exists", "overrules Debian's configuration, which was therefore not read", remedy)
    if kind not in ("satellite", "smarthost"):
        reason = "the host sends to the world itself, or nowhere; no role sets up such an Exim"
        draft.note("dc_eximconfig_configtype", kind, reason, remedy)
    for name in ("dc_relay_nets", "dc_relay_domains"):
        if found.settings.get(name):
            reason = "the host takes mail from or for others; the role for that uses Postfix"
            draft.note(name, found.settings[name], reason, remedy)
    for name in sorted(found.macros):
        if name.startswith("DKIM_"):
            draft.note(name, "is set", "the host signs its mail itself; a satellite has its relay do that", remedy)


def items(text: str) -> list[str]:
    """The items of a list as update-exim4.conf reads one, in lower case."""
    return [item.lower() for item in ex._items(text)]


def _names(draft: Description, found: EximFound, host: HostFacts, macros: Mapping[str, str]) -> str:
    name = macros.get("MAIN_HARDCODE_PRIMARY_HOSTNAME", host.fqdn).lower()
    hidden = found.settings.get("dc_hide_mailname") == "true"
    shown = (found.settings.get("dc_readhost", "") if hidden else "").lower()
    candidates = (shown, host.mailname.lower(), found.settings.get("dc_readhost", "").lower(), ad.parent_domain(name))
    domain = next((one for one in candidates if ad.is_domain(one) and one != name), "")
    if domain:
        draft.put("satellite_domain", domain)
    else:
        draft.note("/etc/mailname", host.mailname, "no domain can be told from the host", "set satellite_domain")
    fqdn = host.fqdn.lower()
    draft.put("satellite_hostname", "" if name == (fqdn if "." in fqdn else f"{fqdn}.{domain}") else name)
    own = {*ad.LOCAL_NAMES, name, fqdn, domain}
    others = [item for item in items(found.settings.get("dc_other_hostnames", "")) if item not in own]
    if others:
        reason = "names the host calls its own; mail for them will be sent to the relay"
        draft.note("dc_other_hostnames", ", ".join(others), reason, "nothing, if nobody writes to these names")
    return domain


def split_smarthost(text: str, *, ours: bool = False) -> tuple[str, int | None, bool]:
    """Host and port of dc_smarthost, the port None if it is none, and whether there are further hosts.

    Colons are doubled in it. What the role wrote (``ours``) always ends with a port, also after an IPv6 address.
    """
    listed = [item.strip() for item in re.split(r"(?<!:):(?!:)|;", text) if item.strip()]
    plain = listed[0].replace("::", ":").lower() if listed else ""
    bracketed = re.fullmatch(r"\[([^\[\]]+)\](?::(.*))?", plain)
    if bracketed:
        host, port = bracketed[1], bracketed[2]
    elif plain.count(":") == 1 or (ours and ":" in plain):
        host, _colon, port = plain.rpartition(":")
    else:
        host, port = plain, None
    number = 25 if port is None else int(port) if re.fullmatch(r"[1-9]\d{0,4}", port) and int(port) < 65536 else None
    return host.removesuffix("/mx"), number, len(listed) > 1


def _relay(draft: Description, found: EximFound, macros: Mapping[str, str]) -> None:
    text = found.settings.get("dc_smarthost", "")
    host, port, more = split_smarthost(text, ours=bool(found.fragment("main")))
    if not host or port is None or more or "/mx" in text:
        draft.note("dc_smarthost", text, "the role knows one host with a port in numbers", "check satellite_relay")
    draft.put("satellite_relay", host, "dc_smarthost")
    draft.put("satellite_relay_port", port or 25)
    tls = "may"
    if macros.get("REMOTE_SMTP_SMARTHOST_HOSTS_AVOID_TLS"):
        tls = "none"
    if macros.get("REMOTE_SMTP_SMARTHOST_HOSTS_REQUIRE_TLS"):
        tls = "verify" if macros.get("REMOTE_SMTP_SMARTHOST_TLS_VERIFY_HOSTS") else "encrypt"
    if found.login_hosts:
        for name in ("username", "password"):
            draft.secrets[f"satellite_{name}"] = f"vault_satellite_{name}"
        if tls in ("none", "may"):
            tls = "encrypt"
            reason = "a password is sent, so the role insists on TLS"
            draft.note(
                "passwd.client", ", ".join(found.login_hosts), reason, "see that the relay offers it", harmless=True
            )
        elif len(found.login_hosts) > 1:
            reason = "logins at several hosts; the role has the relay's alone"
            draft.note("passwd.client", ", ".join(found.login_hosts), reason, _KEEP, harmless=True)
    draft.put("satellite_tls", tls)
    file = macros.get("REMOTE_SMTP_SMARTHOST_TLS_VERIFY_CERTIFICATES", "")
    draft.put("satellite_tls_ca_file", "" if file in (_BUNDLE, "system") else file)


def _interfaces(draft: Description, found: EximFound) -> None:
    listed = items(found.settings.get("dc_local_interfaces", ""))
    main = found.fragment("main")
    protocols = "all"
    if main and re.search(r"^disable_ipv6\s*=\s*true", main, re.MULTILINE):
        protocols = "ipv4"
    elif main and listed == ["::1"]:
        protocols = "ipv6"
    draft.put("satellite_inet_protocols", protocols)
    others = [item for item in listed if item not in ("127.0.0.1", "::1")]
    if others or not listed:
        reason = "a satellite listens on the loopback interface alone"
        draft.note("dc_local_interfaces", ", ".join(others) or "all", reason, "let others use a relay")


# ---------------------------------------------------------------- masquerading


def _masquerade(draft: Description, found: EximFound, host: HostFacts, domain: str) -> None:
    text = found.fragment("rewrite")
    rewrites = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not rewrites:
        masked = found.settings.get("dc_hide_mailname") == "true" or host.mailname.lower() == domain
        draft.put("satellite_masquerade", masked)
        draft.put("satellite_masquerade_exceptions", [])
        return
    users, domains = read_rewrites(rewrites)
    becomes = re.search(r"\$1@(\S+)\s+\S+$", rewrites[-1])
    masked = becomes is not None and becomes[1] == domain
    draft.put("satellite_masquerade", masked)
    draft.put("satellite_masquerade_exceptions", [*users, *(f"@{one}" for one in domains)], FRAGMENTS["rewrite"])
    name = draft.variables.get("satellite_hostname") or host.fqdn.lower()
    name = name if "." in name else f"{name}.{domain}"
    again = _satellite.Settings(
        domain=domain,
        relay="",
        hostname=name,
        root_address="",
        masquerade=masked,
        masquerade_exceptions=(*users, *(f"@{one}" for one in domains)),
    )
    if _satellite.exim_rewrites(again) != rewrites:
        draft.note(
            FRAGMENTS["rewrite"], "changed by hand", "the role writes this file anew", "move the lines elsewhere"
        )


def read_rewrites(lines: Sequence[str]) -> tuple[list[str], list[str]]:
    """The users and domains that the role's own rewriting spares."""
    last = lines[-1]
    users = re.search(r"\(\?i\)\(\?!\(\?:(.*?)\)@\)", last)
    domains = re.search(r"\(\?!\(\?:\[\^@\]\+\\\.\)\?\(\?:(.*?)\)\$\)", last)
    return tuple(
        [re.sub(r"\\(.)", r"\1", one) for one in match[1].split("|")] if match else [] for match in (users, domains)
    )  # type: ignore[return-value]


def _lifetime(draft: Description, found: EximFound) -> None:
    """Exim gives up when the last interval of the retry rule for all hosts ends."""
    text = found.fragment("retry") or found.generated.partition("\nbegin retry")[2].partition("\nbegin ")[0]
    match = re.search(r"^\s*\*\s+\*\s+(\S.*)$", text, re.MULTILINE)
    last = match[1].split(";")[-1].split(",") if match else []
    value = ad.lifetime(last[1].strip()) if len(last) > 1 else ""
    if value:
        draft.put("satellite_queue_lifetime", value)
    else:
        draft.note("begin retry", match[1] if match else "", "no rule for all hosts", "set satellite_queue_lifetime")


def _aliases(draft: Description, found: EximFound, host: HostFacts, domain: str) -> None:
    own: list[str] = []
    router = found.fragment("domain")
    match = re.search(r"^\s*local_parts\s*=\s*(.*)$", router, re.MULTILINE)
    if match:
        own = [name.strip() for name in match[1].split(":")]
    elif not found.fragment("main") and domain in items(found.settings.get("dc_other_hostnames", "")):
        standard = ad.standard_names()
        own = [name for name in ad.parse_aliases(host.aliases) if name not in standard]
    name = draft.variables.get("satellite_hostname") or host.fqdn.lower()
    ad.describe_satellite_aliases(draft, host.aliases, own, {name})


def _leftovers(draft: Description, found: EximFound, macros: Mapping[str, str]) -> None:
    lost = [name for name in found.macros if name not in _USED_MACROS]
    for name in sorted(lost):
        reason, remedy = (_READ_ON, _KEEP) if found.is_split else (_LOST, f"move it to {ex.MACROS_SPLIT}")
        draft.note(f"macro {name}", found.macros[name], reason, remedy)
    if found.email_addresses:
        draft.note("/etc/email-addresses", ", ".join(found.email_addresses), _READ_ON, _KEEP)
    for path in found.changed_files:
        split = path.startswith(ex.FRAGMENT_DIRECTORY)
        if split == found.is_split:
            reason, remedy = (_READ_ON, _KEEP) if split else (_LOST, "put the change into a file below conf.d")
            draft.note(path, "changed by hand", reason, remedy)
    for path in found.added_files:
        if path not in OWN_FRAGMENTS and path != ex.MACROS_SPLIT:
            reason = _READ_ON if found.is_split else "is not read now, and will be with the role's split configuration"
            draft.note(path, "added by hand", reason, _KEEP if found.is_split else "remove it if it should not be")
