# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the variables of a satellite mean: judged, then turned into addresses. Private.

Both satellite roles rest on this, so that a host behaves alike with Postfix and with Exim:

* a bare name, or a name at the host or at localhost, is what /etc/aliases says; a name that is
  not there belongs to the domain and leaves through the relay,
* ``root`` and the names in ``aliases`` mean the same when they are written with the domain,
* senders on any host under the domain become addresses of the domain, but for the exceptions.

Everything here is pure.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

# The aliases that Debian gives a new host, and the accounts whose cron jobs write most mail.
STANDARD_ALIASES = {
    "mailer-daemon": "postmaster",
    **dict.fromkeys(
        ("postmaster", "nobody", "hostmaster", "usenet", "news", "webmaster", "www", "ftp", "abuse", "noc"), "root"
    ),
    **dict.fromkeys(("security", "www-data", "backup", "daemon"), "root"),
}
# Names by which a host calls itself; mail addressed so never leaves with them.
LOCAL_NAMES = ("localhost", "localhost.localdomain")
MAX_QUEUE_LIFETIME = 100 * 86400  # seconds; Postfix takes no more
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})+\Z")
# A dot-atom without the characters that mean something in a map or an alias file (RFC 5322 section 3.2.3).
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_+=-]*(?:\.[A-Za-z0-9_+=-]+)*\Z")
_LIFETIME = re.compile(r"([1-9][0-9]{0,7})([smhdw])\Z")
_PROTOCOLS = ("all", "ipv4", "ipv6")
_TLS = ("encrypt", "may", "verify", "none")


class SatelliteError(ValueError):
    """A variable has a value that cannot be; the message names it and says what would do."""


@dataclass(frozen=True)
class Settings:
    """A satellite's variables, with the host's full name filled in."""

    domain: str
    relay: str
    hostname: str
    root_address: str
    relay_port: int = 25
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    masquerade: bool = True
    masquerade_exceptions: tuple[str, ...] = ()
    tls: str = "encrypt"
    tls_ca_file: str = ""
    username: str = ""
    password: str = ""
    inet_protocols: str = "all"
    queue_lifetime: str = "5d"

    @property
    def kept_users(self) -> tuple[str, ...]:
        """Users whose addresses keep the host."""
        return tuple(item for item in self.masquerade_exceptions if not item.startswith("@"))

    @property
    def kept_domains(self) -> tuple[str, ...]:
        """Domains under the domain that stay as they are, hosts below them included."""
        return tuple(item[1:] for item in self.masquerade_exceptions if item.startswith("@"))


def _address_parts(text: str) -> tuple[str, str] | None:
    """Name and domain of an address that can go into a map, or None."""
    name, at, domain = text.rpartition("@")
    return (name, domain) if at and _NAME.match(name) and _DOMAIN.match(domain.lower()) else None


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def from_variables(values: Mapping[str, Any]) -> Settings:
    """Settings out of plain values keyed as the fields of :class:`Settings`.

    A missing ``hostname`` is made of ``fqdn`` (what the host calls itself) or, where that has no
    dot, of it and the domain. Raises :class:`SatelliteError` for a value of the wrong shape.
    """
    aliases = values.get("aliases") or {}
    if not isinstance(aliases, Mapping):
        raise SatelliteError("satellite_aliases: must be a mapping of a name to an address or a list of them")
    plain = {key: value for key, value in values.items() if key not in ("aliases", "fqdn", "masquerade_exceptions")}
    fqdn, domain = str(values.get("fqdn") or "localhost"), str(values["domain"])
    plain["hostname"] = values.get("hostname") or (fqdn if "." in fqdn else f"{fqdn}.{domain}").lower()
    return Settings(
        **plain,
        aliases={str(name): _targets(str(name), value) for name, value in aliases.items()},
        masquerade_exceptions=tuple(str(item) for item in values.get("masquerade_exceptions") or ()),
    )


def _targets(name: str, value: object) -> tuple[str, ...]:
    """The targets of an alias, given as one text or a list of texts."""
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not items or not all(isinstance(item, str) for item in items):
        raise SatelliteError(f"satellite_aliases: {name} must be an address or a list of addresses, not {value!r}")
    return tuple(str(item) for item in items)


