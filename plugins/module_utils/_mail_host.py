# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: a host's mail. Who answers at which port, what waits, what From a local mail gets. Private, pure.

Sources: postconf(5) and ADDRESS_REWRITING_README of Postfix; the Exim specification, chapters 5 and 31; smtpd.conf(5);
openssl-x509(1).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _mail_log as ml
from ansible_collections.postmaster.mail.plugins.module_utils._check import visible
from ansible_collections.postmaster.mail.plugins.module_utils._mail_causes import CATALOGUE, UNKNOWN, find
from ansible_collections.postmaster.mail.plugins.module_utils._mail_failures import said
from ansible_collections.postmaster.mail.plugins.module_utils._preflight import Holder, Listener

# Ports of mail, and what is spoken there (RFC 6409, 8314, 9051, 1939, 5804, 2033).
PORTS = {
    24: "lmtp", 25: "smtp", 110: "pop3", 143: "imap", 465: "submissions", 587: "submission", 993: "imaps", 995: "pop3s",
    2525: "smtp", 4190: "managesieve",
}  # fmt: skip
TLS_FIRST = frozenset((465, 993, 995))
# Programs by the name of their process or of its service.
PROGRAMS = {
    "master": "Postfix", "exim4": "Exim", "exim": "Exim", "smtpd": "OpenSMTPD", "dovecot": "Dovecot",
    "rspamd": "rspamd", "opendkim": "OpenDKIM", "spamd": "SpamAssassin", "postgrey": "Postgrey", "nginx": "nginx",
    "sshd": "OpenSSH", "systemd": "systemd", "unbound": "Unbound",
}  # fmt: skip
MAIL_PROGRAMS = frozenset(("Postfix", "Exim", "OpenSMTPD", "Dovecot"))
SOON = timedelta(days=14)  # before the end of a certificate
OLD_TLS = ("SSLv3", "TLSv1", "TLSv1.1")
AGES = ((300, "5 minutes"), (3600, "1 hour"), (4 * 3600, "4 hours"), (86400, "1 day"), (5 * 86400, "5 days"))
OLDER = "longer"


class HostError(ValueError):
    """The request makes no sense; the message names the item and the remedy."""


# --- who listens -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Certificate:
    """A server's certificate: the names it holds, when it ends, who it is of and who signed it."""

    names: tuple[str, ...]
    expires: datetime | None
    subject: str = ""
    issuer: str = ""

    def holds(self, name: str) -> bool:
        """Whether it is one for a host's name (RFC 6125 section 6.4.3)."""
        wanted = name.lower().rstrip(".")
        parent = wanted.partition(".")[2]
        return any(one == wanted or (one.startswith("*.") and one[2:] == parent) for one in self.names)


def parse_certificate(text: str) -> Certificate:
    """What ``openssl x509 -noout -subject -issuer -enddate -ext subjectAltName`` says."""
    names = re.findall(r"(?:DNS|IP Address):([^,\s]+)", text)
    ends = re.search(r"^notAfter=(.+?) GMT\s*$", text, re.MULTILINE)
    try:
        expires = datetime.strptime(ends[1], "%b %d %H:%M:%S %Y").replace(tzinfo=UTC) if ends else None
    except ValueError:
        expires = None
    who = dict(re.findall(r"^(subject|issuer)= ?(.*)$", text, re.MULTILINE))
    return Certificate(
        tuple(name.lower() for name in names), expires, who.get("subject", "").strip(), who.get("issuer", "").strip()
    )


@dataclass(frozen=True)
class Answer:
    """What a listener says. ``tls`` is none, starttls or implicit, empty where it is not known.

    ``chain`` says why no authority that this host trusts vouches for the certificate; ``error`` why the session broke
    off.
    """

    protocol: str = ""
    banner: str = ""
    tls: str = ""
    version: str = ""
    certificate: Certificate | None = None
    chain: str = ""
    error: str = ""


@dataclass(frozen=True)
class Door:
    """A port that somebody listens at, at each of these addresses; ``holders`` is empty where nobody may see them."""

    port: int
    addresses: tuple[str, ...]
    holders: tuple[Holder, ...]
    answer: Answer | None = None

    @property
    def program(self) -> str:
        """Whose it is, as people call it, or the name of the process."""
        return _program(self.holders[0]) if self.holders else ""

    @property
    def is_mail(self) -> bool:
        """Whether it is worth a word in a protocol of mail."""
        return self.port in PORTS or self.program in MAIL_PROGRAMS

    @property
    def target(self) -> str:
        """An address of this host at which it can be reached."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.addresses[0], self.addresses[0])


def _program(holder: Holder) -> str:
    known = next((PROGRAMS[name] for name in (*holder.names, *holder.known_as) if name in PROGRAMS), "")
    return known or next(iter(holder.names), "")


def _owner(port: int, holders: Sequence[Holder]) -> tuple[Holder, ...]:
    """Who holds a socket; of several who may, nobody, unless it is a port of mail and one of them alone is of mail."""
    if len(holders) > 1:
        holders = [one for one in holders if port in PORTS and _program(one) in MAIL_PROGRAMS]
    return tuple(holders[:1]) if len({_program(one) for one in holders}) == 1 else ()


def doors(listeners: Iterable[Listener], holders: Mapping[int, Sequence[Holder]]) -> list[Door]:
    """The ports, each program's addresses together."""
    found: dict[tuple[int, tuple[Holder, ...]], list[str]] = {}
    for one in listeners:
        addresses = found.setdefault((one.port, _owner(one.port, holders.get(one.inode, ()))), [])
        if str(one.address) not in addresses:
            addresses.append(str(one.address))
    ordered = sorted(found.items(), key=lambda item: (item[0][0], item[1]))
    return [Door(port, tuple(sorted(where, key=lambda a: (":" in a, a))), who) for (port, who), where in ordered]


