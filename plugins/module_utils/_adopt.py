# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: the description of a host that runs mail already, in the variables of our roles. Private.

What a host says about itself is not to be trusted with the controller: a text that Ansible would take
for a template never becomes a variable, and every text that is shown is one printable line.
Everything here is pure. What is particular to a program is in ``_adopt_postfix``, ``_adopt_exim`` and
``_adopt_dkim``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _postfix as pf
from ansible_collections.postmaster.mail.plugins.module_utils import _satellite

SATELLITE_POSTFIX, SATELLITE_EXIM, RELAY = "satellite_postfix", "satellite_exim", "relay"
GROUPS = {SATELLITE_POSTFIX: "satellites_postfix", SATELLITE_EXIM: "satellites_exim", RELAY: "relays", "": "unadopted"}
"""The inventory group of each role; hosts without a role get one that no playbook touches."""

SATELLITE_DEFAULTS: Mapping[str, Any] = {
    "satellite_relay_port": 25,
    "satellite_aliases": {},
    "satellite_hostname": "",
    "satellite_masquerade": True,
    "satellite_masquerade_exceptions": [],
    "satellite_tls": "encrypt",
    "satellite_tls_ca_file": "",
    "satellite_inet_protocols": "all",
    "satellite_queue_lifetime": "5d",
    "satellite_mailx": False,
}
RELAY_DEFAULTS: Mapping[str, Any] = {
    "relay_listen": ["all"],
    "relay_inet_protocols": "all",
    "relay_bind_address": "",
    "relay_bind_address_ipv6": "",
    "relay_sender_domains": [],
    "relay_signer": "rspamd",
    "relay_smtps": False,
    "relay_dkim_directory": "/etc/dkimkeys",
    "relay_signer_failure": "tempfail",
    "relay_smarthost": "",
    "relay_smarthost_port": 587,
    "relay_smarthost_tls": "verify",
    "relay_outbound_tls": "may",
    "relay_tls_policies": {},
    "relay_tls_ca_file": "/etc/ssl/certs/ca-certificates.crt",
    "relay_tls_cert_file": "/etc/ssl/certs/ssl-cert-snakeoil.pem",
    "relay_tls_key_file": "/etc/ssl/private/ssl-cert-snakeoil.key",
    "relay_transports": {},
    "relay_inbound_domains": [],
    "relay_inbound_recipients": [],
    "relay_inbound_clients": {},
    "relay_inbound_postscreen": True,
    "relay_inbound_dnsbls": [{"zone": "zen.spamhaus.org", "replies": "127.0.0.[2..11]"}],
    "relay_inbound_greylist": False,
    "relay_inbound_greylist_delay": 300,
    "relay_inbound_greylist_failure": "accept",
    "relay_inbound_filter": "rspamd",
    "relay_inbound_filter_failure": "accept",
    "relay_inbound_tag_score": 6,
    "relay_inbound_reject_score": 15,
    "relay_inbound_header_checks": [],
    "relay_root_address": "",
    "relay_aliases": {},
    "relay_message_size_limit": 52428800,
    "relay_header_size_limit": 102400,
    "relay_recipient_limit": 1000,
    "relay_maximal_queue_lifetime": "5d",
    "relay_bounce_queue_lifetime": "5d",
    "relay_client_connection_limit": 50,
    "relay_client_connection_rate": 0,
    "relay_client_message_rate": 0,
    "relay_client_recipient_rate": 0,
    "relay_postfix_settings": {},
}
"""What the roles take for granted (their defaults/main.yml): such values need not be written down."""

SHOWN_LENGTH = 200  # characters of a value that are shown
HIDDEN = "(not shown)"
_TEMPLATE = re.compile(r"\{[{%#]|[#%}]\}")
_SECRET_NAME = re.compile(r"pass(word|wd)?|secret|credential|token", re.IGNORECASE)
_SECRET_VALUE = re.compile(
    r"\b(static|inline):|://[^/\s]*@|(^|[\s,{])[\w.+@-]+:[^\s/:]{4,}$|passw|secret", re.IGNORECASE
)
LOCAL_NAMES = ("localhost", "localhost.localdomain")
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})+\Z")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


