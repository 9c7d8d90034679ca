# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pure: the sections of a Proxmox Mail Gateway's configuration, their options, and what has to be sent. Private.

Options, defaults and limits are those of pmg-api 9.1's schema. Its API returns what was set alone, no defaults: an
option that is not set counts as its default.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._pmg import PmgError, check_latin, host

# Name, kind, default (- for none), limits or choices.
_TABLE = {
    "mail": """
        accept-broken-mime bool 0
        banner text ESMTP_Proxmox
        before_queue_filtering bool 0
        conn_count_limit int 50 0
        conn_rate_limit int 0 0
        dnsbl_sites text -
        dnsbl_threshold int 1 0
        dwarning int 4 0
        ext_port int 25 1 65535
        filter-timeout int 600 2 86400
        greylist bool 1
        greylist6 bool 0
        greylistmask4 int 24 0 32
        greylistmask6 int 64 0 128
        helotests bool 0
        hide_received bool 0
        int_port int 26 1 65535
        log-headers bool 0
        max_filters int - 3 40
        max_policy int - 2 10
        max_smtpd_in int - 3 100
        max_smtpd_out int - 3 100
        maxsize int 10485760 1024
        message_rate_limit int 0 0
        ndr_on_block bool 0
        queue-lifetime int - 1 100
        rejectunknown bool 0
        rejectunknownsender bool 0
        relay host -
        relaynomx bool 0
        relayport int 25 1 65535
        relayprotocol choice smtp smtp lmtp
        smarthost host -
        smarthostport int 25 1 65535
        smtputf8 bool 1
        spf bool 1
        tls bool 0
        tlsheader bool 0
        tlslog bool 0
        verifyreceivers choice - 450 550
    """,
    "admin": """
        admin-mail-from text -
        advfilter bool 0
        avast bool 0
        clamav bool 1
        consent-text text -
        custom_check bool 0
        custom_check_path text /usr/local/bin/pmg-custom-check
        dailyreport bool 1
        demo bool 0
        dkim-use-domain choice envelope header envelope
        dkim_sign bool 0
        dkim_sign_all_mail bool 0
        email mail admin@domain.tld
        http_proxy proxy -
        statlifetime int 7 1
    """,
    "spam": """
        bounce_score int 0 0 1000
        clamav_heuristic_score int 3 0 1000
        extract_text bool 0
        languages text all
        maxspamsize int 262144 64
        rbl_checks bool 1
        use_awl bool 0
        use_bayes bool 0
        use_razor bool 1
        wl_bounce_relays text -
    """,
    "spamquar": """
        allowhrefs bool 1
        authmode choice ticket ticket ldap ldapticket
        hostname host -
        lifetime int 7 1
        mailfrom text -
        port int 8006 1 65535
        protocol choice https http https
        quarantinelink bool 0
        reportstyle choice verbose none short verbose custom
        viewimages choice 1 0 1 on-demand
    """,
    "virusquar": """
        allowhrefs bool 1
        lifetime int 7 1
        viewimages choice 1 0 1 on-demand
    """,
    "clamav": """
        archiveblockencrypted bool 0
        archivemaxfiles int 1000 0
        archivemaxrec int 5 1
        archivemaxsize int 25000000 1000000
        dbmirror text database.clamav.net
        maxcccount int 0 0
        maxscansize int 100000000 1000000
        scriptedupdates bool 1
    """,
}
NOT_HERE = {
    ("admin", "dkim_selector"): "the gateway signs all mail with it at once, whether DNS has its key or not",
}
# What came after 8.2: an option, or one of its values, and with which version.
_SINCE = {
    ("mail", "accept-broken-mime", ""): "9.0.4",
    ("mail", "log-headers", ""): "9.0.10",
    ("mail", "queue-lifetime", ""): "9.0.10",
    ("admin", "consent-text", ""): "9.0.10",
    ("spamquar", "viewimages", "on-demand"): "9.0.8",
    ("virusquar", "viewimages", "on-demand"): "9.0.8",
}
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


@dataclass(frozen=True)
class Option:
    """One option: its kind, its default (empty for none), and its limits or choices."""

    kind: str
    default: str
    bounds: tuple[str, ...]


def _parse(table: str) -> dict[str, Option]:
    found = {}
    for line in table.split("\n"):
        if words := line.split():
            name, kind, default, *bounds = words
            found[name] = Option(kind, {"-": "", "ESMTP_Proxmox": "ESMTP Proxmox"}.get(default, default), tuple(bounds))
    return found