def troubles(door: Door, name: str, now: datetime) -> list[str]:
    """What is not as it should be with the TLS of a door, for a host of that name."""
    answer = door.answer
    if answer is None or answer.error or not answer.tls:
        return []
    if answer.tls == "none":
        inner = all(address.startswith("127.") or address == "::1" for address in door.addresses)
        return [] if inner else ["it offers no TLS"]
    found = [f"{answer.version} is too old"] if answer.version in OLD_TLS else []
    if answer.chain:
        found.append(f"no authority vouches for its certificate: {answer.chain}")
    if (certificate := answer.certificate) is not None:
        if not certificate.holds(name):
            found.append(f"its certificate does not hold {name}")
        if certificate.expires and certificate.expires < now:
            found.append(f"its certificate ended on {certificate.expires:%Y-%m-%d}")
        elif certificate.expires and certificate.expires < now + SOON:
            found.append(f"its certificate ends on {certificate.expires:%Y-%m-%d}")
    return found


# --- what waits ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Waiting:
    """A queue: how many messages, of them held, the age of the oldest in seconds, how many of which age, and why."""

    count: int
    held: int
    oldest: int
    ages: Mapping[str, int]
    causes: tuple[tuple[str, str, int], ...]  # name, an example of a reason, how many messages

    def as_dict(self) -> dict[str, Any]:
        """The shape a module returns."""
        causes = [
            {
                "cause": name,
                "count": count,
                "reason": visible(ml.redact(reason), 500),
                "title": CATALOGUE[name].title if name in CATALOGUE else "",
                "mend": CATALOGUE[name].mend if name in CATALOGUE else "",
            }
            for name, reason, count in self.causes
        ]
        return {
            "count": self.count,
            "held": self.held,
            "oldest": self.oldest,
            "ages": dict(self.ages),
            "causes": causes,
        }


def waiting(queue: Sequence[ml.Queued], now: datetime) -> Waiting:
    """A queue by age and cause; a message with several reasons counts for each."""
    ages: Counter[str] = Counter()
    oldest = 0.0
    for one in queue:
        age = max(0.0, (now - one.arrival).total_seconds()) if one.arrival else 0.0
        oldest = max(oldest, age)
        ages[next((word for bound, word in AGES if age <= bound), OLDER)] += 1
    counts: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for reason, count in ml.reasons(queue):
        name = find(str(said(reason)), CATALOGUE)
        key = name if name != UNKNOWN else f"{UNKNOWN} {said(reason).bare}"
        counts[key] += count
        examples.setdefault(key, reason)
    causes = tuple((key.partition(" ")[0], examples[key], count) for key, count in counts.most_common(50))
    held = sum(one.held for one in queue)
    order = [word for dummy, word in AGES] + [OLDER]
    return Waiting(len(queue), held, int(oldest), {word: ages[word] for word in order if ages[word]}, causes)


# --- configuration ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """A parameter that is not at its default; ``default`` is empty where the program has none to tell."""

    name: str
    value: str
    default: str = ""


_INLINE_SECRET = re.compile(r"\b(static|inline):.*", re.DOTALL)