@dataclass(frozen=True)
class Note:
    """One thing that no variable says: what it is, its value (never a secret), why, and what to do."""

    item: str
    value: str
    reason: str
    remedy: str

    def as_dict(self) -> dict[str, str]:
        """The shape a module returns."""
        return {"item": self.item, "value": self.value, "reason": self.reason, "remedy": self.remedy}


@dataclass(frozen=True)
class HostFacts:
    """What is known of a host whatever its mail program. Names of packages are those installed."""

    fqdn: str
    mailname: str = ""
    mtas: tuple[str, ...] = ()
    packages: frozenset[str] = frozenset()
    aliases: str = ""  # the text of /etc/aliases
    addresses: tuple[str, ...] = ()  # those it sends from, if the world can see them


@dataclass
class Description:
    """A host in our variables. ``secrets`` names the vault variable of each variable that holds one."""

    mta: str = ""
    role: str = ""
    variables: dict[str, Any] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    keys: list[dict[str, Any]] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    def note(self, item: str, value: object, reason: str, remedy: str, *, harmless: bool = False) -> None:
        """Tell of something that could not be translated; ``harmless`` values are known to be no secret."""
        shown = show(value) if harmless else show_value(item, value)
        self.notes.append(Note(show(item), shown, show(reason, 400), show(remedy, 600)))

    def put(self, name: str, value: Any, item: str = "") -> None:
        """Set a variable, unless a text in it could do harm on the controller."""
        found = list(texts(value))
        if all(is_harmless(text) for text in found):
            self.variables[name] = value
        else:
            self.note(
                item or name,
                next(text for text in found if not is_harmless(text)),
                "holds control characters, or braces that Ansible would take for a template",
                f"set {name} by hand",
            )

    def as_dict(self) -> dict[str, Any]:
        """The shape a module returns."""
        return {
            "mta": self.mta,
            "role": self.role,
            "group": GROUPS[self.role],
            "variables": self.variables,
            "secrets": self.secrets,
            "keys": self.keys,
            "untranslated": [note.as_dict() for note in self.notes],
        }


def texts(value: Any) -> Iterable[str]:
    """All texts in a value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield str(key)
            yield from texts(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from texts(one)


def is_harmless(text: str) -> bool:
    """Whether ``text`` may become a variable: no template, no control character, nothing but Unicode."""
    return _TEMPLATE.search(text) is None and text.isprintable()


def show(value: object, limit: int = SHOWN_LENGTH) -> str:
    """``value`` as one printable line of limited length."""
    text = "".join(char if char.isprintable() else " " for char in str(value))
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def show_value(item: str, value: object) -> str:
    """A value for people; one that may be or hold a password is never shown."""
    text = show(value)
    named = _SECRET_NAME.search(item) and not re.fullmatch(r"(\w+:)?/\S+", text)
    return HIDDEN if text and (named or _SECRET_VALUE.search(text)) else text


def words(value: str) -> list[str]:
    """The items of a list as Postfix reads one."""
    return [word for word in re.split(r"[\s,]+", value.strip()) if word]


def is_domain(text: str) -> bool:
    """Whether ``text`` is a domain of at least two labels, in lower case."""
    return _DOMAIN.match(text) is not None


def parent_domain(name: str) -> str:
    """What follows the first dot."""
    return name.partition(".")[2]


def seconds(text: str, unit: str = "s") -> int | None:
    """A time such as ``5d`` in seconds; without a letter it is in ``unit``."""
    match = re.fullmatch(r"(\d{1,9})([smhdw]?)", text.strip())
    return int(match[1]) * _SECONDS[match[2] or unit] if match else None


def lifetime(text: str, unit: str = "d") -> str:
    """A time as the roles take it, or an empty string where it is none."""
    match = re.fullmatch(r"([1-9]\d{0,7})([smhdw]?)", text.strip())
    return f"{match[1]}{match[2] or unit}" if match else ""


# ---------------------------------------------------------------- aliases


def parse_aliases(text: str) -> dict[str, tuple[str, ...]]:
    """Targets by name in lower case; the last entry of a name counts (aliases(5))."""
    entries = pf.MapSource.parse(text, pf.ALIAS).entries()
    return {entry.key.lower(): tuple(alias_targets(entry.value)) for entry in entries if entry.key}


def alias_targets(value: str) -> list[str]:
    """The targets of an alias; quotation marks keep commas together and go."""
    parts = re.findall(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+', value)
    stripped = (part.strip() for part in parts)
    return [re.sub(r'^"(.*)"$', r"\1", part) for part in stripped if part]


def standard_names() -> frozenset[str]:
    """The names that the roles give every host."""
    return frozenset(_satellite.STANDARD_ALIASES)


def is_address(text: str) -> bool:
    """Whether ``text`` is a mail address that the roles take."""
    return _satellite._address_parts(text) is not None


def is_plain_target(text: str) -> bool:
    """Whether an alias's target is an address or a name, as against a program, a file or a list."""
    return is_address(text) or _satellite._NAME.match(text) is not None