SECTIONS = {section: _parse(table) for section, table in _TABLE.items()}


@dataclass(frozen=True)
class SectionChange:
    """What is to be sent for one section, and the options that differ: each with its text before and after, or none."""

    section: str
    params: Mapping[str, str]
    options: Mapping[str, tuple[str, str]]


def read(section: str, given: Mapping[str, Any]) -> dict[str, str]:
    """The options of a section as the API takes them; empty is "not set". Raises :class:`PmgError`."""
    known, found = SECTIONS[section], {}
    for name, value in given.items():
        what = f"{section}.{name}"
        if (section, name) in NOT_HERE:
            raise PmgError(f"{what} is not set here: {NOT_HERE[section, name]}")
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise PmgError(f"{what} is no option of a gateway" + (f": did you mean {near[0]}?" if near else ""))
        found[name] = "" if value is None or value == "" else _text(what, known[name], value)
    return found


def _text(what: str, option: Option, value: Any) -> str:
    if isinstance(value, (dict, list)):
        raise PmgError(f"{what} is a list or a dictionary: give one value")
    text = check_latin(what, _shown(value))
    if option.kind == "bool":
        if text.lower() in (*_TRUE, *_FALSE):
            return str(int(text.lower() in _TRUE))
        raise PmgError(f"{what}: {text!r} is neither true nor false")
    if option.kind == "int":
        return _number(what, option, text)
    if option.kind == "choice" and text not in option.bounds:
        raise PmgError(f"{what}: {text!r} is not one of {', '.join(option.bounds)}")
    if option.kind == "host":
        try:
            return host(text)
        except PmgError:
            raise PmgError(f"{what}: {text!r} is neither a host's name nor an address") from None
    if option.kind == "mail" and ("@" not in text or " " in text):
        raise PmgError(f"{what}: {text!r} is no mail address: write one such as postmaster@example.org")
    if option.kind == "proxy" and (not text.startswith("http://") or "@" in text):
        raise PmgError(f"{what}: write http://proxy:port, and no password, which would stand in logs")
    return text


def _number(what: str, option: Option, text: str) -> str:
    lowest, *highest = (int(bound) for bound in option.bounds)
    if not text.isascii() or not text.isdecimal() or len(text) > 12:
        raise PmgError(f"{what}: {text!r} is no whole number")
    if int(text) < lowest or any(int(text) > limit for limit in highest):
        raise PmgError(f"{what}: {text} is out of range: from {lowest}" + (f" to {highest[0]}" if highest else " on"))
    return str(int(text))


def since(wanted: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """What of the wanted options is not known to every release, and with which version it came."""
    return {
        f"{section}.{name}{': ' + value if value else ''}": version
        for (section, name, value), version in _SINCE.items()
        if (text := wanted.get(section, {}).get(name)) and value in ("", text)
    }


def check_version(newer: Mapping[str, str], version: str) -> None:
    """Raise :class:`PmgError` for what came after a version; ``newer`` is what :func:`since` returned."""
    for what, came in newer.items():
        if _numbers(version) < _numbers(came):
            raise PmgError(
                f"{what} came with version {came}, and the gateway has {version}: leave it out, or upgrade it"
            )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version.partition("~")[0]))


def change(section: str, present: Mapping[str, Any], wanted: Mapping[str, str]) -> SectionChange | None:
    """What has to be sent so that a section says what is wanted; None if it does. ``present`` is what its GET returned.

    Raises :class:`PmgError` where the result would not work.
    """
    known = SECTIONS[section]
    there = {name: _shown(value) for name, value in present.items() if name in known}
    differing = {}
    for name, text in wanted.items():
        before, default = there.get(name, ""), known[name].default
        if text != before and (text or before != "") and (before or default) != (text or default):
            differing[name] = (before, text)
    if not differing:
        return None
    if section == "mail":
        _check_ports({name: wanted.get(name, there.get(name, "")) or option.default for name, option in known.items()})
    params = {name: text for name, (dummy, text) in differing.items() if text}
    if unset := sorted(name for name, (dummy, text) in differing.items() if not text):
        params["delete"] = ",".join(unset)
    if digest := str(present.get("digest") or ""):
        params["digest"] = digest
    return SectionChange(section, params, differing)


def _shown(value: Any) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def _check_ports(mail: Mapping[str, str]) -> None:
    if mail["int_port"] == mail["ext_port"]:
        raise PmgError(
            f"mail.int_port and mail.ext_port would both be {mail['int_port']}, which the API takes and Postfix cannot "
            "serve: give the port for your own hosts and the one for all others"
        )