def parse_parameters(text: str) -> dict[str, str]:
    """``name = value`` lines, as postconf(1) prints them."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, dummy, value in pairs}


def differing(set_here: Mapping[str, str], defaults: Mapping[str, str]) -> list[Setting]:
    """Parameters whose value is not the default; passwords that stand in a value are hidden."""
    found = []
    for name, value in set_here.items():
        if defaults.get(name) != value:
            shown = _INLINE_SECRET.sub(rf"\g<1>:{ml.HIDDEN}", value) if "password" in name else ml.redact(value)
            found.append(Setting(name, shown, defaults.get(name, "")))
    return sorted(found, key=lambda one: one.name)


# --- From ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rewrite:
    """The address after a step, and what made it so."""

    address: str
    why: str


Lookup = Callable[[str, str], "str | None"]  # table and key; None where it is not there
FROM_PARAMETERS = (
    "append_at_myorigin", "canonical_maps", "masquerade_domains", "masquerade_exceptions", "myhostname", "myorigin",
    "sender_canonical_maps", "smtp_generic_maps",
)  # fmt: skip


def postfix_from(user: str, values: Mapping[str, str], mailname: str | None, lookup: Lookup) -> list[Rewrite]:
    """What becomes of a local sender on its way through Postfix, in its order. ``values`` are expanded."""
    origin = values.get("myorigin", "")
    source = f"myorigin is {origin}"
    if origin.startswith("/"):
        source, origin = f"myorigin is {origin}, which says {mailname or 'nothing'}", mailname or ""
    steps = [Rewrite(f"{user}@{origin}" if origin else user, source)]

    def mapped(parameter: str) -> None:
        for table in words(values.get(parameter, "")):
            found = _mapped(steps[-1].address, table, origin, lookup)
            if found and found != steps[-1].address:
                steps.append(Rewrite(found, f"{parameter}: {table}"))
                return

    mapped("sender_canonical_maps")
    mapped("canonical_maps")
    local, dummy, domain = steps[-1].address.rpartition("@")
    if local not in words(values.get("masquerade_exceptions", "")):
        shorter = _masqueraded(domain, words(values.get("masquerade_domains", "")))
        if shorter != domain:
            steps.append(Rewrite(f"{local}@{shorter}", f"masquerade_domains is {values['masquerade_domains']}"))
    mapped("smtp_generic_maps")
    return steps


def words(value: str) -> list[str]:
    """A list of postconf(5): parts by commas and white space, braces kept together, and those of inline: in them."""
    return [word for word in re.findall(r"(?:\{(?:[^{}]|\{[^{}]*\})*\}|[^\s,{}])+", value) if word]


def _mapped(address: str, table: str, origin: str, lookup: Lookup) -> str | None:
    """The result of a canonical(5) or generic(5) table, whose keys are tried from the whole to the domain."""
    local, dummy, domain = address.rpartition("@")
    for key in (address, *([local] if domain == origin else []), f"@{domain}"):
        found = lookup(table, key)
        if found:
            found = found.strip()
            return f"{local}{found}" if found.startswith("@") else found if "@" in found else f"{found}@{origin}"
    return None


def _masqueraded(domain: str, listed: Sequence[str]) -> str:
    for one in listed:
        bare = one.removeprefix("!").lower()
        if domain.lower() == bare or domain.lower().endswith(f".{bare}"):
            return domain if one.startswith("!") else bare
    return domain


_EXIM_REWRITTEN = re.compile(r"^\s*from: (\S+)\s*$", re.MULTILINE | re.IGNORECASE)


def exim_from(user: str, qualify: str, rewritten: str, settings: Mapping[str, str]) -> list[Rewrite]:
    """The same for Exim: ``rewritten`` is what ``exim4 -brw`` prints, ``settings`` Debian's."""
    steps = [Rewrite(f"{user}@{qualify}" if qualify else user, f"qualify_domain is {qualify or 'not known'}")]
    found = _EXIM_REWRITTEN.search(rewritten)
    if found and found[1] != steps[-1].address:
        steps.append(Rewrite(found[1], "rewriting rules (exim4 -brw), such as /etc/email-addresses"))
    leaves_by = settings.get("dc_eximconfig_configtype") in ("smarthost", "satellite")
    if leaves_by and settings.get("dc_hide_mailname") == "true" and settings.get("dc_readhost"):
        address = f"{steps[-1].address.rpartition('@')[0]}@{settings['dc_readhost']}"
        if address != steps[-1].address:
            steps.append(Rewrite(address, "dc_hide_mailname is true, for what leaves by the smarthost"))
    return steps


def opensmtpd_from(user: str, host: str, mailname: str | None, masquerade: str) -> list[Rewrite]:
    """The same for OpenSMTPD; ``masquerade`` is the table that ``listen on socket`` names."""
    name = mailname or host
    why = f"/etc/mailname says {mailname}" if mailname else f"the host's name is {host}, and there is no /etc/mailname"
    steps = [Rewrite(f"{user}@{name}", why)]
    if masquerade:
        steps.append(Rewrite(steps[0].address, f"senders in the table {masquerade} are changed (masquerade)"))
    return steps


_MAILUTILS = re.compile(r"\bemail-(addr|domain)\s+\"?([^\s\";]+)\"?\s*;")


def mailutils_from(user: str, text: str) -> list[Rewrite]:
    """What GNU mail writes itself, where its configuration says so."""
    found = dict(_MAILUTILS.findall(text))
    address = found.get("addr") or (f"{user}@{found['domain']}" if "domain" in found else "")
    return [Rewrite(address, "/etc/mailutils.conf, for mail(1) alone")] if address else []


_MASQUERADE = re.compile(r"^\s*listen on socket\b.*\bmasquerade\s+(<[^>]+>|\S+)", re.MULTILINE)


def smtpd_masquerade(text: str) -> str:
    """The table that smtpd.conf(5) masquerades local senders by, or an empty string."""
    found = _MASQUERADE.search(text)
    return found[1] if found else ""
