# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pure: what certbot holds of a certificate, what is wanted of it, and what certbot is told. Private.

Certbot keeps what it was told in a file of its own for each certificate (``renewal/<name>.conf``) and renews with it.
It changes that file only when it obtains a certificate, so another wish means another certificate.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

AUTHENTICATORS: Mapping[str, str] = {"http": "standalone", "dns": "dns-rfc2136"}
NOISE = ("Saving debug log", "Ask for help", "See the logfile", "Hint:", "Requesting a certificate", "Renewing an ")

_SETTING = re.compile(r"^([a-z0-9_]+) *= *(.*)$")
_FAULT = re.compile(
    r"^ *Domain: (\S+)\s*\n *Type: +(\S+)\s*\n *Detail: (.+(?:\n(?! *Domain:)(?! *$).+)*)", re.MULTILINE
)
# How requests and certbot say that there is no connection, the cause last.
_UNREACHED = re.compile(r"(?:^requests\.exceptions\..*Caused by \w+\((.*)\)\)|^ValueError: Requesting \S+ (.*))$")
_PUBLIC_KEY = re.compile(r"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)


class CertbotError(ValueError):
    """A certificate does not come; the message says why in one sentence."""


@dataclass(frozen=True)
class Wanted:
    """A certificate as it is described; ``hooks`` are commands by certbot's names for them."""

    name: str
    names: tuple[str, ...]
    method: str
    server: str
    key_type: str = "ecdsa"
    email: str = ""
    dns_credentials: str = ""
    dns_wait: int = 60
    hooks: Mapping[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, str]:
        """What certbot's own file must say."""
        found = {"authenticator": AUTHENTICATORS[self.method], "server": self.server, "key_type": self.key_type}
        found["reuse_key"] = "True"
        if self.method == "dns":
            found["dns_rfc2136_credentials"] = self.dns_credentials
            found["dns_rfc2136_propagation_seconds"] = str(self.dns_wait)
        for hook, command in self.hooks.items():
            found["renew_hook" if hook == "deploy" else f"{hook}_hook"] = command
        return found


@dataclass(frozen=True)
class Held:
    """A certificate that is there, and what certbot will renew it with."""

    names: frozenset[str]
    expires: datetime
    public_key: str
    settings: Mapping[str, str]


def parse_settings(text: str) -> dict[str, str]:
    """The parameters in a file of certbot's."""
    section, found = "", {}
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip("[] \t")
        elif section == "renewalparams" and (match := _SETTING.match(line.strip())):
            found[match[1]] = match[2].strip().strip("\"'")
    return found


def parse_certificate(text: str, settings: Mapping[str, str]) -> Held | None:
    """What ``openssl x509 -noout -pubkey -enddate -ext subjectAltName`` says, or None where it says nothing of use."""
    names = frozenset(name.lower() for name in re.findall(r"DNS:([^,\s]+)", text))
    ends = re.search(r"^notAfter=(.+?) GMT\s*$", text, re.MULTILINE)
    key = _PUBLIC_KEY.search(text)
    if not names or ends is None or key is None:
        return None
    expires = datetime.strptime(ends[1], "%b %d %H:%M:%S %Y").replace(tzinfo=UTC)
    return Held(names, expires, key[0] + "\n", settings)


def reasons(wanted: Wanted, held: Held | None, now: datetime) -> list[str]:
    """Why a certificate has to be obtained; nothing where the one that is held will do."""
    return list(_reasons(wanted, held, now))


def _reasons(wanted: Wanted, held: Held | None, now: datetime) -> Iterator[str]:
    if held is None:
        yield "there is none yet"
        return
    for name in sorted(set(wanted.names) - held.names):
        yield f"it does not hold {name}"
    for name in sorted(held.names - set(wanted.names)):
        yield f"it holds {name}, which is not wanted"
    if held.expires <= now:
        yield f"it has expired on {held.expires:%Y-%m-%d}"
    for key, value in wanted.settings.items():
        there = held.settings.get(key, "")
        if there != value:
            yield f"its {key} is {there or 'not set'} instead of {value}"


def arguments(wanted: Wanted, *, renew: bool) -> list[str]:
    """The command that obtains the certificate; ``renew`` where there is one already, whose key stays."""
    argv = ["certbot", "certonly", "--non-interactive", "--agree-tos", "--cert-name", wanted.name]
    argv += ["--server", wanted.server, "--key-type", wanted.key_type, "--reuse-key"]
    argv += ["--force-renewal", "--renew-with-new-domains"] if renew else []
    argv += ["--email", wanted.email, "--no-eff-email"] if wanted.email else ["--register-unsafely-without-email"]
    if wanted.method == "dns":
        argv += ["--dns-rfc2136", "--dns-rfc2136-credentials", wanted.dns_credentials]
        argv += ["--dns-rfc2136-propagation-seconds", str(wanted.dns_wait)]
    else:
        argv += ["--standalone", "--preferred-challenges", "http"]
    for hook, command in wanted.hooks.items():
        argv += [f"--{hook}-hook", command]
    return [*argv, *(part for name in wanted.names for part in ("-d", name))]


def complaint(wanted: Wanted, output: str) -> str:
    """One sentence out of what certbot said when it failed."""
    return f"no certificate {wanted.name}: {_cause(output, wanted.server)}"


def _cause(output: str, server: str) -> str:
    faults = [(match[1], " ".join(match[3].split())) for match in _FAULT.finditer(output)]
    if faults:
        told = "; ".join(f"{domain}: {detail}" for domain, detail in faults)
        return f"the authority could not see who holds the names ({told}): mend what it says, then run again"
    if "Another instance of Certbot is already running" in output:
        return "another certbot is running: wait for it, then run again"
    lines = [line.strip() for line in output.splitlines() if line.strip() and not line.strip().startswith(NOISE)]
    if "An unexpected error occurred:" in lines:
        lines = lines[lines.index("An unexpected error occurred:") + 1 :]
    said = lines[0] if lines else "nothing"
    if match := _UNREACHED.search(said):
        cause = (match[1] or match[2])[:200]
        return f"the authority at {server} does not answer ({cause}): name the right server, or its ca_bundle"
    return f"certbot says {said[:400]}: see /var/log/letsencrypt/letsencrypt.log"
