# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pure: what a mail client needs to know of a server, as programs and as people read it. Private to this collection.

Sources: Thunderbird's autoconfig format 1.1 (config-v1.1.xml), Outlook's plain XML autodiscover ([MS-OXDSCLI] section
2.2.4), RFC 8314 section 3 (TLS from the first byte on comes first).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

ADDRESS = "%EMAILADDRESS%"  # Thunderbird's own word for it, which the web server replaces for Outlook
OUTLOOK = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"
RESPONSE = "http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006"
HOST = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+")


class SettingsError(ValueError):
    """A description is wrong; the message names the item and the remedy."""


@dataclass(frozen=True)
class Service:
    """A way to read or to send mail; ``use`` is imap, pop3, smtp or sieve, ``tls`` means TLS from the first byte on."""

    use: str
    port: int
    tls: bool


# In the order in which clients should try them.
SERVICES: Mapping[str, Service] = {
    "imaps": Service("imap", 993, True),
    "imap": Service("imap", 143, False),
    "pop3s": Service("pop3", 995, True),
    "submissions": Service("smtp", 465, True),
    "submission": Service("smtp", 587, False),
    "sieve": Service("sieve", 4190, False),
}
WORDS = {"imap": "To read mail (IMAP)", "pop3": "To fetch mail (POP3)", "smtp": "To send mail (SMTP)"}


@dataclass(frozen=True)
class Settings:
    """A server by its name, and what it offers."""

    host: str
    services: tuple[Service, ...]

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Settings:
        """Settings from ``hostname`` and the names of ``services``. Raises :class:`SettingsError`."""
        host, wanted = str(given.get("hostname") or "").lower(), list(given.get("services") or ())
        if not HOST.fullmatch(host):
            raise SettingsError(f"hostname: {host!r} is no full host name: give one such as mail.example.org")
        for name in wanted:
            if name not in SERVICES:
                raise SettingsError(f"services: {name!r} is not one of {', '.join(SERVICES)}: mend it")
        found = tuple(service for name, service in SERVICES.items() if name in wanted)
        for uses, example in ((("imap", "pop3"), "imaps"), (("smtp",), "submissions")):
            if not any(service.use in uses for service in found):
                raise SettingsError(f"services: none for {' or '.join(uses)}: add one such as {example}")
        return cls(host, found)

    def used_for(self, *uses: str) -> list[Service]:
        """The services for a use."""
        return [service for service in self.services if service.use in uses]


def check_domain(text: str) -> str:
    """A mail domain in lower case. Raises :class:`SettingsError`."""
    name = text.lower().rstrip(".")
    if not HOST.fullmatch(name):
        raise SettingsError(f"domains: {text!r} is no domain: write it as example.org")
    return name


def autoconfig(settings: Settings, domain: str) -> str:
    """Thunderbird's answer for a domain."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', '<clientConfig version="1.1">']
    lines += [f'  <emailProvider id="{escape(domain)}">', f"    <domain>{escape(domain)}</domain>"]
    lines += [
        f"    <displayName>{escape(domain)}</displayName>",
        f"    <displayShortName>{escape(domain)}</displayShortName>",
    ]
    for service in settings.used_for("imap", "pop3", "smtp"):
        kind = "outgoingServer" if service.use == "smtp" else "incomingServer"
        lines += [
            f'    <{kind} type="{service.use}">',
            f"      <hostname>{settings.host}</hostname>",
            f"      <port>{service.port}</port>",
            f"      <socketType>{'SSL' if service.tls else 'STARTTLS'}</socketType>",
            f"      <username>{ADDRESS}</username>",
            "      <authentication>password-cleartext</authentication>",
            f"    </{kind}>",
        ]
    return "\n".join([*lines, "  </emailProvider>", "</clientConfig>", ""])


def autodiscover(settings: Settings) -> str:
    """Outlook's answer, with a word for the address. Outlook takes one service of each kind, so it gets the first."""
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        f'<Autodiscover xmlns="{RESPONSE}">',
        f'  <Response xmlns="{OUTLOOK}">',
    ]
    lines += ["    <Account>", "      <AccountType>email</AccountType>", "      <Action>settings</Action>"]
    for use in ("imap", "pop3", "smtp"):
        for service in settings.used_for(use)[:1]:
            lines += [
                "      <Protocol>",
                f"        <Type>{use.upper()}</Type>",
                f"        <Server>{settings.host}</Server>",
                f"        <Port>{service.port}</Port>",
                f"        <LoginName>{ADDRESS}</LoginName>",
                "        <DomainRequired>off</DomainRequired>",
                "        <SPA>off</SPA>",
                f"        <SSL>{'on' if service.tls else 'off'}</SSL>",
                f"        <Encryption>{'SSL' if service.tls else 'TLS'}</Encryption>",
                "        <AuthRequired>on</AuthRequired>",
                "      </Protocol>",
            ]
    return "\n".join([*lines, "    </Account>", "  </Response>", "</Autodiscover>", ""])


def autodiscover_error() -> str:
    """Outlook's answer to what is no question for one of the addresses (error 600, [MS-OXDSCLI] section 3.1.5.2)."""
    lines = ['<?xml version="1.0" encoding="utf-8"?>', f'<Autodiscover xmlns="{RESPONSE}">', "  <Response>"]
    lines += ['    <Error Time="00:00:00" Id="0">', "      <ErrorCode>600</ErrorCode>"]
    lines += ["      <Message>Invalid Request</Message>", "      <DebugData />", "    </Error>", "  </Response>"]
    return "\n".join([*lines, "</Autodiscover>", ""])


def sheet(settings: Settings, domain: str, users: Iterable[str] = ()) -> str:
    """What a person types into a mail client, as text; ``users`` are addresses to name."""
    lines = [f"Mail of {domain}", "=" * (8 + len(domain)), ""]
    lines += ["User name   your whole address, such as " + next(iter(users), f"you@{domain}")]
    lines += ["Password    the one of your mailbox", ""]
    for use in ("imap", "pop3", "smtp"):
        for number, service in enumerate(settings.used_for(use)):
            lines += _service(WORDS[use] if not number else "or, where that cannot be chosen", settings.host, service)
    for service in settings.used_for("sieve"):
        lines += _service("To change rules for incoming mail (ManageSieve)", settings.host, service)
    lines += [
        "Authentication is by normal password everywhere. A client that warns of the certificate is not at our",
        "server: stop.",
    ]
    return "\n".join([*lines, ""])


def _service(title: str, host: str, service: Service) -> list[str]:
    way = "SSL/TLS" if service.tls else "STARTTLS"
    return [title, f"  Server      {host}", f"  Port        {service.port}", f"  Security    {way}", ""]