def show_target(text: str) -> str:
    """A target for people: of a program its name only, for its arguments may be anybody's secret."""
    return f"{text.split(maxsplit=1)[0]} ..." if text.startswith("|") and len(text.split()) > 1 else text


def follow_root(aliases: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Where mail to root ends, followed through names on the host."""
    seen, targets = {"root"}, tuple(aliases.get("root", ()))
    while len(targets) == 1 and targets[0].lower() in aliases and targets[0].lower() not in seen:
        seen.add(targets[0].lower())
        targets = tuple(aliases[targets[0].lower()])
    return targets


def describe_satellite_aliases(
    draft: Description, text: str, own_names: Iterable[str], names_here: Iterable[str]
) -> None:
    """``satellite_root_address`` and ``satellite_aliases`` out of /etc/aliases.

    ``own_names`` are the names that the host resolves when they are written with the domain, which
    is what ``satellite_aliases`` does with its names. Other entries stay in the file.
    """
    aliases = parse_aliases(text)
    _root_address(draft, aliases, set(names_here))
    own = [name.lower() for name in own_names if name.lower() != "root"]
    chosen: dict[str, list[str]] = {}
    stay: list[str] = []
    for name, targets in aliases.items():
        standard = _satellite.STANDARD_ALIASES.get(name)
        if name == "root" or (name not in own and targets == (standard,)):
            continue
        if standard is None and name not in own and not _is_own_address(draft, name, targets):
            stay.append(name)
        elif _satellite._NAME.match(name) and targets and all(is_plain_target(item) for item in targets):
            chosen[name] = list(targets)
        elif standard is not None:
            _note_standard(draft, name, targets, standard)
    if chosen:
        # The order in which the role wrote them, so that it writes the same again.
        order = {name: number for number, name in enumerate(own)}
        ordered = sorted(chosen, key=lambda name: order.get(name, len(order)))
        draft.put("satellite_aliases", {name: chosen[name] for name in ordered}, "/etc/aliases")
    if stay:
        draft.note(
            "/etc/aliases",
            ", ".join(stay),
            "entries of this host; the role leaves them in the file",
            "put those into satellite_aliases that a new host should have; they then count with the domain too",
        )


def _is_own_address(draft: Description, name: str, targets: Sequence[str]) -> bool:
    """Whether a name leads to itself at the domain, which is the form that cannot be seen elsewhere."""
    return f"{name}@{draft.variables.get('satellite_domain')}" in [item.lower() for item in targets]


def _root_address(draft: Description, aliases: Mapping[str, Sequence[str]], names_here: set[str]) -> None:
    targets = follow_root(aliases)
    away = [item for item in targets if is_address(item) and item.rpartition("@")[2].lower() not in names_here]
    if len(away) == 1 == len(targets):
        draft.put("satellite_root_address", away[0], "/etc/aliases")
        return
    shown = ", ".join(show_target(item) for item in targets)
    if away:
        draft.put("satellite_root_address", away[0], "/etc/aliases")
        reason, remedy = "root's mail has one destination in the role; the first is taken", "name a group's address"
    elif targets:
        reason, remedy = "root's mail stays on the host or goes to a program", "set satellite_root_address"
    else:
        reason, remedy = "root has no alias, so its mail stays on the host", "set satellite_root_address"
    draft.note("/etc/aliases root", shown, reason, remedy)


def _note_standard(draft: Description, name: str, targets: Sequence[str], standard: str) -> None:
    draft.note(
        f"/etc/aliases {name}",
        ", ".join(show_target(item) for item in targets),
        f"the role makes it {standard}, and a satellite delivers to no program or file",
        "give it an address in satellite_aliases if it should not go there",
    )