def _host_problems(settings: Settings) -> Iterator[str]:
    if not _DOMAIN.match(settings.domain):
        yield f"satellite_domain: {settings.domain!r} is no domain name in lower case, such as example.org"
    if not _DOMAIN.match(settings.hostname):
        yield f"satellite_hostname: {settings.hostname!r} is no full host name in lower case, such as web1.example.org"
    if settings.hostname == settings.domain:
        yield (
            f"satellite_hostname: must not be satellite_domain itself ({settings.domain}), or all mail of the domain "
            "would be local: give the host a name under it"
        )
    if settings.inet_protocols not in _PROTOCOLS:
        yield f"satellite_inet_protocols: {settings.inet_protocols!r} is none of {', '.join(_PROTOCOLS)}"


def _relay_problems(settings: Settings) -> Iterator[str]:
    is_ip = _is_ip(settings.relay)
    if not is_ip and not _DOMAIN.match(settings.relay):
        yield f"satellite_relay: {settings.relay!r} is no host name in lower case and no address"
    if settings.relay == settings.hostname:
        yield f"satellite_relay: must not be the host itself ({settings.hostname}): mail would turn in circles"
    if not 1 <= settings.relay_port <= 65535:
        yield f"satellite_relay_port: {settings.relay_port} is no port; use a number from 1 to 65535"
    if settings.tls not in _TLS:
        yield f"satellite_tls: {settings.tls!r} is none of {', '.join(_TLS)}"
    if settings.tls == "verify" and is_ip:
        yield "satellite_tls: verify needs a name in satellite_relay, as certificates carry names"
    if settings.tls_ca_file and not re.match(r"/[A-Za-z0-9._/+-]+\Z", settings.tls_ca_file):
        yield f"satellite_tls_ca_file: {settings.tls_ca_file!r} is no absolute path in plain characters"


def _login_problems(settings: Settings) -> Iterator[str]:
    if bool(settings.username) != bool(settings.password):
        yield "satellite_username and satellite_password: set both or neither"
    if not re.fullmatch(r"[^\s:^]*", settings.username):
        yield "satellite_username: white space, colons and circumflexes cannot be part of it"
    if settings.password != settings.password.strip() or not settings.password.isprintable():
        yield "satellite_password: control characters, and white space at its ends, cannot be part of it"
    if settings.password and settings.tls not in ("encrypt", "verify"):
        yield f"satellite_tls: must be encrypt or verify, not {settings.tls}, as a password is sent to the relay"


def _lifetime_problems(settings: Settings) -> Iterator[str]:
    match = _LIFETIME.match(settings.queue_lifetime)
    if not match:
        yield f"satellite_queue_lifetime: {settings.queue_lifetime!r} is no number with s, m, h, d or w, such as 5d"
    elif int(match[1]) * _SECONDS[match[2]] > MAX_QUEUE_LIFETIME:
        yield f"satellite_queue_lifetime: {settings.queue_lifetime} is more than 100d, the most that can be"


def _address_problems(settings: Settings) -> Iterator[str]:
    parts = _address_parts(settings.root_address)
    here = {settings.hostname, *LOCAL_NAMES}
    if parts is None:
        yield f"satellite_root_address: {settings.root_address!r} is no mail address, such as sysadmin@example.org"
    elif parts[1].lower() in here:
        yield f"satellite_root_address: {settings.root_address} is on this host, which keeps no mail"
    for name, targets in settings.aliases.items():
        if name.lower() == "root":
            yield "satellite_aliases: root has a variable of its own, satellite_root_address"
        elif not _NAME.match(name):
            yield f"satellite_aliases: {name!r} is no name for an alias; use letters, digits and . _ + = -"
        for target in targets:
            if not _NAME.match(target) and _address_parts(target) is None:
                yield f"satellite_aliases: {name}: {target!r} is neither a mail address nor a name on this host"
    yield from _circle_problems(settings)


def _circle_problems(settings: Settings) -> Iterator[str]:
    """Names that lead back to themselves, such as a: b and b: a."""
    aliases = local_aliases(settings)
    here = ("", settings.hostname, *LOCAL_NAMES)
    for start in (name.lower() for name in settings.aliases):
        waiting, seen = [start], set[str]()
        while waiting:
            parts = (target.lower().partition("@") for target in aliases.get(waiting.pop(), ()))
            new = {name for name, dummy, domain in parts if domain in here} - seen
            seen |= new
            waiting += new
        if start in seen:
            yield f"satellite_aliases: {start} leads back to itself"


def _masquerade_problems(settings: Settings) -> Iterator[str]:
    for user in settings.kept_users:
        if not _NAME.match(user):
            yield f"satellite_masquerade_exceptions: {user!r} is no user name; a domain begins with @"
    for domain in settings.kept_domains:
        if not _DOMAIN.match(domain) or not domain.endswith(f".{settings.domain}"):
            yield f"satellite_masquerade_exceptions: @{domain} is not under {settings.domain}"


def problems(settings: Settings) -> list[str]:
    """What is wrong with the settings, one sentence each."""
    judges = (
        _host_problems,
        _relay_problems,
        _login_problems,
        _lifetime_problems,
        _address_problems,
        _masquerade_problems,
    )
    return [sentence for judge in judges for sentence in judge(settings)]


def local_aliases(settings: Settings) -> dict[str, tuple[str, ...]]:
    """What /etc/aliases must say, names in lower case; the standard ones give way to the settings."""
    return {
        **{name: (target,) for name, target in STANDARD_ALIASES.items()},
        **{name.lower(): targets for name, targets in settings.aliases.items()},
        "root": (settings.root_address,),
    }


def domain_names(settings: Settings) -> list[str]:
    """Names that are resolved on the host when they are written with the domain.

    One whose own target is that very address is left out: it is the relay that knows it then.
    """
    aliases = local_aliases(settings)
    names = ["root", *(name.lower() for name in settings.aliases)]
    return [name for name in names if f"{name}@{settings.domain}" not in (item.lower() for item in aliases[name])]


def sender_map(settings: Settings) -> dict[str, str]:
    """Senders on this very host, whether or not its name is under the domain (canonical(5))."""
    here = (settings.hostname, *LOCAL_NAMES)
    if not settings.masquerade:
        return {f"@{name}": f"@{settings.hostname}" for name in LOCAL_NAMES}
    kept = {f"{user}@{name}": f"{user}@{settings.hostname}" for user in settings.kept_users for name in here}
    return {**kept, **{f"@{name}": f"@{settings.domain}" for name in here}}


def recipient_map(settings: Settings) -> dict[str, str]:
    """Recipients on this host that no alias knows, as they leave through the relay (generic(5))."""
    return {f"@{name}": f"@{settings.domain}" for name in (settings.hostname, *LOCAL_NAMES)}


def exim_rewrites(settings: Settings) -> list[str]:
    """The same as lines of Exim's rewrite section: a pattern, what replaces it, flags.

    ``Fh`` covers the envelope's sender and every header that holds addresses.
    """
    local = "|".join(re.escape(name) for name in LOCAL_NAMES)
    if not settings.masquerade:
        return [rf"\N^(?i)([^@]+)@(?:{local})$\N  $1@{settings.hostname}  Fh"]
    kept = "|".join(re.escape(user) for user in settings.kept_users)
    not_kept = rf"(?!(?:{kept})@)" if kept else ""
    below = "|".join(re.escape(domain) for domain in settings.kept_domains)
    not_below = rf"(?!(?:[^@]+\.)?(?:{below})$)" if below else ""
    domain, hostname = re.escape(settings.domain), re.escape(settings.hostname)
    hosts = rf"{not_below}(?:[^@]+\.{domain}|{hostname}|{local})"
    lines = [rf"\N^(?i){not_kept}([^@]+)@{hosts}$\N  $1@{settings.domain}  Fh"]
    if kept:
        lines.insert(0, rf"\N^(?i)({kept})@(?:{local})$\N  $1@{settings.hostname}  Fh")
    return lines


def plan(values: Mapping[str, Any]) -> dict[str, Any]:
    """All that a role needs, or nothing but ``problems``, a list of sentences."""
    try:
        settings = from_variables(values)
    except SatelliteError as err:
        return {"problems": [str(err)]}
    found = problems(settings)
    if found:
        return {"problems": found}
    return {
        "problems": [],
        "hostname": settings.hostname,
        "local_names": list(LOCAL_NAMES),
        "aliases": {name: ", ".join(targets) for name, targets in local_aliases(settings).items()},
        "domain_names": domain_names(settings),
        "domain_map": {f"{name}@{settings.domain}": f"{name}@{settings.hostname}" for name in domain_names(settings)},
        "sender_map": sender_map(settings),
        "recipient_map": recipient_map(settings),
        "kept_users": list(settings.kept_users),
        "kept_domains": list(settings.kept_domains),
        "exim_rewrites": exim_rewrites(settings),
    }
